/* Row-wise execution: the part of a plan between two points that needs no state.
 *
 *   batch --> [WINDOW] [EXPAND] [FILTER] [PROJECT] ... --> batch, and where each row came from
 *
 * A chain is compiled once and immutable after: any thread may run it. */
#ifndef TIDEMILL_RUN_CHAIN_H
#define TIDEMILL_RUN_CHAIN_H

#include "plan/plan.h"
#include "type/column.h"

struct chain;

/* Compiles the nodes from `top` down to, not including, `bottom` (which must be on top's input
 * chain; top == bottom gives the identity). Only WINDOW, EXPAND, FILTER and PROJECT may be in
 * between; at most one WINDOW. The chain lives in `a` and borrows nothing of the plan. */
enum err chain_compile(const struct plan_node *top, const struct plan_node *bottom, struct arena *a,
                       struct chain **out, struct err_detail *why) MUST_CHECK;

/* A row that failed, in one of its windows or without: its number in the input batch and why. Each
 * is told of once. */
struct chain_error {
    uint32_t row;
    enum err err;
    const char *text; /* NUL-terminated, in the arena */
};

struct chain_result {
    struct batch *batch;       /* rows that passed */
    const uint32_t *origin;    /* per row of `batch`: row of the input; NULL = identity */
    const int64_t *window_end; /* per row; NULL without a window */
    uint32_t
        n_late; /* rows of the input all of whose windows had ended, and that passed the filters */
    const uint32_t *late; /* their numbers, ascending */
    uint32_t n_errors;
    const struct chain_error *errors;
};

/* Runs over `in`. `watermarks[i]` is the partition's watermark just before row i (NULL: nothing is
 * ever late). Results live in `a` (and borrow from `in`). Weights are carried along. ERR_NO_MEMORY
 * when the arena is full. */
enum err chain_run(const struct chain *c, const struct batch *in, const int64_t *watermarks,
                   int64_t now_us, struct arena *a, struct chain_result *out) MUST_CHECK;

/* Rows that one row may become: those of its windows. */
uint32_t chain_windows_per_row(const struct chain *c);
/* True when the chain has no nodes. */
bool chain_is_identity(const struct chain *c);

/* Windows of one event time: [first_start, last_start] in steps of slide. False for infinite times.
 */
bool window_range(const struct window_spec *w, int64_t ts, int64_t *first_start,
                  int64_t *last_start);

#endif
