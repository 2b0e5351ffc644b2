#include "serve/statement.h"

#include "base/check.h"
#include "base/mem.h"
#include "serve/user_change.h"

#include <inttypes.h>
#include <stdio.h>

bool statement_runs(enum statement_kind kind)
{
    switch (kind) {
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
    case STMT_SHOW:
    case STMT_TRANSACTION:
    case STMT_USER:
    case STMT_NOTHING:
        return true;
    case STMT_QUERY:
    case STMT_EXPLAIN:
    case STMT_COPY_FROM:
    case STMT_COPY_TO:
        break;
    }
    return false;
}

static void statement_finish(struct statement *st, enum err e)
{
    if (st->query != NULL) {
        query_close(st->query);
        st->query = NULL;
    }
    if (st->ingest != NULL) {
        ingest_close(st->ingest);
        st->ingest = NULL;
    }
    mem_free(st->items);
    st->items = NULL;
    st->err = e;
    st->running = false;
    st->done(st);
}

static void statement_set_tag(struct statement *st, const char *tag)
{
    snprintf(st->tag, sizeof st->tag, "%s", tag != NULL ? tag : "");
}

static void statement_notice(struct statement *st, const char *sqlstate, struct str name,
                             const char *outcome)
{
    if (st->notice == NULL) {
        return;
    }
    char text[ERR_TEXT_MAX];
    snprintf(text, sizeof text, "relation \"%.*s\" %s, skipping", STR_ARG(name), outcome);
    st->notice(st, sqlstate, text);
}

/* ---- CREATE, and the change of ALTER TABLE ---- */

static void create_done(struct ddl_request *r)
{
    struct statement *st = r->arg;
    if (r->err != ERR_OK) {
        st->why = r->why;
        statement_finish(st, r->err);
        return;
    }
    if (r->skipped) {
        statement_notice(st, "42P07", st->plan->change.name, "already exists");
    } else if (st->plan->notice.len > 0 && st->notice != NULL) {
        char text[ERR_TEXT_MAX];
        snprintf(text, sizeof text, "%.*s", STR_ARG(st->plan->notice));
        st->notice(st, "01000", text);
    }
    statement_finish(st, ERR_OK);
}

static void create_run(struct statement *st)
{
    st->ddl = (struct ddl_request){
        .change = st->plan->change,
        .if_not_exists = st->plan->if_not_exists,
        .done = create_done,
        .arg = st,
    };
    shard_ddl(st->shard, &st->ddl);
}

/* ---- DROP ---- */

static void drop_next(struct statement *st);

static void drop_done(struct ddl_request *r)
{
    struct statement *st = r->arg;
    if (r->err != ERR_OK) {
        st->why = r->why;
        statement_finish(st, r->err);
        return;
    }
    if (r->skipped) {
        statement_notice(st, "00000", r->change.name, "does not exist");
    }
    st->next_drop++;
    drop_next(st);
}

static void drop_next(struct statement *st)
{
    const struct plan *p = st->plan;
    if (st->next_drop == p->n_drops && p->kind == STMT_ALTER_TABLE) {
        create_run(st); /* nothing is in its way any more */
        return;
    }
    if (st->next_drop == p->n_drops) {
        statement_finish(st, ERR_OK);
        return;
    }
    bool view = p->kind == STMT_ALTER_TABLE || st->next_drop < p->n_view_drops;
    enum catalog_verb verb = view ? CHANGE_DROP_RELATION : p->change.verb;
    st->ddl = (struct ddl_request){
        .change = {.verb = verb, .name = p->drops[st->next_drop]},
        .if_exists = p->if_exists,
        .done = drop_done,
        .arg = st,
    };
    shard_ddl(st->shard, &st->ddl);
}

static void drop_run(struct statement *st)
{
    const struct plan *p = st->plan;
    const struct catalog *c = shard_catalog(st->shard);
    bool relations = p->change.verb == CHANGE_DROP_RELATION;
    for (uint32_t i = 0; i < p->n_drops && relations && !p->if_exists; i++) {
        if (catalog_relation(c, p->drops[i]) == NULL) {
            statement_finish(st, catalog_no_relation(c, p->drops[i], &st->why));
            return;
        }
    }
    st->next_drop = 0;
    drop_next(st);
}

/* ---- CREATE, ALTER, DROP USER ---- */

static void user_done(struct ddl_request *r)
{
    struct statement *st = r->arg;
    st->why = r->why;
    statement_finish(st, r->err);
}

static void user_run(struct statement *st)
{
    uint32_t n;
    enum err e = user_change_items(st->shard, st->plan, &st->items, &n, &st->why);
    if (e != ERR_OK || n == 0) {
        statement_finish(st, e);
        return;
    }
    st->ddl = (struct ddl_request){.done = user_done, .arg = st};
    st->ddl.change.verb = CHANGE_SECURITY;
    st->ddl.change.security = st->items;
    st->ddl.change.n_security = n;
    shard_ddl(st->shard, &st->ddl);
}

/* ---- INSERT, UPDATE, DELETE ---- */

static void insert_run(struct statement *st);

static void again_fire(struct shard_timer *t)
{
    insert_run(CONTAINER_OF(t, struct statement, again));
}

/* Rows that were changed while the statement looked at them: it looks again, soon, for what has
 * changed them is only seen when it is durable. */
static bool insert_again(struct statement *st, enum err e)
{
    enum { ATTEMPTS_MAX = 10000, WAIT_NS = 2 * 1000 * 1000 };
    if (e != ERR_SERIALIZATION || ++st->attempts >= ATTEMPTS_MAX) {
        return false;
    }
    st->again = (struct shard_timer){.fire = again_fire};
    if (shard_timer_set(st->shard, &st->again, shard_mono_ns(st->shard) + WAIT_NS) != ERR_OK) {
        return false;
    }
    ingest_close(st->ingest);
    st->ingest = NULL;
    return true;
}

static void insert_committed(void *arg, enum err e, const struct err_detail *why)
{
    struct statement *st = arg;
    if (insert_again(st, e)) {
        return;
    }
    if (e != ERR_OK && why != NULL) {
        st->why = *why;
    }
    if (e == ERR_OK) {
        char tag[STATEMENT_TAG_MAX];
        st->rows = ingest_changed(st->ingest);
        snprintf(tag, sizeof tag, "%s%s %" PRIu64, st->plan->tag,
                 st->plan->kind == STMT_INSERT ? " 0" : "", st->rows);
        statement_set_tag(st, st->plan->truncate ? st->plan->tag : tag);
        if (st->plan->returning != NULL) {
            st->returned = st->ingest;
            st->ingest = NULL;
        }
    }
    statement_finish(st, e);
}

/* Takes one pull's rows. Finishes nothing, so that it may run inside query_pull. */
static enum statement_step insert_take(struct statement *st, const struct query_result *r)
{
    if (r->err != ERR_OK) {
        st->err = r->err;
        if (r->why != NULL) {
            st->why = *r->why;
        }
        return STATEMENT_STEP_FAILED;
    }
    if (r->rows == NULL) {
        return STATEMENT_STEP_END;
    }
    uint32_t bad_row = 0;
    st->err = ingest_batch(st->ingest, r->rows, st->plan->insert_columns, &bad_row, &st->why);
    return st->err == ERR_OK ? STATEMENT_STEP_MORE : STATEMENT_STEP_FAILED;
}

static void insert_continue(struct statement *st);

static void insert_pulled(void *arg, const struct query_result *r)
{
    struct statement *st = arg;
    if (st->canceled) {
        return; /* from query_close inside statement_cancel, which finishes the statement */
    }
    st->step = insert_take(st, r);
    if (!st->pulling) {
        insert_continue(st);
    }
}

/* Goes on after a pull, in a loop for as long as results come before query_pull returns, so that
 * the depth of the stack does not grow with the number of rows. */
static void insert_continue(struct statement *st)
{
    while (st->step == STATEMENT_STEP_MORE) {
        st->step = STATEMENT_STEP_WAIT;
        st->pulling = true;
        query_pull(st->query, insert_pulled, st);
        st->pulling = false;
    }
    if (st->step == STATEMENT_STEP_FAILED) {
        statement_finish(st, st->err);
    } else if (st->step == STATEMENT_STEP_END) {
        query_close(st->query);
        st->query = NULL;
        ingest_commit(st->ingest, insert_committed, st);
    }
}

static void insert_run(struct statement *st)
{
    enum err e = ingest_open_statement(st->shard, st->plan, &st->ingest, &st->why);
    if (e == ERR_OK) {
        st->rows_plan = *st->plan;
        st->rows_plan.kind = STMT_QUERY;
        e = query_open(st->shard, &st->rows_plan, false, &st->query, &st->why);
    }
    if (e != ERR_OK) {
        statement_finish(st, e);
        return;
    }
    st->step = STATEMENT_STEP_MORE;
    insert_continue(st);
}

void statement_run(struct shard *s, const struct plan *plan, struct statement *st)
{
    CHECK(st->done != NULL && !st->running && statement_runs(plan->kind));
    st->shard = s;
    st->plan = plan;
    st->err = ERR_OK;
    st->why = (struct err_detail){0};
    st->rows = 0;
    st->returned = NULL;
    st->attempts = 0;
    st->query = NULL;
    st->ingest = NULL;
    st->items = NULL;
    st->canceled = false;
    st->pulling = false;
    st->running = true;
    statement_set_tag(st, plan->tag);
    switch (plan->kind) {
    case STMT_CREATE_TABLE:
    case STMT_CREATE_VIEW:
    case STMT_CREATE_QUERY:
    case STMT_CREATE_TYPE:
    case STMT_CREATE_FUNCTION:
        create_run(st);
        break;
    case STMT_DROP:
    case STMT_ALTER_TABLE:
        drop_run(st);
        break;
    case STMT_INSERT:
    case STMT_UPDATE:
    case STMT_DELETE:
        insert_run(st);
        break;
    case STMT_USER:
        user_run(st);
        break;
    case STMT_SET:
    case STMT_SHOW:
    case STMT_TRANSACTION:
    case STMT_NOTHING:
        statement_finish(st, ERR_OK);
        break;
    case STMT_QUERY:
    case STMT_EXPLAIN:
    case STMT_COPY_FROM:
    case STMT_COPY_TO:
        UNREACHABLE();
    }
}

void statement_cancel(struct statement *st)
{
    bool waits = st->again.heap_index != 0; /* to look again at rows that were changed */
    if (!st->running || (st->query == NULL && !waits)) {
        return;
    }
    shard_timer_cancel(st->shard, &st->again);
    st->canceled = true;
    err_set(&st->why, ERR_CANCELED, "canceling statement due to user request");
    statement_finish(st, ERR_CANCELED);
}
