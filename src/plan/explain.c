#include "plan/explain.h"

#include "base/mem.h"
#include "plan/plan_int.h"
#include "wire/json.h"

#include <stdio.h>

enum { LINE_BYTES_MAX = 1 << 20, SEEN_MAX = 2 * PLAN_NODES_MAX };

/* ---- properties ---- */

/* The member's name, behind what is there already. */
static void begin_member(struct explain_writer *w, const char *name)
{
    if (w->json) {
        buf_printf(w->out, "%s", w->first ? "" : ", ");
        json_write_string(w->out, str_of(name));
        buf_printf(w->out, ": ");
    } else {
        buf_printf(w->out, "%*s%s: ", (int)w->depth * 2 + 4, "", name);
    }
    w->first = false;
}

static void end_member(struct explain_writer *w)
{
    if (w->json)
        return;
    buf_printf(w->out, "\n");
    w->line++;
}

void explain_text(struct explain_writer *w, const char *name, struct str text)
{
    begin_member(w, name);
    if (w->json)
        json_write_string(w->out, text);
    else
        buf_put_str(w->out, text);
    end_member(w);
}

void explain_number(struct explain_writer *w, const char *name, int64_t v, const char *unit)
{
    begin_member(w, name);
    buf_printf(w->out, "%lld%s%s", (long long)v, w->json || unit[0] == '\0' ? "" : " ",
               w->json ? "" : unit);
    end_member(w);
}

void explain_share(struct explain_writer *w, const char *name, double share, const char *of)
{
    begin_member(w, name);
    buf_printf(w->out, "%.1f", share * 100);
    if (!w->json)
        buf_printf(w->out, " %% of %s", of);
    end_member(w);
}

void explain_rate(struct explain_writer *w, const char *name, uint64_t v, double per_second)
{
    begin_member(w, name);
    buf_printf(w->out, "%llu", (unsigned long long)v);
    if (w->json)
        buf_printf(w->out, ", \"%s Per Second\": %.1f", name, per_second);
    else
        buf_printf(w->out, " (%.1f/s)", per_second);
    end_member(w);
}

/* ---- what is kept ---- */

/* `what` is printed already. */
static void put_kept(const struct explain *x, struct explain_writer *w, const struct kept *k,
                     struct buf *what)
{
    buf_printf(what, ", ");
    kept_print_until(k, what);
    explain_text(w, "Keeps", buf_str(what));
    w->out->failed |= what->failed;
    if (!x->state)
        return;
    static const char *const growths[] = {
        [GROWTH_NONE] = "none", [GROWTH_KEYS] = "with the number of keys",
        [GROWTH_OPEN] = "with the rows of open windows", [GROWTH_ENDLESS] = "without end"};
    explain_text(w, "State Growth", str_of(growths[k->growth]));
    explain_number(w, "Bytes Per Entry", k->entry_bytes, "B, estimated");
}

static void put_node_state(const struct explain *x, struct explain_writer *w,
                           const struct plan_node *n)
{
    struct kept k = kept_by_node(x->root, x->retention_us, n);
    struct buf what;
    if (k.any) {
        buf_init(&what, LINE_BYTES_MAX);
        kept_print(n, &what);
        put_kept(x, w, &k, &what);
        buf_deinit(&what);
    }
    if (x->state)
        explain_number(w, "Cost Per Row", node_cost_ns(n), "ns, estimated");
}

/* ---- the tree ---- */

static uint32_t seen_before(const struct explain_writer *w, const struct plan_node *n)
{
    for (uint32_t i = 0; i < w->n; i++)
        if (w->seen[i].node == n)
            return w->seen[i].line;
    return 0;
}

static bool remember(struct explain_writer *w, const struct plan_node *n)
{
    if (w->n == w->cap) {
        uint32_t cap = w->cap == 0 ? 64 : 2 * w->cap;
        struct explain_seen *grown =
            cap <= SEEN_MAX ? mem_realloc(w->seen, cap * sizeof *grown) : NULL;
        if (grown == NULL)
            return false;
        w->seen = grown;
        w->cap = cap;
    }
    w->seen[w->n++] = (struct explain_seen){n, w->line};
    return true;
}

static void put_operator(struct explain_writer *w, struct str line)
{
    if (w->json) {
        buf_printf(w->out, "{\"Operator\": ");
        json_write_string(w->out, line);
    } else {
        buf_printf(w->out, "%*s%.*s\n", (int)w->depth * 2, "", STR_ARG(line));
    }
    w->first = false;
}

static void put_node(const struct explain *x, struct explain_writer *w, const struct plan_node *n)
{
    struct buf line;
    buf_init(&line, LINE_BYTES_MAX);
    plan_print_node(n, &line);
    w->out->failed |= line.failed;
    put_operator(w, buf_str(&line));
    buf_deinit(&line);
    if (x->continuous)
        put_node_state(x, w, n);
    if (x->more != NULL)
        x->more(x->arg, n, w);
}

static void put_again(struct explain_writer *w, uint32_t before)
{
    char again[64];
    snprintf(again, sizeof again, "Again: %s %u", w->json ? "operator" : "line", before);
    put_operator(w, str_of(again));
    buf_printf(w->out, w->json ? "}" : "");
}

/* What two nodes read is written once; the second place names its line (JSON: its number). */
static void put_tree(const struct explain *x, struct explain_writer *w, const struct plan_node *n,
                     uint32_t depth)
{
    uint32_t inside = 0, before = 0; /* objects whose "Plans" are being written */
    for (; n != NULL && !w->out->failed; n = n->input, depth++) {
        w->line++;
        w->depth = depth;
        if ((before = seen_before(w, n)) > 0)
            put_again(w, before);
        if (before > 0)
            break;
        w->out->failed |= !remember(w, n);
        put_node(x, w, n);
        if (w->json)
            buf_printf(w->out, n->input == NULL ? "}" : ", \"Plans\": [");
        inside += n->input != NULL;
        if (n->right == NULL)
            continue;
        put_tree(x, w, n->input, depth + 1);
        buf_printf(w->out, w->json ? ", " : "");
        put_tree(x, w, n->right, depth + 1);
        break;
    }
    for (; w->json && inside > 0; inside--)
        buf_printf(w->out, "]}");
}

/* ---- the whole ---- */

static void put_whole(const struct explain *x, struct explain_writer *w)
{
    struct kept rows = kept_of_rows(x->root, x->retention_us);
    struct buf text;
    buf_init(&text, LINE_BYTES_MAX);
    if (rows.any) {
        buf_printf(&text, "its rows");
        put_kept(x, w, &rows, &text);
    }
    if (x->state)
        explain_number(w, "Cost Per Event", (int64_t)plan_cost_ns(x->root),
                       "ns, estimated, if it reaches all operators");
    buf_clear(&text);
    kept_print_endless(x->root, x->retention_us, &text);
    if (text.len > 0)
        explain_text(w, "Warning", buf_str(&text));
    w->out->failed |= text.failed;
    buf_deinit(&text);
}

/* A view is one more operator above its plan's. */
static void put_view(const struct explain *x, struct explain_writer *w)
{
    struct buf line;
    buf_init(&line, LINE_BYTES_MAX);
    buf_printf(&line, "View: %.*s", STR_ARG(x->view));
    w->line++;
    put_operator(w, buf_str(&line));
    buf_deinit(&line);
    put_whole(x, w);
    if (x->more != NULL)
        x->more(x->arg, NULL, w);
    if (w->json)
        buf_printf(w->out, ", \"Plans\": [");
}

enum err explain_print(const struct explain *x, struct buf *out)
{
    struct explain_writer w = {.out = out, .json = x->json};
    if (x->json)
        buf_printf(out, "[{\"Plan\": ");
    if (x->continuous)
        put_view(x, &w);
    put_tree(x, &w, x->root, x->continuous ? 1 : 0);
    if (x->json)
        buf_printf(out, x->continuous ? "]}}]\n" : "}]\n");
    mem_free(w.seen);
    return buf_err(out);
}

enum err plan_print(const struct plan_node *root, struct buf *out)
{
    struct explain x = {.root = root};
    return explain_print(&x, out);
}
