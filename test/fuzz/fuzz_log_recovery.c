/* A partition's folder with anything in it.
 *
 *   byte 0, bit 0   the frames' offsets, epochs and CRCs are made right first (damage in the middle
 * of something valid is what a fuzzer would not find) bit 1   there is a checkpoint: byte 1 is the
 * durable offset bit 2   there is a second segment: byte 2 is its base offset, byte 3 * 16 where it
 * begins bit 3   after making right, the byte at (byte 4 * 8) is flipped from byte 5     the
 * segment's bytes
 *
 * Opening must not fail; what can be read is a run of valid batches; an open partition that is not
 * quarantined takes an append; opening again finds the same. */
#include "base/bytes.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "host/sim.h"
#include "log/log.h"
#include "log/meta.h"
#include "wire/kafka_batch.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CONTROL_BYTES = 5, SEGMENT_MAX = 64 << 10, READ_MAX = 4096 };

static void put_file(struct host *h, const char *path, const char *bytes, size_t n)
{
    struct host_file *f = NULL;
    CHECK(host_file_open(h, path, HOST_OPEN_WRITE | HOST_OPEN_CREATE, &f, NULL) == ERR_OK);
    CHECK(n == 0 || host_file_write(f, 0, bytes, n) == ERR_OK);
    host_file_close(f);
}

static void put_segment(struct host *h, int64_t base, const char *bytes, size_t n)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/p/%020lld.log", (long long)base);
    put_file(h, path, bytes, n);
}

static void put_checkpoint(struct host *h, int64_t durable)
{
    struct log_checkpoint c = {.durable_offset = durable};
    struct host_file *f = NULL;
    CHECK(host_file_open(h, "/p/meta", HOST_OPEN_WRITE | HOST_OPEN_CREATE, &f, NULL) == ERR_OK);
    CHECK(log_meta_write_all(f, &c) == ERR_OK);
    host_file_close(f);
}

/* Gives every frame that fits its offset, epoch, magic and CRC. */
static void make_right(char *bytes, size_t n, int64_t offset)
{
    for (size_t at = 0; n - at >= KAFKA_BATCH_HEADER_BYTES;) {
        struct kafka_batch b;
        char *p = bytes + at;
        be64_put(p, (uint64_t)offset);
        be32_put(p + 12, 0);
        p[16] = 2;
        if (kafka_batch_parse((struct str){p, n - at}, &b, NULL) != ERR_OK || b.bytes > n - at) {
            return;
        }
        be32_put(p + 17, crc32c(0, p + KAFKA_BATCH_CRC_FROM, b.bytes - KAFKA_BATCH_CRC_FROM));
        offset += (int64_t)b.last_offset_delta + 1;
        at += b.bytes;
    }
}

static void put_folder(struct host *h, const uint8_t *data, size_t size)
{
    uint8_t control[CONTROL_BYTES] = {0};
    static char bytes[SEGMENT_MAX];
    memcpy(control, data, size < sizeof control ? size : sizeof control);
    size_t n = size > CONTROL_BYTES ? size - CONTROL_BYTES : 0;
    n = n < SEGMENT_MAX ? n : SEGMENT_MAX;
    if (n > 0) {
        memcpy(bytes, data + CONTROL_BYTES, n);
    }
    size_t split = (size_t)control[3] * 16;
    bool two = (control[0] & 4) != 0 && control[2] > 0 && split <= n;
    size_t first = two ? split : n;
    if ((control[0] & 1) != 0) {
        make_right(bytes, first, 0);
        if (two) {
            make_right(bytes + split, n - split, control[2]);
        }
    }
    size_t flip = (size_t)control[4] * 8;
    if ((control[0] & 8) != 0 && flip < n) {
        bytes[flip] = (char)(bytes[flip] ^ 0x20);
    }
    CHECK(host_dir_create(h, "/p", NULL) == ERR_OK);
    put_segment(h, 0, bytes, first);
    if (two) {
        put_segment(h, control[2], bytes + split, n - split);
    }
    if ((control[0] & 2) != 0) {
        put_checkpoint(h, control[1]);
    }
}

/* Reads as far as it goes; every range is a run of headers in order. */
static void read_all(struct log_partition *p)
{
    int64_t at = log_start_offset(p);
    int64_t offset, ms;
    while (at < log_end_offset(p)) {
        struct log_range r;
        struct err_detail why;
        enum err e = log_read(p, at, log_end_offset(p), READ_MAX, &r, &why);
        CHECK(e == ERR_OK || (e == ERR_CORRUPT && why.text[0] != '\0'));
        if (e != ERR_OK) {
            return;
        }
        /* Batches that compaction has emptied are passed over. */
        CHECK(r.len > 0 && r.next_offset > at && r.first_offset < r.next_offset);
        at = r.next_offset;
        log_range_release(&r);
    }
    (void)!log_offset_for_time(p, 1000, &offset, &ms);
}

static void append_one(struct host *h, struct log_partition *p)
{
    struct buf b;
    struct kafka_batch_writer w;
    struct log_sync s;
    int64_t base;
    buf_init(&b, 4096);
    kafka_batch_begin(&w, &b, 1000);
    kafka_batch_add(&w, STR("k"), STR("v"), 1000, NULL, 0);
    CHECK(kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, NULL) == ERR_OK);
    CHECK(log_append(p, b.ptr, b.len, -1, &base, NULL) == ERR_OK);
    CHECK(log_sync_begin(p, &s));
    log_sync_run(h, &s);
    CHECK(log_sync_end(p, &s) == ERR_OK);
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct sim_options options = {.seed = 1};
    struct host *h = host_sim_open(&options);
    struct log_config c = log_config_default;
    struct log_partition *p = NULL;
    struct log_recovery found;
    CHECK(h != NULL);
    c.index_interval_bytes = 64;
    c.segment_bytes = 1024;
    put_folder(h, data, size);
    CHECK(log_open(h, "/p", &c, &p, &found, NULL) == ERR_OK);
    read_all(p);
    if (!found.quarantined) {
        append_one(h, p);
    }
    int64_t end = log_end_offset(p);
    bool quarantined = found.quarantined;
    log_close(p);
    CHECK(log_open(h, "/p", &c, &p, &found, NULL) == ERR_OK);
    CHECK(log_end_offset(p) == end && found.quarantined == quarantined);
    CHECK(found.torn_bytes == 0);
    read_all(p);
    log_close(p);
    host_close(h);
    return 0;
}
