#include "engine/compactor.h"

#include "base/check.h"
#include "base/mem.h"

enum { COMPACTOR_RING_SLOTS = 2 };

struct compactor {
    struct engine *engine;
    struct host_worker *worker;
    struct ring *jobs, *done; /* by shard: struct part */
    uint32_t next;            /* ring that is looked at first */
};

/* ---- on the shard ---- */

static void run_again(struct part *p)
{
    struct compactor *cp = p->shard->engine->compactor;
    CHECK(ring_push(&cp->jobs[p->shard->index], p));
    host_worker_wake(cp->worker);
}

static bool begin(struct part *p)
{
    int64_t keep = stat_get(&p->stats->keep_from), snapshot = stat_get(&p->stats->snapshot_keep);
    int64_t stable = log_stable_offset(p->log);
    keep = keep < p->keep_from ? keep : p->keep_from;
    keep = keep < stable ? keep : stable;
    keep = keep < snapshot ? keep : snapshot;
    if (p->dropped || log_compact_begin(p->log, p->shard->wall_us / 1000, keep, &p->compaction) !=
                          ERR_OK)
        return false; /* out of memory: tried again with the next look */
    return p->compaction != NULL;
}

void compaction_look(struct shard *s)
{
    struct part *p;
    if (s->compacting != NULL || s->phase != SHARD_RUNNING)
        return;
    for (size_t at = 0; (p = map_next(&s->parts, &at)) != NULL;) {
        if (!begin(p))
            continue;
        s->compacting = p;
        run_again(p);
        return;
    }
}

static void end(struct part *p)
{
    struct engine *e = p->shard->engine;
    struct log_compacted done;
    struct err_detail why = {0};
    enum err err = log_compact_end(p->log, p->compaction, &done, &why);
    p->compaction = NULL;
    p->shard->compacting = NULL;
    stat_add(&e->compactions, err == ERR_OK);
    stat_add(&e->compacted_bytes, done.bytes_before - done.bytes_after);
    if (err != ERR_OK && err != ERR_CANCELED)
        engine_note(e, "warning", "%s", err_text(err, &why));
    if (p->dropped) {
        part_free_if_unused(p);
        return;
    }
    part_publish(p);
    if (err == ERR_OK)
        compaction_look(p->shard); /* another one may be waiting */
}

void compaction_turn(struct shard *s)
{
    struct part *p = ring_pop(&s->engine->compactor->done[s->index]);
    if (p == NULL)
        return;
    stat_add(&p->stats->compactions, 1);
    if (log_compact_step(p->log, p->compaction))
        run_again(p);
    else
        end(p);
}

/* ---- the worker ---- */

static struct part *take(struct compactor *cp, uint32_t *shard)
{
    uint32_t n = cp->engine->n_shards;
    for (uint32_t i = 0; i < n; i++) {
        *shard = (cp->next + i) % n;
        struct part *p = ring_pop(&cp->jobs[*shard]);
        if (p != NULL) {
            cp->next = *shard + 1;
            return p;
        }
    }
    return NULL;
}

static bool compactor_turn(void *arg)
{
    struct compactor *cp = arg;
    uint32_t shard;
    if (host_stop_requested(cp->engine->host))
        return false;
    struct part *p = take(cp, &shard);
    if (p == NULL) {
        struct host_event none;
        host_poll(cp->worker, &none, 1, INT64_MAX);
        return true;
    }
    log_compact_run(p->compaction);
    CHECK(ring_push(&cp->done[shard], p));
    host_worker_wake(cp->engine->shards[shard].worker);
    return true;
}

/* ---- life ---- */

enum err compactor_new(struct engine *e, struct compactor **out)
{
    struct compactor *cp = mem_zalloc(1, sizeof(*cp));
    if (cp == NULL)
        return ERR_NO_MEMORY;
    *out = cp;
    cp->engine = e;
    cp->jobs = mem_zalloc(e->n_shards, sizeof(*cp->jobs));
    cp->done = mem_zalloc(e->n_shards, sizeof(*cp->done));
    if (cp->jobs == NULL || cp->done == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < e->n_shards; i++) {
        TRY(ring_init(&cp->jobs[i], COMPACTOR_RING_SLOTS));
        TRY(ring_init(&cp->done[i], COMPACTOR_RING_SLOTS));
    }
    return ERR_OK;
}

enum err compactor_start(struct compactor *cp)
{
    return host_worker_start(cp->engine->host, "compactor", compactor_turn, cp, &cp->worker);
}

void compactor_free(struct compactor *cp)
{
    if (cp == NULL)
        return;
    for (uint32_t i = 0; i < cp->engine->n_shards; i++) {
        struct part *p = cp->engine->shards[i].compacting;
        if (p != NULL) {
            log_compact_free(p->compaction);
            p->compaction = NULL;
            part_free_if_unused(p);
        }
        if (cp->jobs != NULL)
            ring_deinit(&cp->jobs[i]);
        if (cp->done != NULL)
            ring_deinit(&cp->done[i]);
    }
    mem_free(cp->jobs);
    mem_free(cp->done);
    mem_free(cp);
}
