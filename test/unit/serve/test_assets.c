/* The table's content depends on whether the dashboard was built; these properties do not. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka.h needs the ones above */
#include <setjmp.h>

#include <cmocka.h>
#include <string.h>

#include "serve/assets.h"

static void every_entry_is_found_by_its_path(void **state)
{
    (void)state;
    for (size_t i = 0; i < asset_table_len; i++) {
        const struct asset *entry = &asset_table[i];
        size_t len = strlen(entry->path);
        assert_int_equal(entry->path[0], '/');
        assert_non_null(strchr(entry->content_type, '/'));
        const struct asset *found =
            entry->gzip ? asset_find_gzip(entry->path, len) : asset_find(entry->path, len);
        assert_ptr_equal(found, entry);
    }
}

static void a_gzip_variant_is_gzip_and_smaller(void **state)
{
    (void)state;
    for (size_t i = 0; i < asset_table_len; i++) {
        const struct asset *entry = &asset_table[i];
        if (!entry->gzip) {
            continue;
        }
        const struct asset *plain = asset_find(entry->path, strlen(entry->path));
        assert_non_null(plain);
        assert_string_equal(plain->content_type, entry->content_type);
        assert_true(entry->len < plain->len);
        assert_true(entry->len > 2 && entry->bytes[0] == 0x1f && entry->bytes[1] == 0x8b);
    }
}

static void only_the_whole_path_matches(void **state)
{
    (void)state;
    assert_null(asset_find("", 0));
    assert_null(asset_find("/", 1));
    assert_null(asset_find("/no-such-file", 13));
    for (size_t i = 0; i < asset_table_len; i++) {
        const char *path = asset_table[i].path;
        char longer[256];
        size_t len = strlen(path);
        assert_true(len + 1 < sizeof longer);
        memcpy(longer, path, len);
        longer[len] = 'x';
        assert_null(asset_find(longer, len + 1));
        assert_null(asset_find(path, len - 1));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_is_found_by_its_path),
        cmocka_unit_test(a_gzip_variant_is_gzip_and_smaller),
        cmocka_unit_test(only_the_whole_path_matches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
