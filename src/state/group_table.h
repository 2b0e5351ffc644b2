/* Keyed state: one row ("group") per distinct key, found by hash.
 *
 *   slots (power of two, load <= 0.7)          pages (GROUP_PAGE_BYTES each, rows never move)
 *   [tag32 | ref32] ---------------------->    | group | cells | key bytes | pad | group | ...
 *
 * A ref is a page number and a place in it, never a pointer. Iteration follows insertion order,
 * which depends on nothing but the order of the input: pages are chained in the order of their use.
 * A page whose rows are all removed is given back, and its number is used again. One thread.
 *
 * Places follow from the caller's hashes. Where keys come from clients these must be seeded with a
 * secret: else a client makes keys that all meet in one place, and each search is as long as the
 * table. */
#ifndef TIDEMILL_STATE_GROUP_TABLE_H
#define TIDEMILL_STATE_GROUP_TABLE_H

#include "base/list.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    GROUP_PAGE_BYTES = 1 << 16,
    GROUP_KEY_BYTES_MAX = 16 << 10,
    GROUP_CELLS_BYTES_MAX = 16 << 10,
    GROUP_TAIL_BYTES_MAX = 16 << 10,
};

enum group_flag {
    GROUP_CLOSED = 1, /* its window is over: never changes again */
    GROUP_EMPTY = 4,  /* has no rows: listed to be removed */
    GROUP_GONE = 2,   /* removed; only the table sees such rows */
};

/* A row's head; cells and key follow. Written by the owner of the state only. */
struct group {
    uint64_t hash;
    int64_t window_end;     /* INT64_MAX: the group has no window */
    uint64_t touched_epoch; /* last epoch in which a row arrived */
    uint32_t key_bytes;
    uint16_t units; /* size of the row in 16-byte units */
    uint16_t flags;
    uint32_t next_in_window; /* ref of the next group of the same window, 0 = last */
    uint32_t reserved;
    uint64_t number;         /* how many rows had been added to the table before */
    /* cells (cells_bytes), then key bytes */
};

struct group_table;

/* Rows with `cells_bytes` of cells (a multiple of 8; they begin at a multiple of 16); all memory
 * together stays within `bytes_max`. */
enum err group_table_new(uint32_t cells_bytes, uint64_t bytes_max,
                         struct group_table **out) MUST_CHECK;
/* Keys have `bytes` more bytes behind their end, which are kept with a new group but not compared:
 * how the first row with that key wrote it. At most GROUP_TAIL_BYTES_MAX; before the first upsert.
 */
void group_table_keep_tail(struct group_table *g, uint32_t bytes);
/* How many those are. */
uint32_t group_table_tail(const struct group_table *g);
void group_table_free(struct group_table *g);
/* The group of `key`, created with zeroed cells when missing (`created` tells). ERR_LIMIT when the
 * state is full, ERR_TOO_LARGE for a key over GROUP_KEY_BYTES_MAX, ERR_NO_MEMORY. */
enum err group_table_upsert(struct group_table *g, uint64_t hash, struct str key,
                            struct group **out, bool *created) MUST_CHECK;
/* Of an empty table: room in its slots for `n` groups, so that none is moved when they come. Where
 * its bound is too low for that it does nothing. ERR_NO_MEMORY. */
enum err group_table_reserve(struct group_table *g, uint64_t n) MUST_CHECK;
/* Removes a row that is in the table. Its memory is used again when all rows of its page are gone:
 * rows that are removed together should have come together. */
void group_table_remove(struct group_table *g, struct group *row);
/* NULL when there is none. */
struct group *group_table_find(struct group_table *g, uint64_t hash, struct str key);
/* Brings the slot of `hash` into the cache. */
void group_table_prefetch(const struct group_table *g, uint64_t hash);
/* Some rows later: brings the row into the cache that the slot points to. */
void group_table_prefetch_row(const struct group_table *g, uint64_t hash);
uint64_t group_table_count(const struct group_table *g);
/* Rows ever added: the next one's number. */
uint64_t group_table_added(const struct group_table *g);
uint64_t group_table_bytes(const struct group_table *g);

static inline void *group_cells(struct group *row)
{
    return row + 1;
}
/* A row's key; its ref; the row of a ref (which must be valid). */
struct str group_key(const struct group_table *g, const struct group *row);
uint32_t group_ref(const struct group_table *g, const struct group *row);
struct group *group_at(const struct group_table *g, uint32_t ref);

/* The longest run of slots without an empty one: what a search may have to look at. Walks all. */
uint64_t group_table_run_max(const struct group_table *g);

/* Iteration in insertion order: start with a zeroed cursor; NULL at the end. Rows added meanwhile
 * are seen; rows may be removed meanwhile only when the cursor is watched. */
struct group_table_cursor {
    uint32_t page; /* its number + 1; 0 = before the first */
    uint32_t unit;
    struct list link; /* of the table's watched ones; private */
};
struct group *group_table_next(const struct group_table *g, struct group_table_cursor *c);
/* From here on the cursor goes past rows that are removed, until it is unwatched, which has to be
 * before it or the table is gone. A removal that empties a page looks at all that are watched. */
void group_table_watch(struct group_table *g, struct group_table_cursor *c);
/* On one that is not watched it does nothing. */
void group_table_unwatch(struct group_table_cursor *c);

#endif
