/* SET, SHOW, transactions: what drivers send around the work. */
#include "plan/plan_int.h"

#include <stdio.h>

static const struct {
    const char *name, *value;
} settings[] = {
    {"application_name", ""},
    {"bytea_output", "hex"},
    {"client_encoding", "UTF8"},
    {"client_min_messages", "notice"},
    {"datestyle", "ISO, MDY"},
    {"default_transaction_isolation", "read committed"},
    {"default_transaction_read_only", "off"},
    {"extra_float_digits", "1"},
    {"idle_in_transaction_session_timeout", "0"},
    {"in_hot_standby", "off"},
    {"integer_datetimes", "on"},
    {"intervalstyle", "postgres"},
    {"is_superuser", "on"},
    {"lc_collate", "C"},
    {"lc_ctype", "C.UTF-8"},
    {"lock_timeout", "0"},
    {"max_identifier_length", "63"},
    {"row_security", "off"},
    {"search_path", "public"},
    {"server_encoding", "UTF8"},
    {"server_version", "15.0"},
    {"server_version_num", "150000"},
    {"session_authorization", "tidemill"},
    {"standard_conforming_strings", "on"},
    {"statement_timeout", "0"},
    {"synchronous_commit", "on"},
    {"timezone", "UTC"},
    {"transaction_isolation", "read committed"},
    {"transaction_read_only", "off"},
};

static const char *setting_value(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        if (str_ieq(name, str_of(settings[i].name)))
            return settings[i].value;
    return NULL;
}

static bool no_setting(struct binder *b, struct str name)
{
    struct str names[ARRAY_LEN(settings)];
    for (size_t i = 0; i < ARRAY_LEN(settings); i++)
        names[i] = str_of(settings[i].name);
    bind_fail(b, -1, ERR_UNDEFINED_OBJECT, "unrecognized configuration parameter \"%.*s\"",
              STR_ARG(name));
    bind_nearest(b, name, names, ARRAY_LEN(names));
    return false;
}

/* ---- SET ---- */

static bool set_text(struct binder *b, const PgQuery__VariableSetStmt *s, struct str *out)
{
    struct buf text;
    buf_init(&text, SQL_BYTES_MAX);
    for (size_t i = 0; i < s->n_args; i++) {
        node *n = s->args[i];
        if ((int)n->node_case != PG_QUERY__NODE__NODE_A_CONST)
            continue;
        const PgQuery__AConst *c = n->a_const;
        if (i > 0)
            buf_printf(&text, ", ");
        if ((int)c->val_case == PG_QUERY__A__CONST__VAL_SVAL)
            buf_printf(&text, "%s", c->sval->sval);
        else if ((int)c->val_case == PG_QUERY__A__CONST__VAL_IVAL)
            buf_printf(&text, "%d", c->ival->ival);
        else if ((int)c->val_case == PG_QUERY__A__CONST__VAL_FVAL)
            buf_printf(&text, "%s", c->fval->fval);
    }
    if (text.failed)
        bind_fail(b, -1, ERR_NO_MEMORY, "out of memory while planning the statement");
    else
        *out = bind_str(b, buf_str(&text));
    buf_deinit(&text);
    return b->err == ERR_OK;
}

/* Settings whose effect cannot be had are refused, so that nobody reads wrong results. */
static bool set_possible(struct binder *b, struct str name, struct str value)
{
    static const struct {
        const char *name;
        const char *allowed[8];
    } fixed[] = {
        {"timezone", {"UTC", "GMT", "Etc/UTC", "default", "Zulu", "+00", "0", NULL}},
        {"client_encoding", {"UTF8", "UTF-8", "unicode", "utf_8", "default", NULL}},
        {"standard_conforming_strings", {"on", "true", "1", "yes", NULL}},
        {"intervalstyle", {"postgres", NULL}},
        {"datestyle", {"ISO", "ISO, MDY", "ISO,MDY", "MDY", "ISO, YMD", "ISO, DMY", NULL}},
    };
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        if (!str_ieq(name, str_of(fixed[i].name)))
            continue;
        for (size_t k = 0; fixed[i].allowed[k] != NULL; k++)
            if (str_ieq(value, str_of(fixed[i].allowed[k])))
                return true;
        bind_fail(b, -1, ERR_UNSUPPORTED, "%s can only be %s", fixed[i].name,
                  fixed[i].allowed[0]);
        if (i == 0)
            bind_hint(b, "Times are stored and shown in UTC; convert them in the client.");
        return false;
    }
    return true;
}

bool plan_set(struct binder *b, const PgQuery__VariableSetStmt *s)
{
    struct plan *p = b->plan;
    int kind = (int)s->kind;
    p->kind = STMT_SET;
    p->tag = kind == PG_QUERY__VARIABLE_SET_KIND__VAR_RESET ||
                     kind == PG_QUERY__VARIABLE_SET_KIND__VAR_RESET_ALL ? "RESET" : "SET";
    p->name = bind_str(b, str_of(s->name));
    if (kind == PG_QUERY__VARIABLE_SET_KIND__VAR_RESET_ALL ||
        kind == PG_QUERY__VARIABLE_SET_KIND__VAR_SET_MULTI)
        return b->err == ERR_OK; /* SET TRANSACTION ...: there is one kind */
    const char *now = setting_value(p->name);
    bool custom = memchr(p->name.ptr, '.', p->name.len) != NULL;
    if (b->err != ERR_OK || (now == NULL && !custom))
        return b->err == ERR_OK && no_setting(b, p->name);
    if (kind != PG_QUERY__VARIABLE_SET_KIND__VAR_SET_VALUE) {
        p->text = str_of(now != NULL ? now : "");
        return true;
    }
    return set_text(b, s, &p->text) && set_possible(b, p->name, p->text);
}

/* ---- constant tables ---- */

struct plan_node *plan_text_table(struct binder *b, const char *const *columns,
                                  uint32_t n_columns, const struct str *cells, uint32_t n_rows)
{
    struct plan_node *n = plan_node_new(b, PLAN_VALUES, NULL, n_columns);
    struct column_def *defs = bind_alloc(b, (size_t)n_columns + 1, sizeof *defs);
    uint32_t count = n_columns * n_rows;
    const struct expr **exprs = bind_alloc(b, (size_t)count + 1, sizeof(*exprs));
    if (n == NULL || defs == NULL || exprs == NULL)
        return NULL;
    for (uint32_t i = 0; i < n_columns; i++)
        defs[i] = (struct column_def){bind_str(b, str_of(columns[i])), TYPE_TEXT, -1, false};
    for (uint32_t i = 0; i < count; i++) {
        struct value v = {.type = TYPE_TEXT, .null = cells[i].ptr == NULL};
        if (!v.null)
            v.as.s = bind_str(b, cells[i]);
        exprs[i] = expr_const(b, v, -1);
    }
    n->columns = defs;
    n->exprs = exprs;
    n->n_exprs = count;
    n->n_rows = n_rows;
    return b->err == ERR_OK ? n : NULL;
}

/* ---- SHOW ---- */

static bool show_all(struct binder *b)
{
    static const char *const columns[] = {"name", "setting", "description"};
    struct str cells[ARRAY_LEN(settings) * 3];
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        cells[3 * i] = str_of(settings[i].name);
        cells[3 * i + 1] = str_of(settings[i].value);
        cells[3 * i + 2] = STR("");
    }
    b->plan->root = plan_text_table(b, columns, 3, cells, ARRAY_LEN(settings));
    return b->err == ERR_OK;
}

bool plan_show(struct binder *b, const PgQuery__VariableShowStmt *s)
{
    struct plan *p = b->plan;
    p->kind = STMT_SHOW;
    p->tag = "SHOW";
    p->name = bind_str(b, str_of(s->name));
    if (b->err == ERR_OK && str_eq(p->name, STR("all")))
        return show_all(b);
    const char *value = b->err == ERR_OK ? setting_value(p->name) : NULL;
    if (value == NULL)
        return no_setting(b, p->name);
    p->text = str_of(value);
    const char *column = p->name.ptr;
    p->root = plan_text_table(b, &column, 1, &p->text, 1);
    return b->err == ERR_OK;
}

/* ---- transactions ---- */

bool plan_transaction(struct binder *b, const PgQuery__TransactionStmt *s)
{
    struct plan *p = b->plan;
    p->kind = STMT_TRANSACTION;
    switch ((int)s->kind) {
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_BEGIN: p->tag = "BEGIN"; break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_START: p->tag = "START TRANSACTION"; break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_COMMIT: p->tag = "COMMIT"; break;
    case PG_QUERY__TRANSACTION_STMT_KIND__TRANS_STMT_ROLLBACK: p->tag = "ROLLBACK"; break;
    default:
        bind_fail(b, 0, ERR_UNSUPPORTED, "savepoints and prepared transactions are not supported");
        bind_hint(b, "Every statement is durable by itself.");
        return false;
    }
    p->text = str_of(p->tag);
    return true;
}
