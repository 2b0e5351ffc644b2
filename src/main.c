/* tidemill: the only file that knows everyone. */
#include "cli/cli.h"

#include <stdio.h>

#define TIDEMILL_VERSION "0.1.0"

static void usage(FILE *to)
{
    fprintf(
        to,
        "usage: tidemill serve --data DIR [options]   run the server\n"
        "       tidemill demo [options]               a server with real sensor readings "
        "flowing through\n"
        "       tidemill check DIR [--repair]         what is damaged in a data directory\n"
        "       tidemill version\n"
        "tidemill COMMAND --help lists a command's options.\n");
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    struct cli_options options;
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0) {
        printf("tidemill " TIDEMILL_VERSION "\n");
        return 0;
    }
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 ||
        strcmp(command, "-h") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(command, "check") == 0)
        return cli_check(argc, argv);
    bool serve = strcmp(command, "serve") == 0;
    if (!serve && strcmp(command, "demo") != 0) {
        usage(stderr);
        return 2;
    }
    if (!cli_parse(argc, argv, command, &options))
        return 2;
    if (options.help) {
        cli_usage(command);
        return 0;
    }
    return serve ? cli_serve(&options) : cli_demo(&options);
}
