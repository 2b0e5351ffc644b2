/* RETURNING: what a statement gives of the rows that it inserts, changes or deletes. Private to
 * engine/.
 *
 *   where the rows are written: returned_eval --> rows of results --returned_add--> kept for the
 *   session, in the order of the statement's rows
 *
 * Results are computed before anything is written, so that one that fails leaves nothing behind. */
#ifndef TIDEMILL_ENGINE_RETURNED_H
#define TIDEMILL_ENGINE_RETURNED_H

#include "engine/engine_int.h"

struct returned;

/* `root` is struct plan's `returning`; borrowed. */
enum err returned_new(const struct plan_node *root, struct returned **out,
                      struct err_detail *why) MUST_CHECK;
void returned_free(struct returned *r); /* NULL is fine */
/* The results of rows, batches of all the table's columns, in `a`. Any thread. */
enum err returned_eval(const struct returned *r, const struct batch *rows, int64_t now_us,
                       struct arena *a, struct batch **out, struct err_detail *why) MUST_CHECK;
/* Forgets what was added; `rows` at most are to come. */
void returned_clear(struct returned *r, uint64_t rows);
/* Adds a copy of a result. ERR_TOO_LARGE when all together do not fit INGEST_BYTES_MAX. */
enum err returned_add(struct returned *r, const struct batch *results, uint32_t row) MUST_CHECK;
/* The i-th batch of what was added, NULL at the end; until returned_clear. */
const struct batch *returned_batch(const struct returned *r, uint32_t i);

#endif
