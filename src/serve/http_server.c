#include "serve/http_int.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdio.h>

/* ---- a connection's own memory ---- */

static void conn_state_open(struct http_conn *h, struct conn *c)
{
    h->conn = c;
    h->keep_alive = true;
    arena_init(&h->arena, HTTP_ARENA_BYTES_MAX);
    buf_init(&h->body, HTTP_ROWS_BODY_BYTES_MAX);
}

/* Keeps the shard's total of bodies; false when it would pass its bound. */
static bool body_count(struct http_conn *h)
{
    struct http_shard *sh = &http_server_of(h)->shards[shard_index(http_shard_of(h))];
    sh->body_bytes = sh->body_bytes - h->body_counted + h->body.cap;
    h->body_counted = h->body.cap;
    return sh->body_bytes <= HTTP_SHARD_BODY_BYTES_MAX;
}

/* Forgets the present request. Nothing of it is under way. */
static void request_forget(struct http_conn *h)
{
    const struct http_task *task = h->task;
    h->task = NULL;
    if (task != NULL && task->free != NULL)
        task->free(h);
    h->task_state = NULL;
    h->head = NULL;
    h->route = NULL;
    h->answered = h->streaming = h->continue_sent = h->head_only = h->minor_0 = false;
    h->chunked = (struct http_chunked){0};
    buf_deinit(&h->body);
    (void)body_count(h);
    arena_reset(&h->arena, HTTP_ARENA_KEEP_BYTES);
}

static void conn_state_free(struct http_conn *h)
{
    request_forget(h);
    arena_deinit(&h->arena);
}

void http_result_awaited(struct http_conn *h)
{
    h->under_way++;
    conn_hold(h->conn);
}

bool http_result_came(struct http_conn *h)
{
    struct conn *c = h->conn;
    CHECK(h->under_way > 0);
    h->under_way--;
    bool alive = !conn_closed(c);
    /* Close was called already, and left the freeing to the last result. */
    if (h->ended && h->under_way == 0)
        conn_state_free(h);
    conn_release(c);
    return alive;
}

void http_task_begin(struct http_conn *h, const struct http_task *task, void *state)
{
    CHECK(h->task == NULL);
    h->task = task;
    h->task_state = state;
    h->phase = HTTP_PHASE_BUSY;
    conn_pause(h->conn);
}

/* ---- from request to request ---- */

void http_finish(struct http_conn *h)
{
    if (conn_closed(h->conn))
        return;
    bool busy = h->phase == HTTP_PHASE_BUSY || h->phase == HTTP_PHASE_PUSH;
    CHECK(h->under_way == 0 && h->phase != HTTP_PHASE_ROWS);
    if (h->phase == HTTP_PHASE_BODY || busy)
        h->phase = HTTP_PHASE_HEAD;
    if (!h->keep_alive) {
        conn_close_flushed(h->conn);
        return;
    }
    if (busy) {
        request_forget(h);
        conn_resume(h->conn);
    }
}

/* Answers an error found before the body was read, and arranges for the body to be dropped. */
static void refuse_before_body(struct http_conn *h, const struct http_request *r, size_t head_bytes)
{
    conn_consume(h->conn, head_bytes);
    h->phase = r->content_length > 0 ? HTTP_PHASE_DISCARD : HTTP_PHASE_HEAD;
    h->discard_bytes = r->content_length;
}

/* What the head alone decides about keeping the connection after an error. */
static void head_begin(struct http_conn *h, const struct http_request *r)
{
    h->keep_alive = r->keep_alive;
    h->head_only = r->method == HTTP_HEAD;
    h->minor_0 = r->minor == 0;
    atomic_fetch_add_explicit(&http_server_of(h)->requests, 1, memory_order_relaxed);
}

/* ---- bodies ---- */

/* Unpacks a compressed body into h->body. */
static enum err body_unpack(struct http_conn *h, struct str coding, struct str *body,
                            struct err_detail *why)
{
    enum compress_codec codec = str_ieq(coding, STR("zstd")) ? COMPRESS_ZSTD : COMPRESS_GZIP;
    if (codec == COMPRESS_GZIP && !str_ieq(coding, STR("gzip")) && !str_ieq(coding, STR("x-gzip")))
        return err_set(why, ERR_UNSUPPORTED,
                       "Content-Encoding \"%.*s\" is not understood: use gzip, zstd or none",
                       (int)(coding.len < 40 ? coding.len : 40), coding.ptr);
    struct http_shard *sh = &http_server_of(h)->shards[shard_index(http_shard_of(h))];
    if (sh->compress == NULL)
        sh->compress = compress_new();
    if (sh->compress == NULL)
        return ERR_NO_MEMORY;
    struct buf plain;
    buf_init(&plain, h->route->body_bytes_max);
    enum err e = compress_decode(sh->compress, codec, *body, &plain, why);
    if (e == ERR_TOO_LARGE)
        err_set(why, e, "the unpacked body is longer than %zu bytes", h->route->body_bytes_max);
    buf_deinit(&h->body);
    h->body = plain;
    *body = buf_str(&h->body);
    if (e == ERR_OK && !body_count(h))
        return err_set(why, ERR_BUSY, "too many long request bodies at once");
    return e;
}

/* All of the request is there: runs its handler. */
static void call_run(struct http_conn *h, const struct http_request *r, struct str body)
{
    struct err_detail why = {0};
    struct str coding = http_header(r, STR("content-encoding"));
    if (coding.len > 0 && !str_ieq(coding, STR("identity")) && body.len > 0) {
        enum err e = body_unpack(h, coding, &body, &why);
        if (e != ERR_OK) {
            http_respond_error_as(h, e == ERR_UNSUPPORTED ? 415 : err_info(e)->http, NULL, e, &why);
            return;
        }
    }
    struct http_call call = {.request = r, .argument = h->argument, .body = body};
    h->route->handle(h, &call);
}

/* The handler has returned: drops the request's bytes, unless it needs them in its next turn. */
static void call_ran(struct http_conn *h)
{
    if (conn_closed(h->conn) || h->phase == HTTP_PHASE_ROWS)
        return;
    conn_consume(h->conn, h->request_bytes);
    h->request_bytes = 0;
    if (h->phase == HTTP_PHASE_HEAD)
        request_forget(h);
}

static void too_large(struct http_conn *h, const struct http_request *r, size_t head_bytes)
{
    struct err_detail why = {0};
    err_set(&why, ERR_TOO_LARGE, "the body has %llu bytes, the maximum is %zu",
            (unsigned long long)r->content_length, h->route->body_bytes_max);
    err_hint(&why, "Send it in several requests.");
    h->keep_alive &= r->content_length <= HTTP_DISCARD_BYTES_MAX && !r->expect_continue;
    refuse_before_body(h, r, head_bytes);
    http_respond_error(h, ERR_TOO_LARGE, &why);
    if (!conn_closed(h->conn))
        request_forget(h);
}

static void continue_send(struct http_conn *h, const struct http_request *r)
{
    if (r->expect_continue && !h->continue_sent)
        conn_put_str(h->conn, STR("HTTP/1.1 100 Continue\r\n\r\n"));
    h->continue_sent = true;
}

/* A chunked body begins: the head moves into the arena, so that input can be consumed. */
static void chunked_begin(struct http_conn *h, struct str input, size_t head_bytes)
{
    struct str copy = arena_str(&h->arena, (struct str){input.ptr, head_bytes});
    struct http_request *r = arena_alloc(&h->arena, sizeof *r);
    size_t again;
    unsigned status;
    if (copy.ptr == NULL || r == NULL) {
        h->keep_alive = false;
        http_respond_error(h, ERR_NO_MEMORY, NULL);
        return;
    }
    CHECK(http_request_parse(copy, r, &again, &status, NULL) == HTTP_DONE);
    h->head = r;
    h->phase = HTTP_PHASE_BODY;
    h->body.max = h->route->body_bytes_max;
    conn_consume_part(h->conn, head_bytes);
    continue_send(h, r);
}

static void chunked_read(struct http_conn *h)
{
    struct err_detail why = {0};
    enum err e;
    struct str in = conn_input(h->conn);
    size_t n = http_chunked_feed(&h->chunked, in, &h->body, &e, &why);
    if (e == ERR_OK && h->chunked.state != HTTP_CHUNK_END)
        conn_consume_part(h->conn, n);
    else
        conn_consume(h->conn, n);
    if (e == ERR_OK && !body_count(h))
        e = err_set(&why, ERR_BUSY, "too many long request bodies at once");
    if (e != ERR_OK) {
        h->keep_alive = false;
        http_respond_error(h, e, &why);
        return;
    }
    if (h->chunked.state != HTTP_CHUNK_END)
        return;
    h->request_bytes = 0;
    call_run(h, h->head, buf_str(&h->body));
    call_ran(h);
}

/* ---- heads ---- */

static void head_refuse(struct http_conn *h, unsigned status, const struct err_detail *why)
{
    h->keep_alive = false;
    http_respond_error_as(h, status, NULL, status == 501 ? ERR_UNSUPPORTED : ERR_MALFORMED, why);
}

/* Finds the route of a new request; false when it was answered with an error. */
static bool head_route(struct http_conn *h, const struct http_request *r, size_t head_bytes)
{
    head_begin(h, r);
    /* After an error the body is dropped if that is cheap, else the connection ends. */
    bool droppable =
        !r->chunked && !r->expect_continue && r->content_length <= HTTP_DISCARD_BYTES_MAX;
    h->keep_alive = r->keep_alive && droppable;
    h->route = http_route_find(h, r, &h->argument);
    if (h->route != NULL) {
        h->keep_alive = r->keep_alive;
        return true;
    }
    if (!conn_closed(h->conn)) {
        refuse_before_body(h, r, head_bytes);
        request_forget(h);
    }
    return false;
}

/* A head is complete; `input` begins with it. */
static void head_read(struct http_conn *h, const struct http_request *r, struct str input,
                      size_t head_bytes)
{
    if (h->request_bytes == 0 && !head_route(h, r, head_bytes))
        return;
    if (r->chunked) {
        chunked_begin(h, input, head_bytes);
        return;
    }
    if (r->content_length > h->route->body_bytes_max) {
        too_large(h, r, head_bytes);
        return;
    }
    h->head_bytes = head_bytes;
    h->request_bytes = head_bytes + (size_t)r->content_length;
    if (input.len < h->request_bytes) {
        continue_send(h, r);
        conn_want(h->conn, h->request_bytes);
        return;
    }
    call_run(h, r, (struct str){input.ptr + head_bytes, (size_t)r->content_length});
    call_ran(h);
}

static void discard(struct http_conn *h, struct str input)
{
    size_t n = input.len < h->discard_bytes ? input.len : (size_t)h->discard_bytes;
    h->discard_bytes -= n;
    if (h->discard_bytes > 0)
        conn_consume_part(h->conn, n);
    else
        conn_consume(h->conn, n);
    if (h->discard_bytes == 0)
        h->phase = HTTP_PHASE_HEAD;
}

/* Goes on with a body that takes several turns. */
static void rows_timer_fire(struct shard_timer *t)
{
    struct http_conn *h = CONTAINER_OF(t, struct http_conn, rows_timer);
    if (conn_closed(h->conn))
        return;
    struct str input = conn_input(h->conn);
    struct str body = buf_str(&h->body);
    if (h->body.ptr == NULL)
        body = (struct str){input.ptr + h->head_bytes, h->request_bytes - h->head_bytes};
    h->phase = HTTP_PHASE_BUSY;
    http_rows_continue(h, body);
    call_ran(h);
}

void http_rows_pause(struct http_conn *h)
{
    CHECK(h->phase == HTTP_PHASE_BUSY);
    h->phase = HTTP_PHASE_ROWS;
    h->rows_timer.fire = rows_timer_fire;
    if (shard_timer_set(http_shard_of(h), &h->rows_timer, shard_mono_ns(http_shard_of(h))) !=
        ERR_OK)
        conn_close(h->conn);
}

/* One step; false when there is nothing more to do with this input. */
static bool input_step(struct http_conn *h)
{
    struct str input = conn_input(h->conn);
    struct http_request r;
    struct err_detail why = {0};
    size_t head_bytes;
    unsigned status = 400;
    switch (h->phase) {
    case HTTP_PHASE_DISCARD:
        discard(h, input);
        return h->phase == HTTP_PHASE_HEAD;
    case HTTP_PHASE_BODY:
        chunked_read(h);
        return h->phase != HTTP_PHASE_BODY;
    case HTTP_PHASE_PUSH:
        if (h->task->input != NULL)
            h->task->input(h);
        else
            conn_consume(h->conn, input.len);
        return false;
    case HTTP_PHASE_BUSY:
    case HTTP_PHASE_ROWS:
        return false;
    case HTTP_PHASE_HEAD:
        break;
    }
    switch (http_request_parse(input, &r, &head_bytes, &status, &why)) {
    case HTTP_MORE:
        return false;
    case HTTP_BAD:
        head_refuse(h, status, &why);
        return false;
    case HTTP_DONE:
        break;
    }
    head_read(h, &r, input, head_bytes);
    bool waits_for_body = h->phase == HTTP_PHASE_HEAD && h->request_bytes != 0;
    return !waits_for_body;
}

/* ---- callbacks of the connection ---- */

static enum err on_open(struct conn *c)
{
    conn_state_open(conn_state(c), c);
    return ERR_OK;
}

static void on_input(struct conn *c)
{
    struct http_conn *h = conn_state(c);
    while (!conn_closed(c) && conn_input(c).len > 0) {
        /* Pipelining may go on only while answers are taken. */
        if (h->phase == HTTP_PHASE_HEAD && h->request_bytes == 0 && conn_output_full(c)) {
            conn_pause(c);
            return;
        }
        if (!input_step(h))
            return;
    }
}

static void on_drain(struct conn *c)
{
    struct http_conn *h = conn_state(c);
    if (h->phase == HTTP_PHASE_HEAD)
        conn_resume(c);
    else if (h->task != NULL && h->task->drain != NULL)
        h->task->drain(h);
}

/* A client may close its sending side and still read the answer. */
static void on_eof(struct conn *c)
{
    struct http_conn *h = conn_state(c);
    h->keep_alive = false;
    bool answering = h->phase == HTTP_PHASE_BUSY || h->phase == HTTP_PHASE_ROWS;
    if (h->phase == HTTP_PHASE_PUSH)
        conn_close(c);
    else if (!answering)
        conn_close_flushed(c);
}

static void on_close(struct conn *c)
{
    struct http_conn *h = conn_state(c);
    shard_timer_cancel(conn_shard(c), &h->rows_timer);
    if (h->task != NULL && h->task->cancel != NULL)
        h->task->cancel(h);
    /* Only now: a result that cancel made come must not free what cancel still uses. */
    h->ended = true;
    if (h->under_way == 0)
        conn_state_free(h);
}

static size_t on_refuse(enum err why, char *out, size_t max)
{
    unsigned status = why == ERR_FORBIDDEN ? 403 : 503;
    int n = snprintf(
        out, max, "HTTP/1.1 %u %s\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n%s\n",
        status, http_status_text(status),
        why == ERR_FORBIDDEN ? "only loopback addresses may connect unless --insecure is given"
                             : "the maximum of connections is open: try again later");
    return n < 0 || (size_t)n >= max ? 0 : (size_t)n;
}

static void server_free(void *arg)
{
    struct http_server *sv = arg;
    for (uint32_t i = 0; i < sv->n_shards; i++)
        compress_free(sv->shards[i].compress);
    mem_free(sv);
}

static const struct conn_protocol http_protocol = {
    .name = "http",
    .state_bytes = sizeof(struct http_conn),
    .input_bytes_max = HTTP_ROWS_BODY_BYTES_MAX + 2 * HTTP_HEAD_BYTES_MAX + (1 << 20),
    .output_bytes_max = HTTP_OUTPUT_BYTES_MAX,
    .idle_ms_max = HTTP_IDLE_MS,
    .partial_ms_max = HTTP_PARTIAL_MS,
    .stall_ms_max = HTTP_STALL_MS,
    .open = on_open,
    .input = on_input,
    .drain = on_drain,
    .eof = on_eof,
    .close = on_close,
    .refuse = on_refuse,
    .server_free = server_free,
};

enum err http_server_start(struct engine *e, const struct serve_options *options,
                           uint16_t *port_out, struct err_detail *why)
{
    uint32_t n = engine_shards(e);
    struct http_server *sv = mem_zalloc(1, sizeof *sv + n * sizeof sv->shards[0]);
    if (sv == NULL)
        return ERR_NO_MEMORY;
    sv->n_shards = n;
    sv->insecure = options->insecure;
    enum err err = conn_server_start(e, &http_protocol, options->http, options, sv, port_out, why);
    if (err != ERR_OK) {
        server_free(sv);
        return err;
    }
    engine_metric_add(e, "tidemill_http_requests_total", "", "HTTP requests.", true, &sv->requests);
    engine_metric_add(e, "tidemill_http_errors_total", "",
                      "HTTP answers with a status of 400 or more.", true, &sv->errors);
    engine_metric_add(e, "tidemill_http_rows_in_total", "", "Rows taken over HTTP.", true,
                      &sv->rows_in);
    engine_metric_add(e, "tidemill_http_rows_out_total", "", "Rows sent over HTTP.", true,
                      &sv->rows_out);
    engine_metric_add(e, "tidemill_http_push", "", "Open push connections.", false, &sv->pushes);
    return ERR_OK;
}
