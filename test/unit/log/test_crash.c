/* log/: power cuts, crashes and failing file calls at every point; damage of every byte. What was
 * durable is never lost, what is torn or damaged is never served. */
#include "fixture.h"

/* What the outside world was told. */
struct model {
    int64_t durable; /* acknowledged */
    int64_t start;   /* dropped before it */
    int64_t kept;    /* and for good */
};

static void note(struct model *m, const struct log_partition *p)
{
    if (log_durable_offset(p) > m->durable) {
        m->durable = log_durable_offset(p);
    }
    if (log_start_offset(p) > m->start) {
        m->start = log_start_offset(p);
    }
    if (log_kept_offset(p) > m->kept) {
        m->kept = log_kept_offset(p);
    }
}

/* Appends, flushes, drops, reopens. Ends at the first failing flush or open (the process would
 * end); other errors are what a producer sees. */
static struct log_partition *work(struct host *h, const struct log_config *c, struct model *m)
{
    struct log_partition *p = NULL;
    struct log_sync s;
    bool running = false;
    for (int i = 0; i < 48; i++) {
        if (p == NULL && log_open(h, DIR, c, &p, NULL, NULL) != ERR_OK) {
            return NULL;
        }
        note(m, p);
        (void)!append(p, 1 + i % 5, (uint32_t)(i % 3 == 0 ? COMPRESS_LZ4 : COMPRESS_NONE));
        if (i % 4 == 1) {
            running = log_sync_begin(p, &s);
        }
        if (i % 4 == 3 && running) {
            log_sync_run(h, &s);
            running = false;
            if (log_sync_end(p, &s) != ERR_OK) {
                return p;
            }
            note(m, p);
        }
        if (i % 16 == 15) {
            (void)!log_drop_before(p, log_end_offset(p) - 60);
            note(m, p);
        }
        if (i % 16 == 6) {
            (void)!log_trim(p, log_high_watermark(p) - 3, NULL);
            note(m, p);
        }
        if (i == 32) {
            log_close(p);
            p = NULL;
        }
    }
    if (sync_all(h, p) == ERR_OK) {
        note(m, p);
    }
    return p;
}

/* What must hold after any crash. */
static void verify(struct host *h, const struct log_config *c, const struct model *m)
{
    for (int round = 0; round < 2; round++) {
        struct log_recovery found;
        struct log_partition *p = open_with(h, c, &found);
        if (found.quarantined) {
            struct log_range r;
            struct err_detail why = {0};
            (void)!log_read(p, log_end_offset(p), INT64_MAX, 1, &r, &why);
            fail_msg("%s", why.text);
        }
        assert_true(log_end_offset(p) >= m->durable);
        assert_true(log_start_offset(p) <= m->start && log_start_offset(p) >= m->kept);
        assert_int_equal(log_durable_offset(p), log_end_offset(p));
        assert_all_readable(p);
        assert_int_equal(append(p, 3, 0), ERR_OK);
        assert_int_equal(append(p, 30, 0), ERR_OK);
        assert_int_equal(sync_all(h, p), ERR_OK);
        assert_all_readable(p);
        log_close(p);
    }
}

static uint64_t calls_of_work(const struct log_config *c)
{
    struct host *h = sim_new(1);
    struct model m = {0};
    uint64_t before = host_sim_file_calls(h);
    struct log_partition *p = work(h, c, &m);
    assert_non_null(p);
    assert_int_equal(m.durable, log_end_offset(p));
    assert_true(m.start > 0);
    uint64_t calls = host_sim_file_calls(h) - before;
    log_close(p);
    host_close(h);
    return calls;
}

static void a_power_cut_at_every_call(void **state)
{
    (void)state;
    struct log_config c = small_config(2500);
    uint64_t calls = calls_of_work(&c);
    assert_true(calls > 150);
    for (uint64_t n = 1; n <= calls; n++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            struct host *h = sim_new(1);
            struct model m = {0};
            host_sim_fault_at(h, n, SIM_FAULT_STOP, false);
            struct log_partition *p = work(h, &c, &m);
            h = host_sim_power_cut(h, n * 4 + seed);
            log_close(p);
            verify(h, &c, &m);
            host_close(h);
        }
    }
}

static void a_kill_at_every_call_loses_no_append(void **state)
{
    (void)state;
    struct log_config c = small_config(2500);
    uint64_t calls = calls_of_work(&c);
    for (uint64_t n = 1; n <= calls; n++) {
        struct host *h = sim_new(1);
        struct model m = {0};
        host_sim_fault_at(h, n, SIM_FAULT_STOP, false);
        struct log_partition *p = work(h, &c, &m);
        h = host_sim_crash(h);
        log_close(p);
        /* What is found counts as durable, so it has to survive a power cut now. */
        p = open_with(h, &c, NULL);
        note(&m, p);
        h = host_sim_power_cut(h, n);
        log_close(p);
        verify(h, &c, &m);
        host_close(h);
    }
}

static void a_power_cut_during_recovery(void **state)
{
    (void)state;
    struct log_config c = small_config(2500);
    uint64_t calls = calls_of_work(&c);
    for (uint64_t n = 3; n <= calls; n += 7) {
        for (uint64_t in_open = 1; in_open < 60; in_open += 1 + n % 3) {
            struct host *h = sim_new(1);
            struct model m = {0};
            host_sim_fault_at(h, n, SIM_FAULT_STOP, false);
            struct log_partition *p = work(h, &c, &m);
            h = host_sim_power_cut(h, n);
            log_close(p);
            p = NULL;
            host_sim_fault_at(h, in_open, SIM_FAULT_STOP, false);
            enum err e = log_open(h, DIR, &c, &p, NULL, NULL);
            if (e == ERR_OK) {
                in_open = 60; /* now over the place where a tail may have been cut */
                host_sim_fault_at(h, 0, SIM_FAULT_NONE, false);
                assert_int_equal(append(p, 20, COMPRESS_NONE), ERR_OK);
                assert_int_equal(append(p, 3, COMPRESS_NONE), ERR_OK);
                assert_int_equal(append(p, 2, COMPRESS_NONE), ERR_OK);
            }
            h = host_sim_power_cut(h, n + in_open);
            log_close(p);
            verify(h, &c, &m);
            host_close(h);
        }
    }
}

static void every_failing_call_is_survived(void **state)
{
    (void)state;
    static const enum sim_fault faults[] = {SIM_FAULT_ERROR, SIM_FAULT_SHORT, SIM_FAULT_FULL};
    struct log_config c = small_config(2500);
    uint64_t calls = calls_of_work(&c);
    for (uint64_t n = 1; n <= calls; n++) {
        for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
            struct host *h = sim_new(1);
            struct model m = {0};
            host_sim_fault_at(h, n, faults[f], false);
            struct log_partition *p = work(h, &c, &m);
            h = n % 2 == 0 ? host_sim_power_cut(h, n) : host_sim_crash(h);
            log_close(p);
            verify(h, &c, &m);
            host_close(h);
        }
    }
}

static void appends_go_on_after_a_full_disk(void **state)
{
    (void)state;
    struct log_config c = small_config(1 << 20);
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct host *h = sim_new(seed);
        struct log_partition *p = open_with(h, &c, NULL);
        struct model m = {0};
        bool cut = seed % 4 != 0;
        int before = seed % 3 == 0 ? 0 : 5;
        if (before > 0) {
            assert_int_equal(append(p, before, 0), ERR_OK);
        }
        /* A part of these stays behind in the file, and a flush makes it durable; compressed, so
         * that it differs from what comes after. */
        host_sim_fault_at(h, 1 + seed % 2, seed % 8 == 0 ? SIM_FAULT_FULL : SIM_FAULT_SHORT, true);
        int failed = 0;
        for (int i = 0; i < 3; i++) {
            failed += append(p, 200, COMPRESS_GZIP) != ERR_OK;
        }
        assert_true(failed > 1);
        host_sim_fault_at(h, 0, SIM_FAULT_NONE, false);
        assert_int_equal(sync_all(h, p), ERR_OK);
        note(&m, p);
        for (int i = 0; i < 6; i++) {
            assert_int_equal(append(p, i % 2 == 0 ? 20 : 2, COMPRESS_NONE), ERR_OK);
        }
        assert_all_readable(p);
        if (cut) {
            h = host_sim_power_cut(h, seed);
        } else {
            assert_int_equal(sync_all(h, p), ERR_OK);
            note(&m, p);
        }
        log_close(p);
        verify(h, &c, &m);
        host_close(h);
    }
}

static void a_full_disk_says_what_to_do(void **state)
{
    (void)state;
    struct host *h = sim_new(1);
    struct log_config c = small_config(1 << 20);
    struct log_partition *p = open_with(h, &c, NULL);
    assert_int_equal(append(p, 5, 0), ERR_OK);
    host_sim_fault_at(h, 1, SIM_FAULT_FULL, true);
    /* the first writes behind the end; the next one begins a segment */
    for (int i = 0; i < 2; i++) {
        struct err_detail why = {0};
        struct buf b;
        int64_t base;
        buf_init(&b, BUFFER_MAX);
        add_batch(&b, 5, 3, COMPRESS_NONE);
        assert_int_equal(log_append(p, b.ptr, b.len, -1, &base, &why), ERR_NO_SPACE);
        assert_non_null(strstr(why.text, DIR));
        assert_non_null(strstr(why.text, "full"));
        assert_non_null(strstr(why.hint, "Make room"));
        buf_deinit(&b);
    }
    log_close(p);
    host_close(h);
}

/* An append of several batches fails in the middle: none of them is there after a crash, although
 * the first ones are whole in what was written. */
static void a_refused_append_does_not_come_back(void **state)
{
    (void)state;
    struct log_config c = small_config(1 << 20);
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct host *h = sim_new(seed);
        struct log_partition *p = open_with(h, &c, NULL);
        struct buf b;
        int64_t base;
        assert_int_equal(append(p, 5, 0), ERR_OK);
        assert_int_equal(sync_all(h, p), ERR_OK);
        buf_init(&b, BUFFER_MAX);
        for (int i = 0; i < 20; i++) {
            add_batch(&b, 5 + i * 3, 3, COMPRESS_NONE);
        }
        host_sim_fault_at(h, 1, SIM_FAULT_SHORT, false);
        assert_int_not_equal(log_append(p, b.ptr, b.len, -1, &base, NULL), ERR_OK);
        if (seed % 2 == 0) { /* what is taken after it is there */
            assert_int_equal(append(p, 2, 0), ERR_OK);
        }
        buf_deinit(&b);
        int64_t end = log_end_offset(p);
        h = host_sim_crash(h);
        log_close(p);
        p = open_with(h, &c, NULL);
        assert_int_equal(log_end_offset(p), end);
        assert_all_readable(p);
        log_close(p);
        host_close(h);
    }
}

static void a_failed_flush_is_reported(void **state)
{
    (void)state;
    struct host *h = sim_new(1);
    struct log_config c = small_config(1 << 20);
    struct log_partition *p = open_with(h, &c, NULL);
    assert_int_equal(append(p, 5, 0), ERR_OK);
    host_sim_fault_at(h, 1, SIM_FAULT_ERROR, false);
    assert_int_equal(sync_all(h, p), ERR_SYNC_FAILED);
    assert_int_equal(log_durable_offset(p), 0);
    assert_int_equal(log_high_watermark(p), 0);
    log_close(p);
    host_close(h);
}

/* ---- damage ---- */

enum { DAMAGE_RECORDS = 60 };

/* Three segments of durable records, the process gone. */
static struct host *durable_log(const struct log_config *c)
{
    struct host *h = sim_new(1);
    struct log_partition *p = open_with(h, c, NULL);
    for (int i = 0; i < DAMAGE_RECORDS / 3; i++) {
        assert_int_equal(append(p, 3, i % 4 == 0 ? COMPRESS_GZIP : COMPRESS_NONE), ERR_OK);
        assert_int_equal(sync_all(h, p), ERR_OK);
    }
    log_close(p);
    return host_sim_crash(h);
}

/* Reads what can be read (read_all asserts that every record is right) and demands that either
 * nothing is missing or somebody says so. Appends must go behind everything, or be refused. */
static void assert_damage_is_seen(struct host *h, const struct log_config *c, bool harmless)
{
    struct log_partition *p = NULL;
    struct log_recovery found;
    int64_t next = 0;
    enum err e = log_open(h, DIR, c, &p, &found, NULL);
    if (e == ERR_OK) {
        int64_t end = log_end_offset(p);
        assert_true(end <= DAMAGE_RECORDS);
        enum err read = read_all(p, log_start_offset(p), end, 1500, &next);
        bool whole = read == ERR_OK && next == DAMAGE_RECORDS && log_start_offset(p) == 0;
        assert_true(whole || read != ERR_OK || found.quarantined);
        assert_true(whole || !harmless);
        enum err appended = append(p, 1, 0);
        assert_true(appended == (found.quarantined ? ERR_CORRUPT : ERR_OK));
        if (found.quarantined) {
            struct log_range r;
            struct err_detail why = {0};
            assert_int_equal(log_read(p, end, end + 1, 100, &r, &why), ERR_CORRUPT);
            assert_non_null(strstr(why.text, DIR));
            assert_true(why.hint[0] != '\0');
        }
        log_close(p);
    } else {
        assert_true(e == ERR_CORRUPT || (e == ERR_UNSUPPORTED && harmless));
    }
}

static void flip_every_byte_of(const char *name, uint8_t mask, bool harmless)
{
    struct log_config c = small_config(1500);
    char path[256];
    uint64_t size = 0;
    struct host_file *f;
    struct host *h = durable_log(&c);
    snprintf(path, sizeof path, DIR "/%s", name);
    assert_int_equal(host_file_open(h, path, HOST_OPEN_READ, &f, NULL), ERR_OK);
    assert_int_equal(host_file_size(f, &size), ERR_OK);
    host_file_close(f);
    host_close(h);
    assert_true(size > 50);
    for (uint64_t at = 0; at < size; at++) {
        h = durable_log(&c);
        assert_int_equal(host_sim_flip(h, path, at, mask), ERR_OK);
        assert_damage_is_seen(h, &c, harmless);
        host_close(h);
    }
}

/* Names of the files of durable_log, by kind. */
struct names {
    char logs[16][32];
    char indexes[16][32];
    int n_logs, n_indexes;
};

static bool collect(void *arg, const char *name)
{
    struct names *n = arg;
    if (strstr(name, ".log") != NULL) {
        snprintf(n->logs[n->n_logs++], sizeof n->logs[0], "%s", name);
    } else if (strstr(name, ".index") != NULL) {
        snprintf(n->indexes[n->n_indexes++], sizeof n->indexes[0], "%s", name);
    }
    return n->n_logs < 16 && n->n_indexes < 16;
}

static struct names files_of_log(void)
{
    struct log_config c = small_config(1500);
    struct host *h = durable_log(&c);
    struct names n = {0};
    assert_int_equal(host_dir_list(h, DIR, collect, &n), ERR_OK);
    host_close(h);
    assert_in_range(n.n_logs, 3, 12);
    assert_int_equal(n.n_indexes, n.n_logs - 1);
    return n;
}

static void every_flipped_byte_is_detected(void **state)
{
    (void)state;
    struct names n = files_of_log();
    flip_every_byte_of(n.logs[0], 0x01, false);
    flip_every_byte_of(n.logs[1], 0x80, false);
    flip_every_byte_of(n.logs[n.n_logs - 1], 0x10, false);
    flip_every_byte_of(n.indexes[0], 0x04, true);
    flip_every_byte_of("meta", 0x02, true);
}

/* After a power cut the checkpoint may be missing. Then only what follows tells damage from a torn
 * tail, and the last batch, which nothing follows, counts as torn. */
static void damage_without_a_checkpoint_is_detected(void **state)
{
    (void)state;
    struct names n = files_of_log();
    struct log_config c = small_config(1500);
    char path[256];
    uint64_t size = 0;
    int seen_quarantine = 0;
    snprintf(path, sizeof path, DIR "/%s", n.logs[n.n_logs - 1]);
    for (uint64_t at = 0; at == 0 || at < size; at++) {
        struct host *h = durable_log(&c);
        struct host_file *f;
        struct log_recovery found;
        int64_t next;
        assert_int_equal(host_file_open(h, path, HOST_OPEN_READ, &f, NULL), ERR_OK);
        assert_int_equal(host_file_size(f, &size), ERR_OK);
        host_file_close(f);
        assert_int_equal(host_remove(h, DIR "/meta"), ERR_OK);
        assert_int_equal(host_sim_flip(h, path, at, 0x04), ERR_OK);
        struct log_partition *p = open_with(h, &c, &found);
        enum err e = read_all(p, 0, log_end_offset(p), 1500, &next);
        assert_int_equal(e, ERR_OK);
        assert_int_equal(next, log_end_offset(p));
        assert_true(next >= DAMAGE_RECORDS - 3 || found.quarantined);
        assert_true(next == DAMAGE_RECORDS || found.quarantined || found.torn_bytes > 0);
        seen_quarantine += found.quarantined;
        log_close(p);
        host_close(h);
    }
    assert_true(seen_quarantine > 100);
}

static void a_missing_file_is_detected(void **state)
{
    (void)state;
    struct names n = files_of_log();
    struct log_config c = small_config(1500);
    char path[256];
    for (int i = 0; i < n.n_logs; i++) {
        struct host *h = durable_log(&c);
        snprintf(path, sizeof path, DIR "/%s", n.logs[i]);
        assert_int_equal(host_remove(h, path), ERR_OK);
        assert_damage_is_seen(h, &c, false);
        host_close(h);
    }
    for (int i = 0; i < n.n_indexes; i++) {
        struct host *h = durable_log(&c);
        snprintf(path, sizeof path, DIR "/%s", n.indexes[i]);
        assert_int_equal(host_remove(h, path), ERR_OK);
        assert_damage_is_seen(h, &c, true);
        host_close(h);
    }
}

static void a_shortened_file_is_detected(void **state)
{
    (void)state;
    struct names n = files_of_log();
    struct log_config c = small_config(1500);
    char path[256];
    for (int i = 0; i < n.n_logs; i++) {
        for (uint64_t size = 0; size < 300; size += 7) {
            struct host *h = durable_log(&c);
            struct host_file *f;
            snprintf(path, sizeof path, DIR "/%s", n.logs[i]);
            assert_int_equal(host_file_open(h, path, HOST_OPEN_WRITE, &f, NULL), ERR_OK);
            assert_int_equal(host_file_truncate(f, size), ERR_OK);
            host_file_close(f);
            assert_damage_is_seen(h, &c, false);
            host_close(h);
        }
    }
}

/* Damage that appears while the partition is open: headers are checked as they are read first. */
static void damage_after_the_start_is_not_served(void **state)
{
    (void)state;
    struct names n = files_of_log();
    struct log_config c = small_config(1500);
    char path[256];
    struct host *h = durable_log(&c);
    struct log_partition *p = open_with(h, &c, NULL);
    struct err_detail why = {0};
    struct log_range r;
    int64_t next;
    snprintf(path, sizeof path, DIR "/%s", n.logs[1]);
    assert_int_equal(host_sim_flip(h, path, 7, 1), ERR_OK);
    assert_int_equal(read_all(p, 0, DAMAGE_RECORDS, 10000, &next), ERR_CORRUPT);
    assert_in_range(next, 1, DAMAGE_RECORDS - 1);
    assert_int_equal(log_read(p, next, DAMAGE_RECORDS, 10000, &r, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.text, n.logs[1]));
    log_close(p);
    host_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_power_cut_at_every_call),
        cmocka_unit_test(a_kill_at_every_call_loses_no_append),
        cmocka_unit_test(a_power_cut_during_recovery),
        cmocka_unit_test(every_failing_call_is_survived),
        cmocka_unit_test(appends_go_on_after_a_full_disk),
        cmocka_unit_test(a_full_disk_says_what_to_do),
        cmocka_unit_test(a_refused_append_does_not_come_back),
        cmocka_unit_test(a_failed_flush_is_reported),
        cmocka_unit_test(every_flipped_byte_is_detected),
        cmocka_unit_test(damage_without_a_checkpoint_is_detected),
        cmocka_unit_test(a_missing_file_is_detected),
        cmocka_unit_test(a_shortened_file_is_detected),
        cmocka_unit_test(damage_after_the_start_is_not_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
