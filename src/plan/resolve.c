/* Overloads, casts and common types by PostgreSQL's rules (manual, chapter 10 "Type Conversion";
 * parse_func.c func_select_candidate, parse_coerce.c select_common_type). */
#include "plan/plan_int.h"

enum { NAMES_MAX = 512, SIGNATURE_BYTES_MAX = 200 };

char type_category(enum type t)
{
    switch (type_kind(t)) {
    case TYPE_BOOL: return 'B';
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_INT8:
    case TYPE_FLOAT4:
    case TYPE_FLOAT8:
    case TYPE_NUMERIC: return 'N';
    case TYPE_TEXT: return 'S';
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIMESTAMP:
    case TYPE_TIME:
    case TYPE_DATE: return 'D';
    case TYPE_INTERVAL: return 'T';
    case TYPE_UUID:
    case TYPE_BYTEA:
    case TYPE_JSONB: return 'U';
    case TYPE_ARRAY: return 'A';
    case TYPE_ENUM: return 'E';
    case TYPE_UNKNOWN:
    case TYPE_COUNT_: break;
    }
    return 'X';
}

static bool is_preferred(enum type t)
{
    return t == TYPE_BOOL || t == TYPE_FLOAT8 || t == TYPE_TEXT || t == TYPE_TIMESTAMPTZ ||
           t == TYPE_INTERVAL;
}

const char *type_name(enum type t)
{
    return t == TYPE_UNKNOWN ? "unknown" : type_info(t)->name;
}

/* ---- conversions ---- */

static struct expr *coerce_literal(struct binder *b, struct expr *e, enum type target)
{
    struct value v = {.type = target, .null = true};
    if (!e->value.null) {
        struct err_detail why = {0};
        enum err failed = value_parse(target, e->value.as.s, b->arena, &v, &why);
        if (failed != ERR_OK) {
            bind_fail(b, e->position, failed, "%s", err_text(failed, &why));
            return why.hint[0] != '\0' ? bind_hint(b, "%s", why.hint) : NULL;
        }
        v.type = target;
        v.null = false;
    }
    return expr_const(b, v, e->position);
}

static struct expr *coerce_param(struct binder *b, struct expr *e, enum type target)
{
    b->params[e->index] = target;
    for (struct param_use *u = b->param_uses[e->index]; u != NULL; u = u->next)
        u->expr->type = target;
    b->param_uses[e->index] = NULL;
    return e;
}

struct expr *coerce_try(struct binder *b, struct expr *e, enum type target, enum cast_level level)
{
    if (e == NULL || b->err != ERR_OK)
        return NULL;
    if (target == TYPE_UNKNOWN)
        return coerce_unknown(b, e);
    if (e->type == target)
        return e;
    if (e->type == TYPE_UNKNOWN)
        return e->kind == EXPR_PARAM ? coerce_param(b, e, target) : coerce_literal(b, e, target);
    const struct function *cast = function_cast(e->type, target, level);
    if (cast == NULL)
        return NULL;
    const struct expr *arg = e;
    return expr_call_as(b, cast, &arg, 1, target, e->position);
}

struct expr *coerce_unknown(struct binder *b, struct expr *e)
{
    return e == NULL || e->type != TYPE_UNKNOWN ? e : coerce_try(b, e, TYPE_TEXT, CAST_IMPLICIT);
}

/* The function that fits values of the type, or NULL. */
static const struct function *typmod_function(enum type t)
{
    const struct function *found[FUNCTION_OVERLOADS_MAX];
    const char *name = t == TYPE_TEXT ? "varchar" : type_info(t)->short_name;
    uint32_t n = function_candidates(FUNCTION_PLAIN, str_of(name), found);
    for (uint32_t i = 0; i < n; i++)
        if (found[i]->n_args > 1 && found[i]->result == t && found[i]->args[0] == t &&
            found[i]->args[1] == TYPE_INT4)
            return found[i];
    return NULL;
}

struct expr *coerce_typmod(struct binder *b, struct expr *e, enum type t, int32_t typmod, bool cut)
{
    if (e == NULL || !typmod_limits(t, typmod))
        return e;
    const struct function *f = typmod_function(t);
    CHECK(f != NULL && f->n_args <= 3);
    struct value v = {.type = TYPE_INT4, .as.i4 = typmod};
    struct value c = {.type = TYPE_BOOL, .as.b = cut};
    const struct expr *args[3] = {e, expr_const(b, v, e->position), expr_const(b, c, e->position)};
    return args[1] == NULL || args[2] == NULL ? NULL : expr_call(b, f, args, f->n_args,
                                                                 e->position);
}

int32_t call_typmod(const struct expr *e)
{
    bool fits = e->kind == EXPR_CALL && e->n_args > 1 && e->args[1]->kind == EXPR_CONST &&
                !e->args[1]->value.null && e->function == typmod_function(e->type);
    return fits ? e->args[1]->value.as.i4 : -1;
}

struct expr *coerce_assign(struct binder *b, struct expr *e, const struct column_def *column)
{
    struct expr *r = coerce_try(b, e, column->type, CAST_ASSIGNMENT);
    if (r == NULL && b->err == ERR_OK && e != NULL) {
        bind_fail(b, e->position, ERR_TYPE_MISMATCH,
                  "column \"%.*s\" is of type %s but expression is of type %s",
                  STR_ARG(column->name), type_name(column->type), type_name(e->type));
        return bind_hint(b, "You will need to rewrite or cast the expression.");
    }
    return coerce_typmod(b, r, column->type, column->typmod, false);
}

struct expr *coerce_bool(struct binder *b, struct expr *e, const char *what)
{
    struct expr *r = coerce_try(b, e, TYPE_BOOL, CAST_IMPLICIT);
    if (r == NULL && b->err == ERR_OK && e != NULL)
        return bind_fail(b, e->position, ERR_TYPE_MISMATCH,
                         "argument of %s must be type boolean, not type %s", what,
                         type_name(e->type));
    return r;
}

static bool implicit(enum type from, enum type to)
{
    return from == to || from == TYPE_UNKNOWN || to == TYPE_UNKNOWN ||
           function_cast(from, to, CAST_IMPLICIT) != NULL;
}

/* TYPE_UNKNOWN when all are; TYPE_COUNT_ with the error kept. */
static enum type common_type(struct binder *b, struct expr **e, uint32_t n, const char *what)
{
    enum type t = TYPE_UNKNOWN;
    for (uint32_t i = 0; i < n; i++) {
        enum type next = e[i]->type;
        if (next == TYPE_UNKNOWN || next == t)
            continue;
        if (t == TYPE_UNKNOWN) {
            t = next;
        } else if (type_category(t) != type_category(next)) {
            bind_fail(b, e[i]->position, ERR_TYPE_MISMATCH,
                      "%s types %s and %s cannot be matched", what, type_name(t),
                      type_name(next));
            return TYPE_COUNT_;
        } else if (!is_preferred(t) && implicit(t, next) && !implicit(next, t)) {
            t = next;
        }
    }
    return t;
}

bool coerce_common(struct binder *b, struct expr **e, uint32_t n, const char *what)
{
    for (uint32_t i = 0; i < n; i++)
        if (e[i] == NULL)
            return false;
    enum type t = common_type(b, e, n, what);
    if (t == TYPE_COUNT_)
        return false;
    if (t == TYPE_UNKNOWN)
        t = TYPE_TEXT;
    for (uint32_t i = 0; i < n; i++) {
        enum type from = e[i]->type;
        struct expr *r = coerce_try(b, e[i], t, CAST_IMPLICIT);
        if (r == NULL) {
            bind_fail(b, e[i]->position, ERR_TYPE_MISMATCH, "%s could not convert type %s to %s",
                      what, type_name(from), type_name(t));
            return false;
        }
        e[i] = r;
    }
    return true;
}

/* ---- overloads ---- */

/* Types that DIALECT_WIDE does not have. */
static bool is_new(enum type t)
{
    return t == TYPE_INT2 || t == TYPE_FLOAT4 || t == TYPE_TIMESTAMP || t == TYPE_TIME ||
           t == TYPE_UUID || t == TYPE_BYTEA;
}

/* Keeps the candidates that the dialect has. */
static uint32_t keep_dialect(const struct function **f, uint32_t n, enum dialect d)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool ok = d == DIALECT_WIDE || !f[i]->old;
        for (uint32_t a = 0; ok && d == DIALECT_WIDE && a < f[i]->n_args; a++)
            ok = !is_new(f[i]->args[a]);
        if (ok && (d != DIALECT_WIDE || !is_new(f[i]->result)))
            f[kept++] = f[i];
    }
    return kept;
}

/* The overload that is meant: see struct function. */
static const struct function *meant(const struct function *f)
{
    const struct function *found[FUNCTION_OVERLOADS_MAX];
    if (f == NULL || f->means == TYPE_UNKNOWN)
        return f;
    uint32_t n = function_candidates(f->kind, str_of(f->name), found);
    for (uint32_t i = 0; i < n; i++) {
        bool same = found[i]->n_args == f->n_args && found[i]->kernel != NULL;
        for (uint32_t a = 0; same && a < f->n_args; a++)
            same = found[i]->args[a] == f->means;
        if (same)
            return found[i];
    }
    UNREACHABLE();
}

static enum type wanted(const struct function *f, uint32_t i)
{
    return f->args[i < f->n_args ? i : f->n_args - 1u];
}

static bool takes(const struct function *f, uint32_t n)
{
    return f->variadic ? n >= f->n_args : n == f->n_args;
}

static bool is_polymorphic(enum type t)
{
    return t == TYPE_ARRAY || t == TYPE_ELEMENT || t == TYPE_ENUM;
}

/* Whether an argument may stand where the function takes `want`, looked at by itself. */
static bool fits(const struct function *f, enum type from, enum type want)
{
    if (want == TYPE_ELEMENT || (from == TYPE_UNKNOWN && is_polymorphic(want)))
        return true;
    if (want == TYPE_ARRAY || want == TYPE_ENUM)
        return type_kind(from) == want;
    if (want == TYPE_UNKNOWN && f->kind == FUNCTION_OPERATOR && type_is_array(from))
        return false;
    return implicit(from, want);
}

/* Of two types of elements the one that both become, or TYPE_COUNT_. */
static enum type wider(const struct function *f, enum type a, enum type b)
{
    if (a == b || b == TYPE_UNKNOWN)
        return a;
    if (a == TYPE_UNKNOWN)
        return b;
    if (f->same || type_category(a) != type_category(b))
        return TYPE_COUNT_;
    if (implicit(a, b))
        return b;
    return implicit(b, a) ? a : TYPE_COUNT_;
}

/* What TYPE_ELEMENT, or TYPE_ENUM, is for these arguments: TYPE_UNKNOWN when they leave it open,
 * TYPE_COUNT_ when they do not go together. */
static enum type polymorphic(const struct function *f, const enum type *types, uint32_t n_args)
{
    enum type element = TYPE_UNKNOWN;
    bool arrays = f->result == TYPE_ARRAY;
    for (uint32_t a = 0; a < n_args && element != TYPE_COUNT_; a++) {
        enum type want = wanted(f, a);
        if (!is_polymorphic(want))
            continue;
        arrays |= want == TYPE_ARRAY;
        bool open = types[a] == TYPE_UNKNOWN;
        element = wider(f, element, want == TYPE_ARRAY && !open ? type_element(types[a])
                                                                : types[a]);
    }
    return arrays && type_is_array(element) ? TYPE_COUNT_ : element;
}

/* What argument i becomes. */
static enum type target_of(const struct function *f, uint32_t i, enum type element)
{
    enum type want = wanted(f, i);
    if (!is_polymorphic(want))
        return want;
    return want == TYPE_ARRAY ? type_array_of(element) : element;
}

static bool reachable(const struct function *f, const enum type *types, uint32_t n_args)
{
    bool ok = takes(f, n_args);
    for (uint32_t a = 0; ok && a < n_args; a++)
        ok = fits(f, types[a], wanted(f, a));
    return ok && polymorphic(f, types, n_args) != TYPE_COUNT_;
}

/* Keeps the candidates that implicit casts can reach. */
static uint32_t keep_reachable(const struct function **f, uint32_t n, const enum type *types,
                               uint32_t n_args)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (reachable(f[i], types, n_args))
            f[kept++] = f[i];
    }
    return kept;
}

static const struct function *exact(const struct function *const *f, uint32_t n,
                                    const enum type *types, uint32_t n_args)
{
    for (uint32_t i = 0; i < n; i++) {
        bool ok = takes(f[i], n_args);
        for (uint32_t a = 0; ok && a < n_args; a++)
            ok = types[a] == wanted(f[i], a) && types[a] != TYPE_UNKNOWN;
        if (ok)
            return f[i];
    }
    return NULL;
}

/* Keeps the candidates with the most arguments that match exactly, or (with `preferred`) also
 * those whose type is the preferred one of the argument's category. */
static uint32_t keep_best(const struct function **f, uint32_t n, const enum type *types,
                          uint32_t n_args, bool preferred)
{
    uint32_t best = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t score = 0;
        for (uint32_t a = 0; a < n_args; a++) {
            enum type want = wanted(f[i], a);
            if (types[a] == TYPE_UNKNOWN)
                continue;
            score += want == types[a] || (preferred && is_preferred(want) &&
                                          type_category(want) == type_category(types[a]));
        }
        if (score > best) {
            best = score;
            kept = 0;
        }
        if (score == best)
            f[kept++] = f[i];
    }
    return kept;
}

/* The category an untyped argument is taken for: text where any candidate takes text, else what
 * all agree on, else 'X'. */
static char unknown_category(const struct function *const *f, uint32_t n, uint32_t a,
                             bool *has_preferred)
{
    char category = type_category(wanted(f[0], a));
    bool conflict = false;
    *has_preferred = false;
    for (uint32_t i = 0; i < n; i++) {
        enum type want = wanted(f[i], a);
        if (type_category(want) == 'S') {
            *has_preferred = true;
            return 'S';
        }
        conflict |= type_category(want) != category;
        *has_preferred |= is_preferred(want);
    }
    return conflict ? 'X' : category;
}

static uint32_t keep_category(const struct function **f, uint32_t n, const enum type *types,
                              uint32_t n_args)
{
    for (uint32_t a = 0; a < n_args; a++) {
        if (types[a] != TYPE_UNKNOWN)
            continue;
        bool has_preferred;
        char category = unknown_category(f, n, a, &has_preferred);
        if (category == 'X')
            return n;
        uint32_t kept = 0;
        for (uint32_t i = 0; i < n; i++) {
            enum type want = wanted(f[i], a);
            if (type_category(want) == category && (!has_preferred || is_preferred(want)))
                f[kept++] = f[i];
        }
        if (kept == 0)
            return n;
        n = kept;
    }
    return n;
}

/* Last resort: untyped arguments are of the type that all typed ones have. `same` has room for
 * n_args. */
static const struct function *same_as_known(const struct function *const *f, uint32_t n,
                                            const enum type *types, uint32_t n_args,
                                            enum type *same)
{
    enum type known = TYPE_UNKNOWN;
    for (uint32_t a = 0; a < n_args; a++) {
        if (types[a] == TYPE_UNKNOWN)
            continue;
        if (known != TYPE_UNKNOWN && known != types[a])
            return NULL;
        known = types[a];
    }
    const struct function *found = NULL;
    for (uint32_t a = 0; a < n_args; a++)
        same[a] = known;
    for (uint32_t i = 0; known != TYPE_UNKNOWN && i < n; i++) {
        bool ok = reachable(f[i], same, n_args);
        if (ok && found != NULL)
            return NULL;
        if (ok)
            found = f[i];
    }
    return found;
}

static const struct function *choose(const struct function **f, uint32_t n,
                                     const enum type *types, uint32_t n_args, enum type *scratch,
                                     bool *ambiguous)
{
    *ambiguous = false;
    const struct function *found = exact(f, n, types, n_args);
    if (found == NULL && n_args == 2 && (types[0] == TYPE_UNKNOWN) != (types[1] == TYPE_UNKNOWN)) {
        enum type known = types[0] == TYPE_UNKNOWN ? types[1] : types[0];
        enum type both[2] = {known, known};
        if (f[0]->kind == FUNCTION_OPERATOR)
            found = exact(f, n, both, 2);
    }
    if (found != NULL)
        return found;
    n = keep_reachable(f, n, types, n_args);
    if (n <= 1)
        return n == 1 ? f[0] : NULL;
    n = keep_best(f, n, types, n_args, false);
    if (n > 1)
        n = keep_best(f, n, types, n_args, true);
    if (n > 1)
        n = keep_category(f, n, types, n_args);
    if (n == 1)
        return f[0];
    found = same_as_known(f, n, types, n_args, scratch);
    *ambiguous = found == NULL;
    return found;
}

/* ---- errors ---- */

static void signature(struct buf *out, enum function_kind kind, struct str name,
                      const enum type *types, uint32_t n)
{
    if (kind == FUNCTION_OPERATOR) {
        if (n == 2)
            buf_printf(out, "%s ", type_name(types[0]));
        buf_printf(out, "%.*s %s", STR_ARG(name), type_name(types[n - 1]));
        return;
    }
    buf_printf(out, "%.*s(", STR_ARG(name));
    for (uint32_t i = 0; i < n && out->len < SIGNATURE_BYTES_MAX; i++)
        buf_printf(out, "%s%s", i > 0 ? ", " : "", type_name(types[i]));
    buf_printf(out, ")");
}

struct name_list {
    struct str names[NAMES_MAX];
    size_t n;
};

static void add_name(void *arg, const char *name)
{
    struct name_list *l = arg;
    if (l->n < NAMES_MAX)
        l->names[l->n++] = str_of(name);
}

static void hint_function(struct binder *b, struct str name, bool name_exists)
{
    if (name_exists) {
        bind_hint(b, "No function matches the given name and argument types. "
                     "You might need to add explicit type casts.");
        return;
    }
    struct name_list *l = arena_alloc(b->arena, sizeof *l);
    if (l == NULL)
        return;
    l->n = 0;
    for (uint32_t i = 0; aggregate_by_number(i) != NULL; i++)
        add_name(l, aggregate_by_number(i));
    function_names(add_name, l);
    for (uint32_t i = 0; i < b->catalog->n_functions && l->n < NAMES_MAX; i++)
        l->names[l->n++] = b->catalog->functions[i]->name;
    bind_nearest(b, name, l->names, l->n);
}

static void *no_match(struct binder *b, enum function_kind kind, struct str name,
                      const enum type *types, uint32_t n, bool exists, bool ambiguous,
                      int32_t position)
{
    struct buf text;
    buf_init(&text, ERR_TEXT_MAX);
    signature(&text, kind, name, types, n);
    const char *noun = kind == FUNCTION_OPERATOR ? "operator" : "function";
    if (ambiguous) {
        bind_fail(b, position, ERR_AMBIGUOUS_FUNCTION, "%s is not unique: %.*s", noun,
                  STR_ARG(buf_str(&text)));
        bind_hint(b, "Could not choose a best candidate %s. You might need to add explicit type "
                     "casts.", noun);
    } else if (kind == FUNCTION_OPERATOR) {
        bind_fail(b, position, ERR_UNDEFINED_FUNCTION, "operator does not exist: %.*s",
                  STR_ARG(buf_str(&text)));
        bind_hint(b, "No operator matches the given name and argument types. "
                     "You might need to add explicit type casts.");
    } else {
        bind_fail(b, position, ERR_UNDEFINED_FUNCTION, "function %.*s does not exist",
                  STR_ARG(buf_str(&text)));
        hint_function(b, name, exists);
    }
    buf_deinit(&text);
    return NULL;
}

const struct function *resolve_function(struct binder *b, enum function_kind kind, struct str name,
                                        struct expr **args, uint32_t n_args, int32_t position)
{
    const struct function *found[FUNCTION_OVERLOADS_MAX + FUNCTION_NAME_OVERLOADS_MAX];
    enum type *types = bind_alloc(b, 2 * (size_t)n_args + 1, sizeof(*types));
    if (types == NULL)
        return NULL;
    for (uint32_t i = 0; i < n_args; i++) {
        if (args[i] == NULL)
            return NULL;
        types[i] = args[i]->type;
    }
    uint32_t n = function_candidates(kind, name, found);
    n = keep_dialect(found, n, b->dialect);
    if (kind == FUNCTION_PLAIN)
        n += user_candidates(b, name, found + n);
    bool ambiguous = false;
    const struct function *f =
        n > 0 ? meant(choose(found, n, types, n_args, types + n_args, &ambiguous)) : NULL;
    if (f == NULL)
        return no_match(b, kind, name, types, n_args, n > 0, ambiguous, position);
    enum type element = polymorphic(f, types, n_args);
    for (uint32_t i = 0; i < n_args; i++) {
        enum type target = target_of(f, i, element);
        if (is_polymorphic(wanted(f, i)) && element == TYPE_UNKNOWN)
            return bind_fail(b, position, ERR_TYPE_MISMATCH,
                             "could not determine polymorphic type because input has type unknown");
        args[i] = coerce_try(b, args[i], target, CAST_IMPLICIT);
        if (args[i] == NULL && b->err == ERR_OK)
            return bind_fail(b, position, ERR_INTERNAL, "argument %u of %.*s does not convert",
                             i + 1, STR_ARG(name));
        if (args[i] == NULL)
            return NULL;
    }
    return f;
}
