/* Type names. */
#include "plan/plan_int.h"

enum { TYPMODS_MAX = 2 };

static enum type no_type(struct binder *b, struct str name, int32_t position)
{
    static const struct str names[] = {
        {"boolean", 7}, {"integer", 7}, {"bigint", 6}, {"double precision", 16}, {"numeric", 7},
        {"text", 4}, {"timestamptz", 11}, {"date", 4}, {"interval", 8}, {"jsonb", 5},
        {"smallint", 8}, {"int2", 4}, {"real", 4}, {"float4", 6}, {"timestamp", 9},
        {"time", 4}, {"uuid", 4}, {"bytea", 5},
        {"bool", 4}, {"int4", 4}, {"int8", 4}, {"float8", 6}, {"varchar", 7}};
    bind_fail(b, position, ERR_UNDEFINED_OBJECT, "type \"%.*s\" does not exist", STR_ARG(name));
    bind_nearest(b, name, names, ARRAY_LEN(names));
    bind_hint(b, "Types are boolean, smallint, integer, bigint, real, double precision, numeric, "
                 "text, bytea, timestamptz, timestamp, date, time, interval, uuid and jsonb.");
    return TYPE_UNKNOWN;
}

static bool read_typmods(struct binder *b, const PgQuery__TypeName *t, int32_t *mods)
{
    if (t->n_typmods > TYPMODS_MAX) {
        bind_fail(b, t->location, ERR_SYNTAX, "too many type modifiers");
        return false;
    }
    for (size_t i = 0; i < t->n_typmods; i++) {
        node *n = t->typmods[i];
        if ((int)n->node_case != PG_QUERY__NODE__NODE_A_CONST ||
            (int)n->a_const->val_case != PG_QUERY__A__CONST__VAL_IVAL) {
            bind_fail(b, t->location, ERR_SYNTAX, "type modifiers must be whole numbers");
            return false;
        }
        mods[i] = n->a_const->ival->ival;
    }
    return true;
}

static bool numeric_typmod(struct binder *b, const PgQuery__TypeName *t, const int32_t *mods,
                           int32_t *typmod)
{
    int32_t precision = mods[0];
    int32_t scale = t->n_typmods > 1 ? mods[1] : 0;
    if (precision < 1 || precision > NUMERIC_DIGITS_MAX) {
        bind_fail(b, t->location, ERR_INVALID_PARAMETER,
                  "NUMERIC precision %d must be between 1 and %d", precision, NUMERIC_DIGITS_MAX);
        return false;
    }
    if (scale < 0 || scale > precision || scale > NUMERIC_SCALE_MAX) {
        bind_fail(b, t->location, ERR_INVALID_PARAMETER,
                  "NUMERIC scale %d must be between 0 and the precision %d", scale, precision);
        return false;
    }
    *typmod = ((precision << 16) | scale) + 4; /* numeric.c, make_numeric_typmod */
    return true;
}

static bool varchar_typmod(struct binder *b, const PgQuery__TypeName *t, int32_t length,
                           int32_t *typmod)
{
    if (length < 1)
        bind_fail(b, t->location, ERR_INVALID_PARAMETER,
                  "length for type varchar must be at least 1");
    else if (length > VARCHAR_LENGTH_MAX)
        bind_fail(b, t->location, ERR_INVALID_PARAMETER,
                  "length for type varchar cannot exceed %d", VARCHAR_LENGTH_MAX);
    *typmod = length + 4;
    return b->err == ERR_OK;
}

/* More digits than there are mean all of them, as in PostgreSQL, which warns. */
static bool time_typmod(struct binder *b, const PgQuery__TypeName *t, enum type type,
                        int32_t digits, int32_t *typmod)
{
    if (digits < 0)
        bind_fail(b, t->location, ERR_INVALID_PARAMETER,
                  "%s(%d) precision must not be negative", type_name(type), digits);
    *typmod = digits >= TIME_DIGITS_MAX ? -1 : digits;
    return b->err == ERR_OK;
}

static enum type apply_typmods(struct binder *b, const PgQuery__TypeName *t, enum type type,
                               int32_t *typmod, int32_t *fields)
{
    int32_t mods[TYPMODS_MAX] = {0};
    if (t->n_typmods == 0)
        return type;
    if (!read_typmods(b, t, mods))
        return TYPE_UNKNOWN;
    enum { INTERVAL_FULL_RANGE = 0x7fff };
    if (type == TYPE_NUMERIC)
        return numeric_typmod(b, t, mods, typmod) ? type : TYPE_UNKNOWN;
    if (type == TYPE_INTERVAL && t->n_typmods == 1) {
        *fields = mods[0] == INTERVAL_FULL_RANGE ? 0 : mods[0];
        return type;
    }
    if (type == TYPE_TIMESTAMPTZ || type == TYPE_TIMESTAMP || type == TYPE_TIME)
        return time_typmod(b, t, type, mods[0], typmod) ? type : TYPE_UNKNOWN;
    if (type == TYPE_TEXT && str_eq(node_string(t->names[t->n_names - 1]), STR("varchar")))
        return varchar_typmod(b, t, mods[0], typmod) ? type : TYPE_UNKNOWN;
    bind_fail(b, t->location, ERR_UNSUPPORTED, "%s takes no length or precision here",
              type_name(type));
    if (type == TYPE_TEXT)
        bind_hint(b, "Use varchar(n).");
    return TYPE_UNKNOWN;
}

/* What a name stood for before DIALECT_NOW. */
static enum type widened(enum type t)
{
    switch ((int)t) {
    case TYPE_INT2: return TYPE_INT4;
    case TYPE_FLOAT4: return TYPE_FLOAT8;
    case TYPE_TIMESTAMP: return TYPE_TIMESTAMPTZ;
    default: return t;
    }
}

/* Types of PostgreSQL that have a close one here. */
static bool refused(struct binder *b, struct str name, const PgQuery__TypeName *t)
{
    if (str_eq(name, STR("timetz"))) {
        bind_fail(b, t->location, ERR_UNSUPPORTED,
                  "type time with time zone is not supported");
        bind_hint(b, "Use time, or timestamptz where the day matters.");
    } else if ((str_eq(name, STR("bpchar")) || str_eq(name, STR("_bpchar"))) &&
               b->dialect != DIALECT_WIDE) {
        bind_fail(b, t->location, ERR_UNSUPPORTED,
                  "type character(n), padded with blanks, is not supported");
        bind_hint(b, "Use varchar(n), or text.");
    }
    return b->err != ERR_OK;
}

/* The text depends on a type of the catalog. */
static bool type_used(struct binder *b, enum type t)
{
    for (const struct type_use *u = b->plan != NULL ? b->plan->types : NULL; u != NULL; u = u->next)
        if (u->type == t)
            return true;
    struct type_use *u = bind_alloc(b, 1, sizeof *u);
    if (u == NULL || b->plan == NULL)
        return u != NULL;
    *u = (struct type_use){t, b->plan->types};
    b->plan->types = u;
    return true;
}

enum type bind_type(struct binder *b, const PgQuery__TypeName *t, int32_t *typmod, int32_t *fields)
{
    *typmod = -1;
    *fields = 0;
    if (t == NULL || t->n_names == 0) {
        bind_fail(b, -1, ERR_SYNTAX, "a type is missing");
        return TYPE_UNKNOWN;
    }
    struct str name = node_string(t->names[t->n_names - 1]);
    if (t->setof || t->pct_type) {
        bind_fail(b, t->location, ERR_UNSUPPORTED, "this type is not supported");
        return TYPE_UNKNOWN;
    }
    bool builtin = t->n_names == 1 || str_eq(node_string(t->names[0]), STR("pg_catalog"));
    if (builtin && refused(b, name, t))
        return TYPE_UNKNOWN;
    enum type type = builtin ? type_by_name(name) : TYPE_UNKNOWN;
    if (b->dialect == DIALECT_WIDE)
        type = widened(type);
    bool made = t->n_names == 1 || str_eq(node_string(t->names[0]), STR("public"));
    if (type == TYPE_UNKNOWN && made) {
        type = catalog_type(b->catalog, name);
        if (type != TYPE_UNKNOWN && !type_used(b, type))
            return TYPE_UNKNOWN;
    }
    if (type == TYPE_UNKNOWN)
        return no_type(b, name, t->location);
    bool array = t->n_array_bounds > 0 || type_is_array(type);
    if (array && t->n_typmods > 0) {
        bind_fail(b, t->location, ERR_UNSUPPORTED,
                  "elements of an array take no length or precision here");
        bind_hint(b, "Write %s[].", type_info(type_element(type))->short_name);
        return TYPE_UNKNOWN;
    }
    if (array)
        return type_array_of(type);
    /* char is char(1) to the grammar. */
    if (str_eq(name, STR("bpchar")) && t->n_typmods == 1)
        return type;
    return apply_typmods(b, t, type, typmod, fields);
}
