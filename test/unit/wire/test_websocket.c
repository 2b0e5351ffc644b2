/* wire/websocket: the handshake of RFC 6455's example, frames at every cut, and broken ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "wire/websocket.h"

#include <string.h>

enum { MESSAGE_MAX = 70000 };

static void handshake(void **state)
{
    (void)state;
    char accept[WEBSOCKET_ACCEPT_BYTES + 1];
    assert_int_equal(websocket_accept(STR("dGhlIHNhbXBsZSBub25jZQ=="), accept), ERR_OK);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    static const char *const bad[] = {"",
                                      "dGhl",
                                      "dGhlIHNhbXBsZSBub25jZQ=",
                                      "dGhlIHNhbXBsZSBub25jZQ=x",
                                      "!!!!IHNhbXBsZSBub25jZQ==",
                                      "dGhlIHNhbXBsZSBub25jZGU="};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(websocket_accept(str_of(bad[i]), accept), ERR_MALFORMED);
    assert_int_equal(websocket_accept((struct str){NULL, 0}, accept), ERR_MALFORMED);
}

/* A client's frame: masked, with the shortest length that fits. */
static void frame_put(struct buf *b, unsigned first, struct str payload)
{
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    buf_put_u8(b, (uint8_t)first);
    if (payload.len < 126) {
        buf_put_u8(b, (uint8_t)(0x80 | payload.len));
    } else if (payload.len < 65536) {
        buf_put_u8(b, 0x80 | 126);
        buf_put_be16(b, (uint16_t)payload.len);
    } else {
        buf_put_u8(b, 0x80 | 127);
        buf_put_be64(b, payload.len);
    }
    buf_put(b, mask, 4);
    for (size_t i = 0; i < payload.len; i++)
        buf_put_u8(b, (uint8_t)((unsigned char)payload.ptr[i] ^ mask[i % 4]));
}

static struct websocket reader(void)
{
    struct websocket ws = {0};
    buf_init(&ws.message, MESSAGE_MAX);
    return ws;
}

static void sizes(void **state)
{
    (void)state;
    static char bytes[MESSAGE_MAX + 1];
    memset(bytes, 'x', sizeof bytes);
    static const size_t lens[] = {0, 1, 125, 126, 127, 65535, 65536, MESSAGE_MAX};
    struct buf b;
    buf_init(&b, 2 * MESSAGE_MAX);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct websocket ws = reader();
        buf_clear(&b);
        frame_put(&b, 0x81, (struct str){bytes, lens[i]});
        /* Not before the last byte is there. */
        struct websocket_event e = websocket_next(&ws, (struct str){b.ptr, b.len - 1});
        assert_int_equal(e.kind, WEBSOCKET_EVENT_MORE);
        e = websocket_next(&ws, buf_str(&b));
        assert_int_equal(e.kind, WEBSOCKET_EVENT_MESSAGE);
        assert_int_equal(e.opcode, WEBSOCKET_TEXT);
        assert_true(str_eq(e.payload, (struct str){bytes, lens[i]}));
        assert_int_equal(e.consumed, b.len);
        buf_deinit(&ws.message);
    }
    struct websocket ws = reader();
    buf_clear(&b);
    frame_put(&b, 0x82, (struct str){bytes, MESSAGE_MAX + 1});
    /* Refused by its head alone. */
    struct websocket_event e = websocket_next(&ws, (struct str){b.ptr, 14});
    assert_int_equal(e.kind, WEBSOCKET_EVENT_ERROR);
    assert_int_equal(e.code, WEBSOCKET_CODE_TOO_BIG);
    buf_deinit(&ws.message);
    buf_deinit(&b);
}

static void fragments(void **state)
{
    (void)state;
    struct buf b;
    struct websocket ws = reader();
    buf_init(&b, 1000);
    frame_put(&b, 0x01, STR("h\xc3"));
    frame_put(&b, 0x89, STR("ping"));
    frame_put(&b, 0x00, STR("\xa9"));
    frame_put(&b, 0x8a, STR(""));
    frame_put(&b, 0x80, STR("llo"));
    static const int kinds[] = {WEBSOCKET_EVENT_FRAGMENT, WEBSOCKET_EVENT_PING,
                                WEBSOCKET_EVENT_FRAGMENT, WEBSOCKET_EVENT_PONG,
                                WEBSOCKET_EVENT_MESSAGE};
    struct str in = buf_str(&b);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct websocket_event e = websocket_next(&ws, in);
        assert_int_equal(e.kind, kinds[i]);
        in = (struct str){in.ptr + e.consumed, in.len - e.consumed};
        if (i == 1)
            assert_true(str_eq(e.payload, STR("ping")));
        if (i == 4)
            assert_true(str_eq(e.payload, STR("h\xc3\xa9llo")));
    }
    assert_int_equal(in.len, 0);
    buf_deinit(&ws.message);
    buf_deinit(&b);
}

static void closing(void **state)
{
    (void)state;
    static const struct {
        const char *payload;
        size_t len;
        int kind;
        unsigned code;
    } cases[] = {
        {"", 0, WEBSOCKET_EVENT_CLOSE, WEBSOCKET_CODE_NONE},
        {"\x03\xe8", 2, WEBSOCKET_EVENT_CLOSE, 1000},
        {"\x03\xe9gone", 6, WEBSOCKET_EVENT_CLOSE, 1001},
        {"\x0f\xa0", 2, WEBSOCKET_EVENT_CLOSE, 4000},
        {"\x03", 1, WEBSOCKET_EVENT_ERROR, WEBSOCKET_CODE_PROTOCOL},
        {"\x03\xed", 2, WEBSOCKET_EVENT_ERROR, WEBSOCKET_CODE_PROTOCOL},
        {"\x00\x01", 2, WEBSOCKET_EVENT_ERROR, WEBSOCKET_CODE_PROTOCOL},
        {"\x03\xe8\xff", 3, WEBSOCKET_EVENT_ERROR, WEBSOCKET_CODE_NOT_UTF8},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct websocket ws = reader();
        struct buf b;
        buf_init(&b, 1000);
        frame_put(&b, 0x88, (struct str){cases[i].payload, cases[i].len});
        struct websocket_event e = websocket_next(&ws, buf_str(&b));
        assert_int_equal(e.kind, cases[i].kind);
        assert_int_equal(e.code, cases[i].code);
        buf_deinit(&ws.message);
        buf_deinit(&b);
    }
}

static void broken(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"\xc1\x80", 2},         /* reserved bit */
        {"\x81\x01", 2},         /* not masked */
        {"\x83\x80", 2},         /* opcode 3 */
        {"\x8b\x80", 2},         /* opcode 11 */
        {"\x09\x80", 2},         /* fragmented ping */
        {"\x89\xfe\x00\x80", 4}, /* long ping */
        {"\x81\xfe\x00\x05", 4}, /* length not minimal */
        {"\x81\xff\x00\x00\x00\x00\x00\x00\x01\x00", 10},
        {"\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00", 10},
        {"\x80\x80\x00\x00\x00\x00", 6}, /* continues nothing */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct websocket ws = reader();
        struct websocket_event e = websocket_next(&ws, (struct str){cases[i].bytes, cases[i].len});
        assert_int_equal(e.kind, WEBSOCKET_EVENT_ERROR);
        assert_int_equal(e.code, WEBSOCKET_CODE_PROTOCOL);
        assert_non_null(e.text);
        buf_deinit(&ws.message);
    }
    struct websocket ws = reader();
    struct buf b;
    buf_init(&b, 1000);
    frame_put(&b, 0x81, STR("\xff"));
    assert_int_equal(websocket_next(&ws, buf_str(&b)).code, WEBSOCKET_CODE_NOT_UTF8);
    buf_clear(&b);
    frame_put(&b, 0x01, STR("a"));
    assert_int_equal(websocket_next(&ws, buf_str(&b)).kind, WEBSOCKET_EVENT_FRAGMENT);
    assert_int_equal(websocket_next(&ws, buf_str(&b)).code, WEBSOCKET_CODE_PROTOCOL);
    buf_deinit(&ws.message);
    buf_deinit(&b);
}

static void heads(void **state)
{
    (void)state;
    unsigned char head[WEBSOCKET_HEAD_BYTES_MAX];
    assert_int_equal(websocket_head(WEBSOCKET_TEXT, 125, head), 2);
    assert_memory_equal(head, "\x81\x7d", 2);
    assert_int_equal(websocket_head(WEBSOCKET_TEXT, 126, head), 4);
    assert_memory_equal(head, "\x81\x7e\x00\x7e", 4);
    assert_int_equal(websocket_head(WEBSOCKET_CLOSE, 65536, head), 10);
    assert_memory_equal(head, "\x88\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handshake), cmocka_unit_test(sizes),  cmocka_unit_test(fragments),
        cmocka_unit_test(closing),   cmocka_unit_test(broken), cmocka_unit_test(heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
