/* All values of a group, in order: string_agg, jsonb_agg, percentiles, mode. Inside run/aggregate.
 *
 *   cell --> entries, sorted by their bytes | tail, not yet sorted
 *   entry: bytes [order key of ORDER BY and the arguments | the arguments], weight
 *
 * A row adds its weight to the tail; a result sorts the tail, merges it and drops what has become
 * 0, so that what is kept, and what is shown, follows from the rows that are there alone. An entry
 * takes 24 bytes and its own. One thread. */
#ifndef TIDEMILL_RUN_AGG_VALUES_H
#define TIDEMILL_RUN_AGG_VALUES_H

#include "plan/plan.h"
#include "state/row_format.h"

/* Immutable. */
struct agg_values_plan {
    struct row_format format; /* of the arguments */
    uint32_t n_sorts;
    const struct sort_key *sorts;
    bool distinct, keyed; /* equal keys are equal values; else bytes have to be */
};

/* ERR_NO_MEMORY. */
enum err agg_values_resolve(const struct aggregate *agg, struct arena *a,
                            const struct agg_values_plan **out) MUST_CHECK;

#endif
