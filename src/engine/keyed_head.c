#include "engine/keyed_head.h"

#include "base/mem.h"
#include "engine/epochs.h"
#include "engine/source.h"

enum {
    TAIL_OFFSETS_MAX = 16 << 10,   /* that the reader may be behind */
    TAIL_BYTES_MAX = 4 << 20,
    HEAD_BYTES_MAX = 256 << 20,    /* rows of one call */
    HEAD_ARENA_KEEP_BYTES = 1 << 20,
};

struct head {
    struct part *part;
    const struct relation *rel;
    struct keyed_rows *wanted; /* rows of the keys that are asked for */
    struct keyed_rows *rows;   /* what there is of them */
    struct row_decoder decoder;
    struct record_reader_state reading;
    struct compress *compress;
    struct scratch_pool *scratch;
    struct arena *arena;
    struct kafka_record *records;
    enum row_op *ops;
};

static enum err head_init(struct head *h, uint64_t seed)
{
    TRY(keyed_rows_new(h->rel, HEAD_BYTES_MAX, seed, &h->wanted));
    return keyed_rows_new(h->rel, HEAD_BYTES_MAX, seed, &h->rows);
}

static void head_deinit(struct head *h)
{
    row_decoder_deinit(&h->decoder);
    compress_free(h->compress);
    if (h->scratch != NULL)
        scratch_deinit(h->scratch);
    mem_free(h->scratch);
    mem_free(h->records);
    mem_free(h->ops);
    keyed_rows_free(h->wanted);
}

/* Rows i with keep[i], in order. */
static struct batch *kept_rows(const struct batch *b, const bool *keep, struct arena *a)
{
    uint32_t *rows = arena_alloc(a, (b->n_rows + 1) * sizeof(*rows)), n = 0;
    for (uint32_t i = 0; rows != NULL && i < b->n_rows; i++)
        if (keep[i])
            rows[n++] = i;
    return rows == NULL ? NULL : batch_gather(b, rows, n, a);
}

/* What the reader keeps of these keys. */
static enum err take_kept(struct head *h, const struct keyed_rows *kept, const struct batch *keys)
{
    struct batch *found;
    bool *there = arena_alloc(h->arena, (keys->n_rows + 1) * sizeof(*there));
    if (there == NULL)
        return ERR_NO_MEMORY;
    TRY(keyed_rows_add(h->wanted, keys, h->arena, there));
    if (kept == NULL)
        return ERR_OK;
    TRY(keyed_rows_find(kept, keys, h->arena, there, &found));
    if ((found = kept_rows(found, there, h->arena)) == NULL)
        return ERR_NO_MEMORY;
    return keyed_rows_add(h->rows, found, h->arena, there);
}

/* ---- the log behind the reader ---- */

static enum err tail_init(struct head *h)
{
    h->compress = compress_new();
    h->scratch = mem_zalloc(1, sizeof(*h->scratch));
    h->records = mem_zalloc(KEYED_ROWS_AT_ONCE, sizeof(*h->records));
    h->ops = mem_zalloc(KEYED_ROWS_AT_ONCE, sizeof(*h->ops));
    if (h->compress == NULL || h->scratch == NULL || h->records == NULL || h->ops == NULL)
        return ERR_NO_MEMORY;
    return row_decoder_init(&h->decoder, h->rel, false, NULL);
}

static enum err clear_rows(struct head *h)
{
    struct batch *gone;
    while (keyed_rows_count(h->rows) > 0)
        TRY(keyed_rows_clear(h->rows, h->arena, &gone));
    return ERR_OK;
}

/* Takes in those of the decoded rows that are asked for. */
static enum err take_rows(struct head *h, const struct batch *b)
{
    struct batch *unused;
    bool *wanted = arena_alloc(h->arena, (b->n_rows + 1) * sizeof(*wanted));
    if (wanted == NULL)
        return ERR_NO_MEMORY;
    TRY(keyed_rows_find(h->wanted, b, h->arena, wanted, &unused));
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n_rows; i++)
        if (wanted[i])
            h->ops[n++] = h->ops[i];
    struct batch *some = kept_rows(b, wanted, h->arena);
    if (some == NULL)
        return ERR_NO_MEMORY;
    return keyed_rows_take(h->rows, some, h->ops, h->arena, NULL);
}

static enum err take_records(struct head *h, size_t n)
{
    for (size_t i = 0; i < n;) {
        struct batch *b = row_decoder_batch(&h->decoder, (uint32_t)(n - i), h->arena);
        bool clear = false;
        if (b == NULL)
            return ERR_NO_MEMORY;
        for (; i < n && !clear; i++) {
            struct err_detail why;
            enum err e = row_decode(&h->decoder, &h->records[i], h->part->partition, b, h->arena,
                                    &why);
            if (e == ERR_NO_MEMORY)
                return e;
            if (e != ERR_OK)
                continue; /* a dead letter */
            clear = h->decoder.op == ROW_CLEAR;
            if (h->decoder.op == ROW_PUT || h->decoder.op == ROW_DELETE)
                h->ops[b->n_rows - 1] = h->decoder.op;
        }
        TRY(take_rows(h, b));
        if (clear)
            TRY(clear_rows(h));
    }
    return ERR_OK;
}

/* Whether a batch of the range may still be undone. */
static bool undecided(struct str range, int64_t stable)
{
    struct kafka_batch b;
    for (size_t at = 0; at < range.len; at += b.bytes) {
        if (kafka_batch_parse((struct str){range.ptr + at, range.len - at}, &b, NULL) != ERR_OK)
            return false;
        if (b.transactional && !b.control && b.base_offset >= stable)
            return true;
    }
    return false;
}

static enum err take_range(struct head *h, const struct log_range *range, int64_t from, int64_t end,
                           bool *later, struct err_detail *why)
{
    int64_t stable = log_stable_offset(h->part->log);
    int64_t decided = range->next_offset < stable ? range->next_offset : stable;
    TRY(record_reader_load(&h->reading, range, h->arena));
    *later = undecided(h->reading.run, stable);
    if (*later)
        return ERR_OK;
    if (range->first_offset < decided)
        TRY(record_reader_decide(&h->reading, h->part->log, range->first_offset, decided,
                                 h->arena));
    for (size_t n = 1; n > 0;) {
        enum err e = record_reader_next(&h->reading, from, end, h->compress, h->scratch, h->records,
                                        KEYED_ROWS_AT_ONCE, &n, why);
        if (e == ERR_BAD_RECORD_BATCH)
            continue; /* a dead letter, too */
        TRY(e);
        TRY(take_records(h, n));
        scratch_reset(h->scratch, 0);
    }
    return ERR_OK;
}

static enum err take_tail(struct head *h, int64_t from, bool *later, struct err_detail *why)
{
    struct log_partition *log = h->part->log;
    int64_t end = log_end_offset(log), start = log_start_offset(log);
    size_t bytes = 0;
    from = from < start ? start : from;
    *later = end - from > TAIL_OFFSETS_MAX;
    if (from < end && !*later)
        TRY(tail_init(h));
    while (from < end && !*later) {
        struct log_range range = {0};
        TRY(log_read(log, from, end, READ_BYTES_MAX, &range, why));
        bytes += range.len;
        *later = bytes > TAIL_BYTES_MAX;
        enum err e = range.len == 0 || *later ? ERR_OK
                                              : take_range(h, &range, from, end, later, why);
        from = range.len == 0 ? end : range.next_offset;
        log_range_release(&range);
        TRY(e);
    }
    return ERR_OK;
}

enum err keyed_head(struct part *p, const struct relation *rel, const struct batch *const *keys,
                    uint32_t n, struct arena *a, struct keyed_rows **out, bool *later,
                    struct err_detail *why)
{
    struct head h = {.part = p, .rel = rel, .arena = a};
    const struct keyed_rows *kept;
    int64_t position;
    *later = false;
    enum err e = epochs_keyed(p->shard->epochs, rel->number, p->partition, &kept, &position);
    if (e == ERR_LIMIT)
        return err_set(why, e, "the rows of table \"%.*s\" do not fit their memory bound",
                       STR_ARG(rel->name));
    if (e == ERR_OK)
        e = head_init(&h, p->shard->engine->hash_seed);
    for (uint32_t i = 0; i < n && e == ERR_OK; i++)
        e = take_kept(&h, kept, keys[i]);
    if (e == ERR_OK)
        e = take_tail(&h, position, later, why);
    head_deinit(&h);
    if (e != ERR_OK || *later) {
        keyed_rows_free(h.rows);
        return e;
    }
    *out = h.rows;
    return ERR_OK;
}
