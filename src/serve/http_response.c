#include "serve/http_int.h"

#include "wire/json.h"

#include <stdio.h>

enum { HEAD_BYTES_MAX = 2048, ERROR_BYTES_MAX = 16 << 10 };

static struct str lit(const char *z)
{
    return str_of(z == NULL ? "" : z);
}

/* Queues status line and headers. `length` < 0: chunked, or up to the end of the connection for
 * HTTP/1.0. */
static void head_put(struct http_conn *h, unsigned status, const char *content_type,
                     const char *more_headers, int64_t length)
{
    struct buf head;
    buf_init(&head, HEAD_BYTES_MAX);
    bool chunked = length < 0 && !h->minor_0;
    h->keep_alive &= length >= 0 || chunked;
    buf_printf(&head, "HTTP/1.1 %u %s\r\nDate: ", status, http_status_text(status));
    http_date_write(&head, shard_wall_us(http_shard_of(h)) / 1000000);
    buf_put_str(&head, STR("\r\nX-Content-Type-Options: nosniff\r\n"));
    if (content_type != NULL)
        buf_printf(&head, "Content-Type: %s\r\n", content_type);
    if (chunked)
        buf_put_str(&head, STR("Transfer-Encoding: chunked\r\n"));
    else if (length >= 0 && status != 304)
        buf_printf(&head, "Content-Length: %lld\r\n", (long long)length);
    if (more_headers != NULL)
        buf_put_str(&head, lit(more_headers));
    else
        buf_put_str(&head, STR("Cache-Control: no-store\r\n"));
    if (!h->keep_alive)
        buf_put_str(&head, STR("Connection: close\r\n"));
    else if (h->minor_0)
        buf_put_str(&head, STR("Connection: keep-alive\r\n"));
    buf_put_str(&head, STR("\r\n"));
    h->answered = true;
    if (status >= 400)
        atomic_fetch_add_explicit(&http_server_of(h)->errors, 1, memory_order_relaxed);
    if (head.failed)
        conn_close(h->conn);
    else
        conn_put(h->conn, head.ptr, head.len);
    buf_deinit(&head);
}

void http_respond(struct http_conn *h, unsigned status, const char *content_type,
                  const char *more_headers, struct str body)
{
    head_put(h, status, content_type, more_headers, (int64_t)body.len);
    if (!h->head_only && body.len > 0)
        conn_put_str(h->conn, body);
    http_finish(h);
}

void http_respond_buf(struct http_conn *h, unsigned status, const char *content_type,
                      const char *more_headers, struct buf *body)
{
    if (body->failed) {
        buf_deinit(body);
        http_respond_error(h, ERR_NO_MEMORY, NULL);
        return;
    }
    head_put(h, status, content_type, more_headers, (int64_t)body->len);
    if (!h->head_only && body->len > 0)
        conn_put_buf(h->conn, body);
    buf_deinit(body);
    http_finish(h);
}

void http_respond_json(struct http_conn *h, unsigned status, struct buf *body)
{
    http_respond_buf(h, status, "application/json", NULL, body);
}

void http_respond_static(struct http_conn *h, const char *content_type, const char *more_headers,
                         struct str body)
{
    head_put(h, 200, content_type, more_headers, (int64_t)body.len);
    if (!h->head_only)
        conn_put_static(h->conn, body.ptr, body.len);
    http_finish(h);
}

/* ---- errors ---- */

void http_error_write(struct buf *out, enum err e, const struct err_detail *why)
{
    const struct err_info *info = err_info(e);
    buf_printf(out, "{\"error\":{\"code\":\"%s\",\"sqlstate\":\"%s\",\"message\":", info->name,
               info->sqlstate);
    json_write_string(out, lit(err_text(e, why)));
    if (why != NULL && why->hint[0] != '\0') {
        buf_put_str(out, STR(",\"hint\":"));
        json_write_string(out, lit(why->hint));
    }
    if (why != NULL && why->line > 0)
        buf_printf(out, ",\"line\":%d,\"column\":%d", why->line, why->column);
    if (why != NULL && why->position > 0)
        buf_printf(out, ",\"position\":%d", why->position);
    buf_put_str(out, STR("}}"));
}

void http_respond_error_as(struct http_conn *h, unsigned status, const char *more_headers,
                           enum err e, const struct err_detail *why)
{
    struct buf body;
    buf_init(&body, ERROR_BYTES_MAX);
    http_error_write(&body, e, why);
    buf_put_u8(&body, '\n');
    if (body.failed) {
        /* Not even the error fits into memory: say so with what is there already. */
        buf_deinit(&body);
        http_respond(h, 503, "application/json", NULL,
                     STR("{\"error\":{\"code\":\"no_memory\",\"sqlstate\":\"53200\","
                         "\"message\":\"out of memory\"}}\n"));
        return;
    }
    http_respond_buf(h, status, "application/json", more_headers, &body);
}

void http_respond_error(struct http_conn *h, enum err e, const struct err_detail *why)
{
    /* A maximum that a request passed (nesting, conditions) is the request's fault: again is no
     * better. */
    unsigned status = e == ERR_LIMIT ? 400 : err_info(e)->http;
    bool retry = status == 429 || status == 503;
    http_respond_error_as(h, status, retry ? "Retry-After: 1\r\nCache-Control: no-store\r\n" : NULL,
                          e, why);
}

/* ---- streamed answers ---- */

void http_stream_begin(struct http_conn *h, const char *content_type, const char *more_headers)
{
    head_put(h, 200, content_type, more_headers, -1);
    h->streaming = true;
}

void http_stream_put(struct http_conn *h, struct buf *piece)
{
    if (piece->failed) {
        buf_deinit(piece);
        conn_close(h->conn);
        return;
    }
    if (piece->len == 0 || h->head_only) {
        buf_clear(piece);
        return;
    }
    if (!h->minor_0) {
        char size[24];
        int n = snprintf(size, sizeof size, "%zx\r\n", piece->len);
        conn_put(h->conn, size, (size_t)n);
    }
    conn_put_buf(h->conn, piece);
    if (!h->minor_0)
        conn_put_str(h->conn, STR("\r\n"));
}

void http_stream_end(struct http_conn *h)
{
    if (!h->minor_0 && !h->head_only)
        conn_put_str(h->conn, STR("0\r\n\r\n"));
    http_finish(h);
}

void http_stream_break(struct http_conn *h)
{
    h->keep_alive = false;
    http_finish(h);
}
