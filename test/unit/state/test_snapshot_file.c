/* Snapshot files: what was written is read back; a flipped or cut byte anywhere is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "host/sim.h"
#include "state/snapshot_file.h"

enum { FRAMES = 5, FILE_BYTES_MAX = 1 << 16 };

static void make(struct buf *out)
{
    struct snapshot_sum sum = {0};
    buf_init(out, FILE_BYTES_MAX);
    for (uint32_t i = 0; i < FRAMES; i++) {
        size_t at = snapshot_frame_begin(out, i == 0 ? SNAPSHOT_HEADER : SNAPSHOT_GROUPS);
        for (uint32_t k = 0; k < i * 10; k++)
            snapshot_put_u32(out, i * 1000 + k);
        snapshot_frame_end(out, at);
    }
    snapshot_sum_add(&sum, buf_str(out));
    snapshot_end_put(out, &sum);
    assert_false(out->failed);
}

static void store(struct host *h, const char *bytes, size_t n)
{
    struct host_file *f;
    struct err_detail why = {0};
    assert_int_equal(host_file_open(h, "s", HOST_OPEN_WRITE | HOST_OPEN_CREATE, &f, &why), ERR_OK);
    assert_int_equal(host_file_truncate(f, 0), ERR_OK);
    if (n > 0)
        assert_int_equal(host_file_write(f, 0, bytes, n), ERR_OK);
    host_file_close(f);
}

static uint32_t last_number; /* the first of the last frame that was read */

/* Frames read before END, or an error. */
static enum err read_all(struct host *h, uint32_t *n)
{
    struct snapshot_reader r;
    struct err_detail why = {0};
    enum snapshot_frame kind = SNAPSHOT_HEADER;
    struct str payload;
    *n = 0;
    enum err e = snapshot_reader_open(&r, h, "s", &why);
    assert_int_equal(e, ERR_OK);
    while (e == ERR_OK && kind != SNAPSHOT_END) {
        e = snapshot_reader_next(&r, &kind, &payload, &why);
        struct snapshot_cursor c = {.left = payload};
        if (e == ERR_OK && kind == SNAPSHOT_GROUPS)
            last_number = snapshot_u32(&c);
        if (e == ERR_OK && kind != SNAPSHOT_END)
            ++*n;
    }
    snapshot_reader_close(&r);
    return e;
}

static struct host *sim(void)
{
    struct host *h = host_sim_open(&(struct sim_options){.seed = 1});
    assert_non_null(h);
    return h;
}

static void frames_come_back(void **state)
{
    (void)state;
    struct host *h = sim();
    struct buf b;
    uint32_t n;
    make(&b);
    store(h, b.ptr, b.len);
    assert_int_equal(read_all(h, &n), ERR_OK);
    assert_int_equal(n, FRAMES);
    assert_int_equal(last_number, (FRAMES - 1) * 1000);
    buf_deinit(&b);
    host_close(h);
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    struct host *h = sim();
    struct buf b;
    uint32_t n;
    make(&b);
    for (size_t i = 0; i < b.len * 8; i++) {
        b.ptr[i / 8] = (char)(b.ptr[i / 8] ^ (1 << i % 8));
        store(h, b.ptr, b.len);
        if (read_all(h, &n) != ERR_CORRUPT)
            fail_msg("bit %zu of byte %zu", i % 8, i / 8);
        b.ptr[i / 8] = (char)(b.ptr[i / 8] ^ (1 << i % 8));
    }
    buf_deinit(&b);
    host_close(h);
}

static void every_cut_is_found(void **state)
{
    (void)state;
    struct host *h = sim();
    struct buf b;
    uint32_t n;
    make(&b);
    for (size_t len = 0; len < b.len; len++) {
        store(h, b.ptr, len);
        assert_int_equal(read_all(h, &n), ERR_CORRUPT);
    }
    buf_put_u8(&b, 0);
    store(h, b.ptr, b.len);
    assert_int_equal(read_all(h, &n), ERR_CORRUPT);
    buf_deinit(&b);
    host_close(h);
}

/* Each frame is whole, and one of them is missing, or comes twice. */
static void frames_that_are_missing_are_found(void **state)
{
    (void)state;
    struct host *h = sim();
    struct buf b, other;
    uint32_t n;
    make(&b);
    buf_init(&other, FILE_BYTES_MAX);
    buf_put(&other, b.ptr, SNAPSHOT_FRAME_HEAD);
    buf_put(&other, b.ptr + SNAPSHOT_FRAME_HEAD * 2 + 40, b.len - SNAPSHOT_FRAME_HEAD * 2 - 40);
    store(h, other.ptr, other.len);
    assert_int_equal(read_all(h, &n), ERR_CORRUPT);
    buf_clear(&other);
    buf_put(&other, b.ptr, SNAPSHOT_FRAME_HEAD * 2 + 40);
    buf_put(&other, b.ptr + SNAPSHOT_FRAME_HEAD, b.len - SNAPSHOT_FRAME_HEAD);
    store(h, other.ptr, other.len);
    assert_int_equal(read_all(h, &n), ERR_CORRUPT);
    buf_deinit(&other);
    buf_deinit(&b);
    host_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_back),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(every_cut_is_found),
        cmocka_unit_test(frames_that_are_missing_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
