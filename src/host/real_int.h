/* Private to the Linux host: its objects and the calls its files share. */
#ifndef TIDEMILL_HOST_REAL_INT_H
#define TIDEMILL_HOST_REAL_INT_H

#include "host/host_int.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

/* Whether a wake needs a system call:
 *
 *             poll begins                     wake (writes the eventfd)
 *    AWAKE ---------------> SLEEPING --------------------------------> NOTIFIED
 *      ^  \------------------------------------------------------------->  |
 *      |                      wake (no system call)                        |
 *      +-------------------------------------------------------------------+
 *                     poll ends, or sees NOTIFIED and does not wait
 */
enum real_wake_state { REAL_AWAKE, REAL_SLEEPING, REAL_NOTIFIED };

struct real_worker {
    struct host_worker base;
    struct real_host *host;
    bool (*turn)(void *arg);
    void *arg;
    pthread_t thread;
    bool joined;      /* main thread's */
    bool coarse_poll; /* the kernel lacks epoll_pwait2 */
    int epoll_fd;
    int wake_fd; /* eventfd, edge-triggered: never read */
    atomic_int state;
    struct epoll_event ready[HOST_EVENTS_MAX];
};

struct real_host {
    struct host base;
    pthread_mutex_t gate;      /* guards gate_state */
    pthread_cond_t gate_moved; /* workers wait here until host_run or host_close */
    enum { REAL_GATE_SHUT, REAL_GATE_OPEN, REAL_GATE_ABANDONED } gate_state;
    atomic_bool stop;
    atomic_size_t worker_count; /* published last, for wakes from the signal handler */
    struct real_worker *workers[HOST_WORKERS_MAX];
};

struct real_socket {
    struct host_socket base;
    int fd;
    int spare_fd; /* listeners only: given up to refuse a connection when descriptors run out */
    struct real_worker *worker;
    uint32_t interest;
    void *tag;
};

struct real_file {
    struct host_file base;
    int fd;
    atomic_bool sync_failed; /* the kernel reports a lost write once; we remember it for good */
};

extern const struct host_ops real_ops;

/* The row of the error table for an errno value. */
enum err real_err_of(int code);
/* "cannot VERB OBJECT: STRERROR" plus a hint where one is useful; returns real_err_of(code). */
enum err real_err_set(struct err_detail *why, int code, const char *verb, const char *object);

/* real_socket.c: the entries of the table */
enum err real_watch(struct host_worker *w, struct host_socket *s, uint32_t interest, void *tag);
enum err real_listen(struct host *h, const char *address, struct host_socket **out,
                     uint16_t *port_out, struct err_detail *why);
enum err real_accept(struct host_socket *listener, struct host_socket **out, char *peer,
                     char *local);
enum err real_connect(struct host *h, const char *address, struct host_socket **out,
                      struct err_detail *why);
ptrdiff_t real_recv(struct host_socket *s, void *out, size_t n);
ptrdiff_t real_sendv(struct host_socket *s, const struct str *pieces, size_t n);
ptrdiff_t real_send_file(struct host_socket *s, struct host_file *f, uint64_t at, size_t n);
void real_socket_close(struct host_socket *s);

/* real_file.c: the entries of the table */
enum err real_file_open(struct host *h, const char *path, uint32_t flags, struct host_file **out,
                        struct err_detail *why);
void real_file_close(struct host_file *f);
enum err real_file_read(struct host_file *f, uint64_t at, void *out, size_t n);
enum err real_file_write(struct host_file *f, uint64_t at, const void *bytes, size_t n);
enum err real_file_sync(struct host_file *f);
enum err real_file_size(struct host_file *f, uint64_t *out);
enum err real_file_truncate(struct host_file *f, uint64_t size);
enum err real_file_allocate(struct host_file *f, uint64_t size);
enum err real_file_lock(struct host_file *f);
enum err real_file_write_out(struct host_file *f, uint64_t at, uint64_t n) MUST_CHECK;
enum err real_rename(struct host *h, const char *from, const char *to);
enum err real_remove(struct host *h, const char *path);
enum err real_dir_create(struct host *h, const char *path, struct err_detail *why);
enum err real_dir_sync(struct host *h, const char *path);
enum err real_dir_list(struct host *h, const char *path, bool (*each)(void *arg, const char *name),
                       void *arg);
enum err real_path_exists(struct host *h, const char *path, bool *out);
enum err real_disk_free(struct host *h, const char *path, uint64_t *out);

#endif
