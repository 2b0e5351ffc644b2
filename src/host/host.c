/* Dispatch of host.h to the implementation that the object belongs to. */
#include "host/host.h"

#include "base/check.h"
#include "host/host_int.h"

#include <string.h>

int64_t host_mono_ns(struct host *h)
{
    return h->ops->mono_ns(h);
}

int64_t host_wall_us(struct host *h)
{
    return h->ops->wall_us(h);
}

void host_random(struct host *h, void *out, size_t n)
{
    if (n > 0)
        h->ops->random(h, out, n);
}

/* ---- workers ---- */

enum err host_worker_start(struct host *h, const char *name, bool (*turn)(void *arg), void *arg,
                           struct host_worker **out)
{
    CHECK(strlen(name) <= HOST_WORKER_NAME_MAX);
    CHECK(turn != NULL);
    return h->ops->worker_start(h, name, turn, arg, out);
}

void host_worker_wake(struct host_worker *w)
{
    w->ops->worker_wake(w);
}

void host_run(struct host *h)
{
    h->ops->run(h);
}

void host_close(struct host *h)
{
    if (h != NULL)
        h->ops->close(h);
}

size_t host_poll(struct host_worker *w, struct host_event *events, size_t max, int64_t deadline_ns)
{
    CHECK(max > 0 || events == NULL);
    return w->ops->poll(w, events, max, deadline_ns);
}

enum err host_watch(struct host_worker *w, struct host_socket *s, uint32_t interest, void *tag)
{
    CHECK((interest & ~(uint32_t)(HOST_READABLE | HOST_WRITABLE)) == 0);
    CHECK(w->ops == s->ops);
    return w->ops->watch(w, s, interest, tag);
}

/* ---- sockets ---- */

enum err host_listen(struct host *h, const char *address, struct host_socket **out,
                     uint16_t *port_out, struct err_detail *why)
{
    return h->ops->listen(h, address, out, port_out, why);
}

enum err host_accept(struct host_socket *listener, struct host_socket **out, char *peer,
                     char *local)
{
    return listener->ops->accept(listener, out, peer, local);
}

enum err host_connect(struct host *h, const char *address, struct host_socket **out,
                      struct err_detail *why)
{
    return h->ops->connect(h, address, out, why);
}

ptrdiff_t host_recv(struct host_socket *s, void *out, size_t n)
{
    CHECK(n > 0);
    return s->ops->recv(s, out, n);
}

ptrdiff_t host_send(struct host_socket *s, const void *bytes, size_t n)
{
    CHECK(n > 0);
    struct str piece = {bytes, n};
    return s->ops->sendv(s, &piece, 1);
}

ptrdiff_t host_sendv(struct host_socket *s, const struct str *pieces, size_t n)
{
    CHECK(n > 0 && n <= HOST_SEND_PIECES_MAX);
    return s->ops->sendv(s, pieces, n);
}

ptrdiff_t host_send_file(struct host_socket *s, struct host_file *f, uint64_t at, size_t n)
{
    CHECK(n > 0);
    CHECK(s->ops == f->ops);
    return s->ops->send_file(s, f, at, n);
}

void host_socket_close(struct host_socket *s)
{
    if (s != NULL)
        s->ops->socket_close(s);
}

/* ---- files ---- */

enum err host_file_open(struct host *h, const char *path, uint32_t flags, struct host_file **out,
                        struct err_detail *why)
{
    /* Creating means writing. */
    CHECK((flags & (HOST_OPEN_CREATE | HOST_OPEN_EXCLUSIVE)) == 0 || (flags & HOST_OPEN_WRITE));
    if (strlen(path) >= HOST_PATH_MAX)
        return err_set(why, ERR_INVALID_ARGUMENT, "the path is longer than %d bytes: %.60s...",
                       HOST_PATH_MAX - 1, path);
    return h->ops->file_open(h, path, flags, out, why);
}

void host_file_close(struct host_file *f)
{
    if (f != NULL)
        f->ops->file_close(f);
}

enum err host_file_read(struct host_file *f, uint64_t at, void *out, size_t n)
{
    return n == 0 ? ERR_OK : f->ops->file_read(f, at, out, n);
}

enum err host_file_write(struct host_file *f, uint64_t at, const void *bytes, size_t n)
{
    return n == 0 ? ERR_OK : f->ops->file_write(f, at, bytes, n);
}

enum err host_file_sync(struct host_file *f)
{
    return f->ops->file_sync(f);
}

enum err host_file_size(struct host_file *f, uint64_t *out)
{
    return f->ops->file_size(f, out);
}

enum err host_file_truncate(struct host_file *f, uint64_t size)
{
    return f->ops->file_truncate(f, size);
}

enum err host_file_allocate(struct host_file *f, uint64_t size)
{
    return f->ops->file_allocate(f, size);
}

enum err host_file_lock(struct host_file *f)
{
    return f->ops->file_lock(f);
}

enum err host_file_write_out(struct host_file *f, uint64_t at, uint64_t n)
{
    return f->ops->file_write_out(f, at, n);
}

/* ---- names ---- */

static bool path_too_long(const char *path)
{
    return strnlen(path, HOST_PATH_MAX) == HOST_PATH_MAX;
}

enum err host_rename(struct host *h, const char *from, const char *to)
{
    if (path_too_long(from) || path_too_long(to))
        return ERR_INVALID_ARGUMENT;
    return h->ops->rename(h, from, to);
}

enum err host_remove(struct host *h, const char *path)
{
    if (path_too_long(path))
        return ERR_INVALID_ARGUMENT;
    return h->ops->remove(h, path);
}

enum err host_dir_create(struct host *h, const char *path, struct err_detail *why)
{
    if (path_too_long(path))
        return err_set(why, ERR_INVALID_ARGUMENT, "the name of a folder has at most %d bytes",
                       HOST_PATH_MAX - 1);
    return h->ops->dir_create(h, path, why);
}

enum err host_dir_sync(struct host *h, const char *path)
{
    if (path_too_long(path))
        return ERR_INVALID_ARGUMENT;
    return h->ops->dir_sync(h, path);
}

enum err host_dir_list(struct host *h, const char *path, bool (*each)(void *arg, const char *name),
                       void *arg)
{
    if (path_too_long(path))
        return ERR_INVALID_ARGUMENT;
    return h->ops->dir_list(h, path, each, arg);
}

enum err host_path_exists(struct host *h, const char *path, bool *out)
{
    if (path_too_long(path))
        return ERR_INVALID_ARGUMENT;
    return h->ops->path_exists(h, path, out);
}

enum err host_disk_free(struct host *h, const char *path, uint64_t *out)
{
    if (path_too_long(path))
        return ERR_INVALID_ARGUMENT;
    return h->ops->disk_free(h, path, out);
}

/* ---- process ---- */

bool host_stop_requested(struct host *h)
{
    return h->ops->stop_requested(h);
}

void host_stop_request(struct host *h)
{
    h->ops->stop_request(h);
}
