#include "serve/kafka_txn.h"

#include <inttypes.h>
#include <stdatomic.h>

/* One partition of a produce request under way. */
struct produce_part {
    struct append_request append;
    struct kafka_request *request;
    struct kafka_produce_res_partition *res;
    /* of a transaction */
    int64_t producer_id;
    int16_t producer_epoch;
    int16_t refused; /* by the transaction coordinator: Kafka's code */
};

struct produce_state {
    struct kafka_produce_res *res;
    uint32_t pending; /* appends not done, and 1 while they are being started */
    uint32_t topic, partition; /* which of the request's is being checked */
    int16_t refusal;           /* of the whole request, with a text */
    struct str refusal_text;
    struct kafka_check check;
};

enum { PRODUCE_VERSION_MIN = 3, PRODUCE_BY_ID_FROM = 13 };

static bool has_error(const struct kafka_produce_res *res)
{
    for (uint32_t i = 0; i < res->n_topics; i++)
        for (uint32_t k = 0; k < res->topics[i].n_partitions; k++)
            if (res->topics[i].partitions[k].error_code != KAFKA_OK)
                return true;
    return false;
}

static void produce_done(struct kafka_request *r)
{
    struct produce_state *st = r->state;
    if (--st->pending > 0)
        return;
    /* Nobody reads an answer to acks=0: ending the connection makes the producer look again. */
    if (r->silent && has_error(st->res))
        conn_close(r->conn);
    kafka_request_finish(r, st->res);
}

static void part_error(struct kafka_produce_res_partition *p, int16_t code, struct str text)
{
    p->error_code = code;
    p->base_offset = -1;
    p->error_message = text;
}

static void append_done(struct append_request *a)
{
    struct produce_part *part = CONTAINER_OF(a, struct produce_part, append);
    struct kafka_request *r = part->request;
    if (part->refused != KAFKA_OK) {
        part_error(part->res, part->refused,
                   STR("the producer has no transaction that may write to the partition now"));
    } else if (a->err == ERR_OK) {
        part->res->base_offset = a->base_offset;
        part->res->log_start_offset = a->log_start_offset;
        part->res->log_append_time_ms = a->append_time_ms;
        atomic_fetch_add_explicit(&r->server->n_produced_bytes, a->n_bytes, memory_order_relaxed);
    } else {
        part_error(part->res, kafka_error_of(a->err), kafka_error_text(r, a->err, &a->why));
    }
    produce_done(r);
}

/* Only what clients own may be written by them. */
static bool topic_writable(struct kafka_request *r, const struct topic *t,
                           struct kafka_produce_res_partition *res)
{
    if (t->kind == TOPIC_USER)
        return true;
    int16_t code = t->kind == TOPIC_INTERNAL ? KAFKA_E_INVALID_TOPIC : KAFKA_E_TOPIC_AUTHORIZATION;
    part_error(res, code,
               arena_printf(&r->arena,
                            "topic \"%.*s\" is written by the server only: produce to the "
                            "table that its view reads",
                            STR_ARG(t->name)));
    return false;
}

/* The records that are refused by themselves, for a producer that tells its callers one by one. */
static void record_errors(struct kafka_request *r, const struct kafka_run *run,
                          struct kafka_produce_res_partition *res)
{
    struct kafka_produce_res_record_error *errors =
        arena_zalloc(&r->arena, run->n_errors, sizeof *errors);
    for (uint32_t i = 0; errors != NULL && i < run->n_errors; i++) {
        errors[i].batch_index = run->errors[i].record;
        errors[i].message = str_of(run->errors[i].text);
    }
    res->record_errors = errors;
    res->n_record_errors = errors != NULL ? run->n_errors : 0;
}

/* What the topic asks of records that come now: decided here, once, so that what is in the log
 * never depends on a clock again. */
static struct kafka_run_rules topic_rules(const struct kafka_request *r, const struct topic *t)
{
    const struct topic_config *c = &t->config;
    int64_t now_ms = shard_wall_us(r->shard) / 1000;
    int64_t before = topic_config_get(c, TOPIC_TIMESTAMP_BEFORE_MAX_MS);
    int64_t after = topic_config_get(c, TOPIC_TIMESTAMP_AFTER_MAX_MS);
    /* With the time of their append it does not matter what timestamps they come with. */
    bool any = topic_config_get(c, TOPIC_TIMESTAMP_TYPE) == TIMESTAMP_LOG_APPEND;
    return (struct kafka_run_rules){
        .batch_bytes_max = (size_t)topic_config_get(c, TOPIC_MAX_MESSAGE_BYTES),
        .timestamp_min = any || before > INT64_MAX - now_ms ? INT64_MIN : now_ms - before,
        .timestamp_max = any || after > INT64_MAX - now_ms ? INT64_MAX : now_ms + after,
        .keys = (topic_config_get(c, TOPIC_CLEANUP_POLICY) & CLEANUP_COMPACT) != 0};
}

static size_t decoded_bytes_max(const struct topic *t)
{
    int64_t bytes = 4 * topic_config_get(&t->config, TOPIC_MAX_MESSAGE_BYTES);
    if (bytes < KAFKA_DECODED_BYTES_MIN)
        return KAFKA_DECODED_BYTES_MIN;
    return bytes < KAFKA_DECODED_BYTES_MAX ? (size_t)bytes : KAFKA_DECODED_BYTES_MAX;
}

/* Checks the batches. ERR_BUSY: not done in this turn; on another error the answer has it. */
static enum err batches_check(struct kafka_request *r, const struct topic *t, char *bytes, size_t n,
                              struct kafka_produce_res_partition *res)
{
    struct produce_state *st = r->state;
    struct kafka_check *k = &st->check;
    struct kafka_run_rules rules = topic_rules(r, t);
    enum err e = kafka_check_run(k, bytes, n, &rules, decoded_bytes_max(t));
    if (e == ERR_OK && k->found.n_records > UINT32_MAX)
        e = err_set(&k->why, ERR_BAD_RECORD_BATCH, "too many records");
    if (e == ERR_OK || e == ERR_BUSY)
        return e;
    part_error(res, kafka_error_of(e), kafka_error_text(r, e, &k->why));
    record_errors(r, &k->found, res);
    return e;
}

/* On shard 0: every batch of a transaction passes the coordinator, in the order of the markers that
 * it sends. From version 12 on, being written makes a partition a part of the transaction. */
static bool txn_admits(struct shard *via, struct append_request *a)
{
    (void)via;
    enum { IMPLICIT_FROM = 12, ABORTABLE_FROM = 11 };
    struct produce_part *part = CONTAINER_OF(a, struct produce_part, append);
    const struct kafka_request *r = part->request;
    const struct kafka_produce_req *req = r->request;
    int16_t version = r->header.api_version;
    struct txn_part where = {a->topic->number, a->partition};
    part->refused = kafka_txns_admit(r->server->txns, req->transactional_id, part->producer_id,
                                     part->producer_epoch, where, version >= IMPLICIT_FROM);
    if (part->refused == KAFKA_E_INVALID_TXN_STATE && version >= ABORTABLE_FROM)
        part->refused = KAFKA_E_TRANSACTION_ABORTABLE;
    return part->refused == KAFKA_OK;
}

/* What was found right goes into the log. */
static void part_append(struct kafka_request *r, const struct topic *t,
                        const struct kafka_produce_req_partition *in, char *bytes,
                        struct kafka_produce_res_partition *res)
{
    const struct kafka_produce_req *req = r->request;
    struct produce_state *st = r->state;
    const struct kafka_run *run = &st->check.found;
    if (run->transactional != (req->transactional_id.ptr != NULL)) {
        part_error(
            res, KAFKA_E_INVALID_RECORD,
            STR("batches of a transaction come with a transactional id, and others without"));
        return;
    }
    struct produce_part *part = arena_zalloc(&r->arena, 1, sizeof *part);
    if (part == NULL) {
        part_error(res, kafka_error_of(ERR_NO_MEMORY), STR("out of memory for the request"));
        return;
    }
    part->request = r;
    part->res = res;
    part->append.topic = t;
    part->append.partition = (uint32_t)in->index;
    part->append.batches = bytes;
    part->append.n_bytes = in->records.len;
    part->append.n_records = (uint32_t)run->n_records;
    part->append.want_durable = req->acks != 0;
    part->append.done = append_done;
    part->producer_id = run->producer_id;
    part->producer_epoch = run->producer_epoch;
    st->pending++;
    if (run->transactional)
        shard_append_via(r->shard, 0, &part->append, txn_admits);
    else
        shard_append(r->shard, &part->append);
}

/* False: it is not checked yet. */
static bool part_begin(struct kafka_request *r, const struct topic *t,
                       const struct kafka_produce_req_partition *in,
                       struct kafka_produce_res_partition *res)
{
    if (in->index < 0 || (uint32_t)in->index >= t->n_partitions) {
        part_error(res, KAFKA_E_UNKNOWN_TOPIC,
                   arena_printf(&r->arena,
                                "topic \"%.*s\" has %u partitions, there is no partition "
                                "%" PRId32,
                                STR_ARG(t->name), t->n_partitions, in->index));
        return true;
    }
    if (!topic_writable(r, t, res))
        return true;
    if (in->records.len == 0) {
        part_error(res, KAFKA_E_INVALID_RECORD, STR("no records for the partition"));
        return true;
    }
    char *bytes = r->body + (in->records.ptr - r->body);
    enum err e = batches_check(r, t, bytes, in->records.len, res);
    if (e == ERR_OK)
        part_append(r, t, in, bytes, res);
    return e != ERR_BUSY;
}

/* What is wrong with the request as a whole, or 0. */
static int16_t produce_refusal(const struct kafka_request *r, struct str *text)
{
    const struct kafka_produce_req *req = r->request;
    if (r->header.api_version < PRODUCE_VERSION_MIN) {
        *text = STR("Produce before version 3 (message formats before Kafka 0.11) is not served");
        return KAFKA_E_UNSUPPORTED_VERSION;
    }
    if (req->acks < -1 || req->acks > 1) {
        *text = STR("acks must be 0, 1 or -1 (all)");
        return KAFKA_E_INVALID_ACKS;
    }
    return KAFKA_OK;
}

/* The topic's partitions from the place on; false: one of them is not checked yet. */
static bool topic_run(struct kafka_request *r, const struct kafka_produce_req_topic *in,
                      struct kafka_produce_res_topic *res)
{
    struct produce_state *st = r->state;
    int16_t refusal = st->refusal;
    struct str text = st->refusal_text;
    bool by_id = r->header.api_version >= PRODUCE_BY_ID_FROM;
    const struct topic *t = kafka_topic_find(r, in->name, in->topic_id, by_id);
    if (t == NULL && refusal == KAFKA_OK) {
        refusal = by_id ? KAFKA_E_UNKNOWN_TOPIC_ID : KAFKA_E_UNKNOWN_TOPIC;
        text = by_id ? STR("no topic with this id: it was dropped, or made again")
                     : arena_printf(&r->arena, "no topic \"%.*s\"", STR_ARG(in->name));
    }
    for (; st->partition < in->n_partitions; st->partition++) {
        struct kafka_produce_res_partition *p = &res->partitions[st->partition];
        p->index = in->partitions[st->partition].index;
        p->log_append_time_ms = p->log_start_offset = -1;
        if (refusal != KAFKA_OK)
            part_error(p, refusal, text);
        else if (!part_begin(r, t, &in->partitions[st->partition], p))
            return false;
    }
    return true;
}

/* The connection has ended: what is not checked yet is not appended. */
static void produce_cancel(struct kafka_request *r)
{
    struct produce_state *st = r->state;
    r->cancel = NULL;
    kafka_check_end(&st->check);
    produce_done(r);
}

/* Goes on with the request's partitions until one is not checked yet. */
static void produce_run(struct kafka_request *r)
{
    const struct kafka_produce_req *req = r->request;
    struct produce_state *st = r->state;
    int64_t from = st->check.queued ? host_mono_ns(engine_host(r->server->engine)) : 0;
    bool whole = true;
    while (st->topic < req->n_topics && whole) {
        whole = topic_run(r, &req->topics[st->topic], &st->res->topics[st->topic]);
        if (whole) {
            st->topic++;
            st->partition = 0;
        }
    }
    if (from != 0) /* later turns: what the first one took is counted by whoever began it */
        r->work_ns += host_mono_ns(engine_host(r->server->engine)) - from;
    if (!whole) {
        r->cancel = produce_cancel;
        return;
    }
    r->cancel = NULL;
    if (!st->check.queued) {
        produce_done(r);
        return;
    }
    struct conn *c = r->conn;
    conn_hold(c);
    kafka_check_end(&st->check);
    produce_done(r);
    kafka_resume(c);
    conn_release(c);
}

void kafka_handle_produce(struct kafka_request *r)
{
    const struct kafka_produce_req *req = r->request;
    struct produce_state *st = kafka_request_alloc(r, 1, sizeof *st);
    if (st == NULL)
        return;
    r->state = st;
    r->silent = req->acks == 0;
    st->pending = 1;
    st->res = arena_zalloc(&r->arena, 1, sizeof *st->res);
    struct kafka_produce_res_topic *topics =
        st->res == NULL ? NULL : arena_zalloc(&r->arena, req->n_topics, sizeof *topics);
    if (topics == NULL) {
        kafka_request_fail(r, "is too large for the memory of a request");
        return;
    }
    st->res->topics = topics;
    st->res->n_topics = req->n_topics;
    st->refusal = produce_refusal(r, &st->refusal_text);
    st->check.request = r;
    st->check.go_on = produce_run;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        topics[i].name = req->topics[i].name;
        topics[i].topic_id = req->topics[i].topic_id;
        topics[i].n_partitions = req->topics[i].n_partitions;
        topics[i].partitions =
            arena_zalloc(&r->arena, topics[i].n_partitions, sizeof *topics[i].partitions);
        if (topics[i].partitions == NULL) {
            kafka_request_fail(r, "is too large for the memory of a request");
            return;
        }
    }
    produce_run(r);
}

/* Producer ids are random: 62 bits do not repeat, and nothing has to be kept. */
void kafka_handle_init_producer_id(struct kafka_request *r)
{
    const struct kafka_init_producer_id_req *req = r->request;
    if (req->transactional_id.ptr != NULL) {
        kafka_handle_txn(r);
        return;
    }
    struct kafka_init_producer_id_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    uint64_t id;
    host_random(engine_host(r->server->engine), &id, sizeof id);
    res->producer_id = (int64_t)(id >> 2);
    res->ongoing_txn_producer_id = res->ongoing_txn_producer_epoch = -1;
    kafka_request_finish(r, res);
}
