/* Settings of topics. */
#include "plan/topic_config.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { RATIO_DIGITS = 6 };
#define DAY_MS (24 * 3600 * 1000LL)

/* clang-format off */
static const struct topic_config_def defs[TOPIC_CONFIGS] = {
    [TOPIC_CLEANUP_POLICY] = {"cleanup.policy", "log.cleanup.policy", CONFIG_LIST,
        CLEANUP_DELETE, 0, 0, "delete|compact",
        "delete: old segments go, by retention; compact: of each key the last record stays; both"},
    [TOPIC_COMPRESSION_TYPE] = {"compression.type", "compression.type", CONFIG_STRING,
        0, 0, 0, "producer",
        "batches are kept as the producer compressed them; nothing is compressed again here"},
    [TOPIC_DELETE_RETENTION_MS] = {"delete.retention.ms", "log.cleaner.delete.retention.ms",
        CONFIG_LONG, DAY_MS, 0, INT64_MAX, NULL,
        "how long compaction keeps tombstones and transaction markers, for readers to see them"},
    [TOPIC_FLUSH_MESSAGES] = {"flush.messages", "log.flush.interval.messages", CONFIG_LONG,
        INT64_MAX, 1, INT64_MAX, NULL,
        "met by any value: what is acknowledged was flushed (unless --fsync os)"},
    [TOPIC_FLUSH_MS] = {"flush.ms", "log.flush.interval.ms", CONFIG_LONG,
        INT64_MAX, 0, INT64_MAX, NULL,
        "met by any value: what is acknowledged was flushed (unless --fsync os)"},
    [TOPIC_INDEX_INTERVAL_BYTES] = {"index.interval.bytes", "log.index.interval.bytes", CONFIG_INT,
        16 << 10, 0, INT32_MAX, NULL,
        "bytes of the log for each entry of its index"},
    [TOPIC_MAX_COMPACTION_LAG_MS] = {"max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms",
        CONFIG_LONG, INT64_MAX, 1, INT64_MAX, NULL,
        "a record that is older is compacted whatever min.cleanable.dirty.ratio says"},
    [TOPIC_MAX_MESSAGE_BYTES] = {"max.message.bytes", "message.max.bytes", CONFIG_INT,
        16 << 20, 0, 100 << 20, NULL,
        "the largest record batch, as the producer compressed it"},
    [TOPIC_TIMESTAMP_AFTER_MAX_MS] = {"message.timestamp.after.max.ms",
        "log.message.timestamp.after.max.ms", CONFIG_LONG, 3600000, 0, INT64_MAX, NULL,
        "how far a record's timestamp may be after the server's clock"},
    [TOPIC_TIMESTAMP_BEFORE_MAX_MS] = {"message.timestamp.before.max.ms",
        "log.message.timestamp.before.max.ms", CONFIG_LONG, INT64_MAX, 0, INT64_MAX, NULL,
        "how far a record's timestamp may be before the server's clock"},
    [TOPIC_TIMESTAMP_TYPE] = {"message.timestamp.type", "log.message.timestamp.type",
        CONFIG_STRING, TIMESTAMP_CREATE, 0, 0, "CreateTime|LogAppendTime",
        "whether records keep the producer's timestamp or get that of their append"},
    [TOPIC_MIN_CLEANABLE_DIRTY_RATIO] = {"min.cleanable.dirty.ratio",
        "log.cleaner.min.cleanable.ratio", CONFIG_DOUBLE, TOPIC_RATIO_ONE / 2, 0, TOPIC_RATIO_ONE,
        NULL, "share of the log that was not compacted yet from which on it is"},
    [TOPIC_MIN_COMPACTION_LAG_MS] = {"min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms",
        CONFIG_LONG, 0, 0, INT64_MAX, NULL,
        "how long a record is kept at least, also when a later one has its key"},
    [TOPIC_MIN_INSYNC_REPLICAS] = {"min.insync.replicas", "min.insync.replicas", CONFIG_INT,
        1, 1, 1, NULL, "1: there is one broker"},
    [TOPIC_PREALLOCATE] = {"preallocate", "log.preallocate", CONFIG_BOOLEAN, 0, 0, 0, "false",
        "the log always writes a little ahead of its end, never whole segments"},
    [TOPIC_RETENTION_BYTES] = {"retention.bytes", "log.retention.bytes", CONFIG_LONG,
        -1, -1, INT64_MAX, NULL, "bytes kept of each partition; -1 = unlimited"},
    [TOPIC_RETENTION_MS] = {"retention.ms", "log.retention.ms", CONFIG_LONG,
        -1, -1, INT64_MAX, NULL, "age at which segments are dropped; -1 = never"},
    [TOPIC_SEGMENT_BYTES] = {"segment.bytes", "log.segment.bytes", CONFIG_INT,
        64 << 20, 1 << 14, 1 << 30, NULL, "size of a segment file"},
    [TOPIC_SEGMENT_INDEX_BYTES] = {"segment.index.bytes", "log.index.size.max.bytes", CONFIG_INT,
        10 << 20, 4, INT32_MAX, NULL,
        "without effect: an index is as large as segment.bytes and index.interval.bytes make it"},
    [TOPIC_SEGMENT_JITTER_MS] = {"segment.jitter.ms", "log.roll.jitter.ms", CONFIG_LONG,
        0, 0, 0, NULL, "0: rolling costs nothing that would have to be spread"},
    [TOPIC_SEGMENT_MS] = {"segment.ms", "log.roll.ms", CONFIG_LONG, 7 * DAY_MS, 1, INT64_MAX, NULL,
        "age at which a segment takes no more records"},
    [TOPIC_UNCLEAN_LEADER_ELECTION] = {"unclean.leader.election.enable",
        "unclean.leader.election.enable", CONFIG_BOOLEAN, 0, 0, 0, "false|true",
        "without effect: there is one broker, nobody is elected"},
};
/* clang-format on */

const struct topic_config_def *topic_config_def(enum topic_config_key k)
{
    CHECK(k < TOPIC_CONFIGS);
    return &defs[k];
}

enum topic_config_key topic_config_find(struct str name)
{
    enum topic_config_key k = 0;
    while (k < TOPIC_CONFIGS && !str_eq(name, str_of(defs[k].name)))
        k++;
    return k;
}

enum err topic_config_unknown(struct str name, struct err_detail *why)
{
    struct str names[TOPIC_CONFIGS];
    for (int i = 0; i < TOPIC_CONFIGS; i++)
        names[i] = str_of(defs[i].name);
    int near = str_nearest(name, names, TOPIC_CONFIGS);
    return err_set(why, ERR_INVALID_ARGUMENT, "topics have no setting \"%.*s\"%s%s%s",
                   STR_ARG(name), near < 0 ? "" : ": perhaps you meant \"",
                   near < 0 ? "" : defs[near].name, near < 0 ? "" : "\"");
}

int64_t topic_config_get(const struct topic_config *c, enum topic_config_key k)
{
    return topic_config_given(c, k) ? c->values[k] : topic_config_def(k)->fallback;
}

bool topic_config_given(const struct topic_config *c, enum topic_config_key k)
{
    return (c->given >> k & 1) != 0;
}

void topic_config_set(struct topic_config *c, enum topic_config_key k, int64_t value)
{
    c->values[k] = value;
    c->given |= 1u << k;
}

void topic_config_reset(struct topic_config *c, enum topic_config_key k)
{
    c->values[k] = 0;
    c->given &= ~(1u << k);
}

/* ---- text ---- */

/* The number of `text` in "a|b", or -1. */
static int word_find(const char *words, struct str text)
{
    int number = 0;
    for (const char *at = words;; number++) {
        size_t len = strcspn(at, "|");
        if (str_eq(text, (struct str){at, len}))
            return number;
        if (at[len] == '\0')
            return -1;
        at += len + 1;
    }
}

static struct str word_at(const char *words, int64_t number)
{
    while (number-- > 0)
        words += strcspn(words, "|") + 1;
    return (struct str){words, strcspn(words, "|")};
}

static struct str trim(struct str s)
{
    while (s.len > 0 && s.ptr[0] == ' ')
        s = (struct str){s.ptr + 1, s.len - 1};
    while (s.len > 0 && s.ptr[s.len - 1] == ' ')
        s.len--;
    return s;
}

/* "a,b" as bits; an empty list is none. */
static bool list_parse(const char *words, struct str text, int64_t *out)
{
    *out = 0;
    for (size_t at = 0; at <= text.len;) {
        const char *comma = at < text.len ? memchr(text.ptr + at, ',', text.len - at) : NULL;
        size_t end = comma != NULL ? (size_t)(comma - text.ptr) : text.len;
        int word = word_find(words, trim((struct str){text.ptr + at, end - at}));
        if (word < 0)
            return false;
        *out |= (int64_t)1 << word;
        at = end + 1;
    }
    return *out != 0;
}

/* A decimal fraction in millionths: "1", "0.25", ".5"; more digits are cut. */
static bool ratio_parse(struct str text, int64_t *out)
{
    size_t at = 0;
    size_t digits = 0;
    bool point = false;
    *out = 0;
    for (; at < text.len; at++) {
        char c = text.ptr[at];
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9' || *out > 100LL * TOPIC_RATIO_ONE)
            return false;
        if (digits < RATIO_DIGITS)
            *out = *out * 10 + (c - '0');
        digits += point && digits < RATIO_DIGITS;
    }
    for (size_t i = digits; i < RATIO_DIGITS; i++)
        *out *= 10;
    return text.len > (size_t)point;
}

enum err topic_config_parse(enum topic_config_key k, struct str text, int64_t *out,
                            struct err_detail *why)
{
    const struct topic_config_def *d = topic_config_def(k);
    struct str t = text.ptr != NULL ? trim(text) : text;
    bool ok = t.ptr != NULL;
    if (!ok)
        return err_set(why, ERR_INVALID_ARGUMENT, "setting \"%s\" has no value", d->name);
    if (d->type == CONFIG_LIST) {
        ok = list_parse(d->words, t, out);
    } else if (d->words != NULL) {
        *out = word_find(d->words, t);
        ok = *out >= 0;
    } else {
        ok = d->type == CONFIG_DOUBLE ? ratio_parse(t, out) : str_to_i64(t, out) == ERR_OK;
        ok = ok && *out >= d->min && *out <= d->max;
    }
    if (ok)
        return ERR_OK;
    if (d->words != NULL)
        return err_set(why, ERR_INVALID_ARGUMENT, "setting \"%s\" can be %s, not \"%.*s\": %s",
                       d->name, d->words, STR_ARG(t), d->help);
    char min[TOPIC_CONFIG_TEXT_MAX], max[TOPIC_CONFIG_TEXT_MAX];
    topic_config_print(k, d->min, min);
    topic_config_print(k, d->max, max);
    return err_set(why, ERR_INVALID_ARGUMENT, "setting \"%s\" can be %s to %s, not \"%.*s\": %s",
                   d->name, min, max, STR_ARG(t), d->help);
}

void topic_config_print(enum topic_config_key k, int64_t value, char out[TOPIC_CONFIG_TEXT_MAX])
{
    const struct topic_config_def *d = topic_config_def(k);
    if (d->type == CONFIG_LIST) {
        /* Kafka's tools write the two policies in this order. */
        const char *both = value == (CLEANUP_DELETE | CLEANUP_COMPACT) ? "compact,delete" : NULL;
        struct str one = word_at(d->words, value == CLEANUP_COMPACT);
        (void)snprintf(out, TOPIC_CONFIG_TEXT_MAX, "%.*s", STR_ARG(both ? str_of(both) : one));
    } else if (d->words != NULL) {
        (void)snprintf(out, TOPIC_CONFIG_TEXT_MAX, "%.*s", STR_ARG(word_at(d->words, value)));
    } else if (d->type == CONFIG_DOUBLE) {
        int n = snprintf(out, TOPIC_CONFIG_TEXT_MAX, "%" PRId64 ".%0*" PRId64,
                         value / TOPIC_RATIO_ONE, RATIO_DIGITS, value % TOPIC_RATIO_ONE);
        while (n > 2 && out[n - 1] == '0' && out[n - 2] != '.')
            out[--n] = '\0';
    } else {
        (void)snprintf(out, TOPIC_CONFIG_TEXT_MAX, "%" PRId64, value);
    }
}

enum err topic_config_check(const struct topic_config *c, struct err_detail *why)
{
    if (topic_config_get(c, TOPIC_MIN_COMPACTION_LAG_MS) >
        topic_config_get(c, TOPIC_MAX_COMPACTION_LAG_MS))
        return err_set(why, ERR_INVALID_ARGUMENT,
                       "min.compaction.lag.ms is more than max.compaction.lag.ms");
    return ERR_OK;
}
