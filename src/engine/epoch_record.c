/* The epoch record on disk, big-endian. Version 3:
 *
 *   u8 version | u8 kind (0 full, 1 delta) | i64 base (offset of the full record; full: -1)
 *   u64 epoch | i64 wall_us
 *   u32 n | n x { u32 reader | i64 watermark_us | u32 m | positions }
 *       positions of a full record: m x i64
 *       of a delta: u32 k | k x { u32 partition | i64 position }
 *   u32 n | n x { u32 view | u32 reader }
 *   u32 n | n x { u32 topic | u32 partition | i64 end }
 *   u32 n | n x { u32 view | u32 length | name of the error | u32 length | text }   (failed views)
 *
 * Version 2 has no failed views; version 1 is a full record, without kind, base and those. It is
 * the value of a record in the topic sys.epochs; the last one that is whole counts. */
#include "engine/epoch_record.h"

#include "base/bytes.h"
#include "engine/partition.h"

#include <stdlib.h>

enum { RECORD_VERSION = 3, RECORD_ITEMS_MAX = 1 << 22 };
enum { KIND_FULL, KIND_DELTA };

/* ---- writing ---- */

static void put_positions(struct buf *out, const struct record_reader *rr, bool delta)
{
    if (delta) {
        uint32_t n = 0;
        for (uint32_t p = 0; p < rr->n_parts; p++)
            n += rr->positions[p] != POSITION_UNCHANGED;
        buf_put_be32(out, n);
    }
    for (uint32_t p = 0; p < rr->n_parts; p++) {
        if (delta && rr->positions[p] == POSITION_UNCHANGED)
            continue;
        if (delta)
            buf_put_be32(out, p);
        buf_put_be64(out, (uint64_t)rr->positions[p]);
    }
}

static void put_text(struct buf *out, struct str text)
{
    buf_put_be32(out, (uint32_t)text.len);
    buf_put_str(out, text);
}

/* Errors by name: their numbers are this program's own. */
static void put_failures(struct buf *out, const struct epoch_record *r)
{
    buf_put_be32(out, r->n_failures);
    for (uint32_t i = 0; i < r->n_failures; i++) {
        const struct record_failure *f = &r->failures[i];
        buf_put_be32(out, f->view);
        put_text(out, str_of(err_info(f->err)->name));
        put_text(out, f->why);
    }
}

enum err epoch_record_encode(const struct epoch_record *r, struct buf *out)
{
    bool delta = r->base >= 0;
    buf_put_u8(out, RECORD_VERSION);
    buf_put_u8(out, delta ? KIND_DELTA : KIND_FULL);
    buf_put_be64(out, (uint64_t)r->base);
    buf_put_be64(out, r->epoch);
    buf_put_be64(out, (uint64_t)r->wall_us);
    buf_put_be32(out, r->n_readers);
    for (uint32_t i = 0; i < r->n_readers; i++) {
        const struct record_reader *rr = &r->readers[i];
        buf_put_be32(out, rr->id);
        buf_put_be64(out, (uint64_t)rr->watermark_us);
        buf_put_be32(out, rr->n_parts);
        put_positions(out, rr, delta);
    }
    buf_put_be32(out, r->n_views);
    for (uint32_t i = 0; i < r->n_views; i++) {
        buf_put_be32(out, r->views[i].view);
        buf_put_be32(out, r->views[i].reader);
    }
    buf_put_be32(out, r->n_outputs);
    for (uint32_t i = 0; i < r->n_outputs; i++) {
        buf_put_be32(out, r->outputs[i].topic_number);
        buf_put_be32(out, r->outputs[i].partition);
        buf_put_be64(out, (uint64_t)r->outputs[i].end);
    }
    put_failures(out, r);
    return buf_err(out);
}

/* ---- reading ---- */

/* What is left to decode; reading past the end sets `bad` and gives zeros. */
struct cursor {
    const char *at;
    size_t left;
    bool bad;
};

static uint64_t take(struct cursor *c, size_t n)
{
    if (c->bad || c->left < n) {
        c->bad = true;
        return 0;
    }
    uint64_t v = n == 8 ? be64_get(c->at) : n == 4 ? be32_get(c->at) : (uint8_t)c->at[0];
    c->at += n;
    c->left -= n;
    return v;
}

/* A count of items of at least `item_bytes` each that must still be there. */
static uint32_t take_count(struct cursor *c, size_t item_bytes)
{
    uint32_t n = (uint32_t)take(c, 4);
    if (n > RECORD_ITEMS_MAX || n * item_bytes > c->left)
        c->bad = true;
    return c->bad ? 0 : n;
}

static enum err decode_positions(struct cursor *c, struct arena *a, bool delta,
                                 struct record_reader *rr)
{
    if (delta) {
        rr->n_parts = (uint32_t)take(c, 4);
        c->bad |= rr->n_parts > PARTITIONS_MAX;
        rr->n_parts = c->bad ? 0 : rr->n_parts;
    } else {
        rr->n_parts = take_count(c, 8);
    }
    rr->positions = arena_zalloc(a, rr->n_parts + 1, sizeof(int64_t));
    if (rr->positions == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t p = 0; p < rr->n_parts; p++)
        rr->positions[p] = delta ? POSITION_UNCHANGED : (int64_t)take(c, 8);
    uint32_t n = delta ? take_count(c, 12) : 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t p = (uint32_t)take(c, 4);
        int64_t position = (int64_t)take(c, 8);
        if (p < rr->n_parts)
            rr->positions[p] = position;
        else
            c->bad = true;
    }
    return ERR_OK;
}

static enum err decode_readers(struct cursor *c, struct arena *a, struct epoch_record *out)
{
    out->n_readers = take_count(c, 16);
    out->readers = arena_zalloc(a, out->n_readers + 1, sizeof(*out->readers));
    if (out->readers == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < out->n_readers; i++) {
        struct record_reader *rr = &out->readers[i];
        rr->id = (uint32_t)take(c, 4);
        rr->watermark_us = (int64_t)take(c, 8);
        TRY(decode_positions(c, a, out->base >= 0, rr));
    }
    return ERR_OK;
}

static struct str take_text(struct cursor *c)
{
    size_t n = take_count(c, 1);
    struct str text = {c->at, n};
    c->at += n;
    c->left -= n;
    return text;
}

static enum err error_named(struct str name)
{
    for (int e = ERR_OK + 1; e < ERR_COUNT_; e++)
        if (str_eq(name, str_of(err_info((enum err)e)->name)))
            return (enum err)e;
    return ERR_INTERNAL;
}

/* Texts stay in the bytes. */
static enum err decode_failures(struct cursor *c, struct arena *a, struct epoch_record *out)
{
    out->n_failures = take_count(c, 12);
    out->failures = arena_zalloc(a, out->n_failures + 1, sizeof(*out->failures));
    if (out->failures == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < out->n_failures; i++) {
        struct record_failure *f = &out->failures[i];
        f->view = (uint32_t)take(c, 4);
        f->err = error_named(take_text(c));
        f->why = take_text(c);
    }
    return ERR_OK;
}

static void decode_head(struct cursor *c, uint64_t version, struct epoch_record *out)
{
    out->base = -1;
    if (version < 2)
        return;
    uint64_t kind = take(c, 1);
    out->base = (int64_t)take(c, 8);
    c->bad |= kind > KIND_DELTA || (kind == KIND_DELTA) != (out->base >= 0);
}

enum err epoch_record_decode(struct str bytes, struct arena *a, struct epoch_record *out)
{
    struct cursor c = {.at = bytes.ptr, .left = bytes.len};
    *out = (struct epoch_record){0};
    uint64_t version = take(&c, 1);
    if (version > RECORD_VERSION)
        return ERR_UNSUPPORTED;
    decode_head(&c, version, out);
    out->epoch = take(&c, 8);
    out->wall_us = (int64_t)take(&c, 8);
    TRY(decode_readers(&c, a, out));
    out->n_views = take_count(&c, 8);
    out->views = arena_zalloc(a, out->n_views + 1, sizeof(*out->views));
    if (out->views == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < out->n_views; i++) {
        out->views[i].view = (uint32_t)take(&c, 4);
        out->views[i].reader = (uint32_t)take(&c, 4);
    }
    out->n_outputs = take_count(&c, 16);
    out->outputs = arena_zalloc(a, out->n_outputs + 1, sizeof(*out->outputs));
    if (out->outputs == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < out->n_outputs; i++) {
        out->outputs[i].topic_number = (uint32_t)take(&c, 4);
        out->outputs[i].partition = (uint32_t)take(&c, 4);
        out->outputs[i].end = (int64_t)take(&c, 8);
    }
    if (version >= 3)
        TRY(decode_failures(&c, a, out));
    return c.bad || c.left != 0 || version == 0 ? ERR_CORRUPT : ERR_OK;
}

/* ---- adding up ---- */

void record_sum_init(struct record_sum *s, struct arena *a)
{
    *s = (struct record_sum){.arena = a};
}

void record_sum_deinit(struct record_sum *s)
{
    map_deinit(&s->readers);
    map_deinit(&s->views);
    map_deinit(&s->outputs);
    map_deinit(&s->failures);
}

static enum err sum_reader(struct record_sum *s, const struct record_reader *rr)
{
    struct record_reader *to = map_get(&s->readers, rr->id);
    if (to == NULL || to->n_parts < rr->n_parts) {
        struct record_reader *made = arena_zalloc(s->arena, 1, sizeof(*made));
        int64_t *positions = arena_zalloc(s->arena, rr->n_parts + 1, sizeof(int64_t));
        if (made == NULL || positions == NULL)
            return ERR_NO_MEMORY;
        if (to != NULL)
            memcpy(positions, to->positions, to->n_parts * sizeof(int64_t));
        *made = (struct record_reader){
            .id = rr->id, .n_parts = rr->n_parts, .positions = positions};
        TRY(map_put(&s->readers, rr->id, made));
        to = made;
    }
    to->watermark_us = rr->watermark_us;
    for (uint32_t p = 0; p < rr->n_parts; p++)
        if (rr->positions[p] != POSITION_UNCHANGED)
            to->positions[p] = rr->positions[p];
    return ERR_OK;
}

/* The entry of `key`, made with `size` bytes when missing. */
static void *sum_entry(struct record_sum *s, struct map *m, uint64_t key, size_t size)
{
    void *entry = map_get(m, key);
    if (entry != NULL)
        return entry;
    entry = arena_zalloc(s->arena, 1, size);
    return entry != NULL && map_put(m, key, entry) == ERR_OK ? entry : NULL;
}

enum err record_sum_add(struct record_sum *s, const struct epoch_record *r)
{
    if ((s->records++ == 0) != (r->base < 0))
        return ERR_CORRUPT;
    s->epoch = r->epoch;
    s->wall_us = r->wall_us;
    for (uint32_t i = 0; i < r->n_readers; i++)
        TRY(sum_reader(s, &r->readers[i]));
    for (uint32_t i = 0; i < r->n_views; i++) {
        struct record_view *v = sum_entry(s, &s->views, r->views[i].view, sizeof(*v));
        if (v == NULL)
            return ERR_NO_MEMORY;
        *v = r->views[i];
    }
    for (uint32_t i = 0; i < r->n_outputs; i++) {
        const struct output_end *from = &r->outputs[i];
        struct output_end *o = sum_entry(
            s, &s->outputs, part_key(from->topic_number, from->partition), sizeof(*o));
        if (o == NULL)
            return ERR_NO_MEMORY;
        *o = *from;
    }
    for (uint32_t i = 0; i < r->n_failures; i++) {
        struct record_failure *f = sum_entry(s, &s->failures, r->failures[i].view, sizeof(*f));
        if (f == NULL)
            return ERR_NO_MEMORY;
        *f = r->failures[i];
        f->why = arena_str(s->arena, f->why);
        if (f->why.ptr == NULL)
            return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

static int compare_keys(uint64_t x, uint64_t y)
{
    return x < y ? -1 : x > y;
}

static int compare_readers(const void *a, const void *b)
{
    const struct record_reader *x = a, *y = b;
    return compare_keys(x->id, y->id);
}

static int compare_views(const void *a, const void *b)
{
    const struct record_view *x = a, *y = b;
    return compare_keys(x->view, y->view);
}

static int compare_outputs(const void *a, const void *b)
{
    const struct output_end *x = a, *y = b;
    return compare_keys(part_key(x->topic_number, x->partition),
                        part_key(y->topic_number, y->partition));
}

static int compare_failures(const void *a, const void *b)
{
    const struct record_failure *x = a, *y = b;
    return compare_keys(x->view, y->view);
}

enum err record_sum_take(struct record_sum *s, struct epoch_record *out)
{
    struct arena *a = s->arena;
    *out = (struct epoch_record){.epoch = s->epoch, .wall_us = s->wall_us, .base = -1};
    out->readers = arena_zalloc(a, s->readers.count + 1, sizeof(*out->readers));
    out->views = arena_zalloc(a, s->views.count + 1, sizeof(*out->views));
    out->outputs = arena_zalloc(a, s->outputs.count + 1, sizeof(*out->outputs));
    out->failures = arena_zalloc(a, s->failures.count + 1, sizeof(*out->failures));
    if (out->readers == NULL || out->views == NULL || out->outputs == NULL || out->failures == NULL)
        return ERR_NO_MEMORY;
    const struct record_reader *rr;
    for (size_t at = 0; (rr = map_next(&s->readers, &at)) != NULL;)
        out->readers[out->n_readers++] = *rr;
    const struct record_view *v;
    for (size_t at = 0; (v = map_next(&s->views, &at)) != NULL;)
        out->views[out->n_views++] = *v;
    const struct output_end *o;
    for (size_t at = 0; (o = map_next(&s->outputs, &at)) != NULL;)
        out->outputs[out->n_outputs++] = *o;
    const struct record_failure *f;
    for (size_t at = 0; (f = map_next(&s->failures, &at)) != NULL;)
        out->failures[out->n_failures++] = *f;
    qsort(out->failures, out->n_failures, sizeof(*out->failures), compare_failures);
    qsort(out->readers, out->n_readers, sizeof(*out->readers), compare_readers);
    qsort(out->views, out->n_views, sizeof(*out->views), compare_views);
    qsort(out->outputs, out->n_outputs, sizeof(*out->outputs), compare_outputs);
    return ERR_OK;
}

/* ---- look-ups ---- */

const struct record_reader *record_reader_find(const struct epoch_record *record, uint32_t id)
{
    const struct record_reader key = {.id = id};
    return record == NULL || record->n_readers == 0
               ? NULL
               : bsearch(&key, record->readers, record->n_readers, sizeof(key), compare_readers);
}

uint32_t record_view_reader(const struct epoch_record *record, uint32_t view)
{
    const struct record_view key = {.view = view};
    const struct record_view *found =
        record == NULL || record->n_views == 0
            ? NULL
            : bsearch(&key, record->views, record->n_views, sizeof(key), compare_views);
    return found == NULL ? view : found->reader;
}

enum err record_view_part(struct epoch_record *record, struct arena *a, uint32_t own)
{
    const struct record_reader *at = record_reader_find(record, record_view_reader(record, own));
    if (at == NULL || at->id == own)
        return ERR_OK;
    struct record_reader *readers = arena_alloc(a, (record->n_readers + 1) * sizeof(*readers));
    if (readers == NULL)
        return ERR_NO_MEMORY;
    uint32_t n = 0;
    for (uint32_t i = 0; i < record->n_readers; i++)
        if (record->readers[i].id != own) /* one that it had before it joined */
            readers[n++] = record->readers[i];
    readers[n] = *at;
    readers[n++].id = own;
    qsort(readers, n, sizeof(*readers), compare_readers);
    record->readers = readers;
    record->n_readers = n;
    for (uint32_t i = 0; i < record->n_views; i++)
        if (record->views[i].view == own)
            record->views[i].reader = own;
    return ERR_OK;
}

const struct record_failure *record_failure_find(const struct epoch_record *record, uint32_t view)
{
    const struct record_failure key = {.view = view};
    return record == NULL || record->n_failures == 0
               ? NULL
               : bsearch(&key, record->failures, record->n_failures, sizeof(key),
                         compare_failures);
}

int64_t record_output_end(const struct epoch_record *record, uint32_t topic_number,
                          uint32_t partition)
{
    const struct output_end key = {.topic_number = topic_number, .partition = partition};
    const struct output_end *found =
        record == NULL || record->n_outputs == 0
            ? NULL
            : bsearch(&key, record->outputs, record->n_outputs, sizeof(key), compare_outputs);
    return found == NULL ? 0 : found->end;
}
