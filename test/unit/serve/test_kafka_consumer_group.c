/* serve/kafka_consumer_group: each transition of members and groups, the assignors, patterns,
 * topics that come and go, failing memory, and random lives in which no two members ever hold the
 * same partition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "serve/kafka_consumer_group.h"
#include "serve/kafka_int.h"

enum {
    UNANSWERED = -1000,
    REBALANCE_MS = 60000,
    NAME_BYTES = 64,
    HELD_MAX = 4096,
    SESSION = 45000, /* as the default */
};

/* What a client knows: its answers and what it owns. */
struct client {
    const char *id, *instance, *topics[4], *regex, *assignor;
    int16_t error;
    int32_t epoch;
    char member[NAME_BYTES];
    bool assigned; /* the last answer had an assignment */
    uint32_t n_owned;
    struct {
        uint32_t number;
        int32_t partition;
    } owned[HELD_MAX];
};

static struct kafka_groups gs;
static const struct catalog *catalog;
static int64_t now;

static void on_beaten(void *waiter, const struct consumer_heartbeat_result *r)
{
    struct client *c = waiter;
    assert_int_equal(c->error, UNANSWERED); /* once only */
    c->error = r->error;
    c->assigned = r->with_assignment;
    if (r->error != KAFKA_OK || r->m == NULL)
        return;
    c->epoch = r->epoch;
    snprintf(c->member, sizeof c->member, "%.*s", STR_ARG(r->member));
    if (!r->with_assignment)
        return;
    c->n_owned = 0;
    for (uint32_t i = 0; i < r->cg->n_topics; i++)
        for (uint32_t k = 0; k < r->cg->topics[i].n_partitions; k++) {
            const struct consumer_partition *p = &r->cg->partitions[r->cg->topics[i].first + k];
            if (p->holder != r->m->slot || p->revoking)
                continue;
            assert_true(c->n_owned < HELD_MAX);
            c->owned[c->n_owned].number = r->cg->topics[i].number;
            c->owned[c->n_owned++].partition = (int32_t)k;
        }
}

static void no_joined(void *waiter, const struct kafka_group_join_result *r)
{
    int16_t *error = waiter;
    *error = r->error;
}

static void no_synced(void *waiter, const struct kafka_group_sync_result *r)
{
    (void)waiter;
    (void)r;
}

static void catalog_change_apply(const struct catalog_change *change)
{
    const struct catalog *next;
    struct err_detail why;
    assert_int_equal(catalog_apply(catalog, change, &next, &why), ERR_OK);
    catalog_unref(catalog);
    catalog = next;
    kafka_consumer_groups_refresh(&gs);
}

static void topic_make(const char *name, uint32_t n_partitions)
{
    struct catalog_change change = {.verb = CHANGE_CREATE_TOPIC, .name = str_of(name)};
    change.topic = (struct topic){
        .name = str_of(name), .n_partitions = n_partitions, .number = catalog->next_topic};
    memcpy(change.topic.id, &change.topic.number, sizeof change.topic.number);
    catalog_change_apply(&change);
}

static void topic_grow(const char *name, uint32_t n_partitions)
{
    struct catalog_change change = {.verb = CHANGE_ALTER_TOPIC, .name = str_of(name)};
    change.topic = *catalog_topic(catalog, str_of(name));
    change.topic.n_partitions = n_partitions;
    catalog_change_apply(&change);
}

static void topic_drop(const char *name)
{
    struct catalog_change change = {.verb = CHANGE_DROP_TOPIC, .name = str_of(name)};
    catalog_change_apply(&change);
}

static int setup(void **state)
{
    (void)state;
    kafka_groups_init(&gs);
    gs.joined = no_joined;
    gs.synced = no_synced;
    gs.beaten = on_beaten;
    gs.wall_ms = 1000;
    now = 0;
    catalog = catalog_new();
    assert_non_null(catalog);
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

static void work(void)
{
    for (int i = 0; kafka_consumer_groups_work(&gs, now, catalog); i++)
        assert_true(i < 10000);
}

/* One heartbeat: with epoch 0 all that a join says, else what is owned. */
static void send(struct client *c, int32_t epoch)
{
    static struct consumer_owned owned[HELD_MAX];
    uint32_t n_names = 0;
    struct str names[4];
    while (n_names < 4 && c->topics[n_names] != NULL) {
        names[n_names] = str_of(c->topics[n_names]);
        n_names++;
    }
    struct consumer_heartbeat h = {.group = STR("g"),
                                   .member = str_of(c->id),
                                   .client_id = STR("c"),
                                   .client_host = STR("h"),
                                   .epoch = epoch,
                                   .rebalance_ms = -1,
                                   .owned_given = true,
                                   .owned = owned,
                                   .waiter = c};
    if (c->instance != NULL)
        h.instance = str_of(c->instance);
    if (c->assignor != NULL)
        h.assignor = str_of(c->assignor);
    if (epoch == 0) {
        h.rebalance_ms = REBALANCE_MS;
        h.names = names;
        h.n_names = n_names;
        if (c->regex != NULL)
            h.regex = str_of(c->regex);
        c->n_owned = 0;
    }
    for (uint32_t i = 0; i < c->n_owned; i++) {
        const struct topic *t = catalog_topic_by_number(catalog, c->owned[i].number);
        if (t != NULL)
            owned[h.n_owned++] = (struct consumer_owned){t->id, 1, &c->owned[i].partition};
    }
    c->error = UNANSWERED;
    kafka_consumer_heartbeat(&gs, now, catalog, &h);
}

static void join(struct client *c)
{
    send(c, 0);
    work();
    assert_int_equal(c->error, KAFKA_OK);
}

static void beat(struct client *c)
{
    send(c, c->epoch);
    assert_int_not_equal(c->error, UNANSWERED);
}

static bool is_consumer_group(void)
{
    const struct kafka_group *g = kafka_groups_find(&gs, STR("g"));
    return g != NULL && g->consumer != NULL;
}

/* The group, which has to be there and of the new protocol. */
static struct consumer_group *group(void)
{
    CHECK(is_consumer_group());
    return kafka_groups_find(&gs, STR("g"))->consumer;
}

static const struct consumer_member *member(const char *id)
{
    for (uint32_t i = 0; i < group()->n_slots; i++)
        if (group()->slots[i] != NULL && str_eq(group()->slots[i]->id, str_of(id)))
            return group()->slots[i];
    return NULL;
}

static void state_is(const char *id, enum consumer_member_state state, uint32_t n_owned)
{
    const struct consumer_member *m = member(id);
    CHECK(m != NULL);
    assert_int_equal(m->state, state);
    uint32_t n = 0;
    for (uint32_t i = 0; i < group()->n_partitions; i++)
        n += group()->partitions[i].holder == m->slot && !group()->partitions[i].revoking;
    assert_int_equal(n, n_owned);
}

static void group_is(const char *state)
{
    assert_string_equal(kafka_consumer_state_name(group()), state);
}

static void tick_to(int64_t to)
{
    now = to;
    kafka_groups_tick(&gs, now);
    work();
}

/* ---- transitions ---- */

static void test_first_member_has_everything(void **state)
{
    (void)state;
    struct client a = {.id = "a", .topics = {"t"}};
    topic_make("t", 3);
    send(&a, 0);
    assert_int_equal(a.error, UNANSWERED); /* until the target is computed */
    group_is("Assigning");
    work();
    assert_int_equal(a.error, KAFKA_OK);
    assert_int_equal(a.epoch, 1);
    assert_int_equal(a.n_owned, 3);
    state_is("a", CONSUMER_STABLE, 3);
    group_is("Stable");
    beat(&a);
    assert_int_equal(a.error, KAFKA_OK);
    assert_false(a.assigned); /* nothing new */
}

static void test_second_member_waits_for_what_is_given_back(void **state)
{
    (void)state;
    struct client a = {.id = "a", .topics = {"t"}}, b = {.id = "b", .topics = {"t"}};
    topic_make("t", 4);
    join(&a);
    join(&b);
    assert_int_equal(b.epoch, 2);
    assert_int_equal(b.n_owned, 0);
    state_is("b", CONSUMER_UNRELEASED, 0);
    group_is("Reconciling");
    /* a is told to keep two, at its old epoch, and still says that it owns all. */
    struct client before = a;
    beat(&a);
    assert_int_equal(a.epoch, 1);
    assert_int_equal(a.n_owned, 2);
    state_is("a", CONSUMER_UNREVOKED, 2);
    beat(&b);
    assert_int_equal(b.n_owned, 0);
    send(&before, before.epoch);
    state_is("a", CONSUMER_UNREVOKED, 2);
    /* It gave them back. */
    beat(&a);
    assert_int_equal(a.epoch, 2);
    state_is("a", CONSUMER_STABLE, 2);
    beat(&b);
    assert_int_equal(b.n_owned, 2);
    state_is("b", CONSUMER_STABLE, 2);
    group_is("Stable");
}

static void test_leave_and_empty(void **state)
{
    (void)state;
    struct client a = {.id = "a", .topics = {"t"}}, b = {.id = "b", .topics = {"t"}};
    topic_make("t", 2);
    join(&a);
    join(&b);
    send(&a, CONSUMER_EPOCH_LEAVE);
    assert_int_equal(a.error, KAFKA_OK);
    work();
    beat(&b);
    assert_int_equal(b.n_owned, 2);
    assert_int_equal(b.epoch, 3);
    send(&a, a.epoch);
    assert_int_equal(a.error, KAFKA_E_UNKNOWN_MEMBER);
    send(&b, CONSUMER_EPOCH_LEAVE);
    group_is("Empty");
    assert_int_equal(kafka_groups_find(&gs, STR("g"))->empty_ms, 1000);
    /* Epochs go on. */
    join(&a);
    assert_int_equal(a.epoch, 5);
}

static void test_session_and_rebalance_time_outs(void **state)
{
    (void)state;
    struct client a = {.id = "a", .topics = {"t"}}, b = {.id = "b", .topics = {"t"}};
    topic_make("t", 2);
    join(&a);
    join(&b);
    tick_to(SESSION - 1);
    beat(&b);
    tick_to(SESSION); /* a was silent */
    send(&a, a.epoch);
    assert_int_equal(a.error, KAFKA_E_UNKNOWN_MEMBER);
    beat(&b);
    assert_int_equal(b.n_owned, 2);
    /* b does not give back, though it beats. */
    join(&a);
    beat(&b);
    state_is("b", CONSUMER_UNREVOKED, 1);
    struct client stubborn = b;
    stubborn.n_owned = 2;
    stubborn.owned[0].partition = 0;
    stubborn.owned[1].partition = 1;
    stubborn.owned[1].number = stubborn.owned[0].number;
    for (int i = 1; i <= 4; i++) {
        struct client copy = stubborn;
        tick_to(SESSION + i * (REBALANCE_MS / 4));
        send(&copy, copy.epoch);
        send(&a, a.epoch);
    }
    assert_null(member("b"));
    beat(&a);
    assert_int_equal(a.n_owned, 2);
}

static void test_epochs_fence(void **state)
{
    (void)state;
    struct client a = {.id = "a", .topics = {"t"}}, b = {.id = "b", .topics = {"t"}};
    topic_make("t", 2);
    send(&a, 1);
    assert_int_equal(a.error, KAFKA_E_UNKNOWN_MEMBER);
    join(&a);
    join(&b);
    beat(&a);
    beat(&a);
    assert_int_equal(a.epoch, 2);
    /* The answer was lost: the epoch before is fine with what is its own, not with more. */
    struct client lost = a;
    send(&lost, 1);
    assert_int_equal(lost.error, KAFKA_OK);
    assert_int_equal(lost.epoch, 2);
    lost.n_owned = 2;
    lost.owned[0].partition = 0;
    lost.owned[1] = lost.owned[0];
    lost.owned[1].partition = 1;
    send(&lost, 1);
    assert_int_equal(lost.error, KAFKA_E_FENCED_EPOCH);
    send(&a, 3);
    assert_int_equal(a.error, KAFKA_E_FENCED_EPOCH);
    /* Commits: the present epoch only. */
    const struct kafka_group *g = kafka_groups_find(&gs, STR("g"));
    assert_int_equal(kafka_consumer_may_commit(g, STR("a"), 2), 0);
    assert_int_equal(kafka_consumer_may_commit(g, STR("a"), 1), KAFKA_E_STALE_EPOCH);
    assert_int_equal(kafka_consumer_may_commit(g, STR("x"), 2), KAFKA_E_UNKNOWN_MEMBER);
    assert_int_equal(kafka_consumer_may_commit(g, STR(""), -1), KAFKA_E_UNKNOWN_MEMBER);
    /* A join of a member that is there: it owns nothing, and gets what is its own. */
    join(&a);
    assert_int_equal(a.n_owned, 1);
    state_is("a", CONSUMER_STABLE, 1);
}

static void test_static_members(void **state)
{
    (void)state;
    struct client a = {.id = "a1", .instance = "i", .topics = {"t"}};
    struct client b = {.id = "b", .topics = {"t"}},
                  c = {.id = "a2", .instance = "i", .topics = {"t"}};
    topic_make("t", 2);
    join(&a);
    join(&b);
    beat(&a);
    beat(&a);
    beat(&b);
    send(&c, 0);
    assert_int_equal(c.error, KAFKA_E_UNRELEASED_INSTANCE);
    /* Away: what it has stays its own. */
    int32_t epoch = group()->epoch;
    send(&a, CONSUMER_EPOCH_AWAY);
    assert_int_equal(a.error, KAFKA_OK);
    state_is("a1", CONSUMER_AWAY, 1);
    beat(&b);
    assert_int_equal(b.n_owned, 1);
    join(&c);
    assert_int_equal(c.n_owned, 1);
    assert_int_equal(group()->epoch, epoch); /* no rebalance */
    send(&a, a.epoch);
    assert_int_equal(a.error, KAFKA_E_FENCED_INSTANCE);
    /* Away for too long. */
    send(&c, CONSUMER_EPOCH_AWAY);
    tick_to(SESSION - 1);
    beat(&b);
    tick_to(SESSION);
    assert_null(member("a2"));
    beat(&b);
    assert_int_equal(b.n_owned, 2);
}

static void test_requests_that_are_wrong(void **state)
{
    (void)state;
    struct client a = {.id = "a", .topics = {"t"}, .assignor = "sticky"};
    send(&a, 0);
    assert_int_equal(a.error, KAFKA_E_UNSUPPORTED_ASSIGNOR);
    a.assignor = NULL;
    a.regex = "(";
    send(&a, 0);
    assert_int_equal(a.error, KAFKA_E_INVALID_REGEX);
    a.regex = NULL;
    send(&a, -3);
    assert_int_equal(a.error, KAFKA_E_INVALID_REQUEST);
    send(&a, CONSUMER_EPOCH_AWAY);
    assert_int_equal(a.error, KAFKA_E_INVALID_REQUEST);
    a.id = "";
    send(&a, 0);
    assert_int_equal(a.error, KAFKA_E_INVALID_REQUEST);
    struct consumer_heartbeat h = {.group = STR("g"), .member = STR("a"), .waiter = &a};
    a.error = UNANSWERED;
    kafka_consumer_heartbeat(&gs, now, catalog, &h); /* a join that says nothing */
    assert_int_equal(a.error, KAFKA_E_INVALID_REQUEST);
}

static int16_t join_classic(const char *id, const char *new_id)
{
    static int16_t error;
    struct kafka_group_protocol p = {STR("range"), STR("m")};
    struct kafka_group_join j = {.group = STR("g"),
                                 .member = str_of(id),
                                 .protocol_type = STR("consumer"),
                                 .session_ms = 10000,
                                 .rebalance_ms = 10000,
                                 .n_protocols = 1,
                                 .protocols = &p,
                                 .new_id = str_of(new_id),
                                 .waiter = &error};
    error = UNANSWERED;
    kafka_groups_join(&gs, now, &j);
    return error;
}

static void test_the_two_protocols(void **state)
{
    (void)state;
    struct client a = {.id = "a", .topics = {"t"}};
    topic_make("t", 1);
    join(&a);
    assert_int_equal(join_classic("", "x"), KAFKA_E_INCONSISTENT_PROTOCOL);
    send(&a, CONSUMER_EPOCH_LEAVE);
    /* Empty: it becomes a classic one, whose generations go on from the epochs. */
    assert_int_equal(join_classic("", "x"), UNANSWERED);
    assert_false(is_consumer_group());
    tick_to(10000);
    assert_true(kafka_groups_find(&gs, STR("g"))->generation > 1);
    send(&a, 0);
    assert_int_equal(a.error, KAFKA_E_GROUP_ID_NOT_FOUND);
    assert_int_equal(kafka_groups_leave(&gs, now, STR("g"), STR("x"), (struct str){NULL, 0}), 0);
    join(&a);
    assert_true(is_consumer_group());
}

/* ---- topics ---- */

static void test_topics_come_grow_and_go(void **state)
{
    (void)state;
    struct client a = {.id = "a", .topics = {"t", "later"}};
    topic_make("t", 1);
    join(&a);
    assert_int_equal(a.n_owned, 1);
    topic_make("other", 1);
    work();
    assert_int_equal(group()->epoch, 1); /* none of its own */
    topic_make("later", 2);
    work();
    beat(&a);
    assert_int_equal(a.n_owned, 3);
    topic_grow("t", 3);
    work();
    beat(&a);
    assert_int_equal(a.n_owned, 5);
    topic_drop("later");
    work();
    beat(&a);
    assert_true(a.assigned);
    assert_int_equal(a.n_owned, 3);
    assert_int_equal(a.epoch, 4);
    /* Made again it is another topic. */
    topic_make("later", 1);
    work();
    beat(&a);
    assert_int_equal(a.n_owned, 4);
}

static void test_patterns(void **state)
{
    (void)state;
    struct client a = {.id = "a", .regex = "log\\.(a|b)+"};
    topic_make("log.a", 1);
    topic_make("log.ab", 1);
    topic_make("log.abc", 1);
    topic_make("xlog.a", 1);
    join(&a);
    assert_int_equal(a.n_owned, 2); /* the whole name must match */
    topic_make("log.b", 2);
    work();
    beat(&a);
    assert_int_equal(a.n_owned, 4);
    /* Names beside the pattern; then no pattern. */
    a.topics[0] = "xlog.a";
    join(&a);
    assert_int_equal(a.n_owned, 5);
    a.regex = "";
    join(&a);
    assert_int_equal(a.n_owned, 1);
    /* A match that takes too long is none. */
    a.regex = "(a*)*(a*)*(a*)*c";
    topic_make("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", 1);
    join(&a);
    assert_int_equal(a.n_owned, 1);
}

static uint32_t steps_of(const struct topic_pattern *p, const char *name)
{
    uint32_t steps = 0;
    (void)topic_pattern_matches(p, str_of(name), &steps);
    return steps;
}

/* What a match costs is told, so that others come to their turn in between. */
static void test_slow_patterns(void **state)
{
    (void)state;
    static const char slow[] = "abababababababababababababababababababab";
    struct topic_pattern *p;
    assert_int_equal(topic_pattern_new(STR("(a|b|ab)*[cd]"), &p, NULL), ERR_OK);
    assert_int_equal(steps_of(p, "abc"), TOPIC_PATTERN_STEPS_FEW);
    assert_true(steps_of(p, slow) > TOPIC_PATTERN_STEPS_MAX);
    assert_int_equal(steps_of(p, "abc"), TOPIC_PATTERN_STEPS_FEW);
    topic_pattern_free(p);
    struct client a = {.id = "a", .regex = "(a|b|ab)*[cd]"};
    for (int i = 0; i < 4 * CONSUMER_WORK_PER_TURN / TOPIC_PATTERN_STEPS_MAX; i++) {
        char name[80];
        snprintf(name, sizeof name, "%s.%d", slow, i);
        topic_make(name, 1);
    }
    topic_make("abac", 2);
    send(&a, 0);
    uint32_t turns = 1;
    while (kafka_consumer_groups_work(&gs, now, catalog))
        turns++;
    assert_true(turns >= 4);
    assert_int_equal(a.n_owned, 2);
}

/* ---- assignors ---- */

static void owned_by(const char *id, uint32_t *out)
{
    const struct consumer_member *m = member(id);
    CHECK(m != NULL);
    for (uint32_t i = 0; i < group()->n_partitions; i++)
        out[i] += group()->partitions[i].target == m->slot ? 1 : 0;
}

static uint32_t target_count(const char *id)
{
    static uint32_t all[HELD_MAX];
    uint32_t n = 0;
    memset(all, 0, sizeof all);
    owned_by(id, all);
    for (uint32_t i = 0; i < group()->n_partitions; i++)
        n += all[i];
    return n;
}

static void test_range(void **state)
{
    (void)state;
    struct client c = {.id = "c", .topics = {"t", "u"}, .assignor = "range"};
    struct client a = {.id = "a", .topics = {"t", "u"}, .assignor = "range"};
    struct client b = {.id = "b", .topics = {"u"}};
    topic_make("t", 5);
    topic_make("u", 5);
    join(&c);
    join(&a);
    join(&b);
    uint32_t at[10] = {0};
    owned_by("a", at); /* by id: a, b, c */
    const uint32_t expected[10] = {1, 1, 1, 0, 0, 1, 1, 0, 0, 0};
    assert_memory_equal(at, expected, sizeof at);
    assert_int_equal(target_count("b"), 2);
    assert_int_equal(target_count("c"), 3);
}

static void test_uniform_is_even_and_sticky(void **state)
{
    (void)state;
    static struct client all[7];
    static const char *const ids[7] = {"a", "b", "c", "d", "e", "f", "g"};
    topic_make("t", 100);
    topic_make("u", 7);
    for (int i = 0; i < 7; i++) {
        uint16_t before[107];
        all[i] = (struct client){.id = ids[i], .topics = {"t", "u"}};
        for (uint32_t p = 0; i > 0 && p < 107; p++)
            before[p] = group()->partitions[p].target;
        join(&all[i]);
        uint32_t moved = 0;
        for (uint32_t p = 0; i > 0 && p < 107; p++)
            moved += before[p] != group()->partitions[p].target;
        for (int k = 0; k <= i; k++) {
            uint32_t n = target_count(ids[k]);
            assert_in_range(n, 107 / (i + 1), 107 / (i + 1) + 1);
        }
        if (i > 0)
            assert_int_equal(moved, target_count(ids[i])); /* to the new one only */
    }
    /* Different subscriptions: as even as they allow. */
    struct client h = {.id = "h", .topics = {"u"}};
    join(&h);
    assert_int_equal(target_count("h"), 7);
}

/* ---- bounds ---- */

static void test_groups_end_without_memory_held(void **state)
{
    (void)state;
    topic_make("t", 3);
    for (uint64_t n = 1; n < 60; n++) {
        struct client a = {.id = "a", .topics = {"t"}, .regex = "t.*"};
        mem_fail_at(n, 0);
        send(&a, 0);
        kafka_consumer_groups_work(&gs, now, catalog);
        mem_fail_at(0, 0);
        now += CONSUMER_RETRY_MS;
        work();
        assert_int_not_equal(a.error, UNANSWERED);
        if (a.error == KAFKA_OK)
            assert_int_equal(a.n_owned, 3);
        kafka_groups_deinit(&gs);
        assert_int_equal(gs.bytes, 0);
        kafka_groups_init(&gs);
        gs.beaten = on_beaten;
    }
    gs.joined = no_joined;
    gs.synced = no_synced;
}

static void test_epochs_go_on_after_a_restart(void **state)
{
    (void)state;
    struct client a = {.id = "a", .topics = {"t"}};
    topic_make("t", 1);
    assert_int_equal(kafka_groups_epoch_put(&gs, STR("g"), 1000), ERR_OK);
    assert_int_equal(kafka_groups_epoch_put(&gs, STR("g"), 2000), ERR_OK);
    group_is("Empty");
    send(&a, 7); /* of before */
    assert_int_equal(a.error, KAFKA_E_UNKNOWN_MEMBER);
    join(&a);
    assert_int_equal(a.epoch, 2001);
    kafka_groups_epoch_remove(&gs, STR("g"));
    assert_true(is_consumer_group()); /* not while it has members */
    send(&a, CONSUMER_EPOCH_LEAVE);
    const struct kafka_group *g = kafka_groups_find(&gs, STR("g"));
    const int64_t hour = GROUP_EPOCHS_RETENTION_MS; /* it was left at 1000 ms */
    assert_false(kafka_group_epochs_over(g, 0, hour + 999));
    assert_true(kafka_group_epochs_over(g, 0, hour + 1000));
    assert_false(kafka_group_epochs_over(g, 1001, hour + 1000)); /* since the start */
    kafka_groups_epoch_remove(&gs, STR("g"));
    assert_null(kafka_groups_find(&gs, STR("g")));
}

/* ---- random lives ---- */

enum { LIVES = 12, LIFE_STEPS = 3000, SEEDS = 8 };

static uint64_t dice_state;

static uint32_t dice(uint32_t n)
{
    dice_state = dice_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(dice_state >> 33) % n;
}

/* A partition is read by whoever owns it: by what clients know, never by two at once. */
static void nobody_shares(const struct client *all, const bool *alive)
{
    static uint8_t readers[64][64];
    memset(readers, 0, sizeof readers);
    for (int i = 0; i < LIVES; i++)
        for (uint32_t k = 0; alive[i] && k < all[i].n_owned; k++) {
            uint8_t *r = &readers[all[i].owned[k].number % 64][all[i].owned[k].partition];
            assert_int_equal(*r, 0);
            *r = 1;
        }
}

/* A client reads until it knows of the news, or its session is over for itself. */
static void live_once(struct client *c, bool *alive, int64_t *last)
{
    switch (dice(10)) {
    case 0: /* dies silently: after its session nobody may count on it */
        if (*alive)
            c->n_owned = 0;
        *alive = false;
        return;
    case 1:
        if (*alive) {
            send(c, CONSUMER_EPOCH_LEAVE);
            c->n_owned = 0;
            *alive = false;
        }
        return;
    case 2:
    case 3:
        if (!*alive) {
            send(c, 0);
            work();
            *alive = c->error == KAFKA_OK;
            *last = now;
        }
        return;
    default:
        if (!*alive)
            return;
        send(c, c->epoch);
        *last = now;
        if (c->error != KAFKA_OK) { /* fenced */
            c->n_owned = 0;
            *alive = false;
        }
    }
}

static void test_random_lives(void **state)
{
    (void)state;
    static struct client all[LIVES];
    static char ids[LIVES][NAME_BYTES];
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        bool alive[LIVES] = {false};
        int64_t last[LIVES] = {0};
        dice_state = seed;
        kafka_groups_deinit(&gs);
        catalog_unref(catalog);
        setup(NULL);
        topic_make("t", 7);
        topic_make("u", 3);
        for (int i = 0; i < LIVES; i++) {
            snprintf(ids[i], sizeof ids[i], "m%d", i);
            all[i] = (struct client){.id = ids[i], .topics = {"t"}};
            all[i].topics[1] = i % 3 == 0 ? "u" : NULL;
            all[i].assignor = i % 4 == 0 ? "range" : NULL;
        }
        for (int step = 0; step < LIFE_STEPS; step++) {
            int i = (int)dice(LIVES);
            /* A client whose session is over stops by itself. */
            for (int k = 0; k < LIVES; k++)
                if (alive[k] && now - last[k] >= SESSION) {
                    alive[k] = false;
                    all[k].n_owned = 0;
                }
            live_once(&all[i], &alive[i], &last[i]);
            if (dice(500) == 0 && catalog_topic(catalog, STR("t"))->n_partitions < 20)
                topic_grow("t", catalog_topic(catalog, STR("t"))->n_partitions + 1);
            nobody_shares(all, alive);
            tick_to(now + dice(2000));
        }
        /* Left alone, the living share everything. */
        for (int round = 0; round < 20; round++)
            for (int i = 0; i < LIVES; i++)
                if (i < 6 && !alive[i]) {
                    join(&all[i]);
                    alive[i] = true;
                    last[i] = now;
                } else if (alive[i]) {
                    beat(&all[i]);
                    alive[i] = all[i].error == KAFKA_OK;
                }
        tick_to(now + SESSION - 1);
        for (int round = 0; round < 4; round++)
            for (int i = 0; i < LIVES; i++)
                if (alive[i])
                    beat(&all[i]);
        tick_to(now + 2);
        for (int round = 0; round < 4; round++)
            for (int i = 0; i < LIVES; i++)
                if (alive[i])
                    beat(&all[i]);
        group_is("Stable");
        nobody_shares(all, alive);
        uint32_t n = 0;
        for (int i = 0; i < LIVES; i++)
            n += alive[i] ? all[i].n_owned : 0;
        assert_int_equal(n, group()->n_partitions);
    }
}

/* ---- scale ---- */

/* 1000 groups of 10 members on 2000 partitions: what they take, and how many pieces the work is. */
static void test_scale(void **state)
{
    (void)state;
    enum { GROUPS = 1000, MEMBERS = 10, TOPICS = 2, PARTITIONS = 1000 };
    topic_make("t0", PARTITIONS);
    topic_make("t1", PARTITIONS);
    struct str names[TOPICS] = {STR("t0"), STR("t1")};
    for (int g = 0; g < GROUPS; g++)
        for (int m = 0; m < MEMBERS; m++) {
            char group_id[16], id[16];
            snprintf(group_id, sizeof group_id, "g%d", g);
            snprintf(id, sizeof id, "m%d", m);
            struct consumer_heartbeat h = {.group = str_of(group_id),
                                           .member = str_of(id),
                                           .rebalance_ms = REBALANCE_MS,
                                           .n_names = TOPICS,
                                           .names = names,
                                           .owned_given = true};
            kafka_consumer_heartbeat(&gs, now, catalog, &h);
        }
    uint32_t turns = 1;
    while (kafka_consumer_groups_work(&gs, now, catalog))
        turns++;
    /* Each piece is bounded: a turn takes the budget and at most one group more. */
    assert_true(turns >=
                GROUPS * TOPICS * PARTITIONS / (CONSUMER_WORK_PER_TURN + 2 * TOPICS * PARTITIONS));
    size_t partitions = (size_t)GROUPS * TOPICS * PARTITIONS * sizeof(struct consumer_partition);
    size_t per_member = (gs.bytes - partitions) / (GROUPS * MEMBERS);
    print_message("%u turns; %zu bytes a group, of them %zu for its 2000 partitions; the rest is "
                  "%zu bytes a member\n",
                  turns, gs.bytes / GROUPS, partitions / GROUPS, per_member);
    assert_true(per_member < 512);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_first_member_has_everything, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_member_waits_for_what_is_given_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_leave_and_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_session_and_rebalance_time_outs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_epochs_fence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_static_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_requests_that_are_wrong, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_two_protocols, setup, teardown),
        cmocka_unit_test_setup_teardown(test_topics_come_grow_and_go, setup, teardown),
        cmocka_unit_test_setup_teardown(test_patterns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_slow_patterns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_range, setup, teardown),
        cmocka_unit_test_setup_teardown(test_uniform_is_even_and_sticky, setup, teardown),
        cmocka_unit_test_setup_teardown(test_groups_end_without_memory_held, setup, teardown),
        cmocka_unit_test_setup_teardown(test_epochs_go_on_after_a_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random_lives, setup, teardown),
        cmocka_unit_test_setup_teardown(test_scale, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
