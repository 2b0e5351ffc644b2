/* The tests that every implementation of host.h must pass. Included once by each test program,
 * which provides contract_setup() and contract_teardown() and lists CONTRACT_TESTS. */
#ifndef TIDEMILL_TEST_HOST_CONTRACT_H
#define TIDEMILL_TEST_HOST_CONTRACT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "host/host.h"

#include <stdio.h>
#include <string.h>

/* What a test gets as its state: a fresh host and an empty folder. */
struct contract {
    struct host *h;
    char dir[256];
    char path[512];
};

static char *path_in(struct contract *c, const char *name)
{
    snprintf(c->path, sizeof c->path, "%s/%s", c->dir, name);
    return c->path;
}

static struct host_file *file_new(struct contract *c, const char *name)
{
    struct host_file *f = NULL;
    struct err_detail why = {0};
    assert_int_equal(host_file_open(c->h, path_in(c, name), HOST_OPEN_WRITE | HOST_OPEN_CREATE, &f,
                                    &why),
                     ERR_OK);
    return f;
}

/* ---- files ---- */

static void files_keep_bytes(void **state)
{
    struct contract *c = *state;
    struct host_file *f = file_new(c, "a");
    char in[10000];
    char out[10000];
    uint64_t size;
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (char)(i * 7 + i / 251);
    assert_int_equal(host_file_write(f, 5, in, sizeof in), ERR_OK);
    assert_int_equal(host_file_size(f, &size), ERR_OK);
    assert_int_equal(size, sizeof in + 5);
    assert_int_equal(host_file_read(f, 5, out, sizeof out), ERR_OK);
    assert_memory_equal(in, out, sizeof in);
    assert_int_equal(host_file_read(f, 0, out, 5), ERR_OK);
    assert_memory_equal(out, "\0\0\0\0\0", 5);
    assert_int_equal(host_file_read(f, 6, out, sizeof out), ERR_CORRUPT);
    assert_int_equal(host_file_read(f, UINT64_MAX - 3, out, 10), ERR_CORRUPT);
    assert_int_equal(host_file_read(f, size, out, 0), ERR_OK);
    assert_int_equal(host_file_sync(f), ERR_OK);
    assert_int_equal(host_file_write_out(f, 0, size), ERR_OK);
    assert_int_equal(host_file_write_out(f, 0, 2 * size), ERR_OK);
    assert_int_equal(host_file_write_out(f, UINT64_MAX, 1), ERR_OK);
    host_file_close(f);

    assert_int_equal(host_file_open(c->h, path_in(c, "a"), HOST_OPEN_READ, &f, NULL), ERR_OK);
    assert_int_equal(host_file_read(f, 5 + 4090, out, 10), ERR_OK);
    assert_memory_equal(out, in + 4090, 10);
    assert_int_not_equal(host_file_write(f, 0, in, 1), ERR_OK);
    host_file_close(f);
}

static void files_are_cut_and_preallocated(void **state)
{
    struct contract *c = *state;
    struct host_file *f = file_new(c, "a");
    char out[100];
    uint64_t size;
    memset(out, 'x', sizeof out);
    assert_int_equal(host_file_write(f, 0, out, sizeof out), ERR_OK);
    assert_int_equal(host_file_truncate(f, 40), ERR_OK);
    assert_int_equal(host_file_truncate(f, 80), ERR_OK);
    assert_int_equal(host_file_read(f, 0, out, 80), ERR_OK);
    for (int i = 0; i < 80; i++)
        assert_int_equal(out[i], i < 40 ? 'x' : 0);
    assert_int_equal(host_file_allocate(f, 200000), ERR_OK);
    assert_int_equal(host_file_size(f, &size), ERR_OK);
    assert_int_equal(size, 200000);
    assert_int_equal(host_file_read(f, 20, out, 40), ERR_OK);
    for (int i = 0; i < 40; i++)
        assert_int_equal(out[i], i < 20 ? 'x' : 0);
    assert_int_equal(host_file_read(f, 199900, out, 100), ERR_OK);
    for (int i = 0; i < 100; i++)
        assert_int_equal(out[i], 0);
    assert_int_equal(host_file_allocate(f, 1000), ERR_OK); /* never shrinks */
    assert_int_equal(host_file_size(f, &size), ERR_OK);
    assert_int_equal(size, 200000);
    host_file_close(f);
}

static void open_obeys_its_flags(void **state)
{
    struct contract *c = *state;
    struct host_file *f = NULL;
    struct err_detail why = {0};
    char deep[HOST_PATH_MAX + 10];
    assert_int_equal(host_file_open(c->h, path_in(c, "a"), HOST_OPEN_WRITE, &f, &why), ERR_IO);
    assert_non_null(strstr(why.text, c->path));
    uint32_t create = HOST_OPEN_WRITE | HOST_OPEN_CREATE | HOST_OPEN_EXCLUSIVE;
    assert_int_equal(host_file_open(c->h, path_in(c, "a"), create, &f, &why), ERR_OK);
    host_file_close(f);
    assert_int_equal(host_file_open(c->h, path_in(c, "a"), create, &f, &why), ERR_IN_USE);
    assert_int_equal(host_file_open(c->h, path_in(c, "no/a"), HOST_OPEN_WRITE | HOST_OPEN_CREATE,
                                    &f, &why),
                     ERR_IO);
    assert_int_equal(host_file_open(c->h, c->dir, HOST_OPEN_READ, &f, &why), ERR_IO);
    assert_non_null(strstr(why.text, c->dir));
    memset(deep, 'x', sizeof deep);
    deep[sizeof deep - 1] = '\0';
    assert_int_equal(host_file_open(c->h, deep, HOST_OPEN_READ, &f, &why), ERR_INVALID_ARGUMENT);
    assert_true(why.text[0] != '\0');
}

static void locks_exclude(void **state)
{
    struct contract *c = *state;
    struct host_file *a = file_new(c, "lock");
    struct host_file *b = file_new(c, "lock");
    assert_int_equal(host_file_lock(a), ERR_OK);
    assert_int_equal(host_file_lock(b), ERR_IN_USE);
    host_file_close(a);
    assert_int_equal(host_file_lock(b), ERR_OK);
    host_file_close(b);
}

struct listing {
    char names[256];
    int left;
};

static bool list_name(void *arg, const char *name)
{
    struct listing *l = arg;
    size_t n = strlen(l->names);
    snprintf(l->names + n, sizeof l->names - n, "%s ", name);
    return --l->left > 0;
}

static void expect_names(struct contract *c, const char *expected)
{
    struct listing l = {.left = 100};
    assert_int_equal(host_dir_list(c->h, c->dir, list_name, &l), ERR_OK);
    assert_string_equal(l.names, expected);
}

static void names_are_listed_renamed_and_removed(void **state)
{
    struct contract *c = *state;
    char other[512];
    char byte = 0;
    bool exists;
    expect_names(c, "");
    static const char *const names[] = {"b", "a10", "a9", "Z"};
    for (size_t i = 0; i < 4; i++) {
        struct host_file *f = file_new(c, names[i]);
        assert_int_equal(host_file_write(f, 0, names[i], 1), ERR_OK);
        host_file_close(f);
    }
    assert_int_equal(host_dir_create(c->h, path_in(c, "sub"), NULL), ERR_OK);
    assert_int_equal(host_dir_create(c->h, path_in(c, "sub"), NULL), ERR_OK);
    expect_names(c, "Z a10 a9 b sub ");
    struct listing l = {.left = 2};
    assert_int_equal(host_dir_list(c->h, c->dir, list_name, &l), ERR_OK);
    assert_string_equal(l.names, "Z a10 ");

    /* A rename replaces its target; an open file keeps its bytes. */
    struct host_file *f = NULL;
    assert_int_equal(host_file_open(c->h, path_in(c, "a9"), HOST_OPEN_READ, &f, NULL), ERR_OK);
    snprintf(other, sizeof other, "%s/a9", c->dir);
    assert_int_equal(host_rename(c->h, path_in(c, "b"), other), ERR_OK);
    expect_names(c, "Z a10 a9 sub ");
    assert_int_equal(host_file_read(f, 0, &byte, 1), ERR_OK);
    assert_int_equal(byte, 'a');
    host_file_close(f);
    f = file_new(c, "a9");
    assert_int_equal(host_file_read(f, 0, &byte, 1), ERR_OK);
    assert_int_equal(byte, 'b');
    host_file_close(f);
    snprintf(other, sizeof other, "%s/sub/moved", c->dir);
    assert_int_equal(host_rename(c->h, path_in(c, "a10"), other), ERR_OK);
    assert_int_equal(host_path_exists(c->h, other, &exists), ERR_OK);
    assert_true(exists);

    assert_int_equal(host_remove(c->h, path_in(c, "sub")), ERR_IO); /* not empty */
    assert_int_equal(host_remove(c->h, other), ERR_OK);
    assert_int_equal(host_remove(c->h, path_in(c, "sub")), ERR_OK);
    assert_int_equal(host_remove(c->h, path_in(c, "sub")), ERR_IO);
    assert_int_equal(host_dir_sync(c->h, c->dir), ERR_OK);
    expect_names(c, "Z a9 ");
    assert_int_equal(host_path_exists(c->h, path_in(c, "sub"), &exists), ERR_OK);
    assert_false(exists);
    assert_int_equal(host_path_exists(c->h, path_in(c, "Z/x"), &exists), ERR_OK);
    assert_false(exists);
    struct err_detail why = {0};
    assert_int_equal(host_dir_create(c->h, path_in(c, "Z"), &why), ERR_IN_USE);
    assert_non_null(strstr(why.text, path_in(c, "Z")));
    assert_int_equal(host_dir_create(c->h, path_in(c, "none/sub"), &why), ERR_IO);
    assert_non_null(strstr(why.text, path_in(c, "none/sub")));
    assert_int_equal(host_dir_list(c->h, path_in(c, "none"), list_name, &l), ERR_IO);
    assert_int_equal(host_rename(c->h, path_in(c, "none"), other), ERR_IO);
}

static void disk_has_free_space(void **state)
{
    struct contract *c = *state;
    uint64_t bytes = 0;
    assert_int_equal(host_disk_free(c->h, c->dir, &bytes), ERR_OK);
    assert_true(bytes > 0);
}

static void allocations_may_fail(void **state)
{
    struct contract *c = *state;
    struct err_detail why = {0};
    struct host_file *f = NULL;
    struct host_socket *s = NULL;
    struct listing l = {.left = 100};
    uint16_t port;
    host_file_close(file_new(c, "a"));
    mem_fail_at(1, 1);
    assert_int_equal(host_file_open(c->h, path_in(c, "a"), HOST_OPEN_WRITE, &f, &why),
                     ERR_NO_MEMORY);
    assert_non_null(strstr(why.text, c->path));
    assert_int_equal(host_listen(c->h, "127.0.0.1:0", &s, &port, &why), ERR_NO_MEMORY);
    assert_int_equal(host_connect(c->h, "127.0.0.1:9", &s, &why), ERR_NO_MEMORY);
    mem_fail_at(0, 0);
    enum err e = ERR_OK;
    for (uint64_t nth = 1; nth < 5; nth++) {
        mem_fail_at(nth, 0);
        e = host_dir_list(c->h, c->dir, list_name, &l);
        mem_fail_at(0, 0);
        assert_true(e == ERR_OK || e == ERR_NO_MEMORY);
    }
    assert_int_equal(e, ERR_OK);
}

/* ---- clock and randomness ---- */

static void clock_and_randomness(void **state)
{
    struct contract *c = *state;
    unsigned char a[32] = {0};
    unsigned char b[32] = {0};
    int64_t t = host_mono_ns(c->h);
    assert_true(host_mono_ns(c->h) >= t);
    assert_true(host_wall_us(c->h) > 1600000000000000);
    host_random(c->h, a, sizeof a);
    host_random(c->h, b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
}

/* ---- sockets and workers: an echo server, its client, both with their own worker ---- */

enum { ECHO_BYTES = 300000, ECHO_PIECE = 7000 };

struct echo {
    struct contract *c;
    struct host_worker *server, *client;
    struct host_socket *listener, *accepted, *out;
    uint16_t port;
    char peer[HOST_ADDRESS_MAX], local[HOST_ADDRESS_MAX];
    char pending[ECHO_PIECE]; /* received by the server, not yet sent back */
    size_t pending_len;
    size_t sent, received;
    bool mismatch, broken;              /* the client's */
    bool server_saw_end, server_broken; /* the server's */
};

static char echo_byte(size_t i)
{
    return (char)(i * 31 + i / 1009);
}

static void server_watch(struct echo *e)
{
    uint32_t interest = e->pending_len > 0 ? HOST_WRITABLE : HOST_READABLE;
    assert_int_equal(host_watch(e->server, e->accepted, interest, &e->accepted), ERR_OK);
}

static bool server_turn(void *arg)
{
    struct echo *e = arg;
    struct host_event events[4];
    size_t n = host_poll(e->server, events, 4, INT64_MAX);
    for (size_t i = 0; i < n; i++) {
        if (events[i].tag == &e->listener) {
            enum err got = host_accept(e->listener, &e->accepted, e->peer, e->local);
            if (got == ERR_BUSY)
                continue;
            assert_int_equal(got, ERR_OK);
            assert_int_equal(host_accept(e->listener, &e->accepted, NULL, NULL), ERR_BUSY);
            server_watch(e);
            continue;
        }
        assert_ptr_equal(events[i].tag, &e->accepted);
        if (e->pending_len > 0) {
            ptrdiff_t put = host_send(e->accepted, e->pending, e->pending_len);
            e->server_broken |= put == -2;
            if (put > 0) {
                e->pending_len -= (size_t)put;
                memmove(e->pending, e->pending + put, e->pending_len);
            }
        } else {
            ptrdiff_t got = host_recv(e->accepted, e->pending, sizeof e->pending);
            e->server_broken |= got == -2;
            e->server_saw_end |= got == 0;
            if (got > 0)
                e->pending_len = (size_t)got;
        }
        if (e->server_saw_end || e->server_broken) {
            host_socket_close(e->accepted);
            host_socket_close(e->listener);
            return false;
        }
        server_watch(e);
    }
    return true;
}

static void client_send(struct echo *e)
{
    char bytes[ECHO_PIECE];
    size_t n = ECHO_BYTES - e->sent < sizeof bytes ? ECHO_BYTES - e->sent : sizeof bytes;
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++)
        bytes[i] = echo_byte(e->sent + i);
    /* In three pieces, one of them empty. */
    const struct str pieces[] = {{bytes, n / 3}, {NULL, 0}, {bytes + n / 3, n - n / 3}};
    ptrdiff_t put = host_sendv(e->out, pieces, 3);
    e->broken |= put == -2;
    if (put > 0)
        e->sent += (size_t)put;
}

static void client_receive(struct echo *e)
{
    char bytes[ECHO_PIECE];
    ptrdiff_t got = host_recv(e->out, bytes, sizeof bytes);
    e->broken |= got == -2 || got == 0;
    for (ptrdiff_t i = 0; i < got; i++)
        e->mismatch |= bytes[i] != echo_byte(e->received + (size_t)i);
    if (got > 0)
        e->received += (size_t)got;
}

static bool client_turn(void *arg)
{
    struct echo *e = arg;
    struct host_event events[4];
    if (e->out == NULL) {
        char address[64];
        snprintf(address, sizeof address, "localhost:%u", (unsigned)e->port);
        assert_int_equal(host_connect(e->c->h, address, &e->out, NULL), ERR_OK);
        assert_int_equal(host_watch(e->client, e->out, HOST_WRITABLE, e), ERR_OK);
    }
    size_t n = host_poll(e->client, events, 4, INT64_MAX);
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(events[i].tag, e);
        if (events[i].ready & HOST_WRITABLE)
            client_send(e);
        if (events[i].ready & HOST_READABLE)
            client_receive(e);
        uint32_t interest = HOST_READABLE;
        if (e->sent < ECHO_BYTES)
            interest |= HOST_WRITABLE;
        if (e->received == ECHO_BYTES || e->broken) {
            host_socket_close(e->out);
            return false;
        }
        assert_int_equal(host_watch(e->client, e->out, interest, e), ERR_OK);
    }
    return true;
}

static void echo_between_workers(void **state)
{
    struct contract *c = *state;
    struct echo *e = mem_zalloc(1, sizeof *e);
    char expected[32];
    assert_non_null(e);
    e->c = c;
    assert_int_equal(host_listen(c->h, "127.0.0.1:0", &e->listener, &e->port, NULL), ERR_OK);
    assert_int_not_equal(e->port, 0);
    assert_int_equal(host_worker_start(c->h, "echo", server_turn, e, &e->server), ERR_OK);
    assert_int_equal(host_worker_start(c->h, "client", client_turn, e, &e->client), ERR_OK);
    assert_int_equal(host_watch(e->server, e->listener, HOST_READABLE, &e->listener), ERR_OK);
    host_run(c->h);
    assert_false(e->broken || e->server_broken);
    assert_false(e->mismatch);
    assert_int_equal(e->received, ECHO_BYTES);
    assert_true(e->server_saw_end);
    snprintf(expected, sizeof expected, "127.0.0.1:%u", (unsigned)e->port);
    assert_string_equal(e->local, expected);
    assert_memory_equal(e->peer, "127.0.0.1:", 10);
    mem_free(e);
}

static void listening_reports_what_is_wrong(void **state)
{
    struct contract *c = *state;
    struct host_socket *a = NULL;
    struct host_socket *b = NULL;
    struct err_detail why = {0};
    uint16_t port;
    uint16_t other;
    char address[64];
    assert_int_equal(host_listen(c->h, "localhost:0", &a, &port, &why), ERR_OK);
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)port);
    assert_int_equal(host_listen(c->h, address, &b, &other, &why), ERR_IN_USE);
    assert_non_null(strstr(why.text, address));
    assert_non_null(strstr(why.hint, "--http"));
    host_socket_close(a);
    assert_int_equal(host_listen(c->h, address, &b, &other, &why), ERR_OK);
    assert_int_equal(other, port);
    host_socket_close(b);
    static const char *const wrong[] = {"",        "9092",         "host.example:1", "127.0.0.1",
                                        ":9092",   "1.2.3.4:65536", "1.2.3.4:-1",     "1.2.3.4:",
                                        "::1:80",  "[::1]",        "[1.2.3.4]:1",    "[zz]:1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(host_listen(c->h, wrong[i], &a, &port, &why), ERR_INVALID_ARGUMENT);
        assert_non_null(strstr(why.text, wrong[i]));
        assert_true(why.hint[0] != '\0');
    }
}

/* A refused connection ends as broken, a file is sent whole. */

struct sending {
    struct contract *c;
    struct host_worker *server, *client, *refused;
    struct host_socket *listener, *accepted, *out, *lost;
    struct host_file *file;
    uint16_t port, dead_port;
    uint64_t sent;
    size_t received;
    bool mismatch, was_refused;
};

enum { SENT_FILE_BYTES = 150000 };

static bool sender_turn(void *arg)
{
    struct sending *s = arg;
    struct host_event events[4];
    size_t n = host_poll(s->server, events, 4, INT64_MAX);
    for (size_t i = 0; i < n; i++) {
        if (s->accepted == NULL) {
            if (host_accept(s->listener, &s->accepted, NULL, NULL) == ERR_OK)
                assert_int_equal(host_watch(s->server, s->accepted, HOST_WRITABLE, s), ERR_OK);
            continue;
        }
        ptrdiff_t put = host_send_file(s->accepted, s->file, s->sent, 1 << 20);
        if (put > 0)
            s->sent += (uint64_t)put;
        if (put == 0 || put == -2) {
            host_socket_close(s->accepted);
            host_socket_close(s->listener);
            return false;
        }
    }
    return true;
}

static bool receiver_turn(void *arg)
{
    struct sending *s = arg;
    struct host_event events[1];
    char bytes[5000];
    if (s->out == NULL) {
        char address[64];
        snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)s->port);
        assert_int_equal(host_connect(s->c->h, address, &s->out, NULL), ERR_OK);
        assert_int_equal(host_watch(s->client, s->out, HOST_READABLE, s), ERR_OK);
    }
    if (host_poll(s->client, events, 1, INT64_MAX) == 0)
        return true;
    ptrdiff_t got = host_recv(s->out, bytes, sizeof bytes);
    for (ptrdiff_t i = 0; i < got; i++)
        s->mismatch |= bytes[i] != echo_byte(s->received + (size_t)i);
    if (got > 0)
        s->received += (size_t)got;
    if (got == -1 || got > 0)
        return true;
    host_socket_close(s->out);
    return false;
}

static bool refused_turn(void *arg)
{
    struct sending *s = arg;
    struct host_event events[1];
    char byte;
    if (s->lost == NULL) {
        char address[64];
        snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)s->dead_port);
        if (host_connect(s->c->h, address, &s->lost, NULL) != ERR_OK) {
            s->was_refused = true;
            return false;
        }
        assert_int_equal(host_watch(s->refused, s->lost, HOST_WRITABLE, s), ERR_OK);
    }
    if (host_poll(s->refused, events, 1, INT64_MAX) == 0)
        return true;
    s->was_refused = host_recv(s->lost, &byte, 1) == -2;
    host_socket_close(s->lost);
    return false;
}

static void file_is_sent_and_connection_refused(void **state)
{
    struct contract *c = *state;
    struct sending s = {.c = c};
    struct host_socket *dead;
    char *bytes = mem_alloc(SENT_FILE_BYTES);
    assert_non_null(bytes);
    for (size_t i = 0; i < SENT_FILE_BYTES; i++)
        bytes[i] = echo_byte(i);
    s.file = file_new(c, "sent");
    assert_int_equal(host_file_write(s.file, 0, bytes, SENT_FILE_BYTES), ERR_OK);
    mem_free(bytes);
    assert_int_equal(host_listen(c->h, "127.0.0.1:0", &s.listener, &s.port, NULL), ERR_OK);
    assert_int_equal(host_listen(c->h, "127.0.0.1:0", &dead, &s.dead_port, NULL), ERR_OK);
    host_socket_close(dead);
    assert_int_equal(host_worker_start(c->h, "sender", sender_turn, &s, &s.server), ERR_OK);
    assert_int_equal(host_worker_start(c->h, "receiver", receiver_turn, &s, &s.client), ERR_OK);
    assert_int_equal(host_worker_start(c->h, "refused", refused_turn, &s, &s.refused), ERR_OK);
    assert_int_equal(host_watch(s.server, s.listener, HOST_READABLE, &s), ERR_OK);
    host_run(c->h);
    assert_true(s.was_refused);
    assert_false(s.mismatch);
    assert_int_equal(s.received, SENT_FILE_BYTES);
    host_file_close(s.file);
}

/* ---- wakes, deadlines, stop ---- */

enum { WAKE_ROUNDS = 2000 };

struct wakes {
    struct host *h;
    struct host_worker *ping, *pong;
    _Atomic int turns_given; /* even: ping's, odd: pong's */
};

static bool pingpong(struct wakes *k, struct host_worker *self, struct host_worker *other, int mine)
{
    struct host_event event;
    int seen = k->turns_given;
    if (seen >= WAKE_ROUNDS) {
        host_worker_wake(other);
        return false;
    }
    if (seen % 2 == mine) {
        k->turns_given = seen + 1;
        host_worker_wake(other);
    }
    /* Without a deadline: a lost wake would hang here for good. */
    assert_int_equal(host_poll(self, &event, 1, INT64_MAX), 0);
    return true;
}

static bool ping_turn(void *arg)
{
    struct wakes *k = arg;
    return pingpong(k, k->ping, k->pong, 0);
}

static bool pong_turn(void *arg)
{
    struct wakes *k = arg;
    return pingpong(k, k->pong, k->ping, 1);
}

static void no_wake_is_lost(void **state)
{
    struct contract *c = *state;
    struct wakes k = {.h = c->h};
    assert_int_equal(host_worker_start(c->h, "ping", ping_turn, &k, &k.ping), ERR_OK);
    assert_int_equal(host_worker_start(c->h, "pong", pong_turn, &k, &k.pong), ERR_OK);
    host_run(c->h);
    assert_int_equal(k.turns_given, WAKE_ROUNDS);
}

struct sleeper {
    struct host *h;
    struct host_worker *w;
    int64_t until, woke;
    int passed;
};

static bool sleeper_turn(void *arg)
{
    struct sleeper *s = arg;
    struct host_event event;
    if (s->until == 0)
        s->until = host_mono_ns(s->h) + 3000000;
    assert_int_equal(host_poll(s->w, &event, 1, s->until), 0);
    s->woke = host_mono_ns(s->h);
    if (s->woke < s->until)
        return true;
    s->until = 0;
    assert_int_equal(host_poll(s->w, &event, 1, 0), 0);
    return ++s->passed < 3;
}

static void deadlines_come(void **state)
{
    struct contract *c = *state;
    struct sleeper s = {.h = c->h};
    assert_int_equal(host_worker_start(c->h, "sleeper", sleeper_turn, &s, &s.w), ERR_OK);
    host_run(c->h);
    assert_int_equal(s.passed, 3);
}

struct stopping {
    struct host *h;
    struct host_worker *waiter, *stopper;
};

static bool waiter_turn(void *arg)
{
    struct stopping *s = arg;
    struct host_event event;
    (void)host_poll(s->waiter, &event, 1, INT64_MAX);
    return !host_stop_requested(s->h);
}

static bool stopper_turn(void *arg)
{
    struct stopping *s = arg;
    host_stop_request(s->h);
    return false;
}

static void stop_wakes_everybody(void **state)
{
    struct contract *c = *state;
    struct stopping s = {.h = c->h};
    assert_false(host_stop_requested(c->h));
    assert_int_equal(host_worker_start(c->h, "waiter", waiter_turn, &s, &s.waiter), ERR_OK);
    assert_int_equal(host_worker_start(c->h, "stopper", stopper_turn, &s, &s.stopper), ERR_OK);
    host_run(c->h);
    assert_true(host_stop_requested(c->h));
}

static bool end_at_once(void *arg)
{
    int *turns = arg;
    ++*turns;
    return false;
}

static void workers_have_a_bound(void **state)
{
    struct contract *c = *state;
    struct host_worker *w;
    static int turns[HOST_WORKERS_MAX];
    memset(turns, 0, sizeof turns);
    for (int i = 0; i < HOST_WORKERS_MAX; i++)
        assert_int_equal(host_worker_start(c->h, "w", end_at_once, &turns[i], &w), ERR_OK);
    assert_int_equal(host_worker_start(c->h, "w", end_at_once, &turns[0], &w), ERR_LIMIT);
    for (int i = 0; i < HOST_WORKERS_MAX; i++)
        assert_int_equal(turns[i], 0); /* turns begin with host_run */
    host_run(c->h);
    for (int i = 0; i < HOST_WORKERS_MAX; i++)
        assert_int_equal(turns[i], 1);
}

static int contract_setup(void **state);
static int contract_teardown(void **state);

#define CONTRACT_TEST(f) cmocka_unit_test_setup_teardown(f, contract_setup, contract_teardown)
#define CONTRACT_TESTS                                                                             \
    CONTRACT_TEST(files_keep_bytes), CONTRACT_TEST(files_are_cut_and_preallocated),                \
        CONTRACT_TEST(open_obeys_its_flags), CONTRACT_TEST(locks_exclude),                         \
        CONTRACT_TEST(names_are_listed_renamed_and_removed), CONTRACT_TEST(disk_has_free_space),   \
        CONTRACT_TEST(allocations_may_fail), CONTRACT_TEST(clock_and_randomness),                  \
        CONTRACT_TEST(echo_between_workers), CONTRACT_TEST(listening_reports_what_is_wrong),       \
        CONTRACT_TEST(file_is_sent_and_connection_refused), CONTRACT_TEST(no_wake_is_lost),        \
        CONTRACT_TEST(deadlines_come), CONTRACT_TEST(stop_wakes_everybody),                        \
        CONTRACT_TEST(workers_have_a_bound)

#endif
