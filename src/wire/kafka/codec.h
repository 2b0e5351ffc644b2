/* Runtime of the generated Kafka codecs (gen/wire/kafka/messages.h): reading and writing the
 * protocol's primitive types.
 *
 * Reading is zero-copy: strings borrow from the request, arrays live in the caller's arena and are
 * only allocated when the bytes that are left can hold that many elements. An error is sticky: the
 * reader fails, everything after reads as zero, and the caller looks once at the end. No I/O; one
 * thread at a time. */
#ifndef TIDEMILL_WIRE_KAFKA_CODEC_H
#define TIDEMILL_WIRE_KAFKA_CODEC_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/str.h"

struct kafka_uuid {
    uint8_t bytes[16];
};
/* Zero stands for none. */
static inline bool kafka_uuid_is_zero(const struct kafka_uuid *id)
{
    static const struct kafka_uuid zero;
    return memcmp(id->bytes, zero.bytes, sizeof zero.bytes) == 0;
}

/* Record batches of a partition. A response may give them as a file instead of bytes: `file` is the
 * caller's, and stands for `len` bytes that are sent from elsewhere (see struct kafka_splice). */
struct kafka_payload {
    const char *ptr; /* NULL = null */
    size_t len;
    void *file;
};

struct kafka_reader {
    const char *at, *end;
    struct arena *arena;
    const char *failed; /* what was being read when the message broke; NULL = fine */
};

/* `arena` bounds what arrays may take. */
static inline void kafka_reader_init(struct kafka_reader *r, struct str message,
                                     struct arena *arena)
{
    const char *at = message.len > 0 ? message.ptr : ""; /* nothing is added to NULL */
    *r = (struct kafka_reader){at, at + message.len, arena, NULL};
}
static inline size_t kafka_left(const struct kafka_reader *r)
{
    return (size_t)(r->end - r->at);
}

/* Fails the reader: nothing is left to read. */
void kafka_read_fail(struct kafka_reader *r, const char *what);
/* Unsigned LEB128 of at most 32 bits. */
uint32_t kafka_read_uvarint(struct kafka_reader *r);
/* Strings and byte strings; `compact` since the flexible versions. Null (ptr NULL) fails unless
 * `nullable`; an empty string has a pointer. */
struct str kafka_read_string(struct kafka_reader *r, bool compact, bool nullable);
struct str kafka_read_bytes(struct kafka_reader *r, bool compact, bool nullable);
struct kafka_payload kafka_read_records(struct kafka_reader *r, bool compact, bool nullable);
/* Reads an array's count, checks it against `least_bytes` on the wire per element, and allocates
 * count * size zeroed bytes. Null gives NULL and count 0; an empty array has a pointer. */
void *kafka_read_array(struct kafka_reader *r, bool compact, bool nullable, size_t least_bytes,
                       size_t size, uint32_t *count);
/* Skips one tagged field section whole. */
void kafka_skip_tags(struct kafka_reader *r);
/* Reads a tag's number and size and cuts the reader to its value: *end receives the reader's real
 * end. */
uint32_t kafka_tag_begin(struct kafka_reader *r, const char **end);
/* Goes on behind the value, whatever of it was read. */
void kafka_tag_end(struct kafka_reader *r, const char *value_end, const char *end);

static inline const char *kafka_take(struct kafka_reader *r, size_t n, const char *what)
{
    if (UNLIKELY(kafka_left(r) < n)) {
        kafka_read_fail(r, what);
        return NULL;
    }
    const char *p = r->at;
    r->at += n;
    return p;
}
static inline int8_t kafka_read_int8(struct kafka_reader *r)
{
    const char *p = kafka_take(r, 1, "int8");
    return p != NULL ? (int8_t)*p : 0;
}
static inline bool kafka_read_bool(struct kafka_reader *r)
{
    return kafka_read_int8(r) != 0;
}
static inline uint16_t kafka_read_uint16(struct kafka_reader *r)
{
    const char *p = kafka_take(r, 2, "int16");
    return p != NULL ? be16_get(p) : 0;
}
static inline int16_t kafka_read_int16(struct kafka_reader *r)
{
    return (int16_t)kafka_read_uint16(r);
}
static inline int32_t kafka_read_int32(struct kafka_reader *r)
{
    const char *p = kafka_take(r, 4, "int32");
    return p != NULL ? (int32_t)be32_get(p) : 0;
}
static inline int64_t kafka_read_int64(struct kafka_reader *r)
{
    const char *p = kafka_take(r, 8, "int64");
    return p != NULL ? (int64_t)be64_get(p) : 0;
}
static inline double kafka_read_float64(struct kafka_reader *r)
{
    uint64_t bits = (uint64_t)kafka_read_int64(r);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}
static inline struct kafka_uuid kafka_read_uuid(struct kafka_reader *r)
{
    struct kafka_uuid id = {{0}};
    const char *p = kafka_take(r, sizeof id.bytes, "uuid");
    if (p != NULL)
        memcpy(id.bytes, p, sizeof id.bytes);
    return id;
}

/* ---- writing ---- */

/* File bytes that belong at position `at` of the written message (positions count written bytes
 * only). */
struct kafka_splice {
    size_t at;
    void *file;
};

/* Writes at the end of `out`; a failure (memory, the buffer's maximum, too many splices) is the
 * buffer's `failed`. */
struct kafka_writer {
    struct buf *out;
    struct kafka_splice *splices; /* the caller's; in order of position */
    uint32_t n_splices, splices_max;
    uint64_t splice_bytes; /* file bytes in all: on the wire, not in `out` */
};

static inline char *kafka_room(struct kafka_writer *w, size_t n)
{
    char *p = buf_reserve(w->out, n);
    if (p != NULL)
        w->out->len += n;
    return p;
}
static inline void kafka_write_int8(struct kafka_writer *w, int8_t v)
{
    char *p = kafka_room(w, 1);
    if (p != NULL)
        *p = (char)v;
}
static inline void kafka_write_bool(struct kafka_writer *w, bool v)
{
    kafka_write_int8(w, v ? 1 : 0);
}
static inline void kafka_write_uint16(struct kafka_writer *w, uint16_t v)
{
    char *p = kafka_room(w, 2);
    if (p != NULL)
        be16_put(p, v);
}
static inline void kafka_write_int16(struct kafka_writer *w, int16_t v)
{
    kafka_write_uint16(w, (uint16_t)v);
}
static inline void kafka_write_int32(struct kafka_writer *w, int32_t v)
{
    char *p = kafka_room(w, 4);
    if (p != NULL)
        be32_put(p, (uint32_t)v);
}
static inline void kafka_write_int64(struct kafka_writer *w, int64_t v)
{
    char *p = kafka_room(w, 8);
    if (p != NULL)
        be64_put(p, (uint64_t)v);
}
static inline void kafka_write_float64(struct kafka_writer *w, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    kafka_write_int64(w, (int64_t)bits);
}
static inline void kafka_write_uuid(struct kafka_writer *w, struct kafka_uuid v)
{
    buf_put(w->out, v.bytes, sizeof v.bytes);
}
/* Unsigned LEB128. */
void kafka_write_uvarint(struct kafka_writer *w, uint32_t v);
/* A NULL pointer is null when `nullable`, else empty. Longer than the type allows fails the buffer.
 */
void kafka_write_string(struct kafka_writer *w, bool compact, bool nullable, struct str v);
void kafka_write_bytes(struct kafka_writer *w, bool compact, bool nullable, struct str v);
void kafka_write_records(struct kafka_writer *w, bool compact, bool nullable,
                         const struct kafka_payload *v);
/* An array's count; `null` writes a null array. */
void kafka_write_count(struct kafka_writer *w, bool compact, bool null, uint32_t count);
/* Moves the bytes behind `from` into a tagged field: number, size, value. */
void kafka_write_tag(struct kafka_writer *w, uint32_t tag, size_t from);

/* ---- headers ---- */

struct kafka_request_header {
    int16_t api_key, api_version;
    int32_t correlation_id;
    struct str client_id; /* ptr NULL = none */
};

/* Reads key, version, correlation id and client id; the caller skips the tags of flexible versions,
 * since only the API table says which are. */
void kafka_read_header(struct kafka_reader *r, struct kafka_request_header *out);

/* The fields of a message's struct as data, for what treats many messages alike. */
enum kafka_field_kind {
    KAFKA_FIELD_BOOL,
    KAFKA_FIELD_INT8,
    KAFKA_FIELD_INT16,
    KAFKA_FIELD_UINT16,
    KAFKA_FIELD_INT32,
    KAFKA_FIELD_INT64,
    KAFKA_FIELD_FLOAT64,
    KAFKA_FIELD_UUID,
    KAFKA_FIELD_STRING,  /* struct str */
    KAFKA_FIELD_BYTES,   /* struct str */
    KAFKA_FIELD_RECORDS, /* struct kafka_payload */
    KAFKA_FIELD_STRUCT,
};
struct kafka_field {
    const char *name;
    enum kafka_field_kind kind; /* of one element, if it is an array */
    bool array;                 /* a pointer at `offset` and a uint32_t count at `count_offset` */
    size_t offset, count_offset;
    int64_t value; /* the schema's default */
    const struct kafka_shape *shape; /* KAFKA_FIELD_STRUCT */
};
struct kafka_shape {
    size_t size; /* of the struct */
    uint32_t n_fields;
    const struct kafka_field *fields;
};

/* One API that has codecs. */
struct kafka_api {
    int16_t key, version_min, version_max, flexible; /* flexible: the first such version */
    const char *name;
};

#endif
