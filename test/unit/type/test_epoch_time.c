/* Numbers since 1970 as times: units, fractions, and what no timestamp can hold. */
#include "type/epoch_time.h"

#include "base/arena.h"
#include "type/datetime.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static bool time_of(struct value v, enum time_unit unit, int64_t *us)
{
    struct arena a;
    struct column c;
    arena_init(&a, 1 << 20);
    assert_true(column_init(&c, v.type, 1, true, &a));
    column_set(&c, 0, &v);
    bool known = epoch_time_us(&c, 0, unit, us);
    arena_deinit(&a);
    return known;
}

static void is(struct value v, enum time_unit unit, int64_t expected)
{
    int64_t us = 0;
    assert_true(time_of(v, unit, &us));
    assert_int_equal(us, expected);
}

static void is_none(struct value v, enum time_unit unit)
{
    int64_t us;
    assert_false(time_of(v, unit, &us));
}

static struct value i8(int64_t v)
{
    return (struct value){.type = TYPE_INT8, .as.i8 = v};
}
static struct value f8(double v)
{
    return (struct value){.type = TYPE_FLOAT8, .as.f8 = v};
}

static void units(void **state)
{
    (void)state;
    is(i8(1767225600), TIME_UNIT_S, INT64_C(1767225600000000));
    is(i8(1767225600123), TIME_UNIT_MS, INT64_C(1767225600123000));
    is(i8(1767225600123456), TIME_UNIT_US, INT64_C(1767225600123456));
    is(i8(1767225600123456789), TIME_UNIT_NS, INT64_C(1767225600123456));
    is(i8(-1), TIME_UNIT_NS, -1);
    is(i8(-1000), TIME_UNIT_NS, -1);
    is(i8(-1001), TIME_UNIT_NS, -2);
    is((struct value){.type = TYPE_INT4, .as.i4 = -5}, TIME_UNIT_S, -5000000);
    is(f8(1.5), TIME_UNIT_S, 1500000);
    is(f8(-0.0000005), TIME_UNIT_S, -1);
    is(f8(2500), TIME_UNIT_NS, 2);
    is((struct value){.type = TYPE_TIMESTAMPTZ, .as.i8 = 7}, TIME_UNIT_NONE, 7);
}

static void what_is_no_time(void **state)
{
    (void)state;
    is_none(i8(INT64_MAX), TIME_UNIT_S);
    is_none(i8(INT64_MIN), TIME_UNIT_MS);
    is_none(i8(TIMESTAMP_US_MAX + 1), TIME_UNIT_US);
    is_none(i8(TIMESTAMP_US_MIN - 1), TIME_UNIT_US);
    is(i8(TIMESTAMP_US_MAX), TIME_UNIT_US, TIMESTAMP_US_MAX);
    is_none(f8((double)NAN), TIME_UNIT_S);
    is_none(f8((double)INFINITY), TIME_UNIT_S);
    is_none(f8(-1e300), TIME_UNIT_NS);
    assert_true(epoch_time_type(TYPE_INT4) && epoch_time_type(TYPE_FLOAT8));
    assert_false(epoch_time_type(TYPE_TEXT) || epoch_time_type(TYPE_NUMERIC));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units),
        cmocka_unit_test(what_is_no_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
