#include "run/chain.h"

#include "base/check.h"
#include "run/expr.h"
#include "type/array.h"

enum {
    CHAIN_STEPS_MAX = 64,
    EXPANDED_ROWS_MAX = 1 << 26, /* that the arrays of one batch give; memory ends before */
};

struct chain_step {
    enum plan_kind kind;
    struct window_spec window;
    bool ordinality, keep_empty;
    uint32_t n_programs;
    struct expr_program **programs;
};

struct chain {
    uint32_t n_steps;
    struct chain_step steps[CHAIN_STEPS_MAX]; /* bottom up */
};

/* A batch on its way up, with what belongs to each row. */
struct climb {
    struct batch *batch;
    uint32_t *origin;
    int64_t *window_end;
    uint8_t *late;
    struct arena *arena;
    int64_t now_us;
    uint32_t n_rows;  /* of the input */
    uint8_t *refused; /* per row of the input: told of already (a row may stand in many windows) */
    uint32_t n_errors, errors_cap;
    struct chain_error *errors;
};

/* A copy that borrows nothing: programs may outlive the plan they come from. NULL when out of
 * memory. */
static const struct expr *expr_clone(const struct expr *e, struct arena *a)
{
    struct expr *copy = arena_alloc(a, sizeof(*copy));
    const struct expr **args = arena_alloc(a, (e->n_args + 1) * sizeof(struct expr *));
    if (copy == NULL || args == NULL)
        return NULL;
    *copy = *e;
    copy->args = args;
    for (uint32_t i = 0; i < e->n_args; i++)
        if ((args[i] = expr_clone(e->args[i], a)) == NULL)
            return NULL;
    if (e->kind == EXPR_CONST && !e->value.null && type_info(e->value.type)->by_ref) {
        copy->value.as.s = arena_str(a, e->value.as.s);
        if (copy->value.as.s.ptr == NULL)
            return NULL;
    }
    return copy;
}

static enum err step_compile(const struct plan_node *node, struct arena *a, struct chain_step *step,
                             struct err_detail *why)
{
    *step = (struct chain_step){
        .kind = node->kind, .window = node->window, .ordinality = node->ordinality,
        .keep_empty = node->keep_empty, .n_programs = node->n_exprs};
    if (node->kind == PLAN_WINDOW)
        return ERR_OK;
    step->programs = arena_alloc(a, (node->n_exprs + 1) * sizeof(struct expr_program *));
    if (step->programs == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < node->n_exprs; i++) {
        const struct expr *own = expr_clone(node->exprs[i], a);
        if (own == NULL)
            return ERR_NO_MEMORY;
        TRY(expr_compile(own, a, &step->programs[i], why));
    }
    return ERR_OK;
}

enum err chain_compile(const struct plan_node *top, const struct plan_node *bottom, struct arena *a,
                       struct chain **out, struct err_detail *why)
{
    struct chain *c = arena_zalloc(a, 1, sizeof(*c));
    if (c == NULL)
        return ERR_NO_MEMORY;
    for (const struct plan_node *n = top; n != bottom; n = n->input) {
        CHECK(n != NULL);
        CHECK(n->kind == PLAN_WINDOW || n->kind == PLAN_EXPAND || n->kind == PLAN_FILTER ||
              n->kind == PLAN_PROJECT);
        if (c->n_steps == CHAIN_STEPS_MAX)
            return err_set(why, ERR_LIMIT, "the query nests more than %d steps", CHAIN_STEPS_MAX);
        TRY(step_compile(n, a, &c->steps[c->n_steps++], why));
    }
    for (uint32_t i = 0; i < c->n_steps / 2; i++) {
        struct chain_step t = c->steps[i];
        c->steps[i] = c->steps[c->n_steps - 1 - i];
        c->steps[c->n_steps - 1 - i] = t;
    }
    *out = c;
    return ERR_OK;
}

static uint32_t windows_per_row(const struct window_spec *w)
{
    return (uint32_t)((w->size_us + w->slide_us - 1) / w->slide_us);
}

uint32_t chain_windows_per_row(const struct chain *c)
{
    for (uint32_t i = 0; i < c->n_steps; i++)
        if (c->steps[i].kind == PLAN_WINDOW)
            return windows_per_row(&c->steps[i].window);
    return 1;
}

bool chain_is_identity(const struct chain *c)
{
    return c->n_steps == 0;
}

static int64_t floor_to(int64_t v, int64_t step)
{
    return v - ((v % step) + step) % step;
}

bool window_range(const struct window_spec *w, int64_t ts, int64_t *first_start,
                  int64_t *last_start)
{
    if (ts == INT64_MIN || ts == INT64_MAX)
        return false;
    int64_t moved, size = w->size_us;
    if (__builtin_sub_overflow(ts, w->offset_us, &moved) || moved > INT64_MAX - size ||
        ts > INT64_MAX - size || moved < INT64_MIN + 2 * size)
        return false;
    int64_t last = floor_to(moved, w->slide_us);
    /* Earlier windows that still contain ts: start > ts - size. */
    int64_t first = floor_to(moved - size, w->slide_us) + w->slide_us;
    *first_start = first + w->offset_us;
    *last_start = last + w->offset_us;
    return true;
}

static enum err error_add(struct climb *f, uint32_t row, enum err e, const char *text)
{
    if (f->refused == NULL && (f->refused = arena_zalloc(f->arena, f->n_rows, 1)) == NULL)
        return ERR_NO_MEMORY;
    if (f->refused[row])
        return ERR_OK;
    f->refused[row] = 1;
    if (f->n_errors == f->errors_cap) {
        uint32_t cap = f->errors_cap == 0 ? 16 : f->errors_cap * 2;
        struct chain_error *grown = arena_alloc(f->arena, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        if (f->n_errors > 0)
            memcpy(grown, f->errors, f->n_errors * sizeof(*grown));
        f->errors = grown;
        f->errors_cap = cap;
    }
    struct str copy = arena_str(f->arena, str_of(text));
    if (copy.ptr == NULL)
        return ERR_NO_MEMORY;
    f->errors[f->n_errors++] = (struct chain_error){.row = row, .err = e, .text = copy.ptr};
    return ERR_OK;
}

/* How many rows the window step makes, and for each input row its open windows. */
struct spread {
    uint32_t n;
    uint32_t *row;
    int64_t *start, *end;
    uint8_t *late;
};

/* Windows of one row: the first, and what is added from one to the next. */
struct row_windows {
    int64_t n, start, end, start_step, end_step;
};

static bool windows_of(const struct window_spec *w, int64_t ts, struct row_windows *out)
{
    int64_t first, last;
    if (!window_range(w, ts, &first, &last))
        return false;
    *out = (struct row_windows){.n = 1, .start = ts, .end = ts + w->size_us};
    if (w->kind == WINDOW_SESSION)
        return true;
    out->end_step = w->slide_us;
    if (w->kind == WINDOW_CUMULATE) {
        /* The steps begin with the windows: the last one that began holds the row. */
        out->start = floor_to(ts - w->offset_us, w->size_us) + w->offset_us;
        out->end = last + w->slide_us;
        out->n = (out->start + w->size_us - out->end) / w->slide_us + 1;
        return true;
    }
    *out = (struct row_windows){.n = (last - first) / w->slide_us + 1,
                                .start = first,
                                .end = first + w->size_us,
                                .start_step = w->slide_us,
                                .end_step = w->slide_us};
    return true;
}

static void spread_row(const struct window_spec *w, const struct row_windows *of, uint32_t row,
                       int64_t ts, int64_t watermark, struct spread *s)
{
    int64_t last = of->n - 1;
    bool late = of->end + last * of->end_step <= watermark;
    if (w->kind == WINDOW_SESSION)
        late = ts < watermark;
    for (int64_t i = late ? last : 0; i <= last; i++) {
        int64_t end = of->end + i * of->end_step;
        if (!late && end <= watermark && w->kind != WINDOW_SESSION)
            continue;
        s->row[s->n] = row;
        s->start[s->n] = of->start + i * of->start_step;
        s->end[s->n] = end;
        s->late[s->n++] = late;
    }
}

static enum err spread_rows(const struct chain_step *step, struct climb *f,
                            const int64_t *watermarks, struct spread *s)
{
    const struct batch *in = f->batch;
    const struct column *time = &in->columns[step->window.time_column];
    CHECK(windows_per_row(&step->window) <= WINDOWS_PER_ROW_MAX + 1);
    uint64_t cap = (uint64_t)in->n_rows * windows_per_row(&step->window) + 1;
    s->row = arena_alloc(f->arena, cap * sizeof(uint32_t));
    s->start = arena_alloc(f->arena, cap * sizeof(int64_t));
    s->end = arena_alloc(f->arena, cap * sizeof(int64_t));
    s->late = arena_zalloc(f->arena, cap, 1);
    if (s->row == NULL || s->start == NULL || s->end == NULL || s->late == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < in->n_rows; i++) {
        int64_t ts;
        struct row_windows of;
        uint32_t origin = f->origin == NULL ? i : f->origin[i];
        if (column_is_null(time, i) || !epoch_time_us(time, i, step->window.unit, &ts) ||
            !windows_of(&step->window, ts, &of)) {
            TRY(error_add(f, origin, ERR_DATETIME_RANGE, "the event time belongs to no window"));
            continue;
        }
        bool timed = watermarks != NULL && !step->window.untimed;
        spread_row(&step->window, &of, i, ts, timed ? watermarks[origin] : INT64_MIN, s);
    }
    return ERR_OK;
}

/* Keeps rows[0..n) of them. */
static enum err climb_gather(struct climb *f, const uint32_t *rows, uint32_t n)
{
    struct batch *b = batch_gather(f->batch, rows, n, f->arena);
    uint32_t *origin = arena_alloc(f->arena, (n + 1) * sizeof(uint32_t));
    if (b == NULL || origin == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        origin[i] = f->origin == NULL ? rows[i] : f->origin[rows[i]];
    if (f->window_end != NULL) {
        int64_t *ends = arena_alloc(f->arena, (n + 1) * sizeof(int64_t));
        uint8_t *late = arena_alloc(f->arena, n + 1);
        if (ends == NULL || late == NULL)
            return ERR_NO_MEMORY;
        for (uint32_t i = 0; i < n; i++) {
            ends[i] = f->window_end[rows[i]];
            late[i] = f->late[rows[i]];
        }
        f->window_end = ends;
        f->late = late;
    }
    f->batch = b;
    f->origin = origin;
    return ERR_OK;
}

static enum err run_window(const struct chain_step *step, struct climb *f,
                           const int64_t *watermarks)
{
    struct spread s = {0};
    enum type t = step->window.unit != TIME_UNIT_NONE
                      ? TYPE_TIMESTAMPTZ
                      : f->batch->columns[step->window.time_column].type;
    TRY(spread_rows(step, f, watermarks, &s));
    TRY(climb_gather(f, s.row, s.n));
    struct batch *narrow = f->batch;
    uint32_t n = narrow->n_columns;
    struct column *columns = arena_alloc(f->arena, (n + 2) * sizeof(*columns));
    if (columns == NULL)
        return ERR_NO_MEMORY;
    memcpy(columns, narrow->columns, n * sizeof(*columns));
    f->window_end = s.end;
    columns[n] = (struct column){.type = t, .data = s.start};
    columns[n + 1] = (struct column){.type = t, .data = f->window_end};
    narrow->columns = columns;
    narrow->n_columns = n + 2;
    f->late = s.late;
    return ERR_OK;
}

/* Records the failed rows of a context; true in `failed` when there are any. */
static enum err take_errors(struct climb *f, const struct kernel_context *k, bool *failed)
{
    *failed = k->row_errors != NULL;
    if (k->row_errors == NULL)
        return ERR_OK;
    for (uint32_t i = 0; i < f->batch->n_rows; i++) {
        enum err e = k->row_errors[i];
        if (e == ERR_OK)
            continue;
        const char *text = i == k->first_row ? k->first.text : err_info(e)->text;
        TRY(error_add(f, f->origin == NULL ? i : f->origin[i], e, text));
    }
    return ERR_OK;
}

static enum err run_filter(const struct chain_step *step, struct climb *f)
{
    struct kernel_context k;
    kernel_context_init(&k, f->arena, f->now_us);
    uint32_t n, *rows = arena_alloc(f->arena, (f->batch->n_rows + 1) * sizeof(*rows));
    if (rows == NULL)
        return ERR_NO_MEMORY;
    bool failed;
    TRY(expr_select(step->programs[0], f->batch, NULL, &k, rows, &n));
    TRY(take_errors(f, &k, &failed));
    return n == f->batch->n_rows ? ERR_OK : climb_gather(f, rows, n);
}

static enum err run_project(const struct chain_step *step, struct climb *f)
{
    struct kernel_context k;
    kernel_context_init(&k, f->arena, f->now_us);
    struct batch *out = arena_zalloc(f->arena, 1, sizeof(*out));
    struct column *columns = arena_zalloc(f->arena, step->n_programs + 1, sizeof(*columns));
    if (out == NULL || columns == NULL)
        return ERR_NO_MEMORY;
    *out = (struct batch){.n_rows = f->batch->n_rows,
                          .n_columns = step->n_programs,
                          .columns = columns,
                          .weights = f->batch->weights};
    for (uint32_t i = 0; i < step->n_programs; i++)
        TRY(expr_eval(step->programs[i], f->batch, NULL, &k, &columns[i]));
    bool failed;
    TRY(take_errors(f, &k, &failed));
    f->batch = out;
    if (!failed)
        return ERR_OK;
    uint32_t n = 0, *rows = arena_alloc(f->arena, (out->n_rows + 1) * sizeof(*rows));
    if (rows == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < out->n_rows; i++)
        if (k.row_errors[i] == ERR_OK)
            rows[n++] = i;
    return climb_gather(f, rows, n);
}

/* ---- arrays to rows ---- */

/* The arrays of one expression, opened: the elements of row i. */
struct opened {
    enum type element;
    struct array *arrays; /* n = 0 for NULL */
};

static enum err open_arrays(struct climb *f, const struct expr_program *program,
                            struct kernel_context *k, struct opened *out)
{
    struct column c;
    uint32_t n = f->batch->n_rows;
    TRY(expr_eval(program, f->batch, NULL, k, &c));
    out->element = type_element(c.type);
    out->arrays = arena_zalloc(f->arena, n + 1u, sizeof(*out->arrays));
    if (out->arrays == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        bool failed = k->row_errors != NULL && k->row_errors[i] != 0;
        if (!failed && !column_is_null(&c, i))
            out->arrays[i] = array_open(c.type, column_str(&c)[i]);
    }
    return ERR_OK;
}

/* Which input row each output row comes from, and its number among those of it, from 0. */
struct expansion {
    uint32_t n, *rows, *numbers;
};

static enum err expansion_make(const struct chain_step *step, struct climb *f,
                               const struct opened *sets, const uint8_t *errors,
                               struct expansion *x)
{
    uint32_t n = f->batch->n_rows, *counts = arena_zalloc(f->arena, n + 1u, sizeof(*counts));
    uint64_t total = 0;
    if (counts == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t e = 0; e < step->n_programs; e++)
            if (sets[e].arrays[i].n > counts[i])
                counts[i] = sets[e].arrays[i].n;
        if (errors != NULL && errors[i] != 0)
            counts[i] = 0;
        else if (counts[i] == 0 && step->keep_empty)
            counts[i] = 1;
        total += counts[i];
    }
    if (total > EXPANDED_ROWS_MAX)
        return ERR_LIMIT;
    x->n = (uint32_t)total;
    x->rows = arena_alloc(f->arena, (total + 1) * sizeof(*x->rows));
    x->numbers = arena_alloc(f->arena, (total + 1) * sizeof(*x->numbers));
    if (x->rows == NULL || x->numbers == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0, at = 0; i < n; i++)
        for (uint32_t k = 0; k < counts[i]; k++, at++) {
            x->rows[at] = i;
            x->numbers[at] = k;
        }
    return ERR_OK;
}

static enum err elements_column(struct climb *f, const struct opened *set,
                                const struct expansion *x, struct column *out)
{
    if (!column_init(out, set->element, x->n, true, f->arena))
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < x->n; i++) {
        const struct array *a = &set->arrays[x->rows[i]];
        struct value v = {.type = set->element, .null = true};
        if (x->numbers[i] < a->n)
            v = array_get(a, x->numbers[i]);
        column_set(out, i, &v);
    }
    return ERR_OK;
}

static enum err numbers_column(struct climb *f, const struct opened *sets, uint32_t n_sets,
                               const struct expansion *x, struct column *out)
{
    if (!column_init(out, TYPE_INT8, x->n, true, f->arena))
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < x->n; i++) {
        out->nulls[i] = 1;
        for (uint32_t e = 0; e < n_sets; e++)
            if (x->numbers[i] < sets[e].arrays[x->rows[i]].n)
                out->nulls[i] = 0;
        column_i8(out)[i] = out->nulls[i] != 0 ? 0 : (int64_t)x->numbers[i] + 1;
    }
    return ERR_OK;
}

static enum err run_expand(const struct chain_step *step, struct climb *f)
{
    struct kernel_context k;
    struct expansion x;
    bool failed;
    struct opened *sets = arena_zalloc(f->arena, step->n_programs + 1u, sizeof(*sets));
    kernel_context_init(&k, f->arena, f->now_us);
    if (sets == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < step->n_programs; i++)
        TRY(open_arrays(f, step->programs[i], &k, &sets[i]));
    TRY(take_errors(f, &k, &failed));
    TRY(expansion_make(step, f, sets, k.row_errors, &x));
    TRY(climb_gather(f, x.rows, x.n));
    struct batch *b = f->batch;
    uint32_t n = b->n_columns;
    struct column *columns =
        arena_alloc(f->arena, (n + step->n_programs + 1u) * sizeof(*columns));
    if (columns == NULL)
        return ERR_NO_MEMORY;
    if (n > 0)
        memcpy(columns, b->columns, n * sizeof(*columns));
    for (uint32_t i = 0; i < step->n_programs; i++)
        TRY(elements_column(f, &sets[i], &x, &columns[n++]));
    if (step->ordinality)
        TRY(numbers_column(f, sets, step->n_programs, &x, &columns[n++]));
    b->columns = columns;
    b->n_columns = n;
    return ERR_OK;
}

/* Takes the late rows out of them. Each stands in it once. */
static enum err split_late(struct climb *f, struct chain_result *out)
{
    uint32_t n = f->batch->n_rows, n_late = 0;
    for (uint32_t i = 0; i < n; i++)
        n_late += f->late[i];
    if (n_late == 0)
        return ERR_OK;
    uint32_t *late = arena_alloc(f->arena, n_late * sizeof(*late));
    uint32_t n_keep = 0, *keep = arena_alloc(f->arena, (n + 1) * sizeof(*keep));
    if (late == NULL || keep == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        if (f->late[i])
            late[out->n_late++] = f->origin[i];
        else
            keep[n_keep++] = i;
    }
    out->late = late;
    return climb_gather(f, keep, n_keep);
}

enum err chain_run(const struct chain *c, const struct batch *in, const int64_t *watermarks,
                   int64_t now_us, struct arena *a, struct chain_result *out)
{
    struct climb f = {.arena = a, .now_us = now_us, .n_rows = in->n_rows};
    f.batch = arena_alloc(a, sizeof(*f.batch));
    if (f.batch == NULL)
        return ERR_NO_MEMORY;
    *f.batch = *in;
    *out = (struct chain_result){0};
    for (uint32_t i = 0; i < c->n_steps; i++) {
        const struct chain_step *step = &c->steps[i];
        if (step->kind == PLAN_WINDOW)
            TRY(run_window(step, &f, watermarks));
        else if (step->kind == PLAN_EXPAND)
            TRY(run_expand(step, &f));
        else if (step->kind == PLAN_FILTER)
            TRY(run_filter(step, &f));
        else
            TRY(run_project(step, &f));
    }
    if (f.late != NULL)
        TRY(split_late(&f, out));
    out->batch = f.batch;
    out->origin = f.origin;
    out->window_end = f.window_end;
    out->n_errors = f.n_errors;
    out->errors = f.errors;
    return ERR_OK;
}
