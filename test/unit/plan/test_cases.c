/* Statements and their plans or errors, from cases/ *.txt: blocks "statement / --- / expected /
 * ===". With PLAN_CASES_UPDATE set the files are rewritten with what the planner says now; read
 * the difference. */
#include "fixture.h"

#include <dirent.h>

enum { FILE_BYTES_MAX = 1 << 20 };

static void read_file(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char block[4096];
    size_t n;
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_put(out, block, n);
    fclose(f);
    buf_put_u8(out, 0);
    assert_false(out->failed);
}

static void run_file(const struct catalog *c, const char *path, bool update, uint32_t *ran,
                     uint32_t *failed)
{
    struct buf in;
    struct buf out;
    struct buf all;
    buf_init(&in, FILE_BYTES_MAX);
    buf_init(&out, FILE_BYTES_MAX);
    buf_init(&all, FILE_BYTES_MAX);
    read_file(path, &in);
    const char *at = in.ptr;
    while (*at != '\0') {
        const char *bar = strstr(at, "\n---\n");
        const char *end = bar != NULL ? strstr(bar, "\n===\n") : NULL;
        assert_non_null(end);
        struct str sql = {at, (size_t)(bar - at)};
        const char *expected = end > bar + 5 ? bar + 5 : end + 1;
        struct str want = {expected, (size_t)(end + 1 - expected)};
        buf_clear(&out);
        describe(c, sql, &out);
        if (!update && !str_eq(buf_str(&out), want)) {
            print_error("%s:\n%.*s\n--- expected\n%.*s--- is\n%.*s\n", path, STR_ARG(sql),
                        STR_ARG(want), STR_ARG(buf_str(&out)));
            (*failed)++;
        }
        buf_printf(&all, "%.*s\n---\n%.*s===\n", STR_ARG(sql), STR_ARG(buf_str(&out)));
        (*ran)++;
        at = end + 5;
    }
    if (update) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(all.ptr, 1, all.len, f), all.len);
        fclose(f);
    }
    buf_deinit(&in);
    buf_deinit(&out);
    buf_deinit(&all);
}

static void test_case_files(void **state)
{
    (void)state;
    const char *root = getenv("TIDEMILL_SOURCE_DIR");
    char dir[2048];
    snprintf(dir, sizeof dir, "%s/test/unit/plan/cases", root != NULL ? root : ".");
    const struct catalog *c = fixture_catalog();
    uint32_t ran = 0;
    uint32_t failed = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        size_t len = strlen(e->d_name);
        if (len < 4 || strcmp(e->d_name + len - 4, ".txt") != 0)
            continue;
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        run_file(c, path, getenv("PLAN_CASES_UPDATE") != NULL, &ran, &failed);
    }
    closedir(d);
    catalog_unref(c);
    print_message("%u statements\n", ran);
    assert_true(ran > 100);
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_case_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
