/* A shard's part in epochs: reading, splitting, applying. Private to engine/.
 *
 *   IDLE --BEGIN--> SOURCE --all inputs read--> WAIT --END of every shard--> APPLY --all applied-->
 * IDLE (DONE sent)
 *
 * SOURCE and APPLY do one batch a turn, so that sockets and timers are served in between. Views
 * that read views are applied behind those: APPLY goes back to WAIT as often as there are levels of
 * them. */
#ifndef TIDEMILL_ENGINE_EPOCHS_H
#define TIDEMILL_ENGINE_EPOCHS_H

#include "engine/epoch.h"

struct epochs;
struct epoch_record;
struct reader_state;
struct view_run;

/* What an epoch's steps write to on this shard. */
struct epoch_work {
    struct shard *shard;
    struct arena *arena; /* the epoch's */
    struct arena *piece; /* of the step under way */
    struct dead_letter *
        *dead_tail;         /* of the list that goes to shard 0 next: with END, later with DONE */
    struct epoch_end *ends; /* per target shard */
    struct view_failure *failures;
    struct view_letters *letters_cut; /* of views with more than are kept */
    uint32_t n_letters;
    uint64_t letters_bytes;
    uint64_t epoch;
};

/* Made and freed by the main thread while no worker runs. */
enum err epochs_new(struct shard *s, struct epochs **out) MUST_CHECK;
void epochs_free(struct epochs *ep);
/* Begins an epoch (from the coordinator's message). */
void epochs_begin(struct epochs *ep, const struct epoch_plan *plan);
/* A slice of the epoch under way. */
void epochs_turn(struct epochs *ep);
/* Brings partitions, readers and views in line with a catalog version and takes a reference.
 * `record` tells which readers views were on at the last commit, and which had failed (start-up;
 * else NULL). Between epochs. */
enum err epochs_adopt(struct epochs *ep, const struct catalog *catalog,
                      const struct epoch_record *record, struct err_detail *why) MUST_CHECK;
/* Before a change is made: opens the partitions that live here and are new in `catalog`, which
 * needs the disk. epochs_unprepare drops them again when the change does not come. */
enum err epochs_prepare(struct epochs *ep, const struct catalog *catalog,
                        struct err_detail *why) MUST_CHECK;
void epochs_unprepare(struct epochs *ep, const struct catalog *catalog);
/* The same while running; a failure ends the process, since shards would disagree. */
void epochs_set_catalog(struct epochs *ep, const struct catalog *catalog);
/* Takes in dead letters that came with a DONE (shard 0); they stay the sender's. */
void epochs_add_dead_letters(struct epochs *ep, const struct dead_letter *list);
/* Writes a piece of them, behind shard 0's own outputs; true with the partition's end when nothing
 * is left. Once a turn until then: a full disk makes the epoch wait. */
bool epochs_write_dead_letters(struct epochs *ep, int64_t *end);
/* In the epoch that has just ended here the view has failed, on some shard: it takes in nothing
 * more, and what it wrote in this epoch will never be visible. Its state, which nobody may read any
 * more, is given up; scans of it that are under way end. */
void epochs_view_failed(struct epochs *ep, uint32_t number);
/* What the reader of a table with a PRIMARY KEY keeps of a partition that lives here: rows (NULL:
 * none) as of an offset. ERR_LIMIT when they did not fit, ERR_UNDEFINED_TABLE when there is no such
 * reader. */
struct keyed_rows;
enum err epochs_keyed(struct epochs *ep, uint32_t relation, uint32_t partition,
                      const struct keyed_rows **rows, int64_t *position) MUST_CHECK;
/* At the start: a reader begins where a snapshot has it. */
void epochs_restore_reader(struct epochs *ep, uint32_t id, const struct reader_state *at);
/* NULL when this shard does not run the view. */
struct view_run *epochs_view(struct epochs *ep, uint32_t number);

#endif
