#include "serve/kafka_coordinator.h"

/* ConsumerGroupHeartbeat and ConsumerGroupDescribe, on shard 0. */

enum { MEMBER_TYPE_CLASSIC = 0, MEMBER_TYPE_CONSUMER = 1 };

/* ---- ConsumerGroupHeartbeat ---- */

/* An epoch is written ahead before `response` tells it. */
struct epoch_write {
    struct offsets_write write;
    struct offsets_item item;
    struct kafka_request *request;
    void *response;
    void (*unlogged)(void *response);
};

/* Does the partition belong to the member: is it to read it, or (target) shall it once? */
static bool has_partition(const struct consumer_partition *p, uint16_t slot, bool target)
{
    return target ? p->target == slot : p->holder == slot && !p->revoking;
}

static uint32_t count_partitions(const struct consumer_group *cg, const struct consumer_topic *t,
                                 uint16_t slot, bool target)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n_partitions; i++)
        n += has_partition(&cg->partitions[t->first + i], slot, target);
    return n;
}

/* The numbers of the topic's partitions that are the member's; NULL: none, or out of memory. */
static int32_t *list_partitions(struct arena *a, const struct consumer_group *cg,
                                const struct consumer_topic *t, uint16_t slot, bool target,
                                uint32_t *n)
{
    *n = count_partitions(cg, t, slot, target);
    int32_t *list = *n > 0 ? arena_zalloc(a, *n, sizeof *list) : NULL;
    if (list == NULL)
        return NULL;
    uint32_t at = 0;
    for (uint32_t i = 0; i < t->n_partitions; i++)
        if (has_partition(&cg->partitions[t->first + i], slot, target))
            list[at++] = (int32_t)i;
    return list;
}

/* False: out of memory. */
static bool beat_assignment(struct kafka_request *r, const struct consumer_group *cg,
                            const struct consumer_member *m,
                            struct kafka_consumer_group_heartbeat_res *res)
{
    const struct catalog *c = shard_catalog(engine_shard(r->server->engine, 0));
    struct kafka_consumer_group_heartbeat_res_assignment *out = &res->assignment;
    res->has_assignment = true;
    out->topic_partitions = arena_zalloc(&r->arena, cg->n_topics, sizeof *out->topic_partitions);
    if (out->topic_partitions == NULL)
        return false;
    for (uint32_t i = 0; i < cg->n_topics; i++) {
        uint32_t n;
        int32_t *list = list_partitions(&r->arena, cg, &cg->topics[i], m->slot, false, &n);
        const struct topic *t = catalog_topic_by_number(c, cg->topics[i].number);
        if (n > 0 && list == NULL)
            return false;
        if (n == 0 || t == NULL)
            continue;
        struct kafka_consumer_group_heartbeat_res_topic *topic =
            &out->topic_partitions[out->n_topic_partitions++];
        memcpy(topic->topic_id.bytes, t->id, sizeof topic->topic_id.bytes);
        topic->partitions = list;
        topic->n_partitions = n;
    }
    return true;
}

static void epoch_logged(struct offsets_write *w, enum err e)
{
    struct epoch_write *st = CONTAINER_OF(w, struct epoch_write, write);
    if (e != ERR_OK)
        st->unlogged(st->response);
    kafka_coordinator_reply(st->request, st->response);
}

void kafka_group_epoch_reply(struct kafka_request *r, const struct consumer_group *cg,
                             int32_t epoch, void *response, void (*unlogged)(void *response))
{
    struct epoch_write *st =
        epoch > cg->epoch_logged ? arena_zalloc(&r->arena, 1, sizeof *st) : NULL;
    struct str group = st != NULL ? arena_str(&r->arena, cg->group->id) : (struct str){NULL, 0};
    if (epoch <= cg->epoch_logged || group.ptr == NULL) {
        kafka_coordinator_reply(r, epoch <= cg->epoch_logged ? response : NULL);
        return;
    }
    int64_t ahead = (int64_t)epoch + CONSUMER_EPOCHS_RESERVED;
    st->request = r;
    st->response = response;
    st->unlogged = unlogged;
    st->item =
        (struct offsets_item){.is_epoch = true, .offset = ahead < INT32_MAX ? ahead : INT32_MAX};
    st->write = (struct offsets_write){
        .group = group, .items = &st->item, .n_items = 1, .done = epoch_logged};
    offsets_log_write(r->server->coordinator->log, &st->write);
}

static void beat_unlogged(void *response)
{
    struct kafka_consumer_group_heartbeat_res *res = response;
    *res = (struct kafka_consumer_group_heartbeat_res){
        .error_code = KAFKA_E_COORDINATOR_NOT_AVAILABLE,
        .error_message = STR("the group's epoch could not be made durable")};
}

void kafka_group_beaten(void *waiter, const struct consumer_heartbeat_result *in)
{
    struct kafka_request *r = waiter;
    struct kafka_consumer_group_heartbeat_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    bool complete = res != NULL;
    if (complete) {
        res->error_code = in->error;
        res->member_epoch = in->epoch;
        if (in->why != NULL)
            res->error_message = arena_str(&r->arena, str_of(in->why));
        if (in->error == KAFKA_OK) {
            res->member_id = arena_str(&r->arena, in->member);
            const struct kafka_consumer_group_heartbeat_req *req = r->request;
            res->heartbeat_interval_ms =
                security_group_setting(shard_catalog(engine_shard(r->server->engine, 0))->security,
                                       req->group_id, GROUP_CONFIG_HEARTBEAT_MS, NULL);
            complete = res->member_id.ptr != NULL;
        }
        if (complete && in->with_assignment)
            complete = beat_assignment(r, in->cg, in->m, res);
    }
    if (complete && in->cg != NULL)
        kafka_group_epoch_reply(r, in->cg, in->epoch, res, beat_unlogged);
    else
        kafka_coordinator_reply(r, complete ? res : NULL);
}

/* A random UUID in the form of Kafka's: base64 without padding, for URLs. */
static struct str member_id_new(struct kafka_coordinator *co, struct kafka_request *r)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    enum { ID_CHARACTERS = 22 };
    uint8_t random[ID_CHARACTERS];
    char text[ID_CHARACTERS];
    host_random(engine_host(co->engine), random, sizeof random);
    for (int i = 0; i < ID_CHARACTERS; i++)
        text[i] = digits[random[i] & 63];
    text[0] = digits[random[0] & 31]; /* does not begin with '-' */
    return arena_str(&r->arena, (struct str){text, ID_CHARACTERS});
}

void kafka_group_consumer_heartbeat(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_consumer_group_heartbeat_req *req = r->request;
    struct consumer_owned *owned = arena_zalloc(&r->arena, req->n_topic_partitions, sizeof *owned);
    struct consumer_heartbeat h = {
        .group = req->group_id,
        .member = req->member_id,
        .instance = req->instance_id,
        .rack = req->rack_id,
        .client_id = r->header.client_id,
        .client_host = kafka_coordinator_host(r),
        .regex = req->subscribed_topic_regex,
        .assignor = req->server_assignor,
        .epoch = req->member_epoch,
        .rebalance_ms = req->rebalance_timeout_ms,
        .n_names = req->n_subscribed_topic_names,
        .names = req->subscribed_topic_names,
        .owned_given = req->topic_partitions != NULL,
        .n_owned = req->n_topic_partitions,
        .owned = owned,
        .waiter = r,
    };
    /* Since version 1 members make their ids. */
    if (h.member.len == 0 && r->header.api_version == 0 && h.epoch == 0)
        h.member = member_id_new(co, r);
    if (owned == NULL || h.member.ptr == NULL) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    for (uint32_t i = 0; i < req->n_topic_partitions; i++)
        owned[i] = (struct consumer_owned){req->topic_partitions[i].topic_id.bytes,
                                           req->topic_partitions[i].n_partitions,
                                           req->topic_partitions[i].partitions};
    kafka_consumer_heartbeat(&co->groups, kafka_coordinator_now_ms(co),
                             shard_catalog(engine_shard(co->engine, 0)), &h);
}

/* ---- ConsumerGroupDescribe ---- */

/* What a member has and what it shall have are of the same form under two names. */
_Static_assert(sizeof(struct kafka_consumer_group_describe_res_assignment) ==
                       sizeof(struct kafka_consumer_group_describe_res_target) &&
                   sizeof(struct kafka_consumer_group_describe_res_topic) ==
                       sizeof(struct kafka_consumer_group_describe_res_target_topic),
               "the two forms are laid out alike");

static bool describe_assignment(struct kafka_request *r, const struct consumer_group *cg,
                                const struct consumer_member *m, bool target,
                                struct kafka_consumer_group_describe_res_assignment *out)
{
    const struct catalog *c = shard_catalog(engine_shard(r->server->engine, 0));
    uint32_t n = 0;
    for (uint32_t i = 0; i < cg->n_topics; i++)
        n += count_partitions(cg, &cg->topics[i], m->slot, target) > 0;
    out->topic_partitions = arena_zalloc(&r->arena, n, sizeof *out->topic_partitions);
    if (out->topic_partitions == NULL)
        return false;
    for (uint32_t i = 0; i < cg->n_topics; i++) {
        const struct topic *t = catalog_topic_by_number(c, cg->topics[i].number);
        struct kafka_consumer_group_describe_res_topic *topic =
            &out->topic_partitions[out->n_topic_partitions];
        if (t == NULL || count_partitions(cg, &cg->topics[i], m->slot, target) == 0)
            continue;
        topic->partitions =
            list_partitions(&r->arena, cg, &cg->topics[i], m->slot, target, &topic->n_partitions);
        topic->topic_name = arena_str(&r->arena, t->name);
        memcpy(topic->topic_id.bytes, t->id, sizeof topic->topic_id.bytes);
        if (topic->partitions == NULL || topic->topic_name.ptr == NULL)
            return false;
        out->n_topic_partitions++;
    }
    return true;
}

static struct str copy(struct kafka_request *r, struct str s)
{
    return s.ptr == NULL ? s : arena_str(&r->arena, s);
}

static bool describe_member(struct kafka_request *r, const struct consumer_group *cg,
                            const struct consumer_member *m,
                            struct kafka_consumer_group_describe_res_member *out)
{
    const struct consumer_subscription *s = m->subscription;
    out->member_id = copy(r, m->id);
    out->instance_id = copy(r, m->instance);
    out->rack_id = copy(r, m->rack);
    out->client_id = copy(r, m->client_id);
    out->client_host = copy(r, m->client_host);
    out->member_epoch = m->epoch;
    out->member_type = m->classic != NULL ? MEMBER_TYPE_CLASSIC : MEMBER_TYPE_CONSUMER;
    out->subscribed_topic_regex = copy(r, s->regex);
    out->subscribed_topic_names =
        arena_zalloc(&r->arena, s->n_names, sizeof *out->subscribed_topic_names);
    if (out->subscribed_topic_names == NULL)
        return false;
    for (uint32_t i = 0; i < s->n_names; i++)
        out->subscribed_topic_names[out->n_subscribed_topic_names++] = copy(r, s->names[i]);
    return describe_assignment(r, cg, m, false, &out->assignment) &&
           describe_assignment(r, cg, m, true,
                               (struct kafka_consumer_group_describe_res_assignment *)(void *)&out
                                   ->target_assignment);
}

static bool describe_group(struct kafka_request *r, const struct consumer_group *cg,
                           struct kafka_consumer_group_describe_res_group *out)
{
    out->group_state = str_of(kafka_consumer_state_name(cg));
    out->group_epoch = cg->epoch;
    out->assignment_epoch = cg->assignment_epoch;
    out->assignor_name = str_of(kafka_consumer_assignor_name(cg->assignor));
    out->members = arena_zalloc(&r->arena, cg->n_members, sizeof *out->members);
    if (out->members == NULL)
        return false;
    for (uint32_t i = 0; i < cg->n_slots; i++)
        if (cg->slots[i] != NULL &&
            !describe_member(r, cg, cg->slots[i], &out->members[out->n_members++]))
            return false;
    return true;
}

void kafka_group_consumer_describe(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_consumer_group_describe_req *req = r->request;
    struct kafka_consumer_group_describe_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL)
        res->groups = arena_zalloc(&r->arena, req->n_group_ids, sizeof *res->groups);
    bool complete = res != NULL && res->groups != NULL;
    for (uint32_t i = 0; complete && i < req->n_group_ids; i++) {
        struct kafka_consumer_group_describe_res_group *out = &res->groups[res->n_groups++];
        const struct kafka_group *g = kafka_groups_find(&co->groups, req->group_ids[i]);
        out->group_id = req->group_ids[i];
        out->authorized_operations = INT32_MIN;
        if (g != NULL && g->consumer != NULL) {
            complete = describe_group(r, g->consumer, out);
            continue;
        }
        out->error_code = KAFKA_E_GROUP_ID_NOT_FOUND;
        out->error_message = arena_printf(
            &r->arena, "there is no group %.*s of the consumer protocol", STR_ARG(out->group_id));
    }
    kafka_coordinator_reply(r, complete ? res : NULL);
}
