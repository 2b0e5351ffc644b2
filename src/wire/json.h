/* JSON text: validating, splitting a request body into rows, reading small documents, escaping.
 *
 * All of it is RFC 8259 in valid UTF-8: no comments, no trailing commas, no lone surrogates, no
 * control characters in strings, no byte order mark, at most JSON_DEPTH_MAX levels. Pure; nothing
 * allocates but what takes an arena or a buffer. */
#ifndef TIDEMILL_WIRE_JSON_H
#define TIDEMILL_WIRE_JSON_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum { JSON_DEPTH_MAX = 256 };

/* Checks that `s` is one JSON value with nothing but blanks around it. ERR_MALFORMED, ERR_ENCODING
 * or ERR_LIMIT (nesting), with line and column. */
enum err json_validate(struct str s, struct err_detail *why) MUST_CHECK;

/* Appends `s`, which is valid UTF-8, as a JSON string with its quotes. */
void json_write_string(struct buf *out, struct str s);

/* ---- rows of a body ---- */

/* Splits a body into its rows: one object, an array of values, or values one after another (NDJSON
 * or any blanks between them), told apart by the first byte. Each row is validated. */
struct json_rows {
    struct str body;
    size_t at;    /* next byte to read */
    uint64_t row; /* number of the row last returned, from 1 */
    bool in_array, done;
    size_t row_at; /* where the row last returned begins */
};

/* Starts at the first row of `body`, which is borrowed until the last one was returned. A caller
 * may point r->body at the same bytes elsewhere between two calls. */
void json_rows_init(struct json_rows *r, struct str body);
/* The next row: `row` borrows from the body; row->ptr is NULL at the end. Errors as json_validate,
 * with the place in the body and the row's number in the text. */
enum err json_rows_next(struct json_rows *r, struct str *row, struct err_detail *why) MUST_CHECK;
/* Moves a place inside the row last returned (line, column; or none: the row's start) to its place
 * in the body, and puts "row N: " before the text. `why` may be NULL. */
void json_rows_blame(const struct json_rows *r, enum err e, struct err_detail *why);

/* ---- small documents, such as {"sql": "...", "params": [1, "a"]} ---- */

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* A validated value: the text as it stands, blanks around cut off. */
struct json_value {
    enum json_kind kind;
    struct str text;
};

/* Validates `s` (errors as json_validate) and makes it a value that borrows from it. */
enum err json_read(struct str s, struct json_value *out, struct err_detail *why) MUST_CHECK;
/* Walks an object's members or an array's items: *at starts at 0. False at the end. `key` (the body
 * with its escapes, without quotes; NULL for arrays) borrows from the value. */
bool json_next(const struct json_value *v, size_t *at, struct str *key, struct json_value *item);
/* The object's last member of that name. False when there is none. */
bool json_member(const struct json_value *object, struct str name, struct json_value *out);
/* The string's characters, escapes resolved; borrows the text when it has none. ptr is NULL when
 * the arena is full. */
struct str json_string(const struct json_value *v, struct arena *a);

#endif
