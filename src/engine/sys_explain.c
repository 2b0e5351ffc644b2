/* sys.explain, which EXPLAIN (analyze) reads: the plan of each view with what its operators have
 * done, what they keep, and what its watermark waits for. Read from statistics alone. */
#include "base/check.h"
#include "base/mem.h"
#include "engine/query_int.h"
#include "engine/view_figures.h"
#include "plan/explain.h"

#include <stdio.h>

enum { EXPLAIN_BYTES_MAX = 4 << 20, EXPLAIN_LINES_MAX = 1 << 20, REASON_BYTES_MAX = 2048 };

/* ---- watermarks ---- */

/* A table's partitions as its watermark sees them. */
struct input_watermarks {
    uint32_t n_idle, n, holder; /* the partition with the least, of those that count */
    int64_t least, greatest;    /* INT64_MIN: no event yet */
    int64_t unread;             /* records of the holder */
};

static struct input_watermarks look_at(struct engine *e, const struct relation *rel)
{
    const struct topic_stats *t = engine_topic_stats(e, rel->topic->number);
    struct input_watermarks w = {.n = rel->topic->n_partitions, .greatest = INT64_MIN};
    bool found = false;
    for (uint32_t p = 0; p < w.n; p++) {
        const struct part_stats *ps = topic_part(t, p);
        int64_t us = stat_get(&ps->watermark_us), position = stat_get(&ps->position);
        w.greatest = us > w.greatest ? us : w.greatest;
        if (atomic_load_explicit(&ps->idle, memory_order_relaxed)) {
            w.n_idle++;
            continue;
        }
        if (found && us >= w.least)
            continue;
        found = true;
        w.holder = p;
        w.least = us;
        w.unread = position < 0 ? 0 : stat_get(&ps->durable) - position;
    }
    w.least = found ? w.least : w.greatest;
    return w;
}

static void print_time(int64_t us, struct buf *out)
{
    struct value v = {.type = TYPE_TIMESTAMPTZ, .as.i8 = us};
    if (us == INT64_MIN)
        buf_printf(out, "none");
    else
        value_print(&v, out);
}

/* Which partition holds the table's watermark back, and why. */
static void print_holder(const struct relation *rel, const struct input_watermarks *w,
                         struct buf *out)
{
    if (w->n_idle == w->n) {
        buf_printf(out, "nothing: all partitions are idle, the greatest watermark counts");
        return;
    }
    buf_printf(out, "partition %u: ", w->holder);
    if (w->least == INT64_MIN)
        buf_printf(out, "no event yet");
    else if (w->greatest > w->least)
        buf_printf(out, "%lld ms behind the furthest partition",
                   (long long)((w->greatest - w->least) / 1000));
    else
        buf_printf(out, "its greatest event time less lateness (%lld ms)",
                   (long long)(rel->lateness_us / 1000));
    if (w->unread > 0)
        buf_printf(out, ", %lld records not read yet", (long long)w->unread);
    if (rel->idle_timeout_us == 0)
        buf_printf(out, "; idle_timeout is 0: it counts also when no events come");
    else if (w->n > 1 || w->least == INT64_MIN)
        buf_printf(out, "; without events it stops counting after idle_timeout (%lld ms)",
                   (long long)(rel->idle_timeout_us / 1000));
}

static void put_watermark(struct engine *e, const struct relation *rel, struct explain_writer *w)
{
    struct input_watermarks in = look_at(e, rel);
    struct buf text;
    buf_init(&text, REASON_BYTES_MAX);
    print_time(stat_get(&engine_relation_stats(e, rel->number)->watermark_us), &text);
    explain_text(w, "Watermark", buf_str(&text));
    buf_clear(&text);
    print_holder(rel, &in, &text);
    explain_text(w, "Held Back By", buf_str(&text));
    explain_number(w, "Partitions", in.n, "");
    explain_number(w, "Idle Partitions", in.n_idle, "");
    buf_deinit(&text);
}

static void put_input(struct engine *e, const struct relation *rel, struct explain_writer *w)
{
    int64_t lag = 0;
    if (rel->topic == NULL || rel->kind == REL_VIEW)
        return;
    const struct topic_stats *t = engine_topic_stats(e, rel->topic->number);
    for (uint32_t p = 0; p < rel->topic->n_partitions; p++) {
        int64_t position = stat_get(&topic_part(t, p)->position);
        lag += position < 0 ? 0 : stat_get(&topic_part(t, p)->durable) - position;
    }
    explain_number(w, "Records Not Read", lag, "");
    if (rel->event_time >= 0)
        put_watermark(e, rel, w);
}

/* ---- why there is no output ---- */

/* The source with the least watermark of those that count; NULL: none has an event time. */
static const struct relation *slowest_source(struct engine *e, const struct view *v,
                                             struct input_watermarks *out)
{
    const struct relation *found = NULL;
    for (uint32_t i = 0; i < v->n_sources; i++) {
        const struct relation *rel = v->sources[i];
        if (rel->kind == REL_VIEW || rel->event_time < 0)
            continue;
        struct input_watermarks w = look_at(e, rel);
        bool idle = w.n_idle == w.n, found_idle = out->n_idle == out->n;
        if (found != NULL && (idle == found_idle ? w.least >= out->least : idle))
            continue;
        found = rel;
        *out = w;
    }
    return found;
}

static int64_t first_window_end(struct engine *e, const struct relation *view)
{
    const struct topic_stats *t = engine_topic_stats(e, view->topic->number);
    int64_t end = INT64_MAX;
    for (uint32_t p = 0; p < view->topic->n_partitions; p++) {
        int64_t us = stat_get(&topic_part(t, p)->window_end_us);
        end = us < end ? us : end;
    }
    return end;
}

/* What the first open window of a view waits for. */
static void put_windows(struct engine *e, const struct relation *view, struct explain_writer *w)
{
    int64_t end = first_window_end(e, view);
    struct input_watermarks in = {0};
    const struct relation *rel = slowest_source(e, view->view, &in);
    struct buf text;
    if (rel == NULL)
        return;
    buf_init(&text, REASON_BYTES_MAX);
    buf_printf(&text, "%.*s, ", STR_ARG(rel->name));
    print_holder(rel, &in, &text);
    explain_text(w, "Held Back By", buf_str(&text));
    if (end != INT64_MAX) {
        buf_clear(&text);
        print_time(end, &text);
        explain_text(w, "First Open Window Ends", buf_str(&text));
        buf_clear(&text);
        buf_printf(&text, "an event of %.*s at ", STR_ARG(rel->name));
        print_time(end + rel->lateness_us, &text);
        buf_printf(&text, " or later in each partition that is not idle");
        explain_text(w, "It Waits For", buf_str(&text));
    }
    buf_deinit(&text);
}

static void put_view(struct engine *e, const struct relation *view, struct explain_writer *w)
{
    struct relation_stats *st = engine_relation_stats(e, view->number);
    int status = atomic_load(&st->status);
    struct buf text;
    buf_init(&text, REASON_BYTES_MAX);
    explain_text(w, "Status", status == VIEW_FAILED ? STR("failed")
                              : status == VIEW_LIVE ? STR("live")
                                                    : STR("backfilling: it reads what was there "
                                                          "before it"));
    if (atomic_load(&st->has_error))
        explain_text(w, "Error", str_of(st->error));
    explain_text(w, "Emits", view->view->emit_final ? STR("final results, when their window ends")
                                                    : STR("changes"));
    explain_number(w, "Late Rows", (int64_t)stat_getu(&st->late_rows), "");
    explain_number(w, "Dead Letters", (int64_t)stat_getu(&st->dead_letters), "");
    print_time(stat_get(&st->watermark_us), &text);
    explain_text(w, "Watermark", buf_str(&text));
    buf_deinit(&text);
    put_windows(e, view, w);
}

/* ---- operators ---- */

struct explaining {
    struct engine *engine;
    const struct relation *view;
};

static void put_figures(const struct node_figures *f, struct explain_writer *w)
{
    if (f->in)
        explain_rate(w, "Rows In", f->rows_in, f->rows_in_s);
    if (f->out)
        explain_rate(w, "Rows Out", f->rows_out, f->rows_out_s);
    if (f->busy)
        explain_share(w, "Busy", f->busy_share, "a core");
    if (f->state) {
        explain_number(w, "State Rows", f->state_rows, "");
        explain_number(w, "State Bytes", f->state_bytes, "");
    }
}

static void put_more(void *arg, const struct plan_node *n, struct explain_writer *w)
{
    const struct explaining *x = arg;
    struct node_figures f;
    view_node_figures(x->engine, x->view, n, &f);
    put_figures(&f, w);
    if (n == NULL)
        put_view(x->engine, x->view, w);
    else if (n->kind == PLAN_SCAN)
        put_input(x->engine, n->relation, w);
}

static enum err explain_view(struct engine *e, const struct relation *view, bool json,
                             struct buf *out)
{
    struct explaining arg = {e, view};
    struct explain x = {.root = view->view->plan->root,
                        .continuous = true,
                        .state = true,
                        .json = json,
                        .view = view->name,
                        .retention_us = view->view->retention_us,
                        .more = put_more,
                        .arg = &arg};
    return explain_print(&x, out);
}

/* ---- rows ---- */

struct lines {
    struct arena *arena;
    uint32_t n;
    struct batch *batch; /* NULL: they are counted */
};

static enum err add_line(struct lines *l, struct str view, struct str format, uint32_t line,
                         struct str text)
{
    const struct value values[] = {
        {.type = TYPE_TEXT, .as.s = view},
        {.type = TYPE_TEXT, .as.s = format},
        {.type = TYPE_INT4, .as.i4 = (int32_t)line},
        {.type = TYPE_TEXT, .as.s = arena_str(l->arena, text)},
    };
    if (values[3].as.s.ptr == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < ARRAY_LEN(values); i++)
        column_set(&l->batch->columns[i], l->batch->n_rows, &values[i]);
    l->batch->n_rows++;
    return ERR_OK;
}

/* A row a line; JSON is one row. */
static enum err add_text(struct lines *l, struct str view, bool json, struct str text)
{
    uint32_t line = 1;
    for (size_t at = 0; at < text.len; line++) {
        const char *end = json ? NULL : memchr(text.ptr + at, '\n', text.len - at);
        size_t len = (end != NULL ? (size_t)(end - text.ptr) : text.len - (json ? 1 : 0)) - at;
        l->n++;
        if (l->batch != NULL && l->n <= EXPLAIN_LINES_MAX)
            TRY(add_line(l, view, json ? STR("json") : STR("text"), line,
                         (struct str){text.ptr + at, len}));
        at = end != NULL ? at + len + 1 : text.len;
    }
    return ERR_OK;
}

enum err sys_explain_rows(struct shard *s, struct arena *a, struct batch **out)
{
    static const enum type types[] = {TYPE_TEXT, TYPE_TEXT, TYPE_INT4, TYPE_TEXT};
    enum err e = ERR_OK;
    struct lines l = {.arena = a};
    struct buf text;
    uint32_t n = s->catalog->n_relations, room = 0;
    struct str *texts = arena_zalloc(a, (size_t)2 * n + 1, sizeof(*texts));
    if (texts == NULL)
        return ERR_NO_MEMORY;
    buf_init(&text, EXPLAIN_BYTES_MAX);
    for (uint32_t i = 0; i < 2 * n && e == ERR_OK; i++) {
        const struct relation *rel = s->catalog->relations[i / 2];
        if (rel->kind != REL_VIEW)
            continue;
        buf_clear(&text);
        e = explain_view(s->engine, rel, i % 2 == 1, &text);
        texts[i] = e == ERR_OK ? arena_str(a, buf_str(&text)) : (struct str){0};
        e = e == ERR_OK && texts[i].ptr == NULL ? ERR_NO_MEMORY : e;
        if (e == ERR_OK)
            e = add_text(&l, rel->name, i % 2 == 1, texts[i]);
    }
    buf_deinit(&text);
    room = l.n < EXPLAIN_LINES_MAX ? l.n : EXPLAIN_LINES_MAX;
    l.n = 0;
    l.batch = batch_new(types, ARRAY_LEN(types), room + 1, a);
    e = e == ERR_OK && l.batch == NULL ? ERR_NO_MEMORY : e;
    for (uint32_t i = 0; i < 2 * n && e == ERR_OK; i++)
        e = add_text(&l, s->catalog->relations[i / 2]->name, i % 2 == 1, texts[i]);
    *out = l.batch;
    return e;
}
