/* What an epoch is made of: the messages between coordinator and shards. Values only, written once
 * by their maker and read by everybody until the next epoch begins.
 *
 *   coordinator          shards
 *   epoch_plan  ---BEGIN--->  read, decode, split
 *                             --END(packets, watermarks)--> every shard
 *                             apply, close windows
 *                             (of views that others read: --END(packets)--> every shard, apply ...)
 *                             append outputs
 *               <---DONE---   outputs' ends, views that have failed
 *               ---FAIL--->   (only then) their outputs of this epoch are not to be seen
 *   record durable ---COMMIT---> high watermarks rise */
#ifndef TIDEMILL_ENGINE_EPOCH_H
#define TIDEMILL_ENGINE_EPOCH_H

#include "engine/engine_int.h"

enum {
    EPOCH_FIRST =
        1, /* what a new data directory begins with: nothing was written, all is visible */
    EPOCH_OFFSETS_MAX = 32768,           /* per partition and epoch */
    EPOCH_INPUT_BYTES_MAX = 8 << 20,     /* of log read per partition and epoch, plus one range */
    EPOCH_ARENA_BYTES_MAX = 1 << 30,     /* per shard */
    EPOCH_ARENA_BYTES_TARGET = 64 << 20, /* no more input is taken in when an epoch has this much */
    EPOCH_FEED_BYTES_MAX = 512 << 20, /* of the arena, when a view still takes in another's rows */
    EPOCH_SPREAD_ROWS_MAX = 256 << 10,   /* rows that one batch may become in windows */
    EPOCH_ARENA_KEEP_BYTES = 4 << 20,
};

/* Readers are named by the relation whose rows they read, or, until they have come as far as that
 * one's own reader, by the view and which of its sources they read for it. */
static inline uint32_t reader_own(uint32_t view, uint32_t source)
{
    return view + source * NUMBERS_MAX;
}
/* Stands in records of epochs like a source of the view, without partitions: its watermark is that
 * of the view itself. */
enum { READER_OF_VIEW = 511 };
/* The relation a reader's name begins with: it ends with that. */
static inline uint32_t reader_relation(uint32_t id)
{
    return id & RELATION_OF_TOPIC ? id : id % NUMBERS_MAX;
}
static inline uint32_t reader_source(uint32_t id)
{
    return id & RELATION_OF_TOPIC ? 0 : id / NUMBERS_MAX;
}

/* One partition of a reader in one epoch. Every partition of the reader is listed, read or not. */
struct epoch_input {
    uint32_t partition;
    int64_t from, to; /* offsets to process; from == to: none */
    int64_t floor_us; /* the partition's watermark is at least this from `from` on; INT64_MIN = no
                         floor */
    int64_t watermark_us; /* before this epoch, floor included */
    bool idle;
};

/* A position in one table, shared by the views that are equally far. */
struct epoch_reader {
    uint32_t id; /* the table's relation number (main reader), or reader_own of a view */
    uint32_t merge_into;  /* != 0: positions have met; its views join that reader and it ends */
    bool silent;          /* replay of what was committed: state only, no output */
    int64_t watermark_us; /* of the table, before this epoch */
    uint32_t n_inputs;
    const struct epoch_input *inputs;
};

/* A reader as a snapshot has it. */
struct reader_state {
    int64_t watermark_us; /* of the table */
    uint32_t n_parts;
    int64_t *positions, *watermarks; /* by partition */
};

/* Rows of a partition, from this epoch's first on, are held against at least this watermark in one
 * view of several tables: it has ended windows while the table was idle. Of source READER_OF_VIEW:
 * the watermark that the view itself had at the last commit. */
struct view_floor {
    uint32_t view, source, partition;
    int64_t watermark_us;
};

/* A view begins to read another: it gets all rows that this one has at the end of the epoch. */
struct epoch_birth {
    uint32_t view, source;
};

struct epoch_plan {
    uint64_t epoch;
    int64_t wall_us;
    bool replaying; /* some reader has not come to the end of its replay: none goes past its own */
    uint32_t n_readers;
    const struct epoch_reader *readers;
    uint32_t n_floors;
    const struct view_floor *floors;
    uint32_t n_births;
    const struct epoch_birth *births;
};

/* The least watermark of those that are not idle; the greatest when all are: then none holds the
 * others back. */
struct watermark_sum {
    int64_t least, greatest;
};
#define WATERMARK_SUM_NONE ((struct watermark_sum){INT64_MAX, INT64_MIN})
static inline void watermark_add(struct watermark_sum *s, int64_t us, bool idle)
{
    s->greatest = us > s->greatest ? us : s->greatest;
    s->least = !idle && us < s->least ? us : s->least;
}
/* Never lower than before. */
static inline int64_t watermark_of(const struct watermark_sum *s, int64_t before)
{
    int64_t us = s->least == INT64_MAX ? s->greatest : s->least;
    return us < before ? before : us;
}

/* What an input came to: a shard may stop before `to` when it has read enough bytes for one epoch.
 */
struct input_result {
    int64_t reached;
    int64_t watermark_us; /* at `reached` */
    bool failed;          /* it cannot be read from there on */
    /* The record there is of a schema that was not known when schemas_version was `version`. */
    struct schema_wait {
        bool on;
        uint32_t schema, version;
    } waits;
};

/* The table's watermark after an epoch: the least new watermark of the partitions that are not idle
 * (the greatest when all are), never lower than before. `results[i]` belongs to
 * input i. Pure. */
int64_t epoch_table_watermark(const struct epoch_reader *r, const struct input_result *results);

/* Rows of one view for one state partition, from one batch of one source partition. */
struct packet {
    struct packet *next;
    uint32_t view, state_partition, source_partition;
    uint32_t level;            /* of the view */
    const struct batch *batch; /* aggregate: keys, arguments, filters; else: output rows */
    const struct str *keys;    /* encoded group keys; NULL without an aggregate */
    const uint64_t *hashes;
    const int64_t *window_end; /* NULL without a window */
    uint32_t op, port;         /* of a view with operators: which one it is for (run/flow.h) */
};

/* Order by view, state partition and source partition. */
int packet_compare(const struct packet *x, const struct packet *y);
/* Sorts n packets so, equal ones in the order they have; gives `all` or `spare`, each of n. */
struct packet **packets_sort(struct packet **all, struct packet **spare, uint32_t n);

/* A view that cannot go on, on its way to the coordinator, which fails it on all shards. */
struct view_failure {
    struct view_failure *next;
    uint32_t view;
    enum err err;
    char why[ERR_TEXT_MAX];
};

struct dead_letter;

struct epoch_end {
    struct shard_call call;
    uint32_t from_shard, level; /* of the views that are to be applied next */
    struct packet *packets, **packets_tail;
    struct dead_letter *dead_letters; /* for shard 0 */
    const struct input_result *const
        *results; /* [reader][input], valid for inputs on the sending shard */
};

struct output_end {
    uint32_t topic_number, partition;
    int64_t end;
};

struct epoch_done {
    struct shard_call call;
    const struct input_result *const *results;
    const struct dead_letter *dead_letters; /* made after END was sent */
    const struct view_failure *failures;
    uint32_t n_outputs;
    const struct output_end *outputs;
};

#endif
