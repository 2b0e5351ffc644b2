/* A materialized view as one shard runs it: compiled once, with state for the state partitions that
 * live here.
 *
 *   source side (where the input partition lives)      state side (where the group lives)
 *   scan -> [window] -> [filter] -> [project]
 *        -> keys, arguments  ---- packet ---->         groups -> [having] -> [project] -> changelog
 *
 * A view without an aggregate has no state: its packets are rows for the changelog partition of the
 * same number. Private to engine/. */
#ifndef TIDEMILL_ENGINE_VIEW_RUN_H
#define TIDEMILL_ENGINE_VIEW_RUN_H

#include "engine/epoch.h"
#include "engine/records.h"
#include "engine/remover.h"
#include "run/aggregate.h"
#include "run/chain.h"
#include "state/group_table.h"

/* Groups of windows that end at the same time, in the order they came. */
struct window_bucket {
    int64_t end;
    uint32_t first, last; /* refs into the groups */
    uint32_t n;
};

/* Windows that are over, ascending by end. */
struct window_queue {
    struct window_bucket *windows;
    uint32_t at, n, cap; /* the first one, how many, room */
};

/* A group changed in this epoch, with its cells as they were before. */
struct touched {
    struct group *group;
    char *before; /* NULL: the group is new */
};

struct state_partition {
    uint32_t number;
    struct group_table *groups;
    struct window_bucket *windows; /* open ones, ascending by end */
    uint32_t n_windows, windows_cap;
    struct window_queue closed;
    int64_t watermark_us; /* windows that end here or before are closed */
    uint64_t heap_bytes; /* that cells own outside of the groups */
    int64_t groups_told, bytes_told; /* what this partition has added to the view's statistics */
    /* the epoch in work */
    struct touched *touched;
    uint32_t n_touched, touched_cap;
    struct records out;
};

struct view_run {
    struct list reader_link; /* of the reader that feeds it */
    uint32_t number;
    const struct relation *rel; /* refreshed with every catalog */
    const struct plan_node *scan, *aggregate, *root;
    struct relation_stats *stats;
    struct arena arena;         /* compiled programs */
    struct chain *source_chain; /* up to keys and arguments, or to the root */
    struct chain *result_chain; /* from the aggregate's output to the root */
    bool windowed, emit_final;
    int64_t retention_us; /* of closed windows, behind the watermark; INT64_MAX = for ever */
    bool closes; /* groups are over with their window; else one has rows of many windows */
    uint32_t windows_per_row; /* 1 without a window */
    uint32_t n_keys, n_aggs;
    enum type *agg_output_types; /* keys, then results */
    struct agg_op *ops;
    uint32_t *arg_column,
        *filter_column; /* per aggregate: column of the packet, UINT32_MAX = none */
    uint32_t cells_bytes;
    uint64_t partition_bytes_max; /* of state: the view's bound, shared evenly */
    uint32_t n_partitions;
    struct state_partition
        *partitions;      /* only those that live here have groups; NULL without an aggregate */
    struct records *late; /* per source partition that lives here */
    bool failed; /* on this shard: see view_run_failed */
    struct removal removal;
};

/* Compiles the view and makes its local state. */
enum err view_run_new(struct shard *s, const struct relation *rel, struct view_run **out,
                      struct err_detail *why) MUST_CHECK;
void view_run_free(struct view_run *v);
/* The same of a dropped view, on the remover's thread: its groups may be many. */
void view_run_give_up(struct shard *s, struct view_run *v);

/* ---- source side ---- */

/* One decoded batch of a source partition, with what is needed to tell about its rows. */
struct source_batch {
    const struct batch *batch;          /* all columns of the relation */
    const int64_t *watermarks;          /* before each row; NULL without event time */
    const struct kafka_record *records; /* per row */
    uint32_t partition;
    int64_t now_us;
    bool silent;
};
struct epoch_work;
/* Runs the view's source side over a batch: packets and dead letters go to `w`. */
enum err view_run_source(struct view_run *v, const struct source_batch *in,
                         struct epoch_work *w) MUST_CHECK;

/* ---- state side ---- */

/* Adds a packet's rows to their groups. An error fails the view. */
enum err view_run_apply(struct view_run *v, const struct packet *p, const struct epoch_plan *plan,
                        bool silent, struct arena *a) MUST_CHECK;
/* Ends the epoch for one partition: closes windows up to `watermark_us`, writes the changes to
 * partition->out unless silent. */
enum err view_run_finish(struct view_run *v, struct state_partition *sp, int64_t watermark_us,
                         int64_t now_us, bool silent, struct epoch_work *w) MUST_CHECK;
/* Makes the one row of a view without keys. */
enum err view_run_seed(struct view_run *v, struct state_partition *sp, uint64_t epoch) MUST_CHECK;
/* Marks the view failed with a reason that users see. */
void view_run_fail(struct view_run *v, enum err e, const struct err_detail *why);

/* Whether the view has failed, on whichever shard: then it takes in nothing more. */
bool view_run_failed(struct view_run *v);

/* Rows of the view as they stand: calls each(arg, batch) for batches of at most BATCH_ROWS_MAX
 * rows, which are in `a` and gone with the next batch. Between epochs only. */
enum err view_run_scan(struct view_run *v, int64_t now_us, struct arena *a,
                       enum err (*each)(void *arg, const struct batch *b), void *arg) MUST_CHECK;

#endif
