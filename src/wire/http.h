/* HTTP/1.1 messages (RFC 9110, 9112): request heads, bodies, targets, response heads. No I/O.
 *
 * Strict where laxness lets two programs see two different requests (request smuggling): line ends
 * are CR LF, field names are tokens with the colon right behind, no folded lines, one Host, one
 * framing: Content-Length or `chunked`, never both. */
#ifndef TIDEMILL_WIRE_HTTP_H
#define TIDEMILL_WIRE_HTTP_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum {
    HTTP_HEAD_BYTES_MAX = 16 << 10,
    HTTP_HEADERS_MAX = 64,
    HTTP_TARGET_BYTES_MAX = 8 << 10,
    HTTP_CHUNK_LINE_BYTES_MAX = 256, /* a chunk's size with its extensions */
    HTTP_TRAILER_BYTES_MAX = 4 << 10,
};

enum http_method {
    HTTP_GET = 1,
    HTTP_HEAD = 2,
    HTTP_POST = 4,
    HTTP_PUT = 8,
    HTTP_PATCH = 16,
    HTTP_DELETE = 32,
    HTTP_OPTIONS = 64,
    HTTP_OTHER = 128,
};

struct http_header {
    struct str name, value;
};

/* A request's head. Everything borrows from the input it was parsed from. */
struct http_request {
    enum http_method method;
    struct str method_text;
    struct str path;  /* as sent: not percent-decoded */
    struct str query; /* behind '?', as sent */
    uint8_t minor;    /* HTTP/1.minor: 0 or 1 */
    uint32_t n_headers;
    struct http_header headers[HTTP_HEADERS_MAX];
    struct str host;
    bool keep_alive, expect_continue, chunked;
    bool upgrade_websocket;  /* Connection: upgrade and Upgrade: websocket */
    uint64_t content_length; /* 0 when there is none */
};

enum http_progress { HTTP_MORE, HTTP_DONE, HTTP_BAD };

/* Parses a request head at the start of `input`. HTTP_DONE: `out` is filled and *consumed is the
 * head's length with its empty line (and empty lines before it). HTTP_MORE: not all of it is there.
 * HTTP_BAD: *status is the answer's status (400, 414, 431, 501, 505), `why` says what is wrong, and
 * the connection must be closed. */
enum http_progress http_request_parse(struct str input, struct http_request *out, size_t *consumed,
                                      unsigned *status, struct err_detail *why);
/* The value of the first header of that name (any case); ptr is NULL when there is none. */
struct str http_header(const struct http_request *r, struct str name);
/* Whether a comma-separated list has the token (any case); parameters behind ';' are ignored. */
bool http_list_has(struct str list, struct str token);
/* Whether an Accept-Encoding value takes the coding: it is named with a weight other than 0. */
bool http_accepts(struct str accept_encoding, struct str coding);

/* ---- chunked bodies ---- */

/* Zero-initialise. */
struct http_chunked {
    enum {
        HTTP_CHUNK_SIZE,     /* hexadecimal digits */
        HTTP_CHUNK_SIZE_EXT, /* extensions, ignored */
        HTTP_CHUNK_SIZE_LF,
        HTTP_CHUNK_DATA,
        HTTP_CHUNK_DATA_CR,
        HTTP_CHUNK_DATA_LF,
        HTTP_CHUNK_TRAILER,
        HTTP_CHUNK_TRAILER_LF,
        HTTP_CHUNK_END,
    } state;
    uint64_t left;       /* of the chunk's data; while its size is read: the size so far */
    uint32_t line_bytes; /* of the size line, or of all trailers */
    uint32_t digits;
    bool line_empty; /* trailers: nothing on this line yet */
};

/* Takes bytes of a chunked body; data is appended to `out`. Returns how many were taken (all but
 * what follows the body). *err: ERR_MALFORMED with `why`, or ERR_TOO_LARGE when `out` is full. The
 * body is complete when c->state is HTTP_CHUNK_END. */
size_t http_chunked_feed(struct http_chunked *c, struct str in, struct buf *out, enum err *err,
                         struct err_detail *why);

/* ---- targets ---- */

/* Resolves %XX (and '+' as a blank when `form`) into the arena. ERR_MALFORMED for a bad escape,
 * ERR_ENCODING when the result is not UTF-8 or has a NUL, ERR_NO_MEMORY. */
enum err http_percent_decode(struct str s, bool form, struct arena *a, struct str *out) MUST_CHECK;
/* Takes the next name=value off a query string, both still encoded. False at the end. */
bool http_query_next(struct str *query, struct str *name, struct str *value);
/* The host part of a Host header's value or of an origin's authority, without the port; [::1]
 * keeps its brackets. */
struct str http_host_name(struct str host);

/* ---- responses ---- */

/* "Not Found" and so on; "" for unknown ones. */
const char *http_status_text(unsigned status);
/* Appends "Sun, 06 Nov 1994 08:49:37 GMT". */
void http_date_write(struct buf *out, int64_t unix_s);

#endif
