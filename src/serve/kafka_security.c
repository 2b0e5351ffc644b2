#include "serve/kafka_int.h"

#include "serve/user_change.h"

/* Changes of users, ACLs and quotas: one change of the catalog for all items of a request. */

struct security_change {
    struct ddl_request ddl;
    struct kafka_request *request;
    void (*done)(struct kafka_request *r, int16_t error, struct str text);
};

static void change_done(struct ddl_request *d)
{
    struct security_change *ch = CONTAINER_OF(d, struct security_change, ddl);
    struct kafka_request *r = ch->request;
    struct str none = {NULL, 0};
    ch->done(r, d->err == ERR_OK ? (int16_t)KAFKA_OK : kafka_error_of(d->err),
             d->err == ERR_OK ? none : kafka_error_text(r, d->err, &d->why));
}

void kafka_security_change(struct kafka_request *r, struct security_item *items, uint32_t n,
                           void (*done)(struct kafka_request *r, int16_t error, struct str text))
{
    struct str none = {NULL, 0};
    if (n <= KAFKA_SECURITY_ITEM_FIRST) {
        done(r, KAFKA_OK, none);
        return;
    }
    struct security_change *ch = kafka_request_alloc(r, 1, sizeof *ch);
    if (ch == NULL)
        return;
    ch->request = r;
    ch->done = done;
    ch->ddl.done = change_done;
    items[0] = user_change_secret(r->shard);
    ch->ddl.change.verb = CHANGE_SECURITY;
    ch->ddl.change.security = items;
    ch->ddl.change.n_security = n;
    shard_ddl(r->shard, &ch->ddl);
}
