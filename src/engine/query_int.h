/* A running query's inside. Private to engine/query*.c and sys_tables.c.
 *
 *   query_moment.c   as of when: one moment for all that the query reads
 *   query_log.c      LOG sources: tables, and what epochs write
 *   query_keyed.c    ... with a PRIMARY KEY; query_lookup.c: of one key
 *   query_view.c     VIEW sources: state of views
 *   query_rows.c     ONCE sources: constant rows, sys.* relations, EXPLAIN
 *   query_follow.c   after the snapshot: changes
 *   query_flow.c     between sources and stages: joins and whatever else is no chain
 *   query.c          sources -> [flow] -> stages -> whoever pulls */
#ifndef TIDEMILL_ENGINE_QUERY_INT_H
#define TIDEMILL_ENGINE_QUERY_INT_H

#include "engine/coordinator.h"
#include "engine/keyed_rows.h"
#include "engine/source.h"
#include "engine/view_scan.h"
#include "run/flow_local.h"
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
    struct query_source *source;
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
    struct query_source *source;
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
    /* of a table with a PRIMARY KEY */
    struct keyed_rows *keyed;         /* as of `offset`; NULL: none yet */
    struct row_table_cursor keyed_at; /* rows of the snapshot that were given */
    bool clearing;                    /* live: all rows go */
    bool looked; /* for `lookup` */
    uint64_t compactions;             /* of the partition, when the query was made */
};

/* A scan of a plan that is no chain. */
struct source_port {
    uint32_t scan; /* of the flow */
    uint32_t n_columns;
    const uint32_t *columns; /* of the source's */
    struct column *narrowed; /* room for them */
};

enum source_kind { SOURCE_ONCE, SOURCE_LOG, SOURCE_VIEW };

/* A relation that the query reads, once however often its plan scans it, or constant rows. */
struct query_source {
    struct query *query;
    uint32_t n_ports; /* 0: the query is a chain */
    struct source_port *ports;
    enum source_kind kind;
    const struct relation *rel; /* NULL: constant rows */
    uint32_t n_columns;
    const uint32_t *columns; /* of the relation that are read */
    /* ONCE */
    struct batch *once;
    /* LOG, and following a view's changelog */
    struct row_decoder decoder;
    const struct batch *lookup; /* the row's key that is wanted, all columns; NULL: all rows */
    struct topic topic; /* the relation's; of a follower with partitions that it has got since */
    struct part_read **parts; /* room for PARTITIONS_MAX of a follower's */
    uint32_t n_parts, part_at;
    struct record_reader_state reading;
    int64_t read_to;
    bool range_open;
    bool outgrown;      /* the table has rows in partitions that came after the query */
    bool by_epoch;      /* epochs write the log: partitions are read as of one epoch */
    bool round, woken;  /* a round is under way; there is more than it reads */
    bool pinned;        /* ... as of `as_of`, which is not renewed */
    uint64_t as_of;     /* the epoch of the snapshot, later of the round */
    /* VIEW */
    struct scan_call *scans;
    uint32_t n_scans, scans_back, scan_at, scan_batch_at;
};

struct query {
    struct shard *shard;
    const struct catalog *catalog;
    struct stages *stages;
    struct query_repeat {
        const struct batch *rows; /* whose weights say how often each comes; NULL: none is left */
        bool chained;
        uint32_t row;
        int64_t given; /* times that row has come */
        struct arena arena;
    } repeat;
    struct query_flow *flow; /* NULL: the plan is a chain over one source */
    struct arena arena;      /* lives as long as the query */
    uint32_t n_sources, source_at; /* read one after the other */
    struct query_source *sources;
    bool follow, live; /* live: the snapshot is over; only of one source */
    struct list follow_link; /* of the shard, while it follows a log */
    bool failed, closed, stepping;
    enum err err;
    struct err_detail why;
    struct query_result result;
    void (*done)(void *arg, const struct query_result *r);
    void *arg;
    struct shard_task slice; /* to go on in a later turn */
    _Atomic bool unwanted;   /* scans on other shards need not go on */
    uint32_t in_flight;      /* calls that will come back: the query outlives them */
    uint64_t row_epoch;      /* of the rows that are delivered; 0 = no epoch has written them */
    /* what reading a log needs, one source at a time */
    struct compress *compress;
    struct scratch_pool scratch;
    struct arena batch_arena; /* the rows in work */
    struct kafka_record *records;
    /* query_moment.c */
    enum { MOMENT_OPEN, MOMENT_ASKED, MOMENT_TAKEN } moment;
    uint64_t epoch; /* ... which is this epoch's end; 0 = none of what is read is of epochs */
    struct shard_call permit;
    struct boundary_action boundary;
    struct shard_timer look; /* whether the moment can come, while it is asked for */
    bool stuck;              /* it could not, at the last look */
    /* query_log.c */
    struct shard_timer schema_look; /* whether the schema of the next record has come */
    uint32_t schema;                /* ... which is this one */
    int64_t schema_by_ns;           /* until when it is waited for; 0: not yet */
};

/* ---- query.c ---- */

/* Every call that comes back passes here. True when the query is gone, or nobody wants it. */
bool query_came_back(struct query *q);
/* Ends it with an error. Its receiver may close, and so free, the query. */
void query_fail(struct query *q, enum err e);
/* Goes on where it stands: now, or in the next turn. */
void query_step(struct query *q);
void query_step_later(struct query *q);
/* Gives a batch of the source's columns to what is above and delivers what comes out; goes on later
 * when nothing does. `chained`: the stages' first chain has been run over it. */
void query_feed(struct query_source *src, const struct batch *b, bool chained);
/* Gives rows to the stages and delivers what comes out, as query_feed. They live until the next
 * step that is not about them. */
void query_push(struct query *q, const struct batch *b, bool chained);
/* The snapshot of the source that is read now is at its end. */
void query_source_done(struct query_source *src);
/* Makes ready to read a scanned relation: `columns` of it, which live as long as the query. */
enum err query_source_open(struct query_source *src, const struct relation *rel,
                           const uint32_t *columns, uint32_t n_columns) MUST_CHECK;

/* ---- query_flow.c ---- */

/* Makes the flow of a plan's node and the sources that its scans need. */
enum err query_flow_open(struct query *q, const struct plan_node *root) MUST_CHECK;
void query_flow_close(struct query_flow *f);
/* Takes a batch of a source's columns, whose memory must live until the flow is idle. */
void query_flow_feed(struct query_source *src, const struct batch *b);
/* Whether it has no work left. With all sources at their end: whether all its rows are out. */
bool query_flow_idle(struct query *q, bool sources_done) MUST_CHECK;
/* A piece of its work, and what came of it to the stages. */
void query_flow_step(struct query *q);

/* ---- query_moment.c ---- */

/* Fixes what the query sees, before the first row is read. True when it is; false: query_step comes
 * when it is, or the query fails. */
bool moment_take(struct query *q) MUST_CHECK;

/* ---- query_log.c ---- */

/* Makes ready to read the log of the source's relation. */
enum err source_log_open(struct query_source *src) MUST_CHECK;
void source_log_close(struct query_source *src);
/* Reads the topic's partitions that it does not read yet, from this offset on. */
enum err source_parts_add(struct query_source *src, int64_t offset) MUST_CHECK;
/* The next piece of the snapshot. */
void source_log_step(struct query_source *src);
/* Decodes and feeds the next rows of the loaded range; false when it has none left. */
bool source_range_step(struct query_source *src, struct part_read *p) MUST_CHECK;
/* Loads a range from where the partition's reading stands. */
void source_read(struct query_source *src, struct part_read *p);
/* Asks all partitions where they end as of the newest epoch; followers read at once. */
void source_round(struct query_source *src);
/* Reads a partition's range, or (0 bytes) only where it ends, as of an epoch (0 = the newest). */
void source_round_read(struct query_source *src, struct part_read *p, uint64_t epoch, size_t bytes);
/* Whether partitions are being asked; how much a partition reads at a time. */
bool source_round_reading(const struct query_source *src);
size_t source_round_bytes(const struct query_source *src);
/* Records as rows. A record of a changelog is the row before (header "before"), which goes, and the
 * row in the value, which comes. */
enum err source_decode_rows(struct query_source *src, const struct part_read *p, size_t n,
                            struct batch **out) MUST_CHECK;
enum err source_decode_changes(struct query_source *src, const struct part_read *p, size_t n,
                               struct batch **out) MUST_CHECK;

/* ---- query_keyed.c ---- */

/* Takes in the first n records at hand, or fewer; *out: the changes (live), or NULL. */
enum err source_keyed_records(struct query_source *src, struct part_read *p, size_t n,
                              struct batch **out) MUST_CHECK;
/* Makes p->keyed if there is none. */
enum err source_keyed_start(const struct query_source *src, struct part_read *p) MUST_CHECK;
/* Live: gives rows of a partition that all go; false when there are none (left). */
bool source_keyed_clear(struct query_source *src, struct part_read *p) MUST_CHECK;
/* The snapshot's next rows of a partition that has been read; false when there are none left. */
bool source_keyed_rows(struct query_source *src, struct part_read *p) MUST_CHECK;

/* ---- query_lookup.c ---- */

/* Looks whether the conditions right above the scan of a chain name one row by its whole key. */
enum err source_lookup_open(struct query_source *src, const struct plan_node *root,
                            const struct plan_node *scan) MUST_CHECK;
/* True while that row is looked for in a partition: its log is to be read from p->offset after. */
bool source_lookup(struct query_source *src, struct part_read *p) MUST_CHECK;

/* ---- query_view.c ---- */

/* Makes the calls, one for each shard, that source_view_expect expects back and source_view_scan,
 * on shard 0 between two epochs, sends on their way: all shards scan the same epoch. */
enum err source_view_open(struct query_source *src) MUST_CHECK;
void source_view_expect(struct query_source *src);
void source_view_scan(struct query_source *src, struct shard *s, uint64_t epoch);
void source_view_close(struct query_source *src);
/* The next batch of what the shards have sent. */
void source_view_step(struct query_source *src);

/* ---- query_follow.c ---- */

/* From the end of the snapshot on: the next changes, or waits for them. */
void source_follow_begin(struct query_source *src);
void source_follow_step(struct query_source *src);

/* ---- query_rows.c ---- */

/* The source's columns of a batch of its relation, without copying. */
enum err source_narrow(const struct query_source *src, const struct batch *in, struct batch *out,
                       struct arena *a) MUST_CHECK;
/* Constant rows: each value is evaluated over one row without columns. */
enum err source_values(struct query_source *src, const struct plan_node *node) MUST_CHECK;
/* EXPLAIN's text, a row a line. */
enum err source_explain(struct query_source *src, const struct plan *plan) MUST_CHECK;
/* The rows of sys.* as they are now. */
enum err source_system(struct query_source *src) MUST_CHECK;

/* ---- sys_tables.c ---- */

/* The rows of a sys.* relation. */
enum err sys_rows(struct shard *s, const struct relation *rel, struct arena *a,
                  struct batch **out) MUST_CHECK;
/* The rows of sys.explain. ERR_NO_MEMORY, ERR_LIMIT. */
enum err sys_explain_rows(struct shard *s, struct arena *a, struct batch **out) MUST_CHECK;

#endif
