/* Load for any broker that speaks Kafka's protocol, without a client library: requests are built
 * once and sent as they are, so that what is measured is the server. bench/kafka/run.py builds and
 * runs it. Results are lines "NAME VALUE".
 *
 * usage: load PART ADDRESS:PORT ...
 *   topic A NAME PARTITIONS [SETTING VALUE]...      makes a topic
 *   produce A TOPIC PARTITIONS ACKS CONNECTIONS IN_FLIGHT RECORDS BYTES MESSAGES
 *                                                   batches of RECORDS records of BYTES
 *   fetch A TOPIC PARTITIONS MESSAGES               reads them all, 1 MB at most per partition
 *   latency A TOPIC PARTITIONS RECORDS BYTES RATE MESSAGES
 *                                                   RATE messages a second, timed until fetched;
 *                                                   a RATE out of reach tells the highest one
 *   groups A NAME GROUPS MEMBERS PARTITIONS         forms groups that read NAME-0 and NAME-1, all
 * of them; then a member of each leaves first A START_NS                                tries until
 * a message is acknowledged
 *
 * Every part ends after PART_SECONDS_MAX. Versions below the flexible ones only. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PART_SECONDS_MAX = 240,
    REQUEST_BYTES_MAX = 1 << 20,
    RESPONSE_BYTES_MAX = 64 << 20,
    TEXT_MAX = 256,
    PARTITIONS_MAX = 64,
    CONNECTIONS_MAX = 16384,
    MEMBERS_MAX = 64,
    TOPICS = 2, /* that each group reads; a topic of Tidemill has 1,024 partitions at most */
    EVENTS_MAX = 512,
    HEARTBEAT_MS = 3000, /* the Java consumer's default */
    SAMPLES_MAX = 1 << 20,
    FETCH_PARTITION_BYTES = 1 << 20,
};
enum {
    KEY_PRODUCE = 0,
    KEY_FETCH = 1,
    KEY_COORDINATOR = 10,
    KEY_JOIN = 11,
    KEY_HEARTBEAT = 12,
    KEY_LEAVE = 13,
    KEY_SYNC = 14,
    KEY_CREATE_TOPICS = 19,
};
enum { E_REBALANCE_IN_PROGRESS = 27, E_TOPIC_EXISTS = 36, E_MEMBER_ID_REQUIRED = 79 };

static const int64_t SECOND_NS = 1000000000;
static int64_t deadline_ns;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

static void *must(void *p)
{
    if (p == NULL)
        fail("out of memory");
    return p;
}

/* ---- writing and reading messages ---- */

struct out {
    char *p;
    size_t n, cap;
};

static char *room(struct out *o, size_t n)
{
    if (o->n + n > o->cap) {
        o->cap = (o->n + n) * 2;
        o->p = must(realloc(o->p, o->cap));
    }
    o->n += n;
    return o->p + o->n - n;
}

static void put(struct out *o, const void *bytes, size_t n)
{
    if (n > 0)
        memcpy(room(o, n), bytes, n);
}

static void store(char *p, int64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (char)((uint64_t)v >> (8 * (bytes - 1 - i)));
}

static void put_int(struct out *o, int64_t v, size_t bytes)
{
    store(room(o, bytes), v, bytes);
}

static void put_str(struct out *o, const char *s)
{
    put_int(o, (int64_t)strlen(s), 2);
    put(o, s, strlen(s));
}

static void put_bytes(struct out *o, const struct out *b)
{
    put_int(o, (int64_t)b->n, 4);
    put(o, b->p, b->n);
}

/* Begins a request; its size is set by request_end. */
static void request_begin(struct out *o, int key, int version)
{
    o->n = 0;
    put_int(o, 0, 4);
    put_int(o, key, 2);
    put_int(o, version, 2);
    put_int(o, 1, 4);
    put_str(o, "load");
}

static void request_end(struct out *o)
{
    store(o->p, (int64_t)o->n - 4, 4);
}

struct in {
    const char *p, *end;
};

static int64_t get_int(struct in *in, size_t bytes)
{
    uint64_t v = 0;
    if ((size_t)(in->end - in->p) < bytes)
        fail("a response is shorter than it should be");
    for (size_t i = 0; i < bytes; i++)
        v = v << 8 | (unsigned char)in->p[i];
    in->p += bytes;
    return bytes == 8 ? (int64_t)v : (int64_t)(v << (64 - 8 * bytes)) >> (64 - 8 * bytes);
}

static const char *get(struct in *in, size_t n)
{
    if ((size_t)(in->end - in->p) < n)
        fail("a response is shorter than it should be");
    in->p += n;
    return in->p - n;
}

/* A string into out, cut at its size; null is empty. */
static void get_str(struct in *in, char *out, size_t cap)
{
    int64_t n = get_int(in, 2);
    const char *s = get(in, n < 0 ? 0 : (size_t)n);
    size_t keep = n < 0 ? 0 : (size_t)n < cap ? (size_t)n : cap - 1;
    memcpy(out, s, keep);
    out[keep] = '\0';
}

/* ---- record batches ---- */

static uint32_t crc32c(const char *p, size_t n)
{
    static uint32_t table[256];
    uint32_t crc = ~0U;
    for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = (c >> 1) ^ (c & 1 ? 0x82F63B78U : 0);
        table[i] = c;
    }
    for (size_t i = 0; i < n; i++)
        crc = (crc >> 8) ^ table[(crc ^ (unsigned char)p[i]) & 255];
    return ~crc;
}

static void put_varint(struct out *o, int64_t v)
{
    uint64_t z = (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
    for (; z > 127; z >>= 7)
        put_int(o, (int64_t)(z & 127) | 128, 1);
    put_int(o, (int64_t)z, 1);
}

/* One batch of `records` records, each with a value of `bytes` bytes that do not compress well. */
static void batch_build(struct out *o, int records, size_t bytes)
{
    struct timespec t;
    struct out body = {0}, record = {0};
    uint64_t seed = 88172645463325252ULL;
    clock_gettime(CLOCK_REALTIME, &t);
    int64_t ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    put_int(&body, 0, 2); /* attributes: no compression */
    put_int(&body, records - 1, 4);
    put_int(&body, ms, 8);
    put_int(&body, ms, 8);
    put_int(&body, -1, 8); /* no producer id, epoch, sequence */
    put_int(&body, -1, 2);
    put_int(&body, -1, 4);
    put_int(&body, records, 4);
    for (int i = 0; i < records; i++) {
        record.n = 0;
        put_int(&record, 0, 1);
        put_varint(&record, 0);
        put_varint(&record, i);
        put_varint(&record, -1);
        put_varint(&record, (int64_t)bytes);
        for (size_t k = 0; k < bytes; k++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            put_int(&record, (int64_t)(seed & 127), 1);
        }
        put_varint(&record, 0);
        put_varint(&body, (int64_t)record.n);
        put(&body, record.p, record.n);
    }
    o->n = 0;
    put_int(o, 0, 8);
    put_int(o, (int64_t)body.n + 9, 4);
    put_int(o, 0, 4);
    put_int(o, 2, 1);
    put_int(o, (int64_t)crc32c(body.p, body.n), 4);
    put(o, body.p, body.n);
    free(body.p);
    free(record.p);
}

static void produce_build(struct out *o, const char *topic, int partition, int acks,
                          const struct out *batch)
{
    request_begin(o, KEY_PRODUCE, 8);
    put_int(o, -1, 2);
    put_int(o, acks, 2);
    put_int(o, 30000, 4);
    put_int(o, 1, 4);
    put_str(o, topic);
    put_int(o, 1, 4);
    put_int(o, partition, 4);
    put_bytes(o, batch);
    request_end(o);
}

/* Checks a Produce response. */
static int produce_error(const char *p, size_t n)
{
    struct in in = {p, p + n};
    char topic[TEXT_MAX];
    get_int(&in, 4);
    get_int(&in, 4);
    get_str(&in, topic, sizeof topic);
    get_int(&in, 4);
    get_int(&in, 4);
    return (int)get_int(&in, 2);
}

/* ---- connections ---- */

struct conn {
    int fd, id;
    const struct out *sending; /* the request being sent; NULL = none */
    size_t sent;
    int in_flight;
    char *buffer;
    size_t n, cap;
};

static struct sockaddr_in address_of(const char *text)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    char host[64];
    unsigned port;
    if (sscanf(text, "%63[^:]:%u", host, &port) != 2 || inet_pton(AF_INET, host, &a.sin_addr) != 1)
        fail("%s is no address", text);
    a.sin_port = htons((uint16_t)port);
    return a;
}

/* A blocking connection, or -1. */
static int dial(const char *address)
{
    struct sockaddr_in a = address_of(address);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail("socket: %s", strerror(errno));
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void conn_open(struct conn *c, const char *address, int id, int epoll)
{
    *c = (struct conn){.fd = dial(address), .id = id};
    if (c->fd < 0)
        fail("cannot connect to %s: %s", address, strerror(errno));
    fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e) != 0)
        fail("epoll: %s", strerror(errno));
}

/* Sends what is left of the current request; true when all of it went out. */
static bool conn_flush(struct conn *c)
{
    while (c->sending != NULL) {
        ssize_t n = send(c->fd, c->sending->p + c->sent, c->sending->n - c->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return false;
        if (n < 0)
            fail("send: %s", strerror(errno));
        c->sent += (size_t)n;
        if (c->sent == c->sending->n)
            c->sending = NULL;
    }
    return true;
}

static bool conn_send(struct conn *c, const struct out *request)
{
    c->sending = request;
    c->sent = 0;
    c->in_flight++;
    return conn_flush(c);
}

/* Reads what has come; calls `got` for each whole response (without its size). */
static void conn_read(struct conn *c,
                      void (*got)(struct conn *c, const char *p, size_t n, void *arg), void *arg)
{
    for (;;) {
        if (c->cap - c->n < 65536) {
            c->cap = c->cap * 2 + 65536;
            c->buffer = must(realloc(c->buffer, c->cap));
        }
        ssize_t n = recv(c->fd, c->buffer + c->n, c->cap - c->n, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0)
            fail("the server closed a connection (%s)", n == 0 ? "end" : strerror(errno));
        c->n += (size_t)n;
        size_t at = 0;
        while (c->n - at >= 4) {
            struct in in = {c->buffer + at, c->buffer + at + 4};
            size_t size = (size_t)get_int(&in, 4);
            if (size > RESPONSE_BYTES_MAX)
                fail("a response of %zu bytes", size);
            if (c->n - at - 4 < size)
                break;
            c->in_flight--;
            got(c, c->buffer + at + 4, size, arg);
            at += 4 + size;
        }
        memmove(c->buffer, c->buffer + at, c->n - at);
        c->n -= at;
    }
}

static int loop_wait(int epoll, struct epoll_event *events, int64_t timeout_ns)
{
    struct timespec timeout = {.tv_sec = timeout_ns / 1000000000,
                               .tv_nsec = timeout_ns % 1000000000};
    if (now_ns() > deadline_ns)
        fail("not done after %d s", PART_SECONDS_MAX);
    int n = epoll_pwait2(epoll, events, EVENTS_MAX, &timeout, NULL);
    if (n < 0 && errno != EINTR)
        fail("epoll: %s", strerror(errno));
    return n < 0 ? 0 : n;
}

/* One request and its response on a blocking connection, into `in`; false when it broke. */
static bool call(int fd, const struct out *request, struct out *answer)
{
    char size[4];
    answer->n = 0;
    if (send(fd, request->p, request->n, MSG_NOSIGNAL) != (ssize_t)request->n ||
        recv(fd, size, 4, MSG_WAITALL) != 4)
        return false;
    struct in in = {size, size + 4};
    size_t n = (size_t)get_int(&in, 4);
    if (n > RESPONSE_BYTES_MAX)
        fail("a response of %zu bytes", n);
    return recv(fd, room(answer, n), n, MSG_WAITALL) == (ssize_t)n;
}

/* ---- topics ---- */

/* Makes a topic; the error code, or -1 when the connection broke. */
static int topic_make(int fd, const char *name, int partitions, int n_settings, char **settings)
{
    struct out o = {0}, answer = {0};
    char text[TEXT_MAX];
    request_begin(&o, KEY_CREATE_TOPICS, 2);
    put_int(&o, 1, 4);
    put_str(&o, name);
    put_int(&o, partitions, 4);
    put_int(&o, 1, 2);
    put_int(&o, 0, 4);
    put_int(&o, n_settings / 2, 4);
    for (int i = 0; i < n_settings; i++)
        put_str(&o, settings[i]);
    put_int(&o, 20000, 4);
    put_int(&o, 0, 1);
    request_end(&o);
    bool ok = call(fd, &o, &answer);
    struct in in = {answer.p, answer.p + answer.n};
    int error = -1;
    if (ok) {
        get_int(&in, 4);
        get_int(&in, 4);
        get_int(&in, 4);
        get_str(&in, text, sizeof text);
        error = (int)get_int(&in, 2);
        get_str(&in, text, sizeof text);
        if (error != 0 && error != E_TOPIC_EXISTS)
            fprintf(stderr, "load: topic %s: error %d %s\n", name, error, text);
    }
    free(o.p);
    free(answer.p);
    return error;
}

static void part_topic(int argc, char **argv)
{
    int fd = dial(argv[2]);
    if (fd < 0)
        fail("cannot connect to %s", argv[2]);
    if (topic_make(fd, argv[3], (int)strtol(argv[4], NULL, 10), argc - 5, argv + 5) != 0)
        fail("the topic was not made");
    sleep(1); /* Kafka answers before its partitions are there */
    close(fd);
}

/* ---- produce ---- */

struct produce {
    struct out requests[PARTITIONS_MAX];
    int64_t to_send, acknowledged;
    int partitions, in_flight, records;
};

static void produce_more(struct produce *p, struct conn *c)
{
    while (p->to_send > 0 && c->in_flight < p->in_flight && conn_flush(c)) {
        p->to_send -= p->records;
        conn_send(c, &p->requests[c->id % p->partitions]);
    }
    conn_flush(c);
}

static void produce_got(struct conn *c, const char *response, size_t n, void *arg)
{
    struct produce *p = arg;
    (void)c;
    int error = produce_error(response, n);
    if (error != 0)
        fail("Produce: error %d", error);
    p->acknowledged += p->records;
}

static void part_produce(char **argv)
{
    static struct produce p;
    static struct conn conns[CONNECTIONS_MAX];
    struct epoll_event events[EVENTS_MAX];
    int acks = (int)strtol(argv[5], NULL, 10), n_conns = (int)strtol(argv[6], NULL, 10);
    p.partitions = (int)strtol(argv[4], NULL, 10);
    p.in_flight = (int)strtol(argv[7], NULL, 10);
    p.records = (int)strtol(argv[8], NULL, 10);
    int64_t batches = strtoll(argv[10], NULL, 10) / p.records;
    struct out batch = {0};
    batch_build(&batch, p.records, (size_t)strtol(argv[9], NULL, 10));
    if (p.partitions > PARTITIONS_MAX || n_conns > CONNECTIONS_MAX)
        fail("too many partitions or connections");
    for (int i = 0; i < p.partitions; i++)
        produce_build(&p.requests[i], argv[3], i, acks, &batch);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < n_conns; i++)
        conn_open(&conns[i], argv[2], i, epoll);
    p.to_send = batches * p.records;
    int64_t wanted = p.to_send, start = now_ns();
    for (int i = 0; i < n_conns; i++)
        produce_more(&p, &conns[i]);
    while (p.acknowledged < wanted) {
        int n = loop_wait(epoll, events, SECOND_NS);
        for (int i = 0; i < n; i++) {
            conn_read(events[i].data.ptr, produce_got, &p);
            produce_more(&p, events[i].data.ptr);
        }
    }
    printf("messages %" PRId64 "\nseconds %.6f\nbatch_bytes %zu\n", p.acknowledged,
           (double)(now_ns() - start) / 1e9, batch.n);
}

/* ---- fetch ---- */

struct fetch {
    const char *topic;
    int partitions;
    int64_t offsets[PARTITIONS_MAX]; /* to read on at */
    int64_t bytes, messages;
    struct out request;
    void (*batch)(int partition, int64_t base_offset, int64_t records, void *arg);
    void *arg;
};

static void fetch_build(struct fetch *f)
{
    struct out *o = &f->request;
    request_begin(o, KEY_FETCH, 11);
    put_int(o, -1, 4);
    put_int(o, 500, 4);
    put_int(o, 1, 4);
    put_int(o, 50 << 20, 4);
    put_int(o, 0, 1);
    put_int(o, 0, 4);
    put_int(o, -1, 4); /* no session */
    put_int(o, 1, 4);
    put_str(o, f->topic);
    put_int(o, f->partitions, 4);
    for (int i = 0; i < f->partitions; i++) {
        put_int(o, i, 4);
        put_int(o, -1, 4);
        put_int(o, f->offsets[i], 8);
        put_int(o, -1, 8);
        put_int(o, FETCH_PARTITION_BYTES, 4);
    }
    put_int(o, 0, 4);
    put_str(o, "");
    request_end(o);
}

static void fetch_records(struct fetch *f, int partition, struct in records)
{
    while (records.end - records.p >= 61) { /* the last batch may be cut */
        struct in h = records;
        int64_t base = get_int(&h, 8), size = get_int(&h, 4);
        get(&h, 4 + 1 + 4 + 2);
        int64_t n = get_int(&h, 4) + 1;
        if (records.end - records.p < 12 + size)
            break;
        records.p += 12 + size;
        if (base != f->offsets[partition])
            fail("partition %d: offset %" PRId64 " where %" PRId64 " was expected", partition, base,
                 f->offsets[partition]);
        f->offsets[partition] = base + n;
        f->bytes += 12 + size;
        f->messages += n;
        if (f->batch != NULL)
            f->batch(partition, base, n, f->arg);
    }
}

static void fetch_got(struct conn *c, const char *response, size_t size, void *arg)
{
    struct fetch *f = arg;
    struct in in = {response, response + size};
    char topic[TEXT_MAX];
    (void)c;
    get_int(&in, 4);
    get_int(&in, 4);
    int error = (int)get_int(&in, 2);
    get_int(&in, 4);
    for (int64_t topics = get_int(&in, 4); topics > 0; topics--) {
        get_str(&in, topic, sizeof topic);
        for (int64_t parts = get_int(&in, 4); parts > 0; parts--) {
            int partition = (int)get_int(&in, 4);
            int part_error = (int)get_int(&in, 2);
            get(&in, 3 * 8);
            for (int64_t aborted = get_int(&in, 4); aborted > 0; aborted--)
                get(&in, 16);
            get_int(&in, 4);
            int64_t bytes = get_int(&in, 4);
            error = error != 0 ? error : part_error;
            if (error != 0)
                fail("Fetch: error %d", error);
            const char *p = get(&in, bytes < 0 ? 0 : (size_t)bytes);
            fetch_records(f, partition, (struct in){p, in.p});
        }
    }
}

static void part_fetch(char **argv)
{
    static struct fetch f;
    static struct conn c;
    struct epoll_event events[EVENTS_MAX];
    int64_t wanted = strtoll(argv[5], NULL, 10);
    f.topic = argv[3];
    f.partitions = (int)strtol(argv[4], NULL, 10);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    conn_open(&c, argv[2], 0, epoll);
    int64_t start = now_ns();
    while (f.messages < wanted) {
        if (c.in_flight == 0) {
            fetch_build(&f);
            conn_send(&c, &f.request);
        }
        if (loop_wait(epoll, events, SECOND_NS) > 0) {
            conn_flush(&c);
            conn_read(&c, fetch_got, &f);
        }
    }
    printf("messages %" PRId64 "\nbytes %" PRId64 "\nseconds %.6f\n", f.messages, f.bytes,
           (double)(now_ns() - start) / 1e9);
}

/* ---- latency ---- */

static struct {
    int64_t due[PARTITIONS_MAX][SAMPLES_MAX / 16]; /* when the k-th batch should have been sent */
    int64_t samples[SAMPLES_MAX];
    int64_t n_samples, n_batches[PARTITIONS_MAX];
    int64_t records;
} latency;

static void latency_batch(int partition, int64_t base_offset, int64_t records, void *arg)
{
    (void)arg;
    if (records != latency.records || latency.n_samples == SAMPLES_MAX)
        fail("a batch that was not sent");
    latency.samples[latency.n_samples++] =
        now_ns() - latency.due[partition][base_offset / latency.records];
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void latency_report(int64_t skip)
{
    int64_t n = latency.n_samples - skip;
    if (n < 100)
        fail("only %" PRId64 " batches", n);
    qsort(latency.samples + skip, (size_t)n, sizeof(int64_t), by_value);
    static const double quantiles[] = {0.5, 0.9, 0.99, 0.999};
    for (size_t i = 0; i < 4; i++)
        printf("p%g %.6f\n", quantiles[i] * 100,
               (double)latency.samples[skip + (int64_t)((double)n * quantiles[i])] / 1e9);
    printf("max %.6f\n", (double)latency.samples[latency.n_samples - 1] / 1e9);
}

/* One batch each RECORDS / RATE seconds, to the partitions in turn, sent when it is due or as soon
 * after as the connection takes it; the time counts from when it was due. The first second
 * is not counted, or the first tenth when that is less. */
static void part_latency(char **argv)
{
    static struct fetch f;
    static struct produce p;
    static struct conn producer, consumer;
    struct epoll_event events[EVENTS_MAX];
    struct out batch = {0};
    f.topic = argv[3];
    f.partitions = p.partitions = (int)strtol(argv[4], NULL, 10);
    latency.records = p.records = (int)strtol(argv[5], NULL, 10);
    double rate = strtod(argv[7], NULL);
    int64_t total = strtoll(argv[8], NULL, 10) / p.records, sent = 0;
    if (p.partitions > PARTITIONS_MAX || total / p.partitions >= SAMPLES_MAX / 16)
        fail("too many partitions or batches");
    batch_build(&batch, p.records, (size_t)strtol(argv[6], NULL, 10));
    for (int i = 0; i < p.partitions; i++)
        produce_build(&p.requests[i], f.topic, i, 1, &batch);
    f.batch = latency_batch;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    conn_open(&producer, argv[2], 0, epoll);
    conn_open(&consumer, argv[2], 1, epoll);
    int64_t start = now_ns() + 10000000;
    double period_ns = 1e9 * p.records / rate;
    while (f.messages < total * p.records) {
        int64_t due = start + (int64_t)((double)sent * period_ns);
        if (consumer.in_flight == 0) {
            fetch_build(&f);
            conn_send(&consumer, &f.request);
        }
        /* Looked at once: a batch that is due by a second look would wait for the next event. */
        int64_t left = due - now_ns();
        if (sent < total && left <= 0 && conn_flush(&producer)) {
            int part = (int)(sent++ % p.partitions);
            latency.due[part][latency.n_batches[part]++] = due;
            conn_send(&producer, &p.requests[part]);
            continue;
        }
        /* Until the next batch is due; one that is due waits for the connection to take it. */
        int n = loop_wait(epoll, events, sent < total && left > 0 ? left : SECOND_NS);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            conn_flush(c);
            conn_read(c, c == &producer ? produce_got : fetch_got,
                      c == &producer ? (void *)&p : (void *)&f);
        }
    }
    printf("batch_bytes %zu\nrate %.0f\n", batch.n,
           (double)f.messages * 1e9 / (double)(now_ns() - start));
    int64_t skip = (int64_t)(1e9 / period_ns);
    latency_report(skip < latency.n_samples / 10 ? skip : latency.n_samples / 10);
}

/* ---- groups ---- */

enum member_state { MEMBER_NEW, MEMBER_JOINING, MEMBER_SYNCING, MEMBER_STABLE, MEMBER_GONE };

struct member {
    struct conn conn; /* first: events point to it */
    int group, number;
    enum member_state state;
    int64_t generation;
    int64_t heartbeat_ns;     /* when the next one is due */
    bool heartbeat_in_flight; /* the next response is its answer */
    char id[TEXT_MAX];
    struct out request;
};

static struct {
    struct member *members;
    int n_groups, n_members, n_partitions;
    int n_stable;
    const char *topic;
} groups;

static void group_name(const struct member *m, char *out)
{
    snprintf(out, TEXT_MAX, "load-%s-%d", groups.topic, m->group);
}

static void topic_name(int t, char *out)
{
    snprintf(out, TEXT_MAX, "%s-%d", groups.topic, t);
}

static void member_join(struct member *m)
{
    struct out *o = &m->request, subscription = {0};
    char group[TEXT_MAX], topic[TEXT_MAX];
    group_name(m, group);
    put_int(&subscription, 0, 2);
    put_int(&subscription, TOPICS, 4);
    for (int t = 0; t < TOPICS; t++) {
        topic_name(t, topic);
        put_str(&subscription, topic);
    }
    put_int(&subscription, -1, 4);
    request_begin(o, KEY_JOIN, 5);
    put_str(o, group);
    put_int(o, 45000, 4);
    put_int(o, 60000, 4);
    put_str(o, m->id);
    put_int(o, -1, 2);
    put_str(o, "consumer");
    put_int(o, 1, 4);
    put_str(o, "range");
    put_bytes(o, &subscription);
    request_end(o);
    free(subscription.p);
    if (m->state == MEMBER_STABLE)
        groups.n_stable--;
    m->state = MEMBER_JOINING;
    conn_send(&m->conn, o);
}

/* The partitions of member number k of n: every n-th of each topic. */
static void assignment_build(struct out *o, int k, int n)
{
    char topic[TEXT_MAX];
    o->n = 0;
    put_int(o, 0, 2);
    put_int(o, TOPICS, 4);
    for (int t = 0; t < TOPICS; t++) {
        int all = groups.n_partitions / TOPICS;
        topic_name(t, topic);
        put_str(o, topic);
        put_int(o, all / n + (k < all % n), 4);
        for (int i = k; i < all; i += n)
            put_int(o, i, 4);
    }
    put_int(o, -1, 4);
}

/* The join's answer: the leader tells every member its partitions. */
static void member_sync(struct member *m, struct in *in)
{
    struct out *o = &m->request, part = {0};
    char text[TEXT_MAX], leader[TEXT_MAX], group[TEXT_MAX];
    m->generation = get_int(in, 4);
    get_str(in, text, sizeof text);
    get_str(in, leader, sizeof leader);
    get_str(in, m->id, sizeof m->id);
    int n = (int)get_int(in, 4);
    group_name(m, group);
    request_begin(o, KEY_SYNC, 3);
    put_str(o, group);
    put_int(o, m->generation, 4);
    put_str(o, m->id);
    put_int(o, -1, 2);
    put_int(o, n, 4);
    for (int i = 0; i < n; i++) {
        get_str(in, text, sizeof text);
        put_str(o, text);
        get_str(in, text, sizeof text); /* no instance id */
        int64_t metadata = get_int(in, 4);
        get(in, (size_t)metadata);
        assignment_build(&part, i, n);
        put_bytes(o, &part);
    }
    request_end(o);
    free(part.p);
    m->state = MEMBER_SYNCING;
    conn_send(&m->conn, o);
}

/* How a member that has its partitions learns that others came or went. */
static void member_heartbeat(struct member *m)
{
    struct out *o = &m->request;
    char group[TEXT_MAX];
    group_name(m, group);
    request_begin(o, KEY_HEARTBEAT, 3);
    put_str(o, group);
    put_int(o, m->generation, 4);
    put_str(o, m->id);
    put_int(o, -1, 2);
    request_end(o);
    m->heartbeat_in_flight = true;
    m->heartbeat_ns = now_ns() + (int64_t)HEARTBEAT_MS * 1000000;
    conn_send(&m->conn, o);
}

static void heartbeats_send(void)
{
    int64_t now = now_ns();
    for (int i = 0; i < groups.n_groups * groups.n_members; i++) {
        struct member *m = &groups.members[i];
        if (m->state == MEMBER_STABLE && m->heartbeat_ns <= now && m->conn.in_flight == 0)
            member_heartbeat(m);
    }
}

static void member_got(struct conn *c, const char *response, size_t n, void *arg)
{
    struct member *m = (struct member *)c;
    struct in in = {response, response + n};
    (void)arg;
    bool heartbeat = m->heartbeat_in_flight;
    m->heartbeat_in_flight = false;
    if (m->state == MEMBER_GONE || (heartbeat && m->state != MEMBER_STABLE))
        return;
    get_int(&in, 4);
    get_int(&in, 4);
    int error = (int)get_int(&in, 2);
    if (m->state == MEMBER_JOINING && error == E_MEMBER_ID_REQUIRED) {
        char text[TEXT_MAX];
        get_int(&in, 4);
        get_str(&in, text, sizeof text);
        get_str(&in, text, sizeof text);
        get_str(&in, m->id, sizeof m->id);
        member_join(m);
    } else if (error == E_REBALANCE_IN_PROGRESS) {
        member_join(m);
    } else if (error != 0) {
        fail("group %d, member %d: %s: error %d", m->group, m->number,
             heartbeat                    ? "Heartbeat"
             : m->state == MEMBER_JOINING ? "JoinGroup"
                                          : "SyncGroup",
             error);
    } else if (m->state == MEMBER_JOINING) {
        member_sync(m, &in);
    } else if (m->state == MEMBER_SYNCING) {
        m->state = MEMBER_STABLE;
        m->heartbeat_ns = now_ns() + (int64_t)HEARTBEAT_MS * 1000000;
        groups.n_stable++;
    }
}

/* Runs until this many members are stable; seconds since `start`. */
static double groups_run(int epoll, int wanted, int64_t start)
{
    struct epoll_event events[EVENTS_MAX];
    int64_t beat = 0;
    while (groups.n_stable < wanted) {
        int n = loop_wait(epoll, events, SECOND_NS / 10);
        if (now_ns() > beat) {
            heartbeats_send();
            beat = now_ns() + SECOND_NS / 10;
        }
        for (int i = 0; i < n; i++) {
            struct member *m = events[i].data.ptr;
            conn_flush(&m->conn);
            if (m->state != MEMBER_GONE || m->conn.in_flight > 0)
                conn_read(&m->conn, member_got, NULL);
        }
    }
    return (double)(now_ns() - start) / 1e9;
}

static void member_leave(struct member *m)
{
    struct out *o = &m->request;
    char group[TEXT_MAX];
    group_name(m, group);
    request_begin(o, KEY_LEAVE, 2);
    put_str(o, group);
    put_str(o, m->id);
    request_end(o);
    groups.n_stable--;
    m->state = MEMBER_GONE;
    conn_send(&m->conn, o);
}

/* Waits until the server has a coordinator: Kafka makes a topic for that when it is first asked. */
static void coordinator_wait(const char *address)
{
    struct out o = {0}, answer = {0};
    int fd = dial(address), error;
    request_begin(&o, KEY_COORDINATOR, 2);
    put_str(&o, groups.topic);
    put_int(&o, 0, 1);
    request_end(&o);
    do {
        if (fd < 0 || now_ns() > deadline_ns || !call(fd, &o, &answer))
            fail("no group coordinator at %s", address);
        struct in in = {answer.p, answer.p + answer.n};
        get(&in, 8);
        error = (int)get_int(&in, 2);
        usleep(error != 0 ? 100000 : 3000000); /* it then loads the topic's partitions */
    } while (error != 0);
    close(fd);
    free(o.p);
    free(answer.p);
}

/* All members connect, then all join, group by group, as the instances of programs that start. Then
 * the last member of each group leaves and the others join anew. Prints how long it took until
 * every member had its partitions, and waits for a line on standard input between the steps, for
 * the memory to be looked at. */
static void part_groups(char **argv)
{
    char line[16];
    groups.topic = argv[3];
    groups.n_groups = (int)strtol(argv[4], NULL, 10);
    groups.n_members = (int)strtol(argv[5], NULL, 10);
    groups.n_partitions = (int)strtol(argv[6], NULL, 10);
    int all = groups.n_groups * groups.n_members;
    if (groups.n_groups < 1 || groups.n_members < 2 || groups.n_members > MEMBERS_MAX ||
        all > CONNECTIONS_MAX)
        fail("1 group of 2 members at least, %d connections at most", CONNECTIONS_MAX);
    groups.members = must(calloc((size_t)all, sizeof *groups.members));
    coordinator_wait(argv[2]);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < all; i++) {
        struct member *m = &groups.members[i];
        conn_open(&m->conn, argv[2], i, epoll);
        m->group = i / groups.n_members;
        m->number = i % groups.n_members;
    }
    printf("connected %d\n", all);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL)
        return;
    int64_t start = now_ns();
    for (int i = 0; i < all; i++)
        member_join(&groups.members[i]);
    printf("formed %.6f\n", groups_run(epoll, all, start));
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL)
        return;
    start = now_ns();
    for (int i = 0; i < all; i++) {
        struct member *m = &groups.members[i];
        if (m->number == groups.n_members - 1)
            member_leave(m);
    }
    for (int i = 0; i < all; i++)
        if (groups.members[i].state == MEMBER_STABLE)
            member_join(&groups.members[i]);
    printf("rebalanced %.6f\n", groups_run(epoll, all - groups.n_groups, start));
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL)
        return;
}

/* ---- first message ---- */

static bool first_try(const char *address, const char *topic)
{
    struct out batch = {0}, request = {0}, answer = {0};
    struct timeval patience = {.tv_sec = 5};
    int fd = dial(address);
    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    int made = topic_make(fd, topic, 1, 0, NULL);
    bool done = false;
    if (made == 0 || made == E_TOPIC_EXISTS) {
        batch_build(&batch, 1, 100);
        produce_build(&request, topic, 0, -1, &batch);
        done = call(fd, &request, &answer) && produce_error(answer.p, answer.n) == 0;
    }
    free(batch.p);
    free(request.p);
    free(answer.p);
    close(fd);
    return done;
}

static void part_first(char **argv)
{
    int64_t start = strtoll(argv[3], NULL, 10);
    char topic[TEXT_MAX];
    snprintf(topic, sizeof topic, "first-%" PRId64, start);
    while (!first_try(argv[2], topic)) {
        if (now_ns() > deadline_ns)
            fail("no message acknowledged after %d s", PART_SECONDS_MAX);
        usleep(500);
    }
    printf("seconds %.6f\n", (double)(now_ns() - start) / 1e9);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    const char *part = argc > 1 ? argv[1] : "";
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    deadline_ns = now_ns() + (int64_t)PART_SECONDS_MAX * 1000000000;
    if (strcmp(part, "topic") == 0 && argc >= 5)
        part_topic(argc, argv);
    else if (strcmp(part, "produce") == 0 && argc == 11)
        part_produce(argv);
    else if (strcmp(part, "fetch") == 0 && argc == 6)
        part_fetch(argv);
    else if (strcmp(part, "latency") == 0 && argc == 9)
        part_latency(argv);
    else if (strcmp(part, "groups") == 0 && argc == 7)
        part_groups(argv);
    else if (strcmp(part, "first") == 0 && argc == 4)
        part_first(argv);
    else
        fail("usage: see the top of bench/kafka/load.c");
    return 0;
}
