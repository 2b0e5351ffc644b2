/* The dead letters of an epoch: kept where rows and results are refused, written by shard 0.
 * Private to engine/.
 *
 *   source   rows that do not fit their table, or a view  --END---\
 *   apply    results of groups that fail                  --DONE----> shard 0: sys.dead_letters
 *
 * They live in the epoch's arena. A row is a letter once, and none is lost: with
 * EPOCH_LETTERS_TARGET of them, or EPOCH_LETTERS_BYTES_TARGET, a shard reads no more input in the
 * epoch. How many results fail is up to the groups that change and the windows that close, and many
 * views may refuse the same row. So a view keeps LETTERS_MAX of an epoch on a shard, and no more
 * once its texts reach LETTERS_BYTES_MAX or those of all views EPOCH_LETTERS_BYTES_MAX (the letter
 * that goes past is kept, 1 MB at most): what is beyond is counted, and a last letter of the view
 * says how many there were. */
#ifndef TIDEMILL_ENGINE_DEAD_LETTERS_H
#define TIDEMILL_ENGINE_DEAD_LETTERS_H

#include "engine/records.h"
#include "type/column.h"

enum {
    LETTERS_MAX = 16 << 10,
    LETTERS_BYTES_MAX = 64 << 20, /* of text; as the next two */
    EPOCH_LETTERS_BYTES_MAX = 256 << 20,
    EPOCH_LETTERS_BYTES_TARGET = 8 << 20,
    /* The batch that goes past it still fits. */
    EPOCH_LETTERS_TARGET = LETTERS_MAX - BATCH_ROWS_MAX,
};

struct epoch_work;
struct view_run;

/* Text, for a record of its own. */
struct dead_letter {
    struct dead_letter *next;
    struct str json;
};

/* Those of one view in one epoch on one shard. */
struct view_letters {
    const struct view_run *view;
    uint64_t epoch; /* that the rest is about */
    uint64_t bytes;
    uint32_t n;
    uint64_t n_more;           /* that were not kept: != 0 when it is in epoch_work.cut */
    struct view_letters *next; /* of those */
};

/* Adds a letter to the epoch, for a view (its row, or its result) or, where `v` is NULL, for the
 * table itself. ERR_NO_MEMORY when the arena is full. */
enum err dead_letter_add(struct epoch_work *w, struct view_run *v, const struct relation *rel,
                         uint32_t partition, int64_t offset, const char *reason,
                         struct str raw) MUST_CHECK;
/* The end of the epoch on this shard: adds the last letters of views that had too many. */
enum err dead_letters_end(struct epoch_work *w) MUST_CHECK;
/* Whether the epoch has so many that its other rows wait for the next one. */
bool dead_letters_full(const struct epoch_work *w);

/* What shard 0 has to write in an epoch: the lists of all shards, in the order they came in, a
 * piece at a time. */
struct letters_out {
    const struct dead_letter **lists;
    uint32_t n_lists, lists_max, at;
    const struct dead_letter *next; /* of lists[at - 1] */
    struct records piece;           /* in work; stays when the disk is full */
};
enum err letters_out_init(struct letters_out *lo, uint32_t n_shards) MUST_CHECK;
void letters_out_deinit(struct letters_out *lo);
/* A new epoch: all of the last one was written, and its letters are gone. */
void letters_out_begin(struct letters_out *lo);
/* Takes a shard's list, twice an epoch at most. It stays the sender's, as long as the epoch. */
void letters_out_add(struct letters_out *lo, const struct dead_letter *list);
/* Whether some are not written yet. */
bool letters_out_left(const struct letters_out *lo);
/* Fills `piece` where it is empty, with about `bytes` of text. */
void letters_out_fill(struct letters_out *lo, size_t bytes, uint64_t epoch, int64_t timestamp_ms);

#endif
