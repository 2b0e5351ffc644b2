#include "serve/kafka_int.h"

/* DeleteRecords and OffsetForLeaderEpoch: one engine request per partition, answered when all are
 * back. */

/* Requests not done, and 1 while they are being started. */
struct pending {
    void *res;
    uint32_t n;
};

static void one_done(struct kafka_request *r)
{
    struct pending *st = r->state;
    if (--st->n == 0)
        kafka_request_finish(r, st->res);
}

/* Memory for one partition's request, which is counted; NULL sets the error. */
static void *part_new(struct kafka_request *r, size_t size, int16_t *error)
{
    struct pending *st = r->state;
    void *p = arena_zalloc(&r->arena, 1, size);
    if (p == NULL)
        *error = kafka_error_of(ERR_NO_MEMORY);
    else
        st->n++;
    return p;
}

static bool part_known(const struct topic *t, int32_t partition)
{
    return t != NULL && partition >= 0 && (uint32_t)partition < t->n_partitions;
}

static bool pending_begin(struct kafka_request *r, void *res)
{
    struct pending *st = kafka_request_alloc(r, 1, sizeof *st);
    if (st == NULL)
        return false;
    *st = (struct pending){res, 1};
    r->state = st;
    return true;
}

/* ---- DeleteRecords ---- */

struct trim_part {
    struct trim_request trim;
    struct kafka_request *request;
    struct kafka_delete_records_res_partition *res;
};

static void trim_done(struct trim_request *t)
{
    struct trim_part *p = CONTAINER_OF(t, struct trim_part, trim);
    p->res->error_code =
        t->err == ERR_BUSY ? (int16_t)KAFKA_E_POLICY_VIOLATION : kafka_error_of(t->err);
    p->res->low_watermark = t->err == ERR_OK ? t->start_offset : -1;
    one_done(p->request);
}

static void trim_begin(struct kafka_request *r, const struct topic *t,
                       const struct kafka_delete_records_req_partition *in,
                       struct kafka_delete_records_res_partition *res)
{
    *res = (struct kafka_delete_records_res_partition){.index = in->index, .low_watermark = -1};
    if (!part_known(t, in->index))
        res->error_code = KAFKA_E_UNKNOWN_TOPIC;
    else if (t->kind != TOPIC_USER)
        res->error_code = KAFKA_E_TOPIC_AUTHORIZATION;
    struct trim_part *p =
        res->error_code == KAFKA_OK ? part_new(r, sizeof *p, &res->error_code) : NULL;
    if (p == NULL)
        return;
    p->request = r;
    p->res = res;
    p->trim.topic = t;
    p->trim.partition = (uint32_t)in->index;
    p->trim.offset = in->offset;
    p->trim.done = trim_done;
    shard_trim(r->shard, &p->trim);
}

void kafka_handle_delete_records(struct kafka_request *r)
{
    const struct kafka_delete_records_req *req = r->request;
    struct kafka_delete_records_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    res->topics = kafka_request_alloc(r, req->n_topics, sizeof *res->topics);
    if (res->topics == NULL)
        return;
    res->n_topics = req->n_topics;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        struct kafka_delete_records_res_topic *t = &res->topics[i];
        t->name = req->topics[i].name;
        t->n_partitions = req->topics[i].n_partitions;
        t->partitions = kafka_request_alloc(r, t->n_partitions, sizeof *t->partitions);
        if (t->partitions == NULL)
            return;
    }
    if (!pending_begin(r, res))
        return;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        const struct topic *t = catalog_topic(kafka_request_catalog(r), req->topics[i].name);
        for (uint32_t k = 0; k < req->topics[i].n_partitions; k++)
            trim_begin(r, t, &req->topics[i].partitions[k], &res->topics[i].partitions[k]);
    }
    one_done(r);
}

/* ---- OffsetForLeaderEpoch ---- */

struct epoch_part {
    struct offset_request offset;
    struct kafka_request *request;
    struct kafka_offset_for_leader_epoch_res_partition *res;
};

static void epoch_done(struct offset_request *o)
{
    struct epoch_part *p = CONTAINER_OF(o, struct epoch_part, offset);
    p->res->error_code = kafka_error_of(o->err);
    if (o->err == ERR_OK) {
        p->res->leader_epoch = 0;
        p->res->end_offset = o->high_watermark;
    }
    one_done(p->request);
}

/* There was one leadership ever, epoch 0, and what clients have seen of it was durable. */
static void epoch_begin(struct kafka_request *r, const struct topic *t,
                        const struct kafka_offset_for_leader_epoch_req_partition *in,
                        struct kafka_offset_for_leader_epoch_res_partition *res)
{
    *res = (struct kafka_offset_for_leader_epoch_res_partition){
        .partition = in->partition, .leader_epoch = -1, .end_offset = -1};
    if (!part_known(t, in->partition))
        res->error_code = KAFKA_E_UNKNOWN_TOPIC;
    else
        res->error_code = kafka_leader_epoch_check(in->current_leader_epoch);
    if (res->error_code != KAFKA_OK || in->leader_epoch != 0)
        return;
    struct epoch_part *p = part_new(r, sizeof *p, &res->error_code);
    if (p == NULL)
        return;
    p->request = r;
    p->res = res;
    p->offset.topic = t;
    p->offset.partition = (uint32_t)in->partition;
    p->offset.timestamp_ms = -1;
    p->offset.done = epoch_done;
    shard_offsets(r->shard, &p->offset);
}

void kafka_handle_offset_for_leader_epoch(struct kafka_request *r)
{
    const struct kafka_offset_for_leader_epoch_req *req = r->request;
    struct kafka_offset_for_leader_epoch_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    res->topics = kafka_request_alloc(r, req->n_topics, sizeof *res->topics);
    if (res->topics == NULL)
        return;
    res->n_topics = req->n_topics;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        struct kafka_offset_for_leader_epoch_res_topic *t = &res->topics[i];
        t->topic = req->topics[i].topic;
        t->n_partitions = req->topics[i].n_partitions;
        t->partitions = kafka_request_alloc(r, t->n_partitions, sizeof *t->partitions);
        if (t->partitions == NULL)
            return;
    }
    if (!pending_begin(r, res))
        return;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        const struct topic *t = catalog_topic(kafka_request_catalog(r), req->topics[i].topic);
        for (uint32_t k = 0; k < req->topics[i].n_partitions; k++)
            epoch_begin(r, t, &req->topics[i].partitions[k], &res->topics[i].partitions[k]);
    }
    one_done(r);
}
