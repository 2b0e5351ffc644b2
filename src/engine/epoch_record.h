/* The epoch record: what a restart needs to know. Private to engine/; values only, no I/O.
 *
 * Records in sys.epochs are full, or say what has changed since the record before. A restart reads
 * the last record, goes back to the full one that it names, and adds up from there:
 *
 *   full  delta  delta ... delta  full  delta  delta
 *                                   ^--------------- the last one names its offset
 *
 * What a delta leaves out has not changed, or is of a reader, view or topic that is gone: their
 * numbers are never given again, so nobody asks for them. */
#ifndef TIDEMILL_ENGINE_EPOCH_RECORD_H
#define TIDEMILL_ENGINE_EPOCH_RECORD_H

#include "base/map.h"
#include "engine/epoch.h"

enum {
    /* A full record is due when deltas came to this much, or to twice the last full one. */
    EPOCH_DELTAS_BYTES = 64 << 10,
    POSITION_UNCHANGED = -1,
};

struct record_reader {
    uint32_t id;
    int64_t watermark_us;
    uint32_t n_parts;
    int64_t *positions; /* in a delta POSITION_UNCHANGED where nothing has changed */
};
struct record_view {
    uint32_t view, reader; /* which reader the view was on */
};
struct record_failure {
    uint32_t view;
    enum err err;
    struct str why;
};
struct epoch_record {
    uint64_t epoch;
    int64_t wall_us;
    int64_t base; /* delta: offset of the full record it builds on; full: -1 */
    uint32_t n_readers;
    struct record_reader *readers;
    uint32_t n_views;
    struct record_view *views;
    uint32_t n_outputs;
    struct output_end *outputs;
    uint32_t n_failures;
    struct record_failure *failures; /* views that have failed; in a delta, since the last record */
};

/* Appends the record to `out`, and reads it back (arrays live in `a`). ERR_CORRUPT, or
 * ERR_UNSUPPORTED for a record of a newer format. */
enum err epoch_record_encode(const struct epoch_record *r, struct buf *out) MUST_CHECK;
enum err epoch_record_decode(struct str bytes, struct arena *a,
                             struct epoch_record *out) MUST_CHECK;

/* Adds up a full record and the deltas behind it. */
struct record_sum {
    struct arena *arena; /* keeps the result */
    uint64_t epoch;
    int64_t wall_us;
    uint64_t records;
    struct map readers, views, outputs, failures; /* by id, view, part_key, view */
};
void record_sum_init(struct record_sum *s, struct arena *a);
void record_sum_deinit(struct record_sum *s);
/* The next record. ERR_CORRUPT when the first is no full one, or a later one is. */
enum err record_sum_add(struct record_sum *s, const struct epoch_record *r) MUST_CHECK;
/* What it came to: a full record, whose arrays are sorted (the look-ups below need that). */
enum err record_sum_take(struct record_sum *s, struct epoch_record *out) MUST_CHECK;

/* ---- look-ups; `record` may be NULL: nothing was recorded ---- */

/* NULL when the reader is not in it. */
const struct record_reader *record_reader_find(const struct epoch_record *record, uint32_t id);
/* The reader a view was on when it was last recorded; its own when it is new. */
uint32_t record_view_reader(const struct epoch_record *record, uint32_t view);
/* A summed record says from now on that the view's source `own` (reader_own) is read by a reader
 * of its own, which stands where the one stands that it was on. Memory is `a`'s. */
enum err record_view_part(struct epoch_record *record, struct arena *a, uint32_t own) MUST_CHECK;
/* Why a view has failed; NULL when it has not. */
const struct record_failure *record_failure_find(const struct epoch_record *record, uint32_t view);
/* How far a derived partition was committed; 0 when no epoch has written it. */
int64_t record_output_end(const struct epoch_record *record, uint32_t topic_number,
                          uint32_t partition);

#endif
