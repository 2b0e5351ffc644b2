/* Record batches: headers, validation and records. Writing them is kafka_batch_writer.c. */
#include "wire/kafka_batch.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/hash.h"
#include "wire/kafka_batch_int.h"

/* Offsets stay clear of the end of their type, so that base + delta + 1 never overflows. */
#define OFFSET_MAX (INT64_MAX - INT32_MAX - 1)

static enum err bad(struct err_detail *why, const char *what)
{
    return err_set(why, ERR_BAD_RECORD_BATCH, "record batch: %s", what);
}

/* ---- header ---- */

static enum err check_magic(struct str in, struct err_detail *why)
{
    if (in.len <= BATCH_AT_MAGIC) {
        return bad(why, "it ends inside the header");
    }
    unsigned magic = (unsigned char)in.ptr[BATCH_AT_MAGIC];
    if (magic == BATCH_MAGIC) {
        return in.len < KAFKA_BATCH_HEADER_BYTES ? bad(why, "it ends inside the header") : ERR_OK;
    }
    if (magic < BATCH_MAGIC) {
        enum err e =
            err_set(why, ERR_UNSUPPORTED,
                    "record batch: message format %u (before Kafka 0.11) is not supported", magic);
        err_hint(why, "set the client's broker or API version to 0.11 or newer");
        return e;
    }
    return err_set(why, ERR_BAD_RECORD_BATCH, "record batch: unknown format (magic %u)", magic);
}

static enum err check_structure(const struct kafka_batch *b, struct err_detail *why)
{
    if (b->base_offset < 0 || b->base_offset > OFFSET_MAX) {
        return bad(why, "the base offset is out of range");
    }
    if (b->codec >= COMPRESS_CODECS) {
        return err_set(why, ERR_UNSUPPORTED, "record batch: unknown compression codec %u",
                       b->codec);
    }
    if (b->n_records < 0 || b->last_offset_delta < 0 ||
        b->n_records > (int64_t)b->last_offset_delta + 1) {
        return err_set(why, ERR_BAD_RECORD_BATCH,
                       "record batch: %d records do not fit a last offset delta of %d",
                       b->n_records, b->last_offset_delta);
    }
    size_t room = (b->bytes - KAFKA_BATCH_HEADER_BYTES) / KAFKA_RECORD_BYTES_MIN;
    if (b->codec == COMPRESS_NONE && (size_t)b->n_records > room) {
        return err_set(why, ERR_BAD_RECORD_BATCH,
                       "record batch: %d records do not fit in its %u bytes", b->n_records,
                       b->bytes);
    }
    return ERR_OK;
}

enum err kafka_batch_parse(struct str in, struct kafka_batch *out, struct err_detail *why)
{
    TRY(check_magic(in, why));
    const char *p = in.ptr;
    uint32_t length = be32_get(p + BATCH_AT_LENGTH);
    if (length < KAFKA_BATCH_HEADER_BYTES - KAFKA_BATCH_PREFIX_BYTES ||
        length > KAFKA_BATCH_BYTES_MAX - KAFKA_BATCH_PREFIX_BYTES) {
        return err_set(why, ERR_BAD_RECORD_BATCH, "record batch: a length of %d is out of range",
                       (int32_t)length);
    }
    uint16_t attributes = be16_get(p + BATCH_AT_ATTRIBUTES);
    *out = (struct kafka_batch){
        .base_offset = (int64_t)be64_get(p),
        .bytes = length + KAFKA_BATCH_PREFIX_BYTES,
        .leader_epoch = (int32_t)be32_get(p + BATCH_AT_LEADER_EPOCH),
        .crc = be32_get(p + BATCH_AT_CRC),
        .codec = attributes & BATCH_CODEC_MASK,
        .log_append_time = (attributes & BATCH_LOG_APPEND_TIME) != 0,
        .transactional = (attributes & BATCH_TRANSACTIONAL) != 0,
        .control = (attributes & BATCH_CONTROL) != 0,
        .delete_horizon = (attributes & BATCH_DELETE_HORIZON) != 0,
        .last_offset_delta = (int32_t)be32_get(p + BATCH_AT_LAST_DELTA),
        .base_timestamp = (int64_t)be64_get(p + BATCH_AT_BASE_TIMESTAMP),
        .max_timestamp = (int64_t)be64_get(p + BATCH_AT_MAX_TIMESTAMP),
        .producer_id = (int64_t)be64_get(p + BATCH_AT_PRODUCER_ID),
        .producer_epoch = (int16_t)be16_get(p + BATCH_AT_PRODUCER_EPOCH),
        .base_sequence = (int32_t)be32_get(p + BATCH_AT_SEQUENCE),
        .n_records = (int32_t)be32_get(p + BATCH_AT_COUNT),
    };
    return check_structure(out, why);
}

enum err kafka_batch_validate(struct str in, struct kafka_batch *out, struct err_detail *why)
{
    TRY(kafka_batch_parse(in, out, why));
    if (in.len < out->bytes) {
        return err_set(why, ERR_BAD_RECORD_BATCH,
                       "record batch: %zu bytes are there of the %u that its length says", in.len,
                       out->bytes);
    }
    uint32_t crc = crc32c(0, in.ptr + BATCH_AT_ATTRIBUTES, out->bytes - BATCH_AT_ATTRIBUTES);
    if (crc != out->crc) {
        return err_set(why, ERR_BAD_RECORD_BATCH,
                       "record batch: CRC-32C is %08x, the header says %08x", crc, out->crc);
    }
    return ERR_OK;
}

bool kafka_batch_next(struct str *run, struct kafka_batch *out, struct str *bytes, enum err *result,
                      struct err_detail *why)
{
    *result = ERR_OK;
    if (run->len == 0) {
        return false;
    }
    *result = kafka_batch_validate(*run, out, why);
    if (*result != ERR_OK) {
        return false;
    }
    *bytes = (struct str){run->ptr, out->bytes};
    *run = (struct str){run->ptr + out->bytes, run->len - out->bytes};
    return true;
}

/* ---- fields that the log assigns ---- */

void kafka_batch_set_base_offset(char *batch, int64_t offset)
{
    be64_put(batch, (uint64_t)offset);
}

void kafka_batch_set_leader_epoch(char *batch, int32_t epoch)
{
    be32_put(batch + BATCH_AT_LEADER_EPOCH, (uint32_t)epoch);
}

static void set_crc(char *batch)
{
    size_t bytes = be32_get(batch + BATCH_AT_LENGTH) + KAFKA_BATCH_PREFIX_BYTES;
    be32_put(batch + BATCH_AT_CRC,
             crc32c(0, batch + BATCH_AT_ATTRIBUTES, bytes - BATCH_AT_ATTRIBUTES));
}

static void set_max_timestamp(char *batch, int64_t ms)
{
    be64_put(batch + BATCH_AT_MAX_TIMESTAMP, (uint64_t)ms);
}

void kafka_batch_set_append_time(char *batch, int64_t ms)
{
    uint16_t attributes = be16_get(batch + BATCH_AT_ATTRIBUTES);
    be16_put(batch + BATCH_AT_ATTRIBUTES, (uint16_t)(attributes | BATCH_LOG_APPEND_TIME));
    set_max_timestamp(batch, ms);
    set_crc(batch);
}

/* ---- a producer's run ---- */

/* Notes record `number` of the run among the refused ones; the first one decides the error. */
static void refuse_record(struct kafka_run *out, int64_t number, const struct kafka_record *r,
                          enum err e, const char *text, enum err *result, struct err_detail *why)
{
    if (*result == ERR_OK) {
        *result = err_set(why, e, "record %lld of the request: %s (key %s, timestamp %lld)",
                          (long long)number, text, r->key.ptr != NULL ? "given" : "missing",
                          (long long)r->timestamp);
    }
    if (out->n_errors < KAFKA_RUN_ERRORS_MAX && number <= INT32_MAX) {
        out->errors[out->n_errors++] = (struct kafka_run_error){(int32_t)number, text};
    }
}

static void records_skim(struct kafka_records *it, struct kafka_skim *out, int32_t n_max);

/* How many records the budget has room for, one at least; takes what they cost. */
static int32_t records_afford(const struct kafka_records *it, int64_t *budget)
{
    enum { RECORD_COST = 16 };
    int64_t n = *budget / RECORD_COST + 1;
    n = n < it->left ? n : it->left;
    *budget -= n * RECORD_COST;
    return (int32_t)n;
}

/* Reads over records until the budget is used up, or the batch is at its end: then those that the
 * rules refuse are looked for, or it is finished. */
static enum err check_records(struct kafka_run_check *k, int64_t *budget, struct err_detail *why)
{
    const struct kafka_run_rules *rules = k->rules;
    struct err_detail inner = {0};
    records_skim(&k->records, &k->seen, records_afford(&k->records, budget));
    if (k->records.left > 0) {
        return ERR_OK;
    }
    enum err e = kafka_records_end(&k->records, &inner);
    if (e != ERR_OK) {
        return err_set(why, e, "%s", err_text(e, &inner));
    }
    bool refused = k->seen.timestamp_max > rules->timestamp_max ||
                   k->seen.timestamp_min < rules->timestamp_min || (rules->keys && k->seen.keyless);
    k->phase = refused ? RUN_REFUSED : RUN_END;
    return ERR_OK;
}

/* Names the records that the rules refuse. */
static void check_refused(struct kafka_run_check *k, int64_t *budget, struct err_detail *why)
{
    const struct kafka_run_rules *rules = k->rules;
    struct kafka_record r;
    for (int32_t n = records_afford(&k->again, budget); n > 0; n--, k->number++) {
        if (!kafka_records_next(&k->again, &r)) {
            break;
        }
        if (r.timestamp > rules->timestamp_max) {
            refuse_record(k->out, k->number, &r, ERR_RECORD_TIMESTAMP,
                          "its timestamp is further after the server's clock than "
                          "message.timestamp.after.max.ms",
                          &k->refused, why);
        } else if (r.timestamp < rules->timestamp_min && r.timestamp != -1) {
            refuse_record(k->out, k->number, &r, ERR_RECORD_TIMESTAMP,
                          "its timestamp is further before the server's clock than "
                          "message.timestamp.before.max.ms",
                          &k->refused, why);
        } else if (rules->keys && r.key.ptr == NULL) {
            refuse_record(k->out, k->number, &r, ERR_RECORD_KEY,
                          "the topic is compacted: it needs a key", &k->refused, why);
        }
    }
    if (k->again.left == 0) {
        k->phase = RUN_END;
    }
}

static enum err check_produced(const struct kafka_batch *b, size_t batch_bytes_max,
                               struct err_detail *why)
{
    if (b->bytes > batch_bytes_max) {
        enum err e = err_set(why, ERR_TOO_LARGE, "record batch of %u bytes: the maximum is %zu",
                             b->bytes, batch_bytes_max);
        err_hint(why, "produce smaller batches (max.request.size, message.max.bytes)");
        return e;
    }
    if (b->control) {
        return bad(why, "control batches are the server's own");
    }
    if (b->producer_id >= 0 ? b->producer_epoch < 0 || b->base_sequence < 0 : b->transactional) {
        return bad(why, "its producer's id, epoch and sequence number do not fit together");
    }
    if (b->delete_horizon) {
        return bad(why, "a delete horizon is set by compaction only");
    }
    if (b->log_append_time) {
        return err_set(why, ERR_RECORD_TIMESTAMP,
                       "record batch: only the server gives records the time of their append");
    }
    if (b->n_records == 0 || b->n_records != b->last_offset_delta + 1) {
        return err_set(why, ERR_BAD_RECORD_BATCH,
                       "record batch: %d records but a last offset delta of %d", b->n_records,
                       b->last_offset_delta);
    }
    return ERR_OK;
}

/* ---- records ---- */

static uint64_t unzigzag(uint64_t v)
{
    return (v >> 1) ^ (0 - (v & 1));
}

/* The rest of a varint whose first byte was not its last. */
static __attribute__((noinline)) const uint8_t *varint_long(const uint8_t *p, const uint8_t *end,
                                                            int64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && p < end; shift += 7) {
        uint64_t byte = *p++;
        if (shift == 63 && byte > 1) {
            return NULL;
        }
        v |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = (int64_t)unzigzag(v);
            return p;
        }
    }
    return NULL;
}

/* Zigzag varint: returns the place behind it, or NULL when it does not end before `end` or in 64
 * bits. */
static inline const uint8_t *varint(const uint8_t *p, const uint8_t *end, int64_t *out)
{
    if (LIKELY(p < end && p[0] < 0x80)) { /* also the last byte of a record, its count of headers */
        *out = (int64_t)unzigzag(p[0]);
        return p + 1;
    }
    if (LIKELY(end - p >= 2 && p[1] < 0x80)) {
        *out = (int64_t)unzigzag((p[0] & 0x7fu) | (uint64_t)p[1] << 7);
        return p + 2;
    }
    int64_t v = 0; /* whose address is taken, so that *out can be a register */
    p = varint_long(p, end, &v);
    *out = v;
    return p;
}

/* A length and its bytes; -1 gives ptr NULL. NULL on damage. */
static inline const uint8_t *nullable(const uint8_t *p, const uint8_t *end, struct str *out)
{
    int64_t n;
    p = varint(p, end, &n);
    if (p == NULL || n < -1 || n > end - p) {
        return NULL;
    }
    if (n == -1) {
        *out = (struct str){NULL, 0};
        return p;
    }
    *out = (struct str){(const char *)p, (size_t)n};
    return p + n;
}

/* What is wrong with the headers [p, end), or NULL. */
static const char *check_headers(const uint8_t *p, const uint8_t *end, int64_t n)
{
    if (n < 0 || n > end - p) {
        return "the count of headers is out of range";
    }
    for (int64_t i = 0; i < n; i++) {
        struct str s;
        p = nullable(p, end, &s);
        if (p == NULL || s.ptr == NULL) {
            return "a header's key does not fit";
        }
        p = nullable(p, end, &s);
        if (p == NULL) {
            return "a header's value does not fit";
        }
    }
    return p == end ? NULL : "bytes are left over";
}

/* Parses the record at it->at. Returns NULL, or what is wrong. */
static inline const char *record_parse(struct kafka_records *it, struct kafka_record *out)
{
    int64_t len, timestamp_delta, delta, n_headers;
    const uint8_t *p = varint(it->at, it->end, &len);
    if (UNLIKELY(p == NULL || len < KAFKA_RECORD_BYTES_MIN - 1 || len > it->end - p)) {
        return "its length does not fit";
    }
    const uint8_t *end = p + len;
    p = varint(p + 1, end, &timestamp_delta); /* after the attributes, which are unused */
    if (UNLIKELY(p == NULL)) {
        return "its timestamp does not fit";
    }
    p = varint(p, end, &delta);
    if (UNLIKELY(p == NULL || delta <= it->last_delta || delta > it->max_delta)) {
        return "its offset is out of order";
    }
    p = nullable(p, end, &out->key);
    if (UNLIKELY(p == NULL)) {
        return "its key does not fit";
    }
    p = nullable(p, end, &out->value);
    if (UNLIKELY(p == NULL)) {
        return "its value does not fit";
    }
    p = varint(p, end, &n_headers);
    if (UNLIKELY(p == NULL)) {
        return "its headers do not fit";
    }
    if (UNLIKELY(n_headers != 0 || p != end)) {
        const char *problem = check_headers(p, end, n_headers);
        if (problem != NULL) {
            return problem;
        }
    }
    out->headers = (struct str){(const char *)p, (size_t)(end - p)};
    out->n_headers = (int32_t)n_headers;
    out->offset = it->base_offset + delta;
    out->timestamp = it->log_append_time
                         ? it->append_timestamp
                         : (int64_t)((uint64_t)it->base_timestamp + (uint64_t)timestamp_delta);
    it->at = end;
    it->last_delta = (int32_t)delta;
    return NULL;
}

static void records_fail(struct kafka_records *it, const char *problem)
{
    it->result = ERR_BAD_RECORD_BATCH;
    it->problem = problem;
    it->left = 0;
}

static void records_begin(struct kafka_records *it, const struct kafka_batch *b, struct str records)
{
    *it = (struct kafka_records){.at = (const uint8_t *)records.ptr,
                                 .end = (const uint8_t *)records.ptr + records.len,
                                 .base_offset = b->base_offset,
                                 .base_timestamp = b->base_timestamp,
                                 .append_timestamp = b->max_timestamp,
                                 .last_delta = -1,
                                 .max_delta = b->last_offset_delta,
                                 .left = b->n_records,
                                 .log_append_time = b->log_append_time};
    if (it->left == 0 && records.len != 0) {
        records_fail(it, "bytes are left over");
    }
}

static struct str records_bytes(struct str batch)
{
    return (struct str){batch.ptr + KAFKA_BATCH_HEADER_BYTES, batch.len - KAFKA_BATCH_HEADER_BYTES};
}

static enum err decode_failed(const struct kafka_batch *b, enum err e,
                              const struct err_detail *inner, struct err_detail *why)
{
    e = e == ERR_MALFORMED ? ERR_BAD_RECORD_BATCH : e;
    return err_set(why, e, "record batch at offset %lld: %s", (long long)b->base_offset,
                   err_text(e, inner));
}

static enum err records_open(struct kafka_records *it, struct str batch, struct compress *c,
                             struct buf *scratch, bool markers, struct err_detail *why)
{
    struct kafka_batch b;
    *it = (struct kafka_records){.last_delta = -1};
    TRY(kafka_batch_parse(batch, &b, why));
    if (batch.len != b.bytes) {
        return bad(why, "its length is not that of its bytes");
    }
    struct str records = records_bytes(batch);
    if (b.control && !markers) {
        records.len = 0;
        b.n_records = 0;
    } else if (b.codec != COMPRESS_NONE) {
        if (c == NULL || scratch == NULL) {
            return bad(why, "it is compressed, which it may not be here");
        }
        buf_clear(scratch);
        struct err_detail inner = {0};
        enum err e = compress_decode(c, b.codec, records, scratch, &inner);
        if (e != ERR_OK) {
            return decode_failed(&b, e, &inner, why);
        }
        records = buf_str(scratch);
    }
    records_begin(it, &b, records);
    return ERR_OK;
}

enum err kafka_records_open(struct kafka_records *it, struct str batch, struct compress *c,
                            struct buf *scratch, struct err_detail *why)
{
    return records_open(it, batch, c, scratch, false, why);
}

enum err kafka_records_open_control(struct kafka_records *it, struct str batch, struct compress *c,
                                    struct buf *scratch, struct err_detail *why)
{
    return records_open(it, batch, c, scratch, true, why);
}

size_t kafka_records_read(struct kafka_records *it, struct kafka_record *out, size_t max)
{
    size_t n = it->left < 0 ? 0 : (size_t)it->left;
    n = n < max ? n : max;
    struct kafka_records local = *it;
    size_t i = 0;
    for (; i < n; i++) {
        const char *problem = record_parse(&local, &out[i]);
        if (UNLIKELY(problem != NULL)) {
            records_fail(&local, problem);
            *it = local;
            return i;
        }
    }
    local.left -= (int32_t)i;
    if (i > 0 && local.left == 0 && local.at != local.end) {
        records_fail(&local, "bytes are left over");
    }
    *it = local;
    return i;
}

static inline void skim_add(struct kafka_skim *s, int64_t timestamp, bool keyless)
{
    s->timestamp_min = timestamp < s->timestamp_min ? timestamp : s->timestamp_min;
    s->timestamp_max = timestamp > s->timestamp_max ? timestamp : s->timestamp_max;
    s->keyless |= keyless;
}

/* The varint of one or two bytes at bytes[*at], not yet unzigzagged; a longer one sets *bad. */
static inline uint32_t varint_two(const uint8_t *bytes, size_t *at, uint32_t *bad)
{
    uint32_t first = bytes[(*at)++];
    if (first < 0x80) {
        return first;
    }
    uint32_t second = bytes[(*at)++];
    *bad |= second & 0x80;
    return (first & 0x7f) | second << 7;
}

/* Bytes of what a length stands before, which may be -1 for NULL; a smaller one sets *bad. */
static inline size_t nullable_two(uint32_t zigzagged, uint32_t *bad)
{
    *bad |= (zigzagged & 1) & (uint32_t)(zigzagged != 1);
    return zigzagged >> 1;
}

/* Reads over a record of the usual form: no headers, lengths and deltas in at most two bytes. False
 * when it has another, or is not valid: then nothing has happened. */
static inline bool record_skim(struct kafka_records *it, struct kafka_skim *s)
{
    enum { UP_TO_KEY_BYTES = 2 + 1 + 2 + 2 + 2, VALUE_LENGTH_BYTES = 2 };
    const uint8_t *bytes = it->at;
    size_t room = (size_t)(it->end - bytes), at = 0;
    uint32_t bad = 0;
    if (UNLIKELY(room < UP_TO_KEY_BYTES)) {
        return false;
    }
    uint32_t length = varint_two(bytes, &at, &bad);
    size_t end = at + (length >> 1);
    at++; /* the attributes, which are unused */
    uint32_t timestamp_delta = varint_two(bytes, &at, &bad);
    uint32_t delta = varint_two(bytes, &at, &bad);
    uint32_t key = varint_two(bytes, &at, &bad);
    at += nullable_two(key, &bad);
    if (UNLIKELY(end > room || at + VALUE_LENGTH_BYTES > end)) {
        return false;
    }
    at += nullable_two(varint_two(bytes, &at, &bad), &bad);
    int32_t offset_delta = (int32_t)(delta >> 1);
    bad |= (length | delta) & 1; /* negative */
    if (UNLIKELY(bad != 0 || at + 1 != end || bytes[at] != 0 || offset_delta <= it->last_delta ||
                 offset_delta > it->max_delta)) {
        return false;
    }
    skim_add(s, (int64_t)((uint64_t)it->base_timestamp + unzigzag(timestamp_delta)), key == 1);
    it->at = bytes + end;
    it->last_delta = offset_delta;
    return true;
}

/* The same for any record. On damage nothing is left. */
static __attribute__((noinline)) void record_skim_any(struct kafka_records *it,
                                                      struct kafka_skim *s)
{
    struct kafka_record r;
    const char *problem = record_parse(it, &r);
    if (problem != NULL) {
        records_fail(it, problem);
        return;
    }
    skim_add(s, r.timestamp, r.key.ptr == NULL);
    it->left--;
}

/* Reads over the next `n_max` records, or those that are left, of a batch with create time;
 * kafka_records_end tells of damage. Most of what a producer's batch costs beside the checksum. */
static void records_skim(struct kafka_records *it, struct kafka_skim *out, int32_t n_max)
{
    struct kafka_records local = *it; /* in registers: its address goes nowhere */
    struct kafka_skim seen = *out;
    int32_t rest = local.left > n_max ? local.left - n_max : 0;
    while (local.left > rest) {
        if (LIKELY(record_skim(&local, &seen))) {
            local.left--;
            continue;
        }
        *it = local;
        *out = seen;
        record_skim_any(it, out);
        local = *it;
        seen = *out;
    }
    if (local.left == 0 && local.result == ERR_OK && local.at != local.end) {
        records_fail(&local, "bytes are left over");
    }
    *it = local;
    *out = seen;
}

bool kafka_records_next(struct kafka_records *it, struct kafka_record *out)
{
    return kafka_records_read(it, out, 1) == 1;
}

enum err kafka_records_end(const struct kafka_records *it, struct err_detail *why)
{
    if (it->result == ERR_OK) {
        return ERR_OK;
    }
    long long offset = (long long)it->base_offset + it->last_delta + 1;
    return err_set(why, it->result, "record at offset %lld: %s", offset, it->problem);
}

bool kafka_record_header(struct str *headers, struct kafka_header *out)
{
    const uint8_t *p = (const uint8_t *)headers->ptr;
    const uint8_t *end = p + headers->len;
    if (headers->len == 0 || (p = nullable(p, end, &out->key)) == NULL ||
        (p = nullable(p, end, &out->value)) == NULL) {
        return false;
    }
    *headers = (struct str){(const char *)p, (size_t)(end - p)};
    return true;
}

/* ---- a producer's run, in steps ---- */

void kafka_run_check_begin(struct kafka_run_check *k, char *run, size_t n,
                           const struct kafka_run_rules *rules, struct compress *c,
                           struct buf *scratch, struct kafka_run *out)
{
    *k = (struct kafka_run_check){
        .run = run, .n = n, .rules = rules, .c = c, .scratch = scratch, .out = out};
    out->n_batches = 0;
    out->n_records = 0;
    out->max_timestamp = INT64_MIN;
    out->largest_bytes = 0;
    out->n_errors = 0;
}

static struct str check_batch(const struct kafka_run_check *k)
{
    return (struct str){k->run + k->at, k->batch.bytes};
}

static void check_records_begin(struct kafka_run_check *k, struct str records)
{
    records_begin(&k->records, &k->batch, records);
    k->again = k->records;
    k->phase = RUN_RECORDS;
}

/* The header of the next batch, and its CRC. */
static enum err check_header(struct kafka_run_check *k, struct err_detail *why)
{
    TRY(kafka_batch_validate((struct str){k->run + k->at, k->n - k->at}, &k->batch, why));
    TRY(check_produced(&k->batch, k->rules->batch_bytes_max, why));
    if (k->batch.producer_id >= 0 && k->batch.bytes != k->n) {
        return bad(why, "a producer with an id sends one batch per partition and request");
    }
    k->seen = (struct kafka_skim){.timestamp_min = INT64_MAX, .timestamp_max = INT64_MIN};
    k->number = k->out->n_records;
    struct str records = records_bytes(check_batch(k));
    k->phase = k->batch.codec == COMPRESS_NONE ? RUN_RECORDS : RUN_DECODE;
    if (k->phase == RUN_RECORDS) {
        check_records_begin(k, records);
        return ERR_OK;
    }
    if (k->c == NULL || k->scratch == NULL) {
        return bad(why, "it is compressed, which it may not be here");
    }
    buf_clear(k->scratch);
    compress_decode_begin(k->c, k->batch.codec, records);
    return ERR_OK;
}

static enum err check_decode(struct kafka_run_check *k, int64_t *budget, struct err_detail *why)
{
    struct err_detail inner = {0};
    bool done;
    size_t left = (size_t)*budget;
    enum err e = compress_decode_step(k->c, k->scratch, &left, &done, &inner);
    *budget = (int64_t)left;
    if (e != ERR_OK) {
        return decode_failed(&k->batch, e, &inner, why);
    }
    if (done) {
        check_records_begin(k, buf_str(k->scratch));
    }
    return ERR_OK;
}

/* What its records say of the batch. */
static void check_finish(struct kafka_run_check *k)
{
    struct kafka_run *out = k->out;
    int64_t max_timestamp = k->seen.timestamp_max;
    if (max_timestamp != k->batch.max_timestamp) {
        set_max_timestamp(k->run + k->at, max_timestamp);
        set_crc(k->run + k->at);
    }
    out->producer_id = k->batch.producer_id;
    out->producer_epoch = k->batch.producer_epoch;
    out->transactional = k->batch.transactional;
    out->n_batches++;
    out->n_records += k->batch.n_records;
    if (max_timestamp > out->max_timestamp) {
        out->max_timestamp = max_timestamp;
    }
    if (k->batch.bytes > out->largest_bytes) {
        out->largest_bytes = k->batch.bytes;
    }
    k->at += k->batch.bytes;
    k->phase = RUN_HEADER;
}

enum err kafka_run_check_step(struct kafka_run_check *k, int64_t *budget, struct err_detail *why)
{
    if (k->n == 0) {
        return bad(why, "there is none");
    }
    while (k->at < k->n) {
        if (*budget <= 0) {
            return ERR_BUSY;
        }
        switch (k->phase) {
        case RUN_HEADER:
            TRY(check_header(k, why));
            break;
        case RUN_DECODE:
            TRY(check_decode(k, budget, why));
            break;
        case RUN_RECORDS:
            TRY(check_records(k, budget, why));
            break;
        case RUN_REFUSED:
            check_refused(k, budget, why);
            break;
        case RUN_END:
            break;
        }
        if (k->phase == RUN_END) {
            check_finish(k);
        }
    }
    return k->refused;
}

enum err kafka_run_validate(char *run, size_t n, const struct kafka_run_rules *rules,
                            struct compress *c, struct buf *scratch, struct kafka_run *out,
                            struct err_detail *why)
{
    struct kafka_run_check k;
    int64_t unlimited = INT64_MAX;
    kafka_run_check_begin(&k, run, n, rules, c, scratch, out);
    return kafka_run_check_step(&k, &unlimited, why);
}

/* ---- control batches ---- */

enum err kafka_marker_get(struct str batch, bool *commit)
{
    enum { TYPE_AT = 2, TYPE_ABORT = 0, TYPE_COMMIT = 1 };
    struct kafka_batch b;
    struct kafka_records it;
    struct kafka_record r;
    TRY(kafka_batch_parse(batch, &b, NULL));
    if (!b.control || b.codec != COMPRESS_NONE || batch.len < b.bytes) {
        return ERR_BAD_RECORD_BATCH;
    }
    records_begin(
        &it, &b,
        (struct str){batch.ptr + KAFKA_BATCH_HEADER_BYTES, b.bytes - KAFKA_BATCH_HEADER_BYTES});
    if (!kafka_records_next(&it, &r) || r.key.ptr == NULL || r.key.len < TYPE_AT + 2) {
        return ERR_BAD_RECORD_BATCH;
    }
    uint16_t type = be16_get(r.key.ptr + TYPE_AT);
    *commit = type == TYPE_COMMIT;
    return type == TYPE_COMMIT || type == TYPE_ABORT ? ERR_OK : ERR_BAD_RECORD_BATCH;
}
