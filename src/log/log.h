/* A partition: an append-only run of Kafka record batches (v2) on disk, addressed by offset.
 *
 * Owned by one shard thread, which makes every call here except log_sync_run (helper thread). Nothing here blocks
 * on a disk flush. Batches arrive validated (wire/kafka_batch.h); append patches base offset and leader epoch,
 * bytes the CRC does not cover. A reader only ever sees offsets below the high watermark.
 *
 *      log_start      high_watermark        durable (= synced)      end (= appended)
 *   ------|-----------------|--------------------|----------------------|
 *          readable          durable, not yet     written, not synced
 *                            committed by epoch
 *
 * Ordinary topics: high_watermark follows durable by itself. Topics written by epochs (changelogs, late tables)
 * are opened with `manual_watermark`: the engine raises it when the epoch is committed. */
#ifndef TIDEMILL_LOG_LOG_H
#define TIDEMILL_LOG_LOG_H

#include "base/str.h"
#include "host/host.h"

#include <stdbool.h>
#include <stdint.h>

struct log_partition;
struct log_segment;   /* one file; reference-counted, so that a read range outlives retention */

struct log_config {
    uint64_t segment_bytes;      /* a segment is rolled at this size (preallocated) */
    int64_t segment_ms;          /* ... or when its first record is this old; -1 = never */
    int64_t retention_bytes;     /* per partition; -1 = unlimited */
    int64_t retention_ms;        /* by greatest record timestamp of a segment; -1 = unlimited */
    uint32_t index_interval_bytes;
    uint32_t batch_bytes_max;    /* a larger batch is refused: ERR_TOO_LARGE */
    bool manual_watermark;
};
extern const struct log_config log_config_default;

/* What recovery found; for logs, metrics and tests. */
struct log_recovery {
    uint64_t bytes_scanned;
    uint64_t torn_bytes;         /* cut from the tail */
    uint32_t segments;
    bool quarantined;            /* damage before the tail: partition refuses reads and appends past it */
    int64_t quarantine_offset;   /* first offset that can no longer be served */
};

/* Opens (creates) the partition in folder `dir` and recovers it. On damage in the middle the partition opens
 * quarantined: reads below quarantine_offset work, everything else fails with ERR_CORRUPT and a text that names
 * file, position and offset. Blocks (start-up or helper time). */
enum err log_open(struct host *h, const char *dir, const struct log_config *config, struct log_partition **out,
                  struct log_recovery *recovery, struct err_detail *why) MUST_CHECK;
/* No sync may be running. Nothing is flushed: what was acknowledged is durable already. */
void log_close(struct log_partition *p);
/* Removes the files of a deleted topic's partition. The partition is closed by it. Read ranges held stay readable. */
enum err log_delete(struct log_partition *p) MUST_CHECK;
void log_configure(struct log_partition *p, const struct log_config *config);

int64_t log_start_offset(const struct log_partition *p);
int64_t log_high_watermark(const struct log_partition *p);
int64_t log_durable_offset(const struct log_partition *p);
int64_t log_end_offset(const struct log_partition *p);
uint64_t log_size_bytes(const struct log_partition *p);

/* Appends one or more complete, valid batches. Their base offsets and leader epochs are patched in `batches` itself.
 * With `log_append_ms` >= 0 batches get that timestamp as LogAppendTime (CRC recomputed).
 * `base_offset` receives the first record's offset. On an error nothing is appended (a partial write is cut or
 * overwritten). Bytes go to the page cache; they count as durable after a sync. */
enum err log_append(struct log_partition *p, char *batches, size_t n, int64_t log_append_ms, int64_t *base_offset,
                    struct err_detail *why) MUST_CHECK;

/* Group fsync. log_sync_begin captures what has to be flushed (false: nothing to do, or one is running); log_sync_run
 * flushes it on a helper thread; log_sync_end, on the owner again, raises durable (and the high watermark) and
 * returns run's result. A failed sync is fatal for the process. */
struct log_sync {
    struct host_file *files[8];
    uint32_t n_files;
    bool sync_dir;
    const char *dir;             /* borrowed from the partition */
    int64_t target_offset;
    enum err result;
};
bool log_sync_begin(struct log_partition *p, struct log_sync *sync);
void log_sync_run(struct host *h, struct log_sync *sync);
enum err log_sync_end(struct log_partition *p, const struct log_sync *sync) MUST_CHECK;

/* manual_watermark only: never lowers it, never past durable. */
void log_raise_watermark(struct log_partition *p, int64_t offset);
/* Cuts everything at and after `offset` (uncommitted outputs of an epoch that did not happen). */
enum err log_truncate(struct log_partition *p, int64_t offset, struct err_detail *why) MUST_CHECK;

/* A range of whole batches in one file, immutable. Holds a reference: log_range_release from any thread. */
struct log_range {
    struct log_segment *segment;
    struct host_file *file;
    uint64_t at;
    size_t len;              /* bytes; 0 = nothing below the limit */
    int64_t first_offset;    /* base offset of the first batch (may be below the offset asked for) */
    int64_t next_offset;     /* where to read on */
};
/* Whole batches from the one that contains `offset`, at most bytes_max but at least one batch, ending at or below
 * `limit_offset` (callers pass the high watermark; epochs pass durable). ERR_OFFSET_OUT_OF_RANGE outside [start, limit]. */
enum err log_read(struct log_partition *p, int64_t offset, int64_t limit_offset, size_t bytes_max, struct log_range *out,
                  struct err_detail *why) MUST_CHECK;
void log_range_release(struct log_range *r);

/* First offset whose record timestamp is >= `timestamp_ms` (batch granularity by index, then exact inside the batch,
 * compressed ones included), with that timestamp; offset -1 when there is none. Reads the file. */
enum err log_offset_for_time(struct log_partition *p, int64_t timestamp_ms, int64_t *offset, int64_t *found_ms) MUST_CHECK;

/* Drops whole old segments by size, age, or start offset (DeleteRecords); never the active one, never at or above
 * `keep_from`. Returns the number dropped. Files are removed when their last range is released. */
uint32_t log_retain(struct log_partition *p, int64_t now_ms, int64_t keep_from);

#endif
