/* A topic as it is: records as rows of (partition, offset, timestamp, key, value, headers), and the
 * bytes of a record as text and back. Pure. Private to engine/.
 *
 *   bytes                                          text
 *   UTF-8 without NUL that does not begin with \x  themselves
 *   all others                                     \x and two hexadecimal digits a byte
 *
 * Different bytes are different texts, so that views over keys and values group what is equal, and
 * what is read can be written again. */
#ifndef TIDEMILL_ENGINE_RAW_H
#define TIDEMILL_ENGINE_RAW_H

#include "type/column.h"
#include "wire/kafka_batch.h"

enum { RAW_HEADERS_BYTES_MAX = 16 << 20 }; /* of a record's headers as JSON: NULL beyond */

/* Bytes as text: borrowed, or made in the arena. ERR_NO_MEMORY. */
enum err raw_text(struct str bytes, struct arena *a, struct str *out) MUST_CHECK;
/* The bytes that a text stands for: borrowed, or made in the arena. ERR_INVALID_TEXT when what
 * follows \x is not pairs of hexadecimal digits; ERR_NO_MEMORY. */
enum err raw_bytes(struct str text, struct arena *a, struct str *out,
                   struct err_detail *why) MUST_CHECK;

/* A batch for up to `rows` rows. NULL when the arena is full. */
struct batch *raw_batch(uint32_t rows, struct arena *a);
/* Writes a record as row b->n_rows, without counting it; the row borrows from the record. Of
 * headers with the same name the last one stays, as in jsonb. Timestamps outside of timestamptz
 * are the nearest inside. ERR_NO_MEMORY. */
enum err raw_decode(const struct kafka_record *rec, uint32_t partition, struct batch *b,
                    struct arena *a) MUST_CHECK;

#endif
