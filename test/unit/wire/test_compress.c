/* wire/compress: round trips, framings, bombs, damage, reuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "wire/compress.h"

#include <string.h>

enum { TEXT_BYTES = 200000, XERIAL_BYTES = 32 << 10, ZSTD_BLOCK_BYTES = 128 << 10 };

/* Compressible, but not trivially. */
static void text_fill(char *out, size_t n)
{
    static const char *const words[] = {"temperature", "sensor", ":21.5,", "ts", "humid", "\n{"};
    uint32_t x = 1;
    for (size_t i = 0; i < n;) {
        x = x * 1664525 + 1013904223;
        const char *word = words[(x >> 24) % 6];
        for (size_t j = 0; word[j] != '\0' && i < n; j++) {
            out[i++] = word[j];
        }
    }
}

static void round_trips(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 10, 4095, 32768, 32769, 65536, TEXT_BYTES};
    char *text = mem_alloc(TEXT_BYTES);
    struct compress *c = compress_new();
    struct buf packed, out;
    text_fill(text, TEXT_BYTES);
    buf_init(&packed, 1 << 20);
    buf_init(&out, 1 << 20);
    for (uint32_t codec = 0; codec < COMPRESS_CODECS; codec++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            buf_clear(&packed);
            buf_clear(&out);
            buf_put(&out, "before", 6);
            assert_int_equal(compress_encode(c, codec, (struct str){text, sizes[i]}, &packed, NULL),
                             ERR_OK);
            assert_int_equal(compress_decode(c, codec, buf_str(&packed), &out, NULL), ERR_OK);
            assert_int_equal(out.len, sizes[i] + 6);
            assert_memory_equal(out.ptr, "before", 6);
            assert_memory_equal(out.ptr + 6, text, sizes[i]);
            if (codec != COMPRESS_NONE && sizes[i] == TEXT_BYTES) {
                assert_true(packed.len < TEXT_BYTES * 9 / 10);
            }
        }
    }
    compress_free(c);
    buf_deinit(&packed);
    buf_deinit(&out);
    mem_free(text);
}

/* What comes in steps is the same, and no step gives much more than it was asked for. */
static void decoding_in_steps(void **state)
{
    (void)state;
    static const size_t steps[] = {1, 100, 32768, 100000, TEXT_BYTES, SIZE_MAX};
    char *text = mem_alloc(TEXT_BYTES);
    struct compress *c = compress_new();
    struct buf packed, out;
    text_fill(text, TEXT_BYTES);
    buf_init(&packed, 1 << 20);
    buf_init(&out, 1 << 20);
    for (uint32_t codec = 0; codec < COMPRESS_CODECS; codec++) {
        buf_clear(&packed);
        assert_int_equal(compress_encode(c, codec, (struct str){text, TEXT_BYTES}, &packed, NULL),
                         ERR_OK);
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
            bool whole = codec == COMPRESS_NONE, done = false;
            size_t n_steps = 0, block = codec == COMPRESS_ZSTD ? ZSTD_BLOCK_BYTES : XERIAL_BYTES;
            buf_clear(&out);
            compress_decode_begin(c, codec, buf_str(&packed));
            for (; !done; n_steps++) {
                size_t before = out.len, budget = steps[i];
                assert_int_equal(compress_decode_step(c, &out, &budget, &done, NULL), ERR_OK);
                assert_true(whole || out.len < before || out.len - before <= block ||
                            out.len - before - block <= steps[i]);
                assert_true(done || budget == 0);
            }
            assert_int_equal(out.len, TEXT_BYTES);
            assert_memory_equal(out.ptr, text, TEXT_BYTES);
            assert_true(whole || steps[i] > TEXT_BYTES / 2 ? n_steps <= 8 : n_steps > 1);
        }
        /* Damage at the end is found in the last step, and all is taken back. */
        bool done = false;
        enum err e = ERR_OK;
        buf_clear(&out);
        buf_put(&out, "before", 6);
        compress_decode_begin(c, codec, (struct str){packed.ptr, packed.len - 1});
        while (e == ERR_OK && !done) {
            size_t budget = 1000;
            e = compress_decode_step(c, &out, &budget, &done, NULL);
        }
        assert_int_equal(e, codec == COMPRESS_NONE ? ERR_OK : ERR_MALFORMED);
        assert_int_equal(out.len, codec == COMPRESS_NONE ? TEXT_BYTES + 5 : 6);
    }
    compress_free(c);
    buf_deinit(&packed);
    buf_deinit(&out);
    mem_free(text);
}

/* Input that gives nothing takes steps, too: many empty members, blocks and frames. */
static void input_without_output_is_counted(void **state)
{
    (void)state;
    const struct {
        uint32_t codec;
        struct str head, part, tail;
    } cases[] = {
        {COMPRESS_GZIP, STR(""), /* members */
         STR("\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0"), STR("")},
        {COMPRESS_GZIP, STR("\x1f\x8b\x08\0\0\0\0\0\0\x03"), /* stored blocks */
         STR("\0\0\0\xff\xff"), STR("\x03\0\0\0\0\0\0\0\0\0")},
        {COMPRESS_LZ4, STR(""), /* frames */
         STR("\x04\x22\x4d\x18\x60\x40\x82\0\0\0\0"), STR("")},
        {COMPRESS_SNAPPY, STR("\x82SNAPPY\0\0\0\0\1\0\0\0\1"), /* blocks */
         STR("\0\0\0\1\0"), STR("")},
        {COMPRESS_ZSTD, STR(""), /* frames, and those that are skipped */
         STR("\x28\xb5\x2f\xfd\x20\0\x01\0\0\x50\x2a\x4d\x18\0\0\0\0"), STR("")},
    };
    enum { PARTS = 10000, STEP = 4000 };
    struct compress *c = compress_new();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf in, out;
        bool done = false;
        size_t n_steps = 0;
        buf_init(&in, 1 << 20);
        buf_init(&out, 1 << 20);
        buf_put(&in, cases[i].head.ptr, cases[i].head.len);
        for (int part = 0; part < PARTS; part++) {
            buf_put(&in, cases[i].part.ptr, cases[i].part.len);
        }
        buf_put(&in, cases[i].tail.ptr, cases[i].tail.len);
        compress_decode_begin(c, cases[i].codec, buf_str(&in));
        for (; !done; n_steps++) {
            size_t budget = STEP;
            assert_int_equal(compress_decode_step(c, &out, &budget, &done, NULL), ERR_OK);
        }
        assert_int_equal(out.len, 0);
        assert_true(n_steps >= in.len * COMPRESS_IN_COST / STEP / 2);
        buf_deinit(&in);
        buf_deinit(&out);
    }
    compress_free(c);
}

static void the_steady_state_allocates_nothing(void **state)
{
    (void)state;
    char *text = mem_alloc(TEXT_BYTES);
    struct compress *c = compress_new();
    struct buf packed, out;
    text_fill(text, TEXT_BYTES);
    buf_init(&packed, 1 << 20);
    buf_init(&out, 1 << 20);
    for (int round = 0; round < 2; round++) {
        mem_fail_at(0, 0);
        for (uint32_t codec = 0; codec < COMPRESS_CODECS; codec++) {
            buf_clear(&packed);
            buf_clear(&out);
            assert_int_equal(
                compress_encode(c, codec, (struct str){text, TEXT_BYTES}, &packed, NULL), ERR_OK);
            assert_int_equal(compress_decode(c, codec, buf_str(&packed), &out, NULL), ERR_OK);
        }
    }
    assert_int_equal(mem_fail_count(), 0);
    compress_free(c);
    buf_deinit(&packed);
    buf_deinit(&out);
    mem_free(text);
}

static void bombs_stop_at_the_maximum(void **state)
{
    (void)state;
    enum { ZEROS = 32 << 20, MAX = 100000 };
    char *zeros = mem_zalloc(1, ZEROS);
    struct compress *c = compress_new();
    assert_non_null(zeros);
    for (uint32_t codec = 0; codec < COMPRESS_CODECS; codec++) {
        struct buf packed, out;
        struct err_detail why = {0};
        buf_init(&packed, 2 * ZEROS);
        buf_init(&out, MAX);
        assert_int_equal(compress_encode(c, codec, (struct str){zeros, ZEROS}, &packed, NULL),
                         ERR_OK);
        assert_int_equal(compress_decode(c, codec, buf_str(&packed), &out, &why), ERR_TOO_LARGE);
        assert_non_null(strstr(why.text, "100000"));
        assert_int_equal(out.len, 0);
        assert_false(out.failed);
        assert_true(out.cap <= MAX);
        buf_deinit(&packed);
        buf_deinit(&out);
    }
    compress_free(c);
    mem_free(zeros);
}

static void cut_and_flipped_bytes_never_overrun(void **state)
{
    (void)state;
    char text[3000];
    struct compress *c = compress_new();
    struct buf packed, out;
    text_fill(text, sizeof text);
    buf_init(&packed, 1 << 20);
    buf_init(&out, 1 << 16);
    for (uint32_t codec = 1; codec < COMPRESS_CODECS; codec++) {
        buf_clear(&packed);
        assert_int_equal(compress_encode(c, codec, (struct str){text, sizeof text}, &packed, NULL),
                         ERR_OK);
        for (size_t n = 0; n < packed.len; n++) {
            char *copy = mem_alloc(n + 1); /* exact, for the address sanitizer */
            memcpy(copy, packed.ptr, n);
            buf_clear(&out);
            enum err e = compress_decode(c, codec, (struct str){copy, n}, &out, NULL);
            /* Snappy's framing may end after any block. */
            assert_true(e != ERR_OK || (codec == COMPRESS_SNAPPY && n == 16));
            mem_free(copy);
        }
        for (size_t i = 0; i < packed.len; i++) {
            packed.ptr[i] = (char)(packed.ptr[i] ^ 0x55);
            buf_clear(&out);
            (void)!compress_decode(c, codec, buf_str(&packed), &out, NULL);
            assert_true(out.len <= out.max);
            packed.ptr[i] = (char)(packed.ptr[i] ^ 0x55);
        }
        buf_clear(&out);
        assert_int_equal(compress_decode(c, codec, buf_str(&packed), &out, NULL), ERR_OK);
        assert_int_equal(out.len, sizeof text);
    }
    compress_free(c);
    buf_deinit(&packed);
    buf_deinit(&out);
}

static void several_members_are_one_stream(void **state)
{
    (void)state;
    static const uint32_t codecs[] = {COMPRESS_GZIP, COMPRESS_LZ4, COMPRESS_ZSTD};
    struct compress *c = compress_new();
    struct buf packed, out;
    buf_init(&packed, 1 << 20);
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++) {
        buf_clear(&packed);
        buf_clear(&out);
        assert_int_equal(compress_encode(c, codecs[i], STR("one "), &packed, NULL), ERR_OK);
        assert_int_equal(compress_encode(c, codecs[i], STR("two"), &packed, NULL), ERR_OK);
        assert_int_equal(compress_decode(c, codecs[i], buf_str(&packed), &out, NULL), ERR_OK);
        assert_true(str_eq(buf_str(&out), STR("one two")));
    }
    compress_free(c);
    buf_deinit(&packed);
    buf_deinit(&out);
}

/* Whatever room there happens to be: the answer is the same each time. */
static void zstd_claims_are_held_against_the_maximum(void **state)
{
    (void)state;
    /* By hand: a frame of 1 TiB by its header, with one block that repeats a byte 128 Ki times. */
    static const char frame[] = "\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\1\0\0\x03\0\x10\0";
    struct str claim = {frame, sizeof frame - 1};
    struct compress *c = compress_new();
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(compress_decode(c, COMPRESS_ZSTD, claim, &out, NULL), ERR_TOO_LARGE);
    assert_non_null(buf_reserve(&out, 512 << 10));
    assert_int_equal(compress_decode(c, COMPRESS_ZSTD, claim, &out, NULL), ERR_TOO_LARGE);
    assert_int_equal(out.len, 0);
    compress_free(c);
    buf_deinit(&out);
}

static void snappy_comes_raw_and_framed(void **state)
{
    (void)state;
    /* By hand from the format's description: length 5, one literal of 5 bytes. */
    static const char raw[] = "\x05\x10hello";
    static const char framed[] = "\x82SNAPPY\0\0\0\0\1\0\0\0\1"
                                 "\0\0\0\x07\x05\x10hello"
                                 "\0\0\0\x03\x01\x00!";
    static const char liar[] = "\xff\xff\xff\xff\x0f\x10hello";
    static const char beyond[] = "\x82SNAPPY\0\0\0\0\1\0\0\0\1\0\0\1\0\x05\x10hello";
    struct compress *c = compress_new();
    struct buf out;
    struct err_detail why;
    buf_init(&out, 1 << 20);
    assert_int_equal(
        compress_decode(c, COMPRESS_SNAPPY, (struct str){raw, sizeof raw - 1}, &out, NULL), ERR_OK);
    assert_true(str_eq(buf_str(&out), STR("hello")));
    buf_clear(&out);
    assert_int_equal(
        compress_decode(c, COMPRESS_SNAPPY, (struct str){framed, sizeof framed - 1}, &out, NULL),
        ERR_OK);
    assert_true(str_eq(buf_str(&out), STR("hello!")));
    assert_int_equal(
        compress_decode(c, COMPRESS_SNAPPY, (struct str){liar, sizeof liar - 1}, &out, &why),
        ERR_MALFORMED);
    assert_int_equal(
        compress_decode(c, COMPRESS_SNAPPY, (struct str){beyond, sizeof beyond - 1}, &out, &why),
        ERR_MALFORMED);
    assert_non_null(strstr(why.text, "ends inside a block"));
    assert_int_equal(compress_decode(c, 5, STR("x"), &out, &why), ERR_UNSUPPORTED);
    compress_free(c);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips),
        cmocka_unit_test(decoding_in_steps),
        cmocka_unit_test(input_without_output_is_counted),
        cmocka_unit_test(the_steady_state_allocates_nothing),
        cmocka_unit_test(bombs_stop_at_the_maximum),
        cmocka_unit_test(cut_and_flipped_bytes_never_overrun),
        cmocka_unit_test(several_members_are_one_stream),
        cmocka_unit_test(zstd_claims_are_held_against_the_maximum),
        cmocka_unit_test(snappy_comes_raw_and_framed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
