/* A partition: an append-only run of Kafka record batches (v2) on disk, addressed by offset.
 *
 * Owned by one shard thread, which makes every call here except log_sync_run (helper thread) and
 * log_range_release (any). Nothing on the data path blocks on a disk flush; the calls that do say
 * so. Batches arrive validated (wire/kafka_batch.h); append patches base offset and leader epoch,
 * bytes the CRC does not cover. A reader only ever sees offsets below the high watermark, a reader
 * of committed records those below the stable offset: where the first transaction begins that is
 * open, or whose end is not durable yet.
 *
 *      log_start      high_watermark        durable (= synced)      end (= appended)
 *   ------|-----------------|--------------------|----------------------|
 *          readable          durable, not yet     written, not synced
 *                            committed by epoch
 *
 * Ordinary topics: high_watermark follows durable by itself. Topics written by epochs (changelogs,
 * late tables) are opened with `manual_watermark`: it begins at log_start and the engine raises it
 * when the epoch is committed.
 *
 * The format and the argument why nothing torn is ever served: docs/adr/0002-log-format.md. */
#ifndef TIDEMILL_LOG_LOG_H
#define TIDEMILL_LOG_LOG_H

#include "base/str.h"
#include "host/host.h"

#include <stdbool.h>
#include <stdint.h>

struct log_partition;
struct producers;
struct log_segment; /* one file; reference-counted, so that a read range outlives retention */

struct log_config {
    uint64_t segment_bytes;        /* a segment is rolled at this size; at most 1 GB counts */
    int64_t segment_ms;            /* ... or when its first batch is this old; -1 = never */
    int64_t retention_bytes;       /* per partition; -1 = unlimited */
    int64_t retention_ms;          /* by greatest timestamp of a segment; -1 = unlimited */
    uint32_t index_interval_bytes; /* bytes of log per index entry */
    uint32_t batch_bytes_max;      /* a larger batch is refused: ERR_TOO_LARGE */
    bool compact;                  /* see log_compact.h, and for the following: */
    int64_t delete_retention_ms;   /* how long tombstones and markers stay */
    int64_t min_compaction_lag_ms; /* younger records are not touched */
    int64_t max_compaction_lag_ms; /* older ones make a pass worth it by themselves, ... */
    double min_cleanable_dirty_ratio; /* ... else this share that is not compacted yet */
    bool manual_watermark;
};
extern const struct log_config log_config_default;

/* What recovery found; for logs, metrics and tests. */
struct log_recovery {
    uint64_t bytes_scanned;
    uint64_t torn_bytes; /* cut from the tail */
    uint32_t segments;
    bool quarantined;          /* damage before the tail: see log_open */
    int64_t quarantine_offset; /* first offset that can no longer be served */
};

/* Opens (creates) the partition in folder `dir` and recovers it; the folder above must exist. A
 * torn tail is cut; everything that is left is durable on return. On damage in the middle the
 * partition opens quarantined: reads below quarantine_offset work, everything else fails with
 * ERR_CORRUPT and a text that names file, position and offset. `recovery` may be NULL.
 * ERR_UNSUPPORTED when a newer version wrote it. Blocks (start-up or helper time). */
enum err log_open(struct host *h, const char *dir, const struct log_config *config,
                  struct log_partition **out, struct log_recovery *recovery,
                  struct err_detail *why) MUST_CHECK;
/* No sync may be running. Nothing is flushed: what was acknowledged is durable already. Ranges
 * stay readable until they are released. NULL is fine. */
void log_close(struct log_partition *p);
/* Removes the files of a deleted topic's partition, and its folder. The partition is closed by it,
 * also on an error (files may be left: log_remove_dir). No sync may be running. Read ranges held
 * stay readable. */
enum err log_delete(struct log_partition *p) MUST_CHECK;
/* Removes what is left of a partition that is not open: its files and its folder. Fine when there
 * is none. */
enum err log_remove_dir(struct host *h, const char *dir) MUST_CHECK;
/* Takes over new limits; manual_watermark stays what it was. */
void log_configure(struct log_partition *p, const struct log_config *config);

/* Positions in the order of the drawing above, and the bytes of all batches. */
int64_t log_start_offset(const struct log_partition *p);
/* The start that a restart would come back with: behind log_start_offset while what was dropped
 * last waits for its flush. */
int64_t log_kept_offset(const struct log_partition *p);
int64_t log_high_watermark(const struct log_partition *p);
int64_t log_durable_offset(const struct log_partition *p);
int64_t log_end_offset(const struct log_partition *p);
uint64_t log_size_bytes(const struct log_partition *p);
/* Whether damage was found: then log_end_offset is the first offset that cannot be served. */
bool log_quarantined(const struct log_partition *p);

/* Appends one or more complete, valid batches, which change what is known of their producers
 * (log_producers: the caller has checked their numbers); a control batch ends a transaction. Their
 * base offsets and leader epochs are patched in `batches` itself. With `log_append_ms` >= 0 batches
 * get that timestamp as LogAppendTime (CRC recomputed). `base_offset` receives the first record's
 * offset. On an error nothing is appended (a partial write is left behind in a file that gets no
 * more appends, and is never served). Bytes go to the page cache; they count as durable after a
 * sync. ERR_TOO_LARGE, ERR_BAD_RECORD_BATCH (not a run of whole batches), ERR_NO_SPACE, ERR_IO,
 * ERR_CORRUPT (quarantined), ERR_NO_MEMORY, ERR_LIMIT (too many open transactions). */
enum err log_append(struct log_partition *p, char *batches, size_t n, int64_t log_append_ms,
                    int64_t *base_offset, struct err_detail *why) MUST_CHECK;

/* Group fsync. log_sync_begin captures what has to be flushed (false: nothing to do, or one is
 * running); log_sync_run flushes it on a helper thread; log_sync_end, on the owner again, raises
 * durable (and the high watermark) and returns run's result. A failed sync is fatal for the
 * process. The helper also writes the indexes of full segments and removes the files of dropped
 * ones, so sync is due after log_retain too. */
enum { LOG_SYNC_SEGMENTS_MAX = 8 };
struct log_sync {
    struct log_segment *segments[LOG_SYNC_SEGMENTS_MAX];
    bool sealed[LOG_SYNC_SEGMENTS_MAX]; /* as they were at begin */
    bool kept[LOG_SYNC_SEGMENTS_MAX];   /* by the helper: what comes after needs them no more */
    uint32_t n_segments;
    bool sync_dir, sync_parent, sync_meta;
    bool start_moved; /* by log_trim: the checkpoint has to be flushed */
    bool start_kept; /* start_offset is on the disk */
    const char *dir; /* borrowed from the partition */
    struct host_file *meta;
    struct log_segment *retired;
    int64_t start_offset, clean_offset;
    int64_t flushed_offset; /* what comes before it has been flushed; see log_durable_assume */
    int64_t target_offset;  /* what comes before it will be durable */
    uint64_t target_at;     /* ... and the same as a position in the last segment */
    enum err result;
};
/* Owner. */
bool log_sync_begin(struct log_partition *p, struct log_sync *sync);
/* Helper thread; blocks. Touches nothing of the partition that the owner changes. */
void log_sync_run(struct host *h, struct log_sync *sync);
/* Owner; exactly once after each log_sync_begin that returned true. */
enum err log_sync_end(struct log_partition *p, const struct log_sync *sync) MUST_CHECK;
/* For fsync = os: everything that was appended counts as durable now, because the operating system
 * has it. Waits for no sync that is running; those that begin afterwards flush full segments only.
 * Returns whether durable rose. */
bool log_durable_assume(struct log_partition *p);

/* manual_watermark only: never lowers it, never past durable. */
void log_raise_watermark(struct log_partition *p, int64_t offset);
/* Cuts everything at and after `offset` (uncommitted outputs of an epoch that did not happen),
 * which must be where a batch begins (ERR_INVALID_ARGUMENT); they have no producers. No range is
 * held and no sync is running. Lowers the high watermark if it has to. Blocks on flushes, so that
 * what was cut never comes back. When it fails halfway the partition is quarantined at `offset`. */
enum err log_truncate(struct log_partition *p, int64_t offset, struct err_detail *why) MUST_CHECK;

/* A range of whole batches in one file, immutable. Holds a reference: log_range_release from any
 * thread. */
struct log_range {
    struct log_segment *segment;
    struct host_file *file;
    uint64_t at;
    size_t len;           /* bytes; 0 = nothing below the limit */
    int64_t first_offset; /* base offset of the first batch; may be below the offset asked for, and
                             above it where compaction has left nothing */
    int64_t next_offset;  /* where to read on */
};
/* Whole batches from the one that contains `offset`, at most bytes_max but at least one batch,
 * ending at or below `limit_offset` (callers pass the high watermark; epochs pass durable).
 * ERR_OFFSET_OUT_OF_RANGE outside [start, limit]. ERR_CORRUPT when a header is damaged, or for an
 * offset behind damage. Reads no more than headers, and none where they are known: a tail reader
 * costs a microsecond. */
enum err log_read(struct log_partition *p, int64_t offset, int64_t limit_offset, size_t bytes_max,
                  struct log_range *out, struct err_detail *why) MUST_CHECK;
/* Any thread; once per range. A range of len 0 is fine. */
void log_range_release(struct log_range *r);

/* ---- producers and transactions ---- */

/* What is known of the partition's producers; borrowed, changed by log_append alone. */
const struct producers *log_producers(const struct log_partition *p);
/* Forgets producers that were silent for long. */
void log_producers_expire(struct log_partition *p, int64_t now_ms);
/* The high watermark, or where the first transaction begins whose end is not below it. */
int64_t log_stable_offset(struct log_partition *p);

/* Records of the producer from first_offset to the marker are no records. */
struct log_aborted {
    int64_t producer_id, first_offset, marker_offset;
};
/* A range that is one batch overlaps fewer (a producer has one open transaction at a time). */
enum { LOG_ABORTED_MAX = 1 << 14 };
/* The aborted transactions that have offsets in [from, to), by marker; `to` is at most the stable
 * offset. ERR_LIMIT when they are more than `max`: ask for less. Reads the index of a cold segment.
 */
enum err log_aborted(struct log_partition *p, int64_t from, int64_t to, struct log_aborted *out,
                     uint32_t max, uint32_t *n, struct err_detail *why) MUST_CHECK;
/* Orders them for log_aborted_has. */
void log_aborted_sort(struct log_aborted *list, uint32_t n);
/* Whether a transactional batch of the producer at `offset` was aborted. */
bool log_aborted_has(const struct log_aborted *list, uint32_t n, int64_t producer_id,
                     int64_t offset);

/* First offset below the high watermark whose record timestamp is >= `timestamp_ms` (batch
 * granularity by index, then exact inside the batch, compressed ones included), with that
 * timestamp; offset -1 when there is none. Reads the file. */
enum err log_offset_for_time(struct log_partition *p, int64_t timestamp_ms, int64_t *offset,
                             int64_t *found_ms) MUST_CHECK;
/* The first offset with the greatest timestamp below the high watermark, and that timestamp; both
 * -1 when there is none. Reads the file. */
enum err log_offset_for_max_time(struct log_partition *p, int64_t *offset,
                                 int64_t *found_ms) MUST_CHECK;

/* Drops whole old segments by size or age; only durable ones, never the active one, never at or
 * above `keep_from`. An active segment past segment_ms is closed to appends. Returns the number
 * dropped. Files are removed by the next sync; ranges held stay readable. */
uint32_t log_retain(struct log_partition *p, int64_t now_ms, int64_t keep_from);
/* Drops whole segments below `offset`, with the same limits. */
uint32_t log_drop_before(struct log_partition *p, int64_t offset);
/* Moves the log's start to `offset`, in the middle of a segment or even of a batch (Kafka's
 * DeleteRecords): what is before it is not read any more, from now on and, when a sync has raised
 * log_kept_offset, for good. Whole segments below are dropped. Fine when the start is there or
 * behind it. ERR_OFFSET_OUT_OF_RANGE above the high watermark, ERR_BUSY above the stable offset
 * (transactions are open), ERR_CORRUPT. */
enum err log_trim(struct log_partition *p, int64_t offset, struct err_detail *why) MUST_CHECK;

#endif
