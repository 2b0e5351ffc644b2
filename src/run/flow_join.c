/* JOIN: rows of both sides under the join's key.
 *
 *   a row of one side, weight w --> all entries of the other side under its key, weight v:
 *       pair (left, right) with w * v, where the condition holds         INNER, LEFT, FULL, SINGLE
 *       both count each other: matches += the other's weight             all but INNER
 *   then it is added to the entries of its own side
 *
 * That is linear, and is given at once. What hangs on whether a row has a match at all is settled
 * when the epoch's input has ended, for the rows that were touched: an entry knows what it has
 * given so far (`emitted`) and gives the difference.
 *
 *   LEFT, FULL, SINGLE: the row with NULLs while it has no match
 *   SEMI, ANTI: the row while it has a match, or none     MARK: the row, and whether it has one
 *
 * A SINGLE row with more than one match is an error of the row: it is muted, all its pairs are
 * taken back, and while it is muted none are given. When it has at most one again they all are.
 *
 * SEMI, ANTI and MARK without a condition need no rows of the right side, only how many there are
 * of a key: then a right entry is a key's, its row is empty, and left rows do not count. */
#include "base/check.h"
#include "base/mem.h"
#include "run/flow_int.h"
#include "state/row_format.h"

enum { LEFT, RIGHT };

struct join_plan {
    enum join_kind kind;
    bool pairs;      /* gives pairs */
    bool by_key;     /* the right side is only counted, by key */
    bool settles[2]; /* rows of the side give something that hangs on their matches */
    struct row_format rows[2];
    struct chain *condition; /* over pairs; NULL = none */
};

enum owner_flag {
    OWNER_TOUCHED = 1, /* in the list of those to be settled */
    OWNER_MATCHED = 2, /* MARK: what it has given says that it has a match */
    OWNER_MUTED = 4,   /* SINGLE */
};

/* What an entry of a side that settles keeps (and a right one that is counted by key). */
struct owner {
    int64_t matches; /* sum of the weights of the other side's rows that it matches */
    int64_t emitted; /* weight that it has given */
    uint64_t flags;
};

struct join_state {
    const struct join_plan *plan;
    struct row_table *rows[2];
    struct flow_windows windows[2];
    struct flow_touched touched[2];
    /* the packet or the entry in work: where its next pair is */
    bool begun;
    uint32_t row;
    struct row_entry *entry;
    int64_t *matches; /* of the packet's rows; room for a batch */
};

/* Pairs of rows of a packet, or of entries, with entries of the other side. */
struct pairs {
    uint32_t side; /* of the first of each pair */
    uint32_t n;
    const struct flow_packet *packet; /* NULL: `own` */
    uint32_t *row;
    struct row_entry **own, **other;
    int64_t *weights;
    const uint8_t *muted; /* per row of the packet; NULL = none */
};

static struct owner *owner(const struct row_entry *e)
{
    return row_entry_owner(e);
}

static enum err add_weight(int64_t *sum, int64_t w)
{
    return __builtin_add_overflow(*sum, w, sum) ? ERR_LIMIT : ERR_OK;
}

static int64_t weight_of(const struct batch *b, uint32_t row)
{
    return b->weights == NULL ? 1 : b->weights[row];
}

/* ---- compiling ---- */

static bool gives_pairs(enum join_kind k)
{
    return k == JOIN_INNER || k == JOIN_LEFT || k == JOIN_FULL || k == JOIN_SINGLE;
}

static enum err compile_condition(const struct plan_node *node, struct arena *a,
                                  struct join_plan *j, struct err_detail *why)
{
    struct plan_node below = {.kind = PLAN_PROJECT};
    struct plan_node filter = {
        .kind = PLAN_FILTER, .input = &below, .n_exprs = 1, .exprs = &node->join.condition};
    if (node->join.condition == NULL)
        return ERR_OK;
    return chain_compile(&filter, &below, a, &j->condition, why);
}

static enum err compile_side(const struct plan_node *node, uint32_t side, struct arena *a,
                             struct join_plan *j, struct flow_port *p)
{
    const struct plan_node *input = side == LEFT ? node->input : node->right;
    const struct join_spec *spec = &node->join;
    bool keys_only = side == RIGHT && j->by_key;
    uint32_t n = keys_only ? 0 : input->n_columns;
    const struct expr **exprs = flow_columns(input, spec->n_keys, a);
    enum type *types = arena_alloc(a, (n + 1) * sizeof(*types));
    bool *not_null = arena_alloc(a, spec->n_keys + 1);
    if (exprs == NULL || types == NULL || not_null == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        types[i] = input->columns[i].type;
    for (uint32_t i = 0; i < spec->n_keys; i++) {
        exprs[n + i] = side == LEFT ? spec->left_keys[i] : spec->right_keys[i];
        not_null[i] = spec->null_safe == NULL || !spec->null_safe[i];
    }
    *p = (struct flow_port){.n_exprs = n + spec->n_keys,
                            .exprs = exprs,
                            .n_payload = n,
                            .key_at = n,
                            .n_keys = spec->n_keys,
                            .not_null = not_null};
    return row_format_init(&j->rows[side], types, n, a);
}

static enum err join_compile(struct flow_op *op, struct arena *a, struct err_detail *why)
{
    const struct plan_node *node = op->node;
    enum join_kind kind = node->join.kind;
    struct join_plan *j = arena_zalloc(a, 1, sizeof(*j));
    if (j == NULL)
        return ERR_NO_MEMORY;
    j->kind = kind;
    j->pairs = gives_pairs(kind);
    j->by_key = !j->pairs && node->join.condition == NULL;
    j->settles[LEFT] = kind != JOIN_INNER;
    j->settles[RIGHT] = kind == JOIN_FULL;
    TRY(compile_condition(node, a, j, why));
    TRY(compile_side(node, LEFT, a, j, &op->ports[LEFT]));
    TRY(compile_side(node, RIGHT, a, j, &op->ports[RIGHT]));
    op->bound_key = window_join_bound(node, &op->to_end);
    op->windowed = op->bound_key < node->join.n_keys;
    op->n_ports = 2;
    op->plan = j;
    return ERR_OK;
}

/* ---- state ---- */

static void join_state_free(const struct flow_op *op, void *state)
{
    (void)op;
    struct join_state *s = state;
    for (uint32_t side = 0; side < 2; side++) {
        row_table_free(s->rows[side]);
        flow_windows_free(&s->windows[side]);
        flow_touched_free(&s->touched[side]);
    }
    mem_free(s->matches);
    mem_free(s);
}

static enum err join_state_new(const struct flow_op *op, uint64_t hash_seed, uint64_t bytes_max,
                               void **out)
{
    (void)hash_seed;
    struct join_state *s = mem_zalloc(1, sizeof(*s));
    if (s == NULL)
        return ERR_NO_MEMORY;
    const struct join_plan *j = op->plan;
    enum err e = ERR_OK;
    s->plan = j;
    for (uint32_t side = 0; side < 2 && e == ERR_OK; side++) {
        bool owned = j->settles[side] || j->by_key;
        uint32_t bytes = flow_windows_init(&s->windows[side], op->windowed,
                                           owned ? sizeof(struct owner) : 0);
        e = row_table_new(bytes, bytes_max, &s->rows[side]);
    }
    if (e == ERR_OK && (s->matches = mem_alloc(BATCH_ROWS_MAX * sizeof(int64_t))) == NULL)
        e = ERR_NO_MEMORY;
    if (e != ERR_OK) {
        join_state_free(op, s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

static uint64_t join_bytes(const void *state)
{
    const struct join_state *s = state;
    return row_table_bytes(s->rows[LEFT]) + row_table_bytes(s->rows[RIGHT]) +
           flow_touched_bytes(&s->touched[LEFT]) + flow_touched_bytes(&s->touched[RIGHT]) +
           flow_windows_bytes(&s->windows[LEFT]) + flow_windows_bytes(&s->windows[RIGHT]);
}

static uint64_t join_rows(const void *state)
{
    const struct join_state *s = state;
    return row_table_count(s->rows[LEFT]) + row_table_count(s->rows[RIGHT]);
}

static void entry_remove(const struct flow_op *op, struct join_state *s, uint32_t side,
                         struct row_entry *e)
{
    if (op->windowed)
        flow_windows_remove(&s->windows[side], e);
    row_table_remove(s->rows[side], e);
}

static void join_expire(const struct flow_op *op, void *state, int64_t watermark_us,
                        uint32_t *rows_left)
{
    (void)op;
    struct join_state *s = state;
    struct row_entry *e;
    CHECK(s->touched[LEFT].n == 0 && s->touched[RIGHT].n == 0 && !s->begun);
    for (uint32_t side = 0; side < 2; side++)
        while ((e = flow_windows_take(&s->windows[side], watermark_us, rows_left)) != NULL)
            row_table_remove(s->rows[side], e);
}

/* The entry is to be settled when the epoch's input has ended. */
static enum err touch(struct join_state *s, uint32_t side, struct row_entry *e)
{
    if (owner(e)->flags & OWNER_TOUCHED)
        return ERR_OK;
    TRY(flow_touch(&s->touched[side], e));
    owner(e)->flags |= OWNER_TOUCHED;
    return ERR_OK;
}

/* ---- rows out ---- */

static bool null_columns(struct column *columns, const enum type *types, uint32_t n, uint32_t rows,
                         struct arena *a)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!column_init(&columns[i], types[i], rows, true, a))
            return false;
        memset(columns[i].nulls, 1, rows);
    }
    return true;
}

/* A batch of `rows` rows with room for the columns of both sides and one more. */
static struct batch *wide_batch(const struct join_plan *j, uint32_t rows, struct arena *a)
{
    uint32_t n = j->rows[LEFT].n_columns + j->rows[RIGHT].n_columns + 1;
    struct batch *b = arena_zalloc(a, 1, sizeof(*b));
    if (b == NULL || (b->columns = arena_zalloc(a, n, sizeof(*b->columns))) == NULL)
        return NULL;
    b->n_rows = rows;
    return b;
}

/* Rows of one side as the join gives them without a match (or with one, where it does not show):
 * `narrow` has the side's columns. */
static struct batch *alone(const struct join_plan *j, uint32_t side, const struct batch *narrow,
                           const uint8_t *matched, struct arena *a)
{
    uint32_t n = narrow->n_rows, n_left = j->rows[LEFT].n_columns,
             n_right = j->pairs ? j->rows[RIGHT].n_columns : 0;
    struct batch *b = wide_batch(j, n, a);
    if (b == NULL)
        return NULL;
    b->weights = narrow->weights;
    b->n_columns = n_left + n_right;
    memcpy(b->columns + (side == LEFT ? 0 : n_left), narrow->columns,
           narrow->n_columns * sizeof(*b->columns));
    uint32_t other = side == LEFT ? n_right : n_left;
    if (!null_columns(b->columns + (side == LEFT ? n_left : 0), j->rows[!side].types, other, n, a))
        return NULL;
    if (j->kind != JOIN_MARK)
        return b;
    struct column *mark = &b->columns[b->n_columns++];
    if (!column_init(mark, TYPE_BOOL, n, false, a))
        return NULL;
    if (matched != NULL)
        memcpy(mark->data, matched, n);
    return b;
}

/* Rows whose key matches nothing. */
static enum err join_pass(struct flow_run *r, uint32_t port, const struct batch *b)
{
    const struct join_plan *j = r->op->plan;
    if (!j->settles[port] || j->kind == JOIN_SEMI)
        return ERR_OK;
    const struct batch *out = alone(j, port, b, NULL, r->c->arena);
    return out == NULL ? ERR_NO_MEMORY : flow_forward(r, out);
}

/* ---- pairs ---- */

static bool pairs_init(struct pairs *x, uint32_t side, const struct flow_packet *p, struct arena *a)
{
    *x = (struct pairs){.side = side, .packet = p};
    x->other = arena_alloc(a, BATCH_ROWS_MAX * sizeof(struct row_entry *));
    if (p != NULL)
        x->row = arena_alloc(a, BATCH_ROWS_MAX * sizeof(*x->row));
    else
        x->own = arena_alloc(a, BATCH_ROWS_MAX * sizeof(struct row_entry *));
    x->weights = arena_alloc(a, BATCH_ROWS_MAX * sizeof(*x->weights));
    return x->other != NULL && (x->row != NULL || x->own != NULL) && x->weights != NULL;
}

static enum err decode_entries(const struct join_state *s, uint32_t side,
                               struct row_entry *const *entries, uint32_t n, struct column *columns,
                               struct arena *a)
{
    const char **rows = arena_alloc(a, (n + 1) * sizeof(char *));
    if (rows == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        rows[i] = row_entry_row(s->rows[side], entries[i]);
    return row_format_decode(&s->plan->rows[side], rows, n, columns, a);
}

/* The pairs as rows: left columns, then right ones. */
static enum err pairs_rows(const struct join_state *s, const struct pairs *x, struct arena *a,
                           struct batch **out)
{
    const struct join_plan *j = s->plan;
    uint32_t n_left = j->rows[LEFT].n_columns;
    struct batch *b = wide_batch(j, x->n, a);
    if (b == NULL || (b->weights = arena_alloc(a, x->n * sizeof(int64_t))) == NULL)
        return ERR_NO_MEMORY;
    memcpy(b->weights, x->weights, x->n * sizeof(int64_t));
    b->n_columns = n_left + j->rows[RIGHT].n_columns;
    struct column *own = b->columns + (x->side == LEFT ? 0 : n_left),
                  *other = b->columns + (x->side == LEFT ? n_left : 0);
    TRY(decode_entries(s, !x->side, x->other, x->n, other, a));
    *out = b;
    if (x->packet == NULL)
        return decode_entries(s, x->side, x->own, x->n, own, a);
    const struct batch *mine = batch_gather(x->packet->batch, x->row, x->n, a);
    if (mine == NULL)
        return ERR_NO_MEMORY;
    memcpy(own, mine->columns, mine->n_columns * sizeof(*own));
    return ERR_OK;
}

/* What matters of a number of matches. */
static int matched_class(const struct join_plan *j, int64_t matches)
{
    return matches <= 0 ? 0 : j->kind == JOIN_SINGLE && matches > 1 ? 2 : 1;
}

/* The pairs count each other's weights. `origin`: the numbers of those that hold; NULL = all. */
static enum err pairs_count(struct join_state *s, const struct pairs *x, const uint32_t *origin,
                            uint32_t n)
{
    const struct join_plan *j = s->plan;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = origin == NULL ? i : origin[i];
        struct row_entry *e = x->other[k];
        if (j->settles[x->side])
            TRY(add_weight(&s->matches[x->row[k]], e->weight));
        if (!j->settles[!x->side])
            continue;
        struct owner *o = owner(e);
        int before = matched_class(j, o->matches);
        TRY(add_weight(&o->matches, weight_of(x->packet->batch, x->row[k])));
        if (matched_class(j, o->matches) != before)
            TRY(touch(s, !x->side, e));
    }
    return ERR_OK;
}

static bool pair_is_muted(const struct join_plan *j, const struct pairs *x, uint32_t i)
{
    if (j->kind != JOIN_SINGLE || x->packet == NULL)
        return false;
    return x->side == LEFT ? x->muted != NULL && x->muted[x->row[i]]
                           : (owner(x->other[i])->flags & OWNER_MUTED) != 0;
}

/* Gives the pairs on that hold. Those of weight 0, of entries that wait to be settled, say nothing.
 */
static enum err pairs_give(struct flow_run *r, const struct join_plan *j, const struct pairs *x,
                           const struct batch *b, const uint32_t *origin)
{
    uint32_t n = 0, *keep = NULL;
    for (uint32_t i = 0; i < b->n_rows; i++) {
        uint32_t k = origin == NULL ? i : origin[i];
        bool out = x->weights[k] == 0 || pair_is_muted(j, x, k);
        if (out && keep == NULL) {
            keep = arena_alloc(r->c->arena, b->n_rows * sizeof(*keep));
            if (keep == NULL)
                return ERR_NO_MEMORY;
            for (; n < i; n++)
                keep[n] = n;
        }
        if (!out && keep != NULL)
            keep[n++] = i;
    }
    if (keep != NULL && (b = batch_gather(b, keep, n, r->c->arena)) == NULL)
        return ERR_NO_MEMORY;
    return flow_forward(r, b);
}

static enum err pairs_flush(struct flow_run *r, struct join_state *s, struct pairs *x)
{
    const struct join_plan *j = s->plan;
    const struct flow_context *c = r->c;
    if (x->n == 0)
        return ERR_OK;
    flow_spend(r, x->n);
    struct batch *b;
    TRY(pairs_rows(s, x, c->arena, &b));
    struct chain_result held = {.batch = b};
    if (j->condition != NULL)
        TRY(chain_run(j->condition, b, NULL, c->now_us, c->arena, &held));
    if (x->packet != NULL) {
        for (uint32_t i = 0; i < held.n_errors; i++)
            TRY(c->row_error(c->arg, b, held.errors[i].row, held.errors[i].err,
                             held.errors[i].text));
        TRY(pairs_count(s, x, held.origin, held.batch->n_rows));
    }
    if (j->pairs)
        TRY(pairs_give(r, j, x, held.batch, held.origin));
    x->n = 0;
    return ERR_OK;
}

static enum err pair_add(struct pairs *x, uint32_t row, struct row_entry *own, int64_t weight,
                         struct row_entry *other)
{
    if (x->packet != NULL)
        x->row[x->n] = row;
    else
        x->own[x->n] = own;
    x->other[x->n] = other;
    return __builtin_mul_overflow(weight, other->weight, &x->weights[x->n++]) ? ERR_LIMIT : ERR_OK;
}

/* ---- packets ---- */

/* Adds the packet's rows to their side. */
static enum err rows_add(struct flow_run *r, struct join_state *s, const struct flow_packet *p)
{
    enum { AHEAD = 8 };
    const struct join_plan *j = s->plan;
    uint32_t n = p->batch->n_rows, side = p->port;
    struct row_table *t = s->rows[side];
    struct str *rows = arena_alloc(r->c->arena, n * sizeof(*rows));
    uint32_t *hashes = arena_alloc(r->c->arena, n * sizeof(*hashes));
    if (rows == NULL || hashes == NULL)
        return ERR_NO_MEMORY;
    TRY(row_format_encode(&j->rows[side], p->batch->columns, n, r->c->arena, r->hash_seed, rows,
                          hashes));
    for (uint32_t i = 0; i < n; i++) {
        struct row_entry *e;
        bool created;
        int64_t w = weight_of(p->batch, i);
        if (i + 2 * AHEAD < n)
            row_table_prefetch_row(t, p->hashes[i + 2 * AHEAD], hashes[i + 2 * AHEAD]);
        if (i + AHEAD < n)
            row_table_prefetch_entry(t, p->hashes[i + AHEAD]);
        TRY(row_table_add(t, p->hashes[i], p->keys[i], rows[i], hashes[i], w, &e, &created));
        if (created && r->op->windowed)
            TRY(flow_windows_add(&s->windows[side], e, flow_key_end(r->op, p->keys[i])));
        if (j->by_key && side == RIGHT) {
            if (e->weight == 0 || (e->weight > 0) != (e->weight - w > 0))
                TRY(touch(s, side, e));
        } else if (j->settles[side]) {
            if (created && !j->by_key)
                owner(e)->matches = s->matches[i];
            TRY(touch(s, side, e));
        } else if (e->weight == 0) {
            entry_remove(r->op, s, side, e);
        }
    }
    return ERR_OK;
}

/* SINGLE: which of the packet's left rows are muted. */
static enum err find_muted(struct flow_run *r, const struct join_state *s, struct pairs *x)
{
    const struct flow_packet *p = x->packet;
    uint32_t n = p->batch->n_rows;
    if (s->plan->kind != JOIN_SINGLE || p->port != LEFT)
        return ERR_OK;
    struct str *rows = arena_alloc(r->c->arena, n * sizeof(*rows));
    uint32_t *hashes = arena_alloc(r->c->arena, n * sizeof(*hashes));
    uint8_t *muted = arena_alloc(r->c->arena, n);
    if (rows == NULL || hashes == NULL || muted == NULL)
        return ERR_NO_MEMORY;
    TRY(row_format_encode(&s->plan->rows[LEFT], p->batch->columns, n, r->c->arena, r->hash_seed,
                          rows, hashes));
    for (uint32_t i = 0; i < n; i++) {
        const struct row_entry *e =
            row_table_find(s->rows[LEFT], p->hashes[i], p->keys[i], rows[i], hashes[i]);
        muted[i] = e != NULL && (owner(e)->flags & OWNER_MUTED) != 0;
    }
    x->muted = muted;
    return ERR_OK;
}

/* Meets the packet's rows with the other side's, a piece of it. */
static enum err meet(struct flow_run *r, struct join_state *s, const struct flow_packet *p,
                     bool *more)
{
    enum { AHEAD = 8 };
    const struct row_table *other = s->rows[!p->port];
    uint32_t n = p->batch->n_rows;
    struct pairs x;
    if (!pairs_init(&x, p->port, p, r->c->arena))
        return ERR_NO_MEMORY;
    TRY(find_muted(r, s, &x));
    for (; s->row < n; s->row++) {
        uint32_t i = s->row;
        if (i + 2 * AHEAD < n)
            row_table_prefetch(other, p->hashes[i + 2 * AHEAD]);
        if (i + AHEAD < n)
            row_table_prefetch_entry(other, p->hashes[i + AHEAD]);
        struct row_entry *e = s->entry;
        if (e == NULL)
            e = row_table_first(other, p->hashes[i], p->keys[i]);
        for (; e != NULL; e = row_table_next(other, e)) {
            if (x.n == BATCH_ROWS_MAX)
                TRY(pairs_flush(r, s, &x));
            if (r->rows_left == 0) {
                s->entry = e;
                *more = true;
                return ERR_OK;
            }
            TRY(pair_add(&x, i, NULL, weight_of(p->batch, i), e));
        }
        s->entry = NULL;
    }
    return pairs_flush(r, s, &x);
}

static enum err join_apply(struct flow_run *r, const struct flow_packet *p, bool *more)
{
    struct join_state *s = r->state;
    if (!s->plan->by_key) {
        if (!s->begun)
            memset(s->matches, 0, p->batch->n_rows * sizeof(*s->matches));
        s->begun = true;
        TRY(meet(r, s, p, more));
        if (*more)
            return ERR_OK;
    }
    s->begun = false;
    s->row = 0;
    return rows_add(r, s, p);
}

/* ---- the end of an epoch ---- */

/* What entries of a side give, and which of them are gone. */
struct settled {
    uint32_t side, n, n_gone;
    struct row_entry **entries, **gone;
    int64_t *weights;
    uint8_t *matched;
};

static bool settled_init(struct settled *o, uint32_t side, struct arena *a)
{
    *o = (struct settled){.side = side};
    o->entries = arena_alloc(a, BATCH_ROWS_MAX * sizeof(struct row_entry *));
    o->gone = arena_alloc(a, BATCH_ROWS_MAX * sizeof(struct row_entry *));
    o->weights = arena_alloc(a, BATCH_ROWS_MAX * sizeof(*o->weights));
    o->matched = arena_alloc(a, BATCH_ROWS_MAX);
    return o->entries != NULL && o->gone != NULL && o->weights != NULL && o->matched != NULL;
}

static enum err settled_flush(struct flow_run *r, struct join_state *s, struct settled *o)
{
    struct arena *a = r->c->arena;
    if (o->n > 0) {
        struct batch *narrow = wide_batch(s->plan, o->n, a);
        if (narrow == NULL || (narrow->weights = arena_alloc(a, o->n * sizeof(int64_t))) == NULL)
            return ERR_NO_MEMORY;
        memcpy(narrow->weights, o->weights, o->n * sizeof(int64_t));
        narrow->n_columns = s->plan->rows[o->side].n_columns;
        TRY(decode_entries(s, o->side, o->entries, o->n, narrow->columns, a));
        const struct batch *b = alone(s->plan, o->side, narrow, o->matched, a);
        if (b == NULL)
            return ERR_NO_MEMORY;
        TRY(flow_forward(r, b));
    }
    for (uint32_t i = 0; i < o->n_gone; i++)
        entry_remove(r->op, s, o->side, o->gone[i]);
    flow_spend(r, o->n + o->n_gone);
    o->n = o->n_gone = 0;
    return ERR_OK;
}

static void settled_add(struct settled *o, struct row_entry *e, int64_t weight, bool matched)
{
    if (weight == 0)
        return;
    o->entries[o->n] = e;
    o->weights[o->n] = weight;
    o->matched[o->n++] = matched;
}

/* The weight that a row is to have given. */
static int64_t wanted(const struct join_plan *j, int64_t weight, bool matched)
{
    switch (j->kind) {
    case JOIN_LEFT:
    case JOIN_FULL:
    case JOIN_SINGLE:
    case JOIN_ANTI:
        return matched ? 0 : weight;
    case JOIN_SEMI:
        return matched ? weight : 0;
    case JOIN_MARK:
        return weight;
    case JOIN_INNER:
        break;
    }
    UNREACHABLE();
}

/* Gives the difference between what an entry is to have given and what it has. There is room for
 * two rows. */
static enum err settle(const struct join_state *s, struct settled *o, struct row_entry *e)
{
    struct owner *own = owner(e);
    int64_t matches = own->matches;
    if (s->plan->by_key) {
        const struct row_entry *right =
            row_table_first(s->rows[RIGHT], e->hash, row_entry_key(s->rows[LEFT], e));
        matches = right == NULL ? 0 : right->weight;
    }
    bool matched = matches > 0, before = (own->flags & OWNER_MATCHED) != 0;
    int64_t want = wanted(s->plan, e->weight, matched), more;
    if (s->plan->kind == JOIN_MARK && matched != before) {
        settled_add(o, e, -own->emitted, before);
        own->emitted = 0;
    }
    if (__builtin_sub_overflow(want, own->emitted, &more))
        return ERR_LIMIT;
    settled_add(o, e, more, matched);
    own->emitted = want;
    own->flags = (own->flags & ~(uint64_t)OWNER_MATCHED) | (matched ? OWNER_MATCHED : 0);
    return ERR_OK;
}

/* SINGLE: tells of a left row that has a second match. */
static enum err second_match(struct flow_run *r, const struct join_state *s, struct row_entry *e)
{
    struct batch *b = wide_batch(s->plan, 1, r->c->arena);
    if (b == NULL)
        return ERR_NO_MEMORY;
    b->n_columns = s->plan->rows[LEFT].n_columns;
    TRY(decode_entries(s, LEFT, &e, 1, b->columns, r->c->arena));
    return r->c->row_error(r->c->arg, b, 0, ERR_CARDINALITY,
                           "more than one row returned by a subquery used as an expression");
}

/* SINGLE: takes the pairs of a left row back that has a second match, or gives those again of one
 * that had. *more: not all of them yet. */
static enum err settle_single(struct flow_run *r, struct join_state *s, struct row_entry *e,
                              bool *more)
{
    struct owner *own = owner(e);
    bool muted = (own->flags & OWNER_MUTED) != 0, mute = own->matches > 1 && e->weight != 0;
    if (muted == mute)
        return ERR_OK;
    if (mute && s->entry == NULL)
        TRY(second_match(r, s, e));
    struct pairs x;
    if (!pairs_init(&x, LEFT, NULL, r->c->arena))
        return ERR_NO_MEMORY;
    struct row_entry *other = s->entry;
    if (other == NULL)
        other = row_table_first(s->rows[RIGHT], e->hash, row_entry_key(s->rows[LEFT], e));
    for (; other != NULL; other = row_table_next(s->rows[RIGHT], other)) {
        if (x.n == BATCH_ROWS_MAX)
            TRY(pairs_flush(r, s, &x));
        if (r->rows_left == 0) {
            s->entry = other;
            *more = true;
            return ERR_OK;
        }
        TRY(pair_add(&x, 0, e, mute ? -e->weight : e->weight, other));
    }
    s->entry = NULL;
    own->flags ^= OWNER_MUTED;
    return pairs_flush(r, s, &x);
}

/* Brings what settling the touched entries some places on looks at into the cache. */
static void prefetch_touched(const struct join_state *s, const struct flow_touched *t)
{
    enum { AHEAD = 8 };
    if (t->at + 2 * AHEAD < t->n)
        __builtin_prefetch(t->list[t->at + 2 * AHEAD]);
    if (s->plan->by_key && t->at + AHEAD < t->n)
        row_table_prefetch(s->rows[t == &s->touched[LEFT]], t->list[t->at + AHEAD]->hash);
}

/* Settles the touched entries of a side. */
static enum err settle_touched(struct flow_run *r, struct join_state *s, uint32_t side, bool *more)
{
    struct flow_touched *t = &s->touched[side];
    struct settled o;
    if (t->n == 0)
        return ERR_OK;
    if (!settled_init(&o, side, r->c->arena))
        return ERR_NO_MEMORY;
    for (; t->at < t->n; t->at++) {
        struct row_entry *e = t->list[t->at];
        prefetch_touched(s, t);
        if (o.n + 2 > BATCH_ROWS_MAX || o.n_gone == BATCH_ROWS_MAX)
            TRY(settled_flush(r, s, &o));
        if (s->plan->kind == JOIN_SINGLE && r->rows_left > 0)
            TRY(settle_single(r, s, e, more));
        if (r->rows_left == 0 || *more) {
            *more = true;
            return settled_flush(r, s, &o);
        }
        TRY(settle(s, &o, e));
        owner(e)->flags &= ~(uint64_t)OWNER_TOUCHED;
        if (e->weight == 0)
            o.gone[o.n_gone++] = e;
    }
    t->n = t->at = 0;
    return settled_flush(r, s, &o);
}

/* By key: left rows whose key has come or gone on the right. */
static enum err settle_by_key(struct flow_run *r, struct join_state *s, bool *more)
{
    struct flow_touched *t = &s->touched[RIGHT];
    struct settled o;
    if (t->n == 0)
        return ERR_OK;
    if (!settled_init(&o, LEFT, r->c->arena))
        return ERR_NO_MEMORY;
    for (; t->at < t->n; t->at++) {
        struct row_entry *key = t->list[t->at], *e = s->entry;
        prefetch_touched(s, t);
        if (e == NULL)
            e = row_table_first(s->rows[LEFT], key->hash, row_entry_key(s->rows[RIGHT], key));
        for (; e != NULL; e = row_table_next(s->rows[LEFT], e)) {
            if (o.n + 2 > BATCH_ROWS_MAX)
                TRY(settled_flush(r, s, &o));
            if (r->rows_left == 0) {
                s->entry = e;
                *more = true;
                return settled_flush(r, s, &o);
            }
            flow_spend(r, 1);
            TRY(settle(s, &o, e));
        }
        s->entry = NULL;
        owner(key)->flags &= ~(uint64_t)OWNER_TOUCHED;
        if (key->weight == 0)
            entry_remove(r->op, s, RIGHT, key);
    }
    t->n = t->at = 0;
    return settled_flush(r, s, &o);
}

static enum err join_end_level(struct flow_run *r, bool *more)
{
    struct join_state *s = r->state;
    if (s->plan->by_key)
        TRY(settle_by_key(r, s, more));
    if (!*more)
        TRY(settle_touched(r, s, LEFT, more));
    if (!*more && !s->plan->by_key)
        TRY(settle_touched(r, s, RIGHT, more));
    return ERR_OK;
}

const struct flow_kind flow_join_kind = {
    .compile = join_compile,
    .state_new = join_state_new,
    .state_free = join_state_free,
    .bytes = join_bytes,
    .rows = join_rows,
    .pass = join_pass,
    .apply = join_apply,
    .end_level = join_end_level,
    .expire = join_expire,
};
