/* Where epochs ended in a partition that they write: the last few, so that several partitions can
 * be read as of one epoch. Private to engine/; on the partition's thread.
 *
 *   base            marks, ascending                               epoch asked for
 *   7 -> 120        9 -> 131   10 -> 140   14 -> 171               12: 140   7: 120   6: forgotten
 *
 * A mark is made when the epoch's outputs are written, so it is there before anybody can know that
 * the epoch is committed. */
#ifndef TIDEMILL_ENGINE_EPOCH_MARKS_H
#define TIDEMILL_ENGINE_EPOCH_MARKS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { EPOCH_MARKS_MAX = 256 };

struct epoch_mark {
    uint64_t epoch;
    int64_t end; /* offset behind the epoch's last record */
};

/* Caller-owned, zero-initialised: nothing was written, by any epoch. */
struct epoch_marks {
    struct epoch_mark base;  /* the last one that is not in the ring */
    struct epoch_mark *ring; /* EPOCH_MARKS_MAX, made with the first mark */
    uint32_t first, n;
};
void epoch_marks_deinit(struct epoch_marks *m);
/* Forgets all: the partition ended at `end` in all epochs from `epoch` on. */
void epoch_marks_restart(struct epoch_marks *m, uint64_t epoch, int64_t end);
/* The epoch, not before the last one marked, ended at `end`; the oldest mark goes when there is no
 * room. */
enum err epoch_marks_add(struct epoch_marks *m, uint64_t epoch, int64_t end) MUST_CHECK;
/* Takes back the marks of `epoch` and all after it. */
void epoch_marks_cut(struct epoch_marks *m, uint64_t epoch);
/* Where the partition ended as of `epoch`; false when that is forgotten. */
bool epoch_marks_end(const struct epoch_marks *m, uint64_t epoch, int64_t *end);
/* The last epoch marked. */
uint64_t epoch_marks_last(const struct epoch_marks *m);

#endif
