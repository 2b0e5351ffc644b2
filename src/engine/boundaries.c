/* What has to see all shards at one epoch: waits for it, between two epochs. */
#include "engine/coordinator_int.h"

/* The reader that feeds a view, or a table's own; NULL when there is none. */
static const struct co_reader *relation_reader(const struct coordinator *co,
                                               const struct boundary_relation *b)
{
    const struct co_view *v = co_view_find(co, b->number);
    if (v != NULL && b->source >= v->n_inputs)
        return NULL;
    return co_reader_find(co, v == NULL ? b->number : v->inputs[b->source].reader);
}

void coordinator_at_boundary(struct coordinator *co, struct boundary_action *a)
{
    for (uint32_t k = 0; k < a->n_relations; k++) {
        const struct co_reader *r = relation_reader(co, &a->relations[k]);
        for (uint32_t i = 0; r != NULL && i < r->n_parts; i++)
            a->relations[k].targets[i] = co_part_stable(co, r, i);
    }
    a->deadline_ns = co->shard->mono_ns + (int64_t)BOUNDARY_WAIT_MS * 1000000;
    a->next = NULL;
    *co->actions_tail = a;
    co->actions_tail = &a->next;
    co->shard->busy = true;
}

int64_t coordinator_position(const struct coordinator *co, const struct boundary_action *a,
                             const struct relation *table, uint32_t partition)
{
    const struct co_reader *found = NULL;
    for (uint32_t k = 0; k < a->n_relations && found == NULL; k++) {
        bool view = co_view_find(co, a->relations[k].number) != NULL;
        const struct co_reader *r = view ? relation_reader(co, &a->relations[k]) : NULL;
        if (r != NULL && r->rel_number == table->number)
            found = r;
    }
    if (found == NULL)
        found = co_reader_find(co, table->number);
    return found == NULL || partition >= found->n_parts ? -1 : found->parts[partition].pos;
}

/* Whether all that was written by the epoch that `a` needs is visible. */
static bool action_committed(const struct coordinator *co, struct boundary_action *a)
{
    if (!a->committed)
        return true;
    if (a->epoch == 0)
        a->epoch = co->finished;
    return co_epoch_happened(co, a->epoch);
}

/* Whether what an action has to do with has come as far as the action wants. */
static bool action_due(const struct coordinator *co, struct boundary_action *a)
{
    bool reached = !a->everything || list_empty(&co->active);
    if (co->shard->phase != SHARD_RUNNING) {
        a->late = !reached || !action_committed(co, a);
        return true;
    }
    for (uint32_t k = 0; k < a->n_relations; k++) {
        const struct co_reader *r = relation_reader(co, &a->relations[k]);
        const struct co_view *v = co_view_find(co, a->relations[k].number);
        if (v != NULL && !v->failed && !co_view_born(v)) {
            reached = false;
            if (co->replaying)
                return false;
        }
        if (r == NULL || r->failed)
            continue;
        if (r->silent)
            return false;
        for (uint32_t i = 0; i < r->n_parts; i++)
            reached &= r->parts[i].pos >= a->relations[k].targets[i];
    }
    a->late = !reached || !action_committed(co, a);
    return !a->late || co->shard->mono_ns >= a->deadline_ns;
}

void co_run_actions(struct coordinator *co)
{
    struct boundary_action *a = co->actions;
    co->actions = NULL;
    co->actions_tail = &co->actions;
    while (a != NULL) {
        struct boundary_action *next = a->next;
        if (action_due(co, a)) {
            a->act(co->shard, a, co->finished);
        } else {
            a->next = NULL;
            *co->actions_tail = a;
            co->actions_tail = &a->next;
        }
        a = next;
    }
}
