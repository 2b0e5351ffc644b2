/* A shard's partitions follow the catalog. */
#include "engine/partition.h"

void parts_drop_gone(struct shard *s, const struct catalog *from, const struct catalog *to)
{
    for (uint32_t i = 0; from != NULL && i < from->n_topics; i++) {
        const struct topic *t = from->topics[i];
        if (catalog_topic_by_number(to, t->number) != NULL)
            continue;
        for (uint32_t p = 0; p < PARTITIONS_MAX; p++) {
            struct part *part = part_find(s, t->number, p);
            if (part != NULL)
                part_drop(part);
        }
    }
}

enum err parts_open_new(struct shard *s, const struct catalog *c, struct err_detail *why)
{
    const struct catalog *old = s->catalog;
    for (uint32_t t = 0; t < c->n_topics; t++) {
        const struct topic *topic = c->topics[t];
        if (old != NULL && catalog_topic_by_number(old, topic->number) == topic)
            continue; /* versions share what did not change */
        for (uint32_t p = 0; p < topic->n_partitions; p++) {
            struct part *part;
            if (topic_shard(s->engine, topic, p) == s->index &&
                part_find(s, topic->number, p) == NULL)
                TRY(part_open(s, topic, p, &part, why));
        }
    }
    return ERR_OK;
}

void parts_configure(struct shard *s, const struct catalog *c)
{
    const struct catalog *old = s->catalog; /* NULL at the start: all were just opened */
    for (uint32_t t = 0; old != NULL && t < c->n_topics; t++) {
        const struct topic *topic = c->topics[t];
        if (catalog_topic_by_id(old, topic->id) == topic)
            continue;
        for (uint32_t p = 0; p < topic->n_partitions; p++) {
            struct part *part = part_find(s, topic->number, p);
            if (part != NULL)
                part_configure(part, topic);
        }
    }
}
