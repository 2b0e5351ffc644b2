#include "base/merge_sort.h"

#include "base/check.h"

#include <string.h>

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void pair_begin(struct merge_sort *m, size_t start)
{
    m->start = m->i = m->k = start;
    m->j = least(start + m->width, m->n);
}

void merge_sort_begin(struct merge_sort *m, void *items, void *spare, size_t n, size_t size,
                      int (*compare)(const void *a, const void *b, void *arg), void *arg)
{
    CHECK(n <= SIZE_MAX / 4);
    *m = (struct merge_sort){.from = items,
                             .to = spare,
                             .n = n,
                             .size = size,
                             .width = 1,
                             .compare = compare,
                             .arg = arg};
    pair_begin(m, 0);
}

/* Merges on in the pair of runs in work, and tells how many items it moved. */
static uint64_t merge(struct merge_sort *m, uint64_t moves)
{
    size_t mid = least(m->start + m->width, m->n), end = least(mid + m->width, m->n);
    uint64_t done = 0;
    for (; m->k < end && done < moves; m->k++, done++) {
        const char *left = m->from + m->i * m->size, *right = m->from + m->j * m->size;
        bool take_left = m->j == end || (m->i < mid && m->compare(left, right, m->arg) <= 0);
        memcpy(m->to + m->k * m->size, take_left ? left : right, m->size);
        if (take_left)
            m->i++;
        else
            m->j++;
    }
    return done;
}

bool merge_sort_run(struct merge_sort *m, uint64_t moves)
{
    while (m->width < m->n) {
        if (moves == 0)
            return false;
        moves -= merge(m, moves);
        if (m->k < least(m->start + 2 * m->width, m->n))
            continue;
        if (m->k < m->n) {
            pair_begin(m, m->k);
            continue;
        }
        char *t = m->from;
        m->from = m->to;
        m->to = t;
        m->width *= 2;
        pair_begin(m, 0);
    }
    return true;
}

void *merge_sort_result(const struct merge_sort *m)
{
    CHECK(m->width >= m->n);
    return m->from;
}
