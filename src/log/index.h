/* The index of a segment: about one entry per index_interval_bytes, for offsets, positions and
 * times alike, and the aborted transactions whose markers are in the segment. In memory for the
 * active segment; a file (a cache that can be rebuilt from the segment) for sealed ones.
 *
 *   entry:   at the batch that begins at `position`: its base offset, and the greatest timestamp
 *            of all batches before it
 *   aborted: producer id, the transaction's first offset, its marker's offset; by marker
 *
 *   file:    0 magic "TMIX", version u32        56 number of aborted transactions u32
 *            8 base offset i64                  60 CRC-32C of the aborted ones u32
 *           16 end offset i64                   64 least first offset of the aborted ones i64
 *           24 bytes of the segment u64         72 first offset of what is open at the end i64
 *           32 first timestamp i64              80 number of producers at the end u32
 *           40 greatest timestamp i64           84 zero u32, twice
 *           48 number of entries u32            92 CRC-32C of the first 92 bytes u32
 *           52 CRC-32C of the entries u32       96 entries of 16 bytes, aborted ones of 24;
 *                                                  all little-endian
 *
 * The file is written only after the segment is sealed and synced: a valid one proves that the
 * segment was durable up to its end. One thread at a time. */
#ifndef TIDEMILL_LOG_INDEX_H
#define TIDEMILL_LOG_INDEX_H

#include "host/host.h"
#include "log/log.h"

struct log_index_entry {
    uint32_t offset_delta; /* to the segment's base offset */
    uint32_t position;
    int64_t max_before; /* INT64_MIN at the first batch */
};

struct log_index {
    struct log_index_entry *entries;
    uint32_t n, cap;
    struct log_aborted *aborted;
    uint32_t n_aborted, cap_aborted;
};

/* What the file says about its segment. */
struct log_index_info {
    int64_t base_offset, end_offset;
    uint64_t bytes;
    int64_t first_timestamp, max_timestamp;
    uint32_t n_aborted, n_producers;
    int64_t aborted_first; /* least first offset of the aborted ones; INT64_MAX = none */
    int64_t open_first; /* where the first transaction begins that is open at the end; INT64_MAX */
};

/* Frees the entries; the index is empty and usable again. */
void log_index_deinit(struct log_index *x);
/* Makes room for `more` entries, so that the next adds cannot fail. ERR_NO_MEMORY. */
enum err log_index_reserve(struct log_index *x, uint32_t more) MUST_CHECK;
/* Adds an entry behind the others, if it is `interval` bytes after the last one. Room must have
 * been reserved. */
void log_index_add(struct log_index *x, const struct log_index_entry *e, uint32_t interval);
/* The same for aborted transactions. */
enum err log_index_reserve_aborted(struct log_index *x, uint32_t more) MUST_CHECK;
void log_index_add_aborted(struct log_index *x, const struct log_aborted *a);
/* Forgets the entries at and after `position`. */
void log_index_cut(struct log_index *x, uint64_t position);

/* The last entry with offset_delta <= delta; NULL when the index is empty. */
const struct log_index_entry *log_index_by_offset(const struct log_index *x, uint64_t delta);
/* The last entry with offset_delta <= delta and position <= position, or NULL. */
const struct log_index_entry *log_index_by_position(const struct log_index *x, uint64_t delta,
                                                    uint64_t position);
/* The last entry before which no batch has a timestamp >= ms, or NULL. */
const struct log_index_entry *log_index_by_time(const struct log_index *x, int64_t ms);

/* Writes the file (not synced). */
enum err log_index_write(struct host *h, const char *path, const struct log_index *x,
                         const struct log_index_info *info) MUST_CHECK;
/* Reads the header only. ERR_CORRUPT when the file is missing, damaged, or of another version or
 * segment; other errors are the host's. */
enum err log_index_read_info(struct host *h, const char *path, int64_t base_offset,
                             struct log_index_info *out) MUST_CHECK;
/* Loads the entries into an empty index; same errors and ERR_NO_MEMORY. `info` must be what the
 * file says. */
enum err log_index_load(struct host *h, const char *path, const struct log_index_info *info,
                        struct log_index *out) MUST_CHECK;

#endif
