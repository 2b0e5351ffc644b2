/* The simulated network: connections between the workers of one simulated host.
 *
 *   sender: host_send            pipe (64 KB)               receiver: host_recv
 *      bytes ----> | chunk @t3 | chunk @t2 | arrived bytes | ---->
 *
 * A pipe is one direction of a connection. Each send becomes a chunk that arrives after a random
 * time, in order. Closing with unread bytes resets the connection, as TCP does. */
#include "base/check.h"
#include "base/mem.h"
#include "host/sim_int.h"

#include <string.h>

enum {
    PIPE_BYTES = 64 << 10,
    PIPE_WRITABLE_BYTES = PIPE_BYTES / 4, /* free room that makes a socket writable again */
    PIPE_CHUNKS_MAX = 64,
    PENDING_MAX = 128, /* connections that wait for an accept */
    PORT_FIRST = 32768,
};

struct sim_chunk {
    uint64_t end; /* position behind its last byte */
    int64_t at_ns;
};

struct sim_pipe {
    uint64_t written, arrived, read; /* positions: read <= arrived <= written */
    int64_t last_ns;                 /* arrival of what was sent last */
    int64_t end_ns;                  /* when the end of stream arrives; INT64_MAX = open */
    struct sim_chunk chunks[PIPE_CHUNKS_MAX];
    size_t chunk_first, chunk_count;
    uint8_t bytes[PIPE_BYTES];
};

enum { CLIENT, SERVER, SIDES };

struct sim_conn {
    struct list link; /* in the listener's pending */
    unsigned refs;    /* sockets, and the listener's queue */
    bool refused;
    int64_t open_ns[SIDES];   /* when this side knows of the connection */
    int64_t broken_ns[SIDES]; /* when this side finds it broken; INT64_MAX = sound */
    bool closed[SIDES];
    struct host_address address[SIDES];
    struct sim_pipe pipe[SIDES]; /* written by this side */
};

struct sim_socket {
    struct host_socket base;
    struct sim_host *host;
    struct list link;        /* in sim_host.sockets */
    struct list worker_link; /* in sim_worker.sockets */
    struct sim_worker *worker;
    uint32_t interest;
    void *tag;

    bool listening;
    struct host_address address; /* listener */
    struct list pending;
    size_t pending_count;

    struct sim_conn *conn; /* connection, seen from `side` */
    int side;
};

/* ---- pipes ---- */

static void pipe_advance(struct sim_pipe *p, int64_t now)
{
    while (p->chunk_count > 0 && p->chunks[p->chunk_first].at_ns <= now) {
        p->arrived = p->chunks[p->chunk_first].end;
        p->chunk_first = (p->chunk_first + 1) % PIPE_CHUNKS_MAX;
        p->chunk_count--;
    }
}

/* Copies n bytes between the ring, at a position, and memory. */
static void pipe_put(struct sim_pipe *p, const char *bytes, size_t n)
{
    size_t at = p->written % PIPE_BYTES;
    size_t first = n < PIPE_BYTES - at ? n : PIPE_BYTES - at;
    memcpy(p->bytes + at, bytes, first);
    memcpy(p->bytes, bytes + first, n - first);
    p->written += n;
}

static void pipe_get(struct sim_pipe *p, char *out, size_t n)
{
    size_t at = p->read % PIPE_BYTES;
    size_t first = n < PIPE_BYTES - at ? n : PIPE_BYTES - at;
    memcpy(out, p->bytes + at, first);
    memcpy(out + first, p->bytes, n - first);
    p->read += n;
}

static size_t pipe_room(const struct sim_pipe *p)
{
    return PIPE_BYTES - (size_t)(p->written - p->read);
}

/* What was put since the last chunk goes on its way. */
static void pipe_dispatch(struct sim_pipe *p, int64_t at_ns)
{
    if (at_ns < p->last_ns)
        at_ns = p->last_ns;
    p->last_ns = at_ns;
    if (p->chunk_count == PIPE_CHUNKS_MAX) {
        size_t last = (p->chunk_first + p->chunk_count - 1) % PIPE_CHUNKS_MAX;
        p->chunks[last] = (struct sim_chunk){p->written, at_ns};
        return;
    }
    size_t next = (p->chunk_first + p->chunk_count) % PIPE_CHUNKS_MAX;
    p->chunks[next] = (struct sim_chunk){p->written, at_ns};
    p->chunk_count++;
}

/* ---- connections ---- */

static int64_t arrival_ns(struct sim_host *h)
{
    return h->now_ns + sim_delay_ns(h, h->options.net_delay_us_max);
}

static size_t cut_at_random(struct sim_host *h, size_t n)
{
    uint32_t max = h->options.net_chunk_bytes_max;
    if (max == 0)
        return n;
    size_t cut = 1 + (size_t)sim_rng_below(&h->rng, max);
    return n < cut ? n : cut;
}

static void conn_unref(struct sim_conn *c)
{
    if (--c->refs == 0)
        mem_free(c);
}

static void conn_break(struct sim_host *h, struct sim_conn *c, int side)
{
    int64_t at = arrival_ns(h);
    if (at < c->broken_ns[side])
        c->broken_ns[side] = at;
}

/* One side goes: the other one reads the rest and the end, or finds the connection reset. */
static void conn_close(struct sim_host *h, struct sim_conn *c, int side)
{
    int other = !side;
    struct sim_pipe *in = &c->pipe[other];
    struct sim_pipe *out = &c->pipe[side];
    if (c->closed[side])
        return;
    c->closed[side] = true;
    if (in->written != in->read) {
        conn_break(h, c, other);
        return;
    }
    out->end_ns = arrival_ns(h);
    if (out->end_ns < out->last_ns)
        out->end_ns = out->last_ns;
}

static bool conn_broken(const struct sim_conn *c, int side, int64_t now)
{
    return c->broken_ns[side] <= now || (c->refused && c->open_ns[side] <= now);
}

/* ---- sockets ---- */

static struct sim_socket *socket_new(struct sim_host *h)
{
    struct sim_socket *s = mem_zalloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->base.ops = &sim_ops;
    s->host = h;
    list_add(&h->sockets, &s->link);
    list_init(&s->worker_link);
    list_init(&s->pending);
    return s;
}

static struct sim_socket *socket_of(struct list *link)
{
    return LIST_ENTRY(link, struct sim_socket, link);
}

/* The listener that a connection to `a` reaches, or NULL. */
static struct sim_socket *listener_find(struct sim_host *h, const struct host_address *a)
{
    struct sim_socket *any = NULL;
    LIST_FOR(it, &h->sockets) {
        struct sim_socket *s = socket_of(it);
        if (!s->listening || s->address.v6 != a->v6 || s->address.port != a->port)
            continue;
        if (memcmp(s->address.ip, a->ip, sizeof a->ip) == 0)
            return s;
        if (host_address_any(&s->address))
            any = s;
    }
    return any;
}

/* Whether a listener on `a` would collide with one that is there. */
static bool address_taken(struct sim_host *h, const struct host_address *a)
{
    LIST_FOR(it, &h->sockets) {
        struct sim_socket *s = socket_of(it);
        if (!s->listening || s->address.v6 != a->v6 || s->address.port != a->port)
            continue;
        if (host_address_any(a) || host_address_any(&s->address) ||
            memcmp(s->address.ip, a->ip, sizeof a->ip) == 0)
            return true;
    }
    return false;
}

static uint16_t port_next(struct sim_host *h)
{
    if (h->next_port < PORT_FIRST)
        h->next_port = PORT_FIRST;
    return h->next_port++;
}

enum err sim_listen(struct host *base, const char *address, struct host_socket **out,
                    uint16_t *port_out, struct err_detail *why)
{
    struct sim_host *h = (struct sim_host *)base;
    struct host_address a;
    TRY(host_address_parse(address, &a, why));
    if (h->dead || h->halted)
        return err_set(why, ERR_SHUTDOWN, "cannot listen on %s: the process is gone", address);
    bool chosen = a.port == 0;
    for (int i = 0; chosen && i < UINT16_MAX; i++) {
        a.port = port_next(h);
        if (!address_taken(h, &a))
            break;
    }
    if (address_taken(h, &a)) {
        (void)err_set(why, ERR_IN_USE, "cannot listen on %s: Address already in use", address);
        err_hint(why, "another program listens there: stop it, or name another address with "
                      "--http A:P, --kafka A:P or --pg A:P");
        return ERR_IN_USE;
    }
    struct sim_socket *s = socket_new(h);
    if (s == NULL)
        return err_set(why, ERR_NO_MEMORY, "cannot listen on %s: out of memory", address);
    s->listening = true;
    s->address = a;
    *port_out = a.port;
    *out = &s->base;
    return ERR_OK;
}

/* Queues the connection at its listener, or marks it as refused. */
static void conn_deliver(struct sim_host *h, struct sim_conn *c, struct sim_socket *listener)
{
    c->open_ns[SERVER] = arrival_ns(h);
    c->open_ns[CLIENT] = c->open_ns[SERVER] + sim_delay_ns(h, h->options.net_delay_us_max);
    c->pipe[SERVER].last_ns = c->open_ns[CLIENT];
    c->pipe[CLIENT].last_ns = c->open_ns[SERVER];
    c->refused = listener == NULL || listener->pending_count == PENDING_MAX;
    sim_trace(h, SIM_NET, (uint64_t)c->open_ns[CLIENT] ^ c->refused);
    if (c->refused)
        return;
    c->refs++;
    list_add(&listener->pending, &c->link);
    listener->pending_count++;
}

enum err sim_connect(struct host *base, const char *address, struct host_socket **out,
                     struct err_detail *why)
{
    struct sim_host *h = (struct sim_host *)base;
    struct host_address a;
    TRY(host_address_parse(address, &a, why));
    if (h->dead || h->halted)
        return err_set(why, ERR_SHUTDOWN, "cannot connect to %s: the process is gone", address);
    struct sim_conn *c = mem_zalloc(1, sizeof *c);
    struct sim_socket *s = c == NULL ? NULL : socket_new(h);
    if (s == NULL) {
        mem_free(c);
        return err_set(why, ERR_NO_MEMORY, "cannot connect to %s: out of memory", address);
    }
    list_init(&c->link);
    c->refs = 1;
    for (int side = 0; side < SIDES; side++) {
        c->broken_ns[side] = INT64_MAX;
        c->pipe[side].end_ns = INT64_MAX;
        c->address[side] = a;
    }
    c->address[CLIENT].port = port_next(h);
    conn_deliver(h, c, listener_find(h, &a));
    s->conn = c;
    s->side = CLIENT;
    *out = &s->base;
    return ERR_OK;
}

/* The first connection that has reached the listener by now. */
static struct sim_conn *pending_first(const struct sim_socket *listener)
{
    LIST_FOR(it, &listener->pending) {
        struct sim_conn *c = LIST_ENTRY(it, struct sim_conn, link);
        if (c->open_ns[SERVER] <= listener->host->now_ns)
            return c;
    }
    return NULL;
}

enum err sim_accept(struct host_socket *base, struct host_socket **out, char *peer, char *local)
{
    struct sim_socket *listener = (struct sim_socket *)base;
    struct sim_host *h = listener->host;
    if (h->dead || h->halted)
        return ERR_BUSY;
    struct sim_conn *c = pending_first(listener);
    if (c == NULL)
        return ERR_BUSY;
    list_remove(&c->link);
    listener->pending_count--;
    struct sim_socket *s = socket_new(h);
    if (s == NULL) {
        conn_close(h, c, SERVER);
        conn_unref(c);
        return ERR_LIMIT;
    }
    s->conn = c; /* the queue's reference */
    s->side = SERVER;
    if (peer != NULL)
        host_address_format(&c->address[CLIENT], peer);
    if (local != NULL)
        host_address_format(&c->address[SERVER], local);
    *out = &s->base;
    return ERR_OK;
}

enum err sim_watch(struct host_worker *base, struct host_socket *socket, uint32_t interest,
                   void *tag)
{
    struct sim_worker *w = (struct sim_worker *)base;
    struct sim_socket *s = (struct sim_socket *)socket;
    CHECK(w->host == s->host);
    CHECK(s->worker == NULL || s->worker == w);
    if (s->worker == NULL) {
        s->worker = w;
        list_add(&w->sockets, &s->worker_link);
    }
    s->interest = interest;
    s->tag = tag;
    return ERR_OK;
}

/* ---- moving bytes ---- */

/* -2 when the connection cannot carry bytes any more, -1 when not yet, 0 when it can. */
static ptrdiff_t socket_state(const struct sim_socket *s)
{
    const struct sim_conn *c = s->conn;
    int64_t now = s->host->now_ns;
    CHECK(!s->listening);
    if (s->host->dead || s->host->halted || conn_broken(c, s->side, now))
        return -2;
    return c->open_ns[s->side] > now ? -1 : 0;
}

ptrdiff_t sim_recv(struct host_socket *base, void *out, size_t n)
{
    struct sim_socket *s = (struct sim_socket *)base;
    struct sim_host *h = s->host;
    ptrdiff_t state = socket_state(s);
    if (state != 0)
        return state;
    struct sim_pipe *in = &s->conn->pipe[!s->side];
    pipe_advance(in, h->now_ns);
    size_t there = (size_t)(in->arrived - in->read);
    if (there == 0)
        return in->end_ns <= h->now_ns ? 0 : -1;
    n = cut_at_random(h, n < there ? n : there);
    pipe_get(in, out, n);
    sim_trace(h, SIM_NET, n);
    return (ptrdiff_t)n;
}

ptrdiff_t sim_sendv(struct host_socket *base, const struct str *pieces, size_t n)
{
    struct sim_socket *s = (struct sim_socket *)base;
    struct sim_host *h = s->host;
    ptrdiff_t state = socket_state(s);
    if (state != 0)
        return state;
    struct sim_pipe *out = &s->conn->pipe[s->side];
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += pieces[i].len;
    if (total == 0)
        return 0;
    size_t room = pipe_room(out);
    if (s->conn->closed[!s->side]) {
        /* Nobody reads any more: these bytes vanish, and the reset comes back. */
        conn_break(h, s->conn, s->side);
        return (ptrdiff_t)total;
    }
    if (room == 0)
        return -1;
    size_t sent = cut_at_random(h, total < room ? total : room);
    size_t left = sent;
    for (size_t i = 0; left > 0; i++) {
        size_t part = pieces[i].len < left ? pieces[i].len : left;
        if (part > 0)
            pipe_put(out, pieces[i].ptr, part);
        left -= part;
    }
    pipe_dispatch(out, arrival_ns(h));
    sim_trace(h, SIM_NET, sent ^ (uint64_t)out->last_ns << 20);
    return (ptrdiff_t)sent;
}

ptrdiff_t sim_send_file(struct host_socket *base, struct host_file *f, uint64_t at, size_t n)
{
    enum { PIECE_BYTES = 16384 };
    struct sim_socket *s = (struct sim_socket *)base;
    char bytes[PIECE_BYTES];
    ptrdiff_t state = socket_state(s);
    if (state != 0)
        return state;
    if (!s->conn->closed[!s->side] && pipe_room(&s->conn->pipe[s->side]) == 0)
        return -1;
    ptrdiff_t got = sim_file_peek(f, at, bytes, n < sizeof bytes ? n : sizeof bytes);
    if (got <= 0)
        return got;
    struct str piece = {bytes, (size_t)got};
    return sim_sendv(base, &piece, 1);
}

void sim_socket_close(struct host_socket *base)
{
    struct sim_socket *s = (struct sim_socket *)base;
    LIST_FOR_SAFE(it, next, &s->pending) {
        struct sim_conn *c = LIST_ENTRY(it, struct sim_conn, link);
        list_remove(&c->link);
        conn_break(s->host, c, CLIENT);
        conn_unref(c);
    }
    if (s->conn != NULL) {
        conn_close(s->host, s->conn, s->side);
        conn_unref(s->conn);
    }
    list_remove(&s->worker_link);
    list_remove(&s->link);
    mem_free(s);
}

/* ---- readiness ---- */

static uint32_t conn_ready(const struct sim_socket *s)
{
    struct sim_conn *c = s->conn;
    int64_t now = s->host->now_ns;
    if (conn_broken(c, s->side, now))
        return HOST_READABLE | HOST_WRITABLE | HOST_HANGUP;
    if (c->open_ns[s->side] > now)
        return 0;
    uint32_t ready = 0;
    struct sim_pipe *in = &c->pipe[!s->side];
    pipe_advance(in, now);
    if (in->arrived > in->read || in->end_ns <= now)
        ready |= HOST_READABLE;
    if (c->closed[!s->side] || pipe_room(&c->pipe[s->side]) >= PIPE_WRITABLE_BYTES)
        ready |= HOST_WRITABLE;
    return ready;
}

uint32_t sim_socket_ready(struct sim_socket *s)
{
    if (s->listening)
        return s->interest & (pending_first(s) != NULL ? HOST_READABLE : 0);
    return conn_ready(s) & (s->interest | HOST_HANGUP);
}

static int64_t sooner(int64_t best, int64_t at, int64_t now)
{
    return at > now && at < best ? at : best;
}

int64_t sim_socket_next_ns(struct sim_socket *s)
{
    int64_t now = s->host->now_ns;
    int64_t best = INT64_MAX;
    if (s->listening) {
        LIST_FOR(it, &s->pending)
            best = sooner(best, LIST_ENTRY(it, struct sim_conn, link)->open_ns[SERVER], now);
        return best;
    }
    const struct sim_conn *c = s->conn;
    const struct sim_pipe *in = &c->pipe[!s->side];
    best = sooner(best, c->open_ns[s->side], now);
    best = sooner(best, c->broken_ns[s->side], now);
    best = sooner(best, in->end_ns, now);
    if (in->chunk_count > 0)
        best = sooner(best, in->chunks[in->chunk_first].at_ns, now);
    return best;
}

struct sim_socket *sim_socket_of_link(struct list *worker_link)
{
    return LIST_ENTRY(worker_link, struct sim_socket, worker_link);
}

void *sim_socket_tag(const struct sim_socket *s)
{
    return s->tag;
}

void sim_net_free(struct sim_host *h)
{
    LIST_FOR_SAFE(it, next, &h->sockets)
        sim_socket_close(&socket_of(it)->base);
}
