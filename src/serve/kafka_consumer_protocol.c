#include "serve/kafka_consumer_protocol.h"

#include "wire/kafka/codec.h"

/* Version 0 of an assignment says all that later ones do. */
enum { ASSIGNMENT_VERSION = 0 };

static struct consumer_named_partitions *read_partitions(struct kafka_reader *r, uint32_t *n)
{
    enum { LEAST_BYTES = 2 + 4 }; /* an empty name, no partitions */
    struct consumer_named_partitions *all =
        kafka_read_array(r, false, false, LEAST_BYTES, sizeof *all, n);
    for (uint32_t i = 0; i < *n && r->failed == NULL; i++) {
        all[i].topic = kafka_read_string(r, false, false);
        all[i].partitions = kafka_read_array(r, false, false, sizeof(int32_t), sizeof(int32_t),
                                             &all[i].n_partitions);
        for (uint32_t k = 0; k < all[i].n_partitions; k++)
            all[i].partitions[k] = kafka_read_int32(r);
    }
    return all;
}

bool consumer_metadata_read(struct str bytes, struct arena *a, struct consumer_metadata *out)
{
    struct kafka_reader r;
    kafka_reader_init(&r, bytes, a);
    *out = (struct consumer_metadata){0};
    int16_t version = kafka_read_int16(&r);
    out->names =
        kafka_read_array(&r, false, false, sizeof(int16_t), sizeof *out->names, &out->n_names);
    for (uint32_t i = 0; i < out->n_names && r.failed == NULL; i++)
        out->names[i] = kafka_read_string(&r, false, false);
    kafka_read_bytes(&r, false, true); /* the assignor's own */
    if (version >= 1)
        out->owned = read_partitions(&r, &out->n_owned);
    if (version >= 2)
        kafka_read_int32(&r); /* the generation that it owns them of */
    if (version >= 3)
        out->rack = kafka_read_string(&r, false, true);
    if (out->rack.len == 0)
        out->rack = (struct str){NULL, 0};
    return r.failed == NULL && version >= 0;
}

bool consumer_assignment_read(struct str bytes, struct arena *a,
                              struct consumer_named_partitions **out, uint32_t *n, bool *foreign)
{
    *out = NULL;
    *n = 0;
    *foreign = false;
    if (bytes.len == 0)
        return true;
    struct kafka_reader r;
    kafka_reader_init(&r, bytes, a);
    int16_t version = kafka_read_int16(&r);
    *out = read_partitions(&r, n);
    *foreign = kafka_read_bytes(&r, false, true).len > 0;
    return r.failed == NULL && version >= 0;
}

static bool holds(const struct consumer_partition *p, const struct consumer_member *m,
                  bool revoking)
{
    return p->holder == m->slot && (revoking || !p->revoking);
}

static void write_topic(struct kafka_writer *w, const struct consumer_group *cg,
                        const struct consumer_topic *t, const struct consumer_member *m,
                        struct str name, bool revoking)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n_partitions; i++)
        n += holds(&cg->partitions[t->first + i], m, revoking);
    kafka_write_string(w, false, false, name);
    kafka_write_count(w, false, false, n);
    for (uint32_t i = 0; i < t->n_partitions; i++)
        if (holds(&cg->partitions[t->first + i], m, revoking))
            kafka_write_int32(w, (int32_t)i);
}

static bool holds_any(const struct consumer_group *cg, const struct consumer_topic *t,
                      const struct consumer_member *m, bool revoking)
{
    for (uint32_t i = 0; i < t->n_partitions; i++)
        if (holds(&cg->partitions[t->first + i], m, revoking))
            return true;
    return false;
}

void consumer_assignment_write(struct buf *out, const struct consumer_group *cg,
                               const struct consumer_member *m, const struct catalog *c,
                               bool revoking)
{
    struct kafka_writer w = {.out = out};
    uint32_t n = 0;
    for (uint32_t i = 0; i < cg->n_topics; i++)
        n += catalog_topic_by_number(c, cg->topics[i].number) != NULL &&
             holds_any(cg, &cg->topics[i], m, revoking);
    kafka_write_int16(&w, ASSIGNMENT_VERSION);
    kafka_write_count(&w, false, false, n);
    for (uint32_t i = 0; i < cg->n_topics; i++) {
        const struct topic *t = catalog_topic_by_number(c, cg->topics[i].number);
        if (t != NULL && holds_any(cg, &cg->topics[i], m, revoking))
            write_topic(&w, cg, &cg->topics[i], m, t->name, revoking);
    }
    kafka_write_bytes(&w, false, true, (struct str){NULL, 0});
}
