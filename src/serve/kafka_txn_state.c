#include "serve/kafka_txn_state.h"

#include "base/hash.h"
#include "base/mem.h"

#include <string.h>

enum {
    E_NOT_COORDINATOR_MEMORY = 15, /* COORDINATOR_NOT_AVAILABLE: come again */
    E_INVALID_EPOCH = 47,
    E_INVALID_STATE = 48,
    E_INVALID_MAPPING = 49,
    E_INVALID_TIMEOUT = 50,
    E_CONCURRENT = 51,
    E_FENCED = 90,
};

/* ---- the set ---- */

void txns_init(struct txns *ts)
{
    *ts = (struct txns){0};
    list_init(&ts->all);
}

void txns_deinit(struct txns *ts)
{
    while (!list_empty(&ts->all))
        txns_remove(ts, LIST_ENTRY(ts->all.next, struct txn, link));
    map_deinit(&ts->by_id);
    map_deinit(&ts->by_producer);
}

static uint64_t hash_of(struct str id)
{
    return hash_bytes(id.ptr, id.len, 0) | 1;
}

struct txn *txns_find(const struct txns *ts, struct str id)
{
    struct txn *t = map_get(&ts->by_id, hash_of(id));
    while (t != NULL && !str_eq(t->id, id))
        t = t->next;
    return t;
}

struct txn *txns_by_producer(const struct txns *ts, int64_t producer_id)
{
    return producer_id < 0 ? NULL : map_get(&ts->by_producer, (uint64_t)producer_id + 1);
}

enum err txns_add(struct txns *ts, struct str id, struct txn **out)
{
    if (ts->n >= TXNS_MAX || id.len > TXN_ID_BYTES_MAX)
        return ERR_LIMIT;
    struct txn *t = mem_zalloc(1, sizeof *t + id.len + 1);
    if (t == NULL)
        return ERR_NO_MEMORY;
    char *name = (char *)(t + 1);
    if (id.len > 0)
        memcpy(name, id.ptr, id.len);
    t->id = (struct str){name, id.len};
    t->producer_id = t->last_producer_id = -1;
    t->epoch = t->last_epoch = -1;
    list_init(&t->waiting);
    t->next = map_get(&ts->by_id, hash_of(id));
    if (map_put(&ts->by_id, hash_of(id), t) != ERR_OK) {
        mem_free(t);
        return ERR_NO_MEMORY;
    }
    list_add(&ts->all, &t->link);
    ts->n++;
    *out = t;
    return ERR_OK;
}

void txns_remove(struct txns *ts, struct txn *t)
{
    uint64_t h = hash_of(t->id);
    struct txn *first = map_get(&ts->by_id, h);
    if (first == t && t->next == NULL)
        (void)map_remove(&ts->by_id, h);
    else if (first == t)
        (void)!map_put(&ts->by_id, h, t->next); /* replaces: no memory is needed */
    else
        for (struct txn *at = first; at != NULL; at = at->next)
            if (at->next == t)
                at->next = t->next;
    if (txns_by_producer(ts, t->producer_id) == t)
        (void)map_remove(&ts->by_producer, (uint64_t)t->producer_id + 1);
    if (txns_by_producer(ts, t->last_producer_id) == t)
        (void)map_remove(&ts->by_producer, (uint64_t)t->last_producer_id + 1);
    list_remove(&t->link);
    ts->n--;
    mem_free(t->parts);
    mem_free(t);
}

enum err txns_producer_set(struct txns *ts, struct txn *t, int64_t producer_id)
{
    TRY(map_put(&ts->by_producer, (uint64_t)producer_id + 1, t));
    t->producer_id = producer_id;
    return ERR_OK;
}

const char *txn_state_name(enum txn_state state)
{
    static const char *const names[TXN_STATES] = {
        "Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort"};
    return names[state];
}

/* ---- transitions ---- */

static bool preparing(const struct txn *t)
{
    return t->state == TXN_PREPARE_COMMIT || t->state == TXN_PREPARE_ABORT;
}

/* The producer id and epoch of whoever comes after (producer_id, epoch). */
static int16_t raise_epoch(struct txns *ts, struct txn *t, int64_t fresh)
{
    if (t->epoch < TXN_EPOCH_MAX) {
        t->epoch++;
        return TXN_OK;
    }
    if (txns_producer_set(ts, t, fresh) != ERR_OK)
        return E_NOT_COORDINATOR_MEMORY;
    t->epoch = 0;
    return TXN_OK;
}

static void last_set(struct txns *ts, struct txn *t)
{
    if (t->last_producer_id != t->producer_id && txns_by_producer(ts, t->last_producer_id) == t)
        (void)map_remove(&ts->by_producer, (uint64_t)t->last_producer_id + 1);
    t->last_producer_id = t->producer_id;
    t->last_epoch = t->epoch;
}

int16_t txn_check(const struct txn *t, int64_t producer_id, int16_t epoch)
{
    if (t == NULL || (t->producer_id != producer_id && t->last_producer_id != producer_id))
        return E_INVALID_MAPPING;
    return t->producer_id == producer_id && t->epoch == epoch ? TXN_OK : E_FENCED;
}

int16_t txn_abort(struct txns *ts, struct txn *t, int64_t fresh, int64_t now_ms)
{
    last_set(ts, t);
    int16_t e = raise_epoch(ts, t, fresh);
    if (e != TXN_OK)
        return e;
    t->state = TXN_PREPARE_ABORT;
    t->updated_ms = now_ms;
    return TXN_CHANGED;
}

int16_t txn_begin_producer(struct txns *ts, struct txn *t, int64_t producer_id, int16_t epoch,
                           int32_t timeout_ms, int64_t fresh, int64_t now_ms)
{
    if (timeout_ms <= 0 || timeout_ms > TXN_TIMEOUT_MS_MAX)
        return E_INVALID_TIMEOUT;
    if (preparing(t))
        return TXN_WAIT;
    if (producer_id >= 0) {
        /* A producer that goes on after an error. The answer may have been lost. */
        bool current = producer_id == t->producer_id && epoch == t->epoch;
        bool before = producer_id == t->last_producer_id && epoch == t->last_epoch;
        if (!current && !before)
            return E_FENCED;
        if (!current && t->state != TXN_ONGOING)
            return TXN_OK;
    }
    if (t->state == TXN_ONGOING)
        return txn_abort(ts, t, fresh, now_ms);
    if (t->producer_id < 0) {
        if (txns_producer_set(ts, t, fresh) != ERR_OK)
            return E_NOT_COORDINATOR_MEMORY;
        t->epoch = 0;
    } else {
        last_set(ts, t);
        int16_t e = raise_epoch(ts, t, fresh);
        if (e != TXN_OK)
            return e;
    }
    t->state = TXN_EMPTY;
    t->timeout_ms = timeout_ms;
    t->updated_ms = now_ms;
    t->n_parts = 0;
    return TXN_CHANGED;
}

static bool part_before(struct txn_part a, struct txn_part b)
{
    return a.topic != b.topic ? a.topic < b.topic : a.partition < b.partition;
}

/* Where the partition is among the transaction's, or would be. */
static uint32_t part_place(const struct txn *t, struct txn_part part)
{
    uint32_t low = 0, high = t->n_parts;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (part_before(t->parts[middle], part))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has_part(const struct txn *t, struct txn_part part)
{
    uint32_t at = part_place(t, part);
    return at < t->n_parts && !part_before(part, t->parts[at]);
}

int16_t txn_admit(const struct txn *t, int64_t producer_id, int16_t epoch, struct txn_part part,
                  bool implicit)
{
    int16_t e = txn_check(t, producer_id, epoch);
    if (e != TXN_OK)
        return e == E_FENCED ? E_INVALID_EPOCH : e;
    if (preparing(t))
        return E_CONCURRENT;
    if (implicit || (t->state == TXN_ONGOING && has_part(t, part)))
        return TXN_OK;
    return E_INVALID_STATE;
}

enum err txn_part_put(struct txn *t, struct txn_part part)
{
    uint32_t at = part_place(t, part);
    if (at < t->n_parts && !part_before(part, t->parts[at]))
        return ERR_OK;
    if (t->n_parts == TXN_PARTS_MAX)
        return ERR_LIMIT;
    if (t->n_parts == t->cap_parts) {
        uint32_t cap = t->cap_parts == 0 ? 4 : t->cap_parts * 2;
        struct txn_part *grown = mem_realloc(t->parts, cap * sizeof *grown);
        if (grown == NULL)
            return ERR_NO_MEMORY;
        t->parts = grown;
        t->cap_parts = cap;
    }
    memmove(t->parts + at + 1, t->parts + at, (t->n_parts - at) * sizeof *t->parts);
    t->parts[at] = part;
    t->n_parts++;
    return ERR_OK;
}

int16_t txn_add(struct txn *t, int64_t producer_id, int16_t epoch, struct txn_part part,
                int64_t now_ms)
{
    int16_t e = txn_check(t, producer_id, epoch);
    if (e != TXN_OK)
        return e;
    if (preparing(t))
        return E_CONCURRENT;
    if (t->state != TXN_ONGOING)
        t->n_parts = 0;
    enum err put = txn_part_put(t, part);
    if (put != ERR_OK)
        return put == ERR_LIMIT ? E_INVALID_STATE : E_NOT_COORDINATOR_MEMORY;
    if (t->state == TXN_ONGOING)
        return TXN_OK;
    t->state = TXN_ONGOING;
    t->updated_ms = now_ms;
    return TXN_OK;
}

/* EndTxn that is not from the current epoch: from the one before, when the answer was lost. */
static int16_t end_repeated(const struct txn *t, int64_t producer_id, int16_t epoch, bool commit)
{
    if (producer_id != t->last_producer_id || epoch != t->last_epoch)
        return txn_check(t, producer_id, epoch);
    if (t->state == (commit ? TXN_PREPARE_COMMIT : TXN_PREPARE_ABORT))
        return TXN_WAIT;
    if (t->state == (commit ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT))
        return TXN_OK;
    return E_FENCED;
}

int16_t txn_end(struct txns *ts, struct txn *t, int64_t producer_id, int16_t epoch, bool commit,
                bool raise, int64_t fresh, int64_t now_ms)
{
    enum txn_state prepare = commit ? TXN_PREPARE_COMMIT : TXN_PREPARE_ABORT;
    int16_t e = txn_check(t, producer_id, epoch);
    if (e == E_FENCED)
        return end_repeated(t, producer_id, epoch, commit);
    if (e != TXN_OK)
        return e;
    if (preparing(t))
        return t->state == prepare && t->last_epoch == t->epoch ? TXN_WAIT : E_INVALID_STATE;
    if (t->state != TXN_ONGOING) {
        bool repeated = t->state == (commit ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT) &&
                        t->last_producer_id == t->producer_id && t->last_epoch == t->epoch;
        if (repeated && !raise)
            return TXN_OK;
        if (commit || !raise)
            return E_INVALID_STATE;
        t->n_parts = 0; /* an abort of nothing raises the epoch like another */
    }
    last_set(ts, t);
    if (raise && (e = raise_epoch(ts, t, fresh)) != TXN_OK)
        return e;
    t->state = prepare;
    t->updated_ms = now_ms;
    return TXN_CHANGED;
}

bool txn_complete(struct txn *t, int64_t now_ms)
{
    t->state = t->state == TXN_PREPARE_COMMIT ? TXN_COMPLETE_COMMIT : TXN_COMPLETE_ABORT;
    t->n_parts = 0;
    t->updated_ms = now_ms;
    return t->last_producer_id == t->producer_id && t->last_epoch == t->epoch;
}

int16_t txn_marker_epoch(const struct txn *t)
{
    if (t->last_producer_id == t->producer_id)
        return t->epoch;
    return (int16_t)(t->last_epoch + 1);
}

enum err txn_found_open(struct txn *t, int64_t producer_id, int16_t epoch, struct txn_part part,
                        int64_t now_ms)
{
    bool ending = preparing(t) && producer_id == t->last_producer_id && epoch <= t->last_epoch;
    if (!ending && (producer_id != t->producer_id || epoch != t->epoch))
        return ERR_CORRUPT;
    if (!ending && t->state != TXN_ONGOING) {
        /* It began after the last record. */
        t->state = TXN_ONGOING;
        t->n_parts = 0;
        t->updated_ms = now_ms;
    }
    return txn_part_put(t, part);
}
