#include "engine/schemas.h"

#include "base/check.h"
#include "base/mem.h"
#include "engine/coordinator.h"
#include "engine/ddl.h"
#include "wire/avro.h"
#include "wire/json.h"

#include <stdio.h>

enum {
    BUCKETS = 4096,
    RING_SLOTS = 64,
    BODY_BYTES_MAX = 2 * AVRO_SCHEMA_BYTES_MAX, /* the schema is a string in it */
    ANSWER_ARENA_BYTES_MAX = 8 << 20,
    TICK_MS = 50,
    SILENT_MS_MIN = 10000, /* that a registry is left alone when it did not answer in time */
};
_Static_assert((int)SCHEMAS_ASKED_MAX <= (int)RING_SLOTS, "every one that is asked for has a slot");

/* Never freed before the end: any thread may look at it. Only shard 0 changes it; `text` is written
 * before `state` says so. */
struct entry {
    struct entry *next;
    uint64_t key;
    _Atomic int state;
    struct str text;
    _Atomic uint32_t tries;
    _Atomic int err, status;
    struct list waiting; /* shard 0: those that are asked for */
    int64_t due_ns;
    bool asked;
};

/* A registry's server: it is asked one thing at a time. Shard 0's; never freed before the end. */
struct origin {
    struct origin *next;
    struct str name; /* http://host:port */
    uint32_t silent; /* questions that it did not answer in time, since it last did */
    int64_t due_ns;
    bool asked;
};

/* One question on its way to the helper and back. */
struct job {
    struct entry *entry;
    struct origin *origin;
    char url[SCHEMA_URL_BYTES_MAX + 64];
    enum schema_state state; /* WAITING: no answer */
    struct buf text;
    enum err err;
    int status;
    struct err_detail why;
};

/* What a table has, of what it may have. */
struct table_sum {
    uint32_t found, refused;
    size_t bytes; /* of those that are found */
};

struct schemas {
    struct engine *engine;
    struct host_worker *worker;
    struct ring todo, done;
    _Atomic(struct entry *) buckets[BUCKETS];
    _Atomic uint32_t version;
    struct map sums; /* relation -> table_sum */
    struct list waiting;
    struct origin *origins;
    uint32_t n_asked;
    struct shard_timer timer;
};

/* ---- what is known ---- */

static uint64_t key_of(uint32_t relation, uint32_t id) { return (uint64_t)relation << 32 | id; }

/* Marks that a table has all that it may have. */
static uint64_t full_key(uint32_t relation) { return UINT64_C(1) << 63 | relation; }

static uint32_t bucket_of(uint64_t key)
{
    return (uint32_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 52);
}

static struct entry *entry_find(const struct schemas *s, uint64_t key)
{
    const _Atomic(struct entry *) *bucket = &s->buckets[bucket_of(key)];
    struct entry *e = atomic_load_explicit(bucket, memory_order_acquire);
    while (e != NULL && e->key != key)
        e = e->next;
    return e;
}

static struct entry *entry_make(struct schemas *s, uint64_t key)
{
    struct entry *e = entry_find(s, key);
    _Atomic(struct entry *) *bucket = &s->buckets[bucket_of(key)];
    if (e != NULL || (e = mem_zalloc(1, sizeof *e)) == NULL)
        return e;
    e->key = key;
    list_init(&e->waiting);
    e->next = atomic_load_explicit(bucket, memory_order_relaxed);
    atomic_store_explicit(bucket, e, memory_order_release);
    return e;
}

static void entry_read(const struct entry *e, struct schema *out)
{
    *out = (struct schema){.relation = (uint32_t)(e->key >> 32), .id = (uint32_t)e->key};
    out->state = (enum schema_state)atomic_load_explicit(&e->state, memory_order_acquire);
    if (out->state == SCHEMA_FOUND || out->state == SCHEMA_REFUSED)
        out->text = e->text;
    out->tries = atomic_load(&e->tries);
    out->err = (enum err)atomic_load(&e->err);
    out->status = atomic_load(&e->status);
}

void schemas_find(const struct schemas *s, uint32_t relation, uint32_t id, struct schema *out)
{
    const struct entry *e = entry_find(s, key_of(relation, id));
    *out = (struct schema){.relation = relation, .id = id};
    if (e != NULL)
        entry_read(e, out);
    if (out->state == SCHEMA_UNKNOWN || out->state == SCHEMA_WAITING)
        if ((e = entry_find(s, full_key(relation))) != NULL)
            entry_read(e, out);
}

uint32_t schemas_version(const struct schemas *s)
{
    return atomic_load_explicit(&s->version, memory_order_acquire);
}

bool schemas_next(const struct schemas *s, const void **at, struct schema *out)
{
    const struct entry *e = *at;
    uint32_t b = e == NULL ? 0 : bucket_of(e->key) + 1;
    e = e == NULL ? NULL : e->next;
    for (; e == NULL && b < BUCKETS; b++)
        e = atomic_load_explicit(&s->buckets[b], memory_order_acquire);
    *at = e;
    if (e == NULL)
        return false;
    entry_read(e, out);
    return e->key >> 63 == 0 || schemas_next(s, at, out);
}

/* Anybody who can produce can name numbers that there are not: they do not count as schemas. */
static bool is_full(const struct table_sum *sum)
{
    return sum->found >= SCHEMAS_PER_TABLE_MAX || sum->bytes >= SCHEMAS_TABLE_BYTES_MAX ||
           sum->refused >= SCHEMAS_REFUSED_MAX;
}

static enum err table_full(struct schemas *s, uint32_t relation)
{
    struct entry *e = entry_make(s, full_key(relation));
    char text[192];
    if (e != NULL && e->text.ptr != NULL)
        return ERR_OK;
    int n = snprintf(text, sizeof text, "the table has %d schemas, or %d bytes of them, or %d "
                     "numbers without one: as many as one may have", SCHEMAS_PER_TABLE_MAX,
                     SCHEMAS_TABLE_BYTES_MAX, SCHEMAS_REFUSED_MAX);
    if (e == NULL || (e->text.ptr = mem_alloc((size_t)n)) == NULL)
        return ERR_NO_MEMORY;
    memcpy((char *)(uintptr_t)e->text.ptr, text, (size_t)n);
    e->text.len = (size_t)n;
    atomic_store_explicit(&e->state, SCHEMA_REFUSED, memory_order_release);
    return ERR_OK;
}

enum err schemas_add(struct schemas *s, uint32_t relation, uint32_t id, enum schema_state state,
                     struct str text)
{
    struct entry *e = entry_make(s, key_of(relation, id));
    struct table_sum *sum = map_get(&s->sums, relation);
    char *copy = mem_alloc(text.len + 1);
    CHECK(state == SCHEMA_FOUND || state == SCHEMA_REFUSED);
    if (sum == NULL && (sum = mem_zalloc(1, sizeof *sum)) != NULL &&
        map_put(&s->sums, relation, sum) != ERR_OK) {
        mem_free(sum);
        sum = NULL;
    }
    bool known = e != NULL && atomic_load(&e->state) >= SCHEMA_FOUND;
    if (e == NULL || sum == NULL || copy == NULL || known) {
        mem_free(copy);
        return known ? ERR_OK : ERR_NO_MEMORY;
    }
    memcpy(copy, text.ptr, text.len);
    e->text = (struct str){copy, text.len};
    sum->found += state == SCHEMA_FOUND;
    sum->refused += state == SCHEMA_REFUSED;
    sum->bytes += state == SCHEMA_FOUND ? text.len : 0;
    atomic_store_explicit(&e->state, (int)state, memory_order_release);
    if (is_full(sum))
        TRY(table_full(s, relation));
    atomic_fetch_add(&s->version, 1);
    return ERR_OK;
}

enum err schemas_each(const struct schemas *s, const struct catalog *c,
                      enum err (*each)(void *arg, const struct schema *schema), void *arg)
{
    struct schema one;
    const void *at = NULL;
    while (schemas_next(s, &at, &one))
        if (one.state >= SCHEMA_FOUND && catalog_relation_by_number(c, one.relation) != NULL)
            TRY(each(arg, &one));
    return ERR_OK;
}

/* ---- the helper ---- */

static void answer(struct job *j, enum schema_state state, struct str text)
{
    j->state = state;
    buf_clear(&j->text);
    buf_put_str(&j->text, text);
    if (j->text.failed)
        j->state = SCHEMA_WAITING;
}

/* {"schema": "...", "schemaType": "AVRO", "references": [...]} */
static void answer_read(struct job *j, struct str body)
{
    struct json_value v, schema, type, references;
    struct arena a;
    arena_init(&a, ANSWER_ARENA_BYTES_MAX);
    struct str text = {0}, kind = {0};
    if (json_read(body, &v, NULL) == ERR_OK && v.kind == JSON_OBJECT &&
        json_member(&v, STR("schema"), &schema) && schema.kind == JSON_STRING)
        text = json_string(&schema, &a);
    else
        j->err = err_set(&j->why, ERR_MALFORMED, "%s did not answer with a schema", j->url);
    if (text.ptr != NULL && json_member(&v, STR("schemaType"), &type) && type.kind == JSON_STRING)
        kind = json_string(&type, &a);
    bool refers = text.ptr != NULL && json_member(&v, STR("references"), &references) &&
                  references.kind == JSON_ARRAY && !str_eq(references.text, STR("[]"));
    if (text.ptr != NULL && kind.ptr != NULL && !str_eq(kind, STR("AVRO")))
        answer(j, SCHEMA_REFUSED, STR("its schema is not one of Avro"));
    else if (refers)
        answer(j, SCHEMA_REFUSED, STR("its schema refers to others, which is not supported: "
                                      "register it with their types in it"));
    else if (text.len > AVRO_SCHEMA_BYTES_MAX)
        answer(j, SCHEMA_REFUSED, STR("its schema is too long"));
    else if (text.ptr != NULL)
        answer(j, SCHEMA_FOUND, text);
    arena_deinit(&a);
}

/* A 404 of the registry, not of a proxy before it or of a wrong path: {"error_code": 40403}. */
static bool is_missing(int status, struct str body)
{
    struct json_value v, code;
    return status == 404 && json_read(body, &v, NULL) == ERR_OK && v.kind == JSON_OBJECT &&
           json_member(&v, STR("error_code"), &code) && str_eq(code.text, STR("40403"));
}

static void job_run(struct schemas *s, struct job *j)
{
    const struct engine_fetch *fetch = &s->engine->options.fetch;
    struct buf body;
    buf_init(&body, BODY_BYTES_MAX);
    if (fetch->get == NULL)
        j->err = err_set(&j->why, ERR_UNSUPPORTED, "%s: nothing is fetched here", j->url);
    else
        j->err = fetch->get(fetch->arg, s->engine->host, j->url, &body, &j->status, &j->why);
    if (j->err == ERR_OK && j->status == 200)
        answer_read(j, buf_str(&body));
    else if (j->err == ERR_OK && is_missing(j->status, buf_str(&body)))
        answer(j, SCHEMA_REFUSED, STR("the registry has no schema of its number"));
    else if (j->err == ERR_OK)
        j->err = err_set(&j->why, ERR_IO, "%s answered with HTTP status %d", j->url, j->status);
    buf_deinit(&body);
}

static bool schemas_work(void *arg)
{
    struct schemas *s = arg;
    if (host_stop_requested(s->engine->host))
        return false;
    struct job *j = ring_pop(&s->todo);
    if (j != NULL) {
        job_run(s, j);
        CHECK(ring_push(&s->done, j));
        host_worker_wake(s->engine->shards[0].worker);
        return true;
    }
    struct host_event none;
    host_poll(s->worker, &none, 1, INT64_MAX);
    return true;
}

/* ---- asking ---- */

static void job_free(struct job *j)
{
    if (j == NULL)
        return;
    buf_deinit(&j->text);
    mem_free(j);
}

static void timer_set(struct schemas *s)
{
    struct shard *shard = &s->engine->shards[0];
    if (!list_empty(&s->waiting) && s->timer.heap_index == 0)
        (void)!shard_timer_set(shard, &s->timer,
                               shard->mono_ns + (int64_t)TICK_MS * 1000000);
}

static void tick(struct shard_timer *t)
{
    timer_set(CONTAINER_OF(t, struct schemas, timer)); /* the turn that it makes does the rest */
}

static struct origin *origin_of(struct schemas *s, struct str url)
{
    struct str name = {url.ptr, 0};
    for (uint32_t slashes = 0; name.len < url.len; name.len++)
        if (url.ptr[name.len] == '/' && ++slashes == 3)
            break;
    for (struct origin *o = s->origins; o != NULL; o = o->next)
        if (str_eq(o->name, name))
            return o;
    struct origin *o = mem_zalloc(1, sizeof *o);
    char *copy = mem_alloc(name.len + 1);
    if (o == NULL || copy == NULL) {
        mem_free(o);
        mem_free(copy);
        return NULL;
    }
    memcpy(copy, name.ptr, name.len);
    *o = (struct origin){.next = s->origins, .name = {copy, name.len}};
    return s->origins = o;
}

static void ask(struct schemas *s, struct entry *e, const struct relation *rel)
{
    struct origin *o = origin_of(s, rel->registry);
    if (o == NULL || o->asked || o->due_ns > s->engine->shards[0].mono_ns)
        return;
    struct job *j = mem_zalloc(1, sizeof *j);
    if (j == NULL)
        return;
    j->entry = e;
    j->origin = o;
    j->state = SCHEMA_WAITING;
    buf_init(&j->text, BODY_BYTES_MAX);
    struct str url = rel->registry;
    while (url.len > 0 && url.ptr[url.len - 1] == '/')
        url.len--;
    snprintf(j->url, sizeof j->url, "%.*s/schemas/ids/%u", STR_ARG(url), (uint32_t)e->key);
    e->asked = ring_push(&s->todo, j);
    if (!e->asked) {
        job_free(j);
        return;
    }
    o->asked = true;
    s->n_asked++;
    host_worker_wake(s->worker);
}

void schemas_want(struct schemas *s, const struct relation *rel, uint32_t id)
{
    struct entry *e = entry_make(s, key_of(relation_schemas(rel), id));
    if (e == NULL || atomic_load(&e->state) >= SCHEMA_FOUND || !list_empty(&e->waiting))
        return;
    atomic_store(&e->state, SCHEMA_WAITING);
    list_add(&s->waiting, &e->waiting);
    e->due_ns = 0;
    s->engine->shards[0].busy = true;
    timer_set(s);
}

static int64_t retry_ns(uint32_t tries)
{
    int64_t ms = tries > 10 ? SCHEMA_RETRY_MS_MAX : (int64_t)SCHEMA_RETRY_MS_MIN << (tries - 1);
    return (ms > SCHEMA_RETRY_MS_MAX ? SCHEMA_RETRY_MS_MAX : ms) * 1000000;
}

/* One that does not answer holds up the helper, and so the other registries: seldom. */
static void origin_take(struct origin *o, bool silent, int64_t now_ns)
{
    int64_t ms = SCHEMA_RETRY_MS_MAX;
    o->asked = false;
    o->silent = silent ? o->silent + 1 : 0;
    if (o->silent == 1 || o->silent == 2)
        ms = (int64_t)SILENT_MS_MIN * o->silent;
    o->due_ns = silent ? now_ns + ms * 1000000 : 0;
}

/* An answer is durable before an epoch that used it is (coordinator_logged). */
static void answer_take(struct schemas *s, struct job *j)
{
    struct shard *shard = &s->engine->shards[0];
    struct entry *e = j->entry;
    int64_t end;
    struct schema known = {.relation = (uint32_t)(e->key >> 32),
                           .id = (uint32_t)e->key,
                           .state = j->state,
                           .text = buf_str(&j->text)};
    e->asked = false;
    s->n_asked--;
    origin_take(j->origin, j->err == ERR_TIMEOUT, shard->mono_ns);
    if (entry_find(s, full_key(known.relation)) != NULL) { /* refused, whatever the answer is */
        list_remove(&e->waiting);
        coordinator_schemas(shard->coordinator);
        return;
    }
    if (j->state != SCHEMA_WAITING)
        j->err = ddl_log_schema(shard, &known, &end, &j->why);
    if (j->state != SCHEMA_WAITING && j->err == ERR_OK) {
        coordinator_logged(shard->coordinator, end);
        if (schemas_add(s, known.relation, known.id, known.state, known.text) != ERR_OK)
            engine_fatal(s->engine, ERR_NO_MEMORY, "keeping a schema");
        list_remove(&e->waiting);
        coordinator_schemas(shard->coordinator);
        return;
    }
    uint32_t tries = atomic_load(&e->tries) + 1;
    atomic_store(&e->err, (int)(j->err == ERR_OK ? ERR_IO : j->err));
    atomic_store(&e->status, j->status);
    atomic_store(&e->tries, tries);
    e->due_ns = shard->mono_ns + retry_ns(tries);
    engine_note(s->engine, "warning", "rows wait for schema %u: %s; it is asked for again",
                known.id, err_text(j->err, &j->why));
}

void schemas_turn(struct shard *shard)
{
    struct schemas *s = shard->engine->schemas;
    struct job *j;
    while ((j = ring_pop(&s->done)) != NULL) {
        answer_take(s, j);
        job_free(j);
    }
    if (list_empty(&s->waiting) || shard->phase != SHARD_RUNNING)
        return;
    LIST_FOR_SAFE (it, next, &s->waiting) {
        struct entry *e = LIST_ENTRY(it, struct entry, waiting);
        uint32_t number = (uint32_t)(e->key >> 32);
        const struct relation *rel = catalog_relation_by_number(shard->catalog, number);
        bool over = rel == NULL || entry_find(s, full_key(number)) != NULL;
        if (over && !e->asked)
            list_remove(it); /* dropped, or full */
        else if (!over && !e->asked && e->due_ns <= shard->mono_ns &&
                 s->n_asked < SCHEMAS_ASKED_MAX)
            ask(s, e, rel);
    }
    timer_set(s);
}

/* ---- life ---- */

enum err schemas_new(struct engine *e, struct schemas **out)
{
    struct schemas *s = mem_zalloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NO_MEMORY;
    *out = s;
    s->engine = e;
    s->timer.fire = tick;
    list_init(&s->waiting);
    TRY(ring_init(&s->todo, RING_SLOTS));
    return ring_init(&s->done, RING_SLOTS);
}

enum err schemas_start(struct schemas *s)
{
    return host_worker_start(s->engine->host, "schemas", schemas_work, s, &s->worker);
}

static void ring_free(struct ring *r)
{
    struct job *j;
    if (r->slots == NULL)
        return;
    while ((j = ring_pop(r)) != NULL)
        job_free(j);
    ring_deinit(r);
}

void schemas_free(struct schemas *s)
{
    if (s == NULL)
        return;
    ring_free(&s->todo);
    ring_free(&s->done);
    for (uint32_t b = 0; b < BUCKETS; b++)
        for (struct entry *e = atomic_load(&s->buckets[b]), *next; e != NULL; e = next) {
            next = e->next;
            mem_free((char *)(uintptr_t)e->text.ptr);
            mem_free(e);
        }
    for (struct origin *o = s->origins, *next; o != NULL; o = next) {
        next = o->next;
        mem_free((char *)(uintptr_t)o->name.ptr);
        mem_free(o);
    }
    struct table_sum *sum;
    for (size_t at = 0; (sum = map_next(&s->sums, &at)) != NULL;)
        mem_free(sum);
    map_deinit(&s->sums);
    mem_free(s);
}
