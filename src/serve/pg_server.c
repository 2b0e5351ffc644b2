#include "serve/pg.h"
#include "serve/pg_int.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>

enum {
    PID_SHARD_SHIFT = 24, /* a session's pid: shard, then a number on that shard */
    PID_SERIAL_MASK = (1 << PID_SHARD_SHIFT) - 1,
    NS_PER_MS = 1000000,
    FLUSH_BYTES_KEPT = 16 << 10, /* capacity of the encode buffer that an idle session keeps */
};

struct pg_server *pg_server_of(struct pg_session *s)
{
    return conn_server_arg(conn_get_server(s->conn));
}

static struct pg_shard *session_shard(struct pg_session *s)
{
    return &pg_server_of(s)->shards[shard_index(conn_shard(s->conn))];
}

/* ---- output ---- */

bool pg_push(struct pg_session *s)
{
    struct buf *b = &s->out;
    if (b->failed) {
        /* A control message did not fit into memory: the stream of messages is broken. */
        conn_close(s->conn);
    }
    while (s->out_at < b->len && !conn_closed(s->conn)) {
        if (conn_output_full(s->conn)) {
            return false;
        }
        size_t left = b->len - s->out_at;
        size_t n = left < PG_SLICE_BYTES ? left : PG_SLICE_BYTES;
        conn_put(s->conn, b->ptr + s->out_at, n);
        s->out_at += n;
    }
    s->out_at = 0;
    if (b->cap > 4 * PG_CHUNK_BYTES || conn_closed(s->conn)) {
        buf_deinit(b);
    }
    buf_clear(b);
    return !conn_closed(s->conn);
}

/* Between commands a session keeps little. */
static void session_settle(struct pg_session *s)
{
    if (pg_push(s) && s->exec.activity == PG_ACTIVITY_NONE && s->out.cap > FLUSH_BYTES_KEPT) {
        buf_deinit(&s->out);
    }
}

/* ---- start-up ---- */

static void put_parameters(struct pg_session *s, struct str user, struct str application)
{
    static const char *const fixed[][2] = {
        {"server_version", "15.0 (Tidemill)"},
        {"server_encoding", "UTF8"},
        {"client_encoding", "UTF8"},
        {"is_superuser", "on"},
        {"DateStyle", "ISO, MDY"},
        {"IntervalStyle", "postgres"},
        {"TimeZone", "UTC"},
        {"integer_datetimes", "on"},
        {"standard_conforming_strings", "on"},
        {"default_transaction_read_only", "off"},
        {"in_hot_standby", "off"},
    };
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        pg_put_parameter(&s->out, fixed[i][0], str_of(fixed[i][1]));
    }
    pg_put_parameter(&s->out, "session_authorization", user);
    pg_put_parameter(&s->out, "application_name", application);
}

/* A key that no other live session of the shard has. */
static void session_list(struct pg_session *s)
{
    struct pg_shard *home = session_shard(s);
    uint32_t shard = shard_index(conn_shard(s->conn));
    home->last_pid = (home->last_pid + 1) & PID_SERIAL_MASK;
    home->last_pid += home->last_pid == 0;
    s->pid = shard << PID_SHARD_SHIFT | home->last_pid;
    host_random(engine_host(shard_engine(conn_shard(s->conn))), &s->secret, sizeof s->secret);
    list_add(&home->sessions, &s->link);
    s->listed = true;
}

/* Answers what a newer client asked for beyond protocol 3.0. */
static void negotiate(struct pg_session *s, const struct pg_startup *m)
{
    struct str rest = m->parameters, name, value;
    uint32_t unknown = 0;
    while (pg_startup_parameter(&rest, &name, &value)) {
        unknown += str_starts(name, STR("_pq_."));
    }
    if (m->minor == 0 && unknown == 0) {
        return;
    }
    size_t mark = pg_begin(&s->out, 'v');
    buf_put_be32(&s->out, 0);
    buf_put_be32(&s->out, unknown);
    rest = m->parameters;
    while (pg_startup_parameter(&rest, &name, &value)) {
        if (str_starts(name, STR("_pq_."))) {
            pg_put_cstr(&s->out, name);
        }
    }
    pg_end(&s->out, mark);
}

static struct pg_report refusal(enum err why)
{
    bool foreign = why == ERR_FORBIDDEN;
    return (struct pg_report){
        .severity = "FATAL",
        .sqlstate = foreign ? "28000" : "53300",
        .message = foreign ? "only loopback addresses may connect unless --insecure is given"
                           : "sorry, too many clients already",
        .hint = foreign ? "Start the server with --insecure to allow others." : NULL,
    };
}

static void session_start(struct pg_session *s, const struct pg_startup *m)
{
    if (conn_refused(s->conn) != ERR_OK) {
        struct pg_report r = refusal(conn_refused(s->conn));
        pg_fatal(s, r.sqlstate, r.message, r.hint);
        return;
    }
    struct str rest = m->parameters, name, value;
    struct str user = {0}, application = STR("");
    bool replication = false;
    while (pg_startup_parameter(&rest, &name, &value)) {
        if (str_eq(name, STR("user"))) {
            user = value;
        } else if (str_eq(name, STR("application_name"))) {
            application = value;
        } else if (str_eq(name, STR("replication"))) {
            replication = !str_ieq(value, STR("false")) && !str_ieq(value, STR("off")) &&
                          !str_ieq(value, STR("no")) && !str_eq(value, STR("0"));
        }
    }
    if (user.len == 0) {
        pg_fatal(s, "28000", "no PostgreSQL user name specified in startup packet",
                 "Any name is accepted.");
        return;
    }
    if (user.len > PG_NAME_BYTES_MAX || application.len > PG_NAME_BYTES_MAX ||
        !str_utf8_valid(user) || !str_utf8_valid(application)) {
        pg_fatal(s, "22023", "user or application name is too long or not UTF-8", NULL);
        return;
    }
    if (replication) {
        pg_fatal(s, "0A000", "replication connections are not offered",
                 "COPY (SELECT ...) TO STDOUT WITH (follow true) streams changes.");
        return;
    }
    shard_timer_cancel(conn_shard(s->conn), &s->startup_timer);
    session_list(s);
    s->started = true;
    negotiate(s, m);
    pg_put_auth_ok(&s->out);
    put_parameters(s, user, application);
    pg_put_key(&s->out, s->pid, s->secret);
    pg_put_ready(&s->out, s->transaction);
}

/* ---- cancel requests ---- */

static void cancel_run(struct shard *target, struct shard_call *call)
{
    struct pg_cancel *m = CONTAINER_OF(call, struct pg_cancel, call);
    struct pg_server *sv = conn_server_arg(conn_get_server(m->conn));
    LIST_FOR (it, &sv->shards[shard_index(target)].sessions) {
        struct pg_session *s = LIST_ENTRY(it, struct pg_session, link);
        if (s->pid == m->pid && s->secret == m->secret) {
            pg_session_cancel(s);
            session_settle(s);
            break;
        }
    }
    shard_call_reply(target, call);
}

static void cancel_done(struct shard *origin, struct shard_call *call)
{
    (void)origin;
    struct pg_cancel *m = CONTAINER_OF(call, struct pg_cancel, call);
    struct conn *c = m->conn;
    conn_close(c);
    conn_release(c);
}

/* The protocol gives no answer to a cancel request, whether it met a session or not. */
static void cancel_start(struct pg_session *s, const struct pg_startup *m)
{
    uint32_t shard = m->pid >> PID_SHARD_SHIFT;
    s->failed = true;
    if (conn_refused(s->conn) != ERR_OK || shard >= engine_shards(pg_server_of(s)->engine)) {
        conn_close(s->conn);
        return;
    }
    s->cancel = (struct pg_cancel){
        .call = {.run = cancel_run, .done = cancel_done},
        .conn = s->conn,
        .pid = m->pid,
        .secret = m->secret,
    };
    conn_hold(s->conn);
    shard_call(conn_shard(s->conn), shard, &s->cancel.call);
}

/* ---- input ---- */

/* One start-up packet. False when there is none, or the connection is done for. */
static bool take_startup(struct pg_session *s)
{
    struct str in = conn_input(s->conn);
    struct err_detail why = {0};
    struct pg_startup m;
    size_t n = 0;
    switch (pg_startup_frame(in, &n)) {
    case PG_FRAME_PART:
        if (n > 0) {
            conn_want(s->conn, n);
        }
        return false;
    case PG_FRAME_BAD:
        pg_fatal(s, "08P01", "invalid length of startup packet",
                 "This port speaks PostgreSQL's protocol; HTTP and Kafka have ports of their own.");
        return false;
    case PG_FRAME_WHOLE:
        break;
    }
    enum err e = pg_startup_decode((struct str){in.ptr, n}, &m, &why);
    if (e != ERR_OK) {
        pg_fatal(s, e == ERR_UNSUPPORTED ? "0A000" : "08P01", why.text, NULL);
        return false;
    }
    switch (m.kind) {
    case PG_STARTUP_SSL:
    case PG_STARTUP_GSSENC:
        buf_put_u8(&s->out, 'N');
        break;
    case PG_STARTUP_CANCEL:
        cancel_start(s, &m);
        return false;
    case PG_STARTUP_SESSION:
        session_start(s, &m);
        break;
    }
    if (!conn_closed(s->conn)) {
        conn_consume(s->conn, n);
    }
    return !s->failed;
}

/* Whether the next message may be taken: nothing is under way, or it wants COPY data; and the
 * client reads what it is sent. */
static bool takes_messages(struct pg_session *s)
{
    bool free = s->exec.activity == PG_ACTIVITY_NONE && !s->simple.active;
    return (free || s->exec.activity == PG_ACTIVITY_COPY_IN) && !s->failed &&
           !conn_closed(s->conn) && s->out.len - s->out_at < PG_CHUNK_BYTES &&
           !conn_output_full(s->conn);
}

/* One message. False when there is no whole one. */
static bool take_message(struct pg_session *s)
{
    struct str in = conn_input(s->conn), body;
    char type = 0;
    size_t n = 0;
    switch (pg_message_frame(in, &type, &body, &n)) {
    case PG_FRAME_PART:
        if (n > 0) {
            conn_want(s->conn, n);
        }
        return false;
    case PG_FRAME_BAD:
        pg_fatal(s, "08P01", "invalid message length",
                 "Messages are at most 16 MB long; send larger data by COPY.");
        return false;
    case PG_FRAME_WHOLE:
        break;
    }
    pg_message(s, type, body);
    if (!conn_closed(s->conn)) {
        conn_consume(s->conn, n);
    }
    return true;
}

static void on_input(struct conn *c)
{
    struct pg_session *s = conn_state(c);
    s->driving = true;
    bool more = true;
    while (more && !s->started && !s->failed) {
        more = take_startup(s);
    }
    while (more && takes_messages(s)) {
        more = take_message(s);
        pg_simple_steps(s);
        if (s->out.len - s->out_at >= PG_CHUNK_BYTES) {
            (void)pg_push(s);
        }
    }
    s->driving = false;
    session_settle(s);
    if (s->started && !conn_closed(c) && !takes_messages(s) && conn_input(c).len > 0) {
        s->paused = true;
        conn_pause(c);
    }
}

void pg_continue(struct pg_session *s)
{
    if (conn_closed(s->conn)) {
        return;
    }
    s->driving = true;
    pg_simple_steps(s);
    s->driving = false;
    session_settle(s);
    if (!takes_messages(s)) {
        return;
    }
    if (s->paused) {
        s->paused = false;
        conn_resume(s->conn);
    } else if (s->eof) {
        conn_close_flushed(s->conn);
    }
}

/* The peer sends no more, but may still read what it has asked for. A stream of changes would never
 * end by itself, so that one does now. */
static void on_eof(struct conn *c)
{
    struct pg_session *s = conn_state(c);
    const struct pg_portal *p = s->exec.source;
    bool busy = s->exec.activity != PG_ACTIVITY_NONE || s->simple.active || s->out.len > s->out_at;
    bool endless = p != NULL && p->plan != NULL && p->plan->follow;
    if (!busy || endless || s->exec.activity == PG_ACTIVITY_COPY_IN) {
        conn_close_flushed(c);
    } else {
        s->eof = true;
    }
}

static void on_drain(struct conn *c)
{
    struct pg_session *s = conn_state(c);
    if (!pg_push(s)) {
        return;
    }
    if (s->exec.activity == PG_ACTIVITY_ROWS) {
        pg_rows_go(s);
        session_settle(s);
    } else {
        pg_continue(s);
    }
}

/* ---- connections ---- */

static void startup_late(struct shard_timer *t)
{
    struct pg_session *s = CONTAINER_OF(t, struct pg_session, startup_timer);
    conn_close(s->conn);
}

static enum err on_open(struct conn *c)
{
    struct pg_session *s = conn_state(c);
    s->conn = c;
    s->transaction = 'I';
    list_init(&s->link);
    list_init(&s->prepared);
    list_init(&s->portals);
    buf_init(&s->out, PG_ROW_BYTES_MAX + PG_SLICE_BYTES);
    s->startup_timer.fire = startup_late;
    int64_t ms = conn_refused(c) == ERR_OK ? PG_STARTUP_MS_MAX : PG_REFUSED_MS_MAX;
    return shard_timer_set(conn_shard(c), &s->startup_timer,
                           shard_mono_ns(conn_shard(c)) + ms * NS_PER_MS);
}

static void on_close(struct conn *c)
{
    pg_session_close(conn_state(c));
}

static size_t on_refuse(enum err why, char *out, size_t max)
{
    struct buf b;
    buf_init(&b, max);
    struct pg_report r = refusal(why);
    pg_put_report(&b, 'E', &r);
    size_t n = b.failed ? 0 : b.len;
    if (n > 0) {
        memcpy(out, b.ptr, n);
    }
    buf_deinit(&b);
    return n;
}

static const struct conn_protocol pg_protocol = {
    .name = "pg",
    .state_bytes = sizeof(struct pg_session),
    .input_bytes_max = PG_MESSAGE_BYTES_MAX + PG_CHUNK_BYTES,
    .output_bytes_max = PG_OUTPUT_BYTES_MAX,
    .idle_ms_max = 0,
    .partial_ms_max = PG_PARTIAL_MS_MAX,
    .stall_ms_max = PG_STALL_MS_MAX,
    .open = on_open,
    .input = on_input,
    .drain = on_drain,
    .eof = on_eof,
    .close = on_close,
    .refuse = on_refuse,
    .tells_refused = true,
    .server_free = mem_free,
};

static void server_metrics(struct pg_server *sv)
{
    engine_metric_add(sv->engine, "tidemill_pg_statements_total", "",
                      "Statements executed over the PostgreSQL protocol.", true, &sv->queries);
    engine_metric_add(sv->engine, "tidemill_pg_errors_total", "",
                      "Errors reported over the PostgreSQL protocol.", true, &sv->errors);
    engine_metric_add(sv->engine, "tidemill_pg_rows_out_total", "",
                      "Rows sent over the PostgreSQL protocol.", true, &sv->rows_out);
    engine_metric_add(sv->engine, "tidemill_pg_rows_in_total", "",
                      "Rows stored by INSERT and COPY.", true, &sv->rows_in);
}

enum err pg_server_start(struct engine *e, const struct serve_options *options, uint16_t *port_out,
                         struct err_detail *why)
{
    struct pg_server *sv = mem_zalloc(1, sizeof *sv);
    if (sv == NULL) {
        return err_set(why, ERR_NO_MEMORY, "out of memory for the PostgreSQL server");
    }
    sv->engine = e;
    for (uint32_t i = 0; i < SHARDS_MAX; i++) {
        list_init(&sv->shards[i].sessions);
    }
    enum err err = conn_server_start(e, &pg_protocol, options->pg, options, sv, port_out, why);
    if (err != ERR_OK) {
        mem_free(sv);
        return err;
    }
    server_metrics(sv);
    return ERR_OK;
}
