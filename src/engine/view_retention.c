#include "engine/view_retention.h"

#include "base/mem.h"
#include "engine/view_capture.h"
#include "engine/view_scan.h"

enum { CLOSED_MAX = 1 << 24 };

bool view_window_expired(const struct view_run *v, int64_t watermark_us, int64_t end)
{
    int64_t last;
    if (end == INT64_MAX || v->retention_us == INT64_MAX || watermark_us == INT64_MIN)
        return false;
    return !__builtin_sub_overflow(watermark_us, v->retention_us, &last) && end <= last;
}

/* Room for `n` more; what was taken from the front is used again. */
static enum err closed_reserve(struct window_queue *q, uint32_t n)
{
    if (q->at + q->n + n <= q->cap)
        return ERR_OK;
    if (q->n > 0)
        memmove(q->windows, q->windows + q->at, q->n * sizeof(*q->windows));
    q->at = 0;
    uint32_t need = q->n + n, cap = q->cap;
    /* Half of it free, so that moving costs no more than filling. */
    while (cap < 2 * need)
        cap = cap == 0 ? 16 : cap * 2;
    if (cap == q->cap)
        return ERR_OK;
    struct window_bucket *grown =
        cap > CLOSED_MAX ? NULL : mem_realloc(q->windows, cap * sizeof(*grown));
    if (grown == NULL)
        return cap > CLOSED_MAX ? ERR_LIMIT : ERR_NO_MEMORY;
    q->windows = grown;
    q->cap = cap;
    return ERR_OK;
}

enum err view_windows_closed(const struct view_run *v, struct state_partition *sp, uint32_t n)
{
    struct window_queue *q = &sp->closed;
    if (v->retention_us == INT64_MAX)
        return ERR_OK; /* nobody will ask */
    TRY(closed_reserve(q, n));
    for (uint32_t i = 0; i < n; i++) {
        /* Ascending by end: mostly behind the last. */
        uint32_t at = q->at + q->n++;
        for (; at > q->at && q->windows[at - 1].end > sp->windows[i].end; at--)
            q->windows[at] = q->windows[at - 1];
        q->windows[at] = sp->windows[i];
    }
    return ERR_OK;
}

void view_group_free(struct view_run *v, struct state_partition *sp, struct group *g)
{
    view_capture_keep(v, sp, g);
    for (uint32_t i = 0; i < v->agg.n_aggs; i++) {
        sp->heap_bytes -= agg_heap_bytes(&v->agg.ops[i], group_cells(g));
        agg_clear(&v->agg.ops[i], group_cells(g));
    }
    group_table_remove(sp->groups, g);
}

uint32_t view_windows_expire(struct view_run *v, struct state_partition *sp, uint32_t max)
{
    struct window_queue *q = &sp->closed;
    uint32_t left = max;
    int64_t watermark_us = view_scans_watermark(v, sp->number, sp->watermark_us);
    while (q->n > 0 && view_window_expired(v, watermark_us, q->windows[q->at].end)) {
        struct window_bucket *b = &q->windows[q->at];
        for (; b->n > 0 && left > 0; b->n--, left--) {
            struct group *g = group_at(sp->groups, b->first);
            b->first = g->next_in_window;
            view_group_free(v, sp, g);
        }
        if (b->n > 0)
            break;
        q->at++;
        q->n--;
    }
    return max - left;
}
