/* Arrays: values of the types that have TYPE_ARRAY set, as PostgreSQL has them: up to six
 * dimensions with a lower bound each, and elements that may be NULL. Pure; any thread.
 *
 * A value is a struct str of bytes in host order, without pointers, at any alignment:
 *
 *   u32 dimensions | u32 elements            0 dimensions: no elements
 *   i32 length | i32 lower bound             of each dimension
 *   u32 end                                  of each element: where its bytes end, counted from
 *                                            the last of these; ARRAY_NULL_BIT: it is NULL
 *   bytes                                    elements in row-major order: type_info(element)->width
 *                                            bytes as in a column, or what their struct str points
 *                                            to
 *
 * Equal arrays have equal bytes unless their elements are written differently: 1.0 and 1.00. */
#ifndef TIDEMILL_TYPE_ARRAY_H
#define TIDEMILL_TYPE_ARRAY_H

#include "type/type.h"

enum {
    ARRAY_DIMS_MAX = 6,             /* PostgreSQL's */
    ARRAY_BYTES_MAX = 16 << 20,     /* of one value */
    ARRAY_NULL_BIT = 1 << 30,
};

/* A value's parts; borrows its bytes. */
struct array {
    enum type element;
    uint32_t n_dims;
    uint32_t n;                     /* elements */
    int32_t lengths[ARRAY_DIMS_MAX], lowers[ARRAY_DIMS_MAX];
    const char *ends, *data;
};
/* Opens a value of the array type `t`. */
struct array array_open(enum type t, struct str bytes);
/* Element i < n in row-major order; text borrows from the array. */
struct value array_get(const struct array *a, uint32_t i);
bool array_is_null(const struct array *a, uint32_t i);
/* The same dimensions and lower bounds. */
bool array_same_shape(const struct array *a, const struct array *b);

/* An array being made, one element at a time. One thread at a time; holds memory until deinit. */
struct array_builder {
    enum type element;
    uint32_t n;
    struct buf ends, data;
};
void array_builder_init(struct array_builder *b, enum type element);
void array_builder_deinit(struct array_builder *b);
/* Forgets the elements. */
void array_builder_clear(struct array_builder *b);
/* Appends a copy of a value of the element type. What fails is told by the finish. */
void array_builder_add(struct array_builder *b, const struct value *v);
/* The array in `a`, of `shape`'s dimensions (its n is not looked at; a product other than the
 * number of elements is the caller's mistake, unless there is none: then there are no dimensions).
 * ERR_LIMIT over ARRAY_BYTES_MAX, ERR_NO_MEMORY. */
enum err array_builder_finish(struct array_builder *b, const struct array *shape, struct arena *a,
                              struct str *out, struct err_detail *why) MUST_CHECK;
/* The same with one dimension that begins at 1. */
enum err array_builder_finish_list(struct array_builder *b, struct arena *a, struct str *out,
                                   struct err_detail *why) MUST_CHECK;

/* PostgreSQL's order: elements (NULL last), then how many there are, then dimensions and bounds. */
int array_compare(enum type t, struct str x, struct str y);
uint64_t array_hash(enum type t, struct str s);

/* Text as PostgreSQL 15 reads and writes it: {1,NULL,"a b"}, [0:1]={1,2}, {{1,2},{3,4}}.
 * ERR_INVALID_TEXT, ERR_LIMIT; errors of elements. */
enum err array_parse(enum type t, struct str s, struct arena *a, struct str *out,
                     struct err_detail *why) MUST_CHECK;
void array_print(enum type t, struct str s, struct buf *out);
/* JSON arrays, nested by dimension; lower bounds are not in them. */
void array_print_json(enum type t, struct str s, struct buf *out);
/* Reads a normalised JSON value (type/jsonb.h). ERR_TYPE_MISMATCH where a value does not fit. */
enum err array_parse_json(enum type t, struct str json, struct arena *a, struct str *out,
                          struct err_detail *why) MUST_CHECK;
/* PostgreSQL's binary form. */
void array_print_binary(enum type t, struct str s, struct buf *out);
enum err array_parse_binary(enum type t, struct str s, struct arena *a, struct str *out,
                            struct err_detail *why) MUST_CHECK;

#endif
