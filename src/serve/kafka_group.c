#include "serve/kafka_group.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "serve/kafka_classic_member.h"
#include "serve/kafka_consumer_group.h"
#include "serve/kafka_group_int.h"
#include "serve/kafka_int.h"

const char *kafka_group_state_name(enum kafka_group_state state)
{
    static const char *const names[] = {"Empty", "PreparingRebalance", "CompletingRebalance",
                                        "Stable", "Dead"};
    return names[state];
}

bool kafka_group_is_empty(const struct kafka_group *g)
{
    if (g->consumer != NULL)
        return g->consumer->n_members == 0;
    return g->state == GROUP_EMPTY;
}

const char *kafka_group_state_text(const struct kafka_group *g)
{
    return g->consumer != NULL ? kafka_consumer_state_name(g->consumer)
                               : kafka_group_state_name(g->state);
}

void kafka_groups_init(struct kafka_groups *gs)
{
    *gs = (struct kafka_groups){.next_ms = INT64_MAX, .retry_ms = INT64_MAX};
    list_init(&gs->all);
    list_init(&gs->dirty);
}

/* ---- storage ---- */

struct str kafka_group_pack(char **at, struct str s)
{
    if (s.ptr == NULL)
        return s;
    struct str copy = {*at, s.len};
    if (s.len > 0)
        memcpy(*at, s.ptr, s.len);
    *at += s.len;
    return copy;
}

struct kafka_group *kafka_groups_find(const struct kafka_groups *gs, struct str id)
{
    struct kafka_group *g = map_get(&gs->map, hash_bytes(id.ptr, id.len, gs->hash_seed));
    while (g != NULL && !str_eq(g->id, id))
        g = g->next;
    return g;
}

static struct kafka_group *group_new(struct kafka_groups *gs, struct str id)
{
    size_t bytes = sizeof(struct kafka_group) + id.len;
    struct kafka_group *g = mem_zalloc(1, bytes);
    if (g == NULL)
        return NULL;
    char *at = (char *)(g + 1);
    g->id = kafka_group_pack(&at, id);
    g->bytes = bytes;
    g->next_ms = INT64_MAX;
    g->number = gs->next_number++;
    g->hash_seed = gs->hash_seed;
    list_init(&g->members);
    list_init(&g->offsets);
    uint64_t hash = hash_bytes(id.ptr, id.len, gs->hash_seed);
    g->next = map_get(&gs->map, hash);
    if (map_put(&gs->map, hash, g) != ERR_OK) {
        mem_free(g);
        return NULL;
    }
    list_add(&gs->all, &g->link);
    gs->n++;
    gs->bytes += bytes;
    return g;
}

static void group_names_free(struct kafka_group *g)
{
    mem_free((void *)(uintptr_t)g->protocol_type.ptr);
    g->protocol_type = g->protocol = (struct str){NULL, 0};
}

static void group_unhash(struct kafka_groups *gs, struct kafka_group *g)
{
    uint64_t hash = hash_bytes(g->id.ptr, g->id.len, gs->hash_seed);
    struct kafka_group *head = map_remove(&gs->map, hash);
    if (head == g) {
        head = g->next;
    } else {
        struct kafka_group *before = head;
        while (before->next != g)
            before = before->next;
        before->next = g->next;
    }
    /* The slot was just given back, so that this cannot want memory. */
    if (head != NULL && map_put(&gs->map, hash, head) != ERR_OK)
        UNREACHABLE();
}

static void member_memory_free(struct kafka_groups *gs, struct kafka_group_member *m)
{
    gs->bytes -= m->bytes;
    mem_free(m->protocols);
    mem_free((void *)(uintptr_t)m->assignment.ptr);
    mem_free((void *)(uintptr_t)m->id.ptr);
    mem_free(m);
}

static void offset_free(struct kafka_groups *gs, struct kafka_group *g,
                        struct kafka_group_offset *o)
{
    list_remove(&o->link);
    gs->bytes -= o->bytes;
    gs->n_offsets--;
    g->n_offsets--;
    mem_free(o);
}

/* -> DEAD */
static void to_dead(struct kafka_groups *gs, struct kafka_group *g)
{
    g->state = GROUP_DEAD;
    if (g->consumer != NULL)
        kafka_consumer_end(gs, g, KAFKA_E_UNKNOWN_MEMBER);
    group_unhash(gs, g);
    list_remove(&g->link);
    gs->n--;
    gs->bytes -= g->bytes;
    LIST_FOR_SAFE (it, next, &g->members) {
        member_memory_free(gs, LIST_ENTRY(it, struct kafka_group_member, link));
    }
    LIST_FOR_SAFE (it, next, &g->offsets) {
        offset_free(gs, g, LIST_ENTRY(it, struct kafka_group_offset, link));
    }
    map_deinit(&g->offset_map);
    group_names_free(g);
    mem_free(g);
}

struct kafka_group *kafka_group_obtain(struct kafka_groups *gs, struct str id)
{
    struct kafka_group *g = kafka_groups_find(gs, id);
    if (g != NULL)
        return g;
    bool room = gs->n + gs->reserved.n_groups < GROUPS_MAX &&
                kafka_groups_fits(gs, sizeof(struct kafka_group) + id.len);
    return room ? group_new(gs, id) : NULL;
}

void kafka_group_reap(struct kafka_groups *gs, struct kafka_group *g)
{
    if (g->state == GROUP_EMPTY && g->consumer == NULL && g->n_pending == 0 && g->n_offsets == 0)
        to_dead(gs, g);
}

void kafka_groups_deinit(struct kafka_groups *gs)
{
    while (!list_empty(&gs->all))
        to_dead(gs, LIST_ENTRY(gs->all.next, struct kafka_group, link));
    map_deinit(&gs->map);
}

void kafka_group_due(struct kafka_groups *gs, struct kafka_group *g, int64_t at_ms)
{
    if (at_ms < g->next_ms)
        g->next_ms = at_ms;
    if (at_ms < gs->next_ms)
        gs->next_ms = at_ms;
}

/* ---- members ---- */

static struct kafka_group_member *member_find(const struct kafka_group *g, struct str id)
{
    LIST_FOR (it, &g->members) {
        struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (str_eq(m->id, id))
            return m;
    }
    return NULL;
}

static struct kafka_group_member *member_by_instance(const struct kafka_group *g,
                                                     struct str instance)
{
    LIST_FOR (it, &g->members) {
        struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (m->instance.ptr != NULL && str_eq(m->instance, instance))
            return m;
    }
    return NULL;
}

/* The member that a request means, or NULL with Kafka's code. */
static struct kafka_group_member *member_of(const struct kafka_group *g, struct str id,
                                            struct str instance, int16_t *error)
{
    struct kafka_group_member *m = member_find(g, id);
    *error = KAFKA_OK;
    if (instance.ptr != NULL) {
        const struct kafka_group_member *owner = member_by_instance(g, instance);
        if (owner != NULL && owner != m) {
            *error = KAFKA_E_FENCED_INSTANCE;
            return NULL;
        }
    }
    if (m == NULL || m->pending) {
        *error = KAFKA_E_UNKNOWN_MEMBER;
        return NULL;
    }
    return m;
}

static void member_alive(struct kafka_groups *gs, struct kafka_group *g,
                         struct kafka_group_member *m, int64_t now_ms)
{
    m->deadline_ms = now_ms + m->session_ms;
    kafka_group_due(gs, g, m->deadline_ms);
}

static void join_answer(struct kafka_groups *gs, struct kafka_group_member *m,
                        const struct kafka_group_join_result *result)
{
    void *waiter = m->join_waiter;
    m->join_waiter = NULL;
    if (waiter != NULL)
        gs->joined(waiter, result);
}

static void join_refuse(struct kafka_groups *gs, void *waiter, struct str member, int16_t error)
{
    struct kafka_group_join_result result = {.error = error, .generation = -1, .member = member};
    gs->joined(waiter, &result);
}

static void sync_answer(struct kafka_groups *gs, const struct kafka_group *g,
                        struct kafka_group_member *m, int16_t error)
{
    void *waiter = m->sync_waiter;
    m->sync_waiter = NULL;
    struct kafka_group_sync_result result = {.error = error};
    if (error == KAFKA_OK) {
        result.protocol_type = g->protocol_type;
        result.protocol = g->protocol;
        result.assignment = m->assignment;
    }
    if (waiter != NULL)
        gs->synced(waiter, &result);
}

/* Takes a member out, whatever the state; the caller makes the transition that follows. */
static void member_drop(struct kafka_groups *gs, struct kafka_group *g,
                        struct kafka_group_member *m, int16_t error)
{
    struct kafka_group_join_result result = {.error = error, .generation = -1, .member = m->id};
    join_answer(gs, m, &result);
    sync_answer(gs, g, m, error);
    list_remove(&m->link);
    if (m->pending)
        g->n_pending--;
    else
        g->n_members--;
    if (g->leader == m)
        g->leader = NULL;
    member_memory_free(gs, m);
}

/* Replaces the member's protocols by copies. */
static enum err member_protocols_set(struct kafka_groups *gs, struct kafka_group_member *m,
                                     const struct kafka_group_join *j)
{
    size_t bytes = j->n_protocols * sizeof(struct kafka_group_protocol);
    for (uint32_t i = 0; i < j->n_protocols; i++)
        bytes += j->protocols[i].name.len + j->protocols[i].metadata.len;
    if (bytes > GROUP_MEMBER_BYTES_MAX || !kafka_groups_fits(gs, bytes))
        return ERR_LIMIT;
    struct kafka_group_protocol *copy = mem_alloc(bytes);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    char *at = (char *)(copy + j->n_protocols);
    for (uint32_t i = 0; i < j->n_protocols; i++) {
        copy[i].name = kafka_group_pack(&at, j->protocols[i].name);
        copy[i].metadata = kafka_group_pack(&at, j->protocols[i].metadata);
    }
    mem_free(m->protocols);
    m->protocols = copy;
    m->n_protocols = j->n_protocols;
    gs->bytes += bytes - m->protocol_bytes;
    m->bytes += bytes - m->protocol_bytes;
    m->protocol_bytes = bytes;
    return ERR_OK;
}

static struct kafka_group_member *member_new(struct kafka_groups *gs, struct kafka_group *g,
                                             const struct kafka_group_join *j, bool pending)
{
    size_t names = j->new_id.len + j->instance.len + j->client_id.len + j->client_host.len;
    size_t bytes = sizeof(struct kafka_group_member) + names;
    if (g->n_members + g->n_pending >= GROUP_MEMBERS_MAX || !kafka_groups_fits(gs, bytes))
        return NULL;
    struct kafka_group_member *m = mem_zalloc(1, sizeof *m);
    char *at = m == NULL ? NULL : mem_alloc(names + 1);
    if (at == NULL) {
        mem_free(m);
        return NULL;
    }
    m->id = kafka_group_pack(&at, j->new_id);
    m->instance = kafka_group_pack(&at, j->instance);
    m->client_id = kafka_group_pack(&at, j->client_id);
    m->client_host = kafka_group_pack(&at, j->client_host);
    m->bytes = bytes;
    gs->bytes += bytes;
    m->session_ms = j->session_ms;
    m->rebalance_ms = j->rebalance_ms;
    m->generation = -1;
    m->pending = pending;
    list_add(&g->members, &m->link);
    if (pending)
        g->n_pending++;
    else
        g->n_members++;
    return m;
}

static bool protocols_same(const struct kafka_group_member *m, const struct kafka_group_join *j)
{
    if (m->n_protocols != j->n_protocols)
        return false;
    for (uint32_t i = 0; i < j->n_protocols; i++)
        if (!str_eq(m->protocols[i].name, j->protocols[i].name) ||
            !str_eq(m->protocols[i].metadata, j->protocols[i].metadata))
            return false;
    return true;
}

static const struct kafka_group_protocol *member_protocol(const struct kafka_group_member *m,
                                                          struct str name)
{
    for (uint32_t i = 0; i < m->n_protocols; i++)
        if (str_eq(m->protocols[i].name, name))
            return &m->protocols[i];
    return NULL;
}

/* Does every member but `except` know the protocol? */
static bool protocol_common(const struct kafka_group *g, struct str name,
                            const struct kafka_group_member *except)
{
    LIST_FOR (it, &g->members) {
        const struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (!m->pending && m != except && member_protocol(m, name) == NULL)
            return false;
    }
    return true;
}

static bool is_alone(const struct kafka_group *g, const struct kafka_group_member *self)
{
    return g->n_members == 0 || (g->n_members == 1 && self != NULL && !self->pending);
}

static bool protocols_fit(const struct kafka_group *g, const struct kafka_group_join *j,
                          const struct kafka_group_member *self)
{
    if (j->n_protocols == 0 || j->n_protocols > GROUP_PROTOCOLS_MAX || j->protocol_type.len == 0)
        return false;
    if (!is_alone(g, self) && !str_eq(g->protocol_type, j->protocol_type))
        return false;
    for (uint32_t i = 0; i < j->n_protocols; i++)
        if (protocol_common(g, j->protocols[i].name, self))
            return true;
    return false;
}

/* ---- transitions ---- */

static int32_t rebalance_ms(const struct kafka_group *g)
{
    int32_t most = 0;
    LIST_FOR (it, &g->members) {
        const struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (m->rebalance_ms > most)
            most = m->rebalance_ms;
    }
    return most;
}

/* EMPTY, COMPLETING, STABLE -> PREPARING */
static void to_preparing(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms)
{
    LIST_FOR (it, &g->members) {
        struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (m->sync_waiter != NULL) {
            sync_answer(gs, g, m, KAFKA_E_REBALANCE_IN_PROGRESS);
            member_alive(gs, g, m, now_ms);
        }
    }
    g->initial = g->state == GROUP_EMPTY;
    g->state = GROUP_PREPARING;
    g->deadline_ms = now_ms + (g->initial ? GROUP_INITIAL_DELAY_MS : rebalance_ms(g));
    g->initial_end_ms = now_ms + rebalance_ms(g);
    g->n_waited_for = g->n_members;
    kafka_group_due(gs, g, g->deadline_ms);
}

/* Any -> EMPTY */
static void to_empty(const struct kafka_groups *gs, struct kafka_group *g)
{
    g->empty_ms = gs->wall_ms;
    g->state = GROUP_EMPTY;
    g->generation = g->generation == INT32_MAX ? 1 : g->generation + 1;
    g->leader = NULL;
    g->protocol = (struct str){NULL, 0}; /* its type is shown as long as there is the group */
}

static const struct kafka_group_member *first_joined(const struct kafka_group *g)
{
    LIST_FOR (it, &g->members) {
        const struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (!m->pending)
            return m;
    }
    return NULL;
}

/* The protocol that most members like best among those that all know. */
static struct str protocol_choose(const struct kafka_group *g)
{
    struct str known[GROUP_PROTOCOLS_MAX];
    uint32_t votes[GROUP_PROTOCOLS_MAX] = {0}, n = 0, best = 0;
    const struct kafka_group_member *first = first_joined(g);
    for (uint32_t i = 0; first != NULL && i < first->n_protocols; i++)
        if (protocol_common(g, first->protocols[i].name, NULL))
            known[n++] = first->protocols[i].name;
    LIST_FOR (it, &g->members) {
        const struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        uint32_t at = n;
        for (uint32_t k = 0; k < m->n_protocols && at == n; k++)
            for (at = 0; at < n && !str_eq(known[at], m->protocols[k].name);)
                at++;
        if (at < n)
            votes[at]++;
    }
    for (uint32_t i = 1; i < n; i++)
        best = votes[i] > votes[best] ? i : best;
    return n > 0 ? known[best] : (struct str){NULL, 0};
}

/* Keeps copies of the protocol's names in the group. False: out of memory. */
static bool group_names_set(struct kafka_group *g, struct str type, struct str protocol)
{
    char *memory = mem_alloc(type.len + protocol.len + 1);
    if (memory == NULL)
        return false;
    char *at = memory;
    struct str type_copy = kafka_group_pack(&at, type);
    struct str protocol_copy =
        protocol.ptr == NULL ? (struct str){at, 0} : kafka_group_pack(&at, protocol);
    mem_free((void *)(uintptr_t)g->protocol_type.ptr);
    g->protocol_type = type_copy;
    g->protocol = protocol_copy;
    return true;
}

static void assignment_clear(struct kafka_groups *gs, struct kafka_group_member *m)
{
    gs->bytes -= m->assignment.len;
    m->bytes -= m->assignment.len;
    mem_free((void *)(uintptr_t)m->assignment.ptr);
    m->assignment = (struct str){NULL, 0};
}

/* `skip`: the generation stands as it is, whoever leads it assigns nothing anew. */
static void member_joined(struct kafka_groups *gs, const struct kafka_group *g,
                          struct kafka_group_member *m, bool skip)
{
    m->generation = g->generation;
    struct kafka_group_join_result result = {
        .generation = g->generation,
        .member = m->id,
        .leader = g->leader->id,
        .protocol_type = g->protocol_type,
        .protocol = g->protocol,
        .members_of = m == g->leader ? g : NULL,
        .skip_assignment = skip && m == g->leader,
    };
    join_answer(gs, m, &result);
}

/* PREPARING -> COMPLETING: a new generation. */
static void to_completing(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms)
{
    struct str protocol = protocol_choose(g);
    if (!group_names_set(g, g->protocol_type, protocol)) {
        kafka_group_due(gs, g, now_ms + GROUP_INITIAL_DELAY_MS); /* tried again then */
        return;
    }
    g->generation = g->generation == INT32_MAX ? 1 : g->generation + 1;
    g->state = GROUP_COMPLETING;
    g->deadline_ms = now_ms + rebalance_ms(g);
    kafka_group_due(gs, g, g->deadline_ms);
    LIST_FOR (it, &g->members) {
        struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (!m->pending && g->leader == NULL)
            g->leader = m;
    }
    LIST_FOR (it, &g->members) {
        struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (m->pending)
            continue;
        assignment_clear(gs, m);
        member_alive(gs, g, m, now_ms);
        member_joined(gs, g, m, false);
    }
}

/* COMPLETING -> STABLE */
static void to_stable(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms)
{
    g->state = GROUP_STABLE;
    LIST_FOR (it, &g->members) {
        struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (m->sync_waiter != NULL)
            member_alive(gs, g, m, now_ms);
        sync_answer(gs, g, m, KAFKA_OK);
    }
}

/* PREPARING: is everybody here? */
static void check_joined(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms)
{
    if (g->state != GROUP_PREPARING)
        return;
    if (g->n_members == 0) {
        to_empty(gs, g);
        return;
    }
    if (g->initial || g->n_pending > 0)
        return;
    LIST_FOR (it, &g->members) {
        if (LIST_ENTRY(it, struct kafka_group_member, link)->join_waiter == NULL)
            return;
    }
    to_completing(gs, g, now_ms);
}

/* After a member has gone. */
static void member_gone(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms)
{
    if (g->state == GROUP_COMPLETING || g->state == GROUP_STABLE) {
        if (g->n_members == 0)
            to_empty(gs, g);
        else
            to_preparing(gs, g, now_ms);
    }
    check_joined(gs, g, now_ms);
}

/* ---- Join ---- */

static void member_waits(struct kafka_groups *gs, struct kafka_group *g,
                         struct kafka_group_member *m, void *waiter, int64_t now_ms)
{
    struct kafka_group_join_result again = {
        .error = KAFKA_E_REBALANCE_IN_PROGRESS, .generation = -1, .member = m->id};
    join_answer(gs, m, &again); /* an older join of the same member */
    m->join_waiter = waiter;
    if (g->state != GROUP_PREPARING)
        to_preparing(gs, g, now_ms);
    check_joined(gs, g, now_ms);
}

/* A member whose id is known: a rebalance if it brings news, else the present generation. */
static void join_known(struct kafka_groups *gs, struct kafka_group *g, struct kafka_group_member *m,
                       int64_t now_ms, const struct kafka_group_join *j)
{
    bool news = m->pending || !protocols_same(m, j);
    if (news && member_protocols_set(gs, m, j) != ERR_OK) {
        join_refuse(gs, j->waiter, m->id, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    if (m->pending) {
        m->pending = false;
        g->n_pending--;
        g->n_members++;
    }
    m->session_ms = j->session_ms;
    m->rebalance_ms = j->rebalance_ms;
    member_alive(gs, g, m, now_ms);
    bool restarted = j->member.len == 0;
    bool current = (g->state == GROUP_COMPLETING && !news && !restarted) ||
                   (g->state == GROUP_STABLE && !news && (restarted || m != g->leader));
    if (!current) {
        member_waits(gs, g, m, j->waiter, now_ms);
        return;
    }
    m->join_waiter = j->waiter;
    member_joined(gs, g, m, restarted);
}

/* A static member starts again: its id is replaced, whoever used the old one is fenced. */
static void join_static(struct kafka_groups *gs, struct kafka_group *g,
                        struct kafka_group_member *m, int64_t now_ms,
                        const struct kafka_group_join *j)
{
    char *memory =
        mem_alloc(j->new_id.len + m->instance.len + j->client_id.len + j->client_host.len + 1);
    if (memory == NULL) {
        join_refuse(gs, j->waiter, j->member, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    struct kafka_group_join_result fenced = {
        .error = KAFKA_E_FENCED_INSTANCE, .generation = -1, .member = m->id};
    join_answer(gs, m, &fenced);
    sync_answer(gs, g, m, KAFKA_E_FENCED_INSTANCE);
    char *at = memory;
    const char *old = m->id.ptr;
    m->id = kafka_group_pack(&at, j->new_id);
    m->instance = kafka_group_pack(&at, m->instance);
    m->client_id = kafka_group_pack(&at, j->client_id);
    m->client_host = kafka_group_pack(&at, j->client_host);
    mem_free((void *)(uintptr_t)old);
    join_known(gs, g, m, now_ms, j);
}

static void join_new(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms,
                     const struct kafka_group_join *j)
{
    bool pending = j->id_required && j->instance.ptr == NULL;
    struct kafka_group_member *m = member_new(gs, g, j, pending);
    if (m == NULL) {
        join_refuse(gs, j->waiter, j->member, KAFKA_E_GROUP_FULL);
        return;
    }
    member_alive(gs, g, m, now_ms);
    if (pending) {
        join_refuse(gs, j->waiter, m->id, KAFKA_E_MEMBER_ID_REQUIRED);
        return;
    }
    if (member_protocols_set(gs, m, j) != ERR_OK) {
        join_refuse(gs, j->waiter, j->member, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
        member_drop(gs, g, m, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    member_waits(gs, g, m, j->waiter, now_ms);
}

static int16_t join_check(const struct kafka_group_join *j)
{
    if (!kafka_group_id_valid(j->group))
        return KAFKA_E_INVALID_GROUP_ID;
    if (j->session_ms < GROUP_SESSION_MS_MIN || j->session_ms > GROUP_SESSION_MS_MAX)
        return KAFKA_E_INVALID_SESSION_TIMEOUT;
    return KAFKA_OK;
}

static void join_in_group(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms,
                          const struct kafka_group_join *j)
{
    struct kafka_group_member *owner =
        j->instance.ptr != NULL ? member_by_instance(g, j->instance) : NULL;
    struct kafka_group_member *m = j->member.len > 0 ? member_find(g, j->member) : owner;
    if (j->member.len > 0 && owner != NULL && owner != m) {
        join_refuse(gs, j->waiter, j->member, KAFKA_E_FENCED_INSTANCE);
        return;
    }
    if (j->member.len > 0 && m == NULL) {
        join_refuse(gs, j->waiter, j->member, KAFKA_E_UNKNOWN_MEMBER);
        return;
    }
    if (!protocols_fit(g, j, m)) {
        join_refuse(gs, j->waiter, j->member, KAFKA_E_INCONSISTENT_PROTOCOL);
        return;
    }
    if (is_alone(g, m) && !group_names_set(g, j->protocol_type, g->protocol)) {
        join_refuse(gs, j->waiter, j->member, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    if (m == NULL)
        join_new(gs, g, now_ms, j);
    else if (j->member.len == 0)
        join_static(gs, g, m, now_ms, j);
    else
        join_known(gs, g, m, now_ms, j);
}

void kafka_groups_join(struct kafka_groups *gs, int64_t now_ms,
                       const struct kafka_group_join *request)
{
    struct kafka_group_join j = *request;
    if (j.rebalance_ms <= 0 || j.rebalance_ms > GROUP_REBALANCE_MS_MAX)
        j.rebalance_ms = j.rebalance_ms <= 0 ? j.session_ms : GROUP_REBALANCE_MS_MAX;
    int16_t error = join_check(&j);
    struct kafka_group *g = error == KAFKA_OK ? kafka_groups_find(gs, j.group) : NULL;
    if (error == KAFKA_OK && g == NULL) {
        if (j.member.len > 0)
            error = KAFKA_E_UNKNOWN_MEMBER;
        else if ((g = kafka_group_obtain(gs, j.group)) == NULL)
            error = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    }
    if (error != KAFKA_OK || g == NULL) {
        join_refuse(gs, j.waiter, j.member, error);
        return;
    }
    if (g->consumer != NULL && kafka_group_is_empty(g)) {
        /* Back to the classic protocol; generations go on where the epochs were. */
        g->generation = g->consumer->epoch;
        kafka_consumer_end(gs, g, KAFKA_E_UNKNOWN_MEMBER);
    }
    if (g->consumer != NULL)
        kafka_classic_join(gs, g, now_ms, &j);
    else
        join_in_group(gs, g, now_ms, &j);
    kafka_group_reap(gs, g);
}

/* ---- Sync ---- */

int16_t kafka_group_assignment_set(struct kafka_groups *gs, struct kafka_group_member *m,
                                   struct str assignment)
{
    if (assignment.len > GROUP_MEMBER_BYTES_MAX || !kafka_groups_fits(gs, assignment.len))
        return KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    char *copy = mem_alloc(assignment.len + 1);
    if (copy == NULL)
        return KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    char *at = copy;
    size_t before = m->assignment.len;
    mem_free((void *)(uintptr_t)m->assignment.ptr);
    m->assignment =
        assignment.ptr == NULL ? (struct str){copy, 0} : kafka_group_pack(&at, assignment);
    gs->bytes += assignment.len - before;
    m->bytes += assignment.len - before;
    return KAFKA_OK;
}

static int16_t assignments_take(struct kafka_groups *gs, struct kafka_group *g,
                                const struct kafka_group_sync *s)
{
    if (s->n_assignments > GROUP_MEMBERS_MAX)
        return KAFKA_E_INVALID_REQUEST;
    for (uint32_t i = 0; i < s->n_assignments; i++) {
        struct kafka_group_member *m = member_find(g, s->assignments[i].member);
        if (m == NULL)
            continue;
        int16_t error = kafka_group_assignment_set(gs, m, s->assignments[i].assignment);
        if (error != KAFKA_OK)
            return error;
    }
    return KAFKA_OK;
}

/* Is it the generation that the member was told, if it was told one? While a group that was of the
 * new protocol prepares its first one, each has its own. */
static bool generation_fits(const struct kafka_group *g, const struct kafka_group_member *m,
                            int32_t generation)
{
    return generation >= 0 && (generation == g->generation || generation == m->generation);
}

static int16_t sync_check(const struct kafka_group *g, const struct kafka_group_member *m,
                          const struct kafka_group_sync *s)
{
    if (!generation_fits(g, m, s->generation))
        return KAFKA_E_ILLEGAL_GENERATION;
    if ((s->protocol_type.ptr != NULL && !str_eq(s->protocol_type, g->protocol_type)) ||
        (s->protocol.ptr != NULL && !str_eq(s->protocol, g->protocol)))
        return KAFKA_E_INCONSISTENT_PROTOCOL;
    return g->state == GROUP_PREPARING ? KAFKA_E_REBALANCE_IN_PROGRESS : KAFKA_OK;
}

void kafka_groups_sync(struct kafka_groups *gs, int64_t now_ms, const struct kafka_group_sync *s)
{
    struct kafka_group *g = kafka_groups_find(gs, s->group);
    if (g != NULL && g->consumer != NULL) {
        kafka_classic_sync(gs, g, now_ms, s);
        return;
    }
    int16_t error = KAFKA_E_UNKNOWN_MEMBER;
    struct kafka_group_member *m = NULL;
    if (g != NULL && g->state != GROUP_EMPTY)
        m = member_of(g, s->member, s->instance, &error);
    if (m != NULL)
        error = sync_check(g, m, s);
    if (error == KAFKA_OK && g->state == GROUP_COMPLETING && m == g->leader)
        error = assignments_take(gs, g, s);
    if (error != KAFKA_OK) {
        struct kafka_group_sync_result result = {.error = error};
        gs->synced(s->waiter, &result);
        return;
    }
    sync_answer(gs, g, m, KAFKA_E_REBALANCE_IN_PROGRESS); /* an older sync of the same member */
    m->sync_waiter = s->waiter;
    member_alive(gs, g, m, now_ms);
    if (g->state == GROUP_STABLE)
        sync_answer(gs, g, m, KAFKA_OK);
    else if (m == g->leader)
        to_stable(gs, g, now_ms);
}

/* ---- Heartbeat, Leave, Commit ---- */

int16_t kafka_groups_heartbeat(struct kafka_groups *gs, int64_t now_ms, struct str group,
                               int32_t generation, struct str member, struct str instance)
{
    struct kafka_group *g = kafka_groups_find(gs, group);
    int16_t error = KAFKA_E_UNKNOWN_MEMBER;
    if (g != NULL && g->consumer != NULL)
        return kafka_classic_heartbeat(gs, g, now_ms, generation, member, instance);
    if (g == NULL || g->state == GROUP_EMPTY)
        return error;
    struct kafka_group_member *m = member_of(g, member, instance, &error);
    if (m == NULL)
        return error;
    if (!generation_fits(g, m, generation))
        return KAFKA_E_ILLEGAL_GENERATION;
    member_alive(gs, g, m, now_ms);
    return g->state == GROUP_PREPARING ? KAFKA_E_REBALANCE_IN_PROGRESS : KAFKA_OK;
}

int16_t kafka_groups_leave(struct kafka_groups *gs, int64_t now_ms, struct str group,
                           struct str member, struct str instance)
{
    struct kafka_group *g = kafka_groups_find(gs, group);
    if (g == NULL)
        return KAFKA_E_UNKNOWN_MEMBER;
    if (g->consumer != NULL)
        return kafka_classic_leave(gs, g, member, instance);
    struct kafka_group_member *m = member.len == 0 && instance.ptr != NULL
                                       ? member_by_instance(g, instance)
                                       : member_find(g, member);
    if (m == NULL)
        return KAFKA_E_UNKNOWN_MEMBER;
    if (instance.ptr != NULL && (m->instance.ptr == NULL || !str_eq(m->instance, instance)))
        return KAFKA_E_FENCED_INSTANCE;
    member_drop(gs, g, m, KAFKA_E_UNKNOWN_MEMBER);
    member_gone(gs, g, now_ms);
    kafka_group_reap(gs, g);
    return KAFKA_OK;
}

int16_t kafka_groups_may_commit(struct kafka_groups *gs, int64_t now_ms, struct str group,
                                int32_t generation, struct str member, struct str instance)
{
    struct kafka_group *g = kafka_groups_find(gs, group);
    if (!kafka_group_id_valid(group))
        return KAFKA_E_INVALID_GROUP_ID;
    if (generation < 0 && (g == NULL || (g->consumer == NULL && g->state == GROUP_EMPTY)))
        return KAFKA_OK; /* who has no generation is in nobody's way */
    if (g == NULL)
        return KAFKA_E_GROUP_ID_NOT_FOUND;
    if (g->consumer != NULL)
        return kafka_classic_has(g->consumer, member)
                   ? kafka_classic_may_commit(gs, g, now_ms, generation, member, instance)
                   : kafka_consumer_may_commit(g, member, generation);
    if (generation < 0 && member.len == 0)
        return KAFKA_E_UNKNOWN_MEMBER;
    int16_t error;
    struct kafka_group_member *m = member_of(g, member, instance, &error);
    if (m == NULL)
        return error;
    if (!generation_fits(g, m, generation))
        return KAFKA_E_ILLEGAL_GENERATION;
    member_alive(gs, g, m, now_ms);
    return g->state == GROUP_COMPLETING ? KAFKA_E_REBALANCE_IN_PROGRESS : KAFKA_OK;
}

int16_t kafka_group_commit_error_old(int16_t error)
{
    bool newer = error == KAFKA_E_GROUP_ID_NOT_FOUND || error == KAFKA_E_STALE_EPOCH;
    return newer ? KAFKA_E_ILLEGAL_GENERATION : error;
}

/* ---- time ---- */

static bool member_lost(const struct kafka_group *g, const struct kafka_group_member *m,
                        int64_t now_ms)
{
    bool waits = m->join_waiter != NULL || m->sync_waiter != NULL;
    if (!waits && m->deadline_ms <= now_ms)
        return true;
    if (g->deadline_ms > now_ms)
        return false;
    if (g->state == GROUP_PREPARING)
        return m->join_waiter == NULL && !m->pending;
    return g->state == GROUP_COMPLETING && m->sync_waiter == NULL && !m->pending;
}

/* Members came during the first wait: others may be on their way still. The wait goes on, but not
 * beyond a rebalance's time. */
static bool initial_extend(struct kafka_group *g, int64_t now_ms)
{
    if (!g->initial || g->n_members <= g->n_waited_for || now_ms >= g->initial_end_ms)
        return false;
    int64_t left_ms = g->initial_end_ms - now_ms;
    g->n_waited_for = g->n_members;
    g->deadline_ms = now_ms + (left_ms < GROUP_INITIAL_DELAY_MS ? left_ms : GROUP_INITIAL_DELAY_MS);
    return true;
}

static void group_tick(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms)
{
    bool lost = false;
    LIST_FOR_SAFE (it, next, &g->members) {
        struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (member_lost(g, m, now_ms)) {
            lost = lost || !m->pending;
            member_drop(gs, g, m, KAFKA_E_UNKNOWN_MEMBER);
        }
    }
    if (lost)
        member_gone(gs, g, now_ms);
    if (g->state == GROUP_PREPARING && g->deadline_ms <= now_ms && initial_extend(g, now_ms))
        return;
    if (g->state == GROUP_PREPARING && g->deadline_ms <= now_ms) {
        g->initial = false;
        if (g->n_members == 0)
            to_empty(gs, g);
        else
            to_completing(gs, g, now_ms);
    }
    check_joined(gs, g, now_ms);
}

static int64_t group_next_ms(const struct kafka_group *g)
{
    bool timed = g->state == GROUP_PREPARING || g->state == GROUP_COMPLETING;
    int64_t at = timed ? g->deadline_ms : INT64_MAX;
    LIST_FOR (it, &g->members) {
        const struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        bool waits = m->join_waiter != NULL || m->sync_waiter != NULL;
        if (!waits && m->deadline_ms < at)
            at = m->deadline_ms;
    }
    return at;
}

void kafka_groups_tick(struct kafka_groups *gs, int64_t now_ms)
{
    if (now_ms < gs->next_ms)
        return;
    int64_t next_ms = INT64_MAX;
    LIST_FOR_SAFE (it, next, &gs->all) {
        struct kafka_group *g = LIST_ENTRY(it, struct kafka_group, link);
        if (g->next_ms <= now_ms) {
            if (g->consumer != NULL) {
                g->next_ms = kafka_consumer_tick(gs, g, now_ms);
            } else {
                group_tick(gs, g, now_ms);
                g->next_ms = group_next_ms(g);
            }
        }
        if (g->next_ms < next_ms)
            next_ms = g->next_ms;
        kafka_group_reap(gs, g);
    }
    gs->next_ms = next_ms <= now_ms ? now_ms + 1 : next_ms;
}

void kafka_groups_stop(struct kafka_groups *gs, int16_t error)
{
    LIST_FOR (it, &gs->all) {
        struct kafka_group *g = LIST_ENTRY(it, struct kafka_group, link);
        if (g->consumer != NULL)
            kafka_consumer_stop(gs, g, error);
        LIST_FOR (im, &g->members) {
            struct kafka_group_member *m = LIST_ENTRY(im, struct kafka_group_member, link);
            struct kafka_group_join_result result = {
                .error = error, .generation = -1, .member = m->id};
            join_answer(gs, m, &result);
            sync_answer(gs, g, m, error);
        }
    }
}

/* ---- migration ---- */

void kafka_group_members_drop(struct kafka_groups *gs, struct kafka_group *g, int16_t error)
{
    LIST_FOR_SAFE (it, next, &g->members) {
        member_drop(gs, g, LIST_ENTRY(it, struct kafka_group_member, link), error);
    }
    g->state = GROUP_EMPTY;
    group_names_free(g);
}

struct kafka_group_member *kafka_group_member_add(struct kafka_groups *gs, struct kafka_group *g,
                                                  const struct kafka_group_join *j)
{
    struct kafka_group_member *m = member_new(gs, g, j, false);
    if (m == NULL || member_protocols_set(gs, m, j) == ERR_OK)
        return m;
    member_drop(gs, g, m, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
    return NULL;
}

bool kafka_group_type_set(struct kafka_group *g, struct str type)
{
    return group_names_set(g, type, (struct str){NULL, 0});
}

void kafka_group_rebalance(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms)
{
    LIST_FOR (it, &g->members) {
        member_alive(gs, g, LIST_ENTRY(it, struct kafka_group_member, link), now_ms);
    }
    g->state = GROUP_STABLE;
    to_preparing(gs, g, now_ms);
    check_joined(gs, g, now_ms);
}

/* ---- offsets ---- */

static uint64_t offset_hash(const struct kafka_group *g, struct str topic, int32_t partition)
{
    return hash_bytes(topic.ptr, topic.len, g->hash_seed + (uint32_t)partition);
}

static struct kafka_group_offset *offset_find(const struct kafka_group *g, struct str topic,
                                              int32_t partition)
{
    struct kafka_group_offset *o = map_get(&g->offset_map, offset_hash(g, topic, partition));
    while (o != NULL && (o->partition != partition || !str_eq(o->topic, topic)))
        o = o->next;
    return o;
}

const struct kafka_group_offset *kafka_group_offset_find(const struct kafka_group *g,
                                                         struct str topic, int32_t partition)
{
    return offset_find(g, topic, partition);
}

static void offset_drop(struct kafka_groups *gs, struct kafka_group *g,
                        struct kafka_group_offset *o)
{
    uint64_t hash = offset_hash(g, o->topic, o->partition);
    struct kafka_group_offset *head = map_remove(&g->offset_map, hash);
    if (head == o) {
        head = o->next;
    } else {
        struct kafka_group_offset *before = head;
        while (before->next != o)
            before = before->next;
        before->next = o->next;
    }
    if (head != NULL && map_put(&g->offset_map, hash, head) != ERR_OK)
        UNREACHABLE();
    offset_free(gs, g, o);
}

void kafka_groups_offset_need(const struct kafka_groups *gs, struct str group, struct str topic,
                              int32_t partition, size_t metadata_bytes,
                              struct kafka_groups_need *need)
{
    const struct kafka_group *g = kafka_groups_find(gs, group);
    const struct kafka_group_offset *old = g != NULL ? offset_find(g, topic, partition) : NULL;
    if (g == NULL && need->n_groups == 0) {
        need->n_groups = 1;
        need->bytes += sizeof *g + group.len;
    }
    if (old == NULL) {
        need->n_offsets++;
        need->bytes += sizeof *old + topic.len + metadata_bytes;
    } else if (metadata_bytes > old->metadata.len) {
        need->bytes += metadata_bytes - old->metadata.len;
    }
}

enum err kafka_groups_reserve(struct kafka_groups *gs, const struct kafka_groups_need *need)
{
    struct kafka_groups_need *r = &gs->reserved;
    if ((need->n_groups > 0 && gs->n + r->n_groups + need->n_groups > GROUPS_MAX) ||
        (need->n_offsets > 0 &&
         (uint64_t)gs->n_offsets + r->n_offsets + need->n_offsets > GROUP_OFFSETS_MAX) ||
        (need->bytes > 0 && !kafka_groups_fits(gs, need->bytes)))
        return ERR_LIMIT;
    r->n_groups += need->n_groups;
    r->n_offsets += need->n_offsets;
    r->bytes += need->bytes;
    return ERR_OK;
}

void kafka_groups_release(struct kafka_groups *gs, const struct kafka_groups_need *need)
{
    gs->reserved.n_groups -= need->n_groups;
    gs->reserved.n_offsets -= need->n_offsets;
    gs->reserved.bytes -= need->bytes;
}

static enum err offset_add(struct kafka_groups *gs, struct kafka_group *g,
                           const struct kafka_group_offset *value)
{
    size_t bytes = sizeof *value + value->topic.len + value->metadata.len;
    struct kafka_group_offset *o = mem_alloc(bytes);
    if (o == NULL)
        return ERR_NO_MEMORY;
    *o = *value;
    char *at = (char *)(o + 1);
    o->topic = kafka_group_pack(&at, value->topic);
    o->metadata = kafka_group_pack(&at, value->metadata);
    o->bytes = bytes;
    uint64_t hash = offset_hash(g, o->topic, o->partition);
    o->next = map_get(&g->offset_map, hash);
    if (map_put(&g->offset_map, hash, o) != ERR_OK) {
        mem_free(o);
        return ERR_NO_MEMORY;
    }
    list_add(&g->offsets, &o->link);
    g->n_offsets++;
    gs->n_offsets++;
    gs->bytes += bytes;
    return ERR_OK;
}

enum err kafka_groups_offset_put(struct kafka_groups *gs, struct str group, struct str topic,
                                 int32_t partition, int64_t offset, int32_t leader_epoch,
                                 struct str metadata, int64_t at_ms)
{
    struct kafka_group *g = kafka_groups_find(gs, group);
    if (g == NULL)
        g = group_new(gs, group);
    if (g == NULL)
        return ERR_NO_MEMORY;
    struct kafka_group_offset *old = offset_find(g, topic, partition);
    if (old != NULL && str_eq(old->metadata, metadata)) {
        old->offset = offset;
        old->leader_epoch = leader_epoch;
        old->at_ms = at_ms;
        old->topic_number = 0;
        return ERR_OK;
    }
    struct kafka_group_offset value = {.partition = partition,
                                       .leader_epoch = leader_epoch,
                                       .offset = offset,
                                       .at_ms = at_ms,
                                       .topic = topic,
                                       .metadata = metadata};
    enum err e = offset_add(gs, g, &value);
    if (e == ERR_OK && old != NULL)
        offset_drop(gs, g, old);
    else
        kafka_group_reap(gs, g);
    return e;
}

void kafka_groups_offset_remove(struct kafka_groups *gs, struct str group, struct str topic,
                                int32_t partition)
{
    struct kafka_group *g = kafka_groups_find(gs, group);
    struct kafka_group_offset *o = g != NULL ? offset_find(g, topic, partition) : NULL;
    if (o == NULL)
        return;
    offset_drop(gs, g, o);
    kafka_group_reap(gs, g);
}

void kafka_groups_offset_is_of(struct kafka_groups *gs, struct str group, struct str topic,
                               int32_t partition, uint32_t topic_number)
{
    struct kafka_group *g = kafka_groups_find(gs, group);
    struct kafka_group_offset *o = g != NULL ? offset_find(g, topic, partition) : NULL;
    if (o != NULL)
        o->topic_number = topic_number;
}

bool kafka_group_offset_over(const struct kafka_group *g, const struct kafka_group_offset *o,
                             uint32_t topic_number, int64_t since_ms, int64_t now_ms)
{
    if (topic_number == 0 || (o->topic_number != 0 && o->topic_number != topic_number))
        return true;
    if (!kafka_group_is_empty(g) || g->n_pending > 0)
        return false;
    int64_t unused_ms = g->empty_ms > since_ms ? g->empty_ms : since_ms;
    if (o->at_ms > unused_ms)
        unused_ms = o->at_ms;
    return now_ms - unused_ms >= GROUP_OFFSETS_RETENTION_MS;
}

bool kafka_group_epochs_over(const struct kafka_group *g, int64_t since_ms, int64_t now_ms)
{
    int64_t unused_ms = g->empty_ms > since_ms ? g->empty_ms : since_ms;
    return g->consumer != NULL && kafka_group_is_empty(g) &&
           now_ms - unused_ms >= GROUP_EPOCHS_RETENTION_MS;
}

int16_t kafka_groups_may_delete(const struct kafka_groups *gs, struct str group)
{
    const struct kafka_group *g = kafka_groups_find(gs, group);
    if (g == NULL)
        return KAFKA_E_GROUP_ID_NOT_FOUND;
    return kafka_group_is_empty(g) ? KAFKA_OK : KAFKA_E_NON_EMPTY_GROUP;
}

/* ---- epochs of the new protocol ---- */

enum err kafka_groups_epoch_put(struct kafka_groups *gs, struct str group, int32_t epoch)
{
    struct kafka_group *g = kafka_group_obtain(gs, group);
    if (g == NULL)
        return ERR_LIMIT;
    if (g->consumer != NULL) {
        /* Written while it lives, or read back behind an older one. */
        g->consumer->epoch_logged = epoch;
        if (g->consumer->n_members == 0 && epoch > g->consumer->epoch)
            g->consumer->epoch = g->consumer->assignment_epoch = epoch;
        return ERR_OK;
    }
    if (g->state != GROUP_EMPTY || g->n_pending > 0)
        return ERR_OK; /* it has become a classic one meanwhile */
    if (kafka_consumer_begin(gs, g, epoch))
        return ERR_OK;
    kafka_group_reap(gs, g);
    return ERR_NO_MEMORY;
}

void kafka_groups_epoch_remove(struct kafka_groups *gs, struct str group)
{
    struct kafka_group *g = kafka_groups_find(gs, group);
    if (g == NULL || !kafka_group_is_empty(g))
        return;
    if (g->consumer != NULL)
        kafka_consumer_end(gs, g, KAFKA_E_UNKNOWN_MEMBER);
    kafka_group_reap(gs, g);
}

struct kafka_group_topic *kafka_group_topic_find(struct kafka_group_topic *topics, uint32_t n,
                                                 struct str name)
{
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = str_cmp(topics[middle].name, name);
        if (order == 0)
            return &topics[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Metadata of consumers begins with a version and the topics' names. False: it cannot be read, or
 * *steps are used up. */
static bool member_subscribed(const struct kafka_group_protocol *p,
                              struct kafka_group_topic *topics, uint32_t n_topics, int64_t *steps)
{
    struct arena none; /* names are read one by one: nothing is allocated */
    arena_init(&none, 0);
    struct kafka_reader r;
    kafka_reader_init(&r, p->metadata, &none);
    kafka_read_int16(&r);
    int32_t n = kafka_read_int32(&r);
    int64_t cost = 1;
    for (uint32_t i = n_topics; i > 0; i /= 2)
        cost++;
    for (int32_t i = 0; i < n && r.failed == NULL && *steps > 0; i++, *steps -= cost) {
        struct str name = kafka_read_string(&r, false, false);
        struct kafka_group_topic *t =
            r.failed == NULL ? kafka_group_topic_find(topics, n_topics, name) : NULL;
        if (t != NULL)
            t->used = true;
    }
    return r.failed == NULL && *steps > 0;
}

void kafka_group_subscribed(const struct kafka_group *g, struct kafka_group_topic *topics,
                            uint32_t n)
{
    bool known = str_eq(g->protocol_type, STR("consumer")) || g->n_members == 0;
    int64_t steps = GROUP_SUBSCRIBED_STEPS_MAX;
    for (uint32_t i = 0; i < n; i++)
        topics[i].used = false;
    LIST_FOR (it, &g->members) {
        const struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (known && !m->pending)
            known =
                m->n_protocols > 0 && member_subscribed(&m->protocols[0], topics, n, &steps);
    }
    for (uint32_t i = 0; i < n && !known; i++)
        topics[i].used = true;
}
