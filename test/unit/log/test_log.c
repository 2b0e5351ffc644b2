/* log/: appending, reading, watermarks, rolling, retention, time, truncation on a healthy disk. */
#include "fixture.h"

#include "log/meta.h"

static void a_new_partition_is_empty(void **state)
{
    (void)state;
    struct host *h = sim_new(1);
    struct log_config c = log_config_default;
    struct log_recovery found;
    struct log_partition *p = open_with(h, &c, &found);
    struct log_range r;
    struct log_sync s;
    int64_t offset, ms;
    assert_int_equal(log_start_offset(p), 0);
    assert_int_equal(log_end_offset(p), 0);
    assert_int_equal(log_high_watermark(p), 0);
    assert_int_equal(log_size_bytes(p), 0);
    assert_int_equal(found.segments, 0);
    assert_false(found.quarantined);
    assert_int_equal(log_read(p, 0, 0, 1000, &r, NULL), ERR_OK);
    assert_int_equal(r.len, 0);
    log_range_release(&r);
    assert_int_equal(log_read(p, 1, 1, 1000, &r, NULL), ERR_OFFSET_OUT_OF_RANGE);
    assert_false(log_sync_begin(p, &s));
    assert_int_equal(log_offset_for_time(p, 0, &offset, &ms), ERR_OK);
    assert_int_equal(offset, -1);
    assert_int_equal(log_retain(p, 0, 0), 0);
    log_close(p);
    host_close(h);
}

static void what_is_appended_is_read_back(void **state)
{
    (void)state;
    struct host *h = sim_new(2);
    struct log_config c = small_config(8000);
    struct log_partition *p = open_with(h, &c, NULL);
    for (int i = 0; i < 200; i++) {
        assert_int_equal(append(p, 1 + i % 7, (uint32_t)(i % COMPRESS_CODECS)), ERR_OK);
        if (i % 9 == 0) {
            assert_int_equal(sync_all(h, p), ERR_OK);
            assert_int_equal(log_high_watermark(p), log_end_offset(p));
        }
    }
    assert_all_readable(p);
    assert_int_equal(sync_all(h, p), ERR_OK);
    int64_t end = log_end_offset(p);
    uint64_t bytes = log_size_bytes(p);
    for (int64_t from = 0; from < end; from += 5) {
        int64_t next;
        assert_int_equal(read_all(p, from, end, 3000, &next), ERR_OK);
    }
    log_close(p);
    for (int i = 0; i < 2; i++) {
        struct log_recovery found;
        p = open_with(h, &c, &found);
        assert_true(found.segments > 5);
        assert_int_equal(found.torn_bytes, 0);
        assert_int_equal(log_end_offset(p), end);
        assert_int_equal(log_durable_offset(p), end);
        assert_int_equal(log_high_watermark(p), end);
        assert_int_equal(log_size_bytes(p), bytes);
        assert_all_readable(p);
        log_close(p);
    }
    host_close(h);
}

static void an_append_of_several_batches_is_one_write(void **state)
{
    (void)state;
    struct host *h = sim_new(3);
    struct log_config c = small_config(1 << 20);
    struct log_partition *p = open_with(h, &c, NULL);
    struct buf b;
    int64_t base;
    assert_int_equal(append(p, 2, 0), ERR_OK);
    buf_init(&b, BUFFER_MAX);
    add_batch(&b, 2, 3, 0);
    add_batch(&b, 5, 1, COMPRESS_LZ4);
    add_batch(&b, 6, 10, 0);
    uint64_t calls = host_sim_file_calls(h);
    assert_int_equal(log_append(p, b.ptr, b.len, -1, &base, NULL), ERR_OK);
    assert_int_equal(host_sim_file_calls(h) - calls, 1);
    assert_int_equal(base, 2);
    assert_int_equal(log_end_offset(p), 16);
    assert_all_readable(p);
    buf_deinit(&b);
    log_close(p);
    host_close(h);
}

static void a_range_has_whole_batches(void **state)
{
    (void)state;
    struct host *h = sim_new(4);
    struct log_config c = small_config(1 << 20);
    struct log_partition *p = open_with(h, &c, NULL);
    struct log_range r;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(append(p, 10, 0), ERR_OK);
    }
    assert_int_equal(log_read(p, 37, 100, 1, &r, NULL), ERR_OK);
    assert_int_equal(r.first_offset, 30);
    assert_int_equal(r.next_offset, 40);
    size_t one = r.len;
    log_range_release(&r);
    assert_int_equal(log_read(p, 37, 100, one, &r, NULL), ERR_OK);
    assert_int_equal(r.len, one);
    log_range_release(&r);
    /* A limit inside a batch leaves that batch out. */
    assert_int_equal(log_read(p, 30, 55, 1 << 20, &r, NULL), ERR_OK);
    assert_int_equal(r.next_offset, 50);
    log_range_release(&r);
    assert_int_equal(log_read(p, 50, 55, 1 << 20, &r, NULL), ERR_OK);
    assert_int_equal(r.len, 0);
    assert_int_equal(r.next_offset, 50);
    log_range_release(&r);
    assert_int_equal(log_read(p, 100, 100, 1 << 20, &r, NULL), ERR_OK);
    assert_int_equal(r.len, 0);
    assert_int_equal(log_read(p, 101, 100, 1 << 20, &r, NULL), ERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(log_read(p, 60, 50, 1 << 20, &r, NULL), ERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(log_read(p, -1, 50, 1 << 20, &r, NULL), ERR_OFFSET_OUT_OF_RANGE);
    log_close(p);
    host_close(h);
}

static void a_tail_reader_reads_no_headers(void **state)
{
    (void)state;
    struct host *h = sim_new(5);
    struct log_config c = small_config(1 << 20);
    c.index_interval_bytes = 1 << 20;
    struct log_partition *p = open_with(h, &c, NULL);
    int64_t at = 0;
    for (int i = 0; i < 50; i++) {
        struct log_range r;
        assert_int_equal(append(p, 3, 0), ERR_OK);
        assert_int_equal(append(p, 2, 0), ERR_OK);
        assert_int_equal(sync_all(h, p), ERR_OK);
        uint64_t calls = host_sim_file_calls(h);
        assert_int_equal(log_read(p, at, log_high_watermark(p), 1 << 20, &r, NULL), ERR_OK);
        assert_int_equal(r.next_offset, log_end_offset(p));
        assert_int_equal(host_sim_file_calls(h), calls);
        at = r.next_offset;
        log_range_release(&r);
    }
    log_close(p);
    host_close(h);
}

static void watermarks_follow_their_rules(void **state)
{
    (void)state;
    struct host *h = sim_new(6);
    struct log_config c = small_config(1 << 20);
    struct log_sync s;
    c.manual_watermark = true;
    struct log_partition *p = open_with(h, &c, NULL);
    assert_int_equal(append(p, 5, 0), ERR_OK);
    log_raise_watermark(p, 5);
    assert_int_equal(log_high_watermark(p), 0);
    assert_true(log_sync_begin(p, &s));
    struct log_sync other;
    assert_false(log_sync_begin(p, &other));
    assert_int_equal(append(p, 5, 0), ERR_OK); /* not covered by the sync that runs */
    log_sync_run(h, &s);
    assert_int_equal(log_durable_offset(p), 0);
    assert_int_equal(log_sync_end(p, &s), ERR_OK);
    assert_int_equal(log_durable_offset(p), 5);
    assert_int_equal(log_high_watermark(p), 0);
    log_raise_watermark(p, 3);
    assert_int_equal(log_high_watermark(p), 3);
    log_raise_watermark(p, 2);
    assert_int_equal(log_high_watermark(p), 3);
    log_raise_watermark(p, 10);
    assert_int_equal(log_high_watermark(p), 5);
    assert_int_equal(sync_all(h, p), ERR_OK);
    log_close(p);
    p = open_with(h, &c, NULL);
    assert_int_equal(log_high_watermark(p), 0);
    assert_int_equal(log_durable_offset(p), 10);
    log_close(p);
    host_close(h);
}

static void flushing_can_be_left_to_the_system(void **state)
{
    (void)state;
    struct host *h = sim_new(30);
    struct log_config c = small_config(4000);
    struct log_partition *p = open_with(h, &c, NULL);
    int runs = 0;
    bool exists;
    for (int i = 0; i < 100; i++) {
        struct log_sync s;
        assert_int_equal(append(p, 4, 0), ERR_OK);
        assert_true(log_durable_assume(p));
        assert_int_equal(log_durable_offset(p), log_end_offset(p));
        assert_int_equal(log_high_watermark(p), log_end_offset(p));
        assert_false(log_durable_assume(p));
        if (log_sync_begin(p, &s)) {
            log_sync_run(h, &s);
            assert_int_equal(log_sync_end(p, &s), ERR_OK);
            runs++;
        }
        if (i == 50) {
            assert_true(log_drop_before(p, 100) > 0);
        }
    }
    assert_in_range(runs, 3, 20);
    assert_int_equal(host_path_exists(h, DIR "/00000000000000000000.log", &exists), ERR_OK);
    assert_false(exists);
    assert_all_readable(p);
    /* Full segments survive a power cut; the rest is what the system had written. */
    h = host_sim_power_cut(h, 1);
    log_close(p);
    p = open_with(h, &c, NULL);
    assert_false(log_quarantined(p));
    assert_true(log_end_offset(p) > 330);
    assert_all_readable(p);
    log_close(p);
    host_close(h);
}

/* What is appended while a full segment is being flushed does not wait for it, and what that flush
 * has to say afterwards is old. */
static void what_is_left_to_the_system_waits_for_no_flush(void **state)
{
    (void)state;
    struct host *h = sim_new(31);
    struct log_config c = small_config(4000);
    struct log_partition *p = open_with(h, &c, NULL);
    struct log_sync s, other;
    do {
        assert_int_equal(append(p, 4, 0), ERR_OK);
        assert_true(log_durable_assume(p));
    } while (!log_sync_begin(p, &s));
    assert_int_equal(s.n_segments, 1);
    assert_true(s.sealed[0]);
    assert_int_equal(append(p, 4, 0), ERR_OK);
    assert_true(log_durable_assume(p));
    assert_false(log_sync_begin(p, &other));
    int64_t end = log_end_offset(p);
    assert_int_equal(log_high_watermark(p), end);
    log_sync_run(h, &s);
    assert_int_equal(log_sync_end(p, &s), ERR_OK);
    assert_int_equal(log_durable_offset(p), end);
    assert_all_readable(p);
    log_close(p);
    host_close(h);
}

/* A full segment that was left to the system is written in pieces before it is flushed. The first
 * that is lost fails the flush, and those that are tried again. */
static void a_piece_that_is_lost_fails_the_flush(void **state)
{
    (void)state;
    enum { SIZE_CALL = 1, FIRST_PIECE = 2, SECOND_PIECE = 3 };
    for (uint64_t n = FIRST_PIECE; n <= SECOND_PIECE; n++) {
        struct host *h = sim_new(32);
        struct log_config c = small_config(5 << 19);
        struct log_partition *p = open_with(h, &c, NULL);
        struct log_sync s;
        do {
            assert_int_equal(append(p, 500, 0), ERR_OK);
            assert_true(log_durable_assume(p));
        } while (!log_sync_begin(p, &s));
        host_sim_fault_at(h, n, SIM_FAULT_ERROR, false);
        log_sync_run(h, &s);
        host_sim_fault_at(h, 0, SIM_FAULT_ERROR, false);
        assert_int_equal(log_sync_end(p, &s), ERR_SYNC_FAILED);
        assert_int_equal(sync_all(h, p), ERR_SYNC_FAILED);
        log_close(p);
        host_close(h);
    }
}

static void old_segments_are_dropped(void **state)
{
    (void)state;
    struct host *h = sim_new(7);
    struct log_config c = small_config(4000);
    struct log_partition *p = open_with(h, &c, NULL);
    struct log_range held;
    bool exists;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(append(p, 4, 0), ERR_OK);
    }
    assert_int_equal(log_drop_before(p, 400), 0); /* nothing is durable yet */
    assert_int_equal(sync_all(h, p), ERR_OK);
    assert_int_equal(log_read(p, 0, 400, 2000, &held, NULL), ERR_OK);

    assert_int_equal(log_drop_before(p, 0), 0);
    assert_true(log_drop_before(p, 99) > 0);
    assert_in_range(log_start_offset(p), 50, 99);
    assert_int_equal(log_drop_before(p, 99), 0);
    c.retention_bytes = 20000;
    log_configure(p, &c);
    assert_true(log_retain(p, 0, 150) > 0);
    assert_in_range(log_start_offset(p), 100, 150);
    assert_true(log_retain(p, 0, INT64_MAX) > 0);
    assert_in_range(log_size_bytes(p), 20000, 24500);
    int64_t start = log_start_offset(p);
    struct log_range r;
    assert_int_equal(log_read(p, start - 1, 400, 2000, &r, NULL), ERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(host_path_exists(h, DIR "/00000000000000000000.log", &exists), ERR_OK);
    assert_true(exists);
    assert_int_equal(sync_all(h, p), ERR_OK);
    assert_int_equal(host_path_exists(h, DIR "/00000000000000000000.log", &exists), ERR_OK);
    assert_false(exists);
    assert_all_readable(p);

    c.retention_bytes = -1;
    c.retention_ms = 500;
    log_configure(p, &c);
    assert_true(log_retain(p, time_at(400), INT64_MAX) > 0);
    assert_true(log_start_offset(p) > 300 && log_start_offset(p) <= 350);
    start = log_start_offset(p);
    /* The range still reads what it was given. */
    char *bytes = mem_alloc(held.len);
    int64_t next;
    assert_int_equal(host_file_read(held.file, held.at, bytes, held.len), ERR_OK);
    assert_int_equal(check_run((struct str){bytes, held.len}, 0, &next), ERR_OK);
    assert_int_equal(next, held.next_offset);
    mem_free(bytes);
    log_close(p);
    log_range_release(&held);
    p = open_with(h, &c, NULL); /* files that the last sync did not remove are removed now */
    assert_int_equal(log_start_offset(p), start);
    assert_int_equal(log_end_offset(p), 400);
    assert_all_readable(p);
    log_close(p);
    host_close(h);
}

static bool count_log(void *arg, const char *name)
{
    size_t n = strlen(name);
    *(uint32_t *)arg += n > 4 && strcmp(name + n - 4, ".log") == 0;
    return true;
}

static uint32_t files_of(struct host *h)
{
    uint32_t n = 0;
    assert_int_equal(host_dir_list(h, DIR, count_log, &n), ERR_OK);
    return n;
}

/* A range that was read before, whatever became of its file. */
static void assert_held(const struct log_range *r, int64_t from)
{
    char *bytes = mem_alloc(r->len);
    int64_t next;
    assert_non_null(bytes);
    assert_int_equal(host_file_read(r->file, r->at, bytes, r->len), ERR_OK);
    assert_int_equal(check_run((struct str){bytes, r->len}, from, &next), ERR_OK);
    assert_int_equal(next, r->next_offset);
    mem_free(bytes);
}

/* A partition that is written and looked after for long, as the clock goes on: files come and go,
 * what is within the bounds is there, and nothing that a reader holds goes away under it. */
static void files_go_as_time_passes(uint64_t seed, int64_t retention_bytes, int64_t retention_ms)
{
    enum { ROUNDS = 1500, AT_ONCE = 4, HOLD_EVERY = 100, HELD = ROUNDS / HOLD_EVERY };
    enum { SEGMENT_BYTES = 4000, QUIET_MS = 1000000 };
    struct log_range held[HELD];
    int64_t held_from[HELD];
    struct host *h = sim_new(seed);
    struct log_config c = small_config(SEGMENT_BYTES);
    c.retention_bytes = retention_bytes;
    c.retention_ms = retention_ms;
    c.segment_ms = 600;
    struct log_partition *p = open_with(h, &c, NULL);
    uint32_t n_held = 0, files_max = 0, dropped = 0;
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(append(p, AT_ONCE, 0), ERR_OK);
        assert_int_equal(sync_all(h, p), ERR_OK);
        int64_t start = log_start_offset(p), end = log_end_offset(p);
        if (i % HOLD_EVERY == HOLD_EVERY - 1) { /* the oldest there is: it goes next */
            held_from[n_held] = start;
            assert_int_equal(log_read(p, start, end, 1000, &held[n_held++], NULL), ERR_OK);
        }
        uint32_t now = log_retain(p, time_at(end), INT64_MAX);
        dropped += now;
        start = log_start_offset(p);
        /* Not too much: what is young or within the size is there. */
        if (retention_ms >= 0)
            assert_true(now == 0 || start <= end - retention_ms / 10);
        if (retention_bytes >= 0)
            assert_true(now == 0 || log_size_bytes(p) >= (uint64_t)retention_bytes);
        /* Not too little. */
        if (retention_ms >= 0)
            assert_true(start >= end - (retention_ms + 2 * c.segment_ms) / 10);
        if (retention_bytes >= 0)
            assert_true(log_size_bytes(p) <= (uint64_t)retention_bytes + 2 * SEGMENT_BYTES);
        assert_int_equal(sync_all(h, p), ERR_OK);
        uint32_t files = files_of(h);
        files_max = files > files_max ? files : files_max;
    }
    assert_true(dropped > ROUNDS / 20 && files_max < 12);
    assert_true(log_start_offset(p) >= held[n_held - 2].next_offset);
    for (uint32_t i = 0; i < n_held; i++)
        assert_held(&held[i], held_from[i]);
    assert_all_readable(p);
    /* Nobody writes any more: with time all goes by age, nothing by size, but for the last file. */
    int64_t end = log_end_offset(p);
    log_retain(p, time_at(end) + QUIET_MS, INT64_MAX);
    assert_int_equal(sync_all(h, p), ERR_OK);
    assert_true((files_of(h) == 1) == (retention_ms >= 0));
    for (uint32_t i = 0; i < n_held; i++) {
        assert_held(&held[i], held_from[i]);
        log_range_release(&held[i]);
    }
    int64_t start = log_start_offset(p);
    log_close(p);
    p = open_with(h, &c, NULL);
    assert_int_equal(log_start_offset(p), start);
    assert_int_equal(log_end_offset(p), end);
    assert_all_readable(p);
    log_close(p);
    host_close(h);
}

static void files_go_by_age_and_by_size(void **state)
{
    (void)state;
    files_go_as_time_passes(31, -1, 2000);
    files_go_as_time_passes(32, 20000, -1);
}

/* The start moves into the middle of a batch, and is there after a restart and a power cut. */
static void the_start_can_be_anywhere(void **state)
{
    (void)state;
    static const int64_t starts[] = {1, 7, 8, 33, 150, 199, 200};
    struct log_config c = small_config(3000);
    struct host *h = sim_new(11);
    struct log_partition *p = open_with(h, &c, NULL);
    struct err_detail why;
    struct log_range r;
    int64_t offset, ms;
    for (int i = 0; i < 40; i++) {
        assert_int_equal(append(p, 5, i % 2 == 0 ? COMPRESS_NONE : COMPRESS_ZSTD), ERR_OK);
    }
    assert_int_equal(log_trim(p, 1, &why), ERR_OFFSET_OUT_OF_RANGE); /* nothing is durable yet */
    assert_int_equal(sync_all(h, p), ERR_OK);
    assert_int_equal(log_trim(p, 201, &why), ERR_OFFSET_OUT_OF_RANGE);
    assert_int_equal(log_trim(p, -1, &why), ERR_OFFSET_OUT_OF_RANGE);
    uint32_t segments = files_of(h);
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        int64_t start = starts[i];
        assert_int_equal(log_trim(p, start, &why), ERR_OK);
        assert_int_equal(log_trim(p, start - 1, &why), ERR_OK); /* it is behind that already */
        assert_int_equal(log_start_offset(p), start);
        assert_true(log_kept_offset(p) < start);
        assert_int_equal(sync_all(h, p), ERR_OK);
        assert_int_equal(log_kept_offset(p), start);
        assert_int_equal(log_read(p, start - 1, 200, 1, &r, NULL), ERR_OFFSET_OUT_OF_RANGE);
        assert_int_equal(log_offset_for_time(p, 0, &offset, &ms), ERR_OK);
        assert_int_equal(offset, start < 200 ? start : -1);
        if (i % 2 == 0) {
            h = host_sim_power_cut(h, i);
        }
        log_close(p);
        p = open_with(h, &c, NULL);
        assert_int_equal(log_start_offset(p), start);
        assert_int_equal(log_kept_offset(p), start);
        assert_int_equal(log_end_offset(p), 200);
        if (start < 200) {
            assert_int_equal(log_read(p, start, 200, 1, &r, NULL), ERR_OK);
            assert_true(r.first_offset <= start && r.next_offset > start);
            log_range_release(&r);
        }
    }
    assert_true(files_of(h) < segments && files_of(h) <= 2);
    assert_int_equal(append(p, 5, COMPRESS_NONE), ERR_OK);
    assert_int_equal(log_read(p, 200, 205, 1, &r, NULL), ERR_OK);
    log_range_release(&r);
    log_close(p);
    host_close(h);
}

static void segments_roll_by_age(void **state)
{
    (void)state;
    struct host *h = sim_new(8);
    struct log_config c = small_config(1 << 20);
    struct log_recovery found;
    c.segment_ms = 1000; /* 100 records */
    struct log_partition *p = open_with(h, &c, NULL);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(append(p, 10, 0), ERR_OK);
    }
    assert_int_equal(sync_all(h, p), ERR_OK);
    assert_int_equal(log_retain(p, time_at(100000), INT64_MAX), 0);
    assert_int_equal(append(p, 1, 0), ERR_OK); /* into a new segment: the last had become old */
    assert_int_equal(sync_all(h, p), ERR_OK);
    log_close(p);
    p = open_with(h, &c, &found);
    assert_int_equal(found.segments, 6);
    assert_all_readable(p);
    log_close(p);
    host_close(h);
}

static void times_are_found(void **state)
{
    (void)state;
    struct host *h = sim_new(9);
    struct log_config c = small_config(6000);
    struct log_partition *p = open_with(h, &c, NULL);
    int64_t offset, ms;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(append(p, 7, (uint32_t)(i % COMPRESS_CODECS)), ERR_OK);
    }
    assert_int_equal(log_offset_for_time(p, 0, &offset, &ms), ERR_OK);
    assert_int_equal(offset, -1); /* nothing is below the high watermark yet */
    assert_int_equal(sync_all(h, p), ERR_OK);
    for (int round = 0; round < 2; round++) {
        for (int64_t i = 0; i < 700; i += 3) {
            assert_int_equal(log_offset_for_time(p, time_at(i) - i % 2, &offset, &ms), ERR_OK);
            assert_int_equal(offset, i);
            assert_int_equal(ms, time_at(i));
        }
        assert_int_equal(log_offset_for_time(p, INT64_MIN, &offset, &ms), ERR_OK);
        assert_int_equal(offset, 0);
        assert_int_equal(log_offset_for_time(p, time_at(699) + 1, &offset, &ms), ERR_OK);
        assert_int_equal(offset, -1);
        log_close(p);
        p = open_with(h, &c, NULL);
    }
    log_close(p);
    host_close(h);
}

/* One batch of one record at `ms`. */
static enum err append_at(struct log_partition *p, int64_t ms)
{
    struct buf b;
    int64_t base;
    buf_init(&b, BUFFER_MAX);
    add_batch(&b, 0, 1, 0);
    enum err e = log_append(p, b.ptr, b.len, ms, &base, NULL);
    buf_deinit(&b);
    return e;
}

static void the_greatest_time_is_found(void **state)
{
    (void)state;
    struct host *h = sim_new(12);
    struct log_config c = small_config(2000);
    struct log_partition *p = open_with(h, &c, NULL);
    int64_t offset, ms;
    assert_int_equal(log_offset_for_max_time(p, &offset, &ms), ERR_OK);
    assert_int_equal(offset, -1);
    assert_int_equal(ms, -1);
    for (int i = 0; i < 200; i++) { /* up to 9000 at 70 and again at 130, in several segments */
        assert_int_equal(append_at(p, i == 70 || i == 130 ? 9000 : 1000 + i), ERR_OK);
        assert_int_equal(sync_all(h, p), ERR_OK);
        assert_int_equal(log_offset_for_max_time(p, &offset, &ms), ERR_OK);
        assert_int_equal(offset, i < 70 ? i : 70);
        assert_int_equal(ms, i < 70 ? 1000 + i : 9000);
    }
    /* What is not below the high watermark does not count. */
    assert_int_equal(append_at(p, 20000), ERR_OK);
    assert_int_equal(log_offset_for_max_time(p, &offset, &ms), ERR_OK);
    assert_int_equal(offset, 70);
    log_close(p);
    host_close(h);
}

static void log_append_time_replaces_timestamps(void **state)
{
    (void)state;
    struct host *h = sim_new(10);
    struct log_config c = small_config(1 << 20);
    struct log_partition *p = open_with(h, &c, NULL);
    struct buf b;
    struct kafka_batch batch;
    int64_t base;
    buf_init(&b, BUFFER_MAX);
    add_batch(&b, 0, 3, COMPRESS_ZSTD);
    assert_int_equal(log_append(p, b.ptr, b.len, 777, &base, NULL), ERR_OK);
    assert_int_equal(kafka_batch_validate(buf_str(&b), &batch, NULL), ERR_OK);
    assert_true(batch.log_append_time);
    assert_int_equal(batch.max_timestamp, 777);
    assert_int_equal(sync_all(h, p), ERR_OK);
    int64_t offset, ms;
    assert_int_equal(log_offset_for_time(p, 700, &offset, &ms), ERR_OK);
    assert_int_equal(offset, 0);
    assert_int_equal(ms, 777);
    buf_deinit(&b);
    log_close(p);
    host_close(h);
}

static void bad_appends_are_refused(void **state)
{
    (void)state;
    struct host *h = sim_new(11);
    struct log_config c = small_config(1 << 20);
    c.batch_bytes_max = 500;
    struct log_partition *p = open_with(h, &c, NULL);
    struct buf b;
    struct err_detail why;
    int64_t base;
    buf_init(&b, BUFFER_MAX);
    add_batch(&b, 0, 100, 0);
    assert_int_equal(log_append(p, b.ptr, b.len, -1, &base, &why), ERR_TOO_LARGE);
    assert_non_null(strstr(why.text, "the maximum is 500"));
    buf_clear(&b);
    add_batch(&b, 0, 1, 0);
    assert_int_equal(log_append(p, b.ptr, b.len - 1, -1, &base, &why), ERR_BAD_RECORD_BATCH);
    assert_int_equal(log_append(p, b.ptr, 20, -1, &base, &why), ERR_BAD_RECORD_BATCH);
    assert_int_equal(log_append(p, b.ptr, 0, -1, &base, &why), ERR_TOO_LARGE);
    assert_int_equal(log_end_offset(p), 0);
    assert_int_equal(log_append(p, b.ptr, b.len, -1, &base, &why), ERR_OK);
    buf_deinit(&b);
    log_close(p);
    host_close(h);
}

static void the_uncommitted_tail_is_cut(void **state)
{
    (void)state;
    static const int64_t cuts[] = {0, 4, 40, 200, 396, 400};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        struct host *h = sim_new(12 + i);
        struct log_config c = small_config(4000);
        c.manual_watermark = true;
        struct log_partition *p = open_with(h, &c, NULL);
        for (int j = 0; j < 100; j++) {
            assert_int_equal(append(p, 4, 0), ERR_OK);
        }
        assert_int_equal(sync_all(h, p), ERR_OK);
        log_close(p);
        p = open_with(h, &c, NULL);
        assert_int_equal(log_truncate(p, 401, NULL), ERR_OFFSET_OUT_OF_RANGE);
        assert_int_equal(log_truncate(p, 201, NULL), ERR_INVALID_ARGUMENT);
        assert_int_equal(log_truncate(p, cuts[i], NULL), ERR_OK);
        assert_int_equal(log_end_offset(p), cuts[i]);
        assert_int_equal(log_durable_offset(p), cuts[i]);
        assert_all_readable(p);
        h = host_sim_power_cut(h, i); /* it never comes back */
        log_close(p);
        p = open_with(h, &c, NULL);
        assert_false(log_quarantined(p));
        assert_int_equal(log_end_offset(p), cuts[i]);
        assert_int_equal(append(p, 4, 0), ERR_OK);
        assert_int_equal(sync_all(h, p), ERR_OK);
        assert_all_readable(p);
        log_close(p);
        host_close(h);
    }
}

static void a_deleted_partition_leaves_nothing(void **state)
{
    (void)state;
    struct host *h = sim_new(20);
    struct log_config c = small_config(4000);
    struct log_partition *p = open_with(h, &c, NULL);
    struct log_range held;
    bool exists;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(append(p, 4, 0), ERR_OK);
    }
    assert_int_equal(sync_all(h, p), ERR_OK);
    assert_true(log_drop_before(p, 100) > 0);
    assert_int_equal(log_read(p, 200, 400, 2000, &held, NULL), ERR_OK);
    assert_int_equal(log_delete(p), ERR_OK);
    assert_int_equal(host_path_exists(h, DIR, &exists), ERR_OK);
    assert_false(exists);
    char byte;
    assert_int_equal(host_file_read(held.file, held.at, &byte, 1), ERR_OK);
    log_range_release(&held);
    assert_int_equal(log_remove_dir(h, DIR), ERR_OK);
    p = open_with(h, &c, NULL);
    assert_int_equal(log_end_offset(p), 0);
    log_close(p);
    host_close(h);
}

static void a_newer_format_is_refused(void **state)
{
    (void)state;
    struct host *h = sim_new(21);
    struct log_config c = small_config(4000);
    struct log_partition *p = open_with(h, &c, NULL);
    struct host_file *f;
    struct err_detail why;
    /* A header of version 2, with its CRC. */
    static const unsigned char newer[] = {'T', 'M', 'L', 'O', 'G',  0,    0,    0,
                                          2,   0,   0,   0,   0xd0, 0xbd, 0x80, 0x24};
    assert_int_equal(append(p, 4, 0), ERR_OK);
    assert_int_equal(sync_all(h, p), ERR_OK);
    log_close(p);
    assert_int_equal(host_file_open(h, DIR "/meta", HOST_OPEN_WRITE, &f, NULL), ERR_OK);
    assert_int_equal(host_file_write(f, 0, newer, sizeof newer), ERR_OK);
    host_file_close(f);
    assert_int_equal(log_open(h, DIR, &c, &p, NULL, &why), ERR_UNSUPPORTED);
    assert_non_null(strstr(why.text, "version 2"));
    host_close(h);
}

/* Opens, appends and syncs until the first error. */
static enum err open_and_fill(struct host *h, const struct log_config *c, struct buf *batches,
                              int n, struct log_partition **out)
{
    enum err e = log_open(h, DIR, c, out, NULL, NULL);
    for (int i = 0; i < n && e == ERR_OK; i++) {
        int64_t base;
        e = log_append(*out, batches[i].ptr, batches[i].len, -1, &base, NULL);
        e = e == ERR_OK ? sync_all(h, *out) : e;
    }
    return e;
}

static void every_failing_allocation_is_survived(void **state)
{
    (void)state;
    enum { BATCHES = 20 };
    struct log_config c = small_config(3000);
    struct buf batches[BATCHES];
    enum err e = ERR_NO_MEMORY;
    uint64_t n = 1;
    for (; e != ERR_OK; n++) {
        struct host *h = sim_new(22);
        struct log_partition *p = NULL;
        for (int i = 0; i < BATCHES; i++) {
            buf_init(&batches[i], BUFFER_MAX);
            add_batch(&batches[i], i * 4, 4, 0);
        }
        mem_fail_at(n, 0);
        e = open_and_fill(h, &c, batches, BATCHES, &p);
        mem_fail_at(0, 0);
        if (p != NULL) {
            assert_int_equal(append(p, 4, 0), ERR_OK);
            assert_int_equal(sync_all(h, p), ERR_OK);
            assert_all_readable(p);
            log_close(p);
        }
        p = open_with(h, &c, NULL);
        assert_false(log_quarantined(p));
        assert_all_readable(p);
        log_close(p);
        host_close(h);
        for (int i = 0; i < BATCHES; i++) {
            buf_deinit(&batches[i]);
        }
    }
    assert_true(n > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_partition_is_empty),
        cmocka_unit_test(what_is_appended_is_read_back),
        cmocka_unit_test(an_append_of_several_batches_is_one_write),
        cmocka_unit_test(a_range_has_whole_batches),
        cmocka_unit_test(a_tail_reader_reads_no_headers),
        cmocka_unit_test(watermarks_follow_their_rules),
        cmocka_unit_test(flushing_can_be_left_to_the_system),
        cmocka_unit_test(what_is_left_to_the_system_waits_for_no_flush),
        cmocka_unit_test(a_piece_that_is_lost_fails_the_flush),
        cmocka_unit_test(old_segments_are_dropped),
        cmocka_unit_test(files_go_by_age_and_by_size),
        cmocka_unit_test(the_start_can_be_anywhere),
        cmocka_unit_test(segments_roll_by_age),
        cmocka_unit_test(times_are_found),
        cmocka_unit_test(the_greatest_time_is_found),
        cmocka_unit_test(log_append_time_replaces_timestamps),
        cmocka_unit_test(bad_appends_are_refused),
        cmocka_unit_test(the_uncommitted_tail_is_cut),
        cmocka_unit_test(a_deleted_partition_leaves_nothing),
        cmocka_unit_test(a_newer_format_is_refused),
        cmocka_unit_test(every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
