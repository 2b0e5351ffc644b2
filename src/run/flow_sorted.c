#include "run/flow_sorted.h"

#include "base/check.h"
#include "base/mem.h"

enum { WORK_KEEP_BYTES = 1 << 20, ROWS_MAX = 1 << 30 };

/* The owner of a partition's entry. */
struct partition {
    uint64_t touched;
};

/* ---- compiling ---- */

enum err flow_sorted_compile(struct flow_op *op, const struct expr *const *more, uint32_t n_more,
                             struct arena *a, struct flow_sorted_plan *out)
{
    const struct plan_node *node = op->node;
    uint32_t n_in = node->input->n_columns, n = n_in + n_more, n_keys = node->n_partition_columns;
    const struct expr **exprs = flow_columns(node->input, n_more + n_keys, a);
    enum type *types = arena_alloc(a, (n + 1) * sizeof(*types));
    struct sort_key *sorts = arena_alloc(a, (node->n_sorts + 1) * sizeof(*sorts));
    if (exprs == NULL || types == NULL || sorts == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n_more; i++)
        exprs[n_in + i] = more[i];
    for (uint32_t i = 0; i < n; i++)
        types[i] = exprs[i]->type;
    for (uint32_t i = 0; i < n_keys; i++)
        exprs[n + i] = exprs[node->partition_columns[i]];
    for (uint32_t i = 0; i < node->n_sorts; i++)
        sorts[i] = node->sorts[i];
    *out = (struct flow_sorted_plan){.n_columns = n_in, .n_sorts = node->n_sorts, .sorts = sorts};
    if (node->kind == PLAN_OVER)
        out->gap_us = window_session_gap(node);
    if (out->gap_us > 0)
        out->unit = (enum time_unit)node->overs[0].args[2]->value.as.i4;
    op->sessions = out->gap_us > 0;
    op->ports[0] = (struct flow_port){
        .n_exprs = n + n_keys, .exprs = exprs, .n_payload = n, .key_at = n, .n_keys = n_keys};
    op->n_ports = 1;
    for (uint32_t i = 0; i < n_keys; i++)
        flow_op_bound(op, node->input, node->partition_columns[i], i);
    return row_format_init(&out->format, types, n, a);
}

/* ---- state ---- */

enum err flow_sorted_init(struct flow_sorted *s, const struct flow_op *op,
                          const struct flow_sorted_plan *p, uint64_t bytes_max)
{
    *s = (struct flow_sorted){.plan = p};
    uint32_t row_bytes = op->sessions ? sizeof(struct flow_sorted_row)
                                      : offsetof(struct flow_sorted_row, end);
    uint32_t owner_bytes = flow_windows_init(&s->windows, op->windowed || op->sessions,
                                             sizeof(struct partition));
    arena_init(&s->work, bytes_max);
    TRY(row_table_new(owner_bytes, bytes_max, &s->partitions));
    return row_table_new(row_bytes, bytes_max, &s->rows);
}

void flow_sorted_deinit(struct flow_sorted *s)
{
    row_table_free(s->partitions);
    row_table_free(s->rows);
    flow_windows_free(&s->windows);
    flow_touched_free(&s->touched);
    arena_deinit(&s->work);
}

uint64_t flow_sorted_bytes(const struct flow_sorted *s)
{
    return row_table_bytes(s->partitions) + row_table_bytes(s->rows) +
           flow_windows_bytes(&s->windows) + flow_touched_bytes(&s->touched) +
           arena_used(&s->work);
}

uint64_t flow_sorted_count(const struct flow_sorted *s)
{
    return row_table_count(s->partitions) + row_table_count(s->rows);
}

enum err flow_sorted_apply(struct flow_sorted *s, struct flow_run *r, const struct flow_packet *p)
{
    enum { AHEAD = 8 };
    uint32_t n = p->batch->n_rows;
    const int64_t *weights = p->batch->weights;
    struct str *rows = arena_alloc(r->c->arena, n * sizeof(*rows));
    uint32_t *hashes = arena_alloc(r->c->arena, n * sizeof(*hashes));
    if (rows == NULL || hashes == NULL)
        return ERR_NO_MEMORY;
    TRY(row_format_encode(&s->plan->format, p->batch->columns, n, r->c->arena, r->hash_seed, rows,
                   hashes));
    for (uint32_t i = 0; i < n; i++) {
        if (i + AHEAD < n)
            row_table_prefetch_row(s->rows, p->hashes[i + AHEAD], hashes[i + AHEAD]);
        struct row_entry *e, *of;
        bool created;
        TRY(row_table_add(s->rows, p->hashes[i], p->keys[i], rows[i], hashes[i],
                          weights == NULL ? 1 : weights[i], &e, &created));
        TRY(flow_key_entry(s->partitions, p->hashes[i], p->keys[i], 0, &of, &created));
        if (created && r->op->windowed)
            TRY(flow_windows_add(&s->windows, of, flow_key_end(r->op, p->keys[i])));
        else if (created && r->op->sessions)
            TRY(flow_windows_add(&s->windows, of, INT64_MAX));
        struct partition *partition = row_entry_owner(of);
        if (!partition->touched)
            TRY(flow_touch(&s->touched, of));
        partition->touched = 1;
    }
    return ERR_OK;
}

/* ---- a partition in order ---- */

int flow_sorted_values(const struct sort_key *k, const struct value *x, const struct value *y)
{
    if (x->null || y->null)
        return x->null == y->null ? 0 : (x->null == k->nulls_first ? -1 : 1);
    int c = value_compare(x, y);
    return k->descending ? -c : c;
}

int flow_sorted_compare(const struct flow_sorted *s, uint32_t x, uint32_t y)
{
    for (uint32_t i = 0; i < s->plan->n_sorts; i++) {
        const struct sort_key *k = &s->plan->sorts[i];
        struct value v = column_get(&s->batch.columns[k->column], x),
                     w = column_get(&s->batch.columns[k->column], y);
        int c = flow_sorted_values(k, &v, &w);
        if (c != 0)
            return c;
    }
    return 0;
}

static int compare_rows(const void *a, const void *b, void *arg)
{
    const struct flow_sorted *s = arg;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int c = flow_sorted_compare(s, x, y);
    if (c != 0)
        return c;
    const struct row_entry *e = s->entries[x], *f = s->entries[y];
    return str_cmp((struct str){row_entry_row(s->rows, e), e->row_bytes},
                   (struct str){row_entry_row(s->rows, f), f->row_bytes});
}

/* Reads the partition's rows. */
static enum err gather(struct flow_sorted *s, const struct row_entry *of)
{
    struct arena *a = &s->work;
    struct str key = row_entry_key(s->partitions, of);
    uint64_t n = 0;
    for (struct row_entry *e = row_table_first(s->rows, of->hash, key); e != NULL;
         e = row_table_next(s->rows, e))
        n++;
    if (n > ROWS_MAX)
        return ERR_LIMIT;
    s->n = (uint32_t)n;
    s->entries = arena_alloc(a, (n + 1) * sizeof(*s->entries));
    s->order = arena_alloc(a, (n + 1) * sizeof(*s->order));
    uint32_t *spare = arena_alloc(a, (n + 1) * sizeof(*spare));
    const char **rows = arena_alloc(a, (n + 1) * sizeof(char *));
    struct column *columns =
        arena_alloc(a, (s->plan->format.n_columns + 1) * sizeof(struct column));
    if (s->entries == NULL || s->order == NULL || spare == NULL || rows == NULL || columns == NULL)
        return ERR_LIMIT;
    uint32_t i = 0;
    for (struct row_entry *e = row_table_first(s->rows, of->hash, key); e != NULL;
         e = row_table_next(s->rows, e)) {
        s->entries[i] = e;
        s->order[i] = i;
        rows[i++] = row_entry_row(s->rows, e);
    }
    enum err e = row_format_decode(&s->plan->format, rows, s->n, columns, a);
    if (e != ERR_OK)
        return e == ERR_NO_MEMORY ? ERR_LIMIT : e;
    s->batch = (struct batch){
        .n_rows = s->n, .n_columns = s->plan->format.n_columns, .columns = columns};
    merge_sort_begin(&s->sort, s->order, spare, s->n, sizeof(*s->order), compare_rows, s);
    return ERR_OK;
}

enum err flow_sorted_next(struct flow_sorted *s, struct flow_run *r, bool *ready, bool *more)
{
    struct flow_touched *t = &s->touched;
    *ready = false;
    *more = t->at < t->n;
    if (!*more) {
        t->n = t->at = 0;
        return ERR_OK;
    }
    if (s->phase == SORTED_NONE && r->rows_left > 0) {
        TRY(gather(s, t->list[t->at]));
        s->phase = SORTED_SORTING;
        flow_spend(r, s->n);
    }
    while (s->phase == SORTED_SORTING && (r->rows_left > 0 || s->n <= BATCH_ROWS_MAX)) {
        if (merge_sort_run(&s->sort, BATCH_ROWS_MAX)) {
            s->order = merge_sort_result(&s->sort);
            s->phase = SORTED_READY;
        }
        flow_spend(r, s->n < BATCH_ROWS_MAX ? s->n : BATCH_ROWS_MAX);
    }
    *ready = s->phase == SORTED_READY;
    return ERR_OK;
}

/* ---- what is over ---- */

/* Ends are looked at a gap at a time, so that partitions stand in few lists. */
static int64_t session_list(const struct flow_sorted *s, int64_t end)
{
    int64_t gap = s->plan->gap_us, past = end % gap, up;
    past = past <= 0 ? -past : gap - past;
    return __builtin_add_overflow(end, past + 1, &up) ? INT64_MAX : up;
}

/* The sessions of rows that are there, as of now; the partition waits for the first that ends. */
static enum err find_sessions(struct flow_sorted *s, struct row_entry *of)
{
    const struct column *time = &s->batch.columns[s->plan->sorts[0].column];
    int64_t first = INT64_MAX, end = INT64_MAX, next = INT64_MAX, apart;
    for (uint32_t i = s->n; i-- > 0;) {
        struct row_entry *e = s->entries[s->order[i]];
        int64_t t;
        if (e->weight == 0 || !epoch_time_us(time, s->order[i], s->plan->unit, &t))
            continue;
        bool joined = next != INT64_MAX && !__builtin_sub_overflow(next, t, &apart) &&
                      apart <= s->plan->gap_us;
        if (!joined && __builtin_add_overflow(t, s->plan->gap_us, &end))
            end = INT64_MAX;
        ((struct flow_sorted_row *)row_entry_owner(e))->end = end;
        first = end;
        next = t;
    }
    flow_windows_remove(&s->windows, of);
    return flow_windows_add(&s->windows, of, first == INT64_MAX ? first : session_list(s, first));
}

/* Rows of a partition some of whose sessions have ended. Without memory for its place in the lists
 * it waits until rows of it come. */
static void expire_sessions(struct flow_sorted *s, struct row_entry *of, int64_t watermark_us,
                            uint32_t *rows_left)
{
    struct row_entry *e = row_table_first(s->rows, of->hash, row_entry_key(s->partitions, of));
    int64_t first = INT64_MAX;
    uint64_t left = 0;
    while (e != NULL) {
        struct row_entry *at = e;
        int64_t end = ((struct flow_sorted_row *)row_entry_owner(e))->end;
        e = row_table_next(s->rows, e);
        *rows_left -= *rows_left > 0;
        if (end < watermark_us) {
            row_table_remove(s->rows, at);
            continue;
        }
        left++;
        first = end < first ? end : first;
    }
    if (left == 0)
        row_table_remove(s->partitions, of);
    else if (first != INT64_MAX &&
             flow_windows_add(&s->windows, of, session_list(s, first)) != ERR_OK)
        CHECK(flow_windows_add(&s->windows, of, INT64_MAX) == ERR_OK);
}

void flow_sorted_expire(struct flow_sorted *s, int64_t watermark_us, uint32_t *rows_left)
{
    struct row_entry *of;
    CHECK(s->touched.n == 0);
    while (s->plan->gap_us > 0 &&
           (of = flow_windows_take(&s->windows, watermark_us, rows_left)) != NULL)
        expire_sessions(s, of, watermark_us, rows_left);
    while ((of = flow_windows_take(&s->windows, watermark_us, rows_left)) != NULL) {
        struct row_entry *e =
            row_table_first(s->rows, of->hash, row_entry_key(s->partitions, of));
        while (e != NULL) {
            struct row_entry *gone = e;
            e = row_table_next(s->rows, e);
            row_table_remove(s->rows, gone);
            *rows_left -= *rows_left > 0;
        }
        row_table_remove(s->partitions, of);
    }
}

enum err flow_sorted_done(struct flow_sorted *s, const struct flow_op *op)
{
    struct row_entry *of = s->touched.list[s->touched.at++];
    struct partition *partition = row_entry_owner(of);
    uint32_t left = 0;
    CHECK(s->phase == SORTED_READY);
    if (op->sessions)
        TRY(find_sessions(s, of));
    for (uint32_t i = 0; i < s->n; i++) {
        struct row_entry *e = s->entries[i];
        struct flow_sorted_row *row = row_entry_owner(e);
        row->settled = e->weight;
        left += e->weight != 0;
        if (e->weight == 0)
            row_table_remove(s->rows, e);
    }
    partition->touched = 0;
    if (left == 0) {
        if (op->windowed || op->sessions)
            flow_windows_remove(&s->windows, of);
        row_table_remove(s->partitions, of);
    }
    s->phase = SORTED_NONE;
    s->n = 0;
    arena_reset(&s->work, WORK_KEEP_BYTES);
    return ERR_OK;
}

/* ---- out ---- */

enum err flow_out_flush(struct flow_out *o, struct flow_run *r)
{
    struct batch *b = o->batch;
    o->batch = NULL;
    return b == NULL || b->n_rows == 0 ? ERR_OK : flow_forward(r, b);
}

enum err flow_out_add(struct flow_out *o, struct flow_run *r, const struct column *from,
                      uint32_t row, int64_t weight)
{
    struct arena *a = r->c->arena;
    if (o->batch != NULL && o->batch->n_rows == BATCH_ROWS_MAX)
        TRY(flow_out_flush(o, r));
    if (o->batch == NULL) {
        o->batch = batch_new(o->types, o->n_columns, BATCH_ROWS_MAX, a);
        if (o->batch == NULL ||
            (o->batch->weights = arena_alloc(a, BATCH_ROWS_MAX * sizeof(int64_t))) == NULL)
            return ERR_NO_MEMORY;
    }
    struct batch *b = o->batch;
    for (uint32_t i = 0; i < o->n_columns; i++) {
        struct value v = column_get(&from[i], row);
        if (!v.null && type_info(v.type)->by_ref && (v.as.s = arena_str(a, v.as.s)).ptr == NULL)
            return ERR_NO_MEMORY;
        column_set(&b->columns[i], b->n_rows, &v);
    }
    b->weights[b->n_rows++] = weight;
    return ERR_OK;
}
