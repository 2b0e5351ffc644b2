#include "serve/kafka_txn.h"

#include "base/mem.h"
#include "serve/kafka_quota.h"

#include <stdatomic.h>

struct kafka_route {
    int16_t key, version_min, version_max; /* as advertised */
    void (*handle)(struct kafka_request *r);
};

static void handle_api_versions(struct kafka_request *r);

/* What is served, by key. What is not here is not advertised. Produce is advertised from version 0
 * because librdkafka takes a higher start for a broker without compression; versions below 3 are
 * answered with UNSUPPORTED_VERSION. */
static const struct kafka_route routes[] = {
    {KAFKA_PRODUCE, 0, 13, kafka_handle_produce},
    {KAFKA_FETCH, 4, 18, kafka_handle_fetch},
    {KAFKA_LIST_OFFSETS, 1, 11, kafka_handle_list_offsets},
    {KAFKA_METADATA, 0, 13, kafka_handle_metadata},
    {KAFKA_OFFSET_COMMIT, 0, 10, kafka_handle_group},
    {KAFKA_OFFSET_FETCH, 0, 10, kafka_handle_group},
    {KAFKA_FIND_COORDINATOR, 0, 6, kafka_handle_find_coordinator},
    {KAFKA_JOIN_GROUP, 0, 9, kafka_handle_group},
    {KAFKA_HEARTBEAT, 0, 4, kafka_handle_group},
    {KAFKA_LEAVE_GROUP, 0, 5, kafka_handle_group},
    {KAFKA_SYNC_GROUP, 0, 5, kafka_handle_group},
    {KAFKA_DESCRIBE_GROUPS, 0, 6, kafka_handle_group},
    {KAFKA_LIST_GROUPS, 0, 5, kafka_handle_group},
    {KAFKA_SASL_HANDSHAKE, 0, 1, kafka_handle_sasl_handshake},
    {KAFKA_API_VERSIONS, 0, 5, handle_api_versions},
    {KAFKA_CREATE_TOPICS, 0, 7, kafka_handle_create_topics},
    {KAFKA_DELETE_TOPICS, 0, 6, kafka_handle_delete_topics},
    {KAFKA_DELETE_RECORDS, 0, 2, kafka_handle_delete_records},
    {KAFKA_INIT_PRODUCER_ID, 0, 6, kafka_handle_init_producer_id},
    {KAFKA_OFFSET_FOR_LEADER_EPOCH, 0, 4, kafka_handle_offset_for_leader_epoch},
    {KAFKA_ADD_PARTITIONS_TO_TXN, 0, 5, kafka_handle_txn},
    {KAFKA_ADD_OFFSETS_TO_TXN, 0, 4, kafka_handle_txn},
    {KAFKA_END_TXN, 0, 5, kafka_handle_txn},
    {KAFKA_TXN_OFFSET_COMMIT, 0, 6, kafka_handle_group},
    {KAFKA_DESCRIBE_ACLS, 0, 3, kafka_handle_describe_acls},
    {KAFKA_CREATE_ACLS, 0, 3, kafka_handle_create_acls},
    {KAFKA_DELETE_ACLS, 0, 3, kafka_handle_delete_acls},
    {KAFKA_DESCRIBE_CONFIGS, 0, 4, kafka_handle_describe_configs},
    {KAFKA_ALTER_CONFIGS, 0, 2, kafka_handle_alter_configs},
    {KAFKA_CREATE_PARTITIONS, 0, 3, kafka_handle_create_partitions},
    {KAFKA_DELETE_GROUPS, 0, 3, kafka_handle_group},
    {KAFKA_INCREMENTAL_ALTER_CONFIGS, 0, 1, kafka_handle_incremental_alter_configs},
    {KAFKA_SASL_AUTHENTICATE, 0, 2, kafka_handle_sasl_authenticate},
    {KAFKA_DESCRIBE_CLIENT_QUOTAS, 0, 1, kafka_handle_describe_quotas},
    {KAFKA_ALTER_CLIENT_QUOTAS, 0, 1, kafka_handle_alter_quotas},
    {KAFKA_DESCRIBE_USER_SCRAM_CREDENTIALS, 0, 0, kafka_handle_describe_users},
    {KAFKA_ALTER_USER_SCRAM_CREDENTIALS, 0, 0, kafka_handle_alter_users},
    {KAFKA_OFFSET_DELETE, 0, 0, kafka_handle_group},
    {KAFKA_DESCRIBE_CLUSTER, 0, 2, kafka_handle_describe_cluster},
    {KAFKA_DESCRIBE_LOG_DIRS, 0, 5, kafka_handle_describe_log_dirs},
    {KAFKA_ELECT_LEADERS, 0, 2, kafka_handle_elect_leaders},
    {KAFKA_ALTER_PARTITION_REASSIGNMENTS, 0, 1, kafka_handle_alter_reassignments},
    {KAFKA_LIST_PARTITION_REASSIGNMENTS, 0, 0, kafka_handle_list_reassignments},
    {KAFKA_DESCRIBE_PRODUCERS, 0, 0, kafka_handle_describe_producers},
    {KAFKA_DESCRIBE_TRANSACTIONS, 0, 0, kafka_handle_txn},
    {KAFKA_LIST_TRANSACTIONS, 0, 2, kafka_handle_txn},
    {KAFKA_LIST_CONFIG_RESOURCES, 0, 1, kafka_handle_list_config_resources},
    {KAFKA_DESCRIBE_TOPIC_PARTITIONS, 0, 0, kafka_handle_describe_topic_partitions},
    {KAFKA_CONSUMER_GROUP_HEARTBEAT, 0, 1, kafka_handle_group},
    {KAFKA_CONSUMER_GROUP_DESCRIBE, 0, 1, kafka_handle_group},
};
_Static_assert(ARRAY_LEN(routes) == KAFKA_APIS, "every API with a codec is served");

static const struct kafka_route *route_find(int16_t key)
{
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (routes[i].key == key)
            return &routes[i];
    return NULL;
}

static const struct kafka_api_codec *codec_find(int16_t key)
{
    for (size_t i = 0; i < KAFKA_APIS; i++)
        if (kafka_api_codecs[i].api.key == key)
            return &kafka_api_codecs[i];
    return NULL;
}

/* ---- request objects ---- */

struct kafka_shard *kafka_request_shard(const struct kafka_request *r)
{
    return &r->server->shards[shard_index(r->shard)];
}

struct kafka_conn *kafka_request_conn(const struct kafka_request *r)
{
    return conn_state(r->conn);
}

static struct kafka_request *request_new(struct conn *c)
{
    struct kafka_server *sv = conn_server_arg(conn_get_server(c));
    struct kafka_shard *ks = &sv->shards[shard_index(conn_shard(c))];
    struct kafka_request *r;
    struct arena arena;
    if (!list_empty(&ks->free_requests)) {
        r = LIST_ENTRY(ks->free_requests.next, struct kafka_request, link);
        list_remove(&r->link);
        ks->n_free--;
        arena = r->arena;
    } else {
        r = mem_alloc(sizeof *r);
        if (r == NULL)
            return NULL;
        arena_init(&arena, KAFKA_ARENA_BYTES_MAX);
    }
    *r = (struct kafka_request){.conn = c, .server = sv, .shard = conn_shard(c), .arena = arena};
    return r;
}

static void request_free(struct kafka_request *r)
{
    struct kafka_shard *ks = kafka_request_shard(r);
    if (r->cleanup != NULL)
        r->cleanup(r);
    if (r->catalog != NULL)
        catalog_unref(r->catalog);
    if (r->block != NULL)
        conn_block_release(r->block);
    if (ks->n_free >= KAFKA_REQUESTS_KEPT) {
        arena_deinit(&r->arena);
        mem_free(r);
        return;
    }
    arena_reset(&r->arena, KAFKA_ARENA_BYTES_KEPT);
    list_add(&ks->free_requests, &r->link);
    ks->n_free++;
}

void *kafka_request_alloc(struct kafka_request *r, size_t n, size_t size)
{
    void *p = arena_zalloc(&r->arena, n, size);
    if (p == NULL)
        kafka_request_fail(r, "is too large for the memory of a request");
    return p;
}

const struct catalog *kafka_request_catalog(struct kafka_request *r)
{
    if (r->catalog == NULL)
        r->catalog = catalog_ref(shard_catalog(r->shard));
    return r->catalog;
}

int16_t kafka_error_of(enum err e)
{
    return err_info(e)->kafka;
}

struct str kafka_error_text(struct kafka_request *r, enum err e, const struct err_detail *why)
{
    if (why != NULL && why->hint[0] != '\0')
        return arena_printf(&r->arena, "%s. %s", err_text(e, why), why->hint);
    return arena_str(&r->arena, str_of(err_text(e, why)));
}

struct str kafka_broker_host(const struct kafka_request *r, int32_t *port)
{
    const char *told = r->server->options.kafka_advertise;
    struct str local = str_of(told != NULL ? told : conn_local(r->conn));
    size_t colon = local.len;
    while (colon > 0 && local.ptr[colon - 1] != ':')
        colon--;
    int64_t number = 0;
    struct str digits = {local.ptr + colon, local.len - colon};
    if (colon == 0 || str_to_i64(digits, &number) != ERR_OK)
        number = 0;
    *port = (int32_t)number;
    struct str host = {local.ptr, colon > 0 ? colon - 1 : 0};
    if (host.len > 2 && host.ptr[0] == '[')
        host = (struct str){host.ptr + 1, host.len - 2};
    return host;
}

/* ---- answering ---- */

static bool response_has_tags(const struct kafka_request *r)
{
    return r->header.api_version >= r->codec->api.flexible &&
           r->header.api_key != KAFKA_API_VERSIONS;
}

/* Queues the encoded message, file ranges at their places. */
static void response_put(struct kafka_request *r, const struct buf *out,
                         const struct kafka_writer *w)
{
    size_t at = 0;
    for (uint32_t i = 0; i < w->n_splices; i++) {
        const struct kafka_splice *s = &w->splices[i];
        conn_put(r->conn, out->ptr + at, s->at - at);
        at = s->at;
        conn_put_range(r->conn, s->file);
    }
    conn_put(r->conn, out->ptr + at, out->len - at);
}

/* The oldest form of SASL has tokens without headers. */
static void token_send(struct kafka_request *r)
{
    const struct kafka_sasl_authenticate_res *res = r->response;
    char size[4];
    if (res->error_code != KAFKA_OK) {
        conn_close(r->conn);
        return;
    }
    be32_put(size, (uint32_t)res->auth_bytes.len);
    conn_put(r->conn, size, sizeof size);
    conn_put_str(r->conn, res->auth_bytes);
}

static void response_send(struct kafka_request *r)
{
    if (r->token) {
        token_send(r);
        return;
    }
    struct buf *out = &kafka_request_shard(r)->response;
    buf_clear(out);
    struct kafka_writer w = {.out = out, .splices_max = r->splices_max};
    w.splices = arena_alloc(&r->arena, r->splices_max * sizeof *w.splices);
    if (w.splices == NULL) {
        conn_close(r->conn);
        return;
    }
    kafka_write_int32(&w, 0); /* the length, known at the end */
    kafka_write_int32(&w, r->header.correlation_id);
    if (response_has_tags(r))
        kafka_write_uvarint(&w, 0);
    r->codec->response.write(&w, r->header.api_version, r->response);
    uint64_t bytes = out->len + w.splice_bytes;
    if (out->failed || bytes > INT32_MAX) {
        engine_note(r->server->engine, "error", "kafka: the %s response for %s cannot be encoded",
                    r->codec->api.name, conn_peer(r->conn));
        conn_close(r->conn);
        return;
    }
    be32_put(out->ptr, (uint32_t)(bytes - 4));
    response_put(r, out, &w);
}

/* Whether no further request may be begun now. */
static bool must_wait(struct conn *c)
{
    const struct kafka_conn *kc = conn_state(c);
    return kc->n_requests >= KAFKA_PIPELINE_MAX ||
           kc->request_bytes >= KAFKA_PIPELINE_BYTES_MAX || conn_output_full(c) ||
           ((kc->sasl_busy || kc->checking) && kc->n_requests > 0) || kc->muted;
}

void kafka_resume(struct conn *c)
{
    if (!conn_closed(c) && !must_wait(c))
        conn_resume(c);
}

/* Sends the answers that are due, in order, and reads on when there is room for more requests. */
static void answers_flush(struct conn *c)
{
    struct kafka_conn *kc = conn_state(c);
    if (kc->canceling)
        return;
    while (!list_empty(&kc->requests)) {
        struct kafka_request *r = LIST_ENTRY(kc->requests.next, struct kafka_request, link);
        if (!r->done)
            break;
        if (!r->silent && !conn_closed(c))
            response_send(r);
        if (r->last)
            conn_close_flushed(c);
        list_remove(&r->link);
        kc->n_requests--;
        kc->request_bytes -= r->bytes;
        request_free(r);
    }
    kafka_resume(c);
}

void kafka_request_finish(struct kafka_request *r, void *response)
{
    struct conn *c = r->conn;
    CHECK(!r->done);
    struct kafka_conn *kc = conn_state(c);
    if (response != NULL && !r->token) {
        if (!kafka_authorize_answer(r, response)) {
            r->silent = true;
            conn_close(c);
        }
        kafka_throttle(r, response);
    }
    if (kc->working == r)
        kc->working = NULL;
    r->response = response;
    r->done = true;
    r->cancel = NULL;
    answers_flush(c);
    conn_release(c);
}

void kafka_request_fail(struct kafka_request *r, const char *what)
{
    struct conn *c = r->conn;
    CHECK(!r->done);
    engine_note(r->server->engine, "warning",
                "kafka: connection from %s closed: a %s request (version %d) %s", conn_peer(c),
                r->codec != NULL ? r->codec->api.name : "broken", r->header.api_version, what);
    struct kafka_conn *kc = conn_state(c);
    if (kc->working == r)
        kc->working = NULL;
    r->done = r->silent = true;
    r->cancel = NULL;
    conn_close(c);
    answers_flush(c);
    conn_release(c);
}

/* ---- ApiVersions ---- */

static void api_versions_answer(struct kafka_request *r, int16_t error)
{
    struct kafka_api_versions_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    struct kafka_api_versions_res_api_key *keys =
        kafka_request_alloc(r, ARRAY_LEN(routes), sizeof *keys);
    if (keys == NULL)
        return;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        keys[i] = (struct kafka_api_versions_res_api_key){routes[i].key, routes[i].version_min,
                                                          routes[i].version_max};
    /* group.version 1: the new group protocol. transaction.version 2: what clients look for before
     * they leave the beginning of transactions to Produce, and expect a new epoch from EndTxn
     * (KIP-890). Features that begin at 0 cannot be told before version 4. */
    static struct kafka_api_versions_res_supported_feature supported[] = {
        {{"group.version", 13}, 0, 1}, {{"transaction.version", 19}, 0, 2}};
    static struct kafka_api_versions_res_finalized_feature finalized[] = {
        {{"group.version", 13}, 1, 1}, {{"transaction.version", 19}, 2, 2}};
    res->supported_features = supported;
    res->n_supported_features = r->header.api_version >= 4 ? ARRAY_LEN(supported) : 0;
    res->finalized_features = finalized;
    res->n_finalized_features = ARRAY_LEN(finalized);
    res->finalized_features_epoch = 0;
    res->error_code = error;
    res->api_keys = keys;
    res->n_api_keys = ARRAY_LEN(routes);
    kafka_request_finish(r, res);
}

/* Kafka's rule for names and versions of client software: letters, digits, '-' and '.', the last
 * two not at the ends. */
static bool software_valid(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool inner = (c == '-' || c == '.') && i > 0 && i + 1 < s.len;
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!inner && !letter)
            return false;
    }
    return s.len > 0;
}

static void handle_api_versions(struct kafka_request *r)
{
    const struct kafka_api_versions_req *req = r->request;
    bool named = r->header.api_version >= 3;
    bool valid = !named || (software_valid(req->client_software_name) &&
                            software_valid(req->client_software_version));
    /* Since version 5 clients say whom they want (KIP-1242): the address may have changed hands. */
    bool elsewhere = req->cluster_id.ptr != NULL &&
                     (req->node_id != KAFKA_NODE_ID ||
                      !str_eq(req->cluster_id, str_of(kafka_request_catalog(r)->cluster_id)));
    api_versions_answer(r, !valid      ? KAFKA_E_INVALID_REQUEST
                           : elsewhere ? KAFKA_E_REBOOTSTRAP_REQUIRED
                                       : KAFKA_OK);
}

/* ---- framing and dispatch ---- */

static void request_decode(struct kafka_request *r, struct kafka_reader *in,
                           const struct kafka_route *route)
{
    if (r->header.api_version >= r->codec->api.flexible)
        kafka_skip_tags(in);
    r->request = kafka_request_alloc(r, 1, r->codec->request.size);
    if (r->request == NULL)
        return;
    r->codec->request.read(in, r->header.api_version, r->request);
    if (in->failed != NULL) {
        struct str what = arena_printf(&r->arena, "is malformed: bad %s", in->failed);
        kafka_request_fail(r, what.ptr != NULL ? what.ptr : "is malformed");
        return;
    }
    atomic_fetch_add_explicit(&r->server->n_requests, 1, memory_order_relaxed);
    if (!kafka_authorize(r) || !kafka_throttle_admit(r))
        return;
    struct kafka_conn *kc = kafka_request_conn(r);
    if (shard_catalog(r->shard)->security->quotas.n == 0) {
        route->handle(r);
        return;
    }
    /* The request may be gone when its handler returns: its time was taken when it finished. */
    r->begun_ns = host_mono_ns(engine_host(r->server->engine));
    kc->working = r;
    route->handle(r);
    if (kc->working == r) {
        r->work_ns = host_mono_ns(engine_host(r->server->engine)) - r->begun_ns;
        r->begun_ns = 0;
    }
    kc->working = NULL;
}

/* What may be asked before the client has said who it is. */
static bool allowed_before_login(int16_t key)
{
    return key == KAFKA_API_VERSIONS || key == KAFKA_SASL_HANDSHAKE ||
           key == KAFKA_SASL_AUTHENTICATE;
}

static void request_begin(struct kafka_request *r, struct str message)
{
    if (kafka_request_conn(r)->sasl_tokens) {
        kafka_sasl_token(r, message);
        return;
    }
    struct kafka_reader in;
    kafka_reader_init(&in, message, &r->arena);
    kafka_read_header(&in, &r->header);
    const struct kafka_route *route = route_find(r->header.api_key);
    if (in.failed != NULL || route == NULL) {
        kafka_request_fail(r, in.failed != NULL ? "has no valid header" : "is of an unknown kind");
        return;
    }
    r->codec = codec_find(route->key);
    if (kafka_login_missing(r->conn) && !allowed_before_login(route->key)) {
        kafka_request_fail(r, "came before the client has authenticated, as --kafka-auth requires");
        return;
    }
    int16_t v = r->header.api_version;
    if (v >= route->version_min && v <= route->version_max) {
        request_decode(r, &in, route);
        return;
    }
    if (route->key != KAFKA_API_VERSIONS) {
        kafka_request_fail(r, "has a version that is not served");
        return;
    }
    /* A newer client: it is told our versions in the oldest form and tries again. */
    r->header.api_version = 0;
    api_versions_answer(r, KAFKA_E_UNSUPPORTED_VERSION);
}

/* Takes one whole request of `size` bytes behind its length off the input. False: stop. */
static bool request_take(struct conn *c, size_t size)
{
    struct kafka_conn *kc = conn_state(c);
    struct kafka_request *r = request_new(c);
    if (r == NULL) {
        conn_close(c);
        return false;
    }
    const char *bytes = conn_input(c).ptr + 4;
    /* A request may wait for long, and a block is large. */
    r->bytes = size;
    if (size <= KAFKA_REQUEST_BYTES_COPIED)
        r->body = arena_alloc(&r->arena, size);
    if (r->body != NULL) {
        memcpy(r->body, bytes, size);
    } else {
        r->block = conn_input_hold(c);
        r->body = conn_block_mutable(r->block, bytes);
    }
    list_add(&kc->requests, &r->link);
    kc->n_requests++;
    kc->request_bytes += size;
    conn_hold(c);
    conn_consume(c, size + 4);
    request_begin(r, (struct str){r->body, size});
    if (must_wait(c)) {
        conn_pause(c);
        return false;
    }
    return !conn_closed(c);
}

static void kafka_input(struct conn *c)
{
    struct kafka_server *sv = conn_server_arg(conn_get_server(c));
    const struct kafka_conn *kc = conn_state(c);
    for (;;) {
        struct str in = conn_input(c);
        if (in.len < 4)
            return;
        uint32_t size = be32_get(in.ptr);
        bool token = kc->sasl_tokens;
        uint32_t least = token ? 0 : KAFKA_REQUEST_BYTES_MIN;
        uint32_t most =
            token || kafka_login_missing(c) ? KAFKA_LOGIN_BYTES_MAX : KAFKA_REQUEST_BYTES_MAX;
        if (size < least || size > most) {
            engine_note(sv->engine, "warning",
                        "kafka: connection from %s closed: not a Kafka request, or one of %u bytes "
                        "(allowed are %u to %u)",
                        conn_peer(c), size, least, most);
            conn_close(c);
            return;
        }
        if (in.len < 4 + (size_t)size) {
            conn_want(c, 4 + (size_t)size);
            return;
        }
        if (!request_take(c, size))
            return;
    }
}

/* "[::1]:9092" without port and brackets. */
static struct str peer_host(struct str peer)
{
    while (peer.len > 0 && peer.ptr[peer.len - 1] != ':')
        peer.len--;
    if (peer.len > 0)
        peer.len--;
    if (peer.len > 2 && peer.ptr[0] == '[')
        peer = (struct str){peer.ptr + 1, peer.len - 2};
    return peer;
}

static enum err kafka_open(struct conn *c)
{
    struct kafka_conn *kc = conn_state(c);
    list_init(&kc->requests);
    kc->user = STR("ANONYMOUS");
    kc->host = peer_host(str_of(conn_peer(c)));
    kc->opened = true;
    return ERR_OK;
}

static void kafka_close(struct conn *c)
{
    struct kafka_conn *kc = conn_state(c);
    if (!kc->opened)
        return;
    kc->canceling = true; /* a cancel may finish its request at once; none is freed meanwhile */
    LIST_FOR (it, &kc->requests) {
        struct kafka_request *r = LIST_ENTRY(it, struct kafka_request, link);
        if (r->cancel != NULL)
            r->cancel(r);
    }
    kc->canceling = false;
    kafka_sasl_end(kc);
    kafka_throttle_end(c);
    answers_flush(c);
}

static void kafka_server_free(void *arg)
{
    struct kafka_server *sv = arg;
    for (uint32_t i = 0; i < sv->n_shards; i++) {
        struct kafka_shard *ks = &sv->shards[i];
        while (!list_empty(&ks->free_requests)) {
            struct kafka_request *r =
                LIST_ENTRY(ks->free_requests.next, struct kafka_request, link);
            list_remove(&r->link);
            arena_deinit(&r->arena);
            mem_free(r);
        }
        compress_free(ks->compress);
        compress_free(ks->large_compress);
        buf_deinit(&ks->scratch);
        buf_deinit(&ks->large_scratch);
        buf_deinit(&ks->response);
    }
    if (sv->txns != NULL)
        kafka_txns_free(sv->txns);
    if (sv->coordinator != NULL)
        kafka_coordinator_free(sv->coordinator);
    mem_free(sv->quotas);
    mem_free(sv);
}

static const struct conn_protocol kafka_protocol = {
    .name = "kafka",
    .state_bytes = sizeof(struct kafka_conn),
    .input_bytes_max = KAFKA_REQUEST_BYTES_MAX + 4,
    .output_bytes_max = 2 * KAFKA_RESPONSE_BYTES_MAX,
    .idle_ms_max = KAFKA_IDLE_MS,
    .partial_ms_max = KAFKA_PARTIAL_MS,
    .stall_ms_max = KAFKA_STALL_MS,
    .open = kafka_open,
    .input = kafka_input,
    .drain = answers_flush,
    .close = kafka_close,
    .server_free = kafka_server_free,
};

enum err kafka_server_start(struct engine *e, const struct serve_options *o, uint16_t *port_out,
                            struct err_detail *why)
{
    uint32_t n = engine_shards(e);
    struct kafka_server *sv = mem_zalloc(1, sizeof *sv + n * sizeof(struct kafka_shard));
    if (sv == NULL)
        return err_set(why, ERR_NO_MEMORY, "no memory for the Kafka server");
    kafka_authorize_check();
    sv->engine = e;
    sv->options = *o;
    sv->n_shards = n;
    sv->quotas = mem_zalloc(1, sizeof *sv->quotas);
    bool complete = sv->quotas != NULL;
    for (uint32_t i = 0; i < n; i++) {
        struct kafka_shard *ks = &sv->shards[i];
        list_init(&ks->free_requests);
        kafka_sasl_shard_init(sv, ks);
        kafka_check_shard_init(ks);
        buf_init(&ks->response, KAFKA_RESPONSE_BYTES_MAX);
        ks->compress = compress_new();
        ks->large_compress = compress_new();
        complete = complete && ks->compress != NULL && ks->large_compress != NULL;
    }
    enum err failed = ERR_OK;
    if (!complete)
        failed = err_set(why, ERR_NO_MEMORY, "no memory for the Kafka server");
    if (failed == ERR_OK)
        failed = conn_server_start(e, &kafka_protocol, o->kafka, o, sv, port_out, why);
    if (failed != ERR_OK) {
        kafka_server_free(sv);
        return failed;
    }
    /* The listener is there, so that from here on shutdown frees everything. */
    sv->coordinator = kafka_coordinator_new(e);
    if (sv->coordinator == NULL)
        return err_set(why, ERR_NO_MEMORY, "no memory for the group coordinator");
    sv->txns = kafka_txns_new(e, kafka_coordinator_offsets(sv->coordinator));
    if (sv->txns == NULL)
        return err_set(why, ERR_NO_MEMORY, "no memory for the transaction coordinator");
    engine_metric_add(e, "tidemill_kafka_requests_total", "", "Kafka requests begun.", true,
                      &sv->n_requests);
    engine_metric_add(e, "tidemill_kafka_produced_bytes_total", "",
                      "Bytes of record batches received by Produce.", true, &sv->n_produced_bytes);
    engine_metric_add(e, "tidemill_kafka_fetched_bytes_total", "",
                      "Bytes of record batches sent by Fetch.", true, &sv->n_fetched_bytes);
    return ERR_OK;
}
