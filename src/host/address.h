/* Socket addresses as text: "127.0.0.1:9092", "[::1]:9092", "localhost:0". Private to host/. */
#ifndef TIDEMILL_HOST_ADDRESS_H
#define TIDEMILL_HOST_ADDRESS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct host_address {
    bool v6;
    uint8_t ip[16]; /* network order; 4 bytes used for IPv4, the rest zero */
    uint16_t port;
};

/* Numeric addresses and "localhost" (127.0.0.1) only: no name is looked up. ERR_INVALID_ARGUMENT
 * with a text that quotes the address and a hint. Pure; any thread. */
enum err host_address_parse(const char *text, struct host_address *out,
                            struct err_detail *why) MUST_CHECK;
/* Writes "ip:port" or "[ip]:port" with a NUL into `out` (HOST_ADDRESS_MAX bytes). Pure; any
 * thread. */
void host_address_format(const struct host_address *a, char *out);
/* Whether it is 0.0.0.0 or ::. */
bool host_address_any(const struct host_address *a);
/* Whether it is in 127.0.0.0/8, or ::1: peers there are on this machine. */
bool host_address_loopback(const struct host_address *a);

#endif
