#include "serve/kafka_int.h"

#include <inttypes.h>

/* CreateTopics and DeleteTopics: one change of the catalog after the other. DescribeConfigs: what a
 * topic's settings are. */

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4, SOURCE_TOPIC = 1, SOURCE_DEFAULT = 5 };
enum { CONFIG_STRING = 2, CONFIG_INT = 3, CONFIG_LONG = 5, CONFIG_LIST = 7 };

struct change_state {
    struct ddl_request ddl;
    struct kafka_request *request;
    void *res;
    uint32_t next, n; /* which item is being worked on, of how many */
    bool running, waiting;
    void (*step)(struct kafka_request
                     *r); /* works on item `next`; sets waiting when it went to the engine */
};

static void changes_run(struct kafka_request *r)
{
    struct change_state *st = r->state;
    if (st->running)
        return;
    st->running = true;
    while (st->next < st->n && !st->waiting) {
        uint32_t at = st->next;
        st->step(r);
        if (!st->waiting && st->next == at)
            st->next++;
    }
    st->running = false;
    if (!st->waiting)
        kafka_request_finish(r, st->res);
}

static void change_done(struct change_state *st)
{
    st->next++;
    st->waiting = false;
    changes_run(st->request);
}

static void changes_begin(struct kafka_request *r, void *res, uint32_t n,
                          void (*step)(struct kafka_request *r))
{
    struct change_state *st = kafka_request_alloc(r, 1, sizeof *st);
    if (st == NULL)
        return;
    st->request = r;
    st->res = res;
    st->n = n;
    st->step = step;
    r->state = st;
    changes_run(r);
}

/* ---- CreateTopics ---- */

static void create_error(struct kafka_create_topics_res_topic *out, int16_t code, struct str text)
{
    out->error_code = code;
    out->error_message = text;
    out->num_partitions = -1;
    out->replication_factor = -1;
}

static bool config_number(struct str value, int64_t min, int64_t max, int64_t *out)
{
    return value.ptr != NULL && str_to_i64(value, out) == ERR_OK && *out >= min && *out <= max;
}

/* Applies one setting; false when it is unknown or has a wrong value. */
static bool config_apply(struct topic *t, const struct kafka_create_topics_req_config *c)
{
    int64_t v;
    if (str_eq(c->name, STR("retention.ms")) && config_number(c->value, -1, INT64_MAX, &v))
        t->retention_ms = v == 0 ? 1 : v; /* 0 stands for the default inside */
    else if (str_eq(c->name, STR("retention.bytes")) && config_number(c->value, -1, INT64_MAX, &v))
        t->retention_bytes = v == 0 ? 1 : v;
    else if (str_eq(c->name, STR("segment.bytes")) && config_number(c->value, 1 << 14, 1 << 30, &v))
        t->segment_bytes = v;
    else if (str_eq(c->name, STR("max.message.bytes")) &&
             config_number(c->value, 1, KAFKA_REQUEST_BYTES_MAX, &v))
        t->batch_bytes_max = (int32_t)v;
    else
        return (str_eq(c->name, STR("cleanup.policy")) && str_eq(c->value, STR("delete"))) ||
               (str_eq(c->name, STR("compression.type")) && str_eq(c->value, STR("producer"))) ||
               (str_eq(c->name, STR("message.timestamp.type")) &&
                str_eq(c->value, STR("CreateTime"))) ||
               (str_eq(c->name, STR("min.insync.replicas")) && str_eq(c->value, STR("1")));
    return true;
}

static void create_done(struct ddl_request *d)
{
    struct change_state *st = CONTAINER_OF(d, struct change_state, ddl);
    struct kafka_request *r = st->request;
    struct kafka_create_topics_res *res = st->res;
    struct kafka_create_topics_res_topic *out = &res->topics[st->next];
    if (d->err != ERR_OK) {
        create_error(out, kafka_error_of(d->err), kafka_error_text(r, d->err, &d->why));
    } else {
        const struct topic *t = catalog_topic(shard_catalog(r->shard), out->name);
        if (t != NULL) {
            memcpy(out->topic_id.bytes, t->id, sizeof out->topic_id.bytes);
            out->num_partitions = (int32_t)t->n_partitions;
        }
    }
    change_done(st);
}

/* The partitions asked for: -1 = the default, given as 0. False with the error set. */
static bool create_partitions(struct kafka_request *r,
                              const struct kafka_create_topics_req_topic *in, struct topic *t,
                              struct kafka_create_topics_res_topic *out)
{
    if (in->n_assignments > 0) {
        if (in->n_assignments > PARTITIONS_MAX) {
            create_error(out, KAFKA_E_INVALID_PARTITIONS, STR("too many partitions"));
            return false;
        }
        for (uint32_t i = 0; i < in->n_assignments; i++)
            if (in->assignments[i].n_broker_ids != 1 ||
                in->assignments[i].broker_ids[0] != KAFKA_NODE_ID) {
                create_error(out, KAFKA_E_INVALID_ASSIGNMENT, STR("the only broker is 1"));
                return false;
            }
        t->n_partitions = in->n_assignments;
        return true;
    }
    if (in->replication_factor != -1 && in->replication_factor != 1) {
        create_error(out, KAFKA_E_INVALID_REPLICATION,
                     STR("there is one broker: the replication factor can only be 1"));
        return false;
    }
    if (in->num_partitions != -1 &&
        (in->num_partitions < 1 || in->num_partitions > PARTITIONS_MAX)) {
        create_error(out, KAFKA_E_INVALID_PARTITIONS,
                     arena_printf(&r->arena, "a topic has 1 to %d partitions", PARTITIONS_MAX));
        return false;
    }
    t->n_partitions = in->num_partitions == -1 ? 0 : (uint32_t)in->num_partitions;
    return true;
}

static void create_step(struct kafka_request *r)
{
    const struct kafka_create_topics_req *req = r->request;
    struct change_state *st = r->state;
    struct kafka_create_topics_res *res = st->res;
    const struct kafka_create_topics_req_topic *in = &req->topics[st->next];
    struct kafka_create_topics_res_topic *out = &res->topics[st->next];
    struct topic t = {
        .name = in->name, .kind = TOPIC_USER, .retention_ms = -1, .retention_bytes = -1};
    out->name = in->name;
    out->replication_factor = 1;
    if (!kafka_topic_name_valid(in->name)) {
        create_error(out, KAFKA_E_INVALID_TOPIC,
                     STR("a topic's name has 1 to 249 letters, digits, '.', '_' or '-'"));
        return;
    }
    if (!create_partitions(r, in, &t, out))
        return;
    out->num_partitions = (int32_t)t.n_partitions;
    for (uint32_t i = 0; i < in->n_configs; i++)
        if (!config_apply(&t, &in->configs[i])) {
            create_error(out, KAFKA_E_INVALID_CONFIG,
                         arena_printf(&r->arena,
                                      "setting \"%.*s\" is unknown or \"%.*s\" is no "
                                      "value for it",
                                      STR_ARG(in->configs[i].name), STR_ARG(in->configs[i].value)));
            return;
        }
    st->ddl = (struct ddl_request){.validate_only = req->validate_only, .done = create_done};
    st->ddl.change.verb = CHANGE_CREATE_TOPIC;
    st->ddl.change.name = in->name;
    st->ddl.change.topic = t;
    st->waiting = true;
    shard_ddl(r->shard, &st->ddl);
}

void kafka_handle_create_topics(struct kafka_request *r)
{
    const struct kafka_create_topics_req *req = r->request;
    struct kafka_create_topics_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    if (req->n_topics > KAFKA_TOPICS_PER_REQUEST_MAX) {
        kafka_request_fail(r, "names too many topics");
        return;
    }
    res->topics = kafka_request_alloc(r, req->n_topics, sizeof *res->topics);
    if (res->topics == NULL)
        return;
    res->n_topics = req->n_topics;
    changes_begin(r, res, req->n_topics, create_step);
}

/* ---- DeleteTopics ---- */

static void delete_done(struct ddl_request *d)
{
    struct change_state *st = CONTAINER_OF(d, struct change_state, ddl);
    struct kafka_delete_topics_res *res = st->res;
    struct kafka_delete_topics_res_response *out = &res->responses[st->next];
    if (d->err != ERR_OK) {
        out->error_code = d->err == ERR_DEPENDENT_OBJECTS ? (int16_t)KAFKA_E_TOPIC_AUTHORIZATION
                                                          : kafka_error_of(d->err);
        out->error_message = kafka_error_text(st->request, d->err, &d->why);
    }
    change_done(st);
}

static void delete_step(struct kafka_request *r)
{
    const struct kafka_delete_topics_req *req = r->request;
    struct change_state *st = r->state;
    struct kafka_delete_topics_res *res = st->res;
    struct kafka_delete_topics_res_response *out = &res->responses[st->next];
    bool by_name = r->header.api_version < 6;
    struct str name = by_name ? req->topic_names[st->next] : req->topics[st->next].name;
    struct kafka_uuid id = {{0}};
    if (!by_name)
        id = req->topics[st->next].topic_id;
    out->name = name;
    out->topic_id = id;
    const struct topic *t = kafka_topic_find(r, name, id, name.ptr == NULL);
    if (t == NULL) {
        out->error_code = name.ptr == NULL ? KAFKA_E_UNKNOWN_TOPIC_ID : KAFKA_E_UNKNOWN_TOPIC;
        return;
    }
    out->name = t->name;
    memcpy(out->topic_id.bytes, t->id, sizeof out->topic_id.bytes);
    if (t->kind != TOPIC_USER) {
        out->error_code = KAFKA_E_TOPIC_AUTHORIZATION;
        out->error_message =
            STR("the topic belongs to a view or to the server: drop the view in SQL");
        return;
    }
    st->ddl = (struct ddl_request){.done = delete_done};
    st->ddl.change.verb = CHANGE_DROP_TOPIC;
    st->ddl.change.name = t->name;
    st->waiting = true;
    shard_ddl(r->shard, &st->ddl);
}

void kafka_handle_delete_topics(struct kafka_request *r)
{
    const struct kafka_delete_topics_req *req = r->request;
    struct kafka_delete_topics_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    uint32_t n = r->header.api_version < 6 ? req->n_topic_names : req->n_topics;
    if (n > KAFKA_TOPICS_PER_REQUEST_MAX) {
        kafka_request_fail(r, "names too many topics");
        return;
    }
    res->responses = kafka_request_alloc(r, n, sizeof *res->responses);
    if (res->responses == NULL)
        return;
    res->n_responses = n;
    changes_begin(r, res, n, delete_step);
}

/* ---- DescribeConfigs ---- */

enum { CONFIGS_MAX = 8 };

struct config_list {
    struct kafka_request *request;
    const struct kafka_describe_configs_req_resource *resource;
    struct kafka_describe_configs_res_config *items;
    uint32_t n;
};

static void config_add(struct config_list *l, const char *name, int8_t type, bool by_default,
                       struct str value)
{
    const struct kafka_describe_configs_req_resource *in = l->resource;
    bool wanted = in->configuration_keys == NULL || in->n_configuration_keys == 0;
    for (uint32_t i = 0; i < in->n_configuration_keys && !wanted; i++)
        wanted = str_eq(in->configuration_keys[i], str_of(name));
    if (!wanted || l->n == CONFIGS_MAX)
        return;
    l->items[l->n++] = (struct kafka_describe_configs_res_config){
        .name = str_of(name),
        .value = value,
        .read_only = true,
        .is_default = by_default,
        .config_source = by_default ? SOURCE_DEFAULT : SOURCE_TOPIC,
        .config_type = type,
    };
}

static void config_add_number(struct config_list *l, const char *name, int8_t type, int64_t value,
                              int64_t by_default)
{
    config_add(l, name, type, value == by_default,
               arena_printf(&l->request->arena, "%" PRId64, value));
}

static void topic_configs(struct config_list *l, const struct topic *t)
{
    const struct log_config *d = &log_config_default;
    int64_t segment = t->segment_bytes > 0 ? t->segment_bytes : (int64_t)d->segment_bytes;
    int64_t batch = t->batch_bytes_max > 0 ? t->batch_bytes_max : (int64_t)d->batch_bytes_max;
    config_add(l, "cleanup.policy", CONFIG_LIST, true, STR("delete"));
    config_add(l, "compression.type", CONFIG_STRING, true, STR("producer"));
    config_add(l, "message.timestamp.type", CONFIG_STRING, true, STR("CreateTime"));
    config_add_number(l, "retention.ms", CONFIG_LONG, t->retention_ms, -1);
    config_add_number(l, "retention.bytes", CONFIG_LONG, t->retention_bytes, -1);
    config_add_number(l, "segment.bytes", CONFIG_INT, segment, (int64_t)d->segment_bytes);
    config_add_number(l, "max.message.bytes", CONFIG_INT, batch, (int64_t)d->batch_bytes_max);
    config_add_number(l, "min.insync.replicas", CONFIG_INT, 1, 1);
}

static void resource_describe(struct kafka_request *r,
                              const struct kafka_describe_configs_req_resource *in,
                              struct kafka_describe_configs_res_result *out)
{
    out->resource_type = in->resource_type;
    out->resource_name = in->resource_name;
    struct config_list list = {r, in, arena_zalloc(&r->arena, CONFIGS_MAX, sizeof *list.items), 0};
    if (list.items == NULL) {
        out->error_code = kafka_error_of(ERR_NO_MEMORY);
        return;
    }
    if (in->resource_type == RESOURCE_TOPIC) {
        const struct topic *t = catalog_topic(kafka_request_catalog(r), in->resource_name);
        if (t == NULL)
            out->error_code = KAFKA_E_UNKNOWN_TOPIC;
        else
            topic_configs(&list, t);
    } else if (in->resource_type == RESOURCE_BROKER) {
        config_add_number(&list, "message.max.bytes", CONFIG_INT, KAFKA_REQUEST_BYTES_MAX,
                          KAFKA_REQUEST_BYTES_MAX);
        config_add_number(&list, "default.replication.factor", CONFIG_INT, 1, 1);
    } else {
        out->error_code = KAFKA_E_INVALID_REQUEST;
        out->error_message = STR("only topics (2) and the broker (4) have settings");
    }
    out->configs = list.items;
    out->n_configs = list.n;
}

void kafka_handle_describe_configs(struct kafka_request *r)
{
    const struct kafka_describe_configs_req *req = r->request;
    struct kafka_describe_configs_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    res->results = kafka_request_alloc(r, req->n_resources, sizeof *res->results);
    if (res->results == NULL)
        return;
    res->n_results = req->n_resources;
    for (uint32_t i = 0; i < req->n_resources; i++)
        resource_describe(r, &req->resources[i], &res->results[i]);
    kafka_request_finish(r, res);
}
