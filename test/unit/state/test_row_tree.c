/* Entries in the order of their rows, against a sorted list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/hash.h"
#include "state/row_tree.h"

enum { ROWS = 2000 };

static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

struct kept {
    char text[12];
    struct row_entry *entry;
};

static int kept_compare(const void *a, const void *b)
{
    return strcmp(((const struct kept *)a)->text, ((const struct kept *)b)->text);
}

static void check(const struct row_tree *t, struct row_entry *root, struct kept *list, uint32_t n)
{
    const struct row_entry *e = row_tree_first(t, root);
    qsort(list, n, sizeof(*list), kept_compare);
    for (uint32_t i = 0; i < n; i++, e = row_tree_next(t, e))
        assert_ptr_equal(e, list[i].entry);
    assert_null(e);
}

static void tree_equals_a_sorted_list(void **state)
{
    (void)state;
    static struct kept list[ROWS];
    for (uint32_t round = 0; round < 6; round++) {
        struct row_table *table;
        struct row_entry *root = NULL;
        uint32_t n = 0;
        rng_state = round;
        assert_int_equal(row_table_new(sizeof(struct row_tree_links) + 8, 64 << 20, &table),
                         ERR_OK);
        const struct row_tree t = {.table = table, .links_at = 8};
        for (uint32_t step = 0; step < 6000; step++) {
            struct row_entry *e;
            bool created;
            if (n == ROWS || rng(5) < 2) {
                uint32_t at = n == 0 ? 0 : rng(n);
                if (n == 0)
                    continue;
                row_tree_remove(&t, &root, list[at].entry);
                row_table_remove(table, list[at].entry);
                list[at] = list[--n];
                continue;
            }
            /* in order, in reverse, or in none; with hashes that are few */
            uint32_t number = round % 3 == 0 ? rng(1000000) : round % 3 == 1 ? step : 999999 - step;
            snprintf(list[n].text, sizeof(list[n].text), "%07u", number);
            uint32_t hash = (uint32_t)hash_u64(number);
            struct str row = str_of(list[n].text);
            assert_int_equal(row_table_add(table, 1, STR("k"), row, round < 3 ? hash : hash & 7, 1,
                                           &e, &created),
                             ERR_OK);
            if (!created)
                continue;
            row_tree_insert(&t, &root, e);
            list[n++].entry = e;
            if (step % 500 == 0)
                check(&t, root, list, n);
        }
        check(&t, root, list, n);
        while (n > 0)
            row_tree_remove(&t, &root, list[--n].entry);
        assert_null(root);
        row_table_free(table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree_equals_a_sorted_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
