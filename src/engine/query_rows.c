/* Rows that are there at once: constants, sys.* relations, EXPLAIN. */
#include "engine/query_int.h"
#include "run/expr.h"

enum err source_narrow(const struct query_source *src, const struct batch *in, struct batch *out,
                       struct arena *a)
{
    struct column *columns = arena_alloc(a, (src->n_columns + 1) * sizeof(*columns));
    if (columns == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < src->n_columns; i++)
        columns[i] = in->columns[src->columns[i]];
    *out = (struct batch){.n_rows = in->n_rows,
                          .n_columns = src->n_columns,
                          .columns = columns,
                          .weights = in->weights};
    return ERR_OK;
}

enum err source_values(struct query_source *src, const struct plan_node *node)
{
    struct query *q = src->query;
    enum type *types = arena_alloc(&q->arena, (node->n_columns + 1) * sizeof(*types));
    if (types == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t c = 0; c < node->n_columns; c++)
        types[c] = node->columns[c].type;
    struct batch *b = batch_new(types, node->n_columns, node->n_rows, &q->arena),
                 one = {.n_rows = 1};
    if (b == NULL)
        return ERR_NO_MEMORY;
    b->n_rows = node->n_rows;
    for (uint32_t i = 0; i < node->n_rows * node->n_columns; i++) {
        struct expr_program *program;
        struct kernel_context k;
        struct column value;
        TRY(expr_compile(node->exprs[i], &q->arena, &program, &q->why));
        kernel_context_init(&k, &q->arena, q->shard->wall_us);
        TRY(expr_eval(program, &one, NULL, &k, &value));
        if (k.row_errors != NULL && k.row_errors[0] != ERR_OK) {
            q->why = k.first;
            return (enum err)k.row_errors[0];
        }
        struct value v = column_get(&value, 0);
        column_set(&b->columns[i % node->n_columns], i / node->n_columns, &v);
    }
    src->once = batch_copy(b, &q->arena);
    return src->once == NULL ? ERR_NO_MEMORY : ERR_OK;
}

enum err source_explain(struct query_source *src, const struct plan *plan)
{
    struct query *q = src->query;
    static const enum type text[1] = {TYPE_TEXT};
    uint32_t n = 1;
    for (size_t i = 0; i < plan->text.len; i++)
        n += plan->text.ptr[i] == '\n';
    struct batch *b = batch_new(text, 1, n, &q->arena);
    if (b == NULL)
        return ERR_NO_MEMORY;
    const char *at = plan->text.ptr, *end = at + plan->text.len;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)),
                   *stop = newline == NULL ? end : newline;
        struct value v = {.type = TYPE_TEXT,
                          .as.s = arena_str(&q->arena, (struct str){at, (size_t)(stop - at)})};
        if (v.as.s.ptr == NULL)
            return ERR_NO_MEMORY;
        column_set(&b->columns[0], b->n_rows++, &v);
        at = stop + 1;
    }
    src->once = b;
    return ERR_OK;
}


enum err source_system(struct query_source *src)
{
    struct query *q = src->query;
    struct batch *rows, *scanned = arena_alloc(&q->arena, sizeof(*scanned));
    if (scanned == NULL)
        return ERR_NO_MEMORY;
    TRY(sys_rows(q->shard, src->rel, &q->arena, &rows));
    TRY(source_narrow(src, rows, scanned, &q->arena));
    src->once = scanned;
    return ERR_OK;
}
