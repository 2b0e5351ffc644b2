/* The state side of views: packets into groups, closing windows, changes out. */
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "engine/epochs.h"
#include "engine/view_retention.h"
#include "run/key.h"

#include <stdlib.h>

enum { TOUCHED_MAX = 1 << 26, WINDOWS_MAX = 1 << 24, HEADER_BYTES_MAX = 1 << 20 };
enum { SCAN_ARENA_KEEP_BYTES = 4 << 20 };

/* ---- windows ---- */

/* The bucket for windows ending at `end`, made when missing; NULL when out of memory. */
static struct window_bucket *bucket_for(struct state_partition *sp, int64_t end)
{
    uint32_t low = 0, high = sp->n_windows;
    if (high > 0 && sp->windows[high - 1].end < end)
        low = high;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (sp->windows[mid].end < end)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < sp->n_windows && sp->windows[low].end == end)
        return &sp->windows[low];
    if (sp->n_windows == sp->windows_cap) {
        uint32_t cap = sp->windows_cap == 0 ? 16 : sp->windows_cap * 2;
        struct window_bucket *grown =
            cap > WINDOWS_MAX ? NULL : mem_realloc(sp->windows, cap * sizeof(*grown));
        if (grown == NULL)
            return NULL;
        sp->windows = grown;
        sp->windows_cap = cap;
    }
    memmove(&sp->windows[low + 1], &sp->windows[low], (sp->n_windows - low) * sizeof(*sp->windows));
    sp->windows[low] = (struct window_bucket){.end = end};
    sp->n_windows++;
    return &sp->windows[low];
}

static enum err window_add(struct state_partition *sp, struct group *g, int64_t end)
{
    struct window_bucket *b = bucket_for(sp, end);
    if (b == NULL)
        return ERR_NO_MEMORY;
    uint32_t ref = group_ref(sp->groups, g);
    if (b->n++ == 0)
        b->first = ref;
    else
        group_at(sp->groups, b->last)->next_in_window = ref;
    b->last = ref;
    return ERR_OK;
}

/* ---- applying packets ---- */

static uint64_t partition_bytes(const struct state_partition *sp)
{
    return group_table_bytes(sp->groups) + sp->heap_bytes +
           (sp->windows_cap + sp->closed.cap) * sizeof(*sp->windows) +
           sp->touched_cap * sizeof(*sp->touched);
}

static enum err touch(struct view_run *v, struct state_partition *sp, struct group *g, bool created,
                      struct arena *a)
{
    if (sp->n_touched == sp->touched_cap) {
        uint32_t cap = sp->touched_cap == 0 ? 256 : sp->touched_cap * 2;
        struct touched *grown =
            cap > TOUCHED_MAX ? NULL : mem_realloc(sp->touched, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        sp->touched = grown;
        sp->touched_cap = cap;
    }
    char *before = NULL;
    if (!created) {
        before = arena_alloc(a, v->cells_bytes + 1);
        if (before == NULL)
            return ERR_NO_MEMORY;
        for (uint32_t i = 0; i < v->n_aggs; i++)
            TRY(agg_copy(&v->ops[i], group_cells(g), before, a));
    }
    sp->touched[sp->n_touched++] = (struct touched){.group = g, .before = before};
    return ERR_OK;
}

static enum err find_groups(struct view_run *v, struct state_partition *sp, const struct packet *p,
                            uint64_t epoch, bool silent, char **cells, struct arena *a)
{
    enum { AHEAD = 8 };
    uint32_t n = p->batch->n_rows;
    for (uint32_t i = 0; i < n; i++) {
        if (i + 2 * AHEAD < n)
            group_table_prefetch(sp->groups, p->hashes[i + 2 * AHEAD]);
        if (i + AHEAD < n)
            group_table_prefetch_row(sp->groups, p->hashes[i + AHEAD]);
        struct group *g;
        bool created;
        if (p->window_end != NULL && view_window_expired(v, sp, p->window_end[i])) {
            cells[i] = NULL;
            stat_add(&v->stats->late_rows, 1);
            continue;
        }
        TRY(group_table_upsert(sp->groups, p->hashes[i], p->keys[i], &g, &created));
        if (created && p->window_end != NULL) {
            g->window_end = p->window_end[i];
            TRY(window_add(sp, g, g->window_end));
        }
        cells[i] = g->flags & GROUP_CLOSED ? NULL : group_cells(g);
        if (cells[i] == NULL) {
            stat_add(&v->stats->late_rows, 1);
            continue;
        }
        if (!v->emit_final && !silent && g->touched_epoch != epoch)
            TRY(touch(v, sp, g, created, a));
        g->touched_epoch = epoch;
    }
    return ERR_OK;
}

static const struct column *packet_column(const struct packet *p, uint32_t column)
{
    return column == UINT32_MAX ? NULL : &p->batch->columns[column];
}

/* Rows of a view without an aggregate go to the changelog as they are. */
static enum err apply_rows(struct view_run *v, struct state_partition *sp, const struct packet *p,
                           int64_t now_us)
{
    const struct relation *rel = v->rel;
    struct buf json;
    buf_init(&json, RECORDS_BYTES_MAX);
    for (uint32_t i = 0; i < p->batch->n_rows; i++) {
        buf_clear(&json);
        row_json(rel->columns, p->batch->columns, rel->n_columns, i, &json);
        sp->out.bytes.failed |= json.failed;
        records_add(&sp->out, (struct str){0}, buf_str(&json), now_us / 1000, NULL, 0);
    }
    buf_deinit(&json);
    stat_add(&v->stats->rows_out, p->batch->n_rows);
    return ERR_OK;
}

enum err view_run_apply(struct view_run *v, const struct packet *p, const struct epoch_plan *plan,
                        bool silent, struct arena *a)
{
    struct state_partition *sp = &v->partitions[p->state_partition];
    if (v->aggregate == NULL)
        return silent ? ERR_OK : apply_rows(v, sp, p, plan->wall_us);
    char **cells = arena_alloc(a, p->batch->n_rows * sizeof(char *));
    if (cells == NULL)
        return ERR_NO_MEMORY;
    TRY(find_groups(v, sp, p, plan->epoch, silent, cells, a));
    for (uint32_t i = 0; i < v->n_aggs; i++)
        TRY(agg_update(&v->ops[i], cells, packet_column(p, v->arg_column[i]),
                       packet_column(p, v->filter_column[i]), p->batch->weights, p->batch->n_rows,
                       &sp->heap_bytes));
    return partition_bytes(sp) > v->partition_bytes_max ? ERR_LIMIT : ERR_OK;
}

enum err view_run_seed(struct view_run *v, struct state_partition *sp, uint64_t epoch)
{
    struct group *g;
    bool created;
    TRY(group_table_upsert(sp->groups, hash_bytes("", 0, 0), (struct str){"", 0}, &g, &created));
    if (!created)
        return ERR_OK;
    g->touched_epoch = epoch;
    return v->emit_final ? ERR_OK : touch(v, sp, g, true, NULL);
}

/* ---- results ---- */

/* Rows of the aggregate's output for some groups, then through the result chain. */
struct result_rows {
    struct chain_result out;
    uint32_t *place; /* input row -> row of out.batch, UINT32_MAX = filtered away */
};

static enum err agg_row(struct view_run *v, struct state_partition *sp, struct group *g,
                        const char *cells, struct batch *b, uint32_t row, struct err_detail *why)
{
    key_decode(group_key(sp->groups, g), b->columns, v->n_keys, row);
    for (uint32_t i = 0; i < v->n_aggs; i++) {
        struct value value;
        TRY(agg_result(&v->ops[i], cells, &value, why));
        column_set(&b->columns[v->n_keys + i], row, &value);
    }
    return ERR_OK;
}

/* Dead letters of results have no source record: they name the group. */
static enum err result_error(struct view_run *v, struct epoch_work *w, const char *text)
{
    if (w == NULL)
        return ERR_OK;
    stat_add(&v->stats->dead_letters, 1);
    struct str reason =
        arena_printf(w->arena, "view \"%.*s\", result of a group: %s", STR_ARG(v->rel->name), text);
    return reason.ptr == NULL ? ERR_NO_MEMORY
                              : epoch_dead_letter(w, v->rel, 0, -1, reason.ptr, (struct str){0});
}

/* `pick(arg, i)` gives group i and its cells. Rows whose aggregates fail are dropped and told. */
struct pick {
    struct group *group;
    const char *cells; /* NULL: no row */
};

static enum err result_make(struct view_run *v, struct state_partition *sp,
                            const struct pick *picks, uint32_t n, int64_t now_us, struct arena *a,
                            struct epoch_work *w, struct result_rows *out)
{
    struct batch *b = batch_new(v->agg_output_types, v->n_keys + v->n_aggs, n, a);
    uint32_t *from = arena_alloc(a, (n + 1) * sizeof(*from));
    out->place = arena_alloc(a, (n + 1) * sizeof(*out->place));
    if (b == NULL || from == NULL || out->place == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        struct err_detail why = {0};
        out->place[i] = UINT32_MAX;
        if (picks[i].cells == NULL)
            continue;
        enum err e = agg_row(v, sp, picks[i].group, picks[i].cells, b, b->n_rows, &why);
        if (e == ERR_OK)
            from[b->n_rows++] = i;
        else
            TRY(result_error(v, w, err_text(e, &why)));
    }
    TRY(chain_run(v->result_chain, b, NULL, now_us, a, &out->out));
    for (uint32_t i = 0; i < out->out.n_errors; i++)
        TRY(result_error(v, w, out->out.errors[i].text));
    for (uint32_t i = 0; i < out->out.batch->n_rows; i++)
        out->place[from[out->out.origin == NULL ? i : out->out.origin[i]]] = i;
    return ERR_OK;
}

/* ---- changes ---- */

static bool rows_equal(const struct batch *a, uint32_t i, const struct batch *b, uint32_t j)
{
    for (uint32_t c = 0; c < a->n_columns; c++) {
        struct value x = column_get(&a->columns[c], i), y = column_get(&b->columns[c], j);
        if (x.null != y.null || (!x.null && value_compare(&x, &y) != 0))
            return false;
    }
    return true;
}

/* An upsert (or a tombstone) for the changelog: key columns as JSON in the key; the row before, if
 * any, in header "before". */
static void change_write(struct view_run *v, struct state_partition *sp, const struct batch *before,
                         uint32_t i, const struct batch *after, uint32_t j, int64_t now_us,
                         struct buf scratch[3])
{
    const struct relation *rel = v->rel;
    const struct batch *any = j != UINT32_MAX ? after : before;
    uint32_t row = j != UINT32_MAX ? j : i;
    struct kafka_header header = {.key = STR("before")};
    for (int b = 0; b < 3; b++)
        buf_clear(&scratch[b]);
    row_json_some(rel->columns, any->columns, rel->view->key_columns, rel->view->n_key_columns, row,
                  &scratch[0]);
    if (j != UINT32_MAX)
        row_json(rel->columns, after->columns, rel->n_columns, j, &scratch[1]);
    if (i != UINT32_MAX)
        row_json(rel->columns, before->columns, rel->n_columns, i, &scratch[2]);
    header.value = buf_str(&scratch[2]);
    sp->out.bytes.failed |= scratch[0].failed | scratch[1].failed | scratch[2].failed;
    records_add(&sp->out, buf_str(&scratch[0]),
                j == UINT32_MAX ? (struct str){0} : buf_str(&scratch[1]), now_us / 1000, &header,
                i != UINT32_MAX);
}

static enum err write_changes(struct view_run *v, struct state_partition *sp,
                              const struct touched *t, uint32_t n, int64_t now_us, struct arena *a,
                              struct epoch_work *w)
{
    struct pick *old = arena_alloc(a, n * sizeof(*old)), *new = arena_alloc(a, n * sizeof(*new));
    if (old == NULL || new == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        old[i] = (struct pick){t[i].group, t[i].before};
        new[i] = (struct pick){t[i].group, group_cells(t[i].group)};
    }
    struct result_rows before, after;
    TRY(result_make(v, sp, old, n, now_us, a, NULL, &before));
    TRY(result_make(v, sp, new, n, now_us, a, w, &after));
    struct buf scratch[3];
    for (int b = 0; b < 3; b++)
        buf_init(&scratch[b], RECORDS_BYTES_MAX);
    uint64_t written = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t x = before.place[i], y = after.place[i];
        bool same = x == y && x == UINT32_MAX;
        if (x != UINT32_MAX && y != UINT32_MAX)
            same = rows_equal(before.out.batch, x, after.out.batch, y);
        if (same)
            continue;
        change_write(v, sp, before.out.batch, x, after.out.batch, y, now_us, scratch);
        written++;
    }
    stat_add(&v->stats->rows_out, written);
    for (int b = 0; b < 3; b++)
        buf_deinit(&scratch[b]);
    return ERR_OK;
}

/* In chunks, so that one epoch with many changes needs no huge batch. The rows of many chunks would
 * fill the epoch's arena: they have one of their own, a chunk at a time. */
static enum err write_all(struct view_run *v, struct state_partition *sp, const struct touched *t,
                          uint32_t n, int64_t now_us, struct epoch_work *w)
{
    if (n <= BATCH_ROWS_MAX)
        return n == 0 ? ERR_OK : write_changes(v, sp, t, n, now_us, w->arena, w);
    struct arena chunk;
    enum err e = ERR_OK;
    arena_init(&chunk, EPOCH_ARENA_BYTES_MAX);
    for (uint32_t at = 0; at < n && e == ERR_OK; at += BATCH_ROWS_MAX) {
        uint32_t rows = n - at < BATCH_ROWS_MAX ? n - at : BATCH_ROWS_MAX;
        arena_reset(&chunk, EPOCH_ARENA_KEEP_BYTES);
        e = write_changes(v, sp, t + at, rows, now_us, &chunk, w);
    }
    arena_deinit(&chunk);
    return e;
}

static int compare_touched(const void *a, const void *b, void *arg)
{
    const struct touched *x = a, *y = b;
    if (x->group->window_end != y->group->window_end)
        return x->group->window_end < y->group->window_end ? -1 : 1;
    return key_compare(group_key(arg, x->group), group_key(arg, y->group));
}

/* Closes the windows that ended. With emit = 'final' their groups become rows now, by window, then
 * key: an order that does not depend on how partitions were interleaved. */
static enum err close_windows(struct view_run *v, struct state_partition *sp, int64_t watermark_us,
                              int64_t now_us, bool silent, struct epoch_work *w)
{
    uint32_t n_closed = 0;
    uint64_t n_groups = 0;
    while (n_closed < sp->n_windows && sp->windows[n_closed].end <= watermark_us)
        n_groups += sp->windows[n_closed++].n;
    sp->watermark_us = watermark_us;
    if (n_closed == 0)
        return ERR_OK;
    struct touched *t = arena_alloc(w->arena, (n_groups + 1) * sizeof(*t));
    if (t == NULL)
        return ERR_NO_MEMORY;
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_closed; i++) {
        uint32_t ref = sp->windows[i].first;
        for (uint32_t k = 0; k < sp->windows[i].n; k++) {
            struct group *g = group_at(sp->groups, ref);
            g->flags |= GROUP_CLOSED;
            t[n++] = (struct touched){.group = g};
            ref = g->next_in_window;
        }
    }
    TRY(view_windows_closed(v, sp, n_closed));
    sp->n_windows -= n_closed;
    memmove(sp->windows, sp->windows + n_closed, sp->n_windows * sizeof(*sp->windows));
    if (!v->emit_final || silent)
        return ERR_OK;
    qsort_r(t, n, sizeof(*t), compare_touched, sp->groups);
    return write_all(v, sp, t, n, now_us, w);
}

static void tell_size(struct view_run *v, struct state_partition *sp)
{
    int64_t groups = (int64_t)group_table_count(sp->groups),
            bytes = (int64_t)partition_bytes(sp);
    atomic_fetch_add_explicit(&v->stats->groups, groups - sp->groups_told, memory_order_relaxed);
    atomic_fetch_add_explicit(&v->stats->state_bytes, bytes - sp->bytes_told, memory_order_relaxed);
    sp->groups_told = groups;
    sp->bytes_told = bytes;
}

enum err view_run_finish(struct view_run *v, struct state_partition *sp, int64_t watermark_us,
                         int64_t now_us, bool silent, struct epoch_work *w)
{
    if (v->aggregate == NULL)
        return ERR_OK;
    if (!silent)
        TRY(write_all(v, sp, sp->touched, sp->n_touched, now_us, w));
    sp->n_touched = 0;
    if (v->windowed)
        TRY(close_windows(v, sp, watermark_us, now_us, silent, w));
    view_windows_expire(v, sp);
    tell_size(v, sp);
    return ERR_OK;
}

enum err view_run_scan(struct view_run *v, int64_t now_us, struct arena *a,
                       enum err (*each)(void *arg, const struct batch *b), void *arg)
{
    for (uint32_t p = 0; p < v->n_partitions; p++) {
        struct state_partition *sp = &v->partitions[p];
        struct group_table_cursor at = {0};
        for (bool more = sp->groups != NULL; more;) {
            arena_reset(a, SCAN_ARENA_KEEP_BYTES);
            struct pick *picks = arena_alloc(a, BATCH_ROWS_MAX * sizeof(*picks));
            if (picks == NULL)
                return ERR_NO_MEMORY;
            uint32_t n = 0;
            struct group *g = NULL;
            while (n < BATCH_ROWS_MAX && (g = group_table_next(sp->groups, &at)) != NULL)
                if ((!v->emit_final || (g->flags & GROUP_CLOSED)) &&
                    !view_window_expired(v, sp, g->window_end))
                    picks[n++] = (struct pick){g, group_cells(g)};
            more = g != NULL;
            struct result_rows rows;
            if (n == 0)
                continue;
            TRY(result_make(v, sp, picks, n, now_us, a, NULL, &rows));
            TRY(each(arg, rows.out.batch));
        }
    }
    return ERR_OK;
}
