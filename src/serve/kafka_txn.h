/* The transaction coordinator: acts on kafka_txn_state.h. Lives on shard 0; every call here is made
 * there. docs/adr/0018-transactions.md argues why a crash between any two steps tears nothing. */
#ifndef TIDEMILL_SERVE_KAFKA_TXN_H
#define TIDEMILL_SERVE_KAFKA_TXN_H

#include "serve/kafka_int.h"
#include "serve/kafka_offsets.h"
#include "serve/kafka_txn_state.h"

enum {
    TXN_SEGMENT_BYTES = 16 << 20,
    TXN_RETENTION_BYTES = 256 << 20, /* far more than two snapshots take */
    TXN_SNAPSHOT_AFTER_BYTES = 64 << 20,
    TXN_BATCH_BYTES = 512 << 10,
    TXN_WAITING_MAX = 4096, /* requests that wait for the topic to be read */
    TXN_RETRY_MS = 100,
    TXN_TICK_MS = 1000,
    /* Of a pattern in one ListTransactions, about half a second; enough for all ids and any pattern
     * that does not search back and forth. */
    TXN_LIST_STEPS_MAX = 16 << 20,
};
/* The part of a transaction that is offsets of groups: whatever topic they are in. */
#define TXN_PART_OFFSETS ((struct txn_part){0, 0})

/* NULL when out of memory. `offsets` is told how transactions end. Main thread. */
struct kafka_txns *kafka_txns_new(struct engine *e, struct offsets_log *offsets);
/* After the workers have ended. */
void kafka_txns_free(struct kafka_txns *co);
/* May the producer write to the partition now? Kafka's error code; with `implicit` the partition
 * becomes a part of the transaction, which may begin by it. */
int16_t kafka_txns_admit(struct kafka_txns *co, struct str id, int64_t producer_id, int16_t epoch,
                         struct txn_part part, bool implicit);

/* kafka_txn_log.c: the topic sys.transactions */

/* A record of the state of `t`, appended to `out` as a batch of its own. `forgotten`: the id is. */
enum err txn_record_put(struct buf *out, const struct txn *t, bool forgotten,
                        int64_t now_ms) MUST_CHECK;
/* Takes in a run of batches from the topic. */
enum err txn_records_apply(struct txns *ts, struct str run, struct err_detail *why) MUST_CHECK;

#endif
