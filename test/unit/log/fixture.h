/* Shared by the tests of log/: batches whose content follows from their offset, and a reader that
 * checks every record it sees. Included once by each test program. */
#ifndef TIDEMILL_TEST_LOG_FIXTURE_H
#define TIDEMILL_TEST_LOG_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "host/sim.h"
#include "log/log.h"
#include "wire/kafka_batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DIR "/t/topic-0"

enum { BUFFER_MAX = 4 << 20, TIME_0 = 1000000 };

static inline struct host *sim_new(uint64_t seed)
{
    const struct sim_options options = {.seed = seed, .wall_us = 1700000000000000};
    struct host *h = host_sim_open(&options);
    assert_non_null(h);
    assert_int_equal(host_dir_create(h, "/t", NULL), ERR_OK);
    assert_int_equal(host_dir_sync(h, "/"), ERR_OK);
    return h;
}

static inline struct log_config small_config(uint64_t segment_bytes)
{
    struct log_config c = log_config_default;
    c.segment_bytes = segment_bytes;
    c.index_interval_bytes = 256;
    return c;
}

/* The value of the record at an offset: from 0 to about 700 bytes. */
static inline size_t value_at(int64_t offset, char *out, size_t max)
{
    int n = snprintf(out, max, "value %" PRId64 " ", offset);
    size_t len = (size_t)n;
    size_t more = (size_t)((uint64_t)offset * 2654435761u % 97);
    more = offset % 13 == 5 ? more * 7 : more;
    for (size_t i = 0; i < more && len < max; i++) {
        out[len++] = (char)('a' + ((size_t)offset + i) % 26);
    }
    return len;
}

static inline int64_t time_at(int64_t offset)
{
    return TIME_0 + offset * 10;
}

/* Adds a batch with the records of offsets first .. first + n - 1. */
static inline void add_batch(struct buf *out, int64_t first, int n, uint32_t codec)
{
    struct kafka_batch_writer w;
    struct compress *c = compress_new();
    struct buf scratch;
    char value[1024];
    buf_init(&scratch, BUFFER_MAX);
    assert_non_null(c);
    kafka_batch_begin(&w, out, time_at(first));
    for (int i = 0; i < n; i++) {
        struct str s = {value, value_at(first + i, value, sizeof value)};
        kafka_batch_add(&w, STR("k"), s, time_at(first + i), NULL, 0);
    }
    assert_int_equal(kafka_batch_finish(&w, codec, c, &scratch, NULL), ERR_OK);
    compress_free(c);
    buf_deinit(&scratch);
}

/* Appends one batch of n records in a call of its own. */
static inline enum err append(struct log_partition *p, int n, uint32_t codec)
{
    struct buf b;
    int64_t base = -1;
    int64_t end = log_end_offset(p);
    buf_init(&b, BUFFER_MAX);
    add_batch(&b, end, n, codec);
    enum err e = log_append(p, b.ptr, b.len, -1, &base, NULL);
    if (e == ERR_OK) {
        assert_int_equal(base, end);
        assert_int_equal(log_end_offset(p), end + n);
    } else {
        assert_int_equal(log_end_offset(p), end);
    }
    buf_deinit(&b);
    return e;
}

static inline enum err sync_all(struct host *h, struct log_partition *p)
{
    struct log_sync s;
    while (log_sync_begin(p, &s)) {
        log_sync_run(h, &s);
        enum err e = log_sync_end(p, &s);
        if (e != ERR_OK) {
            return e;
        }
    }
    return ERR_OK;
}

/* Checks the records of a run of batches that begins at *next (or within: `from`). */
static inline enum err check_run(struct str run, int64_t first_offset, int64_t *next)
{
    struct compress *c = compress_new();
    struct buf scratch;
    struct kafka_batch b;
    struct str bytes;
    enum err result;
    char value[1024];
    int64_t offset = first_offset;
    buf_init(&scratch, BUFFER_MAX);
    while (kafka_batch_next(&run, &b, &bytes, &result, NULL)) {
        struct kafka_records it;
        struct kafka_record r;
        assert_int_equal(b.base_offset, offset);
        assert_int_equal(b.leader_epoch, 0);
        assert_int_equal(kafka_records_open(&it, bytes, c, &scratch, NULL), ERR_OK);
        while (kafka_records_next(&it, &r)) {
            size_t n = value_at(offset, value, sizeof value);
            assert_int_equal(r.offset, offset);
            assert_int_equal(r.timestamp, time_at(offset));
            assert_int_equal(r.value.len, n);
            assert_memory_equal(r.value.ptr, value, n);
            offset++;
        }
        assert_int_equal(kafka_records_end(&it, NULL), ERR_OK);
    }
    compress_free(c);
    buf_deinit(&scratch);
    *next = offset;
    return result;
}

/* Reads from `from` to `limit` in pieces of at most bytes_max, checking everything. *next is where
 * it ended: `limit`, or where an error was met. */
static inline enum err read_all(struct log_partition *p, int64_t from, int64_t limit,
                                size_t bytes_max, int64_t *next)
{
    *next = from;
    while (*next < limit) {
        struct log_range r;
        enum err e = log_read(p, *next, limit, bytes_max, &r, NULL);
        if (e != ERR_OK) {
            return e;
        }
        assert_true(r.len > 0);
        assert_true(r.first_offset <= *next && r.next_offset > *next);
        char *bytes = mem_alloc(r.len);
        assert_non_null(bytes);
        e = host_file_read(r.file, r.at, bytes, r.len);
        int64_t seen = *next;
        if (e == ERR_OK) {
            e = check_run((struct str){bytes, r.len}, r.first_offset, &seen);
        }
        if (e == ERR_OK) {
            assert_int_equal(seen, r.next_offset);
        }
        mem_free(bytes);
        log_range_release(&r);
        *next = seen;
        if (e != ERR_OK) {
            return e;
        }
    }
    return ERR_OK;
}

static inline void assert_all_readable(struct log_partition *p)
{
    static const size_t sizes[] = {1, 700, 5000, 1 << 20};
    int64_t next;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(read_all(p, log_start_offset(p), log_end_offset(p), sizes[i], &next),
                         ERR_OK);
        assert_int_equal(next, log_end_offset(p));
    }
}

static inline struct log_partition *open_with(struct host *h, const struct log_config *c,
                                              struct log_recovery *r)
{
    struct log_partition *p = NULL;
    struct err_detail why = {0};
    enum err e = log_open(h, DIR, c, &p, r, &why);
    if (e != ERR_OK) {
        fail_msg("log_open: %s", err_text(e, &why));
    }
    return p;
}

#endif
