#include "engine/remover.h"

#include "base/check.h"
#include "base/mem.h"
#include "log/log.h"

#include <stdio.h>
#include <stdlib.h>

enum { REMOVAL_RING_SLOTS = 1024 };

struct remover {
    struct engine *engine;
    struct host_worker *worker;
    struct ring *rings; /* by shard */
    uint32_t next;      /* ring that is looked at first */
    /* the folders found at the start */
    bool sweep;
    uint32_t end; /* numbers from here on were never given */
    uint32_t n_live;
    uint32_t *live; /* ascending */
    uint32_t swept, failed;
};

/* ---- handing over ---- */

void removal_hand(struct shard *s, struct removal *r)
{
    list_init(&r->link);
    list_add(&s->removals, &r->link);
    s->busy = true;
}

void removals_turn(struct shard *s)
{
    struct remover *rm = s->engine->remover;
    if (list_empty(&s->removals))
        return;
    LIST_FOR_SAFE (it, next, &s->removals) {
        struct removal *r = LIST_ENTRY(it, struct removal, link);
        list_remove(it);
        if (ring_push(&rm->rings[s->index], r))
            continue;
        list_add(s->removals.next, it); /* back in front; we are woken when there is room */
        break;
    }
    host_worker_wake(rm->worker);
}

/* ---- folders whose topics are gone ---- */

void remover_topic_dir(struct engine *e, uint32_t topic_number)
{
    char dir[HOST_PATH_MAX];
    int n = snprintf(dir, sizeof(dir), "%s/topics/%u", e->data_dir, topic_number);
    CHECK(n > 0 && (size_t)n < sizeof(dir));
    /* While it holds another partition, or a file that is not ours, it stays. */
    (void)!host_remove(e->host, dir);
}

static bool number_parse(const char *name, uint32_t *out)
{
    int64_t n;
    struct str s = str_of(name);
    if (s.len == 0 || s.ptr[0] < '0' || s.ptr[0] > '9' || str_to_i64(s, &n) != ERR_OK ||
        n >= UINT32_MAX)
        return false;
    *out = (uint32_t)n;
    return true;
}

struct sweep {
    struct remover *remover;
    uint32_t topic;
    enum err err;
};

static bool sweep_partition(void *arg, const char *name)
{
    struct sweep *s = arg;
    struct engine *e = s->remover->engine;
    char dir[HOST_PATH_MAX];
    uint32_t partition;
    if (!number_parse(name, &partition))
        return true;
    engine_partition_dir(e, s->topic, partition, dir, sizeof(dir));
    enum err err = log_remove_dir(e->host, dir);
    if (err != ERR_OK)
        s->err = err;
    return !host_stop_requested(e->host);
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static bool sweep_topic(void *arg, const char *name)
{
    struct remover *rm = arg;
    struct engine *e = rm->engine;
    struct sweep s = {.remover = rm};
    char dir[HOST_PATH_MAX];
    if (!number_parse(name, &s.topic) || s.topic >= rm->end ||
        bsearch(&s.topic, rm->live, rm->n_live, sizeof(*rm->live), compare_numbers) != NULL)
        return true;
    snprintf(dir, sizeof(dir), "%s/topics/%u", e->data_dir, s.topic);
    enum err err = host_dir_list(e->host, dir, sweep_partition, &s);
    rm->swept++;
    rm->failed += err != ERR_OK || s.err != ERR_OK;
    remover_topic_dir(e, s.topic);
    return !host_stop_requested(e->host);
}

static void sweep(struct remover *rm)
{
    char dir[HOST_PATH_MAX];
    snprintf(dir, sizeof(dir), "%s/topics", rm->engine->data_dir);
    enum err e = host_dir_list(rm->engine->host, dir, sweep_topic, rm);
    if (rm->swept > rm->failed)
        engine_note(rm->engine, "info", "removed the folders of %u dropped topics",
                    rm->swept - rm->failed);
    if (e != ERR_OK || rm->failed > 0)
        engine_note(rm->engine, "warning",
                    "folders of dropped topics are left in %s: they are tried again at the next "
                    "start",
                    dir);
}

/* ---- life ---- */

static struct removal *take(struct remover *rm)
{
    uint32_t n = rm->engine->n_shards;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t shard = (rm->next + i) % n;
        struct removal *r = ring_pop(&rm->rings[shard]);
        if (r == NULL)
            continue;
        rm->next = shard + 1;
        host_worker_wake(rm->engine->shards[shard].worker);
        return r;
    }
    return NULL;
}

static bool remover_turn(void *arg)
{
    struct remover *rm = arg;
    if (host_stop_requested(rm->engine->host))
        return false;
    if (rm->sweep) {
        rm->sweep = false;
        sweep(rm);
        return true;
    }
    struct removal *r = take(rm);
    if (r != NULL) {
        r->run(r, rm->engine, true);
        return true;
    }
    struct host_event none;
    host_poll(rm->worker, &none, 1, INT64_MAX);
    return true;
}

enum err remover_new(struct engine *e, const struct catalog *catalog, bool sweep_now,
                     struct remover **out)
{
    struct remover *rm = mem_zalloc(1, sizeof(*rm));
    if (rm == NULL)
        return ERR_NO_MEMORY;
    *out = rm;
    rm->engine = e;
    rm->sweep = sweep_now;
    rm->end = catalog->next_topic;
    rm->live = mem_alloc((catalog->n_topics + 1) * sizeof(*rm->live));
    rm->rings = mem_zalloc(e->n_shards, sizeof(*rm->rings));
    if (rm->live == NULL || rm->rings == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < catalog->n_topics; i++)
        rm->live[rm->n_live++] = catalog->topics[i]->number;
    qsort(rm->live, rm->n_live, sizeof(*rm->live), compare_numbers);
    for (uint32_t i = 0; i < e->n_shards; i++)
        TRY(ring_init(&rm->rings[i], REMOVAL_RING_SLOTS));
    return ERR_OK;
}

enum err remover_start(struct remover *rm)
{
    return host_worker_start(rm->engine->host, "remover", remover_turn, rm, &rm->worker);
}

void remover_free(struct remover *rm)
{
    if (rm == NULL)
        return;
    for (uint32_t i = 0; i < rm->engine->n_shards; i++) {
        struct shard *s = &rm->engine->shards[i];
        struct removal *r;
        while (rm->rings != NULL && rm->rings[i].slots != NULL &&
               (r = ring_pop(&rm->rings[i])) != NULL)
            r->run(r, rm->engine, false);
        LIST_FOR_SAFE (it, next, &s->removals) {
            list_remove(it);
            r = LIST_ENTRY(it, struct removal, link);
            r->run(r, rm->engine, false);
        }
        if (rm->rings != NULL)
            ring_deinit(&rm->rings[i]);
    }
    mem_free(rm->rings);
    mem_free(rm->live);
    mem_free(rm);
}
