/* Queries: from where rows come (query_int.h) through run/stages.h to whoever pulls. Work is cut
 * into slices of one batch a turn. */
#include "base/check.h"
#include "base/mem.h"
#include "engine/query_int.h"

static void query_free(struct query *q)
{
    list_remove(&q->follow_link);
    stages_free(q->stages);
    query_flow_close(q->flow);
    for (uint32_t i = 0; i < q->n_sources; i++) {
        source_view_close(&q->sources[i]);
        source_log_close(&q->sources[i]);
    }
    compress_free(q->compress);
    scratch_deinit(&q->scratch);
    arena_deinit(&q->batch_arena);
    arena_deinit(&q->repeat.arena);
    arena_deinit(&q->arena);
    mem_free(q->records);
    catalog_unref(q->catalog);
    mem_free(q);
}

bool query_came_back(struct query *q)
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

void query_fail(struct query *q, enum err e)
{
    if (q->failed)
        return;
    q->failed = true;
    q->err = e;
    atomic_store_explicit(&q->unwanted, true, memory_order_relaxed);
    if (q->done != NULL)
        deliver(q, NULL, false);
}

static void slice_run(struct shard *s, struct shard_task *t)
{
    (void)s;
    struct query *q = CONTAINER_OF(t, struct query, slice);
    q->stepping = false;
    if (!query_came_back(q))
        query_step(q);
}

void query_step_later(struct query *q)
{
    if (q->stepping)
        return;
    q->stepping = true;
    q->in_flight++;
    q->slice = (struct shard_task){.run = slice_run};
    shard_task_add(q->shard, &q->slice);
}

static void push(struct query *q, const struct batch *b, bool chained)
{
    const struct batch *out = NULL;
    shard_worked(q->shard, b->n_rows);
    enum err e = chained ? stages_push_chained(q->stages, b, &out, &q->why)
                         : stages_push(q->stages, b, &out, &q->why);
    if (e != ERR_OK)
        query_fail(q, e);
    else if (out != NULL && out->n_rows > 0)
        deliver(q, out, false);
    else
        query_step_later(q);
}

/* Stages know no weights: the next rows, each as often as it is. */
static enum err repeat_next(struct query_repeat *r, const struct batch **out)
{
    const struct batch *b = r->rows;
    arena_reset(&r->arena, SCAN_ARENA_KEEP_BYTES);
    uint32_t *rows = arena_alloc(&r->arena, BATCH_ROWS_MAX * sizeof(*rows)), n = 0;
    if (rows == NULL)
        return ERR_NO_MEMORY;
    while (r->row < b->n_rows && n < BATCH_ROWS_MAX) {
        if (r->given < b->weights[r->row]) {
            rows[n++] = r->row;
            r->given++;
            continue;
        }
        r->row++;
        r->given = 0;
    }
    if (r->row == b->n_rows)
        r->rows = NULL;
    struct batch *repeated = batch_gather(b, rows, n, &r->arena);
    if (repeated == NULL)
        return ERR_NO_MEMORY;
    repeated->weights = NULL;
    *out = repeated;
    return ERR_OK;
}

static void repeat_step(struct query *q)
{
    const struct batch *rows = NULL;
    enum err e = repeat_next(&q->repeat, &rows);
    if (e != ERR_OK)
        query_fail(q, e);
    else
        push(q, rows, q->repeat.chained);
}

void query_push(struct query *q, const struct batch *b, bool chained)
{
    if (b->weights == NULL || q->live) { /* a stream of changes keeps them */
        push(q, b, chained);
        return;
    }
    q->repeat.rows = b;
    q->repeat.chained = chained;
    q->repeat.row = 0;
    q->repeat.given = 0;
    repeat_step(q);
}

void query_feed(struct query_source *src, const struct batch *b, bool chained)
{
    if (src->n_ports > 0)
        query_flow_feed(src, b);
    else
        query_push(src->query, b, chained);
}

static void feed_end(struct query *q)
{
    const struct batch *out = NULL;
    bool more = false;
    shard_worked(q->shard, BATCH_ROWS_MAX);
    enum err e = stages_finish(q->stages, &out, &more, &q->why);
    if (e != ERR_OK)
        query_fail(q, e);
    else if (more && (out == NULL || out->n_rows == 0))
        query_step_later(q);
    else
        deliver(q, out, false);
}

/* ---- the query ---- */

void query_source_done(struct query_source *src)
{
    struct query *q = src->query;
    q->source_at++;
    query_step_later(q);
}

static void source_step(struct query_source *src)
{
    struct query *q = src->query;
    switch (src->kind) {
    case SOURCE_ONCE:
        q->source_at++;
        query_feed(src, src->once, false);
        return;
    case SOURCE_LOG:
        source_log_step(src);
        return;
    case SOURCE_VIEW:
        source_view_step(src);
        return;
    }
}

void query_step(struct query *q)
{
    if (q->done == NULL || q->failed || q->closed)
        return;
    if (q->live) {
        source_follow_step(&q->sources[0]);
        return;
    }
    bool satisfied = stages_satisfied(q->stages), read = q->source_at == q->n_sources;
    if (!satisfied && q->repeat.rows != NULL) {
        repeat_step(q);
        return;
    }
    if (!satisfied && !query_flow_idle(q, read)) {
        query_flow_step(q);
        return;
    }
    if (!satisfied && !read) {
        if (moment_take(q))
            source_step(&q->sources[q->source_at]);
        return;
    }
    if (!q->follow) {
        feed_end(q);
        return;
    }
    q->live = true;
    source_follow_begin(&q->sources[0]);
    deliver(q, NULL, true);
}

enum err query_source_open(struct query_source *src, const struct relation *rel,
                           const uint32_t *columns, uint32_t n_columns)
{
    struct query *q = src->query;
    src->rel = catalog_relation(q->catalog, rel->name);
    if (src->rel == NULL)
        return ERR_UNDEFINED_TABLE;
    src->columns = columns;
    src->n_columns = n_columns;
    if (src->rel->kind == REL_SYSTEM) {
        src->kind = SOURCE_ONCE;
        TRY(source_system(src));
        return q->follow ? err_set(&q->why, ERR_UNSUPPORTED,
                                   "system tables cannot be followed: query them again")
                         : ERR_OK;
    }
    bool state = src->rel->kind == REL_VIEW && !src->rel->view->append_only;
    src->kind = state ? SOURCE_VIEW : SOURCE_LOG;
    return state && !q->follow ? ERR_OK : source_log_open(src);
}

/* The one source of a chain. */
static enum err open_single(struct query *q, const struct plan *plan, const struct plan_node *node)
{
    q->sources = arena_zalloc(&q->arena, 1, sizeof(*q->sources));
    if (q->sources == NULL)
        return ERR_NO_MEMORY;
    q->n_sources = 1;
    struct query_source *src = &q->sources[0];
    src->query = q;
    if (plan->kind == STMT_EXPLAIN)
        return source_explain(src, plan);
    if (node->kind == PLAN_VALUES)
        return q->follow ? err_set(&q->why, ERR_UNSUPPORTED, "constant rows cannot be followed")
                         : source_values(src, node);
    uint32_t *columns = arena_alloc(&q->arena, (node->n_columns + 1) * sizeof(*columns));
    if (columns == NULL)
        return ERR_NO_MEMORY;
    memcpy(columns, node->scan_columns, node->n_columns * sizeof(*columns));
    TRY(query_source_open(src, node->relation, columns, node->n_columns));
    return source_lookup_open(src, plan->root, node);
}

static enum err query_build(struct query *q, const struct plan *plan)
{
    static const struct column_def line = {
        .name = {"QUERY PLAN", 10}, .type = TYPE_TEXT, .typmod = -1};
    static const struct plan_node lines = {.kind = PLAN_VALUES, .n_columns = 1, .columns = &line};
    const struct plan_node *source;
    TRY(stages_new(plan->kind == STMT_EXPLAIN ? &lines : plan->root, QUERY_BYTES_MAX,
                   q->shard->wall_us, q->shard->engine->hash_seed, &q->stages, &source, &q->why));
    bool chain = source->kind == PLAN_SCAN || source->kind == PLAN_VALUES;
    if (q->follow && (!chain || !stages_streaming(q->stages)))
        return err_set(
            &q->why, ERR_UNSUPPORTED,
            "only a selection of one table's or view's rows can be followed: put the rest "
            "into a materialized view");
    return chain ? open_single(q, plan, source) : query_flow_open(q, source);
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
    list_init(&q->follow_link);
    arena_init(&q->arena, QUERY_BYTES_MAX);
    arena_init(&q->batch_arena, QUERY_BYTES_MAX);
    arena_init(&q->repeat.arena, QUERY_BYTES_MAX);
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
        query_step_later(q);
}

void query_close(struct query *q)
{
    if (q == NULL)
        return;
    list_remove(&q->follow_link);
    if (q->done != NULL) {
        q->failed = true;
        q->err = ERR_CANCELED;
        deliver(q, NULL, false);
    }
    for (uint32_t i = 0; i < q->n_sources; i++) {
        struct query_source *src = &q->sources[i];
        for (uint32_t p = 0; p < src->n_parts; p++)
            if (src->parts[p]->waiting)
                shard_wait_cancel(q->shard, &src->parts[p]->wait);
    }
    shard_timer_cancel(q->shard, &q->look);
    shard_timer_cancel(q->shard, &q->schema_look);
    q->closed = true;
    atomic_store_explicit(&q->unwanted, true, memory_order_relaxed);
    if (q->in_flight == 0)
        query_free(q);
}
