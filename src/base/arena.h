/* Arenas: memory by lifetime (process, query, epoch, batch, connection). Freed as a whole. */
#ifndef TIDEMILL_BASE_ARENA_H
#define TIDEMILL_BASE_ARENA_H

#include "base/str.h"

#include <stddef.h>

struct arena_chunk;

/* Caller-owned; fields are private. One thread at a time. */
struct arena {
    struct arena_chunk *head;   /* chunk being filled */
    struct arena_chunk *spare;  /* chunks kept by arena_reset for reuse */
    char *at, *end;             /* free part of head */
    size_t used_bytes;          /* sum of chunk sizes in use */
    size_t bytes_max;
    size_t chunk_bytes;         /* next chunk's size; doubles up to ARENA_CHUNK_BYTES_MAX */
};

enum { ARENA_CHUNK_BYTES_MIN = 4096, ARENA_CHUNK_BYTES_MAX = 1 << 20 };

/* `bytes_max` bounds all chunks together. Allocates nothing yet. */
void arena_init(struct arena *a, size_t bytes_max);
/* Frees everything; the arena may be used again. */
void arena_deinit(struct arena *a);
/* Bytes of the chunks in use. */
static inline size_t arena_used(const struct arena *a)
{
    return a->used_bytes;
}
/* Forgets all allocations and keeps up to `keep_bytes` of chunks for reuse. */
void arena_reset(struct arena *a, size_t keep_bytes);
/* `size` bytes aligned to 16, uninitialised; NULL when out of memory or over bytes_max. size 0
 * gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t size) __attribute__((alloc_size(2)));
/* Zeroed array; NULL also on overflow of n * size. */
void *arena_zalloc(struct arena *a, size_t n, size_t size);
/* Copies bytes, adds a NUL that is not counted; ptr is NULL when out of memory. */
struct str arena_str(struct arena *a, struct str s);
/* Formats into the arena; ptr is NULL when out of memory. */
struct str arena_printf(struct arena *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
