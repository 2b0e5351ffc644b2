/* A catalog as the changes that make it: topics that belong to no relation first, then tables and
 * views in the order of their numbers, which is the order in which they were made. A relation reads
 * only what was there before it, so every change finds what it needs; alterations of tables have
 * numbers among theirs, and so do functions, also those that were replaced since and that a view is
 * bound with. Users, ACLs and quotas come
 * last, so many to a change that its record stays small. */
#include "base/check.h"
#include "base/mem.h"
#include "plan/catalog_int.h"

#include <stdlib.h>

enum { SECURITY_ITEMS_PER_SNAPSHOT_CHANGE = 500 };

typedef enum err (*change_fn)(void *arg, const struct catalog_change *change);

static int compare_topics(const void *a, const void *b)
{
    const struct topic *const *x = a;
    const struct topic *const *y = b;
    return (*x)->number < (*y)->number ? -1 : (*x)->number > (*y)->number;
}

/* Topics that a relation makes come with it. */
static enum err standing_topics(const struct catalog *c, change_fn each, void *arg)
{
    const struct topic **made = mem_zalloc((size_t)c->n_relations + 1, sizeof(*made));
    uint32_t n = 0;
    enum err e = ERR_OK;
    if (made == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < c->n_relations; i++)
        if (catalog_owns_topic(c->relations[i]))
            made[n++] = c->relations[i]->topic;
    qsort(made, n, sizeof(*made), compare_topics);
    for (uint32_t i = 0; i < c->n_topics && e == ERR_OK; i++) {
        const struct topic *t = c->memory->topics_by_number[i];
        bool of_view = t->kind == TOPIC_CHANGELOG || t->kind == TOPIC_LATE;
        if (of_view || bsearch(&t, made, n, sizeof(*made), compare_topics) != NULL)
            continue;
        struct catalog_change change = {
            .verb = CHANGE_CREATE_TOPIC, .name = t->name, .topic = *t};
        e = each(arg, &change);
    }
    mem_free(made);
    return e;
}

static enum err made_relation(const struct relation *r, change_fn each, void *arg)
{
    struct catalog_change change = {
        .name = r->name, .sql = r->sql, .dialect = r->dialect, .number = r->number};
    struct topic late[VIEW_SOURCES_MAX];
    if (r->kind == REL_VIEW) {
        change.verb = CHANGE_CREATE_VIEW;
        change.topic = *r->topic;
        change.late = late;
        for (uint32_t k = 0; k < r->view->n_sources; k++)
            if (r->view->late[k] != NULL)
                late[change.n_late++] = *r->view->late[k];
        return each(arg, &change);
    }
    if (r->kind == REL_QUERY) {
        change.verb = CHANGE_CREATE_QUERY;
        return each(arg, &change);
    }
    change.verb = CHANGE_CREATE_TABLE;
    if (catalog_owns_topic(r))
        change.topic = *r->topic;
    return each(arg, &change);
}

/* Items gathered into one change after the other; the first of each is the secret, if there is one.
 */
struct security_batch {
    change_fn each;
    void *arg;
    struct security_item *items;
    uint32_t first, n;
};

static enum err batch_end(struct security_batch *b)
{
    struct catalog_change change = {
        .verb = CHANGE_SECURITY, .security = b->items, .n_security = b->n};
    enum err e = b->n > b->first ? b->each(b->arg, &change) : ERR_OK;
    b->n = b->first;
    return e;
}

static enum err batch_add(struct security_batch *b, const struct security_list *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        if (b->n == SECURITY_ITEMS_PER_SNAPSHOT_CHANGE)
            TRY(batch_end(b));
        b->items[b->n++] = *l->items[i];
    }
    return ERR_OK;
}

static enum err security_items(const struct security *s, change_fn each, void *arg)
{
    uint32_t first = s->has_secret ? 1 : 0;
    struct security_batch b = {.each = each, .arg = arg, .first = first, .n = first};
    b.items = mem_zalloc(SECURITY_ITEMS_PER_SNAPSHOT_CHANGE, sizeof *b.items);
    if (b.items == NULL)
        return ERR_NO_MEMORY;
    b.items[0].kind = SECURITY_SECRET;
    memcpy(b.items[0].secret, s->secret, sizeof s->secret);
    enum err e = batch_add(&b, &s->credentials);
    if (e == ERR_OK)
        e = batch_add(&b, &s->acls);
    if (e == ERR_OK)
        e = batch_add(&b, &s->quotas);
    if (e == ERR_OK)
        e = batch_add(&b, &s->groups);
    if (e == ERR_OK)
        e = batch_end(&b);
    mem_free(b.items);
    return e;
}

/* ---- alterations, between the relations that were made before and after ---- */

struct altered {
    const struct relation *table;
    const struct table_alteration *alteration;
};

static int compare_altered(const void *a, const void *b)
{
    const struct altered *x = a;
    const struct altered *y = b;
    return x->alteration->number < y->alteration->number
               ? -1
               : x->alteration->number > y->alteration->number;
}

/* In the order in which they were done; the caller frees the list. */
static enum err alterations(const struct catalog *c, struct altered **out, uint32_t *n)
{
    size_t room = 1;
    *n = 0;
    for (uint32_t i = 0; i < c->n_relations; i++)
        room += c->relations[i]->n_alterations;
    *out = mem_zalloc(room, sizeof **out);
    if (*out == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < c->n_relations; i++)
        for (uint32_t k = 0; k < c->relations[i]->n_alterations; k++)
            (*out)[(*n)++] =
                (struct altered){c->relations[i], &c->relations[i]->alterations[k]};
    qsort(*out, *n, sizeof **out, compare_altered);
    return ERR_OK;
}

static enum err relations_and_alterations(const struct catalog *c, change_fn each, void *arg)
{
    struct altered *list;
    uint32_t n, at = 0, f = 0;
    TRY(alterations(c, &list, &n));
    enum err e = ERR_OK;
    for (uint32_t i = 0; i <= c->n_relations && e == ERR_OK; i++) {
        const struct relation *r =
            i < c->n_relations ? c->memory->relations_by_number[i] : NULL;
        for (; e == ERR_OK && at < n && (r == NULL || list[at].alteration->number < r->number);
             at++) {
            struct catalog_change change = {.verb = CHANGE_ALTER_TABLE,
                                            .name = list[at].table->name,
                                            .sql = list[at].alteration->sql,
                                            .dialect = list[at].alteration->dialect,
                                            .number = list[at].alteration->number};
            e = each(arg, &change);
        }
        for (; e == ERR_OK && f < c->n_functions &&
               (r == NULL || c->functions[f]->number < r->number);
             f++) {
            const struct user_function *u = c->functions[f];
            struct catalog_change change = {.verb = CHANGE_CREATE_FUNCTION, .name = u->signature,
                                            .sql = u->sql, .dialect = u->dialect,
                                            .number = u->number,
                                            .has_digest = u->language == FUNCTION_C};
            memcpy(change.digest, u->digest, sizeof change.digest);
            e = each(arg, &change);
        }
        if (e == ERR_OK && r != NULL && r->number < RELATION_OF_TOPIC)
            e = made_relation(r, each, arg); /* the others follow from their topics */
    }
    mem_free(list);
    return e;
}

enum err catalog_snapshot(const struct catalog *c, change_fn each, void *arg)
{
    const struct catalog_change numbers = {
        .verb = CHANGE_NUMBERS, .number = c->next_relation, .next_topic = c->next_topic};
    TRY(each(arg, &numbers));
    if (c->cluster_id[0] != '\0') {
        const struct catalog_change cluster = {.verb = CHANGE_CLUSTER,
                                               .name = str_of(c->cluster_id)};
        TRY(each(arg, &cluster));
    }
    TRY(catalog_types_snapshot(c, each, arg));
    TRY(standing_topics(c, each, arg));
    TRY(relations_and_alterations(c, each, arg));
    return security_items(c->security, each, arg);
}
