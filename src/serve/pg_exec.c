/* Executing a portal.
 *
 *   rows:      PULL --query_pull--> WAIT --callback--> ROWS --all encoded--> PULL
 *                                     |                  |  output full: wait for drain, stay in
 * ROWS |                  '--row limit--> suspended (PULL or ROWS next time)
 *                                     |--no more rows--> END --CommandComplete-->
 *                                     '--error---------> FAILED --ErrorResponse-->
 *   the rest:  statement_run, answered when it is done; rows of RETURNING go the upper way then */
#include "serve/pg_int.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

/* ---- the end of an activity ---- */

void pg_exec_end(struct pg_session *s)
{
    struct pg_portal *p = s->exec.portal;
    s->exec.activity = PG_ACTIVITY_NONE;
    s->exec.portal = NULL;
    s->exec.source = NULL;
    if (s->simple.active && p != NULL && p->name.len == 0) {
        pg_portal_close(s, p);
    }
    if (!s->driving) {
        pg_continue(s);
    }
}

static void exec_complete(struct pg_session *s, const char *tag)
{
    pg_put_complete(&s->out, tag);
    pg_exec_end(s);
}

static void exec_failed(struct pg_session *s, enum err e)
{
    struct err_detail why = s->exec.why;
    pg_fail(s, e, &why);
    pg_exec_end(s);
}

static void exec_failed_as(struct pg_session *s, const char *sqlstate, const char *text,
                           const char *hint)
{
    pg_fail_as(s, sqlstate, text, hint, NULL);
    pg_exec_end(s);
}

/* ---- rows ---- */

static void rows_complete(struct pg_session *s)
{
    struct pg_exec *x = &s->exec;
    enum pg_verb verb = x->portal->prepared->command.verb;
    const char *plan_tag = x->source->plan->tag != NULL ? x->source->plan->tag : "SELECT";
    char tag[STATEMENT_TAG_MAX];
    const char *word = plan_tag;
    if (x->copy_out) {
        pg_put_empty(&s->out, 'c');
        word = "COPY";
    } else if (verb == PG_VERB_FETCH || verb == PG_VERB_MOVE) {
        word = verb == PG_VERB_FETCH ? "FETCH" : "MOVE";
    } else if (x->source->returned != NULL) {
        exec_complete(s, x->source->tag);
        return;
    } else if (strcmp(plan_tag, "SELECT") != 0) {
        exec_complete(s, plan_tag);
        return;
    }
    snprintf(tag, sizeof tag, "%s %" PRIu64, word, x->sent);
    exec_complete(s, tag);
}

/* The row limit is reached. */
static void rows_suspend(struct pg_session *s)
{
    if (s->exec.source != s->exec.portal) {
        rows_complete(s);
        return;
    }
    pg_put_empty(&s->out, 's');
    pg_exec_end(s);
}

static void rows_failed(struct pg_session *s)
{
    struct pg_portal *p = s->exec.source;
    if (p->query != NULL) {
        query_close(p->query);
        p->query = NULL;
    }
    p->rows = NULL;
    p->ended = true;
    exec_failed(s, s->exec.err);
}

static void rows_take(struct pg_session *s, const struct query_result *r)
{
    struct pg_exec *x = &s->exec;
    x->source->rows = r->err == ERR_OK ? r->rows : NULL;
    x->source->row = 0;
    if (r->err != ERR_OK) {
        x->err = r->err;
        if (r->why != NULL) {
            x->why = *r->why;
        }
        x->step = PG_STEP_FAILED;
    } else if (r->rows != NULL) {
        x->step = PG_STEP_ROWS;
    } else {
        x->step = r->snapshot_end ? PG_STEP_PULL : PG_STEP_END;
    }
}

static void rows_pulled(void *arg, const struct query_result *r)
{
    struct pg_session *s = arg;
    struct conn *c = s->conn;
    if (!s->exec.canceled) {
        rows_take(s, r);
        if (!s->exec.in_pull) {
            pg_rows_go(s);
        }
    }
    conn_release(c);
}

static void rows_pull(struct pg_session *s)
{
    struct pg_exec *x = &s->exec;
    struct pg_portal *p = x->source;
    if (p->returned != NULL) {
        p->rows = ingest_returned(p->returned, p->next_returned++);
        p->row = 0;
        x->step = p->rows != NULL ? PG_STEP_ROWS : PG_STEP_END;
        return;
    }
    conn_hold(s->conn);
    x->step = PG_STEP_WAIT;
    x->in_pull = true;
    query_pull(x->source->query, rows_pulled, s);
    x->in_pull = false;
}

/* Encodes rows until the batch or the limit ends, or the output is full: false then. */
static bool rows_encode(struct pg_session *s)
{
    struct pg_exec *x = &s->exec;
    struct pg_portal *p = x->source;
    uint64_t before = x->sent;
    bool room = true;
    while (room && p->row < p->rows->n_rows && x->sent < x->limit) {
        size_t mark = s->out.len;
        if (x->copy_out) {
            pg_put_copy_row(&s->out, p->rows, p->row, &x->copy, p->plan->follow);
        } else if (!x->discard) {
            pg_put_data_row(&s->out, p->rows, p->row, x->portal->formats);
        }
        if (s->out.failed) {
            s->out.len = mark;
            s->out.failed = false;
            x->err = err_set(&x->why, ERR_TOO_LARGE,
                             "row %" PRIu64 " of the result is too large to send: "
                             "at most %d MB",
                             x->sent + 1, PG_ROW_BYTES_MAX >> 20);
            x->step = PG_STEP_FAILED;
            return true;
        }
        p->row++;
        x->sent++;
        room = s->out.len - s->out_at < PG_CHUNK_BYTES || pg_push(s);
    }
    atomic_fetch_add_explicit(&pg_server_of(s)->rows_out, x->sent - before, memory_order_relaxed);
    if (room && p->row >= p->rows->n_rows) {
        p->rows = NULL;
        x->step = PG_STEP_PULL;
    }
    return room;
}

void pg_rows_go(struct pg_session *s)
{
    struct pg_exec *x = &s->exec;
    for (;;) {
        switch (x->step) {
        case PG_STEP_PULL:
            if (x->sent >= x->limit) {
                rows_suspend(s);
                return;
            }
            /* What is ready goes out before a wait that may be long (follow). */
            if (!pg_push(s)) {
                return;
            }
            rows_pull(s);
            break;
        case PG_STEP_WAIT:
            return;
        case PG_STEP_ROWS:
            if (!rows_encode(s)) {
                return;
            }
            if (x->step == PG_STEP_ROWS) {
                rows_suspend(s);
                return;
            }
            break;
        case PG_STEP_END:
            x->source->ended = true;
            rows_complete(s);
            return;
        case PG_STEP_FAILED:
            rows_failed(s);
            return;
        }
    }
}

void pg_rows_stop(struct pg_session *s)
{
    struct pg_portal *p = s->exec.source;
    if (s->exec.activity != PG_ACTIVITY_ROWS || p == NULL || p->query == NULL) {
        return;
    }
    s->exec.canceled = true;
    query_close(p->query);
    p->query = NULL;
    p->rows = NULL;
    p->ended = true;
}

static enum err portal_open_query(struct pg_session *s, struct pg_portal *p, struct err_detail *why)
{
    if (p->started) {
        return ERR_OK;
    }
    p->started = true;
    enum err e = query_open(conn_shard(s->conn), p->plan, p->plan->follow, &p->query, why);
    if (e != ERR_OK) {
        p->query = NULL;
        p->ended = true;
    }
    return e;
}

/* Sends rows of x->source, which is the executed portal or a cursor. */
static void exec_rows(struct pg_session *s)
{
    struct pg_exec *x = &s->exec;
    struct pg_portal *p = x->source;
    x->err = portal_open_query(s, p, &x->why);
    if (x->err != ERR_OK) {
        exec_failed(s, x->err);
        return;
    }
    x->activity = PG_ACTIVITY_ROWS;
    x->step = p->ended ? PG_STEP_END : p->rows != NULL ? PG_STEP_ROWS : PG_STEP_PULL;
    pg_rows_go(s);
}

static void exec_copy_out(struct pg_session *s)
{
    struct pg_exec *x = &s->exec;
    const struct plan *p = x->portal->plan;
    if (x->portal->started) {
        exec_failed_as(s, "55000", "portal cannot be run again", NULL);
        return;
    }
    x->err = portal_open_query(s, x->portal, &x->why);
    if (x->err != ERR_OK) {
        exec_failed(s, x->err);
        return;
    }
    x->copy_out = true;
    x->limit = UINT64_MAX;
    x->copy = (struct pg_copy_options){
        .csv = p->copy_format == COPY_CSV,
        .header = p->copy_header,
        .delimiter = p->copy_delimiter,
        .quote = p->copy_quote,
        .escape = p->copy_escape,
        .null = p->copy_null,
    };
    pg_put_copy_response(&s->out, 'H', (uint16_t)(p->root->n_columns + p->follow));
    if (p->copy_header) {
        pg_put_copy_header(&s->out, p->root->columns, p->root->n_columns, &x->copy, p->follow);
    }
    exec_rows(s);
}

/* ---- statements without rows ---- */

static void statement_notice_out(struct statement *st, const char *sqlstate, const char *text)
{
    struct pg_session *s = st->arg;
    if (!conn_closed(s->conn)) {
        pg_notice(s, "NOTICE", sqlstate, text, NULL);
    }
}

static void exec_rows(struct pg_session *s);

static void statement_answer(struct pg_session *s, struct statement *st)
{
    struct pg_portal *p = s->exec.portal;
    if (st->returned == NULL) {
        exec_complete(s, st->tag);
        return;
    }
    p->returned = st->returned;
    st->returned = NULL;
    memcpy(p->tag, st->tag, sizeof p->tag);
    exec_rows(s);
}

static void statement_finished(struct statement *st)
{
    struct pg_session *s = st->arg;
    struct conn *c = s->conn;
    if (conn_closed(c)) {
        ingest_close(st->returned);
        s->exec.activity = PG_ACTIVITY_NONE;
        pg_session_close(s);
    } else if (st->err != ERR_OK) {
        s->exec.why = st->why;
        exec_failed(s, st->err);
    } else {
        atomic_fetch_add_explicit(&pg_server_of(s)->rows_in, st->rows, memory_order_relaxed);
        statement_answer(s, st);
    }
    conn_release(c);
}

static void exec_statement(struct pg_session *s)
{
    struct pg_exec *x = &s->exec;
    if (x->portal->returned != NULL) {
        exec_rows(s); /* goes on behind a row limit */
        return;
    }
    if (x->portal->started) {
        exec_failed_as(s, "55000", "portal cannot be run again", NULL);
        return;
    }
    x->portal->started = true;
    enum statement_kind kind = x->portal->plan->kind;
    s->wrote |= kind == STMT_INSERT || kind == STMT_UPDATE || kind == STMT_DELETE ||
                kind == STMT_CREATE_TABLE || kind == STMT_CREATE_VIEW ||
                kind == STMT_CREATE_QUERY || kind == STMT_CREATE_TYPE ||
                kind == STMT_CREATE_FUNCTION || kind == STMT_DROP || kind == STMT_ALTER_TABLE;
    x->activity = PG_ACTIVITY_STATEMENT;
    x->statement = (struct statement){
        .done = statement_finished,
        .notice = statement_notice_out,
        .arg = s,
    };
    conn_hold(s->conn);
    statement_run(conn_shard(s->conn), x->portal->plan, &x->statement);
}

/* ---- transactions ---- */

static void transaction_end(struct pg_session *s, bool rollback)
{
    if (s->transaction == 'I') {
        pg_notice(s, "WARNING", "25P01", "there is no transaction in progress", NULL);
    }
    if (rollback && s->transaction != 'I' && s->wrote) {
        pg_notice(s, "WARNING", "01000", "what this transaction block stored stays stored",
                  "Every statement is committed by itself; ROLLBACK undoes nothing.");
    }
    s->transaction = 'I';
    s->wrote = false;
    pg_portals_close(s, false);
}

static void exec_transaction(struct pg_session *s)
{
    const char *tag = s->exec.portal->plan->tag;
    bool rollback = strcmp(tag, "ROLLBACK") == 0;
    if (!rollback && strcmp(tag, "COMMIT") != 0) {
        if (s->transaction == 'I') {
            s->transaction = 'T';
            s->wrote = false;
        } else {
            pg_notice(s, "WARNING", "25001", "there is already a transaction in progress", NULL);
        }
    } else {
        tag = s->transaction == 'E' ? "ROLLBACK" : tag;
        transaction_end(s, rollback);
    }
    exec_complete(s, tag);
}

/* ---- cursors and the session's own statements ---- */

/* The executed portal becomes the cursor. */
static void exec_declare(struct pg_session *s)
{
    struct pg_exec *x = &s->exec;
    struct pg_portal *p = x->portal;
    const struct pg_command *c = &p->prepared->command;
    char text[ERR_TEXT_MAX];
    if (s->transaction == 'I' && !c->hold) {
        exec_failed_as(s, "25P01", "DECLARE CURSOR can only be used in transaction blocks",
                       "Use BEGIN first, or declare the cursor WITH HOLD.");
        return;
    }
    if (pg_portal_find(s, c->name) != NULL) {
        snprintf(text, sizeof text, "cursor \"%.*s\" already exists", STR_ARG(c->name));
        exec_failed_as(s, "42P03", text, NULL);
        return;
    }
    x->err = portal_open_query(s, p, &x->why);
    if (x->err != ERR_OK) {
        exec_failed(s, x->err);
        return;
    }
    p->name = c->name;
    p->cursor = true;
    p->hold = c->hold;
    exec_complete(s, "DECLARE CURSOR");
}

static struct pg_portal *exec_cursor(struct pg_session *s)
{
    const struct pg_command *c = &s->exec.portal->prepared->command;
    struct pg_portal *p = pg_portal_find(s, c->name);
    if (p != NULL && p->cursor) {
        return p;
    }
    char text[ERR_TEXT_MAX];
    snprintf(text, sizeof text, "cursor \"%.*s\" does not exist", STR_ARG(c->name));
    exec_failed_as(s, "34000", text, NULL);
    return NULL;
}

static void exec_fetch(struct pg_session *s)
{
    struct pg_exec *x = &s->exec;
    struct pg_portal *cursor = exec_cursor(s);
    if (cursor == NULL) {
        return;
    }
    x->discard = x->portal->prepared->command.verb == PG_VERB_MOVE;
    x->limit = x->portal->prepared->command.count;
    if (!x->discard && x->portal->n_formats != cursor->plan->root->n_columns) {
        exec_failed_as(s, "0A000", "the cursor was declared after this FETCH was prepared",
                       "Prepare the FETCH again.");
        return;
    }
    x->source = cursor;
    exec_rows(s);
}

static void exec_close_cursor(struct pg_session *s)
{
    if (s->exec.portal->prepared->command.name.len != 0) {
        struct pg_portal *cursor = exec_cursor(s);
        if (cursor != NULL) {
            pg_portal_close(s, cursor);
            exec_complete(s, "CLOSE CURSOR");
        }
        return;
    }
    LIST_FOR_SAFE (it, next, &s->portals) {
        struct pg_portal *p = LIST_ENTRY(it, struct pg_portal, link);
        if (p->cursor) {
            pg_portal_close(s, p);
        }
    }
    exec_complete(s, "CLOSE CURSOR ALL");
}

static void exec_deallocate(struct pg_session *s)
{
    struct str name = s->exec.portal->prepared->command.name;
    if (name.len == 0) {
        pg_prepared_forget_all(s);
        exec_complete(s, "DEALLOCATE ALL");
        return;
    }
    struct pg_prepared *p = pg_prepared_find(s, name);
    if (p == NULL) {
        char text[ERR_TEXT_MAX];
        snprintf(text, sizeof text, "prepared statement \"%.*s\" does not exist", STR_ARG(name));
        exec_failed_as(s, "26000", text, NULL);
        return;
    }
    pg_prepared_forget(s, p);
    exec_complete(s, "DEALLOCATE");
}

static void exec_discard(struct pg_session *s)
{
    if (s->transaction != 'I') {
        exec_failed_as(s, "25001", "DISCARD ALL cannot run inside a transaction block", NULL);
        return;
    }
    pg_portals_close(s, true);
    pg_prepared_forget_all(s);
    exec_complete(s, "DISCARD ALL");
}

/* ---- all of it ---- */

static void exec_plan(struct pg_session *s)
{
    const struct plan *plan = s->exec.portal->plan;
    switch (plan->kind) {
    case STMT_QUERY:
        exec_rows(s);
        break;
    case STMT_COPY_TO:
        exec_copy_out(s);
        break;
    case STMT_COPY_FROM:
        pg_copy_in_begin(s, plan);
        break;
    case STMT_TRANSACTION:
        exec_transaction(s);
        break;
    case STMT_CREATE_TABLE:
    case STMT_CREATE_VIEW:
    case STMT_CREATE_QUERY:
    case STMT_CREATE_TYPE:
    case STMT_CREATE_FUNCTION:
    case STMT_DROP:
    case STMT_ALTER_TABLE:
    case STMT_INSERT:
    case STMT_UPDATE:
    case STMT_DELETE:
    case STMT_SET:
    case STMT_USER:
    case STMT_NOTHING:
        exec_statement(s);
        break;
    case STMT_EXPLAIN:
    case STMT_SHOW:
        UNREACHABLE(); /* pg_prepare has made queries of them */
    }
}

void pg_execute(struct pg_session *s, struct pg_portal *p, uint64_t limit)
{
    CHECK(s->exec.activity == PG_ACTIVITY_NONE);
    struct pg_exec *x = &s->exec;
    x->portal = p;
    x->source = p;
    x->limit = limit;
    x->sent = 0;
    x->step = PG_STEP_PULL;
    x->in_pull = x->canceled = x->copy_out = x->discard = false;
    x->err = ERR_OK;
    x->why = (struct err_detail){0};
    atomic_fetch_add_explicit(&pg_server_of(s)->queries, 1, memory_order_relaxed);
    switch (p->prepared->command.verb) {
    case PG_VERB_PLAN:
        exec_plan(s);
        break;
    case PG_VERB_EMPTY:
        pg_put_empty(&s->out, 'I');
        pg_exec_end(s);
        break;
    case PG_VERB_DECLARE:
        exec_declare(s);
        break;
    case PG_VERB_FETCH:
    case PG_VERB_MOVE:
        exec_fetch(s);
        break;
    case PG_VERB_CLOSE:
        exec_close_cursor(s);
        break;
    case PG_VERB_DEALLOCATE:
        exec_deallocate(s);
        break;
    case PG_VERB_DISCARD_ALL:
        exec_discard(s);
        break;
    }
}
