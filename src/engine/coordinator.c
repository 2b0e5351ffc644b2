#include "base/check.h"
#include "base/mem.h"
#include "engine/coordinator_int.h"
#include "engine/ddl.h"
#include "engine/epochs.h"
#include "engine/partition.h"
#include "engine/records.h"
#include "engine/schemas.h"
#include "engine/snapshots.h"
#include "engine/view_figures.h"
#include "engine/view_run.h"

#include <stdio.h>

enum {
    IDLE_CHECK_MS = 100,
    KEEP_TELL_MS = 2500, /* retention runs every 10 s */
    RECORD_BYTES_MAX = 64 << 20,
    EPOCH_BURST = 2, /* epochs after a pause that need not wait for each other */
    EPOCHS_AHEAD_MAX = EPOCH_MARKS_MAX / 2 - 1, /* with outputs, beside one commit */
};

struct co_reader *co_reader_find(const struct coordinator *co, uint32_t id)
{
    return map_get(&co->by_id, id);
}

void co_reader_activate(struct coordinator *co, struct co_reader *r)
{
    if (r->failed)
        return;
    /* Tables' readers first: a floor that one makes now holds for those that catch up with it. */
    if (list_empty(&r->active_link))
        list_add(r->main ? co->active.next : &co->active, &r->active_link);
    co->shard->busy = true;
}

static struct part_stats *part_stats_of(const struct coordinator *co, const struct co_reader *r,
                                        uint32_t partition)
{
    return engine_part_stats(co->engine, r->rel->topic->number, partition);
}

int64_t co_part_stable(const struct coordinator *co, const struct co_reader *r, uint32_t partition)
{
    return atomic_load(&part_stats_of(co, r, partition)->stable);
}

/* Whether something waits for a reader, be it for the end of its transaction. */
static bool part_waits(const struct coordinator *co, const struct co_reader *r, uint32_t partition)
{
    return r->parts[partition].pos < atomic_load(&part_stats_of(co, r, partition)->durable);
}

/* Whether something is there to be read. */
static bool reader_behind(const struct coordinator *co, const struct co_reader *r)
{
    uint32_t i = 0;
    while (i < r->n_parts && (r->parts[i].waits || r->parts[i].pos >= co_part_stable(co, r, i)))
        i++;
    return i < r->n_parts;
}

/* Whether what is left for a reader has to wait until others have replayed. */
static bool reader_waits(const struct coordinator *co, const struct co_reader *r)
{
    return co->replaying && (r->replayed || !r->silent);
}

/* Nothing is left to read: partitions tell when there is more. What became durable between the last
 * look and the asking would be told by nobody. */
static void reader_rest(struct coordinator *co, struct co_reader *r)
{
    list_remove(&r->active_link);
    if (reader_waits(co, r))
        return;
    for (uint32_t i = 0; i < r->n_parts; i++)
        atomic_store(&part_stats_of(co, r, i)->advance_awaited, true);
    if (reader_behind(co, r))
        co_reader_activate(co, r);
}

static int64_t part_start(const struct coordinator *co, const struct co_reader *r,
                          uint32_t partition)
{
    return stat_get(&part_stats_of(co, r, partition)->start);
}

/* ---- floors: what a partition that wakes from idleness takes over ---- */

/* The first floor at or after `from`; NULL when there is none. */
static const struct floor *floor_at(const struct coordinator *co, const struct co_reader *r,
                                    uint32_t partition, int64_t from)
{
    /* A view that is catching up sees the floors of its table's reader. */
    uint32_t main = co_reader_find(co, r->rel->number) != NULL ? r->rel->number : r->id;
    return floors_at(&co->floors, main, partition, from);
}

enum err coordinator_add_floor(struct coordinator *co, uint32_t reader, uint32_t partition,
                               int64_t offset, int64_t watermark_us)
{
    return floors_add(&co->floors, reader, partition, offset, watermark_us);
}

enum err coordinator_floors(struct coordinator *co,
                            enum err (*each)(void *arg, uint32_t reader, uint32_t partition,
                                             int64_t offset, int64_t watermark_us),
                            void *arg)
{
    floors_trim(&co->floors, co->engine, co->catalog);
    return floors_each(&co->floors, each, arg);
}

/* Whether a partition with new rows is behind windows that closed without it: it was idle, or it
 * had been before the last start. */
static bool part_needs_floor(const struct coordinator *co, const struct co_reader *r,
                             uint32_t partition)
{
    const struct co_part *p = &r->parts[partition];
    if (r->silent || r->watermark_us <= p->watermark_us)
        return false;
    if (!r->main && co_reader_find(co, r->rel->number) != NULL)
        return false; /* it follows the table's reader */
    const struct floor *f = floor_at(co, r, partition, p->pos);
    return f == NULL || f->offset != p->pos || f->watermark_us < r->watermark_us;
}

static bool part_wake(struct coordinator *co, struct co_reader *r, uint32_t partition)
{
    struct co_part *p = &r->parts[partition];
    if (part_needs_floor(co, r, partition)) {
        int64_t end;
        enum err e = ddl_log_floor(co->shard, r->id, partition, p->pos, r->watermark_us, &end);
        if (e == ERR_OK)
            e = coordinator_add_floor(co, r->id, partition, p->pos, r->watermark_us);
        if (e != ERR_OK)
            return false;
        co->floors_end = end;
    }
    p->idle = false;
    return true;
}

/* A partition that was added, and has never had a row, holds nobody back: it is idle until its
 * first one, with which it takes over the table's watermark. */
static bool part_unused(const struct coordinator *co, const struct co_reader *r, uint32_t i)
{
    const struct topic *t = r->rel->topic;
    return t->grown_from != 0 && i >= t->grown_from &&
           atomic_load(&part_stats_of(co, r, i)->durable) == 0;
}

/* After a pause of the whole table all partitions wake with the first: rows that were sent together
 * become durable one partition after the other, and the first must not run away from the rest. */
static void wake_together(struct coordinator *co, struct co_reader *r)
{
    bool all_idle = true;
    for (uint32_t i = 0; i < r->n_parts; i++)
        all_idle &= r->parts[i].idle;
    if (!all_idle || r->silent || !reader_behind(co, r))
        return;
    for (uint32_t i = 0; i < r->n_parts; i++) {
        if (part_unused(co, r, i) || !part_wake(co, r, i))
            continue;
        r->parts[i].active_ns = co->shard->mono_ns;
        atomic_store(&part_stats_of(co, r, i)->idle, false);
    }
}

/* ---- what retention has to keep ---- */

/* Offset below which no view needs the partition any more, not even after a crash: what was made of
 * it is committed. INT64_MAX: nobody reads it. A reader that has failed would keep all for ever. */
static int64_t keep_from(const struct coordinator *co, uint32_t topic_number, uint32_t partition)
{
    int64_t least = INT64_MAX;
    LIST_FOR (it, &co->readers) {
        const struct co_reader *r = LIST_ENTRY(it, struct co_reader, link);
        if (r->rel->topic->number == topic_number && !r->failed &&
            r->parts[partition].keep < least)
            least = r->parts[partition].keep;
    }
    return least;
}

/* Tells the partitions' owners. Positions only grow, so what was told last is never too high. */
static void keep_tell(const struct coordinator *co, const struct topic *t)
{
    for (uint32_t p = 0; p < t->n_partitions; p++) {
        struct part_stats *ps = engine_part_stats(co->engine, t->number, p);
        stat_set(&ps->keep_from, keep_from(co, t->number, p));
        stat_set(&ps->snapshot_keep, snapshots_keep(co, t->number, p));
    }
}

void co_keep_tell_all(const struct coordinator *co)
{
    for (uint32_t i = 0; i < co->catalog->n_topics; i++)
        keep_tell(co, co->catalog->topics[i]);
}

bool co_epoch_happened(const struct coordinator *co, uint64_t epoch)
{
    return co->committed >= epoch || (co->commit == COMMIT_IDLE && !co->commit_wanted);
}

static void keep_next(struct co_reader *r)
{
    for (uint32_t i = 0; i < r->n_parts; i++) {
        r->parts[i].keep = r->parts[i].keep_next;
        r->parts[i].keep_next = r->parts[i].pos;
    }
}

/* What the views of `from` need, which have joined the reader. */
static void keep_lesser(struct co_reader *r, const struct co_reader *from)
{
    for (uint32_t i = 0; i < r->n_parts; i++) {
        if (from->parts[i].keep < r->parts[i].keep)
            r->parts[i].keep = from->parts[i].keep;
        if (from->parts[i].keep_next < r->parts[i].keep_next)
            r->parts[i].keep_next = from->parts[i].keep_next;
    }
}

static void keep_tell_all(struct coordinator *co)
{
    if (co->shard->mono_ns < co->keep_at_ns || !co_epoch_happened(co, co->keep_epoch))
        return;
    co->keep_at_ns = co->shard->mono_ns + (int64_t)KEEP_TELL_MS * 1000000;
    co->keep_epoch = co->finished;
    LIST_FOR (it, &co->readers)
        keep_next(LIST_ENTRY(it, struct co_reader, link));
    LIST_FOR (it, &co->readers)
        keep_tell(co, LIST_ENTRY(it, struct co_reader, link)->rel->topic);
}

/* ---- planning an epoch ---- */

/* Fills one input; true when it has rows. */
static bool plan_input(struct coordinator *co, struct co_reader *r, uint32_t i,
                       struct epoch_input *in)
{
    struct co_part *p = &r->parts[i];
    p->durable = co_part_stable(co, r, i);
    int64_t start = part_start(co, r, i);
    if (p->pos < start)
        p->pos = start; /* retention took what this reader never saw */
    *in = (struct epoch_input){.partition = i,
                               .from = p->pos,
                               .to = p->pos,
                               .floor_us = INT64_MIN,
                               .watermark_us = p->watermark_us,
                               .idle = p->idle};
    bool waits = p->waits || (!r->silent && reader_waits(co, r));
    int64_t limit = waits ? p->pos : r->silent ? p->replay_to : p->durable;
    if (limit > p->durable)
        limit = p->durable;
    if (p->pos >= limit)
        return false;
    if (!part_wake(co, r, i)) {
        r->stalled = true;
        return false;
    }
    in->idle = false;
    p->active_ns = co->shard->mono_ns;
    const struct floor *f = floor_at(co, r, i, p->pos);
    if (f != NULL && f->offset == p->pos) {
        in->floor_us = f->watermark_us;
        f = floor_at(co, r, i, p->pos + 1);
    }
    in->to = p->pos + EPOCH_OFFSETS_MAX < limit ? p->pos + EPOCH_OFFSETS_MAX : limit;
    if (f != NULL && f->offset < in->to)
        in->to = f->offset;
    if (co_views_plan_input(co, r, i, in))
        return true;
    in->to = in->from;
    r->stalled = true;
    return false;
}

/* Joins the table's reader when the positions are equal, but not before it has been in an epoch:
 * a view has rows without input, too, such as the count of none, and gives them in its first. */
static uint32_t plan_merge(const struct coordinator *co, const struct co_reader *r)
{
    const struct co_reader *main = co_reader_find(co, r->rel->number);
    if (r->main || main == NULL || r->silent || !r->ran || main->silent || main->failed)
        return 0;
    for (uint32_t i = 0; i < r->n_parts; i++)
        if (r->parts[i].pos != main->parts[i].pos)
            return 0;
    return main->id;
}

static void reader_end(struct coordinator *co, struct co_reader *r)
{
    map_remove(&co->by_id, r->id);
    list_remove(&r->link);
    list_remove(&r->active_link);
    list_remove(&r->changed_link);
    keep_tell(co, r->rel->topic);
    mem_free(r->parts);
    mem_free(r);
}

/* The last reader may end its replay with nothing left to do: no epoch follows then. */
static void ready_check(struct coordinator *co)
{
    if (atomic_load(&co->engine->ready))
        return;
    LIST_FOR (it, &co->readers) {
        const struct co_reader *r = LIST_ENTRY(it, struct co_reader, link);
        if (r->silent && !r->failed)
            return;
    }
    atomic_store(&co->engine->ready, true);
}

static void live_check(const struct coordinator *co);

/* A view of several tables gives what it gave before only when all of them stand where they stood:
 * no reader goes on before all have come to the end of their replay. */
static void replays_end(struct coordinator *co)
{
    if (!co->replaying)
        return;
    LIST_FOR (it, &co->readers) {
        const struct co_reader *r = LIST_ENTRY(it, struct co_reader, link);
        if (r->silent && !r->replayed && !r->failed)
            return;
    }
    co->replaying = false;
    LIST_FOR (it, &co->readers) {
        struct co_reader *r = LIST_ENTRY(it, struct co_reader, link);
        if (r->replayed)
            r->silent = r->replayed = false;
        co_reader_activate(co, r);
    }
    co_births_touch(co);
    ready_check(co);
    live_check(co); /* no epoch follows until there are new rows */
}

static void replay_check(struct coordinator *co, struct co_reader *r)
{
    if (!r->silent)
        return;
    for (uint32_t i = 0; i < r->n_parts; i++)
        if (r->parts[i].pos < r->parts[i].replay_to && r->parts[i].pos < co_part_stable(co, r, i))
            return;
    if (r->closing) {
        r->replayed = true;
        replays_end(co);
        return;
    }
    r->closing = r->touched = true;
    if (r->watermark_us < r->recorded_us)
        r->watermark_us = r->recorded_us;
}

static bool plan_reader(struct coordinator *co, struct co_reader *r, struct epoch_reader *out)
{
    struct epoch_input *inputs = arena_alloc(&co->plan_arena, (r->n_parts + 1) * sizeof(*inputs));
    if (inputs == NULL)
        return false;
    replay_check(co, r);
    r->stalled = false;
    wake_together(co, r);
    bool work = r->touched;
    for (uint32_t i = 0; i < r->n_parts; i++)
        work |= plan_input(co, r, i, &inputs[i]);
    *out = (struct epoch_reader){.id = r->id,
                                 .silent = r->silent,
                                 .watermark_us = r->watermark_us,
                                 .n_inputs = r->n_parts,
                                 .inputs = inputs};
    out->merge_into = plan_merge(co, r);
    if (out->merge_into != 0) {
        for (uint32_t i = 0; i < r->n_parts; i++)
            inputs[i].to = inputs[i].from;
        return true;
    }
    if (!work && !r->stalled)
        reader_rest(co, r);
    return work;
}

static void begin_send(struct coordinator *co);

static int64_t pace_interval_ns(const struct coordinator *co)
{
    return (int64_t)co->engine->options.epoch_ms_min * 1000000;
}

/* An epoch costs the same few flushes and wake-ups however many rows it has. So under sustained
 * load one begins every epoch_ms_min, while the first ones after a pause begin at once, and so
 * does one that a statement waits for or that has rows left over from the last. (The bucket of
 * tokens is counted in time: pace_ns is when it will be full again.) */
static bool pace_due(struct coordinator *co)
{
    const int64_t at_ns = co->pace_ns - (EPOCH_BURST - 1) * pace_interval_ns(co);
    if (co->ahead >= EPOCHS_AHEAD_MAX)
        return false; /* the end of the commit, or what tries it again, makes a turn */
    if (co->shard->mono_ns >= at_ns || co->actions != NULL || co->backlog ||
        !engine_ready(co->engine))
        return true;
    return co->pace_timer.heap_index == 0 &&
           shard_timer_set(co->shard, &co->pace_timer, at_ns) != ERR_OK;
}

static void pace_step(struct coordinator *co)
{
    int64_t now = co->shard->mono_ns;
    co->pace_ns = (co->pace_ns < now ? now : co->pace_ns) + pace_interval_ns(co);
}

static void pace_fire(struct shard_timer *t)
{
    (void)t; /* the turn that it makes is all that is needed */
}

static void epoch_begin(struct coordinator *co)
{
    if (list_empty(&co->active) || snapshots_pressed(co->engine) || !pace_due(co))
        return;
    /* Planning one reader may activate others. */
    uint32_t n = 0, cap = (uint32_t)co->by_id.count;
    arena_reset(&co->plan_arena, 1 << 20);
    co->n_view_floors = 0;
    co->plan = arena_zalloc(&co->plan_arena, 1, sizeof(*co->plan));
    struct epoch_reader *readers = arena_zalloc(&co->plan_arena, cap, sizeof(*readers));
    co->plan_readers = arena_zalloc(&co->plan_arena, cap, sizeof(struct co_reader *));
    co->results = arena_zalloc(&co->plan_arena, cap, sizeof(struct input_result *));
    if (co->plan == NULL || readers == NULL || co->plan_readers == NULL || co->results == NULL)
        return;
    LIST_FOR_SAFE (it, next, &co->active) {
        struct co_reader *r = LIST_ENTRY(it, struct co_reader, active_link);
        if (!plan_reader(co, r, &readers[n]))
            continue;
        co->results[n] = arena_zalloc(&co->plan_arena, r->n_parts, sizeof(struct input_result));
        if (co->results[n] == NULL)
            break;
        co->plan_readers[n++] = r;
    }
    if (n == 0 || !co_views_plan_replayed(co))
        return;
    *co->plan = (struct epoch_plan){
        .epoch = co->epoch + 1,
        .wall_us = co->shard->wall_us,
        .replaying = co->replaying,
        .n_readers = n,
        .readers = readers,
        .n_floors = co->n_view_floors,
        .floors = co->view_floors};
    if (!co_births_plan(co, co->plan))
        return;
    co->epoch++;
    pace_step(co);
    begin_send(co);
}

/* ---- running an epoch ---- */

static void begin_run(struct shard *s, struct shard_call *c)
{
    struct coordinator *co = CONTAINER_OF(c - s->index, struct coordinator, begin);
    epochs_begin(s->epochs, co->plan);
}

static void begin_send(struct coordinator *co)
{
    co->running = true;
    co->backlog = false;
    co->n_done = 0;
    co->has_outputs = false;
    for (uint32_t i = 0; i < co->engine->n_shards; i++) {
        co->begin[i] = (struct shard_call){.run = begin_run};
        shard_post(co->shard, i, &co->begin[i]);
    }
}

static enum err output_note(struct coordinator *co, const struct output_end *end, uint32_t owner)
{
    uint64_t key = part_key(end->topic_number, end->partition);
    struct co_output *o = map_get(&co->outputs, key);
    if (o == NULL) {
        o = mem_zalloc(1, sizeof(*o));
        if (o == NULL)
            return ERR_NO_MEMORY;
        *o = (struct co_output){.at = *end, .owner = owner};
        o->at.end = -1;
        list_init(&o->written_link);
        list_init(&o->untold_link);
        list_init(&o->committing_link);
        enum err e = map_put(&co->outputs, key, o);
        if (e != ERR_OK) {
            mem_free(o);
            return e;
        }
    }
    /* Shards report in any order: shard 0 has written dead letters of others behind its own. */
    if (o->next_end < end->end)
        o->next_end = end->end;
    list_remove(&o->written_link);
    list_add(&co->written, &o->written_link);
    return ERR_OK;
}

/* The epoch has ended: what its shards wrote counts. A record that is made while only some of them
 * are done tells of the epoch before. */
static void outputs_settle(struct coordinator *co)
{
    LIST_FOR_SAFE (it, next, &co->written) {
        struct co_output *o = LIST_ENTRY(it, struct co_output, written_link);
        list_remove(it);
        o->at.end = o->next_end;
        list_remove(&o->untold_link);
        list_add(&co->untold, &o->untold_link);
    }
}

/* Whether a view has what there is of a source: it reads it by the table's own reader or, of a
 * topic that has none, by one that has nothing left to read. */
static bool input_live(const struct coordinator *co, const struct co_input *in)
{
    if (in->upstream != 0)
        return in->born && atomic_load(&engine_relation_stats(co->engine, in->upstream)->status) ==
                               VIEW_LIVE;
    const struct co_reader *r = co_reader_find(co, in->reader);
    if (r == NULL || r->silent)
        return false;
    return r->main || (co_reader_find(co, r->rel->number) == NULL && !reader_behind(co, r));
}

static void live_check(const struct coordinator *co)
{
    /* In the order of the catalog: a view may stand before those that it reads. */
    bool changed = false;
    LIST_FOR (it, &co->views) {
        const struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        _Atomic int *status = &engine_relation_stats(co->engine, v->number)->status;
        int expected = VIEW_BACKFILLING;
        uint32_t i = 0;
        if (atomic_load(status) != VIEW_BACKFILLING)
            continue;
        while (i < v->n_inputs && input_live(co, &v->inputs[i]))
            i++;
        if (i == v->n_inputs)
            changed |= atomic_compare_exchange_strong(status, &expected, VIEW_LIVE);
    }
    if (changed)
        live_check(co);
}

/* Nothing of a partition is read while the schema of its next record is not known. */
static void part_schema(struct coordinator *co, const struct co_reader *r, uint32_t partition,
                        const struct input_result *result)
{
    struct schemas *schemas = co->engine->schemas;
    r->parts[partition].waits =
        result->waits.on && result->waits.version == schemas_version(schemas);
    if (result->waits.on)
        schemas_want(schemas, r->rel, result->waits.schema);
}

void coordinator_schemas(struct coordinator *co)
{
    LIST_FOR (it, &co->readers) {
        struct co_reader *r = LIST_ENTRY(it, struct co_reader, link);
        for (uint32_t i = 0; i < r->n_parts; i++)
            if (r->parts[i].waits) {
                r->parts[i].waits = false;
                co_reader_activate(co, r);
            }
    }
}

void coordinator_logged(struct coordinator *co, int64_t end)
{
    co->floors_end = end;
}

static void reader_finish(struct coordinator *co, uint32_t i)
{
    struct co_reader *r = co->plan_readers[i];
    const struct epoch_reader *er = &co->plan->readers[i];
    r->touched = false;
    co->views_changed |= !r->ran || er->merge_into != 0;
    r->ran = true;
    if (er->merge_into != 0) {
        LIST_FOR (it, &co->views) {
            struct co_view *v = LIST_ENTRY(it, struct co_view, link);
            for (uint32_t k = 0; k < v->n_inputs; k++)
                if (v->inputs[k].reader == r->id)
                    v->inputs[k].reader = er->merge_into;
        }
        keep_lesser(co_reader_find(co, er->merge_into), r);
        reader_end(co, r);
        return;
    }
    list_remove(&r->changed_link);
    list_add(&co->changed, &r->changed_link);
    r->idle = r->n_parts > 0;
    for (uint32_t p = 0; p < r->n_parts; p++) {
        r->idle &= er->inputs[p].idle;
        r->parts[p].pos = co->results[i][p].reached;
        part_schema(co, r, p, &co->results[i][p]);
        r->parts[p].watermark_us = co->results[i][p].watermark_us;
        r->failed |= co->results[i][p].failed;
        co->backlog |= !r->parts[p].waits && (r->parts[p].pos < er->inputs[p].to ||
                                              er->inputs[p].to < r->parts[p].durable);
        if (r->main)
            stat_set(&part_stats_of(co, r, p)->position, r->parts[p].pos);
    }
    r->watermark_us = epoch_table_watermark(er, co->results[i]);
    if (r->main)
        stat_set(&engine_relation_stats(co->engine, r->rel->number)->watermark_us, r->watermark_us);
    if (r->failed)
        list_remove(&r->active_link);
    co_reader_activate(co, r);
}

static void epoch_finish(struct coordinator *co)
{
    for (uint32_t i = 0; i < co->plan->n_readers; i++)
        reader_finish(co, i);
    co_views_settle(co);
    co_births_finish(co);
    outputs_settle(co);
    co->running = false;
    co->finished = co->epoch;
    atomic_store(&co->engine->epoch, co->finished);
    co->commit_wanted |= co->has_outputs;
    co->ahead += co->has_outputs ? 1 : 0;
    replays_end(co);
    ready_check(co);
    live_check(co);
}

/* ---- views that fail ---- */

/* A shard tells; the first reason counts. */
static void view_fails(struct coordinator *co, const struct view_failure *f)
{
    struct co_view *v = co_view_find(co, f->view);
    CHECK(v != NULL && !v->failed);
    if (!list_empty(&v->failing_link))
        return;
    v->err = f->err;
    snprintf(v->why, sizeof(v->why), "%s", f->why);
    list_add(&co->failing, &v->failing_link);
}

/* What the view wrote in this epoch is not noted. */
static void outputs_forget(struct coordinator *co, const struct relation *rel)
{
    LIST_FOR_SAFE (it, next, &co->written) {
        const struct co_output *o = LIST_ENTRY(it, struct co_output, written_link);
        if (o->at.topic_number == rel->topic->number ||
            view_has_late(rel->view, catalog_topic_by_number(co->catalog, o->at.topic_number)))
            list_remove(it);
    }
}

static void fail_run(struct shard *s, struct shard_call *c)
{
    const struct coordinator *co = CONTAINER_OF(c - s->index, struct coordinator, fail_calls);
    LIST_FOR (it, &co->failing)
        epochs_view_failed(s->epochs, LIST_ENTRY(it, struct co_view, failing_link)->number);
    shard_call_reply(s, c);
}

static void fail_acked(struct shard *s, struct shard_call *c)
{
    (void)c;
    struct coordinator *co = s->coordinator;
    if (--co->fail_acks > 0)
        return;
    LIST_FOR_SAFE (it, next, &co->failing) {
        list_remove(it);
        LIST_ENTRY(it, struct co_view, failing_link)->failed = true;
    }
    co->views_changed = true;
    co->has_outputs = true; /* there is something to record */
    epoch_finish(co);
}

static void fail_send(struct coordinator *co)
{
    co_failures_spread(co);
    LIST_FOR (it, &co->failing) {
        const struct co_view *v = LIST_ENTRY(it, struct co_view, failing_link);
        const struct relation *rel = catalog_relation_by_number(co->catalog, v->number);
        engine_note(co->engine, "error", "view \"%.*s\" has failed: %s", STR_ARG(rel->name),
                    v->why);
        outputs_forget(co, rel);
    }
    co->fail_acks = co->engine->n_shards;
    for (uint32_t i = 0; i < co->engine->n_shards; i++) {
        co->fail_calls[i] = (struct shard_call){.run = fail_run, .done = fail_acked};
        shard_call(co->shard, i, &co->fail_calls[i]);
    }
}

/* Writes what shards told of beside their outputs. False: not all yet. */
static bool letters_write(struct coordinator *co)
{
    struct output_end end = {.topic_number = NUMBER_DEAD_LETTERS};
    if (!epochs_write_dead_letters(co->shard->epochs, &end.end))
        return false;
    if (output_note(co, &end, 0) != ERR_OK)
        engine_fatal(co->engine, ERR_NO_MEMORY, "out of memory at the end of an epoch");
    co->letters_due = false;
    co->has_outputs = true;
    return true;
}

/* Every DONE is in. Called again, once a turn, until the last dead letter is written. */
static void epoch_end(struct coordinator *co)
{
    if (co->letters_due && !letters_write(co))
        return;
    if (list_empty(&co->failing))
        epoch_finish(co);
    else
        fail_send(co);
}

void coordinator_on_done(struct shard *s, struct shard_call *c)
{
    struct coordinator *co = s->coordinator;
    struct epoch_done *d = CONTAINER_OF(c, struct epoch_done, call);
    for (uint32_t i = 0; i < co->plan->n_readers; i++) {
        struct co_reader *r = co->plan_readers[i];
        for (uint32_t p = 0; p < r->n_parts; p++)
            if (topic_shard(co->engine, r->rel->topic, p) == c->origin)
                co->results[i][p] = d->results[i][p];
    }
    for (uint32_t i = 0; i < d->n_outputs; i++)
        if (output_note(co, &d->outputs[i], c->origin) != ERR_OK)
            engine_fatal(co->engine, ERR_NO_MEMORY, "out of memory at the end of an epoch");
    if (d->dead_letters != NULL) {
        epochs_add_dead_letters(s->epochs, d->dead_letters);
        co->letters_due = true;
    }
    co->has_outputs |= d->n_outputs > 0;
    for (const struct view_failure *f = d->failures; f != NULL; f = f->next)
        view_fails(co, f);
    if (++co->n_done == co->engine->n_shards)
        epoch_end(co);
}

/* ---- commit ---- */

static bool outputs_durable(const struct coordinator *co)
{
    LIST_FOR (it, &co->committing) {
        const struct co_output *o = LIST_ENTRY(it, struct co_output, committing_link);
        const struct part_stats *ps =
            engine_part_stats(co->engine, o->at.topic_number, o->at.partition);
        if (!o->dropped && atomic_load(&ps->durable) < o->committing)
            return false;
    }
    const struct part *catalog = part_find(co->shard, NUMBER_CATALOG, 0);
    return log_durable_offset(catalog->log) >= co->floors_end;
}

/* What a restart shall find. A reader in replay stands for what was committed, not for how far the
 * replay has come. */
static int64_t position_to_tell(const struct co_reader *r, uint32_t partition)
{
    const struct co_part *p = &r->parts[partition];
    return r->silent && p->replay_to > p->pos ? p->replay_to : p->pos;
}

static int64_t watermark_to_tell(const struct co_reader *r)
{
    return r->silent && r->watermark_us < r->recorded_us ? r->recorded_us : r->watermark_us;
}

/* Adds the reader, or what has changed of it. What has not been in an epoch yet is new to the next
 * start as well. */
static enum err record_reader_add(const struct co_reader *cr, struct arena *a,
                                  struct epoch_record *r)
{
    bool full = r->base < 0, changed = full || watermark_to_tell(cr) != cr->told_us;
    int64_t *positions = cr->ran ? arena_alloc(a, (cr->n_parts + 1) * sizeof(int64_t)) : NULL;
    if (positions == NULL)
        return cr->ran ? ERR_NO_MEMORY : ERR_OK;
    for (uint32_t p = 0; p < cr->n_parts; p++) {
        positions[p] = position_to_tell(cr, p);
        if (!full && positions[p] == cr->parts[p].told)
            positions[p] = POSITION_UNCHANGED;
        changed |= positions[p] != POSITION_UNCHANGED;
    }
    if (changed)
        r->readers[r->n_readers++] = (struct record_reader){.id = cr->id,
                                                            .watermark_us = watermark_to_tell(cr),
                                                            .n_parts = cr->n_parts,
                                                            .positions = positions};
    return ERR_OK;
}

static enum err record_readers(const struct coordinator *co, struct arena *a,
                               struct epoch_record *r)
{
    uint32_t n = co->n_timed;
    LIST_FOR (it, r->base < 0 ? &co->readers : &co->changed)
        n++;
    r->readers = arena_zalloc(a, n + 1, sizeof(*r->readers));
    if (r->readers == NULL)
        return ERR_NO_MEMORY;
    if (r->base < 0)
        LIST_FOR (it, &co->readers)
            TRY(record_reader_add(LIST_ENTRY(it, struct co_reader, link), a, r));
    else
        LIST_FOR (it, &co->changed)
            TRY(record_reader_add(LIST_ENTRY(it, struct co_reader, changed_link), a, r));
    if (co->n_timed > 0)
        co_views_record(co, r);
    return ERR_OK;
}

/* What a record says of a source: the reader, when it has been in an epoch, or the view, when its
 * rows are in. */
static uint32_t input_by(const struct coordinator *co, const struct co_input *in)
{
    if (in->upstream != 0)
        return in->born ? in->upstream : 0;
    const struct co_reader *r = co_reader_find(co, in->reader);
    return r != NULL && r->ran ? in->reader : 0;
}

static enum err record_views(const struct coordinator *co, struct arena *a, struct epoch_record *r)
{
    uint32_t n = 0;
    bool full = r->base < 0;
    if (!full && !co->views_changed)
        return ERR_OK;
    uint32_t n_inputs = 0;
    LIST_FOR (it, &co->views) {
        n_inputs += LIST_ENTRY(it, struct co_view, link)->n_inputs;
        n++;
    }
    r->views = arena_zalloc(a, n_inputs + 1, sizeof(*r->views));
    r->failures = arena_zalloc(a, n + 1, sizeof(*r->failures));
    if (r->views == NULL || r->failures == NULL)
        return ERR_NO_MEMORY;
    LIST_FOR (it, &co->views) {
        const struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        for (uint32_t k = 0; k < v->n_inputs; k++) {
            const struct co_input *in = &v->inputs[k];
            uint32_t by = input_by(co, in);
            if (by != 0 && (full || in->told != by))
                r->views[r->n_views++] = (struct record_view){reader_own(v->number, k), by};
        }
        if (v->failed && (full || !v->failure_told))
            r->failures[r->n_failures++] =
                (struct record_failure){v->number, v->err, str_of(v->why)};
    }
    return ERR_OK;
}

static enum err record_outputs(const struct coordinator *co, struct arena *a,
                               struct epoch_record *r)
{
    uint32_t n = 0;
    LIST_FOR (it, &co->untold)
        n++;
    r->outputs =
        arena_zalloc(a, (r->base < 0 ? co->outputs.count : n) + 1, sizeof(*r->outputs));
    if (r->outputs == NULL)
        return ERR_NO_MEMORY;
    const struct co_output *o;
    for (size_t at = 0; r->base < 0 && (o = map_next(&co->outputs, &at)) != NULL;)
        if (!o->dropped && o->at.end >= 0)
            r->outputs[r->n_outputs++] = o->at;
    LIST_FOR (it, &co->untold) {
        o = LIST_ENTRY(it, struct co_output, untold_link);
        if (r->base >= 0 && !o->dropped)
            r->outputs[r->n_outputs++] = o->at;
    }
    return ERR_OK;
}

static enum err record_make(struct coordinator *co, bool full)
{
    struct epoch_record r = {.epoch = co->finished, .wall_us = co->shard->wall_us};
    r.base = full ? -1 : co->full_offset;
    struct arena a;
    arena_init(&a, RECORD_BYTES_MAX);
    enum err e = record_readers(co, &a, &r);
    if (e == ERR_OK)
        e = record_views(co, &a, &r);
    if (e == ERR_OK)
        e = record_outputs(co, &a, &r);
    buf_clear(&co->record);
    if (e == ERR_OK)
        e = epoch_record_encode(&r, &co->record);
    arena_deinit(&a);
    return e;
}

static void reader_told(struct co_reader *r)
{
    list_remove(&r->changed_link);
    if (!r->ran)
        return;
    r->told_us = watermark_to_tell(r);
    for (uint32_t p = 0; p < r->n_parts; p++)
        r->parts[p].told = position_to_tell(r, p);
}

/* The record is made, and will be written sooner or later: the next one builds on it. */
static void record_told(struct coordinator *co, bool full)
{
    if (full)
        LIST_FOR (it, &co->readers)
            reader_told(LIST_ENTRY(it, struct co_reader, link));
    LIST_FOR_SAFE (it, next, &co->changed)
        reader_told(LIST_ENTRY(it, struct co_reader, changed_link));
    if (full || co->views_changed)
        LIST_FOR (it, &co->views) {
            struct co_view *v = LIST_ENTRY(it, struct co_view, link);
            for (uint32_t k = 0; k < v->n_inputs; k++) {
                struct co_input *in = &v->inputs[k];
                in->told = input_by(co, in);
            }
            co->failures_due |= v->failed && !v->failure_told;
            v->failure_told = v->failed;
        }
    co->views_changed = false;
    if (co->n_timed > 0)
        co_views_recorded(co);
    LIST_FOR_SAFE (it, next, &co->committing)
        list_remove(it);
    LIST_FOR_SAFE (it, next, &co->untold) {
        struct co_output *o = LIST_ENTRY(it, struct co_output, untold_link);
        list_remove(it);
        o->committing = o->at.end;
        list_add(&co->committing, &o->committing_link);
    }
    co->record_full = full;
}

static void commit_start(struct coordinator *co)
{
    bool full = co->full_due || (co->delta_bytes >= EPOCH_DELTAS_BYTES &&
                                 co->delta_bytes >= 2 * co->full_bytes);
    enum err e = record_make(co, full);
    output_wait_tried(&co->wait, e, "the epoch record cannot be made", NULL);
    if (e != ERR_OK)
        return;
    record_told(co, full);
    co->commit_wanted = false;
    co->ahead = 0;
    co->recorded = co->finished;
    co->commit = COMMIT_FLUSHING;
    atomic_store(&co->engine->outputs_awaited, true);
}

/* Users learn of a failure when it is durable. */
static void failure_show(const struct coordinator *co, const struct co_view *v)
{
    view_stats_fail(engine_relation_stats(co->engine, v->number), v->err, v->why);
}

static void failures_show(struct coordinator *co)
{
    LIST_FOR (it, &co->views) {
        const struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        if (v->failure_told)
            failure_show(co, v);
    }
    co->failures_due = false;
}

static void tell_run(struct shard *s, struct shard_call *c)
{
    parts_commit(s);
    shard_call_reply(s, c);
}

static void tell_done(struct shard *s, struct shard_call *c)
{
    (void)c;
    struct coordinator *co = s->coordinator;
    if (--co->commit_tells == 0)
        co->commit = COMMIT_IDLE;
}

/* From here on the epoch has happened, for all readers at once: its number says where each
 * partition ends. Owners are told for the sake of those who wait. */
static void tell_all(struct coordinator *co)
{
    bool writes[SHARDS_MAX] = {false};
    LIST_FOR (it, &co->committing) {
        const struct co_output *o = LIST_ENTRY(it, struct co_output, committing_link);
        const struct part_stats *ps =
            engine_part_stats(co->engine, o->at.topic_number, o->at.partition);
        writes[o->owner] |= !o->dropped && stat_get(&ps->high_watermark) < o->committing;
    }
    co->committed = co->recorded;
    atomic_store_explicit(&co->engine->committed, co->committed, memory_order_release);
    stat_add(&co->engine->epochs_committed, 1);
    if (co->failures_due)
        failures_show(co);
    co->commit = COMMIT_TELLING;
    for (uint32_t i = 0; i < co->engine->n_shards; i++) {
        if (!writes[i])
            continue;
        co->commit_tells++;
        co->tell[i] = (struct shard_call){.run = tell_run, .done = tell_done};
        shard_call(co->shard, i, &co->tell[i]);
    }
    if (co->commit_tells == 0)
        co->commit = COMMIT_IDLE;
}

static void record_durable(struct part *p, void *arg)
{
    struct coordinator *co = arg;
    if (co->commit != COMMIT_RECORDING || log_durable_offset(p->log) < co->record_end)
        return;
    p->keep_from = co->full_offset;
    tell_all(co);
}

static void outputs_prune(struct coordinator *co)
{
    co->outputs_dropped = false;
    struct co_output *o;
    for (size_t at = 0; (o = map_next(&co->outputs, &at)) != NULL;) {
        if (!o->dropped)
            continue;
        map_remove(&co->outputs, part_key(o->at.topic_number, o->at.partition));
        list_remove(&o->written_link);
        list_remove(&o->untold_link);
        list_remove(&o->committing_link);
        mem_free(o);
        at = 0;
    }
}

static void commit_turn(struct coordinator *co)
{
    struct part *p = part_find(co->shard, NUMBER_EPOCHS, 0);
    p->durable = record_durable;
    p->durable_arg = co;
    if (output_waits(&co->wait))
        return;
    if (co->commit == COMMIT_IDLE && co->commit_wanted)
        commit_start(co);
    if (co->commit != COMMIT_FLUSHING || !outputs_durable(co))
        return;
    struct err_detail why = {0};
    enum err e =
        record_append(co->shard, p, (struct str){0}, buf_str(&co->record), &co->record_end, &why);
    output_wait_tried(&co->wait, e, "the epoch record cannot be written", &why);
    if (e != ERR_OK)
        return;
    co->commit = COMMIT_RECORDING;
    atomic_store(&co->engine->outputs_awaited, false);
    if (!co->record_full) {
        co->delta_bytes += co->record.len;
        return;
    }
    co->full_due = false;
    co->full_offset = co->record_end - 1;
    co->full_bytes = co->record.len;
    co->delta_bytes = 0;
}

/* ---- idleness ---- */

static void idle_check(struct coordinator *co, struct co_reader *r)
{
    if (r->rel->event_time < 0 || r->rel->idle_timeout_us == 0 || r->silent)
        return;
    bool changed = false;
    int64_t timeout_ns =
        r->rel->idle_timeout_us > INT64_MAX / 1000 ? INT64_MAX : r->rel->idle_timeout_us * 1000;
    for (uint32_t i = 0; i < r->n_parts; i++) {
        struct co_part *p = &r->parts[i];
        if (p->idle || part_waits(co, r, i) ||
            co->shard->mono_ns - p->active_ns < timeout_ns)
            continue;
        p->idle = changed = true;
        atomic_store(&part_stats_of(co, r, i)->idle, true);
    }
    if (!changed || (r->n_parts == 1 && !co_reader_is_timed(co, r)))
        return;
    r->touched = true;
    co_reader_activate(co, r);
}

static void idle_fire(struct shard_timer *t)
{
    struct coordinator *co = CONTAINER_OF(t, struct coordinator, idle_timer);
    LIST_FOR (it, &co->readers)
        idle_check(co, LIST_ENTRY(it, struct co_reader, link));
    keep_tell_all(co);
    view_figures_sample(co->shard);
    if (shard_timer_set(co->shard, t, co->shard->mono_ns + (int64_t)IDLE_CHECK_MS * 1000000) !=
        ERR_OK)
        engine_fatal(co->engine, ERR_NO_MEMORY, "out of memory for a timer");
}

/* ---- between epochs ---- */

static void catalog_run(struct shard *s, struct shard_call *c)
{
    struct coordinator *co = CONTAINER_OF(c - s->index, struct coordinator, catalog_calls);
    epochs_set_catalog(s->epochs, co->next_catalog);
    shard_call_reply(s, c);
}

static void catalog_acked(struct shard *s, struct shard_call *c)
{
    (void)c;
    struct coordinator *co = s->coordinator;
    if (--co->catalog_acks > 0)
        return;
    const struct catalog *c2 = co->next_catalog;
    co->next_catalog = NULL;
    if (coordinator_adopt(co, c2, NULL) != ERR_OK)
        engine_fatal(co->engine, ERR_NO_MEMORY, "out of memory while taking over a catalog change");
    catalog_unref(c2);
    co->catalog_done(co->catalog_arg);
}

void coordinator_set_catalog(struct coordinator *co, const struct catalog *catalog,
                             void (*done)(void *arg), void *arg)
{
    CHECK(co->next_catalog == NULL && co->catalog_acks == 0);
    co->next_catalog = catalog;
    co->catalog_done = done;
    co->catalog_arg = arg;
    co->shard->busy = true;
}

void coordinator_turn(struct coordinator *co)
{
    commit_turn(co);
    snapshots_advance(co);
    if (co->letters_due && co->n_done == co->engine->n_shards)
        epoch_end(co);
    if (co->running || co->catalog_acks > 0)
        return;
    if (co->outputs_dropped && co->commit == COMMIT_IDLE)
        outputs_prune(co);
    if (co->next_catalog != NULL) {
        co->catalog_acks = co->engine->n_shards;
        for (uint32_t i = 0; i < co->engine->n_shards; i++) {
            co->catalog_calls[i] = (struct shard_call){.run = catalog_run, .done = catalog_acked};
            shard_call(co->shard, i, &co->catalog_calls[i]);
        }
        return;
    }
    co_run_actions(co);
    if (co->shard->phase != SHARD_RUNNING)
        return;
    snapshots_boundary(co);
    epoch_begin(co);
}

void coordinator_on_advance(struct shard *s, struct shard_call *c)
{
    struct coordinator *co = s->coordinator;
    const struct part *p = CONTAINER_OF(c, struct part, advance);
    uint32_t topic = p->topic_number;
    LIST_FOR (it, &co->readers) {
        struct co_reader *r = LIST_ENTRY(it, struct co_reader, link);
        if (r->rel->topic->number == topic)
            co_reader_activate(co, r);
    }
    shard_call_reply(s, c);
}

/* ---- readers come and go with the catalog ---- */

/* Up to where a partition was processed before the start. Without flushes a power cut may have
 * taken rows that had been: others come in their places, which nobody has seen, and the record has
 * to know. */
static int64_t replay_end(struct coordinator *co, const struct co_reader *r, uint32_t partition,
                          int64_t recorded)
{
    int64_t durable = co_part_stable(co, r, partition);
    if (co->engine->options.fsync != FSYNC_OS || recorded <= durable)
        return recorded;
    co->commit_wanted = true;
    return durable;
}

static void part_begin(struct coordinator *co, struct co_reader *r, uint32_t i, bool idle)
{
    int64_t start = part_start(co, r, i);
    r->parts[i] = (struct co_part){.watermark_us = INT64_MIN,
                                   .active_ns = co->shard->mono_ns,
                                   .told = POSITION_UNCHANGED,
                                   .pos = start,
                                   .keep = start,
                                   .keep_next = start,
                                   .idle = idle};
    if (r->main)
        atomic_store(&part_stats_of(co, r, i)->idle, idle);
}

static enum err reader_grow(struct coordinator *co, struct co_reader *r)
{
    uint32_t n = r->rel->topic->n_partitions;
    struct co_part *grown = mem_realloc(r->parts, n * sizeof(*grown));
    if (grown == NULL)
        return ERR_NO_MEMORY;
    r->parts = grown;
    for (; r->n_parts < n; r->n_parts++)
        part_begin(co, r, r->n_parts, true); /* whatever has come since other shards know of it */
    co_reader_activate(co, r);
    return ERR_OK;
}

/* Between epochs: takes in the partitions that topics have got. */
static enum err readers_grow(struct coordinator *co)
{
    bool grown = false;
    LIST_FOR (it, &co->readers) {
        struct co_reader *r = LIST_ENTRY(it, struct co_reader, link);
        if (r->n_parts == r->rel->topic->n_partitions)
            continue;
        TRY(reader_grow(co, r));
        grown = true;
    }
    if (grown)
        LIST_FOR (it, &co->readers)
            keep_tell(co, LIST_ENTRY(it, struct co_reader, link)->rel->topic);
    return ERR_OK;
}

static enum err reader_add(struct coordinator *co, uint32_t id, const struct relation *rel,
                           bool main, const struct record_reader *at)
{
    struct co_reader *r = mem_zalloc(1, sizeof(*r));
    if (r == NULL)
        return ERR_NO_MEMORY;
    *r = (struct co_reader){.id = id,
                            .rel = rel,
                            .main = main,
                            .touched = true,
                            .watermark_us = INT64_MIN,
                            .rel_number = rel->number,
                            .recorded_us = at != NULL ? at->watermark_us : INT64_MIN,
                            .n_parts = rel->topic->n_partitions};
    list_init(&r->active_link);
    list_init(&r->changed_link);
    r->parts = mem_zalloc(r->n_parts, sizeof(*r->parts));
    if (r->parts == NULL || map_put(&co->by_id, id, r) != ERR_OK) {
        mem_free(r->parts);
        mem_free(r);
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < r->n_parts; i++) {
        part_begin(co, r, i, part_unused(co, r, i));
        if (at != NULL && i < at->n_parts)
            r->parts[i].replay_to = replay_end(co, r, i, at->positions[i]);
    }
    /* Even with nothing to read again there is state to make that was told of before. */
    r->silent = r->ran = at != NULL;
    co->replaying |= r->silent;
    list_add(&co->readers, &r->link);
    keep_tell(co, rel->topic);
    co_reader_activate(co, r);
    return ERR_OK;
}

void coordinator_restore_reader(struct coordinator *co, uint32_t id, const struct reader_state *at)
{
    struct co_reader *r = co_reader_find(co, id);
    CHECK(r != NULL && r->silent);
    r->watermark_us = at->watermark_us;
    for (uint32_t p = 0; p < at->n_parts && p < r->n_parts; p++) {
        struct co_part *part = &r->parts[p];
        part->pos = part->keep = part->keep_next = at->positions[p];
        part->watermark_us = at->watermarks[p];
    }
    keep_tell(co, r->rel->topic);
}

static void view_free(struct coordinator *co, struct co_view *v)
{
    for (uint32_t k = 0; k < v->n_inputs; k++)
        mem_free(v->inputs[k].floors);
    co->n_timed -= v->timed;
    mem_free(v->inputs);
    mem_free(v);
}

/* The readers by which a view reads its sources: those it was recorded on, or new ones of its own.
 */
static enum err view_inputs(struct coordinator *co, struct co_view *v, const struct view *view,
                            const struct epoch_record *record)
{
    v->inputs = mem_zalloc(view->n_sources, sizeof(*v->inputs));
    if (v->inputs == NULL)
        return ERR_NO_MEMORY;
    v->n_inputs = view->n_sources;
    for (uint32_t k = 0; k < v->n_inputs; k++) {
        uint32_t own = reader_own(v->number, k), reader = record_view_reader(record, own);
        if (view->sources[k]->kind == REL_VIEW) {
            v->inputs[k].upstream = view->sources[k]->number;
            v->inputs[k].born = reader != own;
            continue;
        }
        v->inputs[k].reader = reader;
        if (reader == own)
            TRY(reader_add(co, own, view->sources[k], false, record_reader_find(record, own)));
    }
    return ERR_OK;
}

static enum err view_add(struct coordinator *co, const struct relation *rel,
                         const struct epoch_record *record)
{
    struct co_view *v = mem_zalloc(1, sizeof(*v));
    if (v == NULL)
        return ERR_NO_MEMORY;
    v->number = rel->number;
    v->timed = co_view_is_timed(rel->view);
    v->watermark_us = v->recorded_us = v->told_us = INT64_MIN;
    co->n_timed += v->timed;
    const struct record_reader *own =
        record_reader_find(record, reader_own(rel->number, READER_OF_VIEW));
    if (own != NULL)
        v->recorded_us = own->watermark_us;
    enum err e = view_inputs(co, v, rel->view, record);
    if (e != ERR_OK) {
        view_free(co, v);
        return e;
    }
    list_init(&v->failing_link);
    list_add(&co->views, &v->link);
    const struct record_failure *failure = record_failure_find(record, rel->number);
    if (failure == NULL)
        return ERR_OK;
    v->err = failure->err;
    snprintf(v->why, sizeof(v->why), "%.*s", STR_ARG(failure->why));
    v->failed = true;
    failure_show(co, v);
    return ERR_OK;
}

struct co_view *co_view_find(const struct coordinator *co, uint32_t number)
{
    LIST_FOR (it, &co->views) {
        struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        if (v->number == number)
            return v;
    }
    return NULL;
}

static void remove_gone(struct coordinator *co, const struct catalog *catalog)
{
    LIST_FOR_SAFE (it, next, &co->views) {
        struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        if (catalog_relation_by_number(catalog, v->number) == NULL) {
            list_remove(it);
            view_free(co, v);
        }
    }
    LIST_FOR_SAFE (it, next, &co->readers) {
        struct co_reader *r = LIST_ENTRY(it, struct co_reader, link);
        const struct relation *rel = catalog_relation_by_number(catalog, r->rel_number);
        if (rel == NULL || catalog_relation_by_number(catalog, reader_relation(r->id)) == NULL)
            reader_end(co, r);
        else
            r->rel = rel;
    }
    struct co_output *o;
    for (size_t at = 0; (o = map_next(&co->outputs, &at)) != NULL;)
        co->outputs_dropped |= o->dropped =
            catalog_topic_by_number(catalog, o->at.topic_number) == NULL;
}

bool relation_has_reader(const struct relation *rel)
{
    return rel->kind == REL_TABLE && rel->topic->kind == TOPIC_USER && rel->format != FORMAT_RAW;
}

enum err coordinator_adopt(struct coordinator *co, const struct catalog *catalog,
                           const struct epoch_record *record)
{
    remove_gone(co, catalog);
    catalog_unref(co->catalog);
    co->catalog = catalog_ref(catalog);
    TRY(readers_grow(co));
    for (uint32_t i = 0; i < catalog->n_relations; i++) {
        const struct relation *rel = catalog->relations[i];
        if (relation_has_reader(rel) && co_reader_find(co, rel->number) == NULL)
            TRY(reader_add(co, rel->number, rel, true,
                           record_reader_find(record, rel->number)));
        if (rel->kind == REL_VIEW && co_view_find(co, rel->number) == NULL)
            TRY(view_add(co, rel, record));
    }
    co_unborn_fail(co);
    co_births_touch(co);
    replays_end(co);
    for (uint32_t i = 0; record != NULL && i < record->n_outputs; i++) {
        const struct output_end *o = &record->outputs[i];
        const struct topic *t = catalog_topic_by_number(catalog, o->topic_number);
        if (t != NULL)
            TRY(output_note(co, o, topic_shard(co->engine, t, o->partition)));
    }
    if (record != NULL) {
        outputs_settle(co);
        co->epoch = record->epoch < EPOCH_FIRST ? EPOCH_FIRST : record->epoch;
        co->finished = co->committed = co->epoch;
        atomic_store(&co->engine->committed, co->committed);
        ready_check(co); /* with nothing to replay there may be no epoch for a long time */
    }
    return ERR_OK;
}

enum err coordinator_new(struct shard *s, struct coordinator **out)
{
    struct coordinator *co = mem_zalloc(1, sizeof(*co));
    if (co == NULL)
        return ERR_NO_MEMORY;
    co->shard = s;
    co->engine = s->engine;
    output_wait_init(&co->wait, s);
    list_init(&co->readers);
    list_init(&co->active);
    list_init(&co->views);
    list_init(&co->failing);
    floors_init(&co->floors);
    list_init(&co->changed);
    list_init(&co->written);
    list_init(&co->untold);
    list_init(&co->committing);
    co->full_due = true; /* the first record after a start */
    co->actions_tail = &co->actions;
    arena_init(&co->plan_arena, RECORD_BYTES_MAX);
    buf_init(&co->record, RECORD_BYTES_MAX);
    co->idle_timer.fire = idle_fire;
    co->pace_timer.fire = pace_fire;
    enum err e = shard_timer_set(s, &co->idle_timer, s->mono_ns + (int64_t)IDLE_CHECK_MS * 1000000);
    if (e != ERR_OK) {
        mem_free(co);
        return e;
    }
    *out = co;
    return ERR_OK;
}

void coordinator_free(struct coordinator *co)
{
    if (co == NULL)
        return;
    LIST_FOR_SAFE (it, next, &co->readers)
        reader_end(co, LIST_ENTRY(it, struct co_reader, link));
    LIST_FOR_SAFE (it, next, &co->views)
        view_free(co, LIST_ENTRY(it, struct co_view, link));
    struct co_output *o;
    for (size_t at = 0; (o = map_next(&co->outputs, &at)) != NULL;)
        mem_free(o);
    map_deinit(&co->outputs);
    map_deinit(&co->by_id);
    floors_deinit(&co->floors);
    catalog_unref(co->catalog);
    arena_deinit(&co->plan_arena);
    buf_deinit(&co->record);
    mem_free(co);
}
