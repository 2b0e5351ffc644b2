/* The source side of views: one decoded batch in, packets for state partitions out. */
#include "base/check.h"
#include "engine/epochs.h"
#include "engine/view_flow.h"
#include "run/key.h"

#include <stdio.h>

/* A row that has no place in the view. */
static enum err refuse(struct view_run *v, const struct source_batch *in, uint32_t row,
                       const char *text, struct epoch_work *w)
{
    static const struct kafka_record none = {.offset = -1}; /* the row is a view's */
    const struct kafka_record *rec = in->records == NULL ? &none : &in->records[row];
    stat_add(&v->stats->dead_letters, 1);
    if (in->silent)
        return ERR_OK;
    char reason[NAME_BYTES_MAX + ERR_TEXT_MAX];
    snprintf(reason, sizeof(reason), "%s \"%.*s\": %s",
             v->connector != NULL ? "publication" : "view", STR_ARG(v->rel->name), text);
    return dead_letter_add(w, v, in->rel, in->partition, rec->offset, reason, rec->value);
}

static enum err tell_errors(struct view_run *v, const struct source_batch *in,
                            const struct chain_result *r, struct epoch_work *w)
{
    for (uint32_t i = 0; i < r->n_errors; i++)
        if (!view_run_stopped(v, w, r->errors[i].err, r->errors[i].text))
            TRY(refuse(v, in, r->errors[i].row, r->errors[i].text, w));
    return ERR_OK;
}

void view_keep_late(struct view_run *v, const struct source_batch *in, const uint32_t *rows,
                    uint32_t n, const struct epoch_work *w)
{
    const struct view_input *of = &v->inputs[view_source(v->rel->view, in->rel->number)];
    stat_add(&v->stats->late_rows, n);
    for (uint32_t i = 0; i < n && of->late != NULL && !in->silent; i++) {
        const struct kafka_record *rec = &in->records[rows[i]];
        of->late[in->partition].epoch = w->epoch;
        records_add(&of->late[in->partition], rec->key, rec->value, rec->timestamp, NULL, 0);
    }
}

void view_packet_send(struct view_run *v, struct epoch_work *w, struct packet *p)
{
    uint32_t target = topic_shard(w->shard->engine, v->rel->topic, p->state_partition);
    struct epoch_end *end = &w->ends[target];
    p->next = NULL;
    p->level = v->level;
    *end->packets_tail = p;
    end->packets_tail = &p->next;
}

static enum err send_whole(struct view_run *v, struct epoch_work *w, const struct packet *all,
                           uint32_t state_partition)
{
    struct packet *p = arena_alloc(w->arena, sizeof(*p));
    if (p == NULL)
        return ERR_NO_MEMORY;
    *p = *all;
    p->state_partition = state_partition;
    view_packet_send(v, w, p);
    return ERR_OK;
}

/* The rows rows[0..n) of a packet as a packet of their own. */
static enum err send_some(struct view_run *v, struct epoch_work *w, const struct packet *all,
                          uint32_t state_partition, const uint32_t *rows, uint32_t n)
{
    struct arena *a = w->arena;
    struct packet *p = arena_alloc(a, sizeof(*p));
    struct str *keys = arena_alloc(a, n * sizeof(*keys));
    uint64_t *hashes = arena_alloc(a, n * sizeof(*hashes));
    int64_t *ends = all->window_end == NULL ? NULL : arena_alloc(a, n * sizeof(*ends));
    struct batch *b = batch_gather(all->batch, rows, n, a);
    if (p == NULL || keys == NULL || hashes == NULL || b == NULL ||
        (all->window_end != NULL && ends == NULL))
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        keys[i] = all->keys[rows[i]];
        hashes[i] = all->hashes[rows[i]];
        if (ends != NULL)
            ends[i] = all->window_end[rows[i]];
    }
    *p = *all;
    p->state_partition = state_partition;
    p->batch = b;
    p->keys = keys;
    p->hashes = hashes;
    p->window_end = ends;
    view_packet_send(v, w, p);
    return ERR_OK;
}

/* Routes rows to the state partition of their key. */
static enum err route(struct view_run *v, struct epoch_work *w, const struct packet *all)
{
    uint32_t n = all->batch->n_rows, parts = v->agg.n_keys == 0 ? 1 : v->n_partitions;
    if (parts == 1)
        return send_whole(v, w, all, 0);
    uint32_t *count = arena_zalloc(w->arena, parts, sizeof(*count));
    uint32_t *start = arena_zalloc(w->arena, parts, sizeof(*start));
    uint32_t *rows = arena_alloc(w->arena, n * sizeof(*rows));
    uint32_t *to = arena_alloc(w->arena, n * sizeof(*to));
    if (count == NULL || start == NULL || rows == NULL || to == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        to[i] = key_partition(all->keys[i], parts);
        count[to[i]]++;
    }
    for (uint32_t p = 1; p < parts; p++)
        start[p] = start[p - 1] + count[p - 1];
    for (uint32_t i = 0; i < n; i++)
        rows[start[to[i]]++] = i;
    for (uint32_t p = 0; p < parts; p++)
        if (count[p] > 0)
            TRY(send_some(v, w, all, p, rows + start[p] - count[p], count[p]));
    return ERR_OK;
}

enum err view_scan_batch(const struct plan_node *scan, const struct batch *in, struct arena *a,
                         struct batch *out)
{
    struct column *columns = arena_alloc(a, (scan->n_columns + 1) * sizeof(*columns));
    if (columns == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < scan->n_columns; i++)
        columns[i] = in->columns[scan->scan_columns[i]];
    *out = (struct batch){.n_rows = in->n_rows,
                          .n_columns = scan->n_columns,
                          .columns = columns,
                          .weights = in->weights};
    return ERR_OK;
}

static bool key_fits(struct str key)
{
    return key.len <= GROUP_KEY_BYTES_MAX;
}

/* Takes rows out whose group key is longer than a group can hold. */
static enum err drop_long_keys(struct view_run *v, const struct source_batch *in,
                               const struct chain_result *r, struct packet *all,
                               struct epoch_work *w)
{
    uint32_t n = all->batch->n_rows, kept = 0, told = UINT32_MAX;
    struct str *keys = arena_alloc(w->arena, n * sizeof(*keys));
    uint64_t *hashes = arena_alloc(w->arena, n * sizeof(*hashes));
    int64_t *ends = arena_alloc(w->arena, n * sizeof(*ends));
    uint32_t *rows = arena_alloc(w->arena, n * sizeof(*rows));
    if (keys == NULL || hashes == NULL || ends == NULL || rows == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t origin = r->origin == NULL ? i : r->origin[i];
        if (key_fits(all->keys[i])) {
            keys[kept] = all->keys[i];
            hashes[kept] = all->hashes[i];
            ends[kept] = all->window_end == NULL ? 0 : all->window_end[i];
            rows[kept++] = i;
        } else if (origin != told) { /* the windows of a row stand together */
            char text[ERR_TEXT_MAX];
            snprintf(text, sizeof(text), "a group's key has %zu bytes, the maximum is %d",
                     all->keys[i].len, GROUP_KEY_BYTES_MAX);
            told = origin;
            TRY(refuse(v, in, origin, text, w));
        }
    }
    all->batch = batch_gather(all->batch, rows, kept, w->arena);
    all->keys = keys;
    all->hashes = hashes;
    all->window_end = all->window_end == NULL ? NULL : ends;
    return all->batch == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static enum err chain_source(struct view_run *v, const struct source_batch *in,
                             struct epoch_work *w)
{
    struct batch scanned;
    struct chain_result r;
    TRY(view_scan_batch(v->scan, in->batch, w->arena, &scanned));
    TRY(chain_run(v->source_chain, &scanned, v->windowed ? in->watermarks : NULL, in->now_us,
                  w->arena, &r));
    stat_add(&v->stats->rows_in, in->batch->n_rows);
    stat_add(&v->stats->rows_filtered, r.batch->n_rows);
    TRY(tell_errors(v, in, &r, w));
    view_keep_late(v, in, r.late, r.n_late, w);
    if (r.batch->n_rows == 0)
        return ERR_OK;
    struct packet all = {.view = v->number,
                         .source_partition = in->partition,
                         .batch = r.batch,
                         .window_end = v->closes ? r.window_end : NULL};
    if (v->aggregate == NULL)
        return send_whole(v, w, &all, in->partition % v->n_partitions);
    struct str *keys = arena_alloc(w->arena, r.batch->n_rows * sizeof(*keys));
    uint64_t *hashes = arena_alloc(w->arena, r.batch->n_rows * sizeof(*hashes));
    if (keys == NULL || hashes == NULL ||
        !key_encode(r.batch->columns, v->agg.n_keys, r.batch->n_rows, w->arena, v->hash_seed, keys,
                    hashes))
        return ERR_NO_MEMORY;
    all.keys = keys;
    all.hashes = hashes;
    for (uint32_t i = 0; i < r.batch->n_rows; i++)
        if (!key_fits(keys[i])) {
            TRY(drop_long_keys(v, in, &r, &all, w));
            break;
        }
    return all.batch->n_rows == 0 ? ERR_OK : route(v, w, &all);
}

enum err view_run_source(struct view_run *v, const struct source_batch *in, struct epoch_work *w)
{
    int64_t began = host_mono_ns(w->shard->engine->host);
    enum err e = v->flow != NULL ? view_flow_source(v, in, w) : chain_source(v, in, w);
    engine_count_busy(w->shard->engine, &v->stats->figures->source_ns, began);
    return e;
}
