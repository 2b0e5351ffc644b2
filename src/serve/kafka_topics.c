#include "serve/kafka_int.h"

#include <stdlib.h>

/* CreateTopics and DeleteTopics: one change of the catalog after the other. */

static void changes_run(struct kafka_request *r)
{
    struct kafka_changes *st = r->state;
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

void kafka_change_done(struct kafka_changes *st)
{
    st->next++;
    st->waiting = false;
    changes_run(st->request);
}

void kafka_changes_begin(struct kafka_request *r, void *res, uint32_t n,
                         void (*step)(struct kafka_request *r), void *arg)
{
    struct kafka_changes *st = kafka_request_alloc(r, 1, sizeof *st);
    if (st == NULL)
        return;
    st->request = r;
    st->res = res;
    st->n = n;
    st->step = step;
    st->arg = arg;
    r->state = st;
    changes_run(r);
}

static int compare_names(const void *a, const void *b)
{
    const struct str *const *x = a, *const *y = b;
    return str_cmp(**x, **y);
}

bool *kafka_names_repeated(struct kafka_request *r, const struct str *names, uint32_t n)
{
    const struct str **sorted = kafka_request_alloc(r, n, sizeof(*sorted));
    bool *repeated = sorted == NULL ? NULL : kafka_request_alloc(r, n, sizeof(*repeated));
    if (repeated == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = &names[i];
    qsort(sorted, n, sizeof(*sorted), compare_names);
    for (uint32_t i = 1; i < n; i++)
        if (str_eq(*sorted[i - 1], *sorted[i]))
            repeated[sorted[i - 1] - names] = repeated[sorted[i] - names] = true;
    return repeated;
}

/* ---- CreateTopics ---- */

static void create_error(struct kafka_create_topics_res_topic *out, int16_t code, struct str text)
{
    out->error_code = code;
    out->error_message = text;
    out->num_partitions = -1;
    out->replication_factor = -1;
}

/* The settings of a new topic. */
static enum err configs_parse(const struct kafka_create_topics_req_topic *in,
                              struct topic_config *out, struct err_detail *why)
{
    for (uint32_t i = 0; i < in->n_configs; i++) {
        int64_t value;
        enum topic_config_key key = topic_config_find(in->configs[i].name);
        if (key == TOPIC_CONFIGS)
            return topic_config_unknown(in->configs[i].name, why);
        TRY(topic_config_parse(key, in->configs[i].value, &value, why));
        topic_config_set(out, key, value);
    }
    return topic_config_check(out, why);
}

/* What is in force for the topic, as the answer has it. */
static void configs_answer(struct kafka_request *r, const struct topic_config *c,
                           struct kafka_create_topics_res_topic *out)
{
    enum { SOURCE_TOPIC = 1, SOURCE_DEFAULT = 5 };
    struct kafka_create_topics_res_config *configs =
        arena_zalloc(&r->arena, TOPIC_CONFIGS, sizeof *configs);
    for (enum topic_config_key k = 0; configs != NULL && k < TOPIC_CONFIGS; k++) {
        char text[TOPIC_CONFIG_TEXT_MAX];
        topic_config_print(k, topic_config_get(c, k), text);
        configs[k].name = str_of(topic_config_def(k)->name);
        configs[k].value = arena_str(&r->arena, str_of(text));
        configs[k].config_source = topic_config_given(c, k) ? SOURCE_TOPIC : SOURCE_DEFAULT;
    }
    out->configs = configs;
    out->n_configs = configs != NULL ? TOPIC_CONFIGS : 0;
}

static void create_done(struct ddl_request *d)
{
    struct kafka_changes *st = CONTAINER_OF(d, struct kafka_changes, ddl);
    struct kafka_request *r = st->request;
    struct kafka_create_topics_res *res = st->res;
    struct kafka_create_topics_res_topic *out = &res->topics[st->next];
    if (d->err != ERR_OK) {
        create_error(out, kafka_error_of(d->err), kafka_error_text(r, d->err, &d->why));
    } else {
        const struct topic *t = catalog_topic(shard_catalog(r->shard), out->name);
        out->num_partitions = (int32_t)d->change.topic.n_partitions;
        if (t != NULL)
            memcpy(out->topic_id.bytes, t->id, sizeof out->topic_id.bytes);
        configs_answer(r, &d->change.topic.config, out);
    }
    kafka_change_done(st);
}

/* Partitions whose brokers the client chose, which says how many there are: each of them once. */
static bool create_assigned(const struct kafka_create_topics_req_topic *in, struct topic *t,
                            struct kafka_create_topics_res_topic *out)
{
    bool seen[PARTITIONS_MAX] = {false};
    if (in->num_partitions != -1 || in->replication_factor != -1) {
        create_error(out, KAFKA_E_INVALID_REQUEST,
                     STR("with assignments the number of partitions and the replication factor "
                         "are -1"));
        return false;
    }
    if (in->n_assignments > PARTITIONS_MAX) {
        create_error(out, KAFKA_E_INVALID_PARTITIONS, STR("too many partitions"));
        return false;
    }
    for (uint32_t i = 0; i < in->n_assignments; i++) {
        const struct kafka_create_topics_req_assignment *a = &in->assignments[i];
        if (a->n_broker_ids != 1 || a->broker_ids[0] != KAFKA_NODE_ID) {
            create_error(out, KAFKA_E_INVALID_ASSIGNMENT, STR("the only broker is 1"));
            return false;
        }
        if (a->partition_index < 0 || (uint32_t)a->partition_index >= in->n_assignments ||
            seen[a->partition_index]) {
            create_error(out, KAFKA_E_INVALID_ASSIGNMENT,
                         STR("partitions are numbered from 0, each is assigned once"));
            return false;
        }
        seen[a->partition_index] = true;
    }
    t->n_partitions = in->n_assignments;
    return true;
}

/* The partitions asked for: -1 = the default, given as 0. False with the error set. */
static bool create_partitions(struct kafka_request *r,
                              const struct kafka_create_topics_req_topic *in, struct topic *t,
                              struct kafka_create_topics_res_topic *out)
{
    if (in->n_assignments > 0)
        return create_assigned(in, t, out);
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
    struct kafka_changes *st = r->state;
    struct kafka_create_topics_res *res = st->res;
    const struct kafka_create_topics_req_topic *in = &req->topics[st->next];
    struct kafka_create_topics_res_topic *out = &res->topics[st->next];
    struct topic t = {.name = in->name, .kind = TOPIC_USER};
    struct err_detail why = {0};
    const bool *repeated = st->arg;
    out->name = in->name;
    out->replication_factor = 1;
    if (repeated[st->next]) {
        create_error(out, KAFKA_E_INVALID_REQUEST, STR("the request names the topic twice"));
        return;
    }
    if (!kafka_topic_name_valid(in->name)) {
        create_error(out, KAFKA_E_INVALID_TOPIC,
                     STR("a topic's name has 1 to 249 letters, digits, '.', '_' or '-'"));
        return;
    }
    if (!create_partitions(r, in, &t, out))
        return;
    out->num_partitions = (int32_t)t.n_partitions;
    if (configs_parse(in, &t.config, &why) != ERR_OK) {
        create_error(out, KAFKA_E_INVALID_CONFIG, kafka_error_text(r, ERR_INVALID_ARGUMENT, &why));
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
    struct str *names = kafka_request_alloc(r, req->n_topics, sizeof *names);
    if (names == NULL)
        return;
    for (uint32_t i = 0; i < req->n_topics; i++)
        names[i] = req->topics[i].name;
    bool *repeated = kafka_names_repeated(r, names, req->n_topics);
    if (repeated == NULL)
        return;
    res->n_topics = req->n_topics;
    kafka_changes_begin(r, res, req->n_topics, create_step, repeated);
}

/* ---- DeleteTopics ---- */

static void delete_done(struct ddl_request *d)
{
    struct kafka_changes *st = CONTAINER_OF(d, struct kafka_changes, ddl);
    struct kafka_delete_topics_res *res = st->res;
    struct kafka_delete_topics_res_response *out = &res->responses[st->next];
    if (d->err != ERR_OK) {
        out->error_code = d->err == ERR_DEPENDENT_OBJECTS ? (int16_t)KAFKA_E_POLICY_VIOLATION
                                                          : kafka_error_of(d->err);
        out->error_message = kafka_error_text(st->request, d->err, &d->why);
    }
    kafka_change_done(st);
}

/* Why a topic that clients do not own stays. */
static struct str topic_owner(struct kafka_request *r, const struct topic *t)
{
    const struct catalog *c = kafka_request_catalog(r);
    for (uint32_t i = 0; i < c->n_relations; i++) {
        const struct relation *rel = c->relations[i];
        if (rel->kind == REL_VIEW && (rel->topic == t || view_has_late(rel->view, t)))
            return arena_printf(&r->arena,
                                "topic %.*s has the %s of materialized view %.*s: it goes with "
                                "DROP MATERIALIZED VIEW %.*s",
                                STR_ARG(t->name), rel->topic == t ? "changes" : "late rows",
                                STR_ARG(rel->name), STR_ARG(rel->name));
    }
    return arena_printf(&r->arena, "topic %.*s is the server's own and cannot be deleted",
                        STR_ARG(t->name));
}

static void delete_step(struct kafka_request *r)
{
    const struct kafka_delete_topics_req *req = r->request;
    struct kafka_changes *st = r->state;
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
        /* No ACL would help, so it is not a matter of authorization. */
        out->error_code = KAFKA_E_POLICY_VIOLATION;
        out->error_message = topic_owner(r, t);
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
    kafka_changes_begin(r, res, n, delete_step, NULL);
}
