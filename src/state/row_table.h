/* Rows with weights under keys: a multiset that joins and other operators keep of their inputs.
 *
 *   by key: slots [hash32 | ref32] --> first entry of the key <--> next <--> ...
 *   by row: slots [hash32 | ref32] --> entry: head | owner's bytes | key | row | pad
 *
 * Entries live in pages and never move; a ref is a page and a place in it. What an entry leaves
 * behind is taken by the next one of its size, and a page whose entries are all gone is given
 * back. Slots grow bit by bit: an add moves a few to the new array, none all of them. One thread.
 *
 * Places follow from the caller's hashes, which must be seeded with a secret (see group_table.h).
 */
#ifndef TIDEMILL_STATE_ROW_TABLE_H
#define TIDEMILL_STATE_ROW_TABLE_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    ROW_PAGE_BYTES = 1 << 16,
    ROW_BYTES_MAX = 16 << 20, /* key and row together; one over a page has a page of its own */
    ROW_OWNER_BYTES_MAX = 20 << 10,
};

/* An entry's head. Written by the table only, but for the owner's bytes behind it. */
struct row_entry {
    uint64_t hash;  /* of the key */
    int64_t weight; /* of all that was added; may be 0 or less */
    uint32_t row_hash;
    uint32_t next, prev; /* refs, of the same key; 0 = none */
    uint32_t key_bytes, row_bytes;
    uint16_t units; /* of 16 bytes; 0 = has its page for itself */
    uint16_t flags;
    uint32_t ref; /* its own */
    uint32_t reserved;
};

struct row_table;

/* Entries with `owner_bytes` (multiple of 8) for their owner, zeros at first; all memory together
 * stays within `bytes_max`. */
enum err row_table_new(uint32_t owner_bytes, uint64_t bytes_max, struct row_table **out) MUST_CHECK;
void row_table_free(struct row_table *t);
/* Adds `weight` to the row under the key; the entry is made when missing. It stays also when its
 * weight becomes 0: the owner removes it. ERR_LIMIT when the table is full or the weight does not
 * fit 64 bits, ERR_TOO_LARGE over ROW_BYTES_MAX, ERR_NO_MEMORY; the table is as before then. */
enum err row_table_add(struct row_table *t, uint64_t hash, struct str key, struct str row,
                       uint32_t row_hash, int64_t weight, struct row_entry **out,
                       bool *created) MUST_CHECK;
/* NULL when there is none. */
struct row_entry *row_table_find(const struct row_table *t, uint64_t hash, struct str key,
                                 struct str row, uint32_t row_hash);
/* Removes an entry that is in the table. */
void row_table_remove(struct row_table *t, struct row_entry *e);
/* The key's entries in no particular order; NULL at the end. The one at hand may be removed when
 * the next one is known. */
struct row_entry *row_table_first(const struct row_table *t, uint64_t hash, struct str key);
struct row_entry *row_table_next(const struct row_table *t, const struct row_entry *e);
/* Brings what a search looks at first into the cache; some rows later, the entries there. */
void row_table_prefetch(const struct row_table *t, uint64_t hash);
void row_table_prefetch_entry(const struct row_table *t, uint64_t hash);
/* The same for row_table_add and row_table_find. */
void row_table_prefetch_row(const struct row_table *t, uint64_t hash, uint32_t row_hash);
/* Entries; bytes. */
uint64_t row_table_count(const struct row_table *t);
uint64_t row_table_bytes(const struct row_table *t);

static inline void *row_entry_owner(const struct row_entry *e)
{
    return (void *)(uintptr_t)(e + 1);
}
/* What an entry holds. */
struct str row_entry_key(const struct row_table *t, const struct row_entry *e);
const char *row_entry_row(const struct row_table *t, const struct row_entry *e);

/* All entries, in no particular order: start with a zeroed cursor; NULL at the end. The one at hand
 * may be removed; entries added meanwhile may be seen or not. */
struct row_table_cursor {
    uint32_t page, unit;
};
struct row_entry *row_table_each(const struct row_table *t, struct row_table_cursor *c);

#endif
