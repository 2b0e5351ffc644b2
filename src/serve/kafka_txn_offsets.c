/* TxnOffsetCommit: an OffsetCommit that is part of a transaction. */
#include "serve/kafka_coordinator.h"
#include "serve/kafka_txn.h"

struct txn_commit {
    struct offsets_write write;
    struct kafka_request *request;
};

static bool txn_commit_still(struct offsets_write *w)
{
    const struct txn_commit *st = CONTAINER_OF(w, struct txn_commit, write);
    const struct kafka_txn_offset_commit_req *req = st->request->request;
    return kafka_txns_admit(st->request->server->txns, req->transactional_id, req->producer_id,
                            req->producer_epoch, TXN_PART_OFFSETS, false) == KAFKA_OK;
}

static void txn_commit_answer(struct kafka_request *r, int16_t error)
{
    const struct kafka_txn_offset_commit_req *req = r->request;
    struct kafka_txn_offset_commit_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL)
        res->topics = arena_zalloc(&r->arena, req->n_topics, sizeof *res->topics);
    if (res == NULL || res->topics == NULL) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    res->n_topics = req->n_topics;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        struct kafka_txn_offset_commit_res_topic *out = &res->topics[i];
        out->name = req->topics[i].name;
        out->partitions =
            arena_zalloc(&r->arena, req->topics[i].n_partitions, sizeof *out->partitions);
        out->n_partitions = out->partitions == NULL ? 0 : req->topics[i].n_partitions;
        for (uint32_t k = 0; k < out->n_partitions; k++) {
            out->partitions[k].index = req->topics[i].partitions[k].index;
            out->partitions[k].error_code = error;
        }
    }
    kafka_coordinator_reply(r, res);
}

static void txn_commit_done(struct offsets_write *w, enum err e)
{
    struct txn_commit *st = CONTAINER_OF(w, struct txn_commit, write);
    int16_t error = e == ERR_OK          ? (int16_t)KAFKA_OK
                    : e == ERR_TXN_STATE ? (int16_t)KAFKA_E_INVALID_PRODUCER_EPOCH
                                         : (int16_t)KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    txn_commit_answer(st->request, error);
}

/* Copies the offsets; Kafka's error code. */
static int16_t txn_commit_collect(struct txn_commit *st)
{
    struct kafka_request *r = st->request;
    const struct kafka_txn_offset_commit_req *req = r->request;
    uint32_t n = 0;
    for (uint32_t i = 0; i < req->n_topics; i++)
        n += req->topics[i].n_partitions;
    st->write.items = arena_zalloc(&r->arena, n, sizeof *st->write.items);
    if (st->write.items == NULL)
        return KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    for (uint32_t i = 0; i < req->n_topics; i++)
        for (uint32_t k = 0; k < req->topics[i].n_partitions; k++) {
            const struct kafka_txn_offset_commit_req_partition *p = &req->topics[i].partitions[k];
            if (p->committed_metadata.len > GROUP_OFFSET_METADATA_BYTES_MAX)
                return KAFKA_E_OFFSET_METADATA_TOO_LARGE;
            st->write.items[st->write.n_items++] = (struct offsets_item){
                .topic = req->topics[i].name,
                .partition = p->index,
                .offset = p->committed_offset,
                .leader_epoch = p->committed_leader_epoch,
                .metadata = p->committed_metadata,
            };
        }
    return KAFKA_OK;
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
    int16_t error = txn_commit_collect(st);
    /* A producer that does not say for which member it commits, as none did before version 3, is
     * fenced by its transactional id alone, also while the group has members. */
    bool member = r->header.api_version >= 3 &&
                  (req->generation_id >= 0 || req->member_id.len > 0 ||
                   req->group_instance_id.ptr != NULL);
    if (error == KAFKA_OK && member)
        error = kafka_groups_may_commit(&co->groups, kafka_coordinator_now_ms(co), req->group_id,
                                        req->generation_id, req->member_id,
                                        req->group_instance_id);
    else if (error == KAFKA_OK && !kafka_group_id_valid(req->group_id))
        error = KAFKA_E_INVALID_GROUP_ID;
    if (error == KAFKA_OK)
        error = kafka_txns_admit(r->server->txns, req->transactional_id, req->producer_id,
                                 req->producer_epoch, TXN_PART_OFFSETS, r->header.api_version >= 5);
    if (error != KAFKA_OK || st->write.n_items == 0) {
        txn_commit_answer(r, error);
        return;
    }
    offsets_log_write(co->log, &st->write);
}
