/* Running a planned statement that is no query: CREATE, DROP, INSERT, SET, BEGIN and the like.
 * Shared by the PostgreSQL and the HTTP server; queries go to the engine's query_open directly.
 *
 *   statement_run --CREATE/DROP--> shard_ddl (one change after the other) --------------> done
 *                 --INSERT-------> query over the plan's rows -> ingest -> commit ------> done
 *                 --others-------> nothing to do ---------------------------------------> done
 */
#ifndef TIDEMILL_SERVE_STATEMENT_H
#define TIDEMILL_SERVE_STATEMENT_H

#include "engine/engine.h"
#include "plan/plan.h"

enum { STATEMENT_TAG_MAX = 64 };

/* A run, caller-owned. Set `done`, `notice` and `arg` and zero the rest. */
struct statement {
    /* Called once per run, on the shard's thread, in a later turn or before statement_run returns.
     * The struct is the caller's again from then on. */
    void (*done)(struct statement *st);
    /* Something worth telling that is no error (IF NOT EXISTS applied); may be NULL. `text` is
     * valid during the call. Comes before done. */
    void (*notice)(struct statement *st, const char *sqlstate, const char *text);
    void *arg;

    /* the result */
    enum err err;
    struct err_detail why;
    char tag[STATEMENT_TAG_MAX]; /* PostgreSQL's command tag: "INSERT 0 3", "CREATE TABLE" */
    uint64_t rows;               /* INSERT: rows stored */
    /* What RETURNING gives (ingest_returned): the caller's, to be closed; NULL without one */
    struct ingest *returned;
    uint32_t attempts; /* private, as is the next */
    struct shard_timer again;

    /* private */
    struct shard *shard;
    const struct plan *plan;
    struct plan rows_plan; /* INSERT: the plan's rows as a query */
    struct query *query;
    struct ingest *ingest;
    struct ddl_request ddl;
    struct security_item *items; /* users: of the change under way */
    uint32_t next_drop;
    enum statement_step {
        STATEMENT_STEP_WAIT, /* a pull is under way */
        STATEMENT_STEP_MORE, /* the next pull may be made */
        STATEMENT_STEP_END,  /* all rows taken: commit */
        STATEMENT_STEP_FAILED,
    } step;
    bool canceled, pulling, running;
};

/* Whether statement_run takes this kind. STMT_SHOW counts, but gives its tag only: its
 * rows are plan->root's, and a caller that wants them runs it like a query. */
bool statement_runs(enum statement_kind kind);

/* Starts `plan`, which has no parameters left (plan_bind) and lives until `done`. All rows of an
 * INSERT are stored, or none; they are durable when done is called. A DROP of several names checks
 * all of them before it drops the first. */
void statement_run(struct shard *s, const struct plan *plan, struct statement *st);

/* Asks a running statement to stop: `done` comes soon, with ERR_CANCELED when nothing had been
 * handed to the log or the catalog yet, else with the outcome. Harmless after done. */
void statement_cancel(struct statement *st);

#endif
