#include "serve/kafka_int.h"

/* DescribeClientQuotas and AlterClientQuotas (KIP-546): quotas of users and client ids in the
 * catalog. kafka_throttle.c applies them. */

enum { MATCH_EXACT = 0, MATCH_DEFAULT = 1, MATCH_ANY = 2 };

/* ---- DescribeClientQuotas ---- */

typedef struct kafka_describe_client_quotas_req_component component;
typedef struct kafka_describe_client_quotas_res_entry quota_entry;

static bool part_matches(enum security_part part, struct str name, const component *c)
{
    switch (c->match_type) {
    case MATCH_EXACT:
        return part == PART_NAMED && str_eq(name, c->match);
    case MATCH_DEFAULT:
        return part == PART_DEFAULT;
    default:
        return part != PART_ABSENT;
    }
}

static bool entity_matches(const struct security_entity *e,
                           const struct kafka_describe_client_quotas_req *req)
{
    bool user = false, client = false;
    for (uint32_t i = 0; i < req->n_components; i++) {
        const component *c = &req->components[i];
        bool of_user = str_eq(c->entity_type, STR("user"));
        if (str_eq(c->entity_type, STR("ip")))
            return false;
        if (of_user ? !part_matches(e->user, e->user_name, c)
                    : !part_matches(e->client, e->client_name, c))
            return false;
        *(of_user ? &user : &client) = true;
    }
    return !req->strict ||
           ((user || e->user == PART_ABSENT) && (client || e->client == PART_ABSENT));
}

/* What is wrong with the filter, or NULL. It may ask for ips, which have no quotas. */
static const char *filter_fault(const struct kafka_describe_client_quotas_req *req, int16_t *code)
{
    bool user = false, client = false, ip = false;
    *code = KAFKA_E_INVALID_REQUEST;
    for (uint32_t i = 0; i < req->n_components; i++) {
        const component *c = &req->components[i];
        bool of_user = str_eq(c->entity_type, STR("user")),
             of_ip = str_eq(c->entity_type, STR("ip"));
        bool *seen = of_user ? &user : of_ip ? &ip : &client;
        if (!of_user && !of_ip && !str_eq(c->entity_type, STR("client-id"))) {
            *code = KAFKA_E_UNSUPPORTED_VERSION;
            return "quotas are for user and client-id";
        }
        if (*seen)
            return "a type of entity is named twice";
        *seen = true;
        if (c->match_type < MATCH_EXACT || c->match_type > MATCH_ANY)
            return "unknown type of match";
        if (c->match_type == MATCH_EXACT && c->match.ptr == NULL)
            return "an exact match needs a name";
    }
    return NULL;
}

static bool entry_begin(struct kafka_request *r, const struct security_entity *e, quota_entry *out,
                        struct kafka_describe_client_quotas_res_value *values)
{
    enum { PARTS = 2 };
    out->entity = arena_zalloc(&r->arena, PARTS, sizeof *out->entity);
    if (out->entity == NULL)
        return false;
    if (e->user != PART_ABSENT) {
        out->entity[out->n_entity].entity_type = STR("user");
        if (e->user == PART_NAMED)
            out->entity[out->n_entity].entity_name = e->user_name;
        out->n_entity++;
    }
    if (e->client != PART_ABSENT) {
        out->entity[out->n_entity].entity_type = STR("client-id");
        if (e->client == PART_NAMED)
            out->entity[out->n_entity].entity_name = e->client_name;
        out->n_entity++;
    }
    out->values = values;
    return true;
}

static bool entries_fill(struct kafka_request *r, struct kafka_describe_client_quotas_res *res)
{
    const struct security_list *l = &kafka_request_catalog(r)->security->quotas;
    struct kafka_describe_client_quotas_res_value *values =
        arena_zalloc(&r->arena, l->n, sizeof *values);
    res->entries = arena_zalloc(&r->arena, l->n, sizeof *res->entries);
    if (values == NULL || res->entries == NULL)
        return false;
    const struct security_entity *last = NULL;
    for (uint32_t i = 0; i < l->n; i++) {
        const struct security_quota *q = &l->items[i]->quota;
        if (!entity_matches(&q->entity, r->request))
            continue;
        if (last == NULL || security_entity_cmp(last, &q->entity) != 0) {
            if (!entry_begin(r, &q->entity, &res->entries[res->n_entries], values))
                return false;
            res->n_entries++;
            last = &q->entity;
        }
        *values++ = (struct kafka_describe_client_quotas_res_value){q->key, q->value};
        res->entries[res->n_entries - 1].n_values++;
    }
    return true;
}

void kafka_handle_describe_quotas(struct kafka_request *r)
{
    const struct kafka_describe_client_quotas_req *req = r->request;
    struct kafka_describe_client_quotas_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    int16_t code;
    const char *fault = filter_fault(req, &code);
    if (fault != NULL) {
        res->error_code = code;
        res->error_message = str_of(fault);
    } else if (!entries_fill(r, res)) {
        kafka_request_fail(r, "is too large for the memory of a request");
        return;
    }
    kafka_request_finish(r, res);
}

/* ---- AlterClientQuotas ---- */

typedef struct kafka_alter_client_quotas_req_entry alter_entry;
typedef struct kafka_alter_client_quotas_res_entry alter_result;

static void quotas_changed(struct kafka_request *r, int16_t error, struct str text)
{
    struct kafka_alter_client_quotas_res *res = r->state;
    for (uint32_t i = 0; i < res->n_entries; i++)
        if (error != KAFKA_OK && res->entries[i].error_code == KAFKA_OK) {
            res->entries[i].error_code = error;
            res->entries[i].error_message = text;
        }
    kafka_request_finish(r, res);
}

/* Reads whom an entry is for; the text of what is wrong, or NULL. */
static const char *entity_read(const alter_entry *in, struct security_entity *out)
{
    for (uint32_t i = 0; i < in->n_entity; i++) {
        struct str name = in->entity[i].entity_name;
        bool user = str_eq(in->entity[i].entity_type, STR("user"));
        if (!user && !str_eq(in->entity[i].entity_type, STR("client-id")))
            return "quotas are for user and client-id";
        enum security_part *part = user ? &out->user : &out->client;
        if (*part != PART_ABSENT)
            return "a type of entity is named twice";
        *part = name.ptr == NULL ? PART_DEFAULT : PART_NAMED;
        if (name.ptr != NULL)
            *(user ? &out->user_name : &out->client_name) = name;
    }
    return NULL;
}

/* Makes the entry's items behind the `n` there are, or sets its error. Returns how many there are
 * then. */
static uint32_t entry_items(struct kafka_request *r, const alter_entry *in, alter_result *out,
                            struct security_item *items, uint32_t n)
{
    struct security_entity entity = {0};
    const char *fault = entity_read(in, &entity);
    uint32_t end = n;
    for (uint32_t i = 0; i < in->n_ops && fault == NULL; i++) {
        struct err_detail why = {0};
        struct security_item *item = &items[end++];
        *item = (struct security_item){.kind = SECURITY_QUOTA, .remove = in->ops[i].remove};
        item->quota = (struct security_quota){entity, in->ops[i].key, in->ops[i].value};
        if (security_item_check(item, &why) == ERR_OK)
            continue;
        out->error_code = KAFKA_E_INVALID_REQUEST;
        out->error_message = kafka_error_text(r, ERR_INVALID_ARGUMENT, &why);
        return n;
    }
    if (fault == NULL)
        return end;
    out->error_code = KAFKA_E_INVALID_REQUEST;
    out->error_message = str_of(fault);
    return n;
}

void kafka_handle_alter_quotas(struct kafka_request *r)
{
    const struct kafka_alter_client_quotas_req *req = r->request;
    struct kafka_alter_client_quotas_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    uint64_t most = KAFKA_SECURITY_ITEM_FIRST;
    for (uint32_t i = 0; i < req->n_entries; i++)
        most += req->entries[i].n_ops;
    if (most > KAFKA_SECURITY_NAMES_MAX + KAFKA_SECURITY_ITEM_FIRST) {
        kafka_request_fail(r, "changes too many quotas");
        return;
    }
    struct security_item *items = arena_zalloc(&r->arena, most, sizeof *items);
    res->entries = arena_zalloc(&r->arena, req->n_entries, sizeof *res->entries);
    if (items == NULL || res->entries == NULL) {
        kafka_request_fail(r, "is too large for the memory of a request");
        return;
    }
    res->n_entries = req->n_entries;
    r->state = res;
    uint32_t n = KAFKA_SECURITY_ITEM_FIRST;
    for (uint32_t i = 0; i < req->n_entries; i++) {
        const alter_entry *in = &req->entries[i];
        alter_result *out = &res->entries[i];
        out->n_entity = in->n_entity;
        out->entity = arena_zalloc(&r->arena, in->n_entity, sizeof *out->entity);
        if (out->entity == NULL) {
            kafka_request_fail(r, "is too large for the memory of a request");
            return;
        }
        for (uint32_t k = 0; k < in->n_entity; k++) {
            out->entity[k].entity_type = in->entity[k].entity_type;
            out->entity[k].entity_name = in->entity[k].entity_name;
        }
        n = entry_items(r, in, out, items, n);
    }
    kafka_security_change(r, items, req->validate_only ? KAFKA_SECURITY_ITEM_FIRST : n,
                          quotas_changed);
}
