/* Settings of topics, under Kafka's names: declared once, in a table that feeds parsing, the
 * catalog's records, Kafka's DescribeConfigs and docs/kafka.md.
 *
 * A setting that is not given has its default, which is never stored: a later version may have
 * another one. Pure; any thread. */
#ifndef TIDEMILL_PLAN_TOPIC_CONFIG_H
#define TIDEMILL_PLAN_TOPIC_CONFIG_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum topic_config_key {
    TOPIC_CLEANUP_POLICY, /* bits of enum cleanup_policy */
    TOPIC_COMPRESSION_TYPE,
    TOPIC_DELETE_RETENTION_MS,
    TOPIC_FLUSH_MESSAGES,
    TOPIC_FLUSH_MS,
    TOPIC_INDEX_INTERVAL_BYTES,
    TOPIC_MAX_COMPACTION_LAG_MS,
    TOPIC_MAX_MESSAGE_BYTES,
    TOPIC_TIMESTAMP_AFTER_MAX_MS,
    TOPIC_TIMESTAMP_BEFORE_MAX_MS,
    TOPIC_TIMESTAMP_TYPE, /* enum timestamp_type */
    TOPIC_MIN_CLEANABLE_DIRTY_RATIO, /* in millionths */
    TOPIC_MIN_COMPACTION_LAG_MS,
    TOPIC_MIN_INSYNC_REPLICAS,
    TOPIC_PREALLOCATE,
    TOPIC_RETENTION_BYTES, /* -1 = unlimited */
    TOPIC_RETENTION_MS,    /* -1 = unlimited */
    TOPIC_SEGMENT_BYTES,
    TOPIC_SEGMENT_INDEX_BYTES,
    TOPIC_SEGMENT_JITTER_MS,
    TOPIC_SEGMENT_MS,
    TOPIC_UNCLEAN_LEADER_ELECTION,
    TOPIC_CONFIGS,
};
enum cleanup_policy { CLEANUP_DELETE = 1, CLEANUP_COMPACT = 2 };
enum timestamp_type { TIMESTAMP_CREATE, TIMESTAMP_LOG_APPEND };

enum { TOPIC_CONFIG_TEXT_MAX = 24, TOPIC_RATIO_ONE = 1000000 };

/* Kafka's numbers (ConfigDef.Type as DescribeConfigs has it). */
enum config_type {
    CONFIG_BOOLEAN = 1,
    CONFIG_STRING = 2,
    CONFIG_INT = 3,
    CONFIG_LONG = 5,
    CONFIG_DOUBLE = 6,
    CONFIG_LIST = 7,
};

struct topic_config_def {
    const char *name;        /* "retention.ms" */
    const char *broker_name; /* the broker's setting that the default has come from in Kafka */
    enum config_type type;
    int64_t fallback;
    int64_t min, max;  /* of numbers; a double's in millionths */
    const char *words; /* "a|b": value 0 is a; of a list, bit 0 is a. NULL for numbers */
    const char *help;
};

/* Zero-initialised = nothing is given. */
struct topic_config {
    uint32_t given; /* bit per key */
    int64_t values[TOPIC_CONFIGS];
};

/* The table's row. */
const struct topic_config_def *topic_config_def(enum topic_config_key k);
/* The key of this name; TOPIC_CONFIGS when there is none. */
enum topic_config_key topic_config_find(struct str name);
/* ERR_INVALID_ARGUMENT, naming the nearest setting. */
enum err topic_config_unknown(struct str name, struct err_detail *why);

/* The value in force: what was given, or the default. */
int64_t topic_config_get(const struct topic_config *c, enum topic_config_key k);
bool topic_config_given(const struct topic_config *c, enum topic_config_key k);
void topic_config_set(struct topic_config *c, enum topic_config_key k, int64_t value);
/* Back to the default. */
void topic_config_reset(struct topic_config *c, enum topic_config_key k);

/* Reads a value; ptr NULL is none. ERR_INVALID_ARGUMENT with what it can be. */
enum err topic_config_parse(enum topic_config_key k, struct str text, int64_t *out,
                            struct err_detail *why) MUST_CHECK;
/* Writes a value, NUL-terminated. */
void topic_config_print(enum topic_config_key k, int64_t value, char out[TOPIC_CONFIG_TEXT_MAX]);
/* Whether the settings go together. ERR_INVALID_ARGUMENT. */
enum err topic_config_check(const struct topic_config *c, struct err_detail *why) MUST_CHECK;

#endif
