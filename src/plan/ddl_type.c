/* CREATE TYPE ... AS ENUM, DROP TYPE. */
#include "plan/plan_int.h"
#include "type/enumeration.h"

/* A name without a schema, or in public; empty after an error. */
static struct str type_name_of(struct binder *b, PgQuery__Node *const *names, size_t n)
{
    struct str none = {NULL, 0};
    struct str schema = n > 1 ? node_string(names[n - 2]) : STR("public");
    if (n == 0 || n > 2 || !str_eq(schema, STR("public"))) {
        bind_fail(b, -1, ERR_UNSUPPORTED, "types are in schema public only");
        return none;
    }
    return bind_str(b, node_string(names[n - 1]));
}

static bool name_ok(struct binder *b, struct str name)
{
    bool plain = name.len > 0 && name.len <= ENUM_LABEL_BYTES_MAX;
    for (size_t i = 0; i < name.len; i++)
        plain &= (unsigned char)name.ptr[i] >= ' ' && name.ptr[i] != '"';
    if (!plain)
        bind_fail(b, -1, ERR_UNSUPPORTED, "a type's name has quotes or control characters, or "
                                          "more than %d bytes", ENUM_LABEL_BYTES_MAX);
    else if (type_by_name(name) != TYPE_UNKNOWN || catalog_type(b->catalog, name) != TYPE_UNKNOWN)
        bind_fail(b, -1, ERR_DUPLICATE_OBJECT, "type \"%.*s\" already exists", STR_ARG(name));
    return b->err == ERR_OK;
}

static bool label_ok(struct binder *b, const struct str *labels, uint32_t i)
{
    if (labels[i].len == 0 || labels[i].len > ENUM_LABEL_BYTES_MAX) {
        bind_fail(b, -1, ERR_INVALID_PARAMETER, "invalid enum label \"%.*s\"", STR_ARG(labels[i]));
        bind_hint(b, "Labels must be %d bytes or less, and not empty.", ENUM_LABEL_BYTES_MAX);
    }
    for (uint32_t k = 0; k < i && b->err == ERR_OK; k++)
        if (str_eq(labels[k], labels[i]))
            bind_fail(b, -1, ERR_DUPLICATE_OBJECT, "enum label \"%.*s\" is given twice",
                      STR_ARG(labels[i]));
    return b->err == ERR_OK;
}

bool plan_create_enum(struct binder *b, const PgQuery__CreateEnumStmt *s)
{
    struct plan *p = b->plan;
    struct err_detail why = {0};
    struct str name = type_name_of(b, s->type_name, s->n_type_name);
    uint32_t n = (uint32_t)s->n_vals;
    if (b->err != ERR_OK || (!b->accepted && !name_ok(b, name)))
        return false;
    if (n == 0 || s->n_vals > ENUM_LABELS_MAX) {
        bind_fail(b, -1, n == 0 ? ERR_UNSUPPORTED : ERR_LIMIT,
                  "an enum type has 1 to %d labels", ENUM_LABELS_MAX);
        return false;
    }
    struct str *labels = bind_alloc(b, n, sizeof *labels);
    for (uint32_t i = 0; labels != NULL && i < n; i++) {
        labels[i] = node_string(s->vals[i]);
        if (!label_ok(b, labels, i))
            return false;
    }
    /* Definitions are kept for good: only what the catalog takes makes one. */
    enum err e = labels == NULL ? ERR_NO_MEMORY
                 : b->accepted  ? enumeration_type(name, labels, n, &p->made_type, &why)
                                : ERR_OK;
    if (e != ERR_OK) {
        bind_fail(b, -1, e, "%s", err_text(e, &why));
        return false;
    }
    p->kind = STMT_CREATE_TYPE;
    p->tag = "CREATE TYPE";
    p->name = name;
    p->change.verb = CHANGE_CREATE_TYPE;
    p->change.name = name;
    p->change.sql = bind_str(b, b->sql);
    return b->err == ERR_OK;
}

bool plan_drop_type(struct binder *b, const PgQuery__DropStmt *s)
{
    struct plan *p = b->plan;
    struct str *names = bind_alloc(b, s->n_objects + 1, sizeof *names);
    if ((int)s->behavior == PG_QUERY__DROP_BEHAVIOR__DROP_CASCADE) {
        bind_fail(b, -1, ERR_UNSUPPORTED, "DROP TYPE ... CASCADE is not supported");
        bind_hint(b, "Drop what uses the type first.");
    }
    for (size_t i = 0; names != NULL && i < s->n_objects && b->err == ERR_OK; i++) {
        node *n = s->objects[i];
        if ((int)n->node_case != PG_QUERY__NODE__NODE_TYPE_NAME) {
            bind_fail(b, -1, ERR_SYNTAX, "a name is expected");
            break;
        }
        struct str name = type_name_of(b, n->type_name->names, n->type_name->n_names);
        bool there = b->err == ERR_OK && catalog_type(b->catalog, name) != TYPE_UNKNOWN;
        if (b->err == ERR_OK && !there && !s->missing_ok)
            bind_fail(b, -1, ERR_UNDEFINED_OBJECT, "type \"%.*s\" does not exist", STR_ARG(name));
        names[i] = name;
    }
    p->kind = STMT_DROP;
    p->tag = "DROP TYPE";
    p->if_exists = s->missing_ok;
    p->change.verb = CHANGE_DROP_TYPE;
    p->drops = names;
    p->n_drops = (uint32_t)s->n_objects;
    return b->err == ERR_OK && names != NULL;
}
