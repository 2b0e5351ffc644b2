/* Private to log/: the partition and what its files share. */
#ifndef TIDEMILL_LOG_LOG_INT_H
#define TIDEMILL_LOG_LOG_INT_H

#include "log/log.h"
#include "log/meta.h"
#include "log/producers.h"
#include "log/segment.h"
#include "wire/kafka_batch.h"

enum {
    LOG_LEADER_EPOCH = 0,       /* of every batch: one server, one leadership */
    LOG_SEGMENTS_MAX = 1 << 17, /* of a partition */
    LOG_WARM_SEGMENTS_MAX = 8,  /* sealed ones with an open file and a loaded index */
    LOG_MARKS_MAX = 16,         /* remembered positions: about one per tail reader */
    LOG_SCAN_BYTES = 4096,      /* one read of headers on the read path */
    LOG_RECOVERY_READ_BYTES = 256 << 10,
    LOG_RECOVERY_CRC_BYTES = 16 << 20,     /* the tail whose CRCs are checked at every open */
    LOG_RECOVERY_SEARCH_BYTES = 256 << 20, /* CRC work spent on finding a batch behind damage */
    LOG_SECTOR_BYTES = 512,                /* what a power cut keeps or loses as a whole */
    LOG_FILL_BYTES_MIN = 16 << 10,         /* zeros written ahead of the end */
    LOG_FILL_BYTES_MAX = 256 << 10,
    LOG_SYNC_PIECE_BYTES = 1 << 20, /* written at a time before the flush of a full segment */
    LOG_QUARANTINE_TEXT_MAX = 320,
    LOG_CONTROL_BYTES_MAX = 4096,                                 /* of a control batch */
    LOG_STATE_BYTES_MAX = PRODUCERS_MAX * PRODUCER_BYTES_MAX + 4, /* encoded producers */
};

#define LOG_STATE_SUFFIX ".producers"

/* Offset `offset` begins at byte `at` of the segment. */
struct log_mark {
    struct log_segment *segment; /* NULL = unused */
    int64_t offset;
    uint64_t at;
};

struct log_partition {
    struct host *host;
    struct log_config config;
    char *dir;

    struct log_segment **segments; /* oldest first; the last one takes appends */
    uint32_t n_segments, cap_segments;
    int64_t start_offset, end_offset;
    int64_t kept_offset; /* start_offset as of the last flushed checkpoint that was about it */
    int64_t durable_offset, high_watermark;
    int64_t flushed_offset; /* for the checkpoint; durable_offset unless fsync = os */
    uint64_t size_bytes;
    int64_t clean_offset;   /* what is below was compacted */
    bool start_moved;       /* by log_trim, and not captured by a sync yet */
    bool start_unkept;      /* ... and a sync could not write it: goes with the next one */
    bool compacting;        /* a pass is under way */
    bool compaction_failed; /* names could not be changed: no more passes until the next start */

    bool must_roll; /* the next append begins a new segment */
    bool torn;      /* the active file holds a part of a refused append behind its end */
    bool quarantined;
    char quarantine_text[LOG_QUARANTINE_TEXT_MAX];

    bool sync_running;
    bool sync_dir;               /* names changed since the last flush */
    bool sync_parent;            /* the partition's folder itself is new */
    bool sync_meta;              /* the meta file's header is new */
    uint64_t appended_bytes;     /* since the last log_sync_begin */
    uint64_t group_bytes;        /* of the flush before: how much one flush covers */
    struct host_file *meta;      /* NULL until there is a segment */
    struct log_segment *retired; /* dropped, files still there; linked by next_retired */

    struct producers producers;

    struct log_mark durable_mark;
    struct log_mark marks[LOG_MARKS_MAX];
    uint32_t next_mark;
    uint64_t use_clock; /* for choosing the coldest segment */
};

/* ---- log.c ---- */

/* Adds a segment at the end of the list. ERR_LIMIT, ERR_NO_MEMORY. */
enum err log_segments_push(struct log_partition *p, struct log_segment *s) MUST_CHECK;
/* The segment that takes appends; NULL when there is none. */
struct log_segment *log_active(const struct log_partition *p);
/* Forgets the remembered positions inside a segment. */
void log_marks_forget(struct log_partition *p, const struct log_segment *s);
/* Opens, or creates, the meta file of a partition that has segments. */
enum err log_meta_ensure(struct log_partition *p, struct err_detail *why) MUST_CHECK;
/* Marks everything at and after `offset` as lost to damage; the text says why. */
void log_quarantine(struct log_partition *p, int64_t offset, const char *text);
/* The error of everything that damage has made impossible. */
enum err log_quarantine_err(const struct log_partition *p, struct err_detail *why);
/* Removes a segment's files, the index first; missing ones are fine. Any thread. */
enum err log_segment_remove_files(struct host *h, const char *dir, int64_t base_offset) MUST_CHECK;
/* Removes one file; fine when it is missing. */
enum err log_file_remove(struct host *h, const char *path) MUST_CHECK;
/* Makes the names in the folder above `dir` durable. */
enum err log_parent_sync(struct host *h, const char *dir) MUST_CHECK;

/* ---- log_recovery.c ---- */

/* Fills a new partition from what is in its folder. On an error the partition is closed by the
 * caller. */
enum err log_recover(struct log_partition *p, struct log_recovery *out,
                     struct err_detail *why) MUST_CHECK;

/* ---- log_state.c ---- */

/* Makes sure that taking in the batch cannot fail. `x` takes aborted transactions; NULL: nobody
 * asks for them. ERR_NO_MEMORY, ERR_LIMIT. */
enum err log_state_reserve(struct producers *state, struct log_index *x,
                           const struct kafka_batch *b) MUST_CHECK;
/* Takes in a batch behind the others. `s` is its segment, or NULL; `bytes` those of a control
 * batch. ERR_BAD_RECORD_BATCH for a control batch that is none. */
enum err log_state_apply(struct producers *state, struct log_segment *s,
                         const struct kafka_batch *b, struct str bytes, int64_t now_ms) MUST_CHECK;
/* Both, for the batch at `at` of a scan; ERR_CORRUPT instead. */
enum err log_state_scan(struct producers *state, struct log_segment *s, struct log_scan *c,
                        uint64_t at, const struct kafka_batch *b, int64_t now_ms) MUST_CHECK;
/* The state where segment `number` begins, from files and, where they are missing, batches. */
enum err log_state_before(struct log_partition *p, uint32_t number,
                          struct producers *state) MUST_CHECK;
/* Notes the state at the segment's end, for log_state_keep. ERR_NO_MEMORY. */
enum err log_state_seal(const struct producers *state, struct log_segment *s) MUST_CHECK;
/* Writes the state at `offset`, where a segment begins, to its file, and syncs it. Nothing to do
 * for an empty one. Helper. */
enum err log_state_keep(struct host *h, const char *dir, int64_t offset,
                        struct str state) MUST_CHECK;
/* Reads it back. ERR_CORRUPT when the file is missing or damaged. */
enum err log_state_load(struct host *h, const char *dir, int64_t offset,
                        struct buf *out) MUST_CHECK;

/* ---- log_read.c ---- */

/* Number of the segment that holds `offset`; start <= offset < end. */
uint32_t log_segment_find(const struct log_partition *p, int64_t offset);

/* Makes sure that the segment's file is open and its index loaded; may let go of another's. */
enum err log_warm(struct log_partition *p, struct log_segment *s,
                  struct err_detail *why) MUST_CHECK;
/* Finds the batch that contains `offset` (start <= offset < end): its segment's number, position
 * and base offset. */
enum err log_locate(struct log_partition *p, int64_t offset, uint32_t *segment, uint64_t *at,
                    int64_t *base_offset, struct err_detail *why) MUST_CHECK;

#endif
