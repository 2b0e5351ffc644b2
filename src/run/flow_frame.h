/* Frames: which rows of a partition in order a row of OVER looks at. Pure. */
#ifndef TIDEMILL_RUN_FLOW_FRAME_H
#define TIDEMILL_RUN_FLOW_FRAME_H

#include "plan/plan.h"
#include "type/column.h"

/* The rows of a partition in order, each as often as it is there. */
struct frame_rows {
    uint32_t n;
    /* Peers are a group: of each row; of each group the first row, and n behind the last. */
    const uint32_t *group, *start;
    uint32_t n_groups;
    /* The only sort column and what it says, for RANGE with offsets; or NULL. */
    const struct column *sort;
    const struct sort_key *key;
};
struct frame_range {
    uint32_t from, to; /* [from, to) */
};

/* The frame of row `row` without EXCLUDE; from <= to. ERR_DATETIME_RANGE when an offset leads out
 * of time. Cost: log of the partition for RANGE with offsets. */
enum err frame_find(const struct frame *f, const struct frame_rows *rows, uint32_t row,
                    struct frame_range *out, struct err_detail *why) MUST_CHECK;
/* What EXCLUDE takes out of it: 0 to 2 ranges, ascending, not empty, inside of `in`. */
uint32_t frame_excluded(const struct frame *f, const struct frame_rows *rows, uint32_t row,
                        struct frame_range in, struct frame_range out[2]);

#endif
