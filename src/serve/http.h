/* The HTTP server: the API of docs/http-api.md, push, metrics and the dashboard. */
#ifndef TIDEMILL_SERVE_HTTP_H
#define TIDEMILL_SERVE_HTTP_H

#include "serve/connection.h"

/* Listens at options->http and registers its services on every shard. Main thread, before host_run.
 * ERR_IN_USE names the address. Frees itself after shutdown. */
enum err http_server_start(struct engine *e, const struct serve_options *options,
                           uint16_t *port_out, struct err_detail *why) MUST_CHECK;

#endif
