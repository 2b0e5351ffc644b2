/* Types that CREATE TYPE made: a version holds their numbers, type/enumeration.h all else. */
#include "plan/catalog_int.h"
#include "type/enumeration.h"

enum { TYPE_SQL_BYTES_MAX = 1 << 20 };

static uint32_t type_place(const struct catalog *c, struct str name)
{
    uint32_t i = 0;
    while (i < c->n_types && !str_eq(str_of(type_info(c->types[i])->name), name))
        i++;
    return i;
}

enum type catalog_type(const struct catalog *c, struct str name)
{
    uint32_t i = type_place(c, name);
    return i < c->n_types ? c->types[i] : TYPE_UNKNOWN;
}

enum err catalog_create_type(struct version *v, const struct catalog_change *change,
                             struct err_detail *why)
{
    struct plan *p;
    if (catalog_type(&v->pub, change->name) != TYPE_UNKNOWN)
        return err_set(why, ERR_DUPLICATE_OBJECT, "type \"%.*s\" already exists",
                       STR_ARG(change->name));
    if (v->pub.n_types == CATALOG_TYPES_MAX)
        return err_set(why, ERR_LIMIT, "there are %d types: drop one first", CATALOG_TYPES_MAX);
    TRY(plan_accepted(change->sql, change->dialect, UINT32_MAX, &v->pub, &p, why));
    bool match = p->kind == STMT_CREATE_TYPE && str_eq(p->name, change->name);
    enum type made = p->made_type;
    plan_free(p);
    if (!match)
        return err_set(why, ERR_CORRUPT, "catalog change \"%.*s\" does not match its SQL",
                       STR_ARG(change->name));
    v->pub.types[v->pub.n_types++] = made;
    return ERR_OK;
}

/* Whether a text may name the type: words of its letters are enough. */
static bool names(struct str sql, struct str name)
{
    for (size_t i = 0; i + name.len <= sql.len; i++)
        if (str_ieq((struct str){sql.ptr + i, name.len}, name))
            return true;
    return false;
}

static bool function_uses(const struct user_function *f, enum type t)
{
    bool found = type_element(f->result) == t;
    for (uint32_t i = 0; i < f->n_args; i++)
        found |= type_element(f->args[i]) == t;
    return found;
}

static bool uses(const struct relation *r, enum type t)
{
    for (uint32_t i = 0; i < r->n_columns; i++)
        if (type_element(r->columns[i].type) == t)
            return true;
    const struct type_use *u = r->view != NULL ? r->view->plan->types : NULL;
    while (u != NULL && type_element(u->type) != t)
        u = u->next;
    return u != NULL;
}

enum err catalog_drop_type(struct version *v, struct str name, struct err_detail *why)
{
    uint32_t at = type_place(&v->pub, name);
    if (at == v->pub.n_types)
        return err_set(why, ERR_UNDEFINED_OBJECT, "type \"%.*s\" does not exist", STR_ARG(name));
    for (uint32_t i = 0; i < v->pub.n_relations; i++) {
        const struct relation *r = v->pub.relations[i];
        if (!uses(r, v->pub.types[at]))
            continue;
        err_set(why, ERR_DEPENDENT_OBJECTS,
                "cannot drop type %.*s because other objects depend on it", STR_ARG(name));
        err_hint(why, "\"%.*s\" uses it: drop that first.", STR_ARG(r->name));
        return ERR_DEPENDENT_OBJECTS;
    }
    for (uint32_t i = 0; i < v->pub.n_functions; i++) {
        const struct user_function *f = v->pub.functions[i];
        if (!function_uses(f, v->pub.types[at]) && !names(f->sql, name))
            continue;
        err_set(why, ERR_DEPENDENT_OBJECTS,
                "cannot drop type %.*s because other objects depend on it", STR_ARG(name));
        err_hint(why, "Function %.*s uses it, or may: drop that first.", STR_ARG(f->signature));
        return ERR_DEPENDENT_OBJECTS;
    }
    v->pub.types[at] = v->pub.types[--v->pub.n_types];
    return ERR_OK;
}

static void put_quoted(struct buf *out, struct str s, char quote)
{
    buf_put_u8(out, (uint8_t)quote);
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == quote)
            buf_put_u8(out, (uint8_t)quote);
        buf_put_u8(out, (uint8_t)s.ptr[i]);
    }
    buf_put_u8(out, (uint8_t)quote);
}

enum err catalog_types_snapshot(const struct catalog *c,
                                enum err (*each)(void *arg, const struct catalog_change *change),
                                void *arg)
{
    struct buf sql;
    enum err e = ERR_OK;
    buf_init(&sql, TYPE_SQL_BYTES_MAX);
    for (uint32_t i = 0; i < c->n_types && e == ERR_OK; i++) {
        struct str name = str_of(type_info(c->types[i])->name);
        buf_clear(&sql);
        buf_printf(&sql, "CREATE TYPE ");
        put_quoted(&sql, name, '"');
        buf_printf(&sql, " AS ENUM (");
        for (uint32_t k = 0; k < enumeration_n_labels(c->types[i]); k++) {
            buf_printf(&sql, "%s", k > 0 ? ", " : "");
            put_quoted(&sql, enumeration_label(enumeration_value(c->types[i], k)), '\'');
        }
        buf_printf(&sql, ")");
        struct catalog_change change = {
            .verb = CHANGE_CREATE_TYPE, .name = name, .sql = buf_str(&sql)};
        e = sql.failed ? ERR_NO_MEMORY : each(arg, &change);
    }
    buf_deinit(&sql);
    return e;
}
