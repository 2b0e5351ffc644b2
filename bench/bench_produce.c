/* How many messages a second librdkafka gets acknowledged, and how many it reads back.
 *
 * usage: bench_produce [ADDRESS [MESSAGES [BYTES [PARTITIONS [ACKS]]]]]
 *
 * Without an address it starts a server of its own (build/tidemill, or what TIDEMILL names) over an
 * empty data directory. Prints one line per direction. */
#include <librdkafka/rdkafka.h>

#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_BYTES_MAX = 1 << 16, TOPIC_BYTES_MAX = 64, ERROR_BYTES = 512, POLL_MS = 100 };

struct bench {
    const char *address, *acks;
    int64_t messages;
    size_t bytes;
    int32_t partitions;
    char topic[TOPIC_BYTES_MAX];
    int64_t acknowledged, failed;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char error[ERROR_BYTES];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) {
        fprintf(stderr, "bench_produce: %s\n", error);
        exit(2);
    }
}

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    (void)rk;
    struct bench *b = opaque;
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        b->acknowledged++;
    else
        b->failed++;
}

static rd_kafka_t *client_new(struct bench *b, rd_kafka_type_t type)
{
    char error[ERROR_BYTES];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", b->address);
    if (type == RD_KAFKA_PRODUCER) {
        set(conf, "acks", b->acks);
        set(conf, "linger.ms", "5");
        set(conf, "batch.num.messages", "10000");
        set(conf, "queue.buffering.max.messages", "1000000");
        rd_kafka_conf_set_dr_msg_cb(conf, delivered);
        rd_kafka_conf_set_opaque(conf, b);
    } else {
        set(conf, "fetch.wait.max.ms", "100");
        set(conf, "queued.min.messages", "1000000");
        set(conf, "group.id", "bench");
    }
    rd_kafka_t *rk = rd_kafka_new(type, conf, error, sizeof error);
    if (rk == NULL) {
        fprintf(stderr, "bench_produce: %s\n", error);
        exit(2);
    }
    return rk;
}

static void topic_create(struct bench *b, rd_kafka_t *rk)
{
    char error[ERROR_BYTES];
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(b->topic, b->partitions, 1, error, sizeof error);
    rd_kafka_queue_t *q = rd_kafka_queue_new(rk);
    rd_kafka_CreateTopics(rk, &t, 1, NULL, q);
    rd_kafka_event_t *e = rd_kafka_queue_poll(q, 10000);
    if (e == NULL || rd_kafka_event_error(e) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fprintf(stderr, "bench_produce: cannot create the topic\n");
        exit(2);
    }
    rd_kafka_event_destroy(e);
    rd_kafka_queue_destroy(q);
    rd_kafka_NewTopic_destroy(t);
}

static void report(const struct bench *b, const char *what, int64_t n, double seconds)
{
    printf("%-8s %10" PRId64 " messages of %zu bytes, %d partitions, acks=%s: %9.0f messages/s, "
           "%6.1f MB/s, %.2f s\n",
           what, n, b->bytes, b->partitions, b->acks, (double)n / seconds,
           (double)n * (double)b->bytes / seconds / 1e6, seconds);
}

static void produce(struct bench *b)
{
    static char value[MESSAGE_BYTES_MAX];
    rd_kafka_t *rk = client_new(b, RD_KAFKA_PRODUCER);
    topic_create(b, rk);
    rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, b->topic, NULL);
    memset(value, 'x', sizeof value);
    double start = now_s();
    for (int64_t i = 0; i < b->messages;) {
        int32_t partition = (int32_t)(i / 1000 % b->partitions);
        if (rd_kafka_produce(rkt, partition, RD_KAFKA_MSG_F_COPY, value, b->bytes, NULL, 0, NULL) ==
            0)
            i++;
        else
            rd_kafka_poll(rk, 1);
        if (i % 1000 == 0)
            rd_kafka_poll(rk, 0);
    }
    while (b->acknowledged + b->failed < b->messages)
        rd_kafka_poll(rk, POLL_MS);
    report(b, "produce", b->acknowledged, now_s() - start);
    rd_kafka_topic_destroy(rkt);
    rd_kafka_destroy(rk);
}

static void consume(struct bench *b)
{
    rd_kafka_t *rk = client_new(b, RD_KAFKA_CONSUMER);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(b->partitions);
    for (int32_t i = 0; i < b->partitions; i++)
        rd_kafka_topic_partition_list_add(list, b->topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(rk, list);
    rd_kafka_queue_t *q = rd_kafka_queue_get_consumer(rk);
    static rd_kafka_message_t *batch[10000];
    double start = now_s();
    int64_t n = 0;
    while (n < b->acknowledged) {
        ssize_t got = rd_kafka_consume_batch_queue(q, POLL_MS, batch, 10000);
        for (ssize_t i = 0; i < got; i++) {
            n += batch[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR;
            rd_kafka_message_destroy(batch[i]);
        }
    }
    report(b, "consume", n, now_s() - start);
    rd_kafka_queue_destroy(q);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
}

/* ---- a server of its own ---- */

struct own_server {
    pid_t pid;
    char folder[64], address[64];
};

/* Starts it and reads the address that it prints. */
static void server_start(struct own_server *sv)
{
    const char *program = getenv("TIDEMILL");
    int out[2];
    snprintf(sv->folder, sizeof sv->folder, "/tmp/tidemill-bench-XXXXXX");
    if (mkdtemp(sv->folder) == NULL || pipe(out) != 0 || (sv->pid = fork()) < 0) {
        perror("bench_produce");
        exit(2);
    }
    if (sv->pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        execl(program != NULL ? program : "build/tidemill", "tidemill", "serve", "--data",
              sv->folder, "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--pg", "127.0.0.1:0",
              (char *)NULL);
        perror("bench_produce: cannot run build/tidemill (set TIDEMILL)");
        _exit(2);
    }
    close(out[1]);
    FILE *lines = fdopen(out[0], "r");
    char line[256];
    while (lines != NULL && fgets(line, sizeof line, lines) != NULL && strcmp(line, "ready\n") != 0)
        if (sscanf(line, "listening kafka %63s", sv->address) == 1)
            continue;
    if (sv->address[0] == '\0') {
        fprintf(stderr, "bench_produce: the server did not start\n");
        exit(2);
    }
}

static void server_stop(struct own_server *sv)
{
    char command[128];
    kill(sv->pid, SIGTERM);
    waitpid(sv->pid, NULL, 0);
    snprintf(command, sizeof command, "rm -rf %s", sv->folder);
    if (system(command) != 0)
        fprintf(stderr, "bench_produce: %s is left behind\n", sv->folder);
}

static int64_t number(int argc, char **argv, int i, int64_t by_default)
{
    return argc > i ? strtoll(argv[i], NULL, 10) : by_default;
}

int main(int argc, char **argv)
{
    struct own_server own = {0};
    if (argc < 2)
        server_start(&own);
    struct bench b = {.address = argc < 2 ? own.address : argv[1],
                      .messages = number(argc, argv, 2, 5000000),
                      .bytes = (size_t)number(argc, argv, 3, 100),
                      .partitions = (int32_t)number(argc, argv, 4, 2),
                      .acks = argc > 5 ? argv[5] : "all"};
    if (b.bytes > MESSAGE_BYTES_MAX || b.partitions < 1 || b.messages < 1) {
        fprintf(stderr, "bench_produce: at least 1 message and partition, at most %d bytes\n",
                MESSAGE_BYTES_MAX);
        return 2;
    }
    snprintf(b.topic, sizeof b.topic, "bench-%lld", (long long)time(NULL));
    produce(&b);
    consume(&b);
    if (own.pid > 0)
        server_stop(&own);
    return b.failed == 0 ? 0 : 1;
}
