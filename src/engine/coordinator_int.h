/* The coordinator's inside. Private to engine/coordinator.c and boundaries.c. */
#ifndef TIDEMILL_ENGINE_COORDINATOR_INT_H
#define TIDEMILL_ENGINE_COORDINATOR_INT_H

#include "base/map.h"
#include "engine/coordinator.h"
#include "engine/epoch_record.h"
#include "engine/floors.h"
#include "engine/output_wait.h"

struct co_part {
    int64_t pos; /* processed up to here */
    int64_t durable;
    int64_t watermark_us; /* at pos */
    int64_t replay_to; /* committed before the start; pos stops here until all partitions have come
                          this far */
    int64_t active_ns; /* when it last had work */
    int64_t told;      /* in the record that was made last; POSITION_UNCHANGED = not in one */
    int64_t keep; /* retention has to leave what is from here on: it may not be committed yet */
    int64_t keep_next; /* ... when keep_epoch is committed */
    bool idle;
    bool waits; /* at pos is a record whose schema has to come first */
};

struct co_reader {
    struct list link;        /* of the coordinator */
    struct list active_link; /* may have work */
    struct list changed_link; /* has gone on since the record that was made last */
    uint32_t id;
    const struct relation *rel;
    uint32_t rel_number;
    bool main;
    bool silent;  /* replaying what was committed */
    bool closing; /* replay is at its end: one more silent epoch closes what had closed by idleness
                   */
    bool replayed; /* that epoch has been: it waits until all that replay have come so far */
    bool touched; /* must be in the next epoch although no row is new */
    bool ran;     /* has been in an epoch that ended: a record may tell of it */
    bool failed;  /* a partition cannot be read: stands still until a restart */
    bool stalled; /* has rows, but the disk has no room for what must be written before */
    bool idle;    /* all partitions were, in the last epoch that it was in */
    int64_t watermark_us;
    int64_t recorded_us; /* watermark at the last commit before the start */
    int64_t told_us;     /* ... and in the record that was made last */
    uint32_t n_parts;
    struct co_part *parts;
};

/* One of a view's sources, and the reader that the view reads it by, or the view that it is. */
struct co_input {
    uint32_t reader;   /* 0: a view */
    uint32_t upstream; /* its number; 0: a reader */
    bool born;         /* upstream's rows are in; its changes come with each epoch */
    uint32_t told; /* reader or view in the record that was made last; 0 = not in one */
    uint32_t n_floors;
    int64_t *floors; /* of a timed view, by partition: the last that its rows came to */
};

struct co_view {
    struct list link;
    uint32_t number;
    uint32_t n_inputs;
    struct co_input *inputs; /* by source */
    bool timed; /* of several tables, with windows: */
    int64_t watermark_us, recorded_us; /* now, and at the last commit before the start */
    int64_t told_us;                   /* in the record that was made last */
    bool failed;       /* as of the epoch that ended last */
    bool failure_told; /* ... and in the record that was made last */
    struct list failing_link; /* fails in the epoch under way */
    enum err err;
    char why[ERR_TEXT_MAX];
};

/* A derived partition: how far epochs have written it, how far they are committed. */
struct co_output {
    struct output_end at; /* as of the last epoch that ended; end -1 = none has written it */
    int64_t next_end;     /* ... with the epoch under way, as far as its shards are done */
    uint32_t owner;       /* shard */
    int64_t committing;   /* end in the record that is being made durable */
    /* written by the epoch under way; by ended ones that no record tells of; in the record that is
     * being made durable */
    struct list written_link, untold_link, committing_link;
    bool dropped;
};

struct coordinator {
    struct shard *shard;
    struct engine *engine;
    struct list readers, active, views;
    struct map by_id;   /* reader id -> co_reader */
    struct map outputs; /* part_key -> co_output */
    struct floors floors;
    const struct catalog *catalog; /* the readers' relations are of it */

    bool running;
    bool replaying; /* a reader is silent */
    uint64_t epoch, finished; /* begun last, ended last */
    uint64_t recorded;        /* in the record that is being made durable */
    uint64_t committed;       /* its outputs, and all before, are visible */
    struct arena plan_arena;
    struct epoch_plan *plan;
    struct co_reader **plan_readers;
    uint32_t n_view_floors;
    struct view_floor *view_floors; /* of the plan */
    uint32_t n_timed;               /* views */
    struct input_result **results; /* [reader][input] */
    struct shard_call begin[SHARDS_MAX];
    uint32_t n_done;
    bool has_outputs; /* this epoch wrote something */
    bool outputs_dropped; /* some are to be forgotten between two commits */
    bool letters_due; /* dead letters came with a DONE and are not all written */
    bool failures_due;   /* the record under way has new ones */
    struct list failing; /* views; read by all shards until they have replied */
    struct shard_call fail_calls[SHARDS_MAX];
    uint32_t fail_acks;

    struct boundary_action *actions, **actions_tail;
    const struct catalog *next_catalog;
    struct shard_call catalog_calls[SHARDS_MAX];
    uint32_t catalog_acks;
    void (*catalog_done)(void *arg);
    void *catalog_arg;

    enum { COMMIT_IDLE, COMMIT_FLUSHING, COMMIT_RECORDING, COMMIT_TELLING } commit;
    bool commit_wanted; /* outputs since the commit under way began */
    struct output_wait wait; /* the record could not be made or written */
    struct buf record;
    bool record_full; /* else it is a delta */
    bool full_due;    /* the next one has to be full, whatever it costs */
    int64_t full_offset; /* of the full record written last */
    uint64_t full_bytes, delta_bytes; /* its size, and that of the deltas behind it */
    struct list changed; /* readers */
    struct list written, untold, committing; /* outputs */
    bool views_changed; /* some view's reader or failure, since the record that was made last */
    int64_t record_end, floors_end;
    struct shard_call tell[SHARDS_MAX]; /* COMMIT to owners of outputs */
    uint32_t commit_tells;
    uint32_t ahead; /* epochs with outputs since the record under way was made */
    struct shard_timer idle_timer;
    int64_t keep_at_ns;
    uint64_t keep_epoch;
    int64_t pace_ns; /* see pace_due */
    bool backlog;    /* the last epoch could not take in all that was durable */
    struct shard_timer pace_timer;
};

/* NULL when there is none. */
struct co_view *co_view_find(const struct coordinator *co, uint32_t number);
struct co_reader *co_reader_find(const struct coordinator *co, uint32_t id);
/* Whether a view has all that there was of the views that it reads when it was made. */
bool co_view_born(const struct co_view *v);
/* Views that begin to read views (births.c). An epoch is needed, if without rows: */
void co_births_touch(struct coordinator *co);
/* Those of the epoch that is planned: all that wait. False: out of memory. */
bool co_births_plan(struct coordinator *co, struct epoch_plan *plan);
void co_births_finish(struct coordinator *co);
/* What reads a view that fails in this epoch fails with it. */
void co_failures_spread(struct coordinator *co);
/* Views fail that were made over ones that had failed. */
void co_unborn_fail(struct coordinator *co);
/* Tells the owners of all partitions what they have to keep. */
void co_keep_tell_all(const struct coordinator *co);
/* It may have work. */
void co_reader_activate(struct coordinator *co, struct co_reader *r);
/* What may be processed of a partition. */
int64_t co_part_stable(const struct coordinator *co, const struct co_reader *r, uint32_t partition);
/* Whether what the epoch wrote, and all before it, is visible: then it has happened. */
bool co_epoch_happened(const struct coordinator *co, uint64_t epoch);
/* ---- view_watermarks.c: views of several tables with windows ---- */

/* Whether a view is one of those. Pure. */
bool co_view_is_timed(const struct view *v);
/* Whether such a view reads by the reader. */
bool co_reader_is_timed(const struct coordinator *co, const struct co_reader *r);
/* Of an input with rows: logs floors that views need, takes over those at its position, and ends it
 * before the next one. False: it has to wait, for room on the disk or memory. */
bool co_views_plan_input(struct coordinator *co, const struct co_reader *r, uint32_t partition,
                         struct epoch_input *in) MUST_CHECK;
/* When all inputs are planned: views whose replay ends take over the watermark that they had. */
bool co_views_plan_replayed(struct coordinator *co) MUST_CHECK;
/* After an epoch: moves the views' watermarks, as shards do. */
void co_views_settle(struct coordinator *co);
/* Adds them to a record that is made, which has room for n_timed readers more; and then. */
void co_views_record(const struct coordinator *co, struct epoch_record *r);
void co_views_recorded(struct coordinator *co);

/* Between epochs: carries out the actions whose time has come. */
void co_run_actions(struct coordinator *co);

#endif
