/* The start's part of snapshots: which one, for which views, and taking it over. Private to
 * engine/; main thread, before any worker runs.
 *
 *   newest file --whole? not ahead of the log or the records?--> it is used
 *              \--no: told, moved aside--> the one before it ... none: everything is replayed
 *
 * A view is restored when the snapshot has it, its layout is the program's (view_layout), and no
 * view that reads it has to be replayed. Its reader begins where the snapshot's stood, and replays
 * to where the record of epochs has it, as always. A table's own reader can only begin there when
 * none of its views has to be replayed from the log's start; else the restored ones get readers of
 * their own, which join it when the replay ends. */
#ifndef TIDEMILL_ENGINE_SNAPSHOT_LOAD_H
#define TIDEMILL_ENGINE_SNAPSHOT_LOAD_H

#include "engine/epoch_record.h"
#include "engine/snapshots.h"

struct snapshot_found;

/* Chooses; *out is NULL when nothing is restored. Changes `record` so that views read by the
 * readers that they need (which is what the coordinator and the shards are to adopt). All
 * partitions are open. Memory is `a`'s. ERR_NO_MEMORY, ERR_IO of the folder. */
enum err snapshots_find(struct engine *e, const struct catalog *catalog,
                        struct epoch_record *record, struct arena *a,
                        struct snapshot_found **out, struct err_detail *why) MUST_CHECK;
/* After adopting: state, positions, watermarks. On an error but ERR_NO_MEMORY the file has been
 * moved aside, and the start has to begin anew: e->restart says so. */
enum err snapshots_restore(struct engine *e, struct snapshot_found *found,
                           struct err_detail *why) MUST_CHECK;

#endif
