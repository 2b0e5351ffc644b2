/* Idempotent producers of one partition: which batches were appended already.
 *
 * A producer numbers its records per partition. A batch that comes again (its answer was lost) must
 * not be appended again; a gap means that one before it was lost. Kept per (producer id): the epoch
 * and the last batches, as many as a client may have under way. A pure state machine over values,
 * owned by the partition's shard:
 *
 *   producers_check -> NEW: append, then producers_appended     DUPLICATE: answer with the old
 * offset     else: refuse
 *
 * Bounded: the producer that was silent longest is forgotten first; its next batch is then taken as
 * new, whatever its number, as Kafka does for producers it has forgotten. */
#ifndef TIDEMILL_LOG_PRODUCERS_H
#define TIDEMILL_LOG_PRODUCERS_H

#include "base/err.h"
#include "base/list.h"
#include "base/map.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    PRODUCERS_MAX = 10000, /* of one partition */
    PRODUCER_BATCHES =
        5, /* remembered: max.in.flight.requests.per.connection of an idempotent client */
};

/* Zero-initialised (with producers_init) = nobody known. Fields are private. */
struct producers {
    struct map map;     /* producer id + 1 -> struct producer */
    struct list recent; /* least recently seen first */
    uint32_t n;
};

/* One batch's producer fields, as in its header. */
struct producer_batch {
    int64_t producer_id; /* -1: not idempotent, always NEW */
    int16_t epoch;
    int32_t base_sequence;
    int32_t n_records;
};

enum producer_verdict {
    PRODUCER_NEW,           /* append it */
    PRODUCER_DUPLICATE,     /* appended before: answer with that offset */
    PRODUCER_OUT_OF_ORDER,  /* Kafka 45: a batch before it is missing */
    PRODUCER_OLD_DUPLICATE, /* Kafka 46: appended so long ago that its offset is forgotten */
    PRODUCER_FENCED,        /* Kafka 47: a newer epoch of the producer was seen */
};

/* Nobody known yet. */
void producers_init(struct producers *p);
/* Frees all; init again before further use. */
void producers_deinit(struct producers *p);
/* Changes nothing. `base_offset` receives a DUPLICATE's offset. */
enum producer_verdict producers_check(const struct producers *p, const struct producer_batch *batch,
                                      int64_t *base_offset);
/* The batch was appended at `base_offset` (also while reading a log back). ERR_NO_MEMORY: it is not
 * remembered, so that a repetition of it would be appended again; nothing else is lost. */
enum err producers_appended(struct producers *p, const struct producer_batch *batch,
                            int64_t base_offset) MUST_CHECK;

#endif
