/* A plan with any operators as a graph over weighted rows. Pure but for memory.
 *
 *   scan batch --flow_source--> packets --(exchange)--> flow_apply --> packets ...
 *                                                       flow_end_level    to the root: weighted
 * rows
 *
 * The plan is cut at the nodes that keep state (JOIN, AGGREGATE, SETOP, OVER, TOP): its operators.
 * What is between two of them (WINDOW, FILTER, PROJECT, UNION_ALL, and SORT, which has no meaning
 * below an operator) is a chain that is run where the rows come from. A row's weight says how often
 * it comes (> 0) or goes (< 0).
 *
 * Order never matters. Within an epoch packets of an operator may be applied in any order and cut
 * in any way, and a row may go before it comes; what the epochs of an operator have given in all is
 * a function of the sum of what went in. A first epoch without negative weights gives none either
 * (but for JOIN_SINGLE, whose error it is): a query that is asked once sees no retractions.
 *
 * Levels. An operator's level is one above the greatest of its inputs', from 0. An epoch is:
 *
 *   flow_source for all rows; then for each level: flow_apply for all packets of its operators (at
 *   any time before, too), then flow_end_level, on all partitions, before that of the next level
 *
 * A flow is immutable: any thread. A flow_state is one partition of all its operators' state: one
 * thread at a time. After an error (row_error's and emit's own are passed on) a state can only be
 * freed. */
#ifndef TIDEMILL_RUN_FLOW_H
#define TIDEMILL_RUN_FLOW_H

#include "plan/plan.h"
#include "type/column.h"

struct flow;
struct flow_state;

enum {
    FLOW_OPERATORS_MAX = 256,
    FLOW_SCANS_MAX = 256,
    FLOW_EDGES_MAX = 4096,      /* ways from a scan or an operator to the next operator */
    FLOW_DEPTH_MAX = 500,       /* nodes from the root down */
    FLOW_PIECE_ROWS = 16 << 10, /* rows that one call makes or looks at, about */
};
#define FLOW_ROOT UINT32_MAX

/* At most BATCH_ROWS_MAX rows on their way to port `port` (0 left, 1 right) of operator `op`, or to
 * the root (FLOW_ROOT), where the batch has the columns of the plan's root. */
struct flow_packet {
    uint32_t op, port;
    const struct batch *batch; /* what the operator wants of each row, with weights */
    /* What the operator joins, groups or partitions by; NULL at the root. Each key has
     * flow_tail_bytes() more bytes behind its end, which go where it goes. */
    const struct str *keys;
    const uint64_t *hashes; /* of the keys, by the flow's seed */
};

/* What the caller gives and gets. */
struct flow_context {
    /* For results. Nothing of the flow's own stays there between calls: once what was emitted is
     * no longer needed the arena may be reset, also while a call has *more to give. */
    struct arena *arena;
    int64_t now_us;
    /* Takes a packet: it lives in `arena` and borrows from the batch or the packet that is worked
     * on. The driver sends row i to partition key_partition(keys[i]), the same for all operators;
     * rows of the root stay where they are. */
    enum err (*emit)(void *arg, const struct flow_packet *p) MUST_CHECK;
    /* Row `row` of `b` failed in a chain or a join's condition, and is left out. An error ends the
     * call (a query that is asked once), ERR_OK goes on without the row (a view). `text` lives as
     * long as the call. */
    enum err (*row_error)(void *arg, const struct batch *b, uint32_t row, enum err e,
                          const char *text) MUST_CHECK;
    void *arg;
    struct err_detail *why; /* may be NULL */
    /* What tells how long operators work, for flow_figures; NULL: it is not measured. */
    int64_t (*clock_ns)(void *clock_arg);
    void *clock_arg;
};

/* Compiles the plan, which must outlive the flow; all its parameters are bound. A node that occurs
 * twice in it is run once. `hash_seed` is secret (run/key.h); rows out do not depend on it.
 * ERR_UNSUPPORTED for a node that has no place here (LIMIT, APPLY), ERR_LIMIT, ERR_NO_MEMORY, and
 * what chain_compile says. */
enum err flow_new(const struct plan_node *root, uint64_t hash_seed, struct flow **out,
                  struct err_detail *why) MUST_CHECK;
void flow_free(struct flow *f);

/* The SCAN nodes, left to right, each once. (VALUES come out of flow_seed.) */
uint32_t flow_n_scans(const struct flow *f);
const struct plan_node *flow_scan(const struct flow *f, uint32_t i);

/* The nodes of a plan that become operators, and its SCAN nodes, as a flow of it numbers them,
 * without compiling it. ERR_NO_MEMORY, ERR_LIMIT, ERR_UNSUPPORTED as flow_new. */
struct flow_outline {
    uint32_t n_operators, n_scans;
    const struct plan_node *operators[FLOW_OPERATORS_MAX], *scans[FLOW_SCANS_MAX];
};
enum err flow_outline(const struct plan_node *root, struct flow_outline *out) MUST_CHECK;

/* Operators are numbered in the order of their levels. The root's level is flow_n_levels(). */
uint32_t flow_n_operators(const struct flow *f);
uint32_t flow_n_levels(const struct flow *f);
uint32_t flow_level(const struct flow *f, uint32_t op);
/* Rows that one row of a scan may become in the windows that it goes to at once. */
uint32_t flow_windows_per_row(const struct flow *f);
/* Bytes behind each key of a port. */
uint32_t flow_tail_bytes(const struct flow *f, uint32_t op, uint32_t port);

/* Empty state; its memory stays within about `bytes_max`: what passes it is ERR_LIMIT. */
enum err flow_state_new(const struct flow *f, uint64_t bytes_max,
                        struct flow_state **out) MUST_CHECK;
void flow_state_free(struct flow_state *s);
uint64_t flow_state_bytes(const struct flow_state *s);
/* Rows and groups that are kept, of all operators; 0 again when all that came is gone. */
uint64_t flow_state_rows(const struct flow_state *s);

/* What one operator has done since its state was made, and what it keeps. */
struct flow_figures {
    uint64_t rows_in[2], rows_out; /* by port */
    uint64_t busy_ns;
    uint64_t rows, bytes;
};
void flow_state_figures(const struct flow_state *s, uint32_t op, struct flow_figures *out);

/* Rows of the input, ascending, all of whose windows had ended, in some chain that they passed. */
struct flow_late {
    uint32_t n;
    const uint32_t *rows;
};
/* Takes rows of scan `i` (its columns); emits packets. `watermarks` as in chain_run, or NULL. */
enum err flow_source(const struct flow *f, uint32_t scan, const struct batch *in,
                     const int64_t *watermarks, const struct flow_context *c,
                     struct flow_late *late) MUST_CHECK;
/* What there is before any input: VALUES and aggregates without keys. Called once, before the first
 * epoch's packets, with the state of partition key_partition(empty key). */
enum err flow_seed(const struct flow *f, struct flow_state *s,
                   const struct flow_context *c) MUST_CHECK;
/* Takes in a packet of an operator; what follows from it row by row is emitted. With *more the same
 * packet must be passed again, before any other packet of this operator. */
enum err flow_apply(const struct flow *f, struct flow_state *s, const struct flow_packet *p,
                    const struct flow_context *c, bool *more) MUST_CHECK;
/* After all packets of this level's operators: emits what follows from the epoch as a whole. With
 * *more it must be called again. */
enum err flow_end_level(const struct flow *f, struct flow_state *s, uint32_t level,
                        const struct flow_context *c, bool *more) MUST_CHECK;

/* Between epochs: forgets, without retractions, what is kept under windows that ended at
 * `watermark_us` or before; rows that come for them afterwards are left out and counted. Only where
 * an operator's key holds a bound of a window (plan/window.h); the rest stays. The watermark is
 * that of all inputs together: of what it says is over flow_source lets nothing through any more.
 * A piece of the work; true: to be called again. */
bool flow_expire(const struct flow *f, struct flow_state *s, int64_t watermark_us);
/* Rows that were left out. */
uint64_t flow_state_late(const struct flow_state *s);

/* Whether two values of one type are the same to the last digit: 1.0 and 1.00 are not. */
bool flow_same_value(const struct value *v, const struct value *w);

#endif
