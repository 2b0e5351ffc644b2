/* DescribeProducers: one request per partition, answered when all are back. */
#include "serve/kafka_int.h"

#include "base/mem.h"

struct describe_part {
    struct producers_request producers;
    struct kafka_request *request;
    struct kafka_describe_producers_res_partition *res;
};

struct describe_state {
    struct kafka_describe_producers_res *res;
    uint32_t pending; /* requests not done, and 1 while they are being started */
};

static void describe_done(struct kafka_request *r)
{
    struct describe_state *st = r->state;
    if (--st->pending == 0)
        kafka_request_finish(r, st->res);
}

static void part_done(struct producers_request *p)
{
    struct describe_part *part = CONTAINER_OF(p, struct describe_part, producers);
    struct kafka_request *r = part->request;
    struct kafka_describe_producers_res_producer *out =
        arena_zalloc(&r->arena, p->n + 1, sizeof *out);
    part->res->error_code = kafka_error_of(out == NULL ? ERR_NO_MEMORY : p->err);
    for (uint32_t i = 0; i < p->n && out != NULL && p->err == ERR_OK; i++)
        out[i] = (struct kafka_describe_producers_res_producer){
            .producer_id = p->list[i].producer_id,
            .producer_epoch = p->list[i].epoch,
            .last_sequence = p->list[i].last_sequence,
            .last_timestamp = p->list[i].seen_ms,
            .coordinator_epoch = 0,
            .current_txn_start_offset = p->list[i].txn_first_offset};
    part->res->active_producers = out;
    part->res->n_active_producers = out != NULL && p->err == ERR_OK ? p->n : 0;
    mem_free(p->list);
    describe_done(r);
}

static void part_begin(struct kafka_request *r, const struct topic *t, int32_t index,
                       struct kafka_describe_producers_res_partition *res)
{
    struct describe_state *st = r->state;
    res->index = index;
    if (t == NULL || index < 0 || (uint32_t)index >= t->n_partitions) {
        res->error_code = KAFKA_E_UNKNOWN_TOPIC;
        return;
    }
    struct describe_part *part = arena_zalloc(&r->arena, 1, sizeof *part);
    if (part == NULL) {
        res->error_code = kafka_error_of(ERR_NO_MEMORY);
        return;
    }
    part->request = r;
    part->res = res;
    part->producers.shard = (t->placement + (uint32_t)index) % engine_shards(r->server->engine);
    part->producers.topic_number = t->number;
    part->producers.partition = (uint32_t)index;
    part->producers.done = part_done;
    st->pending++;
    shard_producers(r->shard, &part->producers);
}

void kafka_handle_describe_producers(struct kafka_request *r)
{
    const struct kafka_describe_producers_req *req = r->request;
    struct describe_state *st = kafka_request_alloc(r, 1, sizeof *st);
    if (st == NULL)
        return;
    st->res = kafka_request_alloc(r, 1, sizeof *st->res);
    if (st->res == NULL)
        return;
    st->res->topics = kafka_request_alloc(r, req->n_topics, sizeof *st->res->topics);
    if (st->res->topics == NULL)
        return;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        struct kafka_describe_producers_res_topic *out = &st->res->topics[i];
        out->name = req->topics[i].name;
        out->n_partitions = req->topics[i].n_partition_indexes;
        out->partitions = kafka_request_alloc(r, out->n_partitions, sizeof *out->partitions);
        if (out->partitions == NULL)
            return;
    }
    st->res->n_topics = req->n_topics;
    st->pending = 1;
    r->state = st;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        const struct topic *t = catalog_topic(kafka_request_catalog(r), req->topics[i].name);
        for (uint32_t k = 0; k < req->topics[i].n_partition_indexes; k++)
            part_begin(r, t, req->topics[i].partition_indexes[k],
                       &st->res->topics[i].partitions[k]);
    }
    describe_done(r);
}
