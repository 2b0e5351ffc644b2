/* The row formats of COPY ... FROM: bytes -> rows of text fields. Pure; one thread at a time.
 *
 *   text   a<delimiter>b\n      \N = NULL, backslash escapes, "\." alone ends the data
 *   csv    a<delimiter>"b"\n    quoted fields may hold line ends, the unquoted NULL text = NULL
 *
 * Source: PostgreSQL 15 documentation, COPY, "File Formats". */
#ifndef TIDEMILL_SERVE_PG_COPY_TEXT_H
#define TIDEMILL_SERVE_PG_COPY_TEXT_H

#include "base/arena.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum { PG_COPY_ROW_BYTES_MAX = 16 << 20 };

struct pg_copy_options {
    bool csv, header;
    char delimiter, quote, escape; /* quote and escape: csv only */
    struct str null;               /* the text that stands for NULL */
};

struct pg_copy_field {
    struct str text;
    bool null;
};

/* Caller-owned; set up by pg_copy_parser_init. */
struct pg_copy_parser {
    struct pg_copy_options options;
    uint64_t line; /* 1-based number of the line the last row began on */
    /* private */
    uint64_t next_line, lines_inside;
    size_t scanned;       /* bytes of the unfinished row known to hold no row end */
    bool quoted, escaped; /* the scan's state there */
    bool header_left, crlf;
};

enum pg_copy_step {
    PG_COPY_ROW,  /* `fields` hold a row */
    PG_COPY_SKIP, /* `used` bytes were no row (the header): call again */
    PG_COPY_MORE, /* no whole row yet: call again with the same bytes and more behind them */
    PG_COPY_END,  /* the end-of-data mark; whatever follows is to be ignored */
    PG_COPY_BAD,  /* `why` says what is wrong; parser->line says where */
};

/* Ready for the first byte of the data. `options` is copied; its `null` is borrowed. */
void pg_copy_parser_init(struct pg_copy_parser *p, const struct pg_copy_options *options);

/* Takes the next row from the beginning of `in`, where the last call's `used` bytes ended. `last`:
 * no bytes follow, so that a row without a line end is whole. The row's fields go to
 * fields[0..n_fields), at most `fields_max` of them (one more than wanted tells that there are too
 * many; the rest is dropped); texts borrow from `in` or, when they had escapes, from `a`. */
enum pg_copy_step pg_copy_next(struct pg_copy_parser *p, struct str in, bool last, struct arena *a,
                               struct pg_copy_field *fields, uint32_t fields_max,
                               uint32_t *n_fields, size_t *used, struct err_detail *why);

/* Appends a field in the format that pg_copy_next reads; NULL is the caller's (options.null).
 * `only`: it is its row's only column (CSV quotes "\." then). */
void pg_copy_print(const struct pg_copy_options *o, struct str text, bool only, struct buf *out);
/* Whether the text is printed as it is. */
bool pg_copy_plain(const struct pg_copy_options *o, struct str text, bool only);

#endif
