/* Inside the PostgreSQL server.
 *
 *   pg_server.c    sockets: start-up, cancel requests, messages in, bytes out
 *   pg_session.c   simple and extended protocol: which message does what, errors, transactions
 *   pg_prepared.c  text -> prepared statement -> portal (parameters, formats)
 *   pg_exec.c      portal -> rows or a command tag
 *   pg_copy.c      COPY FROM STDIN
 *   pg_rows.c      batches -> DataRow, CopyData
 *   pg_command.c   what the planner does not know: cursors, DEALLOCATE, DISCARD
 *   pg_catalog.c   answers to the catalog queries that psql and drivers send
 *
 * A session belongs to its connection's shard. While an activity is under way (struct pg_exec) no
 * message is taken off the input, except COPY data:
 *
 *                       Query, Execute
 *        NONE ------------------------------> ROWS  (pull <-> output full <-> encode)
 *         ^ ^ \-----------------------------> STATEMENT
 *         | |  \----------------------------> COPY_IN <--chunk--> COPY_COMMIT
 *         | '------- complete, error ------------'-------------------'
 *         '--- error: extended protocol skips to Sync
 */
#ifndef TIDEMILL_SERVE_PG_INT_H
#define TIDEMILL_SERVE_PG_INT_H

#include "base/arena.h"
#include "base/list.h"
#include "serve/connection.h"
#include "serve/pg_copy_text.h"
#include "serve/statement.h"
#include "wire/postgres.h"

/* Limits of one connection unless said otherwise. */
enum {
    PG_OUTPUT_BYTES_MAX = 2 << 20, /* queued for a peer that does not read; full at half */
    PG_CHUNK_BYTES = 64 << 10,     /* encoded before it is handed to the connection */
    PG_SLICE_BYTES = 256 << 10,    /* handed over at once of a larger message */
    PG_ROW_BYTES_MAX = 64 << 20,   /* one row as it is sent */
    PG_PREPARED_MAX = 1000,
    PG_PREPARED_BYTES_MAX = 32 << 20, /* all prepared statements' plans together */
    PG_PORTALS_MAX = 100,
    PG_PORTAL_BYTES_MAX = 32 << 20,  /* one portal's parameters and bound plan */
    PG_PORTALS_BYTES_MAX = 64 << 20, /* all portals' */
    PG_SIMPLE_BYTES_MAX = 4 << 20,   /* a simple query's text and its split */
    PG_COPY_BATCH_ROWS = 1024,       /* rows parsed before they are checked and stored */
    PG_COPY_BATCH_BYTES = 256 << 10, /* input collected before it is parsed */
    PG_COPY_COMMIT_BYTES = 16 << 20, /* stored rows that make a commit of their own */
    PG_COPY_COMMIT_ROWS = 200000,
    PG_STARTUP_MS_MAX = 60000, /* from connecting to the start-up packet */
    PG_REFUSED_MS_MAX = 5000,  /* the same for one that is told that it may not connect */
    PG_PARTIAL_MS_MAX = 60000, /* half a message without news */
    PG_STALL_MS_MAX = 3600000, /* a reader that reads nothing at all */
    PG_NAME_BYTES_MAX = 256,   /* statement, portal, user and application names */
};

/* What the planner does not plan. */
enum pg_verb {
    PG_VERB_PLAN,    /* everything that has a plan */
    PG_VERB_EMPTY,   /* no statement at all */
    PG_VERB_DECLARE, /* `name` CURSOR FOR the plan */
    PG_VERB_FETCH,
    PG_VERB_MOVE,
    PG_VERB_CLOSE,
    PG_VERB_DEALLOCATE,
    PG_VERB_DISCARD_ALL,
};

/* A command as pg_command_parse sees it. Strings borrow from the text or its arena. */
struct pg_command {
    enum pg_verb verb;
    struct str name;  /* cursor or statement; empty = all */
    struct str query; /* DECLARE: the text behind FOR */
    uint64_t count;   /* FETCH, MOVE: rows; UINT64_MAX = all */
    bool hold;        /* DECLARE ... WITH HOLD */
};

/* A prepared statement; shared by its name's slot and the portals made from it. */
struct pg_prepared {
    struct list link; /* in pg_session.prepared while it has a name */
    uint32_t refs;
    struct arena arena;
    struct str name, sql;
    struct pg_command command;
    uint32_t n_declared;
    const uint32_t *declared;      /* parameter types as the client gave them, OIDs or 0 */
    const enum type *hints;        /* the same for the planner */
    const struct plan *plan;       /* NULL without one */
    struct plan *planned;          /* plan_statement's, to free; NULL when `plan` is in `arena` */
    const struct catalog *catalog; /* reference: the version that was planned against */
    size_t bytes;                  /* counted in pg_session.prepared_bytes */
};

/* A statement bound to its parameters, possibly half executed. */
struct pg_portal {
    struct list link;
    struct arena arena;
    struct str name;
    struct pg_prepared *prepared; /* a reference */
    const struct plan *plan;      /* bound; NULL without one */
    const uint16_t *formats;      /* one a result column: 0 text, 1 binary */
    uint32_t n_formats;
    bool cursor, hold; /* made by DECLARE; survives the transaction */
    struct query *query;
    struct ingest *returned;   /* instead of a query: the rows of RETURNING, from this batch on */
    uint32_t next_returned;
    const struct batch *rows; /* the query's batch being sent, from `row` on */
    uint32_t row;
    bool started, ended;
    char tag[STATEMENT_TAG_MAX]; /* with `returned` */
    size_t bytes; /* counted in pg_session.portals_bytes */
};

enum pg_activity {
    PG_ACTIVITY_NONE,
    PG_ACTIVITY_ROWS,
    PG_ACTIVITY_STATEMENT,
    PG_ACTIVITY_COPY_IN,
    PG_ACTIVITY_COPY_COMMIT,
};

enum pg_step {
    PG_STEP_PULL, /* the next batch may be asked for */
    PG_STEP_WAIT, /* it was */
    PG_STEP_ROWS, /* there are rows to encode */
    PG_STEP_END,
    PG_STEP_FAILED,
};

/* The activity under way. */
struct pg_exec {
    enum pg_activity activity;
    struct pg_portal *portal; /* what is executed */
    struct pg_portal *source; /* where the rows come from: `portal`, or FETCH's cursor */
    uint64_t limit, sent;     /* rows */
    enum pg_step step;
    bool in_pull, canceled;
    bool copy_out, discard;      /* COPY TO; MOVE: rows are counted, not sent */
    struct pg_copy_options copy; /* COPY TO: the format */
    enum err err;
    struct err_detail why;
    struct statement statement;
    struct pg_copy_in *copy_in;
};

/* A simple Query's statements. */
struct pg_simple {
    bool active, failed;
    struct arena arena;
    struct str text;
    struct str *statements;
    uint32_t n, at;
};

/* A CancelRequest on its way to the session's shard and back. */
struct pg_cancel {
    struct shard_call call;
    struct conn *conn;
    uint32_t pid, secret;
};

struct pg_session {
    struct conn *conn;
    struct list link; /* in pg_shard.sessions */
    struct shard_timer startup_timer;
    bool listed, started, failed; /* known for cancel; start-up done; ended by FATAL */
    bool paused;                  /* input waits for the end of an activity */
    bool driving;                 /* inside the loop that takes messages or statements */
    bool skip_to_sync;
    bool eof;         /* the peer sends no more: closed after what is under way */
    bool wrote;       /* this transaction block stored something */
    char transaction; /* 'I' idle, 'T' in a block, 'E' in a failed block */
    uint32_t pid, secret;
    struct buf out; /* encoded, from out_at on not handed to the connection yet */
    size_t out_at;
    struct pg_exec exec;
    struct pg_simple simple;
    struct list prepared, portals;
    uint32_t n_prepared, n_portals;
    size_t prepared_bytes, portals_bytes;
    int32_t position_base; /* characters before the statement in the client's text */
    struct pg_cancel cancel;
};

/* One shard's sessions; touched by that shard only. */
struct pg_shard {
    struct list sessions;
    uint32_t last_pid;
};

struct pg_server {
    struct engine *engine;
    _Atomic uint64_t queries, errors, rows_out, rows_in; /* metrics */
    struct pg_shard shards[SHARDS_MAX];
};

/* ---- pg_server.c ---- */

/* The server that the session belongs to. */
struct pg_server *pg_server_of(struct pg_session *s);
/* Hands encoded bytes to the connection, as far as its output has room. True when all of it went.
 */
bool pg_push(struct pg_session *s);
/* Goes on after an activity ended outside of the message loop: the next statements of a simple
 * query, then the messages that came meanwhile. */
void pg_continue(struct pg_session *s);

/* ---- pg_session.c ---- */

/* Handles one message: at once, or by beginning an activity or a simple query's statements, which
 * pg_simple_steps then runs. */
void pg_message(struct pg_session *s, char type, struct str body);
/* Runs statements of a simple query for as long as they complete at once. */
void pg_simple_steps(struct pg_session *s);
/* Reports an error of the statement being run or of a message: the transaction block fails, a
 * simple query ends, the extended protocol skips to Sync. */
void pg_fail(struct pg_session *s, enum err e, const struct err_detail *why);
/* The same with an SQLSTATE that the error table does not have, and an optional context. */
void pg_fail_as(struct pg_session *s, const char *sqlstate, const char *text, const char *hint,
                const char *where);
/* A NoticeResponse. */
void pg_notice(struct pg_session *s, const char *severity, const char *sqlstate, const char *text,
               const char *hint);
/* Reports and ends the connection. */
void pg_fatal(struct pg_session *s, const char *sqlstate, const char *text, const char *hint);
/* Stops what is under way at the user's request. */
void pg_session_cancel(struct pg_session *s);
/* The connection has closed: frees everything that no request still uses. */
void pg_session_close(struct pg_session *s);

/* ---- pg_prepared.c ---- */

/* Plans `sql` (one statement or none) into a new prepared statement with one reference, not listed
 * under its name yet. */
enum err pg_prepare(struct pg_session *s, struct str name, struct str sql, const uint32_t *declared,
                    uint32_t n_declared, struct pg_prepared **out,
                    struct err_detail *why) MUST_CHECK;
/* Lists it under its name (the session takes the reference over), replacing the unnamed one.
 * ERR_LIMIT; a duplicate name is the caller's to refuse. */
enum err pg_prepared_keep(struct pg_session *s, struct pg_prepared *p,
                          struct err_detail *why) MUST_CHECK;
struct pg_prepared *pg_prepared_find(struct pg_session *s, struct str name);
void pg_prepared_release(struct pg_prepared *p);
/* Forgets the name. */
void pg_prepared_forget(struct pg_session *s, struct pg_prepared *p);
void pg_prepared_forget_all(struct pg_session *s);
/* Plans a listed statement again when the catalog has changed since; *p becomes the new one (NULL
 * after an error that cost the old one). The result's columns must stay as they were. */
enum err pg_prepared_refresh(struct pg_session *s, struct pg_prepared **p,
                             struct err_detail *why) MUST_CHECK;
/* The columns that executing it gives; NULL and 0 for none. A FETCH has its cursor's. */
const struct column_def *pg_prepared_columns(struct pg_session *s, const struct pg_prepared *p,
                                             uint32_t *n);
const struct column_def *pg_portal_columns(struct pg_session *s, const struct pg_portal *p,
                                           uint32_t *n);
/* The columns of a plan's rows; NULL and 0 when it gives none (or sends them as COPY data). */
const struct column_def *pg_plan_columns(const struct plan *p, uint32_t *n);
/* Makes a portal of a prepared statement and the Bind message's parameters and formats; `m` NULL:
 * no parameters, text. An unnamed portal replaces the one before. */
enum err pg_portal_bind(struct pg_session *s, struct str name, struct pg_prepared *p,
                        const struct pg_bind *m, struct pg_portal **out,
                        struct err_detail *why) MUST_CHECK;
struct pg_portal *pg_portal_find(struct pg_session *s, struct str name);
/* Ends its query and frees it. Not for the one being executed. */
void pg_portal_close(struct pg_session *s, struct pg_portal *p);
/* Closes all but the one being executed; those WITH HOLD only when `held`. */
void pg_portals_close(struct pg_session *s, bool held);

/* ---- pg_exec.c ---- */

/* Executes a portal: at most `limit` rows (UINT64_MAX = all) are sent. Ends with a completion, a
 * suspension or an error sent, at once or later. */
void pg_execute(struct pg_session *s, struct pg_portal *p, uint64_t limit);
/* Goes on sending rows when the output has room again. */
void pg_rows_go(struct pg_session *s);
/* Stops the pull under way, if any; its callback does nothing but release the connection. */
void pg_rows_stop(struct pg_session *s);
/* The activity is over and its outcome sent. */
void pg_exec_end(struct pg_session *s);

/* ---- pg_copy.c ---- */

/* Starts COPY ... FROM STDIN: CopyInResponse, or an error and the end of the activity. */
void pg_copy_in_begin(struct pg_session *s, const struct plan *plan);
/* CopyData, CopyDone, CopyFail and what else comes during COPY FROM STDIN. */
void pg_copy_in_message(struct pg_session *s, char type, struct str body);
/* Gives up what was not committed. */
void pg_copy_in_free(struct pg_session *s);

/* ---- pg_rows.c ---- */

/* A RowDescription; formats[i] for column i, text for those from n_formats on. */
void pg_put_row_description(struct buf *b, const struct column_def *columns, uint32_t n,
                            const uint16_t *formats, uint32_t n_formats);
/* Row `row` as a DataRow; formats[i] for column i, NULL = text. */
void pg_put_data_row(struct buf *b, const struct batch *rows, uint32_t row,
                     const uint16_t *formats);
/* Row `row` as CopyData; `weights`: with the weight as a last column. */
void pg_put_copy_row(struct buf *b, const struct batch *rows, uint32_t row,
                     const struct pg_copy_options *o, bool weights);
/* The header line of COPY TO as CopyData. */
void pg_put_copy_header(struct buf *b, const struct column_def *columns, uint32_t n,
                        const struct pg_copy_options *o, bool weights);

/* ---- pg_command.c ---- */

/* Recognises the commands of enum pg_verb; PG_VERB_PLAN for everything else. Names that are folded
 * or unquoted live in `a`. ERR_SYNTAX for a malformed one, with its position. */
enum err pg_command_parse(struct str sql, struct arena *a, struct pg_command *out,
                          struct err_detail *why) MUST_CHECK;

#endif
