/* WebSocket, the server's side (RFC 6455): handshake key, frames, messages. No I/O.
 *
 *   input --websocket_next--> ping, pong, close, whole text/binary messages, or an error code
 *
 * Every frame of a client must be masked; control frames are short and whole; a message has at most
 * `bytes_max` bytes and text is UTF-8. Extensions are not offered. */
#ifndef TIDEMILL_WIRE_WEBSOCKET_H
#define TIDEMILL_WIRE_WEBSOCKET_H

#include "base/err.h"
#include "base/str.h"

enum {
    WEBSOCKET_HEAD_BYTES_MAX = 14,
    WEBSOCKET_CONTROL_BYTES_MAX = 125,
    WEBSOCKET_ACCEPT_BYTES = 28,
};

enum websocket_opcode {
    WEBSOCKET_CONTINUE = 0,
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_BINARY = 2,
    WEBSOCKET_CLOSE = 8,
    WEBSOCKET_PING = 9,
    WEBSOCKET_PONG = 10,
};

/* Close codes (RFC 6455, 7.4.1). */
enum {
    WEBSOCKET_CODE_NORMAL = 1000,
    WEBSOCKET_CODE_GOING_AWAY = 1001,
    WEBSOCKET_CODE_PROTOCOL = 1002,
    WEBSOCKET_CODE_NONE = 1005, /* a close frame without a code; never sent */
    WEBSOCKET_CODE_NOT_UTF8 = 1007,
    WEBSOCKET_CODE_TOO_BIG = 1009,
    WEBSOCKET_CODE_INTERNAL = 1011,
};

/* One connection's reader. Zero-initialise, then buf_init `message` with the largest message;
 * buf_deinit it at the end. */
struct websocket {
    struct buf message; /* what has come of the message, unmasked */
    uint8_t opcode;     /* of the unfinished message; 0 = none */
};

struct websocket_event {
    enum {
        WEBSOCKET_EVENT_MORE,     /* not a whole frame yet: come back with more input */
        WEBSOCKET_EVENT_FRAGMENT, /* a part of a message was taken: call again */
        WEBSOCKET_EVENT_MESSAGE,  /* opcode, payload */
        WEBSOCKET_EVENT_PING,     /* payload: answer with a pong of the same */
        WEBSOCKET_EVENT_PONG,
        WEBSOCKET_EVENT_CLOSE, /* code, payload = reason: answer with a close and end */
        WEBSOCKET_EVENT_ERROR, /* code, text: send a close frame and end */
    } kind;
    enum websocket_opcode opcode;
    uint16_t code;
    const char *text;
    struct str payload; /* borrows from the reader; valid until its next call */
    size_t consumed;    /* bytes of the input that were taken */
};

/* Looks at one frame at the start of `input`. */
struct websocket_event websocket_next(struct websocket *ws, struct str input);

/* Writes a server's frame head (final, unmasked) and returns its length. */
size_t websocket_head(enum websocket_opcode opcode, uint64_t payload_len,
                      unsigned char out[WEBSOCKET_HEAD_BYTES_MAX]);
/* The answer to a client's Sec-WebSocket-Key. ERR_MALFORMED when the key is not 16 bytes in base64,
 * ERR_INTERNAL when SHA-1 is not available. */
enum err websocket_accept(struct str key, char out[WEBSOCKET_ACCEPT_BYTES + 1]) MUST_CHECK;

#endif
