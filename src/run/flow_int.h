/* Inside run/flow: operators, and how rows get from one to the next.
 *
 *   outs (of a scan, of VALUES, of an operator): edges
 *   edge: chain [WINDOW | FILTER | PROJECT]* + the port's own PROJECT --> port of an operator
 *
 * An operator is a row of `flow_kind`'s functions. It is compiled from its plan node: it says what
 * its ports want of the input's rows (expressions over the input's columns) and keeps what it needs
 * in `plan`. Its state is one object a partition. It gives rows by flow_forward. */
#ifndef TIDEMILL_RUN_FLOW_INT_H
#define TIDEMILL_RUN_FLOW_INT_H

#include "run/chain.h"
#include "run/flow.h"
#include "run/flow_window.h"
#include "state/row_table.h"

enum { FLOW_PORTS_MAX = 2 };

struct flow_edge {
    struct chain *chain;
    uint32_t op, port; /* or FLOW_ROOT */
};
struct flow_outs {
    uint32_t n, cap;
    struct flow_edge *edges;
};

/* What an operator wants of its input's rows. */
struct flow_port {
    /* Given by compile, over the input's columns; a packet's batch has the values of the first
     * `n_payload` of them, its keys are made of `n_keys` from `key_at`. */
    uint32_t n_exprs;
    const struct expr *const *exprs;
    uint32_t n_payload;
    uint32_t key_at, n_keys;
    /* Per key: a row with NULL there goes to `pass` instead of into a packet. NULL: none does. */
    const bool *not_null;
    /* Filled by the core. */
    uint32_t tail_bytes;
};

struct flow_op {
    const struct flow_kind *kind;
    const struct plan_node *node; /* only while compiling */
    uint32_t number, level;
    uint32_t n_ports;
    struct flow_port ports[FLOW_PORTS_MAX];
    void *plan; /* in the flow's arena */
    /* Filled by compile when a key of all ports is a bound of a window: its number, and what to add
     * to it for the window's end. */
    bool windowed;
    bool sessions; /* its rows are over with the sessions that they are in */
    uint32_t bound_key;
    int64_t to_end;
    const enum type *key_types; /* filled by the core */
    struct flow_outs outs;
};

/* One call of an operator's function. */
struct flow_run {
    const struct flow *flow;
    const struct flow_op *op;
    void *state; /* the operator's; NULL in `pass` */
    const struct flow_context *c;
    uint64_t hash_seed;
    struct flow_figures *figures; /* NULL in `pass` */
    uint32_t rows_left; /* of this piece: counted down by what makes or looks at rows */
};

/* One kind of operator. All but compile, state_new, state_free, bytes, rows, apply may be NULL. */
struct flow_kind {
    /* Fills op->n_ports, ports and plan from op->node; memory of `a`, nothing borrowed of the plan
     * but what the ports' expressions are. */
    enum err (*compile)(struct flow_op *op, struct arena *a, struct err_detail *why);
    enum err (*state_new)(const struct flow_op *op, uint64_t hash_seed, uint64_t bytes_max,
                          void **out);
    void (*state_free)(const struct flow_op *op, void *state);
    uint64_t (*bytes)(const void *state);
    uint64_t (*rows)(const void *state);
    /* Before the first epoch, in the partition of the empty key. */
    enum err (*seed)(struct flow_run *r);
    /* Rows whose key has a NULL that matches nothing: no state is needed for them. */
    enum err (*pass)(struct flow_run *r, uint32_t port, const struct batch *b);
    enum err (*apply)(struct flow_run *r, const struct flow_packet *p, bool *more);
    enum err (*end_level)(struct flow_run *r, bool *more);
    /* Of operators that are windowed or of sessions: forgets what is kept under windows that have
     * ended, until none is left or about *rows_left rows are gone, which it counts down. */
    void (*expire)(const struct flow_op *op, void *state, int64_t watermark_us,
                   uint32_t *rows_left);
};

extern const struct flow_kind flow_join_kind, flow_setop_kind, flow_aggregate_kind, flow_top_kind,
    flow_over_kind;

/* Passes rows of the operator's output on, to all that read it. The batch lives in the context's
 * arena, or longer. Rows with weight 0 may be among them. */
enum err flow_forward(struct flow_run *r, const struct batch *b) MUST_CHECK;
/* Uses up the piece's rows. */
static inline void flow_spend(struct flow_run *r, uint32_t rows)
{
    r->rows_left -= rows < r->rows_left ? rows : r->rows_left;
}

/* Entries whose output is to be settled when the epoch's input has ended, each once: their owner
 * remembers that they are in. `at`: how far that has come. */
struct flow_touched {
    struct row_entry **list;
    uint64_t n, cap, at;
};
/* ERR_NO_MEMORY: the entry is not in. */
enum err flow_touch(struct flow_touched *t, struct row_entry *e) MUST_CHECK;
void flow_touched_free(struct flow_touched *t);
static inline uint64_t flow_touched_bytes(const struct flow_touched *t)
{
    return t->cap * sizeof(struct row_entry *);
}

/* Tables with one entry for each key, whose row is the key's tail as the first row wrote it: the
 * entry of `key` (with its tail behind it), made when missing. As row_table_add. */
enum err flow_key_entry(struct row_table *t, uint64_t hash, struct str key, uint32_t tail_bytes,
                        struct row_entry **out, bool *created) MUST_CHECK;
/* Its key with the tail behind it, in `a`; ptr is NULL when that is full. */
struct str flow_key_copy(const struct row_table *t, const struct row_entry *e, struct arena *a);

/* Key `key` of the operator is column `column` of `of`: the first that is a window's bound makes it
 * windowed. */
void flow_op_bound(struct flow_op *op, const struct plan_node *of, uint32_t column, uint32_t key);
/* The end of the window that a key of a windowed operator is of; INT64_MAX: of none. */
int64_t flow_key_end(const struct flow_op *op, struct str key);

/* Expressions that are the columns of `node`, with room for `more` behind them. NULL when out of
 * memory. */
const struct expr **flow_columns(const struct plan_node *node, uint32_t more, struct arena *a);

#endif
