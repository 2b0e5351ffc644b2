/* Tables with a PRIMARY KEY as a query's source: the newest record of each key counts, so a
 * partition's rows come when all of its log up to the snapshot's end has been read. A follower
 * keeps them, to tell what a change takes away. */
#include "engine/query_int.h"

static enum err keyed_bound(struct query_source *src, enum err e)
{
    if (e != ERR_LIMIT)
        return e;
    err_set(&src->query->why, e, "the rows of table \"%.*s\" are more than the %d MB of a query",
            STR_ARG(src->rel->name), QUERY_BYTES_MAX >> 20);
    err_hint(&src->query->why, "A materialized view with fewer rows or columns can be read.");
    return e;
}

/* Decodes records from `at` on, up to one that takes all rows away: then *clear. */
static enum err decode_run(struct query_source *src, const struct part_read *p, size_t *at,
                           size_t n, enum row_op *ops, bool *clear, struct batch **out)
{
    struct query *q = src->query;
    struct batch *b = row_decoder_batch(&src->decoder, (uint32_t)(n - *at), &q->batch_arena);
    *clear = false;
    *out = b;
    if (b == NULL)
        return ERR_NO_MEMORY;
    for (; *at < n && !*clear; ++*at) {
        struct err_detail why;
        enum err e =
            row_decode(&src->decoder, &q->records[*at], p->partition, b, &q->batch_arena, &why);
        if (e == ERR_NO_MEMORY)
            return e;
        if (e != ERR_OK)
            continue; /* a dead letter, not a row */
        *clear = src->decoder.op == ROW_CLEAR;
        if (src->decoder.op == ROW_PUT || src->decoder.op == ROW_DELETE)
            ops[b->n_rows - 1] = src->decoder.op;
    }
    return ERR_OK;
}

static enum err clear_all(struct query_source *src, const struct part_read *p)
{
    struct batch *gone;
    while (keyed_rows_count(p->keyed) > 0)
        TRY(keyed_rows_clear(p->keyed, &src->query->batch_arena, &gone));
    return ERR_OK;
}

enum err source_keyed_start(const struct query_source *src, struct part_read *p)
{
    return p->keyed != NULL ? ERR_OK
                            : keyed_rows_new(src->rel, QUERY_BYTES_MAX,
                                             src->query->shard->engine->hash_seed, &p->keyed);
}

enum err source_keyed_records(struct query_source *src, struct part_read *p, size_t n,
                              struct batch **out)
{
    struct query *q = src->query;
    size_t at = 0;
    bool clear;
    struct batch *b, **changes = q->live ? out : NULL;
    *out = NULL;
    enum row_op *ops = arena_alloc(&q->batch_arena, (n + 1) * sizeof(*ops));
    if (ops == NULL)
        return ERR_NO_MEMORY;
    TRY(source_keyed_start(src, p));
    do {
        TRY(decode_run(src, p, &at, n, ops, &clear, &b));
        TRY(keyed_bound(src, keyed_rows_take(p->keyed, b, ops, &q->batch_arena, changes)));
        if (clear && !q->live)
            TRY(clear_all(src, p));
    } while (at < n && !q->live);
    p->clearing = clear && q->live;
    p->offset = q->records[at - 1].offset + 1;
    if (at < n)
        src->range_open = false; /* the rest of the range is read again */
    return ERR_OK;
}

static void feed(struct query_source *src, const struct batch *rows)
{
    struct query *q = src->query;
    struct batch scanned;
    enum err e = source_narrow(src, rows, &scanned, &q->batch_arena);
    if (e != ERR_OK)
        query_fail(q, e);
    else
        query_feed(src, &scanned, false);
}

bool source_keyed_clear(struct query_source *src, struct part_read *p)
{
    struct query *q = src->query;
    struct batch *gone = NULL;
    if (!p->clearing)
        return false;
    enum err e = keyed_rows_clear(p->keyed, &q->batch_arena, &gone);
    if (e == ERR_OK && gone->n_rows == 0) {
        p->clearing = false;
        return false;
    }
    if (e != ERR_OK)
        query_fail(q, e);
    else
        feed(src, gone);
    return true;
}

/* What compaction removed while the log was read may have been superseded behind the snapshot. */
static bool compacted(const struct query_source *src, const struct part_read *p)
{
    const struct part_stats *st =
        engine_part_stats(src->query->shard->engine, src->topic.number, p->partition);
    return stat_getu(&st->compactions) != p->compactions;
}

bool source_keyed_rows(struct query_source *src, struct part_read *p)
{
    struct query *q = src->query;
    struct batch *rows = NULL;
    if (compacted(src, p)) {
        err_set(&q->why, ERR_BUSY, "table \"%.*s\" was compacted while it was read: try again",
                STR_ARG(src->rel->name));
        query_fail(q, ERR_BUSY);
        return true;
    }
    arena_reset(&q->batch_arena, QUERY_READ_BYTES * 4);
    enum err e = source_keyed_start(src, p);
    if (e == ERR_OK)
        e = keyed_rows_next(p->keyed, &p->keyed_at, &q->batch_arena, &rows);
    if (e == ERR_OK && rows->n_rows == 0) {
        if (!q->follow) {
            keyed_rows_free(p->keyed);
            p->keyed = NULL;
        }
        return false;
    }
    if (e != ERR_OK)
        query_fail(q, e);
    else
        feed(src, rows);
    return true;
}
