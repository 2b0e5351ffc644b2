/* Errors: one table of codes for the whole program.
 *
 * A function that can fail because of the world returns `enum err` (MUST_CHECK); a programmer's
 * mistake is an assertion (base/check.h). What a user reads travels beside the code in a
 * caller-owned `struct err_detail`, so that an error can be reported when memory is gone. Every
 * function that takes a `struct err_detail *` accepts NULL. */
#ifndef TIDEMILL_BASE_ERR_H
#define TIDEMILL_BASE_ERR_H

#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))

/* What a caller may do about an error. */
enum err_flag {
    ERR_FLAG_RETRY = 1,   /* the same request may succeed later */
    ERR_FLAG_FATAL = 2,   /* the process must end: durability can no longer be promised */
    ERR_FLAG_USER = 4,    /* the request is wrong; repeating it is pointless */
    ERR_FLAG_CORRUPT = 8, /* stored bytes are damaged */
};

enum err {
    ERR_OK = 0,
    ERR_NO_MEMORY,          /* an allocation or a memory bound failed */
    ERR_LIMIT,              /* a named maximum was reached */
    ERR_BUSY,               /* a queue is full: slow down and retry */
    ERR_IO,                 /* the operating system failed an I/O call */
    ERR_NO_SPACE,           /* disk or quota full */
    ERR_SYNC_FAILED,        /* fsync failed: nothing unsynced may be acknowledged, ever */
    ERR_CORRUPT,            /* stored bytes fail their checks */
    ERR_IN_USE,             /* data directory, port or name taken */
    ERR_CLOSED,             /* peer or component is gone */
    ERR_TIMEOUT,
    ERR_CANCELED,           /* asked to stop by the user */
    ERR_SHUTDOWN,           /* the server is stopping */
    ERR_MALFORMED,          /* bytes break the protocol or the format */
    ERR_UNSUPPORTED,        /* understood, not offered: feature_not_supported */
    ERR_INVALID_ARGUMENT,   /* a parameter or option has a wrong value */
    ERR_SYNTAX,             /* SQL does not parse */
    ERR_UNDEFINED_TABLE,    /* no such table, view or topic */
    ERR_UNDEFINED_COLUMN,
    ERR_UNDEFINED_FUNCTION,
    ERR_UNDEFINED_OBJECT,   /* no such type, setting, ... */
    ERR_AMBIGUOUS_COLUMN,
    ERR_AMBIGUOUS_FUNCTION,
    ERR_DUPLICATE_FUNCTION,
    ERR_LIBRARY,            /* a shared object cannot be used: what calls it cannot go on */
    ERR_INVALID_FUNCTION,   /* a function cannot be defined so */
    ERR_DUPLICATE_TABLE,
    ERR_DUPLICATE_COLUMN,
    ERR_DUPLICATE_OBJECT,   /* a user of this name exists */
    ERR_DUPLICATE_ALIAS,    /* two tables of one query have the same name */
    ERR_GROUPING,           /* column neither grouped nor aggregated */
    ERR_WINDOWING,          /* OVER or WINDOW where or as it cannot be */
    ERR_COLUMN_REFERENCE,   /* ORDER BY and DISTINCT that do not go together */
    ERR_TOO_MANY_ARGUMENTS,
    ERR_TYPE_MISMATCH,
    ERR_INDETERMINATE_TYPE, /* nothing says what type it is */
    ERR_CANNOT_COERCE,      /* no cast between two types */
    ERR_INVALID_TEXT,       /* invalid input syntax for a type */
    ERR_STRING_TRUNCATION,  /* a text is too long for its column */
    ERR_OUT_OF_RANGE,       /* numeric value out of range */
    ERR_DATETIME_RANGE,     /* datetime field overflow */
    ERR_DIVISION_BY_ZERO,
    ERR_NULL_VIOLATION,     /* NULL in a NOT NULL column, or no event time */
    ERR_UNIQUE_VIOLATION,   /* a second row with the same PRIMARY KEY */
    ERR_SERIALIZATION,      /* rows were changed again and again while a statement looked at them */
    ERR_INVALID_TABLE,      /* a table cannot be defined so */
    ERR_INVALID_PARAMETER,  /* a function argument outside of its domain */
    ERR_FRAME_SIZE,         /* PRECEDING or FOLLOWING by NULL or less than nothing */
    ERR_NTILE,              /* ntile into no buckets */
    ERR_NTH_VALUE,          /* nth_value before the first */
    ERR_ARRAY_SUBSCRIPT,    /* bounds of an array, or arrays that do not go together */
    ERR_CARDINALITY,        /* a subquery used as a value has more than one row */
    ERR_ENCODING,           /* not valid UTF-8 */
    ERR_DEPENDENT_OBJECTS,  /* DROP refused: something depends on it */
    ERR_WRONG_OBJECT_TYPE,  /* e.g. INSERT into a view */
    ERR_FORBIDDEN,          /* peer address not allowed */
    ERR_OFFSET_OUT_OF_RANGE,
    ERR_UNKNOWN_PARTITION,
    ERR_BAD_RECORD_BATCH,   /* Kafka record batch fails CRC or structure */
    ERR_TOO_LARGE,          /* message or request above its maximum */
    ERR_FUTURE_EVENT_TIME,  /* event time beyond the allowed future bound */
    ERR_RECORD_TIMESTAMP,   /* a record too far from the clock for its topic */
    ERR_RECORD_KEY,         /* a record without the key that its topic asks for */
    ERR_PRODUCER_SEQUENCE,  /* idempotent producer: a batch before this one is missing */
    ERR_PRODUCER_DUPLICATE, /* ... appended so long ago that its offset is forgotten */
    ERR_PRODUCER_FENCED,    /* ... a newer one with its id has begun */
    ERR_TXN_STATE,          /* a batch that does not belong to an open transaction, or to none */
    ERR_INTERNAL,           /* a bug; reported, never a crash of others */
    ERR_COUNT_
};

struct err_info {
    const char *name;      /* "undefined_table" */
    const char *text;      /* default sentence */
    char sqlstate[6];
    int16_t kafka;         /* Kafka error code */
    uint16_t http;         /* HTTP status */
    uint16_t flags;        /* enum err_flag bits */
};

/* The table's row of `e`; any thread, never NULL. */
const struct err_info *err_info(enum err e);

enum { ERR_TEXT_MAX = 480, ERR_HINT_MAX = 240 };

/* What a user reads. Zero-initialised = no detail. */
struct err_detail {
    int32_t position;          /* 1-based character position in the SQL text; 0 = none */
    int32_t line, column;      /* 1-based place in an input document; 0 = none */
    char text[ERR_TEXT_MAX];   /* what was wrong and where; "" = the table's default text */
    char hint[ERR_HINT_MAX];   /* what to do; "" = none */
};

/* Fills `d` (may be NULL) with a formatted text, clears its hint and places, and returns `e`:
 * `return err_set(why, ERR_X, "...", ...)`. The arguments may point into `d`, so an error can be
 * wrapped. Never allocates; text is cut at its maximum on a UTF-8 boundary. */
enum err err_set(struct err_detail *d, enum err e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Adds a hint to a detail already set; `d` may be NULL. */
void err_hint(struct err_detail *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The detail's text, or the table's default text. Borrowed from `d`; `d` may be NULL. */
const char *err_text(enum err e, const struct err_detail *d);

#define TRY(expr)                        \
    do {                                 \
        enum err try_err_ = (expr);      \
        if (try_err_ != ERR_OK)          \
            return try_err_;             \
    } while (0)

#endif
