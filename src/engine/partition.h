/* A shard's partitions: appends, group flushes, reads and waits. Private to engine/; all on the
 * owner's thread. */
#ifndef TIDEMILL_ENGINE_PARTITION_H
#define TIDEMILL_ENGINE_PARTITION_H

#include "engine/epoch_marks.h"
#include "engine/flush_pace.h"
#include "engine/remover.h"
#include "log/log_compact.h"
#include "log/producers.h"

struct part;

struct flush_job {
    struct log_sync sync;
    struct part *part;
    int64_t took_ns; /* set by the flush worker */
};

struct part {
    struct shard *shard;
    struct log_partition *log;
    uint32_t topic_number, partition;
    enum topic_kind kind;
    bool append_time; /* records get the time of their append */
    struct part_stats *stats;
    struct list dirty_link;
    struct list appends; /* append_request: written, waiting for the flush; ascending */
    struct list waits;   /* wait_request */
    struct list trims;   /* trim_request: the start has moved, and is not on the disk yet */
    struct epoch_marks marks;     /* of a partition that epochs write */
    struct list uncommitted_link; /* of the shard: marks beyond the last commit */
    struct flush_job job;
    struct flush_pace pace;
    bool syncing;
    int64_t marker_end; /* of the last end of a transaction that was appended here */
    bool dropped;      /* given up when the flush and the compaction under way have ended */
    struct log_compaction *compaction; /* under way (compactor.h), or NULL */
    struct removal removal;
    int64_t keep_from; /* retention stays below: of sys.epochs the last record */
    struct shard_call
        advance; /* tells the coordinator of new durable offsets; at most one under way */
    bool advance_in_flight;
    int64_t advance_told;
    void (*durable)(struct part *p, void *arg); /* after each flush; NULL = nobody asks */
    void *durable_arg;
};

static inline uint64_t part_key(uint32_t topic_number, uint32_t partition)
{
    return (uint64_t)topic_number << 32 | partition;
}

/* NULL when the partition is not (or no longer) on this shard. */
struct part *part_find(struct shard *s, uint32_t topic_number, uint32_t partition);
/* Opens the partition's log and adds it to its shard. Blocks on the disk: start-up and DDL. */
enum err part_open(struct shard *s, const struct topic *t, uint32_t partition, struct part **out,
                   struct err_detail *why) MUST_CHECK;
/* Takes over the topic's settings. */
void part_configure(struct part *p, const struct topic *t);
/* Forgets the partition and fails what waits for it; its files go with time (remover.h). */
void part_drop(struct part *p);
/* Appends an epoch's output or a record of the engine's own; flushed like everything else. */
enum err part_append(struct part *p, char *batches, size_t n, uint32_t n_records, int64_t *base,
                     struct err_detail *why) MUST_CHECK;
/* As shard_append, but first admit() is asked, on the partition's shard and in the turn of the
 * append: nothing comes in between. It may make the batches. Returns an append_admit. */
enum append_admit {
    APPEND_NOW,
    APPEND_NOT,   /* done, with what r->err says */
    APPEND_LATER, /* admit() has seen to it that append_again is called, on that shard */
};
void shard_append_when(struct shard *s, struct append_request *r,
                       int (*admit)(struct part *p, struct append_request *r));
void append_again(struct shard *owner, struct append_request *r);
/* Drops whole segments below `offset`; their files go with the next flush. */
void part_drop_before(struct part *p, int64_t offset);
/* A dropped partition that nothing is under way for any more goes to the remover. */
void part_free_if_unused(struct part *p);
/* Publishes offsets to stats and wakes waits, after a watermark moved. */
void part_publish(struct part *p);
/* Whether epochs write topics of that kind: then the high watermark is where the last committed one
 * ended. */
bool topic_epoch_written(enum topic_kind kind);
/* The epoch's outputs end here, at the log's end. */
enum err part_epoch_mark(struct part *p, uint64_t epoch) MUST_CHECK;
/* What the epoch wrote is not to be seen by anybody, ever: its marks are taken back. */
void part_epoch_cut(struct part *p, uint64_t epoch);
/* Raises high watermarks to what is committed. */
void parts_commit(struct shard *s);

/* ---- parts_catalog.c ---- */

/* Drops the topics that `from` has and `to` has not, with all partitions that were opened for them.
 * Those that are new to a topic which stays, when the change does not come, stay open: they are
 * empty, nobody can name them, and the next change takes them. Removing their files would be in
 * the way of it. */
void parts_drop_gone(struct shard *s, const struct catalog *from, const struct catalog *to);
/* Opens those that live here and are new in `c`: blocks on the disk. */
enum err parts_open_new(struct shard *s, const struct catalog *c,
                        struct err_detail *why) MUST_CHECK;
/* Partitions take over the settings of topics that another version of the catalog has altered. */
void parts_configure(struct shard *s, const struct catalog *c);

/* Once a turn: takes in finished flushes (first, so that all else knows of them); starts new ones.
 */
void parts_finish_flushes(struct shard *s);
void parts_turn(struct shard *s);
/* Starts the shard's flush worker (main thread). */
enum err parts_start(struct shard *s) MUST_CHECK;
/* Fails all waits; from now on requests fail with ERR_SHUTDOWN. */
void parts_stop(struct shard *s);
/* No flush under way and nothing to flush. */
bool parts_idle(struct shard *s);
/* Asks the flush worker to end. */
void parts_join_flush(struct shard *s);
/* Closes all logs, after the workers have ended. */
void parts_close(struct shard *s);

#endif
