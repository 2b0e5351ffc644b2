/* The command line: options declared once, and the commands. Main thread. */
#ifndef TIDEMILL_CLI_CLI_H
#define TIDEMILL_CLI_CLI_H

#include "base/err.h"
#include "connect/http_client.h"
#include "engine/engine.h"
#include "serve/connection.h"

/* What the options of `serve` and `demo` say. Strings borrow from argv. */
struct cli_options {
    struct engine_options engine;
    struct serve_options serve;
    const char *c_functions; /* folder of shared objects; NULL = none are allowed */
    bool once;            /* demo */
    double speed;         /* demo: event seconds per second */
    const char *pipeline; /* demo: SQL file */
    const char *readings; /* demo: folder of CSV files */
    const char *from;     /* demo: event time at which the replay begins; NULL = it chooses */
    bool help;
};

/* Parses argv[2..argc) for `command`; prints what is wrong and returns false. */
bool cli_parse(int argc, char **argv, const char *command, struct cli_options *out);
void cli_usage(const char *command);

/* A running server: engine and listeners. */
struct server {
    struct host *host;
    struct engine *engine;
    struct http_client client; /* of the engine's helper threads */
    uint16_t http_port, kafka_port, pg_port;
};
/* Opens the engine and starts the listeners; prints the error and a hint when it cannot. */
bool server_open(const struct cli_options *o, struct server *out);
/* Runs until asked to stop, then closes everything. */
void server_run(struct server *s);

/* The commands; they return the exit status. */
int cli_serve(const struct cli_options *o);
int cli_demo(const struct cli_options *o);
/* Takes argv as main has it, from the command on. */
int cli_check(int argc, char **argv);

#endif
