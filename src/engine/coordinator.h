/* The coordinator, on shard 0: decides epochs, commits them, orders what must happen between them.
 * Private to engine/.
 *
 *          work, and time for an epoch         every DONE is in
 *   IDLE ------------------------------> RUNNING -----------------> IDLE
 *                                           \--a view failed--> FAILING --all shards know--> IDLE
 *   between epochs: new catalogs first, then scans of view state
 *
 *   an epoch with outputs:
 *   FLUSHING --all outputs durable--> RECORDING --record durable: the epoch is visible--> TELLING
 *                                                (owners raise high watermarks)
 *
 * The commit runs beside the next epochs; an epoch that ends while one is being committed is
 * committed with the next.
 *
 * A view that fails on one shard, in the middle of an epoch, fails as of the end of the epoch
 * before: all shards take back what it wrote in this one, before it ends (its outputs are in no
 * record), and the epoch's record has the failure and its reason. Both count from the same moment,
 * or, after a crash before it, neither does. */
#ifndef TIDEMILL_ENGINE_COORDINATOR_H
#define TIDEMILL_ENGINE_COORDINATOR_H

#include "engine/epoch.h"

enum { BOUNDARY_WAIT_MS = 1000 };

struct coordinator;
struct epoch_record;

/* Makes shard 0's coordinator, without readers. Main thread, before any worker runs. */
enum err coordinator_new(struct shard *s, struct coordinator **out) MUST_CHECK;
/* After the workers have ended. NULL is fine. */
void coordinator_free(struct coordinator *co);
/* Once a turn of shard 0. While stopping it begins no epoch, but finishes what waits for a
 * boundary. */
void coordinator_turn(struct coordinator *co);
/* A partition's durable end moved (run on shard 0; replies at once). */
void coordinator_on_advance(struct shard *s, struct shard_call *c);

/* Hands a new catalog to all shards at the next boundary; `done(arg)` when every shard has it.
 * Takes over the reference. One at a time. */
void coordinator_set_catalog(struct coordinator *co, const struct catalog *catalog,
                             void (*done)(void *arg), void *arg);
/* The same at start-up, before any thread runs: only the coordinator's part. `record` may be NULL.
 */
enum err coordinator_adopt(struct coordinator *co, const struct catalog *catalog,
                           const struct epoch_record *record) MUST_CHECK;

/* A view, or a table that views read, that an action has to do with. */
struct boundary_relation {
    uint32_t number;
    uint32_t source;  /* of the view's */
    int64_t *targets; /* room for PARTITIONS_MAX offsets of its table; filled by the coordinator */
};

/* At the start, when all is adopted: a reader begins where a snapshot has it. */
void coordinator_restore_reader(struct coordinator *co, uint32_t id,
                                const struct reader_state *at);

/* Something that must see all shards at one epoch: called on shard 0 at the next boundary, where it
 * may shard_post or forward calls to all shards. */
struct boundary_action {
    void (*act)(struct shard *s, struct boundary_action *a, uint64_t epoch);
    /* The action waits until these have taken in what was durable when it came, so that a client
     * sees what it has written. At most BOUNDARY_WAIT_MS when they are further behind, and as long
     * as it takes while they are being rebuilt after a start. */
    uint32_t n_relations;
    const struct boundary_relation *relations;
    bool everything; /* ... until nothing durable waits to be taken in by any view */
    bool committed;  /* ... and until what epochs have written by then is committed */
    uint64_t epoch;  /* of `committed`: this one; 0 = the one that has ended by then; filled in */
    bool late;       /* set for act: the time was up before */
    int64_t deadline_ns;
    struct boundary_action *next;
};
void coordinator_at_boundary(struct coordinator *co, struct boundary_action *a);
/* In act: how far the epochs that have ended have read a partition of a table: by the reader of a
 * view of the action's that is made of the table, else by the table's own. -1: nothing reads it. */
int64_t coordinator_position(const struct coordinator *co, const struct boundary_action *a,
                             const struct relation *table, uint32_t partition);

/* The catalog's topic must be durable up to `end` before an epoch is committed. */
void coordinator_logged(struct coordinator *co, int64_t end);
/* A schema has become known: partitions that wait for one go on. */
void coordinator_schemas(struct coordinator *co);

/* A floor read back from the catalog topic at start-up, or made when a partition woke: from
 * `offset` on, the partition's watermark is at least `watermark_us` for that reader. */
enum err coordinator_add_floor(struct coordinator *co, uint32_t reader, uint32_t partition,
                               int64_t offset, int64_t watermark_us) MUST_CHECK;
/* Forgets floors that no reader can come to any more (of relations that are gone, below what
 * retention has dropped) and calls each(arg, ...) for the others, until it fails. */
enum err coordinator_floors(struct coordinator *co,
                            enum err (*each)(void *arg, uint32_t reader, uint32_t partition,
                                             int64_t offset, int64_t watermark_us),
                            void *arg) MUST_CHECK;
/* A shard finished the epoch (run on shard 0). */
void coordinator_on_done(struct shard *s, struct shard_call *c);

/* Whether a relation has a reader of its own, views or not: its rows are checked as they come. */
bool relation_has_reader(const struct relation *rel);

#endif
