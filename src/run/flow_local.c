#include "run/flow_local.h"

#include "base/check.h"
#include "base/mem.h"

enum { ARENA_KEEP_BYTES = 1 << 20 };

enum work { WORK_SEED, WORK_SOURCE, WORK_APPLY, WORK_END_LEVEL };

/* One call into the flow and the packets that came of it. Those are worked off by calls above; a
 * call's packets live in its arena, and its own packet in the arena of the call below. */
struct call {
    enum work work;
    struct flow_packet packet; /* APPLY */
    bool more;                 /* to be called again when its packets are done */
    uint32_t n, cap, next;
    struct flow_packet *packets;
    struct arena arena;
};

struct flow_local {
    const struct flow *flow;
    struct flow_state *state;
    struct flow_sink sink;
    int64_t now_us;
    struct err_detail *why; /* of the step at hand */
    bool seeded, ending;
    uint32_t scan, level;
    const struct batch *in; /* NULL: none waits */
    bool packet_waits;
    struct flow_packet packet;
    uint32_t depth;
    struct call calls[FLOW_OPERATORS_MAX + 1]; /* a packet only goes to operators further up */
};

enum err flow_local_new(const struct flow *f, uint64_t bytes_max, int64_t now_us,
                        const struct flow_sink *sink, struct flow_local **out)
{
    struct flow_local *l = mem_zalloc(1, sizeof(*l));
    if (l == NULL)
        return ERR_NO_MEMORY;
    l->flow = f;
    l->sink = *sink;
    l->now_us = now_us;
    for (uint32_t i = 0; i <= FLOW_OPERATORS_MAX; i++)
        arena_init(&l->calls[i].arena, bytes_max);
    enum err e = flow_state_new(f, bytes_max, &l->state);
    if (e != ERR_OK) {
        flow_local_free(l);
        return e;
    }
    *out = l;
    return ERR_OK;
}

void flow_local_free(struct flow_local *l)
{
    if (l == NULL)
        return;
    for (uint32_t i = 0; i <= FLOW_OPERATORS_MAX; i++)
        arena_deinit(&l->calls[i].arena);
    flow_state_free(l->state);
    mem_free(l);
}

const struct flow_state *flow_local_state(const struct flow_local *l)
{
    return l->state;
}

void flow_local_push(struct flow_local *l, uint32_t scan, const struct batch *in)
{
    CHECK(l->in == NULL && !l->ending && l->depth == 0);
    l->scan = scan;
    l->in = in;
}

void flow_local_apply(struct flow_local *l, const struct flow_packet *p)
{
    CHECK(l->in == NULL && !l->ending && l->depth == 0 && !l->packet_waits);
    l->packet = *p;
    l->packet_waits = true;
}

bool flow_local_expire(struct flow_local *l, int64_t watermark_us)
{
    CHECK(l->in == NULL && !l->ending && l->depth == 0 && !l->packet_waits);
    return flow_expire(l->flow, l->state, watermark_us);
}

void flow_local_set_time(struct flow_local *l, int64_t now_us)
{
    l->now_us = now_us;
}

void flow_local_finish(struct flow_local *l)
{
    CHECK(l->in == NULL && !l->ending && l->depth == 0);
    l->ending = true;
    l->level = 0;
}

static enum err take_packet(void *arg, const struct flow_packet *p)
{
    struct flow_local *l = arg;
    struct call *f = &l->calls[l->depth - 1];
    if (f->n == f->cap) {
        uint32_t cap = f->cap == 0 ? 16 : f->cap * 2;
        struct flow_packet *grown = arena_alloc(&f->arena, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        if (f->n > 0)
            memcpy(grown, f->packets, f->n * sizeof(*grown));
        f->packets = grown;
        f->cap = cap;
    }
    f->packets[f->n++] = *p;
    return ERR_OK;
}

static enum err take_row_error(void *arg, const struct batch *b, uint32_t row, enum err e,
                               const char *text)
{
    struct flow_local *l = arg;
    if (l->sink.row_error == NULL)
        return err_set(l->why, e, "%s", text);
    return l->sink.row_error(l->sink.arg, b, row, e, text);
}

/* Calls into the flow for the call on top. */
static enum err call_run(struct flow_local *l)
{
    struct call *f = &l->calls[l->depth - 1];
    struct flow_context c = {.arena = &f->arena,
                             .now_us = l->now_us,
                             .emit = take_packet,
                             .row_error = take_row_error,
                             .arg = l,
                             .why = l->why,
                             .clock_ns = l->sink.clock_ns,
                             .clock_arg = l->sink.clock_arg};
    struct flow_late late;
    f->more = false;
    switch (f->work) {
    case WORK_SEED:
        return flow_seed(l->flow, l->state, &c);
    case WORK_SOURCE:
        return flow_source(l->flow, l->scan, l->in, NULL, &c, &late);
    case WORK_APPLY:
        return flow_apply(l->flow, l->state, &f->packet, &c, &f->more);
    case WORK_END_LEVEL:
        return flow_end_level(l->flow, l->state, l->level, &c, &f->more);
    }
    UNREACHABLE();
}

static enum err begin(struct flow_local *l, enum work work, const struct flow_packet *p)
{
    CHECK(l->depth <= FLOW_OPERATORS_MAX);
    struct call *f = &l->calls[l->depth++];
    f->work = work;
    if (p != NULL)
        f->packet = *p;
    f->n = f->cap = f->next = 0;
    return call_run(l);
}

/* The call on top has no packets left: goes on with it, or is done with it. */
static enum err resume(struct flow_local *l)
{
    struct call *f = &l->calls[l->depth - 1];
    arena_reset(&f->arena, ARENA_KEEP_BYTES);
    f->n = f->cap = f->next = 0;
    if (f->more)
        return call_run(l);
    l->depth--;
    if (f->work == WORK_SOURCE)
        l->in = NULL;
    if (f->work == WORK_END_LEVEL)
        l->level++;
    return ERR_OK;
}

/* Rows of the root, without those of weight 0. */
static enum err give_rows(struct flow_local *l, const struct batch *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; b->weights != NULL && i < b->n_rows; i++)
        n += b->weights[i] != 0;
    if (b->weights == NULL || n == b->n_rows)
        return l->sink.rows(l->sink.arg, b);
    if (n == 0)
        return ERR_OK;
    struct arena *a = &l->calls[l->depth - 1].arena;
    uint32_t *rows = arena_alloc(a, n * sizeof(*rows));
    if (rows == NULL)
        return ERR_NO_MEMORY;
    n = 0;
    for (uint32_t i = 0; i < b->n_rows; i++)
        if (b->weights[i] != 0)
            rows[n++] = i;
    const struct batch *some = batch_gather(b, rows, n, a);
    return some == NULL ? ERR_NO_MEMORY : l->sink.rows(l->sink.arg, some);
}

enum err flow_local_step(struct flow_local *l, bool *more, struct err_detail *why)
{
    l->why = why;
    *more = true;
    if (l->depth > 0) {
        struct call *f = &l->calls[l->depth - 1];
        if (f->next == f->n)
            return resume(l);
        const struct flow_packet *p = &f->packets[f->next++];
        return p->op == FLOW_ROOT ? give_rows(l, p->batch) : begin(l, WORK_APPLY, p);
    }
    if (!l->seeded) {
        l->seeded = true;
        return begin(l, WORK_SEED, NULL);
    }
    if (l->packet_waits) {
        l->packet_waits = false;
        return begin(l, WORK_APPLY, &l->packet);
    }
    if (l->in != NULL)
        return begin(l, WORK_SOURCE, NULL);
    if (l->ending && l->level < flow_n_levels(l->flow))
        return begin(l, WORK_END_LEVEL, NULL);
    l->ending = *more = false;
    return ERR_OK;
}
