#include "serve/kafka_consumer_subscription.h"

#include "base/mem.h"
#include "serve/kafka_group_int.h"

#include <stdlib.h>

static int name_compare(const void *a, const void *b)
{
    const struct str *x = a, *y = b;
    return str_cmp(*x, *y);
}

static bool subscription_equals(const struct consumer_subscription *s, const struct str *names,
                                uint32_t n, struct str regex)
{
    if (s->n_names != n || (s->regex.ptr == NULL) != (regex.ptr == NULL) ||
        (regex.ptr != NULL && !str_eq(s->regex, regex)))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!str_eq(s->names[i], names[i]))
            return false;
    return true;
}

static void subscription_free(struct kafka_groups *gs, struct consumer_subscription *s)
{
    gs->bytes -= s->bytes + s->n_topics * sizeof *s->topics;
    topic_pattern_free(s->pattern);
    mem_free(s->topics);
    mem_free(s->found);
    mem_free(s);
}

void consumer_subscription_release(struct kafka_groups *gs, struct consumer_subscription *s)
{
    if (s == NULL || --s->n_members > 0)
        return;
    list_remove(&s->link);
    subscription_free(gs, s);
}

static enum err subscription_new(struct kafka_groups *gs, const struct str *names, uint32_t n,
                                 struct str regex, struct consumer_subscription **out,
                                 struct err_detail *why)
{
    size_t bytes = sizeof(struct consumer_subscription) + n * sizeof(struct str) + regex.len;
    for (uint32_t i = 0; i < n; i++)
        bytes += names[i].len;
    if (bytes > GROUP_MEMBER_BYTES_MAX || !kafka_groups_fits(gs, bytes))
        return err_set(why, ERR_LIMIT, "no room for a subscription of %zu bytes", bytes);
    struct consumer_subscription *s = mem_zalloc(1, bytes);
    if (s == NULL)
        return err_set(why, ERR_NO_MEMORY, "no memory for a subscription");
    s->names = (struct str *)(void *)(s + 1);
    s->n_names = n;
    char *at = (char *)(s->names + n);
    for (uint32_t i = 0; i < n; i++)
        s->names[i] = kafka_group_pack(&at, names[i]);
    s->regex = kafka_group_pack(&at, regex);
    s->dirty = true;
    if (regex.ptr != NULL) {
        enum err e = topic_pattern_new(s->regex, &s->pattern, why);
        if (e != ERR_OK) {
            mem_free(s);
            return e;
        }
        bytes += topic_pattern_bytes(s->pattern);
    }
    s->bytes = bytes;
    gs->bytes += bytes;
    *out = s;
    return ERR_OK;
}

/* Sorted and without repetition, in memory of its own. */
static struct str *names_sorted(const struct str *names, uint32_t *n)
{
    struct str *sorted = mem_alloc((*n + 1) * sizeof *sorted);
    if (sorted == NULL)
        return NULL;
    if (*n > 0)
        memcpy(sorted, names, *n * sizeof *sorted);
    qsort(sorted, *n, sizeof *sorted, name_compare);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < *n; i++)
        if (kept == 0 || !str_eq(sorted[kept - 1], sorted[i]))
            sorted[kept++] = sorted[i];
    *n = kept;
    return sorted;
}

enum err consumer_subscription_get(struct kafka_groups *gs, struct consumer_group *cg,
                                   const struct str *names, uint32_t n_names, struct str regex,
                                   struct consumer_subscription **out, struct err_detail *why)
{
    if (n_names > CONSUMER_NAMES_MAX)
        return err_set(why, ERR_LIMIT, "a subscription to %u topics (maximum %d)", n_names,
                       CONSUMER_NAMES_MAX);
    if (regex.len == 0)
        regex = (struct str){NULL, 0}; /* no pattern any more */
    struct str *sorted = names_sorted(names, &n_names);
    if (sorted == NULL)
        return err_set(why, ERR_NO_MEMORY, "no memory for a subscription");
    enum err e = ERR_OK;
    *out = NULL;
    LIST_FOR (it, &cg->subscriptions) {
        struct consumer_subscription *s = LIST_ENTRY(it, struct consumer_subscription, link);
        if (subscription_equals(s, sorted, n_names, regex))
            *out = s;
    }
    if (*out == NULL) {
        e = subscription_new(gs, sorted, n_names, regex, out, why);
        if (e == ERR_OK)
            list_add(&cg->subscriptions, &(*out)->link);
    }
    mem_free(sorted);
    return e;
}

/* ---- resolving ---- */

static int number_compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

uint32_t consumer_numbers_unique(uint32_t *numbers, uint32_t n)
{
    uint32_t kept = 0;
    if (n > 0)
        qsort(numbers, n, sizeof *numbers, number_compare);
    for (uint32_t i = 0; i < n; i++)
        if (kept == 0 || numbers[kept - 1] != numbers[i])
            numbers[kept++] = numbers[i];
    return kept;
}

static bool found_add(struct consumer_subscription *s, uint32_t number)
{
    if (s->n_found == s->found_cap) {
        uint32_t cap = s->found_cap == 0 ? 16 : s->found_cap * 2;
        uint32_t *grown = mem_realloc(s->found, cap * sizeof *grown);
        if (grown == NULL)
            return false;
        s->found = grown;
        s->found_cap = cap;
    }
    s->found[s->n_found++] = number;
    return true;
}

/* What was found becomes what it is. */
static enum err found_take(struct kafka_groups *gs, struct consumer_subscription *s)
{
    uint32_t n = consumer_numbers_unique(s->found, s->n_found);
    s->dirty = false;
    if (n > s->n_topics && !kafka_groups_fits(gs, (n - s->n_topics) * sizeof *s->topics))
        return ERR_LIMIT; /* it stays as it was */
    gs->bytes -= s->n_topics * sizeof *s->topics;
    gs->bytes += n * sizeof *s->topics;
    mem_free(s->topics);
    s->topics = s->found;
    s->n_topics = n;
    s->found = NULL;
    s->found_cap = 0;
    return ERR_OK;
}

enum err consumer_subscription_resolve(struct kafka_groups *gs, struct consumer_subscription *s,
                                       const struct catalog *c, int64_t *budget, bool *done)
{
    *done = false;
    if (s->next == 0) {
        s->n_found = 0;
        *budget -= s->n_names;
        for (uint32_t i = 0; i < s->n_names; i++) {
            const struct topic *t = catalog_topic(c, s->names[i]);
            if (t != NULL && !found_add(s, t->number))
                return ERR_NO_MEMORY;
        }
    }
    /* Internal topics are subscribed to by name only, as in Kafka. */
    for (; s->pattern != NULL && s->next < c->n_topics; s->next++) {
        if (*budget <= 0)
            return ERR_OK;
        const struct topic *t = c->topics[s->next];
        if (t->kind == TOPIC_INTERNAL)
            continue;
        uint32_t steps;
        bool matches = topic_pattern_matches(s->pattern, t->name, &steps);
        *budget -= steps > TOPIC_PATTERN_STEPS_FEW ? (int64_t)steps : CONSUMER_PATTERN_COST;
        if (matches && !found_add(s, t->number)) {
            s->next = 0;
            return ERR_NO_MEMORY;
        }
    }
    s->next = 0;
    *done = true;
    return found_take(gs, s);
}
