/* Borrowed strings and bounded growable buffers. */
#ifndef TIDEMILL_BASE_STR_H
#define TIDEMILL_BASE_STR_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes somebody else owns; not NUL-terminated. ptr may be NULL when len is 0. */
struct str {
    const char *ptr;
    size_t len;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
/* printf("%.*s", STR_ARG(s)) */
#define STR_ARG(s) (int)(s).len, (s).ptr != NULL ? (s).ptr : ""

static inline struct str str_of(const char *z) { return (struct str){z, strlen(z)}; }
static inline bool str_eq(struct str a, struct str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
/* Bytewise order (collation "C"): negative, zero, positive. */
static inline int str_cmp(struct str a, struct str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n == 0 ? 0 : memcmp(a.ptr, b.ptr, n);
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}
/* ASCII case-insensitive equality. */
bool str_ieq(struct str a, struct str b);
bool str_starts(struct str s, struct str prefix);
/* Whether the bytes are valid UTF-8 (no surrogates, no overlong forms). SIMD fast path for ASCII.
 * */
bool str_utf8_valid(struct str s);
/* Decimal integer with optional sign over the whole string, or ERR_INVALID_TEXT /
 * ERR_OUT_OF_RANGE. */
enum err str_to_i64(struct str s, int64_t *out) MUST_CHECK;
/* The candidate nearest to `name` by edit distance (letters' case ignored; at most 1/3 of its
 * length), or -1: for "did you mean". */
int str_nearest(struct str name, const struct str *candidates, size_t n);

/* Growable bytes with a maximum. Zero-initialised + max set = empty. One thread at a time.
 * Appending after a failure keeps failing (`failed` sticks), so that a run of appends is checked
 * once. */
struct buf {
    char *ptr;
    size_t len, cap;
    size_t max;      /* bytes; appends over it fail */
    bool failed;
};

static inline void buf_init(struct buf *b, size_t max) { *b = (struct buf){.max = max}; }
/* Frees the bytes; the buffer is empty and usable again. */
void buf_deinit(struct buf *b);
/* Empties, keeps capacity, clears `failed`. */
static inline void buf_clear(struct buf *b) { b->len = 0; b->failed = false; }
/* Room for `more` bytes behind len; NULL (and failed) when over max or out of memory. len is
 * unchanged. */
char *buf_reserve(struct buf *b, size_t more);
void buf_put(struct buf *b, const void *bytes, size_t n);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drops the first n bytes. Costs a move of what is left. */
void buf_consume(struct buf *b, size_t n);
static inline void buf_put_str(struct buf *b, struct str s) { buf_put(b, s.ptr, s.len); }
static inline void buf_put_u8(struct buf *b, uint8_t v) { buf_put(b, &v, 1); }
/* Big-endian integers, as the Kafka and PostgreSQL protocols have them. */
void buf_put_be16(struct buf *b, uint16_t v);
void buf_put_be32(struct buf *b, uint32_t v);
void buf_put_be64(struct buf *b, uint64_t v);
static inline struct str buf_str(const struct buf *b) { return (struct str){b->ptr, b->len}; }
static inline enum err buf_err(const struct buf *b) { return b->failed ? ERR_LIMIT : ERR_OK; }

#endif
