#include "engine/ddl.h"

#include "base/check.h"
#include "base/mem.h"
#include "engine/catalog_log.h"
#include "engine/epochs.h"
#include "engine/partition.h"
#include "engine/view_run.h"
#include "type/c_function.h"

enum { DDL_QUEUE_MAX = 1024, DDL_STUCK_MS_MAX = 2000, DDL_WATCH_MS = 100 };

struct prepare_call {
    struct shard_call call;
    struct ddl *ddl;
    enum err err;
    struct err_detail why;
};

struct ddl {
    struct shard *shard;
    struct catalog_log log;
    struct ddl_request *queue[DDL_QUEUE_MAX];
    uint32_t head, n;
    const struct catalog *next; /* made, waiting to be durable and handed out */
    int64_t end;                /* of its record */
    bool logged;                /* the record is written */
    bool working;
    /* Of a change that is being handed out, which needs the end of an epoch: */
    bool answered; /* its request has heard that it has to wait for the disk */
    int64_t well_ns; /* when outputs were last seen to be written */
    struct shard_timer watch;
    /* The least numbers for the next change: those of one that failed may still name folders. */
    uint32_t next_topic, next_relation;
    struct topic late[VIEW_SOURCES_MAX]; /* late tables of the change at the head */
    struct prepare_call prepare[SHARDS_MAX];
    uint32_t prepare_acks;
    enum err prepare_err; /* why the change is being taken back */
};

static struct ddl *ddl_of(struct shard *s)
{
    return s->ddl;
}

static void work(struct ddl *d);

/* Answers the request at the head. */
static void answer(struct ddl *d, enum err e)
{
    struct ddl_request *r = d->queue[d->head];
    d->head = (d->head + 1) % DDL_QUEUE_MAX;
    d->n--;
    r->err = e;
    shard_call_reply(d->shard, &r->call);
}

static void finish(struct ddl *d, enum err e)
{
    d->working = false;
    answer(d, e);
    work(d);
}

/* ---- handing out, for which the epoch under way has to end ---- */

static void handed_out(void *arg)
{
    struct ddl *d = arg;
    shard_timer_cancel(d->shard, &d->watch);
    d->working = false;
    if (!d->answered)
        answer(d, ERR_OK);
    d->answered = false;
    work(d);
}

/* The disk is full, or broken, and the epoch cannot end: nobody waits for that without an answer.
 * The change at the head is in the catalog's log and comes all the same; those behind it do not. */
static void answer_stuck(struct ddl *d, enum err e, const struct err_detail *stuck)
{
    while (d->n > 0) {
        struct ddl_request *r = d->queue[d->head];
        if (d->answered) {
            r->why = *stuck;
        } else {
            err_set(&r->why, e, "%s; the change is written, and comes when they go on",
                    stuck->text);
            err_hint(&r->why, "%s", stuck->hint);
        }
        d->answered = true;
        answer(d, e);
    }
}

static void watch_again(struct ddl *d)
{
    /* Without memory for a timer the requests wait like those whose outputs do. */
    int64_t at_ns = d->shard->mono_ns + (int64_t)DDL_WATCH_MS * 1000000;
    (void)!shard_timer_set(d->shard, &d->watch, at_ns);
}

static void watch_fire(struct shard_timer *t)
{
    struct ddl *d = CONTAINER_OF(t, struct ddl, watch);
    struct err_detail stuck = {0};
    /* Read once: another shard may end it at any time, and what it says then is no answer. */
    enum err e = engine_outputs_stuck(d->shard->engine, &stuck);
    if (e == ERR_OK)
        d->well_ns = d->shard->mono_ns;
    else if (d->shard->mono_ns - d->well_ns >= (int64_t)DDL_STUCK_MS_MAX * 1000000)
        answer_stuck(d, e, &stuck);
    watch_again(d);
}

static void change_durable(struct ddl *d)
{
    if (d->next == NULL || !d->logged || log_durable_offset(d->log.part->log) < d->end)
        return;
    const struct catalog *next = d->next;
    d->next = NULL;
    d->logged = false;
    d->well_ns = d->shard->mono_ns;
    watch_again(d);
    coordinator_set_catalog(d->shard->coordinator, next, handed_out, d);
}

/* Between changes the catalog is what was logged. */
static void flushed(struct part *p, void *arg)
{
    struct ddl *d = arg;
    (void)p;
    change_durable(d);
    catalog_log_durable(&d->log);
    if (!d->working)
        catalog_log_compact(&d->log, d->shard->catalog, d->shard->coordinator);
}

/* ---- a change complete: numbers, ids, placements ---- */

static void fill_topic(struct shard *s, struct topic *t, uint32_t *number, uint32_t placement)
{
    if (t->name.len == 0)
        return;
    t->number = (*number)++;
    t->placement = placement == UINT32_MAX ? t->number : placement;
    if (t->n_partitions == 0)
        t->n_partitions = s->engine->options.default_partitions;
    host_random(s->engine->host, t->id, sizeof(t->id));
}

static uint32_t greater(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Whose rows a change takes in: of a view that is being made, its first source and those of its
 * late tables; NULL otherwise. */
struct change_sources {
    const struct relation *first, *late[VIEW_SOURCES_MAX];
};

static void fill_change(struct shard *s, struct catalog_change *change,
                        const struct change_sources *of)
{
    struct ddl *d = ddl_of(s);
    uint32_t topic_number = greater(s->catalog->next_topic, d->next_topic);
    uint32_t placement = of->first == NULL ? UINT32_MAX : of->first->topic->placement;
    fill_topic(s, &change->topic, &topic_number, placement);
    for (uint32_t i = 0; i < change->n_late; i++) {
        const struct topic *t = of->late[i]->topic;
        d->late[i] = change->late[i];
        fill_topic(s, &d->late[i], &topic_number, t->placement);
        /* which may have got partitions since the view was planned */
        d->late[i].n_partitions = t->n_partitions;
    }
    change->late = d->late;
    change->number = greater(s->catalog->next_relation, d->next_relation);
}

/* A number is given once: it names a folder, and stands in the records of epochs. */
static enum err reserve_numbers(struct ddl *d, const struct catalog *next, struct err_detail *why)
{
    if (next->next_topic > NUMBERS_MAX || next->next_relation > NUMBERS_MAX) {
        enum err e = err_set(why, ERR_LIMIT,
                             "%d topics and relations have been created in this data directory, "
                             "dropped ones included: there is no number for another",
                             NUMBERS_MAX);
        err_hint(why, "Copy what is needed to a new data directory.");
        return e;
    }
    d->next_topic = next->next_topic;
    d->next_relation = next->next_relation;
    return ERR_OK;
}

/* Plans a text again, on the catalog of now: what it was planned on may be old. */
static enum err change_sources(struct shard *s, const struct catalog_change *change,
                               struct change_sources *of, struct err_detail *why)
{
    *of = (struct change_sources){0};
    bool view = change->verb == CHANGE_CREATE_VIEW;
    if (!view && change->verb != CHANGE_CREATE_TABLE)
        return ERR_OK;
    struct plan *plan;
    TRY(plan_statement(change->sql, s->catalog, NULL, 0, &plan, why));
    bool found = true;
    if (view)
        of->first = catalog_relation(s->catalog, plan->view.sources[0]->name);
    for (uint32_t i = 0; i < change->n_late; i++) {
        uint32_t k = view_late_source(&plan->view, i);
        of->late[i] =
            k == UINT32_MAX ? NULL : catalog_relation(s->catalog, plan->view.sources[k]->name);
        found &= of->late[i] != NULL;
    }
    plan_free(plan);
    return view && (of->first == NULL || !found) ? ERR_INTERNAL : ERR_OK;
}

static bool is_create(enum catalog_verb v)
{
    return v == CHANGE_CREATE_TOPIC || v == CHANGE_CREATE_TABLE || v == CHANGE_CREATE_VIEW ||
           v == CHANGE_CREATE_QUERY;
}

/* Whether the change comes with new partitions. */
static bool opens_partitions(const struct shard *s, const struct catalog_change *change)
{
    if (change->verb != CHANGE_ALTER_TOPIC)
        return is_create(change->verb) && change->verb != CHANGE_CREATE_QUERY;
    return change->topic.n_partitions > catalog_topic(s->catalog, change->name)->n_partitions;
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
    enum err e = catalog_log_change(&d->log, change, &d->end, why);
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
    const struct prepare_call *pc = CONTAINER_OF(c, struct prepare_call, call);
    epochs_unprepare(s->epochs, pc->ddl->next);
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

/* A table takes over the name of a topic that was read as it is: not from under a view. */
static enum err name_check(struct shard *s, struct ddl_request *r)
{
    const struct relation *raw = catalog_relation(s->catalog, r->change.name);
    if (r->change.verb != CHANGE_CREATE_TABLE || raw == NULL || raw->kind != REL_RAW_TOPIC)
        return ERR_OK;
    for (uint32_t i = 0; i < s->catalog->n_relations; i++) {
        const struct relation *v = s->catalog->relations[i];
        if (!relation_reads(v, raw->number))
            continue;
        enum err e = err_set(&r->why, ERR_DEPENDENT_OBJECTS,
                             "cannot create table %.*s because %s %.*s reads the topic of that "
                             "name",
                             STR_ARG(r->change.name), relation_noun(v), STR_ARG(v->name));
        err_hint(&r->why, "Give the table another name, and the topic's as topic = '%.*s'.",
                 STR_ARG(r->change.name));
        return e;
    }
    return ERR_OK;
}

/* A function in C is the file of now. */
static enum err take_digest(struct shard *s, struct ddl_request *r)
{
    struct plan *p;
    if (r->change.verb != CHANGE_CREATE_FUNCTION)
        return ERR_OK;
    TRY(plan_statement(r->change.sql, s->catalog, NULL, 0, &p, &r->why));
    enum err e = ERR_OK;
    if (p->function->language == FUNCTION_C) {
        e = c_function_check(p->function->file, p->function->symbol, r->change.digest, &r->why);
        r->change.has_digest = e == ERR_OK;
    }
    plan_free(p);
    return e;
}

/* Starts the request at the head; an error ends it at once. */
static enum err start(struct ddl *d, struct ddl_request *r)
{
    struct shard *s = d->shard;
    if (s->phase != SHARD_RUNNING)
        return ERR_SHUTDOWN;
    /* Other errors may be over at the next try: the change waits for that, for a while. */
    if (!r->validate_only && engine_outputs_stuck(s->engine, &r->why) == ERR_NO_SPACE)
        return ERR_NO_SPACE;
    bool exists =
        catalog_relation(s->catalog, r->change.name) != NULL ||
        (r->change.verb == CHANGE_DROP_TOPIC && catalog_topic(s->catalog, r->change.name) != NULL);
    if (r->change.verb == CHANGE_DROP_TYPE)
        exists = catalog_type(s->catalog, r->change.name) != TYPE_UNKNOWN;
    if (r->change.verb == CHANGE_DROP_FUNCTION)
        exists = catalog_function(s->catalog, r->change.name) != NULL;
    r->skipped = is_create(r->change.verb) ? r->if_not_exists && exists : r->if_exists && !exists;
    if (r->skipped)
        return ERR_OK;
    TRY(name_check(s, r));
    struct change_sources of;
    TRY(change_sources(s, &r->change, &of, &r->why));
    if (r->change.verb != CHANGE_ALTER_TOPIC)
        fill_change(s, &r->change, &of);
    TRY(amend(s, r));
    TRY(take_digest(s, r));
    const struct catalog *next;
    TRY(catalog_apply(s->catalog, &r->change, &next, &r->why));
    enum err e = r->validate_only ? ERR_OK : reserve_numbers(d, next, &r->why);
    if (e == ERR_OK && !r->validate_only)
        e = stats_for(s->engine, next);
    if (e == ERR_OK && !r->validate_only)
        e = try_view(s, next, &r->change, &r->why);
    bool opens = opens_partitions(s, &r->change);
    if (e == ERR_OK && !r->validate_only && !opens)
        e = log_change(d, &r->change, &r->why);
    if (e != ERR_OK || r->validate_only) {
        catalog_unref(next);
        return e;
    }
    d->next = next;
    if (opens)
        prepare_send(d, prepare_run, prepare_done);
    return ERR_OK;
}

static void work(struct ddl *d)
{
    while (!d->working && d->n > 0) {
        catalog_log_compact(&d->log, d->shard->catalog, d->shard->coordinator);
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
    (*out)->watch.fire = watch_fire;
    (*out)->next_topic = (*out)->next_relation = NUMBER_FIRST_FREE;
    return ERR_OK;
}

void ddl_free(struct ddl *d)
{
    if (d != NULL && d->next != NULL)
        catalog_unref(d->next);
    mem_free(d);
}

/* ---- floors ---- */

enum err ddl_log_floor(struct shard *s, uint32_t reader, uint32_t partition, int64_t offset,
                       int64_t watermark_us, int64_t *end)
{
    return catalog_log_floor(&s->ddl->log, reader, partition, offset, watermark_us, end);
}

enum err ddl_log_schema(struct shard *s, const struct schema *schema, int64_t *end,
                        struct err_detail *why)
{
    return catalog_log_schema(&s->ddl->log, schema, end, why);
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
    /* It shrinks by whole segments, when a snapshot has been written behind them. */
    TRY(bootstrap_topic(catalog, "sys.catalog", NUMBER_CATALOG, TOPIC_INTERNAL,
                        e->options.internal_segment_bytes, -1, why));
    TRY(bootstrap_topic(catalog, "sys.epochs", NUMBER_EPOCHS, TOPIC_INTERNAL,
                        e->options.internal_segment_bytes,
                        2 * (int64_t)e->options.internal_segment_bytes, why));
    TRY(bootstrap_topic(catalog, "sys.dead_letters", NUMBER_DEAD_LETTERS, TOPIC_DEAD_LETTERS,
                        16 << 20, 256 << 20, why));
    return stats_for(e, *catalog);
}

/* Waits for the disk: nothing runs yet. */
static enum err flush(struct shard *s, struct part *p)
{
    struct log_sync sync;
    if (!log_sync_begin(p->log, &sync))
        return ERR_OK;
    log_sync_run(s->engine->host, &sync);
    enum err e = log_sync_end(p->log, &sync);
    part_publish(p);
    return e;
}

/* Gives the cluster its id, once: it is durable before anybody is told. Where it cannot be written
 * (a full disk), it is the id of this run only. */
static enum err cluster_id_make(struct shard *s, const struct catalog *catalog,
                                struct err_detail *why)
{
    static const char letters[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint8_t random[CLUSTER_ID_BYTES];
    char id[CLUSTER_ID_BYTES];
    struct catalog_change change = {.verb = CHANGE_CLUSTER, .name = {id, sizeof id}};
    struct err_detail inner = {0};
    int64_t end;
    host_random(s->engine->host, random, sizeof random);
    for (size_t i = 0; i < sizeof id; i++)
        id[i] = letters[random[i] % (sizeof letters - 1)];
    enum err e = catalog_log_change(&s->ddl->log, &change, &end, &inner);
    if (e != ERR_OK)
        engine_note(s->engine, "warning",
                    "the cluster's id is not kept, and will be another one at the next start: %s",
                    err_text(e, &inner));
    else if ((e = flush(s, s->ddl->log.part)) != ERR_OK)
        return err_set(why, e, "flushing sys.catalog failed");
    return catalog_extend(catalog, &change, why);
}

enum err ddl_replay(struct shard *s, struct coordinator *co, const struct catalog *catalog,
                    struct err_detail *why)
{
    TRY(catalog_log_open(&s->ddl->log, s, co, catalog, why));
    if (catalog->cluster_id[0] == '\0')
        TRY(cluster_id_make(s, catalog, why));
    return stats_for(s->engine, catalog);
}

void ddl_settle(struct shard *s)
{
    struct ddl *d = s->ddl;
    d->log.part->durable = flushed;
    d->log.part->durable_arg = d;
    catalog_log_durable(&d->log);
    catalog_log_compact(&d->log, s->catalog, s->coordinator);
}
