/* Private to base/hash.c and its test. */
#ifndef TIDEMILL_BASE_HASH_INT_H
#define TIDEMILL_BASE_HASH_INT_H

#include "base/hash.h"

/* CRC-32C bytewise by table, for processors without the instructions. Same contract as crc32c(). */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t n);

#endif
