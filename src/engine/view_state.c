/* The state side of views: packets into groups. */
#include "base/check.h"
#include "base/mem.h"
#include "engine/epochs.h"
#include "engine/view_capture.h"
#include "engine/view_retention.h"
#include "engine/view_scan.h"
#include "run/key.h"

enum { TOUCHED_MAX = 1 << 26, WINDOWS_MAX = 1 << 24 };

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

enum err view_window_add(struct state_partition *sp, struct group *g, int64_t end)
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

uint64_t view_partition_bytes(const struct state_partition *sp)
{
    return group_table_bytes(sp->groups) + sp->heap_bytes + sp->operator_bytes +
           sp->empty_cap * sizeof(struct group *) +
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
        before = agg_plan_copy(&v->agg, g, a);
        if (before == NULL)
            return ERR_NO_MEMORY;
    }
    sp->touched[sp->n_touched++] = (struct touched){.group = g, .before = before};
    return ERR_OK;
}

static enum err find_groups(struct view_run *v, struct state_partition *sp, const struct packet *p,
                            uint64_t epoch, bool silent, char **cells, struct arena *a)
{
    enum { AHEAD = 8 };
    uint32_t n = p->batch->n_rows;
    bool feeds = view_run_feeds(v);
    for (uint32_t i = 0; i < n; i++) {
        if (i + 2 * AHEAD < n)
            group_table_prefetch(sp->groups, p->hashes[i + 2 * AHEAD]);
        if (i + AHEAD < n)
            group_table_prefetch_row(sp->groups, p->hashes[i + AHEAD]);
        struct group *g;
        bool created;
        if (p->window_end != NULL && view_window_expired(v, sp->watermark_us, p->window_end[i])) {
            cells[i] = NULL;
            stat_add(&v->stats->late_rows, 1);
            continue;
        }
        TRY(group_table_upsert(sp->groups, p->hashes[i], p->keys[i], &g, &created));
        if (created && p->window_end != NULL && p->window_end[i] != INT64_MAX) {
            g->window_end = p->window_end[i];
            TRY(view_window_add(sp, g, g->window_end));
        }
        cells[i] = g->flags & GROUP_CLOSED ? NULL : group_cells(g);
        if (cells[i] == NULL) {
            stat_add(&v->stats->late_rows, 1);
            continue;
        }
        if (!created && g->touched_epoch != epoch) {
            view_scans_keep(v, sp, g);
            view_capture_keep(v, sp, g);
        }
        /* Groups that have lost their rows are removed, also in a replay. */
        if (!v->emit_final && (!silent || v->counted || feeds) && g->touched_epoch != epoch)
            TRY(touch(v, sp, g, created, a));
        g->touched_epoch = epoch;
    }
    return ERR_OK;
}

/* Rows of a view without an aggregate go to the changelog as they are. */
static enum err apply_rows(struct view_run *v, struct state_partition *sp, const struct packet *p,
                           uint64_t epoch, int64_t now_us)
{
    const struct relation *rel = v->rel;
    struct buf json;
    buf_init(&json, RECORDS_BYTES_MAX);
    sp->out.epoch = epoch;
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

enum err view_publish(struct view_run *v, struct state_partition *sp, const struct batch *rows)
{
    struct receipt before = sp->taken;
    TRY(v->connector->take(rows, &sp->taken));
    stat_add(&v->stats->rows_out, sp->taken.rows - before.rows);
    stat_add(&v->stats->bytes_out, sp->taken.bytes - before.bytes);
    return ERR_OK;
}

enum err view_run_apply(struct view_run *v, const struct packet *p, const struct epoch_plan *plan,
                        bool silent, struct arena *a, struct arena *temporary)
{
    struct state_partition *sp = &v->partitions[p->state_partition];
    if (v->connector != NULL && v->aggregate == NULL)
        return silent ? ERR_OK : view_publish(v, sp, p->batch);
    if (v->aggregate == NULL)
        return silent ? ERR_OK : apply_rows(v, sp, p, plan->epoch, plan->wall_us);
    char **cells = arena_alloc(temporary, p->batch->n_rows * sizeof(char *));
    if (cells == NULL)
        return ERR_NO_MEMORY;
    TRY(find_groups(v, sp, p, plan->epoch, silent, cells, a));
    for (uint32_t i = 0; i < v->agg.n_aggs; i++)
        TRY(agg_update(&v->agg.ops[i], cells, agg_plan_argument(&v->agg, p->batch, i),
                       agg_plan_filter(&v->agg, p->batch, i), p->batch->weights, p->batch->n_rows,
                       &sp->heap_bytes));
    return view_partition_bytes(sp) > v->partition_bytes_max ? ERR_LIMIT : ERR_OK;
}

enum err view_run_seed(struct view_run *v, struct state_partition *sp, uint64_t epoch)
{
    struct group *g;
    bool created;
    TRY(group_table_upsert(sp->groups, key_hash_none(v->hash_seed), (struct str){"", 0}, &g,
                           &created));
    if (!created)
        return ERR_OK;
    g->touched_epoch = epoch;
    return v->emit_final ? ERR_OK : touch(v, sp, g, true, NULL);
}
