#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Every option of every command, once: parsing and --help read this table. */
enum option_kind {
    OPTION_TEXT,
    OPTION_NUMBER,
    OPTION_MEGABYTES,
    OPTION_FLAG,
    OPTION_SWITCH,
    OPTION_FSYNC,
    OPTION_SPEED,
    OPTION_HOST_PORT,
    OPTION_AUTH,
};
struct option {
    const char *name, *value, *help;
    enum option_kind kind;
    bool demo_only;
    size_t offset;
    uint64_t max;
};
#define FIELD(f) offsetof(struct cli_options, f)
static const struct option options[] = {
    {"--data", "DIR", "data directory (made when missing)", OPTION_TEXT, false,
     FIELD(engine.data_dir), 0},
    {"--http", "A:P", "HTTP listener (localhost:3000); off = none", OPTION_TEXT, false,
     FIELD(serve.http), 0},
    {"--kafka", "A:P", "Kafka listener (localhost:9092); off = none", OPTION_TEXT, false,
     FIELD(serve.kafka), 0},
    {"--pg", "A:P", "PostgreSQL listener (localhost:5433); off = none", OPTION_TEXT, false,
     FIELD(serve.pg), 0},
    {"--kafka-advertise", "H:P", "address told to Kafka clients (the one that they came to)",
     OPTION_HOST_PORT, false, FIELD(serve.kafka_advertise), 0},
    {"--kafka-auth", "optional|required",
     "required: Kafka clients must log in and are bound by ACLs (optional)", OPTION_AUTH, false,
     FIELD(serve.kafka_auth), 0},
    {"--kafka-super-users", "A,B", "users that ACLs do not bind", OPTION_TEXT, false,
     FIELD(serve.kafka_super), 0},
    {"--connections", "N", "most connections of each listener (16384)", OPTION_NUMBER, false,
     FIELD(serve.connections_max), CONN_COUNT_MAX},
    {"--threads", "N", "shard threads (number of processors)", OPTION_NUMBER, false,
     FIELD(engine.n_shards), SHARDS_MAX},
    {"--partitions", "N", "partitions of topics made by producing to them (1)", OPTION_NUMBER,
     false, FIELD(engine.default_partitions), PARTITIONS_MAX},
    {"--auto-create-topics", "on|off",
     "whether Kafka clients make a topic by asking for it (on); off = CreateTopics and SQL only",
     OPTION_SWITCH, false, FIELD(engine.auto_create_topics), 0},
    {"--fsync", "group|os",
     "group: acknowledge after a flush that many requests share; os: leave it to the kernel",
     OPTION_FSYNC, false, FIELD(engine.fsync), 0},
    {"--epoch-ms-min", "N",
     "least time between two updates of views under load, in ms (2); more saves processor time",
     OPTION_NUMBER, false, FIELD(engine.epoch_ms_min), EPOCH_MS_MAX},
    {"--c-functions", "DIR",
     "allow functions in C from the shared objects directly in this folder (none)", OPTION_TEXT,
     false, FIELD(c_functions), 0},
    {"--snapshot-mb", "N|off",
     "input between two snapshots of views' state, in MB (off); a restart replays about as much",
     OPTION_MEGABYTES, false, FIELD(engine.snapshot_bytes), 1 << 20},
    {"--insecure", NULL, "accept connections from other addresses than loopback", OPTION_FLAG,
     false, FIELD(serve.insecure), 0},
    {"--once", NULL, "replay all readings as fast as they can be processed, print a summary, exit",
     OPTION_FLAG, true, FIELD(once), 0},
    {"--speed", "X", "event seconds per second (86400: a day a second)", OPTION_SPEED, true,
     FIELD(speed), 0},
    {"--pipeline", "FILE", "the SQL to run (examples/sensors/pipeline.sql)", OPTION_TEXT, true,
     FIELD(pipeline), 0},
    {"--readings", "DIR", "the CSV files to replay (examples/sensors/readings)", OPTION_TEXT, true,
     FIELD(readings), 0},
    {"--from", "TIME", "event time from which --speed counts; what is earlier is loaded at once",
     OPTION_TEXT, true, FIELD(from), 0},
};
enum { N_OPTIONS = sizeof(options) / sizeof(options[0]) };

void cli_usage(const char *command)
{
    printf("usage: tidemill %s [options]\n\n", command);
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const struct option *o = &options[i];
        if (o->demo_only && strcmp(command, "demo") != 0)
            continue;
        char left[64];
        snprintf(left, sizeof(left), "%s %s", o->name, o->value == NULL ? "" : o->value);
        printf("  %-22s %s\n", left, o->help);
    }
}

static bool set_number(const struct option *o, const char *text, uint32_t *out)
{
    int64_t v;
    if (str_to_i64(str_of(text), &v) == ERR_OK && v >= 1 && (uint64_t)v <= o->max) {
        *out = (uint32_t)v;
        return true;
    }
    fprintf(stderr, "tidemill: %s needs a number from 1 to %llu, not \"%s\"\n", o->name,
            (unsigned long long)o->max, text);
    return false;
}

/* A name or address and a port, as clients are told; nothing is looked up. */
static bool set_host_port(const struct option *o, const char *text, const char **out)
{
    const char *colon = strrchr(text, ':');
    int64_t port = 0;
    bool valid = colon != NULL && colon != text && colon - text <= 255 &&
                 str_to_i64(str_of(colon + 1), &port) == ERR_OK && port >= 1 && port <= 65535;
    *out = text;
    if (!valid)
        fprintf(stderr, "tidemill: %s needs a host and a port, e.g. broker.example.org:9092, not "
                        "\"%s\"\n", o->name, text);
    return valid;
}

/* "off" is as many as nobody has. */
static bool set_megabytes(const struct option *o, const char *text, uint64_t *out)
{
    uint32_t n = 0;
    *out = 0;
    if (strcmp(text, "off") == 0)
        return true;
    if (!set_number(o, text, &n))
        return false;
    *out = (uint64_t)n << 20;
    return true;
}

static bool set_option(const struct option *o, const char *text, struct cli_options *out)
{
    void *field = (char *)out + o->offset;
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)field = true;
        return true;
    case OPTION_TEXT:
        *(const char **)field = text;
        return true;
    case OPTION_NUMBER:
        return set_number(o, text, field);
    case OPTION_MEGABYTES:
        return set_megabytes(o, text, field);
    case OPTION_AUTH:
        *(bool *)field = strcmp(text, "required") == 0;
        if (*(bool *)field || strcmp(text, "optional") == 0)
            return true;
        fprintf(stderr, "tidemill: --kafka-auth is optional or required, not \"%s\"\n", text);
        return false;
    case OPTION_HOST_PORT:
        return set_host_port(o, text, field);
    case OPTION_SWITCH:
        *(bool *)field = strcmp(text, "on") == 0;
        if (strcmp(text, "on") == 0 || strcmp(text, "off") == 0)
            return true;
        fprintf(stderr, "tidemill: %s is on or off, not \"%s\"\n", o->name, text);
        return false;
    case OPTION_FSYNC:
        *(enum fsync_policy *)field = strcmp(text, "os") == 0 ? FSYNC_OS : FSYNC_GROUP;
        if (strcmp(text, "os") == 0 || strcmp(text, "group") == 0)
            return true;
        fprintf(stderr, "tidemill: --fsync is group or os, not \"%s\"\n", text);
        return false;
    case OPTION_SPEED: {
        char *end;
        errno = 0;
        double speed = strtod(text, &end);
        *(double *)field = speed;
        if (errno == 0 && *end == '\0' && end != text && speed > 0 && speed < 1e12)
            return true;
        fprintf(stderr, "tidemill: --speed needs a number above 0, not \"%s\"\n", text);
        return false;
    }
    }
    return false;
}

static const struct option *find(const char *name, bool demo)
{
    struct str names[N_OPTIONS];
    for (size_t i = 0; i < N_OPTIONS; i++) {
        names[i] = str_of(options[i].name);
        if (strcmp(options[i].name, name) == 0 && (demo || !options[i].demo_only))
            return &options[i];
    }
    int near = str_nearest(str_of(name), names, N_OPTIONS);
    fprintf(stderr, "tidemill: unknown option \"%s\"%s%s%s\n", name,
            near < 0 ? "" : ". Did you mean ", near < 0 ? "" : options[near].name,
            near < 0 ? "; --help lists them" : "?");
    return NULL;
}

bool cli_parse(int argc, char **argv, const char *command, struct cli_options *out)
{
    bool demo = strcmp(command, "demo") == 0;
    *out = (struct cli_options){.speed = 86400};
    out->serve = (struct serve_options){
        .http = "localhost:3000", .kafka = "localhost:9092", .pg = "localhost:5433"};
    out->engine.auto_create_topics = true;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            out->help = true;
            return true;
        }
        char name[64];
        const char *equals = strchr(argv[i], '=');
        snprintf(name, sizeof(name), "%.*s", equals == NULL ? 63 : (int)(equals - argv[i]),
                 argv[i]);
        const struct option *o = find(name, demo);
        if (o == NULL)
            return false;
        const char *value = equals == NULL ? NULL : equals + 1;
        if (o->kind != OPTION_FLAG && value == NULL && ++i < argc)
            value = argv[i];
        if (o->kind != OPTION_FLAG && value == NULL) {
            fprintf(stderr, "tidemill: %s needs a value: %s %s\n", o->name, o->name, o->value);
            return false;
        }
        if (!set_option(o, value, out))
            return false;
    }
    const char **listeners[] = {&out->serve.http, &out->serve.kafka, &out->serve.pg};
    for (size_t i = 0; i < 3; i++)
        if (strcmp(*listeners[i], "off") == 0)
            *listeners[i] = NULL;
    return true;
}
