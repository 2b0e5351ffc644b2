/* Map from 64-bit keys to pointers: open addressing, linear probing, no tombstones. One thread. */
#ifndef TIDEMILL_BASE_MAP_H
#define TIDEMILL_BASE_MAP_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* Zero-initialised = empty. Fields are private. */
struct map {
    struct map_slot *slots;
    size_t mask; /* capacity - 1, or 0 without slots */
    size_t count;
};

/* Adds or replaces; `value` is not NULL. On ERR_NO_MEMORY the map is unchanged. */
enum err map_put(struct map *m, uint64_t key, void *value) MUST_CHECK;
/* NULL when missing. */
void *map_get(const struct map *m, uint64_t key);
/* Removes and returns the value, or NULL. */
void *map_remove(struct map *m, uint64_t key);
/* Iterates in no meaningful order: start with *at = 0; NULL at the end. No changes meanwhile. */
void *map_next(const struct map *m, size_t *at);
void map_deinit(struct map *m);

#endif
