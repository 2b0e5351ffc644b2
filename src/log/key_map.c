/* Open addressing, linear probing, never more than three quarters full. */
#include "log/key_map.h"

#include "base/hash.h"
#include "base/mem.h"

enum { SLOTS_MIN = 1024 };

void key_map_init(struct key_map *m, struct host *h, size_t n_max)
{
    *m = (struct key_map){.n_max = n_max};
    host_random(h, m->seeds, sizeof m->seeds);
}

void key_map_deinit(struct key_map *m)
{
    mem_free(m->slots);
    m->slots = NULL;
    m->cap = m->n = 0;
}

/* The key's slot, or the free one where it belongs. There is always a free one. */
static struct key_slot *find(const struct key_map *m, uint64_t a, uint64_t b)
{
    size_t i = (size_t)a & (m->cap - 1);
    while (m->slots[i].offset >= 0 && (m->slots[i].a != a || m->slots[i].b != b)) {
        i = (i + 1) & (m->cap - 1);
    }
    return &m->slots[i];
}

static enum err grow(struct key_map *m)
{
    struct key_map larger = *m;
    larger.cap = m->cap == 0 ? SLOTS_MIN : m->cap * 2;
    larger.slots = mem_alloc(larger.cap * sizeof *larger.slots);
    if (larger.slots == NULL) {
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < larger.cap; i++) {
        larger.slots[i].offset = -1;
    }
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].offset >= 0) {
            *find(&larger, m->slots[i].a, m->slots[i].b) = m->slots[i];
        }
    }
    mem_free(m->slots);
    *m = larger;
    return ERR_OK;
}

enum err key_map_put(struct key_map *m, struct str key, int64_t offset)
{
    uint64_t a = hash_bytes(key.ptr, key.len, m->seeds[0]);
    uint64_t b = hash_bytes(key.ptr, key.len, m->seeds[1]);
    struct key_slot *s = m->cap > 0 ? find(m, a, b) : NULL;
    if (s == NULL || s->offset < 0) {
        if (m->n >= m->n_max) {
            return ERR_LIMIT;
        }
        if (m->n + 1 > m->cap / 4 * 3) {
            TRY(grow(m));
            s = find(m, a, b);
        }
        *s = (struct key_slot){a, b, offset};
        m->n++;
    } else if (offset > s->offset) {
        s->offset = offset;
    }
    return ERR_OK;
}

int64_t key_map_get(const struct key_map *m, struct str key)
{
    if (m->cap == 0) {
        return -1;
    }
    return find(m, hash_bytes(key.ptr, key.len, m->seeds[0]),
                hash_bytes(key.ptr, key.len, m->seeds[1]))
        ->offset;
}
