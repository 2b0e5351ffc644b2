/* A snapshot's file: frames, each with a checksum, and a last one that says how many there were.
 *
 *   frame:  u32 crc of what follows | u32 kind | u64 length | payload
 *   file:   HEADER, others in any order, END {u64 frames before it, u32 crc over their crcs}
 *
 * A file without END, or with bytes behind it, is no snapshot. Numbers are little-endian; strings
 * and the bytes of rows follow their length. What the payloads of an engine's snapshot hold is in
 * engine/snapshots.h. */
#ifndef TIDEMILL_STATE_SNAPSHOT_FILE_H
#define TIDEMILL_STATE_SNAPSHOT_FILE_H

#include "base/str.h"
#include "host/host.h"

enum {
    SNAPSHOT_VERSION = 1, /* of frames and payloads; a newer one is not read */
    SNAPSHOT_FRAME_HEAD = 16,
};
#define SNAPSHOT_FRAME_BYTES_MAX ((size_t)1 << 30)

enum snapshot_frame {
    SNAPSHOT_HEADER = 1, /* u32 version, u64 epoch, i64 wall clock in us */
    SNAPSHOT_END = 2,
    SNAPSHOT_READER = 3,
    SNAPSHOT_VIEW = 4,
    SNAPSHOT_PARTITION = 5,
    SNAPSHOT_GROUPS = 6,
    SNAPSHOT_COMMITTED = 7,
};

/* Begins a frame at the end of `out`; its place is returned. What is appended then is its payload,
 * until snapshot_frame_end. Failures stay in out->failed. */
size_t snapshot_frame_begin(struct buf *out, enum snapshot_frame kind);
void snapshot_frame_end(struct buf *out, size_t at);

/* What END holds: add up the frames that are written. */
struct snapshot_sum {
    uint64_t frames;
    uint32_t crc;
};
/* Adds all frames in `bytes`, which are whole and were made as above. */
void snapshot_sum_add(struct snapshot_sum *s, struct str bytes);
/* Appends END. */
void snapshot_end_put(struct buf *out, const struct snapshot_sum *s);

/* Reads a file's frames one after the other. Zero-initialise. */
struct snapshot_reader {
    struct host_file *file;
    char path[HOST_PATH_MAX];
    uint64_t size, at;
    struct snapshot_sum sum;
    struct buf payload;
};
/* ERR_IO, ERR_NO_MEMORY. */
enum err snapshot_reader_open(struct snapshot_reader *r, struct host *h, const char *path,
                              struct err_detail *why) MUST_CHECK;
/* The next frame; its payload is valid until the next call. END is the last: it is given when the
 * file ends there and agrees with all frames before. ERR_CORRUPT with file and position. */
enum err snapshot_reader_next(struct snapshot_reader *r, enum snapshot_frame *kind,
                              struct str *payload, struct err_detail *why) MUST_CHECK;
void snapshot_reader_close(struct snapshot_reader *r);

/* Fixed-width numbers off the front of a payload; false when it is too short, and from then on. */
struct snapshot_cursor {
    struct str left;
    bool failed;
};
uint8_t snapshot_u8(struct snapshot_cursor *c);
uint32_t snapshot_u32(struct snapshot_cursor *c);
uint64_t snapshot_u64(struct snapshot_cursor *c);
int64_t snapshot_i64(struct snapshot_cursor *c);
/* The next `n` bytes; ptr is NULL when there are fewer. */
struct str snapshot_bytes(struct snapshot_cursor *c, size_t n);

static inline void snapshot_put_u32(struct buf *out, uint32_t v) { buf_put(out, &v, sizeof(v)); }
static inline void snapshot_put_u64(struct buf *out, uint64_t v) { buf_put(out, &v, sizeof(v)); }
static inline void snapshot_put_i64(struct buf *out, int64_t v) { buf_put(out, &v, sizeof(v)); }

#endif
