#include "serve/kafka_int.h"

#include <inttypes.h>

/* DescribeConfigs, AlterConfigs, IncrementalAlterConfigs: the settings of topics (the table in
 * plan/topic_config.h), of groups (plan/group_config.h), and those of the broker, which can be read
 * only. */

enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4, RESOURCE_GROUP = 32 };
enum { SOURCE_TOPIC = 1, SOURCE_STATIC_BROKER = 4, SOURCE_DEFAULT = 5, SOURCE_GROUP = 8 };
enum { OPERATION_SET, OPERATION_DELETE, OPERATION_APPEND, OPERATION_SUBTRACT };

/* ---- what the broker has ---- */

enum { BROKER_CONFIGS_MAX = 16 };

struct broker_config {
    const char *name;
    enum config_type type;
    struct str value;
    bool given; /* on the command line */
    const char *help;
};

static uint32_t broker_configs(struct kafka_request *r, struct broker_config *out)
{
    const struct engine_options *o = engine_opened_with(r->server->engine);
    struct str partitions = arena_printf(&r->arena, "%u", o->default_partitions);
    struct str node = arena_printf(&r->arena, "%d", KAFKA_NODE_ID);
    const struct broker_config all[] = {
        {"auto.create.topics.enable", CONFIG_BOOLEAN,
         o->auto_create_topics ? STR("true") : STR("false"), !o->auto_create_topics,
         "whether topics are made when a client asks for them (--auto-create-topics)"},
        {"broker.id", CONFIG_INT, node, false, "there is one broker"},
        {"default.replication.factor", CONFIG_INT, STR("1"), false, "there is one broker"},
        {"delete.topic.enable", CONFIG_BOOLEAN, STR("true"), false, "topics can be deleted"},
        {"group.consumer.migration.policy", CONFIG_STRING, STR("bidirectional"), false,
         "groups change between the classic and the new protocol with their members"},
        {"node.id", CONFIG_INT, node, false, "there is one broker"},
        {"num.partitions", CONFIG_INT, partitions, o->default_partitions != 1,
         "partitions of topics that say nothing else (--partitions)"},
    };
    _Static_assert(sizeof all / sizeof *all + 3 * GROUP_CONFIGS <= BROKER_CONFIGS_MAX,
                   "room for all");
    memcpy(out, all, sizeof all);
    uint32_t n = sizeof all / sizeof *all;
    for (enum group_config_key k = 0; k < GROUP_CONFIGS; k++) {
        const struct group_config_def *d = group_config_def(k);
        const struct broker_config more[] = {
            {d->broker_name, CONFIG_INT, arena_printf(&r->arena, "%d", d->fallback), false,
             d->help},
            {d->broker_min, CONFIG_INT, arena_printf(&r->arena, "%d", d->min), false,
             "the least that a group may have"},
            {d->broker_max, CONFIG_INT, arena_printf(&r->arena, "%d", d->max), false,
             "the most that a group may have"},
        };
        memcpy(out + n, more, sizeof more);
        n += sizeof more / sizeof *more;
    }
    return n;
}

/* ---- DescribeConfigs ---- */

enum { CONFIGS_MAX = TOPIC_CONFIGS + BROKER_CONFIGS_MAX };

struct config_list {
    struct kafka_request *request;
    const struct kafka_describe_configs_req_resource *resource;
    struct kafka_describe_configs_res_config *items;
    uint32_t n;
};

/* The next entry to fill, or NULL when nobody asked for the setting. */
static struct kafka_describe_configs_res_config *config_next(struct config_list *l,
                                                             const char *name)
{
    const struct kafka_describe_configs_req_resource *in = l->resource;
    bool wanted = in->configuration_keys == NULL || in->n_configuration_keys == 0;
    for (uint32_t i = 0; i < in->n_configuration_keys && !wanted; i++)
        wanted = str_eq(in->configuration_keys[i], str_of(name));
    if (!wanted || l->n == CONFIGS_MAX)
        return NULL;
    struct kafka_describe_configs_res_config *c = &l->items[l->n++];
    c->name = str_of(name);
    return c;
}

static struct str value_text(struct kafka_request *r, enum topic_config_key k, int64_t value)
{
    char text[TOPIC_CONFIG_TEXT_MAX];
    topic_config_print(k, value, text);
    return arena_str(&r->arena, str_of(text));
}

/* Where the value comes from, the strongest source first. */
static void synonyms_fill(struct config_list *l, enum topic_config_key k,
                          const struct topic_config *given,
                          struct kafka_describe_configs_res_config *c)
{
    const struct kafka_describe_configs_req *req = l->request->request;
    const struct topic_config_def *d = topic_config_def(k);
    c->synonyms =
        req->include_synonyms ? arena_zalloc(&l->request->arena, 2, sizeof *c->synonyms) : NULL;
    if (c->synonyms == NULL)
        return;
    if (given != NULL && topic_config_given(given, k))
        c->synonyms[c->n_synonyms++] = (struct kafka_describe_configs_res_synonym){
            .name = str_of(d->name), .value = c->value, .source = SOURCE_TOPIC};
    c->synonyms[c->n_synonyms++] =
        (struct kafka_describe_configs_res_synonym){.name = str_of(d->broker_name),
                                                    .value = value_text(l->request, k, d->fallback),
                                                    .source = SOURCE_DEFAULT};
}

/* A topic's settings; with `t` NULL the defaults, as the broker's. */
static void topic_configs(struct config_list *l, const struct topic *t)
{
    static const struct topic_config none;
    const struct kafka_describe_configs_req *req = l->request->request;
    const struct topic_config *given = t != NULL ? &t->config : &none;
    for (enum topic_config_key k = 0; k < TOPIC_CONFIGS; k++) {
        const struct topic_config_def *d = topic_config_def(k);
        struct kafka_describe_configs_res_config *c =
            config_next(l, t != NULL ? d->name : d->broker_name);
        if (c == NULL)
            continue;
        bool by_default = !topic_config_given(given, k);
        c->value = value_text(l->request, k, topic_config_get(given, k));
        c->read_only = t == NULL || t->kind != TOPIC_USER;
        c->is_default = by_default;
        c->config_source = by_default ? SOURCE_DEFAULT : SOURCE_TOPIC;
        c->config_type = (int8_t)d->type;
        if (req->include_documentation)
            c->documentation = str_of(d->help);
        synonyms_fill(l, k, given, c);
    }
}

static void broker_describe(struct config_list *l)
{
    const struct kafka_describe_configs_req *req = l->request->request;
    struct broker_config all[BROKER_CONFIGS_MAX];
    uint32_t n = broker_configs(l->request, all);
    for (uint32_t i = 0; i < n; i++) {
        struct kafka_describe_configs_res_config *c = config_next(l, all[i].name);
        if (c == NULL)
            continue;
        c->value = all[i].value;
        c->read_only = true;
        c->is_default = !all[i].given;
        c->config_source = all[i].given ? SOURCE_STATIC_BROKER : SOURCE_DEFAULT;
        c->config_type = (int8_t)all[i].type;
        if (req->include_documentation)
            c->documentation = str_of(all[i].help);
    }
    topic_configs(l, NULL);
}

/* A group's settings, whether there is such a group or not. */
static void group_describe(struct config_list *l)
{
    struct kafka_request *r = l->request;
    const struct kafka_describe_configs_req *req = r->request;
    const struct security *s = kafka_request_catalog(r)->security;
    for (enum group_config_key k = 0; k < GROUP_CONFIGS; k++) {
        const struct group_config_def *d = group_config_def(k);
        struct kafka_describe_configs_res_config *c = config_next(l, d->name);
        bool given;
        if (c == NULL)
            continue;
        int32_t value = security_group_setting(s, l->resource->resource_name, k, &given);
        c->value = arena_printf(&r->arena, "%d", value);
        c->is_default = !given;
        c->config_source = given ? SOURCE_GROUP : SOURCE_DEFAULT;
        c->config_type = CONFIG_INT;
        if (req->include_documentation)
            c->documentation = str_of(d->help);
        c->synonyms =
            req->include_synonyms ? arena_zalloc(&r->arena, 2, sizeof *c->synonyms) : NULL;
        if (c->synonyms == NULL)
            continue;
        if (given)
            c->synonyms[c->n_synonyms++] = (struct kafka_describe_configs_res_synonym){
                .name = str_of(d->name), .value = c->value, .source = SOURCE_GROUP};
        c->synonyms[c->n_synonyms++] = (struct kafka_describe_configs_res_synonym){
            .name = str_of(d->broker_name),
            .value = arena_printf(&r->arena, "%d", d->fallback),
            .source = SOURCE_DEFAULT};
    }
}

/* Whether the name is this broker's, or stands for all brokers. */
static bool is_this_broker(struct str name)
{
    int64_t id;
    return name.len == 0 || (str_to_i64(name, &id) == ERR_OK && id == KAFKA_NODE_ID);
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
    } else if (in->resource_type == RESOURCE_BROKER && is_this_broker(in->resource_name)) {
        broker_describe(&list);
    } else if (in->resource_type == RESOURCE_GROUP && in->resource_name.len > 0) {
        group_describe(&list);
    } else {
        out->error_code = KAFKA_E_INVALID_REQUEST;
        out->error_message =
            STR("only topics (2), broker 1 (4) and groups of a name (32) have settings");
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

/* ---- the two ways to alter ---- */

/* One resource of either request. */
struct alteration {
    int8_t type;
    struct str name;
    uint32_t n;
    struct alteration_item {
        struct str name, value;
        int8_t operation;
    } * items;
};

struct alter_state {
    struct alteration *resources;
    uint32_t n_resources;
    bool validate_only, replace; /* replace: what is not named goes back to its default */
};

/* Is it about the throttles of replication, which nobody can have set, to be deleted?
 * kafka-reassign-partitions does that when it has looked whether a reassignment is over. */
static bool is_throttle(const struct alteration_item *it)
{
    static const struct str prefixes[] = {{"leader.replication.throttled.", 29},
                                          {"follower.replication.throttled.", 31},
                                          {"replica.alter.log.dirs.", 23}};
    bool found = false;
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        found |= str_starts(it->name, prefixes[i]);
    return found && it->operation == OPERATION_DELETE;
}

/* Applies one operation; the value of a list is a set of words. */
static enum err item_apply(struct topic_config *c, const struct alteration_item *it,
                           struct err_detail *why)
{
    enum topic_config_key key = topic_config_find(it->name);
    int64_t value = 0;
    if (key == TOPIC_CONFIGS && is_throttle(it))
        return ERR_OK;
    if (key == TOPIC_CONFIGS)
        return topic_config_unknown(it->name, why);
    const struct topic_config_def *d = topic_config_def(key);
    if (it->operation == OPERATION_DELETE) {
        topic_config_reset(c, key);
        return ERR_OK;
    }
    TRY(topic_config_parse(key, it->value, &value, why));
    if (it->operation == OPERATION_SET) {
        topic_config_set(c, key, value);
        return ERR_OK;
    }
    if (d->type != CONFIG_LIST)
        return err_set(why, ERR_INVALID_ARGUMENT,
                       "setting \"%s\" is no list: it cannot be appended to or subtracted from",
                       d->name);
    int64_t now = topic_config_get(c, key);
    now = it->operation == OPERATION_APPEND ? now | value : now & ~value;
    if (now == 0)
        return err_set(why, ERR_INVALID_ARGUMENT, "setting \"%s\" would be empty", d->name);
    topic_config_set(c, key, now);
    return ERR_OK;
}

/* On shard 0; reads what the request's shard wrote before it sent the call. */
static enum err alter_amend(struct ddl_request *d, const struct topic *now)
{
    const struct alter_state *as = d->arg;
    const struct kafka_changes *st = CONTAINER_OF(d, struct kafka_changes, ddl);
    const struct alteration *a = &as->resources[st->next];
    struct topic_config *c = &d->change.topic.config;
    (void)now;
    if (as->replace)
        *c = (struct topic_config){0};
    for (uint32_t i = 0; i < a->n; i++)
        TRY(item_apply(c, &a->items[i], &d->why));
    return topic_config_check(c, &d->why);
}

/* The two answers are laid out alike. */
_Static_assert(sizeof(struct kafka_alter_configs_res) ==
                       sizeof(struct kafka_incremental_alter_configs_res) &&
                   sizeof(struct kafka_alter_configs_res_response) ==
                       sizeof(struct kafka_incremental_alter_configs_res_response),
               "the answers of the two ways to alter");

static void alter_result(struct kafka_request *r, uint32_t i, int16_t code, struct str text)
{
    struct kafka_changes *st = r->state;
    struct kafka_alter_configs_res *res = st->res;
    res->responses[i].error_code = code;
    res->responses[i].error_message = text;
}

static void alter_done(struct ddl_request *d)
{
    struct kafka_changes *st = CONTAINER_OF(d, struct kafka_changes, ddl);
    if (d->err != ERR_OK)
        alter_result(st->request, st->next,
                     d->err == ERR_UNDEFINED_TABLE ? (int16_t)KAFKA_E_UNKNOWN_TOPIC
                                                   : kafka_error_of(d->err),
                     kafka_error_text(st->request, d->err, &d->why));
    kafka_change_done(st);
}

static bool named_twice(const struct alteration *a)
{
    for (uint32_t i = 0; i < a->n; i++)
        for (uint32_t k = 0; k < i; k++)
            if (str_eq(a->items[i].name, a->items[k].name))
                return true;
    return false;
}

/* One operation on a group's setting. */
static enum err group_item(const struct alteration_item *it, struct str group,
                           struct security_item *out, struct err_detail *why)
{
    enum group_config_key key = group_config_find(it->name);
    if (key == GROUP_CONFIGS)
        return err_set(why, ERR_INVALID_ARGUMENT,
                       "a group has no setting \"%.*s\": there are %s and %s", STR_ARG(it->name),
                       group_config_def(GROUP_CONFIG_HEARTBEAT_MS)->name,
                       group_config_def(GROUP_CONFIG_SESSION_MS)->name);
    if (it->operation != OPERATION_SET && it->operation != OPERATION_DELETE)
        return err_set(why, ERR_INVALID_ARGUMENT,
                       "setting \"%s\" is no list: it cannot be appended to or subtracted from",
                       group_config_def(key)->name);
    *out = (struct security_item){.kind = SECURITY_GROUP,
                                  .remove = it->operation == OPERATION_DELETE,
                                  .group = {group, key, 0}};
    return out->remove ? ERR_OK : group_config_parse(key, it->value, &out->group.value, why);
}

/* The items of one change: first, with `replace`, everything goes back to its default. */
static void group_alter(struct kafka_request *r, const struct alteration *a)
{
    struct kafka_changes *st = r->state;
    const struct alter_state *as = st->arg;
    uint32_t n = 0;
    struct err_detail why;
    enum err e = ERR_OK;
    uint32_t named = 0; /* a bit for each setting */
    struct security_item *items =
        arena_zalloc(&r->arena, a->n + (size_t)GROUP_CONFIGS, sizeof *items);
    if (items == NULL)
        e = err_set(&why, ERR_NO_MEMORY, "no memory for the settings of a group");
    for (enum group_config_key k = 0; e == ERR_OK && as->replace && k < GROUP_CONFIGS; k++)
        items[n++] = (struct security_item){
            .kind = SECURITY_GROUP, .remove = true, .group = {a->name, k, 0}};
    for (uint32_t i = 0; e == ERR_OK && i < a->n; i++) {
        e = group_item(&a->items[i], a->name, &items[n], &why);
        uint32_t bit = e == ERR_OK ? 1u << items[n++].group.key : 0;
        if ((named & bit) != 0) {
            alter_result(r, st->next, KAFKA_E_INVALID_REQUEST,
                         STR("a setting of the group is named twice"));
            return;
        }
        named |= bit;
    }
    if (e != ERR_OK) {
        alter_result(r, st->next, kafka_error_of(e), kafka_error_text(r, e, &why));
        return;
    }
    if (n == 0)
        return;
    st->ddl = (struct ddl_request){
        .validate_only = as->validate_only, .done = alter_done, .arg = st->arg};
    st->ddl.change.verb = CHANGE_SECURITY;
    st->ddl.change.security = items;
    st->ddl.change.n_security = n;
    st->waiting = true;
    shard_ddl(r->shard, &st->ddl);
}

static void alter_step(struct kafka_request *r)
{
    struct kafka_changes *st = r->state;
    struct alter_state *as = st->arg;
    const struct alteration *a = &as->resources[st->next];
    uint32_t at = st->next;
    if (a->type == RESOURCE_BROKER) {
        uint32_t n_throttles = 0;
        while (n_throttles < a->n && is_throttle(&a->items[n_throttles]))
            n_throttles++;
        if (n_throttles == a->n)
            return; /* nothing to change */
        alter_result(r, at, KAFKA_E_INVALID_REQUEST,
                     STR("no setting of the broker changes while it runs: start it with other "
                         "options (tidemill serve --help)"));
        return;
    }
    if (a->type == RESOURCE_GROUP) {
        group_alter(r, a);
        return;
    }
    const struct topic *t = catalog_topic(shard_catalog(r->shard), a->name);
    if (a->type != RESOURCE_TOPIC) {
        alter_result(r, at, KAFKA_E_INVALID_REQUEST,
                     STR("only topics (2) and groups (32) have settings"));
    } else if (t == NULL) {
        alter_result(r, at, KAFKA_E_UNKNOWN_TOPIC, STR("there is no topic of this name"));
    } else if (t->kind != TOPIC_USER) {
        alter_result(r, at, KAFKA_E_TOPIC_AUTHORIZATION,
                     STR("the topic belongs to a view or to the server"));
    } else if (a->n > TOPIC_CONFIGS || named_twice(a)) {
        alter_result(r, at, KAFKA_E_INVALID_REQUEST, STR("a setting is named twice"));
    } else {
        st->ddl = (struct ddl_request){.validate_only = as->validate_only,
                                       .amend = alter_amend,
                                       .done = alter_done,
                                       .arg = as};
        st->ddl.change.verb = CHANGE_ALTER_TOPIC;
        st->ddl.change.name = a->name;
        st->waiting = true;
        shard_ddl(r->shard, &st->ddl);
    }
}

/* Room for a request's resources and their answers; NULL after failing the request. */
static struct alter_state *alter_begin(struct kafka_request *r, uint32_t n, bool validate_only,
                                       struct kafka_alter_configs_res **res)
{
    if (n > KAFKA_TOPICS_PER_REQUEST_MAX) {
        kafka_request_fail(r, "names too many topics");
        return NULL;
    }
    struct alter_state *as = kafka_request_alloc(r, 1, sizeof *as);
    *res = as != NULL ? kafka_request_alloc(r, 1, sizeof **res) : NULL;
    if (*res == NULL)
        return NULL;
    as->validate_only = validate_only;
    as->resources = kafka_request_alloc(r, n, sizeof *as->resources);
    (*res)->responses = kafka_request_alloc(r, n, sizeof *(*res)->responses);
    (*res)->n_responses = n;
    return as->resources != NULL && (*res)->responses != NULL ? as : NULL;
}

/* The next resource, with room for so many items; NULL after failing the request. */
static struct alteration *alter_add(struct kafka_request *r, struct alter_state *as,
                                    struct kafka_alter_configs_res *res, int8_t type,
                                    struct str name, uint32_t n_items)
{
    uint32_t i = as->n_resources++;
    as->resources[i] = (struct alteration){.type = type, .name = name};
    as->resources[i].items = kafka_request_alloc(r, n_items, sizeof *as->resources[i].items);
    res->responses[i].resource_type = type;
    res->responses[i].resource_name = name;
    return as->resources[i].items != NULL ? &as->resources[i] : NULL;
}

void kafka_handle_alter_configs(struct kafka_request *r)
{
    const struct kafka_alter_configs_req *req = r->request;
    struct kafka_alter_configs_res *res;
    struct alter_state *as = alter_begin(r, req->n_resources, req->validate_only, &res);
    if (as == NULL)
        return;
    as->replace = true;
    for (uint32_t i = 0; i < req->n_resources; i++) {
        const struct kafka_alter_configs_req_resource *in = &req->resources[i];
        struct alteration *a =
            alter_add(r, as, res, in->resource_type, in->resource_name, in->n_configs);
        if (a == NULL)
            return;
        for (; a->n < in->n_configs; a->n++)
            a->items[a->n] = (struct alteration_item){in->configs[a->n].name,
                                                      in->configs[a->n].value, OPERATION_SET};
    }
    kafka_changes_begin(r, res, req->n_resources, alter_step, as);
}

void kafka_handle_incremental_alter_configs(struct kafka_request *r)
{
    const struct kafka_incremental_alter_configs_req *req = r->request;
    struct kafka_alter_configs_res *res;
    struct alter_state *as = alter_begin(r, req->n_resources, req->validate_only, &res);
    if (as == NULL)
        return;
    for (uint32_t i = 0; i < req->n_resources; i++) {
        const struct kafka_incremental_alter_configs_req_resource *in = &req->resources[i];
        struct alteration *a =
            alter_add(r, as, res, in->resource_type, in->resource_name, in->n_configs);
        if (a == NULL)
            return;
        for (; a->n < in->n_configs; a->n++)
            a->items[a->n] =
                (struct alteration_item){in->configs[a->n].name, in->configs[a->n].value,
                                         in->configs[a->n].config_operation};
    }
    kafka_changes_begin(r, res, req->n_resources, alter_step, as);
}
