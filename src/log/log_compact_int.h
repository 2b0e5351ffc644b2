/* Private to log/: a pass of compaction, what its files share.
 *
 *   log_compact.c         the owner's part: which segments, taking over, names at the start
 *   log_compact_pass.c    the helper's steps: writing groups, and their names
 *   log_compact_keys.c    the helper's first step: transactions, producers and keys */
#ifndef TIDEMILL_LOG_LOG_COMPACT_INT_H
#define TIDEMILL_LOG_LOG_COMPACT_INT_H

#include "log/key_map.h"
#include "log/log_compact.h"
#include "log/log_int.h"

#include <stdatomic.h>

enum {
    COMPACT_READ_BYTES = 1 << 20,
    COMPACT_WRITE_BYTES = 1 << 20,
};

/* A segment as it was at the beginning: its file does not change. */
struct compact_input {
    int64_t base_offset, end_offset;
    uint64_t bytes;
};

/* A growing array of transactions; at most LOG_COMPACT_TRANSACTIONS_MAX. */
struct compact_list {
    struct log_aborted *items;
    uint32_t n, cap;
};

/* Whole batches of one segment, in order. */
struct compact_reader {
    struct host_file *file;
    struct log_scan scan;
    struct buf large; /* a batch that the scan's buffer cannot hold */
    int64_t offset;
    uint64_t at;
};

/* A group being written. */
struct compact_writer {
    struct host_file *file;
    struct log_segment *segment;
    struct buf out;
    uint64_t written;
    uint32_t interval;
    int64_t empty_from, empty_to; /* offsets without records, not written yet; equal = none */
};

struct log_compaction {
    struct host *host;
    char *dir;
    struct log_config config;
    int64_t now_ms;
    int64_t clean_offset; /* compacted before */
    int64_t end_offset;   /* nothing at or behind is touched: keys of that are not known */
    int64_t limit_offset; /* transactions are followed up to here */
    struct compact_input *inputs;
    uint32_t n_inputs, n_all; /* to be compacted; with those behind, for transactions' ends */
    atomic_bool canceled;

    enum { COMPACT_KEYS, COMPACT_WRITE, COMPACT_NAMES, COMPACT_DONE } phase;
    uint32_t group_at, group_n; /* inputs of the group that is being written */
    struct log_segment *output; /* written and flushed; its file is open. NULL: nothing changed */
    enum err result;
    struct err_detail why;
    struct log_compacted done;

    /* helper */
    struct key_map keys;
    struct key_map last;         /* producer id -> base offset of its last batch */
    struct compact_list open;    /* transactions; marker_offset unused */
    struct compact_list aborted; /* by producer, then first offset */
    struct compact_list orphans; /* markers without records: only marker_offset, ascending */
    bool last_full, orphans_full;
    struct compress *compress;
    struct buf decoded, scratch;
    char *buffer; /* COMPACT_READ_BYTES */
};

/* ---- log_compact_keys.c ---- */

/* Opens input `i`. ERR_IO also when retention has taken it meanwhile. */
enum err compact_reader_open(struct log_compaction *c, uint32_t i, struct compact_reader *r,
                             struct err_detail *why) MUST_CHECK;
/* The next batch, checked, with its bytes (borrowed until the next call); bytes->len 0 at the end.
 */
enum err compact_reader_next(struct compact_reader *r, struct kafka_batch *b, struct str *bytes,
                             struct err_detail *why) MUST_CHECK;
void compact_reader_close(struct compact_reader *r);
/* The first step. Sets end_offset and n_inputs to what can be done. */
enum err compact_collect(struct log_compaction *c, struct err_detail *why) MUST_CHECK;
/* Whether the batch belongs to an aborted transaction. */
bool compact_is_aborted(const struct log_compaction *c, const struct kafka_batch *b);
/* Whether the marker at `offset` ends a transaction of which nothing is left. */
bool compact_is_orphan(const struct log_compaction *c, int64_t offset);

/* ---- log_compact_pass.c ---- */

/* The suffixes of a group's file: while it is written, and from when it counts on. */
#define COMPACT_WRITING ".cleaned"
#define COMPACT_SWAP    ".swap"
/* Brings the names in the folder in line with a swap file that counts: removes the segments that it
 * stands for, and gives it their name. Any thread; while nobody else changes names. */
enum err compact_finish_swap(struct host *h, const char *dir, int64_t base_offset,
                             int64_t end_offset, const int64_t *bases, uint32_t n) MUST_CHECK;

/* ---- log_compact.c ---- */

/* At the start: removes what was not finished, and finishes what was, before segments are looked
 * for. */
enum err log_compact_recover(struct log_partition *p, struct err_detail *why) MUST_CHECK;

#endif
