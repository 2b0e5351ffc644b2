/* Rows of a table with a PRIMARY KEY as of everything appended: what its reader keeps, and the log
 * behind that. On the partition's shard. Private to engine/. */
#ifndef TIDEMILL_ENGINE_KEYED_HEAD_H
#define TIDEMILL_ENGINE_KEYED_HEAD_H

#include "engine/keyed_rows.h"
#include "engine/partition.h"

/* The rows of the keys that the rows of `keys` have (batches of all columns, each of at most
 * KEYED_ROWS_AT_ONCE), as a table of their own that the caller frees. *later instead: the log has
 * more than the reader has taken in by far, or a transaction is open behind that: try again soon.
 * `a` is for the while. ERR_LIMIT when the table's rows do not fit their bound, ERR_NO_MEMORY, and
 * what reading the log says. */
enum err keyed_head(struct part *p, const struct relation *rel, const struct batch *const *keys,
                    uint32_t n, struct arena *a, struct keyed_rows **out, bool *later,
                    struct err_detail *why) MUST_CHECK;

#endif
