/* labels: threads */
/* Bounds of the text, splitting, parameters, memory, threads. */
#include "fixture.h"

#include "base/mem.h"

#include <pthread.h>

static struct str repeat(const char *before, const char *part, size_t n, const char *after)
{
    size_t len = strlen(before) + strlen(part) * n + strlen(after);
    char *text = malloc(len + 1);
    assert_non_null(text);
    char *at = stpcpy(text, before);
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, part);
    stpcpy(at, after);
    return (struct str){text, len};
}

static enum err plan_err(const struct catalog *c, struct str sql, struct err_detail *why)
{
    struct plan *p = NULL;
    *why = (struct err_detail){0};
    enum err e = plan_statement(sql, c, NULL, 0, &p, why);
    plan_free(p);
    return e;
}

/* Every way to nest that the grammar has gives an error, whatever its depth, and a flat list of
 * any length does not. */
static void test_nesting(void **state)
{
    (void)state;
    static const struct { const char *before, *part, *after; } deep[] = {
        {"SELECT ", "(", "1"}, {"SELECT ", "- ", "1"}, {"SELECT ", "~ ", "1"},
        {"SELECT 1", "+1", ""}, {"SELECT 1", " + 1", ""}, {"SELECT 1", "::int", ""},
        {"SELECT ", "NOT ", "true"}, {"SELECT 1", " IS NULL", ""},
        {"SELECT ", "CASE WHEN true THEN ", "1"}, {"SELECT ", "CASE WHEN x.end THEN ", "1"},
        {"SELECT ", "f(a, ", "1"}, {"SELECT 1", " UNION SELECT 1, 2", ""},
        {"SELECT * FROM a", " JOIN b ON c AND d", ""}, {"SELECT ", "(SELECT ", "1"},
        {"SELECT * FROM ", "(SELECT * FROM ", "t"}, {"SELECT x", " COLLATE \"C\"", ""},
        {"SELECT 1", " BETWEEN 1 AND NOT 2", ""}, {"SELECT ", "ARRAY[", "1"},
        {"SELECT x", "[1", ""}, {"SELECT x", " AT TIME ZONE 'UTC'", ""},
        {"SELECT ", "E'\\'' || ", "1"}, {"SELECT E'a'\n", "'\\'' || E'a'\n", "''"},
        {"SELECT ", "$$'$$ || ", "1"}, {"SELECT ", "\"'\" || ", "1"},
        {"SELECT ", "/* ' /* */ */ - ", "1"}, {"SELECT ", "-- '\n +", "1"},
        {"SELECT ", "a$b$ || ", "1"}, {"SELECT ", "U&'\\' || ", "1"}, {"SELECT ", "$1 || ", "1"},
        {"SELECT ", "'a' || ", "1"}, {"SELECT 1", " ORDER BY 1 OFFSET (SELECT 1", ""},
    };
    struct err_detail why;
    const struct catalog *c = fixture_catalog();
    for (size_t i = 0; i < sizeof deep / sizeof deep[0]; i++) {
        size_t n = (SQL_BYTES_MAX - 100) / strlen(deep[i].part);
        struct str sql = repeat(deep[i].before, deep[i].part, n, deep[i].after);
        enum err e = plan_err(c, sql, &why);
        if (e != ERR_LIMIT)
            print_error("%s%s...: %s\n", deep[i].before, deep[i].part, why.text);
        assert_int_equal(e, ERR_LIMIT);
        assert_true(why.position > 0);
        union { const char *in; char *out; } text = {sql.ptr};
        free(text.out);
        /* At a tenth of the bound the parser decides. */
        sql = repeat(deep[i].before, deep[i].part, 20, deep[i].after);
        assert_int_not_equal(plan_err(c, sql, &why), ERR_LIMIT);
        text.in = sql.ptr;
        free(text.out);
    }
    catalog_unref(c);
}

static void test_long_and_flat(void **state)
{
    (void)state;
    static const struct { const char *before, *part, *after; } flat[] = {
        {"INSERT INTO sensors VALUES ('a', 1, '2024-01-01')", ", ('b', 2.5, '2024-01-01')", ""},
        {"SELECT * FROM sensors WHERE temp IN (1", ", 2", ")"},
        {"SELECT * FROM sensors WHERE temp > 1", " AND temp > 2", ""},
        {"SELECT * FROM sensors WHERE temp > 1", " OR temp > 2 AND sensor = 'a'", ""},
        {"SELECT CASE WHEN true THEN 1", " WHEN 1 + 1 = 2 THEN 2 * 3", " ELSE 0 END"},
    };
    struct err_detail why;
    const struct catalog *c = fixture_catalog();
    for (size_t i = 0; i < sizeof flat / sizeof flat[0]; i++) {
        struct str sql = repeat(flat[i].before, flat[i].part, 5000, flat[i].after);
        enum err e = plan_err(c, sql, &why);
        if (e != ERR_OK)
            print_error("%s%s...: %s\n", flat[i].before, flat[i].part, why.text);
        assert_int_equal(e, ERR_OK);
        union { const char *in; char *out; } text = {sql.ptr};
        free(text.out);
    }
    catalog_unref(c);
}

/* An expression that doubles at each level of the text is refused, not built. */
static void test_doubling(void **state)
{
    (void)state;
    struct err_detail why;
    const struct catalog *c = fixture_catalog();
    struct str sql = repeat("SELECT ", "(", 60, "");
    struct str tail = repeat("true", " BETWEEN false AND true)", 60, "");
    char *both = malloc(sql.len + tail.len + 1);
    assert_non_null(both);
    memcpy(both, sql.ptr, sql.len);
    memcpy(both + sql.len, tail.ptr, tail.len);
    assert_int_equal(plan_err(c, (struct str){both, sql.len + tail.len}, &why), ERR_LIMIT);
    free(both);
    union { const char *in; char *out; } text = {sql.ptr};
    free(text.out);
    text.in = tail.ptr;
    free(text.out);
    /* Nested subqueries are substituted up to a size, then computed once each. */
    char nested[8192] = "temp";
    char from[8192] = "sensors";
    for (int i = 0; i < 40; i++) {
        char next[8192];
        snprintf(next, sizeof next, "(SELECT x%d + x%d AS x%d FROM %.8000s) s", i, i, i + 1, from);
        if (i == 0)
            snprintf(next, sizeof next, "(SELECT temp AS x1 FROM sensors) s");
        memcpy(from, next, sizeof from);
    }
    snprintf(nested, sizeof nested, "SELECT x40 FROM %.8000s", from);
    enum err e = plan_err(c, str_of(nested), &why);
    if (e != ERR_OK)
        print_error("%s\n", why.text);
    assert_int_equal(e, ERR_OK);
    catalog_unref(c);
}

static void test_bytes(void **state)
{
    (void)state;
    struct err_detail why;
    const struct catalog *c = fixture_catalog();
    struct str sql = repeat("SELECT '", "x", SQL_BYTES_MAX, "'");
    assert_int_equal(plan_err(c, sql, &why), ERR_TOO_LARGE);
    union { const char *in; char *out; } text = {sql.ptr};
    free(text.out);
    assert_int_equal(plan_err(c, STR("SELECT '\xff'"), &why), ERR_ENCODING);
    assert_int_equal(plan_err(c, STR("SELECT 1\0 + 1"), &why), ERR_SYNTAX);
    assert_int_equal(plan_err(c, STR(""), &why), ERR_OK);
    assert_int_equal(plan_err(c, STR(" -- nothing\n;"), &why), ERR_OK);
    assert_int_equal(plan_err(c, STR("SELECT 'unfinished"), &why), ERR_SYNTAX);
    assert_int_equal(plan_err(c, STR("SELECT /* unfinished"), &why), ERR_SYNTAX);
    assert_int_equal(plan_err(c, STR("SELECT $x$unfinished$y$"), &why), ERR_SYNTAX);
    catalog_unref(c);
}

static void assert_split(const char *sql, const char *const *expected, uint32_t n)
{
    struct arena a;
    struct str *s = NULL;
    uint32_t count = 77;
    struct err_detail why = {0};
    arena_init(&a, 1 << 20);
    assert_int_equal(sql_split(str_of(sql), &a, &s, &count, &why), ERR_OK);
    assert_int_equal(count, n);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(s[i].len, strlen(expected[i]));
        assert_memory_equal(s[i].ptr, expected[i], s[i].len);
    }
    arena_deinit(&a);
}

static void test_split(void **state)
{
    (void)state;
    assert_split("", NULL, 0);
    assert_split(" ; ;; ", NULL, 0);
    assert_split("SELECT 1", (const char *const[]){"SELECT 1"}, 1);
    assert_split(" SELECT 1 ; ", (const char *const[]){"SELECT 1"}, 1);
    assert_split("SELECT ';' ; BEGIN;\n SELECT $$;$$ -- ;\n",
                 (const char *const[]){"SELECT ';'", "BEGIN", "SELECT $$;$$ --"}, 3);
    struct arena a;
    struct str *s = NULL;
    uint32_t n;
    struct err_detail why = {0};
    arena_init(&a, 1 << 20);
    assert_int_equal(sql_split(STR("SELECT 1; SELEC 2"), &a, &s, &n, &why), ERR_SYNTAX);
    assert_int_equal(why.position, 11);
    struct str many = repeat("", "SELECT 1;", STATEMENTS_MAX + 1, "");
    assert_int_equal(sql_split(many, &a, &s, &n, &why), ERR_LIMIT);
    union { const char *in; char *out; } text = {many.ptr};
    free(text.out);
    arena_deinit(&a);
}

static void test_bind(void **state)
{
    (void)state;
    const struct catalog *c = fixture_catalog();
    struct plan *p = NULL;
    const struct plan *bound = NULL;
    struct err_detail why = {0};
    struct arena a;
    struct buf out;
    arena_init(&a, 1 << 20);
    buf_init(&out, 1 << 16);
    enum type hints[] = {TYPE_UNKNOWN, TYPE_INT4, TYPE_INT4};
    struct str sql = STR("SELECT sensor FROM sensors WHERE temp > $1 LIMIT $2 OFFSET $3 + 1");
    assert_int_equal(plan_statement(sql, c, hints, 3, &p, &why), ERR_OK);
    assert_int_equal(p->n_params, 3);
    assert_int_equal(p->params[0], TYPE_FLOAT8);
    assert_int_equal(p->params[1], TYPE_INT4);
    struct value v[3] = {{.type = TYPE_FLOAT8, .as.f8 = 1.5}, {.type = TYPE_INT4, .as.i4 = 10},
                         {.type = TYPE_INT4, .as.i4 = 4}};
    assert_int_equal(plan_bind(p, v, 3, &a, &bound, &why), ERR_OK);
    assert_int_equal(bound->n_params, 0);
    assert_int_equal(plan_print(bound->root, &out), ERR_OK);
    buf_put_u8(&out, 0);
    assert_string_equal(out.ptr, "Limit: 10 offset 5\n  Project: sensor\n    Filter: temp > 1.5\n"
                                 "      Scan: sensors (sensor, temp)\n");
    v[1].as.i4 = -1;
    assert_int_equal(plan_bind(p, v, 3, &a, &bound, &why), ERR_INVALID_PARAMETER);
    v[1] = (struct value){.type = TYPE_INT4, .null = true};
    assert_int_equal(plan_bind(p, v, 3, &a, &bound, &why), ERR_OK);
    assert_null(bound->root->limit);
    assert_int_equal(plan_bind(p, v, 2, &a, &bound, &why), ERR_MALFORMED);
    v[0] = (struct value){.type = TYPE_TEXT, .as.s = STR("x")};
    assert_int_equal(plan_bind(p, v, 3, &a, &bound, &why), ERR_TYPE_MISMATCH);
    plan_free(p);
    buf_deinit(&out);
    arena_deinit(&a);
    catalog_unref(c);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static const char *const sql[] = {
        ("SELECT sensor, sum(temp) FROM sensors WHERE temp > $1 GROUP BY 1 HAVING count(*) > 2 "
         "ORDER BY 2 DESC LIMIT 3"),
        "INSERT INTO sensors VALUES ('a', 1, '2024-01-01'), ('b', NULL, '2024-01-02')",
        "EXPLAIN SELECT DISTINCT sensor FROM sensors", "SHOW ALL", "SELECT nope FROM sensors",
        "COPY (SELECT * FROM avg_temp) TO STDOUT WITH (follow true, null 'x')",
        ("WITH x (a) AS (SELECT id FROM orders UNION SELECT 1) SELECT a, (SELECT count(*) FROM "
         "orders i WHERE i.id < x.a) FROM x FULL JOIN sensors s ON s.temp = x.a WHERE NOT EXISTS "
         "(SELECT 1 FROM orders k WHERE k.note = s.sensor) AND x.a NOT IN (SELECT qty FROM orders "
         "EXCEPT SELECT 2) ORDER BY a LIMIT 1"),
        ("SELECT DISTINCT ON (1) sensor, sum(sum(temp)) OVER (w RANGE '1 day' PRECEDING), "
         "GROUPING(ts), (SELECT max(k.id) FROM orders k WHERE k.note = sensor), lag(sensor, 1) "
         "OVER (PARTITION BY sensor || 'y' ORDER BY ts) FROM sensors GROUP BY sensor, CUBE (ts) "
         "WINDOW w AS (ORDER BY ts) ORDER BY 1 FETCH FIRST 2 ROWS WITH TIES")};
    const struct catalog *c = fixture_catalog();
    for (size_t i = 0; i < sizeof sql / sizeof sql[0]; i++) {
        for (uint64_t n = 1;; n++) {
            struct err_detail why = {0};
            struct plan *p = NULL;
            uint64_t before = mem_used();
            mem_fail_at(n, 1);
            enum err e = plan_statement(str_of(sql[i]), c, NULL, 0, &p, &why);
            uint64_t asked = mem_fail_count();
            mem_fail_at(0, 0);
            bool expected = e == ERR_OK || e == ERR_NO_MEMORY ||
                            (asked < n && e == ERR_UNDEFINED_COLUMN);
            if (!expected)
                print_error("%s: allocation %llu: %s\n", sql[i], (unsigned long long)n, why.text);
            assert_true(expected);
            plan_free(p);
            assert_int_equal(mem_used(), before);
            if (asked < n)
                break;
        }
    }
    catalog_unref(c);
}

enum { THREADS = 4, ROUNDS = 200 };

static void *plan_many(void *arg)
{
    const struct catalog *c = arg;
    for (int i = 0; i < ROUNDS; i++) {
        struct plan *p = NULL;
        struct err_detail why = {0};
        enum err e = plan_statement(i % 2 == 0 ? STR("SELECT sensor, avg(temp) FROM sensors GROUP "
                                                     "BY sensor")
                                               : STR("SELECT nope + FROM sensors"),
                                    c, NULL, 0, &p, &why);
        if (e != (i % 2 == 0 ? ERR_OK : ERR_SYNTAX))
            return (void *)(uintptr_t)1;
        plan_free(p);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    const struct catalog *c = fixture_catalog();
    pthread_t threads[THREADS];
    union { const struct catalog *in; void *out; } arg = {c};
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, plan_many, arg.out), 0);
    for (int i = 0; i < THREADS; i++) {
        void *result = NULL;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_null(result);
    }
    catalog_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nesting), cmocka_unit_test(test_long_and_flat),
        cmocka_unit_test(test_doubling), cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_split), cmocka_unit_test(test_bind),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
