/* Entries of a row table in the order of their rows' bytes: a search tree whose links are in the
 * entries' owner bytes. The hash of a row is its priority (a treap), so that the depth is that of a
 * tree built in random order whoever sends the rows; it must be seeded. One thread. */
#ifndef TIDEMILL_STATE_ROW_TREE_H
#define TIDEMILL_STATE_ROW_TREE_H

#include "state/row_table.h"

struct row_tree_links {
    struct row_entry *left, *right, *up;
};
/* The table that the entries are of, and where their links are in the owner bytes. A tree is its
 * root; NULL is the empty one. */
struct row_tree {
    const struct row_table *table;
    uint32_t links_at;
};

/* Enters an entry of the table that is in no tree; no other one in this tree has its row. Cost: the
 * logarithm of their number. */
void row_tree_insert(const struct row_tree *t, struct row_entry **root, struct row_entry *e);
void row_tree_remove(const struct row_tree *t, struct row_entry **root, struct row_entry *e);
/* The least; the next one. NULL at the end. */
struct row_entry *row_tree_first(const struct row_tree *t, struct row_entry *root);
struct row_entry *row_tree_next(const struct row_tree *t, const struct row_entry *e);

#endif
