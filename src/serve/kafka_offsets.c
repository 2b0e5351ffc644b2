#include "serve/kafka_offsets.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "serve/kafka_consumer_group.h"
#include "serve/kafka_int.h"
#include "wire/kafka_batch.h"

/*   NEW --no such topic yet--------------------------------> READY --write--> append --> durable
 * --> groups
 *    \--topic is there--> READING --all read--------------> READY
 *                               \--unreadable--> FAILED: every write is refused
 *
 * A snapshot (all offsets and epochs written anew) is taken when no write is under way, and writes
 * wait until it is appended, so that no older value can come to stand behind a newer one, and when
 * no transaction is open (new ones wait), so that none of their offsets lies before it; then
 * retention may drop what is before it. It is written a slice per turn. Every record stands for
 * itself: a snapshot that a crash cuts is as good as none. */
enum offsets_phase { OFFSETS_NEW, OFFSETS_READING, OFFSETS_READY, OFFSETS_FAILED };

enum { FULL_NOTE_MS = 60000 }; /* not more often than this */

static const struct str topic_name = {"sys.consumer_offsets", 20};

/* A batch of an open transaction. */
struct offsets_pending {
    struct list link;
    int64_t producer_id;
    uint32_t n_counted; /* records, in log->unstable */
    struct kafka_groups_need need; /* what they will take; of those read back nothing is kept */
    size_t n;
    char bytes[];
};

struct offsets_log {
    struct engine *engine;
    struct list pending;
    size_t pending_bytes;
    uint64_t n_left_out; /* records that were read, and had no room */
    int64_t full_noted_ms; /* when the operator was told that writes are refused */
    struct map unstable; /* hash of group, topic and partition -> how many pending records */
    uint64_t seed;       /* of the hashes, so that nobody chooses them */
    struct kafka_groups *groups;
    enum offsets_phase phase;
    const struct catalog *catalog; /* holds `topic` */
    const struct topic *topic;     /* NULL: not made yet */
    struct read_request read;
    struct buf chunk;
    struct ddl_request ddl;
    bool creating, stopped, snapshot_due;
    struct list queue; /* writes that wait for the topic or a snapshot */
    struct list flying; /* those that are appended and not durable */
    uint32_t in_flight;
    size_t appended_bytes; /* since the last snapshot */
    struct append_request snapshot;
    struct buf snapshot_bytes; /* the slice being written */
    bool snapshot_running, snapshot_ended;
    bool slice_due;           /* in the next turn */
    uint64_t snapshot_group;  /* the number of the group that comes next, */
    uint32_t snapshot_offset; /* and how many of its offsets are written */
    struct shard_call **waiting;
    uint32_t n_waiting, waiting_cap;
};

static struct shard *zero(const struct offsets_log *log)
{
    return engine_shard(log->engine, 0);
}

struct offsets_log *offsets_log_new(struct engine *e, struct kafka_groups *groups)
{
    struct offsets_log *log = mem_zalloc(1, sizeof *log);
    if (log == NULL)
        return NULL;
    log->engine = e;
    log->groups = groups;
    list_init(&log->queue);
    list_init(&log->flying);
    list_init(&log->pending);
    host_random(engine_host(e), &log->seed, sizeof log->seed);
    buf_init(&log->chunk, KAFKA_BATCH_BYTES_MAX);
    buf_init(&log->snapshot_bytes, 4 * OFFSETS_BATCH_BYTES_MAX);
    return log;
}

static uint64_t place_hash(const struct offsets_log *log, struct str group, struct str topic,
                           int32_t partition)
{
    uint64_t h = hash_bytes(group.ptr, group.len, log->seed);
    h = hash_bytes(topic.ptr, topic.len, h);
    return hash_bytes(&partition, sizeof partition, h) | 1;
}

/* Where a record's offset belongs; 0: it is none. */
static uint64_t record_place(const struct offsets_log *log, const struct kafka_record *record)
{
    struct arena none;
    struct kafka_reader r;
    struct kafka_offset_key key;
    arena_init(&none, 0);
    kafka_reader_init(&r, record->key, &none);
    if (kafka_read_int16(&r) != 1)
        return 0;
    kafka_offset_key_read(&r, 1, &key);
    return r.failed == NULL ? place_hash(log, key.group, key.topic, key.partition) : 0;
}

/* Counts the batch's offsets as undecided. ERR_NO_MEMORY after some: pending_free takes it. */
static enum err pending_count(struct offsets_log *log, struct offsets_pending *p)
{
    struct kafka_records records;
    struct kafka_record record;
    if (kafka_records_open(&records, (struct str){p->bytes, p->n}, NULL, NULL, NULL) != ERR_OK)
        return ERR_OK;
    for (; kafka_records_next(&records, &record); p->n_counted++) {
        uint64_t place = record_place(log, &record);
        if (place == 0)
            continue;
        uintptr_t n = (uintptr_t)map_get(&log->unstable, place);
        TRY(map_put(&log->unstable, place, (void *)(n + 1)));
    }
    return ERR_OK;
}

static void pending_uncount(struct offsets_log *log, const struct offsets_pending *p)
{
    struct kafka_records records;
    struct kafka_record record;
    if (p->n_counted == 0 ||
        kafka_records_open(&records, (struct str){p->bytes, p->n}, NULL, NULL, NULL) != ERR_OK)
        return;
    for (uint32_t i = 0; i < p->n_counted && kafka_records_next(&records, &record); i++) {
        uint64_t place = record_place(log, &record);
        uintptr_t n = place == 0 ? 0 : (uintptr_t)map_get(&log->unstable, place);
        if (n > 1)
            (void)!map_put(&log->unstable, place, (void *)(n - 1)); /* replaces: no memory */
        else if (n == 1)
            (void)map_remove(&log->unstable, place);
    }
}

static void pending_free(struct offsets_log *log, struct offsets_pending *p)
{
    pending_uncount(log, p);
    kafka_groups_release(log->groups, &p->need);
    list_remove(&p->link);
    log->pending_bytes -= p->n;
    mem_free(p);
}

void offsets_log_free(struct offsets_log *log)
{
    while (!list_empty(&log->pending))
        pending_free(log, LIST_ENTRY(log->pending.next, struct offsets_pending, link));
    map_deinit(&log->unstable);
    if (log->catalog != NULL)
        catalog_unref(log->catalog);
    buf_deinit(&log->chunk);
    buf_deinit(&log->snapshot_bytes);
    mem_free(log->waiting);
    mem_free(log);
}

bool offsets_log_ready(const struct offsets_log *log)
{
    return log->phase == OFFSETS_READY || log->phase == OFFSETS_FAILED;
}

bool offsets_log_await(struct offsets_log *log, struct shard_call *call)
{
    if (log->n_waiting == OFFSETS_WAITING_MAX)
        return false;
    if (log->n_waiting == log->waiting_cap) {
        uint32_t cap = log->waiting_cap == 0 ? 64 : log->waiting_cap * 2;
        struct shard_call **grown = mem_realloc(log->waiting, cap * sizeof(struct shard_call *));
        if (grown == NULL)
            return false;
        log->waiting = grown;
        log->waiting_cap = cap;
    }
    log->waiting[log->n_waiting++] = call;
    return true;
}

static void waiting_run(struct offsets_log *log)
{
    uint32_t n = log->n_waiting;
    log->n_waiting = 0;
    for (uint32_t i = 0; i < n; i++)
        log->waiting[i]->run(zero(log), log->waiting[i]);
}

static void phase_set(struct offsets_log *log, enum offsets_phase phase)
{
    log->phase = phase;
    waiting_run(log);
}

/* ---- records ---- */

static void put_key(struct buf *out, struct str group, struct str topic, int32_t partition)
{
    struct kafka_writer w = {.out = out};
    struct kafka_offset_key key = {group, topic, partition};
    kafka_write_int16(&w, 1);
    kafka_offset_key_write(&w, 1, &key);
}

static void put_value(struct buf *out, const struct kafka_offset_value *value)
{
    enum { VERSION = 4 };
    struct kafka_writer w = {.out = out};
    kafka_write_int16(&w, VERSION);
    kafka_offset_value_write(&w, VERSION, value);
}

static void put_epoch_key(struct buf *out, struct str group)
{
    struct kafka_writer w = {.out = out};
    struct kafka_group_epoch_key key = {group};
    kafka_write_int16(&w, 3);
    kafka_group_epoch_key_write(&w, 3, &key);
}

static void put_epoch_value(struct buf *out, int32_t epoch)
{
    struct kafka_writer w = {.out = out};
    struct kafka_group_epoch_value value = {epoch};
    kafka_write_int16(&w, 0);
    kafka_group_epoch_value_write(&w, 0, &value);
}

/* The rest of a record of a group's epochs. */
static enum err apply_epoch(struct offsets_log *log, struct kafka_reader *r,
                            const struct kafka_record *record)
{
    struct kafka_group_epoch_key key;
    struct kafka_group_epoch_value value;
    kafka_group_epoch_key_read(r, 3, &key);
    if (r->failed != NULL)
        return ERR_CORRUPT;
    if (record->value.ptr == NULL) {
        kafka_groups_epoch_remove(log->groups, key.group);
        return ERR_OK;
    }
    kafka_reader_init(r, record->value, r->arena);
    if (kafka_read_int16(r) != 0)
        return ERR_UNSUPPORTED;
    kafka_group_epoch_value_read(r, 0, &value);
    if (r->failed != NULL)
        return ERR_CORRUPT;
    return kafka_groups_epoch_put(log->groups, key.group, value.epoch);
}

/* Whoever commits is refused when there is no room; what an earlier program wrote all the same is
 * left out. */
static enum err room_for(struct offsets_log *log, const struct kafka_offset_key *key,
                         const struct kafka_offset_value *value)
{
    struct kafka_groups_need need = {0};
    kafka_groups_offset_need(log->groups, key->group, key->topic, key->partition,
                             value->metadata.len, &need);
    TRY(kafka_groups_reserve(log->groups, &need));
    kafka_groups_release(log->groups, &need);
    return ERR_OK;
}

/* The topic that the group has read since is gone: what it committed before, when the topic was not
 * told yet, was for that one or an older one. */
static void unnamed_remove(struct offsets_log *log, const struct kafka_offset_key *key)
{
    const struct kafka_group *g = kafka_groups_find(log->groups, key->group);
    const struct kafka_group_offset *o =
        g != NULL ? kafka_group_offset_find(g, key->topic, key->partition) : NULL;
    if (o != NULL && o->topic_number == 0)
        kafka_groups_offset_remove(log->groups, key->group, key->topic, key->partition);
}

/* An offset of a topic that was dropped is nobody's, also when there is one of that name again. */
static enum err apply_value(struct offsets_log *log, const struct kafka_offset_key *key,
                            const struct kafka_offset_value *value)
{
    const struct topic *t = NULL;
    if (kafka_uuid_is_zero(&value->topic_id)) { /* programs before version 4 did not tell it */
        log->snapshot_due = true;               /* from now on it is known */
    } else {
        t = catalog_topic_by_id(shard_catalog(zero(log)), value->topic_id.bytes);
        if (t == NULL) {
            unnamed_remove(log, key);
            return ERR_OK;
        }
    }
    if (log->phase == OFFSETS_READING)
        TRY(room_for(log, key, value));
    TRY(kafka_groups_offset_put(log->groups, key->group, key->topic, key->partition, value->offset,
                                value->leader_epoch, value->metadata, value->commit_timestamp));
    if (t != NULL)
        kafka_groups_offset_is_of(log->groups, key->group, key->topic, key->partition, t->number);
    return ERR_OK;
}

/* Puts one record read from the topic, or of a transaction that is committed, into the groups. */
static enum err apply_record(struct offsets_log *log, const struct kafka_record *record)
{
    struct arena none; /* keys and values have no arrays: nothing is allocated */
    arena_init(&none, 0);
    struct kafka_reader r;
    struct kafka_offset_key key;
    kafka_reader_init(&r, record->key, &none);
    int16_t version = kafka_read_int16(&r);
    if (r.failed == NULL && version == 3)
        return apply_epoch(log, &r, record);
    if (r.failed != NULL || version != 1)
        return ERR_OK; /* another kind of record */
    kafka_offset_key_read(&r, version, &key);
    if (r.failed != NULL)
        return ERR_CORRUPT;
    if (record->value.ptr == NULL) {
        kafka_groups_offset_remove(log->groups, key.group, key.topic, key.partition);
        return ERR_OK;
    }
    struct kafka_offset_value value;
    kafka_reader_init(&r, record->value, &none);
    version = kafka_read_int16(&r);
    if (r.failed == NULL && (version < 1 || version > 4))
        return ERR_UNSUPPORTED;
    kafka_offset_value_read(&r, version, &value);
    if (r.failed != NULL)
        return ERR_CORRUPT;
    return apply_value(log, &key, &value);
}

/* ---- transactions ---- */

static enum err batch_apply(struct offsets_log *log, struct str bytes, struct err_detail *why)
{
    struct kafka_records it;
    struct kafka_record record;
    TRY(kafka_records_open(&it, bytes, NULL, NULL, why));
    while (kafka_records_next(&it, &record)) {
        enum err e = apply_record(log, &record);
        if (e == ERR_LIMIT && log->phase == OFFSETS_READING)
            log->n_left_out++;
        else if (e != ERR_OK)
            return e;
    }
    return kafka_records_end(&it, why);
}

/* Keeps a copy; the caller links it when it is durable. NULL when there is no room. */
static struct offsets_pending *pending_new(struct offsets_log *log, int64_t producer_id,
                                           struct str bytes)
{
    if (log->pending_bytes + bytes.len > OFFSETS_PENDING_BYTES_MAX)
        return NULL;
    struct offsets_pending *p = mem_alloc(sizeof *p + bytes.len);
    if (p == NULL)
        return NULL;
    *p = (struct offsets_pending){.producer_id = producer_id, .n = bytes.len};
    list_init(&p->link);
    memcpy(p->bytes, bytes.ptr, bytes.len);
    log->pending_bytes += bytes.len;
    if (pending_count(log, p) == ERR_OK)
        return p;
    pending_free(log, p);
    return NULL;
}

static bool pending_has(const struct offsets_log *log, int64_t producer_id)
{
    LIST_FOR (it, &log->pending)
        if (LIST_ENTRY(it, struct offsets_pending, link)->producer_id == producer_id)
            return true;
    return false;
}

static void queue_run(struct offsets_log *log);

static enum err txn_ended(struct offsets_log *log, int64_t producer_id, bool commit)
{
    enum err e = ERR_OK;
    LIST_FOR_SAFE (it, next, &log->pending) {
        struct offsets_pending *p = LIST_ENTRY(it, struct offsets_pending, link);
        if (p->producer_id != producer_id)
            continue;
        if (commit && e == ERR_OK)
            e = batch_apply(log, (struct str){p->bytes, p->n}, NULL);
        pending_free(log, p);
    }
    return e;
}

void offsets_log_txn_ended(struct offsets_log *log, int64_t producer_id, bool commit)
{
    enum err e = txn_ended(log, producer_id, commit);
    if (e != ERR_OK)
        engine_note(log->engine, "error",
                    "kafka: offsets of a committed transaction cannot be kept in memory, they are "
                    "there after a restart: %s",
                    err_info(e)->text);
    queue_run(log);
}

bool offsets_log_unstable(const struct offsets_log *log, struct str group, struct str topic,
                          int32_t partition)
{
    return log->unstable.count > 0 &&
           map_get(&log->unstable, place_hash(log, group, topic, partition)) != NULL;
}

/* ---- reading back ---- */

static void read_next(struct offsets_log *log);

static void read_failed(struct offsets_log *log, enum err e, const struct err_detail *why)
{
    engine_note(log->engine, "error",
                "kafka: committed offsets cannot be read from topic %.*s at offset %lld: %s; "
                "consumer groups are refused until the topic is readable",
                STR_ARG(topic_name), (long long)log->read.offset, err_text(e, why));
    phase_set(log, OFFSETS_FAILED);
}

static enum err chunk_apply(struct offsets_log *log, struct err_detail *why)
{
    struct str run = buf_str(&log->chunk), bytes;
    struct kafka_batch batch;
    enum err result = ERR_OK;
    while (kafka_batch_next(&run, &batch, &bytes, &result, why)) {
        bool commit = false;
        if (batch.control) {
            TRY(kafka_marker_get(bytes, &commit));
            TRY(txn_ended(log, batch.producer_id, commit));
        } else if (batch.transactional) {
            struct offsets_pending *p = pending_new(log, batch.producer_id, bytes);
            if (p == NULL)
                return ERR_NO_MEMORY;
            list_add(&log->pending, &p->link);
        } else {
            TRY(batch_apply(log, bytes, why));
        }
    }
    return result;
}

static void read_done(struct read_request *read)
{
    struct offsets_log *log = CONTAINER_OF(read, struct offsets_log, read);
    enum err e = read->err;
    if (log->stopped) {
        if (e == ERR_OK && read->range.len > 0)
            log_range_release(&read->range);
        return;
    }
    if (e == ERR_OFFSET_OUT_OF_RANGE && read->offset < read->log_start_offset) {
        read->offset = read->log_start_offset;
        read_next(log);
        return;
    }
    if (e != ERR_OK) {
        read_failed(log, e, &read->why);
        return;
    }
    if (read->range.len == 0) {
        if (log->n_left_out > 0)
            engine_note(log->engine, "error",
                        "kafka: %llu committed offsets were left out: there are too many",
                        (unsigned long long)log->n_left_out);
        phase_set(log, OFFSETS_READY);
        return;
    }
    buf_clear(&log->chunk);
    char *room = buf_reserve(&log->chunk, read->range.len);
    e = room == NULL ? ERR_NO_MEMORY
                     : host_file_read(read->range.file, read->range.at, room, read->range.len);
    log->chunk.len = e == ERR_OK ? read->range.len : 0;
    read->offset = read->range.next_offset;
    log_range_release(&read->range);
    if (e == ERR_OK)
        e = chunk_apply(log, &read->why);
    if (e != ERR_OK)
        read_failed(log, e, &read->why);
    else
        read_next(log);
}

static void read_next(struct offsets_log *log)
{
    log->read.topic = log->topic;
    log->read.partition = 0;
    log->read.bytes_max = OFFSETS_READ_BYTES;
    log->read.done = read_done;
    log->read.why = (struct err_detail){0};
    shard_read(zero(log), &log->read);
}

static bool topic_take(struct offsets_log *log)
{
    const struct catalog *c = shard_catalog(zero(log));
    const struct topic *t = c == NULL ? NULL : catalog_topic(c, topic_name);
    if (t == NULL)
        return false;
    log->catalog = catalog_ref(c);
    log->topic = t;
    return true;
}

static void snapshot_next(struct offsets_log *log);

bool offsets_log_turn(struct offsets_log *log)
{
    if (log->slice_due) {
        log->slice_due = false;
        snapshot_next(log);
        return log->slice_due;
    }
    if (log->phase != OFFSETS_NEW || shard_catalog(zero(log)) == NULL)
        return false;
    if (!topic_take(log)) {
        phase_set(log, OFFSETS_READY);
        return false;
    }
    log->phase = OFFSETS_READING;
    read_next(log);
    return false;
}

/* ---- writing ---- */

static void write_end(struct offsets_write *w, enum err e)
{
    buf_deinit(&w->bytes);
    if (w->pending != NULL)
        pending_free(w->log, w->pending);
    w->pending = NULL;
    kafka_groups_release(w->log->groups, &w->need);
    w->done(w, e);
}

static void write_done(struct append_request *a)
{
    struct offsets_write *w = CONTAINER_OF(a, struct offsets_write, append);
    struct offsets_log *log = w->log;
    enum err e = a->err;
    if (e != ERR_OK)
        engine_note(log->engine, "error", "kafka: offsets of group %.*s were not committed: %s",
                    STR_ARG(w->group), err_text(e, &a->why));
    int64_t at_ms = shard_wall_us(zero(log)) / 1000;
    if (e == ERR_OK && w->pending != NULL) {
        list_add(&log->pending, &w->pending->link);
        w->pending = NULL;
    }
    for (uint32_t i = 0; i < w->n_items && e == ERR_OK && !w->transactional; i++) {
        const struct offsets_item *it = &w->items[i];
        if (it->is_epoch && it->remove)
            kafka_groups_epoch_remove(log->groups, w->group);
        else if (it->is_epoch)
            e = kafka_groups_epoch_put(log->groups, w->group, (int32_t)it->offset);
        else if (it->remove)
            kafka_groups_offset_remove(log->groups, w->group, it->topic, it->partition);
        else
            e = kafka_groups_offset_put(log->groups, w->group, it->topic, it->partition, it->offset,
                                        it->leader_epoch, it->metadata, at_ms);
        if (e == ERR_OK && !it->remove && !it->is_epoch)
            kafka_groups_offset_is_of(log->groups, w->group, it->topic, it->partition,
                                      it->topic_number);
    }
    log->in_flight--;
    list_remove(&w->link);
    write_end(w, e);
    queue_run(log);
}

static enum err write_encode(struct offsets_log *log, struct offsets_write *w)
{
    struct kafka_batch_writer batch;
    struct buf key, value;
    int64_t at_ms = shard_wall_us(zero(log)) / 1000;
    buf_init(&key, 1 << 17);
    buf_init(&value, 1 << 17);
    buf_init(&w->bytes, KAFKA_REQUEST_BYTES_MAX);
    kafka_batch_begin(&batch, &w->bytes, at_ms);
    for (uint32_t i = 0; i < w->n_items; i++) {
        const struct offsets_item *it = &w->items[i];
        buf_clear(&key);
        buf_clear(&value);
        if (it->is_epoch) {
            put_epoch_key(&key, w->group);
            put_epoch_value(&value, (int32_t)it->offset);
        } else {
            put_key(&key, w->group, it->topic, it->partition);
            put_value(&value, &(struct kafka_offset_value){.offset = it->offset,
                                                           .leader_epoch = it->leader_epoch,
                                                           .metadata = it->metadata,
                                                           .commit_timestamp = at_ms,
                                                           .topic_id = it->topic_id});
        }
        if (key.failed || value.failed)
            w->bytes.failed = true;
        kafka_batch_add(&batch, buf_str(&key), it->remove ? (struct str){NULL, 0} : buf_str(&value),
                        at_ms, NULL, 0);
    }
    buf_deinit(&key);
    buf_deinit(&value);
    TRY(kafka_batch_finish(&batch, COMPRESS_NONE, NULL, NULL, NULL));
    if (!w->transactional)
        return ERR_OK;
    kafka_batch_set_producer(w->bytes.ptr, w->producer_id, w->producer_epoch, -1, true);
    w->pending = pending_new(log, w->producer_id, buf_str(&w->bytes));
    if (w->pending == NULL)
        return ERR_NO_MEMORY;
    w->pending->need = w->need;
    w->need = (struct kafka_groups_need){0};
    return ERR_OK;
}

/* Keeps room for what is about to be written. */
static enum err write_reserve(struct offsets_log *log, struct offsets_write *w)
{
    struct kafka_groups_need need = {0};
    for (uint32_t i = 0; i < w->n_items; i++) {
        const struct offsets_item *it = &w->items[i];
        if (!it->remove && !it->is_epoch)
            kafka_groups_offset_need(log->groups, w->group, it->topic, it->partition,
                                     it->metadata.len, &need);
    }
    enum err e = kafka_groups_reserve(log->groups, &need);
    if (e == ERR_OK)
        w->need = need;
    int64_t now_ms = shard_mono_ns(zero(log)) / 1000000;
    if (e != ERR_OK && (log->full_noted_ms == 0 || now_ms - log->full_noted_ms > FULL_NOTE_MS)) {
        log->full_noted_ms = now_ms;
        engine_note(log->engine, "warning",
                    "kafka: offsets of group %.*s, and others, are refused: there are %u offsets "
                    "of %u groups in %zu bytes, and as much as there may be with what is under way "
                    "(at most %d, %d, %d); delete groups that are not used",
                    STR_ARG(w->group), log->groups->n_offsets, log->groups->n, log->groups->bytes,
                    GROUP_OFFSETS_MAX, GROUPS_MAX, GROUPS_BYTES_MAX);
    }
    return e;
}

/* Would the removals take nothing but what was meant? A commit that is in the log already, and not
 * seen yet, would be taken by a removal behind it. */
static bool removals_safe(const struct offsets_log *log, const struct offsets_write *w)
{
    const struct kafka_group *g = kafka_groups_find(log->groups, w->group);
    LIST_FOR (it, &log->flying) {
        if (str_eq(LIST_ENTRY(it, struct offsets_write, link)->group, w->group))
            return false;
    }
    for (uint32_t i = 0; i < w->n_items; i++) {
        const struct offsets_item *it = &w->items[i];
        const struct kafka_group_offset *o =
            g == NULL || it->is_epoch ? NULL
                                      : kafka_group_offset_find(g, it->topic, it->partition);
        if (it->is_epoch)
            continue;
        if (o == NULL || o->offset != it->offset || o->topic_number != it->topic_number ||
            offsets_log_unstable(log, w->group, it->topic, it->partition))
            return false;
    }
    return true;
}

static void write_append(struct offsets_log *log, struct offsets_write *w)
{
    enum err e = w->still == NULL || w->still(w) ? ERR_OK : ERR_TXN_STATE;
    if (e == ERR_OK && w->cautious && !removals_safe(log, w))
        e = ERR_BUSY;
    if (e == ERR_OK)
        e = write_reserve(log, w);
    if (e == ERR_OK)
        e = write_encode(log, w);
    if (e != ERR_OK) {
        write_end(w, e);
        return;
    }
    w->append = (struct append_request){
        .topic = log->topic,
        .batches = w->bytes.ptr,
        .n_bytes = w->bytes.len,
        .n_records = w->n_items,
        .want_durable = true,
        .internal = true,
        .done = write_done,
    };
    log->in_flight++;
    list_add(&log->flying, &w->link);
    log->appended_bytes += w->bytes.len;
    if (log->appended_bytes >= OFFSETS_SNAPSHOT_AFTER_BYTES)
        log->snapshot_due = true;
    shard_append(zero(log), &w->append);
}

static void queue_fail(struct offsets_log *log, enum err e)
{
    while (!list_empty(&log->queue)) {
        struct offsets_write *w = LIST_ENTRY(log->queue.next, struct offsets_write, link);
        list_remove(&w->link);
        w->done(w, e);
    }
}

/* ---- snapshot ---- */

static void snapshot_end(struct offsets_log *log)
{
    log->snapshot_running = false;
    log->appended_bytes = 0;
    buf_deinit(&log->snapshot_bytes);
    queue_run(log);
}

static void snapshot_done(struct append_request *a)
{
    struct offsets_log *log = CONTAINER_OF(a, struct offsets_log, snapshot);
    if (a->err != ERR_OK)
        engine_note(log->engine, "error", "kafka: no snapshot of committed offsets: %s",
                    err_text(a->err, &a->why));
    if (a->err != ERR_OK || log->snapshot_ended || log->stopped)
        snapshot_end(log); /* after an error it is tried again after as many bytes */
    else
        log->slice_due = true;
}

/* One record, with its key and value in buffers that are used again. */
struct slice {
    struct kafka_batch_writer batch;
    struct buf key, value;
    int64_t at_ms;
    uint32_t n_records;
};

static void slice_add(struct slice *sl)
{
    kafka_batch_add(&sl->batch, buf_str(&sl->key), buf_str(&sl->value), sl->at_ms, NULL, 0);
    buf_clear(&sl->key);
    buf_clear(&sl->value);
    sl->n_records++;
}

static void slice_offset(const struct offsets_log *log, struct slice *sl,
                         const struct kafka_group *g, const struct kafka_group_offset *o)
{
    const struct catalog *c = shard_catalog(zero(log));
    const struct topic *t = o->topic_number != 0 ? catalog_topic_by_number(c, o->topic_number)
                                                 : catalog_topic(c, o->topic);
    struct kafka_offset_value value = {.offset = o->offset,
                                       .leader_epoch = o->leader_epoch,
                                       .metadata = o->metadata,
                                       .commit_timestamp = o->at_ms};
    if (t == NULL)
        return; /* its topic is gone */
    memcpy(value.topic_id.bytes, t->id, sizeof value.topic_id.bytes);
    put_key(&sl->key, g->id, o->topic, o->partition);
    put_value(&sl->value, &value);
    slice_add(sl);
}

/* The group's records from the position on, until the slice is full. True: all of it is written. */
static bool slice_group(struct offsets_log *log, struct slice *sl, const struct kafka_group *g)
{
    uint32_t skip = log->snapshot_offset, at = 0;
    if (skip == 0 && g->consumer != NULL) {
        put_epoch_key(&sl->key, g->id);
        put_epoch_value(&sl->value, g->consumer->epoch_logged);
        slice_add(sl);
    }
    LIST_FOR (it, &g->offsets) {
        const struct kafka_group_offset *o = LIST_ENTRY(it, struct kafka_group_offset, link);
        if (at++ < skip)
            continue;
        slice_offset(log, sl, g, o);
        log->snapshot_offset = at;
        if (kafka_batch_bytes(&sl->batch) >= OFFSETS_BATCH_BYTES_MAX)
            return at == g->n_offsets;
    }
    return true;
}

/* Encodes the next slice. Offsets do not change meanwhile, since writes wait; groups come (at the
 * end) and go, so that the place is kept as a number. */
static enum err snapshot_slice(struct offsets_log *log, uint32_t *n_records)
{
    struct slice sl = {.at_ms = shard_wall_us(zero(log)) / 1000};
    buf_init(&sl.key, 1 << 17);
    buf_init(&sl.value, 1 << 17);
    buf_clear(&log->snapshot_bytes);
    kafka_batch_begin(&sl.batch, &log->snapshot_bytes, sl.at_ms);
    log->snapshot_ended = true;
    LIST_FOR (it, &log->groups->all) {
        const struct kafka_group *g = LIST_ENTRY(it, struct kafka_group, link);
        if (g->number < log->snapshot_group)
            continue;
        if (g->number > log->snapshot_group)
            log->snapshot_offset = 0;
        log->snapshot_group = g->number;
        bool whole = slice_group(log, &sl, g);
        if (whole) {
            log->snapshot_group++;
            log->snapshot_offset = 0;
        }
        if (!whole || kafka_batch_bytes(&sl.batch) >= OFFSETS_BATCH_BYTES_MAX) {
            log->snapshot_ended = false;
            break;
        }
    }
    buf_deinit(&sl.key);
    buf_deinit(&sl.value);
    *n_records = sl.n_records;
    return kafka_batch_finish(&sl.batch, COMPRESS_NONE, NULL, NULL, NULL);
}

static void snapshot_next(struct offsets_log *log)
{
    uint32_t n_records = 0;
    enum err e = snapshot_slice(log, &n_records);
    if (e != ERR_OK || n_records == 0) {
        snapshot_end(log); /* tried again after as many bytes */
        return;
    }
    log->snapshot = (struct append_request){
        .topic = log->topic,
        .batches = log->snapshot_bytes.ptr,
        .n_bytes = log->snapshot_bytes.len,
        .n_records = n_records,
        .want_durable = log->snapshot_ended,
        .internal = true,
        .done = snapshot_done,
    };
    shard_append(zero(log), &log->snapshot);
}

static void snapshot_begin(struct offsets_log *log)
{
    log->snapshot_due = false;
    log->snapshot_running = true;
    log->snapshot_group = 0;
    log->snapshot_offset = 0;
    snapshot_next(log);
}

static void queue_run(struct offsets_log *log)
{
    if (log->stopped) {
        queue_fail(log, ERR_SHUTDOWN);
        return;
    }
    if (log->topic == NULL)
        return; /* it is being made: by the end of that */
    bool open = !list_empty(&log->pending);
    if (log->snapshot_due && log->in_flight == 0 && !log->snapshot_running && !open)
        snapshot_begin(log);
    LIST_FOR_SAFE (it, next, &log->queue) {
        struct offsets_write *w = LIST_ENTRY(it, struct offsets_write, link);
        if (log->snapshot_running || (log->snapshot_due && !open))
            return;
        if (log->snapshot_due && w->transactional && !pending_has(log, w->producer_id))
            continue;
        list_remove(&w->link);
        write_append(log, w);
    }
}

/* ---- the topic's first use ---- */

static void created(struct ddl_request *d)
{
    struct offsets_log *log = CONTAINER_OF(d, struct offsets_log, ddl);
    log->creating = false;
    if (topic_take(log)) {
        queue_run(log);
        return;
    }
    engine_note(log->engine, "error", "kafka: topic %.*s cannot be made: %s", STR_ARG(topic_name),
                err_text(d->err, &d->why));
    queue_fail(log, d->err != ERR_OK ? d->err : ERR_BUSY);
}

static void topic_create(struct offsets_log *log)
{
    log->creating = true;
    log->ddl = (struct ddl_request){.if_not_exists = true, .done = created};
    log->ddl.change.verb = CHANGE_CREATE_TOPIC;
    log->ddl.change.name = topic_name;
    log->ddl.change.topic = (struct topic){
        .name = topic_name,
        .kind = TOPIC_INTERNAL,
        .n_partitions = 1,
    };
    struct topic_config *c = &log->ddl.change.topic.config;
    topic_config_set(c, TOPIC_RETENTION_BYTES, OFFSETS_RETENTION_BYTES);
    topic_config_set(c, TOPIC_SEGMENT_BYTES, OFFSETS_SEGMENT_BYTES);
    shard_ddl(zero(log), &log->ddl);
}

void offsets_log_write(struct offsets_log *log, struct offsets_write *w)
{
    w->log = log;
    if (log->stopped || log->phase != OFFSETS_READY) {
        w->done(w, log->stopped ? ERR_SHUTDOWN : ERR_CORRUPT);
        return;
    }
    list_add(&log->queue, &w->link);
    if (log->topic != NULL)
        queue_run(log);
    else if (!log->creating)
        topic_create(log);
}

void offsets_log_stop(struct offsets_log *log)
{
    log->stopped = true;
    queue_fail(log, ERR_SHUTDOWN);
    waiting_run(log);
}
