/* A running query's inside. Private to engine/query*.c and sys_tables.c. */
#ifndef TIDEMILL_ENGINE_QUERY_INT_H
#define TIDEMILL_ENGINE_QUERY_INT_H

#include "engine/coordinator.h"
#include "engine/source.h"
#include "engine/view_scan.h"
#include "run/stages.h"

enum {
    QUERY_BYTES_MAX = 256 << 20, /* sorts, groups, a view's rows: each */
    QUERY_READ_BYTES = 256 << 10,
    SCAN_ARENA_KEEP_BYTES = 4 << 20,
    QUERY_READ_BYTES_MIN = 16 << 10,      /* when partitions share it */
    FOLLOW_ROWS_MAX = BATCH_ROWS_MAX / 2, /* a change is up to two rows */
};

/* A view's rows from one shard. */
struct scan_call {
    struct shard_call call;
    struct query *query;
    const struct chain *chain; /* run where the rows are */
    uint32_t view;
    uint32_t n_columns;
    const uint32_t *columns; /* of the view that the scan reads */
    uint64_t rows_wanted;    /* more from this shard change nothing */
    int64_t now_us;
    struct view_scan scan;  /* the shard's, as are the next two */
    struct shard_task task; /* its next piece */
    struct arena temporary;
    struct arena arena; /* made by the shard, the query's from the reply on */
    const struct batch **batches;
    uint32_t n, cap;
    enum err err;
    struct err_detail why;
    uint64_t epoch;
    int64_t *ends; /* per changelog partition, where changes go on; the shard fills its own */
};

/* One partition being read. */
struct part_read {
    struct query *query;
    uint32_t partition;
    int64_t offset;
    int64_t end; /* up to here: of the snapshot, later of the round; -1 = not known yet */
    struct read_request read;
    struct wait_request wait;
    bool reading, waiting, ready;
    /* following what epochs write */
    struct record_reader_state records; /* of the range in `arena` */
    struct arena arena;
    bool open;                /* ... which has more */
    int64_t read_to;          /* where it ends */
    struct kafka_record head; /* the next change */
    uint64_t head_epoch;      /* 0: none is at hand */
};

enum query_source { SOURCE_ONCE, SOURCE_LOG, SOURCE_VIEW, SOURCE_DONE };

struct query {
    struct shard *shard;
    const struct catalog *catalog;
    const struct relation *rel; /* of the scan; NULL without one */
    struct stages *stages;
    struct arena arena; /* lives as long as the query */
    uint32_t n_columns;
    const uint32_t *columns; /* of the relation that the scan reads */
    enum query_source source;
    bool follow, live; /* live: the snapshot is over */
    bool snapshot_told;
    bool input_done, failed, closed, stepping;
    enum err err;
    struct err_detail why;
    struct query_result result;
    void (*done)(void *arg, const struct query_result *r);
    void *arg;
    struct shard_task slice; /* to go on in a later turn */
    _Atomic bool unwanted;   /* scans on other shards need not go on */
    uint32_t in_flight;      /* calls that will come back: the query outlives them */
    /* SOURCE_ONCE */
    struct batch *once;
    /* SOURCE_LOG, and following a view's changelog */
    struct row_decoder decoder;
    struct compress *compress;
    struct scratch_pool scratch;
    struct part_read *parts;
    uint32_t n_parts, part_at;
    struct record_reader_state reading;
    int64_t read_to;
    bool range_open;
    bool by_epoch;            /* epochs write the log: partitions are read as of one epoch */
    bool round, woken;        /* a round is under way; there is more than it reads */
    uint64_t as_of;           /* the epoch of the snapshot, later of the round */
    uint64_t row_epoch;       /* of the rows that are delivered; 0 = no epoch has written them */
    struct arena batch_arena; /* the rows in work */
    struct kafka_record *records;
    /* SOURCE_VIEW */
    struct scan_call *scans;
    uint32_t n_scans, scans_back, scan_at, scan_batch_at;
    bool settled; /* outputs that were due when the query came are visible */
    struct shard_call permit;
    struct boundary_action boundary;
};

/* The rows of a sys.* relation. */
enum err sys_rows(struct shard *s, const struct relation *rel, struct arena *a,
                  struct batch **out) MUST_CHECK;

#endif
