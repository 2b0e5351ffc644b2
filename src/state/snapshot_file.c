#include "state/snapshot_file.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <stdio.h>

/* ---- writing ---- */

size_t snapshot_frame_begin(struct buf *out, enum snapshot_frame kind)
{
    size_t at = out->len;
    char head[SNAPSHOT_FRAME_HEAD] = {0};
    le32_put(head + 4, (uint32_t)kind);
    buf_put(out, head, sizeof(head));
    return at;
}

void snapshot_frame_end(struct buf *out, size_t at)
{
    if (out->failed)
        return;
    char *frame = out->ptr + at;
    size_t len = out->len - at;
    le64_put(frame + 8, len - SNAPSHOT_FRAME_HEAD);
    le32_put(frame, crc32c(0, frame + 4, len - 4));
}

void snapshot_sum_add(struct snapshot_sum *s, struct str bytes)
{
    while (bytes.len >= SNAPSHOT_FRAME_HEAD) {
        size_t len = SNAPSHOT_FRAME_HEAD + le64_get(bytes.ptr + 8);
        s->frames++;
        s->crc = crc32c(s->crc, bytes.ptr, sizeof(uint32_t));
        bytes = (struct str){bytes.ptr + len, bytes.len - len};
    }
}

void snapshot_end_put(struct buf *out, const struct snapshot_sum *s)
{
    size_t at = snapshot_frame_begin(out, SNAPSHOT_END);
    snapshot_put_u64(out, s->frames);
    snapshot_put_u32(out, s->crc);
    snapshot_frame_end(out, at);
}

/* ---- reading ---- */

enum err snapshot_reader_open(struct snapshot_reader *r, struct host *h, const char *path,
                              struct err_detail *why)
{
    *r = (struct snapshot_reader){0};
    buf_init(&r->payload, SNAPSHOT_FRAME_BYTES_MAX);
    snprintf(r->path, sizeof(r->path), "%s", path);
    TRY(host_file_open(h, path, HOST_OPEN_READ, &r->file, why));
    enum err e = host_file_size(r->file, &r->size);
    if (e != ERR_OK)
        snapshot_reader_close(r);
    return e == ERR_OK ? ERR_OK : err_set(why, e, "the size of %s cannot be read", path);
}

void snapshot_reader_close(struct snapshot_reader *r)
{
    host_file_close(r->file);
    r->file = NULL;
    buf_deinit(&r->payload);
}

static enum err damaged(const struct snapshot_reader *r, const char *what, struct err_detail *why)
{
    return err_set(why, ERR_CORRUPT, "%s is damaged at byte %llu: %s", r->path,
                   (unsigned long long)r->at, what);
}

static enum err end_check(const struct snapshot_reader *r, struct str payload,
                          struct err_detail *why)
{
    struct snapshot_cursor c = {.left = payload};
    uint64_t frames = snapshot_u64(&c);
    uint32_t crc = snapshot_u32(&c);
    if (c.failed || c.left.len > 0 || frames != r->sum.frames || crc != r->sum.crc)
        return damaged(r, "frames are missing before its end", why);
    return r->at == r->size ? ERR_OK : damaged(r, "there are bytes behind its end", why);
}

enum err snapshot_reader_next(struct snapshot_reader *r, enum snapshot_frame *kind,
                              struct str *payload, struct err_detail *why)
{
    char head[SNAPSHOT_FRAME_HEAD];
    if (r->size - r->at < sizeof(head))
        return damaged(r, "it ends too early", why);
    enum err e = host_file_read(r->file, r->at, head, sizeof(head));
    uint64_t len = e == ERR_OK ? le64_get(head + 8) : 0;
    if (e == ERR_OK && (len > SNAPSHOT_FRAME_BYTES_MAX || len > r->size - r->at - sizeof(head)))
        return damaged(r, "a frame is longer than the file", why);
    buf_clear(&r->payload);
    char *to = e == ERR_OK ? buf_reserve(&r->payload, len + 1) : NULL;
    if (e == ERR_OK && to == NULL)
        return ERR_NO_MEMORY;
    if (e == ERR_OK && len > 0)
        e = host_file_read(r->file, r->at + sizeof(head), to, len);
    if (e != ERR_OK)
        return err_set(why, e, "%s cannot be read at byte %llu", r->path,
                       (unsigned long long)r->at);
    uint32_t crc = crc32c(0, head + 4, sizeof(head) - 4);
    if (crc32c(crc, to, len) != le32_get(head))
        return damaged(r, "a checksum does not match", why);
    *kind = (enum snapshot_frame)le32_get(head + 4);
    *payload = (struct str){to, len};
    r->at += sizeof(head) + len;
    if (*kind == SNAPSHOT_END)
        return end_check(r, *payload, why);
    r->sum.frames++;
    r->sum.crc = crc32c(r->sum.crc, head, sizeof(uint32_t));
    return ERR_OK;
}

/* ---- payloads ---- */

struct str snapshot_bytes(struct snapshot_cursor *c, size_t n)
{
    if (c->failed || c->left.len < n) {
        c->failed = true;
        return (struct str){0};
    }
    struct str s = {c->left.ptr, n};
    c->left = (struct str){c->left.ptr + n, c->left.len - n};
    return s;
}

uint8_t snapshot_u8(struct snapshot_cursor *c)
{
    struct str s = snapshot_bytes(c, 1);
    return s.ptr == NULL ? 0 : (uint8_t)s.ptr[0];
}

uint32_t snapshot_u32(struct snapshot_cursor *c)
{
    struct str s = snapshot_bytes(c, sizeof(uint32_t));
    return s.ptr == NULL ? 0 : le32_get(s.ptr);
}

uint64_t snapshot_u64(struct snapshot_cursor *c)
{
    struct str s = snapshot_bytes(c, sizeof(uint64_t));
    return s.ptr == NULL ? 0 : le64_get(s.ptr);
}

int64_t snapshot_i64(struct snapshot_cursor *c)
{
    return (int64_t)snapshot_u64(c);
}
