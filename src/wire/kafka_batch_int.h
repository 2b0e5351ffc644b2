/* Private to wire/kafka_batch*.c: where a record batch's fields are. */
#ifndef TIDEMILL_WIRE_KAFKA_BATCH_INT_H
#define TIDEMILL_WIRE_KAFKA_BATCH_INT_H

#include "base/str.h"

#include <string.h>

enum {
    BATCH_AT_LENGTH = 8,
    BATCH_AT_LEADER_EPOCH = 12,
    BATCH_AT_MAGIC = 16,
    BATCH_AT_CRC = 17,
    BATCH_AT_ATTRIBUTES = 21, /* the CRC covers everything from here on */
    BATCH_AT_LAST_DELTA = 23,
    BATCH_AT_BASE_TIMESTAMP = 27,
    BATCH_AT_MAX_TIMESTAMP = 35,
    BATCH_AT_PRODUCER_ID = 43,
    BATCH_AT_PRODUCER_EPOCH = 51,
    BATCH_AT_SEQUENCE = 53,
    BATCH_AT_COUNT = 57,

    BATCH_MAGIC = 2,
    BATCH_CODEC_MASK = 7,
    BATCH_LOG_APPEND_TIME = 8,
    BATCH_TRANSACTIONAL = 16,
    BATCH_CONTROL = 32,
    BATCH_DELETE_HORIZON = 64,

    VARINT_BYTES_MAX = 10,
};

/* ---- writing records ---- */

static inline uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

static inline char *varint_put(char *p, int64_t v)
{
    uint64_t u = zigzag(v);
    while (u >= 0x80) {
        *p++ = (char)(u | 0x80);
        u >>= 7;
    }
    *p++ = (char)u;
    return p;
}

static inline size_t varint_len(int64_t v)
{
    uint64_t u = zigzag(v) | 1;
    return (size_t)(70 - __builtin_clzll(u)) / 7;
}

static inline int64_t nullable_len(struct str s)
{
    return s.ptr != NULL ? (int64_t)s.len : -1;
}

static inline size_t nullable_bytes(struct str s)
{
    return varint_len(nullable_len(s)) + (s.ptr != NULL ? s.len : 0);
}

static inline char *nullable_put(char *p, struct str s)
{
    p = varint_put(p, nullable_len(s));
    if (s.ptr != NULL && s.len > 0) {
        memcpy(p, s.ptr, s.len);
        p += s.len;
    }
    return p;
}

#endif
