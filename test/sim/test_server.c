/* A whole server - shards, flush workers, log, HTTP, Kafka and PostgreSQL listeners - in one thread
 * from one seed, with a client that is a worker too. Equal seeds give equal traces; different seeds
 * (scheduling, network delays, chunking) give equal answers; a crash or a power cut at any file
 * call loses nothing that was acknowledged, and views equal what the table holds. */
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

/* A process that "ended" leaves its memory behind. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define LEAKS_BEGIN() __lsan_disable()
#define LEAKS_END()   __lsan_enable()
#else
#define LEAKS_BEGIN() ((void)0)
#define LEAKS_END()   ((void)0)
#endif

enum { REQUESTS_MAX = 64, BODY_MAX = 16384, RETRY_NS = 2000000 };

/* ---- a client: requests one after the other over one connection; a request marked `until` is
 * repeated until its answer contains that text ---- */

struct request {
    const char *path, *body;
    const char *until;
};

struct client {
    struct host *h;
    struct host_worker *worker;
    char address[HOST_ADDRESS_MAX];
    const struct request *requests;
    size_t n, at;
    struct host_socket *socket;
    char out[BODY_MAX];
    size_t out_len, out_at;
    char in[BODY_MAX];
    size_t in_len;
    size_t acknowledged; /* requests answered with 200 */
    char answers[REQUESTS_MAX][BODY_MAX];
    int64_t retry_at;
    bool broken;
};

static void client_prepare(struct client *c)
{
    const struct request *r = &c->requests[c->at];
    int n = snprintf(c->out, sizeof(c->out),
                     "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                     r->path, strlen(r->body), r->body);
    assert_true(n > 0 && (size_t)n < sizeof(c->out));
    c->out_len = (size_t)n;
    c->out_at = c->in_len = 0;
    c->retry_at = 0;
}

/* The body of a whole answer, or NULL while bytes are missing. */
static char *answer_body(struct client *c)
{
    c->in[c->in_len] = '\0';
    char *end = strstr(c->in, "\r\n\r\n");
    if (end == NULL)
        return NULL;
    const char *length = strstr(c->in, "Content-Length: ");
    if (length == NULL || length > end) {
        /* Chunked: the last chunk ends it. */
        return strstr(end, "\r\n0\r\n\r\n") == NULL ? NULL : end + 4;
    }
    size_t n = strtoul(length + 16, NULL, 10);
    return c->in_len >= (size_t)(end + 4 - c->in) + n ? end + 4 : NULL;
}

static bool client_done(struct client *c)
{
    if (c->socket != NULL)
        host_socket_close(c->socket);
    c->socket = NULL;
    host_stop_request(c->h);
    return false;
}

static bool client_answered(struct client *c, const char *body)
{
    const struct request *r = &c->requests[c->at];
    snprintf(c->answers[c->at], BODY_MAX, "%s", body);
    if (r->until != NULL && strstr(body, r->until) == NULL) {
        c->retry_at = host_mono_ns(c->h) + RETRY_NS;
        c->in_len = 0;
        return true;
    }
    c->acknowledged += strncmp(c->in, "HTTP/1.1 200", 12) == 0;
    if (++c->at == c->n)
        return false;
    client_prepare(c);
    return true;
}

static bool client_turn(void *arg)
{
    struct client *c = arg;
    struct host_event events[4];
    if (c->socket == NULL) {
        struct err_detail why;
        if (host_connect(c->h, c->address, &c->socket, &why) != ERR_OK)
            return client_done(c);
        client_prepare(c);
    }
    if (c->retry_at != 0 && host_mono_ns(c->h) >= c->retry_at)
        client_prepare(c);
    bool sending = c->out_at < c->out_len && c->retry_at == 0;
    if (host_watch(c->worker, c->socket, HOST_READABLE | (sending ? HOST_WRITABLE : 0), c) !=
        ERR_OK)
        return client_done(c);
    host_poll(c->worker, events, 4, c->retry_at == 0 ? INT64_MAX : c->retry_at);
    if (c->out_at < c->out_len) {
        ptrdiff_t n = host_send(c->socket, c->out + c->out_at, c->out_len - c->out_at);
        c->broken |= n == -2;
        c->out_at += n > 0 ? (size_t)n : 0;
    }
    ptrdiff_t n = host_recv(c->socket, c->in + c->in_len, sizeof(c->in) - 1 - c->in_len);
    c->broken |= n == 0 || n == -2;
    c->in_len += n > 0 ? (size_t)n : 0;
    const char *body = n > 0 ? answer_body(c) : NULL;
    if (c->broken || (body != NULL && !client_answered(c, body)))
        return client_done(c);
    return true;
}

/* ---- a server under simulation ---- */

static struct host *sim_new(uint64_t seed)
{
    const struct sim_options options = {.seed = seed,
                                        .wall_us = 1767225600000000,
                                        .net_delay_us_max = 300,
                                        .net_chunk_bytes_max = 700,
                                        .sync_delay_us_max = 500,
                                        .run_ns_max = (int64_t)120 * 1000000000};
    struct host *h = host_sim_open(&options);
    assert_non_null(h);
    return h;
}

/* Starts a server and the client, runs until the client is through (or the process "ended"), and
 * takes the server down. */
static enum err serve(struct host *h, uint32_t n_shards, struct client *c,
                      const struct request *requests, size_t n)
{
    const struct engine_options options = {
        .data_dir = "/data", .n_shards = n_shards, .auto_create_topics = true};
    const struct serve_options listeners = {
        .http = "127.0.0.1:3000", .kafka = "127.0.0.1:9092", .pg = "127.0.0.1:5433"};
    struct engine *e = NULL;
    struct err_detail why = {0};
    uint16_t port;
    memset(c, 0, sizeof(*c));
    enum err err = engine_open(h, &options, &e, &why);
    if (err == ERR_OK)
        err = kafka_server_start(e, &listeners, &port, &why);
    if (err == ERR_OK)
        err = pg_server_start(e, &listeners, &port, &why);
    if (err == ERR_OK)
        err = http_server_start(e, &listeners, &port, &why);
    *c = (struct client){.h = h, .requests = requests, .n = n};
    snprintf(c->address, sizeof(c->address), "127.0.0.1:3000");
    if (err == ERR_OK)
        err = host_worker_start(h, "client", client_turn, c, &c->worker);
    if (err == ERR_OK)
        host_run(h);
    if (e != NULL && !host_sim_halted(h))
        engine_close(e);
    return err;
}

/* ---- the workload ---- */

#define QUERY "/v1/query"
#define ROWS  "/v1/tables/readings/rows"
#define ROW(sensor, temp, time)                                                                    \
    "{\"sensor\":\"" sensor "\",\"temp\":" temp ",\"ts\":\"2026-01-01T" time "Z\"}\n"

static const char table_sql[] =
    "CREATE TABLE readings (sensor text, temp float8, ts timestamptz NOT NULL) WITH "
    "(event_time = 'ts', lateness = '1 s', key = 'sensor', partitions = 3, idle_timeout = '50 ms')";
static const char windows_sql[] =
    "CREATE MATERIALIZED VIEW minutes WITH (emit = 'final', late_to = 'minutes_late') AS "
    "SELECT sensor, window_start, avg(temp) AS avg, count(*) AS n "
    "FROM tumble(readings, ts, INTERVAL '1 minute') GROUP BY sensor, window_start";
static const char totals_sql[] =
    "CREATE MATERIALIZED VIEW totals AS "
    "SELECT sensor, count(*) AS n, sum(temp) AS s FROM readings GROUP BY sensor";

static const struct request workload[] = {
    {QUERY, table_sql, NULL},
    {QUERY, windows_sql, NULL},
    {ROWS, ROW("a", "1", "00:00:10") ROW("b", "2", "00:00:20"), NULL},
    {ROWS, ROW("a", "3", "00:00:30") ROW("c", "4", "00:00:40"), NULL},
    {QUERY, totals_sql, NULL},
    {ROWS, ROW("a", "5", "00:02:10") ROW("b", "6", "00:02:20"), NULL},
    {ROWS, ROW("a", "7", "00:00:50") ROW("c", "8", "00:02:40"), NULL},
    {QUERY, "SELECT sum(n) AS total FROM totals", "[[8]]"},
    {QUERY, "SELECT sensor, n, s FROM totals ORDER BY sensor", NULL},
    {QUERY, "SELECT sensor, window_start, avg, n FROM minutes ORDER BY sensor, window_start",
     "\"c\""},
    {QUERY, "SELECT sensor, temp FROM minutes_late", NULL},
    {QUERY, "SELECT count(*) AS n FROM readings", NULL},
};
enum { N_WORKLOAD = ARRAY_LEN(workload), TOTALS_AT = 8, WINDOWS_AT = 9, LATE_AT = 10 };

static void check_answers(const struct client *c)
{
    assert_int_equal(c->acknowledged, N_WORKLOAD);
    assert_non_null(strstr(c->answers[TOTALS_AT], "[\"a\",4,16],[\"b\",2,8],[\"c\",2,12]"));
    assert_non_null(
        strstr(c->answers[WINDOWS_AT],
               "[\"a\",\"2026-01-01T00:00:00Z\",2,2],[\"b\",\"2026-01-01T00:00:00Z\",2,1],"
               "[\"c\",\"2026-01-01T00:00:00Z\",4,1]"));
    assert_non_null(strstr(c->answers[LATE_AT], "[[\"a\",7]]"));
}

static struct client client;

static void equal_seeds_give_equal_traces(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        uint64_t traces[2];
        for (int run = 0; run < 2; run++) {
            struct host *h = sim_new(seed);
            assert_int_equal(serve(h, 2, &client, workload, N_WORKLOAD), ERR_OK);
            check_answers(&client);
            traces[run] = host_sim_trace(h);
            host_close(h);
        }
        assert_true(traces[0] == traces[1]);
    }
}

/* Whatever the schedule and the number of threads, the answers are the same. */
static void every_schedule_gives_the_same_answers(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 160; seed++) {
        struct host *h = sim_new(seed);
        assert_int_equal(serve(h, 1 + seed % 4, &client, workload, N_WORKLOAD), ERR_OK);
        check_answers(&client);
        host_close(h);
    }
}

/* ---- crashes ---- */

static const struct request after[] = {
    {QUERY, "SELECT count(*) AS n FROM readings", NULL},
    {QUERY, "SELECT sum(n) AS n FROM totals", NULL},
    {QUERY,
     "SELECT sensor, count(*) AS n, sum(temp) AS s FROM readings GROUP BY sensor ORDER BY sensor",
     NULL},
    {QUERY, "SELECT sensor, n, s FROM totals ORDER BY sensor", NULL},
};

static long number_in(const char *answer)
{
    const char *rows = strstr(answer, "\"rows\":[[");
    return rows == NULL ? -1 : strtol(rows + 9, NULL, 10);
}

static const char *rows_of(const char *answer)
{
    const char *rows = strstr(answer, "\"rows\":");
    return rows == NULL ? answer : rows;
}

/* Rows in requests 2, 3, 5 and 6 (two each) of which `acknowledged` requests were answered. */
static long rows_acknowledged(size_t acknowledged)
{
    long n = 0;
    for (size_t i = 0; i < acknowledged && i < N_WORKLOAD; i++)
        n += strcmp(workload[i].path, ROWS) == 0 ? 2 : 0;
    return n;
}

static size_t run_until_fault(struct host *h, uint64_t call, uint64_t seed)
{
    host_sim_fault_at(h, call, SIM_FAULT_STOP, false);
    enum err e = serve(h, 1 + (uint32_t)(seed % 3), &client, workload, N_WORKLOAD);
    return e == ERR_OK ? client.acknowledged : 0;
}

/* Starts on what is left of the disk and compares. Returns the host that is to be closed. */
static struct host *recovered(struct host *h, size_t acknowledged, uint64_t seed, uint64_t call)
{
    static struct client second;
    struct request checks[ARRAY_LEN(after)];
    memcpy(checks, after, sizeof(after));
    bool has_totals = acknowledged > 4;
    if (acknowledged == 0)
        return h;
    assert_int_equal(serve(h, 1 + (uint32_t)(seed % 3), &second, checks, 1), ERR_OK);
    long found = number_in(second.answers[0]), expected = rows_acknowledged(acknowledged);
    if (found < expected || found > 8)
        fail_msg("seed %llu, file call %llu: %ld rows were acknowledged, %ld are there: %s",
                 (unsigned long long)seed, (unsigned long long)call, expected, found,
                 second.answers[0]);
    if (!has_totals)
        return h;
    h = host_sim_crash(h); /* a host runs once */
    assert_non_null(h);
    char until[32];
    snprintf(until, sizeof(until), "[[%ld]]", found);
    checks[1].until = until;
    assert_int_equal(serve(h, 2, &second, checks, ARRAY_LEN(after)), ERR_OK);
    if (second.acknowledged != ARRAY_LEN(after))
        fail_msg("seed %llu, file call %llu: %zu answers, the last: %s", (unsigned long long)seed,
                 (unsigned long long)call, second.acknowledged, second.answers[second.at]);
    assert_string_equal(rows_of(second.answers[2]), rows_of(second.answers[3]));
    return h;
}

static void crash_at(uint64_t call, bool power, uint64_t seed, bool *finished)
{
    LEAKS_BEGIN();
    struct host *h = sim_new(seed);
    size_t acknowledged = run_until_fault(h, call, seed);
    *finished = !host_sim_halted(h);
    h = power ? host_sim_power_cut(h, seed ^ call) : host_sim_crash(h);
    assert_non_null(h);
    host_close(recovered(h, acknowledged, seed, call));
    LEAKS_END();
}

static void crashes_lose_nothing(bool power)
{
    bool finished = false;
    uint64_t calls = 0;
    for (uint64_t call = 5; !finished; call += 7, calls++)
        crash_at(call, power, 1000 + call, &finished);
    assert_true(calls > 10);
}

static void a_crash_at_any_file_call_loses_nothing(void **state)
{
    (void)state;
    crashes_lose_nothing(false);
}

static void a_power_cut_at_any_file_call_loses_nothing(void **state)
{
    (void)state;
    crashes_lose_nothing(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_seeds_give_equal_traces),
        cmocka_unit_test(every_schedule_gives_the_same_answers),
        cmocka_unit_test(a_crash_at_any_file_call_loses_nothing),
        cmocka_unit_test(a_power_cut_at_any_file_call_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
