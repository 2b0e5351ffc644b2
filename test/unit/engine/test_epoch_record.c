/* Epoch records: full ones and deltas, added up, come to what there was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "engine/epoch_record.h"

enum { READERS = 5, PARTS = 4, OUTPUTS = 6, STEPS = 200, BYTES_MAX = 1 << 20 };

static uint64_t rng_state = 7;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

struct world {
    struct record_reader readers[READERS];
    struct record_view views[READERS];
    struct output_end outputs[OUTPUTS];
    int64_t positions[READERS][PARTS];
};

/* Writes a record down, reads it back, and adds it to the sum. */
static enum err add(struct record_sum *sum, const struct epoch_record *r)
{
    struct buf bytes;
    struct arena a;
    struct epoch_record back;
    buf_init(&bytes, BYTES_MAX);
    arena_init(&a, BYTES_MAX);
    assert_int_equal(epoch_record_encode(r, &bytes), ERR_OK);
    assert_int_equal(epoch_record_decode(buf_str(&bytes), &a, &back), ERR_OK);
    assert_int_equal(back.epoch, r->epoch);
    assert_int_equal(back.base, r->base);
    enum err e = record_sum_add(sum, &back);
    for (size_t n = 0; n < bytes.len; n++) {
        enum err cut = epoch_record_decode((struct str){bytes.ptr, n}, &a, &back);
        assert_true(cut == ERR_CORRUPT);
        arena_reset(&a, BYTES_MAX);
    }
    arena_deinit(&a);
    buf_deinit(&bytes);
    return e;
}

static void check(struct record_sum *sum, const struct world *w, uint64_t epoch)
{
    struct epoch_record r;
    assert_int_equal(record_sum_take(sum, &r), ERR_OK);
    assert_int_equal(r.epoch, epoch);
    for (uint32_t i = 0; i < READERS; i++) {
        const struct record_reader *rr = record_reader_find(&r, w->readers[i].id);
        assert_non_null(rr);
        assert_int_equal(rr->watermark_us, w->readers[i].watermark_us);
        assert_int_equal(rr->n_parts, PARTS);
        assert_memory_equal(rr->positions, w->positions[i], sizeof(w->positions[i]));
        assert_int_equal(record_view_reader(&r, w->views[i].view), w->views[i].reader);
    }
    for (uint32_t i = 0; i < OUTPUTS; i++)
        assert_int_equal(record_output_end(&r, w->outputs[i].topic_number, w->outputs[i].partition),
                         w->outputs[i].end);
    assert_null(record_reader_find(&r, 1));
    assert_int_equal(record_view_reader(&r, 77), 77);
    assert_int_equal(record_output_end(&r, 99, 0), 0);
}

static void world_make(struct world *w)
{
    for (uint32_t i = 0; i < READERS; i++) {
        for (uint32_t p = 0; p < PARTS; p++)
            w->positions[i][p] = rng(1000);
        /* not ascending */
        w->readers[i] = (struct record_reader){.id = 100 - i,
                                               .watermark_us = INT64_MIN,
                                               .n_parts = PARTS,
                                               .positions = w->positions[i]};
        w->views[i] = (struct record_view){.view = 200 - i, .reader = 200 - i};
    }
    for (uint32_t i = 0; i < OUTPUTS; i++)
        w->outputs[i] = (struct output_end){.topic_number = 50 - i / 2, .partition = i % 2};
}

static void deltas_add_up(void **state)
{
    (void)state;
    struct world w;
    struct arena a;
    struct record_sum sum;
    arena_init(&a, BYTES_MAX);
    world_make(&w);
    record_sum_init(&sum, &a);
    struct epoch_record full = {.epoch = 1,
                                .base = -1,
                                .n_readers = READERS - 1, /* the last one comes later */
                                .readers = w.readers,
                                .n_views = READERS - 1,
                                .views = w.views,
                                .n_outputs = OUTPUTS,
                                .outputs = w.outputs};
    assert_int_equal(add(&sum, &full), ERR_OK);
    struct epoch_record last = {.epoch = 2,
                                .base = 5,
                                .n_readers = 1,
                                .readers = &w.readers[READERS - 1],
                                .n_views = 1,
                                .views = &w.views[READERS - 1]};
    assert_int_equal(add(&sum, &last), ERR_OK);
    check(&sum, &w, 2);
    for (uint64_t epoch = 3; epoch < STEPS; epoch++) {
        uint32_t i = rng(READERS), p = rng(PARTS);
        int64_t positions[PARTS];
        for (uint32_t k = 0; k < PARTS; k++)
            positions[k] = POSITION_UNCHANGED;
        positions[p] = w.positions[i][p] += rng(10);
        w.readers[i].watermark_us = (int64_t)epoch;
        struct record_reader moved = w.readers[i];
        moved.positions = positions;
        w.views[i].reader = 100 - i;
        struct output_end *o = &w.outputs[rng(OUTPUTS)];
        o->end += rng(3);
        struct epoch_record delta = {.epoch = epoch,
                                     .base = 5,
                                     .n_readers = 1,
                                     .readers = &moved,
                                     .n_views = 1,
                                     .views = &w.views[i],
                                     .n_outputs = 1,
                                     .outputs = o};
        assert_int_equal(add(&sum, &delta), ERR_OK);
        check(&sum, &w, epoch);
    }
    record_sum_deinit(&sum);
    arena_deinit(&a);
}

static void a_sum_begins_with_a_full_record(void **state)
{
    (void)state;
    struct arena a;
    struct record_sum sum;
    arena_init(&a, BYTES_MAX);
    struct epoch_record full = {.base = -1}, delta = {.base = 0};
    record_sum_init(&sum, &a);
    assert_int_equal(add(&sum, &delta), ERR_CORRUPT);
    record_sum_deinit(&sum);
    record_sum_init(&sum, &a);
    assert_int_equal(add(&sum, &full), ERR_OK);
    assert_int_equal(add(&sum, &delta), ERR_OK);
    assert_int_equal(add(&sum, &full), ERR_CORRUPT);
    record_sum_deinit(&sum);
    arena_deinit(&a);
}

static void version_1_is_a_full_record(void **state)
{
    (void)state;
    struct buf b;
    struct arena a;
    struct epoch_record r;
    buf_init(&b, BYTES_MAX);
    arena_init(&a, BYTES_MAX);
    buf_put_u8(&b, 1);
    buf_put_be64(&b, 12); /* epoch */
    buf_put_be64(&b, 34); /* wall clock */
    buf_put_be32(&b, 1);
    buf_put_be32(&b, 16); /* reader, watermark, positions */
    buf_put_be64(&b, 56);
    buf_put_be32(&b, 2);
    buf_put_be64(&b, 7);
    buf_put_be64(&b, 8);
    buf_put_be32(&b, 1);
    buf_put_be32(&b, 17); /* view on reader */
    buf_put_be32(&b, 16);
    buf_put_be32(&b, 1);
    buf_put_be32(&b, 20); /* output */
    buf_put_be32(&b, 0);
    buf_put_be64(&b, 9);
    assert_int_equal(epoch_record_decode(buf_str(&b), &a, &r), ERR_OK);
    assert_int_equal(r.base, -1);
    assert_int_equal(r.epoch, 12);
    assert_int_equal(record_reader_find(&r, 16)->positions[1], 8);
    assert_int_equal(record_view_reader(&r, 17), 16);
    assert_int_equal(record_output_end(&r, 20, 0), 9);
    b.ptr[0] = 4;
    assert_int_equal(epoch_record_decode(buf_str(&b), &a, &r), ERR_UNSUPPORTED);
    b.ptr[0] = 0;
    assert_int_equal(epoch_record_decode(buf_str(&b), &a, &r), ERR_CORRUPT);
    arena_deinit(&a);
    buf_deinit(&b);
}

static void version_2_has_no_failed_views(void **state)
{
    (void)state;
    struct buf b;
    struct arena a;
    struct epoch_record r;
    buf_init(&b, BYTES_MAX);
    arena_init(&a, BYTES_MAX);
    buf_put_u8(&b, 2);
    buf_put_u8(&b, 1); /* delta */
    buf_put_be64(&b, 5);
    buf_put_be64(&b, 12);
    buf_put_be64(&b, 34);
    for (int list = 0; list < 3; list++)
        buf_put_be32(&b, 0);
    assert_int_equal(epoch_record_decode(buf_str(&b), &a, &r), ERR_OK);
    assert_int_equal(r.base, 5);
    assert_int_equal(r.epoch, 12);
    assert_null(record_failure_find(&r, 17));
    arena_deinit(&a);
    buf_deinit(&b);
}

static void expect_failure(struct record_sum *sum, uint32_t view, enum err e, const char *why)
{
    struct epoch_record r;
    assert_int_equal(record_sum_take(sum, &r), ERR_OK);
    const struct record_failure *f = record_failure_find(&r, view);
    assert_non_null(f);
    assert_int_equal(f->err, e);
    assert_true(str_eq(f->why, str_of(why)));
    assert_null(record_failure_find(&r, view + 1));
    assert_null(record_failure_find(NULL, view));
}

/* Failures of full records and of deltas add up, and no later record takes one back. */
static void failed_views_stay_failed(void **state)
{
    (void)state;
    struct arena a;
    struct record_sum sum;
    struct record_failure first = {.view = 30, .err = ERR_LIMIT, .why = STR("full")},
                          second = {.view = 20, .err = ERR_CORRUPT, .why = STR("")};
    struct epoch_record full = {.epoch = 1, .base = -1, .n_failures = 1, .failures = &first},
                        delta = {.epoch = 2, .base = 0, .n_failures = 1, .failures = &second},
                        later = {.epoch = 3, .base = 0};
    arena_init(&a, BYTES_MAX);
    record_sum_init(&sum, &a);
    assert_int_equal(add(&sum, &full), ERR_OK);
    expect_failure(&sum, 30, ERR_LIMIT, "full");
    assert_int_equal(add(&sum, &delta), ERR_OK);
    assert_int_equal(add(&sum, &later), ERR_OK);
    expect_failure(&sum, 30, ERR_LIMIT, "full");
    expect_failure(&sum, 20, ERR_CORRUPT, "");
    record_sum_deinit(&sum);
    arena_deinit(&a);
}

/* An error that this program does not know is an error still. */
static void an_unknown_error_is_internal(void **state)
{
    (void)state;
    struct arena a;
    struct buf b;
    struct record_failure failure = {.view = 30, .err = ERR_LIMIT, .why = STR("full")};
    struct epoch_record r = {.base = -1, .n_failures = 1, .failures = &failure}, back;
    arena_init(&a, BYTES_MAX);
    buf_init(&b, BYTES_MAX);
    assert_int_equal(epoch_record_encode(&r, &b), ERR_OK);
    b.ptr[b.len - 4 - 4 - 5] = 'X'; /* "limit" is before the text and its length */
    assert_int_equal(epoch_record_decode(buf_str(&b), &a, &back), ERR_OK);
    assert_int_equal(back.failures[0].err, ERR_INTERNAL);
    assert_true(str_eq(back.failures[0].why, STR("full")));
    arena_deinit(&a);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deltas_add_up),
        cmocka_unit_test(a_sum_begins_with_a_full_record),
        cmocka_unit_test(version_1_is_a_full_record),
        cmocka_unit_test(version_2_has_no_failed_views),
        cmocka_unit_test(failed_views_stay_failed),
        cmocka_unit_test(an_unknown_error_is_internal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
