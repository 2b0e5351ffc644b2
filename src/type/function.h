/* The catalog of scalar functions, operators and casts: what the binder looks up and the
 * evaluator calls.
 *
 * A kernel works on whole columns. NULL arguments are handled by the caller for strict functions
 * (all but those marked `nulls_seen`): rows with a NULL argument are inactive and become NULL. A
 * row that fails stores its error in the context, sets the result row to NULL and goes on: one
 * bad row never fails a batch. */
#ifndef TIDEMILL_TYPE_FUNCTION_H
#define TIDEMILL_TYPE_FUNCTION_H

#include "type/column.h"

struct user_function;
struct c_function;
struct function;

enum { FUNCTION_ARGS_MAX = 16, FUNCTION_OVERLOADS_MAX = 64 };

struct kernel_context {
    struct arena *arena;         /* results that are by reference */
    const uint8_t *active;       /* rows to compute; NULL = all. Others must not raise */
    uint8_t *row_errors;         /* enum err per row, 0 = none; NULL until the first error */
    struct err_detail first;     /* detail of the first error */
    uint32_t first_row;
    int64_t now_us;              /* statement or epoch time: now() */
    uint32_t n_rows;
    bool out_of_memory;
    uint32_t n_args;             /* arguments of this call: variadic kernels read it */
    const struct function *function; /* that is called */
    const void *prepared;        /* what function.prepare made for this call; or NULL */
};

/* args[i] has n_rows rows (or is constant: `constant` bit i set, then only row 0 is meaningful). */
typedef void (*kernel_fn)(struct kernel_context *k, const struct column *const *args,
                          uint32_t constant, struct column *out);

/* Done once per call in a compiled expression, when constant arguments allow it (a pattern to
 * compile): constants[i] is NULL for arguments that vary. The result lives in `a`, is immutable
 * and reaches the kernel as k->prepared; NULL = nothing to prepare. */
typedef enum err (*function_prepare_fn)(const struct value *const *constants, uint32_t n_args,
                                        struct arena *a, const void **out, struct err_detail *why);

/* SET: gives several rows, as the elements of an array. */
enum function_kind { FUNCTION_PLAIN, FUNCTION_OPERATOR, FUNCTION_CAST, FUNCTION_SET };
enum cast_level { CAST_IMPLICIT = 1, CAST_ASSIGNMENT, CAST_EXPLICIT };

struct function {
    const char *name;          /* "lower", "+", "~~" (LIKE), "->>"; casts: "int4" */
    enum function_kind kind;
    enum cast_level cast;      /* CAST only */
    enum type result;
    uint8_t n_args;
    bool variadic;             /* the last argument type repeats */
    bool nulls_seen;           /* not strict: gets NULL rows itself */
    bool stable;               /* depends on now(): constant within an epoch or statement */
    bool same;                 /* TYPE_ARRAY, TYPE_ELEMENT: of equal types, not of a common one */
    bool old;                  /* only of relations that were made before DIALECT_NOW */
    /* Not TYPE_UNKNOWN: resolution finds this overload, and means the one of the same name whose
     * arguments all have this type (float4 = float8 is float8 = float8). It has no kernel. */
    enum type means;
    /* TYPE_UNKNOWN: an argument of any type, of an operator any but arrays. TYPE_ARRAY, TYPE_ENUM:
     * any array or enum; TYPE_ELEMENT: what the arrays hold, or anything. The result of such a
     * function follows from them (function_result), and kernels see the types in their columns. */
    enum type args[FUNCTION_ARGS_MAX];
    kernel_fn kernel;
    function_prepare_fn prepare; /* or NULL */
    const struct user_function *user; /* that CREATE FUNCTION made (plan/catalog.h); or NULL */
    struct c_function *c;        /* LANGUAGE c: the kernel is c_function_kernel; or NULL */
};

/* All functions of that name and kind; returns how many were written (<=
 * FUNCTION_OVERLOADS_MAX). Names are lower case. */
uint32_t function_candidates(enum function_kind kind, struct str name, const struct function **out);
/* What the function gives for arguments of these types, which are those that it takes. */
enum type function_result(const struct function *f, const enum type *args, uint32_t n_args);
/* The cast from -> to permitted at `level` or below, or NULL (also when from == to). The result of
 * one to an array or enum type is TYPE_ARRAY or TYPE_ENUM. */
const struct function *function_cast(enum type from, enum type to, enum cast_level level);
/* For "did you mean": calls each for every function name. */
void function_names(void (*each)(void *arg, const char *name), void *arg);
/* Records an error for a row (kernels call it). No effect for inactive rows. */
void kernel_fail(struct kernel_context *k, uint32_t row, enum err e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same with a detail that is already written (no effect for inactive rows). */
void kernel_fail_row(struct kernel_context *k, uint32_t row, enum err e,
                     const struct err_detail *why);
/* Makes the result of a row NULL. */
void kernel_null_row(struct kernel_context *k, struct column *out, uint32_t row);

#endif
