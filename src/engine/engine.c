#include "engine/engine_int.h"

#include "base/check.h"
#include "base/mem.h"
#include "engine/compactor.h"
#include "engine/coordinator.h"
#include "engine/ddl.h"
#include "engine/epoch_record.h"
#include "engine/epochs.h"
#include "engine/partition.h"
#include "engine/remover.h"
#include "engine/schemas.h"
#include "engine/snapshot_load.h"
#include "engine/source.h"
#include "engine/view_figures.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    NOTES_PER_SECOND_MAX = 50,
    RECORD_ARENA_BYTES_MAX = 256 << 20,
    VERSION_BYTES = 64,
    INTERNAL_SEGMENT_BYTES_DEFAULT = 1 << 20,
    EPOCH_MS_MIN_DEFAULT = 2,
    STARTS_MAX = 3, /* each without a snapshot that the one before had to give up */
};
static const uint64_t DEFAULT_MEMORY_BYTES = 4ULL << 30;

struct host *engine_host(struct engine *e)
{
    return e->host;
}
uint32_t engine_shards(const struct engine *e)
{
    return e->n_shards;
}
struct shard *engine_shard(struct engine *e, uint32_t i)
{
    return &e->shards[i];
}
uint64_t engine_committed_epoch(const struct engine *e)
{
    return atomic_load_explicit(&e->committed, memory_order_acquire);
}
bool engine_ready(const struct engine *e)
{
    return atomic_load(&e->ready);
}
const struct engine_options *engine_opened_with(const struct engine *e)
{
    return &e->options;
}

/* ---- notes ---- */

void engine_note(struct engine *e, const char *level, const char *fmt, ...)
{
    /* A token every 1/50 s, so that a fault that repeats does not fill a disk. */
    int64_t now = host_mono_ns(e->host), step = 1000000000 / NOTES_PER_SECOND_MAX;
    int64_t at = atomic_load(&e->note_at_ns);
    int64_t next = (at < now - 1000000000 ? now - 1000000000 : at) + step;
    if (next > now || !atomic_compare_exchange_strong(&e->note_at_ns, &at, next))
        return;
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fprintf(stderr, "tidemill: %s: %s\n", level, text);
}

void engine_fatal(struct engine *e, enum err err, const char *fmt, ...)
{
    (void)e;
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    fprintf(stderr, "tidemill: fatal: %s (%s). Restart to recover to the last durable state.\n",
            text, err_info(err)->text);
    abort();
}

/* ---- statistics ---- */

static enum err part_chunk_add(struct topic_stats *t, uint32_t chunk)
{
    if (atomic_load_explicit(&t->chunks[chunk], memory_order_relaxed) != NULL)
        return ERR_OK;
    uint32_t n = 1u << chunk;
    struct part_stats *parts = mem_zalloc(n, sizeof(*parts));
    if (parts == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        stat_set(&parts[i].watermark_us, INT64_MIN);
        stat_set(&parts[i].position, -1);
        stat_set(&parts[i].keep_from, INT64_MAX);
        stat_set(&parts[i].window_end_us, INT64_MAX);
        stat_set(&parts[i].snapshot_keep, INT64_MAX);
    }
    atomic_store_explicit(&t->chunks[chunk], parts, memory_order_release);
    return ERR_OK;
}

enum err engine_topic_stats_add(struct engine *e, const struct topic *t)
{
    if (t->number >= NUMBERS_MAX)
        return ERR_LIMIT;
    struct topic_stats *s = engine_topic_stats(e, t->number);
    if (s == NULL) {
        s = mem_zalloc(1, sizeof(*s));
        if (s == NULL)
            return ERR_NO_MEMORY;
        atomic_store_explicit(&e->topic_stats[t->number], s, memory_order_release);
    }
    for (uint32_t chunk = 0; (1u << chunk) <= t->n_partitions; chunk++)
        TRY(part_chunk_add(s, chunk));
    return ERR_OK;
}

static void topic_stats_free(struct topic_stats *s)
{
    for (uint32_t chunk = 0; s != NULL && chunk < PART_CHUNKS; chunk++)
        mem_free(atomic_load(&s->chunks[chunk]));
    mem_free(s);
}

static void relation_stats_free(struct relation_stats *s)
{
    if (s != NULL)
        mem_free(s->figures);
    mem_free(s);
}

enum err engine_relation_stats_add(struct engine *e, const struct relation *r)
{
    uint32_t slot = relation_slot(r->number);
    if (slot >= 2 * NUMBERS_MAX)
        return ERR_LIMIT;
    if (engine_relation_stats(e, r->number) != NULL)
        return ERR_OK;
    struct relation_stats *s = mem_zalloc(1, sizeof(*s));
    if (s == NULL)
        return ERR_NO_MEMORY;
    stat_set(&s->watermark_us, INT64_MIN);
    enum err err = r->kind == REL_VIEW ? view_figures_new(r->view, &s->figures) : ERR_OK;
    if (err != ERR_OK) {
        mem_free(s);
        return err;
    }
    atomic_store_explicit(&e->relation_stats[slot], s, memory_order_release);
    return ERR_OK;
}

void engine_metric_add(struct engine *e, const char *name, const char *labels, const char *help,
                       bool counter, const _Atomic uint64_t *value)
{
    CHECK(e->n_metrics < METRICS_MAX);
    e->metrics[e->n_metrics++] = (struct metric){
        .name = name, .labels = labels, .help = help, .counter = counter, .value = value};
}

void engine_listener_add(struct engine *e, const char *protocol, const char *address, uint16_t port)
{
    if (e->n_listeners == LISTENERS_MAX)
        return;
    struct listener *l = &e->listeners[e->n_listeners++];
    const char *colon = strrchr(address, ':');
    int host = colon == NULL ? (int)strlen(address) : (int)(colon - address);
    snprintf(l->protocol, sizeof(l->protocol), "%s", protocol);
    snprintf(l->address, sizeof(l->address), "%.*s:%u", host > 48 ? 48 : host, address, port);
}

/* ---- the data directory ---- */

void engine_partition_dir(const struct engine *e, uint32_t topic_number, uint32_t partition,
                          char *out, size_t n)
{
    int len = snprintf(out, n, "%s/topics/%u/%u", e->data_dir, topic_number, partition);
    CHECK(len > 0 && (size_t)len < n);
}

/* Makes the folder's own name durable. */
static enum err sync_parent(struct engine *e, const char *path)
{
    char parent[HOST_PATH_MAX];
    snprintf(parent, sizeof(parent), "%s", path);
    size_t n = strlen(parent);
    while (n > 1 && parent[n - 1] == '/')
        n--;
    while (n > 0 && parent[n - 1] != '/')
        n--;
    while (n > 1 && parent[n - 1] == '/')
        n--;
    parent[n] = '\0';
    return host_dir_sync(e->host, n == 0 ? "." : parent);
}

static void data_dir_hint(enum err err, struct err_detail *why)
{
    err_hint(why, "%s, or name another directory with --data.",
             err == ERR_NO_SPACE ? "Make room on the disk" : "Check the path and its permissions");
}

static enum err data_dir_err(enum err err, const char *what, const char *path,
                             struct err_detail *why)
{
    err_set(why, err, "cannot %s %s: %s", what, path, err_info(err)->text);
    data_dir_hint(err, why);
    return err;
}

static enum err make_dir(struct engine *e, const char *path, struct err_detail *why)
{
    enum err err = host_dir_create(e->host, path, why);
    if (err == ERR_IN_USE)
        err_hint(why, "Name another directory with --data.");
    else if (err != ERR_OK)
        data_dir_hint(err, why);
    return err;
}

/* Appears whole or not at all. */
static enum err write_version(struct engine *e, const char *path, struct err_detail *why)
{
    char made[HOST_PATH_MAX], text[VERSION_BYTES];
    int n = snprintf(made, sizeof(made), "%s/VERSION.new", e->data_dir);
    CHECK(n > 0 && (size_t)n < sizeof(made));
    n = snprintf(text, sizeof(text), "tidemill data, format %d\n", DATA_FORMAT_VERSION);
    struct host_file *f;
    TRY(host_file_open(e->host, made, HOST_OPEN_WRITE | HOST_OPEN_CREATE, &f, why));
    enum err err = host_file_truncate(f, 0);
    if (err == ERR_OK)
        err = host_file_write(f, 0, text, (size_t)n);
    if (err == ERR_OK)
        err = host_file_sync(f);
    host_file_close(f);
    if (err == ERR_OK)
        err = host_rename(e->host, made, path);
    if (err == ERR_OK)
        err = host_dir_sync(e->host, e->data_dir);
    return err == ERR_OK ? ERR_OK : data_dir_err(err, "write", path, why);
}

/* The file VERSION names the format; a newer one is left alone. */
static enum err check_version(struct engine *e, struct err_detail *why)
{
    char path[HOST_PATH_MAX], text[VERSION_BYTES] = {0};
    snprintf(path, sizeof(path), "%s/VERSION", e->data_dir);
    bool exists;
    enum err err = host_path_exists(e->host, path, &exists);
    if (err != ERR_OK)
        return data_dir_err(err, "look for", path, why);
    if (!exists)
        return write_version(e, path, why);
    struct host_file *f;
    uint64_t size = 0;
    TRY(host_file_open(e->host, path, HOST_OPEN_READ, &f, why));
    err = host_file_size(f, &size);
    if (err == ERR_OK)
        err = host_file_read(f, 0, text, size < sizeof(text) - 1 ? size : sizeof(text) - 1);
    host_file_close(f);
    int version = 0;
    if (err != ERR_OK)
        return data_dir_err(err, "read", path, why);
    if (sscanf(text, "tidemill data, format %d", &version) != 1)
        return err_set(why, ERR_CORRUPT,
                       "%s is not a Tidemill version file: is this a data directory?", path);
    if (version > DATA_FORMAT_VERSION)
        return err_set(why, ERR_UNSUPPORTED,
                       "%s has format %d, this program reads up to %d: use a newer tidemill",
                       e->data_dir, version, DATA_FORMAT_VERSION);
    /* What is written from now on an older program could not read. */
    return version < DATA_FORMAT_VERSION ? write_version(e, path, why) : ERR_OK;
}

static enum err open_data_dir(struct engine *e, struct err_detail *why)
{
    char path[HOST_PATH_MAX];
    TRY(make_dir(e, e->data_dir, why));
    if (sync_parent(e, e->data_dir) != ERR_OK)
        return err_set(why, ERR_IO, "cannot flush the folder that holds %s", e->data_dir);
    snprintf(path, sizeof(path), "%s/LOCK", e->data_dir);
    TRY(host_file_open(e->host, path, HOST_OPEN_WRITE | HOST_OPEN_CREATE, &e->lock, why));
    enum err err = host_file_lock(e->lock);
    if (err == ERR_IN_USE) {
        err_set(why, err, "the data directory %s is in use by another process", e->data_dir);
        err_hint(why, "Stop that process, or name another directory with --data.");
        return err;
    }
    if (err != ERR_OK)
        return data_dir_err(err, "lock", path, why);
    TRY(check_version(e, why));
    snprintf(path, sizeof(path), "%s/topics", e->data_dir);
    TRY(make_dir(e, path, why));
    enum err sync = host_dir_sync(e->host, e->data_dir);
    /* Folders that a killed process left behind may have names in the page cache only. */
    if (sync == ERR_OK)
        sync = host_dir_sync(e->host, path);
    return sync == ERR_OK ? ERR_OK : err_set(why, sync, "cannot flush the folder %s", e->data_dir);
}

/* ---- recovery ---- */

/* Reading sys.epochs: the last record says where to begin. */
struct epochs_reading {
    struct record_sum sum;
    struct arena *scratch;
    int64_t last; /* offset of the last record */
    int64_t base; /* ... and of the full one that it builds on */
};

static enum err read_last(void *arg, const struct kafka_record *rec, struct err_detail *why)
{
    struct epochs_reading *r = arg;
    struct epoch_record last;
    (void)why;
    TRY(epoch_record_decode(rec->value, r->scratch, &last));
    r->last = rec->offset;
    r->base = last.base < 0 ? rec->offset : last.base;
    return ERR_OK;
}

static enum err add_record(void *arg, const struct kafka_record *rec, struct err_detail *why)
{
    struct epochs_reading *r = arg;
    struct epoch_record record;
    (void)why;
    TRY(epoch_record_decode(rec->value, r->scratch, &record));
    return record_sum_add(&r->sum, &record);
}

/* What the last whole epoch record tells, or epoch 0 when there is none. */
static enum err read_epoch_record(struct shard *s, struct arena *a, struct epoch_record *out,
                                  struct err_detail *why)
{
    *out = (struct epoch_record){.base = -1};
    struct part *p = part_find(s, NUMBER_EPOCHS, 0);
    int64_t end = log_end_offset(p->log), start = log_start_offset(p->log);
    if (end == start)
        return ERR_OK;
    struct arena scratch;
    struct epochs_reading r = {.scratch = &scratch, .last = -1};
    arena_init(&scratch, RECORD_ARENA_BYTES_MAX);
    record_sum_init(&r.sum, a);
    enum err e = records_each(p, end - 1, &scratch, read_last, &r, why);
    if (e == ERR_OK && (r.last != end - 1 || r.base < start || r.base > r.last))
        e = ERR_CORRUPT;
    if (e == ERR_OK)
        e = records_each(p, r.base, &scratch, add_record, &r, why);
    if (e == ERR_OK)
        e = record_sum_take(&r.sum, out);
    record_sum_deinit(&r.sum);
    arena_deinit(&scratch);
    if (e != ERR_OK)
        return err_set(why, e, "the epoch records (sys.epochs up to offset %lld) cannot be read",
                       (long long)end - 1);
    p->keep_from = r.base;
    return ERR_OK;
}

/* Outputs of an epoch that did not happen are cut; the rest is visible again. */
static enum err settle_outputs(struct shard *s, const struct epoch_record *r,
                               struct err_detail *why)
{
    struct part *p;
    for (size_t at = 0; (p = map_next(&s->parts, &at)) != NULL;) {
        if (!topic_epoch_written(p->kind))
            continue;
        int64_t end = record_output_end(r, p->topic_number, p->partition);
        if (end < log_start_offset(p->log))
            end = log_start_offset(p->log);
        epoch_marks_restart(&p->marks, r->epoch, end);
        if (log_quarantined(p->log)) { /* told at its opening; its view fails when it writes */
            log_raise_watermark(p->log, end);
            part_publish(p);
            continue;
        }
        if (log_end_offset(p->log) < end)
            return err_set(
                why, ERR_CORRUPT,
                "topic %u partition %u ends at offset %lld, but epoch %llu wrote up to %lld",
                p->topic_number, p->partition, (long long)log_end_offset(p->log),
                (unsigned long long)r->epoch, (long long)end);
        TRY(log_truncate(p->log, end, why));
        log_raise_watermark(p->log, end);
        part_publish(p);
    }
    return ERR_OK;
}

static enum err recover(struct engine *e, struct err_detail *why)
{
    const struct catalog *catalog = NULL;
    struct shard *first = &e->shards[0];
    struct part *p;
    enum err err = ddl_bootstrap(e, &catalog, why);
    if (err == ERR_OK)
        err = part_open(first, catalog_topic(catalog, STR("sys.catalog")), 0, &p, why);
    if (err == ERR_OK)
        err = part_open(first, catalog_topic(catalog, STR("sys.epochs")), 0, &p, why);
    if (err == ERR_OK)
        err = ddl_replay(first, first->coordinator, catalog, why);
    struct arena a;
    struct epoch_record record = {0};
    arena_init(&a, RECORD_ARENA_BYTES_MAX);
    if (err == ERR_OK)
        err = read_epoch_record(first, &a, &record, why);
    struct snapshot_found *found = NULL;
    for (uint32_t i = 0; err == ERR_OK && i < e->n_shards; i++)
        err = epochs_prepare(e->shards[i].epochs, catalog, why);
    if (err == ERR_OK)
        err = snapshots_find(e, catalog, &record, &a, &found, why);
    for (uint32_t i = 0; err == ERR_OK && i < e->n_shards; i++) {
        err = epochs_adopt(e->shards[i].epochs, catalog, &record, why);
        if (err == ERR_OK)
            err = settle_outputs(&e->shards[i], &record, why);
    }
    if (err == ERR_OK)
        err = coordinator_adopt(first->coordinator, catalog, &record);
    if (err == ERR_OK && found != NULL)
        err = snapshots_restore(e, found, why);
    if (err == ERR_OK)
        ddl_settle(first);
    arena_deinit(&a);
    catalog_unref(catalog);
    return err;
}

/* ---- life ---- */

static enum err make_shards(struct engine *e)
{
    e->shards = mem_zalloc(e->n_shards, sizeof(*e->shards));
    e->rings = mem_zalloc((size_t)e->n_shards * e->n_shards, sizeof(*e->rings));
    e->topic_stats = mem_zalloc(NUMBERS_MAX, sizeof(*e->topic_stats));
    e->relation_stats = mem_zalloc((size_t)2 * NUMBERS_MAX, sizeof(*e->relation_stats));
    if (e->shards == NULL || e->rings == NULL || e->topic_stats == NULL ||
        e->relation_stats == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < e->n_shards * e->n_shards; i++)
        TRY(ring_init(&e->rings[i], SHARD_RING_SLOTS));
    TRY(schemas_new(e, &e->schemas));
    for (uint32_t i = 0; i < e->n_shards; i++) {
        TRY(shard_init(&e->shards[i], e, i));
        TRY(epochs_new(&e->shards[i], &e->shards[i].epochs));
    }
    TRY(coordinator_new(&e->shards[0], &e->shards[0].coordinator));
    TRY(snapshots_new(e, &e->snapshots));
    return ddl_new(&e->shards[0], &e->shards[0].ddl);
}

static enum err start_workers(struct engine *e)
{
    /* A catalog that has lost changes does not know what may go. */
    const struct part *changes = part_find(&e->shards[0], NUMBER_CATALOG, 0);
    TRY(remover_new(e, e->shards[0].catalog, !log_quarantined(changes->log), &e->remover));
    TRY(remover_start(e->remover));
    TRY(compactor_new(e, &e->compactor));
    TRY(compactor_start(e->compactor));
    TRY(schemas_start(e->schemas));
    TRY(snapshots_start(e->snapshots));
    for (uint32_t i = 0; i < e->n_shards; i++) {
        char name[24];
        snprintf(name, sizeof(name), "shard-%u", i);
        TRY(host_worker_start(e->host, name, shard_turn, &e->shards[i], &e->shards[i].worker));
        TRY(parts_start(&e->shards[i]));
    }
    return ERR_OK;
}

static enum err open_all(struct engine *e, const struct engine_options *options,
                         struct err_detail *why)
{
    if (strlen(options->data_dir) >= sizeof(e->data_dir))
        return err_set(why, ERR_INVALID_ARGUMENT,
                       "the path of the data directory is longer than %zu bytes",
                       sizeof(e->data_dir) - 1);
    snprintf(e->data_dir, sizeof(e->data_dir), "%s", options->data_dir);
    TRY(open_data_dir(e, why));
    TRY(make_shards(e));
    TRY(recover(e, why));
    return start_workers(e);
}

static void metrics_register(struct engine *e)
{
    engine_metric_add(e, "tidemill_epochs_total", "", "Epochs processed", true, &e->epoch);
    engine_metric_add(e, "tidemill_epoch_commits_total", "", "Epoch commits made durable", true,
                      &e->epochs_committed);
    engine_metric_add(e, "tidemill_flushes_total", "", "File flushes", true, &e->flushes);
    engine_metric_add(e, "tidemill_flush_nanoseconds_total", "", "Time spent flushing", true,
                      &e->flush_ns);
    engine_metric_add(e, "tidemill_compactions_total", "", "Passes of compaction over a partition",
                      true, &e->compactions);
    engine_metric_add(e, "tidemill_compacted_bytes_total", "", "Bytes that compaction has removed",
                      true, &e->compacted_bytes);
}

/* *again: a snapshot that was begun with has been moved aside. */
static enum err open_once(struct host *h, const struct engine_options *options,
                          struct engine **out, bool *again, struct err_detail *why)
{
    *again = false;
    struct engine *e = mem_zalloc(1, sizeof(*e));
    if (e == NULL)
        return ERR_NO_MEMORY;
    e->host = h;
    e->options = *options;
    e->n_shards = options->n_shards == 0 ? 1 : options->n_shards;
    e->options.n_shards = e->n_shards;
    CHECK(e->n_shards <= SHARDS_MAX && options->epoch_ms_min <= EPOCH_MS_MAX);
    if (e->options.epoch_ms_min == 0)
        e->options.epoch_ms_min = EPOCH_MS_MIN_DEFAULT;
    if (e->options.default_partitions == 0)
        e->options.default_partitions = 1;
    if (e->options.internal_segment_bytes == 0)
        e->options.internal_segment_bytes = INTERNAL_SEGMENT_BYTES_DEFAULT;
    if (e->options.memory_bytes_max == 0)
        e->options.memory_bytes_max = DEFAULT_MEMORY_BYTES;
    e->started_ns = host_mono_ns(h);
    e->started_wall_us = host_wall_us(h);
    host_random(h, &e->hash_seed, sizeof(e->hash_seed));
    enum err err = open_all(e, options, why);
    if (err != ERR_OK) {
        *again = e->restart;
        engine_close(e);
        return err;
    }
    metrics_register(e);
    *out = e;
    return ERR_OK;
}

enum err engine_open(struct host *h, const struct engine_options *options, struct engine **out,
                     struct err_detail *why)
{
    enum err e;
    bool again;
    int left = STARTS_MAX;
    do
        e = open_once(h, options, out, &again, why);
    while (again && --left > 0);
    return e;
}

void engine_close(struct engine *e)
{
    compactor_free(e->compactor);
    remover_free(e->remover);
    for (uint32_t i = 0; e->shards != NULL && i < e->n_shards; i++) {
        struct shard *s = &e->shards[i];
        epochs_free(s->epochs);
        coordinator_free(s->coordinator);
        ddl_free(s->ddl);
        parts_close(s);
        shard_deinit(s);
    }
    snapshots_free(e->snapshots);
    for (uint32_t i = 0; e->rings != NULL && i < e->n_shards * e->n_shards; i++)
        ring_deinit(&e->rings[i]);
    for (uint32_t i = 0; e->topic_stats != NULL && i < NUMBERS_MAX; i++)
        topic_stats_free(atomic_load(&e->topic_stats[i]));
    for (uint32_t i = 0; e->relation_stats != NULL && i < 2 * NUMBERS_MAX; i++)
        relation_stats_free(atomic_load(&e->relation_stats[i]));
    schemas_free(e->schemas);
    mem_free(e->topic_stats);
    mem_free(e->relation_stats);
    mem_free(e->rings);
    mem_free(e->shards);
    if (e->lock != NULL)
        host_file_close(e->lock);
    mem_free(e);
}
