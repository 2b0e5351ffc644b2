/* The rows of partitions as OVER needs them: one partition at a time, in order.
 *
 *   packet [input's columns, more | partition] --> partition: touched; row: weight += w
 *   end of the epoch, for each touched partition: read its rows --> sort --> the operator's work
 *                                                 --> flow_sorted_done: weights are settled
 *
 * Rows are kept exactly as they were written (state/row_format.h). Those that are equal in all that
 * the operator sorts by come in the order of their bytes, so that the result follows from the
 * rows alone.
 *
 * Sessions (gap_us): each row knows when its session ends, as of when the partition was last done,
 * and the partition waits in `windows` for the first of these ends. What the watermark has passed
 * goes without output: no row that is not late comes within the gap of it any more. */
#ifndef TIDEMILL_RUN_FLOW_SORTED_H
#define TIDEMILL_RUN_FLOW_SORTED_H

#include "base/merge_sort.h"
#include "run/flow_int.h"
#include "state/row_format.h"

/* Immutable. */
struct flow_sorted_plan {
    uint32_t n_columns; /* of a row that is given: the input's, at the front of what is kept */
    struct row_format format;
    uint32_t n_sorts;
    const struct sort_key *sorts;
    int64_t gap_us; /* sessions by the first of `sorts`, which is a time; 0: none */
    enum time_unit unit; /* ... of it */
};

/* An entry's owner. */
struct flow_sorted_row {
    int64_t settled; /* the weight when the partition was last done */
    int64_t end;     /* of its session; only with sessions */
};

struct flow_sorted {
    const struct flow_sorted_plan *plan;
    struct row_table *partitions, *rows;
    struct flow_windows windows; /* of partitions; with sessions: by the first that ends */
    struct flow_touched touched;
    enum { SORTED_NONE, SORTED_SORTING, SORTED_READY } phase;
    struct arena work; /* of the partition at hand: */
    uint32_t n;        /* its rows, each once */
    struct row_entry **entries;
    struct batch batch; /* row i is entries[i] */
    uint32_t *order;    /* READY: rows in order */
    struct merge_sort sort;
};

/* Fills the operator's only port, and what it says of windows. The port has the input's columns,
 * then `more`, under the partition; `more` is kept of each row and not given. */
enum err flow_sorted_compile(struct flow_op *op, const struct expr *const *more, uint32_t n_more,
                             struct arena *a, struct flow_sorted_plan *out) MUST_CHECK;
enum err flow_sorted_init(struct flow_sorted *s, const struct flow_op *op,
                          const struct flow_sorted_plan *p, uint64_t bytes_max) MUST_CHECK;
void flow_sorted_deinit(struct flow_sorted *s);
uint64_t flow_sorted_bytes(const struct flow_sorted *s);
uint64_t flow_sorted_count(const struct flow_sorted *s);
/* Takes in a packet. */
enum err flow_sorted_apply(struct flow_sorted *s, struct flow_run *r,
                           const struct flow_packet *p) MUST_CHECK;
/* Forgets the partitions of windows that have ended, or rows of sessions. Between epochs. */
void flow_sorted_expire(struct flow_sorted *s, int64_t watermark_us, uint32_t *rows_left);
/* Brings the next touched partition to READY, as far as the piece's rows reach. True when it is;
 * false when there is none left, or the piece is used up (`*more`). */
enum err flow_sorted_next(struct flow_sorted *s, struct flow_run *r, bool *ready,
                          bool *more) MUST_CHECK;
/* The partition's output is given: rows that are gone are forgotten. Its memory is free again.
 * ERR_NO_MEMORY. */
enum err flow_sorted_done(struct flow_sorted *s, const struct flow_op *op) MUST_CHECK;
/* Order of two rows of the partition by `sorts` alone: 0 for peers. */
int flow_sorted_compare(const struct flow_sorted *s, uint32_t x, uint32_t y);
/* Order of two values of a sort column. */
int flow_sorted_values(const struct sort_key *k, const struct value *x, const struct value *y);

/* Rows on their way out: a batch that is passed on when it is full. */
struct flow_out {
    struct batch *batch;
    const enum type *types;
    uint32_t n_columns;
};
/* Adds a row of `from` with a weight; texts are copied. */
enum err flow_out_add(struct flow_out *o, struct flow_run *r, const struct column *from,
                      uint32_t row, int64_t weight) MUST_CHECK;
/* Passes on what is in it. */
enum err flow_out_flush(struct flow_out *o, struct flow_run *r) MUST_CHECK;

#endif
