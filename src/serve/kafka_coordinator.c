#include "serve/kafka_group.h"
#include "serve/kafka_int.h"
#include "serve/kafka_offsets.h"

#include "base/mem.h"

#include <stdio.h>

/* The group coordinator: lives on shard 0, where all group requests are carried by a shard call.
 * The request with its arena is lent for as long as the call takes; a join or sync that waits
 * simply is not replied to yet.
 *
 *   connection's shard: decode -> call ......... done -> encode
 *   shard 0:                      run -> groups_* ... reply
 *
 * Committed offsets are appended to sys.consumer_offsets and count when they are durable
 * (kafka_offsets.c). */

struct kafka_coordinator {
    struct engine *engine;
    struct shard_service service;
    struct shard_timer timer;
    struct kafka_groups groups;
    struct offsets_log *log;
    bool stopped;
};

static struct kafka_coordinator *coordinator_of(struct kafka_request *r)
{
    return r->server->coordinator;
}

static int64_t now_ms(struct kafka_coordinator *co)
{
    return shard_mono_ns(engine_shard(co->engine, 0)) / 1000000;
}

/* Shard 0. The answer may be NULL: out of memory. */
static void reply(struct kafka_request *r, void *response)
{
    r->response = response;
    shard_call_reply(engine_shard(r->server->engine, 0), &r->call);
}

static void timer_arm(struct kafka_coordinator *co)
{
    struct shard *zero = engine_shard(co->engine, 0);
    if (co->groups.next_ms == INT64_MAX || co->stopped)
        return;
    int64_t at = co->groups.next_ms * 1000000;
    if (co->timer.heap_index != 0 && co->timer.at_ns <= at)
        return;
    if (shard_timer_set(zero, &co->timer, at) != ERR_OK)
        engine_note(co->engine, "error", "kafka: no memory for the timer of consumer groups");
}

static void timer_fire(struct shard_timer *t)
{
    struct kafka_coordinator *co = CONTAINER_OF(t, struct kafka_coordinator, timer);
    kafka_groups_tick(&co->groups, now_ms(co));
    timer_arm(co);
}

/* ---- JoinGroup ---- */

static void join_members(struct kafka_request *r, const struct kafka_group_join_result *in,
                         struct kafka_join_group_res *res)
{
    const struct kafka_group *g = in->members_of;
    res->members = arena_zalloc(&r->arena, g->n_members, sizeof *res->members);
    if (res->members == NULL) {
        res->error_code = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
        return;
    }
    LIST_FOR(it, &g->members)
    {
        const struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (m->pending)
            continue;
        struct kafka_join_group_res_member *out = &res->members[res->n_members++];
        out->member_id = arena_str(&r->arena, m->id);
        if (m->instance.ptr != NULL)
            out->group_instance_id = arena_str(&r->arena, m->instance);
        for (uint32_t i = 0; i < m->n_protocols; i++)
            if (str_eq(m->protocols[i].name, in->protocol))
                out->metadata = arena_str(&r->arena, m->protocols[i].metadata);
        if (out->member_id.ptr == NULL || out->metadata.ptr == NULL)
            res->error_code = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    }
}

static void joined(void *waiter, const struct kafka_group_join_result *in)
{
    struct kafka_request *r = waiter;
    struct kafka_join_group_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL) {
        res->error_code = in->error;
        res->generation_id = in->generation;
        res->member_id = arena_str(&r->arena, in->member);
        if (in->error == KAFKA_OK) {
            res->protocol_type = arena_str(&r->arena, in->protocol_type);
            res->protocol_name = arena_str(&r->arena, in->protocol);
            res->leader = arena_str(&r->arena, in->leader);
        } else {
            /* Before version 7 a null name is not allowed. */
            res->protocol_name = r->header.api_version < 7 ? STR("") : (struct str){NULL, 0};
        }
        if (in->members_of != NULL)
            join_members(r, in, res);
    }
    reply(r, res);
}

/* "client id-" and 32 random hexadecimal digits, as Kafka makes member ids. */
static struct str member_id_new(struct kafka_coordinator *co, struct kafka_request *r)
{
    uint64_t id[2];
    host_random(engine_host(co->engine), id, sizeof id);
    struct str client = r->header.client_id;
    if (client.len > 200)
        client.len = 200;
    return arena_printf(&r->arena, "%.*s-%016llx%016llx", STR_ARG(client),
                        (unsigned long long)id[0], (unsigned long long)id[1]);
}

static void run_join(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_join_group_req *req = r->request;
    struct kafka_group_protocol *protocols =
        arena_zalloc(&r->arena, req->n_protocols, sizeof *protocols);
    struct kafka_group_join j = {
        .group = req->group_id,
        .member = req->member_id,
        .instance = req->group_instance_id,
        .protocol_type = req->protocol_type,
        .client_id = r->header.client_id,
        .client_host = str_of(conn_peer(r->conn)),
        .session_ms = req->session_timeout_ms,
        .rebalance_ms = req->rebalance_timeout_ms,
        .n_protocols = req->n_protocols,
        .protocols = protocols,
        .id_required = r->header.api_version >= 4,
        .new_id = member_id_new(co, r),
        .waiter = r,
    };
    if (protocols == NULL || j.new_id.ptr == NULL) {
        reply(r, NULL);
        return;
    }
    for (uint32_t i = 0; i < req->n_protocols; i++)
        protocols[i] =
            (struct kafka_group_protocol){req->protocols[i].name, req->protocols[i].metadata};
    kafka_groups_join(&co->groups, now_ms(co), &j);
}

/* ---- SyncGroup ---- */

static void synced(void *waiter, const struct kafka_group_sync_result *in)
{
    struct kafka_request *r = waiter;
    struct kafka_sync_group_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL) {
        res->error_code = in->error;
        if (in->error == KAFKA_OK) {
            res->protocol_type = arena_str(&r->arena, in->protocol_type);
            res->protocol_name = arena_str(&r->arena, in->protocol);
            res->assignment = arena_str(&r->arena, in->assignment);
        }
    }
    reply(r, res);
}

static void run_sync(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_sync_group_req *req = r->request;
    struct kafka_group_assignment *all = arena_zalloc(&r->arena, req->n_assignments, sizeof *all);
    if (all == NULL) {
        reply(r, NULL);
        return;
    }
    for (uint32_t i = 0; i < req->n_assignments; i++)
        all[i] = (struct kafka_group_assignment){req->assignments[i].member_id,
                                                 req->assignments[i].assignment};
    struct kafka_group_sync s = {
        .group = req->group_id,
        .member = req->member_id,
        .instance = req->group_instance_id,
        .generation = req->generation_id,
        .protocol_type = req->protocol_type,
        .protocol = req->protocol_name,
        .n_assignments = req->n_assignments,
        .assignments = all,
        .waiter = r,
    };
    kafka_groups_sync(&co->groups, now_ms(co), &s);
}

/* ---- Heartbeat, LeaveGroup ---- */

static void run_heartbeat(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_heartbeat_req *req = r->request;
    struct kafka_heartbeat_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL)
        res->error_code =
            kafka_groups_heartbeat(&co->groups, now_ms(co), req->group_id, req->generation_id,
                                   req->member_id, req->group_instance_id);
    reply(r, res);
}

static void run_leave(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_leave_group_req *req = r->request;
    struct kafka_leave_group_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res == NULL) {
        reply(r, NULL);
        return;
    }
    if (r->header.api_version < 3) {
        res->error_code = kafka_groups_leave(&co->groups, now_ms(co), req->group_id, req->member_id,
                                             (struct str){NULL, 0});
        reply(r, res);
        return;
    }
    res->members = arena_zalloc(&r->arena, req->n_members, sizeof *res->members);
    if (res->members == NULL) {
        reply(r, NULL);
        return;
    }
    res->n_members = req->n_members;
    for (uint32_t i = 0; i < req->n_members; i++) {
        const struct kafka_leave_group_req_member *m = &req->members[i];
        res->members[i].member_id = m->member_id;
        res->members[i].group_instance_id = m->group_instance_id;
        res->members[i].error_code = kafka_groups_leave(&co->groups, now_ms(co), req->group_id,
                                                        m->member_id, m->group_instance_id);
    }
    reply(r, res);
}

/* ---- OffsetCommit ---- */

struct commit_state {
    struct offsets_write write;
    struct kafka_offset_commit_res *res;
    struct kafka_request *request;
};

static void commit_answer(const struct commit_state *st, int16_t error)
{
    const struct kafka_offset_commit_req *req = st->request->request;
    for (uint32_t i = 0; i < req->n_topics; i++)
        for (uint32_t k = 0; k < req->topics[i].n_partitions; k++) {
            struct kafka_offset_commit_res_partition *p = &st->res->topics[i].partitions[k];
            p->index = req->topics[i].partitions[k].index;
            if (p->error_code == KAFKA_OK)
                p->error_code = error;
        }
    reply(st->request, st->res);
}

static void commit_done(struct offsets_write *w, enum err e)
{
    struct commit_state *st = CONTAINER_OF(w, struct commit_state, write);
    commit_answer(st, e == ERR_OK ? (int16_t)KAFKA_OK : (int16_t)KAFKA_E_COORDINATOR_NOT_AVAILABLE);
}

/* Copies what may be committed into the write; the rest gets its error. Returns false when out of
 * memory. */
static bool commit_collect(struct kafka_coordinator *co, struct commit_state *st)
{
    struct kafka_request *r = st->request;
    const struct kafka_offset_commit_req *req = r->request;
    uint32_t n = 0;
    for (uint32_t i = 0; i < req->n_topics; i++)
        n += req->topics[i].n_partitions;
    st->res->topics = arena_zalloc(&r->arena, req->n_topics, sizeof *st->res->topics);
    st->write.items = arena_zalloc(&r->arena, n, sizeof *st->write.items);
    if (st->res->topics == NULL || st->write.items == NULL)
        return false;
    st->res->n_topics = req->n_topics;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        const struct kafka_offset_commit_req_topic *in = &req->topics[i];
        struct kafka_offset_commit_res_topic *out = &st->res->topics[i];
        out->name = in->name;
        out->n_partitions = in->n_partitions;
        out->partitions = arena_zalloc(&r->arena, in->n_partitions, sizeof *out->partitions);
        if (out->partitions == NULL)
            return false;
        for (uint32_t k = 0; k < in->n_partitions; k++) {
            const struct kafka_offset_commit_req_partition *p = &in->partitions[k];
            if (p->committed_metadata.len > GROUP_OFFSET_METADATA_BYTES_MAX) {
                out->partitions[k].error_code = KAFKA_E_OFFSET_METADATA_TOO_LARGE;
                continue;
            }
            st->write.items[st->write.n_items++] = (struct offsets_item){
                .topic = in->name,
                .partition = p->index,
                .offset = p->committed_offset,
                .leader_epoch = p->committed_leader_epoch,
                .metadata = p->committed_metadata,
            };
        }
    }
    if (co->groups.n_offsets + st->write.n_items > GROUP_OFFSETS_MAX)
        engine_note(co->engine, "warning", "kafka: nearly too many committed offsets (maximum %d)",
                    GROUP_OFFSETS_MAX);
    return true;
}

static void run_commit(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_offset_commit_req *req = r->request;
    struct commit_state *st = arena_zalloc(&r->arena, 1, sizeof *st);
    if (st == NULL) {
        reply(r, NULL);
        return;
    }
    st->request = r;
    st->res = arena_zalloc(&r->arena, 1, sizeof *st->res);
    st->write.group = req->group_id;
    st->write.done = commit_done;
    if (st->res == NULL || !commit_collect(co, st)) {
        reply(r, NULL);
        return;
    }
    int32_t generation = r->header.api_version >= 1 ? req->generation_id : -1;
    struct str member = r->header.api_version >= 1 ? req->member_id : STR("");
    int16_t error = kafka_groups_may_commit(&co->groups, now_ms(co), req->group_id, generation,
                                            member, req->group_instance_id);
    if (error != KAFKA_OK || st->write.n_items == 0) {
        commit_answer(st, error);
        return;
    }
    offsets_log_write(co->log, &st->write);
}

/* ---- OffsetFetch ---- */

static void fetched_one(struct kafka_request *r, const struct kafka_group *g, struct str topic,
                        int32_t partition, struct kafka_offset_fetch_res_partition *out)
{
    const struct kafka_group_offset *o =
        g == NULL ? NULL : kafka_group_offset_find(g, topic, partition);
    out->index = partition;
    out->committed_offset = o != NULL ? o->offset : -1;
    out->committed_leader_epoch = o != NULL ? o->leader_epoch : -1;
    out->metadata = o != NULL ? arena_str(&r->arena, o->metadata) : STR("");
}

/* All offsets of a group, one entry per topic and partition: clients accept a topic more than once.
 */
static bool fetched_all(struct kafka_request *r, const struct kafka_group *g,
                        struct kafka_offset_fetch_res_topic **topics, uint32_t *n_topics)
{
    uint32_t n = g != NULL ? g->n_offsets : 0;
    *topics = arena_zalloc(&r->arena, n, sizeof **topics);
    struct kafka_offset_fetch_res_partition *parts = arena_zalloc(&r->arena, n, sizeof *parts);
    if (*topics == NULL || parts == NULL)
        return false;
    *n_topics = n;
    uint32_t i = 0;
    if (n == 0)
        return true;
    LIST_FOR(it, &g->offsets)
    {
        const struct kafka_group_offset *o = LIST_ENTRY(it, struct kafka_group_offset, link);
        (*topics)[i].name = arena_str(&r->arena, o->topic);
        (*topics)[i].partitions = &parts[i];
        (*topics)[i].n_partitions = 1;
        fetched_one(r, g, o->topic, o->partition, &parts[i]);
        i++;
    }
    return true;
}

/* The offsets of the partitions asked for; NULL topics means all. */
static bool fetched_topics(struct kafka_request *r, const struct kafka_group *g,
                           const struct kafka_offset_fetch_req_topic *in, uint32_t n,
                           struct kafka_offset_fetch_res_topic **topics, uint32_t *n_topics)
{
    if (in == NULL)
        return fetched_all(r, g, topics, n_topics);
    *topics = arena_zalloc(&r->arena, n, sizeof **topics);
    if (*topics == NULL)
        return false;
    *n_topics = n;
    for (uint32_t i = 0; i < n; i++) {
        struct kafka_offset_fetch_res_topic *out = &(*topics)[i];
        out->name = in[i].name;
        out->n_partitions = in[i].n_partition_indexes;
        out->partitions = arena_zalloc(&r->arena, out->n_partitions, sizeof *out->partitions);
        if (out->partitions == NULL)
            return false;
        for (uint32_t k = 0; k < out->n_partitions; k++)
            fetched_one(r, g, in[i].name, in[i].partition_indexes[k], &out->partitions[k]);
    }
    return true;
}

/* Version 8 asks for several groups: their topics have the same shape under other names. */
_Static_assert(sizeof(struct kafka_offset_fetch_req_topic) ==
                       sizeof(struct kafka_offset_fetch_req_group_topic) &&
                   sizeof(struct kafka_offset_fetch_res_topic) ==
                       sizeof(struct kafka_offset_fetch_res_group_topic) &&
                   sizeof(struct kafka_offset_fetch_res_partition) ==
                       sizeof(struct kafka_offset_fetch_res_group_partition),
               "the two forms are laid out alike");

static bool fetched_groups(struct kafka_coordinator *co, struct kafka_request *r,
                           struct kafka_offset_fetch_res *res)
{
    const struct kafka_offset_fetch_req *req = r->request;
    res->groups = arena_zalloc(&r->arena, req->n_groups, sizeof *res->groups);
    if (res->groups == NULL)
        return false;
    res->n_groups = req->n_groups;
    for (uint32_t i = 0; i < req->n_groups; i++) {
        const struct kafka_offset_fetch_req_group *in = &req->groups[i];
        struct kafka_offset_fetch_res_topic *topics;
        res->groups[i].group_id = in->group_id;
        if (!fetched_topics(r, kafka_groups_find(&co->groups, in->group_id),
                            (const struct kafka_offset_fetch_req_topic *)(const void *)in->topics,
                            in->n_topics, &topics, &res->groups[i].n_topics))
            return false;
        res->groups[i].topics = (struct kafka_offset_fetch_res_group_topic *)(void *)topics;
    }
    return true;
}

static void run_offset_fetch(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_offset_fetch_req *req = r->request;
    struct kafka_offset_fetch_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    bool complete = res != NULL;
    if (complete && r->header.api_version >= 8)
        complete = fetched_groups(co, r, res);
    else if (complete)
        complete = fetched_topics(r, kafka_groups_find(&co->groups, req->group_id), req->topics,
                                  req->n_topics, &res->topics, &res->n_topics);
    reply(r, complete ? res : NULL);
}

/* ---- DescribeGroups, ListGroups, DeleteGroups ---- */

static void describe_one(struct kafka_request *r, const struct kafka_group *g,
                         struct kafka_describe_groups_res_group *out)
{
    out->group_state = str_of(kafka_group_state_name(g->state));
    out->protocol_type = arena_str(&r->arena, g->protocol_type);
    out->protocol_data = arena_str(&r->arena, g->protocol);
    out->members = arena_zalloc(&r->arena, g->n_members, sizeof *out->members);
    if (out->members == NULL) {
        out->error_code = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
        return;
    }
    LIST_FOR(it, &g->members)
    {
        const struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (m->pending)
            continue;
        struct kafka_describe_groups_res_member *o = &out->members[out->n_members++];
        o->member_id = arena_str(&r->arena, m->id);
        if (m->instance.ptr != NULL)
            o->group_instance_id = arena_str(&r->arena, m->instance);
        o->client_id = arena_str(&r->arena, m->client_id);
        o->client_host = arena_str(&r->arena, m->client_host);
        o->member_assignment = arena_str(&r->arena, m->assignment);
        for (uint32_t i = 0; i < m->n_protocols; i++)
            if (str_eq(m->protocols[i].name, g->protocol))
                o->member_metadata = arena_str(&r->arena, m->protocols[i].metadata);
    }
}

static void run_describe(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_describe_groups_req *req = r->request;
    struct kafka_describe_groups_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL)
        res->groups = arena_zalloc(&r->arena, req->n_groups, sizeof *res->groups);
    if (res == NULL || res->groups == NULL) {
        reply(r, NULL);
        return;
    }
    res->n_groups = req->n_groups;
    for (uint32_t i = 0; i < req->n_groups; i++) {
        const struct kafka_group *g = kafka_groups_find(&co->groups, req->groups[i]);
        res->groups[i].group_id = req->groups[i];
        res->groups[i].authorized_operations = INT32_MIN;
        res->groups[i].group_state = str_of(kafka_group_state_name(GROUP_DEAD));
        if (g != NULL)
            describe_one(r, g, &res->groups[i]);
    }
    reply(r, res);
}

static bool state_wanted(const struct kafka_list_groups_req *req, enum kafka_group_state state)
{
    for (uint32_t i = 0; i < req->n_states_filter; i++)
        if (str_ieq(req->states_filter[i], str_of(kafka_group_state_name(state))))
            return true;
    return req->n_states_filter == 0;
}

static void run_list(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_list_groups_req *req = r->request;
    struct kafka_list_groups_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL)
        res->groups = arena_zalloc(&r->arena, co->groups.n, sizeof *res->groups);
    if (res == NULL || res->groups == NULL) {
        reply(r, NULL);
        return;
    }
    LIST_FOR(it, &co->groups.all)
    {
        const struct kafka_group *g = LIST_ENTRY(it, struct kafka_group, link);
        if (!state_wanted(req, g->state))
            continue;
        struct kafka_list_groups_res_group *out = &res->groups[res->n_groups++];
        out->group_id = arena_str(&r->arena, g->id);
        out->protocol_type = arena_str(&r->arena, g->protocol_type);
        out->group_state = str_of(kafka_group_state_name(g->state));
    }
    reply(r, res);
}

struct delete_state {
    struct offsets_write write;
    struct kafka_delete_groups_res *res;
    struct kafka_request *request;
    struct kafka_coordinator *co;
    uint32_t next;
};

static void delete_run(struct delete_state *st);

static void delete_done(struct offsets_write *w, enum err e)
{
    struct delete_state *st = CONTAINER_OF(w, struct delete_state, write);
    if (e != ERR_OK)
        st->res->results[st->next].error_code = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    st->next++;
    delete_run(st);
}

/* One group after the other: its offsets are overwritten by removals. */
static void delete_run(struct delete_state *st)
{
    struct kafka_request *r = st->request;
    const struct kafka_delete_groups_req *req = r->request;
    for (; st->next < req->n_group_names; st->next++) {
        struct kafka_delete_groups_res_result *out = &st->res->results[st->next];
        out->group_id = req->group_names[st->next];
        out->error_code = kafka_groups_may_delete(&st->co->groups, out->group_id);
        const struct kafka_group *g = kafka_groups_find(&st->co->groups, out->group_id);
        if (out->error_code != KAFKA_OK || g == NULL || g->n_offsets == 0)
            continue;
        st->write = (struct offsets_write){.group = out->group_id, .done = delete_done};
        st->write.items = arena_zalloc(&r->arena, g->n_offsets, sizeof *st->write.items);
        if (st->write.items == NULL) {
            reply(r, NULL);
            return;
        }
        LIST_FOR(it, &g->offsets)
        {
            const struct kafka_group_offset *o = LIST_ENTRY(it, struct kafka_group_offset, link);
            st->write.items[st->write.n_items++] = (struct offsets_item){
                .topic = arena_str(&r->arena, o->topic), .partition = o->partition, .remove = true};
        }
        offsets_log_write(st->co->log, &st->write);
        return;
    }
    reply(r, st->res);
}

static void run_delete(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_delete_groups_req *req = r->request;
    struct delete_state *st = arena_zalloc(&r->arena, 1, sizeof *st);
    struct kafka_delete_groups_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL)
        res->results = arena_zalloc(&r->arena, req->n_group_names, sizeof *res->results);
    if (st == NULL || res == NULL || res->results == NULL) {
        reply(r, NULL);
        return;
    }
    res->n_results = req->n_group_names;
    st->res = res;
    st->request = r;
    st->co = co;
    delete_run(st);
}

/* ---- carrying ---- */

/* An answer of the request's kind that says nothing but `error`. */
static void *refusal(struct kafka_request *r, int16_t error)
{
    void *res = arena_zalloc(&r->arena, 1, r->codec->response.size);
    if (res == NULL)
        return NULL;
    switch (r->header.api_key) {
    case KAFKA_JOIN_GROUP:
        ((struct kafka_join_group_res *)res)->error_code = error;
        ((struct kafka_join_group_res *)res)->generation_id = -1;
        break;
    case KAFKA_SYNC_GROUP:
        ((struct kafka_sync_group_res *)res)->error_code = error;
        break;
    case KAFKA_HEARTBEAT:
        ((struct kafka_heartbeat_res *)res)->error_code = error;
        break;
    case KAFKA_LEAVE_GROUP:
        ((struct kafka_leave_group_res *)res)->error_code = error;
        break;
    case KAFKA_LIST_GROUPS:
        ((struct kafka_list_groups_res *)res)->error_code = error;
        break;
    default:
        return NULL; /* errors stand with each item: the connection ends, the client comes again */
    }
    return res;
}

static void group_dispatch(struct kafka_coordinator *co, struct kafka_request *r)
{
    switch (r->header.api_key) {
    case KAFKA_JOIN_GROUP:
        run_join(co, r);
        break;
    case KAFKA_SYNC_GROUP:
        run_sync(co, r);
        break;
    case KAFKA_HEARTBEAT:
        run_heartbeat(co, r);
        break;
    case KAFKA_LEAVE_GROUP:
        run_leave(co, r);
        break;
    case KAFKA_OFFSET_COMMIT:
        run_commit(co, r);
        break;
    case KAFKA_OFFSET_FETCH:
        run_offset_fetch(co, r);
        break;
    case KAFKA_DESCRIBE_GROUPS:
        run_describe(co, r);
        break;
    case KAFKA_LIST_GROUPS:
        run_list(co, r);
        break;
    case KAFKA_DELETE_GROUPS:
        run_delete(co, r);
        break;
    default:
        UNREACHABLE();
    }
}

/* Shard 0. */
static void group_run(struct shard *target, struct shard_call *call)
{
    (void)target;
    struct kafka_request *r = CONTAINER_OF(call, struct kafka_request, call);
    struct kafka_coordinator *co = coordinator_of(r);
    if (co->stopped) {
        reply(r, refusal(r, KAFKA_E_COORDINATOR_NOT_AVAILABLE));
        return;
    }
    if (!offsets_log_ready(co->log)) {
        if (!offsets_log_await(co->log, call))
            reply(r, refusal(r, KAFKA_E_COORDINATOR_LOADING));
        return;
    }
    group_dispatch(co, r);
    timer_arm(co);
}

static void group_done(struct shard *origin, struct shard_call *call)
{
    (void)origin;
    struct kafka_request *r = CONTAINER_OF(call, struct kafka_request, call);
    if (r->response == NULL)
        kafka_request_fail(r, "could not be carried out by the group coordinator");
    else
        kafka_request_finish(r, r->response);
}

void kafka_handle_group(struct kafka_request *r)
{
    r->call.run = group_run;
    r->call.done = group_done;
    shard_call(r->shard, 0, &r->call);
}

/* ---- life ---- */

static void coordinator_turn(struct shard_service *service, struct shard *s)
{
    (void)s;
    struct kafka_coordinator *co = CONTAINER_OF(service, struct kafka_coordinator, service);
    if (!co->stopped)
        offsets_log_turn(co->log);
}

static void coordinator_stop(struct shard_service *service, struct shard *s)
{
    struct kafka_coordinator *co = CONTAINER_OF(service, struct kafka_coordinator, service);
    co->stopped = true;
    shard_timer_cancel(s, &co->timer);
    kafka_groups_stop(&co->groups, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
    offsets_log_stop(co->log);
    list_remove(&service->link);
}

struct kafka_coordinator *kafka_coordinator_new(struct engine *e)
{
    struct kafka_coordinator *co = mem_zalloc(1, sizeof *co);
    if (co == NULL)
        return NULL;
    kafka_groups_init(&co->groups);
    co->engine = e;
    co->groups.joined = joined;
    co->groups.synced = synced;
    co->timer.fire = timer_fire;
    co->service.turn = coordinator_turn;
    co->service.stop = coordinator_stop;
    co->log = offsets_log_new(e, &co->groups);
    if (co->log == NULL) {
        mem_free(co);
        return NULL;
    }
    shard_service_add(engine_shard(e, 0), &co->service);
    return co;
}

void kafka_coordinator_free(struct kafka_coordinator *co)
{
    kafka_groups_deinit(&co->groups);
    offsets_log_free(co->log);
    mem_free(co);
}
