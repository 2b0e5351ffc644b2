#include "serve/kafka_int.h"

/* CreatePartitions: one change of the catalog after the other, each decided on shard 0. */

struct grow_state {
    const bool *repeated; /* per topic of the request: it is named again */
    int16_t code;         /* of the topic that is being worked on, when it is refused */
};

static enum err refuse(struct grow_state *gs, int16_t code)
{
    gs->code = code;
    return ERR_INVALID_ARGUMENT;
}

/* The brokers of the new partitions, when the client chooses them. */
static enum err assignments_check(const struct kafka_create_partitions_req_topic *in,
                                  uint32_t n_partitions, struct grow_state *gs,
                                  struct err_detail *why)
{
    uint32_t added = (uint32_t)in->count - n_partitions;
    if (in->assignments == NULL)
        return ERR_OK;
    if (in->n_assignments != added) {
        err_set(why, ERR_INVALID_ARGUMENT, "%u partitions are added, but %u assignments given",
                added, in->n_assignments);
        return refuse(gs, KAFKA_E_INVALID_ASSIGNMENT);
    }
    for (uint32_t i = 0; i < in->n_assignments; i++)
        if (in->assignments[i].n_broker_ids != 1 ||
            in->assignments[i].broker_ids[0] != KAFKA_NODE_ID) {
            err_set(why, ERR_INVALID_ARGUMENT, "the only broker is %d", KAFKA_NODE_ID);
            return refuse(gs, KAFKA_E_INVALID_ASSIGNMENT);
        }
    return ERR_OK;
}

/* On shard 0; reads what the request's shard wrote before it sent the call, which reads what this
 * writes when it is done. */
static enum err grow_amend(struct ddl_request *d, const struct topic *now)
{
    const struct kafka_changes *st = CONTAINER_OF(d, struct kafka_changes, ddl);
    const struct kafka_create_partitions_req *req = st->request->request;
    const struct kafka_create_partitions_req_topic *in = &req->topics[st->next];
    struct grow_state *gs = d->arg;
    if (now->kind != TOPIC_USER) {
        err_set(&d->why, ERR_INVALID_ARGUMENT,
                "the topic belongs to a view or to the server: its partitions stay");
        return refuse(gs, KAFKA_E_TOPIC_AUTHORIZATION);
    }
    if (in->count <= (int64_t)now->n_partitions || in->count > PARTITIONS_MAX) {
        err_set(&d->why, ERR_INVALID_ARGUMENT,
                "the topic has %u partition%s: it can have more, up to %d, not %d",
                now->n_partitions, now->n_partitions == 1 ? "" : "s", PARTITIONS_MAX, in->count);
        return refuse(gs, KAFKA_E_INVALID_PARTITIONS);
    }
    TRY(assignments_check(in, now->n_partitions, gs, &d->why));
    d->change.topic.n_partitions = (uint32_t)in->count;
    return ERR_OK;
}

static void grow_done(struct ddl_request *d)
{
    struct kafka_changes *st = CONTAINER_OF(d, struct kafka_changes, ddl);
    struct kafka_create_partitions_res *res = st->res;
    struct kafka_create_partitions_res_result *out = &res->results[st->next];
    const struct grow_state *gs = d->arg;
    if (d->err != ERR_OK) {
        out->error_code = gs->code != KAFKA_OK ? gs->code : kafka_error_of(d->err);
        out->error_message = kafka_error_text(st->request, d->err, &d->why);
    }
    kafka_change_done(st);
}

static void grow_step(struct kafka_request *r)
{
    const struct kafka_create_partitions_req *req = r->request;
    struct kafka_changes *st = r->state;
    struct kafka_create_partitions_res *res = st->res;
    struct grow_state *gs = st->arg;
    res->results[st->next].name = req->topics[st->next].name;
    if (gs->repeated[st->next]) {
        res->results[st->next].error_code = KAFKA_E_INVALID_REQUEST;
        res->results[st->next].error_message = STR("the request names the topic twice");
        return;
    }
    gs->code = KAFKA_OK;
    st->ddl = (struct ddl_request){.validate_only = req->validate_only,
                                   .amend = grow_amend,
                                   .done = grow_done,
                                   .arg = gs};
    st->ddl.change.verb = CHANGE_ALTER_TOPIC;
    st->ddl.change.name = req->topics[st->next].name;
    st->waiting = true;
    shard_ddl(r->shard, &st->ddl);
}

void kafka_handle_create_partitions(struct kafka_request *r)
{
    const struct kafka_create_partitions_req *req = r->request;
    struct kafka_create_partitions_res *res = kafka_request_alloc(r, 1, sizeof *res);
    if (res == NULL)
        return;
    if (req->n_topics > KAFKA_TOPICS_PER_REQUEST_MAX) {
        kafka_request_fail(r, "names too many topics");
        return;
    }
    struct grow_state *gs = kafka_request_alloc(r, 1, sizeof *gs);
    if (gs == NULL)
        return;
    struct str *names = kafka_request_alloc(r, req->n_topics, sizeof *names);
    if (names == NULL)
        return;
    for (uint32_t i = 0; i < req->n_topics; i++)
        names[i] = req->topics[i].name;
    gs->repeated = kafka_names_repeated(r, names, req->n_topics);
    if (gs->repeated == NULL)
        return;
    res->results = kafka_request_alloc(r, req->n_topics, sizeof *res->results);
    if (res->results == NULL)
        return;
    res->n_results = req->n_topics;
    kafka_changes_begin(r, res, req->n_topics, grow_step, gs);
}
