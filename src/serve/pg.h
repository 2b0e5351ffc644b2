/* The PostgreSQL server: wire protocol 3.0, simple and extended queries, COPY, cancel. */
#ifndef TIDEMILL_SERVE_PG_H
#define TIDEMILL_SERVE_PG_H

#include "serve/connection.h"

/* Listens at options->pg (not NULL) and serves until shutdown. `port_out` receives the port.
 * ERR_IN_USE names the address. Main thread, before host_run. */
enum err pg_server_start(struct engine *e, const struct serve_options *options, uint16_t *port_out,
                         struct err_detail *why) MUST_CHECK;

#endif
