/* Hashes and checksums. Pure; any thread. */
#ifndef TIDEMILL_BASE_HASH_H
#define TIDEMILL_BASE_HASH_H

#include "base/str.h"

#include <stdint.h>

/* CRC-32C (Castagnoli), `crc` = 0 to start, chainable. SSE4.2 with a portable fallback. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t n);
/* 64-bit xxHash3 of bytes: keyed state, never persisted across formats. */
uint64_t hash_bytes(const void *bytes, size_t n, uint64_t seed);
/* Mixes one 64-bit value (a fixed permutation, good low and high bits). */
static inline uint64_t hash_u64(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    return x ^ (x >> 32);
}
/* Kafka's default partitioner hash (murmur2, seed 0x9747b28c); partition = (h & 0x7fffffff) % n. */
uint32_t murmur2(const void *bytes, size_t n);

#endif
