#include "serve/kafka_int.h"

/* What a client may do: asked once, before the handler, for every API.
 *
 *   request --rules--> what is denied is taken out of the request, its answer made at once
 *           --handler--> response --rules--> what may not be seen is taken out, answers are put in
 *
 * The rules are Kafka's, one line each, by the names of fields in messages.schema. Handlers know
 * nothing of them: they see the part of the request that is allowed, and a request that is denied
 * whole never reaches one. An API without a rule is for super users alone. */

enum rule_kind {
    RULE_FREE,   /* anybody */
    RULE_WHOLE,  /* the request as a whole: the resource that `in` names, or the cluster */
    RULE_ITEMS,  /* each element of the array `in` */
    RULE_SHOWN,  /* each element of the array `out` of the response: denied ones are left out */
    RULE_GROUPS, /* ConsumerGroupDescribe: groups with members that have a topic which is denied */
};
enum rule_special {
    SPECIAL_NONE,
    SPECIAL_CONFIG,      /* resource_type says what the element's name means */
    SPECIAL_COORDINATOR, /* key_type does, in the request */
    SPECIAL_CREATES,     /* Metadata: topics that would be made */
    SPECIAL_PRODUCER,    /* a producer without transactions: also who may write to any topic */
    SPECIAL_BROKERS,     /* AddPartitionsToTxn: versions that brokers send each other */
};

struct rule {
    int16_t key;
    enum rule_kind kind;
    enum security_resource resource;
    enum security_operation op;
    int16_t error;
    const char *in;      /* an array, "outer/inner", or RULE_WHOLE's name; NULL: the cluster */
    const char *in_name; /* the name in an element; NULL: the element is the name */
    const char *out, *out_name;         /* the same in the response */
    enum security_operation cluster_op; /* allowed to who may do this to the cluster; or 0 */
    enum rule_special special;
};

enum {
    TOPIC_ERROR = KAFKA_E_TOPIC_AUTHORIZATION,
    GROUP_ERROR = KAFKA_E_GROUP_AUTHORIZATION,
    CLUSTER_ERROR = KAFKA_E_CLUSTER_AUTHORIZATION,
    TXN_ERROR = KAFKA_E_TRANSACTIONAL_ID_AUTHORIZATION,
    BROKERS_ADD_FROM = 4, /* version of AddPartitionsToTxn */
};
#define ITEMS(key, resource, op, error, array, name)                                    \
    {                                                                                   \
        key, RULE_ITEMS, ACL_##resource, OP_##op, error, array, name, array, name, 0, 0 \
    }
#define ITEMS_OUT(key, resource, op, error, in, in_name, out, out_name)                   \
    {                                                                                     \
        key, RULE_ITEMS, ACL_##resource, OP_##op, error, in, in_name, out, out_name, 0, 0 \
    }
#define SHOWN(key, resource, op, array, name)                                      \
    {                                                                              \
        key, RULE_SHOWN, ACL_##resource, OP_##op, 0, NULL, NULL, array, name, 0, 0 \
    }
#define WHOLE(key, resource, op, error, name)                                         \
    {                                                                                 \
        key, RULE_WHOLE, ACL_##resource, OP_##op, error, name, NULL, NULL, NULL, 0, 0 \
    }
#define CLUSTER(key, op) WHOLE(key, CLUSTER, op, CLUSTER_ERROR, NULL)
#define FREE(key)                                             \
    {                                                         \
        key, RULE_FREE, 0, 0, 0, NULL, NULL, NULL, NULL, 0, 0 \
    }

/* By key; several rules of one API hold one after the other. */
static const struct rule rules[] = {
    WHOLE(KAFKA_PRODUCE, TRANSACTIONAL_ID, WRITE, TXN_ERROR, "transactional_id"),
    ITEMS(KAFKA_PRODUCE, TOPIC, WRITE, TOPIC_ERROR, "topics", "name"),
    ITEMS(KAFKA_FETCH, TOPIC, READ, TOPIC_ERROR, "topics", "name"),
    ITEMS(KAFKA_LIST_OFFSETS, TOPIC, DESCRIBE, TOPIC_ERROR, "topics", "name"),
    ITEMS(KAFKA_METADATA, TOPIC, DESCRIBE, TOPIC_ERROR, "topics", "name"),
    {KAFKA_METADATA, RULE_ITEMS, ACL_TOPIC, OP_CREATE, TOPIC_ERROR, "topics", "name", "topics",
     "name", OP_CREATE, SPECIAL_CREATES},
    SHOWN(KAFKA_METADATA, TOPIC, DESCRIBE, "topics", "name"),
    WHOLE(KAFKA_OFFSET_COMMIT, GROUP, READ, GROUP_ERROR, "group_id"),
    ITEMS(KAFKA_OFFSET_COMMIT, TOPIC, READ, TOPIC_ERROR, "topics", "name"),
    WHOLE(KAFKA_OFFSET_FETCH, GROUP, DESCRIBE, GROUP_ERROR, "group_id"),
    ITEMS(KAFKA_OFFSET_FETCH, TOPIC, DESCRIBE, TOPIC_ERROR, "topics", "name"),
    ITEMS(KAFKA_OFFSET_FETCH, GROUP, DESCRIBE, GROUP_ERROR, "groups", "group_id"),
    ITEMS(KAFKA_OFFSET_FETCH, TOPIC, DESCRIBE, TOPIC_ERROR, "groups/topics", "name"),
    SHOWN(KAFKA_OFFSET_FETCH, TOPIC, DESCRIBE, "topics", "name"),
    SHOWN(KAFKA_OFFSET_FETCH, TOPIC, DESCRIBE, "groups/topics", "name"),
    {KAFKA_FIND_COORDINATOR, RULE_WHOLE, ACL_GROUP, OP_DESCRIBE, GROUP_ERROR, "key", NULL, NULL,
     NULL, 0, SPECIAL_COORDINATOR},
    {KAFKA_FIND_COORDINATOR, RULE_ITEMS, ACL_GROUP, OP_DESCRIBE, GROUP_ERROR, "coordinator_keys",
     NULL, "coordinators", "key", 0, SPECIAL_COORDINATOR},
    WHOLE(KAFKA_JOIN_GROUP, GROUP, READ, GROUP_ERROR, "group_id"),
    WHOLE(KAFKA_HEARTBEAT, GROUP, READ, GROUP_ERROR, "group_id"),
    WHOLE(KAFKA_LEAVE_GROUP, GROUP, READ, GROUP_ERROR, "group_id"),
    WHOLE(KAFKA_SYNC_GROUP, GROUP, READ, GROUP_ERROR, "group_id"),
    ITEMS_OUT(KAFKA_DESCRIBE_GROUPS, GROUP, DESCRIBE, GROUP_ERROR, "groups", NULL, "groups",
              "group_id"),
    {KAFKA_LIST_GROUPS, RULE_SHOWN, ACL_GROUP, OP_DESCRIBE, 0, NULL, NULL, "groups", "group_id",
     OP_DESCRIBE, 0},
    FREE(KAFKA_SASL_HANDSHAKE),
    FREE(KAFKA_API_VERSIONS),
    {KAFKA_CREATE_TOPICS, RULE_ITEMS, ACL_TOPIC, OP_CREATE, TOPIC_ERROR, "topics", "name", "topics",
     "name", OP_CREATE, 0},
    ITEMS_OUT(KAFKA_DELETE_TOPICS, TOPIC, DELETE, TOPIC_ERROR, "topic_names", NULL, "responses",
              "name"),
    ITEMS_OUT(KAFKA_DELETE_TOPICS, TOPIC, DELETE, TOPIC_ERROR, "topics", "name", "responses",
              "name"),
    ITEMS(KAFKA_DELETE_RECORDS, TOPIC, DELETE, TOPIC_ERROR, "topics", "name"),
    WHOLE(KAFKA_INIT_PRODUCER_ID, TRANSACTIONAL_ID, WRITE, TXN_ERROR, "transactional_id"),
    {KAFKA_INIT_PRODUCER_ID, RULE_WHOLE, ACL_CLUSTER, OP_IDEMPOTENT_WRITE, CLUSTER_ERROR, NULL,
     NULL, NULL, NULL, 0, SPECIAL_PRODUCER},
    ITEMS(KAFKA_OFFSET_FOR_LEADER_EPOCH, TOPIC, DESCRIBE, TOPIC_ERROR, "topics", "topic"),
    {KAFKA_ADD_PARTITIONS_TO_TXN, RULE_WHOLE, ACL_CLUSTER, OP_CLUSTER_ACTION, CLUSTER_ERROR, NULL,
     NULL, NULL, NULL, 0, SPECIAL_BROKERS},
    WHOLE(KAFKA_ADD_PARTITIONS_TO_TXN, TRANSACTIONAL_ID, WRITE, TXN_ERROR, "transactional_id"),
    ITEMS(KAFKA_ADD_PARTITIONS_TO_TXN, TOPIC, WRITE, TOPIC_ERROR, "topics", "name"),
    WHOLE(KAFKA_ADD_OFFSETS_TO_TXN, TRANSACTIONAL_ID, WRITE, TXN_ERROR, "transactional_id"),
    WHOLE(KAFKA_ADD_OFFSETS_TO_TXN, GROUP, READ, GROUP_ERROR, "group_id"),
    WHOLE(KAFKA_END_TXN, TRANSACTIONAL_ID, WRITE, TXN_ERROR, "transactional_id"),
    WHOLE(KAFKA_TXN_OFFSET_COMMIT, TRANSACTIONAL_ID, WRITE, TXN_ERROR, "transactional_id"),
    WHOLE(KAFKA_TXN_OFFSET_COMMIT, GROUP, READ, GROUP_ERROR, "group_id"),
    ITEMS(KAFKA_TXN_OFFSET_COMMIT, TOPIC, READ, TOPIC_ERROR, "topics", "name"),
    CLUSTER(KAFKA_DESCRIBE_ACLS, DESCRIBE),
    ITEMS_OUT(KAFKA_CREATE_ACLS, CLUSTER, ALTER, CLUSTER_ERROR, "creations", NULL, "results", NULL),
    ITEMS_OUT(KAFKA_DELETE_ACLS, CLUSTER, ALTER, CLUSTER_ERROR, "filters", NULL, "filter_results",
              NULL),
    {KAFKA_DESCRIBE_CONFIGS, RULE_ITEMS, ACL_TOPIC, OP_DESCRIBE_CONFIGS, TOPIC_ERROR, "resources",
     "resource_name", "results", "resource_name", 0, SPECIAL_CONFIG},
    {KAFKA_ALTER_CONFIGS, RULE_ITEMS, ACL_TOPIC, OP_ALTER_CONFIGS, TOPIC_ERROR, "resources",
     "resource_name", "responses", "resource_name", 0, SPECIAL_CONFIG},
    FREE(KAFKA_SASL_AUTHENTICATE),
    ITEMS_OUT(KAFKA_CREATE_PARTITIONS, TOPIC, ALTER, TOPIC_ERROR, "topics", "name", "results",
              "name"),
    ITEMS_OUT(KAFKA_DELETE_GROUPS, GROUP, DELETE, GROUP_ERROR, "group_names", NULL, "results",
              "group_id"),
    WHOLE(KAFKA_OFFSET_DELETE, GROUP, DELETE, GROUP_ERROR, "group_id"),
    ITEMS(KAFKA_OFFSET_DELETE, TOPIC, READ, TOPIC_ERROR, "topics", "name"),
    {KAFKA_INCREMENTAL_ALTER_CONFIGS, RULE_ITEMS, ACL_TOPIC, OP_ALTER_CONFIGS, TOPIC_ERROR,
     "resources", "resource_name", "responses", "resource_name", 0, SPECIAL_CONFIG},
    CLUSTER(KAFKA_DESCRIBE_CLIENT_QUOTAS, DESCRIBE_CONFIGS),
    ITEMS_OUT(KAFKA_ALTER_CLIENT_QUOTAS, CLUSTER, ALTER_CONFIGS, CLUSTER_ERROR, "entries", NULL,
              "entries", NULL),
    CLUSTER(KAFKA_DESCRIBE_USER_SCRAM_CREDENTIALS, DESCRIBE),
    ITEMS_OUT(KAFKA_ALTER_USER_SCRAM_CREDENTIALS, CLUSTER, ALTER, CLUSTER_ERROR, "deletions",
              "name", "results", "user"),
    ITEMS_OUT(KAFKA_ALTER_USER_SCRAM_CREDENTIALS, CLUSTER, ALTER, CLUSTER_ERROR, "upsertions",
              "name", "results", "user"),
    FREE(KAFKA_DESCRIBE_CLUSTER),
    WHOLE(KAFKA_CONSUMER_GROUP_HEARTBEAT, GROUP, READ, GROUP_ERROR, "group_id"),
    ITEMS_OUT(KAFKA_CONSUMER_GROUP_DESCRIBE, GROUP, DESCRIBE, GROUP_ERROR, "group_ids", NULL,
              "groups", "group_id"),
    {KAFKA_CONSUMER_GROUP_DESCRIBE, RULE_GROUPS, ACL_TOPIC, OP_DESCRIBE, TOPIC_ERROR, NULL, NULL,
     NULL, NULL, 0, 0},
    CLUSTER(KAFKA_DESCRIBE_LOG_DIRS, DESCRIBE),
    CLUSTER(KAFKA_ELECT_LEADERS, ALTER),
    CLUSTER(KAFKA_ALTER_PARTITION_REASSIGNMENTS, ALTER),
    CLUSTER(KAFKA_LIST_PARTITION_REASSIGNMENTS, DESCRIBE),
    ITEMS(KAFKA_DESCRIBE_PRODUCERS, TOPIC, READ, TOPIC_ERROR, "topics", "name"),
    ITEMS_OUT(KAFKA_DESCRIBE_TRANSACTIONS, TRANSACTIONAL_ID, DESCRIBE, TXN_ERROR,
              "transactional_ids", NULL, "transaction_states", "transactional_id"),
    SHOWN(KAFKA_LIST_TRANSACTIONS, TRANSACTIONAL_ID, DESCRIBE, "transaction_states",
          "transactional_id"),
    CLUSTER(KAFKA_LIST_CONFIG_RESOURCES, DESCRIBE_CONFIGS),
    ITEMS(KAFKA_DESCRIBE_TOPIC_PARTITIONS, TOPIC, DESCRIBE, TOPIC_ERROR, "topics", "name"),
    SHOWN(KAFKA_DESCRIBE_TOPIC_PARTITIONS, TOPIC, DESCRIBE, "topics", "name"),
};

/* An answer for something that was taken out of the request. */
struct kafka_denial {
    struct kafka_denial *next;
    const struct rule *rule;
    uint32_t parent; /* place of the outer element, of "outer/inner" */
    void *answer;    /* an element of the response */
};

/* ---- fields by name ---- */

static const struct kafka_field *field_find(const struct kafka_shape *shape, struct str name)
{
    for (uint32_t i = 0; i < shape->n_fields; i++)
        if (str_eq(str_of(shape->fields[i].name), name))
            return &shape->fields[i];
    return NULL;
}

/* The array that a path names. */
static const struct kafka_field *path_field(const struct kafka_shape *shape, const char *path)
{
    const char *slash = strchr(path, '/');
    struct str first = slash != NULL ? (struct str){path, (size_t)(slash - path)} : str_of(path);
    const struct kafka_field *f = field_find(shape, first);
    if (f != NULL && slash != NULL)
        f = f->shape != NULL ? field_find(f->shape, str_of(slash + 1)) : NULL;
    return f != NULL && f->array ? f : NULL;
}

static void *field_at(void *base, const struct kafka_field *f)
{
    return (char *)base + f->offset;
}

/* An array inside a message. */
struct span {
    const struct kafka_field *field;
    char *items;
    uint32_t n;
    size_t size; /* of an element */
    void **items_place;
    uint32_t *n_place;
};

static bool span_of(void *base, const struct kafka_field *f, struct span *out)
{
    if (f == NULL || !f->array)
        return false;
    *out = (struct span){.field = f, .items_place = field_at(base, f)};
    out->n_place = (uint32_t *)(void *)((char *)base + f->count_offset);
    memcpy(&out->items, out->items_place, sizeof out->items);
    out->n = *out->n_place;
    out->size = f->shape != NULL ? f->shape->size : sizeof(struct str);
    return true;
}

/* The arrays that a path names: one, or one per element of the outer array. */
struct walk {
    struct span outer;
    bool nested;
    struct str inner;
    uint32_t parent;
    struct span span;
};

static bool walk_next(struct walk *w)
{
    if (!w->nested || w->parent + 1 >= w->outer.n)
        return false;
    w->parent++;
    return span_of(w->outer.items + w->parent * w->outer.size,
                   field_find(w->outer.field->shape, w->inner), &w->span);
}

static bool walk_first(struct walk *w, const struct kafka_shape *shape, void *message,
                       const char *path)
{
    const char *slash = strchr(path, '/');
    *w = (struct walk){.nested = slash != NULL};
    struct str first = slash != NULL ? (struct str){path, (size_t)(slash - path)} : str_of(path);
    struct span s;
    bool there = span_of(message, field_find(shape, first), &s);
    CHECK(there); /* kafka_authorize_check has looked */
    if (slash == NULL) {
        w->span = s;
        return true;
    }
    w->outer = s;
    w->inner = str_of(slash + 1);
    if (s.n == 0)
        return false;
    return span_of(s.items, field_find(s.field->shape, w->inner), &w->span);
}

/* ---- answers for what is denied ---- */

/* What says of which thing an answer is. */
static bool identifies(const char *name)
{
    static const char *const names[] = {
        "name",        "topic",       "topic_id",         "index",         "partition_index",
        "group_id",    "member_id",   "resource_type",    "resource_name", "group_instance_id",
        "entity_type", "entity_name", "transactional_id", "partition_id"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

/* Whether mirror copies the field from a structure of this shape. */
static bool identifies_both(const struct kafka_shape *from, const struct kafka_field *to)
{
    const struct kafka_field *f = identifies(to->name) ? field_find(from, str_of(to->name)) : NULL;
    return f != NULL && !f->array && f->kind == to->kind;
}

static size_t scalar_size(enum kafka_field_kind kind)
{
    switch (kind) {
    case KAFKA_FIELD_BOOL:
    case KAFKA_FIELD_INT8:
        return 1;
    case KAFKA_FIELD_INT16:
    case KAFKA_FIELD_UINT16:
        return 2;
    case KAFKA_FIELD_INT32:
        return 4;
    case KAFKA_FIELD_INT64:
    case KAFKA_FIELD_FLOAT64:
        return 8;
    case KAFKA_FIELD_UUID:
        return sizeof(struct kafka_uuid);
    case KAFKA_FIELD_STRING:
    case KAFKA_FIELD_BYTES:
        return sizeof(struct str);
    case KAFKA_FIELD_RECORDS:
    case KAFKA_FIELD_STRUCT:
        break;
    }
    return 0;
}

/* Values of a field that says nothing: the schema's default, -1 for offsets and times. */
static void field_blank(const struct kafka_field *f, void *out, int16_t error)
{
    void *at = field_at(out, f);
    int16_t i16 = strcmp(f->name, "error_code") == 0 ? error : (int16_t)f->value;
    int32_t i32 = (int32_t)f->value;
    int64_t i64 = f->value != 0 ? f->value : -1;
    struct str empty = strstr(f->name, "message") == NULL ? STR("") : (struct str){NULL, 0};
    if (f->kind == KAFKA_FIELD_INT16)
        memcpy(at, &i16, sizeof i16);
    else if (f->kind == KAFKA_FIELD_INT32)
        memcpy(at, &i32, sizeof i32);
    else if (f->kind == KAFKA_FIELD_INT64)
        memcpy(at, &i64, sizeof i64);
    else if (f->kind == KAFKA_FIELD_STRING || f->kind == KAFKA_FIELD_BYTES)
        memcpy(at, &empty, sizeof empty);
}

static bool mirror(struct arena *a, const struct kafka_shape *from, void *in,
                   const struct kafka_shape *to, void *out, int16_t error);

/* Fills an array of the answer from the array of the same name, or from plain partition numbers. */
static bool mirror_array(struct arena *a, const struct kafka_shape *from, void *in,
                         const struct kafka_field *f, void *out, int16_t error)
{
    struct span source = {0}, target;
    const struct kafka_field *same = field_find(from, str_of(f->name));
    bool numbers = false;
    for (uint32_t i = 0; i < from->n_fields && same == NULL; i++)
        if (strncmp(from->fields[i].name, "partition", 9) == 0 && from->fields[i].array &&
            from->fields[i].kind == KAFKA_FIELD_INT32 && strncmp(f->name, "partition", 9) == 0)
            same = &from->fields[i];
    numbers = same != NULL && same->kind == KAFKA_FIELD_INT32;
    if (f->shape == NULL || !span_of(in, same, &source) || !span_of(out, f, &target) ||
        (same->shape == NULL && !numbers) || source.n == 0)
        return true;
    char *items = arena_zalloc(a, source.n, target.size);
    if (items == NULL)
        return false;
    memcpy(target.items_place, &items, sizeof items);
    *target.n_place = source.n;
    for (uint32_t i = 0; i < source.n; i++) {
        struct kafka_shape number = {0};
        void *item = items + i * target.size;
        if (!mirror(a, numbers ? &number : same->shape, source.items + i * source.size, f->shape,
                    item, error))
            return false;
        for (uint32_t k = 0; numbers && k < f->shape->n_fields; k++)
            if (identifies(f->shape->fields[k].name))
                memcpy(field_at(item, &f->shape->fields[k]), source.items + i * sizeof(int32_t),
                       sizeof(int32_t));
    }
    return true;
}

/* Makes `out` say nothing but the error, for each thing that `in` names. */
static bool mirror(struct arena *a, const struct kafka_shape *from, void *in,
                   const struct kafka_shape *to, void *out, int16_t error)
{
    for (uint32_t i = 0; i < to->n_fields; i++) {
        const struct kafka_field *f = &to->fields[i];
        if (f->array) {
            if (!mirror_array(a, from, in, f, out, error))
                return false;
            continue;
        }
        if (identifies_both(from, f))
            memcpy(field_at(out, f), field_at(in, field_find(from, str_of(f->name))),
                   scalar_size(f->kind));
        else
            field_blank(f, out, error);
    }
    return true;
}

/* ---- deciding ---- */

struct question {
    struct kafka_request *request;
    struct security_subject who;
    const struct security *security;
};

static bool ask(const struct question *q, enum security_operation op,
                enum security_resource resource, struct str name)
{
    return security_allows(q->security, &q->who, op, resource,
                           resource == ACL_CLUSTER ? SECURITY_CLUSTER_NAME : name);
}

/* The name in an element: as it is, or of the topic with its id. */
static struct str element_name(struct kafka_request *r, const struct rule *rule,
                               const char *name_field, const struct span *s, uint32_t i)
{
    struct str name = {NULL, 0};
    char *item = s->items + i * s->size;
    if (s->field->shape == NULL)
        memcpy(&name, item, sizeof name);
    const struct kafka_field *f = name_field != NULL && s->field->shape != NULL
                                      ? field_find(s->field->shape, str_of(name_field))
                                      : NULL;
    if (f != NULL)
        memcpy(&name, field_at(item, f), sizeof name);
    const struct kafka_field *id =
        s->field->shape != NULL ? field_find(s->field->shape, STR("topic_id")) : NULL;
    if (name.len == 0 && rule->resource == ACL_TOPIC && id != NULL) {
        const struct topic *t = catalog_topic_by_id(kafka_request_catalog(r), field_at(item, id));
        if (t != NULL)
            name = t->name;
    }
    return name;
}

/* What the rule comes to for one element. */
struct verdict {
    enum security_resource resource;
    int16_t error;
};

static struct verdict verdict_of(struct kafka_request *r, const struct rule *rule,
                                 const struct span *s, uint32_t i)
{
    enum { CONFIG_TOPIC = 2, CONFIG_GROUP = 32, COORDINATOR_TRANSACTION = 1 };
    struct verdict v = {rule->resource, rule->error};
    int8_t type = 0;
    if (rule->special == SPECIAL_CONFIG) {
        const struct kafka_field *f = field_find(s->field->shape, STR("resource_type"));
        memcpy(&type, field_at(s->items + i * s->size, f), sizeof type);
        if (type == CONFIG_GROUP)
            v = (struct verdict){ACL_GROUP, GROUP_ERROR};
        else if (type != CONFIG_TOPIC)
            v = (struct verdict){ACL_CLUSTER, CLUSTER_ERROR};
    } else if (rule->special == SPECIAL_COORDINATOR) {
        const struct kafka_find_coordinator_req *req = r->request;
        if (req->key_type == COORDINATOR_TRANSACTION)
            v = (struct verdict){ACL_TRANSACTIONAL_ID, TXN_ERROR};
    }
    return v;
}

static bool creates_nothing(struct kafka_request *r, struct str name)
{
    const struct kafka_metadata_req *req = r->request;
    return !req->allow_auto_topic_creation ||
           !engine_opened_with(r->server->engine)->auto_create_topics || name.ptr == NULL ||
           catalog_topic(kafka_request_catalog(r), name) != NULL;
}

static bool item_allowed(const struct question *q, const struct rule *rule, const struct span *s,
                         uint32_t i, const char *name_field, int16_t *error)
{
    struct kafka_request *r = q->request;
    struct str name = element_name(r, rule, name_field, s, i);
    struct verdict v = verdict_of(r, rule, s, i);
    *error = v.error;
    if (name.ptr == NULL && v.resource == ACL_TOPIC)
        return true; /* an id of no topic: the handler says so */
    if (rule->special == SPECIAL_CREATES && creates_nothing(r, name))
        return true;
    return (rule->cluster_op != 0 && ask(q, rule->cluster_op, ACL_CLUSTER, name)) ||
           ask(q, rule->op, v.resource, name);
}

/* ---- before the handler ---- */

/* Makes the answer for element `i`. Who asked by a topic's id is told nothing of its name. */
static bool denial_add(struct kafka_request *r, const struct rule *rule, const struct walk *w,
                       uint32_t i, int16_t error)
{
    static const struct kafka_shape nothing = {0};
    const struct span *s = &w->span;
    const struct kafka_shape *from = s->field->shape != NULL ? s->field->shape : &nothing;
    const struct kafka_field *f = path_field(r->codec->response.shape, rule->out);
    struct kafka_denial *d = arena_zalloc(&r->arena, 1, sizeof *d);
    void *item = s->items + i * s->size;
    if (d == NULL || (d->answer = arena_zalloc(&r->arena, 1, f->shape->size)) == NULL)
        return false;
    bool by_id = rule->key == KAFKA_METADATA &&
                 ((const struct kafka_metadata_req_topic *)item)->name.ptr == NULL;
    if (!mirror(&r->arena, from, item, f->shape, d->answer,
                by_id ? (int16_t)KAFKA_E_UNKNOWN_TOPIC_ID : error))
        return false;
    const struct kafka_field *name_field =
        rule->out_name != NULL ? field_find(f->shape, str_of(rule->out_name)) : NULL;
    if (name_field != NULL && !identifies_both(from, name_field)) {
        struct str name = element_name(r, rule, rule->in_name, s, i);
        memcpy(field_at(d->answer, name_field), &name, sizeof name);
    }
    d->rule = rule;
    d->parent = w->parent;
    d->next = r->denials;
    r->denials = d;
    return true;
}

/* Takes what is denied out of the arrays that the rule names. False: out of memory. */
static bool items_filter(const struct question *q, const struct rule *rule)
{
    struct kafka_request *r = q->request;
    struct walk w;
    bool more = walk_first(&w, r->codec->request.shape, r->request, rule->in);
    for (; more; more = walk_next(&w)) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < w.span.n; i++) {
            int16_t error;
            if (!item_allowed(q, rule, &w.span, i, rule->in_name, &error)) {
                if (!denial_add(r, rule, &w, i, error))
                    return false;
                continue;
            }
            if (kept != i)
                memcpy(w.span.items + kept * w.span.size, w.span.items + i * w.span.size,
                       w.span.size);
            kept++;
        }
        *w.span.n_place = kept;
    }
    return true;
}

bool kafka_deny_from(struct kafka_request *r, const char *array, uint32_t from, int16_t error)
{
    const struct rule *rule = rules;
    struct walk w;
    while (rule->key != r->header.api_key || rule->kind != RULE_ITEMS ||
           strcmp(rule->in, array) != 0)
        rule++;
    CHECK(walk_first(&w, r->codec->request.shape, r->request, array));
    for (uint32_t i = from; i < w.span.n; i++)
        if (!denial_add(r, rule, &w, i, error))
            return false;
    *w.span.n_place = from;
    return true;
}

static bool whole_allowed(const struct question *q, const struct rule *rule, int16_t *error)
{
    struct kafka_request *r = q->request;
    struct str name = {NULL, 0};
    *error = rule->error;
    if (rule->special == SPECIAL_PRODUCER) {
        const struct kafka_init_producer_id_req *req = r->request;
        return req->transactional_id.ptr != NULL ||
               security_allows_some(q->security, &q->who, OP_WRITE, ACL_TOPIC) ||
               ask(q, rule->op, rule->resource, name);
    }
    if (rule->special == SPECIAL_BROKERS && r->header.api_version < BROKERS_ADD_FROM)
        return true;
    if (rule->in != NULL) {
        const struct kafka_field *f = field_find(r->codec->request.shape, str_of(rule->in));
        memcpy(&name, field_at(r->request, f), sizeof name);
        if (name.ptr == NULL)
            return true; /* not in this version, or null: nothing is named */
    }
    enum security_resource resource = rule->resource;
    if (rule->special == SPECIAL_COORDINATOR) {
        struct verdict v = verdict_of(r, rule, NULL, 0);
        resource = v.resource;
        *error = v.error;
    }
    return ask(q, rule->op, resource, name);
}

/* Answers the request with nothing but the error. */
static void deny_whole(struct kafka_request *r, int16_t error)
{
    void *res = kafka_request_alloc(r, 1, r->codec->response.size);
    if (res == NULL)
        return;
    if (!mirror(&r->arena, r->codec->request.shape, r->request, r->codec->response.shape, res,
                error)) {
        kafka_request_fail(r, "is too large for the memory of a request");
        return;
    }
    r->denials = NULL;
    r->checked = false;
    if (r->header.api_key == KAFKA_PRODUCE &&
        ((const struct kafka_produce_req *)r->request)->acks == 0) {
        r->silent = true;
        conn_close(r->conn);
    }
    kafka_request_finish(r, res);
}

static struct question question_of(struct kafka_request *r)
{
    const struct kafka_conn *kc = kafka_request_conn(r);
    return (struct question){r, {kc->user, kc->host}, kafka_request_catalog(r)->security};
}

/* sys.catalog has the salted passwords: whoever reads them can try out passwords at home. */
static bool secret_filter(struct kafka_request *r)
{
    static const struct rule secret =
        ITEMS(KAFKA_FETCH, TOPIC, READ, TOPIC_ERROR, "topics", "name");
    const struct kafka_fetch_req *req = r->request;
    struct walk w;
    uint32_t kept = 0;
    (void)walk_first(&w, r->codec->request.shape, r->request, secret.in);
    for (uint32_t i = 0; i < w.span.n; i++) {
        if (str_eq(element_name(r, &secret, secret.in_name, &w.span, i), STR("sys.catalog"))) {
            if (!denial_add(r, &secret, &w, i, TOPIC_ERROR))
                return false;
            continue;
        }
        req->topics[kept++] = req->topics[i];
    }
    *w.span.n_place = kept;
    return true;
}

bool kafka_authorize(struct kafka_request *r)
{
    const struct kafka_conn *kc = kafka_request_conn(r);
    if (kc->super)
        return true;
    bool memory = true, known = false;
    if (r->header.api_key == KAFKA_FETCH && kafka_request_catalog(r)->security->credentials.n > 0)
        memory = secret_filter(r);
    if (memory && !r->server->options.kafka_auth)
        return true;
    struct question q = question_of(r);
    for (size_t i = 0; i < ARRAY_LEN(rules) && memory; i++) {
        const struct rule *rule = &rules[i];
        int16_t error;
        if (rule->key != r->header.api_key)
            continue;
        known = true;
        r->checked = r->checked || rule->kind == RULE_SHOWN || rule->kind == RULE_GROUPS;
        if (rule->kind == RULE_ITEMS)
            memory = items_filter(&q, rule);
        else if (rule->kind == RULE_WHOLE && !whole_allowed(&q, rule, &error)) {
            deny_whole(r, error);
            return false;
        }
    }
    if (!memory) {
        kafka_request_fail(r, "is too large for the memory of a request");
        return false;
    }
    if (!known) {
        deny_whole(r, CLUSTER_ERROR);
        return false;
    }
    if (r->denials != NULL && r->header.api_key == KAFKA_FETCH)
        ((struct kafka_fetch_req *)r->request)->max_wait_ms = 0; /* there is something to tell */
    return true;
}

/* ---- behind the handler ---- */

static void shown_filter(const struct question *q, const struct rule *rule, void *response)
{
    struct walk w;
    bool more = walk_first(&w, q->request->codec->response.shape, response, rule->out);
    for (; more; more = walk_next(&w)) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < w.span.n; i++) {
            int16_t error;
            if (!item_allowed(q, rule, &w.span, i, rule->out_name, &error))
                continue;
            if (kept != i)
                memmove(w.span.items + kept * w.span.size, w.span.items + i * w.span.size,
                        w.span.size);
            kept++;
        }
        *w.span.n_place = kept;
    }
}

static bool topics_allowed(const struct question *q, const struct rule *rule,
                           const struct kafka_consumer_group_describe_res_member *m)
{
    for (uint32_t i = 0; i < m->assignment.n_topic_partitions; i++)
        if (!ask(q, rule->op, rule->resource, m->assignment.topic_partitions[i].topic_name))
            return false;
    for (uint32_t i = 0; i < m->target_assignment.n_topic_partitions; i++)
        if (!ask(q, rule->op, rule->resource, m->target_assignment.topic_partitions[i].topic_name))
            return false;
    return true;
}

/* Of a group with a topic that may not be described, nothing is told: neither names of topics nor
 * who reads them. */
static void groups_filter(const struct question *q, const struct rule *rule, void *response)
{
    struct kafka_consumer_group_describe_res *res = response;
    for (uint32_t i = 0; i < res->n_groups; i++) {
        struct kafka_consumer_group_describe_res_group *g = &res->groups[i];
        bool allowed = true;
        for (uint32_t k = 0; k < g->n_members && allowed; k++)
            allowed = topics_allowed(q, rule, &g->members[k]);
        if (allowed)
            continue;
        *g = (struct kafka_consumer_group_describe_res_group){
            .error_code = rule->error,
            .error_message = STR("the group's members have topics that the client may not "
                                 "describe: it needs the operation Describe on each of them"),
            .group_id = g->group_id,
            .group_state = STR(""),
            .assignor_name = STR(""),
            .authorized_operations = INT32_MIN};
    }
}

/* Appends the answers that belong to one array, which are `n` of the list. */
static bool span_append(struct kafka_request *r, const struct span *s, const struct rule *rule,
                        uint32_t parent)
{
    uint32_t n = 0;
    for (const struct kafka_denial *d = r->denials; d != NULL; d = d->next)
        n += strcmp(d->rule->out, rule->out) == 0 && d->parent == parent ? 1 : 0;
    if (n == 0)
        return true;
    char *items = arena_zalloc(&r->arena, (size_t)s->n + n, s->size);
    if (items == NULL)
        return false;
    if (s->n > 0)
        memcpy(items, s->items, s->n * s->size);
    uint32_t at = s->n + n; /* the list is in reverse */
    for (const struct kafka_denial *d = r->denials; d != NULL; d = d->next)
        if (strcmp(d->rule->out, rule->out) == 0 && d->parent == parent)
            memcpy(items + --at * s->size, d->answer, s->size);
    memcpy(s->items_place, &items, sizeof items);
    *s->n_place = s->n + n;
    return true;
}

/* Inner arrays first: the outer ones' places are those of the handler's answer until then. */
static bool denials_append(struct kafka_request *r, void *response, bool nested)
{
    for (struct kafka_denial *d = r->denials; d != NULL; d = d->next) {
        const struct rule *rule = d->rule;
        struct walk w;
        bool first = (strchr(rule->out, '/') != NULL) == nested;
        for (const struct kafka_denial *e = r->denials; e != d && first; e = e->next)
            first = strcmp(e->rule->out, rule->out) != 0;
        if (!first)
            continue;
        bool more = walk_first(&w, r->codec->response.shape, response, rule->out);
        for (; more; more = walk_next(&w))
            if (!span_append(r, &w.span, rule, w.parent))
                return false;
    }
    return true;
}

int32_t kafka_operations(struct kafka_request *r, enum security_resource resource, struct str name)
{
    static const enum security_operation of_topic[] = {
        OP_READ,  OP_WRITE,    OP_CREATE,           OP_DELETE,
        OP_ALTER, OP_DESCRIBE, OP_DESCRIBE_CONFIGS, OP_ALTER_CONFIGS,
        0};
    static const enum security_operation of_group[] = {
        OP_READ, OP_DELETE, OP_DESCRIBE, OP_DESCRIBE_CONFIGS, OP_ALTER_CONFIGS, 0};
    static const enum security_operation of_cluster[] = {
        OP_CREATE,           OP_ALTER,         OP_DESCRIBE,         OP_CLUSTER_ACTION,
        OP_DESCRIBE_CONFIGS, OP_ALTER_CONFIGS, OP_IDEMPOTENT_WRITE, 0};
    const enum security_operation *op = resource == ACL_TOPIC   ? of_topic
                                        : resource == ACL_GROUP ? of_group
                                                                : of_cluster;
    bool all = kafka_request_conn(r)->super || !r->server->options.kafka_auth;
    struct question q = question_of(r);
    int32_t bits = 0;
    for (; *op != 0; op++)
        if (all || ask(&q, *op, resource, name))
            bits |= INT32_C(1) << *op;
    return bits;
}

static void operations_fill(struct kafka_request *r, void *response)
{
    if (r->header.api_key == KAFKA_METADATA) {
        const struct kafka_metadata_req *req = r->request;
        struct kafka_metadata_res *res = response;
        if (req->include_cluster_authorized_operations)
            res->cluster_authorized_operations = kafka_operations(r, ACL_CLUSTER, STR(""));
        for (uint32_t i = 0; i < res->n_topics && req->include_topic_authorized_operations; i++)
            if (res->topics[i].error_code == KAFKA_OK)
                res->topics[i].authorized_operations =
                    kafka_operations(r, ACL_TOPIC, res->topics[i].name);
    } else if (r->header.api_key == KAFKA_DESCRIBE_GROUPS) {
        const struct kafka_describe_groups_req *req = r->request;
        struct kafka_describe_groups_res *res = response;
        for (uint32_t i = 0; i < res->n_groups && req->include_authorized_operations; i++)
            if (res->groups[i].error_code == KAFKA_OK)
                res->groups[i].authorized_operations =
                    kafka_operations(r, ACL_GROUP, res->groups[i].group_id);
    } else if (r->header.api_key == KAFKA_CONSUMER_GROUP_DESCRIBE) {
        const struct kafka_consumer_group_describe_req *req = r->request;
        struct kafka_consumer_group_describe_res *res = response;
        for (uint32_t i = 0; i < res->n_groups && req->include_authorized_operations; i++)
            if (res->groups[i].error_code == KAFKA_OK)
                res->groups[i].authorized_operations =
                    kafka_operations(r, ACL_GROUP, res->groups[i].group_id);
    } else if (r->header.api_key == KAFKA_DESCRIBE_CLUSTER) {
        const struct kafka_describe_cluster_req *req = r->request;
        struct kafka_describe_cluster_res *res = response;
        if (req->include_cluster_authorized_operations)
            res->cluster_authorized_operations = kafka_operations(r, ACL_CLUSTER, STR(""));
    }
}

bool kafka_authorize_answer(struct kafka_request *r, void *response)
{
    if (r->checked) {
        struct question q = question_of(r);
        for (size_t i = 0; i < ARRAY_LEN(rules); i++)
            if (rules[i].key == r->header.api_key && rules[i].kind == RULE_SHOWN)
                shown_filter(&q, &rules[i], response);
            else if (rules[i].key == r->header.api_key && rules[i].kind == RULE_GROUPS)
                groups_filter(&q, &rules[i], response);
    }
    operations_fill(r, response);
    if (r->denials != NULL && r->silent)
        conn_close(r->conn); /* acks=0: ending the connection makes the producer look again */
    return r->denials == NULL ||
           (denials_append(r, response, true) && denials_append(r, response, false));
}

/* ---- start ---- */

static bool path_known(const struct kafka_shape *shape, const char *path, const char *name)
{
    const struct kafka_field *f = path_field(shape, path);
    return f != NULL &&
           (name == NULL || f->shape == NULL || field_find(f->shape, str_of(name)) != NULL);
}

void kafka_authorize_check(void)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        const struct rule *rule = &rules[i];
        const struct kafka_api_codec *c = NULL;
        for (size_t k = 0; k < KAFKA_APIS; k++)
            if (kafka_api_codecs[k].api.key == rule->key)
                c = &kafka_api_codecs[k];
        CHECK(c != NULL);
        if (rule->kind == RULE_WHOLE && rule->in != NULL)
            CHECK(field_find(c->request.shape, str_of(rule->in)) != NULL);
        if (rule->kind == RULE_ITEMS)
            CHECK(path_known(c->request.shape, rule->in, rule->in_name));
        if (rule->kind == RULE_ITEMS || rule->kind == RULE_SHOWN)
            CHECK(path_known(c->response.shape, rule->out, rule->out_name));
    }
}
