/* Any bytes as a catalog change: what decodes is encoded again and must read the same. */
#include "base/check.h"
#include "plan/catalog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { BYTES_MAX = 1 << 20 };
    struct arena a;
    struct buf one;
    struct buf two;
    struct catalog_change change;
    struct err_detail why = {0};
    arena_init(&a, BYTES_MAX);
    buf_init(&one, BYTES_MAX);
    buf_init(&two, BYTES_MAX);
    struct str json = {(const char *)data, size};
    if (catalog_change_decode(json, &a, &change, &why) == ERR_OK &&
        catalog_change_encode(&change, &one) == ERR_OK) {
        enum err e = catalog_change_decode(buf_str(&one), &a, &change, &why);
        CHECK(e == ERR_OK || e == ERR_NO_MEMORY);
        if (e == ERR_OK && catalog_change_encode(&change, &two) == ERR_OK)
            CHECK(str_eq(buf_str(&one), buf_str(&two)));
    }
    buf_deinit(&one);
    buf_deinit(&two);
    arena_deinit(&a);
    return 0;
}
