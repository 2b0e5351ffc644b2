/* The inside of groups of the new protocol: what kafka_consumer_group.c, the members of the classic
 * protocol in such groups (kafka_classic_member.c) and the change between the two kinds of groups
 * (kafka_group_migration.c) share. */
#ifndef TIDEMILL_SERVE_KAFKA_CONSUMER_GROUP_INT_H
#define TIDEMILL_SERVE_KAFKA_CONSUMER_GROUP_INT_H

#include "serve/kafka_consumer_group.h"

/* NULL when there is none. */
struct consumer_member *consumer_member_find(const struct consumer_group *cg, struct str id);
struct consumer_member *consumer_member_by_instance(const struct consumer_group *cg,
                                                    struct str instance);
/* JOINING, without a subscription yet. NULL: no memory. */
struct consumer_member *consumer_member_new(struct kafka_groups *gs, struct consumer_group *cg,
                                            const struct consumer_heartbeat *h);
/* The member's names copied into new memory; false: out of memory. */
bool consumer_member_name(struct kafka_groups *gs, struct consumer_member *m, struct str id,
                          const struct consumer_heartbeat *h);
/* Takes over what the heartbeat says; raises the epoch when the assignment depends on it. */
int16_t consumer_member_update(struct kafka_groups *gs, struct consumer_group *cg,
                               struct consumer_member *m, const struct consumer_heartbeat *h,
                               struct err_detail *why);
/* A sign of life. */
void consumer_member_alive(struct kafka_groups *gs, struct consumer_group *cg,
                           struct consumer_member *m, int64_t now_ms);
/* Frees the member; the caller makes the transition that follows. */
void consumer_member_drop(struct kafka_groups *gs, struct consumer_group *cg,
                          struct consumer_member *m, int16_t error, const char *why);
/* Any state -> gone. The last one leaves an empty group, whose epochs go on. */
void consumer_member_gone(struct kafka_groups *gs, struct consumer_group *cg,
                          struct consumer_member *m, int16_t error, const char *why,
                          int64_t wall_ms);
/* Answers the member's join, if one waits. */
void consumer_waiter_refuse(struct kafka_groups *gs, struct consumer_member *m, int16_t error,
                            const char *why);
/* One step of a member towards its target. `h`: its heartbeat; NULL at a join. */
void consumer_reconcile(struct kafka_groups *gs, struct consumer_group *cg,
                        struct consumer_member *m, const struct catalog *c,
                        const struct consumer_heartbeat *h, int64_t now_ms);
/* The group's topic of that number; NULL when it has none. */
const struct consumer_topic *consumer_topic_of(const struct consumer_group *cg, uint32_t number);
/* The group wants an assignment; `resolve`: its topics may be others. */
void consumer_work_add(struct kafka_groups *gs, struct consumer_group *cg, bool resolve);

#endif
