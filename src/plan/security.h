/* Who may do what: users' SCRAM credentials, access control lists (ACLs) and client quotas, and the
 * settings of consumer groups, which are kept alike: one immutable value in each catalog version.
 *
 *   change (a list of items) --security_apply--> next value      pure; shard 0
 *   security_allows(user, operation, resource)                   pure; any thread
 *
 * The rules are Kafka's: deny beats allow, an operation implies others, and what no list allows is
 * denied. Codes of resources, patterns, operations and permissions are those of Kafka's protocol.
 * Passwords are not here: a credential is RFC 5802's salted form. */
#ifndef TIDEMILL_PLAN_SECURITY_H
#define TIDEMILL_PLAN_SECURITY_H

#include "base/arena.h"
#include "plan/group_config.h"
#include "wire/sasl.h"

enum {
    SECURITY_CREDENTIALS_MAX = 20000,
    SECURITY_ACLS_MAX = 20000,
    SECURITY_QUOTAS_MAX = 20000,
    SECURITY_GROUP_SETTINGS_MAX = 20000,
    SECURITY_NAME_BYTES_MAX = 255, /* users, hosts, names of resources */
    SECURITY_ITEMS_PER_CHANGE_MAX = 5000,
    SECURITY_ROW_CELLS_MAX = 9,
    SECURITY_SECRET_BYTES = 32,
};

enum security_resource {
    ACL_ANY = 1,
    ACL_TOPIC = 2,
    ACL_GROUP = 3,
    ACL_CLUSTER = 4,
    ACL_TRANSACTIONAL_ID = 5,
    ACL_DELEGATION_TOKEN = 6,
    ACL_USER = 7,
};
enum security_pattern {
    PATTERN_ANY = 1,
    PATTERN_MATCH = 2, /* filters: whatever applies to the name */
    PATTERN_LITERAL = 3,
    PATTERN_PREFIXED = 4,
};
enum security_operation {
    OP_ANY = 1,
    OP_ALL = 2,
    OP_READ = 3,
    OP_WRITE = 4,
    OP_CREATE = 5,
    OP_DELETE = 6,
    OP_ALTER = 7,
    OP_DESCRIBE = 8,
    OP_CLUSTER_ACTION = 9,
    OP_DESCRIBE_CONFIGS = 10,
    OP_ALTER_CONFIGS = 11,
    OP_IDEMPOTENT_WRITE = 12,
    OP_CREATE_TOKENS = 13,
    OP_DESCRIBE_TOKENS = 14,
    OP_TWO_PHASE_COMMIT = 15,
};
enum security_permission { PERMISSION_ANY = 1, PERMISSION_DENY = 2, PERMISSION_ALLOW = 3 };

/* The one cluster resource's name. */
#define SECURITY_CLUSTER_NAME STR("kafka-cluster")

struct security_acl {
    int8_t resource, pattern, operation, permission;
    struct str name;      /* of the resource; "*" with PATTERN_LITERAL: every one */
    struct str principal; /* "User:alice", "User:*" */
    struct str host;      /* an address without port, or "*" */
};

/* Whom a quota is for: at least one part is there. */
struct security_entity {
    enum security_part { PART_ABSENT, PART_DEFAULT, PART_NAMED } user, client;
    struct str user_name, client_name; /* PART_NAMED */
};
struct security_quota {
    struct security_entity entity;
    struct str key; /* "producer_byte_rate", ... */
    double value;
};

struct security_group_setting {
    struct str group;
    enum group_config_key key;
    int32_t value;
};

/* One thing that is there, or (in a change) is set or removed. */
struct security_item {
    enum security_kind {
        SECURITY_CREDENTIAL, /* user, credential */
        SECURITY_ACL,        /* acl */
        SECURITY_QUOTA,      /* quota */
        SECURITY_GROUP,      /* group */
        SECURITY_SECRET,     /* secret: kept from the first change that has one */
    } kind;
    bool remove; /* in a change; nothing happens when it is not there */
    struct str user;
    struct scram_credential credential; /* removal: the mechanism alone */
    struct security_acl acl;
    struct security_quota quota;
    struct security_group_setting group;
    uint8_t secret[SECURITY_SECRET_BYTES];
};

struct security_list {
    uint32_t n;
    const struct security_item *const *items;
};

struct security {
    struct security_list credentials; /* by user, mechanism */
    struct security_list acls;        /* by resource, pattern, name, and the rest */
    struct security_list quotas;      /* by user, client, key */
    struct security_list groups;      /* by group, key */
    bool has_secret;
    uint8_t secret[SECURITY_SECRET_BYTES]; /* what unknown users' salts are made of */
    struct security_memory *memory;        /* private */
};

/* The value without anything; never freed. */
extern const struct security security_none;

/* References: any thread. */
const struct security *security_ref(const struct security *s);
void security_unref(const struct security *s);

/* A value with the items set and removed, in their order. ERR_LIMIT, ERR_NO_MEMORY,
 * ERR_INVALID_ARGUMENT (security_item_check). */
enum err security_apply(const struct security *s, const struct security_item *items, uint32_t n,
                        const struct security **out, struct err_detail *why) MUST_CHECK;
/* Whether an item can be kept: lengths, codes, text without control characters. */
enum err security_item_check(const struct security_item *item, struct err_detail *why) MUST_CHECK;

/* An item as it is written down: a row of words, e.g.
 *   acl add topic literal orders User:alice * read allow
 * The words live in `a` (or borrow from the item). ERR_NO_MEMORY. */
struct security_row {
    uint32_t n;
    struct str cells[SECURITY_ROW_CELLS_MAX];
};
enum err security_item_write(const struct security_item *item, struct arena *a,
                             struct security_row *out) MUST_CHECK;
/* The other way; borrows from the row. ERR_CORRUPT. */
enum err security_item_read(const struct security_row *row, struct security_item *out,
                            struct err_detail *why) MUST_CHECK;

/* The word for a code of an ACL that is kept: "topic", "literal", "read", "allow". */
const char *security_resource_name(int8_t resource);
const char *security_pattern_name(int8_t pattern);
const char *security_operation_name(int8_t operation);
const char *security_permission_name(int8_t permission);

/* NULL when the user has none for the mechanism. */
const struct security_item *security_credential(const struct security *s, struct str user,
                                                enum sasl_mechanism mechanism);
bool security_user_exists(const struct security *s, struct str user);

/* Who asks: user's name without "User:", address without port. */
struct security_subject {
    struct str user, host;
};
/* May the subject do the operation on the resource? Costs a few binary searches. */
bool security_allows(const struct security *s, const struct security_subject *who,
                     enum security_operation op, enum security_resource resource, struct str name);
/* ... on at least one resource of this type (and is not denied it on all). Costs a look at all
 * ACLs of the type. */
bool security_allows_some(const struct security *s, const struct security_subject *who,
                          enum security_operation op, enum security_resource resource);
/* Whether an ACL passes a filter: 1 (ANY) and null names pass everything. */
bool security_acl_matches(const struct security_acl *acl, const struct security_acl *filter);

/* The quota `key` that holds for a client, by Kafka's precedence (user and client, user, client;
 * names before defaults), or NULL. */
const struct security_quota *security_quota_of(const struct security *s, struct str user,
                                               struct str client, struct str key);
/* What holds for the group: what it was given, or the default. */
int32_t security_group_setting(const struct security *s, struct str group,
                               enum group_config_key key, bool *given);
int security_entity_cmp(const struct security_entity *a, const struct security_entity *b);

#endif
