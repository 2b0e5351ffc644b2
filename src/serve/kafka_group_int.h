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

#endif
