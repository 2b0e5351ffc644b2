/* A segment: one file of record batches, one after the other, from its base offset on. Behind them
 * lie zeros that were written ahead (or the file ends).
 *
 *   <20 digits of base offset>.log      batch batch batch ... batch 0 0 0 0
 *                                                         ^bytes   ^file_bytes
 *
 * The partition's owner makes all calls except log_segment_release (any thread). While a segment is
 * referenced its bytes stay readable, even when its file's name is gone. */
#ifndef TIDEMILL_LOG_SEGMENT_H
#define TIDEMILL_LOG_SEGMENT_H

#include "log/index.h"
#include "wire/kafka_batch.h"

#include <stdatomic.h>

/* Positions are 32 bits in the index; one append may pass segment_bytes, not this. */
#define LOG_SEGMENT_BYTES_MAX ((uint64_t)2 << 30)

struct log_segment {
    atomic_uint refs;
    struct host *host;
    struct host_file *file; /* NULL while cold (sealed segments only) */
    int64_t base_offset;
    int64_t end_offset;      /* of the next batch */
    uint64_t bytes;          /* of valid batches */
    uint64_t file_bytes;     /* with the zeros behind; active segment only */
    uint64_t flushed_bytes;  /* what comes before was flushed since the start */
    uint64_t checked_bytes;  /* headers up to here were seen to be right since the start */
    int64_t first_timestamp; /* greatest of the first batch; -1 = none */
    int64_t max_timestamp;
    bool sealed;   /* takes no more appends */
    bool finished; /* sealed, synced and its index written: nothing left to do */
    bool pinned;   /* by compaction: the file has no name of its own yet, so it stays open */
    uint32_t n_aborted;    /* transactions whose markers are here, */
    int64_t aborted_first; /* where the first of them begins (INT64_MAX = none), */
    int64_t open_first;    /* and the first that is open at the end of a sealed segment */
    struct log_index index;
    uint32_t n_producers; /* known at the end of a sealed segment, */
    struct buf state;     /* and the producers themselves, until they are written */
    uint64_t used_at; /* the partition's use clock */
    struct log_segment *next_retired;
};

/* An empty segment with one reference and no file. NULL when out of memory. */
struct log_segment *log_segment_new(struct host *h, int64_t base_offset);
/* One more reference. Owner only. */
void log_segment_hold(struct log_segment *s);
/* Drops a reference; the last one closes the file and frees the segment. Any thread. */
void log_segment_release(struct log_segment *s);
/* Whether anybody but the partition holds it. */
bool log_segment_shared(const struct log_segment *s);

/* Writes "dir/00000000000000000042SUFFIX" into `out` (HOST_PATH_MAX bytes). ERR_LIMIT when it is
 * too long. */
enum err log_segment_path(const char *dir, int64_t base_offset, const char *suffix,
                          char *out) MUST_CHECK;
/* Opens the file if it is closed. */
enum err log_segment_open(struct log_segment *s, const char *dir,
                          struct err_detail *why) MUST_CHECK;
/* Creates the file of a new segment; one of that name is emptied. */
enum err log_segment_create(struct log_segment *s, const char *dir,
                            struct err_detail *why) MUST_CHECK;
/* Closes the file and forgets the index. Nobody else holds it. */
void log_segment_cool(struct log_segment *s);
/* What the index file says about it. */
struct log_index_info log_segment_info(const struct log_segment *s);
/* Counts a batch that was added at the end, and indexes it; room in the index was reserved. */
void log_segment_add(struct log_segment *s, const struct kafka_batch *b, uint32_t index_interval);

/* ---- reading headers in order ---- */

/* A buffered reader over a file's bytes; the buffer is the caller's. */
struct log_scan {
    struct host_file *file;
    uint64_t size; /* bytes of the file that count */
    char *buffer;
    size_t buffer_bytes;
    uint64_t at; /* of the buffer's content */
    size_t len;
    uint64_t bytes_read;
};

/* `n` (at most buffer_bytes) bytes at `at`, borrowed until the next call; fewer at the end of the
 * file, or when `n` is more than the buffer. `least` bytes are enough when more would take a
 * read. */
enum err log_scan_get(struct log_scan *c, uint64_t at, size_t least, struct str *out) MUST_CHECK;
/* The header of the batch at `at`, which must continue at `offset`: whole, magic 2, the expected
 * base offset and leader epoch, within the file. ERR_CORRUPT with what is wrong; I/O errors. */
enum err log_scan_header(struct log_scan *c, uint64_t at, int64_t offset, struct kafka_batch *out,
                         struct err_detail *why) MUST_CHECK;
/* Whether the batch's bytes have the CRC that its header says. Reads all of them. */
enum err log_scan_crc(struct log_scan *c, uint64_t at, const struct kafka_batch *b,
                      bool *right) MUST_CHECK;

#endif
