/* A view's groups as they were after one epoch, as bytes for a snapshot, while later epochs go on;
 * and back. Private to engine/.
 *
 *   groups in the order they came:   [ written | ahead of the capture | newer ]
 *                                              ^ number               ^ end
 *
 * An epoch that changes or frees a group ahead of the capture for the first time has it written as
 * it was (view_capture_keep); so each group is written once, in no particular order. What is in a
 * group's flags and in the lists of windows follows from the rest, and is made again.
 *
 *   row: u32 bytes behind this | u32 of them the key | i64 end of its window
 *        | u64 last epoch that touched it | key, tail | cells | what cells own (agg_store)
 *
 * A view whose plan is a chain has all its state in groups; others are not captured, nor are
 * publications, whose connectors are told of all rows again. */
#ifndef TIDEMILL_ENGINE_VIEW_CAPTURE_H
#define TIDEMILL_ENGINE_VIEW_CAPTURE_H

#include "engine/view_run.h"

/* Takes a row that is to be written. What fails stays in the owner, not in the epoch. */
typedef void (*capture_row_fn)(struct view_capture *vc, const struct state_partition *sp,
                               struct group *g);

/* Zero-initialised = none. Fields are private but `owner`. */
struct view_capture {
    void *owner;
    capture_row_fn keep;
    struct view_run *view; /* NULL: it has gone */
    uint64_t epoch;
    uint32_t part;
    uint64_t number; /* groups below have been written */
    uint64_t *ends;  /* by partition: groups from this number on are newer */
    struct group_table_cursor at;
};

/* Whether all state of the relation's view is in groups, so that it can be captured. */
bool view_can_capture(const struct relation *rel);
/* What the bytes of its groups mean; different when they would be read otherwise. */
uint64_t view_layout(const struct view_run *v);
/* Begins between two epochs, `epoch` being the last that has ended. ERR_NO_MEMORY. */
enum err view_capture_begin(struct view_capture *vc, struct view_run *v,
                            uint64_t epoch) MUST_CHECK;
/* The next group that is still as it was, of a partition that lives here, having looked at up to
 * *rows of them; NULL: none left, or (*rows is 0) not yet. */
struct group *view_capture_next(struct view_capture *vc, uint32_t *rows,
                                const struct state_partition **sp);
/* Once; or on one that never began. */
void view_capture_end(struct view_capture *vc);
/* Before a group changes, or is freed. */
void view_capture_keep(struct view_run *v, const struct state_partition *sp, struct group *g);
/* The view is going to be freed: whoever captures it finds no view. */
void view_capture_stop(struct view_run *v);

/* Appends a group's row. */
void view_group_store(const struct view_run *v, const struct state_partition *sp, struct group *g,
                      struct buf *out);
/* Adds the groups of some rows to a partition that lives here, whose watermark is set. ERR_CORRUPT,
 * ERR_NO_MEMORY, ERR_LIMIT. */
enum err view_groups_load(struct view_run *v, struct state_partition *sp,
                          struct str rows) MUST_CHECK;
/* When all are in: closes what had been closed. Then statistics count them. */
enum err view_groups_loaded(struct engine *e, struct view_run *v,
                            struct state_partition *sp) MUST_CHECK;

#endif
