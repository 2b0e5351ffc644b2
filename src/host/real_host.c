/* The Linux host: process, clock, workers and polling. */
#include "base/check.h"
#include "base/mem.h"
#include "host/real_int.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    NS_PER_S = 1000000000,
    NS_PER_MS = 1000000,
    NS_PER_US = 1000,
    US_PER_S = 1000000,
    STOP_PATIENCE_NS = NS_PER_S, /* a second signal after this ends the process */
    SIGNAL_EXIT_STATUS = 128,    /* plus the signal's number, as a shell has it */
};

/* The host that SIGINT and SIGTERM stop: the one opened last. */
static struct real_host *_Atomic signal_host;

/* ---- errors ---- */

enum err real_err_of(int code)
{
    switch (code) {
    case ENOMEM: return ERR_NO_MEMORY;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return ERR_NO_SPACE;
    case EMFILE:
    case ENFILE:
    case ENOBUFS: return ERR_LIMIT;
    case EEXIST:
    case EADDRINUSE: return ERR_IN_USE;
    case ENAMETOOLONG: return ERR_INVALID_ARGUMENT;
    default: return ERR_IO;
    }
}

static const char *hint_of(int code)
{
    switch (code) {
    case EACCES:
    case EPERM: return "check owner and permissions, or run as a user who may do this";
    case EISDIR: return "the path must lead to a regular file";
    case EROFS: return "the file system is read-only: choose another data directory";
    case ENOENT: return "check the path; folders on the way must exist";
    case ENOSPC:
    case EDQUOT: return "free space on this file system or choose another data directory";
    case EFBIG: return "raise the limit of the file size (ulimit -f)";
    case EMFILE:
    case ENFILE: return "raise the limit of open files (ulimit -n)";
    default: return NULL;
    }
}

enum err real_err_set(struct err_detail *why, int code, const char *verb, const char *object)
{
    const char *reason = strerrordesc_np(code);
    enum err e = err_set(why, real_err_of(code), "cannot %s %s: %s", verb, object,
                         reason != NULL ? reason : "unknown error");
    if (hint_of(code) != NULL)
        err_hint(why, "%s", hint_of(code));
    return e;
}

/* ---- clock and randomness ---- */

static int64_t real_mono_ns(struct host *h)
{
    (void)h;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static int64_t real_wall_us(struct host *h)
{
    (void)h;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * US_PER_S + t.tv_nsec / NS_PER_US;
}

static void real_random(struct host *h, void *out, size_t n)
{
    (void)h;
    char *p = out;
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        CHECK(got > 0);
        p += got;
        n -= (size_t)got;
    }
}

/* ---- workers ---- */

/* Async-signal-safe: an atomic and a write. */
static void real_worker_wake(struct host_worker *base)
{
    struct real_worker *w = (struct real_worker *)base;
    int before = atomic_exchange_explicit(&w->state, REAL_NOTIFIED, memory_order_acq_rel);
    if (before != REAL_SLEEPING)
        return;
    const uint64_t one = 1;
    int saved = errno;
    ssize_t n = write(w->wake_fd, &one, sizeof one);
    (void)n; /* only a full counter can fail, and then the worker is awake */
    errno = saved;
}

static void *worker_main(void *arg)
{
    struct real_worker *w = arg;
    struct real_host *h = w->host;
    pthread_mutex_lock(&h->gate);
    while (h->gate_state == REAL_GATE_SHUT)
        pthread_cond_wait(&h->gate_moved, &h->gate);
    bool go = h->gate_state == REAL_GATE_OPEN;
    pthread_mutex_unlock(&h->gate);
    while (go)
        go = w->turn(w->arg);
    return NULL;
}

static void worker_free(struct real_worker *w)
{
    if (w->epoll_fd >= 0)
        close(w->epoll_fd);
    if (w->wake_fd >= 0)
        close(w->wake_fd);
    mem_free(w);
}

static struct real_worker *worker_new(struct real_host *h)
{
    struct real_worker *w = mem_zalloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->base.ops = &real_ops;
    w->host = h;
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event wake = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (w->epoll_fd < 0 || w->wake_fd < 0 ||
        epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->wake_fd, &wake) != 0) {
        worker_free(w);
        return NULL;
    }
    return w;
}

static enum err real_worker_start(struct host *base, const char *name, bool (*turn)(void *arg),
                                  void *arg, struct host_worker **out)
{
    struct real_host *h = (struct real_host *)base;
    size_t n = atomic_load_explicit(&h->worker_count, memory_order_relaxed);
    if (n == HOST_WORKERS_MAX)
        return ERR_LIMIT;
    errno = ENOMEM;
    struct real_worker *w = worker_new(h);
    if (w == NULL)
        return real_err_of(errno);
    w->turn = turn;
    w->arg = arg;

    /* Signals go to the main thread, so that no worker's system call is interrupted for nothing. */
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&w->thread, NULL, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        worker_free(w);
        return failed == EAGAIN ? ERR_LIMIT : real_err_of(failed);
    }
    if (name[0] != '\0')
        pthread_setname_np(w->thread, name);
    h->workers[n] = w;
    atomic_store_explicit(&h->worker_count, n + 1, memory_order_release);
    *out = &w->base;
    return ERR_OK;
}

static void gate_move(struct real_host *h, bool open)
{
    pthread_mutex_lock(&h->gate);
    h->gate_state = open ? REAL_GATE_OPEN : REAL_GATE_ABANDONED;
    pthread_cond_broadcast(&h->gate_moved);
    pthread_mutex_unlock(&h->gate);
}

static void workers_join(struct real_host *h)
{
    size_t n = atomic_load_explicit(&h->worker_count, memory_order_relaxed);
    for (size_t i = 0; i < n; i++) {
        struct real_worker *w = h->workers[i];
        if (w->joined)
            continue;
        CHECK(pthread_join(w->thread, NULL) == 0);
        w->joined = true;
    }
}

static void real_run(struct host *base)
{
    struct real_host *h = (struct real_host *)base;
    gate_move(h, true);
    workers_join(h);
}

/* ---- polling ---- */

/* Waits in the kernel; deadline_ns as in host_poll. Returns the number of entries in w->ready. */
static int wait_ready(struct real_worker *w, int max, int64_t deadline_ns)
{
    int64_t left_ns = deadline_ns;
    if (deadline_ns > 0 && deadline_ns < INT64_MAX) {
        left_ns = deadline_ns - real_mono_ns(&w->host->base);
        if (left_ns < 0)
            left_ns = 0;
    }
    if (left_ns <= 0)
        return epoll_wait(w->epoll_fd, w->ready, max, 0);
    if (deadline_ns == INT64_MAX)
        return epoll_wait(w->epoll_fd, w->ready, max, -1);
    if (!w->coarse_poll) {
        struct timespec t = {.tv_sec = left_ns / NS_PER_S, .tv_nsec = left_ns % NS_PER_S};
        int n = epoll_pwait2(w->epoll_fd, w->ready, max, &t, NULL);
        if (n >= 0 || errno != ENOSYS)
            return n;
        w->coarse_poll = true;
    }
    int64_t left_ms = left_ns / NS_PER_MS + (left_ns % NS_PER_MS != 0);
    return epoll_wait(w->epoll_fd, w->ready, max, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
}

static uint32_t ready_of(uint32_t epoll_bits)
{
    uint32_t ready = 0;
    if (epoll_bits & EPOLLIN)
        ready |= HOST_READABLE;
    if (epoll_bits & EPOLLOUT)
        ready |= HOST_WRITABLE;
    if (epoll_bits & (EPOLLHUP | EPOLLERR))
        ready |= HOST_HANGUP;
    return ready;
}

static size_t real_poll(struct host_worker *base, struct host_event *events, size_t max,
                        int64_t deadline_ns)
{
    struct real_worker *w = (struct real_worker *)base;
    /* The wake descriptor may take one entry: it must not cost a socket its place for long, and a
     * batch of one must still see sockets, so one more is asked for. */
    int room = max < HOST_EVENTS_MAX ? (int)max + 1 : HOST_EVENTS_MAX;
    int awake = REAL_AWAKE;
    if (!atomic_compare_exchange_strong_explicit(&w->state, &awake, REAL_SLEEPING,
                                                 memory_order_acq_rel, memory_order_acquire))
        deadline_ns = 0;
    int n = wait_ready(w, room, deadline_ns);
    CHECK(n >= 0 || errno == EINTR);
    atomic_exchange_explicit(&w->state, REAL_AWAKE, memory_order_acq_rel);

    size_t count = 0;
    for (int i = 0; i < n && count < max; i++) {
        struct real_socket *s = w->ready[i].data.ptr;
        if (s == NULL)
            continue;
        events[count++] = (struct host_event){.tag = s->tag, .ready = ready_of(w->ready[i].events)};
    }
    return count;
}

/* ---- stopping ---- */

static bool real_stop_requested(struct host *base)
{
    struct real_host *h = (struct real_host *)base;
    return atomic_load_explicit(&h->stop, memory_order_acquire);
}

static void real_stop_request(struct host *base)
{
    struct real_host *h = (struct real_host *)base;
    atomic_store_explicit(&h->stop, true, memory_order_release);
    size_t n = atomic_load_explicit(&h->worker_count, memory_order_acquire);
    for (size_t i = 0; i < n; i++)
        real_worker_wake(&h->workers[i]->base);
}

/* Asks for a stop. A program that is asked again later does not stop by itself: it is ended, which
 * costs a recovery and nothing else. (At once does not count: `timeout` sends its signal twice.) */
static void on_stop_signal(int number)
{
    static atomic_int_fast64_t first_ns;
    struct real_host *h = atomic_load(&signal_host);
    if (h == NULL)
        return;
    int64_t now = real_mono_ns(&h->base);
    if (!real_stop_requested(&h->base))
        atomic_store(&first_ns, now);
    else if (now - atomic_load(&first_ns) > STOP_PATIENCE_NS)
        _exit(SIGNAL_EXIT_STATUS + number);
    real_stop_request(&h->base);
}

static void signals_set(void (*handler)(int))
{
    struct sigaction stop = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&stop.sa_mask);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
}

/* ---- the host ---- */

static void real_close(struct host *base)
{
    struct real_host *h = (struct real_host *)base;
    gate_move(h, false);
    workers_join(h);
    struct real_host *self = h;
    if (atomic_compare_exchange_strong(&signal_host, &self, NULL))
        signals_set(SIG_DFL);
    size_t n = atomic_load_explicit(&h->worker_count, memory_order_relaxed);
    for (size_t i = 0; i < n; i++)
        worker_free(h->workers[i]);
    pthread_cond_destroy(&h->gate_moved);
    pthread_mutex_destroy(&h->gate);
    mem_free(h);
}

/* A connection is a descriptor: take as many as the system allows this process. */
static void descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit); /* else with fewer: accept says when it is short */
    }
}

struct host *host_real_open(void)
{
    struct real_host *h = mem_zalloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->base.ops = &real_ops;
    if (pthread_mutex_init(&h->gate, NULL) != 0) {
        mem_free(h);
        return NULL;
    }
    if (pthread_cond_init(&h->gate_moved, NULL) != 0) {
        pthread_mutex_destroy(&h->gate);
        mem_free(h);
        return NULL;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a full disk, not the end */
    descriptors_raise();
    atomic_store(&signal_host, h);
    signals_set(on_stop_signal);
    return &h->base;
}

const struct host_ops real_ops = {
    .mono_ns = real_mono_ns,
    .wall_us = real_wall_us,
    .random = real_random,
    .worker_start = real_worker_start,
    .worker_wake = real_worker_wake,
    .run = real_run,
    .close = real_close,
    .poll = real_poll,
    .watch = real_watch,
    .listen = real_listen,
    .accept = real_accept,
    .connect = real_connect,
    .recv = real_recv,
    .sendv = real_sendv,
    .send_file = real_send_file,
    .socket_close = real_socket_close,
    .file_open = real_file_open,
    .file_close = real_file_close,
    .file_read = real_file_read,
    .file_write = real_file_write,
    .file_sync = real_file_sync,
    .file_size = real_file_size,
    .file_truncate = real_file_truncate,
    .file_allocate = real_file_allocate,
    .file_lock = real_file_lock,
    .file_write_out = real_file_write_out,
    .rename = real_rename,
    .remove = real_remove,
    .dir_create = real_dir_create,
    .dir_sync = real_dir_sync,
    .dir_list = real_dir_list,
    .path_exists = real_path_exists,
    .disk_free = real_disk_free,
    .stop_requested = real_stop_requested,
    .stop_request = real_stop_request,
};
