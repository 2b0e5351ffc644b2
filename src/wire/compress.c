/* Kafka's compression codecs. Every decoder writes into out's own memory, which grows in steps up
 * to out->max and is never more than that; what a header claims about sizes is only a hint. */
#include "wire/compress.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"

#define ZLIB_CONST
#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum {
    GUESSED_RATIO = 4, /* first guess of output bytes per input byte */
    GROW_BYTES_MIN = 16 << 10,
    GZIP_WINDOW_BITS = 15 + 16, /* the largest window, gzip header and trailer */
    GZIP_MEM_LEVEL = 8,
    GZIP_LEVEL = 4, /* near the best speed for its ratio */
    ZSTD_LEVEL = 3,
    ZSTD_FIRST_BYTES = 5, /* what the first call of a frame is given: it asks for the rest */
    XERIAL_HEADER_BYTES = 16,
    XERIAL_BLOCK_BYTES = 32 << 10,
};
static const char xerial_magic[8] = {(char)0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};

struct compress {
    z_stream inflate, deflate;
    bool inflate_ready, deflate_ready;
    LZ4F_dctx *lz4_in;
    LZ4F_cctx *lz4_out;
    ZSTD_DCtx *zstd_in;
    ZSTD_CCtx *zstd_out;
    size_t zstd_next; /* bytes of input up to the end of the next block's */
    /* What is being decoded. */
    struct str in;
    uint32_t codec;
    bool begun;   /* the first step was made */
    size_t taken; /* of in */
    size_t from;  /* out->len before the first step */
};

struct compress *compress_new(void)
{
    return mem_zalloc(1, sizeof(struct compress));
}

void compress_free(struct compress *c)
{
    if (c == NULL) {
        return;
    }
    if (c->inflate_ready) {
        (void)inflateEnd(&c->inflate);
    }
    if (c->deflate_ready) {
        (void)deflateEnd(&c->deflate);
    }
    (void)LZ4F_freeDecompressionContext(c->lz4_in);
    (void)LZ4F_freeCompressionContext(c->lz4_out);
    (void)ZSTD_freeDCtx(c->zstd_in);
    (void)ZSTD_freeCCtx(c->zstd_out);
    mem_free(c);
}

const char *compress_codec_name(uint32_t codec)
{
    static const char *const names[COMPRESS_CODECS] = {"none", "gzip", "snappy", "lz4", "zstd"};
    return codec < COMPRESS_CODECS ? names[codec] : "unknown";
}

static enum err damaged(struct err_detail *why, uint32_t codec, const char *what)
{
    return err_set(why, ERR_MALFORMED, "%s data is damaged: %s", compress_codec_name(codec), what);
}

/* Makes room for `more` bytes behind out->len. */
static enum err room(struct buf *out, size_t more, struct err_detail *why)
{
    if (out->len > out->max || more > out->max - out->len) {
        return err_set(why, ERR_TOO_LARGE, "more than the %zu bytes allowed", out->max);
    }
    bool failed = out->failed;
    out->failed = false;
    char *p = buf_reserve(out, more);
    out->failed = failed;
    return p != NULL ? ERR_OK : err_set(why, ERR_NO_MEMORY, "out of memory for %zu bytes", more);
}

/* Bytes to decode into: what the buffer has already, or a first guess. ERR_TOO_LARGE when not even
 * one byte fits. */
static enum err room_first(struct buf *out, size_t n_in, struct err_detail *why)
{
    size_t left = out->max > out->len ? out->max - out->len : 0;
    size_t guess = n_in < SIZE_MAX / GUESSED_RATIO ? n_in * GUESSED_RATIO : n_in;
    if (guess < GROW_BYTES_MIN) {
        guess = GROW_BYTES_MIN;
    }
    return room(out, left == 0 ? 1 : guess < left ? guess : left, why);
}

/* At least one byte more behind what was decoded so far: doubles. */
static enum err room_grow(const struct compress *c, struct buf *out, struct err_detail *why)
{
    size_t left = out->max - out->len;
    size_t more = out->len - c->from;
    if (more < GROW_BYTES_MIN) {
        more = GROW_BYTES_MIN;
    }
    return room(out, left == 0 ? 1 : more < left ? more : left, why);
}

/* How much of the output's room a step may use. */
static size_t step_out(const struct buf *out, size_t budget)
{
    size_t left = out->cap - out->len;
    return left < budget ? left : budget;
}

/* And how much of the input. */
static size_t step_in(const struct compress *c, size_t budget)
{
    size_t left = c->in.len - c->taken, most = budget / COMPRESS_IN_COST + 1;
    return left < most ? left : most;
}

static void spend(size_t *budget, size_t n_in, size_t n_out)
{
    size_t cost = n_in < SIZE_MAX / COMPRESS_IN_COST ? COMPRESS_IN_COST * n_in : SIZE_MAX;
    cost = n_out > cost ? n_out : cost;
    *budget -= cost < *budget ? cost : *budget;
}

/* ---- gzip ---- */

static voidpf zlib_alloc(voidpf opaque, uInt items, uInt size)
{
    (void)opaque;
    return mem_zalloc(items, size);
}

static void zlib_free(voidpf opaque, voidpf p)
{
    (void)opaque;
    mem_free(p);
}

static enum err inflate_begin(struct compress *c, struct err_detail *why)
{
    if (c->inflate_ready) {
        (void)inflateReset(&c->inflate);
        return ERR_OK;
    }
    c->inflate = (z_stream){.zalloc = zlib_alloc, .zfree = zlib_free};
    if (inflateInit2(&c->inflate, GZIP_WINDOW_BITS) != Z_OK) {
        return err_set(why, ERR_NO_MEMORY, "out of memory for gzip");
    }
    c->inflate_ready = true;
    return ERR_OK;
}

static uInt zlib_len(size_t n)
{
    return n < UINT32_MAX / 2 ? (uInt)n : UINT32_MAX / 2;
}

static enum err gzip_step(struct compress *c, struct buf *out, size_t *budget, bool *done,
                          struct err_detail *why)
{
    z_stream *z = &c->inflate;
    if (!c->begun) {
        TRY(inflate_begin(c, why));
        TRY(room_first(out, c->in.len, why));
    }
    while (*budget > 0) {
        if (out->len == out->cap) {
            TRY(room_grow(c, out, why));
        }
        uInt n_in = zlib_len(step_in(c, *budget));
        uInt n_out = zlib_len(step_out(out, *budget));
        z->next_in = (const Bytef *)c->in.ptr + c->taken;
        z->avail_in = n_in;
        z->next_out = (Bytef *)out->ptr + out->len;
        z->avail_out = n_out;
        int result = inflate(z, Z_NO_FLUSH);
        spend(budget, n_in - z->avail_in, n_out - z->avail_out);
        c->taken += n_in - z->avail_in;
        out->len += n_out - z->avail_out;
        if (result == Z_STREAM_END) {
            if (c->taken == c->in.len) {
                *done = true;
                return ERR_OK;
            }
            (void)inflateReset(z); /* another member follows */
        } else if (result == Z_MEM_ERROR) {
            return err_set(why, ERR_NO_MEMORY, "out of memory for gzip");
        } else if (result != Z_OK && result != Z_BUF_ERROR) {
            return damaged(why, COMPRESS_GZIP, z->msg != NULL ? z->msg : "not a gzip stream");
        } else if (z->avail_out != 0 && c->taken == c->in.len) {
            return damaged(why, COMPRESS_GZIP, "it ends early");
        }
    }
    return ERR_OK;
}

static enum err gzip_encode(struct compress *c, struct str in, struct buf *out,
                            struct err_detail *why)
{
    z_stream *z = &c->deflate;
    if (c->deflate_ready) {
        (void)deflateReset(z);
    } else {
        *z = (z_stream){.zalloc = zlib_alloc, .zfree = zlib_free};
        if (deflateInit2(z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW_BITS, GZIP_MEM_LEVEL,
                         Z_DEFAULT_STRATEGY) != Z_OK) {
            return err_set(why, ERR_NO_MEMORY, "out of memory for gzip");
        }
        c->deflate_ready = true;
    }
    if (in.len > UINT32_MAX / 2) {
        return err_set(why, ERR_TOO_LARGE, "%zu bytes are too many for one gzip block", in.len);
    }
    size_t bound = deflateBound(z, in.len);
    TRY(room(out, bound, why));
    z->next_in = (const Bytef *)in.ptr;
    z->avail_in = (uInt)in.len;
    z->next_out = (Bytef *)out->ptr + out->len;
    z->avail_out = (uInt)bound;
    CHECK(deflate(z, Z_FINISH) == Z_STREAM_END);
    out->len += bound - z->avail_out;
    return ERR_OK;
}

/* ---- snappy ---- */

static enum err snappy_block_decode(struct str in, struct buf *out, struct err_detail *why)
{
    size_t n = 0;
    if (snappy_uncompressed_length(in.ptr, in.len, &n) != SNAPPY_OK) {
        return damaged(why, COMPRESS_SNAPPY, "no valid length");
    }
    /* A copy of at most 64 bytes takes 3 bytes of input: a longer claim is a lie, not worth its
     * memory. */
    if (n / 32 > in.len) {
        return damaged(why, COMPRESS_SNAPPY, "the length is more than the data can hold");
    }
    TRY(room(out, n, why));
    if (snappy_uncompress(in.ptr, in.len, out->ptr + out->len, &n) != SNAPPY_OK) {
        return damaged(why, COMPRESS_SNAPPY, "a block does not decode");
    }
    out->len += n;
    return ERR_OK;
}

static enum err snappy_step(struct compress *c, struct buf *out, size_t *budget, bool *done,
                            struct err_detail *why)
{
    struct str in = c->in;
    *done = true;
    if (in.len < XERIAL_HEADER_BYTES || memcmp(in.ptr, xerial_magic, sizeof xerial_magic) != 0) {
        size_t raw_before = out->len;
        TRY(snappy_block_decode(in, out, why));
        spend(budget, in.len, out->len - raw_before);
        return ERR_OK;
    }
    if (!c->begun) {
        c->taken = XERIAL_HEADER_BYTES;
    }
    while (c->taken<in.len && * budget> 0) {
        size_t before = out->len;
        if (in.len - c->taken < 4) {
            return damaged(why, COMPRESS_SNAPPY, "it ends inside a block's length");
        }
        size_t n = be32_get(in.ptr + c->taken);
        c->taken += 4;
        if (n > in.len - c->taken) {
            return damaged(why, COMPRESS_SNAPPY, "it ends inside a block");
        }
        TRY(snappy_block_decode((struct str){in.ptr + c->taken, n}, out, why));
        c->taken += n;
        spend(budget, n + 4, out->len - before);
    }
    *done = c->taken == in.len;
    return ERR_OK;
}

static enum err snappy_encode(struct str in, struct buf *out, struct err_detail *why)
{
    static const char versions[8] = {0, 0, 0, 1, 0, 0, 0, 1};
    TRY(room(out, XERIAL_HEADER_BYTES, why));
    buf_put(out, xerial_magic, sizeof xerial_magic);
    buf_put(out, versions, sizeof versions);
    for (size_t at = 0; at < in.len; at += XERIAL_BLOCK_BYTES) {
        size_t n = in.len - at < XERIAL_BLOCK_BYTES ? in.len - at : XERIAL_BLOCK_BYTES;
        size_t bound = snappy_max_compressed_length(n);
        TRY(room(out, bound + 4, why));
        char *p = out->ptr + out->len;
        CHECK(snappy_compress(in.ptr + at, n, p + 4, &bound) == SNAPPY_OK);
        be32_put(p, (uint32_t)bound);
        out->len += bound + 4;
    }
    return ERR_OK;
}

/* ---- lz4 ---- */

static enum err lz4_begin(struct compress *c, struct err_detail *why)
{
    if (c->lz4_in == NULL &&
        LZ4F_isError(LZ4F_createDecompressionContext(&c->lz4_in, LZ4F_VERSION))) {
        c->lz4_in = NULL;
        return err_set(why, ERR_NO_MEMORY, "out of memory for lz4");
    }
    LZ4F_resetDecompressionContext(c->lz4_in);
    return ERR_OK;
}

static enum err lz4_step(struct compress *c, struct buf *out, size_t *budget, bool *done,
                         struct err_detail *why)
{
    if (!c->begun) {
        TRY(lz4_begin(c, why));
        TRY(room_first(out, c->in.len, why));
    }
    while (*budget > 0) {
        if (out->len == out->cap) {
            TRY(room_grow(c, out, why));
        }
        size_t n_out = step_out(out, *budget);
        size_t n_in = step_in(c, *budget);
        size_t room_before = n_out;
        size_t more = LZ4F_decompress(c->lz4_in, out->ptr + out->len, &n_out, c->in.ptr + c->taken,
                                      &n_in, NULL);
        if (LZ4F_isError(more)) {
            return damaged(why, COMPRESS_LZ4, LZ4F_getErrorName(more));
        }
        spend(budget, n_in, n_out);
        c->taken += n_in;
        out->len += n_out;
        if (more == 0 && c->taken == c->in.len) {
            *done = true;
            return ERR_OK;
        }
        if (more != 0 && c->taken == c->in.len && n_out < room_before) {
            return damaged(why, COMPRESS_LZ4, "it ends early");
        }
    }
    return ERR_OK;
}

static enum err lz4_encode(struct compress *c, struct str in, struct buf *out,
                           struct err_detail *why)
{
    if (c->lz4_out == NULL &&
        LZ4F_isError(LZ4F_createCompressionContext(&c->lz4_out, LZ4F_VERSION))) {
        c->lz4_out = NULL;
        return err_set(why, ERR_NO_MEMORY, "out of memory for lz4");
    }
    LZ4F_preferences_t preferences = {
        .frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent}};
    TRY(room(out, LZ4F_compressFrameBound(in.len, &preferences), why));
    char *p = out->ptr + out->len;
    size_t left = out->cap - out->len;
    size_t n = LZ4F_compressBegin(c->lz4_out, p, left, &preferences);
    size_t total = n;
    if (!LZ4F_isError(n)) {
        n = LZ4F_compressUpdate(c->lz4_out, p + total, left - total, in.ptr, in.len, NULL);
        total += n;
    }
    if (!LZ4F_isError(n)) {
        n = LZ4F_compressEnd(c->lz4_out, p + total, left - total, NULL);
        total += n;
    }
    if (LZ4F_isError(n)) {
        return err_set(why, ERR_NO_MEMORY, "lz4 failed: %s", LZ4F_getErrorName(n));
    }
    out->len += total;
    return ERR_OK;
}

/* ---- zstd ---- */

/* The output serves as the window, so that what the frame asks for costs nothing: zstd is told that
 * it stays where it is. When it was too small, all begins again with twice the room. */
static enum err zstd_begin(struct compress *c, struct err_detail *why)
{
    enum { WINDOW_LOG_MAX = 31, OUT_BUFFER_STABLE = 1 };
    if (c->zstd_in != NULL) {
        (void)ZSTD_DCtx_reset(c->zstd_in, ZSTD_reset_session_only);
        return ERR_OK;
    }
    if ((c->zstd_in = ZSTD_createDCtx()) == NULL) {
        return err_set(why, ERR_NO_MEMORY, "out of memory for zstd");
    }
    CHECK(!ZSTD_isError(ZSTD_DCtx_setParameter(c->zstd_in, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)) &&
          !ZSTD_isError(
              ZSTD_DCtx_setParameter(c->zstd_in, ZSTD_d_experimentalParam2, OUT_BUFFER_STABLE)));
    return ERR_OK;
}

static enum err zstd_first(struct compress *c, struct buf *out, struct err_detail *why)
{
    unsigned long long size = ZSTD_getFrameContentSize(c->in.ptr, c->in.len);
    if (size == ZSTD_CONTENTSIZE_ERROR) {
        return damaged(why, COMPRESS_ZSTD, "no valid frame header");
    }
    TRY(zstd_begin(c, why));
    TRY(room_first(out, c->in.len, why));
    if (size != ZSTD_CONTENTSIZE_UNKNOWN && size > out->max - out->len) {
        return err_set(why, ERR_TOO_LARGE, "more than the %zu bytes allowed", out->max);
    }
    c->zstd_next = ZSTD_FIRST_BYTES;
    return ERR_OK;
}

/* From the start, with more room. */
static enum err zstd_again(struct compress *c, struct buf *out, struct err_detail *why)
{
    size_t left = out->cap - c->from, most = out->max - c->from;
    out->len = c->from;
    c->taken = 0;
    c->zstd_next = ZSTD_FIRST_BYTES;
    TRY(zstd_begin(c, why));
    return room(out, left < most / 2 ? 2 * left : left < most ? most : most + 1, why);
}

static enum err zstd_step(struct compress *c, struct buf *out, size_t *budget, bool *done,
                          struct err_detail *why)
{
    if (!c->begun) {
        TRY(zstd_first(c, out, why));
    }
    while (*budget > 0) {
        size_t n = c->in.len - c->taken;
        ZSTD_inBuffer in = {c->in.ptr + c->taken, n < c->zstd_next ? n : c->zstd_next, 0};
        ZSTD_outBuffer to = {out->ptr + c->from, out->cap - c->from, out->len - c->from};
        size_t next = ZSTD_decompressStream(c->zstd_in, &to, &in);
        if (ZSTD_isError(next)) {
            if (ZSTD_getErrorCode(next) != ZSTD_error_dstSize_tooSmall) {
                return damaged(why, COMPRESS_ZSTD, ZSTD_getErrorName(next));
            }
            TRY(zstd_again(c, out, why));
            continue;
        }
        spend(budget, in.pos, c->from + to.pos - out->len);
        c->taken += in.pos;
        out->len = c->from + to.pos;
        c->zstd_next = next != 0 ? next : ZSTD_FIRST_BYTES; /* or another frame follows */
        if (c->taken == c->in.len) {
            *done = next == 0;
            return next == 0 ? ERR_OK : damaged(why, COMPRESS_ZSTD, "it ends early");
        }
    }
    return ERR_OK;
}

static enum err zstd_encode(struct compress *c, struct str in, struct buf *out,
                            struct err_detail *why)
{
    if (c->zstd_out == NULL && (c->zstd_out = ZSTD_createCCtx()) == NULL) {
        return err_set(why, ERR_NO_MEMORY, "out of memory for zstd");
    }
    TRY(room(out, ZSTD_compressBound(in.len), why));
    size_t n = ZSTD_compressCCtx(c->zstd_out, out->ptr + out->len, out->cap - out->len, in.ptr,
                                 in.len, ZSTD_LEVEL);
    if (ZSTD_isError(n)) {
        return err_set(why, ERR_NO_MEMORY, "zstd failed: %s", ZSTD_getErrorName(n));
    }
    out->len += n;
    return ERR_OK;
}

/* ---- any ---- */

static enum err copy(struct str in, struct buf *out, struct err_detail *why)
{
    TRY(room(out, in.len, why));
    buf_put(out, in.ptr, in.len);
    return ERR_OK;
}

void compress_decode_begin(struct compress *c, uint32_t codec, struct str in)
{
    c->in = in;
    c->codec = codec;
    c->begun = false;
    c->taken = 0;
}

static enum err decode_step(struct compress *c, struct buf *out, size_t *budget, bool *done,
                            struct err_detail *why)
{
    switch (c->codec) {
    case COMPRESS_NONE:
        *done = true;
        spend(budget, 0, c->in.len);
        return copy(c->in, out, why);
    case COMPRESS_GZIP:
        return gzip_step(c, out, budget, done, why);
    case COMPRESS_SNAPPY:
        return snappy_step(c, out, budget, done, why);
    case COMPRESS_LZ4:
        return lz4_step(c, out, budget, done, why);
    case COMPRESS_ZSTD:
        return zstd_step(c, out, budget, done, why);
    default:
        return err_set(why, ERR_UNSUPPORTED, "unknown compression codec %u", c->codec);
    }
}

enum err compress_decode_step(struct compress *c, struct buf *out, size_t *budget, bool *done,
                              struct err_detail *why)
{
    *done = false;
    if (c->codec != COMPRESS_NONE && c->codec < COMPRESS_CODECS && c->in.len == 0) {
        *budget = 0;
        return damaged(why, c->codec, "it is empty");
    }
    if (!c->begun) {
        c->from = out->len;
    }
    enum err result = decode_step(c, out, budget, done, why);
    c->begun = true;
    if (result != ERR_OK) {
        out->len = c->from;
        *budget = 0; /* how much there was before the damage is not known */
    }
    return result;
}

enum err compress_decode(struct compress *c, uint32_t codec, struct str in, struct buf *out,
                         struct err_detail *why)
{
    bool done = false;
    enum err result = ERR_OK;
    compress_decode_begin(c, codec, in);
    while (result == ERR_OK && !done) {
        size_t budget = SIZE_MAX;
        result = compress_decode_step(c, out, &budget, &done, why);
    }
    return result;
}

enum err compress_encode(struct compress *c, uint32_t codec, struct str in, struct buf *out,
                         struct err_detail *why)
{
    size_t len = out->len;
    enum err result = ERR_OK;
    switch (codec) {
    case COMPRESS_NONE:
        result = copy(in, out, why);
        break;
    case COMPRESS_GZIP:
        result = gzip_encode(c, in, out, why);
        break;
    case COMPRESS_SNAPPY:
        result = snappy_encode(in, out, why);
        break;
    case COMPRESS_LZ4:
        result = lz4_encode(c, in, out, why);
        break;
    case COMPRESS_ZSTD:
        result = zstd_encode(c, in, out, why);
        break;
    default:
        result = err_set(why, ERR_UNSUPPORTED, "unknown compression codec %u", codec);
    }
    if (result != ERR_OK) {
        out->len = len;
    }
    return result;
}
