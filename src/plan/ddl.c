/* CREATE TABLE, CREATE MATERIALIZED VIEW, DROP: statements to catalog changes. */
#include "plan/plan_int.h"
#include "plan/state.h"
#include "plan/window.h"

#include "wire/json_rows.h"

enum { DROPS_MAX = 1000 };

/* Places in view_options' table. */
enum { V_EMIT, V_LATE_TO, V_PARTITIONS, V_RETENTION, V_OPTIONS };

static const int64_t LATE_RETENTION_BYTES = 1 << 30; /* per partition */

/* ---- names ---- */

bool topic_name_ok(struct binder *b, struct str name, int32_t position)
{
    static const char *const reserved[] = {"sys.", "pg_catalog.", "information_schema.", "__"};
    bool ok = name.len > 0 && name.len <= NAME_BYTES_MAX && !str_eq(name, STR(".")) &&
              !str_eq(name, STR(".."));
    for (size_t i = 0; ok && i < name.len; i++) {
        char c = name.ptr[i];
        ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '.' || c == '_' || c == '-';
    }
    if (!ok) {
        bind_fail(b, position, ERR_INVALID_ARGUMENT, "\"%.*s\" cannot be the name of a topic",
                  STR_ARG(name));
        bind_hint(b, "Topic names have 1 to %d letters, digits, '.', '_' and '-'.",
                  NAME_BYTES_MAX);
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (str_starts(name, str_of(reserved[i]))) {
            bind_fail(b, position, ERR_INVALID_ARGUMENT,
                      "names that start with \"%s\" are reserved for the system", reserved[i]);
            bind_hint(b, "Choose another name; a topic that a Kafka client made may have it, with "
                         "tables over it.");
            return false;
        }
    }
    return true;
}

struct str new_relation_name(struct binder *b, const PgQuery__RangeVar *r)
{
    struct str none = {NULL, 0};
    if (r == NULL)
        return none;
    if (r->schemaname[0] != '\0' && strcmp(r->schemaname, "public") != 0) {
        bind_fail(b, r->location, ERR_UNSUPPORTED, "relations can only be created in schema "
                                                   "public, not in \"%s\"", r->schemaname);
        return none;
    }
    if (r->relpersistence[0] != '\0' && r->relpersistence[0] != 'p') {
        bind_fail(b, r->location, ERR_UNSUPPORTED,
                  "temporary and unlogged relations are not supported");
        return none;
    }
    return bind_str(b, str_of(r->relname));
}

bool relation_name_free(struct binder *b, struct str name, int32_t position)
{
    const struct relation *r = catalog_relation(b->catalog, name);
    if (r != NULL && r->kind != REL_RAW_TOPIC) {
        bind_fail(b, position, ERR_DUPLICATE_TABLE, "relation \"%.*s\" already exists",
                  STR_ARG(name));
        return false;
    }
    return true;
}

/* ---- CREATE TABLE: columns ---- */

static bool refuse_constraint(struct binder *b, const PgQuery__Constraint *c)
{
    switch ((int)c->contype) {
    case PG_QUERY__CONSTR_TYPE__CONSTR_UNIQUE:
        bind_fail(b, c->location, ERR_UNSUPPORTED, "UNIQUE is not supported");
        bind_hint(b, "PRIMARY KEY is: of each key there is one row.");
        break;
    case PG_QUERY__CONSTR_TYPE__CONSTR_DEFAULT:
        bind_fail(b, c->location, ERR_UNSUPPORTED, "DEFAULT is not supported");
        bind_hint(b, "Missing columns are NULL: use COALESCE where the table is read.");
        break;
    case PG_QUERY__CONSTR_TYPE__CONSTR_CHECK:
        bind_fail(b, c->location, ERR_UNSUPPORTED, "CHECK is not supported");
        bind_hint(b, "Filter with WHERE in a view.");
        break;
    case PG_QUERY__CONSTR_TYPE__CONSTR_FOREIGN:
        bind_fail(b, c->location, ERR_UNSUPPORTED, "foreign keys are not supported");
        break;
    default:
        bind_fail(b, c->location, ERR_UNSUPPORTED, "this constraint is not supported");
        bind_hint(b, "Columns may be NOT NULL.");
        break;
    }
    return false;
}

bool plan_column(struct binder *b, const PgQuery__ColumnDef *d, struct column_def *out,
                 const PgQuery__Constraint **primary)
{
    int32_t fields;
    out->name = bind_str(b, str_of(d->colname));
    out->type = bind_type(b, d->type_name, &out->typmod, &fields);
    if (out->type == TYPE_UNKNOWN)
        return false;
    if (fields != 0) {
        bind_fail(b, d->location, ERR_UNSUPPORTED, "interval fields are not supported here");
        return false;
    }
    if (d->coll_clause != NULL) {
        bind_fail(b, d->coll_clause->location, ERR_UNSUPPORTED, "COLLATE is not supported here");
        bind_hint(b, "Text is compared byte by byte, as collation \"C\" does.");
        return false;
    }
    for (size_t i = 0; i < d->n_constraints; i++) {
        const PgQuery__Constraint *c = d->constraints[i]->constraint;
        if ((int)c->contype == PG_QUERY__CONSTR_TYPE__CONSTR_NOTNULL)
            out->not_null = true;
        else if ((int)c->contype == PG_QUERY__CONSTR_TYPE__CONSTR_PRIMARY)
            *primary = c;
        else if ((int)c->contype != PG_QUERY__CONSTR_TYPE__CONSTR_NULL)
            return refuse_constraint(b, c);
    }
    return b->err == ERR_OK;
}

bool plan_column_is_new(struct binder *b, const struct column_def *columns, uint32_t n,
                        struct str name, int32_t position)
{
    if (str_eq(name, JSONB_NULLS_MEMBER)) {
        bind_fail(b, position, ERR_INVALID_ARGUMENT, "column name \"%.*s\" is reserved",
                  STR_ARG(name));
        bind_hint(b, "Rows as JSON list their jsonb nulls in a member of this name.");
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (str_eq(columns[i].name, name)) {
            bind_fail(b, position, ERR_DUPLICATE_COLUMN,
                      "column \"%.*s\" specified more than once", STR_ARG(name));
            return false;
        }
    }
    return true;
}

static bool is_primary_key(node *n)
{
    return (int)n->node_case == PG_QUERY__NODE__NODE_CONSTRAINT &&
           (int)n->constraint->contype == PG_QUERY__CONSTR_TYPE__CONSTR_PRIMARY;
}

static bool read_columns(struct binder *b, const PgQuery__CreateStmt *s, struct relation *r)
{
    if (s->n_table_elts > TABLE_COLUMNS_MAX) {
        bind_fail(b, -1, ERR_LIMIT, "tables can have at most %d columns", TABLE_COLUMNS_MAX);
        return false;
    }
    struct column_def *columns = bind_alloc(b, s->n_table_elts + 1, sizeof *columns);
    if (columns == NULL)
        return false;
    for (size_t i = 0; i < s->n_table_elts; i++) {
        node *n = s->table_elts[i];
        const PgQuery__Constraint *primary = NULL;
        if (is_primary_key(n))
            continue;
        if ((int)n->node_case == PG_QUERY__NODE__NODE_CONSTRAINT)
            return refuse_constraint(b, n->constraint);
        if ((int)n->node_case != PG_QUERY__NODE__NODE_COLUMN_DEF) {
            bind_fail(b, node_location(n), ERR_UNSUPPORTED, "LIKE is not supported here");
            return false;
        }
        struct column_def *c = &columns[r->n_columns];
        if (!plan_column(b, n->column_def, c, &primary) ||
            !plan_column_is_new(b, columns, r->n_columns, c->name, n->column_def->location) ||
            (primary != NULL &&
             (!primary_key_is_first(b, r, primary->location) ||
              !primary_key_add(b, r, columns, r->n_columns, primary->location))))
            return false;
        r->n_columns++;
    }
    r->columns = columns;
    for (size_t i = 0; i < s->n_table_elts; i++)
        if (is_primary_key(s->table_elts[i]) &&
            !primary_key_table(b, r, columns, s->table_elts[i]->constraint))
            return false;
    return true;
}

/* ---- CREATE TABLE: options ---- */

/* The column an option names, or -1 with the error kept. */
static int32_t option_column(struct binder *b, const struct relation *r, const char *option,
                             const struct option_value *v)
{
    struct str *names = bind_alloc(b, (size_t)r->n_columns + 1, sizeof *names);
    for (uint32_t i = 0; names != NULL && i < r->n_columns; i++) {
        if (str_eq(r->columns[i].name, v->text))
            return (int32_t)i;
        names[i] = r->columns[i].name;
    }
    bind_fail(b, v->position, ERR_UNDEFINED_COLUMN,
              "column \"%.*s\" named in option \"%s\" does not exist", STR_ARG(v->text), option);
    if (names != NULL)
        bind_nearest(b, v->text, names, r->n_columns);
    return -1;
}

/* Times are times, or numbers with a unit. */
static bool event_time_type(struct binder *b, struct relation *r, const struct option_value *v)
{
    const struct column_def *c = &r->columns[r->event_time];
    const struct option_value *unit = &v[T_EVENT_TIME_UNIT];
    bool time = c->type == TYPE_TIMESTAMPTZ || c->type == TYPE_TIMESTAMP;
    if (unit->given)
        r->event_time_unit = (enum time_unit)(TIME_UNIT_S + unit->number);
    if (time && unit->given) {
        bind_fail(b, unit->position, ERR_INVALID_ARGUMENT,
                  "event_time_unit is for numbers, and \"%.*s\" is of type %s", STR_ARG(c->name),
                  type_name(c->type));
    } else if (!time && !epoch_time_type(c->type)) {
        bind_fail(b, v[T_EVENT_TIME].position, ERR_TYPE_MISMATCH,
                  "event_time column \"%.*s\" is of type %s, not timestamptz or timestamp",
                  STR_ARG(c->name), type_name(c->type));
        bind_hint(b, "Numbers since 1970 may be integer, bigint or double precision.");
    } else if (!time && !unit->given) {
        bind_fail(b, v[T_EVENT_TIME].position, ERR_TYPE_MISMATCH,
                  "event_time column \"%.*s\" is a number: its unit is not known",
                  STR_ARG(c->name));
        bind_hint(b, "Say what it counts since 1970: WITH (event_time_unit = 'ms'), or s, us, ns.");
    }
    return b->err == ERR_OK;
}

/* A column that is the record's timestamp: for windows over when records arrived. */
static bool record_timestamp_option(struct binder *b, struct relation *r,
                                    const struct option_value *v)
{
    const struct option_value *o = &v[T_RECORD_TIMESTAMP];
    if (!o->given)
        return true;
    int32_t c = option_column(b, r, "record_timestamp", o);
    if (c < 0)
        return false;
    if (r->columns[c].type != TYPE_TIMESTAMPTZ || c == r->key || r->n_primary_key > 0 ||
        (r->format != FORMAT_JSON && r->format != FORMAT_JSON_LINES)) {
        bind_fail(b, o->position, ERR_UNSUPPORTED,
                  "record_timestamp needs a timestamptz column, other than the key, of a table in "
                  "format json without a PRIMARY KEY");
        bind_hint(b, "Topics without a schema have the column \"timestamp\".");
        return false;
    }
    r->record_timestamp = (uint32_t)c + 1;
    if (r->topic == NULL) /* of a topic that is made: when records came, not what they say */
        topic_config_set(&b->plan->change.topic.config, TOPIC_TIMESTAMP_TYPE,
                         TIMESTAMP_LOG_APPEND);
    return true;
}

static bool event_time_options(struct binder *b, struct relation *r, const struct option_value *v)
{
    r->event_time = r->format == FORMAT_RAW ? RAW_TIMESTAMP : -1;
    if (v[T_EVENT_TIME].given) {
        r->event_time = option_column(b, r, "event_time", &v[T_EVENT_TIME]);
        if (r->event_time < 0)
            return false;
        if (!event_time_type(b, r, v))
            return false;
    }
    static const int needs[] = {T_LATENESS, T_IDLE_TIMEOUT, T_MAX_FUTURE, T_EVENT_TIME_UNIT};
    for (size_t i = 0; i < ARRAY_LEN(needs); i++) {
        if (r->event_time < 0 && v[needs[i]].given) {
            bind_fail(b, v[needs[i]].position, ERR_INVALID_ARGUMENT,
                      "this option needs event_time");
            bind_hint(b, "Name a timestamptz column: WITH (event_time = 'ts', ...).");
            return false;
        }
    }
    r->lateness_us = v[T_LATENESS].number;
    r->idle_timeout_us = v[T_IDLE_TIMEOUT].number;
    r->future_us_max = v[T_MAX_FUTURE].number;
    return true;
}

static bool partitions_ok(struct binder *b, const struct option_value *v)
{
    if (v->number >= 1 && v->number <= PARTITIONS_MAX)
        return true;
    bind_fail(b, v->position, ERR_INVALID_ARGUMENT, "partitions must be between 1 and %d",
              PARTITIONS_MAX);
    return false;
}

struct topic topic_defaults(enum topic_kind kind, struct str name, uint32_t n_partitions)
{
    return (struct topic){.name = name, .n_partitions = n_partitions, .kind = kind};
}

static bool retention_options(struct binder *b, struct topic *t, const struct option_value *v)
{
    enum { SEGMENT_BYTES_MIN = 1 << 20, SEGMENT_BYTES_MAX = 1 << 30 };
    if (v[T_RETENTION].given && v[T_RETENTION_MS].given) {
        bind_fail(b, v[T_RETENTION_MS].position, ERR_INVALID_ARGUMENT,
                  "retention and retention_ms mean the same: give one of them");
        return false;
    }
    if (v[T_RETENTION].given)
        topic_config_set(&t->config, TOPIC_RETENTION_MS, v[T_RETENTION].number / 1000);
    if (v[T_RETENTION_MS].given)
        topic_config_set(&t->config, TOPIC_RETENTION_MS, v[T_RETENTION_MS].number);
    if (v[T_RETENTION_BYTES].given)
        topic_config_set(&t->config, TOPIC_RETENTION_BYTES, v[T_RETENTION_BYTES].number);
    if (!v[T_SEGMENT_BYTES].given)
        return true;
    int64_t segment_bytes = v[T_SEGMENT_BYTES].number;
    topic_config_set(&t->config, TOPIC_SEGMENT_BYTES, segment_bytes);
    if (segment_bytes < SEGMENT_BYTES_MIN || segment_bytes > SEGMENT_BYTES_MAX) {
        bind_fail(b, v[T_SEGMENT_BYTES].position, ERR_INVALID_ARGUMENT,
                  "segment_bytes must be between 1MB and 1GB");
        return false;
    }
    return true;
}

/* Only topics that anybody may write to can have a schema; the others have one already. */
static bool topic_open(struct binder *b, const struct topic *t, int32_t at)
{
    static const char *const what[] = {
        [TOPIC_CHANGELOG] = "holds the changes of a materialized view",
        [TOPIC_LATE] = "receives the late rows of a materialized view",
        [TOPIC_DEAD_LETTERS] = "is written by the system",
        [TOPIC_INTERNAL] = "is internal to the system",
    };
    if (t->kind == TOPIC_USER)
        return true;
    bind_fail(b, at, ERR_WRONG_OBJECT_TYPE, "topic \"%.*s\" %s", STR_ARG(t->name),
              what[t->kind]);
    if (t->kind == TOPIC_INTERNAL)
        bind_hint(b, "sys.tables lists what can be read.");
    else
        bind_hint(b, "It has columns already: SELECT * FROM %s%.*s%s.",
                  t->kind == TOPIC_DEAD_LETTERS ? "" : "\"", STR_ARG(t->name),
                  t->kind == TOPIC_DEAD_LETTERS ? "" : "\"");
    return false;
}

/* The settings of an existing topic stay: none may be asked for, but the partitions that it has. */
static bool settings_stay(struct binder *b, const struct topic *t, const struct option_value *v)
{
    static const int fixed[] = {T_RETENTION, T_RETENTION_MS, T_RETENTION_BYTES, T_SEGMENT_BYTES};
    if (v[T_PARTITIONS].given && v[T_PARTITIONS].number != (int64_t)t->n_partitions &&
        !b->accepted) {
        bind_fail(b, v[T_PARTITIONS].position, ERR_INVALID_ARGUMENT,
                  "topic \"%.*s\" exists already, with %u partition%s, not %lld", STR_ARG(t->name),
                  t->n_partitions, t->n_partitions == 1 ? "" : "s",
                  (long long)v[T_PARTITIONS].number);
        bind_hint(b, "Leave the option out: a table has the partitions of its topic.");
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        if (!v[fixed[i]].given)
            continue;
        bind_fail(b, v[fixed[i]].position, ERR_INVALID_ARGUMENT,
                  "topic \"%.*s\" exists already: its settings stay", STR_ARG(t->name));
        bind_hint(b, "Leave the option out; Kafka clients change a topic's settings.");
        return false;
    }
    return true;
}

/* An existing topic is taken as it is, whatever its name; else the change carries a new one. */
static bool table_topic(struct binder *b, struct relation *r, const struct option_value *v)
{
    struct str name = v[T_TOPIC].given ? v[T_TOPIC].text : r->name;
    int32_t at = v[T_TOPIC].position;
    const struct topic *t = catalog_topic(b->catalog, name);
    const struct relation *taken = t == NULL ? catalog_relation(b->catalog, name) : NULL;
    if (taken != NULL && !str_eq(name, r->name)) {
        bind_fail(b, at, ERR_DUPLICATE_TABLE, "\"%.*s\" is the name of a %s, which has no topic",
                  STR_ARG(name), relation_noun(taken));
        bind_hint(b, "Choose another name for the topic.");
        return false;
    }
    if ((t == NULL && !topic_name_ok(b, name, at)) || !partitions_ok(b, &v[T_PARTITIONS]))
        return false;
    if (t == NULL) {
        b->plan->change.topic =
            topic_defaults(TOPIC_USER, name, (uint32_t)v[T_PARTITIONS].number);
        /* Not of envelopes: a truncation has no key. */
        if (r->n_primary_key > 0 && r->format == FORMAT_JSON)
            topic_config_set(&b->plan->change.topic.config, TOPIC_CLEANUP_POLICY, CLEANUP_COMPACT);
        return retention_options(b, &b->plan->change.topic, v);
    }
    r->topic = t;
    return topic_open(b, t, at) && settings_stay(b, t, v);
}

/* What goes with a PRIMARY KEY, and what only with one. */
static bool key_options_ok(struct binder *b, const struct relation *r, const struct option_value *v,
                           bool needs_key)
{
    static const char no_age[] = "A row is there until it is changed or deleted, whatever its age.";
    static const struct {
        int option;
        const char *name, *hint;
    } refused[] = {
        {T_EVENT_TIME, "event_time",
         "Windows are over events: make a table without a PRIMARY KEY for those."},
        {T_KEY, "key", "The PRIMARY KEY is the record's key."},
        {T_RETENTION, "retention", no_age},
        {T_RETENTION_MS, "retention_ms", no_age},
        {T_RETENTION_BYTES, "retention_bytes", no_age},
    };
    if (needs_key && r->n_primary_key == 0) {
        bind_fail(b, v[T_FORMAT].position, ERR_INVALID_ARGUMENT,
                  "format \"%.*s\" needs a PRIMARY KEY", STR_ARG(v[T_FORMAT].text));
        bind_hint(b, "CREATE TABLE name (id int8 PRIMARY KEY, ...) says which row a change is of.");
        return false;
    }
    if (r->n_primary_key > 0 && r->format != FORMAT_JSON && r->format != FORMAT_DEBEZIUM_JSON) {
        bind_fail(b, v[T_FORMAT].position, ERR_UNSUPPORTED,
                  "a table with a PRIMARY KEY cannot be of format \"%.*s\"",
                  STR_ARG(v[T_FORMAT].text));
        bind_hint(b, "Use json, upsert_json or debezium_json.");
        return false;
    }
    for (size_t i = 0; r->n_primary_key > 0 && i < ARRAY_LEN(refused); i++) {
        if (!v[refused[i].option].given)
            continue;
        bind_fail(b, v[refused[i].option].position, ERR_INVALID_ARGUMENT,
                  "option \"%s\" does not go with a PRIMARY KEY", refused[i].name);
        bind_hint(b, "%s", refused[i].hint);
        return false;
    }
    return true;
}

static bool table_options_apply(struct binder *b, struct relation *r, const struct option_value *v)
{
    static const struct {
        enum table_format format;
        bool needs_key;
    } formats[] = {{FORMAT_JSON, false},
                   {FORMAT_RAW, false},
                   {FORMAT_CSV, false},
                   {FORMAT_REGEX, false},
                   {FORMAT_JSON, true},
                   {FORMAT_DEBEZIUM_JSON, true},
                   {FORMAT_AVRO, false},
                   {FORMAT_JSON_LINES, false}};
    CHECK(v[T_FORMAT].number >= 0 && (size_t)v[T_FORMAT].number < ARRAY_LEN(formats));
    r->format = formats[v[T_FORMAT].number].format;
    if (!key_options_ok(b, r, v, formats[v[T_FORMAT].number].needs_key))
        return false;
    r->on_error = v[T_ON_ERROR].number == 1 ? ON_ERROR_IGNORE : ON_ERROR_DEAD_LETTER;
    if (r->format == FORMAT_RAW && r->n_columns > 0) {
        bind_fail(b, v[T_FORMAT].position, ERR_INVALID_ARGUMENT,
                  "a raw table has fixed columns");
        bind_hint(b, "Write CREATE TABLE name () WITH (format = 'raw'): it has partition, "
                     "\"offset\", timestamp, key, value and headers.");
        return false;
    }
    if (r->format == FORMAT_RAW) {
        r->columns = catalog_raw_columns;
        r->n_columns = RAW_COLUMNS;
    }
    if (r->n_columns == 0) {
        bind_fail(b, -1, ERR_INVALID_ARGUMENT, "a table needs at least one column");
        return false;
    }
    r->key = v[T_KEY].given ? option_column(b, r, "key", &v[T_KEY]) : -1;
    return b->err == ERR_OK && table_format_options(b, r, v) && event_time_options(b, r, v) &&
           table_topic(b, r, v) && record_timestamp_option(b, r, v);
}

static bool create_supported(struct binder *b, const PgQuery__CreateStmt *s)
{
    const char *what = s->n_inh_relations > 0 ? "INHERITS"
                       : s->partspec != NULL || s->partbound != NULL ? "PARTITION BY"
                       : s->of_typename != NULL ? "OF type"
                       : s->tablespacename[0] != '\0' ? "TABLESPACE"
                       : s->access_method[0] != '\0' ? "USING"
                                                     : NULL;
    if (what == NULL)
        return true;
    bind_fail(b, -1, ERR_UNSUPPORTED, "CREATE TABLE ... %s is not supported", what);
    if (s->partspec != NULL)
        bind_hint(b, "Use WITH (partitions = 4, key = 'column').");
    return false;
}

bool plan_create_table(struct binder *b, const PgQuery__CreateStmt *s)
{
    struct plan *p = b->plan;
    struct relation *r = bind_alloc(b, 1, sizeof *r);
    struct option_value values[T_OPTIONS];
    size_t n_options;
    const struct option *options = table_options(&n_options);
    CHECK(n_options == T_OPTIONS);
    if (r == NULL || !create_supported(b, s))
        return false;
    r->name = new_relation_name(b, s->relation);
    if (b->err != ERR_OK)
        return false;
    p->kind = STMT_CREATE_TABLE;
    p->tag = "CREATE TABLE";
    p->if_not_exists = s->if_not_exists;
    if (!s->if_not_exists && !relation_name_free(b, r->name, s->relation->location))
        return false;
    r->kind = REL_TABLE;
    if (!read_columns(b, s, r) ||
        !options_read(b, (node *const *)s->options, s->n_options, options, n_options, values) ||
        !table_options_apply(b, r, values))
        return false;
    p->relation = r;
    p->name = r->name;
    p->change.verb = CHANGE_CREATE_TABLE;
    p->change.name = r->name;
    p->change.sql = b->sql;
    p->change.dialect = b->dialect;
    return true;
}

/* ---- CREATE MATERIALIZED VIEW ---- */

static bool view_statement_ok(struct binder *b, const PgQuery__CreateTableAsStmt *s)
{
    if ((int)s->objtype != PG_QUERY__OBJECT_TYPE__OBJECT_MATVIEW) {
        bind_fail(b, 0, ERR_UNSUPPORTED, "CREATE TABLE AS is not supported");
        bind_hint(b, "Use CREATE MATERIALIZED VIEW ... AS SELECT: it is kept up to date.");
    } else if (s->into == NULL || s->query == NULL ||
               (int)s->query->node_case != PG_QUERY__NODE__NODE_SELECT_STMT) {
        bind_fail(b, 0, ERR_UNSUPPORTED, "a materialized view is defined by a SELECT");
    } else if (s->into->skip_data) {
        bind_fail(b, -1, ERR_UNSUPPORTED, "WITH NO DATA is not supported");
        bind_hint(b, "A view always starts from the beginning of its source.");
    } else if (s->into->table_space_name[0] != '\0' || s->into->access_method[0] != '\0') {
        bind_fail(b, -1, ERR_UNSUPPORTED, "TABLESPACE and USING are not supported");
    }
    return b->err == ERR_OK;
}

struct plan_node *view_names(struct binder *b, const struct plan_node *root, node *const *names,
                             size_t n_names)
{
    struct plan_node *copy = bind_alloc(b, 1, sizeof *copy);
    struct column_def *columns = bind_alloc(b, (size_t)root->n_columns + 1, sizeof *columns);
    if (copy == NULL || columns == NULL)
        return NULL;
    if (n_names > root->n_columns)
        return bind_fail(b, -1, ERR_SYNTAX, "too many column names were specified");
    memcpy(columns, root->columns, root->n_columns * sizeof *columns);
    for (size_t i = 0; i < n_names; i++)
        columns[i].name = bind_str(b, node_string(names[i]));
    for (uint32_t i = 0; i < root->n_columns; i++) {
        if (!plan_column_is_new(b, columns, i, columns[i].name, -1))
            return bind_hint(b, "Give the columns different names: expression AS name.");
    }
    *copy = *root;
    copy->columns = columns;
    return copy;
}

/* A late table is a topic with its source's columns, partitions and placement. */
static bool late_table(struct binder *b, struct topic *list, struct str view, struct str name,
                       const struct relation *source, int32_t position)
{
    struct catalog_change *change = &b->plan->change;
    if (!topic_name_ok(b, name, position))
        return false;
    if (str_eq(name, view) || catalog_relation(b->catalog, name) != NULL ||
        catalog_topic(b->catalog, name) != NULL) {
        bind_fail(b, position, ERR_DUPLICATE_TABLE, "relation \"%.*s\" already exists",
                  STR_ARG(name));
        return false;
    }
    struct topic *late = &list[change->n_late++];
    *late = topic_defaults(TOPIC_LATE, name, source->topic->n_partitions);
    late->placement = source->topic->placement;
    topic_config_set(&late->config, TOPIC_RETENTION_BYTES, LATE_RETENTION_BYTES);
    return true;
}

/* One for each source whose rows can be late; when there are several, of the source's name, too. */
static bool view_late(struct binder *b, struct str view_name, const struct option_value *v)
{
    const struct view *view = &b->plan->view;
    if (!v->given)
        return true;
    if (view->windowed == 0) {
        bind_fail(b, v->position, ERR_INVALID_ARGUMENT, "late_to needs a window");
        bind_hint(b, "Rows are late for windows only: FROM tumble(table, time, INTERVAL '10 s').");
        return false;
    }
    struct topic *list = bind_alloc(b, view->n_sources, sizeof *list);
    b->plan->change.late = list;
    bool several = (view->windowed & (view->windowed - 1)) != 0;
    for (uint32_t i = 0, k; (k = view_late_source(view, i)) != UINT32_MAX; i++) {
        struct str name = v->text;
        if (several)
            name = arena_printf(b->arena, "%.*s_%.*s", STR_ARG(v->text),
                                STR_ARG(view->sources[k]->name));
        if (name.ptr == NULL)
            bind_fail(b, -1, ERR_NO_MEMORY, "out of memory while planning the statement");
        if (b->err != ERR_OK ||
            !late_table(b, list, view_name, name, view->sources[k], v->position))
            return false;
    }
    return true;
}

static bool view_changelog(struct binder *b, struct str name, const struct relation *source,
                           const struct option_value *v)
{
    uint32_t n = source->topic->n_partitions;
    if (!b->plan->view.append_only && b->plan->view.n_key_columns == 0)
        n = 1; /* one row */
    if (v->given) {
        if (!partitions_ok(b, v))
            return false;
        n = (uint32_t)v->number;
    }
    /* All of its operators are in one place. */
    if (!plan_is_view_chain(b->plan->root)) {
        if (v->given && n != 1) {
            bind_fail(b, v->position, ERR_UNSUPPORTED,
                      "a view with joins, set operations, subqueries, LIMIT, DISTINCT ON or "
                      "aggregates that keep values, or over a table with a PRIMARY KEY, has one "
                      "partition");
            return false;
        }
        n = 1;
    }
    b->plan->change.topic = topic_defaults(TOPIC_CHANGELOG, name, n);
    b->plan->change.topic.placement = source->topic->placement;
    return true;
}

static bool view_topics(struct binder *b, struct str name, int32_t at,
                        const struct option_value *values)
{
    const struct relation *source = b->plan->view.sources[0];
    if (!topic_name_ok(b, name, at))
        return false;
    if (!b->plan->if_not_exists && catalog_topic(b->catalog, name) != NULL) {
        bind_fail(b, at, ERR_DUPLICATE_TABLE, "topic \"%.*s\" already exists", STR_ARG(name));
        bind_hint(b, "A view's changes go to a topic of its name: choose another name.");
        return false;
    }
    return view_changelog(b, name, source, &values[V_PARTITIONS]) &&
           (b->plan->if_not_exists && catalog_relation(b->catalog, name) != NULL
                ? true : view_late(b, name, &values[V_LATE_TO]));
}

/* What has no bound is said when the view is made. */
static bool view_notice(struct binder *b)
{
    struct plan *p = b->plan;
    struct buf text;
    buf_init(&text, EXPLAIN_BYTES_MAX);
    kept_print_endless(p->root, p->view.retention_us, &text);
    if (text.failed)
        bind_fail(b, -1, ERR_NO_MEMORY, "out of memory while planning the statement");
    p->notice = bind_str(b, buf_str(&text));
    buf_deinit(&text);
    return b->err == ERR_OK;
}

/* Whether rows of the view that is being made are over with a window. */
static bool view_closes(const struct plan_node *root)
{
    uint32_t key;
    const struct plan_node *agg = NULL, *window = NULL;
    if (!plan_is_view_chain(root))
        return window_of_view(root, &key).is;
    for (const struct plan_node *n = root; n != NULL; n = n->input) {
        agg = n->kind == PLAN_AGGREGATE ? n : agg;
        window = n->kind == PLAN_WINDOW ? n : window;
    }
    return agg != NULL && window != NULL && plan_groups_by_window(agg, window);
}

/* How long closed windows stay. Without windows among the keys nothing is ever over. */
static bool view_retention(struct binder *b, const struct option_value *v)
{
    int64_t *us = &b->plan->view.retention_us;
    *us = INT64_MAX;
    if (!view_closes(b->plan->root)) {
        if (!v->given)
            return true;
        bind_fail(b, v->position, ERR_INVALID_ARGUMENT,
                  "retention needs window_start or window_end among the GROUP BY keys");
        bind_hint(b, "Only results of windows are over at some time; others are kept.");
        return false;
    }
    if (v->given && v->number > 0)
        *us = v->number;
    return true;
}

bool plan_create_view(struct binder *b, const PgQuery__CreateTableAsStmt *s)
{
    struct plan *p = b->plan;
    struct option_value values[V_OPTIONS];
    size_t n_options;
    const struct option *options = view_options(&n_options);
    CHECK(n_options == V_OPTIONS);
    struct relation *r = bind_alloc(b, 1, sizeof *r);
    if (r == NULL || !view_statement_ok(b, s))
        return false;
    r->name = new_relation_name(b, s->into->rel);
    p->kind = STMT_CREATE_VIEW;
    p->tag = "CREATE MATERIALIZED VIEW";
    p->if_not_exists = s->if_not_exists;
    if (b->err != ERR_OK ||
        (!s->if_not_exists && !relation_name_free(b, r->name, s->into->rel->location)) ||
        !options_read(b, (node *const *)s->into->options, s->into->n_options, options, n_options,
                      values))
        return false;
    b->continuous = true;
    p->view.emit_final = values[V_EMIT].number == 1;
    p->view.sql = b->sql;
    const PgQuery__SelectStmt *select = s->query->select_stmt;
    b->from_position = node_location(select->n_values_lists > 0   ? select->values_lists[0]
                                     : select->n_target_list > 0 ? select->target_list[0]
                                                                 : NULL);
    struct plan_node *root = plan_select(b, select, NULL);
    const struct plan_node *pruned = plan_finish(b, root);
    p->root = pruned == NULL ? NULL
                             : view_names(b, pruned, (node *const *)s->into->col_names,
                                          s->into->n_col_names);
    if (b->n_params > 0)
        bind_fail(b, -1, ERR_UNSUPPORTED, "a materialized view cannot have parameters");
    if (b->err != ERR_OK || !view_check_plan(b, p->root) ||
        !view_retention(b, &values[V_RETENTION]) ||
        !view_topics(b, r->name, s->into->rel->location, values) || !view_notice(b))
        return false;
    *r = (struct relation){.name = r->name, .kind = REL_VIEW, .n_columns = p->root->n_columns,
                           .columns = p->root->columns, .event_time = -1, .key = -1};
    p->relation = r;
    p->name = r->name;
    p->change.verb = CHANGE_CREATE_VIEW;
    p->change.name = r->name;
    p->change.sql = b->sql;
    p->change.dialect = b->dialect;
    return true;
}

/* ---- DROP ---- */

struct drop_list {
    struct str names[DROPS_MAX];
    uint32_t n;
};

static bool listed(const struct drop_list *l, struct str name)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (str_eq(l->names[i], name))
            return true;
    return false;
}

static bool list_add_name(struct binder *b, struct drop_list *l, struct str name)
{
    if (listed(l, name))
        return true;
    if (l->n == DROPS_MAX) {
        bind_fail(b, -1, ERR_LIMIT, "more than %d relations in one DROP", DROPS_MAX);
        return false;
    }
    l->names[l->n++] = bind_str(b, name);
    return b->err == ERR_OK;
}

/* What DROP is to remove. */
struct drop_kind {
    int object;
    const char *word, *noun, *tag;
};
static const struct drop_kind drop_kinds[] = {
    {PG_QUERY__OBJECT_TYPE__OBJECT_TABLE, "TABLE", "table", "DROP TABLE"},
    {PG_QUERY__OBJECT_TYPE__OBJECT_MATVIEW, "MATERIALIZED VIEW", "materialized view",
     "DROP MATERIALIZED VIEW"},
    {PG_QUERY__OBJECT_TYPE__OBJECT_VIEW, "VIEW", "view", "DROP VIEW"},
    {PG_QUERY__OBJECT_TYPE__OBJECT_PUBLICATION, "PUBLICATION", "publication", "DROP PUBLICATION"},
};

static bool drop_kind_ok(struct binder *b, const struct relation *r, const struct drop_kind *kind)
{
    const struct topic *t = r->topic;
    if (r->view != NULL && strcmp(relation_drop_word(r), kind->word) != 0) {
        bind_fail(b, -1, ERR_WRONG_OBJECT_TYPE, "\"%.*s\" is not a %s", STR_ARG(r->name),
                  kind->noun);
        bind_hint(b, "Use DROP %s to remove a %s.", relation_drop_word(r), relation_noun(r));
    } else if (r->kind == REL_SYSTEM || (t != NULL && t->kind == TOPIC_DEAD_LETTERS)) {
        bind_fail(b, -1, ERR_FORBIDDEN, "\"%.*s\" belongs to the system", STR_ARG(r->name));
    } else if (r->kind == REL_RAW_TOPIC) {
        bind_fail(b, -1, ERR_WRONG_OBJECT_TYPE, "\"%.*s\" is a topic, not a table",
                  STR_ARG(r->name));
        bind_hint(b, "Delete it with a Kafka client's DeleteTopics.");
    } else if (t != NULL && t->kind == TOPIC_LATE) {
        bind_fail(b, -1, ERR_DEPENDENT_OBJECTS, "\"%.*s\" receives the late rows of a view",
                  STR_ARG(r->name));
        bind_hint(b, "It goes when the view is dropped.");
    } else if (strcmp(relation_drop_word(r), kind->word) != 0) {
        bind_fail(b, -1, ERR_WRONG_OBJECT_TYPE, "\"%.*s\" is not a %s", STR_ARG(r->name),
                  kind->noun);
        bind_hint(b, "Use DROP TABLE to remove a table.");
    }
    return b->err == ERR_OK;
}

/* The name that DROP gives an object; publications have no schema. */
static struct str drop_name(struct binder *b, node *object)
{
    struct str none = {NULL, 0};
    if ((int)object->node_case == PG_QUERY__NODE__NODE_STRING)
        return node_string(object);
    if ((int)object->node_case != PG_QUERY__NODE__NODE_LIST || object->list->n_items == 0) {
        bind_fail(b, -1, ERR_SYNTAX, "a name is expected");
        return none;
    }
    const PgQuery__List *l = object->list;
    struct str name = node_string(l->items[l->n_items - 1]);
    struct str schema = l->n_items > 1 ? node_string(l->items[l->n_items - 2]) : STR("public");
    if (str_eq(schema, STR("public")))
        return name;
    name = arena_printf(b->arena, "%.*s.%.*s", STR_ARG(schema), STR_ARG(name));
    if (name.ptr == NULL)
        bind_fail(b, -1, ERR_NO_MEMORY, "out of memory while planning the statement");
    return name;
}

/* The relation an object names; NULL without an error when it is missing and may be. */
static const struct relation *drop_relation(struct binder *b, node *object,
                                            const struct drop_kind *kind, bool missing_ok)
{
    struct str name = drop_name(b, object);
    if (b->err != ERR_OK)
        return NULL;
    const struct relation *r = catalog_relation(b->catalog, name);
    if (r == NULL && missing_ok)
        return NULL;
    if (r == NULL) {
        struct err_detail near = {0};
        bind_fail(b, -1, ERR_UNDEFINED_TABLE, "%s \"%.*s\" does not exist", kind->noun,
                  STR_ARG(name));
        (void)catalog_no_relation(b->catalog, name, &near);
        return near.hint[0] != '\0' ? bind_hint(b, "%s", near.hint) : NULL;
    }
    return drop_kind_ok(b, r, kind) ? r : NULL;
}

/* What was made over the relation, and over that, goes first (CASCADE), or forbids it. Views read
 * ones that are older: no walk is longer than the levels of views. */
static bool drop_dependents(struct binder *b, struct drop_list *out, const struct drop_list *asked,
                            const struct relation *r, bool cascade)
{
    for (uint32_t i = 0; i < b->catalog->n_relations; i++) {
        const struct relation *v = b->catalog->relations[i];
        if (!relation_depends(v, r) || listed(out, v->name))
            continue;
        if (!cascade && !listed(asked, v->name)) {
            bind_fail(b, -1, ERR_DEPENDENT_OBJECTS,
                      "cannot drop %s %.*s because %s %.*s depends on it", relation_noun(r),
                      STR_ARG(r->name), relation_noun(v), STR_ARG(v->name));
            bind_hint(b, "Use DROP ... CASCADE to drop the dependent objects too.");
            return false;
        }
        if (!drop_dependents(b, out, asked, v, cascade) || !list_add_name(b, out, v->name))
            return false;
    }
    return true;
}

/* ---- DROP FUNCTION ---- */

static bool drop_arguments(struct binder *b, const PgQuery__ObjectWithArgs *o, enum type *types)
{
    int32_t typmod, fields;
    for (size_t i = 0; i < o->n_objargs; i++) {
        node *n = o->objargs[i];
        if (n == NULL || (int)n->node_case != PG_QUERY__NODE__NODE_TYPE_NAME)
            bind_fail(b, -1, ERR_SYNTAX, "a type is expected");
        else
            types[i] = bind_type(b, n->type_name, &typmod, &fields);
    }
    return b->err == ERR_OK;
}

/* The only current function of the name; NULL with the error kept when there are several. */
static const struct user_function *only_function(struct binder *b, struct str name)
{
    const struct user_function *found = NULL;
    for (uint32_t i = 0; i < b->catalog->n_functions; i++) {
        const struct user_function *f = b->catalog->functions[i];
        if (f->until != UINT32_MAX || !str_eq(f->name, name))
            continue;
        if (found != NULL) {
            bind_fail(b, -1, ERR_AMBIGUOUS_FUNCTION, "function name \"%.*s\" is not unique",
                      STR_ARG(name));
            return bind_hint(b, "Specify the argument list to select the function unambiguously.");
        }
        found = f;
    }
    return found;
}

/* NULL without an error when it is missing and may be. */
static const struct user_function *drop_function(struct binder *b, node *n, bool missing_ok)
{
    enum type types[FUNCTION_ARGS_MAX];
    if ((int)n->node_case != PG_QUERY__NODE__NODE_OBJECT_WITH_ARGS ||
        n->object_with_args->n_objname == 0)
        return bind_fail(b, -1, ERR_SYNTAX, "a function is expected");
    const PgQuery__ObjectWithArgs *o = n->object_with_args;
    struct str name = node_string(o->objname[o->n_objname - 1]);
    if (o->n_objargs > FUNCTION_ARGS_MAX)
        return bind_fail(b, -1, ERR_LIMIT, "functions cannot have more than %d arguments",
                         FUNCTION_ARGS_MAX);
    const struct user_function *f = NULL;
    struct str signature = name;
    if (o->args_unspecified) {
        f = only_function(b, name);
    } else if (drop_arguments(b, o, types)) {
        signature = function_signature(b, name, types, (uint32_t)o->n_objargs);
        f = catalog_function(b->catalog, signature);
    }
    if (f == NULL && !missing_ok)
        bind_fail(b, -1, ERR_UNDEFINED_FUNCTION, "function %.*s does not exist",
                  STR_ARG(signature));
    return b->err == ERR_OK ? f : NULL;
}

/* Views that are bound with one of its definitions go first (CASCADE), or forbid it. */
static bool drop_function_views(struct binder *b, struct drop_list *out,
                                const struct user_function *f, bool cascade)
{
    static const struct drop_list none;
    for (uint32_t i = 0; i < b->catalog->n_relations; i++) {
        const struct relation *v = b->catalog->relations[i];
        if (listed(out, v->name) || !catalog_function_used(b->catalog, v, f->signature))
            continue;
        if (!cascade) {
            bind_fail(b, -1, ERR_DEPENDENT_OBJECTS,
                      "cannot drop function %.*s because view %.*s depends on it",
                      STR_ARG(f->signature), STR_ARG(v->name));
            bind_hint(b, "Use DROP ... CASCADE to drop the dependent objects too.");
            return false;
        }
        if (!drop_dependents(b, out, &none, v, true) || !list_add_name(b, out, v->name))
            return false;
    }
    return true;
}

bool plan_drop_function(struct binder *b, const PgQuery__DropStmt *s)
{
    struct plan *p = b->plan;
    bool cascade = (int)s->behavior == PG_QUERY__DROP_BEHAVIOR__DROP_CASCADE;
    struct drop_list *asked = bind_alloc(b, 1, sizeof *asked);
    struct drop_list *out = bind_alloc(b, 1, sizeof *out);
    if (asked == NULL || out == NULL)
        return false;
    for (size_t i = 0; i < s->n_objects; i++) {
        const struct user_function *f = drop_function(b, s->objects[i], s->missing_ok);
        if (b->err != ERR_OK || (f != NULL && (!drop_function_views(b, out, f, cascade) ||
                                               !list_add_name(b, asked, f->signature))))
            return false;
    }
    p->n_view_drops = out->n;
    for (uint32_t i = 0; i < asked->n; i++)
        if (!list_add_name(b, out, asked->names[i]))
            return false;
    p->kind = STMT_DROP;
    p->change.verb = CHANGE_DROP_FUNCTION;
    p->tag = "DROP FUNCTION";
    p->if_exists = s->missing_ok;
    p->drops = out->names;
    p->n_drops = out->n;
    return b->err == ERR_OK;
}

static const struct drop_kind *drop_kind_of(struct binder *b, const PgQuery__DropStmt *s)
{
    for (size_t i = 0; i < ARRAY_LEN(drop_kinds); i++)
        if ((int)s->remove_type == drop_kinds[i].object)
            return &drop_kinds[i];
    bind_fail(b, 0, ERR_UNSUPPORTED,
              "only tables, views, materialized views, publications, types and functions can be "
              "dropped");
    return bind_hint(b, "Use DROP TABLE, DROP VIEW, DROP MATERIALIZED VIEW, DROP PUBLICATION, "
                        "DROP TYPE or DROP FUNCTION.");
}

bool plan_drop(struct binder *b, const PgQuery__DropStmt *s)
{
    struct plan *p = b->plan;
    if ((int)s->remove_type == PG_QUERY__OBJECT_TYPE__OBJECT_TYPE)
        return plan_drop_type(b, s);
    if ((int)s->remove_type == PG_QUERY__OBJECT_TYPE__OBJECT_FUNCTION ||
        (int)s->remove_type == PG_QUERY__OBJECT_TYPE__OBJECT_ROUTINE)
        return plan_drop_function(b, s);
    const struct drop_kind *kind = drop_kind_of(b, s);
    bool cascade = (int)s->behavior == PG_QUERY__DROP_BEHAVIOR__DROP_CASCADE;
    struct drop_list *asked = bind_alloc(b, 1, sizeof *asked);
    struct drop_list *out = bind_alloc(b, 1, sizeof *out);
    if (b->err != ERR_OK)
        return false;
    for (size_t i = 0; i < s->n_objects; i++) {
        const struct relation *r = drop_relation(b, s->objects[i], kind, s->missing_ok);
        if (b->err != ERR_OK || (r != NULL && !list_add_name(b, asked, r->name)))
            return false;
    }
    for (uint32_t i = 0; i < asked->n; i++) {
        const struct relation *r = catalog_relation(b->catalog, asked->names[i]);
        if (!drop_dependents(b, out, asked, r, cascade) || !list_add_name(b, out, asked->names[i]))
            return false;
    }
    p->kind = STMT_DROP;
    p->change.verb = CHANGE_DROP_RELATION;
    p->tag = kind->tag;
    p->if_exists = s->missing_ok;
    p->drops = out->names;
    p->n_drops = out->n;
    return true;
}
