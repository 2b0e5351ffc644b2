/* JSON values kept as the text that PostgreSQL's jsonb prints: keys ordered by length, then
 * bytes, the last duplicate wins, numbers written out, ", " between members and ": " behind
 * keys. Equal documents therefore mostly have equal bytes (numbers keep trailing zeros), and
 * members are found without a parse. Pure; any thread. */
#ifndef TIDEMILL_TYPE_JSONB_H
#define TIDEMILL_TYPE_JSONB_H

#include "type/type.h"

enum {
    JSONB_DEPTH_MAX = 256,
    JSONB_TEXT_MAX = 16 << 20,           /* bytes of a normalised value */
    JSONB_NUMBER_DIGITS_MAX = 131072,    /* in front of the point, as PostgreSQL's numeric */
    JSONB_NUMBER_SCALE_MAX = 16383,
};

enum jsonb_kind {    /* in PostgreSQL's order of values */
    JSONB_NULL,
    JSONB_STRING,
    JSONB_NUMBER,
    JSONB_BOOL,
    JSONB_ARRAY,
    JSONB_OBJECT,
};

/* Checks and normalises a JSON text into `a`. ERR_INVALID_TEXT with the place, ERR_ENCODING,
 * ERR_LIMIT, ERR_NO_MEMORY. */
enum err jsonb_parse(struct str s, struct arena *a, struct str *out,
                     struct err_detail *why) MUST_CHECK;

/* All of the following take normalised values. */
enum jsonb_kind jsonb_kind_of(struct str j);
/* "object", "array", "string", "number", "boolean", "null". */
const char *jsonb_kind_name(enum jsonb_kind k);
/* The member's value, or ptr NULL when there is none or `j` is no object (array). Negative
 * indexes count from the end. */
struct str jsonb_member(struct str j, struct str key);
struct str jsonb_element(struct str j, int64_t index);
/* Members of an object or elements of an array; 0 for scalars. */
uint32_t jsonb_count(struct str j);
/* What ->> gives: a string's characters (in `a` when it has escapes), else the text. ptr NULL
 * when out of memory. */
struct str jsonb_text(struct str j, struct arena *a);
/* PostgreSQL's btree order; 1.0 equals 1. */
int jsonb_compare(struct str x, struct str y);
uint64_t jsonb_hash(struct str j);
/* x @> y. */
bool jsonb_contains(struct str x, struct str y);
/* Appends s as a JSON string with quotes, escaped as PostgreSQL does. */
void jsonb_put_string(struct str s, struct buf *out);

/* Walks an object's members or an array's elements; `key` is the escaped text with its quotes,
 * empty in arrays. */
struct jsonb_walk {
    const char *p, *end;
    bool object;
};
struct jsonb_walk jsonb_walk_begin(struct str j);
bool jsonb_walk_next(struct jsonb_walk *w, struct str *key, struct str *value);

#endif
