/* Private to host/: how the calls of host.h reach the real or the simulated implementation.
 *
 * Every object begins with a pointer to its implementation's table, so both can be linked and even
 * be open at the same time. */
#ifndef TIDEMILL_HOST_HOST_INT_H
#define TIDEMILL_HOST_HOST_INT_H

#include "host/host.h"

/* One pointer per call of host.h; contracts are those of host.h. */
struct host_ops {
    int64_t (*mono_ns)(struct host *h);
    int64_t (*wall_us)(struct host *h);
    void (*random)(struct host *h, void *out, size_t n);

    enum err (*worker_start)(struct host *h, const char *name, bool (*turn)(void *arg), void *arg,
                             struct host_worker **out);
    void (*worker_wake)(struct host_worker *w);
    void (*run)(struct host *h);
    void (*close)(struct host *h);
    size_t (*poll)(struct host_worker *w, struct host_event *events, size_t max,
                   int64_t deadline_ns);
    enum err (*watch)(struct host_worker *w, struct host_socket *s, uint32_t interest, void *tag);

    enum err (*listen)(struct host *h, const char *address, struct host_socket **out,
                       uint16_t *port_out, struct err_detail *why);
    enum err (*accept)(struct host_socket *listener, struct host_socket **out, char *peer,
                       char *local);
    enum err (*connect)(struct host *h, const char *address, struct host_socket **out,
                        struct err_detail *why);
    ptrdiff_t (*recv)(struct host_socket *s, void *out, size_t n);
    ptrdiff_t (*sendv)(struct host_socket *s, const struct str *pieces, size_t n);
    ptrdiff_t (*send_file)(struct host_socket *s, struct host_file *f, uint64_t at, size_t n);
    void (*socket_close)(struct host_socket *s);

    enum err (*file_open)(struct host *h, const char *path, uint32_t flags, struct host_file **out,
                          struct err_detail *why);
    void (*file_close)(struct host_file *f);
    enum err (*file_read)(struct host_file *f, uint64_t at, void *out, size_t n);
    enum err (*file_write)(struct host_file *f, uint64_t at, const void *bytes, size_t n);
    enum err (*file_sync)(struct host_file *f);
    enum err (*file_size)(struct host_file *f, uint64_t *out);
    enum err (*file_truncate)(struct host_file *f, uint64_t size);
    enum err (*file_allocate)(struct host_file *f, uint64_t size);
    enum err (*file_lock)(struct host_file *f);
    enum err (*file_write_out)(struct host_file *f, uint64_t at, uint64_t n);

    enum err (*rename)(struct host *h, const char *from, const char *to);
    enum err (*remove)(struct host *h, const char *path);
    enum err (*dir_create)(struct host *h, const char *path, struct err_detail *why);
    enum err (*dir_sync)(struct host *h, const char *path);
    enum err (*dir_list)(struct host *h, const char *path,
                         bool (*each)(void *arg, const char *name), void *arg);
    enum err (*path_exists)(struct host *h, const char *path, bool *out);
    enum err (*disk_free)(struct host *h, const char *path, uint64_t *out);

    bool (*stop_requested)(struct host *h);
    void (*stop_request)(struct host *h);
};

struct host {
    const struct host_ops *ops;
};
struct host_worker {
    const struct host_ops *ops;
};
struct host_socket {
    const struct host_ops *ops;
};
struct host_file {
    const struct host_ops *ops;
};

enum {
    HOST_SEND_PIECES_MAX = 64,
    HOST_WORKER_NAME_MAX = 15,
    HOST_DIR_ENTRIES_MAX = 1 << 20, /* names in one folder */
};

#endif
