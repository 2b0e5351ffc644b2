/* A view's rows as they were after one epoch, read in pieces while later epochs go on.
 *
 *   groups in the order they came:   [ read | ahead of the scan      | newer ]
 *                                             ^ number                 ^ end
 *
 * An epoch that changes a group ahead of the scan for the first time hands its cells over as they
 * were (view_scans_keep); newer groups are behind the end. Of a view that shows closed windows only
 * nothing is kept: these do not change, and which had closed follows from the watermark. A group
 * may be freed that every scan of its view skips: its window was expired when they began
 * (view_scans_watermark). Private to engine/. */
#ifndef TIDEMILL_ENGINE_VIEW_SCAN_H
#define TIDEMILL_ENGINE_VIEW_SCAN_H

#include "engine/view_run.h"

/* One state partition as the scan began. */
struct scan_part {
    uint64_t end; /* groups from this number on are newer */
    int64_t watermark_us;
};

/* Fields are private but `epoch`. Zero-initialised = ended. */
struct view_scan {
    struct list link; /* view_run.scans */
    struct view_run *view;
    uint64_t epoch;
    int64_t now_us;
    uint32_t part;
    struct group_table_cursor at;
    uint64_t number; /* groups below have been read */
    struct scan_part *parts;
    struct map kept; /* its address -> cells */
    struct arena cells;
    _Atomic uint64_t *n_kept; /* statistics */
    enum err err;
};

/* Begins between two epochs, `epoch` being the last that has ended; what it has to keep is at most
 * `bytes_max`. ERR_NO_MEMORY. */
enum err view_scan_begin(struct view_scan *sc, struct shard *s, struct view_run *v, uint64_t epoch,
                         int64_t now_us, size_t bytes_max) MUST_CHECK;
/* Looks at up to BATCH_ROWS_MAX groups and gives the rows they are (*out, in `a`; NULL: none).
 * False in *more at the end. ERR_LIMIT when epochs have changed more than could be kept,
 * ERR_UNDEFINED_TABLE when the view was dropped, or has failed, meanwhile. */
enum err view_scan_next(struct view_scan *sc, struct arena *a, const struct batch **out,
                        uint32_t *n_groups, bool *more) MUST_CHECK;
/* Frees what it keeps; once, or on one that never began. */
void view_scan_end(struct view_scan *sc);

/* Before a group changes in an epoch. A scan that cannot keep it fails, not the epoch. */
void view_scans_keep(struct view_run *v, const struct state_partition *sp, const struct group *g);
/* The least watermark of a state partition that a scan of the view began at, or `watermark_us`. */
int64_t view_scans_watermark(const struct view_run *v, uint32_t state_partition,
                             int64_t watermark_us);
/* The view's state is going to be freed: its scans end with an error. */
void view_scans_stop(struct view_run *v);

#endif
