#include "engine/partition.h"

#include "base/check.h"
#include "base/mem.h"
#include "engine/compactor.h"
#include "engine/coordinator.h"
#include "wire/kafka_batch.h"

#include <stdio.h>

enum { FLUSH_RING_SLOTS = 4096, RETENTION_PERIOD_MS = 10000 };

/* One per shard: flushes files so that the loop never waits for a disk. */
struct flush_worker {
    struct engine *engine;
    struct host_worker *worker, *shard_worker;
    struct ring jobs, done;
    _Atomic bool stop;
    uint32_t in_flight; /* jobs pushed and not taken back: the shard's */
    struct shard_timer retention;
    struct shard_timer gather; /* so that there is a turn when the first partition has waited */
    uint64_t appended_seen; /* by the partitions here, when retention ran last */
    bool trimmed;           /* nothing was appended since memory was given back */
    struct shard *shard;
};

static bool flush_turn(void *arg)
{
    struct flush_worker *f = arg;
    struct flush_job *job = ring_pop(&f->jobs);
    if (job == NULL) {
        if (atomic_load(&f->stop))
            return false;
        struct host_event none;
        host_poll(f->worker, &none, 1, INT64_MAX);
        return true;
    }
    int64_t began = host_mono_ns(f->engine->host);
    log_sync_run(f->engine->host, &job->sync);
    stat_add(&f->engine->flushes, 1);
    job->took_ns = host_mono_ns(f->engine->host) - began;
    stat_add(&f->engine->flush_ns, (uint64_t)job->took_ns);
    CHECK(ring_push(&f->done, job));
    host_worker_wake(f->shard_worker);
    return true;
}

struct part *part_find(struct shard *s, uint32_t topic_number, uint32_t partition)
{
    return map_get(&s->parts, part_key(topic_number, partition));
}

bool topic_epoch_written(enum topic_kind kind)
{
    return kind == TOPIC_CHANGELOG || kind == TOPIC_LATE || kind == TOPIC_DEAD_LETTERS;
}

static void topic_config(const struct topic *t, struct log_config *c)
{
    const struct topic_config *tc = &t->config;
    *c = log_config_default;
    c->segment_bytes = (uint64_t)topic_config_get(tc, TOPIC_SEGMENT_BYTES);
    c->segment_ms = topic_config_get(tc, TOPIC_SEGMENT_MS);
    c->batch_bytes_max = (uint32_t)topic_config_get(tc, TOPIC_MAX_MESSAGE_BYTES);
    c->index_interval_bytes = (uint32_t)topic_config_get(tc, TOPIC_INDEX_INTERVAL_BYTES);
    int64_t policy = topic_config_get(tc, TOPIC_CLEANUP_POLICY);
    if ((policy & CLEANUP_DELETE) != 0) {
        c->retention_bytes = topic_config_get(tc, TOPIC_RETENTION_BYTES);
        c->retention_ms = topic_config_get(tc, TOPIC_RETENTION_MS);
    }
    c->compact = (policy & CLEANUP_COMPACT) != 0;
    c->delete_retention_ms = topic_config_get(tc, TOPIC_DELETE_RETENTION_MS);
    c->min_compaction_lag_ms = topic_config_get(tc, TOPIC_MIN_COMPACTION_LAG_MS);
    c->max_compaction_lag_ms = topic_config_get(tc, TOPIC_MAX_COMPACTION_LAG_MS);
    c->min_cleanable_dirty_ratio =
        (double)topic_config_get(tc, TOPIC_MIN_CLEANABLE_DIRTY_RATIO) / TOPIC_RATIO_ONE;
    if (c->compact && c->max_compaction_lag_ms < c->segment_ms)
        c->segment_ms = c->max_compaction_lag_ms; /* only what is not active can be compacted */
    if (t->kind != TOPIC_USER) /* rows of views: those may be longer than any of their source */
        c->batch_bytes_max = KAFKA_BATCH_BYTES_MAX;
    c->manual_watermark = topic_epoch_written(t->kind);
}

static bool has_append_time(const struct topic *t)
{
    return t->kind == TOPIC_USER &&
           topic_config_get(&t->config, TOPIC_TIMESTAMP_TYPE) == TIMESTAMP_LOG_APPEND;
}

void part_configure(struct part *p, const struct topic *t)
{
    struct log_config config;
    topic_config(t, &config);
    log_configure(p->log, &config);
    p->append_time = has_append_time(t);
}

/* The topic's folder, with a durable name; its partitions' logs make their own below it. */
static enum err topic_dir(struct engine *e, uint32_t topic_number, struct err_detail *why)
{
    char topics[HOST_PATH_MAX], dir[HOST_PATH_MAX + 16];
    bool exists;
    snprintf(topics, sizeof(topics), "%s/topics", e->data_dir);
    snprintf(dir, sizeof(dir), "%s/%u", topics, topic_number);
    enum err err = host_path_exists(e->host, dir, &exists);
    if (err == ERR_OK && !exists) {
        TRY(host_dir_create(e->host, dir, why));
        err = host_dir_sync(e->host, topics);
    }
    return err == ERR_OK
               ? ERR_OK
               : err_set(why, err, "cannot create the folder %s: %s", dir, err_info(err)->text);
}

enum err part_open(struct shard *s, const struct topic *t, uint32_t partition, struct part **out,
                   struct err_detail *why)
{
    char dir[HOST_PATH_MAX];
    TRY(topic_dir(s->engine, t->number, why));
    engine_partition_dir(s->engine, t->number, partition, dir, sizeof(dir));
    struct log_config config;
    topic_config(t, &config);
    struct part *p = mem_zalloc(1, sizeof(*p));
    if (p == NULL)
        return ERR_NO_MEMORY;
    *p = (struct part){.shard = s,
                       .topic_number = t->number,
                       .partition = partition,
                       .kind = t->kind,
                       .append_time = has_append_time(t),
                       .stats = engine_part_stats(s->engine, t->number, partition),
                       .keep_from = INT64_MAX,
                       .advance_told = -1};
    list_init(&p->dirty_link);
    list_init(&p->uncommitted_link);
    list_init(&p->appends);
    list_init(&p->waits);
    list_init(&p->trims);
    struct log_recovery recovery;
    enum err e = log_open(s->engine->host, dir, &config, &p->log, &recovery, why);
    if (e == ERR_OK && (e = map_put(&s->parts, part_key(t->number, partition), p)) != ERR_OK)
        log_close(p->log);
    if (e != ERR_OK) {
        mem_free(p);
        return e;
    }
    if (recovery.quarantined)
        engine_note(
            s->engine, "error",
            "topic %.*s partition %u is damaged from offset %lld on: it is served up to there",
            STR_ARG(t->name), partition, (long long)recovery.quarantine_offset);
    if (recovery.torn_bytes > 0)
        engine_note(s->engine, "info",
                    "topic %.*s partition %u: cut %llu bytes of an unfinished write",
                    STR_ARG(t->name), partition, (unsigned long long)recovery.torn_bytes);
    part_publish(p);
    *out = p;
    return ERR_OK;
}

/* ---- telling others ---- */

static void advance_done(struct shard *s, struct shard_call *c);

/* Readers that are at work look for themselves: only those that have nothing left are told. */
static void advance_tell(struct part *p)
{
    int64_t stable = stat_get(&p->stats->stable);
    if (p->kind == TOPIC_INTERNAL || p->advance_in_flight || stable == p->advance_told ||
        p->dropped || !atomic_exchange(&p->stats->advance_awaited, false))
        return;
    p->advance_told = stable;
    p->advance_in_flight = true;
    p->advance = (struct shard_call){.run = coordinator_on_advance, .done = advance_done};
    shard_call(p->shard, 0, &p->advance);
}

static void part_remove(struct removal *r, struct engine *e, bool files)
{
    struct part *p = CONTAINER_OF(r, struct part, removal);
    if (!files)
        log_close(p->log);
    else if (log_delete(p->log) != ERR_OK)
        engine_note(e, "warning",
                    "files of dropped topic %u partition %u could not be removed: they are tried "
                    "again at the next start",
                    p->topic_number, p->partition);
    if (files)
        remover_topic_dir(e, p->topic_number);
    epoch_marks_deinit(&p->marks);
    mem_free(p);
}

void part_free_if_unused(struct part *p)
{
    if (!p->dropped || p->syncing || p->advance_in_flight || p->compaction != NULL)
        return;
    p->removal.run = part_remove;
    removal_hand(p->shard, &p->removal);
}

static void advance_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct part *p = CONTAINER_OF(c, struct part, advance);
    p->advance_in_flight = false;
    if (p->dropped)
        part_free_if_unused(p);
    else
        advance_tell(p);
}

static void wait_finish(struct part *p, struct wait_request *r, enum err e)
{
    list_remove(&r->link);
    r->err = e;
    shard_call_reply(p->shard, &r->call);
}

void part_publish(struct part *p)
{
    int64_t hwm = log_high_watermark(p->log), stable = log_stable_offset(p->log);
    atomic_store(&p->stats->stable, p->kind == TOPIC_USER ? stable : log_durable_offset(p->log));
    stat_set(&p->stats->start, log_start_offset(p->log));
    stat_set(&p->stats->kept, log_kept_offset(p->log));
    stat_set(&p->stats->high_watermark, hwm);
    atomic_store(&p->stats->durable, log_durable_offset(p->log));
    stat_set(&p->stats->end, log_end_offset(p->log));
    atomic_store_explicit(&p->stats->bytes, log_size_bytes(p->log), memory_order_relaxed);
    LIST_FOR_SAFE (it, next, &p->waits) {
        struct wait_request *r = LIST_ENTRY(it, struct wait_request, link);
        if ((r->committed ? stable : hwm) > r->offset)
            wait_finish(p, r, ERR_OK);
    }
    if (topic_epoch_written(p->kind) && atomic_load(&p->shard->engine->outputs_awaited))
        host_worker_wake(engine_shard(p->shard->engine, 0)->worker);
    advance_tell(p);
}

/* ---- what epochs write ---- */

enum err part_epoch_mark(struct part *p, uint64_t epoch)
{
    if (list_empty(&p->uncommitted_link))
        list_add(&p->shard->uncommitted, &p->uncommitted_link);
    return epoch_marks_add(&p->marks, epoch, log_end_offset(p->log));
}

void part_epoch_cut(struct part *p, uint64_t epoch)
{
    epoch_marks_cut(&p->marks, epoch);
}

/* Where the partition ends as of a committed epoch. Whoever asks first makes it visible, so that no
 * reader sees two partitions at different epochs. */
static enum err part_end_at(struct part *p, uint64_t epoch, int64_t *end)
{
    *end = log_high_watermark(p->log);
    if (!topic_epoch_written(p->kind))
        return ERR_OK;
    int64_t marked;
    if (!epoch_marks_end(&p->marks, epoch, &marked))
        return ERR_BUSY;
    if (marked > *end) {
        log_raise_watermark(p->log, marked);
        part_publish(p);
        *end = log_high_watermark(p->log);
    }
    *end = marked < *end ? marked : *end;
    return ERR_OK;
}

/* The high watermark, which is that of the newest epoch. */
static int64_t part_high_watermark(struct part *p)
{
    int64_t end;
    enum err e = part_end_at(p, engine_committed_epoch(p->shard->engine), &end);
    return e == ERR_OK ? end : log_high_watermark(p->log);
}

/* What readers wait for: the high watermark, or that no transaction is undecided. */
static int64_t part_limit(struct part *p, bool committed)
{
    return committed && p->kind == TOPIC_USER ? log_stable_offset(p->log) : part_high_watermark(p);
}

void parts_commit(struct shard *s)
{
    uint64_t committed = engine_committed_epoch(s->engine);
    LIST_FOR_SAFE (it, next, &s->uncommitted) {
        struct part *p = LIST_ENTRY(it, struct part, uncommitted_link);
        (void)part_high_watermark(p);
        if (epoch_marks_last(&p->marks) <= committed)
            list_remove(it);
    }
}

/* ---- appends and flushes ---- */

static void mark_dirty(struct part *p)
{
    p->shard->dirtied = true;
    if (list_empty(&p->dirty_link))
        list_add(&p->shard->dirty, &p->dirty_link);
}

void part_drop_before(struct part *p, int64_t offset)
{
    if (log_drop_before(p->log, offset) == 0)
        return;
    part_publish(p);
    mark_dirty(p); /* the flush removes the files, also when nothing is appended any more */
}

static enum err append(struct part *p, char *batches, size_t n, uint32_t n_records,
                       int64_t append_ms, int64_t *base, struct err_detail *why)
{
    TRY(log_append(p->log, batches, n, append_ms, base, why));
    stat_add(&p->stats->appended_records, n_records);
    stat_add(&p->stats->appended_bytes, n);
    mark_dirty(p);
    return ERR_OK;
}

enum err part_append(struct part *p, char *batches, size_t n, uint32_t n_records, int64_t *base,
                     struct err_detail *why)
{
    return append(p, batches, n, n_records, -1, base, why);
}

static void append_reply(struct part *p, struct append_request *r, enum err e)
{
    r->err = e;
    r->log_start_offset = log_start_offset(p->log);
    shard_call_reply(p->shard, &r->call);
}

/* Whether a producer left out the time of a batch: then it gets that of its append, against which
 * the far future is measured. */
static bool lacks_time(const struct append_request *r)
{
    struct kafka_batch b;
    for (size_t at = 0; at < r->n_bytes; at += b.bytes)
        if (kafka_batch_parse((struct str){r->batches + at, r->n_bytes - at}, &b, NULL) != ERR_OK)
            return false;
        else if (b.max_timestamp < 0)
            return true;
    return false;
}

static enum err append_marker(struct part *p, struct append_request *r, int64_t producer_id)
{
    const struct producer *one = producers_find(log_producers(p->log), producer_id);
    if (one == NULL || one->txn == NULL)
        return ERR_OK;
    TRY(append(p, r->batches, r->n_bytes, r->n_records, -1, &r->base_offset, &r->why));
    p->marker_end = log_end_offset(p->log);
    return ERR_OK;
}

/* Appends unless the batch of an idempotent producer is here already: then its offset is the
 * answer. Such a producer sends one batch per partition and request. */
static enum err append_once(struct part *p, struct append_request *r)
{
    struct kafka_batch b;
    TRY(kafka_batch_parse((struct str){r->batches, r->n_bytes}, &b, &r->why));
    if (r->marker)
        return append_marker(p, r, b.producer_id);
    struct producer_batch batch = {.producer_id = b.producer_id,
                                   .epoch = b.producer_epoch,
                                   .transactional = b.transactional,
                                   .base_sequence = b.base_sequence,
                                   .n_records = b.n_records};
    switch (producers_check(log_producers(p->log), &batch, &r->base_offset)) {
    case PRODUCER_NEW:
        break;
    case PRODUCER_DUPLICATE:
        return ERR_OK;
    case PRODUCER_OUT_OF_ORDER:
        return err_set(&r->why, ERR_PRODUCER_SEQUENCE,
                       "producer %lld: a batch before the one with sequence number %d is missing",
                       (long long)b.producer_id, b.base_sequence);
    case PRODUCER_OLD_DUPLICATE:
        return ERR_PRODUCER_DUPLICATE;
    case PRODUCER_FENCED:
        return ERR_PRODUCER_FENCED;
    case PRODUCER_IN_TXN:
        return err_set(
            &r->why, ERR_TXN_STATE,
            "producer %lld has an open transaction here: its batches must be parts of it",
            (long long)b.producer_id);
    }
    int64_t append_ms = p->append_time || lacks_time(r) ? p->shard->wall_us / 1000 : -1;
    TRY(append(p, r->batches, r->n_bytes, r->n_records, append_ms, &r->base_offset, &r->why));
    flush_pace_add(&p->pace, r->n_bytes);
    r->append_time_ms = p->append_time ? append_ms : -1;
    return ERR_OK;
}

static void append_run(struct shard *s, struct shard_call *c)
{
    struct append_request *r = CONTAINER_OF(c, struct append_request, call);
    struct part *p = part_find(s, r->topic->number, r->partition);
    if (p == NULL || s->phase != SHARD_RUNNING) {
        r->err = p == NULL ? ERR_UNKNOWN_PARTITION : ERR_SHUTDOWN;
        shard_call_reply(s, c);
        return;
    }
    bool allowed = p->kind == TOPIC_USER || (p->kind == TOPIC_INTERNAL && r->internal);
    if (!allowed) {
        append_reply(p, r,
                     err_set(&r->why, ERR_WRONG_OBJECT_TYPE,
                             "topic \"%.*s\" is written by the system alone",
                             STR_ARG(r->topic->name)));
        return;
    }
    enum err e = append_once(p, r);
    bool durable =
        r->base_offset < 0 || r->base_offset + (int64_t)r->n_records <= log_durable_offset(p->log);
    if (e != ERR_OK || !r->want_durable || durable) {
        append_reply(p, r, e);
        return;
    }
    list_add(&p->appends, &r->link);
}

static void append_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct append_request *r = CONTAINER_OF(c, struct append_request, call);
    r->done(r);
}

void shard_append(struct shard *s, struct append_request *r)
{
    CHECK(r->partition < r->topic->n_partitions);
    r->origin = s;
    r->err = ERR_OK;
    r->base_offset = r->append_time_ms = -1;
    r->call = (struct shard_call){.run = append_run, .done = append_done};
    list_init(&r->link);
    shard_call(s, topic_shard(s->engine, r->topic, r->partition), &r->call);
}

static void when_run(struct shard *s, struct shard_call *c)
{
    struct append_request *r = CONTAINER_OF(c, struct append_request, call);
    struct part *p = part_find(s, r->topic->number, r->partition);
    if (p == NULL || s->phase != SHARD_RUNNING) {
        append_run(s, c);
        return;
    }
    switch ((enum append_admit)r->admit_when(p, r)) {
    case APPEND_NOW:
        append_run(s, c);
        break;
    case APPEND_NOT:
        append_reply(p, r, r->err);
        break;
    case APPEND_LATER:
        break;
    }
}

void append_again(struct shard *owner, struct append_request *r)
{
    when_run(owner, &r->call);
}

void shard_append_when(struct shard *s, struct append_request *r,
                       int (*admit)(struct part *p, struct append_request *r))
{
    CHECK(r->partition < r->topic->n_partitions);
    r->origin = s;
    r->err = ERR_OK;
    r->base_offset = r->append_time_ms = -1;
    r->admit_when = admit;
    r->call = (struct shard_call){.run = when_run, .done = append_done};
    list_init(&r->link);
    shard_call(s, topic_shard(s->engine, r->topic, r->partition), &r->call);
}

static void admit_run(struct shard *s, struct shard_call *c)
{
    struct append_request *r = CONTAINER_OF(c, struct append_request, call);
    if (!r->admit(s, r)) {
        shard_call_reply(s, c);
        return;
    }
    c->run = append_run;
    shard_forward(s, topic_shard(s->engine, r->topic, r->partition), c);
}

void shard_append_via(struct shard *s, uint32_t via, struct append_request *r,
                      bool (*admit)(struct shard *via, struct append_request *r))
{
    CHECK(r->partition < r->topic->n_partitions);
    r->origin = s;
    r->err = ERR_OK;
    r->base_offset = r->append_time_ms = -1;
    r->admit = admit;
    r->call = (struct shard_call){.run = admit_run, .done = append_done};
    list_init(&r->link);
    shard_call(s, via, &r->call);
}

/* ---- moving the log's start ---- */

static void trim_reply(struct part *p, struct trim_request *r, enum err e)
{
    r->err = e;
    r->start_offset = log_start_offset(p->log);
    shard_call_reply(p->shard, &r->call);
}

static void trims_finish(struct part *p)
{
    LIST_FOR_SAFE (it, next, &p->trims) {
        struct trim_request *r = LIST_ENTRY(it, struct trim_request, link);
        if (r->offset > log_kept_offset(p->log))
            continue;
        list_remove(it);
        trim_reply(p, r, ERR_OK);
    }
}

static void trim_run(struct shard *s, struct shard_call *c)
{
    struct trim_request *r = CONTAINER_OF(c, struct trim_request, call);
    struct part *p = part_find(s, r->topic->number, r->partition);
    if (p == NULL || s->phase != SHARD_RUNNING) {
        r->err = p == NULL ? ERR_UNKNOWN_PARTITION : ERR_SHUTDOWN;
        shard_call_reply(s, c);
        return;
    }
    if (r->offset == -1)
        r->offset = log_high_watermark(p->log);
    enum err e = ERR_OK;
    if (r->offset > stat_get(&p->stats->keep_from))
        e = err_set(&r->why, ERR_BUSY, "a view has not read up to offset %lld: try again later",
                    (long long)r->offset);
    if (e == ERR_OK)
        e = log_trim(p->log, r->offset, &r->why);
    if (e != ERR_OK || r->offset <= log_kept_offset(p->log)) {
        trim_reply(p, r, e);
        return;
    }
    list_add(&p->trims, &r->link);
    part_publish(p);
    mark_dirty(p);
}

static void trim_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct trim_request *r = CONTAINER_OF(c, struct trim_request, call);
    r->done(r);
}

void shard_trim(struct shard *s, struct trim_request *r)
{
    CHECK(r->partition < r->topic->n_partitions);
    r->origin = s;
    r->err = ERR_OK;
    r->call = (struct shard_call){.run = trim_run, .done = trim_done};
    list_init(&r->link);
    shard_call(s, topic_shard(s->engine, r->topic, r->partition), &r->call);
}

/* Answers the appends that are durable now, and tells of them. */
static void durable_raised(struct part *p)
{
    int64_t durable = log_durable_offset(p->log);
    LIST_FOR_SAFE (it, next, &p->appends) {
        struct append_request *r = LIST_ENTRY(it, struct append_request, link);
        if (r->base_offset + (int64_t)r->n_records > durable)
            break;
        list_remove(&r->link);
        append_reply(p, r, ERR_OK);
    }
    part_publish(p);
    if (p->durable != NULL)
        p->durable(p, p->durable_arg);
}

static void flush_finished(struct part *p)
{
    p->syncing = false;
    flush_pace_end(&p->pace, p->shard->mono_ns, p->job.took_ns);
    enum err e = log_sync_end(p->log, &p->job.sync);
    if (e != ERR_OK)
        engine_fatal(
            p->shard->engine, e,
            "flushing topic %u partition %u failed: what was not flushed is not acknowledged",
            p->topic_number, p->partition);
    if (p->dropped) {
        part_free_if_unused(p);
        return;
    }
    trims_finish(p);
    durable_raised(p);
    if (log_end_offset(p->log) > log_durable_offset(p->log))
        mark_dirty(p);
}

void parts_finish_flushes(struct shard *s)
{
    struct flush_worker *f = s->flush;
    struct flush_job *job;
    while ((job = ring_pop(&f->done)) != NULL) {
        f->in_flight--;
        flush_finished(job->part);
    }
}

/* Whether flushing is the operating system's affair. What the records of epochs and of the catalog
 * name has to be there after a power cut, or the next start could make nothing of them. So has the
 * end of a transaction, and with it all in front: epochs take in what it decided, and a start that
 * found it undecided again would have views see it twice. */
static bool left_to_os(const struct part *p)
{
    return p->shard->engine->options.fsync == FSYNC_OS && p->kind == TOPIC_USER &&
           p->marker_end <= log_durable_offset(p->log);
}

void parts_turn(struct shard *s)
{
    struct flush_worker *f = s->flush;
    bool started = false;
    int64_t soonest_ns = INT64_MAX;
    s->dirtied = false;
    LIST_FOR_SAFE (it, next, &s->dirty) {
        struct part *p = LIST_ENTRY(it, struct part, dirty_link);
        if (left_to_os(p) && log_durable_assume(p->log))
            durable_raised(p);
        if (p->syncing)
            continue;
        if (!flush_pace_ready(&p->pace, s->mono_ns)) {
            soonest_ns = p->pace.until_ns < soonest_ns ? p->pace.until_ns : soonest_ns;
            continue;
        }
        if (f->in_flight == FLUSH_RING_SLOTS)
            break;
        list_remove(it);
        if (!log_sync_begin(p->log, &p->job.sync))
            continue;
        p->syncing = true;
        flush_pace_begin(&p->pace);
        p->job.part = p;
        CHECK(ring_push(&f->jobs, &p->job));
        f->in_flight++;
        started = true;
    }
    if (started)
        host_worker_wake(f->worker);
    if (soonest_ns < INT64_MAX && shard_timer_set(s, &f->gather, soonest_ns) != ERR_OK)
        s->busy = true; /* without a timer: looks again in the next turn */
}

/* ---- reads, waits, offsets ---- */

static struct part *find_or_fail(struct shard *s, const struct topic *t, uint32_t partition,
                                 enum err *e)
{
    struct part *p = part_find(s, t->number, partition);
    *e = p == NULL ? ERR_UNKNOWN_PARTITION : ERR_OK;
    return p;
}

/* Names the aborted transactions of the range. */
static enum err aborted_find(struct part *p, struct read_request *r)
{
    enum err e = log_aborted(p->log, r->range.first_offset, r->range.next_offset, NULL, 0,
                             &r->n_aborted, NULL);
    if (e != ERR_LIMIT)
        return e;
    r->aborted = mem_alloc(LOG_ABORTED_MAX * sizeof(*r->aborted));
    if (r->aborted == NULL)
        return ERR_NO_MEMORY;
    e = log_aborted(p->log, r->range.first_offset, r->range.next_offset, r->aborted,
                    LOG_ABORTED_MAX, &r->n_aborted, &r->why);
    if (e != ERR_OK) {
        mem_free(r->aborted);
        r->aborted = NULL;
        r->n_aborted = 0;
        return e;
    }
    struct log_aborted *fit = mem_realloc(r->aborted, r->n_aborted * sizeof(*r->aborted));
    r->aborted = fit != NULL ? fit : r->aborted;
    return ERR_OK;
}

static enum err read_committed(struct part *p, struct read_request *r)
{
    if (r->offset > r->stable_offset && r->offset <= r->high_watermark)
        return ERR_OK; /* something is undecided: nothing yet */
    for (size_t bytes = r->bytes_max;; bytes = 1) {
        TRY(log_read(p->log, r->offset, r->stable_offset, bytes, &r->range, &r->why));
        enum err e = r->range.len > 0 ? aborted_find(p, r) : ERR_OK;
        if (e == ERR_OK)
            return e;
        log_range_release(&r->range);
        if (e != ERR_LIMIT || bytes == 1)
            return e;
    }
}

static enum err read_part(struct part *p, struct read_request *r)
{
    uint64_t newest = engine_committed_epoch(p->shard->engine);
    r->log_start_offset = log_start_offset(p->log);
    TRY(part_end_at(p, r->epoch == 0 ? newest : r->epoch, &r->high_watermark));
    /* Only clients' topics have transactions. */
    r->stable_offset = p->kind == TOPIC_USER ? log_stable_offset(p->log) : r->high_watermark;
    /* Whoever was here at a newer epoch, or saw state before it was committed, waits. */
    bool ahead = r->offset > r->high_watermark && r->offset <= log_end_offset(p->log);
    if (r->bytes_max == 0 || (ahead && topic_epoch_written(p->kind)))
        return ERR_OK;
    if (r->committed && p->kind == TOPIC_USER)
        return read_committed(p, r);
    return log_read(p->log, r->offset, r->high_watermark, r->bytes_max, &r->range, &r->why);
}

static void read_run(struct shard *s, struct shard_call *c)
{
    struct read_request *r = CONTAINER_OF(c, struct read_request, call);
    struct part *p = find_or_fail(s, r->topic, r->partition, &r->err);
    if (p != NULL)
        r->err = read_part(p, r);
    shard_call_reply(s, c);
}

static void read_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct read_request *r = CONTAINER_OF(c, struct read_request, call);
    r->done(r);
}

void shard_read(struct shard *s, struct read_request *r)
{
    CHECK(r->partition < r->topic->n_partitions);
    r->origin = s;
    r->range = (struct log_range){0};
    r->aborted = NULL;
    r->n_aborted = 0;
    r->call = (struct shard_call){.run = read_run, .done = read_done};
    shard_call(s, topic_shard(s->engine, r->topic, r->partition), &r->call);
}

static void wait_run(struct shard *s, struct shard_call *c)
{
    struct wait_request *r = CONTAINER_OF(c, struct wait_request, call);
    struct part *p = find_or_fail(s, r->topic, r->partition, &r->err);
    if (p != NULL && s->phase != SHARD_RUNNING)
        r->err = ERR_SHUTDOWN;
    int64_t limit = p == NULL ? 0 : part_limit(p, r->committed);
    if (p != NULL && r->err == ERR_OK && limit <= r->offset) {
        list_add(&p->waits, &r->link);
        return;
    }
    shard_call_reply(s, c);
}

/* A wait is over for its caller when the wait, and the cancel if one was sent, have come back. The
 * state is the caller's alone; the owner knows by the link whether the wait is still parked. */
enum { WAIT_FINISHED = 1, WAIT_CANCELING = 2 };

static void wait_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct wait_request *r = CONTAINER_OF(c, struct wait_request, call);
    r->state |= WAIT_FINISHED;
    if ((r->state & WAIT_CANCELING) == 0)
        r->done(r);
}

void shard_wait(struct shard *s, struct wait_request *r)
{
    CHECK(r->partition < r->topic->n_partitions);
    r->origin = s;
    r->state = 0;
    r->err = ERR_OK;
    list_init(&r->link);
    r->call = (struct shard_call){.run = wait_run, .done = wait_done};
    shard_call(s, topic_shard(s->engine, r->topic, r->partition), &r->call);
}

static void cancel_run(struct shard *s, struct shard_call *c)
{
    struct wait_request *r = CONTAINER_OF(c, struct wait_request, cancel);
    if (!list_empty(&r->link)) {
        list_remove(&r->link);
        r->err = ERR_CANCELED;
        shard_call_reply(s, &r->call);
    }
    shard_call_reply(s, c);
}

static void cancel_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct wait_request *r = CONTAINER_OF(c, struct wait_request, cancel);
    CHECK(r->state & WAIT_FINISHED); /* its reply was sent first */
    r->done(r);
}

void shard_wait_cancel(struct shard *s, struct wait_request *r)
{
    if (r->state & WAIT_CANCELING)
        return;
    r->state |= WAIT_CANCELING;
    r->cancel = (struct shard_call){.run = cancel_run, .done = cancel_done};
    shard_call(s, topic_shard(s->engine, r->topic, r->partition), &r->cancel);
}

static void offsets_run(struct shard *s, struct shard_call *c)
{
    struct offset_request *r = CONTAINER_OF(c, struct offset_request, call);
    struct part *p = find_or_fail(s, r->topic, r->partition, &r->err);
    if (p != NULL) {
        r->log_start_offset = log_start_offset(p->log);
        r->high_watermark = part_high_watermark(p);
        r->end_offset = log_end_offset(p->log);
        r->size_bytes = log_size_bytes(p->log);
        r->found_ms = -1;
        int64_t limit = part_limit(p, r->committed);
        if (r->timestamp_ms == -1)
            r->offset = limit;
        else if (r->timestamp_ms == -2)
            r->offset = r->log_start_offset;
        else if (r->timestamp_ms == -3)
            r->err = log_offset_for_max_time(p->log, &r->offset, &r->found_ms);
        else
            r->err = log_offset_for_time(p->log, r->timestamp_ms, &r->offset, &r->found_ms);
        if ((r->timestamp_ms >= 0 || r->timestamp_ms == -3) && r->offset >= limit)
            r->offset = r->found_ms = -1;
    }
    shard_call_reply(s, c);
}

static void offsets_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct offset_request *r = CONTAINER_OF(c, struct offset_request, call);
    r->done(r);
}

void shard_offsets(struct shard *s, struct offset_request *r)
{
    CHECK(r->partition < r->topic->n_partitions);
    r->origin = s;
    r->call = (struct shard_call){.run = offsets_run, .done = offsets_done};
    shard_call(s, topic_shard(s->engine, r->topic, r->partition), &r->call);
}

/* ---- producers ---- */

static enum err producer_list(struct producers_request *r, const struct part *p,
                              const struct producer *one)
{
    if (r->n == r->cap) {
        uint32_t cap = r->cap == 0 ? 16 : r->cap * 2;
        struct producer_info *grown = mem_realloc(r->list, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        r->list = grown;
        r->cap = cap;
    }
    r->list[r->n++] = (struct producer_info){
        .topic_number = p->topic_number,
        .partition = p->partition,
        .producer_id = one->id,
        .seen_ms = one->seen_ms,
        .txn_first_offset = one->txn != NULL ? one->txn->first_offset : -1,
        .last_sequence = one->n > 0 ? one->batches[one->n - 1].last : -1,
        .epoch = one->epoch,
    };
    return ERR_OK;
}

static enum err producers_list(struct producers_request *r, const struct part *p, bool open_only)
{
    const struct producer *one;
    for (size_t at = 0; (one = producers_next(log_producers(p->log), &at)) != NULL;)
        if (one->epoch >= 0 && (!open_only || one->txn != NULL))
            TRY(producer_list(r, p, one));
    return ERR_OK;
}

static void producers_run(struct shard *s, struct shard_call *c)
{
    struct producers_request *r = CONTAINER_OF(c, struct producers_request, call);
    struct part *p;
    r->err = ERR_OK;
    if (r->topic_number != 0) {
        p = part_find(s, r->topic_number, r->partition);
        r->err = p == NULL ? ERR_UNKNOWN_PARTITION : producers_list(r, p, false);
    } else {
        for (size_t at = 0; r->err == ERR_OK && (p = map_next(&s->parts, &at)) != NULL;)
            if (producers_first_open(log_producers(p->log)) != INT64_MAX)
                r->err = producers_list(r, p, true);
    }
    shard_call_reply(s, c);
}

static void producers_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct producers_request *r = CONTAINER_OF(c, struct producers_request, call);
    r->done(r);
}

void shard_producers(struct shard *s, struct producers_request *r)
{
    r->list = NULL;
    r->n = r->cap = 0;
    r->call = (struct shard_call){.run = producers_run, .done = producers_done};
    shard_call(s, r->shard, &r->call);
}

/* ---- life ---- */

static void part_fail_waiting(struct part *p, enum err e)
{
    LIST_FOR_SAFE (it, next, &p->waits)
        wait_finish(p, LIST_ENTRY(it, struct wait_request, link), e);
}

void part_drop(struct part *p)
{
    map_remove(&p->shard->parts, part_key(p->topic_number, p->partition));
    list_remove(&p->dirty_link);
    list_remove(&p->uncommitted_link);
    part_fail_waiting(p, ERR_UNDEFINED_TABLE);
    LIST_FOR_SAFE (it, next, &p->trims) {
        list_remove(it);
        trim_reply(p, LIST_ENTRY(it, struct trim_request, link), ERR_UNDEFINED_TABLE);
    }
    LIST_FOR_SAFE (it, next, &p->appends) {
        list_remove(it);
        append_reply(p, LIST_ENTRY(it, struct append_request, link), ERR_UNDEFINED_TABLE);
    }
    p->dropped = true;
    if (p->compaction != NULL)
        log_compact_cancel(p->compaction);
    part_free_if_unused(p);
}

/* A burst of big requests leaves memory with the allocator: once, when a period brought nothing
 * new, it goes back to the system. */
static void trim_when_quiet(struct flush_worker *f, uint64_t appended)
{
    bool quiet = appended == f->appended_seen;
    if (quiet && !f->trimmed)
        mem_trim();
    f->trimmed = quiet;
    f->appended_seen = appended;
}

static void retention_fire(struct shard_timer *t)
{
    struct flush_worker *f = CONTAINER_OF(t, struct flush_worker, retention);
    struct shard *s = f->shard;
    uint64_t appended = 0;
    struct part *p;
    for (size_t at = 0; (p = map_next(&s->parts, &at)) != NULL;) {
        int64_t keep = stat_get(&p->stats->keep_from);
        int64_t snapshot = stat_get(&p->stats->snapshot_keep);
        keep = keep < p->keep_from ? keep : p->keep_from;
        keep = keep < snapshot ? keep : snapshot;
        if (log_retain(p->log, s->wall_us / 1000, keep) > 0) {
            part_publish(p);
            mark_dirty(p);
        }
        log_producers_expire(p->log, s->wall_us / 1000);
        appended += stat_getu(&p->stats->appended_bytes);
    }
    compaction_look(s);
    trim_when_quiet(f, appended);
    if (shard_timer_set(s, t, s->mono_ns + (int64_t)RETENTION_PERIOD_MS * 1000000) != ERR_OK)
        engine_note(s->engine, "error", "out of memory: retention on shard %u stops", s->index);
}

/* Nothing to do here: parts_turn comes later in the same turn. */
static void gather_fire(struct shard_timer *t)
{
    (void)t;
}

enum err parts_start(struct shard *s)
{
    struct flush_worker *f = mem_zalloc(1, sizeof(*f));
    if (f == NULL)
        return ERR_NO_MEMORY;
    f->engine = s->engine;
    f->shard = s;
    f->shard_worker = s->worker;
    s->flush = f;
    TRY(ring_init(&f->jobs, FLUSH_RING_SLOTS));
    TRY(ring_init(&f->done, FLUSH_RING_SLOTS));
    f->retention.fire = retention_fire;
    f->gather.fire = gather_fire;
    TRY(shard_timer_set(s, &f->retention, s->mono_ns + (int64_t)RETENTION_PERIOD_MS * 1000000));
    char name[16];
    snprintf(name, sizeof(name), "flush-%u", s->index);
    return host_worker_start(s->engine->host, name, flush_turn, f, &f->worker);
}

void parts_stop(struct shard *s)
{
    struct part *p;
    for (size_t at = 0; (p = map_next(&s->parts, &at)) != NULL;)
        part_fail_waiting(p, ERR_SHUTDOWN);
    if (s->compacting != NULL)
        log_compact_cancel(s->compacting->compaction);
}

bool parts_idle(struct shard *s)
{
    /* Dropped partitions may be flushing too: they are freed when that has ended. */
    if (!list_empty(&s->dirty) || s->flush->in_flight > 0)
        return false;
    struct part *p;
    for (size_t at = 0; (p = map_next(&s->parts, &at)) != NULL;)
        if (p->syncing)
            return false;
    return true;
}

void parts_join_flush(struct shard *s)
{
    atomic_store(&s->flush->stop, true);
    host_worker_wake(s->flush->worker);
}

void parts_close(struct shard *s)
{
    struct part *p;
    for (size_t at = 0; (p = map_next(&s->parts, &at)) != NULL;) {
        /* A flush that ended after the shard's last turn; the flush worker has done all its jobs,
         * and nobody waits for the result any more. */
        if (p->syncing)
            (void)!log_sync_end(p->log, &p->job.sync);
        log_close(p->log);
        epoch_marks_deinit(&p->marks);
        mem_free(p);
    }
    map_deinit(&s->parts);
    if (s->flush != NULL) {
        ring_deinit(&s->flush->jobs);
        ring_deinit(&s->flush->done);
        mem_free(s->flush);
        s->flush = NULL;
    }
}
