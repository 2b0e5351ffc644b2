/* `tidemill demo`: the server, with real sensor readings flowing through it. Main thread. */
#include "base/mem.h"
#include "cli/demo_int.h"
#include "type/datetime.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EXAMPLE_PIPELINE "examples/sensors/pipeline.sql"
#define EXAMPLE_READINGS "examples/sensors/readings"
#define TEMPORARY_FOLDER "/tmp"

enum { FOLDER_DEPTH_MAX = 8, PLACES = 3 };

static void complain(enum err e, const struct err_detail *why)
{
    fprintf(stderr, "tidemill demo: %s\n", err_text(e, why));
    if (why->hint[0] != '\0')
        fprintf(stderr, "hint: %s\n", why->hint);
}

/* ---- the temporary data directory ---- */

struct removal {
    struct host *host;
    const char *folder;
    int depth;
};

static void folder_remove(struct host *h, const char *folder, int depth);

static bool entry_remove(void *arg, const char *name)
{
    const struct removal *r = arg;
    char path[HOST_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", r->folder, name);
    /* A file goes at once; what stays is a folder with something in it. */
    if (host_remove(r->host, path) != ERR_OK && r->depth < FOLDER_DEPTH_MAX)
        folder_remove(r->host, path, r->depth + 1);
    return true;
}

/* Removes a folder and what is in it; links are removed, not followed. */
static void folder_remove(struct host *h, const char *folder, int depth)
{
    struct removal r = {h, folder, depth};
    enum err listed = host_dir_list(h, folder, entry_remove, &r);
    if ((host_remove(h, folder) != ERR_OK || listed != ERR_OK) && depth == 0)
        fprintf(stderr, "tidemill demo: could not remove the temporary folder %s\n", folder);
}

static bool folder_make(struct host *h, char out[HOST_PATH_MAX])
{
    const char *base = getenv("TMPDIR");
    uint64_t tag;
    host_random(h, &tag, sizeof tag);
    snprintf(out, HOST_PATH_MAX, "%s/tidemill-demo-%016llx",
             base != NULL && base[0] == '/' ? base : TEMPORARY_FOLDER, (unsigned long long)tag);
    struct err_detail why = {0};
    enum err e = host_dir_create(h, out, &why);
    if (e == ERR_OK)
        return true;
    fprintf(stderr,
            "tidemill demo: %s\n"
            "hint: name a data directory with --data DIR, or another place with TMPDIR\n",
            err_text(e, &why));
    return false;
}

/* ---- the files that come with the program ---- */

/* Finds `example` beside the program's folder, above it, or here. */
static bool example_find(struct host *h, const char *example, const char *option,
                         char out[HOST_PATH_MAX])
{
    char program[HOST_PATH_MAX] = ".", places[PLACES][HOST_PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 1] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL)
        *slash = '\0';
    int lengths[PLACES] = {
        snprintf(places[0], HOST_PATH_MAX, "%s/../%s", program, example),
        snprintf(places[1], HOST_PATH_MAX, "%s/../../%s", program, example),
        snprintf(places[2], HOST_PATH_MAX, "%s", example),
    };
    for (int i = 0; i < PLACES; i++) {
        bool exists = false;
        if (lengths[i] < HOST_PATH_MAX && host_path_exists(h, places[i], &exists) == ERR_OK &&
            exists) {
            memcpy(out, places[i], HOST_PATH_MAX);
            return true;
        }
    }
    fprintf(stderr, "tidemill demo: cannot find %s; looked for\n", example);
    for (int i = 0; i < PLACES; i++)
        fprintf(stderr, "    %s\n", places[i]);
    fprintf(stderr, "hint: run it from the folder that has examples/, or name the place with %s\n",
            option);
    return false;
}

/* ---- where the listeners are ---- */

static void addresses_set(struct demo *d)
{
    const char *http = d->options->serve.http, *colon = strrchr(http, ':');
    int len = colon == NULL ? 0 : (int)(colon - http);
    bool any = strncmp(http, "0.0.0.0:", 8) == 0 || strncmp(http, "[::]:", 5) == 0;
    bool local = any || strncmp(http, "127.0.0.1:", 10) == 0;
    snprintf(d->address, sizeof d->address, "%.*s:%u", any ? 9 : len, any ? "127.0.0.1" : http,
             d->server->http_port);
    snprintf(d->shown_host, sizeof d->shown_host, "%.*s", local ? 9 : len,
             local ? "localhost" : http);
}

/* ---- the command ---- */

/* Where the replay begins; what is before is history. The second sensor's first reading, so that
 * there is more than one line to look at from the start. */
static bool from_set(struct demo *d)
{
    int64_t first = INT64_MAX, second = INT64_MAX;
    for (uint32_t i = 0; i < d->readings.n; i++) {
        int64_t us = d->readings.series[i].first_us;
        second = us < first ? first : us < second ? us : second;
        first = us < first ? us : first;
    }
    d->from_us = second == INT64_MAX ? first : second;
    const char *from = d->options->from;
    struct err_detail why = {0};
    if (from == NULL || timestamptz_parse(str_of(from), &d->from_us, &why) == ERR_OK)
        return true;
    fprintf(stderr, "tidemill: --from needs a time, such as 2014-02-01, not \"%s\"\n", from);
    return false;
}

/* Reads the pipeline and the readings; `h` is needed for that only. */
static bool files_open(struct demo *d, struct host *h)
{
    static char pipeline[HOST_PATH_MAX], readings[HOST_PATH_MAX];
    struct err_detail why = {0};
    d->pipeline_path = d->options->pipeline;
    if (d->pipeline_path == NULL) {
        if (!example_find(h, EXAMPLE_PIPELINE, "--pipeline FILE", pipeline))
            return false;
        d->pipeline_path = pipeline;
    }
    const char *folder = d->options->readings;
    if (folder == NULL) {
        if (!example_find(h, EXAMPLE_READINGS, "--readings DIR", readings))
            return false;
        folder = readings;
    }
    buf_init(&d->pipeline, SQL_BYTES_MAX);
    enum err e = demo_file_read(h, d->pipeline_path, &d->pipeline, &why);
    if (e == ERR_OK)
        e = demo_readings_open(h, folder, &d->readings, &why);
    if (e != ERR_OK)
        complain(e, &why);
    return e == ERR_OK && from_set(d);
}

/* Serves and replays until the end; the exit status. */
static int demo_serve(struct demo *d, const struct cli_options *o)
{
    struct server server;
    if (!server_open(o, &server))
        return 1;
    d->server = &server;
    addresses_set(d);
    enum err e = host_worker_start(server.host, "demo", demo_replay, d, &d->worker);
    if (e != ERR_OK) {
        fprintf(stderr, "tidemill demo: %s\n", err_text(e, NULL));
        return 1;
    }
    server_run(&server);
    return d->failed ? 1 : 0;
}

int cli_demo(const struct cli_options *o)
{
    if (o->serve.http == NULL) {
        fprintf(stderr,
                "tidemill demo: the demo sends its readings by HTTP: --http cannot be off\n");
        return 2;
    }
    struct cli_options options = *o;
    char folder[HOST_PATH_MAX];
    struct demo *d = mem_zalloc(1, sizeof(*d));
    struct host *files = host_real_open();
    if (d == NULL || files == NULL) {
        fprintf(stderr, "tidemill demo: out of memory\n");
        return 1;
    }
    d->options = &options;
    d->terminal = isatty(STDOUT_FILENO) == 1;
    int status = 1;
    bool temporary = o->engine.data_dir == NULL;
    if (files_open(d, files) && (!temporary || folder_make(files, folder))) {
        if (temporary)
            options.engine.data_dir = folder;
        status = demo_serve(d, &options);
        if (temporary)
            folder_remove(files, folder, 0);
    }
    demo_readings_close(&d->readings);
    buf_deinit(&d->pipeline);
    mem_free(d);
    host_close(files);
    return status;
}
