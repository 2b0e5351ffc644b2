/* Reading a table's partitions for an epoch: log bytes -> records -> column batches. Private to
 * engine/. */
#ifndef TIDEMILL_ENGINE_SOURCE_H
#define TIDEMILL_ENGINE_SOURCE_H

#include "engine/keyed_record.h"
#include "engine/partition.h"
#include "engine/schema_decoder.h"
#include "wire/avro.h"
#include "wire/json.h"
#include "wire/text_rows.h"

enum {
    READ_BYTES_MAX = 512 << 10,
    RECORDS_BYTES_TARGET = 8 << 20, /* of values in one batch of rows, which is smaller then */
    RECORD_ROWS_MAX = 4096, /* in one record; an epoch takes a record as a whole */
    SCRATCHES_MAX = 4096,
    SCRATCH_BYTES_TARGET = 64 << 20, /* a pool with this much is full */
};

/* Turns records of one relation into rows. One thread at a time. */
struct row_decoder {
    const struct relation *rel; /* refreshed by the owner */
    struct json_decoder *json;  /* by the relation's format and key one of these, */
    struct text_decoder *text;
    struct keyed_decoder *keyed;
    struct avro_decoder *avro;
    struct schema_decoder *schemas;
    bool raw;                   /* ... or a record is its row as it is */
    enum row_op op; /* of the last record; ROW_PUT without a PRIMARY KEY */
    uint32_t wanted; /* ERR_BUSY: the schema that has to be known first */
};
/* A decoder of rows as JSON for the relation, whatever its format. */
enum err relation_json_decoder(const struct relation *rel, bool strict,
                               struct json_decoder **out) MUST_CHECK;
/* `strict`: of rows that come in: a value that does not fit a column which ALTER TABLE added is an
 * error, and not NULL as in records. `schemas`: of the engine; unused for most formats. */
enum err row_decoder_init(struct row_decoder *d, const struct relation *rel, bool strict,
                          const struct schemas *schemas) MUST_CHECK;
void row_decoder_deinit(struct row_decoder *d);
/* A batch for up to `rows` rows. NULL when the arena is full. */
struct batch *row_decoder_batch(const struct row_decoder *d, uint32_t rows, struct arena *a);
/* Decodes a record into row b->n_rows and counts it, or tells by d->op that it is of no row. Errors
 * say why the row is refused, event time rules included; then nothing is added. ERR_BUSY: whether
 * it is a row is not known before schema d->wanted is. */
enum err row_decode(struct row_decoder *d, const struct kafka_record *rec, uint32_t partition,
                    struct batch *b, struct arena *a, struct err_detail *why) MUST_CHECK;

/* Appends row `row` of the relation's columns as a record's value that row_decode reads. `a` is for
 * what it needs meanwhile. ERR_UNSUPPORTED when its format can only be read. */
enum err row_encode(const struct row_decoder *d, const struct column *columns, uint32_t row,
                    struct arena *a, struct buf *out, struct err_detail *why) MUST_CHECK;

/* Buffers for decompressed batches, which live as long as rows borrow from them. */
struct scratch_pool {
    struct buf *bufs[SCRATCHES_MAX];
    uint32_t n, used;
    uint64_t bytes; /* in those that are used, the last one left out */
};
/* Whether no batch can be decompressed before the next reset. */
bool scratch_full(const struct scratch_pool *p);
/* Forgets what is used; frees buffers over `keep_bytes`. */
void scratch_reset(struct scratch_pool *p, size_t keep_bytes);
void scratch_deinit(struct scratch_pool *p);

/* Iterates over the records of consecutive ranges of one partition. Caller-owned, zero-initialised.
 */
struct record_reader_state {
    struct str run; /* batches not opened yet */
    struct kafka_records it;
    const struct log_aborted *aborted; /* of the run, sorted; those batches are skipped */
    uint32_t n_aborted;
    int64_t batch_offset; /* base offset of the batch that was opened, or refused, last */
    bool in_batch;
    /* Records of several rows (set by who makes the reader: relation_splits_records): */
    bool splits;
    bool in_record;
    struct kafka_record whole; /* in_record: whose rows are being given */
    struct str rest;           /* ... those to come */
    struct json_rows array;    /* ... when they are items of an array */
    bool is_array;
};
/* Whether a record's value may be several rows. */
bool relation_splits_records(const struct relation *rel);
/* Copies a range of the log into the arena and makes it the run to iterate over. */
enum err record_reader_load(struct record_reader_state *r, const struct log_range *range,
                            struct arena *a) MUST_CHECK;
/* Finds out which transactions of the range [from, to), all of them ended, were aborted; before the
 * range is iterated over. ERR_LIMIT: too many for one range. */
enum err record_reader_decide(struct record_reader_state *r, struct log_partition *log,
                              int64_t from, int64_t to, struct arena *a) MUST_CHECK;
/* The same for a list that is known already; it is copied. */
enum err record_reader_skip(struct record_reader_state *r, const struct log_aborted *list,
                            uint32_t n, struct arena *a) MUST_CHECK;
/* Up to `max` records with from <= offset < to, or rows of them (kafka_record.row) where the reader
 * splits: then the last one may have more rows, record_reader_reached tells. 0 at the end of the
 * run. ERR_BAD_RECORD_BATCH for a
 * damaged batch, which is skipped. ERR_BUSY when the pool is full: the rest of the run is read from
 * the last record's offset on, after a reset. */
enum err record_reader_next(struct record_reader_state *r, int64_t from, int64_t to,
                            struct compress *c, struct scratch_pool *pool, struct kafka_record *out,
                            size_t max, size_t *n, struct err_detail *why) MUST_CHECK;

/* The offset up to which records were given as wholes. `last` is the last one given. */
static inline int64_t record_reader_reached(const struct record_reader_state *r,
                                            const struct kafka_record *last)
{
    return last->offset + !r->in_record;
}

/* Calls fn(arg, ...) for every record of one of the system's own partitions (no compression) from
 * offset `from` on, until it fails. What the record points to is in `a`, which is emptied now and
 * then. Blocks on the disk: start-up. */
enum err records_each(struct part *p, int64_t from, struct arena *a,
                      enum err (*fn)(void *arg, const struct kafka_record *rec,
                                     struct err_detail *why),
                      void *arg, struct err_detail *why) MUST_CHECK;

#endif
