/* The file "meta" of a partition: the format's version and the checkpoint.
 *
 *     0  magic "TMLOG\0\0\0", version u32, CRC-32C u32 of these 12 bytes: written once, synced
 *   512  start offset i64, durable offset i64, CRC-32C u32 of these 16 bytes: after each sync
 *   544  clean offset i64, CRC-32C u32 of these 8 bytes: the same; nothing is lost without
 *
 * Little-endian; each part lies within a sector, so it is replaced as a whole. The checkpoint is a
 * lower bound: all offsets below it were synced when it was written. It is not synced itself (that
 * would double the cost of a commit), so after a power cut it may be old, never wrong. */
#ifndef TIDEMILL_LOG_META_H
#define TIDEMILL_LOG_META_H

#include "host/host.h"

enum { LOG_FORMAT_VERSION = 1, LOG_META_BYTES = 1024 };

struct log_checkpoint {
    int64_t start_offset;   /* segments that end at or before it are gone, even if a file is left */
    int64_t durable_offset; /* what is below was durable */
    int64_t clean_offset;   /* what is below was compacted; 0 = nothing is known of it */
    bool known;             /* by log_meta_read: it was there */
};

/* Reads the file. A missing, short or damaged part counts as "nothing known" (zeros): a power cut
 * may have come before it reached the disk. ERR_UNSUPPORTED when a newer version wrote it. */
enum err log_meta_read(struct host_file *f, struct log_checkpoint *out,
                       struct err_detail *why) MUST_CHECK;
/* Writes both parts. */
enum err log_meta_write_all(struct host_file *f, const struct log_checkpoint *c) MUST_CHECK;
/* Writes the checkpoint over the old one: one small write. */
enum err log_meta_write(struct host_file *f, const struct log_checkpoint *c) MUST_CHECK;

#endif
