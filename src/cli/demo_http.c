/* An HTTP client for one worker: a request at a time on each connection, answers with a length or
 * in chunks, and answers that never end.
 *
 *   IDLE --request--> HEAD --Content-Length--> LENGTH --all of it--> ANSWERED --request--> ...
 *                      '-----chunked---------> CHUNKS --last chunk------^
 */
#include "cli/demo_int.h"
#include "wire/json.h"

#include <stdio.h>

enum { RECV_BYTES = 64 << 10, EVENTS = 8 };

static enum err watch(struct demo_conn *c)
{
    uint32_t interest = HOST_READABLE | (c->out.len > 0 ? HOST_WRITABLE : 0);
    return host_watch(c->worker, c->socket, interest, c);
}

enum err demo_conn_open(struct demo_conn *c, struct host *h, struct host_worker *w,
                        const char *address, struct err_detail *why)
{
    *c = (struct demo_conn){.host = h, .worker = w};
    buf_init(&c->in, DEMO_INPUT_BYTES_MAX);
    buf_init(&c->out, DEMO_REQUEST_BYTES_MAX);
    buf_init(&c->body, DEMO_ANSWER_BYTES_MAX);
    TRY(host_connect(h, address, &c->socket, why));
    return watch(c);
}

void demo_conn_close(struct demo_conn *c)
{
    host_socket_close(c->socket);
    c->socket = NULL;
    buf_deinit(&c->in);
    buf_deinit(&c->out);
    buf_deinit(&c->body);
}

enum err demo_conn_request(struct demo_conn *c, const char *method, const char *path,
                           struct str body, struct err_detail *why)
{
    buf_printf(&c->out,
               "%s %s HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: %zu\r\n\r\n",
               method, path, body.len);
    buf_put_str(&c->out, body);
    buf_clear(&c->body);
    c->state = DEMO_HEAD;
    if (c->out.failed)
        return err_set(why, ERR_TOO_LARGE, "%s %s: a request has at most %d bytes", method, path,
                       DEMO_REQUEST_BYTES_MAX);
    return watch(c);
}

static enum err conn_fail(struct demo_conn *c, enum err e, const char *text)
{
    if (c->err == ERR_OK)
        c->err = err_set(&c->why, e, "%s", text);
    return c->err;
}

/* The value of a header in a head that ends with an empty line. */
static bool header_value(struct str head, struct str name, struct str *out)
{
    for (size_t at = 0; at < head.len;) {
        const char *line = head.ptr + at;
        const char *end = memchr(line, '\n', head.len - at);
        size_t len = end == NULL ? head.len - at : (size_t)(end - line);
        if (len > name.len && line[name.len] == ':' &&
            str_ieq((struct str){line, name.len}, name)) {
            struct str v = {line + name.len + 1, len - name.len - 1};
            for (; v.len > 0 && v.ptr[0] == ' '; v.ptr++)
                v.len--;
            for (; v.len > 0 && (v.ptr[v.len - 1] == '\r' || v.ptr[v.len - 1] == ' ');)
                v.len--;
            *out = v;
            return true;
        }
        at += len + 1;
    }
    return false;
}

/* "HTTP/1.1 200 OK" and the body's framing. False while the head is incomplete. */
static bool head_take(struct demo_conn *c)
{
    const struct str status_line = STR("HTTP/1.1 200");
    const char *end = c->in.len == 0 ? NULL : memmem(c->in.ptr, c->in.len, "\r\n\r\n", 4);
    if (end == NULL)
        return false;
    struct str head = {c->in.ptr, (size_t)(end - c->in.ptr) + 4}, value;
    int64_t status = 0, length = 0;
    if (head.len < status_line.len ||
        str_to_i64((struct str){head.ptr + 9, 3}, &status) != ERR_OK || status < 100) {
        (void)conn_fail(c, ERR_MALFORMED, "the server's answer is not HTTP");
        return false;
    }
    c->status = (unsigned)status;
    c->chunks = (struct http_chunked){0};
    c->state = DEMO_CHUNKS;
    if (!header_value(head, STR("Transfer-Encoding"), &value)) {
        if (header_value(head, STR("Content-Length"), &value) &&
            (str_to_i64(value, &length) != ERR_OK || length < 0))
            (void)conn_fail(c, ERR_MALFORMED, "the server's answer has a bad Content-Length");
        c->left = (uint64_t)length;
        c->state = DEMO_LENGTH;
    }
    buf_consume(&c->in, head.len);
    return true;
}

/* Takes apart what was received. */
static void advance(struct demo_conn *c)
{
    if (c->state == DEMO_HEAD && !head_take(c))
        return;
    if (c->state == DEMO_LENGTH) {
        size_t n = c->left < c->in.len ? (size_t)c->left : c->in.len;
        buf_put(&c->body, c->in.ptr, n);
        buf_consume(&c->in, n);
        c->left -= n;
        if (c->left == 0)
            c->state = DEMO_ANSWERED;
    } else if (c->state == DEMO_CHUNKS) {
        struct err_detail why = {0};
        enum err e = ERR_OK;
        size_t n = http_chunked_feed(&c->chunks, buf_str(&c->in), &c->body, &e, &why);
        if (e != ERR_OK)
            (void)conn_fail(c, e, err_text(e, &why));
        buf_consume(&c->in, n);
        if (c->chunks.state == HTTP_CHUNK_END)
            c->state = DEMO_ANSWERED;
    }
    if (c->body.failed)
        (void)conn_fail(c, ERR_TOO_LARGE, "the server's answer is too long");
}

static void receive(struct demo_conn *c)
{
    char *room = buf_reserve(&c->in, RECV_BYTES);
    if (room == NULL) {
        (void)conn_fail(c, ERR_LIMIT, "the server's answer has a head that is too long");
        return;
    }
    ptrdiff_t n = host_recv(c->socket, room, RECV_BYTES);
    if (n == 0 || n == -2)
        (void)conn_fail(c, ERR_CLOSED, "the server closed the connection");
    if (n > 0) {
        c->in.len += (size_t)n;
        advance(c);
    }
}

static void transmit(struct demo_conn *c)
{
    ptrdiff_t n = host_send(c->socket, c->out.ptr, c->out.len);
    if (n == -2)
        (void)conn_fail(c, ERR_CLOSED, "the server closed the connection");
    if (n > 0)
        buf_consume(&c->out, (size_t)n);
    if (c->err == ERR_OK && c->out.len == 0 && watch(c) != ERR_OK)
        (void)conn_fail(c, ERR_NO_MEMORY, "out of memory");
}

enum err demo_wait(struct host *h, struct host_worker *w, int64_t deadline_ns)
{
    if (host_stop_requested(h))
        return ERR_SHUTDOWN;
    struct host_event events[EVENTS];
    size_t n = host_poll(w, events, EVENTS, deadline_ns);
    for (size_t i = 0; i < n; i++) {
        struct demo_conn *c = events[i].tag;
        if (c->err == ERR_OK && (events[i].ready & HOST_WRITABLE) != 0 && c->out.len > 0)
            transmit(c);
        if (c->err == ERR_OK && (events[i].ready & (HOST_READABLE | HOST_HANGUP)) != 0)
            receive(c);
    }
    return host_stop_requested(h) ? ERR_SHUTDOWN : ERR_OK;
}

/* Copies a member of the error, with escapes as they are but for quotes. */
static void member_copy(const struct json_value *error, struct str name, char *out, size_t max)
{
    struct json_value v;
    struct arena a;
    arena_init(&a, DEMO_ANSWER_BYTES_MAX);
    if (json_member(error, name, &v) && v.kind == JSON_STRING) {
        struct str s = json_string(&v, &a);
        snprintf(out, max, "%.*s", STR_ARG(s));
    }
    arena_deinit(&a);
}

enum err demo_answer_error(const struct demo_conn *c, struct err_detail *why)
{
    struct json_value document, error, position;
    err_set(why, ERR_IO, "the server answered with status %u", c->status);
    if (json_read(buf_str(&c->body), &document, NULL) == ERR_OK &&
        json_member(&document, STR("error"), &error)) {
        member_copy(&error, STR("message"), why->text, sizeof why->text);
        member_copy(&error, STR("hint"), why->hint, sizeof why->hint);
        int64_t at = 0;
        if (json_member(&error, STR("position"), &position) &&
            str_to_i64(position.text, &at) == ERR_OK)
            why->position = (int32_t)at;
    }
    return ERR_IO;
}
