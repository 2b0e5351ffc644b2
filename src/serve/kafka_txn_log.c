/* Records of sys.transactions: the key is the transactional id, the value its state. */
#include "serve/kafka_txn.h"

#include "base/mem.h"
#include "wire/kafka_batch.h"

enum { RECORD_BYTES_MAX = TXN_PARTS_MAX * 8 + 4096 };

static void put_value(struct buf *out, const struct txn *t, struct kafka_txn_value_txn_part *parts)
{
    struct kafka_writer w = {.out = out};
    struct kafka_txn_value v = {.state = (int8_t)t->state,
                                .producer_id = t->producer_id,
                                .producer_epoch = t->epoch,
                                .last_producer_id = t->last_producer_id,
                                .last_epoch = t->last_epoch,
                                .timeout_ms = t->timeout_ms,
                                .updated_ms = t->updated_ms,
                                .partitions = parts};
    /* Which partitions an ending one has is known from their logs. */
    v.n_partitions = t->state == TXN_ONGOING ? t->n_parts : 0;
    for (uint32_t i = 0; i < v.n_partitions; i++)
        parts[i] = (struct kafka_txn_value_txn_part){(int32_t)t->parts[i].topic,
                                                     (int32_t)t->parts[i].partition};
    kafka_write_int16(&w, 0);
    kafka_txn_value_write(&w, 0, &v);
}

enum err txn_record_put(struct buf *out, const struct txn *t, bool forgotten, int64_t now_ms)
{
    struct kafka_batch_writer batch;
    struct buf key, value;
    struct kafka_writer w = {.out = &key};
    struct kafka_txn_key k = {t->id};
    struct kafka_txn_value_txn_part *parts = mem_alloc((t->n_parts + 1) * sizeof *parts);
    if (parts == NULL)
        return ERR_NO_MEMORY;
    buf_init(&key, RECORD_BYTES_MAX);
    buf_init(&value, RECORD_BYTES_MAX);
    kafka_write_int16(&w, 0);
    kafka_txn_key_write(&w, 0, &k);
    put_value(&value, t, parts);
    kafka_batch_begin(&batch, out, now_ms);
    kafka_batch_add(&batch, buf_str(&key), forgotten ? (struct str){NULL, 0} : buf_str(&value),
                    now_ms, NULL, 0);
    enum err e = key.failed || value.failed
                     ? ERR_NO_MEMORY
                     : kafka_batch_finish(&batch, COMPRESS_NONE, NULL, NULL, NULL);
    buf_deinit(&key);
    buf_deinit(&value);
    mem_free(parts);
    return e;
}

static enum err take_parts(struct txn *t, const struct kafka_txn_value *v)
{
    if (v->n_partitions > TXN_PARTS_MAX)
        return ERR_CORRUPT;
    t->n_parts = 0;
    for (uint32_t i = 0; i < v->n_partitions; i++)
        TRY(txn_part_put(t, (struct txn_part){(uint32_t)v->partitions[i].topic,
                                              (uint32_t)v->partitions[i].partition}));
    return ERR_OK;
}

static enum err take_value(struct txns *ts, struct str id, const struct kafka_txn_value *v)
{
    struct txn *t = txns_find(ts, id);
    if (v->state < 0 || v->state >= TXN_STATES || v->producer_id < 0)
        return ERR_CORRUPT;
    if (t == NULL)
        TRY(txns_add(ts, id, &t));
    if (t->producer_id != v->producer_id) {
        if (txns_by_producer(ts, t->producer_id) == t && t->producer_id != v->last_producer_id)
            (void)map_remove(&ts->by_producer, (uint64_t)t->producer_id + 1);
        TRY(txns_producer_set(ts, t, v->producer_id));
    }
    if (v->last_producer_id >= 0)
        TRY(map_put(&ts->by_producer, (uint64_t)v->last_producer_id + 1, t));
    t->state = (enum txn_state)v->state;
    t->epoch = v->producer_epoch;
    t->last_producer_id = v->last_producer_id;
    t->last_epoch = v->last_epoch;
    t->timeout_ms = v->timeout_ms;
    t->updated_ms = v->updated_ms;
    return take_parts(t, v);
}

static enum err apply_record(struct txns *ts, const struct kafka_record *record, struct arena *a)
{
    struct kafka_reader r;
    struct kafka_txn_key key;
    struct kafka_txn_value value;
    kafka_reader_init(&r, record->key, a);
    if (kafka_read_int16(&r) != 0 && r.failed == NULL)
        return ERR_UNSUPPORTED;
    kafka_txn_key_read(&r, 0, &key);
    if (r.failed != NULL)
        return ERR_CORRUPT;
    if (record->value.ptr == NULL) {
        struct txn *t = txns_find(ts, key.transactional_id);
        if (t != NULL)
            txns_remove(ts, t);
        return ERR_OK;
    }
    kafka_reader_init(&r, record->value, a);
    if (kafka_read_int16(&r) != 0 && r.failed == NULL)
        return ERR_UNSUPPORTED;
    kafka_txn_value_read(&r, 0, &value);
    return r.failed != NULL ? ERR_CORRUPT : take_value(ts, key.transactional_id, &value);
}

enum err txn_records_apply(struct txns *ts, struct str run, struct err_detail *why)
{
    struct kafka_batch batch;
    struct str bytes;
    struct arena a;
    enum err e = ERR_OK;
    arena_init(&a, 4 << 20);
    while (e == ERR_OK && kafka_batch_next(&run, &batch, &bytes, &e, why)) {
        struct kafka_records it;
        struct kafka_record record;
        e = kafka_records_open(&it, bytes, NULL, NULL, why);
        while (e == ERR_OK && kafka_records_next(&it, &record)) {
            arena_reset(&a, 64 << 10);
            e = apply_record(ts, &record, &a);
        }
        if (e == ERR_OK)
            e = kafka_records_end(&it, why);
    }
    arena_deinit(&a);
    return e;
}
