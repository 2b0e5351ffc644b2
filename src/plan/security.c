#include "plan/security.h"

#include "base/check.h"
#include "base/mem.h"

#include <math.h>
#include <stdatomic.h>

/* Each item is an object of its own, shared by all values that contain it; a value is three sorted
 * arrays of pointers. Making the next value copies the arrays and touches only what changes. */

struct object {
    struct security_item item;
    atomic_uint refs;
    char text[]; /* what the item's names point to */
};

struct security_memory {
    atomic_uint refs;
};

struct value {
    struct security pub;
    struct security_memory memory;
};

const struct security security_none = {.has_secret = false};

/* The item is the first member; every pointer in a value came from here. */
static struct object *object_of(const struct security_item *item)
{
    union {
        const struct security_item *in;
        struct object *out;
    } p = {item};
    return p.out;
}

static void object_ref(const struct security_item *item)
{
    atomic_fetch_add_explicit(&object_of(item)->refs, 1, memory_order_relaxed);
}

static void object_unref(const struct security_item *item)
{
    struct object *o = object_of(item);
    if (atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) == 1)
        mem_free(o);
}

static struct str text_move(char **at, struct str s)
{
    struct str out = {*at, s.len};
    if (s.len > 0)
        memcpy(*at, s.ptr, s.len);
    *at += s.len;
    return out;
}

static struct object *object_new(const struct security_item *in)
{
    struct str *names[8];
    size_t n = 0, bytes = 0;
    struct security_item copy = *in;
    names[n++] = &copy.user;
    names[n++] = &copy.acl.name;
    names[n++] = &copy.acl.principal;
    names[n++] = &copy.acl.host;
    names[n++] = &copy.quota.entity.user_name;
    names[n++] = &copy.quota.entity.client_name;
    names[n++] = &copy.quota.key;
    names[n++] = &copy.group.group;
    for (size_t i = 0; i < n; i++)
        bytes += names[i]->len;
    struct object *o = mem_alloc(sizeof *o + bytes);
    if (o == NULL)
        return NULL;
    char *at = o->text;
    for (size_t i = 0; i < n; i++)
        *names[i] = text_move(&at, *names[i]);
    copy.remove = false;
    o->item = copy;
    atomic_init(&o->refs, 1);
    return o;
}

/* ---- order ---- */

static int number_cmp(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

int security_entity_cmp(const struct security_entity *a, const struct security_entity *b)
{
    int c = number_cmp(a->user, b->user);
    if (c == 0)
        c = str_cmp(a->user_name, b->user_name);
    if (c == 0)
        c = number_cmp(a->client, b->client);
    return c != 0 ? c : str_cmp(a->client_name, b->client_name);
}

/* Resource, pattern and name alone: what a lookup goes by. */
static int resource_cmp(const struct security_acl *a, int8_t resource, int8_t pattern,
                        struct str name)
{
    int c = number_cmp(a->resource, resource);
    if (c == 0)
        c = number_cmp(a->pattern, pattern);
    return c != 0 ? c : str_cmp(a->name, name);
}

static int acl_cmp(const struct security_acl *a, const struct security_acl *b)
{
    int c = resource_cmp(a, b->resource, b->pattern, b->name);
    if (c == 0)
        c = str_cmp(a->principal, b->principal);
    if (c == 0)
        c = str_cmp(a->host, b->host);
    if (c == 0)
        c = number_cmp(a->operation, b->operation);
    return c != 0 ? c : number_cmp(a->permission, b->permission);
}

static int item_cmp(const struct security_item *a, const struct security_item *b)
{
    int c = 0;
    switch (a->kind) {
    case SECURITY_CREDENTIAL:
        c = str_cmp(a->user, b->user);
        return c != 0 ? c : number_cmp(a->credential.mechanism, b->credential.mechanism);
    case SECURITY_ACL:
        return acl_cmp(&a->acl, &b->acl);
    case SECURITY_QUOTA:
        c = security_entity_cmp(&a->quota.entity, &b->quota.entity);
        return c != 0 ? c : str_cmp(a->quota.key, b->quota.key);
    case SECURITY_GROUP:
        c = str_cmp(a->group.group, b->group.group);
        return c != 0 ? c : number_cmp(a->group.key, b->group.key);
    case SECURITY_SECRET:
        break;
    }
    return c;
}

/* First place whose item is not below `key`. */
static uint32_t place_of(const struct security_list *l, const struct security_item *key)
{
    uint32_t low = 0, high = l->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (item_cmp(l->items[mid], key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static const struct security_item *find(const struct security_list *l,
                                        const struct security_item *key)
{
    uint32_t i = place_of(l, key);
    return i < l->n && item_cmp(l->items[i], key) == 0 ? l->items[i] : NULL;
}

/* ---- values ---- */

static struct value *value_of(const struct security *s)
{
    union {
        const struct security *in;
        struct value *out;
    } p = {s}; /* pub is the first member */
    return p.out;
}

const struct security *security_ref(const struct security *s)
{
    if (s->memory != NULL)
        atomic_fetch_add_explicit(&s->memory->refs, 1, memory_order_relaxed);
    return s;
}

static void list_free(struct security_list *l)
{
    union {
        const struct security_item *const *in;
        void *out;
    } p = {l->items};
    for (uint32_t i = 0; i < l->n; i++)
        object_unref(l->items[i]);
    mem_free(p.out);
}

void security_unref(const struct security *s)
{
    if (s == NULL || s->memory == NULL ||
        atomic_fetch_sub_explicit(&s->memory->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct value *v = value_of(s);
    list_free(&v->pub.credentials);
    list_free(&v->pub.acls);
    list_free(&v->pub.quotas);
    list_free(&v->pub.groups);
    mem_free(v);
}

/* A list being made: the old one's items with room for more. */
struct draft {
    const struct security_item **items;
    uint32_t n, max;
};

static bool draft_begin(struct draft *d, const struct security_list *from, uint32_t more,
                        uint32_t max)
{
    d->items = mem_alloc(((size_t)from->n + more + 1) * sizeof *d->items);
    if (d->items == NULL)
        return false;
    d->n = from->n;
    d->max = max;
    for (uint32_t i = 0; i < from->n; i++) {
        object_ref(from->items[i]);
        d->items[i] = from->items[i];
    }
    return true;
}

static enum err draft_apply(struct draft *d, const struct security_item *item,
                            struct err_detail *why)
{
    struct security_list now = {d->n, d->items};
    uint32_t i = place_of(&now, item);
    bool there = i < d->n && item_cmp(d->items[i], item) == 0;
    if (item->remove) {
        if (there) {
            object_unref(d->items[i]);
            d->n--;
            memmove(&d->items[i], &d->items[i + 1], (d->n - i) * sizeof *d->items);
        }
        return ERR_OK;
    }
    if (!there && d->n >= d->max)
        return err_set(why, ERR_LIMIT, "there are %u already, which is the maximum", d->max);
    struct object *o = object_new(item);
    if (o == NULL)
        return err_set(why, ERR_NO_MEMORY, "out of memory for users, ACLs and quotas");
    if (there) {
        object_unref(d->items[i]);
    } else {
        memmove(&d->items[i + 1], &d->items[i], (d->n - i) * sizeof *d->items);
        d->n++;
    }
    d->items[i] = &o->item;
    return ERR_OK;
}

enum err security_apply(const struct security *s, const struct security_item *items, uint32_t n,
                        const struct security **out, struct err_detail *why)
{
    struct value *v = mem_zalloc(1, sizeof *v);
    struct draft d[SECURITY_SECRET] = {{0}};
    if (v == NULL)
        return err_set(why, ERR_NO_MEMORY, "out of memory for users, ACLs and quotas");
    v->pub = *s;
    v->pub.memory = &v->memory;
    atomic_init(&v->memory.refs, 1);
    bool room = draft_begin(&d[0], &s->credentials, n, SECURITY_CREDENTIALS_MAX) &&
                draft_begin(&d[1], &s->acls, n, SECURITY_ACLS_MAX) &&
                draft_begin(&d[2], &s->quotas, n, SECURITY_QUOTAS_MAX) &&
                draft_begin(&d[3], &s->groups, n, SECURITY_GROUP_SETTINGS_MAX);
    enum err e = room ? ERR_OK
                      : err_set(why, ERR_NO_MEMORY, "out of memory for users, ACLs and quotas");
    for (uint32_t i = 0; i < n && e == ERR_OK; i++) {
        e = security_item_check(&items[i], why);
        if (e == ERR_OK && items[i].kind != SECURITY_SECRET) {
            e = draft_apply(&d[items[i].kind], &items[i], why);
        } else if (e == ERR_OK && !v->pub.has_secret) {
            v->pub.has_secret = true;
            memcpy(v->pub.secret, items[i].secret, sizeof v->pub.secret);
        }
    }
    v->pub.credentials = (struct security_list){d[0].n, d[0].items};
    v->pub.acls = (struct security_list){d[1].n, d[1].items};
    v->pub.quotas = (struct security_list){d[2].n, d[2].items};
    v->pub.groups = (struct security_list){d[3].n, d[3].items};
    if (e == ERR_OK)
        *out = &v->pub;
    else
        security_unref(&v->pub);
    return e;
}

/* ---- what may be kept ---- */

static bool text_ok(struct str s, size_t least)
{
    if (s.len < least || s.len > SECURITY_NAME_BYTES_MAX || !str_utf8_valid(s))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return false;
    return true;
}

static enum err refuse(struct err_detail *why, const char *what)
{
    return err_set(why, ERR_INVALID_ARGUMENT, "%s", what);
}

static enum err credential_check(const struct security_item *item, struct err_detail *why)
{
    const struct scram_credential *c = &item->credential;
    if (!text_ok(item->user, 1))
        return refuse(why, "a user's name has 1 to 255 bytes of text");
    if (c->mechanism != SASL_SCRAM_SHA_256 && c->mechanism != SASL_SCRAM_SHA_512)
        return refuse(why, "credentials are for SCRAM-SHA-256 or SCRAM-SHA-512");
    if (item->remove)
        return ERR_OK;
    if (c->iterations < SCRAM_ITERATIONS_MIN || c->iterations > SCRAM_ITERATIONS_MAX)
        return refuse(why, "iterations must be between 4096 and 16384");
    if (c->salt_len == 0 || c->salt_len > SCRAM_SALT_BYTES_MAX)
        return refuse(why, "a salt has 1 to 128 bytes");
    return ERR_OK;
}

static enum err acl_check(const struct security_acl *a, struct err_detail *why)
{
    if (a->resource < ACL_TOPIC || a->resource > ACL_USER)
        return refuse(why, "an ACL is for a topic (2), group (3), cluster (4), transactional id "
                           "(5), delegation token (6) or user (7)");
    if (a->pattern != PATTERN_LITERAL && a->pattern != PATTERN_PREFIXED)
        return refuse(why, "an ACL's pattern is literal (3) or prefixed (4)");
    if (a->operation < OP_ALL || a->operation > OP_TWO_PHASE_COMMIT)
        return refuse(why, "unknown operation of an ACL");
    if (a->permission != PERMISSION_DENY && a->permission != PERMISSION_ALLOW)
        return refuse(why, "an ACL denies (2) or allows (3)");
    if (a->resource == ACL_CLUSTER && !str_eq(a->name, SECURITY_CLUSTER_NAME))
        return refuse(why, "the only cluster resource is \"kafka-cluster\"");
    if (!text_ok(a->name, 1) || !text_ok(a->host, 1))
        return refuse(why, "an ACL's resource and host have 1 to 255 bytes of text");
    if (!text_ok(a->principal, 6) || !str_starts(a->principal, STR("User:")))
        return refuse(why, "an ACL's principal is \"User:NAME\" or \"User:*\"");
    return ERR_OK;
}

static enum err quota_check(const struct security_item *item, struct err_detail *why)
{
    static const char *const keys[] = {"producer_byte_rate", "consumer_byte_rate",
                                       "request_percentage", "controller_mutation_rate"};
    const struct security_quota *q = &item->quota;
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        known = known || str_eq(q->key, str_of(keys[i]));
    if (!known)
        return refuse(why, "unknown quota: there are producer_byte_rate, consumer_byte_rate, "
                           "request_percentage and controller_mutation_rate");
    if (q->entity.user == PART_ABSENT && q->entity.client == PART_ABSENT)
        return refuse(why, "a quota is for a user, a client id or both");
    if (!text_ok(q->entity.user_name, q->entity.user == PART_NAMED ? 1 : 0) ||
        !text_ok(q->entity.client_name, 0))
        return refuse(why, "names of users and clients have at most 255 bytes of text");
    if (!item->remove && !(isfinite(q->value) && q->value > 0 && q->value < 1e18))
        return refuse(why, "a quota is a number above 0");
    return ERR_OK;
}

static enum err group_check(const struct security_item *item, struct err_detail *why)
{
    const struct security_group_setting *g = &item->group;
    if (g->key >= GROUP_CONFIGS)
        return refuse(why, "unknown setting of a group");
    if (!text_ok(g->group, 1))
        return refuse(why, "a group's name has 1 to 255 bytes of text");
    const struct group_config_def *d = group_config_def(g->key);
    if (!item->remove && (g->value < d->min || g->value > d->max))
        return refuse(why, "the setting of a group is out of its bounds");
    return ERR_OK;
}

enum err security_item_check(const struct security_item *item, struct err_detail *why)
{
    switch (item->kind) {
    case SECURITY_CREDENTIAL:
        return credential_check(item, why);
    case SECURITY_ACL:
        return acl_check(&item->acl, why);
    case SECURITY_QUOTA:
        return quota_check(item, why);
    case SECURITY_GROUP:
        return group_check(item, why);
    case SECURITY_SECRET:
        break;
    }
    return ERR_OK;
}

/* ---- credentials and quotas ---- */

const struct security_item *security_credential(const struct security *s, struct str user,
                                                enum sasl_mechanism mechanism)
{
    struct security_item key = {
        .kind = SECURITY_CREDENTIAL, .user = user, .credential.mechanism = mechanism};
    return find(&s->credentials, &key);
}

bool security_user_exists(const struct security *s, struct str user)
{
    return security_credential(s, user, SASL_SCRAM_SHA_256) != NULL ||
           security_credential(s, user, SASL_SCRAM_SHA_512) != NULL;
}

const struct security_quota *security_quota_of(const struct security *s, struct str user,
                                               struct str client, struct str key)
{
    static const struct {
        enum security_part user, client;
    } order[] = {
        {PART_NAMED, PART_NAMED},    {PART_NAMED, PART_DEFAULT},    {PART_NAMED, PART_ABSENT},
        {PART_DEFAULT, PART_NAMED},  {PART_DEFAULT, PART_DEFAULT},  {PART_DEFAULT, PART_ABSENT},
        {PART_ABSENT, PART_NAMED},   {PART_ABSENT, PART_DEFAULT},
    };
    struct str none = {NULL, 0};
    for (size_t i = 0; i < ARRAY_LEN(order) && s->quotas.n > 0; i++) {
        struct security_item at = {.kind = SECURITY_QUOTA};
        at.quota.entity = (struct security_entity){
            order[i].user, order[i].client, order[i].user == PART_NAMED ? user : none,
            order[i].client == PART_NAMED ? client : none};
        at.quota.key = key;
        const struct security_item *found = find(&s->quotas, &at);
        if (found != NULL)
            return &found->quota;
    }
    return NULL;
}

int32_t security_group_setting(const struct security *s, struct str group,
                               enum group_config_key key, bool *given)
{
    struct security_item at = {.kind = SECURITY_GROUP, .group = {group, key, 0}};
    const struct security_item *found = s->groups.n > 0 ? find(&s->groups, &at) : NULL;
    if (given != NULL)
        *given = found != NULL;
    return found != NULL ? found->group.value : group_config_def(key)->fallback;
}

/* ---- ACLs ---- */

/* Which operations an allowed one brings along. */
static bool implies(int8_t allowed, enum security_operation wanted)
{
    if (allowed == (int8_t)wanted || allowed == OP_ALL)
        return true;
    if (wanted == OP_DESCRIBE)
        return allowed == OP_READ || allowed == OP_WRITE || allowed == OP_DELETE ||
               allowed == OP_ALTER;
    return wanted == OP_DESCRIBE_CONFIGS && allowed == OP_ALTER_CONFIGS;
}

static bool subject_matches(const struct security_acl *a, const struct security_subject *who)
{
    struct str name = {a->principal.ptr + 5, a->principal.len - 5};
    return (str_eq(name, STR("*")) || str_eq(name, who->user)) &&
           (str_eq(a->host, STR("*")) || str_eq(a->host, who->host));
}

enum verdict { VERDICT_NONE, VERDICT_ALLOW, VERDICT_DENY };

static enum verdict acl_verdict(const struct security_acl *a, const struct security_subject *who,
                                enum security_operation op)
{
    if (!subject_matches(a, who))
        return VERDICT_NONE;
    if (a->permission == PERMISSION_DENY)
        return a->operation == OP_ALL || a->operation == (int8_t)op ? VERDICT_DENY : VERDICT_NONE;
    return implies(a->operation, op) ? VERDICT_ALLOW : VERDICT_NONE;
}

/* First ACL at or behind (resource, pattern, name). */
static uint32_t resource_place(const struct security_list *l, int8_t resource, int8_t pattern,
                               struct str name)
{
    uint32_t low = 0, high = l->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (resource_cmp(&l->items[mid]->acl, resource, pattern, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* Looks at the ACLs of exactly this pattern and raises *found. */
static void verdict_at(const struct security_list *l, const struct security_subject *who,
                       enum security_operation op, int8_t resource, int8_t pattern,
                       struct str name, enum verdict *found)
{
    uint32_t i = resource_place(l, resource, pattern, name);
    for (; i < l->n && resource_cmp(&l->items[i]->acl, resource, pattern, name) == 0; i++) {
        enum verdict v = acl_verdict(&l->items[i]->acl, who, op);
        if (v > *found)
            *found = v;
    }
}

static size_t common_prefix(struct str a, struct str b)
{
    size_t n = a.len < b.len ? a.len : b.len, i = 0;
    while (i < n && a.ptr[i] == b.ptr[i])
        i++;
    return i;
}

/* Looks at every prefixed pattern that begins `name`: from the greatest pattern not above the name
 * down, cutting the name to what the neighbour has in common with it. */
static void verdict_prefixes(const struct security_list *l, const struct security_subject *who,
                             enum security_operation op, int8_t resource, struct str name,
                             enum verdict *found)
{
    while (name.len > 0) {
        verdict_at(l, who, op, resource, PATTERN_PREFIXED, name, found);
        uint32_t i = resource_place(l, resource, PATTERN_PREFIXED, name);
        if (i == 0)
            return;
        const struct security_acl *below = &l->items[i - 1]->acl;
        if (below->resource != resource || below->pattern != PATTERN_PREFIXED)
            return;
        name.len = common_prefix(below->name, name);
    }
}

bool security_allows(const struct security *s, const struct security_subject *who,
                     enum security_operation op, enum security_resource resource, struct str name)
{
    enum verdict found = VERDICT_NONE;
    int8_t type = (int8_t)resource;
    verdict_at(&s->acls, who, op, type, PATTERN_LITERAL, name, &found);
    verdict_at(&s->acls, who, op, type, PATTERN_LITERAL, STR("*"), &found);
    verdict_prefixes(&s->acls, who, op, type, name, &found);
    return found == VERDICT_ALLOW;
}

/* Whether everything that the allowing ACL covers is denied by another one. */
static bool dominated(const struct security *s, const struct security_subject *who,
                      enum security_operation op, const struct security_acl *allow)
{
    for (uint32_t i = 0; i < s->acls.n; i++) {
        const struct security_acl *a = &s->acls.items[i]->acl;
        if (a->resource != allow->resource || acl_verdict(a, who, op) != VERDICT_DENY)
            continue;
        bool all = a->pattern == PATTERN_LITERAL && str_eq(a->name, STR("*"));
        bool same = a->pattern == allow->pattern && str_eq(a->name, allow->name);
        bool wide = allow->pattern == PATTERN_LITERAL && str_eq(allow->name, STR("*"));
        if (all || same ||
            (!wide && a->pattern == PATTERN_PREFIXED && str_starts(allow->name, a->name)))
            return true;
    }
    return false;
}

bool security_allows_some(const struct security *s, const struct security_subject *who,
                          enum security_operation op, enum security_resource resource)
{
    for (uint32_t i = 0; i < s->acls.n; i++) {
        const struct security_acl *a = &s->acls.items[i]->acl;
        if (a->resource == (int8_t)resource && acl_verdict(a, who, op) == VERDICT_ALLOW &&
            !dominated(s, who, op, a))
            return true;
    }
    return false;
}

static bool name_passes(const struct security_acl *a, const struct security_acl *f)
{
    bool exact = f->name.ptr == NULL || str_eq(a->name, f->name);
    if (f->pattern == PATTERN_ANY)
        return exact;
    if (f->pattern != PATTERN_MATCH)
        return a->pattern == f->pattern && exact;
    if (f->name.ptr == NULL || exact)
        return true;
    return a->pattern == PATTERN_PREFIXED ? str_starts(f->name, a->name)
                                          : str_eq(a->name, STR("*"));
}

bool security_acl_matches(const struct security_acl *acl, const struct security_acl *f)
{
    return (f->resource == ACL_ANY || f->resource == acl->resource) && name_passes(acl, f) &&
           (f->principal.ptr == NULL || str_eq(f->principal, acl->principal)) &&
           (f->host.ptr == NULL || str_eq(f->host, acl->host)) &&
           (f->operation == OP_ANY || f->operation == acl->operation) &&
           (f->permission == PERMISSION_ANY || f->permission == acl->permission);
}
