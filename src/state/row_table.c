#include "state/row_table.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

#include <stddef.h>

/* A ref: page number above, 16-byte unit below. Unit 0 of page 0 is never used, so that ref 0 means
 * none. */
enum {
    UNIT_BYTES = 16,
    UNIT_BITS = 12,
    UNITS_PER_PAGE = ROW_PAGE_BYTES / UNIT_BYTES,
    PAGES_MAX = 1 << (32 - UNIT_BITS),
    NO_PAGE = PAGES_MAX,
    SLOTS_MIN = 64,
    SLOTS_MOVED_PER_ADD = 16,
    REF_GONE = 1u << UNIT_BITS, /* never an entry: unit 0 of page 1 is not used either */
    /* sizes up to FINE_UNITS are kept apart, above there are 8 to each doubling */
    FINE_UNITS = 64,
    CLASSES = FINE_UNITS + 8 * 6 + 1,
};
_Static_assert(UNITS_PER_PAGE == 1 << UNIT_BITS, "a ref holds page and unit");
_Static_assert(sizeof(struct row_entry) == 48, "three units of a page");
_Static_assert(FINE_UNITS << 6 == UNITS_PER_PAGE, "classes reach up to a page");

enum { ENTRY_FREE = 1 };

struct slot {
    uint32_t hash;
    uint32_t ref; /* 0 = empty; REF_GONE, in the old array only: moved or removed */
};

/* Open addressing, linear probing, load <= 0.7. While it grows there are two arrays: what is in the
 * old one from `moved` on is yet to be moved. */
struct index {
    struct slot *slots, *old;
    uint64_t mask, old_mask, moved;
    uint64_t count;
};

struct page {
    char *bytes;    /* NULL: given back */
    uint32_t units; /* used from the start; 0: of one large entry */
    uint32_t live;
    uint32_t next; /* given back: the next such one */
    uint32_t size; /* bytes */
};

/* What stands in the place of an entry that is gone. `units` is where an entry has it. */
struct hole {
    uint64_t unused;
    uint32_t next, prev; /* refs of holes of its class */
    char gap[offsetof(struct row_entry, units) - 16];
    uint16_t units;
    uint16_t flags;
    uint32_t ref;
};
_Static_assert(offsetof(struct hole, units) == offsetof(struct row_entry, units), "same place");
_Static_assert(offsetof(struct hole, ref) == offsetof(struct row_entry, ref), "same place");

struct row_table {
    struct index keys, rows;
    struct page *pages;
    uint32_t n_pages, pages_cap;
    uint32_t unused;  /* page numbers given back */
    uint32_t filling; /* the page that takes new entries */
    uint32_t owner_bytes;
    uint32_t holes[CLASSES];
    uint64_t bytes, bytes_max;
};

/* ---- places ---- */

static void *at(const struct row_table *t, uint32_t ref)
{
    return t->pages[ref >> UNIT_BITS].bytes + (size_t)(ref & (UNITS_PER_PAGE - 1)) * UNIT_BYTES;
}

static struct row_entry *entry_at(const struct row_table *t, uint32_t ref)
{
    return at(t, ref);
}

struct str row_entry_key(const struct row_table *t, const struct row_entry *e)
{
    return (struct str){(const char *)(e + 1) + t->owner_bytes, e->key_bytes};
}

const char *row_entry_row(const struct row_table *t, const struct row_entry *e)
{
    return (const char *)(e + 1) + t->owner_bytes + e->key_bytes;
}

/* The class of a size, and the size rounded up to what entries of the class have. */
static uint32_t class_of(uint32_t *units)
{
    if (*units <= FINE_UNITS)
        return *units;
    uint32_t step_bits = 28 - (uint32_t)__builtin_clz(*units - 1); /* an eighth of the doubling */
    uint32_t steps = (*units - 1) >> step_bits;                    /* 8..15 */
    *units = (steps + 1) << step_bits;
    return FINE_UNITS + (step_bits - 3) * 8 + steps - 7;
}

/* ---- slots ---- */

static enum err index_init(struct index *x, struct row_table *t)
{
    *x = (struct index){.slots = mem_zalloc(SLOTS_MIN, sizeof(struct slot)), .mask = SLOTS_MIN - 1};
    t->bytes += SLOTS_MIN * sizeof(struct slot);
    return x->slots == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static void index_put(struct index *x, struct slot s)
{
    uint64_t i = s.hash & x->mask;
    while (x->slots[i].ref != 0)
        i = (i + 1) & x->mask;
    x->slots[i] = s;
}

/* Moves some of the old array's slots. */
static void index_move(struct index *x, struct row_table *t, uint64_t n)
{
    for (; n > 0 && x->moved <= x->old_mask; n--, x->moved++) {
        struct slot *s = &x->old[x->moved];
        if (s->ref == 0 || s->ref == REF_GONE)
            continue;
        index_put(x, *s);
        s->ref = REF_GONE; /* searches go on behind it */
    }
    if (x->moved <= x->old_mask)
        return;
    mem_free(x->old);
    t->bytes -= (x->old_mask + 1) * sizeof(struct slot);
    x->old = NULL;
}

/* Room for one more. */
static enum err index_reserve(struct index *x, struct row_table *t)
{
    if (x->old != NULL)
        index_move(x, t, SLOTS_MOVED_PER_ADD);
    if ((x->count + 1) * 10 <= (x->mask + 1) * 7)
        return ERR_OK;
    CHECK(x->old == NULL);
    uint64_t n = (x->mask + 1) * 2;
    if (n > (uint64_t)UINT32_MAX + 1 || t->bytes + n * sizeof(struct slot) > t->bytes_max)
        return ERR_LIMIT;
    struct slot *slots = mem_zalloc(n, sizeof(*slots));
    if (slots == NULL)
        return ERR_NO_MEMORY;
    x->old = x->slots;
    x->old_mask = x->mask;
    x->moved = 0;
    x->slots = slots;
    x->mask = n - 1;
    t->bytes += n * sizeof(struct slot);
    return ERR_OK;
}

/* The slot of an entry that is in the index. */
static struct slot *index_slot(struct index *x, uint32_t hash, uint32_t ref, bool *old)
{
    uint64_t i = hash & x->mask;
    for (; x->slots[i].ref != 0; i = (i + 1) & x->mask)
        if (x->slots[i].ref == ref) {
            *old = false;
            return &x->slots[i];
        }
    CHECK(x->old != NULL);
    for (i = hash & x->old_mask; x->old[i].ref != ref; i = (i + 1) & x->old_mask)
        CHECK(x->old[i].ref != 0);
    *old = true;
    return &x->old[i];
}

/* Empties a slot; those behind it that belong further ahead move up, so that no search ends early.
 */
static void index_remove(struct index *x, uint32_t hash, uint32_t ref)
{
    bool old;
    struct slot *s = index_slot(x, hash, ref, &old);
    x->count--;
    if (old) {
        s->ref = REF_GONE;
        return;
    }
    uint64_t hole = (uint64_t)(s - x->slots);
    for (uint64_t i = (hole + 1) & x->mask; x->slots[i].ref != 0; i = (i + 1) & x->mask) {
        uint64_t home = x->slots[i].hash & x->mask;
        if (((i - home) & x->mask) < ((i - hole) & x->mask))
            continue;
        x->slots[hole] = x->slots[i];
        hole = i;
    }
    x->slots[hole] = (struct slot){0};
}

/* ---- memory of entries ---- */

static void hole_unlink(struct row_table *t, struct hole *h)
{
    uint32_t units = h->units;
    if (h->prev == 0)
        t->holes[class_of(&units)] = h->next;
    else
        ((struct hole *)at(t, h->prev))->next = h->next;
    if (h->next != 0)
        ((struct hole *)at(t, h->next))->prev = h->prev;
}

static void hole_add(struct row_table *t, uint32_t ref, uint32_t units)
{
    struct hole *h = at(t, ref);
    uint32_t whole = units, class = class_of(&whole);
    *h = (struct hole){
        .next = t->holes[class], .units = (uint16_t)units, .flags = ENTRY_FREE, .ref = ref};
    if (h->next != 0)
        ((struct hole *)at(t, h->next))->prev = ref;
    t->holes[class] = ref;
}

/* A page's number, with room for it in the array. */
static enum err page_number(struct row_table *t, uint32_t *out)
{
    if (t->unused != NO_PAGE) {
        *out = t->unused;
        return ERR_OK;
    }
    if (t->n_pages == PAGES_MAX)
        return ERR_LIMIT;
    if (t->n_pages == t->pages_cap) {
        uint32_t cap = t->pages_cap == 0 ? 16 : t->pages_cap * 2;
        struct page *pages = mem_realloc(t->pages, cap * sizeof(*pages));
        if (pages == NULL)
            return ERR_NO_MEMORY;
        t->pages = pages;
        t->pages_cap = cap;
    }
    *out = t->n_pages;
    return ERR_OK;
}

static enum err page_add(struct row_table *t, uint32_t size, uint32_t *number)
{
    if (t->bytes + size > t->bytes_max)
        return ERR_LIMIT;
    TRY(page_number(t, number));
    char *bytes = mem_alloc(size);
    if (bytes == NULL)
        return ERR_NO_MEMORY;
    if (*number == t->unused)
        t->unused = t->pages[*number].next;
    else
        t->n_pages++;
    t->pages[*number] = (struct page){.bytes = bytes, .size = size};
    t->bytes += size;
    return ERR_OK;
}

static void page_give_back(struct row_table *t, uint32_t number)
{
    struct page *p = &t->pages[number];
    uint32_t first = number < 2; /* units 0 of pages 0 and 1 are not used */
    for (uint32_t unit = first; unit < p->units;) {
        struct hole *h = at(t, number << UNIT_BITS | unit);
        hole_unlink(t, h);
        unit += h->units;
    }
    mem_free(p->bytes);
    t->bytes -= p->size;
    *p = (struct page){.next = t->unused};
    t->unused = number;
}

/* An entry of its own page. */
static enum err large_alloc(struct row_table *t, size_t bytes, uint32_t *ref)
{
    uint32_t number;
    TRY(page_add(t, (uint32_t)(bytes + UNIT_BYTES), &number));
    t->pages[number].live = 1;
    *ref = number << UNIT_BITS | 1;
    return ERR_OK;
}

static enum err entry_alloc(struct row_table *t, size_t bytes, uint32_t *ref, uint32_t *units)
{
    *units = (uint32_t)((bytes + UNIT_BYTES - 1) / UNIT_BYTES);
    if (*units >= UNITS_PER_PAGE / 2) {
        *units = 0;
        return large_alloc(t, bytes, ref);
    }
    uint32_t class = class_of(units);
    if (t->holes[class] != 0) {
        *ref = t->holes[class];
        hole_unlink(t, at(t, *ref));
        t->pages[*ref >> UNIT_BITS].live++;
        return ERR_OK;
    }
    if (t->filling == NO_PAGE || t->pages[t->filling].units + *units > UNITS_PER_PAGE) {
        uint32_t before = t->filling, number;
        TRY(page_add(t, ROW_PAGE_BYTES, &number));
        t->filling = number;
        t->pages[number].units = number < 2;
        if (before != NO_PAGE && t->pages[before].live == 0)
            page_give_back(t, before); /* it was kept for new entries */
    }
    struct page *p = &t->pages[t->filling];
    *ref = t->filling << UNIT_BITS | p->units;
    p->units += *units;
    p->live++;
    return ERR_OK;
}

static void entry_free(struct row_table *t, const struct row_entry *e)
{
    uint32_t ref = e->ref, number = ref >> UNIT_BITS;
    t->pages[number].live--;
    if (e->units > 0)
        hole_add(t, ref, e->units);
    if (t->pages[number].live == 0 && number != t->filling)
        page_give_back(t, number);
}

/* ---- the table ---- */

enum err row_table_new(uint32_t owner_bytes, uint64_t bytes_max, struct row_table **out)
{
    CHECK(owner_bytes % 8 == 0 && owner_bytes <= ROW_OWNER_BYTES_MAX);
    struct row_table *t = mem_zalloc(1, sizeof(*t));
    if (t == NULL)
        return ERR_NO_MEMORY;
    t->owner_bytes = owner_bytes;
    t->bytes_max = bytes_max;
    t->unused = t->filling = NO_PAGE;
    if (index_init(&t->keys, t) != ERR_OK || index_init(&t->rows, t) != ERR_OK) {
        row_table_free(t);
        return ERR_NO_MEMORY;
    }
    *out = t;
    return ERR_OK;
}

void row_table_free(struct row_table *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; i < t->n_pages; i++)
        mem_free(t->pages[i].bytes);
    mem_free(t->pages);
    mem_free(t->keys.slots);
    mem_free(t->keys.old);
    mem_free(t->rows.slots);
    mem_free(t->rows.old);
    mem_free(t);
}

uint64_t row_table_count(const struct row_table *t)
{
    return t->rows.count;
}
uint64_t row_table_bytes(const struct row_table *t)
{
    return t->bytes + t->pages_cap * sizeof(struct page);
}

/* Hashes as the slots have them. That of a row is mixed with its key's: rows may be empty. */
static uint32_t key_slot_hash(uint64_t hash)
{
    return (uint32_t)hash;
}
static uint32_t row_slot_hash(uint64_t hash, uint32_t row_hash)
{
    return row_hash ^ (uint32_t)(hash >> 32);
}

static bool has_key(const struct row_table *t, const struct row_entry *e, uint64_t hash,
                    struct str key)
{
    return e->hash == hash && str_eq(row_entry_key(t, e), key);
}

static bool has_row(const struct row_table *t, const struct row_entry *e, uint32_t row_hash,
                    struct str row)
{
    return e->row_hash == row_hash && str_eq((struct str){row_entry_row(t, e), e->row_bytes}, row);
}

struct row_entry *row_table_first(const struct row_table *t, uint64_t hash, struct str key)
{
    const struct index *x = &t->keys;
    uint32_t h = key_slot_hash(hash);
    for (uint64_t i = h & x->mask; x->slots[i].ref != 0; i = (i + 1) & x->mask)
        if (x->slots[i].hash == h && has_key(t, entry_at(t, x->slots[i].ref), hash, key))
            return entry_at(t, x->slots[i].ref);
    if (x->old == NULL)
        return NULL;
    for (uint64_t i = h & x->old_mask; x->old[i].ref != 0; i = (i + 1) & x->old_mask)
        if (x->old[i].hash == h && x->old[i].ref != REF_GONE &&
            has_key(t, entry_at(t, x->old[i].ref), hash, key))
            return entry_at(t, x->old[i].ref);
    return NULL;
}

struct row_entry *row_table_next(const struct row_table *t, const struct row_entry *e)
{
    return e->next == 0 ? NULL : entry_at(t, e->next);
}

static bool is_entry(const struct row_table *t, const struct row_entry *e, uint64_t hash,
                     struct str key, struct str row, uint32_t row_hash)
{
    return has_row(t, e, row_hash, row) && has_key(t, e, hash, key);
}

struct row_entry *row_table_find(const struct row_table *t, uint64_t hash, struct str key,
                                 struct str row, uint32_t row_hash)
{
    const struct index *x = &t->rows;
    uint32_t h = row_slot_hash(hash, row_hash);
    for (uint64_t i = h & x->mask; x->slots[i].ref != 0; i = (i + 1) & x->mask)
        if (x->slots[i].hash == h &&
            is_entry(t, entry_at(t, x->slots[i].ref), hash, key, row, row_hash))
            return entry_at(t, x->slots[i].ref);
    if (x->old == NULL)
        return NULL;
    for (uint64_t i = h & x->old_mask; x->old[i].ref != 0; i = (i + 1) & x->old_mask)
        if (x->old[i].hash == h && x->old[i].ref != REF_GONE &&
            is_entry(t, entry_at(t, x->old[i].ref), hash, key, row, row_hash))
            return entry_at(t, x->old[i].ref);
    return NULL;
}

void row_table_prefetch(const struct row_table *t, uint64_t hash)
{
    __builtin_prefetch(&t->keys.slots[key_slot_hash(hash) & t->keys.mask]);
}

void row_table_prefetch_entry(const struct row_table *t, uint64_t hash)
{
    const struct slot *s = &t->keys.slots[key_slot_hash(hash) & t->keys.mask];
    if (s->ref == 0)
        return;
    const char *e = at(t, s->ref);
    __builtin_prefetch(e);
    __builtin_prefetch(e + 64);
}

void row_table_prefetch_row(const struct row_table *t, uint64_t hash, uint32_t row_hash)
{
    __builtin_prefetch(&t->rows.slots[row_slot_hash(hash, row_hash) & t->rows.mask]);
    row_table_prefetch(t, hash);
}

/* Puts an entry at the head of its key's. */
static void entry_link(struct row_table *t, struct row_entry *e, struct str key)
{
    struct row_entry *first = row_table_first(t, e->hash, key);
    if (first == NULL) {
        index_put(&t->keys, (struct slot){key_slot_hash(e->hash), e->ref});
        t->keys.count++;
        return;
    }
    /* behind the first, so that its slot stays as it is */
    e->prev = first->ref;
    e->next = first->next;
    if (first->next != 0)
        entry_at(t, first->next)->prev = e->ref;
    first->next = e->ref;
}

static enum err entry_add(struct row_table *t, const struct row_entry *head, struct str key,
                          struct str row, struct row_entry **out)
{
    size_t bytes = sizeof(struct row_entry) + t->owner_bytes + key.len + row.len;
    if (key.len > ROW_BYTES_MAX || row.len > ROW_BYTES_MAX - key.len)
        return ERR_TOO_LARGE;
    TRY(index_reserve(&t->rows, t));
    TRY(index_reserve(&t->keys, t));
    uint32_t ref, units;
    TRY(entry_alloc(t, bytes, &ref, &units));
    struct row_entry *e = entry_at(t, ref);
    *e = *head;
    e->key_bytes = (uint32_t)key.len;
    e->row_bytes = (uint32_t)row.len;
    e->units = (uint16_t)units;
    e->ref = ref;
    char *to = (char *)(e + 1);
    memset(to, 0, t->owner_bytes);
    to += t->owner_bytes;
    if (key.len > 0)
        memcpy(to, key.ptr, key.len);
    if (row.len > 0)
        memcpy(to + key.len, row.ptr, row.len);
    index_put(&t->rows, (struct slot){row_slot_hash(e->hash, e->row_hash), ref});
    t->rows.count++;
    entry_link(t, e, key);
    *out = e;
    return ERR_OK;
}

enum err row_table_add(struct row_table *t, uint64_t hash, struct str key, struct str row,
                       uint32_t row_hash, int64_t weight, struct row_entry **out, bool *created)
{
    struct row_entry *e = row_table_find(t, hash, key, row, row_hash);
    *created = e == NULL;
    if (e == NULL) {
        struct row_entry head = {.hash = hash, .row_hash = row_hash, .weight = weight};
        return entry_add(t, &head, key, row, out);
    }
    int64_t sum;
    if (__builtin_add_overflow(e->weight, weight, &sum))
        return ERR_LIMIT;
    e->weight = sum;
    *out = e;
    return ERR_OK;
}

void row_table_remove(struct row_table *t, struct row_entry *e)
{
    index_remove(&t->rows, row_slot_hash(e->hash, e->row_hash), e->ref);
    if (e->next != 0)
        entry_at(t, e->next)->prev = e->prev;
    if (e->prev != 0) {
        entry_at(t, e->prev)->next = e->next;
    } else if (e->next != 0) {
        bool old;
        index_slot(&t->keys, key_slot_hash(e->hash), e->ref, &old)->ref = e->next;
    } else {
        index_remove(&t->keys, key_slot_hash(e->hash), e->ref);
    }
    entry_free(t, e);
}

struct row_entry *row_table_each(const struct row_table *t, struct row_table_cursor *c)
{
    for (; c->page < t->n_pages; *c = (struct row_table_cursor){.page = c->page + 1}) {
        const struct page *p = &t->pages[c->page];
        if (p->bytes == NULL)
            continue;
        if (p->units == 0) { /* one large entry, or none yet */
            if (c->unit == 0 && p->live > 0) {
                c->unit = 1;
                return entry_at(t, c->page << UNIT_BITS | 1);
            }
            continue;
        }
        c->unit = c->unit == 0 ? c->page < 2 : c->unit;
        while (c->unit < p->units) {
            struct row_entry *e = entry_at(t, c->page << UNIT_BITS | c->unit);
            c->unit += e->units;
            if ((e->flags & ENTRY_FREE) == 0)
                return e;
        }
    }
    return NULL;
}
