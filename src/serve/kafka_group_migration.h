/* The change of a group with members between the classic protocol and the new one (KIP-848's online
 * migration; as Kafka's group.consumer.migration.policy=bidirectional).
 *
 *   classic group --a member of the new protocol joins--> group of the new protocol
 *         ^                                                   | classic members stay
 *         +------the last member of the new protocol is gone--+ (kafka_classic_member.h)
 *
 * Members keep their ids, and what they were told: generations are epochs, partitions that were
 * assigned are held. So nobody gets a partition that somebody else may still read. One thread. */
#ifndef TIDEMILL_SERVE_KAFKA_GROUP_MIGRATION_H
#define TIDEMILL_SERVE_KAFKA_GROUP_MIGRATION_H

#include "serve/kafka_consumer_group.h"

/* Makes a classic group with members one of the new protocol. Joins and syncs that wait are
 * answered with REBALANCE_IN_PROGRESS: everybody joins again. Kafka's code; GROUP_ID_NOT_FOUND when
 * the members are no consumers, or use an assignor whose assignments carry data of its own (Kafka
 * Streams), and COORDINATOR_NOT_AVAILABLE without memory; the group is as it was, then. */
int16_t kafka_migration_forth(struct kafka_groups *gs, struct kafka_group *g,
                              const struct catalog *c, int64_t now_ms, const char **why);
/* Has it members, and none that speaks the new protocol? */
bool kafka_migration_back_due(const struct consumer_group *cg);
/* Makes it a classic group that rebalances. An error leaves it as it was. */
enum err kafka_migration_back(struct kafka_groups *gs, struct kafka_group *g, int64_t now_ms,
                              const struct catalog *c) MUST_CHECK;

#endif
