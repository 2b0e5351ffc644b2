/* EXPLAIN as a statement: rows of text, or for a view at work a query of sys.explain. */
#include "plan/explain.h"
#include "plan/plan_int.h"

struct explain_request {
    bool state, json, analyze;
    int32_t analyze_at;
};

/* Text as rows of a line each. */
static bool explain_lines(struct binder *b, struct str text, bool json)
{
    static const char *const column[] = {"QUERY PLAN"};
    enum { LINES_MAX = 10000 };
    struct str *lines = bind_alloc(b, LINES_MAX, sizeof *lines);
    uint32_t n = 0;
    for (size_t at = 0; lines != NULL && at < text.len && n < LINES_MAX; n++) {
        const char *end = json ? NULL : memchr(text.ptr + at, '\n', text.len - at);
        size_t len = end != NULL ? (size_t)(end - text.ptr) - at : text.len - at;
        lines[n] = (struct str){text.ptr + at, len};
        at += len + 1;
    }
    if (lines == NULL)
        return false;
    if (json && n == 1 && lines[0].ptr[lines[0].len - 1] == '\n')
        lines[0].len--;
    b->plan->root = plan_text_table(b, column, 1, lines, n);
    b->plan->text = bind_str(b, text);
    return b->err == ERR_OK;
}

/* Of a query that is one view's rows, what is explained is the view. */
static void explain_subject(const struct plan *p, bool create, struct explain *x)
{
    const struct plan_node *n = p->root;
    x->root = p->root;
    if (create) {
        x->continuous = true;
        x->view = p->name;
        x->retention_us = p->view.retention_us;
        return;
    }
    while (n->kind == PLAN_PROJECT)
        n = n->input;
    if (n->kind != PLAN_SCAN || n->relation->kind != REL_VIEW) {
        x->continuous = x->state;
        x->view = STR("of this query");
        x->retention_us = INT64_MAX;
        return;
    }
    x->continuous = true;
    x->view = n->relation->name;
    x->root = n->relation->view->plan->root;
    x->retention_us = n->relation->view->retention_us;
}

static bool explain_rows(struct binder *b, bool create, const struct explain_request *request)
{
    struct explain x = {.state = request->state, .json = request->json};
    struct buf text;
    explain_subject(b->plan, create, &x);
    buf_init(&text, EXPLAIN_BYTES_MAX);
    if (explain_print(&x, &text) != ERR_OK) {
        /* The buffer does not say which of the two it was. */
        bool full = text.len > EXPLAIN_BYTES_MAX / 4;
        bind_fail(b, -1, full ? ERR_LIMIT : ERR_NO_MEMORY,
                  full ? "the plan's text is too long" : "out of memory while printing the plan");
    } else {
        explain_lines(b, buf_str(&text), x.json);
    }
    buf_deinit(&text);
    return b->err == ERR_OK;
}

/* ---- a view at work ---- */

static void put_literal(struct buf *out, struct str s)
{
    buf_put_u8(out, '\'');
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\'')
            buf_put_u8(out, '\'');
        buf_put_u8(out, (uint8_t)s.ptr[i]);
    }
    buf_put_u8(out, '\'');
}

/* The query of sys.explain that gives what is known of the views that the plan reads. */
static uint32_t analyze_query(struct binder *b, bool json, struct buf *sql)
{
    struct plan_order o;
    uint32_t n = 0;
    if (!plan_order(b, b->plan->root, &o))
        return 0;
    buf_printf(sql,
               "SELECT plan AS \"QUERY PLAN\" FROM sys.explain WHERE format = '%s' AND view IN (",
               json ? "json" : "text");
    for (uint32_t i = 0; i < o.n; i++) {
        if (o.nodes[i]->kind != PLAN_SCAN || o.nodes[i]->relation->kind != REL_VIEW)
            continue;
        buf_put_str(sql, n++ == 0 ? STR("") : STR(", "));
        put_literal(sql, o.nodes[i]->relation->name);
    }
    buf_printf(sql, ") ORDER BY view, line");
    return n;
}

static bool plan_own_query(struct binder *b, const struct buf *sql)
{
    const PgQuery__ParseResult *tree = NULL;
    struct arena trees;
    arena_init(&trees, PLAN_BYTES_MAX);
    enum err e = sql->failed ? ERR_NO_MEMORY
                             : sql_parse(buf_str(sql), &trees, &tree, b->why);
    if (e == ERR_OK)
        plan_query(b, tree->stmts[0]->stmt->select_stmt);
    else
        bind_fail(b, -1, e, "out of memory while planning the statement");
    arena_deinit(&trees);
    return b->err == ERR_OK;
}

static bool explain_analyze(struct binder *b, bool create, const struct explain_request *request)
{
    struct buf sql;
    buf_init(&sql, EXPLAIN_BYTES_MAX);
    if ((create || analyze_query(b, request->json, &sql) == 0) && b->err == ERR_OK) {
        bind_fail(b, request->analyze_at, ERR_UNSUPPORTED,
                  "EXPLAIN (analyze) tells of materialized views at work, and this %s none",
                  create ? "makes" : "reads");
        bind_hint(b, "Create the view, then: EXPLAIN (analyze) TABLE name.");
    }
    bool ok = b->err == ERR_OK && plan_own_query(b, &sql);
    buf_deinit(&sql);
    return ok;
}

/* ---- the statement ---- */

static bool explain_format(struct binder *b, const PgQuery__DefElem *d,
                           struct explain_request *out)
{
    struct str text;
    if (!option_text(b, d, &text))
        return false;
    out->json = str_ieq(text, STR("json"));
    if (out->json || str_ieq(text, STR("text")))
        return true;
    bind_fail(b, d->location, ERR_UNSUPPORTED, "EXPLAIN's format is text or json");
    return false;
}

/* PostgreSQL's options that say nothing here are accepted: clients set them. */
static bool explain_options(struct binder *b, const PgQuery__ExplainStmt *s,
                            struct explain_request *out)
{
    static const char *const ignored[] = {"verbose", "costs", "buffers", "timing", "summary",
                                          "settings", "wal"};
    *out = (struct explain_request){0};
    for (size_t i = 0; i < s->n_options; i++) {
        const PgQuery__DefElem *d = s->options[i]->def_elem;
        bool on = false, known = false;
        if (strcmp(d->defname, "format") == 0) {
            if (!explain_format(b, d, out))
                return false;
            continue;
        }
        if (!option_bool(b, d, &on))
            return false;
        if (strcmp(d->defname, "analyze") == 0) {
            out->analyze = on;
            out->analyze_at = d->location;
            continue;
        }
        if (strcmp(d->defname, "state") == 0) {
            out->state = on;
            continue;
        }
        for (size_t k = 0; k < ARRAY_LEN(ignored); k++)
            known |= strcmp(d->defname, ignored[k]) == 0;
        if (!known) {
            bind_fail(b, d->location, ERR_SYNTAX, "unrecognized EXPLAIN option \"%s\"", d->defname);
            bind_hint(b, "Options are state, analyze and format (text, json).");
            return false;
        }
    }
    return true;
}

bool plan_explain(struct binder *b, const PgQuery__ExplainStmt *s)
{
    struct plan *p = b->plan;
    int kind = s->query != NULL ? (int)s->query->node_case : 0;
    struct explain_request request;
    bool ok = false, create = kind == PG_QUERY__NODE__NODE_CREATE_TABLE_AS_STMT;
    if (!explain_options(b, s, &request))
        return false;
    if (kind == PG_QUERY__NODE__NODE_SELECT_STMT)
        ok = plan_query(b, s->query->select_stmt);
    else if (create)
        ok = plan_create_view(b, s->query->create_table_as_stmt);
    else
        bind_fail(b, -1, ERR_UNSUPPORTED,
                  "EXPLAIN is supported for SELECT and CREATE MATERIALIZED VIEW");
    if (ok && request.analyze)
        return explain_analyze(b, create, &request);
    p->kind = STMT_EXPLAIN;
    p->tag = "EXPLAIN";
    p->relation = NULL;
    p->notice = (struct str){0};
    p->change = (struct catalog_change){0};
    return ok && explain_rows(b, create, &request);
}
