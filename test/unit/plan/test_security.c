/* Users, ACLs and quotas: the rules of authorisation against a plain implementation of them, the
 * rows they are written as, their place in catalog versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "plan/catalog.h"

static const struct security *changed(const struct security *s, const struct security_item *items,
                                      uint32_t n)
{
    const struct security *next;
    assert_int_equal(security_apply(s, items, n, &next, NULL), ERR_OK);
    security_unref(s);
    return next;
}

static struct security_item acl(int8_t permission, int8_t op, int8_t pattern, const char *name,
                                const char *principal, const char *host)
{
    struct security_item item = {.kind = SECURITY_ACL};
    item.acl = (struct security_acl){ACL_TOPIC, pattern, op, permission,
                                     str_of(name), str_of(principal), str_of(host)};
    return item;
}

static bool may(const struct security *s, const char *user, enum security_operation op,
                const char *topic)
{
    struct security_subject who = {str_of(user), STR("10.0.0.1")};
    return security_allows(s, &who, op, ACL_TOPIC, str_of(topic));
}

static void test_rules(void **state)
{
    (void)state;
    struct security_item items[] = {
        acl(PERMISSION_ALLOW, OP_READ, PATTERN_LITERAL, "orders", "User:a", "*"),
        acl(PERMISSION_ALLOW, OP_ALL, PATTERN_PREFIXED, "log.", "User:b", "10.0.0.1"),
        acl(PERMISSION_DENY, OP_WRITE, PATTERN_LITERAL, "log.audit", "User:*", "*"),
        acl(PERMISSION_ALLOW, OP_ALTER_CONFIGS, PATTERN_LITERAL, "*", "User:c", "*"),
        acl(PERMISSION_ALLOW, OP_READ, PATTERN_LITERAL, "far", "User:a", "10.0.0.2"),
        acl(PERMISSION_DENY, OP_ALL, PATTERN_PREFIXED, "log.x", "User:b", "*"),
    };
    const struct security *s = changed(&security_none, items, 6);
    assert_true(may(s, "a", OP_READ, "orders"));
    assert_true(may(s, "a", OP_DESCRIBE, "orders"));
    assert_false(may(s, "a", OP_WRITE, "orders"));
    assert_false(may(s, "a", OP_READ, "order"));
    assert_false(may(s, "a", OP_READ, "orders2"));
    assert_false(may(s, "a", OP_READ, "far"));
    assert_true(may(s, "b", OP_WRITE, "log.web"));
    assert_true(may(s, "b", OP_DELETE, "log."));
    assert_false(may(s, "b", OP_WRITE, "log"));
    assert_false(may(s, "b", OP_WRITE, "log.audit"));
    assert_true(may(s, "b", OP_READ, "log.audit"));
    assert_true(may(s, "b", OP_DESCRIBE, "log.audit"));
    assert_false(may(s, "b", OP_READ, "log.x"));
    assert_false(may(s, "b", OP_READ, "log.xyz"));
    assert_true(may(s, "c", OP_DESCRIBE_CONFIGS, "anything"));
    assert_false(may(s, "c", OP_DESCRIBE, "anything"));
    assert_false(may(&security_none, "a", OP_READ, "orders"));
    struct security_subject b = {STR("b"), STR("10.0.0.1")}, d = {STR("d"), STR("10.0.0.1")};
    assert_true(security_allows_some(s, &b, OP_WRITE, ACL_TOPIC));
    assert_false(security_allows_some(s, &d, OP_WRITE, ACL_TOPIC));
    security_unref(s);
}

/* The definition, without any index. */
static bool plain(const struct security *s, const struct security_subject *who,
                  enum security_operation op, struct str name)
{
    bool allowed = false;
    for (uint32_t i = 0; i < s->acls.n; i++) {
        const struct security_acl *a = &s->acls.items[i]->acl;
        struct str user = {a->principal.ptr + 5, a->principal.len - 5};
        bool there = a->pattern == PATTERN_PREFIXED ? str_starts(name, a->name)
                                                    : str_eq(a->name, name) ||
                                                          str_eq(a->name, STR("*"));
        if (!there || !(str_eq(user, who->user) || str_eq(user, STR("*"))))
            continue;
        bool same = a->operation == (int8_t)op || a->operation == OP_ALL;
        if (a->permission == PERMISSION_DENY && same)
            return false;
        bool implied = op == OP_DESCRIBE && (a->operation == OP_READ || a->operation == OP_WRITE ||
                                             a->operation == OP_DELETE || a->operation == OP_ALTER);
        allowed = allowed || (a->permission == PERMISSION_ALLOW && (same || implied));
    }
    return allowed;
}

static uint32_t roll(uint32_t *seed, uint32_t n)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % n;
}

static void random_name(uint32_t *seed, char *out, bool wild)
{
    uint32_t n = 1 + roll(seed, 4);
    for (uint32_t i = 0; i < n; i++)
        out[i] = (char)('a' + roll(seed, 2));
    out[n] = '\0';
    if (wild && roll(seed, 20) == 0)
        memcpy(out, "*", 2);
}

static void test_against_the_definition(void **state)
{
    (void)state;
    static const char *const users[] = {"User:x", "User:y", "User:*"};
    uint32_t seed = 7;
    for (int round = 0; round < 200; round++) {
        const struct security *s = &security_none;
        char names[20][8], name[8];
        for (int i = 0; i < 20; i++) {
            random_name(&seed, names[i], true);
            struct security_item item =
                acl(roll(&seed, 4) == 0 ? PERMISSION_DENY : PERMISSION_ALLOW,
                    (int8_t)(OP_ALL + (int)roll(&seed, 7)),
                    roll(&seed, 2) == 0 ? PATTERN_LITERAL : PATTERN_PREFIXED, names[i],
                    users[roll(&seed, 3)], "*");
            item.remove = roll(&seed, 5) == 0;
            s = changed(s, &item, 1);
        }
        for (int i = 0; i < 100; i++) {
            struct security_subject who = {roll(&seed, 2) == 0 ? STR("x") : STR("y"), STR("h")};
            enum security_operation op = OP_READ + roll(&seed, 6);
            random_name(&seed, name, false);
            assert_int_equal(security_allows(s, &who, op, ACL_TOPIC, str_of(name)),
                             plain(s, &who, op, str_of(name)));
        }
        security_unref(s);
    }
}

static struct security_item quota(enum security_part user, const char *u,
                                  enum security_part client, const char *c, double value)
{
    struct security_item item = {.kind = SECURITY_QUOTA};
    item.quota = (struct security_quota){
        {user, client, str_of(u), str_of(c)}, STR("producer_byte_rate"), value};
    return item;
}

static void test_quota_precedence(void **state)
{
    (void)state;
    struct security_item items[] = {
        quota(PART_ABSENT, "", PART_DEFAULT, "", 1),   quota(PART_ABSENT, "", PART_NAMED, "c", 2),
        quota(PART_DEFAULT, "", PART_ABSENT, "", 3),   quota(PART_DEFAULT, "", PART_DEFAULT, "", 4),
        quota(PART_DEFAULT, "", PART_NAMED, "c", 5),   quota(PART_NAMED, "u", PART_ABSENT, "", 6),
        quota(PART_NAMED, "u", PART_DEFAULT, "", 7),   quota(PART_NAMED, "u", PART_NAMED, "c", 8),
    };
    const struct security *s = &security_none;
    for (uint32_t i = 0; i < 8; i++) {
        s = changed(s, &items[i], 1);
        const struct security_quota *q =
            security_quota_of(s, STR("u"), STR("c"), STR("producer_byte_rate"));
        assert_non_null(q);
        assert_true(q->value == items[i].quota.value);
        assert_null(security_quota_of(s, STR("u"), STR("c"), STR("consumer_byte_rate")));
    }
    assert_true(security_quota_of(s, STR("v"), STR("d"), STR("producer_byte_rate"))->value == 4);
    security_unref(s);
}

static void test_items_that_are_refused(void **state)
{
    (void)state;
    struct security_item bad[] = {
        acl(PERMISSION_ANY, OP_READ, PATTERN_LITERAL, "t", "User:a", "*"),
        acl(PERMISSION_ALLOW, OP_ANY, PATTERN_LITERAL, "t", "User:a", "*"),
        acl(PERMISSION_ALLOW, 16, PATTERN_LITERAL, "t", "User:a", "*"),
        acl(PERMISSION_ALLOW, OP_READ, PATTERN_MATCH, "t", "User:a", "*"),
        acl(PERMISSION_ALLOW, OP_READ, PATTERN_LITERAL, "", "User:a", "*"),
        acl(PERMISSION_ALLOW, OP_READ, PATTERN_LITERAL, "t", "Group:a", "*"),
        acl(PERMISSION_ALLOW, OP_READ, PATTERN_LITERAL, "t\n", "User:a", "*"),
        acl(PERMISSION_ALLOW, OP_READ, PATTERN_LITERAL, "t\xff", "User:a", "*"),
        quota(PART_ABSENT, "", PART_ABSENT, "", 1), quota(PART_DEFAULT, "", PART_ABSENT, "", 0),
        quota(PART_DEFAULT, "", PART_ABSENT, "", -1), quota(PART_NAMED, "", PART_ABSENT, "", 1),
    };
    const struct security *next;
    struct err_detail why;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(security_apply(&security_none, &bad[i], 1, &next, &why),
                         ERR_INVALID_ARGUMENT);
}

static struct security_item credential(const char *user, enum sasl_mechanism m)
{
    struct security_item item = {.kind = SECURITY_CREDENTIAL, .user = str_of(user)};
    item.credential = (struct scram_credential){.mechanism = m, .iterations = 5000, .salt_len = 3};
    memset(item.credential.salt, 1, 3);
    memset(item.credential.stored_key, 2, scram_hash_bytes(m));
    memset(item.credential.server_key, 3, scram_hash_bytes(m));
    return item;
}

/* Through the catalog's record and back, into a version and the next one. */
static void test_catalog(void **state)
{
    (void)state;
    struct security_item items[] = {
        {.kind = SECURITY_SECRET, .secret = {9, 8, 7}},
        credential("al\"ice \xc3\xa9", SASL_SCRAM_SHA_256),
        credential("al\"ice \xc3\xa9", SASL_SCRAM_SHA_512),
        acl(PERMISSION_DENY, OP_TWO_PHASE_COMMIT, PATTERN_PREFIXED, "t", "User:a", "::1"),
        quota(PART_NAMED, "<default>", PART_DEFAULT, "", 0.1),
        quota(PART_ABSENT, "", PART_NAMED, "", 1e9),
        {.kind = SECURITY_GROUP, .group = {STR("g"), GROUP_CONFIG_SESSION_MS, 50000}},
        {.kind = SECURITY_GROUP, .group = {STR("g"), GROUP_CONFIG_HEARTBEAT_MS, 6000}},
    };
    struct catalog_change change = {.verb = CHANGE_SECURITY, .n_security = 8, .security = items};
    struct catalog_change read;
    struct arena a;
    struct buf json, again;
    const struct catalog *empty = catalog_new(), *c, *d;
    arena_init(&a, 1 << 20);
    buf_init(&json, 1 << 20);
    buf_init(&again, 1 << 20);
    assert_int_equal(catalog_change_encode(&change, &json), ERR_OK);
    assert_int_equal(catalog_change_decode(buf_str(&json), &a, &read, NULL), ERR_OK);
    assert_int_equal(read.n_security, 8);
    assert_int_equal(catalog_change_encode(&read, &again), ERR_OK);
    assert_true(str_eq(buf_str(&json), buf_str(&again)));
    assert_int_equal(catalog_apply(empty, &read, &c, NULL), ERR_OK);
    assert_ptr_equal(empty->security, &security_none);
    assert_true(security_user_exists(c->security, items[1].user));
    assert_memory_equal(c->security->secret, items[0].secret, SECURITY_SECRET_BYTES);
    bool given;
    assert_int_equal(security_group_setting(c->security, STR("g"), GROUP_CONFIG_SESSION_MS, &given),
                     50000);
    assert_true(given);
    items[0].secret[0] = 1; /* the first one stays */
    items[1].remove = items[2].remove = items[3].remove = items[4].remove = true;
    items[6].remove = true;
    assert_int_equal(catalog_apply(c, &change, &d, NULL), ERR_OK);
    assert_int_equal(d->security->credentials.n + d->security->acls.n, 0);
    assert_int_equal(d->security->quotas.n, 1);
    assert_int_equal(security_group_setting(d->security, STR("g"), GROUP_CONFIG_SESSION_MS, &given),
                     45000);
    assert_false(given);
    assert_int_equal(
        security_group_setting(d->security, STR("g"), GROUP_CONFIG_HEARTBEAT_MS, NULL), 6000);
    assert_int_equal(d->security->secret[0], 9);
    assert_int_equal(c->security->credentials.n, 2);
    catalog_unref(d);
    catalog_unref(c);
    catalog_unref(empty);
    buf_deinit(&json);
    buf_deinit(&again);
    arena_deinit(&a);
}

static enum err replay(void *arg, const struct catalog_change *change)
{
    const struct catalog **c = arg, *next;
    enum err e = catalog_apply(*c, change, &next, NULL);
    if (e == ERR_OK) {
        catalog_unref(*c);
        *c = next;
    }
    return e;
}

/* A snapshot has all of it, in several changes. */
static void test_snapshot(void **state)
{
    enum { ACLS = 1200 };
    (void)state;
    const struct catalog *c = catalog_new(), *copy = catalog_new();
    struct security_item items[4] = {{.kind = SECURITY_SECRET, .secret = {1, 2, 3}},
                                     credential("a", SASL_SCRAM_SHA_512),
                                     quota(PART_DEFAULT, "", PART_ABSENT, "", 5),
                                     {.kind = SECURITY_GROUP, .group = {STR("g"), 0, 7000}}};
    struct catalog_change change = {.verb = CHANGE_SECURITY, .n_security = 4, .security = items};
    assert_int_equal(replay(&c, &change), ERR_OK);
    for (int i = 0; i < ACLS; i++) {
        char name[24];
        snprintf(name, sizeof name, "topic%d", i);
        items[0] = acl(PERMISSION_ALLOW, OP_READ, PATTERN_LITERAL, name, "User:a", "*");
        change.n_security = 1;
        assert_int_equal(replay(&c, &change), ERR_OK);
    }
    assert_int_equal(catalog_snapshot(c, replay, &copy), ERR_OK);
    assert_int_equal(copy->security->acls.n, ACLS);
    for (uint32_t i = 0; i < ACLS; i++)
        assert_true(str_eq(copy->security->acls.items[i]->acl.name,
                           c->security->acls.items[i]->acl.name));
    assert_memory_equal(copy->security->secret, c->security->secret, SECURITY_SECRET_BYTES);
    assert_true(security_user_exists(copy->security, STR("a")));
    assert_int_equal(copy->security->quotas.n, 1);
    assert_int_equal(copy->security->groups.n, 1);
    catalog_unref(c);
    catalog_unref(copy);
}

static void test_filters(void **state)
{
    (void)state;
    struct security_acl a =
        acl(PERMISSION_ALLOW, OP_READ, PATTERN_PREFIXED, "log.", "User:a", "*").acl;
    struct security_acl any = {ACL_ANY, PATTERN_ANY, OP_ANY, PERMISSION_ANY, {0}, {0}, {0}};
    struct security_acl f = any;
    assert_true(security_acl_matches(&a, &f));
    f.pattern = PATTERN_MATCH;
    f.name = STR("log.web");
    assert_true(security_acl_matches(&a, &f));
    f.pattern = PATTERN_LITERAL;
    assert_false(security_acl_matches(&a, &f));
    f.pattern = PATTERN_ANY;
    assert_false(security_acl_matches(&a, &f));
    f = any;
    f.principal = STR("User:b");
    assert_false(security_acl_matches(&a, &f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_against_the_definition),
        cmocka_unit_test(test_quota_precedence),
        cmocka_unit_test(test_items_that_are_refused),
        cmocka_unit_test(test_catalog),
        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_filters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
