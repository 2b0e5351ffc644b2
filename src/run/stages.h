/* One-shot execution of a query plan above its source: batches in, batches out. Pure but for
 * memory; one thread.
 *
 *   source batches -> chain -> [aggregate | sort | limit] -> chain -> ... -> output
 *
 * Aggregates and sorts keep rows (bounded by `bytes_max`) until the input ends; everything else
 * streams. */
#ifndef TIDEMILL_RUN_STAGES_H
#define TIDEMILL_RUN_STAGES_H

#include "run/chain.h"

struct stages;

/* Builds the stages of `root` above its source, which is returned in `source`: SCAN, VALUES, or the
 * first node from above that keeps what stages do not (a join ...; run/flow.h). Nothing borrows the
 * plan afterwards but column definitions. `params` are gone: the plan is bound. `hash_seed` is
 * secret (run/key.h); rows out do not depend on it. */
enum err stages_new(const struct plan_node *root, size_t bytes_max, int64_t now_us,
                    uint64_t hash_seed, struct stages **out, const struct plan_node **source,
                    struct err_detail *why) MUST_CHECK;
void stages_free(struct stages *s);
/* The chain next to the source: it may be run elsewhere before stages_push_chained. Immutable. */
const struct chain *stages_first_chain(const struct stages *s);
/* How many rows of the first chain the output may depend on; UINT64_MAX = all. */
uint64_t stages_rows_wanted(const struct stages *s);
/* Whether the plan is only that first chain (so that it can follow a stream of changes). */
bool stages_streaming(const struct stages *s);

/* Takes a source batch. What comes out at the top, if anything, is *out (NULL: nothing yet), valid
 * until the next call. Row errors end the query: ERR_* with text. */
enum err stages_push(struct stages *s, const struct batch *in, const struct batch **out,
                     struct err_detail *why) MUST_CHECK;
/* The same for a batch that went through the first chain already. */
enum err stages_push_chained(struct stages *s, const struct batch *in, const struct batch **out,
                             struct err_detail *why) MUST_CHECK;
/* After the last batch: does a bounded piece of what is left to do. Rows that came out are in *out
 * (NULL: none now); call again, later if others wait, while *more. */
enum err stages_finish(struct stages *s, const struct batch **out, bool *more,
                       struct err_detail *why) MUST_CHECK;
/* True when no further input can change the output (a LIMIT is reached). */
bool stages_satisfied(const struct stages *s);

#endif
