#include "serve/kafka_int.h"

#include "base/mem.h"

/* SaslHandshake and SaslAuthenticate: who the client of a connection is.
 *
 *   NEW --SaslHandshake--> a mechanism is chosen --SaslAuthenticate, one or two--> AUTHENTICATED
 *                              |                                                        |
 *                              +-- anything wrong: an error, and the connection ends    |
 *                                  (AUTHENTICATED stays: both are refused from then on) +
 *
 * After SaslHandshake version 0 the tokens come framed but without request headers; they run
 * through the same code as requests that are answered the same way.
 *
 * A PLAIN password is salted to be compared, which takes milliseconds: the checks of a shard are
 * made one by one, and pause for KAFKA_LOGIN_SHARE times as long as the last one took, so that
 * guessing passwords cannot stop the shard. Names that do not exist take the same way with a
 * credential that nothing fits. */

void kafka_sasl_shard_init(struct kafka_server *sv, struct kafka_shard *ks)
{
    host_random(engine_host(sv->engine), sv->sasl_secret, sizeof sv->sasl_secret);
    list_init(&ks->password_checks);
}

bool kafka_login_missing(struct conn *c)
{
    const struct kafka_server *sv = conn_server_arg(conn_get_server(c));
    const struct kafka_conn *kc = conn_state(c);
    return sv->options.kafka_auth && !kc->authenticated;
}

void kafka_sasl_end(struct kafka_conn *kc)
{
    if (kc->exchange != NULL)
        memset(kc->exchange, 0, sizeof *kc->exchange);
    mem_free(kc->exchange);
    kc->exchange = NULL;
}

/* ---- SaslHandshake ---- */

void kafka_handle_sasl_handshake(struct kafka_request *r)
{
    static struct str names[] = {{"PLAIN", 5}, {"SCRAM-SHA-256", 13}, {"SCRAM-SHA-512", 13}};
    const struct kafka_sasl_handshake_req *req = r->request;
    struct kafka_conn *kc = kafka_request_conn(r);
    struct kafka_sasl_handshake_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    res->mechanisms = names;
    res->n_mechanisms = ARRAY_LEN(names);
    enum sasl_mechanism m = sasl_mechanism_of(req->mechanism);
    kafka_sasl_end(kc);
    if (kc->authenticated) {
        res->error_code = KAFKA_E_ILLEGAL_SASL_STATE;
    } else if (m == 0) {
        res->error_code = KAFKA_E_UNSUPPORTED_SASL_MECHANISM;
        r->last = true;
    } else {
        kc->mechanism = m;
        kc->sasl_tokens = r->header.api_version == 0;
    }
    kafka_request_finish(r, res);
}

/* ---- SaslAuthenticate: the outcome ---- */

static void answer(struct kafka_request *r, int16_t error, struct str text, struct str bytes)
{
    struct kafka_conn *kc = kafka_request_conn(r);
    struct kafka_sasl_authenticate_res *res = kafka_request_alloc(r, 1, sizeof *res);
    kc->sasl_busy = false;
    if (res == NULL)
        return;
    res->error_code = error;
    res->error_message = text;
    res->auth_bytes = bytes;
    kafka_request_finish(r, res);
}

static void login_fails(struct kafka_request *r, enum err e, const struct err_detail *why)
{
    struct kafka_conn *kc = kafka_request_conn(r);
    const char *mechanism = sasl_mechanism_name(kc->mechanism);
    struct str text = e == ERR_FORBIDDEN
                          ? arena_printf(&r->arena,
                                         "authentication failed: wrong user or password with "
                                         "SASL mechanism %s", mechanism)
                          : kafka_error_text(r, e, why);
    kafka_sasl_end(kc);
    engine_note(r->server->engine, "warning", "kafka: login from %s with %s failed: %s",
                conn_peer(r->conn), mechanism,
                e == ERR_FORBIDDEN ? "wrong user or password" : err_text(e, why));
    r->last = true;
    answer(r, KAFKA_E_SASL_AUTHENTICATION_FAILED, text, STR(""));
}

/* Whether the list "a,b,c" has the user. */
static bool is_super(const char *list, struct str user)
{
    for (const char *at = list; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, ",");
        if (str_eq((struct str){at, n}, user))
            return true;
        at += n + (at[n] == ',' ? 1 : 0);
    }
    return false;
}

static void login_succeeds(struct kafka_request *r, struct str user, struct str bytes)
{
    struct kafka_conn *kc = kafka_request_conn(r);
    CHECK(user.len <= sizeof kc->user_bytes);
    memcpy(kc->user_bytes, user.ptr, user.len);
    kc->user = (struct str){kc->user_bytes, user.len};
    kc->authenticated = true;
    kc->super = is_super(r->server->options.kafka_super, user);
    kc->sasl_tokens = false;
    kafka_sasl_end(kc);
    answer(r, KAFKA_OK, (struct str){NULL, 0}, bytes);
}

/* The user's credential for the mechanism, or one that no password fits. */
static enum err credential_find(struct kafka_request *r, struct str user, enum sasl_mechanism m,
                                struct scram_credential *out)
{
    const struct security *s = kafka_request_catalog(r)->security;
    const struct security_item *found = security_credential(s, user, m);
    if (found != NULL) {
        *out = found->credential;
        return ERR_OK;
    }
    const uint8_t *secret = s->has_secret ? s->secret : r->server->sasl_secret;
    return scram_credential_mock(m, user, secret, SECURITY_SECRET_BYTES, out);
}

/* ---- PLAIN ---- */

static void password_check(struct kafka_request *r)
{
    struct kafka_shard *ks = kafka_request_shard(r);
    struct host *h = engine_host(r->server->engine);
    const struct sasl_plain *login = r->state;
    const struct security *s = kafka_request_catalog(r)->security;
    bool only_512 = security_credential(s, login->user, SASL_SCRAM_SHA_256) == NULL &&
                    security_credential(s, login->user, SASL_SCRAM_SHA_512) != NULL;
    struct scram_credential c;
    bool right = false;
    int64_t from = host_mono_ns(h);
    enum err e = credential_find(r, login->user, only_512 ? SASL_SCRAM_SHA_512 : SASL_SCRAM_SHA_256,
                                 &c);
    if (e == ERR_OK)
        e = scram_password_check(&c, login->password, &right);
    int64_t until = host_mono_ns(h);
    int64_t pause = KAFKA_LOGIN_SHARE * (until - from);
    int64_t most = KAFKA_LOGIN_PAUSE_MS_MAX * INT64_C(1000000);
    ks->password_at_ns = until + (pause < most ? pause : most);
    list_remove(&r->check);
    r->cancel = NULL;
    if (e == ERR_OK && right)
        login_succeeds(r, login->user, STR(""));
    else
        login_fails(r, e == ERR_OK ? ERR_FORBIDDEN : e, NULL);
}

/* Makes the check that is due, and sets the time of the next. */
static void password_checks_run(struct shard_timer *t)
{
    struct kafka_shard *ks = CONTAINER_OF(t, struct kafka_shard, password_timer);
    if (list_empty(&ks->password_checks))
        return;
    struct kafka_request *r = LIST_ENTRY(ks->password_checks.next, struct kafka_request, check);
    struct shard *s = r->shard;
    password_check(r);
    if (!list_empty(&ks->password_checks) &&
        shard_timer_set(s, &ks->password_timer, ks->password_at_ns) != ERR_OK) {
        r = LIST_ENTRY(ks->password_checks.next, struct kafka_request, check);
        list_remove(&r->check);
        kafka_request_fail(r, "found no memory for its timer");
    }
}

static void password_cancel(struct kafka_request *r)
{
    struct kafka_shard *ks = kafka_request_shard(r);
    list_remove(&r->check);
    if (list_empty(&ks->password_checks))
        shard_timer_cancel(r->shard, &ks->password_timer);
    r->silent = true;
    kafka_request_finish(r, NULL);
}

static void plain_begin(struct kafka_request *r, struct str message)
{
    struct kafka_shard *ks = kafka_request_shard(r);
    struct err_detail why = {0};
    struct sasl_plain *login = kafka_request_alloc(r, 1, sizeof *login);
    if (login == NULL)
        return;
    enum err e = sasl_plain_parse(message, login, &why);
    if (e != ERR_OK) {
        login_fails(r, e, &why);
        return;
    }
    r->state = login;
    bool first = list_empty(&ks->password_checks);
    list_add(&ks->password_checks, &r->check);
    kafka_request_conn(r)->sasl_busy = true;
    r->cancel = password_cancel;
    ks->password_timer.fire = password_checks_run;
    if (!first)
        return;
    if (host_mono_ns(engine_host(r->server->engine)) >= ks->password_at_ns) {
        password_check(r);
    } else if (shard_timer_set(r->shard, &ks->password_timer, ks->password_at_ns) != ERR_OK) {
        list_remove(&r->check);
        kafka_request_fail(r, "found no memory for its timer");
    }
}

/* ---- SCRAM ---- */

/* A copy of what was written, in the request's memory. */
static bool bytes_keep(struct kafka_request *r, struct buf *from, struct str *out)
{
    *out = arena_str(&r->arena, buf_str(from));
    buf_deinit(from);
    return out->ptr != NULL;
}

static void scram_first(struct kafka_request *r, struct str message)
{
    struct kafka_conn *kc = kafka_request_conn(r);
    struct err_detail why = {0};
    struct scram_credential c;
    uint8_t nonce[SCRAM_NONCE_BYTES];
    struct buf out;
    struct str bytes;
    buf_init(&out, SCRAM_TEXT_MAX);
    kc->exchange = mem_zalloc(1, sizeof *kc->exchange);
    enum err e = kc->exchange == NULL ? ERR_NO_MEMORY : scram_begin(kc->exchange, message, &why);
    if (e == ERR_OK) {
        struct str user = {kc->exchange->user, kc->exchange->user_len};
        host_random(engine_host(r->server->engine), nonce, sizeof nonce);
        e = credential_find(r, user, kc->mechanism, &c);
    }
    if (e == ERR_OK)
        e = scram_challenge(kc->exchange, &c, nonce, &out);
    if (!bytes_keep(r, &out, &bytes) && e == ERR_OK)
        e = ERR_NO_MEMORY;
    if (e == ERR_OK)
        answer(r, KAFKA_OK, (struct str){NULL, 0}, bytes);
    else
        login_fails(r, e, &why);
}

static void scram_second(struct kafka_request *r, struct str message)
{
    struct kafka_conn *kc = kafka_request_conn(r);
    struct err_detail why = {0};
    struct buf out;
    struct str bytes;
    buf_init(&out, SCRAM_TEXT_MAX);
    enum err e = scram_finish(kc->exchange, message, &out, &why);
    if (!bytes_keep(r, &out, &bytes) && e == ERR_OK)
        e = ERR_NO_MEMORY;
    if (e == ERR_OK)
        login_succeeds(r, (struct str){kc->exchange->user, kc->exchange->user_len}, bytes);
    else
        login_fails(r, e, &why);
}

/* ---- SaslAuthenticate: the way in ---- */

static void authenticate(struct kafka_request *r, struct str message)
{
    struct kafka_conn *kc = kafka_request_conn(r);
    if (kc->authenticated || kc->mechanism == 0) {
        r->last = !kc->authenticated;
        answer(r, KAFKA_E_ILLEGAL_SASL_STATE,
               kc->authenticated ? STR("the connection is authenticated already")
                                 : STR("SaslHandshake comes before SaslAuthenticate"),
               STR(""));
    } else if (kc->mechanism == SASL_PLAIN) {
        plain_begin(r, message);
    } else if (kc->exchange == NULL) {
        scram_first(r, message);
    } else {
        scram_second(r, message);
    }
}

void kafka_handle_sasl_authenticate(struct kafka_request *r)
{
    const struct kafka_sasl_authenticate_req *req = r->request;
    authenticate(r, req->auth_bytes);
}

void kafka_sasl_token(struct kafka_request *r, struct str token)
{
    static const struct kafka_api_codec codec = {.api = {.name = "SASL token"}};
    r->codec = &codec;
    r->token = true;
    authenticate(r, token);
}
