#include "engine/view_run.h"

#include "base/check.h"
#include "base/mem.h"
#include "engine/epochs.h"
#include "engine/view_capture.h"
#include "engine/view_flow.h"
#include "engine/view_scan.h"

#include <stdio.h>

enum { VIEW_PROGRAM_BYTES_MAX = 64 << 20 };

static enum err compile_aggregate(struct view_run *v, struct err_detail *why)
{
    TRY(agg_plan_new(v->aggregate, v->scan, &v->arena, &v->agg, &v->source_chain, why));
    return chain_compile(v->root, v->aggregate, &v->arena, &v->result_chain, why);
}

static enum err compile(struct view_run *v, struct err_detail *why)
{
    const struct plan_node *window = NULL;
    v->root = v->rel->view->plan->root;
    v->windows_per_row = 1;
    if (v->rel->view->connector != CONNECTOR_NONE)
        v->connector = connector_kind(v->rel->view->connector);
    if (!plan_is_view_chain(v->root) && (v->connector == NULL || !plan_is_pass(v->root)))
        return view_flow_compile(v, why);
    for (const struct plan_node *n = v->root; n != NULL; n = n->input) {
        if (n->kind == PLAN_AGGREGATE)
            v->aggregate = n;
        if (n->kind == PLAN_WINDOW) {
            window = n;
            v->windowed = true;
            v->windows_per_row =
                (uint32_t)((n->window.size_us + n->window.slide_us - 1) / n->window.slide_us);
        }
        v->scan = n;
    }
    CHECK(v->scan->kind == PLAN_SCAN);
    v->closes =
        window != NULL && v->aggregate != NULL && plan_groups_by_window(v->aggregate, window);
    if (v->aggregate != NULL)
        return compile_aggregate(v, why);
    return chain_compile(v->root, v->scan, &v->arena, &v->source_chain, why);
}

static enum err make_groups(struct shard *s, struct view_run *v, struct state_partition *sp)
{
    if (v->flow != NULL)
        TRY(view_flow_state(v, s->engine->host, s->wall_us));
    if (v->whole) /* keys hold all of a row */
        return group_table_new(v->agg.cells_bytes, v->partition_bytes_max, &sp->groups);
    return agg_plan_groups(&v->agg, v->partition_bytes_max, &sp->groups);
}

static enum err make_partitions(struct shard *s, struct view_run *v)
{
    const struct topic *t = v->rel->topic;
    v->n_partitions = t->n_partitions;
    v->partitions = mem_zalloc(v->n_partitions, sizeof(*v->partitions));
    if (v->partitions == NULL)
        return ERR_NO_MEMORY;
    v->partition_bytes_max =
        s->engine->options.memory_bytes_max / (v->agg.n_keys == 0 ? 1 : v->n_partitions);
    for (uint32_t i = 0; i < v->n_partitions; i++) {
        struct state_partition *sp = &v->partitions[i];
        sp->number = i;
        sp->watermark_us = INT64_MIN;
        records_init(&sp->out);
        if (v->aggregate != NULL && topic_shard(s->engine, t, i) == s->index)
            TRY(make_groups(s, v, sp));
    }
    return view_run_grow(v);
}

enum err view_run_grow(struct view_run *v)
{
    for (uint32_t i = 0; i < v->n_inputs; i++) {
        const struct topic *late = v->rel->view->late[i];
        struct view_input *in = &v->inputs[i];
        if (late == NULL || v->failed || late->n_partitions == in->n_late)
            continue;
        struct records *grown = mem_realloc(in->late, late->n_partitions * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        in->late = grown;
        while (in->n_late < late->n_partitions)
            records_init(&in->late[in->n_late++]);
    }
    return ERR_OK;
}

static enum err make_inputs(struct view_run *v)
{
    uint32_t n = v->rel->view->n_sources;
    v->inputs = arena_zalloc(&v->arena, n, sizeof(*v->inputs));
    if (v->inputs == NULL)
        return ERR_NO_MEMORY;
    v->n_inputs = n;
    for (uint32_t i = 0; i < n; i++) {
        v->inputs[i] = (struct view_input){.view = v, .source = i};
        list_init(&v->inputs[i].link);
    }
    return ERR_OK;
}

bool view_run_feeds(const struct view_run *v)
{
    LIST_FOR (it, &v->feeds) {
        const struct view_input *in = LIST_ENTRY(it, struct view_input, link);
        if ((in->born || in->birth) && !in->view->failed)
            return true;
    }
    return false;
}

static void leave_readers(struct view_run *v)
{
    for (uint32_t i = 0; i < v->n_inputs; i++)
        list_remove(&v->inputs[i].link);
    LIST_FOR_SAFE (it, next, &v->feeds) {
        list_remove(it);
        LIST_ENTRY(it, struct view_input, link)->upstream = NULL;
    }
    list_remove(&v->over_link);
}

enum err view_run_new(struct shard *s, const struct relation *rel, struct view_run **out,
                      struct err_detail *why)
{
    struct view_run *v = mem_zalloc(1, sizeof(*v));
    if (v == NULL)
        return ERR_NO_MEMORY;
    v->rel = rel;
    v->number = rel->number;
    v->emit_final = rel->view->emit_final;
    v->retention_us = rel->view->retention_us;
    v->hash_seed = s->engine->hash_seed;
    v->watermark_us = INT64_MIN;
    v->stats = engine_relation_stats(s->engine, rel->number);
    list_init(&v->scans);
    list_init(&v->feeds);
    list_init(&v->over_link);
    v->level = rel->view->level;
    arena_init(&v->arena, VIEW_PROGRAM_BYTES_MAX);
    enum err e = make_inputs(v);
    if (e == ERR_OK)
        e = compile(v, why);
    if (e == ERR_OK)
        e = make_partitions(s, v);
    if (e != ERR_OK) {
        view_run_free(v);
        return e;
    }
    *out = v;
    return ERR_OK;
}

static void partition_free(const struct view_run *v, struct state_partition *sp)
{
    agg_plan_groups_free(&v->agg, sp->groups);
    mem_free(sp->windows);
    mem_free(sp->closed.windows);
    mem_free(sp->touched);
    mem_free(sp->empty);
    records_deinit(&sp->out);
}

static void input_free(struct view_input *in)
{
    mem_free(in->floors);
    for (uint32_t p = 0; p < in->n_late; p++)
        records_deinit(&in->late[p]);
    mem_free(in->late);
}

void view_run_free(struct view_run *v)
{
    if (v == NULL)
        return;
    view_scans_stop(v);
    view_capture_stop(v);
    leave_readers(v);
    for (uint32_t i = 0; v->partitions != NULL && i < v->n_partitions; i++)
        partition_free(v, &v->partitions[i]);
    for (uint32_t i = 0; i < v->n_inputs; i++)
        input_free(&v->inputs[i]);
    flow_local_free(v->local);
    flow_free(v->flow);
    mem_free(v->partitions);
    arena_deinit(&v->arena);
    mem_free(v);
}

static void tell_gone(const struct view_run *v)
{
    for (uint32_t i = 0; v->partitions != NULL && i < v->n_partitions; i++) {
        const struct state_partition *sp = &v->partitions[i];
        atomic_fetch_sub_explicit(&v->stats->groups, sp->groups_told, memory_order_relaxed);
        atomic_fetch_sub_explicit(&v->stats->state_bytes, sp->bytes_told, memory_order_relaxed);
    }
}

static void view_remove(struct removal *r, struct engine *e, bool files)
{
    (void)e;
    (void)files;
    view_run_free(CONTAINER_OF(r, struct view_run, removal));
}

void view_run_give_up(struct shard *s, struct view_run *v)
{
    view_scans_stop(v);
    view_capture_stop(v);
    tell_gone(v);
    leave_readers(v);
    v->removal.run = view_remove;
    removal_hand(s, &v->removal);
}

struct view_run *view_run_remains(struct view_run *v)
{
    struct view_run *r = mem_zalloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    *r = (struct view_run){.number = v->number,
                           .rel = v->rel,
                           .stats = v->stats,
                           .windows_per_row = 1,
                           .level = v->level,
                           .failed = true};
    list_init(&r->scans);
    list_init(&r->feeds);
    list_init(&r->over_link);
    arena_init(&r->arena, VIEW_PROGRAM_BYTES_MAX);
    if (make_inputs(r) != ERR_OK) {
        view_run_free(r);
        return NULL;
    }
    for (uint32_t i = 0; i < r->n_inputs; i++) {
        r->inputs[i].reader = v->inputs[i].reader;
        r->inputs[i].upstream = v->inputs[i].upstream;
        r->inputs[i].born = v->inputs[i].born;
        list_add(&v->inputs[i].link, &r->inputs[i].link);
    }
    return r;
}

void view_stats_fail(struct relation_stats *st, enum err e, const char *why)
{
    if (atomic_exchange(&st->status, VIEW_FAILED) == VIEW_FAILED)
        return;
    atomic_store(&st->err, (int)e);
    snprintf(st->error, sizeof(st->error), "%s", why);
    atomic_store(&st->has_error, true);
}

enum err view_run_floor(struct view_run *v, const struct view_floor *f)
{
    if (f->source == READER_OF_VIEW) {
        v->watermark_us = f->watermark_us;
        return ERR_OK;
    }
    struct view_input *in = &v->inputs[f->source];
    if (f->partition >= in->n_floors) {
        int64_t *grown = mem_realloc(in->floors, (f->partition + 1) * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        in->floors = grown;
        while (in->n_floors <= f->partition)
            in->floors[in->n_floors++] = INT64_MIN;
    }
    in->floors[f->partition] = f->watermark_us;
    return ERR_OK;
}

void view_run_clear(struct view_run *v)
{
    for (uint32_t i = 0; i < v->n_partitions; i++) {
        records_clear(&v->partitions[i].out, 0);
        v->partitions[i].taken = (struct receipt){0};
    }
    for (uint32_t i = 0; i < v->n_inputs; i++)
        for (uint32_t p = 0; p < v->inputs[i].n_late; p++)
            records_clear(&v->inputs[i].late[p], 0);
}

void view_run_fail(struct view_run *v, struct epoch_work *w, enum err e,
                   const struct err_detail *why)
{
    if (v->failed)
        return;
    v->failed = true;
    v->failure = (struct view_failure){.next = w->failures, .view = v->number, .err = e};
    snprintf(v->failure.why, sizeof(v->failure.why), "%s", err_text(e, why));
    w->failures = &v->failure;
    view_run_clear(v);
}

void view_run_apply_failed(struct view_run *v, struct epoch_work *w, enum err e,
                           const struct err_detail *known)
{
    struct err_detail why = {0};
    err_set(&why, e,
            "%s; the view stands still at what it had (state %lld bytes). Drop it, or make "
            "room and create it again",
            known->text[0] != '\0' ? known->text
            : e == ERR_LIMIT       ? "its state is at its memory bound"
                                   : err_info(e)->text,
            (long long)stat_get(&v->stats->state_bytes));
    view_run_fail(v, w, e, &why);
}

bool view_run_stopped(struct view_run *v, struct epoch_work *w, enum err e, const char *text)
{
    struct err_detail why = {0};
    if (e != ERR_LIBRARY)
        return false;
    err_set(&why, e, "%s; drop the view and create it again", text);
    view_run_fail(v, w, e, &why);
    return true;
}

void view_run_stand(const struct view_run *v, enum err e, const struct err_detail *why)
{
    view_stats_fail(v->stats, e, err_text(e, why));
}
