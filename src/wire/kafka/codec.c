#include "wire/kafka/codec.h"

#include "base/check.h"

enum { STRING_BYTES_MAX = INT16_MAX, BYTES_MAX = INT32_MAX - 1 };

void kafka_read_fail(struct kafka_reader *r, const char *what)
{
    if (r->failed == NULL)
        r->failed = what;
    r->at = r->end;
}

uint32_t kafka_read_uvarint(struct kafka_reader *r)
{
    uint32_t v = 0;
    for (uint32_t shift = 0; shift < 35; shift += 7) {
        const char *p = kafka_take(r, 1, "varint");
        if (p == NULL)
            return 0;
        uint8_t b = (uint8_t)*p;
        if (shift == 28 && b > 0x0f)
            break;
        v |= (uint32_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return v;
    }
    kafka_read_fail(r, "varint of more than 32 bits");
    return 0;
}

/* A length as the protocol has it: -1 = null. Anything below fails. */
static int64_t read_length(struct kafka_reader *r, bool compact, bool wide)
{
    if (compact)
        return (int64_t)kafka_read_uvarint(r) - 1;
    return wide ? kafka_read_int32(r) : kafka_read_int16(r);
}

static struct str read_counted(struct kafka_reader *r, bool compact, bool nullable, bool wide,
                               const char *what)
{
    int64_t n = read_length(r, compact, wide);
    if (r->failed != NULL || (n == -1 && nullable))
        return (struct str){NULL, 0};
    if (n < 0 || n > BYTES_MAX) {
        kafka_read_fail(r, what);
        return (struct str){NULL, 0};
    }
    const char *p = kafka_take(r, (size_t)n, what);
    return (struct str){p, p != NULL ? (size_t)n : 0};
}

struct str kafka_read_string(struct kafka_reader *r, bool compact, bool nullable)
{
    struct str s = read_counted(r, compact, nullable, false, "string");
    if (s.len > STRING_BYTES_MAX) {
        kafka_read_fail(r, "string of more than 32767 bytes");
        return (struct str){NULL, 0};
    }
    return s;
}

struct str kafka_read_bytes(struct kafka_reader *r, bool compact, bool nullable)
{
    return read_counted(r, compact, nullable, true, "bytes");
}

struct kafka_payload kafka_read_records(struct kafka_reader *r, bool compact, bool nullable)
{
    struct str s = read_counted(r, compact, nullable, true, "records");
    return (struct kafka_payload){s.ptr, s.len, NULL};
}

void *kafka_read_array(struct kafka_reader *r, bool compact, bool nullable, size_t least_bytes,
                       size_t size, uint32_t *count)
{
    *count = 0;
    int64_t n = read_length(r, compact, true);
    if (r->failed != NULL || (n == -1 && nullable))
        return NULL;
    CHECK(least_bytes > 0);
    if (n < 0 || (uint64_t)n > kafka_left(r) / least_bytes) {
        kafka_read_fail(r, "array that claims more elements than there are bytes");
        return NULL;
    }
    void *items = arena_zalloc(r->arena, (size_t)n, size);
    if (items == NULL) {
        kafka_read_fail(r, "array too large for the request's memory");
        return NULL;
    }
    *count = (uint32_t)n;
    return items;
}

uint32_t kafka_tag_begin(struct kafka_reader *r, const char **end)
{
    uint32_t tag = kafka_read_uvarint(r);
    uint32_t n = kafka_read_uvarint(r);
    *end = r->end;
    if (n > kafka_left(r)) {
        kafka_read_fail(r, "tagged field");
        return 0;
    }
    r->end = r->at + n;
    return tag;
}

void kafka_tag_end(struct kafka_reader *r, const char *value_end, const char *end)
{
    r->end = end;
    r->at = r->failed != NULL ? end : value_end;
}

void kafka_skip_tags(struct kafka_reader *r)
{
    /* Each tag takes at least two bytes, so that the loop is bounded by the message. */
    for (uint32_t n = kafka_read_uvarint(r); n > 0 && r->failed == NULL; n--) {
        const char *end;
        kafka_tag_begin(r, &end);
        kafka_tag_end(r, r->end, end);
    }
}

void kafka_write_uvarint(struct kafka_writer *w, uint32_t v)
{
    char bytes[5];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        bytes[n++] = (char)(uint8_t)(v | 0x80);
    bytes[n++] = (char)(uint8_t)v;
    buf_put(w->out, bytes, n);
}

static void write_length(struct kafka_writer *w, bool compact, bool wide, bool null, size_t n)
{
    if (n > (wide || compact ? (size_t)BYTES_MAX : (size_t)STRING_BYTES_MAX)) {
        w->out->failed = true;
        return;
    }
    if (compact)
        kafka_write_uvarint(w, null ? 0 : (uint32_t)n + 1);
    else if (wide)
        kafka_write_int32(w, null ? -1 : (int32_t)n);
    else
        kafka_write_int16(w, null ? (int16_t)-1 : (int16_t)n);
}

void kafka_write_string(struct kafka_writer *w, bool compact, bool nullable, struct str v)
{
    write_length(w, compact, false, nullable && v.ptr == NULL, v.len);
    buf_put_str(w->out, v);
}

void kafka_write_bytes(struct kafka_writer *w, bool compact, bool nullable, struct str v)
{
    write_length(w, compact, true, nullable && v.ptr == NULL, v.len);
    buf_put_str(w->out, v);
}

void kafka_write_records(struct kafka_writer *w, bool compact, bool nullable,
                         const struct kafka_payload *v)
{
    if (v->file == NULL) {
        kafka_write_bytes(w, compact, nullable, (struct str){v->ptr, v->len});
        return;
    }
    write_length(w, compact, true, false, v->len);
    if (w->n_splices == w->splices_max) {
        w->out->failed = true;
        return;
    }
    w->splices[w->n_splices++] = (struct kafka_splice){w->out->len, v->file};
    w->splice_bytes += v->len;
}

void kafka_write_count(struct kafka_writer *w, bool compact, bool null, uint32_t count)
{
    write_length(w, compact, true, null, null ? 0 : count);
}

void kafka_write_tag(struct kafka_writer *w, uint32_t tag, size_t from)
{
    if (w->out->failed)
        return;
    size_t n = w->out->len - from;
    kafka_write_uvarint(w, tag);
    kafka_write_uvarint(w, (uint32_t)n);
    if (w->out->failed)
        return;
    size_t head = w->out->len - from - n;
    char bytes[10];
    memcpy(bytes, w->out->ptr + from + n, head);
    memmove(w->out->ptr + from + head, w->out->ptr + from, n);
    memcpy(w->out->ptr + from, bytes, head);
}

void kafka_read_header(struct kafka_reader *r, struct kafka_request_header *out)
{
    out->api_key = kafka_read_int16(r);
    out->api_version = kafka_read_int16(r);
    out->correlation_id = kafka_read_int32(r);
    out->client_id = kafka_read_string(r, false, true);
}
