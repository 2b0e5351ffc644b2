/* What a pass has to know before it writes: which transactions were aborted, each producer's last
 * batch, and the newest offset of each key that was written since the last pass. */
#include "log/log_compact_int.h"

#include "base/check.h"
#include "base/mem.h"

#include <inttypes.h>

/* ---- reading ---- */

enum err compact_reader_open(struct log_compaction *c, uint32_t i, struct compact_reader *r,
                             struct err_detail *why)
{
    const struct compact_input *in = &c->inputs[i];
    char path[HOST_PATH_MAX];
    *r = (struct compact_reader){.offset = in->base_offset};
    buf_init(&r->large, KAFKA_BATCH_BYTES_MAX);
    TRY(log_segment_path(c->dir, in->base_offset, ".log", path));
    TRY(host_file_open(c->host, path, HOST_OPEN_READ, &r->file, why));
    r->scan = (struct log_scan){.file = r->file,
                                .size = in->bytes,
                                .buffer = c->buffer,
                                .buffer_bytes = COMPACT_READ_BYTES};
    return ERR_OK;
}

enum err compact_reader_next(struct compact_reader *r, struct kafka_batch *b, struct str *bytes,
                             struct err_detail *why)
{
    struct err_detail inner = {0};
    *bytes = (struct str){NULL, 0};
    if (r->at >= r->scan.size) {
        return ERR_OK;
    }
    enum err e = log_scan_header(&r->scan, r->at, r->offset, b, &inner);
    if (e == ERR_OK && b->bytes <= COMPACT_READ_BYTES) {
        e = log_scan_get(&r->scan, r->at, b->bytes, bytes);
    } else if (e == ERR_OK) {
        buf_clear(&r->large);
        char *p = buf_reserve(&r->large, b->bytes);
        e = p != NULL ? host_file_read(r->file, r->at, p, b->bytes) : ERR_NO_MEMORY;
        *bytes = (struct str){p, b->bytes};
    }
    if (e == ERR_OK) {
        bytes->len = b->bytes;
        e = kafka_batch_validate(*bytes, b, &inner) == ERR_OK ? ERR_OK : ERR_CORRUPT;
    }
    if (e != ERR_OK) {
        return err_set(why, e, "damaged at byte %" PRIu64 " (offset %" PRId64 "): %s", r->at,
                       r->offset, err_text(e, &inner));
    }
    r->at += b->bytes;
    r->offset += (int64_t)b->last_offset_delta + 1;
    return ERR_OK;
}

void compact_reader_close(struct compact_reader *r)
{
    if (r->file != NULL) {
        host_file_close(r->file);
        r->file = NULL;
    }
    buf_deinit(&r->large);
}

/* ---- transactions and producers ---- */

/* ERR_LIMIT, ERR_NO_MEMORY. */
static enum err list_add_item(struct compact_list *l, struct log_aborted item)
{
    if (l->n == LOG_COMPACT_TRANSACTIONS_MAX) {
        return ERR_LIMIT;
    }
    if (l->n == l->cap) {
        uint32_t cap = l->cap == 0 ? 16 : l->cap * 2;
        struct log_aborted *moved = mem_realloc(l->items, cap * sizeof *moved);
        if (moved == NULL) {
            return ERR_NO_MEMORY;
        }
        l->items = moved;
        l->cap = cap;
    }
    l->items[l->n++] = item;
    return ERR_OK;
}

static uint32_t open_find(const struct log_compaction *c, int64_t producer_id)
{
    uint32_t i = 0;
    while (i < c->open.n && c->open.items[i].producer_id != producer_id) {
        i++;
    }
    return i;
}

static struct str id_key(const int64_t *producer_id)
{
    return (struct str){(const char *)producer_id, sizeof *producer_id};
}

/* A marker ends the producer's open transaction; without one it is left over. */
static enum err note_marker(struct log_compaction *c, const struct kafka_batch *b, struct str bytes)
{
    uint32_t i = open_find(c, b->producer_id);
    struct log_aborted t = {b->producer_id, b->base_offset, b->base_offset};
    if (i == c->open.n) {
        enum err e = c->orphans_full ? ERR_OK : list_add_item(&c->orphans, t);
        c->orphans_full |= e == ERR_LIMIT; /* those that are not known just stay */
        return e == ERR_LIMIT ? ERR_OK : e;
    }
    t.first_offset = c->open.items[i].first_offset;
    c->open.items[i] = c->open.items[--c->open.n];
    /* One that nobody can read counts as a commit: nothing is removed. */
    bool commit = true;
    return kafka_marker_get(bytes, &commit) != ERR_OK || commit ? ERR_OK
                                                                : list_add_item(&c->aborted, t);
}

static enum err note_producer(struct log_compaction *c, const struct kafka_batch *b,
                              struct str bytes)
{
    enum err e = ERR_OK;
    if (b->producer_id < 0) {
        return ERR_OK;
    }
    if (!c->last_full) {
        e = key_map_put(&c->last, id_key(&b->producer_id), b->base_offset);
        c->last_full = e == ERR_LIMIT; /* then every producer's batch counts as its last */
        e = e == ERR_LIMIT ? ERR_OK : e;
    }
    if (e == ERR_OK && b->control) {
        return note_marker(c, b, bytes);
    }
    if (e == ERR_OK && b->transactional && open_find(c, b->producer_id) == c->open.n) {
        e = list_add_item(&c->open, (struct log_aborted){b->producer_id, b->base_offset, -1});
    }
    return e;
}

bool compact_is_aborted(const struct log_compaction *c, const struct kafka_batch *b)
{
    return b->transactional && !b->control &&
           log_aborted_has(c->aborted.items, c->aborted.n, b->producer_id, b->base_offset);
}

bool compact_is_orphan(const struct log_compaction *c, int64_t offset)
{
    const struct compact_list *l = &c->orphans;
    uint32_t low = 0;
    uint32_t high = l->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (l->items[middle].marker_offset < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < l->n && l->items[low].marker_offset == offset;
}

/* Nothing behind `offset` can be told: compaction ends before it. */
static void limit_at(struct log_compaction *c, int64_t offset)
{
    c->limit_offset = offset < c->limit_offset ? offset : c->limit_offset;
}

/* Headers of all inputs, and of what comes behind them, in order. */
static enum err collect_transactions(struct log_compaction *c, struct err_detail *why)
{
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < c->n_all && e == ERR_OK; i++) {
        struct compact_reader r;
        struct kafka_batch b;
        struct str bytes;
        e = compact_reader_open(c, i, &r, why);
        while (e == ERR_OK && r.offset < c->limit_offset) {
            e = atomic_load(&c->canceled) ? ERR_CANCELED
                                          : compact_reader_next(&r, &b, &bytes, why);
            if (e != ERR_OK || bytes.len == 0) {
                break;
            }
            e = note_producer(c, &b, bytes);
            if (e == ERR_LIMIT) {
                limit_at(c, b.base_offset);
                e = ERR_OK;
            }
        }
        compact_reader_close(&r);
    }
    for (uint32_t i = 0; i < c->open.n; i++) {
        limit_at(c, c->open.items[i].first_offset);
    }
    log_aborted_sort(c->aborted.items, c->aborted.n);
    return e;
}

/* ---- keys ---- */

/* Puts the batch's keys into the map; *full when they do not all fit: then end_offset is where. */
static enum err collect_batch(struct log_compaction *c, const struct kafka_batch *b,
                              struct str bytes, bool *full)
{
    struct kafka_records it;
    struct kafka_record r;
    if (b->control || b->n_records == 0 || compact_is_aborted(c, b)) {
        return ERR_OK;
    }
    enum err e = kafka_records_open(&it, bytes, c->compress, &c->decoded, NULL);
    if (e != ERR_OK) {
        return e == ERR_NO_MEMORY ? e : ERR_OK; /* nobody can read it: it stays as it is */
    }
    while (kafka_records_next(&it, &r)) {
        if (r.key.ptr == NULL || r.offset < c->clean_offset) {
            continue;
        }
        e = key_map_put(&c->keys, r.key, r.offset);
        if (e == ERR_LIMIT) {
            c->end_offset = r.offset;
            *full = true;
            return ERR_OK;
        }
        TRY(e);
    }
    return ERR_OK;
}

static enum err collect_keys(struct log_compaction *c, struct err_detail *why)
{
    bool full = false;
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < c->n_inputs && e == ERR_OK && !full; i++) {
        struct compact_reader r;
        struct kafka_batch b;
        struct str bytes;
        if (c->inputs[i].end_offset <= c->clean_offset) {
            continue;
        }
        e = compact_reader_open(c, i, &r, why);
        while (e == ERR_OK && !full) {
            e = atomic_load(&c->canceled) ? ERR_CANCELED
                                          : compact_reader_next(&r, &b, &bytes, why);
            if (e != ERR_OK || bytes.len == 0) {
                break;
            }
            e = collect_batch(c, &b, bytes, &full);
        }
        compact_reader_close(&r);
    }
    return e;
}

enum err compact_collect(struct log_compaction *c, struct err_detail *why)
{
    TRY(collect_transactions(c, why));
    while (c->n_inputs > 0 && c->inputs[c->n_inputs - 1].end_offset > c->limit_offset) {
        c->n_inputs--;
    }
    c->end_offset = c->n_inputs > 0 ? c->inputs[c->n_inputs - 1].end_offset : c->clean_offset;
    if (c->end_offset <= c->clean_offset) {
        c->n_inputs = 0;
        c->end_offset = c->clean_offset;
        return ERR_OK;
    }
    TRY(collect_keys(c, why));
    while (c->n_inputs > 0 && c->inputs[c->n_inputs - 1].base_offset >= c->end_offset) {
        c->n_inputs--;
    }
    return ERR_OK;
}
