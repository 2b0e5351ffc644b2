/* WITH (...): options declared once, in tables that feed parsing, errors and documentation. */
#include "plan/plan_int.h"

enum { OPTIONS_MAX = 32 };

static const struct option table_option_list[] = {
    {"event_time", OPTION_TEXT, NULL, NULL,
     "timestamptz, timestamp or (with event_time_unit) number column that orders the table"},
    {"lateness", OPTION_INTERVAL, "0 s", NULL, "how far behind the newest event rows may come"},
    {"idle_timeout", OPTION_INTERVAL, "10 s", NULL,
     "a partition without rows for this long no longer holds the watermark back; '0' = never"},
    {"max_future", OPTION_INTERVAL, "1 day", NULL,
     "event times further than this after the record's timestamp (the clock, for rows over HTTP "
     "and SQL) are refused; '0' = any"},
    {"key", OPTION_TEXT, NULL, NULL, "column whose text is the record key and picks the partition"},
    {"partitions", OPTION_INT, "1", NULL, "partitions of the topic"},
    {"format", OPTION_WORD, "json", "json|raw|csv|regex|upsert_json|debezium_json|avro|json_lines",
     "how record values are read"},
    {"on_error", OPTION_WORD, "dead_letter", "dead_letter|ignore",
     "what happens to records that do not fit the table"},
    {"topic", OPTION_TEXT, NULL, NULL, "topic that holds the rows; default: the table's name"},
    {"retention", OPTION_INTERVAL, NULL, NULL, "age at which rows are dropped; default: never"},
    {"retention_ms", OPTION_INT, NULL, NULL, "retention in milliseconds"},
    {"retention_bytes", OPTION_BYTES, NULL, NULL, "bytes kept per partition; default: unlimited"},
    {"segment_bytes", OPTION_BYTES, NULL, NULL, "size of a segment file; default: 64MB"},
    {"delimiter", OPTION_STRING, NULL, NULL, "csv: the byte between fields; default: ','"},
    {"quote", OPTION_STRING, NULL, NULL, "csv: the byte around quoted fields; default: '\"'"},
    {"null", OPTION_STRING, NULL, NULL,
     "csv: the unquoted text that stands for NULL, default ''; regex: the text that does, none"},
    {"pattern", OPTION_STRING, NULL, NULL,
     "regex: an expression with a named group (?<column>...) for each column"},
    {"schema", OPTION_STRING, NULL, NULL, "avro: the schema that records are written by, as JSON"},
    {"framing", OPTION_WORD, NULL, "none|confluent",
     "avro: whether values begin with a zero and a schema's number of four bytes; default: none"},
    {"event_time_unit", OPTION_WORD, NULL, "s|ms|us|ns",
     "what the event time counts since 1970, when it is an integer or float column"},
    {"record_timestamp", OPTION_TEXT, NULL, NULL,
     "timestamptz column that is the record's timestamp, not part of its value"},
    {"schema_registry", OPTION_STRING, NULL, NULL,
     "avro: the URL of the registry that has the schemas of the records' numbers"},
};

static const struct option view_option_list[] = {
    {"emit", OPTION_WORD, "changes", "changes|final",
     "every change of a result, or one result per window when it is complete"},
    {"late_to", OPTION_TEXT, NULL, NULL, "table that receives rows that came too late"},
    {"partitions", OPTION_INT, NULL, NULL, "partitions of the changelog; default: the source's"},
    {"retention", OPTION_INTERVAL, NULL, NULL,
     "how long, in event time, a window that is over can be queried; default: for ever"},
};

static const struct option publication_option_list[] = {
    {"connector", OPTION_WORD, NULL, "discard", "where the rows go; discard: they are counted"},
    {"emit", OPTION_WORD, "changes", "changes|final",
     "every change of a result, or one result per window when it is complete"},
};

const struct option *publication_options(size_t *n)
{
    *n = ARRAY_LEN(publication_option_list);
    return publication_option_list;
}

const struct option *table_options(size_t *n)
{
    *n = ARRAY_LEN(table_option_list);
    return table_option_list;
}

const struct option *view_options(size_t *n)
{
    *n = ARRAY_LEN(view_option_list);
    return view_option_list;
}

bool option_text(struct binder *b, const PgQuery__DefElem *d, struct str *out)
{
    node *arg = d->arg;
    *out = STR("true");
    if (arg == NULL)
        return true;
    switch ((int)arg->node_case) {
    case PG_QUERY__NODE__NODE_STRING: *out = bind_str(b, node_string(arg)); break;
    case PG_QUERY__NODE__NODE_INTEGER:
        *out = arena_printf(b->arena, "%d", arg->integer->ival);
        break;
    case PG_QUERY__NODE__NODE_FLOAT: *out = bind_str(b, str_of(arg->float_->fval)); break;
    case PG_QUERY__NODE__NODE_BOOLEAN:
        *out = arg->boolean->boolval ? STR("true") : STR("false");
        break;
    case PG_QUERY__NODE__NODE_TYPE_NAME:
        if (arg->type_name->n_names > 0)
            *out = bind_str(b, node_string(arg->type_name->names[arg->type_name->n_names - 1]));
        break;
    default:
        bind_fail(b, d->location, ERR_INVALID_ARGUMENT, "option \"%s\" needs a simple value",
                  d->defname);
        return false;
    }
    if (out->ptr == NULL)
        bind_fail(b, -1, ERR_NO_MEMORY, "out of memory while planning the statement");
    return b->err == ERR_OK;
}

bool option_bool(struct binder *b, const PgQuery__DefElem *d, bool *out)
{
    static const char *const yes[] = {"true", "on", "yes", "1"};
    static const char *const no[] = {"false", "off", "no", "0"};
    struct str text;
    if (!option_text(b, d, &text))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (str_ieq(text, str_of(yes[i])) || str_ieq(text, str_of(no[i]))) {
            *out = str_ieq(text, str_of(yes[i]));
            return true;
        }
    }
    bind_fail(b, d->location, ERR_INVALID_ARGUMENT, "%s requires a Boolean value", d->defname);
    return false;
}

static bool parse_interval(struct str text, struct arena *a, int64_t *us)
{
    enum { DAY_SECONDS = 86400 };
    struct value v;
    int64_t days;
    if (str_eq(text, STR("0"))) {
        *us = 0;
        return true;
    }
    if (str_to_i64(text, us) == ERR_OK)
        return false; /* a bare number has no unit */
    if (value_parse(TYPE_INTERVAL, text, a, &v, NULL) != ERR_OK || v.as.iv.months != 0)
        return false;
    return !__builtin_mul_overflow((int64_t)v.as.iv.days, (int64_t)DAY_SECONDS * 1000000, &days) &&
           !__builtin_add_overflow(days, v.as.iv.us, us) && *us >= 0;
}

/* 1024, '64kB', '1 GB'. */
static bool parse_bytes(struct str text, int64_t *out)
{
    static const struct { const char *unit; int shift; } units[] = {
        {"kb", 10}, {"mb", 20}, {"gb", 30}, {"tb", 40}, {"k", 10}, {"m", 20}, {"g", 30}, {"b", 0}};
    int shift = 0;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        struct str unit = str_of(units[i].unit);
        if (text.len > unit.len &&
            str_ieq((struct str){text.ptr + text.len - unit.len, unit.len}, unit)) {
            text.len -= unit.len;
            shift = units[i].shift;
            break;
        }
    }
    while (text.len > 0 && text.ptr[text.len - 1] == ' ')
        text.len--;
    int64_t n;
    if (str_to_i64(text, &n) != ERR_OK || n < 0 || n > INT64_MAX >> shift)
        return false;
    *out = n << shift;
    return true;
}

/* The index of `text` in "a|b|c", or -1. */
static int64_t word_index(const char *words, struct str text)
{
    int64_t index = 0;
    for (const char *at = words;; index++) {
        size_t len = strcspn(at, "|");
        if (str_ieq(text, (struct str){at, len}))
            return index;
        if (at[len] == '\0')
            return -1;
        at += len + 1;
    }
}

static const char *expected(enum option_type t)
{
    switch (t) {
    case OPTION_INTERVAL: return "an interval such as '5 s'";
    case OPTION_INT: return "a whole number";
    case OPTION_BYTES: return "a size such as '64MB'";
    case OPTION_TEXT:
    case OPTION_STRING:
    case OPTION_WORD: break;
    }
    return "a name";
}

static bool parse_option(struct binder *b, const struct option *o, struct option_value *v)
{
    bool ok = true;
    switch (o->type) {
    case OPTION_TEXT: ok = v->text.len > 0; break;
    case OPTION_STRING: break;
    case OPTION_INTERVAL: ok = parse_interval(v->text, b->arena, &v->number); break;
    case OPTION_INT: ok = str_to_i64(v->text, &v->number) == ERR_OK && v->number >= 0; break;
    case OPTION_BYTES: ok = parse_bytes(v->text, &v->number); break;
    case OPTION_WORD:
        v->number = word_index(o->words, v->text);
        ok = v->number >= 0;
        break;
    }
    if (ok)
        return true;
    bind_fail(b, v->position, ERR_INVALID_ARGUMENT, "invalid value for option \"%s\": \"%.*s\"",
              o->name, STR_ARG(v->text));
    if (o->type == OPTION_WORD)
        bind_hint(b, "Use one of %s.", o->words);
    else
        bind_hint(b, "%s takes %s: %s.", o->name, expected(o->type), o->help);
    return false;
}

static bool unknown_option(struct binder *b, const PgQuery__DefElem *d,
                           const struct option *options, size_t n)
{
    struct str names[OPTIONS_MAX];
    struct buf all;
    CHECK(n <= OPTIONS_MAX);
    buf_init(&all, ERR_HINT_MAX);
    for (size_t i = 0; i < n; i++) {
        names[i] = str_of(options[i].name);
        buf_printf(&all, "%s%s", i > 0 ? ", " : "", options[i].name);
    }
    bind_fail(b, d->location, ERR_INVALID_ARGUMENT, "unrecognized option \"%s\"", d->defname);
    bind_nearest(b, str_of(d->defname), names, n);
    bind_hint(b, "Options are %.*s.", STR_ARG(buf_str(&all)));
    buf_deinit(&all);
    return false;
}

static bool read_option(struct binder *b, const PgQuery__DefElem *d, const struct option *options,
                        size_t n, struct option_value *values)
{
    for (size_t k = 0; k < n; k++) {
        if (!str_eq(str_of(d->defname), str_of(options[k].name)))
            continue;
        if (values[k].given) {
            bind_fail(b, d->location, ERR_SYNTAX, "option \"%s\" is given twice", d->defname);
            return false;
        }
        values[k].given = true;
        values[k].position = d->location;
        return option_text(b, d, &values[k].text) && parse_option(b, &options[k], &values[k]);
    }
    return unknown_option(b, d, options, n);
}

bool options_read(struct binder *b, node *const *items, size_t n_items,
                  const struct option *options, size_t n_options, struct option_value *values)
{
    memset(values, 0, n_options * sizeof *values);
    for (size_t i = 0; i < n_items; i++) {
        if ((int)items[i]->node_case != PG_QUERY__NODE__NODE_DEF_ELEM ||
            items[i]->def_elem->defnamespace[0] != '\0') {
            bind_fail(b, node_location(items[i]), ERR_SYNTAX, "options are name = value");
            return false;
        }
        if (!read_option(b, items[i]->def_elem, options, n_options, values))
            return false;
    }
    for (size_t k = 0; k < n_options; k++) {
        values[k].position = values[k].given ? values[k].position : -1;
        if (values[k].given || options[k].fallback == NULL)
            continue;
        values[k].text = str_of(options[k].fallback);
        if (!parse_option(b, &options[k], &values[k]))
            return false;
    }
    return true;
}
