/* The allocator: the only place that calls malloc.
 *
 * Every allocation can fail (NULL), by the system or by a test that makes the n-th one fail.
 * Callers return ERR_NO_MEMORY and leave their object as it was. The steady data path allocates
 * from arenas instead. */
#ifndef TIDEMILL_BASE_MEM_H
#define TIDEMILL_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* Uninitialised memory of `size` > 0 bytes aligned to 16, or NULL. Owned by the caller. Any
 * thread. */
void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1)));
/* Zeroed array of n * size bytes; NULL also when the product overflows. Any thread. */
void *mem_zalloc(size_t n, size_t size) __attribute__((malloc, alloc_size(1, 2)));
/* Resizes like realloc; on NULL the old block is untouched. `size` > 0. Any thread. */
void *mem_realloc(void *p, size_t size) __attribute__((alloc_size(2)));
/* Frees; NULL is fine. Any thread. */
void mem_free(void *p);

/* Bytes now allocated through this interface (approximate by malloc_usable_size). Any thread. */
uint64_t mem_used(void);
/* Gives memory that is freed but kept by the allocator back to the system. Milliseconds per 100 MB,
 * in which other threads may wait for the allocator: for when nothing is to be done. Any thread. */
void mem_trim(void);

/* Tests only: the n-th allocation from now on this thread fails (1 = the next one; 0 = never), and
 * with `forever` every one after it as well. */
void mem_fail_at(uint64_t n, int forever);
/* Tests only: allocations asked for on this thread since the last mem_fail_at(). */
uint64_t mem_fail_count(void);

#endif
