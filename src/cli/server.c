#include "cli/cli.h"

#include "host/library.h"
#include "serve/http.h"
#include "serve/kafka.h"
#include "serve/pg.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void complain(enum err e, const struct err_detail *why)
{
    fprintf(stderr, "tidemill: %s\n", err_text(e, why));
    if (why->hint[0] != '\0')
        fprintf(stderr, "hint: %s\n", why->hint);
}

typedef enum err (*start_fn)(struct engine *e, const struct serve_options *o, uint16_t *port,
                             struct err_detail *why);

static bool listen_at(struct server *s, const struct serve_options *o, const char *address,
                      start_fn start, uint16_t *port)
{
    struct err_detail why = {0};
    enum err e = address == NULL ? ERR_OK : start(s->engine, o, port, &why);
    if (e != ERR_OK)
        complain(e, &why);
    return e == ERR_OK;
}

bool server_open(const struct cli_options *o, struct server *out)
{
    *out = (struct server){.host = host_real_open()};
    struct engine_options options = o->engine;
    struct err_detail why = {0};
    if (out->host == NULL) {
        fprintf(stderr, "tidemill: out of memory\n");
        return false;
    }
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (options.n_shards == 0)
        options.n_shards = cpus < 1 ? 1 : cpus > SHARDS_MAX ? SHARDS_MAX : (uint32_t)cpus;
    options.fetch = (struct engine_fetch){.get = http_client_get, .arg = &out->client};
    enum err e = libraries_allow(o->c_functions, &why);
    if (e == ERR_OK)
        e = http_client_init(&out->client, getenv("TIDEMILL_SCHEMA_REGISTRY_AUTH"), &why);
    if (e == ERR_OK)
        e = engine_open(out->host, &options, &out->engine, &why);
    if (e != ERR_OK) {
        complain(e, &why);
        return false;
    }
    return listen_at(out, &o->serve, o->serve.http, http_server_start, &out->http_port) &&
           listen_at(out, &o->serve, o->serve.kafka, kafka_server_start, &out->kafka_port) &&
           listen_at(out, &o->serve, o->serve.pg, pg_server_start, &out->pg_port);
}

void server_run(struct server *s)
{
    host_run(s->host);
    engine_close(s->engine);
    host_close(s->host);
}

/* "127.0.0.1:0" with the port that it came to. */
static void print_listener(const char *name, const char *address, uint16_t port)
{
    if (address == NULL)
        return;
    const char *colon = strrchr(address, ':');
    printf("listening %s %.*s:%u\n", name, colon == NULL ? 0 : (int)(colon - address), address,
           port);
}

int cli_serve(const struct cli_options *o)
{
    if (o->engine.data_dir == NULL) {
        fprintf(stderr, "tidemill: serve needs a data directory: tidemill serve --data DIR\n");
        return 2;
    }
    struct server s;
    if (!server_open(o, &s))
        return 1;
    print_listener("http", o->serve.http, s.http_port);
    print_listener("kafka", o->serve.kafka, s.kafka_port);
    print_listener("pg", o->serve.pg, s.pg_port);
    printf("ready\n");
    fflush(stdout);
    server_run(&s);
    return 0;
}
