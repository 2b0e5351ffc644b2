/* MD5 (RFC 1321), for SQL's md5(). Not for security. Pure; any thread. */
#ifndef TIDEMILL_TYPE_MD5_H
#define TIDEMILL_TYPE_MD5_H

#include <stddef.h>

enum { MD5_HEX_BYTES = 32 };

/* Writes the digest of n bytes as lower-case hexadecimal digits, without a NUL. */
void md5_hex(const void *bytes, size_t n, char out[MD5_HEX_BYTES]);

#endif
