/* What views' operators have done: rows, time and state, and at which rate. One source for EXPLAIN
 * (analyze), sys.explain and the dashboard's pipeline. Private to engine/. */
#ifndef TIDEMILL_ENGINE_VIEW_FIGURES_H
#define TIDEMILL_ENGINE_VIEW_FIGURES_H

#include "engine/engine_int.h"

enum { FIGURES_SAMPLE_MS = 1000 };

/* Zeroes, with room for the view's operators. ERR_NO_MEMORY. */
enum err view_figures_new(const struct view *v, struct view_figures **out) MUST_CHECK;
/* Takes a sample of all views' figures, once FIGURES_SAMPLE_MS have passed since the last: rates
 * are those of the time since the one before it. Shard 0. */
void view_figures_sample(struct shard *s);

/* Of one node of the view's plan; what is not known is false. */
struct node_figures {
    bool in, out, busy, state;
    uint64_t rows_in, rows_out;
    double rows_in_s, rows_out_s;  /* a second */
    double busy_share;             /* of one core */
    int64_t state_rows, state_bytes;
};
/* `node` NULL: the view as a whole. Any thread. */
void view_node_figures(struct engine *e, const struct relation *view,
                       const struct plan_node *node, struct node_figures *out);

#endif
