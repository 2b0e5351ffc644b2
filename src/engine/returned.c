#include "engine/returned.h"

#include "base/mem.h"
#include "run/chain.h"

enum { PROGRAM_BYTES_MAX = 64 << 20 };

/* Results in the order in which they were added: all batches but the last are full. */
struct kept {
    struct kept *next;
    struct batch *batch;
};

struct returned {
    const struct plan_node *root;
    struct arena programs;
    struct chain *chain;
    struct arena rows;
    uint64_t n_left; /* rows that may still come */
    struct kept *first, *last;
    uint32_t room; /* of the last */
};

enum err returned_new(const struct plan_node *root, struct returned **out, struct err_detail *why)
{
    struct returned *r = mem_zalloc(1, sizeof(*r));
    if (r == NULL)
        return ERR_NO_MEMORY;
    r->root = root;
    arena_init(&r->programs, PROGRAM_BYTES_MAX);
    arena_init(&r->rows, INGEST_BYTES_MAX);
    enum err e = chain_compile(root, root->input, &r->programs, &r->chain, why);
    if (e != ERR_OK) {
        returned_free(r);
        return e;
    }
    *out = r;
    return ERR_OK;
}

void returned_free(struct returned *r)
{
    if (r == NULL)
        return;
    arena_deinit(&r->programs);
    arena_deinit(&r->rows);
    mem_free(r);
}

enum err returned_eval(const struct returned *r, const struct batch *rows, int64_t now_us,
                       struct arena *a, struct batch **out, struct err_detail *why)
{
    struct chain_result result;
    TRY(chain_run(r->chain, rows, NULL, now_us, a, &result));
    if (result.n_errors > 0)
        return err_set(why, result.errors[0].err, "%s", result.errors[0].text);
    *out = result.batch;
    return ERR_OK;
}

void returned_clear(struct returned *r, uint64_t rows)
{
    arena_reset(&r->rows, 0);
    r->first = r->last = NULL;
    r->room = 0;
    r->n_left = rows;
}

static bool batch_begin(struct returned *r)
{
    uint32_t n = r->root->n_columns;
    r->room = r->n_left < BATCH_ROWS_MAX ? (uint32_t)r->n_left : BATCH_ROWS_MAX;
    struct kept *k = arena_zalloc(&r->rows, 1, sizeof(*k));
    enum type *types = arena_alloc(&r->rows, (n + 1) * sizeof(*types));
    if (k == NULL || types == NULL)
        return false;
    for (uint32_t c = 0; c < n; c++)
        types[c] = r->root->columns[c].type;
    k->batch = batch_new(types, n, r->room, &r->rows);
    if (k->batch == NULL)
        return false;
    if (r->last != NULL)
        r->last->next = k;
    else
        r->first = k;
    r->last = k;
    return true;
}

enum err returned_add(struct returned *r, const struct batch *results, uint32_t row)
{
    if (r->room == 0 && !batch_begin(r))
        return ERR_TOO_LARGE;
    struct batch *b = r->last->batch;
    for (uint32_t c = 0; c < b->n_columns; c++) {
        struct value v = column_get(&results->columns[c], row);
        if (!v.null && type_info(v.type)->by_ref) {
            v.as.s = arena_str(&r->rows, v.as.s);
            if (v.as.s.ptr == NULL)
                return ERR_TOO_LARGE;
        }
        column_set(&b->columns[c], b->n_rows, &v);
    }
    b->n_rows++;
    r->room--;
    r->n_left--;
    return ERR_OK;
}

const struct batch *returned_batch(const struct returned *r, uint32_t i)
{
    const struct kept *k = r->first;
    while (k != NULL && i-- > 0)
        k = k->next;
    return k == NULL ? NULL : k->batch;
}
