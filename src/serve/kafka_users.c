#include "serve/kafka_int.h"

/* DescribeUserScramCredentials and AlterUserScramCredentials (KIP-554): a password arrives salted,
 * and only keys that are made of it are kept. */

/* ---- DescribeUserScramCredentials ---- */

typedef struct kafka_describe_user_scram_credentials_res_result user_result;

/* All credentials of the user, which stand side by side from `at` on. */
static bool user_fill(struct kafka_request *r, const struct security_list *l, uint32_t at,
                      user_result *out)
{
    enum { MECHANISMS_MAX = 2 };
    out->user = l->items[at]->user;
    out->credential_infos = arena_zalloc(&r->arena, MECHANISMS_MAX, sizeof *out->credential_infos);
    if (out->credential_infos == NULL)
        return false;
    for (; at < l->n && str_eq(l->items[at]->user, out->user); at++) {
        const struct scram_credential *c = &l->items[at]->credential;
        out->credential_infos[out->n_credential_infos].mechanism = (int8_t)c->mechanism;
        out->credential_infos[out->n_credential_infos++].iterations = (int32_t)c->iterations;
    }
    return true;
}

static bool all_users(struct kafka_request *r,
                      struct kafka_describe_user_scram_credentials_res *res)
{
    const struct security_list *l = &kafka_request_catalog(r)->security->credentials;
    res->results = arena_zalloc(&r->arena, l->n, sizeof *res->results);
    for (uint32_t i = 0; i < l->n && res->results != NULL; i++) {
        if (i > 0 && str_eq(l->items[i]->user, l->items[i - 1]->user))
            continue;
        if (!user_fill(r, l, i, &res->results[res->n_results++]))
            return false;
    }
    return res->results != NULL;
}

static bool one_user(struct kafka_request *r, struct str name, user_result *out)
{
    const struct security_list *l = &kafka_request_catalog(r)->security->credentials;
    for (uint32_t i = 0; i < l->n; i++)
        if (str_eq(l->items[i]->user, name))
            return user_fill(r, l, i, out);
    out->user = name;
    out->error_code = KAFKA_E_RESOURCE_NOT_FOUND;
    out->error_message = STR("there is no such user");
    return true;
}

static bool named_users(struct kafka_request *r,
                        struct kafka_describe_user_scram_credentials_res *res)
{
    const struct kafka_describe_user_scram_credentials_req *req = r->request;
    res->results = arena_zalloc(&r->arena, req->n_users, sizeof *res->results);
    if (res->results == NULL)
        return false;
    for (uint32_t i = 0; i < req->n_users; i++) {
        uint32_t same = 0;
        while (same < res->n_results && !str_eq(res->results[same].user, req->users[i].name))
            same++;
        if (same < res->n_results) {
            res->results[same] = (user_result){
                .user = req->users[i].name, .error_code = KAFKA_E_DUPLICATE_RESOURCE,
                .error_message = STR("the user is named twice")};
            continue;
        }
        if (!one_user(r, req->users[i].name, &res->results[res->n_results++]))
            return false;
    }
    return true;
}

void kafka_handle_describe_users(struct kafka_request *r)
{
    const struct kafka_describe_user_scram_credentials_req *req = r->request;
    struct kafka_describe_user_scram_credentials_res *res =
        kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    bool all = req->users == NULL || req->n_users == 0;
    if (req->n_users > KAFKA_SECURITY_NAMES_MAX) {
        kafka_request_fail(r, "names too many users");
        return;
    }
    if (!(all ? all_users(r, res) : named_users(r, res))) {
        kafka_request_fail(r, "is too large for the memory of a request");
        return;
    }
    kafka_request_finish(r, res);
}

/* ---- AlterUserScramCredentials ---- */

typedef struct kafka_alter_user_scram_credentials_res_result alter_result;

struct alter_state {
    struct kafka_alter_user_scram_credentials_res *res;
    struct security_item *items; /* item 0 is the secret's */
    uint32_t *result_of;         /* which result each item belongs to */
    uint32_t n;
};

static alter_result *result_of(struct alter_state *st, struct str user, uint32_t *index)
{
    struct kafka_alter_user_scram_credentials_res *res = st->res;
    for (*index = 0; *index < res->n_results; ++*index)
        if (str_eq(res->results[*index].user, user))
            return &res->results[*index];
    res->results[res->n_results].user = user;
    return &res->results[res->n_results++];
}

static void result_fail(alter_result *out, int16_t code, struct str text)
{
    if (out->error_code != KAFKA_OK)
        return;
    out->error_code = code;
    out->error_message = text;
}

/* Adds the item, or gives its user an error. */
static void item_add(struct kafka_request *r, struct alter_state *st,
                     const struct security_item *item)
{
    uint32_t index;
    struct err_detail why = {0};
    alter_result *out = result_of(st, item->user, &index);
    if (item->credential.mechanism != SASL_SCRAM_SHA_256 &&
        item->credential.mechanism != SASL_SCRAM_SHA_512) {
        result_fail(out, KAFKA_E_UNSUPPORTED_SASL_MECHANISM,
                    STR("the mechanisms are SCRAM-SHA-256 (1) and SCRAM-SHA-512 (2)"));
        return;
    }
    for (uint32_t i = KAFKA_SECURITY_ITEM_FIRST; i < st->n; i++)
        if (st->items[i].credential.mechanism == item->credential.mechanism &&
            str_eq(st->items[i].user, item->user))
            result_fail(out, KAFKA_E_DUPLICATE_RESOURCE,
                        STR("the user's mechanism is named twice"));
    const struct security *now = kafka_request_catalog(r)->security;
    if (item->remove &&
        security_credential(now, item->user, item->credential.mechanism) == NULL)
        result_fail(out, KAFKA_E_RESOURCE_NOT_FOUND,
                    STR("the user has no credential for the mechanism"));
    if (security_item_check(item, &why) != ERR_OK)
        result_fail(out, KAFKA_E_UNACCEPTABLE_CREDENTIAL,
                    kafka_error_text(r, ERR_INVALID_ARGUMENT, &why));
    st->result_of[st->n] = index;
    st->items[st->n++] = *item;
}

static void upsertion_add(struct kafka_request *r, struct alter_state *st,
                          const struct kafka_alter_user_scram_credentials_req_upsertion *in)
{
    uint32_t index;
    struct security_item item = {.kind = SECURITY_CREDENTIAL, .user = in->name};
    struct scram_credential *c = &item.credential;
    c->mechanism = (enum sasl_mechanism)in->mechanism;
    c->iterations = in->iterations < 0 ? 0 : (uint32_t)in->iterations;
    bool sized = in->salted_password.len == scram_hash_bytes(c->mechanism) &&
                 in->salt.len <= sizeof c->salt;
    if (sized) {
        c->salt_len = (uint32_t)in->salt.len;
        if (in->salt.len > 0)
            memcpy(c->salt, in->salt.ptr, in->salt.len);
        uint8_t salted[SCRAM_HASH_BYTES_MAX];
        memcpy(salted, in->salted_password.ptr, in->salted_password.len);
        sized = scram_credential_keys(c, salted) == ERR_OK;
        memset(salted, 0, sizeof salted);
    }
    item_add(r, st, &item);
    if (!sized)
        result_fail(result_of(st, in->name, &index), KAFKA_E_UNACCEPTABLE_CREDENTIAL,
                    STR("the salted password is not as long as the mechanism's hash, or the salt "
                        "is longer than 128 bytes"));
}

static void users_changed(struct kafka_request *r, int16_t error, struct str text)
{
    const struct alter_state *st = r->state;
    struct kafka_alter_user_scram_credentials_res *res = st->res;
    for (uint32_t i = 0; i < res->n_results; i++)
        if (error != KAFKA_OK)
            result_fail(&res->results[i], error, text);
    kafka_request_finish(r, res);
}

void kafka_handle_alter_users(struct kafka_request *r)
{
    const struct kafka_alter_user_scram_credentials_req *req = r->request;
    struct alter_state *st = kafka_request_alloc(r, 1, sizeof *st);
    if (st == NULL)
        return;
    uint64_t most = (uint64_t)req->n_deletions + req->n_upsertions;
    if (most > KAFKA_SECURITY_NAMES_MAX) {
        kafka_request_fail(r, "names too many users");
        return;
    }
    st->res = arena_zalloc(&r->arena, 1, sizeof *st->res);
    st->items = arena_zalloc(&r->arena, most + KAFKA_SECURITY_ITEM_FIRST, sizeof *st->items);
    st->result_of = arena_zalloc(&r->arena, most + KAFKA_SECURITY_ITEM_FIRST,
                                 sizeof *st->result_of);
    if (st->res != NULL)
        st->res->results = arena_zalloc(&r->arena, most, sizeof *st->res->results);
    if (st->res == NULL || st->items == NULL || st->result_of == NULL ||
        st->res->results == NULL) {
        kafka_request_fail(r, "is too large for the memory of a request");
        return;
    }
    r->state = st;
    st->n = KAFKA_SECURITY_ITEM_FIRST;
    for (uint32_t i = 0; i < req->n_deletions; i++) {
        struct security_item item = {
            .kind = SECURITY_CREDENTIAL, .remove = true, .user = req->deletions[i].name,
            .credential.mechanism = (enum sasl_mechanism)req->deletions[i].mechanism};
        item_add(r, st, &item);
    }
    for (uint32_t i = 0; i < req->n_upsertions; i++)
        upsertion_add(r, st, &req->upsertions[i]);
    uint32_t kept = KAFKA_SECURITY_ITEM_FIRST; /* without what belongs to a user with an error */
    for (uint32_t i = KAFKA_SECURITY_ITEM_FIRST; i < st->n; i++)
        if (st->res->results[st->result_of[i]].error_code == KAFKA_OK)
            st->items[kept++] = st->items[i];
    kafka_security_change(r, st->items, kept, users_changed);
}
