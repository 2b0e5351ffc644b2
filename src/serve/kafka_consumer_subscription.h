/* Subscriptions of consumer groups: kept once per group, resolved to topics piece by piece. Private
 * to kafka_consumer_group.c. */
#ifndef TIDEMILL_SERVE_KAFKA_CONSUMER_SUBSCRIPTION_H
#define TIDEMILL_SERVE_KAFKA_CONSUMER_SUBSCRIPTION_H

#include "serve/kafka_consumer_group.h"

/* The group's subscription to these names and this pattern, made (dirty) when there is none; the
 * caller counts its member. ERR_LIMIT, ERR_NO_MEMORY, ERR_INVALID_PARAMETER for the pattern. */
enum err consumer_subscription_get(struct kafka_groups *gs, struct consumer_group *cg,
                                   const struct str *names, uint32_t n_names, struct str regex,
                                   struct consumer_subscription **out,
                                   struct err_detail *why) MUST_CHECK;
/* One member less; without any it is freed. */
void consumer_subscription_release(struct kafka_groups *gs, struct consumer_subscription *s);
/* Goes on resolving; subtracts from *budget what it cost. *done: its topics are those of `c`. */
enum err consumer_subscription_resolve(struct kafka_groups *gs, struct consumer_subscription *s,
                                       const struct catalog *c, int64_t *budget,
                                       bool *done) MUST_CHECK;
/* Sorts numbers and removes repeated ones; returns how many are left. */
uint32_t consumer_numbers_unique(uint32_t *numbers, uint32_t n);

#endif
