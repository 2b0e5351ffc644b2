/* Views whose plan is no chain: operators (run/flow.h) between the sources and the last stage.
 *
 *   source side:  each scan of the source's relation -> flow_source -> packets of operators
 *   state side:   packets -> flow_local -> rows with weights -> groups of the last stage
 *
 * The last stage groups by the keys of the plan's topmost aggregate. It is that aggregate itself,
 * or, when the aggregate is an operator because it has to keep values, the row that the operator
 * gives of each group (keyed). Other plans have the whole row as its own key, exactly as it would
 * be written; or, where columns are known to identify a row and an operator says once an epoch what
 * became of it, those columns (keyed). A group's last cell counts the rows that it has. All of it
 * is in the view's one state partition. */
#include "base/check.h"
#include "engine/view_flow.h"
#include "plan/window.h"
#include "run/key.h"

#include <stdio.h>

enum { STEPS_PER_PIECE = 8, ROW_TEXT_BYTES_MAX = 1 << 20 };

/* ---- compiling ---- */

static const struct expr *column_expr(struct arena *a, uint32_t column, enum type type)
{
    struct expr *e = arena_zalloc(a, 1, sizeof(*e));
    if (e != NULL)
        *e = (struct expr){
            .kind = EXPR_COLUMN, .type = type, .position = -1, .n_nodes = 1, .index = column};
    return e;
}

struct last_stage {
    const struct plan_node *below;
    uint32_t n_keys, n_aggs;
    const struct expr **keys;
    struct aggregate *aggs; /* with room for one more */
    const struct expr **row; /* keyed: the root's columns, over keys and aggregates */
};

/* Of the plan's topmost aggregate. */
static enum err stage_of_aggregate(const struct plan_node *agg, struct last_stage *st)
{
    st->below = agg->input;
    for (; st->n_keys < agg->n_exprs; st->n_keys++)
        st->keys[st->n_keys] = agg->exprs[st->n_keys];
    for (; st->n_aggs < agg->n_aggs; st->n_aggs++)
        st->aggs[st->n_aggs] = agg->aggs[st->n_aggs];
    return ERR_OK;
}

/* Column `c` of a keyed view: a key, or what the row has there. */
static enum err keyed_column(struct view_run *v, struct last_stage *st, uint32_t c)
{
    enum type type = v->root->columns[c].type;
    uint32_t k = 0;
    while (k < st->n_keys && st->keys[k]->index != c)
        k++;
    if (k == st->n_keys) {
        const struct expr *e = column_expr(&v->arena, c, type);
        k += st->n_aggs;
        st->aggs[st->n_aggs++] = (struct aggregate){.function = AGG_ONLY, .arg = e, .type = type};
        if (e == NULL)
            return ERR_NO_MEMORY;
    }
    st->row[c] = column_expr(&v->arena, k, type);
    return st->row[c] == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* Of the rows of the root: all columns are keys, or, of a keyed view, its keys are, and the others
 * are what the key's only row has there. */
static enum err stage_of_rows(struct view_run *v, struct last_stage *st)
{
    const struct plan_node *root = v->root;
    const struct view *view = v->rel->view;
    uint32_t n_keys = v->keyed ? view->n_key_columns : root->n_columns;
    st->below = root;
    for (; st->n_keys < n_keys; st->n_keys++) {
        uint32_t c = v->keyed ? view->key_columns[st->n_keys] : st->n_keys;
        st->keys[st->n_keys] = column_expr(&v->arena, c, root->columns[c].type);
        if (st->keys[st->n_keys] == NULL)
            return ERR_NO_MEMORY;
    }
    for (uint32_t c = 0; v->keyed && c < root->n_columns; c++)
        TRY(keyed_column(v, st, c));
    return ERR_OK;
}

/* The last stage as an aggregate, with a count of rows; what is above it as a chain. */
static enum err compile_last(struct view_run *v, const struct plan_node *agg,
                             struct last_stage *st, struct err_detail *why)
{
    struct plan_node *node = arena_zalloc(&v->arena, 1, sizeof(*node));
    if (node == NULL)
        return ERR_NO_MEMORY;
    st->aggs[st->n_aggs++] = (struct aggregate){.function = AGG_COUNT_STAR, .type = TYPE_INT8};
    *node = (struct plan_node){.kind = PLAN_AGGREGATE,
                               .position = -1,
                               .input = st->below,
                               .n_exprs = st->n_keys,
                               .exprs = st->keys,
                               .n_aggs = st->n_aggs,
                               .aggs = st->aggs};
    v->aggregate = node;
    TRY(agg_plan_new(node, st->below, &v->arena, &v->agg, &v->source_chain, why));
    if (v->whole)
        v->tail_bytes = key_tail_bytes(v->agg.types, v->agg.n_keys);
    if (!v->keyed)
        return chain_compile(v->root, v->whole ? v->root : agg, &v->arena, &v->result_chain, why);
    struct plan_node row = {.kind = PLAN_PROJECT,
                            .input = node,
                            .n_exprs = v->root->n_columns,
                            .exprs = st->row};
    return chain_compile(&row, node, &v->arena, &v->result_chain, why);
}

/* Whether the rows come from an operator that says of each once an epoch what has become of it.
 * Those of a join may come and go again meanwhile. */
static bool gives_once(const struct plan_node *root)
{
    while (root->kind == PLAN_FILTER || root->kind == PLAN_PROJECT)
        root = root->input;
    return root->kind == PLAN_TOP || root->kind == PLAN_OVER || root->kind == PLAN_AGGREGATE;
}

/* Whether equal keys look alike: of a numeric (1.0 and 1.00) or a float (0 and -0) a row that goes
 * is not the one that comes. */
static bool keys_are_plain(const struct view_run *v)
{
    const struct view *view = v->rel->view;
    for (uint32_t i = 0; i < view->n_key_columns; i++) {
        enum type t = v->root->columns[view->key_columns[i]].type, of = type_element(t);
        if (key_tail_bytes(&t, 1) > 0 || of == TYPE_FLOAT4 || of == TYPE_FLOAT8)
            return false;
    }
    return true;
}

const struct plan_node *view_flow_below(const struct plan_node *root)
{
    const struct plan_node *agg = plan_last_aggregate(root);
    return agg != NULL && plan_is_last_stage(agg) ? agg->input : root;
}

enum err view_flow_compile(struct view_run *v, struct err_detail *why)
{
    const struct plan_node *agg = plan_last_aggregate(v->root);
    bool settled = agg != NULL && plan_is_last_stage(agg);
    uint32_t n = v->root->n_columns + (settled ? agg->n_exprs + agg->n_aggs : 0);
    struct last_stage st = {.keys = arena_zalloc(&v->arena, n + 1, sizeof(*st.keys)),
                            .aggs = arena_zalloc(&v->arena, n + 1, sizeof(*st.aggs)),
                            .row = arena_zalloc(&v->arena, n + 1, sizeof(*st.row))};
    if (st.keys == NULL || st.aggs == NULL || st.row == NULL)
        return ERR_NO_MEMORY;
    v->counted = true;
    v->unique = v->rel->view->n_key_columns < v->root->n_columns;
    v->keyed = agg != NULL ? !settled : v->unique && gives_once(v->root) && keys_are_plain(v);
    v->whole = agg == NULL && !v->keyed;
    v->direct = v->connector != NULL && !settled && !v->emit_final;
    TRY(settled ? stage_of_aggregate(agg, &st) : stage_of_rows(v, &st));
    TRY(compile_last(v, agg, &st, why));
    struct window_bound window = window_of_keys(v->aggregate, v->agg.n_keys, &v->bound_column);
    v->windowed = v->closes = window.is;
    v->to_end = window.to_end;
    TRY(flow_new(st.below, v->hash_seed, &v->flow, why));
    v->windows_per_row = flow_windows_per_row(v->flow);
    return ERR_OK;
}

/* ---- rows that fail ---- */

static enum err row_refused(struct view_run *v, struct epoch_work *w, const struct batch *b,
                            uint32_t row, const char *text)
{
    struct buf json;
    char reason[NAME_BYTES_MAX + ERR_TEXT_MAX];
    buf_init(&json, ROW_TEXT_BYTES_MAX);
    for (uint32_t c = 0; c < b->n_columns; c++) {
        struct value value = column_get(&b->columns[c], row);
        buf_put_str(&json, c == 0 ? STR("[") : STR(", "));
        value_print_json(&value, &json);
    }
    buf_put_str(&json, b->n_columns == 0 ? STR("[]") : STR("]"));
    snprintf(reason, sizeof(reason), "view \"%.*s\": %s", STR_ARG(v->rel->name), text);
    stat_add(&v->stats->dead_letters, 1);
    enum err e = dead_letter_add(w, v, v->rel, 0, -1, reason,
                                 json.failed ? (struct str){0} : buf_str(&json));
    buf_deinit(&json);
    return e;
}

/* ---- source side ---- */

struct sending {
    struct view_run *view;
    const struct source_batch *in;
    struct epoch_work *work;
};

static enum err send_packet(void *arg, const struct flow_packet *p)
{
    const struct sending *s = arg;
    struct packet *packet = arena_alloc(s->work->arena, sizeof(*packet));
    if (packet == NULL)
        return ERR_NO_MEMORY;
    *packet = (struct packet){.view = s->view->number,
                              .source_partition = s->in->partition,
                              .op = p->op,
                              .port = p->port,
                              .batch = p->batch,
                              .keys = p->keys,
                              .hashes = p->hashes};
    view_packet_send(s->view, s->work, packet);
    return ERR_OK;
}

/* A row and its retraction fail alike: what is dropped leaves nothing behind. */
static enum err source_row_error(void *arg, const struct batch *b, uint32_t row, enum err e,
                                 const char *text)
{
    const struct sending *s = arg;
    (void)e;
    return s->in->silent ? ERR_OK : row_refused(s->view, s->work, b, row, text);
}

/* Rows that are late for some scan of their relation; each counts once. */
static enum err keep_late(struct view_run *v, const struct source_batch *in, const uint8_t *late,
                          struct epoch_work *w)
{
    uint32_t *rows = arena_alloc(w->arena, in->batch->n_rows * sizeof(*rows)), n = 0;
    if (rows == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < in->batch->n_rows; i++)
        if (late[i])
            rows[n++] = i;
    view_keep_late(v, in, rows, n, w);
    return ERR_OK;
}

/* The watermark before each row, for this view: windows that ended while the table was idle are
 * over. */
static enum err watermarks_of(const struct view_run *v, const struct source_batch *in,
                              struct arena *a, const int64_t **out)
{
    const struct view_input *from = &v->inputs[view_source(v->rel->view, in->rel->number)];
    *out = in->watermarks;
    if (in->watermarks == NULL || in->partition >= from->n_floors)
        return ERR_OK;
    int64_t floor = from->floors[in->partition];
    int64_t *own = arena_alloc(a, in->batch->n_rows * sizeof(*own));
    if (own == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < in->batch->n_rows; i++)
        own[i] = in->watermarks[i] > floor ? in->watermarks[i] : floor;
    *out = own;
    return ERR_OK;
}

enum err view_flow_source(struct view_run *v, const struct source_batch *in, struct epoch_work *w)
{
    uint8_t *late = arena_zalloc(w->arena, in->batch->n_rows, 1);
    const int64_t *watermarks;
    bool some_late = false;
    if (late == NULL)
        return ERR_NO_MEMORY;
    TRY(watermarks_of(v, in, w->arena, &watermarks));
    struct sending s = {v, in, w};
    struct flow_context c = {.arena = w->arena,
                             .now_us = in->now_us,
                             .emit = send_packet,
                             .row_error = source_row_error,
                             .arg = &s};
    stat_add(&v->stats->rows_in, in->batch->n_rows);
    for (uint32_t i = 0; i < flow_n_scans(v->flow); i++) {
        const struct plan_node *scan = flow_scan(v->flow, i);
        struct flow_late found;
        if (scan->relation->number != in->rel->number)
            continue;
        struct batch *scanned = arena_alloc(w->arena, sizeof(*scanned));
        if (scanned == NULL)
            return ERR_NO_MEMORY;
        TRY(view_scan_batch(scan, in->batch, w->arena, scanned));
        TRY(flow_source(v->flow, i, scanned, watermarks, &c, &found));
        stat_add(&v->stats->figures->operators[flow_n_operators(v->flow) + i].rows_out.total,
                 scanned->n_rows);
        for (uint32_t k = 0; k < found.n; k++)
            late[found.rows[k]] = 1;
        some_late |= found.n > 0;
    }
    return some_late ? keep_late(v, in, late, w) : ERR_OK;
}

/* ---- state side ---- */

/* Keys that hold all of a row, and fit a group. */
static enum err group_keys(struct view_run *v, const struct batch *b, struct packet *p)
{
    const struct view_epoch *ve = &v->now;
    struct arena *a = ve->work->piece;
    uint32_t n = b->n_rows, kept = 0;
    struct str *keys = arena_alloc(a, n * sizeof(*keys));
    uint64_t *hashes = arena_alloc(a, n * sizeof(*hashes));
    uint32_t *rows = arena_alloc(a, n * sizeof(*rows));
    if (keys == NULL || hashes == NULL || rows == NULL ||
        !key_encode(b->columns, v->agg.n_keys, n, a, v->hash_seed, keys, hashes))
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        struct str key = {keys[i].ptr, keys[i].len + v->tail_bytes};
        if (key.len > GROUP_KEY_BYTES_MAX) {
            if (!ve->silent)
                TRY(row_refused(v, ve->work, b, i, "the row is too long to be a key"));
            continue;
        }
        keys[kept] = key;
        hashes[kept] = hashes[i];
        rows[kept++] = i;
    }
    *p = (struct packet){.view = v->number, .batch = b, .keys = keys, .hashes = hashes};
    if (kept < n)
        p->batch = batch_gather(b, rows, kept, a);
    return p->batch == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* The ends of the windows that the groups are over with. */
static enum err window_ends(const struct view_run *v, struct packet *p, struct arena *a)
{
    const struct column *bound = &p->batch->columns[v->bound_column];
    int64_t *ends = arena_alloc(a, p->batch->n_rows * sizeof(*ends));
    if (ends == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < p->batch->n_rows; i++)
        if (column_is_null(bound, i) ||
            __builtin_add_overflow(column_i8(bound)[i], v->to_end, &ends[i]))
            ends[i] = INT64_MAX;
    p->window_end = ends;
    return ERR_OK;
}

/* Rows that came, or went, into their groups. */
static enum err take_rows(void *arg, const struct batch *rows)
{
    struct view_run *v = arg;
    const struct view_epoch *ve = &v->now;
    struct chain_result r;
    struct packet p;
    if (v->direct)
        return ve->silent ? ERR_OK : view_publish(v, &v->partitions[0], rows);
    arena_reset(ve->work->piece, EPOCH_ARENA_KEEP_BYTES);
    TRY(chain_run(v->source_chain, rows, NULL, ve->plan->wall_us, ve->work->piece, &r));
    for (uint32_t i = 0; i < r.n_errors; i++)
        if (!view_run_stopped(v, ve->work, r.errors[i].err, r.errors[i].text) && !ve->silent)
            TRY(row_refused(v, ve->work, rows, r.errors[i].row, r.errors[i].text));
    stat_add(&v->stats->rows_filtered, r.batch->n_rows);
    if (r.batch->n_rows == 0)
        return ERR_OK;
    TRY(group_keys(v, r.batch, &p));
    if (v->windowed)
        TRY(window_ends(v, &p, ve->work->piece));
    return p.batch->n_rows == 0 ? ERR_OK
                                : view_run_apply(v, &p, ve->plan, ve->silent, ve->work->arena,
                                                 ve->work->piece);
}

static enum err state_row_error(void *arg, const struct batch *b, uint32_t row, enum err e,
                                const char *text)
{
    struct view_run *v = arg;
    if (view_run_stopped(v, v->now.work, e, text))
        return ERR_OK;
    return v->now.silent ? ERR_OK : row_refused(v, v->now.work, b, row, text);
}

static int64_t read_clock(void *host)
{
    return host_mono_ns(host);
}

enum err view_flow_state(struct view_run *v, struct host *host, int64_t now_us)
{
    struct flow_sink sink = {.rows = take_rows,
                             .row_error = state_row_error,
                             .arg = v,
                             .clock_ns = read_clock,
                             .clock_arg = host};
    return flow_local_new(v->flow, v->partition_bytes_max, now_us, &sink, &v->local);
}

void view_flow_begin(struct view_run *v, const struct view_epoch *ve)
{
    v->now = *ve;
    flow_local_set_time(v->local, ve->plan->wall_us);
}

enum err view_flow_take(struct view_run *v, const struct packet *p)
{
    if (p->op == FLOW_ROOT)
        return take_rows(v, p->batch);
    struct flow_packet packet = {p->op, p->port, p->batch, p->keys, p->hashes};
    flow_local_apply(v->local, &packet);
    v->now.busy = true;
    return ERR_OK;
}

/* What the operators have done, for others to read. */
static void tell_figures(const struct view_run *v)
{
    for (uint32_t i = 0; i < v->stats->figures->n_operators; i++) {
        struct operator_figures *to = &v->stats->figures->operators[i];
        struct flow_figures f;
        flow_state_figures(flow_local_state(v->local), i, &f);
        atomic_store_explicit(&to->rows_in[0].total, f.rows_in[0], memory_order_relaxed);
        atomic_store_explicit(&to->rows_in[1].total, f.rows_in[1], memory_order_relaxed);
        atomic_store_explicit(&to->rows_out.total, f.rows_out, memory_order_relaxed);
        atomic_store_explicit(&to->busy_ns.total, f.busy_ns, memory_order_relaxed);
        stat_set(&to->rows, (int64_t)f.rows);
        stat_set(&to->bytes, (int64_t)f.bytes);
    }
}

enum err view_flow_step(struct view_run *v, bool *more, struct err_detail *why)
{
    *more = true;
    if (!v->now.busy && !v->now.ending) {
        v->now.busy = v->now.ending = true;
        flow_local_finish(v->local);
    }
    for (int i = 0; i < STEPS_PER_PIECE && v->now.busy; i++)
        TRY(flow_local_step(v->local, &v->now.busy, why));
    if (!v->now.busy && v->now.ending)
        v->now.ended = !flow_local_expire(v->local, v->now.watermark_us);
    *more = v->now.busy || (v->now.ending && !v->now.ended);
    if (!*more)
        tell_figures(v);
    struct state_partition *sp = &v->partitions[0];
    sp->operator_bytes = flow_state_bytes(flow_local_state(v->local));
    return view_partition_bytes(sp) > v->partition_bytes_max ? ERR_LIMIT : ERR_OK;
}
