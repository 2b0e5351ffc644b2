#include "engine/shard.h"

#include "base/check.h"
#include "base/mem.h"
#include "engine/compactor.h"
#include "engine/coordinator.h"
#include "engine/engine_int.h"
#include "engine/epochs.h"
#include "engine/partition.h"
#include "engine/schemas.h"
#include "engine/snapshots.h"

enum call_state { CALL_REQUEST = 1, CALL_REPLY, CALL_POST };

uint32_t shard_index(const struct shard *s)
{
    return s->index;
}
struct engine *shard_engine(struct shard *s)
{
    return s->engine;
}
struct host_worker *shard_worker(struct shard *s)
{
    return s->worker;
}
int64_t shard_mono_ns(struct shard *s)
{
    return s->mono_ns;
}
int64_t shard_wall_us(struct shard *s)
{
    return s->wall_us;
}
const struct catalog *shard_catalog(struct shard *s)
{
    return s->catalog;
}

/* ---- calls ---- */

static void queue_init(struct call_queue *q)
{
    q->head = NULL;
    q->tail = &q->head;
}

static void queue_add(struct call_queue *q, struct shard_call *c)
{
    c->next = NULL;
    *q->tail = c;
    q->tail = &c->next;
}

static struct shard_call *queue_take(struct call_queue *q)
{
    struct shard_call *c = q->head;
    if (c != NULL) {
        q->head = c->next;
        if (q->head == NULL)
            q->tail = &q->head;
    }
    return c;
}

/* Moves what fits into the ring; whether anything did. */
static bool outbox_move(struct shard *s, uint32_t target)
{
    struct call_queue *q = &s->outbox[target];
    bool moved = false;
    while (q->head != NULL) {
        struct shard_call *next = q->head->next;
        if (!ring_push(engine_ring(s->engine, s->index, target), q->head))
            break;
        moved = true;
        q->head = next;
        if (next == NULL)
            q->tail = &q->head;
    }
    return moved;
}

static void outbox_drain(struct shard *s, uint32_t target)
{
    bool sent = outbox_move(s, target);
    if (s->outbox[target].head != NULL) {
        /* Full: the target wakes this shard when it has taken some. Tried once more, because it may
         * have done so before it could see that. */
        atomic_exchange(&s->outbox_waits[target], true);
        sent |= outbox_move(s, target);
    }
    if (sent)
        host_worker_wake(engine_shard(s->engine, target)->worker);
}

static void call_send(struct shard *from, uint32_t target, struct shard_call *c)
{
    if (target == from->index) {
        queue_add(&from->local, c);
        return;
    }
    queue_add(&from->outbox[target], c);
}

void shard_call(struct shard *from, uint32_t target, struct shard_call *c)
{
    c->origin = (uint16_t)from->index;
    c->target = (uint16_t)target;
    c->state = CALL_REQUEST;
    from->outstanding++;
    call_send(from, target, c);
}

void shard_call_reply(struct shard *target, struct shard_call *c)
{
    c->state = CALL_REPLY;
    call_send(target, c->origin, c);
}

void shard_post(struct shard *from, uint32_t target, struct shard_call *c)
{
    c->origin = (uint16_t)from->index;
    c->target = (uint16_t)target;
    c->state = CALL_POST;
    call_send(from, target, c);
}

void shard_expect(struct shard *origin, struct shard_call *c)
{
    c->origin = (uint16_t)origin->index;
    c->state = CALL_REQUEST;
    origin->outstanding++;
}

void shard_forward(struct shard *via, uint32_t target, struct shard_call *c)
{
    c->target = (uint16_t)target;
    call_send(via, target, c);
}

static void call_handle(struct shard *s, struct shard_call *c)
{
    if (c->state != CALL_REPLY) {
        c->run(s, c);
        return;
    }
    CHECK(s->outstanding > 0);
    s->outstanding--;
    c->done(s, c);
}

/* Calls of this shard to itself. Those that their handlers add wait for the next pass. */
static void local_drain(struct shard *s)
{
    struct call_queue batch = s->local;
    queue_init(&s->local);
    struct shard_call *c;
    if (batch.head == NULL)
        return;
    while ((c = queue_take(&batch)) != NULL)
        call_handle(s, c);
}

static void inbox_drain(struct shard *s)
{
    uint32_t n = engine_shards(s->engine), budget = SHARD_CALLS_PER_TURN;
    for (uint32_t from = 0; from < n; from++) {
        if (from == s->index)
            continue;
        struct ring *r = engine_ring(s->engine, from, s->index);
        uint32_t before = budget;
        struct shard_call *c;
        while (budget > 0 && (c = ring_pop(r)) != NULL) {
            budget--;
            call_handle(s, c);
        }
        struct shard *sender = engine_shard(s->engine, from);
        if (budget < before && atomic_exchange(&sender->outbox_waits[s->index], false))
            host_worker_wake(sender->worker);
    }
    if (budget == 0)
        s->busy = true;
    for (uint32_t pass = 0; pass < SHARD_LOCAL_PASSES; pass++)
        local_drain(s);
}

/* ---- timers: a binary heap; heap_index is 1-based, 0 = not set ---- */

static void timer_place(struct shard *s, uint32_t i, struct shard_timer *t)
{
    s->timers[i] = t;
    t->heap_index = i + 1;
}

static void timer_sift(struct shard *s, uint32_t i)
{
    struct shard_timer *t = s->timers[i];
    while (i > 0 && s->timers[(i - 1) / 2]->at_ns > t->at_ns) {
        timer_place(s, i, s->timers[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child + 1 < s->n_timers && s->timers[child + 1]->at_ns < s->timers[child]->at_ns)
            child++;
        if (child >= s->n_timers || s->timers[child]->at_ns >= t->at_ns)
            break;
        timer_place(s, i, s->timers[child]);
        i = child;
    }
    timer_place(s, i, t);
}

enum err shard_timer_set(struct shard *s, struct shard_timer *t, int64_t at_ns)
{
    /* One that is set by one that fires has its next turn: else it could fire for ever in this. */
    if (s->timers_firing && at_ns <= s->mono_ns)
        at_ns = s->mono_ns + 1;
    t->at_ns = at_ns;
    if (t->heap_index != 0) {
        timer_sift(s, t->heap_index - 1);
        return ERR_OK;
    }
    if (s->n_timers == s->timers_cap) {
        uint32_t cap = s->timers_cap == 0 ? 64 : s->timers_cap * 2;
        if (cap > SHARD_TIMERS_MAX)
            return ERR_LIMIT;
        struct shard_timer **grown = mem_realloc(s->timers, cap * sizeof(struct shard_timer *));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        s->timers = grown;
        s->timers_cap = cap;
    }
    timer_place(s, s->n_timers++, t);
    timer_sift(s, s->n_timers - 1);
    return ERR_OK;
}

void shard_timer_cancel(struct shard *s, struct shard_timer *t)
{
    if (t->heap_index == 0)
        return;
    uint32_t i = t->heap_index - 1;
    t->heap_index = 0;
    struct shard_timer *last = s->timers[--s->n_timers];
    if (last == t)
        return;
    timer_place(s, i, last);
    timer_sift(s, i);
}

static void timers_fire(struct shard *s)
{
    s->timers_firing = true;
    while (s->n_timers > 0 && s->timers[0]->at_ns <= s->mono_ns) {
        struct shard_timer *t = s->timers[0];
        shard_timer_cancel(s, t);
        t->fire(t);
    }
    s->timers_firing = false;
}

/* ---- sockets and services ---- */

enum err shard_watch(struct shard *s, struct host_socket *sock, uint32_t interest,
                     struct shard_io *io)
{
    return host_watch(s->worker, sock, interest, io);
}

void shard_unwatch(struct shard *s, struct shard_io *io)
{
    for (size_t i = s->event_at; i < s->n_events; i++)
        if (s->events[i].tag == io)
            s->events[i].tag = NULL;
}

void shard_service_add(struct shard *s, struct shard_service *sv)
{
    list_add(&s->services, &sv->link);
}

/* ---- tasks ---- */

void shard_task_add(struct shard *s, struct shard_task *t)
{
    s->outstanding++;
    list_add(&s->tasks, &t->link);
}

void shard_worked(struct shard *s, uint64_t rows)
{
    s->turn_rows += rows;
}

/* Those that are added meanwhile wait for the next turn. */
static void tasks_turn(struct shard *s)
{
    struct list end;
    list_add(&s->tasks, &end);
    uint64_t before = s->turn_rows, n = 0;
    while (s->tasks.next != &end &&
           s->turn_rows - before + n * SHARD_TASK_ROWS_LEAST < SHARD_TASK_ROWS_PER_TURN) {
        struct shard_task *t = LIST_ENTRY(s->tasks.next, struct shard_task, link);
        list_remove(&t->link);
        s->outstanding--;
        n++;
        t->run(s, t);
    }
    list_remove(&end);
    if (!list_empty(&s->tasks))
        s->busy = true;
}

/* Keeps the longest turn, in rows: what others may have to wait for. */
static void turn_tell(struct shard *s)
{
    _Atomic uint64_t *most = &s->engine->turn_rows_max;
    uint64_t known = atomic_load_explicit(most, memory_order_relaxed);
    while (s->turn_rows > known && !atomic_compare_exchange_weak(most, &known, s->turn_rows))
        ;
    s->turn_rows = 0;
}

static void services_turn(struct shard *s)
{
    LIST_FOR_SAFE (it, next, &s->services) {
        struct shard_service *sv = LIST_ENTRY(it, struct shard_service, link);
        if (sv->turn != NULL)
            sv->turn(sv, s);
    }
}

/* Last registered first, so that a service may use those it was built on; each is off the list when
 * it is stopped. */
static void services_stop(struct shard *s)
{
    while (!list_empty(&s->services)) {
        struct list *it = s->services.prev;
        list_remove(it);
        struct shard_service *sv = LIST_ENTRY(it, struct shard_service, link);
        if (sv->stop != NULL)
            sv->stop(sv, s);
    }
}

/* ---- the loop ---- */

static void poll_events(struct shard *s)
{
    int64_t deadline = s->busy ? 0 : s->n_timers > 0 ? s->timers[0]->at_ns : INT64_MAX;
    if (s->phase != SHARD_RUNNING && deadline > s->mono_ns + 1000000)
        deadline = s->mono_ns + 1000000;
    s->n_events = host_poll(s->worker, s->events, HOST_EVENTS_MAX, deadline);
    s->mono_ns = host_mono_ns(s->engine->host);
    s->wall_us = host_wall_us(s->engine->host);
    s->busy = false;
    for (s->event_at = 0; s->event_at < s->n_events;) {
        const struct host_event *e = &s->events[s->event_at++];
        struct shard_io *io = e->tag;
        if (io != NULL)
            io->ready(io, e->ready);
    }
    s->n_events = s->event_at = 0;
}

/* Stopping: services close, what is under way finishes, then all shards leave together, because
 * each may still be asked by another until that one has nothing outstanding. Returns false when
 * this shard may end. */
static bool stop_step(struct shard *s)
{
    struct engine *e = s->engine;
    if (s->phase == SHARD_RUNNING) {
        s->phase = SHARD_STOPPING;
        s->stopped_ns = s->mono_ns;
        services_stop(s);
        parts_stop(s);
    }
    if (s->phase == SHARD_STOPPING && s->outstanding == 0 && parts_idle(s)) {
        s->phase = SHARD_ARRIVED;
        atomic_fetch_add(&e->shards_arrived, 1);
    }
    bool stuck = engine_outputs_stuck(e, NULL) != ERR_OK;
    int64_t ms_max = stuck ? SHARD_STOP_STUCK_MS_MAX : SHARD_STOP_MS_MAX;
    bool late = s->mono_ns > s->stopped_ns + ms_max * 1000000;
    if (late || atomic_load(&e->shards_arrived) == e->n_shards) {
        parts_join_flush(s);
        return false;
    }
    return true;
}

bool shard_turn(void *arg)
{
    struct shard *s = arg;
    poll_events(s);
    parts_finish_flushes(s);
    inbox_drain(s);
    timers_fire(s);
    if (s->index == 0)
        schemas_turn(s);
    if (s->coordinator != NULL)
        coordinator_turn(s->coordinator);
    epochs_turn(s->epochs);
    tasks_turn(s);
    parts_turn(s);
    local_drain(s); /* what is durable without a flush is answered in this turn */
    compaction_turn(s);
    removals_turn(s);
    snapshots_turn(s);
    turn_tell(s);
    services_turn(s); /* last, so that what the steps before have answered is sent in this turn */
    /* The steps before may have added some. */
    if (s->local.head != NULL || !list_empty(&s->tasks) || s->dirtied)
        s->busy = true;
    for (uint32_t i = 0; i < engine_shards(s->engine); i++)
        if (s->outbox[i].head != NULL)
            outbox_drain(s, i);
    return host_stop_requested(s->engine->host) ? stop_step(s) : true;
}

enum err shard_init(struct shard *s, struct engine *e, uint32_t index)
{
    s->engine = e;
    s->index = index;
    list_init(&s->services);
    list_init(&s->tasks);
    list_init(&s->follows);
    list_init(&s->dirty);
    list_init(&s->removals);
    list_init(&s->uncommitted);
    queue_init(&s->local);
    for (uint32_t i = 0; i < SHARDS_MAX; i++)
        queue_init(&s->outbox[i]);
    s->mono_ns = host_mono_ns(e->host);
    s->wall_us = host_wall_us(e->host);
    return ERR_OK;
}

void shard_deinit(struct shard *s)
{
    map_deinit(&s->parts);
    mem_free(s->timers);
    catalog_unref(s->catalog);
}
