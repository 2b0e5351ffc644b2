#include "serve/kafka_int.h"

/* ListOffsets: one offset request per partition, answered when all are back. */

struct list_part {
    struct offset_request offset;
    struct kafka_request *request;
    struct kafka_list_offsets_res_partition *res;
};

struct list_state {
    struct kafka_list_offsets_res *res;
    struct list_part *parts;
    uint32_t n_parts;
    uint32_t pending; /* requests not done, and 1 while they are being started */
};

enum {
    LIST_LATEST = -1,
    LIST_EARLIEST = -2,
    LIST_MAX_TIMESTAMP = -3,
    LIST_EARLIEST_LOCAL = -4,
    LIST_LATEST_TIERED = -5,
    LIST_EARLIEST_PENDING_UPLOAD = -6,
    LIST_TIERED_FROM = 9,   /* version */
    LIST_PENDING_FROM = 11,
};

static void list_done(struct kafka_request *r)
{
    struct list_state *st = r->state;
    if (--st->pending == 0)
        kafka_request_finish(r, st->res);
}

static void offset_done(struct offset_request *o)
{
    struct list_part *p = CONTAINER_OF(o, struct list_part, offset);
    p->res->error_code = kafka_error_of(o->err);
    if (o->err == ERR_OK) {
        p->res->offset = o->offset;
        bool has_time =
            o->offset >= 0 && (o->timestamp_ms >= 0 || o->timestamp_ms == LIST_MAX_TIMESTAMP);
        p->res->timestamp = has_time ? o->found_ms : -1;
        p->res->leader_epoch = o->offset >= 0 ? 0 : -1;
    }
    list_done(p->request);
}

static void part_begin(struct kafka_request *r, const struct topic *t,
                       const struct kafka_list_offsets_req_partition *in,
                       struct kafka_list_offsets_res_partition *res)
{
    struct list_state *st = r->state;
    res->index = in->index;
    res->timestamp = res->offset = -1;
    res->leader_epoch = -1;
    if (t == NULL || in->index < 0 || (uint32_t)in->index >= t->n_partitions) {
        res->error_code = KAFKA_E_UNKNOWN_TOPIC;
        return;
    }
    res->error_code = kafka_leader_epoch_check(in->current_leader_epoch);
    if (res->error_code != KAFKA_OK)
        return;
    int16_t v = r->header.api_version;
    if ((in->timestamp == LIST_LATEST_TIERED && v >= LIST_TIERED_FROM) ||
        (in->timestamp == LIST_EARLIEST_PENDING_UPLOAD && v >= LIST_PENDING_FROM))
        return; /* nothing is tiered: no offset, and no error */
    if (in->timestamp < LIST_EARLIEST_LOCAL) {
        res->error_code = KAFKA_E_INVALID_REQUEST;
        return;
    }
    struct list_part *p = &st->parts[st->n_parts++];
    p->request = r;
    p->res = res;
    p->offset.topic = t;
    p->offset.partition = (uint32_t)in->index;
    p->offset.timestamp_ms = in->timestamp == LIST_EARLIEST_LOCAL ? LIST_EARLIEST : in->timestamp;
    p->offset.committed = ((const struct kafka_list_offsets_req *)r->request)->isolation_level == 1;
    p->offset.done = offset_done;
    st->pending++;
    shard_offsets(r->shard, &p->offset);
}

void kafka_handle_list_offsets(struct kafka_request *r)
{
    const struct kafka_list_offsets_req *req = r->request;
    uint32_t n_parts = 0;
    for (uint32_t i = 0; i < req->n_topics; i++)
        n_parts += req->topics[i].n_partitions;
    struct list_state *st = kafka_request_alloc(r, 1, sizeof *st);
    if (st == NULL)
        return;
    st->res = kafka_request_alloc(r, 1, sizeof *st->res);
    if (st->res == NULL)
        return;
    st->parts = kafka_request_alloc(r, n_parts, sizeof *st->parts);
    if (st->parts == NULL)
        return;
    struct kafka_list_offsets_res_topic *topics =
        kafka_request_alloc(r, req->n_topics, sizeof *topics);
    if (topics == NULL)
        return;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        topics[i].name = req->topics[i].name;
        topics[i].n_partitions = req->topics[i].n_partitions;
        topics[i].partitions =
            kafka_request_alloc(r, topics[i].n_partitions, sizeof *topics[i].partitions);
        if (topics[i].partitions == NULL)
            return;
    }
    st->res->topics = topics;
    st->res->n_topics = req->n_topics;
    st->pending = 1;
    r->state = st;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        const struct topic *t = catalog_topic(kafka_request_catalog(r), req->topics[i].name);
        for (uint32_t k = 0; k < topics[i].n_partitions; k++)
            part_begin(r, t, &req->topics[i].partitions[k], &topics[i].partitions[k]);
    }
    list_done(r);
}
