/* The sparse index of a segment. */
#include "log/index.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

enum {
    HEADER_BYTES = 96,
    HEADER_CRC_AT = 92,
    INDEX_VERSION = 2,
    ENTRIES_MIN = 16,
    ENTRIES_MAX = 1 << 26,
};
static const char magic[4] = {'T', 'M', 'I', 'X'};

_Static_assert(sizeof(struct log_index_entry) == 16, "entries are written as they are");
_Static_assert(sizeof(struct log_aborted) == 24, "and so are aborted transactions");

void log_index_deinit(struct log_index *x)
{
    mem_free(x->entries);
    mem_free(x->aborted);
    *x = (struct log_index){0};
}

enum err log_index_reserve(struct log_index *x, uint32_t more)
{
    if (more <= x->cap - x->n) {
        return ERR_OK;
    }
    if (more > ENTRIES_MAX - x->n) {
        return ERR_LIMIT;
    }
    uint32_t cap = x->cap < ENTRIES_MIN ? ENTRIES_MIN : x->cap * 2;
    cap = cap < x->n + more ? x->n + more : cap;
    struct log_index_entry *moved = mem_realloc(x->entries, cap * sizeof *moved);
    if (moved == NULL) {
        return ERR_NO_MEMORY;
    }
    x->entries = moved;
    x->cap = cap;
    return ERR_OK;
}

void log_index_add(struct log_index *x, const struct log_index_entry *e, uint32_t interval)
{
    if (x->n > 0 && e->position - x->entries[x->n - 1].position < interval) {
        return;
    }
    CHECK(x->n < x->cap);
    x->entries[x->n++] = *e;
}

enum err log_index_reserve_aborted(struct log_index *x, uint32_t more)
{
    if (more <= x->cap_aborted - x->n_aborted) {
        return ERR_OK;
    }
    if (more > ENTRIES_MAX - x->n_aborted) {
        return ERR_LIMIT;
    }
    uint32_t cap = x->cap_aborted < ENTRIES_MIN ? ENTRIES_MIN : x->cap_aborted * 2;
    cap = cap < x->n_aborted + more ? x->n_aborted + more : cap;
    struct log_aborted *moved = mem_realloc(x->aborted, cap * sizeof *moved);
    if (moved == NULL) {
        return ERR_NO_MEMORY;
    }
    x->aborted = moved;
    x->cap_aborted = cap;
    return ERR_OK;
}

void log_index_add_aborted(struct log_index *x, const struct log_aborted *a)
{
    CHECK(x->n_aborted < x->cap_aborted);
    x->aborted[x->n_aborted++] = *a;
}

void log_index_cut(struct log_index *x, uint64_t position)
{
    while (x->n > 0 && x->entries[x->n - 1].position >= position) {
        x->n--;
    }
}

const struct log_index_entry *log_index_by_offset(const struct log_index *x, uint64_t delta)
{
    return log_index_by_position(x, delta, UINT64_MAX);
}

const struct log_index_entry *log_index_by_position(const struct log_index *x, uint64_t delta,
                                                    uint64_t position)
{
    uint32_t low = 0;
    uint32_t high = x->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct log_index_entry *e = &x->entries[middle];
        if (e->offset_delta <= delta && e->position <= position) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low > 0 ? &x->entries[low - 1] : NULL;
}

const struct log_index_entry *log_index_by_time(const struct log_index *x, int64_t ms)
{
    uint32_t low = 0;
    uint32_t high = x->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (x->entries[middle].max_before < ms) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low > 0 ? &x->entries[low - 1] : NULL;
}

/* ---- file ---- */

static void encode_header(char *p, const struct log_index *x, const struct log_index_info *info)
{
    memset(p, 0, HEADER_BYTES);
    memcpy(p, magic, sizeof magic);
    le32_put(p + 4, INDEX_VERSION);
    le64_put(p + 8, (uint64_t)info->base_offset);
    le64_put(p + 16, (uint64_t)info->end_offset);
    le64_put(p + 24, info->bytes);
    le64_put(p + 32, (uint64_t)info->first_timestamp);
    le64_put(p + 40, (uint64_t)info->max_timestamp);
    le32_put(p + 48, x->n);
    le32_put(p + 52, crc32c(0, x->entries, x->n * sizeof *x->entries));
    le32_put(p + 56, x->n_aborted);
    le32_put(p + 60, crc32c(0, x->aborted, x->n_aborted * sizeof *x->aborted));
    le64_put(p + 64, (uint64_t)info->aborted_first);
    le64_put(p + 72, (uint64_t)info->open_first);
    le32_put(p + 80, info->n_producers);
    le32_put(p + HEADER_CRC_AT, crc32c(0, p, HEADER_CRC_AT));
}

static enum err write_part(struct host_file *f, uint64_t *at, const void *bytes, size_t n)
{
    enum err e = n > 0 ? host_file_write(f, *at, bytes, n) : ERR_OK;
    *at += n;
    return e;
}

enum err log_index_write(struct host *h, const char *path, const struct log_index *x,
                         const struct log_index_info *info)
{
    char header[HEADER_BYTES];
    struct host_file *f = NULL;
    uint64_t at = HEADER_BYTES;
    encode_header(header, x, info);
    TRY(host_file_open(h, path, HOST_OPEN_WRITE | HOST_OPEN_CREATE, &f, NULL));
    /* The header last: until it is there, the file is no index. */
    enum err e = host_file_truncate(f, 0);
    if (e == ERR_OK) {
        e = write_part(f, &at, x->entries, x->n * sizeof *x->entries);
    }
    if (e == ERR_OK) {
        e = write_part(f, &at, x->aborted, x->n_aborted * sizeof *x->aborted);
    }
    if (e == ERR_OK) {
        e = host_file_write(f, 0, header, sizeof header);
    }
    host_file_close(f);
    return e;
}

/* What else the header says: how much there is of each part, and its CRC. */
struct parts {
    uint32_t n, n_aborted, crc, crc_aborted;
};

static enum err read_header(struct host_file *f, int64_t base_offset, struct log_index_info *out,
                            struct parts *parts)
{
    char p[HEADER_BYTES];
    uint64_t size = 0;
    TRY(host_file_size(f, &size));
    if (size < sizeof p) {
        return ERR_CORRUPT;
    }
    TRY(host_file_read(f, 0, p, sizeof p));
    if (memcmp(p, magic, sizeof magic) != 0 || le32_get(p + 4) != INDEX_VERSION ||
        le32_get(p + HEADER_CRC_AT) != crc32c(0, p, HEADER_CRC_AT)) {
        return ERR_CORRUPT;
    }
    *parts = (struct parts){.n = le32_get(p + 48),
                            .n_aborted = le32_get(p + 56),
                            .crc = le32_get(p + 52),
                            .crc_aborted = le32_get(p + 60)};
    *out = (struct log_index_info){.base_offset = (int64_t)le64_get(p + 8),
                                   .end_offset = (int64_t)le64_get(p + 16),
                                   .bytes = le64_get(p + 24),
                                   .first_timestamp = (int64_t)le64_get(p + 32),
                                   .max_timestamp = (int64_t)le64_get(p + 40),
                                   .n_aborted = parts->n_aborted,
                                   .n_producers = le32_get(p + 80),
                                   .aborted_first = (int64_t)le64_get(p + 64),
                                   .open_first = (int64_t)le64_get(p + 72)};
    uint64_t bytes = HEADER_BYTES + parts->n * sizeof(struct log_index_entry) +
                     parts->n_aborted * sizeof(struct log_aborted);
    bool sane = out->base_offset == base_offset && out->end_offset > base_offset && parts->n > 0 &&
                parts->n <= ENTRIES_MAX && parts->n_aborted <= ENTRIES_MAX && size == bytes;
    return sane ? ERR_OK : ERR_CORRUPT;
}

enum err log_index_read_info(struct host *h, const char *path, int64_t base_offset,
                             struct log_index_info *out)
{
    struct host_file *f = NULL;
    bool exists = false;
    struct parts parts;
    TRY(host_path_exists(h, path, &exists));
    if (!exists) {
        return ERR_CORRUPT;
    }
    TRY(host_file_open(h, path, HOST_OPEN_READ, &f, NULL));
    enum err e = read_header(f, base_offset, out, &parts);
    host_file_close(f);
    return e;
}

/* The entries lie in order and inside the segment. */
static bool entries_sane(const struct log_index *x, const struct log_index_info *info)
{
    for (uint32_t i = 0; i < x->n; i++) {
        const struct log_index_entry *e = &x->entries[i];
        bool first = i == 0 && e->position == 0 && e->offset_delta == 0;
        bool later = i > 0 && e->position > e[-1].position &&
                     e->offset_delta > e[-1].offset_delta && e->max_before >= e[-1].max_before;
        if ((!first && !later) || e->position >= info->bytes ||
            e->offset_delta >= (uint64_t)(info->end_offset - info->base_offset)) {
            return false;
        }
    }
    return true;
}

static enum err load(struct host_file *f, const struct log_index_info *info, struct log_index *out)
{
    struct log_index_info found;
    struct parts parts;
    TRY(read_header(f, info->base_offset, &found, &parts));
    if (found.end_offset != info->end_offset || found.bytes != info->bytes) {
        return ERR_CORRUPT;
    }
    size_t bytes = parts.n * sizeof *out->entries;
    TRY(log_index_reserve(out, parts.n));
    TRY(host_file_read(f, HEADER_BYTES, out->entries, bytes));
    out->n = parts.n;
    bool sane = crc32c(0, out->entries, bytes) == parts.crc && entries_sane(out, info);
    if (!sane || parts.n_aborted == 0) {
        return sane ? ERR_OK : ERR_CORRUPT;
    }
    TRY(log_index_reserve_aborted(out, parts.n_aborted));
    TRY(host_file_read(f, HEADER_BYTES + bytes, out->aborted,
                       parts.n_aborted * sizeof *out->aborted));
    out->n_aborted = parts.n_aborted;
    sane = crc32c(0, out->aborted, out->n_aborted * sizeof *out->aborted) == parts.crc_aborted;
    return sane ? ERR_OK : ERR_CORRUPT;
}

enum err log_index_load(struct host *h, const char *path, const struct log_index_info *info,
                        struct log_index *out)
{
    struct host_file *f = NULL;
    bool exists = false;
    TRY(host_path_exists(h, path, &exists));
    if (!exists) {
        return ERR_CORRUPT;
    }
    TRY(host_file_open(h, path, HOST_OPEN_READ, &f, NULL));
    enum err e = load(f, info, out);
    host_file_close(f);
    if (e != ERR_OK) {
        log_index_deinit(out);
    }
    return e;
}
