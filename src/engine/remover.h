/* What takes long to give up, on a thread of its own: the files of dropped partitions, the state of
 * dropped views. Private to engine/.
 *
 *   shard: catalog without it -> takes it off its maps -> removal_hand --ring--> remover: removes
 *   start: remover: removes the folders in topics/ of topics that the catalog no longer has
 *
 * Nothing waits for a removal: numbers of topics are never given twice, so what is left when a
 * server stops in between is in nobody's way, and goes at the next start. */
#ifndef TIDEMILL_ENGINE_REMOVER_H
#define TIDEMILL_ENGINE_REMOVER_H

#include "engine/engine_int.h"

struct remover;

/* Inside the object that is to go. */
struct removal {
    struct list link; /* of the shard: waits for room in the ring */
    /* Frees the object, and before that removes what it has on the disk. Without `files` (the
     * server stops) it only frees. On the remover's thread, or on the main thread when no worker
     * runs. */
    void (*run)(struct removal *r, struct engine *e, bool files);
};

/* Gives the object away: from now on it is the remover's. The shard's thread. */
void removal_hand(struct shard *s, struct removal *r);
/* Once a turn of a shard: hands on what waits for room. */
void removals_turn(struct shard *s);

/* Removes the folder of a topic when its last partition is gone. */
void remover_topic_dir(struct engine *e, uint32_t topic_number);

/* Main thread, before any worker runs. `catalog` says which folders are of topics that exist; with
 * `sweep` the others are removed. */
enum err remover_new(struct engine *e, const struct catalog *catalog, bool sweep,
                     struct remover **out) MUST_CHECK;
enum err remover_start(struct remover *rm) MUST_CHECK;
/* Main thread, after the workers have ended: frees what was not removed. NULL is fine. */
void remover_free(struct remover *rm);

#endif
