/* Catalog versions. A version is five sorted arrays of pointers to shared objects; making the
 * next one copies the arrays and touches only the objects that change, so that views are never
 * planned again. */
#include "plan/catalog.h"

#include "base/check.h"
#include "base/mem.h"
#include "plan/catalog_int.h"
#include "plan/plan_int.h"

enum {
    OBJECT_BYTES_MAX = 1 << 20,      /* names and texts that are not in a plan */
    VERSION_SLACK = 4,               /* objects one change can add */
    NEAREST_MAX = 2000,              /* names that are compared for "did you mean" */
};

/* ---- objects ---- */

static struct object *object_new(bool is_topic)
{
    struct object *o = mem_zalloc(1, sizeof *o);
    if (o == NULL)
        return NULL;
    atomic_init(&o->refs, 1);
    arena_init(&o->arena, OBJECT_BYTES_MAX);
    o->is_topic = is_topic;
    return o;
}

static void object_ref(struct object *o)
{
    atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
}

/* Recursion ends: a relation holds topics and at most one source, which is no view. */
static void object_unref(struct object *o)
{
    if (o == NULL || atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) != 1)
        return;
    plan_free(o->plan);
    for (uint32_t i = 0; i < o->n_deps; i++)
        object_unref(o->deps[i]);
    arena_deinit(&o->arena);
    mem_free(o);
}

static void object_hold(struct object *o, struct object *dep)
{
    CHECK(o->n_deps < OBJECT_DEPS_MAX);
    object_ref(dep);
    o->deps[o->n_deps++] = dep;
}

/* The public structs are inside their objects; every pointer in a catalog came from here. */
static struct object *topic_object(const struct topic *t)
{
    union { const struct topic *in; char *out; } p = {t};
    return (struct object *)(void *)(p.out - offsetof(struct object, topic));
}

static struct object *relation_object(const struct relation *r)
{
    union { const struct relation *in; char *out; } p = {r};
    return (struct object *)(void *)(p.out - offsetof(struct object, relation));
}

bool catalog_owns_topic(const struct relation *r)
{
    return relation_object(r)->owns_topic;
}

/* ---- versions ---- */

static struct version *version_of(const struct catalog *c)
{
    union { const struct catalog *in; char *out; } p = {c};
    return (struct version *)(void *)(p.out - offsetof(struct version, pub));
}

const struct catalog *catalog_ref(const struct catalog *c)
{
    atomic_fetch_add_explicit(&version_of(c)->memory.refs, 1, memory_order_relaxed);
    return c;
}

void catalog_unref(const struct catalog *c)
{
    if (c == NULL)
        return;
    struct version *v = version_of(c);
    if (atomic_fetch_sub_explicit(&v->memory.refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < c->n_relations; i++)
        object_unref(relation_object(v->memory.relations[i]));
    for (uint32_t i = 0; i < c->n_topics; i++)
        object_unref(topic_object(v->memory.topics[i]));
    for (uint32_t i = 0; i < c->n_functions; i++)
        catalog_function_unref(v->memory.functions[i]);
    security_unref(c->security);
    mem_free(v->memory.topics);
    mem_free(v->memory.topics_by_id);
    mem_free(v->memory.topics_by_number);
    mem_free(v->memory.relations);
    mem_free(v->memory.relations_by_number);
    mem_free(v->memory.functions);
    mem_free(v);
}

static struct version *version_new(uint32_t topics_cap, uint32_t relations_cap,
                                   uint32_t functions_cap)
{
    struct version *v = mem_zalloc(1, sizeof *v);
    if (v == NULL)
        return NULL;
    struct catalog_memory *m = &v->memory;
    atomic_init(&m->refs, 1);
    m->topics_cap = topics_cap;
    m->relations_cap = relations_cap;
    m->functions_cap = functions_cap;
    m->functions = mem_zalloc(functions_cap, sizeof(*m->functions));
    m->topics = mem_zalloc(topics_cap, sizeof(*m->topics));
    m->topics_by_id = mem_zalloc(topics_cap, sizeof(*m->topics_by_id));
    m->topics_by_number = mem_zalloc(topics_cap, sizeof(*m->topics_by_number));
    m->relations = mem_zalloc(relations_cap, sizeof(*m->relations));
    m->relations_by_number = mem_zalloc(relations_cap, sizeof(*m->relations_by_number));
    v->pub.topics = m->topics;
    v->pub.relations = m->relations;
    v->pub.functions = m->functions;
    v->pub.memory = m;
    v->pub.security = &security_none;
    v->pub.next_topic = 1;
    v->pub.next_relation = 1;
    if (m->topics == NULL || m->topics_by_id == NULL || m->topics_by_number == NULL ||
        m->relations == NULL || m->relations_by_number == NULL || m->functions == NULL) {
        catalog_unref(&v->pub);
        return NULL;
    }
    return v;
}

/* The next version, equal to `c` so far. */
static struct version *version_copy(const struct catalog *c)
{
    struct version *v = version_new(c->n_topics + VERSION_SLACK, c->n_relations + VERSION_SLACK,
                                    c->n_functions + VERSION_SLACK);
    if (v == NULL)
        return NULL;
    for (uint32_t i = 0; i < c->n_topics; i++) {
        object_ref(topic_object(c->topics[i]));
        v->memory.topics[i] = c->topics[i];
        v->memory.topics_by_id[i] = c->memory->topics_by_id[i];
        v->memory.topics_by_number[i] = c->memory->topics_by_number[i];
    }
    for (uint32_t i = 0; i < c->n_relations; i++) {
        object_ref(relation_object(c->relations[i]));
        v->memory.relations[i] = c->relations[i];
        v->memory.relations_by_number[i] = c->memory->relations_by_number[i];
    }
    for (uint32_t i = 0; i < c->n_functions; i++) {
        catalog_function_ref(c->functions[i]);
        v->memory.functions[i] = c->functions[i];
    }
    v->pub.n_functions = c->n_functions;
    v->pub.n_topics = c->n_topics;
    v->pub.n_relations = c->n_relations;
    v->pub.version = c->version + 1;
    v->pub.security = security_ref(c->security);
    v->pub.n_types = c->n_types;
    memcpy(v->pub.types, c->types, c->n_types * sizeof *c->types);
    v->pub.next_topic = c->next_topic;
    v->pub.next_relation = c->next_relation;
    memcpy(v->pub.cluster_id, c->cluster_id, sizeof v->pub.cluster_id);
    return v;
}

static bool grow_topics(const struct topic ***array, uint32_t cap)
{
    const struct topic **grown = mem_realloc(*array, cap * sizeof(*grown));
    if (grown != NULL)
        *array = grown;
    return grown != NULL;
}

static bool grow_relations(const struct relation ***array, uint32_t cap)
{
    const struct relation **grown = mem_realloc(*array, cap * sizeof(*grown));
    if (grown != NULL)
        *array = grown;
    return grown != NULL;
}

/* Makes room for one change. */
static bool version_reserve(struct version *v)
{
    struct catalog_memory *m = &v->memory;
    struct catalog *c = &v->pub;
    if (c->n_topics + VERSION_SLACK > m->topics_cap) {
        uint32_t cap = 2 * (c->n_topics + VERSION_SLACK);
        bool all = grow_topics(&m->topics, cap) && grow_topics(&m->topics_by_id, cap) &&
                   grow_topics(&m->topics_by_number, cap);
        c->topics = m->topics;
        if (!all)
            return false;
        m->topics_cap = cap;
    }
    if (c->n_relations + VERSION_SLACK > m->relations_cap) {
        uint32_t cap = 2 * (c->n_relations + VERSION_SLACK);
        bool all =
            grow_relations(&m->relations, cap) && grow_relations(&m->relations_by_number, cap);
        c->relations = m->relations;
        if (!all)
            return false;
        m->relations_cap = cap;
    }
    if (c->n_functions + VERSION_SLACK > m->functions_cap) {
        uint32_t cap = 2 * (c->n_functions + VERSION_SLACK);
        const struct user_function **grown = mem_realloc(m->functions, cap * sizeof(*grown));
        if (grown == NULL)
            return false;
        m->functions = grown;
        c->functions = grown;
        m->functions_cap = cap;
    }
    return true;
}

/* ---- lookup ---- */

/* First place whose name is not below `name`. */
static uint32_t topic_place(const struct catalog *c, struct str name)
{
    uint32_t low = 0;
    uint32_t high = c->n_topics;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (str_cmp(c->topics[mid]->name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static uint32_t relation_place(const struct catalog *c, struct str name)
{
    uint32_t low = 0;
    uint32_t high = c->n_relations;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (str_cmp(c->relations[mid]->name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static uint32_t id_place(const struct catalog *c, const uint8_t id[16])
{
    uint32_t low = 0;
    uint32_t high = c->n_topics;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (memcmp(c->memory->topics_by_id[mid]->id, id, 16) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* New objects have the greatest number so far, but for those that follow from older topics. */
static uint32_t topic_number_place(const struct catalog *c, uint32_t number)
{
    uint32_t low = 0;
    uint32_t high = c->n_topics;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (c->memory->topics_by_number[mid]->number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static uint32_t relation_number_place(const struct catalog *c, uint32_t number)
{
    uint32_t low = 0;
    uint32_t high = c->n_relations;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (c->memory->relations_by_number[mid]->number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const struct topic *catalog_topic(const struct catalog *c, struct str name)
{
    uint32_t i = topic_place(c, name);
    return i < c->n_topics && str_eq(c->topics[i]->name, name) ? c->topics[i] : NULL;
}

const struct topic *catalog_topic_by_id(const struct catalog *c, const uint8_t id[16])
{
    uint32_t i = id_place(c, id);
    bool found = i < c->n_topics && memcmp(c->memory->topics_by_id[i]->id, id, 16) == 0;
    return found ? c->memory->topics_by_id[i] : NULL;
}

const struct topic *catalog_topic_by_number(const struct catalog *c, uint32_t number)
{
    uint32_t i = topic_number_place(c, number);
    bool found = i < c->n_topics && c->memory->topics_by_number[i]->number == number;
    return found ? c->memory->topics_by_number[i] : NULL;
}

const struct relation *catalog_relation_by_number(const struct catalog *c, uint32_t number)
{
    uint32_t i = relation_number_place(c, number);
    bool found = i < c->n_relations && c->memory->relations_by_number[i]->number == number;
    return found ? c->memory->relations_by_number[i] : NULL;
}

const struct relation *catalog_relation(const struct catalog *c, struct str name)
{
    uint32_t i = relation_place(c, name);
    return i < c->n_relations && str_eq(c->relations[i]->name, name) ? c->relations[i] : NULL;
}

const char *catalog_topic_kind_name(const struct catalog *c, const struct topic *t)
{
    switch (t->kind) {
    case TOPIC_CHANGELOG:
        return "view";
    case TOPIC_LATE:
        return "late";
    case TOPIC_DEAD_LETTERS:
    case TOPIC_INTERNAL:
        return "internal";
    case TOPIC_USER:
        break;
    }
    for (uint32_t i = 0; i < c->n_relations; i++)
        if (c->relations[i]->topic == t && c->relations[i]->kind == REL_TABLE)
            return "table";
    return "raw";
}

enum err catalog_no_relation(const struct catalog *c, struct str name, struct err_detail *why)
{
    enum err e = err_set(why, ERR_UNDEFINED_TABLE, "relation \"%.*s\" does not exist",
                         STR_ARG(name));
    uint32_t n = c->n_relations < NEAREST_MAX ? c->n_relations : NEAREST_MAX;
    struct str *names = mem_zalloc((size_t)n + 1, sizeof *names);
    if (names == NULL)
        return e;
    for (uint32_t i = 0; i < n; i++)
        names[i] = c->relations[i]->name;
    int best = str_nearest(name, names, n);
    if (catalog_topic(c, name) != NULL)
        err_hint(why, "It is an internal topic of the server. sys.tables lists what can be read.");
    else if (best >= 0)
        err_hint(why, "Perhaps you meant \"%.*s\".", STR_ARG(names[best]));
    mem_free(names);
    return e;
}

/* ---- editing a version ---- */

static void add_topic(struct version *v, struct object *o)
{
    struct catalog_memory *m = &v->memory;
    struct catalog *c = &v->pub;
    CHECK(c->n_topics < m->topics_cap);
    uint32_t i = topic_place(c, o->topic.name);
    uint32_t k = id_place(c, o->topic.id);
    uint32_t n = topic_number_place(c, o->topic.number);
    memmove(&m->topics[i + 1], &m->topics[i], (c->n_topics - i) * sizeof(*m->topics));
    memmove(&m->topics_by_number[n + 1], &m->topics_by_number[n],
            (c->n_topics - n) * sizeof(*m->topics_by_number));
    memmove(&m->topics_by_id[k + 1], &m->topics_by_id[k],
            (c->n_topics - k) * sizeof(*m->topics_by_id));
    m->topics[i] = &o->topic;
    m->topics_by_id[k] = &o->topic;
    m->topics_by_number[n] = &o->topic;
    c->n_topics++;
    if (o->topic.number >= c->next_topic)
        c->next_topic = o->topic.number + 1;
}

static void add_relation(struct version *v, struct object *o)
{
    struct catalog_memory *m = &v->memory;
    struct catalog *c = &v->pub;
    CHECK(c->n_relations < m->relations_cap);
    uint32_t i = relation_place(c, o->relation.name);
    memmove(&m->relations[i + 1], &m->relations[i],
            (c->n_relations - i) * sizeof(*m->relations));
    uint32_t n = relation_number_place(c, o->relation.number);
    memmove(&m->relations_by_number[n + 1], &m->relations_by_number[n],
            (c->n_relations - n) * sizeof(*m->relations_by_number));
    m->relations[i] = &o->relation;
    m->relations_by_number[n] = &o->relation;
    c->n_relations++;
    if (o->relation.number < RELATION_OF_TOPIC && o->relation.number >= c->next_relation)
        c->next_relation = o->relation.number + 1;
}

static void remove_topic(struct version *v, const struct topic *t)
{
    struct catalog_memory *m = &v->memory;
    struct catalog *c = &v->pub;
    uint32_t i = topic_place(c, t->name);
    uint32_t k = id_place(c, t->id);
    while (k < c->n_topics && m->topics_by_id[k] != t)
        k++;
    uint32_t n = topic_number_place(c, t->number);
    while (n < c->n_topics && m->topics_by_number[n] != t)
        n++;
    CHECK(i < c->n_topics && m->topics[i] == t && k < c->n_topics && n < c->n_topics);
    c->n_topics--;
    memmove(&m->topics_by_number[n], &m->topics_by_number[n + 1],
            (c->n_topics - n) * sizeof(*m->topics_by_number));
    memmove(&m->topics[i], &m->topics[i + 1], (c->n_topics - i) * sizeof(*m->topics));
    memmove(&m->topics_by_id[k], &m->topics_by_id[k + 1],
            (c->n_topics - k) * sizeof(*m->topics_by_id));
    object_unref(topic_object(t));
}

static void remove_relation(struct version *v, const struct relation *r)
{
    struct catalog_memory *m = &v->memory;
    struct catalog *c = &v->pub;
    uint32_t i = relation_place(c, r->name);
    uint32_t n = relation_number_place(c, r->number);
    while (n < c->n_relations && m->relations_by_number[n] != r)
        n++;
    CHECK(i < c->n_relations && m->relations[i] == r && n < c->n_relations);
    c->n_relations--;
    memmove(&m->relations_by_number[n], &m->relations_by_number[n + 1],
            (c->n_relations - n) * sizeof(*m->relations_by_number));
    memmove(&m->relations[i], &m->relations[i + 1],
            (c->n_relations - i) * sizeof(*m->relations));
    object_unref(relation_object(r));
}

static enum err no_memory(struct err_detail *why)
{
    return err_set(why, ERR_NO_MEMORY, "out of memory while changing the catalog");
}

/* ---- topics ---- */

static enum err topic_valid(const struct catalog *c, const struct topic *t, struct err_detail *why)
{
    if (t->name.len == 0 || t->name.len > NAME_BYTES_MAX)
        return err_set(why, ERR_INVALID_ARGUMENT, "topic names have 1 to %d bytes",
                       NAME_BYTES_MAX);
    if (t->n_partitions < 1 || t->n_partitions > PARTITIONS_MAX)
        return err_set(why, ERR_INVALID_ARGUMENT, "topic \"%.*s\": partitions must be between 1 "
                       "and %d, not %u", STR_ARG(t->name), PARTITIONS_MAX, t->n_partitions);
    if (t->number >= RELATION_OF_TOPIC)
        return err_set(why, ERR_INVALID_ARGUMENT, "topic \"%.*s\": number %u is too great",
                       STR_ARG(t->name), t->number);
    if (c->n_topics >= TOPICS_MAX)
        return err_set(why, ERR_LIMIT, "there are %d topics already", TOPICS_MAX);
    if (catalog_topic(c, t->name) != NULL)
        return err_set(why, ERR_DUPLICATE_TABLE, "topic \"%.*s\" already exists",
                       STR_ARG(t->name));
    if (catalog_topic_by_id(c, t->id) != NULL)
        return err_set(why, ERR_DUPLICATE_TABLE, "topic \"%.*s\": its id is taken",
                       STR_ARG(t->name));
    return topic_config_check(&t->config, why);
}

/* Adds the topic alone, without a relation. */
static enum err create_topic_only(struct version *v, const struct topic *t, struct object **out,
                                  struct err_detail *why)
{
    TRY(topic_valid(&v->pub, t, why));
    struct object *o = object_new(true);
    if (o == NULL)
        return no_memory(why);
    o->topic = *t;
    o->topic.name = arena_str(&o->arena, t->name);
    if (o->topic.name.ptr == NULL) {
        object_unref(o);
        return no_memory(why);
    }
    add_topic(v, o);
    *out = o;
    return ERR_OK;
}

/* A relation that follows from its topic. */
static enum err create_timed_relation(struct version *v, struct object *topic,
                                      const struct column_def *columns, uint32_t n_columns,
                                      int32_t event_time, enum time_unit unit,
                                      struct err_detail *why)
{
    struct object *o = object_new(false);
    if (o == NULL)
        return no_memory(why);
    bool raw = topic->topic.kind == TOPIC_USER;
    object_hold(o, topic);
    o->relation = (struct relation){
        .name = topic->topic.name,
        .number = topic->topic.number | RELATION_OF_TOPIC,
        .kind = raw ? REL_RAW_TOPIC : REL_TABLE,
        .topic = &topic->topic,
        .n_columns = n_columns,
        .columns = columns,
        .format = raw ? FORMAT_RAW : FORMAT_JSON,
        .on_error = ON_ERROR_IGNORE,
        .event_time = event_time,
        .event_time_unit = unit,
        .key = -1,
        .idle_timeout_us = IDLE_TIMEOUT_US_DEFAULT,
        .future_us_max = FUTURE_US_DEFAULT,
    };
    add_relation(v, o);
    return ERR_OK;
}

/* From its topic alone. */
static enum err create_topic_relation(struct version *v, struct object *topic,
                                      const struct column_def *columns, uint32_t n_columns,
                                      int32_t event_time, struct err_detail *why)
{
    return create_timed_relation(v, topic, columns, n_columns, event_time, TIME_UNIT_NONE, why);
}

static enum err create_topic(struct version *v, const struct topic *t, struct err_detail *why)
{
    enum { DEAD_LETTER_AT = 4 };
    struct object *o = NULL;
    bool visible = t->kind == TOPIC_USER || t->kind == TOPIC_DEAD_LETTERS;
    if (t->kind == TOPIC_CHANGELOG || t->kind == TOPIC_LATE)
        return err_set(why, ERR_INVALID_ARGUMENT, "topic \"%.*s\": this kind of topic belongs to "
                       "a view", STR_ARG(t->name));
    if (visible && catalog_relation(&v->pub, t->name) != NULL)
        return err_set(why, ERR_DUPLICATE_TABLE, "relation \"%.*s\" already exists",
                       STR_ARG(t->name));
    TRY(create_topic_only(v, t, &o, why));
    if (t->kind == TOPIC_USER)
        return create_topic_relation(v, o, catalog_raw_columns, RAW_COLUMNS, RAW_TIMESTAMP, why);
    if (t->kind == TOPIC_DEAD_LETTERS)
        return create_topic_relation(v, o, catalog_dead_letters.columns,
                                     catalog_dead_letters.n_columns, DEAD_LETTER_AT, why);
    return ERR_OK;
}

uint32_t relation_n_columns(const struct relation *r)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n_columns; i++)
        n += !relation_column_dropped(r, i);
    return n;
}

uint32_t view_source(const struct view *v, uint32_t relation_number)
{
    for (uint32_t i = 0; i < v->n_sources; i++)
        if (v->sources[i]->number == relation_number)
            return i;
    return UINT32_MAX;
}

uint32_t view_late_source(const struct view *v, uint32_t i)
{
    for (uint32_t k = 0; k < v->n_sources; k++)
        if ((v->windowed >> k & 1) != 0 && i-- == 0)
            return k;
    return UINT32_MAX;
}

bool view_has_late(const struct view *v, const struct topic *t)
{
    for (uint32_t k = 0; k < v->n_sources; k++)
        if (v->late[k] == t && t != NULL)
            return true;
    return false;
}

bool relation_reads(const struct relation *r, uint32_t number)
{
    const struct view *v = r->view;
    for (uint32_t i = 0; v != NULL && i < v->n_queries; i++)
        if (v->queries[i]->number == number)
            return true;
    return v != NULL && view_source(v, number) != UINT32_MAX;
}

bool relation_depends(const struct relation *r, const struct relation *on)
{
    const struct view *reader = r->view, *view = on->view;
    for (uint32_t k = 0; view != NULL && reader != NULL && k < view->n_sources; k++)
        for (uint32_t i = 0; i < reader->n_sources; i++)
            if (view->late[k] != NULL && reader->sources[i]->topic == view->late[k])
                return true;
    return relation_reads(r, on->number);
}

const char *relation_noun(const struct relation *r)
{
    if (r->kind == REL_QUERY)
        return "view";
    if (r->kind != REL_VIEW)
        return "table";
    return r->view->connector != CONNECTOR_NONE ? "publication" : "materialized view";
}

const char *relation_drop_word(const struct relation *r)
{
    if (r->kind == REL_QUERY)
        return "VIEW";
    if (r->kind != REL_VIEW)
        return "TABLE";
    return r->view->connector != CONNECTOR_NONE ? "PUBLICATION" : "MATERIALIZED VIEW";
}

const char *connector_name(enum connector c)
{
    return c == CONNECTOR_DISCARD ? "discard" : "";
}

static bool view_reads_topic(const struct view *v, const struct topic *t)
{
    for (uint32_t i = 0; i < v->n_sources; i++)
        if (v->sources[i]->topic == t)
            return true;
    return false;
}

static const struct relation *user_of_topic(const struct catalog *c, const struct topic *t)
{
    for (uint32_t i = 0; i < c->n_relations; i++) {
        const struct relation *r = c->relations[i];
        bool view =
            r->view != NULL && (view_reads_topic(r->view, t) || view_has_late(r->view, t));
        if (view || (r->topic == t && r->kind != REL_RAW_TOPIC))
            return r;
    }
    return NULL;
}

static void remove_topic_and_raw(struct version *v, const struct topic *t)
{
    const struct relation *raw = catalog_relation(&v->pub, t->name);
    if (raw != NULL && raw->topic == t)
        remove_relation(v, raw);
    remove_topic(v, t);
}

static enum err drop_topic(struct version *v, struct str name, struct err_detail *why)
{
    const struct topic *t = catalog_topic(&v->pub, name);
    if (t == NULL)
        return err_set(why, ERR_UNDEFINED_TABLE, "topic \"%.*s\" does not exist", STR_ARG(name));
    const struct relation *r = user_of_topic(&v->pub, t);
    if (r != NULL) {
        enum err e = err_set(why, ERR_DEPENDENT_OBJECTS,
                             "cannot drop topic %.*s because %s %.*s depends on it", STR_ARG(name),
                             relation_noun(r), STR_ARG(r->name));
        bool goes = r->view == NULL && catalog_owns_topic(r);
        err_hint(why, "Use DROP %s %.*s first%s.",
                 relation_drop_word(r), STR_ARG(r->name),
                 goes ? "; the topic goes with it" : "");
        return e;
    }
    remove_topic_and_raw(v, t);
    return ERR_OK;
}

/* ---- altering a topic ---- */

/* The view in the object reads what `from` does, as the version has it now. */
static void sources_hold(const struct version *v, struct object *o, const struct view *from)
{
    for (uint32_t i = 0; i < o->view.n_sources; i++) {
        o->sources[i] = catalog_relation(&v->pub, from->sources[i]->name);
        object_hold(o, relation_object(o->sources[i]));
    }
    for (uint32_t i = 0; i < o->view.n_queries; i++) {
        o->view.queries[i] = catalog_relation(&v->pub, from->queries[i]->name);
        object_hold(o, relation_object(o->view.queries[i]));
    }
    o->view.sources = o->sources;
}

/* Whether a view's sources are there in other versions by now. */
static bool sources_old(const struct catalog *c, const struct view *w)
{
    for (uint32_t i = 0; i < w->n_sources; i++)
        if (w->sources[i] != catalog_relation(c, w->sources[i]->name))
            return true;
    for (uint32_t i = 0; i < w->n_queries; i++)
        if (w->queries[i] != catalog_relation(c, w->queries[i]->name))
            return true;
    return false;
}

/* Puts another version of relation number `i` in its place. */
static void relation_replace(struct version *v, uint32_t i, struct object *o)
{
    const struct relation *old = v->memory.relations[i];
    v->memory.relations_by_number[relation_number_place(&v->pub, old->number)] = &o->relation;
    v->memory.relations[i] = &o->relation;
    object_unref(relation_object(old));
}

/* A relation over other versions of its topics and sources, in the place of number `i`. It lives on
 * the plan and the texts of the first one of its kind. */
static enum err relation_renew(struct version *v, uint32_t i, struct err_detail *why)
{
    const struct relation *old = v->memory.relations[i];
    struct object *from = relation_object(old);
    struct object *o = object_new(false);
    if (o == NULL)
        return no_memory(why);
    o->origin = from->origin != NULL ? from->origin : from;
    object_hold(o, o->origin);
    o->owns_topic = from->owns_topic;
    o->relation = *old;
    if (old->topic != NULL) {
        o->relation.topic = catalog_topic(&v->pub, old->topic->name);
        object_hold(o, topic_object(o->relation.topic));
    }
    if (old->view != NULL) {
        o->view = *old->view;
        o->relation.view = &o->view;
        sources_hold(v, o, old->view);
        for (uint32_t k = 0; k < old->view->n_sources; k++) {
            if (old->view->late[k] == NULL)
                continue;
            o->view.late[k] = catalog_topic(&v->pub, old->view->late[k]->name);
            object_hold(o, topic_object(o->view.late[k]));
        }
    }
    relation_replace(v, i, o);
    return ERR_OK;
}

/* Brings relations up to date with the version's topics, and views with their sources, until all
 * are. */
static enum err relations_follow(struct version *v, struct err_detail *why)
{
    const struct catalog *c = &v->pub;
    bool changed = true;
    while (changed) {
        changed = false;
        for (uint32_t i = 0; i < c->n_relations; i++) {
            const struct relation *r = c->relations[i];
            const struct view *w = r->view;
            bool old = r->topic != NULL && r->topic != catalog_topic(c, r->topic->name);
            old |= w != NULL && sources_old(c, w);
            for (uint32_t k = 0; w != NULL && k < w->n_sources; k++)
                old |= w->late[k] != NULL && w->late[k] != catalog_topic(c, w->late[k]->name);
            if (!old)
                continue;
            TRY(relation_renew(v, i, why));
            changed = true;
        }
    }
    return ERR_OK;
}

/* Puts another version of a topic in its place. */
static enum err topic_renew(struct version *v, const struct topic *t, struct err_detail *why)
{
    const struct catalog *c = &v->pub;
    const struct topic *old = catalog_topic(c, t->name);
    struct object *o = object_new(true);
    if (o == NULL)
        return no_memory(why);
    o->topic = *t;
    o->topic.name = arena_str(&o->arena, t->name);
    if (o->topic.name.ptr == NULL) {
        object_unref(o);
        return no_memory(why);
    }
    v->memory.topics[topic_place(c, t->name)] = &o->topic;
    v->memory.topics_by_id[id_place(c, t->id)] = &o->topic;
    v->memory.topics_by_number[topic_number_place(c, t->number)] = &o->topic;
    object_unref(topic_object(old));
    return ERR_OK;
}

/* A late row stays in the partition, and so on the shard, where it came in: late tables have the
 * partitions of their views' sources, which may be late tables themselves. */
static enum err late_topic_follow(struct version *v, const struct view *w, uint32_t source,
                                  bool *changed, struct err_detail *why)
{
    const struct catalog *c = &v->pub;
    const struct topic *late = catalog_topic(c, w->late[source]->name);
    uint32_t n = catalog_topic(c, w->sources[source]->topic->name)->n_partitions;
    if (late->n_partitions >= n)
        return ERR_OK;
    struct topic next = *late;
    next.n_partitions = n;
    next.grown_from = late->grown_from == 0 ? late->n_partitions : late->grown_from;
    *changed = true;
    return topic_renew(v, &next, why);
}

static enum err late_topics_follow(struct version *v, struct err_detail *why)
{
    const struct catalog *c = &v->pub;
    bool changed = true;
    while (changed) {
        changed = false;
        for (uint32_t i = 0; i < c->n_relations; i++) {
            const struct view *w = c->relations[i]->view;
            for (uint32_t k = 0; w != NULL && k < w->n_sources; k++)
                if (w->late[k] != NULL)
                    TRY(late_topic_follow(v, w, k, &changed, why));
        }
    }
    return ERR_OK;
}

/* Where a row with a PRIMARY KEY is follows from the number of partitions. */
static enum err keys_stay(const struct catalog *c, const struct topic *old, const struct topic *t,
                          struct err_detail *why)
{
    for (uint32_t i = 0; i < c->n_relations && t->n_partitions > old->n_partitions; i++)
        if (c->relations[i]->topic == old && c->relations[i]->n_primary_key > 0)
            return err_set(why, ERR_INVALID_ARGUMENT,
                           "topic \"%.*s\" holds the rows of \"%.*s\" by their PRIMARY KEY, which "
                           "would be looked for in other partitions than they are in",
                           STR_ARG(t->name), STR_ARG(c->relations[i]->name));
    return ERR_OK;
}

static enum err alter_topic(struct version *v, const struct topic *t, struct err_detail *why)
{
    struct catalog *c = &v->pub;
    const struct topic *old = catalog_topic(c, t->name);
    if (old == NULL)
        return err_set(why, ERR_UNDEFINED_TABLE, "topic \"%.*s\" does not exist",
                       STR_ARG(t->name));
    if (memcmp(old->id, t->id, sizeof t->id) != 0 || old->number != t->number ||
        old->kind != t->kind || old->placement != t->placement)
        return err_set(why, ERR_INVALID_ARGUMENT, "topic \"%.*s\" was made again meanwhile",
                       STR_ARG(t->name));
    if (t->n_partitions < old->n_partitions || t->n_partitions > PARTITIONS_MAX)
        return err_set(why, ERR_INVALID_ARGUMENT,
                       "topic \"%.*s\" has %u partitions: it can have more, up to %d, not %u",
                       STR_ARG(t->name), old->n_partitions, PARTITIONS_MAX, t->n_partitions);
    TRY(topic_config_check(&t->config, why));
    TRY(keys_stay(c, old, t, why));
    struct topic next = *t;
    next.grown_from = old->grown_from;
    if (next.grown_from == 0 && next.n_partitions > old->n_partitions)
        next.grown_from = old->n_partitions;
    TRY(topic_renew(v, &next, why));
    TRY(late_topics_follow(v, why));
    return relations_follow(v, why);
}

/* ---- relations made by SQL ---- */

/* Plans the change's text against the version so far; the plan does not keep that version alive. */
static enum err plan_change(struct version *v, const struct catalog_change *change,
                            enum statement_kind kind, struct object **out, struct err_detail *why)
{
    const struct relation *taken = catalog_relation(&v->pub, change->name);
    if (taken != NULL && taken->kind != REL_RAW_TOPIC)
        return err_set(why, ERR_DUPLICATE_TABLE, "relation \"%.*s\" already exists",
                       STR_ARG(change->name));
    if (change->number >= RELATION_OF_TOPIC)
        return err_set(why, ERR_INVALID_ARGUMENT, "relation number %u is too great",
                       change->number);
    struct plan *p = NULL;
    TRY(plan_accepted(change->sql, change->dialect, change->number, &v->pub, &p, why));
    struct object *o = p->kind == kind && str_eq(p->name, change->name) ? object_new(false) : NULL;
    if (o == NULL) {
        bool match = p->kind == kind && str_eq(p->name, change->name);
        plan_free(p);
        return match ? no_memory(why)
                     : err_set(why, ERR_CORRUPT, "catalog change \"%.*s\" does not match its SQL",
                               STR_ARG(change->name));
    }
    catalog_unref(p->catalog);
    p->catalog = NULL;
    o->plan = p;
    o->relation = *p->relation;
    o->relation.number = change->number;
    o->relation.sql = p->change.sql;
    o->relation.dialect = change->dialect;
    *out = o;
    return ERR_OK;
}

static enum err create_table(struct version *v, const struct catalog_change *change,
                             struct err_detail *why)
{
    struct object *o = NULL;
    TRY(plan_change(v, change, STMT_CREATE_TABLE, &o, why));
    struct object *topic = o->relation.topic != NULL ? topic_object(o->relation.topic) : NULL;
    enum err e = ERR_OK;
    if (topic == NULL && change->topic.name.len == 0)
        e = err_set(why, ERR_UNDEFINED_TABLE, "the topic of table \"%.*s\" does not exist",
                    STR_ARG(change->name));
    else if (topic == NULL) {
        e = create_topic_only(v, &change->topic, &topic, why);
        o->owns_topic = true;
    }
    if (e != ERR_OK) {
        object_unref(o);
        return e;
    }
    object_hold(o, topic);
    o->relation.topic = &topic->topic;
    const struct relation *raw = catalog_relation(&v->pub, o->relation.name);
    if (raw != NULL)
        remove_relation(v, raw); /* the table takes the topic's name */
    add_relation(v, o);
    bool own_name = str_eq(topic->topic.name, o->relation.name);
    if (o->owns_topic && !own_name && catalog_relation(&v->pub, topic->topic.name) == NULL)
        return create_topic_relation(v, topic, catalog_raw_columns, RAW_COLUMNS, RAW_TIMESTAMP,
                                     why);
    return ERR_OK;
}

/* The table in another version; what was made over it before stays as it was planned. */
static enum err alter_table(struct version *v, const struct catalog_change *change,
                            struct err_detail *why)
{
    const struct relation *old = catalog_relation(&v->pub, change->name);
    struct plan *p = NULL;
    if (old == NULL)
        return catalog_no_relation(&v->pub, change->name, why);
    TRY(plan_accepted(change->sql, change->dialect, change->number, &v->pub, &p, why));
    bool match = p->kind == STMT_ALTER_TABLE && str_eq(p->name, change->name);
    struct object *o = match && p->n_drops == 0 ? object_new(false) : NULL;
    if (o == NULL) {
        bool drops = match && p->n_drops > 0;
        plan_free(p);
        return drops ? err_set(why, ERR_DEPENDENT_OBJECTS,
                               "a view that reads the column was made meanwhile: try again")
               : match ? no_memory(why)
                       : err_set(why, ERR_CORRUPT,
                                 "catalog change \"%.*s\" does not match its SQL",
                                 STR_ARG(change->name));
    }
    catalog_unref(p->catalog);
    p->catalog = NULL;
    o->plan = p;
    o->relation = *p->relation;
    o->owns_topic = relation_object(old)->owns_topic;
    object_hold(o, topic_object(old->topic));
    uint32_t n = old->n_alterations;
    struct table_alteration *all = arena_alloc(&o->arena, (n + 1) * sizeof *all);
    for (uint32_t i = 0; all != NULL && i <= n; i++) {
        const struct table_alteration added = {change->sql, change->dialect, change->number};
        all[i] = i < n ? old->alterations[i] : added;
        all[i].sql = arena_str(&o->arena, all[i].sql);
        all = all[i].sql.ptr == NULL ? NULL : all;
    }
    if (all == NULL) {
        object_unref(o);
        return no_memory(why);
    }
    o->relation.n_alterations = n + 1;
    o->relation.alterations = all;
    relation_replace(v, relation_place(&v->pub, change->name), o);
    if (change->number >= v->pub.next_relation)
        v->pub.next_relation = change->number + 1;
    return relations_follow(v, why);
}

/* The late table has the source's columns, which live as long as the view's object. */
static enum err create_late(struct version *v, struct object *view, const struct topic *late,
                            uint32_t of, struct err_detail *why)
{
    struct object *topic = NULL;
    if (of == UINT32_MAX)
        return err_set(why, ERR_CORRUPT, "late rows \"%.*s\" are of no source of the view",
                       STR_ARG(late->name));
    const struct relation *source = view->view.sources[of];
    if (catalog_relation(&v->pub, late->name) != NULL)
        return err_set(why, ERR_DUPLICATE_TABLE, "relation \"%.*s\" already exists",
                       STR_ARG(late->name));
    TRY(create_topic_only(v, late, &topic, why));
    object_hold(view, topic);
    view->view.late[of] = &topic->topic;
    TRY(create_timed_relation(v, topic, source->columns, source->n_columns, source->event_time,
                              source->event_time_unit,
                              why));
    const struct relation *r = catalog_relation(&v->pub, late->name);
    struct object *o = relation_object(r);
    object_hold(o, relation_object(source));
    o->relation.column_flags = source->column_flags;
    o->relation.format = source->format; /* its rows are the source's records */
    o->relation.text = source->text;
    o->relation.avro_schema = source->avro_schema;
    o->relation.avro_framed = source->avro_framed;
    o->relation.registry = source->registry;
    o->relation.schemas_of = source->number;
    return ERR_OK;
}

static enum err create_view(struct version *v, const struct catalog_change *change,
                            struct err_detail *why)
{
    struct object *o = NULL;
    struct object *topic = NULL;
    TRY(plan_change(v, change, STMT_CREATE_VIEW, &o, why));
    enum err e = change->topic.name.len == 0
                     ? err_set(why, ERR_CORRUPT, "view \"%.*s\" has no changelog topic",
                               STR_ARG(change->name))
                     : create_topic_only(v, &change->topic, &topic, why);
    if (e != ERR_OK) {
        object_unref(o);
        return e;
    }
    object_hold(o, topic);
    o->view = o->plan->view;
    o->view.plan = o->plan;
    sources_hold(v, o, &o->plan->view);
    o->relation.topic = &topic->topic;
    o->relation.view = &o->view;
    add_relation(v, o);
    for (uint32_t i = 0; i < change->n_late; i++)
        TRY(create_late(v, o, &change->late[i], view_late_source(&o->view, i), why));
    return ERR_OK;
}

/* A plain view has no topic, and no rows of its own. */
static enum err create_query(struct version *v, const struct catalog_change *change,
                             struct err_detail *why)
{
    struct object *o = NULL;
    TRY(plan_change(v, change, STMT_CREATE_QUERY, &o, why));
    const struct relation *raw = catalog_relation(&v->pub, change->name);
    if (raw != NULL) {
        object_unref(o);
        return err_set(why, ERR_DUPLICATE_TABLE, "topic \"%.*s\" already exists",
                       STR_ARG(change->name));
    }
    o->view = o->plan->view;
    o->view.plan = o->plan;
    sources_hold(v, o, &o->plan->view);
    o->relation.view = &o->view;
    add_relation(v, o);
    return ERR_OK;
}

static enum err drop_allowed(const struct catalog *c, const struct relation *r,
                             struct err_detail *why)
{
    bool system = r->kind == REL_SYSTEM || r->kind == REL_RAW_TOPIC ||
                  (r->topic != NULL && r->topic->kind != TOPIC_USER &&
                   r->topic->kind != TOPIC_CHANGELOG);
    if (system)
        return err_set(why, ERR_WRONG_OBJECT_TYPE, "\"%.*s\" cannot be dropped by itself",
                       STR_ARG(r->name));
    for (uint32_t i = 0; i < c->n_relations; i++) {
        const struct relation *v = c->relations[i];
        if (relation_depends(v, r)) {
            enum err e = err_set(why, ERR_DEPENDENT_OBJECTS,
                                 "cannot drop %s %.*s because %s %.*s depends on it",
                                 relation_noun(r), STR_ARG(r->name), relation_noun(v),
                                 STR_ARG(v->name));
            err_hint(why, "Use DROP ... CASCADE to drop the dependent objects too.");
            return e;
        }
    }
    return ERR_OK;
}

static enum err drop_relation(struct version *v, struct str name, struct err_detail *why)
{
    const struct relation *r = catalog_relation(&v->pub, name);
    if (r == NULL)
        return catalog_no_relation(&v->pub, name, why);
    TRY(drop_allowed(&v->pub, r, why));
    const struct topic *topic = r->topic;
    const struct view *view = r->view;
    const struct topic *late[VIEW_SOURCES_MAX];
    uint32_t n_late = 0;
    for (uint32_t k = 0; view != NULL && k < view->n_sources; k++)
        if (view->late[k] != NULL)
            late[n_late++] = view->late[k];
    bool takes_topic = r->kind == REL_VIEW || relation_object(r)->owns_topic;
    const struct topic *hidden = catalog_topic(&v->pub, name);
    remove_relation(v, r);
    catalog_functions_sweep(v);
    for (uint32_t k = 0; k < n_late; k++)
        remove_topic_and_raw(v, late[k]);
    /* A topic whose name the relation had taken can be seen again. */
    if (hidden != NULL && hidden != topic && hidden->kind == TOPIC_USER)
        TRY(create_topic_relation(v, topic_object(hidden), catalog_raw_columns, RAW_COLUMNS,
                                  RAW_TIMESTAMP, why));
    if (topic == NULL)
        return ERR_OK;
    if (takes_topic && user_of_topic(&v->pub, topic) == NULL) {
        remove_topic_and_raw(v, topic);
        return ERR_OK;
    }
    if (topic->kind != TOPIC_USER || catalog_relation(&v->pub, topic->name) != NULL)
        return ERR_OK;
    return create_topic_relation(v, topic_object(topic), catalog_raw_columns, RAW_COLUMNS,
                                 RAW_TIMESTAMP, why);
}

static enum err change_security(struct version *v, const struct catalog_change *change,
                                struct err_detail *why)
{
    const struct security *next;
    TRY(security_apply(v->pub.security, change->security, change->n_security, &next, why));
    security_unref(v->pub.security);
    v->pub.security = next;
    return ERR_OK;
}

/* ---- the whole ---- */

static enum err take_numbers(struct version *v, const struct catalog_change *change)
{
    if (change->next_topic > v->pub.next_topic)
        v->pub.next_topic = change->next_topic;
    if (change->number > v->pub.next_relation)
        v->pub.next_relation = change->number;
    return ERR_OK;
}

static enum err take_cluster(struct version *v, struct str id, struct err_detail *why)
{
    bool valid = id.len == CLUSTER_ID_BYTES;
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];
        valid = valid && ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                          (c >= 'A' && c <= 'Z'));
    }
    if (!valid)
        return err_set(why, ERR_INVALID_ARGUMENT, "a cluster's id has %d letters and digits",
                       CLUSTER_ID_BYTES);
    if (v->pub.cluster_id[0] != '\0')
        return err_set(why, ERR_INVALID_ARGUMENT, "the cluster has its id, %s, already",
                       v->pub.cluster_id);
    memcpy(v->pub.cluster_id, id.ptr, id.len);
    return ERR_OK;
}

static enum err apply(struct version *v, const struct catalog_change *change,
                      struct err_detail *why)
{
    switch (change->verb) {
    case CHANGE_CREATE_TOPIC: return create_topic(v, &change->topic, why);
    case CHANGE_DROP_TOPIC: return drop_topic(v, change->name, why);
    case CHANGE_ALTER_TOPIC: return alter_topic(v, &change->topic, why);
    case CHANGE_ALTER_TABLE: return alter_table(v, change, why);
    case CHANGE_CREATE_TABLE: return create_table(v, change, why);
    case CHANGE_CREATE_VIEW: return create_view(v, change, why);
    case CHANGE_CREATE_QUERY: return create_query(v, change, why);
    case CHANGE_DROP_RELATION: return drop_relation(v, change->name, why);
    case CHANGE_CREATE_TYPE: return catalog_create_type(v, change, why);
    case CHANGE_DROP_TYPE: return catalog_drop_type(v, change->name, why);
    case CHANGE_CREATE_FUNCTION: return catalog_create_function(v, change, why);
    case CHANGE_DROP_FUNCTION: return catalog_drop_function(v, change->name, why);
    case CHANGE_NUMBERS: return take_numbers(v, change);
    case CHANGE_SECURITY: return change_security(v, change, why);
    case CHANGE_CLUSTER: return take_cluster(v, change->name, why);
    }
    return ERR_INTERNAL;
}

enum err catalog_extend(const struct catalog *c, const struct catalog_change *change,
                        struct err_detail *why)
{
    struct version *v = version_of(c);
    CHECK(atomic_load(&v->memory.refs) == 1);
    if (!version_reserve(v))
        return no_memory(why);
    v->pub.version++;
    return apply(v, change, why);
}

enum err catalog_apply(const struct catalog *c, const struct catalog_change *change,
                       const struct catalog **out, struct err_detail *why)
{
    struct version *v = version_copy(c);
    if (v == NULL)
        return no_memory(why);
    enum err e = apply(v, change, why);
    if (e != ERR_OK) {
        catalog_unref(&v->pub);
        return e;
    }
    *out = &v->pub;
    return ERR_OK;
}

const struct catalog *catalog_new(void)
{
    uint32_t n;
    const struct system_relation *system = catalog_system(&n);
    struct version *v = version_new(VERSION_SLACK, n + VERSION_SLACK, VERSION_SLACK);
    for (uint32_t i = 0; v != NULL && i < n; i++) {
        struct object *o = object_new(false);
        if (o == NULL) {
            catalog_unref(&v->pub);
            return NULL;
        }
        o->relation = (struct relation){
            .name = str_of(system[i].name), .number = RELATION_SYSTEM + i, .kind = REL_SYSTEM,
            .n_columns = system[i].n_columns, .columns = system[i].columns,
            .event_time = -1, .key = -1,
        };
        add_relation(v, o);
    }
    return v != NULL ? &v->pub : NULL;
}
