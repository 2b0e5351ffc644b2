/* Queries: where rows come from, and when. What is done with them is run/stages.h.
 *
 *   ONCE   constant rows, sys.* relations, EXPLAIN
 *   LOG    tables: ranges of each partition up to its high watermark at the start, read by this
 * shard itself VIEW   state of a view: all shards at one epoch's boundary
 *
 * follow: then the log of the table, or the view's changelog, from exactly there on. Work is cut
 * into slices of one batch a turn.
 *
 * What epochs write is read in rounds: all partitions as of the newest epoch that is committed, so
 * that no reader sees half an epoch; followers get the changes of one epoch after the other. */
#include "base/check.h"
#include "base/mem.h"
#include "engine/epochs.h"
#include "engine/query_int.h"
#include "engine/view_run.h"
#include "run/expr.h"

#define OUTRUN_TEXT \
    "this reader is further behind than the log reaches: rows it has not seen were removed"

static void query_free(struct query *q)
{
    stages_free(q->stages);
    for (uint32_t i = 0; i < q->n_scans; i++)
        arena_deinit(&q->scans[i].arena);
    for (uint32_t i = 0; i < q->n_parts; i++) {
        log_range_release(&q->parts[i].read.range);
        arena_deinit(&q->parts[i].arena);
    }
    row_decoder_deinit(&q->decoder);
    compress_free(q->compress);
    scratch_deinit(&q->scratch);
    arena_deinit(&q->batch_arena);
    arena_deinit(&q->arena);
    mem_free(q->records);
    catalog_unref(q->catalog);
    mem_free(q);
}

/* Every call that comes back passes here. True when the query is gone. */
static bool came_back(struct query *q)
{
    CHECK(q->in_flight > 0);
    q->in_flight--;
    if (q->closed && q->in_flight == 0) {
        query_free(q);
        return true;
    }
    return q->closed;
}

/* ---- delivering ---- */

static void deliver(struct query *q, const struct batch *rows, bool snapshot_end)
{
    void (*done)(void *arg, const struct query_result *r) = q->done;
    q->done = NULL;
    q->result = (struct query_result){.err = q->err,
                                      .why = &q->why,
                                      .rows = rows,
                                      .snapshot_end = snapshot_end,
                                      .epoch = q->row_epoch};
    done(q->arg, &q->result);
}

static void fail(struct query *q, enum err e)
{
    if (q->failed)
        return;
    q->failed = true;
    q->err = e;
    atomic_store_explicit(&q->unwanted, true, memory_order_relaxed);
    if (q->done != NULL)
        deliver(q, NULL, false);
}

static void step(struct query *q);

static void slice_run(struct shard *s, struct shard_task *t)
{
    (void)s;
    struct query *q = CONTAINER_OF(t, struct query, slice);
    q->stepping = false;
    if (!came_back(q))
        step(q);
}

/* Goes on in the next turn. */
static void step_later(struct query *q)
{
    if (q->stepping)
        return;
    q->stepping = true;
    q->in_flight++;
    q->slice = (struct shard_task){.run = slice_run};
    shard_task_add(q->shard, &q->slice);
}

/* Gives a batch to the stages and delivers what comes out; goes on later when nothing does. */
static void feed(struct query *q, const struct batch *b, bool chained)
{
    const struct batch *out = NULL;
    shard_worked(q->shard, b->n_rows);
    enum err e = chained ? stages_push_chained(q->stages, b, &out, &q->why)
                         : stages_push(q->stages, b, &out, &q->why);
    if (e != ERR_OK)
        fail(q, e);
    else if (out != NULL && out->n_rows > 0)
        deliver(q, out, false);
    else
        step_later(q);
}

static void feed_end(struct query *q)
{
    const struct batch *out = NULL;
    bool more = false;
    shard_worked(q->shard, BATCH_ROWS_MAX);
    enum err e = stages_finish(q->stages, &out, &more, &q->why);
    if (e != ERR_OK)
        fail(q, e);
    else if (more && (out == NULL || out->n_rows == 0))
        step_later(q);
    else
        deliver(q, out, false);
}

/* ---- LOG ---- */

/* The scan's columns, without copying. */
static enum err narrow(const struct query *q, const struct batch *in, struct batch *out,
                       struct arena *a)
{
    struct column *columns = arena_alloc(a, (q->n_columns + 1) * sizeof(*columns));
    if (columns == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < q->n_columns; i++)
        columns[i] = in->columns[q->columns[i]];
    *out = (struct batch){.n_rows = in->n_rows,
                          .n_columns = q->n_columns,
                          .columns = columns,
                          .weights = in->weights};
    return ERR_OK;
}

static void read_back(struct read_request *r)
{
    struct part_read *p = r->arg;
    struct query *q = p->query;
    struct log_aborted *aborted = r->aborted;
    p->reading = false;
    if (came_back(q)) {
        mem_free(aborted);
        return;
    }
    if (r->err == ERR_OFFSET_OUT_OF_RANGE && p->offset < r->log_start_offset && !q->live) {
        p->offset = r->log_start_offset; /* retention was quicker */
        step_later(q);
        return;
    }
    if (r->err != ERR_OK) {
        q->why = r->why;
        if (r->err == ERR_OFFSET_OUT_OF_RANGE)
            err_set(&q->why, r->err, OUTRUN_TEXT);
        fail(q, r->err);
        return;
    }
    if (p->end < 0)
        p->end = r->stable_offset;
    arena_reset(&q->batch_arena, QUERY_READ_BYTES * 4);
    scratch_reset(&q->scratch, QUERY_READ_BYTES);
    q->range_open = r->range.len > 0;
    if (q->range_open) {
        enum err e = record_reader_load(&q->reading, &r->range, &q->batch_arena);
        if (e == ERR_OK)
            e = record_reader_skip(&q->reading, aborted, r->n_aborted, &q->batch_arena);
        mem_free(aborted);
        p->ready = true;
        q->read_to = r->range.next_offset;
        if (e != ERR_OK) {
            fail(q, e);
            return;
        }
    } else {
        p->ready = false;
        if (!q->live)
            p->end = p->offset;
    }
    log_range_release(&r->range);
    step_later(q);
}

static void read_start(struct query *q, struct part_read *p)
{
    p->read = (struct read_request){.topic = q->rel->topic,
                                    .partition = p->partition,
                                    .offset = p->offset,
                                    .bytes_max = QUERY_READ_BYTES,
                                    .committed = true,
                                    .done = read_back,
                                    .arg = p};
    p->reading = true;
    q->in_flight++;
    shard_read(q->shard, &p->read);
}

static enum err decode_rows(struct query *q, const struct part_read *p, size_t n,
                            struct batch **out)
{
    struct batch *b = row_decoder_batch(&q->decoder, (uint32_t)n, &q->batch_arena);
    if (b == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        struct err_detail why;
        enum err e =
            row_decode(&q->decoder, &q->records[i], p->partition, b, &q->batch_arena, &why);
        if (e == ERR_NO_MEMORY)
            return e; /* others are dead letters, not rows */
    }
    *out = b;
    return ERR_OK;
}

/* A change of a view's changelog: the row before (header "before") goes, the row in the value
 * comes. */
static enum err decode_changes(struct query *q, const struct part_read *p, size_t n,
                               struct batch **out)
{
    struct batch *b = row_decoder_batch(&q->decoder, (uint32_t)n * 2, &q->batch_arena);
    int64_t *weights = arena_alloc(&q->batch_arena, (n * 2 + 1) * sizeof(*weights));
    if (b == NULL || weights == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        struct str rest = q->records[i].headers;
        struct kafka_header h;
        struct err_detail why;
        while (kafka_record_header(&rest, &h)) {
            struct kafka_record before = q->records[i];
            before.value = h.value;
            if (!str_eq(h.key, STR("before")))
                continue;
            weights[b->n_rows] = -1;
            TRY(row_decode(&q->decoder, &before, p->partition, b, &q->batch_arena, &why));
        }
        weights[b->n_rows] = 1;
        if (q->records[i].value.ptr != NULL)
            TRY(row_decode(&q->decoder, &q->records[i], p->partition, b, &q->batch_arena, &why));
    }
    b->weights = weights;
    *out = b;
    return ERR_OK;
}

/* Decodes and feeds the next rows of the loaded range; false when it has none left. */
static bool range_step(struct query *q, struct part_read *p)
{
    size_t n = 0;
    int64_t to = q->live ? INT64_MAX : p->end;
    enum err e = record_reader_next(&q->reading, p->offset, to, q->compress, &q->scratch,
                                    q->records, FOLLOW_ROWS_MAX, &n, &q->why);
    if (e == ERR_BUSY) { /* decompressed enough: the rest of the range is read again */
        q->range_open = false;
        return false;
    }
    if (e == ERR_OK && n == 0) {
        p->offset = q->read_to < to ? q->read_to : to; /* the range may go past the snapshot */
        q->range_open = false;
        return false;
    }
    struct batch *rows = NULL, scanned;
    if (e == ERR_OK) {
        p->offset = q->records[n - 1].offset + 1;
        bool changes = q->live && q->rel->kind == REL_VIEW;
        e = changes ? decode_changes(q, p, n, &rows) : decode_rows(q, p, n, &rows);
    }
    if (e == ERR_OK)
        e = narrow(q, rows, &scanned, &q->batch_arena);
    if (e != ERR_OK)
        fail(q, e);
    else
        feed(q, &scanned, false);
    return true;
}

static void permit_run(struct shard *s, struct shard_call *c);

static void settle_act(struct shard *s, struct boundary_action *a, uint64_t epoch)
{
    (void)epoch;
    shard_call_reply(s, &CONTAINER_OF(a, struct query, boundary)->permit);
}

static void settle_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct query *q = CONTAINER_OF(c, struct query, permit);
    if (!came_back(q))
        step(q);
}

/* The view that writes this relation's log; 0 = several. */
static uint32_t writer_of(const struct query *q)
{
    if (q->rel->kind == REL_VIEW)
        return q->rel->number;
    for (uint32_t i = 0; i < q->catalog->n_relations; i++) {
        const struct relation *r = q->catalog->relations[i];
        if (r->kind == REL_VIEW && r->view->late == q->rel->topic)
            return r->number;
    }
    return 0;
}

/* Logs that epochs write are read after what was due is committed: clients see what follows from
 * what they have written. */
static enum err settle_start(struct query *q)
{
    int64_t *targets = arena_zalloc(&q->arena, PARTITIONS_MAX, sizeof(*targets));
    if (targets == NULL)
        return ERR_NO_MEMORY;
    q->settled = true;
    q->boundary = (struct boundary_action){
        .act = settle_act, .view = writer_of(q), .committed = true, .targets = targets};
    q->permit = (struct shard_call){.run = permit_run, .done = settle_done};
    q->in_flight++;
    shard_call(q->shard, 0, &q->permit);
    return ERR_OK;
}

/* ---- rounds ---- */

static bool round_reading(const struct query *q)
{
    for (uint32_t i = 0; i < q->n_parts; i++)
        if (q->parts[i].reading)
            return true;
    return false;
}

static enum err round_take(struct part_read *p, struct read_request *r)
{
    if (p->end < 0)
        p->end = r->high_watermark;
    else if (r->range.len == 0)
        p->offset = p->end; /* nothing is there */
    p->open = r->range.len > 0;
    if (!p->open)
        return ERR_OK;
    p->read_to = r->range.next_offset;
    arena_reset(&p->arena, QUERY_READ_BYTES);
    enum err e = record_reader_load(&p->records, &r->range, &p->arena);
    log_range_release(&r->range);
    return e;
}

static void round_back(struct read_request *r)
{
    struct part_read *p = r->arg;
    struct query *q = p->query;
    p->reading = false;
    if (came_back(q))
        return;
    enum err e = r->err;
    if (e == ERR_OFFSET_OUT_OF_RANGE)
        err_set(&q->why, e, OUTRUN_TEXT);
    else if (e != ERR_OK)
        q->why = r->why;
    if (e == ERR_OK)
        e = round_take(p, r);
    if (e == ERR_BUSY)
        q->round = false; /* that epoch is forgotten: again, at a newer one */
    else if (e != ERR_OK) {
        fail(q, e); /* its receiver may have closed, and so freed, the query */
        return;
    }
    if (!round_reading(q))
        step(q);
}

static void round_read(struct query *q, struct part_read *p, uint64_t epoch, size_t bytes)
{
    p->read = (struct read_request){.topic = q->rel->topic,
                                    .partition = p->partition,
                                    .offset = p->offset,
                                    .bytes_max = bytes,
                                    .epoch = epoch,
                                    .done = round_back,
                                    .arg = p};
    p->reading = true;
    q->in_flight++;
    shard_read(q->shard, &p->read);
}

static size_t round_bytes(const struct query *q)
{
    size_t share = QUERY_READ_BYTES / q->n_parts;
    return share < QUERY_READ_BYTES_MIN ? QUERY_READ_BYTES_MIN : share;
}

/* Asks all partitions where they end as of the newest epoch; followers read at once. */
static void round_start(struct query *q)
{
    q->round = true;
    q->woken = false;
    q->as_of = engine_committed_epoch(q->shard->engine);
    for (uint32_t i = 0; i < q->n_parts; i++)
        q->parts[i].end = -1;
    for (uint32_t i = 0; i < q->n_parts; i++)
        round_read(q, &q->parts[i], q->as_of, q->live ? round_bytes(q) : 0);
}

static void log_step(struct query *q)
{
    if (!q->settled && q->rel->topic->kind != TOPIC_USER) {
        enum err e = settle_start(q);
        if (e != ERR_OK)
            fail(q, e);
        return;
    }
    if (q->by_epoch && !q->round) {
        round_start(q);
        return;
    }
    if (q->by_epoch)
        q->row_epoch = q->as_of;
    while (q->part_at < q->n_parts) {
        struct part_read *p = &q->parts[q->part_at];
        if (q->range_open && range_step(q, p))
            return;
        if (p->end < 0 || p->offset < p->end) {
            if (!p->reading)
                read_start(q, p);
            return;
        }
        q->part_at++;
    }
    q->input_done = true;
    step_later(q);
}

/* ---- following ---- */

static void wait_back(struct wait_request *r)
{
    struct part_read *p = r->arg;
    struct query *q = p->query;
    p->waiting = false;
    if (came_back(q))
        return;
    if (r->err != ERR_OK) {
        fail(q, r->err);
        return;
    }
    p->ready = true;
    q->woken |= p->offset <= r->offset; /* else a round has read it by now */
    if (q->done != NULL)
        step(q);
}

static void wait_all(struct query *q)
{
    for (uint32_t i = 0; i < q->n_parts; i++) {
        struct part_read *p = &q->parts[i];
        if (p->waiting)
            continue;
        p->wait = (struct wait_request){.topic = q->rel->topic,
                                        .committed = true,
                                        .partition = i,
                                        .offset = p->offset,
                                        .done = wait_back,
                                        .arg = p};
        p->waiting = true;
        q->in_flight++;
        shard_wait(q->shard, &p->wait);
    }
}

/* Brings the partition's next change to hand; there is none when its range, or the round, is at an
 * end. */
static enum err head_find(struct query *q, struct part_read *p)
{
    size_t n = 0;
    if (p->head_epoch != 0 || !p->open)
        return ERR_OK;
    TRY(record_reader_next(&p->records, p->offset, p->end, NULL, NULL, &p->head, 1, &n, &q->why));
    if (n > 0) {
        uint64_t epoch = record_epoch(&p->head);
        p->head_epoch = epoch == 0 ? 1 : epoch;
        return ERR_OK;
    }
    p->offset = p->read_to < p->end ? p->read_to : p->end; /* the range may go past the round */
    p->open = false;
    return ERR_OK;
}

/* Delivers changes of one epoch from the partition whose turn it is. */
static enum err epoch_take(struct query *q, struct part_read *p, struct batch *scanned)
{
    struct batch *rows;
    size_t n = 0;
    q->row_epoch = p->head_epoch;
    arena_reset(&q->batch_arena, QUERY_READ_BYTES * 4);
    while (n < FOLLOW_ROWS_MAX && p->head_epoch == q->row_epoch) {
        q->records[n++] = p->head;
        p->offset = p->head.offset + 1;
        p->head_epoch = 0;
        TRY(head_find(q, p));
    }
    if (q->rel->kind == REL_VIEW)
        TRY(decode_changes(q, p, n, &rows));
    else
        TRY(decode_rows(q, p, n, &rows));
    return narrow(q, rows, scanned, &q->batch_arena);
}

/* Epoch by epoch: the partition whose next change is of the oldest one comes next. */
static void follow_epochs(struct query *q)
{
    if (round_reading(q))
        return;
    if (!q->round && q->woken)
        round_start(q);
    else if (!q->round)
        wait_all(q);
    if (!q->round || round_reading(q))
        return;
    struct part_read *next = NULL;
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < q->n_parts && e == ERR_OK; i++) {
        struct part_read *p = &q->parts[i];
        e = head_find(q, p);
        if (e == ERR_OK && p->head_epoch == 0 && p->offset < p->end)
            round_read(q, p, 0, round_bytes(q));
        else if (p->head_epoch != 0 && (next == NULL || p->head_epoch < next->head_epoch))
            next = p;
    }
    struct batch scanned;
    if (e == ERR_OK && round_reading(q))
        return;
    if (e == ERR_OK && next == NULL) {
        q->round = false;
        step_later(q);
        return;
    }
    if (e == ERR_OK)
        e = epoch_take(q, next, &scanned);
    if (e != ERR_OK)
        fail(q, e);
    else
        feed(q, &scanned, false);
}

static void follow_step(struct query *q)
{
    if (q->range_open && range_step(q, &q->parts[q->part_at]))
        return;
    for (uint32_t i = 0; i < q->n_parts; i++)
        if (q->parts[i].reading)
            return;
    for (uint32_t i = 0; i < q->n_parts; i++) {
        uint32_t at = (q->part_at + 1 + i) % q->n_parts;
        if (q->parts[at].ready) {
            q->part_at = at;
            read_start(q, &q->parts[at]);
            return;
        }
    }
    wait_all(q);
}

/* ---- VIEW ---- */

static enum err scan_add(struct scan_call *sc, const struct batch *b)
{
    if (sc->n == sc->cap) {
        uint32_t cap = sc->cap == 0 ? 16 : sc->cap * 2;
        const struct batch **grown = arena_alloc(&sc->arena, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        if (sc->n > 0)
            memcpy(grown, sc->batches, sc->n * sizeof(*grown));
        sc->batches = grown;
        sc->cap = cap;
    }
    struct batch *copy = batch_copy(b, &sc->arena);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    sc->batches[sc->n++] = copy;
    return ERR_OK;
}

static enum err scan_rows(struct scan_call *sc, const struct batch *b)
{
    struct column *columns = arena_alloc(&sc->temporary, (sc->n_columns + 1) * sizeof(*columns));
    if (columns == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < sc->n_columns; i++)
        columns[i] = b->columns[sc->columns[i]];
    struct batch scanned = {.n_rows = b->n_rows, .n_columns = sc->n_columns, .columns = columns};
    struct chain_result r;
    TRY(chain_run(sc->chain, &scanned, NULL, sc->now_us, &sc->temporary, &r));
    if (r.n_errors > 0)
        return err_set(&sc->why, r.errors[0].err, "%s", r.errors[0].text);
    enum err e = r.batch->n_rows == 0 ? ERR_OK : scan_add(sc, r.batch);
    sc->rows_wanted -= r.batch->n_rows < sc->rows_wanted ? r.batch->n_rows : sc->rows_wanted;
    if (e == ERR_NO_MEMORY)
        return err_set(&sc->why, ERR_LIMIT,
                       "the view's rows need more than %d bytes of memory: add a WHERE",
                       QUERY_BYTES_MAX);
    return e;
}

/* What a failed view holds is its query over nothing in particular: each shard stopped at a row of
 * its own. */
static enum err scan_failed(struct scan_call *sc, const struct view_run *v)
{
    struct relation_stats *st = v->stats;
    enum err e = (enum err)atomic_load(&st->err);
    bool told = atomic_load(&st->has_error);
    err_set(&sc->why, e == ERR_OK ? ERR_BUSY : e, "view \"%.*s\" has failed: %s",
            STR_ARG(v->rel->name), told ? st->error : "see sys.views");
    err_hint(&sc->why, "Its changelog has what it gave until then.");
    return e == ERR_OK ? ERR_BUSY : e;
}

static void scan_finish(struct shard *s, struct scan_call *sc)
{
    view_scan_end(&sc->scan);
    arena_deinit(&sc->temporary);
    shard_call_reply(s, &sc->call);
}

static void scan_piece(struct shard *s, struct shard_task *t)
{
    struct scan_call *sc = CONTAINER_OF(t, struct scan_call, task);
    const struct batch *rows;
    uint32_t n;
    bool more = false;
    arena_reset(&sc->temporary, SCAN_ARENA_KEEP_BYTES);
    sc->err = view_scan_next(&sc->scan, &sc->temporary, &rows, &n, &more);
    shard_worked(s, n);
    if (sc->err == ERR_LIMIT)
        err_set(&sc->why, ERR_LIMIT,
                "the view changed faster than it could be read: add a WHERE, or try again");
    if (sc->err == ERR_OK && rows != NULL)
        sc->err = scan_rows(sc, rows);
    bool wanted =
        sc->rows_wanted > 0 && !atomic_load_explicit(&sc->query->unwanted, memory_order_relaxed);
    if (sc->err == ERR_OK && more && wanted)
        shard_task_add(s, &sc->task);
    else
        scan_finish(s, sc);
}

/* Between two epochs: notes where the view stands, and reads it from the next turns on. */
static enum err scan_begin(struct shard *s, struct scan_call *sc)
{
    struct view_run *v = epochs_view(s->epochs, sc->view);
    if (v == NULL)
        return ERR_UNDEFINED_TABLE;
    if (v->failed || atomic_load(&v->stats->status) == VIEW_FAILED)
        return scan_failed(sc, v);
    for (uint32_t p = 0; p < v->n_partitions; p++) {
        const struct part *part = part_find(s, v->rel->topic->number, p);
        if (part != NULL)
            sc->ends[p] = log_end_offset(part->log);
    }
    return view_scan_begin(&sc->scan, s, v, sc->epoch, sc->now_us, QUERY_BYTES_MAX);
}

static void scan_run(struct shard *s, struct shard_call *c)
{
    struct scan_call *sc = CONTAINER_OF(c, struct scan_call, call);
    arena_init(&sc->temporary, QUERY_BYTES_MAX);
    sc->err = scan_begin(s, sc);
    sc->task = (struct shard_task){.run = scan_piece};
    if (sc->err == ERR_OK)
        shard_task_add(s, &sc->task);
    else
        scan_finish(s, sc);
}

static void scan_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct scan_call *sc = CONTAINER_OF(c, struct scan_call, call);
    struct query *q = sc->query;
    q->scans_back++;
    if (came_back(q))
        return;
    if (sc->err != ERR_OK) {
        q->why = sc->why;
        fail(q, sc->err); /* its receiver may have closed, and so freed, the query */
        return;
    }
    if (q->scans_back == q->n_scans && !q->failed)
        step(q);
}

/* On shard 0, between two epochs: all shards scan the same one. */
static void scan_at_boundary(struct shard *s, struct boundary_action *a, uint64_t epoch)
{
    struct query *q = CONTAINER_OF(a, struct query, boundary);
    for (uint32_t i = 0; i < s->engine->n_shards; i++) {
        q->scans[i].epoch = epoch;
        shard_forward(s, i, &q->scans[i].call);
    }
    shard_call_reply(s, &q->permit);
}

static void permit_run(struct shard *s, struct shard_call *c)
{
    coordinator_at_boundary(s->coordinator, &CONTAINER_OF(c, struct query, permit)->boundary);
}

static void permit_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    (void)came_back(CONTAINER_OF(c, struct query, permit));
}

static enum err scan_start(struct query *q)
{
    q->n_scans = q->shard->engine->n_shards;
    q->scans = arena_zalloc(&q->arena, q->n_scans, sizeof(*q->scans));
    int64_t *ends = arena_zalloc(&q->arena, q->rel->topic->n_partitions, sizeof(*ends));
    int64_t *targets =
        arena_zalloc(&q->arena, q->rel->view->source->topic->n_partitions, sizeof(*targets));
    if (q->scans == NULL || ends == NULL || targets == NULL) {
        q->n_scans = 0;
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < q->n_scans; i++) {
        struct scan_call *sc = &q->scans[i];
        *sc = (struct scan_call){.query = q,
                                 .chain = stages_first_chain(q->stages),
                                 .rows_wanted = stages_rows_wanted(q->stages),
                                 .view = q->rel->number,
                                 .n_columns = q->n_columns,
                                 .columns = q->columns,
                                 .now_us = q->shard->wall_us,
                                 .ends = ends,
                                 .call = {.run = scan_run, .done = scan_done}};
        arena_init(&sc->arena, QUERY_BYTES_MAX);
        shard_expect(q->shard, &sc->call);
        q->in_flight++;
    }
    q->boundary = (struct boundary_action){
        .act = scan_at_boundary, .view = q->rel->number, .targets = targets};
    q->permit = (struct shard_call){.run = permit_run, .done = permit_done};
    q->in_flight++;
    shard_call(q->shard, 0, &q->permit);
    return ERR_OK;
}

static void view_step(struct query *q)
{
    if (q->n_scans == 0) {
        enum err e = scan_start(q);
        if (e != ERR_OK)
            fail(q, e);
        return;
    }
    if (q->scans_back < q->n_scans)
        return;
    q->row_epoch = q->scans[0].epoch;
    for (; q->scan_at < q->n_scans; q->scan_at++, q->scan_batch_at = 0) {
        struct scan_call *sc = &q->scans[q->scan_at];
        if (q->scan_batch_at < sc->n) {
            feed(q, sc->batches[q->scan_batch_at++], true);
            return;
        }
        arena_deinit(&sc->arena);
        sc->n = 0;
    }
    for (uint32_t p = 0; p < q->n_parts; p++)
        q->parts[p].offset = q->scans[0].ends[p];
    q->input_done = true;
    step_later(q);
}

/* ---- the query ---- */

static void step(struct query *q)
{
    if (q->done == NULL || q->failed || q->closed)
        return;
    if (q->live && q->by_epoch) {
        follow_epochs(q);
        return;
    }
    if (q->live) {
        follow_step(q);
        return;
    }
    if (q->input_done || stages_satisfied(q->stages)) {
        if (!q->follow) {
            feed_end(q);
            return;
        }
        q->live = true;
        q->part_at = 0;
        q->range_open = q->round = q->woken = false;
        for (uint32_t i = 0; i < q->n_parts; i++)
            q->parts[i].ready = false;
        deliver(q, NULL, true);
        return;
    }
    switch (q->source) {
    case SOURCE_ONCE: {
        struct batch *b = q->once;
        q->input_done = true;
        feed(q, b, false);
        return;
    }
    case SOURCE_LOG:
        log_step(q);
        return;
    case SOURCE_VIEW:
        view_step(q);
        return;
    case SOURCE_DONE:
        return;
    }
}

/* Constant rows: each value is evaluated over one row without columns. */
static enum err values_rows(struct query *q, const struct plan_node *node)
{
    enum type *types = arena_alloc(&q->arena, (node->n_columns + 1) * sizeof(*types));
    if (types == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t c = 0; c < node->n_columns; c++)
        types[c] = node->columns[c].type;
    struct batch *b = batch_new(types, node->n_columns, node->n_rows, &q->arena),
                 one = {.n_rows = 1};
    if (b == NULL)
        return ERR_NO_MEMORY;
    b->n_rows = node->n_rows;
    for (uint32_t i = 0; i < node->n_rows * node->n_columns; i++) {
        struct expr_program *program;
        struct kernel_context k;
        struct column value;
        TRY(expr_compile(node->exprs[i], &q->arena, &program, &q->why));
        kernel_context_init(&k, &q->arena, q->shard->wall_us);
        TRY(expr_eval(program, &one, NULL, &k, &value));
        if (k.row_errors != NULL && k.row_errors[0] != ERR_OK) {
            q->why = k.first;
            return (enum err)k.row_errors[0];
        }
        struct value v = column_get(&value, 0);
        column_set(&b->columns[i % node->n_columns], i / node->n_columns, &v);
    }
    q->once = batch_copy(b, &q->arena);
    return q->once == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static enum err open_log(struct query *q)
{
    q->n_parts = q->rel->topic->n_partitions;
    q->parts = arena_zalloc(&q->arena, q->n_parts, sizeof(*q->parts));
    q->compress = compress_new();
    q->records = mem_zalloc(FOLLOW_ROWS_MAX, sizeof(*q->records));
    if (q->parts == NULL || q->compress == NULL || q->records == NULL) {
        q->n_parts = 0;
        return ERR_NO_MEMORY;
    }
    q->by_epoch = topic_epoch_written(q->rel->topic->kind);
    for (uint32_t i = 0; i < q->n_parts; i++) {
        q->parts[i] = (struct part_read){
            .query = q, .partition = i, .end = -1, .offset = q->source == SOURCE_LOG ? 0 : -1};
        arena_init(&q->parts[i].arena, QUERY_BYTES_MAX);
    }
    return row_decoder_init(&q->decoder, q->rel);
}

static enum err open_scan(struct query *q, const struct plan_node *scan)
{
    q->rel = catalog_relation(q->catalog, scan->relation->name);
    if (q->rel == NULL)
        return ERR_UNDEFINED_TABLE;
    uint32_t *columns = arena_alloc(&q->arena, (scan->n_columns + 1) * sizeof(*columns));
    if (columns == NULL)
        return ERR_NO_MEMORY;
    memcpy(columns, scan->scan_columns, scan->n_columns * sizeof(*columns));
    q->columns = columns;
    q->n_columns = scan->n_columns;
    if (q->rel->kind == REL_SYSTEM) {
        struct batch *rows, *scanned = arena_alloc(&q->arena, sizeof(*scanned));
        q->source = SOURCE_ONCE;
        if (scanned == NULL)
            return ERR_NO_MEMORY;
        TRY(sys_rows(q->shard, q->rel, &q->arena, &rows));
        TRY(narrow(q, rows, scanned, &q->arena));
        q->once = scanned;
        return q->follow ? err_set(&q->why, ERR_UNSUPPORTED,
                                   "system tables cannot be followed: query them again")
                         : ERR_OK;
    }
    bool state = q->rel->kind == REL_VIEW && !q->rel->view->append_only;
    q->source = state ? SOURCE_VIEW : SOURCE_LOG;
    return state && !q->follow ? ERR_OK : open_log(q);
}

/* EXPLAIN's text, a row a line. */
static enum err explain_rows(struct query *q, const struct plan *plan)
{
    static const enum type text[1] = {TYPE_TEXT};
    uint32_t n = 1;
    for (size_t i = 0; i < plan->text.len; i++)
        n += plan->text.ptr[i] == '\n';
    struct batch *b = batch_new(text, 1, n, &q->arena);
    if (b == NULL)
        return ERR_NO_MEMORY;
    const char *at = plan->text.ptr, *end = at + plan->text.len;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)),
                   *stop = newline == NULL ? end : newline;
        struct value v = {.type = TYPE_TEXT,
                          .as.s = arena_str(&q->arena, (struct str){at, (size_t)(stop - at)})};
        if (v.as.s.ptr == NULL)
            return ERR_NO_MEMORY;
        column_set(&b->columns[0], b->n_rows++, &v);
        at = stop + 1;
    }
    q->once = b;
    return ERR_OK;
}

static enum err query_build(struct query *q, const struct plan *plan)
{
    static const struct column_def line = {
        .name = {"QUERY PLAN", 10}, .type = TYPE_TEXT, .typmod = -1};
    static const struct plan_node lines = {.kind = PLAN_VALUES, .n_columns = 1, .columns = &line};
    bool explain = plan->kind == STMT_EXPLAIN;
    const struct plan_node *source;
    TRY(stages_new(explain ? &lines : plan->root, QUERY_BYTES_MAX, q->shard->wall_us,
                   q->shard->engine->hash_seed, &q->stages, &source, &q->why));
    if (q->follow && !stages_streaming(q->stages))
        return err_set(
            &q->why, ERR_UNSUPPORTED,
            "only a selection of one table's or view's rows can be followed: put the rest "
            "into a materialized view");
    if (explain)
        return explain_rows(q, plan);
    if (source->kind == PLAN_VALUES)
        return q->follow ? err_set(&q->why, ERR_UNSUPPORTED, "constant rows cannot be followed")
                         : values_rows(q, source);
    return open_scan(q, source);
}

enum err query_open(struct shard *s, const struct plan *plan, bool follow, struct query **out,
                    struct err_detail *why)
{
    struct query *q = mem_zalloc(1, sizeof(*q));
    if (q == NULL)
        return ERR_NO_MEMORY;
    q->shard = s;
    q->follow = follow;
    q->catalog = catalog_ref(s->catalog);
    arena_init(&q->arena, QUERY_BYTES_MAX);
    arena_init(&q->batch_arena, QUERY_BYTES_MAX);
    enum err e = s->phase == SHARD_RUNNING ? query_build(q, plan) : ERR_SHUTDOWN;
    if (e != ERR_OK) {
        if (why != NULL)
            *why = q->why;
        query_free(q);
        return e;
    }
    *out = q;
    return ERR_OK;
}

void query_pull(struct query *q, void (*done)(void *arg, const struct query_result *r), void *arg)
{
    CHECK(q->done == NULL && !q->closed);
    q->done = done;
    q->arg = arg;
    if (q->failed)
        deliver(q, NULL, false);
    else
        step_later(q);
}

void query_close(struct query *q)
{
    if (q == NULL)
        return;
    if (q->done != NULL) {
        q->failed = true;
        q->err = ERR_CANCELED;
        deliver(q, NULL, false);
    }
    for (uint32_t i = 0; i < q->n_parts; i++)
        if (q->parts[i].waiting)
            shard_wait_cancel(q->shard, &q->parts[i].wait);
    q->closed = true;
    atomic_store_explicit(&q->unwanted, true, memory_order_relaxed);
    if (q->in_flight == 0)
        query_free(q);
}
