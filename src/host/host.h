/* The seam to the world: clock, randomness, files, sockets, workers (threads).
 *
 * Everything the program does to the outside goes through a `struct host`. There are two:
 *   host_real_open()  Linux: epoll, pthreads, pread/pwrite/fdatasync        (host/real_*.c)
 *   host_sim_open()   one thread, one seed: virtual clock, in-memory disk with power cuts and injected
 *                     faults, in-memory network, seeded scheduling of workers  (host/sim_*.c, host/sim.h)
 * A whole server runs on either without knowing which.
 *
 * Worker = what a thread runs: its `turn` is called over and over; a turn does all the work that is ready
 * and blocks only in host_poll(). In simulation a turn never blocks: host_poll() returns what is ready, and the
 * scheduler gives the worker its next turn when something is, or at the deadline it asked for. Everything
 * a worker owns is touched by its own turns only. */
#ifndef TIDEMILL_HOST_HOST_H
#define TIDEMILL_HOST_HOST_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct host;
struct host_file;
struct host_socket;
struct host_worker;

/* ---- clock and randomness (any thread) ---- */

/* Monotonic nanoseconds; only differences mean something. */
int64_t host_mono_ns(struct host *h);
/* Wall clock, microseconds since 1970-01-01 UTC. May jump. */
int64_t host_wall_us(struct host *h);
/* Fills with random bytes (seeded in simulation). */
void host_random(struct host *h, void *out, size_t n);

/* ---- workers ---- */

enum { HOST_WORKERS_MAX = 80, HOST_EVENTS_MAX = 256 };

/* Starts a worker: `turn(arg)` is called until it returns false. `name` is at most 15 bytes (borrowed during the
 * call). Called from the main thread, before host_run. */
enum err host_worker_start(struct host *h, const char *name, bool (*turn)(void *arg), void *arg,
                           struct host_worker **out) MUST_CHECK;
/* Makes the worker's current or next host_poll return soon. Any thread; cheap when it is awake already. */
void host_worker_wake(struct host_worker *w);
/* Blocks until all workers have ended (real), or runs the schedule until they have (simulation). Main thread. */
void host_run(struct host *h);
/* Frees the host. All workers have ended, all files and sockets are closed. */
void host_close(struct host *h);

/* ---- polling: called by a worker's own turn ---- */

enum { HOST_READABLE = 1, HOST_WRITABLE = 2, HOST_HANGUP = 4 };

struct host_event {
    void *tag;       /* what host_watch was given */
    uint32_t ready;  /* HOST_READABLE | HOST_WRITABLE | HOST_HANGUP */
};

/* Waits until a watched socket is ready, the worker is woken, or `deadline_ns` (monotonic; 0 = do not wait,
 * INT64_MAX = no deadline) has come. Returns the number of socket events written (<= max, 0 when woken or timed out). */
size_t host_poll(struct host_worker *w, struct host_event *events, size_t max, int64_t deadline_ns);
/* Watches a socket for `interest` (level-triggered; 0 = only hang-up), or changes the interest. A socket belongs to
 * the worker that watched it first. */
enum err host_watch(struct host_worker *w, struct host_socket *s, uint32_t interest, void *tag) MUST_CHECK;

/* ---- sockets: TCP, non-blocking ---- */

/* Address as text: "127.0.0.1:9092", "[::1]:9092", "localhost:0" (dual stack where possible is the caller's: listen twice). */
enum { HOST_ADDRESS_MAX = 64 };

/* Listens. `port_out` receives the real port (for port 0). ERR_IN_USE with a text that names the address. */
enum err host_listen(struct host *h, const char *address, struct host_socket **out, uint16_t *port_out,
                     struct err_detail *why) MUST_CHECK;
/* Next connection or ERR_BUSY when there is none now, ERR_LIMIT when out of file descriptors. `peer` and `local` (HOST_ADDRESS_MAX bytes each, may
 * be NULL) receive "ip:port". TCP_NODELAY is set. The new socket is unwatched and may be watched by another worker. */
enum err host_accept(struct host_socket *listener, struct host_socket **out, char *peer, char *local) MUST_CHECK;
/* Starts connecting; writable when done, then host_recv/host_send tell. */
enum err host_connect(struct host *h, const char *address, struct host_socket **out,
                      struct err_detail *why) MUST_CHECK;
/* Bytes received (>0), 0 at end of stream, -1 = nothing now, -2 = broken. */
ptrdiff_t host_recv(struct host_socket *s, void *out, size_t n);
/* Bytes sent (may be fewer), -1 = full now, -2 = broken. Never raises SIGPIPE. */
ptrdiff_t host_send(struct host_socket *s, const void *bytes, size_t n);
/* Several pieces in one call (writev); same result as host_send. n <= 64. */
ptrdiff_t host_sendv(struct host_socket *s, const struct str *pieces, size_t n);
/* Sends file bytes without copying them through user space where possible (sendfile). Same result as host_send; 0 when the file ends. */
ptrdiff_t host_send_file(struct host_socket *s, struct host_file *f, uint64_t at, size_t n);
void host_socket_close(struct host_socket *s);

/* ---- files: paths are relative to nothing, plain strings; any thread, one thread per file at a time
 * except that pread (and host_send_file) may run beside one writer on bytes already written ---- */

enum {
    HOST_OPEN_READ = 0,
    HOST_OPEN_WRITE = 1,      /* read and write */
    HOST_OPEN_CREATE = 2,     /* create when missing */
    HOST_OPEN_EXCLUSIVE = 4,  /* fail with ERR_IN_USE when it exists */
    HOST_PATH_MAX = 1024,
};

enum err host_file_open(struct host *h, const char *path, uint32_t flags, struct host_file **out,
                        struct err_detail *why) MUST_CHECK;
void host_file_close(struct host_file *f);
/* Exactly n bytes or an error (ERR_CORRUPT when the file ends before). */
enum err host_file_read(struct host_file *f, uint64_t at, void *out, size_t n) MUST_CHECK;
/* All n bytes or an error: ERR_NO_SPACE, ERR_IO. What was written before the error is unknown. */
enum err host_file_write(struct host_file *f, uint64_t at, const void *bytes, size_t n) MUST_CHECK;
/* Data (and size) durable. ERR_SYNC_FAILED: the state of the bytes is unknown for good. Blocks: helper workers only. */
enum err host_file_sync(struct host_file *f) MUST_CHECK;
enum err host_file_size(struct host_file *f, uint64_t *out) MUST_CHECK;
enum err host_file_truncate(struct host_file *f, uint64_t size) MUST_CHECK;
/* Reserves blocks and sets the size, bytes read as zero: later writes inside need no allocation. */
enum err host_file_allocate(struct host_file *f, uint64_t size) MUST_CHECK;
/* Takes the file's exclusive advisory lock; ERR_IN_USE when another process has it. Released by close. */
enum err host_file_lock(struct host_file *f) MUST_CHECK;
/* Asks the kernel to start writing dirty pages of the range (no wait, no durability promise). */
void host_file_flush_hint(struct host_file *f, uint64_t at, uint64_t n);

/* Replaces `to` atomically; durable only after host_dir_sync of its folder. */
enum err host_rename(struct host *h, const char *from, const char *to) MUST_CHECK;
enum err host_remove(struct host *h, const char *path) MUST_CHECK;          /* a file, or an empty folder */
enum err host_dir_create(struct host *h, const char *path) MUST_CHECK;      /* fine when it exists */
enum err host_dir_sync(struct host *h, const char *path) MUST_CHECK;        /* names durable */
/* Calls `each(arg, name)` for every entry except . and .., in bytewise order (deterministic). `each` returns false to stop. */
enum err host_dir_list(struct host *h, const char *path, bool (*each)(void *arg, const char *name), void *arg) MUST_CHECK;
enum err host_path_exists(struct host *h, const char *path, bool *out) MUST_CHECK;
/* Free bytes of the file system that holds `path`. */
enum err host_disk_free(struct host *h, const char *path, uint64_t *out) MUST_CHECK;

/* ---- process ---- */

/* The Linux host. NULL when out of memory. SIGPIPE is ignored. */
struct host *host_real_open(void);
/* Becomes true after SIGINT or SIGTERM (real host); wakes all workers. */
bool host_stop_requested(struct host *h);
/* Asks for the same from inside the program. Any thread. */
void host_stop_request(struct host *h);

#endif
