/* json_validate, json_rows_next and json_read on any bytes: what one takes, the others take too. */
#include "base/check.h"
#include "wire/json.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Walks every value of a validated document. */
static void walk(const struct json_value *v, struct arena *a)
{
    size_t at = 0;
    struct str key;
    struct json_value item;
    if (v->kind == JSON_STRING)
        CHECK(json_string(v, a).ptr != NULL);
    if (v->kind != JSON_ARRAY && v->kind != JSON_OBJECT)
        return;
    while (json_next(v, &at, &key, &item)) {
        CHECK(item.text.len > 0);
        if (item.kind == JSON_STRING)
            CHECK(json_string(&item, a).ptr != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    struct err_detail why = {0};
    struct json_value v;
    struct arena a;
    arena_init(&a, 64 << 20);
    enum err e = json_validate(text, &why);
    CHECK(e == ERR_OK || (why.line > 0 && why.column > 0 && why.text[0] != 0));
    CHECK(json_read(text, &v, &why) == e);
    if (e == ERR_OK)
        walk(&v, &a);

    struct json_rows rows;
    struct str row;
    enum err all;
    json_rows_init(&rows, text);
    while ((all = json_rows_next(&rows, &row, &why)) == ERR_OK && row.ptr != NULL)
        CHECK(json_validate(row, NULL) == ERR_OK);
    /* A body that is one valid value has valid rows. */
    CHECK(e != ERR_OK || all == ERR_OK);
    json_rows_blame(&rows, ERR_TYPE_MISMATCH, &why);

    struct buf out;
    buf_init(&out, 6 * size + 2);
    if (str_utf8_valid(text)) {
        json_write_string(&out, text);
        CHECK(!out.failed && json_read(buf_str(&out), &v, NULL) == ERR_OK);
        CHECK(str_eq(json_string(&v, &a), text));
    }
    buf_deinit(&out);
    arena_deinit(&a);
    return 0;
}
