/* log/: producers and transactions. After any crash, and however much of the indexes is lost, what
 * a partition knows of its producers is what its batches say, and aborted records can be told from
 * committed ones. */
#include "fixture.h"

#include "log/producers.h"

enum { IDS = 4, ABORTED_MAX = 256, STEPS = 90 };

/* ---- a second opinion: state by the book, from all batches ---- */

struct book {
    struct {
        int16_t epoch;
        int32_t last;  /* sequence number; -1 = none */
        int64_t first; /* of the open transaction; -1 = none */
    } ids[IDS];
    struct log_aborted aborted[ABORTED_MAX];
    uint32_t n;
};

static void book_batch(struct book *k, const struct kafka_batch *b, struct str bytes)
{
    if (b->producer_id < 0) {
        return;
    }
    assert_in_range(b->producer_id, 0, IDS - 1);
    bool commit = true;
    if (!b->control) {
        k->ids[b->producer_id].epoch = b->producer_epoch;
        k->ids[b->producer_id].last = b->base_sequence + b->n_records - 1;
        if (b->transactional && k->ids[b->producer_id].first < 0) {
            k->ids[b->producer_id].first = b->base_offset;
        }
        return;
    }
    assert_int_equal(kafka_marker_get(bytes, &commit), ERR_OK);
    if (!commit && k->ids[b->producer_id].first >= 0) {
        assert_true(k->n < ABORTED_MAX);
        k->aborted[k->n++] =
            (struct log_aborted){b->producer_id, k->ids[b->producer_id].first, b->base_offset};
    }
    k->ids[b->producer_id].first = -1;
    if (b->producer_epoch > k->ids[b->producer_id].epoch) {
        k->ids[b->producer_id].epoch = b->producer_epoch;
        k->ids[b->producer_id].last = -1;
    }
}

static void book_read(struct book *k, struct log_partition *p)
{
    *k = (struct book){0};
    for (int i = 0; i < IDS; i++) {
        k->ids[i].epoch = -1;
        k->ids[i].last = -1;
        k->ids[i].first = -1;
    }
    for (int64_t at = log_start_offset(p); at < log_end_offset(p);) {
        struct log_range r;
        struct kafka_batch b;
        struct str bytes, run;
        enum err e;
        assert_int_equal(log_read(p, at, log_end_offset(p), 1 << 20, &r, NULL), ERR_OK);
        char *copy = mem_alloc(r.len);
        assert_non_null(copy);
        assert_int_equal(host_file_read(r.file, r.at, copy, r.len), ERR_OK);
        run = (struct str){copy, r.len};
        while (kafka_batch_next(&run, &b, &bytes, &e, NULL)) {
            book_batch(k, &b, bytes);
        }
        assert_int_equal(e, ERR_OK);
        at = r.next_offset;
        mem_free(copy);
        log_range_release(&r);
    }
}

/* What log_aborted says about every range is what the book says. */
static void assert_aborted(struct log_partition *p, const struct book *k)
{
    struct log_aborted found[ABORTED_MAX];
    for (int64_t from = log_start_offset(p); from < log_end_offset(p); from += 7) {
        for (int64_t to = from + 1; to <= log_end_offset(p); to = to * 2 - from + 1) {
            uint32_t n, expected = 0;
            assert_int_equal(log_aborted(p, from, to, found, ABORTED_MAX, &n, NULL), ERR_OK);
            for (uint32_t i = 0; i < k->n; i++) {
                if (k->aborted[i].first_offset >= to || k->aborted[i].marker_offset < from) {
                    continue;
                }
                assert_true(expected < n);
                assert_memory_equal(&found[expected], &k->aborted[i], sizeof found[0]);
                expected++;
            }
            assert_int_equal(n, expected);
            if (n > 1) {
                assert_int_equal(log_aborted(p, from, to, found, n - 1, &n, NULL), ERR_LIMIT);
            }
        }
    }
}

static void assert_by_the_book(struct log_partition *p)
{
    struct book k;
    int64_t first = INT64_MAX;
    book_read(&k, p);
    for (int64_t id = 0; id < IDS; id++) {
        const struct producer *one = producers_find(log_producers(p), id);
        if (k.ids[id].epoch < 0) {
            assert_true(one == NULL || one->epoch < 0);
            continue;
        }
        assert_non_null(one);
        assert_int_equal(one->epoch, k.ids[id].epoch);
        assert_int_equal(one->n > 0 ? one->batches[one->n - 1].last : -1, k.ids[id].last);
        assert_int_equal(one->txn != NULL ? one->txn->first_offset : -1, k.ids[id].first);
        if (k.ids[id].first >= 0 && k.ids[id].first < first) {
            first = k.ids[id].first;
        }
    }
    if (log_durable_offset(p) == log_end_offset(p)) {
        int64_t end = log_high_watermark(p);
        assert_int_equal(log_stable_offset(p), first < end ? first : end);
    }
    assert_aborted(p, &k);
}

/* ---- work ---- */

/* What the next batch of a producer is numbered. */
static int32_t next_sequence(const struct log_partition *p, int64_t id, int16_t *epoch)
{
    const struct producer *one = producers_find(log_producers(p), id);
    *epoch = one == NULL || one->epoch < 0 ? 0 : one->epoch;
    return one == NULL || one->n == 0 ? 0 : one->batches[one->n - 1].last + 1;
}

static uint64_t fail_at; /* this allocation of the next append; 0 = none */

static enum err append_to(struct log_partition *p, struct buf *b)
{
    int64_t base;
    mem_fail_at(fail_at, 0);
    enum err e = b->failed ? ERR_LIMIT : log_append(p, b->ptr, b->len, -1, &base, NULL);
    mem_fail_at(0, 0);
    buf_deinit(b);
    return e;
}

static enum err append_by(struct log_partition *p, int64_t id, int n, bool transactional)
{
    struct buf b;
    int16_t epoch;
    int32_t sequence = next_sequence(p, id, &epoch);
    buf_init(&b, BUFFER_MAX);
    add_batch(&b, log_end_offset(p), n, COMPRESS_NONE);
    kafka_batch_set_producer(b.ptr, id, epoch, sequence, transactional);
    return append_to(p, &b);
}

static enum err end_by(struct log_partition *p, int64_t id, bool commit, int bump)
{
    struct buf b;
    int16_t epoch;
    (void)next_sequence(p, id, &epoch);
    buf_init(&b, BUFFER_MAX);
    kafka_marker_put(&b, id, (int16_t)(epoch + bump), commit, TIME_0);
    assert_int_equal(b.len, KAFKA_MARKER_BYTES);
    return append_to(p, &b);
}

/* Step `i` of a mix: plain appends, transactions of different lengths that overlap, both ends. */
static enum err step(struct log_partition *p, int i)
{
    int64_t id = i % IDS;
    bool open = producers_find(log_producers(p), id) != NULL &&
                producers_find(log_producers(p), id)->txn != NULL;
    if (i % 11 == 0) {
        return append(p, 2, COMPRESS_NONE);
    }
    if (id == 0) {
        return append_by(p, id, 1 + i % 3, false);
    }
    if (open && (i / IDS) % (id + 2) == 0) {
        return end_by(p, id, i % 3 == 0, id == 3);
    }
    return append_by(p, id, 1 + i % 4, true);
}

/* Until the first failing flush or open. */
static struct log_partition *work(struct host *h, const struct log_config *c, int64_t *durable)
{
    struct log_partition *p = NULL;
    for (int i = 0; i < STEPS; i++) {
        if (p == NULL && log_open(h, DIR, c, &p, NULL, NULL) != ERR_OK) {
            return NULL;
        }
        (void)!step(p, i);
        if (i % 5 == 4 && sync_all(h, p) != ERR_OK) {
            return p;
        }
        *durable = log_durable_offset(p) > *durable ? log_durable_offset(p) : *durable;
        if (i % 40 == 39) {
            log_close(p);
            p = NULL;
        }
    }
    return p;
}

static struct log_config tiny(void)
{
    struct log_config c = small_config(1500);
    return c;
}

static void state_follows_from_the_batches(void **state)
{
    (void)state;
    struct log_config c = tiny();
    struct host *h = sim_new(1);
    struct log_partition *p = open_with(h, &c, NULL);
    for (int i = 0; i < STEPS; i++) {
        assert_int_equal(step(p, i), ERR_OK);
        assert_by_the_book(p);
        if (i % 4 == 0) {
            assert_int_equal(sync_all(h, p), ERR_OK);
            assert_by_the_book(p);
        }
        if (i % 9 == 0) {
            log_close(p);
            h = host_sim_crash(h);
            p = open_with(h, &c, NULL);
            assert_by_the_book(p);
        }
    }
    assert_int_equal(sync_all(h, p), ERR_OK);
    struct book k;
    book_read(&k, p);
    assert_true(k.n > 4);
    log_close(p);
    host_close(h);
}

static void crashes_at_every_call(void **state)
{
    (void)state;
    static const enum sim_fault faults[] = {SIM_FAULT_STOP, SIM_FAULT_ERROR, SIM_FAULT_SHORT,
                                            SIM_FAULT_FULL};
    struct log_config c = tiny();
    struct host *h = sim_new(1);
    int64_t durable = 0;
    uint64_t before = host_sim_file_calls(h);
    struct log_partition *p = work(h, &c, &durable);
    uint64_t calls = host_sim_file_calls(h) - before;
    log_close(p);
    host_close(h);
    assert_true(calls > 150);
    for (uint64_t n = 1; n <= calls; n++) {
        for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
            h = sim_new(1);
            durable = 0;
            host_sim_fault_at(h, n, faults[f], false);
            p = work(h, &c, &durable);
            h = (n + f) % 3 == 0 ? host_sim_crash(h) : host_sim_power_cut(h, n);
            log_close(p);
            p = open_with(h, &c, NULL);
            assert_true(log_end_offset(p) >= durable);
            assert_by_the_book(p);
            for (int i = 0; i < 12; i++) {
                assert_int_equal(step(p, i), ERR_OK);
            }
            assert_int_equal(sync_all(h, p), ERR_OK);
            log_close(p);
            p = open_with(h, &c, NULL);
            assert_by_the_book(p);
            log_close(p);
            host_close(h);
        }
    }
}

struct indexes {
    char names[64][40];
    int n;
};

static bool collect(void *arg, const char *name)
{
    struct indexes *x = arg;
    if (strstr(name, ".index") != NULL || strstr(name, ".producers") != NULL) {
        snprintf(x->names[x->n++], sizeof x->names[0], "%s", name);
    }
    return x->n < 64;
}

/* Removes an index (at < 0), or flips a byte of it. False: the file is shorter. */
static bool damage(struct host *h, const char *name, int64_t at)
{
    char path[128];
    uint64_t size = 0;
    struct host_file *f;
    snprintf(path, sizeof path, DIR "/%s", name);
    if (at < 0) {
        assert_int_equal(host_remove(h, path), ERR_OK);
        return true;
    }
    assert_int_equal(host_file_open(h, path, HOST_OPEN_READ, &f, NULL), ERR_OK);
    assert_int_equal(host_file_size(f, &size), ERR_OK);
    host_file_close(f);
    if ((uint64_t)at < size) {
        assert_int_equal(host_sim_flip(h, path, (uint64_t)at, 0x10), ERR_OK);
    }
    return (uint64_t)at < size;
}

static struct host *finished_log(const struct log_config *c, struct indexes *x)
{
    struct host *h = sim_new(1);
    int64_t durable = 0;
    struct log_partition *p = work(h, c, &durable);
    assert_int_equal(sync_all(h, p), ERR_OK);
    log_close(p);
    *x = (struct indexes){0};
    assert_int_equal(host_dir_list(h, DIR, collect, x), ERR_OK);
    assert_true(x->n > 4);
    return h;
}

/* Before a start, or while the partition is open. */
static void lost_indexes_are_made_again(void **state)
{
    (void)state;
    struct log_config c = tiny();
    struct indexes x;
    host_close(finished_log(&c, &x));
    for (int i = 0; i <= x.n; i++) {
        bool more = true;
        for (int64_t at = -1; more; at += 1 + (i < x.n ? 0 : 1000)) {
            for (int open = 0; open < 2; open++) {
                struct host *h = finished_log(&c, &x);
                struct log_partition *p = open ? open_with(h, &c, NULL) : NULL;
                if (i == x.n) { /* all of them */
                    for (int k = 0; k < x.n; k++) {
                        (void)damage(h, x.names[k], at);
                    }
                    more = false;
                } else {
                    more = damage(h, x.names[i], at);
                }
                p = p != NULL ? p : open_with(h, &c, NULL);
                assert_by_the_book(p);
                log_close(p);
                host_close(h);
            }
        }
    }
}

/* Retention keeps what an open transaction has, and what was dropped is not needed any more. */
static void retention(void **state)
{
    (void)state;
    struct log_config c = tiny();
    struct host *h = sim_new(1);
    struct log_partition *p = open_with(h, &c, NULL);
    assert_int_equal(append_by(p, 1, 1, true), ERR_OK);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(append_by(p, 0, 3, false), ERR_OK);
        assert_int_equal(append_by(p, 2, 2, true), ERR_OK);
        assert_int_equal(end_by(p, 2, false, 0), ERR_OK);
    }
    assert_int_equal(sync_all(h, p), ERR_OK);
    assert_int_equal(log_stable_offset(p), 0);
    assert_int_equal(log_drop_before(p, log_end_offset(p)), 0);
    assert_int_equal(end_by(p, 1, true, 0), ERR_OK);
    assert_int_equal(sync_all(h, p), ERR_OK);
    assert_int_equal(log_stable_offset(p), log_end_offset(p));
    assert_true(log_drop_before(p, log_end_offset(p)) > 3);
    assert_int_equal(sync_all(h, p), ERR_OK);
    const struct producer *one = producers_find(log_producers(p), 0);
    int32_t last = one->batches[one->n - 1].last;
    log_close(p);
    p = open_with(h, &c, NULL);
    one = producers_find(log_producers(p), 0);
    assert_int_equal(one->n, PRODUCER_BATCHES);
    assert_int_equal(one->batches[one->n - 1].last, last);
    assert_non_null(producers_find(log_producers(p), 1));
    log_close(p);
    host_close(h);
}

static void aborted_lookup(void **state)
{
    (void)state;
    struct log_aborted list[] = {{9, 5, 8}, {7, 40, 50}, {7, 10, 20}, {8, 0, 100}};
    log_aborted_sort(list, 4);
    assert_true(log_aborted_has(list, 4, 7, 10));
    assert_true(log_aborted_has(list, 4, 7, 19));
    assert_false(log_aborted_has(list, 4, 7, 9));
    assert_false(log_aborted_has(list, 4, 7, 21));
    assert_true(log_aborted_has(list, 4, 7, 49));
    assert_true(log_aborted_has(list, 4, 8, 0));
    assert_false(log_aborted_has(list, 4, 9, 9));
    assert_false(log_aborted_has(list, 4, 6, 10));
    assert_false(log_aborted_has(list, 0, 7, 10));
}

/* Without memory an append is refused as a whole, and nothing is changed. */
static void no_memory(void **state)
{
    (void)state;
    struct log_config c = tiny();
    struct host *h = sim_new(1);
    struct log_partition *p = open_with(h, &c, NULL);
    int refused = 0;
    for (uint64_t n = 1; n < 40; n++) {
        int64_t end = log_end_offset(p);
        fail_at = n % 6 + 1;
        enum err e = step(p, (int)n);
        fail_at = 0;
        refused += e != ERR_OK;
        assert_true(e == ERR_OK || log_end_offset(p) == end);
        assert_by_the_book(p);
    }
    assert_true(refused > 3);
    log_close(p);
    host_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_follows_from_the_batches),
        cmocka_unit_test(crashes_at_every_call),
        cmocka_unit_test(lost_indexes_are_made_again),
        cmocka_unit_test(retention),
        cmocka_unit_test(aborted_lookup),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
