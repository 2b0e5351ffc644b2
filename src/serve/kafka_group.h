/* Consumer groups: membership, rebalancing and committed offsets, as a state machine over values.
 * No I/O, no clock, no randomness: time and new member ids are arguments, answers leave through two
 * callbacks. kafka_coordinator.c acts on it.
 *
 *            first join                        all joined, or time is over
 *   EMPTY --------------> PREPARING -------------------------------------------> COMPLETING
 *     ^                     ^   |  ^                                               |     |
 *     |   nobody is left    |   |  |  join, leave, member lost, sync time is over  |     | leader's
 *     +---------------------|---+  +-----------------------------------------------+     |
 * assignments |                     |                                                            v
 *     |                     +---------- join with news, leave, member lost ----------- STABLE
 *     |                                                                                  |
 *     +------------------------------ last member leaves --------------------------------+
 *   EMPTY without offsets, or deleted --> DEAD (the group is gone)
 *
 *   state        Join           Sync               Heartbeat            Commit of a member
 *   EMPTY        -> PREPARING   UNKNOWN_MEMBER     UNKNOWN_MEMBER       UNKNOWN_MEMBER
 *   PREPARING    waits          REBALANCE          REBALANCE            ok
 *   COMPLETING   same: answer   waits              ok                   REBALANCE
 *   STABLE       same: answer   assignment         ok                   ok
 *
 * Groups of the new protocol have no state of these; kafka_consumer_group.h. A group changes its
 * protocol with its members: kafka_group_migration.h.
 *
 * One thread. Every size has a bound below; above it the caller gets an error code of Kafka's. */
#ifndef TIDEMILL_SERVE_KAFKA_GROUP_H
#define TIDEMILL_SERVE_KAFKA_GROUP_H

#include "base/list.h"
#include "base/map.h"
#include "base/str.h"

enum {
    GROUPS_MAX = 10000,
    GROUP_MEMBERS_MAX = 1000,
    GROUP_ID_BYTES_MAX = 255,         /* of a group that has members or offsets */
    GROUP_PROTOCOLS_MAX = 64,         /* of one member */
    GROUP_MEMBER_BYTES_MAX = 1 << 20, /* subscription and assignment of one member, each */
    GROUPS_BYTES_MAX = 128 << 20,     /* all groups together, offsets included */
    GROUP_OFFSETS_MAX = 200000,       /* all groups together */
    GROUP_OFFSET_METADATA_BYTES_MAX = 4096,
    GROUP_SUBSCRIBED_STEPS_MAX = 4 << 20, /* comparisons of names in one OffsetDelete */
    GROUP_SESSION_MS_MIN = 1000,
    GROUP_SESSION_MS_MAX = 1800000,
    GROUP_REBALANCE_MS_MAX = 1800000,
    GROUP_INITIAL_DELAY_MS = 100, /* first members wait for others: one rebalance instead of many */
};

/* As offsets.retention.minutes of Kafka. */
#define GROUP_OFFSETS_RETENTION_MS (7 * 24 * INT64_C(3600000))

/* A group of the new protocol without members and offsets is forgotten, with its epochs. */
#define GROUP_EPOCHS_RETENTION_MS INT64_C(3600000)

enum kafka_group_state { GROUP_EMPTY, GROUP_PREPARING, GROUP_COMPLETING, GROUP_STABLE, GROUP_DEAD };

struct kafka_group_protocol {
    struct str name, metadata;
};

struct kafka_group_member {
    struct list link;        /* group->members */
    struct str id, instance; /* instance.ptr NULL = dynamic */
    struct str client_id, client_host;
    int32_t session_ms, rebalance_ms;
    uint32_t n_protocols;
    struct kafka_group_protocol *protocols;
    struct str assignment;
    int32_t generation;  /* that it was told; -1: none */
    int64_t deadline_ms; /* without a sign of life it is lost */
    void *join_waiter, *sync_waiter;
    bool pending;          /* has been given an id, has not joined with it yet */
    size_t bytes;          /* counted in groups->bytes: all of it, */
    size_t protocol_bytes; /* and the protocols' part */
};

struct kafka_group_offset {
    struct list link;                /* group->offsets */
    struct kafka_group_offset *next; /* same hash */
    int32_t partition, leader_epoch;
    int64_t offset, at_ms;
    struct str topic, metadata;
    uint32_t topic_number; /* which of that name it is for; 0 = not known: read back from the log */
    size_t bytes;
};

struct kafka_group {
    struct list link;         /* groups->all */
    struct kafka_group *next; /* same hash */
    uint64_t number;          /* groups->all is in this order, and none is given twice */
    struct str id, protocol_type, protocol;
    enum kafka_group_state state;
    int32_t generation;
    struct list members;
    uint32_t n_members, n_pending;
    struct kafka_group_member *leader;
    bool initial;           /* PREPARING out of EMPTY: waits for others until the deadline */
    int64_t deadline_ms;    /* of PREPARING and COMPLETING */
    int64_t initial_end_ms; /* the wait for others ends then at the latest */
    uint32_t n_waited_for;  /* members when that wait was begun or prolonged */
    int64_t next_ms;        /* nothing falls due before */
    struct list offsets;
    uint32_t n_offsets;
    uint64_t hash_seed; /* of all groups */
    struct map offset_map;
    struct consumer_group *consumer; /* of the new protocol; else NULL. kafka_consumer_group.h */
    int64_t empty_ms;                /* EMPTY: wall clock since when; 0 = not known */
    size_t bytes;
};
struct catalog;
struct consumer_heartbeat_result;

struct kafka_group_join_result {
    int16_t error;
    int32_t generation;
    struct str member, leader, protocol_type, protocol;
    const struct kafka_group
        *members_of;      /* the leader's answer lists this group's members; else NULL */
    bool skip_assignment; /* a static leader started again: the assignment stands */
    const struct consumer_group
        *consumer; /* the generation is an epoch of this group, nobody leads; else NULL */
};

struct kafka_group_sync_result {
    int16_t error;
    struct str protocol_type, protocol, assignment;
};

/* What offsets that are being written take beyond what there is. */
struct kafka_groups_need {
    uint32_t n_groups, n_offsets;
    size_t bytes;
};

struct kafka_groups {
    struct list all;
    struct map map;
    uint32_t n, n_offsets;
    uint64_t next_number;
    uint64_t hash_seed; /* secret; set by the caller before the first group, 0 in tests */
    size_t bytes;
    struct kafka_groups_need reserved; /* room that nobody else gets */
    int64_t next_ms;   /* kafka_groups_tick has nothing to do before; INT64_MAX = never */
    int64_t wall_ms;   /* the wall clock, as the caller saw it last: how old offsets are */
    struct list dirty; /* consumer groups with work to do */
    int64_t retry_ms;  /* work waits for memory until then; INT64_MAX = it does not */
    /* Answers to a waiter given to join and sync, once each, now or later. They must not call back
     * into the groups; what the result points to is valid during the call. */
    void (*joined)(void *waiter, const struct kafka_group_join_result *result);
    void (*synced)(void *waiter, const struct kafka_group_sync_result *result);
    void (*beaten)(void *waiter, const struct consumer_heartbeat_result *result);
};

/* Empty; the callbacks are set by the caller before use. */
void kafka_groups_init(struct kafka_groups *gs);
/* Frees everything; nobody waits any more (kafka_groups_stop). */
void kafka_groups_deinit(struct kafka_groups *gs);
/* Answers everybody who waits with `error`. */
void kafka_groups_stop(struct kafka_groups *gs, int16_t error);

struct kafka_group_join {
    struct str group, member, instance; /* member "" = new; instance.ptr NULL = none */
    struct str protocol_type, client_id, client_host;
    int32_t session_ms, rebalance_ms;
    uint32_t n_protocols;
    const struct kafka_group_protocol *protocols;
    bool id_required;              /* a new member is told its id first and joins again with it */
    struct str new_id;             /* unused so far; looked at only when `member` is empty */
    const struct catalog *catalog; /* for members of groups of the new protocol */
    void *waiter;
};
/* Answered through `joined`, maybe before this returns. */
void kafka_groups_join(struct kafka_groups *gs, int64_t now_ms, const struct kafka_group_join *j);

struct kafka_group_assignment {
    struct str member, assignment;
};
struct kafka_group_sync {
    struct str group, member, instance;
    int32_t generation;
    struct str protocol_type, protocol; /* ptr NULL = not given */
    uint32_t n_assignments;
    const struct kafka_group_assignment *assignments;
    const struct catalog *catalog; /* for members of groups of the new protocol */
    void *waiter;
};
/* Answered through `synced`, maybe before this returns. */
void kafka_groups_sync(struct kafka_groups *gs, int64_t now_ms, const struct kafka_group_sync *s);

/* A sign of life. Returns Kafka's code. */
int16_t kafka_groups_heartbeat(struct kafka_groups *gs, int64_t now_ms, struct str group,
                               int32_t generation, struct str member, struct str instance);
/* By id, or by instance when `member` is empty. Returns Kafka's code. */
int16_t kafka_groups_leave(struct kafka_groups *gs, int64_t now_ms, struct str group,
                           struct str member, struct str instance);
/* May this member (or nobody: generation -1, member "") commit now? Returns Kafka's code:
 * GROUP_ID_NOT_FOUND when there is no such group and a generation is given. */
int16_t kafka_groups_may_commit(struct kafka_groups *gs, int64_t now_ms, struct str group,
                                int32_t generation, struct str member, struct str instance);
/* The same error for clients that know nothing of the new protocol's: those of OffsetCommit before
 * version 9, of TxnOffsetCommit before version 6. */
int16_t kafka_group_commit_error_old(int16_t error);
/* Time passes: loses silent members, ends rebalances. Cheap before gs->next_ms. */
void kafka_groups_tick(struct kafka_groups *gs, int64_t now_ms);

/* May a group of this id be made? */
static inline bool kafka_group_id_valid(struct str id)
{
    return id.len > 0 && id.len <= GROUP_ID_BYTES_MAX;
}
/* NULL when there is none. */
struct kafka_group *kafka_groups_find(const struct kafka_groups *gs, struct str id);
/* "Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead". */
const char *kafka_group_state_name(enum kafka_group_state state);
/* The same for a group of either protocol; that of the new one can be "Assigning", "Reconciling".
 */
const char *kafka_group_state_text(const struct kafka_group *g);
/* Has no members, and none on their way. */
bool kafka_group_is_empty(const struct kafka_group *g);

/* Is there room for so many bytes more? */
static inline bool kafka_groups_fits(const struct kafka_groups *gs, size_t bytes)
{
    return gs->bytes + gs->reserved.bytes + bytes <= GROUPS_BYTES_MAX;
}

/* ---- offsets: facts that have been made durable already, or are being read back ---- */

/* Adds to `need` what the offset takes: nothing but longer metadata, where the group has one of the
 * partition. A group that does not exist is added once: one `need` is for one group. */
void kafka_groups_offset_need(const struct kafka_groups *gs, struct str group, struct str topic,
                              int32_t partition, size_t metadata_bytes,
                              struct kafka_groups_need *need);
/* Keeps room, before what needs it is written to the log; until kafka_groups_release. ERR_LIMIT. */
enum err kafka_groups_reserve(struct kafka_groups *gs,
                              const struct kafka_groups_need *need) MUST_CHECK;
void kafka_groups_release(struct kafka_groups *gs, const struct kafka_groups_need *need);
/* Sets an offset, making the group when it does not exist. What is in the log counts: whether there
 * is room was asked before. ERR_NO_MEMORY. */
enum err kafka_groups_offset_put(struct kafka_groups *gs, struct str group, struct str topic,
                                 int32_t partition, int64_t offset, int32_t leader_epoch,
                                 struct str metadata, int64_t at_ms) MUST_CHECK;
/* Forgets one; the group too when nothing is left of it. */
void kafka_groups_offset_remove(struct kafka_groups *gs, struct str group, struct str topic,
                                int32_t partition);
/* After kafka_groups_offset_put: says which topic of that name the offset is for. When it is
 * dropped and made again, the offset is not the new one's. */
void kafka_groups_offset_is_of(struct kafka_groups *gs, struct str group, struct str topic,
                               int32_t partition, uint32_t topic_number);
/* Will nobody ask for the offset? Its topic is gone (`topic_number`: the one of that name now, 0 =
 * none), or the group has been empty for so long, and the commit is as old. `since_ms`: what came
 * before then is not known. Wall clock. */
bool kafka_group_offset_over(const struct kafka_group *g, const struct kafka_group_offset *o,
                             uint32_t topic_number, int64_t since_ms, int64_t now_ms);
/* The same for the epochs of a group of the new protocol. */
bool kafka_group_epochs_over(const struct kafka_group *g, int64_t since_ms, int64_t now_ms);
/* Epochs of the new protocol's group up to this one may have been told: it begins behind. Makes the
 * group one of that protocol if it is empty. ERR_LIMIT, ERR_NO_MEMORY. */
enum err kafka_groups_epoch_put(struct kafka_groups *gs, struct str group,
                                int32_t epoch) MUST_CHECK;
/* The group's epochs are forgotten, and the group if nothing else is left of it. Not while it has
 * members. */
void kafka_groups_epoch_remove(struct kafka_groups *gs, struct str group);
/* NULL when none is committed. */
const struct kafka_group_offset *kafka_group_offset_find(const struct kafka_group *g,
                                                         struct str topic, int32_t partition);
/* A topic, and whether a member subscribes to it. */
struct kafka_group_topic {
    struct str name;
    bool used;
};
/* Sets `used` of the topics (different names, in the order of str_cmp) that a member of the classic
 * protocol subscribes to. Known for consumers (protocol type "consumer"), whose metadata says so; a
 * group of another type is taken to use every topic while it has members, and so is one whose
 * metadata is not read in GROUP_SUBSCRIBED_STEPS_MAX comparisons. */
void kafka_group_subscribed(const struct kafka_group *g, struct kafka_group_topic *topics,
                            uint32_t n);
/* The topic of this name, or NULL. */
struct kafka_group_topic *kafka_group_topic_find(struct kafka_group_topic *topics, uint32_t n,
                                                 struct str name);
/* Kafka's code: 0 when the group may be deleted (it exists and has no members). */
int16_t kafka_groups_may_delete(const struct kafka_groups *gs, struct str group);

#endif
