/* Statements that change rows of tables with a PRIMARY KEY. Private to engine/.
 *
 *   session   rows of the statement --by partition--> pieces
 *   owner     in one turn: the rows of these keys as they are now -> what the statement makes of
 *             them -> records -> append
 *
 * So no other change of these rows comes in between. A piece, of at most KEYED_PIECE_ROWS rows, is
 * done or not done as a whole. Statements of several pieces are asked first whether they would do;
 * only what changes the rows between that and the writing can leave such a statement half done. */
#ifndef TIDEMILL_ENGINE_KEYED_WRITE_H
#define TIDEMILL_ENGINE_KEYED_WRITE_H

#include "engine/engine_int.h"
#include "engine/returned.h"

enum { KEYED_PIECE_ROWS = 64 << 10, KEYED_PIECES_MAX = 1 << 16 };

enum keyed_kind { KEYED_INSERT, KEYED_UPDATE, KEYED_DELETE };

struct keyed_options {
    const struct relation *table;
    enum keyed_kind kind;
    enum conflict conflict;                  /* INSERT */
    const struct plan_node *conflict_update; /* as in struct plan; borrowed for the call */
    struct returned *returned; /* gets what RETURNING gives of a commit that did; NULL: not asked */
};

struct keyed_write;

/* `catalog` is held by the caller until keyed_write_free. */
enum err keyed_write_new(struct shard *s, const struct keyed_options *o, struct keyed_write **out,
                         struct err_detail *why) MUST_CHECK;
/* No commit is under way. NULL is fine. */
void keyed_write_free(struct keyed_write *w);
/* Takes rows; they are copied. INSERT: all columns of rows to be inserted. DELETE: of rows as they
 * are. UPDATE: as they are, then as they shall be. ERR_NULL_VIOLATION, ERR_UNIQUE_VIOLATION within
 * the statement, with the row in *bad_row; ERR_TOO_LARGE. */
enum err keyed_write_add(struct keyed_write *w, const struct batch *rows, uint32_t *bad_row,
                         struct err_detail *why) MUST_CHECK;
uint64_t keyed_write_rows(const struct keyed_write *w);
size_t keyed_write_bytes(const struct keyed_write *w);
/* Writes all; `done` when it is durable, or with an error: ERR_UNIQUE_VIOLATION,
 * ERR_SERIALIZATION: rows are not any more what the statement has seen, and nothing was done. Then
 * it is free for more rows. */
void keyed_write_commit(struct keyed_write *w,
                        void (*done)(void *arg, enum err e, const struct err_detail *why),
                        void *arg);
/* Rows inserted, changed or deleted by the last commit. */
uint64_t keyed_write_changed(const struct keyed_write *w);

#endif
