/* Avro schemas: JSON to types that refer to each other. */
#include "wire/avro_int.h"

#include "base/check.h"
#include "type/numeric.h"
#include "wire/json.h"

static const char *const kind_names[] = {
    [AVRO_NULL] = "null",     [AVRO_BOOLEAN] = "boolean", [AVRO_INT] = "int",
    [AVRO_LONG] = "long",     [AVRO_FLOAT] = "float",     [AVRO_DOUBLE] = "double",
    [AVRO_BYTES] = "bytes",   [AVRO_STRING] = "string",   [AVRO_FIXED] = "fixed",
    [AVRO_ENUM] = "enum",     [AVRO_ARRAY] = "array",     [AVRO_MAP] = "map",
    [AVRO_UNION] = "union",   [AVRO_RECORD] = "record",
};

const char *avro_kind_name(enum avro_kind k) { return kind_names[k]; }

struct schema {
    struct arena *a;
    struct err_detail *why;
    uint32_t n_types;
    struct avro_type *named[AVRO_TYPES_MAX];
    uint32_t n_named;
    uint32_t longest;                /* fixed: its bytes */
};

static enum err schema_type(struct schema *s, const struct json_value *v, struct str space,
                            uint32_t depth, const struct avro_type **out);

static enum err no_memory(struct schema *s)
{
    return err_set(s->why, ERR_NO_MEMORY, "out of memory for an Avro schema");
}

static enum err type_new(struct schema *s, enum avro_kind kind, struct avro_type **out)
{
    if (s->n_types++ == AVRO_TYPES_MAX)
        return err_set(s->why, ERR_LIMIT, "the schema has more than %d types", AVRO_TYPES_MAX);
    *out = arena_zalloc(s->a, 1, sizeof **out);
    if (*out == NULL)
        return no_memory(s);
    (*out)->kind = kind;
    return ERR_OK;
}

/* The member's string; ERR_INVALID_PARAMETER when it must be there and is not. */
static enum err text_member(struct schema *s, const struct json_value *v, const char *name,
                            bool needed, struct str *out)
{
    struct json_value m;
    *out = (struct str){NULL, 0};
    bool there = json_member(v, str_of(name), &m);
    if (there && m.kind == JSON_STRING) {
        *out = json_string(&m, s->a);
        return out->ptr == NULL ? no_memory(s) : ERR_OK;
    }
    return !needed ? ERR_OK
                   : err_set(s->why, ERR_INVALID_PARAMETER,
                             "Avro schema: a string \"%s\" is missing in %.*s", name,
                             (int)(v->text.len < 60 ? v->text.len : 60), v->text.ptr);
}

static enum err number_member(struct schema *s, const struct json_value *v, const char *name,
                              int64_t fallback, int64_t max, int64_t *out)
{
    struct json_value m;
    *out = fallback;
    if (!json_member(v, str_of(name), &m))
        return fallback >= 0 ? ERR_OK
                             : err_set(s->why, ERR_INVALID_PARAMETER,
                                       "Avro schema: a number \"%s\" is missing", name);
    if (m.kind != JSON_NUMBER || str_to_i64(m.text, out) != ERR_OK || *out < 0 || *out > max)
        return err_set(s->why, ERR_INVALID_PARAMETER,
                       "Avro schema: \"%s\" must be a whole number from 0 to %lld", name,
                       (long long)max);
    return ERR_OK;
}

/* ---- names ---- */

static struct str full_name(struct schema *s, struct str name, struct str space)
{
    if (space.len == 0 || memchr(name.ptr, '.', name.len) != NULL)
        return name;
    return arena_printf(s->a, "%.*s.%.*s", STR_ARG(space), STR_ARG(name));
}

/* What is before the last dot of a full name. */
static struct str space_of(struct str name)
{
    size_t n = name.len;
    while (n > 0 && name.ptr[n - 1] != '.')
        n--;
    return (struct str){name.ptr, n > 0 ? n - 1 : 0};
}

static struct avro_type *named_find(struct schema *s, struct str name)
{
    for (uint32_t i = 0; i < s->n_named; i++)
        if (str_eq(s->named[i]->name, name))
            return s->named[i];
    return NULL;
}

/* Reads name and namespace of a type, which has them from here on. */
static enum err name_take(struct schema *s, const struct json_value *v, struct str space,
                          struct avro_type *t)
{
    struct str name, own;
    TRY(text_member(s, v, "name", true, &name));
    TRY(text_member(s, v, "namespace", false, &own));
    t->name = full_name(s, name, own.ptr != NULL ? own : space);
    if (t->name.ptr == NULL)
        return no_memory(s);
    if (name.len == 0 || named_find(s, t->name) != NULL)
        return err_set(s->why, ERR_INVALID_PARAMETER,
                       "Avro schema: the name \"%.*s\" is empty or given twice",
                       STR_ARG(t->name));
    s->named[s->n_named++] = t;
    return ERR_OK;
}

static enum err type_by_reference(struct schema *s, struct str name, struct str space,
                                  const struct avro_type **out)
{
    for (int k = AVRO_NULL; k <= AVRO_STRING; k++) {
        if (!str_eq(name, str_of(kind_names[k])))
            continue;
        struct avro_type *t;
        TRY(type_new(s, (enum avro_kind)k, &t));
        *out = t;
        return ERR_OK;
    }
    struct str full = full_name(s, name, space);
    if (full.ptr == NULL)
        return no_memory(s);
    *out = named_find(s, full);
    if (*out == NULL)
        *out = named_find(s, name);
    return *out != NULL ? ERR_OK
                        : err_set(s->why, ERR_INVALID_PARAMETER,
                                  "Avro schema: there is no type \"%.*s\"", STR_ARG(name));
}

/* ---- types with parts ---- */

static enum err parts_alloc(struct schema *s, struct avro_type *t, uint32_t n)
{
    t->n = n;
    t->names = arena_zalloc(s->a, (size_t)n + 1, sizeof *t->names);
    t->of = arena_zalloc(s->a, (size_t)n + 1, sizeof *t->of);
    t->texts = arena_zalloc(s->a, (size_t)n + 1, sizeof *t->texts);
    return t->names == NULL || t->of == NULL || t->texts == NULL ? no_memory(s) : ERR_OK;
}

/* The items of a JSON array, which must be one, up to AVRO_TYPES_MAX. */
static enum err list_count(struct schema *s, const struct json_value *list, const char *what,
                           uint32_t *n)
{
    size_t at = 0;
    struct str key;
    struct json_value item;
    *n = 0;
    while (list->kind == JSON_ARRAY && *n < AVRO_TYPES_MAX && json_next(list, &at, &key, &item))
        ++*n;
    return *n > 0 && *n < AVRO_TYPES_MAX
               ? ERR_OK
               : err_set(s->why, ERR_INVALID_PARAMETER,
                         "Avro schema: %s must be a list that is not empty", what);
}

static enum err union_type(struct schema *s, const struct json_value *v, struct str space,
                           uint32_t depth, const struct avro_type **out)
{
    struct avro_type *t;
    uint32_t n;
    size_t at = 0;
    struct str key;
    struct json_value item;
    TRY(list_count(s, v, "a union", &n));
    TRY(type_new(s, AVRO_UNION, &t));
    TRY(parts_alloc(s, t, n));
    for (uint32_t i = 0; i < n && json_next(v, &at, &key, &item); i++) {
        TRY(schema_type(s, &item, space, depth + 1, &t->of[i]));
        if (t->of[i]->kind == AVRO_UNION)
            return err_set(s->why, ERR_INVALID_PARAMETER, "Avro schema: a union in a union");
    }
    *out = t;
    return ERR_OK;
}

static enum err record_type(struct schema *s, const struct json_value *v, struct str space,
                            uint32_t depth, struct avro_type *t)
{
    struct json_value fields = {0}, field, type;
    uint32_t n = 0;
    size_t at = 0;
    struct str key;
    TRY(name_take(s, v, space, t));
    bool none = json_member(v, STR("fields"), &fields) && str_eq(fields.text, STR("[]"));
    if (!none)
        TRY(list_count(s, &fields, "the fields of a record", &n));
    TRY(parts_alloc(s, t, n));
    for (uint32_t i = 0; i < n && json_next(&fields, &at, &key, &field); i++) {
        if (field.kind != JSON_OBJECT || !json_member(&field, STR("type"), &type))
            return err_set(s->why, ERR_INVALID_PARAMETER,
                           "Avro schema: a field of record \"%.*s\" has no type",
                           STR_ARG(t->name));
        TRY(text_member(s, &field, "name", true, &t->names[i]));
        t->texts[i] = field.text;
        for (uint32_t k = 0; k < i; k++)
            if (str_eq(t->names[k], t->names[i]))
                return err_set(s->why, ERR_INVALID_PARAMETER,
                               "Avro schema: field \"%.*s\" is there twice",
                               STR_ARG(t->names[i]));
        TRY(schema_type(s, &type, space_of(t->name), depth + 1, &t->of[i]));
    }
    return ERR_OK;
}

static enum err enum_type(struct schema *s, const struct json_value *v, struct str space,
                          struct avro_type *t)
{
    struct json_value symbols = {0}, item;
    uint32_t n;
    size_t at = 0;
    struct str key;
    TRY(name_take(s, v, space, t));
    (void)json_member(v, STR("symbols"), &symbols);
    TRY(list_count(s, &symbols, "the symbols of an enum", &n));
    TRY(parts_alloc(s, t, n));
    for (uint32_t i = 0; i < n && json_next(&symbols, &at, &key, &item); i++) {
        if (item.kind != JSON_STRING)
            return err_set(s->why, ERR_INVALID_PARAMETER, "Avro schema: symbols are strings");
        t->names[i] = json_string(&item, s->a);
        if (t->names[i].ptr == NULL)
            return no_memory(s);
    }
    return ERR_OK;
}

static enum err items_type(struct schema *s, const struct json_value *v, const char *member,
                           struct str space, uint32_t depth, struct avro_type *t)
{
    struct json_value of;
    if (!json_member(v, str_of(member), &of))
        return err_set(s->why, ERR_INVALID_PARAMETER, "Avro schema: %s without \"%s\"",
                       kind_names[t->kind], member);
    TRY(parts_alloc(s, t, 1));
    return schema_type(s, &of, space, depth + 1, &t->of[0]);
}

/* A logical type that does not go with its kind is none, as the specification has it. */
static enum err logical_take(struct schema *s, const struct json_value *v, struct avro_type *t)
{
    static const struct {
        const char *name;
        enum avro_kind kind;
        enum avro_logical logical;
    } table[] = {
        {"date", AVRO_INT, AVRO_DATE},
        {"time-millis", AVRO_INT, AVRO_TIME_MILLIS},
        {"time-micros", AVRO_LONG, AVRO_TIME_MICROS},
        {"timestamp-millis", AVRO_LONG, AVRO_TIMESTAMP_MILLIS},
        {"timestamp-micros", AVRO_LONG, AVRO_TIMESTAMP_MICROS},
        {"local-timestamp-millis", AVRO_LONG, AVRO_TIMESTAMP_MILLIS},
        {"local-timestamp-micros", AVRO_LONG, AVRO_TIMESTAMP_MICROS},
    };
    struct str name;
    int64_t scale;
    TRY(text_member(s, v, "logicalType", false, &name));
    for (size_t i = 0; name.ptr != NULL && i < ARRAY_LEN(table); i++)
        if (t->kind == table[i].kind && str_eq(name, str_of(table[i].name)))
            t->logical = table[i].logical;
    bool bytes = t->kind == AVRO_BYTES || t->kind == AVRO_FIXED;
    if (name.ptr == NULL || !bytes || !str_eq(name, STR("decimal")))
        return ERR_OK;
    TRY(number_member(s, v, "scale", 0, NUMERIC_SCALE_MAX, &scale));
    t->logical = AVRO_DECIMAL;
    t->scale = (int32_t)scale;
    return ERR_OK;
}

static enum err object_type(struct schema *s, const struct json_value *v, struct str space,
                            uint32_t depth, const struct avro_type **out)
{
    static const struct {
        const char *name;
        enum avro_kind kind;
    } complex[] = {{"record", AVRO_RECORD}, {"error", AVRO_RECORD}, {"enum", AVRO_ENUM},
                   {"array", AVRO_ARRAY},   {"map", AVRO_MAP},      {"fixed", AVRO_FIXED}};
    struct json_value type;
    struct str name;
    int64_t size;
    if (json_member(v, STR("type"), &type) && type.kind != JSON_STRING)
        return schema_type(s, &type, space, depth + 1, out);
    TRY(text_member(s, v, "type", true, &name));
    size_t c = 0;
    while (c < ARRAY_LEN(complex) && !str_eq(name, str_of(complex[c].name)))
        c++;
    if (c == ARRAY_LEN(complex)) {
        struct avro_type *own;
        TRY(type_by_reference(s, name, space, out));
        if ((*out)->kind > AVRO_STRING)
            return ERR_OK;
        TRY(type_new(s, (*out)->kind, &own));
        *out = own;
        return logical_take(s, v, own);
    }
    struct avro_type *t;
    TRY(type_new(s, complex[c].kind, &t));
    *out = t;
    switch ((int)t->kind) {
    case AVRO_RECORD: return record_type(s, v, space, depth, t);
    case AVRO_ENUM: return enum_type(s, v, space, t);
    case AVRO_ARRAY: return items_type(s, v, "items", space, depth, t);
    case AVRO_MAP: return items_type(s, v, "values", space, depth, t);
    default: break;
    }
    TRY(name_take(s, v, space, t));
    TRY(number_member(s, v, "size", -1, INT32_MAX, &size));
    t->size = (uint32_t)size;
    s->longest = t->size > s->longest ? t->size : s->longest;
    return logical_take(s, v, t);
}

static enum err schema_type(struct schema *s, const struct json_value *v, struct str space,
                            uint32_t depth, const struct avro_type **out)
{
    if (depth > AVRO_DEPTH_MAX)
        return err_set(s->why, ERR_LIMIT, "Avro schema: more than %d types in each other",
                       AVRO_DEPTH_MAX);
    if (v->kind == JSON_ARRAY)
        return union_type(s, v, space, depth, out);
    if (v->kind == JSON_OBJECT)
        return object_type(s, v, space, depth, out);
    if (v->kind != JSON_STRING)
        return err_set(s->why, ERR_INVALID_PARAMETER,
                       "Avro schema: a type is a name, an object or a list");
    struct str name = json_string(v, s->a);
    return name.ptr == NULL ? no_memory(s) : type_by_reference(s, name, space, out);
}

enum err avro_schema_parse(struct str text, struct arena *a, const struct avro_type **out,
                           uint32_t *longest, struct err_detail *why)
{
    struct json_value v;
    struct err_detail json = {0};
    if (text.len > AVRO_SCHEMA_BYTES_MAX)
        return err_set(why, ERR_LIMIT, "the schema is longer than %d bytes",
                       AVRO_SCHEMA_BYTES_MAX);
    enum err e = json_read(text, &v, &json);
    if (e != ERR_OK)
        return err_set(why, ERR_INVALID_PARAMETER, "the schema is not JSON: %s",
                       err_text(e, &json));
    struct schema *s = arena_zalloc(a, 1, sizeof *s);
    if (s == NULL)
        return err_set(why, ERR_NO_MEMORY, "out of memory for an Avro schema");
    s->a = a;
    s->why = why;
    TRY(schema_type(s, &v, STR(""), 0, out));
    *longest = s->longest;
    if ((*out)->kind != AVRO_RECORD)
        return err_set(why, ERR_INVALID_PARAMETER, "the schema is a %s, not a record",
                       kind_names[(*out)->kind]);
    return ERR_OK;
}
