/* Committed offsets in the log: the internal topic sys.consumer_offsets, one partition, records as
 * in Kafka's own offsets topic. Read back into the groups at start; a commit is appended, and put
 * into the groups once it is durable. Shard 0. */
#ifndef TIDEMILL_SERVE_KAFKA_OFFSETS_H
#define TIDEMILL_SERVE_KAFKA_OFFSETS_H

#include "engine/engine.h"
#include "serve/kafka_group.h"
#include "wire/kafka/messages.h"

enum {
    OFFSETS_READ_BYTES = 1 << 20,
    OFFSETS_SEGMENT_BYTES = 16 << 20,
    OFFSETS_RETENTION_BYTES = 512 << 20, /* more than two snapshots and what is between them */
    OFFSETS_SNAPSHOT_AFTER_BYTES =
        64 << 20, /* appended since the last one: all offsets are written anew */
    OFFSETS_BATCH_BYTES_MAX = 512 << 10,  /* a snapshot is written so much per turn */
    OFFSETS_PENDING_BYTES_MAX = 16 << 20, /* of open transactions */
    OFFSETS_WAITING_MAX = 4096,           /* requests that wait for the topic to be read */
};

struct offsets_log;

struct offsets_item {
    struct str topic, metadata;
    int32_t partition, leader_epoch;
    int64_t offset;
    uint32_t topic_number; /* kafka_groups_offset_is_of, */
    struct kafka_uuid topic_id; /* and the same to be kept */
    bool remove;
    bool is_epoch; /* not an offset: epochs up to `offset` may be told, of a group of the new
                      protocol */
};

/* Offsets of one group to be made durable. The caller's until done. */
struct offsets_write {
    struct str group;
    struct offsets_item *items;
    uint32_t n_items;
    /* Part of a producer's transaction: they count when it is committed. */
    bool transactional;
    int16_t producer_epoch;
    int64_t producer_id;
    /* Removals of what nobody asked to be removed: ERR_BUSY when an item's offset is another one by
     * now (its offset and topic_number say which one was meant), or may be soon. */
    bool cautious;
    /* Asked right before the append: may it still? NULL: yes. */
    bool (*still)(struct offsets_write *w);
    void (*done)(struct offsets_write *w, enum err e);
    struct append_request append; /* private, as all below */
    struct kafka_groups_need need;
    struct buf bytes;
    struct list link;
    struct offsets_log *log;
    struct offsets_pending *pending;
};

/* `groups` receives what is read and committed; borrowed. NULL when out of memory. Main thread. */
struct offsets_log *offsets_log_new(struct engine *e, struct kafka_groups *groups);
void offsets_log_free(struct offsets_log *log);
/* Once per turn: begins reading as soon as the catalog is there, writes a snapshot's next slice.
 * True: there is more to do at once. */
bool offsets_log_turn(struct offsets_log *log);
/* Everything that waits is answered with an error. */
void offsets_log_stop(struct offsets_log *log);
/* Has the topic been read? Until then requests wait. */
bool offsets_log_ready(const struct offsets_log *log);
/* Runs the call's `run` again once the log is ready (or stopped). False: too many wait already. */
bool offsets_log_await(struct offsets_log *log, struct shard_call *call);
/* The producer's transaction has ended, its marker is durable: what it wrote counts, or is
 * forgotten. */
void offsets_log_txn_ended(struct offsets_log *log, int64_t producer_id, bool commit);
/* Whether an open transaction has written the offset. Looks through all of those. */
bool offsets_log_unstable(const struct offsets_log *log, struct str group, struct str topic,
                          int32_t partition);
/* Appends; `done` when durable and put into the groups, or with an error. ERR_LIMIT, with nothing
 * written: the groups have no room for it, what is under way and undecided counted. */
void offsets_log_write(struct offsets_log *log, struct offsets_write *w);

#endif
