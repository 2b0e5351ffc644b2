/* The engine: shards, epochs, and what servers may ask of them.
 *
 * A `struct shard` is one thread's world. Every call below that takes a shard is made on that
 * shard's own thread, from inside its turn, and every callback comes back on the same thread, in a
 * later turn or before the call returns. Requests are caller-owned structs that belong to the
 * engine from the call until their `done` runs; they have no time-out of their own but always
 * finish, at the latest with ERR_SHUTDOWN. */
#ifndef TIDEMILL_ENGINE_ENGINE_H
#define TIDEMILL_ENGINE_ENGINE_H

#include "base/list.h"
#include "base/str.h"
#include "host/host.h"
#include "log/log.h"
#include "plan/catalog.h"
#include "plan/plan.h"
#include "type/column.h"

struct engine;
struct shard;
struct part;

/* How things are fetched from outside. `get` may block, with a bound of its own: it is called by a
 * helper thread. ERR_OK: an answer came, with its HTTP status, and its body appended to `body`. All
 * else: why none came, ERR_TIMEOUT when it took too long; `why` names the URL. It gives up when
 * host_stop_requested. */
struct engine_fetch {
    enum err (*get)(void *arg, struct host *h, const char *url, struct buf *body, int *status,
                    struct err_detail *why);
    void *arg;
};

struct engine_options {
    const char *data_dir;
    uint32_t n_shards; /* 1..SHARDS_MAX; 0 = number of processors */
    enum fsync_policy { FSYNC_GROUP, FSYNC_ALWAYS, FSYNC_OS } fsync;
    uint32_t default_partitions; /* of topics created on produce */
    bool auto_create_topics;     /* create-on-produce (metadata request); default true */
    uint64_t memory_bytes_max;   /* per view state, per query result: see engine_limits.h */
    uint32_t epoch_ms_min; /* between two epochs under load: 1..EPOCH_MS_MAX; 0 = 2 */
    /* Of sys.catalog and sys.epochs, which hold a few of them; 0 = 1 MB. */
    uint32_t internal_segment_bytes;
    struct engine_fetch fetch; /* get NULL: what needs it waits for ever, and says so */
    /* Of input between two snapshots of views' state. A start uses those that are there in any
     * case; retention minds them only when more are taken. */
    uint64_t snapshot_bytes;
};
#define SNAPSHOTS_OFF ((uint64_t)0)
enum { SHARDS_MAX = 64, EPOCH_MS_MAX = 100 };

/* Opens the data directory (ERR_IN_USE when another process has it), recovers the log and the
 * catalog, rebuilds views and starts the shard workers. Recovery continues on the shards: see
 * engine_ready. */
enum err engine_open(struct host *h, const struct engine_options *options, struct engine **out,
                     struct err_detail *why) MUST_CHECK;
/* After host_run has returned. */
void engine_close(struct engine *e);
uint32_t engine_shards(const struct engine *e);
/* The i-th shard; for registering services before host_run. */
struct shard *engine_shard(struct engine *e, uint32_t i);
struct host *engine_host(struct engine *e);
/* What it was opened with (defaults filled in). Any thread. */
const struct engine_options *engine_opened_with(const struct engine *e);
/* The last epoch that is committed: its outputs, and all before, are visible. Any thread. */
uint64_t engine_committed_epoch(const struct engine *e);
/* True when views have caught up with what was committed before the start. Any thread. */
bool engine_ready(const struct engine *e);
/* ERR_OK, or why what views put out cannot be written now: they stand still until it can, and for
 * want of room nothing is created or dropped meanwhile. Any thread. */
enum err engine_outputs_stuck(const struct engine *e, struct err_detail *why) MUST_CHECK;

/* ---- a shard's loop, as servers use it ---- */

/* Its number, its engine, the worker that runs it. */
uint32_t shard_index(const struct shard *s);
struct engine *shard_engine(struct shard *s);
struct host_worker *shard_worker(struct shard *s);
int64_t shard_mono_ns(struct shard *s); /* read once per turn */
int64_t shard_wall_us(struct shard *s);
/* The newest catalog this shard knows. Borrowed for this turn; catalog_ref to keep. */
const struct catalog *shard_catalog(struct shard *s);

/* What host_watch's tag must point to: sockets of servers are dispatched by it. */
struct shard_io {
    void (*ready)(struct shard_io *io, uint32_t ready); /* HOST_* bits */
};
/* Watches a socket on this shard's poller. After shard_unwatch (before closing the socket) `ready`
 * is not called again, not even for events already fetched. */
enum err shard_watch(struct shard *s, struct host_socket *sock, uint32_t interest,
                     struct shard_io *io) MUST_CHECK;
void shard_unwatch(struct shard *s, struct shard_io *io);

/* One-shot timer, caller-owned. */
struct shard_timer {
    uint32_t heap_index; /* private; zero-initialise */
    int64_t at_ns;
    void (*fire)(struct shard_timer *t);
};
/* Sets or moves the timer. One set by a timer that fires, for a time that has come, fires in the
 * next turn. Bounded by memory: ERR_NO_MEMORY. */
enum err shard_timer_set(struct shard *s, struct shard_timer *t, int64_t at_ns) MUST_CHECK;
void shard_timer_cancel(struct shard *s, struct shard_timer *t);

/* A cross-shard call: `run` on the target shard, which later calls shard_call_reply(target, c);
 * then `done` on the caller's shard. The struct belongs to the engine in between. Target = own
 * shard works the same (never recursive: next turn). */
struct shard_call {
    void (*run)(struct shard *target, struct shard_call *c);
    void (*done)(struct shard *origin, struct shard_call *c);
    uint16_t origin, target; /* private */
    uint8_t state;           /* private: request, reply or post */
    struct shard_call *next; /* private */
};
void shard_call(struct shard *from, uint32_t target, struct shard_call *c);
void shard_call_reply(struct shard *target, struct shard_call *c);

/* Services: once per turn, after events (e.g. flush of sockets); and at shutdown. */
struct shard_service {
    struct list link;                                        /* private */
    void (*turn)(struct shard_service *sv, struct shard *s); /* may be NULL */
    void (*stop)(struct shard_service *sv,
                 struct shard *s); /* close everything; called once, on the shard */
};
void shard_service_add(struct shard *s, struct shard_service *sv);

/* ---- the log ---- */

/* Append validated record batches to a partition. `batches` stays untouched by the caller until
 * done. */
struct append_request {
    struct shard_call call;        /* private */
    const struct catalog *catalog; /* private */
    const struct topic *topic;     /* the caller keeps its catalog reference until done */
    uint32_t partition;
    char *batches;
    size_t n_bytes;
    uint32_t n_records;
    bool want_durable; /* done after fsync (acks=all, and 1); else after the write */
    bool internal;     /* may write to TOPIC_INTERNAL (consumer offsets) */
    bool marker;       /* a control batch: appended only where its producer has an open transaction,
                          else done at once with base_offset -1 */
    void (*done)(struct append_request *r);
    void *arg;
    /* result */
    enum err err;
    struct err_detail why;
    int64_t base_offset, log_start_offset;
    int64_t append_time_ms; /* what the records' timestamps became; -1 = they are the producer's */
    struct shard *origin;   /* set by shard_append */
    bool (*admit)(struct shard *via, struct append_request *r); /* private, as all below */
    int (*admit_when)(struct part *p, struct append_request *r);
    struct list link;
};
void shard_append(struct shard *s, struct append_request *r);
/* The same, but shard `via` is asked first: admit() runs there, and what it refuses (false, with
 * r->err set) is done. What it lets through comes to the partition in the order of what `via`
 * itself appends there. */
void shard_append_via(struct shard *s, uint32_t via, struct append_request *r,
                      bool (*admit)(struct shard *via, struct append_request *r));

/* Read a range of whole batches below the high watermark, to be sent with host_send_file and
 * released with log_range_release. */
struct read_request {
    struct shard_call call;
    const struct topic *topic;
    uint32_t partition;
    int64_t offset;
    size_t bytes_max; /* 0: only the offsets are asked for */
    /* Of a partition that epochs write: as of this epoch, a value of engine_committed_epoch, so
     * that several partitions are seen at the same one. 0 = the newest. ERR_BUSY when it is so long
     * ago that the partition has forgotten where it ended: take a new one. */
    uint64_t epoch;
    bool committed; /* only below the stable offset, and told what was aborted */
    void (*done)(struct read_request *r);
    void *arg;
    enum err err;
    struct err_detail why;
    struct log_range range; /* len 0: nothing there now */
    int64_t high_watermark, stable_offset, log_start_offset; /* as of that epoch */
    struct log_aborted *aborted; /* in the range, by marker; the caller's to free (mem.h) */
    uint32_t n_aborted;
    struct shard *origin;
};
void shard_read(struct shard *s, struct read_request *r);

/* Tells when a partition's high watermark (`committed`: its stable offset) is above `offset`, or
 * the topic is gone: `done` once. shard_wait_cancel makes `done` come soon with ERR_CANCELED unless
 * it fired already; the struct stays the engine's until done. */
struct wait_request {
    struct shard_call call, cancel;
    const struct topic *topic;
    uint32_t partition;
    int64_t offset;
    bool committed;
    void (*done)(struct wait_request *r);
    void *arg;
    enum err err;
    struct shard *origin;
    struct list link;
    uint8_t state;
};
void shard_wait(struct shard *s, struct wait_request *r);
void shard_wait_cancel(struct shard *s, struct wait_request *r);

/* Offsets of a partition: timestamp -1 = high watermark (`committed`: stable offset), -2 = log
 * start, -3 = offset of greatest timestamp, else first at or after (ms). */
struct offset_request {
    struct shard_call call;
    const struct topic *topic;
    uint32_t partition;
    int64_t timestamp_ms;
    bool committed; /* nothing at or above the stable offset is found */
    void (*done)(struct offset_request *r);
    void *arg;
    enum err err;
    int64_t offset, found_ms; /* -1 = none */
    uint64_t size_bytes;
    int64_t log_start_offset, high_watermark, end_offset;
    struct shard *origin;
};
void shard_offsets(struct shard *s, struct offset_request *r);

/* What the partitions of one shard know of producers. */
struct producer_info {
    uint32_t topic_number, partition;
    int64_t producer_id, seen_ms, txn_first_offset; /* -1 = no open transaction */
    int32_t last_sequence;                          /* -1 = none */
    int16_t epoch;
};
struct producers_request {
    struct shard_call call;
    uint32_t shard;
    uint32_t topic_number, partition; /* topic 0: those with open transactions, of all partitions */
    void (*done)(struct producers_request *r);
    enum err err;
    struct producer_info *list; /* the caller's to free (mem.h) */
    uint32_t n, cap;
};
void shard_producers(struct shard *s, struct producers_request *r);

/* Moves a partition's log start (Kafka's DeleteRecords): `done` when a restart would come back with
 * it. Records that a view has not read yet are not taken: ERR_BUSY. */
struct trim_request {
    struct shard_call call;
    const struct topic *topic; /* the caller keeps its catalog reference until done */
    uint32_t partition;
    int64_t offset; /* -1 = the high watermark */
    void (*done)(struct trim_request *r);
    void *arg;
    enum err err;
    struct err_detail why;
    int64_t start_offset; /* where the log begins now */
    struct shard *origin;
    struct list link;
};
void shard_trim(struct shard *s, struct trim_request *r);

/* Change the catalog: from Kafka (topics) or SQL (plan->change). Runs on shard 0, durable when
 * done. Numbers, ids and placements are filled in there. */
struct ddl_request {
    struct shard_call call;
    struct catalog_change change; /* borrowed memory stays the caller's until done */
    bool if_exists, if_not_exists;
    bool validate_only;
    /* CHANGE_ALTER_TOPIC: makes change.topic (a copy of `now`) what it shall be. Called on shard 0,
     * so that two alterations do not undo each other. An error ends the request. */
    enum err (*amend)(struct ddl_request *r, const struct topic *now);
    void (*done)(struct ddl_request *r);
    void *arg;
    enum err err;
    struct err_detail why;
    bool skipped; /* IF [NOT] EXISTS applied */
    struct shard *origin;
    void *internal;
};
void shard_ddl(struct shard *s, struct ddl_request *r);

/* ---- rows in ---- */

/* Collects validated rows for one table and appends them atomically per partition. Rows are stored
 * as record values of the table's format; the partition is murmur2(key) % n, or round robin per
 * request without a key. */
struct ingest;
enum { INGEST_BYTES_MAX = 64 << 20, INGEST_ROWS_MAX = 1000000 };
/* ERR_UNDEFINED_TABLE, ERR_WRONG_OBJECT_TYPE. Holds its catalog reference. */
enum err ingest_open(struct shard *s, const struct relation *table, struct ingest **out,
                     struct err_detail *why) MUST_CHECK;
/* One JSON object (already delimited), checked against the table: types, NOT NULL, event time
 * present and not in the far future. The error names the column; the caller adds line/row. For a
 * raw topic any JSON value. Nothing is added on error. */
enum err ingest_json(struct ingest *in, struct str json, struct err_detail *why) MUST_CHECK;
/* Rows as columns (INSERT, COPY): batch column i goes to relation column map[i]; missing ones are
 * NULL. `bad_row` receives the row of an error. */
enum err ingest_batch(struct ingest *in, const struct batch *rows, const uint32_t *map,
                      uint32_t *bad_row, struct err_detail *why) MUST_CHECK;
/* The same for a statement: INSERT with its ON CONFLICT, UPDATE, DELETE. The batches are those of
 * the plan's root, the maps its insert_columns; the plan must live until ingest_close. What the
 * rows were is checked when they are committed: ERR_SERIALIZATION says that they were changed
 * meanwhile, and that nothing was done: the statement is to be run again. */
enum err ingest_open_statement(struct shard *s, const struct plan *plan, struct ingest **out,
                               struct err_detail *why) MUST_CHECK;
/* Rows that the last commit has inserted, changed or deleted. */
uint64_t ingest_changed(const struct ingest *in);
/* What the plan's RETURNING gives of them, in the order of the statement's rows: batch i, NULL at
 * the end. Borrowed until ingest_close. */
const struct batch *ingest_returned(const struct ingest *in, uint32_t i);
uint64_t ingest_rows(const struct ingest *in);
size_t ingest_bytes(const struct ingest *in);
/* Appends all; `done` after everything is durable. The ingest is free for more rows (or
 * ingest_close) after done. */
void ingest_commit(struct ingest *in,
                   void (*done)(void *arg, enum err e, const struct err_detail *why), void *arg);
void ingest_close(struct ingest *in); /* uncommitted rows are forgotten */

/* ---- rows out ---- */

/* A running query (STMT_QUERY, STMT_COPY_TO, STMT_EXPLAIN). Pull: nothing is computed beyond a
 * bounded look-ahead that nobody asked for. */
struct query;
struct query_result {
    enum err err;
    const struct err_detail *why;
    const struct batch *rows; /* valid until the next pull or close; with weights for follow.
                                 NULL: the end, an error, or (follow) the end of the snapshot */
    bool snapshot_end;        /* follow: the initial snapshot is over, changes come next */
    /* Rows of a snapshot: the epoch it was taken at. Changes: the epoch that wrote them, which is
     * the same for everybody and at any time. The changes of an epoch come together, before those
     * of later ones, and only when all of them are committed. 0: no epoch has written the rows,
     * they are of a table. */
    uint64_t epoch;
};
/* Starts executing a bound plan (no parameters left). The plan must live until query_close. */
enum err query_open(struct shard *s, const struct plan *plan, bool follow, struct query **out,
                    struct err_detail *why) MUST_CHECK;
/* Asks for the next batch; `done` once per pull, possibly much later for follow. One pull at a
 * time. */
void query_pull(struct query *q, void (*done)(void *arg, const struct query_result *r), void *arg);
/* Ends it; a pending pull's done comes with ERR_CANCELED before this returns. The plan may be freed
 * then: what is still under way borrows nothing of it. */
void query_close(struct query *q);

/* ---- what the system knows of itself ---- */

/* Calls each() for every sample of every metric, samples of one name together: registered counters,
 * then what the engine knows of tables, views and topics. `labels` is a="b",c="d" or "". From any
 * shard's thread. */
void engine_metrics(struct shard *s,
                    void (*each)(void *arg, const char *name, const char *labels, double value,
                                 const char *help, bool counter),
                    void *arg);
/* Where a server listens ("kafka", the address it was given, the port it came to), for the
 * dashboard. Main thread, before host_run; at most LISTENERS_MAX, others are left out. */
enum { LISTENERS_MAX = 8 };
void engine_listener_add(struct engine *e, const char *protocol, const char *address,
                         uint16_t port);
/* Servers register counters here at start-up (main thread); `value` is read with relaxed loads. At
 * most METRICS_MAX. */
enum { METRICS_MAX = 512 };
void engine_metric_add(struct engine *e, const char *name, const char *labels, const char *help,
                       bool counter, const _Atomic uint64_t *value);
/* Appends the running pipeline as JSON (docs/http-api.md: GET /v1/pipeline), and the topics (GET
 * /v1/topics). */
void shard_describe_pipeline(struct shard *s, struct buf *out);
void shard_describe_topics(struct shard *s, struct buf *out);

/* A line to the log on stderr: level, what, where. Rate-limited per call place. Any thread. */
void engine_note(struct engine *e, const char *level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
