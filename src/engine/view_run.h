/* A materialized view as one shard runs it: compiled once, with state for the state partitions that
 * live here.
 *
 *   source side (where the input partition lives)      state side (where the group lives)
 *   scan -> [window] -> [filter] -> [project]
 *        -> keys, arguments  ---- packet ---->         groups -> [having] -> [project] -> changelog
 *
 * A view without an aggregate has no state: its packets are rows for the changelog partition of the
 * same number, modulo how many there are: the source may have more. A publication is such a view:
 * its rows go to the connector, and what that took to the changelog. Private to engine/. */
#ifndef TIDEMILL_ENGINE_VIEW_RUN_H
#define TIDEMILL_ENGINE_VIEW_RUN_H

#include "base/merge_sort.h"
#include "engine/connector.h"
#include "engine/dead_letters.h"
#include "engine/epoch.h"
#include "engine/records.h"
#include "engine/remover.h"
#include "run/aggregate_plan.h"
#include "run/flow_local.h"

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
    int64_t watermark_us;            /* windows that end here or before are closed */
    uint64_t heap_bytes;             /* that cells own outside of the groups */
    uint64_t operator_bytes;         /* of the view's operators */
    struct group **empty;            /* groups without rows, to be removed when nobody scans */
    uint32_t n_empty, empty_cap;
    int64_t groups_told, bytes_told; /* what this partition has added to the view's statistics */
    /* the epoch in work */
    struct touched *touched;
    uint32_t n_touched, touched_cap;
    struct receipt taken; /* of a publication */
    struct records out;
    /* a start from a snapshot */
    bool restoring;
    uint64_t n_restoring; /* groups that it has of this partition */
};

struct reader;
struct epoch_work;
struct view_capture;

/* A view with operators in the epoch at hand. */
struct view_epoch {
    struct epoch_work *work;
    const struct epoch_plan *plan;
    bool silent;
    int64_t watermark_us; /* of the view, after it */
    /* private */
    bool busy, ending, ended;
};

/* One of a view's sources: a relation with a reader, or another view (upstream). */
struct view_input {
    struct list link; /* of the reader, or the view, that feeds it */
    struct view_run *view;
    uint32_t source;
    struct reader *reader;     /* NULL: of a view */
    struct view_run *upstream; /* NULL: of a reader */
    bool born;                 /* has upstream's rows, and gets its changes from now on */
    bool birth;                /* gets them in this epoch */
    uint32_t n_floors;
    int64_t *floors;      /* by partition: its rows are held against at least this watermark */
    uint32_t n_late;      /* partitions of its late table: as many as the source has; 0 = none */
    struct records *late; /* per source partition that lives here */
};

struct view_run {
    uint32_t n_inputs;
    struct view_input *inputs; /* by source */
    uint32_t number;
    const struct relation *rel; /* refreshed with every catalog */
    const struct plan_node *scan, *aggregate, *root;
    struct relation_stats *stats;
    struct arena arena;         /* compiled programs */
    struct chain *source_chain; /* up to keys and arguments, or to the root */
    const struct connector_kind *connector; /* of a publication; else NULL */
    struct flow *flow;          /* operators below the last stage; NULL: the plan is a chain */
    struct flow_local *local;   /* their state, where it lives */
    struct view_epoch now;
    bool counted; /* the last aggregate counts a group's rows: without any it has no row */
    bool whole;   /* a group is a distinct row: it comes as often as is counted */
    bool keyed;   /* a group is the only row of its key, if it has one */
    bool direct;  /* a publication that takes what operators give, without a last stage */
    bool unique;  /* the key of a row's changes is less than the row */
    uint32_t tail_bytes; /* of the keys of such groups: how the row writes them */
    struct chain *result_chain; /* from the aggregate's output to the root */
    bool windowed, emit_final;
    int64_t retention_us; /* of closed windows, behind the watermark; INT64_MAX = for ever */
    bool closes;          /* groups are over with their window; else one has rows of many windows */
    uint32_t bound_column; /* with operators: the key that is a bound of the group's window ... */
    int64_t to_end;        /* ... and what to add to it for the window's end */
    uint32_t windows_per_row;     /* 1 without a window */
    struct agg_plan agg;          /* zeroes without an aggregate */
    uint64_t partition_bytes_max; /* of state: the view's bound, shared evenly */
    uint64_t hash_seed;           /* the engine's */
    uint32_t n_partitions;
    struct state_partition
        *partitions;      /* only those that live here have groups; NULL without an aggregate */
    uint32_t level;       /* above those of the views that it reads */
    struct list over_link; /* of the views with a level, by level */
    struct list feeds;    /* view_input.link of the views that read it */
    struct list scans;    /* view_scan.link: what they may still read is not freed */
    struct view_capture *capture; /* under way: what it has not written yet is not lost; or NULL */
    uint64_t planned;     /* the epoch that it was in last */
    bool silent;          /* in this one: what it gives was given before */
    int64_t watermark_us; /* ... the least of its sources', after it */
    bool stands;          /* a source of its, or of a view that it reads, cannot be read */
    bool failed;          /* takes in nothing more: since an epoch before, or in this one here */
    struct view_failure failure; /* told with DONE */
    struct view_letters letters;
    struct removal removal;
};

/* Compiles the view and makes its local state. */
enum err view_run_new(struct shard *s, const struct relation *rel, struct view_run **out,
                      struct err_detail *why) MUST_CHECK;
void view_run_free(struct view_run *v);
/* Makes room for the partitions that its late table has got, with its source's. Between epochs. */
enum err view_run_grow(struct view_run *v) MUST_CHECK;
/* Takes over a floor (epoch.h). ERR_NO_MEMORY. */
enum err view_run_floor(struct view_run *v, const struct view_floor *f) MUST_CHECK;
/* The same of a dropped view, on the remover's thread: its groups may be many. */
void view_run_give_up(struct shard *s, struct view_run *v);
/* What stands for a view from now on that has failed: its name and statistics, in its place among
 * its reader's views, without state. The caller gives the view itself up then. NULL when out of
 * memory: the view stays. */
struct view_run *view_run_remains(struct view_run *v);

/* ---- source side ---- */

/* One decoded batch of a source partition, with what is needed to tell about its rows. */
struct source_batch {
    const struct relation *rel;
    const struct batch *batch;          /* all its columns */
    const int64_t *watermarks;          /* before each row; NULL without event time */
    const struct kafka_record *records; /* per row */
    uint32_t partition;
    int64_t now_us;
    bool silent;
};
/* Runs the view's source side over a batch: packets and dead letters go to `w`. */
enum err view_run_source(struct view_run *v, const struct source_batch *in,
                         struct epoch_work *w) MUST_CHECK;

/* Rows of a batch that were late, ascending: counted, and kept in the late table. */
void view_keep_late(struct view_run *v, const struct source_batch *in, const uint32_t *rows,
                    uint32_t n, const struct epoch_work *w);
/* A packet to the shard of its state partition. */
void view_packet_send(struct view_run *v, struct epoch_work *w, struct packet *p);
/* The scan's columns of a decoded batch, without copying. */
enum err view_scan_batch(const struct plan_node *scan, const struct batch *in, struct arena *a,
                         struct batch *out) MUST_CHECK;

/* ---- state side ---- */

/* Adds a packet's rows to their groups. What has to last until the end of the epoch is in `a`. An
 * error fails the view. */
enum err view_run_apply(struct view_run *v, const struct packet *p, const struct epoch_plan *plan,
                        bool silent, struct arena *a, struct arena *temporary) MUST_CHECK;
/* The end of an epoch for one partition, in pieces that work on about BATCH_ROWS_MAX groups:
 *
 *   CHANGES --> CLOSE --> SORT --> WRITE --> BIRTH --> EXPIRE --> END     (SORT, WRITE: emit =
 * 'final'; BIRTH: a view begins to read this one)
 *
 * writes what changed, closes the windows up to `watermark_us`; changes go to partition->out unless
 * silent, and to the views that read this one. The caller fills in the first part. */
struct view_finish {
    struct view_run *view;
    struct state_partition *part;
    struct epoch_work *work;
    int64_t watermark_us, now_us;
    bool silent;
    /* private */
    enum {
        FINISH_CHANGES,
        FINISH_CLOSE,
        FINISH_SORT,
        FINISH_WRITE,
        FINISH_BIRTH,
        FINISH_EXPIRE,
        FINISH_END
    } phase;
    uint32_t at;                       /* of part->touched, later of the groups to write */
    uint32_t n_closed;                 /* windows; */
    uint32_t window_at, group_at, ref; /* ... which of them is walked, where in it */
    uint32_t n_kept;                   /* ... its groups that have rows */
    uint32_t n_groups, n_groups_max, n_expired;
    struct touched *groups, *spare; /* of the closed windows */
    struct group_table_cursor walk; /* BIRTH */
    struct merge_sort sort;
};
/* The next piece; true in *more when there is another. An error fails the view and ends it. */
enum err view_finish_step(struct view_finish *f, bool *more) MUST_CHECK;
/* A group joins the open ones of its window. ERR_NO_MEMORY. */
enum err view_window_add(struct state_partition *sp, struct group *g, int64_t end) MUST_CHECK;
/* Whether a group of a view that counts them has rows. */
bool view_group_has_rows(const struct view_run *v, struct group *g);
/* A group without rows is removed at the end of an epoch in which nobody scans. ERR_NO_MEMORY. */
enum err view_empty_add(struct state_partition *sp, struct group *g) MUST_CHECK;
/* Brings the view's statistics in line with a partition's size. */
void view_tell_size(struct engine *e, struct view_run *v, struct state_partition *sp);
/* Memory of its state. */
uint64_t view_partition_bytes(const struct state_partition *sp);
/* Gives rows of a publication to its connector. */
enum err view_publish(struct view_run *v, struct state_partition *sp,
                      const struct batch *rows) MUST_CHECK;
/* Makes the one row of a view without keys. */
/* Whether views want to know of its changes, also in a replay. */
bool view_run_feeds(const struct view_run *v);
enum err view_run_seed(struct view_run *v, struct state_partition *sp, uint64_t epoch) MUST_CHECK;
/* The view cannot go on: it takes in nothing more here, and the coordinator is told at the end of
 * the epoch, which fails it everywhere and for good (coordinator.h). */
void view_run_fail(struct view_run *v, struct epoch_work *w, enum err e,
                   const struct err_detail *why);
/* The same for what applying rows came to, with what to do. `known` may have no text. */
void view_run_apply_failed(struct view_run *v, struct epoch_work *w, enum err e,
                           const struct err_detail *known);
/* Whether a row's error is one that no row can be spared: then the view has failed with it. */
bool view_run_stopped(struct view_run *v, struct epoch_work *w, enum err e, const char *text);
/* Forgets what the view has not written yet. */
void view_run_clear(struct view_run *v);
/* The view's table cannot be read any further: until the next start it has failed for its users,
 * with all that was read. */
void view_run_stand(const struct view_run *v, enum err e, const struct err_detail *why);
/* Shows users that a view has failed, with the reason. The first one stays. */
void view_stats_fail(struct relation_stats *st, enum err e, const char *why);

/* ---- results ---- */

/* A group and the cells to make its row of. */
struct view_pick {
    const struct group *group;
    const char *cells; /* NULL: no row */
};
struct view_rows {
    struct chain_result out;
    uint32_t *place; /* pick -> row of out.batch, UINT32_MAX = it has none */
};
/* The view's rows of some groups, in `a`. A group whose result fails has none, and is told as a
 * dead letter of `w` (NULL: not told). */
enum err view_run_rows(struct view_run *v, struct state_partition *sp,
                       const struct view_pick *picks, uint32_t n, int64_t now_us, struct arena *a,
                       struct epoch_work *w, struct view_rows *out) MUST_CHECK;

#endif
