/* Following: after the snapshot the log of the table, or the view's changelog, from exactly there
 * on. What epochs write comes epoch by epoch, and only when all of it is committed. */
#include "engine/query_int.h"

static void wait_back(struct wait_request *r)
{
    struct part_read *p = r->arg;
    struct query_source *src = p->source;
    struct query *q = src->query;
    p->waiting = false;
    if (query_came_back(q))
        return;
    if (r->err != ERR_OK) {
        query_fail(q, r->err);
        return;
    }
    p->ready = true;
    src->woken |= p->offset <= r->offset; /* else a round has read it by now */
    if (q->done != NULL)
        query_step(q);
}

static void wait_all(struct query_source *src)
{
    struct query *q = src->query;
    for (uint32_t i = 0; i < src->n_parts; i++) {
        struct part_read *p = src->parts[i];
        if (p->waiting)
            continue;
        p->wait = (struct wait_request){.topic = &src->topic,
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

/* Nothing is at hand: takes in partitions that the topic has got, whose rows are all changes. */
static bool parts_follow(struct query_source *src)
{
    enum err e = source_parts_add(src, 0);
    if (e != ERR_OK)
        query_fail(src->query, e);
    return e == ERR_OK;
}

/* Brings the partition's next change to hand; there is none when its range, or the round, is at an
 * end. */
static enum err head_find(struct part_read *p)
{
    size_t n = 0;
    if (p->head_epoch != 0 || !p->open)
        return ERR_OK;
    TRY(record_reader_next(&p->records, p->offset, p->end, NULL, NULL, &p->head, 1, &n,
                           &p->source->query->why));
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
static enum err epoch_take(struct query_source *src, struct part_read *p, struct batch *scanned)
{
    struct query *q = src->query;
    struct batch *rows;
    size_t n = 0;
    q->row_epoch = p->head_epoch;
    arena_reset(&q->batch_arena, QUERY_READ_BYTES * 4);
    while (n < FOLLOW_ROWS_MAX && p->head_epoch == q->row_epoch) {
        q->records[n++] = p->head;
        p->offset = p->head.offset + 1;
        p->head_epoch = 0;
        TRY(head_find(p));
    }
    if (src->rel->kind == REL_VIEW)
        TRY(source_decode_changes(src, p, n, &rows));
    else
        TRY(source_decode_rows(src, p, n, &rows));
    return source_narrow(src, rows, scanned, &q->batch_arena);
}

/* Epoch by epoch: the partition whose next change is of the oldest one comes next. */
static void follow_epochs(struct query_source *src)
{
    struct query *q = src->query;
    if (source_round_reading(src) || (!src->round && !parts_follow(src)))
        return;
    if (!src->round && src->woken)
        source_round(src);
    else if (!src->round)
        wait_all(src);
    if (!src->round || source_round_reading(src))
        return;
    struct part_read *next = NULL;
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < src->n_parts && e == ERR_OK; i++) {
        struct part_read *p = src->parts[i];
        e = head_find(p);
        if (e == ERR_OK && p->head_epoch == 0 && p->offset < p->end)
            source_round_read(src, p, 0, source_round_bytes(src));
        else if (p->head_epoch != 0 && (next == NULL || p->head_epoch < next->head_epoch))
            next = p;
    }
    struct batch scanned;
    if (e == ERR_OK && source_round_reading(src))
        return;
    if (e == ERR_OK && next == NULL) {
        src->round = false;
        query_step_later(q);
        return;
    }
    if (e == ERR_OK)
        e = epoch_take(src, next, &scanned);
    if (e != ERR_OK)
        query_fail(q, e);
    else
        query_feed(src, &scanned, false);
}

/* Whatever partition has something: a table's rows are of no epoch. */
static void follow_log(struct query_source *src)
{
    struct part_read *at_work = src->parts[src->part_at];
    if ((src->range_open || at_work->clearing) && source_range_step(src, at_work))
        return;
    for (uint32_t i = 0; i < src->n_parts; i++)
        if (src->parts[i]->reading)
            return;
    for (uint32_t i = 0; i < src->n_parts; i++) {
        uint32_t at = (src->part_at + 1 + i) % src->n_parts;
        if (src->parts[at]->ready) {
            src->part_at = at;
            source_read(src, src->parts[at]);
            return;
        }
    }
    if (parts_follow(src))
        wait_all(src);
}

void queries_follow(struct shard *s)
{
    LIST_FOR (it, &s->follows) {
        struct query *q = LIST_ENTRY(it, struct query, follow_link);
        struct topic *own = &q->sources[0].topic;
        const struct topic *t = catalog_topic_by_number(s->catalog, own->number);
        if (t == NULL || t->n_partitions == own->n_partitions)
            continue;
        own->n_partitions = t->n_partitions;
        if (q->live)
            query_step_later(q);
    }
}

void source_follow_begin(struct query_source *src)
{
    src->part_at = 0;
    src->range_open = src->round = src->woken = false;
    for (uint32_t i = 0; i < src->n_parts; i++)
        src->parts[i]->ready = false;
}

void source_follow_step(struct query_source *src)
{
    if (src->by_epoch)
        follow_epochs(src);
    else
        follow_log(src);
}
