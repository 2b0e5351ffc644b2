/* CREATE FUNCTION. */
#include "plan/plan_int.h"
#include "type/c_function.h"

enum { SIGNATURE_BYTES_MAX = 4096 };

/* What the statement says, read and not yet checked. */
struct function_options {
    const PgQuery__List *as;
    struct str language;
    const char *volatility;
    bool strict, c;
    int32_t as_location;
};

static struct str option_word(node *n)
{
    return n != NULL ? node_string(n) : (struct str){NULL, 0};
}

static bool option_on(node *n)
{
    return n != NULL && (int)n->node_case == PG_QUERY__NODE__NODE_BOOLEAN && n->boolean->boolval;
}

static bool read_option(struct binder *b, const PgQuery__DefElem *d, struct function_options *o)
{
    static const char *const harmless[] = {"cost", "leakproof", "parallel", "rows"};
    struct str name = str_of(d->defname);
    if (str_eq(name, STR("as")) && d->arg != NULL &&
        (int)d->arg->node_case == PG_QUERY__NODE__NODE_LIST) {
        o->as = d->arg->list;
        o->as_location = d->location;
        return true;
    }
    if (str_eq(name, STR("language"))) {
        o->language = option_word(d->arg);
        return true;
    }
    if (str_eq(name, STR("strict"))) {
        o->strict = option_on(d->arg);
        return true;
    }
    if (str_eq(name, STR("volatility"))) {
        struct str word = option_word(d->arg);
        o->volatility = str_eq(word, STR("immutable")) ? "i"
                        : str_eq(word, STR("stable")) ? "s"
                                                      : "v";
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(harmless); i++)
        if (str_eq(name, str_of(harmless[i])))
            return true;
    bind_fail(b, d->location, ERR_UNSUPPORTED, "CREATE FUNCTION takes no %.*s here",
              STR_ARG(name));
    bind_hint(b, "LANGUAGE, AS, RETURN, IMMUTABLE, STABLE, VOLATILE and STRICT are known.");
    return false;
}

static bool read_options(struct binder *b, const PgQuery__CreateFunctionStmt *s,
                         struct function_options *o)
{
    *o = (struct function_options){.language = STR("sql"), .volatility = "v", .as_location = -1};
    for (size_t i = 0; i < s->n_options; i++)
        if (!read_option(b, s->options[i]->def_elem, o))
            return false;
    o->c = str_ieq(o->language, STR("c"));
    if (!o->c && !str_ieq(o->language, STR("sql"))) {
        bind_fail(b, 0, ERR_UNSUPPORTED, "language \"%.*s\" is not supported",
                  STR_ARG(o->language));
        bind_hint(b, "Functions are written in SQL, LANGUAGE sql, or C, LANGUAGE c.");
        return false;
    }
    if (s->is_procedure) {
        bind_fail(b, 0, ERR_UNSUPPORTED, "CREATE PROCEDURE is not supported");
        bind_hint(b, "Use CREATE FUNCTION.");
        return false;
    }
    if ((o->as == NULL) == (s->sql_body == NULL)) {
        bind_fail(b, 0, ERR_INVALID_FUNCTION, o->as == NULL ? "no function body specified"
                                                            : "duplicate function body specified");
        return false;
    }
    if (o->c && (o->as == NULL || o->as->n_items < 1 || o->as->n_items > 2)) {
        bind_fail(b, 0, ERR_INVALID_FUNCTION,
                  "a function in C needs AS 'file.so', 'symbol'");
        return false;
    }
    if (!o->c && o->as != NULL && o->as->n_items != 1) {
        bind_fail(b, o->as_location, ERR_INVALID_FUNCTION,
                  "only one AS item needed for language \"sql\"");
        return false;
    }
    return true;
}

static struct str function_name(struct binder *b, const PgQuery__CreateFunctionStmt *s)
{
    struct str none = {NULL, 0};
    struct str schema = s->n_funcname > 1 ? node_string(s->funcname[s->n_funcname - 2])
                                          : STR("public");
    struct str name = s->n_funcname > 0 ? node_string(s->funcname[s->n_funcname - 1]) : none;
    if (name.len == 0 || s->n_funcname > 2 || !str_eq(schema, STR("public"))) {
        bind_fail(b, 0, ERR_UNSUPPORTED, "functions are in schema public only");
        return none;
    }
    bool plain = name.len <= FUNCTION_NAME_BYTES_MAX;
    for (size_t i = 0; i < name.len; i++)
        plain &= (unsigned char)name.ptr[i] >= ' ';
    if (!plain)
        bind_fail(b, 0, ERR_UNSUPPORTED, "a function's name has control characters, or more than "
                                         "%d bytes", FUNCTION_NAME_BYTES_MAX);
    static const char *const taken[] = {"tumble", "hop", "session", "cumulate", "as_of", "unnest",
                                        "grouping"};
    bool used = is_aggregate(name) || is_set_function(name) || over_only(name);
    for (size_t i = 0; i < ARRAY_LEN(taken); i++)
        used |= str_eq(name, str_of(taken[i]));
    if (used && !b->accepted) {
        bind_fail(b, 0, ERR_DUPLICATE_FUNCTION, "function %.*s is one of the system",
                  STR_ARG(name));
        bind_hint(b, "Give it another name.");
    }
    return bind_str(b, name);
}

static bool read_parameter(struct binder *b, const PgQuery__FunctionParameter *p,
                           struct str *names, enum type *types, uint32_t i)
{
    int32_t typmod, fields;
    bool in = (int)p->mode == PG_QUERY__FUNCTION_PARAMETER_MODE__FUNC_PARAM_IN ||
              (int)p->mode == PG_QUERY__FUNCTION_PARAMETER_MODE__FUNC_PARAM_DEFAULT;
    if (!in) {
        bind_fail(b, p->arg_type != NULL ? p->arg_type->location : 0, ERR_UNSUPPORTED,
                  "OUT, INOUT, VARIADIC and TABLE parameters are not supported");
        bind_hint(b, "A function takes values and RETURNS one; an array can stand for several.");
        return false;
    }
    types[i] = bind_type(b, p->arg_type, &typmod, &fields);
    names[i] = bind_str(b, str_of(p->name));
    for (uint32_t k = 0; k < i && names[i].len > 0; k++)
        if (str_eq(names[k], names[i]))
            bind_fail(b, p->arg_type->location, ERR_INVALID_FUNCTION,
                      "parameter name \"%.*s\" used more than once", STR_ARG(names[i]));
    return b->err == ERR_OK;
}

static bool read_parameters(struct binder *b, const PgQuery__CreateFunctionStmt *s,
                            struct user_function *f)
{
    if (s->n_parameters > FUNCTION_ARGS_MAX) {
        bind_fail(b, 0, ERR_LIMIT, "functions cannot have more than %d arguments",
                  FUNCTION_ARGS_MAX);
        return false;
    }
    uint32_t n = (uint32_t)s->n_parameters;
    struct str *names = bind_alloc(b, (size_t)n + 1, sizeof *names);
    enum type *types = bind_alloc(b, (size_t)n + 1, sizeof *types);
    if (names == NULL || types == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const PgQuery__FunctionParameter *p = s->parameters[i]->function_parameter;
        if (!read_parameter(b, p, names, types, i))
            return false;
        if (p->defexpr != NULL)
            f->n_defaults++;
        else if (f->n_defaults > 0)
            bind_fail(b, p->arg_type->location, ERR_INVALID_FUNCTION,
                      "input parameters after one with a default value must also have defaults");
    }
    f->n_args = n;
    f->arg_names = names;
    f->args = types;
    return b->err == ERR_OK;
}

struct str function_signature(struct binder *b, struct str name, const enum type *types,
                              uint32_t n)
{
    struct buf out;
    buf_init(&out, SIGNATURE_BYTES_MAX);
    buf_put_str(&out, name);
    buf_put_u8(&out, '(');
    for (uint32_t i = 0; i < n; i++)
        buf_printf(&out, "%s%s", i > 0 ? ", " : "", type_name(types[i]));
    buf_put_u8(&out, ')');
    if (out.failed)
        bind_fail(b, 0, ERR_LIMIT, "the function's name and types have more than %d bytes",
                  SIGNATURE_BYTES_MAX);
    struct str s = bind_str(b, buf_str(&out));
    buf_deinit(&out);
    return s;
}

/* PostgreSQL finds its own functions first: one with the same arguments would never be called. */
static bool hides_nothing(struct binder *b, const struct user_function *f)
{
    const struct function *found[FUNCTION_OVERLOADS_MAX];
    uint32_t n = function_candidates(FUNCTION_PLAIN, f->name, found);
    for (uint32_t k = 0; k < n; k++) {
        bool same = found[k]->n_args == f->n_args && !found[k]->variadic;
        for (uint32_t i = 0; same && i < f->n_args; i++)
            same = found[k]->args[i] == f->args[i];
        if (!same || b->accepted)
            continue;
        bind_fail(b, 0, ERR_DUPLICATE_FUNCTION, "function %.*s is one of the system",
                  STR_ARG(f->signature));
        bind_hint(b, "Give it another name.");
        return false;
    }
    return true;
}

/* Where the body's text stands in the statement, when it stands there as it is. */
static int32_t body_position(struct str sql, struct str body)
{
    for (size_t i = 0; body.len > 0 && i + body.len <= sql.len; i++)
        if (memcmp(sql.ptr + i, body.ptr, body.len) == 0)
            return (int32_t)i;
    return -1;
}

static bool read_result(struct binder *b, const PgQuery__CreateFunctionStmt *s,
                        struct user_function *f)
{
    int32_t typmod, fields;
    if (s->return_type == NULL) {
        bind_fail(b, 0, ERR_INVALID_FUNCTION, "function result type must be specified");
        return false;
    }
    if (s->return_type->setof) {
        bind_fail(b, s->return_type->location, ERR_UNSUPPORTED,
                  "functions that return several rows are not supported");
        bind_hint(b, "Return an array, and make rows of it: FROM unnest(%.*s(...)).",
                  STR_ARG(f->name));
        return false;
    }
    f->result = bind_type(b, s->return_type, &typmod, &fields);
    return b->err == ERR_OK;
}

/* Whether functions in C can have its types. */
static bool read_c(struct binder *b, const struct function_options *o, struct user_function *f)
{
    enum type refused = c_function_takes(f->result) ? TYPE_UNKNOWN : f->result;
    for (uint32_t i = 0; i < f->n_args; i++)
        if (!c_function_takes(f->args[i]))
            refused = f->args[i];
    f->language = FUNCTION_C;
    f->file = bind_str(b, node_string(o->as->items[0]));
    f->symbol = o->as->n_items > 1 ? bind_str(b, node_string(o->as->items[1])) : f->name;
    if (refused != TYPE_UNKNOWN) {
        bind_fail(b, 0, ERR_UNSUPPORTED, "functions in C have no values of type %s",
                  type_name(refused));
        bind_hint(b, "Cast it to another type, such as text or double precision.");
    }
    if (f->n_defaults > 0)
        bind_fail(b, 0, ERR_UNSUPPORTED, "functions in C have no defaults");
    return b->err == ERR_OK;
}

/* What the body reads may have gone since it was accepted: then its calls say so. */
static bool read_sql(struct binder *b, const PgQuery__CreateFunctionStmt *s,
                     struct user_function *f)
{
    struct str body = function_body_text(s);
    int32_t position = s->sql_body != NULL ? 0 : body_position(b->sql, body);
    f->language = FUNCTION_SQL;
    return b->accepted || bind_body_check(b, f, s, position);
}

bool plan_create_function(struct binder *b, const PgQuery__CreateFunctionStmt *s)
{
    struct plan *p = b->plan;
    struct function_options o;
    struct user_function *f = bind_alloc(b, 1, sizeof *f);
    if (f == NULL || !read_options(b, s, &o))
        return false;
    f->name = function_name(b, s);
    if (b->err != ERR_OK || !read_result(b, s, f) || !read_parameters(b, s, f))
        return false;
    if (b->sql.len > FUNCTION_SQL_BYTES_MAX) {
        bind_fail(b, 0, ERR_LIMIT, "the text of a function has at most %d bytes",
                  FUNCTION_SQL_BYTES_MAX);
        return false;
    }
    f->signature = function_signature(b, f->name, f->args, f->n_args);
    f->sql = b->sql;
    f->dialect = b->dialect;
    f->replace = s->replace;
    f->strict = o.strict;
    f->volatility = o.volatility[0];
    f->number = f->until = UINT32_MAX;
    if (b->err != ERR_OK || !hides_nothing(b, f) ||
        !(o.c ? read_c(b, &o, f) : read_sql(b, s, f)))
        return false;
    p->kind = STMT_CREATE_FUNCTION;
    p->tag = "CREATE FUNCTION";
    p->name = f->signature;
    p->function = f;
    p->change.verb = CHANGE_CREATE_FUNCTION;
    p->change.name = f->signature;
    p->change.sql = b->sql;
    p->change.dialect = b->dialect;
    return b->err == ERR_OK;
}
