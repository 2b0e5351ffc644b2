/* The running pipeline and the topics as JSON, for the dashboard. Read from statistics; asks no
 * other shard. */
#include "engine/engine_int.h"
#include "engine/view_figures.h"
#include "wire/json.h"

static void put_name(struct buf *out, const char *member, struct str text)
{
    buf_printf(out, "\"%s\": ", member);
    json_write_string(out, text);
}

static void put_time(struct buf *out, const char *member, int64_t us)
{
    buf_printf(out, "\"%s\": ", member);
    struct value v = {.type = TYPE_TIMESTAMPTZ, .as.i8 = us};
    if (us == INT64_MIN)
        buf_put_str(out, STR("null"));
    else
        value_print_json(&v, out);
}

static void put_id(struct buf *out, const char *member, const char *prefix, struct str name,
                   int step)
{
    struct buf id;
    buf_init(&id, 2 * NAME_BYTES_MAX);
    buf_printf(&id, step < 0 ? "%s:%.*s" : "%s:%.*s/%d", prefix, STR_ARG(name), step);
    put_name(out, member, buf_str(&id));
    buf_deinit(&id);
}

static void put_source(struct engine *e, const struct relation *rel, struct buf *out)
{
    const struct relation_stats *st = engine_relation_stats(e, rel->number);
    const struct topic_stats *t = engine_topic_stats(e, rel->topic->number);
    uint64_t records = 0, bytes = 0;
    int64_t lag = 0;
    for (uint32_t p = 0; p < rel->topic->n_partitions; p++) {
        const struct part_stats *ps = topic_part(t, p);
        int64_t position = stat_get(&ps->position);
        records += stat_getu(&ps->appended_records);
        bytes += stat_getu(&ps->bytes);
        if (position >= 0)
            lag += stat_get(&ps->durable) - position;
    }
    buf_put_str(out, STR("{"));
    put_id(out, "id", "table", rel->name, -1);
    buf_put_str(out, STR(", \"kind\": \"source\", "));
    put_name(out, "label", rel->name);
    bool raw = rel->kind == REL_RAW_TOPIC;
    buf_printf(
        out,
        ", \"rows\": %llu, \"appended\": %llu, \"bytes\": %llu, \"partitions\": %u, \"lag\": "
        "%lld, \"dead_letters\": %llu, ",
        (unsigned long long)(raw ? records : stat_getu(&st->rows_in)), (unsigned long long)records,
        (unsigned long long)bytes, rel->topic->n_partitions, (long long)lag,
        (unsigned long long)stat_getu(&st->dead_letters));
    put_time(out, "watermark", stat_get(&st->watermark_us));
    buf_put_str(out, STR(", "));
    struct buf detail;
    buf_init(&detail, 1024);
    buf_printf(&detail, "topic %.*s", STR_ARG(rel->topic->name));
    put_name(out, "detail", buf_str(&detail));
    buf_deinit(&detail);
    buf_put_u8(out, '}');
}

static const char *step_kind(enum plan_kind k)
{
    switch (k) {
    case PLAN_WINDOW:
        return "window";
    case PLAN_EXPAND:
        return "expand";
    case PLAN_FILTER:
        return "filter";
    case PLAN_PROJECT:
        return "project";
    case PLAN_AGGREGATE:
        return "aggregate";
    case PLAN_SCAN:
    case PLAN_VALUES:
    case PLAN_SORT:
    case PLAN_LIMIT:
        break;
    case PLAN_JOIN:
        return "join";
    case PLAN_UNION_ALL:
    case PLAN_SETOP:
        return "set operation";
    case PLAN_OVER:
        return "over";
    case PLAN_TOP:
        return "top";
    case PLAN_APPLY:
        break;
    }
    return "step";
}

static void put_step_text(const struct plan_node *n, struct buf *out)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    plan_print_node(n, &text);
    put_name(out, "label",
             text.failed || text.len == 0 ? str_of(step_kind(n->kind)) : buf_str(&text));
    buf_deinit(&text);
}

/* Steps are numbered from the source. What is known of them is what EXPLAIN (analyze) shows. */
static void put_step(struct engine *e, const struct relation *rel, const struct plan_node *n,
                     int step, struct buf *out)
{
    const struct relation_stats *st = engine_relation_stats(e, rel->number);
    struct node_figures f;
    view_node_figures(e, rel, n, &f);
    buf_put_str(out, STR("{"));
    put_id(out, "id", "view", rel->name, step);
    buf_printf(out, ", \"kind\": \"%s\", ", step_kind(n->kind));
    put_step_text(n, out);
    buf_printf(out, ", \"rows\": %llu, ", (unsigned long long)(f.out ? f.rows_out : f.rows_in));
    if (f.in)
        buf_printf(out, "\"rows_in\": %llu, ", (unsigned long long)f.rows_in);
    if (f.busy)
        buf_printf(out, "\"busy\": %.3f, ", f.busy_share);
    if (f.state)
        buf_printf(out, "\"state_rows\": %lld, \"state_bytes\": %lld, ", (long long)f.state_rows,
                   (long long)f.state_bytes);
    put_time(out, "watermark", stat_get(&st->watermark_us));
    buf_put_u8(out, '}');
}

static void put_view(struct engine *e, const struct relation *rel, struct buf *out)
{
    static const char *const statuses[] = {
        [VIEW_BACKFILLING] = "backfilling", [VIEW_LIVE] = "live", [VIEW_FAILED] = "failed"};
    struct relation_stats *st = engine_relation_stats(e, rel->number);
    buf_put_str(out, STR("{"));
    put_id(out, "id", "view", rel->name, -1);
    buf_put_str(out, STR(", \"kind\": \"view\", "));
    put_name(out, "label", rel->name);
    buf_printf(out,
               ", \"rows\": %llu, \"rows_in\": %llu, \"groups\": %lld, \"state_bytes\": %lld, "
               "\"late_rows\": %llu, \"dead_letters\": %llu, "
               "\"status\": \"%s\", ",
               (unsigned long long)stat_getu(&st->rows_out),
               (unsigned long long)stat_getu(&st->rows_in), (long long)stat_get(&st->groups),
               (long long)stat_get(&st->state_bytes), (unsigned long long)stat_getu(&st->late_rows),
               (unsigned long long)stat_getu(&st->dead_letters),
               statuses[atomic_load(&st->status)]);
    if (atomic_load(&st->has_error)) {
        put_name(out, "error", str_of(st->error));
        buf_put_str(out, STR(", "));
    }
    put_time(out, "watermark", stat_get(&st->watermark_us));
    buf_put_u8(out, '}');
}

enum { STEPS_SHOWN_MAX = 64 };

/* A view's plan as steps, inputs before those who read them, scans and constants left out. */
struct steps {
    int n;
    const struct plan_node *nodes[STEPS_SHOWN_MAX];
};

static int step_find(const struct steps *s, const struct plan_node *n)
{
    for (int i = 0; i < s->n; i++)
        if (s->nodes[i] == n)
            return i;
    return -1;
}

static bool step_missing(const struct steps *s, const struct plan_node *n)
{
    return n != NULL && n->input != NULL && step_find(s, n) < 0;
}

/* Of a plan with more steps than are shown, those next to the tables. */
static void view_steps(const struct relation *rel, struct steps *out)
{
    enum { DEPTH_MAX = 512 };
    const struct plan_node *stack[DEPTH_MAX] = {rel->view->plan->root};
    int depth = step_missing(out, stack[0]) ? 1 : 0;
    while (depth > 0 && out->n < STEPS_SHOWN_MAX) {
        const struct plan_node *n = stack[depth - 1];
        const struct plan_node *next = step_missing(out, n->input)   ? n->input
                                       : step_missing(out, n->right) ? n->right
                                                                     : NULL;
        if (next != NULL && depth == DEPTH_MAX)
            return;
        if (next != NULL)
            stack[depth++] = next;
        else if (step_find(out, stack[--depth]) < 0)
            out->nodes[out->n++] = n;
    }
}

static bool is_source(const struct catalog *c, const struct relation *rel)
{
    if (rel->kind == REL_TABLE)
        return rel->topic->kind == TOPIC_USER;
    for (uint32_t i = 0; i < c->n_relations; i++)
        if (c->relations[i]->kind == REL_VIEW &&
            view_source(c->relations[i]->view, rel->number) != UINT32_MAX)
            return rel->kind == REL_RAW_TOPIC;
    return false;
}

static void put_nodes(struct shard *s, struct buf *out)
{
    const char *comma = "";
    for (uint32_t i = 0; i < s->catalog->n_relations; i++) {
        const struct relation *rel = s->catalog->relations[i];
        if (is_source(s->catalog, rel)) {
            buf_printf(out, "%s", comma);
            put_source(s->engine, rel, out);
            comma = ",\n ";
        }
        if (rel->kind != REL_VIEW)
            continue;
        struct steps steps = {.n = 0};
        view_steps(rel, &steps);
        for (int k = 0; k < steps.n; k++) {
            buf_printf(out, "%s", comma);
            put_step(s->engine, rel, steps.nodes[k], k, out);
            comma = ",\n ";
        }
        buf_printf(out, "%s", comma);
        put_view(s->engine, rel, out);
        comma = ",\n ";
    }
}

/* The edge from a node of a view's plan to one of its steps (-1: the view); nothing for constants
 * and for what is not shown. */
static void put_edge(const struct relation *rel, const struct steps *steps,
                     const struct plan_node *from, int to, const char **comma, struct buf *out)
{
    int step = from == NULL ? -1 : step_find(steps, from);
    if (from == NULL || (step < 0 && from->kind != PLAN_SCAN))
        return;
    buf_printf(out, "%s{", *comma);
    if (step >= 0)
        put_id(out, "from", "view", rel->name, step);
    else
        put_id(out, "from", from->relation->kind == REL_VIEW ? "view" : "table",
               from->relation->name, -1);
    buf_put_str(out, STR(", "));
    put_id(out, "to", "view", rel->name, to);
    buf_put_u8(out, '}');
    *comma = ", ";
}

static void put_edges(struct shard *s, struct buf *out)
{
    const char *comma = "";
    for (uint32_t i = 0; i < s->catalog->n_relations; i++) {
        const struct relation *rel = s->catalog->relations[i];
        if (rel->kind != REL_VIEW)
            continue;
        struct steps steps = {.n = 0};
        view_steps(rel, &steps);
        for (int k = 0; k < steps.n; k++) {
            put_edge(rel, &steps, steps.nodes[k]->input, k, &comma, out);
            put_edge(rel, &steps, steps.nodes[k]->right, k, &comma, out);
        }
        put_edge(rel, &steps, rel->view->plan->root, -1, &comma, out);
    }
}

void shard_describe_pipeline(struct shard *s, struct buf *out)
{
    buf_printf(out, "{\"epoch\": %llu, ", (unsigned long long)atomic_load(&s->engine->epoch));
    put_time(out, "time", s->wall_us);
    buf_printf(out, ", \"uptime_s\": %.3f, \"ready\": %s,\n\"listeners\": {",
               (double)(s->mono_ns - s->engine->started_ns) / 1e9,
               engine_ready(s->engine) ? "true" : "false");
    for (uint32_t i = 0; i < s->engine->n_listeners; i++) {
        const struct listener *l = &s->engine->listeners[i];
        buf_put_str(out, i == 0 ? STR("") : STR(", "));
        put_name(out, l->protocol, str_of(l->address));
    }
    buf_put_str(out, STR("},\n\"nodes\": ["));
    put_nodes(s, out);
    buf_put_str(out, STR("],\n\"edges\": ["));
    put_edges(s, out);
    buf_put_str(out, STR("]}\n"));
}

static const char *topic_kind(const struct catalog *c, const struct topic *t)
{
    static const char *const names[] = {[TOPIC_USER] = "raw",
                                        [TOPIC_CHANGELOG] = "view",
                                        [TOPIC_LATE] = "late",
                                        [TOPIC_DEAD_LETTERS] = "internal",
                                        [TOPIC_INTERNAL] = "internal"};
    for (uint32_t i = 0; i < c->n_relations; i++)
        if (t->kind == TOPIC_USER && c->relations[i]->topic == t &&
            c->relations[i]->kind == REL_TABLE)
            return "table";
    return names[t->kind];
}

void shard_describe_topics(struct shard *s, struct buf *out)
{
    buf_put_str(out, STR("{\"topics\": ["));
    for (uint32_t i = 0; i < s->catalog->n_topics; i++) {
        const struct topic *t = s->catalog->topics[i];
        const struct topic_stats *st = engine_topic_stats(s->engine, t->number);
        buf_put_str(out, i == 0 ? STR("{") : STR(",\n {"));
        put_name(out, "name", t->name);
        buf_printf(out, ", \"kind\": \"%s\", \"partitions\": [", topic_kind(s->catalog, t));
        for (uint32_t p = 0; p < t->n_partitions; p++) {
            const struct part_stats *ps = topic_part(st, p);
            buf_printf(out,
                       "%s{\"partition\": %u, \"start_offset\": %lld, \"high_watermark\": %lld, "
                       "\"end_offset\": %lld, \"bytes\": %llu, ",
                       p == 0 ? "" : ", ", p, (long long)stat_get(&ps->start),
                       (long long)stat_get(&ps->high_watermark), (long long)stat_get(&ps->end),
                       (unsigned long long)stat_getu(&ps->bytes));
            put_time(out, "watermark", stat_get(&ps->watermark_us));
            buf_printf(out, ", \"idle\": %s}",
                       atomic_load_explicit(&ps->idle, memory_order_relaxed) ? "true" : "false");
        }
        buf_put_str(out, STR("]}"));
    }
    buf_put_str(out, STR("]}\n"));
}
