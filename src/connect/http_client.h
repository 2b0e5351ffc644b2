/* One GET by libcurl, for helper threads. */
#ifndef TIDEMILL_CONNECT_HTTP_CLIENT_H
#define TIDEMILL_CONNECT_HTTP_CLIENT_H

#include "base/str.h"
#include "host/host.h"

enum { HTTP_CLIENT_MS_MAX = 10000, HTTP_CLIENT_AUTH_BYTES_MAX = 1024 };

/* For whom there is a user and password; zero-initialised: for nobody. */
struct http_client {
    char origin[HTTP_CLIENT_AUTH_BYTES_MAX]; /* "https://host:port" */
    char userpwd[HTTP_CLIENT_AUTH_BYTES_MAX]; /* "user:password" */
};

/* Before any thread. `auth` is "ORIGIN USER:PASSWORD" or NULL. ERR_INVALID_ARGUMENT with what is
 * wrong; ERR_NO_MEMORY. */
enum err http_client_init(struct http_client *c, const char *auth,
                          struct err_detail *why) MUST_CHECK;
/* struct engine_fetch's get; `arg` is the client. Blocks, for HTTP_CLIENT_MS_MAX at most. ERR_OK
 * with the status of whatever answer came; ERR_IO without one, ERR_LIMIT when the body is longer
 * than the buffer takes, ERR_NO_MEMORY. Any thread. */
enum err http_client_get(void *arg, struct host *h, const char *url, struct buf *body,
                         int *status, struct err_detail *why) MUST_CHECK;

#endif
