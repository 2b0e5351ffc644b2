/* What consumers tell each other inside of the classic group protocol (protocol type "consumer",
 * Kafka's ConsumerProtocolSubscription and ConsumerProtocolAssignment). The server reads it to take
 * such members into groups of the new protocol, and back. Pure; one thread. */
#ifndef TIDEMILL_SERVE_KAFKA_CONSUMER_PROTOCOL_H
#define TIDEMILL_SERVE_KAFKA_CONSUMER_PROTOCOL_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "serve/kafka_consumer_group.h"

enum { CONSUMER_PROTOCOL_ARENA_BYTES_MAX = 64 << 20 };

#define CONSUMER_PROTOCOL_TYPE STR("consumer")

struct consumer_named_partitions {
    struct str topic;
    uint32_t n_partitions;
    int32_t *partitions;
};

/* Strings borrow from what was read, arrays are the arena's. */
struct consumer_metadata {
    uint32_t n_names;
    struct str *names;
    uint32_t n_owned; /* none before version 1: such a member gives all back before it joins */
    struct consumer_named_partitions *owned;
    struct str rack; /* ptr NULL = none */
};

/* False: it is not of this form, or the arena is too small. Versions above the last known one are
 * read as that. */
bool consumer_metadata_read(struct str bytes, struct arena *a,
                            struct consumer_metadata *out) MUST_CHECK;
/* The same for an assignment; no bytes are none. *foreign: it carries data of the assignor's own,
 * which only that one can make. */
bool consumer_assignment_read(struct str bytes, struct arena *a,
                              struct consumer_named_partitions **out, uint32_t *n,
                              bool *foreign) MUST_CHECK;
/* Appends the assignment of what the member holds; what it is to give back only if `revoking`.
 * Topics that are gone are left out. */
void consumer_assignment_write(struct buf *out, const struct consumer_group *cg,
                               const struct consumer_member *m, const struct catalog *c,
                               bool revoking);

#endif
