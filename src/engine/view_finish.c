/* The end of an epoch for a view: results of groups, changes out, closing windows. */
#include "base/check.h"
#include "base/mem.h"
#include "engine/epochs.h"
#include "engine/view_flow.h"
#include "engine/view_retention.h"
#include "run/key.h"

#include <stdio.h>

/* ---- results ---- */

/* Dead letters of results have no source record: they name the group. */
static enum err result_error(struct view_run *v, struct epoch_work *w, const char *text)
{
    if (w == NULL)
        return ERR_OK;
    stat_add(&v->stats->dead_letters, 1);
    char reason[NAME_BYTES_MAX + ERR_TEXT_MAX];
    snprintf(reason, sizeof(reason), "view \"%.*s\", result of a group: %s", STR_ARG(v->rel->name),
             text);
    return dead_letter_add(w, v, v->rel, 0, -1, reason, (struct str){0});
}

enum err view_run_rows(struct view_run *v, struct state_partition *sp,
                       const struct view_pick *picks, uint32_t n, int64_t now_us, struct arena *a,
                       struct epoch_work *w, struct view_rows *out)
{
    struct batch *b = batch_new(v->agg.types, v->agg.n_keys + v->agg.n_aggs, n, a);
    uint32_t *from = arena_alloc(a, (n + 1) * sizeof(*from));
    out->place = arena_alloc(a, (n + 1) * sizeof(*out->place));
    uint32_t n_columns = v->agg.n_keys + v->agg.n_aggs;
    if (b == NULL || from == NULL || out->place == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        struct err_detail why = {0};
        out->place[i] = UINT32_MAX;
        if (picks[i].cells == NULL)
            continue;
        struct str key = group_key(sp->groups, picks[i].group);
        key.len -= v->tail_bytes;
        enum err e = agg_plan_row(&v->agg, key, picks[i].cells, b, b->n_rows, a, &why);
        if (e == ERR_OK && v->counted && (v->keyed || v->agg.n_keys > 0) &&
            column_i8(&b->columns[n_columns - 1])[b->n_rows] == 0)
            continue;
        if (e == ERR_OK)
            from[b->n_rows++] = i;
        else
            TRY(result_error(v, w, err_text(e, &why)));
    }
    if (v->whole)
        b->weights = column_i8(&b->columns[n_columns - 1]);
    TRY(chain_run(v->result_chain, b, NULL, now_us, a, &out->out));
    for (uint32_t i = 0; i < out->out.n_errors; i++)
        if (w == NULL || !view_run_stopped(v, w, out->out.errors[i].err, out->out.errors[i].text))
            TRY(result_error(v, w, out->out.errors[i].text));
    for (uint32_t i = 0; i < out->out.batch->n_rows; i++)
        out->place[from[out->out.origin == NULL ? i : out->out.origin[i]]] = i;
    return ERR_OK;
}

/* ---- changes ---- */

static bool rows_equal(const struct batch *a, uint32_t i, const struct batch *b, uint32_t j)
{
    for (uint32_t c = 0; c < a->n_columns; c++) {
        struct value x = column_get(&a->columns[c], i), y = column_get(&b->columns[c], j);
        if (!flow_same_value(&x, &y))
            return false;
    }
    return true;
}

/* An upsert (or a tombstone) for the changelog: key columns as JSON in the key; the row before, if
 * any, in header "before". */
/* How often row `i` comes, as a header; only when it is more than once. */
static uint32_t count_header(const struct batch *b, uint32_t i, struct str name, char text[24],
                             struct kafka_header *out)
{
    if (i == UINT32_MAX || b->weights == NULL || b->weights[i] == 1)
        return 0;
    int n = snprintf(text, 24, "%lld", (long long)b->weights[i]);
    *out = (struct kafka_header){.key = name, .value = {text, (size_t)n}};
    return 1;
}

static void change_write(struct view_run *v, struct state_partition *sp, const struct batch *before,
                         uint32_t i, const struct batch *after, uint32_t j, int64_t now_us,
                         struct buf scratch[3])
{
    const struct relation *rel = v->rel;
    const struct batch *any = j != UINT32_MAX ? after : before;
    uint32_t row = j != UINT32_MAX ? j : i;
    struct kafka_header headers[3] = {{.key = STR("before")}};
    char counts[2][24];
    for (int b = 0; b < 3; b++)
        buf_clear(&scratch[b]);
    row_json_some(rel->columns, any->columns, rel->view->key_columns, rel->view->n_key_columns, row,
                  &scratch[0]);
    if (j != UINT32_MAX)
        row_json(rel->columns, after->columns, rel->n_columns, j, &scratch[1]);
    if (i != UINT32_MAX)
        row_json(rel->columns, before->columns, rel->n_columns, i, &scratch[2]);
    headers[0].value = buf_str(&scratch[2]);
    uint32_t n = i != UINT32_MAX;
    n += count_header(before, i, STR("before_count"), counts[0], &headers[n]);
    n += count_header(after, j, STR("count"), counts[1], &headers[n]);
    sp->out.bytes.failed |= scratch[0].failed | scratch[1].failed | scratch[2].failed;
    records_add(&sp->out, buf_str(&scratch[0]),
                j == UINT32_MAX ? (struct str){0} : buf_str(&scratch[1]), now_us / 1000, headers,
                n);
}

/* ---- what views that read this one get ---- */

/* Rows of a batch with weights, with their texts, in the epoch's arena. */
static struct batch *rows_keep(const struct batch *b, const uint32_t *rows, int64_t *weights,
                               uint32_t n, struct arena *a)
{
    struct batch *kept = batch_gather(b, rows, n, a);
    for (uint32_t c = 0; kept != NULL && c < kept->n_columns; c++) {
        struct column *column = &kept->columns[c];
        if (!type_info(column->type)->by_ref)
            continue;
        struct str *texts = arena_alloc(a, (n + 1) * sizeof(*texts));
        if (texts == NULL)
            return NULL;
        for (uint32_t i = 0; i < n; i++) {
            texts[i] = (struct str){0};
            if (column_is_null(column, i))
                continue;
            texts[i] = arena_str(a, column_str(column)[i]);
            if (texts[i].ptr == NULL)
                return NULL;
        }
        column->data = texts;
    }
    if (kept != NULL)
        kept->weights = weights;
    return kept;
}

/* Gives rows to the views that read this one, or to those that begin to. A view that cannot take
 * them fails alone. */
static enum err feed(struct view_finish *f, const struct batch *b, const uint32_t *rows,
                     int64_t *weights, uint32_t n, bool birth)
{
    struct view_run *v = f->view;
    struct epoch_work *w = f->work;
    if (n == 0)
        return ERR_OK;
    bool full = arena_used(w->arena) > EPOCH_FEED_BYTES_MAX;
    struct batch *kept = full ? NULL : rows_keep(b, rows, weights, n, w->arena);
    struct source_batch in = {.rel = v->rel,
                              .batch = kept,
                              .partition = f->part->number,
                              .now_us = f->now_us,
                              .silent = f->silent};
    LIST_FOR (it, &v->feeds) {
        const struct view_input *to = LIST_ENTRY(it, struct view_input, link);
        if (to->view->failed || !(birth ? to->birth : to->born))
            continue;
        enum err e = kept == NULL ? ERR_LIMIT : view_run_source(to->view, &in, w);
        if (e == ERR_OK)
            continue;
        struct err_detail why = {0};
        err_set(&why, e,
                "materialized view \"%.*s\" gives it more rows in one epoch than %d MB hold: drop "
                "it, and write the other's query as a subquery in FROM",
                STR_ARG(v->rel->name), EPOCH_FEED_BYTES_MAX >> 20);
        view_run_fail(to->view, w, e, &why);
    }
    return ERR_OK;
}

static int64_t weight_of(const struct batch *b, uint32_t row)
{
    return b->weights == NULL ? 1 : b->weights[row];
}

/* Of n changes the rows of one side, with the weights that they have in it; those that are the same
 * on both sides are no changes. */
static uint32_t side_rows(const struct view_rows *side, bool gone, const bool *same, uint32_t n,
                          uint32_t *rows, int64_t *weights)
{
    uint32_t n_rows = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t row = side->place[i];
        if (same[i] || row == UINT32_MAX)
            continue;
        weights[n_rows] = gone ? -weight_of(side->out.batch, row) : weight_of(side->out.batch, row);
        rows[n_rows++] = row;
    }
    return n_rows;
}

/* The rows that went, and those that came, to the publication's connector. */
static enum err publish_changes(struct view_finish *f, const struct view_rows *before,
                                const struct view_rows *after, const bool *same, uint32_t n)
{
    struct arena *a = f->work->piece;
    const struct view_rows *sides[2] = {before, after};
    for (int side = 0; side < 2; side++) {
        uint32_t *rows = arena_alloc(a, (n + 1) * sizeof(*rows));
        int64_t *weights = arena_alloc(a, (n + 1) * sizeof(*weights));
        if (rows == NULL || weights == NULL)
            return ERR_NO_MEMORY;
        uint32_t n_rows = side_rows(sides[side], side == 0, same, n, rows, weights);
        if (n_rows == 0)
            continue;
        struct batch *b = batch_gather(sides[side]->out.batch, rows, n_rows, a);
        if (b == NULL)
            return ERR_NO_MEMORY;
        b->weights = weights;
        TRY(view_publish(f->view, f->part, b));
    }
    return ERR_OK;
}

/* The rows that went, and those that came. */
static enum err feed_changes(struct view_finish *f, const struct view_rows *before,
                             const struct view_rows *after, const bool *same, uint32_t n)
{
    struct arena *a = f->work->arena;
    const struct view_rows *sides[2] = {before, after};
    for (int side = 0; side < 2 && view_run_feeds(f->view); side++) {
        uint32_t *rows = arena_alloc(a, (n + 1) * sizeof(*rows));
        int64_t *weights = arena_alloc(a, (n + 1) * sizeof(*weights));
        if (rows == NULL || weights == NULL)
            return ERR_NO_MEMORY;
        uint32_t n_rows = side_rows(sides[side], side == 0, same, n, rows, weights);
        TRY(feed(f, sides[side]->out.batch, rows, weights, n_rows, false));
    }
    return ERR_OK;
}

/* ---- changes out ---- */

static enum err write_changes(struct view_finish *f, const struct touched *t, uint32_t n)
{
    struct view_run *v = f->view;
    struct state_partition *sp = f->part;
    struct arena *a = f->work->piece;
    int64_t now_us = f->now_us;
    struct view_pick *old = arena_alloc(a, n * sizeof(*old)),
                     *new = arena_alloc(a, n * sizeof(*new));
    if (old == NULL || new == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        old[i] = (struct view_pick){t[i].group, t[i].before};
        new[i] = (struct view_pick){t[i].group, group_cells(t[i].group)};
    }
    struct view_rows before, after;
    bool *same = arena_alloc(a, n);
    if (same == NULL)
        return ERR_NO_MEMORY;
    TRY(view_run_rows(v, sp, old, n, now_us, a, NULL, &before));
    TRY(view_run_rows(v, sp, new, n, now_us, a, f->silent ? NULL : f->work, &after));
    for (uint32_t i = 0; i < n; i++) {
        uint32_t x = before.place[i], y = after.place[i];
        same[i] = x == y && x == UINT32_MAX;
        if (x != UINT32_MAX && y != UINT32_MAX)
            same[i] = rows_equal(before.out.batch, x, after.out.batch, y) &&
                      (!v->whole || before.out.batch->weights[x] == after.out.batch->weights[y]);
    }
    TRY(feed_changes(f, &before, &after, same, n));
    if (f->silent)
        return ERR_OK;
    if (v->connector != NULL)
        return publish_changes(f, &before, &after, same, n);
    struct buf scratch[3];
    for (int b = 0; b < 3; b++)
        buf_init(&scratch[b], RECORDS_BYTES_MAX);
    uint64_t written = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t x = before.place[i], y = after.place[i];
        if (same[i])
            continue;
        change_write(v, sp, before.out.batch, x, after.out.batch, y, now_us, scratch);
        written++;
    }
    stat_add(&v->stats->rows_out, written);
    for (int b = 0; b < 3; b++)
        buf_deinit(&scratch[b]);
    return ERR_OK;
}

/* ---- the pieces ---- */

/* Writes up to a batch of changes from `t` on. */
static enum err write_some(struct view_finish *f, const struct touched *t, uint32_t n,
                           uint32_t *rows)
{
    uint32_t some = n < *rows ? n : *rows;
    some = some < f->view->agg.rows_max ? some : f->view->agg.rows_max;
    arena_reset(f->work->piece, EPOCH_ARENA_KEEP_BYTES);
    *rows -= some;
    f->at += some;
    return some == 0 ? ERR_OK : write_changes(f, t, some);
}

static bool shows_closed(const struct view_finish *f)
{
    return f->view->emit_final && (!f->silent || view_run_feeds(f->view));
}

/* Which windows have ended, and room for their groups. */
static enum err close_begin(struct view_finish *f)
{
    struct state_partition *sp = f->part;
    while (f->n_closed < sp->n_windows && sp->windows[f->n_closed].end <= f->watermark_us)
        f->n_groups_max += sp->windows[f->n_closed++].n;
    f->phase = FINISH_CLOSE;
    if (f->n_closed == 0 || !shows_closed(f))
        return ERR_OK;
    size_t bytes = ((size_t)f->n_groups_max + 1) * sizeof(*f->groups);
    f->groups = arena_alloc(f->work->arena, bytes);
    f->spare = arena_alloc(f->work->arena, bytes);
    return f->groups == NULL || f->spare == NULL ? ERR_NO_MEMORY : ERR_OK;
}

bool view_group_has_rows(const struct view_run *v, struct group *g)
{
    struct value count;
    struct err_detail why;
    enum err e = agg_result(&v->agg.ops[v->agg.n_aggs - 1], group_cells(g), NULL, &count, &why);
    return e != ERR_OK || count.as.i8 != 0;
}

static enum err empty_reserve(struct state_partition *sp, uint32_t n)
{
    if (sp->n_empty + n <= sp->empty_cap)
        return ERR_OK;
    uint32_t cap = (sp->n_empty + n) * 2;
    struct group **grown = mem_realloc(sp->empty, cap * sizeof(*grown));
    if (grown == NULL)
        return ERR_NO_MEMORY;
    sp->empty = grown;
    sp->empty_cap = cap;
    return ERR_OK;
}

static void empty_add(struct state_partition *sp, struct group *g)
{
    if (g->flags & GROUP_EMPTY)
        return;
    g->flags |= GROUP_EMPTY;
    sp->empty[sp->n_empty++] = g;
}

enum err view_empty_add(struct state_partition *sp, struct group *g)
{
    TRY(empty_reserve(sp, 1));
    empty_add(sp, g);
    return ERR_OK;
}

/* Removes the groups that are listed, when nobody scans: a scan may still have to show them. */
static void remove_listed(struct view_run *v, struct state_partition *sp)
{
    if (!list_empty(&v->scans))
        return;
    for (uint32_t i = 0; i < sp->n_empty; i++) {
        struct group *g = sp->empty[i];
        g->flags &= (uint16_t)~GROUP_EMPTY;
        if (!view_group_has_rows(v, g))
            view_group_free(v, sp, g);
    }
    sp->n_empty = 0;
}

/* Lists groups that have lost their last row, and removes what is listed. */
static enum err remove_empty(struct view_finish *f)
{
    struct view_run *v = f->view;
    struct state_partition *sp = f->part;
    if (v->agg.n_keys == 0)
        return ERR_OK;
    TRY(empty_reserve(sp, sp->n_touched));
    for (uint32_t i = 0; i < sp->n_touched; i++) {
        struct group *g = sp->touched[i].group;
        /* Those of windows are in the window's list until it closes. */
        if (g->window_end == INT64_MAX && !view_group_has_rows(v, g))
            empty_add(sp, g);
    }
    remove_listed(v, sp);
    return ERR_OK;
}

/* Whole rows with the same key: the one that went is told before the one that came in its place, so
 * that the newest record of the key tells of what is there. */
static enum err gone_first(struct view_finish *f)
{
    struct state_partition *sp = f->part;
    struct touched *came = arena_alloc(f->work->arena, (sp->n_touched + 1) * sizeof(*came));
    uint32_t n_gone = 0, n_came = 0;
    if (came == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < sp->n_touched; i++)
        if (view_group_has_rows(f->view, sp->touched[i].group))
            came[n_came++] = sp->touched[i];
        else
            sp->touched[n_gone++] = sp->touched[i];
    memcpy(sp->touched + n_gone, came, n_came * sizeof(*came));
    return ERR_OK;
}

static enum err step_changes(struct view_finish *f, uint32_t *rows)
{
    struct state_partition *sp = f->part;
    if (f->at == 0 && f->view->whole && f->view->unique && !f->silent)
        TRY(gone_first(f));
    bool told = !f->silent || view_run_feeds(f->view);
    if (told && f->at < sp->n_touched)
        return write_some(f, sp->touched + f->at, sp->n_touched - f->at, rows);
    if (f->view->counted)
        TRY(remove_empty(f));
    sp->n_touched = 0;
    f->at = 0;
    if (f->view->windowed)
        return close_begin(f);
    f->phase = FINISH_BIRTH;
    return ERR_OK;
}

static int compare_touched(const void *a, const void *b, void *arg)
{
    const struct touched *x = a, *y = b;
    if (x->group->window_end != y->group->window_end)
        return x->group->window_end < y->group->window_end ? -1 : 1;
    return key_compare(group_key(arg, x->group), group_key(arg, y->group));
}

/* Closes the group that is walked, or takes it out of its window when it has no rows. */
static enum err close_group(struct view_finish *f, struct window_bucket *b)
{
    struct state_partition *sp = f->part;
    struct group *g = group_at(sp->groups, f->ref);
    uint32_t ref = f->ref;
    f->ref = g->next_in_window;
    g->flags |= GROUP_CLOSED;
    if (f->view->counted && !view_group_has_rows(f->view, g))
        return view_empty_add(sp, g);
    if (f->n_kept++ == 0)
        b->first = ref;
    else
        group_at(sp->groups, b->last)->next_in_window = ref;
    b->last = ref;
    if (f->groups != NULL)
        f->groups[f->n_groups++] = (struct touched){.group = g};
    return ERR_OK;
}

/* Closes the windows that ended. With emit = 'final' their groups become rows now, by window, then
 * key: an order that does not depend on how partitions were interleaved. */
static enum err step_close(struct view_finish *f, uint32_t *rows)
{
    struct state_partition *sp = f->part;
    for (; f->window_at < f->n_closed; f->window_at++, f->group_at = 0) {
        struct window_bucket *b = &sp->windows[f->window_at];
        for (f->ref = f->group_at == 0 ? b->first : f->ref; f->group_at < b->n; f->group_at++) {
            if (*rows == 0)
                return ERR_OK;
            --*rows;
            TRY(close_group(f, b));
        }
        b->n = f->n_kept;
        f->n_kept = 0;
    }
    sp->watermark_us = f->watermark_us;
    TRY(view_windows_closed(f->view, sp, f->n_closed));
    remove_listed(f->view, sp);
    sp->n_windows -= f->n_closed;
    if (sp->n_windows > 0)
        memmove(sp->windows, sp->windows + f->n_closed, sp->n_windows * sizeof(*sp->windows));
    merge_sort_begin(&f->sort, f->groups, f->spare, f->n_groups, sizeof(*f->groups),
                     compare_touched, sp->groups);
    f->phase = f->n_groups > 0 ? FINISH_SORT : FINISH_BIRTH;
    return ERR_OK;
}

static enum err step_sort(struct view_finish *f, uint32_t *rows)
{
    if (!merge_sort_run(&f->sort, *rows)) {
        *rows = 0;
        return ERR_OK;
    }
    f->groups = merge_sort_result(&f->sort);
    f->phase = FINISH_WRITE;
    return ERR_OK;
}

static enum err step_write(struct view_finish *f, uint32_t *rows)
{
    if (f->at < f->n_groups)
        return write_some(f, f->groups + f->at, f->n_groups - f->at, rows);
    f->phase = FINISH_BIRTH;
    return ERR_OK;
}

static bool has_birth(const struct view_run *v)
{
    LIST_FOR (it, &v->feeds)
        if (LIST_ENTRY(it, struct view_input, link)->birth)
            return true;
    return false;
}

/* Gives all rows to views that begin to read this one. */
static enum err step_birth(struct view_finish *f, uint32_t *rows)
{
    struct view_run *v = f->view;
    struct state_partition *sp = f->part;
    struct arena *a = f->work->piece;
    uint32_t n = 0, left = *rows < v->agg.rows_max ? *rows : v->agg.rows_max;
    arena_reset(a, EPOCH_ARENA_KEEP_BYTES);
    struct view_pick *picks = arena_alloc(a, (left + 1) * sizeof(*picks));
    if (picks == NULL)
        return ERR_NO_MEMORY;
    struct group *g = NULL;
    *rows -= left;
    while (has_birth(v) && left > 0 && (g = group_table_next(sp->groups, &f->walk)) != NULL) {
        left--;
        if (!v->emit_final || g->window_end <= sp->watermark_us)
            picks[n++] = (struct view_pick){g, group_cells(g)};
    }
    if (g == NULL)
        f->phase = v->windowed ? FINISH_EXPIRE : FINISH_END;
    if (n == 0)
        return ERR_OK;
    struct view_rows out;
    TRY(view_run_rows(v, sp, picks, n, f->now_us, a, NULL, &out));
    uint32_t *all = arena_alloc(a, (n + 1) * sizeof(*all));
    int64_t *weights = arena_alloc(f->work->arena, (n + 1) * sizeof(*weights));
    if (all == NULL || weights == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < out.out.batch->n_rows; i++) {
        all[i] = i;
        weights[i] = weight_of(out.out.batch, i);
    }
    return feed(f, out.out.batch, all, weights, out.out.batch->n_rows, true);
}

static enum err step_expire(struct view_finish *f, uint32_t *rows)
{
    uint32_t left = EXPIRE_GROUPS_MAX - f->n_expired, max = left < *rows ? left : *rows;
    uint32_t n = view_windows_expire(f->view, f->part, max);
    f->n_expired += n;
    *rows -= n;
    if (n < max || n == left)
        f->phase = FINISH_END;
    return ERR_OK;
}

void view_tell_size(struct engine *e, struct view_run *v, struct state_partition *sp)
{
    int64_t groups = (int64_t)group_table_count(sp->groups),
            bytes = (int64_t)view_partition_bytes(sp);
    atomic_fetch_add_explicit(&v->stats->groups, groups - sp->groups_told, memory_order_relaxed);
    atomic_fetch_add_explicit(&v->stats->state_bytes, bytes - sp->bytes_told, memory_order_relaxed);
    stat_set(&engine_part_stats(e, v->rel->topic->number, sp->number)->window_end_us,
             sp->n_windows == 0 ? INT64_MAX : sp->windows[0].end);
    sp->groups_told = groups;
    sp->bytes_told = bytes;
}

/* What a publication's connector took in the epoch, as a row of the publication. */
static enum err write_receipt(struct view_finish *f)
{
    struct state_partition *sp = f->part;
    struct receipt taken = sp->taken;
    sp->taken = (struct receipt){0};
    if (f->silent || taken.rows == 0)
        return ERR_OK;
    char json[96];
    int n = snprintf(json, sizeof(json), "{\"epoch\":%llu,\"rows\":%llu,\"bytes\":%llu}",
                     (unsigned long long)f->work->epoch, (unsigned long long)taken.rows,
                     (unsigned long long)taken.bytes);
    sp->out.epoch = f->work->epoch;
    records_add(&sp->out, (struct str){0}, (struct str){json, (size_t)n}, f->now_us / 1000, NULL,
                0);
    return ERR_OK;
}

enum err view_finish_step(struct view_finish *f, bool *more)
{
    static enum err (*const steps[])(struct view_finish * f, uint32_t * rows) = {
        [FINISH_CHANGES] = step_changes,
        [FINISH_CLOSE] = step_close,
        [FINISH_SORT] = step_sort,
        [FINISH_WRITE] = step_write,
        [FINISH_BIRTH] = step_birth,
        [FINISH_EXPIRE] = step_expire,
    };
    *more = false;
    if (f->view->aggregate == NULL)
        return f->view->connector != NULL ? write_receipt(f) : ERR_OK;
    f->part->out.epoch = f->work->epoch;
    uint32_t rows = BATCH_ROWS_MAX;
    while (f->phase != FINISH_END && rows > 0)
        TRY(steps[f->phase](f, &rows));
    shard_worked(f->work->shard, BATCH_ROWS_MAX - rows);
    *more = f->phase != FINISH_END;
    if (!*more)
        view_tell_size(f->work->shard->engine, f->view, f->part);
    return !*more && f->view->connector != NULL ? write_receipt(f) : ERR_OK;
}
