/* Lines of CSV into fields and back, by PostgreSQL's rules (COPY, "File Formats", version 15): a
 * quoted part may hold delimiters, line ends and, each behind the escape, quotes; the unquoted NULL
 * text is NULL, the quoted one is not. Pure. */
#ifndef TIDEMILL_WIRE_CSV_H
#define TIDEMILL_WIRE_CSV_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>

struct csv_options {
    char delimiter, quote, escape;
    struct str null; /* the text that stands for NULL */
};

struct csv_field {
    struct str text;
    bool null;
};

/* Reads the field at row[*at] and moves *at to the delimiter behind it or to the row's end: the
 * next field begins at *at + 1. The text borrows from `row`, or lives in `a` when it had quotes.
 * ERR_MALFORMED when a quote is not closed, ERR_NO_MEMORY. */
enum err csv_field_read(const struct csv_options *o, struct str row, size_t *at, struct arena *a,
                        struct csv_field *out, struct err_detail *why) MUST_CHECK;
/* Whether the text has to be quoted. `only`: it is its row's only field; "\." is quoted then, since
 * it would end COPY's data. */
bool csv_needs_quotes(const struct csv_options *o, struct str text, bool only);
/* Appends the text as csv_field_read reads it, quoted when it has to be. NULL is the caller's:
 * options.null as it is. */
void csv_field_write(const struct csv_options *o, struct str text, bool only, struct buf *out);

#endif
