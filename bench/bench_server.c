/* The whole server, as its clients see it: produce, fetch, rows through a view, latency, start.
 *
 * usage: bench_server [PART...]      parts: disk produce rows latency start peer; default: all
 *        bench_server list           their names, one a line
 *
 * Starts build/tidemill (or what TIDEMILL names) on ephemeral loopback ports over fresh
 * data directories below TMPDIR, and prints medians of RUNS runs with the least and the greatest,
 * beside the floors that the project sets itself. No figure makes it fail; a wrong result does:
 * every message must be acknowledged and read back, every row counted by the view. */
#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    RUNS = 3,
    STARTS = 10,
    TOPICS = 1000,
    PRODUCE_BYTES = 500000000, /* per run and message size */
    READINGS = 4000000,
    KEYS = 100,
    PARTITIONS = 2,
    RATE = 50000, /* messages/s of the latency runs */
    LATENCY_S = 20,
    WARM_S = 1, /* of a latency run, not counted */
    PATH_BYTES = 256,
    LINE_BYTES = 256,
    ERROR_BYTES = 512,
    BATCH = 10000,
    POLL_MS = 100,
    PATIENCE_S = 60,
    SSE_BYTES = 1 << 20,
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sleep_s(double s)
{
    struct timespec t = {(time_t)s, (long)((s - (double)(time_t)s) * 1e9)};
    nanosleep(&t, NULL);
}

static void stop_all(void);

_Noreturn static void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "bench_server: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    stop_all();
    exit(1);
}

/* ---- a table of results ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the runs; a floor of NULL is none. */
static void row(const char *what, const char *unit, double *runs, int n, const char *floor)
{
    qsort(runs, (size_t)n, sizeof *runs, by_value);
    double m = n % 2 == 1 ? runs[n / 2] : (runs[n / 2 - 1] + runs[n / 2]) / 2;
    int digits = m >= 1000 ? 0 : m >= 10 ? 1 : 2;
    printf("%-46s %12.*f %-13s %.*f .. %.*f", what, digits, m, unit, digits, runs[0], digits,
           runs[n - 1]);
    printf("%s%s\n", floor == NULL ? "" : "   floor: ", floor == NULL ? "" : floor);
    fflush(stdout);
}

static void row_one(const char *what, const char *unit, double value, const char *floor)
{
    row(what, unit, &value, 1, floor);
}

/* ---- the server ---- */

struct server {
    pid_t pid;
    char folder[PATH_BYTES], kafka[64], pg[64], http[64];
    double start_s; /* fork until "ready" */
};

static struct server server;
static char peer_folder[PATH_BYTES];

static const char *program(void)
{
    const char *p = getenv("TIDEMILL");
    return p != NULL ? p : "build/tidemill";
}

static void folder_make(char *out, const char *name)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(out, PATH_BYTES, "%s/tidemill-%s-XXXXXX", tmp != NULL ? tmp : "/tmp", name);
    if (mkdtemp(out) == NULL)
        fail("cannot make a folder %s", out);
}

static void folder_remove(char *folder)
{
    char command[PATH_BYTES + 32];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (folder[0] != '\0' && system(command) != 0)
        fprintf(stderr, "bench_server: %s is left behind\n", folder);
    folder[0] = '\0';
}

/* Over server.folder, which is made when there is none. */
static void server_start(void)
{
    int out[2];
    if (server.folder[0] == '\0')
        folder_make(server.folder, "bench");
    double began = now_s();
    if (pipe(out) != 0 || (server.pid = fork()) < 0)
        fail("cannot start a process");
    if (server.pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        execl(program(), "tidemill", "serve", "--data", server.folder, "--kafka", "127.0.0.1:0",
              "--http", "127.0.0.1:0", "--pg", "127.0.0.1:0", (char *)NULL);
        perror(program());
        _exit(2);
    }
    close(out[1]);
    FILE *lines = fdopen(out[0], "r");
    char line[LINE_BYTES] = "";
    while (lines != NULL && fgets(line, sizeof line, lines) != NULL &&
           strcmp(line, "ready\n") != 0) {
        sscanf(line, "listening kafka %63s", server.kafka);
        sscanf(line, "listening pg %63s", server.pg);
        sscanf(line, "listening http %63s", server.http);
    }
    if (strcmp(line, "ready\n") != 0)
        fail("%s did not start (TIDEMILL names another)", program());
    server.start_s = now_s() - began;
    fclose(lines);
}

static void server_stop(bool keep_data)
{
    int status = 0;
    if (server.pid > 0) {
        kill(server.pid, SIGTERM);
        waitpid(server.pid, &status, 0);
        server.pid = 0;
        if (status != 0)
            fprintf(stderr, "bench_server: the server ended with status %d\n", status);
    }
    if (!keep_data)
        folder_remove(server.folder);
}

/* User and system seconds of the server so far. */
static double server_cpu_s(void)
{
    char path[64], text[1024] = "";
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)server.pid);
    FILE *f = fopen(path, "r");
    if (f == NULL || fgets(text, sizeof text, f) == NULL)
        fail("the server has died");
    fclose(f);
    const char *after = strrchr(text, ')');
    if (after == NULL || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                                &user, &system) != 2)
        fail("cannot read %s", path);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* A line of /proc/PID/status, in MB. */
static double server_memory_mb(const char *name)
{
    char path[64], line[LINE_BYTES];
    double kb = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)server.pid);
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            kb = strtod(line + strlen(name) + 1, NULL);
    if (f != NULL)
        fclose(f);
    return kb / 1024;
}

/* ---- SQL ---- */

static PGconn *sql_open(const char *conninfo)
{
    PGconn *c = PQconnectdb(conninfo);
    if (PQstatus(c) != CONNECTION_OK)
        fail("%s", PQerrorMessage(c));
    return c;
}

static PGconn *server_sql(void)
{
    char conninfo[LINE_BYTES];
    const char *port = strrchr(server.pg, ':');
    snprintf(conninfo, sizeof conninfo, "host=127.0.0.1 port=%s dbname=tidemill user=bench",
             port == NULL ? "" : port + 1);
    return sql_open(conninfo);
}

/* The first value of the result, in static storage. */
static const char *sql(PGconn *c, const char *statement)
{
    static char value[LINE_BYTES];
    PGresult *r = PQexec(c, statement);
    ExecStatusType s = PQresultStatus(r);
    if (s != PGRES_TUPLES_OK && s != PGRES_COMMAND_OK && s != PGRES_COPY_IN)
        fail("%s: %s", statement, PQerrorMessage(c));
    bool some = PQntuples(r) > 0 && PQnfields(r) > 0;
    snprintf(value, sizeof value, "%s", some ? PQgetvalue(r, 0, 0) : "");
    PQclear(r);
    return value;
}

/* ---- Kafka clients ---- */

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char error[ERROR_BYTES];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK)
        fail("%s", error);
}

struct deliveries {
    int64_t acknowledged, failed;
};

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    (void)rk;
    struct deliveries *d = opaque;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        d->acknowledged++;
    else
        d->failed++;
}

static rd_kafka_t *producer_new(struct deliveries *d, const char *linger_ms)
{
    char error[ERROR_BYTES];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", server.kafka);
    set(conf, "acks", "all");
    set(conf, "linger.ms", linger_ms);
    set(conf, "batch.num.messages", "10000");
    set(conf, "queue.buffering.max.messages", "1000000");
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_conf_set_opaque(conf, d);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, error, sizeof error);
    if (rk == NULL)
        fail("%s", error);
    return rk;
}

/* Reads the partitions of a topic from `offset` on. */
static rd_kafka_t *consumer_new(const char *topic, int64_t offset)
{
    char error[ERROR_BYTES];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", server.kafka);
    set(conf, "group.id", "bench");
    set(conf, "enable.auto.commit", "false");
    set(conf, "queued.min.messages", "1000000");
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, sizeof error);
    if (rk == NULL)
        fail("%s", error);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(PARTITIONS);
    for (int32_t i = 0; i < PARTITIONS; i++)
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = offset;
    rd_kafka_assign(rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    return rk;
}

static void topics_create(const char *prefix, int n, int partitions)
{
    struct deliveries none = {0};
    char name[64], error[ERROR_BYTES];
    rd_kafka_t *rk = producer_new(&none, "5");
    rd_kafka_NewTopic_t **t = calloc((size_t)n, sizeof(*t));
    for (int i = 0; t != NULL && i < n; i++) {
        snprintf(name, sizeof name, n == 1 ? "%s" : "%s-%d", prefix, i);
        t[i] = rd_kafka_NewTopic_new(name, partitions, 1, error, sizeof error);
    }
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    rd_kafka_CreateTopics(rk, t, (size_t)n, NULL, q);
    rd_kafka_event_t *e = rd_kafka_queue_poll(q, PATIENCE_S * 1000);
    if (e == NULL || rd_kafka_event_error(e) != RD_KAFKA_RESP_ERR_NO_ERROR)
        fail("cannot create topics");
    rd_kafka_event_destroy(e);
    rd_kafka_queue_destroy(q);
    rd_kafka_NewTopic_destroy_array(t, (size_t)n);
    free(t);
    rd_kafka_destroy(rk);
}

/* Queues one message; waits for room when there is none. */
static void message_send(rd_kafka_t *rk, rd_kafka_topic_t *topic, int32_t partition, void *value,
                         size_t bytes)
{
    while (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, value, bytes, NULL, 0, NULL) !=
           0) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            fail("%s", rd_kafka_err2str(rd_kafka_last_error()));
        rd_kafka_poll(rk, 1);
    }
}

static void deliveries_wait(rd_kafka_t *rk, const struct deliveries *d, int64_t n)
{
    double end = now_s() + PATIENCE_S;
    while (d->acknowledged + d->failed < n && now_s() < end)
        rd_kafka_poll(rk, POLL_MS);
    if (d->acknowledged != n)
        fail("%" PRId64 " of %" PRId64 " messages were acknowledged", d->acknowledged, n);
}

/* ---- produce and fetch ---- */

struct produce_runs {
    size_t bytes;
    double per_s[RUNS], cpu[RUNS], read_per_s[RUNS], read_mb_s[RUNS], read_cpu[RUNS];
};

static void produce_run(struct produce_runs *p, const char *topic, int64_t n, int run)
{
    static char value[1 << 16];
    struct deliveries d = {0};
    rd_kafka_t *rk = producer_new(&d, "5");
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
    memset(value, 'x', sizeof value);
    double cpu = server_cpu_s(), began = now_s();
    for (int64_t i = 0; i < n; i++) {
        message_send(rk, rkt, (int32_t)(i / 1000 % PARTITIONS), value, p->bytes);
        if (i % 1000 == 0)
            rd_kafka_poll(rk, 0);
    }
    deliveries_wait(rk, &d, n);
    p->per_s[run] = (double)n / (now_s() - began);
    p->cpu[run] = (server_cpu_s() - cpu) / (double)n * 1e6;
    rd_kafka_topic_destroy(rkt);
    rd_kafka_destroy(rk);
}

static void consume_run(struct produce_runs *p, const char *topic, int64_t n, int run)
{
    static rd_kafka_message_t *batch[BATCH];
    rd_kafka_t *rk = consumer_new(topic, RD_KAFKA_OFFSET_BEGINNING);
    rd_kafka_queue_t *q = rd_kafka_queue_get_consumer(rk);
    double cpu = server_cpu_s(), began = now_s();
    int64_t got = 0;
    while (got < n && now_s() < began + PATIENCE_S) {
        ssize_t k = rd_kafka_consume_batch_queue(q, POLL_MS, batch, BATCH);
        for (ssize_t i = 0; i < k; i++) {
            got += batch[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR && batch[i]->len == p->bytes;
            rd_kafka_message_destroy(batch[i]);
        }
    }
    if (got < n)
        fail("%" PRId64 " of %" PRId64 " messages were read back", got, n);
    double took = now_s() - began, gb = (double)n * (double)p->bytes / 1e9;
    p->read_per_s[run] = (double)n / took;
    p->read_mb_s[run] = gb * 1e3 / took;
    p->read_cpu[run] = (server_cpu_s() - cpu) / gb;
    rd_kafka_queue_destroy(q);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
}

static void part_produce(void)
{
    static struct produce_runs runs[] = {{.bytes = 100}, {.bytes = 1000}};
    char topic[64];
    server_start();
    for (int run = 0; run < RUNS; run++)
        for (size_t i = 0; i < 2; i++) {
            int64_t n = PRODUCE_BYTES / (int64_t)runs[i].bytes;
            snprintf(topic, sizeof topic, "produce-%zu-%d", runs[i].bytes, run);
            topics_create(topic, 1, PARTITIONS);
            produce_run(&runs[i], topic, n, run);
            consume_run(&runs[i], topic, n, run);
        }
    for (size_t i = 0; i < 2; i++) {
        char what[64];
        struct produce_runs *p = &runs[i];
        snprintf(what, sizeof what, "produce, %zu bytes, acks=all", p->bytes);
        row(what, "messages/s", p->per_s, RUNS, i == 0 ? "500000" : NULL);
        row("  server CPU per million messages", "s", p->cpu, RUNS, NULL);
        snprintf(what, sizeof what, "fetch, %zu bytes", p->bytes);
        row(what, "messages/s", p->read_per_s, RUNS, NULL);
        row("  values", "MB/s", p->read_mb_s, RUNS, NULL);
        row("  server CPU per GB", "s", p->read_cpu, RUNS, NULL);
    }
    row_one("resident memory of the server after this", "MB", server_memory_mb("VmRSS"), NULL);
    server_stop(false);
}

/* ---- rows through a view ---- */

#define READINGS_TABLE "(sensor text, temp float8, ts timestamptz NOT NULL)"
static const int64_t FIRST_S = 1767225600; /* 2026-01-01 */

/* Reading `i` of sensor i % KEYS, a millisecond after the one before: JSON or CSV. */
static size_t reading(int64_t i, bool json, char *out)
{
    time_t s = (time_t)(FIRST_S + i / 1000);
    struct tm t;
    gmtime_r(&s, &t);
    const char *format = json ? "{\"sensor\":\"s-%03d\",\"temp\":%d.%02d,"
                                "\"ts\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\"}"
                              : "s-%03d,%d.%02d,%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\n";
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    return (size_t)snprintf(out, LINE_BYTES, format, (int)(i % KEYS), (int)(10 + i / 7 % 30),
                            (int)(i * 13 % 100), t.tm_year + 1900, t.tm_mon + 1, t.tm_mday,
                            t.tm_hour, t.tm_min, t.tm_sec, (int)(i % 1000));
#pragma GCC diagnostic pop
}

static void readings_produce(void)
{
    char value[LINE_BYTES];
    struct deliveries d = {0};
    rd_kafka_t *rk = producer_new(&d, "5");
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, "readings", NULL);
    for (int64_t i = 0; i < READINGS; i++) {
        size_t n = reading(i, true, value);
        message_send(rk, rkt, (int32_t)(i % PARTITIONS), value, n);
        if (i % 1000 == 0)
            rd_kafka_poll(rk, 0);
    }
    deliveries_wait(rk, &d, READINGS);
    rd_kafka_topic_destroy(rkt);
    rd_kafka_destroy(rk);
}

static void view_run(PGconn *c, const char *emit, double *wall, double *cpu)
{
    char create[512];
    snprintf(create, sizeof create,
             "CREATE MATERIALIZED VIEW avg_temp WITH (emit = '%s') AS SELECT sensor, window_start, "
             "avg(temp) AS avg, count(*) AS n FROM tumble(readings, ts, INTERVAL '10 s') "
             "GROUP BY sensor, window_start",
             emit);
    double cpu_began = server_cpu_s(), began = now_s();
    sql(c, create);
    while (strcmp(sql(c, "SELECT status FROM sys.views WHERE name = 'avg_temp'"), "live") != 0) {
        if (now_s() > began + PATIENCE_S)
            fail("the view did not catch up");
        sleep_s(0.002);
    }
    *wall = READINGS / (now_s() - began);
    *cpu = READINGS / (server_cpu_s() - cpu_began);
    /* The last windows of emit = 'final' are open: at most 15 s of readings. */
    int64_t n = strtoll(sql(c, "SELECT sum(n) FROM avg_temp"), NULL, 10);
    bool final = strcmp(emit, "final") == 0;
    if (final ? n > READINGS || n < READINGS - 16000 : n != READINGS)
        fail("the view counts %" PRId64 " of %d readings", n, READINGS);
    sql(c, "DROP MATERIALIZED VIEW avg_temp");
}

static void part_rows(void)
{
    double wall[2][RUNS], cpu[2][RUNS];
    server_start();
    PGconn *c = server_sql();
    sql(c, "CREATE TABLE readings " READINGS_TABLE
           " WITH (event_time = 'ts', lateness = '5 s', partitions = 2, format = 'json')");
    readings_produce();
    sleep_s(1);
    for (int run = 0; run < RUNS; run++)
        for (int final = 0; final < 2; final++)
            view_run(c, final ? "final" : "changes", &wall[final][run], &cpu[final][run]);
    row("view over 4 M readings, emit = changes", "rows/s", wall[0], RUNS, NULL);
    row("  per CPU-second of the server", "rows/s/core", cpu[0], RUNS, "1000000");
    row("view over 4 M readings, emit = final", "rows/s", wall[1], RUNS, NULL);
    row("  per CPU-second of the server", "rows/s/core", cpu[1], RUNS, "1000000");
    row_one("resident memory of the server, greatest", "MB", server_memory_mb("VmHWM"), NULL);
    sleep_s(1);
    row_one("resident memory of the server, at the end", "MB", server_memory_mb("VmRSS"), NULL);
    PQfinish(c);
    server_stop(false);
}

/* ---- latency ---- */

enum { MESSAGES = RATE * LATENCY_S };

/* From the call that queues a message until a change of the view that includes it has come. Message
 * `seq` is of sensor seq % KEYS, and the view keeps each sensor's greatest seq. */
struct latency {
    _Atomic double *sent; /* by seq */
    double *took;
    int64_t n_took;
    int64_t visible[KEYS]; /* per sensor */
    _Atomic bool produced;
};

static void latency_clear(struct latency *l)
{
    l->n_took = 0;
    l->produced = false;
    for (int64_t k = 0; k < KEYS; k++)
        l->visible[k] = k - KEYS;
}

/* A change of the view came: its row as JSON. */
static void latency_see(struct latency *l, const char *json, double now)
{
    const char *key = strstr(json, "\"s-"), *number = strstr(json, "\"seq\":");
    if (key == NULL || number == NULL)
        fail("not a row of the view: %s", json);
    long k = strtol(key + strlen("\"s-"), NULL, 10);
    int64_t seq = strtoll(number + strlen("\"seq\":"), NULL, 10);
    if (k < 0 || k >= KEYS || seq % KEYS != k || seq >= MESSAGES)
        fail("the view has a row that was never sent: %s", json);
    while (l->visible[k] < seq) {
        l->visible[k] += KEYS;
        l->took[l->n_took++] =
            now - atomic_load_explicit(&l->sent[l->visible[k]], memory_order_relaxed);
    }
}

static void *latency_produce(void *arg)
{
    struct latency *l = arg;
    struct deliveries d = {0};
    char value[LINE_BYTES], time_text[64] = "";
    rd_kafka_t *rk = producer_new(&d, "1");
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, "latency", NULL);
    double began = now_s();
    for (int64_t i = 0; i < MESSAGES;) {
        double now = now_s();
        int64_t due = (int64_t)((now - began) * RATE);
        struct timespec wall;
        struct tm t;
        clock_gettime(CLOCK_REALTIME, &wall);
        gmtime_r(&wall.tv_sec, &t);
        strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%S", &t);
        for (; i < due && i < MESSAGES; i++) {
            int n = snprintf(value, sizeof value,
                             "{\"sensor\":\"s-%03d\",\"temp\":21.5,\"seq\":%" PRId64
                             ",\"ts\":\"%s.%03ldZ\"}",
                             (int)(i % KEYS), i, time_text, wall.tv_nsec / 1000000);
            atomic_store_explicit(&l->sent[i], now_s(), memory_order_relaxed);
            message_send(rk, rkt, (int32_t)(i % PARTITIONS), value, (size_t)n);
        }
        rd_kafka_poll(rk, 0);
        sleep_s(0.0005);
    }
    deliveries_wait(rk, &d, MESSAGES);
    l->produced = true;
    rd_kafka_topic_destroy(rkt);
    rd_kafka_destroy(rk);
    return NULL;
}

static void watch_kafka(struct latency *l)
{
    static rd_kafka_message_t *batch[BATCH];
    char json[1024];
    rd_kafka_t *rk = consumer_new("latest", RD_KAFKA_OFFSET_END);
    rd_kafka_queue_t *q = rd_kafka_queue_get_consumer(rk);
    pthread_t producer;
    rd_kafka_consume_batch_queue(q, 500, batch, BATCH);
    if (pthread_create(&producer, NULL, latency_produce, l) != 0)
        fail("cannot start a thread");
    double end = now_s() + LATENCY_S + PATIENCE_S;
    while (l->n_took < MESSAGES && now_s() < end) {
        ssize_t n = rd_kafka_consume_batch_queue(q, 1, batch, BATCH);
        double now = now_s();
        for (ssize_t i = 0; i < n; i++) {
            if (batch[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR && batch[i]->payload != NULL) {
                snprintf(json, sizeof json, "%.*s", (int)batch[i]->len,
                         (const char *)batch[i]->payload);
                latency_see(l, json, now);
            }
            rd_kafka_message_destroy(batch[i]);
        }
    }
    pthread_join(producer, NULL);
    rd_kafka_queue_destroy(q);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
}

static int sse_open(void)
{
    static const char request[] = "GET /v1/views/latest/changes?snapshot=false HTTP/1.0\r\n"
                                  "Host: localhost\r\nAccept: text/event-stream\r\n\r\n";
    const char *port = strrchr(server.http, ':');
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)strtol(port + 1, NULL, 10)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0 ||
        write(fd, request, sizeof request - 1) != sizeof request - 1)
        fail("cannot follow the view over HTTP");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

static void watch_sse(struct latency *l)
{
    static char text[SSE_BYTES + 1];
    size_t have = 0;
    pthread_t producer;
    int fd = sse_open();
    sleep_s(0.5);
    if (pthread_create(&producer, NULL, latency_produce, l) != 0)
        fail("cannot start a thread");
    while (l->n_took < MESSAGES) {
        ssize_t n = read(fd, text + have, SSE_BYTES - have);
        double now = now_s();
        if (n <= 0)
            fail("the event stream ended after %" PRId64 " messages", l->n_took);
        have += (size_t)n;
        text[have] = '\0';
        char *line = text;
        for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            if (strncmp(line, "data: {\"weight\":1,", 18) == 0)
                latency_see(l, line, now);
        }
        have -= (size_t)(line - text);
        memmove(text, line, have);
    }
    pthread_join(producer, NULL);
    close(fd);
}

static void latency_quantiles(struct latency *l, double out[4][RUNS], int run)
{
    static const double at[] = {0.5, 0.9, 0.99, 1};
    int64_t n = 0;
    if (l->n_took != MESSAGES)
        fail("%" PRId64 " of %d messages became visible", l->n_took, MESSAGES);
    /* In order of visibility, which is nearly that of sending. */
    for (int64_t i = RATE * WARM_S; i < MESSAGES; i++)
        l->took[n++] = l->took[i];
    qsort(l->took, (size_t)n, sizeof *l->took, by_value);
    for (int i = 0; i < 4; i++)
        out[i][run] = l->took[(int64_t)((double)(n - 1) * at[i])] * 1e3;
}

static void part_latency(void)
{
    static const char *const names[] = {"p50", "p90", "p99", "max"};
    static const char *const floors[] = {"5", NULL, "25", NULL};
    static struct latency l;
    double ms[2][4][RUNS], cpu[2][RUNS];
    l.sent = calloc(MESSAGES, sizeof *l.sent);
    l.took = calloc(MESSAGES, sizeof *l.took);
    if (l.sent == NULL || l.took == NULL)
        fail("out of memory");
    for (int run = 0; run < RUNS; run++)
        for (int sse = 0; sse < 2; sse++) {
            server_start();
            PGconn *c = server_sql();
            sql(c, "CREATE TABLE latency (sensor text, temp float8, seq bigint, ts timestamptz NOT "
                   "NULL) WITH (event_time = 'ts', lateness = '5 s', partitions = 2, format = "
                   "'json')");
            sql(c, "CREATE MATERIALIZED VIEW latest AS SELECT sensor, window_start, avg(temp) AS "
                   "avg, count(*) AS n, max(seq) AS seq FROM tumble(latency, ts, INTERVAL '10 s') "
                   "GROUP BY sensor, window_start");
            latency_clear(&l);
            double before = server_cpu_s();
            (sse ? watch_sse : watch_kafka)(&l);
            cpu[sse][run] = (server_cpu_s() - before) / LATENCY_S * 100;
            latency_quantiles(&l, ms[sse], run);
            PQfinish(c);
            server_stop(false);
        }
    for (int sse = 0; sse < 2; sse++) {
        for (int i = 0; i < 4; i++) {
            char what[64];
            snprintf(what, sizeof what, "50,000 messages/s until seen by %s, %s",
                     sse ? "SSE" : "Kafka", names[i]);
            row(what, "ms", ms[sse][i], RUNS, floors[i]);
        }
        row("  server CPU", "% of a core", cpu[sse], RUNS, NULL);
    }
    free(l.sent);
    free(l.took);
}

/* ---- start, idle ---- */

static void part_start(void)
{
    double empty[STARTS], full[STARTS], rss[STARTS];
    for (int i = 0; i < STARTS; i++) {
        server_start();
        empty[i] = server.start_s * 1e3;
        sleep_s(0.2);
        rss[i] = server_memory_mb("VmRSS");
        server_stop(false);
    }
    server_start();
    sleep_s(0.5);
    double cpu = server_cpu_s();
    sleep_s(5);
    cpu = (server_cpu_s() - cpu) / 5 * 100;
    topics_create("many", TOPICS, 1);
    server_stop(true);
    for (int i = 0; i < STARTS; i++) {
        server_start();
        full[i] = server.start_s * 1e3;
        server_stop(true);
    }
    server_stop(false);
    struct stat st;
    if (stat(program(), &st) != 0)
        fail("cannot read %s", program());
    row("start until ready, no data", "ms", empty, STARTS, "100");
    row("start until ready, 1,000 topics", "ms", full, STARTS, NULL);
    row("resident memory, idle", "MB", rss, STARTS, "40");
    row_one("CPU, idle", "% of a core", cpu, NULL);
    row_one("program file", "MB", (double)st.st_size / 1e6, "15");
}

/* ---- what the disk does; a peer ---- */

static void part_disk(void)
{
    enum { FLUSHES = 300, BYTES = 4096 };
    static char bytes[BYTES];
    double ms[FLUSHES];
    char folder[PATH_BYTES], path[PATH_BYTES + 8];
    folder_make(folder, "disk");
    snprintf(path, sizeof path, "%s/file", folder);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    for (int i = 0; fd >= 0 && i < FLUSHES; i++) {
        double began = now_s();
        if (write(fd, bytes, BYTES) != BYTES || fdatasync(fd) != 0)
            fail("cannot write %s", path);
        ms[i] = (now_s() - began) * 1e3;
    }
    close(fd);
    folder_remove(folder);
    row("disk: 4 KB appended + fdatasync", "ms", ms, FLUSHES, NULL);
    row_one("  p99", "ms", ms[FLUSHES * 99 / 100], NULL);
}

static bool peer_command(const char *what, char *line)
{
    char command[PATH_BYTES + 64];
    snprintf(command, sizeof command, "bench/postgres.sh %s '%s'", what, peer_folder);
    FILE *f = popen(command, "r");
    if (f == NULL)
        return false;
    line[0] = '\0';
    if (fgets(line, LINE_BYTES, f) != NULL)
        line[strcspn(line, "\n")] = '\0';
    return pclose(f) == 0;
}

static double peer_copy(PGconn *c)
{
    char line[LINE_BYTES];
    sql(c, "TRUNCATE readings");
    double began = now_s();
    sql(c, "COPY readings FROM STDIN (FORMAT csv)");
    for (int64_t i = 0; i < READINGS; i++)
        if (PQputCopyData(c, line, (int)reading(i, false, line)) != 1)
            fail("%s", PQerrorMessage(c));
    PQputCopyEnd(c, NULL);
    PGresult *r;
    while ((r = PQgetResult(c)) != NULL) {
        if (PQresultStatus(r) != PGRES_COMMAND_OK)
            fail("%s", PQerrorMessage(c));
        PQclear(r);
    }
    return READINGS / (now_s() - began);
}

static void part_peer(void)
{
    static const char group[] =
        "SELECT sum(n) FROM (SELECT sensor, date_bin('10 s', ts, '2026-01-01'), avg(temp), "
        "count(*) AS n FROM readings GROUP BY 1, 2) g";
    double copy[RUNS], grouped[RUNS];
    char conninfo[LINE_BYTES], what[LINE_BYTES];
    folder_make(peer_folder, "postgres");
    if (!peer_command("start", conninfo)) {
        folder_remove(peer_folder);
        printf("PostgreSQL 15 is not here: no figures of a peer\n");
        return;
    }
    PGconn *c = sql_open(conninfo);
    snprintf(what, sizeof what, "%s", sql(c, "SHOW server_version"));
    printf("peer: PostgreSQL %s, as installed, one process per query\n", what);
    sql(c, "SET max_parallel_workers_per_gather = 0");
    sql(c, "CREATE TABLE readings " READINGS_TABLE);
    for (int run = 0; run < RUNS; run++) {
        copy[run] = peer_copy(c);
        double began = now_s();
        if (strtoll(sql(c, group), NULL, 10) != READINGS)
            fail("PostgreSQL lost readings");
        grouped[run] = READINGS / (now_s() - began);
    }
    PQfinish(c);
    row("PostgreSQL: COPY of the same readings, CSV", "rows/s", copy, RUNS, NULL);
    row("PostgreSQL: GROUP BY over them, once", "rows/s/core", grouped, RUNS, NULL);
    peer_command("stop", what);
    folder_remove(peer_folder);
}

static void stop_all(void)
{
    char line[LINE_BYTES];
    if (server.pid > 0) {
        kill(server.pid, SIGKILL);
        waitpid(server.pid, NULL, 0);
    }
    if (server.folder[0] != '\0')
        folder_remove(server.folder);
    if (peer_folder[0] != '\0') {
        peer_command("stop", line);
        folder_remove(peer_folder);
    }
}

/* ---- who else used the machine ---- */

struct usage {
    double at_s, all_s, own_s; /* CPU-seconds of everybody; of this program and ended servers */
};

static struct usage usage_now(void)
{
    unsigned long user = 0, nice = 0, system = 0;
    struct usage u = {.at_s = now_s()};
    FILE *f = fopen("/proc/stat", "r");
    if (f == NULL || fscanf(f, "cpu %lu %lu %lu", &user, &nice, &system) != 3)
        fail("cannot read /proc/stat");
    fclose(f);
    u.all_s = (double)(user + nice + system) / (double)sysconf(_SC_CLK_TCK);
    for (int who = 0; who < 2; who++) {
        struct rusage r;
        getrusage(who == 0 ? RUSAGE_SELF : RUSAGE_CHILDREN, &r);
        u.own_s += (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
                   (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
    }
    return u;
}

static void usage_tell(struct usage from)
{
    struct usage to = usage_now();
    double others = (to.all_s - from.all_s - to.own_s + from.own_s) / (to.at_s - from.at_s);
    row_one("  other programs meanwhile", "% of a core", others > 0 ? others * 100 : 0, NULL);
}

static const struct {
    const char *name;
    void (*run)(void);
} parts[] = {{"disk", part_disk},       {"produce", part_produce}, {"rows", part_rows},
             {"latency", part_latency}, {"start", part_start},     {"peer", part_peer}};
enum { N_PARTS = sizeof parts / sizeof *parts };

static void parts_tell(FILE *to, const char *between)
{
    for (size_t i = 0; i < N_PARTS; i++)
        fprintf(to, "%s%s", i == 0 ? "" : between, parts[i].name);
    fprintf(to, "\n");
}

static void part_check(const char *name)
{
    for (size_t i = 0; i < N_PARTS; i++)
        if (strcmp(name, parts[i].name) == 0)
            return;
    fprintf(stderr, "bench_server: there is no part \"%s\": ", name);
    parts_tell(stderr, " ");
    exit(2);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        parts_tell(stdout, "\n");
        return 0;
    }
    for (int a = 1; a < argc; a++)
        part_check(argv[a]);
    signal(SIGPIPE, SIG_IGN);
    printf("%s, librdkafka %s, %d partitions, fsync = group, medians of %d runs\n", program(),
           rd_kafka_version_str(), PARTITIONS, RUNS);
    printf("%-46s %12s %-13s %s\n", "", "median", "", "least .. greatest");
    for (size_t i = 0; i < N_PARTS; i++) {
        bool wanted = argc == 1;
        for (int a = 1; a < argc; a++)
            wanted |= strcmp(argv[a], parts[i].name) == 0;
        if (!wanted)
            continue;
        struct usage before = usage_now();
        parts[i].run();
        if (parts[i].run != part_peer) /* PostgreSQL's processes are not our children */
            usage_tell(before);
    }
    return 0;
}
