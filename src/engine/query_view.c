/* Views' state as a query's source: every shard reads its groups as of one epoch, in pieces, and
 * sends the rows that are wanted. */
#include "base/check.h"
#include "engine/epochs.h"
#include "engine/query_int.h"

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
    scanned.weights = b->weights;
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
    const struct view_run *v = epochs_view(s->epochs, sc->view);
    if (sc->err == ERR_UNDEFINED_TABLE && v != NULL && v->failed)
        sc->err = scan_failed(sc, v);
    if (sc->err == ERR_LIMIT)
        err_set(&sc->why, ERR_LIMIT,
                "the view changed faster than it could be read: add a WHERE, or try again");
    if (sc->err == ERR_OK && rows != NULL)
        sc->err = scan_rows(sc, rows);
    bool wanted = sc->rows_wanted > 0 && !atomic_load_explicit(&sc->source->query->unwanted,
                                                               memory_order_relaxed);
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
    struct query_source *src = sc->source;
    struct query *q = src->query;
    src->scans_back++;
    if (query_came_back(q))
        return;
    if (sc->err != ERR_OK) {
        q->why = sc->why;
        query_fail(q, sc->err); /* its receiver may have closed, and so freed, the query */
        return;
    }
    if (src->scans_back == src->n_scans && !q->failed)
        query_step(q);
}

/* What is run where the rows are: the stages' first chain; nothing for a flow. */
static enum err scan_chain(struct query_source *src, const struct chain **out)
{
    static const struct plan_node scan = {.kind = PLAN_SCAN};
    struct chain *none;
    *out = stages_first_chain(src->query->stages);
    if (src->n_ports == 0)
        return ERR_OK;
    TRY(chain_compile(&scan, &scan, &src->query->arena, &none, &src->query->why));
    *out = none;
    return ERR_OK;
}

enum err source_view_open(struct query_source *src)
{
    struct query *q = src->query;
    uint32_t n = q->shard->engine->n_shards;
    bool flows = src->n_ports > 0;
    src->scans = arena_zalloc(&q->arena, n, sizeof(*src->scans));
    int64_t *ends = arena_zalloc(&q->arena, src->rel->topic->n_partitions, sizeof(*ends));
    const struct chain *chain;
    TRY(scan_chain(src, &chain));
    if (src->scans == NULL || ends == NULL)
        return ERR_NO_MEMORY;
    src->n_scans = n;
    for (uint32_t i = 0; i < n; i++) {
        struct scan_call *sc = &src->scans[i];
        *sc = (struct scan_call){.source = src,
                                 .chain = chain,
                                 .rows_wanted =
                                     flows ? UINT64_MAX : stages_rows_wanted(q->stages),
                                 .view = src->rel->number,
                                 .n_columns = src->n_columns,
                                 .columns = src->columns,
                                 .now_us = q->shard->wall_us,
                                 .ends = ends,
                                 .call = {.run = scan_run, .done = scan_done}};
        arena_init(&sc->arena, QUERY_BYTES_MAX);
    }
    return ERR_OK;
}

void source_view_expect(struct query_source *src)
{
    for (uint32_t i = 0; i < src->n_scans; i++) {
        shard_expect(src->query->shard, &src->scans[i].call);
        src->query->in_flight++;
    }
}

void source_view_scan(struct query_source *src, struct shard *s, uint64_t epoch)
{
    for (uint32_t i = 0; i < src->n_scans; i++) {
        src->scans[i].epoch = epoch;
        shard_forward(s, i, &src->scans[i].call);
    }
}

void source_view_close(struct query_source *src)
{
    for (uint32_t i = 0; i < src->n_scans; i++)
        arena_deinit(&src->scans[i].arena);
}

void source_view_step(struct query_source *src)
{
    struct query *q = src->query;
    if (src->scans_back < src->n_scans)
        return;
    q->row_epoch = src->scans[0].epoch;
    for (; src->scan_at < src->n_scans; src->scan_at++, src->scan_batch_at = 0) {
        struct scan_call *sc = &src->scans[src->scan_at];
        if (src->scan_batch_at < sc->n) {
            query_feed(src, sc->batches[src->scan_batch_at++], true);
            return;
        }
        arena_deinit(&sc->arena);
        sc->n = 0;
    }
    for (uint32_t p = 0; p < src->n_parts; p++)
        src->parts[p]->offset = src->scans[0].ends[p];
    query_source_done(src);
}
