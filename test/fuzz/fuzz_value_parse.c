/* Any bytes as a value of any type, text or binary: what parses prints, and reads back as the
 * same value. */
#include "base/check.h"
#include "type/type.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 8 << 20 };

/* Prints one way and reads back. */
static void round_trip(const struct value *v, struct arena *a, bool binary)
{
    struct buf one, two;
    struct value back;
    struct err_detail why = {0};
    buf_init(&one, BYTES_MAX);
    buf_init(&two, BYTES_MAX);
    if (binary)
        value_print_binary(v, &one);
    else
        value_print(v, &one);
    enum err e = one.failed ? ERR_LIMIT
                 : binary   ? value_parse_binary(v->type, buf_str(&one), a, &back, &why)
                            : value_parse(v->type, buf_str(&one), a, &back, &why);
    CHECK(e == ERR_OK || e == ERR_NO_MEMORY || e == ERR_LIMIT);
    if (e == ERR_OK) {
        CHECK(value_compare(v, &back) == 0);
        CHECK(value_hash(v) == value_hash(&back));
        if (binary)
            value_print_binary(&back, &two);
        else
            value_print(&back, &two);
        CHECK(two.failed || str_eq(buf_str(&one), buf_str(&two)));
    }
    buf_clear(&two);
    value_print_json(v, &two);
    buf_deinit(&one);
    buf_deinit(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct value v;
    struct err_detail why = {0};
    if (size == 0)
        return 0;
    /* 0x40 makes it an array; enums have no names here. */
    enum type t = (enum type)((data[0] & 0x3f) % (TYPE_ENUM - 1) + 1);
    if ((data[0] & 0x40) != 0)
        t = type_array_of(t);
    bool binary = data[0] >= 0x80;
    struct str s = {(const char *)data + 1, size - 1};
    arena_init(&a, BYTES_MAX);
    enum err e = binary ? value_parse_binary(t, s, &a, &v, &why) : value_parse(t, s, &a, &v, &why);
    if (e == ERR_OK) {
        round_trip(&v, &a, false);
        round_trip(&v, &a, true);
    } else {
        CHECK(e == ERR_NO_MEMORY || why.text[0] != '\0');
    }
    arena_deinit(&a);
    return 0;
}
