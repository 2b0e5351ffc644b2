/* wire/kafka_batch: batches made by other programs (golden/), round trips, every kind of damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "wire/kafka_batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The batch of the fixtures has 6 records. */
enum { GOLDEN_RECORDS = 6, BATCH_BYTES_MAX = 1 << 20 };
static const struct kafka_run_rules any = {BATCH_BYTES_MAX, INT64_MIN, INT64_MAX, false};

struct fixture {
    struct compress *c;
    struct buf bytes, scratch;
    struct err_detail why;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(1, sizeof *f);
    f->c = compress_new();
    buf_init(&f->bytes, 8 << 20);
    buf_init(&f->scratch, 8 << 20);
    *state = f;
    return f->c != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    compress_free(f->c);
    buf_deinit(&f->bytes);
    buf_deinit(&f->scratch);
    mem_free(f);
    return 0;
}

/* ---- golden bytes ---- */

/* Reads a file of hexadecimal digits; lines that begin with # are comments. */
static void load_hex(struct buf *out, const char *name)
{
    char path[512];
    char line[256];
    const char *root = getenv("TIDEMILL_SOURCE_DIR");
    snprintf(path, sizeof path, "%s/test/unit/wire/golden/%s", root != NULL ? root : "../..", name);
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        fail_msg("%s is missing", path);
    }
    buf_clear(out);
    while (fgets(line, sizeof line, f) != NULL) {
        for (char *p = line; line[0] != '#' && p[0] > ' ' && p[1] > ' '; p += 2) {
            char digits[3] = {p[0], p[1], 0};
            buf_put_u8(out, (uint8_t)strtoul(digits, NULL, 16));
        }
    }
    fclose(f);
}

static void assert_golden_records(struct fixture *f, struct str batch)
{
    struct kafka_records it;
    struct kafka_record r[GOLDEN_RECORDS + 1];
    char expected[512];
    assert_int_equal(kafka_records_open(&it, batch, f->c, &f->scratch, &f->why), ERR_OK);
    assert_int_equal(kafka_records_read(&it, r, GOLDEN_RECORDS + 1), GOLDEN_RECORDS);
    assert_int_equal(kafka_records_end(&it, &f->why), ERR_OK);
    for (int i = 0; i < GOLDEN_RECORDS; i++) {
        assert_int_equal(r[i].offset, i);
        assert_int_equal(r[i].timestamp, 1700000000000 + i * 1000);
        assert_int_equal(r[i].n_headers, i == 5 ? 2 : 0);
    }
    snprintf(expected, sizeof expected, "{\"n\":%d,\"note\":\"golden\"}", 0);
    assert_true(str_eq(r[0].value, str_of(expected)));
    assert_true(str_eq(r[0].key, STR("key-0")));
    assert_null(r[1].key.ptr);
    assert_null(r[2].value.ptr);
    assert_true(r[3].key.ptr != NULL && r[3].key.len == 0);
    assert_true(r[3].value.ptr != NULL && r[3].value.len == 0);
    memset(expected, 'x', 400);
    assert_true(str_eq(r[4].value, (struct str){expected, 400}));
    struct kafka_header h;
    struct str headers = r[5].headers;
    assert_true(kafka_record_header(&headers, &h));
    assert_true(str_eq(h.key, STR("trace")) && str_eq(h.value, STR("abc")));
    assert_true(kafka_record_header(&headers, &h));
    assert_true(str_eq(h.key, STR("none")) && h.value.ptr == NULL);
    assert_false(kafka_record_header(&headers, &h));
}

static void batches_of_other_programs_are_read(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *file;
        uint32_t codec;
    } cases[] = {
        {"librdkafka_none.hex", COMPRESS_NONE},     {"librdkafka_gzip.hex", COMPRESS_GZIP},
        {"librdkafka_snappy.hex", COMPRESS_SNAPPY}, {"librdkafka_lz4.hex", COMPRESS_LZ4},
        {"librdkafka_zstd.hex", COMPRESS_ZSTD},     {"kafka_python_none.hex", COMPRESS_NONE},
        {"kafka_python_gzip.hex", COMPRESS_GZIP},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kafka_batch b;
        struct kafka_run run;
        load_hex(&f->bytes, cases[i].file);
        assert_int_equal(kafka_batch_validate(buf_str(&f->bytes), &b, &f->why), ERR_OK);
        assert_int_equal(b.bytes, f->bytes.len);
        assert_int_equal(b.codec, cases[i].codec);
        assert_int_equal(b.n_records, GOLDEN_RECORDS);
        assert_int_equal(b.last_offset_delta, GOLDEN_RECORDS - 1);
        assert_int_equal(b.producer_id, -1);
        assert_int_equal(b.max_timestamp, 1700000005000);
        assert_golden_records(f, buf_str(&f->bytes));
        uint32_t crc = b.crc;
        assert_int_equal(
            kafka_run_validate(f->bytes.ptr, f->bytes.len, &any, f->c, &f->scratch, &run, &f->why),
            ERR_OK);
        assert_int_equal(run.n_records, GOLDEN_RECORDS);
        assert_int_equal(kafka_batch_validate(buf_str(&f->bytes), &b, NULL), ERR_OK);
        assert_int_equal(b.crc, crc);
    }
}

static void write_golden(struct fixture *f, struct buf *out, uint32_t codec)
{
    struct kafka_batch_writer w;
    char key[16], value[64], big[400];
    const struct kafka_header headers[] = {{STR("trace"), STR("abc")}, {STR("none"), {NULL, 0}}};
    memset(big, 'x', sizeof big);
    kafka_batch_begin(&w, out, 1700000000000);
    for (int i = 0; i < GOLDEN_RECORDS; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        snprintf(value, sizeof value, "{\"n\":%d,\"note\":\"golden\"}", i);
        struct str k = i == 1 ? (struct str){NULL, 0} : i == 3 ? STR("") : str_of(key);
        struct str v = i == 2   ? (struct str){NULL, 0}
                       : i == 3 ? STR("")
                       : i == 4 ? (struct str){big, sizeof big}
                                : str_of(value);
        kafka_batch_add(&w, k, v, 1700000000000 + i * 1000, headers, i == 5 ? 2 : 0);
    }
    assert_int_equal(kafka_batch_finish(&w, codec, f->c, &f->scratch, &f->why), ERR_OK);
}

static void written_batches_are_those_of_other_programs(void **state)
{
    struct fixture *f = *state;
    struct buf ours;
    buf_init(&ours, 1 << 20);
    load_hex(&f->bytes, "kafka_python_none.hex");
    write_golden(f, &ours, COMPRESS_NONE);
    assert_int_equal(ours.len, f->bytes.len);
    /* The leader epoch is left to the log. */
    kafka_batch_set_leader_epoch(f->bytes.ptr, 0);
    assert_memory_equal(ours.ptr, f->bytes.ptr, ours.len);
    for (uint32_t codec = 0; codec < COMPRESS_CODECS; codec++) {
        buf_clear(&ours);
        write_golden(f, &ours, codec);
        assert_golden_records(f, buf_str(&ours));
    }
    buf_deinit(&ours);
}

/* ---- runs ---- */

static void runs_are_walked_batch_by_batch(void **state)
{
    struct fixture *f = *state;
    struct kafka_batch b;
    struct str bytes;
    enum err result;
    write_golden(f, &f->bytes, COMPRESS_NONE);
    write_golden(f, &f->bytes, COMPRESS_ZSTD);
    write_golden(f, &f->bytes, COMPRESS_SNAPPY);
    struct str run = buf_str(&f->bytes);
    int n = 0;
    while (kafka_batch_next(&run, &b, &bytes, &result, &f->why)) {
        assert_golden_records(f, bytes);
        n++;
    }
    assert_int_equal(result, ERR_OK);
    assert_int_equal(n, 3);
    run = (struct str){f->bytes.ptr, f->bytes.len - 1};
    for (n = 0; kafka_batch_next(&run, &b, &bytes, &result, &f->why); n++) {
    }
    assert_int_equal(n, 2);
    assert_int_equal(result, ERR_BAD_RECORD_BATCH);
    assert_non_null(strstr(f->why.text, "of the"));
}

/* Puts the right CRC on a batch that was changed. */
static void reseal(char *batch, size_t n)
{
    be32_put(batch + 17, crc32c(0, batch + 21, n - 21));
}

static enum err validate_produced(struct fixture *f, size_t bytes_max)
{
    struct kafka_run run;
    struct kafka_run_rules rules = any;
    rules.batch_bytes_max = bytes_max;
    return kafka_run_validate(f->bytes.ptr, f->bytes.len, &rules, f->c, &f->scratch, &run, &f->why);
}

static void producers_mistakes_are_told(void **state)
{
    struct fixture *f = *state;
    static const struct {
        size_t at;
        char byte;
        bool sealed;
        enum err result;
        const char *text;
    } cases[] = {
        {16, 1, false, ERR_UNSUPPORTED, "message format 1"},
        {16, 0, false, ERR_UNSUPPORTED, "message format 0"},
        {16, 3, false, ERR_BAD_RECORD_BATCH, "magic 3"},
        {0, -1, false, ERR_BAD_RECORD_BATCH, "base offset"},
        {8, -1, false, ERR_BAD_RECORD_BATCH, "length of -"},
        {11, 0, false, ERR_BAD_RECORD_BATCH, "CRC-32C"},
        {17, 0, false, ERR_BAD_RECORD_BATCH, "CRC-32C"},
        {100, 1, false, ERR_BAD_RECORD_BATCH, "CRC-32C"},
        {22, 5, true, ERR_UNSUPPORTED, "codec 5"},
        {22, 32, true, ERR_BAD_RECORD_BATCH, "control"},
        {22, 1, true, ERR_BAD_RECORD_BATCH, "gzip data is damaged"},
        {26, 9, true, ERR_BAD_RECORD_BATCH, "6 records but a last offset delta of 9"},
        {26, 2, true, ERR_BAD_RECORD_BATCH, "do not fit a last offset delta"},
        {60, 5, true, ERR_BAD_RECORD_BATCH, "5 records but"},
        {57, 1, true, ERR_BAD_RECORD_BATCH, "16777222 records"},
        {61, 3, true, ERR_BAD_RECORD_BATCH, "record at offset 0: its length"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_clear(&f->bytes);
        write_golden(f, &f->bytes, COMPRESS_NONE);
        assert_int_equal(validate_produced(f, BATCH_BYTES_MAX), ERR_OK);
        f->bytes.ptr[cases[i].at] = cases[i].byte;
        if (cases[i].sealed) {
            reseal(f->bytes.ptr, f->bytes.len);
        }
        assert_int_equal(validate_produced(f, BATCH_BYTES_MAX), cases[i].result);
        if (strstr(f->why.text, cases[i].text) == NULL) {
            fail_msg("case %zu: %s", i, f->why.text);
        }
    }
    buf_clear(&f->bytes);
    assert_int_equal(validate_produced(f, BATCH_BYTES_MAX), ERR_BAD_RECORD_BATCH);
    write_golden(f, &f->bytes, COMPRESS_NONE);
    assert_int_equal(validate_produced(f, 500), ERR_TOO_LARGE);
    f->bytes.len = 30;
    assert_int_equal(validate_produced(f, 500), ERR_BAD_RECORD_BATCH);
}

static void a_wrong_greatest_timestamp_is_corrected(void **state)
{
    struct fixture *f = *state;
    struct kafka_batch b;
    write_golden(f, &f->bytes, COMPRESS_LZ4);
    be64_put(f->bytes.ptr + 35, 5);
    reseal(f->bytes.ptr, f->bytes.len);
    assert_int_equal(validate_produced(f, BATCH_BYTES_MAX), ERR_OK);
    assert_int_equal(kafka_batch_validate(buf_str(&f->bytes), &b, NULL), ERR_OK);
    assert_int_equal(b.max_timestamp, 1700000005000);
    kafka_batch_set_append_time(f->bytes.ptr, 42);
    assert_int_equal(kafka_batch_validate(buf_str(&f->bytes), &b, NULL), ERR_OK);
    assert_int_equal(validate_produced(f, BATCH_BYTES_MAX), ERR_RECORD_TIMESTAMP);
    struct kafka_records it;
    struct kafka_record r;
    assert_int_equal(kafka_records_open(&it, buf_str(&f->bytes), f->c, &f->scratch, NULL), ERR_OK);
    assert_true(kafka_records_next(&it, &r));
    assert_int_equal(r.timestamp, 42);
}

/* Timestamps from 1000 on, one a second, in two batches of three; the second record has no key. */
static void write_pair(struct fixture *f, uint32_t codec, int64_t odd)
{
    struct kafka_batch_writer w;
    for (int batch = 0; batch < 2; batch++) {
        kafka_batch_begin(&w, &f->bytes, 1000);
        for (int i = 0; i < 3; i++) {
            int n = batch * 3 + i;
            kafka_batch_add(&w, n == 1 ? (struct str){NULL, 0} : STR("k"), STR("v"),
                            n == 4 ? odd : 1000 + n * 1000, NULL, 0);
        }
        assert_int_equal(kafka_batch_finish(&w, codec, f->c, &f->scratch, &f->why), ERR_OK);
    }
}

/* The run's check in steps of any size comes to the same. */
static void check_in_steps(struct fixture *f, const struct kafka_run_rules *rules,
                           enum err expected, const struct kafka_run *whole)
{
    for (int64_t step = 1; step < 50; step += 7) {
        struct kafka_run run;
        struct kafka_run_check k;
        enum err e = ERR_BUSY;
        int steps = 0;
        kafka_run_check_begin(&k, f->bytes.ptr, f->bytes.len, rules, f->c, &f->scratch, &run);
        for (; e == ERR_BUSY; steps++) {
            int64_t budget = step;
            e = kafka_run_check_step(&k, &budget, &f->why);
            assert_true(e != ERR_BUSY || budget <= 0);
        }
        assert_int_equal(e, expected);
        assert_true(steps >= 2);
        assert_int_equal(run.n_records, whole->n_records);
        assert_int_equal(run.max_timestamp, whole->max_timestamp);
        assert_int_equal(run.n_errors, whole->n_errors);
        for (uint32_t i = 0; i < run.n_errors; i++) {
            assert_int_equal(run.errors[i].record, whole->errors[i].record);
        }
    }
}

/* What was decoded before the damage is not known: it counts as all that there was to spend. */
static void damage_uses_up_the_budget(void **state)
{
    struct fixture *f = *state;
    const struct kafka_run_rules rules = {
        .batch_bytes_max = 1 << 20, .timestamp_min = INT64_MIN, .timestamp_max = INT64_MAX};
    for (uint32_t codec = COMPRESS_GZIP; codec < COMPRESS_CODECS; codec++) {
        struct kafka_run run;
        struct kafka_run_check k;
        int64_t budget = 1 << 20;
        buf_clear(&f->bytes);
        write_pair(f, codec, 1000);
        size_t n = 12 + be32_get(f->bytes.ptr + 8);
        f->bytes.ptr[KAFKA_BATCH_HEADER_BYTES] ^= 0x7f; /* each codec begins with a magic number */
        reseal(f->bytes.ptr, n);
        kafka_run_check_begin(&k, f->bytes.ptr, f->bytes.len, &rules, f->c, &f->scratch, &run);
        assert_int_equal(kafka_run_check_step(&k, &budget, &f->why), ERR_BAD_RECORD_BATCH);
        assert_int_equal(budget, 0);
    }
}

static void rules_refuse_single_records(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct kafka_run_rules rules;
        int64_t odd; /* timestamp of record 4 */
        enum err result;
        uint32_t n;
        int32_t first;
    } cases[] = {
        {{BATCH_BYTES_MAX, 1000, 6000, false}, 5000, ERR_OK, 0, 0},
        {{BATCH_BYTES_MAX, 1000, 6000, false}, -1, ERR_OK, 0, 0}, /* no time of its own */
        {{BATCH_BYTES_MAX, 1000, 5999, false}, 5000, ERR_RECORD_TIMESTAMP, 1, 5},
        {{BATCH_BYTES_MAX, 1000, 6000, false}, INT64_MAX, ERR_RECORD_TIMESTAMP, 1, 4},
        {{BATCH_BYTES_MAX, 3000, INT64_MAX, false}, -2, ERR_RECORD_TIMESTAMP, 3, 0},
        {{BATCH_BYTES_MAX, INT64_MIN, INT64_MAX, true}, 5000, ERR_RECORD_KEY, 1, 1},
    };
    struct kafka_run run;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (uint32_t codec = 0; codec < COMPRESS_CODECS; codec++) {
            buf_clear(&f->bytes);
            write_pair(f, codec, cases[i].odd);
            assert_int_equal(kafka_run_validate(f->bytes.ptr, f->bytes.len, &cases[i].rules, f->c,
                                                &f->scratch, &run, &f->why),
                             cases[i].result);
            assert_int_equal(run.n_errors, cases[i].n);
            assert_int_equal(run.n_records, 6);
            check_in_steps(f, &cases[i].rules, cases[i].result, &run);
            if (cases[i].n > 0) {
                assert_int_equal(run.errors[0].record, cases[i].first);
                assert_non_null(strstr(f->why.text, run.errors[0].text));
            }
        }
    }
}

static void the_list_of_refused_records_has_a_bound(void **state)
{
    struct fixture *f = *state;
    struct kafka_batch_writer w;
    struct kafka_run run;
    struct kafka_run_rules rules = any;
    rules.keys = true;
    kafka_batch_begin(&w, &f->bytes, 0);
    for (int i = 0; i < KAFKA_RUN_ERRORS_MAX + 10; i++) {
        kafka_batch_add(&w, (struct str){NULL, 0}, STR("v"), 0, NULL, 0);
    }
    assert_int_equal(kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, &f->why), ERR_OK);
    assert_int_equal(
        kafka_run_validate(f->bytes.ptr, f->bytes.len, &rules, f->c, &f->scratch, &run, &f->why),
        ERR_RECORD_KEY);
    assert_int_equal(run.n_errors, KAFKA_RUN_ERRORS_MAX);
    assert_int_equal(run.errors[KAFKA_RUN_ERRORS_MAX - 1].record, KAFKA_RUN_ERRORS_MAX - 1);
}

static void the_assigned_fields_leave_the_crc_alone(void **state)
{
    struct fixture *f = *state;
    struct kafka_batch b;
    write_golden(f, &f->bytes, COMPRESS_NONE);
    kafka_batch_set_base_offset(f->bytes.ptr, 123456789012);
    kafka_batch_set_leader_epoch(f->bytes.ptr, 7);
    assert_int_equal(kafka_batch_validate(buf_str(&f->bytes), &b, NULL), ERR_OK);
    assert_int_equal(b.base_offset, 123456789012);
    assert_int_equal(b.leader_epoch, 7);
}

/* Any byte of the records may be anything, with a right CRC: errors, never a read outside. */
static void hostile_records_never_overrun(void **state)
{
    struct fixture *f = *state;
    uint32_t x = 12345;
    struct buf pristine;
    buf_init(&pristine, 1 << 20);
    write_golden(f, &pristine, COMPRESS_NONE);
    for (int round = 0; round < 20000; round++) {
        struct kafka_records it;
        struct kafka_record r;
        char *copy = mem_alloc(pristine.len);
        memcpy(copy, pristine.ptr, pristine.len);
        for (int i = 0; i < 1 + round % 3; i++) {
            x = x * 1664525 + 1013904223;
            size_t at =
                KAFKA_BATCH_HEADER_BYTES + (x >> 8) % (pristine.len - KAFKA_BATCH_HEADER_BYTES);
            copy[at] = (char)(round % 2 == 0 ? 0xff : x & 0xff);
        }
        assert_int_equal(
            kafka_records_open(&it, (struct str){copy, pristine.len}, NULL, NULL, NULL), ERR_OK);
        int n = 0;
        int64_t before = -1;
        while (kafka_records_next(&it, &r)) {
            struct kafka_header h;
            size_t sum = 0;
            assert_true(r.offset > before);
            before = r.offset;
            for (size_t i = 0; i < r.value.len; i++) {
                sum += (unsigned char)r.value.ptr[i];
            }
            while (kafka_record_header(&r.headers, &h)) {
                sum += h.key.len;
            }
            n += sum < SIZE_MAX;
        }
        assert_true(n <= GOLDEN_RECORDS);
        assert_true(n == GOLDEN_RECORDS || kafka_records_end(&it, NULL) != ERR_OK);
        mem_free(copy);
    }
    buf_deinit(&pristine);
}

/* Records of every length of varint, with and without keys, values and headers. */
static void write_varied(struct buf *out)
{
    static char big[9000];
    const struct kafka_header header = {STR("h"), {NULL, 0}};
    struct kafka_batch_writer w;
    memset(big, 'y', sizeof big);
    kafka_batch_begin(&w, out, 5000);
    for (size_t i = 0; i < 200; i++) {
        struct str key = {i % 3 == 0 ? NULL : big, i % 3 == 0 ? 0 : i % 2 * 70};
        struct str value = {i % 7 == 1 ? NULL : big, i % 7 == 1 ? 0 : i % 90 == 80 ? 9000 : i};
        int64_t time = i % 50 == 40 ? 5000000 + (int64_t)i : 5000 + (int64_t)(i * 61 % 300) - 100;
        kafka_batch_add(&w, key, value, time, &header, i % 11 == 10);
    }
    assert_int_equal(kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, NULL), ERR_OK);
}

/* What validation reads over is what reading tells, record by record: the same batches are damaged,
 * at the same offset, and the same is the greatest timestamp. */
static void assert_validated_as_read(struct fixture *f, char *batch, size_t n)
{
    struct kafka_records it;
    struct kafka_record r;
    struct kafka_run run;
    struct err_detail why = {0};
    int64_t max = INT64_MIN;
    assert_int_equal(kafka_records_open(&it, (struct str){batch, n}, NULL, NULL, NULL), ERR_OK);
    while (kafka_records_next(&it, &r)) {
        max = r.timestamp > max ? r.timestamp : max;
    }
    enum err read = kafka_records_end(&it, &why);
    reseal(batch, n);
    assert_int_equal(kafka_run_validate(batch, n, &any, f->c, &f->scratch, &run, &f->why), read);
    if (read == ERR_OK) {
        assert_int_equal(run.max_timestamp, max);
    } else {
        assert_string_equal(f->why.text, why.text);
    }
}

static void validation_reads_what_reading_tells(void **state)
{
    struct fixture *f = *state;
    uint32_t x = 4711;
    write_varied(&f->bytes);
    size_t n = f->bytes.len, n_records = n - KAFKA_BATCH_HEADER_BYTES;
    char *pristine = mem_alloc(n);
    memcpy(pristine, f->bytes.ptr, n);
    assert_validated_as_read(f, f->bytes.ptr, n);
    for (int round = 0; round < 20000; round++) {
        char *copy = mem_alloc(n); /* its own, so that a read behind it is seen */
        memcpy(copy, pristine, n);
        for (int i = 0; i < 1 + round % 3; i++) {
            x = x * 1664525 + 1013904223;
            /* Mostly bytes that mean something: near the end of a record, where the next begins. */
            size_t at = (x >> 8) % n_records;
            for (int k = 0; k < 64 && copy[KAFKA_BATCH_HEADER_BYTES + at] == 'y'; k++) {
                at = (at + 1) % n_records;
            }
            copy[KAFKA_BATCH_HEADER_BYTES + at] ^= (char)(1 << (x & 7));
        }
        assert_validated_as_read(f, copy, n);
        mem_free(copy);
    }
    mem_free(pristine);
}

/* ---- writing ---- */

static void extreme_values_survive(void **state)
{
    struct fixture *f = *state;
    static const int64_t times[] = {0, -1, INT64_MAX, INT64_MIN, 1};
    struct kafka_batch_writer w;
    struct kafka_records it;
    struct kafka_record r;
    char big[20000];
    memset(big, 'y', sizeof big);
    kafka_batch_begin(&w, &f->bytes, 0);
    for (size_t i = 0; i < 5; i++) {
        struct str s = {big, i * 5000 / 2 + 62};
        kafka_batch_add(&w, s, s, times[i], NULL, 0);
    }
    assert_int_equal(kafka_batch_bytes(&w), f->bytes.len);
    assert_int_equal(kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, NULL), ERR_OK);
    assert_int_equal(kafka_records_open(&it, buf_str(&f->bytes), NULL, NULL, NULL), ERR_OK);
    for (size_t i = 0; i < 5; i++) {
        assert_true(kafka_records_next(&it, &r));
        assert_true(r.timestamp == times[i]);
        assert_int_equal(r.key.len, i * 5000 / 2 + 62);
        assert_true(str_eq(r.key, r.value));
    }
    assert_false(kafka_records_next(&it, &r));
    assert_int_equal(kafka_records_end(&it, NULL), ERR_OK);
}

static void a_failed_write_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct kafka_batch_writer w;
    struct buf small;
    buf_init(&small, 200);
    kafka_batch_begin(&w, &small, 0);
    for (int i = 0; i < 20; i++) {
        kafka_batch_add(&w, STR("key"), STR("a value of some bytes"), 0, NULL, 0);
    }
    assert_int_equal(kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, &f->why), ERR_LIMIT);
    assert_int_equal(small.len, 0);
    buf_clear(&small);
    kafka_batch_begin(&w, &small, 0);
    assert_int_equal(kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, &f->why), ERR_OK);
    assert_int_equal(small.len, 0);
    buf_deinit(&small);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(batches_of_other_programs_are_read),
        TEST(written_batches_are_those_of_other_programs),
        TEST(runs_are_walked_batch_by_batch),
        TEST(producers_mistakes_are_told),
        TEST(a_wrong_greatest_timestamp_is_corrected),
        TEST(damage_uses_up_the_budget),
        TEST(rules_refuse_single_records),
        TEST(the_list_of_refused_records_has_a_bound),
        TEST(the_assigned_fields_leave_the_crc_alone),
        TEST(hostile_records_never_overrun),
        TEST(validation_reads_what_reading_tells),
        TEST(extreme_values_survive),
        TEST(a_failed_write_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
