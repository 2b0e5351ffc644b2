#include "serve/kafka_coordinator.h"

/* DescribeGroups, ListGroups and DeleteGroups, on shard 0. */

/* ---- DescribeGroups, ListGroups, DeleteGroups ---- */

static void describe_one(struct kafka_request *r, const struct kafka_group *g,
                         struct kafka_describe_groups_res_group *out)
{
    out->group_state = str_of(kafka_group_state_name(g->state));
    out->protocol_type = arena_str(&r->arena, g->protocol_type);
    out->protocol_data = arena_str(&r->arena, g->protocol);
    out->members = arena_zalloc(&r->arena, g->n_members, sizeof *out->members);
    if (out->members == NULL) {
        out->error_code = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
        return;
    }
    LIST_FOR (it, &g->members) {
        const struct kafka_group_member *m = LIST_ENTRY(it, struct kafka_group_member, link);
        if (m->pending)
            continue;
        struct kafka_describe_groups_res_member *o = &out->members[out->n_members++];
        o->member_id = arena_str(&r->arena, m->id);
        if (m->instance.ptr != NULL)
            o->group_instance_id = arena_str(&r->arena, m->instance);
        o->client_id = arena_str(&r->arena, m->client_id);
        o->client_host = arena_str(&r->arena, m->client_host);
        o->member_assignment = arena_str(&r->arena, m->assignment);
        for (uint32_t i = 0; i < m->n_protocols; i++)
            if (str_eq(m->protocols[i].name, g->protocol))
                o->member_metadata = arena_str(&r->arena, m->protocols[i].metadata);
    }
}

/* Before version 6 a group that is not there is dead. */
static void describe_none(struct kafka_request *r, struct kafka_describe_groups_res_group *out)
{
    out->error_code = KAFKA_E_GROUP_ID_NOT_FOUND;
    out->error_message = arena_printf(&r->arena, "there is no group %.*s of the classic protocol",
                                      STR_ARG(out->group_id));
}

void kafka_group_describe(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_describe_groups_req *req = r->request;
    struct kafka_describe_groups_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL)
        res->groups = arena_zalloc(&r->arena, req->n_groups, sizeof *res->groups);
    if (res == NULL || res->groups == NULL) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    res->n_groups = req->n_groups;
    for (uint32_t i = 0; i < req->n_groups; i++) {
        const struct kafka_group *g = kafka_groups_find(&co->groups, req->groups[i]);
        res->groups[i].group_id = req->groups[i];
        res->groups[i].authorized_operations = INT32_MIN;
        res->groups[i].group_state = str_of(kafka_group_state_name(GROUP_DEAD));
        if (g != NULL && g->consumer == NULL)
            describe_one(r, g, &res->groups[i]);
        else if (r->header.api_version >= 6)
            describe_none(r, &res->groups[i]);
    }
    kafka_coordinator_reply(r, res);
}

/* What groups can be listed by, as the two functions in kafka_group_state_text say it. */
static const char *const state_names[] = {
    "Empty", "PreparingRebalance", "CompletingRebalance", "Stable",
    "Dead",  "Assigning",          "Reconciling"};
static const char *const type_names[] = {"classic", "consumer"};

static uint32_t place_of(const char *const *names, uint32_t n, struct str name)
{
    uint32_t i = 0;
    while (i < n && !str_ieq(str_of(names[i]), name))
        i++;
    return i;
}

/* A bit for each name that is asked for, looked up once: filters and groups may be many. None asked
 * for means all. */
static uint32_t wanted(const struct str *asked, uint32_t n_asked, const char *const *names,
                       uint32_t n)
{
    uint32_t bits = n_asked == 0 ? UINT32_MAX : 0;
    for (uint32_t i = 0; i < n_asked; i++) {
        uint32_t at = place_of(names, n, asked[i]);
        bits |= at < n ? 1u << at : 0;
    }
    return bits;
}

void kafka_group_list(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_list_groups_req *req = r->request;
    struct kafka_list_groups_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL)
        res->groups = arena_zalloc(&r->arena, co->groups.n, sizeof *res->groups);
    if (res == NULL || res->groups == NULL) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    uint32_t states =
        wanted(req->states_filter, req->n_states_filter, state_names, ARRAY_LEN(state_names));
    uint32_t types =
        wanted(req->types_filter, req->n_types_filter, type_names, ARRAY_LEN(type_names));
    LIST_FOR (it, &co->groups.all) {
        const struct kafka_group *g = LIST_ENTRY(it, struct kafka_group, link);
        struct str state = str_of(kafka_group_state_text(g));
        struct str type = g->consumer != NULL ? STR("consumer") : STR("classic");
        if ((states >> place_of(state_names, ARRAY_LEN(state_names), state) & 1) == 0 ||
            (types >> place_of(type_names, ARRAY_LEN(type_names), type) & 1) == 0)
            continue;
        struct kafka_list_groups_res_group *out = &res->groups[res->n_groups++];
        out->group_id = arena_str(&r->arena, g->id);
        out->protocol_type =
            g->consumer != NULL ? STR("consumer") : arena_str(&r->arena, g->protocol_type);
        out->group_state = state;
        out->group_type = type;
    }
    kafka_coordinator_reply(r, res);
}

struct delete_state {
    struct offsets_write write;
    struct kafka_delete_groups_res *res;
    struct kafka_request *request;
    struct kafka_coordinator *co;
    uint32_t next;
};

static void delete_run(struct delete_state *st);

static void delete_done(struct offsets_write *w, enum err e)
{
    struct delete_state *st = CONTAINER_OF(w, struct delete_state, write);
    struct kafka_delete_groups_res_result *out = &st->res->results[st->next++];
    if (e != ERR_OK) {
        out->error_code = KAFKA_E_COORDINATOR_NOT_AVAILABLE;
        out->error_message = kafka_error_text(st->request, e, NULL);
    }
    delete_run(st);
}

/* One group after the other: its offsets are overwritten by removals. */
static void delete_run(struct delete_state *st)
{
    struct kafka_request *r = st->request;
    const struct kafka_delete_groups_req *req = r->request;
    for (; st->next < req->n_group_names; st->next++) {
        struct kafka_delete_groups_res_result *out = &st->res->results[st->next];
        out->group_id = req->group_names[st->next];
        out->error_code = kafka_groups_may_delete(&st->co->groups, out->group_id);
        const struct kafka_group *g = kafka_groups_find(&st->co->groups, out->group_id);
        if (out->error_code != KAFKA_OK)
            out->error_message = g == NULL ? STR("there is no such group")
                                           : STR("the group has members: they have to leave first");
        if (out->error_code != KAFKA_OK || g == NULL || (g->n_offsets == 0 && g->consumer == NULL))
            continue;
        st->write = (struct offsets_write){.group = out->group_id, .done = delete_done};
        st->write.items = arena_zalloc(&r->arena, g->n_offsets + 1, sizeof *st->write.items);
        if (st->write.items == NULL) {
            kafka_coordinator_reply(r, NULL);
            return;
        }
        LIST_FOR (it, &g->offsets) {
            const struct kafka_group_offset *o = LIST_ENTRY(it, struct kafka_group_offset, link);
            st->write.items[st->write.n_items++] = (struct offsets_item){
                .topic = arena_str(&r->arena, o->topic), .partition = o->partition, .remove = true};
        }
        if (g->consumer != NULL)
            st->write.items[st->write.n_items++] =
                (struct offsets_item){.is_epoch = true, .remove = true};
        offsets_log_write(st->co->log, &st->write);
        return;
    }
    kafka_coordinator_reply(r, st->res);
}

void kafka_group_delete(struct kafka_coordinator *co, struct kafka_request *r)
{
    const struct kafka_delete_groups_req *req = r->request;
    struct delete_state *st = arena_zalloc(&r->arena, 1, sizeof *st);
    struct kafka_delete_groups_res *res = arena_zalloc(&r->arena, 1, sizeof *res);
    if (res != NULL)
        res->results = arena_zalloc(&r->arena, req->n_group_names, sizeof *res->results);
    if (st == NULL || res == NULL || res->results == NULL) {
        kafka_coordinator_reply(r, NULL);
        return;
    }
    res->n_results = req->n_group_names;
    st->res = res;
    st->request = r;
    st->co = co;
    delete_run(st);
}
