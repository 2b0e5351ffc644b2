/* The log on a real disk: append and flush, read, seek, recovery; and what decoding its batches
 * costs.
 *
 * usage: bench_log [FOLDER]      default: the current folder; needs 600 MB there, which it removes
 *
 * Records are 150 bytes (value of 100 bytes, key of 8). One thread; the flush runs on it as well.
 */
#include "base/check.h"
#include "base/mem.h"
#include "log/log.h"
#include "wire/kafka_batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MB = 1 << 20, VALUE_BYTES = 132, FLUSHES = 1000, TOTAL_MB = 500 };

struct bench {
    struct host *host;
    char dir[512];
    struct buf batch;
    struct compress *compress;
    struct buf scratch;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void must(enum err e, const char *what)
{
    if (e != ERR_OK) {
        (void)fprintf(stderr, "%s: %s\n", what, err_info(e)->text);
        exit(1);
    }
}

/* Fills b->batch with one batch of about `bytes`; returns its records. */
static int make_batch(struct bench *b, size_t bytes, uint32_t codec)
{
    struct kafka_batch_writer w;
    char value[VALUE_BYTES + 1];
    buf_clear(&b->batch);
    kafka_batch_begin(&w, &b->batch, 1700000000000);
    while (w.n_records == 0 || kafka_batch_bytes(&w) + VALUE_BYTES + 16 < bytes) {
        int n = snprintf(value, sizeof value, "{\"sensor\":\"s-%05d\",\"temp\":%d.%02d,\"ts\":%d}",
                         w.n_records, w.n_records % 40, w.n_records % 100, w.n_records);
        memset(value + n, ' ', (size_t)(VALUE_BYTES - n));
        struct str v = {value, VALUE_BYTES};
        kafka_batch_add(&w, STR("sensor-1"), v, 1700000000000 + w.n_records, NULL, 0);
    }
    int n = w.n_records;
    must(kafka_batch_finish(&w, codec, b->compress, &b->scratch, NULL), "batch");
    return n;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct log_partition *open_log(struct bench *b)
{
    struct log_partition *p = NULL;
    must(log_open(b->host, b->dir, &log_config_default, &p, NULL, NULL), b->dir);
    return p;
}

static void append(struct bench *b, struct log_partition *p)
{
    int64_t base;
    must(log_append(p, b->batch.ptr, b->batch.len, -1, &base, NULL), "append");
}

static void flush(struct bench *b, struct log_partition *p)
{
    struct log_sync s;
    if (log_sync_begin(p, &s)) {
        log_sync_run(b->host, &s);
        must(log_sync_end(p, &s), "flush");
    }
}

static void bench_flush(struct bench *b, size_t batch_bytes)
{
    static double took[FLUSHES];
    struct log_partition *p = open_log(b);
    int n = make_batch(b, batch_bytes, COMPRESS_NONE);
    double begin = now_s();
    for (int i = 0; i < FLUSHES; i++) {
        double at = now_s();
        append(b, p);
        flush(b, p);
        took[i] = now_s() - at;
    }
    double s = now_s() - begin;
    qsort(took, FLUSHES, sizeof *took, by_value);
    printf("%-34s %8.1f MB/s %10.0f records/s   p50 %5.0f us, p99 %5.0f us\n",
           batch_bytes < 10000 ? "append 4 KB + flush" : "append 128 KB + flush",
           (double)b->batch.len * FLUSHES / s / MB, n * (double)FLUSHES / s,
           took[FLUSHES / 2] * 1e6, took[FLUSHES * 99 / 100] * 1e6);
    must(log_delete(p), "delete");
}

static void bench_read(struct bench *b, struct log_partition *p, const char *what, bool decode)
{
    enum { AT_ONCE = 64 };
    char *bytes = mem_alloc(MB);
    int64_t at = 0;
    uint64_t sum = 0;
    uint64_t total = 0;
    double begin = now_s();
    CHECK(bytes != NULL);
    while (at < log_high_watermark(p)) {
        struct log_range r;
        must(log_read(p, at, log_high_watermark(p), MB, &r, NULL), "read");
        must(host_file_read(r.file, r.at, bytes, r.len), "read");
        total += r.len;
        struct str run = {bytes, r.len};
        struct str batch;
        struct kafka_batch header;
        enum err result;
        while (decode && kafka_batch_next(&run, &header, &batch, &result, NULL)) {
            struct kafka_records it;
            struct kafka_record records[AT_ONCE];
            size_t n;
            must(kafka_records_open(&it, batch, b->compress, &b->scratch, NULL), "decode");
            while ((n = kafka_records_read(&it, records, AT_ONCE)) > 0) {
                sum += n + records[n - 1].value.len;
            }
        }
        at = r.next_offset;
        log_range_release(&r);
    }
    double s = now_s() - begin;
    printf("%-34s %8.1f MB/s %10.0f records/s%s\n", what, (double)total / s / MB, (double)at / s,
           sum == 1 ? " " : "");
    mem_free(bytes);
}

static void bench_ranges(struct log_partition *p)
{
    enum { READS = 200000 };
    int64_t end = log_high_watermark(p);
    uint64_t x = 88172645463325252u;
    struct log_range r;
    double begin = now_s();
    for (int i = 0; i < READS; i++) {
        must(log_read(p, end - 1, end, MB, &r, NULL), "read");
        log_range_release(&r);
    }
    double tail = now_s() - begin;
    begin = now_s();
    for (int i = 0; i < READS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        must(log_read(p, (int64_t)(x % (uint64_t)end), end, MB, &r, NULL), "read");
        log_range_release(&r);
    }
    double random = now_s() - begin;
    printf("%-34s %8.0f ns inside the last batch, %.0f ns anywhere\n", "log_read of up to 1 MB",
           tail / READS * 1e9, random / READS * 1e9);
}

static void bench_bulk(struct bench *b)
{
    struct log_partition *p = open_log(b);
    int n = make_batch(b, 100000, COMPRESS_NONE);
    double begin = now_s();
    while (log_size_bytes(p) < (uint64_t)TOTAL_MB * MB) {
        for (int i = 0; i < 32; i++) {
            append(b, p);
        }
        flush(b, p);
    }
    double s = now_s() - begin;
    printf("%-34s %8.1f MB/s %10.0f records/s\n", "append 100 KB, flush each 3 MB",
           (double)log_size_bytes(p) / s / MB, (double)log_end_offset(p) / s);
    log_close(p);
    begin = now_s();
    p = open_log(b);
    printf("%-34s %8.1f ms for %.0f MB, %lld batches\n", "open after a clean stop",
           (now_s() - begin) * 1e3, (double)log_size_bytes(p) / MB,
           (long long)(log_end_offset(p) / n));
    bench_read(b, p, "read, first time", false);
    bench_read(b, p, "read", false);
    bench_read(b, p, "read, check CRC, iterate", true);
    bench_ranges(p);
    must(log_delete(p), "delete");
}

static void bench_decode(struct bench *b, uint32_t codec)
{
    enum { AT_ONCE = 64, TIMES = 2000 };
    struct kafka_record records[AT_ONCE];
    struct kafka_records it;
    int per_batch = make_batch(b, 100000, codec);
    uint64_t sum = 0;
    size_t n;
    int times = codec == COMPRESS_NONE ? TIMES : TIMES / 10;
    double begin = now_s();
    for (int i = 0; i < times; i++) {
        must(kafka_records_open(&it, buf_str(&b->batch), b->compress, &b->scratch, NULL), "decode");
        while ((n = kafka_records_read(&it, records, AT_ONCE)) > 0) {
            sum += n + records[n - 1].value.len;
        }
    }
    double s = now_s() - begin;
    printf("iterate, %-25s %8.1f M records/s%s\n", compress_codec_name(codec),
           per_batch * (double)times / s / 1e6, sum == 1 ? " " : "");
}

static void bench_write(struct bench *b)
{
    enum { TIMES = 500 };
    double begin = now_s();
    int n = 0;
    for (int i = 0; i < TIMES; i++) {
        n += make_batch(b, 100000, COMPRESS_NONE);
    }
    printf("%-34s %8.1f M records/s, snprintf of the value included\n", "write batches",
           n / (now_s() - begin) / 1e6);
}

int main(int argc, char **argv)
{
    struct bench b = {0};
    const char *folder = argc > 1 ? argv[1] : ".";
    b.host = host_real_open();
    b.compress = compress_new();
    CHECK(b.host != NULL && b.compress != NULL);
    buf_init(&b.batch, 4 * MB);
    buf_init(&b.scratch, 64 * MB);
    int n = snprintf(b.dir, sizeof b.dir, "%s/bench_log.tmp", folder);
    CHECK(n > 0 && (size_t)n < sizeof b.dir);
    must(log_remove_dir(b.host, b.dir), b.dir);
    bench_flush(&b, 4096);
    bench_flush(&b, 128 << 10);
    bench_bulk(&b);
    for (uint32_t codec = 0; codec < COMPRESS_CODECS; codec++) {
        bench_decode(&b, codec);
    }
    bench_write(&b);
    compress_free(b.compress);
    buf_deinit(&b.batch);
    buf_deinit(&b.scratch);
    host_close(b.host);
    return 0;
}
