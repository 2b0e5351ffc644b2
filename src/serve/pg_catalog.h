/* Answers to catalog queries that the planner cannot run: what psql's \d commands and drivers send.
 *
 * A query is recognised by pieces of its text, not by running it, so the list below the recogniser
 * names for each answer who sends it. Unrecognised queries go to the planner. */
#ifndef TIDEMILL_SERVE_PG_CATALOG_H
#define TIDEMILL_SERVE_PG_CATALOG_H

#include "plan/plan.h"

/* A plan of constant rows in `a`, with rows as text values: cells[row * n_columns + column], a cell
 * with ptr NULL is NULL. Texts and `columns` are borrowed and must live as long as `a`. NULL when
 * the arena is full. */
struct plan *pg_values_plan(struct arena *a, const struct catalog *c, const char *tag,
                            const struct column_def *columns, uint32_t n_columns,
                            const struct str *cells, uint32_t n_rows);

/* The answer to `sql` as a plan in `a` (borrowing from `c`), or *out NULL when the query is not
 * recognised. ERR_NO_MEMORY. */
enum err pg_catalog_plan(struct str sql, const struct catalog *c, struct arena *a,
                         struct plan **out, struct err_detail *why) MUST_CHECK;

#endif
