/* Plans: immutable trees from SQL text. Executed by run/ and engine/.
 *
 *   text --sql_parse--> statement (libpg_query tree) --plan_statement(catalog)--> struct plan
 *
 * A query plan is a graph of nodes with up to two inputs, without cycles: a node that several
 * others read (a CTE, the two halves of NOT IN) is in it once. Where no node has a second input it
 * is a chain, which the engine cuts at the aggregate for a continuous view: everything below runs
 * where the input partition lives, the aggregate and everything above run where the group's state
 * lives. ADR 20 says how the other plans run. */
#ifndef TIDEMILL_PLAN_PLAN_H
#define TIDEMILL_PLAN_PLAN_H

#include "plan/catalog.h"
#include "plan/expr.h"

enum plan_kind {
    PLAN_SCAN,       /* relation; output = its columns that are used (`scan_columns`) */
    PLAN_VALUES,     /* constant rows (also SELECT without FROM: one row, no columns) */
    /* tumble/hop/cumulate: input columns + window_start, window_end timestamptz; a row goes to each
     * of its windows. session: below an OVER that makes sessions, what a row would be alone */
    PLAN_WINDOW,
    /* input columns, then the elements of each of exprs, which give arrays, and with `ordinality`
     * their number (int8): as many rows as the longest array has elements, the others' are NULL.
     * With keep_empty a row without elements stays once */
    PLAN_EXPAND,
    PLAN_FILTER,     /* exprs[0] is the condition */
    PLAN_PROJECT,    /* exprs = output columns */
    PLAN_AGGREGATE,  /* output = exprs (group keys), then aggs. Without keys: exactly one row */
    PLAN_SORT,       /* sorts */
    PLAN_LIMIT,      /* limit / offset, with_ties: then its input is sorted by `sorts` */
    /* output = left columns, then right ones. SEMI, ANTI: left only. MARK: left + bool "matched" */
    PLAN_JOIN,
    PLAN_UNION_ALL,  /* columns by position, equal types */
    /* INTERSECT, EXCEPT [ALL]: rows of equal columns are the same (NULLs equal). UNION is an
     * AGGREGATE whose keys are all columns, over UNION_ALL */
    PLAN_SETOP,
    PLAN_OVER,       /* input columns, then one per function */
    /* per partition the first rows: LIMIT in a view or subquery, DISTINCT ON; with `numbered` a
     * last column int8 with a row's number, its rank when `with_ties` */
    PLAN_TOP,
    /* only between binding and unnest.c: `right`, a query with outer references, for each row of
     * input; its kind and condition are those of a JOIN without keys */
    PLAN_APPLY,
};

enum aggregate_function {
    AGG_COUNT_STAR, AGG_COUNT, AGG_SUM, AGG_AVG, AGG_MIN, AGG_MAX,
    AGG_ONLY,        /* not SQL's: the value of the one row that is there */
    AGG_BOOL_AND, AGG_BOOL_OR, AGG_BIT_AND, AGG_BIT_OR, AGG_BIT_XOR,
    AGG_STDDEV_POP, AGG_STDDEV_SAMP, AGG_VAR_POP, AGG_VAR_SAMP,
    /* of pairs: Y, the argument, and X, the second one */
    AGG_CORR, AGG_COVAR_POP, AGG_COVAR_SAMP, AGG_REGR_AVGX, AGG_REGR_AVGY, AGG_REGR_COUNT,
    AGG_REGR_INTERCEPT, AGG_REGR_R2, AGG_REGR_SLOPE, AGG_REGR_SXX, AGG_REGR_SXY, AGG_REGR_SYY,
    /* of all values in order */
    AGG_STRING, AGG_ARRAY, AGG_JSON, AGG_JSON_OBJECT, AGG_PERCENTILE_CONT, AGG_PERCENTILE_DISC,
    AGG_MODE,
    AGG_APPROX_COUNT_DISTINCT, AGG_APPROX_PERCENTILE, AGG_APPROX_TOP_K,
};

struct aggregate {
    enum aggregate_function function;
    bool distinct;
    const struct expr *arg;      /* NULL for count(*) */
    /* the second argument, if the function has two, then what else it is sorted by */
    uint32_t n_more;
    const struct expr *const *more;
    /* ORDER BY, then the arguments; `column` 0 is arg, i is more[i - 1]. Of AGG_STRING and on */
    uint32_t n_sorts;
    const struct sort_key *sorts;
    /* percentile's fraction, or an array of some, or approx_top_k's number (float8): a constant or
     * parameter; or NULL */
    const struct expr *direct;
    const struct expr *filter;   /* FILTER (WHERE ...), or NULL */
    /* result: PostgreSQL's rules (sum(int4)->int8, sum(int8)->numeric, avg(int)->numeric, ...) */
    enum type type;
};

struct sort_key {
    uint32_t column;
    bool descending, nulls_first;
};

enum {
    WINDOWS_PER_ROW_MAX = 10000, /* size / slide of a hop */
    /* ... over records of several rows, which are taken in as wholes */
    WINDOWS_PER_SPLIT_ROW_MAX = 256,
};

enum window_kind {
    WINDOW_HOP,      /* tumble too */
    WINDOW_CUMULATE, /* windows of size_us begin together and end at each slide_us */
    WINDOW_SESSION,  /* from the row's time, size_us long; late before the watermark itself */
};

struct window_spec {
    enum window_kind kind;
    /* of the input, the table's event time in a view; timestamptz or timestamp, as the bounds are
     * then, or a number */
    uint32_t time_column;
    /* tumble: slide == size. Windows start at multiples of slide since 1970 (UTC) + offset_us */
    int64_t size_us, slide_us;
    int64_t offset_us;
    enum time_unit unit;         /* of a time that is a number; bounds are timestamptz then */
    bool untimed;                /* no row is late for it: its times are no event times */
};

enum join_kind {
    JOIN_INNER,
    JOIN_LEFT,                   /* RIGHT is LEFT with inputs swapped and a PROJECT above */
    JOIN_FULL,
    JOIN_SEMI, JOIN_ANTI,
    JOIN_MARK,                   /* left row + whether it has a match: never NULL */
    /* LEFT, but a second match is an error: "more than one row returned by a subquery used as an
     * expression" */
    JOIN_SINGLE,
};

struct join_spec {
    enum join_kind kind;
    uint32_t n_keys;
    const struct expr *const *left_keys, *const *right_keys; /* over each input; equal types */
    const bool *null_safe;       /* per key: IS NOT DISTINCT FROM (else NULL matches nothing) */
    const struct expr *condition;    /* over left ++ right columns, or NULL */
};

enum over_kind {
    OVER_ROW_NUMBER, OVER_RANK, OVER_DENSE_RANK, OVER_PERCENT_RANK, OVER_CUME_DIST, OVER_NTILE,
    OVER_LAG, OVER_LEAD, OVER_FIRST_VALUE, OVER_LAST_VALUE, OVER_NTH_VALUE, OVER_AGGREGATE,
    /* session(): of rows sorted by args[0], a timestamptz column, bounds of the row's session;
     * or a number; args[1]: the gap, an int8 constant in microseconds; args[2]: an int4 constant,
     * the time's enum time_unit */
    OVER_SESSION_START, OVER_SESSION_END,
};

struct frame {
    enum frame_mode { FRAME_ROWS, FRAME_RANGE, FRAME_GROUPS } mode;
    enum frame_bound {
        BOUND_UNBOUNDED_PRECEDING, BOUND_PRECEDING, BOUND_CURRENT, BOUND_FOLLOWING,
        BOUND_UNBOUNDED_FOLLOWING,
    } start, end;
    /* ROWS, GROUPS: int8; RANGE: of a type that adds to the sort column */
    struct value start_offset, end_offset;
    enum frame_exclude {
        EXCLUDE_NOTHING, EXCLUDE_CURRENT, EXCLUDE_GROUP, EXCLUDE_TIES,
    } exclude;
};

struct over_function {
    enum over_kind kind;
    struct aggregate aggregate;  /* OVER_AGGREGATE: arg and filter over the input's columns */
    uint32_t n_args;
    const struct expr *const *args;  /* over the input's columns */
    struct frame frame;
    enum type type;
};

struct plan_node {
    enum plan_kind kind;
    /* byte position in the SQL text from 0, -1 unknown: for messages */
    int32_t position;
    const struct plan_node *input;       /* NULL for SCAN, VALUES; the left one of two */
    const struct plan_node *right;       /* JOIN, UNION_ALL, SETOP, APPLY: the second input */
    struct join_spec join;               /* JOIN, APPLY */
    bool intersect, all;                 /* SETOP: INTERSECT or EXCEPT */
    bool with_ties;                      /* TOP, LIMIT: FETCH FIRST ... WITH TIES */
    bool numbered;                       /* TOP */
    uint32_t n_partition_columns;        /* OVER, TOP: columns of the input */
    const uint32_t *partition_columns;
    uint32_t n_overs;                    /* OVER */
    const struct over_function *overs;
    uint32_t n_columns;                  /* output */
    const struct column_def *columns;    /* output names and types */
    const struct relation *relation;     /* SCAN */
    const uint32_t *scan_columns;        /* SCAN: relation columns read, n_columns of them */
    /* SCAN over a view: `column = constant` conditions usable as a lookup are in the FILTER
     * above; the engine may use them. */
    uint32_t n_exprs;
    /* FILTER, PROJECT, EXPAND, AGGREGATE keys; VALUES: row-major, n_columns a row */
    const struct expr *const *exprs;
    uint32_t n_aggs;
    const struct aggregate *aggs;
    bool ordinality, keep_empty;         /* EXPAND */
    struct window_spec window;
    uint32_t n_sorts;                    /* SORT, OVER, TOP */
    const struct sort_key *sorts;
    const struct expr *limit, *offset;   /* int8 constants or parameters; NULL = none */
    uint32_t n_rows;                     /* VALUES */
};

enum statement_kind {
    STMT_QUERY,          /* root */
    /* text: the plan as lines; root: the same as constant rows, column "QUERY PLAN" */
    STMT_EXPLAIN,
    /* change(s); CREATE_VIEW: a materialized view or publication; CREATE_QUERY: a plain view */
    STMT_CREATE_TABLE, STMT_CREATE_VIEW, STMT_CREATE_QUERY, STMT_CREATE_TYPE,
    STMT_CREATE_FUNCTION, STMT_DROP,
    STMT_ALTER_TABLE,    /* drops: views that go first; then the change */
    STMT_INSERT,         /* relation, insert_columns, root = rows; conflict, conflict_update */
    /* relation, root = the rows to change as they are, all columns; UPDATE: then as they shall be
     */
    STMT_UPDATE, STMT_DELETE,
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
/* INSERT of a row whose PRIMARY KEY is there */
enum conflict { CONFLICT_ERROR, CONFLICT_NOTHING, CONFLICT_UPDATE };
enum user_change { USER_CREATE, USER_ALTER, USER_DROP };

/* A type that CREATE TYPE made, and that the statement's text names. */
struct type_use {
    enum type type;
    const struct type_use *next;
};

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
    enum conflict conflict;
    /* CONFLICT_UPDATE: a PROJECT over the columns of the row that is there, then of the one that
     * was to be inserted: all columns as they shall be, then whether (bool) */
    const struct plan_node *conflict_update;
    /* INSERT, UPDATE, DELETE: a PROJECT over all columns of a row that was inserted, is changed, or
     * was deleted; NULL without RETURNING */
    const struct plan_node *returning;
    bool truncate;                       /* DELETE: written as TRUNCATE */
    enum copy_format copy_format;
    char copy_delimiter, copy_quote, copy_escape;
    bool copy_header;
    struct str copy_null;
    bool follow;
    bool if_exists, if_not_exists;
    /* CREATE_*: complete but for numbers and ids, which shard 0 fills */
    struct catalog_change change;
    enum user_change user_change;
    enum type made_type;                 /* CREATE_TYPE, of a text that was accepted */
    const struct user_function *function; /* CREATE_FUNCTION: number and overloads are not set */
    uint32_t n_functions;                /* of CREATE FUNCTION that it is bound with: numbers */
    const uint32_t *functions;
    uint32_t n_view_drops;               /* DROP FUNCTION: so many of `drops` are views */
    const struct type_use *types;
    uint32_t n_drops;                    /* DROP: change.verb says of what */
    const struct str *drops;
    struct str name, text;
    struct str notice;                   /* what its user should know when it is done; or empty */
    struct view view;                    /* CREATE_VIEW, CREATE_QUERY: filled but for `late` */
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
/* The same for a text that was accepted before, under the rules of then, as the catalog's log keeps
 * it: the topic of a table may have more partitions by now than the text says. `number` is that of
 * what it makes: it sees the functions that were current then. */
enum err plan_accepted(struct str sql, enum dialect dialect, uint32_t number,
                       const struct catalog *catalog, struct plan **out,
                       struct err_detail *why) MUST_CHECK;
void plan_free(struct plan *p);
/* Replaces parameters by values; the result borrows from both and lives in `a`. */
enum err plan_bind(const struct plan *p, const struct value *params, uint32_t n_params,
                   struct arena *a, const struct plan **out, struct err_detail *why) MUST_CHECK;
/* The plan as indented lines (one line a node, names and expressions as SQL). plan/explain.h says
 * more of it. */
enum err plan_print(const struct plan_node *root, struct buf *out) MUST_CHECK;
/* One node's line of it, without indentation and line end. */
void plan_print_node(const struct plan_node *n, struct buf *out);
/* Whether all of it is a chain of the nodes that run/chain.h and run/stages.h run: no node reads
 * two others, none keeps state but AGGREGATE, SORT and LIMIT. Any thread. */
bool plan_is_chain(const struct plan_node *root);
/* The aggregate at the top of a plan, with nothing but FILTER and PROJECT above it, whose keys are
 * all among the root's columns: a view's last stage. NULL when there is none. Any thread. */
const struct plan_node *plan_last_aggregate(const struct plan_node *root);
/* Whether what an aggregate keeps of a group can take back any row that it took in, to the last
 * digit: counts, sums of integers and intervals, and what keeps all values. Pure. */
bool aggregate_is_linear(const struct aggregate *a);
/* Whether it keeps all values of a group, in order. */
bool aggregate_collects(enum aggregate_function f);
/* Whether it keeps too little of its values to ever take one back, and would keep more than it is
 * meant to if they were kept besides. */
bool aggregate_is_sketch(enum aggregate_function f);
/* Whether equal values must be kept from it: it has DISTINCT, and does not see to it itself. */
bool aggregate_needs_distinct(const struct aggregate *a);
/* Its arguments, one behind the other in arg and more: 0 (count(*)), 1 or 2. */
uint32_t aggregate_n_args(const struct aggregate *a);
/* Whether two are over the same rows and values: arguments, FILTER and DISTINCT. */
bool aggregate_same_input(const struct aggregate *a, const struct aggregate *b);
/* SQL's name for it. */
const char *aggregate_name(enum aggregate_function f);
/* Whether an AGGREGATE can be a view's last stage: its cells follow from what comes and goes, each
 * row by itself. Else it is an operator (run/flow.h), which keeps values. Any thread. */
bool plan_is_last_stage(const struct plan_node *agg);
/* Whether a view of this plan needs no operators: a scan of what only ever gets rows, perhaps a
 * window over it, filters and projections, and an aggregate as its last stage or none. Any
 * thread. */
bool plan_is_view_chain(const struct plan_node *root);
/* Whether rows of one relation pass one by one, and are never taken back by what they go through: a
 * publication of such a plan keeps nothing. Any thread. */
bool plan_is_pass(const struct plan_node *root);
/* The column of `below` that a column of `root` is, with a chain between them; UINT32_MAX when it
 * is computed. Any thread. */
uint32_t plan_column_of(const struct plan_node *root, uint32_t column,
                        const struct plan_node *below);
/* Whether rows of its output are only ever added while those of its relations are: chains, inner
 * joins and UNION ALL over relations without keys. Any thread. */
bool plan_append_only(const struct plan_node *root);
/* Whether a key of an aggregate over windows is the window's start or end, seen through what lies
 * between the two: then a group is over when its window is. Pure. */
bool plan_groups_by_window(const struct plan_node *agg, const struct plan_node *window);
/* An expression as SQL text. */
void expr_print(const struct expr *e, const struct plan_node *input, struct buf *out);

#endif
