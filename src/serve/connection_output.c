#include "serve/connection_int.h"

#include "base/check.h"
#include "base/mem.h"

enum { SEND_PIECES_MAX = 64 }; /* host_sendv's bound */

static struct conn_piece *piece_at(struct conn *c, uint32_t i)
{
    return &c->pieces[(c->piece_at + i) & (c->pieces_cap - 1)];
}

static bool pieces_grow(struct conn *c)
{
    uint32_t cap = c->pieces_cap == 0 ? CONN_PIECES_MIN : c->pieces_cap * 2;
    if (cap > CONN_PIECES_MAX)
        return false;
    struct conn_piece *grown = mem_alloc(cap * sizeof *grown);
    if (grown == NULL)
        return false;
    for (uint32_t i = 0; i < c->n_pieces; i++)
        grown[i] = *piece_at(c, i);
    mem_free(c->pieces);
    c->pieces = grown;
    c->pieces_cap = cap;
    c->piece_at = 0;
    return true;
}

/* A new piece at the end, or NULL: the connection is closed. */
static struct conn_piece *piece_add(struct conn *c)
{
    if (c->phase != CONN_OPEN)
        return NULL;
    if (c->n_pieces == c->pieces_cap && !pieces_grow(c)) {
        conn_close(c);
        return NULL;
    }
    if (c->n_pieces == 0) {
        c->sent_ns = conn_now(c);
        if (c->server->protocol->stall_ms_max > 0)
            conn_timer_within(c, c->server->protocol->stall_ms_max);
    }
    conn_schedule(c);
    return piece_at(c, c->n_pieces++);
}

static void piece_free(struct conn *c, struct conn_piece *p)
{
    switch (p->kind) {
    case PIECE_BLOCK:
        c->out_bytes -= p->len;
        conn_block_release(p->of.block);
        break;
    case PIECE_OWNED:
        c->out_bytes -= p->len;
        mem_free(p->of.owned);
        break;
    case PIECE_STATIC:
        break;
    case PIECE_RANGE:
        log_range_release(&p->of.range);
        break;
    }
}

static void piece_drop_first(struct conn *c)
{
    piece_free(c, piece_at(c, 0));
    c->piece_at = (c->piece_at + 1) & (c->pieces_cap - 1);
    c->n_pieces--;
}

void conn_output_free(struct conn *c)
{
    while (c->n_pieces > 0)
        piece_drop_first(c);
    if (c->out_block != NULL)
        conn_block_release(c->out_block);
    c->out_block = NULL;
}

/* ---- putting ---- */

char *conn_reserve(struct conn *c, size_t n)
{
    if (c->phase != CONN_OPEN)
        return NULL;
    if (c->out_bytes + n > c->server->protocol->output_bytes_max) {
        engine_note(c->server->engine, "warning",
                    "%s: connection from %s closed: more than %zu bytes of output wait",
                    c->server->protocol->name, c->peer, c->server->protocol->output_bytes_max);
        conn_close(c);
        return NULL;
    }
    if (c->out_block != NULL && c->out_block->cap - c->out_fill >= n)
        return c->out_block->data + c->out_fill;
    struct conn_block *b = conn_block_new(c->home, n);
    if (b == NULL) {
        conn_close(c);
        return NULL;
    }
    if (c->out_block != NULL)
        conn_block_release(c->out_block);
    c->out_block = b;
    c->out_fill = 0;
    return b->data;
}

void conn_commit(struct conn *c, size_t n)
{
    if (n == 0 || c->phase != CONN_OPEN)
        return;
    struct conn_block *b = c->out_block;
    CHECK(b != NULL && n <= b->cap - c->out_fill);
    const char *from = b->data + c->out_fill;
    struct conn_piece *last = c->n_pieces > 0 ? piece_at(c, c->n_pieces - 1) : NULL;
    if (last != NULL && last->kind == PIECE_BLOCK && last->ptr + last->len == from) {
        last->len += n;
        conn_schedule(c);
    } else {
        struct conn_piece *p = piece_add(c);
        if (p == NULL)
            return;
        b->refs++;
        *p = (struct conn_piece){.kind = PIECE_BLOCK, .ptr = from, .len = n, .of.block = b};
    }
    c->out_fill += n;
    c->out_bytes += n;
}

void conn_put(struct conn *c, const void *bytes, size_t n)
{
    const char *at = bytes;
    while (n > 0) {
        size_t room = c->out_block != NULL ? c->out_block->cap - c->out_fill : 0;
        size_t part = room > 0 && room < n ? room : n;
        char *to = conn_reserve(c, part);
        if (to == NULL)
            return;
        memcpy(to, at, part);
        conn_commit(c, part);
        at += part;
        n -= part;
    }
}

void conn_put_buf(struct conn *c, struct buf *b)
{
    if (b->len <= CONN_BLOCK_BYTES / 4) {
        conn_put(c, b->ptr, b->len);
        buf_deinit(b);
        return;
    }
    if (c->out_bytes + b->len > c->server->protocol->output_bytes_max) {
        conn_close(c);
        buf_deinit(b);
        return;
    }
    struct conn_piece *p = piece_add(c);
    if (p == NULL) {
        buf_deinit(b);
        return;
    }
    *p = (struct conn_piece){.kind = PIECE_OWNED, .ptr = b->ptr, .len = b->len, .of.owned = b->ptr};
    c->out_bytes += b->len;
    buf_init(b, b->max);
}

void conn_put_static(struct conn *c, const void *bytes, size_t n)
{
    struct conn_piece *p = n > 0 ? piece_add(c) : NULL;
    if (p != NULL)
        *p = (struct conn_piece){.kind = PIECE_STATIC, .ptr = bytes, .len = n};
}

void conn_put_range(struct conn *c, struct log_range *r)
{
    struct conn_piece *p = r->len > 0 ? piece_add(c) : NULL;
    if (p == NULL)
        log_range_release(r);
    else
        *p = (struct conn_piece){.kind = PIECE_RANGE, .len = r->len, .of.range = *r};
    *r = (struct log_range){0};
}

size_t conn_output_bytes(const struct conn *c)
{
    return c->out_bytes;
}

bool conn_output_full(struct conn *c)
{
    bool full = c->out_bytes >= c->server->protocol->output_bytes_max / 2 ||
                c->n_pieces >= CONN_PIECES_MAX / 2;
    if (full)
        c->was_full = true;
    return full;
}

/* ---- sending ---- */

static ptrdiff_t send_memory(struct conn *c)
{
    struct str pieces[SEND_PIECES_MAX];
    size_t n = 0;
    while (n < SEND_PIECES_MAX && n < c->n_pieces) {
        const struct conn_piece *p = piece_at(c, (uint32_t)n);
        if (p->kind == PIECE_RANGE)
            break;
        pieces[n++] = (struct str){p->ptr, p->len};
    }
    return host_sendv(c->sock, pieces, n);
}

static ptrdiff_t send_range(struct conn *c, const struct conn_piece *p)
{
    const struct log_range *r = &p->of.range;
    ptrdiff_t n = host_send_file(c->sock, r->file, r->at + (r->len - p->len), p->len);
    return n == 0 ? -2 : n; /* the file ends before its range: the reader must not see a gap */
}

static void sent(struct conn *c, size_t n)
{
    c->sent_ns = c->active_ns = conn_now(c);
    atomic_fetch_add_explicit(&c->server->bytes_out, n, memory_order_relaxed);
    while (n > 0) {
        struct conn_piece *p = piece_at(c, 0);
        size_t part = n < p->len ? n : p->len;
        n -= part;
        p->len -= part;
        if (p->kind != PIECE_RANGE)
            p->ptr += part;
        if (p->kind == PIECE_BLOCK || p->kind == PIECE_OWNED)
            c->out_bytes -= part;
        if (p->len == 0)
            piece_drop_first(c);
    }
}

/* Nothing queued: give the memory back. */
static void output_trim(struct conn *c)
{
    if (c->out_block != NULL)
        conn_block_release(c->out_block);
    c->out_block = NULL;
    if (c->pieces_cap > CONN_PIECES_MIN) {
        mem_free(c->pieces);
        c->pieces = NULL;
        c->pieces_cap = c->piece_at = 0;
    }
}

void conn_flush(struct conn *c)
{
    size_t budget = CONN_SEND_BYTES_PER_TURN;
    if (c->n_pieces == 0)
        return;
    while (c->n_pieces > 0 && budget > 0) {
        const struct conn_piece *p = piece_at(c, 0);
        ptrdiff_t n = p->kind == PIECE_RANGE ? send_range(c, p) : send_memory(c);
        if (n == -1)
            break;
        if (n < 0) {
            conn_close(c);
            return;
        }
        sent(c, (size_t)n);
        budget -= (size_t)n < budget ? (size_t)n : budget;
    }
    c->write_blocked = c->n_pieces > 0;
    if (c->n_pieces == 0)
        output_trim(c);
}
