/* Transactions as a state machine over values: who may do what, and what has to be made durable. No
 * I/O, no clock, no randomness. kafka_txn.c acts on it.
 *
 *            InitProducerId              first partition               EndTxn, time-out, fencing
 *   (none) ----------------> EMPTY ------------------------> ONGOING ---------------------------+
 *                              ^  ^                             ^                               v
 *                              |  |                             |              PREPARE_COMMIT,
 * PREPARE_ABORT |  | InitProducerId              | first partition               | |  +-------
 * COMPLETE_COMMIT, <---+-------------------------------+
 *                              +---------- COMPLETE_ABORT          markers durable on all
 * partitions
 *
 *   state        AddPartitions, Produce   EndTxn(commit)    EndTxn(abort)     InitProducerId
 *   EMPTY        -> ONGOING               INVALID_STATE     v2: epoch + 1     epoch + 1
 *   ONGOING      ok                       -> PREPARE        -> PREPARE        abort first
 *   PREPARE_*    CONCURRENT               wait, or INVALID_STATE if the other  wait
 *   COMPLETE_*   -> ONGOING               ok if it was that, else as EMPTY     epoch + 1
 *
 * A change is decided here first, and nobody learns of it before its record is durable.
 *
 * An end that raises the epoch (EndTxn of version 5, time-outs, fencing) tells by the epoch which
 * batches belong to it: the next transaction has another. One that does not (older clients) is
 * recorded a second time when its markers are durable, before the next transaction may begin. */
#ifndef TIDEMILL_SERVE_KAFKA_TXN_STATE_H
#define TIDEMILL_SERVE_KAFKA_TXN_STATE_H

#include "base/list.h"
#include "base/map.h"
#include "base/str.h"

enum {
    TXNS_MAX = 100000,           /* transactional ids */
    TXN_ID_BYTES_MAX = 1024,     /* of one */
    TXN_PARTS_MAX = 20000,       /* partitions in one transaction */
    TXN_TIMEOUT_MS_MAX = 900000, /* Kafka's transaction.max.timeout.ms */
    TXN_IDLE_MS_MAX =
        604800000, /* after a week an id is forgotten: transactional.id.expiration.ms */
    TXN_EPOCH_MAX = INT16_MAX - 1, /* that is given to producers; markers may have one more */
};

enum txn_state {
    TXN_EMPTY,
    TXN_ONGOING,
    TXN_PREPARE_COMMIT,
    TXN_PREPARE_ABORT,
    TXN_COMPLETE_COMMIT,
    TXN_COMPLETE_ABORT,
    TXN_STATES
};

struct txn_part {
    uint32_t topic, partition; /* number of the topic */
};

struct txn {
    struct list link; /* txns->all */
    struct txn *next; /* same hash */
    struct str id;
    enum txn_state state;
    int64_t producer_id; /* of the next or the open transaction */
    int16_t epoch;
    int64_t last_producer_id; /* of the one that ends or has ended, -1 = none */
    int16_t last_epoch;
    int32_t timeout_ms;
    int64_t updated_ms;     /* wall clock; of an ongoing one: when it began */
    struct txn_part *parts; /* of the open or ending one, each once, in order */
    uint32_t n_parts, cap_parts;
    /* kafka_txn.c's: */
    void *job;
    struct list waiting;
};

struct txns {
    struct list all;
    struct map by_id;       /* hash -> chain */
    struct map by_producer; /* producer id + 1 */
    uint32_t n;
};

/* Empty. */
void txns_init(struct txns *ts);
/* Frees all. */
void txns_deinit(struct txns *ts);
/* NULL when there is none. */
struct txn *txns_find(const struct txns *ts, struct str id);
struct txn *txns_by_producer(const struct txns *ts, int64_t producer_id);
/* Adds one, EMPTY without a producer. ERR_LIMIT, ERR_NO_MEMORY. */
enum err txns_add(struct txns *ts, struct str id, struct txn **out) MUST_CHECK;
/* Forgets it; nothing of it is under way. */
void txns_remove(struct txns *ts, struct txn *t);
/* Gives it another producer id, known by txns_by_producer from now on. */
enum err txns_producer_set(struct txns *ts, struct txn *t, int64_t producer_id) MUST_CHECK;
/* The partition is one of the transaction's, if it was not. ERR_LIMIT, ERR_NO_MEMORY. */
enum err txn_part_put(struct txn *t, struct txn_part part) MUST_CHECK;

/* All of these return Kafka's error code. TXN_WAIT: when what is under way has ended, ask again. */
enum { TXN_OK = 0, TXN_WAIT = 10000, TXN_CHANGED = 10001 };

/* A producer's request: is it the current one? */
int16_t txn_check(const struct txn *t, int64_t producer_id, int16_t epoch);
/* InitProducerId. `producer_id` and `epoch` are what the client says it has (-1), `fresh` a
 * producer id that nobody has. TXN_CHANGED: a record has to be written, which is an abort when the
 * state is PREPARE_ABORT (ask again when it is done). TXN_OK: a repetition. */
int16_t txn_begin_producer(struct txns *ts, struct txn *t, int64_t producer_id, int16_t epoch,
                           int32_t timeout_ms, int64_t fresh, int64_t now_ms);
/* A partition is going to be written. `implicit`: it need not have been added (Produce from version
 * 12 on, TxnOffsetCommit from 5 on). */
int16_t txn_admit(const struct txn *t, int64_t producer_id, int16_t epoch, struct txn_part part,
                  bool implicit);
/* Adds a partition, beginning the transaction. */
int16_t txn_add(struct txn *t, int64_t producer_id, int16_t epoch, struct txn_part part,
                int64_t now_ms);
/* EndTxn. `raise`: by a client that takes a new epoch from the answer. TXN_CHANGED: decided, write
 * the record. TXN_OK: it has ended like that. */
int16_t txn_end(struct txns *ts, struct txn *t, int64_t producer_id, int16_t epoch, bool commit,
                bool raise, int64_t fresh, int64_t now_ms);
/* Its time is over, or another producer takes over: aborted, the producer is fenced. */
int16_t txn_abort(struct txns *ts, struct txn *t, int64_t fresh, int64_t now_ms);
/* The markers of a prepared one are durable. True when this has to be recorded before the next. */
bool txn_complete(struct txn *t, int64_t now_ms);
/* The epoch that the markers of an ending transaction carry. */
int16_t txn_marker_epoch(const struct txn *t);
/* After a restart: a partition has an open transaction of the producer. Makes it part of what `t`
 * is ending, or of a transaction that goes on. ERR_NO_MEMORY; ERR_CORRUPT: it belongs to neither.
 */
enum err txn_found_open(struct txn *t, int64_t producer_id, int16_t epoch, struct txn_part part,
                        int64_t now_ms) MUST_CHECK;
/* "Empty", "Ongoing", "PrepareCommit", ... as Kafka calls it. */
const char *txn_state_name(enum txn_state state);

#endif
