/* Idempotent and transactional producers of one partition: which batches were appended already, and
 * which transactions are open.
 *
 * A producer numbers its records per partition. A batch that comes again (its answer was lost) must
 * not be appended again; a gap means that one before it was lost. Kept per (producer id): the
 * epoch, the last batches, as many as a client may have under way, and where its open transaction
 * begins. A pure state machine over values, owned by the partition's shard:
 *
 *   producers_check -> NEW: producers_reserve, append, producers_appended
 *                      DUPLICATE: answer with the old offset     else: refuse
 *
 *   transaction    none --first transactional batch--> open --marker--> ended --marker is below the
 *   high watermark--> none
 *
 * State is a function of the partition's batches in order: it is made again by reading them, from
 * the state that stands in a full segment's index on (log/index.h).
 *
 * Bounded: the producer that was silent longest and has no open transaction is forgotten first, and
 * each one after PRODUCER_SILENT_MS; its next batch is then taken as new, whatever its number, as
 * Kafka does for producers it has forgotten. */
#ifndef TIDEMILL_LOG_PRODUCERS_H
#define TIDEMILL_LOG_PRODUCERS_H

#include "base/list.h"
#include "base/map.h"
#include "base/str.h"

enum {
    PRODUCERS_MAX = 10000, /* of one partition */
    PRODUCER_BATCHES =
        5, /* remembered: max.in.flight.requests.per.connection of an idempotent client */
    PRODUCER_SILENT_MS = 86400000, /* as Kafka's producer.id.expiration.ms */
    PRODUCER_BYTES_MAX = 160,      /* encoded */
};

struct producer_batch_seen {
    int32_t first, last; /* sequence numbers */
    int64_t base_offset;
};

/* A transaction that readers of committed records have to wait for. */
struct producer_txn {
    struct list link;          /* producers->open or ->ended */
    struct producer *producer; /* NULL: ended */
    int64_t first_offset;
    int64_t marker_offset; /* of an ended one */
};

/* Read-only for others. */
struct producer {
    struct list link; /* producers->silent, without an open transaction */
    int64_t id;
    int64_t seen_ms;                                      /* wall clock of the last append */
    int16_t epoch;                                        /* -1: nothing was appended yet */
    uint8_t n;                                            /* batches remembered */
    struct producer_batch_seen batches[PRODUCER_BATCHES]; /* oldest first */
    struct producer_txn *txn;                             /* open, or NULL */
    struct producer_txn *spare;                           /* for the next one */
};

/* Use after producers_init. Fields are private but n. */
struct producers {
    struct map map;     /* producer id + 1 -> struct producer */
    struct list silent; /* without an open transaction, least recently seen first */
    struct list open;   /* transactions by first offset */
    struct list ended;  /* by marker: those that may not be below the high watermark yet */
    uint32_t n;
};

/* One batch's producer fields, as in its header. */
struct producer_batch {
    int64_t producer_id; /* -1: not idempotent, always NEW */
    int16_t epoch;
    bool transactional;
    int32_t base_sequence; /* -1: not numbered; only the server's own */
    int32_t n_records;
};

enum producer_verdict {
    PRODUCER_NEW,           /* append it */
    PRODUCER_DUPLICATE,     /* appended before: answer with that offset */
    PRODUCER_OUT_OF_ORDER,  /* Kafka 45: a batch before it is missing */
    PRODUCER_OLD_DUPLICATE, /* Kafka 46: appended so long ago that its offset is forgotten */
    PRODUCER_FENCED,        /* Kafka 47: a newer epoch of the producer was seen */
    PRODUCER_IN_TXN,        /* Kafka 48: a plain batch inside of its open transaction */
};

/* Nobody known yet. */
void producers_init(struct producers *p);
/* Frees all; init again before further use. */
void producers_deinit(struct producers *p);
/* NULL when it is not known. */
const struct producer *producers_find(const struct producers *p, int64_t id);
/* Iterates in no order: start with *at = 0; NULL at the end. */
const struct producer *producers_next(const struct producers *p, size_t *at);
/* Changes nothing. `base_offset` receives a DUPLICATE's offset. */
enum producer_verdict producers_check(const struct producers *p, const struct producer_batch *batch,
                                      int64_t *base_offset);
/* Makes sure that what the batch (or marker) changes cannot fail. ERR_NO_MEMORY; ERR_LIMIT when
 * PRODUCERS_MAX transactions are open. */
enum err producers_reserve(struct producers *p, const struct producer_batch *batch) MUST_CHECK;
/* The batch was appended at `base_offset`; room was reserved. */
void producers_appended(struct producers *p, const struct producer_batch *batch,
                        int64_t base_offset, int64_t now_ms);
/* The marker of a transaction's end was appended at `offset`; room was reserved. Returns the
 * transaction's first offset, -1 when none was open. An epoch above the producer's fences what is
 * left of its batches. */
int64_t producers_ended(struct producers *p, int64_t producer_id, int16_t epoch, int64_t offset,
                        int64_t now_ms);
/* Where the first transaction begins that is open, or whose marker is not below `high_watermark`;
 * INT64_MAX when there is none. The high watermark never falls. */
int64_t producers_first_unstable(struct producers *p, int64_t high_watermark);
/* Where the first open transaction begins; INT64_MAX when there is none. */
int64_t producers_first_open(const struct producers *p);
/* Forgets those that were silent for PRODUCER_SILENT_MS. */
void producers_expire(struct producers *p, int64_t now_ms);

/* Appends everything but ended transactions to `out`, whose failure sticks. */
void producers_encode(const struct producers *p, struct buf *out);
/* Fills an empty one. ERR_CORRUPT, ERR_NO_MEMORY; deinit it then. */
enum err producers_decode(struct producers *p, struct str in) MUST_CHECK;

#endif
