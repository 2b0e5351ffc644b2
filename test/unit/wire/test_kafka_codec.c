/* wire/kafka: the generated codecs against messages that another implementation encoded, against
 * bytes written by hand for the compact versions, and against cut, lying and huge ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "wire/kafka/messages.h"

#define BYTES(literal) ((struct str){"" literal, sizeof(literal) - 1})

static const char *current = ""; /* line of the case file */

enum { ARENA_BYTES = 1 << 20, LINE_BYTES_MAX = 8192, SPLICES_MAX = 4 };

static const struct kafka_codec *codec_of(int key, const char *part)
{
    for (size_t i = 0; i < KAFKA_APIS; i++)
        if (kafka_api_codecs[i].api.key == key)
            return part[2] == 'q' ? &kafka_api_codecs[i].request : &kafka_api_codecs[i].response;
    return NULL;
}

static struct kafka_reader reader_of(struct str bytes, struct arena *a)
{
    struct kafka_reader r;
    kafka_reader_init(&r, bytes, a);
    return r;
}

static int hex_digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

static size_t unhex(const char *hex, char *out)
{
    size_t n = 0;
    for (; hex[0] != '\0' && hex[0] != '-' && hex[1] != '\0'; hex += 2)
        out[n++] = (char)(hex_digit(hex[0]) * 16 + hex_digit(hex[1]));
    return n;
}

/* Decodes, encodes again, and expects the same bytes; then every cut of it must fail. */
static void check_message(const struct kafka_codec *codec, int16_t version, struct str bytes)
{
    struct arena a;
    arena_init(&a, ARENA_BYTES);
    void *message = arena_zalloc(&a, 1, codec->size);
    assert_non_null(message);
    struct kafka_reader r = reader_of(bytes, &a);
    codec->read(&r, version, message);
    if (r.failed != NULL || kafka_left(&r) != 0)
        fail_msg("%s: bad %s, %zu bytes left", current, r.failed ? r.failed : "end",
                 kafka_left(&r));
    struct buf out = {.max = ARENA_BYTES};
    struct kafka_splice splices[SPLICES_MAX];
    struct kafka_writer w = {.out = &out, .splices = splices, .splices_max = SPLICES_MAX};
    codec->write(&w, version, message);
    assert_false(out.failed);
    assert_int_equal(out.len, bytes.len);
    assert_memory_equal(out.ptr, bytes.ptr, bytes.len);
    for (size_t n = 0; n < bytes.len; n++) {
        char *cut = malloc(n + 1); /* exact size: the sanitizer sees a read behind it */
        memcpy(cut, bytes.ptr, n);
        struct kafka_reader part = reader_of((struct str){cut, n}, &a);
        codec->read(&part, version, message);
        assert_non_null(part.failed);
        free(cut);
    }
    buf_deinit(&out);
    arena_deinit(&a);
}

/* Lines `KEY VERSION req|res HEX`. Returns how many. */
static int check_file(const char *name)
{
    char path[512], line[LINE_BYTES_MAX];
    snprintf(path, sizeof path, "%s/test/unit/wire/cases/%s", getenv("TIDEMILL_SOURCE_DIR"), name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    int n = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        int key, version, at = 0;
        char part[8], bytes[LINE_BYTES_MAX / 2];
        assert_int_equal(sscanf(line, "%d %d %7s %n", &key, &version, part, &at), 3);
        line[strcspn(line, "\n")] = '\0';
        const struct kafka_codec *codec = codec_of(key, part);
        assert_non_null(codec);
        size_t len = unhex(line + at, bytes);
        current = line;
        check_message(codec, (int16_t)version, (struct str){bytes, len});
        n++;
    }
    (void)fclose(file);
    return n;
}

static void test_other_implementation(void **state)
{
    (void)state;
    assert_true(check_file("kafka_messages.txt") >= 396);
}

/* Compact versions, byte by byte from the specification. */
static void test_compact(void **state)
{
    (void)state;
    assert_int_equal(check_file("kafka_compact.txt"), 11);
}

/* A request with a tag that we do not know is read as if it were not there. */
static void test_unknown_tags(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, ARENA_BYTES);
    struct kafka_heartbeat_req req;
    struct kafka_reader r = reader_of(BYTES("\x02g"
                                            "\0\0\0\x03"
                                            "\x02m"
                                            "\0"
                                            "\x02"
                                            "\x05\x03"
                                            "abc"
                                            "\x07\0"),
                                      &a);
    kafka_heartbeat_req_read(&r, 4, &req);
    assert_null(r.failed);
    assert_int_equal(kafka_left(&r), 0);
    assert_int_equal(req.generation_id, 3);
    /* A tag that claims more than there is. */
    r = reader_of(BYTES("\x02g"
                        "\0\0\0\x03"
                        "\x02m"
                        "\0"
                        "\x01"
                        "\x05\x7f"
                        "abc"),
                  &a);
    kafka_heartbeat_req_read(&r, 4, &req);
    assert_non_null(r.failed);
    arena_deinit(&a);
}

/* An array's claim is checked before anything is allocated. */
static void test_lying_counts(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, ARENA_BYTES);
    struct kafka_metadata_req req;
    struct kafka_reader r = reader_of(BYTES("\x7f\xff\xff\xff"
                                            "\0\x01t"),
                                      &a);
    mem_fail_at(0, 0);
    kafka_metadata_req_read(&r, 1, &req);
    assert_non_null(r.failed);
    assert_int_equal(mem_fail_count(), 0);
    r = reader_of(BYTES("\xff\xff\xff\xfe"
                        "\0\x01t"),
                  &a);
    kafka_metadata_req_read(&r, 1, &req);
    assert_non_null(r.failed);
    /* Null and empty are told apart. */
    r = reader_of(BYTES("\xff\xff\xff\xff"), &a);
    kafka_metadata_req_read(&r, 1, &req);
    assert_null(r.failed);
    assert_null(req.topics);
    r = reader_of(BYTES("\0\0\0\0"), &a);
    kafka_metadata_req_read(&r, 1, &req);
    assert_null(r.failed);
    assert_non_null(req.topics);
    arena_deinit(&a);
}

/* An array that fits the bytes but not the request's memory, and one for which there is no memory.
 */
static void test_memory(void **state)
{
    (void)state;
    static char bytes[4 + 30000 * 2];
    be32_put(bytes, 30000);
    struct arena a;
    arena_init(&a, 64 << 10);
    struct kafka_metadata_req req;
    struct kafka_reader r = reader_of((struct str){bytes, sizeof bytes}, &a);
    kafka_metadata_req_read(&r, 1, &req);
    assert_non_null(r.failed);
    arena_deinit(&a);
    arena_init(&a, 16 << 20);
    mem_fail_at(1, 1);
    r = reader_of((struct str){bytes, sizeof bytes}, &a);
    kafka_metadata_req_read(&r, 1, &req);
    mem_fail_at(0, 0);
    assert_non_null(r.failed);
    arena_deinit(&a);
}

static void test_varint(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    const uint32_t values[] = {0, 1, 127, 128, 300, 16383, 16384, 1u << 28, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct buf out = {.max = 64};
        struct kafka_writer w = {.out = &out};
        kafka_write_uvarint(&w, values[i]);
        struct kafka_reader r = reader_of(buf_str(&out), &a);
        assert_true(kafka_read_uvarint(&r) == values[i]);
        assert_null(r.failed);
        buf_deinit(&out);
    }
    struct kafka_reader r = reader_of(BYTES("\xff\xff\xff\xff\x1f"), &a);
    assert_int_equal(kafka_read_uvarint(&r), 0);
    assert_non_null(r.failed);
    r = reader_of(BYTES("\x80\x80\x80\x80\x80\x01"), &a);
    assert_int_equal(kafka_read_uvarint(&r), 0);
    assert_non_null(r.failed);
}

/* Records given as a file leave a splice and their length, and count as sent bytes. */
static void test_splices(void **state)
{
    (void)state;
    int file;
    struct kafka_fetch_res_partition parts[2] = {
        {.index = 1, .records = {"", 1000, &file}},
        {.index = 2, .records = {"xy", 2, NULL}},
    };
    struct kafka_fetch_res_topic topic = {.name = STR("t"), .n_partitions = 2, .partitions = parts};
    struct kafka_fetch_res res = {.n_topics = 1, .topics = &topic};
    struct buf out = {.max = 4096};
    struct kafka_splice splice;
    struct kafka_writer w = {.out = &out, .splices = &splice, .splices_max = 1};
    kafka_fetch_res_write(&w, 4, &res);
    assert_false(out.failed);
    assert_int_equal(w.n_splices, 1);
    assert_ptr_equal(splice.file, &file);
    assert_int_equal(w.splice_bytes, 1000);
    assert_int_equal(be32_get(out.ptr + splice.at - 4), 1000);
    assert_memory_equal(out.ptr + out.len - 6, "\0\0\0\x02xy", 6);
    parts[1].records.file = &file;
    buf_clear(&out);
    w = (struct kafka_writer){.out = &out, .splices = &splice, .splices_max = 1};
    kafka_fetch_res_write(&w, 4, &res);
    assert_true(out.failed);
    buf_deinit(&out);
}

static void test_header(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    struct kafka_request_header h;
    struct kafka_reader r = reader_of(BYTES("\0\x12\0\x03\0\0\0\x2a\xff\xff"), &a);
    kafka_read_header(&r, &h);
    assert_null(r.failed);
    assert_int_equal(h.api_key, KAFKA_API_VERSIONS);
    assert_int_equal(h.api_version, 3);
    assert_int_equal(h.correlation_id, 42);
    assert_null(h.client_id.ptr);
    r = reader_of(BYTES("\0\x12\0\x03\0\0\0\x2a\xff\xfe"), &a);
    kafka_read_header(&r, &h);
    assert_non_null(r.failed);
}

/* Versions' tables are sorted and sane. */
static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < KAFKA_APIS; i++) {
        const struct kafka_api *api = &kafka_api_codecs[i].api;
        assert_true(api->version_min <= api->version_max);
        assert_true(i == 0 || kafka_api_codecs[i - 1].api.key < api->key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_implementation),
        cmocka_unit_test(test_compact),
        cmocka_unit_test(test_unknown_tags),
        cmocka_unit_test(test_lying_counts),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_varint),
        cmocka_unit_test(test_splices),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
