/* serve/kafka_group: membership, rebalances, time-outs, static members, offsets, bounds and failing
 * memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/mem.h"
#include "serve/kafka_group.h"
#include "serve/kafka_int.h"

enum { NAME_MAX_BYTES = 64, UNANSWERED = -1000, SESSION_MS = 10000, REBALANCE_MS = 20000 };

/* What a waiter was told. */
struct answer {
    int16_t error;
    int32_t generation;
    char member[NAME_MAX_BYTES], leader[NAME_MAX_BYTES], protocol[NAME_MAX_BYTES];
    char assignment[NAME_MAX_BYTES];
    uint32_t n_members;
    bool skip;
};

static void keep(char *to, struct str s)
{
    assert_true(s.len < NAME_MAX_BYTES);
    snprintf(to, NAME_MAX_BYTES, "%.*s", STR_ARG(s));
}

static void on_joined(void *waiter, const struct kafka_group_join_result *r)
{
    struct answer *a = waiter;
    assert_int_equal(a->error, UNANSWERED); /* once only */
    a->error = r->error;
    a->generation = r->generation;
    keep(a->member, r->member);
    keep(a->leader, r->leader);
    keep(a->protocol, r->protocol);
    a->skip = r->skip_assignment;
    a->n_members = r->members_of != NULL ? r->members_of->n_members : 0;
}

static void on_synced(void *waiter, const struct kafka_group_sync_result *r)
{
    struct answer *a = waiter;
    assert_int_equal(a->error, UNANSWERED);
    a->error = r->error;
    keep(a->assignment, r->assignment);
}

static struct kafka_groups gs;

static int setup(void **state)
{
    (void)state;
    kafka_groups_init(&gs);
    gs.joined = on_joined;
    gs.synced = on_synced;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kafka_groups_stop(&gs, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
    kafka_groups_deinit(&gs);
    assert_int_equal(gs.bytes, 0);
    assert_int_equal(gs.n_offsets, 0);
    return 0;
}

struct join_options {
    const char *member, *new_id, *instance, *protocol, *metadata;
    bool id_required;
};

static void join_with(int64_t now, struct answer *a, const struct join_options *o)
{
    const char *protocol = o->protocol != NULL ? o->protocol : "range";
    struct kafka_group_protocol p = {str_of(protocol),
                                     str_of(o->metadata != NULL ? o->metadata : "m")};
    struct kafka_group_join j = {
        .group = STR("g"),
        .member = str_of(o->member != NULL ? o->member : ""),
        .protocol_type = STR("consumer"),
        .client_id = STR("c"),
        .client_host = STR("h"),
        .session_ms = SESSION_MS,
        .rebalance_ms = REBALANCE_MS,
        .n_protocols = 1,
        .protocols = &p,
        .id_required = o->id_required,
        .new_id = str_of(o->new_id != NULL ? o->new_id : "?"),
        .waiter = a,
    };
    if (o->instance != NULL)
        j.instance = str_of(o->instance);
    *a = (struct answer){.error = UNANSWERED};
    kafka_groups_join(&gs, now, &j);
}

static void join_new(int64_t now, struct answer *a, const char *id)
{
    join_with(now, a, &(struct join_options){.new_id = id});
}

static void sync_with(int64_t now, struct answer *a, const char *member, int32_t generation,
                      const struct kafka_group_assignment *all, uint32_t n)
{
    struct kafka_group_sync s = {.group = STR("g"),
                                 .member = str_of(member),
                                 .generation = generation,
                                 .n_assignments = n,
                                 .assignments = all,
                                 .waiter = a};
    *a = (struct answer){.error = UNANSWERED};
    kafka_groups_sync(&gs, now, &s);
}

static int16_t beat(int64_t now, const char *member, int32_t generation)
{
    return kafka_groups_heartbeat(&gs, now, STR("g"), generation, str_of(member),
                                  (struct str){NULL, 0});
}

static enum kafka_group_state state_of_g(void)
{
    const struct kafka_group *g = kafka_groups_find(&gs, STR("g"));
    return g != NULL ? g->state : GROUP_DEAD;
}

static void tick_to(int64_t now)
{
    for (int i = 0; gs.next_ms <= now && i < 1000; i++)
        kafka_groups_tick(&gs, gs.next_ms > 0 ? gs.next_ms : 0);
    kafka_groups_tick(&gs, now);
}

/* Two members, a leads; generation 1 and stable at 200 ms. */
static void two_members(struct answer *a, struct answer *b)
{
    join_new(0, a, "a");
    join_new(10, b, "b");
    assert_int_equal(state_of_g(), GROUP_PREPARING);
    assert_int_equal(a->error, UNANSWERED);
    tick_to(GROUP_INITIAL_DELAY_MS); /* b came meanwhile: others may follow */
    assert_int_equal(a->error, UNANSWERED);
    tick_to(2 * GROUP_INITIAL_DELAY_MS);
    assert_int_equal(a->error, 0);
    assert_int_equal(b->error, 0);
    assert_int_equal(a->generation, 1);
    assert_string_equal(a->leader, "a");
    assert_string_equal(b->leader, "a");
    assert_string_equal(b->protocol, "range");
    assert_int_equal(a->n_members, 2);
    assert_int_equal(b->n_members, 0);
    assert_int_equal(state_of_g(), GROUP_COMPLETING);
    struct kafka_group_assignment all[] = {{STR("a"), STR("A")}, {STR("b"), STR("B")}};
    sync_with(200, b, "b", 1, NULL, 0);
    assert_int_equal(b->error, UNANSWERED);
    sync_with(200, a, "a", 1, all, 2);
    assert_int_equal(a->error, 0);
    assert_int_equal(b->error, 0);
    assert_string_equal(a->assignment, "A");
    assert_string_equal(b->assignment, "B");
    assert_int_equal(state_of_g(), GROUP_STABLE);
}

static void test_two_members(void **state)
{
    (void)state;
    struct answer a, b;
    two_members(&a, &b);
    assert_int_equal(beat(300, "a", 1), 0);
    assert_int_equal(beat(300, "b", 1), 0);
    assert_int_equal(beat(300, "b", 2), KAFKA_E_ILLEGAL_GENERATION);
    assert_int_equal(beat(300, "x", 1), KAFKA_E_UNKNOWN_MEMBER);
    /* A repeated sync gets the same assignment. */
    sync_with(310, &b, "b", 1, NULL, 0);
    assert_string_equal(b.assignment, "B");
}

static void test_rebalance_on_join_and_leave(void **state)
{
    (void)state;
    struct answer a, b, c;
    two_members(&a, &b);
    join_new(1000, &c, "c");
    assert_int_equal(state_of_g(), GROUP_PREPARING);
    assert_int_equal(beat(1010, "a", 1), KAFKA_E_REBALANCE_IN_PROGRESS);
    join_with(1020, &a, &(struct join_options){.member = "a"});
    assert_int_equal(c.error, UNANSWERED);
    join_with(1030, &b, &(struct join_options){.member = "b"});
    assert_int_equal(a.error, 0);
    assert_int_equal(b.error, 0);
    assert_int_equal(c.error, 0);
    assert_int_equal(c.generation, 2);
    assert_int_equal(a.n_members, 3);
    /* The leader leaves before it assigned: those who wait are sent back. */
    sync_with(1040, &b, "b", 2, NULL, 0);
    assert_int_equal(kafka_groups_leave(&gs, 1050, STR("g"), STR("a"), (struct str){NULL, 0}), 0);
    assert_int_equal(b.error, KAFKA_E_REBALANCE_IN_PROGRESS);
    assert_int_equal(state_of_g(), GROUP_PREPARING);
    join_with(1060, &b, &(struct join_options){.member = "b"});
    join_with(1070, &c, &(struct join_options){.member = "c"});
    assert_int_equal(b.error, 0);
    assert_int_equal(b.generation, 3);
    assert_string_equal(c.leader, b.leader);
    /* The last ones leave: nothing is left of the group. */
    assert_int_equal(kafka_groups_leave(&gs, 1080, STR("g"), STR("b"), (struct str){NULL, 0}), 0);
    assert_int_equal(kafka_groups_leave(&gs, 1090, STR("g"), STR("c"), (struct str){NULL, 0}), 0);
    assert_null(kafka_groups_find(&gs, STR("g")));
    assert_int_equal(kafka_groups_leave(&gs, 1090, STR("g"), STR("c"), (struct str){NULL, 0}),
                     KAFKA_E_UNKNOWN_MEMBER);
}

static void test_silent_member_is_lost(void **state)
{
    (void)state;
    struct answer a, b;
    two_members(&a, &b);
    tick_to(5000);
    assert_int_equal(beat(5000, "a", 1), 0);
    tick_to(200 + SESSION_MS);
    assert_int_equal(state_of_g(), GROUP_PREPARING);
    assert_int_equal(beat(200 + SESSION_MS, "b", 1), KAFKA_E_UNKNOWN_MEMBER);
    join_with(11000, &a, &(struct join_options){.member = "a"});
    assert_int_equal(a.error, 0);
    assert_int_equal(a.n_members, 1);
    assert_int_equal(a.generation, 2);
}

static void test_rebalance_ends_without_the_late(void **state)
{
    (void)state;
    struct answer a, b, c;
    two_members(&a, &b);
    join_new(1000, &c, "c");
    join_with(1100, &b, &(struct join_options){.member = "b"});
    /* a beats but does not join again. */
    for (int64_t now = 1200; now < 1000 + REBALANCE_MS; now += 3000) {
        assert_int_equal(beat(now, "a", 1), KAFKA_E_REBALANCE_IN_PROGRESS);
        tick_to(now);
    }
    assert_int_equal(b.error, UNANSWERED);
    tick_to(1000 + REBALANCE_MS);
    assert_int_equal(b.error, 0);
    assert_int_equal(c.error, 0);
    assert_int_equal(beat(22000, "a", 1), KAFKA_E_UNKNOWN_MEMBER);
}

static void test_member_id_required(void **state)
{
    (void)state;
    struct answer a;
    join_with(0, &a, &(struct join_options){.new_id = "a", .id_required = true});
    assert_int_equal(a.error, KAFKA_E_MEMBER_ID_REQUIRED);
    assert_string_equal(a.member, "a");
    join_with(10, &a, &(struct join_options){.member = "a", .id_required = true});
    tick_to(10 + GROUP_INITIAL_DELAY_MS);
    assert_int_equal(a.error, 0);
    assert_string_equal(a.leader, "a");
    /* Who never comes back is forgotten. */
    join_with(200, &a, &(struct join_options){.new_id = "z", .id_required = true});
    assert_int_equal(kafka_groups_find(&gs, STR("g"))->n_pending, 1);
    tick_to(200 + SESSION_MS);
    assert_true(kafka_groups_find(&gs, STR("g")) == NULL ||
                kafka_groups_find(&gs, STR("g"))->n_pending == 0);
}

/* Whoever waits when another one takes its instance is told so, under the id that it has. */
static void test_static_member_taken_over_while_it_joins(void **state)
{
    (void)state;
    struct answer a, b;
    join_with(0, &a, &(struct join_options){.new_id = "a1", .instance = "ia"});
    join_with(5, &b, &(struct join_options){.new_id = "a2", .instance = "ia"});
    assert_int_equal(a.error, KAFKA_E_FENCED_INSTANCE);
    assert_string_equal(a.member, "a1");
    assert_int_equal(a.generation, -1);
    tick_to(2 * GROUP_INITIAL_DELAY_MS);
    assert_int_equal(b.error, 0);
    assert_string_equal(b.member, "a2");
    join_with(300, &a, &(struct join_options){.member = "a1", .instance = "ia"});
    assert_int_equal(a.error, KAFKA_E_FENCED_INSTANCE);
    assert_string_equal(a.member, "a1");
}

static void test_static_member(void **state)
{
    (void)state;
    struct answer a, b;
    join_with(0, &a, &(struct join_options){.new_id = "a1", .instance = "ia"});
    join_with(5, &b, &(struct join_options){.new_id = "b1", .instance = "ib"});
    tick_to(2 * GROUP_INITIAL_DELAY_MS);
    struct kafka_group_assignment all[] = {{STR("a1"), STR("A")}, {STR("b1"), STR("B")}};
    sync_with(200, &b, "b1", 1, NULL, 0);
    sync_with(200, &a, "a1", 1, all, 2);
    /* b starts again: a new id, the same assignment, no rebalance; the old id is fenced. */
    join_with(1000, &b, &(struct join_options){.new_id = "b2", .instance = "ib"});
    assert_int_equal(b.error, 0);
    assert_string_equal(b.member, "b2");
    assert_int_equal(b.generation, 1);
    assert_int_equal(state_of_g(), GROUP_STABLE);
    sync_with(1010, &b, "b2", 1, NULL, 0);
    assert_string_equal(b.assignment, "B");
    assert_int_equal(kafka_groups_heartbeat(&gs, 1020, STR("g"), 1, STR("b1"), STR("ib")),
                     KAFKA_E_FENCED_INSTANCE);
    /* The leader too: it is told that nothing is to be assigned. */
    join_with(1025, &a, &(struct join_options){.new_id = "a2", .instance = "ia"});
    assert_int_equal(a.error, 0);
    assert_string_equal(a.leader, "a2");
    assert_true(a.skip);
    assert_int_equal(a.n_members, 2);
    assert_int_equal(state_of_g(), GROUP_STABLE);
    assert_int_equal(kafka_groups_leave(&gs, 1030, STR("g"), STR(""), STR("ib")), 0);
    assert_int_equal(state_of_g(), GROUP_PREPARING);
}

/* A static member that starts again while the leader assigns: the leader must assign anew. */
static void test_static_member_while_assigning(void **state)
{
    (void)state;
    struct answer a, b;
    join_with(0, &a, &(struct join_options){.new_id = "a1", .instance = "ia"});
    join_with(5, &b, &(struct join_options){.new_id = "b1", .instance = "ib"});
    tick_to(2 * GROUP_INITIAL_DELAY_MS);
    assert_int_equal(state_of_g(), GROUP_COMPLETING);
    join_with(210, &b, &(struct join_options){.new_id = "b2", .instance = "ib"});
    assert_int_equal(b.error, UNANSWERED);
    assert_int_equal(state_of_g(), GROUP_PREPARING);
    join_with(220, &a, &(struct join_options){.member = "a1", .instance = "ia"});
    assert_int_equal(b.error, 0);
    assert_string_equal(b.member, "b2");
    assert_int_equal(a.generation, 2);
}

/* Members that keep coming prolong the first wait, up to a rebalance's time. */
static void test_first_wait_is_bounded(void **state)
{
    (void)state;
    enum { N = 300 };
    static struct answer all[N];
    int64_t now = 0;
    for (int i = 0; i < N && (i == 0 || all[0].error == UNANSWERED); i++) {
        char id[NAME_MAX_BYTES];
        snprintf(id, sizeof id, "m%d", i);
        join_new(now, &all[i], id);
        now += GROUP_INITIAL_DELAY_MS - 10;
        tick_to(now);
    }
    assert_int_equal(all[0].error, 0);
    assert_in_range(now, REBALANCE_MS, REBALANCE_MS + 2 * GROUP_INITIAL_DELAY_MS);
}

/* Whether the group is said to use the topic, which stands among others. */
static bool uses(const char *topic)
{
    struct kafka_group_topic topics[] = {{STR("a"), true}, {str_of(topic), true}, {STR("z"), true}};
    const struct kafka_group *g = kafka_groups_find(&gs, STR("g"));
    kafka_group_subscribed(g, topics, 3);
    assert_ptr_equal(kafka_group_topic_find(topics, 3, str_of(topic)), &topics[1]);
    assert_null(kafka_group_topic_find(topics, 3, STR("none")));
    return topics[1].used;
}

/* What many members say of many topics is read once; if it is too much, all topics are in use. */
static void test_large_subscriptions(void **state)
{
    (void)state;
    enum { NAMES = 300000, BYTES = 6 + 3 * NAMES };
    static char metadata[BYTES];
    char *at = metadata + 2;
    *at++ = 0;
    *at++ = (char)(NAMES >> 16);
    *at++ = (char)(NAMES >> 8 & 0xff);
    *at++ = (char)(NAMES & 0xff);
    for (int i = 0; i < NAMES; i++, at += 3)
        memcpy(at, "\0\1t", 3);
    static struct answer answers[8];
    for (int i = 0; i < 8; i++) {
        char id[] = {(char)('a' + i), 0};
        struct kafka_group_protocol p = {STR("range"), {metadata, BYTES}};
        struct kafka_group_join j = {.group = STR("g"),
                                     .protocol_type = STR("consumer"),
                                     .session_ms = SESSION_MS,
                                     .rebalance_ms = REBALANCE_MS,
                                     .n_protocols = 1,
                                     .protocols = &p,
                                     .new_id = str_of(id),
                                     .waiter = &answers[i]};
        answers[i].error = UNANSWERED;
        kafka_groups_join(&gs, 0, &j);
        assert_true(uses("t"));
        bool whole = (int64_t)(i + 1) * NAMES * 3 < GROUP_SUBSCRIBED_STEPS_MAX;
        assert_int_equal(uses("other"), !whole);
    }
}

/* A consumer's metadata: version, topics, nothing else. */
static void test_subscriptions(void **state)
{
    (void)state;
    static struct answer a, b = {.error = UNANSWERED}; /* answered at the end of the test */
    struct kafka_group_protocol p = {STR("range"), {"\0\0\0\0\0\1\0\2t1\0\0\0\0", 14}};
    struct kafka_group_join j = {.group = STR("g"),
                                 .protocol_type = STR("consumer"),
                                 .session_ms = SESSION_MS,
                                 .rebalance_ms = REBALANCE_MS,
                                 .n_protocols = 1,
                                 .protocols = &p,
                                 .new_id = STR("a"),
                                 .waiter = &a};
    a.error = UNANSWERED;
    kafka_groups_join(&gs, 0, &j);
    assert_true(uses("t1"));
    assert_false(uses("t2"));
    p.metadata.len = 7; /* broken: taken to use all */
    j.member = STR("a");
    j.waiter = &b;
    kafka_groups_join(&gs, 10, &j);
    assert_true(uses("t2"));
}

static void test_refusals(void **state)
{
    (void)state;
    struct answer a, b;
    join_with(0, &b, &(struct join_options){.member = "ghost"});
    assert_int_equal(b.error, KAFKA_E_UNKNOWN_MEMBER);
    two_members(&a, &b);
    struct answer c;
    join_with(300, &c, &(struct join_options){.new_id = "c", .protocol = "other"});
    assert_int_equal(c.error, KAFKA_E_INCONSISTENT_PROTOCOL);
    assert_int_equal(state_of_g(), GROUP_STABLE);
    sync_with(310, &c, "a", 7, NULL, 0);
    assert_int_equal(c.error, KAFKA_E_ILLEGAL_GENERATION);
    assert_int_equal(kafka_groups_may_delete(&gs, STR("g")), KAFKA_E_NON_EMPTY_GROUP);
    assert_int_equal(kafka_groups_may_delete(&gs, STR("x")), KAFKA_E_GROUP_ID_NOT_FOUND);
}

static void test_commit_rights(void **state)
{
    (void)state;
    struct answer a, b;
    struct str none = {NULL, 0};
    assert_int_equal(kafka_groups_may_commit(&gs, 0, STR("g"), -1, STR(""), none), 0);
    assert_int_equal(kafka_groups_may_commit(&gs, 0, STR(""), -1, STR(""), none),
                     KAFKA_E_INVALID_GROUP_ID);
    two_members(&a, &b);
    assert_int_equal(kafka_groups_may_commit(&gs, 300, STR("g"), 1, STR("a"), none), 0);
    assert_int_equal(kafka_groups_may_commit(&gs, 300, STR("g"), 0, STR("a"), none),
                     KAFKA_E_ILLEGAL_GENERATION);
    assert_int_equal(kafka_groups_may_commit(&gs, 300, STR("g"), -1, STR(""), none),
                     KAFKA_E_UNKNOWN_MEMBER);
}

static void join_liking(int64_t now, struct answer *a, const char *id, const char *const *names,
                        uint32_t n)
{
    struct kafka_group_protocol all[4];
    for (uint32_t i = 0; i < n; i++)
        all[i] = (struct kafka_group_protocol){str_of(names[i]), STR("m")};
    struct kafka_group_join j = {.group = STR("g"),
                                 .member = STR(""),
                                 .protocol_type = STR("consumer"),
                                 .client_id = STR("c"),
                                 .client_host = STR("h"),
                                 .session_ms = SESSION_MS,
                                 .rebalance_ms = REBALANCE_MS,
                                 .n_protocols = n,
                                 .protocols = all,
                                 .new_id = str_of(id),
                                 .waiter = a};
    *a = (struct answer){.error = UNANSWERED};
    kafka_groups_join(&gs, now, &j);
}

/* Of those that all know, each member votes for the one it names first. */
static void test_the_protocol_most_members_like(void **state)
{
    (void)state;
    struct answer a, b, c, d;
    join_liking(0, &a, "a", (const char *const[]){"own", "x", "y", "z"}, 4);
    join_liking(0, &b, "b", (const char *const[]){"y", "x", "z"}, 3);
    join_liking(0, &c, "c", (const char *const[]){"other", "z", "x", "y"}, 4);
    join_liking(0, &d, "d", (const char *const[]){"y", "z", "x"}, 3);
    tick_to(2 * GROUP_INITIAL_DELAY_MS);
    assert_int_equal(a.error, 0);
    assert_string_equal(a.protocol, "y");
    assert_string_equal(d.protocol, "y");
}

static void test_more_assignments_than_members(void **state)
{
    (void)state;
    static struct kafka_group_assignment all[GROUP_MEMBERS_MAX + 1];
    struct answer a;
    for (uint32_t i = 0; i <= GROUP_MEMBERS_MAX; i++)
        all[i] = (struct kafka_group_assignment){STR("a"), STR("A")};
    join_new(0, &a, "a");
    tick_to(2 * GROUP_INITIAL_DELAY_MS);
    assert_int_equal(a.error, 0);
    sync_with(200, &a, "a", 1, all, GROUP_MEMBERS_MAX + 1);
    assert_int_equal(a.error, KAFKA_E_INVALID_REQUEST);
    assert_int_equal(state_of_g(), GROUP_COMPLETING);
    sync_with(200, &a, "a", 1, all, GROUP_MEMBERS_MAX);
    assert_int_equal(a.error, 0);
}

/* A member that waits for its first generation has none, and -1 is no generation. */
static void test_no_rights_before_the_first_generation(void **state)
{
    (void)state;
    static struct answer c; /* answered by the teardown */
    struct answer a, b;
    struct str none = {NULL, 0};
    two_members(&a, &b);
    join_new(1000, &c, "c");
    assert_int_equal(c.error, UNANSWERED);
    assert_int_equal(kafka_groups_may_commit(&gs, 1010, STR("g"), -1, STR("c"), none),
                     KAFKA_E_ILLEGAL_GENERATION);
    assert_int_equal(beat(1010, "c", -1), KAFKA_E_ILLEGAL_GENERATION);
    assert_int_equal(kafka_groups_may_commit(&gs, 1010, STR("g"), 1, STR("a"), none), 0);
}

static void put(const char *topic, int32_t partition, int64_t offset)
{
    assert_int_equal(
        kafka_groups_offset_put(&gs, STR("g"), str_of(topic), partition, offset, 0, STR("meta"), 1),
        ERR_OK);
}

static void test_offsets(void **state)
{
    (void)state;
    for (int32_t i = 0; i < 500; i++)
        put("t", i, i);
    for (int32_t i = 0; i < 500; i += 2)
        put("t", i, 10 * i);
    const struct kafka_group *g = kafka_groups_find(&gs, STR("g"));
    assert_int_equal(g->n_offsets, 500);
    for (int32_t i = 0; i < 500; i++)
        assert_int_equal(kafka_group_offset_find(g, STR("t"), i)->offset, i % 2 == 0 ? 10 * i : i);
    assert_null(kafka_group_offset_find(g, STR("u"), 1));
    assert_int_equal(kafka_groups_may_delete(&gs, STR("g")), 0);
    for (int32_t i = 0; i < 500; i++)
        kafka_groups_offset_remove(&gs, STR("g"), STR("t"), i);
    assert_null(kafka_groups_find(&gs, STR("g")));
}

/* Room is kept for what is being written: nobody else gets it, and what replaces an offset takes
 * only what it has more of. */
static void test_room_for_offsets(void **state)
{
    (void)state;
    struct kafka_groups_need need = {0}, all = {.n_offsets = GROUP_OFFSETS_MAX};
    kafka_groups_offset_need(&gs, STR("g"), STR("t"), 0, 4, &need);
    kafka_groups_offset_need(&gs, STR("g"), STR("t"), 1, 4, &need);
    assert_int_equal(need.n_groups, 1);
    assert_int_equal(need.n_offsets, 2);
    assert_int_equal(kafka_groups_reserve(&gs, &need), ERR_OK);
    assert_int_equal(kafka_groups_reserve(&gs, &all), ERR_LIMIT);
    put("t", 0, 5);
    put("t", 1, 5);
    assert_int_equal(gs.bytes, need.bytes);
    kafka_groups_release(&gs, &need);
    all.n_offsets -= 2;
    assert_int_equal(kafka_groups_reserve(&gs, &all), ERR_OK);
    need = (struct kafka_groups_need){0};
    kafka_groups_offset_need(&gs, STR("g"), STR("t"), 0, 5, &need);
    assert_int_equal(need.n_groups + need.n_offsets, 0);
    assert_int_equal(need.bytes, 1);
    assert_int_equal(kafka_groups_reserve(&gs, &need), ERR_OK);
    kafka_groups_release(&gs, &need);
    kafka_groups_offset_need(&gs, STR("g"), STR("t"), 2, 0, &need);
    assert_int_equal(kafka_groups_reserve(&gs, &need), ERR_LIMIT);
    kafka_groups_release(&gs, &all);
    /* Members do not get it either. */
    struct kafka_groups_need bytes = {.bytes = GROUPS_BYTES_MAX - gs.bytes};
    assert_int_equal(kafka_groups_reserve(&gs, &bytes), ERR_OK);
    struct answer a = {.error = UNANSWERED};
    join_new(0, &a, "a");
    assert_int_not_equal(a.error, KAFKA_OK);
    kafka_groups_release(&gs, &bytes);
}

/* Offsets expire when nobody has been there for a week; those of dropped topics at once. */
static void test_offsets_expire(void **state)
{
    (void)state;
    const int64_t week = GROUP_OFFSETS_RETENTION_MS;
    put("t", 0, 5); /* at 1 ms */
    kafka_groups_offset_is_of(&gs, STR("g"), STR("t"), 0, 7);
    const struct kafka_group *g = kafka_groups_find(&gs, STR("g"));
    const struct kafka_group_offset *o = kafka_group_offset_find(g, STR("t"), 0);
    assert_false(kafka_group_offset_over(g, o, 7, 0, week));
    assert_true(kafka_group_offset_over(g, o, 7, 0, week + 1));
    assert_false(kafka_group_offset_over(g, o, 7, 2, week + 1)); /* counted from the start */
    assert_true(kafka_group_offset_over(g, o, 7, 2, week + 2));
    assert_true(kafka_group_offset_over(g, o, 0, 0, 2)); /* dropped */
    assert_true(kafka_group_offset_over(g, o, 8, 0, 2)); /* and made again */
    put("t", 0, 6); /* for the new one, which is not known yet */
    assert_false(kafka_group_offset_over(g, o, 8, 0, 2));
    kafka_groups_offset_is_of(&gs, STR("g"), STR("t"), 0, 7);
    /* Members keep them; when the last one goes, the week begins. */
    struct answer a, b;
    two_members(&a, &b);
    assert_false(kafka_group_offset_over(g, o, 7, 0, 2 * week));
    gs.wall_ms = week;
    assert_int_equal(kafka_groups_leave(&gs, 300, STR("g"), STR("a"), (struct str){NULL, 0}), 0);
    assert_int_equal(kafka_groups_leave(&gs, 300, STR("g"), STR("b"), (struct str){NULL, 0}), 0);
    tick_to(300 + REBALANCE_MS);
    assert_int_equal(state_of_g(), GROUP_EMPTY);
    assert_false(kafka_group_offset_over(g, o, 7, 0, 2 * week - 1));
    assert_true(kafka_group_offset_over(g, o, 7, 0, 2 * week));
}

/* Every allocation fails in turn: an answer always comes, and nothing is left. */
static void test_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1; n < 40; n++) {
        struct answer a = {.error = UNANSWERED};
        mem_fail_at(n, 0);
        join_new(0, &a, "a");
        tick_to(GROUP_INITIAL_DELAY_MS * 3);
        enum err e = kafka_groups_offset_put(&gs, STR("g"), STR("t"), 0, 1, 0, STR("m"), 1);
        mem_fail_at(0, 0);
        assert_int_not_equal(a.error, UNANSWERED);
        assert_true(e == ERR_OK || e == ERR_NO_MEMORY || e == ERR_LIMIT);
        kafka_groups_stop(&gs, KAFKA_E_COORDINATOR_NOT_AVAILABLE);
        kafka_groups_deinit(&gs);
        assert_int_equal(gs.bytes, 0);
        setup(NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_two_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rebalance_on_join_and_leave, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silent_member_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rebalance_ends_without_the_late, setup, teardown),
        cmocka_unit_test_setup_teardown(test_member_id_required, setup, teardown),
        cmocka_unit_test_setup_teardown(test_static_member, setup, teardown),
        cmocka_unit_test_setup_teardown(test_static_member_taken_over_while_it_joins, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_static_member_while_assigning, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_wait_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_subscriptions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_subscriptions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_commit_rights, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_protocol_most_members_like, setup, teardown),
        cmocka_unit_test_setup_teardown(test_more_assignments_than_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_rights_before_the_first_generation, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_offsets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_room_for_offsets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_offsets_expire, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
