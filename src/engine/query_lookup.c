/* Rows of a table by their whole PRIMARY KEY: what the table's reader keeps of the key, and the log
 * behind that, instead of all of the log. For a query of that table alone, whose moment is its own.
 *
 *   WHERE key = constant --> partition's shard: row and offset --> the log from that offset on */
#include "base/check.h"
#include "engine/epochs.h"
#include "engine/query_int.h"

enum { LOOKUP_BYTES_MAX = 64 << 20, CONDITION_DEPTH_MAX = 64 };

struct lookup_call {
    struct shard_call call;
    struct part_read *part;
    uint32_t relation;
    struct arena arena; /* of the result */
    struct batch *row;
    bool found;
    int64_t position;
    enum err err;
};

/* ---- which key ---- */

/* A constant as a value of the column's type; false when it is of another. */
static bool constant_as(enum type type, const struct value *v, struct value *out)
{
    *out = *v;
    out->type = type;
    if (v->null)
        return false;
    if (v->type == type)
        return true;
    if (type == TYPE_INT8 && v->type == TYPE_INT4) {
        out->as.i8 = v->as.i4;
        return true;
    }
    return false;
}

static void take_equality(const struct query_source *src, const struct plan_node *scan,
                          const struct expr *e, struct batch *key, bool *set)
{
    if (e->kind != EXPR_CALL || e->n_args != 2 || strcmp(e->function->name, "=") != 0)
        return;
    for (uint32_t side = 0; side < 2; side++) {
        const struct expr *column = e->args[side], *constant = e->args[1 - side];
        struct value v;
        if (column->kind != EXPR_COLUMN || constant->kind != EXPR_CONST)
            continue;
        uint32_t at = scan->scan_columns[column->index];
        if (!constant_as(src->rel->columns[at].type, &constant->value, &v))
            continue;
        column_set(&key->columns[at], 0, &v);
        set[at] = true;
    }
}

static void take_conditions(const struct query_source *src, const struct plan_node *scan,
                            const struct expr *e, struct batch *key, bool *set, uint32_t depth)
{
    if (e->kind != EXPR_AND) {
        take_equality(src, scan, e, key, set);
        return;
    }
    for (uint32_t i = 0; i < e->n_args && depth < CONDITION_DEPTH_MAX; i++)
        take_conditions(src, scan, e->args[i], key, set, depth + 1);
}

enum err source_lookup_open(struct query_source *src, const struct plan_node *root,
                            const struct plan_node *scan)
{
    struct query *q = src->query;
    const struct relation *rel = src->rel;
    const struct plan_node *filter = root;
    if (rel->n_primary_key == 0 || q->follow)
        return ERR_OK;
    while (filter != NULL && filter->input != scan)
        filter = filter->input;
    if (filter == NULL || filter->kind != PLAN_FILTER)
        return ERR_OK;
    enum type *types = arena_alloc(&q->arena, rel->n_columns * sizeof(*types));
    bool *set = arena_zalloc(&q->arena, rel->n_columns, sizeof(*set));
    if (types == NULL || set == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < rel->n_columns; i++)
        types[i] = rel->columns[i].type;
    struct batch *key = batch_new(types, rel->n_columns, 1, &q->arena);
    if (key == NULL)
        return ERR_NO_MEMORY;
    key->n_rows = 1;
    for (uint32_t i = 0; i < rel->n_columns; i++)
        column_set(&key->columns[i], 0, &(struct value){.type = types[i], .null = true});
    take_conditions(src, scan, filter->exprs[0], key, set, 0);
    for (uint32_t i = 0; i < rel->n_primary_key; i++)
        if (!set[rel->primary_key[i]])
            return ERR_OK;
    src->lookup = batch_copy(key, &q->arena); /* texts are the plan's, which may go before */
    return src->lookup == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* ---- looking ---- */

static void lookup_run(struct shard *s, struct shard_call *c)
{
    struct lookup_call *l = CONTAINER_OF(c, struct lookup_call, call);
    const struct keyed_rows *rows;
    l->err = epochs_keyed(s->epochs, l->relation, l->part->partition, &rows, &l->position);
    if (l->err == ERR_OK && rows != NULL)
        l->err = keyed_rows_find(rows, l->part->source->lookup, &l->arena, &l->found, &l->row);
    shard_call_reply(s, c);
}

/* Whatever goes wrong there, the whole log can be read. */
static enum err lookup_take(struct query_source *src, struct lookup_call *l)
{
    struct part_read *p = l->part;
    bool fresh;
    if (l->err != ERR_OK || src->query->closed)
        return ERR_OK;
    p->offset = l->position > p->offset ? l->position : p->offset;
    TRY(source_keyed_start(src, p));
    return l->found ? keyed_rows_add(p->keyed, l->row, &l->arena, &fresh) : ERR_OK;
}

static void lookup_back(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct lookup_call *l = CONTAINER_OF(c, struct lookup_call, call);
    struct query *q = l->part->source->query;
    enum err e = lookup_take(l->part->source, l);
    l->part->reading = false;
    arena_deinit(&l->arena);
    if (query_came_back(q))
        return;
    if (e != ERR_OK)
        query_fail(q, e);
    else
        query_step_later(q);
}

bool source_lookup(struct query_source *src, struct part_read *p)
{
    struct query *q = src->query;
    if (src->lookup == NULL || p->looked)
        return p->reading;
    struct lookup_call *l = arena_zalloc(&q->arena, 1, sizeof(*l));
    p->looked = true;
    if (l == NULL) {
        query_fail(q, ERR_NO_MEMORY);
        return true;
    }
    *l = (struct lookup_call){.call = {.run = lookup_run, .done = lookup_back},
                              .part = p,
                              .relation = src->rel->number};
    arena_init(&l->arena, LOOKUP_BYTES_MAX);
    p->reading = true;
    q->in_flight++;
    shard_call(q->shard, topic_shard(q->shard->engine, &src->topic, p->partition), &l->call);
    return true;
}
