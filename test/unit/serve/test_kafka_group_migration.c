/* serve/kafka_group_migration and kafka_classic_member: groups that change their protocol while
 * they have members. Each transition, what is refused, failing memory, and random lives of members
 * of both kinds in which no two ever read the same partition, by what they were told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "serve/kafka_classic_member.h"
#include "serve/kafka_consumer_protocol.h"
#include "serve/kafka_group_migration.h"
#include "serve/kafka_int.h"
#include "wire/kafka/codec.h"

enum {
    UNANSWERED = -1000,
    REBALANCE_MS = 60000,
    SESSION_MS = 30000,
    NAME_BYTES = 64,
    PARTITIONS = 12, /* of the one topic */
};

/* A client of either protocol, and what it knows. */
struct client {
    bool classic, eager;
    const char *instance;
    char id[NAME_BYTES];       /* "" = none yet */
    char protocol[NAME_BYTES]; /* classic: what the join was answered */
    int16_t error;
    int32_t epoch;
    bool leads, waits, synced, rejoins; /* waits: for the answer to a join */
    uint32_t n_members;                 /* a leader's */
    char members[32][NAME_BYTES];
    bool owned_of[32][PARTITIONS];
    bool owns[PARTITIONS];
};

static struct kafka_groups gs;
static const struct catalog *catalog;
static int64_t now;
static uint32_t ids;

/* ---- answers ---- */

static void own_nothing(struct client *c)
{
    memset(c->owns, 0, sizeof c->owns);
}

static void on_beaten(void *waiter, const struct consumer_heartbeat_result *r)
{
    struct client *c = waiter;
    c->waits = false;
    c->error = r->error;
    if (r->error != KAFKA_OK || r->m == NULL)
        return;
    c->epoch = r->epoch;
    if (!r->with_assignment)
        return;
    own_nothing(c);
    for (uint32_t i = 0; i < r->cg->n_partitions; i++)
        c->owns[i] = r->cg->partitions[i].holder == r->m->slot && !r->cg->partitions[i].revoking;
}

static void owned_read(struct str metadata, bool *out)
{
    struct arena a;
    arena_init(&a, 1 << 20);
    struct consumer_metadata m;
    bool fine = consumer_metadata_read(metadata, &a, &m);
    for (uint32_t i = 0; fine && i < m.n_owned; i++)
        for (uint32_t k = 0; k < m.owned[i].n_partitions; k++)
            out[m.owned[i].partitions[k]] = true;
    arena_deinit(&a);
}

static void on_joined(void *waiter, const struct kafka_group_join_result *r)
{
    struct client *c = waiter;
    assert_true(c->waits);
    c->waits = false;
    c->error = r->error;
    if (r->error == KAFKA_E_UNKNOWN_MEMBER || r->error == KAFKA_E_FENCED_INSTANCE)
        c->id[0] = '\0';
    else
        snprintf(c->id, sizeof c->id, "%.*s", STR_ARG(r->member));
    if (r->error != KAFKA_OK)
        return;
    c->epoch = r->generation;
    snprintf(c->protocol, sizeof c->protocol, "%.*s", STR_ARG(r->protocol));
    c->leads = str_eq(r->leader, r->member);
    assert_true(!c->leads || r->consumer == NULL);
    c->n_members = 0;
    memset(c->owned_of, 0, sizeof c->owned_of);
    if (r->members_of == NULL)
        return;
    LIST_FOR (it, &r->members_of->members) {
        const struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        owned_read(m->protocols[0].metadata, c->owned_of[c->n_members]);
        snprintf(c->members[c->n_members++], NAME_BYTES, "%.*s", STR_ARG(m->id));
    }
}

static void on_synced(void *waiter, const struct kafka_group_sync_result *r)
{
    struct client *c = waiter;
    c->error = r->error;
    c->synced = true;
    if (r->error != KAFKA_OK)
        return;
    struct arena a;
    arena_init(&a, 1 << 20);
    struct consumer_named_partitions *all;
    uint32_t n;
    bool foreign;
    assert_true(consumer_assignment_read(r->assignment, &a, &all, &n, &foreign));
    bool before[PARTITIONS];
    memcpy(before, c->owns, sizeof before);
    own_nothing(c);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < all[i].n_partitions; k++)
            c->owns[all[i].partitions[k]] = true;
    arena_deinit(&a);
    /* A cooperative member that has given something back joins again, to say so. */
    c->rejoins = false;
    for (int i = 0; i < PARTITIONS; i++)
        c->rejoins = c->rejoins || (before[i] && !c->owns[i]);
}

/* ---- requests ---- */

static struct str opt(const char *s)
{
    return s != NULL ? str_of(s) : (struct str){NULL, 0};
}

static void write_partitions(struct kafka_writer *w, const bool *which)
{
    uint32_t n = 0;
    for (int32_t i = 0; i < PARTITIONS; i++)
        n += which[i];
    kafka_write_count(w, false, false, 1);
    kafka_write_string(w, false, false, STR("t"));
    kafka_write_count(w, false, false, n);
    for (int32_t i = 0; i < PARTITIONS; i++)
        if (which[i])
            kafka_write_int32(w, i);
}

static void join_as(struct client *c, const char *type, const char *protocol, struct str metadata)
{
    char new_id[NAME_BYTES];
    snprintf(new_id, sizeof new_id, "classic-%u", ids++);
    struct kafka_group_protocol p = {str_of(protocol), metadata};
    struct kafka_group_join j = {.group = STR("g"),
                                 .member = str_of(c->id),
                                 .instance = opt(c->instance),
                                 .protocol_type = str_of(type),
                                 .session_ms = SESSION_MS,
                                 .rebalance_ms = REBALANCE_MS,
                                 .n_protocols = 1,
                                 .protocols = &p,
                                 .new_id = str_of(new_id),
                                 .catalog = catalog,
                                 .waiter = c};
    c->error = UNANSWERED;
    c->waits = true;
    c->rejoins = c->synced = false;
    kafka_groups_join(&gs, now, &j);
}

/* A round of the classic protocol; an eager member gives back everything first. */
static void join_classic(struct client *c)
{
    if (c->eager)
        own_nothing(c);
    struct buf b;
    buf_init(&b, 1 << 20);
    struct kafka_writer w = {.out = &b};
    kafka_write_int16(&w, 1);
    kafka_write_count(&w, false, false, 1);
    kafka_write_string(&w, false, false, STR("t"));
    kafka_write_bytes(&w, false, true, (struct str){NULL, 0});
    write_partitions(&w, c->owns);
    join_as(c, "consumer", "p", buf_str(&b));
    buf_deinit(&b);
}

/* What a leader gives to member `i`: an even share, of what it owns already at first; what others
 * own they have to give back before. */
static void lead(const struct client *c, uint32_t i, bool *out)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        bool others = false;
        for (uint32_t k = 0; k < c->n_members; k++)
            others = others || (k != i && c->owned_of[k][p]);
        out[p] = p % c->n_members == i && !others;
    }
}

static void sync_classic(struct client *c)
{
    struct kafka_group_assignment all[32];
    struct buf bytes[32];
    uint32_t n = c->leads ? c->n_members : 0;
    for (uint32_t i = 0; i < n; i++) {
        bool which[PARTITIONS];
        lead(c, i, which);
        buf_init(&bytes[i], 1 << 20);
        struct kafka_writer w = {.out = &bytes[i]};
        kafka_write_int16(&w, 0);
        write_partitions(&w, which);
        kafka_write_bytes(&w, false, true, (struct str){NULL, 0});
        all[i] = (struct kafka_group_assignment){str_of(c->members[i]), buf_str(&bytes[i])};
    }
    struct kafka_group_sync s = {.group = STR("g"),
                                 .member = str_of(c->id),
                                 .instance = opt(c->instance),
                                 .generation = c->epoch,
                                 .protocol_type = STR("consumer"),
                                 .protocol = str_of(c->protocol),
                                 .n_assignments = n,
                                 .assignments = all,
                                 .catalog = catalog,
                                 .waiter = c};
    c->error = UNANSWERED;
    c->synced = false;
    kafka_groups_sync(&gs, now, &s);
    for (uint32_t i = 0; i < n; i++)
        buf_deinit(&bytes[i]);
}

static int16_t heartbeat(const struct client *c)
{
    return kafka_groups_heartbeat(&gs, now, STR("g"), c->epoch, str_of(c->id), opt(c->instance));
}

static int16_t commit(const struct client *c)
{
    return kafka_groups_may_commit(&gs, now, STR("g"), c->epoch, str_of(c->id), opt(c->instance));
}

static void beat(struct client *c, int32_t epoch)
{
    struct str name = STR("t");
    int32_t owned[PARTITIONS];
    struct consumer_owned o = {catalog_topic(catalog, name)->id, 0, owned};
    if (epoch == 0) {
        own_nothing(c);
        snprintf(c->id, sizeof c->id, "new-%u", ids++);
    }
    for (int32_t i = 0; i < PARTITIONS; i++)
        if (c->owns[i])
            owned[o.n_partitions++] = i;
    struct consumer_heartbeat h = {.group = STR("g"),
                                   .member = str_of(c->id),
                                   .instance = opt(c->instance),
                                   .client_id = STR("c"),
                                   .client_host = STR("h"),
                                   .epoch = epoch,
                                   .rebalance_ms = epoch == 0 ? REBALANCE_MS : -1,
                                   .n_names = 1,
                                   .names = epoch == 0 ? &name : NULL,
                                   .owned_given = true,
                                   .n_owned = o.n_partitions > 0,
                                   .owned = &o,
                                   .waiter = c};
    c->error = UNANSWERED;
    c->waits = true;
    kafka_consumer_heartbeat(&gs, now, catalog, &h);
}

static void work(void)
{
    for (int i = 0; kafka_consumer_groups_work(&gs, now, catalog); i++)
        assert_true(i < 10000);
}

static void tick_to(int64_t to)
{
    now = to;
    kafka_groups_tick(&gs, now);
    work();
}

/* ---- lives ---- */

/* What a client does with what it was told. */
static void step(struct client *c)
{
    if (c->waits)
        return;
    if (!c->classic) {
        beat(c, c->id[0] == '\0' ? 0 : c->epoch);
        work();
        if (!c->waits && c->error != KAFKA_OK) {
            own_nothing(c);
            c->id[0] = '\0';
        }
        return;
    }
    int16_t error = c->id[0] == '\0' || c->epoch < 0 ? KAFKA_E_REBALANCE_IN_PROGRESS : heartbeat(c);
    if (error == KAFKA_OK && c->rejoins)
        error = KAFKA_E_REBALANCE_IN_PROGRESS;
    if (error == KAFKA_OK && c->synced && c->error == KAFKA_OK)
        return;
    if (error == KAFKA_OK) { /* it has joined and not synced */
        sync_classic(c);
        if (!c->synced || c->error == KAFKA_OK)
            return;
        error = c->error;
    }
    if (error != KAFKA_E_REBALANCE_IN_PROGRESS) {
        own_nothing(c);
        c->id[0] = '\0';
    }
    join_classic(c);
    work();
    if (!c->waits && c->error == KAFKA_OK)
        sync_classic(c);
}

/* All go on, in turn, until nothing moves. */
static void settle(struct client **all, uint32_t n)
{
    for (int round = 0; round < 40; round++) {
        for (uint32_t i = 0; i < n; i++) {
            step(all[i]);
            /* A join that was answered meanwhile goes on with its sync. */
            for (uint32_t k = 0; k < n; k++)
                if (all[k]->classic && !all[k]->waits && all[k]->error == KAFKA_OK &&
                    !all[k]->synced)
                    sync_classic(all[k]);
        }
        tick_to(now + GROUP_INITIAL_DELAY_MS);
    }
}

static uint32_t owned(const struct client *c)
{
    uint32_t n = 0;
    for (int i = 0; i < PARTITIONS; i++)
        n += c->owns[i];
    return n;
}

static void nobody_shares(struct client **all, uint32_t n)
{
    for (int p = 0; p < PARTITIONS; p++) {
        uint32_t readers = 0;
        for (uint32_t i = 0; i < n; i++)
            readers += all[i]->owns[p];
        assert_true(readers <= 1);
    }
}

static bool is_consumer_group(void)
{
    const struct kafka_group *g = kafka_groups_find(&gs, STR("g"));
    return g != NULL && g->consumer != NULL;
}

static int setup(void **state)
{
    (void)state;
    kafka_groups_init(&gs);
    gs.joined = on_joined;
    gs.synced = on_synced;
    gs.beaten = on_beaten;
    now = 0;
    ids = 0;
    const struct catalog *empty = catalog_new();
    assert_non_null(empty);
    struct catalog_change change = {.verb = CHANGE_CREATE_TOPIC, .name = STR("t")};
    change.topic = (struct topic){.name = STR("t"), .n_partitions = PARTITIONS, .number = 1};
    change.topic.id[0] = 7;
    struct err_detail why;
    assert_int_equal(catalog_apply(empty, &change, &catalog, &why), ERR_OK);
    catalog_unref(empty);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kafka_groups_stop(&gs, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
    kafka_groups_deinit(&gs);
    assert_int_equal(gs.bytes, 0);
    catalog_unref(catalog);
    return 0;
}

/* ---- transitions ---- */

/* Two members of the classic protocol, then one of the new one, then the way back. */
static void there_and_back(bool eager)
{
    struct client a = {.classic = true, .eager = eager, .epoch = -1};
    struct client b = a, c = {.epoch = 0};
    struct client *all[] = {&a, &b, &c};
    settle(all, 2);
    assert_false(is_consumer_group());
    assert_int_equal(owned(&a) + owned(&b), PARTITIONS);
    int32_t generation = a.epoch;
    /* It is one of the new protocol, and the classic members hear that they have to join. */
    beat(&c, 0);
    work();
    assert_true(is_consumer_group());
    assert_int_equal(c.error, KAFKA_OK);
    assert_int_equal(c.epoch, generation + 1);
    assert_int_equal(owned(&c), 0); /* the others hold everything */
    assert_int_equal(commit(&a), KAFKA_OK);
    assert_int_equal(heartbeat(&a), KAFKA_E_REBALANCE_IN_PROGRESS);
    settle(all, 3);
    nobody_shares(all, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(owned(all[i]), PARTITIONS / 3);
    assert_int_equal(a.epoch, c.epoch);
    assert_int_equal(commit(&a), KAFKA_OK);
    a.epoch--;
    assert_int_equal(commit(&a), KAFKA_E_ILLEGAL_GENERATION);
    assert_int_equal(heartbeat(&a), KAFKA_E_ILLEGAL_GENERATION);
    a.epoch++;
    /* The last of the new protocol leaves. */
    int32_t epoch = a.epoch;
    beat(&c, CONSUMER_EPOCH_LEAVE);
    own_nothing(&c);
    work();
    assert_false(is_consumer_group());
    assert_int_equal(commit(&a), KAFKA_OK);
    assert_int_equal(heartbeat(&a), KAFKA_E_REBALANCE_IN_PROGRESS);
    settle(all, 2);
    assert_int_equal(owned(&a), PARTITIONS / 2);
    assert_int_equal(owned(&b), PARTITIONS / 2);
    assert_true(a.epoch > epoch);
}

static void test_eager_there_and_back(void **state)
{
    (void)state;
    there_and_back(true);
}

static void test_cooperative_there_and_back(void **state)
{
    (void)state;
    there_and_back(false);
}

static void test_a_classic_member_joins_and_leaves(void **state)
{
    (void)state;
    struct client a = {.epoch = 0}, b = {.classic = true, .epoch = -1};
    struct client *all[] = {&a, &b};
    settle(all, 1);
    assert_int_equal(owned(&a), PARTITIONS);
    settle(all, 2);
    assert_true(is_consumer_group());
    assert_int_equal(owned(&a), PARTITIONS / 2);
    assert_int_equal(owned(&b), PARTITIONS / 2);
    /* No leader assigned it, and the new protocol's requests are not its. */
    assert_false(b.leads);
    struct client forged = b;
    beat(&forged, forged.epoch);
    assert_int_equal(forged.error, KAFKA_E_UNKNOWN_MEMBER);
    /* Nor the classic ones the other's. */
    assert_int_equal(heartbeat(&a), KAFKA_E_UNKNOWN_MEMBER);
    assert_int_equal(kafka_groups_leave(&gs, now, STR("g"), str_of(b.id), opt(NULL)), KAFKA_OK);
    own_nothing(&b);
    settle(all, 1);
    assert_int_equal(owned(&a), PARTITIONS);
    assert_true(is_consumer_group());
    /* An administrator removes members of either protocol. */
    assert_int_equal(kafka_groups_leave(&gs, now, STR("g"), str_of(a.id), opt(NULL)), KAFKA_OK);
    beat(&a, a.epoch);
    assert_int_equal(a.error, KAFKA_E_UNKNOWN_MEMBER);
}

static void test_times(void **state)
{
    (void)state;
    struct client a = {.epoch = 0}, b = {.classic = true, .epoch = -1}, c = b;
    struct client *all[] = {&a, &b, &c};
    settle(all, 3);
    /* Each has its own session. */
    assert_int_equal(heartbeat(&b) + heartbeat(&c), KAFKA_OK);
    step(&a);
    tick_to(now + SESSION_MS - 1);
    assert_int_equal(heartbeat(&b), KAFKA_OK);
    step(&a);
    tick_to(now + 1);
    assert_int_equal(heartbeat(&c), KAFKA_E_UNKNOWN_MEMBER);
    own_nothing(&c);
    /* It beats, but does not join: its rebalance time is over. */
    assert_int_equal(heartbeat(&b), KAFKA_E_REBALANCE_IN_PROGRESS);
    for (int i = 1; i <= 4; i++) {
        tick_to(now + REBALANCE_MS / 4);
        step(&a);
        assert_int_equal(heartbeat(&b),
                         i < 4 ? KAFKA_E_REBALANCE_IN_PROGRESS : KAFKA_E_UNKNOWN_MEMBER);
    }
    settle(all, 1);
    assert_int_equal(owned(&a), PARTITIONS);
    /* It joins, but does not ask for its assignment. */
    own_nothing(&b);
    b.id[0] = '\0';
    join_classic(&b);
    work();
    assert_int_equal(b.error, KAFKA_OK);
    for (int i = 0; i < 4; i++) {
        tick_to(now + REBALANCE_MS / 4);
        step(&a);
        (void)heartbeat(&b);
    }
    assert_int_equal(heartbeat(&b), KAFKA_E_UNKNOWN_MEMBER);
}

static void test_static_members_change_over(void **state)
{
    (void)state;
    struct client a = {.classic = true, .instance = "i", .epoch = -1};
    struct client b = {.classic = true, .instance = "k", .epoch = -1};
    struct client a2 = {.instance = "i"}, a3 = {.classic = true, .instance = "i", .epoch = -1};
    struct client *all[] = {&a, &b, &a2, &a3};
    settle(all, 2);
    bool before[PARTITIONS];
    memcpy(before, a.owns, sizeof before);
    /* The same instance, of the new protocol: it has what it had. */
    own_nothing(&a);
    struct client *second[] = {&a2, &b};
    settle(second, 2);
    assert_true(is_consumer_group());
    assert_memory_equal(a2.owns, before, sizeof before);
    assert_int_equal(heartbeat(&a), KAFKA_E_FENCED_INSTANCE);
    /* And back: the last one of the new protocol is replaced. */
    beat(&a2, CONSUMER_EPOCH_AWAY);
    own_nothing(&a2);
    work();
    assert_true(is_consumer_group());
    struct client *third[] = {&a3, &b};
    settle(third, 2);
    assert_false(is_consumer_group());
    assert_int_equal(owned(&a3), PARTITIONS / 2);
    assert_int_equal(owned(&b), PARTITIONS / 2);
    nobody_shares(all, 4);
}

/* In the middle of a classic rebalance everybody is told to join again. */
static void test_while_a_classic_group_rebalances(void **state)
{
    (void)state;
    struct client a = {.classic = true, .epoch = -1}, b = a, c = {.epoch = 0};
    struct client *all[] = {&a, &b, &c};
    settle(all, 1);
    assert_int_equal(owned(&a), PARTITIONS);
    join_classic(&b); /* waits for a, which still reads */
    assert_true(b.waits);
    beat(&c, 0);
    work();
    assert_int_equal(b.error, KAFKA_E_REBALANCE_IN_PROGRESS);
    assert_int_equal(c.error, KAFKA_OK);
    assert_int_equal(owned(&c), 0);
    settle(all, 3);
    nobody_shares(all, 3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(owned(all[i]), PARTITIONS / 3);
}

/* ---- what is refused ---- */

static uint64_t dice_state;

static uint32_t dice(uint32_t n)
{
    dice_state = dice_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(dice_state >> 33) % n;
}

static void test_groups_that_cannot_change(void **state)
{
    (void)state;
    struct client a = {.classic = true, .epoch = -1}, c = {.epoch = 0};
    /* Kafka Connect. */
    join_as(&a, "connect", "p", STR("m"));
    tick_to(now + GROUP_INITIAL_DELAY_MS);
    assert_int_equal(a.error, KAFKA_OK);
    beat(&c, 0);
    assert_int_equal(c.error, KAFKA_E_GROUP_ID_NOT_FOUND);
    assert_false(is_consumer_group());
    assert_int_equal(kafka_groups_leave(&gs, now, STR("g"), str_of(a.id), opt(NULL)), KAFKA_OK);
    /* Metadata that nobody can read. */
    a.id[0] = '\0';
    join_as(&a, "consumer", "p", STR("m"));
    tick_to(now + GROUP_INITIAL_DELAY_MS);
    beat(&c, 0);
    assert_int_equal(c.error, KAFKA_E_GROUP_ID_NOT_FOUND);
    assert_int_equal(kafka_groups_leave(&gs, now, STR("g"), str_of(a.id), opt(NULL)), KAFKA_OK);
    /* An assignor with data of its own. */
    a.id[0] = '\0';
    join_classic(&a);
    tick_to(now + GROUP_INITIAL_DELAY_MS);
    static const char data[] = "\0\0\0\0\0\0\0\0\0\2ab";
    struct kafka_group_assignment own = {str_of(a.id), {data, sizeof data - 1}};
    struct kafka_group_sync s = {.group = STR("g"),
                                 .member = str_of(a.id),
                                 .generation = a.epoch,
                                 .n_assignments = 1,
                                 .assignments = &own,
                                 .waiter = &a};
    kafka_groups_sync(&gs, now, &s);
    beat(&c, 0);
    assert_int_equal(c.error, KAFKA_E_GROUP_ID_NOT_FOUND);
    assert_int_equal(heartbeat(&a), KAFKA_OK); /* nothing has happened */
}

static void test_joins_that_do_not_fit(void **state)
{
    (void)state;
    struct client a = {.epoch = 0}, b = {.classic = true, .epoch = -1}, d = b;
    struct client *all[] = {&a, &b};
    settle(all, 2);
    struct client other = {.classic = true};
    join_as(&other, "connect", "p", STR("m"));
    assert_int_equal(other.error, KAFKA_E_INCONSISTENT_PROTOCOL);
    join_as(&other, "consumer", "p", STR("m"));
    assert_int_equal(other.error, KAFKA_E_INCONSISTENT_PROTOCOL);
    static const char fine[] = "\0\0\0\0\0\1\0\1t\xff\xff\xff\xff";
    join_as(&other, "consumer", "q", (struct str){fine, sizeof fine - 1}); /* b knows only p */
    assert_int_equal(other.error, KAFKA_E_INCONSISTENT_PROTOCOL);
    snprintf(d.id, sizeof d.id, "nobody");
    join_classic(&d);
    assert_int_equal(d.error, KAFKA_E_UNKNOWN_MEMBER);
    snprintf(d.id, sizeof d.id, "%s", a.id);
    join_classic(&d);
    assert_int_equal(d.error, KAFKA_E_UNKNOWN_MEMBER);
    /* A join of the new protocol that is refused leaves a classic group classic. */
    beat(&a, CONSUMER_EPOCH_LEAVE);
    own_nothing(&a);
    settle(&all[1], 1);
    assert_false(is_consumer_group());
    struct consumer_heartbeat h = {.group = STR("g"),
                                   .member = STR("x"),
                                   .rebalance_ms = 1000,
                                   .regex = STR("("),
                                   .owned_given = true,
                                   .waiter = &a};
    a.waits = true;
    kafka_consumer_heartbeat(&gs, now, catalog, &h);
    assert_int_equal(a.error, KAFKA_E_INVALID_REGEX);
    work();
    assert_false(is_consumer_group());
    settle(&all[1], 1);
    assert_int_equal(owned(&b), PARTITIONS);
}

/* Bytes of all kinds as metadata and as an assignment: understood or refused. */
static void test_metadata_of_all_kinds(void **state)
{
    (void)state;
    static const char fine[] = "\0\3\0\0\0\1\0\1t\xff\xff\xff\xff\0\0\0\1\0\1t\0\0\0\2\0\0\0\1"
                               "\0\0\0\2\0\0\0\7\xff\xff";
    struct client a = {.epoch = 0};
    struct client *all[] = {&a};
    settle(all, 1);
    uint32_t taken = 0;
    for (int n = 0; n < 20000; n++) {
        char bytes[sizeof fine];
        memcpy(bytes, fine, sizeof fine);
        uint32_t len = dice(10) == 0 ? dice(sizeof fine) : sizeof fine - 1;
        for (uint32_t k = dice(3); k > 0; k--)
            bytes[dice(sizeof fine - 1)] = (char)dice(256);
        struct client b = {.classic = true};
        join_as(&b, "consumer", "p", (struct str){bytes, len});
        work();
        taken += b.error == KAFKA_OK;
        if (b.error == KAFKA_OK)
            assert_int_equal(kafka_groups_leave(&gs, now, STR("g"), str_of(b.id), opt(NULL)), 0);
        struct arena arena;
        arena_init(&arena, 1 << 20);
        struct consumer_named_partitions *held;
        bool foreign;
        (void)!consumer_assignment_read((struct str){bytes, len}, &arena, &held, &len, &foreign);
        arena_deinit(&arena);
    }
    assert_true(taken > 1000);
}

static void test_without_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 80; n++) {
        struct client a = {.classic = true, .epoch = -1}, b = a, c = {.epoch = 0};
        struct client *all[] = {&a, &b, &c};
        settle(all, 2);
        mem_fail_at(n, 0);
        beat(&c, 0);
        (void)kafka_consumer_groups_work(&gs, now, catalog);
        mem_fail_at(0, 0);
        tick_to(now + CONSUMER_RETRY_MS);
        assert_false(c.waits);
        if (c.error != KAFKA_OK)
            c.id[0] = '\0';
        settle(all, 3);
        nobody_shares(all, 3);
        for (int i = 0; i < 3; i++)
            assert_int_equal(owned(all[i]), PARTITIONS / 3);
        mem_fail_at(n, 0);
        beat(&c, CONSUMER_EPOCH_LEAVE);
        own_nothing(&c);
        (void)kafka_consumer_groups_work(&gs, now, catalog);
        mem_fail_at(0, 0);
        tick_to(now + CONSUMER_RETRY_MS);
        settle(all, 2);
        assert_false(is_consumer_group());
        assert_int_equal(owned(&a) + owned(&b), PARTITIONS);
        nobody_shares(all, 2);
        kafka_groups_deinit(&gs);
        assert_int_equal(gs.bytes, 0);
        kafka_groups_init(&gs);
        gs.joined = on_joined;
        gs.synced = on_synced;
        gs.beaten = on_beaten;
    }
}

/* ---- random lives ---- */

enum { LIVES = 8, STEPS = 4000, SEEDS = 12 };

static void life_end(struct client *c)
{
    if (c->id[0] != '\0' && !c->classic)
        beat(c, CONSUMER_EPOCH_LEAVE);
    else if (c->id[0] != '\0')
        (void)kafka_groups_leave(&gs, now, STR("g"), str_of(c->id), opt(NULL));
    *c = (struct client){.classic = dice(2), .eager = dice(2), .epoch = -1};
}

static void test_random_lives(void **state)
{
    (void)state;
    static struct client lives[LIVES];
    uint32_t changes = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct client *all[LIVES];
        dice_state = seed;
        teardown(NULL);
        setup(NULL);
        for (int i = 0; i < LIVES; i++) {
            lives[i] = (struct client){.classic = i % 2, .eager = i % 4 == 1, .epoch = -1};
            all[i] = &lives[i];
        }
        bool was = false;
        for (int n = 0; n < STEPS; n++) {
            struct client *c = all[dice(LIVES)];
            if (dice(60) == 0 && !c->waits)
                life_end(c);
            else
                step(c);
            nobody_shares(all, LIVES);
            tick_to(now + dice(200));
            nobody_shares(all, LIVES);
            changes += was != is_consumer_group();
            was = is_consumer_group();
        }
        settle(all, LIVES);
        nobody_shares(all, LIVES);
        uint32_t n = 0;
        for (int i = 0; i < LIVES; i++)
            n += owned(all[i]);
        assert_int_equal(n, PARTITIONS);
    }
    assert_true(changes > SEEDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_eager_there_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cooperative_there_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_classic_member_joins_and_leaves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_times, setup, teardown),
        cmocka_unit_test_setup_teardown(test_static_members_change_over, setup, teardown),
        cmocka_unit_test_setup_teardown(test_while_a_classic_group_rebalances, setup, teardown),
        cmocka_unit_test_setup_teardown(test_groups_that_cannot_change, setup, teardown),
        cmocka_unit_test_setup_teardown(test_joins_that_do_not_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metadata_of_all_kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_lives, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
