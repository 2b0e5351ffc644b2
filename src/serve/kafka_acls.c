#include "serve/kafka_int.h"

/* DescribeAcls, CreateAcls, DeleteAcls: the access control lists in the catalog. */

/* What is wrong with a filter, or NULL. */
static const char *filter_fault(const struct security_acl *f)
{
    if (f->resource < ACL_ANY || f->resource > ACL_USER)
        return "unknown type of resource in the filter";
    if (f->pattern < PATTERN_ANY || f->pattern > PATTERN_PREFIXED)
        return "unknown type of pattern in the filter";
    if (f->operation < OP_ANY || f->operation > OP_TWO_PHASE_COMMIT)
        return "unknown operation in the filter";
    if (f->permission < PERMISSION_ANY || f->permission > PERMISSION_ALLOW)
        return "unknown permission in the filter";
    return NULL;
}

/* ---- DescribeAcls ---- */

/* Fills the resources with the ACLs that pass, which stand in the order of their resources. */
static bool acls_fill(struct kafka_request *r, const struct security_acl *filter,
                      struct kafka_describe_acls_res *res)
{
    const struct security_list *l = &kafka_request_catalog(r)->security->acls;
    struct kafka_describe_acls_res_acl *acls =
        arena_zalloc(&r->arena, l->n, sizeof *acls);
    res->resources = arena_zalloc(&r->arena, l->n, sizeof *res->resources);
    if (acls == NULL || res->resources == NULL)
        return false;
    struct kafka_describe_acls_res_resource *at = NULL;
    for (uint32_t i = 0; i < l->n; i++) {
        const struct security_acl *a = &l->items[i]->acl;
        if (!security_acl_matches(a, filter))
            continue;
        if (at == NULL || at->resource_type != a->resource || at->pattern_type != a->pattern ||
            !str_eq(at->resource_name, a->name)) {
            at = &res->resources[res->n_resources++];
            at->resource_type = a->resource;
            at->pattern_type = a->pattern;
            at->resource_name = a->name;
            at->acls = acls;
        }
        *acls++ = (struct kafka_describe_acls_res_acl){a->principal, a->host,
                                                                a->operation, a->permission};
        at->n_acls++;
    }
    return true;
}

void kafka_handle_describe_acls(struct kafka_request *r)
{
    const struct kafka_describe_acls_req *req = r->request;
    struct kafka_describe_acls_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    struct security_acl filter = {
        req->resource_type_filter, req->pattern_type_filter,  req->operation,  req->permission_type,
        req->resource_name_filter, req->principal_filter, req->host_filter};
    const char *fault = filter_fault(&filter);
    if (fault != NULL) {
        res->error_code = KAFKA_E_INVALID_REQUEST;
        res->error_message = str_of(fault);
    } else if (!acls_fill(r, &filter, res)) {
        kafka_request_fail(r, "is too large for the memory of a request");
        return;
    }
    kafka_request_finish(r, res);
}

/* ---- CreateAcls ---- */

static void acls_created(struct kafka_request *r, int16_t error, struct str text)
{
    struct kafka_create_acls_res *res = r->state;
    for (uint32_t i = 0; i < res->n_results; i++)
        if (error != KAFKA_OK && res->results[i].error_code == KAFKA_OK) {
            res->results[i].error_code = error;
            res->results[i].error_message = text;
        }
    kafka_request_finish(r, res);
}

void kafka_handle_create_acls(struct kafka_request *r)
{
    const struct kafka_create_acls_req *req = r->request;
    if (req->n_creations > KAFKA_SECURITY_NAMES_MAX) {
        kafka_request_fail(r, "has too many ACLs");
        return;
    }
    struct kafka_create_acls_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    uint32_t n = KAFKA_SECURITY_ITEM_FIRST;
    struct security_item *items =
        arena_zalloc(&r->arena, (size_t)req->n_creations + n, sizeof *items);
    res->results = arena_zalloc(&r->arena, req->n_creations, sizeof *res->results);
    if (items == NULL || res->results == NULL) {
        kafka_request_fail(r, "is too large for the memory of a request");
        return;
    }
    res->n_results = req->n_creations;
    r->state = res;
    for (uint32_t i = 0; i < req->n_creations; i++) {
        const struct kafka_create_acls_req_creation *in = &req->creations[i];
        struct err_detail why = {0};
        items[n].kind = SECURITY_ACL;
        items[n].acl = (struct security_acl){
            in->resource_type, in->resource_pattern_type, in->operation, in->permission_type,
            in->resource_name, in->principal, in->host};
        if (security_item_check(&items[n], &why) != ERR_OK) {
            res->results[i].error_code = KAFKA_E_INVALID_REQUEST;
            res->results[i].error_message = kafka_error_text(r, ERR_INVALID_ARGUMENT, &why);
        } else {
            n++;
        }
    }
    kafka_security_change(r, items, n, acls_created);
}

/* ---- DeleteAcls ---- */

typedef struct kafka_delete_acls_res_filter_result filter_result;

struct delete_state {
    struct kafka_delete_acls_res *res;
    struct security_item *items;
    uint32_t n;
};

static void acls_deleted(struct kafka_request *r, int16_t error, struct str text)
{
    struct delete_state *st = r->state;
    for (uint32_t i = 0; i < st->res->n_filter_results && error != KAFKA_OK; i++) {
        filter_result *out = &st->res->filter_results[i];
        if (out->error_code == KAFKA_OK) {
            out->error_code = error;
            out->error_message = text;
            out->n_matching_acls = 0;
        }
    }
    kafka_request_finish(r, st->res);
}

/* Adds what passes the filter to the items to remove and to the answer. False: out of memory. */
static bool filter_apply(struct kafka_request *r, const struct security_acl *filter,
                         struct delete_state *st, filter_result *out)
{
    const struct security_list *l = &kafka_request_catalog(r)->security->acls;
    uint32_t most = 0;
    for (uint32_t i = 0; i < l->n; i++)
        most += security_acl_matches(&l->items[i]->acl, filter) ? 1 : 0;
    out->matching_acls = arena_zalloc(&r->arena, most, sizeof *out->matching_acls);
    if (out->matching_acls == NULL)
        return false;
    for (uint32_t i = 0; i < l->n; i++) {
        const struct security_acl *a = &l->items[i]->acl;
        if (!security_acl_matches(a, filter))
            continue;
        if (st->n == SECURITY_ITEMS_PER_CHANGE_MAX) {
            out->error_code = KAFKA_E_INVALID_REQUEST;
            out->error_message = STR("the filters match too many ACLs for one change: narrow them");
            st->n -= out->n_matching_acls;
            out->n_matching_acls = 0;
            return true;
        }
        st->items[st->n].kind = SECURITY_ACL;
        st->items[st->n].remove = true;
        st->items[st->n++].acl = *a;
        out->matching_acls[out->n_matching_acls++] =
            (struct kafka_delete_acls_res_matching_acl){
                .resource_type = a->resource, .resource_name = a->name,
                .pattern_type = a->pattern, .principal = a->principal, .host = a->host,
                .operation = a->operation, .permission_type = a->permission};
    }
    return true;
}

static bool filters_apply(struct kafka_request *r, struct delete_state *st)
{
    const struct kafka_delete_acls_req *req = r->request;
    for (uint32_t i = 0; i < req->n_filters; i++) {
        const struct kafka_delete_acls_req_filter *in = &req->filters[i];
        filter_result *out = &st->res->filter_results[i];
        struct security_acl filter = {
            in->resource_type_filter, in->pattern_type_filter,  in->operation,
            in->permission_type,      in->resource_name_filter, in->principal_filter,
            in->host_filter};
        const char *fault = filter_fault(&filter);
        if (fault != NULL) {
            out->error_code = KAFKA_E_INVALID_REQUEST;
            out->error_message = str_of(fault);
        } else if (!filter_apply(r, &filter, st, out)) {
            return false;
        }
    }
    return true;
}

void kafka_handle_delete_acls(struct kafka_request *r)
{
    const struct kafka_delete_acls_req *req = r->request;
    struct delete_state *st = kafka_request_alloc(r, 1, sizeof *st);
    if (st == NULL)
        return;
    if (req->n_filters > KAFKA_ACL_FILTERS_MAX) {
        kafka_request_fail(r, "has too many filters");
        return;
    }
    const struct security_list *l = &kafka_request_catalog(r)->security->acls;
    size_t room = (size_t)l->n * req->n_filters + KAFKA_SECURITY_ITEM_FIRST;
    if (room > SECURITY_ITEMS_PER_CHANGE_MAX)
        room = SECURITY_ITEMS_PER_CHANGE_MAX;
    st->res = arena_zalloc(&r->arena, 1, sizeof *st->res);
    st->items = arena_zalloc(&r->arena, room, sizeof *st->items);
    st->n = KAFKA_SECURITY_ITEM_FIRST;
    r->state = st;
    if (st->res != NULL)
        st->res->filter_results =
            arena_zalloc(&r->arena, req->n_filters, sizeof *st->res->filter_results);
    if (st->res == NULL || st->items == NULL || st->res->filter_results == NULL) {
        kafka_request_fail(r, "is too large for the memory of a request");
        return;
    }
    st->res->n_filter_results = req->n_filters;
    if (filters_apply(r, st))
        kafka_security_change(r, st->items, st->n, acls_deleted);
    else
        kafka_request_fail(r, "is too large for the memory of a request");
}
