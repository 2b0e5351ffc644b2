/* What the files of plan/ share: the binder's state and the steps of planning. Private to the
 * layer.
 *
 *   sql_text.c   bounds of the text before the parser sees it, splitting into statements
 *   sql_parse.c  libpg_query, its tree in an arena
 *   plan.c       plan_statement: one function per kind of statement; parameters
 *   select.c     SELECT and VALUES: targets, grouping, ordering
 *   from.c       items of FROM: relations, subqueries, windows
 *   expand.c     functions that give several rows; target_set.c: in the select list
 *   join.c       items together: commas, JOIN ... ON/USING, LATERAL; what names mean
 *   with.c       WITH
 *   setop.c      UNION, INTERSECT, EXCEPT
 *   grouping.c   GROUPING SETS, ROLLUP, CUBE
 *   over.c       OVER and the WINDOW clause
 *   subquery.c   subqueries in expressions
 *   outer.c      outer references in expressions and plans
 *   unnest.c     subqueries become joins (unnest_domain.c: where the domain of outer values is
 * needed)
 *   push.c       conditions go to where they can be keys; the order of inner joins
 *   bind_array.c arrays in expressions; bind_row.c rows
 *   bind_expr.c  expressions; bind_type.c type names; bind_call.c functions; bind_aggregate.c
 *                aggregates
 *   resolve.c    PostgreSQL's overload and cast rules
 *   nodes.c      nodes of a plan in order, and what holds for whole plans
 *   prune.c      unused columns leave the scan
 *   plain_view.c CREATE VIEW, and what stands for its name; publication.c CREATE PUBLICATION
 *   ddl_type.c   CREATE TYPE, DROP TYPE
 *   ddl_function.c CREATE FUNCTION, DROP FUNCTION
 *   bind_function.c calls of functions that are made of SQL
 *   primary_key.c PRIMARY KEY
 *   ddl.c        CREATE, DROP; options.c WITH (...); view.c what a continuous view may be
 *   alter.c      ALTER TABLE; table_format.c: formats of records
 *   dml.c        INSERT, COPY
 *   change.c     UPDATE, DELETE, ON CONFLICT
 *   settings.c   SET, SHOW, transactions
 *   state.c      what operators keep; explain.c: EXPLAIN's text; explain_statement.c: EXPLAIN
 *
 * Errors stick: the first one is kept in `struct binder` with its position, and every function
 * that returns a pointer returns NULL once there is one. */
#ifndef TIDEMILL_PLAN_PLAN_INT_H
#define TIDEMILL_PLAN_PLAN_INT_H

#include "base/check.h"
#include "base/mem.h"
#include "plan/plan.h"
#include "type/typmod.h"
#include "type/array.h"

#include <pg_query/pg_query.pb-c.h>

enum {
    /* parentheses, operators and words that may enclose each other */
    SQL_NESTING_MAX = 400,
    PLAN_BYTES_MAX = 256 << 20,     /* one plan, and one parse tree */
    PARAMS_MAX = 65535,             /* the protocol's limit */
    TARGETS_MAX = 1600,             /* output columns, as in PostgreSQL */
    PLAN_NODES_MAX = 4096,          /* made while one statement is planned */
    QUERY_LEVELS_MAX = 32,          /* of subqueries in subqueries */
    EXPLAIN_BYTES_MAX = 1 << 20,
    FUNCTION_DEPTH_MAX = 32,        /* of functions in functions' bodies */
    FUNCTION_CALLS_MAX = 10000,     /* of functions made of SQL, in one statement */
    FUNCTION_TEXT_BYTES_MAX = 16 << 20, /* of the bodies of those calls together */
    FUNCTIONS_USED_MAX = 256,       /* by one statement */
};

typedef const PgQuery__Node node;

struct param_use {
    struct expr *expr;
    struct param_use *next;
};

/* The body of a function that is bound in place of a call. Places in its text mean the call's;
 * those of a function that is being created are in the statement, from `position` on. */
struct function_body {
    const struct user_function *function;
    int32_t position;
    bool creating;
    uint32_t depth;
    struct function_body *outer;
};

/* One statement being planned. */
struct binder {
    struct plan *plan;
    struct arena *arena;             /* the plan's */
    const struct catalog *catalog;
    enum dialect dialect;
    struct str sql;
    struct err_detail *why;          /* never NULL */
    enum err err;                    /* the first error; sticks */
    uint32_t number;                 /* of what an accepted text makes; else UINT32_MAX */
    struct arena *trees;             /* of parse trees: until planning ends */
    struct function_body *body;      /* or NULL */
    uint32_t n_calls;                /* of functions made of SQL */
    size_t call_bytes;
    bool continuous;                 /* binding a continuous view's query */
    bool clocked;                    /* a function that depends on the clock was bound */
    bool accepted;                   /* before: topics may have grown since */
    uint32_t n_nodes;                /* made; <= PLAN_NODES_MAX */
    struct cte *ctes;                /* of WITH, visible where we are; the innermost first */
    int32_t from_position;           /* of the innermost relation in FROM: for errors about it */
    uint32_t n_params, params_cap;
    enum type *params;               /* TYPE_UNKNOWN until inferred */
    struct param_use **param_uses;   /* references made before the type was known */
};

/* A column that names in a query can mean: an expression over FROM's rows. */
struct scope_column {
    struct str table, table2;        /* qualifiers that match; either may be empty */
    struct str name;
    const struct expr *expr;
    int32_t typmod;
    /* A column that USING merged is found by its table only, and the merged one without a table:
     * the latter stands for both, also in "*". */
    bool bare;                       /* is meant by its name alone */
    bool whole;                      /* also by its table's alone: what a function of FROM gives */
};
struct scope {
    uint32_t n;
    struct scope_column *columns;
};

/* Part of FROM: a node, what names mean over its rows, and the tables in it. */
struct from_item {
    const struct plan_node *node;
    struct scope scope;
    uint32_t n_tables;
    struct str *tables;
};
enum { FROM_TABLES_MAX = 400 };      /* of one query level */

/* A query of WITH. */
struct cte {
    struct str name;
    const struct plan_node *node;
    uint32_t depth;                  /* levels around it: query_depth(its outer level) */
    struct cte *next;
};

/* A subquery in an expression. While the expression is bound, its value is EXPR_COLUMN with index
 * SUBQUERY_BASE + its number; columns of the subquery in `condition` have RIGHT_BASE + i. */
enum { RIGHT_BASE = 1u << 28, SUBQUERY_BASE = 1u << 29, SUBQUERIES_MAX = 1000 };
struct subquery {
    const struct plan_node *node;    /* outer references of level 1 are to the rows around it */
    enum join_kind kind;             /* SINGLE: its only column; MARK: whether `condition` holds */
    const struct expr *condition;
    int32_t position;
    /* where its value stands, below and above the aggregate: column + 1, or 0 */
    uint32_t placed[2];
};

/* Where an expression stands: decides whether aggregates may, and how errors call the place. */
enum clause { CLAUSE_SELECT, CLAUSE_WHERE, CLAUSE_GROUP, CLAUSE_HAVING, CLAUSE_ORDER, CLAUSE_LIMIT,
              CLAUSE_VALUES, CLAUSE_FILTER, CLAUSE_AGGREGATE, CLAUSE_OPTION, CLAUSE_ON,
              CLAUSE_FROM, CLAUSE_OVER, CLAUSE_WINDOW };

/* What a function is called OVER: a window as it was bound, over FROM's rows. */
struct over_sort {
    const struct expr *expr;
    struct sort_key key;
};
struct over_window {
    struct str name;                 /* of WINDOW; or empty */
    uint32_t n_partition;
    const struct expr **partition;
    uint32_t n_sorts;
    struct over_sort *sorts;
    bool has_frame;                  /* another one than the default */
    struct frame frame;
    const uint32_t *columns;         /* of the partition, when it is placed */
};
struct over_call {
    struct over_function function;
    struct over_window window;
    struct str name;
    int32_t position;
};

/* Keys of GROUP BY that one set of them has, as bits. */
enum { GROUP_KEYS_MAX = 256 };
struct grouping_set {
    uint64_t keys[GROUP_KEYS_MAX / 64];
};
struct grouping {
    uint32_t n_args;
    const struct expr *const *args;
    int32_t position;
};

/* A query level. While it is bound, reference to aggregate k is EXPR_COLUMN with index
 * AGGREGATE_BASE + k; to the function OVER number k OVER_BASE + k; to GROUPING number k
 * GROUPING_BASE + k. */
enum { AGGREGATE_BASE = 1u << 30, AGGREGATES_MAX = 1000 };
#define OVER_BASE (1u << 31)
#define GROUPING_BASE (3u << 30)
struct query_level {
    struct binder *b;
    struct query_level *outer;       /* whose rows outer references of level 1 mean; or NULL */
    struct scope scope;
    const struct plan_node *node;    /* FROM's rows: whether columns can be NULL; or NULL */
    const struct from_item *unseen;  /* in FROM, but out of reach: for errors */
    /* A function's body: its scope are the arguments, and names are not looked for further out. */
    bool closed;
    /* The rows that as_of stands to the right of: a bare name that they and the rows inside have is
     * ambiguous, as in the condition of a join. */
    bool joined;
    enum clause clause;
    uint64_t named;                  /* bit l: a column of the query l levels out was named */
    uint32_t n_subqueries, subqueries_cap;
    struct subquery *subqueries;
    bool table_functions;            /* of FROM: windows are allowed */
    uint32_t n_aggs, aggs_cap;
    struct aggregate *aggs;
    uint32_t n_windows;              /* of WINDOW */
    struct over_window *windows;
    uint32_t n_overs, overs_cap;
    struct over_call *overs;
    const uint32_t *over_columns;    /* where they stand, when they are placed */
    bool has_sets;                   /* GROUP BY has GROUPING SETS: known before FROM is bound */
    uint32_t n_sets;                 /* of GROUP BY; 0: one with all keys */
    struct grouping_set *sets;
    int32_t sets_position;
    uint32_t n_groupings;
    struct grouping *groupings;
};

/* ---- errors and memory (binder.c) ---- */

/* Keeps the first error with the character position of byte `location` (negative: none). Returns
 * NULL for `return`. */
void *bind_fail(struct binder *b, int32_t location, enum err e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Where errors at a place of the text are told: see struct function_body. */
int32_t bind_place(const struct binder *b, int32_t location);
/* Adds a hint to the error that was just kept; returns NULL. */
void *bind_hint(struct binder *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Zeroed; NULL with ERR_NO_MEMORY kept. */
void *bind_alloc(struct binder *b, size_t n, size_t size);
struct str bind_str(struct binder *b, struct str s);
/* 1-based character position of a byte location in the statement. */
int32_t sql_position(struct str sql, int32_t location);
/* " (or did you mean ...)": a hint with the nearest of `names`, when there is one. */
void bind_nearest(struct binder *b, struct str name, const struct str *names, size_t n);

/* ---- text (sql_text.c, sql_parse.c) ---- */

/* Size, encoding, NUL bytes and nesting: what must hold before the recursive parser may see the
 * text. `n_semicolons` counts statement ends that are followed by more text. */
enum err sql_check(struct str sql, uint32_t *n_semicolons, struct err_detail *why) MUST_CHECK;
/* Parses. The tree lives in `a`. */
enum err sql_parse(struct str sql, struct arena *a, const PgQuery__ParseResult **out,
                   struct err_detail *why) MUST_CHECK;
/* Byte location of a parse node, -1 unknown. */
int32_t node_location(node *n);
/* The string of a String node, or empty. */
struct str node_string(node *n);

/* ---- parse trees made by hand (tree.c): in the binder's arena; NULL when it is full ---- */

/* A node of the kind, of a PgQuery__Node__NodeCase, without content. */
PgQuery__Node *tree_node(struct binder *b, int kind);
PgQuery__Node *tree_string(struct binder *b, struct str text);
/* `table`.`column`; without a table when that is empty, of all columns when `column` is. */
PgQuery__Node *tree_column(struct binder *b, struct str table, struct str column,
                           int32_t location);
/* An item of a select list: `val` as it stands. NULL when that is. */
PgQuery__Node *tree_target(struct binder *b, PgQuery__Node *val);

/* ---- expressions (expr.c, resolve.c, bind_*.c) ---- */

/* `args` is copied; NULL when one of them is NULL (its error is kept already) or the tree gets
 * too large. */
struct expr *expr_new(struct binder *b, enum expr_kind kind, enum type type, int32_t position,
                      const struct expr *const *args, uint32_t n_args);
struct expr *expr_const(struct binder *b, struct value v, int32_t position);
struct expr *expr_column(struct binder *b, uint32_t index, enum type type, int32_t position);
/* Structural equality; positions do not count. */
bool expr_equal(const struct expr *a, const struct expr *b);
/* A CALL; folded to a constant when all arguments are and it does not raise. */
struct expr *expr_call(struct binder *b, const struct function *f, const struct expr *const *args,
                       uint32_t n_args, int32_t position);
/* The same for a result of this type: a cast's target. */
struct expr *expr_call_as(struct binder *b, const struct function *f,
                          const struct expr *const *args, uint32_t n_args, enum type type,
                          int32_t position);
/* Rebuilds `e` with each leaf replaced by map(arg, leaf); NULL when map returned NULL. Shares
 * nothing mutable. */
typedef const struct expr *(*expr_map_fn)(void *arg, const struct expr *leaf);
/* Replaces an expression; NULL with the error kept. */
typedef const struct expr *(*node_map_fn)(void *arg, const struct expr *e);
const struct expr *expr_map(struct arena *a, const struct expr *e, expr_map_fn map, void *arg);
/* The same in the plan's memory; NULL stays NULL, an error is kept. */
const struct expr *expr_rewrite(struct binder *b, const struct expr *e, expr_map_fn map, void *arg);
/* Each column becomes map[column]. */
const struct expr *expr_remap(struct binder *b, const struct expr *e, const uint32_t *map);
/* Marks the columns that `e` (or NULL) reads. */
void expr_use_columns(const struct expr *e, bool *used);

/* Converts to `target` where `level` permits. NULL without an error kept when there is no such
 * cast; NULL with one when a literal does not parse. Unknown literals and parameters take the
 * type. */
struct expr *coerce_try(struct binder *b, struct expr *e, enum type target, enum cast_level level);
/* Untyped literals and parameters become text. */
struct expr *coerce_unknown(struct binder *b, struct expr *e);
/* Fits the value into a length or precision; `cut` as a cast does. */
struct expr *coerce_typmod(struct binder *b, struct expr *e, enum type t, int32_t typmod, bool cut);
/* The modifier that a call of it has, or -1. */
int32_t call_typmod(const struct expr *e);
/* For storing in a column: assignment cast, typmod, PostgreSQL's error. */
struct expr *coerce_assign(struct binder *b, struct expr *e, const struct column_def *column);
/* A condition: `what` names the place ("WHERE"). */
struct expr *coerce_bool(struct binder *b, struct expr *e, const char *what);
/* The type all of `e` convert to by PostgreSQL's rules for `what` ("CASE", "VALUES" ...), and
 * the conversion. False on error. */
bool coerce_common(struct binder *b, struct expr **e, uint32_t n, const char *what);
/* Chooses the overload and converts the arguments in place. NULL with an error kept when there
 * is none or no unique one. */
const struct function *resolve_function(struct binder *b, enum function_kind kind, struct str name,
                                        struct expr **args, uint32_t n_args, int32_t position);
/* Type category as PostgreSQL has them ('N' numbers, 'S' text, 'D' date and time ...). */
char type_category(enum type t);
const char *type_name(enum type t);

/* Binds a parse node over q->scope; NULL with the error kept, also when `n` is NULL. */
struct expr *bind_expr(struct query_level *q, node *n);
/* The value of a column of `q`'s scope, `level` levels out, as seen from `q`. */
struct expr *bind_scope_column(struct query_level *q, const struct scope_column *c, uint32_t level,
                               int32_t location);
/* Operator over bound arguments; left is NULL for a prefix operator. */
struct expr *bind_operator(struct query_level *q, struct str name, struct expr *left,
                           struct expr *right, int32_t position);
/* ARRAY[...]; with `target` its elements are cast as those of that array type. */
struct expr *bind_array(struct query_level *q, const PgQuery__AArrayExpr *x, enum type target);
/* x[i], x[i:j], of arrays and jsonb. */
struct expr *bind_indirection(struct query_level *q, const PgQuery__AIndirection *x);
/* bind_row.c: an operator, IS DISTINCT FROM, IN, IS [NOT] NULL of rows, which stand on one side
 * at least. */
bool has_row(const PgQuery__AExpr *x);
struct expr *bind_row_comparison(struct query_level *q, struct str op, const PgQuery__AExpr *x);
struct expr *bind_row_distinct(struct query_level *q, const PgQuery__AExpr *x);
struct expr *bind_row_in(struct query_level *q, const PgQuery__AExpr *x);
struct expr *bind_row_null_test(struct query_level *q, const PgQuery__RowExpr *row, bool null,
                                int32_t position);
/* left op ANY (right), or ALL. */
struct expr *bind_quantified_array(struct query_level *q, struct str op, bool all,
                                   struct expr *left, struct expr *right, int32_t position);
/* A function call, an aggregate (where q->clause permits) or syntax that parses as a call. */
struct expr *bind_call(struct query_level *q, const PgQuery__FuncCall *f);
/* Binds arguments of FUNCTION_PLAIN `name`, already bound. */
struct expr *bind_named(struct query_level *q, const char *name, struct expr **args, uint32_t n,
                        int32_t position);
/* ---- functions made of SQL (bind_function.c) ---- */

/* A call with arguments of the overload's types: the body takes its place. */
struct expr *bind_user_call(struct query_level *q, const struct function *f, struct expr **args,
                            uint32_t n, int32_t position);
/* A call in which some arguments are given by name: f(a => 1). */
bool call_names_arguments(const PgQuery__FuncCall *f);
struct expr *bind_named_arguments(struct query_level *q, const PgQuery__FuncCall *f,
                                  struct str name);
/* Expressions of that plan are to be part of the statement: its functions are used as well. */
bool plan_uses_functions(struct binder *b, const struct plan *p);
/* $n in a body. */
struct expr *bind_argument(struct query_level *q, int32_t number, int32_t location);
/* Binds the body as a call would, for the errors it has. `position` is where its text stands. */
bool bind_body_check(struct binder *b, const struct user_function *f,
                     const PgQuery__CreateFunctionStmt *s, int32_t position);
/* The text of a body that is given as one ('...' or $$...$$), or empty. */
struct str function_body_text(const PgQuery__CreateFunctionStmt *s);
/* Functions of that name that the statement sees, one for each number of arguments they take; at
 * most FUNCTION_NAME_OVERLOADS_MAX. */
uint32_t user_candidates(const struct binder *b, struct str name, const struct function **out);

/* Type and typmod of a type name; TYPE_UNKNOWN with an error kept. `fields` receives INTERVAL's
 * field mask, or 0. */
enum type bind_type(struct binder *b, const PgQuery__TypeName *t, int32_t *typmod, int32_t *fields);
/* A new reference to parameter number (1-based). */
struct expr *bind_param(struct binder *b, int32_t number, int32_t position);
/* The column a reference means and how many levels out (0: of `q`), or NULL with an error kept. */
const struct scope_column *scope_find(struct query_level *q, const PgQuery__ColumnRef *ref,
                                      uint32_t *level);
/* Subqueries in an expression (subquery.c). */
struct expr *bind_sublink(struct query_level *q, const PgQuery__SubLink *s);
/* Its parts: the plan of a subquery that stands at `position`; the value of its only column. */
struct plan_node *subquery_select(struct query_level *q, const PgQuery__SelectStmt *s,
                                  int32_t position);
struct expr *subquery_value(struct query_level *q, struct plan_node *n, int32_t position);
/* Whether it has exactly one row: an aggregate without keys, and what is made of its row. */
bool plan_one_row(const struct plan_node *n);
/* A condition with AND, as WHERE and ON have it: adds APPLYs and FILTERs to *node, whose first
 * columns stay. False with the error kept. */
bool bind_condition(struct query_level *q, node *n, const char *what,
                    const struct plan_node **node);
/* `e` with the values of its subqueries as columns of *node, which gets the APPLYs. */
const struct expr *subquery_place(struct query_level *q, const struct expr *e,
                                  const struct plan_node **node);
/* Adds subquery number k, with this plan and condition, to *node: its value. `stage` 0: below the
 * aggregate; 1: above it. */
const struct expr *subquery_apply(struct query_level *q, uint32_t k, int stage,
                                  const struct plan_node *subplan, const struct expr *condition,
                                  const struct plan_node **node);
/* Whether the expression has values of subqueries in it. */
bool has_subquery(const struct expr *e);
/* Levels around and with `q`; 0 for NULL. */
uint32_t query_depth(const struct query_level *q);
bool is_aggregate(struct str name);
/* The name of number `i`, from 0; NULL behind the last. */
const char *aggregate_by_number(uint32_t i);
/* Whether the call is one of an aggregate that is not supported, or not as it is written; the error
 * is kept. */
bool aggregate_refused(struct binder *b, const PgQuery__FuncCall *f, struct str name);
bool aggregate_same(const struct aggregate *a, const struct aggregate *b);
/* Replaces all expressions of an aggregate that was copied; calls each for all. */
bool aggregate_map(struct binder *b, struct aggregate *a, node_map_fn map, void *arg);
void aggregate_each(const struct aggregate *a, void (*each)(void *arg, const struct expr *e),
                    void *arg);
/* Whether it is 0 of no rows, and not NULL. */
bool aggregate_counts(enum aggregate_function f);
/* Binds what an aggregate is called with, in q->clause; its FILTER. False with the error kept. */
bool bind_aggregate_call(struct query_level *q, const PgQuery__FuncCall *f, struct str name,
                         struct aggregate *out);
/* A call of one without OVER. */
struct expr *bind_grouped_aggregate(struct query_level *q, const PgQuery__FuncCall *f,
                                    struct str name);
/* Values that it collects come in the window's order. */
bool aggregate_order_over(struct query_level *q, struct aggregate *a, const struct over_window *w);
/* How errors call a place where aggregates may not stand; NULL where they may. */
const char *clause_name(enum clause c);
/* The direction that an item of ORDER BY says; false with the error kept. */
bool sort_direction(struct binder *b, const PgQuery__SortBy *by, struct sort_key *out);

/* ---- OVER (over.c) ---- */

/* Binds the WINDOW clause, before what may refer to it. */
bool bind_windows(struct query_level *q, node *const *defs, size_t n);
/* A call with OVER. */
struct expr *bind_over(struct query_level *q, const PgQuery__FuncCall *f, struct str name);
/* Whether it is a function that only OVER makes sense of. */
bool over_only(struct str name);
/* Puts an OVER over *to for each way to partition and sort; `above` makes expressions over FROM's
 * rows ones over *to's, to which it may add columns at the end. */
bool over_place(struct query_level *q, const struct expr *(*above)(void *arg, const struct expr *e),
                void *arg, const struct plan_node **to);
/* `e` with the columns of calls that are placed; NULL stays NULL. */
const struct expr *over_columns(struct query_level *q, const struct expr *e);
bool has_over(const struct expr *e);

/* ---- grouping sets (grouping.c) ---- */

/* Binds one expression of GROUP BY as a key: its number, or -1 with the error kept. */
struct group_keys {
    int32_t (*bind)(void *arg, node *n);
    void *arg;
};
/* The sets that the items of GROUP BY mean, into q->sets. False with the error kept. */
bool grouping_sets(struct query_level *q, node *const *items, size_t n, bool distinct,
                   const struct group_keys *k);
struct expr *bind_grouping(struct query_level *q, const PgQuery__GroupingFunc *f);
/* What stands for `all`, the AGGREGATE by all keys, when there are sets or GROUPINGs: its columns,
 * then a column for each GROUPING. `keys` are over FROM's rows. */
struct plan_node *grouping_place(struct query_level *q, struct plan_node *all,
                                 const struct expr *const *keys);

/* ---- plans (select.c, from.c, prune.c) ---- */

/* A node with room for its columns; FILTER, SORT and LIMIT take over the input's. */
struct plan_node *plan_node_new(struct binder *b, enum plan_kind kind,
                                const struct plan_node *input, uint32_t n_columns);
/* Sets the output columns of a JOIN or APPLY from its inputs and kind. */
bool plan_join_columns(struct binder *b, struct plan_node *n);
/* A SELECT, VALUES or set operation as a tree whose root has the output columns. `outer`: the level
 * that it may refer to, or NULL. */
struct plan_node *plan_select(struct binder *b, const PgQuery__SelectStmt *s,
                              struct query_level *outer);
/* A query that is not the whole statement: untyped literals in its output stay so with
 * `keep_unknown` (for set operations). */
struct plan_node *plan_select_leaf(struct binder *b, const PgQuery__SelectStmt *s,
                                   struct query_level *outer, bool keep_unknown);
/* Binds FROM into q->scope and returns the node that gives its rows. */
const struct plan_node *plan_from(struct query_level *q, node *const *items, size_t n);
/* One item without the joins around it. `outer`: the level that a subquery in it may refer to. */
bool from_item(struct query_level *q, node *n, struct query_level *outer, struct from_item *out);
/* Whether a function of this name gives several rows; whether an item of FROM is such a call. */
bool is_set_function(struct str name);
bool is_set_item(node *n);
/* as_of(table, time [, time_column]) as an item of FROM. */
bool is_as_of(node *n);
/* A JOIN whose right item is as_of, as one with a LATERAL subquery. False with the error kept. */
bool plan_as_of(struct binder *b, const PgQuery__JoinExpr *j, PgQuery__JoinExpr *out);
/* The columns that the function gives. */
uint32_t set_function_columns(struct str name);
/* The statement with an item of FROM for the functions in its select list; `s` itself without. */
const PgQuery__SelectStmt *select_sets(struct binder *b, const PgQuery__SelectStmt *s);
extern const struct str target_set_table;  /* the item's name */
/* The item as EXPAND over a row without columns; its arguments may refer to `outer`. */
struct plan_node *plan_set_functions(struct query_level *q, const PgQuery__RangeFunction *r,
                                     struct query_level *outer);
bool plan_is_bare_expand(const struct plan_node *n);
/* The rows of `left`, a level out of the bare `right`, expanded by it. */
const struct plan_node *plan_expand_over(struct binder *b, const struct plan_node *left,
                                         const struct plan_node *right, bool keep_empty);
/* Two inputs as one node; columns and position set, keys not. */
struct plan_node *plan_join_new(struct binder *b, enum plan_kind kind, enum join_kind join,
                                const struct plan_node *left, const struct plan_node *right);
/* Filter over `input`; a filter over a filter becomes one. NULL when an argument is. */
struct plan_node *filter_node(struct binder *b, const struct plan_node *input,
                              const struct expr *condition);
/* PROJECT to these expressions, named as `columns`. */
struct plan_node *project_new(struct binder *b, const struct plan_node *input,
                              const struct expr *const *exprs, const struct column_def *columns,
                              uint32_t n);
/* The conjuncts' AND; NULL of none. */
const struct expr *conjunction(struct binder *b, const struct expr *const *list, uint32_t n);
/* WITH: makes its queries visible until b->ctes is set back. */
bool plan_with(struct binder *b, const PgQuery__WithClause *w, struct query_level *outer);
/* The query of WITH that a name means, as seen from `outer`; or NULL. */
const struct plan_node *cte_find(struct binder *b, const PgQuery__RangeVar *r,
                                 struct query_level *outer, const struct cte **which);
/* ORDER BY and LIMIT of `s` over a set operation's columns. */
struct plan_node *plan_ordered(struct binder *b, const PgQuery__SelectStmt *s,
                               struct plan_node *n);
struct plan_node *plan_setop(struct binder *b, const PgQuery__SelectStmt *s,
                             struct query_level *outer);
/* Unnests, pushes, finds the first rows of partitions, and prunes. */
const struct plan_node *plan_finish(struct binder *b, const struct plan_node *root);
const struct plan_node *plan_unnest(struct binder *b, const struct plan_node *root);
const struct plan_node *plan_push(struct binder *b, const struct plan_node *root);
/* Makes a numbered TOP of row_number() and rank() up to a constant. Pushed, not pruned. */
const struct plan_node *plan_top(struct binder *b, const struct plan_node *root);

/* ---- outer references (outer.c) ---- */

/* Levels (bit l - 1: level l) that an expression refers to. */
uint64_t expr_outer_levels(const struct expr *e);
/* The plan with each expression replaced by map(arg, e, depth), where `depth` is the number of
 * APPLYs whose right side it stands in: level depth + 1 means the level next to the plan. Shared
 * nodes stay shared; a plan in which nothing changes is returned as it is. */
typedef const struct expr *(*plan_map_fn)(void *arg, const struct expr *e, uint32_t depth);
const struct plan_node *plan_map(struct binder *b, const struct plan_node *root, plan_map_fn map,
                                 void *arg);
/* Levels that a plan refers to, as seen from next to it. */
bool plan_outer_levels(struct binder *b, const struct plan_node *root, uint64_t *levels);
/* Calls each for all expressions of a node but LIMIT's. */
void node_each_expr(const struct plan_node *n, void (*each)(void *arg, const struct expr *e),
                    void *arg);
/* What is known of nodes, by node and a tag; zero-initialised = empty; in the plan's memory. */
union plan_memo_value {
    const struct plan_node *node;
    uint64_t bits;
};
struct plan_memo {
    struct plan_memo_slot {
        const struct plan_node *node;
        uint32_t tag;
        union plan_memo_value value;
    } *slots;
    uint32_t n, cap;                 /* cap is a power of two */
};
bool plan_memo_get(const struct plan_memo *m, const struct plan_node *n, uint32_t tag,
                   union plan_memo_value *out);
/* False with the error kept. */
bool plan_memo_put(struct plan_memo *m, struct binder *b, const struct plan_node *n, uint32_t tag,
                   union plan_memo_value value);
/* Levels above `from` become `delta` more. */
const struct plan_node *plan_shift(struct binder *b, const struct plan_node *root, uint32_t from,
                                   int32_t delta);
const struct expr *expr_shift(struct binder *b, const struct expr *e, uint32_t from,
                              int32_t delta);
/* Replaces all expressions of a node that was copied. */
bool node_map_exprs(struct binder *b, struct plan_node *n, node_map_fn map, void *arg);

/* VALUES, each expression assigned to its target, or (targets NULL) one type per column. `outer` as
 * for plan_select. */
struct plan_node *plan_values(struct binder *b, const PgQuery__SelectStmt *s,
                              struct query_level *outer, const struct column_def *targets,
                              uint32_t n_targets);
/* The relation a name means, or NULL with an error kept. */
const struct relation *plan_relation(struct binder *b, const PgQuery__RangeVar *r);
/* The nodes below `root` and itself, each once, inputs before those who read them: every walk over
 * a plan goes along it, for a walk along the edges would meet shared nodes more than once. */
struct plan_order {
    uint32_t n;
    const struct plan_node **nodes;
    uint32_t *slots;                 /* hash table: index + 1, or 0 */
    uint32_t mask;
};
/* False with the error kept. */
bool plan_order(struct binder *b, const struct plan_node *root, struct plan_order *out);
/* The place of a node that is in it. */
uint32_t plan_order_index(const struct plan_order *o, const struct plan_node *n);
/* Refuses what no executor takes yet, with its place; false with the error kept. Owners of
 * executors open it kind by kind. */
bool plan_check_executable(struct binder *b, const struct plan_node *root);
/* The same tree with scans that read only what is used. */
const struct plan_node *plan_prune(struct binder *b, const struct plan_node *root);

/* ---- PRIMARY KEY (primary_key.c): false with the error kept ---- */

/* One more column of the table's key, of its `columns`. */
bool primary_key_add(struct binder *b, struct relation *r, struct column_def *columns,
                     uint32_t column, int32_t position);
/* Refuses a second key. */
bool primary_key_is_first(struct binder *b, const struct relation *r, int32_t position);
/* The table's constraint, behind all of its columns. */
bool primary_key_table(struct binder *b, struct relation *r, struct column_def *columns,
                       const PgQuery__Constraint *c);

/* ---- rows that change (change.c, dml.c) ---- */

/* ON CONFLICT of an INSERT into `r`: fills plan->conflict and conflict_update. */
bool plan_on_conflict(struct binder *b, const struct relation *r, const PgQuery__InsertStmt *s);
/* RETURNING of a statement that changes `table`, which is `r`: fills plan->returning. */
bool plan_returning(struct binder *b, const struct relation *r, const PgQuery__RangeVar *table,
                    node *const *list, size_t n);
/* dml.c: whether rows of the relation can be written; a column by its name; false with the error
 * kept. */
bool dml_writable(struct binder *b, const struct relation *r, int32_t position);
bool dml_column(struct binder *b, const struct relation *r, struct str name, int32_t position,
                uint32_t *out);

/* ---- statements ---- */

/* One function per kind of statement: each fills b->plan, or returns false with the error kept. */
bool plan_query(struct binder *b, const PgQuery__SelectStmt *s);
bool plan_create_table(struct binder *b, const PgQuery__CreateStmt *s);
bool plan_create_view(struct binder *b, const PgQuery__CreateTableAsStmt *s);
bool plan_create_query(struct binder *b, const PgQuery__ViewStmt *s);
bool plan_create_publication(struct binder *b, const PgQuery__CreatePublicationStmt *s);
bool plan_create_user(struct binder *b, const PgQuery__CreateRoleStmt *s);
bool plan_alter_user(struct binder *b, const PgQuery__AlterRoleStmt *s);
bool plan_drop_user(struct binder *b, const PgQuery__DropRoleStmt *s);
bool plan_drop(struct binder *b, const PgQuery__DropStmt *s);
bool plan_create_enum(struct binder *b, const PgQuery__CreateEnumStmt *s);
bool plan_drop_type(struct binder *b, const PgQuery__DropStmt *s);
bool plan_create_function(struct binder *b, const PgQuery__CreateFunctionStmt *s);
bool plan_drop_function(struct binder *b, const PgQuery__DropStmt *s);
/* "f(integer, text)" */
struct str function_signature(struct binder *b, struct str name, const enum type *types,
                              uint32_t n);
bool plan_insert(struct binder *b, const PgQuery__InsertStmt *s);
bool plan_update(struct binder *b, const PgQuery__UpdateStmt *s);
bool plan_delete(struct binder *b, const PgQuery__DeleteStmt *s);
bool plan_truncate(struct binder *b, const PgQuery__TruncateStmt *s);
bool plan_copy(struct binder *b, const PgQuery__CopyStmt *s);
bool plan_explain(struct binder *b, const PgQuery__ExplainStmt *s);
bool plan_set(struct binder *b, const PgQuery__VariableSetStmt *s);
bool plan_show(struct binder *b, const PgQuery__VariableShowStmt *s);
bool plan_transaction(struct binder *b, const PgQuery__TransactionStmt *s);
/* What stands for a plain view's name in FROM; NULL with the error kept. */
const struct plan_node *plan_query_named(struct binder *b, const struct relation *r);
/* The statement reads a plain view, and goes with it. False with the error kept. */
bool plan_reads_query(struct binder *b, const struct relation *r);
/* The columns of a view's query: unique, and renamed by CREATE ... VIEW v (a, b). */
struct plan_node *view_names(struct binder *b, const struct plan_node *root, node *const *names,
                             size_t n_names);
/* False with the error kept when there is such a relation already; a topic seen as one may be. */
bool relation_name_free(struct binder *b, struct str name, int32_t position);
struct topic topic_defaults(enum topic_kind kind, struct str name, uint32_t n_partitions);
/* Restrictions on what a publication reads; fills plan->view. False with the error kept. */
bool view_check_published(struct binder *b, const struct plan_node *root);
/* A view that keeps nothing is read by its query: the view that is planned depends on it. False
 * with the error kept. */
bool view_depends(struct binder *b, const struct relation *view);
/* The fewest columns of `root` that identify its rows; false when there are none that do, or, with
 * the error kept, out of memory. */
bool plan_unique(struct binder *b, const struct plan_node *root, uint64_t *columns);
bool plan_alter_table(struct binder *b, const PgQuery__AlterTableStmt *s);
/* A column as CREATE TABLE has it, and its PRIMARY KEY (or *primary stays); and whether it may have
 * its name beside the others. */
bool plan_column(struct binder *b, const PgQuery__ColumnDef *d, struct column_def *out,
                 const PgQuery__Constraint **primary);
bool plan_column_is_new(struct binder *b, const struct column_def *columns, uint32_t n,
                        struct str name, int32_t position);
/* Restrictions on a view's plan; fills plan->view. False with the error kept. */
bool view_check_plan(struct binder *b, const struct plan_node *root);
/* A root with constant rows: cells are row-major text; a cell without ptr is NULL. */
struct plan_node *plan_text_table(struct binder *b, const char *const *columns, uint32_t n_columns,
                                  const struct str *cells, uint32_t n_rows);

/* ---- options (options.c) ---- */

enum option_type { OPTION_TEXT, OPTION_STRING, OPTION_INTERVAL, OPTION_INT, OPTION_BYTES,
                   OPTION_WORD };
struct option {
    const char *name;
    enum option_type type;
    const char *fallback;            /* default as the user would write it; NULL = none */
    const char *words;               /* OPTION_WORD: "json|raw" */
    const char *help;
};
struct option_value {
    bool given;
    int32_t position;
    struct str text;
    int64_t number;                  /* INTERVAL: microseconds; INT, BYTES; WORD: its index */
};
/* Reads WITH (...) by a table; values[i] belongs to options[i]. False with an error kept. */
/* What a DefElem's argument says, as text ("true" when there is none); false with an error kept. */
bool option_text(struct binder *b, const PgQuery__DefElem *d, struct str *out);
bool option_bool(struct binder *b, const PgQuery__DefElem *d, bool *out);
bool options_read(struct binder *b, node *const *items, size_t n_items,
                  const struct option *options, size_t n_options, struct option_value *values);
/* Whether a topic may have this name; false with the error kept. */
bool topic_name_ok(struct binder *b, struct str name, int32_t position);
/* The name of a new relation in schema public; empty with the error kept. */
struct str new_relation_name(struct binder *b, const PgQuery__RangeVar *r);
/* Places in table_options' table. */
enum { T_EVENT_TIME, T_LATENESS, T_IDLE_TIMEOUT, T_MAX_FUTURE, T_KEY, T_PARTITIONS, T_FORMAT,
       T_ON_ERROR, T_TOPIC, T_RETENTION, T_RETENTION_MS, T_RETENTION_BYTES, T_SEGMENT_BYTES,
       T_DELIMITER, T_QUOTE, T_NULL, T_PATTERN, T_SCHEMA, T_FRAMING,
       T_EVENT_TIME_UNIT, T_RECORD_TIMESTAMP, T_SCHEMA_REGISTRY, T_OPTIONS };
/* The options that say how values of the table's format are read, into r->text; its format and
 * columns are known. False with the error kept. */
bool table_format_options(struct binder *b, struct relation *r, const struct option_value *v);
/* The table of CREATE TABLE's options and of CREATE MATERIALIZED VIEW's, for docs and help. */
const struct option *table_options(size_t *n);
const struct option *view_options(size_t *n);
const struct option *publication_options(size_t *n);

/* The rows of a publication: what its connector has taken in an epoch, by partition. */
extern const struct column_def publication_columns[];
enum { PUBLICATION_COLUMNS = 3 };
/* The columns of a raw topic seen as a table. */
extern const struct column_def catalog_raw_columns[];
enum { RAW_COLUMNS = 6, RAW_TIMESTAMP = 2, RAW_KEY = 3, RAW_VALUE = 4 };
/* Defaults of the event-time options, microseconds. */
enum { IDLE_TIMEOUT_US_DEFAULT = 10 * 1000 * 1000 };
#define FUTURE_US_DEFAULT ((int64_t)86400 * 1000000)

#endif
