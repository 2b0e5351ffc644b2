/* A client's WebSocket frames from any bytes: memory stays within the message's maximum, and
 * cutting the input anywhere changes nothing. */
#include "base/check.h"
#include "wire/websocket.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGE_MAX = 1000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct websocket ws = {0};
    struct str in = {(const char *)data, size};
    char accept[WEBSOCKET_ACCEPT_BYTES + 1];
    (void)!websocket_accept(in, accept);
    buf_init(&ws.message, MESSAGE_MAX);
    for (;;) {
        /* A frame that lacks its last byte is never taken. */
        struct websocket_event e = websocket_next(&ws, in);
        CHECK(e.consumed <= in.len && ws.message.len <= MESSAGE_MAX);
        if (e.kind == WEBSOCKET_EVENT_MORE) {
            CHECK(e.consumed == 0);
            break;
        }
        if (e.kind == WEBSOCKET_EVENT_ERROR) {
            CHECK(e.code >= 1000 && e.text != NULL);
            break;
        }
        CHECK(e.consumed >= 6);
        if (e.kind == WEBSOCKET_EVENT_MESSAGE && e.opcode == WEBSOCKET_TEXT)
            CHECK(str_utf8_valid(e.payload));
        if (e.kind == WEBSOCKET_EVENT_CLOSE)
            break;
        in = (struct str){in.ptr + e.consumed, in.len - e.consumed};
    }
    buf_deinit(&ws.message);
    return 0;
}
