/* wire/http: heads (and what a smuggler would send), chunked bodies at every cut, targets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "wire/http.h"

#include <string.h>

static enum http_progress parse(const char *text, struct http_request *r, unsigned *status)
{
    size_t consumed = 0;
    struct err_detail why = {0};
    *status = 0;
    enum http_progress p = http_request_parse(str_of(text), r, &consumed, status, &why);
    if (p == HTTP_BAD)
        assert_true(*status >= 400 && why.text[0] != 0);
    return p;
}

static void head(void **state)
{
    (void)state;
    const struct str text =
        STR("\r\nPOST /v1/query?format=ndjson HTTP/1.1\r\nHost: localhost:3000\r\n"
            "Content-Length:  12 \r\nX-A:\tb c\t\r\nExpect: 100-continue\r\n\r\nSELECT");
    struct http_request r;
    size_t consumed;
    unsigned status;
    /* Every prefix needs more; the whole is the same wherever it was cut before. */
    for (size_t n = 0; n < text.len - 6; n++)
        assert_int_equal(
            http_request_parse((struct str){text.ptr, n}, &r, &consumed, &status, NULL), HTTP_MORE);
    assert_int_equal(http_request_parse(text, &r, &consumed, &status, NULL), HTTP_DONE);
    assert_int_equal(consumed, text.len - 6);
    assert_int_equal(r.method, HTTP_POST);
    assert_true(str_eq(r.path, STR("/v1/query")));
    assert_true(str_eq(r.query, STR("format=ndjson")));
    assert_true(str_eq(r.host, STR("localhost:3000")));
    assert_true(str_eq(http_header(&r, STR("x-a")), STR("b c")));
    assert_null(http_header(&r, STR("x-b")).ptr);
    assert_int_equal(r.content_length, 12);
    assert_true(r.keep_alive && r.expect_continue && !r.chunked && !r.upgrade_websocket);
}

static void connection_options(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keep_alive, websocket;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true, false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n", false, false},
        {"GET / HTTP/1.0\r\n\r\n", false, false},
        {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true, false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
         "Upgrade: WebSocket\r\n\r\n",
         true, true},
        {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", true, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_request r;
        unsigned status;
        assert_int_equal(parse(cases[i].text, &r, &status), HTTP_DONE);
        assert_int_equal(r.keep_alive, cases[i].keep_alive);
        assert_int_equal(r.upgrade_websocket, cases[i].websocket);
    }
}

static void absolute_target(void **state)
{
    (void)state;
    struct http_request r;
    unsigned status;
    assert_int_equal(parse("GET http://a:1/x?y HTTP/1.1\r\nHost: a\r\n\r\n", &r, &status),
                     HTTP_DONE);
    assert_true(str_eq(r.path, STR("/x")) && str_eq(r.query, STR("y")));
    assert_int_equal(parse("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", &r, &status), HTTP_DONE);
    assert_true(str_eq(r.path, STR("/")) && r.query.len == 0);
}

static void refused_heads(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET / HTTP/1.1\nHost: a\n\n", 400},
        {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
        {"GET /\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
        {"GET / http/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         400},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
         "Transfer-Encoding: chunked\r\n\r\n",
         400},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: a\r\nExpect: a pony\r\n\r\n", 417},
        {"\x16\x03\x01", 400},
        {"\x00\x00\x00\x10", 0},
        {"{\"sensor\": 1}", 400},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_request r;
        unsigned status;
        enum http_progress p = parse(cases[i].text, &r, &status);
        assert_int_equal(p, cases[i].status == 0 ? HTTP_MORE : HTTP_BAD);
        assert_int_equal(status, cases[i].status);
    }
}

static void head_bounds(void **state)
{
    (void)state;
    static char text[HTTP_HEAD_BYTES_MAX * 2];
    struct http_request r;
    unsigned status;
    struct buf b;
    buf_init(&b, sizeof text);
    buf_put_str(&b, STR("GET / HTTP/1.1\r\nHost: a\r\n"));
    for (int i = 1; i < HTTP_HEADERS_MAX; i++)
        buf_printf(&b, "h%d: v\r\n", i);
    size_t full = b.len;
    buf_put_str(&b, STR("\r\n"));
    buf_put_u8(&b, 0);
    assert_int_equal(parse(b.ptr, &r, &status), HTTP_DONE);
    b.len = full;
    buf_put(&b, "one: more\r\n\r\n", 14);
    assert_int_equal(parse(b.ptr, &r, &status), HTTP_BAD);
    assert_int_equal(status, 431);
    buf_deinit(&b);
    /* An endless header line and an endless target. */
    memset(text, 'a', sizeof text - 1);
    memcpy(text, "GET / HTTP/1.1\r\nA: ", 19);
    assert_int_equal(parse(text, &r, &status), HTTP_BAD);
    assert_int_equal(status, 431);
    memset(text, 'a', 19);
    memcpy(text, "GET /", 5);
    memcpy(text + HTTP_TARGET_BYTES_MAX + 10, " HTTP/1.1\r\nHost: a\r\n\r\n", 23);
    assert_int_equal(parse(text, &r, &status), HTTP_BAD);
    assert_int_equal(status, 414);
}

static void chunked_at_every_cut(void **state)
{
    (void)state;
    const struct str text =
        STR("5\r\nhello\r\n1;ext=\"x\"\r\n \r\nA\r\n0123456789\r\n0\r\nT: x\r\n\r\nGET");
    for (size_t cut = 0; cut <= text.len; cut++) {
        struct http_chunked c = {0};
        struct buf out;
        enum err e;
        buf_init(&out, 100);
        size_t n = http_chunked_feed(&c, (struct str){text.ptr, cut}, &out, &e, NULL);
        assert_int_equal(e, ERR_OK);
        n += http_chunked_feed(&c, (struct str){text.ptr + n, text.len - n}, &out, &e, NULL);
        assert_int_equal(e, ERR_OK);
        assert_int_equal(c.state, HTTP_CHUNK_END);
        assert_int_equal(n, text.len - 3);
        assert_true(str_eq(buf_str(&out), STR("hello 0123456789")));
        buf_deinit(&out);
    }
}

static void chunked_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum err err;
    } cases[] = {
        {"\r\n", ERR_MALFORMED},
        {"g\r\n", ERR_MALFORMED},
        {"-1\r\n", ERR_MALFORMED},
        {"0x1\r\n", ERR_MALFORMED},
        {"1\n", ERR_MALFORMED},
        {"1\r\naX", ERR_MALFORMED},
        {"1\r\na\rX", ERR_MALFORMED},
        {"0\r\nT: x\n", ERR_MALFORMED},
        {"ffffffffffffffff\r\n", ERR_MALFORMED},
        {"b\r\n01234567890\r\n", ERR_TOO_LARGE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_chunked c = {0};
        struct buf out;
        struct err_detail why = {0};
        enum err e;
        buf_init(&out, 10);
        http_chunked_feed(&c, str_of(cases[i].text), &out, &e, &why);
        assert_int_equal(e, cases[i].err);
        assert_true(why.text[0] != 0);
        buf_deinit(&out);
    }
    /* Endless extensions and trailers are bounded. */
    struct http_chunked c = {0};
    struct buf out;
    enum err e = ERR_OK;
    buf_init(&out, 10);
    http_chunked_feed(&c, STR("1;"), &out, &e, NULL);
    for (int i = 0; i < HTTP_CHUNK_LINE_BYTES_MAX && e == ERR_OK; i++)
        http_chunked_feed(&c, STR("x"), &out, &e, NULL);
    assert_int_equal(e, ERR_MALFORMED);
    c = (struct http_chunked){0};
    http_chunked_feed(&c, STR("0\r\n"), &out, &e, NULL);
    for (int i = 0; i < HTTP_TRAILER_BYTES_MAX && e == ERR_OK; i++)
        http_chunked_feed(&c, STR("x: y\r\n"), &out, &e, NULL);
    assert_int_equal(e, ERR_MALFORMED);
    buf_deinit(&out);
}

static void targets(void **state)
{
    (void)state;
    struct arena a;
    struct str out;
    arena_init(&a, 1 << 16);
    assert_int_equal(http_percent_decode(STR("a%20b+c%C3%A9"), false, &a, &out), ERR_OK);
    assert_true(str_eq(out, STR("a b+c\xc3\xa9")));
    assert_int_equal(http_percent_decode(STR("a+b%2B"), true, &a, &out), ERR_OK);
    assert_true(str_eq(out, STR("a b+")));
    static const char *const bad[] = {"%", "%2", "%zz", "a%"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(http_percent_decode(str_of(bad[i]), false, &a, &out), ERR_MALFORMED);
    assert_int_equal(http_percent_decode(STR("%00"), false, &a, &out), ERR_ENCODING);
    assert_int_equal(http_percent_decode(STR("%ff"), false, &a, &out), ERR_ENCODING);

    struct str query = STR("a=1&&b&c=x=y&");
    struct str name;
    struct str value;
    assert_true(http_query_next(&query, &name, &value));
    assert_true(str_eq(name, STR("a")) && str_eq(value, STR("1")));
    assert_true(http_query_next(&query, &name, &value));
    assert_true(str_eq(name, STR("b")) && value.len == 0);
    assert_true(http_query_next(&query, &name, &value));
    assert_true(str_eq(name, STR("c")) && str_eq(value, STR("x=y")));
    assert_false(http_query_next(&query, &name, &value));

    assert_true(str_eq(http_host_name(STR("localhost:3000")), STR("localhost")));
    assert_true(str_eq(http_host_name(STR("[::1]:3000")), STR("[::1]")));
    assert_true(str_eq(http_host_name(STR("a")), STR("a")));
    arena_deinit(&a);
}

static void lists_and_dates(void **state)
{
    (void)state;
    assert_true(http_accepts(STR("gzip, deflate, br"), STR("gzip")));
    assert_true(http_accepts(STR("br;q=1.0, gzip;q=0.8"), STR("gzip")));
    assert_false(http_accepts(STR("gzip;q=0"), STR("gzip")));
    assert_false(http_accepts(STR("gzip;q=0.000"), STR("gzip")));
    assert_false(http_accepts(STR("identity"), STR("gzip")));
    assert_false(http_accepts((struct str){NULL, 0}, STR("gzip")));
    struct buf b;
    buf_init(&b, 100);
    http_date_write(&b, 784111777);
    assert_true(str_eq(buf_str(&b), STR("Sun, 06 Nov 1994 08:49:37 GMT")));
    buf_deinit(&b);
    assert_string_equal(http_status_text(404), "Not Found");
    assert_string_equal(http_status_text(799), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(head),
        cmocka_unit_test(connection_options),
        cmocka_unit_test(absolute_target),
        cmocka_unit_test(refused_heads),
        cmocka_unit_test(head_bounds),
        cmocka_unit_test(chunked_at_every_cut),
        cmocka_unit_test(chunked_refused),
        cmocka_unit_test(targets),
        cmocka_unit_test(lists_and_dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
