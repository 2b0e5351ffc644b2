/* host/sim: the contract in simulation, and what only simulation has: equal traces from equal
 * seeds, power cuts, crashes, faults at every call. */
#include "contract.h"

#include "host/sim.h"

static struct host *sim_new(uint64_t seed)
{
    const struct sim_options options = {
        .seed = seed,
        .wall_us = 1700000000000000,
        .net_delay_us_max = 300,
        .net_chunk_bytes_max = 3000,
        .sync_delay_us_max = 200,
        .run_ns_max = (int64_t)60 * 1000000000,
    };
    struct host *h = host_sim_open(&options);
    assert_non_null(h);
    return h;
}

static int contract_setup(void **state)
{
    struct contract *c = mem_zalloc(1, sizeof *c);
    snprintf(c->dir, sizeof c->dir, "/t");
    c->h = sim_new(7);
    *state = c;
    return host_dir_create(c->h, c->dir, NULL) == ERR_OK ? 0 : -1;
}

static int contract_teardown(void **state)
{
    struct contract *c = *state;
    size_t left = host_sim_workers_left(c->h);
    host_close(c->h);
    mem_free(c);
    return left == 0 ? 0 : -1;
}

/* ---- seeds and traces ---- */

static uint64_t echo_trace(uint64_t seed)
{
    struct contract c = {.h = sim_new(seed), .dir = "/t"};
    void *state = &c;
    assert_int_equal(host_dir_create(c.h, c.dir, NULL), ERR_OK);
    files_keep_bytes(&state);
    echo_between_workers(&state);
    uint64_t trace = host_sim_trace(c.h);
    host_close(c.h);
    return trace;
}

static void equal_seeds_give_equal_traces(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        uint64_t trace = echo_trace(seed);
        assert_true(trace == echo_trace(seed));
        assert_true(trace != echo_trace(seed + 1000));
    }
}

static void echo_works_under_every_seed(void **state)
{
    (void)state;
    static const struct {
        uint32_t delay_us, chunk_bytes;
    } networks[] = {{0, 0}, {0, 7000}, {1000, 0}, {50000, 100000}, {10, 500}};
    for (uint64_t seed = 0; seed < 50; seed++) {
        const struct sim_options options = {
            .seed = seed,
            .wall_us = 1700000000000000,
            .net_delay_us_max = networks[seed % 5].delay_us,
            .net_chunk_bytes_max = networks[seed % 5].chunk_bytes,
        };
        struct contract c = {.h = host_sim_open(&options), .dir = "/t"};
        void *contract = &c;
        assert_int_equal(host_dir_create(c.h, c.dir, NULL), ERR_OK);
        echo_between_workers(&contract);
        assert_int_equal(host_sim_workers_left(c.h), 0);
        host_close(c.h);
    }
}

/* ---- power cuts ---- */

enum { SECTOR = 512, SECTORS = 64 };

static void fill(char *bytes, size_t n, char value)
{
    memset(bytes, value, n);
}

static struct host_file *open_in(struct host *h, const char *path, uint32_t flags)
{
    struct host_file *f = NULL;
    assert_int_equal(host_file_open(h, path, flags, &f, NULL), ERR_OK);
    return f;
}

static void power_cut_keeps_synced_and_some_unsynced_sectors(void **state)
{
    (void)state;
    char bytes[SECTOR * SECTORS];
    size_t old_seen = 0;
    size_t new_seen = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct host *h = sim_new(seed);
        struct host_file *f = open_in(h, "f", HOST_OPEN_WRITE | HOST_OPEN_CREATE);
        fill(bytes, sizeof bytes, 'o');
        assert_int_equal(host_file_write(f, 0, bytes, sizeof bytes), ERR_OK);
        assert_int_equal(host_file_sync(f), ERR_OK);
        assert_int_equal(host_dir_sync(h, "/"), ERR_OK);
        fill(bytes, sizeof bytes, 'n');
        assert_int_equal(host_file_write(f, sizeof bytes / 2, bytes, sizeof bytes / 2), ERR_OK);
        h = host_sim_power_cut(h, seed);
        f = open_in(h, "f", HOST_OPEN_READ);
        assert_int_equal(host_file_read(f, 0, bytes, sizeof bytes), ERR_OK);
        for (size_t i = 0; i < SECTORS; i++) {
            char first = bytes[i * SECTOR];
            assert_true(first == 'o' || (first == 'n' && i >= SECTORS / 2));
            for (size_t j = 1; j < SECTOR; j++)
                assert_int_equal(bytes[i * SECTOR + j], first);
            if (i >= SECTORS / 2) {
                old_seen += first == 'o';
                new_seen += first == 'n';
            }
        }
        /* What the cut left is durable: a second one changes nothing. */
        char again[sizeof bytes];
        h = host_sim_power_cut(h, seed + 1);
        f = open_in(h, "f", HOST_OPEN_READ);
        assert_int_equal(host_file_read(f, 0, again, sizeof again), ERR_OK);
        assert_memory_equal(bytes, again, sizeof again);
        host_close(h);
    }
    assert_true(old_seen > 50 && new_seen > 50);
}

static void power_cut_keeps_a_size_in_between(void **state)
{
    (void)state;
    bool kept_old = false;
    bool kept_new = false;
    bool kept_cut = false;
    bool undid_cut = false;
    char bytes[5000];
    uint64_t size;
    fill(bytes, sizeof bytes, 'x');
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct host *h = sim_new(seed);
        struct host_file *grown = open_in(h, "grown", HOST_OPEN_WRITE | HOST_OPEN_CREATE);
        struct host_file *cut = open_in(h, "cut", HOST_OPEN_WRITE | HOST_OPEN_CREATE);
        assert_int_equal(host_file_write(grown, 0, bytes, 1000), ERR_OK);
        assert_int_equal(host_file_write(cut, 0, bytes, 5000), ERR_OK);
        assert_int_equal(host_file_sync(grown), ERR_OK);
        assert_int_equal(host_file_sync(cut), ERR_OK);
        assert_int_equal(host_dir_sync(h, "/"), ERR_OK);
        assert_int_equal(host_file_write(grown, 1000, bytes, 4000), ERR_OK);
        assert_int_equal(host_file_truncate(cut, 512), ERR_OK);
        h = host_sim_power_cut(h, seed);

        grown = open_in(h, "grown", HOST_OPEN_READ);
        assert_int_equal(host_file_size(grown, &size), ERR_OK);
        assert_in_range(size, 1000, 5000);
        kept_old |= size == 1000;
        kept_new |= size == 5000;
        char out[5000];
        assert_int_equal(host_file_read(grown, 0, out, 1000), ERR_OK);
        assert_memory_equal(out, bytes, 1000);

        cut = open_in(h, "cut", HOST_OPEN_READ);
        assert_int_equal(host_file_size(cut, &size), ERR_OK);
        assert_true(size == 512 || size == 5000);
        kept_cut |= size == 512;
        undid_cut |= size == 5000;
        assert_int_equal(host_file_read(cut, 0, out, (size_t)size), ERR_OK);
        assert_memory_equal(out, bytes, (size_t)size);
        host_close(h);
    }
    assert_true(kept_old && kept_new && kept_cut && undid_cut);
}

/* The usual way to replace a file: after a power cut it is the old or the new one, whole. */
static void rename_is_atomic_and_names_need_a_sync(void **state)
{
    (void)state;
    int saw_old = 0;
    int saw_new = 0;
    int saw_lost = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct host *h = sim_new(seed);
        char byte = 'o';
        bool exists;
        assert_int_equal(host_dir_create(h, "d", NULL), ERR_OK);
        struct host_file *f = open_in(h, "d/f", HOST_OPEN_WRITE | HOST_OPEN_CREATE);
        assert_int_equal(host_file_write(f, 0, &byte, 1), ERR_OK);
        assert_int_equal(host_file_sync(f), ERR_OK);
        assert_int_equal(host_dir_sync(h, "d"), ERR_OK);
        assert_int_equal(host_dir_sync(h, "/"), ERR_OK);
        byte = 'n';
        f = open_in(h, "d/f.new", HOST_OPEN_WRITE | HOST_OPEN_CREATE);
        assert_int_equal(host_file_write(f, 0, &byte, 1), ERR_OK);
        assert_int_equal(host_file_sync(f), ERR_OK);
        assert_int_equal(host_rename(h, "d/f.new", "d/f"), ERR_OK);
        f = open_in(h, "d/never_synced", HOST_OPEN_WRITE | HOST_OPEN_CREATE);
        h = host_sim_power_cut(h, seed);
        f = open_in(h, "d/f", HOST_OPEN_READ);
        assert_int_equal(host_file_read(f, 0, &byte, 1), ERR_OK);
        assert_true(byte == 'o' || byte == 'n');
        saw_old += byte == 'o';
        saw_new += byte == 'n';
        assert_int_equal(host_path_exists(h, "d/never_synced", &exists), ERR_OK);
        assert_true(byte == 'n' || !exists); /* in order: a later name needs the earlier ones */
        saw_lost += !exists;
        host_file_close(f);
        host_close(h);
    }
    assert_true(saw_old > 0 && saw_new > 0 && saw_lost > 0 && saw_lost < 60);
}

static void moves_between_folders_and_removals_are_in_order(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct host *h = sim_new(seed);
        bool in_a;
        bool in_b;
        assert_int_equal(host_dir_create(h, "a", NULL), ERR_OK);
        assert_int_equal(host_dir_create(h, "b", NULL), ERR_OK);
        host_file_close(open_in(h, "a/f", HOST_OPEN_WRITE | HOST_OPEN_CREATE));
        host_file_close(open_in(h, "a/gone", HOST_OPEN_WRITE | HOST_OPEN_CREATE));
        bool created = seed % 3 != 0; /* otherwise the sync of b has to bring that along */
        if (created)
            assert_int_equal(host_dir_sync(h, "a"), ERR_OK);
        assert_int_equal(host_dir_sync(h, "/"), ERR_OK);
        assert_int_equal(host_rename(h, "a/f", "b/f"), ERR_OK);
        assert_int_equal(host_remove(h, "a/gone"), ERR_OK);
        if (seed % 2 == 0)
            assert_int_equal(host_dir_sync(h, "b"), ERR_OK);
        h = host_sim_power_cut(h, seed);
        assert_int_equal(host_path_exists(h, "a/f", &in_a), ERR_OK);
        assert_int_equal(host_path_exists(h, "b/f", &in_b), ERR_OK);
        assert_false(in_a && in_b);
        if (created)
            assert_true(in_a || in_b);
        if (seed % 2 == 0)
            assert_true(in_b);
        host_close(h);
    }
}

static void crash_keeps_everything_written(void **state)
{
    (void)state;
    struct host *old = sim_new(1);
    struct host_file *f = open_in(old, "f", HOST_OPEN_WRITE | HOST_OPEN_CREATE);
    struct host_socket *s;
    struct host_worker *w;
    uint16_t port;
    int turns = 0;
    char byte = 'x';
    assert_int_equal(host_file_lock(f), ERR_OK);
    assert_int_equal(host_file_write(f, 3, &byte, 1), ERR_OK);
    assert_int_equal(host_listen(old, "127.0.0.1:9092", &s, &port, NULL), ERR_OK);
    assert_int_equal(host_worker_start(old, "w", end_at_once, &turns, &w), ERR_OK);
    struct host *h = host_sim_crash(old);

    /* What belonged to the dead process does nothing any more, and may be closed or not. */
    assert_int_equal(host_file_write(f, 0, &byte, 1), ERR_CLOSED);
    assert_int_equal(host_remove(old, "f"), ERR_CLOSED);
    assert_int_equal(host_accept(s, &s, NULL, NULL), ERR_BUSY);
    host_worker_wake(w);
    host_file_close(f);

    f = open_in(h, "f", HOST_OPEN_WRITE);
    assert_int_equal(host_file_lock(f), ERR_OK);
    byte = 0;
    assert_int_equal(host_file_read(f, 3, &byte, 1), ERR_OK);
    assert_int_equal(byte, 'x');
    assert_int_equal(host_listen(h, "127.0.0.1:9092", &s, &port, NULL), ERR_OK);
    host_run(h);
    assert_int_equal(turns, 0);
    host_close(h);
}

/* Random calls beside a plain array; at a power cut each sector is the synced or a later one. */

enum { MODEL_BYTES = 40000, MODEL_STEPS = 200 };

struct model {
    uint8_t now[MODEL_BYTES], synced[MODEL_BYTES];
    uint64_t size, synced_size;
    uint8_t touched[MODEL_BYTES / SECTOR + 1]; /* sectors written or cut since the sync */
};

static void model_touch(struct model *m, uint64_t from, uint64_t to)
{
    for (uint64_t s = from / SECTOR; s * SECTOR < to; s++)
        m->touched[s] = 1;
}

static void model_step(struct model *m, struct host *h, struct host_file *f)
{
    static uint8_t bytes[MODEL_BYTES];
    uint16_t r[4];
    host_random(h, r, sizeof r);
    uint64_t at = r[1] % MODEL_BYTES;
    uint64_t n = 1 + r[2] % (r[3] % 4 == 0 ? MODEL_BYTES - at : 300);
    if (n > MODEL_BYTES - at)
        n = MODEL_BYTES - at;
    if (r[0] % 16 == 0) {
        assert_int_equal(host_file_sync(f), ERR_OK);
        memcpy(m->synced, m->now, sizeof m->now);
        m->synced_size = m->size;
        memset(m->touched, 0, sizeof m->touched);
    } else if (r[0] % 16 < 3) {
        assert_int_equal(host_file_truncate(f, at), ERR_OK);
        if (at < m->size) {
            memset(m->now + at, 0, m->size - at);
            model_touch(m, at, MODEL_BYTES);
        }
        m->size = at;
    } else {
        memset(bytes, 'a' + r[3] % 26, n);
        assert_int_equal(host_file_write(f, at, bytes, n), ERR_OK);
        memcpy(m->now + at, bytes, n);
        model_touch(m, at, at + n);
        if (at + n > m->size)
            m->size = at + n;
    }
    uint64_t size = 0;
    assert_int_equal(host_file_size(f, &size), ERR_OK);
    assert_int_equal(size, m->size);
    assert_int_equal(host_file_read(f, 0, bytes, (size_t)size), ERR_OK);
    assert_memory_equal(bytes, m->now, size);
}

static void disk_agrees_with_a_plain_model(void **state)
{
    (void)state;
    struct model *m = mem_alloc(sizeof *m);
    static uint8_t bytes[MODEL_BYTES];
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct host *h = sim_new(seed);
        struct host_file *f = open_in(h, "f", HOST_OPEN_WRITE | HOST_OPEN_CREATE);
        assert_int_equal(host_dir_sync(h, "/"), ERR_OK);
        memset(m, 0, sizeof *m);
        for (int i = 0; i < MODEL_STEPS; i++)
            model_step(m, h, f);
        h = host_sim_power_cut(h, seed * 3);
        f = open_in(h, "f", HOST_OPEN_WRITE);
        uint64_t size = 0;
        assert_int_equal(host_file_size(f, &size), ERR_OK);
        uint64_t all = size < m->synced_size ? size : m->synced_size;
        assert_int_equal(host_file_read(f, 0, bytes, (size_t)size), ERR_OK);
        for (uint64_t i = 0; i < all; i++)
            if (!m->touched[i / SECTOR])
                assert_int_equal(bytes[i], m->synced[i]);
        if (m->size == m->synced_size && memcmp(m->now, m->synced, sizeof m->now) == 0)
            assert_int_equal(size, m->size);
        /* What lies behind the end never comes back. */
        assert_int_equal(host_file_truncate(f, size + 5000), ERR_OK);
        uint8_t behind[5000];
        assert_int_equal(host_file_read(f, size, behind, sizeof behind), ERR_OK);
        for (size_t i = 0; i < sizeof behind; i++)
            assert_int_equal(behind[i], 0);
        host_close(h);
    }
    mem_free(m);
}

/* ---- faults ---- */

/* A little program that replaces a file; how far it came. */
static enum err replace_file(struct host *h)
{
    struct host_file *f = NULL;
    char bytes[3000];
    fill(bytes, sizeof bytes, 'r');
    TRY(host_file_open(h, "new", HOST_OPEN_WRITE | HOST_OPEN_CREATE, &f, NULL));
    enum err e = host_file_write(f, 0, bytes, sizeof bytes);
    if (e == ERR_OK)
        e = host_file_sync(f);
    host_file_close(f);
    if (e != ERR_OK)
        return e;
    TRY(host_rename(h, "new", "data"));
    return host_dir_sync(h, "/");
}

static void every_file_call_can_fail(void **state)
{
    (void)state;
    static const enum sim_fault faults[] = {SIM_FAULT_ERROR, SIM_FAULT_SHORT, SIM_FAULT_FULL,
                                            SIM_FAULT_STOP};
    static const enum err expected[4][5] = {
        {ERR_IO, ERR_IO, ERR_SYNC_FAILED, ERR_IO, ERR_SYNC_FAILED},
        {ERR_IO, ERR_IO, ERR_SYNC_FAILED, ERR_IO, ERR_SYNC_FAILED},
        {ERR_NO_SPACE, ERR_NO_SPACE, ERR_SYNC_FAILED, ERR_NO_SPACE, ERR_SYNC_FAILED},
        {ERR_SHUTDOWN, ERR_SHUTDOWN, ERR_SHUTDOWN, ERR_SHUTDOWN, ERR_SHUTDOWN},
    };
    for (size_t k = 0; k < 4; k++) {
        for (uint64_t nth = 1; nth <= 6; nth++) {
            struct host *h = sim_new(nth);
            bool exists;
            host_sim_fault_at(h, nth, faults[k], false);
            enum err e = replace_file(h);
            assert_int_equal(e, nth == 6 ? ERR_OK : expected[k][nth - 1]);
            assert_int_equal(host_sim_halted(h), nth < 6 && faults[k] == SIM_FAULT_STOP);
            h = host_sim_crash(h);
            assert_int_equal(host_path_exists(h, "data", &exists), ERR_OK);
            assert_int_equal(exists, nth >= 5);
            if (nth == 2 && faults[k] == SIM_FAULT_SHORT) {
                struct host_file *f = open_in(h, "new", HOST_OPEN_READ);
                uint64_t size;
                assert_int_equal(host_file_size(f, &size), ERR_OK);
                assert_true(size < 3000);
                host_file_close(f);
            }
            host_close(h);
        }
    }
}

static void failed_sync_stays_failed(void **state)
{
    (void)state;
    struct host *h = sim_new(1);
    struct host_file *f = open_in(h, "f", HOST_OPEN_WRITE | HOST_OPEN_CREATE);
    host_sim_fault_at(h, 1, SIM_FAULT_ERROR, false);
    assert_int_equal(host_file_sync(f), ERR_SYNC_FAILED);
    assert_int_equal(host_file_sync(f), ERR_SYNC_FAILED);
    host_sim_fault_at(h, 2, SIM_FAULT_ERROR, true);
    uint64_t size;
    assert_int_equal(host_file_size(f, &size), ERR_OK);
    assert_int_equal(host_file_size(f, &size), ERR_IO);
    assert_int_equal(host_file_size(f, &size), ERR_IO);
    host_sim_fault_at(h, 0, SIM_FAULT_NONE, false);
    assert_int_equal(host_file_size(f, &size), ERR_OK);
    host_close(h);
}

struct writer {
    struct host *h;
    struct host_worker *w;
    struct host_file *f;
    uint64_t written;
};

static bool writer_turn(void *arg)
{
    struct writer *k = arg;
    assert_int_equal(host_file_write(k->f, k->written, "x", 1), ERR_OK);
    k->written++;
    return true;
}

static void stop_leaves_the_turn_in_the_middle(void **state)
{
    (void)state;
    struct writer k = {.h = sim_new(1)};
    struct host_event event;
    k.f = open_in(k.h, "f", HOST_OPEN_WRITE | HOST_OPEN_CREATE);
    assert_int_equal(host_worker_start(k.h, "writer", writer_turn, &k, &k.w), ERR_OK);
    host_sim_fault_at(k.h, 11, SIM_FAULT_STOP, false);
    host_run(k.h);
    assert_true(host_sim_halted(k.h));
    assert_int_equal(k.written, 10);
    assert_int_equal(host_sim_workers_left(k.h), 1);
    assert_int_equal(host_file_write(k.f, 0, "x", 1), ERR_SHUTDOWN);
    assert_int_equal(host_poll(k.w, &event, 1, INT64_MAX), 0);
    k.h = host_sim_power_cut(k.h, 5);
    host_close(k.h);
}

static void disk_fills_up_and_empties(void **state)
{
    (void)state;
    const struct sim_options options = {.disk_bytes_max = 10000};
    struct host *h = host_sim_open(&options);
    char bytes[6000] = {0};
    uint64_t left;
    struct host_file *a = open_in(h, "a", HOST_OPEN_WRITE | HOST_OPEN_CREATE);
    struct host_file *b = open_in(h, "b", HOST_OPEN_WRITE | HOST_OPEN_CREATE);
    assert_int_equal(host_file_allocate(a, 6000), ERR_OK);
    assert_int_equal(host_file_write(a, 0, bytes, sizeof bytes), ERR_OK);
    assert_int_equal(host_file_write(b, 0, bytes, sizeof bytes), ERR_NO_SPACE);
    assert_int_equal(host_disk_free(h, "/", &left), ERR_OK);
    assert_int_equal(left, 0);
    assert_int_equal(host_file_truncate(b, 0), ERR_OK);
    assert_int_equal(host_disk_free(h, "/", &left), ERR_OK);
    assert_int_equal(left, 4000);
    /* A removed file takes space until it is closed. */
    assert_int_equal(host_remove(h, "a"), ERR_OK);
    assert_int_equal(host_file_write(b, 0, bytes, sizeof bytes), ERR_NO_SPACE);
    host_file_close(a);
    assert_int_equal(host_file_write(b, 0, bytes, sizeof bytes), ERR_OK);
    host_file_close(b);
    /* The accounts are right after a power cut as well. */
    h = host_sim_power_cut(h, 3);
    assert_int_equal(host_disk_free(h, "/", &left), ERR_OK);
    uint64_t sum = 0;
    static const char *const names[] = {"a", "b"};
    for (size_t i = 0; i < 2; i++) {
        uint64_t size = 0;
        if (host_file_open(h, names[i], HOST_OPEN_READ, &a, NULL) != ERR_OK)
            continue;
        assert_int_equal(host_file_size(a, &size), ERR_OK);
        sum += size;
    }
    assert_int_equal(left, 10000 - sum);
    host_close(h);
}

static void bits_rot_for_good(void **state)
{
    (void)state;
    struct host *h = sim_new(1);
    char out[4] = {0};
    struct host_file *f = open_in(h, "f", HOST_OPEN_WRITE | HOST_OPEN_CREATE);
    assert_int_equal(host_file_write(f, 0, "abcd", 4), ERR_OK);
    assert_int_equal(host_file_sync(f), ERR_OK);
    assert_int_equal(host_dir_sync(h, "/"), ERR_OK);
    assert_int_equal(host_sim_flip(h, "f", 1, 1), ERR_OK);
    assert_int_equal(host_sim_flip(h, "f", 4, 1), ERR_IO);
    assert_int_equal(host_sim_flip(h, "g", 0, 1), ERR_IO);
    h = host_sim_power_cut(h, 1);
    f = open_in(h, "f", HOST_OPEN_READ);
    assert_int_equal(host_file_read(f, 0, out, 4), ERR_OK);
    assert_memory_equal(out, "accd", 4);
    host_close(h);
}

/* ---- schedule and clock ---- */

static void waiting_for_each_other_ends_the_run(void **state)
{
    (void)state;
    struct stopping s = {.h = sim_new(1)};
    assert_int_equal(host_worker_start(s.h, "waiter", waiter_turn, &s, &s.waiter), ERR_OK);
    host_run(s.h);
    assert_int_equal(host_sim_workers_left(s.h), 1);
    host_stop_request(s.h);
    host_run(s.h);
    assert_int_equal(host_sim_workers_left(s.h), 0);
    host_close(s.h);
}

/* Decides what to wait for only after it has polled. */
static bool late_sleeper_turn(void *arg)
{
    struct sleeper *s = arg;
    struct host_event event;
    (void)host_poll(s->w, &event, 1, s->until == 0 ? INT64_MAX : s->until);
    if (s->until == 0)
        s->until = host_mono_ns(s->h) + 1000000;
    return host_mono_ns(s->h) < s->until;
}

static void a_deadline_set_after_the_poll_is_kept(void **state)
{
    (void)state;
    struct sleeper s = {.h = sim_new(1)};
    assert_int_equal(host_worker_start(s.h, "late", late_sleeper_turn, &s, &s.w), ERR_OK);
    host_run(s.h);
    assert_int_equal(host_sim_workers_left(s.h), 0);
    host_close(s.h);
}

static bool busy_turn(void *arg)
{
    (void)arg;
    return true;
}

static void a_livelock_ends_the_run(void **state)
{
    (void)state;
    const struct sim_options options = {.run_ns_max = 1000000};
    struct host *h = host_sim_open(&options);
    struct host_worker *w;
    assert_int_equal(host_worker_start(h, "busy", busy_turn, NULL, &w), ERR_OK);
    int64_t before = host_mono_ns(h);
    host_run(h);
    assert_in_range(host_mono_ns(h) - before, 1000000, 1100000);
    assert_int_equal(host_sim_workers_left(h), 1);
    host_close(h);
}

static void time_jumps_over_waits_and_wall_over_jumps(void **state)
{
    (void)state;
    struct host *h = sim_new(1);
    struct sleeper s = {.h = h};
    assert_int_equal(host_worker_start(h, "sleeper", sleeper_turn, &s, &s.w), ERR_OK);
    int64_t before = host_mono_ns(h);
    host_run(h);
    assert_in_range(host_mono_ns(h) - before, 9000000, 9500000);
    int64_t wall = host_wall_us(h);
    host_sim_wall_jump(h, -5000000);
    assert_in_range(wall - host_wall_us(h), 4999000, 5000000);
    host_close(h);
}

/* ---- every allocation can fail: nothing leaks, nothing breaks ---- */

static void every_allocation_can_fail(void **state)
{
    (void)state;
    enum err e = ERR_NO_MEMORY;
    for (uint64_t nth = 1; e != ERR_OK; nth++) {
        uint64_t before = mem_used();
        const struct sim_options options = {.seed = nth};
        mem_fail_at(nth, 0);
        struct host *h = host_sim_open(&options);
        if (h != NULL) {
            e = replace_file(h);
            if (e == ERR_OK)
                h = host_sim_power_cut(h, nth);
            if (h == NULL)
                e = ERR_NO_MEMORY;
        }
        mem_fail_at(0, 0);
        assert_true(e == ERR_OK || e == ERR_NO_MEMORY);
        host_close(h);
        assert_true(mem_used() == before);
        assert_true(nth < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTRACT_TESTS,
        cmocka_unit_test(equal_seeds_give_equal_traces),
        cmocka_unit_test(echo_works_under_every_seed),
        cmocka_unit_test(power_cut_keeps_synced_and_some_unsynced_sectors),
        cmocka_unit_test(power_cut_keeps_a_size_in_between),
        cmocka_unit_test(rename_is_atomic_and_names_need_a_sync),
        cmocka_unit_test(moves_between_folders_and_removals_are_in_order),
        cmocka_unit_test(disk_agrees_with_a_plain_model),
        cmocka_unit_test(crash_keeps_everything_written),
        cmocka_unit_test(every_file_call_can_fail),
        cmocka_unit_test(failed_sync_stays_failed),
        cmocka_unit_test(stop_leaves_the_turn_in_the_middle),
        cmocka_unit_test(disk_fills_up_and_empties),
        cmocka_unit_test(bits_rot_for_good),
        cmocka_unit_test(waiting_for_each_other_ends_the_run),
        cmocka_unit_test(a_deadline_set_after_the_poll_is_kept),
        cmocka_unit_test(a_livelock_ends_the_run),
        cmocka_unit_test(time_jumps_over_waits_and_wall_over_jumps),
        cmocka_unit_test(every_allocation_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
