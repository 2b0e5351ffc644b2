/* The epoch record on disk, version 1, big-endian:
 *
 *   u8 version | u64 epoch | i64 wall_us
 *   u32 n | n x { u32 reader | i64 watermark_us | u32 m | m x i64 position }
 *   u32 n | n x { u32 view | u32 reader }
 *   u32 n | n x { u32 topic | u32 partition | i64 end }
 *
 * It is the value of a record in the topic sys.epochs. The last one that is whole counts. */
#include "base/bytes.h"
#include "engine/coordinator.h"

enum { RECORD_VERSION = 1, RECORD_ITEMS_MAX = 1 << 22 };

enum err epoch_record_encode(const struct epoch_record *r, struct buf *out)
{
    buf_put_u8(out, RECORD_VERSION);
    buf_put_be64(out, r->epoch);
    buf_put_be64(out, (uint64_t)r->wall_us);
    buf_put_be32(out, r->n_readers);
    for (uint32_t i = 0; i < r->n_readers; i++) {
        const struct record_reader *rr = &r->readers[i];
        buf_put_be32(out, rr->id);
        buf_put_be64(out, (uint64_t)rr->watermark_us);
        buf_put_be32(out, rr->n_parts);
        for (uint32_t p = 0; p < rr->n_parts; p++)
            buf_put_be64(out, (uint64_t)rr->positions[p]);
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
    return buf_err(out);
}

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
        rr->n_parts = take_count(c, 8);
        rr->positions = arena_zalloc(a, rr->n_parts + 1, sizeof(int64_t));
        if (rr->positions == NULL)
            return ERR_NO_MEMORY;
        for (uint32_t p = 0; p < rr->n_parts; p++)
            rr->positions[p] = (int64_t)take(c, 8);
    }
    return ERR_OK;
}

enum err epoch_record_decode(struct str bytes, struct arena *a, struct epoch_record *out)
{
    struct cursor c = {.at = bytes.ptr, .left = bytes.len};
    *out = (struct epoch_record){0};
    uint64_t version = take(&c, 1);
    if (version > RECORD_VERSION)
        return ERR_UNSUPPORTED;
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
    return c.bad || c.left != 0 || version == 0 ? ERR_CORRUPT : ERR_OK;
}
