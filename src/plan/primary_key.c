/* PRIMARY KEY: as a column's constraint and as the table's. */
#include "plan/plan_int.h"

/* Equal values must be written equally, for the record's key decides where a row goes and what
 * compaction keeps of it. */
static const char *unfit(const struct column_def *c)
{
    switch (c->type) {
    case TYPE_NUMERIC: return c->typmod < 0 ? "numeric without a scale" : NULL;
    case TYPE_FLOAT4:
    case TYPE_FLOAT8:
    case TYPE_BYTEA:
    case TYPE_INTERVAL:
    case TYPE_JSONB: return type_name(c->type);
    case TYPE_BOOL:
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_INT8:
    case TYPE_TEXT:
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIMESTAMP:
    case TYPE_TIME:
    case TYPE_UUID:
    case TYPE_DATE: return NULL;
    case TYPE_UNKNOWN:
    case TYPE_ENUM:
    case TYPE_ARRAY:
    case TYPE_COUNT_: break;
    }
    return "this type";
}

bool primary_key_add(struct binder *b, struct relation *r, struct column_def *columns,
                     uint32_t column, int32_t position)
{
    struct column_def *c = &columns[column];
    const char *what = unfit(c);
    for (uint32_t i = 0; i < r->n_primary_key; i++) {
        if (r->primary_key[i] != column)
            continue;
        bind_fail(b, position, ERR_DUPLICATE_COLUMN,
                  "column \"%.*s\" appears twice in primary key constraint", STR_ARG(c->name));
        return false;
    }
    if (what != NULL) {
        bind_fail(b, position, ERR_UNSUPPORTED, "a PRIMARY KEY column cannot be of type %s", what);
        bind_hint(b, "Equal keys must be written equally: use int8, text, date, timestamptz, bool "
                     "or numeric(p,s).");
        return false;
    }
    uint32_t *key = bind_alloc(b, (size_t)r->n_primary_key + 1, sizeof *key);
    if (key == NULL)
        return false;
    if (r->n_primary_key > 0)
        memcpy(key, r->primary_key, r->n_primary_key * sizeof *key);
    key[r->n_primary_key++] = column;
    r->primary_key = key;
    c->not_null = true;
    return true;
}

bool primary_key_is_first(struct binder *b, const struct relation *r, int32_t position)
{
    if (r->n_primary_key == 0)
        return true;
    bind_fail(b, position, ERR_INVALID_TABLE,
              "multiple primary keys for table \"%.*s\" are not allowed", STR_ARG(r->name));
    return false;
}

bool primary_key_table(struct binder *b, struct relation *r, struct column_def *columns,
                       const PgQuery__Constraint *c)
{
    if (!primary_key_is_first(b, r, c->location))
        return false;
    for (size_t k = 0; k < c->n_keys; k++) {
        struct str name = node_string(c->keys[k]);
        uint32_t i = 0;
        while (i < r->n_columns && !str_eq(columns[i].name, name))
            i++;
        if (i == r->n_columns) {
            bind_fail(b, c->location, ERR_UNDEFINED_COLUMN,
                      "column \"%.*s\" named in key does not exist", STR_ARG(name));
            return false;
        }
        if (!primary_key_add(b, r, columns, i, c->location))
            return false;
    }
    return true;
}
