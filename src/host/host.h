/* The seam to the world: clock, randomness, files, sockets, workers (threads).
 *
 * Everything the program does to the outside goes through a `struct host`. There are two:
 *   host_real_open()  Linux: epoll, pthreads, pread/pwrite/fdatasync        (host/real_*.c)
 *   host_sim_open()   one thread, one seed: virtual clock, in-memory disk with power cuts and
 * injected
 *                     faults, in-memory network, seeded scheduling of workers  (host/sim_*.c,
 * host/sim.h) A whole server runs on either without knowing which.
 *
 * Worker = what a thread runs: its `turn` is called over and over; a turn does all the work that
 * is ready and blocks only in host_poll(). In simulation a turn never blocks: host_poll() returns
 * what is ready, and the scheduler gives the worker its next turn when something is, or at the
 * deadline it asked for. Everything a worker owns is touched by its own turns only. */
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

/* Starts a worker: from host_run on, `turn(arg)` is called until it returns false. `name` is at
 * most 15 bytes (borrowed during the call). Called from the main thread, before host_run; the
 * worker's object lives until host_close. ERR_LIMIT over HOST_WORKERS_MAX or out of threads,
 * ERR_NO_MEMORY. */
enum err host_worker_start(struct host *h, const char *name, bool (*turn)(void *arg), void *arg,
                           struct host_worker **out) MUST_CHECK;
/* Makes the worker's current or next host_poll return soon. Any thread, also from a signal
 * handler; one atomic exchange when it is awake already. What was written before the wake is
 * visible after the poll. */
void host_worker_wake(struct host_worker *w);
/* Lets the turns begin and blocks until all workers have ended (real), or runs the schedule until
 * they have (simulation). Main thread. */
void host_run(struct host *h);
/* Frees the host. All workers have ended, all files and sockets are closed. */
void host_close(struct host *h);

/* ---- polling: called by a worker's own turn ---- */

enum { HOST_READABLE = 1, HOST_WRITABLE = 2, HOST_HANGUP = 4 };

struct host_event {
    void *tag;       /* what host_watch was given */
    uint32_t ready;  /* HOST_READABLE | HOST_WRITABLE | HOST_HANGUP */
};

/* Waits until a watched socket is ready, the worker is woken, or `deadline_ns` (monotonic; 0 = do
 * not wait, INT64_MAX = no deadline) has come. Returns the number of socket events written (<=
 * max, 0 when woken or timed out); it may return 0 early, so look at the clock before believing in
 * a deadline. A socket has at most one event in a batch. While a batch is being worked off,
 * closing another socket than the one whose event is looked at leaves that other socket's event,
 * with its tag, in the array: keep the tagged object (marked as closed) until the batch is done.
 * The next host_poll never reports it. */
size_t host_poll(struct host_worker *w, struct host_event *events, size_t max, int64_t deadline_ns);
/* Watches a socket for `interest` (level-triggered; 0 = only hang-up), or changes interest and
 * tag. A socket belongs to the worker that watched it first; main may watch for a worker before
 * host_run. HOST_HANGUP (broken both ways) comes unasked and goes on until the socket is closed.
 * ERR_LIMIT, ERR_NO_MEMORY. */
enum err host_watch(struct host_worker *w, struct host_socket *s, uint32_t interest,
                    void *tag) MUST_CHECK;

/* ---- sockets: TCP, non-blocking ---- */

/* Address as text: "127.0.0.1:9092", "[::1]:9092", "localhost:0" (dual stack where possible is the
 * caller's: listen twice). "localhost" is 127.0.0.1; other names are not looked up:
 * ERR_INVALID_ARGUMENT. */
enum { HOST_ADDRESS_MAX = 64 };

/* Listens. `port_out` receives the real port (for port 0). ERR_IN_USE with a text that names the
 * address. */
enum err host_listen(struct host *h, const char *address, struct host_socket **out,
                     uint16_t *port_out, struct err_detail *why) MUST_CHECK;
/* Next connection, or ERR_BUSY when there is none now, or ERR_LIMIT when out of descriptors or
 * memory: the connection was refused (closed) then, and the next call looks at the next one.
 * `peer` and `local` (HOST_ADDRESS_MAX bytes each, may be NULL) receive "ip:port" or "[ip]:port".
 * TCP_NODELAY is set. The new socket is unwatched and may be watched by another worker. */
enum err host_accept(struct host_socket *listener, struct host_socket **out, char *peer,
                     char *local) MUST_CHECK;
/* Starts connecting; writable when done, then host_recv/host_send tell (-1 from host_recv:
 * connected). */
enum err host_connect(struct host *h, const char *address, struct host_socket **out,
                      struct err_detail *why) MUST_CHECK;
/* Bytes received (>0), 0 at end of stream, -1 = nothing now, -2 = broken. */
ptrdiff_t host_recv(struct host_socket *s, void *out, size_t n);
/* Bytes sent (may be fewer), -1 = full now, -2 = broken. Never raises SIGPIPE. */
ptrdiff_t host_send(struct host_socket *s, const void *bytes, size_t n);
/* Several pieces in one call (writev); same result as host_send. n <= 64. */
ptrdiff_t host_sendv(struct host_socket *s, const struct str *pieces, size_t n);
/* Sends file bytes without copying them through user space where possible (sendfile). Same result
 * as host_send; 0 when the file ends. */
ptrdiff_t host_send_file(struct host_socket *s, struct host_file *f, uint64_t at, size_t n);
/* Closes and frees; NULL is fine. The owning worker's turn, or any thread when it was never
 * watched. */
void host_socket_close(struct host_socket *s);

/* ---- files: paths are relative to nothing, plain strings; any thread, one thread per file at a
 * time except that host_file_read and host_send_file may run beside one writer on written bytes */

enum {
    HOST_OPEN_READ = 0,
    HOST_OPEN_WRITE = 1,      /* read and write */
    HOST_OPEN_CREATE = 2,     /* create when missing */
    HOST_OPEN_EXCLUSIVE = 4,  /* fail with ERR_IN_USE when it exists */
    HOST_PATH_MAX = 1024,
};

/* Opens a file; CREATE and EXCLUSIVE need WRITE. ERR_IO (also when it is missing), ERR_IN_USE
 * (EXCLUSIVE), ERR_NO_SPACE, ERR_LIMIT (descriptors), ERR_INVALID_ARGUMENT (path too long),
 * ERR_NO_MEMORY; `why` names the path and the cause. A new name is durable after host_dir_sync of
 * its folder. */
enum err host_file_open(struct host *h, const char *path, uint32_t flags, struct host_file **out,
                        struct err_detail *why) MUST_CHECK;
/* Closes and frees; NULL is fine. Makes nothing durable. */
void host_file_close(struct host_file *f);
/* Exactly n bytes or an error (ERR_CORRUPT when the file ends before). */
enum err host_file_read(struct host_file *f, uint64_t at, void *out, size_t n) MUST_CHECK;
/* All n bytes or an error: ERR_NO_SPACE, ERR_IO. What was written before the error is unknown. */
enum err host_file_write(struct host_file *f, uint64_t at, const void *bytes, size_t n) MUST_CHECK;
/* Data (and size) durable. ERR_SYNC_FAILED: the state of the bytes is unknown for good, and every
 * later sync of this file fails too. Blocks: helper workers only. */
enum err host_file_sync(struct host_file *f) MUST_CHECK;
/* The file's size in bytes. */
enum err host_file_size(struct host_file *f, uint64_t *out) MUST_CHECK;
/* Cuts the file, or grows it by bytes that read as zero. */
enum err host_file_truncate(struct host_file *f, uint64_t size) MUST_CHECK;
/* Grows the file to `size` (never shrinks) by blocks that are written with zeros and synced, so
 * that syncing later writes inside commits no metadata: nearly twice as fast. Costs about 0.6 ms
 * per MB and blocks: helper workers only; grow in steps where that matters. After an error the
 * size is unknown. */
enum err host_file_allocate(struct host_file *f, uint64_t size) MUST_CHECK;
/* Takes the file's exclusive advisory lock; ERR_IN_USE when another process has it. Released by
 * close. */
enum err host_file_lock(struct host_file *f) MUST_CHECK;
/* Writes what is dirty in the range and waits for it, which makes nothing durable: a sync
 * afterwards has less to do at a time. ERR_SYNC_FAILED as from host_file_sync, which then fails
 * too. Blocks: helper workers only. */
enum err host_file_write_out(struct host_file *f, uint64_t at, uint64_t n) MUST_CHECK;

/* Replaces `to` atomically; durable only after host_dir_sync of its folder. All calls by name:
 * ERR_IO (also when something is missing), ERR_NO_SPACE, ERR_INVALID_ARGUMENT (path too long),
 * ERR_NO_MEMORY. */
enum err host_rename(struct host *h, const char *from, const char *to) MUST_CHECK;
/* Removes a file, or an empty folder. */
enum err host_remove(struct host *h, const char *path) MUST_CHECK;
/* Creates one folder (its parent exists); fine when it exists, ERR_IN_USE when that is a file.
 * `why` says which folder, and the system's reason. */
enum err host_dir_create(struct host *h, const char *path, struct err_detail *why) MUST_CHECK;
/* Makes the folder's names durable; ERR_SYNC_FAILED. Blocks: helper workers only. */
enum err host_dir_sync(struct host *h, const char *path) MUST_CHECK;
/* Calls `each(arg, name)` for every entry except . and .., in bytewise order (deterministic), on a
 * copy: the callback may rename and remove. It returns false to stop. ERR_LIMIT over a million
 * entries. */
enum err host_dir_list(struct host *h, const char *path, bool (*each)(void *arg, const char *name),
                       void *arg) MUST_CHECK;
/* Whether there is a file or folder of this name. */
enum err host_path_exists(struct host *h, const char *path, bool *out) MUST_CHECK;
/* Free bytes of the file system that holds `path`. */
enum err host_disk_free(struct host *h, const char *path, uint64_t *out) MUST_CHECK;

/* ---- process ---- */

/* The Linux host. NULL when out of memory. SIGPIPE and SIGXFSZ are ignored; SIGINT and SIGTERM stop
 * the host opened last, until it is closed; one that comes more than a second after the first ends
 * the process at once. */
struct host *host_real_open(void);
/* Becomes true after SIGINT or SIGTERM (real host) or host_stop_request; all workers are woken
 * then. Any thread. */
bool host_stop_requested(struct host *h);
/* Asks for the same from inside the program. Any thread. */
void host_stop_request(struct host *h);

#endif
