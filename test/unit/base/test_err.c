/* base/err: the table is complete and details are cut cleanly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"

#include <string.h>

static void table_is_complete(void **state)
{
    (void)state;
    for (int i = 0; i < ERR_COUNT_; i++) {
        const struct err_info *info = err_info((enum err)i);
        assert_non_null(info->name);
        assert_true(strlen(info->text) > 0);
        assert_int_equal(strlen(info->sqlstate), 5);
        assert_in_range(info->http, 200, 599);
        assert_int_equal(info->kafka == 0, i == ERR_OK);
        /* A fatal or user error is never worth a retry. */
        if (info->flags & (ERR_FLAG_FATAL | ERR_FLAG_USER))
            assert_false(info->flags & ERR_FLAG_RETRY);
        if (info->flags & ERR_FLAG_USER)
            assert_true(info->http < 500 || info->http == 501);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(info->name, err_info((enum err)j)->name);
    }
}

static void codes_are_those_of_the_protocols(void **state)
{
    (void)state;
    assert_string_equal(err_info(ERR_UNDEFINED_TABLE)->sqlstate, "42P01");
    assert_int_equal(err_info(ERR_UNDEFINED_TABLE)->kafka, 3);
    assert_int_equal(err_info(ERR_OFFSET_OUT_OF_RANGE)->kafka, 1);
    assert_int_equal(err_info(ERR_TOO_LARGE)->kafka, 10);
    assert_int_equal(err_info(ERR_TOO_LARGE)->http, 413);
    assert_true(err_info(ERR_SYNC_FAILED)->flags & ERR_FLAG_FATAL);
}

static void detail_is_set_and_wrapped(void **state)
{
    (void)state;
    struct err_detail d = {.position = 7, .line = 3, .hint = "old"};
    assert_int_equal(err_set(&d, ERR_SYNTAX, "near \"%s\"", "FORM"), ERR_SYNTAX);
    assert_string_equal(err_text(ERR_SYNTAX, &d), "near \"FORM\"");
    assert_string_equal(d.hint, "");
    assert_int_equal(d.position, 0);
    assert_int_equal(d.line, 0);
    err_hint(&d, "write %s", "FROM");
    assert_string_equal(d.hint, "write FROM");
    assert_int_equal(err_set(&d, ERR_SYNTAX, "statement 2: %s", d.text), ERR_SYNTAX);
    assert_string_equal(d.text, "statement 2: near \"FORM\"");
}

static void null_detail_is_fine(void **state)
{
    (void)state;
    assert_int_equal(err_set(NULL, ERR_IO, "x"), ERR_IO);
    err_hint(NULL, "x");
    assert_string_equal(err_text(ERR_IO, NULL), err_info(ERR_IO)->text);
    struct err_detail d = {0};
    assert_string_equal(err_text(ERR_IO, &d), err_info(ERR_IO)->text);
}

static void long_text_is_cut_between_characters(void **state)
{
    (void)state;
    struct err_detail d = {0};
    /* Shift a run of 2-, 3- and 4-byte characters over the end: no torn character may stay. */
    const char *characters[] = {"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x8c\x8a"};
    for (size_t c = 0; c < 3; c++) {
        for (size_t shift = 0; shift < 5; shift++) {
            char text[2 * ERR_TEXT_MAX];
            size_t len = strlen(characters[c]);
            size_t n = shift;
            memset(text, 'a', shift);
            while (n + len < sizeof text) {
                memcpy(text + n, characters[c], len);
                n += len;
            }
            text[n] = '\0';
            assert_int_equal(err_set(&d, ERR_IO, "%s", text), ERR_IO);
            size_t kept = strlen(d.text);
            assert_true(kept < ERR_TEXT_MAX && kept > ERR_TEXT_MAX - 5);
            assert_int_equal((kept - shift) % len, 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_complete),
        cmocka_unit_test(codes_are_those_of_the_protocols),
        cmocka_unit_test(detail_is_set_and_wrapped),
        cmocka_unit_test(null_detail_is_fine),
        cmocka_unit_test(long_text_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
