/* COPY ... FROM STDIN.
 *
 *   CopyData --> data --rows--> batch --1024 rows--> ingest --16 MB or the end--> commit
 *
 * Rows are checked by the ingest. A COPY that fits into one commit is stored as a whole or not at
 * all; of a larger one the commits before an error stay, and the error's hint says how many rows.
 */
#include "serve/pg_int.h"

#include "base/check.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

enum {
    COPY_ARENA_BYTES_MAX = 3 * PG_COPY_ROW_BYTES_MAX + (16 << 20),
    COPY_ARENA_BYTES_KEPT = 1 << 20,
    COPY_DATA_BYTES_MAX = PG_COPY_ROW_BYTES_MAX + PG_MESSAGE_BYTES_MAX + PG_COPY_BATCH_BYTES,
    COPY_WHERE_TEXT_MAX = 100,
};

struct pg_copy_in {
    const struct plan *plan;
    struct ingest *ingest;
    struct pg_copy_parser parser;
    struct pg_copy_field *fields;
    enum type *types;
    struct buf data; /* received; parsed up to `at` */
    size_t at;
    struct arena rows_arena; /* the batch and unescaped texts */
    struct batch *batch;
    uint64_t lines[PG_COPY_BATCH_ROWS];
    uint64_t committed, committing; /* rows stored; rows of the commit under way */
    bool finish;                    /* CopyDone has come */
    bool ended;                     /* end-of-data mark: the rest is ignored */
    struct arena arena;
};

void pg_copy_in_free(struct pg_session *s)
{
    struct pg_copy_in *c = s->exec.copy_in;
    if (c == NULL) {
        return;
    }
    s->exec.copy_in = NULL;
    if (c->ingest != NULL) {
        ingest_close(c->ingest);
    }
    buf_deinit(&c->data);
    arena_deinit(&c->rows_arena);
    arena_deinit(&c->arena);
    mem_free(c);
}

/* ---- errors ---- */

static void copy_fail(struct pg_session *s, enum err e, const char *sqlstate, const char *text,
                      const char *hint, const char *where)
{
    struct pg_copy_in *c = s->exec.copy_in;
    char stored[ERR_HINT_MAX] = "";
    if (c != NULL && c->committed > 0) {
        snprintf(stored, sizeof stored, "The first %" PRIu64 " rows are stored.%s%.100s",
                 c->committed, hint != NULL && hint[0] != '\0' ? " " : "",
                 hint != NULL ? hint : "");
        hint = stored;
    }
    pg_fail_as(s, sqlstate != NULL ? sqlstate : err_info(e)->sqlstate, text, hint, where);
    pg_copy_in_free(s);
    pg_exec_end(s);
}

/* "COPY sensors, line 3, column temp: "abc"", as PostgreSQL has it. */
static void copy_fail_at(struct pg_session *s, enum err e, const char *sqlstate,
                         const struct err_detail *why, uint64_t line, struct str column,
                         struct str text)
{
    struct pg_copy_in *c = s->exec.copy_in;
    char where[ERR_TEXT_MAX];
    size_t cut = text.len < COPY_WHERE_TEXT_MAX ? text.len : COPY_WHERE_TEXT_MAX;
    while (cut > 0 && cut < text.len && ((unsigned char)text.ptr[cut] & 0xc0) == 0x80) {
        cut--;
    }
    int n = snprintf(where, sizeof where, "COPY %.*s, line %" PRIu64,
                     STR_ARG(c->plan->relation->name), line);
    if (column.len != 0 && n > 0 && (size_t)n < sizeof where) {
        snprintf(where + n, sizeof where - (size_t)n, ", column %.*s: \"%.*s%s\"", STR_ARG(column),
                 (int)cut, text.ptr != NULL ? text.ptr : "", cut < text.len ? "..." : "");
    }
    copy_fail(s, e, sqlstate, err_text(e, why), why != NULL ? why->hint : NULL, where);
}

/* ---- rows ---- */

static bool copy_batch_new(struct pg_copy_in *c)
{
    arena_reset(&c->rows_arena, COPY_ARENA_BYTES_KEPT);
    c->batch = batch_new(c->types, c->plan->n_insert_columns, PG_COPY_BATCH_ROWS, &c->rows_arena);
    return c->batch != NULL;
}

/* Hands the batch to the ingest. False after an error, which has ended the COPY. */
static bool copy_store(struct pg_session *s)
{
    struct pg_copy_in *c = s->exec.copy_in;
    struct err_detail why = {0};
    if (c->batch->n_rows > 0) {
        uint32_t bad = 0;
        enum err e = ingest_batch(c->ingest, c->batch, c->plan->insert_columns, &bad, &why);
        if (e != ERR_OK) {
            uint64_t line = bad < c->batch->n_rows ? c->lines[bad] : c->lines[0];
            copy_fail_at(s, e, NULL, &why, line, STR(""), STR(""));
            return false;
        }
    }
    if (!copy_batch_new(c)) {
        copy_fail(s, ERR_NO_MEMORY, NULL, "out of memory for rows", NULL, NULL);
        return false;
    }
    return true;
}

static const struct column_def *copy_column(const struct pg_copy_in *c, uint32_t i)
{
    return &c->plan->relation->columns[c->plan->insert_columns[i]];
}

/* Puts the parsed fields into the batch. False after an error. */
static bool copy_row(struct pg_session *s, uint32_t n_fields)
{
    struct pg_copy_in *c = s->exec.copy_in;
    struct err_detail why = {0};
    uint32_t n = c->plan->n_insert_columns;
    if (n_fields < n) {
        (void)err_set(&why, ERR_INVALID_TEXT, "missing data for column \"%.*s\"",
                      STR_ARG(copy_column(c, n_fields)->name));
    } else if (n_fields > n) {
        (void)err_set(&why, ERR_INVALID_TEXT, "extra data after last expected column");
    }
    if (n_fields != n) {
        copy_fail_at(s, ERR_INVALID_TEXT, "22P04", &why, c->parser.line, STR(""), STR(""));
        return false;
    }
    uint32_t row = c->batch->n_rows;
    for (uint32_t i = 0; i < n; i++) {
        struct value v = {.type = c->types[i], .null = true};
        if (!c->fields[i].null) {
            enum err e = value_parse(c->types[i], c->fields[i].text, &c->rows_arena, &v, &why);
            if (e != ERR_OK) {
                copy_fail_at(s, e, NULL, &why, c->parser.line, copy_column(c, i)->name,
                             c->fields[i].text);
                return false;
            }
        }
        column_set(&c->batch->columns[i], row, &v);
    }
    c->lines[row] = c->parser.line;
    c->batch->n_rows++;
    return true;
}

/* ---- commits ---- */

static void copy_go(struct pg_session *s);

static void copy_committed(void *arg, enum err e, const struct err_detail *why)
{
    struct pg_session *s = arg;
    struct conn *conn = s->conn;
    struct pg_copy_in *c = s->exec.copy_in;
    uint64_t rows = c->committing;
    s->exec.activity = PG_ACTIVITY_COPY_IN;
    if (conn_closed(conn)) {
        pg_session_close(s);
    } else if (e != ERR_OK) {
        copy_fail(s, e, NULL, err_text(e, why), why != NULL ? why->hint : NULL, NULL);
    } else {
        c->committed += rows;
        atomic_fetch_add_explicit(&pg_server_of(s)->rows_in, rows, memory_order_relaxed);
        copy_go(s);
        if (!s->driving && s->exec.activity == PG_ACTIVITY_COPY_IN) {
            pg_continue(s);
        }
    }
    conn_release(conn);
}

static void copy_commit(struct pg_session *s)
{
    struct pg_copy_in *c = s->exec.copy_in;
    s->exec.activity = PG_ACTIVITY_COPY_COMMIT;
    s->wrote = true;
    c->committing = ingest_rows(c->ingest);
    conn_hold(s->conn);
    ingest_commit(c->ingest, copy_committed, s);
}

static void copy_complete(struct pg_session *s)
{
    char tag[STATEMENT_TAG_MAX];
    snprintf(tag, sizeof tag, "COPY %" PRIu64, s->exec.copy_in->committed);
    pg_copy_in_free(s);
    pg_put_complete(&s->out, tag);
    pg_exec_end(s);
}

/* Parses one row of what was received. MORE when there is no whole one; BAD after an error, which
 * has ended the COPY. */
static enum pg_copy_step copy_parse_row(struct pg_session *s)
{
    struct pg_copy_in *c = s->exec.copy_in;
    struct err_detail why = {0};
    struct str in = {0};
    if (c->at < c->data.len) {
        in = (struct str){c->data.ptr + c->at, c->data.len - c->at};
    }
    uint32_t n_fields = 0;
    size_t used = 0;
    enum pg_copy_step step = pg_copy_next(&c->parser, in, c->finish, &c->rows_arena, c->fields,
                                          c->plan->n_insert_columns + 1, &n_fields, &used, &why);
    c->at += used;
    if (step == PG_COPY_BAD) {
        copy_fail_at(s, ERR_MALFORMED, "22P04", &why, c->parser.line, STR(""), STR(""));
    } else if (step == PG_COPY_ROW && !copy_row(s, n_fields)) {
        step = PG_COPY_BAD;
    } else if (step == PG_COPY_END) {
        c->ended = true;
    }
    return step;
}

/* Takes rows until the input is used up or a commit begins. */
static void copy_go(struct pg_session *s)
{
    struct pg_copy_in *c = s->exec.copy_in;
    bool more = true;
    while (more && !c->ended) {
        enum pg_copy_step step = copy_parse_row(s);
        if (step == PG_COPY_BAD) {
            return;
        }
        more = step != PG_COPY_MORE;
        if (c->batch->n_rows == PG_COPY_BATCH_ROWS) {
            if (!copy_store(s)) {
                return;
            }
            if (ingest_bytes(c->ingest) >= PG_COPY_COMMIT_BYTES ||
                ingest_rows(c->ingest) >= PG_COPY_COMMIT_ROWS) {
                copy_commit(s);
                return;
            }
        }
    }
    /* Texts of the batch borrow from the input. */
    if (!copy_store(s)) {
        return;
    }
    buf_consume(&c->data, c->ended ? c->data.len : c->at);
    c->at = 0;
    if (!c->finish) {
        return;
    }
    if (ingest_rows(c->ingest) > 0) {
        copy_commit(s);
    } else {
        copy_complete(s);
    }
}

/* ---- messages ---- */

static void copy_data(struct pg_session *s, struct str body)
{
    struct pg_copy_in *c = s->exec.copy_in;
    if (c->ended) {
        return;
    }
    buf_put_str(&c->data, body);
    if (c->data.failed) {
        copy_fail(s, ERR_NO_MEMORY, NULL, "out of memory for COPY data", NULL, NULL);
    } else if (c->data.len - c->at >= PG_COPY_BATCH_BYTES) {
        copy_go(s);
    }
}

void pg_copy_in_message(struct pg_session *s, char type, struct str body)
{
    char text[ERR_TEXT_MAX];
    switch (type) {
    case 'd':
        copy_data(s, body);
        break;
    case 'c':
        s->exec.copy_in->finish = true;
        copy_go(s);
        break;
    case 'f': {
        struct str reason = body;
        if (reason.len > 0 && reason.ptr[reason.len - 1] == '\0') {
            reason.len--;
        }
        reason.len = reason.len < 200 && str_utf8_valid(reason) ? reason.len : 0;
        snprintf(text, sizeof text, "COPY from stdin failed: %.*s", STR_ARG(reason));
        copy_fail(s, ERR_CANCELED, "57014", text, NULL, NULL);
        break;
    }
    case 'H':
    case 'S':
        break; /* allowed, and without effect, during COPY */
    default:
        snprintf(text, sizeof text, "unexpected message type 0x%02X during COPY from stdin",
                 (unsigned char)type);
        copy_fail(s, ERR_MALFORMED, "08P01", text, NULL, NULL);
        break;
    }
}

static enum err copy_in_setup(struct pg_session *s, struct pg_copy_in *c, struct err_detail *why)
{
    const struct plan *p = c->plan;
    uint32_t n = p->n_insert_columns;
    struct pg_copy_options o = {
        .csv = p->copy_format == COPY_CSV,
        .header = p->copy_header,
        .delimiter = p->copy_delimiter,
        .quote = p->copy_quote,
        .escape = p->copy_escape,
        .null = p->copy_null,
    };
    pg_copy_parser_init(&c->parser, &o);
    c->fields = arena_zalloc(&c->arena, (size_t)n + 1, sizeof *c->fields);
    c->types = arena_alloc(&c->arena, n * sizeof *c->types);
    if (c->fields == NULL || c->types == NULL) {
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < n; i++) {
        c->types[i] = copy_column(c, i)->type;
    }
    if (!copy_batch_new(c)) {
        return ERR_NO_MEMORY;
    }
    return ingest_open(conn_shard(s->conn), p->relation, &c->ingest, why);
}

void pg_copy_in_begin(struct pg_session *s, const struct plan *plan)
{
    struct err_detail why = {0};
    struct pg_copy_in *c = mem_zalloc(1, sizeof *c);
    enum err e = ERR_NO_MEMORY;
    if (c != NULL) {
        c->plan = plan;
        buf_init(&c->data, COPY_DATA_BYTES_MAX);
        arena_init(&c->arena, COPY_ARENA_BYTES_MAX);
        arena_init(&c->rows_arena, COPY_ARENA_BYTES_MAX);
        s->exec.copy_in = c;
        e = copy_in_setup(s, c, &why);
    }
    if (e != ERR_OK) {
        pg_copy_in_free(s);
        pg_fail(s, e, &why);
        pg_exec_end(s);
        return;
    }
    s->exec.activity = PG_ACTIVITY_COPY_IN;
    pg_put_copy_response(&s->out, 'G', (uint16_t)plan->n_insert_columns);
}
