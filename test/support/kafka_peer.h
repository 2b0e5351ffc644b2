/* A Kafka client for simulated hosts: one connection with one request under way, driven by the
 * turns of a worker. Requests and answers are the generated structs of wire/kafka/messages.h. */
#ifndef TIDEMILL_TEST_SUPPORT_KAFKA_PEER_H
#define TIDEMILL_TEST_SUPPORT_KAFKA_PEER_H

#include "base/arena.h"
#include "host/host.h"
#include "wire/kafka/messages.h"

enum { KAFKA_PEER_BYTES_MAX = 1 << 20 };

struct kafka_peer {
    struct host *h;
    struct host_worker *worker; /* whose turns call kafka_peer_turn */
    struct host_socket *socket;
    struct buf out, in;
    struct arena arena; /* of the answer */
    const struct kafka_api_codec *codec;
    int16_t version;
    bool waiting; /* for an answer */
};

/* Without a connection. */
void kafka_peer_init(struct kafka_peer *p, struct host *h);
/* Ends the connection and frees all. */
void kafka_peer_deinit(struct kafka_peer *p);
/* Encodes a request, which is sent by the next turns. None is under way. */
void kafka_peer_send(struct kafka_peer *p, enum kafka_key key, int16_t version,
                     const void *request);
/* Sends and receives what can be, waiting until `until_ns` at the longest. Connects to `address`
 * when there is no connection. 1: the answer is in *answer, until the next call; 0: nothing yet;
 * -1: the connection has ended, and with it the request. */
int kafka_peer_turn(struct kafka_peer *p, const char *address, int64_t until_ns,
                    const void **answer);

#endif
