/* What a query sees: all that it reads as of one moment.
 *
 *   tables only                           now: each partition up to its stable offset
 *   a view's log, or what else epochs     the newest epoch that is committed, when that which was
 *   write, alone                          durable has been taken in
 *   a view's state, alone                 the newest epoch that has ended
 *   several, some of them of epochs       one epoch E, which is the newest that has ended:
 *
 *      boundary of E (shard 0)                   E is committed            rows are read
 *        views' states are scanned        ->       logs that epochs   ->
 *        tables: as far as E has read them         write: as of E
 *
 * So a view and a table that it is made of agree: each row of the table that the query sees is in
 * the view's answer, and no other. A table that nothing reads is taken up to its stable offset at
 * the boundary. What was durable when the query came is waited for (boundary_action).
 *
 * An epoch whose outputs find no room on the disk does not end before there is some: queries that
 * wait for its end are told so, instead of nothing. */
#include "base/check.h"
#include "engine/query_int.h"

static bool epochs_write(const struct query_source *src)
{
    return src->kind == SOURCE_VIEW ||
           (src->kind == SOURCE_LOG && src->rel->topic->kind != TOPIC_USER);
}

/* The view that writes this relation's log; 0 = several. */
static uint32_t writer_of(const struct query *q, const struct relation *rel)
{
    if (rel->kind == REL_VIEW)
        return rel->number;
    for (uint32_t i = 0; i < q->catalog->n_relations; i++) {
        const struct relation *r = q->catalog->relations[i];
        if (r->kind == REL_VIEW && view_has_late(r->view, rel->topic))
            return r->number;
    }
    return 0;
}

static void permit_run(struct shard *s, struct shard_call *c)
{
    coordinator_at_boundary(s->coordinator, &CONTAINER_OF(c, struct query, permit)->boundary);
}

static void ask(struct query *q)
{
    q->permit.run = permit_run;
    q->in_flight++;
    shard_call(q->shard, 0, &q->permit);
}

static void taken(struct query *q)
{
    shard_timer_cancel(q->shard, &q->look);
    q->moment = MOMENT_TAKEN;
    query_step(q);
}

/* ---- alone: its epoch is its own affair ---- */

static void alone_act(struct shard *s, struct boundary_action *a, uint64_t epoch)
{
    struct query *q = CONTAINER_OF(a, struct query, boundary);
    if (q->sources[0].kind == SOURCE_VIEW)
        source_view_scan(&q->sources[0], s, epoch);
    shard_call_reply(s, &q->permit);
}

static void alone_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct query *q = CONTAINER_OF(c, struct query, permit);
    if (!query_came_back(q))
        taken(q);
}

/* ---- together ---- */

/* Tables: as far as the epochs up to this one have read them. Views may have taken in rows of a
 * partition that the table has got since the query was made. */
static void fix_table(struct shard *s, const struct boundary_action *a, struct query_source *src)
{
    const struct topic_stats *t = engine_topic_stats(s->engine, src->topic.number);
    const struct topic *now = catalog_topic_by_number(s->catalog, src->topic.number);
    for (uint32_t p = src->n_parts; now != NULL && p < now->n_partitions; p++)
        src->outgrown |= coordinator_position(s->coordinator, a, src->rel, p) > 0;
    for (uint32_t p = 0; p < src->n_parts; p++) {
        int64_t read = coordinator_position(s->coordinator, a, src->rel, p);
        src->parts[p]->end = read >= 0 ? read : atomic_load(&topic_part(t, p)->stable);
    }
}

static void together_act(struct shard *s, struct boundary_action *a, uint64_t epoch)
{
    struct query *q = CONTAINER_OF(a, struct query, boundary);
    q->epoch = epoch;
    for (uint32_t i = 0; i < q->n_sources; i++) {
        struct query_source *src = &q->sources[i];
        if (src->kind == SOURCE_VIEW)
            source_view_scan(src, s, epoch);
        else if (src->kind == SOURCE_LOG && !src->by_epoch)
            fix_table(s, a, src);
    }
    shard_call_reply(s, &q->permit);
}

static void committed_act(struct shard *s, struct boundary_action *a, uint64_t epoch)
{
    (void)epoch;
    shard_call_reply(s, &CONTAINER_OF(a, struct query, boundary)->permit);
}

/* Epochs without outputs are never committed by themselves: those before have written the same. */
static void committed_done(struct shard *s, struct shard_call *c)
{
    struct query *q = CONTAINER_OF(c, struct query, permit);
    uint64_t committed = engine_committed_epoch(s->engine);
    if (query_came_back(q) || q->failed)
        return;
    if (q->boundary.late) {
        err_set(&q->why, ERR_BUSY,
                "the results of epoch %llu, which the query reads, are not written yet: try again",
                (unsigned long long)q->epoch);
        query_fail(q, ERR_BUSY);
        return;
    }
    for (uint32_t i = 0; i < q->n_sources; i++) {
        struct query_source *src = &q->sources[i];
        if (!src->by_epoch)
            continue;
        src->pinned = true;
        src->as_of = committed < q->epoch ? committed : q->epoch;
        source_round(src);
    }
    taken(q);
}

static void together_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct query *q = CONTAINER_OF(c, struct query, permit);
    bool logs = false;
    if (query_came_back(q) || q->failed)
        return;
    for (uint32_t i = 0; i < q->n_sources; i++) {
        const struct query_source *src = &q->sources[i];
        logs |= src->by_epoch;
        if (!src->outgrown)
            continue;
        err_set(&q->why, ERR_BUSY, "\"%.*s\" has got partitions since the query began: try again",
                STR_ARG(src->rel->name));
        query_fail(q, ERR_BUSY);
        return;
    }
    if (!logs) {
        taken(q);
        return;
    }
    q->boundary = (struct boundary_action){
        .act = committed_act, .committed = true, .epoch = q->epoch};
    q->permit.done = committed_done;
    ask(q);
}

/* ---- asking ---- */

static enum err wait_for_one(struct query *q, uint32_t number, uint32_t source,
                             struct boundary_relation *list)
{
    int64_t *targets = arena_zalloc(&q->arena, PARTITIONS_MAX, sizeof(*targets));
    if (targets == NULL)
        return ERR_NO_MEMORY;
    list[q->boundary.n_relations++] = (struct boundary_relation){number, source, targets};
    return ERR_OK;
}

/* A relation, with all sources of a view, and of the views among them. */
static enum err wait_for_all(struct query *q, const struct relation *rel, uint32_t cap,
                             struct boundary_relation *list)
{
    const struct relation *views[VIEW_LEVELS_MAX * VIEW_SOURCES_MAX];
    uint32_t n = 0;
    if (rel == NULL || rel->kind != REL_VIEW)
        return rel == NULL ? ERR_OK : wait_for_one(q, rel->number, 0, list);
    views[n++] = rel;
    for (uint32_t at = 0; at < n; at++) {
        const struct view *v = views[at]->view;
        for (uint32_t k = 0; k < v->n_sources; k++) {
            uint32_t seen = 0;
            if (q->boundary.n_relations == cap)
                return ERR_LIMIT;
            TRY(wait_for_one(q, views[at]->number, k, list));
            while (seen < n && views[seen] != v->sources[k])
                seen++;
            if (v->sources[k]->kind != REL_VIEW || seen < n)
                continue;
            if (n == ARRAY_LEN(views))
                return ERR_LIMIT;
            views[n++] = v->sources[k];
        }
    }
    return ERR_OK;
}

static enum err wait_for(struct query *q, uint32_t cap, struct boundary_relation *list)
{
    struct boundary_action *a = &q->boundary;
    for (uint32_t i = 0; i < q->n_sources; i++) {
        const struct query_source *src = &q->sources[i];
        uint32_t number = src->kind == SOURCE_ONCE ? 0
                          : epochs_write(src)      ? writer_of(q, src->rel)
                                                   : src->rel->number;
        a->everything |= src->kind == SOURCE_LOG && number == 0;
        TRY(wait_for_all(q, catalog_relation_by_number(q->catalog, number), cap, list));
    }
    a->relations = list;
    return ERR_OK;
}

static enum err look_later(struct query *q)
{
    return shard_timer_set(q->shard, &q->look,
                           q->shard->mono_ns + (int64_t)BOUNDARY_WAIT_MS * 1000000);
}

static void look_fire(struct shard_timer *t)
{
    struct query *q = CONTAINER_OF(t, struct query, look);
    enum err e = engine_outputs_stuck(q->shard->engine, &q->why);
    /* What fails once is tried again soon, and is over by the next look. */
    bool again = e == ERR_OK || !q->stuck;
    q->stuck = e != ERR_OK;
    if (again)
        e = look_later(q);
    if (e != ERR_OK)
        query_fail(q, e);
}

static enum err ask_epochs(struct query *q)
{
    bool alone = q->n_sources == 1;
    uint32_t cap = (q->n_sources + VIEW_LEVELS_MAX) * VIEW_SOURCES_MAX;
    struct boundary_relation *list = arena_alloc(&q->arena, (size_t)cap * sizeof(*list));
    if (list == NULL)
        return ERR_NO_MEMORY;
    q->boundary = (struct boundary_action){
        .act = alone ? alone_act : together_act,
        .committed = alone && q->sources[0].kind == SOURCE_LOG};
    TRY(wait_for(q, cap, list));
    for (uint32_t i = 0; i < q->n_sources; i++)
        if (q->sources[i].kind == SOURCE_VIEW)
            TRY(source_view_open(&q->sources[i]));
    q->look.fire = look_fire;
    TRY(look_later(q));
    for (uint32_t i = 0; i < q->n_sources; i++)
        source_view_expect(&q->sources[i]);
    q->permit.done = alone ? alone_done : together_done;
    ask(q);
    return ERR_OK;
}

/* Tables alone: all at once, so that what was written after it was seen to be durable is not seen
 * without it. (One table by itself takes the end that its first read finds.) */
static void fix_tables(struct query *q)
{
    for (uint32_t i = 0; i < q->n_sources && q->n_sources > 1; i++) {
        struct query_source *src = &q->sources[i];
        if (src->kind != SOURCE_LOG)
            continue;
        const struct topic_stats *t = engine_topic_stats(q->shard->engine, src->rel->topic->number);
        for (uint32_t p = 0; p < src->n_parts; p++)
            src->parts[p]->end = atomic_load(&topic_part(t, p)->stable);
    }
}

bool moment_take(struct query *q)
{
    bool epochs = false;
    if (q->moment != MOMENT_OPEN)
        return q->moment == MOMENT_TAKEN;
    for (uint32_t i = 0; i < q->n_sources; i++)
        epochs |= epochs_write(&q->sources[i]);
    if (!epochs) {
        fix_tables(q);
        q->moment = MOMENT_TAKEN;
        return true;
    }
    q->moment = MOMENT_ASKED;
    enum err e = ask_epochs(q);
    if (e != ERR_OK)
        query_fail(q, e);
    return false;
}
