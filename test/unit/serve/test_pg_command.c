/* serve/pg_command: the commands without a plan, and that everything else is left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "serve/pg_int.h"

static struct arena arena;
static struct err_detail why;

static enum err parse(const char *sql, struct pg_command *out)
{
    why = (struct err_detail){0};
    return pg_command_parse(str_of(sql), &arena, out, &why);
}

static void expect(const char *sql, enum pg_verb verb, const char *name, uint64_t count)
{
    struct pg_command c;
    assert_int_equal(parse(sql, &c), ERR_OK);
    assert_int_equal(c.verb, verb);
    assert_true(str_eq(c.name, str_of(name)));
    assert_int_equal(c.count, count);
}

static void test_left_alone(void **state)
{
    (void)state;
    static const char *const plans[] = {"select 1",         "fetched",
                                        "declared x",       "discard plans",
                                        "\"fetch\" x",      "insert into t values (1)",
                                        "(select 'close')", "-- close x\nselect 1"};
    for (size_t i = 0; i < sizeof plans / sizeof plans[0]; i++) {
        expect(plans[i], PG_VERB_PLAN, "", 0);
    }
    expect("", PG_VERB_EMPTY, "", 0);
    expect(" /* a /* b */ c */ -- d", PG_VERB_EMPTY, "", 0);
    expect(";", PG_VERB_EMPTY, "", 0);
}

static void test_fetch(void **state)
{
    (void)state;
    expect("FETCH c", PG_VERB_FETCH, "c", 1);
    expect("fetch next from C", PG_VERB_FETCH, "c", 1);
    expect("FETCH FORWARD 100 FROM \"A \"\"b\"", PG_VERB_FETCH, "A \"b", 100);
    expect("FETCH 7 IN c;", PG_VERB_FETCH, "c", 7);
    expect("FETCH ALL FROM c", PG_VERB_FETCH, "c", UINT64_MAX);
    expect("fetch forward all c", PG_VERB_FETCH, "c", UINT64_MAX);
    expect("MOVE 3 FROM c", PG_VERB_MOVE, "c", 3);
    struct pg_command c;
    assert_int_equal(parse("FETCH BACKWARD 1 FROM c", &c), ERR_UNSUPPORTED);
    assert_int_equal(parse("FETCH 99999999999999999999 FROM c", &c), ERR_SYNTAX);
    assert_int_equal(parse("FETCH 1 FROM", &c), ERR_SYNTAX);
    assert_string_equal(why.text, "syntax error at end of input");
    assert_int_equal(parse("FETCH 1 FROM \xc3\xa4 +", &c), ERR_SYNTAX);
    assert_string_equal(why.text, "syntax error at or near \"+\"");
    assert_int_equal(why.position, 16);
}

static void test_declare(void **state)
{
    (void)state;
    struct pg_command c;
    assert_int_equal(parse("DECLARE \"n\" CURSOR WITHOUT HOLD FOR SELECT 1", &c), ERR_OK);
    assert_int_equal(c.verb, PG_VERB_DECLARE);
    assert_false(c.hold);
    assert_true(str_eq(c.query, STR(" SELECT 1")));
    assert_int_equal(parse("declare n no scroll cursor with hold for\nselect 2", &c), ERR_OK);
    assert_true(c.hold);
    assert_true(str_eq(c.query, STR("\nselect 2")));
    assert_int_equal(parse("DECLARE n SCROLL CURSOR FOR SELECT 1", &c), ERR_UNSUPPORTED);
    assert_int_equal(parse("DECLARE n CURSOR SELECT 1", &c), ERR_SYNTAX);
    assert_int_equal(why.position, 18);
    assert_int_equal(parse("DECLARE n", &c), ERR_SYNTAX);
}

static void test_others(void **state)
{
    (void)state;
    expect("CLOSE c", PG_VERB_CLOSE, "c", 0);
    expect("CLOSE ALL", PG_VERB_CLOSE, "", 0);
    expect("DEALLOCATE PREPARE \"S\"", PG_VERB_DEALLOCATE, "S", 0);
    expect("DEALLOCATE ALL", PG_VERB_DEALLOCATE, "", 0);
    expect("DISCARD ALL", PG_VERB_DISCARD_ALL, "", 0);
    struct pg_command c;
    assert_int_equal(parse("CLOSE", &c), ERR_SYNTAX);
    assert_int_equal(parse("DEALLOCATE a b", &c), ERR_SYNTAX);
}

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 1 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_deinit(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_left_alone),
        cmocka_unit_test(test_fetch),
        cmocka_unit_test(test_declare),
        cmocka_unit_test(test_others),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
