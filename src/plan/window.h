/* What windows say about the rows above them: which columns are bounds of windows, and when rows
 * with a value there can change no more.
 *
 * A column is a bound when its values are starts or ends of windows over event times, and no row
 * with such a value can change any more when the watermark of all inputs has passed the window's
 * end: the rows of a window that has ended are late, so they do not get past the window, and of
 * what keeps rows in between each has a bound of the same window in its own key. All is pure. */
#ifndef TIDEMILL_PLAN_WINDOW_H
#define TIDEMILL_PLAN_WINDOW_H

#include "plan/plan.h"

struct window_bound {
    bool is;
    bool nullable;                  /* some rows may have a NULL there: they have no window */
    int64_t to_end;                 /* value + to_end is the window's end */
    const struct plan_node *window; /* NULL: of several */
};
/* Whether column `column` of the node's rows is a bound. */
struct window_bound window_bound_of(const struct plan_node *n, uint32_t column);
/* The gap in microseconds when an OVER makes sessions over event times: then a row of its input is
 * of no more use when the watermark of all inputs is behind the end of the session that it is in.
 * 0 for all other OVERs. */
int64_t window_session_gap(const struct plan_node *over);
/* The first key of a join that is a bound on both sides: its number, or n_keys. */
uint32_t window_join_bound(const struct plan_node *join, int64_t *to_end);
/* The one of the node's columns [0, n) that is a bound, rather one without NULLs, and rather an end
 * than a start; its number in *column. */
struct window_bound window_of_keys(const struct plan_node *n, uint32_t n_columns,
                                   uint32_t *column);
/* The same of what identifies a view's rows: the keys of its topmost aggregate or, without one, all
 * columns. It says when a row is final. */
struct window_bound window_of_view(const struct plan_node *root, uint32_t *key);
/* Whether a window's time is the event time of the relations below it, seen through FILTER,
 * PROJECT and UNION_ALL: only then watermarks say anything about it. */
bool window_is_timed(const struct plan_node *window);

#endif
