#include "serve/kafka_txn.h"

#include "base/mem.h"
#include "base/merge_sort.h"
#include "serve/topic_pattern.h"
#include "wire/kafka_batch.h"

#include <stdio.h>

/* What a transaction needs done, one step after the other:
 *
 *   RECORD: the state, durable in sys.transactions
 *      |  nothing ends (InitProducerId): done
 *   MARKERS: a control batch on each partition, durable
 *      |  the next transaction has another epoch: done
 *   COMPLETE: the state again
 *
 * Requests for it wait meanwhile, and are run again when it is done: an EndTxn then finds that it
 * has ended, as a repeated one would. A step that fails is tried again. */
enum job_step { JOB_RECORD, JOB_MARKERS, JOB_COMPLETE, JOB_DONE };

struct job_marker {
    struct append_request append;
    struct txn_job *job;
    char bytes[KAFKA_MARKER_BYTES];
    bool done;
};

struct txn_job {
    struct list link; /* txns->jobs */
    struct kafka_txns *co;
    struct txn *txn;
    enum job_step step;
    struct append_request append;
    struct buf bytes;
    struct job_marker *markers;
    uint32_t n_markers, pending;
    const struct catalog *catalog;
    int64_t retry_ns; /* tried again then; 0: it is under way */
};

/* A record, or a marker, that nobody waits for. */
struct txn_write {
    struct append_request append;
    struct kafka_txns *co;
    struct buf bytes;
    const struct catalog *catalog;
};

/* A request, in its own arena. */
struct txn_wait {
    struct list link; /* txn->waiting or txns->waiting */
    struct kafka_request *request;
    bool begun; /* InitProducerId: the producer has its epoch */
};

enum txns_phase { TXNS_NEW, TXNS_READING, TXNS_GATHERING, TXNS_READY, TXNS_FAILED };

struct kafka_txns {
    struct engine *engine;
    struct offsets_log *offsets;
    struct shard_service service;
    struct shard_timer timer; /* kept set while all is known, so that moving it needs no memory */
    int64_t tick_ns;          /* when to look at all transactions next */
    struct txns set;
    enum txns_phase phase;
    bool stopped, creating;
    const struct catalog *catalog; /* holds `topic` */
    const struct topic *topic;     /* NULL: not made yet */
    struct ddl_request ddl;
    struct read_request read;
    struct buf chunk;
    struct producers_request gather; /* one shard after the other */
    struct list waiting;             /* requests, until all is known */
    uint32_t n_waiting;
    struct list jobs;
    size_t appended_bytes; /* since all states were written */
};

static const struct str topic_name = {"sys.transactions", 16};
static const struct str offsets_name = {"sys.consumer_offsets", 20};

static struct shard *zero(const struct kafka_txns *co)
{
    return engine_shard(co->engine, 0);
}

static int64_t wall_ms(const struct kafka_txns *co)
{
    return shard_wall_us(zero(co)) / 1000;
}

static int64_t producer_id_new(const struct kafka_txns *co)
{
    uint64_t id;
    host_random(engine_host(co->engine), &id, sizeof id);
    return (int64_t)(id >> 2);
}

/* ---- writing without waiting ---- */

static void write_free(struct txn_write *w)
{
    buf_deinit(&w->bytes);
    if (w->catalog != NULL)
        catalog_unref(w->catalog);
    mem_free(w);
}

static void write_done(struct append_request *a)
{
    struct txn_write *w = CONTAINER_OF(a, struct txn_write, append);
    if (a->err != ERR_OK && a->err != ERR_SHUTDOWN)
        engine_note(w->co->engine, "warning", "kafka: topic %.*s: %s", STR_ARG(a->topic->name),
                    err_text(a->err, &a->why));
    write_free(w);
}

static struct txn_write *write_new(struct kafka_txns *co)
{
    struct txn_write *w = mem_zalloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->co = co;
    buf_init(&w->bytes, TXN_SNAPSHOT_AFTER_BYTES);
    return w;
}

static void write_start(struct txn_write *w, const struct topic *topic, uint32_t partition,
                        uint32_t n_records)
{
    w->append = (struct append_request){.topic = topic,
                                        .partition = partition,
                                        .batches = w->bytes.ptr,
                                        .n_bytes = w->bytes.len,
                                        .n_records = n_records,
                                        .internal = true,
                                        .done = write_done};
    shard_append(zero(w->co), &w->append);
}

/* A record that may be lost by a power cut, not by a crash of the program. */
static void record_note(struct kafka_txns *co, const struct txn *t, bool forgotten)
{
    struct txn_write *w = co->topic == NULL ? NULL : write_new(co);
    if (w == NULL)
        return;
    if (txn_record_put(&w->bytes, t, forgotten, wall_ms(co)) != ERR_OK) {
        write_free(w);
        return;
    }
    co->appended_bytes += w->bytes.len;
    write_start(w, co->topic, 0, 1);
}

/* All states anew, so that retention may drop what is before. Appended behind all that is under
 * way, and no older than it. */
static void snapshot_write(struct kafka_txns *co)
{
    struct txn_write *w = NULL;
    uint32_t n = 0;
    co->appended_bytes = 0;
    LIST_FOR (it, &co->set.all) {
        const struct txn *t = LIST_ENTRY(it, struct txn, link);
        if (w == NULL && (w = write_new(co)) == NULL)
            return;
        if (t->producer_id >= 0 && txn_record_put(&w->bytes, t, false, wall_ms(co)) == ERR_OK)
            n++;
        if (w->bytes.len >= TXN_BATCH_BYTES) {
            write_start(w, co->topic, 0, n);
            w = NULL;
            n = 0;
        }
    }
    if (w != NULL && n > 0)
        write_start(w, co->topic, 0, n);
    else if (w != NULL)
        write_free(w);
}

/* ---- jobs ---- */

static void job_run(struct txn_job *job);
static void waiting_run(struct kafka_txns *co, struct list *waiting);

static void job_free(struct txn_job *job)
{
    list_remove(&job->link);
    buf_deinit(&job->bytes);
    mem_free(job->markers);
    if (job->catalog != NULL)
        catalog_unref(job->catalog);
    mem_free(job);
}

/* The timer fires at `at_ns` at the latest. Without memory for it that is tried again each turn. */
static void timer_arm(struct kafka_txns *co, int64_t at_ns)
{
    if (co->timer.heap_index == 0 || co->timer.at_ns > at_ns)
        (void)!shard_timer_set(zero(co), &co->timer, at_ns);
}

static void job_later(struct txn_job *job)
{
    job->retry_ns = shard_mono_ns(zero(job->co)) + (int64_t)TXN_RETRY_MS * 1000000;
    timer_arm(job->co, job->retry_ns);
}

static void created(struct ddl_request *d);

static void topic_create(struct kafka_txns *co)
{
    if (co->creating)
        return;
    co->creating = true;
    co->ddl = (struct ddl_request){.if_not_exists = true, .done = created};
    co->ddl.change.verb = CHANGE_CREATE_TOPIC;
    co->ddl.change.name = topic_name;
    co->ddl.change.topic = (struct topic){
        .name = topic_name,
        .kind = TOPIC_INTERNAL,
        .n_partitions = 1,
    };
    struct topic_config *c = &co->ddl.change.topic.config;
    topic_config_set(c, TOPIC_RETENTION_BYTES, TXN_RETENTION_BYTES);
    topic_config_set(c, TOPIC_SEGMENT_BYTES, TXN_SEGMENT_BYTES);
    shard_ddl(zero(co), &co->ddl);
}

static bool topic_take(struct kafka_txns *co)
{
    const struct catalog *c = shard_catalog(zero(co));
    const struct topic *t = c == NULL ? NULL : catalog_topic(c, topic_name);
    if (t == NULL)
        return false;
    co->catalog = catalog_ref(c);
    co->topic = t;
    return true;
}

static void created(struct ddl_request *d)
{
    struct kafka_txns *co = CONTAINER_OF(d, struct kafka_txns, ddl);
    co->creating = false;
    if (co->stopped)
        return;
    if (!topic_take(co))
        engine_note(co->engine, "error", "kafka: topic %.*s cannot be made: %s",
                    STR_ARG(topic_name), err_text(d->err, &d->why));
    LIST_FOR (it, &co->jobs) {
        struct txn_job *job = LIST_ENTRY(it, struct txn_job, link);
        if (job->append.topic == NULL)
            job_later(job);
    }
}

static void record_done(struct append_request *a)
{
    struct txn_job *job = CONTAINER_OF(a, struct txn_job, append);
    if (job->co->stopped) {
        job_free(job);
        return;
    }
    if (a->err != ERR_OK) {
        engine_note(job->co->engine, "error", "kafka: transaction of %.*s is not recorded yet: %s",
                    STR_ARG(job->txn->id), err_text(a->err, &a->why));
        job_later(job);
        return;
    }
    bool ends = job->txn->state == TXN_PREPARE_COMMIT || job->txn->state == TXN_PREPARE_ABORT;
    job->step = job->step == JOB_RECORD && ends ? JOB_MARKERS : JOB_DONE;
    job_run(job);
}

static void job_record(struct txn_job *job)
{
    struct kafka_txns *co = job->co;
    if (co->topic == NULL) {
        topic_create(co);
        return;
    }
    buf_clear(&job->bytes);
    if (txn_record_put(&job->bytes, job->txn, false, wall_ms(co)) != ERR_OK) {
        job_later(job);
        return;
    }
    co->appended_bytes += job->bytes.len;
    job->append = (struct append_request){.topic = co->topic,
                                          .batches = job->bytes.ptr,
                                          .n_bytes = job->bytes.len,
                                          .n_records = 1,
                                          .want_durable = true,
                                          .internal = true,
                                          .done = record_done};
    shard_append(zero(co), &job->append);
}

/* Behind the last marker. */
static void markers_end(struct txn_job *job)
{
    struct txn *t = job->txn;
    for (uint32_t i = 0; i < job->n_markers; i++)
        if (!job->markers[i].done) {
            job_later(job);
            return;
        }
    offsets_log_txn_ended(job->co->offsets, t->last_producer_id, t->state == TXN_PREPARE_COMMIT);
    job->step = txn_complete(t, wall_ms(job->co)) ? JOB_COMPLETE : JOB_DONE;
    job_run(job);
}

static void marker_done(struct append_request *a)
{
    struct job_marker *m = CONTAINER_OF(a, struct job_marker, append);
    struct txn_job *job = m->job;
    enum err e = a->err;
    /* A topic that is gone has nothing to end; one that is damaged takes nothing any more. */
    m->done =
        e == ERR_OK || e == ERR_UNKNOWN_PARTITION || e == ERR_UNDEFINED_TABLE || e == ERR_CORRUPT;
    if (e != ERR_OK && e != ERR_SHUTDOWN)
        engine_note(job->co->engine, m->done ? "warning" : "error",
                    "kafka: the end of the transaction of %.*s in topic %.*s partition %u: %s",
                    STR_ARG(job->txn->id), STR_ARG(a->topic->name), a->partition,
                    err_text(e, &a->why));
    if (--job->pending > 0)
        return;
    if (job->co->stopped)
        job_free(job);
    else
        markers_end(job);
}

static const struct topic *part_topic(const struct catalog *c, struct txn_part part)
{
    return part.topic == TXN_PART_OFFSETS.topic ? catalog_topic(c, offsets_name)
                                                : catalog_topic_by_number(c, part.topic);
}

/* Encodes all markers once; false when out of memory. */
static bool markers_make(struct txn_job *job)
{
    const struct txn *t = job->txn;
    struct buf bytes;
    if (job->markers != NULL)
        return true;
    job->markers = mem_zalloc(t->n_parts + 1, sizeof *job->markers);
    if (job->markers == NULL)
        return false;
    buf_init(&bytes, KAFKA_MARKER_BYTES * 2);
    kafka_marker_put(&bytes, t->last_producer_id, txn_marker_epoch(t),
                     t->state == TXN_PREPARE_COMMIT, wall_ms(job->co));
    if (!bytes.failed)
        job->n_markers = t->n_parts;
    for (uint32_t i = 0; i < job->n_markers; i++) {
        job->markers[i].job = job;
        memcpy(job->markers[i].bytes, bytes.ptr, KAFKA_MARKER_BYTES);
    }
    bool made = !bytes.failed;
    buf_deinit(&bytes);
    if (!made) {
        mem_free(job->markers);
        job->markers = NULL;
    }
    return made;
}

static void job_markers(struct txn_job *job)
{
    const struct txn *t = job->txn;
    if (!markers_make(job)) {
        job_later(job);
        return;
    }
    if (job->catalog != NULL)
        catalog_unref(job->catalog);
    job->catalog = catalog_ref(shard_catalog(zero(job->co)));
    job->pending = 1;
    for (uint32_t i = 0; i < job->n_markers; i++) {
        struct job_marker *m = &job->markers[i];
        const struct topic *topic = part_topic(job->catalog, t->parts[i]);
        if (topic == NULL || t->parts[i].partition >= topic->n_partitions)
            m->done = true;
        if (m->done)
            continue;
        m->append = (struct append_request){.topic = topic,
                                            .partition = t->parts[i].partition,
                                            .batches = m->bytes,
                                            .n_bytes = KAFKA_MARKER_BYTES,
                                            .n_records = 1,
                                            .want_durable = true,
                                            .internal = true,
                                            .marker = true,
                                            .done = marker_done};
        job->pending++;
        shard_append(zero(job->co), &m->append);
    }
    if (--job->pending == 0)
        markers_end(job);
}

static void job_run(struct txn_job *job)
{
    struct kafka_txns *co = job->co;
    struct txn *t = job->txn;
    job->retry_ns = 0;
    switch (job->step) {
    case JOB_RECORD:
    case JOB_COMPLETE:
        job_record(job);
        break;
    case JOB_MARKERS:
        job_markers(job);
        break;
    case JOB_DONE:
        t->job = NULL;
        job_free(job);
        if (co->appended_bytes >= TXN_SNAPSHOT_AFTER_BYTES)
            snapshot_write(co);
        waiting_run(co, &t->waiting);
        break;
    }
}

/* ERR_NO_MEMORY: nothing was started, and the change is made durable by whoever asks next. */
static enum err job_start(struct kafka_txns *co, struct txn *t, enum job_step step)
{
    struct txn_job *job = mem_zalloc(1, sizeof *job);
    if (job == NULL)
        return ERR_NO_MEMORY;
    job->co = co;
    job->txn = t;
    job->step = step;
    buf_init(&job->bytes, TXN_SNAPSHOT_AFTER_BYTES);
    list_init(&job->link);
    list_add(&co->jobs, &job->link);
    t->job = job;
    job_run(job);
    return ERR_OK;
}

/* ---- requests ---- */

static void reply(struct kafka_request *r, void *response)
{
    r->response = response;
    shard_call_reply(engine_shard(r->server->engine, 0), &r->call);
}

/* PRODUCER_FENCED is what clients of version 2 on understand. */
static int16_t code_for(const struct kafka_request *r, int16_t code)
{
    bool old = r->header.api_key == KAFKA_INIT_PRODUCER_ID ? r->header.api_version < 4
                                                           : r->header.api_version < 2;
    return code == KAFKA_E_PRODUCER_FENCED && old ? (int16_t)KAFKA_E_INVALID_PRODUCER_EPOCH : code;
}

static void wait_for(struct txn *t, struct txn_wait *w)
{
    list_add(&t->waiting, &w->link);
}

/* What the state machine said: true when the request waits now. */
static bool changed(struct kafka_txns *co, struct txn *t, struct txn_wait *w, int16_t *code)
{
    if (*code == TXN_WAIT && t->job == NULL)
        *code = TXN_CHANGED; /* memory was short when it was decided */
    if (*code != TXN_WAIT && *code != TXN_CHANGED)
        return false;
    wait_for(t, w);
    if (*code == TXN_WAIT || job_start(co, t, JOB_RECORD) == ERR_OK)
        return true;
    list_remove(&w->link);
    *code = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    return false;
}

/* What a request asks for that is not offered: two-phase commit by an outside coordinator. As a
 * broker of Kafka 4 without transaction.two.phase.commit.enable says it. */
static int16_t init_refusal(const struct kafka_init_producer_id_req *req)
{
    if (req->transactional_id.len == 0)
        return KAFKA_E_INVALID_REQUEST;
    if (req->enable_2pc)
        return KAFKA_E_TRANSACTIONAL_ID_AUTHORIZATION;
    return req->keep_prepared_txn ? (int16_t)KAFKA_E_UNSUPPORTED_VERSION : (int16_t)KAFKA_OK;
}

static void run_init(struct kafka_txns *co, struct txn_wait *w)
{
    struct kafka_request *r = w->request;
    const struct kafka_init_producer_id_req *req = r->request;
    struct txn *t = NULL;
    int16_t code = init_refusal(req);
    if (code == KAFKA_OK)
        t = txns_find(&co->set, req->transactional_id);
    if (code != KAFKA_OK)
        ; /* it changes nothing */
    else if (t == NULL && txns_add(&co->set, req->transactional_id, &t) != ERR_OK)
        code = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    else if (t->job != NULL)
        code = TXN_WAIT;
    else if (!w->begun) {
        code = txn_begin_producer(&co->set, t, req->producer_id, req->producer_epoch,
                                  req->transaction_timeout_ms, producer_id_new(co), wall_ms(co));
        w->begun = code == TXN_CHANGED && t->state == TXN_EMPTY;
    }
    if (t != NULL && changed(co, t, w, &code))
        return;
    struct kafka_init_producer_id_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL) {
        res->error_code = code_for(r, code);
        res->producer_id = code == KAFKA_OK ? t->producer_id : -1;
        res->producer_epoch = code == KAFKA_OK ? t->epoch : -1;
        res->ongoing_txn_producer_id = res->ongoing_txn_producer_epoch = -1;
    }
    reply(r, res);
}

static void run_end(struct kafka_txns *co, struct txn_wait *w)
{
    struct kafka_request *r = w->request;
    const struct kafka_end_txn_req *req = r->request;
    struct txn *t = txns_find(&co->set, req->transactional_id);
    bool raise = r->header.api_version >= 5;
    int16_t code = TXN_WAIT;
    if (t == NULL || t->job == NULL)
        code = t == NULL ? txn_check(t, req->producer_id, req->producer_epoch)
                         : txn_end(&co->set, t, req->producer_id, req->producer_epoch,
                                   req->committed, raise, producer_id_new(co), wall_ms(co));
    if (t != NULL && changed(co, t, w, &code))
        return;
    struct kafka_end_txn_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL) {
        res->error_code = code_for(r, code);
        res->producer_id = code == KAFKA_OK ? t->producer_id : -1;
        res->producer_epoch = code == KAFKA_OK ? t->epoch : -1;
    }
    reply(r, res);
}

static int16_t add_one(struct kafka_txns *co, struct txn *t, int64_t producer_id, int16_t epoch,
                       struct txn_part part)
{
    return t == NULL ? txn_check(t, producer_id, epoch)
                     : txn_add(t, producer_id, epoch, part, wall_ms(co));
}

/* AddPartitionsToTxn is of one transaction or, between brokers, from version 4 on of several. */
struct add_request {
    struct str id;
    int64_t producer_id;
    int16_t epoch;
    bool verify_only;
    const struct kafka_add_partitions_to_txn_req_topic *topics;
    uint32_t n_topics;
    struct kafka_add_partitions_to_txn_res_topic *out;
};

enum { ADD_BATCHES_FROM = 4, ADD_ABORTABLE_FROM = 5 };

/* The topics of both forms are of one layout under two names. */
_Static_assert(sizeof(struct kafka_add_partitions_to_txn_req_topic) ==
                       sizeof(struct kafka_add_partitions_to_txn_req_batch_topic) &&
                   sizeof(struct kafka_add_partitions_to_txn_res_topic) ==
                       sizeof(struct kafka_add_partitions_to_txn_res_batch_topic) &&
                   sizeof(struct kafka_add_partitions_to_txn_res_partition) ==
                       sizeof(struct kafka_add_partitions_to_txn_res_batch_partition),
               "the two forms are laid out alike");

/* What is wrong with each partition by itself; false when one is refused, here or by ACLs. */
static bool add_check(struct kafka_txns *co, struct kafka_request *r, struct add_request *a)
{
    const struct catalog *c = shard_catalog(zero(co));
    bool good = r->denials == NULL;
    for (uint32_t i = 0; i < a->n_topics; i++) {
        const struct kafka_add_partitions_to_txn_req_topic *in = &a->topics[i];
        struct kafka_add_partitions_to_txn_res_topic *out = &a->out[i];
        const struct topic *topic = catalog_topic(c, in->name);
        out->name = in->name;
        out->n_partitions = in->n_partitions;
        for (uint32_t k = 0; k < in->n_partitions; k++) {
            int32_t index = out->partitions[k].index = in->partitions[k];
            bool there = topic != NULL && index >= 0 && (uint32_t)index < topic->n_partitions;
            int16_t code = !there                      ? KAFKA_E_UNKNOWN_TOPIC
                           : topic->kind != TOPIC_USER ? KAFKA_E_TOPIC_AUTHORIZATION
                                                       : KAFKA_OK;
            out->partitions[k].error_code = code;
            good = good && code == KAFKA_OK;
        }
    }
    return good;
}

/* Whether the partition is in the transaction, which stays as it is. */
static int16_t verify_one(const struct kafka_request *r, const struct txn *t,
                          const struct add_request *a, struct txn_part part)
{
    int16_t code = txn_check(t, a->producer_id, a->epoch);
    if (code != KAFKA_OK)
        return code_for(r, code);
    code = txn_admit(t, a->producer_id, a->epoch, part, false);
    return code == KAFKA_E_INVALID_TXN_STATE && r->header.api_version >= ADD_ABORTABLE_FROM
               ? (int16_t)KAFKA_E_TRANSACTION_ABORTABLE
               : code;
}

/* All of a transaction's or, when one is refused, none: the others were not attempted. */
static void add_all(struct kafka_txns *co, struct kafka_request *r, struct add_request *a)
{
    const struct catalog *c = shard_catalog(zero(co));
    struct txn *t = txns_find(&co->set, a->id);
    bool good = add_check(co, r, a);
    for (uint32_t i = 0; i < a->n_topics; i++) {
        const struct topic *topic = catalog_topic(c, a->topics[i].name);
        for (uint32_t k = 0; k < a->topics[i].n_partitions; k++) {
            int16_t *code = &a->out[i].partitions[k].error_code;
            if (*code != KAFKA_OK)
                continue;
            *code = KAFKA_E_OPERATION_NOT_ATTEMPTED;
            if (!good)
                continue;
            struct txn_part part = {topic->number, (uint32_t)a->topics[i].partitions[k]};
            if (t != NULL && t->job != NULL)
                *code = KAFKA_E_CONCURRENT_TRANSACTIONS;
            else if (a->verify_only)
                *code = verify_one(r, t, a, part);
            else
                *code = code_for(r, add_one(co, t, a->producer_id, a->epoch, part));
        }
    }
    if (good && !a->verify_only && t != NULL && t->job == NULL && t->state == TXN_ONGOING)
        record_note(co, t, false);
}

/* The answer's arrays; false when out of memory. */
static bool add_answer_make(struct kafka_request *r, struct add_request *a)
{
    a->out = arena_zalloc(&r->arena, a->n_topics, sizeof *a->out);
    for (uint32_t i = 0; a->out != NULL && i < a->n_topics; i++) {
        a->out[i].partitions =
            arena_zalloc(&r->arena, a->topics[i].n_partitions, sizeof *a->out[i].partitions);
        if (a->out[i].partitions == NULL)
            return false;
    }
    return a->out != NULL;
}

static bool add_batches(struct kafka_txns *co, struct kafka_request *r,
                        struct kafka_add_partitions_to_txn_res *res)
{
    const struct kafka_add_partitions_to_txn_req *req = r->request;
    res->results = arena_zalloc(&r->arena, req->n_transactions, sizeof *res->results);
    for (uint32_t i = 0; res->results != NULL && i < req->n_transactions; i++) {
        const struct kafka_add_partitions_to_txn_req_transaction *in = &req->transactions[i];
        struct kafka_add_partitions_to_txn_res_result *out = &res->results[i];
        struct add_request a = {.id = in->transactional_id,
                                .producer_id = in->producer_id,
                                .epoch = in->producer_epoch,
                                .verify_only = in->verify_only,
                                .topics = (const void *)in->topics,
                                .n_topics = in->n_topics};
        if (!add_answer_make(r, &a))
            return false;
        add_all(co, r, &a);
        out->transactional_id = in->transactional_id;
        out->topics = (void *)a.out;
        out->n_topics = a.n_topics;
        res->n_results++;
    }
    return res->results != NULL;
}

static void run_add_partitions(struct kafka_txns *co, struct txn_wait *w)
{
    struct kafka_request *r = w->request;
    const struct kafka_add_partitions_to_txn_req *req = r->request;
    struct kafka_add_partitions_to_txn_res *res = NULL;
    if (r->header.api_version >= ADD_BATCHES_FROM) {
        res = arena_zalloc(&r->arena, 1, sizeof *res);
        reply(r, res != NULL && add_batches(co, r, res) ? res : NULL);
        return;
    }
    struct txn *t = txns_find(&co->set, req->transactional_id);
    if (t != NULL && t->job != NULL) {
        wait_for(t, w);
        return;
    }
    struct add_request a = {.id = req->transactional_id,
                            .producer_id = req->producer_id,
                            .epoch = req->producer_epoch,
                            .topics = req->topics,
                            .n_topics = req->n_topics};
    res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res == NULL || !add_answer_make(r, &a)) {
        reply(r, NULL);
        return;
    }
    add_all(co, r, &a);
    res->topics = a.out;
    res->n_topics = a.n_topics;
    reply(r, res);
}

static void run_add_offsets(struct kafka_txns *co, struct txn_wait *w)
{
    struct kafka_request *r = w->request;
    const struct kafka_add_offsets_to_txn_req *req = r->request;
    struct txn *t = txns_find(&co->set, req->transactional_id);
    if (t != NULL && t->job != NULL) {
        wait_for(t, w);
        return;
    }
    struct kafka_add_offsets_to_txn_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    int16_t code = add_one(co, t, req->producer_id, req->producer_epoch, TXN_PART_OFFSETS);
    if (code == KAFKA_OK)
        record_note(co, t, false);
    if (res != NULL)
        res->error_code = code_for(r, code);
    reply(r, res);
}

int16_t kafka_txns_admit(struct kafka_txns *co, struct str id, int64_t producer_id, int16_t epoch,
                         struct txn_part part, bool implicit)
{
    if (co->stopped || co->phase == TXNS_FAILED)
        return KAFKA_E_COORDINATOR_NOT_AVAILABLE;
    if (co->phase != TXNS_READY)
        return KAFKA_E_COORDINATOR_LOADING;
    struct txn *t = txns_find(&co->set, id);
    if (t == NULL)
        return txn_check(t, producer_id, epoch);
    int16_t code = txn_admit(t, producer_id, epoch, part, implicit);
    if (code != TXN_OK || !implicit)
        return code;
    return t->job != NULL ? (int16_t)KAFKA_E_CONCURRENT_TRANSACTIONS
                          : txn_add(t, producer_id, epoch, part, wall_ms(co));
}

/* ---- DescribeTransactions, ListTransactions ---- */

/* A topic has one entry: of several, clients take the last. */
static void describe_parts(struct kafka_txns *co, struct kafka_request *r, const struct txn *t,
                           struct kafka_describe_transactions_res_state *out)
{
    const struct catalog *c = shard_catalog(zero(co));
    const struct txn_part *parts = t->parts; /* in order */
    out->topics = arena_zalloc(&r->arena, t->n_parts, sizeof *out->topics);
    int32_t *numbers = arena_zalloc(&r->arena, t->n_parts, sizeof *numbers);
    struct kafka_describe_transactions_res_topic *o = NULL;
    if (out->topics == NULL || numbers == NULL)
        return;
    for (uint32_t i = 0; i < t->n_parts; i++) {
        const struct topic *topic = part_topic(c, parts[i]);
        numbers[i] = (int32_t)parts[i].partition;
        if (topic == NULL)
            continue;
        if (o == NULL || parts[i].topic != parts[i - 1].topic) {
            o = &out->topics[out->n_topics++];
            o->name = arena_str(&r->arena, topic->name);
            o->partitions = &numbers[i];
        }
        o->n_partitions++;
    }
}

static void run_describe(struct kafka_txns *co, struct txn_wait *w)
{
    struct kafka_request *r = w->request;
    const struct kafka_describe_transactions_req *req = r->request;
    struct kafka_describe_transactions_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL)
        res->transaction_states =
            arena_zalloc(&r->arena, req->n_transactional_ids, sizeof *res->transaction_states);
    if (res == NULL || res->transaction_states == NULL) {
        reply(r, NULL);
        return;
    }
    res->n_transaction_states = req->n_transactional_ids;
    for (uint32_t i = 0; i < req->n_transactional_ids; i++) {
        struct kafka_describe_transactions_res_state *out = &res->transaction_states[i];
        const struct txn *t = txns_find(&co->set, req->transactional_ids[i]);
        out->transactional_id = req->transactional_ids[i];
        out->error_code = t == NULL ? (int16_t)KAFKA_E_TXN_ID_NOT_FOUND : (int16_t)KAFKA_OK;
        out->producer_id = out->producer_epoch = -1;
        out->transaction_start_time_ms = -1;
        if (t == NULL)
            continue;
        bool runs = t->state == TXN_ONGOING || t->state == TXN_PREPARE_COMMIT ||
                    t->state == TXN_PREPARE_ABORT;
        out->transaction_state = str_of(txn_state_name(t->state));
        out->transaction_timeout_ms = t->timeout_ms;
        out->transaction_start_time_ms = runs ? t->updated_ms : -1;
        out->producer_id = t->producer_id;
        out->producer_epoch = t->epoch;
        describe_parts(co, r, t, out);
    }
    reply(r, res);
}

/* What ListTransactions asks for, looked up once: filters and transactions may be many. */
struct list_filter {
    uint32_t states;          /* a bit for each */
    const int64_t *producers; /* in order; n_producers 0: all */
    uint32_t n_producers;
    const struct topic_pattern *pattern; /* NULL: all */
    uint64_t steps;                      /* that the pattern took so far */
    int64_t duration_ms;                 /* negative: all */
};

static int producer_compare(const void *a, const void *b, void *arg)
{
    const int64_t *x = a, *y = b;
    (void)arg;
    return (*x > *y) - (*x < *y);
}

static bool has_producer(const struct list_filter *f, int64_t id)
{
    uint32_t low = 0, high = f->n_producers;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (f->producers[middle] == id)
            return true;
        if (f->producers[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static bool id_matches(struct list_filter *f, struct str id)
{
    uint32_t steps;
    bool matches = topic_pattern_matches(f->pattern, id, &steps);
    f->steps += steps;
    return matches;
}

static bool listed(const struct kafka_txns *co, struct list_filter *f, const struct txn *t)
{
    bool old = f->duration_ms < 0 ||
               (t->state == TXN_ONGOING && wall_ms(co) - t->updated_ms >= f->duration_ms);
    return old && t->producer_id >= 0 && (f->states >> t->state & 1) != 0 &&
           (f->n_producers == 0 || has_producer(f, t->producer_id)) &&
           (f->pattern == NULL || id_matches(f, t->id));
}

/* TXN_STATES: there is none of this name. */
static enum txn_state state_named(struct str name)
{
    enum txn_state s = 0;
    while (s < TXN_STATES && !str_eq(name, str_of(txn_state_name(s))))
        s++;
    return s;
}

/* False when out of memory. */
static bool filter_producers(struct kafka_request *r, struct list_filter *f)
{
    const struct kafka_list_transactions_req *req = r->request;
    uint32_t n = f->n_producers = req->n_producer_id_filters;
    int64_t *ids = arena_zalloc(&r->arena, n, sizeof *ids);
    void *spare = arena_zalloc(&r->arena, n, sizeof *ids);
    struct merge_sort sort;
    if (ids == NULL || spare == NULL)
        return false;
    if (n > 0)
        memcpy(ids, req->producer_id_filters, n * sizeof *ids);
    merge_sort_begin(&sort, ids, spare, n, sizeof *ids, producer_compare, NULL);
    while (!merge_sort_run(&sort, UINT64_MAX)) {
    }
    f->producers = merge_sort_result(&sort);
    return true;
}

/* States that are not known are told; false when out of memory. */
static bool filter_states(struct kafka_request *r, struct list_filter *f,
                          struct kafka_list_transactions_res *res)
{
    const struct kafka_list_transactions_req *req = r->request;
    res->unknown_state_filters =
        arena_zalloc(&r->arena, req->n_state_filters, sizeof *res->unknown_state_filters);
    if (res->unknown_state_filters == NULL)
        return false;
    f->states = req->n_state_filters == 0 ? UINT32_MAX : 0;
    for (uint32_t i = 0; i < req->n_state_filters; i++) {
        enum txn_state s = state_named(req->state_filters[i]);
        if (s < TXN_STATES)
            f->states |= 1u << s;
        else
            res->unknown_state_filters[res->n_unknown_state_filters++] = req->state_filters[i];
    }
    return true;
}

/* False when out of memory. */
static bool list_fill(struct kafka_txns *co, struct kafka_request *r,
                      const struct topic_pattern *pattern, struct kafka_list_transactions_res *res)
{
    const struct kafka_list_transactions_req *req = r->request;
    struct list_filter f = {.pattern = pattern, .duration_ms = req->duration_filter};
    res->transaction_states = arena_zalloc(&r->arena, co->set.n, sizeof *res->transaction_states);
    if (res->transaction_states == NULL || !filter_states(r, &f, res) || !filter_producers(r, &f))
        return false;
    LIST_FOR (it, &co->set.all) {
        const struct txn *t = LIST_ENTRY(it, struct txn, link);
        if (f.steps > TXN_LIST_STEPS_MAX) {
            *res = (struct kafka_list_transactions_res){.error_code = KAFKA_E_INVALID_REGEX};
            return true;
        }
        if (listed(co, &f, t))
            res->transaction_states[res->n_transaction_states++] =
                (struct kafka_list_transactions_res_state){
                    .transactional_id = arena_str(&r->arena, t->id),
                    .producer_id = t->producer_id,
                    .transaction_state = str_of(txn_state_name(t->state))};
    }
    return true;
}

static void run_list(struct kafka_txns *co, struct txn_wait *w)
{
    struct kafka_request *r = w->request;
    const struct kafka_list_transactions_req *req = r->request;
    struct kafka_list_transactions_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    struct topic_pattern *pattern = NULL;
    struct err_detail why;
    enum err e = ERR_OK;
    if (req->transactional_id_pattern.len > 0)
        e = topic_pattern_new(req->transactional_id_pattern, &pattern, &why);
    bool complete = res != NULL && e != ERR_NO_MEMORY;
    if (complete && e != ERR_OK)
        res->error_code = KAFKA_E_INVALID_REGEX;
    else if (complete)
        complete = list_fill(co, r, pattern, res);
    topic_pattern_free(pattern);
    reply(r, complete ? res : NULL);
}

/* ---- carrying ---- */

static void dispatch(struct kafka_txns *co, struct txn_wait *w)
{
    switch (w->request->header.api_key) {
    case KAFKA_INIT_PRODUCER_ID:
        run_init(co, w);
        break;
    case KAFKA_ADD_PARTITIONS_TO_TXN:
        run_add_partitions(co, w);
        break;
    case KAFKA_ADD_OFFSETS_TO_TXN:
        run_add_offsets(co, w);
        break;
    case KAFKA_END_TXN:
        run_end(co, w);
        break;
    case KAFKA_DESCRIBE_TRANSACTIONS:
        run_describe(co, w);
        break;
    case KAFKA_LIST_TRANSACTIONS:
        run_list(co, w);
        break;
    default:
        UNREACHABLE();
    }
}

/* An answer that says nothing but `error`; NULL where errors stand with each item. */
static void *refusal(struct kafka_request *r, int16_t error)
{
    void *res = arena_zalloc(&r->arena, 1, r->codec->response.size);
    if (res == NULL)
        return NULL;
    switch (r->header.api_key) {
    case KAFKA_INIT_PRODUCER_ID:
        ((struct kafka_init_producer_id_res *)res)->error_code = error;
        ((struct kafka_init_producer_id_res *)res)->producer_id = -1;
        ((struct kafka_init_producer_id_res *)res)->ongoing_txn_producer_id = -1;
        ((struct kafka_init_producer_id_res *)res)->ongoing_txn_producer_epoch = -1;
        return res;
    case KAFKA_ADD_OFFSETS_TO_TXN:
        ((struct kafka_add_offsets_to_txn_res *)res)->error_code = error;
        return res;
    case KAFKA_END_TXN:
        ((struct kafka_end_txn_res *)res)->error_code = error;
        return res;
    case KAFKA_LIST_TRANSACTIONS:
        ((struct kafka_list_transactions_res *)res)->error_code = error;
        return res;
    default:
        return NULL;
    }
}

static void txn_run(struct shard *target, struct shard_call *call)
{
    (void)target;
    struct kafka_request *r = CONTAINER_OF(call, struct kafka_request, call);
    struct kafka_txns *co = r->server->txns;
    struct txn_wait *w = r->state;
    if (co->stopped || co->phase == TXNS_FAILED) {
        reply(r, refusal(r, KAFKA_E_COORDINATOR_NOT_AVAILABLE));
    } else if (co->phase == TXNS_READY) {
        dispatch(co, w);
    } else if (co->n_waiting < TXN_WAITING_MAX) {
        co->n_waiting++;
        list_add(&co->waiting, &w->link);
    } else {
        reply(r, refusal(r, KAFKA_E_COORDINATOR_LOADING));
    }
}

static void txn_done(struct shard *origin, struct shard_call *call)
{
    (void)origin;
    struct kafka_request *r = CONTAINER_OF(call, struct kafka_request, call);
    if (r->response == NULL)
        kafka_request_fail(r, "could not be carried out by the transaction coordinator");
    else
        kafka_request_finish(r, r->response);
}

void kafka_handle_txn(struct kafka_request *r)
{
    struct txn_wait *w = kafka_request_alloc(r, 1, sizeof *w);
    if (w == NULL)
        return;
    w->request = r;
    list_init(&w->link);
    r->state = w;
    r->call.run = txn_run;
    r->call.done = txn_done;
    shard_call(r->shard, 0, &r->call);
}

/* Runs everybody's request again who has waited so far. */
static void waiting_run(struct kafka_txns *co, struct list *waiting)
{
    struct list taken;
    list_init(&taken);
    while (!list_empty(waiting)) {
        struct list *first = waiting->next;
        list_remove(first);
        list_add(&taken, first);
    }
    while (!list_empty(&taken)) {
        struct txn_wait *w = LIST_ENTRY(taken.next, struct txn_wait, link);
        list_remove(&w->link);
        if (co->stopped || co->phase == TXNS_FAILED)
            reply(w->request, refusal(w->request, KAFKA_E_COORDINATOR_NOT_AVAILABLE));
        else
            dispatch(co, w);
    }
}

/* ---- time ---- */

static bool idle(const struct txn *t, int64_t now)
{
    return t->job == NULL && t->state != TXN_ONGOING && t->state != TXN_PREPARE_COMMIT &&
           t->state != TXN_PREPARE_ABORT && now - t->updated_ms > TXN_IDLE_MS_MAX;
}

static void tick(struct kafka_txns *co)
{
    int64_t now = wall_ms(co);
    LIST_FOR_SAFE (it, next, &co->set.all) {
        struct txn *t = LIST_ENTRY(it, struct txn, link);
        bool late = t->state == TXN_ONGOING && now - t->updated_ms > t->timeout_ms;
        if (late && t->job == NULL &&
            txn_abort(&co->set, t, producer_id_new(co), now) == TXN_CHANGED)
            (void)!job_start(co, t, JOB_RECORD);
        else if (t->job == NULL &&
                 (t->state == TXN_PREPARE_COMMIT || t->state == TXN_PREPARE_ABORT))
            (void)!job_start(co, t, JOB_RECORD); /* memory was short before */
        if (idle(t, now)) {
            record_note(co, t, true);
            txns_remove(&co->set, t);
        }
    }
}

static void timer_fire(struct shard_timer *timer)
{
    struct kafka_txns *co = CONTAINER_OF(timer, struct kafka_txns, timer);
    int64_t now = shard_mono_ns(zero(co));
    bool ticks = now >= co->tick_ns;
    if (ticks)
        co->tick_ns = now + (int64_t)TXN_TICK_MS * 1000000;
    timer_arm(co, co->tick_ns);
    LIST_FOR_SAFE (it, next, &co->jobs) {
        struct txn_job *job = LIST_ENTRY(it, struct txn_job, link);
        if (job->retry_ns != 0 && job->retry_ns <= now)
            job_run(job);
        else if (job->retry_ns != 0)
            timer_arm(co, job->retry_ns);
    }
    if (ticks)
        tick(co);
}

/* ---- starting ---- */

static void failed(struct kafka_txns *co, enum err e, const struct err_detail *why)
{
    engine_note(co->engine, "error",
                "kafka: transactions are refused: topic %.*s cannot be read at offset %lld: %s",
                STR_ARG(topic_name), (long long)co->read.offset, err_text(e, why));
    co->phase = TXNS_FAILED;
    waiting_run(co, &co->waiting);
}

/* An open transaction of a producer that nobody knows: it can only be aborted. */
static void orphan_end(struct kafka_txns *co, const struct producer_info *info)
{
    struct txn_write *w = write_new(co);
    const struct topic *topic = NULL;
    if (w != NULL) {
        w->catalog = catalog_ref(shard_catalog(zero(co)));
        topic = catalog_topic_by_number(w->catalog, info->topic_number);
        kafka_marker_put(&w->bytes, info->producer_id, info->epoch, false, wall_ms(co));
    }
    if (topic == NULL || w->bytes.failed) {
        if (w != NULL)
            write_free(w);
        return;
    }
    w->append = (struct append_request){.topic = topic,
                                        .partition = info->partition,
                                        .batches = w->bytes.ptr,
                                        .n_bytes = w->bytes.len,
                                        .n_records = 1,
                                        .internal = true,
                                        .marker = true,
                                        .done = write_done};
    shard_append(zero(co), &w->append);
}

static enum err found(struct kafka_txns *co, const struct producer_info *info)
{
    struct txn *t = txns_by_producer(&co->set, info->producer_id);
    const struct topic *offsets = catalog_topic(shard_catalog(zero(co)), offsets_name);
    struct txn_part part = {info->topic_number, info->partition};
    if (offsets != NULL && offsets->number == info->topic_number)
        part = TXN_PART_OFFSETS;
    enum err e = t == NULL ? ERR_CORRUPT
                           : txn_found_open(t, info->producer_id, info->epoch, part, wall_ms(co));
    if (e != ERR_CORRUPT)
        return e;
    engine_note(co->engine, "warning",
                "kafka: producer %lld has an open transaction that nobody knows: it is aborted",
                (long long)info->producer_id);
    orphan_end(co, info);
    return ERR_OK;
}

static void ready(struct kafka_txns *co)
{
    co->phase = TXNS_READY;
    LIST_FOR (it, &co->set.all) {
        struct txn *t = LIST_ENTRY(it, struct txn, link);
        if (t->state == TXN_ONGOING)
            t->updated_ms = wall_ms(co); /* its time begins anew */
        if (t->state == TXN_PREPARE_COMMIT || t->state == TXN_PREPARE_ABORT)
            (void)!job_start(co, t, JOB_MARKERS); /* if memory is short: by the tick */
    }
    co->tick_ns = shard_mono_ns(zero(co)) + (int64_t)TXN_TICK_MS * 1000000;
    timer_arm(co, co->tick_ns);
    waiting_run(co, &co->waiting);
}

static void gathered(struct producers_request *g)
{
    struct kafka_txns *co = CONTAINER_OF(g, struct kafka_txns, gather);
    enum err e = g->err;
    for (uint32_t i = 0; i < g->n && e == ERR_OK && !co->stopped; i++)
        e = found(co, &g->list[i]);
    mem_free(g->list);
    g->list = NULL;
    if (co->stopped)
        return;
    if (e != ERR_OK)
        failed(co, e, NULL);
    else if (++g->shard < engine_shards(co->engine))
        shard_producers(zero(co), g);
    else
        ready(co);
}

static void gather(struct kafka_txns *co)
{
    co->phase = TXNS_GATHERING;
    co->gather = (struct producers_request){.done = gathered};
    shard_producers(zero(co), &co->gather);
}

static void read_done(struct read_request *read)
{
    struct kafka_txns *co = CONTAINER_OF(read, struct kafka_txns, read);
    enum err e = read->err;
    if (co->stopped) {
        log_range_release(&read->range);
        return;
    }
    if (e == ERR_OFFSET_OUT_OF_RANGE && read->offset < read->log_start_offset) {
        read->offset = read->log_start_offset;
        shard_read(zero(co), read);
        return;
    }
    if (e == ERR_OK && read->range.len == 0) {
        gather(co);
        return;
    }
    if (e == ERR_OK) {
        buf_clear(&co->chunk);
        char *room = buf_reserve(&co->chunk, read->range.len);
        e = room == NULL ? ERR_NO_MEMORY
                         : host_file_read(read->range.file, read->range.at, room, read->range.len);
        struct str run = {room, read->range.len};
        read->offset = read->range.next_offset;
        log_range_release(&read->range);
        if (e == ERR_OK)
            e = txn_records_apply(&co->set, run, &read->why);
    }
    if (e != ERR_OK)
        failed(co, e, &read->why);
    else
        shard_read(zero(co), read);
}

/* Begins when the catalog and the committed offsets are there. */
static void turn(struct shard_service *service, struct shard *s)
{
    struct kafka_txns *co = CONTAINER_OF(service, struct kafka_txns, service);
    if (co->phase == TXNS_READY && co->timer.heap_index == 0 && !co->stopped)
        timer_arm(co, shard_mono_ns(s)); /* memory was short */
    if (co->phase != TXNS_NEW || co->stopped || shard_catalog(s) == NULL ||
        !offsets_log_ready(co->offsets))
        return;
    if (!topic_take(co)) {
        gather(co);
        return;
    }
    co->phase = TXNS_READING;
    co->read = (struct read_request){
        .topic = co->topic, .bytes_max = OFFSETS_READ_BYTES, .done = read_done};
    shard_read(s, &co->read);
}

static void stop(struct shard_service *service, struct shard *s)
{
    struct kafka_txns *co = CONTAINER_OF(service, struct kafka_txns, service);
    co->stopped = true;
    shard_timer_cancel(s, &co->timer);
    waiting_run(co, &co->waiting);
    LIST_FOR (it, &co->set.all)
        waiting_run(co, &LIST_ENTRY(it, struct txn, link)->waiting);
    LIST_FOR_SAFE (it, next, &co->jobs) {
        /* Those that wait for nothing but time, or for the topic. */
        struct txn_job *job = LIST_ENTRY(it, struct txn_job, link);
        if (job->retry_ns != 0 || (job->append.topic == NULL && job->pending == 0))
            job_free(job);
    }
    list_remove(&service->link);
}

struct kafka_txns *kafka_txns_new(struct engine *e, struct offsets_log *offsets)
{
    struct kafka_txns *co = mem_zalloc(1, sizeof *co);
    if (co == NULL)
        return NULL;
    co->engine = e;
    co->offsets = offsets;
    txns_init(&co->set);
    list_init(&co->waiting);
    list_init(&co->jobs);
    buf_init(&co->chunk, KAFKA_BATCH_BYTES_MAX);
    co->timer.fire = timer_fire;
    co->service.turn = turn;
    co->service.stop = stop;
    shard_service_add(engine_shard(e, 0), &co->service);
    return co;
}

void kafka_txns_free(struct kafka_txns *co)
{
    txns_deinit(&co->set);
    buf_deinit(&co->chunk);
    if (co->catalog != NULL)
        catalog_unref(co->catalog);
    mem_free(co);
}
