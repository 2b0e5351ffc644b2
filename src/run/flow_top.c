/* TOP: of each partition the first rows in an order (LIMIT and OFFSET in a view or a subquery,
 * DISTINCT ON), and with `numbered` which place each has (row_number, or rank with ties).
 *
 *   row --> entry: key = partition, row = [order key | exact bytes] --> tree of the partition
 *   end of the epoch: the tree is walked from its start as far as rows are wanted; what they are to
 *   give now, less what they have given, and what others have given that are no longer among them
 *
 * So the order is by the sort keys, and where they leave a choice by the rows' bytes. A change
 * costs the logarithm of the partition, an epoch the rows that are wanted of each partition it
 * touched. */
#include "base/check.h"
#include "base/mem.h"
#include "run/flow_int.h"
#include "run/order_key.h"
#include "state/row_format.h"
#include "state/row_tree.h"

#include <stddef.h>

struct top_plan {
    uint64_t skip, take; /* OFFSET, LIMIT; take = UINT64_MAX: all */
    bool with_ties, numbered;
    struct row_format format;
    enum type *types; /* of the rows that it gives */
    struct sort_key *sorts;
    uint32_t n_sorts;
};

/* What a row's entry keeps. */
struct top_row {
    struct row_tree_links links;
    struct row_entry *next_given; /* of those of the partition that have given something */
    int64_t given, wanted;
    int64_t given_number, wanted_number; /* of the first of them, or of all with ties */
    uint32_t order_bytes;
    uint32_t reserved;
};

/* What a partition's entry keeps. */
struct top_partition {
    struct row_entry *root;
    struct row_entry *given;
    uint64_t touched;
};

struct top_state {
    struct row_table *rows, *partitions;
    struct row_tree tree;
    struct flow_windows windows; /* of partitions */
    struct flow_touched touched; /* partitions */
};

/* Rows on their way out, and what is to be removed when they are: a row, or a partition that has
 * none. */
struct top_out {
    uint32_t n, n_gone;
    struct row_entry **entries;
    int64_t *weights, *numbers;
    struct gone {
        struct row_entry *partition, *row;
    } * gone;
};

static struct top_row *row_of(const struct row_entry *e)
{
    return row_entry_owner(e);
}
static struct top_partition *partition_of(const struct row_entry *e)
{
    return row_entry_owner(e);
}

/* ---- compiling ---- */

/* The number of rows that LIMIT or OFFSET says. */
static enum err count_of(const struct expr *e, const char *what, uint64_t otherwise, uint64_t *out,
                         struct err_detail *why)
{
    *out = otherwise;
    if (e == NULL || (e->kind == EXPR_CONST && e->value.null))
        return ERR_OK;
    if (e->kind != EXPR_CONST)
        return err_set(why, ERR_INVALID_PARAMETER, "%s is not a constant", what);
    CHECK(e->type == TYPE_INT8);
    if (e->value.as.i8 < 0)
        return err_set(why, ERR_INVALID_PARAMETER, "%s must not be negative", what);
    *out = (uint64_t)e->value.as.i8;
    return ERR_OK;
}

static enum err compile_sorts(const struct plan_node *node, struct arena *a, struct top_plan *t,
                              struct err_detail *why)
{
    t->n_sorts = node->n_sorts;
    t->sorts = arena_alloc(a, (node->n_sorts + 1) * sizeof(*t->sorts));
    if (t->sorts == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < node->n_sorts; i++) {
        enum type type = node->input->columns[node->sorts[i].column].type;
        if (!order_key_supports(type))
            return err_set(why, ERR_UNSUPPORTED,
                           "the first rows in the order of a %s are not supported yet",
                           type_info(type)->name);
        t->sorts[i] = node->sorts[i];
    }
    return ERR_OK;
}

static enum err top_compile(struct flow_op *op, struct arena *a, struct err_detail *why)
{
    const struct plan_node *node = op->node;
    uint32_t n = node->input->n_columns, n_keys = node->n_partition_columns;
    struct top_plan *t = arena_zalloc(a, 1, sizeof(*t));
    enum type *types = arena_alloc(a, (n + 1) * sizeof(*types));
    const struct expr **exprs = flow_columns(node->input, n_keys, a);
    if (t == NULL || types == NULL || exprs == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        types[i] = node->input->columns[i].type;
    types[n] = TYPE_INT8;
    for (uint32_t i = 0; i < n_keys; i++) {
        exprs[n + i] = exprs[node->partition_columns[i]];
        flow_op_bound(op, node->input, node->partition_columns[i], i);
    }
    TRY(count_of(node->offset, "OFFSET", 0, &t->skip, why));
    TRY(count_of(node->limit, "LIMIT", UINT64_MAX, &t->take, why));
    t->with_ties = node->with_ties;
    t->numbered = node->numbered;
    t->types = types;
    TRY(compile_sorts(node, a, t, why));
    TRY(row_format_init(&t->format, types, n, a));
    op->n_ports = 1;
    op->ports[0] = (struct flow_port){
        .n_exprs = n + n_keys, .exprs = exprs, .n_payload = n, .key_at = n, .n_keys = n_keys};
    op->plan = t;
    return ERR_OK;
}

/* ---- state ---- */

static void top_state_free(const struct flow_op *op, void *state)
{
    (void)op;
    struct top_state *s = state;
    row_table_free(s->rows);
    row_table_free(s->partitions);
    flow_windows_free(&s->windows);
    flow_touched_free(&s->touched);
    mem_free(s);
}

static enum err top_state_new(const struct flow_op *op, uint64_t hash_seed, uint64_t bytes_max,
                              void **out)
{
    (void)hash_seed;
    struct top_state *s = mem_zalloc(1, sizeof(*s));
    if (s == NULL)
        return ERR_NO_MEMORY;
    uint32_t owner_bytes =
        flow_windows_init(&s->windows, op->windowed, sizeof(struct top_partition));
    enum err e = row_table_new(owner_bytes, bytes_max, &s->partitions);
    if (e == ERR_OK)
        e = row_table_new(sizeof(struct top_row), bytes_max, &s->rows);
    if (e != ERR_OK) {
        top_state_free(op, s);
        return e;
    }
    s->tree = (struct row_tree){.table = s->rows, .links_at = offsetof(struct top_row, links)};
    *out = s;
    return ERR_OK;
}

static uint64_t top_bytes(const void *state)
{
    const struct top_state *s = state;
    return row_table_bytes(s->rows) + row_table_bytes(s->partitions) +
           flow_windows_bytes(&s->windows) + flow_touched_bytes(&s->touched);
}

static uint64_t top_rows(const void *state)
{
    const struct top_state *s = state;
    return row_table_count(s->rows) + row_table_count(s->partitions);
}

/* ---- packets ---- */

/* Rows as the entries have them: order key, then the exact bytes. */
static enum err rows_encode(struct flow_run *r, const struct batch *b, struct str *orders,
                            struct str *rows, uint32_t *hashes)
{
    const struct top_plan *t = r->op->plan;
    struct arena *a = r->c->arena;
    uint32_t n = b->n_rows;
    if (!order_key_encode(b->columns, t->sorts, t->n_sorts, n, a, orders))
        return ERR_NO_MEMORY;
    TRY(row_format_encode(&t->format, b->columns, n, a, r->hash_seed, rows, hashes));
    size_t total = 1;
    for (uint32_t i = 0; i < n; i++)
        total += orders[i].len + rows[i].len;
    char *to = arena_alloc(a, total);
    if (to == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        struct str whole = {to, orders[i].len + rows[i].len};
        memcpy(to, orders[i].ptr, orders[i].len);
        memcpy(to + orders[i].len, rows[i].ptr, rows[i].len);
        rows[i] = whole;
        to += whole.len;
    }
    return ERR_OK;
}

static void row_remove(struct top_state *s, struct row_entry *partition, struct row_entry *e)
{
    row_tree_remove(&s->tree, &partition_of(partition)->root, e);
    row_table_remove(s->rows, e);
}

static enum err top_apply(struct flow_run *r, const struct flow_packet *p, bool *more)
{
    (void)more;
    struct top_state *s = r->state;
    uint32_t n = p->batch->n_rows;
    struct str *orders = arena_alloc(r->c->arena, n * sizeof(*orders));
    struct str *rows = arena_alloc(r->c->arena, n * sizeof(*rows));
    uint32_t *hashes = arena_alloc(r->c->arena, n * sizeof(*hashes));
    if (orders == NULL || rows == NULL || hashes == NULL)
        return ERR_NO_MEMORY;
    TRY(rows_encode(r, p->batch, orders, rows, hashes));
    for (uint32_t i = 0; i < n; i++) {
        struct row_entry *partition, *e;
        bool created;
        TRY(flow_key_entry(s->partitions, p->hashes[i], p->keys[i], 0, &partition, &created));
        struct top_partition *own = partition_of(partition);
        if (created && r->op->windowed)
            TRY(flow_windows_add(&s->windows, partition, flow_key_end(r->op, p->keys[i])));
        if (!own->touched)
            TRY(flow_touch(&s->touched, partition));
        own->touched = 1;
        int64_t w = p->batch->weights == NULL ? 1 : p->batch->weights[i];
        TRY(row_table_add(s->rows, p->hashes[i], p->keys[i], rows[i], hashes[i], w, &e, &created));
        if (created) {
            row_of(e)->order_bytes = (uint32_t)orders[i].len;
            row_tree_insert(&s->tree, &own->root, e);
        }
        if (e->weight == 0 && row_of(e)->given == 0)
            row_remove(s, partition, e);
    }
    return ERR_OK;
}

/* ---- the end of an epoch ---- */

static bool out_init(struct top_out *o, struct arena *a)
{
    *o = (struct top_out){0};
    o->entries = arena_alloc(a, BATCH_ROWS_MAX * sizeof(struct row_entry *));
    o->weights = arena_alloc(a, BATCH_ROWS_MAX * sizeof(*o->weights));
    o->numbers = arena_alloc(a, BATCH_ROWS_MAX * sizeof(*o->numbers));
    o->gone = arena_alloc(a, BATCH_ROWS_MAX * sizeof(*o->gone));
    return o->entries != NULL && o->weights != NULL && o->numbers != NULL && o->gone != NULL;
}

static enum err out_give(struct flow_run *r, const struct top_state *s, const struct top_out *o)
{
    const struct top_plan *t = r->op->plan;
    struct arena *a = r->c->arena;
    const char **rows = arena_alloc(a, o->n * sizeof(char *));
    uint32_t n_columns = t->format.n_columns;
    struct batch *b = batch_new(t->types, n_columns + t->numbered, t->numbered ? o->n : 0, a);
    if (rows == NULL || b == NULL || (b->weights = arena_alloc(a, o->n * sizeof(int64_t))) == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < o->n; i++)
        rows[i] = row_entry_row(s->rows, o->entries[i]) + row_of(o->entries[i])->order_bytes;
    memcpy(b->weights, o->weights, o->n * sizeof(int64_t));
    if (t->numbered)
        memcpy(column_i8(&b->columns[n_columns]), o->numbers, o->n * sizeof(int64_t));
    b->n_rows = o->n;
    TRY(row_format_decode(&t->format, rows, o->n, b->columns, a));
    return flow_forward(r, b);
}

static enum err out_flush(struct flow_run *r, struct top_state *s, struct top_out *o)
{
    if (o->n > 0)
        TRY(out_give(r, s, o));
    for (uint32_t i = 0; i < o->n_gone; i++) {
        struct row_entry *partition = o->gone[i].partition;
        if (o->gone[i].row != NULL)
            row_remove(s, partition, o->gone[i].row);
        if (partition_of(partition)->root != NULL)
            continue;
        if (r->op->windowed)
            flow_windows_remove(&s->windows, partition);
        row_table_remove(s->partitions, partition);
    }
    flow_spend(r, o->n + o->n_gone);
    o->n = o->n_gone = 0;
    return ERR_OK;
}

/* Whether two rows are equal in all that they are sorted by. */
static bool is_tie(const struct top_state *s, const struct row_entry *x, const struct row_entry *y)
{
    uint32_t n = row_of(x)->order_bytes;
    return n == row_of(y)->order_bytes &&
           memcmp(row_entry_row(s->rows, x), row_entry_row(s->rows, y), n) == 0;
}

/* Says of the first rows how often each is wanted; those that have given nothing so far are put
 * before the partition's others. */
static void want(const struct top_plan *t, const struct top_state *s, struct top_partition *p)
{
    uint64_t at = 0, end = t->take > UINT64_MAX - t->skip ? UINT64_MAX : t->skip + t->take;
    const struct row_entry *last = NULL;
    struct row_entry *e = row_tree_first(&s->tree, p->root);
    int64_t number = 0;
    for (struct row_entry *g = p->given; g != NULL; g = row_of(g)->next_given)
        row_of(g)->wanted = 0;
    for (; e != NULL && t->take > 0; e = row_tree_next(&s->tree, e)) {
        if (e->weight <= 0)
            continue;
        bool tie = at >= end && t->with_ties && last != NULL && is_tie(s, last, e);
        if (at >= end && !tie)
            break;
        uint64_t to = at + (uint64_t)e->weight, from = at > t->skip ? at : t->skip;
        bool all = tie || (to > end && t->with_ties);
        uint64_t until = to < end || all ? to : end;
        if (!t->with_ties || last == NULL || !is_tie(s, last, e))
            number = (int64_t)from + 1;
        at = to;
        if (until <= from)
            continue;
        struct top_row *own = row_of(e);
        own->wanted = (int64_t)(until - from);
        own->wanted_number = number;
        if (own->given == 0) {
            own->next_given = p->given;
            p->given = e;
        }
        last = e;
    }
}

static enum err out_add(struct flow_run *r, struct top_state *s, struct top_out *o,
                        struct row_entry *e, int64_t weight, int64_t number)
{
    o->entries[o->n] = e;
    o->weights[o->n] = weight;
    o->numbers[o->n++] = number;
    return o->n == BATCH_ROWS_MAX ? out_flush(r, s, o) : ERR_OK;
}

/* Adds a row for each number of [from, from + n) that is not one of [but, but + n_but). */
static enum err out_numbers(struct flow_run *r, struct top_state *s, struct top_out *o,
                            struct row_entry *e, int64_t weight, int64_t from, int64_t n,
                            int64_t but, int64_t n_but)
{
    for (int64_t i = from; i < from + n; i++)
        if (i < but || i >= but + n_but)
            TRY(out_add(r, s, o, e, weight, i));
    return ERR_OK;
}

/* Gives what a row is wanted to have given more, or less. */
static enum err row_settle(struct flow_run *r, struct top_state *s, struct top_out *o,
                           struct row_entry *e)
{
    const struct top_plan *t = r->op->plan;
    const struct top_row *x = row_of(e);
    bool moved = t->numbered && x->given_number != x->wanted_number;
    if (x->wanted == x->given && (x->wanted == 0 || !moved))
        return ERR_OK;
    if (!t->numbered || (t->with_ties && !moved))
        return out_add(r, s, o, e, x->wanted - x->given, x->wanted_number);
    if (t->with_ties) {
        if (x->given != 0)
            TRY(out_add(r, s, o, e, -x->given, x->given_number));
        return x->wanted != 0 ? out_add(r, s, o, e, x->wanted, x->wanted_number) : ERR_OK;
    }
    TRY(out_numbers(r, s, o, e, -1, x->given_number, x->given, x->wanted_number, x->wanted));
    return out_numbers(r, s, o, e, 1, x->wanted_number, x->wanted, x->given_number, x->given);
}

/* Gives the differences of a partition. */
static enum err settle(struct flow_run *r, struct top_state *s, struct row_entry *partition,
                       struct top_out *o)
{
    struct top_partition *p = partition_of(partition);
    want(r->op->plan, s, p);
    struct row_entry *e = p->given, *next;
    for (p->given = NULL; e != NULL; e = next) {
        struct top_row *own = row_of(e);
        next = own->next_given;
        TRY(row_settle(r, s, o, e));
        own->given = own->wanted;
        own->given_number = own->wanted_number;
        if (own->given != 0) {
            own->next_given = p->given;
            p->given = e;
        }
        if (e->weight == 0)
            o->gone[o->n_gone++] = (struct gone){partition, e};
        if (o->n_gone == BATCH_ROWS_MAX)
            TRY(out_flush(r, s, o));
    }
    return ERR_OK;
}

static enum err top_end_level(struct flow_run *r, bool *more)
{
    struct top_state *s = r->state;
    struct flow_touched *t = &s->touched;
    struct top_out o;
    if (t->n == 0)
        return ERR_OK;
    if (!out_init(&o, r->c->arena))
        return ERR_NO_MEMORY;
    for (; t->at < t->n && r->rows_left > 0; t->at++) {
        struct row_entry *partition = t->list[t->at];
        partition_of(partition)->touched = 0;
        if (partition_of(partition)->root != NULL)
            TRY(settle(r, s, partition, &o));
        else
            o.gone[o.n_gone++] = (struct gone){.partition = partition};
        if (o.n_gone == BATCH_ROWS_MAX)
            TRY(out_flush(r, s, &o));
        flow_spend(r, 1);
    }
    TRY(out_flush(r, s, &o));
    *more = t->at < t->n;
    if (!*more)
        t->n = t->at = 0;
    return ERR_OK;
}

static void top_expire(const struct flow_op *op, void *state, int64_t watermark_us,
                       uint32_t *rows_left)
{
    (void)op;
    struct top_state *s = state;
    struct row_entry *partition;
    CHECK(s->touched.n == 0);
    while ((partition = flow_windows_take(&s->windows, watermark_us, rows_left)) != NULL) {
        struct row_entry *e =
            row_table_first(s->rows, partition->hash, row_entry_key(s->partitions, partition));
        for (struct row_entry *next; e != NULL; e = next) {
            next = row_table_next(s->rows, e);
            row_table_remove(s->rows, e);
            *rows_left -= *rows_left > 0;
        }
        row_table_remove(s->partitions, partition);
    }
}

const struct flow_kind flow_top_kind = {
    .compile = top_compile,
    .state_new = top_state_new,
    .state_free = top_state_free,
    .bytes = top_bytes,
    .rows = top_rows,
    .apply = top_apply,
    .end_level = top_end_level,
    .expire = top_expire,
};
