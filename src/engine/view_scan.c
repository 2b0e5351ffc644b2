#include "engine/view_scan.h"

#include "base/mem.h"
#include "engine/view_retention.h"

enum { KEPT_ENTRY_BYTES = 48 }; /* of the map, at its emptiest */

/* Goes to a state partition; one that does not live here has no groups. */
static void part_enter(struct view_scan *sc, uint32_t part)
{
    group_table_unwatch(&sc->at);
    sc->at = (struct group_table_cursor){0};
    sc->number = 0;
    sc->part = part;
    if (part < sc->view->n_partitions && sc->view->partitions[part].groups != NULL)
        group_table_watch(sc->view->partitions[part].groups, &sc->at);
}

enum err view_scan_begin(struct view_scan *sc, struct shard *s, struct view_run *v, uint64_t epoch,
                         int64_t now_us, size_t bytes_max)
{
    *sc = (struct view_scan){.view = v, .epoch = epoch, .now_us = now_us};
    arena_init(&sc->cells, bytes_max);
    list_init(&sc->link);
    sc->n_kept = &s->engine->scan_kept;
    sc->parts = mem_zalloc(v->n_partitions, sizeof(*sc->parts));
    if (sc->parts == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t p = 0; p < v->n_partitions; p++) {
        const struct state_partition *sp = &v->partitions[p];
        sc->parts[p] =
            (struct scan_part){.end = sp->groups == NULL ? 0 : group_table_added(sp->groups),
                               .watermark_us = sp->watermark_us};
    }
    list_add(&v->scans, &sc->link);
    part_enter(sc, 0);
    return ERR_OK;
}

void view_scan_end(struct view_scan *sc)
{
    if (sc->link.next != NULL)
        list_remove(&sc->link);
    group_table_unwatch(&sc->at);
    mem_free(sc->parts);
    map_deinit(&sc->kept);
    arena_deinit(&sc->cells);
    *sc = (struct view_scan){0};
}

/* ---- what epochs do meanwhile ---- */

static bool is_ahead(const struct view_scan *sc, const struct state_partition *sp,
                     const struct group *g)
{
    return sp->number == sc->part ? g->number >= sc->number : sp->number > sc->part;
}

/* Groups do not move. */
static uint64_t kept_key(const struct group *g)
{
    return (uint64_t)(uintptr_t)g;
}

static enum err keep(struct view_scan *sc, const struct state_partition *sp, const struct group *g)
{
    if (!is_ahead(sc, sp, g))
        return ERR_OK;
    if (arena_used(&sc->cells) + sc->kept.count * KEPT_ENTRY_BYTES > sc->cells.bytes_max)
        return ERR_LIMIT;
    stat_add(sc->n_kept, 1);
    char *cells = agg_plan_copy(&sc->view->agg, g, &sc->cells);
    return cells == NULL ? ERR_LIMIT : map_put(&sc->kept, kept_key(g), cells);
}

void view_scans_keep(struct view_run *v, const struct state_partition *sp, const struct group *g)
{
    LIST_FOR (it, &v->scans) {
        struct view_scan *sc = LIST_ENTRY(it, struct view_scan, link);
        /* Touched since: it is kept already, or newer than the scan. */
        if (sc->err == ERR_OK && !v->emit_final && g->touched_epoch <= sc->epoch)
            sc->err = keep(sc, sp, g);
    }
}

int64_t view_scans_watermark(const struct view_run *v, uint32_t state_partition,
                             int64_t watermark_us)
{
    LIST_FOR (it, &v->scans) {
        const struct view_scan *sc = LIST_ENTRY(it, struct view_scan, link);
        int64_t began = sc->parts[state_partition].watermark_us;
        watermark_us = began < watermark_us ? began : watermark_us;
    }
    return watermark_us;
}

void view_scans_stop(struct view_run *v)
{
    LIST_FOR_SAFE (it, next, &v->scans) {
        struct view_scan *sc = LIST_ENTRY(it, struct view_scan, link);
        sc->err = ERR_UNDEFINED_TABLE;
        group_table_unwatch(&sc->at);
        list_remove(it);
    }
}

/* ---- reading ---- */

/* The next group of the partition, with its cells as they were (no cells: it has no row); false
 * when all were read. */
static bool group_next(struct view_scan *sc, struct view_pick *out)
{
    const struct view_run *v = sc->view;
    const struct scan_part *part = &sc->parts[sc->part];
    struct group *g =
        sc->number >= part->end ? NULL : group_table_next(v->partitions[sc->part].groups, &sc->at);
    sc->number = g == NULL ? part->end : g->number + 1;
    if (g == NULL || g->number >= part->end)
        return false;
    bool shown = !v->emit_final || g->window_end <= part->watermark_us;
    shown = shown && !view_window_expired(v, part->watermark_us, g->window_end);
    *out = (struct view_pick){g, shown ? group_cells(g) : NULL};
    if (shown && !v->emit_final && g->touched_epoch > sc->epoch)
        out->cells = map_get(&sc->kept, kept_key(g));
    return true;
}

enum err view_scan_next(struct view_scan *sc, struct arena *a, const struct batch **out,
                        uint32_t *n_groups, bool *more)
{
    *out = NULL;
    *n_groups = 0;
    *more = false;
    if (sc->err != ERR_OK)
        return sc->err;
    struct view_run *v = sc->view;
    struct view_pick pick;
    while (!group_next(sc, &pick)) {
        part_enter(sc, sc->part + 1);
        if (sc->part == v->n_partitions)
            return ERR_OK;
    }
    *more = true;
    struct view_pick *picks = arena_alloc(a, BATCH_ROWS_MAX * sizeof(*picks));
    if (picks == NULL)
        return ERR_NO_MEMORY;
    uint32_t n = 0;
    do {
        if (pick.cells != NULL)
            picks[n++] = pick;
    } while (++*n_groups < v->agg.rows_max && group_next(sc, &pick));
    if (n == 0)
        return ERR_OK;
    struct view_rows rows;
    TRY(view_run_rows(v, &v->partitions[sc->part], picks, n, sc->now_us, a, NULL, &rows));
    *out = rows.out.batch;
    return ERR_OK;
}
