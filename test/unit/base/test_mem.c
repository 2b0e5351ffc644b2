/* base/mem and base/arena: accounting, injected failures, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/mem.h"

#include <stdbool.h>
#include <string.h>

static void used_bytes_go_up_and_down(void **state)
{
    (void)state;
    uint64_t before = mem_used();
    char *p = mem_alloc(1000);
    assert_non_null(p);
    assert_true(mem_used() >= before + 1000);
    p = mem_realloc(p, 100000);
    assert_non_null(p);
    assert_true(mem_used() >= before + 100000);
    mem_free(p);
    mem_free(NULL);
    assert_int_equal(mem_used(), before);
}

static void zalloc_zeroes_and_checks_overflow(void **state)
{
    (void)state;
    unsigned char *p = mem_zalloc(100, 3);
    assert_non_null(p);
    for (int i = 0; i < 300; i++)
        assert_int_equal(p[i], 0);
    mem_free(p);
    volatile size_t huge = SIZE_MAX / 2;
    assert_null(mem_zalloc(huge, 3));
}

static void nth_allocation_fails(void **state)
{
    (void)state;
    mem_fail_at(2, 0);
    void *first = mem_alloc(8);
    void *second = mem_zalloc(1, 8);
    void *third = mem_alloc(8);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    assert_int_equal(mem_fail_count(), 3);
    mem_fail_at(1, 1);
    assert_null(mem_realloc(first, 99));
    assert_null(mem_alloc(8));
    mem_fail_at(0, 0);
    first = mem_realloc(first, 99);
    assert_non_null(first);
    mem_free(first);
    mem_free(third);
}

static void arena_allocations_are_disjoint_and_aligned(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    static unsigned char *blocks[COUNT];
    struct arena a;
    arena_init(&a, 64 << 20);
    for (size_t i = 0; i < COUNT; i++) {
        size_t size = i * 7 % 3001;
        blocks[i] = arena_alloc(&a, size);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        memset(blocks[i], (int)(i & 0xff), size);
    }
    for (size_t i = 0; i < COUNT; i++)
        for (size_t j = 0; j < i * 7 % 3001; j++)
            assert_int_equal(blocks[i][j], i & 0xff);
    arena_deinit(&a);
}

static void arena_keeps_its_bound(void **state)
{
    (void)state;
    uint64_t before = mem_used();
    enum { MAX = 100000 };
    struct arena a;
    arena_init(&a, MAX);
    size_t got = 0;
    while (arena_alloc(&a, 1000) != NULL)
        got += 1000;
    assert_true(got > MAX * 9 / 10 && got <= MAX);
    assert_true(a.used_bytes <= MAX);
    assert_true(mem_used() - before <= MAX + 1024);
    /* What is kept for reuse counts as well, when a chunk of another size is needed. */
    arena_reset(&a, SIZE_MAX);
    assert_int_equal(a.used_bytes, 0);
    assert_non_null(arena_alloc(&a, MAX - 100));
    assert_true(mem_used() - before <= MAX + 1024);
    assert_null(arena_alloc(&a, MAX));
    volatile size_t huge = SIZE_MAX;
    assert_null(arena_alloc(&a, huge));
    assert_null(arena_zalloc(&a, SIZE_MAX / 2, 3));
    arena_deinit(&a);
    assert_int_equal(mem_used(), before);
}

static void arena_reset_reuses_chunks(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 24);
    for (int round = 0; round < 5; round++) {
        if (round == 4)
            mem_fail_at(0, 0);
        for (int i = 0; i < 1000; i++)
            assert_non_null(arena_alloc(&a, 500));
        arena_reset(&a, 1 << 24);
    }
    assert_int_equal(mem_fail_count(), 0);
    arena_reset(&a, 0);
    assert_null(a.spare);
    arena_deinit(&a);
}

static void arena_survives_failed_allocation(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    mem_fail_at(1, 1);
    assert_null(arena_alloc(&a, 10));
    assert_null(arena_str(&a, STR("abc")).ptr);
    assert_null(arena_printf(&a, "%d", 1).ptr);
    mem_fail_at(0, 0);
    assert_non_null(arena_alloc(&a, 0));
    arena_deinit(&a);
}

static void arena_strings(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 1 << 20);
    struct str s = arena_str(&a, STR("tide"));
    assert_string_equal(s.ptr, "tide");
    assert_int_equal(s.len, 4);
    struct str empty = arena_str(&a, (struct str){NULL, 0});
    assert_string_equal(empty.ptr, "");
    struct str f = arena_printf(&a, "%s-%05d", "mill", 42);
    assert_string_equal(f.ptr, "mill-00042");
    assert_int_equal(f.len, 10);
    unsigned *z = arena_zalloc(&a, 10, sizeof *z);
    assert_non_null(z);
    for (int i = 0; i < 10; i++)
        assert_int_equal(z[i], 0);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(used_bytes_go_up_and_down),
        cmocka_unit_test(zalloc_zeroes_and_checks_overflow),
        cmocka_unit_test(nth_allocation_fails),
        cmocka_unit_test(arena_allocations_are_disjoint_and_aligned),
        cmocka_unit_test(arena_keeps_its_bound),
        cmocka_unit_test(arena_reset_reuses_chunks),
        cmocka_unit_test(arena_survives_failed_allocation),
        cmocka_unit_test(arena_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
