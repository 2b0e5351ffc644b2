/* The simulated host: a whole server, its clients and its disk in one thread from one seed.
 *
 * Clients in a test are workers too (host_worker_start + host_connect), so the network, the
 * scheduling and the clock are all under the seed. Virtual time advances a little with every turn
 * and every look at the clock, and jumps ahead when all workers wait. One thread only. */
#ifndef TIDEMILL_HOST_SIM_H
#define TIDEMILL_HOST_SIM_H

#include "host/host.h"

struct sim_options {
    uint64_t seed;
    int64_t wall_us;              /* wall clock at start */
    uint32_t net_delay_us_max;    /* each chunk takes a random time up to this; 0 = instant */
    uint32_t net_chunk_bytes_max; /* sends and receives are cut at random up to this; 0 = whole */
    uint32_t sync_delay_us_max;   /* how long a file sync takes at most; all workers wait so long */
    uint64_t disk_bytes_max;      /* disk full above this; 0 = unlimited */
    int64_t run_ns_max;           /* host_run gives up past this virtual time; 0 = 1 hour */
};

/* A host over a fresh empty disk: "/" and "." are its one folder. NULL when out of memory. */
struct host *host_sim_open(const struct sim_options *options);

/* Power cut: forgets sockets and workers, and for every file keeps synced bytes plus a seeded
 * selection of unsynced 512-byte sectors; unsynced names may vanish (per folder, the latest changes
 * first; a rename as a whole). Returns a new host over the same disk; NULL when out of memory,
 * all is freed then. Not from within a turn.
 *
 * The old host is dead: it, its workers, files and sockets need not be closed, and host_close of
 * the new one frees them. Until then calls on them do nothing (errors, -2), and closing them is
 * allowed, so that a test can take a dead server's heap objects down by their ordinary way. */
struct host *host_sim_power_cut(struct host *h, uint64_t seed);
/* Process crash (kill -9): the same, but all written bytes and names stay. */
struct host *host_sim_crash(struct host *h);

enum sim_fault {
    SIM_FAULT_NONE,
    SIM_FAULT_ERROR, /* the call fails with ERR_IO (ERR_SYNC_FAILED for a sync), without effect */
    SIM_FAULT_SHORT, /* a write stores a prefix, then fails; other calls as with ERROR */
    SIM_FAULT_FULL,  /* ERR_NO_SPACE from calls that need space, ERR_SYNC_FAILED from a sync */
    /* host_run returns at once, as if the process had ended here: the turn is left in the middle.
     * Outside of host_run the call fails with ERR_SHUTDOWN. Then the host is halted: every call
     * fails, and a crash or a power cut has to follow before anything runs again. */
    SIM_FAULT_STOP,
};

/* The n-th file call from now on (1 = next; 0 = none any more) suffers `fault`; `forever`: and each
 * after it. Calls on files and names count, closing and flush hints do not. */
void host_sim_fault_at(struct host *h, uint64_t n, enum sim_fault fault, bool forever);
/* File calls made since the host was opened. */
uint64_t host_sim_file_calls(struct host *h);
/* Whether SIM_FAULT_STOP has struck. */
bool host_sim_halted(struct host *h);
/* Workers that have not ended. More than 0 after host_run: it was halted, gave up, or all of them
 * wait for each other without a deadline. */
size_t host_sim_workers_left(struct host *h);
/* Flips bits of one byte of a file on the simulated disk, durably. ERR_IO when there is none. */
enum err host_sim_flip(struct host *h, const char *path, uint64_t at, uint8_t mask) MUST_CHECK;
/* Running hash over every scheduling decision, file call, network chunk and clock reading: equal
 * seeds give equal traces. A crash or power cut carries it on. */
uint64_t host_sim_trace(struct host *h);
/* The disk is full above this from now on; 0 = never. */
void host_sim_disk_limit(struct host *h, uint64_t bytes_max);
/* Jumps the wall clock. */
void host_sim_wall_jump(struct host *h, int64_t delta_us);

#endif
