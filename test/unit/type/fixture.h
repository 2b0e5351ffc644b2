/* Values from their text, in an arena that lives as long as a test. */
#ifndef TIDEMILL_TEST_TYPE_FIXTURE_H
#define TIDEMILL_TEST_TYPE_FIXTURE_H

#include "base/arena.h"
#include "type/type.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

enum { ARENA_MAX = 256 << 20 };
static struct arena arena;

static inline int setup(void **state)
{
    (void)state;
    arena_init(&arena, ARENA_MAX);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    arena_deinit(&arena);
    return 0;
}

static inline struct value parse(enum type t, const char *text)
{
    struct value v;
    struct err_detail why = {0};
    if (value_parse(t, str_of(text), &arena, &v, &why) != ERR_OK)
        fail_msg("%s '%s': %s", type_info(t)->name, text, why.text);
    return v;
}

#endif
