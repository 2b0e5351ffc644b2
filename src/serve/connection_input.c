#include "serve/connection_int.h"

#include "base/check.h"
#include "base/mem.h"

/* ---- blocks ---- */

static struct conn_block *pool_take(struct conn_block **pool, uint32_t *n)
{
    struct conn_block *b = *pool;
    if (b != NULL) {
        *pool = b->next;
        --*n;
    }
    return b;
}

static void block_init(struct conn_block *b, struct conn_shard *sh)
{
    b->home = sh;
    b->next = NULL;
    b->refs = 1;
    b->counted = false;
}

struct conn_block *conn_block_new(struct conn_shard *sh, size_t cap)
{
    struct conn_block *b = NULL;
    if (cap <= CONN_BLOCK_BYTES) {
        cap = CONN_BLOCK_BYTES;
        b = pool_take(&sh->pool, &sh->n_pool);
    } else if (cap <= CONN_BLOCK_HINT_MAX) {
        cap = CONN_BLOCK_HINT_MAX;
        b = pool_take(&sh->big_pool, &sh->n_big_pool);
    }
    if (b == NULL) {
        b = mem_alloc(sizeof *b + cap);
        if (b == NULL)
            return NULL;
        b->cap = cap;
    }
    block_init(b, sh);
    return b;
}

void conn_block_release(struct conn_block *b)
{
    struct conn_shard *sh = b->home;
    CHECK(b->refs > 0);
    if (--b->refs > 0)
        return;
    if (b->counted) {
        sh->input_bytes -= b->cap;
        if (!list_empty(&sh->starved)) {
            sh->retry_starved = true;
            host_worker_wake(shard_worker(sh->shard));
        }
    }
    struct conn_block **pool = b->cap == CONN_BLOCK_BYTES ? &sh->pool : &sh->big_pool;
    uint32_t *n = b->cap == CONN_BLOCK_BYTES ? &sh->n_pool : &sh->n_big_pool;
    bool pooled = b->cap >= CONN_BLOCK_BYTES && b->cap <= CONN_BLOCK_HINT_MAX;
    if (!pooled || *n >= CONN_POOL_BLOCKS_MAX) {
        mem_free(b);
        return;
    }
    b->next = *pool;
    *pool = b;
    ++*n;
}

void conn_pool_free(struct conn_shard *sh)
{
    struct conn_block *b;
    while ((b = pool_take(&sh->pool, &sh->n_pool)) != NULL)
        mem_free(b);
    while ((b = pool_take(&sh->big_pool, &sh->n_big_pool)) != NULL)
        mem_free(b);
}

/* ---- the input block ---- */

/* May the connection have `cap` more bytes of input memory? If not, it waits in the starved list.
 * One connection at a time may go over the shard's bound, so that a large message that has begun
 * can always end. */
static bool input_admit(struct conn *c, size_t cap)
{
    struct conn_shard *sh = c->home;
    if (sh->input_bytes + cap <= CONN_SHARD_INPUT_BYTES_MAX)
        return true;
    if (sh->privileged == NULL) {
        sh->privileged = c;
        c->privileged = true;
    }
    if (c->privileged)
        return true;
    if (list_empty(&c->starved))
        list_add(&sh->starved, &c->starved);
    return false;
}

static void privilege_drop(struct conn *c)
{
    if (!c->privileged)
        return;
    c->privileged = false;
    c->home->privileged = NULL;
    c->home->retry_starved = true;
    host_worker_wake(shard_worker(c->home->shard));
}

void conn_starved_retry(struct conn_shard *sh)
{
    sh->retry_starved = false;
    struct list round;
    list_init(&round);
    while (!list_empty(&sh->starved)) {
        struct list *it = sh->starved.next;
        list_remove(it);
        list_add(&round, it);
    }
    while (!list_empty(&round)) {
        struct conn *c = LIST_ENTRY(round.next, struct conn, starved);
        list_remove(&c->starved);
        conn_watch(c);
    }
}

static struct conn_block *input_block_new(struct conn *c, size_t cap)
{
    if (!input_admit(c, cap))
        return NULL;
    struct conn_block *b = conn_block_new(c->home, cap);
    if (b == NULL) {
        conn_close(c);
        return NULL;
    }
    b->counted = true;
    c->home->input_bytes += b->cap;
    return b;
}

/* Size of the block that comes after the present one: grows with what has been received, up to the
 * message's end. */
static size_t next_cap(const struct conn *c)
{
    size_t have = c->fill - c->at;
    size_t cap = have * 4;
    if (c->want > 0 && cap > c->want)
        cap = c->want;
    if (cap < c->block_hint)
        cap = c->block_hint;
    return cap <= have ? have + CONN_BLOCK_BYTES : cap;
}

/* Makes room behind `fill`; false: none to be had now. */
static bool input_room(struct conn *c)
{
    struct conn_block *b = c->block;
    bool small = b != NULL && b->cap == CONN_SMALL_BYTES;
    if (b != NULL && c->fill < b->cap && !small)
        return true;
    size_t have = c->fill - c->at;
    if (b != NULL && b->refs == 1 && c->at >= b->cap / 2 && !small) {
        memmove(b->data, b->data + c->at, have);
    } else {
        struct conn_block *bigger = input_block_new(c, next_cap(c));
        if (bigger == NULL)
            return false;
        if (b != NULL) {
            memcpy(bigger->data, b->data + c->at, have);
            conn_block_release(b);
        }
        c->block = bigger;
    }
    c->at = 0;
    c->fill = have;
    return true;
}

/* Moves the beginning of a message into a small block of its own. */
static void input_shrink(struct conn *c)
{
    size_t have = c->fill - c->at;
    if (have > CONN_SMALL_BYTES || c->block->cap == CONN_SMALL_BYTES || c->paused)
        return;
    struct conn_block *b = mem_alloc(sizeof *b + CONN_SMALL_BYTES);
    if (b == NULL)
        return; /* the large one stays */
    b->cap = CONN_SMALL_BYTES;
    block_init(b, c->home);
    memcpy(b->data, c->block->data + c->at, have);
    b->counted = true;
    c->home->input_bytes += b->cap;
    conn_block_release(c->block);
    c->block = b;
    c->at = 0;
    c->fill = have;
}

void conn_input_trim(struct conn *c)
{
    if (c->block == NULL)
        return;
    if (c->fill > c->at) {
        input_shrink(c);
        return;
    }
    conn_block_release(c->block);
    c->block = NULL;
    c->at = c->fill = 0;
    privilege_drop(c);
}

void conn_input_free(struct conn *c)
{
    c->at = c->fill;
    conn_input_trim(c);
    privilege_drop(c);
}

/* ---- reading ---- */

static void received(struct conn *c, size_t n)
{
    int64_t now = conn_now(c);
    int64_t partial_ms = c->server->protocol->partial_ms_max;
    if ((c->fill == c->at && !c->unfinished) || c->progress_bytes >= CONN_PARTIAL_PROGRESS_BYTES) {
        c->partial_ns = now;
        c->progress_bytes = 0;
    }
    c->fill += n;
    c->progress_bytes += n;
    c->active_ns = now;
    c->input_due = true;
    if (partial_ms > 0)
        conn_timer_within(c, partial_ms);
    atomic_fetch_add_explicit(&c->server->bytes_in, n, memory_order_relaxed);
}

void conn_read(struct conn *c)
{
    size_t budget = CONN_READ_BYTES_PER_TURN;
    while (c->phase == CONN_OPEN && !c->paused && budget > 0) {
        if (!input_room(c))
            break;
        size_t room = c->block->cap - c->fill;
        ptrdiff_t n = host_recv(c->sock, c->block->data + c->fill, room);
        if (n == -2) {
            conn_close(c);
            break;
        }
        if (n == 0)
            c->eof = c->input_due = true;
        if (n <= 0)
            break;
        received(c, (size_t)n);
        conn_input_run(c);
        budget -= (size_t)n < budget ? (size_t)n : budget;
        if ((size_t)n < room)
            break;
    }
    if (c->eof)
        conn_input_run(c);
    conn_input_trim(c);
    conn_watch(c);
}

void conn_input_run(struct conn *c)
{
    const struct conn_protocol *p = c->server->protocol;
    if (c->phase != CONN_OPEN || c->paused)
        return;
    c->input_due = false;
    size_t have = c->fill - c->at;
    if (have > 0 && have >= c->want) {
        c->want = 0;
        p->input(c);
        if (c->phase != CONN_OPEN)
            return;
        have = c->fill - c->at;
        if (have > p->input_bytes_max || c->want > p->input_bytes_max) {
            engine_note(c->server->engine, "warning",
                        "%s: connection from %s closed: a message is larger than %zu bytes",
                        p->name, c->peer, p->input_bytes_max);
            conn_close(c);
            return;
        }
    }
    if (c->eof && !c->paused && !c->eof_told) {
        c->eof_told = true;
        if (p->eof != NULL)
            p->eof(c);
        else
            conn_close(c);
    }
}

struct str conn_input(struct conn *c)
{
    if (c->block == NULL)
        return (struct str){"", 0};
    return (struct str){c->block->data + c->at, c->fill - c->at};
}

static void consume(struct conn *c, size_t n)
{
    CHECK(n <= c->fill - c->at);
    c->at += n;
    /* A connection that sends large messages gets large blocks at once. */
    if (n > CONN_BLOCK_BYTES)
        c->block_hint = n < CONN_BLOCK_HINT_MAX ? n : CONN_BLOCK_HINT_MAX;
    else if (c->at == c->fill)
        c->block_hint /= 2;
    if (c->at == c->fill && c->block != NULL && c->block->refs == 1)
        c->at = c->fill = 0;
    privilege_drop(c);
}

void conn_consume(struct conn *c, size_t n)
{
    c->unfinished = false;
    c->partial_ns = conn_now(c);
    c->progress_bytes = 0;
    consume(c, n);
}

void conn_consume_part(struct conn *c, size_t n)
{
    c->unfinished = true;
    consume(c, n);
}

void conn_want(struct conn *c, size_t n)
{
    c->want = n;
}

struct conn_block *conn_input_hold(struct conn *c)
{
    CHECK(c->block != NULL);
    c->block->refs++;
    return c->block;
}

char *conn_block_mutable(struct conn_block *b, const char *bytes)
{
    CHECK(bytes >= b->data && bytes <= b->data + b->cap);
    return b->data + (bytes - b->data);
}

void conn_pause(struct conn *c)
{
    c->paused = true;
}

void conn_resume(struct conn *c)
{
    if (!c->paused)
        return;
    c->paused = false;
    c->partial_ns = conn_now(c);
    c->input_due = true;
    conn_schedule(c);
}
