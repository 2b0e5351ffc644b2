/* What the two kinds of groups share inside. */
#ifndef TIDEMILL_SERVE_KAFKA_GROUP_INT_H
#define TIDEMILL_SERVE_KAFKA_GROUP_INT_H

#include "serve/kafka_group.h"

/* Copies strings behind each other into one block; `*at` moves on. A NULL pointer stays one. */
struct str kafka_group_pack(char **at, struct str s);
/* The group, made when there is none; NULL: no memory, or too many. */
struct kafka_group *kafka_group_obtain(struct kafka_groups *gs, struct str id);
/* Something falls due in the group. */
void kafka_group_due(struct kafka_groups *gs, struct kafka_group *g, int64_t at_ms);
/* A group that has nothing to remember goes. Last act of every call. */
void kafka_group_reap(struct kafka_groups *gs, struct kafka_group *g);

/* For groups that change their protocol, beside the transitions of kafka_group.h. */

/* Takes all members out, whatever the state; who waits is answered with `error`. -> EMPTY, with its
 * generation. */
void kafka_group_members_drop(struct kafka_groups *gs, struct kafka_group *g, int16_t error);
/* A member under j->new_id that nobody has to join for. NULL: no memory, or too many. */
struct kafka_group_member *kafka_group_member_add(struct kafka_groups *gs, struct kafka_group *g,
                                                  const struct kafka_group_join *j);
/* Kafka's code. */
int16_t kafka_group_assignment_set(struct kafka_groups *gs, struct kafka_group_member *m,
                                   struct str assignment);
/* The protocol type of a group that was EMPTY. False: out of memory. */
bool kafka_group_type_set(struct kafka_group *g, struct str type);
/* EMPTY with members that were added -> PREPARING: all are to join, some may wait already. */
void kafka_group_rebalance(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms);

#endif
