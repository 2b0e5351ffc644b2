/* base/hash: published vectors, and the quick CRC against the plain one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"

#include "base/hash_int.h"

#include <string.h>

static void crc32c_has_the_published_values(void **state)
{
    (void)state;
    /* RFC 3720, appendix B.4, and the usual check value. */
    unsigned char bytes[32];
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43u);
    for (unsigned char i = 0; i < 32; i++)
        bytes[i] = i;
    assert_int_equal(crc32c(0, bytes, 32), 0x46dd794eu);
    assert_int_equal(crc32c_portable(0, bytes, 32), 0x46dd794eu);
    assert_int_equal(crc32c(0, NULL, 0), 0);
}

static void crc32c_agrees_with_portable_and_chains(void **state)
{
    (void)state;
    enum { SIZE = 20000 };
    static unsigned char bytes[SIZE];
    uint64_t x = 1;
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(x = hash_u64(x + i));
    for (size_t n = 0; n <= SIZE; n += n < 1300 ? 1 : 331) {
        uint32_t expected = crc32c_portable(0, bytes + n % 7, n - n % 7);
        assert_int_equal(crc32c(0, bytes + n % 7, n - n % 7), expected);
        size_t cut = n % 7 + (n - n % 7) / 3;
        uint32_t first = crc32c(0, bytes + n % 7, cut - n % 7);
        assert_int_equal(crc32c(first, bytes + cut, n - cut), expected);
    }
}

static void murmur2_is_kafkas(void **state)
{
    (void)state;
    /* From Kafka's own UtilsTest. */
    static const struct {
        const char *text;
        int32_t hash;
    } cases[] = {
        {"21", -973932308},
        {"foobar", -790332482},
        {"a-little-bit-long-string", -985981536},
        {"a-little-bit-longer-string", -1486304829},
        {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
        {"abc", 479470107},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal((int32_t)murmur2(cases[i].text, strlen(cases[i].text)), cases[i].hash);
}

static void hash_bytes_is_xxh3(void **state)
{
    (void)state;
    assert_true(hash_bytes(NULL, 0, 0) == 0x2d06800538d394c2u);
    assert_true(hash_bytes("a", 1, 0) != hash_bytes("a", 1, 1));
    assert_true(hash_bytes("a", 1, 0) != hash_bytes("b", 1, 0));
}

static void hash_u64_is_a_permutation_that_mixes(void **state)
{
    (void)state;
    /* Neighbours must differ in many low and many high bits. */
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t d = hash_u64(i) ^ hash_u64(i + 1);
        assert_in_range(__builtin_popcountll(d), 10, 54);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_has_the_published_values),
        cmocka_unit_test(crc32c_agrees_with_portable_and_chains),
        cmocka_unit_test(murmur2_is_kafkas),
        cmocka_unit_test(hash_bytes_is_xxh3),
        cmocka_unit_test(hash_u64_is_a_permutation_that_mixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
