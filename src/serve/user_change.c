#include "serve/user_change.h"

#include "base/check.h"
#include "base/mem.h"

struct security_item user_change_secret(struct shard *s)
{
    struct security_item item = {.kind = SECURITY_SECRET};
    host_random(engine_host(shard_engine(s)), item.secret, sizeof item.secret);
    return item;
}

static const enum sasl_mechanism mechanisms[] = {SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_512};

/* The secret and one credential per mechanism. */
static enum err set_items(struct shard *s, const struct plan *plan, struct security_item *items,
                          uint32_t *n)
{
    items[(*n)++] = user_change_secret(s);
    for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++) {
        struct security_item *item = &items[(*n)++];
        struct scram_credential *c = &item->credential;
        uint8_t salted[SCRAM_HASH_BYTES_MAX];
        item->kind = SECURITY_CREDENTIAL;
        item->user = plan->name;
        c->mechanism = mechanisms[i];
        c->iterations = SCRAM_ITERATIONS;
        c->salt_len = SCRAM_SALT_BYTES;
        host_random(engine_host(shard_engine(s)), c->salt, SCRAM_SALT_BYTES);
        TRY(scram_salt_password(c->mechanism, plan->text, c->salt, c->salt_len, c->iterations,
                                salted));
        enum err e = scram_credential_keys(c, salted);
        memset(salted, 0, sizeof salted);
        TRY(e);
    }
    return ERR_OK;
}

static enum err drop_items(const struct security *now, const struct plan *plan,
                           struct security_item *items, uint32_t *n, struct err_detail *why)
{
    for (uint32_t i = 0; i < plan->n_drops; i++) {
        struct str name = plan->drops[i];
        if (!security_user_exists(now, name)) {
            if (plan->if_exists)
                continue;
            return err_set(why, ERR_UNDEFINED_OBJECT, "role \"%.*s\" does not exist",
                           STR_ARG(name));
        }
        for (size_t k = 0; k < ARRAY_LEN(mechanisms); k++)
            items[(*n)++] = (struct security_item){.kind = SECURITY_CREDENTIAL,
                                                   .remove = true,
                                                   .user = name,
                                                   .credential.mechanism = mechanisms[k]};
    }
    return ERR_OK;
}

enum err user_change_items(struct shard *s, const struct plan *plan, struct security_item **items,
                           uint32_t *n, struct err_detail *why)
{
    const struct security *now = shard_catalog(s)->security;
    bool exists = security_user_exists(now, plan->name);
    *n = 0;
    *items = NULL;
    if (plan->user_change == USER_CREATE && exists)
        return err_set(why, ERR_DUPLICATE_OBJECT, "role \"%.*s\" already exists",
                       STR_ARG(plan->name));
    if (plan->user_change == USER_ALTER && !exists)
        return err_set(why, ERR_UNDEFINED_OBJECT, "role \"%.*s\" does not exist",
                       STR_ARG(plan->name));
    size_t most = (1 + plan->n_drops) * ARRAY_LEN(mechanisms) + 1;
    *items = mem_zalloc(most, sizeof **items);
    if (*items == NULL)
        return err_set(why, ERR_NO_MEMORY, "out of memory for the user");
    enum err e = plan->user_change == USER_DROP ? drop_items(now, plan, *items, n, why)
                                                : set_items(s, plan, *items, n);
    if (e != ERR_OK) {
        mem_free(*items);
        *items = NULL;
    }
    return e;
}
