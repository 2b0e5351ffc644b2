/* TPC-H's queries (test/tpch): each is planned, no subquery is left in it, and no two relations
 * meet without a key. */
#include "fixture.h"

enum { FILE_BYTES_MAX = 1 << 16 };

static struct str read_file(const char *name, struct buf *out)
{
    const char *root = getenv("TIDEMILL_SOURCE_DIR");
    char path[4096];
    char block[4096];
    size_t n;
    snprintf(path, sizeof path, "%s/test/tpch/%s.sql", root != NULL ? root : ".", name);
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        print_error("%s is missing\n", path);
    assert_non_null(f);
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_put(out, block, n);
    fclose(f);
    assert_false(out->failed);
    return buf_str(out);
}

static const struct catalog *tpch_catalog(void)
{
    const struct catalog *c = catalog_new();
    struct err_detail why = {0};
    struct arena a;
    struct buf text;
    struct str *statements = NULL;
    uint32_t n = 0;
    assert_non_null(c);
    arena_init(&a, 1 << 20);
    buf_init(&text, FILE_BYTES_MAX);
    assert_int_equal(sql_split(read_file("schema", &text), &a, &statements, &n, &why), ERR_OK);
    assert_int_equal(n, 8);
    for (uint32_t i = 0; i < n; i++) {
        struct str z = arena_str(&a, statements[i]);
        enum err e = fixture_sql(&c, z.ptr, &why);
        if (e != ERR_OK)
            print_error("%s: %s\n", z.ptr, why.text);
        assert_int_equal(e, ERR_OK);
    }
    buf_deinit(&text);
    arena_deinit(&a);
    return c;
}

/* A line "Join: inner" has no keys: then what it joins is one row, an aggregate without keys. */
static void check_joins(struct str plan, const char *name)
{
    char *text = strndup(plan.ptr, plan.len);
    bool cross = false;
    assert_non_null(text);
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        const char *join = strstr(line, "Join: inner");
        assert_null(strstr(line, "Apply:"));
        assert_null(strstr(line, "outer"));
        if (join != NULL && strstr(join, " on ") == NULL)
            cross = true;
        /* Of the 22 queries only these compare with one value for all rows. */
        bool one_value = strcmp(name, "q11") == 0 || strcmp(name, "q22") == 0;
        if (cross && !one_value)
            print_error("%s: %s\n", name, line);
        assert_true(!cross || one_value);
    }
    free(text);
}

static void test_queries(void **state)
{
    (void)state;
    const struct catalog *c = tpch_catalog();
    for (int i = 1; i <= 22; i++) {
        char name[16];
        struct buf text;
        struct buf sql;
        struct plan *p = NULL;
        struct err_detail why = {0};
        snprintf(name, sizeof name, "q%02d", i);
        buf_init(&text, FILE_BYTES_MAX);
        buf_init(&sql, FILE_BYTES_MAX);
        struct str query = read_file(name, &text);
        buf_printf(&sql, "EXPLAIN %.*s", STR_ARG(query));
        enum err e = plan_statement(buf_str(&sql), c, NULL, 0, &p, &why);
        if (e != ERR_OK)
            print_error("%s at %d: %s\n", name, why.position, why.text);
        assert_int_equal(e, ERR_OK);
        if (getenv("TPCH_PRINT") != NULL)
            print_message("%s\n%.*s\n", name, STR_ARG(p->text));
        check_joins(p->text, name);
        plan_free(p);
        buf_deinit(&sql);
        buf_deinit(&text);
    }
    catalog_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_queries)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
