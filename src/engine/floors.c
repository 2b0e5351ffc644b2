#include "engine/floors.h"

#include "base/mem.h"
#include "engine/epoch.h"

#include <string.h>

enum { FLOORS_CAP_FIRST = 4 };

/* A partition's floors, ascending by offset. */
struct floor_list {
    struct list link;
    uint32_t reader, partition;
    struct floor *floors;
    size_t n, cap;
};

static uint64_t key_of(uint32_t reader, uint32_t partition)
{
    return (uint64_t)reader << 32 | partition;
}

void floors_init(struct floors *f)
{
    *f = (struct floors){0};
    list_init(&f->lists);
}

static void list_free(struct floors *f, struct floor_list *l)
{
    map_remove(&f->map, key_of(l->reader, l->partition));
    list_remove(&l->link);
    mem_free(l->floors);
    mem_free(l);
}

void floors_deinit(struct floors *f)
{
    LIST_FOR_SAFE (it, next, &f->lists)
        list_free(f, LIST_ENTRY(it, struct floor_list, link));
    map_deinit(&f->map);
}

static struct floor_list *list_of(struct floors *f, uint32_t reader, uint32_t partition)
{
    struct floor_list *l = map_get(&f->map, key_of(reader, partition));
    if (l != NULL)
        return l;
    l = mem_zalloc(1, sizeof(*l));
    if (l == NULL || map_put(&f->map, key_of(reader, partition), l) != ERR_OK) {
        mem_free(l);
        return NULL;
    }
    l->reader = reader;
    l->partition = partition;
    list_add(&f->lists, &l->link);
    return l;
}

enum err floors_add(struct floors *f, uint32_t reader, uint32_t partition, int64_t offset,
                    int64_t watermark_us)
{
    struct floor_list *l = list_of(f, reader, partition);
    if (l == NULL)
        return ERR_NO_MEMORY;
    /* Mostly behind the last, but after a crash positions may have gone back. */
    size_t at = l->n;
    while (at > 0 && l->floors[at - 1].offset >= offset)
        at--;
    if (at < l->n && l->floors[at].offset == offset) {
        if (l->floors[at].watermark_us < watermark_us)
            l->floors[at].watermark_us = watermark_us;
        return ERR_OK;
    }
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? FLOORS_CAP_FIRST : l->cap * 2;
        struct floor *grown = mem_realloc(l->floors, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        l->floors = grown;
        l->cap = cap;
    }
    memmove(&l->floors[at + 1], &l->floors[at], (l->n++ - at) * sizeof(*l->floors));
    l->floors[at] = (struct floor){offset, watermark_us};
    return ERR_OK;
}

const struct floor *floors_at(const struct floors *f, uint32_t reader, uint32_t partition,
                              int64_t from)
{
    const struct floor_list *l = map_get(&f->map, key_of(reader, partition));
    size_t low = 0, high = l == NULL ? 0 : l->n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (l->floors[mid].offset < from)
            low = mid + 1;
        else
            high = mid;
    }
    return l == NULL || low == l->n ? NULL : &l->floors[low];
}

/* Where the reader would begin with the partition after a restart; INT64_MAX: there is none. */
static int64_t needed_from(struct engine *e, const struct catalog *c, const struct floor_list *l)
{
    const struct relation *rel = catalog_relation_by_number(c, reader_relation(l->reader));
    const struct topic *t = rel == NULL ? NULL : rel->topic;
    uint32_t source = reader_source(l->reader);
    if (rel != NULL && rel->kind == REL_VIEW)
        t = source < rel->view->n_sources ? rel->view->sources[source]->topic : NULL;
    if (t == NULL || l->partition >= t->n_partitions)
        return INT64_MAX;
    return stat_get(&engine_part_stats(e, t->number, l->partition)->kept);
}

void floors_trim(struct floors *f, struct engine *e, const struct catalog *catalog)
{
    LIST_FOR_SAFE (it, next, &f->lists) {
        struct floor_list *l = LIST_ENTRY(it, struct floor_list, link);
        int64_t from = needed_from(e, catalog, l);
        size_t gone = 0;
        while (gone < l->n && l->floors[gone].offset < from)
            gone++;
        l->n -= gone;
        if (gone > 0)
            memmove(l->floors, l->floors + gone, l->n * sizeof(*l->floors));
        if (l->n == 0)
            list_free(f, l);
    }
}

enum err floors_each(const struct floors *f,
                     enum err (*each)(void *arg, uint32_t reader, uint32_t partition,
                                      int64_t offset, int64_t watermark_us),
                     void *arg)
{
    LIST_FOR (it, &f->lists) {
        const struct floor_list *l = LIST_ENTRY(it, struct floor_list, link);
        for (size_t i = 0; i < l->n; i++)
            TRY(each(arg, l->reader, l->partition, l->floors[i].offset, l->floors[i].watermark_us));
    }
    return ERR_OK;
}
