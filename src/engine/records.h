/* Records that the engine itself writes: rows as JSON, single records for its internal topics.
 * Private to engine/. */
#ifndef TIDEMILL_ENGINE_RECORDS_H
#define TIDEMILL_ENGINE_RECORDS_H

#include "engine/partition.h"
#include "wire/kafka_batch.h"

enum {
    RECORD_BATCH_BYTES_TARGET = 256 << 10, /* a batch is finished at this size */
    RECORDS_BYTES_MAX = 1 << 30,           /* waiting to be appended to one partition */
    RECORD_HEADERS_MAX = 4,                /* of one record, the epoch's included */
};

/* Appends one record; `end` receives the offset behind it. Durable after the partition's next
 * flush. */
enum err record_append(struct shard *s, struct part *p, struct str key, struct str value,
                       int64_t *end, struct err_detail *why) MUST_CHECK;

/* Collects records for one partition and appends them in batches. Zero-initialise with
 * records_init. */
struct records {
    uint64_t epoch;   /* what is added gets it as header "epoch", in decimals; 0 = none */
    struct buf bytes; /* finished batches and the one in work */
    struct kafka_batch_writer writer;
    bool open;
    uint32_t n_records;
    size_t taken; /* of `bytes`, by records_take */
};
void records_init(struct records *r);
void records_deinit(struct records *r);
/* Adds a record with at most RECORD_HEADERS_MAX - 1 headers; failures stick and are told by
 * records_finish. */
void records_add(struct records *r, struct str key, struct str value, int64_t timestamp_ms,
                 const struct kafka_header *headers, size_t n_headers);
/* The epoch that wrote a record: its header "epoch"; 0 without one. Pure. */
uint64_t record_epoch(const struct kafka_record *rec);
/* Ends the batch in work, so that `bytes` holds whole batches. */
enum err records_finish(struct records *r, struct err_detail *why) MUST_CHECK;
/* After records_finish: the next whole batches, about `bytes_max` of them and at least one; false
 * when all were taken. What was given is taken only by records_taken, so that an append that fails
 * can be done again. */
bool records_take(const struct records *r, size_t bytes_max, struct str *batches,
                  uint32_t *n_records);
void records_taken(struct records *r, size_t bytes);
/* Empties; keeps up to `keep_bytes` of memory. */
void records_clear(struct records *r, size_t keep_bytes);

/* Appends row `row` of a batch as a JSON object with the given column names. Columns whose value is
 * the jsonb null are listed in the member JSONB_NULLS_MEMBER, which is there only then. */
void row_json(const struct column_def *defs, const struct column *columns, uint32_t n_columns,
              uint32_t row, struct buf *out);
/* The same with only the columns `which`. */
void row_json_some(const struct column_def *defs, const struct column *columns,
                   const uint32_t *which, uint32_t n_which, uint32_t row, struct buf *out);

/* A row for sys.dead_letters. `raw` may be any bytes; invalid UTF-8 is replaced. */
void dead_letter_json(struct str table, struct str topic, uint32_t partition, int64_t offset,
                      int64_t at_us, const char *reason, struct str raw, struct buf *out);

#endif
