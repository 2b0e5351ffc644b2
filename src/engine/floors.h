/* Floors of watermarks: what a partition that wakes from idleness takes over, from an offset on, so
 * that a replay decides about late rows as the first time. Private to engine/; shard 0. */
#ifndef TIDEMILL_ENGINE_FLOORS_H
#define TIDEMILL_ENGINE_FLOORS_H

#include "base/list.h"
#include "base/map.h"
#include "engine/engine_int.h"

struct floor {
    int64_t offset, watermark_us;
};

/* Caller-owned; fields are private. */
struct floors {
    struct map map; /* reader and partition -> their list */
    struct list lists;
};
void floors_init(struct floors *f);
void floors_deinit(struct floors *f);

/* Adds a floor; at an offset that has one the higher counts. */
enum err floors_add(struct floors *f, uint32_t reader, uint32_t partition, int64_t offset,
                    int64_t watermark_us) MUST_CHECK;
/* The first floor at or after `from`, valid until the next change; NULL when there is none. */
const struct floor *floors_at(const struct floors *f, uint32_t reader, uint32_t partition,
                              int64_t from);
/* Forgets those that nobody can come to any more: of relations that are gone, below what retention
 * has dropped. */
void floors_trim(struct floors *f, struct engine *e, const struct catalog *catalog);
/* Calls `each` for every floor until it fails, and returns what it returned. */
enum err floors_each(const struct floors *f,
                     enum err (*each)(void *arg, uint32_t reader, uint32_t partition,
                                      int64_t offset, int64_t watermark_us),
                     void *arg) MUST_CHECK;

#endif
