/* The group coordinator's inside: what the files that answer group requests share. All of it runs
 * on shard 0.
 *
 *   kafka_coordinator.c     carrying requests to shard 0; JoinGroup, SyncGroup, Heartbeat,
 * LeaveGroup kafka_group_offsets.c   OffsetCommit, OffsetFetch, OffsetDelete kafka_group_admin.c
 * DescribeGroups, ListGroups, DeleteGroups kafka_group.c           what groups are and decide,
 * without I/O kafka_offsets.c         what of them is in the log */
#ifndef TIDEMILL_SERVE_KAFKA_COORDINATOR_H
#define TIDEMILL_SERVE_KAFKA_COORDINATOR_H

#include "serve/kafka_group.h"
#include "serve/kafka_int.h"
#include "serve/kafka_offsets.h"

struct kafka_coordinator {
    struct engine *engine;
    struct shard_service service;
    struct shard_timer timer;
    struct kafka_groups groups;
    struct offsets_log *log;
    bool stopped;
};

/* The request's answer, in its arena; NULL: out of memory. The request may be gone on return. */
void kafka_coordinator_reply(struct kafka_request *r, void *response);
int64_t kafka_coordinator_now_ms(struct kafka_coordinator *co);

/* Each replies to the request, now or later. */
void kafka_group_commit(struct kafka_coordinator *co, struct kafka_request *r);
void kafka_group_offset_fetch(struct kafka_coordinator *co, struct kafka_request *r);
void kafka_group_offset_delete(struct kafka_coordinator *co, struct kafka_request *r);
void kafka_group_describe(struct kafka_coordinator *co, struct kafka_request *r);
void kafka_group_list(struct kafka_coordinator *co, struct kafka_request *r);
void kafka_group_delete(struct kafka_coordinator *co, struct kafka_request *r);

#endif
