/* Functions that CREATE FUNCTION made: objects with reference counts, in the order of their
 * numbers. Objects do not change: one whose definition is replaced gets a copy that says so. */
#include "base/check.h"
#include "base/mem.h"
#include "plan/catalog_int.h"
#include "type/c_function.h"

struct function_object {
    atomic_uint refs;
    struct function_object *origin;  /* whose plan this copy uses; or NULL */
    struct plan *plan;               /* names and types live in it */
    struct user_function function;
    struct c_function c;             /* FUNCTION_C */
    struct function overloads[FUNCTION_ARGS_MAX + 1];
};

static struct function_object *object_of(const struct user_function *f)
{
    union { const struct user_function *in; char *out; } p = {f};
    return (struct function_object *)(void *)(p.out - offsetof(struct function_object, function));
}

void catalog_function_ref(const struct user_function *f)
{
    atomic_fetch_add_explicit(&object_of(f)->refs, 1, memory_order_relaxed);
}

void catalog_function_unref(const struct user_function *f)
{
    struct function_object *o = object_of(f);
    if (atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (o->origin != NULL)
        catalog_function_unref(&o->origin->function); /* an origin has none */
    plan_free(o->plan);
    mem_free(o);
}

/* Takes over what `f` points to; NULL when out of memory. */
static struct function_object *object_new(const struct user_function *f)
{
    struct function_object *o = mem_zalloc(1, sizeof *o);
    if (o == NULL)
        return NULL;
    atomic_init(&o->refs, 1);
    o->function = *f;
    o->c = (struct c_function){.file = f->file, .symbol = f->symbol};
    memcpy(o->c.digest, f->digest, sizeof o->c.digest);
    for (uint32_t k = 0; k <= f->n_defaults; k++) {
        struct function *c = &o->overloads[k];
        *c = (struct function){.name = f->name.ptr, .kind = FUNCTION_PLAIN, .result = f->result,
                               .n_args = (uint8_t)(f->n_args - k), .nulls_seen = true,
                               .user = &o->function};
        if (f->language == FUNCTION_C) {
            c->c = &o->c;
            c->kernel = c_function_kernel;
            c->nulls_seen = !f->strict;
        }
        for (uint32_t i = 0; i < f->n_args - k; i++)
            c->args[i] = f->args[i];
    }
    o->function.overloads = o->overloads;
    return o;
}

struct str function_arguments(const struct user_function *f, struct arena *a)
{
    struct buf b;
    buf_init(&b, FUNCTION_SQL_BYTES_MAX);
    for (uint32_t i = 0; i < f->n_args; i++)
        buf_printf(&b, "%s%.*s%s%s%s", i > 0 ? ", " : "", STR_ARG(f->arg_names[i]),
                   f->arg_names[i].len > 0 ? " " : "", type_info(f->args[i])->name,
                   i >= f->n_args - f->n_defaults ? " DEFAULT ..." : "");
    struct str s = b.failed ? (struct str){0} : arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return s;
}

const struct user_function *catalog_function(const struct catalog *c, struct str signature)
{
    for (uint32_t i = 0; i < c->n_functions; i++)
        if (c->functions[i]->until == UINT32_MAX &&
            str_eq(c->functions[i]->signature, signature))
            return c->functions[i];
    return NULL;
}

static bool bound_with(const struct relation *r, uint32_t number)
{
    if (r->kind != REL_VIEW && r->kind != REL_QUERY)
        return false;
    for (uint32_t i = 0; i < r->view->plan->n_functions; i++)
        if (r->view->plan->functions[i] == number)
            return true;
    return false;
}

static const struct relation *user_of(const struct catalog *c, uint32_t number)
{
    for (uint32_t i = 0; i < c->n_relations; i++)
        if (bound_with(c->relations[i], number))
            return c->relations[i];
    return NULL;
}

bool catalog_function_used(const struct catalog *c, const struct relation *r, struct str signature)
{
    for (uint32_t i = 0; i < c->n_functions; i++)
        if (str_eq(c->functions[i]->signature, signature) &&
            bound_with(r, c->functions[i]->number))
            return true;
    return false;
}

static void remove_at(struct version *v, uint32_t at)
{
    const struct user_function **all = v->memory.functions;
    catalog_function_unref(all[at]);
    v->pub.n_functions--;
    memmove(&all[at], &all[at + 1], (v->pub.n_functions - at) * sizeof(*all));
}

void catalog_functions_sweep(struct version *v)
{
    for (uint32_t i = v->pub.n_functions; i-- > 0;)
        if (v->pub.functions[i]->until != UINT32_MAX &&
            user_of(&v->pub, v->pub.functions[i]->number) == NULL)
            remove_at(v, i);
}

/* The definition there was is the one until `number`. */
static enum err supersede(struct version *v, const struct user_function *old, uint32_t number,
                          struct err_detail *why)
{
    uint32_t at = 0;
    while (v->pub.functions[at] != old)
        at++;
    struct function_object *of = object_of(old);
    struct function_object *o = object_new(old);
    if (o == NULL)
        return err_set(why, ERR_NO_MEMORY, "out of memory while the catalog changes");
    o->origin = of->origin != NULL ? of->origin : of;
    catalog_function_ref(&o->origin->function);
    o->function.until = number;
    v->memory.functions[at] = &o->function;
    catalog_function_unref(old);
    return ERR_OK;
}

static enum err may_replace(const struct user_function *old, const struct user_function *f,
                            struct err_detail *why)
{
    if (!f->replace)
        return err_set(why, ERR_DUPLICATE_FUNCTION,
                       "function \"%.*s\" already exists with same argument types",
                       STR_ARG(f->name));
    if (old->result == f->result)
        return ERR_OK;
    enum err e = err_set(why, ERR_INVALID_FUNCTION,
                         "cannot change return type of existing function");
    err_hint(why, "Use DROP FUNCTION %.*s first.", STR_ARG(f->signature));
    return e;
}

static uint32_t overloads_of(const struct catalog *c, struct str name)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n_functions; i++)
        if (c->functions[i]->until == UINT32_MAX && str_eq(c->functions[i]->name, name))
            n += c->functions[i]->n_defaults + 1;
    return n;
}

static enum err room_for(const struct catalog *c, const struct user_function *f,
                         struct err_detail *why)
{
    if (c->n_functions >= CATALOG_FUNCTIONS_MAX)
        return err_set(why, ERR_LIMIT, "there are %d functions: drop one first",
                       CATALOG_FUNCTIONS_MAX);
    if (overloads_of(c, f->name) + f->n_defaults + 1 > FUNCTION_NAME_OVERLOADS_MAX)
        return err_set(why, ERR_LIMIT,
                       "there are more than %d functions of the name \"%.*s\"; one with defaults "
                       "counts for each number of arguments",
                       FUNCTION_NAME_OVERLOADS_MAX, STR_ARG(f->name));
    return ERR_OK;
}

static enum err add(struct version *v, struct function_object *o, struct err_detail *why)
{
    const struct user_function *f = &o->function;
    const struct user_function *old = catalog_function(&v->pub, f->signature);
    TRY(room_for(&v->pub, f, why));
    if (old != NULL) {
        TRY(may_replace(old, f, why));
        TRY(supersede(v, old, f->number, why));
    }
    CHECK(v->pub.n_functions < v->memory.functions_cap);
    v->memory.functions[v->pub.n_functions++] = f;
    if (f->number >= v->pub.next_relation)
        v->pub.next_relation = f->number + 1;
    catalog_functions_sweep(v);
    return ERR_OK;
}

enum err catalog_create_function(struct version *v, const struct catalog_change *change,
                                 struct err_detail *why)
{
    struct plan *p;
    TRY(plan_accepted(change->sql, change->dialect, change->number, &v->pub, &p, why));
    bool match = p->kind == STMT_CREATE_FUNCTION && str_eq(p->change.name, change->name) &&
                 (p->function->language == FUNCTION_C) == change->has_digest;
    if (!match || (v->pub.n_functions > 0 &&
                   v->pub.functions[v->pub.n_functions - 1]->number >= change->number)) {
        plan_free(p);
        return err_set(why, ERR_CORRUPT, "catalog change \"%.*s\" does not match its SQL",
                       STR_ARG(change->name));
    }
    struct user_function f = *p->function;
    f.number = change->number;
    memcpy(f.digest, change->digest, sizeof f.digest);
    f.until = UINT32_MAX;
    struct function_object *o = object_new(&f);
    if (o == NULL) {
        plan_free(p);
        return err_set(why, ERR_NO_MEMORY, "out of memory while the catalog changes");
    }
    catalog_unref(p->catalog);
    p->catalog = NULL;
    o->plan = p;
    enum err e = add(v, o, why);
    if (e != ERR_OK)
        catalog_function_unref(&o->function);
    return e;
}

enum err catalog_drop_function(struct version *v, struct str signature, struct err_detail *why)
{
    if (catalog_function(&v->pub, signature) == NULL)
        return err_set(why, ERR_UNDEFINED_FUNCTION, "function %.*s does not exist",
                       STR_ARG(signature));
    for (uint32_t i = 0; i < v->pub.n_relations; i++) {
        const struct relation *user = v->pub.relations[i];
        if (!catalog_function_used(&v->pub, user, signature))
            continue;
        enum err e = err_set(why, ERR_DEPENDENT_OBJECTS,
                             "cannot drop function %.*s because view %.*s depends on it",
                             STR_ARG(signature), STR_ARG(user->name));
        err_hint(why, "Use DROP ... CASCADE to drop the dependent objects too.");
        return e;
    }
    for (uint32_t i = v->pub.n_functions; i-- > 0;)
        if (str_eq(v->pub.functions[i]->signature, signature))
            remove_at(v, i);
    return ERR_OK;
}
