/* Catalog changes as JSON objects, one per record of the catalog topic:
 *
 *   {"verb":"create_view","name":"avg_temp","number":2,"sql":"CREATE ...",
 *    "topic":{...},"late":{...}}           (several late tables: "late":[{...},...])
 *   "dialect":2 says by which rules the text is understood; without it, by the oldest.
 *   topic: {"name":"avg_temp","id":"32 hex digits","number":3,"partitions":2,"kind":"changelog",
 *           "placement":0,"config":{"retention.ms":"86400000"}}
 *   {"verb":"numbers","name":"","number":17,"next_topic":20}
 *   {"verb":"create_type","name":"mood","number":0,"sql":"CREATE TYPE ..."}
 *   {"verb":"create_function","name":"f(integer)","number":3,"sql":"CREATE FUNCTION ..."}
 *   (in C: "digest":"64 hex digits")
 *   {"verb":"cluster","name":"22 letters and digits","number":0}
 *
 * "config" has the settings that were given. Until format 2 of the data directory a topic had, in
 * its place, four numbers, given or not: "retention_ms", "retention_bytes", "segment_bytes" and
 * "batch_bytes_max". They are still read. Users, ACLs and quotas are rows of words
 * (security_rows.c):
 *
 *   {"verb":"security","name":"","number":0,"security":[["acl","set",...],["scram",...]]}
 *
 * The reader is strict: unknown names, missing values and trailing bytes are damage. */
#include "plan/catalog.h"
#include "plan/plan_int.h"

#include <inttypes.h>

/* Texts of one change's rows; one record of the catalog topic has at most 4 MiB. */
enum { SECURITY_ROWS_ARENA_BYTES_MAX = 16 << 20 };
/* DIALECT_NOW as it is written; DIALECT_WIDE, the first one, never was. */
enum { DIALECT_NOW_NUMBER = 2 };

static const char *const verbs[] = {
    [CHANGE_CREATE_TOPIC] = "create_topic", [CHANGE_DROP_TOPIC] = "drop_topic",
    [CHANGE_ALTER_TOPIC] = "alter_topic",
    [CHANGE_ALTER_TABLE] = "alter_table",
    [CHANGE_CREATE_TABLE] = "create_table", [CHANGE_CREATE_VIEW] = "create_view",
    [CHANGE_CREATE_QUERY] = "create_query",
    [CHANGE_DROP_RELATION] = "drop_relation", [CHANGE_NUMBERS] = "numbers",
    [CHANGE_CREATE_TYPE] = "create_type", [CHANGE_DROP_TYPE] = "drop_type",
    [CHANGE_CREATE_FUNCTION] = "create_function", [CHANGE_DROP_FUNCTION] = "drop_function",
    [CHANGE_SECURITY] = "security", [CHANGE_CLUSTER] = "cluster",
};
static const char *const kinds[] = {
    [TOPIC_USER] = "user", [TOPIC_CHANGELOG] = "changelog", [TOPIC_LATE] = "late",
    [TOPIC_DEAD_LETTERS] = "dead_letters", [TOPIC_INTERNAL] = "internal",
};

/* ---- writing ---- */

static void put_string(struct buf *out, struct str s)
{
    buf_put_u8(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_printf(out, "\\n");
        else if (c < 0x20)
            buf_printf(out, "\\u%04x", c);
        else
            buf_put_u8(out, c);
    }
    buf_put_u8(out, '"');
}

static void put_topic_value(struct buf *out, const struct topic *t)
{
    buf_printf(out, "{\"name\":");
    put_string(out, t->name);
    buf_printf(out, ",\"id\":\"");
    for (size_t i = 0; i < sizeof t->id; i++)
        buf_printf(out, "%02x", t->id[i]);
    buf_printf(out, "\",\"number\":%u,\"partitions\":%u,\"kind\":\"%s\",\"placement\":%u",
               t->number, t->n_partitions, kinds[t->kind], t->placement);
    if (t->grown_from != 0)
        buf_printf(out, ",\"grown_from\":%u", t->grown_from);
    buf_printf(out, ",\"config\":{");
    const char *comma = "";
    for (enum topic_config_key k = 0; k < TOPIC_CONFIGS; k++) {
        char text[TOPIC_CONFIG_TEXT_MAX];
        if (!topic_config_given(&t->config, k))
            continue;
        topic_config_print(k, t->config.values[k], text);
        buf_printf(out, "%s\"%s\":\"%s\"", comma, topic_config_def(k)->name, text);
        comma = ",";
    }
    buf_printf(out, "}}");
}

static void put_topic(struct buf *out, const char *name, const struct topic *t)
{
    buf_printf(out, ",\"%s\":", name);
    put_topic_value(out, t);
}

/* One row an item; a failure is the buffer's. */
static void put_security(struct buf *out, const struct catalog_change *change)
{
    struct arena a;
    arena_init(&a, SECURITY_ROWS_ARENA_BYTES_MAX);
    buf_printf(out, ",\"security\":[");
    for (uint32_t i = 0; i < change->n_security && !out->failed; i++) {
        struct security_row row;
        out->failed = security_item_write(&change->security[i], &a, &row) != ERR_OK;
        for (uint32_t k = 0; k < row.n && !out->failed; k++) {
            buf_printf(out, k > 0 ? "," : i > 0 ? ",[" : "[");
            put_string(out, row.cells[k]);
        }
        buf_put_u8(out, ']');
    }
    buf_put_u8(out, ']');
    arena_deinit(&a);
}

static void put_late(struct buf *out, const struct catalog_change *change)
{
    if (change->n_late == 1)
        put_topic(out, "late", &change->late[0]);
    if (change->n_late <= 1)
        return;
    buf_printf(out, ",\"late\":");
    for (uint32_t i = 0; i < change->n_late; i++) {
        buf_put_u8(out, i == 0 ? '[' : ',');
        put_topic_value(out, &change->late[i]);
    }
    buf_put_u8(out, ']');
}

enum err catalog_change_encode(const struct catalog_change *change, struct buf *out)
{
    buf_printf(out, "{\"verb\":\"%s\",\"name\":", verbs[change->verb]);
    put_string(out, change->name);
    buf_printf(out, ",\"number\":%u", change->number);
    if (change->verb == CHANGE_NUMBERS)
        buf_printf(out, ",\"next_topic\":%u", change->next_topic);
    if (change->sql.len > 0) {
        buf_printf(out, ",\"sql\":");
        put_string(out, change->sql);
        if (change->dialect == DIALECT_NOW)
            buf_printf(out, ",\"dialect\":%d", DIALECT_NOW_NUMBER);
    }
    if (change->has_digest) {
        buf_printf(out, ",\"digest\":\"");
        for (size_t i = 0; i < sizeof change->digest; i++)
            buf_printf(out, "%02x", change->digest[i]);
        buf_put_u8(out, '"');
    }
    if (change->topic.name.len > 0)
        put_topic(out, "topic", &change->topic);
    put_late(out, change);
    if (change->n_security > 0)
        put_security(out, change);
    buf_put_u8(out, '}');
    return buf_err(out);
}

/* ---- reading ---- */

struct reader {
    struct str in;
    size_t at;
    struct arena *a;
    struct err_detail *why;
    enum err err;
};

static bool damage(struct reader *r, const char *what)
{
    if (r->err == ERR_OK)
        r->err = err_set(r->why, ERR_CORRUPT, "catalog change: %s at byte %zu", what, r->at);
    return false;
}

static void skip_space(struct reader *r)
{
    while (r->at < r->in.len && (r->in.ptr[r->at] == ' ' || r->in.ptr[r->at] == '\t' ||
                                 r->in.ptr[r->at] == '\r' || r->in.ptr[r->at] == '\n'))
        r->at++;
}

static bool take(struct reader *r, char c)
{
    skip_space(r);
    if (r->at == r->in.len || r->in.ptr[r->at] != c)
        return false;
    r->at++;
    return true;
}

static bool expect(struct reader *r, char c, const char *what)
{
    return take(r, c) || damage(r, what);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* \uXXXX below U+0080: the writer escapes control characters only, everything else is UTF-8. */
static bool read_unicode(struct reader *r, char *out)
{
    int value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = r->at < r->in.len ? hex_digit(r->in.ptr[r->at]) : -1;
        if (digit < 0)
            return damage(r, "a bad \\u escape");
        value = value * 16 + digit;
        r->at++;
    }
    if (value == 0 || value >= 0x80)
        return damage(r, "a \\u escape that is no ASCII character");
    *out = (char)value;
    return true;
}

static bool read_escape(struct reader *r, char *out)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (r->at == r->in.len)
        return damage(r, "an unfinished string");
    char c = r->in.ptr[r->at++];
    if (c == 'u')
        return read_unicode(r, out);
    const char *found = c != '\0' ? strchr(from, c) : NULL;
    if (found == NULL)
        return damage(r, "a bad escape");
    *out = to[found - from];
    return true;
}

static bool read_string(struct reader *r, struct str *out)
{
    if (!expect(r, '"', "a string is missing"))
        return false;
    char *text = arena_alloc(r->a, r->in.len - r->at + 1);
    size_t n = 0;
    if (text == NULL) {
        r->err = err_set(r->why, ERR_NO_MEMORY, "out of memory while reading the catalog");
        return false;
    }
    while (r->at < r->in.len && r->in.ptr[r->at] != '"') {
        char c = r->in.ptr[r->at++];
        if ((unsigned char)c < 0x20)
            return damage(r, "a control character in a string");
        if (c == '\\' && !read_escape(r, &c))
            return false;
        text[n++] = c;
    }
    text[n] = '\0';
    *out = (struct str){text, n};
    if (!expect(r, '"', "an unfinished string"))
        return false;
    return str_utf8_valid(*out) || damage(r, "a string that is no UTF-8");
}

static bool read_number(struct reader *r, int64_t min, int64_t max, int64_t *out)
{
    skip_space(r);
    size_t start = r->at;
    if (r->at < r->in.len && r->in.ptr[r->at] == '-')
        r->at++;
    while (r->at < r->in.len && r->in.ptr[r->at] >= '0' && r->in.ptr[r->at] <= '9')
        r->at++;
    struct str digits = {r->in.ptr + start, r->at - start};
    if (str_to_i64(digits, out) != ERR_OK || *out < min || *out > max)
        return damage(r, "a bad number");
    return true;
}

static bool read_u32(struct reader *r, uint32_t *out)
{
    int64_t n;
    if (!read_number(r, 0, UINT32_MAX, &n))
        return false;
    *out = (uint32_t)n;
    return true;
}

static bool read_word(struct reader *r, const char *const *words, size_t n, int *out)
{
    struct str s;
    if (!read_string(r, &s))
        return false;
    for (size_t i = 0; i < n; i++) {
        if (str_eq(s, str_of(words[i]))) {
            *out = (int)i;
            return true;
        }
    }
    return damage(r, "an unknown word");
}

static bool read_hex(struct reader *r, uint8_t *out, size_t n)
{
    struct str s;
    if (!read_string(r, &s))
        return false;
    if (s.len != 2 * n)
        return damage(r, "hexadecimal digits that are not as many as there must be");
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(s.ptr[2 * i]);
        int low = hex_digit(s.ptr[2 * i + 1]);
        if (high < 0 || low < 0)
            return damage(r, "a bad hexadecimal digit");
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

/* Reads an object; field(arg, name) reads the value and returns the bit of a known field, 0 for
 * an unknown one or on an error. Fields may not repeat. `seen` collects the bits. */
static bool read_object(struct reader *r, uint32_t (*field)(struct reader *r, void *arg,
                                                            struct str name),
                        void *arg, uint32_t *seen)
{
    *seen = 0;
    if (!expect(r, '{', "an object is missing"))
        return false;
    if (take(r, '}'))
        return true;
    do {
        struct str name;
        if (!read_string(r, &name) || !expect(r, ':', "':' is missing"))
            return false;
        uint32_t bit = field(r, arg, name);
        if (r->err != ERR_OK)
            return false;
        if (bit == 0 || (*seen & bit) != 0)
            return damage(r, "an unknown or repeated name");
        *seen |= bit;
    } while (take(r, ','));
    return expect(r, '}', "'}' is missing");
}

static uint32_t config_field(struct reader *r, void *arg, struct str name)
{
    struct topic_config *c = arg;
    struct str text;
    int64_t value;
    enum topic_config_key k = topic_config_find(name);
    if (k == TOPIC_CONFIGS || !read_string(r, &text))
        return 0;
    if (topic_config_parse(k, text, &value, NULL) != ERR_OK)
        return damage(r, "a bad setting");
    topic_config_set(c, k, value);
    return 1u << k;
}

enum { TF_NAME, TF_ID, TF_NUMBER, TF_PARTITIONS, TF_KIND, TF_PLACEMENT, TF_CONFIG, TF_GROWN_FROM,
       TF_COUNT };

/* Settings as they once were, with what stood for one that was not given in topics of tables and of
 * Kafka clients. */
static const struct {
    const char *name;
    enum topic_config_key key;
    int64_t table_default, kafka_default;
} old_settings[] = {
    {"retention_ms", TOPIC_RETENTION_MS, -1, -1},
    {"retention_bytes", TOPIC_RETENTION_BYTES, -1, -1},
    {"segment_bytes", TOPIC_SEGMENT_BYTES, 64 << 20, 256 << 20},
    {"batch_bytes_max", TOPIC_MAX_MESSAGE_BYTES, 1048588, 16 << 20},
};
enum { TF_FIXED = (1 << TF_CONFIG) - 1,
       TF_OLD_SETTINGS = ((1 << ARRAY_LEN(old_settings)) - 1) << TF_COUNT };

static uint32_t old_setting(struct reader *r, struct topic_config *c, struct str name)
{
    int64_t value;
    size_t i = 0;
    while (i < ARRAY_LEN(old_settings) && !str_eq(name, str_of(old_settings[i].name)))
        i++;
    if (i == ARRAY_LEN(old_settings))
        return 0;
    const struct topic_config_def *d = topic_config_def(old_settings[i].key);
    if (!read_number(r, d->min, d->max, &value))
        return 0;
    if (value != old_settings[i].table_default && value != old_settings[i].kafka_default)
        topic_config_set(c, old_settings[i].key, value);
    return 1u << (TF_COUNT + i);
}

/* dispatch table */
static uint32_t topic_field(struct reader *r, void *arg, struct str name)
{
    static const char *const names[TF_COUNT] = {
        "name", "id", "number", "partitions", "kind", "placement", "config", "grown_from"};
    struct topic *t = arg;
    uint32_t seen;
    int kind = 0;
    int f = 0;
    while (f < TF_COUNT && !str_eq(name, str_of(names[f])))
        f++;
    switch (f) {
    case TF_NAME: (void)read_string(r, &t->name); break;
    case TF_ID: (void)read_hex(r, t->id, sizeof t->id); break;
    case TF_NUMBER: (void)read_u32(r, &t->number); break;
    case TF_PARTITIONS: (void)read_u32(r, &t->n_partitions); break;
    case TF_KIND:
        if (read_word(r, kinds, ARRAY_LEN(kinds), &kind))
            t->kind = (enum topic_kind)kind;
        break;
    case TF_PLACEMENT: (void)read_u32(r, &t->placement); break;
    case TF_CONFIG: (void)read_object(r, config_field, &t->config, &seen); break;
    case TF_GROWN_FROM: (void)read_u32(r, &t->grown_from); break;
    default: return old_setting(r, &t->config, name);
    }
    return 1u << f;
}

static bool read_topic(struct reader *r, struct topic *t)
{
    uint32_t seen;
    if (!read_object(r, topic_field, t, &seen))
        return false;
    seen &= ~(1u << TF_GROWN_FROM); /* only of those that have grown */
    if (seen != (TF_FIXED | 1u << TF_CONFIG) && seen != (TF_FIXED | TF_OLD_SETTINGS))
        return damage(r, "a topic without all of its fields");
    return t->name.len > 0 || damage(r, "a topic without a name");
}

static bool read_late(struct reader *r, struct catalog_change *c)
{
    bool list = take(r, '[');
    struct topic *late = arena_zalloc(r->a, list ? VIEW_SOURCES_MAX : 1, sizeof(*late));
    if (late == NULL) {
        r->err = err_set(r->why, ERR_NO_MEMORY, "out of memory while reading the catalog");
        return false;
    }
    c->late = late;
    do {
        if (c->n_late == VIEW_SOURCES_MAX)
            return damage(r, "too many late tables");
        if (!read_topic(r, &late[c->n_late++]))
            return false;
    } while (list && take(r, ','));
    return !list || expect(r, ']', "']' is missing");
}

static bool read_row(struct reader *r, struct security_row *row)
{
    row->n = 0;
    if (!expect(r, '[', "a row is missing"))
        return false;
    do {
        if (row->n == SECURITY_ROW_CELLS_MAX)
            return damage(r, "a row with too many words");
        if (!read_string(r, &row->cells[row->n++]))
            return false;
    } while (take(r, ','));
    return expect(r, ']', "']' is missing");
}

/* Room for one more item, in an array that doubles; NULL with the error set. */
static struct security_item *item_room(struct reader *r, struct security_item **items, uint32_t n)
{
    if (n >= SECURITY_ITEMS_PER_CHANGE_MAX) {
        (void)damage(r, "too many rows");
        return NULL;
    }
    if ((n & (n - 1)) == 0) {
        struct security_item *more = arena_zalloc(r->a, n == 0 ? 1 : 2 * (size_t)n, sizeof *more);
        if (more == NULL) {
            r->err = err_set(r->why, ERR_NO_MEMORY, "out of memory while reading the catalog");
            return NULL;
        }
        if (n > 0)
            memcpy(more, *items, n * sizeof *more);
        *items = more;
    }
    return &(*items)[n];
}

static bool read_security(struct reader *r, struct catalog_change *c)
{
    struct security_item *items = NULL;
    if (!expect(r, '[', "a list of rows is missing"))
        return false;
    do {
        struct security_row row;
        struct security_item *item = item_room(r, &items, c->n_security);
        if (item == NULL || !read_row(r, &row))
            return false;
        r->err = security_item_read(&row, item, r->why);
        if (r->err != ERR_OK)
            return false;
        c->n_security++;
    } while (take(r, ','));
    c->security = items;
    return expect(r, ']', "']' is missing");
}

enum { CF_VERB = 1, CF_NAME = 2, CF_NUMBER = 4, CF_SQL = 8, CF_TOPIC = 16, CF_LATE = 32,
       CF_NEXT_TOPIC = 64, CF_SECURITY = 128, CF_DIALECT = 256, CF_DIGEST = 512 };

static bool read_dialect(struct reader *r, enum dialect *out)
{
    int64_t n;
    *out = DIALECT_NOW;
    return read_number(r, DIALECT_NOW_NUMBER, DIALECT_NOW_NUMBER, &n);
}

static uint32_t change_field(struct reader *r, void *arg, struct str name)
{
    struct catalog_change *c = arg;
    int verb = 0;
    if (str_eq(name, STR("verb"))) {
        if (read_word(r, verbs, ARRAY_LEN(verbs), &verb))
            c->verb = (enum catalog_verb)verb;
        return CF_VERB;
    }
    if (str_eq(name, STR("name")))
        return read_string(r, &c->name) ? CF_NAME : 0;
    if (str_eq(name, STR("number")))
        return read_u32(r, &c->number) ? CF_NUMBER : 0;
    if (str_eq(name, STR("next_topic")))
        return read_u32(r, &c->next_topic) ? CF_NEXT_TOPIC : 0;
    if (str_eq(name, STR("sql")))
        return read_string(r, &c->sql) ? CF_SQL : 0;
    if (str_eq(name, STR("dialect")))
        return read_dialect(r, &c->dialect) ? CF_DIALECT : 0;
    if (str_eq(name, STR("digest")))
        return (c->has_digest = read_hex(r, c->digest, sizeof c->digest)) ? CF_DIGEST : 0;
    if (str_eq(name, STR("topic")))
        return read_topic(r, &c->topic) ? CF_TOPIC : 0;
    if (str_eq(name, STR("late")))
        return read_late(r, c) ? CF_LATE : 0;
    if (str_eq(name, STR("security")))
        return read_security(r, c) ? CF_SECURITY : 0;
    return 0;
}

enum err catalog_change_decode(struct str json, struct arena *a, struct catalog_change *out,
                               struct err_detail *why)
{
    struct reader r = {.in = json, .a = a, .why = why};
    uint32_t seen = 0;
    *out = (struct catalog_change){.dialect = DIALECT_WIDE};
    if (!read_object(&r, change_field, out, &seen))
        return r.err;
    skip_space(&r);
    if (r.at != json.len)
        (void)damage(&r, "more bytes behind the object");
    if ((seen & (CF_VERB | CF_NAME | CF_NUMBER)) != (CF_VERB | CF_NAME | CF_NUMBER))
        (void)damage(&r, "verb, name or number is missing");
    bool needs_sql = out->verb == CHANGE_ALTER_TABLE || out->verb == CHANGE_CREATE_TABLE ||
                     out->verb == CHANGE_CREATE_VIEW || out->verb == CHANGE_CREATE_QUERY ||
                     out->verb == CHANGE_CREATE_TYPE || out->verb == CHANGE_CREATE_FUNCTION;
    bool needs_topic = out->verb == CHANGE_CREATE_TOPIC || out->verb == CHANGE_CREATE_VIEW ||
                       out->verb == CHANGE_ALTER_TOPIC;
    if (r.err == ERR_OK && ((needs_sql && (seen & CF_SQL) == 0) ||
                            (needs_topic && (seen & CF_TOPIC) == 0)))
        (void)damage(&r, "sql or topic is missing");
    if (r.err == ERR_OK && (out->verb == CHANGE_SECURITY) != (out->n_security > 0))
        (void)damage(&r, "security is missing, or there without its verb");
    return r.err;
}
