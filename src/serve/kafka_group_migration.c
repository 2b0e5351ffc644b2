#include "serve/kafka_group_migration.h"

#include "base/check.h"
#include "base/mem.h"
#include "serve/kafka_classic_member.h"
#include "serve/kafka_consumer_group_int.h"
#include "serve/kafka_consumer_protocol.h"
#include "serve/kafka_consumer_subscription.h"
#include "serve/kafka_group_int.h"
#include "serve/kafka_int.h"

/* ---- to the new protocol ---- */

/* A classic member as it is understood, in the arena. */
struct taken {
    struct kafka_group_member *from;
    struct consumer_metadata metadata;
    struct consumer_named_partitions *held;
    uint32_t n_held;
};

/* What the member may be reading: its assignment, until it has joined again; then, and until the
 * next assignment, what it said it owns. */
static bool taken_read(struct taken *t, struct kafka_group_member *m, struct arena *a,
                       bool *foreign)
{
    t->from = m;
    if (!consumer_metadata_read(m->protocols[0].metadata, a, &t->metadata) ||
        !consumer_assignment_read(m->assignment, a, &t->held, &t->n_held, foreign))
        return false;
    if (m->join_waiter != NULL || m->assignment.len == 0) {
        t->held = t->metadata.owned;
        t->n_held = t->metadata.n_owned;
    }
    return true;
}

static int16_t group_read(const struct kafka_group *g, struct arena *a, struct taken **out,
                          const char **why)
{
    *why = "the members of the classic group are no consumers";
    if (g->n_members > 0 && !str_eq(g->protocol_type, CONSUMER_PROTOCOL_TYPE))
        return KAFKA_E_GROUP_ID_NOT_FOUND;
    *why = "the group has too many members";
    if (g->n_members >= GROUP_MEMBERS_MAX)
        return KAFKA_E_GROUP_FULL;
    *why = "no memory to take over the members of the classic group";
    *out = arena_zalloc(a, g->n_members + 1, sizeof **out);
    if (*out == NULL)
        return KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    uint32_t n = 0;
    LIST_FOR (it, &g->members) {
        struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        bool foreign = false;
        if (m->pending)
            continue;
        *why = "the metadata of a member of the classic group cannot be read";
        if (!taken_read(&(*out)[n++], m, a, &foreign))
            return KAFKA_E_GROUP_ID_NOT_FOUND;
        *why = "the classic group's assignor puts data of its own into assignments, as Kafka "
               "Streams does: only an empty group changes, then";
        if (foreign)
            return KAFKA_E_GROUP_ID_NOT_FOUND;
    }
    return KAFKA_OK;
}

/* The topics that are held; later those of the subscriptions take their place. */
static enum err topics_make(struct kafka_groups *gs, struct consumer_group *cg,
                            const struct taken *all, uint32_t n_all, const struct catalog *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_all; i++)
        n += all[i].n_held;
    uint32_t *numbers = mem_alloc((n + 1) * sizeof *numbers);
    cg->topics = mem_alloc((n + 1) * sizeof *cg->topics);
    n = 0;
    for (uint32_t i = 0; numbers != NULL && i < n_all; i++)
        for (uint32_t k = 0; k < all[i].n_held; k++) {
            const struct topic *t = catalog_topic(c, all[i].held[k].topic);
            if (t != NULL)
                numbers[n++] = t->number;
        }
    uint32_t n_topics = numbers != NULL ? consumer_numbers_unique(numbers, n) : 0, first = 0;
    for (uint32_t i = 0; cg->topics != NULL && i < n_topics; i++) {
        uint32_t n_partitions = catalog_topic_by_number(c, numbers[i])->n_partitions;
        cg->topics[i] = (struct consumer_topic){numbers[i], first, n_partitions};
        first += n_partitions;
    }
    bool complete = numbers != NULL && cg->topics != NULL && first <= CONSUMER_PARTITIONS_MAX;
    mem_free(numbers);
    if (complete)
        cg->partitions = mem_alloc((first + 1) * sizeof *cg->partitions);
    if (cg->partitions == NULL) {
        mem_free(cg->topics);
        cg->topics = NULL;
        return complete ? ERR_NO_MEMORY : ERR_LIMIT;
    }
    for (uint32_t i = 0; i < first; i++)
        cg->partitions[i] = (struct consumer_partition){CONSUMER_NOBODY, CONSUMER_NOBODY, 0, 0};
    cg->n_topics = n_topics;
    cg->n_partitions = first;
    gs->bytes += n_topics * sizeof *cg->topics + first * sizeof *cg->partitions;
    return ERR_OK;
}

/* A partition that two say they hold stays with the first: the other learns it when it joins. */
static void partitions_hold(struct consumer_group *cg, const struct consumer_member *m,
                            const struct taken *t, const struct catalog *c)
{
    for (uint32_t i = 0; i < t->n_held; i++) {
        const struct topic *named = catalog_topic(c, t->held[i].topic);
        if (named == NULL)
            continue;
        const struct consumer_topic *topic = consumer_topic_of(cg, named->number);
        CHECK(topic != NULL);
        for (uint32_t k = 0; k < t->held[i].n_partitions; k++) {
            int32_t index = t->held[i].partitions[k];
            bool there = index >= 0 && (uint32_t)index < topic->n_partitions;
            struct consumer_partition *p =
                there ? &cg->partitions[topic->first + (uint32_t)index] : NULL;
            if (p != NULL && p->holder == CONSUMER_NOBODY)
                p->holder = p->target = m->slot;
        }
    }
}

static enum err member_make(struct kafka_groups *gs, struct consumer_group *cg,
                            const struct taken *t, const struct catalog *c)
{
    const struct kafka_group_member *from = t->from;
    struct consumer_heartbeat h = {
        .group = cg->group->id,
        .member = from->id,
        .instance = from->instance,
        .rack = t->metadata.rack,
        .client_id = from->client_id,
        .client_host = from->client_host,
        .rebalance_ms = from->rebalance_ms,
        .n_names = t->metadata.n_names,
        .names = t->metadata.names,
    };
    struct err_detail why;
    struct consumer_member *m = consumer_member_new(gs, cg, &h);
    if (m == NULL)
        return ERR_NO_MEMORY;
    TRY(kafka_classic_set(gs, cg, m, from->protocols, from->n_protocols, from->session_ms));
    if (consumer_member_update(gs, cg, m, &h, &why) != KAFKA_OK)
        return ERR_LIMIT;
    m->state = CONSUMER_STABLE;
    m->epoch = m->previous_epoch = from->generation < 0 ? 0 : from->generation;
    partitions_hold(cg, m, t, c);
    return ERR_OK;
}

/* Times go on; who waited for a classic rebalance has the time of one to join again. */
static void times_take(struct kafka_groups *gs, struct consumer_group *cg, const struct taken *t,
                       int64_t now_ms)
{
    struct consumer_member *m = consumer_member_find(cg, t->from->id);
    CHECK(m != NULL);
    consumer_member_alive(gs, cg, m, now_ms);
    if (t->from->join_waiter == NULL && t->from->sync_waiter == NULL) {
        m->deadline_ms = t->from->deadline_ms;
    } else {
        m->classic->due_ms = now_ms + m->rebalance_ms;
        kafka_group_due(gs, cg->group, m->classic->due_ms);
    }
    kafka_group_due(gs, cg->group, m->deadline_ms);
}

int16_t kafka_migration_forth(struct kafka_groups *gs, struct kafka_group *g,
                              const struct catalog *c, int64_t now_ms, const char **why)
{
    struct taken *all;
    struct arena arena;
    arena_init(&arena, CONSUMER_PROTOCOL_ARENA_BYTES_MAX);
    int16_t error = group_read(g, &arena, &all, why);
    enum err e = ERR_OK;
    if (error == KAFKA_OK && !kafka_consumer_begin(gs, g, g->generation))
        e = ERR_NO_MEMORY;
    bool begun = error == KAFKA_OK && e == ERR_OK;
    if (begun)
        e = topics_make(gs, g->consumer, all, g->n_members, c);
    for (uint32_t i = 0; begun && e == ERR_OK && i < g->n_members; i++)
        e = member_make(gs, g->consumer, &all[i], c);
    if (e != ERR_OK) {
        *why = "no room to take over the members of the classic group";
        error = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
        if (begun)
            kafka_consumer_end(gs, g, error);
    }
    if (error == KAFKA_OK) {
        /* The one who joins raises the epoch: then everybody has to come. */
        g->consumer->epoch = g->consumer->assignment_epoch = g->generation;
        for (uint32_t i = 0; i < g->n_members; i++)
            times_take(gs, g->consumer, &all[i], now_ms);
        kafka_group_members_drop(gs, g, KAFKA_E_REBALANCE_IN_PROGRESS);
        if (g->consumer->n_members > 0)
            consumer_work_add(gs, g->consumer, true);
    }
    arena_deinit(&arena);
    return error;
}

/* ---- back to the classic protocol ---- */

bool kafka_migration_back_due(const struct consumer_group *cg)
{
    return cg->n_members > 0 && cg->n_classic == cg->n_members;
}

static enum err member_return(struct kafka_groups *gs, struct kafka_group *g,
                              const struct consumer_member *m, const struct catalog *c)
{
    struct kafka_group_join j = {
        .new_id = m->id,
        .instance = m->instance,
        .client_id = m->client_id,
        .client_host = m->client_host,
        .session_ms = m->classic->session_ms,
        .rebalance_ms = m->rebalance_ms,
        .n_protocols = m->classic->n_protocols,
        .protocols = m->classic->protocols,
    };
    struct kafka_group_member *to = kafka_group_member_add(gs, g, &j);
    if (to == NULL)
        return ERR_NO_MEMORY;
    to->generation = m->epoch;
    struct buf held;
    buf_init(&held, GROUP_MEMBER_BYTES_MAX);
    consumer_assignment_write(&held, g->consumer, m, c, true);
    bool kept = !held.failed && kafka_group_assignment_set(gs, to, buf_str(&held)) == KAFKA_OK;
    buf_deinit(&held);
    return kept ? ERR_OK : ERR_NO_MEMORY;
}

/* The members are in the same order as the slots. */
static void waiters_return(struct kafka_group *g)
{
    struct list *it = g->members.next;
    for (uint32_t i = 0; i < g->consumer->n_slots; i++) {
        struct consumer_member *m = g->consumer->slots[i];
        if (m == NULL)
            continue;
        LIST_ENTRY(it, struct kafka_group_member, link)->join_waiter = m->waiter;
        m->waiter = NULL;
        it = it->next;
    }
}

enum err kafka_migration_back(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms,
                              const struct catalog *c)
{
    const struct consumer_group *cg = g->consumer;
    enum err e = kafka_group_type_set(g, CONSUMER_PROTOCOL_TYPE) ? ERR_OK : ERR_NO_MEMORY;
    for (uint32_t i = 0; e == ERR_OK && i < cg->n_slots; i++)
        if (cg->slots[i] != NULL)
            e = member_return(gs, g, cg->slots[i], c);
    if (e != ERR_OK) {
        kafka_group_members_drop(gs, g, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
        return e;
    }
    g->generation = cg->epoch;
    waiters_return(g);
    kafka_consumer_end(gs, g, KAFKA_E_UNKNOWN_MEMBER);
    kafka_group_rebalance(gs, g, now_ms);
    return ERR_OK;
}
