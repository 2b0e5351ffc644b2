#include "engine/catalog_log.h"

#include "base/bytes.h"
#include "base/check.h"
#include "engine/records.h"
#include "engine/source.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    CHANGE_BYTES_MAX = 4 << 20,
    REPLAY_ARENA_BYTES_MAX = 256 << 20,
    FLOOR_BYTES = 24,
    FLOORS_PER_RECORD = 2048,
    SCHEMA_HEADER_BYTES = 9,
};

#define KEY_CHANGE          STR("change")
#define KEY_FLOOR           STR("floor")
#define KEY_SCHEMA          STR("schema")
#define KEY_SNAPSHOT_SCHEMA STR("snapshot_schema")
#define KEY_SNAPSHOT_BEGIN  STR("snapshot_begin")
#define KEY_SNAPSHOT_CHANGE STR("snapshot_change")
#define KEY_SNAPSHOT_FLOOR  STR("snapshot_floor")
#define KEY_SNAPSHOT_END    STR("snapshot_end")

/* ---- writing ---- */

static enum err append(struct catalog_log *cl, struct str key, struct str value, int64_t *end,
                       struct err_detail *why)
{
    uint64_t before = log_size_bytes(cl->part->log);
    TRY(record_append(cl->shard, cl->part, key, value, end, why));
    cl->since_bytes += log_size_bytes(cl->part->log) - before;
    return ERR_OK;
}

enum err catalog_log_change(struct catalog_log *cl, const struct catalog_change *change,
                            int64_t *end, struct err_detail *why)
{
    struct buf json;
    buf_init(&json, CHANGE_BYTES_MAX);
    enum err e = catalog_change_encode(change, &json);
    if (e == ERR_OK)
        e = append(cl, KEY_CHANGE, buf_str(&json), end, why);
    buf_deinit(&json);
    return e;
}

static void put_floor(struct buf *out, uint32_t reader, uint32_t partition, int64_t offset,
                      int64_t watermark_us)
{
    buf_put_be32(out, reader);
    buf_put_be32(out, partition);
    buf_put_be64(out, (uint64_t)offset);
    buf_put_be64(out, (uint64_t)watermark_us);
}

enum err catalog_log_floor(struct catalog_log *cl, uint32_t reader, uint32_t partition,
                           int64_t offset, int64_t watermark_us, int64_t *end)
{
    struct buf value;
    struct err_detail why;
    buf_init(&value, FLOOR_BYTES);
    put_floor(&value, reader, partition, offset, watermark_us);
    enum err e = buf_err(&value);
    if (e == ERR_OK)
        e = append(cl, KEY_FLOOR, buf_str(&value), end, &why);
    buf_deinit(&value);
    return e;
}

static void put_schema(struct buf *out, const struct schema *s)
{
    buf_put_be32(out, s->relation);
    buf_put_be32(out, s->id);
    buf_put_u8(out, (uint8_t)s->state);
    buf_put_str(out, s->text);
}

enum err catalog_log_schema(struct catalog_log *cl, const struct schema *schema, int64_t *end,
                            struct err_detail *why)
{
    struct buf value;
    buf_init(&value, CHANGE_BYTES_MAX);
    put_schema(&value, schema);
    enum err e = buf_err(&value);
    if (e == ERR_OK)
        e = append(cl, KEY_SCHEMA, buf_str(&value), end, why);
    buf_deinit(&value);
    return e;
}

/* ---- snapshots ---- */

struct snapshot {
    struct records out;
    struct buf json, floors;
    int64_t at_ms;
};

static enum err snapshot_change(void *arg, const struct catalog_change *change)
{
    struct snapshot *s = arg;
    /* The system's own topics are there before anything is read. */
    if (change->verb == CHANGE_CREATE_TOPIC && change->topic.number < NUMBER_FIRST_FREE)
        return ERR_OK;
    buf_clear(&s->json);
    TRY(catalog_change_encode(change, &s->json));
    records_add(&s->out, KEY_SNAPSHOT_CHANGE, buf_str(&s->json), s->at_ms, NULL, 0);
    return ERR_OK;
}

static void snapshot_floors_end(struct snapshot *s)
{
    if (s->floors.len > 0)
        records_add(&s->out, KEY_SNAPSHOT_FLOOR, buf_str(&s->floors), s->at_ms, NULL, 0);
    buf_clear(&s->floors);
}

static enum err snapshot_floor(void *arg, uint32_t reader, uint32_t partition, int64_t offset,
                               int64_t watermark_us)
{
    struct snapshot *s = arg;
    put_floor(&s->floors, reader, partition, offset, watermark_us);
    if (s->floors.len >= FLOORS_PER_RECORD * FLOOR_BYTES)
        snapshot_floors_end(s);
    return buf_err(&s->floors);
}

static enum err snapshot_schema(void *arg, const struct schema *schema)
{
    struct snapshot *s = arg;
    buf_clear(&s->json);
    put_schema(&s->json, schema);
    TRY(buf_err(&s->json));
    records_add(&s->out, KEY_SNAPSHOT_SCHEMA, buf_str(&s->json), s->at_ms, NULL, 0);
    return ERR_OK;
}

static enum err snapshot_make(struct snapshot *s, const struct catalog *catalog,
                              struct coordinator *co, const struct schemas *schemas,
                              struct err_detail *why)
{
    char count[16];
    records_add(&s->out, KEY_SNAPSHOT_BEGIN, STR(""), s->at_ms, NULL, 0);
    TRY(catalog_snapshot(catalog, snapshot_change, s));
    TRY(coordinator_floors(co, snapshot_floor, s));
    snapshot_floors_end(s);
    TRY(schemas_each(schemas, catalog, snapshot_schema, s));
    int n = snprintf(count, sizeof(count), "%u", s->out.n_records);
    records_add(&s->out, KEY_SNAPSHOT_END, (struct str){count, (size_t)n}, s->at_ms, NULL, 0);
    return records_finish(&s->out, why);
}

static bool snapshot_due(const struct catalog_log *cl)
{
    return cl->since_bytes >= cl->shard->engine->options.internal_segment_bytes &&
           cl->since_bytes >= 2 * cl->snapshot_bytes;
}

void catalog_log_compact(struct catalog_log *cl, const struct catalog *catalog,
                         struct coordinator *co)
{
    if (!snapshot_due(cl) || log_quarantined(cl->part->log))
        return;
    struct snapshot s = {.at_ms = cl->shard->wall_us / 1000};
    struct err_detail why = {0};
    int64_t base = -1;
    records_init(&s.out);
    buf_init(&s.json, CHANGE_BYTES_MAX);
    buf_init(&s.floors, (FLOORS_PER_RECORD + 1) * FLOOR_BYTES);
    enum err e = snapshot_make(&s, catalog, co, cl->shard->engine->schemas, &why);
    if (e == ERR_OK)
        e = part_append(cl->part, s.out.bytes.ptr, s.out.bytes.len, s.out.n_records, &base, &why);
    cl->since_bytes = 0;
    if (e == ERR_OK) {
        cl->snapshot_bytes = s.out.bytes.len;
        cl->snapshot_base = base;
        cl->snapshot_end = base + (int64_t)s.out.n_records;
    } else {
        engine_note(cl->shard->engine, "warning", "no snapshot of the catalog is written: %s",
                    err_text(e, &why));
    }
    records_deinit(&s.out);
    buf_deinit(&s.json);
    buf_deinit(&s.floors);
}

void catalog_log_durable(struct catalog_log *cl)
{
    const struct log_partition *log = cl->part->log;
    if (log_start_offset(log) < cl->snapshot_base &&
        log_durable_offset(log) >= cl->snapshot_end)
        part_drop_before(cl->part, cl->snapshot_base);
}

/* ---- reading back ---- */

struct reading {
    struct catalog_log *log;
    struct coordinator *coordinator;
    const struct catalog *catalog;
    struct arena *arena;
};

static enum err find_snapshot(void *arg, const struct kafka_record *rec, struct err_detail *why)
{
    const struct reading *r = arg;
    int64_t n;
    if (!str_eq(rec->key, KEY_SNAPSHOT_END))
        return ERR_OK;
    if (str_to_i64(rec->value, &n) != ERR_OK || n < 1 || n > rec->offset)
        return err_set(why, ERR_CORRUPT,
                       "sys.catalog offset %" PRId64 ": the end of a snapshot that has no begin",
                       rec->offset);
    /* An older one, whose first segments are gone already: a newer one comes behind it. */
    if (n > rec->offset - log_start_offset(r->log->part->log))
        return ERR_OK;
    r->log->snapshot_base = rec->offset - n;
    r->log->snapshot_end = rec->offset + 1;
    return ERR_OK;
}

static enum err read_floors(const struct reading *r, const struct kafka_record *rec,
                            struct err_detail *why)
{
    if (rec->value.len == 0 || rec->value.len % FLOOR_BYTES != 0)
        return err_set(why, ERR_CORRUPT, "sys.catalog offset %" PRId64 ": floors of %zu bytes",
                       rec->offset, rec->value.len);
    for (size_t at = 0; at < rec->value.len; at += FLOOR_BYTES) {
        const char *v = rec->value.ptr + at;
        TRY(coordinator_add_floor(r->coordinator, be32_get(v), be32_get(v + 4),
                                  (int64_t)be64_get(v + 8), (int64_t)be64_get(v + 16)));
    }
    return ERR_OK;
}

static enum err read_schema(const struct reading *r, const struct kafka_record *rec,
                            struct err_detail *why)
{
    struct str v = rec->value;
    int state = v.len < SCHEMA_HEADER_BYTES ? 0 : v.ptr[SCHEMA_HEADER_BYTES - 1];
    if (state != SCHEMA_FOUND && state != SCHEMA_REFUSED)
        return err_set(why, ERR_CORRUPT, "sys.catalog offset %" PRId64 ": no schema", rec->offset);
    return schemas_add(r->log->shard->engine->schemas, be32_get(v.ptr), be32_get(v.ptr + 4),
                       (enum schema_state)state,
                       (struct str){v.ptr + SCHEMA_HEADER_BYTES, v.len - SCHEMA_HEADER_BYTES});
}

static enum err read_change(const struct reading *r, const struct kafka_record *rec,
                            struct err_detail *why)
{
    struct catalog_change change;
    TRY(catalog_change_decode(rec->value, r->arena, &change, why));
    return catalog_extend(r->catalog, &change, why);
}

static enum err read_record(void *arg, const struct kafka_record *rec, struct err_detail *why)
{
    const struct reading *r = arg;
    struct catalog_log *cl = r->log;
    bool of_snapshot = rec->offset < cl->snapshot_end;
    *(of_snapshot ? &cl->snapshot_bytes : &cl->since_bytes) += rec->key.len + rec->value.len;
    if (rec->offset == cl->snapshot_base && of_snapshot &&
        !str_eq(rec->key, KEY_SNAPSHOT_BEGIN))
        return err_set(why, ERR_CORRUPT, "sys.catalog offset %" PRId64 " begins no snapshot",
                       rec->offset);
    if (str_eq(rec->key, KEY_CHANGE))
        return read_change(r, rec, why);
    if (str_eq(rec->key, KEY_FLOOR))
        return read_floors(r, rec, why);
    if (str_eq(rec->key, KEY_SCHEMA) || (of_snapshot && str_eq(rec->key, KEY_SNAPSHOT_SCHEMA)))
        return read_schema(r, rec, why);
    /* Behind the snapshot that counts: one that was cut. */
    if (of_snapshot && str_eq(rec->key, KEY_SNAPSHOT_CHANGE))
        return read_change(r, rec, why);
    if (of_snapshot && str_eq(rec->key, KEY_SNAPSHOT_FLOOR))
        return read_floors(r, rec, why);
    if (rec->key.len >= 8 && memcmp(rec->key.ptr, "snapshot", 8) == 0)
        return ERR_OK;
    return err_set(why, ERR_UNSUPPORTED, "sys.catalog offset %" PRId64 ": a record \"%.*s\"",
                   rec->offset, STR_ARG(rec->key));
}

enum err catalog_log_open(struct catalog_log *cl, struct shard *s, struct coordinator *co,
                          const struct catalog *catalog, struct err_detail *why)
{
    *cl = (struct catalog_log){.shard = s, .part = part_find(s, NUMBER_CATALOG, 0)};
    struct arena a;
    struct reading r = {.log = cl, .coordinator = co, .catalog = catalog, .arena = &a};
    arena_init(&a, REPLAY_ARENA_BYTES_MAX);
    int64_t start = log_start_offset(cl->part->log);
    enum err e = records_each(cl->part, start, &a, find_snapshot, &r, why);
    if (e == ERR_OK && cl->snapshot_end == 0 && start > 0)
        e = err_set(why, ERR_CORRUPT,
                    "sys.catalog begins at offset %" PRId64 ", but has no snapshot of what was "
                    "before",
                    start);
    if (e == ERR_OK)
        e = records_each(cl->part, cl->snapshot_end > 0 ? cl->snapshot_base : start, &a,
                         read_record, &r, why);
    arena_deinit(&a);
    return e;
}
