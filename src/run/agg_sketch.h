/* Approximate aggregates whose state is bounded. Inside run/aggregate.
 *
 * approx_count_distinct is a HyperLogLog of 4,096 registers with Ertl's estimator: a standard error
 * of 1.6 %. Each register is the greatest of what came, so the state does not depend on the order
 * of rows, and no row can be taken back. While few registers are used they are kept as a list: up
 * to 4 KB a group.
 *
 * approx_percentile counts values in buckets whose bounds grow by 2 % (DDSketch): the result is
 * within 1 % of the value that percentile_disc gives. Counts are taken back as they came. A bucket
 * takes 16 bytes; there are as many as the values have magnitudes: a few hundreds where they span
 * a factor of a thousand, and never more than 72,000 for each sign. */
#ifndef TIDEMILL_RUN_AGG_SKETCH_H
#define TIDEMILL_RUN_AGG_SKETCH_H

enum { SKETCH_REGISTERS = 4096 };

/* approx_top_k(x, k) keeps 10 counters for each of the k values, 100 at least (agg_top_k.c). */
enum { TOP_K_MAX = 1000, TOP_K_COUNTERS_EACH = 10, TOP_K_COUNTERS_MIN = 100 };

#endif
