/* Any bytes as jsonb: the normal form is its own normal form, and lookups, order and containment
 * agree with it. */
#include "base/check.h"
#include "type/jsonb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 8 << 20, MEMBERS_MAX = 64 };

/* Every member is found again by its key, every element by its index. */
static void check_members(struct str j, struct arena *a)
{
    struct jsonb_walk w = jsonb_walk_begin(j);
    struct str key, value;
    for (int64_t i = 0; i < MEMBERS_MAX && jsonb_walk_next(&w, &key, &value); i++) {
        struct str found;
        if (jsonb_kind_of(j) == JSONB_OBJECT) {
            struct str name = jsonb_text(key, a);
            if (name.ptr == NULL)
                return;
            found = jsonb_member(j, name);
        } else {
            found = jsonb_element(j, i);
        }
        CHECK(str_eq(found, value));
        check_members(value, a);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct str once, twice;
    struct err_detail why = {0};
    arena_init(&a, BYTES_MAX);
    enum err e = jsonb_parse((struct str){(const char *)data, size}, &a, &once, &why);
    if (e == ERR_OK) {
        e = jsonb_parse(once, &a, &twice, &why);
        CHECK(e == ERR_OK || e == ERR_NO_MEMORY);
        if (e == ERR_OK) {
            CHECK(str_eq(once, twice));
            CHECK(jsonb_compare(once, twice) == 0);
            CHECK(jsonb_hash(once) == jsonb_hash(twice));
            if (size < 4096)
                CHECK(jsonb_contains(once, twice));
            check_members(once, &a);
        }
    }
    arena_deinit(&a);
    return 0;
}
