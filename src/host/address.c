#include "host/address.h"

#include "base/str.h"
#include "host/host.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static enum err refuse(struct err_detail *why, const char *text, const char *reason)
{
    (void)err_set(why, ERR_INVALID_ARGUMENT, "\"%.80s\" is not an address: %s", text, reason);
    err_hint(why, "write IP:PORT with a numeric address, e.g. 127.0.0.1:9092, [::1]:9092, "
                  "0.0.0.0:9092 (all interfaces) or localhost:9092; names are not looked up");
    return ERR_INVALID_ARGUMENT;
}

enum err host_address_parse(const char *text, struct host_address *out, struct err_detail *why)
{
    char ip[HOST_ADDRESS_MAX];
    int64_t port;
    const char *colon = strrchr(text, ':');
    if (colon == NULL)
        return refuse(why, text, "the port is missing");
    struct str host = {text, (size_t)(colon - text)};
    struct str digits = str_of(colon + 1);
    if (digits.len == 0 || digits.ptr[0] == '+' || digits.ptr[0] == '-' ||
        str_to_i64(digits, &port) != ERR_OK || port > UINT16_MAX)
        return refuse(why, text, "the port must be a number from 0 to 65535");
    bool v6 = host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (v6)
        host = (struct str){host.ptr + 1, host.len - 2};
    if (host.len == 0)
        return refuse(why, text, "the IP address before the port is missing");
    if (host.len >= sizeof ip)
        return refuse(why, text, "the IP address is too long");
    if (str_eq(host, STR("localhost")))
        host = STR("127.0.0.1");
    memcpy(ip, host.ptr, host.len);
    ip[host.len] = '\0';
    *out = (struct host_address){.v6 = v6, .port = (uint16_t)port};
    if (inet_pton(v6 ? AF_INET6 : AF_INET, ip, out->ip) != 1)
        return refuse(why, text,
                      v6 ? "the part in brackets is not an IPv6 address"
                         : "the part before the port is not an IPv4 address or [IPv6] in brackets");
    return ERR_OK;
}

void host_address_format(const struct host_address *a, char *out)
{
    char ip[INET6_ADDRSTRLEN];
    if (inet_ntop(a->v6 ? AF_INET6 : AF_INET, a->ip, ip, sizeof ip) == NULL)
        ip[0] = '\0';
    snprintf(out, HOST_ADDRESS_MAX, a->v6 ? "[%s]:%u" : "%s:%u", ip, (unsigned)a->port);
}

bool host_address_any(const struct host_address *a)
{
    static const uint8_t zero[16];
    return memcmp(a->ip, zero, sizeof zero) == 0;
}

bool host_address_loopback(const struct host_address *a)
{
    enum { V4_LOOPBACK_NET = 127 };
    static const uint8_t v6_loopback[16] = {[15] = 1};
    return a->v6 ? memcmp(a->ip, v6_loopback, sizeof v6_loopback) == 0
                 : a->ip[0] == V4_LOOPBACK_NET;
}
