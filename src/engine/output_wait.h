/* Waiting for room on the disk: what cannot be written is kept, and tried again after a while
 * instead of in every turn. Private to engine/; the shard's thread. */
#ifndef TIDEMILL_ENGINE_OUTPUT_WAIT_H
#define TIDEMILL_ENGINE_OUTPUT_WAIT_H

#include "engine/shard.h"

enum { OUTPUT_RETRY_MS = 100 };

/* Fields are private. Of one writer: a shard's outputs, the coordinator's record. */
struct output_wait {
    struct shard *shard;
    int64_t until_ns;
    bool waits; /* counted in engine.outputs_waiting, and noted */
    struct shard_timer timer;
};
void output_wait_init(struct output_wait *w, struct shard *s);
/* Whether it is not the time to try again yet. */
bool output_waits(const struct output_wait *w);
/* What a try has come to. With an error the next one is OUTPUT_RETRY_MS from now, and a turn comes
 * then; the first in a row is noted, `what` being what waits. */
void output_wait_tried(struct output_wait *w, enum err e, const char *what,
                       const struct err_detail *why);

#endif
