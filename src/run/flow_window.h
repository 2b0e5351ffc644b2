/* What is kept under windows, by the end of its window: so that it is found when the window is
 * over.
 *
 * A column is a bound when its values are starts or ends of windows over a relation's rows, and no
 * row with such a value can change any more when the watermark has passed the window's end: the
 * rows of a window that has ended are late, so they do not get past the window, and of what keeps
 * rows in between each has a bound of the same window in its own key. */
#ifndef TIDEMILL_RUN_FLOW_WINDOW_H
#define TIDEMILL_RUN_FLOW_WINDOW_H

#include "plan/plan.h"
#include "state/row_table.h"

struct flow_bound {
    bool is;
    int64_t to_end;                 /* value + to_end is the window's end */
    const struct plan_node *window; /* NULL: of several */
};
/* Whether column `column` of the node's rows is a bound. */
struct flow_bound flow_bound_of(const struct plan_node *n, uint32_t column);
/* The first key of a join that is a bound on both sides: its number, or n_keys. */
uint32_t flow_join_bound(const struct plan_node *join, int64_t *to_end);

/* Lists of entries by their window's end, ascending. The links are in the entries' owner bytes, at
 * `links_at`. */
struct flow_windows {
    uint32_t links_at;
    uint32_t n, cap;
    struct flow_window_list {
        int64_t end;
        struct row_entry *first;
    } * lists;
};
struct flow_window_links {
    struct row_entry *next, *prev;
    int64_t end; /* INT64_MAX: in no list */
};

/* Owner bytes with the links behind them, where the operator is windowed. */
static inline uint32_t flow_windows_init(struct flow_windows *w, bool windowed,
                                         uint32_t owner_bytes)
{
    *w = (struct flow_windows){.links_at = owner_bytes};
    return owner_bytes + (windowed ? (uint32_t)sizeof(struct flow_window_links) : 0);
}
/* Enters an entry that was made just now; INT64_MAX: it has no end. ERR_NO_MEMORY: it is in no
 * list, and may be removed. */
enum err flow_windows_add(struct flow_windows *w, struct row_entry *e, int64_t end) MUST_CHECK;
/* Takes an entry out, before it is removed. */
void flow_windows_remove(struct flow_windows *w, struct row_entry *e);
/* Takes out an entry whose window ended at `watermark_us` or before; NULL when there is none. */
struct row_entry *flow_windows_take(struct flow_windows *w, int64_t watermark_us);
void flow_windows_free(struct flow_windows *w);
static inline uint64_t flow_windows_bytes(const struct flow_windows *w)
{
    return w->cap * sizeof(struct flow_window_list);
}

#endif
