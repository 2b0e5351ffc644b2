/* Kafka's compression codecs over whole buffers.
 *
 *   gzip    zlib, one or more members
 *   snappy  raw, or in the framing of the Java client ("xerial": 16 bytes of header, then blocks
 *           of a 4-byte length and raw snappy); encoded with the framing, in 32 KB blocks
 *   lz4     LZ4 frames; encoded with independent 64 KB blocks
 *   zstd    frames; encoded with the content size
 *
 * A decoder never produces more than the output buffer's maximum, whatever the input claims: the
 * memory that hostile input can make us use is bounded by the caller. */
#ifndef TIDEMILL_WIRE_COMPRESS_H
#define TIDEMILL_WIRE_COMPRESS_H

#include "base/str.h"

/* The numbers are those of a record batch's attributes. */
enum compress_codec {
    COMPRESS_NONE = 0,
    COMPRESS_GZIP = 1,
    COMPRESS_SNAPPY = 2,
    COMPRESS_LZ4 = 3,
    COMPRESS_ZSTD = 4,
};
enum { COMPRESS_CODECS = 5 };
enum { COMPRESS_IN_COST = 4 };

/* The codecs' working memory, kept between calls. One thread at a time. */
struct compress;

/* Allocates nothing but itself; each codec's memory comes with its first use. NULL when out of
 * memory. */
struct compress *compress_new(void);
/* Frees it; NULL is fine. */
void compress_free(struct compress *c);

/* "none", "gzip", "snappy", "lz4", "zstd"; "unknown" for any other number. */
const char *compress_codec_name(uint32_t codec);

/* Appends the decompressed bytes of `in` to `out`, which may keep its capacity between calls: then
 * nothing is allocated in the steady state. COMPRESS_NONE copies.
 * ERR_TOO_LARGE when out->max would be passed; ERR_MALFORMED when the bytes are damaged or end
 * early, with what was wrong in `why`; ERR_UNSUPPORTED for an unknown codec; ERR_NO_MEMORY. On an
 * error out->len is as it was. */
enum err compress_decode(struct compress *c, uint32_t codec, struct str in, struct buf *out,
                         struct err_detail *why) MUST_CHECK;

/* The same in steps, between which others can be served: begins with `in`, which stays. One at a
 * time; every other use of `c` ends it. */
void compress_decode_begin(struct compress *c, uint32_t codec, struct str in);
/* Appends about *budget bytes more (> 0), and takes them from it, or COMPRESS_IN_COST for each byte
 * of input if that is more: there is input that takes time and gives nothing. Zstd comes in whole
 * blocks (128 KB at most), raw snappy and COMPRESS_NONE in one step. *done: that was all. Errors as
 * of compress_decode; then *budget is 0 and out->len as at the first step, and the next step may
 * only come after another begin. */
enum err compress_decode_step(struct compress *c, struct buf *out, size_t *budget, bool *done,
                              struct err_detail *why) MUST_CHECK;

/* Appends `in` compressed to `out`. ERR_TOO_LARGE (out->max), ERR_UNSUPPORTED, ERR_NO_MEMORY; on an
 * error out->len is as it was. */
enum err compress_encode(struct compress *c, uint32_t codec, struct str in, struct buf *out,
                         struct err_detail *why) MUST_CHECK;

#endif
