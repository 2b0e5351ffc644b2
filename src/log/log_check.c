#include "log/log_check.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "log/log_int.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { TEXT_BYTES = 400, DIGITS = 20, META_HEAD_BYTES = 16 };

struct checking {
    struct host *host;
    const char *dir;
    log_check_fn tell;
    void *arg;
    uint64_t *bytes;
    struct log_checkpoint checkpoint;
    uint32_t n, cap;
    int64_t *bases; /* of segments, ascending */
    enum err err;
    char *buffer; /* LOG_RECOVERY_READ_BYTES */
};

static void path_of(const struct checking *c, const char *name, char out[HOST_PATH_MAX])
{
    (void)snprintf(out, HOST_PATH_MAX, "%s/%s", c->dir, name);
}

__attribute__((format(printf, 4, 5))) static void
found(const struct checking *c, enum log_check_level level, const char *path, const char *fmt, ...)
{
    char text[TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    c->tell(c->arg, level, path, text);
}

static bool name_base(const char *name, const char *suffix, int64_t *base)
{
    struct str digits = {name, DIGITS};
    return strlen(name) == DIGITS + strlen(suffix) && strcmp(name + DIGITS, suffix) == 0 &&
           name[0] >= '0' && name[0] <= '9' && str_to_i64(digits, base) == ERR_OK;
}

static bool segment_note(void *arg, const char *name)
{
    struct checking *c = arg;
    int64_t base;
    if (!name_base(name, ".log", &base)) {
        return true;
    }
    if (c->n == c->cap) {
        uint32_t cap = c->cap == 0 ? 8 : c->cap * 2;
        int64_t *grown = mem_realloc(c->bases, cap * sizeof *grown);
        if (grown == NULL) {
            c->err = ERR_NO_MEMORY;
            return false;
        }
        c->bases = grown;
        c->cap = cap;
    }
    c->bases[c->n++] = base;
    return true;
}

/* ---- segments ---- */

static enum err rest_is_zero(struct log_scan *s, uint64_t at, bool *zero)
{
    *zero = true;
    while (at < s->size && *zero) {
        struct str bytes;
        TRY(log_scan_get(s, at, 1, &bytes));
        for (size_t i = 0; i < bytes.len && *zero; i++) {
            *zero = bytes.ptr[i] == 0;
        }
        at += bytes.len;
    }
    return ERR_OK;
}

/* Frames until one is not valid, or offset `stop`. ERR_CORRUPT with what is wrong there. */
static enum err frames(struct log_scan *s, int64_t stop, uint64_t *at, int64_t *offset,
                       struct err_detail *why)
{
    while (*offset != stop && *at < s->size) {
        struct kafka_batch b;
        bool right = true;
        TRY(log_scan_header(s, *at, *offset, &b, why));
        TRY(log_scan_crc(s, *at, &b, &right));
        if (!right) {
            return err_set(why, ERR_CORRUPT, "the CRC of the batch is wrong");
        }
        *at += b.bytes;
        *offset += (int64_t)b.last_offset_delta + 1;
    }
    return ERR_OK;
}

/* The index of a segment that ends at byte `at`, offset `end`. */
static void index_check(const struct checking *c, int64_t base, uint64_t at, int64_t end)
{
    char path[HOST_PATH_MAX];
    bool exists = false;
    struct log_index_info info;
    struct log_index index = {0};
    if (log_segment_path(c->dir, base, ".index", path) != ERR_OK ||
        host_path_exists(c->host, path, &exists) != ERR_OK || !exists) {
        return;
    }
    enum err e = log_index_read_info(c->host, path, base, &info);
    if (e == ERR_OK) {
        e = log_index_load(c->host, path, &info, &index);
    }
    log_index_deinit(&index);
    if (e != ERR_OK) {
        found(c, LOG_CHECK_CACHE, path, "the index is damaged (%s)", err_info(e)->text);
    } else if (info.end_offset != end || info.bytes != at) {
        found(c, LOG_CHECK_CACHE, path,
              "the index says that the segment ends at byte %" PRIu64 ", offset %" PRId64
              ", but it ends at byte %" PRIu64 ", offset %" PRId64,
              info.bytes, info.end_offset, at, end);
    }
}

/* What the end of the frames that are valid means. */
static enum err end_check(const struct checking *c, struct log_scan *s, const char *path,
                          bool last, uint64_t at, int64_t offset, int64_t stop,
                          const char *problem)
{
    bool zero;
    s->len = 0;
    TRY(rest_is_zero(s, at, &zero));
    if (!last && offset != stop) {
        found(c, LOG_CHECK_PROBLEM, path,
              "damaged at byte %" PRIu64 ", offset %" PRId64 " (the next segment begins at %" PRId64
              "): %s",
              at, offset, stop, zero ? "nothing is there" : problem);
    } else if (last && offset < c->checkpoint.durable_offset) {
        found(c, LOG_CHECK_PROBLEM, path,
              "damaged at byte %" PRIu64 ", offset %" PRId64 " (what is below %" PRId64
              " was durable): %s",
              at, offset, c->checkpoint.durable_offset, zero ? "nothing is there" : problem);
    } else if (last && !zero) {
        found(c, LOG_CHECK_NOTE, path,
              "at byte %" PRIu64 ", offset %" PRId64 " something begins that was not finished: %s",
              at, offset, problem);
    }
    return ERR_OK;
}

static enum err segment_check(const struct checking *c, uint32_t i)
{
    char path[HOST_PATH_MAX];
    struct err_detail why = {0};
    struct log_scan s = {.buffer = c->buffer, .buffer_bytes = LOG_RECOVERY_READ_BYTES};
    bool last = i + 1 == c->n;
    int64_t offset = c->bases[i], stop = last ? INT64_MAX : c->bases[i + 1];
    uint64_t at = 0;
    TRY(log_segment_path(c->dir, offset, ".log", path));
    enum err e = host_file_open(c->host, path, HOST_OPEN_READ, &s.file, &why);
    if (e == ERR_OK) {
        e = host_file_size(s.file, &s.size);
        if (e == ERR_OK) {
            e = frames(&s, stop, &at, &offset, &why);
        }
        if (e == ERR_OK || e == ERR_CORRUPT) {
            e = end_check(c, &s, path, last, at, offset, stop, err_text(e, &why));
        }
        *c->bytes += at;
        host_file_close(s.file);
    }
    if (e != ERR_OK) {
        found(c, LOG_CHECK_PROBLEM, path, "cannot be read at byte %" PRIu64 ": %s", at,
              err_info(e)->text);
    } else {
        index_check(c, c->bases[i], at, offset);
    }
    return ERR_OK;
}

/* ---- the files beside ---- */

static void meta_check(struct checking *c)
{
    char path[HOST_PATH_MAX];
    struct host_file *f = NULL;
    struct err_detail why = {0};
    path_of(c, "meta", path);
    enum err e = host_file_open(c->host, path, HOST_OPEN_READ, &f, &why);
    if (e == ERR_OK) {
        e = log_meta_read(f, &c->checkpoint, &why);
    }
    char head[META_HEAD_BYTES];
    bool right = e == ERR_OK && host_file_read(f, 0, head, sizeof head) == ERR_OK &&
                 le32_get(head + sizeof head - 4) == crc32c(0, head, sizeof head - 4);
    host_file_close(f);
    if (e != ERR_OK) {
        found(c, LOG_CHECK_PROBLEM, path, "%s", err_text(e, &why));
    } else if (!right) {
        found(c, LOG_CHECK_PROBLEM, path, "the head with the format's version is damaged");
    } else if (!c->checkpoint.known) {
        found(c, LOG_CHECK_PROBLEM, path,
              "the checkpoint is damaged: what was durable, and where the log starts, is unknown");
    }
}

static bool state_check(void *arg, const char *name)
{
    struct checking *c = arg;
    char path[HOST_PATH_MAX];
    struct buf state;
    int64_t base;
    if (!name_base(name, LOG_STATE_SUFFIX, &base)) {
        return true;
    }
    path_of(c, name, path);
    buf_init(&state, LOG_STATE_BYTES_MAX);
    enum err e = log_state_load(c->host, c->dir, base, &state);
    buf_deinit(&state);
    if (e != ERR_OK) {
        found(c, LOG_CHECK_CACHE, path, "what is known of producers is damaged (%s)",
              err_info(e)->text);
    }
    return true;
}

enum err log_check(struct host *h, const char *dir, log_check_fn tell, void *arg,
                   uint64_t *bytes, struct err_detail *why)
{
    struct checking c = {.host = h, .dir = dir, .tell = tell, .arg = arg, .bytes = bytes};
    c.buffer = mem_alloc(LOG_RECOVERY_READ_BYTES);
    enum err e = c.buffer == NULL ? ERR_NO_MEMORY : host_dir_list(h, dir, segment_note, &c);
    if (e == ERR_OK) {
        e = c.err;
    }
    if (e == ERR_OK && c.n > 0) {
        meta_check(&c);
    }
    uint32_t first = 0; /* those before it were dropped, and their files are still there */
    while (first + 1 < c.n && c.bases[first + 1] <= c.checkpoint.start_offset) {
        first++;
    }
    for (uint32_t i = first; e == ERR_OK && i < c.n; i++) {
        e = segment_check(&c, i);
    }
    if (e == ERR_OK) {
        e = host_dir_list(h, dir, state_check, &c);
    }
    mem_free(c.bases);
    mem_free(c.buffer);
    return e == ERR_OK ? ERR_OK : err_set(why, e, "%s: the folder cannot be read", dir);
}
