#include "state/group_table.h"

#include "base/check.h"
#include "base/mem.h"

/* A row's place: page number above, 16-byte unit below. Unit 0 of page 0 is never used, so that ref
 * 0 means none. */
enum {
    UNIT_BYTES = 16,
    UNITS_PER_PAGE = GROUP_PAGE_BYTES / UNIT_BYTES,
    UNIT_BITS = 12,
    PAGES_MAX = 1 << (32 - UNIT_BITS),
    SLOTS_MIN = 64,
    SLOTS_MOVED = 32, /* to a larger array, by each upsert */
    SLOTS_AHEAD = 8,  /* whose rows are brought into the cache */
    NO_PAGE = PAGES_MAX,
};
#define REF_GONE UINT32_MAX /* no row is so near to its page's end */
_Static_assert(UNITS_PER_PAGE == 1 << UNIT_BITS, "a ref holds page and unit");
_Static_assert(sizeof(struct group) % UNIT_BYTES == 0, "cells start aligned");

struct slot {
    uint32_t tag; /* upper half of the hash */
    uint32_t ref; /* 0 = empty */
};

struct page {
    uint32_t units_used;
    uint32_t live; /* rows that are not removed */
    uint32_t next; /* in the order of their use; of a page that was given back: the next such one */
    uint32_t prev;
    char *bytes; /* NULL: given back */
};

/* The array that is being left: its slots below `at` are in the larger one too. They stay where
 * they are, so that no search for one behind them ends early; what is removed meanwhile becomes
 * REF_GONE. */
struct old_slots {
    struct slot *slots; /* NULL: there is none */
    uint64_t mask, at;
};

struct group_table {
    struct slot *slots;
    uint64_t mask;
    struct old_slots old;
    struct page *pages;
    uint32_t n_pages, pages_cap;
    uint32_t first, last; /* pages in use; the last one takes new rows */
    uint32_t unused;      /* given back */
    uint32_t cells_bytes, tail_bytes;
    uint64_t count, added;
    uint64_t bytes, bytes_max;
    struct list watched; /* cursors */
};

enum err group_table_new(uint32_t cells_bytes, uint64_t bytes_max, struct group_table **out)
{
    CHECK(cells_bytes % sizeof(int64_t) == 0 && cells_bytes <= GROUP_CELLS_BYTES_MAX);
    struct group_table *g = mem_zalloc(1, sizeof(*g));
    if (g == NULL)
        return ERR_NO_MEMORY;
    g->slots = mem_zalloc(SLOTS_MIN, sizeof(struct slot));
    if (g->slots == NULL) {
        mem_free(g);
        return ERR_NO_MEMORY;
    }
    list_init(&g->watched);
    g->mask = SLOTS_MIN - 1;
    g->first = g->last = g->unused = NO_PAGE;
    g->cells_bytes = cells_bytes;
    g->bytes_max = bytes_max;
    g->bytes = SLOTS_MIN * sizeof(struct slot);
    *out = g;
    return ERR_OK;
}

void group_table_keep_tail(struct group_table *g, uint32_t bytes)
{
    CHECK(bytes <= GROUP_TAIL_BYTES_MAX && g->count == 0);
    g->tail_bytes = bytes;
}

uint32_t group_table_tail(const struct group_table *g)
{
    return g->tail_bytes;
}

void group_table_free(struct group_table *g)
{
    if (g == NULL)
        return;
    CHECK(list_empty(&g->watched));
    for (uint32_t i = 0; i < g->n_pages; i++)
        mem_free(g->pages[i].bytes);
    mem_free(g->pages);
    mem_free(g->slots);
    mem_free(g->old.slots);
    mem_free(g);
}

uint64_t group_table_count(const struct group_table *g)
{
    return g->count;
}
uint64_t group_table_added(const struct group_table *g)
{
    return g->added;
}
uint64_t group_table_bytes(const struct group_table *g)
{
    return g->bytes;
}

struct group *group_at(const struct group_table *g, uint32_t ref)
{
    uint32_t page = ref >> UNIT_BITS, unit = ref & (UNITS_PER_PAGE - 1);
    return (struct group *)(void *)(g->pages[page].bytes + (size_t)unit * UNIT_BYTES);
}

struct str group_key(const struct group_table *g, const struct group *row)
{
    return (struct str){(const char *)(row + 1) + g->cells_bytes, row->key_bytes};
}

/* The slot of an array that refers to the row; the empty one where the search ends when there is
 * none. */
static struct slot *slot_of_row(const struct group_table *g, struct slot *slots, uint64_t mask,
                                const struct group *row)
{
    uint64_t at = row->hash & mask;
    while (slots[at].ref != 0 && (slots[at].ref == REF_GONE || group_at(g, slots[at].ref) != row))
        at = (at + 1) & mask;
    return &slots[at];
}

uint32_t group_ref(const struct group_table *g, const struct group *row)
{
    uint32_t ref = slot_of_row(g, g->slots, g->mask, row)->ref;
    if (ref == 0 && g->old.slots != NULL)
        ref = slot_of_row(g, g->old.slots, g->old.mask, row)->ref;
    CHECK(ref != 0);
    return ref;
}

void group_table_prefetch(const struct group_table *g, uint64_t hash)
{
    __builtin_prefetch(&g->slots[hash & g->mask]);
}

void group_table_prefetch_row(const struct group_table *g, uint64_t hash)
{
    const struct slot *s = &g->slots[hash & g->mask];
    if (s->ref == 0) {
        if (g->old.slots != NULL)
            __builtin_prefetch(&g->old.slots[hash & g->old.mask]);
        return;
    }
    const char *row = (const char *)group_at(g, s->ref);
    __builtin_prefetch(row);
    __builtin_prefetch(row + 64); /* cells and key */
}

/* The slot of an array, the `old` one perhaps, that holds the key, or the empty slot where it
 * belongs. */
static inline struct slot *slot_in(const struct group_table *g, struct slot *slots, uint64_t mask,
                                   bool old, uint64_t hash, struct str key)
{
    uint32_t tag = (uint32_t)(hash >> 32);
    for (uint64_t at = hash & mask;; at = (at + 1) & mask) {
        struct slot *s = &slots[at];
        if (s->ref == 0)
            return s;
        if (s->tag != tag || (old && s->ref == REF_GONE))
            continue;
        const struct group *row = group_at(g, s->ref);
        if (row->hash == hash && str_eq(group_key(g, row), key))
            return s;
    }
}

/* The slot that holds the key, or the empty slot where it belongs. */
static struct slot *slot_for(const struct group_table *g, uint64_t hash, struct str key)
{
    struct slot *s = slot_in(g, g->slots, g->mask, false, hash, key);
    if (s->ref != 0 || g->old.slots == NULL)
        return s;
    struct slot *old = slot_in(g, g->old.slots, g->old.mask, true, hash, key);
    return old->ref != 0 ? old : s;
}

struct group *group_table_find(struct group_table *g, uint64_t hash, struct str key)
{
    const struct slot *s = slot_for(g, hash, key);
    return s->ref == 0 ? NULL : group_at(g, s->ref);
}

/* Moves up to `n` slots on to the larger array, and frees the old one behind the last. */
static void slots_move(struct group_table *g, uint64_t n)
{
    struct old_slots *old = &g->old;
    struct slot *slots = g->slots;
    const uint64_t mask = g->mask, all = old->mask + 1, end = n < all - old->at ? old->at + n : all;
    for (uint64_t i = old->at; i < end; i++) {
        struct slot s = old->slots[i];
        uint32_t ahead = old->slots[(i + SLOTS_AHEAD) & old->mask].ref;
        if (ahead != 0 && ahead != REF_GONE)
            __builtin_prefetch(group_at(g, ahead));
        if (s.ref == 0 || s.ref == REF_GONE)
            continue;
        uint64_t at = group_at(g, s.ref)->hash & mask;
        while (slots[at].ref != 0)
            at = (at + 1) & mask;
        slots[at] = s;
    }
    old->at = end;
    if (end < all)
        return;
    g->bytes -= all * sizeof(struct slot);
    mem_free(old->slots);
    *old = (struct old_slots){0};
}

/* Begins an array of twice the size; upserts move slots over, long before it is full. Both count,
 * and where that is more than the bound all are moved at once. */
static enum err slots_grow(struct group_table *g)
{
    uint64_t n = (g->mask + 1) * 2;
    CHECK(g->old.slots == NULL);
    if (g->bytes + n / 2 * sizeof(struct slot) > g->bytes_max)
        return ERR_LIMIT;
    struct slot *slots = mem_zalloc(n, sizeof(struct slot));
    if (slots == NULL)
        return ERR_NO_MEMORY;
    g->old = (struct old_slots){.slots = g->slots, .mask = g->mask};
    g->slots = slots;
    g->mask = n - 1;
    g->bytes += n * sizeof(struct slot);
    if (g->bytes > g->bytes_max)
        slots_move(g, UINT64_MAX);
    return ERR_OK;
}

enum err group_table_reserve(struct group_table *g, uint64_t n)
{
    uint64_t slots = g->mask + 1;
    CHECK(g->count == 0 && g->old.slots == NULL);
    while (slots < UINT32_MAX && n * 10 > slots * 7)
        slots *= 2;
    if (slots == g->mask + 1 || slots * sizeof(struct slot) > g->bytes_max)
        return ERR_OK;
    struct slot *room = mem_zalloc(slots, sizeof(struct slot));
    if (room == NULL)
        return ERR_NO_MEMORY;
    mem_free(g->slots);
    g->slots = room;
    g->bytes += (slots - g->mask - 1) * sizeof(struct slot);
    g->mask = slots - 1;
    return ERR_OK;
}

/* A number for a page, with room for it in the array. */
static enum err page_number(struct group_table *g, uint32_t *out)
{
    if (g->unused != NO_PAGE) {
        *out = g->unused;
        return ERR_OK;
    }
    if (g->n_pages == PAGES_MAX)
        return ERR_LIMIT;
    if (g->n_pages == g->pages_cap) {
        uint32_t cap = g->pages_cap == 0 ? 16 : g->pages_cap * 2;
        struct page *pages = mem_realloc(g->pages, cap * sizeof(*pages));
        if (pages == NULL)
            return ERR_NO_MEMORY;
        g->pages = pages;
        g->pages_cap = cap;
    }
    *out = g->n_pages;
    return ERR_OK;
}

static void cursor_enter(struct group_table_cursor *c, uint32_t page)
{
    c->page = page + 1;
    c->unit = page == 0; /* the first unit of all is no row's */
}

/* Takes a page without rows, which is not the last, out of the chain and gives its memory back. */
static void page_give_back(struct group_table *g, uint32_t number)
{
    struct page *p = &g->pages[number];
    CHECK(p->next != NO_PAGE);
    LIST_FOR (it, &g->watched) {
        struct group_table_cursor *c = LIST_ENTRY(it, struct group_table_cursor, link);
        if (c->page == number + 1)
            cursor_enter(c, p->next);
    }
    *(p->prev == NO_PAGE ? &g->first : &g->pages[p->prev].next) = p->next;
    *(p->next == NO_PAGE ? &g->last : &g->pages[p->next].prev) = p->prev;
    mem_free(p->bytes);
    *p = (struct page){.next = g->unused};
    g->unused = number;
    g->bytes -= GROUP_PAGE_BYTES;
}

static enum err page_add(struct group_table *g)
{
    uint32_t number;
    if (g->bytes + GROUP_PAGE_BYTES > g->bytes_max && g->old.slots != NULL)
        slots_move(g, UINT64_MAX);
    if (g->bytes + GROUP_PAGE_BYTES > g->bytes_max)
        return ERR_LIMIT;
    TRY(page_number(g, &number));
    char *bytes = mem_alloc(GROUP_PAGE_BYTES);
    if (bytes == NULL)
        return ERR_NO_MEMORY;
    if (number == g->unused)
        g->unused = g->pages[number].next;
    else
        g->n_pages++;
    uint32_t before = g->last;
    g->pages[number] =
        (struct page){.units_used = number == 0, .next = NO_PAGE, .prev = before, .bytes = bytes};
    *(before == NO_PAGE ? &g->first : &g->pages[before].next) = number;
    g->last = number;
    g->bytes += GROUP_PAGE_BYTES;
    if (before != NO_PAGE && g->pages[before].live == 0)
        page_give_back(g, before); /* it was kept for new rows */
    return ERR_OK;
}

static enum err row_add(struct group_table *g, uint64_t hash, struct str key, uint32_t *ref)
{
    size_t bytes = sizeof(struct group) + g->cells_bytes + key.len + g->tail_bytes;
    uint32_t units = (uint32_t)((bytes + UNIT_BYTES - 1) / UNIT_BYTES);
    if (g->last == NO_PAGE || g->pages[g->last].units_used + units > UNITS_PER_PAGE)
        TRY(page_add(g));
    struct page *page = &g->pages[g->last];
    *ref = g->last << UNIT_BITS | page->units_used;
    struct group *row = group_at(g, *ref);
    *row = (struct group){.hash = hash,
                          .window_end = INT64_MAX,
                          .key_bytes = (uint32_t)key.len,
                          .units = (uint16_t)units,
                          .number = g->added++};
    char *cells = group_cells(row);
    memset(cells, 0, g->cells_bytes);
    if (key.len + g->tail_bytes > 0)
        memcpy(cells + g->cells_bytes, key.ptr, key.len + g->tail_bytes);
    page->units_used += units;
    page->live++;
    return ERR_OK;
}

enum err group_table_upsert(struct group_table *g, uint64_t hash, struct str key,
                            struct group **out, bool *created)
{
    if (g->old.slots != NULL)
        slots_move(g, SLOTS_MOVED);
    struct slot *s = slot_for(g, hash, key);
    *created = s->ref == 0;
    if (s->ref == 0) {
        if (key.len > GROUP_KEY_BYTES_MAX)
            return ERR_TOO_LARGE;
        const struct slot *slots = g->slots, *old = g->old.slots;
        uint32_t ref;
        if ((g->count + 1) * 10 > (g->mask + 1) * 7)
            TRY(slots_grow(g));
        TRY(row_add(g, hash, key, &ref));
        if (g->slots != slots || g->old.slots != old) /* the place may be another's */
            s = slot_for(g, hash, key);
        *s = (struct slot){.tag = (uint32_t)(hash >> 32), .ref = ref};
        g->count++;
    }
    *out = group_at(g, s->ref);
    return ERR_OK;
}

/* Empties a slot; those behind it that belong further ahead move up, so that no search ends early.
 */
static void slot_empty(struct group_table *g, uint64_t hole)
{
    for (uint64_t at = (hole + 1) & g->mask; g->slots[at].ref != 0; at = (at + 1) & g->mask) {
        uint64_t home = group_at(g, g->slots[at].ref)->hash & g->mask;
        if (((at - home) & g->mask) < ((at - hole) & g->mask))
            continue;
        g->slots[hole] = g->slots[at];
        hole = at;
    }
    g->slots[hole] = (struct slot){0};
}

void group_table_remove(struct group_table *g, struct group *row)
{
    struct slot *s = slot_of_row(g, g->slots, g->mask, row);
    struct slot *old = g->old.slots == NULL ? NULL : slot_of_row(g, g->old.slots, g->old.mask, row);
    uint32_t ref = s->ref != 0 ? s->ref : old != NULL ? old->ref : 0, page = ref >> UNIT_BITS;
    CHECK(ref != 0);
    if (s->ref != 0)
        slot_empty(g, (uint64_t)(s - g->slots));
    if (old != NULL && old->ref != 0)
        old->ref = REF_GONE;
    row->flags |= GROUP_GONE;
    g->count--;
    if (--g->pages[page].live == 0 && page != g->last)
        page_give_back(g, page);
}

struct group *group_table_next(const struct group_table *g, struct group_table_cursor *c)
{
    if (c->page == 0) {
        if (g->first == NO_PAGE)
            return NULL;
        cursor_enter(c, g->first);
    }
    for (;;) {
        const struct page *p = &g->pages[c->page - 1];
        while (c->unit < p->units_used) {
            struct group *row = group_at(g, (c->page - 1) << UNIT_BITS | c->unit);
            c->unit += row->units;
            if ((row->flags & GROUP_GONE) == 0)
                return row;
        }
        if (p->next == NO_PAGE)
            return NULL;
        cursor_enter(c, p->next);
    }
}

void group_table_watch(struct group_table *g, struct group_table_cursor *c)
{
    list_init(&c->link);
    list_add(&g->watched, &c->link);
}

void group_table_unwatch(struct group_table_cursor *c)
{
    if (c->link.next != NULL)
        list_remove(&c->link);
}

static uint64_t run_max(const struct slot *slots, uint64_t mask)
{
    uint64_t longest = 0, run = 0;
    for (uint64_t i = 0; i <= 2 * mask + 1; i++) { /* twice: a run may pass the end */
        run = slots[i & mask].ref == 0 ? 0 : run + 1;
        longest = run > longest ? run : longest;
    }
    return longest;
}

uint64_t group_table_run_max(const struct group_table *g)
{
    uint64_t now = run_max(g->slots, g->mask);
    return now + (g->old.slots == NULL ? 0 : run_max(g->old.slots, g->old.mask));
}
