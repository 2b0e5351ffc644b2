/* labels: threads */
/* log/ on the real host: a helper thread flushes while the owner appends, reads, drops and rolls,
 * and ranges are released on a third thread. */
#include "fixture.h"

#include "base/check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { APPENDS = 400, HELD_MAX = 1024 };

/* One flush at a time: the owner sets `job`, the helper clears it. */
struct helper {
    struct host *h;
    _Atomic(struct log_sync *) job;
    atomic_bool stop;
};

static void *help(void *arg)
{
    struct helper *help = arg;
    while (!atomic_load(&help->stop)) {
        struct log_sync *job = atomic_load(&help->job);
        if (job == NULL) {
            usleep(20);
            continue;
        }
        log_sync_run(help->h, job);
        atomic_store(&help->job, NULL);
    }
    return NULL;
}

/* Ranges handed over by the owner. */
struct releaser {
    struct log_range ranges[HELD_MAX];
    atomic_int pushed;
    atomic_bool stop;
};

static void *release(void *arg)
{
    struct releaser *r = arg;
    int done = 0;
    while (!atomic_load(&r->stop) || done < atomic_load(&r->pushed)) {
        if (done == atomic_load(&r->pushed)) {
            usleep(20);
            continue;
        }
        char byte;
        CHECK(host_file_read(r->ranges[done].file, r->ranges[done].at, &byte, 1) == ERR_OK);
        log_range_release(&r->ranges[done++]);
    }
    return NULL;
}

static void owner_and_helpers_share_a_partition(void **state)
{
    (void)state;
    char root[] = "log-threads-XXXXXX";
    char dir[64];
    assert_non_null(mkdtemp(root));
    snprintf(dir, sizeof dir, "%s/p", root);
    struct helper helper = {.h = host_real_open()};
    struct releaser *releaser = mem_zalloc(1, sizeof *releaser);
    struct log_config c = small_config(5000);
    struct log_partition *p = NULL;
    struct log_sync sync;
    pthread_t threads[2];
    bool running = false;
    int64_t read_from = 0;
    assert_non_null(helper.h);
    assert_int_equal(log_open(helper.h, dir, &c, &p, NULL, NULL), ERR_OK);
    assert_int_equal(pthread_create(&threads[0], NULL, help, &helper), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, release, releaser), 0);
    for (int i = 0; i < APPENDS || running; i++) {
        if (i < APPENDS) {
            assert_int_equal(append(p, 1 + i % 6, 0), ERR_OK);
        }
        if (running && atomic_load(&helper.job) == NULL) {
            running = false;
            assert_int_equal(log_sync_end(p, &sync), ERR_OK);
        }
        if (!running && i < APPENDS && log_sync_begin(p, &sync)) {
            running = true;
            atomic_store(&helper.job, &sync);
        }
        int n = atomic_load(&releaser->pushed);
        if (read_from < log_high_watermark(p) && n < HELD_MAX) {
            struct log_range *r = &releaser->ranges[n];
            assert_int_equal(log_read(p, read_from, log_high_watermark(p), 2000, r, NULL), ERR_OK);
            read_from = r->next_offset;
            atomic_store(&releaser->pushed, n + 1);
        }
        if (i % 50 == 49) {
            (void)log_drop_before(p, read_from);
        }
    }
    atomic_store(&helper.stop, true);
    atomic_store(&releaser->stop, true);
    assert_int_equal(pthread_join(threads[0], NULL), 0);
    assert_int_equal(pthread_join(threads[1], NULL), 0);
    assert_int_equal(sync_all(helper.h, p), ERR_OK);
    (void)log_drop_before(p, log_end_offset(p) / 2);
    assert_true(log_start_offset(p) > 0);
    assert_int_equal(sync_all(helper.h, p), ERR_OK);
    assert_all_readable(p);
    int64_t end = log_end_offset(p);
    log_close(p);
    assert_int_equal(log_open(helper.h, dir, &c, &p, NULL, NULL), ERR_OK);
    assert_int_equal(log_end_offset(p), end);
    assert_all_readable(p);
    assert_int_equal(log_delete(p), ERR_OK);
    assert_int_equal(rmdir(root), 0);
    mem_free(releaser);
    host_close(helper.h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owner_and_helpers_share_a_partition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
