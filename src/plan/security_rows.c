/* Items as rows of words, as they stand in the catalog topic:
 *
 *   scram  set|remove  USER  MECHANISM  [ITERATIONS  SALT  STORED-KEY  SERVER-KEY]
 *   acl    set|remove  RESOURCE  literal|prefixed  NAME  PRINCIPAL  HOST  OPERATION  deny|allow
 *   quota  set|remove  USER  CLIENT  KEY  [VALUE]      each of the two: "" none, <default>, =NAME
 *   group  set|remove  GROUP  KEY  [VALUE]
 *   secret VALUE                                       bytes are hexadecimal */
#include "base/check.h"
#include "plan/security.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const resources[] = {
    [ACL_TOPIC] = "topic",
    [ACL_GROUP] = "group",
    [ACL_CLUSTER] = "cluster",
    [ACL_TRANSACTIONAL_ID] = "transactional_id",
    [ACL_DELEGATION_TOKEN] = "delegation_token",
    [ACL_USER] = "user",
};
static const char *const patterns[] = {
    [PATTERN_LITERAL] = "literal",
    [PATTERN_PREFIXED] = "prefixed",
};
static const char *const operations[] = {
    [OP_ALL] = "all",
    [OP_READ] = "read",
    [OP_WRITE] = "write",
    [OP_CREATE] = "create",
    [OP_DELETE] = "delete",
    [OP_ALTER] = "alter",
    [OP_DESCRIBE] = "describe",
    [OP_CLUSTER_ACTION] = "cluster_action",
    [OP_DESCRIBE_CONFIGS] = "describe_configs",
    [OP_ALTER_CONFIGS] = "alter_configs",
    [OP_IDEMPOTENT_WRITE] = "idempotent_write",
    [OP_CREATE_TOKENS] = "create_tokens",
    [OP_DESCRIBE_TOKENS] = "describe_tokens",
    [OP_TWO_PHASE_COMMIT] = "two_phase_commit",
};
static const char *const permissions[] = {
    [PERMISSION_DENY] = "deny",
    [PERMISSION_ALLOW] = "allow",
};

const char *security_resource_name(int8_t resource)
{
    return resources[resource];
}

const char *security_pattern_name(int8_t pattern)
{
    return patterns[pattern];
}

const char *security_operation_name(int8_t operation)
{
    return operations[operation];
}

const char *security_permission_name(int8_t permission)
{
    return permissions[permission];
}

/* ---- writing ---- */

struct row_writer {
    struct security_row *row;
    struct arena *a;
    bool failed;
};

static void put(struct row_writer *w, struct str s)
{
    w->failed = w->failed || s.ptr == NULL;
    w->row->cells[w->row->n++] = s;
}

static void put_hex(struct row_writer *w, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    char *text = arena_alloc(w->a, 2 * n + 1);
    for (size_t i = 0; i < n && text != NULL; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    put(w, (struct str){text, 2 * n});
}

static void put_part(struct row_writer *w, enum security_part part, struct str name)
{
    if (part == PART_NAMED)
        put(w, arena_printf(w->a, "=%.*s", STR_ARG(name)));
    else
        put(w, part == PART_DEFAULT ? STR("<default>") : STR(""));
}

static void put_credential(struct row_writer *w, const struct security_item *item)
{
    const struct scram_credential *c = &item->credential;
    size_t n = scram_hash_bytes(c->mechanism);
    put(w, item->user);
    put(w, str_of(sasl_mechanism_name(c->mechanism)));
    if (item->remove)
        return;
    put(w, arena_printf(w->a, "%" PRIu32, c->iterations));
    put_hex(w, c->salt, c->salt_len);
    put_hex(w, c->stored_key, n);
    put_hex(w, c->server_key, n);
}

static void put_acl(struct row_writer *w, const struct security_acl *a)
{
    put(w, str_of(resources[a->resource]));
    put(w, str_of(patterns[a->pattern]));
    put(w, a->name);
    put(w, a->principal);
    put(w, a->host);
    put(w, str_of(operations[a->operation]));
    put(w, str_of(permissions[a->permission]));
}

static void put_quota(struct row_writer *w, const struct security_item *item)
{
    const struct security_quota *q = &item->quota;
    put_part(w, q->entity.user, q->entity.user_name);
    put_part(w, q->entity.client, q->entity.client_name);
    put(w, q->key);
    if (!item->remove)
        put(w, arena_printf(w->a, "%.17g", q->value));
}

static void put_group(struct row_writer *w, const struct security_item *item)
{
    put(w, item->group.group);
    put(w, str_of(group_config_def(item->group.key)->name));
    if (!item->remove)
        put(w, arena_printf(w->a, "%" PRId32, item->group.value));
}

enum err security_item_write(const struct security_item *item, struct arena *a,
                             struct security_row *out)
{
    static const char *const names[] = {
        [SECURITY_CREDENTIAL] = "scram",
        [SECURITY_ACL] = "acl",
        [SECURITY_QUOTA] = "quota",
        [SECURITY_GROUP] = "group",
        [SECURITY_SECRET] = "secret",
    };
    struct row_writer w = {.row = out, .a = a};
    out->n = 0;
    TRY(security_item_check(item, NULL));
    put(&w, str_of(names[item->kind]));
    if (item->kind != SECURITY_SECRET)
        put(&w, item->remove ? STR("remove") : STR("set"));
    switch (item->kind) {
    case SECURITY_CREDENTIAL:
        put_credential(&w, item);
        break;
    case SECURITY_ACL:
        put_acl(&w, &item->acl);
        break;
    case SECURITY_QUOTA:
        put_quota(&w, item);
        break;
    case SECURITY_GROUP:
        put_group(&w, item);
        break;
    case SECURITY_SECRET:
        put_hex(&w, item->secret, sizeof item->secret);
        break;
    }
    return w.failed ? ERR_NO_MEMORY : ERR_OK;
}

/* ---- reading ---- */

struct row_reader {
    const struct security_row *row;
    uint32_t at;
    bool failed;
};

static struct str take(struct row_reader *r)
{
    if (r->at < r->row->n)
        return r->row->cells[r->at++];
    r->failed = true;
    return STR("");
}

static int8_t take_word(struct row_reader *r, const char *const *words, size_t n)
{
    struct str s = take(r);
    for (size_t i = 0; i < n; i++)
        if (words[i] != NULL && str_eq(s, str_of(words[i])))
            return (int8_t)i;
    r->failed = true;
    return 0;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Hexadecimal bytes, at most `max` of them; returns how many. */
static uint32_t take_hex(struct row_reader *r, uint8_t *out, size_t max)
{
    struct str s = take(r);
    if (s.len % 2 != 0 || s.len / 2 > max) {
        r->failed = true;
        return 0;
    }
    for (size_t i = 0; i < s.len / 2; i++) {
        int high = nibble(s.ptr[2 * i]), low = nibble(s.ptr[2 * i + 1]);
        r->failed = r->failed || high < 0 || low < 0;
        out[i] = (uint8_t)(high * 16 + low);
    }
    return (uint32_t)(s.len / 2);
}

static enum security_part take_part(struct row_reader *r, struct str *name)
{
    struct str s = take(r);
    if (s.len > 0 && s.ptr[0] == '=') {
        *name = (struct str){s.ptr + 1, s.len - 1};
        return PART_NAMED;
    }
    r->failed = r->failed || (s.len > 0 && !str_eq(s, STR("<default>")));
    return s.len > 0 ? PART_DEFAULT : PART_ABSENT;
}

static void take_credential(struct row_reader *r, struct security_item *out)
{
    struct scram_credential *c = &out->credential;
    int64_t iterations = 0;
    out->user = take(r);
    c->mechanism = sasl_mechanism_of(take(r));
    size_t n = scram_hash_bytes(c->mechanism);
    if (out->remove)
        return;
    r->failed = r->failed || str_to_i64(take(r), &iterations) != ERR_OK || iterations < 0 ||
                iterations > UINT32_MAX;
    c->iterations = (uint32_t)iterations;
    c->salt_len = take_hex(r, c->salt, sizeof c->salt);
    bool whole = take_hex(r, c->stored_key, sizeof c->stored_key) == n;
    whole = take_hex(r, c->server_key, sizeof c->server_key) == n && whole;
    r->failed = r->failed || !whole;
}

static void take_quota(struct row_reader *r, struct security_item *out)
{
    struct security_quota *q = &out->quota;
    char text[40];
    char *end;
    q->entity.user = take_part(r, &q->entity.user_name);
    q->entity.client = take_part(r, &q->entity.client_name);
    q->key = take(r);
    if (out->remove)
        return;
    struct str s = take(r);
    snprintf(text, sizeof text, "%.*s", STR_ARG(s));
    q->value = strtod(text, &end);
    r->failed = r->failed || s.len == 0 || s.len >= sizeof text || *end != '\0';
}

static void take_group(struct row_reader *r, struct security_item *out)
{
    out->group.group = take(r);
    out->group.key = group_config_find(take(r));
    r->failed = r->failed || out->group.key == GROUP_CONFIGS;
    if (r->failed || out->remove)
        return;
    r->failed =
        group_config_parse(out->group.key, take(r), &out->group.value, NULL) != ERR_OK || r->failed;
}

static void take_acl(struct row_reader *r, struct security_acl *a)
{
    a->resource = take_word(r, resources, ARRAY_LEN(resources));
    a->pattern = take_word(r, patterns, ARRAY_LEN(patterns));
    a->name = take(r);
    a->principal = take(r);
    a->host = take(r);
    a->operation = take_word(r, operations, ARRAY_LEN(operations));
    a->permission = take_word(r, permissions, ARRAY_LEN(permissions));
}

enum err security_item_read(const struct security_row *row, struct security_item *out,
                            struct err_detail *why)
{
    struct row_reader r = {.row = row};
    *out = (struct security_item){0};
    struct str kind = take(&r);
    bool secret = str_eq(kind, STR("secret"));
    struct str verb = secret ? STR("set") : take(&r);
    out->remove = str_eq(verb, STR("remove"));
    r.failed = r.failed || !(out->remove || str_eq(verb, STR("set")));
    if (secret) {
        out->kind = SECURITY_SECRET;
        r.failed = take_hex(&r, out->secret, sizeof out->secret) != sizeof out->secret || r.failed;
    } else if (str_eq(kind, STR("scram"))) {
        out->kind = SECURITY_CREDENTIAL;
        take_credential(&r, out);
    } else if (str_eq(kind, STR("acl"))) {
        out->kind = SECURITY_ACL;
        take_acl(&r, &out->acl);
    } else if (str_eq(kind, STR("quota"))) {
        out->kind = SECURITY_QUOTA;
        take_quota(&r, out);
    } else if (str_eq(kind, STR("group"))) {
        out->kind = SECURITY_GROUP;
        take_group(&r, out);
    } else {
        r.failed = true;
    }
    if (r.failed || r.at != row->n || security_item_check(out, NULL) != ERR_OK)
        return err_set(why, ERR_CORRUPT, "catalog change: a damaged row of kind \"%.*s\"",
                       STR_ARG(kind));
    return ERR_OK;
}
