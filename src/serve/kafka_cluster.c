#include "serve/kafka_int.h"

#include <stdlib.h>

/* What tools ask a cluster of one broker: DescribeCluster, DescribeTopicPartitions,
 * DescribeLogDirs, ListConfigResources, and leaders and replicas, which are always where they
 * should be. */

enum { TOPIC_PARTITIONS_MAX = 2000, LOG_DIR_PARTITIONS_MAX = 100000 };

static int32_t node_ids[] = {KAFKA_NODE_ID};

static bool partition_exists(const struct topic *t, int32_t index)
{
    return t != NULL && index >= 0 && (uint32_t)index < t->n_partitions;
}

static const struct topic *topic_named(struct kafka_request *r, struct str name)
{
    return catalog_topic(kafka_request_catalog(r), name);
}

static void no_memory(struct kafka_request *r)
{
    kafka_request_fail(r, "is too large for the memory of a request");
}

/* ---- DescribeCluster ---- */

void kafka_handle_describe_cluster(struct kafka_request *r)
{
    enum { ENDPOINT_BROKERS = 1, ENDPOINT_CONTROLLERS = 2 };
    const struct kafka_describe_cluster_req *req = r->request;
    struct kafka_describe_cluster_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    res->endpoint_type = req->endpoint_type;
    res->cluster_id = str_of(kafka_request_catalog(r)->cluster_id);
    res->controller_id = KAFKA_NODE_ID;
    res->cluster_authorized_operations = INT32_MIN;
    if (req->endpoint_type != ENDPOINT_BROKERS) {
        bool known = req->endpoint_type == ENDPOINT_CONTROLLERS;
        res->error_code = known ? KAFKA_E_MISMATCHED_ENDPOINT_TYPE
                                : KAFKA_E_UNSUPPORTED_ENDPOINT_TYPE;
        res->error_message = STR("brokers (1) listen here, not controllers");
        kafka_request_finish(r, res);
        return;
    }
    res->brokers = kafka_request_alloc(r, 1, sizeof *res->brokers);
    if (res->brokers == NULL)
        return;
    res->n_brokers = 1;
    res->brokers[0].broker_id = KAFKA_NODE_ID;
    res->brokers[0].host = kafka_broker_host(r, &res->brokers[0].port);
    kafka_request_finish(r, res);
}

/* ---- DescribeTopicPartitions ---- */

typedef struct kafka_describe_topic_partitions_res_topic topic_entry;

struct describing {
    struct kafka_request *request;
    struct kafka_describe_topic_partitions_res *res;
    uint32_t left; /* partitions that still fit */
};

/* Adds a topic's partitions from `first` on, as many as fit; false: out of memory. */
static bool topic_describe(struct describing *d, struct str name, int32_t first)
{
    struct kafka_request *r = d->request;
    const struct topic *t = topic_named(r, name);
    topic_entry *out = &d->res->topics[d->res->n_topics++];
    out->name = name;
    out->topic_authorized_operations = INT32_MIN;
    if (t == NULL) {
        out->error_code = kafka_topic_name_valid(name) ? KAFKA_E_UNKNOWN_TOPIC
                                                       : KAFKA_E_INVALID_TOPIC;
        return true;
    }
    memcpy(out->topic_id.bytes, t->id, sizeof out->topic_id.bytes);
    out->is_internal = t->kind == TOPIC_INTERNAL;
    out->topic_authorized_operations = kafka_operations(r, ACL_TOPIC, name);
    uint32_t from = first > 0 ? (uint32_t)first : 0;
    uint32_t n = from < t->n_partitions ? t->n_partitions - from : 0;
    n = n < d->left ? n : d->left;
    out->partitions = arena_zalloc(&r->arena, n, sizeof *out->partitions);
    if (out->partitions == NULL)
        return false;
    for (; out->n_partitions < n; out->n_partitions++) {
        struct kafka_describe_topic_partitions_res_partition *p =
            &out->partitions[out->n_partitions];
        p->partition_index = (int32_t)(from + out->n_partitions);
        p->leader_id = KAFKA_NODE_ID;
        p->replica_nodes = p->isr_nodes = node_ids;
        p->n_replica_nodes = p->n_isr_nodes = 1;
        /* None, as an empty list: the Java client does not take null, although it may be null. */
        p->eligible_leader_replicas = p->last_known_elr = node_ids;
    }
    d->left -= n;
    if (from + n < t->n_partitions) {
        d->res->has_next_cursor = true;
        d->res->next_cursor.topic_name = name;
        d->res->next_cursor.partition_index = (int32_t)(from + n);
    }
    return true;
}

static int compare_names(const void *a, const void *b)
{
    const struct kafka_describe_topic_partitions_req_topic *x = a, *y = b;
    return str_cmp(x->name, y->name);
}

/* The topics asked for, in the order of their names; all when none is named. */
static bool topics_asked(struct kafka_request *r)
{
    struct kafka_describe_topic_partitions_req *req = r->request;
    const struct catalog *c = kafka_request_catalog(r);
    if (req->n_topics == 0 && r->denials == NULL) {
        req->topics = arena_zalloc(&r->arena, c->n_topics, sizeof *req->topics);
        if (req->topics == NULL)
            return false;
        for (uint32_t i = 0; i < c->n_topics; i++)
            req->topics[i].name = c->topics[i]->name;
        req->n_topics = c->n_topics;
    }
    if (req->n_topics > 1)
        qsort(req->topics, req->n_topics, sizeof *req->topics, compare_names);
    return true;
}

void kafka_handle_describe_topic_partitions(struct kafka_request *r)
{
    struct kafka_describe_topic_partitions_req *req = r->request;
    struct kafka_describe_topic_partitions_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    if (req->n_topics > KAFKA_TOPICS_PER_REQUEST_MAX) {
        kafka_request_fail(r, "names too many topics");
        return;
    }
    struct describing d = {r, res, TOPIC_PARTITIONS_MAX};
    if (req->response_partition_limit > 0 && req->response_partition_limit < TOPIC_PARTITIONS_MAX)
        d.left = (uint32_t)req->response_partition_limit;
    if (!topics_asked(r) ||
        (res->topics = arena_zalloc(&r->arena, req->n_topics, sizeof *res->topics)) == NULL) {
        no_memory(r);
        return;
    }
    for (uint32_t i = 0; i < req->n_topics && !res->has_next_cursor; i++) {
        struct str name = req->topics[i].name;
        int order = req->has_cursor ? str_cmp(name, req->cursor.topic_name) : 1;
        if (order < 0)
            continue;
        if (d.left == 0) {
            res->has_next_cursor = true;
            res->next_cursor.topic_name = name;
        } else if (!topic_describe(&d, name, order == 0 ? req->cursor.partition_index : 0)) {
            no_memory(r);
            return;
        }
    }
    kafka_request_finish(r, res);
}

/* ---- DescribeLogDirs: one offset request per partition for its size ---- */

typedef struct kafka_describe_log_dirs_res_topic dir_topic;

struct dir_part {
    struct offset_request offset;
    struct kafka_request *request;
    struct kafka_describe_log_dirs_res_partition *res;
};

struct dir_state {
    struct kafka_describe_log_dirs_res *res;
    struct dir_part *parts;
    uint32_t n_parts, pending; /* requests not done, and 1 while they are being started */
};

static void dir_done(struct kafka_request *r)
{
    struct dir_state *st = r->state;
    if (--st->pending == 0)
        kafka_request_finish(r, st->res);
}

static void size_done(struct offset_request *o)
{
    struct dir_part *p = CONTAINER_OF(o, struct dir_part, offset);
    if (o->err == ERR_OK)
        p->res->partition_size = (int64_t)o->size_bytes;
    dir_done(p->request);
}

/* Adds the topic with room for `n` partitions. */
static dir_topic *dir_topic_add(struct kafka_request *r, struct str name, uint32_t n)
{
    const struct dir_state *st = r->state;
    dir_topic *out = &st->res->results[0].topics[st->res->results[0].n_topics];
    out->name = name;
    out->partitions = arena_zalloc(&r->arena, n, sizeof *out->partitions);
    if (out->partitions == NULL)
        return NULL;
    st->res->results[0].n_topics++;
    return out;
}

static void dir_partition(struct kafka_request *r, const struct topic *t, dir_topic *out,
                          uint32_t index)
{
    struct dir_state *st = r->state;
    struct dir_part *p = &st->parts[st->n_parts++];
    p->request = r;
    p->res = &out->partitions[out->n_partitions++];
    p->res->partition_index = (int32_t)index;
    p->offset = (struct offset_request){
        .topic = t, .partition = index, .timestamp_ms = -1, .done = size_done};
}

/* How many partitions the request may be about. */
static uint64_t dir_partitions(struct kafka_request *r)
{
    const struct kafka_describe_log_dirs_req *req = r->request;
    const struct catalog *c = kafka_request_catalog(r);
    uint64_t n = 0;
    for (uint32_t i = 0; i < req->n_topics; i++)
        n += req->topics[i].n_partitions;
    for (uint32_t i = 0; i < c->n_topics && req->topics == NULL; i++)
        n += c->topics[i]->n_partitions;
    return n;
}

static bool dir_fill(struct kafka_request *r)
{
    const struct kafka_describe_log_dirs_req *req = r->request;
    const struct catalog *c = kafka_request_catalog(r);
    for (uint32_t i = 0; i < c->n_topics && req->topics == NULL; i++) {
        const struct topic *t = c->topics[i];
        dir_topic *out = dir_topic_add(r, t->name, t->n_partitions);
        if (out == NULL)
            return false;
        for (uint32_t k = 0; k < t->n_partitions; k++)
            dir_partition(r, t, out, k);
    }
    for (uint32_t i = 0; i < req->n_topics; i++) {
        const struct topic *t = topic_named(r, req->topics[i].topic);
        if (t == NULL)
            continue;
        dir_topic *out = dir_topic_add(r, t->name, req->topics[i].n_partitions);
        if (out == NULL)
            return false;
        for (uint32_t k = 0; k < req->topics[i].n_partitions; k++)
            if (partition_exists(t, req->topics[i].partitions[k]))
                dir_partition(r, t, out, (uint32_t)req->topics[i].partitions[k]);
    }
    return true;
}

void kafka_handle_describe_log_dirs(struct kafka_request *r)
{
    const struct kafka_describe_log_dirs_req *req = r->request;
    struct dir_state *st = kafka_request_alloc(r, 1, sizeof *st);
    if (st == NULL)
        return;
    uint64_t n = dir_partitions(r);
    uint32_t n_topics = req->topics != NULL ? req->n_topics : kafka_request_catalog(r)->n_topics;
    if (n > LOG_DIR_PARTITIONS_MAX) {
        kafka_request_fail(r, "is about too many partitions");
        return;
    }
    r->state = st;
    st->pending = 1;
    st->res = arena_zalloc(&r->arena, 1, sizeof *st->res);
    st->parts = arena_zalloc(&r->arena, n, sizeof *st->parts);
    if (st->res != NULL)
        st->res->results = arena_zalloc(&r->arena, 1, sizeof *st->res->results);
    if (st->res == NULL || st->parts == NULL || st->res->results == NULL) {
        no_memory(r);
        return;
    }
    struct kafka_describe_log_dirs_res_result *dir = &st->res->results[0];
    uint64_t usable;
    st->res->n_results = 1;
    dir->log_dir = str_of(engine_opened_with(r->server->engine)->data_dir);
    dir->total_bytes = dir->usable_bytes = -1;
    if (host_disk_free(engine_host(r->server->engine),
                       engine_opened_with(r->server->engine)->data_dir, &usable) == ERR_OK)
        dir->usable_bytes = (int64_t)usable;
    dir->topics = arena_zalloc(&r->arena, n_topics, sizeof *dir->topics);
    if (dir->topics == NULL || !dir_fill(r)) {
        no_memory(r);
        return;
    }
    st->pending += st->n_parts;
    for (uint32_t i = 0; i < st->n_parts; i++)
        shard_offsets(r->shard, &st->parts[i].offset);
    dir_done(r);
}

/* ---- leaders and replicas ---- */

void kafka_handle_elect_leaders(struct kafka_request *r)
{
    const struct kafka_elect_leaders_req *req = r->request;
    struct kafka_elect_leaders_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    res->replica_election_results =
        kafka_request_alloc(r, req->n_topic_partitions, sizeof *res->replica_election_results);
    if (res->replica_election_results == NULL)
        return;
    for (uint32_t i = 0; i < req->n_topic_partitions; i++) {
        const struct kafka_elect_leaders_req_topic *in = &req->topic_partitions[i];
        struct kafka_elect_leaders_res_result *out =
            &res->replica_election_results[res->n_replica_election_results++];
        const struct topic *t = topic_named(r, in->topic);
        out->topic = in->topic;
        out->partition_results =
            kafka_request_alloc(r, in->n_partitions, sizeof *out->partition_results);
        if (out->partition_results == NULL)
            return;
        for (uint32_t k = 0; k < in->n_partitions; k++) {
            struct kafka_elect_leaders_res_partition *p =
                &out->partition_results[out->n_partition_results++];
            bool exists = partition_exists(t, in->partitions[k]);
            p->partition_id = in->partitions[k];
            p->error_code = exists ? KAFKA_E_ELECTION_NOT_NEEDED : KAFKA_E_UNKNOWN_TOPIC;
            p->error_message = exists ? STR("the only replica is the leader")
                                      : STR("no such partition");
        }
    }
    kafka_request_finish(r, res);
}

/* What a reassignment of one partition comes to. */
static int16_t reassign(const struct topic *t,
                        const struct kafka_alter_partition_reassignments_req_partition *in,
                        struct str *text)
{
    *text = (struct str){NULL, 0};
    if (!partition_exists(t, in->partition_index)) {
        *text = STR("no such partition");
        return KAFKA_E_UNKNOWN_TOPIC;
    }
    if (in->replicas == NULL) {
        *text = STR("no reassignment is under way");
        return KAFKA_E_NO_REASSIGNMENT_IN_PROGRESS;
    }
    if (in->n_replicas == 1 && in->replicas[0] == KAFKA_NODE_ID)
        return KAFKA_OK;
    *text = STR("the only broker is 1");
    return KAFKA_E_INVALID_ASSIGNMENT;
}

void kafka_handle_alter_reassignments(struct kafka_request *r)
{
    const struct kafka_alter_partition_reassignments_req *req = r->request;
    struct kafka_alter_partition_reassignments_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    res->allow_replication_factor_change = req->allow_replication_factor_change;
    res->responses = kafka_request_alloc(r, req->n_topics, sizeof *res->responses);
    if (res->responses == NULL)
        return;
    for (uint32_t i = 0; i < req->n_topics; i++) {
        const struct kafka_alter_partition_reassignments_req_topic *in = &req->topics[i];
        struct kafka_alter_partition_reassignments_res_response *out =
            &res->responses[res->n_responses++];
        const struct topic *t = topic_named(r, in->name);
        out->name = in->name;
        out->partitions = kafka_request_alloc(r, in->n_partitions, sizeof *out->partitions);
        if (out->partitions == NULL)
            return;
        for (uint32_t k = 0; k < in->n_partitions; k++) {
            struct kafka_alter_partition_reassignments_res_partition *p =
                &out->partitions[out->n_partitions++];
            p->partition_index = in->partitions[k].partition_index;
            p->error_code = reassign(t, &in->partitions[k], &p->error_message);
        }
    }
    kafka_request_finish(r, res);
}

void kafka_handle_list_reassignments(struct kafka_request *r)
{
    struct kafka_list_partition_reassignments_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res != NULL)
        kafka_request_finish(r, res);
}

/* ---- ListConfigResources ---- */

void kafka_handle_list_config_resources(struct kafka_request *r)
{
    enum { CONFIG_TOPIC = 2, CONFIG_BROKER = 4, CONFIG_CLIENT_METRICS = 16, CONFIG_GROUP = 32 };
    const struct kafka_list_config_resources_req *req = r->request;
    const struct catalog *c = kafka_request_catalog(r);
    struct kafka_list_config_resources_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    const struct security_list *settings = &c->security->groups;
    res->config_resources = kafka_request_alloc(r, (size_t)c->n_topics + settings->n + 1,
                                                sizeof *res->config_resources);
    if (res->config_resources == NULL)
        return;
    /* Version 0 asks for client metrics, of which there are none. */
    bool all = r->header.api_version >= 1 && req->n_resource_types == 0;
    bool topics = all, brokers = all, groups = all;
    for (uint32_t i = 0; i < req->n_resource_types; i++) {
        topics = topics || req->resource_types[i] == CONFIG_TOPIC;
        brokers = brokers || req->resource_types[i] == CONFIG_BROKER;
        groups = groups || req->resource_types[i] == CONFIG_GROUP;
    }
    for (uint32_t i = 0; i < c->n_topics && topics; i++)
        res->config_resources[res->n_config_resources++] =
            (struct kafka_list_config_resources_res_resource){c->topics[i]->name, CONFIG_TOPIC};
    if (brokers)
        res->config_resources[res->n_config_resources++] =
            (struct kafka_list_config_resources_res_resource){
                arena_printf(&r->arena, "%d", KAFKA_NODE_ID), CONFIG_BROKER};
    /* Those that were given something. */
    for (uint32_t i = 0; i < settings->n && groups; i++)
        if (i == 0 || !str_eq(settings->items[i]->group.group, settings->items[i - 1]->group.group))
            res->config_resources[res->n_config_resources++] =
                (struct kafka_list_config_resources_res_resource){settings->items[i]->group.group,
                                                                  CONFIG_GROUP};
    kafka_request_finish(r, res);
}
