/* Plans: immutable trees from SQL text. Executed by run/ and engine/.
 *
 *   text --sql_parse--> statement (libpg_query tree) --plan_statement(catalog)--> struct plan
 *
 * A query plan is a chain: every node has at most one input (joins come later). For a continuous
 * view the engine cuts the chain at the aggregate: everything below runs where the input
 * partition lives, the aggregate and everything above run where the group's state lives. */
#ifndef TIDEMILL_PLAN_PLAN_H
#define TIDEMILL_PLAN_PLAN_H

#include "plan/catalog.h"
#include "plan/expr.h"

enum plan_kind {
    PLAN_SCAN,       /* relation; output = its columns that are used (`scan_columns`) */
    PLAN_VALUES,     /* constant rows (also SELECT without FROM: one row, no columns) */
    /* tumble/hop: input columns + window_start, window_end timestamptz; a row goes to each of its
     * windows */
    PLAN_WINDOW,
    PLAN_FILTER,     /* exprs[0] is the condition */
    PLAN_PROJECT,    /* exprs = output columns */
    PLAN_AGGREGATE,  /* output = exprs (group keys), then aggs. Without keys: exactly one row */
    PLAN_SORT,       /* sorts */
    PLAN_LIMIT,      /* limit / offset */
};

enum aggregate_function { AGG_COUNT_STAR, AGG_COUNT, AGG_SUM, AGG_AVG, AGG_MIN, AGG_MAX };

struct aggregate {
    enum aggregate_function function;
    bool distinct;               /* ad hoc queries only; refused in views */
    const struct expr *arg;      /* NULL for count(*) */
    const struct expr *filter;   /* FILTER (WHERE ...), or NULL */
    /* result: PostgreSQL's rules (sum(int4)->int8, sum(int8)->numeric, avg(int)->numeric, ...) */
    enum type type;
};

struct sort_key {
    uint32_t column;
    bool descending, nulls_first;
};

enum { WINDOWS_PER_ROW_MAX = 10000 };   /* size / slide of a hop */

struct window_spec {
    uint32_t time_column;        /* of the input, timestamptz, the table's event time in a view */
    /* tumble: slide == size. Windows start at multiples of slide since 1970 (UTC) + offset_us */
    int64_t size_us, slide_us;
    int64_t offset_us;
};

struct plan_node {
    enum plan_kind kind;
    const struct plan_node *input;       /* NULL for SCAN, VALUES */
    uint32_t n_columns;                  /* output */
    const struct column_def *columns;    /* output names and types */
    const struct relation *relation;     /* SCAN */
    const uint32_t *scan_columns;        /* SCAN: relation columns read, n_columns of them */
    /* SCAN over a view: `column = constant` conditions usable as a lookup are in the FILTER
     * above; the engine may use them. */
    uint32_t n_exprs;
    /* FILTER, PROJECT, AGGREGATE keys; VALUES: row-major, n_columns a row */
    const struct expr *const *exprs;
    uint32_t n_aggs;
    const struct aggregate *aggs;
    struct window_spec window;
    uint32_t n_sorts;
    const struct sort_key *sorts;
    const struct expr *limit, *offset;   /* int8 constants or parameters; NULL = none */
    uint32_t n_rows;                     /* VALUES */
};

enum statement_kind {
    STMT_QUERY,          /* root */
    /* text: the plan as lines; root: the same as constant rows, column "QUERY PLAN" */
    STMT_EXPLAIN,
    STMT_CREATE_TABLE, STMT_CREATE_VIEW, STMT_DROP,   /* change(s) */
    STMT_INSERT,         /* relation, insert_columns, root = rows */
    STMT_COPY_FROM,      /* relation, insert_columns, copy options */
    STMT_COPY_TO,        /* root, copy options, follow */
    STMT_SET,            /* accepted for drivers: name, text */
    STMT_SHOW,           /* name, text; root: constant rows (SHOW ALL has only them) */
    STMT_TRANSACTION,    /* BEGIN, COMMIT, ROLLBACK: accepted; text = the tag */
    /* user_change: CREATE and ALTER with name and text (the password), DROP with drops */
    STMT_USER,
    STMT_NOTHING,        /* empty, DISCARD, DEALLOCATE ALL ... : text = the tag */
};

enum copy_format { COPY_TEXT, COPY_CSV };
enum user_change { USER_CREATE, USER_ALTER, USER_DROP };

/* Everything a statement needs, in one arena, immutable after planning; holds a reference to its
 * catalog version. */
struct plan {
    enum statement_kind kind;
    const struct catalog *catalog;
    const struct plan_node *root;
    const char *tag;                     /* "SELECT", "CREATE TABLE", ... */
    uint32_t n_params;
    const enum type *params;             /* inferred types */
    const struct relation *relation;
    uint32_t n_insert_columns;
    const uint32_t *insert_columns;      /* relation column of each value */
    enum copy_format copy_format;
    char copy_delimiter, copy_quote, copy_escape;
    bool copy_header;
    struct str copy_null;
    bool follow;
    bool if_exists, if_not_exists;
    /* CREATE_*: complete but for numbers and ids, which shard 0 fills */
    struct catalog_change change;
    enum user_change user_change;
    uint32_t n_drops;
    const struct str *drops;
    struct str name, text;
    struct view view;                    /* CREATE_VIEW: filled but for `late` */
    struct arena *arena;
};

/* Splits a simple-protocol text into statements. ERR_SYNTAX with position. `statements[i]`
 * borrow from `sql`. */
enum { STATEMENTS_MAX = 1000, SQL_BYTES_MAX = 1 << 20 };
enum err sql_split(struct str sql, struct arena *a, struct str **statements, uint32_t *n,
                   struct err_detail *why) MUST_CHECK;

/* Parses, binds and plans one statement. `param_types` are the client's hints (TYPE_UNKNOWN =
 * infer). The plan is owned by the caller (plan_free). A continuous view's restrictions are
 * checked here, with positions and hints. Any thread. */
enum err plan_statement(struct str sql, const struct catalog *catalog, const enum type *param_types,
                        uint32_t n_param_types, struct plan **out, struct err_detail *why)
    MUST_CHECK;
/* The same for a text that was accepted before, as the catalog's log keeps it: the topic of a table
 * may have more partitions by now than the text says. */
enum err plan_accepted(struct str sql, const struct catalog *catalog, struct plan **out,
                       struct err_detail *why) MUST_CHECK;
void plan_free(struct plan *p);
/* Replaces parameters by values; the result borrows from both and lives in `a`. */
enum err plan_bind(const struct plan *p, const struct value *params, uint32_t n_params,
                   struct arena *a, const struct plan **out, struct err_detail *why) MUST_CHECK;
/* The plan as indented lines for EXPLAIN and the dashboard's graph (one line a node, names and
 * expressions as SQL). */
enum err plan_print(const struct plan_node *root, struct buf *out) MUST_CHECK;
/* Whether a key of an aggregate over windows is the window's start or end, seen through what lies
 * between the two: then a group is over when its window is. Pure. */
bool plan_groups_by_window(const struct plan_node *agg, const struct plan_node *window);
/* An expression as SQL text. */
void expr_print(const struct expr *e, const struct plan_node *input, struct buf *out);

#endif
