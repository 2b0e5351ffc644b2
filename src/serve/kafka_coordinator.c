#include "serve/kafka_coordinator.h"

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

/* Shard 0. The answer may be NULL: out of memory. */
void kafka_coordinator_reply(struct kafka_request *r, void *response)
{
    r->response = response;
    shard_call_reply(engine_shard(r->server->engine, 0), &r->call);
}

int64_t kafka_coordinator_now_ms(struct kafka_coordinator *co)
{
    return shard_mono_ns(engine_shard(co->engine, 0)) / 1000000;
}

static struct kafka_coordinator *coordinator_of(struct kafka_request *r)
{
    return r->server->coordinator;
}

/* When the coordinator has something to do next. */
static int64_t next_ms(const struct kafka_coordinator *co)
{
    int64_t at = co->groups.next_ms;
    if (co->groups.retry_ms < at)
        at = co->groups.retry_ms;
    if (co->expiry.next_ms < at)
        at = co->expiry.next_ms;
    return at;
}

static void timer_arm_at(struct kafka_coordinator *co, int64_t at_ms)
{
    struct shard *zero = engine_shard(co->engine, 0);
    if (at_ms == INT64_MAX || co->stopped)
        return;
    int64_t at = at_ms * 1000000;
    if (co->timer.heap_index != 0 && co->timer.at_ns <= at)
        return;
    if (shard_timer_set(zero, &co->timer, at) != ERR_OK)
        engine_note(co->engine, "error", "kafka: no memory for the timer of consumer groups");
}

static void timer_arm(struct kafka_coordinator *co)
{
    timer_arm_at(co, next_ms(co));
}

static void timer_fire(struct shard_timer *t)
{
    struct kafka_coordinator *co = CONTAINER_OF(t, struct kafka_coordinator, timer);
    co->groups.wall_ms = shard_wall_us(engine_shard(co->engine, 0)) / 1000;
    kafka_groups_tick(&co->groups, kafka_coordinator_now_ms(co));
    /* Armed again by this turn's coordinator_turn, which also does what else has come due. */
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
    LIST_FOR (it, &g->members) {
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

/* The generation is an epoch that could not be written ahead. */
static void join_unlogged(void *response)
{
    struct kafka_join_group_res *res = response;
    *res = (struct kafka_join_group_res){.error_code = KAFKA_E_COORDINATOR_NOT_AVAILABLE,
                                         .generation_id = -1,
                                         .protocol_name = STR("")};
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
        /* A version that cannot say that nothing is to be assigned names nobody as the leader. */
        res->skip_assignment = in->skip_assignment;
        if (in->skip_assignment && r->header.api_version < 9)
            res->leader = STR("");
        else if (in->members_of != NULL)
            join_members(r, in, res);
    }
    if (res != NULL && in->consumer != NULL)
        kafka_group_epoch_reply(r, in->consumer, in->generation, res, join_unlogged);
    else
        kafka_coordinator_reply(r, res);
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

struct str kafka_coordinator_host(struct kafka_request *r)
{
    return arena_printf(&r->arena, "/%.*s", STR_ARG(kafka_request_conn(r)->host));
}

static void run_join(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_join_group_req *req = r->request;
    bool known = req->member_id.len > 0;
    struct kafka_group_protocol *protocols =
        arena_zalloc(&r->arena, req->n_protocols, sizeof *protocols);
    struct kafka_group_join j = {
        .group = req->group_id,
        .member = req->member_id,
        .instance = req->group_instance_id,
        .protocol_type = req->protocol_type,
        .client_id = r->header.client_id,
        .client_host = kafka_coordinator_host(r),
        .session_ms = req->session_timeout_ms,
        .rebalance_ms = req->rebalance_timeout_ms,
        .n_protocols = req->n_protocols,
        .protocols = protocols,
        .id_required = r->header.api_version >= 4,
        .new_id = known ? (struct str){"", 0} : member_id_new(co, r),
        .catalog = shard_catalog(engine_shard(co->engine, 0)),
        .waiter = r,
    };
    if (protocols == NULL || j.new_id.ptr == NULL) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    for (uint32_t i = 0; i < req->n_protocols; i++)
        protocols[i] =
            (struct kafka_group_protocol){req->protocols[i].name, req->protocols[i].metadata};
    kafka_groups_join(&co->groups, kafka_coordinator_now_ms(co), &j);
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
    kafka_coordinator_reply(r, res);
}

static void run_sync(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_sync_group_req *req = r->request;
    struct kafka_group_assignment *all = arena_zalloc(&r->arena, req->n_assignments, sizeof *all);
    if (all == NULL) {
        kafka_coordinator_reply(r, NULL);
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
        .catalog = shard_catalog(engine_shard(co->engine, 0)),
        .waiter = r,
    };
    kafka_groups_sync(&co->groups, kafka_coordinator_now_ms(co), &s);
}

/* ---- Heartbeat, LeaveGroup ---- */

static void run_heartbeat(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_heartbeat_req *req = r->request;
    struct kafka_heartbeat_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL)
        res->error_code =
            kafka_groups_heartbeat(&co->groups, kafka_coordinator_now_ms(co), req->group_id,
                                   req->generation_id, req->member_id, req->group_instance_id);
    kafka_coordinator_reply(r, res);
}

static void run_leave(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_leave_group_req *req = r->request;
    struct kafka_leave_group_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res == NULL) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    if (r->header.api_version < 3) {
        res->error_code = kafka_groups_leave(&co->groups, kafka_coordinator_now_ms(co),
                                             req->group_id, req->member_id, (struct str){NULL, 0});
        kafka_coordinator_reply(r, res);
        return;
    }
    if (req->n_members > GROUP_MEMBERS_MAX) {
        res->error_code = KAFKA_E_INVALID_REQUEST;
        kafka_coordinator_reply(r, res);
        return;
    }
    res->members = arena_zalloc(&r->arena, req->n_members, sizeof *res->members);
    if (res->members == NULL) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    res->n_members = req->n_members;
    for (uint32_t i = 0; i < req->n_members; i++) {
        const struct kafka_leave_group_req_member *m = &req->members[i];
        res->members[i].member_id = m->member_id;
        res->members[i].group_instance_id = m->group_instance_id;
        res->members[i].error_code =
            kafka_groups_leave(&co->groups, kafka_coordinator_now_ms(co), req->group_id,
                               m->member_id, m->group_instance_id);
    }
    kafka_coordinator_reply(r, res);
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
    case KAFKA_CONSUMER_GROUP_HEARTBEAT:
        ((struct kafka_consumer_group_heartbeat_res *)res)->error_code = error;
        break;
    case KAFKA_OFFSET_DELETE:
        ((struct kafka_offset_delete_res *)res)->error_code = error;
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
    case KAFKA_CONSUMER_GROUP_HEARTBEAT:
        kafka_group_consumer_heartbeat(co, r);
        break;
    case KAFKA_CONSUMER_GROUP_DESCRIBE:
        kafka_group_consumer_describe(co, r);
        break;
    case KAFKA_OFFSET_COMMIT:
        kafka_group_commit(co, r);
        break;
    case KAFKA_TXN_OFFSET_COMMIT:
        kafka_group_txn_commit(co, r);
        break;
    case KAFKA_OFFSET_FETCH:
        kafka_group_offset_fetch(co, r);
        break;
    case KAFKA_DESCRIBE_GROUPS:
        kafka_group_describe(co, r);
        break;
    case KAFKA_LIST_GROUPS:
        kafka_group_list(co, r);
        break;
    case KAFKA_OFFSET_DELETE:
        kafka_group_offset_delete(co, r);
        break;
    case KAFKA_DELETE_GROUPS:
        kafka_group_delete(co, r);
        break;
    default:
        UNREACHABLE();
    }
}

/* Shard 0. */
static void group_run(struct shard *target, struct shard_call *call)
{
    struct kafka_request *r = CONTAINER_OF(call, struct kafka_request, call);
    struct kafka_coordinator *co = coordinator_of(r);
    if (co->stopped) {
        kafka_coordinator_reply(r, refusal(r, KAFKA_E_COORDINATOR_NOT_AVAILABLE));
        return;
    }
    if (!offsets_log_ready(co->log)) {
        if (!offsets_log_await(co->log, call))
            kafka_coordinator_reply(r, refusal(r, KAFKA_E_COORDINATOR_LOADING));
        return;
    }
    co->groups.wall_ms = shard_wall_us(target) / 1000;
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

/* A catalog with other topics: subscriptions are resolved again, offsets of dropped topics go. */
static void catalog_look(struct kafka_coordinator *co, const struct catalog *c, int64_t now_ms)
{
    if (c->version == co->catalog_version)
        return;
    if (now_ms < co->refreshed_ms + CATALOG_REFRESH_MS) {
        timer_arm_at(co, co->refreshed_ms + CATALOG_REFRESH_MS);
        return;
    }
    uint64_t topics_gone = c->next_topic - c->n_topics;
    if (topics_gone != co->topics_gone)
        kafka_expiry_begin(co);
    co->topics_gone = topics_gone;
    co->catalog_version = c->version;
    co->refreshed_ms = now_ms;
    kafka_consumer_groups_refresh(&co->groups);
}

static void coordinator_turn(struct shard_service *service, struct shard *s)
{
    struct kafka_coordinator *co = CONTAINER_OF(service, struct kafka_coordinator, service);
    if (co->stopped)
        return;
    bool more = offsets_log_turn(co->log);
    if (!offsets_log_ready(co->log) || shard_catalog(s) == NULL)
        return;
    int64_t now_ms = kafka_coordinator_now_ms(co);
    catalog_look(co, shard_catalog(s), now_ms);
    if (now_ms >= co->expiry.next_ms)
        kafka_expiry_begin(co);
    if (!list_empty(&co->groups.dirty) &&
        (co->groups.retry_ms == INT64_MAX || now_ms >= co->groups.retry_ms))
        more = kafka_consumer_groups_work(&co->groups, now_ms, shard_catalog(s)) || more;
    more = kafka_expiry_turn(co) || more;
    if (more)
        timer_arm_at(co, now_ms);
    else
        timer_arm(co);
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
    host_random(engine_host(e), &co->groups.hash_seed, sizeof co->groups.hash_seed);
    co->engine = e;
    co->groups.joined = joined;
    co->groups.synced = synced;
    co->groups.beaten = kafka_group_beaten;
    co->timer.fire = timer_fire;
    co->service.turn = coordinator_turn;
    co->service.stop = coordinator_stop;
    co->log = offsets_log_new(e, &co->groups);
    if (co->log == NULL) {
        mem_free(co);
        return NULL;
    }
    kafka_expiry_init(co);
    shard_service_add(engine_shard(e, 0), &co->service);
    return co;
}

struct offsets_log *kafka_coordinator_offsets(struct kafka_coordinator *co)
{
    return co->log;
}

void kafka_coordinator_free(struct kafka_coordinator *co)
{
    kafka_groups_deinit(&co->groups);
    offsets_log_free(co->log);
    kafka_expiry_deinit(co);
    mem_free(co);
}
