#include "serve/kafka_int.h"

#include "serve/kafka_quota.h"

/* Client quotas: what a request used is taken from the client's buckets when it is answered; who
 * has used too much is told by throttle_time_ms, and the connection is not read for that time, as
 * in Kafka. Reached through kafka_request_finish, so that every API is counted. Without any quota
 * in the catalog nothing of it runs. */

#define NS_PER_MS INT64_C(1000000)

static struct str client_of(const struct kafka_request *r)
{
    return r->header.client_id.ptr != NULL ? r->header.client_id : STR("");
}

/* The client's quota of a kind and the key of its bucket; NULL: none holds. */
static const struct security_quota *quota_of(struct kafka_request *r, struct str kind,
                                             uint64_t *key)
{
    const struct kafka_conn *kc = kafka_request_conn(r);
    const struct security_quota *q = security_quota_of(shard_catalog(r->shard)->security,
                                                       kc->user, client_of(r), kind);
    if (q != NULL)
        *key = quota_key(q, kc->user, client_of(r));
    return q;
}

static int64_t use(struct kafka_request *r, struct str kind, double cost, double unit)
{
    uint64_t key;
    const struct security_quota *q = quota_of(r, kind, &key);
    return q == NULL ? 0
                     : quota_use(r->server->quotas, key, q->value * unit, cost,
                                 shard_mono_ns(r->shard));
}

/* ---- while a connection is not read ---- */

static void mute_ends(struct shard_timer *t)
{
    struct kafka_conn *kc = CONTAINER_OF(t, struct kafka_conn, mute_timer);
    struct conn *c = conn_of_state(kc);
    struct shard *s = conn_shard(c);
    if (kc->muted_until_ns > shard_mono_ns(s) &&
        shard_timer_set(s, t, kc->muted_until_ns) == ERR_OK)
        return;
    kc->muted = false;
    kafka_resume(c);
    conn_release(c);
}

static void mute(struct kafka_request *r, int64_t ns)
{
    struct kafka_conn *kc = kafka_request_conn(r);
    int64_t until = shard_mono_ns(r->shard) + ns;
    if (conn_closed(r->conn) || until <= kc->muted_until_ns)
        return;
    kc->muted_until_ns = until;
    if (kc->muted)
        return; /* the timer looks at the time again */
    kc->mute_timer.fire = mute_ends;
    if (shard_timer_set(r->shard, &kc->mute_timer, until) != ERR_OK) {
        conn_close(r->conn);
        return;
    }
    kc->muted = true;
    conn_hold(r->conn);
    conn_pause(r->conn);
}

void kafka_throttle_end(struct conn *c)
{
    struct kafka_conn *kc = conn_state(c);
    if (!kc->muted)
        return;
    kc->muted = false;
    shard_timer_cancel(conn_shard(c), &kc->mute_timer);
    conn_release(c);
}

/* ---- what a request uses ---- */

static double fetched_bytes(const struct kafka_fetch_res *res)
{
    double n = 0;
    for (uint32_t i = 0; i < res->n_topics; i++)
        for (uint32_t k = 0; k < res->topics[i].n_partitions; k++)
            n += (double)res->topics[i].partitions[k].records.len;
    return n;
}

static void throttle_tell(struct kafka_request *r, void *response, int64_t ns)
{
    const struct kafka_shape *shape = r->codec->response.shape;
    int64_t ms = (ns + NS_PER_MS - 1) / NS_PER_MS;
    int32_t told = ms < INT32_MAX ? (int32_t)ms : INT32_MAX;
    for (uint32_t i = 0; i < shape->n_fields; i++)
        if (strcmp(shape->fields[i].name, "throttle_time_ms") == 0)
            memcpy((char *)response + shape->fields[i].offset, &told, sizeof told);
}

void kafka_throttle(struct kafka_request *r, void *response)
{
    int64_t ns = r->throttle_ns, more = 0;
    if (shard_catalog(r->shard)->security->quotas.n == 0)
        return;
    if (r->header.api_key == KAFKA_PRODUCE)
        more = use(r, STR("producer_byte_rate"), (double)r->bytes, 1);
    else if (r->header.api_key == KAFKA_FETCH)
        more = use(r, STR("consumer_byte_rate"), fetched_bytes(response), 1);
    ns = more > ns ? more : ns;
    if (r->begun_ns != 0)
        r->work_ns = host_mono_ns(engine_host(r->server->engine)) - r->begun_ns;
    more = use(r, STR("request_percentage"), (double)r->work_ns, 1e9 / 100);
    ns = more > ns ? more : ns;
    if (ns <= 0)
        return;
    if (ns > KAFKA_MUTE_MS_MAX * NS_PER_MS)
        ns = KAFKA_MUTE_MS_MAX * NS_PER_MS;
    throttle_tell(r, response, ns);
    mute(r, ns);
}

/* ---- changes of topics: before the handler ---- */

static double partitions_made(struct kafka_request *r, uint32_t i)
{
    const struct kafka_create_topics_req_topic *t =
        &((const struct kafka_create_topics_req *)r->request)->topics[i];
    if (t->n_assignments > 0)
        return (double)t->n_assignments;
    uint32_t by_default = engine_opened_with(r->server->engine)->default_partitions;
    return t->num_partitions > 0 ? (double)t->num_partitions : (double)by_default;
}

static double partitions_dropped(struct kafka_request *r, uint32_t i)
{
    const struct kafka_delete_topics_req *req = r->request;
    bool by_name = r->header.api_version < 6;
    struct kafka_uuid id = {{0}};
    struct str name = by_name ? req->topic_names[i] : req->topics[i].name;
    if (!by_name)
        id = req->topics[i].topic_id;
    const struct topic *t = kafka_topic_find(r, name, id, name.ptr == NULL);
    return t != NULL ? (double)t->n_partitions : 0;
}

static double partitions_added(struct kafka_request *r, uint32_t i)
{
    const struct kafka_create_partitions_req_topic *in =
        &((const struct kafka_create_partitions_req *)r->request)->topics[i];
    const struct topic *t = catalog_topic(shard_catalog(r->shard), in->name);
    return t != NULL && in->count > (int64_t)t->n_partitions
               ? (double)in->count - (double)t->n_partitions
               : 0;
}

/* Uses the quota topic after topic. Clients that know the error (Kafka: `strict_from` on) have the
 * rest refused once it is used up; others are throttled. False: out of memory. */
static bool mutations_admit(struct kafka_request *r, const char *array, uint32_t n,
                            double (*cost)(struct kafka_request *r, uint32_t i),
                            int16_t strict_from)
{
    uint64_t key;
    const struct security_quota *q = quota_of(r, STR("controller_mutation_rate"), &key);
    struct quota_table *t = r->server->quotas;
    int64_t now = shard_mono_ns(r->shard), wait = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n && q != NULL; i++, kept++) {
        wait = quota_wait_ns(t, key, now);
        if (wait > 0 && r->header.api_version >= strict_from)
            break;
        wait = quota_use(t, key, q->value, cost(r, i), now);
    }
    if (q == NULL)
        return true;
    r->throttle_ns = wait;
    return kept == n || kafka_deny_from(r, array, kept, KAFKA_E_THROTTLING_QUOTA_EXCEEDED);
}

bool kafka_throttle_admit(struct kafka_request *r)
{
    enum { CREATE_STRICT = 6, DELETE_STRICT = 5, ADD_STRICT = 3 };
    bool memory = true;
    if (shard_catalog(r->shard)->security->quotas.n == 0)
        return true;
    if (r->header.api_key == KAFKA_CREATE_TOPICS) {
        const struct kafka_create_topics_req *req = r->request;
        if (!req->validate_only)
            memory = mutations_admit(r, "topics", req->n_topics, partitions_made, CREATE_STRICT);
    } else if (r->header.api_key == KAFKA_CREATE_PARTITIONS) {
        const struct kafka_create_partitions_req *req = r->request;
        if (!req->validate_only)
            memory = mutations_admit(r, "topics", req->n_topics, partitions_added, ADD_STRICT);
    } else if (r->header.api_key == KAFKA_DELETE_TOPICS) {
        const struct kafka_delete_topics_req *req = r->request;
        bool by_name = r->header.api_version < 6;
        memory = mutations_admit(r, by_name ? "topic_names" : "topics",
                                 by_name ? req->n_topic_names : req->n_topics, partitions_dropped,
                                 DELETE_STRICT);
    }
    if (!memory)
        kafka_request_fail(r, "is too large for the memory of a request");
    return memory;
}
