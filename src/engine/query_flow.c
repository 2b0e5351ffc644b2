/* Between a query's sources and its stages: a flow (run/flow.h) runs what is no chain, in one epoch
 * that has all rows of all sources.
 *
 *   source's batch --> each of its scans --> flow_local_step ... --> rows, as often as they are
 *                      (port by port)        all sources read:        --> stages
 *                                            flow_local_finish */
#include "base/mem.h"
#include "engine/query_int.h"

enum { STEPS_PER_TURN = 8 }; /* that give no rows */

struct query_flow {
    struct flow *flow;
    struct flow_local *local;
    bool busy, ending, ended;
    /* what is pushed: */
    struct query_source *source;
    uint32_t port;
    struct batch in;
    struct batch narrowed; /* ... for that port */
    const struct batch *rows; /* that have come out of the last step; NULL: none */
};

/* ---- making ---- */

static struct query_source *source_of(struct query *q, const struct relation *rel)
{
    for (uint32_t i = 0; i < q->n_sources; i++)
        if (q->sources[i].rel == rel)
            return &q->sources[i];
    struct query_source *src = &q->sources[q->n_sources++];
    src->query = q;
    src->rel = rel;
    return src;
}

/* Adds a scan to its relation's source. */
static enum err add_scan(struct query *q, uint32_t scan, uint32_t n_scans)
{
    const struct plan_node *node = flow_scan(q->flow->flow, scan);
    struct query_source *src = source_of(q, node->relation);
    if (src->ports == NULL)
        src->ports = arena_zalloc(&q->arena, n_scans, sizeof(*src->ports));
    if (src->ports == NULL)
        return ERR_NO_MEMORY;
    struct source_port *port = &src->ports[src->n_ports++];
    uint32_t *columns = arena_alloc(&q->arena, (node->n_columns + 1) * sizeof(*columns));
    *port = (struct source_port){.scan = scan, .n_columns = node->n_columns, .columns = columns};
    port->narrowed = arena_alloc(&q->arena, (node->n_columns + 1) * sizeof(*port->narrowed));
    if (columns == NULL || port->narrowed == NULL)
        return ERR_NO_MEMORY;
    memcpy(columns, node->scan_columns, node->n_columns * sizeof(*columns));
    return ERR_OK;
}

/* Reads the columns that any of the scans wants; the ports' become numbers of those. */
static enum err open_source(struct query_source *src)
{
    struct arena *a = &src->query->arena;
    uint32_t n = 0, n_all = src->rel->n_columns;
    uint32_t *place = arena_alloc(a, (n_all + 1) * sizeof(*place)),
             *columns = arena_alloc(a, (n_all + 1) * sizeof(*columns));
    bool *used = arena_zalloc(a, n_all + 1, sizeof(*used));
    if (place == NULL || columns == NULL || used == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < src->n_ports; i++)
        for (uint32_t c = 0; c < src->ports[i].n_columns; c++)
            used[src->ports[i].columns[c]] = true;
    for (uint32_t c = 0; c < n_all; c++)
        if (used[c]) {
            place[c] = n;
            columns[n++] = c;
        }
    for (uint32_t i = 0; i < src->n_ports; i++) {
        uint32_t *of_port = arena_alloc(a, (src->ports[i].n_columns + 1) * sizeof(*of_port));
        if (of_port == NULL)
            return ERR_NO_MEMORY;
        for (uint32_t c = 0; c < src->ports[i].n_columns; c++)
            of_port[c] = place[src->ports[i].columns[c]];
        src->ports[i].columns = of_port;
    }
    return query_source_open(src, src->rel, columns, n);
}

static enum err take_rows(void *arg, const struct batch *b)
{
    struct query_flow *f = arg;
    f->rows = b;
    return ERR_OK;
}

enum err query_flow_open(struct query *q, const struct plan_node *root)
{
    struct query_flow *f = arena_zalloc(&q->arena, 1, sizeof(*f));
    if (f == NULL)
        return ERR_NO_MEMORY;
    q->flow = f;
    TRY(flow_new(root, q->shard->engine->hash_seed, &f->flow, &q->why));
    struct flow_sink sink = {.rows = take_rows, .arg = f};
    TRY(flow_local_new(f->flow, QUERY_BYTES_MAX, q->shard->wall_us, &sink, &f->local));
    uint32_t n = flow_n_scans(f->flow);
    q->sources = arena_zalloc(&q->arena, n + 1, sizeof(*q->sources));
    if (q->sources == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        TRY(add_scan(q, i, n));
    for (uint32_t i = 0; i < q->n_sources; i++)
        TRY(open_source(&q->sources[i]));
    return ERR_OK;
}

void query_flow_close(struct query_flow *f)
{
    if (f == NULL)
        return;
    flow_local_free(f->local);
    flow_free(f->flow);
}

/* ---- running ---- */

static void push_port(struct query_flow *f)
{
    const struct source_port *port = &f->source->ports[f->port];
    for (uint32_t c = 0; c < port->n_columns; c++)
        port->narrowed[c] = f->in.columns[port->columns[c]];
    f->narrowed = f->in;
    f->narrowed.n_columns = port->n_columns;
    f->narrowed.columns = port->narrowed;
    flow_local_push(f->local, port->scan, &f->narrowed);
}

void query_flow_feed(struct query_source *src, const struct batch *b)
{
    struct query_flow *f = src->query->flow;
    f->source = src;
    f->port = 0;
    f->in = *b;
    f->busy = true;
    push_port(f);
    shard_worked(src->query->shard, b->n_rows);
    query_step_later(src->query);
}

bool query_flow_idle(struct query *q, bool sources_done)
{
    struct query_flow *f = q->flow;
    if (f == NULL || f->ended || (!f->busy && !sources_done))
        return true;
    if (!f->busy) {
        f->busy = f->ending = true;
        flow_local_finish(f->local);
    }
    return false;
}

/* What was pushed is worked off. */
static void worked_off(struct query_flow *f)
{
    if (!f->ending && ++f->port < f->source->n_ports) {
        push_port(f);
        return;
    }
    f->busy = false;
    f->ended = f->ending;
}

void query_flow_step(struct query *q)
{
    struct query_flow *f = q->flow;
    enum err e = ERR_OK;
    f->rows = NULL;
    for (int i = 0; i < STEPS_PER_TURN && f->busy && f->rows == NULL && e == ERR_OK; i++) {
        bool more;
        e = flow_local_step(f->local, &more, &q->why);
        shard_worked(q->shard, BATCH_ROWS_MAX / STEPS_PER_TURN);
        if (e == ERR_OK && !more)
            worked_off(f);
    }
    if (e != ERR_OK)
        query_fail(q, e);
    else if (f->rows != NULL)
        query_push(q, f->rows, false);
    else
        query_step_later(q);
}
