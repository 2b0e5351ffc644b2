/* The meta file. */
#include "log/meta.h"

#include "base/bytes.h"
#include "base/hash.h"

enum {
    CHECKPOINT_AT = 512,
    CLEAN_AT = 32, /* in the checkpoint */
    CHECKPOINT_BYTES = 44,
};
static const char magic[8] = {'T', 'M', 'L', 'O', 'G', 0, 0, 0};

static void encode_checkpoint(char *p, const struct log_checkpoint *c)
{
    memset(p, 0, CHECKPOINT_BYTES);
    le64_put(p, (uint64_t)c->start_offset);
    le64_put(p + 8, (uint64_t)c->durable_offset);
    le32_put(p + 16, crc32c(0, p, 16));
    le64_put(p + CLEAN_AT, (uint64_t)c->clean_offset);
    le32_put(p + CLEAN_AT + 8, crc32c(0, p + CLEAN_AT, 8));
}

enum err log_meta_read(struct host_file *f, struct log_checkpoint *out, struct err_detail *why)
{
    char bytes[LOG_META_BYTES];
    uint64_t size = 0;
    *out = (struct log_checkpoint){0};
    TRY(host_file_size(f, &size));
    if (size < sizeof bytes) {
        return ERR_OK;
    }
    TRY(host_file_read(f, 0, bytes, sizeof bytes));
    bool header =
        memcmp(bytes, magic, sizeof magic) == 0 && le32_get(bytes + 12) == crc32c(0, bytes, 12);
    if (header && le32_get(bytes + 8) > LOG_FORMAT_VERSION) {
        enum err e = err_set(why, ERR_UNSUPPORTED,
                             "the log is in format version %u, this program knows up to %d",
                             le32_get(bytes + 8), LOG_FORMAT_VERSION);
        err_hint(why, "start it with the newer version of the program that wrote it");
        return e;
    }
    const char *p = bytes + CHECKPOINT_AT;
    if (le32_get(p + 16) == crc32c(0, p, 16)) {
        out->start_offset = (int64_t)le64_get(p);
        out->durable_offset = (int64_t)le64_get(p + 8);
        out->known = true;
    }
    if (le32_get(p + CLEAN_AT + 8) == crc32c(0, p + CLEAN_AT, 8)) {
        out->clean_offset = (int64_t)le64_get(p + CLEAN_AT);
    }
    return ERR_OK;
}

enum err log_meta_write_all(struct host_file *f, const struct log_checkpoint *c)
{
    char bytes[LOG_META_BYTES] = {0};
    memcpy(bytes, magic, sizeof magic);
    le32_put(bytes + 8, LOG_FORMAT_VERSION);
    le32_put(bytes + 12, crc32c(0, bytes, 12));
    encode_checkpoint(bytes + CHECKPOINT_AT, c);
    return host_file_write(f, 0, bytes, sizeof bytes);
}

enum err log_meta_write(struct host_file *f, const struct log_checkpoint *c)
{
    char bytes[CHECKPOINT_BYTES];
    encode_checkpoint(bytes, c);
    return host_file_write(f, CHECKPOINT_AT, bytes, sizeof bytes);
}
