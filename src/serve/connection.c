#include "serve/connection_int.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdio.h>

/* A connection's life. Every arrow to CLOSING ends in `close` being called once, in a service turn.
 *
 *              conn_close_flushed                all sent | linger over | broken
 *   OPEN -------------------------> FLUSHING ------------------------------------> CLOSING --> GONE
 *     \____________ conn_close | peer gone | time-out | bound exceeded ______________^           |
 * last release freed     */

#define NS_PER_MS INT64_C(1000000)

void *conn_server_arg(const struct conn_server *sv)
{
    return sv->arg;
}
bool conn_server_insecure(const struct conn_server *sv)
{
    return sv->insecure;
}
uint32_t conn_server_count(const struct conn_server *sv)
{
    return (uint32_t)atomic_load_explicit(&sv->n_open, memory_order_relaxed);
}
enum err conn_refused(const struct conn *c)
{
    return c->refused;
}

/* A socket has become a connection, or is none any more. */
static void opened(struct conn_server *sv, enum err refused, int change)
{
    if (refused == ERR_OK)
        atomic_fetch_add_explicit(&sv->n_open, (uint64_t)change, memory_order_relaxed);
    else
        atomic_fetch_add_explicit(&sv->n_told, (uint32_t)change, memory_order_relaxed);
}

void *conn_state(struct conn *c)
{
    return c->state;
}
struct conn *conn_of_state(void *state)
{
    return CONTAINER_OF(state, struct conn, state);
}
struct shard *conn_shard(struct conn *c)
{
    return c->home->shard;
}
struct conn_server *conn_get_server(struct conn *c)
{
    return c->server;
}
const char *conn_peer(const struct conn *c)
{
    return c->peer;
}
const char *conn_local(const struct conn *c)
{
    return c->local;
}
bool conn_closed(const struct conn *c)
{
    return c->phase != CONN_OPEN;
}
int64_t conn_now(const struct conn *c)
{
    return shard_mono_ns(c->home->shard);
}

static void server_unref(struct conn_server *sv)
{
    if (atomic_fetch_sub_explicit(&sv->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (sv->protocol->server_free != NULL)
        sv->protocol->server_free(sv->arg);
    for (uint32_t i = 0; i < sv->n_shards; i++)
        conn_pool_free(&sv->shards[i]);
    mem_free(sv);
}

void conn_schedule(struct conn *c)
{
    struct conn_shard *sh = c->home;
    if (!list_empty(&c->work))
        return;
    /* Whoever runs behind the services in this turn would otherwise wait for the next event. */
    if (!sh->serving && list_empty(&sh->work) && sh->served_ns == shard_mono_ns(sh->shard))
        host_worker_wake(shard_worker(sh->shard));
    list_add(&sh->work, &c->work);
}

void conn_watch(struct conn *c)
{
    if (c->phase == CONN_GONE)
        return;
    uint32_t interest = 0;
    if (c->phase == CONN_OPEN && !c->paused && !c->eof && list_empty(&c->starved))
        interest |= HOST_READABLE;
    if (c->n_pieces > 0 && c->write_blocked)
        interest |= HOST_WRITABLE;
    if (interest == c->interest)
        return;
    if (shard_watch(c->home->shard, c->sock, interest, &c->io) != ERR_OK) {
        conn_close(c);
        return;
    }
    c->interest = interest;
}

/* ---- ending ---- */

void conn_close(struct conn *c)
{
    if (c->phase >= CONN_CLOSING)
        return;
    c->phase = CONN_CLOSING;
    conn_schedule(c);
}

void conn_close_flushed(struct conn *c)
{
    if (c->phase != CONN_OPEN)
        return;
    c->phase = CONN_FLUSHING;
    c->flushing_ns = conn_now(c);
    conn_timer_within(c, CONN_LINGER_MS);
    conn_schedule(c);
}

void conn_hold(struct conn *c)
{
    c->holds++;
}

static void conn_free(struct conn *c)
{
    struct conn_server *sv = c->server;
    mem_free(c->pieces);
    mem_free(c);
    server_unref(sv);
}

void conn_release(struct conn *c)
{
    CHECK(c->holds > 0);
    if (--c->holds == 0) {
        c->active_ns = conn_now(c);
        if (c->phase == CONN_GONE)
            conn_free(c);
    }
}

/* CLOSING -> GONE. */
static void conn_end(struct conn *c)
{
    struct conn_shard *sh = c->home;
    c->phase = CONN_GONE;
    list_remove(&c->work);
    list_remove(&c->starved);
    list_remove(&c->link);
    shard_timer_cancel(sh->shard, &c->timer);
    shard_unwatch(sh->shard, &c->io);
    host_socket_close(c->sock);
    c->sock = NULL;
    opened(c->server, c->refused, -1);
    conn_hold(c);
    if (c->server->protocol->close != NULL)
        c->server->protocol->close(c);
    conn_input_free(c);
    conn_output_free(c);
    conn_release(c);
}

/* ---- time-outs ---- */

void conn_timer_within(struct conn *c, int64_t ms)
{
    int64_t at = conn_now(c) + ms * NS_PER_MS;
    if (c->phase >= CONN_CLOSING || (c->timer.heap_index != 0 && c->timer.at_ns <= at))
        return;
    if (shard_timer_set(c->home->shard, &c->timer, at) != ERR_OK)
        conn_close(c);
}

/* When the connection must be looked at again; a moment that has come means: close it. */
static int64_t conn_deadline(const struct conn *c)
{
    const struct conn_protocol *p = c->server->protocol;
    int64_t now = conn_now(c), at = INT64_MAX;
    if (c->phase == CONN_FLUSHING)
        at = c->flushing_ns + CONN_LINGER_MS * NS_PER_MS;
    if (p->stall_ms_max > 0 && c->n_pieces > 0 && c->sent_ns + p->stall_ms_max * NS_PER_MS < at)
        at = c->sent_ns + p->stall_ms_max * NS_PER_MS;
    bool waits_for_peer =
        (c->fill > c->at || c->unfinished) && !c->paused && list_empty(&c->starved);
    if (p->partial_ms_max > 0 && waits_for_peer &&
        c->partial_ns + p->partial_ms_max * NS_PER_MS < at)
        at = c->partial_ns + p->partial_ms_max * NS_PER_MS;
    if (p->idle_ms_max > 0) {
        bool idle = c->holds == 0 && c->n_pieces == 0;
        int64_t idle_at = (idle ? c->active_ns : now) + p->idle_ms_max * NS_PER_MS;
        if (idle_at < at)
            at = idle_at;
    }
    return at;
}

static void conn_timer_fire(struct shard_timer *t)
{
    struct conn *c = CONTAINER_OF(t, struct conn, timer);
    int64_t at = conn_deadline(c);
    if (at <= conn_now(c))
        conn_close(c);
    else if (at != INT64_MAX && shard_timer_set(c->home->shard, t, at) != ERR_OK)
        conn_close(c);
}

/* ---- the service: once per turn ---- */

static void conn_ready(struct shard_io *io, uint32_t ready)
{
    struct conn *c = CONTAINER_OF(io, struct conn, io);
    if (c->phase >= CONN_CLOSING)
        return;
    if ((ready & HOST_WRITABLE) != 0) {
        c->write_blocked = false;
        conn_schedule(c);
    }
    if ((ready & HOST_READABLE) != 0 && (c->interest & HOST_READABLE) != 0)
        conn_read(c);
    else if ((ready & HOST_HANGUP) != 0)
        conn_close(c);
}

static void conn_serve(struct conn *c)
{
    const struct conn_protocol *p = c->server->protocol;
    if (c->phase == CONN_OPEN && c->input_due) {
        conn_input_run(c);
        conn_input_trim(c);
    }
    if (c->phase < CONN_CLOSING && !c->write_blocked)
        conn_flush(c);
    if (c->phase == CONN_OPEN && c->was_full && !conn_output_full(c) &&
        c->out_bytes < p->output_bytes_max / 4) {
        c->was_full = false;
        if (p->drain != NULL)
            p->drain(c);
        if (c->n_pieces > 0 && !c->write_blocked)
            conn_schedule(c);
    }
    if (c->phase == CONN_FLUSHING && c->n_pieces == 0)
        c->phase = CONN_CLOSING;
    if (c->phase == CONN_CLOSING)
        conn_end(c);
    else
        conn_watch(c);
}

static void service_turn(struct shard_service *service, struct shard *s)
{
    struct conn_shard *sh = CONTAINER_OF(service, struct conn_shard, service);
    struct conn_server *sv = sh->server;
    if (shard_index(s) == 0 && !sv->listening && !sh->stopped) {
        sv->listening = true;
        for (uint32_t i = 0; i < sv->n_listeners; i++)
            if (shard_watch(s, sv->listeners[i].sock, HOST_READABLE, &sv->listeners[i].io) !=
                ERR_OK)
                engine_note(sv->engine, "error", "%s: cannot watch the listening socket",
                            sv->protocol->name);
    }
    sh->served_ns = shard_mono_ns(s);
    sh->serving = true;
    for (uint32_t pass = 0; pass < CONN_PASSES_PER_TURN; pass++) {
        if (sh->retry_starved)
            conn_starved_retry(sh);
        if (list_empty(&sh->work))
            break;
        struct list round;
        list_init(&round);
        round.next = sh->work.next;
        round.prev = sh->work.prev;
        round.next->prev = round.prev->next = &round;
        list_init(&sh->work);
        while (!list_empty(&round)) {
            struct conn *c = LIST_ENTRY(round.next, struct conn, work);
            list_remove(&c->work);
            conn_serve(c);
        }
    }
    sh->serving = false;
    if (!list_empty(&sh->work))
        host_worker_wake(shard_worker(s));
}

static void service_stop(struct shard_service *service, struct shard *s)
{
    struct conn_shard *sh = CONTAINER_OF(service, struct conn_shard, service);
    struct conn_server *sv = sh->server;
    sh->stopped = true;
    for (uint32_t i = 0; i < sv->n_listeners && shard_index(s) == 0; i++) {
        shard_timer_cancel(s, &sv->listeners[i].timer);
        shard_unwatch(s, &sv->listeners[i].io);
        host_socket_close(sv->listeners[i].sock);
    }
    while (!list_empty(&sh->conns)) {
        struct conn *c = LIST_ENTRY(sh->conns.next, struct conn, link);
        if (!c->write_blocked)
            conn_flush(c);
        conn_end(c);
    }
    list_remove(&service->link);
    server_unref(sv);
}

/* ---- arriving ---- */

/* A socket on its way from shard 0 to the shard that will own it. */
struct handover {
    struct shard_call call;
    struct conn_server *server;
    struct host_socket *sock;
    enum err refused;
    char peer[HOST_ADDRESS_MAX], local[HOST_ADDRESS_MAX];
};

static struct conn *conn_new(struct conn_shard *sh, const struct handover *h)
{
    const struct conn_protocol *p = sh->server->protocol;
    struct conn *c = mem_zalloc(1, sizeof *c + p->state_bytes);
    if (c == NULL)
        return NULL;
    c->io.ready = conn_ready;
    c->timer.fire = conn_timer_fire;
    c->server = sh->server;
    c->home = sh;
    c->sock = h->sock;
    c->refused = h->refused;
    list_init(&c->work);
    list_init(&c->starved);
    memcpy(c->peer, h->peer, sizeof c->peer);
    memcpy(c->local, h->local, sizeof c->local);
    c->active_ns = c->sent_ns = shard_mono_ns(sh->shard);
    list_add(&sh->conns, &c->link);
    atomic_fetch_add_explicit(&sh->server->refs, 1, memory_order_relaxed);
    return c;
}

static void handover_run(struct shard *target, struct shard_call *call)
{
    struct handover *h = CONTAINER_OF(call, struct handover, call);
    struct conn_shard *sh = &h->server->shards[shard_index(target)];
    const struct conn_protocol *p = h->server->protocol;
    struct conn *c = sh->stopped ? NULL : conn_new(sh, h);
    if (c == NULL) {
        host_socket_close(h->sock);
        opened(h->server, h->refused, -1);
    } else {
        conn_watch(c);
        if (p->idle_ms_max > 0)
            conn_timer_within(c, p->idle_ms_max);
        if (c->phase == CONN_OPEN && p->open != NULL && p->open(c) != ERR_OK)
            conn_close(c);
    }
    shard_call_reply(target, call);
}

static void handover_done(struct shard *origin, struct shard_call *call)
{
    (void)origin;
    struct handover *h = CONTAINER_OF(call, struct handover, call);
    struct conn_server *sv = h->server;
    mem_free(h);
    server_unref(sv);
}

static bool is_loopback(const char *peer)
{
    struct str s = str_of(peer);
    return str_starts(s, STR("127.")) || str_starts(s, STR("[::1]")) ||
           str_starts(s, STR("[::ffff:127."));
}

/* Hands a socket over to the next shard. False without memory. */
static bool hand_over(struct conn_server *sv, const struct handover *found)
{
    struct handover *h = mem_alloc(sizeof *h);
    if (h == NULL)
        return false;
    *h = *found;
    h->call.run = handover_run;
    h->call.done = handover_done;
    atomic_fetch_add_explicit(&sv->refs, 1, memory_order_relaxed);
    opened(sv, h->refused, 1);
    shard_call(engine_shard(sv->engine, 0), sv->next_shard++ % sv->n_shards, &h->call);
    return true;
}

static void refuse(struct conn_server *sv, struct handover *found, enum err why)
{
    char bytes[CONN_REFUSAL_BYTES_MAX];
    size_t n = 0;
    found->refused = why;
    atomic_fetch_add_explicit(&sv->n_refused, 1, memory_order_relaxed);
    engine_note(sv->engine, "warning", "%s: connection from %s refused: %s", sv->protocol->name,
                found->peer,
                why == ERR_LIMIT
                    ? "the maximum of connections is open"
                    : "only loopback addresses may connect unless --insecure is given");
    if (sv->protocol->tells_refused && atomic_load(&sv->n_told) < CONN_TOLD_MAX &&
        hand_over(sv, found))
        return;
    if (sv->protocol->refuse != NULL)
        n = sv->protocol->refuse(why, bytes, sizeof bytes);
    if (n > 0 && host_send(found->sock, bytes, n) < 0)
        n = 0; /* it is turned away all the same */
    host_socket_close(found->sock);
}

static void admit(struct conn_server *sv, struct handover *found)
{
    if (!sv->insecure && !is_loopback(found->peer))
        refuse(sv, found, ERR_FORBIDDEN);
    else if (conn_server_count(sv) >= sv->connections_max)
        refuse(sv, found, ERR_LIMIT);
    else if (hand_over(sv, found))
        atomic_fetch_add_explicit(&sv->n_accepted, 1, memory_order_relaxed);
    else
        refuse(sv, found, ERR_LIMIT);
}

static void accept_ready(struct shard_io *io, uint32_t ready)
{
    (void)ready;
    struct conn_listener *l = CONTAINER_OF(io, struct conn_listener, io);
    struct conn_server *sv = l->server;
    struct shard *zero = engine_shard(sv->engine, 0);
    for (uint32_t i = 0; i < CONN_ACCEPTS_PER_TURN; i++) {
        struct handover found = {.server = sv};
        enum err e = host_accept(l->sock, &found.sock, found.peer, found.local);
        if (e == ERR_BUSY)
            return;
        if (e == ERR_OK) {
            admit(sv, &found);
            continue;
        }
        engine_note(sv->engine, "warning", "%s: cannot accept a connection: %s", sv->protocol->name,
                    err_text(e, NULL));
        if (shard_watch(zero, l->sock, 0, io) != ERR_OK ||
            shard_timer_set(zero, &l->timer,
                            shard_mono_ns(zero) + CONN_ACCEPT_RETRY_MS * NS_PER_MS) != ERR_OK)
            engine_note(sv->engine, "error", "%s: listening has stopped", sv->protocol->name);
        return;
    }
}

static void accept_again(struct shard_timer *t)
{
    struct conn_listener *l = CONTAINER_OF(t, struct conn_listener, timer);
    struct conn_server *sv = l->server;
    struct shard *zero = engine_shard(sv->engine, 0);
    if (shard_watch(zero, l->sock, HOST_READABLE, &l->io) != ERR_OK)
        engine_note(sv->engine, "error", "%s: listening has stopped", sv->protocol->name);
}

static void metrics_add(struct conn_server *sv)
{
    struct engine *e = sv->engine;
    snprintf(sv->label, sizeof sv->label, "server=\"%s\"", sv->protocol->name);
    engine_metric_add(e, "tidemill_connections", sv->label, "Open connections.", false,
                      &sv->n_open);
    engine_metric_add(e, "tidemill_connections_accepted_total", sv->label, "Connections accepted.",
                      true, &sv->n_accepted);
    engine_metric_add(e, "tidemill_connections_refused_total", sv->label,
                      "Connections turned away.", true, &sv->n_refused);
    engine_metric_add(e, "tidemill_received_bytes_total", sv->label, "Bytes received.", true,
                      &sv->bytes_in);
    engine_metric_add(e, "tidemill_sent_bytes_total", sv->label, "Bytes sent.", true,
                      &sv->bytes_out);
}

static enum err listen_at(struct conn_server *sv, const char *address, uint16_t *port,
                          struct err_detail *why)
{
    struct conn_listener *l = &sv->listeners[sv->n_listeners];
    TRY(host_listen(engine_host(sv->engine), address, &l->sock, port, why));
    l->server = sv;
    l->io.ready = accept_ready;
    l->timer.fire = accept_again;
    sv->n_listeners++;
    return ERR_OK;
}

static void listeners_close(struct conn_server *sv)
{
    while (sv->n_listeners > 0)
        host_socket_close(sv->listeners[--sv->n_listeners].sock);
}

/* Listens at one address; at "localhost:PORT" at 127.0.0.1 and ::1, since clients try one or the
 * other first. A machine without IPv6 is fine; another program at ::1 is not, because half of the
 * clients would reach it. Port 0 becomes a port that is free at both. */
static enum err listen_all(struct conn_server *sv, const char *address, uint16_t *port,
                           struct err_detail *why)
{
    if (!str_starts(str_of(address), STR("localhost:")))
        return listen_at(sv, address, port, why);
    bool any_port = strcmp(strrchr(address, ':'), ":0") == 0;
    enum err e = ERR_IN_USE;
    for (int i = 0; i < (any_port ? CONN_LISTEN_TRIES : 1) && e == ERR_IN_USE; i++) {
        char second[HOST_ADDRESS_MAX];
        uint16_t same;
        struct err_detail no_v6 = {0};
        TRY(listen_at(sv, address, port, why));
        snprintf(second, sizeof second, "[::1]:%u", *port);
        e = listen_at(sv, second, &same, &no_v6);
        if (e == ERR_IN_USE || e == ERR_NO_MEMORY) {
            *why = no_v6;
            listeners_close(sv);
        } else {
            e = ERR_OK;
        }
    }
    return e;
}

enum err conn_server_start(struct engine *e, const struct conn_protocol *protocol,
                           const char *address, const struct serve_options *options, void *arg,
                           uint16_t *port_out, struct err_detail *why)
{
    uint32_t n = engine_shards(e);
    struct conn_server *sv = mem_zalloc(1, sizeof *sv + n * sizeof(struct conn_shard));
    if (sv == NULL)
        return err_set(why, ERR_NO_MEMORY, "no memory to listen at %s", address);
    sv->protocol = protocol;
    sv->engine = e;
    enum err failed = listen_all(sv, address, port_out, why);
    if (failed != ERR_OK) {
        mem_free(sv);
        return failed;
    }
    engine_listener_add(e, protocol->name, address, *port_out);
    sv->arg = arg;
    sv->insecure = options->insecure;
    sv->connections_max =
        options->connections_max != 0 ? options->connections_max : CONN_COUNT_DEFAULT;
    sv->n_shards = n;
    atomic_init(&sv->refs, n);
    metrics_add(sv);
    for (uint32_t i = 0; i < n; i++) {
        struct conn_shard *sh = &sv->shards[i];
        sh->server = sv;
        sh->shard = engine_shard(e, i);
        sh->served_ns = -1;
        list_init(&sh->conns);
        list_init(&sh->work);
        list_init(&sh->starved);
        sh->service.turn = service_turn;
        sh->service.stop = service_stop;
        shard_service_add(sh->shard, &sh->service);
    }
    return ERR_OK;
}
