#include "base/map.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

enum { MAP_SLOTS_MIN = 16 };

struct map_slot {
    uint64_t key;
    void *value; /* NULL = empty */
};

static size_t slot_of(const struct map *m, uint64_t key)
{
    size_t at = hash_u64(key) & m->mask;
    while (m->slots[at].value != NULL && m->slots[at].key != key)
        at = (at + 1) & m->mask;
    return at;
}

static enum err map_grow(struct map *m)
{
    size_t n = m->slots == NULL ? MAP_SLOTS_MIN : (m->mask + 1) * 2;
    struct map_slot *slots = mem_zalloc(n, sizeof(*slots));
    if (slots == NULL)
        return ERR_NO_MEMORY;
    struct map grown = {.slots = slots, .mask = n - 1, .count = m->count};
    for (size_t i = 0; m->slots != NULL && i <= m->mask; i++)
        if (m->slots[i].value != NULL)
            slots[slot_of(&grown, m->slots[i].key)] = m->slots[i];
    mem_free(m->slots);
    *m = grown;
    return ERR_OK;
}

enum err map_put(struct map *m, uint64_t key, void *value)
{
    CHECK(value != NULL);
    if (m->slots == NULL || (m->count + 1) * 4 > (m->mask + 1) * 3)
        TRY(map_grow(m));
    size_t at = slot_of(m, key);
    m->count += m->slots[at].value == NULL;
    m->slots[at] = (struct map_slot){key, value};
    return ERR_OK;
}

void *map_get(const struct map *m, uint64_t key)
{
    return m->slots == NULL ? NULL : m->slots[slot_of(m, key)].value;
}

void *map_remove(struct map *m, uint64_t key)
{
    if (m->slots == NULL)
        return NULL;
    size_t hole = slot_of(m, key);
    void *value = m->slots[hole].value;
    if (value == NULL)
        return NULL;
    m->count--;
    /* Moves later members of the probe run back, so that no search stops at the hole. */
    for (size_t at = (hole + 1) & m->mask; m->slots[at].value != NULL; at = (at + 1) & m->mask) {
        size_t home = hash_u64(m->slots[at].key) & m->mask;
        if (((at - home) & m->mask) >= ((at - hole) & m->mask)) {
            m->slots[hole] = m->slots[at];
            hole = at;
        }
    }
    m->slots[hole].value = NULL;
    return value;
}

void *map_next(const struct map *m, size_t *at)
{
    while (m->slots != NULL && *at <= m->mask) {
        void *value = m->slots[(*at)++].value;
        if (value != NULL)
            return value;
    }
    return NULL;
}

void map_deinit(struct map *m)
{
    mem_free(m->slots);
    *m = (struct map){0};
}
