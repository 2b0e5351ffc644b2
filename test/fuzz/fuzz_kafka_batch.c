/* Record batches and compressed blocks from anywhere.
 *
 *   first byte 0     the rest is a run of batches, as a producer sends it
 *              1     the rest is the records of a batch whose header and CRC are right
 *              2..6  the rest is a compressed block of codec (byte - 2)
 *
 * What is checked besides memory: decoders keep to the maximum, a run that was accepted is accepted
 * again and every record of it can be read. */
#include "base/bytes.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "wire/kafka_batch.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DECODED_MAX = 1 << 20, BATCH_MAX = 1 << 20 };

static struct compress *codecs;
static struct buf scratch;

static int64_t count_records(struct str batch)
{
    struct kafka_records it;
    struct kafka_record r;
    int64_t n = 0;
    if (kafka_records_open(&it, batch, codecs, &scratch, NULL) != ERR_OK) {
        return -1;
    }
    while (kafka_records_next(&it, &r)) {
        struct kafka_header h;
        int32_t headers = 0;
        while (kafka_record_header(&r.headers, &h)) {
            headers++;
        }
        CHECK(headers == r.n_headers);
        n++;
    }
    return kafka_records_end(&it, NULL) == ERR_OK ? n : -1;
}

static void run(char *bytes, size_t n)
{
    struct kafka_run first, again;
    struct err_detail why;
    struct str rest = {bytes, n};
    struct str batch;
    struct kafka_batch b;
    enum err result;
    int64_t records = 0;
    const struct kafka_run_rules any = {BATCH_MAX, INT64_MIN, INT64_MAX, false};
    const struct kafka_run_rules strict = {BATCH_MAX, 0, INT64_MAX / 2, true};
    if (kafka_run_validate(bytes, n, &strict, codecs, &scratch, &first, &why) != ERR_OK) {
        CHECK(why.text[0] != '\0');
    }
    if (kafka_run_validate(bytes, n, &any, codecs, &scratch, &first, &why) != ERR_OK) {
        CHECK(why.text[0] != '\0');
        return;
    }
    CHECK(kafka_run_validate(bytes, n, &any, codecs, &scratch, &again, NULL) == ERR_OK);
    CHECK(again.n_errors == 0);
    CHECK(first.n_records == again.n_records && first.max_timestamp == again.max_timestamp);
    while (kafka_batch_next(&rest, &b, &batch, &result, NULL)) {
        records += count_records(batch);
    }
    CHECK(result == ERR_OK && records == first.n_records);
}

/* Puts a right header before the records and tries every count that fits in the first two bytes. */
static void records(const uint8_t *data, size_t size)
{
    struct buf out;
    struct kafka_batch_writer w;
    size_t count = size > 1 ? data[0] : 1;
    buf_init(&out, BATCH_MAX);
    kafka_batch_begin(&w, &out, 1000);
    kafka_batch_add(&w, STR("k"), STR("v"), 1000, NULL, 0);
    CHECK(kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, NULL) == ERR_OK);
    out.len = KAFKA_BATCH_HEADER_BYTES;
    buf_put(&out, data, size);
    if (!out.failed) {
        be32_put(out.ptr + 8, (uint32_t)(out.len - KAFKA_BATCH_PREFIX_BYTES));
        be32_put(out.ptr + 23, (uint32_t)count);
        be32_put(out.ptr + 57, (uint32_t)count + 1);
        be32_put(out.ptr + 17,
                 crc32c(0, out.ptr + KAFKA_BATCH_CRC_FROM, out.len - KAFKA_BATCH_CRC_FROM));
        run(out.ptr, out.len);
    }
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (codecs == NULL) {
        codecs = compress_new();
        CHECK(codecs != NULL);
    }
    if (size < 1) {
        return 0;
    }
    buf_init(&scratch, DECODED_MAX);
    if (data[0] == 0) {
        char *copy = mem_alloc(size); /* the run is corrected in place */
        CHECK(copy != NULL);
        memcpy(copy, data + 1, size - 1);
        run(copy, size - 1);
        mem_free(copy);
    } else if (data[0] == 1) {
        records(data + 1, size - 1);
    } else {
        struct str in = {(const char *)data + 1, size - 1};
        (void)!compress_decode(codecs, data[0] - 2u, in, &scratch, NULL);
        CHECK(scratch.len <= DECODED_MAX);
    }
    buf_deinit(&scratch);
    return 0;
}
