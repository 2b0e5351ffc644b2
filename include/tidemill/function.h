/* Functions for Tidemill that are written in C: what a shared object has to hold, and what it is
 * called with.
 *
 *     #include <tidemill/function.h>
 *
 *     TIDEMILL_MODULE;
 *
 *     void celsius(struct tidemill_call *call)
 *     {
 *         double *c = call->result;
 *         for (uint32_t row = 0; row < call->n_rows; row++)
 *             c[row] = (tidemill_f8(call, 0, row) - 32) / 1.8;
 *     }
 *
 *     cc -shared -fPIC -O2 -o /srv/functions/weather.so weather.c
 *     tidemill serve --c-functions /srv/functions ...
 *     CREATE FUNCTION celsius(f float8) RETURNS float8 AS 'weather.so', 'celsius'
 *       LANGUAGE c STRICT;
 *
 * The code runs inside of the server: a crash is the server's, and a loop without end holds up all
 * views of its thread. It must
 *
 *   - give the same results for the same arguments, always: a view is computed again after a
 *     restart, and takes rows back by computing them again. No clock, no randomness, no state;
 *   - be ready for calls on several threads at the same time;
 *   - keep nothing of what it was given: arguments, results and memory from tidemill_alloc are the
 *     server's, and are gone after the call;
 *   - not raise signals, not throw, not longjmp, not block.
 *
 * The object is read when the function is created, and that content is the function's for good:
 * see docs/sql.md. It may need nothing but the system's libraries.
 *
 * This header is a contract of its own: a server takes modules of the version it knows. */
#ifndef TIDEMILL_FUNCTION_H
#define TIDEMILL_FUNCTION_H

#include <stddef.h>
#include <stdint.h>

#define TIDEMILL_FUNCTION_ABI 1

/* Stands once in every shared object. */
#define TIDEMILL_MODULE const uint32_t tidemill_function_abi = TIDEMILL_FUNCTION_ABI

/* SQL types, and what one value of them is in a column:
 *
 *   boolean               uint8_t, 0 or 1
 *   smallint              int16_t
 *   integer               int32_t
 *   bigint                int64_t
 *   real                  float
 *   double precision      double
 *   text, bytea, jsonb    struct tidemill_text: text in UTF-8, jsonb as JSON text
 *   timestamptz,
 *   timestamp             int64_t, microseconds since 1970-01-01 (UTC); INT64_MIN and INT64_MAX are
 *                         -infinity and infinity
 *   date                  int32_t, days since 1970-01-01; INT32_MIN and INT32_MAX likewise
 *   time                  int64_t, microseconds since midnight
 *   interval              struct tidemill_interval
 *   uuid                  16 bytes
 *
 * numeric, arrays and enums do not go to C functions: cast them, to text for example. */
struct tidemill_text {
    const char *ptr;                 /* not ended by a zero byte */
    size_t len;
};
struct tidemill_interval {
    int64_t us;
    int32_t days;
    int32_t months;
};

/* An argument: n_rows values, or one for all rows. */
struct tidemill_column {
    const void *data;
    const uint8_t *nulls;            /* not zero: the row's value is NULL; NULL: none is */
    int constant;                    /* only row 0 is there */
};

struct tidemill_call {
    uint32_t n_rows;
    uint32_t n_args;
    const struct tidemill_column *args;
    /* Rows to compute: not zero; NULL: all. Others are there, with any content; what is written for
     * them is not looked at, and failing them has no effect. */
    const uint8_t *active;
    /* Room for n_rows values of the result type, zeroed. */
    void *result;
    /* Bytes for results, until the call's results are used; NULL when there are no more: return
     * then. */
    void *(*alloc)(struct tidemill_call *call, size_t bytes);
    /* The row's result is NULL. */
    void (*set_null)(struct tidemill_call *call, uint32_t row);
    /* The row has failed: a query ends with the message; in a view the row is a dead letter. */
    void (*fail)(struct tidemill_call *call, uint32_t row, const char *message);
    void *server;                    /* not yours */
};

/* A function. With STRICT in CREATE FUNCTION, rows with a NULL argument are not active and become
 * NULL; without, it looks at `nulls` itself. */
typedef void (*tidemill_function)(struct tidemill_call *call);

/* ---- helpers ---- */

/* Where argument i's value of a row is. */
static inline uint32_t tidemill_at(const struct tidemill_call *call, uint32_t i, uint32_t row)
{
    return call->args[i].constant != 0 ? 0 : row;
}
static inline int tidemill_is_null(const struct tidemill_call *call, uint32_t i, uint32_t row)
{
    const uint8_t *nulls = call->args[i].nulls;
    return nulls != NULL && nulls[tidemill_at(call, i, row)] != 0;
}
static inline int tidemill_is_active(const struct tidemill_call *call, uint32_t row)
{
    return call->active == NULL || call->active[row] != 0;
}
static inline double tidemill_f8(const struct tidemill_call *call, uint32_t i, uint32_t row)
{
    return ((const double *)call->args[i].data)[tidemill_at(call, i, row)];
}
static inline int64_t tidemill_i8(const struct tidemill_call *call, uint32_t i, uint32_t row)
{
    return ((const int64_t *)call->args[i].data)[tidemill_at(call, i, row)];
}
static inline int32_t tidemill_i4(const struct tidemill_call *call, uint32_t i, uint32_t row)
{
    return ((const int32_t *)call->args[i].data)[tidemill_at(call, i, row)];
}
static inline struct tidemill_text tidemill_str(const struct tidemill_call *call, uint32_t i,
                                                uint32_t row)
{
    return ((const struct tidemill_text *)call->args[i].data)[tidemill_at(call, i, row)];
}

#endif
