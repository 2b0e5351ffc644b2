/* Rows in: POST /v1/tables/NAME/rows and POST /data.
 *
 *   body --json_rows_next--> row --ingest_json--> ... (a part per turn) --ingest_commit--> 200
 *                              \ error: the place in the body, nothing is stored, 4xx        */
#include "serve/http_int.h"

#include "wire/json.h"

#include <stdio.h>

struct rows_task {
    struct ingest *ingest;
    struct json_rows rows;
    bool data; /* POST /data: its own answer */
    struct ddl_request ddl;
    struct str value; /* POST /data: the body, kept until the table is there */
    struct err_detail why;
};

static void rows_free(struct http_conn *h)
{
    struct rows_task *t = h->task_state;
    if (t->ingest != NULL)
        ingest_close(t->ingest);
    t->ingest = NULL;
}

static const struct http_task rows_task_kind = {.free = rows_free};

static void rows_committed(void *arg, enum err e, const struct err_detail *why)
{
    struct http_conn *h = arg;
    if (!http_result_came(h))
        return;
    struct rows_task *t = h->task_state;
    if (e != ERR_OK) {
        http_respond_error(h, e, why);
        return;
    }
    uint64_t n = ingest_rows(t->ingest);
    n = t->rows.row > n ? t->rows.row : n;
    atomic_fetch_add_explicit(&http_server_of(h)->rows_in, n, memory_order_relaxed);
    if (t->data) {
        http_respond(h, 200, "application/json", NULL, STR("{\"message\": \"Data processed\"}\n"));
        return;
    }
    char text[64];
    int len = snprintf(text, sizeof text, "{\"rows\": %llu}\n", (unsigned long long)n);
    http_respond(h, 200, "application/json", NULL, (struct str){text, (size_t)len});
}

static void rows_commit(struct http_conn *h)
{
    struct rows_task *t = h->task_state;
    http_result_awaited(h);
    ingest_commit(t->ingest, rows_committed, h);
}

void http_rows_continue(struct http_conn *h, struct str body)
{
    struct rows_task *t = h->task_state;
    size_t until = t->rows.at + HTTP_ROWS_PER_TURN_BYTES;
    t->rows.body = body;
    for (;;) {
        struct str row;
        struct err_detail why = {0};
        enum err e = json_rows_next(&t->rows, &row, &why);
        if (e == ERR_OK && row.ptr == NULL)
            break;
        if (e == ERR_OK) {
            e = ingest_json(t->ingest, row, &why);
            if (e != ERR_OK)
                json_rows_blame(&t->rows, e, &why);
        }
        if (e != ERR_OK) {
            http_respond_error(h, e, &why);
            return;
        }
        if (t->rows.at >= until) {
            http_rows_pause(h);
            return;
        }
    }
    rows_commit(h);
}

static struct rows_task *rows_task_new(struct http_conn *h)
{
    struct rows_task *t = arena_zalloc(&h->arena, 1, sizeof *t);
    if (t == NULL) {
        http_respond_error(h, ERR_NO_MEMORY, NULL);
        return NULL;
    }
    http_task_begin(h, &rows_task_kind, t);
    return t;
}

void http_handle_rows(struct http_conn *h, const struct http_call *call)
{
    struct err_detail why = {0};
    const struct catalog *catalog = shard_catalog(http_shard_of(h));
    const struct relation *table = catalog_relation(catalog, call->argument);
    if (table == NULL) {
        enum err missing = catalog_no_relation(catalog, call->argument, &why);
        http_respond_error(h, missing, &why);
        return;
    }
    struct rows_task *t = rows_task_new(h);
    if (t == NULL)
        return;
    enum err e = ingest_open(http_shard_of(h), table, &t->ingest, &why);
    if (e != ERR_OK) {
        t->ingest = NULL;
        http_respond_error(h, e, &why);
        return;
    }
    json_rows_init(&t->rows, call->body);
    http_rows_continue(h, call->body);
}

/* ---- POST /data ---- */

#define DATA_TABLE "data"

/* The table is there: stores the one value. */
static void data_store(struct http_conn *h)
{
    struct rows_task *t = h->task_state;
    const struct catalog *catalog = shard_catalog(http_shard_of(h));
    const struct relation *table = catalog_relation(catalog, STR(DATA_TABLE));
    enum err e = table == NULL ? catalog_no_relation(catalog, STR(DATA_TABLE), &t->why)
                               : ingest_open(http_shard_of(h), table, &t->ingest, &t->why);
    if (e == ERR_OK)
        e = ingest_json(t->ingest, t->value, &t->why);
    if (e != ERR_OK) {
        struct err_detail why = t->why;
        http_respond_error(h, e, &why);
        return;
    }
    rows_commit(h);
}

static void data_created(struct ddl_request *r)
{
    struct http_conn *h = r->arg;
    if (!http_result_came(h))
        return;
    if (r->err != ERR_OK) {
        struct err_detail why = r->why;
        http_respond_error(h, r->err, &why);
        return;
    }
    data_store(h);
}

void http_handle_data(struct http_conn *h, const struct http_call *call)
{
    struct err_detail why = {0};
    enum err e = json_validate(call->body, &why);
    if (e != ERR_OK) {
        http_respond_error(h, e, &why);
        return;
    }
    struct rows_task *t = rows_task_new(h);
    if (t == NULL)
        return;
    t->data = true;
    t->value = arena_str(&h->arena, call->body);
    if (t->value.ptr == NULL) {
        http_respond_error(h, ERR_NO_MEMORY, NULL);
        return;
    }
    if (catalog_relation(shard_catalog(http_shard_of(h)), STR(DATA_TABLE)) != NULL) {
        data_store(h);
        return;
    }
    struct topic topic = {.name = STR(DATA_TABLE),
                          .n_partitions = 1,
                          .kind = TOPIC_USER};
    t->ddl = (struct ddl_request){
        .change = {.verb = CHANGE_CREATE_TOPIC, .name = topic.name, .topic = topic},
        .if_not_exists = true,
        .done = data_created,
        .arg = h,
    };
    http_result_awaited(h);
    shard_ddl(http_shard_of(h), &t->ddl);
}
