/* Compaction of topics, on a thread of its own: one pass after the other. Private to engine/.
 *
 *   shard: every ten seconds looks for a partition with enough to do: log_compact_begin
 *   -> ring -> compactor: log_compact_run, one step -> ring -> shard: log_compact_step -> ...
 *
 * A shard has one pass under way at a time, and each step of it is a job of its own, so that
 * shards take turns. */
#ifndef TIDEMILL_ENGINE_COMPACTOR_H
#define TIDEMILL_ENGINE_COMPACTOR_H

#include "engine/partition.h"

struct compactor;

/* Looks for a partition of the shard to compact, unless one is being compacted. */
void compaction_look(struct shard *s);
/* Once a turn of a shard: takes in the step that was done. */
void compaction_turn(struct shard *s);

/* Main thread, before any worker runs. */
enum err compactor_new(struct engine *e, struct compactor **out) MUST_CHECK;
enum err compactor_start(struct compactor *cp) MUST_CHECK;
/* Main thread, after the workers have ended, before the remover is freed: gives up the passes under
 * way. NULL is fine. */
void compactor_free(struct compactor *cp);

#endif
