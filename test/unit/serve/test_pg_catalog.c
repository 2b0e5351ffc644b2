/* serve/pg_catalog: psql's queries (as psql 15 sends them) against a catalog made by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "serve/pg_catalog.h"

static const struct column_def columns[] = {
    {.name = {"sensor", 6}, .type = TYPE_TEXT, .typmod = -1},
    {.name = {"price", 5}, .type = TYPE_NUMERIC, .typmod = (10 << 16 | 2) + 4},
    {.name = {"ts", 2}, .type = TYPE_TIMESTAMPTZ, .typmod = -1, .not_null = true},
};
static const struct view view = {.sql = {"CREATE MATERIALIZED VIEW ...", 28}};
static const struct relation hot = {.name = {"hot", 3},
                                    .number = 7,
                                    .kind = REL_VIEW,
                                    .n_columns = 1,
                                    .columns = columns,
                                    .view = &view};
static const struct relation sensors = {
    .name = {"sensors", 7}, .number = 3, .kind = REL_TABLE, .n_columns = 3, .columns = columns};
static const struct relation tables = {
    .name = {"sys.tables", 10}, .kind = REL_SYSTEM, .n_columns = 1, .columns = columns};
static const struct relation *const relations[] = {&hot, &sensors, &tables};
static const struct catalog catalog = {.version = 1, .n_relations = 3, .relations = relations};

/* The answer as "column,column|cell,cell|..." with ~ for NULL; "-" when it is not recognised. */
static void answer(const char *sql, struct buf *out)
{
    struct arena a;
    struct plan *p = NULL;
    struct err_detail why;
    buf_init(out, 65536);
    arena_init(&a, 1 << 20);
    assert_int_equal(pg_catalog_plan(str_of(sql), &catalog, &a, &p, &why), ERR_OK);
    if (p == NULL) {
        buf_put_u8(out, '-');
    }
    for (uint32_t i = 0; p != NULL && i < p->root->n_columns; i++) {
        buf_printf(out, "%s%.*s", i > 0 ? "," : "", STR_ARG(p->root->columns[i].name));
    }
    for (uint32_t i = 0; p != NULL && i < p->root->n_exprs; i++) {
        const struct value *v = &p->root->exprs[i]->value;
        buf_put_u8(out, i % p->root->n_columns == 0 ? '|' : ',');
        if (v->null) {
            buf_put_u8(out, '~');
        } else {
            value_print(v, out);
        }
    }
    buf_put_u8(out, 0);
    assert_false(out->failed);
    arena_deinit(&a);
}

static void expect(const char *sql, const char *expected)
{
    struct buf out;
    answer(sql, &out);
    assert_string_equal(out.ptr, expected);
    buf_deinit(&out);
}

#define LIST_HEAD                                                                                \
    "SELECT n.nspname as \"Schema\",\n  c.relname as \"Name\",\n  CASE c.relkind WHEN 'r' THEN " \
    "'table' END as \"Type\",\n  pg_catalog.pg_get_userbyid(c.relowner) as \"Owner\"\nFROM "     \
    "pg_catalog.pg_class c\n"

static void test_lists(void **state)
{
    (void)state;
    expect(LIST_HEAD "WHERE c.relkind IN ('r','p','v','m','S','f','')\n",
           "Schema,Name,Type,Owner|public,hot,materialized view,tidemill|"
           "public,sensors,table,tidemill");
    expect(LIST_HEAD "WHERE c.relkind IN ('m','')\n",
           "Schema,Name,Type,Owner|public,hot,materialized view,tidemill");
    expect(LIST_HEAD "WHERE c.relkind IN ('r','')\n  AND c.relname OPERATOR(pg_catalog.~) "
                     "'^(s.*rs)$' COLLATE pg_catalog.default",
           "Schema,Name,Type,Owner|public,sensors,table,tidemill");
    expect(LIST_HEAD "WHERE c.relkind IN ('r','')\n  AND c.relname OPERATOR(pg_catalog.~) "
                     "'^(s.*x)$' COLLATE pg_catalog.default",
           "Schema,Name,Type,Owner");
    expect(LIST_HEAD "WHERE c.relkind IN ('v','')\n  AND c.relname OPERATOR(pg_catalog.~) "
                     "'^(.*)$'\n AND n.nspname OPERATOR(pg_catalog.~) '^(sys)$'",
           "Schema,Name,Type,Owner|sys,tables,view,tidemill");
}

static void test_describe(void **state)
{
    (void)state;
    expect("SELECT c.oid,\n  n.nspname,\n  c.relname\nFROM pg_catalog.pg_class c\nWHERE c.relname "
           "OPERATOR(pg_catalog.~) '^(sensors)$'\nORDER BY 2, 3;",
           "oid,nspname,relname|16387,public,sensors");
    expect("SELECT a.attname,\n  pg_catalog.format_type(a.atttypid, a.atttypmod),\n  a.attnotnull\n"
           "FROM pg_catalog.pg_attribute a\nWHERE a.attrelid = '16387' AND a.attnum > 0",
           "attname,format_type,attnotnull|sensor,text,f|price,numeric(10,2),f|"
           "ts,timestamp with time zone,t");
    expect("SELECT a.attname,\n  a.attnotnull FROM pg_catalog.pg_attribute a\n"
           "WHERE a.attrelid = '99999' AND a.attnum > 0",
           "attname,attnotnull");
    expect("SELECT a.attname,\n  a.attnotnull FROM pg_catalog.pg_attribute a\n"
           "WHERE a.attrelid = '16387",
           "attname,attnotnull|sensor,f|price,f|ts,t");
    expect("SELECT pg_catalog.pg_get_viewdef('16391'::pg_catalog.oid, true);",
           "pg_get_viewdef|CREATE MATERIALIZED VIEW ...");
}

static void test_gdesc(void **state)
{
    (void)state;
#define GDESC \
    "SELECT name AS \"Column\", pg_catalog.format_type(tp, tpm) AS \"Type\"\nFROM (VALUES "
    expect(GDESC "('a''b', '25'::pg_catalog.oid, -1),('n', '1700'::pg_catalog.oid, 655366)) s(n)",
           "Column,Type|a'b,text|n,numeric(10,2)");
    expect(GDESC "('a', '25'::pg_catalog.oid, -1),('n', '17", "Column,Type|a,text");
    expect(GDESC "('", "Column,Type");
    expect(GDESC, "Column,Type");
}

static void test_constants(void **state)
{
    (void)state;
    expect("select version()", "version|PostgreSQL 15.0 (Tidemill)");
    expect(" SELECT pg_catalog.current_schema() ; ", "current_schema|public");
    expect("select 1", "-");
    expect("select version(1)", "-");
    expect("", "-");
    expect("SELECT * FROM pg_class", "-");
}

/* Every allocation may fail: an error, and nothing else. */
static void test_out_of_memory(void **state)
{
    (void)state;
    const char *sql = LIST_HEAD "WHERE c.relkind IN ('r','m','')\n";
    for (size_t max = 0; max < 16384; max += 256) {
        struct arena a;
        struct plan *p = NULL;
        struct err_detail why;
        arena_init(&a, max);
        enum err e = pg_catalog_plan(str_of(sql), &catalog, &a, &p, &why);
        assert_true(e == ERR_OK ? p != NULL : p == NULL && e == ERR_NO_MEMORY);
        arena_deinit(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),         cmocka_unit_test(test_describe),
        cmocka_unit_test(test_gdesc),         cmocka_unit_test(test_constants),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
