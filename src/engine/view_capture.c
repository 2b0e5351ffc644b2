#include "engine/view_capture.h"

#include "base/hash.h"
#include "base/mem.h"
#include "engine/view_retention.h"
#include "state/snapshot_file.h"

enum {
    LAYOUT_VERSION = 1, /* another one when cells or keys come to mean something else */
    LAYOUT_BYTES_MAX = 1 << 20,
    ROWS_AT_ONCE = 32, /* whose slots are brought into the cache */
};

bool view_can_capture(const struct relation *rel)
{
    return rel->kind == REL_VIEW && rel->view->connector == CONNECTOR_NONE &&
           plan_is_view_chain(rel->view->plan->root);
}

uint64_t view_layout(const struct view_run *v)
{
    struct buf b;
    buf_init(&b, LAYOUT_BYTES_MAX);
    buf_printf(&b, "%d %u %u %u %u %d%d%d%d%d%d ", LAYOUT_VERSION, v->n_partitions,
               v->agg.cells_bytes, v->agg.n_keys, v->tail_bytes, v->counted, v->whole, v->keyed,
               v->closes, v->windowed, v->emit_final);
    for (uint32_t i = 0; i < v->agg.n_keys; i++)
        buf_printf(&b, "%d ", (int)v->agg.types[i]);
    for (uint32_t i = 0; i < v->agg.n_aggs; i++) {
        const struct agg_op *op = &v->agg.ops[i];
        buf_printf(&b, "%d %d %u %d %d %u ", (int)op->kind, (int)op->function, op->cell_at,
                   (int)op->arg_type, (int)op->result, op->n_args);
    }
    buf_put_str(&b, v->rel->view->sql);
    /* One that is too long for this would be captured for nothing. */
    uint64_t h = b.failed ? 0 : hash_bytes(b.ptr, b.len, 0);
    buf_deinit(&b);
    return h;
}

/* ---- capturing ---- */

static void part_enter(struct view_capture *vc, uint32_t part)
{
    group_table_unwatch(&vc->at);
    vc->at = (struct group_table_cursor){0};
    vc->number = 0;
    vc->part = part;
    if (part < vc->view->n_partitions && vc->view->partitions[part].groups != NULL)
        group_table_watch(vc->view->partitions[part].groups, &vc->at);
}

enum err view_capture_begin(struct view_capture *vc, struct view_run *v, uint64_t epoch)
{
    vc->ends = mem_zalloc(v->n_partitions + 1, sizeof(*vc->ends));
    if (vc->ends == NULL)
        return ERR_NO_MEMORY;
    vc->view = v;
    vc->epoch = epoch;
    for (uint32_t p = 0; p < v->n_partitions; p++)
        if (v->partitions[p].groups != NULL)
            vc->ends[p] = group_table_added(v->partitions[p].groups);
    v->capture = vc;
    part_enter(vc, 0);
    return ERR_OK;
}

void view_capture_end(struct view_capture *vc)
{
    group_table_unwatch(&vc->at);
    if (vc->view != NULL)
        vc->view->capture = NULL;
    mem_free(vc->ends);
    *vc = (struct view_capture){0};
}

void view_capture_stop(struct view_run *v)
{
    struct view_capture *vc = v->capture;
    if (vc == NULL)
        return;
    group_table_unwatch(&vc->at);
    v->capture = NULL;
    vc->view = NULL;
}

void view_capture_keep(struct view_run *v, const struct state_partition *sp, struct group *g)
{
    struct view_capture *vc = v->capture;
    /* Touched since: it is written already, or newer. */
    if (vc == NULL || g->touched_epoch > vc->epoch || sp->number < vc->part ||
        (sp->number == vc->part && g->number < vc->number))
        return;
    vc->keep(vc, sp, g);
}

struct group *view_capture_next(struct view_capture *vc, uint32_t *rows,
                                const struct state_partition **sp)
{
    struct view_run *v = vc->view;
    while (vc->part < v->n_partitions && *rows > 0) {
        *sp = &v->partitions[vc->part];
        struct group *g = (*sp)->groups == NULL || vc->number >= vc->ends[vc->part]
                              ? NULL
                              : group_table_next((*sp)->groups, &vc->at);
        if (g == NULL || g->number >= vc->ends[vc->part]) {
            part_enter(vc, vc->part + 1);
            continue;
        }
        vc->number = g->number + 1;
        --*rows;
        if (g->touched_epoch <= vc->epoch)
            return g;
    }
    return NULL;
}

/* ---- bytes ---- */

void view_group_store(const struct view_run *v, const struct state_partition *sp, struct group *g,
                      struct buf *out)
{
    struct str key = group_key(sp->groups, g);
    struct {
        uint32_t bytes, key_bytes;
        int64_t window_end;
        uint64_t touched_epoch;
    } head = {0, (uint32_t)key.len, g->window_end, g->touched_epoch};
    size_t at = out->len;
    buf_put(out, &head, sizeof(head));
    buf_put(out, key.ptr, key.len + group_table_tail(sp->groups));
    buf_put(out, group_cells(g), v->agg.cells_bytes);
    for (uint32_t i = 0; v->agg.owns_heap && i < v->agg.n_aggs; i++)
        agg_store(&v->agg.ops[i], group_cells(g), out);
    if (out->failed)
        return;
    head.bytes = (uint32_t)(out->len - at - sizeof(head.bytes));
    memcpy(out->ptr + at, &head.bytes, sizeof(head.bytes));
}

static enum err cells_load(const struct view_run *v, char *cells, struct str own)
{
    enum err e = ERR_OK;
    uint32_t n = 0;
    for (; n < v->agg.n_aggs && e == ERR_OK; n++)
        e = agg_load(&v->agg.ops[n], cells, &own);
    if (e == ERR_OK && own.len > 0)
        e = ERR_CORRUPT;
    if (e == ERR_OK)
        return ERR_OK;
    while (n > 0)
        agg_clear(&v->agg.ops[--n], cells);
    memset(cells, 0, v->agg.cells_bytes); /* of the others it has what means nothing */
    return e;
}

/* A row that was read, and where its group belongs. */
struct stored_row {
    struct str key, cells, own;
    int64_t window_end;
    uint64_t touched_epoch, hash;
};

static bool row_read(const struct view_run *v, const struct state_partition *sp,
                     struct snapshot_cursor *rows, struct stored_row *r)
{
    struct snapshot_cursor c = {.left = snapshot_bytes(rows, snapshot_u32(rows))};
    uint32_t key_bytes = snapshot_u32(&c);
    r->window_end = snapshot_i64(&c);
    r->touched_epoch = snapshot_u64(&c);
    if (rows->failed || key_bytes > GROUP_KEY_BYTES_MAX || key_bytes < v->tail_bytes)
        return false;
    r->key = snapshot_bytes(&c, (size_t)key_bytes + group_table_tail(sp->groups));
    r->cells = snapshot_bytes(&c, v->agg.cells_bytes);
    r->own = c.left;
    if (c.failed)
        return false;
    r->key.len = key_bytes;
    r->hash = hash_bytes(r->key.ptr, key_bytes - v->tail_bytes, v->hash_seed);
    return true;
}

static enum err group_load(struct view_run *v, struct state_partition *sp,
                           const struct stored_row *r)
{
    struct group *g;
    bool created;
    TRY(group_table_upsert(sp->groups, r->hash, r->key, &g, &created));
    if (!created)
        return ERR_CORRUPT;
    g->window_end = r->window_end;
    g->touched_epoch = 0; /* by no epoch since the start */
    if (r->cells.len > 0)
        memcpy(group_cells(g), r->cells.ptr, r->cells.len);
    if (v->agg.owns_heap) {
        TRY(cells_load(v, group_cells(g), r->own));
        for (uint32_t i = 0; i < v->agg.n_aggs; i++)
            sp->heap_bytes += agg_heap_bytes(&v->agg.ops[i], group_cells(g));
    }
    if (g->window_end != INT64_MAX)
        return view_window_add(sp, g, g->window_end);
    return v->counted && v->agg.n_keys > 0 && !view_group_has_rows(v, g) ? view_empty_add(sp, g)
                                                                         : ERR_OK;
}

enum err view_groups_load(struct view_run *v, struct state_partition *sp, struct str rows)
{
    struct snapshot_cursor c = {.left = rows};
    struct stored_row some[ROWS_AT_ONCE];
    while (c.left.len > 0) {
        uint32_t n = 0;
        while (n < ROWS_AT_ONCE && c.left.len > 0) {
            if (!row_read(v, sp, &c, &some[n]))
                return ERR_CORRUPT;
            group_table_prefetch(sp->groups, some[n++].hash);
        }
        for (uint32_t i = 0; i < n; i++)
            TRY(group_load(v, sp, &some[i]));
    }
    return view_partition_bytes(sp) > v->partition_bytes_max ? ERR_LIMIT : ERR_OK;
}

/* As the end of an epoch does: groups without rows leave their window. */
static enum err window_close(struct view_run *v, struct state_partition *sp,
                             struct window_bucket *b)
{
    uint32_t n = 0;
    for (uint32_t ref = b->first, i = 0; i < b->n; i++) {
        struct group *g = group_at(sp->groups, ref);
        uint32_t next = g->next_in_window;
        g->flags |= GROUP_CLOSED;
        if (v->counted && !view_group_has_rows(v, g)) {
            TRY(view_empty_add(sp, g));
        } else {
            if (n++ == 0)
                b->first = ref;
            else
                group_at(sp->groups, b->last)->next_in_window = ref;
            b->last = ref;
        }
        ref = next;
    }
    b->n = n;
    return ERR_OK;
}

enum err view_groups_loaded(struct engine *e, struct view_run *v, struct state_partition *sp)
{
    uint32_t n = 0;
    for (; n < sp->n_windows && sp->windows[n].end <= sp->watermark_us; n++)
        TRY(window_close(v, sp, &sp->windows[n]));
    TRY(view_windows_closed(v, sp, n));
    sp->n_windows -= n;
    if (sp->n_windows > 0)
        memmove(sp->windows, sp->windows + n, sp->n_windows * sizeof(*sp->windows));
    view_tell_size(e, v, sp);
    return ERR_OK;
}
