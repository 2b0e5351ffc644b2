/* A shard's inside: its loop, its queues to other shards, its timers. Private to engine/.
 *
 *   turn:  poll sockets -> inbox of every other shard -> own calls -> timers
 *          -> a piece of the epoch -> tasks -> flushes -> services
 *
 * Calls travel through one SPSC ring per ordered pair of shards; a full ring spills into the
 * sender's `outbox`, a list of caller-owned structs that needs no memory; the target wakes the
 * sender when there is room again. Order between two shards is kept. */
#ifndef TIDEMILL_ENGINE_SHARD_H
#define TIDEMILL_ENGINE_SHARD_H

#include "base/map.h"
#include "base/ring.h"
#include "engine/engine.h"

enum {
    SHARD_RING_SLOTS = 1024,
    SHARD_CALLS_PER_TURN = 4096,
    SHARD_LOCAL_PASSES = 2, /* own calls, and their replies, in the turn that they came in */
    SHARD_TIMERS_MAX = 1 << 20,
    SHARD_STOP_MS_MAX = 10000,
    SHARD_STOP_STUCK_MS_MAX = 1000, /* while outputs cannot be written */
    SHARD_TASK_ROWS_PER_TURN = 4096, /* when tasks have worked on as many, the rest waits */
    SHARD_TASK_ROWS_LEAST = 64,      /* that a task counts for */
};

struct call_queue {
    struct shard_call *head, **tail;
};

/* A piece of work that may take many: `run` does a bounded part of it in a later turn, and adds the
 * task again when there is more. Tasks take turns, so that each gets on and none fills a turn. */
struct shard_task {
    struct list link; /* private */
    void (*run)(struct shard *s, struct shard_task *t);
};

struct flush_worker;
struct part;
struct epochs;
struct coordinator;
struct ddl;

struct shard {
    struct engine *engine;
    uint32_t index;
    struct host_worker *worker;
    int64_t mono_ns, wall_us;
    const struct catalog *catalog;

    struct call_queue outbox[SHARDS_MAX];
    atomic_bool outbox_waits[SHARDS_MAX]; /* for room in the ring; taken back by the target */
    struct call_queue local;
    uint64_t outstanding; /* calls sent and not done */

    struct host_event events[HOST_EVENTS_MAX];
    size_t n_events, event_at;
    struct shard_timer **timers; /* binary heap by at_ns */
    uint32_t n_timers, timers_cap;
    bool timers_firing;
    struct list services;
    struct list tasks;
    struct list follows; /* queries: query.follow_link */
    uint64_t turn_rows;  /* groups and rows that this turn has worked on */

    struct map parts;        /* part_key(topic number, partition) -> struct part */
    struct list dirty;       /* parts with bytes to flush */
    bool dirtied;            /* a part was marked since parts_turn last looked */
    struct list uncommitted; /* parts with outputs of epochs that are not committed */
    struct flush_worker *flush;
    struct part *compacting; /* see compactor.h; NULL = none */
    struct list removals;    /* wait for room on their way to the remover */

    struct epochs *epochs;           /* readers, views, the epoch in work */
    struct coordinator *coordinator; /* shard 0 only */
    struct ddl *ddl;                 /* shard 0 only */

    enum { SHARD_RUNNING, SHARD_STOPPING, SHARD_ARRIVED } phase;
    int64_t stopped_ns; /* when stopping began */
    bool busy; /* more work waits: do not block in poll */
};

/* The worker's turn (`arg` is the shard). Init and deinit: main thread, while no worker runs. */
bool shard_turn(void *arg);
enum err shard_init(struct shard *s, struct engine *e, uint32_t index) MUST_CHECK;
void shard_deinit(struct shard *s);
/* A message that nobody answers: `run` on the target, which then owns the struct until it says
 * otherwise. */
void shard_post(struct shard *from, uint32_t target, struct shard_call *c);

/* Adds a task that is not waiting already; the struct is the shard's until `run`, which always
 * comes. */
void shard_task_add(struct shard *s, struct shard_task *t);
/* The shard has a new catalog: queries that follow a topic read the partitions it has got, too. */
void queries_follow(struct shard *s);
/* Tells that this turn has worked on `rows` groups or rows more. */
void shard_worked(struct shard *s, uint64_t rows);

/* For a call that another shard will send on this one's behalf: shard_expect here, shard_forward
 * there; the reply comes here. */
void shard_expect(struct shard *origin, struct shard_call *c);
void shard_forward(struct shard *via, uint32_t target, struct shard_call *c);

static inline uint32_t topic_shard(const struct engine *e, const struct topic *t,
                                   uint32_t partition)
{
    return (t->placement + partition) % engine_shards(e);
}

#endif
