/* `tidemill check`: a data directory that no server has open, looked at without changing it: its
 * version, every frame, index and checkpoint of its partitions, its snapshots. */
#ifndef TIDEMILL_ENGINE_DATA_CHECK_H
#define TIDEMILL_ENGINE_DATA_CHECK_H

#include "host/host.h"

struct data_check {
    struct host *host;
    const char *dir;
    /* Moves aside (to NAME.unusable) damaged files without which the next start is as right as
     * with them, and slower: snapshots, indexes, what is known of producers. Never a segment. */
    bool repair;
    /* Is told of each finding, `problem` or not. */
    void (*tell)(void *arg, bool problem, const char *path, const char *text);
    void *arg;
    /* results */
    uint64_t n_problems, n_moved, n_partitions, n_snapshots, log_bytes;
};

/* Looks at everything. ERR_IN_USE when a server has the directory; other errors are those of
 * reading folders. Damage is no error: see n_problems. Blocks. */
enum err data_check_run(struct data_check *c, struct err_detail *why) MUST_CHECK;

#endif
