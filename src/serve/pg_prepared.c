#include "serve/pg_int.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"
#include "serve/pg_catalog.h"

#include <stdio.h>

/* Parameter types that drivers declare and we have no type of our own for. */
enum {
    OID_CHAR = 18,
    OID_NAME = 19,
    OID_OID = 26,
    OID_JSON = 114,
    OID_UNKNOWN = 705,
    OID_BPCHAR = 1042,
    OID_VARCHAR = 1043,
};

/* The type to plan a declared parameter with; false when there is none. */
static bool declared_type(uint32_t oid, enum type *out)
{
    switch (oid) {
    case 0:
    case OID_UNKNOWN:
        *out = TYPE_UNKNOWN;
        return true;
    case OID_OID:
        *out = TYPE_INT8;
        return true;
    case OID_CHAR:
    case OID_NAME:
    case OID_BPCHAR:
    case OID_VARCHAR:
        *out = TYPE_TEXT;
        return true;
    case OID_JSON:
        *out = TYPE_JSONB;
        return true;
    default:
        *out = type_by_oid(oid);
        return *out != TYPE_UNKNOWN;
    }
}

/* ---- prepared statements ---- */

static void prepared_drop_plan(struct pg_prepared *p)
{
    if (p->planned != NULL) {
        plan_free(p->planned);
    }
    if (p->catalog != NULL) {
        catalog_unref(p->catalog);
    }
    p->planned = NULL;
    p->plan = NULL;
    p->catalog = NULL;
}

void pg_prepared_release(struct pg_prepared *p)
{
    CHECK(p->refs > 0);
    if (--p->refs > 0) {
        return;
    }
    prepared_drop_plan(p);
    arena_deinit(&p->arena);
    mem_free(p);
}

/* SHOW and EXPLAIN are constant rows: executed like a query, completed with their own tag. */
static enum err prepared_rows(struct pg_prepared *p)
{
    struct plan *rows = arena_alloc(&p->arena, sizeof *rows);
    if (rows == NULL) {
        return ERR_NO_MEMORY;
    }
    *rows = *p->planned;
    rows->kind = STMT_QUERY;
    p->plan = rows;
    return ERR_OK;
}

/* Moves an error's position from a part of the statement to the statement. */
static void shift_position(struct err_detail *why, struct str whole, struct str part)
{
    if (why == NULL || why->position <= 0) {
        return;
    }
    for (const char *p = whole.ptr; p < part.ptr; p++) {
        why->position += ((unsigned char)*p & 0xc0) != 0x80;
    }
}

/* Plans p->sql (or what a DECLARE holds) against the shard's present catalog. */
static enum err prepared_plan(struct pg_session *s, struct pg_prepared *p, struct err_detail *why)
{
    bool declare = p->command.verb == PG_VERB_DECLARE;
    if (p->command.verb != PG_VERB_PLAN && !declare) {
        return ERR_OK;
    }
    struct str sql = declare ? p->command.query : p->sql;
    p->catalog = catalog_ref(shard_catalog(conn_shard(s->conn)));
    struct plan *canned = NULL;
    TRY(pg_catalog_plan(sql, p->catalog, &p->arena, &canned, why));
    p->plan = canned;
    if (canned != NULL) {
        return ERR_OK;
    }
    enum err e = plan_statement(sql, p->catalog, p->hints, p->n_declared, &p->planned, why);
    if (e != ERR_OK) {
        p->planned = NULL;
        shift_position(why, p->sql, sql);
        return e;
    }
    p->plan = p->planned;
    if (declare && p->plan->kind != STMT_QUERY) {
        return err_set(why, ERR_SYNTAX, "a cursor needs a query");
    }
    bool constant = p->plan->kind == STMT_SHOW || p->plan->kind == STMT_EXPLAIN;
    return constant && p->plan->root != NULL ? prepared_rows(p) : ERR_OK;
}

static enum err prepared_declare_types(struct pg_prepared *p, const uint32_t *declared, uint32_t n,
                                       struct err_detail *why)
{
    uint32_t *oids = arena_alloc(&p->arena, n * sizeof *oids);
    enum type *hints = arena_alloc(&p->arena, n * sizeof *hints);
    if (oids == NULL || hints == NULL) {
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < n; i++) {
        oids[i] = declared[i];
        if (!declared_type(declared[i], &hints[i])) {
            enum err e = err_set(why, ERR_UNSUPPORTED,
                                 "parameter $%u has a type that is not offered (OID %u)", i + 1,
                                 declared[i]);
            err_hint(why, "Declare it as text or leave its type out, and cast it: $%u::text.",
                     i + 1);
            return e;
        }
    }
    p->n_declared = n;
    p->declared = oids;
    p->hints = hints;
    return ERR_OK;
}

static enum err prepared_fill(struct pg_session *s, struct pg_prepared *p, struct str name,
                              struct str sql, const uint32_t *declared, uint32_t n_declared,
                              struct err_detail *why)
{
    p->name = arena_str(&p->arena, name);
    p->sql = arena_str(&p->arena, sql);
    if (p->name.ptr == NULL || p->sql.ptr == NULL) {
        return ERR_NO_MEMORY;
    }
    TRY(prepared_declare_types(p, declared, n_declared, why));
    TRY(pg_command_parse(p->sql, &p->arena, &p->command, why));
    TRY(prepared_plan(s, p, why));
    p->bytes = sizeof *p + p->arena.used_bytes;
    p->bytes += p->planned != NULL ? p->planned->arena->used_bytes : 0;
    return ERR_OK;
}

enum err pg_prepare(struct pg_session *s, struct str name, struct str sql, const uint32_t *declared,
                    uint32_t n_declared, struct pg_prepared **out, struct err_detail *why)
{
    struct pg_prepared *p = mem_zalloc(1, sizeof *p);
    if (p == NULL) {
        return err_set(why, ERR_NO_MEMORY, "out of memory for a prepared statement");
    }
    p->refs = 1;
    list_init(&p->link);
    arena_init(&p->arena, PG_PREPARED_BYTES_MAX);
    enum err e = prepared_fill(s, p, name, sql, declared, n_declared, why);
    if (e != ERR_OK) {
        pg_prepared_release(p);
        return e;
    }
    *out = p;
    return ERR_OK;
}

struct pg_prepared *pg_prepared_find(struct pg_session *s, struct str name)
{
    LIST_FOR (it, &s->prepared) {
        struct pg_prepared *p = LIST_ENTRY(it, struct pg_prepared, link);
        if (str_eq(p->name, name)) {
            return p;
        }
    }
    return NULL;
}

void pg_prepared_forget(struct pg_session *s, struct pg_prepared *p)
{
    list_remove(&p->link);
    s->n_prepared--;
    s->prepared_bytes -= p->bytes;
    pg_prepared_release(p);
}

void pg_prepared_forget_all(struct pg_session *s)
{
    LIST_FOR_SAFE (it, next, &s->prepared) {
        pg_prepared_forget(s, LIST_ENTRY(it, struct pg_prepared, link));
    }
}

enum err pg_prepared_keep(struct pg_session *s, struct pg_prepared *p, struct err_detail *why)
{
    if (p->name.len == 0) {
        struct pg_prepared *old = pg_prepared_find(s, p->name);
        if (old != NULL) {
            pg_prepared_forget(s, old);
        }
    }
    if (s->n_prepared >= PG_PREPARED_MAX || s->prepared_bytes + p->bytes > PG_PREPARED_BYTES_MAX) {
        enum err e =
            err_set(why, ERR_LIMIT, "too many prepared statements: at most %d of %d MB together",
                    PG_PREPARED_MAX, PG_PREPARED_BYTES_MAX >> 20);
        err_hint(why, "Close some, or use DEALLOCATE ALL.");
        return e;
    }
    list_add(&s->prepared, &p->link);
    s->n_prepared++;
    s->prepared_bytes += p->bytes;
    return ERR_OK;
}

static bool same_columns(const struct column_def *a, uint32_t n_a, const struct column_def *b,
                         uint32_t n_b)
{
    if (n_a != n_b) {
        return false;
    }
    for (uint32_t i = 0; i < n_a; i++) {
        if (a[i].type != b[i].type || a[i].typmod != b[i].typmod || !str_eq(a[i].name, b[i].name)) {
            return false;
        }
    }
    return true;
}

enum err pg_prepared_refresh(struct pg_session *s, struct pg_prepared **prepared,
                             struct err_detail *why)
{
    struct pg_prepared *old = *prepared;
    if (old->plan == NULL || old->catalog->version == shard_catalog(conn_shard(s->conn))->version) {
        return ERR_OK;
    }
    struct pg_prepared *fresh = NULL;
    TRY(pg_prepare(s, old->name, old->sql, old->declared, old->n_declared, &fresh, why));
    CHECK(fresh->plan != NULL);
    uint32_t n_old = 0, n_fresh = 0;
    const struct column_def *a = pg_plan_columns(old->plan, &n_old);
    const struct column_def *b = pg_plan_columns(fresh->plan, &n_fresh);
    if (!same_columns(a, n_old, b, n_fresh) || old->plan->n_params != fresh->plan->n_params) {
        pg_prepared_release(fresh);
        return err_set(why, ERR_UNSUPPORTED, "cached plan must not change result type");
    }
    /* Portals that still execute the old plan keep it alive. */
    pg_prepared_forget(s, old);
    *prepared = NULL;
    enum err e = pg_prepared_keep(s, fresh, why);
    if (e != ERR_OK) {
        pg_prepared_release(fresh);
        return e;
    }
    *prepared = fresh;
    return ERR_OK;
}

/* ---- result columns ---- */

const struct column_def *pg_plan_columns(const struct plan *p, uint32_t *n)
{
    static const struct column_def none = {0};
    const struct plan_node *rows = p == NULL               ? NULL
                                   : p->kind == STMT_QUERY ? p->root
                                                           : p->returning;
    *n = 0;
    if (rows == NULL) {
        return NULL;
    }
    *n = rows->n_columns;
    return *n != 0 ? rows->columns : &none;
}

const struct column_def *pg_prepared_columns(struct pg_session *s, const struct pg_prepared *p,
                                             uint32_t *n)
{
    *n = 0;
    if (p->command.verb == PG_VERB_FETCH) {
        struct pg_portal *cursor = pg_portal_find(s, p->command.name);
        return cursor != NULL ? pg_plan_columns(cursor->plan, n) : NULL;
    }
    return p->command.verb == PG_VERB_PLAN ? pg_plan_columns(p->plan, n) : NULL;
}

const struct column_def *pg_portal_columns(struct pg_session *s, const struct pg_portal *p,
                                           uint32_t *n)
{
    return p->cursor ? pg_plan_columns(p->plan, n) : pg_prepared_columns(s, p->prepared, n);
}

/* ---- parameters ---- */

/* Binary parameters of declared types that are narrower than ours, or named differently. */
static enum err param_binary(uint32_t oid, enum type t, struct str bytes, struct arena *a,
                             struct value *out, struct err_detail *why)
{
    *out = (struct value){.type = t};
    if (oid == OID_OID && t == TYPE_INT8 && bytes.len == 4) {
        out->as.i8 = be32_get(bytes.ptr);
        return ERR_OK;
    }
    if (oid == OID_JSON && t == TYPE_JSONB) {
        return value_parse(t, bytes, a, out, why);
    }
    return value_parse_binary(t, bytes, a, out, why);
}

static enum err param_value(const struct pg_prepared *p, uint32_t i, uint16_t format,
                            struct str bytes, struct arena *a, struct value *out,
                            struct err_detail *why)
{
    enum type t = p->plan->params[i] != TYPE_UNKNOWN ? p->plan->params[i] : TYPE_TEXT;
    struct str copy = arena_str(a, bytes);
    if (copy.ptr == NULL) {
        return err_set(why, ERR_LIMIT, "parameters take more than %d MB",
                       PG_PORTAL_BYTES_MAX >> 20);
    }
    if (format == 0 && (!str_utf8_valid(copy) || memchr(copy.ptr, 0, copy.len) != NULL)) {
        return err_set(why, ERR_ENCODING, "parameter $%u is not valid UTF-8", i + 1);
    }
    uint32_t oid = i < p->n_declared ? p->declared[i] : 0;
    enum err e =
        format == 0 ? value_parse(t, copy, a, out, why) : param_binary(oid, t, copy, a, out, why);
    if (e != ERR_OK && format == 1) {
        struct err_detail cause = why != NULL ? *why : (struct err_detail){0};
        return err_set(why, e, "parameter $%u (%s, binary): %s", i + 1, type_info(t)->name,
                       err_text(e, &cause));
    }
    return e;
}

static enum err portal_params(struct pg_portal *portal, const struct pg_bind *m,
                              struct value **values, struct err_detail *why)
{
    const struct pg_prepared *p = portal->prepared;
    uint32_t n = p->plan->n_params;
    *values = arena_zalloc(&portal->arena, n, sizeof **values);
    if (*values == NULL) {
        return ERR_NO_MEMORY;
    }
    struct str rest = m->params;
    for (uint32_t i = 0; i < n; i++) {
        struct str bytes;
        enum type t = p->plan->params[i];
        (*values)[i] = (struct value){.type = t != TYPE_UNKNOWN ? t : TYPE_TEXT, .null = true};
        if (pg_bind_param(&rest, &bytes)) {
            uint16_t format = pg_bind_format(m, (uint16_t)i);
            TRY(param_value(p, i, format, bytes, &portal->arena, &(*values)[i], why));
        }
    }
    return ERR_OK;
}

/* ---- portals ---- */

static enum err portal_formats(struct pg_session *s, struct pg_portal *portal,
                               const struct pg_bind *m, struct err_detail *why)
{
    uint32_t n = 0;
    (void)pg_prepared_columns(s, portal->prepared, &n);
    if (m != NULL && m->n_results > 1 && m->n_results != n) {
        return err_set(why, ERR_MALFORMED,
                       "bind message has %u result formats but query has %u columns", m->n_results,
                       n);
    }
    uint16_t *formats = arena_zalloc(&portal->arena, n, sizeof *formats);
    if (formats == NULL) {
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; m != NULL && i < n; i++) {
        formats[i] = pg_bind_result(m, (uint16_t)i);
    }
    portal->formats = formats;
    portal->n_formats = n;
    return ERR_OK;
}

static enum err portal_fill(struct pg_session *s, struct pg_portal *portal, const struct pg_bind *m,
                            struct err_detail *why)
{
    const struct pg_prepared *p = portal->prepared;
    uint32_t n_params = p->plan != NULL ? p->plan->n_params : 0;
    uint32_t n_given = m != NULL ? m->n_params : 0;
    if (n_params != n_given) {
        if (m == NULL) {
            return err_set(why, ERR_SYNTAX, "there is no parameter $1");
        }
        return err_set(why, ERR_MALFORMED,
                       "bind message supplies %u parameters, but prepared statement \"%.*s\" "
                       "requires %u",
                       n_given, STR_ARG(p->name), n_params);
    }
    TRY(portal_formats(s, portal, m, why));
    portal->plan = p->plan;
    if (n_params == 0) {
        return ERR_OK;
    }
    struct value *values = NULL;
    TRY(portal_params(portal, m, &values, why));
    return plan_bind(p->plan, values, n_params, &portal->arena, &portal->plan, why);
}

static void portal_free(struct pg_portal *p)
{
    if (p->query != NULL) {
        query_close(p->query);
    }
    ingest_close(p->returned);
    if (p->prepared != NULL) {
        pg_prepared_release(p->prepared);
    }
    arena_deinit(&p->arena);
    mem_free(p);
}

struct pg_portal *pg_portal_find(struct pg_session *s, struct str name)
{
    LIST_FOR (it, &s->portals) {
        struct pg_portal *p = LIST_ENTRY(it, struct pg_portal, link);
        if (str_eq(p->name, name)) {
            return p;
        }
    }
    return NULL;
}

void pg_portal_close(struct pg_session *s, struct pg_portal *p)
{
    list_remove(&p->link);
    s->n_portals--;
    s->portals_bytes -= p->bytes;
    portal_free(p);
}

void pg_portals_close(struct pg_session *s, bool held)
{
    LIST_FOR_SAFE (it, next, &s->portals) {
        struct pg_portal *p = LIST_ENTRY(it, struct pg_portal, link);
        if (p != s->exec.portal && (held || !p->hold)) {
            pg_portal_close(s, p);
        }
    }
}

static enum err portal_keep(struct pg_session *s, struct pg_portal *p, struct err_detail *why)
{
    struct pg_portal *old = pg_portal_find(s, p->name);
    if (old != NULL && p->name.len == 0) {
        pg_portal_close(s, old);
    } else if (old != NULL) {
        return err_set(why, ERR_IN_USE, "portal \"%.*s\" already exists", STR_ARG(p->name));
    }
    p->bytes = sizeof *p + p->arena.used_bytes;
    if (s->n_portals >= PG_PORTALS_MAX || s->portals_bytes + p->bytes > PG_PORTALS_BYTES_MAX) {
        enum err e = err_set(why, ERR_LIMIT,
                             "too many open portals or cursors: at most %d of %d MB together",
                             PG_PORTALS_MAX, PG_PORTALS_BYTES_MAX >> 20);
        err_hint(why, "Close some, or end the transaction.");
        return e;
    }
    list_add(&s->portals, &p->link);
    s->n_portals++;
    s->portals_bytes += p->bytes;
    return ERR_OK;
}

enum err pg_portal_bind(struct pg_session *s, struct str name, struct pg_prepared *p,
                        const struct pg_bind *m, struct pg_portal **out, struct err_detail *why)
{
    struct pg_portal *portal = mem_zalloc(1, sizeof *portal);
    if (portal == NULL) {
        return err_set(why, ERR_NO_MEMORY, "out of memory for a portal");
    }
    list_init(&portal->link);
    arena_init(&portal->arena, PG_PORTAL_BYTES_MAX);
    portal->prepared = p;
    p->refs++;
    portal->name = arena_str(&portal->arena, name);
    enum err e = portal->name.ptr != NULL ? portal_fill(s, portal, m, why) : ERR_NO_MEMORY;
    if (e == ERR_OK) {
        e = portal_keep(s, portal, why);
    }
    if (e != ERR_OK) {
        portal_free(portal);
        return e;
    }
    *out = portal;
    return ERR_OK;
}
