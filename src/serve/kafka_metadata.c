#include "serve/kafka_int.h"

/* Metadata, with the creation of missing topics, and the requests that are about the one broker. */

bool kafka_topic_name_valid(struct str name)
{
    if (name.len == 0 || name.len > NAME_BYTES_MAX || str_eq(name, STR(".")) ||
        str_eq(name, STR("..")))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}

const struct topic *kafka_topic_find(struct kafka_request *r, struct str name, struct kafka_uuid id,
                                     bool by_id)
{
    const struct catalog *c = kafka_request_catalog(r);
    return by_id ? catalog_topic_by_id(c, id.bytes) : catalog_topic(c, name);
}

struct metadata_state {
    struct kafka_metadata_res *res;
    struct ddl_request ddl; /* creates one missing topic after the other */
    struct kafka_request *request;
    uint32_t next; /* topic of the request to be looked at */
    bool running, waiting;
};

static void topic_fill(struct kafka_request *r, const struct topic *t,
                       struct kafka_metadata_res_topic *out)
{
    static int32_t node = KAFKA_NODE_ID;
    out->name = t->name;
    memcpy(out->topic_id.bytes, t->id, sizeof out->topic_id.bytes);
    out->is_internal = t->kind == TOPIC_INTERNAL;
    out->authorized_operations = INT32_MIN;
    out->partitions = arena_zalloc(&r->arena, t->n_partitions, sizeof *out->partitions);
    if (out->partitions == NULL) {
        out->error_code = kafka_error_of(ERR_NO_MEMORY);
        return;
    }
    out->n_partitions = t->n_partitions;
    for (uint32_t i = 0; i < t->n_partitions; i++) {
        struct kafka_metadata_res_partition *p = &out->partitions[i];
        p->index = (int32_t)i;
        p->leader_id = KAFKA_NODE_ID;
        p->replica_nodes = p->isr_nodes = &node;
        p->n_replica_nodes = p->n_isr_nodes = 1;
    }
}

static bool brokers_fill(struct kafka_request *r, struct kafka_metadata_res *res)
{
    res->brokers = kafka_request_alloc(r, 1, sizeof *res->brokers);
    if (res->brokers == NULL)
        return false;
    res->n_brokers = 1;
    res->brokers[0].node_id = KAFKA_NODE_ID;
    res->brokers[0].host = kafka_broker_host(r, &res->brokers[0].port);
    res->cluster_id = str_of(kafka_request_catalog(r)->cluster_id);
    res->controller_id = KAFKA_NODE_ID;
    res->cluster_authorized_operations = INT32_MIN;
    return true;
}

static void all_topics(struct kafka_request *r, struct kafka_metadata_res *res)
{
    const struct catalog *c = kafka_request_catalog(r);
    res->topics = kafka_request_alloc(r, c->n_topics, sizeof *res->topics);
    if (res->topics == NULL)
        return;
    res->n_topics = c->n_topics;
    for (uint32_t i = 0; i < c->n_topics; i++)
        topic_fill(r, c->topics[i], &res->topics[i]);
    kafka_request_finish(r, res);
}

/* ---- named topics, one after the other ---- */

static void named_run(struct kafka_request *r);

static void created(struct ddl_request *d)
{
    struct metadata_state *st = CONTAINER_OF(d, struct metadata_state, ddl);
    struct kafka_request *r = st->request;
    const struct kafka_metadata_req *req = r->request;
    struct kafka_metadata_res_topic *out = &st->res->topics[st->next];
    struct str name = req->topics[st->next].name;
    /* Only the catalog of now knows the new topic; the old one stays referenced for what points
     * into it. */
    const struct topic *t = catalog_topic(shard_catalog(r->shard), name);
    if (t == NULL && catalog_relation(shard_catalog(r->shard), name) != NULL) {
        out->error_code = KAFKA_E_INVALID_TOPIC; /* it is a view's, which has no topic */
    } else if (d->err != ERR_OK && d->err != ERR_DUPLICATE_TABLE) {
        out->error_code = kafka_error_of(d->err);
    } else if (t == NULL) {
        out->error_code = KAFKA_E_LEADER_NOT_AVAILABLE; /* the client asks again */
    } else {
        topic_fill(r, t, out);
        out->name = name;
    }
    st->next++;
    st->waiting = false;
    named_run(r);
}

static void topic_create(struct kafka_request *r, struct str name)
{
    struct metadata_state *st = r->state;
    st->ddl = (struct ddl_request){.if_not_exists = true, .done = created};
    st->ddl.change.verb = CHANGE_CREATE_TOPIC;
    st->ddl.change.name = name;
    st->ddl.change.topic = (struct topic){.name = name, .kind = TOPIC_USER};
    st->waiting = true;
    shard_ddl(r->shard, &st->ddl);
}

/* Looks at one topic of the request; it may have to be created first. */
static void named_topic(struct kafka_request *r)
{
    const struct kafka_metadata_req *req = r->request;
    struct metadata_state *st = r->state;
    const struct kafka_metadata_req_topic *in = &req->topics[st->next];
    struct kafka_metadata_res_topic *out = &st->res->topics[st->next];
    /* The Java client leaves the name empty, not null, when it asks by id. */
    bool by_id = !kafka_uuid_is_zero(&in->topic_id);
    const struct topic *t = kafka_topic_find(r, in->name, in->topic_id, by_id);
    out->name = in->name;
    out->topic_id = in->topic_id;
    out->authorized_operations = INT32_MIN;
    if (t != NULL)
        topic_fill(r, t, out);
    else if (by_id)
        out->error_code = KAFKA_E_UNKNOWN_TOPIC_ID;
    else if (!kafka_topic_name_valid(in->name))
        out->error_code = KAFKA_E_INVALID_TOPIC;
    else if (req->allow_auto_topic_creation &&
             engine_opened_with(r->server->engine)->auto_create_topics)
        topic_create(r, in->name);
    else
        out->error_code = KAFKA_E_UNKNOWN_TOPIC;
}

static void named_run(struct kafka_request *r)
{
    const struct kafka_metadata_req *req = r->request;
    struct metadata_state *st = r->state;
    if (st->running)
        return;
    st->running = true;
    while (st->next < req->n_topics && !st->waiting) {
        uint32_t at = st->next;
        named_topic(r);
        if (!st->waiting && st->next == at)
            st->next++;
    }
    st->running = false;
    if (!st->waiting)
        kafka_request_finish(r, st->res);
}

void kafka_handle_metadata(struct kafka_request *r)
{
    const struct kafka_metadata_req *req = r->request;
    struct kafka_metadata_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL || !brokers_fill(r, res))
        return;
    bool none_means_all = r->header.api_version == 0 && r->denials == NULL;
    if (req->topics == NULL || (none_means_all && req->n_topics == 0)) {
        all_topics(r, res);
        return;
    }
    if (req->n_topics > KAFKA_TOPICS_PER_REQUEST_MAX) {
        kafka_request_fail(r, "names too many topics");
        return;
    }
    struct metadata_state *st = kafka_request_alloc(r, 1, sizeof *st);
    if (st == NULL)
        return;
    res->topics = kafka_request_alloc(r, req->n_topics, sizeof *res->topics);
    if (res->topics == NULL)
        return;
    res->n_topics = req->n_topics;
    st->res = res;
    st->request = r;
    r->state = st;
    named_run(r);
}

/* ---- the broker ---- */

enum { COORDINATOR_GROUP = 0, COORDINATOR_TRANSACTION = 1 };

void kafka_handle_find_coordinator(struct kafka_request *r)
{
    const struct kafka_find_coordinator_req *req = r->request;
    struct kafka_find_coordinator_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    bool known = req->key_type == COORDINATOR_GROUP || req->key_type == COORDINATOR_TRANSACTION;
    int16_t error = known ? (int16_t)KAFKA_OK : (int16_t)KAFKA_E_INVALID_REQUEST;
    int32_t port = -1, node = -1;
    struct str host = STR("");
    if (known) {
        host = kafka_broker_host(r, &port);
        node = KAFKA_NODE_ID;
    }
    struct str text = known ? (struct str){NULL, 0}
                            : STR("coordinators of groups (0) and transactions (1) are served");
    res->error_code = error;
    res->error_message = text;
    res->node_id = node;
    res->host = host;
    res->port = port;
    res->coordinators = kafka_request_alloc(r, req->n_coordinator_keys, sizeof *res->coordinators);
    if (res->coordinators == NULL)
        return;
    res->n_coordinators = req->n_coordinator_keys;
    for (uint32_t i = 0; i < req->n_coordinator_keys; i++)
        res->coordinators[i] = (struct kafka_find_coordinator_res_coordinator){
            .key = req->coordinator_keys[i],
            .node_id = node,
            .host = host,
            .port = port,
            .error_code = error,
            .error_message = text,
        };
    kafka_request_finish(r, res);
}
