/* A stable merge sort that can be done in pieces: between two of them others run. Pure; one thread.
 *
 *   begin --> run (a bounded number of moves) --> run --> ... true: the result is in order */
#ifndef TIDEMILL_BASE_MERGE_SORT_H
#define TIDEMILL_BASE_MERGE_SORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Fields are private. */
struct merge_sort {
    char *from, *to; /* runs of `width` items in order; where they are merged to */
    size_t n, size;
    size_t width, start, i, j, k; /* the pair of runs in work: next of each, next place */
    int (*compare)(const void *a, const void *b, void *arg);
    void *arg;
};

/* Sorts `n` items of `size` bytes; `spare` has room for as many. Both are the caller's, must stay
 * until the end, and hold nothing that can be used before. */
void merge_sort_begin(struct merge_sort *m, void *items, void *spare, size_t n, size_t size,
                      int (*compare)(const void *a, const void *b, void *arg), void *arg);
/* Moves at most `moves` items (n * log2(n) are needed in all). True when the items are in order. */
bool merge_sort_run(struct merge_sort *m, uint64_t moves);
/* The items in order: `items` or `spare`. Only after merge_sort_run has given true. */
void *merge_sort_result(const struct merge_sort *m);

#endif
