/* Server-side assignors of the new group protocol: who shall have which partition. Pure: values in,
 * a slot per partition out. One thread. */
#ifndef TIDEMILL_SERVE_KAFKA_ASSIGNOR_H
#define TIDEMILL_SERVE_KAFKA_ASSIGNOR_H

#include "serve/kafka_consumer_group.h"

/* Writes partitions[].target for the group's members and topics.
 *
 * uniform: everybody gets as many, give or take one, and nobody loses more than that takes; with
 * different subscriptions as even as moves of single partitions make it.
 * range: of each topic the members, in the order of their instances or ids, get runs that follow
 * each other, so that equal partitions of topics with as many go to the same member.
 *
 * ERR_NO_MEMORY leaves what was. Cost: partitions, and members of each topic whose subscribers are
 * not those of the topic before. */
enum err kafka_assign(struct consumer_group *cg) MUST_CHECK;

#endif
