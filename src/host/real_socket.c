/* TCP sockets of the Linux host. */
#include "base/check.h"
#include "base/mem.h"
#include "host/address.h"
#include "host/real_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    LISTEN_BACKLOG = 1024,
    SEND_FILE_COPY_BYTES = 16384, /* a piece, where sendfile is not offered by the file system */
    ACCEPT_RETRIES_MAX = 64,      /* connections that died while they waited */
    ACCEPT_PAUSE_NS = 1000000,    /* when not even a refusal is possible */
};

/* The kernel's form of an address. */
union real_sockaddr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static socklen_t sockaddr_of(const struct host_address *a, union real_sockaddr *out)
{
    memset(out, 0, sizeof *out);
    if (a->v6) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(a->port);
        memcpy(&out->v6.sin6_addr, a->ip, sizeof out->v6.sin6_addr);
        return sizeof out->v6;
    }
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons(a->port);
    memcpy(&out->v4.sin_addr, a->ip, sizeof out->v4.sin_addr);
    return sizeof out->v4;
}

static struct host_address address_of(const union real_sockaddr *in)
{
    struct host_address a = {0};
    if (in->any.sa_family == AF_INET6) {
        a.v6 = true;
        a.port = ntohs(in->v6.sin6_port);
        memcpy(a.ip, &in->v6.sin6_addr, sizeof in->v6.sin6_addr);
    } else {
        a.port = ntohs(in->v4.sin_port);
        memcpy(a.ip, &in->v4.sin_addr, sizeof in->v4.sin_addr);
    }
    return a;
}

/* Takes the descriptor over; NULL when out of memory (it is closed then). */
static struct real_socket *socket_new(int fd)
{
    struct real_socket *s = mem_zalloc(1, sizeof *s);
    if (s == NULL) {
        close(fd);
        return NULL;
    }
    s->base.ops = &real_ops;
    s->fd = fd;
    s->spare_fd = -1;
    return s;
}

static int spare_open(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void no_delay(int fd)
{
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* Where the system's congestion control paces what is sent (BBR does), that costs a timer for each
 * few segments and makes bytes wait. Between two programs of one machine there is no congestion.
 * Connections inherit it from their listener; once one is established it would be too late. Reno
 * is the one that every system has and every user may choose. */
static void no_pacing(int fd, const struct host_address *a)
{
    static const char reno[] = "reno";
    if (host_address_loopback(a))
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof reno - 1);
}

/* ---- opening ---- */

static enum err listen_failed(struct err_detail *why, const char *address, int fd, int code)
{
    enum err e = real_err_set(why, code, "listen on", address);
    if (code == EADDRINUSE)
        err_hint(why, "another program listens there: stop it, or name another address with "
                      "--http A:P, --kafka A:P or --pg A:P");
    else if (code == EADDRNOTAVAIL)
        err_hint(why, "this machine has no such address: use 127.0.0.1 or 0.0.0.0");
    else if (code == EACCES)
        err_hint(why, "ports under 1024 need privileges: name a higher one");
    if (fd >= 0)
        close(fd);
    return e;
}

enum err real_listen(struct host *h, const char *address, struct host_socket **out,
                     uint16_t *port_out, struct err_detail *why)
{
    (void)h;
    struct host_address a;
    union real_sockaddr sa;
    const int on = 1;
    TRY(host_address_parse(address, &a, why));
    socklen_t len = sockaddr_of(&a, &sa);
    int fd = socket(sa.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return listen_failed(why, address, fd, errno);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    no_pacing(fd, &a);
    if (a.v6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, &sa.any, len) != 0 || listen(fd, LISTEN_BACKLOG) != 0)
        return listen_failed(why, address, fd, errno);
    len = sizeof sa;
    if (getsockname(fd, &sa.any, &len) != 0)
        return listen_failed(why, address, fd, errno);
    struct real_socket *s = socket_new(fd);
    if (s == NULL)
        return listen_failed(why, address, -1, ENOMEM);
    s->spare_fd = spare_open();
    *port_out = address_of(&sa).port;
    *out = &s->base;
    return ERR_OK;
}

enum err real_connect(struct host *h, const char *address, struct host_socket **out,
                      struct err_detail *why)
{
    (void)h;
    struct host_address a;
    union real_sockaddr sa;
    TRY(host_address_parse(address, &a, why));
    socklen_t len = sockaddr_of(&a, &sa);
    int fd = socket(sa.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return real_err_set(why, errno, "connect to", address);
    no_delay(fd);
    no_pacing(fd, &a);
    /* An interrupted connect goes on in the background, like one in progress. */
    if (connect(fd, &sa.any, len) != 0 && errno != EINPROGRESS && errno != EINTR) {
        int code = errno;
        close(fd);
        return real_err_set(why, code, "connect to", address);
    }
    struct real_socket *s = socket_new(fd);
    if (s == NULL)
        return real_err_set(why, ENOMEM, "connect to", address);
    *out = &s->base;
    return ERR_OK;
}

/* ---- accepting ---- */

/* Out of descriptors the connection would stay in the queue and the listener ready forever. So it
 * is taken with the descriptor kept spare for this, and closed: the client sees the end at once. */
static void refuse_one(struct real_socket *listener)
{
    if (listener->spare_fd >= 0) {
        close(listener->spare_fd);
        int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
    } else {
        struct timespec pause = {.tv_nsec = ACCEPT_PAUSE_NS};
        nanosleep(&pause, NULL);
    }
    listener->spare_fd = spare_open();
}

enum err real_accept(struct host_socket *base, struct host_socket **out, char *peer, char *local)
{
    struct real_socket *listener = (struct real_socket *)base;
    union real_sockaddr sa;
    socklen_t len;
    int fd = -1;
    for (int i = 0; i < ACCEPT_RETRIES_MAX; i++) {
        len = sizeof sa;
        fd = accept4(listener->fd, &sa.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 || errno == EAGAIN || errno == EWOULDBLOCK)
            break;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            refuse_one(listener);
            return ERR_LIMIT;
        }
        /* Anything else is the fate of that one connection (accept(2), "Error handling"). */
    }
    if (fd < 0)
        return ERR_BUSY;
    if (peer != NULL) {
        struct host_address a = address_of(&sa);
        host_address_format(&a, peer);
    }
    if (local != NULL) {
        len = sizeof sa;
        memset(&sa, 0, sizeof sa);
        (void)getsockname(fd, &sa.any, &len);
        struct host_address a = address_of(&sa);
        host_address_format(&a, local);
    }
    no_delay(fd);
    struct real_socket *s = socket_new(fd);
    if (s == NULL)
        return ERR_LIMIT;
    *out = &s->base;
    return ERR_OK;
}

/* ---- watching ---- */

enum err real_watch(struct host_worker *base, struct host_socket *socket, uint32_t interest,
                    void *tag)
{
    struct real_worker *w = (struct real_worker *)base;
    struct real_socket *s = (struct real_socket *)socket;
    CHECK(s->worker == NULL || s->worker == w);
    s->tag = tag;
    if (s->worker != NULL && s->interest == interest)
        return ERR_OK;
    struct epoll_event e = {.data.ptr = s};
    if (interest & HOST_READABLE)
        e.events |= EPOLLIN;
    if (interest & HOST_WRITABLE)
        e.events |= EPOLLOUT;
    int op = s->worker == NULL ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(w->epoll_fd, op, s->fd, &e) != 0)
        return errno == ENOSPC ? ERR_LIMIT : real_err_of(errno);
    s->worker = w;
    s->interest = interest;
    return ERR_OK;
}

/* ---- moving bytes ---- */

/* The contract's result for a system call's: see host_send. */
static ptrdiff_t result_of(ssize_t n)
{
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EWOULDBLOCK ? -1 : -2;
}

ptrdiff_t real_recv(struct host_socket *base, void *out, size_t n)
{
    struct real_socket *s = (struct real_socket *)base;
    ssize_t got;
    do
        got = recv(s->fd, out, n, 0);
    while (got < 0 && errno == EINTR);
    return result_of(got);
}

ptrdiff_t real_sendv(struct host_socket *base, const struct str *pieces, size_t n)
{
    struct real_socket *s = (struct real_socket *)base;
    struct iovec parts[HOST_SEND_PIECES_MAX];
    for (size_t i = 0; i < n; i++) {
        /* The kernel only reads; iovec has no const. */
        memcpy(&parts[i].iov_base, &pieces[i].ptr, sizeof parts[i].iov_base);
        parts[i].iov_len = pieces[i].len;
    }
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = n};
    ssize_t sent;
    do
        sent = sendmsg(s->fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return result_of(sent);
}

/* For file systems without sendfile: one piece through user space. */
static ptrdiff_t send_file_copy(struct real_socket *s, struct real_file *f, uint64_t at, size_t n)
{
    char bytes[SEND_FILE_COPY_BYTES];
    ssize_t got;
    do
        got = pread(f->fd, bytes, n < sizeof bytes ? n : sizeof bytes, (off_t)at);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return got == 0 ? 0 : -2;
    struct str piece = {bytes, (size_t)got};
    return real_sendv(&s->base, &piece, 1);
}

ptrdiff_t real_send_file(struct host_socket *base, struct host_file *file, uint64_t at, size_t n)
{
    struct real_socket *s = (struct real_socket *)base;
    struct real_file *f = (struct real_file *)file;
    if (at > INT64_MAX)
        return 0;
    ssize_t sent;
    do {
        off_t from = (off_t)at;
        sent = sendfile(s->fd, f->fd, &from, n);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && (errno == EINVAL || errno == ENOSYS))
        return send_file_copy(s, f, at, n);
    return result_of(sent);
}

void real_socket_close(struct host_socket *base)
{
    struct real_socket *s = (struct real_socket *)base;
    /* Closing the only descriptor also takes it out of the worker's epoll set. */
    close(s->fd);
    if (s->spare_fd >= 0)
        close(s->spare_fd);
    mem_free(s);
}
