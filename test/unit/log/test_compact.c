/* log/log_compact: whatever was written, what is read afterwards has the same newest record for
 * each key, at the same offsets; also when a crash, a power cut or an error comes at any call. */
#include "fixture.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "log/log_compact.h"
#include "log/log_int.h"

enum {
    KEYS = 12,
    RECORDS_MAX = 4000,
    PRODUCERS = 3,
    NOW_MS = 2000000000,
    DAY_MS = 24 * 3600 * 1000,
};

/* ---- what was written ---- */

struct written {
    int8_t key; /* -1 = none */
    bool tombstone, aborted, marker;
    int8_t producer; /* -1 = none */
};

struct model {
    struct written records[RECORDS_MAX];
    int64_t n;
    uint32_t random;
    int keys_from; /* records have the keys from here on */
    bool plain;    /* none without key or value */
    int64_t open[PRODUCERS]; /* first offset of its transaction; -1 = none */
    int32_t sequence[PRODUCERS];
};

static uint32_t next_random(struct model *m, uint32_t below)
{
    m->random = m->random * 1664525 + 1013904223;
    return (m->random >> 8) % below;
}

static void model_init(struct model *m, uint32_t seed)
{
    memset(m, 0, sizeof *m);
    m->random = seed * 7919 + 1;
    for (int i = 0; i < PRODUCERS; i++) {
        m->open[i] = -1;
    }
}

/* Makes the batch that ends the buffer one of a producer. */
static void set_producer(struct buf *b, int64_t id, int32_t sequence, uint16_t more)
{
    char *p = b->ptr;
    be16_put(p + 21, (uint16_t)(be16_get(p + 21) | more));
    be64_put(p + 43, (uint64_t)id);
    be16_put(p + 51, 0);
    be32_put(p + 53, (uint32_t)sequence);
    be32_put(p + 17, crc32c(0, p + 21, b->len - 21));
}

enum { TRANSACTIONAL = 16, CONTROL = 32 };

static enum err put_buffer(struct log_partition *p, struct buf *b)
{
    int64_t base;
    enum err e = log_append(p, b->ptr, b->len, -1, &base, NULL);
    buf_deinit(b);
    return e;
}

static struct str key_text(int key, char text[16])
{
    int n = snprintf(text, 16, "key-%d", key);
    return key < 0 ? (struct str){NULL, 0} : (struct str){text, (size_t)n};
}

/* A batch of up to 5 records; producer -1 = nobody, else one of a transaction or not. */
static void write_records(struct log_partition *p, struct model *m, int producer, bool in_txn)
{
    struct buf b, scratch;
    struct kafka_batch_writer w;
    struct compress *c = compress_new();
    int n = 1 + (int)next_random(m, 5);
    char value[1024], key[16];
    buf_init(&b, BUFFER_MAX);
    buf_init(&scratch, BUFFER_MAX);
    kafka_batch_begin(&w, &b, time_at(m->n));
    struct written all[5];
    for (int i = 0; i < n; i++) {
        int64_t offset = m->n + i;
        int k = m->keys_from + (int)next_random(m, KEYS);
        all[i] = (struct written){.key = (int8_t)k, .producer = (int8_t)producer};
        all[i].tombstone = !m->plain && next_random(m, 6) == 0;
        if (!m->plain && next_random(m, 30) == 0) {
            all[i] = (struct written){.key = -1, .producer = (int8_t)producer};
        }
        struct str v = {value, value_at(offset, value, sizeof value)};
        struct kafka_header h = {STR("h"), STR("x")};
        kafka_batch_add(&w, key_text(all[i].key, key),
                        all[i].tombstone ? (struct str){NULL, 0} : v, time_at(offset), &h,
                        offset % 3 == 0);
    }
    assert_int_equal(kafka_batch_finish(&w, next_random(m, COMPRESS_CODECS), c, &scratch, NULL),
                     ERR_OK);
    if (producer >= 0) {
        set_producer(&b, 100 + producer, m->sequence[producer], in_txn ? TRANSACTIONAL : 0);
    }
    if (put_buffer(p, &b) == ERR_OK) {
        if (producer >= 0) {
            m->sequence[producer] += n;
        }
        if (producer >= 0 && in_txn && m->open[producer] < 0) {
            m->open[producer] = m->n;
        }
        memcpy(m->records + m->n, all, (size_t)n * sizeof *all);
        m->n += n;
    }
    buf_deinit(&scratch);
    compress_free(c);
}

static void write_marker(struct log_partition *p, struct model *m, int producer, bool commit)
{
    struct buf b;
    struct kafka_batch_writer w;
    const char key[4] = {0, 0, 0, commit ? 1 : 0};
    const char value[6] = {0};
    buf_init(&b, BUFFER_MAX);
    kafka_batch_begin(&w, &b, NOW_MS);
    kafka_batch_add(&w, (struct str){key, 4}, (struct str){value, 6}, NOW_MS, NULL, 0);
    assert_int_equal(kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, NULL), ERR_OK);
    set_producer(&b, 100 + producer, -1, TRANSACTIONAL | CONTROL);
    if (put_buffer(p, &b) != ERR_OK) {
        return;
    }
    /* None is open when a fault has refused its records. */
    for (int64_t i = m->open[producer]; i >= 0 && i < m->n && !commit; i++) {
        m->records[i].aborted |= m->records[i].producer == producer;
    }
    m->open[producer] = -1;
    m->records[m->n++] = (struct written){.key = -1, .producer = (int8_t)producer, .marker = true};
}

/* Plain batches, idempotent ones of producer 0, transactions of 1 and 2. */
static void write_some(struct log_partition *p, struct model *m, int batches)
{
    for (int i = 0; i < batches; i++) {
        uint32_t what = next_random(m, 10);
        int producer = what < 5 ? -1 : what < 7 ? 0 : what < 9 ? 1 : 2;
        write_records(p, m, producer, producer > 0);
        if (producer > 0 && next_random(m, 3) == 0) {
            write_marker(p, m, producer, next_random(m, 2) == 0);
        }
    }
}

static void end_transactions(struct log_partition *p, struct model *m)
{
    for (int i = 1; i < PRODUCERS; i++) {
        if (m->open[i] >= 0) {
            write_marker(p, m, i, i == 1);
        }
    }
}

/* Fills the active segment up, so that all before it is full. */
static void roll(struct log_partition *p, struct model *m)
{
    uint32_t n = p->n_segments;
    while (p->n_segments == n) {
        write_records(p, m, -1, false);
    }
}

/* ---- what is read ---- */

struct seen {
    bool there[RECORDS_MAX];
    bool empty_of_producer[RECORDS_MAX]; /* a batch without records begins here */
    int64_t n_batches;
};

static void check_record(const struct model *m, const struct kafka_record *r)
{
    char value[1024], key[16];
    const struct written *w = &m->records[r->offset];
    struct str k = key_text(w->key, key);
    size_t n = value_at(r->offset, value, sizeof value);
    assert_false(w->marker);
    assert_int_equal(r->timestamp, time_at(r->offset));
    assert_int_equal(r->n_headers, r->offset % 3 == 0);
    assert_int_equal(r->key.ptr == NULL, k.ptr == NULL);
    assert_true(k.ptr == NULL || str_eq(r->key, k));
    assert_int_equal(r->value.ptr == NULL, w->tombstone);
    assert_true(w->tombstone || str_eq(r->value, (struct str){value, n}));
}

static void check_batch(const struct model *m, const struct kafka_batch *b, struct str bytes,
                        struct seen *seen)
{
    struct compress *c = compress_new();
    struct buf scratch;
    struct kafka_records it;
    struct kafka_record r;
    buf_init(&scratch, BUFFER_MAX);
    assert_int_equal(kafka_records_open(&it, bytes, c, &scratch, NULL), ERR_OK);
    seen->n_batches++;
    if (b->control) {
        assert_true(m->records[b->base_offset].marker);
        assert_int_equal(b->n_records, 1);
        seen->there[b->base_offset] = true;
    }
    seen->empty_of_producer[b->base_offset] = b->n_records == 0 && b->producer_id >= 0;
    while (kafka_records_next(&it, &r)) {
        check_record(m, &r);
        seen->there[r.offset] = true;
    }
    assert_int_equal(kafka_records_end(&it, NULL), ERR_OK);
    buf_deinit(&scratch);
    compress_free(c);
}

/* Reads the whole log: every batch begins where the one before ended. */
static void read_log(struct log_partition *p, const struct model *m, size_t bytes_max,
                     struct seen *seen)
{
    int64_t next = log_start_offset(p);
    memset(seen, 0, sizeof *seen);
    while (next < log_end_offset(p)) {
        struct log_range range;
        struct kafka_batch b;
        struct str bytes;
        enum err result;
        assert_int_equal(log_read(p, next, log_end_offset(p), bytes_max, &range, NULL), ERR_OK);
        assert_true(range.first_offset >= next);
        for (; next < range.first_offset; next++) {
            const struct written *w = &m->records[next];
            assert_true(w->key >= 0 || w->marker || w->aborted); /* it is gone */
        }
        char *memory = mem_alloc(range.len);
        assert_int_equal(host_file_read(range.file, range.at, memory, range.len), ERR_OK);
        struct str run = {memory, range.len};
        while (kafka_batch_next(&run, &b, &bytes, &result, NULL)) {
            assert_int_equal(b.base_offset, next);
            assert_true(b.n_records > 0 || b.base_offset > range.first_offset);
            check_batch(m, &b, bytes, seen);
            next = b.base_offset + b.last_offset_delta + 1;
        }
        assert_int_equal(result, ERR_OK);
        assert_int_equal(range.next_offset, next);
        mem_free(memory);
        log_range_release(&range);
    }
    assert_int_equal(next, m->n);
}

/* The newest record of a key below `end` that counts; -1 = none. */
static int64_t newest(const struct model *m, int key, int64_t end)
{
    for (int64_t i = end - 1; i >= 0; i--) {
        if (m->records[i].key == key && !m->records[i].aborted) {
            return i;
        }
    }
    return -1;
}

/* Nothing is lost: the newest of each key (but tombstones when they may be gone), what has no key,
 * and what is not below `clean`. */
static void assert_nothing_lost(const struct model *m, const struct seen *seen, int64_t clean,
                                bool tombstones_stay)
{
    for (int64_t i = 0; i < m->n; i++) {
        const struct written *w = &m->records[i];
        bool needed = i >= clean || (w->key < 0 && !w->aborted && !w->marker) ||
                      (w->key >= 0 && newest(m, w->key, m->n) == i &&
                       (tombstones_stay || !w->tombstone));
        if (needed && !seen->there[i]) {
            fail_msg("offset %d is gone (key %d, below %d was compacted)", (int)i, w->key,
                     (int)clean);
        }
    }
}

/* What has a newer one below `clean` is gone, and so is what was aborted. */
static void assert_compacted(const struct model *m, const struct seen *seen, int64_t clean)
{
    for (int64_t i = 0; i < clean; i++) {
        const struct written *w = &m->records[i];
        bool old = w->key >= 0 && newest(m, w->key, clean) != i;
        if (!w->marker && (old || w->aborted) && seen->there[i]) {
            fail_msg("offset %d is still there (key %d, below %d was compacted)", (int)i, w->key,
                     (int)clean);
        }
    }
}

/* Readers of committed records are told of every aborted one that is still there, and never of a
 * transaction whose end they would wait for in vain. */
static void assert_aborted_known(struct log_partition *p, const struct model *m,
                                 const struct seen *seen)
{
    enum { ABORTED_MAX = 1000 };
    static struct log_aborted list[ABORTED_MAX];
    uint32_t n;
    int64_t end = log_end_offset(p);
    assert_int_equal(log_aborted(p, log_start_offset(p), end, list, ABORTED_MAX, &n, NULL), ERR_OK);
    for (uint32_t i = 0; i < n; i++) {
        assert_true(seen->there[list[i].marker_offset]);
        assert_true(m->records[list[i].marker_offset].marker);
        assert_int_equal(m->records[list[i].marker_offset].producer + 100, list[i].producer_id);
    }
    log_aborted_sort(list, n);
    for (int64_t i = 0; i < m->n; i++) {
        const struct written *w = &m->records[i];
        bool told = w->producer > 0 && log_aborted_has(list, n, 100 + w->producer, i);
        assert_true(!seen->there[i] || w->marker || told == w->aborted);
    }
}

/* ---- passes ---- */

static struct log_config compact_config(uint64_t segment_bytes)
{
    struct log_config c = small_config(segment_bytes);
    c.compact = true;
    c.min_cleanable_dirty_ratio = 0;
    c.delete_retention_ms = DAY_MS;
    return c;
}

/* One pass. False when there was nothing to do. */
static bool compact(struct log_partition *p, int64_t now_ms, int64_t below,
                    struct log_compacted *done, enum err *result)
{
    struct log_compaction *c;
    *result = log_compact_begin(p, now_ms, below, &c);
    if (*result != ERR_OK || c == NULL) {
        return false;
    }
    do {
        log_compact_run(c);
    } while (log_compact_step(p, c));
    *result = log_compact_end(p, c, done, NULL);
    return true;
}

static bool compact_well(struct log_partition *p, int64_t now_ms, struct log_compacted *done)
{
    enum err e;
    bool ran = compact(p, now_ms, INT64_MAX, done, &e);
    assert_int_equal(e, ERR_OK);
    return ran;
}

static void random_logs_are_compacted(void **state)
{
    (void)state;
    static struct model m;
    static struct seen seen;
    for (uint32_t seed = 0; seed < 40; seed++) {
        struct host *h = sim_new(seed);
        struct log_config c = compact_config(2000 + seed % 3 * 1500);
        struct log_partition *p = open_with(h, &c, NULL);
        model_init(&m, seed);
        for (int round = 0; round < 4; round++) {
            struct log_compacted done = {0};
            write_some(p, &m, 40);
            end_transactions(p, &m);
            roll(p, &m);
            assert_int_equal(sync_all(h, p), ERR_OK);
            uint64_t before = log_size_bytes(p);
            uint32_t segments = p->n_segments;
            assert_true(compact_well(p, NOW_MS, &done));
            assert_true(done.bytes_after < done.bytes_before);
            assert_int_equal(log_size_bytes(p), before - done.bytes_before + done.bytes_after);
            assert_int_equal(p->n_segments,
                             segments - done.segments_before + done.segments_after);
            assert_int_equal(p->clean_offset, log_active(p)->base_offset);
            for (size_t bytes = 1; bytes < 1 << 20; bytes *= 100) {
                read_log(p, &m, bytes, &seen);
                assert_nothing_lost(&m, &seen, p->clean_offset, true);
                assert_compacted(&m, &seen, p->clean_offset);
                assert_aborted_known(p, &m, &seen);
            }
            assert_false(compact_well(p, NOW_MS, &done)); /* nothing is left to do */
            if (round % 2 == 1) {
                struct log_recovery found;
                int64_t clean = p->clean_offset;
                log_close(p);
                p = open_with(h, &c, &found);
                assert_false(found.quarantined);
                assert_true(p->clean_offset <= clean);
                read_log(p, &m, 3000, &seen);
                assert_nothing_lost(&m, &seen, clean, true);
                assert_compacted(&m, &seen, clean);
                assert_aborted_known(p, &m, &seen);
            }
        }
        log_close(p);
        host_close(h);
    }
}

/* What a pass says of itself lasts; without it the next one begins from the start. */
static void the_clean_offset_outlives_a_restart(void **state)
{
    (void)state;
    static struct model m;
    struct host *h = sim_new(1);
    struct log_config c = compact_config(2000);
    struct log_partition *p = open_with(h, &c, NULL);
    model_init(&m, 1);
    write_some(p, &m, 60);
    end_transactions(p, &m);
    roll(p, &m);
    assert_int_equal(sync_all(h, p), ERR_OK);
    assert_true(compact_well(p, NOW_MS, NULL));
    int64_t clean = p->clean_offset;
    assert_true(clean > 0);
    write_records(p, &m, -1, false);
    assert_int_equal(sync_all(h, p), ERR_OK);
    log_close(p);
    p = open_with(h, &c, NULL);
    assert_int_equal(p->clean_offset, clean);
    assert_false(compact_well(p, NOW_MS, NULL));
    log_close(p);
    host_close(h);
}

static void open_transactions_and_limits_are_kept(void **state)
{
    (void)state;
    static struct model m;
    static struct seen seen;
    struct host *h = sim_new(3);
    struct log_config c = compact_config(1500);
    struct log_partition *p = open_with(h, &c, NULL);
    enum err e;
    model_init(&m, 3);
    for (int i = 0; i < 10; i++) {
        write_records(p, &m, -1, false);
    }
    int64_t open = m.n;
    write_records(p, &m, 1, true);
    for (int i = 0; i < 60; i++) {
        write_records(p, &m, -1, false);
    }
    assert_int_equal(sync_all(h, p), ERR_OK);
    (void)compact(p, NOW_MS, INT64_MAX, NULL, &e);
    assert_int_equal(e, ERR_OK);
    assert_true(p->clean_offset <= open);
    read_log(p, &m, 1 << 20, &seen);
    assert_nothing_lost(&m, &seen, p->clean_offset, true);
    write_marker(p, &m, 1, false);
    assert_int_equal(sync_all(h, p), ERR_OK);
    /* Its end is behind what may be compacted: it is found all the same. */
    int64_t below = open + 100;
    (void)compact(p, NOW_MS, below, NULL, &e);
    assert_int_equal(e, ERR_OK);
    assert_true(p->clean_offset > open && p->clean_offset <= below);
    read_log(p, &m, 1 << 20, &seen);
    assert_nothing_lost(&m, &seen, p->clean_offset, true);
    assert_compacted(&m, &seen, p->clean_offset);
    log_close(p);
    host_close(h);
}

static void ages_and_shares_decide_when(void **state)
{
    (void)state;
    static struct model m;
    struct host *h = sim_new(4);
    struct log_config c = compact_config(1500);
    struct log_partition *p = open_with(h, &c, NULL);
    model_init(&m, 4);
    for (int i = 0; i < 60; i++) {
        write_records(p, &m, -1, false);
    }
    assert_int_equal(sync_all(h, p), ERR_OK);
    int64_t third = p->segments[2]->base_offset;
    /* Nothing that is younger than the lag: the third segment's greatest time is too late. */
    c.min_compaction_lag_ms = 1000;
    log_configure(p, &c);
    assert_true(compact_well(p, p->segments[1]->max_timestamp + 1000, NULL));
    assert_int_equal(p->clean_offset, third);
    /* The share that is left is not enough; its age is. */
    c.min_compaction_lag_ms = 0;
    c.min_cleanable_dirty_ratio = 1;
    log_configure(p, &c);
    assert_false(compact_well(p, NOW_MS, NULL));
    c.max_compaction_lag_ms = 10;
    log_configure(p, &c);
    assert_true(compact_well(p, NOW_MS, NULL));
    assert_int_equal(p->clean_offset, log_active(p)->base_offset);
    c.compact = false;
    log_configure(p, &c);
    roll(p, &m);
    assert_int_equal(sync_all(h, p), ERR_OK);
    assert_false(compact_well(p, NOW_MS, NULL));
    log_close(p);
    host_close(h);
}

/* Tombstones and left-over markers go a day after the first pass that saw them, not before. */
static void tombstones_go_after_their_horizon(void **state)
{
    (void)state;
    static struct model m;
    static struct seen seen;
    struct host *h = sim_new(5);
    struct log_config c = compact_config(1500);
    struct log_partition *p = open_with(h, &c, NULL);
    int64_t tombstones = 0, markers = 0;
    model_init(&m, 5);
    write_some(p, &m, 80);
    end_transactions(p, &m);
    roll(p, &m);
    int64_t first_end = log_active(p)->base_offset;
    m.keys_from = KEYS;
    for (int pass = 0; pass < 3; pass++) {
        assert_int_equal(sync_all(h, p), ERR_OK);
        assert_true(compact_well(p, NOW_MS + (pass == 2 ? DAY_MS : pass), NULL));
        read_log(p, &m, 1 << 20, &seen);
        assert_nothing_lost(&m, &seen, p->clean_offset, pass < 2);
        assert_aborted_known(p, &m, &seen);
        tombstones = markers = 0;
        for (int64_t i = 0; i < first_end; i++) {
            tombstones += seen.there[i] && m.records[i].tombstone;
            markers += seen.there[i] && m.records[i].marker;
        }
        if (pass < 2) {
            assert_true(tombstones > 0 && markers > 3);
        }
        roll(p, &m);
    }
    assert_int_equal(tombstones, 0);
    /* Those of transactions with records that are still there stay. */
    int64_t bound = 0;
    for (int64_t i = 0; i < first_end; i++) {
        bound += seen.there[i] && m.records[i].producer > 0 && !m.records[i].marker;
        bound += seen.empty_of_producer[i];
    }
    assert_true(markers <= bound);
    log_close(p);
    host_close(h);
}

/* The producer's last batch is there when all its records are gone, with its numbers. */
static void the_last_batch_of_a_producer_stays(void **state)
{
    (void)state;
    static struct model m;
    static struct seen seen;
    struct host *h = sim_new(6);
    struct log_config c = compact_config(4000);
    struct log_partition *p = open_with(h, &c, NULL);
    model_init(&m, 6);
    m.plain = true;
    m.keys_from = KEYS; /* these stay: a range does not begin with empty batches */
    write_records(p, &m, -1, false);
    int64_t first = m.n;
    m.keys_from = 0;
    write_records(p, &m, 0, false);
    int64_t last = m.n;
    write_records(p, &m, 0, false);
    for (int i = 0; i < 80; i++) {
        write_records(p, &m, -1, false);
    }
    roll(p, &m);
    assert_int_equal(sync_all(h, p), ERR_OK);
    /* Its time is that of the records: a day later it is forgotten. */
    assert_true(compact_well(p, time_at(0) + 1000, NULL));
    read_log(p, &m, 1 << 20, &seen);
    for (int64_t i = first; i < last; i++) {
        assert_false(seen.there[i] || seen.empty_of_producer[i]);
    }
    assert_true(seen.empty_of_producer[last]);
    roll(p, &m);
    assert_int_equal(sync_all(h, p), ERR_OK);
    assert_true(compact_well(p, time_at(0) + 2 * DAY_MS, NULL));
    read_log(p, &m, 1 << 20, &seen);
    assert_false(seen.empty_of_producer[last]);
    log_close(p);
    host_close(h);
}

static void ranges_that_are_held_stay_readable(void **state)
{
    (void)state;
    static struct model m;
    static struct seen seen;
    struct host *h = sim_new(7);
    struct log_config c = compact_config(2000);
    struct log_partition *p = open_with(h, &c, NULL);
    struct log_range range;
    model_init(&m, 7);
    write_some(p, &m, 60);
    end_transactions(p, &m);
    roll(p, &m);
    assert_int_equal(sync_all(h, p), ERR_OK);
    assert_int_equal(log_read(p, 0, log_end_offset(p), 1 << 20, &range, NULL), ERR_OK);
    char *before = mem_alloc(range.len);
    char *after = mem_alloc(range.len);
    assert_int_equal(host_file_read(range.file, range.at, before, range.len), ERR_OK);
    assert_true(compact_well(p, NOW_MS, NULL));
    assert_int_equal(host_file_read(range.file, range.at, after, range.len), ERR_OK);
    assert_memory_equal(before, after, range.len);
    log_range_release(&range);
    mem_free(before);
    mem_free(after);
    read_log(p, &m, 1 << 20, &seen);
    assert_compacted(&m, &seen, p->clean_offset);
    log_close(p);
    host_close(h);
}

/* Retention takes segments while they are being written again. */
static void retention_meanwhile_wins(void **state)
{
    (void)state;
    static struct model m;
    static struct seen seen;
    for (int steps = 1; steps < 8; steps++) {
        struct host *h = sim_new(8);
        struct log_config c = compact_config(2000);
        struct log_partition *p = open_with(h, &c, NULL);
        struct log_compaction *pass;
        model_init(&m, 8);
        write_some(p, &m, 60);
        end_transactions(p, &m);
        roll(p, &m);
        assert_int_equal(sync_all(h, p), ERR_OK);
        assert_int_equal(log_compact_begin(p, NOW_MS, INT64_MAX, &pass), ERR_OK);
        int64_t cut = p->segments[2]->base_offset;
        bool more = true;
        for (int i = 0; i < 100 && more; i++) {
            log_compact_run(pass);
            if (i == steps) {
                (void)log_drop_before(p, cut);
                assert_int_equal(sync_all(h, p), ERR_OK);
            }
            more = log_compact_step(p, pass);
        }
        (void)!log_compact_end(p, pass, NULL, NULL);
        read_log(p, &m, 1 << 20, &seen);
        int64_t start = log_start_offset(p);
        log_close(p);
        p = open_with(h, &c, NULL);
        assert_int_equal(log_start_offset(p), start);
        read_log(p, &m, 1 << 20, &seen);
        log_close(p);
        host_close(h);
    }
}

/* ---- faults ---- */

/* Two passes with writes between. Ends at the first failing flush. */
static struct log_partition *work(struct host *h, struct model *m, int64_t *durable)
{
    struct log_config c = compact_config(2500);
    struct log_partition *p = NULL;
    enum err e;
    *durable = 0;
    model_init(m, 9);
    if (log_open(h, DIR, &c, &p, NULL, NULL) != ERR_OK) {
        return NULL;
    }
    for (int round = 0; round < 2; round++) {
        int64_t before = m->n;
        write_some(p, m, 30);
        end_transactions(p, m);
        if (sync_all(h, p) != ERR_OK || m->n == before) {
            return p;
        }
        *durable = log_durable_offset(p);
        (void)compact(p, NOW_MS + round, INT64_MAX, NULL, &e);
    }
    return p;
}

/* After any crash: the same newest records up to what was durable, and a pass that works. */
static void verify(struct host *h, struct model *m, int64_t durable)
{
    static struct seen seen;
    struct log_config c = compact_config(2500);
    struct log_recovery found;
    struct log_partition *p = open_with(h, &c, &found);
    if (found.quarantined) {
        struct log_range r;
        struct err_detail why = {0};
        (void)!log_read(p, log_end_offset(p), INT64_MAX, 1, &r, &why);
        fail_msg("%s", why.text);
    }
    assert_true(log_end_offset(p) >= durable && log_end_offset(p) <= m->n);
    m->n = log_end_offset(p); /* what was not durable may be gone, ends of transactions too */
    m->open[1] = m->open[2] = -1;
    for (int64_t i = 0; i < m->n; i++) {
        const struct written *w = &m->records[i];
        if (w->producer > 0 && (w->marker || m->open[w->producer] < 0)) {
            m->open[w->producer] = w->marker ? -1 : i;
        }
    }
    read_log(p, m, 1 << 20, &seen);
    for (int64_t i = 0; i < m->n; i++) {
        const struct written *w = &m->records[i];
        assert_true(seen.there[i] || w->marker || w->aborted ||
                    (w->key >= 0 && newest(m, w->key, m->n) != i));
    }
    for (int i = 1; i < PRODUCERS; i++) {
        if (m->open[i] >= 0) {
            write_marker(p, m, i, false);
        }
    }
    roll(p, m);
    roll(p, m);
    assert_int_equal(sync_all(h, p), ERR_OK);
    assert_true(compact_well(p, NOW_MS + 5, NULL));
    read_log(p, m, 1 << 20, &seen);
    assert_nothing_lost(m, &seen, p->clean_offset, true);
    assert_aborted_known(p, m, &seen);
    log_close(p);
    /* Nothing is left over, and every full segment can be dropped. */
    p = open_with(h, &c, NULL);
    read_log(p, m, 1 << 20, &seen);
    (void)log_drop_before(p, INT64_MAX);
    assert_int_equal(p->n_segments, 1);
    log_close(p);
}

static uint64_t calls_of_work(void)
{
    static struct model m;
    struct host *h = sim_new(1);
    int64_t durable;
    uint64_t before = host_sim_file_calls(h);
    struct log_partition *p = work(h, &m, &durable);
    uint64_t calls = host_sim_file_calls(h) - before;
    assert_true(p->clean_offset > 0);
    log_close(p);
    host_close(h);
    return calls;
}

static void a_crash_at_every_call_loses_nothing(void **state)
{
    (void)state;
    static struct model m;
    uint64_t calls = calls_of_work();
    assert_true(calls > 100);
    for (uint64_t n = 1; n <= calls; n++) {
        for (uint64_t kind = 0; kind < 4; kind++) {
            struct host *h = sim_new(1);
            int64_t durable;
            host_sim_fault_at(h, n, SIM_FAULT_STOP, false);
            struct log_partition *p = work(h, &m, &durable);
            h = kind == 0 ? host_sim_crash(h) : host_sim_power_cut(h, n * 4 + kind);
            log_close(p);
            verify(h, &m, durable);
            host_close(h);
        }
    }
}

static void every_failing_call_loses_nothing(void **state)
{
    (void)state;
    static struct model m;
    static const enum sim_fault faults[] = {SIM_FAULT_ERROR, SIM_FAULT_SHORT, SIM_FAULT_FULL};
    uint64_t calls = calls_of_work();
    for (uint64_t n = 1; n <= calls; n++) {
        for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
            struct host *h = sim_new(1);
            int64_t durable;
            host_sim_fault_at(h, n, faults[f], false);
            struct log_partition *p = work(h, &m, &durable);
            h = n % 2 == 0 ? host_sim_power_cut(h, n) : host_sim_crash(h);
            log_close(p);
            verify(h, &m, durable);
            host_close(h);
        }
    }
}

/* A second crash, while the start finishes what the first one left. */
static void a_crash_during_recovery_loses_nothing(void **state)
{
    (void)state;
    static struct model m;
    uint64_t calls = calls_of_work();
    for (uint64_t n = 1; n <= calls; n += 3) {
        for (uint64_t in_open = 1; in_open < 40; in_open += 1 + n % 3) {
            struct host *h = sim_new(1);
            struct log_config c = compact_config(2500);
            int64_t durable;
            host_sim_fault_at(h, n, SIM_FAULT_STOP, false);
            struct log_partition *p = work(h, &m, &durable);
            h = host_sim_power_cut(h, n);
            log_close(p);
            p = NULL;
            host_sim_fault_at(h, in_open, SIM_FAULT_STOP, false);
            if (log_open(h, DIR, &c, &p, NULL, NULL) == ERR_OK) {
                in_open = 40;
            }
            h = host_sim_power_cut(h, n + in_open);
            log_close(p);
            verify(h, &m, durable);
            host_close(h);
        }
    }
}

static void every_failing_allocation_loses_nothing(void **state)
{
    (void)state;
    static struct model m;
    static struct seen seen;
    struct log_config c = compact_config(2500);
    for (uint64_t n = 1;; n++) {
        struct host *h = sim_new(1);
        struct log_partition *p = open_with(h, &c, NULL);
        enum err e;
        model_init(&m, 10);
        write_some(p, &m, 60);
        end_transactions(p, &m);
        roll(p, &m);
        assert_int_equal(sync_all(h, p), ERR_OK);
        mem_fail_at(n, 1);
        (void)compact(p, NOW_MS, INT64_MAX, NULL, &e);
        uint64_t asked = mem_fail_count();
        mem_fail_at(0, 0);
        read_log(p, &m, 1 << 20, &seen);
        assert_nothing_lost(&m, &seen, log_active(p)->base_offset, true);
        log_close(p);
        host_close(h);
        if (asked < n) {
            assert_int_equal(e, ERR_OK);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_logs_are_compacted),
        cmocka_unit_test(the_clean_offset_outlives_a_restart),
        cmocka_unit_test(open_transactions_and_limits_are_kept),
        cmocka_unit_test(ages_and_shares_decide_when),
        cmocka_unit_test(tombstones_go_after_their_horizon),
        cmocka_unit_test(the_last_batch_of_a_producer_stays),
        cmocka_unit_test(ranges_that_are_held_stay_readable),
        cmocka_unit_test(retention_meanwhile_wins),
        cmocka_unit_test(a_crash_at_every_call_loses_nothing),
        cmocka_unit_test(every_failing_call_loses_nothing),
        cmocka_unit_test(a_crash_during_recovery_loses_nothing),
        cmocka_unit_test(every_failing_allocation_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
