/* Private to wire/kafka_batch*.c: where a record batch's fields are. */
#ifndef TIDEMILL_WIRE_KAFKA_BATCH_INT_H
#define TIDEMILL_WIRE_KAFKA_BATCH_INT_H

enum {
    BATCH_AT_LENGTH = 8,
    BATCH_AT_LEADER_EPOCH = 12,
    BATCH_AT_MAGIC = 16,
    BATCH_AT_CRC = 17,
    BATCH_AT_ATTRIBUTES = 21, /* the CRC covers everything from here on */
    BATCH_AT_LAST_DELTA = 23,
    BATCH_AT_BASE_TIMESTAMP = 27,
    BATCH_AT_MAX_TIMESTAMP = 35,
    BATCH_AT_PRODUCER_ID = 43,
    BATCH_AT_PRODUCER_EPOCH = 51,
    BATCH_AT_SEQUENCE = 53,
    BATCH_AT_COUNT = 57,

    BATCH_MAGIC = 2,
    BATCH_CODEC_MASK = 7,
    BATCH_LOG_APPEND_TIME = 8,
    BATCH_TRANSACTIONAL = 16,
    BATCH_CONTROL = 32,
};

#endif
