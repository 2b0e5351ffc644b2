/* Views that read views: when they begin to, and that they fail with them.
 *
 *   made --> unborn --an epoch after all replays: all rows of the other, as of its end--> born
 *
 * From then on it gets the other's changes of each epoch, behind it in the same epoch. That it is
 * born is in the epoch's record: after a restart it gets the other's changes in the replay, from
 * the first one on, so that both are as they were; one that is unborn waits for the end of it. */
#include "base/check.h"
#include "engine/coordinator_int.h"

bool co_view_born(const struct co_view *v)
{
    for (uint32_t k = 0; k < v->n_inputs; k++)
        if (v->inputs[k].upstream != 0 && !v->inputs[k].born)
            return false;
    return true;
}

/* An epoch is needed, if without rows. */
void co_births_touch(struct coordinator *co)
{
    LIST_FOR (it, &co->views) {
        const struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        if (v->failed || co_view_born(v))
            continue;
        LIST_FOR (rt, &co->readers) {
            struct co_reader *r = LIST_ENTRY(rt, struct co_reader, link);
            r->touched |= r->main;
            co_reader_activate(co, r);
        }
        return;
    }
}

/* Those of the epoch that is planned: all that wait. */
bool co_births_plan(struct coordinator *co, struct epoch_plan *plan)
{
    uint32_t n = 0;
    LIST_FOR (it, &co->views)
        n += LIST_ENTRY(it, struct co_view, link)->n_inputs;
    struct epoch_birth *births = NULL;
    LIST_FOR (it, &co->views) {
        const struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        for (uint32_t k = 0; k < v->n_inputs && !co->replaying && !v->failed; k++) {
            if (v->inputs[k].upstream == 0 || v->inputs[k].born)
                continue;
            if (births == NULL)
                births = arena_alloc(&co->plan_arena, n * sizeof(*births));
            if (births == NULL)
                return false;
            births[plan->n_births++] = (struct epoch_birth){v->number, k};
        }
    }
    plan->births = births;
    return true;
}

void co_births_finish(struct coordinator *co)
{
    for (uint32_t i = 0; i < co->plan->n_births; i++) {
        const struct epoch_birth *b = &co->plan->births[i];
        struct co_view *v = co_view_find(co, b->view);
        CHECK(v != NULL);
        v->inputs[b->source].born = true;
        co->views_changed = co->has_outputs = true;
    }
}

static void view_fails_with(const struct coordinator *co, struct co_view *v,
                            const struct co_view *up)
{
    const struct relation *rel = catalog_relation_by_number(co->catalog, up->number);
    v->err = up->err;
    struct err_detail why = {0};
    err_set(&why, up->err, "materialized view \"%.*s\", which it reads, has failed: %s",
            STR_ARG(rel->name), up->why);
    memcpy(v->why, why.text, sizeof(v->why));
}

/* A view that it reads of those that fail now (or, unborn, of those that have failed). */
static const struct co_view *failing_source(const struct coordinator *co, const struct co_view *v,
                                            bool unborn)
{
    for (uint32_t k = 0; k < v->n_inputs; k++) {
        const struct co_input *in = &v->inputs[k];
        const struct co_view *up = in->upstream != 0 ? co_view_find(co, in->upstream) : NULL;
        if (up != NULL && (unborn ? up->failed && !in->born : !list_empty(&up->failing_link)))
            return up;
    }
    return NULL;
}

/* In the order of the catalog a view may stand before those that it reads: again until nothing
 * changes. */
void co_failures_spread(struct coordinator *co)
{
    for (bool changed = true; changed;) {
        changed = false;
        LIST_FOR (it, &co->views) {
            struct co_view *v = LIST_ENTRY(it, struct co_view, link);
            const struct co_view *up = failing_source(co, v, false);
            if (up == NULL || v->failed || !list_empty(&v->failing_link))
                continue;
            view_fails_with(co, v, up);
            list_add(&co->failing, &v->failing_link);
            changed = true;
        }
    }
}

void co_unborn_fail(struct coordinator *co)
{
    for (bool changed = true; changed;) {
        changed = false;
        LIST_FOR (it, &co->views) {
            struct co_view *v = LIST_ENTRY(it, struct co_view, link);
            const struct co_view *up = failing_source(co, v, true);
            if (up == NULL || v->failed)
                continue;
            view_fails_with(co, v, up);
            v->failed = co->views_changed = co->commit_wanted = changed = true;
        }
    }
}
