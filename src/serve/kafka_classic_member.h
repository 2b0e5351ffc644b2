/* Members that speak the classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup) in a group
 * of the new one, KIP-848's online migration: the server assigns them their partitions as it does
 * the others'. They are members of kafka_consumer_group.h whose heartbeat is a round of requests:
 *
 *   JoinGroup   "I own these": what it has given back is free; answered with its epoch as the
 *               generation when the target is computed. Nobody leads.
 *   SyncGroup   what it holds, as the leader of a classic group would have assigned it
 *   Heartbeat   REBALANCE_IN_PROGRESS while there is something to fetch: the group's epoch is
 *               ahead, it is to give something back, or all that others held of its target is free
 *
 * Members of the eager kind give everything back before they join and own nothing; cooperative ones
 * are told a smaller assignment, and join again without the rest. A member that does not come in
 * its rebalance time is dropped.
 *
 * One thread. */
#ifndef TIDEMILL_SERVE_KAFKA_CLASSIC_MEMBER_H
#define TIDEMILL_SERVE_KAFKA_CLASSIC_MEMBER_H

#include "serve/kafka_consumer_group.h"

/* What kafka_groups_join, _sync, _heartbeat, _leave and _may_commit do in such a group. Members of
 * either protocol can be made to leave, by an administrator. */
void kafka_classic_join(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms,
                        const struct kafka_group_join *j);
void kafka_classic_sync(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms,
                        const struct kafka_group_sync *s);
int16_t kafka_classic_heartbeat(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms,
                                int32_t generation, struct str member, struct str instance);
int16_t kafka_classic_leave(struct kafka_groups *gs, struct kafka_group *g, struct str member,
                            struct str instance);
/* Is there a member of that id that speaks the classic protocol? */
bool kafka_classic_has(const struct consumer_group *cg, struct str member);
int16_t kafka_classic_may_commit(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms,
                                 int32_t generation, struct str member, struct str instance);

/* Makes the member one that speaks the classic protocol, with copies of these protocols, or gives
 * it others. ERR_LIMIT, ERR_NO_MEMORY leave it as it was. */
enum err kafka_classic_set(struct kafka_groups *gs, struct consumer_group *cg,
                           struct consumer_member *m, const struct kafka_group_protocol *protocols,
                           uint32_t n_protocols, int32_t session_ms) MUST_CHECK;
/* It speaks the new protocol, or is about to be freed. Its join does not wait. */
void kafka_classic_forget(struct kafka_groups *gs, struct consumer_group *cg,
                          struct consumer_member *m);
/* Answers a join. */
void kafka_classic_answer(struct kafka_groups *gs, struct consumer_group *cg,
                          struct consumer_member *m, void *waiter, int64_t now_ms);
/* The same with an error. */
void kafka_classic_refuse(struct kafka_groups *gs, void *waiter, struct str member, int16_t error);

#endif
