/* Push: GET /v1/views/NAME/changes as server-sent events or over a WebSocket.
 *
 *   PULL --query_pull(follow)--> WAIT --callback--> ROWS --all written--> PULL
 *                                  |                 '- output full: stay, until drain. Nothing is
 *                                  |                    pulled meanwhile: a reader that does not
 *                                  |                    read holds back only itself.
 *                                  '--error, end--> an error event, and the end
 *
 * Both forms carry the same objects; only their framing differs. */
#include "serve/http_int.h"

#include "base/check.h"
#include "wire/websocket.h"

#include <stdio.h>

enum {
    PUSH_MESSAGE_BYTES_MAX = 16 << 10, /* of what a client may send; it has nothing to say */
};

struct push_task {
    struct http_conn *h;
    bool websocket;
    bool no_snapshot; /* rows are held back until the snapshot's end */
    bool snapshot_over;
    bool closing; /* a close frame was sent */
    bool counted; /* in the metric of open pushes */
    struct websocket ws;
    struct plan *plan;
    const struct plan *bound;
    struct query *query;
    struct str *keys;
    struct buf out;     /* framed, to be queued */
    struct buf message; /* one event's object */
    const struct batch *rows;
    uint32_t row;
    uint64_t epoch; /* of the rows; 0: they are a table's */
    bool batch_ends_snapshot;
    enum push_step { PUSH_PULL, PUSH_WAIT, PUSH_ROWS, PUSH_END, PUSH_FAILED } step;
    bool in_pull;
    enum err err;
    struct err_detail why;
    struct shard_timer ping;
};

/* ---- framing ---- */

static void websocket_frame(struct push_task *t, enum websocket_opcode opcode, struct str payload)
{
    unsigned char head[WEBSOCKET_HEAD_BYTES_MAX];
    buf_put(&t->out, head, websocket_head(opcode, payload.len, head));
    buf_put_str(&t->out, payload);
}

/* `"epoch":17`, or nothing, with a comma behind it. */
static void epoch_put(struct push_task *t, const char *comma)
{
    if (t->epoch != 0)
        buf_printf(&t->message, "\"epoch\":%llu%s", (unsigned long long)t->epoch, comma);
}

/* Frames t->message as an event. */
static void event_put(struct push_task *t, const char *event)
{
    if (t->message.failed)
        t->out.failed = true;
    if (t->websocket) {
        websocket_frame(t, WEBSOCKET_TEXT, buf_str(&t->message));
        return;
    }
    buf_printf(&t->out, "event: %s\n", event);
    if (t->epoch != 0)
        buf_printf(&t->out, "id: %llu\n", (unsigned long long)t->epoch);
    buf_put_str(&t->out, STR("data: "));
    buf_put_str(&t->out, buf_str(&t->message));
    buf_put_str(&t->out, STR("\n\n"));
}

static void row_event(struct push_task *t, uint32_t row)
{
    const struct batch *b = t->rows;
    long long weight = b->weights != NULL ? (long long)b->weights[row] : 1;
    buf_clear(&t->message);
    buf_printf(&t->message, "{%s\"weight\":%lld,", t->websocket ? "\"type\":\"row\"," : "", weight);
    epoch_put(t, ",");
    buf_put_str(&t->message, STR("\"row\":"));
    http_row_write(&t->message, b, row, t->keys);
    buf_put_u8(&t->message, '}');
    event_put(t, "row");
}

static void snapshot_event(struct push_task *t)
{
    t->snapshot_over = true;
    buf_clear(&t->message);
    buf_put_str(&t->message, t->websocket ? STR("{\"type\":\"snapshot_end\"") : STR("{"));
    if (t->websocket && t->epoch != 0)
        buf_put_u8(&t->message, ',');
    epoch_put(t, "");
    buf_put_u8(&t->message, '}');
    event_put(t, "snapshot_end");
}

static void error_event(struct push_task *t, enum err e, const struct err_detail *why)
{
    buf_clear(&t->message);
    http_error_write(&t->message, e, why);
    if (t->websocket && t->message.len > 0) {
        struct buf typed;
        buf_init(&typed, PUSH_MESSAGE_BYTES_MAX);
        buf_put_str(&typed, STR("{\"type\":\"error\","));
        buf_put(&typed, t->message.ptr + 1, t->message.len - 1);
        buf_deinit(&t->message);
        t->message = typed;
    }
    event_put(t, "error");
}

/* Queues what was framed; false when the output has no room for more now. */
static bool out_flush(struct push_task *t)
{
    struct http_conn *h = t->h;
    if (t->out.failed) {
        conn_close(h->conn);
        return false;
    }
    if (t->out.len > 0 && t->websocket)
        conn_put_buf(h->conn, &t->out);
    else if (t->out.len > 0)
        http_stream_put(h, &t->out);
    return !conn_output_full(h->conn);
}

/* ---- the end ---- */

static void websocket_close(struct push_task *t, uint16_t code, const char *reason)
{
    char payload[WEBSOCKET_CONTROL_BYTES_MAX];
    payload[0] = (char)(code >> 8);
    payload[1] = (char)code;
    int n = snprintf(payload + 2, sizeof payload - 2, "%s", reason);
    size_t len = n < 0 ? 2 : (size_t)n + 2 < sizeof payload ? (size_t)n + 2 : sizeof payload - 1;
    if (t->closing)
        return;
    t->closing = true;
    websocket_frame(t, WEBSOCKET_CLOSE, (struct str){payload, code == 0 ? 0 : len});
}

/* Everything that will be sent is framed. */
static void push_finish(struct push_task *t)
{
    struct http_conn *h = t->h;
    (void)out_flush(t);
    h->keep_alive &= !t->websocket;
    if (t->websocket)
        http_finish(h);
    else
        http_stream_end(h);
}

static void push_fail(struct push_task *t)
{
    error_event(t, t->err, &t->why);
    if (t->websocket)
        websocket_close(
            t, t->err == ERR_SHUTDOWN ? WEBSOCKET_CODE_GOING_AWAY : WEBSOCKET_CODE_INTERNAL,
            err_info(t->err)->name);
    t->h->keep_alive = false;
    push_finish(t);
}

static void task_cancel(struct http_conn *h)
{
    struct push_task *t = h->task_state;
    if (t->query != NULL)
        query_close(t->query);
    t->query = NULL;
}

static void task_free(struct http_conn *h)
{
    struct push_task *t = h->task_state;
    shard_timer_cancel(http_shard_of(h), &t->ping);
    if (t->query != NULL)
        query_close(t->query);
    t->query = NULL;
    if (t->plan != NULL)
        plan_free(t->plan);
    t->plan = NULL;
    buf_deinit(&t->out);
    buf_deinit(&t->message);
    buf_deinit(&t->ws.message);
    if (t->counted)
        atomic_fetch_sub_explicit(&http_server_of(h)->pushes, 1, memory_order_relaxed);
}

/* ---- rows ---- */

static void push_go(struct http_conn *h);

/* Writes the batch's rows; false when the output is full first. */
static bool rows_write(struct push_task *t)
{
    bool hidden = t->no_snapshot && !t->snapshot_over;
    while (!hidden && t->rows != NULL && t->row < t->rows->n_rows) {
        if (t->out.len >= HTTP_CHUNK_BYTES && !out_flush(t))
            return false;
        row_event(t, t->row);
        t->row++;
        atomic_fetch_add_explicit(&http_server_of(t->h)->rows_out, 1, memory_order_relaxed);
    }
    t->rows = NULL;
    if (t->batch_ends_snapshot)
        snapshot_event(t);
    t->batch_ends_snapshot = false;
    t->step = PUSH_PULL;
    return out_flush(t);
}

static void push_pulled(void *arg, const struct query_result *r)
{
    struct http_conn *h = arg;
    if (!http_result_came(h))
        return;
    struct push_task *t = h->task_state;
    t->rows = r->rows;
    t->row = 0;
    if (r->err != ERR_OK) {
        t->err = r->err;
        t->why = r->why != NULL ? *r->why : (struct err_detail){0};
        t->step = PUSH_FAILED;
    } else if (r->rows == NULL && !r->snapshot_end) {
        t->step = PUSH_END;
    } else {
        t->epoch = r->epoch;
        t->batch_ends_snapshot = r->snapshot_end;
        t->step = PUSH_ROWS;
    }
    if (!t->in_pull)
        push_go(h);
}

static void push_go(struct http_conn *h)
{
    struct push_task *t = h->task_state;
    while (!conn_closed(h->conn) && !t->closing) {
        switch (t->step) {
        case PUSH_PULL:
            http_result_awaited(h);
            t->step = PUSH_WAIT;
            t->in_pull = true;
            query_pull(t->query, push_pulled, h);
            t->in_pull = false;
            break;
        case PUSH_WAIT:
            return;
        case PUSH_ROWS:
            if (!rows_write(t))
                return;
            break;
        case PUSH_END:
            /* The relation was dropped. */
            t->err = err_set(&t->why, ERR_UNDEFINED_TABLE, "the relation is gone");
            t->step = PUSH_FAILED;
            break;
        case PUSH_FAILED:
            push_fail(t);
            return;
        }
    }
}

/* ---- what the client sends, and the keep-alive ---- */

/* Ends the WebSocket with a close frame; the query stops. */
static void websocket_end(struct push_task *t, uint16_t code, const char *reason)
{
    struct http_conn *h = t->h;
    websocket_close(t, code, reason);
    task_cancel(h);
    (void)out_flush(t);
    conn_close_flushed(h->conn);
}

static void task_input(struct http_conn *h)
{
    struct push_task *t = h->task_state;
    if (!t->websocket) {
        conn_consume(h->conn, conn_input(h->conn).len);
        return;
    }
    while (!t->closing && !conn_closed(h->conn)) {
        struct websocket_event e = websocket_next(&t->ws, conn_input(h->conn));
        conn_consume(h->conn, e.consumed);
        switch (e.kind) {
        case WEBSOCKET_EVENT_MORE:
            (void)out_flush(t);
            return;
        case WEBSOCKET_EVENT_FRAGMENT:
        case WEBSOCKET_EVENT_MESSAGE:
        case WEBSOCKET_EVENT_PONG:
            break;
        case WEBSOCKET_EVENT_PING:
            /* A flood of pings that is not read back ends in a full output: stop reading. */
            websocket_frame(t, WEBSOCKET_PONG, e.payload);
            if (!out_flush(t)) {
                conn_pause(h->conn);
                return;
            }
            break;
        case WEBSOCKET_EVENT_CLOSE:
            websocket_end(t, e.code == WEBSOCKET_CODE_NONE ? 0 : e.code, "");
            return;
        case WEBSOCKET_EVENT_ERROR:
            websocket_end(t, e.code, e.text);
            return;
        }
    }
}

static void task_drain(struct http_conn *h)
{
    conn_resume(h->conn);
    push_go(h);
}

static void ping_fire(struct shard_timer *timer)
{
    struct push_task *t = CONTAINER_OF(timer, struct push_task, ping);
    struct http_conn *h = t->h;
    if (conn_closed(h->conn))
        return;
    /* What is queued keeps the connection busy already. */
    if (conn_output_bytes(h->conn) == 0) {
        if (t->websocket)
            websocket_frame(t, WEBSOCKET_PING, STR(""));
        else
            buf_put_str(&t->out, STR(": keep-alive\n\n"));
        (void)out_flush(t);
    }
    struct shard *s = http_shard_of(h);
    if (shard_timer_set(s, timer, shard_mono_ns(s) + HTTP_PUSH_PING_MS * INT64_C(1000000)) !=
        ERR_OK)
        conn_close(h->conn);
}

static const struct http_task push_task_kind = {
    .cancel = task_cancel, .free = task_free, .drain = task_drain, .input = task_input};

/* ---- the beginning ---- */

/* Answers the handshake (RFC 6455, 4.2). */
static enum err websocket_handshake(struct push_task *t, const struct http_request *r,
                                    struct err_detail *why)
{
    char accept[WEBSOCKET_ACCEPT_BYTES + 1];
    if (!str_eq(http_header(r, STR("sec-websocket-version")), STR("13")))
        return err_set(why, ERR_UNSUPPORTED, "Sec-WebSocket-Version must be 13");
    enum err e = websocket_accept(http_header(r, STR("sec-websocket-key")), accept);
    if (e != ERR_OK)
        return err_set(why, e, "Sec-WebSocket-Key must be 16 bytes in base64");
    buf_printf(&t->out,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               "Sec-WebSocket-Accept: %s\r\n\r\n",
               accept);
    buf_init(&t->ws.message, PUSH_MESSAGE_BYTES_MAX);
    t->h->answered = true;
    return ERR_OK;
}

/* ?snapshot=false */
static enum err snapshot_read(const struct http_request *r, bool *no_snapshot,
                              struct err_detail *why)
{
    struct str query = r->query;
    struct str name;
    struct str value;
    while (http_query_next(&query, &name, &value)) {
        if (!str_eq(name, STR("snapshot")))
            continue;
        *no_snapshot = str_eq(value, STR("false"));
        if (!*no_snapshot && !str_eq(value, STR("true")))
            return err_set(why, ERR_INVALID_ARGUMENT, "snapshot must be true or false");
    }
    return ERR_OK;
}

static enum err push_open(struct push_task *t, const struct http_call *call, struct err_detail *why)
{
    struct http_conn *h = t->h;
    TRY(snapshot_read(call->request, &t->no_snapshot, why));
    TRY(http_view_plan(h, call, true, &t->plan, &t->bound, why));
    t->keys = http_column_keys(&h->arena, t->bound->root);
    if (t->keys == NULL)
        return ERR_NO_MEMORY;
    enum err e = query_open(http_shard_of(h), t->bound, true, &t->query, why);
    if (e != ERR_OK) {
        t->query = NULL;
        return e;
    }
    if (t->websocket)
        TRY(websocket_handshake(t, call->request, why));
    struct shard *s = http_shard_of(h);
    t->ping.fire = ping_fire;
    return shard_timer_set(s, &t->ping, shard_mono_ns(s) + HTTP_PUSH_PING_MS * INT64_C(1000000));
}

void http_handle_changes(struct http_conn *h, const struct http_call *call)
{
    struct err_detail why = {0};
    struct push_task *t = arena_zalloc(&h->arena, 1, sizeof *t);
    if (t == NULL) {
        http_respond_error(h, ERR_NO_MEMORY, NULL);
        return;
    }
    t->h = h;
    t->websocket = call->request->upgrade_websocket;
    buf_init(&t->out, HTTP_ANSWER_BYTES_MAX);
    buf_init(&t->message, HTTP_ANSWER_BYTES_MAX);
    http_task_begin(h, &push_task_kind, t);
    enum err e = push_open(t, call, &why);
    if (e != ERR_OK) {
        h->answered = false;
        http_respond_error(h, e, &why);
        return;
    }
    t->counted = true;
    atomic_fetch_add_explicit(&http_server_of(h)->pushes, 1, memory_order_relaxed);
    if (!t->websocket)
        http_stream_begin(h, "text/event-stream",
                          "Cache-Control: no-store\r\nX-Accel-Buffering: no\r\n");
    if (h->head_only) {
        http_stream_end(h);
        return;
    }
    /* Input is read on: a WebSocket's frames, and for both the news that the client is gone. */
    h->phase = HTTP_PHASE_PUSH;
    conn_resume(h->conn);
    (void)out_flush(t);
    push_go(h);
}
