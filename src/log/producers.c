#include "log/producers.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"

#include <string.h>

void producers_init(struct producers *p)
{
    *p = (struct producers){0};
    list_init(&p->silent);
    list_init(&p->open);
    list_init(&p->ended);
}

static void txn_free(struct producer_txn *t)
{
    list_remove(&t->link);
    mem_free(t);
}

static void forget(struct producers *p, struct producer *one)
{
    (void)map_remove(&p->map, (uint64_t)one->id + 1);
    list_remove(&one->link);
    p->n--;
    mem_free(one->spare);
    mem_free(one);
}

void producers_deinit(struct producers *p)
{
    while (!list_empty(&p->open)) {
        struct producer_txn *t = LIST_ENTRY(p->open.next, struct producer_txn, link);
        forget(p, t->producer);
        txn_free(t);
    }
    while (!list_empty(&p->ended))
        txn_free(LIST_ENTRY(p->ended.next, struct producer_txn, link));
    while (!list_empty(&p->silent))
        forget(p, LIST_ENTRY(p->silent.next, struct producer, link));
    map_deinit(&p->map);
}

static struct producer *find(const struct producers *p, int64_t id)
{
    return id < 0 ? NULL : map_get(&p->map, (uint64_t)id + 1);
}

const struct producer *producers_find(const struct producers *p, int64_t id)
{
    return find(p, id);
}

const struct producer *producers_next(const struct producers *p, size_t *at)
{
    return map_next(&p->map, at);
}

/* ---- sequence numbers ---- */

/* Sequence numbers wrap from 2^31 - 1 to 0. */
static int32_t sequence_add(int32_t sequence, int32_t n)
{
    return (int32_t)(((uint32_t)sequence + (uint32_t)n) & INT32_MAX);
}

static int32_t last_sequence(const struct producer_batch *b)
{
    return sequence_add(b->base_sequence, b->n_records - 1);
}

/* Is `a` before `b`, going the shorter way around? */
static bool sequence_before(int32_t a, int32_t b)
{
    uint32_t distance = ((uint32_t)b - (uint32_t)a) & INT32_MAX;
    return distance != 0 && distance < 1u << 30;
}

enum producer_verdict producers_check(const struct producers *p, const struct producer_batch *b,
                                      int64_t *base_offset)
{
    const struct producer *one = find(p, b->producer_id);
    if (one == NULL || one->epoch < 0)
        return PRODUCER_NEW;
    if (b->epoch < one->epoch)
        return PRODUCER_FENCED;
    if (b->epoch > one->epoch)
        return b->base_sequence <= 0 ? PRODUCER_NEW : PRODUCER_OUT_OF_ORDER;
    if (one->txn != NULL && !b->transactional)
        return PRODUCER_IN_TXN;
    if (b->base_sequence < 0)
        return PRODUCER_NEW;
    for (uint32_t i = 0; i < one->n; i++)
        if (one->batches[i].first == b->base_sequence && one->batches[i].last == last_sequence(b)) {
            *base_offset = one->batches[i].base_offset;
            return PRODUCER_DUPLICATE;
        }
    if (one->n == 0)
        return b->base_sequence == 0 ? PRODUCER_NEW : PRODUCER_OUT_OF_ORDER;
    int32_t last = one->batches[one->n - 1].last;
    if (b->base_sequence == sequence_add(last, 1))
        return PRODUCER_NEW;
    return sequence_before(b->base_sequence, last) || b->base_sequence == last
               ? PRODUCER_OLD_DUPLICATE
               : PRODUCER_OUT_OF_ORDER;
}

/* ---- what batches change ---- */

static struct producer *producer_add(struct producers *p, int64_t id)
{
    if (p->n >= PRODUCERS_MAX)
        forget(p, LIST_ENTRY(p->silent.next, struct producer, link));
    struct producer *one = mem_zalloc(1, sizeof *one);
    if (one == NULL)
        return NULL;
    one->id = id;
    one->epoch = -1;
    list_init(&one->link);
    if (map_put(&p->map, (uint64_t)id + 1, one) != ERR_OK) {
        mem_free(one);
        return NULL;
    }
    p->n++;
    list_add(&p->silent, &one->link);
    return one;
}

enum err producers_reserve(struct producers *p, const struct producer_batch *b)
{
    struct producer *one = find(p, b->producer_id);
    if (b->producer_id < 0)
        return ERR_OK;
    if (one == NULL && p->n >= PRODUCERS_MAX && list_empty(&p->silent))
        return ERR_LIMIT;
    if (one == NULL && (one = producer_add(p, b->producer_id)) == NULL)
        return ERR_NO_MEMORY;
    if (b->transactional && one->txn == NULL && one->spare == NULL) {
        one->spare = mem_zalloc(1, sizeof *one->spare);
        if (one->spare == NULL)
            return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

static void epoch_set(struct producer *one, int16_t epoch)
{
    if (epoch == one->epoch)
        return;
    one->epoch = epoch;
    one->n = 0;
}

static void txn_begin(struct producers *p, struct producer *one, int64_t offset)
{
    CHECK(one->spare != NULL);
    one->txn = one->spare;
    one->spare = NULL;
    *one->txn = (struct producer_txn){.producer = one, .first_offset = offset, .marker_offset = -1};
    list_add(&p->open, &one->txn->link);
}

/* The producer was heard of: it is the last to be forgotten, or not at all. */
static void seen(struct producers *p, struct producer *one, int64_t now_ms)
{
    one->seen_ms = now_ms;
    list_remove(&one->link);
    if (one->txn == NULL)
        list_add(&p->silent, &one->link);
}

void producers_appended(struct producers *p, const struct producer_batch *b, int64_t base_offset,
                        int64_t now_ms)
{
    struct producer *one = find(p, b->producer_id);
    if (b->producer_id < 0)
        return;
    CHECK(one != NULL);
    epoch_set(one, b->epoch);
    if (b->base_sequence >= 0) {
        if (one->n == PRODUCER_BATCHES) {
            memmove(one->batches, one->batches + 1, sizeof one->batches - sizeof one->batches[0]);
            one->n--;
        }
        one->batches[one->n++] =
            (struct producer_batch_seen){b->base_sequence, last_sequence(b), base_offset};
    }
    if (b->transactional && one->txn == NULL)
        txn_begin(p, one, base_offset);
    seen(p, one, now_ms);
}

int64_t producers_ended(struct producers *p, int64_t producer_id, int16_t epoch, int64_t offset,
                        int64_t now_ms)
{
    struct producer *one = find(p, producer_id);
    int64_t first = -1;
    if (one == NULL)
        return -1;
    if (one->txn != NULL) {
        first = one->txn->first_offset;
        one->txn->producer = NULL;
        one->txn->marker_offset = offset;
        list_remove(&one->txn->link);
        list_add(&p->ended, &one->txn->link);
        one->txn = NULL;
    }
    if (epoch > one->epoch)
        epoch_set(one, epoch);
    seen(p, one, now_ms);
    return first;
}

int64_t producers_first_unstable(struct producers *p, int64_t high_watermark)
{
    int64_t first = producers_first_open(p);
    LIST_FOR_SAFE (it, next, &p->ended) {
        struct producer_txn *t = LIST_ENTRY(it, struct producer_txn, link);
        if (t->marker_offset < high_watermark)
            txn_free(t);
        else if (t->first_offset < first)
            first = t->first_offset;
    }
    return first;
}

int64_t producers_first_open(const struct producers *p)
{
    return list_empty(&p->open) ? INT64_MAX
                                : LIST_ENTRY(p->open.next, struct producer_txn, link)->first_offset;
}

void producers_expire(struct producers *p, int64_t now_ms)
{
    while (!list_empty(&p->silent)) {
        struct producer *one = LIST_ENTRY(p->silent.next, struct producer, link);
        if (now_ms - one->seen_ms < PRODUCER_SILENT_MS)
            return;
        forget(p, one);
    }
}

/* ---- as bytes ----
 *
 *   u32 how many; each: id i64, last seen i64, first offset of the open transaction i64 (-1 =
 * none), epoch i16, batches u16; each: first, last sequence number i32, base offset i64.
 * Little-endian */

enum { ONE_BYTES = 28, BATCH_BYTES = 16 };
_Static_assert(ONE_BYTES + PRODUCER_BATCHES * BATCH_BYTES <= PRODUCER_BYTES_MAX, "one producer");

static void encode_one(const struct producer *one, struct buf *out)
{
    char p[PRODUCER_BYTES_MAX];
    size_t n = ONE_BYTES;
    le64_put(p, (uint64_t)one->id);
    le64_put(p + 8, (uint64_t)one->seen_ms);
    le64_put(p + 16, (uint64_t)(one->txn != NULL ? one->txn->first_offset : -1));
    le32_put(p + 24, (uint32_t)(uint16_t)one->epoch | (uint32_t)one->n << 16);
    for (uint32_t i = 0; i < one->n; i++, n += BATCH_BYTES) {
        le32_put(p + n, (uint32_t)one->batches[i].first);
        le32_put(p + n + 4, (uint32_t)one->batches[i].last);
        le64_put(p + n + 8, (uint64_t)one->batches[i].base_offset);
    }
    buf_put(out, p, n);
}

void producers_encode(const struct producers *p, struct buf *out)
{
    uint32_t n = p->n;
    buf_put(out, &n, sizeof n);
    LIST_FOR (it, &p->silent)
        encode_one(LIST_ENTRY(it, struct producer, link), out);
    LIST_FOR (it, &p->open)
        encode_one(LIST_ENTRY(it, struct producer_txn, link)->producer, out);
}

static enum err decode_one(struct producers *p, const char *in, const char *end, const char **next)
{
    if (end - in < ONE_BYTES)
        return ERR_CORRUPT;
    int64_t id = (int64_t)le64_get(in);
    int64_t txn = (int64_t)le64_get(in + 16);
    uint32_t n = le32_get(in + 24) >> 16;
    if (id < 0 || find(p, id) != NULL || n > PRODUCER_BATCHES || p->n >= PRODUCERS_MAX ||
        end - in - ONE_BYTES < (ptrdiff_t)n * BATCH_BYTES)
        return ERR_CORRUPT;
    struct producer_batch b = {.producer_id = id, .transactional = txn >= 0};
    TRY(producers_reserve(p, &b));
    struct producer *one = find(p, id);
    one->epoch = (int16_t)(uint16_t)le32_get(in + 24);
    one->n = (uint8_t)n;
    in += ONE_BYTES;
    for (uint32_t i = 0; i < n; i++, in += BATCH_BYTES)
        one->batches[i] = (struct producer_batch_seen){
            (int32_t)le32_get(in), (int32_t)le32_get(in + 4), (int64_t)le64_get(in + 8)};
    if (txn >= 0)
        txn_begin(p, one, txn);
    seen(p, one, (int64_t)le64_get(in - n * BATCH_BYTES - ONE_BYTES + 8));
    *next = in;
    return ERR_OK;
}

enum err producers_decode(struct producers *p, struct str in)
{
    const char *at = in.ptr + sizeof(uint32_t), *end = in.ptr + in.len;
    if (in.len == 0)
        return ERR_OK;
    if (in.len < sizeof(uint32_t))
        return ERR_CORRUPT;
    uint32_t n = le32_get(in.ptr);
    for (uint32_t i = 0; i < n; i++)
        TRY(decode_one(p, at, end, &at));
    return at == end ? ERR_OK : ERR_CORRUPT;
}
