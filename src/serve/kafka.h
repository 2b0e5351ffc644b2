/* The Kafka server: topics of the log for any Kafka client. docs/kafka.md says what is served. */
#ifndef TIDEMILL_SERVE_KAFKA_H
#define TIDEMILL_SERVE_KAFKA_H

#include "serve/connection.h"

/* Listens at options->kafka and registers its services on every shard. Main thread, before
 * host_run. ERR_IN_USE names the address. Frees itself after shutdown. */
enum err kafka_server_start(struct engine *e, const struct serve_options *options,
                            uint16_t *port_out, struct err_detail *why) MUST_CHECK;

#endif
