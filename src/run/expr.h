/* Vectorised evaluation of bound expressions (plan/expr.h).
 *
 *   expr_compile (once per query)            expr_eval (per batch)
 *   tree -> fold constants -> nodes    ->    column of results, one row error per failing row
 *
 * A program is immutable after expr_compile: any number of threads may evaluate it at the same
 * time, each with its own kernel_context. Branches that a row does not take (CASE, AND, OR,
 * COALESCE) never raise for that row. */
#ifndef TIDEMILL_RUN_EXPR_H
#define TIDEMILL_RUN_EXPR_H

#include "plan/expr.h"

enum { EXPR_DEPTH_MAX = 500, EXPR_NODES_MAX = 100000 };

struct expr_program;

/* Compiles `e` into `a` (the program lives as long as `a`; `e` is not needed afterwards, except
 * that text constants are borrowed from it). Constant subtrees are folded; those that raise are
 * left to raise at run time, for the rows that reach them. ERR_LIMIT when the tree is deeper
 * than EXPR_DEPTH_MAX or larger than EXPR_NODES_MAX, ERR_NO_MEMORY, or the error of a constant
 * pattern that does not compile (`why` says). Any thread. */
enum err expr_compile(const struct expr *e, struct arena *a, struct expr_program **out,
                      struct err_detail *why) MUST_CHECK;

/* The type of the result. */
enum type expr_program_type(const struct expr_program *p);
/* The columns of the input that the program reads: calls each(arg, column index), possibly more
 * than once for one index. */
void expr_program_columns(const struct expr_program *p, void (*each)(void *arg, uint32_t index),
                          void *arg);

/* Prepares a context for one batch: no errors yet. `arena` receives all results and temporaries
 * of the batch. */
void kernel_context_init(struct kernel_context *k, struct arena *arena, int64_t now_us);

/* Evaluates over the rows of `in` for which active[row] != 0 (NULL = all) into `out`: in->n_rows
 * rows in k->arena, or columns and constants borrowed from `in` and the program. Rows that fail
 * become NULL and are recorded in k->row_errors, which accumulates over all programs evaluated
 * with this context on this batch; inactive rows have unspecified but initialised content. A row
 * that already has an error is still computed. ERR_NO_MEMORY when the arena is full. */
enum err expr_eval(const struct expr_program *p, const struct batch *in, const uint8_t *active,
                   struct kernel_context *k, struct column *out) MUST_CHECK;

/* Writes the numbers of the active rows for which the condition (a bool program) is true,
 * ascending, to `rows` (room for in->n_rows) and their count to `n`. Rows whose condition fails
 * are not selected and are recorded in k->row_errors. */
enum err expr_select(const struct expr_program *p, const struct batch *in, const uint8_t *active,
                     struct kernel_context *k, uint32_t *rows, uint32_t *n) MUST_CHECK;

#endif
