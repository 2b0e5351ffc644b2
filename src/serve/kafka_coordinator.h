/* The group coordinator's inside: what the files that answer group requests share. All of it runs
 * on shard 0.
 *
 *   kafka_coordinator.c     carrying requests there; JoinGroup, SyncGroup, Heartbeat, LeaveGroup
 *   kafka_group_offsets.c   OffsetCommit, OffsetFetch, OffsetDelete
 *   kafka_group_admin.c     DescribeGroups, ListGroups, DeleteGroups
 *   kafka_group_consumer.c  ConsumerGroupHeartbeat, ConsumerGroupDescribe
 *   kafka_group_expiry.c    offsets and groups that nobody uses any more
 *   kafka_group.c           what groups are and decide, without I/O
 *   kafka_consumer_group.c  the same for groups of the new protocol
 *   kafka_classic_member.c  members of the classic protocol in those
 *   kafka_group_migration.c from one kind to the other
 *   kafka_offsets.c         what of them is in the log */
#ifndef TIDEMILL_SERVE_KAFKA_COORDINATOR_H
#define TIDEMILL_SERVE_KAFKA_COORDINATOR_H

#include "serve/kafka_consumer_group.h"
#include "serve/kafka_group.h"
#include "serve/kafka_int.h"
#include "serve/kafka_offsets.h"

enum {
    CATALOG_REFRESH_MS = 500,        /* subscriptions are resolved again at most so often */
    CONSUMER_EPOCHS_RESERVED = 1000, /* written ahead: a group's epochs cost a write that often */
    OFFSETS_EXPIRY_CHECK_MS = 600000,
    OFFSETS_EXPIRY_AGAIN_MS = 1000, /* after commits were under way where something is over */
    OFFSETS_EXPIRY_PER_TURN = 2000, /* offsets looked at */
};

/* A pass over all groups: see kafka_group_expiry.c. */
struct kafka_expiry {
    struct offsets_write write;
    struct arena arena; /* of the write under way */
    bool running, writing;
    uint64_t group;     /* the number of the one that comes next, */
    uint32_t offset;    /* and how many of its offsets were looked at */
    int64_t next_ms;    /* when the next pass begins */
    int64_t started_ms; /* wall clock of the server's start */
};

struct kafka_coordinator {
    struct engine *engine;
    struct shard_service service;
    struct shard_timer timer;
    struct kafka_groups groups;
    struct offsets_log *log;
    struct kafka_expiry expiry;
    uint64_t catalog_version; /* that subscriptions were last resolved for */
    uint64_t topics_gone;     /* how many topics had been dropped then */
    int64_t refreshed_ms;
    bool stopped;
};

/* The request's answer, in its arena; NULL: out of memory. The request may be gone on return. */
void kafka_coordinator_reply(struct kafka_request *r, void *response);
int64_t kafka_coordinator_now_ms(struct kafka_coordinator *co);
/* The peer as Kafka tells it of members: "/" and the address. NULL: out of memory. */
struct str kafka_coordinator_host(struct kafka_request *r);

/* Adds an offset of topic t to the write, which has room for it. `item` says which; what it is of
 * t is filled in. Otherwise Kafka's code: there is no such topic (NULL; asked for by id or by name)
 * or partition, or too much metadata. */
int16_t kafka_group_commit_add(struct offsets_write *w, const struct topic *t, bool by_id,
                               const struct offsets_item *item);

/* Each replies to the request, now or later. */
void kafka_group_consumer_heartbeat(struct kafka_coordinator *co, struct kafka_request *r);
void kafka_group_consumer_describe(struct kafka_coordinator *co, struct kafka_request *r);
void kafka_group_commit(struct kafka_coordinator *co, struct kafka_request *r);
void kafka_group_txn_commit(struct kafka_coordinator *co, struct kafka_request *r);
void kafka_group_offset_fetch(struct kafka_coordinator *co, struct kafka_request *r);
void kafka_group_offset_delete(struct kafka_coordinator *co, struct kafka_request *r);
void kafka_group_describe(struct kafka_coordinator *co, struct kafka_request *r);
void kafka_group_list(struct kafka_coordinator *co, struct kafka_request *r);
void kafka_group_delete(struct kafka_coordinator *co, struct kafka_request *r);

/* Replies `response`, which tells an epoch of the group, when that epoch is written ahead: one that
 * was told is never given again, also not after a restart. If it cannot be written,
 * unlogged(response) makes a refusal of the answer first. */
void kafka_group_epoch_reply(struct kafka_request *r, const struct consumer_group *cg,
                             int32_t epoch, void *response, void (*unlogged)(void *response));
/* The callback of groups->beaten. */
void kafka_group_beaten(void *waiter, const struct consumer_heartbeat_result *result);

/* kafka_group_expiry.c */
void kafka_expiry_init(struct kafka_coordinator *co);
void kafka_expiry_deinit(struct kafka_coordinator *co);
/* Topics are gone, or it is time: a pass begins, or begins anew. */
void kafka_expiry_begin(struct kafka_coordinator *co);
/* A turn's share. True: there is more to do at once. */
bool kafka_expiry_turn(struct kafka_coordinator *co);

#endif
