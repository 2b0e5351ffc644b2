#include "wire/http.h"

#include "base/check.h"
#include "type/datetime.h"

/* ---- characters ---- */

/* RFC 9110 5.6.2: what a method or a field name is made of. */
static bool is_token_char(unsigned char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
        return true;
    return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_token_char((unsigned char)s.ptr[i]))
            return false;
    return s.len > 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct str trim(struct str s)
{
    while (s.len > 0 && is_blank(s.ptr[0]))
        s = (struct str){s.ptr + 1, s.len - 1};
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

/* Cuts `s` at the first `c`: what is before it; *s becomes what is behind. */
static struct str cut(struct str *s, char c)
{
    if (s->len == 0)
        return *s;
    const char *at = memchr(s->ptr, c, s->len);
    struct str before = {s->ptr, at == NULL ? s->len : (size_t)(at - s->ptr)};
    size_t gone = before.len + (at != NULL);
    *s = (struct str){s->ptr + gone, s->len - gone};
    return before;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ---- heads ---- */

struct head_error {
    unsigned *status;
    struct err_detail *why;
};

static bool bad(struct head_error *e, unsigned status, const char *text)
{
    *e->status = status;
    err_set(e->why, status == 501 ? ERR_UNSUPPORTED : ERR_MALFORMED, "%s", text);
    return false;
}

static enum http_method method_of(struct str s)
{
    static const struct {
        struct str name;
        enum http_method method;
    } methods[] = {
        {{"GET", 3}, HTTP_GET},         {{"HEAD", 4}, HTTP_HEAD},   {{"POST", 4}, HTTP_POST},
        {{"PUT", 3}, HTTP_PUT},         {{"PATCH", 5}, HTTP_PATCH}, {{"DELETE", 6}, HTTP_DELETE},
        {{"OPTIONS", 7}, HTTP_OPTIONS},
    };
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (str_eq(methods[i].name, s))
            return methods[i].method;
    return HTTP_OTHER;
}

/* Splits the target into path and query; takes origin-form, absolute-form and '*'. */
static bool target_parse(struct str target, struct http_request *r, struct head_error *e)
{
    if (target.len > HTTP_TARGET_BYTES_MAX)
        return bad(e, 414, "the request target is longer than 8 KB");
    for (size_t i = 0; i < target.len; i++) {
        unsigned char c = (unsigned char)target.ptr[i];
        if (c <= 0x20 || c >= 0x7f)
            return bad(e, 400, "the request target has a character that must be percent-encoded");
    }
    if (str_starts(target, STR("http://")) || str_starts(target, STR("https://"))) {
        size_t scheme = target.ptr[4] == 's' ? 8 : 7;
        struct str rest = {target.ptr + scheme, target.len - scheme};
        const char *slash = memchr(rest.ptr, '/', rest.len);
        size_t authority = slash == NULL ? rest.len : (size_t)(slash - rest.ptr);
        target = (struct str){rest.ptr + authority, rest.len - authority};
        if (target.len == 0)
            target = STR("/");
    }
    if (target.len == 0 || (target.ptr[0] != '/' && !str_eq(target, STR("*"))))
        return bad(e, 400, "the request target must begin with '/'");
    r->query = target;
    r->path = cut(&r->query, '?');
    return true;
}

static bool request_line_parse(struct str line, struct http_request *r, struct head_error *e)
{
    struct str rest = line;
    r->method_text = cut(&rest, ' ');
    struct str target = cut(&rest, ' ');
    if (!is_token(r->method_text) || target.len == 0 || rest.len == 0)
        return bad(e, 400, "the request line must read: METHOD TARGET HTTP/1.1");
    r->method = method_of(r->method_text);
    if (rest.len != 8 || memcmp(rest.ptr, "HTTP/", 5) != 0 || rest.ptr[6] != '.')
        return bad(e, 400, "the request line must end with HTTP/1.1");
    if (rest.ptr[5] != '1' || (rest.ptr[7] != '0' && rest.ptr[7] != '1'))
        return bad(e, 505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    r->minor = (uint8_t)(rest.ptr[7] - '0');
    return target_parse(target, r, e);
}

static bool header_parse(struct str line, struct http_request *r, struct head_error *e)
{
    if (r->n_headers == HTTP_HEADERS_MAX)
        return bad(e, 431, "more than 64 header fields");
    if (is_blank(line.ptr[0]))
        return bad(e, 400, "folded header lines are not allowed");
    struct str value = line;
    struct str name = cut(&value, ':');
    if (name.len == line.len || !is_token(name))
        return bad(e, 400, "a header line must read: Name: value");
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return bad(e, 400, "a control character in a header");
    }
    r->headers[r->n_headers++] = (struct http_header){name, trim(value)};
    return true;
}

/* Decimal digits only: what str_to_i64 takes besides (signs) is a smuggler's tool. */
static bool length_parse(struct str s, uint64_t *out)
{
    *out = 0;
    if (s.len == 0 || s.len > 18)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    return true;
}

/* How often a header of that name occurs; *value is the last one's. */
static unsigned header_count(const struct http_request *r, struct str name, struct str *value)
{
    unsigned n = 0;
    for (uint32_t i = 0; i < r->n_headers; i++) {
        if (str_ieq(r->headers[i].name, name)) {
            *value = r->headers[i].value;
            n++;
        }
    }
    return n;
}

static bool framing_parse(struct http_request *r, struct head_error *e)
{
    struct str length = {NULL, 0};
    struct str coding = {NULL, 0};
    unsigned lengths = header_count(r, STR("content-length"), &length);
    unsigned codings = header_count(r, STR("transfer-encoding"), &coding);
    if (lengths > 1)
        return bad(e, 400, "more than one Content-Length");
    if (lengths == 1 && codings > 0)
        return bad(e, 400, "both Content-Length and Transfer-Encoding");
    if (lengths == 1 && !length_parse(length, &r->content_length))
        return bad(e, 400, "Content-Length must be a number of bytes");
    if (codings == 0)
        return true;
    if (codings > 1 || r->minor == 0)
        return bad(e, 400, "Transfer-Encoding is not allowed here");
    if (!str_ieq(coding, STR("chunked")))
        return bad(e, 501, "the only Transfer-Encoding understood is: chunked");
    r->chunked = true;
    return true;
}

/* What the headers as a whole say about the message and the connection. */
static bool headers_apply(struct http_request *r, struct head_error *e)
{
    struct str value = {NULL, 0};
    unsigned hosts = header_count(r, STR("host"), &r->host);
    if (hosts > 1 || (hosts == 0 && r->minor == 1))
        return bad(e, 400, "a request must have one Host header");
    if (!framing_parse(r, e))
        return false;
    bool close = false;
    bool keep = false;
    bool upgrade = false;
    for (uint32_t i = 0; i < r->n_headers; i++) {
        if (!str_ieq(r->headers[i].name, STR("connection")))
            continue;
        close |= http_list_has(r->headers[i].value, STR("close"));
        keep |= http_list_has(r->headers[i].value, STR("keep-alive"));
        upgrade |= http_list_has(r->headers[i].value, STR("upgrade"));
    }
    r->keep_alive = !close && (r->minor == 1 || keep);
    r->upgrade_websocket =
        upgrade && http_list_has(http_header(r, STR("upgrade")), STR("websocket"));
    if (header_count(r, STR("expect"), &value) > 0) {
        if (!str_ieq(value, STR("100-continue")))
            return bad(e, 417, "the only expectation understood is: 100-continue");
        r->expect_continue = r->minor == 1;
    }
    return true;
}

/* Takes the line at *at, which must end with CR LF; false when it is not complete. */
static bool line_next(struct str input, size_t *at, struct str *line, bool *bare)
{
    const char *from = input.ptr + *at;
    const char *lf = memchr(from, '\n', input.len - *at);
    if (lf == NULL)
        return false;
    *bare = lf == from || lf[-1] != '\r';
    *line = (struct str){from, (size_t)(lf - from) - !*bare};
    *at += (size_t)(lf - from) + 1;
    return true;
}

enum http_progress http_request_parse(struct str input, struct http_request *out, size_t *consumed,
                                      unsigned *status, struct err_detail *why)
{
    struct head_error e = {status, why};
    struct http_request *r = out;
    size_t at = 0;
    /* A robust server ignores an empty line before a request (RFC 9112, 2.2). */
    while (at + 1 < input.len && at < 8 && input.ptr[at] == '\r' && input.ptr[at + 1] == '\n')
        at += 2;
    *r = (struct http_request){.method = HTTP_OTHER};
    struct str line;
    bool first = true;
    bool bare;
    while (line_next(input, &at, &line, &bare)) {
        if (at > HTTP_HEAD_BYTES_MAX)
            break;
        if (bare)
            return bad(&e, 400, "lines of a request must end with CR LF"), HTTP_BAD;
        if (line.len == 0 && !first) {
            *consumed = at;
            return headers_apply(r, &e) ? HTTP_DONE : HTTP_BAD;
        }
        if (!(first ? request_line_parse(line, r, &e) : header_parse(line, r, &e)))
            return HTTP_BAD;
        first = false;
    }
    if (input.len >= HTTP_HEAD_BYTES_MAX || at > HTTP_HEAD_BYTES_MAX)
        return bad(&e, 431, "the request's head is longer than 16 KB"), HTTP_BAD;
    /* What cannot become a request line is refused before a line end comes. */
    if (first && at < input.len && !is_token_char((unsigned char)input.ptr[at]) &&
        input.ptr[at] != '\r')
        return bad(&e, 400, "this is not HTTP: a request begins with a method such as GET"),
               HTTP_BAD;
    return HTTP_MORE;
}

struct str http_header(const struct http_request *r, struct str name)
{
    for (uint32_t i = 0; i < r->n_headers; i++)
        if (str_ieq(r->headers[i].name, name))
            return r->headers[i].value;
    return (struct str){NULL, 0};
}

bool http_list_has(struct str list, struct str token)
{
    while (list.len > 0) {
        struct str item = cut(&list, ',');
        if (str_ieq(trim(cut(&item, ';')), token))
            return true;
    }
    return false;
}

bool http_accepts(struct str accept_encoding, struct str coding)
{
    while (accept_encoding.len > 0) {
        struct str item = cut(&accept_encoding, ',');
        struct str name = trim(cut(&item, ';'));
        if (!str_ieq(name, coding))
            continue;
        struct str weight = trim(item);
        if (!str_starts(weight, STR("q=0")))
            return true;
        for (size_t i = 3; i < weight.len; i++)
            if (weight.ptr[i] >= '1' && weight.ptr[i] <= '9')
                return true;
        return false;
    }
    return false;
}

/* ---- chunked bodies ---- */

/* One byte outside of the data. False when it may not stand there. */
static bool chunk_byte(struct http_chunked *c, char byte)
{
    switch (c->state) {
    case HTTP_CHUNK_SIZE: {
        int digit = hex_value(byte);
        if (digit >= 0) {
            c->left = c->left * 16 + (uint64_t)digit;
            return ++c->digits <= 15;
        }
        c->state = byte == '\r' ? HTTP_CHUNK_SIZE_LF : HTTP_CHUNK_SIZE_EXT;
        return c->digits > 0 && (byte == '\r' || byte == ';' || is_blank(byte));
    }
    case HTTP_CHUNK_SIZE_EXT:
        if (byte == '\r')
            c->state = HTTP_CHUNK_SIZE_LF;
        return byte != '\n' && ++c->line_bytes < HTTP_CHUNK_LINE_BYTES_MAX;
    case HTTP_CHUNK_SIZE_LF:
        c->state = c->left > 0 ? HTTP_CHUNK_DATA : HTTP_CHUNK_TRAILER;
        c->line_bytes = 0;
        c->line_empty = true;
        return byte == '\n';
    case HTTP_CHUNK_DATA_CR:
        c->state = HTTP_CHUNK_DATA_LF;
        return byte == '\r';
    case HTTP_CHUNK_DATA_LF:
        *c = (struct http_chunked){.state = HTTP_CHUNK_SIZE};
        return byte == '\n';
    case HTTP_CHUNK_TRAILER:
        if (byte == '\r')
            c->state = HTTP_CHUNK_TRAILER_LF;
        else
            c->line_empty = false;
        return byte != '\n' && ++c->line_bytes < HTTP_TRAILER_BYTES_MAX;
    case HTTP_CHUNK_TRAILER_LF:
        c->state = c->line_empty ? HTTP_CHUNK_END : HTTP_CHUNK_TRAILER;
        c->line_empty = true;
        return byte == '\n';
    case HTTP_CHUNK_DATA:
    case HTTP_CHUNK_END:
        break;
    }
    UNREACHABLE();
}

size_t http_chunked_feed(struct http_chunked *c, struct str in, struct buf *out, enum err *err,
                         struct err_detail *why)
{
    size_t i = 0;
    *err = ERR_OK;
    while (i < in.len && c->state != HTTP_CHUNK_END) {
        if (c->state != HTTP_CHUNK_DATA) {
            if (!chunk_byte(c, in.ptr[i])) {
                *err = err_set(why, ERR_MALFORMED, "the chunked body breaks RFC 9112");
                return i;
            }
            i++;
            continue;
        }
        size_t n = in.len - i < c->left ? in.len - i : (size_t)c->left;
        buf_put(out, in.ptr + i, n);
        if (out->failed) {
            *err = err_set(why, ERR_TOO_LARGE, "the body is longer than %zu bytes", out->max);
            return i;
        }
        i += n;
        c->left -= n;
        if (c->left == 0)
            c->state = HTTP_CHUNK_DATA_CR;
    }
    return i;
}

/* ---- targets ---- */

enum err http_percent_decode(struct str s, bool form, struct arena *a, struct str *out)
{
    char *bytes = arena_alloc(a, s.len);
    if (bytes == NULL)
        return ERR_NO_MEMORY;
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '%') {
            int high = s.len - i > 2 ? hex_value(s.ptr[i + 1]) : -1;
            int low = s.len - i > 2 ? hex_value(s.ptr[i + 2]) : -1;
            if (high < 0 || low < 0)
                return ERR_MALFORMED;
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && form) {
            c = ' ';
        }
        bytes[n++] = c;
    }
    *out = (struct str){bytes, n};
    return str_utf8_valid(*out) && (n == 0 || memchr(bytes, 0, n) == NULL) ? ERR_OK : ERR_ENCODING;
}

bool http_query_next(struct str *query, struct str *name, struct str *value)
{
    while (query->len > 0) {
        *value = cut(query, '&');
        if (value->len == 0)
            continue;
        *name = cut(value, '=');
        return true;
    }
    return false;
}

struct str http_host_name(struct str host)
{
    if (host.len > 0 && host.ptr[0] == '[') {
        const char *close = memchr(host.ptr, ']', host.len);
        return close == NULL ? host : (struct str){host.ptr, (size_t)(close - host.ptr) + 1};
    }
    return cut(&host, ':');
}

/* ---- responses ---- */

/* dispatch table */
const char *http_status_text(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } texts[] = {
        {100, "Continue"},
        {101, "Switching Protocols"},
        {200, "OK"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {426, "Upgrade Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (texts[i].status == status)
            return texts[i].text;
    return "";
}

void http_date_write(struct buf *out, int64_t unix_s)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t day = floor_div(unix_s, 86400);
    int32_t s = (int32_t)(unix_s - day * 86400);
    struct civil date = civil_from_days(day);
    buf_printf(out, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + 3 * civil_weekday(day),
               date.day, months + 3 * (date.month - 1), (int)date.year, s / 3600, s / 60 % 60,
               s % 60);
}
