#include "base/mem.h"
#include "serve/kafka_int.h"

#include <stdatomic.h>

/* A fetch: read all partitions, those that epochs write as of one epoch; too little and time left:
 * wait for more on all of them, then read again.
 *
 *                  +---- a watermark rose, or time is over ----+
 *                  v                                           |
 *             -> READ -> DECIDE --too little, time left-----> WAIT
 *                  ^       |  '-- enough, an error, canceled or no time left --> DONE
 *                  +-------+ a partition has forgotten the epoch: at a newer one
 *
 * Each step starts requests on the partitions' shards and goes on when `pending` has come back to
 * 0. */
enum fetch_phase { FETCH_READ, FETCH_DECIDE, FETCH_WAIT, FETCH_DONE };

struct fetch_part {
    struct read_request read;
    struct wait_request wait;
    struct kafka_request *request;
    const struct kafka_fetch_req_partition *in;
    struct kafka_fetch_res_partition *res;
    bool waiting;
};

struct fetch_state {
    struct kafka_fetch_res *res;
    struct fetch_part *parts; /* those without an error of their own */
    uint32_t n_parts, pending;
    enum fetch_phase phase;
    bool running, failed, expired, canceled, fired, stale;
    uint32_t stales; /* times that a partition had forgotten the epoch */
    int64_t deadline_ns;
    size_t bytes_max;
    struct shard_timer timer;
    struct kafka_request *request;
};

enum { FETCH_STALES_MAX = 16 };
enum { FETCH_BYTES_MAX = 512 << 20, FETCH_ERROR_SESSION_NOT_FOUND = 70 };

static void fetch_run(struct kafka_request *r);

static void step_done(struct kafka_request *r)
{
    struct fetch_state *st = r->state;
    if (--st->pending == 0)
        fetch_run(r);
}

/* ---- reading ---- */

static void part_release(struct fetch_part *p)
{
    if (p->read.range.len > 0)
        log_range_release(&p->read.range);
    p->read.range = (struct log_range){0};
    mem_free(p->read.aborted);
    p->read.aborted = NULL;
    p->read.n_aborted = 0;
}

static void read_done(struct read_request *read)
{
    struct fetch_part *p = CONTAINER_OF(read, struct fetch_part, read);
    struct fetch_state *st = p->request->state;
    if (read->err == ERR_BUSY && st->stales < FETCH_STALES_MAX) {
        st->stale = true;
        step_done(p->request);
        return;
    }
    p->res->high_watermark = read->high_watermark;
    p->res->last_stable_offset = read->stable_offset;
    p->res->log_start_offset = read->log_start_offset;
    p->res->error_code = kafka_error_of(read->err);
    if (read->err != ERR_OK) {
        read->range = (struct log_range){0};
        st->failed = true;
    }
    step_done(p->request);
}

static bool committed(const struct kafka_request *r)
{
    return ((const struct kafka_fetch_req *)r->request)->isolation_level == 1;
}

static void fetch_read(struct kafka_request *r)
{
    struct fetch_state *st = r->state;
    uint64_t epoch = engine_committed_epoch(shard_engine(r->shard));
    st->fired = st->stale = false;
    st->pending = st->n_parts;
    for (uint32_t i = 0; i < st->n_parts; i++) {
        struct fetch_part *p = &st->parts[i];
        part_release(p);
        size_t bytes = p->in->partition_max_bytes > 0 ? (size_t)p->in->partition_max_bytes : 1;
        p->read.offset = p->in->fetch_offset;
        p->read.bytes_max = bytes < st->bytes_max ? bytes : st->bytes_max;
        p->read.epoch = epoch;
        p->read.committed = committed(r);
        p->read.done = read_done;
        shard_read(r->shard, &p->read);
    }
}

/* ---- waiting ---- */

static void waits_cancel(struct kafka_request *r)
{
    struct fetch_state *st = r->state;
    for (uint32_t i = 0; i < st->n_parts; i++)
        if (st->parts[i].waiting)
            shard_wait_cancel(r->shard, &st->parts[i].wait);
}

static void wait_done(struct wait_request *w)
{
    struct fetch_part *p = CONTAINER_OF(w, struct fetch_part, wait);
    struct kafka_request *r = p->request;
    struct fetch_state *st = r->state;
    p->waiting = false;
    if (!st->fired) {
        st->fired = true;
        st->pending++; /* cancelling may bring the others back at once */
        waits_cancel(r);
        st->pending--;
    }
    step_done(r);
}

static void fetch_wait(struct kafka_request *r)
{
    struct fetch_state *st = r->state;
    st->pending = 1;
    if (shard_timer_set(r->shard, &st->timer, st->deadline_ns) != ERR_OK)
        st->expired = true;
    for (uint32_t i = 0; i < st->n_parts && !st->fired && !st->expired; i++) {
        struct fetch_part *p = &st->parts[i];
        p->wait = (struct wait_request){.topic = p->read.topic,
                                        .partition = p->read.partition,
                                        .committed = committed(r),
                                        .offset = committed(r) ? p->read.stable_offset
                                                               : p->read.high_watermark,
                                        .done = wait_done};
        p->waiting = true;
        st->pending++;
        shard_wait(r->shard, &p->wait);
    }
    st->pending--;
}

static void timer_fire(struct shard_timer *t)
{
    struct fetch_state *st = CONTAINER_OF(t, struct fetch_state, timer);
    st->expired = true;
    waits_cancel(st->request);
}

static void fetch_cancel(struct kafka_request *r)
{
    struct fetch_state *st = r->state;
    st->canceled = true;
    waits_cancel(r);
}

static void fetch_cleanup(struct kafka_request *r)
{
    struct fetch_state *st = r->state;
    shard_timer_cancel(r->shard, &st->timer);
    for (uint32_t i = 0; i < st->n_parts; i++)
        part_release(&st->parts[i]);
}

/* ---- deciding and answering ---- */

/* A range that ends before what may be seen, at its limit or at the end of a segment: waiting would
 * not make it longer. */
static bool cut_short(const struct kafka_request *r, const struct fetch_part *p)
{
    int64_t visible = committed(r) ? p->read.stable_offset : p->read.high_watermark;
    return p->read.range.len > 0 && p->read.range.next_offset < visible;
}

static enum fetch_phase fetch_decide(struct kafka_request *r)
{
    const struct kafka_fetch_req *req = r->request;
    struct fetch_state *st = r->state;
    if (st->stale && !st->canceled) {
        st->stales++;
        return FETCH_READ;
    }
    if (st->failed || st->expired || st->canceled || st->n_parts == 0 ||
        shard_mono_ns(r->shard) >= st->deadline_ns)
        return FETCH_DONE;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < st->n_parts; i++) {
        if (cut_short(r, &st->parts[i]))
            return FETCH_DONE;
        bytes += st->parts[i].read.range.len;
    }
    return req->min_bytes <= 0 || bytes >= (uint64_t)req->min_bytes ? FETCH_DONE : FETCH_WAIT;
}

/* Names the aborted transactions of the range; without them it may not be sent. */
static bool aborted_name(struct kafka_request *r, struct fetch_part *p)
{
    struct kafka_fetch_res_aborted *out =
        arena_zalloc(&r->arena, p->read.n_aborted + 1, sizeof *out);
    if (out == NULL)
        return false;
    for (uint32_t i = 0; i < p->read.n_aborted; i++)
        out[i] = (struct kafka_fetch_res_aborted){p->read.aborted[i].producer_id,
                                                  p->read.aborted[i].first_offset};
    p->res->aborted_transactions = committed(r) ? out : NULL;
    p->res->n_aborted_transactions = p->read.n_aborted;
    return true;
}

/* Gives the ranges their places in the answer, within the request's total. The partition that is
 * looked at first moves on with each fetch, so that a busy one cannot starve the others. */
static void fetch_answer(struct kafka_request *r)
{
    struct fetch_state *st = r->state;
    uint32_t first = kafka_request_conn(r)->fetch_turn++;
    size_t total = 0;
    for (uint32_t i = 0; i < st->n_parts; i++) {
        struct fetch_part *p = &st->parts[(first + i) % st->n_parts];
        size_t n = p->read.range.len;
        if (n == 0)
            continue;
        if (r->splices_max == KAFKA_RANGES_MAX || (total > 0 && total + n > st->bytes_max)) {
            part_release(p);
            continue;
        }
        if (!aborted_name(r, p)) {
            part_release(p);
            continue;
        }
        p->res->records.len = n;
        p->res->records.file = &p->read.range;
        r->splices_max++;
        total += n;
    }
    atomic_fetch_add_explicit(&r->server->n_fetched_bytes, total, memory_order_relaxed);
    shard_timer_cancel(r->shard, &st->timer);
    kafka_request_finish(r, st->res);
}

static void fetch_run(struct kafka_request *r)
{
    struct fetch_state *st = r->state;
    if (st->running)
        return;
    st->running = true;
    while (st->pending == 0) {
        switch (st->phase) {
        case FETCH_READ:
            st->phase = FETCH_DECIDE;
            fetch_read(r);
            break;
        case FETCH_DECIDE:
            st->phase = fetch_decide(r);
            break;
        case FETCH_WAIT:
            st->phase = FETCH_READ;
            fetch_wait(r);
            break;
        case FETCH_DONE:
            fetch_answer(r);
            return;
        }
    }
    st->running = false;
}

/* ---- beginning ---- */

static void part_begin(struct kafka_request *r, const struct topic *t, int16_t missing,
                       const struct kafka_fetch_req_partition *in,
                       struct kafka_fetch_res_partition *res)
{
    struct fetch_state *st = r->state;
    res->index = in->index;
    res->high_watermark = res->last_stable_offset = res->log_start_offset = -1;
    res->preferred_read_replica = -1;
    res->records.ptr = "";
    if (t == NULL || in->index < 0 || (uint32_t)in->index >= t->n_partitions)
        res->error_code = t == NULL ? missing : KAFKA_E_UNKNOWN_TOPIC;
    else
        res->error_code = kafka_leader_epoch_check(in->current_leader_epoch);
    if (res->error_code != KAFKA_OK) {
        st->failed = true;
        return;
    }
    struct fetch_part *p = &st->parts[st->n_parts++];
    p->request = r;
    p->in = in;
    p->res = res;
    p->read.topic = t;
    p->read.partition = (uint32_t)in->index;
}

static bool topics_begin(struct kafka_request *r)
{
    const struct kafka_fetch_req *req = r->request;
    struct fetch_state *st = r->state;
    bool by_id = r->header.api_version >= 13;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        const struct kafka_fetch_req_topic *in = &req->topics[i];
        struct kafka_fetch_res_topic *out = &st->res->topics[i];
        const struct topic *t = kafka_topic_find(r, in->name, in->topic_id, by_id);
        out->name = in->name;
        out->topic_id = in->topic_id;
        out->n_partitions = in->n_partitions;
        out->partitions = kafka_request_alloc(r, in->n_partitions, sizeof *out->partitions);
        if (out->partitions == NULL)
            return false;
        for (uint32_t k = 0; k < in->n_partitions; k++)
            part_begin(r, t, by_id ? KAFKA_E_UNKNOWN_TOPIC_ID : KAFKA_E_UNKNOWN_TOPIC,
                       &in->partitions[k], &out->partitions[k]);
    }
    return true;
}

static void limits_set(struct kafka_request *r)
{
    const struct kafka_fetch_req *req = r->request;
    struct fetch_state *st = r->state;
    int64_t wait_ms = req->max_wait_ms < 0 ? 0 : req->max_wait_ms;
    if (wait_ms > KAFKA_WAIT_MS_MAX)
        wait_ms = KAFKA_WAIT_MS_MAX;
    st->deadline_ns = shard_mono_ns(r->shard) + wait_ms * 1000000;
    st->bytes_max = req->max_bytes > 0 ? (size_t)req->max_bytes : 1;
    if (st->bytes_max > FETCH_BYTES_MAX)
        st->bytes_max = FETCH_BYTES_MAX;
}

void kafka_handle_fetch(struct kafka_request *r)
{
    const struct kafka_fetch_req *req = r->request;
    uint32_t n_parts = 0;
    for (uint32_t i = 0; i < req->n_topics; i++)
        n_parts += req->topics[i].n_partitions;
    struct fetch_state *st = kafka_request_alloc(r, 1, sizeof *st);
    if (st == NULL)
        return;
    st->res = kafka_request_alloc(r, 1, sizeof *st->res);
    if (st->res == NULL)
        return;
    if (req->session_id != 0 && req->session_epoch > 0) {
        st->res->error_code = FETCH_ERROR_SESSION_NOT_FOUND;
        kafka_request_finish(r, st->res);
        return;
    }
    st->parts = kafka_request_alloc(r, n_parts, sizeof *st->parts);
    if (st->parts == NULL)
        return;
    st->res->topics = kafka_request_alloc(r, req->n_topics, sizeof *st->res->topics);
    if (st->res->topics == NULL)
        return;
    st->res->n_topics = req->n_topics;
    st->request = r;
    st->timer.fire = timer_fire;
    r->state = st;
    if (!topics_begin(r))
        return;
    limits_set(r);
    r->cancel = fetch_cancel;
    r->cleanup = fetch_cleanup;
    fetch_run(r);
}
