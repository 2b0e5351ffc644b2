/* The simulated host: a whole server, its clients and its disk in one thread from one seed.
 *
 * Clients in a test are workers too (host_worker_start + host_connect), so the network, the
 * scheduling and the clock are all under the seed. Virtual time advances when every worker waits.
 * */
#ifndef TIDEMILL_HOST_SIM_H
#define TIDEMILL_HOST_SIM_H

#include "host/host.h"

struct sim_options {
    uint64_t seed;
    int64_t wall_us;              /* wall clock at start */
    uint32_t net_delay_us_max;    /* each chunk takes a random time up to this; 0 = instant */
    uint32_t net_chunk_bytes_max; /* sends and receives are cut at random up to this; 0 = whole */
    uint32_t sync_delay_us_max;   /* how long a file sync takes at most */
    uint64_t disk_bytes_max;      /* disk full above this; 0 = unlimited */
    int64_t run_ns_max;           /* host_run gives up (a livelock) past this virtual time; 0 = 1 hour */
};

/* A host over a fresh empty disk. NULL when out of memory. */
struct host *host_sim_open(const struct sim_options *options);

/* Power cut: forgets sockets and workers, and for every file keeps synced bytes plus a seeded
 * selection of unsynced 512-byte sectors; unsynced names may vanish. Returns a new host over the
 * same disk; the old is gone. */
struct host *host_sim_power_cut(struct host *h, uint64_t seed);
/* Process crash (kill -9): sockets and workers are gone, all written bytes stay. Returns the new
 * host. */
struct host *host_sim_crash(struct host *h);

enum sim_fault {
    SIM_FAULT_NONE,
    SIM_FAULT_ERROR,   /* the call fails with ERR_IO (ERR_SYNC_FAILED for a sync) and has no effect */
    SIM_FAULT_SHORT,   /* a write stores a prefix, then fails */
    SIM_FAULT_FULL,    /* ERR_NO_SPACE */
    SIM_FAULT_STOP,    /* host_run returns at once, as if the process had ended here */
};

/* The n-th file call from now on (1 = next) suffers `fault`; `forever`: and each after it. */
void host_sim_fault_at(struct host *h, uint64_t n, enum sim_fault fault, bool forever);
/* File calls made since the host was opened. */
uint64_t host_sim_file_calls(struct host *h);
/* Flips one byte of a file on the simulated disk. */
enum err host_sim_flip(struct host *h, const char *path, uint64_t at, uint8_t mask) MUST_CHECK;
/* Running hash over every scheduling decision, file call, network chunk and clock reading: equal
 * seeds give equal traces. */
uint64_t host_sim_trace(struct host *h);
/* Jumps the wall clock. */
void host_sim_wall_jump(struct host *h, int64_t delta_us);

#endif
