/* Kafka record batches, version 2 (https://kafka.apache.org/documentation/#recordbatch).
 *
 *   at  bytes  field                  covered by
 *    0    8    base offset            - (assigned by the log)
 *    8    4    length from here on    - (a wrong one breaks the CRC)
 *   12    4    leader epoch           - (assigned by the log)
 *   16    1    magic = 2              -
 *   17    4    CRC-32C
 *   21    2    attributes             CRC   bits 0-2 codec, 3 log append time, 4 transactional,
 *   23    4    last offset delta      CRC        5 control batch, 6 delete horizon
 *   27    8    base timestamp, ms     CRC   with 6: the delete horizon instead (KIP-534)
 *   35    8    maximum timestamp, ms  CRC
 *   43   14    producer id, epoch, base sequence
 *   57    4    record count           CRC
 *   61         records                CRC   compressed as one block if a codec is set
 *
 * A record: length, attributes, timestamp delta, offset delta, key, value, headers; lengths and
 * deltas are zigzag varints, a length of -1 is NULL.
 *
 * Nothing here allocates except into buffers that the caller gives. All functions are pure: any
 * thread, on the thread's own objects. The message formats before Kafka 0.11 (magic 0 and 1) are
 * refused with ERR_UNSUPPORTED. */
#ifndef TIDEMILL_WIRE_KAFKA_BATCH_H
#define TIDEMILL_WIRE_KAFKA_BATCH_H

#include "base/str.h"
#include "wire/compress.h"

enum {
    KAFKA_BATCH_HEADER_BYTES = 61,
    KAFKA_BATCH_CRC_FROM = 21,                 /* the CRC covers everything from here on */
    KAFKA_BATCH_PREFIX_BYTES = 12,             /* base offset and length: not counted by length */
    KAFKA_BATCH_BYTES_MAX = 100 << 20,         /* of one batch; limits of topics are lower */
    KAFKA_BATCH_DECODED_BYTES_MAX = 256 << 20, /* a sensible buf.max for decompressed records */
    KAFKA_RECORD_BYTES_MIN = 7,                /* the least that one record takes */
};

/* A parsed header. */
struct kafka_batch {
    int64_t base_offset;
    uint32_t bytes; /* of the whole batch, prefix and header included */
    int32_t leader_epoch;
    uint32_t crc;
    uint32_t codec;       /* enum compress_codec */
    bool log_append_time; /* max_timestamp is every record's timestamp */
    bool transactional;
    bool control; /* transaction markers instead of records */
    bool delete_horizon; /* base_timestamp is when compaction may drop its tombstones and markers */
    int32_t last_offset_delta;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id; /* -1 = none */
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t n_records;
};

/* Parses the header at the start of `in` (at least 61 bytes; the batch's rest may be missing) and
 * checks its structure, not its CRC. ERR_BAD_RECORD_BATCH, ERR_UNSUPPORTED (magic 0 or 1, unknown
 * codec), with what was wrong in `why`. */
enum err kafka_batch_parse(struct str in, struct kafka_batch *out,
                           struct err_detail *why) MUST_CHECK;

/* kafka_batch_parse, and the whole batch is in `in` and has the right CRC. The records inside are
 * not looked at. `in` may hold more batches behind it. */
enum err kafka_batch_validate(struct str in, struct kafka_batch *out,
                              struct err_detail *why) MUST_CHECK;

/* The next batch of a run, validated; *run moves past it. False at the end (*result is ERR_OK) or
 * at a bad batch (*result says; *run stays there). */
bool kafka_batch_next(struct str *run, struct kafka_batch *out, struct str *bytes, enum err *result,
                      struct err_detail *why);

/* What a topic asks of what is produced to it. */
struct kafka_run_rules {
    size_t batch_bytes_max;
    /* Records with timestamps outside are refused, ms; a record without one (-1) is not. */
    int64_t timestamp_min, timestamp_max;
    bool keys; /* records without a key are refused */
};
enum { KAFKA_RUN_ERRORS_MAX = 64 }; /* bad records that are named one by one */

/* What a producer sent. */
struct kafka_run {
    uint32_t n_batches;
    int64_t n_records;
    int64_t max_timestamp;
    size_t largest_bytes; /* of the batches */
    /* A producer with an id (else -1) sends one batch, which may be a transaction's. */
    int64_t producer_id;
    int16_t producer_epoch;
    bool transactional;
    /* The records that the rules refuse: their numbers in the run, from 0; a constant says why. */
    uint32_t n_errors;
    struct kafka_run_error {
        int32_t record;
        const char *text;
    } errors[KAFKA_RUN_ERRORS_MAX];
};
/* Checks a run of batches from a producer: every batch is valid, has last offset delta ==
 * records - 1, at least one record, create time, is no control batch, and is at most
 * batch_bytes_max (ERR_TOO_LARGE); a batch with a producer's id stands alone. The records are
 * checked as well, by iterating over them (decompressed into `scratch`): a maximum timestamp that
 * is not that of the records is corrected in place, with the CRC. ERR_RECORD_TIMESTAMP or
 * ERR_RECORD_KEY, that of the first one, when the rules refuse records: out->errors names them. */
enum err kafka_run_validate(char *run, size_t n, const struct kafka_run_rules *rules,
                            struct compress *c, struct buf *scratch, struct kafka_run *out,
                            struct err_detail *why) MUST_CHECK;

/* ---- fields that the log assigns; `batch` points to a valid batch ---- */

/* Not covered by the CRC. */
void kafka_batch_set_base_offset(char *batch, int64_t offset);
/* Not covered by the CRC. */
void kafka_batch_set_leader_epoch(char *batch, int32_t epoch);
/* Makes `ms` the timestamp of every record (LogAppendTime) and computes the CRC again. Costs a pass
 * over the batch. */
void kafka_batch_set_append_time(char *batch, int64_t ms);

/* Makes a batch that kafka_batch_writer has written one of a producer, and computes the CRC again.
 * `base_sequence` -1: not numbered. */
void kafka_batch_set_producer(char *batch, int64_t producer_id, int16_t epoch,
                              int32_t base_sequence, bool transactional);

/* ---- control batches: how a transaction ended ---- */

enum { KAFKA_MARKER_BYTES = 78 }; /* of one that kafka_marker_put writes */

/* Appends a control batch with one record to `out`: the transaction of the producer is committed
 * or aborted. A failure sticks in `out`. */
void kafka_marker_put(struct buf *out, int64_t producer_id, int16_t epoch, bool commit,
                      int64_t timestamp);
/* Reads it back from a whole control batch. Other kinds of control batches (there are some in
 * Kafka's own metadata log) and damaged ones are ERR_BAD_RECORD_BATCH. */
enum err kafka_marker_get(struct str batch, bool *commit) MUST_CHECK;

/* ---- records ---- */

/* A record; all bytes are borrowed from the batch or the decompression buffer. */
struct kafka_record {
    int64_t offset;
    int64_t timestamp;     /* ms since 1970; -1 = none */
    struct str key, value; /* ptr NULL = NULL; an empty one has a ptr */
    struct str headers;    /* encoded: kafka_record_headers */
    int32_t n_headers;
    /* Of several rows in a record's value, which this is, from 1; 0: the value is not split. It is
     * set by readers, never by this module. */
    uint32_t row;
};

/* Iterator over one batch. Caller-owned; fields are private. */
struct kafka_records {
    const uint8_t *at, *end;
    int64_t base_offset;
    int64_t base_timestamp;
    int64_t append_timestamp; /* with log append time, else -1 */
    int32_t last_delta;       /* of the record before */
    int32_t max_delta;
    int32_t left;
    bool log_append_time;
    enum err result;
    const char *problem; /* what was wrong, a constant */
};

/* Begins iterating over a batch (its exact bytes, validated). A compressed one is decompressed into
 * `scratch`, whose content is replaced and which must live as long as the records are used;
 * scratch->max bounds it (ERR_TOO_LARGE). Both may be NULL where no batch is compressed.
 * ERR_BAD_RECORD_BATCH when it does not decompress. Control batches have no records to show. */
enum err kafka_records_open(struct kafka_records *it, struct str batch, struct compress *c,
                            struct buf *scratch, struct err_detail *why) MUST_CHECK;
/* The same, and shows the one record of a control batch too: its key says how the transaction
 * ended. */
enum err kafka_records_open_control(struct kafka_records *it, struct str batch, struct compress *c,
                                    struct buf *scratch, struct err_detail *why) MUST_CHECK;
/* Up to `max` next records into `out`; 0 at the end or at damage: kafka_records_end tells. The
 * quick way: about 10 ns a record. */
size_t kafka_records_read(struct kafka_records *it, struct kafka_record *out, size_t max);
/* The next record; false at the end or at damage. */
bool kafka_records_next(struct kafka_records *it, struct kafka_record *out);
/* After the last record: ERR_OK, or ERR_BAD_RECORD_BATCH with what was wrong at which offset. */
enum err kafka_records_end(const struct kafka_records *it, struct err_detail *why) MUST_CHECK;

/* ---- a producer's run in steps ---- */

/* kafka_run_validate in steps, between which others can be served. Caller-owned; fields are
 * private. */
struct kafka_run_check {
    char *run;
    size_t n, at;
    const struct kafka_run_rules *rules;
    struct compress *c;
    struct buf *scratch;
    struct kafka_run *out;
    enum kafka_run_phase { RUN_HEADER, RUN_DECODE, RUN_RECORDS, RUN_REFUSED, RUN_END } phase;
    struct kafka_batch batch; /* at `at` */
    struct kafka_records records, again; /* again: for those that are refused */
    struct kafka_skim {
        int64_t timestamp_min, timestamp_max;
        bool keyless; /* some record has no key */
    } seen;           /* of the batch so far */
    int64_t number;   /* of the next record in the run, of `again` */
    enum err refused; /* why the first record is that the rules refuse */
};
/* All that it is given is used by the steps. Of `c` and `scratch` that is so from the first step
 * that says ERR_BUSY on: they are the check's until its end. */
void kafka_run_check_begin(struct kafka_run_check *k, char *run, size_t n,
                           const struct kafka_run_rules *rules, struct compress *c,
                           struct buf *scratch, struct kafka_run *out);
/* Works on about *budget bytes, decompressed ones and records, and takes them from *budget.
 * ERR_BUSY: not at the end, with nothing left of it. Otherwise what kafka_run_validate returns;
 * `why` is the same in all steps. */
enum err kafka_run_check_step(struct kafka_run_check *k, int64_t *budget,
                              struct err_detail *why) MUST_CHECK;

struct kafka_header {
    struct str key;
    struct str value; /* ptr NULL = NULL */
};
/* Takes the next header from *headers (initially record.headers), which the iterator has checked
 * already. False at the end. */
bool kafka_record_header(struct str *headers, struct kafka_header *out);

/* ---- writing ---- */

/* Builds one batch at the end of a buffer. Caller-owned; fields are private except n_records. */
struct kafka_batch_writer {
    struct buf *out;
    size_t start; /* of the batch in out */
    int64_t base_timestamp;
    int64_t max_timestamp;
    int32_t n_records;
};

/* Begins a batch at the end of `out`. `base_timestamp`: the first record's, or near it. */
void kafka_batch_begin(struct kafka_batch_writer *w, struct buf *out, int64_t base_timestamp);
/* Adds a record; key and value with ptr NULL are NULL. A failure (out->max) sticks in `out` and is
 * reported by kafka_batch_finish. */
void kafka_batch_add(struct kafka_batch_writer *w, struct str key, struct str value,
                     int64_t timestamp, const struct kafka_header *headers, size_t n_headers);
/* Bytes of the batch so far, uncompressed: to decide when to finish it. */
size_t kafka_batch_bytes(const struct kafka_batch_writer *w);
/* Compresses (codec != COMPRESS_NONE: `c` and `scratch` are needed, scratch's content is replaced)
 * and writes header and CRC: base offset 0, no producer, create time. A batch without records
 * leaves no bytes. ERR_LIMIT when `out` was too small, compression's errors; then the batch is
 * removed from `out`. */
enum err kafka_batch_finish(struct kafka_batch_writer *w, uint32_t codec, struct compress *c,
                            struct buf *scratch, struct err_detail *why) MUST_CHECK;

#endif
