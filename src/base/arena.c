/* Layout of a chunk:
 *
 *   | header | allocation | allocation | ... free ... |
 *            16-aligned                ^at            ^end      (at, end: of the head chunk only)
 *
 * Invariant: used_bytes = sum of the sizes of the chunks behind `head`; the spare chunks never make
 * the total pass bytes_max, because they are given back before a new chunk is asked for.
 *
 * Under the address sanitizer free space is poisoned, and each allocation is followed by at least
 * one poisoned byte unless its size is a multiple of the alignment. */
#include "base/arena.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define ARENA_ASAN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(ARENA_ASAN)
#include <sanitizer/asan_interface.h>
#define POISON(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

enum { ARENA_ALIGN = 16 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t bytes; /* with this header */
};

_Static_assert(sizeof(struct arena_chunk) == ARENA_ALIGN, "the first allocation is aligned");

void arena_init(struct arena *a, size_t bytes_max)
{
    *a = (struct arena){.bytes_max = bytes_max, .chunk_bytes = ARENA_CHUNK_BYTES_MIN};
}

static void chunks_free(struct arena_chunk **list)
{
    while (*list != NULL) {
        struct arena_chunk *c = *list;
        *list = c->next;
        UNPOISON(c, c->bytes);
        mem_free(c);
    }
}

void arena_deinit(struct arena *a)
{
    chunks_free(&a->head);
    chunks_free(&a->spare);
    arena_init(a, a->bytes_max);
}

/* Takes the largest chunk out of the list; NULL when empty. */
static struct arena_chunk *chunk_take_largest(struct arena_chunk **list)
{
    struct arena_chunk **best = list;
    if (*list == NULL)
        return NULL;
    for (struct arena_chunk **at = list; *at != NULL; at = &(*at)->next)
        if ((*at)->bytes > (*best)->bytes)
            best = at;
    struct arena_chunk *taken = *best;
    *best = taken->next;
    return taken;
}

void arena_reset(struct arena *a, size_t keep_bytes)
{
    struct arena_chunk *all = a->head;
    struct arena_chunk **end = &all;
    while (*end != NULL)
        end = &(*end)->next;
    *end = a->spare;
    a->head = a->spare = NULL;
    a->at = a->end = NULL;
    a->used_bytes = 0;

    struct arena_chunk *dropped = NULL;
    struct arena_chunk **spare_end = &a->spare;
    struct arena_chunk *c;
    size_t kept_bytes = 0;
    while ((c = chunk_take_largest(&all)) != NULL) {
        if (c->bytes <= keep_bytes - kept_bytes) {
            kept_bytes += c->bytes;
            POISON(c + 1, c->bytes - sizeof *c);
            *spare_end = c;
            c->next = NULL;
            spare_end = &c->next;
        } else {
            c->next = dropped;
            dropped = c;
        }
    }
    chunks_free(&dropped);
}

/* A chunk with at least `need` bytes (header included), from the spare ones or the allocator. */
static struct arena_chunk *chunk_get(struct arena *a, size_t need)
{
    if (a->used_bytes > a->bytes_max || need > a->bytes_max - a->used_bytes)
        return NULL;
    for (struct arena_chunk **at = &a->spare; *at != NULL; at = &(*at)->next) {
        struct arena_chunk *c = *at;
        if (c->bytes >= need && c->bytes <= a->bytes_max - a->used_bytes) {
            *at = c->next;
            return c;
        }
    }
    chunks_free(&a->spare);
    size_t left = a->bytes_max - a->used_bytes;
    size_t bytes = a->chunk_bytes < left ? a->chunk_bytes : left;
    if (bytes < need)
        bytes = need;
    struct arena_chunk *c = mem_alloc(bytes);
    if (c == NULL)
        return NULL;
    c->bytes = bytes;
    POISON(c + 1, bytes - sizeof *c);
    if (a->chunk_bytes < ARENA_CHUNK_BYTES_MAX)
        a->chunk_bytes *= 2;
    return c;
}

/* The head chunk has no room for `size` bytes (rounded): take it from another chunk. */
static void *alloc_slow(struct arena *a, size_t size)
{
    struct arena_chunk *c = chunk_get(a, size + sizeof *c);
    if (c == NULL)
        return NULL;
    a->used_bytes += c->bytes;
    char *start = (char *)(c + 1);
    char *end = (char *)c + c->bytes;
    size_t left_new = (size_t)(end - start) - size;
    size_t left_head = (size_t)(a->end - a->at);
    if (a->head != NULL && left_head > left_new) {
        /* The old chunk has more room left: keep filling it. */
        c->next = a->head->next;
        a->head->next = c;
    } else {
        c->next = a->head;
        a->head = c;
        a->at = start + size;
        a->end = end;
    }
    return start;
}

void *arena_alloc(struct arena *a, size_t size)
{
    if (size > SIZE_MAX - sizeof(struct arena_chunk) - ARENA_ALIGN)
        return NULL;
    size_t rounded = (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (rounded == 0)
        rounded = ARENA_ALIGN;
    void *p;
    if (LIKELY((size_t)(a->end - a->at) >= rounded)) {
        p = a->at;
        a->at += rounded;
    } else {
        p = alloc_slow(a, rounded);
        if (p == NULL)
            return NULL;
    }
    UNPOISON(p, size);
    return p;
}

void *arena_zalloc(struct arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    void *p = arena_alloc(a, bytes);
    if (p != NULL)
        memset(p, 0, bytes);
    return p;
}

struct str arena_str(struct arena *a, struct str s)
{
    char *p = s.len == SIZE_MAX ? NULL : arena_alloc(a, s.len + 1);
    if (p == NULL)
        return (struct str){NULL, 0};
    if (s.len > 0)
        memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return (struct str){p, s.len};
}

struct str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    va_list again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p != NULL)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p == NULL ? (struct str){NULL, 0} : (struct str){p, (size_t)n};
}
