/* CREATE USER, ALTER USER, DROP USER: who may log in over Kafka. The plan holds the password as it
 * was written; what is kept of it is made when the statement runs. */
#include "plan/plan_int.h"

enum { DROP_USERS_MAX = 1000 };

static bool user_name(struct binder *b, const PgQuery__RoleSpec *r, struct str *out)
{
    if (r == NULL || (int)r->roletype != PG_QUERY__ROLE_SPEC_TYPE__ROLESPEC_CSTRING) {
        bind_fail(b, r != NULL ? r->location : -1, ERR_UNSUPPORTED,
                  "write the user's name: the session has none");
        return false;
    }
    *out = bind_str(b, str_of(r->rolename));
    return b->err == ERR_OK;
}

static bool read_password(struct binder *b, const PgQuery__DefElem *d)
{
    struct str text = d->arg != NULL ? node_string(d->arg) : STR("");
    if (text.len == 0 || text.len > SASL_PASSWORD_BYTES_MAX) {
        bind_fail(b, d->location, ERR_INVALID_ARGUMENT, "a password has 1 to %d bytes",
                  SASL_PASSWORD_BYTES_MAX);
        bind_hint(b, "DROP USER removes a user.");
        return false;
    }
    if (str_starts(text, STR("SCRAM-SHA-256$")) || str_starts(text, STR("md5"))) {
        bind_fail(b, d->location, ERR_UNSUPPORTED, "hashed passwords are not taken");
        bind_hint(b, "Write the password itself: only a salted form of it is kept. "
                     "kafka-configs.sh --entity-type users salts it before it sends it.");
        return false;
    }
    b->plan->text = bind_str(b, text);
    return b->err == ERR_OK;
}

static bool read_options(struct binder *b, PgQuery__Node **options, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const PgQuery__DefElem *d = options[i]->def_elem;
        bool on = true;
        if (strcmp(d->defname, "password") == 0) {
            if (!read_password(b, d))
                return false;
            continue;
        }
        bool login = strcmp(d->defname, "canlogin") == 0;
        if (login && !option_bool(b, d, &on))
            return false;
        if (!login || !on) {
            bind_fail(b, d->location, ERR_UNSUPPORTED, "this option of a user is not supported");
            bind_hint(b, "Users have a PASSWORD. What they may do over Kafka is said by ACLs.");
            return false;
        }
    }
    if (b->plan->text.ptr == NULL) {
        bind_fail(b, -1, ERR_INVALID_ARGUMENT, "the user's PASSWORD is missing");
        return false;
    }
    return true;
}

bool plan_create_user(struct binder *b, const PgQuery__CreateRoleStmt *s)
{
    struct plan *p = b->plan;
    p->kind = STMT_USER;
    p->user_change = USER_CREATE;
    p->tag = "CREATE ROLE";
    if ((int)s->stmt_type == PG_QUERY__ROLE_STMT_TYPE__ROLESTMT_GROUP) {
        bind_fail(b, 0, ERR_UNSUPPORTED, "groups of users are not supported");
        return false;
    }
    p->name = bind_str(b, str_of(s->role));
    return b->err == ERR_OK && read_options(b, s->options, s->n_options);
}

bool plan_alter_user(struct binder *b, const PgQuery__AlterRoleStmt *s)
{
    struct plan *p = b->plan;
    p->kind = STMT_USER;
    p->user_change = USER_ALTER;
    p->tag = "ALTER ROLE";
    return user_name(b, s->role, &p->name) && read_options(b, s->options, s->n_options);
}

bool plan_drop_user(struct binder *b, const PgQuery__DropRoleStmt *s)
{
    struct plan *p = b->plan;
    p->kind = STMT_USER;
    p->user_change = USER_DROP;
    p->tag = "DROP ROLE";
    p->if_exists = s->missing_ok;
    if (s->n_roles > DROP_USERS_MAX) {
        bind_fail(b, -1, ERR_LIMIT, "at most %d users are dropped at once", DROP_USERS_MAX);
        return false;
    }
    struct str *names = bind_alloc(b, s->n_roles + 1, sizeof *names);
    for (size_t i = 0; i < s->n_roles && b->err == ERR_OK; i++)
        (void)user_name(b, s->roles[i]->role_spec, &names[i]);
    p->drops = names;
    p->n_drops = (uint32_t)s->n_roles;
    return b->err == ERR_OK;
}
