/* wire/postgres: framing, decoders against cut and lying messages, encoders byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "wire/postgres.h"

#define BYTES(literal) ((struct str){"" literal, sizeof(literal) - 1})

static void assert_bytes(const struct buf *b, struct str expected)
{
    assert_false(b->failed);
    assert_int_equal(b->len, expected.len);
    assert_memory_equal(b->ptr, expected.ptr, expected.len);
}

static void test_startup_frame(void **state)
{
    (void)state;
    size_t n = 0;
    assert_int_equal(pg_startup_frame(BYTES("\0\0\0"), &n), PG_FRAME_PART);
    assert_int_equal(n, 0);
    assert_int_equal(pg_startup_frame(BYTES("\0\0\0\x10more"), &n), PG_FRAME_PART);
    assert_int_equal(n, 16);
    assert_int_equal(pg_startup_frame(BYTES("\0\0\0\x08\0\0\0\0"), &n), PG_FRAME_WHOLE);
    assert_int_equal(pg_startup_frame(BYTES("\0\0\0\x07..."), &n), PG_FRAME_BAD);
    assert_int_equal(pg_startup_frame(BYTES("GET / HTTP/1.1\r\n"), &n), PG_FRAME_BAD);
    assert_int_equal(pg_startup_frame(BYTES("\x80\0\0\0"), &n), PG_FRAME_BAD);
}

static void test_startup_session(void **state)
{
    (void)state;
    struct pg_startup m;
    struct err_detail why = {0};
    struct str packet = BYTES("\0\0\0\x1d\0\x03\0\0user\0me\0database\0\0\0");
    assert_int_equal(pg_startup_decode(packet, &m, &why), ERR_OK);
    assert_int_equal(m.kind, PG_STARTUP_SESSION);
    assert_int_equal(m.major, 3);
    struct str name, value;
    assert_true(pg_startup_parameter(&m.parameters, &name, &value));
    assert_true(str_eq(name, STR("user")));
    assert_true(str_eq(value, STR("me")));
    assert_true(pg_startup_parameter(&m.parameters, &name, &value));
    assert_true(str_eq(name, STR("database")));
    assert_int_equal(value.len, 0);
    assert_false(pg_startup_parameter(&m.parameters, &name, &value));
}

static void test_startup_bad(void **state)
{
    (void)state;
    struct pg_startup m;
    struct err_detail why = {0};
    assert_int_equal(pg_startup_decode(BYTES("\0\0\0\x08\0\x02\0\0"), &m, &why), ERR_UNSUPPORTED);
    assert_string_equal(why.text, "unsupported frontend protocol 2.0: server supports 3.0");
    assert_int_equal(pg_startup_decode(BYTES("\0\0\0\x08\0\x03\0\0"), &m, &why), ERR_MALFORMED);
    assert_int_equal(pg_startup_decode(BYTES("\0\0\0\x0c\0\x03\0\0user"), &m, &why), ERR_MALFORMED);
    assert_int_equal(pg_startup_decode(BYTES("\0\0\0\x0e\0\x03\0\0user\0x"), &m, &why),
                     ERR_MALFORMED);
    assert_int_equal(pg_startup_decode(BYTES("\0\0\0\x0a\0\x03\0\0\0x"), &m, &why), ERR_MALFORMED);
}

static void test_startup_requests(void **state)
{
    (void)state;
    struct pg_startup m;
    assert_int_equal(pg_startup_decode(BYTES("\0\0\0\x08\x04\xd2\x16\x2f"), &m, NULL), ERR_OK);
    assert_int_equal(m.kind, PG_STARTUP_SSL);
    assert_int_equal(pg_startup_decode(BYTES("\0\0\0\x08\x04\xd2\x16\x30"), &m, NULL), ERR_OK);
    assert_int_equal(m.kind, PG_STARTUP_GSSENC);
    struct str cancel = BYTES("\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x07\x01\x02\x03\x04");
    assert_int_equal(pg_startup_decode(cancel, &m, NULL), ERR_OK);
    assert_int_equal(m.kind, PG_STARTUP_CANCEL);
    assert_int_equal(m.pid, 7);
    assert_int_equal(m.secret, 0x01020304);
    cancel.len = 12;
    assert_int_equal(pg_startup_decode(cancel, &m, NULL), ERR_MALFORMED);
}

static void test_message_frame(void **state)
{
    (void)state;
    char type = 0;
    struct str body;
    size_t n = 0;
    assert_int_equal(pg_message_frame(BYTES("Q\0\0\0"), &type, &body, &n), PG_FRAME_PART);
    assert_int_equal(n, 0);
    assert_int_equal(pg_message_frame(BYTES("Q\0\0\0\x06"
                                            "a"),
                                      &type, &body, &n),
                     PG_FRAME_PART);
    assert_int_equal(n, 7);
    assert_int_equal(pg_message_frame(BYTES("Q\0\0\0\x06"
                                            "a\0rest"),
                                      &type, &body, &n),
                     PG_FRAME_WHOLE);
    assert_int_equal(type, 'Q');
    assert_int_equal(n, 7);
    assert_int_equal(body.len, 2);
    assert_int_equal(pg_message_frame(BYTES("Q\0\0\0\x03"), &type, &body, &n), PG_FRAME_BAD);
    assert_int_equal(pg_message_frame(BYTES("Q\x7f\xff\xff\xff"), &type, &body, &n), PG_FRAME_BAD);
    assert_int_equal(pg_message_frame(BYTES("Q\xff\xff\xff\xff"), &type, &body, &n), PG_FRAME_BAD);
}

static const char bind_body[] = "p\0s\0"           /* portal, statement */
                                "\0\x02\0\0\0\x01" /* formats: text, binary */
                                "\0\x02\0\0\0\x02"
                                "42\xff\xff\xff\xff" /* "42", NULL */
                                "\0\x01\0\x01";      /* results: all binary */

static void test_bind(void **state)
{
    (void)state;
    struct pg_bind m;
    struct str body = {bind_body, sizeof bind_body - 1};
    assert_int_equal(pg_bind_decode(body, &m, NULL), ERR_OK);
    assert_true(str_eq(m.portal, STR("p")));
    assert_true(str_eq(m.statement, STR("s")));
    assert_int_equal(m.n_params, 2);
    assert_int_equal(pg_bind_format(&m, 0), 0);
    assert_int_equal(pg_bind_format(&m, 1), 1);
    assert_int_equal(pg_bind_result(&m, 5), 1);
    struct str value;
    assert_true(pg_bind_param(&m.params, &value));
    assert_true(str_eq(value, STR("42")));
    assert_false(pg_bind_param(&m.params, &value));
    assert_int_equal(m.params.len, 0);
}

/* Every cut of a message, and a byte too many, is refused. */
static void test_bind_cut(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof bind_body; n++) {
        struct pg_bind m;
        struct err_detail why = {0};
        char *exact = mem_alloc(n + 1);
        assert_non_null(exact);
        memcpy(exact, bind_body, n);
        enum err e = pg_bind_decode((struct str){exact, n}, &m, &why);
        assert_int_equal(e, n == sizeof bind_body - 1 ? ERR_OK : ERR_MALFORMED);
        mem_free(exact);
    }
    struct pg_bind m;
    assert_int_equal(pg_bind_decode((struct str){bind_body, sizeof bind_body}, &m, NULL),
                     ERR_MALFORMED);
}

static void test_bind_lies(void **state)
{
    (void)state;
    struct pg_bind m;
    struct err_detail why = {0};
    /* 65535 parameters announced, a parameter of 2 GB, an unknown format, formats for others. */
    assert_int_equal(pg_bind_decode(BYTES("\0\0\0\0\xff\xff"), &m, &why), ERR_MALFORMED);
    assert_int_equal(pg_bind_decode(BYTES("\0\0\0\0\0\x01\x7f\xff\xff\xff"), &m, &why),
                     ERR_MALFORMED);
    assert_int_equal(pg_bind_decode(BYTES("\0\0\0\x01\0\x02\0\0\0\0"), &m, &why), ERR_MALFORMED);
    assert_int_equal(pg_bind_decode(BYTES("\0\0\0\x02\0\0\0\0\0\x01\0\0\0\0\0\0"), &m, &why),
                     ERR_MALFORMED);
    assert_string_equal(why.text, "bind message has 2 parameter formats but 1 parameters");
}

static void test_parse_execute_target(void **state)
{
    (void)state;
    struct pg_parse p;
    assert_int_equal(pg_parse_decode(BYTES("s\0select 1\0\0\x01\0\0\0\x17"), &p, NULL), ERR_OK);
    assert_true(str_eq(p.sql, STR("select 1")));
    assert_int_equal(pg_parse_type(&p, 0), 23);
    assert_int_equal(pg_parse_type(&p, 1), 0);
    assert_int_equal(pg_parse_decode(BYTES("s\0select 1\0\xff\xff"), &p, NULL), ERR_MALFORMED);
    struct pg_execute x;
    assert_int_equal(pg_execute_decode(BYTES("\0\0\0\0\x0a"), &x, NULL), ERR_OK);
    assert_int_equal(x.rows_max, 10);
    assert_int_equal(pg_execute_decode(BYTES("\0\xff\xff\xff\xff"), &x, NULL), ERR_OK);
    assert_int_equal(x.rows_max, 0);
    struct pg_target t;
    assert_int_equal(pg_target_decode(BYTES("Sx\0"), 'D', &t, NULL), ERR_OK);
    assert_int_equal(t.kind, 'S');
    assert_int_equal(pg_target_decode(BYTES("Xx\0"), 'D', &t, NULL), ERR_MALFORMED);
    assert_int_equal(pg_target_decode(BYTES(""), 'C', &t, NULL), ERR_MALFORMED);
    struct str sql;
    assert_int_equal(pg_query_decode(BYTES("select 1"), &sql, NULL), ERR_MALFORMED);
    assert_int_equal(pg_query_decode(BYTES("select 1\0x"), &sql, NULL), ERR_MALFORMED);
}

static void test_encoders(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4096);
    pg_put_auth_ok(&b);
    pg_put_parameter(&b, "a", STR("b"));
    pg_put_key(&b, 1, 2);
    pg_put_ready(&b, 'I');
    pg_put_complete(&b, "SELECT 1");
    pg_put_empty(&b, '1');
    pg_put_copy_response(&b, 'G', 2);
    assert_bytes(&b, BYTES("R\0\0\0\x08\0\0\0\0"
                           "S\0\0\0\x08"
                           "a\0b\0"
                           "K\0\0\0\x0c\0\0\0\x01\0\0\0\x02"
                           "Z\0\0\0\x05I"
                           "C\0\0\0\x0dSELECT 1\0"
                           "1\0\0\0\x04"
                           "G\0\0\0\x0b\0\0\x02\0\0\0\0"));
    buf_clear(&b);
    struct pg_report r = {.severity = "ERROR", .sqlstate = "42601", .message = "no", .position = 8};
    pg_put_report(&b, 'E', &r);
    assert_bytes(&b, BYTES("E\0\0\0\x21SERROR\0VERROR\0C42601\0Mno\0P8\0\0"));
    buf_clear(&b);
    struct pg_field f = {.name = STR("n"), .oid = 23, .typlen = 4, .typmod = -1};
    pg_put_field(&b, &f);
    assert_bytes(&b, BYTES("n\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0"));
    buf_deinit(&b);
}

/* Out of room at any byte: the buffer says so, nothing is written beyond it. */
static void test_encoders_full(void **state)
{
    (void)state;
    for (size_t max = 0; max < 33; max++) {
        struct buf b;
        buf_init(&b, max);
        struct pg_report r = {
            .severity = "ERROR", .sqlstate = "42601", .message = "no", .position = 8};
        pg_put_report(&b, 'E', &r);
        assert_true(b.failed);
        assert_true(b.len <= max);
        buf_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_startup_frame),
        cmocka_unit_test(test_startup_session),
        cmocka_unit_test(test_startup_bad),
        cmocka_unit_test(test_startup_requests),
        cmocka_unit_test(test_message_frame),
        cmocka_unit_test(test_bind),
        cmocka_unit_test(test_bind_cut),
        cmocka_unit_test(test_bind_lies),
        cmocka_unit_test(test_parse_execute_target),
        cmocka_unit_test(test_encoders),
        cmocka_unit_test(test_encoders_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
