/* The newest offset of each key: what compaction keeps. Keys are known by 128 bits of hash with a
 * random seed, so a slot has 24 bytes however long the keys are. (Two keys that share all of them
 * would be taken for one: with a million keys the odds are 1 to 10^26 a run.) One thread. */
#ifndef TIDEMILL_LOG_KEY_MAP_H
#define TIDEMILL_LOG_KEY_MAP_H

#include "base/str.h"
#include "host/host.h"

struct key_slot {
    uint64_t a, b;  /* hashes */
    int64_t offset; /* -1 = free */
};

/* Zero-initialised by key_map_init. Fields are private but n. */
struct key_map {
    struct key_slot *slots;
    size_t cap, n, n_max;
    uint64_t seeds[2];
};

/* An empty map of at most `n_max` keys. Allocates nothing yet. */
void key_map_init(struct key_map *m, struct host *h, size_t n_max);
void key_map_deinit(struct key_map *m);
/* The key's newest offset is `offset`, if no newer one is known. ERR_LIMIT when the map is full,
 * ERR_NO_MEMORY; then it is unchanged. */
enum err key_map_put(struct key_map *m, struct str key, int64_t offset) MUST_CHECK;
/* The newest offset of the key; -1 when it is not in the map. */
int64_t key_map_get(const struct key_map *m, struct str key);

#endif
