/* Logs as a query's source: tables up to their stable offset, read by the query's own shard; what
 * epochs write as of one epoch, so that no reader sees half of it. */
#include "base/check.h"
#include "base/mem.h"
#include "engine/query_int.h"

enum { SCHEMA_LOOK_MS = 20, SCHEMA_WAIT_MS_MAX = 5000 };

#define OUTRUN_TEXT \
    "this reader is further behind than the log reaches: rows it has not seen were removed"

static void read_back(struct read_request *r)
{
    struct part_read *p = r->arg;
    struct query_source *src = p->source;
    struct query *q = src->query;
    struct log_aborted *aborted = r->aborted;
    p->reading = false;
    if (query_came_back(q)) {
        mem_free(aborted);
        return;
    }
    if (r->err == ERR_OFFSET_OUT_OF_RANGE && p->offset < r->log_start_offset && !q->live) {
        p->offset = r->log_start_offset; /* retention was quicker */
        query_step_later(q);
        return;
    }
    if (r->err != ERR_OK) {
        q->why = r->why;
        if (r->err == ERR_OFFSET_OUT_OF_RANGE)
            err_set(&q->why, r->err, OUTRUN_TEXT);
        query_fail(q, r->err);
        return;
    }
    if (p->end < 0)
        p->end = r->stable_offset;
    arena_reset(&q->batch_arena, QUERY_READ_BYTES * 4);
    scratch_reset(&q->scratch, QUERY_READ_BYTES);
    src->range_open = r->range.len > 0;
    if (src->range_open) {
        enum err e = record_reader_load(&src->reading, &r->range, &q->batch_arena);
        if (e == ERR_OK)
            e = record_reader_skip(&src->reading, aborted, r->n_aborted, &q->batch_arena);
        mem_free(aborted);
        p->ready = true;
        src->read_to = r->range.next_offset;
        if (e != ERR_OK) {
            query_fail(q, e);
            return;
        }
    } else {
        p->ready = false;
        if (!q->live)
            p->end = p->offset;
    }
    log_range_release(&r->range);
    query_step_later(q);
}

void source_read(struct query_source *src, struct part_read *p)
{
    p->read = (struct read_request){.topic = &src->topic,
                                    .partition = p->partition,
                                    .offset = p->offset,
                                    .bytes_max = QUERY_READ_BYTES,
                                    .committed = true,
                                    .done = read_back,
                                    .arg = p};
    p->reading = true;
    src->query->in_flight++;
    shard_read(src->query->shard, &p->read);
}

enum err source_decode_rows(struct query_source *src, const struct part_read *p, size_t n,
                            struct batch **out)
{
    struct query *q = src->query;
    struct batch *b = row_decoder_batch(&src->decoder, (uint32_t)n, &q->batch_arena);
    if (b == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        struct err_detail why;
        enum err e =
            row_decode(&src->decoder, &q->records[i], p->partition, b, &q->batch_arena, &why);
        if (e == ERR_NO_MEMORY || (e == ERR_BUSY && src->decoder.schemas != NULL))
            return e; /* others are dead letters, not rows */
    }
    *out = b;
    return ERR_OK;
}

/* What a row's headers say of it. */
struct change {
    struct str before; /* NULL ptr: there was no such row */
    int64_t before_count, count;
};

static void read_change(const struct kafka_record *rec, struct change *out)
{
    struct str rest = rec->headers;
    struct kafka_header h;
    *out = (struct change){.before_count = 1, .count = 1};
    while (kafka_record_header(&rest, &h)) {
        int64_t *count = str_eq(h.key, STR("count"))          ? &out->count
                         : str_eq(h.key, STR("before_count")) ? &out->before_count
                                                              : NULL;
        if (str_eq(h.key, STR("before")))
            out->before = h.value;
        if (count != NULL && (str_to_i64(h.value, count) != ERR_OK || *count < 1))
            *count = 1;
    }
}

enum err source_decode_changes(struct query_source *src, const struct part_read *p, size_t n,
                               struct batch **out)
{
    struct query *q = src->query;
    struct batch *b = row_decoder_batch(&src->decoder, (uint32_t)n * 2, &q->batch_arena);
    int64_t *weights = arena_alloc(&q->batch_arena, (n * 2 + 1) * sizeof(*weights));
    if (b == NULL || weights == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        struct kafka_record before = q->records[i];
        struct err_detail why;
        struct change c;
        read_change(&q->records[i], &c);
        before.value = c.before;
        weights[b->n_rows] = -c.before_count;
        if (before.value.ptr != NULL)
            TRY(row_decode(&src->decoder, &before, p->partition, b, &q->batch_arena, &why));
        weights[b->n_rows] = c.count;
        if (q->records[i].value.ptr != NULL)
            TRY(row_decode(&src->decoder, &q->records[i], p->partition, b, &q->batch_arena, &why));
    }
    b->weights = weights;
    *out = b;
    return ERR_OK;
}

/* The next n records, of a table with a PRIMARY KEY. */
static void keyed_step(struct query_source *src, struct part_read *p, size_t n)
{
    struct query *q = src->query;
    struct batch *changes = NULL, scanned;
    enum err e = source_keyed_records(src, p, n, &changes);
    if (e == ERR_OK && changes != NULL && changes->n_rows > 0)
        e = source_narrow(src, changes, &scanned, &q->batch_arena);
    if (e != ERR_OK)
        query_fail(q, e);
    else if (changes != NULL && changes->n_rows > 0)
        query_feed(src, &scanned, false);
    else
        query_step_later(q);
}

static void schema_look_fire(struct shard_timer *t)
{
    query_step_later(CONTAINER_OF(t, struct query, schema_look));
}

/* Some record from `offset` on is of a schema that the table's reader has yet to get. A follower
 * waits as that does, others for a while. */
static void schema_wait(struct query_source *src, struct part_read *p, int64_t offset)
{
    struct query *q = src->query;
    int64_t now = q->shard->mono_ns;
    p->offset = offset;
    src->range_open = false;
    if (q->schema_by_ns == 0 || q->schema != src->decoder.wanted)
        q->schema_by_ns = now + (int64_t)SCHEMA_WAIT_MS_MAX * 1000000;
    q->schema = src->decoder.wanted;
    q->schema_look.fire = schema_look_fire;
    enum err e = ERR_BUSY;
    if (q->live || now < q->schema_by_ns)
        e = shard_timer_set(q->shard, &q->schema_look,
                            now + (int64_t)SCHEMA_LOOK_MS * 1000000);
    if (e == ERR_OK)
        return;
    err_set(&q->why, e, "\"%.*s\" partition %u: schema %u has not come from the registry at %.*s",
            STR_ARG(src->rel->name), p->partition, q->schema, STR_ARG(src->rel->registry));
    err_hint(&q->why, "SELECT * FROM sys.schemas tells why. It is asked for until it comes.");
    query_fail(q, e);
}

bool source_range_step(struct query_source *src, struct part_read *p)
{
    struct query *q = src->query;
    size_t n = 0;
    if (source_keyed_clear(src, p))
        return true;
    if (!src->range_open)
        return false;
    int64_t to = q->live ? INT64_MAX : p->end;
    enum err e = record_reader_next(&src->reading, p->offset, to, q->compress, &q->scratch,
                                    q->records, FOLLOW_ROWS_MAX, &n, &q->why);
    if (e == ERR_BUSY) { /* decompressed enough: the rest of the range is read again */
        src->range_open = false;
        return false;
    }
    if (e == ERR_OK && n == 0) {
        p->offset = src->read_to < to ? src->read_to : to; /* the range may go past the snapshot */
        src->range_open = false;
        return false;
    }
    if (e == ERR_OK && src->decoder.keyed != NULL) {
        keyed_step(src, p, n);
        return true;
    }
    struct batch *rows = NULL, scanned;
    if (e == ERR_OK) {
        int64_t first = q->records[0].offset;
        p->offset = record_reader_reached(&src->reading, &q->records[n - 1]);
        bool changes = q->live && src->rel->kind == REL_VIEW;
        e = changes ? source_decode_changes(src, p, n, &rows)
                    : source_decode_rows(src, p, n, &rows);
        if (e == ERR_BUSY) {
            schema_wait(src, p, first);
            return true;
        }
    }
    if (e == ERR_OK)
        e = source_narrow(src, rows, &scanned, &q->batch_arena);
    if (e != ERR_OK)
        query_fail(q, e);
    else
        query_feed(src, &scanned, false);
    return true;
}

/* ---- rounds ---- */

bool source_round_reading(const struct query_source *src)
{
    for (uint32_t i = 0; i < src->n_parts; i++)
        if (src->parts[i]->reading)
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
    struct query_source *src = p->source;
    struct query *q = src->query;
    p->reading = false;
    if (query_came_back(q))
        return;
    enum err e = r->err;
    if (e == ERR_OFFSET_OUT_OF_RANGE)
        err_set(&q->why, e, OUTRUN_TEXT);
    else if (e == ERR_BUSY && src->pinned)
        err_set(&q->why, e, "\"%.*s\" has gone on too far since the query began: try again",
                STR_ARG(src->rel->name));
    else if (e != ERR_OK)
        q->why = r->why;
    if (e == ERR_OK)
        e = round_take(p, r);
    if (e == ERR_BUSY && !src->pinned)
        src->round = false; /* that epoch is forgotten: again, at a newer one */
    else if (e != ERR_OK) {
        query_fail(q, e); /* its receiver may have closed, and so freed, the query */
        return;
    }
    if (!source_round_reading(src))
        query_step(q);
}

void source_round_read(struct query_source *src, struct part_read *p, uint64_t epoch, size_t bytes)
{
    p->read = (struct read_request){.topic = &src->topic,
                                    .partition = p->partition,
                                    .offset = p->offset,
                                    .bytes_max = bytes,
                                    .epoch = epoch,
                                    .done = round_back,
                                    .arg = p};
    p->reading = true;
    src->query->in_flight++;
    shard_read(src->query->shard, &p->read);
}

size_t source_round_bytes(const struct query_source *src)
{
    size_t share = QUERY_READ_BYTES / src->n_parts;
    return share < QUERY_READ_BYTES_MIN ? QUERY_READ_BYTES_MIN : share;
}

void source_round(struct query_source *src)
{
    const struct query *q = src->query;
    src->round = true;
    src->woken = false;
    if (!src->pinned)
        src->as_of = engine_committed_epoch(q->shard->engine);
    for (uint32_t i = 0; i < src->n_parts; i++)
        src->parts[i]->end = -1;
    for (uint32_t i = 0; i < src->n_parts; i++)
        source_round_read(src, src->parts[i], src->as_of, q->live ? source_round_bytes(src) : 0);
}

void source_log_step(struct query_source *src)
{
    struct query *q = src->query;
    if (src->by_epoch && !src->round) {
        source_round(src);
        return;
    }
    if (src->by_epoch)
        q->row_epoch = src->as_of;
    while (src->part_at < src->n_parts) {
        struct part_read *p = src->parts[src->part_at];
        if (source_lookup(src, p) || (src->range_open && source_range_step(src, p)))
            return;
        if (p->end < 0 || p->offset < p->end) {
            if (!p->reading)
                source_read(src, p);
            return;
        }
        if (src->decoder.keyed != NULL && source_keyed_rows(src, p))
            return;
        src->part_at++;
    }
    query_source_done(src);
}

enum err source_parts_add(struct query_source *src, int64_t offset)
{
    while (src->n_parts < src->topic.n_partitions) {
        struct part_read *p = arena_alloc(&src->query->arena, sizeof(*p));
        if (p == NULL)
            return ERR_NO_MEMORY;
        *p = (struct part_read){
            .source = src, .partition = src->n_parts, .end = -1, .offset = offset};
        const struct part_stats *st = engine_part_stats(
            src->query->shard->engine, src->topic.number, src->n_parts);
        p->compactions = stat_getu(&st->compactions);
        arena_init(&p->arena, QUERY_BYTES_MAX);
        src->parts[src->n_parts++] = p;
    }
    return ERR_OK;
}

enum err source_log_open(struct query_source *src)
{
    struct query *q = src->query;
    src->topic = *src->rel->topic;
    src->by_epoch = topic_epoch_written(src->topic.kind);
    src->reading.splits = relation_splits_records(src->rel);
    uint32_t room = q->follow ? PARTITIONS_MAX : src->topic.n_partitions;
    src->parts = arena_alloc(&q->arena, room * sizeof(struct part_read *));
    if (q->compress == NULL)
        q->compress = compress_new();
    if (q->records == NULL)
        q->records = mem_zalloc(FOLLOW_ROWS_MAX, sizeof(*q->records));
    if (src->parts == NULL || q->compress == NULL || q->records == NULL)
        return ERR_NO_MEMORY;
    TRY(source_parts_add(src, src->kind == SOURCE_LOG ? 0 : -1));
    if (q->follow)
        list_add(&q->shard->follows, &q->follow_link);
    return row_decoder_init(&src->decoder, src->rel, false, q->shard->engine->schemas);
}

void source_log_close(struct query_source *src)
{
    for (uint32_t i = 0; i < src->n_parts; i++) {
        log_range_release(&src->parts[i]->read.range);
        arena_deinit(&src->parts[i]->arena);
        keyed_rows_free(src->parts[i]->keyed);
    }
    row_decoder_deinit(&src->decoder);
}
