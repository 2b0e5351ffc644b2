/* Compaction (cleanup.policy = compact): of each key the newest record stays.
 *
 * A pass reads the keys of what was not compacted yet, as many as fit in LOG_COMPACT_KEYS_MAX, and
 * writes the full segments from the log's start to there again, in groups that fit in one segment,
 * without records that have a newer one. Offsets stay: what is gone leaves empty batches behind.
 *
 *   owner    log_compact_begin: which segments
 *   helper   log_compact_run: one step ----.   keys, then for each group: write and flush, names
 *   owner    log_compact_step <------------'   takes a written group over; true = run again
 *   owner    log_compact_end
 *
 * Never touched: the active segment, what is not below `below`, what is younger than
 * min_compaction_lag_ms, and what belongs to an open transaction. Records of aborted transactions
 * go. Tombstones and transactions' markers go when the delete horizon has passed that the first
 * pass over them has set (KIP-534). Records without a key stay. The last batch of each producer
 * stays as an empty one, so that its sequence numbers are known.
 *
 * Ranges that readers hold stay readable. Why no crash can lose a record:
 * docs/adr/0013-compaction.md. */
#ifndef TIDEMILL_LOG_LOG_COMPACT_H
#define TIDEMILL_LOG_LOG_COMPACT_H

#include "log/log.h"

struct log_compaction;

enum {
    LOG_COMPACT_KEYS_MAX = 768 << 10,      /* of one pass: 24 MB, 36 MB while it grows */
    LOG_COMPACT_PRODUCERS_MAX = 100000,    /* whose last batches are known */
    LOG_COMPACT_TRANSACTIONS_MAX = 100000, /* open, aborted, and left-over markers, each */
};

/* What a pass has done. */
struct log_compacted {
    uint64_t bytes_before, bytes_after; /* of the segments that were written again */
    uint32_t segments_before, segments_after;
    int64_t records_removed;
};

/* Owner. Begins a pass if there is enough to do: *out is NULL when there is not (also while one is
 * running). `below`: nothing at or behind it is touched, the high watermark aside. ERR_NO_MEMORY.
 */
enum err log_compact_begin(struct log_partition *p, int64_t now_ms, int64_t below,
                           struct log_compaction **out) MUST_CHECK;
/* Helper thread; blocks. Touches nothing that the owner changes. */
void log_compact_run(struct log_compaction *c);
/* Any thread: lets log_compact_run return soon. The pass ends with ERR_CANCELED. */
void log_compact_cancel(struct log_compaction *c);
/* Owner, after each run: takes over what it has written. True: run again; false: end it. */
bool log_compact_step(struct log_partition *p, struct log_compaction *c);
/* Owner; frees the pass. Its result: ERR_CANCELED, ERR_CORRUPT (damage was met: the pass ends
 * there), ERR_NO_SPACE, ERR_IO, ERR_NO_MEMORY; what was taken over before stays. `done` may be
 * NULL. */
enum err log_compact_end(struct log_partition *p, struct log_compaction *c,
                         struct log_compacted *done, struct err_detail *why) MUST_CHECK;
/* Frees a pass whose partition is closed. No run is under way. */
void log_compact_free(struct log_compaction *c);

#endif
