/* The transaction coordinator in a whole simulated server, spoken to over Kafka's protocol: several
 * producers commit, abort, are fenced and fall silent, while the process ends, or a file call
 * fails, at each of its file calls in turn. After every death, for a reader of committed records:
 *
 * - a transaction that was answered as committed is wholly there, once, with its offsets;
 * - one whose commit was not answered is wholly there or wholly not;
 * - any other is not;
 * - what a reader saw stays where it was;
 * - nothing is held up for ever: the stable offset reaches the end, offsets become stable, and each
 *   transactional id works. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/engine.h"
#include "host/sim.h"
#include "serve/kafka.h"
#include "support/kafka_peer.h"
#include "support/script.h"
#include "wire/kafka_batch.h"

enum {
    PRODUCERS = 5,
    TXNS = 6, /* 0 to 2 in the first life, one in each life after it */
    PARTS = 2,
    OFFSETS_MAX = 128,
    STEPS_MAX = 32,
    RETRIES_MAX = 2000,
    BYTES_MAX = 64 << 10,
};
static const int64_t MS = 1000000, PAUSE_NS = 2 * 1000000, RUN_NS_MAX = (int64_t)120 * 1000000000;
static const char address[] = "127.0.0.1:9092";
static const struct str topic_name = {"t", 1};

/* ---- what is known of each transaction, over all lives ---- */

enum outcome {
    NOT_BEGUN,
    NEVER,      /* begun, and not asked to be committed: it must not be seen */
    COMMITTING, /* asked, not answered */
    COMMITTED,
};

struct ledger {
    enum outcome outcome[PRODUCERS][TXNS];
    bool with_offsets[PRODUCERS][TXNS];
    /* Of the reader: what is at each offset, 0 = nothing that is committed. */
    uint16_t seen[PARTS][OFFSETS_MAX];
    int64_t committed_offset[PRODUCERS];
};

/* A record's value is its transaction. */
static uint16_t mark_of(uint32_t producer, uint32_t txn)
{
    return (uint16_t)(1 + producer * TXNS + txn);
}

/* ---- producers ---- */

enum what {
    INIT,
    ADD, /* older clients say what they are going to write */
    PRODUCE,
    OFFSETS_ADD,
    OFFSETS,
    COMMIT,
    ABORT,
    WAIT_BEGUN,  /* until the producer before this one has begun its transaction `txn` */
    WAIT_FENCED, /* until the one behind it has its epoch */
    WAIT_QUIET,  /* until the reader has seen all transactions end */
    LAST
};

struct step {
    enum what what;
    uint32_t txn, part;
};

/* Clients of Kafka 4: what is written is part of the transaction, EndTxn gives a new epoch. */
static const struct step steps_new[] = {
    {INIT, 0, 0},    {PRODUCE, 0, 0}, {PRODUCE, 0, 1}, {OFFSETS, 0, 0}, {COMMIT, 0, 0},
    {PRODUCE, 1, 1}, {OFFSETS, 1, 0}, {PRODUCE, 1, 0}, {ABORT, 1, 0},   {OFFSETS, 2, 0},
    {PRODUCE, 2, 1}, {PRODUCE, 2, 0}, {COMMIT, 2, 0},  {LAST, 0, 0}};
static const struct step steps_old[] = {
    {INIT, 0, 0},    {ADD, 0, 0},     {PRODUCE, 0, 0}, {OFFSETS_ADD, 0, 0}, {OFFSETS, 0, 0},
    {PRODUCE, 0, 1}, {COMMIT, 0, 0},  {ADD, 1, 0},     {PRODUCE, 1, 0},     {PRODUCE, 1, 1},
    {ABORT, 1, 0},   {ADD, 2, 0},     {PRODUCE, 2, 1}, {PRODUCE, 2, 0},     {OFFSETS_ADD, 2, 0},
    {OFFSETS, 2, 0}, {COMMIT, 2, 0},  {LAST, 0, 0}};
/* Two with one transactional id. */
static const struct step steps_fenced[] = {
    {INIT, 0, 0},    {PRODUCE, 0, 0}, {PRODUCE, 0, 1},     {COMMIT, 0, 0}, {PRODUCE, 1, 0},
    {PRODUCE, 1, 1}, {OFFSETS, 1, 0}, {WAIT_FENCED, 1, 0}, {COMMIT, 1, 0}, {LAST, 0, 0}};
static const struct step steps_fencing[] = {{WAIT_BEGUN, 1, 0}, {INIT, 0, 0},    {PRODUCE, 0, 0},
                                            {PRODUCE, 0, 1},    {OFFSETS, 0, 0}, {COMMIT, 0, 0},
                                            {LAST, 0, 0}};
static const struct step steps_silent[] = {
    {INIT, 0, 0}, {PRODUCE, 0, 1}, {OFFSETS, 0, 0}, {PRODUCE, 0, 0}, {LAST, 0, 0}};
static const struct step *const steps_first[PRODUCERS] = {steps_new, steps_old, steps_fenced,
                                                          steps_fencing, steps_silent};
static const char *const ids[PRODUCERS] = {"new", "old", "shared", "shared", "silent"};
static const char *const groups[PRODUCERS] = {"g0", "g1", "g2", "g3", "g4"};
enum { OLD = 1, FENCED = 2, FENCING = 3, SILENT = 4 };

struct world;

struct producer {
    struct kafka_peer peer;
    struct world *world;
    uint32_t number;
    const struct step *steps;
    uint32_t at;
    struct step own[STEPS_MAX]; /* of a later life */
    int64_t producer_id;
    int16_t epoch;
    int32_t sequence[PARTS];
    bool begun[TXNS], owns; /* owns: it has an epoch */
    bool init_first;        /* after an error */
    bool done;
    int64_t wake_ns;
    uint32_t retries;
    struct buf batch;
};

struct reader {
    struct kafka_peer peer;
    struct world *world;
    bool created, quiet, last, done; /* last: nobody writes any more */
    uint32_t part, group;
    int64_t at[PARTS];
    bool level[PARTS]; /* has read to its end, and all there is decided */
    int64_t wake_ns;
};

struct thief;

struct world {
    struct host *h;
    struct ledger ledger;
    struct producer producers[PRODUCERS];
    struct reader reader;
    uint32_t life;
    bool faults; /* answers may be errors */
    /* File calls fail from this one on, for a while. */
    uint64_t fault_call;
    int64_t fault_ns, faults_until_ns;
    struct thief *thief; /* or NULL */
    char failure[256]; /* what was not as it must be */
};

static struct world world;

static void failed(struct world *w, const char *what, uint32_t who, int where, int code)
{
    if (w->failure[0] == '\0')
        snprintf(w->failure, sizeof(w->failure), "life %u: %s (producer %u, step %d, code %d)",
                 w->life, what, who, where, code);
    host_stop_request(w->h);
}

static bool all_done(const struct world *w)
{
    for (uint32_t i = 0; i < PRODUCERS; i++)
        if (!w->producers[i].done)
            return false;
    return true;
}

static const struct step *step_now(const struct producer *p)
{
    static const struct step init = {INIT, 0, 0};
    return p->init_first ? &init : &p->steps[p->at];
}

/* Whether the step's time has come. */
static bool step_ready(const struct producer *p)
{
    const struct step *s = step_now(p);
    const struct world *w = p->world;
    if (s->what == WAIT_BEGUN)
        return p[-1].begun[s->txn] || p[-1].done;
    if (s->what == WAIT_FENCED)
        return p[1].owns || p[1].done;
    if (s->what == WAIT_QUIET)
        return w->reader.quiet;
    return host_mono_ns(w->h) >= p->wake_ns;
}

static void send_init(struct producer *p)
{
    struct kafka_init_producer_id_req req = {.transactional_id = str_of(ids[p->number]),
                                             .transaction_timeout_ms =
                                                 p->number == SILENT ? 300 : 3000,
                                             .producer_id = -1,
                                             .producer_epoch = -1};
    kafka_peer_send(&p->peer, KAFKA_INIT_PRODUCER_ID, 5, &req);
}

static void send_add(struct producer *p)
{
    static int32_t both[PARTS] = {0, 1};
    struct kafka_add_partitions_to_txn_req_topic topic = {
        .name = topic_name, .n_partitions = PARTS, .partitions = both};
    struct kafka_add_partitions_to_txn_req req = {.transactional_id = str_of(ids[p->number]),
                                                  .producer_id = p->producer_id,
                                                  .producer_epoch = p->epoch,
                                                  .n_topics = 1,
                                                  .topics = &topic};
    kafka_peer_send(&p->peer, KAFKA_ADD_PARTITIONS_TO_TXN, 3, &req);
}

static void send_produce(struct producer *p, const struct step *s)
{
    uint16_t mark = mark_of(p->number, s->txn);
    struct kafka_batch_writer w;
    buf_clear(&p->batch);
    kafka_batch_begin(&w, &p->batch, 1000);
    kafka_batch_add(&w, (struct str){NULL, 0}, (struct str){(const char *)&mark, sizeof mark}, 1000,
                    NULL, 0);
    if (kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, NULL) != ERR_OK)
        abort();
    kafka_batch_set_producer(p->batch.ptr, p->producer_id, p->epoch, p->sequence[s->part], true);
    struct kafka_produce_req_partition part = {
        .index = (int32_t)s->part, .records = {.ptr = p->batch.ptr, .len = p->batch.len}};
    struct kafka_produce_req_topic topic = {
        .name = topic_name, .n_partitions = 1, .partitions = &part};
    struct kafka_produce_req req = {.transactional_id = str_of(ids[p->number]),
                                    .acks = -1,
                                    .timeout_ms = 1000,
                                    .n_topics = 1,
                                    .topics = &topic};
    kafka_peer_send(&p->peer, KAFKA_PRODUCE, p->number == OLD ? 9 : 12, &req);
}

static void send_offsets_add(struct producer *p)
{
    struct kafka_add_offsets_to_txn_req req = {.transactional_id = str_of(ids[p->number]),
                                               .producer_id = p->producer_id,
                                               .producer_epoch = p->epoch,
                                               .group_id = str_of(groups[p->number])};
    kafka_peer_send(&p->peer, KAFKA_ADD_OFFSETS_TO_TXN, 3, &req);
}

static void send_offsets(struct producer *p, const struct step *s)
{
    struct kafka_txn_offset_commit_req_partition part = {
        .index = 0, .committed_offset = s->txn + 1, .committed_leader_epoch = -1};
    struct kafka_txn_offset_commit_req_topic topic = {
        .name = topic_name, .n_partitions = 1, .partitions = &part};
    struct kafka_txn_offset_commit_req req = {.transactional_id = str_of(ids[p->number]),
                                              .group_id = str_of(groups[p->number]),
                                              .producer_id = p->producer_id,
                                              .producer_epoch = p->epoch,
                                              .generation_id = -1,
                                              .member_id = STR(""),
                                              .n_topics = 1,
                                              .topics = &topic};
    p->world->ledger.with_offsets[p->number][s->txn] = true;
    kafka_peer_send(&p->peer, KAFKA_TXN_OFFSET_COMMIT, p->number == OLD ? 3 : 5, &req);
}

static void send_end(struct producer *p, const struct step *s)
{
    enum outcome *outcome = &p->world->ledger.outcome[p->number][s->txn];
    bool commit = s->what == COMMIT;
    bool fenced = p->number == FENCED && p[1].owns;
    struct kafka_end_txn_req req = {.transactional_id = str_of(ids[p->number]),
                                    .producer_id = p->producer_id,
                                    .producer_epoch = p->epoch,
                                    .committed = commit};
    if (commit && !fenced)
        *outcome = COMMITTING;
    kafka_peer_send(&p->peer, KAFKA_END_TXN, p->number == OLD ? 3 : 5, &req);
}

static void step_send(struct producer *p)
{
    const struct step *s = step_now(p);
    enum outcome *outcome = &p->world->ledger.outcome[p->number][s->txn];
    if (s->what != INIT && *outcome == NOT_BEGUN)
        *outcome = NEVER;
    switch (s->what) {
    case INIT:
        send_init(p);
        break;
    case ADD:
        send_add(p);
        break;
    case PRODUCE:
        send_produce(p, s);
        break;
    case OFFSETS_ADD:
        send_offsets_add(p);
        break;
    case OFFSETS:
        send_offsets(p, s);
        break;
    case COMMIT:
    case ABORT:
        send_end(p, s);
        break;
    case WAIT_BEGUN:
    case WAIT_FENCED:
    case WAIT_QUIET:
    case LAST:
        abort();
    }
}

static int16_t code_in(const struct producer *p, const void *answer)
{
    switch (p->peer.codec->api.key) {
    case KAFKA_INIT_PRODUCER_ID:
        return ((const struct kafka_init_producer_id_res *)answer)->error_code;
    case KAFKA_ADD_PARTITIONS_TO_TXN: {
        const struct kafka_add_partitions_to_txn_res *res = answer;
        int16_t first = res->topics[0].partitions[0].error_code;
        return first != 0 ? first : res->topics[0].partitions[1].error_code;
    }
    case KAFKA_PRODUCE:
        return ((const struct kafka_produce_res *)answer)->topics[0].partitions[0].error_code;
    case KAFKA_ADD_OFFSETS_TO_TXN:
        return ((const struct kafka_add_offsets_to_txn_res *)answer)->error_code;
    case KAFKA_TXN_OFFSET_COMMIT:
        return ((const struct kafka_txn_offset_commit_res *)answer)
            ->topics[0]
            .partitions[0]
            .error_code;
    default:
        return ((const struct kafka_end_txn_res *)answer)->error_code;
    }
}

static void epoch_take(struct producer *p, int64_t producer_id, int16_t epoch)
{
    p->producer_id = producer_id;
    p->epoch = epoch;
    memset(p->sequence, 0, sizeof(p->sequence));
}

static void step_succeeded(struct producer *p, const void *answer)
{
    const struct step *s = step_now(p);
    if (s->what == INIT) {
        const struct kafka_init_producer_id_res *res = answer;
        epoch_take(p, res->producer_id, res->producer_epoch);
        p->owns = true;
        if (p->init_first) {
            p->init_first = false;
            return;
        }
    }
    if (s->what == PRODUCE) {
        p->sequence[s->part]++;
        p->begun[s->txn] = true;
    }
    if (s->what == COMMIT) {
        if (p->number == FENCED && p[1].owns)
            failed(p->world, "a fenced producer has committed", p->number, (int)p->at, 0);
        p->world->ledger.outcome[p->number][s->txn] = COMMITTED;
    }
    if ((s->what == COMMIT || s->what == ABORT) && p->peer.version >= 5) {
        const struct kafka_end_txn_res *res = answer;
        epoch_take(p, res->producer_id, res->producer_epoch);
    }
    p->at++;
}

/* The transaction is given up; the next one begins with a new epoch. */
static void txn_give_up(struct producer *p)
{
    uint32_t txn = step_now(p)->txn;
    while (p->steps[p->at].what != LAST && p->steps[p->at].txn == txn)
        p->at++;
    p->init_first = true;
}

static void step_refused(struct producer *p, int16_t code)
{
    const struct step *s = step_now(p);
    struct world *w = p->world;
    /* Unknown topic, coordinator loading or not available, concurrent transactions. */
    bool again = code == 3 || code == 14 || code == 15 || code == 51;
    bool fenced = code == 47 || code == 90;
    if (again && p->retries++ < RETRIES_MAX) {
        p->wake_ns = host_mono_ns(w->h) + PAUSE_NS;
        return;
    }
    if (p->number == FENCED && fenced && (p->begun[1] || w->faults)) {
        p->done = true;
        return;
    }
    if (!w->faults || again || s->what == INIT) {
        failed(w, "refused", p->number, (int)p->at, code);
        return;
    }
    if (p->number == FENCED)
        p->done = true; /* a new epoch of its own would fence the other */
    else
        txn_give_up(p);
}

static bool producer_turn(void *arg)
{
    struct producer *p = arg;
    struct world *w = p->world;
    const void *answer = NULL;
    int64_t until = INT64_MAX;
    while (!p->peer.waiting && step_ready(p) && step_now(p)->what >= WAIT_BEGUN) {
        if (step_now(p)->what == LAST) {
            p->done = true;
            return false;
        }
        p->at++;
    }
    if (!p->peer.waiting && step_ready(p))
        step_send(p);
    if (!p->peer.waiting)
        until = host_mono_ns(w->h) + PAUSE_NS;
    int got = kafka_peer_turn(&p->peer, address, until, &answer);
    if (got < 0 && (!w->faults || p->retries++ >= RETRIES_MAX))
        failed(w, "the connection ended", p->number, (int)p->at, 0);
    if (got > 0 && code_in(p, answer) == 0)
        step_succeeded(p, answer);
    else if (got > 0)
        step_refused(p, code_in(p, answer));
    return !p->done;
}

/* ---- the reader: creates the topic, reads committed records until nothing is open, then the
 * offsets of the groups ---- */

static void send_create(struct reader *r)
{
    struct kafka_create_topics_req_topic topic = {
        .name = topic_name, .num_partitions = PARTS, .replication_factor = 1};
    struct kafka_create_topics_req req = {.n_topics = 1, .topics = &topic, .timeout_ms = 1000};
    kafka_peer_send(&r->peer, KAFKA_CREATE_TOPICS, 4, &req);
}

static void send_fetch(struct reader *r)
{
    struct kafka_fetch_req_partition part = {.index = (int32_t)r->part,
                                             .fetch_offset = r->at[r->part],
                                             .partition_max_bytes = BYTES_MAX};
    struct kafka_fetch_req_topic topic = {
        .name = topic_name, .n_partitions = 1, .partitions = &part};
    struct kafka_fetch_req req = {.replica_id = -1,
                                  .max_wait_ms = 10,
                                  .min_bytes = 1,
                                  .max_bytes = BYTES_MAX,
                                  .isolation_level = 1,
                                  .n_topics = 1,
                                  .topics = &topic};
    kafka_peer_send(&r->peer, KAFKA_FETCH, 4, &req);
}

static void send_offset_fetch(struct reader *r)
{
    static int32_t index[1] = {0};
    struct kafka_offset_fetch_req_topic topic = {
        .name = topic_name, .n_partition_indexes = 1, .partition_indexes = index};
    struct kafka_offset_fetch_req req = {
        .group_id = str_of(groups[r->group]), .n_topics = 1, .topics = &topic, .require_stable = 1};
    kafka_peer_send(&r->peer, KAFKA_OFFSET_FETCH, 7, &req);
}

/* Removes the aborted transaction of the producer that began first. */
static void aborted_over(struct kafka_fetch_res_partition *p, int64_t producer_id)
{
    for (uint32_t i = 0; i < p->n_aborted_transactions; i++)
        if (p->aborted_transactions[i].producer_id == producer_id) {
            p->aborted_transactions[i] = p->aborted_transactions[--p->n_aborted_transactions];
            return;
        }
}

static bool is_aborted(const struct kafka_fetch_res_partition *p, const struct kafka_batch *b)
{
    for (uint32_t i = 0; i < p->n_aborted_transactions; i++)
        if (p->aborted_transactions[i].producer_id == b->producer_id &&
            p->aborted_transactions[i].first_offset <= b->base_offset)
            return true;
    return false;
}

static void take_records(struct reader *r, struct str batch)
{
    struct world *w = r->world;
    struct kafka_records it;
    struct kafka_record record;
    struct err_detail why;
    if (kafka_records_open(&it, batch, NULL, NULL, &why) != ERR_OK)
        abort();
    while (kafka_records_next(&it, &record)) {
        uint16_t mark = 0;
        memcpy(&mark, record.value.ptr, sizeof mark);
        uint32_t producer = (mark - 1u) / TXNS, txn = (mark - 1u) % TXNS;
        uint16_t *seen = &w->ledger.seen[r->part][record.offset];
        if (record.offset >= OFFSETS_MAX || (*seen != 0 && *seen != mark))
            failed(w, "what was seen has changed", producer, (int)record.offset, mark);
        else if (w->ledger.outcome[producer][txn] < COMMITTING)
            failed(w, "what nobody has committed is seen", producer, (int)txn, 0);
        else
            *seen = mark;
    }
}

static void take_fetched(struct reader *r, struct kafka_fetch_res_partition *p)
{
    struct str run = {p->records.ptr, p->records.len}, bytes;
    struct kafka_batch b;
    struct err_detail why;
    enum err e = ERR_OK;
    while (kafka_batch_next(&run, &b, &bytes, &e, &why)) {
        bool commit = false;
        if (b.control && kafka_marker_get(bytes, &commit) != ERR_OK)
            failed(r->world, "a control batch is damaged", 0, 0, 0);
        if (b.control && !commit)
            aborted_over(p, b.producer_id);
        if (!b.control && !is_aborted(p, &b))
            take_records(r, bytes);
        r->at[r->part] = b.base_offset + b.last_offset_delta + 1;
    }
    if (e != ERR_OK)
        failed(r->world, "a batch is damaged", 0, 0, 0);
    r->level[r->part] =
        p->last_stable_offset == p->high_watermark && r->at[r->part] >= p->high_watermark;
}

/* The order of aborted transactions of one producer is that of their offsets. */
static void reader_fetched(struct reader *r, const struct kafka_fetch_res *res)
{
    struct kafka_fetch_res_partition *p = &res->topics[0].partitions[0];
    if (p->error_code == 0)
        take_fetched(r, p);
    else if (!r->world->faults && p->error_code != 3)
        failed(r->world, "a fetch is refused", 0, (int)r->part, p->error_code);
    r->quiet = r->level[0] && r->level[1];
    r->part = (r->part + 1) % PARTS;
}

static void reader_offsets(struct reader *r, const struct kafka_offset_fetch_res *res)
{
    enum { UNSTABLE = 88, LOADING = 14, NOT_AVAILABLE = 15 };
    const struct kafka_offset_fetch_res_partition *p =
        res->n_topics > 0 ? &res->topics[0].partitions[0] : NULL;
    int16_t code = res->error_code != 0 || p == NULL ? res->error_code : p->error_code;
    if (code == UNSTABLE || code == LOADING || code == NOT_AVAILABLE) {
        r->wake_ns = host_mono_ns(r->world->h) + PAUSE_NS;
        return;
    }
    if (code != 0 || p == NULL)
        failed(r->world, "offsets are refused", r->group, 0, code);
    else
        r->world->ledger.committed_offset[r->group] = p->committed_offset;
    if (++r->group == PRODUCERS) {
        r->done = true;
        host_stop_request(r->world->h);
    }
}

static void reader_answered(struct reader *r, const void *answer)
{
    enum { EXISTS = 36 };
    if (r->peer.codec->api.key == KAFKA_CREATE_TOPICS) {
        int16_t code = ((const struct kafka_create_topics_res *)answer)->topics[0].error_code;
        r->created = code == 0 || code == EXISTS;
    } else if (r->peer.codec->api.key == KAFKA_FETCH) {
        reader_fetched(r, answer);
    } else {
        reader_offsets(r, answer);
    }
}

/* The disk works again, after a while. */
static void faults_end(struct world *w, int64_t now)
{
    if (w->fault_call == 0 || host_sim_file_calls(w->h) < w->fault_call)
        return;
    if (w->faults_until_ns == 0)
        w->faults_until_ns = now + w->fault_ns;
    if (now < w->faults_until_ns)
        return;
    w->fault_call = 0;
    host_sim_fault_at(w->h, 0, SIM_FAULT_NONE, false);
}

static bool reader_turn(void *arg)
{
    struct reader *r = arg;
    struct world *w = r->world;
    const void *answer = NULL;
    int64_t now = host_mono_ns(w->h);
    faults_end(w, now);
    if (!r->peer.waiting && now >= r->wake_ns) {
        if (!r->last && all_done(w)) {
            r->last = true;
            r->level[0] = r->level[1] = r->quiet = false;
        }
        if (!r->created)
            send_create(r);
        else if (r->group == 0 && !(r->quiet && r->last))
            send_fetch(r);
        else
            send_offset_fetch(r);
    }
    int got = kafka_peer_turn(&r->peer, address, now + 20 * MS, &answer);
    if (got < 0 && !w->faults)
        failed(w, "the reader's connection ended", 0, 0, 0);
    if (got > 0)
        reader_answered(r, answer);
    return !r->done;
}

/* ---- timers that cannot be set ---- */

/* Takes all timers that shard 0 may have from its first turn on, and gives them back later. */
struct thief {
    struct shard_service service;
    struct shard_timer *timers;
    uint32_t n;
    int64_t until_ns;
    bool over;
};
enum { THIEF_TIMERS_MAX = (1 << 20) + 1 };

static void thief_fire(struct shard_timer *t)
{
    (void)t;
    FAIL("a timer of the far future fires");
}

static void thief_turn(struct shard_service *service, struct shard *s)
{
    struct thief *t = CONTAINER_OF(service, struct thief, service);
    const int64_t never = INT64_MAX / 2, hold = 40 * MS;
    if (t->until_ns == 0)
        t->until_ns = shard_mono_ns(s) + hold;
    t->over = shard_mono_ns(s) >= t->until_ns;
    while (!t->over && t->n < THIEF_TIMERS_MAX) {
        t->timers[t->n].fire = thief_fire;
        if (shard_timer_set(s, &t->timers[t->n], never) != ERR_OK)
            return;
        t->n++;
    }
    while (t->over && t->n > 0)
        shard_timer_cancel(s, &t->timers[--t->n]);
}

static void thief_stop(struct shard_service *service, struct shard *s)
{
    (void)s;
    list_remove(&service->link);
}

/* ---- a life of the server ---- */

static struct host *sim_new(uint64_t seed)
{
    const struct sim_options options = {.seed = seed,
                                        .wall_us = 1767225600000000,
                                        .net_delay_us_max = 300,
                                        .net_chunk_bytes_max = 700,
                                        .sync_delay_us_max = 500,
                                        .run_ns_max = RUN_NS_MAX};
    struct host *h = host_sim_open(&options);
    assert_non_null(h);
    return h;
}

/* In later lives each id writes one transaction: at once, or when what the last life left open has
 * been ended by time. */
static const struct step *steps_later(struct producer *p, uint32_t life, bool wait)
{
    uint32_t txn = life + 1, n = 0;
    if (p->number == FENCED) {
        p->own[0] = (struct step){LAST, 0, 0};
        return p->own;
    }
    if (wait)
        p->own[n++] = (struct step){WAIT_QUIET, txn, 0};
    p->own[n++] = (struct step){INIT, txn, 0};
    if (p->number == OLD) {
        p->own[n++] = (struct step){ADD, txn, 0};
        p->own[n++] = (struct step){OFFSETS_ADD, txn, 0};
    }
    p->own[n++] = (struct step){PRODUCE, txn, 0};
    p->own[n++] = (struct step){OFFSETS, txn, 0};
    p->own[n++] = (struct step){PRODUCE, txn, 1};
    p->own[n++] = (struct step){COMMIT, txn, 0};
    p->own[n++] = (struct step){LAST, 0, 0};
    return p->own;
}

static void world_prepare(struct world *w, struct host *h, bool wait)
{
    w->h = h;
    w->failure[0] = '\0';
    memset(w->producers, 0, sizeof(w->producers));
    memset(&w->reader, 0, sizeof(w->reader));
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        struct producer *p = &w->producers[i];
        kafka_peer_init(&p->peer, h);
        buf_init(&p->batch, BYTES_MAX);
        p->world = w;
        p->number = i;
        p->steps = w->life == 1 ? steps_first[i] : steps_later(p, w->life, wait);
    }
    kafka_peer_init(&w->reader.peer, h);
    w->reader.world = w;
}

static enum err workers_start(struct world *w)
{
    static const char *const names[PRODUCERS] = {"new", "old", "fenced", "fencing", "silent"};
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < PRODUCERS && e == ERR_OK; i++)
        e = host_worker_start(w->h, names[i], producer_turn, &w->producers[i],
                              &w->producers[i].peer.worker);
    if (e == ERR_OK)
        e = host_worker_start(w->h, "reader", reader_turn, &w->reader, &w->reader.peer.worker);
    return e;
}

/* Runs until all is done, or the process "ended". The engine's error when it does not start. */
static enum err live(struct world *w, struct host *h, uint32_t n_shards, bool wait)
{
    const struct engine_options options = {.data_dir = "/data", .n_shards = n_shards};
    const struct serve_options listeners = {.kafka = address};
    struct engine *e = NULL;
    struct err_detail why = {0};
    uint16_t port;
    w->life++;
    world_prepare(w, h, wait);
    enum err err = engine_open(h, &options, &e, &why);
    if (err == ERR_OK)
        err = kafka_server_start(e, &listeners, &port, &why);
    if (err == ERR_OK && w->thief != NULL)
        shard_service_add(engine_shard(e, 0), &w->thief->service);
    if (err == ERR_OK)
        err = workers_start(w);
    if (err == ERR_OK)
        host_run(h);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        kafka_peer_deinit(&w->producers[i].peer);
        buf_deinit(&w->producers[i].batch);
    }
    kafka_peer_deinit(&w->reader.peer);
    if (e != NULL && !host_sim_halted(h))
        engine_close(e);
    return err;
}

/* ---- what must be so ---- */

static uint32_t times_seen(const struct ledger *l, uint32_t part, uint16_t mark)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < OFFSETS_MAX; i++)
        n += l->seen[part][i] == mark;
    return n;
}

/* NULL when all is as it must be. */
static const char *check_producer(const struct ledger *l, uint32_t p)
{
    int64_t offset = -1;
    for (uint32_t t = 0; t < TXNS; t++) {
        uint32_t n = times_seen(l, 0, mark_of(p, t));
        if (n != times_seen(l, 1, mark_of(p, t)))
            return "a transaction is torn";
        if (n > 1)
            return "a transaction is there twice";
        if (n == 0 && l->outcome[p][t] == COMMITTED)
            return "a committed transaction is lost";
        if (n == 1 && l->outcome[p][t] < COMMITTING)
            return "a transaction that was not committed is there";
        if (n == 1 && l->with_offsets[p][t])
            offset = t + 1;
    }
    return l->committed_offset[p] == offset ? NULL : "offsets are not those of the transactions";
}

static const char *check(const struct world *w)
{
    static char text[512];
    if (w->failure[0] != '\0')
        return w->failure;
    if (!w->reader.done)
        return "not done in time: a transaction stays open, or an answer is missing";
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        const char *wrong = check_producer(&w->ledger, i);
        if (wrong == NULL)
            continue;
        snprintf(text, sizeof(text), "producer %u: %s, outcomes %d %d %d %d, offset %lld", i, wrong,
                 (int)w->ledger.outcome[i][0], (int)w->ledger.outcome[i][1],
                 (int)w->ledger.outcome[i][2], (int)w->ledger.outcome[i][3],
                 (long long)w->ledger.committed_offset[i]);
        return text;
    }
    return NULL;
}

static void world_reset(struct world *w)
{
    memset(w, 0, sizeof(*w));
}

/* ---- tests ---- */

static void whatever_the_schedule_no_transaction_is_torn(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct host *h = sim_new(seed);
        world_reset(&world);
        assert_int_equal(live(&world, h, 1 + (uint32_t)(seed % 3), false), ERR_OK);
        const char *wrong = check(&world);
        if (wrong != NULL)
            fail_msg("seed %llu: %s", (unsigned long long)seed, wrong);
        assert_int_equal(world.ledger.outcome[FENCED][1], NEVER);
        assert_int_equal(world.ledger.outcome[FENCING][0], COMMITTED);
        assert_int_equal(world.ledger.outcome[OLD][2], COMMITTED);
        host_close(h);
    }
}

enum fate { FATE_CRASH, FATE_POWER_CUT, FATE_ERROR, FATE_FULL, FATES };

/* Every fourth call suffers one of the fates, in turn; with EVERY=1 in the environment each call
 * suffers each of them. */
static uint64_t stride(void)
{
    return getenv("EVERY") != NULL ? 1 : 4 * FATES;
}

static uint64_t first_call(enum fate fate)
{
    return getenv("EVERY") != NULL ? 1 : 1 + 4 * (uint64_t)fate;
}

/* The process ends at a file call, and perhaps at another while it recovers. */
struct death {
    uint64_t call, again, seed;
    bool power;
};

enum { CHILD_NOT_REACHED = 4 };

/* In a process of its own: one that "ended" leaves its memory behind. */
static int run_death(void *arg)
{
    const struct death *d = arg;
    struct host *h = sim_new(d->seed);
    world_reset(&world);
    host_sim_fault_at(h, d->call, SIM_FAULT_STOP, false);
    (void)!live(&world, h, 1 + (uint32_t)(d->seed % 3), false);
    if (!host_sim_halted(h))
        return CHILD_NOT_REACHED;
    for (uint32_t deaths = d->again > 0 ? 2 : 1; deaths > 0; deaths--) {
        if (world.failure[0] != '\0')
            FAIL("%s", world.failure);
        h = d->power ? host_sim_power_cut(h, d->seed ^ d->call) : host_sim_crash(h);
        REQUIRE(h != NULL);
        if (deaths > 1)
            host_sim_fault_at(h, d->again, SIM_FAULT_STOP, false);
        enum err e = live(&world, h, 1 + (uint32_t)(d->call % 3), d->seed % 2 != 0);
        REQUIRE(e == ERR_OK || host_sim_halted(h));
    }
    const char *wrong = check(&world);
    if (wrong != NULL)
        FAIL("%s", wrong);
    return 0;
}

/* False: the workload is over before that call. */
static bool survives(struct death d)
{
    char text[4096];
    int status = script_child(run_death, &d, text, sizeof(text));
    if (status != 0 && status != CHILD_NOT_REACHED)
        fail_msg("seed %llu, %s at call %llu, then %llu: status %d: %s", (unsigned long long)d.seed,
                 d.power ? "power cut" : "crash", (unsigned long long)d.call,
                 (unsigned long long)d.again, status, text);
    return status == 0;
}

static void a_crash_at_any_file_call_tears_nothing(void **state)
{
    (void)state;
    uint64_t call = first_call(FATE_CRASH);
    while (survives((struct death){.call = call, .seed = call}))
        call += stride();
    assert_true(call > 100);
}

static void a_power_cut_at_any_file_call_tears_nothing(void **state)
{
    (void)state;
    uint64_t call = first_call(FATE_POWER_CUT);
    while (survives((struct death){.call = call, .seed = call, .power = true}))
        call += stride();
    assert_true(call > 100);
}

static void dying_again_in_the_recovery_tears_nothing(void **state)
{
    (void)state;
    uint64_t call = 20;
    for (; call < 2000; call += 23)
        if (!survives((struct death){.call = call,
                                     .again = 1 + (call * 31) % 150,
                                     .seed = 5000 + call,
                                     .power = call % 2 != 0}))
            break;
    assert_true(call > 100);
}

/* ---- file calls that fail ---- */

struct fault_run {
    uint64_t call;
    enum sim_fault fault;
    int64_t for_ns; /* 0: this call only */
};

/* In a process of its own: a flush that fails ends the server's. */
static int run_fault(void *arg)
{
    const struct fault_run *f = arg;
    struct host *h = sim_new(f->call);
    world_reset(&world);
    world.faults = true;
    world.fault_call = f->for_ns > 0 ? f->call : 0;
    world.fault_ns = f->for_ns;
    host_sim_fault_at(h, f->call, f->fault, f->for_ns > 0);
    enum err e = live(&world, h, 1 + (uint32_t)(f->call % 3), false);
    if (host_sim_file_calls(h) < f->call)
        return CHILD_NOT_REACHED;
    const char *wrong = e == ERR_OK ? check(&world) : NULL;
    if (wrong != NULL)
        FAIL("with the error: %s", wrong);
    h = host_sim_crash(h);
    REQUIRE(h != NULL);
    host_sim_fault_at(h, 0, SIM_FAULT_NONE, false);
    world.faults = false;
    REQUIRE(live(&world, h, 2, f->call % 2 != 0) == ERR_OK);
    wrong = check(&world);
    if (wrong != NULL)
        FAIL("after the error: %s", wrong);
    host_close(h);
    return 0;
}

static void errors_tear_nothing(enum sim_fault fault, int64_t for_ns, uint64_t first, uint64_t step)
{
    uint64_t survived = 0;
    for (uint64_t call = first;; call += step) {
        struct fault_run f = {.call = call, .fault = fault, .for_ns = for_ns};
        char text[4096];
        int status = script_child(run_fault, &f, text, sizeof(text));
        if (status == CHILD_NOT_REACHED)
            break;
        if (status != 0 && !script_flush_failed(text))
            fail_msg("call %llu ended with %d: %s", (unsigned long long)call, status, text);
        survived += status == 0;
    }
    assert_true(survived > 3);
}

static void an_error_at_any_file_call_tears_nothing(void **state)
{
    (void)state;
    errors_tear_nothing(SIM_FAULT_ERROR, 0, first_call(FATE_ERROR), stride());
}

static void a_disk_that_is_full_at_any_file_call_tears_nothing(void **state)
{
    (void)state;
    errors_tear_nothing(SIM_FAULT_FULL, 0, first_call(FATE_FULL), stride());
}

static void a_disk_that_is_full_for_a_while_tears_nothing(void **state)
{
    (void)state;
    errors_tear_nothing(SIM_FAULT_FULL, 300 * MS, 3, 29);
}

/* What is late is looked for again as soon as there is memory for a timer. */
static void transactions_end_also_when_timers_could_not_be_set(void **state)
{
    (void)state;
    struct host *h = sim_new(1);
    struct thief thief = {.service = {.turn = thief_turn, .stop = thief_stop},
                          .timers = calloc(THIEF_TIMERS_MAX, sizeof(struct shard_timer))};
    assert_non_null(thief.timers);
    world_reset(&world);
    world.faults = true;
    world.thief = &thief;
    assert_int_equal(live(&world, h, 1, false), ERR_OK);
    assert_true(thief.over);
    const char *wrong = check(&world);
    if (wrong != NULL)
        fail_msg("%s", wrong);
    host_close(h);
    free(thief.timers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_the_schedule_no_transaction_is_torn),
        cmocka_unit_test(transactions_end_also_when_timers_could_not_be_set),
        cmocka_unit_test(a_crash_at_any_file_call_tears_nothing),
        cmocka_unit_test(a_power_cut_at_any_file_call_tears_nothing),
        cmocka_unit_test(dying_again_in_the_recovery_tears_nothing),
        cmocka_unit_test(an_error_at_any_file_call_tears_nothing),
        cmocka_unit_test(a_disk_that_is_full_at_any_file_call_tears_nothing),
        cmocka_unit_test(a_disk_that_is_full_for_a_while_tears_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
