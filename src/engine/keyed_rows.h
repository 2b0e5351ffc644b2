/* The rows of a table with a PRIMARY KEY in one partition, as of some offset of its log.
 *
 *   records, in order --keyed_rows_take--> rows that go (weight -1) and come (+1)
 *
 * What it holds is a function of the newest record of each key, so a log that was compacted gives
 * the same as the whole one. Private to engine/; one thread at a time. */
#ifndef TIDEMILL_ENGINE_KEYED_ROWS_H
#define TIDEMILL_ENGINE_KEYED_ROWS_H

#include "engine/keyed_record.h"
#include "state/row_table.h"

enum { KEYED_ROWS_AT_ONCE = BATCH_ROWS_MAX / 2 };

struct keyed_rows;

/* Empty; its memory stays within `bytes_max`. `seed` is secret (run/key.h). */
enum err keyed_rows_new(const struct relation *rel, uint64_t bytes_max, uint64_t seed,
                        struct keyed_rows **out) MUST_CHECK;
void keyed_rows_free(struct keyed_rows *k);
uint64_t keyed_rows_count(const struct keyed_rows *k);
uint64_t keyed_rows_bytes(const struct keyed_rows *k);
/* Takes in PUTs and DELETEs, at most KEYED_ROWS_AT_ONCE, in order. *out (NULL: not asked for) is
 * what follows from them, in `a`; without rows when nothing does. ERR_LIMIT when the rows do not
 * fit the bound, ERR_TOO_LARGE, ERR_NO_MEMORY: it is only good for being freed or cleared then. */
enum err keyed_rows_take(struct keyed_rows *k, const struct batch *in, const enum row_op *ops,
                         struct arena *a, struct batch **out) MUST_CHECK;
/* Takes some rows out, with weight -1, in `a`; without rows when there are none. */
enum err keyed_rows_clear(struct keyed_rows *k, struct arena *a, struct batch **out) MUST_CHECK;
/* The next rows, in no particular order, in `a`: start with a zeroed cursor; without rows at the
 * end. No changes meanwhile. */
enum err keyed_rows_next(const struct keyed_rows *k, struct row_table_cursor *c, struct arena *a,
                         struct batch **out) MUST_CHECK;
/* The rows of the keys that rows [0, in->n_rows) of `in`, a batch of all columns, have:
 * `found[i]` says whether there is one, row i of *out is it, in `a`. */
enum err keyed_rows_find(const struct keyed_rows *k, const struct batch *in, struct arena *a,
                         bool *found, struct batch **out) MUST_CHECK;
/* Takes in rows whose keys are new to it, in order; `fresh[i]` says whether row i's was. Errors as
 * keyed_rows_take. */
enum err keyed_rows_add(struct keyed_rows *k, const struct batch *in, struct arena *a,
                        bool *fresh) MUST_CHECK;
/* Whether rows i of both batches are written alike; `a` is for the while. */
enum err keyed_rows_same(const struct keyed_rows *k, const struct batch *x, const struct batch *y,
                         struct arena *a, bool *same) MUST_CHECK;

#endif
