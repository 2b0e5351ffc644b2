/* tidemill check DIR [--repair] */
#include "cli/cli.h"
#include "engine/data_check.h"

#include <stdio.h>

static void usage(FILE *to)
{
    fprintf(to,
            "usage: tidemill check DIR [--repair]\n\n"
            "Reads every file of a data directory that no server has open, and prints what is "
            "wrong where.\n"
            "Status: 0 nothing is, 1 damage was found, 2 it could not be checked.\n\n"
            "  --repair  move aside (to NAME.unusable) damaged snapshots, indexes and producers' "
            "files, which\n"
            "            are made again from the log; the log itself is never touched\n");
}

static void print(void *arg, bool problem, const char *path, const char *text)
{
    (void)arg;
    printf("%s: %s: %s\n", problem ? "damage" : "note", path, text);
}

int cli_check(int argc, char **argv)
{
    struct data_check c = {.tell = print};
    struct err_detail why = {0};
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            usage(stdout);
            return 0;
        }
        if (strcmp(argv[i], "--repair") == 0)
            c.repair = true;
        else if (argv[i][0] != '-' && c.dir == NULL)
            c.dir = argv[i];
        else {
            usage(stderr);
            return 2;
        }
    }
    if (c.dir == NULL) {
        usage(stderr);
        return 2;
    }
    c.host = host_real_open();
    enum err e = c.host == NULL ? ERR_NO_MEMORY : data_check_run(&c, &why);
    if (c.host != NULL)
        host_close(c.host);
    if (e != ERR_OK) {
        fprintf(stderr, "tidemill: %s\n", err_text(e, &why));
        return 2;
    }
    printf("%llu partitions with %llu bytes, %llu snapshots: %llu damaged files%s\n",
           (unsigned long long)c.n_partitions, (unsigned long long)c.log_bytes,
           (unsigned long long)c.n_snapshots, (unsigned long long)c.n_problems,
           c.n_problems == 0 ? ""
           : c.repair        ? ""
                             : "; --repair moves aside those that are made again");
    return c.n_problems == 0 ? 0 : 1;
}
