#include "serve/kafka_consumer_group.h"

#include "base/check.h"
#include "base/mem.h"
#include "serve/kafka_assignor.h"
#include "serve/kafka_classic_member.h"
#include "serve/kafka_consumer_group_int.h"
#include "serve/kafka_consumer_subscription.h"
#include "serve/kafka_group_int.h"
#include "serve/kafka_group_migration.h"
#include "serve/kafka_int.h"

const char *kafka_consumer_assignor_name(enum consumer_assignor a)
{
    return a == CONSUMER_RANGE ? "range" : "uniform";
}

const char *kafka_consumer_state_name(const struct consumer_group *cg)
{
    if (cg->n_members == 0)
        return "Empty";
    if (cg->resolve || cg->assign || cg->epoch != cg->assignment_epoch)
        return "Assigning";
    for (uint32_t i = 0; i < cg->n_slots; i++) {
        const struct consumer_member *m = cg->slots[i];
        if (m != NULL && (m->state != CONSUMER_STABLE || m->epoch != cg->assignment_epoch))
            return "Reconciling";
    }
    return "Stable";
}

/* ---- storage ---- */

struct consumer_member *consumer_member_find(const struct consumer_group *cg, struct str id)
{
    for (uint32_t i = 0; i < cg->n_slots; i++)
        if (cg->slots[i] != NULL && str_eq(cg->slots[i]->id, id))
            return cg->slots[i];
    return NULL;
}

struct consumer_member *consumer_member_by_instance(const struct consumer_group *cg,
                                                    struct str instance)
{
    for (uint32_t i = 0; i < cg->n_slots; i++) {
        struct consumer_member *m = cg->slots[i];
        if (m != NULL && m->instance.ptr != NULL && str_eq(m->instance, instance))
            return m;
    }
    return NULL;
}

/* A slot for one more member. False: out of memory. */
static bool slot_find(struct kafka_groups *gs, struct consumer_group *cg, uint16_t *slot)
{
    for (uint32_t i = 0; i < cg->n_slots; i++)
        if (cg->slots[i] == NULL) {
            *slot = (uint16_t)i;
            return true;
        }
    uint32_t n = cg->n_slots == 0 ? 4 : cg->n_slots * 2;
    struct consumer_member **grown = mem_realloc(cg->slots, n * sizeof(*grown));
    if (grown == NULL)
        return false;
    for (uint32_t i = cg->n_slots; i < n; i++)
        grown[i] = NULL;
    gs->bytes += (n - cg->n_slots) * sizeof(*grown);
    *slot = (uint16_t)cg->n_slots;
    cg->slots = grown;
    cg->n_slots = n;
    return true;
}

bool consumer_member_name(struct kafka_groups *gs, struct consumer_member *m, struct str id,
                          const struct consumer_heartbeat *h)
{
    struct str instance = h->instance.ptr != NULL ? h->instance : m->instance;
    struct str rack = h->rack.ptr != NULL ? h->rack : m->rack;
    size_t bytes = id.len + instance.len + rack.len + h->client_id.len + h->client_host.len;
    char *at = mem_alloc(bytes + 1);
    if (at == NULL)
        return false;
    void *old = (void *)(uintptr_t)m->id.ptr;
    m->id = kafka_group_pack(&at, id);
    m->instance = kafka_group_pack(&at, instance);
    m->rack = kafka_group_pack(&at, rack);
    m->client_id = kafka_group_pack(&at, h->client_id);
    m->client_host = kafka_group_pack(&at, h->client_host);
    mem_free(old);
    gs->bytes += bytes + sizeof *m - m->bytes;
    m->bytes = bytes + sizeof *m;
    return true;
}

struct consumer_member *consumer_member_new(struct kafka_groups *gs, struct consumer_group *cg,
                                            const struct consumer_heartbeat *h)
{
    uint16_t slot;
    if (!kafka_groups_fits(gs, 0) || !slot_find(gs, cg, &slot))
        return NULL;
    struct consumer_member *m = mem_zalloc(1, sizeof *m);
    if (m == NULL)
        return NULL;
    if (!consumer_member_name(gs, m, h->member, h)) {
        mem_free(m);
        return NULL;
    }
    m->slot = slot;
    m->assignor = CONSUMER_ASSIGNORS;
    cg->slots[slot] = m;
    cg->n_members++;
    return m;
}

static void topics_free(struct kafka_groups *gs, struct consumer_group *cg)
{
    gs->bytes -= cg->n_topics * sizeof *cg->topics + cg->n_partitions * sizeof *cg->partitions;
    mem_free(cg->topics);
    mem_free(cg->partitions);
    cg->topics = NULL;
    cg->partitions = NULL;
    cg->n_topics = cg->n_partitions = 0;
}

bool kafka_consumer_begin(struct kafka_groups *gs, struct kafka_group *g, int32_t epoch)
{
    struct consumer_group *cg = mem_zalloc(1, sizeof *cg);
    if (cg == NULL)
        return false;
    gs->bytes += sizeof *cg;
    cg->group = g;
    cg->epoch = cg->assignment_epoch = cg->epoch_logged = epoch;
    cg->session_ms = group_config_def(GROUP_CONFIG_SESSION_MS)->fallback;
    list_init(&cg->dirty);
    list_init(&cg->subscriptions);
    g->consumer = cg;
    return true;
}

/* ---- answers ---- */

static void answer(struct kafka_groups *gs, void *waiter, const struct consumer_heartbeat_result *r)
{
    if (waiter != NULL)
        gs->beaten(waiter, r);
}

static void refuse(struct kafka_groups *gs, void *waiter, struct str member, int16_t error,
                   const char *why)
{
    struct consumer_heartbeat_result r = {.error = error, .why = why, .member = member};
    answer(gs, waiter, &r);
}

void consumer_waiter_refuse(struct kafka_groups *gs, struct consumer_member *m, int16_t error,
                            const char *why)
{
    void *waiter = m->waiter;
    m->waiter = NULL;
    if (m->classic != NULL)
        kafka_classic_refuse(gs, waiter, m->id, error);
    else
        refuse(gs, waiter, m->id, error, why);
}

static void member_answer(struct kafka_groups *gs, const struct consumer_group *cg,
                          struct consumer_member *m, void *waiter, bool whole)
{
    struct consumer_heartbeat_result r = {
        .member = m->id,
        .epoch = m->epoch,
        .cg = cg,
        .m = m,
        .with_assignment = whole || m->changed,
    };
    m->changed = false;
    answer(gs, waiter, &r);
}

/* ---- epochs and work ---- */

void consumer_work_add(struct kafka_groups *gs, struct consumer_group *cg, bool resolve)
{
    cg->resolve = cg->resolve || resolve;
    cg->assign = true;
    if (list_empty(&cg->dirty))
        list_add(&gs->dirty, &cg->dirty);
}

static void epoch_raise(struct consumer_group *cg)
{
    cg->epoch = cg->epoch == INT32_MAX ? 1 : cg->epoch + 1;
}

/* What most members want, the first in a tie; members that do not care do not count. */
static enum consumer_assignor assignor_choose(const struct consumer_group *cg)
{
    uint32_t votes[CONSUMER_ASSIGNORS] = {0};
    for (uint32_t i = 0; i < cg->n_slots; i++)
        if (cg->slots[i] != NULL && cg->slots[i]->assignor < CONSUMER_ASSIGNORS)
            votes[cg->slots[i]->assignor]++;
    return votes[CONSUMER_RANGE] > votes[CONSUMER_UNIFORM] ? CONSUMER_RANGE : CONSUMER_UNIFORM;
}

void consumer_member_alive(struct kafka_groups *gs, struct consumer_group *cg,
                           struct consumer_member *m, int64_t now_ms)
{
    m->deadline_ms = now_ms + (m->classic != NULL ? m->classic->session_ms : cg->session_ms);
    kafka_group_due(gs, cg->group, m->deadline_ms);
}

/* ---- partitions ---- */

const struct consumer_topic *consumer_topic_of(const struct consumer_group *cg, uint32_t number)
{
    uint32_t low = 0, high = cg->n_topics;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (cg->topics[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < cg->n_topics && cg->topics[low].number == number ? &cg->topics[low] : NULL;
}

enum owned_check { OWNS_REVOKING, OWNS_UNASSIGNED };

/* Is there, among what the member says it owns, something it was told to give back, or something
 * that is not its own? */
static bool owns_any(const struct consumer_group *cg, const struct consumer_member *m,
                     const struct catalog *c, const struct consumer_heartbeat *h,
                     enum owned_check check)
{
    for (uint32_t i = 0; i < h->n_owned; i++) {
        const struct topic *known = catalog_topic_by_id(c, h->owned[i].id);
        const struct consumer_topic *t =
            known != NULL ? consumer_topic_of(cg, known->number) : NULL;
        for (uint32_t k = 0; k < h->owned[i].n_partitions; k++) {
            int32_t index = h->owned[i].partitions[k];
            bool there = t != NULL && index >= 0 && (uint32_t)index < t->n_partitions;
            const struct consumer_partition *p =
                there ? &cg->partitions[t->first + (uint32_t)index] : NULL;
            bool held = p != NULL && p->holder == m->slot;
            if (check == OWNS_REVOKING ? held && p->revoking : !held || p->revoking)
                return true;
        }
    }
    return false;
}

/* UNREVOKED -> (reconcile): what was to be given back is free. */
static void revoked(struct consumer_group *cg, const struct consumer_member *m)
{
    for (uint32_t i = 0; i < cg->n_partitions; i++) {
        struct consumer_partition *p = &cg->partitions[i];
        if (p->holder == m->slot && p->revoking) {
            p->holder = CONSUMER_NOBODY;
            p->revoking = false;
        }
    }
}

/* -> UNREVOKED, when the member holds what the target gives to others. */
static bool to_unrevoked(struct kafka_groups *gs, struct consumer_group *cg,
                         struct consumer_member *m, int64_t now_ms)
{
    bool any = false;
    for (uint32_t i = 0; i < cg->n_partitions; i++) {
        struct consumer_partition *p = &cg->partitions[i];
        if (p->holder == m->slot && p->target != m->slot)
            any = p->revoking = true;
    }
    if (!any)
        return false;
    m->state = CONSUMER_UNREVOKED;
    m->changed = true;
    m->revoke_deadline_ms = now_ms + m->rebalance_ms;
    kafka_group_due(gs, cg->group, m->revoke_deadline_ms);
    return true;
}

/* -> UNRELEASED, STABLE: takes what is free of its target, at the assignment's epoch. */
static void to_assigned(struct consumer_group *cg, struct consumer_member *m)
{
    bool unreleased = false;
    for (uint32_t i = 0; i < cg->n_partitions; i++) {
        struct consumer_partition *p = &cg->partitions[i];
        if (p->target != m->slot || p->holder == m->slot)
            continue;
        if (p->holder == CONSUMER_NOBODY) {
            p->holder = m->slot;
            m->changed = true;
        } else {
            unreleased = true;
        }
    }
    m->state = unreleased ? CONSUMER_UNRELEASED : CONSUMER_STABLE;
    if (m->epoch != cg->assignment_epoch) {
        m->previous_epoch = m->epoch;
        m->epoch = cg->assignment_epoch;
    }
}

void consumer_reconcile(struct kafka_groups *gs, struct consumer_group *cg,
                        struct consumer_member *m, const struct catalog *c,
                        const struct consumer_heartbeat *h, int64_t now_ms)
{
    if (m->state == CONSUMER_STABLE && m->epoch == cg->assignment_epoch)
        return;
    if (m->state == CONSUMER_UNREVOKED) {
        if (h == NULL || !h->owned_given || owns_any(cg, m, c, h, OWNS_REVOKING))
            return;
        revoked(cg, m);
    }
    if (!to_unrevoked(gs, cg, m, now_ms))
        to_assigned(cg, m);
}

/* ---- members go ---- */

/* Partitions that the slot has or shall have are nobody's. */
static void slot_clear(struct consumer_group *cg, uint16_t slot)
{
    for (uint32_t i = 0; i < cg->n_partitions; i++) {
        struct consumer_partition *p = &cg->partitions[i];
        if (p->target == slot)
            p->target = CONSUMER_NOBODY;
        if (p->holder == slot) {
            p->holder = CONSUMER_NOBODY;
            p->revoking = false;
        }
    }
}

void consumer_member_drop(struct kafka_groups *gs, struct consumer_group *cg,
                          struct consumer_member *m, int16_t error, const char *why)
{
    consumer_waiter_refuse(gs, m, error, why);
    kafka_classic_forget(gs, cg, m);
    slot_clear(cg, m->slot);
    cg->slots[m->slot] = NULL;
    cg->n_members--;
    consumer_subscription_release(gs, m->subscription);
    gs->bytes -= m->bytes;
    mem_free((void *)(uintptr_t)m->id.ptr);
    mem_free(m);
}

void consumer_member_gone(struct kafka_groups *gs, struct consumer_group *cg,
                          struct consumer_member *m, int16_t error, const char *why,
                          int64_t wall_ms)
{
    consumer_member_drop(gs, cg, m, error, why);
    epoch_raise(cg);
    cg->assignor = assignor_choose(cg);
    if (cg->n_members > 0) {
        consumer_work_add(gs, cg, true);
        return;
    }
    topics_free(gs, cg);
    list_remove(&cg->dirty);
    cg->resolve = cg->assign = cg->cut = false;
    cg->assignment_epoch = cg->epoch;
    cg->group->empty_ms = wall_ms;
}

void kafka_consumer_stop(struct kafka_groups *gs, struct kafka_group *g, int16_t error)
{
    for (uint32_t i = 0; i < g->consumer->n_slots; i++)
        if (g->consumer->slots[i] != NULL)
            consumer_waiter_refuse(gs, g->consumer->slots[i], error, NULL);
}

void kafka_consumer_end(struct kafka_groups *gs, struct kafka_group *g, int16_t error)
{
    struct consumer_group *cg = g->consumer;
    for (uint32_t i = 0; i < cg->n_slots; i++)
        if (cg->slots[i] != NULL)
            consumer_member_drop(gs, cg, cg->slots[i], error, NULL);
    topics_free(gs, cg);
    list_remove(&cg->dirty);
    gs->bytes -= cg->n_slots * sizeof(*cg->slots) + sizeof *cg;
    mem_free(cg->slots);
    mem_free(cg);
    g->consumer = NULL;
}

/* ---- work ---- */

/* Copies who has what of a topic that is in both; tells holders of what is gone. */
static void partitions_move(struct consumer_group *cg, const struct consumer_topic *topics,
                            uint32_t n_topics, struct consumer_partition *to)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < cg->n_topics; i++) {
        const struct consumer_topic *old = &cg->topics[i];
        while (at < n_topics && topics[at].number < old->number)
            at++;
        bool same = at < n_topics && topics[at].number == old->number;
        uint32_t kept = !same                                         ? 0
                        : topics[at].n_partitions < old->n_partitions ? topics[at].n_partitions
                                                                      : old->n_partitions;
        for (uint32_t k = 0; k < old->n_partitions; k++) {
            const struct consumer_partition *p = &cg->partitions[old->first + k];
            if (k < kept)
                to[topics[at].first + k] = *p;
            else if (p->holder != CONSUMER_NOBODY)
                cg->slots[p->holder]->changed = true;
        }
    }
}

/* The subscriptions' topics together, in memory of the caller's; NULL when out of memory. */
static struct consumer_topic *topics_union(struct consumer_group *cg, const struct catalog *c,
                                           uint32_t *n_topics, uint32_t *n_partitions)
{
    uint32_t n = 0, kept = 0, first = 0;
    LIST_FOR (it, &cg->subscriptions) {
        n += LIST_ENTRY(it, struct consumer_subscription, link)->n_topics;
    }
    uint32_t *numbers = mem_alloc((n + 1) * sizeof *numbers);
    struct consumer_topic *topics = mem_alloc((n + 1) * sizeof *topics);
    n = 0;
    if (numbers != NULL && topics != NULL) {
        LIST_FOR (it, &cg->subscriptions) {
            const struct consumer_subscription *s =
                LIST_ENTRY(it, struct consumer_subscription, link);
            for (uint32_t i = 0; i < s->n_topics; i++)
                numbers[n++] = s->topics[i];
        }
        n = consumer_numbers_unique(numbers, n);
    }
    cg->cut = false;
    for (uint32_t i = 0; i < n; i++) {
        const struct topic *t = catalog_topic_by_number(c, numbers[i]);
        if (t == NULL)
            continue;
        if (first + t->n_partitions > CONSUMER_PARTITIONS_MAX) {
            cg->cut = true;
            break;
        }
        topics[kept++] = (struct consumer_topic){t->number, first, t->n_partitions};
        first += t->n_partitions;
    }
    bool complete = numbers != NULL && topics != NULL;
    mem_free(numbers);
    if (!complete) {
        mem_free(topics);
        return NULL;
    }
    *n_topics = kept;
    *n_partitions = first;
    return topics;
}

static bool topics_same(const struct consumer_group *cg, const struct consumer_topic *topics,
                        uint32_t n)
{
    if (cg->n_topics != n)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (cg->topics[i].number != topics[i].number ||
            cg->topics[i].n_partitions != topics[i].n_partitions)
            return false;
    return true;
}

/* The group's topics are those of its subscriptions. News raise the epoch and want an assignment.
 */
static enum err topics_take(struct kafka_groups *gs, struct consumer_group *cg,
                            const struct catalog *c)
{
    uint32_t n_topics = 0, n_partitions = 0;
    struct consumer_topic *topics = topics_union(cg, c, &n_topics, &n_partitions);
    if (topics == NULL)
        return ERR_NO_MEMORY;
    if (topics_same(cg, topics, n_topics)) {
        mem_free(topics);
        return ERR_OK;
    }
    struct consumer_partition *partitions = mem_alloc((n_partitions + 1) * sizeof *partitions);
    if (partitions == NULL) {
        mem_free(topics);
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < n_partitions; i++)
        partitions[i] = (struct consumer_partition){CONSUMER_NOBODY, CONSUMER_NOBODY, 0, 0};
    partitions_move(cg, topics, n_topics, partitions);
    topics_free(gs, cg);
    cg->topics = topics;
    cg->partitions = partitions;
    cg->n_topics = n_topics;
    cg->n_partitions = n_partitions;
    gs->bytes += n_topics * sizeof *topics + n_partitions * sizeof *partitions;
    if (!cg->assign)
        epoch_raise(cg);
    cg->assign = true;
    return ERR_OK;
}

/* RESOLVE, then ASSIGN; *done when nothing is left. */
static enum err group_work(struct kafka_groups *gs, struct consumer_group *cg,
                           const struct catalog *c, int64_t *budget, bool *done)
{
    *done = false;
    if (cg->resolve) {
        LIST_FOR (it, &cg->subscriptions) {
            struct consumer_subscription *s = LIST_ENTRY(it, struct consumer_subscription, link);
            bool resolved = true;
            enum err e =
                s->dirty ? consumer_subscription_resolve(gs, s, c, budget, &resolved) : ERR_OK;
            if (e != ERR_OK && e != ERR_LIMIT)
                return e;
            if (!resolved)
                return ERR_OK;
        }
        TRY(topics_take(gs, cg, c));
        cg->resolve = false;
    }
    if (cg->assign) {
        *budget -= cg->n_partitions + cg->n_members + cg->n_topics;
        TRY(kafka_assign(cg));
        cg->assign = false;
        cg->assignment_epoch = cg->epoch;
    }
    *done = true;
    return ERR_OK;
}

bool kafka_consumer_groups_work(struct kafka_groups *gs, int64_t now_ms, const struct catalog *c)
{
    int64_t budget = CONSUMER_WORK_PER_TURN;
    while (!list_empty(&gs->dirty) && budget > 0) {
        struct consumer_group *cg = LIST_ENTRY(gs->dirty.next, struct consumer_group, dirty);
        bool done = false;
        budget--;
        bool back = kafka_migration_back_due(cg);
        enum err e = back ? kafka_migration_back(gs, cg->group, now_ms, c)
                          : group_work(gs, cg, c, &budget, &done);
        if (back && e == ERR_OK)
            continue; /* it is a classic group now */
        if (e != ERR_OK) {
            /* Tried again later, behind the others. */
            list_remove(&cg->dirty);
            list_add(&gs->dirty, &cg->dirty);
            gs->retry_ms = now_ms + CONSUMER_RETRY_MS;
            return false;
        }
        if (!done)
            continue;
        list_remove(&cg->dirty);
        for (uint32_t i = 0; i < cg->n_slots; i++) {
            struct consumer_member *m = cg->slots[i];
            if (m == NULL || m->waiter == NULL)
                continue;
            void *waiter = m->waiter;
            m->waiter = NULL;
            consumer_reconcile(gs, cg, m, c, NULL, now_ms);
            consumer_member_alive(gs, cg, m, now_ms);
            if (m->classic != NULL)
                kafka_classic_answer(gs, cg, m, waiter, now_ms);
            else
                member_answer(gs, cg, m, waiter, true);
        }
    }
    gs->retry_ms = INT64_MAX;
    return !list_empty(&gs->dirty);
}

void kafka_consumer_groups_refresh(struct kafka_groups *gs)
{
    LIST_FOR (it, &gs->all) {
        struct consumer_group *cg = LIST_ENTRY(it, struct kafka_group, link)->consumer;
        if (cg == NULL || cg->n_members == 0)
            continue;
        LIST_FOR (is, &cg->subscriptions) {
            struct consumer_subscription *s = LIST_ENTRY(is, struct consumer_subscription, link);
            s->dirty = true;
            s->next = 0;
        }
        cg->resolve = true;
        if (list_empty(&cg->dirty))
            list_add(&gs->dirty, &cg->dirty);
    }
}

/* ---- time ---- */

int64_t kafka_consumer_tick(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms)
{
    struct consumer_group *cg = g->consumer;
    int64_t next_ms = INT64_MAX;
    for (uint32_t i = 0; i < cg->n_slots; i++) {
        struct consumer_member *m = cg->slots[i];
        if (m == NULL || m->waiter != NULL)
            continue;
        int64_t at = m->deadline_ms;
        if (m->state == CONSUMER_UNREVOKED && m->revoke_deadline_ms < at)
            at = m->revoke_deadline_ms;
        if (m->classic != NULL && m->classic->due_ms < at)
            at = m->classic->due_ms;
        if (at <= now_ms)
            consumer_member_gone(gs, cg, m, KAFKA_E_UNKNOWN_MEMBER, NULL, gs->wall_ms);
        else if (at < next_ms)
            next_ms = at;
    }
    return next_ms;
}

/* ---- heartbeats ---- */

static const char *request_wrong(const struct consumer_heartbeat *h)
{
    if (!kafka_group_id_valid(h->group))
        return "the group id is empty, or longer than 255 bytes";
    if (h->instance.ptr != NULL && h->instance.len == 0)
        return "the instance id is empty";
    if (h->rack.ptr != NULL && h->rack.len == 0)
        return "the rack id is empty";
    if (h->epoch < CONSUMER_EPOCH_AWAY)
        return "the member epoch is below -2";
    if (h->member.len == 0)
        return "the member id is empty";
    if (h->epoch == CONSUMER_EPOCH_AWAY && h->instance.ptr == NULL)
        return "epoch -2 is for static members, but there is no instance id";
    if (h->epoch != 0)
        return NULL;
    if (h->rebalance_ms <= 0)
        return "a joining member has to give its rebalance time-out";
    if (!h->owned_given || h->n_owned > 0)
        return "a joining member has to say that it owns no partitions";
    if (h->names == NULL && h->regex.ptr == NULL)
        return "a joining member has to give names of topics or a pattern";
    return NULL;
}

static bool assignor_known(struct str name, uint8_t *out)
{
    if (name.ptr == NULL)
        return true;
    for (uint8_t i = 0; i < CONSUMER_ASSIGNORS; i++)
        if (str_eq(name, str_of(kafka_consumer_assignor_name(i)))) {
            *out = i;
            return true;
        }
    return false;
}

/* Takes over the subscription that was given. *news: it is another one. */
static int16_t member_subscribe(struct kafka_groups *gs, struct consumer_group *cg,
                                struct consumer_member *m, const struct consumer_heartbeat *h,
                                bool *news, struct err_detail *why)
{
    if (h->names == NULL && h->regex.ptr == NULL)
        return KAFKA_OK;
    const struct consumer_subscription *old = m->subscription;
    bool keeps = old != NULL && h->epoch != 0; /* what is not given stays */
    const struct str *names = h->names != NULL ? h->names : keeps ? old->names : NULL;
    uint32_t n_names = h->names != NULL ? h->n_names : keeps ? old->n_names : 0;
    struct str regex = h->regex.ptr != NULL ? h->regex : keeps ? old->regex : STR("");
    struct consumer_subscription *s;
    enum err e = consumer_subscription_get(gs, cg, names, n_names, regex, &s, why);
    if (e == ERR_INVALID_PARAMETER)
        return KAFKA_E_INVALID_REGEX;
    if (e != ERR_OK)
        return KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    if (s == m->subscription)
        return KAFKA_OK;
    s->n_members++;
    consumer_subscription_release(gs, m->subscription);
    m->subscription = s;
    *news = true;
    return KAFKA_OK;
}

/* News of the member: raises the epoch when the assignment depends on them. */
int16_t consumer_member_update(struct kafka_groups *gs, struct consumer_group *cg,
                               struct consumer_member *m, const struct consumer_heartbeat *h,
                               struct err_detail *why)
{
    bool news = false;
    int16_t error = member_subscribe(gs, cg, m, h, &news, why);
    if (error != KAFKA_OK)
        return error;
    if (h->assignor.ptr != NULL)
        assignor_known(h->assignor, &m->assignor);
    if (h->rebalance_ms > 0)
        m->rebalance_ms =
            h->rebalance_ms < GROUP_REBALANCE_MS_MAX ? h->rebalance_ms : GROUP_REBALANCE_MS_MAX;
    enum consumer_assignor chosen = assignor_choose(cg);
    if (!news && chosen == cg->assignor)
        return KAFKA_OK;
    cg->assignor = chosen;
    epoch_raise(cg);
    consumer_work_add(gs, cg, news);
    return KAFKA_OK;
}

/* STABLE, UNREVOKED, UNRELEASED -> AWAY: what it has stays its own until its session is over. */
static void to_away(struct kafka_groups *gs, struct consumer_group *cg, struct consumer_member *m,
                    int64_t now_ms)
{
    consumer_waiter_refuse(gs, m, KAFKA_E_UNKNOWN_MEMBER, NULL);
    revoked(cg, m);
    m->state = CONSUMER_AWAY;
    m->epoch = CONSUMER_EPOCH_AWAY;
    consumer_member_alive(gs, cg, m, now_ms);
}

/* A join of a member that is there: again, or a static one under a new id, maybe one that spoke the
 * classic protocol before. It owns nothing (any more), so that what it held and shall not keep is
 * free. */
static bool to_joining(struct kafka_groups *gs, struct consumer_group *cg,
                       struct consumer_member *m, const struct consumer_heartbeat *h)
{
    if (!str_eq(m->id, h->member) && !consumer_member_name(gs, m, h->member, h))
        return false;
    consumer_waiter_refuse(gs, m, KAFKA_E_COORDINATOR_NOT_AVAILABLE, "a later heartbeat has come");
    kafka_classic_forget(gs, cg, m);
    for (uint32_t i = 0; i < cg->n_partitions; i++) {
        struct consumer_partition *p = &cg->partitions[i];
        if (p->holder == m->slot && (p->revoking || p->target != m->slot)) {
            p->holder = CONSUMER_NOBODY;
            p->revoking = false;
        }
    }
    m->state = CONSUMER_JOINING;
    m->epoch = 0;
    return true;
}

static void join(struct kafka_groups *gs, struct consumer_group *cg, int64_t now_ms,
                 const struct catalog *c, const struct consumer_heartbeat *h)
{
    struct consumer_member *m = h->instance.ptr != NULL
                                    ? consumer_member_by_instance(cg, h->instance)
                                    : consumer_member_find(cg, h->member);
    bool is_new = m == NULL;
    if (m != NULL && !str_eq(m->id, h->member) && m->state != CONSUMER_AWAY && m->classic == NULL) {
        refuse(gs, h->waiter, h->member, KAFKA_E_UNRELEASED_INSTANCE,
               "another member has this instance id and has not left");
        return;
    }
    if (is_new && cg->n_members >= GROUP_MEMBERS_MAX) {
        refuse(gs, h->waiter, h->member, KAFKA_E_GROUP_FULL, "the group has too many members");
        return;
    }
    if (is_new && consumer_member_find(cg, h->member) != NULL) {
        refuse(gs, h->waiter, h->member, KAFKA_E_INVALID_REQUEST,
               "another member has this id, and not this instance id");
        return;
    }
    struct err_detail why = {0};
    int16_t error = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    if (is_new)
        m = consumer_member_new(gs, cg, h);
    if (m != NULL && (is_new || to_joining(gs, cg, m, h)))
        error = consumer_member_update(gs, cg, m, h, &why);
    if (error != KAFKA_OK) {
        refuse(gs, h->waiter, h->member, error, why.text[0] != '\0' ? why.text : NULL);
        if (is_new && m != NULL)
            consumer_member_drop(gs, cg, m, error, NULL);
        return;
    }
    consumer_member_alive(gs, cg, m, now_ms);
    if (cg->resolve || cg->assign) {
        m->waiter = h->waiter;
        return;
    }
    consumer_reconcile(gs, cg, m, c, NULL, now_ms);
    member_answer(gs, cg, m, h->waiter, true);
}

/* The member whose heartbeat this is, or NULL with Kafka's code. */
static struct consumer_member *member_of(const struct consumer_group *cg, const struct catalog *c,
                                         const struct consumer_heartbeat *h, int16_t *error)
{
    struct consumer_member *m = consumer_member_find(cg, h->member);
    *error = KAFKA_E_UNKNOWN_MEMBER;
    if (m != NULL && m->classic != NULL)
        return NULL; /* its id is of JoinGroup's making */
    if (h->instance.ptr != NULL) {
        struct consumer_member *owner = consumer_member_by_instance(cg, h->instance);
        if (owner != NULL && owner != m) {
            *error = KAFKA_E_FENCED_INSTANCE;
            return NULL;
        }
        m = owner;
    }
    if (m == NULL || h->epoch < 0)
        return m;
    /* The answer with a new epoch may have been lost: the one before is fine, too, for a member
     * that owns nothing but what is its own. */
    *error = KAFKA_E_FENCED_EPOCH;
    bool before = h->epoch == m->previous_epoch && m->epoch > 0 && h->owned_given &&
                  !owns_any(cg, m, c, h, OWNS_UNASSIGNED);
    return h->epoch == m->epoch || before ? m : NULL;
}

static void leave(struct kafka_groups *gs, struct consumer_group *cg, struct consumer_member *m,
                  int64_t now_ms, const struct consumer_heartbeat *h)
{
    struct consumer_heartbeat_result r = {.member = h->member, .epoch = h->epoch};
    if (h->epoch == CONSUMER_EPOCH_AWAY)
        to_away(gs, cg, m, now_ms);
    else
        consumer_member_gone(gs, cg, m, KAFKA_E_UNKNOWN_MEMBER, NULL, gs->wall_ms);
    answer(gs, h->waiter, &r);
}

static void beat(struct kafka_groups *gs, struct consumer_group *cg, int64_t now_ms,
                 const struct catalog *c, const struct consumer_heartbeat *h)
{
    int16_t error;
    struct err_detail why = {0};
    struct consumer_member *m = member_of(cg, c, h, &error);
    if (m == NULL) {
        refuse(gs, h->waiter, h->member, error,
               error == KAFKA_E_FENCED_EPOCH ? "the member's epoch is not the group's: join again"
                                             : "the member is not known: join again");
        return;
    }
    if (h->epoch < 0) {
        leave(gs, cg, m, now_ms, h);
        return;
    }
    consumer_member_alive(gs, cg, m, now_ms);
    error = consumer_member_update(gs, cg, m, h, &why);
    if (error != KAFKA_OK) {
        refuse(gs, h->waiter, h->member, error, why.text[0] != '\0' ? why.text : NULL);
        return;
    }
    consumer_reconcile(gs, cg, m, c, h, now_ms);
    bool whole =
        h->owned_given && h->rebalance_ms > 0 && (h->names != NULL || h->regex.ptr != NULL);
    member_answer(gs, cg, m, h->waiter, whole);
}

/* The group for a heartbeat; NULL with Kafka's code and a reason. A classic one is taken over. */
static struct kafka_group *group_for(struct kafka_groups *gs, int64_t now_ms,
                                     const struct catalog *c, const struct consumer_heartbeat *h,
                                     int16_t *error, const char **why)
{
    struct kafka_group *g = kafka_groups_find(gs, h->group);
    if (g != NULL && g->consumer != NULL)
        return g;
    *error = KAFKA_E_UNKNOWN_MEMBER;
    *why = "the group has no such member: join again";
    if (h->epoch != 0)
        return NULL;
    if (g != NULL && g->n_members + g->n_pending > 0) {
        *error = kafka_migration_forth(gs, g, c, now_ms, why);
        return *error == KAFKA_OK ? g : NULL;
    }
    *error = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    *why = "no room for one more group";
    bool is_new = g == NULL;
    if (is_new && (g = kafka_group_obtain(gs, h->group)) == NULL)
        return NULL;
    if (!kafka_consumer_begin(gs, g, g->generation)) {
        if (is_new)
            kafka_group_reap(gs, g);
        return NULL;
    }
    return g;
}

void kafka_consumer_heartbeat(struct kafka_groups *gs, int64_t now_ms, const struct catalog *c,
                              const struct consumer_heartbeat *h)
{
    uint8_t assignor;
    int16_t error = KAFKA_E_INVALID_REQUEST;
    const char *why = request_wrong(h);
    struct kafka_group *g = NULL;
    if (why == NULL && !assignor_known(h->assignor, &assignor)) {
        error = KAFKA_E_UNSUPPORTED_ASSIGNOR;
        why = "assignors are uniform and range";
    } else if (why == NULL) {
        g = group_for(gs, now_ms, c, h, &error, &why);
    }
    if (g != NULL)
        g->consumer->session_ms =
            security_group_setting(c->security, g->id, GROUP_CONFIG_SESSION_MS, NULL);
    if (g == NULL)
        refuse(gs, h->waiter, h->member, error, why);
    else if (h->epoch == 0)
        join(gs, g->consumer, now_ms, c, h);
    else
        beat(gs, g->consumer, now_ms, c, h);
}

/* ---- for others ---- */

int16_t kafka_consumer_may_commit(const struct kafka_group *g, struct str member, int32_t epoch)
{
    if (epoch < 0 && g->consumer->n_members == 0)
        return KAFKA_OK;
    const struct consumer_member *m = consumer_member_find(g->consumer, member);
    if (m == NULL)
        return KAFKA_E_UNKNOWN_MEMBER;
    return m->epoch == epoch ? KAFKA_OK : KAFKA_E_STALE_EPOCH;
}

bool kafka_consumer_subscribes(const struct consumer_group *cg, const struct catalog *c,
                               struct str topic)
{
    const struct topic *t = catalog_topic(c, topic);
    return t != NULL && consumer_topic_of(cg, t->number) != NULL;
}
