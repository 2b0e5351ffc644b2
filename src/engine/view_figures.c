#include "engine/view_figures.h"

#include "base/mem.h"
#include "engine/view_flow.h"
#include "run/flow.h"

enum { PARENTS_LOOKED_AT_MAX = 4096 };

static void name_operators(struct view_figures *f, const struct flow_outline *o)
{
    f->n_operators = o->n_operators;
    f->n_scans = o->n_scans;
    for (uint32_t i = 0; i < o->n_operators; i++)
        f->operators[i].node = o->operators[i];
    for (uint32_t i = 0; i < o->n_scans; i++)
        f->operators[o->n_operators + i].node = o->scans[i];
}

enum err view_figures_new(const struct view *v, struct view_figures **out)
{
    const struct plan_node *root = v->plan->root;
    struct flow_outline *o = mem_zalloc(1, sizeof(*o));
    if (o == NULL)
        return ERR_NO_MEMORY;
    enum err e = plan_is_view_chain(root) ? ERR_OK : flow_outline(view_flow_below(root), o);
    uint32_t n = e == ERR_OK ? o->n_operators + o->n_scans : 0;
    struct view_figures *f = mem_zalloc(1, sizeof(*f) + n * sizeof(f->operators[0]));
    if (e == ERR_OK && f != NULL)
        name_operators(f, o);
    mem_free(o);
    *out = f;
    /* Any other error fails the view when it is compiled. */
    return e == ERR_NO_MEMORY || f == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* ---- samples ---- */

static void sample(struct figure *f, uint64_t total)
{
    atomic_store_explicit(&f->at[0], stat_getu(&f->at[1]), memory_order_relaxed);
    atomic_store_explicit(&f->at[1], total, memory_order_relaxed);
}

static void sample_view(const struct relation_stats *st)
{
    struct view_figures *f = st->figures;
    sample(&f->rows_in, stat_getu(&st->rows_in));
    sample(&f->rows_filtered, stat_getu(&st->rows_filtered));
    sample(&f->rows_out, stat_getu(&st->rows_out));
    sample(&f->source_ns, stat_getu(&f->source_ns.total));
    sample(&f->state_ns, stat_getu(&f->state_ns.total));
    for (uint32_t i = 0; i < f->n_operators + f->n_scans; i++) {
        struct operator_figures *o = &f->operators[i];
        sample(&o->rows_in[0], stat_getu(&o->rows_in[0].total));
        sample(&o->rows_in[1], stat_getu(&o->rows_in[1].total));
        sample(&o->rows_out, stat_getu(&o->rows_out.total));
        sample(&o->busy_ns, stat_getu(&o->busy_ns.total));
    }
}

void view_figures_sample(struct shard *s)
{
    struct engine *e = s->engine;
    int64_t last = stat_get(&e->sampled_ns[1]);
    if (s->mono_ns - last < (int64_t)FIGURES_SAMPLE_MS * 1000000)
        return;
    for (uint32_t i = 0; i < s->catalog->n_relations; i++)
        if (s->catalog->relations[i]->kind == REL_VIEW)
            sample_view(engine_relation_stats(e, s->catalog->relations[i]->number));
    stat_set(&e->sampled_ns[0], last);
    stat_set(&e->sampled_ns[1], s->mono_ns);
}

/* Since the older sample. */
static double rate(struct engine *e, const struct figure *f, uint64_t total)
{
    int64_t since = host_mono_ns(e->host) - stat_get(&e->sampled_ns[0]);
    uint64_t before = stat_getu(&f->at[0]);
    return since <= 0 || total < before ? 0 : (double)(total - before) * 1e9 / (double)since;
}

/* ---- of a node ---- */

struct look {
    struct engine *engine;
    const struct relation_stats *stats;
    const struct view_figures *figures;
    const struct plan_node *root, *last; /* the aggregate that is the last stage, or NULL */
    bool chain;                          /* the plan has no operators */
    uint32_t left;
};

struct counted {
    bool known;
    uint64_t rows;
    double per_second;
};

static struct counted count_of(const struct look *l, const struct figure *f, uint64_t total)
{
    return (struct counted){true, total, rate(l->engine, f, total)};
}
static struct counted rows_into_last(const struct look *l)
{
    return count_of(l, &l->figures->rows_filtered, stat_getu(&l->stats->rows_filtered));
}
static struct counted rows_of_view(const struct look *l)
{
    return count_of(l, &l->figures->rows_out, stat_getu(&l->stats->rows_out));
}

/* The operator or scan that a node is in the flow, or NULL. */
static const struct operator_figures *operator_of(const struct look *l, const struct plan_node *n)
{
    for (uint32_t i = 0; i < l->figures->n_operators + l->figures->n_scans; i++)
        if (l->figures->operators[i].node == n)
            return &l->figures->operators[i];
    return NULL;
}

/* What comes out of a node, by what is below it. */
static struct counted rows_up(const struct look *l, const struct plan_node *n)
{
    while (n->kind == PLAN_PROJECT)
        n = n->input;
    if (n == l->last)
        return rows_of_view(l);
    if (l->chain && n->kind == PLAN_SCAN)
        return count_of(l, &l->figures->rows_in, stat_getu(&l->stats->rows_in));
    const struct operator_figures *o = operator_of(l, n);
    if (o == NULL)
        return (struct counted){0};
    return count_of(l, &o->rows_out, stat_getu(&o->rows_out.total));
}

static const struct plan_node *parent_of(struct look *l, const struct plan_node *from,
                                         const struct plan_node *n)
{
    for (; from != NULL && l->left > 0; from = from->input) {
        l->left--;
        if (from->input == n || from->right == n)
            return from;
        const struct plan_node *found =
            from->right != NULL ? parent_of(l, from->right, n) : NULL;
        if (found != NULL)
            return found;
    }
    return NULL;
}

/* The same by what is above it. */
static struct counted rows_down(struct look *l, const struct plan_node *n)
{
    for (uint32_t i = 0; i < FLOW_DEPTH_MAX; i++) {
        l->left = PARENTS_LOOKED_AT_MAX;
        const struct plan_node *parent = n == l->root ? NULL : parent_of(l, l->root, n);
        if (parent == NULL)
            return n == l->root && l->last == NULL ? rows_into_last(l) : (struct counted){0};
        if (parent == l->last)
            return rows_into_last(l);
        const struct operator_figures *o = operator_of(l, parent);
        uint32_t port = parent->input == n ? 0 : 1;
        if (o != NULL)
            return count_of(l, &o->rows_in[port], stat_getu(&o->rows_in[port].total));
        if (parent->kind != PLAN_PROJECT)
            return (struct counted){0};
        n = parent;
    }
    return (struct counted){0};
}

static struct counted rows_out(struct look *l, const struct plan_node *n)
{
    struct counted c = rows_up(l, n);
    return c.known ? c : rows_down(l, n);
}

/* Those of both ports. */
static struct counted rows_in(struct look *l, const struct plan_node *n)
{
    const struct operator_figures *o = operator_of(l, n);
    struct counted c;
    if (n == l->last)
        return rows_into_last(l);
    if (o == NULL || n->input == NULL)
        return n->input == NULL ? (struct counted){0} : rows_out(l, n->input);
    c = count_of(l, &o->rows_in[0], stat_getu(&o->rows_in[0].total));
    struct counted right = count_of(l, &o->rows_in[1], stat_getu(&o->rows_in[1].total));
    c.rows += right.rows;
    c.per_second += right.per_second;
    return c;
}

static double busy_share(const struct look *l, const struct figure *f)
{
    return rate(l->engine, f, stat_getu(&f->total)) / 1e9;
}

static void whole_figures(const struct look *l, struct node_figures *out)
{
    struct counted in = count_of(l, &l->figures->rows_in, stat_getu(&l->stats->rows_in)),
                   given = rows_of_view(l);
    *out = (struct node_figures){.in = true, .out = true, .busy = true, .state = true};
    out->rows_in = in.rows;
    out->rows_in_s = in.per_second;
    out->rows_out = given.rows;
    out->rows_out_s = given.per_second;
    out->busy_share = busy_share(l, &l->figures->source_ns) + busy_share(l, &l->figures->state_ns);
    out->state_rows = stat_get(&l->stats->groups);
    out->state_bytes = stat_get(&l->stats->state_bytes);
}

static void one_figures(struct look *l, const struct plan_node *n, struct node_figures *out)
{
    struct counted in = rows_in(l, n), given = rows_out(l, n);
    const struct operator_figures *o = operator_of(l, n);
    *out = (struct node_figures){.in = in.known, .out = given.known};
    out->rows_in = in.rows;
    out->rows_in_s = in.per_second;
    out->rows_out = given.rows;
    out->rows_out_s = given.per_second;
    if (o != NULL && n->kind != PLAN_SCAN) {
        out->busy = out->state = true;
        out->busy_share = busy_share(l, &o->busy_ns);
        out->state_rows = stat_get(&o->rows);
        out->state_bytes = stat_get(&o->bytes);
    } else if (n == l->last) {
        out->state = true;
        out->state_rows = stat_get(&l->stats->groups);
        out->state_bytes = stat_get(&l->stats->state_bytes);
        for (uint32_t i = 0; i < l->figures->n_operators; i++)
            out->state_bytes -= stat_get(&l->figures->operators[i].bytes);
    }
}

void view_node_figures(struct engine *e, const struct relation *view,
                       const struct plan_node *node, struct node_figures *out)
{
    const struct plan_node *root = view->view->plan->root, *agg = plan_last_aggregate(root);
    struct look l = {.engine = e, .root = root, .chain = plan_is_view_chain(root)};
    l.stats = engine_relation_stats(e, view->number);
    l.figures = l.stats->figures;
    l.last = agg != NULL && (l.chain || plan_is_last_stage(agg)) ? agg : NULL;
    if (node == NULL)
        whole_figures(&l, out);
    else
        one_figures(&l, node, out);
}
