#include "base/err.h"

#include "base/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Kafka's error codes as far as the table needs them (Apache Kafka guide, "Error Codes"). */
enum kafka_code {
    KAFKA_UNKNOWN_SERVER_ERROR = -1,
    KAFKA_NONE = 0,
    KAFKA_OFFSET_OUT_OF_RANGE = 1,
    KAFKA_CORRUPT_MESSAGE = 2,
    KAFKA_UNKNOWN_TOPIC_OR_PARTITION = 3,
    KAFKA_NOT_LEADER_OR_FOLLOWER = 6, /* clients look for a leader again and retry */
    KAFKA_REQUEST_TIMED_OUT = 7,      /* clients retry */
    KAFKA_MESSAGE_TOO_LARGE = 10,
    KAFKA_NETWORK_EXCEPTION = 13,
    KAFKA_CLUSTER_AUTHORIZATION_FAILED = 31,
    KAFKA_INVALID_TIMESTAMP = 32,
    KAFKA_UNSUPPORTED_VERSION = 35,
    KAFKA_TOPIC_ALREADY_EXISTS = 36,
    KAFKA_INVALID_CONFIG = 40,
    KAFKA_INVALID_REQUEST = 42,
    KAFKA_POLICY_VIOLATION = 44,
    KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER = 45,
    KAFKA_DUPLICATE_SEQUENCE_NUMBER = 46,
    KAFKA_INVALID_PRODUCER_EPOCH = 47,
    KAFKA_INVALID_TXN_STATE = 48,
    KAFKA_STORAGE_ERROR = 56,
    KAFKA_INVALID_RECORD = 87,
};

enum { RETRY = ERR_FLAG_RETRY, FATAL = ERR_FLAG_FATAL, USER = ERR_FLAG_USER };
enum { CORRUPT = ERR_FLAG_CORRUPT };

/* clang-format off */
static const struct err_info err_table[ERR_COUNT_] = {
    [ERR_OK] = {"ok", "no error", "00000", KAFKA_NONE, 200, 0},
    [ERR_NO_MEMORY] = {"no_memory", "out of memory",
        "53200", KAFKA_STORAGE_ERROR, 503, RETRY},
    [ERR_LIMIT] = {"limit", "a limit of the server is reached",
        "54000", KAFKA_POLICY_VIOLATION, 503, 0},
    [ERR_BUSY] = {"busy", "the server is busy: slow down and try again",
        "53000", KAFKA_REQUEST_TIMED_OUT, 429, RETRY},
    [ERR_IO] = {"io", "an input/output call failed",
        "58030", KAFKA_STORAGE_ERROR, 500, 0},
    [ERR_NO_SPACE] = {"no_space", "the disk or its quota is full",
        "53100", KAFKA_STORAGE_ERROR, 507, RETRY},
    [ERR_SYNC_FAILED] = {"sync_failed", "data could not be made durable: the server must stop",
        "58030", KAFKA_STORAGE_ERROR, 500, FATAL},
    [ERR_CORRUPT] = {"corrupt", "stored data is damaged",
        "XX001", KAFKA_CORRUPT_MESSAGE, 500, CORRUPT},
    [ERR_IN_USE] = {"in_use", "already in use",
        "55006", KAFKA_UNKNOWN_SERVER_ERROR, 409, 0},
    [ERR_CLOSED] = {"closed", "the other side is gone",
        "08006", KAFKA_NETWORK_EXCEPTION, 503, RETRY},
    [ERR_TIMEOUT] = {"timeout", "the time limit is over",
        "57014", KAFKA_REQUEST_TIMED_OUT, 504, RETRY},
    [ERR_CANCELED] = {"canceled", "canceled on request",
        "57014", KAFKA_UNKNOWN_SERVER_ERROR, 409, 0},
    [ERR_SHUTDOWN] = {"shutdown", "the server is stopping",
        "57P01", KAFKA_NOT_LEADER_OR_FOLLOWER, 503, RETRY},
    [ERR_MALFORMED] = {"malformed", "the bytes received break the protocol or format",
        "08P01", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_UNSUPPORTED] = {"unsupported", "this feature is not supported",
        "0A000", KAFKA_UNSUPPORTED_VERSION, 501, USER},
    [ERR_INVALID_ARGUMENT] = {"invalid_argument", "a parameter or option has a wrong value",
        "22023", KAFKA_INVALID_CONFIG, 400, USER},
    [ERR_SYNTAX] = {"syntax", "syntax error",
        "42601", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_UNDEFINED_TABLE] = {"undefined_table", "no such table, view or topic",
        "42P01", KAFKA_UNKNOWN_TOPIC_OR_PARTITION, 404, USER},
    [ERR_UNDEFINED_COLUMN] = {"undefined_column", "no such column",
        "42703", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_UNDEFINED_FUNCTION] = {"undefined_function", "no such function or operator",
        "42883", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_UNDEFINED_OBJECT] = {"undefined_object", "no such type or setting",
        "42704", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_AMBIGUOUS_COLUMN] = {"ambiguous_column", "the column name is ambiguous",
        "42702", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_AMBIGUOUS_FUNCTION] = {"ambiguous_function", "the function or operator is ambiguous",
        "42725", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_DUPLICATE_FUNCTION] = {"duplicate_function", "a function of this name exists",
        "42723", KAFKA_INVALID_REQUEST, 409, USER},
    [ERR_LIBRARY] = {"library", "a shared object of functions cannot be used",
        "58P01", KAFKA_UNKNOWN_SERVER_ERROR, 409, USER},
    [ERR_INVALID_FUNCTION] = {"invalid_function", "the function cannot be defined so",
        "42P13", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_DUPLICATE_TABLE] = {"duplicate_table", "a table, view or topic of this name exists",
        "42P07", KAFKA_TOPIC_ALREADY_EXISTS, 409, USER},
    [ERR_DUPLICATE_COLUMN] = {"duplicate_column", "a column name occurs twice",
        "42701", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_DUPLICATE_OBJECT] = {"duplicate_object", "an object of this name exists",
        "42710", KAFKA_INVALID_REQUEST, 409, USER},
    [ERR_DUPLICATE_ALIAS] = {"duplicate_alias", "two tables of the query have the same name",
        "42712", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_GROUPING] = {"grouping", "a column is neither grouped nor aggregated",
        "42803", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_WINDOWING] = {"windowing", "a window function or window is not possible here",
        "42P20", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_COLUMN_REFERENCE] = {"column_reference", "the column cannot be used here",
        "42P10", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_TOO_MANY_ARGUMENTS] = {"too_many_arguments", "too many arguments",
        "54023", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_TYPE_MISMATCH] = {"type_mismatch", "the types do not match",
        "42804", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_INDETERMINATE_TYPE] = {"indeterminate_type", "nothing says of which type it is",
        "42P18", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_CANNOT_COERCE] = {"cannot_coerce", "there is no cast between the types",
        "42846", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_INVALID_TEXT] = {"invalid_text", "invalid input syntax for the type",
        "22P02", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_STRING_TRUNCATION] = {"string_truncation", "the text is too long for its type",
        "22001", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_OUT_OF_RANGE] = {"out_of_range", "the value is out of range",
        "22003", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_DATETIME_RANGE] = {"datetime_range", "the date or time is out of range",
        "22008", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_DIVISION_BY_ZERO] = {"division_by_zero", "division by zero",
        "22012", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_NULL_VIOLATION] = {"null_violation", "NULL in a column that is NOT NULL",
        "23502", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_UNIQUE_VIOLATION] = {"unique_violation", "a row with this key exists",
        "23505", KAFKA_INVALID_RECORD, 409, USER},
    [ERR_SERIALIZATION] = {"serialization", "could not serialize access due to concurrent update",
        "40001", KAFKA_INVALID_REQUEST, 409, RETRY},
    [ERR_INVALID_TABLE] = {"invalid_table", "the table cannot be defined so",
        "42P16", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_INVALID_PARAMETER] = {"invalid_parameter", "a function argument is outside its domain",
        "22023", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_FRAME_SIZE] = {"frame_size", "a frame's offset is NULL or negative",
        "22013", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_NTILE] = {"ntile", "the argument of ntile is not greater than zero",
        "22014", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_NTH_VALUE] = {"nth_value", "the argument of nth_value is not greater than zero",
        "22016", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_ARRAY_SUBSCRIPT] = {"array_subscript", "the array's bounds or dimensions are wrong",
        "2202E", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_CARDINALITY] = {"cardinality", "more than one row returned by a subquery used as an "
        "expression", "21000", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_ENCODING] = {"encoding", "the text is not valid UTF-8",
        "22021", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_DEPENDENT_OBJECTS] = {"dependent_objects", "other objects depend on it",
        "2BP01", KAFKA_INVALID_REQUEST, 409, USER},
    [ERR_WRONG_OBJECT_TYPE] = {"wrong_object_type", "the object is of the wrong kind",
        "42809", KAFKA_INVALID_REQUEST, 400, USER},
    [ERR_FORBIDDEN] = {"forbidden", "not allowed from this address",
        "28000", KAFKA_CLUSTER_AUTHORIZATION_FAILED, 403, USER},
    [ERR_OFFSET_OUT_OF_RANGE] = {"offset_out_of_range", "the offset is outside the partition",
        "22003", KAFKA_OFFSET_OUT_OF_RANGE, 416, USER},
    [ERR_UNKNOWN_PARTITION] = {"unknown_partition", "no such partition",
        "42P01", KAFKA_UNKNOWN_TOPIC_OR_PARTITION, 404, USER},
    [ERR_BAD_RECORD_BATCH] = {"bad_record_batch", "the record batch fails its checks",
        "08P01", KAFKA_CORRUPT_MESSAGE, 400, USER},
    [ERR_TOO_LARGE] = {"too_large", "the message or request is too large",
        "54000", KAFKA_MESSAGE_TOO_LARGE, 413, USER},
    [ERR_FUTURE_EVENT_TIME] = {"future_event_time", "the event time is too far in the future",
        "22008", KAFKA_INVALID_TIMESTAMP, 400, USER},
    [ERR_RECORD_TIMESTAMP] = {"record_timestamp", "a record's timestamp is too far from the clock",
        "22008", KAFKA_INVALID_TIMESTAMP, 400, USER},
    [ERR_RECORD_KEY] = {"record_key", "a record of a compacted topic needs a key",
        "23502", KAFKA_INVALID_RECORD, 400, USER},
    [ERR_PRODUCER_SEQUENCE] = {"producer_sequence", "a batch of the producer is missing",
        "22023", KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER, 400, USER},
    [ERR_PRODUCER_DUPLICATE] = {"producer_duplicate", "the producer's batch was appended long ago",
        "22023", KAFKA_DUPLICATE_SEQUENCE_NUMBER, 409, USER},
    [ERR_PRODUCER_FENCED] = {"producer_fenced", "a newer producer with this id has begun",
        "22023", KAFKA_INVALID_PRODUCER_EPOCH, 409, USER},
    [ERR_TXN_STATE] = {"txn_state", "the batch does not fit the producer's transaction",
        "25000", KAFKA_INVALID_TXN_STATE, 409, USER},
    [ERR_INTERNAL] = {"internal", "internal error: this is a bug in Tidemill",
        "XX000", KAFKA_UNKNOWN_SERVER_ERROR, 500, 0},
};
/* clang-format on */

const struct err_info *err_info(enum err e)
{
    CHECK((unsigned)e < ERR_COUNT_);
    return &err_table[e];
}

/* Cuts a sequence that the end of the buffer tore apart; `len` bytes are in `text`. */
static void cut_torn_utf8(char *text, size_t len)
{
    size_t start = len;
    while (start > 0 && len - start < 3 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (len - (start - 1) < need)
        text[start - 1] = '\0';
}

/* Formats into out[size]; arguments may point into `out`. */
static void format_cut(char *out, size_t size, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

static void format_cut(char *out, size_t size, const char *fmt, va_list ap)
{
    char text[ERR_TEXT_MAX];
    CHECK(size <= sizeof text);
    int n = vsnprintf(text, size, fmt, ap);
    if (n < 0)
        text[0] = '\0';
    else if ((size_t)n >= size)
        cut_torn_utf8(text, size - 1);
    memcpy(out, text, strlen(text) + 1);
}

enum err err_set(struct err_detail *d, enum err e, const char *fmt, ...)
{
    if (d == NULL)
        return e;
    va_list ap;
    va_start(ap, fmt);
    format_cut(d->text, sizeof d->text, fmt, ap);
    va_end(ap);
    d->hint[0] = '\0';
    d->position = d->line = d->column = 0;
    return e;
}

void err_hint(struct err_detail *d, const char *fmt, ...)
{
    if (d == NULL)
        return;
    va_list ap;
    va_start(ap, fmt);
    format_cut(d->hint, sizeof d->hint, fmt, ap);
    va_end(ap);
}

const char *err_text(enum err e, const struct err_detail *d)
{
    return d != NULL && d->text[0] != '\0' ? d->text : err_info(e)->text;
}
