#include "engine/epochs.h"

#include "base/check.h"
#include "base/mem.h"
#include "engine/coordinator.h"
#include "engine/epoch_record.h"
#include "engine/keyed_rows.h"
#include "engine/output_wait.h"
#include "engine/snapshots.h"
#include "engine/source.h"
#include "engine/view_flow.h"

enum { OUTPUT_BYTES_PER_TURN = 1 << 20 };
enum { SCRATCH_KEEP_BYTES = 1 << 20, RECORDS_KEEP_BYTES = 256 << 10 };

/* A reader as one shard runs it. */
struct reader {
    uint32_t id;
    uint32_t rel_number;
    struct row_decoder decoder;
    bool main;
    bool silent;          /* replays what was committed */
    int64_t watermark_us; /* of the table, after the last epoch that it was in */
    bool idle;            /* all partitions were, then */
    struct list views; /* view_input.link */
    uint32_t n_parts;
    int64_t *watermarks; /* of local partitions, at the reader's position; INT64_MIN = none */
    /* With a PRIMARY KEY, of local partitions: */
    struct keyed_part {
        struct keyed_rows *rows; /* NULL: none yet */
        int64_t position;        /* of the log, up to where they go */
        int64_t bytes_told, rows_told;
    } *keyed;
    bool keyed_full; /* rows did not fit: none are kept, and no view goes on with them */
};

/* One state partition's share of an epoch, or what it gives to a partition of the late table. */
struct apply_unit {
    struct view_run *view;
    bool late;
    uint32_t source;    /* late: whose rows */
    uint32_t partition; /* of the state and the changelog, or of the late table */
    struct packet **packets; /* by source partition, then in the order they were made */
    uint32_t n;
};

enum phase { PHASE_IDLE, PHASE_SOURCE, PHASE_WAIT, PHASE_APPLY, PHASE_OUTPUT };

struct epochs {
    struct shard *shard;
    struct map readers; /* id -> struct reader */
    struct map views;   /* number -> struct view_run */
    struct list over;   /* views that read views: view_run.over_link, by level */
    struct compress *compress;
    struct scratch_pool scratch;
    struct kafka_record *records; /* BATCH_ROWS_MAX: of the batch in work */

    enum phase phase;
    const struct epoch_plan *plan;
    struct arena arena, piece;
    struct epoch_work work;
    struct dead_letter *apply_dead;
    struct epoch_end *ends; /* per target shard, of the level that is applied next */
    uint32_t level, n_levels; /* that is applied; of this epoch */
    struct level {
        const struct epoch_end **received; /* per shard */
        uint32_t n_received, units_end;
    } levels[VIEW_LEVELS_MAX + 1];
    struct input_result **results;  /* of this shard's inputs */
    struct input_result **gathered; /* of all */

    uint32_t reader_at, input_at; /* SOURCE: where in the plan */
    uint32_t readers_left, inputs_left;
    bool input_open;
    struct schema_wait input_waits; /* at `offset` */
    int64_t offset, load_offset; /* processed up to, read up to */
    uint64_t input_bytes;
    uint32_t n_batches; /* decoded in this epoch */
    struct record_reader_state reading;

    struct apply_unit *units;
    uint32_t n_units, unit_at, packet_at;
    struct view_finish finishing; /* the unit's */
    bool finish_begun, flow_begun;
    uint32_t output_at;
    struct output_end *outputs;
    uint32_t n_outputs, outputs_cap;
    struct letters_out letters; /* shard 0: waiting for sys.dead_letters */
    bool letters_taken;         /* those that came with END are in `letters` */
    struct output_wait wait;
    struct epoch_done done;
};

static void fail_epoch(struct epochs *ep, enum err e, const char *what,
                       const struct err_detail *why)
{
    engine_fatal(ep->shard->engine, e, "epoch %llu: %s: %s", (unsigned long long)ep->plan->epoch,
                 what, err_text(e, why));
}

static struct reader *plan_reader_at(struct epochs *ep, uint32_t i)
{
    return map_get(&ep->readers, ep->plan->readers[i].id);
}

static bool input_local(const struct epochs *ep, const struct reader *r, uint32_t partition)
{
    return topic_shard(ep->shard->engine, r->decoder.rel->topic, partition) == ep->shard->index;
}

/* ---- BEGIN ---- */

static void keyed_free(struct reader *r)
{
    for (uint32_t i = 0; r->keyed != NULL && i < r->n_parts; i++)
        keyed_rows_free(r->keyed[i].rows);
    mem_free(r->keyed);
    r->keyed = NULL;
}

static void reader_free(struct reader *r)
{
    CHECK(list_empty(&r->views));
    keyed_free(r);
    row_decoder_deinit(&r->decoder);
    mem_free(r->watermarks);
    mem_free(r);
}

static void merge(struct epochs *ep, const struct epoch_reader *er)
{
    struct reader *from = map_remove(&ep->readers, er->id),
                  *into = map_get(&ep->readers, er->merge_into);
    CHECK(from != NULL && into != NULL);
    LIST_FOR_SAFE (it, next, &from->views) {
        list_remove(it);
        list_add(&into->views, it);
        LIST_ENTRY(it, struct view_input, link)->reader = into;
    }
    if (into->keyed_full && !from->keyed_full) { /* it had more rows in between */
        struct keyed_part *none = into->keyed;
        into->keyed = from->keyed;
        from->keyed = none;
        into->keyed_full = false;
    }
    reader_free(from);
}

/* What goes to all shards before the views of a level are applied. */
static bool make_ends(struct epochs *ep, uint32_t level)
{
    uint32_t n = ep->shard->engine->n_shards;
    ep->ends = arena_zalloc(&ep->arena, n, sizeof(*ep->ends));
    for (uint32_t i = 0; ep->ends != NULL && i < n; i++) {
        ep->ends[i].packets_tail = &ep->ends[i].packets;
        ep->ends[i].from_shard = ep->shard->index;
        ep->ends[i].level = level;
        ep->ends[i].results = (const struct input_result *const *)ep->results;
    }
    ep->work.ends = ep->ends;
    return ep->ends != NULL;
}

static bool make_results(struct epochs *ep)
{
    const struct epoch_plan *plan = ep->plan;
    ep->results = arena_alloc(&ep->arena, (plan->n_readers + 1) * sizeof(struct input_result *));
    ep->gathered = arena_alloc(&ep->arena, (plan->n_readers + 1) * sizeof(struct input_result *));
    if (ep->results == NULL || ep->gathered == NULL)
        return false;
    for (uint32_t r = 0; r < plan->n_readers; r++) {
        const struct epoch_reader *er = &plan->readers[r];
        ep->results[r] = arena_alloc(&ep->arena, (er->n_inputs + 1) * sizeof(struct input_result));
        ep->gathered[r] = arena_zalloc(&ep->arena, er->n_inputs + 1, sizeof(struct input_result));
        if (ep->results[r] == NULL || ep->gathered[r] == NULL)
            return false;
        for (uint32_t i = 0; i < er->n_inputs; i++)
            ep->results[r][i] = (struct input_result){.reached = er->inputs[i].from,
                                                      .watermark_us = er->inputs[i].watermark_us};
    }
    return make_ends(ep, 0);
}

/* Not always the same reader and input come first: when the epoch is full the last ones wait. */
static void reader_enter(struct epochs *ep, uint32_t at)
{
    uint32_t n = ep->plan->readers[at].n_inputs;
    ep->reader_at = at;
    ep->inputs_left = n;
    ep->input_at = (uint32_t)(ep->plan->epoch % n);
}

static void input_advance(struct epochs *ep)
{
    ep->inputs_left--;
    ep->input_at = (ep->input_at + 1) % ep->plan->readers[ep->reader_at].n_inputs;
}

static void readers_begin(struct epochs *ep, const struct epoch_plan *plan)
{
    struct reader *r;
    for (size_t at = 0; !plan->replaying && (r = map_next(&ep->readers, &at)) != NULL;)
        r->silent = false;
    for (uint32_t i = 0; i < plan->n_readers; i++) {
        const struct epoch_reader *er = &plan->readers[i];
        if (er->merge_into != 0)
            merge(ep, er);
        else
            plan_reader_at(ep, i)->silent = er->silent;
    }
}

/* Marks the views that begin to read others, or that have done so. */
static void births(struct epochs *ep, bool done)
{
    for (uint32_t i = 0; i < ep->plan->n_births; i++) {
        const struct epoch_birth *b = &ep->plan->births[i];
        struct view_input *in = &epochs_view(ep, b->view)->inputs[b->source];
        in->born = done;
        in->birth = !done;
    }
}

void epochs_begin(struct epochs *ep, const struct epoch_plan *plan)
{
    CHECK(ep->phase == PHASE_IDLE);
    ep->plan = plan;
    arena_reset(&ep->arena, EPOCH_ARENA_KEEP_BYTES);
    scratch_reset(&ep->scratch, SCRATCH_KEEP_BYTES);
    letters_out_begin(&ep->letters);
    ep->work = (struct epoch_work){
        .shard = ep->shard, .arena = &ep->arena, .piece = &ep->piece, .epoch = plan->epoch};
    if (!make_results(ep))
        fail_epoch(ep, ERR_NO_MEMORY, "cannot begin", NULL);
    ep->work.dead_tail = &ep->ends[0].dead_letters;
    readers_begin(ep, plan);
    for (uint32_t i = 0; i < plan->n_floors; i++) {
        struct view_run *v = epochs_view(ep, plan->floors[i].view);
        if (v != NULL && !v->failed && view_run_floor(v, &plan->floors[i]) != ERR_OK)
            fail_epoch(ep, ERR_NO_MEMORY, "cannot begin", NULL);
    }
    births(ep, false);
    ep->apply_dead = NULL;
    ep->readers_left = plan->n_readers;
    reader_enter(ep, (uint32_t)(plan->epoch % plan->n_readers));
    ep->input_open = ep->letters_taken = ep->finish_begun = ep->flow_begun = false;
    ep->n_batches = 0;
    ep->units = NULL;
    ep->level = 0;
    ep->n_levels = 1;
    ep->n_units = ep->unit_at = ep->packet_at = ep->output_at = ep->n_outputs = 0;
    ep->phase = PHASE_SOURCE;
    ep->shard->busy = true;
}

/* ---- SOURCE ---- */

/* Moves to the next input with rows that live here; false when there is none. */
static bool input_next(struct epochs *ep)
{
    const struct epoch_plan *plan = ep->plan;
    for (; ep->readers_left > 0;
         ep->readers_left--, reader_enter(ep, (ep->reader_at + 1) % plan->n_readers)) {
        const struct epoch_reader *er = &plan->readers[ep->reader_at];
        if (er->merge_into != 0)
            continue;
        struct reader *r = plan_reader_at(ep, ep->reader_at);
        CHECK(r != NULL && r->n_parts == er->n_inputs);
        for (; ep->inputs_left > 0; input_advance(ep)) {
            const struct epoch_input *in = &er->inputs[ep->input_at];
            if (!input_local(ep, r, in->partition))
                continue;
            struct input_result *result = &ep->results[ep->reader_at][ep->input_at];
            if (in->floor_us > r->watermarks[in->partition])
                r->watermarks[in->partition] = in->floor_us;
            result->watermark_us = r->watermarks[in->partition];
            if (in->from < in->to)
                return true;
        }
    }
    return false;
}

static void input_end(struct epochs *ep, struct reader *r)
{
    struct input_result *result = &ep->results[ep->reader_at][ep->input_at];
    uint32_t partition = ep->plan->readers[ep->reader_at].inputs[ep->input_at].partition;
    result->reached = ep->offset;
    result->waits = ep->input_waits;
    result->watermark_us = r->watermarks[partition];
    if (r->keyed != NULL)
        r->keyed[partition].position = ep->offset;
    if (r->main) {
        struct part *p = part_find(ep->shard, r->decoder.rel->topic->number, partition);
        stat_set(&p->stats->watermark_us, result->watermark_us);
        atomic_store(&p->stats->idle, false);
    }
    ep->input_open = false;
    input_advance(ep);
}

/* A view stands still with its table. One of several tables could only do so from a state that is
 * whole: in a replay it would take in the others' news over a part of what it was. */
static void view_stands(struct epochs *ep, struct view_run *v, bool silent, enum err e,
                        const struct err_detail *told)
{
    if (silent && v->n_inputs > 1)
        view_run_fail(v, &ep->work, e, told);
    v->stands = true;
    view_run_stand(v, e, told);
}

static bool reads_standing(const struct view_run *v)
{
    for (uint32_t i = 0; i < v->n_inputs; i++)
        if (v->inputs[i].upstream != NULL && v->inputs[i].upstream->stands)
            return true;
    return false;
}

/* The log of a partition cannot be read: its reader stands still here, and everything else goes on.
 * A restart takes what can be read and tells what is lost. */
static void input_failed(struct epochs *ep, struct reader *r, uint32_t partition, enum err e,
                         const struct err_detail *why)
{
    const struct relation *rel = r->decoder.rel;
    struct err_detail told = {0};
    err_set(&told, e, "partition %u of \"%.*s\" cannot be read from offset %lld on: %s", partition,
            STR_ARG(rel->name), (long long)ep->offset, err_text(e, why));
    engine_note(ep->shard->engine, "error", "%s", told.text);
    LIST_FOR (it, &r->views)
        view_stands(ep, LIST_ENTRY(it, struct view_input, link)->view, r->silent, e, &told);
    LIST_FOR (it, &ep->over) {
        struct view_run *v = LIST_ENTRY(it, struct view_run, over_link);
        if (!v->stands && reads_standing(v))
            view_stands(ep, v, r->silent, e, &told);
    }
    ep->results[ep->reader_at][ep->input_at].failed = true;
}

/* The next range of the open input, and what of it was aborted. */
static enum err range_read(struct epochs *ep, const struct epoch_input *in, struct part *p,
                           struct log_range *range, struct err_detail *why)
{
    for (size_t bytes = READ_BYTES_MAX;; bytes = 1) {
        TRY(log_read(p->log, ep->offset, log_durable_offset(p->log), bytes, range, why));
        int64_t to = range->next_offset < in->to ? range->next_offset : in->to;
        enum err e =
            record_reader_decide(&ep->reading, p->log, range->first_offset, to, &ep->arena);
        if (e == ERR_OK)
            return e;
        log_range_release(range);
        if (e != ERR_LIMIT || bytes == 1)
            return e;
    }
}

/* Reads the next range of the open input into memory; false when the input is done. */
static bool range_load(struct epochs *ep, const struct epoch_input *in, struct reader *r)
{
    if (ep->offset >= in->to || ep->input_bytes > EPOCH_INPUT_BYTES_MAX)
        return false;
    struct part *p = part_find(ep->shard, r->decoder.rel->topic->number, in->partition);
    struct err_detail why = {0};
    struct log_range range = {0};
    CHECK(p != NULL);
    int64_t start = log_start_offset(p->log);
    if (ep->offset < start) { /* retention was quicker */
        ep->offset = start < in->to ? start : in->to;
        if (ep->offset == in->to)
            return false;
    }
    enum err e = range_read(ep, in, p, &range, &why);
    bool some = range.len > 0;
    if (e == ERR_OK && some) {
        e = record_reader_load(&ep->reading, &range, &ep->arena);
        snapshots_input(ep->shard->engine, r->silent ? 0 : range.len);
        ep->input_bytes += range.len;
        /* The range may go past `to`: records from there on are left for the next epoch. */
        ep->load_offset = range.next_offset < in->to ? range.next_offset : in->to;
    }
    log_range_release(&range);
    if (e == ERR_NO_MEMORY)
        fail_epoch(ep, e, "reading the log", &why);
    if (e != ERR_OK)
        input_failed(ep, r, in->partition, e, &why);
    return e == ERR_OK && some;
}

static void decode_refused(struct epochs *ep, struct reader *r, uint32_t partition,
                           const struct kafka_record *rec, const struct err_detail *why, enum err e)
{
    const struct relation *rel = r->decoder.rel;
    if (!r->main || e == ERR_NO_MEMORY)
        return;
    stat_add(&engine_relation_stats(ep->shard->engine, rel->number)->dead_letters, 1);
    if (ep->plan->readers[ep->reader_at].silent || rel->on_error == ON_ERROR_IGNORE)
        return;
    if (dead_letter_add(&ep->work, NULL, rel, partition, rec->offset, err_text(e, why),
                        rec->value) != ERR_OK)
        fail_epoch(ep, ERR_NO_MEMORY, "keeping dead letters", NULL);
}

/* The watermark before each row; moves the partition's. */
static int64_t *row_watermarks(struct epochs *ep, struct reader *r, uint32_t partition,
                               const struct batch *b)
{
    const struct relation *rel = r->decoder.rel;
    if (rel->event_time < 0)
        return NULL;
    int64_t *before = arena_alloc(&ep->arena, (b->n_rows + 1) * sizeof(*before));
    if (before == NULL)
        fail_epoch(ep, ERR_NO_MEMORY, "computing watermarks", NULL);
    int64_t now = r->watermarks[partition];
    for (uint32_t i = 0; i < b->n_rows; i++) {
        int64_t ts, moved;
        before[i] = now;
        bool known = epoch_time_us(&b->columns[rel->event_time], i, rel->event_time_unit, &ts);
        if (!known || __builtin_sub_overflow(ts, rel->lateness_us, &moved))
            moved = INT64_MIN;
        now = moved > now ? moved : now;
    }
    r->watermarks[partition] = now;
    return before;
}

static void feed_views(struct epochs *ep, struct reader *r, uint32_t partition,
                       const struct batch *b)
{
    struct source_batch in = {.rel = r->decoder.rel,
                              .batch = b,
                              .records = ep->records,
                              .partition = partition,
                              .now_us = ep->plan->wall_us,
                              .silent = ep->plan->readers[ep->reader_at].silent,
                              .watermarks = row_watermarks(ep, r, partition, b)};
    LIST_FOR_SAFE (it, next, &r->views) {
        struct view_run *v = LIST_ENTRY(it, struct view_input, link)->view;
        enum err e = v->failed ? ERR_OK : view_run_source(v, &in, &ep->work);
        if (e != ERR_OK)
            fail_epoch(ep, e, "running a view", NULL);
    }
}

/* Decodes a record into the next row of `b`; false when it is none. */
static bool decode_one(struct epochs *ep, struct reader *r, uint32_t partition,
                       const struct kafka_record *rec, struct batch *b)
{
    struct err_detail why;
    why.text[0] = '\0';
    enum err e = row_decode(&r->decoder, rec, partition, b, &ep->arena, &why);
    if (e == ERR_NO_MEMORY)
        fail_epoch(ep, e, "decoding", NULL);
    if (e == ERR_BUSY && r->decoder.schemas != NULL) {
        ep->input_waits.on = true;
        ep->input_waits.schema = r->decoder.wanted;
        ep->offset = rec->offset;
        return false;
    }
    if (e != ERR_OK)
        decode_refused(ep, r, partition, rec, &why, e);
    return e == ERR_OK;
}

static struct batch *decode_batch(struct epochs *ep, struct reader *r, size_t n)
{
    struct batch *b = row_decoder_batch(&r->decoder, (uint32_t)n, &ep->arena);
    if (b == NULL)
        fail_epoch(ep, ERR_NO_MEMORY, "decoding", NULL);
    return b;
}

static void count_rows(struct epochs *ep, const struct reader *r, uint32_t n)
{
    if (r->main)
        stat_add(&engine_relation_stats(ep->shard->engine, r->decoder.rel->number)->rows_in, n);
}

/* ---- tables with a PRIMARY KEY ---- */

/* The rows do not fit the bound (or memory): nothing over them can go on. */
static void keyed_failed(struct epochs *ep, struct reader *r, enum err e)
{
    struct err_detail why = {0};
    err_set(&why, e, "the rows of table \"%.*s\" do not fit their memory bound: %s",
            STR_ARG(r->decoder.rel->name), err_info(e)->text);
    engine_note(ep->shard->engine, "error", "%s", why.text);
    LIST_FOR (it, &r->views)
        view_run_fail(LIST_ENTRY(it, struct view_input, link)->view, &ep->work, e, &why);
    for (uint32_t i = 0; i < r->n_parts; i++) {
        keyed_rows_free(r->keyed[i].rows);
        r->keyed[i].rows = NULL;
    }
    r->keyed_full = true;
}

static void keyed_tell(struct epochs *ep, const struct reader *r, struct keyed_part *k)
{
    struct relation_stats *st = engine_relation_stats(ep->shard->engine, r->decoder.rel->number);
    int64_t rows = (int64_t)keyed_rows_count(k->rows), bytes = (int64_t)keyed_rows_bytes(k->rows);
    if (!r->main)
        return;
    atomic_fetch_add_explicit(&st->groups, rows - k->rows_told, memory_order_relaxed);
    atomic_fetch_add_explicit(&st->state_bytes, bytes - k->bytes_told, memory_order_relaxed);
    k->rows_told = rows;
    k->bytes_told = bytes;
}

/* Takes changes in, and gives what follows from them to the views. */
static void keyed_take(struct epochs *ep, struct reader *r, uint32_t partition,
                       const struct batch *b, const enum row_op *ops)
{
    struct keyed_part *k = &r->keyed[partition];
    struct engine *engine = ep->shard->engine;
    struct batch *out = NULL;
    enum err e = ERR_OK;
    if (r->keyed_full || b->n_rows == 0)
        return;
    if (k->rows == NULL)
        e = keyed_rows_new(r->decoder.rel, engine->options.memory_bytes_max / r->n_parts,
                           engine->hash_seed, &k->rows);
    if (e == ERR_OK)
        e = keyed_rows_take(k->rows, b, ops, &ep->arena, list_empty(&r->views) ? NULL : &out);
    if (e != ERR_OK) {
        keyed_failed(ep, r, e);
        return;
    }
    keyed_tell(ep, r, k);
    if (out != NULL && out->n_rows > 0)
        feed_views(ep, r, partition, out);
}

static void keyed_clear(struct epochs *ep, struct reader *r, uint32_t partition)
{
    struct keyed_part *k = &r->keyed[partition];
    while (k->rows != NULL && keyed_rows_count(k->rows) > 0) {
        struct batch *out;
        enum err e = keyed_rows_clear(k->rows, &ep->arena, &out);
        if (e != ERR_OK) {
            keyed_failed(ep, r, e);
            return;
        }
        keyed_tell(ep, r, k);
        if (!list_empty(&r->views))
            feed_views(ep, r, partition, out);
    }
}

static void decode_keyed(struct epochs *ep, struct reader *r, uint32_t partition, size_t n)
{
    enum row_op *ops = arena_alloc(&ep->arena, (n + 1) * sizeof(*ops));
    if (ops == NULL)
        fail_epoch(ep, ERR_NO_MEMORY, "decoding", NULL);
    for (size_t i = 0; i < n;) {
        struct batch *b = decode_batch(ep, r, n - i);
        bool clear = false;
        for (; i < n && !clear; i++) {
            if (!decode_one(ep, r, partition, &ep->records[i], b))
                continue;
            clear = r->decoder.op == ROW_CLEAR;
            if (r->decoder.op == ROW_PUT || r->decoder.op == ROW_DELETE)
                ops[b->n_rows - 1] = r->decoder.op;
        }
        count_rows(ep, r, b->n_rows);
        keyed_take(ep, r, partition, b, ops);
        if (clear)
            keyed_clear(ep, r, partition);
    }
}

static void decode_records(struct epochs *ep, struct reader *r, uint32_t partition, size_t n)
{
    ep->n_batches++;
    shard_worked(ep->shard, n);
    if (r->keyed != NULL) {
        decode_keyed(ep, r, partition, n);
        return;
    }
    struct batch *b = decode_batch(ep, r, n);
    ep->input_waits.version = schemas_version(ep->shard->engine->schemas);
    for (size_t i = 0; i < n && !ep->input_waits.on; i++)
        if (decode_one(ep, r, partition, &ep->records[i], b))
            ep->records[b->n_rows - 1] = ep->records[i];
    count_rows(ep, r, b->n_rows);
    if (b->n_rows > 0)
        feed_views(ep, r, partition, b);
}

static void post_end(struct epochs *ep);

/* Fewer rows at once when each stands in many windows. */
static uint32_t batch_rows(const struct reader *r)
{
    uint32_t windows = 1;
    LIST_FOR (it, &r->views) {
        const struct view_run *v = LIST_ENTRY(it, struct view_input, link)->view;
        windows = v->windows_per_row > windows ? v->windows_per_row : windows;
    }
    uint32_t rows = EPOCH_SPREAD_ROWS_MAX / windows;
    uint32_t max = r->keyed != NULL ? KEYED_ROWS_AT_ONCE : BATCH_ROWS_MAX;
    return rows > max ? max : rows < 1 ? 1 : rows;
}

/* Whether the epoch has enough to do: what is left of its inputs waits for the next. The first
 * batch always fits. */
static bool epoch_full(const struct epochs *ep)
{
    bool full = arena_used(&ep->arena) > EPOCH_ARENA_BYTES_TARGET ||
                scratch_full(&ep->scratch) || dead_letters_full(&ep->work);
    return full && ep->n_batches > 0;
}

static void source_step(struct epochs *ep)
{
    if (!ep->input_open) {
        if (!input_next(ep)) {
            post_end(ep);
            return;
        }
        ep->input_open = true;
        ep->input_waits.on = false;
        ep->offset = ep->load_offset = ep->plan->readers[ep->reader_at].inputs[ep->input_at].from;
        ep->input_bytes = 0;
        ep->reading = (struct record_reader_state){
            .splits = relation_splits_records(plan_reader_at(ep, ep->reader_at)->decoder.rel)};
    }
    const struct epoch_input *in = &ep->plan->readers[ep->reader_at].inputs[ep->input_at];
    struct reader *r = plan_reader_at(ep, ep->reader_at);
    bool full = epoch_full(ep);
    if (full && !ep->reading.in_record) {
        input_end(ep, r);
        return;
    }
    int64_t to = full ? ep->offset + 1 : in->to; /* a record is in one epoch, all its rows */
    size_t n = 0;
    struct err_detail why = {0};
    enum err e = record_reader_next(&ep->reading, ep->offset, to, ep->compress, &ep->scratch,
                                    ep->records, batch_rows(r), &n, &why);
    if (e == ERR_NO_MEMORY)
        fail_epoch(ep, e, "decompressing", &why);
    if (e == ERR_BUSY) {
        input_end(ep, r);
        return;
    }
    int64_t next =
        n > 0 ? record_reader_reached(&ep->reading, &ep->records[n - 1]) : ep->load_offset;
    if (n > 0)
        decode_records(ep, r, in->partition, n);
    if (ep->input_waits.on) {
        input_end(ep, r);
        return;
    }
    if (e != ERR_OK)
        decode_refused(ep, r, in->partition,
                       &(struct kafka_record){.offset = ep->reading.batch_offset}, &why, e);
    if (n > 0 || e == ERR_OK)
        ep->offset = next;
    if (r->keyed != NULL)
        r->keyed[in->partition].position = ep->offset;
    if (n == 0 && e == ERR_OK && !range_load(ep, in, r))
        input_end(ep, r);
}

/* ---- WAIT ---- */

static void end_run(struct shard *s, struct shard_call *c)
{
    struct epochs *ep = s->epochs;
    const struct epoch_end *end = CONTAINER_OF(c, struct epoch_end, call);
    struct level *l = &ep->levels[end->level];
    CHECK(l->received[end->from_shard] == NULL);
    l->received[end->from_shard] = end;
    l->n_received++;
    s->busy = true;
}

static void ends_send(struct epochs *ep)
{
    ep->phase = PHASE_WAIT;
    for (uint32_t i = 0; i < ep->shard->engine->n_shards; i++) {
        ep->ends[i].call = (struct shard_call){.run = end_run};
        shard_post(ep->shard, i, &ep->ends[i].call);
    }
}

static void post_end(struct epochs *ep)
{
    ep->work.dead_tail = &ep->apply_dead;
    ends_send(ep);
}

/* ---- APPLY ---- */

/* The packets of the level's views: of `all` when it is there. */
static uint32_t level_packets(const struct epochs *ep, struct packet **all)
{
    uint32_t n = 0;
    for (uint32_t l = 0; l <= ep->level; l++)
        for (uint32_t s = 0; s < ep->shard->engine->n_shards; s++)
            for (struct packet *p = ep->levels[l].received[s]->packets; p != NULL; p = p->next) {
                if (p->level != ep->level)
                    continue;
                if (all != NULL)
                    all[n] = p;
                n++;
            }
    return n;
}

/* All packets of the level for this shard, sorted. */
static struct packet **sorted_packets(struct epochs *ep, uint32_t *n)
{
    *n = level_packets(ep, NULL);
    struct packet **all = arena_alloc(&ep->arena, (*n + 1) * sizeof(struct packet *));
    struct packet **spare = arena_alloc(&ep->arena, (*n + 1) * sizeof(struct packet *));
    if (all == NULL || spare == NULL)
        return NULL;
    level_packets(ep, all);
    return packets_sort(all, spare, *n);
}

/* `u` for each of the topic's first n partitions that lives here; counted, kept where is room. */
static void add_units(struct epochs *ep, const struct apply_unit *u, const struct topic *t,
                      uint32_t n, uint32_t *n_units)
{
    for (uint32_t p = 0; p < n; p++) {
        if (topic_shard(ep->shard->engine, t, p) != ep->shard->index)
            continue;
        if (ep->units != NULL) {
            ep->units[*n_units] = *u;
            ep->units[*n_units].partition = p;
        }
        ++*n_units;
    }
}

/* Adds a view to those that take part, once. */
static void takes_part(const struct epochs *ep, struct view_run **list, uint32_t *n,
                       struct view_run *v)
{
    if (v == NULL || v->planned == ep->plan->epoch)
        return;
    v->planned = ep->plan->epoch;
    list[(*n)++] = v;
}

/* The views that take part: those of the readers, those that others begin to read, and all that
 * read one of them. All shards find the same. NULL when out of memory. */
static struct view_run **taking_part(struct epochs *ep, uint32_t *n)
{
    struct view_run **list = arena_alloc(&ep->arena, (ep->views.count + 1) * sizeof(*list));
    *n = 0;
    for (uint32_t i = 0; list != NULL && i < ep->plan->n_readers; i++) {
        struct reader *r = ep->plan->readers[i].merge_into == 0 ? plan_reader_at(ep, i) : NULL;
        for (struct list *it = r == NULL ? NULL : r->views.next; r != NULL && it != &r->views;
             it = it->next)
            takes_part(ep, list, n, LIST_ENTRY(it, struct view_input, link)->view);
    }
    for (uint32_t i = 0; list != NULL && i < ep->plan->n_births; i++) {
        const struct epoch_birth *b = &ep->plan->births[i];
        takes_part(ep, list, n, epochs_view(ep, b->view)->inputs[b->source].upstream);
    }
    LIST_FOR (it, &ep->over) {
        struct view_run *v = LIST_ENTRY(it, struct view_run, over_link);
        for (uint32_t i = 0; list != NULL && i < v->n_inputs; i++) {
            const struct view_run *up = v->inputs[i].upstream;
            if (up != NULL && up->planned == ep->plan->epoch)
                takes_part(ep, list, n, v);
        }
    }
    return list;
}

/* Whether what a view gives was given before; and where it takes part, its watermark: the least of
 * its tables' that have event times and are not idle. Views that it reads say nothing about its
 * windows, but are shown where there is nothing else. */
static void view_settle(const struct epochs *ep, struct view_run *v)
{
    struct watermark_sum sum = WATERMARK_SUM_NONE, above = WATERMARK_SUM_NONE;
    v->silent = false;
    for (uint32_t i = 0; i < v->n_inputs; i++) {
        const struct reader *r = v->inputs[i].reader;
        const struct view_run *up = v->inputs[i].upstream;
        v->silent |= r != NULL && r->silent;
        if (r != NULL && r->decoder.rel->event_time >= 0)
            watermark_add(&sum, r->watermark_us, r->idle);
        if (up == NULL || up->aggregate == NULL)
            continue; /* without groups it is read by its query */
        v->silent |= up->silent;
        watermark_add(&above, up->watermark_us, false);
    }
    if (v->planned == ep->plan->epoch)
        v->watermark_us = watermark_of(sum.greatest > INT64_MIN ? &sum : &above, v->watermark_us);
}

/* With views over views, of all: one may read another that does not take part. */
static void views_settle(struct epochs *ep, struct view_run **views, uint32_t n)
{
    struct view_run *v;
    for (uint32_t i = 0; i < n; i++)
        view_settle(ep, views[i]);
    for (size_t at = 0; !list_empty(&ep->over) && (v = map_next(&ep->views, &at)) != NULL;)
        if (v->level == 0)
            view_settle(ep, v);
    LIST_FOR (it, &ep->over)
        view_settle(ep, LIST_ENTRY(it, struct view_run, over_link));
}

/* Every state partition that lives here of every view that takes part, by level. */
static enum err plan_units(struct epochs *ep)
{
    uint32_t n_views, n_units = 0;
    struct view_run **views = taking_part(ep, &n_views);
    if (views == NULL)
        return ERR_NO_MEMORY;
    views_settle(ep, views, n_views);
    for (uint32_t i = 0; i < n_views; i++)
        if (views[i]->level >= ep->n_levels)
            ep->n_levels = views[i]->level + 1;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1 &&
            (ep->units = arena_zalloc(&ep->arena, n_units + 1, sizeof(*ep->units))) == NULL)
            return ERR_NO_MEMORY;
        n_units = 0;
        for (uint32_t l = 0; l < ep->n_levels; l++) {
            for (uint32_t i = 0; i < n_views; i++) {
                struct apply_unit u = {.view = views[i]};
                if (u.view->level != l)
                    continue;
                add_units(ep, &u, u.view->rel->topic, u.view->n_partitions, &n_units);
                u.late = true;
                for (u.source = 0; u.source < u.view->n_inputs; u.source++)
                    add_units(ep, &u, u.view->rel->view->late[u.source],
                              u.view->inputs[u.source].n_late, &n_units);
            }
            ep->levels[l].units_end = n_units;
        }
    }
    ep->n_units = n_units;
    return ERR_OK;
}

/* Gives the level's units their packets, and makes room for those of the next one. */
static enum err level_begin(struct epochs *ep)
{
    uint32_t n_packets;
    struct packet **packets = sorted_packets(ep, &n_packets);
    if (packets == NULL || (ep->level + 1 < ep->n_levels && !make_ends(ep, ep->level + 1)))
        return ERR_NO_MEMORY;
    for (uint32_t i = ep->unit_at; i < ep->levels[ep->level].units_end; i++) {
        struct apply_unit *u = &ep->units[i];
        if (u->late)
            continue;
        struct packet key = {.view = u->view->number, .state_partition = u->partition};
        uint32_t low = 0, high = n_packets;
        while (low < high) {
            uint32_t mid = (low + high) / 2;
            if (packet_compare(packets[mid], &key) < 0)
                low = mid + 1;
            else
                high = mid;
        }
        u->packets = packets + low;
        while (low + u->n < n_packets && packets[low + u->n]->view == key.view &&
               packets[low + u->n]->state_partition == key.state_partition)
            u->n++;
    }
    return ERR_OK;
}

/* Brings the results of all shards together, each input's from the shard that read it. */
static void gather_results(struct epochs *ep)
{
    for (uint32_t r = 0; r < ep->plan->n_readers; r++) {
        const struct epoch_reader *er = &ep->plan->readers[r];
        struct reader *reader = er->merge_into == 0 ? plan_reader_at(ep, r) : NULL;
        for (uint32_t i = 0; reader != NULL && i < er->n_inputs; i++) {
            uint32_t owner =
                topic_shard(ep->shard->engine, reader->decoder.rel->topic, er->inputs[i].partition);
            ep->gathered[r][i] = ep->levels[0].received[owner]->results[r][i];
            reader->idle = (i == 0 || reader->idle) && er->inputs[i].idle;
        }
        if (reader != NULL)
            reader->watermark_us = epoch_table_watermark(er, ep->gathered[r]);
    }
}

/* A piece of the end of a unit's epoch. */
static enum err finish_step(struct epochs *ep, const struct apply_unit *u, bool *more)
{
    struct view_run *v = u->view;
    struct state_partition *sp = &v->partitions[u->partition];
    if (!ep->finish_begun) {
        int64_t watermark = v->watermark_us;
        if (v->aggregate != NULL && v->agg.n_keys == 0 && sp->number == 0)
            TRY(view_run_seed(v, sp, ep->plan->epoch));
        stat_set(&v->stats->watermark_us, watermark);
        ep->finishing = (struct view_finish){.view = v,
                                             .part = sp,
                                             .work = &ep->work,
                                             .watermark_us = watermark,
                                             .now_us = ep->plan->wall_us,
                                             .silent = v->silent};
        ep->finish_begun = true;
    }
    return view_finish_step(&ep->finishing, more);
}

/* Whether the view's operators have something to do in this epoch. */
static bool flow_left(const struct epochs *ep, const struct apply_unit *u)
{
    const struct view_epoch *now = &u->view->now;
    return !ep->flow_begun || !now->ended || ep->packet_at < u->n;
}

static enum err flow_piece(struct epochs *ep, const struct apply_unit *u, struct err_detail *why)
{
    struct view_run *v = u->view;
    bool more;
    if (!ep->flow_begun)
        view_flow_begin(v, &(struct view_epoch){.work = &ep->work,
                                                .plan = ep->plan,
                                                .silent = v->silent,
                                                .watermark_us = v->watermark_us});
    ep->flow_begun = true;
    if (v->now.busy || ep->packet_at == u->n)
        return view_flow_step(v, &more, why);
    const struct packet *p = u->packets[ep->packet_at++];
    shard_worked(ep->shard, p->batch->n_rows);
    return view_flow_take(v, p);
}

/* A piece of a unit's work; false in *more when it was the last one. */
static enum err apply_piece(struct epochs *ep, const struct apply_unit *u, bool *more,
                            struct err_detail *why)
{
    struct view_run *v = u->view;
    if (v->flow != NULL && !ep->finish_begun && flow_left(ep, u))
        return flow_piece(ep, u, why);
    if (v->flow != NULL || ep->packet_at == u->n)
        return finish_step(ep, u, more);
    const struct packet *p = u->packets[ep->packet_at++];
    shard_worked(ep->shard, p->batch->n_rows);
    return view_run_apply(v, p, ep->plan, v->silent, &ep->arena, &ep->arena);
}

static void apply_step(struct epochs *ep)
{
    uint32_t end = ep->levels[ep->level].units_end;
    while (ep->unit_at < end && ep->units[ep->unit_at].late)
        ep->unit_at++; /* collected while the source was read */
    if (ep->unit_at == end) {
        if (++ep->level < ep->n_levels) {
            ends_send(ep);
            return;
        }
        ep->phase = PHASE_OUTPUT;
        ep->unit_at = 0;
        return;
    }
    const struct apply_unit *u = &ep->units[ep->unit_at];
    struct view_run *v = u->view;
    struct err_detail why = {0};
    enum err e = ERR_OK;
    bool more = !v->failed;
    if (!v->failed) {
        int64_t began = host_mono_ns(ep->shard->engine->host);
        e = apply_piece(ep, u, &more, &why);
        engine_count_busy(ep->shard->engine, &v->stats->figures->state_ns, began);
    }
    if (e != ERR_OK)
        view_run_apply_failed(v, &ep->work, e, &why);
    if (e == ERR_OK && more)
        return;
    ep->unit_at++;
    ep->packet_at = 0;
    ep->finish_begun = ep->flow_begun = false;
}

/* ---- OUTPUT ---- */

static enum err output_note(struct epochs *ep, struct part *p)
{
    if (ep->n_outputs == ep->outputs_cap) {
        uint32_t cap = ep->outputs_cap == 0 ? 16 : ep->outputs_cap * 2;
        struct output_end *grown = mem_realloc(ep->outputs, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        ep->outputs = grown;
        ep->outputs_cap = cap;
    }
    ep->outputs[ep->n_outputs++] =
        (struct output_end){p->topic_number, p->partition, log_end_offset(p->log)};
    return part_epoch_mark(p, ep->plan->epoch);
}

/* Appends a piece of what was collected; *more tells that there is another. When the disk is full
 * it stays collected. */
static enum err records_flush(struct part *p, struct records *r, bool *more, struct err_detail *why)
{
    int64_t base;
    struct str batches;
    uint32_t n;
    TRY(records_finish(r, why));
    if (records_take(r, OUTPUT_BYTES_PER_TURN, &batches, &n)) {
        TRY(part_append(p, r->bytes.ptr + r->taken, batches.len, n, &base, why));
        records_taken(r, batches.len);
    }
    *more = r->taken < r->bytes.len;
    if (!*more)
        records_clear(r, RECORDS_KEEP_BYTES);
    return ERR_OK;
}

static enum err output_append(struct epochs *ep, uint32_t topic_number, uint32_t partition,
                              struct records *r, bool *more, struct err_detail *why)
{
    *more = false;
    if (r->n_records == 0)
        return ERR_OK;
    struct part *p = part_find(ep->shard, topic_number, partition);
    CHECK(p != NULL);
    TRY(records_flush(p, r, more, why));
    return *more ? ERR_OK : output_note(ep, p);
}

/* Waiting helps against a full disk. What else goes wrong with a view's own log fails the view. */
static enum err output_view(struct epochs *ep, struct view_run *v, const struct topic *t,
                            uint32_t partition, struct records *r, bool *more,
                            struct err_detail *why)
{
    enum err e = output_append(ep, t->number, partition, r, more, why);
    if (e == ERR_OK || e == ERR_NO_SPACE || e == ERR_IO)
        return e;
    struct err_detail told = {0};
    err_set(&told, e, "topic \"%.*s\" partition %u takes no more: %s", STR_ARG(t->name), partition,
            err_text(e, why));
    view_run_fail(v, &ep->work, e, &told);
    *more = false;
    return ERR_OK;
}

static enum err output_unit(struct epochs *ep, const struct apply_unit *u, bool *more,
                            struct err_detail *why)
{
    struct view_run *v = u->view;
    *more = false;
    if (v->failed)
        return ERR_OK;
    if (u->late)
        return output_view(ep, v, v->rel->view->late[u->source], u->partition,
                           &v->inputs[u->source].late[u->partition], more, why);
    return output_view(ep, v, v->rel->topic, u->partition, &v->partitions[u->partition].out, more,
                       why);
}

/* A piece of the dead letters that shard 0 knows of. */
static enum err letters_flush(struct epochs *ep, struct part *p, bool *more, struct err_detail *why)
{
    letters_out_fill(&ep->letters, OUTPUT_BYTES_PER_TURN, ep->plan->epoch,
                     ep->plan->wall_us / 1000);
    TRY(records_flush(p, &ep->letters.piece, more, why));
    *more = letters_out_left(&ep->letters);
    return ERR_OK;
}

static enum err output_letters(struct epochs *ep, bool *more, struct err_detail *why)
{
    *more = false;
    if (ep->shard->index != 0)
        return ERR_OK;
    for (uint32_t s = 0; s < ep->shard->engine->n_shards && !ep->letters_taken; s++)
        letters_out_add(&ep->letters, ep->levels[0].received[s]->dead_letters);
    ep->letters_taken = true;
    if (!letters_out_left(&ep->letters))
        return ERR_OK;
    struct part *p = part_find(ep->shard, NUMBER_DEAD_LETTERS, 0);
    TRY(letters_flush(ep, p, more, why));
    return *more ? ERR_OK : output_note(ep, p);
}

static void finish(struct epochs *ep)
{
    struct shard *s = ep->shard;
    if (dead_letters_end(&ep->work) != ERR_OK)
        fail_epoch(ep, ERR_NO_MEMORY, "keeping dead letters", NULL);
    for (uint32_t l = 0; l < ep->n_levels; l++) {
        memset(ep->levels[l].received, 0, s->engine->n_shards * sizeof(struct epoch_end *));
        ep->levels[l].n_received = 0;
    }
    births(ep, true);
    ep->phase = PHASE_IDLE;
    ep->done = (struct epoch_done){.call = {.run = coordinator_on_done},
                                   .results = (const struct input_result *const *)ep->results,
                                   .dead_letters = ep->apply_dead,
                                   .failures = ep->work.failures,
                                   .n_outputs = ep->n_outputs,
                                   .outputs = ep->outputs};
    shard_post(s, 0, &ep->done.call);
}

static void cut_outputs(struct epochs *ep, const struct topic *t)
{
    for (uint32_t i = 0; t != NULL && i < t->n_partitions; i++) {
        struct part *p = part_find(ep->shard, t->number, i);
        if (p != NULL)
            part_epoch_cut(p, ep->plan->epoch);
    }
}

/* Brings views together with those that they read. */
static void views_link(struct epochs *ep)
{
    struct view_run *v;
    list_init(&ep->over);
    for (size_t at = 0; (v = map_next(&ep->views, &at)) != NULL;) {
        list_init(&v->feeds);
        list_init(&v->over_link);
    }
    for (uint32_t level = 0; level <= VIEW_LEVELS_MAX; level++)
        for (size_t at = 0; (v = map_next(&ep->views, &at)) != NULL;)
            if (v->level == level && level > 0)
                list_add(&ep->over, &v->over_link);
    for (size_t at = 0; (v = map_next(&ep->views, &at)) != NULL;)
        for (uint32_t i = 0; i < v->n_inputs; i++) {
            const struct relation *source = v->rel->view->sources[i];
            struct view_input *in = &v->inputs[i];
            if (source->kind != REL_VIEW)
                continue;
            in->upstream = map_get(&ep->views, source->number);
            list_init(&in->link);
            if (in->upstream == NULL)
                continue;
            list_add(&in->upstream->feeds, &in->link);
        }
    LIST_FOR (it, &ep->over) {
        v = LIST_ENTRY(it, struct view_run, over_link);
        for (uint32_t i = 0; i < v->n_inputs; i++)
            v->failed |= v->inputs[i].upstream != NULL && v->inputs[i].upstream->failed &&
                         !v->inputs[i].born;
    }
}

void epochs_view_failed(struct epochs *ep, uint32_t number)
{
    struct view_run *v = epochs_view(ep, number);
    CHECK(v != NULL && ep->phase == PHASE_IDLE);
    v->failed = true;
    view_run_clear(v);
    cut_outputs(ep, v->rel->topic);
    for (uint32_t i = 0; i < v->n_inputs; i++)
        cut_outputs(ep, v->rel->view->late[i]);
    struct view_run *rest = view_run_remains(v);
    if (rest != NULL && map_put(&ep->views, number, rest) == ERR_OK)
        view_run_give_up(ep->shard, v);
    else
        view_run_free(rest); /* the view keeps its memory until it is dropped */
    views_link(ep);
}

/* Whether nothing is left to write. Else it goes on with the next turn or, where the disk is full,
 * after a while. */
static bool outputs_written(struct epochs *ep, enum err e, bool more, const struct err_detail *why)
{
    if (e != ERR_OK && e != ERR_NO_SPACE && e != ERR_IO)
        fail_epoch(ep, e, "writing outputs", why);
    output_wait_tried(&ep->wait, e, "an epoch's outputs cannot be written", why);
    ep->shard->busy |= e == ERR_OK && more;
    return e == ERR_OK && !more;
}

static void output_step(struct epochs *ep)
{
    if (output_waits(&ep->wait))
        return;
    struct err_detail why = {0};
    enum err e = ERR_OK;
    bool more = false;
    for (; !more && ep->unit_at < ep->n_units; ep->unit_at += !more)
        if ((e = output_unit(ep, &ep->units[ep->unit_at], &more, &why)) != ERR_OK)
            break;
    if (e == ERR_OK && !more)
        e = output_letters(ep, &more, &why);
    if (outputs_written(ep, e, more, &why))
        finish(ep);
}

void epochs_add_dead_letters(struct epochs *ep, const struct dead_letter *list)
{
    letters_out_add(&ep->letters, list);
}

bool epochs_write_dead_letters(struct epochs *ep, int64_t *end)
{
    if (output_waits(&ep->wait))
        return false;
    struct err_detail why = {0};
    struct part *p = part_find(ep->shard, NUMBER_DEAD_LETTERS, 0);
    bool more = false;
    enum err e = letters_flush(ep, p, &more, &why);
    if (!outputs_written(ep, e, more, &why))
        return false;
    if (part_epoch_mark(p, ep->plan->epoch) != ERR_OK)
        fail_epoch(ep, ERR_NO_MEMORY, "keeping dead letters", NULL);
    *end = log_end_offset(p->log);
    return true;
}

static void apply_begin(struct epochs *ep)
{
    enum err e = ERR_OK;
    ep->phase = PHASE_APPLY;
    if (ep->level == 0) {
        gather_results(ep);
        e = plan_units(ep);
    }
    if (e != ERR_OK || level_begin(ep) != ERR_OK)
        fail_epoch(ep, ERR_NO_MEMORY, "sorting packets", NULL);
}

void epochs_turn(struct epochs *ep)
{
    switch (ep->phase) {
    case PHASE_IDLE:
        return;
    case PHASE_SOURCE:
        source_step(ep);
        break;
    case PHASE_WAIT:
        if (ep->levels[ep->level].n_received < ep->shard->engine->n_shards)
            return;
        apply_begin(ep);
        break;
    case PHASE_APPLY:
        apply_step(ep);
        break;
    case PHASE_OUTPUT:
        output_step(ep);
        return;
    }
    ep->shard->busy = true;
}

/* ---- the catalog ---- */

static enum err reader_grow(struct reader *r, uint32_t n_parts)
{
    int64_t *grown = mem_realloc(r->watermarks, n_parts * sizeof(*grown));
    if (grown == NULL)
        return ERR_NO_MEMORY;
    r->watermarks = grown;
    if (r->decoder.rel->n_primary_key > 0) {
        struct keyed_part *keyed = mem_realloc(r->keyed, n_parts * sizeof(*keyed));
        if (keyed == NULL)
            return ERR_NO_MEMORY;
        r->keyed = keyed;
        memset(keyed + r->n_parts, 0, (n_parts - r->n_parts) * sizeof(*keyed));
    }
    while (r->n_parts < n_parts)
        r->watermarks[r->n_parts++] = INT64_MIN;
    return ERR_OK;
}

static enum err reader_new(struct epochs *ep, uint32_t id, const struct relation *rel, bool main,
                           const struct epoch_record *record, struct reader **out)
{
    struct reader *r = mem_zalloc(1, sizeof(*r));
    if (r == NULL)
        return ERR_NO_MEMORY;
    *r = (struct reader){.id = id,
                         .rel_number = rel->number,
                         .main = main,
                         .silent = record_reader_find(record, id) != NULL,
                         .watermark_us = INT64_MIN};
    list_init(&r->views);
    enum err e = row_decoder_init(&r->decoder, rel, false, ep->shard->engine->schemas);
    if (e == ERR_OK)
        e = reader_grow(r, rel->topic->n_partitions);
    if (e == ERR_OK)
        e = map_put(&ep->readers, id, r);
    if (e != ERR_OK) {
        reader_free(r);
        return e;
    }
    *out = r;
    return ERR_OK;
}

/* Makes the view a reader of its source, by the reader it was recorded on or a new one of its own.
 */
static enum err view_read(struct epochs *ep, struct view_input *in,
                          const struct epoch_record *record)
{
    const struct relation *rel = in->view->rel;
    uint32_t own = reader_own(rel->number, in->source), id = record_view_reader(record, own);
    if (rel->view->sources[in->source]->kind == REL_VIEW) {
        in->born = id != own;
        return ERR_OK;
    }
    struct reader *r = map_get(&ep->readers, id);
    if (r == NULL)
        TRY(reader_new(ep, id, rel->view->sources[in->source], false, record, &r));
    list_add(&r->views, &in->link);
    in->reader = r;
    return ERR_OK;
}

static enum err view_new(struct epochs *ep, const struct relation *rel,
                         const struct epoch_record *record, struct err_detail *why)
{
    bool live = true;
    struct view_run *v;
    TRY(view_run_new(ep->shard, rel, &v, why));
    enum err e = map_put(&ep->views, rel->number, v);
    if (e != ERR_OK) {
        view_run_free(v);
        return e;
    }
    for (uint32_t i = 0; i < v->n_inputs; i++) {
        TRY(view_read(ep, &v->inputs[i], record));
        live &= v->inputs[i].reader != NULL && v->inputs[i].reader->main;
    }
    v->failed = record_failure_find(record, rel->number) != NULL;
    atomic_store(&v->stats->status, live ? VIEW_LIVE : VIEW_BACKFILLING);
    return ERR_OK;
}

/* The reader's relation in another version, between epochs. A view that is behind reads old records
 * by the new columns as well: which of them are rows, and what views find in them, is the same. */
static enum err reader_follow(const struct epochs *ep, struct reader *r,
                              const struct relation *rel)
{
    if (rel->n_alterations == r->decoder.rel->n_alterations) {
        r->decoder.rel = rel;
        return ERR_OK;
    }
    struct row_decoder next;
    TRY(row_decoder_init(&next, rel, false, ep->shard->engine->schemas));
    row_decoder_deinit(&r->decoder);
    r->decoder = next;
    return ERR_OK;
}

static enum err drop_gone(struct epochs *ep, const struct catalog *c)
{
    struct view_run *v;
    for (size_t at = 0; (v = map_next(&ep->views, &at)) != NULL;) {
        if (catalog_relation_by_number(c, v->number) != NULL)
            continue;
        map_remove(&ep->views, v->number);
        view_run_give_up(ep->shard, v);
        at = 0;
    }
    struct reader *r;
    for (size_t at = 0; (r = map_next(&ep->readers, &at)) != NULL;) {
        const struct relation *rel = catalog_relation_by_number(c, r->rel_number);
        if (rel != NULL && catalog_relation_by_number(c, reader_relation(r->id)) != NULL) {
            TRY(reader_follow(ep, r, rel));
            continue;
        }
        map_remove(&ep->readers, r->id);
        reader_free(r);
        at = 0;
    }
    parts_drop_gone(ep->shard, ep->shard->catalog, c);
    return ERR_OK;
}

/* Readers and late tables follow the partitions of their topics. */
static enum err grow(struct epochs *ep)
{
    struct reader *r;
    for (size_t at = 0; (r = map_next(&ep->readers, &at)) != NULL;)
        TRY(reader_grow(r, r->decoder.rel->topic->n_partitions));
    struct view_run *v;
    for (size_t at = 0; (v = map_next(&ep->views, &at)) != NULL;)
        TRY(view_run_grow(v));
    return ERR_OK;
}

enum err epochs_adopt(struct epochs *ep, const struct catalog *c, const struct epoch_record *record,
                      struct err_detail *why)
{
    TRY(parts_open_new(ep->shard, c, why));
    TRY(drop_gone(ep, c));
    for (uint32_t i = 0; i < c->n_relations; i++) {
        const struct relation *rel = c->relations[i];
        struct reader *r;
        if (relation_has_reader(rel) && map_get(&ep->readers, rel->number) == NULL)
            TRY(reader_new(ep, rel->number, rel, true, record, &r));
    }
    for (uint32_t i = 0; i < c->n_relations; i++) {
        const struct relation *rel = c->relations[i];
        struct view_run *v = rel->kind == REL_VIEW ? map_get(&ep->views, rel->number) : NULL;
        if (v != NULL)
            v->rel = rel;
        else if (rel->kind == REL_VIEW)
            TRY(view_new(ep, rel, record, why));
    }
    views_link(ep);
    TRY(grow(ep));
    parts_configure(ep->shard, c);
    const struct catalog *old = ep->shard->catalog;
    ep->shard->catalog = catalog_ref(c);
    queries_follow(ep->shard);
    catalog_unref(old);
    return ERR_OK;
}

enum err epochs_prepare(struct epochs *ep, const struct catalog *c, struct err_detail *why)
{
    return parts_open_new(ep->shard, c, why);
}

void epochs_unprepare(struct epochs *ep, const struct catalog *c)
{
    parts_drop_gone(ep->shard, c, ep->shard->catalog);
}

void epochs_set_catalog(struct epochs *ep, const struct catalog *c)
{
    struct err_detail why = {0};
    enum err e = epochs_adopt(ep, c, NULL, &why);
    if (e != ERR_OK)
        engine_fatal(ep->shard->engine, e,
                     "taking over a catalog change failed: %s; a restart takes it up again",
                     err_text(e, &why));
}

enum err epochs_keyed(struct epochs *ep, uint32_t relation, uint32_t partition,
                      const struct keyed_rows **rows, int64_t *position)
{
    const struct reader *r = map_get(&ep->readers, relation);
    if (r == NULL || r->keyed == NULL || partition >= r->n_parts)
        return ERR_UNDEFINED_TABLE;
    *rows = r->keyed[partition].rows;
    *position = r->keyed[partition].position;
    return r->keyed_full ? ERR_LIMIT : ERR_OK;
}

void epochs_restore_reader(struct epochs *ep, uint32_t id, const struct reader_state *at)
{
    struct reader *r = map_get(&ep->readers, id);
    r->watermark_us = at->watermark_us;
    for (uint32_t p = 0; p < at->n_parts && p < r->n_parts; p++)
        r->watermarks[p] = at->watermarks[p];
}

struct view_run *epochs_view(struct epochs *ep, uint32_t number)
{
    return map_get(&ep->views, number);
}

enum err epochs_new(struct shard *s, struct epochs **out)
{
    struct epochs *ep = mem_zalloc(1, sizeof(*ep));
    if (ep == NULL)
        return ERR_NO_MEMORY;
    ep->shard = s;
    output_wait_init(&ep->wait, s);
    list_init(&ep->over);
    arena_init(&ep->arena, EPOCH_ARENA_BYTES_MAX);
    arena_init(&ep->piece, EPOCH_ARENA_BYTES_MAX);
    ep->compress = compress_new();
    ep->records = mem_zalloc(BATCH_ROWS_MAX, sizeof(*ep->records));
    ep->levels[0].received =
        mem_zalloc(s->engine->n_shards * ARRAY_LEN(ep->levels), sizeof(struct epoch_end *));
    if (ep->compress == NULL || ep->records == NULL || ep->levels[0].received == NULL ||
        letters_out_init(&ep->letters, s->engine->n_shards) != ERR_OK) {
        epochs_free(ep);
        return ERR_NO_MEMORY;
    }
    for (uint32_t l = 1; l < ARRAY_LEN(ep->levels); l++)
        ep->levels[l].received = ep->levels[0].received + l * s->engine->n_shards;
    *out = ep;
    return ERR_OK;
}

void epochs_free(struct epochs *ep)
{
    if (ep == NULL)
        return;
    struct view_run *v;
    for (size_t at = 0; (v = map_next(&ep->views, &at)) != NULL;)
        view_run_free(v);
    struct reader *r;
    for (size_t at = 0; (r = map_next(&ep->readers, &at)) != NULL;)
        reader_free(r);
    map_deinit(&ep->views);
    map_deinit(&ep->readers);
    scratch_deinit(&ep->scratch);
    letters_out_deinit(&ep->letters);
    compress_free(ep->compress);
    arena_deinit(&ep->arena);
    arena_deinit(&ep->piece);
    mem_free(ep->records);
    mem_free(ep->levels[0].received);
    mem_free(ep->outputs);
    mem_free(ep);
}
