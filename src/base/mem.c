#include "base/mem.h"

#include "base/check.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

static atomic_uint_fast64_t used_bytes;

/* Fault injection is per thread, so that a test can fail its own allocations beside others. */
static _Thread_local uint64_t asked_count;
static _Thread_local uint64_t fail_nth;
static _Thread_local bool fail_forever;

static bool must_fail(void)
{
    asked_count++;
    if (fail_nth == 0)
        return false;
    return fail_forever ? asked_count >= fail_nth : asked_count == fail_nth;
}

static void *count_in(void *p)
{
    if (p != NULL)
        atomic_fetch_add_explicit(&used_bytes, malloc_usable_size(p), memory_order_relaxed);
    return p;
}

void *mem_alloc(size_t size)
{
    CHECK(size > 0);
    if (must_fail() || size > PTRDIFF_MAX)
        return NULL;
    return count_in(malloc(size));
}

void *mem_zalloc(size_t n, size_t size)
{
    CHECK(n > 0 && size > 0);
    size_t bytes;
    if (must_fail() || __builtin_mul_overflow(n, size, &bytes) || bytes > PTRDIFF_MAX)
        return NULL;
    return count_in(calloc(n, size));
}

void *mem_realloc(void *p, size_t size)
{
    CHECK(size > 0);
    if (must_fail() || size > PTRDIFF_MAX)
        return NULL;
    size_t old_bytes = p == NULL ? 0 : malloc_usable_size(p);
    void *moved = realloc(p, size);
    if (moved == NULL)
        return NULL;
    atomic_fetch_sub_explicit(&used_bytes, old_bytes, memory_order_relaxed);
    return count_in(moved);
}

void mem_free(void *p)
{
    if (p == NULL)
        return;
    atomic_fetch_sub_explicit(&used_bytes, malloc_usable_size(p), memory_order_relaxed);
    free(p);
}

void mem_trim(void)
{
    (void)malloc_trim(0);
}

uint64_t mem_used(void)
{
    return atomic_load_explicit(&used_bytes, memory_order_relaxed);
}

void mem_fail_at(uint64_t n, int forever)
{
    asked_count = 0;
    fail_nth = n;
    fail_forever = forever != 0;
}

uint64_t mem_fail_count(void)
{
    return asked_count;
}
