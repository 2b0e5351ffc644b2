/* Consumer groups of the new protocol (KIP-848): the server assigns, members reconcile one
 * heartbeat at a time. A state machine over values like kafka_group.h, whose groups it extends: no
 * I/O, no clock; the catalog and the time are arguments.
 *
 * Three numbers chase each other. Whatever changes what the assignment depends on - members, their
 * subscriptions, topics - raises the GROUP EPOCH. Work (kafka_consumer_groups_work) resolves
 * subscriptions and computes the target: ASSIGNMENT EPOCH = group epoch. Each member follows at its
 * own pace: MEMBER EPOCH = assignment epoch, once it has given back what it shall not keep.
 *
 *   member                                           target is newer, something to give back
 *   JOINING --work done--> (reconcile) --> STABLE ---------------------------------> UNREVOKED
 *                             ^   |          ^                                          |
 *              all are free   |   |          | all are free                 given back, |
 *                             |   +----> UNRELEASED <-----------------------(reconcile)-+
 *                             +----------'   others still hold some of its partitions
 *   any --epoch -1, session over, UNREVOKED for longer than its rebalance time-out--> gone
 *   STABLE, UNREVOKED, UNRELEASED --epoch -2--> AWAY (static) --same instance joins--> JOINING
 *
 *   state        holds (told to the member)      member epoch
 *   JOINING      what it held before, or none    0 until answered
 *   UNREVOKED    target and held                 as before
 *   UNRELEASED   target and held                 assignment epoch
 *   STABLE       target                          assignment epoch
 *   AWAY         what it held                    -2
 *
 *   group: Empty, Assigning (group epoch is ahead), Reconciling (members are behind), Stable
 *
 * A partition has at most one holder; it is free when its holder has said that it gave it back, or
 * is gone. That is all that keeps two members from reading one partition, and one array says it:
 *
 *   topics      [orders, 0..2] [payments, 3..4]            sorted by number
 *   partitions   0    1    2    3    4                     6 bytes each
 *     target     a    b    b    a    b
 *     holder     a    a    b    a    -                     1: a gives it back, then b may have it
 *     revoking   .    x    .    .    .
 *
 * Members of the classic protocol can be in such a group, too: kafka_classic_member.h.
 *
 * One thread. */
#ifndef TIDEMILL_SERVE_KAFKA_CONSUMER_GROUP_H
#define TIDEMILL_SERVE_KAFKA_CONSUMER_GROUP_H

#include "plan/catalog.h"
#include "serve/kafka_group.h"
#include "serve/topic_pattern.h"

enum {
    CONSUMER_NAMES_MAX = 10000,       /* topic names in a subscription */
    CONSUMER_PARTITIONS_MAX = 100000, /* of a group; topics beyond are not assigned */
    CONSUMER_WORK_PER_TURN = 50000,   /* about partitions, names and pattern matches looked at */
    CONSUMER_PATTERN_COST = 16,       /* of one match, in that measure */
    CONSUMER_RETRY_MS = 100,          /* work that ran out of memory is tried again */
    CONSUMER_NOBODY = UINT16_MAX,
    CONSUMER_EPOCH_LEAVE = -1,
    CONSUMER_EPOCH_AWAY = -2,
};
_Static_assert((int)GROUP_MEMBERS_MAX < (int)CONSUMER_NOBODY, "members are numbered in 16 bits");

enum consumer_assignor { CONSUMER_UNIFORM, CONSUMER_RANGE, CONSUMER_ASSIGNORS };
enum consumer_member_state {
    CONSUMER_JOINING,
    CONSUMER_UNREVOKED,
    CONSUMER_UNRELEASED,
    CONSUMER_STABLE,
    CONSUMER_AWAY,
};

struct consumer_topic {
    uint32_t number, first, n_partitions; /* partitions[first ...] of the group */
};

struct consumer_partition {
    uint16_t target, holder; /* slots, or CONSUMER_NOBODY */
    bool revoking;           /* the holder has been told to give it back */
    bool owned;              /* while a classic member joins: it says so */
};

/* What one or more members of a group subscribe to. */
struct consumer_subscription {
    struct list link;
    uint32_t n_members;
    uint32_t n_names;
    struct str *names; /* sorted, unique */
    struct str regex;  /* ptr NULL = none */
    struct topic_pattern *pattern;
    uint32_t n_topics;
    uint32_t *topics; /* numbers, sorted: what it came to */
    bool dirty;       /* is to be resolved again */
    uint32_t next, n_found, found_cap;
    uint32_t *found; /* resolving: so far, and the next topic of the catalog */
    uint32_t cursor; /* assigning */
    bool included;
    size_t bytes;
};

/* What a member that speaks the classic protocol has beside. */
struct consumer_classic {
    int32_t session_ms;
    int64_t due_ms; /* it has to join, or to ask for its assignment, until then; INT64_MAX */
    uint32_t n_protocols;
    struct kafka_group_protocol *protocols;
    size_t bytes;
};

struct consumer_member {
    struct str id, instance, rack, client_id, client_host; /* ptr NULL = none */
    struct consumer_subscription *subscription;
    uint16_t slot;
    uint8_t state;    /* enum consumer_member_state */
    uint8_t assignor; /* enum consumer_assignor; CONSUMER_ASSIGNORS = as the others like */
    bool changed;     /* holds other partitions than it was told */
    int32_t epoch, previous_epoch, rebalance_ms;
    int64_t deadline_ms, revoke_deadline_ms;
    void *waiter;                     /* of a join */
    struct consumer_classic *classic; /* NULL: it speaks the new protocol */
    size_t bytes;
};

struct consumer_group {
    struct kafka_group *group;
    struct list dirty; /* groups->dirty, when there is work */
    bool resolve, assign;
    int32_t epoch, assignment_epoch;
    int32_t epoch_logged; /* epochs up to this may be told: a restart goes on behind it */
    enum consumer_assignor assignor;
    int32_t session_ms;   /* of members of the new protocol, as of the last heartbeat */
    uint32_t n_members, n_slots;
    uint32_t n_classic; /* of the members */
    struct consumer_member **slots;
    struct list subscriptions;
    uint32_t n_topics, n_partitions;
    struct consumer_topic *topics; /* sorted by number */
    struct consumer_partition *partitions;
    bool cut; /* topics were left out: CONSUMER_PARTITIONS_MAX */
};

struct consumer_owned {
    const uint8_t *id; /* of a topic */
    uint32_t n_partitions;
    const int32_t *partitions;
};

/* A heartbeat. Pointers NULL: not given, nothing changed. */
struct consumer_heartbeat {
    struct str group, member, instance, rack, client_id, client_host, regex, assignor;
    int32_t epoch, rebalance_ms;
    uint32_t n_names;
    const struct str *names;
    bool owned_given;
    uint32_t n_owned;
    const struct consumer_owned *owned;
    void *waiter;
};

struct consumer_heartbeat_result {
    int16_t error;
    const char *why; /* of an error; may be NULL */
    struct str member;
    int32_t epoch;
    /* Of an answer without error, while the callback runs; NULL when the member has left. */
    const struct consumer_group *cg;
    const struct consumer_member *m;
    bool with_assignment;
};

/* Answered through groups->beaten, maybe before this returns. A join is answered when the target is
 * computed. A join makes a classic group one of the new protocol, with its members, where
 * kafka_group_migration.h allows it. */
void kafka_consumer_heartbeat(struct kafka_groups *gs, int64_t now_ms, const struct catalog *c,
                              const struct consumer_heartbeat *h);
/* Resolves and assigns what changes made necessary, CONSUMER_WORK_PER_TURN at a time (one group's
 * assignment is one piece). True: there is more to do. */
bool kafka_consumer_groups_work(struct kafka_groups *gs, int64_t now_ms, const struct catalog *c);
/* The catalog has other topics: every subscription is resolved again. */
void kafka_consumer_groups_refresh(struct kafka_groups *gs);
/* Time passes for one group; returns when next. */
int64_t kafka_consumer_tick(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms);
/* Kafka's code: may this member, with this epoch, commit or fetch offsets? Nobody (epoch below 0,
 * member "") may while the group is empty. */
int16_t kafka_consumer_may_commit(const struct kafka_group *g, struct str member, int32_t epoch);
bool kafka_consumer_subscribes(const struct consumer_group *cg, const struct catalog *c,
                               struct str topic);
/* "Empty", "Assigning", "Reconciling", "Stable". */
const char *kafka_consumer_state_name(const struct consumer_group *cg);
const char *kafka_consumer_assignor_name(enum consumer_assignor a);

/* Makes the group one of the new protocol, empty, its epochs beginning behind `epoch`. It has no
 * members of the other protocol. False: out of memory. */
bool kafka_consumer_begin(struct kafka_groups *gs, struct kafka_group *g, int32_t epoch);
/* The contrary: nothing is left of it but the group itself; everybody who waits is answered. */
void kafka_consumer_end(struct kafka_groups *gs, struct kafka_group *g, int16_t error);
/* Answers those who wait. */
void kafka_consumer_stop(struct kafka_groups *gs, struct kafka_group *g, int16_t error);

#endif
