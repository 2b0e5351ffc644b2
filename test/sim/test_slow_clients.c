/* Clients that hold on to a connection: nothing sent, or a byte now and then, in each place where a
 * server waits for the rest of something. Each is closed within its bound, however steadily its
 * bytes come; who behaves is served all the while. In simulated time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "engine/engine.h"
#include "host/sim.h"
#include "serve/http.h"
#include "serve/kafka.h"
#include "serve/pg.h"

enum { TICK_S = 5, SLOW_MAX = 16, ANSWER_MAX = 4096, RUN_S = 800 };
static const int64_t TICK_NS = (int64_t)TICK_S * 1000000000;

#define HTTP_AT  "127.0.0.1:3000"
#define KAFKA_AT "127.0.0.1:9092"
#define PG_AT    "127.0.0.1:5433"
#define POST     "POST /v1/query HTTP/1.1\r\nHost: localhost\r\n"
#define STARTUP  "\0\0\0\x12\0\3\0\0user\0joe\0\0"

/* What is sent at once, what is sent again and again, and until when it may last. */
struct slow {
    const char *name, *address;
    struct str first, then;
    uint32_t seconds_max;
};

static const struct slow slow[] = {
    {"http, silent", HTTP_AT, {"", 0}, {"", 0}, 120},
    {"http, a head", HTTP_AT, {"G", 1}, {"E", 1}, 60},
    {"http, a field", HTTP_AT, {POST "X: ", sizeof(POST "X: ") - 1}, {"x", 1}, 60},
    {"http, a body",
     HTTP_AT,
     {POST "Content-Length: 4000\r\n\r\n", sizeof(POST "Content-Length: 4000\r\n\r\n") - 1},
     {" ", 1},
     60},
    {"http, chunks",
     HTTP_AT,
     {POST "Transfer-Encoding: chunked\r\n\r\n",
      sizeof(POST "Transfer-Encoding: chunked\r\n\r\n") - 1},
     {"1\r\n \r\n", 6},
     60},
    {"kafka, silent", KAFKA_AT, {"", 0}, {"", 0}, 600},
    {"kafka, a size", KAFKA_AT, {"\0", 1}, {"", 0}, 60},
    {"kafka, a request", KAFKA_AT, {"\0\0\x10\0\0\x12\0\0", 8}, {"\0", 1}, 60},
    {"pg, silent", PG_AT, {"", 0}, {"", 0}, 60},
    {"pg, a start-up packet", PG_AT, {"\0\0\x10\0\0\3\0\0", 8}, {"u", 1}, 60},
    {"pg, a query", PG_AT, {STARTUP "Q\0\0\x10\0", sizeof(STARTUP) - 1 + 5}, {" ", 1}, 60},
};

struct slow_client {
    struct host_socket *socket;
    size_t sent; /* of `first` */
    uint32_t closed_s;
};

struct world {
    struct host *h;
    struct host_worker *worker;
    struct slow_client clients[ARRAY_LEN(slow)];
    struct host_socket *good;
    uint32_t n_asked, n_answered;
    int64_t start_ns, next_ns;
    bool broken;
};

static uint32_t seconds(const struct world *w)
{
    return (uint32_t)((host_mono_ns(w->h) - w->start_ns) / 1000000000);
}

static bool world_open(struct world *w)
{
    struct err_detail why;
    bool ok = host_connect(w->h, HTTP_AT, &w->good, &why) == ERR_OK;
    for (size_t i = 0; i < ARRAY_LEN(slow); i++)
        ok = ok && host_connect(w->h, slow[i].address, &w->clients[i].socket, &why) == ERR_OK;
    w->start_ns = host_mono_ns(w->h);
    w->next_ns = w->start_ns + TICK_NS; /* connected by then */
    return ok;
}

/* Reads what came; false when the peer has closed. */
static bool drain(struct host_socket *s, char *out, size_t max, size_t *n)
{
    ptrdiff_t got;
    *n = 0;
    while (*n < max && (got = host_recv(s, out + *n, max - *n)) != -1) {
        if (got == 0 || got == -2)
            return false;
        *n += (size_t)got;
    }
    return true;
}

static void slow_turn(struct world *w, size_t i, bool tick)
{
    struct slow_client *c = &w->clients[i];
    const struct slow *kind = &slow[i];
    char bytes[ANSWER_MAX];
    size_t n;
    if (c->socket == NULL)
        return;
    bool open = drain(c->socket, bytes, sizeof(bytes), &n);
    if (open && c->sent < kind->first.len) {
        ptrdiff_t sent = host_send(c->socket, kind->first.ptr + c->sent, kind->first.len - c->sent);
        open = sent != -2;
        c->sent += sent > 0 ? (size_t)sent : 0;
    } else if (open && tick && kind->then.len > 0) {
        open = host_send(c->socket, kind->then.ptr, kind->then.len) != -2;
    }
    if (open)
        return;
    host_socket_close(c->socket);
    c->socket = NULL;
    c->closed_s = seconds(w);
}

/* One request a tick, all over one connection. */
static void good_turn(struct world *w, bool tick)
{
    static const char request[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char answer[ANSWER_MAX + 1];
    size_t n;
    w->broken |= !drain(w->good, answer, ANSWER_MAX, &n);
    answer[n] = '\0';
    w->n_answered += strstr(answer, "HTTP/1.1 200") != NULL;
    if (!tick || w->broken)
        return;
    w->broken |= host_send(w->good, request, sizeof(request) - 1) != (ptrdiff_t)sizeof(request) - 1;
    w->n_asked++;
}

static bool world_turn(void *arg)
{
    struct world *w = arg;
    struct host_event events[SLOW_MAX];
    if (w->good == NULL && !world_open(w)) {
        w->broken = true;
        host_stop_request(w->h);
        return false;
    }
    bool tick = host_mono_ns(w->h) >= w->next_ns, waiting = false;
    if (tick)
        w->next_ns += TICK_NS;
    good_turn(w, tick);
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        slow_turn(w, i, tick);
        waiting |= w->clients[i].socket != NULL;
    }
    if (!waiting || w->broken || seconds(w) > RUN_S - 2 * TICK_S) {
        for (size_t i = 0; i < ARRAY_LEN(slow); i++)
            if (w->clients[i].socket != NULL)
                host_socket_close(w->clients[i].socket);
        host_socket_close(w->good);
        host_stop_request(w->h);
        return false;
    }
    enum err e = host_watch(w->worker, w->good, HOST_READABLE, NULL);
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        const struct slow_client *c = &w->clients[i];
        uint32_t interest = HOST_READABLE | (c->sent < slow[i].first.len ? HOST_WRITABLE : 0);
        if (e == ERR_OK && c->socket != NULL)
            e = host_watch(w->worker, c->socket, interest, NULL);
    }
    w->broken |= e != ERR_OK;
    host_poll(w->worker, events, SLOW_MAX, w->next_ns);
    return true;
}

static void slow_clients_are_closed_others_served(void **state)
{
    (void)state;
    const struct sim_options sim = {.seed = 3,
                                    .wall_us = 1767225600000000,
                                    .net_delay_us_max = 300,
                                    .sync_delay_us_max = 500,
                                    .run_ns_max = (int64_t)RUN_S * 1000000000};
    const struct engine_options options = {.data_dir = "/data", .n_shards = 2};
    const struct serve_options listeners = {.http = HTTP_AT, .kafka = KAFKA_AT, .pg = PG_AT};
    struct engine *e = NULL;
    struct err_detail why = {0};
    uint16_t port;
    struct world w = {.h = host_sim_open(&sim)};
    assert_non_null(w.h);
    assert_int_equal(engine_open(w.h, &options, &e, &why), ERR_OK);
    assert_int_equal(kafka_server_start(e, &listeners, &port, &why), ERR_OK);
    assert_int_equal(pg_server_start(e, &listeners, &port, &why), ERR_OK);
    assert_int_equal(http_server_start(e, &listeners, &port, &why), ERR_OK);
    assert_int_equal(host_worker_start(w.h, "client", world_turn, &w, &w.worker), ERR_OK);
    host_run(w.h);
    engine_close(e);
    assert_false(w.broken);
    for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
        uint32_t at = w.clients[i].closed_s;
        if (at < slow[i].seconds_max || at > slow[i].seconds_max + 2 * TICK_S)
            fail_msg("%s: closed after %u s (0: never), the bound is %u s", slow[i].name, at,
                     slow[i].seconds_max);
    }
    assert_true(w.n_asked + 1 >= 600 / TICK_S); /* until the last one is closed */
    assert_true(w.n_answered + 1 >= w.n_asked);
    host_close(w.h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_clients_are_closed_others_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
