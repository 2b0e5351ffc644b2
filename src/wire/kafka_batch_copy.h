/* A record batch again, with some of its records: what compaction writes.
 *
 * The copy covers the same offsets as the original, its records keep offsets and timestamps, and
 * the producer's fields stay, so that readers and idempotent producers see no difference but the
 * records that are gone. A batch without records is legal: Kafka's own compaction leaves such. */
#ifndef TIDEMILL_WIRE_KAFKA_BATCH_COPY_H
#define TIDEMILL_WIRE_KAFKA_BATCH_COPY_H

#include "wire/kafka_batch.h"

/* Caller-owned; fields are private except n_records. */
struct kafka_batch_copy {
    struct buf *out;
    size_t start; /* of the batch in out */
    struct kafka_batch from;
    int64_t max_timestamp;
    int32_t n_records;
};

/* No horizon is given. */
#define KAFKA_NO_HORIZON INT64_MIN

/* Begins a copy of the batch with header `from` at the end of `out`. A `horizon` (ms) is set as its
 * delete horizon; without, the original's stays. */
void kafka_batch_copy_begin(struct kafka_batch_copy *w, struct buf *out,
                            const struct kafka_batch *from, int64_t horizon);
/* Adds a record of the original, in their order. A failure (out->max) sticks in `out`. */
void kafka_batch_copy_add(struct kafka_batch_copy *w, const struct kafka_record *r);
/* Compresses as the original was (`c` and `scratch` are needed then; scratch's content is
 * replaced), writes header and CRC. Without records an empty batch is written. ERR_LIMIT when `out`
 * was too small, compression's errors; then nothing is left of it in `out`. */
enum err kafka_batch_copy_finish(struct kafka_batch_copy *w, struct compress *c,
                                 struct buf *scratch, struct err_detail *why) MUST_CHECK;

/* Appends an empty batch of nobody over the offsets from `base_offset` to `base_offset +
 * last_delta`. A failure sticks in `out`. */
void kafka_batch_put_empty(struct buf *out, int64_t base_offset, int32_t last_delta);

#endif
