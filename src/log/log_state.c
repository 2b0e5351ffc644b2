/* Producers and transactions of a partition, as its batches say in their order.
 *
 *   log_append ----------------> log_state_reserve, write, log_state_apply
 *   recovery, lost indexes ----> the state kept where a segment begins, then log_state_apply for
 *                                each batch from there on
 *
 * Readers of committed records may see what is below the stable offset, without what the aborted
 * transactions of the range name. */
#include "log/log.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "log/log_int.h"

#include <stdlib.h>

static struct producer_batch fields(const struct kafka_batch *b)
{
    return (struct producer_batch){.producer_id = b->producer_id,
                                   .epoch = b->producer_epoch,
                                   .transactional = b->transactional,
                                   .base_sequence = b->base_sequence,
                                   /* as many as there were, before compaction */
                                   .n_records = b->last_offset_delta + 1};
}

enum err log_state_reserve(struct producers *state, struct log_index *x,
                           const struct kafka_batch *b)
{
    struct producer_batch f = fields(b);
    if (b->producer_id < 0) {
        return ERR_OK;
    }
    if (b->control) {
        return x != NULL ? log_index_reserve_aborted(x, 1) : ERR_OK;
    }
    return producers_reserve(state, &f);
}

enum err log_state_apply(struct producers *state, struct log_segment *s,
                         const struct kafka_batch *b, struct str bytes, int64_t now_ms)
{
    struct producer_batch f = fields(b);
    bool commit = false;
    if (b->producer_id < 0) {
        return ERR_OK;
    }
    if (!b->control) {
        producers_appended(state, &f, b->base_offset, now_ms);
        return ERR_OK;
    }
    TRY(kafka_marker_get(bytes, &commit));
    int64_t first =
        producers_ended(state, b->producer_id, b->producer_epoch, b->base_offset, now_ms);
    if (first < 0 || commit || s == NULL) {
        return ERR_OK;
    }
    struct log_aborted a = {b->producer_id, first, b->base_offset};
    log_index_add_aborted(&s->index, &a);
    s->n_aborted++;
    s->aborted_first = first < s->aborted_first ? first : s->aborted_first;
    return ERR_OK;
}

enum err log_state_scan(struct producers *state, struct log_segment *s, struct log_scan *c,
                        uint64_t at, const struct kafka_batch *b, int64_t now_ms)
{
    struct str bytes = {NULL, 0};
    if (b->producer_id < 0) {
        return ERR_OK;
    }
    if (b->control) {
        if (b->bytes > LOG_CONTROL_BYTES_MAX) {
            return ERR_CORRUPT;
        }
        TRY(log_scan_get(c, at, b->bytes, &bytes));
    }
    TRY(log_state_reserve(state, s != NULL ? &s->index : NULL, b));
    enum err e = log_state_apply(state, s, b, bytes, now_ms);
    (void)producers_first_unstable(state, INT64_MAX); /* what is read back is durable */
    return e == ERR_BAD_RECORD_BATCH ? ERR_CORRUPT : e;
}

/* Takes in the batches of a whole segment, whose file is open. */
static enum err replay_segment(const struct log_segment *s, struct producers *state, char *buffer,
                               int64_t now_ms)
{
    struct log_scan scan = {.file = s->file,
                            .size = s->bytes,
                            .buffer = buffer,
                            .buffer_bytes = LOG_RECOVERY_READ_BYTES};
    int64_t offset = s->base_offset;
    for (uint64_t at = 0; at < s->bytes;) {
        struct kafka_batch b;
        TRY(log_scan_header(&scan, at, offset, &b, NULL));
        TRY(log_state_scan(state, NULL, &scan, at, &b, now_ms));
        at += b.bytes;
        offset += (int64_t)b.last_offset_delta + 1;
    }
    return ERR_OK;
}

static enum err replay(struct log_partition *p, uint32_t from, uint32_t to, struct producers *state)
{
    int64_t now_ms = host_wall_us(p->host) / 1000;
    char *buffer = mem_alloc(LOG_RECOVERY_READ_BYTES);
    enum err e = buffer != NULL ? ERR_OK : ERR_NO_MEMORY;
    for (uint32_t i = from; i < to && e == ERR_OK; i++) {
        struct log_segment *s = p->segments[i];
        bool cold = s->file == NULL;
        e = log_segment_open(s, p->dir, NULL);
        if (e == ERR_OK) {
            e = replay_segment(s, state, buffer, now_ms);
        }
        if (cold) {
            log_segment_cool(s);
        }
    }
    mem_free(buffer);
    return e;
}

/* Reads the state at the beginning of segment `number`, when it was kept. ERR_CORRUPT: it was not.
 */
static enum err state_read(struct log_partition *p, uint32_t number, struct producers *state)
{
    const struct log_segment *before = number > 0 ? p->segments[number - 1] : NULL;
    struct buf bytes;
    producers_deinit(state);
    producers_init(state);
    if (before != NULL && before->finished && before->n_producers == 0) {
        return ERR_OK;
    }
    buf_init(&bytes, LOG_STATE_BYTES_MAX);
    enum err e = log_state_load(p->host, p->dir, p->segments[number]->base_offset, &bytes);
    if (e == ERR_OK) {
        e = producers_decode(state, buf_str(&bytes));
    }
    buf_deinit(&bytes);
    return e;
}

enum err log_state_before(struct log_partition *p, uint32_t number, struct producers *state)
{
    uint32_t from = number;
    enum err e = state_read(p, from, state);
    while (e == ERR_CORRUPT && from > 0) {
        e = state_read(p, --from, state);
    }
    if (e == ERR_CORRUPT) { /* the log begins here, or nobody knows what came before */
        producers_deinit(state);
        producers_init(state);
        e = ERR_OK;
    }
    TRY(e);
    return from < number ? replay(p, from, number, state) : ERR_OK;
}

enum err log_state_seal(const struct producers *state, struct log_segment *s)
{
    buf_deinit(&s->state); /* of a roll that failed */
    buf_init(&s->state, LOG_STATE_BYTES_MAX);
    s->open_first = producers_first_open(state);
    s->n_producers = state->n;
    if (state->n > 0) {
        producers_encode(state, &s->state);
    }
    if (s->state.failed) {
        buf_deinit(&s->state);
        return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

/* ---- the file of a state ----
 *
 *   0 magic "TMPS", version u32, offset i64, bytes of the state u32, CRC-32C of the state u32,
 *     zero u32, CRC-32C of the 28 bytes before u32; then the state (log/producers.c) */

enum { HEADER_BYTES = 32, HEADER_CRC_AT = 28, STATE_VERSION = 1 };
static const char magic[4] = {'T', 'M', 'P', 'S'};

static enum err state_write(struct host_file *f, int64_t offset, struct str state)
{
    char header[HEADER_BYTES] = {0};
    memcpy(header, magic, sizeof magic);
    le32_put(header + 4, STATE_VERSION);
    le64_put(header + 8, (uint64_t)offset);
    le32_put(header + 16, (uint32_t)state.len);
    le32_put(header + 20, crc32c(0, state.ptr, state.len));
    le32_put(header + HEADER_CRC_AT, crc32c(0, header, HEADER_CRC_AT));
    TRY(host_file_truncate(f, 0));
    TRY(host_file_write(f, HEADER_BYTES, state.ptr, state.len));
    TRY(host_file_write(f, 0, header, sizeof header));
    return host_file_sync(f);
}

enum err log_state_keep(struct host *h, const char *dir, int64_t offset, struct str state)
{
    char path[HOST_PATH_MAX];
    struct host_file *f = NULL;
    if (state.len == 0) {
        return ERR_OK;
    }
    TRY(log_segment_path(dir, offset, LOG_STATE_SUFFIX, path));
    TRY(host_file_open(h, path, HOST_OPEN_WRITE | HOST_OPEN_CREATE, &f, NULL));
    enum err e = state_write(f, offset, state);
    host_file_close(f);
    return e;
}

static enum err state_load(struct host_file *f, int64_t offset, struct buf *out)
{
    char header[HEADER_BYTES];
    uint64_t size = 0;
    TRY(host_file_size(f, &size));
    if (size < sizeof header) {
        return ERR_CORRUPT;
    }
    TRY(host_file_read(f, 0, header, sizeof header));
    uint32_t n = le32_get(header + 16);
    if (memcmp(header, magic, sizeof magic) != 0 || le32_get(header + 4) != STATE_VERSION ||
        (int64_t)le64_get(header + 8) != offset || size != sizeof header + (uint64_t)n ||
        le32_get(header + HEADER_CRC_AT) != crc32c(0, header, HEADER_CRC_AT)) {
        return ERR_CORRUPT;
    }
    char *p = buf_reserve(out, n);
    if (p == NULL) {
        return ERR_NO_MEMORY;
    }
    TRY(host_file_read(f, HEADER_BYTES, p, n));
    out->len += n;
    return crc32c(0, p, n) == le32_get(header + 20) ? ERR_OK : ERR_CORRUPT;
}

enum err log_state_load(struct host *h, const char *dir, int64_t offset, struct buf *out)
{
    char path[HOST_PATH_MAX];
    struct host_file *f = NULL;
    bool exists = false;
    TRY(log_segment_path(dir, offset, LOG_STATE_SUFFIX, path));
    TRY(host_path_exists(h, path, &exists));
    if (!exists) {
        return ERR_CORRUPT;
    }
    TRY(host_file_open(h, path, HOST_OPEN_READ, &f, NULL));
    enum err e = state_load(f, offset, out);
    host_file_close(f);
    return e;
}

/* ---- for readers ---- */

const struct producers *log_producers(const struct log_partition *p)
{
    return &p->producers;
}

void log_producers_expire(struct log_partition *p, int64_t now_ms)
{
    producers_expire(&p->producers, now_ms);
}

int64_t log_stable_offset(struct log_partition *p)
{
    int64_t first = producers_first_unstable(&p->producers, p->high_watermark);
    return first < p->high_watermark ? first : p->high_watermark;
}

/* The first of the aborted transactions, ordered by their markers, that ends at or after `from`. */
static uint32_t aborted_from(const struct log_index *x, int64_t from)
{
    uint32_t low = 0;
    uint32_t high = x->n_aborted;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (x->aborted[middle].marker_offset < from) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

enum err log_aborted(struct log_partition *p, int64_t from, int64_t to, struct log_aborted *out,
                     uint32_t max, uint32_t *n, struct err_detail *why)
{
    *n = 0;
    for (uint32_t i = log_segment_find(p, from); i < p->n_segments && from < to; i++) {
        struct log_segment *s = p->segments[i];
        if (s->n_aborted > 0 && s->aborted_first < to) {
            TRY(log_warm(p, s, why));
            for (uint32_t k = aborted_from(&s->index, from); k < s->index.n_aborted; k++) {
                if (s->index.aborted[k].first_offset >= to) {
                    continue;
                }
                if (*n == max) {
                    return ERR_LIMIT;
                }
                out[(*n)++] = s->index.aborted[k];
            }
        }
        if (s->end_offset >= to && s->open_first >= to) {
            break; /* whatever ends later began later */
        }
    }
    return ERR_OK;
}

static int compare_aborted(const void *a, const void *b)
{
    const struct log_aborted *x = a, *y = b;
    if (x->producer_id != y->producer_id) {
        return x->producer_id < y->producer_id ? -1 : 1;
    }
    return (x->first_offset > y->first_offset) - (x->first_offset < y->first_offset);
}

void log_aborted_sort(struct log_aborted *list, uint32_t n)
{
    if (n > 1) {
        qsort(list, n, sizeof *list, compare_aborted);
    }
}

bool log_aborted_has(const struct log_aborted *list, uint32_t n, int64_t producer_id,
                     int64_t offset)
{
    uint32_t low = 0;
    uint32_t high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct log_aborted *a = &list[middle];
        if (a->producer_id < producer_id ||
            (a->producer_id == producer_id && a->first_offset <= offset)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low > 0 && list[low - 1].producer_id == producer_id &&
           offset <= list[low - 1].marker_offset;
}
