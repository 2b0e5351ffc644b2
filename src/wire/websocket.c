#include "wire/websocket.h"

#include "base/bytes.h"

#include <openssl/evp.h>

enum { KEY_BYTES = 24, SHA1_BYTES = 20 };

/* A frame's head, as far as a client may send it. */
struct frame {
    bool final;
    uint8_t opcode;
    uint64_t len;
    unsigned char mask[4];
    size_t head_len;
};

static struct websocket_event error_event(uint16_t code, const char *text)
{
    return (struct websocket_event){.kind = WEBSOCKET_EVENT_ERROR, .code = code, .text = text};
}

static struct websocket_event more_event(void)
{
    return (struct websocket_event){.kind = WEBSOCKET_EVENT_MORE};
}

/* Parses the head; MORE, ERROR, or FRAGMENT when `f` is filled. */
static struct websocket_event frame_parse(struct str in, struct frame *f)
{
    const unsigned char *p = (const unsigned char *)in.ptr;
    if (in.len < 2)
        return more_event();
    f->final = (p[0] & 0x80) != 0;
    f->opcode = p[0] & 0x0f;
    uint64_t len = p[1] & 0x7f;
    size_t at = 2;
    if ((p[0] & 0x70) != 0)
        return error_event(WEBSOCKET_CODE_PROTOCOL, "reserved bits without an extension");
    if ((p[1] & 0x80) == 0)
        return error_event(WEBSOCKET_CODE_PROTOCOL, "a client's frames must be masked");
    if (f->opcode >= 8 && (len > WEBSOCKET_CONTROL_BYTES_MAX || !f->final))
        return error_event(WEBSOCKET_CODE_PROTOCOL, "a control frame is too long or fragmented");
    if ((f->opcode > 2 && f->opcode < 8) || f->opcode > 10)
        return error_event(WEBSOCKET_CODE_PROTOCOL, "unknown opcode");
    if (len >= 126) {
        size_t wide = len == 126 ? 2 : 8;
        if (in.len < at + wide)
            return more_event();
        len = wide == 2 ? be16_get(p + at) : be64_get(p + at);
        at += wide;
        if (len < (wide == 2 ? 126u : 65536u) || len >> 63 != 0)
            return error_event(WEBSOCKET_CODE_PROTOCOL, "a frame's length is not minimal");
    }
    if (in.len < at + 4)
        return more_event();
    memcpy(f->mask, p + at, 4);
    f->head_len = at + 4;
    f->len = len;
    return (struct websocket_event){.kind = WEBSOCKET_EVENT_FRAGMENT};
}

/* Appends the payload, unmasked. False when it does not fit. */
static bool payload_take(struct buf *out, const char *payload, const struct frame *f)
{
    char *to = f->len > SIZE_MAX / 2 ? NULL : buf_reserve(out, (size_t)f->len);
    if (to == NULL)
        return false;
    for (size_t i = 0; i < f->len; i++)
        to[i] = (char)((unsigned char)payload[i] ^ f->mask[i & 3]);
    out->len += (size_t)f->len;
    return true;
}

/* RFC 6455, 7.4.1 and 7.4.2: codes that may stand in a close frame. */
static bool close_code_valid(uint16_t code)
{
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

static struct websocket_event close_event(struct str payload)
{
    struct websocket_event e = {.kind = WEBSOCKET_EVENT_CLOSE, .code = WEBSOCKET_CODE_NONE};
    if (payload.len == 0)
        return e;
    if (payload.len == 1)
        return error_event(WEBSOCKET_CODE_PROTOCOL, "a close frame with half a code");
    e.code = be16_get(payload.ptr);
    e.payload = (struct str){payload.ptr + 2, payload.len - 2};
    if (!close_code_valid(e.code))
        return error_event(WEBSOCKET_CODE_PROTOCOL, "a close code that must not be sent");
    if (!str_utf8_valid(e.payload))
        return error_event(WEBSOCKET_CODE_NOT_UTF8, "the reason is not valid UTF-8");
    return e;
}

/* A control frame may come between the fragments of a message: its payload goes behind them and is
 * taken off again. */
static struct websocket_event control_event(struct websocket *ws, const struct frame *f,
                                            const char *bytes)
{
    size_t before = ws->message.len;
    if (!payload_take(&ws->message, bytes, f)) {
        ws->message.failed = false;
        return error_event(WEBSOCKET_CODE_TOO_BIG, "no room for the frame");
    }
    struct str payload = {ws->message.ptr + before, (size_t)f->len};
    ws->message.len = before;
    if (f->opcode == WEBSOCKET_CLOSE)
        return close_event(payload);
    return (struct websocket_event){.kind = f->opcode == WEBSOCKET_PING ? WEBSOCKET_EVENT_PING
                                                                        : WEBSOCKET_EVENT_PONG,
                                    .payload = payload};
}

static struct websocket_event data_event(struct websocket *ws, const struct frame *f,
                                         const char *bytes)
{
    if ((f->opcode == WEBSOCKET_CONTINUE) != (ws->opcode != 0))
        return error_event(WEBSOCKET_CODE_PROTOCOL, "fragments of messages are mixed up");
    if (f->opcode != WEBSOCKET_CONTINUE) {
        ws->opcode = f->opcode;
        buf_clear(&ws->message);
    }
    if (!payload_take(&ws->message, bytes, f))
        return error_event(WEBSOCKET_CODE_TOO_BIG, "the message is too long");
    if (!f->final)
        return (struct websocket_event){.kind = WEBSOCKET_EVENT_FRAGMENT};
    struct websocket_event e = {.kind = WEBSOCKET_EVENT_MESSAGE,
                                .opcode = (enum websocket_opcode)ws->opcode,
                                .payload = buf_str(&ws->message)};
    ws->opcode = 0;
    if (e.opcode == WEBSOCKET_TEXT && !str_utf8_valid(e.payload))
        return error_event(WEBSOCKET_CODE_NOT_UTF8, "a text message is not valid UTF-8");
    return e;
}

struct websocket_event websocket_next(struct websocket *ws, struct str input)
{
    struct frame f = {0};
    struct websocket_event e = frame_parse(input, &f);
    if (e.kind != WEBSOCKET_EVENT_FRAGMENT)
        return e;
    /* Refused by what is announced, before memory is spent on it. */
    size_t held = ws->opcode != 0 ? ws->message.len : 0;
    if (f.opcode < 8 && f.len > ws->message.max - held)
        return error_event(WEBSOCKET_CODE_TOO_BIG, "the message is too long");
    if (input.len - f.head_len < f.len)
        return more_event();
    const char *bytes = input.ptr + f.head_len;
    e = f.opcode >= 8 ? control_event(ws, &f, bytes) : data_event(ws, &f, bytes);
    e.consumed = f.head_len + (size_t)f.len;
    return e;
}

size_t websocket_head(enum websocket_opcode opcode, uint64_t payload_len,
                      unsigned char out[WEBSOCKET_HEAD_BYTES_MAX])
{
    out[0] = (unsigned char)(0x80u | (unsigned)opcode);
    if (payload_len < 126) {
        out[1] = (unsigned char)payload_len;
        return 2;
    }
    if (payload_len < 65536) {
        out[1] = 126;
        be16_put(out + 2, (uint16_t)payload_len);
        return 4;
    }
    out[1] = 127;
    be64_put(out + 2, payload_len);
    return 10;
}

enum err websocket_accept(struct str key, char out[WEBSOCKET_ACCEPT_BYTES + 1])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char decoded[KEY_BYTES];
    unsigned char text[KEY_BYTES + sizeof guid];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_len = 0;
    /* 16 bytes are 22 characters and "==". */
    if (key.len != KEY_BYTES || key.ptr[22] != '=' || key.ptr[23] != '=' || key.ptr[21] == '=' ||
        EVP_DecodeBlock(decoded, (const unsigned char *)key.ptr, KEY_BYTES) < 0)
        return ERR_MALFORMED;
    memcpy(text, key.ptr, KEY_BYTES);
    memcpy(text + KEY_BYTES, guid, sizeof guid - 1);
    if (EVP_Digest(text, KEY_BYTES + sizeof guid - 1, digest, &digest_len, EVP_sha1(), NULL) != 1 ||
        digest_len != SHA1_BYTES)
        return ERR_INTERNAL;
    EVP_EncodeBlock((unsigned char *)out, digest, SHA1_BYTES);
    return ERR_OK;
}
