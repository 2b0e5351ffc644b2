#include "base/merge_sort.h"
#include "serve/kafka_coordinator.h"

#include <stdlib.h>

/* OffsetCommit, OffsetFetch and OffsetDelete, on shard 0. Since their version 10 the first two name
 * topics by id; everything behind the first step works with names. */

static const struct catalog *catalog_of(struct kafka_coordinator *co)
{
    return shard_catalog(engine_shard(co->engine, 0));
}

/* The catalog's topic that a request means, by name or, if the version has ids, by id. */
static const struct topic *topic_named(struct kafka_coordinator *co, struct str name,
                                       struct kafka_uuid id, bool by_id)
{
    const struct catalog *c = catalog_of(co);
    return by_id ? catalog_topic_by_id(c, id.bytes) : catalog_topic(c, name);
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
    kafka_coordinator_reply(st->request, st->res);
}

static void commit_done(struct offsets_write *w, enum err e)
{
    struct commit_state *st = CONTAINER_OF(w, struct commit_state, write);
    commit_answer(st, e == ERR_OK ? (int16_t)KAFKA_OK : (int16_t)KAFKA_E_COORDINATOR_NOT_AVAILABLE);
}

int16_t kafka_group_commit_add(struct offsets_write *w, const struct topic *t, bool by_id,
                               const struct offsets_item *item)
{
    if (t == NULL)
        return by_id ? KAFKA_E_UNKNOWN_TOPIC_ID : KAFKA_E_UNKNOWN_TOPIC;
    if (item->partition < 0 || (uint32_t)item->partition >= t->n_partitions)
        return KAFKA_E_UNKNOWN_TOPIC;
    if (item->metadata.len > GROUP_OFFSET_METADATA_BYTES_MAX)
        return KAFKA_E_OFFSET_METADATA_TOO_LARGE;
    struct offsets_item *added = &w->items[w->n_items++];
    *added = *item;
    added->topic_number = t->number;
    memcpy(added->topic_id.bytes, t->id, sizeof added->topic_id.bytes);
    return KAFKA_OK;
}

/* One topic's offsets into the write, or its error into the answer. False: out of memory. */
static bool commit_topic(struct kafka_coordinator *co, struct commit_state *st,
                         const struct kafka_offset_commit_req_topic *in,
                         struct kafka_offset_commit_res_topic *out)
{
    struct kafka_request *r = st->request;
    bool by_id = r->header.api_version >= 10;
    const struct topic *t = topic_named(co, in->name, in->topic_id, by_id);
    out->name = in->name;
    out->topic_id = in->topic_id;
    out->n_partitions = in->n_partitions;
    out->partitions = arena_zalloc(&r->arena, in->n_partitions, sizeof *out->partitions);
    struct str name = t != NULL ? arena_str(&r->arena, t->name) : STR("");
    if (out->partitions == NULL || name.ptr == NULL)
        return false;
    for (uint32_t k = 0; k < in->n_partitions; k++) {
        const struct kafka_offset_commit_req_partition *p = &in->partitions[k];
        const struct offsets_item item = {.topic = name,
                                          .partition = p->index,
                                          .offset = p->committed_offset,
                                          .leader_epoch = p->committed_leader_epoch,
                                          .metadata = p->committed_metadata};
        out->partitions[k].error_code = kafka_group_commit_add(&st->write, t, by_id, &item);
    }
    return true;
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
    for (uint32_t i = 0; i < req->n_topics; i++)
        if (!commit_topic(co, st, &req->topics[i], &st->res->topics[i]))
            return false;
    return true;
}

void kafka_group_commit(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_offset_commit_req *req = r->request;
    struct commit_state *st = arena_zalloc(&r->arena, 1, sizeof *st);
    if (st == NULL) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    st->request = r;
    st->res = arena_zalloc(&r->arena, 1, sizeof *st->res);
    st->write.group = req->group_id;
    st->write.done = commit_done;
    if (st->res == NULL || !commit_collect(co, st)) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    int32_t generation = r->header.api_version >= 1 ? req->generation_id : -1;
    struct str member = r->header.api_version >= 1 ? req->member_id : STR("");
    int16_t error =
        kafka_groups_may_commit(&co->groups, kafka_coordinator_now_ms(co), req->group_id,
                                generation, member, req->group_instance_id);
    if (r->header.api_version < 9)
        error = kafka_group_commit_error_old(error);
    if (error != KAFKA_OK || st->write.n_items == 0) {
        commit_answer(st, error);
        return;
    }
    offsets_log_write(co->log, &st->write);
}

/* ---- OffsetFetch ---- */

static void fetched_one(struct kafka_coordinator *co, struct kafka_request *r, struct str group,
                        const struct kafka_group *g, struct str topic, int32_t partition,
                        struct kafka_offset_fetch_res_group_partition *out)
{
    const struct kafka_offset_fetch_req *req = r->request;
    const struct kafka_group_offset *o =
        g == NULL ? NULL : kafka_group_offset_find(g, topic, partition);
    const struct topic *t = o != NULL ? catalog_topic(catalog_of(co), topic) : NULL;
    if (t != NULL && o->topic_number != 0 && o->topic_number != t->number)
        o = NULL; /* of a topic of that name that was dropped */
    out->index = partition;
    out->committed_offset = o != NULL ? o->offset : -1;
    out->committed_leader_epoch = o != NULL ? o->leader_epoch : -1;
    out->metadata = o != NULL ? arena_str(&r->arena, o->metadata) : STR("");
    /* A transaction decides: who takes over the partition has to wait for it. */
    if (req->require_stable && offsets_log_unstable(co->log, group, topic, partition))
        out->error_code = KAFKA_E_UNSTABLE_OFFSET;
}

static int offset_compare(const void *a, const void *b, void *arg)
{
    const struct kafka_group_offset *const *x = a, *const *y = b;
    int order = str_cmp((*x)->topic, (*y)->topic);
    (void)arg;
    if (order != 0)
        return order;
    return ((*x)->partition > (*y)->partition) - ((*x)->partition < (*y)->partition);
}

/* The group's offsets by topic and partition; NULL when out of memory. */
static const struct kafka_group_offset **offsets_sorted(struct kafka_request *r,
                                                        const struct kafka_group *g)
{
    const struct kafka_group_offset **all = arena_zalloc(&r->arena, g->n_offsets, sizeof(void *));
    void *spare = arena_zalloc(&r->arena, g->n_offsets, sizeof(void *));
    struct merge_sort sort;
    uint32_t n = 0;
    if (all == NULL || spare == NULL)
        return NULL;
    LIST_FOR (it, &g->offsets)
        all[n++] = LIST_ENTRY(it, struct kafka_group_offset, link);
    merge_sort_begin(&sort, all, spare, n, sizeof(void *), offset_compare, NULL);
    while (!merge_sort_run(&sort, UINT64_MAX)) {
    }
    return merge_sort_result(&sort);
}

/* All offsets of a group. A topic has one entry: of several, clients take the last. Those of topics
 * that are gone cannot be named by id. */
static bool fetched_all(struct kafka_coordinator *co, struct kafka_request *r,
                        const struct kafka_group *g, struct kafka_offset_fetch_res_group *out)
{
    uint32_t n = g != NULL ? g->n_offsets : 0;
    out->topics = arena_zalloc(&r->arena, n, sizeof *out->topics);
    struct kafka_offset_fetch_res_group_partition *parts =
        arena_zalloc(&r->arena, n, sizeof *parts);
    if (out->topics == NULL || parts == NULL)
        return false;
    if (n == 0)
        return true;
    const struct kafka_group_offset **all = offsets_sorted(r, g);
    if (all == NULL)
        return false;
    bool by_id = r->header.api_version >= 10;
    struct kafka_offset_fetch_res_group_topic *topic = NULL;
    for (uint32_t i = 0; i < n; i++) {
        const struct kafka_group_offset *o = all[i];
        if (topic == NULL || !str_eq(topic->name, o->topic)) {
            const struct topic *t = topic_named(co, o->topic, (struct kafka_uuid){{0}}, false);
            if (by_id && t == NULL)
                continue;
            topic = &out->topics[out->n_topics++];
            topic->name = arena_str(&r->arena, o->topic);
            topic->partitions = &parts[i];
            if (topic->name.ptr == NULL)
                return false;
            if (t != NULL)
                memcpy(topic->topic_id.bytes, t->id, sizeof topic->topic_id.bytes);
        }
        fetched_one(co, r, g->id, g, o->topic, o->partition,
                    &topic->partitions[topic->n_partitions++]);
    }
    return true;
}

/* The offsets of the partitions asked for; NULL topics means all. False: out of memory. */
static bool fetched_group(struct kafka_coordinator *co, struct kafka_request *r,
                          const struct kafka_offset_fetch_req_group *in,
                          struct kafka_offset_fetch_res_group *out)
{
    const struct kafka_group *g = kafka_groups_find(&co->groups, in->group_id);
    bool by_id = r->header.api_version >= 10;
    out->group_id = in->group_id;
    /* Members of the new protocol say who they are: somebody who was fenced is not to go on from
     * what others have committed since. */
    if (g != NULL && g->consumer != NULL && (in->member_epoch >= 0 || in->member_id.len > 0))
        out->error_code = kafka_consumer_may_commit(g, in->member_id, in->member_epoch);
    if (out->error_code != KAFKA_OK) {
        out->topics = arena_zalloc(&r->arena, 0, sizeof *out->topics);
        return out->topics != NULL;
    }
    if (in->topics == NULL)
        return fetched_all(co, r, g, out);
    out->topics = arena_zalloc(&r->arena, in->n_topics, sizeof *out->topics);
    if (out->topics == NULL)
        return false;
    out->n_topics = in->n_topics;
    for (uint32_t i = 0; i < in->n_topics; i++) {
        const struct kafka_offset_fetch_req_group_topic *asked = &in->topics[i];
        struct kafka_offset_fetch_res_group_topic *topic = &out->topics[i];
        const struct topic *t = by_id ? topic_named(co, asked->name, asked->topic_id, true) : NULL;
        topic->name = by_id ? (t != NULL ? t->name : STR("")) : asked->name;
        topic->topic_id = asked->topic_id;
        topic->n_partitions = asked->n_partition_indexes;
        topic->partitions = arena_zalloc(&r->arena, topic->n_partitions, sizeof *topic->partitions);
        if (topic->partitions == NULL)
            return false;
        for (uint32_t k = 0; k < topic->n_partitions; k++) {
            fetched_one(co, r, in->group_id, g, topic->name, asked->partition_indexes[k],
                        &topic->partitions[k]);
            if (by_id && t == NULL)
                topic->partitions[k].error_code = KAFKA_E_UNKNOWN_TOPIC_ID;
        }
        if (by_id)
            topic->name = STR(""); /* of the catalog: not to be kept */
    }
    return true;
}

/* Before version 8 a request has one group: its topics are of the same shape under other names. */
_Static_assert(sizeof(struct kafka_offset_fetch_res_partition) ==
                   sizeof(struct kafka_offset_fetch_res_group_partition),
               "the two forms are laid out alike");

static bool fetched_single(struct kafka_coordinator *co, struct kafka_request *r,
                           struct kafka_offset_fetch_res *res)
{
    const struct kafka_offset_fetch_req *req = r->request;
    struct kafka_offset_fetch_res_group found = {0};
    struct kafka_offset_fetch_req_group in = {
        .group_id = req->group_id, .member_epoch = -1, .n_topics = req->n_topics};
    if (req->topics != NULL) {
        in.topics = arena_zalloc(&r->arena, req->n_topics, sizeof *in.topics);
        if (in.topics == NULL)
            return false;
    }
    for (uint32_t i = 0; i < req->n_topics; i++) {
        in.topics[i].name = req->topics[i].name;
        in.topics[i].n_partition_indexes = req->topics[i].n_partition_indexes;
        in.topics[i].partition_indexes = req->topics[i].partition_indexes;
    }
    if (!fetched_group(co, r, &in, &found))
        return false;
    res->topics = arena_zalloc(&r->arena, found.n_topics, sizeof *res->topics);
    if (res->topics == NULL)
        return false;
    res->n_topics = found.n_topics;
    res->error_code = found.error_code;
    for (uint32_t i = 0; i < found.n_topics; i++) {
        res->topics[i].name = found.topics[i].name;
        res->topics[i].n_partitions = found.topics[i].n_partitions;
        res->topics[i].partitions =
            (struct kafka_offset_fetch_res_partition *)(void *)found.topics[i].partitions;
    }
    return true;
}

void kafka_group_offset_fetch(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_offset_fetch_req *req = r->request;
    struct kafka_offset_fetch_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    bool complete = res != NULL;
    if (complete && r->header.api_version < 8)
        complete = fetched_single(co, r, res);
    if (complete && r->header.api_version >= 8) {
        res->groups = arena_zalloc(&r->arena, req->n_groups, sizeof *res->groups);
        complete = res->groups != NULL;
        res->n_groups = complete ? req->n_groups : 0;
        for (uint32_t i = 0; i < res->n_groups && complete; i++)
            complete = fetched_group(co, r, &req->groups[i], &res->groups[i]);
    }
    kafka_coordinator_reply(r, complete ? res : NULL);
}

/* ---- OffsetDelete ---- */

struct forget_state {
    struct offsets_write write;
    struct kafka_offset_delete_res *res;
    struct kafka_request *request;
};

static void forget_done(struct offsets_write *w, enum err e)
{
    struct forget_state *st = CONTAINER_OF(w, struct forget_state, write);
    if (e != ERR_OK)
        st->res->error_code = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    kafka_coordinator_reply(st->request, st->res);
}

static int name_compare(const void *a, const void *b)
{
    const struct kafka_group_topic *x = a, *y = b;
    return str_cmp(x->name, y->name);
}

/* The request's topics, each once and in order, and which are in use. NULL: out of memory. */
static struct kafka_group_topic *forget_topics(struct kafka_coordinator *co,
                                               struct kafka_request *r, const struct kafka_group *g,
                                               uint32_t *n)
{
    const struct kafka_offset_delete_req *req = r->request;
    struct kafka_group_topic *topics = arena_zalloc(&r->arena, req->n_topics, sizeof *topics);
    *n = 0;
    if (topics == NULL)
        return NULL;
    for (uint32_t i = 0; i < req->n_topics; i++)
        topics[i].name = req->topics[i].name;
    if (req->n_topics > 1)
        qsort(topics, req->n_topics, sizeof *topics, name_compare);
    for (uint32_t i = 0; i < req->n_topics; i++)
        if (*n == 0 || !str_eq(topics[*n - 1].name, topics[i].name))
            topics[(*n)++] = topics[i];
    if (g->consumer == NULL)
        kafka_group_subscribed(g, topics, *n);
    for (uint32_t i = 0; i < *n && g->consumer != NULL; i++)
        topics[i].used = kafka_consumer_subscribes(g->consumer, catalog_of(co), topics[i].name);
    return topics;
}

/* Of each partition: gone, or why not. False: out of memory. */
static bool forget_collect(struct kafka_coordinator *co, struct forget_state *st,
                           const struct kafka_group *g)
{
    struct kafka_request *r = st->request;
    const struct kafka_offset_delete_req *req = r->request;
    uint32_t n = 0;
    for (uint32_t i = 0; i < req->n_topics; i++)
        n += req->topics[i].n_partitions;
    st->res->topics = arena_zalloc(&r->arena, req->n_topics, sizeof *st->res->topics);
    st->write.items = arena_zalloc(&r->arena, n, sizeof *st->write.items);
    uint32_t n_topics;
    struct kafka_group_topic *topics = forget_topics(co, r, g, &n_topics);
    if (st->res->topics == NULL || st->write.items == NULL || topics == NULL)
        return false;
    st->res->n_topics = req->n_topics;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        const struct kafka_offset_delete_req_topic *in = &req->topics[i];
        struct kafka_offset_delete_res_topic *out = &st->res->topics[i];
        bool known = topic_named(co, in->name, (struct kafka_uuid){{0}}, false) != NULL;
        bool in_use = kafka_group_topic_find(topics, n_topics, in->name)->used;
        out->name = in->name;
        out->n_partitions = in->n_partitions;
        out->partitions = arena_zalloc(&r->arena, in->n_partitions, sizeof *out->partitions);
        if (out->partitions == NULL)
            return false;
        for (uint32_t k = 0; k < in->n_partitions; k++) {
            bool there = kafka_group_offset_find(g, in->name, in->partitions[k]) != NULL;
            out->partitions[k].index = in->partitions[k];
            if (in_use)
                out->partitions[k].error_code = KAFKA_E_GROUP_SUBSCRIBED;
            else if (there)
                st->write.items[st->write.n_items++] = (struct offsets_item){
                    .topic = in->name, .partition = in->partitions[k], .remove = true};
            else if (!known)
                out->partitions[k].error_code = KAFKA_E_UNKNOWN_TOPIC;
        }
    }
    return true;
}

void kafka_group_offset_delete(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_offset_delete_req *req = r->request;
    const struct kafka_group *g = kafka_groups_find(&co->groups, req->group_id);
    struct forget_state *st = arena_zalloc(&r->arena, 1, sizeof *st);
    if (st == NULL) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    st->request = r;
    st->res = arena_zalloc(&r->arena, 1, sizeof *st->res);
    st->write.group = req->group_id;
    st->write.done = forget_done;
    if (st->res == NULL || (g != NULL && !forget_collect(co, st, g))) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    if (g == NULL)
        st->res->error_code = KAFKA_E_GROUP_ID_NOT_FOUND;
    if (st->write.n_items == 0)
        kafka_coordinator_reply(r, st->res);
    else
        offsets_log_write(co->log, &st->write);
}
