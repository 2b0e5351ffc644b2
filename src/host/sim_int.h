/* Private to the simulated host: its objects and the calls its files share. One thread. */
#ifndef TIDEMILL_HOST_SIM_INT_H
#define TIDEMILL_HOST_SIM_INT_H

#include "base/list.h"
#include "host/address.h"
#include "host/host_int.h"
#include "host/sim.h"

#include <setjmp.h>

/* ---- sim_rng.c: xoshiro256** (Blackman and Vigna, 2018) ---- */

struct sim_rng {
    uint64_t s[4];
};

/* Fills the state from a seed (splitmix64). */
void sim_rng_init(struct sim_rng *r, uint64_t seed);
/* The next 64 random bits. */
uint64_t sim_rng_next(struct sim_rng *r);
/* A number from 0 to n - 1; n > 0. */
uint64_t sim_rng_below(struct sim_rng *r, uint64_t n);

/* ---- sim_disk.c: what lies on the disk, now and after a power cut ---- */

enum {
    SIM_PAGE_BYTES = 4096,
    SIM_SECTOR_BYTES = 512, /* what a power cut keeps or loses as a whole */
    SIM_SECTORS = SIM_PAGE_BYTES / SIM_SECTOR_BYTES,
    SIM_NAME_MAX = 255,
    SIM_OPS_MAX = 4096, /* names not yet durable; more push the oldest to the disk */
};
#define SIM_FILE_BYTES_MAX ((uint64_t)4 << 30)

struct sim_page {
    uint8_t bytes[SIM_PAGE_BYTES];
    uint8_t *synced; /* the durable image of a dirty page; NULL = zeros */
    uint8_t dirty;   /* a bit per sector written since the last sync */
};

struct sim_inode;

struct sim_name {
    char *name;
    struct sim_inode *inode; /* counted in refs */
};

/* Names of a folder, in bytewise order. */
struct sim_names {
    struct sim_name *at;
    size_t n, cap;
};

struct sim_inode {
    struct list link; /* in sim_disk.inodes */
    uint32_t refs;    /* names (now and synced), pending operations, open files */
    uint32_t in_use;  /* names now, and open files: its size counts on the disk while > 0 */
    bool is_dir;
    bool stopped; /* power cut: a change of this folder was dropped, so later ones are too */

    uint64_t size, synced_size;
    uint64_t cut_to; /* smallest size since the last sync; UINT64_MAX = never cut */
    struct sim_page **pages;
    size_t page_cap;
    size_t dirty_from, dirty_to; /* pages */
    const void *lock_owner;

    struct sim_names now, synced; /* folders */
};

/* A change of names that is not durable yet: from leaves its folder, to enters its own. */
struct sim_op {
    struct sim_inode *from_dir, *to_dir; /* either may be NULL */
    char *from, *to;
    struct sim_inode *inode; /* what `to` is */
    bool apply;
};

struct sim_disk {
    struct list inodes; /* in order of creation */
    struct sim_inode *root;
    struct sim_op *ops;
    size_t op_count;
    uint64_t used_bytes, bytes_max;
};

/* An empty disk, or NULL. */
struct sim_disk *sim_disk_new(uint64_t bytes_max);
/* Frees the disk; no file is open. */
void sim_disk_free(struct sim_disk *d);

/* Where a path leads: its folder and last name, and what is there (NULL = nothing). The root has
 * no folder. */
struct sim_place {
    struct sim_inode *dir;
    struct sim_inode *inode;
    char name[SIM_NAME_MAX + 1];
};
/* ERR_IO when a folder on the way is missing, ERR_INVALID_ARGUMENT for "..". */
enum err sim_disk_find(struct sim_disk *d, const char *path, struct sim_place *out) MUST_CHECK;

/* Creates an empty file or folder at a free place. */
enum err sim_disk_create(struct sim_disk *d, struct sim_place *at, bool is_dir) MUST_CHECK;
/* Removes the name; a folder must be empty. */
enum err sim_disk_remove(struct sim_disk *d, const struct sim_place *at) MUST_CHECK;
enum err sim_disk_rename(struct sim_disk *d, const struct sim_place *from,
                         const struct sim_place *to) MUST_CHECK;
/* Makes the names of a folder durable, with whatever they depend on. */
enum err sim_disk_sync_dir(struct sim_disk *d, struct sim_inode *dir) MUST_CHECK;

/* An open file keeps its inode. */
void sim_inode_hold(struct sim_inode *i);
void sim_inode_release(struct sim_disk *d, struct sim_inode *i);

/* n bytes at `at`, all within the size. */
void sim_inode_read(const struct sim_inode *i, uint64_t at, void *out, size_t n);
/* Writes what fits; ERR_NO_SPACE when that is not all. */
enum err sim_inode_write(struct sim_disk *d, struct sim_inode *i, uint64_t at, const void *bytes,
                         size_t n) MUST_CHECK;
enum err sim_inode_resize(struct sim_disk *d, struct sim_inode *i, uint64_t size) MUST_CHECK;
/* Makes bytes and size durable. */
void sim_inode_sync(struct sim_inode *i);
/* Flips bits on the disk and in the cache; `at` within the size. */
enum err sim_inode_flip(struct sim_inode *i, uint64_t at, uint8_t mask) MUST_CHECK;

/* Loses power: the disk holds what was durable and a random choice of the rest. No file is open. */
enum err sim_disk_power_cut(struct sim_disk *d, struct sim_rng *r) MUST_CHECK;

/* ---- the host ---- */

struct sim_worker {
    struct host_worker base;
    struct sim_host *host;
    bool (*turn)(void *arg);
    void *arg;
    uint32_t id;
    bool ended;
    bool woken;
    bool polled;         /* in this turn */
    bool found;          /* host_poll had something in this turn, or its deadline had come */
    unsigned idle_turns; /* turns in a row that found nothing */
    int64_t deadline_ns;
    struct list sockets; /* watched */
};

struct sim_host {
    struct host base;
    struct sim_options options;
    struct sim_rng rng;
    uint64_t trace;
    int64_t now_ns;
    int64_t wall_offset_us; /* wall = offset + now */
    bool dead;              /* the process is gone; a newer host goes on over the disk */
    bool halted;            /* SIM_FAULT_STOP has struck */
    bool running;
    bool stop;
    jmp_buf halt; /* back into host_run */

    struct sim_worker *workers[HOST_WORKERS_MAX];
    size_t worker_count;
    struct list sockets;
    uint16_t next_port;

    struct sim_disk *disk;
    struct list files;
    uint64_t file_calls;
    uint64_t fault_call; /* number of the file call that suffers; 0 = none */
    enum sim_fault fault;
    bool fault_forever;

    struct sim_host *ancestor; /* the dead host before this one */
};

extern const struct host_ops sim_ops;

enum sim_event {
    SIM_TURN = 1,
    SIM_CLOCK,
    SIM_RANDOM,
    SIM_WAKE,
    SIM_FILE_CALL,
    SIM_SYNC_TIME,
    SIM_NET,
};
/* Mixes a decision into the trace. */
void sim_trace(struct sim_host *h, enum sim_event event, uint64_t value);
/* A random time from 0 to `us_max` microseconds, in ns. */
int64_t sim_delay_ns(struct sim_host *h, uint32_t us_max);

/* ---- sim_net.c ---- */

struct sim_socket;
/* Readiness bits of a watched socket at the host's time, within its interest. */
uint32_t sim_socket_ready(struct sim_socket *s);
/* When readiness may change by itself next; INT64_MAX = not by itself. */
int64_t sim_socket_next_ns(struct sim_socket *s);
struct sim_socket *sim_socket_of_link(struct list *worker_link);
void *sim_socket_tag(const struct sim_socket *s);
/* Frees all sockets. */
void sim_net_free(struct sim_host *h);

/* The entries of the table. */
enum err sim_watch(struct host_worker *w, struct host_socket *s, uint32_t interest, void *tag);
enum err sim_listen(struct host *h, const char *address, struct host_socket **out,
                    uint16_t *port_out, struct err_detail *why);
enum err sim_accept(struct host_socket *listener, struct host_socket **out, char *peer,
                    char *local);
enum err sim_connect(struct host *h, const char *address, struct host_socket **out,
                     struct err_detail *why);
ptrdiff_t sim_recv(struct host_socket *s, void *out, size_t n);
ptrdiff_t sim_sendv(struct host_socket *s, const struct str *pieces, size_t n);
ptrdiff_t sim_send_file(struct host_socket *s, struct host_file *f, uint64_t at, size_t n);
void sim_socket_close(struct host_socket *s);

/* ---- sim_file.c ---- */

/* The process dies: its files are closed for the disk, its locks released. The objects stay. */
void sim_files_die(struct sim_host *h);
/* Frees all file objects. */
void sim_files_free(struct sim_host *h);
/* Up to n bytes at `at` as one file call, for host_send_file; 0 at the end, -2 on error. */
ptrdiff_t sim_file_peek(struct host_file *f, uint64_t at, void *out, size_t n);

/* The entries of the table. */
enum err sim_file_open(struct host *h, const char *path, uint32_t flags, struct host_file **out,
                       struct err_detail *why);
void sim_file_close(struct host_file *f);
enum err sim_file_read(struct host_file *f, uint64_t at, void *out, size_t n);
enum err sim_file_write(struct host_file *f, uint64_t at, const void *bytes, size_t n);
enum err sim_file_sync(struct host_file *f);
enum err sim_file_size(struct host_file *f, uint64_t *out);
enum err sim_file_truncate(struct host_file *f, uint64_t size);
enum err sim_file_allocate(struct host_file *f, uint64_t size);
enum err sim_file_lock(struct host_file *f);
enum err sim_file_write_out(struct host_file *f, uint64_t at, uint64_t n) MUST_CHECK;
enum err sim_rename(struct host *h, const char *from, const char *to);
enum err sim_remove(struct host *h, const char *path);
enum err sim_dir_create(struct host *h, const char *path, struct err_detail *why);
enum err sim_dir_sync(struct host *h, const char *path);
enum err sim_dir_list(struct host *h, const char *path, bool (*each)(void *arg, const char *name),
                      void *arg);
enum err sim_path_exists(struct host *h, const char *path, bool *out);
enum err sim_free_bytes(struct host *h, const char *path, uint64_t *out);

#endif
