#include "state/row_tree.h"

static struct row_tree_links *links(const struct row_tree *t, const struct row_entry *e)
{
    return (struct row_tree_links *)(void *)((char *)row_entry_owner(e) + t->links_at);
}

static struct str row_of(const struct row_tree *t, const struct row_entry *e)
{
    return (struct str){row_entry_row(t->table, e), e->row_bytes};
}

/* Puts `with` in the place of `e` below e's parent. */
static void replace(const struct row_tree *t, struct row_entry **root, const struct row_entry *e,
                    struct row_entry *with)
{
    struct row_entry *up = links(t, e)->up;
    if (up == NULL)
        *root = with;
    else if (links(t, up)->left == e)
        links(t, up)->left = with;
    else
        links(t, up)->right = with;
    if (with != NULL)
        links(t, with)->up = up;
}

/* Moves `e` above its parent; the order stays. */
static void rotate_up(const struct row_tree *t, struct row_entry **root, struct row_entry *e)
{
    struct row_entry *up = links(t, e)->up;
    struct row_tree_links *own = links(t, e), *above = links(t, up);
    replace(t, root, up, e);
    if (above->left == e) {
        above->left = own->right;
        if (own->right != NULL)
            links(t, own->right)->up = up;
        own->right = up;
    } else {
        above->right = own->left;
        if (own->left != NULL)
            links(t, own->left)->up = up;
        own->left = up;
    }
    above->up = e;
}

void row_tree_insert(const struct row_tree *t, struct row_entry **root, struct row_entry *e)
{
    struct row_entry **at = root, *up = NULL;
    struct str row = row_of(t, e);
    while (*at != NULL) {
        up = *at;
        at = str_cmp(row, row_of(t, up)) < 0 ? &links(t, up)->left : &links(t, up)->right;
    }
    *links(t, e) = (struct row_tree_links){.up = up};
    *at = e;
    while (links(t, e)->up != NULL && links(t, e)->up->row_hash < e->row_hash)
        rotate_up(t, root, e);
}

void row_tree_remove(const struct row_tree *t, struct row_entry **root, struct row_entry *e)
{
    const struct row_tree_links *own = links(t, e);
    while (own->left != NULL && own->right != NULL)
        rotate_up(t, root, own->left->row_hash > own->right->row_hash ? own->left : own->right);
    replace(t, root, e, own->left != NULL ? own->left : own->right);
}

struct row_entry *row_tree_first(const struct row_tree *t, struct row_entry *root)
{
    while (root != NULL && links(t, root)->left != NULL)
        root = links(t, root)->left;
    return root;
}

struct row_entry *row_tree_next(const struct row_tree *t, const struct row_entry *e)
{
    if (links(t, e)->right != NULL)
        return row_tree_first(t, links(t, e)->right);
    struct row_entry *up = links(t, e)->up;
    for (; up != NULL && links(t, up)->right == e; up = links(t, up)->up)
        e = up;
    return up;
}
