#include "serve/kafka_classic_member.h"

#include "base/check.h"
#include "base/mem.h"
#include "serve/kafka_consumer_group_int.h"
#include "serve/kafka_consumer_protocol.h"
#include "serve/kafka_group_int.h"
#include "serve/kafka_group_migration.h"
#include "serve/kafka_int.h"

/* ---- storage ---- */

enum err kafka_classic_set(struct kafka_groups *gs, struct consumer_group *cg,
                           struct consumer_member *m, const struct kafka_group_protocol *protocols,
                           uint32_t n_protocols, int32_t session_ms)
{
    size_t bytes = sizeof(struct consumer_classic) + n_protocols * sizeof *protocols;
    for (uint32_t i = 0; i < n_protocols; i++)
        bytes += protocols[i].name.len + protocols[i].metadata.len;
    if (bytes > GROUP_MEMBER_BYTES_MAX || !kafka_groups_fits(gs, bytes))
        return ERR_LIMIT;
    struct consumer_classic *k = mem_alloc(bytes);
    if (k == NULL)
        return ERR_NO_MEMORY;
    *k = (struct consumer_classic){session_ms, INT64_MAX, n_protocols, (void *)(k + 1), bytes};
    char *at = (char *)(k->protocols + n_protocols);
    for (uint32_t i = 0; i < n_protocols; i++) {
        k->protocols[i].name = kafka_group_pack(&at, protocols[i].name);
        k->protocols[i].metadata = kafka_group_pack(&at, protocols[i].metadata);
    }
    kafka_classic_forget(gs, cg, m);
    gs->bytes += bytes;
    cg->n_classic++;
    m->classic = k;
    return ERR_OK;
}

void kafka_classic_forget(struct kafka_groups *gs, struct consumer_group *cg,
                          struct consumer_member *m)
{
    if (m->classic == NULL)
        return;
    gs->bytes -= m->classic->bytes;
    cg->n_classic--;
    mem_free(m->classic);
    m->classic = NULL;
}

/* ---- answers ---- */

void kafka_classic_refuse(struct kafka_groups *gs, void *waiter, struct str member, int16_t error)
{
    struct kafka_group_join_result r = {.error = error, .generation = -1, .member = member};
    if (waiter != NULL)
        gs->joined(waiter, &r);
}

/* The member has to come again within its rebalance time; a later word does not give it more. */
static void due(struct kafka_groups *gs, const struct consumer_group *cg, struct consumer_member *m,
                int64_t now_ms)
{
    if (m->classic->due_ms != INT64_MAX)
        return;
    m->classic->due_ms = now_ms + m->rebalance_ms;
    kafka_group_due(gs, cg->group, m->classic->due_ms);
}

void kafka_classic_answer(struct kafka_groups *gs, struct consumer_group *cg,
                          struct consumer_member *m, void *waiter, int64_t now_ms)
{
    struct kafka_group_join_result r = {
        .generation = m->epoch,
        .member = m->id,
        .leader = STR(""),
        .protocol_type = CONSUMER_PROTOCOL_TYPE,
        .protocol = m->classic->protocols[0].name,
        .consumer = cg,
    };
    m->changed = false;
    due(gs, cg, m, now_ms);
    gs->joined(waiter, &r);
}

/* ---- Join ---- */

/* Do all members of the classic protocol but `except` know the protocol? */
static bool protocol_common(const struct consumer_group *cg, struct str name,
                            const struct consumer_member *except)
{
    for (uint32_t i = 0; i < cg->n_slots; i++) {
        const struct consumer_member *m = cg->slots[i];
        if (m == NULL || m == except || m->classic == NULL)
            continue;
        uint32_t k = 0;
        while (k < m->classic->n_protocols && !str_eq(m->classic->protocols[k].name, name))
            k++;
        if (k == m->classic->n_protocols)
            return false;
    }
    return true;
}

/* Could the member be in a classic group with the others, and does it subscribe to topics? */
static bool join_fits(const struct consumer_group *cg, const struct kafka_group_join *j,
                      const struct consumer_member *self, struct arena *a,
                      struct consumer_metadata *metadata)
{
    if (j->n_protocols == 0 || j->n_protocols > GROUP_PROTOCOLS_MAX ||
        !str_eq(j->protocol_type, CONSUMER_PROTOCOL_TYPE) ||
        !consumer_metadata_read(j->protocols[0].metadata, a, metadata))
        return false;
    for (uint32_t i = 0; i < j->n_protocols; i++)
        if (protocol_common(cg, j->protocols[i].name, self))
            return true;
    return false;
}

/* What the member does not say it owns is free. */
static void give_back(struct consumer_group *cg, const struct consumer_member *m,
                      const struct catalog *c, const struct consumer_metadata *metadata)
{
    for (uint32_t i = 0; i < metadata->n_owned; i++) {
        const struct consumer_named_partitions *named = &metadata->owned[i];
        const struct topic *found = catalog_topic(c, named->topic);
        const struct consumer_topic *t =
            found != NULL ? consumer_topic_of(cg, found->number) : NULL;
        for (uint32_t k = 0; t != NULL && k < named->n_partitions; k++)
            if (named->partitions[k] >= 0 && (uint32_t)named->partitions[k] < t->n_partitions)
                cg->partitions[t->first + (uint32_t)named->partitions[k]].owned = true;
    }
    for (uint32_t i = 0; i < cg->n_partitions; i++) {
        struct consumer_partition *p = &cg->partitions[i];
        if (p->holder == m->slot && !p->owned) {
            p->holder = CONSUMER_NOBODY;
            p->revoking = false;
        }
        p->owned = false;
    }
}

/* UNREVOKED stays UNREVOKED, with its time, while something is not given back. */
static void to_rejoining(const struct consumer_group *cg, struct consumer_member *m)
{
    bool unrevoked = false;
    for (uint32_t i = 0; i < cg->n_partitions; i++)
        unrevoked =
            unrevoked || (cg->partitions[i].holder == m->slot && cg->partitions[i].revoking);
    if (!unrevoked)
        m->state = CONSUMER_UNRELEASED;
}

/* The member of the join under its new names: made, or the one that was there. A static one that
 * starts again owns nothing; whoever used its id is fenced. NULL: no memory. */
static struct consumer_member *member_take(struct kafka_groups *gs, struct consumer_group *cg,
                                           struct consumer_member *m,
                                           const struct kafka_group_join *j,
                                           const struct consumer_heartbeat *h,
                                           struct consumer_metadata *metadata)
{
    bool is_new = m == NULL, restarts = !is_new && j->member.len == 0;
    if (is_new)
        m = consumer_member_new(gs, cg, h);
    if (m == NULL)
        return NULL;
    if (!is_new)
        consumer_waiter_refuse(
            gs, m, restarts ? KAFKA_E_FENCED_INSTANCE : KAFKA_E_REBALANCE_IN_PROGRESS, NULL);
    if (kafka_classic_set(gs, cg, m, j->protocols, j->n_protocols, j->session_ms) != ERR_OK ||
        (restarts && !consumer_member_name(gs, m, j->new_id, h))) {
        if (is_new)
            consumer_member_drop(gs, cg, m, KAFKA_E_COORDINATOR_NOT_AVAILABLE, NULL);
        return NULL;
    }
    if (restarts) {
        metadata->n_owned = 0;
        m->assignor = CONSUMER_ASSIGNORS;
        m->epoch = m->previous_epoch = 0;
    }
    return m;
}

static void join_take(struct kafka_groups *gs, struct consumer_group *cg, struct consumer_member *m,
                      int64_t now_ms, const struct kafka_group_join *j,
                      struct consumer_metadata *metadata)
{
    struct consumer_heartbeat h = {
        .group = j->group,
        .member = j->member.len > 0 ? j->member : j->new_id,
        .instance = j->instance,
        .rack = metadata->rack,
        .client_id = j->client_id,
        .client_host = j->client_host,
        .rebalance_ms = j->rebalance_ms,
        .n_names = metadata->n_names,
        .names = metadata->names,
    };
    bool is_new = m == NULL;
    struct err_detail why;
    int16_t error = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    m = member_take(gs, cg, m, j, &h, metadata);
    if (m != NULL && !is_new) {
        give_back(cg, m, j->catalog, metadata);
        to_rejoining(cg, m);
    }
    if (m != NULL)
        error = consumer_member_update(gs, cg, m, &h, &why);
    if (error != KAFKA_OK) {
        kafka_classic_refuse(gs, j->waiter, j->member, error);
        if (is_new && m != NULL)
            consumer_member_drop(gs, cg, m, error, NULL);
        return;
    }
    consumer_member_alive(gs, cg, m, now_ms);
    m->classic->due_ms = INT64_MAX;
    if (kafka_migration_back_due(cg))
        consumer_work_add(gs, cg, false); /* it replaced the last one of the new protocol */
    if (cg->resolve || cg->assign) {
        m->waiter = j->waiter;
        return;
    }
    consumer_reconcile(gs, cg, m, j->catalog, NULL, now_ms);
    kafka_classic_answer(gs, cg, m, j->waiter, now_ms);
}

void kafka_classic_join(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms,
                        const struct kafka_group_join *j)
{
    struct consumer_group *cg = g->consumer;
    struct consumer_member *owner =
        j->instance.ptr != NULL ? consumer_member_by_instance(cg, j->instance) : NULL;
    struct consumer_member *m = j->member.len > 0 ? consumer_member_find(cg, j->member) : owner;
    int16_t error = KAFKA_OK;
    struct consumer_metadata metadata;
    struct arena arena;
    arena_init(&arena, CONSUMER_PROTOCOL_ARENA_BYTES_MAX);
    if (j->member.len > 0 && owner != NULL && owner != m)
        error = KAFKA_E_FENCED_INSTANCE;
    else if (j->member.len > 0 && (m == NULL || m->classic == NULL))
        error = KAFKA_E_UNKNOWN_MEMBER;
    else if (!join_fits(cg, j, m, &arena, &metadata))
        error = KAFKA_E_INCONSISTENT_PROTOCOL;
    else if (m == NULL && cg->n_members >= GROUP_MEMBERS_MAX)
        error = KAFKA_E_GROUP_FULL;
    if (error != KAFKA_OK)
        kafka_classic_refuse(gs, j->waiter, j->member, error);
    else
        join_take(gs, cg, m, now_ms, j, &metadata);
    arena_deinit(&arena);
}

/* ---- Sync, Heartbeat, Leave, Commit ---- */

/* The member whose request this is, or NULL with Kafka's code. */
static struct consumer_member *member_of(const struct consumer_group *cg, struct str id,
                                         struct str instance, int32_t generation, int16_t *error)
{
    struct consumer_member *m = consumer_member_find(cg, id);
    *error = KAFKA_E_UNKNOWN_MEMBER;
    if (instance.ptr != NULL) {
        const struct consumer_member *owner = consumer_member_by_instance(cg, instance);
        if (owner != NULL && owner != m) {
            *error = KAFKA_E_FENCED_INSTANCE;
            return NULL;
        }
    }
    if (m == NULL || m->classic == NULL)
        return NULL;
    *error = KAFKA_E_ILLEGAL_GENERATION;
    if (generation != m->epoch)
        return NULL;
    *error = KAFKA_OK;
    return m;
}

static bool is_behind(const struct consumer_group *cg, const struct consumer_member *m)
{
    return cg->epoch != m->epoch && m->state != CONSUMER_UNREVOKED;
}

/* Is all of its target that it does not hold free now? */
static bool is_released(const struct consumer_group *cg, const struct consumer_member *m)
{
    for (uint32_t i = 0; i < cg->n_partitions; i++) {
        const struct consumer_partition *p = &cg->partitions[i];
        if (p->target == m->slot && p->holder != m->slot && p->holder != CONSUMER_NOBODY)
            return false;
    }
    return true;
}

static int16_t sync_check(const struct consumer_group *cg, const struct consumer_member *m,
                          const struct kafka_group_sync *s)
{
    if ((s->protocol_type.ptr != NULL && !str_eq(s->protocol_type, CONSUMER_PROTOCOL_TYPE)) ||
        (s->protocol.ptr != NULL && !str_eq(s->protocol, m->classic->protocols[0].name)))
        return KAFKA_E_INCONSISTENT_PROTOCOL;
    return m->waiter != NULL || is_behind(cg, m) ? KAFKA_E_REBALANCE_IN_PROGRESS : KAFKA_OK;
}

void kafka_classic_sync(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms,
                        const struct kafka_group_sync *s)
{
    struct consumer_group *cg = g->consumer;
    struct kafka_group_sync_result r = {0};
    struct consumer_member *m = member_of(cg, s->member, s->instance, s->generation, &r.error);
    struct buf assignment;
    buf_init(&assignment, GROUP_MEMBER_BYTES_MAX);
    if (m != NULL) {
        consumer_member_alive(gs, cg, m, now_ms);
        r.error = sync_check(cg, m, s);
    }
    if (r.error == KAFKA_OK) {
        m->classic->due_ms = INT64_MAX;
        consumer_assignment_write(&assignment, cg, m, s->catalog, false);
        r.protocol_type = CONSUMER_PROTOCOL_TYPE;
        r.protocol = m->classic->protocols[0].name;
        r.assignment = buf_str(&assignment);
    }
    if (assignment.failed)
        r = (struct kafka_group_sync_result){.error = KAFKA_E_COORDINATOR_NOT_AVAILABLE};
    if (m != NULL && r.error == KAFKA_E_REBALANCE_IN_PROGRESS)
        due(gs, cg, m, now_ms);
    gs->synced(s->waiter, &r);
    buf_deinit(&assignment);
}

int16_t kafka_classic_heartbeat(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms,
                                int32_t generation, struct str member, struct str instance)
{
    struct consumer_group *cg = g->consumer;
    int16_t error;
    struct consumer_member *m = member_of(cg, member, instance, generation, &error);
    if (m == NULL)
        return error;
    consumer_member_alive(gs, cg, m, now_ms);
    if (!is_behind(cg, m) && m->state != CONSUMER_UNREVOKED &&
        (m->state != CONSUMER_UNRELEASED || !is_released(cg, m)))
        return KAFKA_OK;
    due(gs, cg, m, now_ms);
    return KAFKA_E_REBALANCE_IN_PROGRESS;
}

int16_t kafka_classic_leave(struct kafka_groups *gs, struct kafka_group *g, struct str member,
                            struct str instance)
{
    struct consumer_group *cg = g->consumer;
    struct consumer_member *m = member.len == 0 && instance.ptr != NULL
                                    ? consumer_member_by_instance(cg, instance)
                                    : consumer_member_find(cg, member);
    if (m == NULL)
        return KAFKA_E_UNKNOWN_MEMBER;
    if (instance.ptr != NULL && (m->instance.ptr == NULL || !str_eq(m->instance, instance)))
        return KAFKA_E_FENCED_INSTANCE;
    consumer_member_gone(gs, cg, m, KAFKA_E_UNKNOWN_MEMBER, NULL, gs->wall_ms);
    return KAFKA_OK;
}

bool kafka_classic_has(const struct consumer_group *cg, struct str member)
{
    const struct consumer_member *m = consumer_member_find(cg, member);
    return m != NULL && m->classic != NULL;
}

int16_t kafka_classic_may_commit(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms,
                                 int32_t generation, struct str member, struct str instance)
{
    int16_t error;
    struct consumer_member *m = member_of(g->consumer, member, instance, generation, &error);
    if (m != NULL)
        consumer_member_alive(gs, g->consumer, m, now_ms);
    return error;
}
