/* The engine's inside, shared by its files. */
#ifndef TIDEMILL_ENGINE_ENGINE_INT_H
#define TIDEMILL_ENGINE_ENGINE_INT_H

#include "base/ring.h"
#include "engine/engine.h"
#include "engine/shard.h"

#include <stdatomic.h>

enum {
    NUMBERS_MAX = 1 << 20,   /* topics and relations ever made in one data directory */
    /* 1: sys.catalog without snapshots, whole epoch records; 2: those without failed views; 3: no
     * topic has grown; 4: relations without a dialect */
    DATA_FORMAT_VERSION = 5,
};

/* Names of the internal topics; their numbers are fixed. */
enum { NUMBER_CATALOG = 1, NUMBER_EPOCHS = 2, NUMBER_DEAD_LETTERS = 3, NUMBER_FIRST_FREE = 16 };

/* What anybody may read of a partition at any time; written by its owner with relaxed stores. */
struct part_stats {
    _Atomic int64_t start, high_watermark, durable, end;
    _Atomic int64_t stable; /* what readers may process: durable, and no transaction is undecided */
    _Atomic int64_t kept; /* start as a restart would find it */
    _Atomic uint64_t bytes;
    _Atomic uint64_t appended_records, appended_bytes;
    _Atomic int64_t watermark_us; /* INT64_MIN = none */
    _Atomic int64_t keep_from;    /* retention stays below: views still need it; INT64_MAX = none
                                     does. Written by the coordinator */
    _Atomic int64_t snapshot_keep; /* ... and below this: snapshots need what is behind it */
    _Atomic int64_t position;     /* next offset the table's reader processes; -1 = not read */
    _Atomic int64_t window_end_us; /* a view's: of its first open window; INT64_MAX = none */
    _Atomic uint64_t compactions; /* steps, each of which may have changed the log */
    _Atomic bool idle;
    _Atomic bool advance_awaited; /* readers have taken in all that is durable: tell of more */
};

/* Of a topic's partitions, in chunks of 1, 2, 4, ... that never move: others read while it grows.
 * Whoever holds a catalog finds what it names. */
enum { PART_CHUNKS = 11 };
_Static_assert((1 << PART_CHUNKS) - 1 >= PARTITIONS_MAX, "every partition has a place");
struct topic_stats {
    _Atomic(struct part_stats *) chunks[PART_CHUNKS];
};

static inline struct part_stats *topic_part(const struct topic_stats *t, uint32_t partition)
{
    uint32_t chunk = 31 - (uint32_t)__builtin_clz(partition + 1);
    return atomic_load_explicit(&t->chunks[chunk], memory_order_acquire) + partition + 1 -
           (1u << chunk);
}

/* What a view's shards have counted, with what it was at the last two samples. */
struct figure {
    _Atomic uint64_t total, at[2];
};
struct operator_figures {
    const struct plan_node *node; /* of the view's plan: to be compared only */
    struct figure rows_in[2], rows_out, busy_ns;
    _Atomic int64_t rows, bytes;
};
/* Written by the shards that run the view, sampled by shard 0 (view_figures.h). */
struct view_figures {
    struct figure rows_in, rows_filtered, rows_out; /* samples of relation_stats' */
    struct figure source_ns, state_ns;              /* busy, of all shards */
    uint32_t n_operators, n_scans;
    struct operator_figures operators[]; /* of the flow, then its scans: rows_out only */
};

enum view_status { VIEW_BACKFILLING, VIEW_LIVE, VIEW_FAILED };

/* The same for a relation. Sums over shards. */
struct relation_stats {
    _Atomic uint64_t rows_in, rows_out, late_rows, dead_letters;
    _Atomic uint64_t bytes_out; /* of a publication */
    _Atomic uint64_t rows_windowed,
        rows_filtered; /* behind the window and filter steps of a view */
    _Atomic int64_t groups, state_bytes;
    _Atomic int64_t watermark_us;
    _Atomic int status; /* enum view_status */
    struct view_figures *figures; /* of a view */
    _Atomic bool has_error;
    _Atomic int err;          /* an enum err: why the view has failed */
    char error[ERR_TEXT_MAX]; /* written once, before has_error */
};

struct metric {
    const char *name, *labels, *help;
    bool counter;
    const _Atomic uint64_t *value;
};

struct remover;
struct schemas;
struct snapshots;

struct engine {
    struct host *host;
    struct engine_options options;
    char data_dir[HOST_PATH_MAX / 2];
    struct host_file *lock;
    uint32_t n_shards;
    struct shard *shards;
    struct ring *rings; /* [from * n_shards + to] */
    struct remover *remover;
    struct compactor *compactor;
    struct schemas *schemas;
    struct snapshots *snapshots;
    bool restart; /* the start has to begin anew: a snapshot that it began with is no good */
    _Atomic uint32_t shards_arrived;
    _Atomic bool ready;
    _Atomic uint32_t outputs_waiting; /* writers of outputs that cannot write now */
    _Atomic int outputs_err;          /* what the last of them met */
    int64_t started_ns, started_wall_us;
    uint64_t hash_seed; /* secret, of this process: for hashes of what clients choose */
    _Atomic uint64_t epoch;       /* last epoch processed */
    _Atomic uint64_t committed;   /* last epoch whose outputs are visible */
    _Atomic bool outputs_awaited; /* a commit waits for outputs to be durable: wake shard 0 */
    _Atomic uint64_t epochs_committed, flushes, flush_ns;
    _Atomic uint64_t scan_kept;     /* groups kept for scans that later epochs overtook */
    _Atomic uint64_t turn_rows_max; /* most groups and rows that one turn of a shard worked on */
    _Atomic uint64_t compactions, compacted_bytes;
    _Atomic(struct topic_stats *) *topic_stats;       /* by topic number; NUMBERS_MAX */
    _Atomic(struct relation_stats *) *relation_stats; /* by relation_slot; 2 * NUMBERS_MAX */
    struct metric metrics[METRICS_MAX];
    uint32_t n_metrics;
    struct listener {
        char protocol[16], address[HOST_ADDRESS_MAX];
    } listeners[LISTENERS_MAX];
    uint32_t n_listeners;
    _Atomic int64_t note_at_ns;
    _Atomic int64_t sampled_ns[2]; /* when figures were sampled, the older one first */
};

static inline struct ring *engine_ring(struct engine *e, uint32_t from, uint32_t to)
{
    return &e->rings[from * e->n_shards + to];
}
static inline struct topic_stats *engine_topic_stats(struct engine *e, uint32_t number)
{
    return atomic_load_explicit(&e->topic_stats[number], memory_order_acquire);
}
/* Relations that follow from a topic are numbered by it, and come behind the others. */
static inline uint32_t relation_slot(uint32_t number)
{
    return number & RELATION_OF_TOPIC ? NUMBERS_MAX + (number & ~(uint32_t)RELATION_OF_TOPIC)
                                      : number;
}
static inline struct relation_stats *engine_relation_stats(struct engine *e, uint32_t number)
{
    return atomic_load_explicit(&e->relation_stats[relation_slot(number)], memory_order_acquire);
}
static inline struct part_stats *engine_part_stats(struct engine *e, uint32_t topic_number,
                                                   uint32_t partition)
{
    return topic_part(engine_topic_stats(e, topic_number), partition);
}
/* Makes room for a topic's partitions, or a relation, before anybody looks (shard 0, or before the
 * start). */
enum err engine_topic_stats_add(struct engine *e, const struct topic *t) MUST_CHECK;
enum err engine_relation_stats_add(struct engine *e, const struct relation *r) MUST_CHECK;

/* Durability or consistency can no longer be promised: says why and ends the process. */
_Noreturn void engine_fatal(struct engine *e, enum err err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The folder of a partition, NUL-terminated. */
void engine_partition_dir(const struct engine *e, uint32_t topic_number, uint32_t partition,
                          char *out, size_t n);

static inline void stat_add(_Atomic uint64_t *v, uint64_t n)
{
    atomic_fetch_add_explicit(v, n, memory_order_relaxed);
}
/* Adds the time since `began_ns`, of the host's clock. */
static inline void engine_count_busy(struct engine *e, struct figure *busy_ns, int64_t began_ns)
{
    stat_add(&busy_ns->total, (uint64_t)(host_mono_ns(e->host) - began_ns));
}
static inline void stat_set(_Atomic int64_t *v, int64_t x)
{
    atomic_store_explicit(v, x, memory_order_relaxed);
}
static inline void stat_setu(_Atomic uint64_t *v, uint64_t x)
{
    atomic_store_explicit(v, x, memory_order_relaxed);
}
static inline int64_t stat_get(const _Atomic int64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}
static inline uint64_t stat_getu(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

#endif
