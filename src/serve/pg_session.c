#include "serve/pg_int.h"

#include "base/bytes.h"
#include "base/check.h"

#include <stdatomic.h>
#include <stdio.h>

enum { OID_TEXT = 25 };

/* ---- errors and notices ---- */

/* After an ErrorResponse: what the client has sent with the failed part is not done. */
static void error_follow(struct pg_session *s)
{
    atomic_fetch_add_explicit(&pg_server_of(s)->errors, 1, memory_order_relaxed);
    if (s->transaction == 'T') {
        s->transaction = 'E';
    }
    if (s->simple.active) {
        s->simple.at = s->simple.n;
        s->simple.failed = true;
    } else {
        s->skip_to_sync = true;
    }
}

void pg_fail(struct pg_session *s, enum err e, const struct err_detail *why)
{
    struct pg_report r = {
        .severity = "ERROR",
        .sqlstate = err_info(e)->sqlstate,
        .message = err_text(e, why),
        .hint = why != NULL ? why->hint : NULL,
        .position = why != NULL && why->position > 0 ? why->position + s->position_base : 0,
    };
    pg_put_report(&s->out, 'E', &r);
    error_follow(s);
}

void pg_fail_as(struct pg_session *s, const char *sqlstate, const char *text, const char *hint,
                const char *where)
{
    struct pg_report r = {
        .severity = "ERROR",
        .sqlstate = sqlstate,
        .message = text,
        .hint = hint,
        .where = where,
    };
    pg_put_report(&s->out, 'E', &r);
    error_follow(s);
}

void pg_notice(struct pg_session *s, const char *severity, const char *sqlstate, const char *text,
               const char *hint)
{
    struct pg_report r = {
        .severity = severity, .sqlstate = sqlstate, .message = text, .hint = hint};
    pg_put_report(&s->out, 'N', &r);
}

void pg_fatal(struct pg_session *s, const char *sqlstate, const char *text, const char *hint)
{
    struct pg_report r = {.severity = "FATAL", .sqlstate = sqlstate, .message = text, .hint = hint};
    pg_put_report(&s->out, 'E', &r);
    atomic_fetch_add_explicit(&pg_server_of(s)->errors, 1, memory_order_relaxed);
    s->failed = true;
    if (!pg_push(s)) {
        conn_close(s->conn); /* the peer does not even read what came before */
    }
    conn_close_flushed(s->conn);
}

/* ---- transactions ---- */

/* In a failed block only its end (and nothing at all) is let through. */
static bool allowed_now(struct pg_session *s, const struct pg_prepared *p)
{
    if (s->transaction != 'E' || p->command.verb == PG_VERB_EMPTY) {
        return true;
    }
    bool end = p->plan != NULL && p->plan->kind == STMT_TRANSACTION;
    return end && (strcmp(p->plan->tag, "COMMIT") == 0 || strcmp(p->plan->tag, "ROLLBACK") == 0);
}

static void fail_aborted(struct pg_session *s)
{
    pg_fail_as(s, "25P02",
               "current transaction is aborted, commands ignored until end of transaction block",
               NULL, NULL);
}

/* An error while preparing: a failed block hides all but syntax errors. */
static void fail_prepare(struct pg_session *s, enum err e, const struct err_detail *why)
{
    if (s->transaction == 'E' && e != ERR_SYNTAX) {
        fail_aborted(s);
    } else {
        pg_fail(s, e, why);
    }
}

/* ---- simple query ---- */

static int32_t count_characters(const char *from, const char *to)
{
    int32_t n = 0;
    for (; from < to; from++) {
        n += ((unsigned char)*from & 0xc0) != 0x80;
    }
    return n;
}

static void simple_run(struct pg_session *s, struct str sql)
{
    struct err_detail why = {0};
    struct pg_prepared *p = NULL;
    struct pg_portal *portal = NULL;
    s->position_base = count_characters(s->simple.text.ptr, sql.ptr);
    enum err e = pg_prepare(s, STR(""), sql, NULL, 0, &p, &why);
    if (e != ERR_OK) {
        fail_prepare(s, e, &why);
        return;
    }
    if (!allowed_now(s, p)) {
        fail_aborted(s);
        pg_prepared_release(p);
        return;
    }
    e = pg_portal_bind(s, STR(""), p, NULL, &portal, &why);
    pg_prepared_release(p);
    if (e != ERR_OK) {
        pg_fail(s, e, &why);
        return;
    }
    uint32_t n = 0;
    const struct column_def *columns = pg_portal_columns(s, portal, &n);
    if (columns != NULL) {
        pg_put_row_description(&s->out, columns, n, NULL, 0);
    }
    pg_execute(s, portal, UINT64_MAX);
}

/* A simple query is like a Sync: what was opened outside of a transaction block goes. */
static void simple_end(struct pg_session *s)
{
    if (s->simple.n == 0 && !s->simple.failed) {
        pg_put_empty(&s->out, 'I');
    }
    if (s->transaction == 'I') {
        pg_portals_close(s, false);
    }
    s->simple.active = false;
    s->position_base = 0;
    arena_deinit(&s->simple.arena);
    pg_put_ready(&s->out, s->transaction);
}

void pg_simple_steps(struct pg_session *s)
{
    while (s->simple.active && s->exec.activity == PG_ACTIVITY_NONE && !conn_closed(s->conn)) {
        if (s->out.len - s->out_at >= PG_CHUNK_BYTES && !pg_push(s)) {
            return;
        }
        if (s->simple.at == s->simple.n) {
            simple_end(s);
        } else {
            simple_run(s, s->simple.statements[s->simple.at++]);
        }
    }
}

static void on_query(struct pg_session *s, struct str body)
{
    struct err_detail why = {0};
    struct str sql;
    if (pg_query_decode(body, &sql, &why) != ERR_OK) {
        pg_fatal(s, "08P01", why.text, NULL);
        return;
    }
    /* As in PostgreSQL, a simple query takes the unnamed statement and portal away. */
    struct pg_portal *portal = pg_portal_find(s, STR(""));
    if (portal != NULL) {
        pg_portal_close(s, portal);
    }
    struct pg_prepared *prepared = pg_prepared_find(s, STR(""));
    if (prepared != NULL) {
        pg_prepared_forget(s, prepared);
    }
    struct pg_simple *q = &s->simple;
    q->active = true;
    q->failed = false;
    q->n = q->at = 0;
    arena_init(&q->arena, PG_SIMPLE_BYTES_MAX);
    enum err e = ERR_OK;
    if (sql.len > SQL_BYTES_MAX) {
        e = err_set(&why, ERR_TOO_LARGE, "query of %zu bytes: at most %d are taken", sql.len,
                    SQL_BYTES_MAX);
    } else {
        q->text = arena_str(&q->arena, sql);
        e = q->text.ptr == NULL ? ERR_NO_MEMORY
                                : sql_split(q->text, &q->arena, &q->statements, &q->n, &why);
    }
    if (e != ERR_OK) {
        q->n = q->at = 0;
        pg_fail(s, e, &why);
    }
}

/* ---- extended query ---- */

static enum err parse_message(struct pg_session *s, const struct pg_parse *m, struct arena *a,
                              struct pg_prepared **out, struct err_detail *why)
{
    if (m->sql.len > SQL_BYTES_MAX) {
        return err_set(why, ERR_TOO_LARGE, "query of %zu bytes: at most %d are taken", m->sql.len,
                       SQL_BYTES_MAX);
    }
    if (m->name.len > PG_NAME_BYTES_MAX) {
        return err_set(why, ERR_LIMIT, "name of a prepared statement is longer than %d bytes",
                       PG_NAME_BYTES_MAX);
    }
    struct str *statements = NULL;
    uint32_t n = 0;
    TRY(sql_split(m->sql, a, &statements, &n, why));
    if (n > 1) {
        return err_set(why, ERR_SYNTAX,
                       "cannot insert multiple commands into a prepared statement");
    }
    uint32_t *types = arena_alloc(a, m->n_types * sizeof *types);
    if (types == NULL) {
        return ERR_NO_MEMORY;
    }
    for (uint16_t i = 0; i < m->n_types; i++) {
        types[i] = pg_parse_type(m, i);
    }
    struct str sql = n == 1 ? statements[0] : STR("");
    s->position_base = n == 1 ? count_characters(m->sql.ptr, sql.ptr) : 0;
    return pg_prepare(s, m->name, sql, types, m->n_types, out, why);
}

static void on_parse(struct pg_session *s, struct str body)
{
    struct err_detail why = {0};
    struct pg_parse m;
    if (pg_parse_decode(body, &m, &why) != ERR_OK) {
        pg_fatal(s, "08P01", why.text, NULL);
        return;
    }
    if (m.name.len != 0 && pg_prepared_find(s, m.name) != NULL) {
        char text[ERR_TEXT_MAX];
        snprintf(text, sizeof text, "prepared statement \"%.*s\" already exists", STR_ARG(m.name));
        pg_fail_as(s, "42P05", text, NULL, NULL);
        return;
    }
    struct pg_prepared *p = NULL;
    struct arena scratch;
    arena_init(&scratch, PG_SIMPLE_BYTES_MAX);
    enum err e = parse_message(s, &m, &scratch, &p, &why);
    arena_deinit(&scratch);
    if (e != ERR_OK) {
        fail_prepare(s, e, &why);
    } else if (!allowed_now(s, p)) {
        fail_aborted(s);
        pg_prepared_release(p);
    } else if ((e = pg_prepared_keep(s, p, &why)) != ERR_OK) {
        pg_fail(s, e, &why);
        pg_prepared_release(p);
    } else {
        pg_put_empty(&s->out, '1');
    }
    s->position_base = 0;
}

static void fail_no_prepared(struct pg_session *s, struct str name)
{
    char text[ERR_TEXT_MAX];
    if (name.len == 0) {
        snprintf(text, sizeof text, "unnamed prepared statement does not exist");
    } else {
        snprintf(text, sizeof text, "prepared statement \"%.*s\" does not exist", STR_ARG(name));
    }
    pg_fail_as(s, "26000", text, NULL, NULL);
}

static void fail_no_portal(struct pg_session *s, struct str name)
{
    char text[ERR_TEXT_MAX];
    snprintf(text, sizeof text, "portal \"%.*s\" does not exist", STR_ARG(name));
    pg_fail_as(s, "34000", text, NULL, NULL);
}

static void on_bind(struct pg_session *s, struct str body)
{
    struct err_detail why = {0};
    struct pg_bind m;
    if (pg_bind_decode(body, &m, &why) != ERR_OK) {
        pg_fatal(s, "08P01", why.text, NULL);
        return;
    }
    struct pg_prepared *p = pg_prepared_find(s, m.statement);
    if (p == NULL) {
        fail_no_prepared(s, m.statement);
        return;
    }
    if (!allowed_now(s, p)) {
        fail_aborted(s);
        return;
    }
    if (m.portal.len > PG_NAME_BYTES_MAX) {
        pg_fail_as(s, "42622", "name of a portal is too long", NULL, NULL);
        return;
    }
    if (m.portal.len != 0 && pg_portal_find(s, m.portal) != NULL) {
        char text[ERR_TEXT_MAX];
        snprintf(text, sizeof text, "cursor \"%.*s\" already exists", STR_ARG(m.portal));
        pg_fail_as(s, "42P03", text, NULL, NULL);
        return;
    }
    struct pg_portal *portal = NULL;
    enum err e = pg_prepared_refresh(s, &p, &why);
    if (e == ERR_OK) {
        e = pg_portal_bind(s, m.portal, p, &m, &portal, &why);
    }
    if (e != ERR_OK) {
        pg_fail(s, e, &why);
        return;
    }
    pg_put_empty(&s->out, '2');
}

static void put_param_description(struct pg_session *s, const struct pg_prepared *p)
{
    uint32_t n = p->plan != NULL ? p->plan->n_params : 0;
    size_t mark = pg_begin(&s->out, 't');
    buf_put_be16(&s->out, (uint16_t)n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t oid = i < p->n_declared ? p->declared[i] : 0;
        enum type t = p->plan->params[i];
        if (oid == 0 || p->hints[i] == TYPE_UNKNOWN) {
            oid = t == TYPE_UNKNOWN ? OID_TEXT : type_info(t)->oid;
        }
        buf_put_be32(&s->out, oid);
    }
    pg_end(&s->out, mark);
}

static void on_describe(struct pg_session *s, struct str body)
{
    struct err_detail why = {0};
    struct pg_target m;
    if (pg_target_decode(body, 'D', &m, &why) != ERR_OK) {
        pg_fatal(s, "08P01", why.text, NULL);
        return;
    }
    uint32_t n = 0;
    const struct column_def *columns = NULL;
    const struct pg_portal *portal = NULL;
    if (m.kind == 'S') {
        const struct pg_prepared *p = pg_prepared_find(s, m.name);
        if (p == NULL) {
            fail_no_prepared(s, m.name);
            return;
        }
        put_param_description(s, p);
        columns = pg_prepared_columns(s, p, &n);
    } else {
        portal = pg_portal_find(s, m.name);
        if (portal == NULL) {
            fail_no_portal(s, m.name);
            return;
        }
        columns = pg_portal_columns(s, portal, &n);
    }
    if (columns == NULL) {
        pg_put_empty(&s->out, 'n');
    } else {
        pg_put_row_description(&s->out, columns, n, portal != NULL ? portal->formats : NULL,
                               portal != NULL ? portal->n_formats : 0);
    }
}

static void on_execute(struct pg_session *s, struct str body)
{
    struct err_detail why = {0};
    struct pg_execute m;
    if (pg_execute_decode(body, &m, &why) != ERR_OK) {
        pg_fatal(s, "08P01", why.text, NULL);
        return;
    }
    struct pg_portal *p = pg_portal_find(s, m.portal);
    if (p == NULL) {
        fail_no_portal(s, m.portal);
    } else if (!allowed_now(s, p->prepared)) {
        fail_aborted(s);
    } else {
        pg_execute(s, p, m.rows_max == 0 ? UINT64_MAX : m.rows_max);
    }
}

static void on_close(struct pg_session *s, struct str body)
{
    struct err_detail why = {0};
    struct pg_target m;
    if (pg_target_decode(body, 'C', &m, &why) != ERR_OK) {
        pg_fatal(s, "08P01", why.text, NULL);
        return;
    }
    struct pg_prepared *p = m.kind == 'S' ? pg_prepared_find(s, m.name) : NULL;
    struct pg_portal *portal = m.kind == 'P' ? pg_portal_find(s, m.name) : NULL;
    if (p != NULL) {
        pg_prepared_forget(s, p);
    }
    if (portal != NULL) {
        pg_portal_close(s, portal);
    }
    pg_put_empty(&s->out, '3');
}

static void on_sync(struct pg_session *s)
{
    s->skip_to_sync = false;
    if (s->transaction == 'I') {
        pg_portals_close(s, false);
    }
    pg_put_ready(&s->out, s->transaction);
}

static void on_function_call(struct pg_session *s)
{
    pg_fail_as(s, "0A000", "the function call message is not offered",
               "Use SELECT function(...) instead.", NULL);
    on_sync(s);
}

/* ---- any message ---- */

void pg_message(struct pg_session *s, char type, struct str body)
{
    char text[80];
    if (s->exec.activity == PG_ACTIVITY_COPY_IN && type != 'X') {
        pg_copy_in_message(s, type, body);
        return;
    }
    if (s->skip_to_sync && strchr("QPBDECHFdcf", type) != NULL && type != '\0') {
        return;
    }
    switch (type) {
    case 'Q':
        on_query(s, body);
        break;
    case 'P':
        on_parse(s, body);
        break;
    case 'B':
        on_bind(s, body);
        break;
    case 'D':
        on_describe(s, body);
        break;
    case 'E':
        on_execute(s, body);
        break;
    case 'C':
        on_close(s, body);
        break;
    case 'S':
        on_sync(s);
        break;
    case 'H':
        break; /* everything is sent at the end of the turn anyhow */
    case 'F':
        on_function_call(s);
        break;
    case 'd':
    case 'c':
    case 'f':
        break; /* the rest of a COPY that has failed */
    case 'X':
        s->failed = true;
        conn_close(s->conn);
        break;
    default:
        snprintf(text, sizeof text, "invalid frontend message type %d", (unsigned char)type);
        pg_fatal(s, "08P01", text, NULL);
        break;
    }
}

/* ---- cancel and close ---- */

void pg_session_cancel(struct pg_session *s)
{
    static const char text[] = "canceling statement due to user request";
    switch (s->exec.activity) {
    case PG_ACTIVITY_ROWS:
        pg_rows_stop(s);
        pg_fail_as(s, "57014", text, NULL, NULL);
        pg_exec_end(s);
        break;
    case PG_ACTIVITY_COPY_IN:
        pg_copy_in_free(s);
        pg_fail_as(s, "57014", text, NULL, NULL);
        pg_exec_end(s);
        break;
    case PG_ACTIVITY_STATEMENT:
        statement_cancel(&s->exec.statement);
        break;
    case PG_ACTIVITY_NONE:
    case PG_ACTIVITY_COPY_COMMIT:
        break; /* nothing to stop, or past the point where it could be */
    }
}

void pg_session_close(struct pg_session *s)
{
    if (s->listed) {
        list_remove(&s->link);
        s->listed = false;
    }
    shard_timer_cancel(conn_shard(s->conn), &s->startup_timer);
    pg_rows_stop(s);
    if (s->exec.activity == PG_ACTIVITY_STATEMENT) {
        statement_cancel(&s->exec.statement);
    }
    if (s->exec.activity == PG_ACTIVITY_STATEMENT || s->exec.activity == PG_ACTIVITY_COPY_COMMIT) {
        return; /* its callback comes back here: what it borrows must live until then */
    }
    pg_copy_in_free(s);
    s->exec.activity = PG_ACTIVITY_NONE;
    s->exec.portal = s->exec.source = NULL;
    pg_portals_close(s, true);
    pg_prepared_forget_all(s);
    arena_deinit(&s->simple.arena);
    buf_deinit(&s->out);
    s->out_at = 0;
}
