/* TxnOffsetCommit: an OffsetCommit that is part of a transaction. Since version 6 it names topics
 * by id. */
#include "serve/kafka_coordinator.h"
#include "serve/kafka_txn.h"

struct txn_commit {
    struct offsets_write write;
    struct kafka_txn_offset_commit_res *res;
    struct kafka_request *request;
};

static bool txn_commit_still(struct offsets_write *w)
{
    const struct txn_commit *st = CONTAINER_OF(w, struct txn_commit, write);
    const struct kafka_txn_offset_commit_req *req = st->request->request;
    return kafka_txns_admit(st->request->server->txns, req->transactional_id, req->producer_id,
                            req->producer_epoch, TXN_PART_OFFSETS, false) == KAFKA_OK;
}

/* `error` for those that have none of their own. */
static void txn_commit_answer(const struct txn_commit *st, int16_t error)
{
    for (uint32_t i = 0; i < st->res->n_topics; i++)
        for (uint32_t k = 0; k < st->res->topics[i].n_partitions; k++) {
            int16_t *code = &st->res->topics[i].partitions[k].error_code;
            if (*code == KAFKA_OK)
                *code = error;
        }
    kafka_coordinator_reply(st->request, st->res);
}

static void txn_commit_done(struct offsets_write *w, enum err e)
{
    struct txn_commit *st = CONTAINER_OF(w, struct txn_commit, write);
    int16_t error = e == ERR_OK          ? (int16_t)KAFKA_OK
                    : e == ERR_TXN_STATE ? (int16_t)KAFKA_E_INVALID_PRODUCER_EPOCH
                                         : (int16_t)KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    txn_commit_answer(st, error);
}

/* One topic's offsets into the write, or their errors into the answer. False: out of memory. */
static bool txn_commit_topic(struct txn_commit *st, const struct topic *t,
                             const struct kafka_txn_offset_commit_req_topic *in,
                             struct kafka_txn_offset_commit_res_topic *out)
{
    struct kafka_request *r = st->request;
    bool by_id = r->header.api_version >= 6;
    struct str name = t != NULL ? arena_str(&r->arena, t->name) : STR("");
    out->name = in->name;
    out->topic_id = in->topic_id;
    out->n_partitions = in->n_partitions;
    out->partitions = arena_zalloc(&r->arena, in->n_partitions, sizeof *out->partitions);
    if (out->partitions == NULL || name.ptr == NULL)
        return false;
    for (uint32_t k = 0; k < in->n_partitions; k++) {
        const struct kafka_txn_offset_commit_req_partition *p = &in->partitions[k];
        const struct offsets_item item = {.topic = name,
                                          .partition = p->index,
                                          .offset = p->committed_offset,
                                          .leader_epoch = p->committed_leader_epoch,
                                          .metadata = p->committed_metadata};
        out->partitions[k].index = p->index;
        out->partitions[k].error_code = kafka_group_commit_add(&st->write, t, by_id, &item);
    }
    return true;
}

/* Copies what may be committed into the write; the rest gets its error. False: out of memory. */
static bool txn_commit_collect(struct kafka_coordinator *co, struct txn_commit *st)
{
    struct kafka_request *r = st->request;
    const struct kafka_txn_offset_commit_req *req = r->request;
    const struct catalog *c = shard_catalog(engine_shard(co->engine, 0));
    uint32_t n = 0;
    for (uint32_t i = 0; i < req->n_topics; i++)
        n += req->topics[i].n_partitions;
    st->res = arena_zalloc(&r->arena, 1, sizeof *st->res);
    st->write.items = arena_zalloc(&r->arena, n, sizeof *st->write.items);
    if (st->res == NULL || st->write.items == NULL)
        return false;
    st->res->topics = arena_zalloc(&r->arena, req->n_topics, sizeof *st->res->topics);
    if (st->res->topics == NULL)
        return false;
    st->res->n_topics = req->n_topics;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        const struct kafka_txn_offset_commit_req_topic *in = &req->topics[i];
        const struct topic *t = r->header.api_version >= 6
                                    ? catalog_topic_by_id(c, in->topic_id.bytes)
                                    : catalog_topic(c, in->name);
        if (!txn_commit_topic(st, t, in, &st->res->topics[i]))
            return false;
    }
    return true;
}

/* May the producer commit for the group? Kafka's error code. */
static int16_t txn_commit_check(struct kafka_coordinator *co, const struct kafka_request *r)
{
    const struct kafka_txn_offset_commit_req *req = r->request;
    /* A producer that does not say for which member it commits, as none did before version 3, is
     * fenced by its transactional id alone, also while the group has members. */
    bool member =
        r->header.api_version >= 3 &&
        (req->generation_id >= 0 || req->member_id.len > 0 || req->group_instance_id.ptr != NULL);
    if (!member)
        return kafka_group_id_valid(req->group_id) ? KAFKA_OK : KAFKA_E_INVALID_GROUP_ID;
    int16_t error =
        kafka_groups_may_commit(&co->groups, kafka_coordinator_now_ms(co), req->group_id,
                                req->generation_id, req->member_id, req->group_instance_id);
    return r->header.api_version < 6 ? kafka_group_commit_error_old(error) : error;
}

void kafka_group_txn_commit(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_txn_offset_commit_req *req = r->request;
    struct txn_commit *st = arena_zalloc(&r->arena, 1, sizeof *st);
    if (st == NULL) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    st->request = r;
    st->write = (struct offsets_write){.group = req->group_id,
                                       .transactional = true,
                                       .producer_id = req->producer_id,
                                       .producer_epoch = req->producer_epoch,
                                       .still = txn_commit_still,
                                       .done = txn_commit_done};
    if (!txn_commit_collect(co, st)) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    int16_t error = st->write.n_items > 0 ? txn_commit_check(co, r) : KAFKA_OK;
    if (error == KAFKA_OK && st->write.n_items > 0)
        error = kafka_txns_admit(r->server->txns, req->transactional_id, req->producer_id,
                                 req->producer_epoch, TXN_PART_OFFSETS, r->header.api_version >= 5);
    if (error != KAFKA_OK || st->write.n_items == 0)
        txn_commit_answer(st, error);
    else
        offsets_log_write(co->log, &st->write);
}
