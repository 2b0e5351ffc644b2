#include "engine/ddl.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"
#include "engine/epochs.h"
#include "engine/partition.h"
#include "engine/records.h"
#include "engine/source.h"
#include "engine/view_run.h"

enum { DDL_QUEUE_MAX = 1024, CHANGE_BYTES_MAX = 4 << 20, REPLAY_ARENA_BYTES_MAX = 256 << 20 };

/* Keys of records in sys.catalog. */
#define KEY_CHANGE STR("change")
#define KEY_FLOOR  STR("floor")

struct prepare_call {
    struct shard_call call;
    struct ddl *ddl;
    enum err err;
    struct err_detail why;
};

struct ddl {
    struct shard *shard;
    struct ddl_request *queue[DDL_QUEUE_MAX];
    uint32_t head, n;
    const struct catalog *next; /* made, waiting to be durable and handed out */
    int64_t end;                /* of its record */
    bool logged;                /* the record is written */
    bool working;
    struct prepare_call prepare[SHARDS_MAX];
    uint32_t prepare_acks;
    enum err prepare_err; /* why the change is being taken back */
};

static struct ddl *ddl_of(struct shard *s)
{
    return s->ddl;
}

static void work(struct ddl *d);
static void finish(struct ddl *d, enum err e);

static void finish(struct ddl *d, enum err e)
{
    struct ddl_request *r = d->queue[d->head];
    d->head = (d->head + 1) % DDL_QUEUE_MAX;
    d->n--;
    d->working = false;
    r->err = e;
    shard_call_reply(d->shard, &r->call);
    work(d);
}

static void handed_out(void *arg)
{
    finish(arg, ERR_OK);
}

static void change_durable(struct part *p, void *arg)
{
    struct ddl *d = arg;
    if (d->next == NULL || !d->logged || log_durable_offset(p->log) < d->end)
        return;
    const struct catalog *next = d->next;
    d->next = NULL;
    d->logged = false;
    coordinator_set_catalog(d->shard->coordinator, next, handed_out, d);
}

/* ---- a change complete: numbers, ids, placements ---- */

static void fill_topic(struct shard *s, const struct catalog *c, struct topic *t, uint32_t *number,
                       uint32_t placement)
{
    (void)c;
    if (t->name.len == 0)
        return;
    t->number = (*number)++;
    t->placement = placement == UINT32_MAX ? t->number : placement;
    if (t->n_partitions == 0)
        t->n_partitions = s->engine->options.default_partitions;
    host_random(s->engine->host, t->id, sizeof(t->id));
}

static void fill_change(struct shard *s, struct catalog_change *change,
                        const struct relation *source)
{
    const struct catalog *c = s->catalog;
    uint32_t topic_number = c->next_topic < NUMBER_FIRST_FREE ? NUMBER_FIRST_FREE : c->next_topic;
    uint32_t placement = source == NULL ? UINT32_MAX : source->topic->placement;
    fill_topic(s, c, &change->topic, &topic_number, placement);
    fill_topic(s, c, &change->late, &topic_number, placement);
    change->number = c->next_relation < NUMBER_FIRST_FREE ? NUMBER_FIRST_FREE : c->next_relation;
}

/* The source of a view that is being made; NULL for everything else. */
static enum err change_source(struct shard *s, const struct catalog_change *change,
                              const struct relation **source, struct err_detail *why)
{
    *source = NULL;
    if (change->verb != CHANGE_CREATE_VIEW)
        return ERR_OK;
    struct plan *plan;
    TRY(plan_statement(change->sql, s->catalog, NULL, 0, &plan, why));
    *source = catalog_relation(s->catalog, plan->view.source->name);
    plan_free(plan);
    return *source == NULL ? ERR_INTERNAL : ERR_OK;
}

static bool is_create(enum catalog_verb v)
{
    return v == CHANGE_CREATE_TOPIC || v == CHANGE_CREATE_TABLE || v == CHANGE_CREATE_VIEW;
}

static enum err stats_for(struct engine *e, const struct catalog *c)
{
    for (uint32_t i = 0; i < c->n_topics; i++)
        TRY(engine_topic_stats_add(e, c->topics[i]));
    for (uint32_t i = 0; i < c->n_relations; i++)
        if (c->relations[i]->kind != REL_SYSTEM)
            TRY(engine_relation_stats_add(e, c->relations[i]));
    return ERR_OK;
}

static enum err log_change(struct ddl *d, const struct catalog_change *change,
                           struct err_detail *why)
{
    struct buf json;
    buf_init(&json, CHANGE_BYTES_MAX);
    enum err e = catalog_change_encode(change, &json);
    struct part *p = part_find(d->shard, NUMBER_CATALOG, 0);
    p->durable = change_durable;
    p->durable_arg = d;
    if (e == ERR_OK)
        e = record_append(d->shard, p, KEY_CHANGE, buf_str(&json), &d->end, why);
    buf_deinit(&json);
    d->logged = e == ERR_OK;
    return e;
}

/* ---- before the record: what may fail on the shards ---- */

static void prepare_run(struct shard *s, struct shard_call *c)
{
    struct prepare_call *pc = CONTAINER_OF(c, struct prepare_call, call);
    pc->err = epochs_prepare(s->epochs, pc->ddl->next, &pc->why);
    shard_call_reply(s, c);
}

static void undo_run(struct shard *s, struct shard_call *c)
{
    epochs_unprepare(s->epochs);
    shard_call_reply(s, c);
}

static void prepare_send(struct ddl *d, void (*run)(struct shard *s, struct shard_call *c),
                         void (*done)(struct shard *s, struct shard_call *c))
{
    d->prepare_acks = d->shard->engine->n_shards;
    for (uint32_t i = 0; i < d->shard->engine->n_shards; i++) {
        struct prepare_call *pc = &d->prepare[i];
        *pc = (struct prepare_call){.call = {.run = run, .done = done}, .ddl = d};
        shard_call(d->shard, i, &pc->call);
    }
}

static void undo_done(struct shard *s, struct shard_call *c)
{
    struct ddl *d = ddl_of(s);
    (void)c;
    if (--d->prepare_acks > 0)
        return;
    catalog_unref(d->next);
    d->next = NULL;
    finish(d, d->prepare_err);
}

static void prepare_done(struct shard *s, struct shard_call *c)
{
    struct ddl *d = ddl_of(s);
    struct ddl_request *r = d->queue[d->head];
    (void)c;
    if (--d->prepare_acks > 0)
        return;
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < s->engine->n_shards && e == ERR_OK; i++)
        if ((e = d->prepare[i].err) != ERR_OK)
            r->why = d->prepare[i].why;
    if (e == ERR_OK)
        e = log_change(d, &r->change, &r->why);
    if (e == ERR_OK)
        return;
    d->prepare_err = e;
    prepare_send(d, undo_run, undo_done);
}

/* A view is compiled once for the error it may have. */
static enum err try_view(struct shard *s, const struct catalog *next,
                         const struct catalog_change *change, struct err_detail *why)
{
    const struct relation *rel =
        change->verb == CHANGE_CREATE_VIEW ? catalog_relation(next, change->name) : NULL;
    if (rel == NULL)
        return ERR_OK;
    struct view_run *v;
    TRY(view_run_new(s, rel, &v, why));
    view_run_free(v);
    return ERR_OK;
}

/* What the topic of an alteration is to become. */
static enum err amend(struct shard *s, struct ddl_request *r)
{
    if (r->change.verb != CHANGE_ALTER_TOPIC)
        return ERR_OK;
    const struct topic *now = catalog_topic(s->catalog, r->change.name);
    if (now == NULL)
        return err_set(&r->why, ERR_UNDEFINED_TABLE, "topic \"%.*s\" does not exist",
                       STR_ARG(r->change.name));
    r->change.topic = *now;
    r->change.topic.name = r->change.name; /* lives as long as the request */
    return r->amend(r, now);
}

/* Starts the request at the head; an error ends it at once. */
static enum err start(struct ddl *d, struct ddl_request *r)
{
    struct shard *s = d->shard;
    if (s->phase != SHARD_RUNNING)
        return ERR_SHUTDOWN;
    if (atomic_load(&s->engine->outputs_waiting) > 0 && !r->validate_only)
        return err_set(&r->why, ERR_NO_SPACE,
                       "views wait for room on the disk: nothing is created or dropped before "
                       "there is some");
    bool exists =
        catalog_relation(s->catalog, r->change.name) != NULL ||
        (r->change.verb == CHANGE_DROP_TOPIC && catalog_topic(s->catalog, r->change.name) != NULL);
    r->skipped = is_create(r->change.verb) ? r->if_not_exists && exists : r->if_exists && !exists;
    if (r->skipped)
        return ERR_OK;
    const struct relation *source;
    TRY(change_source(s, &r->change, &source, &r->why));
    if (r->change.verb != CHANGE_ALTER_TOPIC)
        fill_change(s, &r->change, source);
    TRY(amend(s, r));
    const struct catalog *next;
    TRY(catalog_apply(s->catalog, &r->change, &next, &r->why));
    enum err e = r->validate_only ? ERR_OK : stats_for(s->engine, next);
    if (e == ERR_OK && !r->validate_only)
        e = try_view(s, next, &r->change, &r->why);
    if (e == ERR_OK && !r->validate_only && !is_create(r->change.verb))
        e = log_change(d, &r->change, &r->why);
    if (e != ERR_OK || r->validate_only) {
        catalog_unref(next);
        return e;
    }
    d->next = next;
    if (is_create(r->change.verb))
        prepare_send(d, prepare_run, prepare_done);
    return ERR_OK;
}

static void work(struct ddl *d)
{
    while (!d->working && d->n > 0) {
        struct ddl_request *r = d->queue[d->head];
        d->working = true;
        enum err e = start(d, r);
        if (d->next == NULL)
            finish(d, e);
    }
}

static void ddl_run(struct shard *s, struct shard_call *c)
{
    struct ddl_request *r = CONTAINER_OF(c, struct ddl_request, call);
    struct ddl *d = ddl_of(s);
    if (d->n == DDL_QUEUE_MAX || s->phase != SHARD_RUNNING) {
        r->err = d->n == DDL_QUEUE_MAX ? ERR_BUSY : ERR_SHUTDOWN;
        shard_call_reply(s, c);
        return;
    }
    d->queue[(d->head + d->n++) % DDL_QUEUE_MAX] = r;
    work(d);
}

static void ddl_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    struct ddl_request *r = CONTAINER_OF(c, struct ddl_request, call);
    r->done(r);
}

void shard_ddl(struct shard *s, struct ddl_request *r)
{
    r->origin = s;
    r->err = ERR_OK;
    r->skipped = false;
    r->call = (struct shard_call){.run = ddl_run, .done = ddl_done};
    shard_call(s, 0, &r->call);
}

enum err ddl_new(struct shard *s, struct ddl **out)
{
    *out = mem_zalloc(1, sizeof(**out));
    if (*out == NULL)
        return ERR_NO_MEMORY;
    (*out)->shard = s;
    return ERR_OK;
}

void ddl_free(struct ddl *d)
{
    if (d != NULL && d->next != NULL)
        catalog_unref(d->next);
    mem_free(d);
}

/* ---- floors ---- */

enum { FLOOR_BYTES = 24 };

enum err ddl_log_floor(struct shard *s, uint32_t reader, uint32_t partition, int64_t offset,
                       int64_t watermark_us, int64_t *end)
{
    char value[FLOOR_BYTES];
    be32_put(value, reader);
    be32_put(value + 4, partition);
    be64_put(value + 8, (uint64_t)offset);
    be64_put(value + 16, (uint64_t)watermark_us);
    struct err_detail why;
    return record_append(s, part_find(s, NUMBER_CATALOG, 0), KEY_FLOOR,
                         (struct str){value, sizeof(value)}, end, &why);
}

/* ---- start-up ---- */

static enum err bootstrap_topic(const struct catalog **c, const char *name, uint32_t number,
                                enum topic_kind kind, int64_t segment_bytes,
                                int64_t retention_bytes, struct err_detail *why)
{
    struct catalog_change change = {.verb = CHANGE_CREATE_TOPIC, .name = str_of(name)};
    change.topic = (struct topic){.name = str_of(name),
                                  .number = number,
                                  .n_partitions = 1,
                                  .kind = kind,
                                  .placement = 0};
    topic_config_set(&change.topic.config, TOPIC_RETENTION_BYTES, retention_bytes);
    topic_config_set(&change.topic.config, TOPIC_SEGMENT_BYTES, segment_bytes);
    topic_config_set(&change.topic.config, TOPIC_MAX_MESSAGE_BYTES, 64 << 20);
    change.topic.id[15] = (uint8_t)number;
    const struct catalog *next;
    TRY(catalog_apply(*c, &change, &next, why));
    catalog_unref(*c);
    *c = next;
    return ERR_OK;
}

enum err ddl_bootstrap(struct engine *e, const struct catalog **catalog, struct err_detail *why)
{
    *catalog = catalog_new();
    if (*catalog == NULL)
        return ERR_NO_MEMORY;
    TRY(bootstrap_topic(catalog, "sys.catalog", NUMBER_CATALOG, TOPIC_INTERNAL, 1 << 20, -1, why));
    TRY(bootstrap_topic(catalog, "sys.epochs", NUMBER_EPOCHS, TOPIC_INTERNAL, 1 << 20, 2 << 20,
                        why));
    TRY(bootstrap_topic(catalog, "sys.dead_letters", NUMBER_DEAD_LETTERS, TOPIC_DEAD_LETTERS,
                        16 << 20, 256 << 20, why));
    return stats_for(e, *catalog);
}

static enum err replay_record(struct shard *s, struct coordinator *co,
                              const struct kafka_record *rec, struct arena *a,
                              const struct catalog **catalog, struct err_detail *why)
{
    if (str_eq(rec->key, KEY_FLOOR)) {
        if (rec->value.len != FLOOR_BYTES)
            return err_set(why, ERR_CORRUPT, "sys.catalog offset %lld: a floor of %zu bytes",
                           (long long)rec->offset, rec->value.len);
        const char *v = rec->value.ptr;
        return coordinator_add_floor(co, be32_get(v), be32_get(v + 4), (int64_t)be64_get(v + 8),
                                     (int64_t)be64_get(v + 16));
    }
    struct catalog_change change;
    TRY(catalog_change_decode(rec->value, a, &change, why));
    const struct catalog *next;
    TRY(catalog_apply(*catalog, &change, &next, why));
    catalog_unref(*catalog);
    *catalog = next;
    return stats_for(s->engine, *catalog);
}

enum err ddl_replay(struct shard *s, struct coordinator *co, const struct catalog **catalog,
                    struct err_detail *why)
{
    struct part *p = part_find(s, NUMBER_CATALOG, 0);
    struct record_reader_state reading = {0};
    int64_t offset = log_start_offset(p->log), end = log_end_offset(p->log);
    struct arena a;
    arena_init(&a, REPLAY_ARENA_BYTES_MAX);
    enum err e = ERR_OK;
    while (e == ERR_OK && offset < end) {
        struct log_range range;
        e = log_read(p->log, offset, end, READ_BYTES_MAX, &range, why);
        if (e != ERR_OK || range.len == 0)
            break;
        e = record_reader_load(&reading, &range, &a);
        offset = range.next_offset;
        log_range_release(&range);
        struct kafka_record rec;
        size_t n = 1;
        while (e == ERR_OK && n > 0) {
            e = record_reader_next(&reading, 0, end, NULL, NULL, &rec, 1, &n, why);
            if (e == ERR_OK && n > 0)
                e = replay_record(s, co, &rec, &a, catalog, why);
        }
        arena_reset(&a, 1 << 20);
    }
    arena_deinit(&a);
    return e;
}
