/* The simulated disk: every file and folder exists twice, as it is now and as it is durable.
 *
 *   file     pages (now) + the durable image of each dirty page, with a bit per written sector
 *   folder   names now, names synced, and between them the list of pending operations
 *
 *      create, rename, remove              sync of the folder
 *   now <------------------- pending ops --------------------> synced
 *
 * A power cut keeps, per folder, a prefix of the pending operations (journaling file systems commit
 * metadata in order, and a rename as a whole), and of each file any selection of the sectors
 * written since its last sync, with a size between the durable and the current one. */
#include "base/check.h"
#include "base/mem.h"
#include "host/sim_int.h"

#include <string.h>

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static char *copy_name(const char *name)
{
    size_t bytes = strlen(name) + 1;
    char *copy = mem_alloc(bytes);
    if (copy != NULL)
        memcpy(copy, name, bytes);
    return copy;
}

/* ---- inodes ---- */

static struct sim_inode *inode_new(struct sim_disk *d, bool is_dir)
{
    struct sim_inode *i = mem_zalloc(1, sizeof *i);
    if (i == NULL)
        return NULL;
    i->is_dir = is_dir;
    i->cut_to = UINT64_MAX;
    list_add(&d->inodes, &i->link);
    return i;
}

static void page_free(struct sim_page *p)
{
    if (p == NULL)
        return;
    mem_free(p->synced);
    mem_free(p);
}

static void names_clear(struct sim_disk *d, struct sim_names *names, bool in_use);

static void inode_unref(struct sim_disk *d, struct sim_inode *i)
{
    CHECK(i->refs > 0);
    if (--i->refs > 0)
        return;
    names_clear(d, &i->now, true);
    names_clear(d, &i->synced, false);
    for (size_t p = 0; p < i->page_cap; p++)
        page_free(i->pages[p]);
    mem_free(i->pages);
    list_remove(&i->link);
    mem_free(i);
}

void sim_inode_hold(struct sim_inode *i)
{
    i->refs++;
    i->in_use++;
}

void sim_inode_release(struct sim_disk *d, struct sim_inode *i)
{
    CHECK(i->in_use > 0);
    if (--i->in_use == 0)
        d->used_bytes -= i->size;
    inode_unref(d, i);
}

/* ---- names of a folder ---- */

/* The index of the name, or where it would be. */
static size_t names_place(const struct sim_names *names, const char *name, bool *found)
{
    size_t low = 0;
    size_t high = names->n;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(names->at[middle].name, name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct sim_inode *names_get(const struct sim_names *names, const char *name)
{
    bool found;
    size_t i = names_place(names, name, &found);
    return found ? names->at[i].inode : NULL;
}

/* Room for one more name. */
static enum err names_reserve(struct sim_names *names)
{
    enum { NAMES_GROW = 16 };
    if (names->n < names->cap)
        return ERR_OK;
    size_t cap = names->cap == 0 ? NAMES_GROW : names->cap * 2;
    struct sim_name *moved = mem_realloc(names->at, cap * sizeof *moved);
    if (moved == NULL)
        return ERR_NO_MEMORY;
    names->at = moved;
    names->cap = cap;
    return ERR_OK;
}

/* Takes a reference of the inode out of a view. `in_use` = the view is the current one. */
static void name_drop(struct sim_disk *d, struct sim_inode *i, bool in_use)
{
    if (in_use)
        sim_inode_release(d, i);
    else
        inode_unref(d, i);
}

static void names_remove(struct sim_disk *d, struct sim_names *names, const char *name, bool in_use)
{
    bool found;
    size_t i = names_place(names, name, &found);
    if (!found)
        return;
    struct sim_name gone = names->at[i];
    names->n--;
    memmove(&names->at[i], &names->at[i + 1], (names->n - i) * sizeof gone);
    mem_free(gone.name);
    name_drop(d, gone.inode, in_use);
}

/* Adds or replaces; takes over the string `name`. There is room (names_reserve). */
static void names_put(struct sim_disk *d, struct sim_names *names, char *name,
                      struct sim_inode *inode, bool in_use)
{
    bool found;
    size_t i = names_place(names, name, &found);
    if (in_use)
        sim_inode_hold(inode);
    else
        inode->refs++;
    if (found) {
        struct sim_inode *before = names->at[i].inode;
        names->at[i].inode = inode;
        mem_free(name);
        name_drop(d, before, in_use);
        return;
    }
    CHECK(names->n < names->cap);
    memmove(&names->at[i + 1], &names->at[i], (names->n - i) * sizeof names->at[0]);
    names->at[i] = (struct sim_name){name, inode};
    names->n++;
}

static void names_clear(struct sim_disk *d, struct sim_names *names, bool in_use)
{
    for (size_t i = 0; i < names->n; i++) {
        mem_free(names->at[i].name);
        name_drop(d, names->at[i].inode, in_use);
    }
    mem_free(names->at);
    *names = (struct sim_names){0};
}

/* ---- pending operations ---- */

static void inode_ref(struct sim_inode *i)
{
    if (i != NULL)
        i->refs++;
}

static void op_free(struct sim_disk *d, struct sim_op *op)
{
    mem_free(op->from);
    mem_free(op->to);
    struct sim_inode *held[] = {op->from_dir, op->to_dir, op->inode};
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        if (held[i] != NULL)
            inode_unref(d, held[i]);
    *op = (struct sim_op){0};
}

/* Carries the operation out on the durable names. */
static enum err op_apply(struct sim_disk *d, struct sim_op *op)
{
    if (op->to_dir != NULL) {
        TRY(names_reserve(&op->to_dir->synced));
        names_put(d, &op->to_dir->synced, op->to, op->inode, false);
        op->to = NULL;
    }
    if (op->from_dir != NULL)
        names_remove(d, &op->from_dir->synced, op->from, false);
    return ERR_OK;
}

/* Applies the operations marked, forgets them and keeps the others in order. */
static enum err ops_apply_marked(struct sim_disk *d)
{
    size_t kept = 0;
    enum err e = ERR_OK;
    for (size_t i = 0; i < d->op_count; i++) {
        if (d->ops[i].apply && e == ERR_OK)
            e = op_apply(d, &d->ops[i]);
        if (d->ops[i].apply && e == ERR_OK)
            op_free(d, &d->ops[i]);
        else
            d->ops[kept++] = d->ops[i];
    }
    d->op_count = kept;
    return e;
}

/* Notes a change of names and carries it out on the current ones: all or nothing. */
static enum err names_change(struct sim_disk *d, const struct sim_place *from,
                             const struct sim_place *to, struct sim_inode *inode)
{
    if (d->op_count == SIM_OPS_MAX) {
        d->ops[0].apply = true;
        TRY(ops_apply_marked(d));
    }
    struct sim_op op = {0};
    char *now_name = NULL;
    if (to != NULL) {
        TRY(names_reserve(&to->dir->now));
        op.to = copy_name(to->name);
        now_name = copy_name(to->name);
    }
    if (from != NULL)
        op.from = copy_name(from->name);
    if ((to != NULL && (op.to == NULL || now_name == NULL)) || (from != NULL && op.from == NULL)) {
        mem_free(op.to);
        mem_free(op.from);
        mem_free(now_name);
        return ERR_NO_MEMORY;
    }
    op.from_dir = from != NULL ? from->dir : NULL;
    op.to_dir = to != NULL ? to->dir : NULL;
    op.inode = inode;
    inode_ref(op.from_dir);
    inode_ref(op.to_dir);
    inode_ref(op.inode);
    d->ops[d->op_count++] = op;
    if (to != NULL)
        names_put(d, &to->dir->now, now_name, inode, true);
    if (from != NULL)
        names_remove(d, &from->dir->now, from->name, true);
    return ERR_OK;
}

/* ---- the disk ---- */

struct sim_disk *sim_disk_new(uint64_t bytes_max)
{
    struct sim_disk *d = mem_zalloc(1, sizeof *d);
    if (d == NULL)
        return NULL;
    list_init(&d->inodes);
    d->bytes_max = bytes_max;
    d->ops = mem_zalloc(SIM_OPS_MAX, sizeof *d->ops);
    d->root = inode_new(d, true);
    if (d->ops == NULL || d->root == NULL) {
        mem_free(d->ops);
        mem_free(d->root);
        mem_free(d);
        return NULL;
    }
    sim_inode_hold(d->root);
    return d;
}

void sim_disk_free(struct sim_disk *d)
{
    for (size_t i = 0; i < d->op_count; i++)
        op_free(d, &d->ops[i]);
    sim_inode_release(d, d->root);
    CHECK(list_empty(&d->inodes));
    mem_free(d->ops);
    mem_free(d);
}

enum err sim_disk_find(struct sim_disk *d, const char *path, struct sim_place *out)
{
    *out = (struct sim_place){.inode = d->root};
    for (const char *at = path; *at != '\0';) {
        size_t n = strcspn(at, "/");
        if (n == 0 || (n == 1 && at[0] == '.')) {
            at += n + (at[n] == '/');
            continue;
        }
        if (n > SIM_NAME_MAX || (n == 2 && at[0] == '.' && at[1] == '.'))
            return ERR_INVALID_ARGUMENT;
        if (out->inode == NULL || !out->inode->is_dir)
            return ERR_IO;
        out->dir = out->inode;
        memcpy(out->name, at, n);
        out->name[n] = '\0';
        out->inode = names_get(&out->dir->now, out->name);
        at += n + (at[n] == '/');
    }
    return ERR_OK;
}

enum err sim_disk_create(struct sim_disk *d, struct sim_place *at, bool is_dir)
{
    struct sim_inode *i = inode_new(d, is_dir);
    if (i == NULL)
        return ERR_NO_MEMORY;
    sim_inode_hold(i);
    enum err e = names_change(d, NULL, at, i);
    sim_inode_release(d, i);
    if (e == ERR_OK)
        at->inode = i;
    return e;
}

enum err sim_disk_remove(struct sim_disk *d, const struct sim_place *at)
{
    if (at->dir == NULL || at->inode == NULL || (at->inode->is_dir && at->inode->now.n > 0))
        return ERR_IO;
    return names_change(d, at, NULL, NULL);
}

/* Whether `inside` is `dir` or lies below it. */
static bool contains(const struct sim_inode *dir, const struct sim_inode *inside)
{
    if (dir == inside)
        return true;
    for (size_t i = 0; i < dir->now.n; i++)
        if (dir->now.at[i].inode->is_dir && contains(dir->now.at[i].inode, inside))
            return true;
    return false;
}

enum err sim_disk_rename(struct sim_disk *d, const struct sim_place *from,
                         const struct sim_place *to)
{
    if (from->dir == NULL || from->inode == NULL || to->dir == NULL)
        return ERR_IO;
    if (from->inode == to->inode)
        return ERR_OK;
    if (from->inode->is_dir && contains(from->inode, to->dir))
        return ERR_IO;
    if (to->inode != NULL &&
        (to->inode->is_dir != from->inode->is_dir || to->inode->now.n > 0))
        return ERR_IO;
    return names_change(d, from, to, from->inode);
}

enum err sim_disk_sync_dir(struct sim_disk *d, struct sim_inode *dir)
{
    /* Going back, collect the folders that the wanted operations share with earlier ones. */
    dir->stopped = true;
    for (size_t i = d->op_count; i-- > 0;) {
        struct sim_op *op = &d->ops[i];
        op->apply = (op->from_dir != NULL && op->from_dir->stopped) ||
                    (op->to_dir != NULL && op->to_dir->stopped);
        if (!op->apply)
            continue;
        if (op->from_dir != NULL)
            op->from_dir->stopped = true;
        if (op->to_dir != NULL)
            op->to_dir->stopped = true;
    }
    LIST_FOR(it, &d->inodes)
        LIST_ENTRY(it, struct sim_inode, link)->stopped = false;
    return ops_apply_marked(d);
}

/* ---- bytes of a file ---- */

static struct sim_page *page_at(const struct sim_inode *i, size_t index)
{
    return index < i->page_cap ? i->pages[index] : NULL;
}

void sim_inode_read(const struct sim_inode *i, uint64_t at, void *out, size_t n)
{
    uint8_t *p = out;
    CHECK(at <= i->size && n <= i->size - at);
    while (n > 0) {
        size_t offset = at % SIM_PAGE_BYTES;
        size_t part = (size_t)min_u64(n, SIM_PAGE_BYTES - offset);
        const struct sim_page *page = page_at(i, (size_t)(at / SIM_PAGE_BYTES));
        if (page != NULL)
            memcpy(p, page->bytes + offset, part);
        else
            memset(p, 0, part);
        p += part;
        at += part;
        n -= part;
    }
}

/* The page, made when missing; NULL when out of memory. */
static struct sim_page *page_make(struct sim_inode *i, size_t index)
{
    if (index >= i->page_cap) {
        size_t cap = i->page_cap == 0 ? 16 : i->page_cap;
        while (cap <= index)
            cap *= 2;
        struct sim_page **moved = mem_realloc(i->pages, cap * sizeof(struct sim_page *));
        if (moved == NULL)
            return NULL;
        memset(moved + i->page_cap, 0, (cap - i->page_cap) * sizeof(struct sim_page *));
        i->pages = moved;
        i->page_cap = cap;
    }
    if (i->pages[index] == NULL) {
        struct sim_page *page = mem_zalloc(1, sizeof *page);
        if (page == NULL)
            return NULL;
        /* A hole is durable as zeros, which is what a missing image means. */
        page->dirty = 0;
        i->pages[index] = page;
    } else if (i->pages[index]->dirty == 0) {
        struct sim_page *page = i->pages[index];
        page->synced = mem_alloc(SIM_PAGE_BYTES);
        if (page->synced == NULL)
            return NULL;
        memcpy(page->synced, page->bytes, SIM_PAGE_BYTES);
    }
    return i->pages[index];
}

static void page_mark(struct sim_inode *i, size_t index, size_t offset, size_t n)
{
    for (size_t s = offset / SIM_SECTOR_BYTES; s <= (offset + n - 1) / SIM_SECTOR_BYTES; s++)
        i->pages[index]->dirty |= (uint8_t)(1u << s);
    if (i->dirty_from == i->dirty_to) {
        i->dirty_from = index;
        i->dirty_to = index + 1;
    }
    if (index < i->dirty_from)
        i->dirty_from = index;
    if (index >= i->dirty_to)
        i->dirty_to = index + 1;
}

/* Writes without a look at the size. `bytes` NULL = zeros, and holes stay holes. */
static enum err pages_write(struct sim_inode *i, uint64_t at, const uint8_t *bytes, uint64_t n)
{
    while (n > 0) {
        size_t index = (size_t)(at / SIM_PAGE_BYTES);
        size_t offset = at % SIM_PAGE_BYTES;
        size_t part = (size_t)min_u64(n, SIM_PAGE_BYTES - offset);
        if (bytes != NULL || page_at(i, index) != NULL) {
            struct sim_page *page = page_make(i, index);
            if (page == NULL)
                return ERR_NO_MEMORY;
            if (bytes != NULL)
                memcpy(page->bytes + offset, bytes, part);
            else
                memset(page->bytes + offset, 0, part);
            page_mark(i, index, offset, part);
        }
        if (bytes != NULL)
            bytes += part;
        at += part;
        n -= part;
    }
    return ERR_OK;
}

/* Grows the size as far as the disk allows, at most to `size`. */
static void size_grow(struct sim_disk *d, struct sim_inode *i, uint64_t size)
{
    if (size <= i->size)
        return;
    uint64_t more = min_u64(size, SIM_FILE_BYTES_MAX) - min_u64(i->size, SIM_FILE_BYTES_MAX);
    if (d->bytes_max > 0)
        more = min_u64(more, d->used_bytes < d->bytes_max ? d->bytes_max - d->used_bytes : 0);
    i->size += more;
    d->used_bytes += more;
}

enum err sim_inode_write(struct sim_disk *d, struct sim_inode *i, uint64_t at, const void *bytes,
                         size_t n)
{
    uint64_t end;
    if (__builtin_add_overflow(at, n, &end))
        return ERR_NO_SPACE;
    size_grow(d, i, end);
    uint64_t fits = i->size > at ? min_u64(n, i->size - at) : 0;
    TRY(pages_write(i, at, bytes, fits));
    return fits == n ? ERR_OK : ERR_NO_SPACE;
}

enum err sim_inode_resize(struct sim_disk *d, struct sim_inode *i, uint64_t size)
{
    if (size >= i->size) {
        size_grow(d, i, size);
        return i->size == size ? ERR_OK : ERR_NO_SPACE;
    }
    TRY(pages_write(i, size, NULL, i->size - size));
    d->used_bytes -= i->size - size;
    i->size = size;
    i->cut_to = min_u64(i->cut_to, size);
    return ERR_OK;
}

void sim_inode_sync(struct sim_inode *i)
{
    for (size_t p = i->dirty_from; p < i->dirty_to; p++) {
        struct sim_page *page = page_at(i, p);
        if (page == NULL)
            continue;
        mem_free(page->synced);
        page->synced = NULL;
        page->dirty = 0;
    }
    i->dirty_from = i->dirty_to = 0;
    i->synced_size = i->size;
    i->cut_to = UINT64_MAX;
}

enum err sim_inode_flip(struct sim_inode *i, uint64_t at, uint8_t mask)
{
    CHECK(at < i->size);
    size_t index = (size_t)(at / SIM_PAGE_BYTES);
    size_t offset = at % SIM_PAGE_BYTES;
    struct sim_page *page = page_at(i, index);
    if (page == NULL)
        page = page_make(i, index);
    if (page == NULL)
        return ERR_NO_MEMORY;
    page->bytes[offset] ^= mask;
    if (page->synced != NULL)
        page->synced[offset] ^= mask;
    return ERR_OK;
}

/* ---- power cut ---- */

/* Chooses which pending operations have reached the disk: for each folder a prefix. */
static void ops_choose(struct sim_disk *d, struct sim_rng *r)
{
    enum { KEEP_ALL, KEEP_NONE, KEEP_SOME, WAYS };
    uint64_t way = sim_rng_below(r, WAYS);
    for (size_t i = 0; i < d->op_count; i++) {
        struct sim_op *op = &d->ops[i];
        bool stopped = (op->from_dir != NULL && op->from_dir->stopped) ||
                       (op->to_dir != NULL && op->to_dir->stopped);
        bool lucky = way == KEEP_ALL || (way == KEEP_SOME && sim_rng_below(r, 4) != 0);
        op->apply = !stopped && lucky;
        if (op->apply)
            continue;
        if (op->from_dir != NULL)
            op->from_dir->stopped = true;
        if (op->to_dir != NULL)
            op->to_dir->stopped = true;
    }
}

/* The names now are the durable ones. */
static enum err names_revert(struct sim_disk *d, struct sim_inode *dir)
{
    struct sim_names names = {0};
    for (size_t i = 0; i < dir->synced.n; i++) {
        char *name = names_reserve(&names) == ERR_OK ? copy_name(dir->synced.at[i].name) : NULL;
        if (name == NULL) {
            names_clear(d, &names, true);
            return ERR_NO_MEMORY;
        }
        struct sim_inode *inode = dir->synced.at[i].inode;
        if (inode->in_use == 0)
            d->used_bytes += inode->size;
        names_put(d, &names, name, inode, true);
    }
    names_clear(d, &dir->now, true);
    dir->now = names;
    return ERR_OK;
}

/* Decides the fate of each sector written since the last sync. Bytes from `zeros_from` on have no
 * durable image (the file was cut there), those from `undo_from` on keep the durable one. */
static void sectors_choose(struct sim_inode *i, struct sim_rng *r, uint64_t zeros_from,
                           uint64_t undo_from)
{
    static const uint8_t zeros[SIM_SECTOR_BYTES];
    for (size_t p = i->dirty_from; p < i->dirty_to; p++) {
        struct sim_page *page = page_at(i, p);
        for (size_t s = 0; page != NULL && s < SIM_SECTORS; s++) {
            uint64_t at = (uint64_t)p * SIM_PAGE_BYTES + s * SIM_SECTOR_BYTES;
            if ((page->dirty & 1u << s) == 0)
                continue;
            if (at + SIM_SECTOR_BYTES <= undo_from && sim_rng_below(r, 2) == 0)
                continue;
            const uint8_t *old = zeros;
            if (page->synced != NULL && at < zeros_from)
                old = page->synced + s * SIM_SECTOR_BYTES;
            memcpy(page->bytes + s * SIM_SECTOR_BYTES, old, SIM_SECTOR_BYTES);
        }
    }
}

/* Bytes behind the size read as zeros when the file grows again. */
static void zero_behind(struct sim_inode *i)
{
    for (size_t p = (size_t)(i->size / SIM_PAGE_BYTES); p < i->page_cap; p++) {
        struct sim_page *page = i->pages[p];
        uint64_t start = (uint64_t)p * SIM_PAGE_BYTES;
        size_t keep = i->size > start ? (size_t)(i->size - start) : 0;
        if (page != NULL)
            memset(page->bytes + keep, 0, SIM_PAGE_BYTES - keep);
    }
}

static void file_lose_power(struct sim_disk *d, struct sim_inode *i, struct sim_rng *r)
{
    uint64_t old_size = i->synced_size;
    uint64_t new_size = i->size;
    uint64_t undo_from = UINT64_MAX;
    uint64_t zeros_from = UINT64_MAX;
    if (i->cut_to < i->synced_size && sim_rng_below(r, 2) == 0) {
        /* The cut is lost, and with it what was written behind it. */
        undo_from = i->cut_to;
        new_size = i->synced_size;
    } else if (i->cut_to < i->synced_size) {
        zeros_from = i->cut_to;
        old_size = i->cut_to;
    }
    sectors_choose(i, r, zeros_from, undo_from);
    uint64_t low = min_u64(old_size, new_size);
    uint64_t span = (old_size > new_size ? old_size : new_size) - low;
    uint64_t sizes[] = {old_size, new_size, low + (span == 0 ? 0 : sim_rng_below(r, span + 1))};
    uint64_t kept = sizes[sim_rng_below(r, ARRAY_LEN(sizes))];
    if (i->in_use > 0)
        d->used_bytes = d->used_bytes - i->size + kept;
    i->size = kept;
    zero_behind(i);
    sim_inode_sync(i);
}

enum err sim_disk_power_cut(struct sim_disk *d, struct sim_rng *r)
{
    ops_choose(d, r);
    TRY(ops_apply_marked(d));
    while (d->op_count > 0)
        op_free(d, &d->ops[--d->op_count]);
    LIST_FOR(it, &d->inodes)
        LIST_ENTRY(it, struct sim_inode, link)->stopped = false;

    /* Reverting frees inodes: each is held until the next one is. The root stays for good. */
    struct sim_inode *i = d->root;
    i->refs++;
    while (i != NULL) {
        enum err e = i->is_dir ? names_revert(d, i) : ERR_OK;
        struct list *next = i->link.next;
        struct sim_inode *after = NULL;
        if (e == ERR_OK && next != &d->inodes)
            after = LIST_ENTRY(next, struct sim_inode, link);
        inode_ref(after);
        inode_unref(d, i);
        TRY(e);
        i = after;
    }
    LIST_FOR(it, &d->inodes) {
        struct sim_inode *file = LIST_ENTRY(it, struct sim_inode, link);
        if (!file->is_dir)
            file_lose_power(d, file, r);
    }
    return ERR_OK;
}
