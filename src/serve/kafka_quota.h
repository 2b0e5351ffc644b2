/* Rates of clients: token buckets in a table of fixed size, shared by all shards without locks.
 *
 * A bucket is one number, the moment at which it will be full again (virtual scheduling, GCRA):
 * using `cost` moves it by cost / rate, and how far it is ahead of now by more than the burst is
 * how long the client must wait. A bucket that is full says nothing: its place can be given away.
 * When no place is left near a key's, the clients without one share a bucket. Any thread. */
#ifndef TIDEMILL_SERVE_KAFKA_QUOTA_H
#define TIDEMILL_SERVE_KAFKA_QUOTA_H

#include "plan/security.h"

#include <stdatomic.h>

enum {
    QUOTA_BUCKETS = 1 << 14, /* power of two */
    QUOTA_PROBES_MAX = 16,   /* places looked at for one key */
    QUOTA_BURST_S = 10,      /* Kafka's window: so many seconds' worth at once is no violation */
};

struct quota_bucket {
    _Atomic uint64_t key; /* 0 = never used */
    _Atomic int64_t full_ns;
};

/* Zero-initialised = all buckets full. */
struct quota_table {
    struct quota_bucket buckets[QUOTA_BUCKETS];
    struct quota_bucket shared; /* of those who find no place */
};

/* Uses `cost` of a bucket that fills by `rate` a second and returns the nanoseconds to wait; the
 * cost is used in any case. rate > 0, cost >= 0. */
int64_t quota_use(struct quota_table *t, uint64_t key, double rate, double cost, int64_t now_ns);
/* What quota_use would return for nothing: how long a client that asks now has to wait. */
int64_t quota_wait_ns(struct quota_table *t, uint64_t key, int64_t now_ns);
/* The key of the clients that share a quota's bucket: the parts of their names that it is for, the
 * client's own where it is a default. A quota that is changed begins with full buckets. */
uint64_t quota_key(const struct security_quota *q, struct str user, struct str client);

#endif
