/* What is kept under windows, by the end of its window: so that it is found when the window is
 * over. plan/window.h says which keys tell it. */
#ifndef TIDEMILL_RUN_FLOW_WINDOW_H
#define TIDEMILL_RUN_FLOW_WINDOW_H

#include "plan/window.h"
#include "state/row_table.h"

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
/* Takes out an entry whose window ended at `watermark_us` or before, and counts it; NULL when there
 * is none, or *rows_left is 0. */
struct row_entry *flow_windows_take(struct flow_windows *w, int64_t watermark_us,
                                    uint32_t *rows_left);
void flow_windows_free(struct flow_windows *w);
static inline uint64_t flow_windows_bytes(const struct flow_windows *w)
{
    return w->cap * sizeof(struct flow_window_list);
}

#endif
