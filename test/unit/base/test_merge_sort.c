/* base/merge_sort: order, stability, and bounded pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/merge_sort.h"

enum { N_MAX = 1000 };

struct item {
    uint32_t key, place;
};

static uint64_t n_compared;

static int compare(const void *a, const void *b, void *arg)
{
    const struct item *x = a, *y = b;
    (void)arg;
    n_compared++;
    return (x->key > y->key) - (x->key < y->key);
}

static void check(uint32_t n, uint32_t keys, uint64_t moves)
{
    struct item items[N_MAX], spare[N_MAX];
    struct merge_sort m;
    uint64_t rng = n * 7919 + keys, calls = 0, log2n = 0;
    for (uint32_t i = 0; i < n; i++) {
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        items[i] = (struct item){(uint32_t)(rng >> 33) % keys, i};
    }
    while (1u << log2n < n)
        log2n++;
    merge_sort_begin(&m, items, spare, n, sizeof(struct item), compare, NULL);
    for (bool done = false; !done; calls++) {
        n_compared = 0;
        done = merge_sort_run(&m, moves);
        assert_true(n_compared <= moves);
    }
    assert_true(calls <= n * log2n / moves + 1);
    const struct item *sorted = merge_sort_result(&m);
    assert_true(sorted == items || sorted == spare);
    for (uint32_t i = 1; i < n; i++)
        assert_true(sorted[i - 1].key < sorted[i].key ||
                    (sorted[i - 1].key == sorted[i].key && sorted[i - 1].place < sorted[i].place));
}

static void any_number_of_items_in_any_pieces(void **state)
{
    (void)state;
    static const uint64_t moves[] = {1, 7, 64, UINT64_MAX};
    for (uint32_t n = 0; n <= N_MAX; n += n < 70 ? 1 : 93)
        for (size_t i = 0; i < sizeof(moves) / sizeof(*moves); i++) {
            check(n, 1, moves[i]);
            check(n, 10, moves[i]);
            check(n, 1u << 31, moves[i]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_number_of_items_in_any_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
