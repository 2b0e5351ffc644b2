/* host/real: the contract on Linux, and what only Linux has: signals and a limit of descriptors. */
/* labels: threads */
#include "contract.h"

#include "host/address.h"
#include "host/real_int.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int contract_setup(void **state)
{
    struct contract *c = mem_zalloc(1, sizeof *c);
    const char *tmp = getenv("TMPDIR");
    snprintf(c->dir, sizeof c->dir, "%s/tidemill-host-XXXXXX", tmp != NULL ? tmp : "/tmp");
    c->h = host_real_open();
    *state = c;
    return c->h != NULL && mkdtemp(c->dir) != NULL ? 0 : -1;
}

static bool remove_name(void *arg, const char *name)
{
    struct contract *c = arg;
    return host_remove(c->h, path_in(c, name)) == ERR_OK;
}

static int contract_teardown(void **state)
{
    struct contract *c = *state;
    enum err e = host_dir_list(c->h, c->dir, remove_name, c);
    if (e == ERR_OK)
        e = host_remove(c->h, c->dir);
    host_close(c->h);
    mem_free(c);
    return e == ERR_OK ? 0 : -1;
}

/* ---- signals ---- */

static bool killer_turn(void *arg)
{
    int *number = arg;
    kill(getpid(), *number);
    return false;
}

static void signals_stop(void **state)
{
    struct contract *c = *state;
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        struct host *h = host_real_open();
        struct stopping s = {.h = h};
        int number = numbers[i];
        assert_int_equal(host_worker_start(h, "waiter", waiter_turn, &s, &s.waiter), ERR_OK);
        assert_int_equal(host_worker_start(h, "killer", killer_turn, &number, &s.stopper), ERR_OK);
        host_run(h);
        assert_true(host_stop_requested(h));
        host_close(h);
    }
    assert_false(host_stop_requested(c->h));
}

static void repeated_signals_end_a_stuck_process(void **state)
{
    (void)state;
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        for (;;)
            pause(); /* with the handler of this test's host, and deaf to its request */
    pid_t ended;
    do {
        assert_int_equal(kill(child, SIGTERM), 0);
        const struct timespec pause_for = {.tv_nsec = 100000000};
        nanosleep(&pause_for, NULL);
        ended = waitpid(child, &status, WNOHANG);
    } while (ended == 0);
    assert_int_equal(ended, child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 128 + SIGTERM);
}

/* ---- out of descriptors ---- */

static void accept_refuses_when_descriptors_run_out(void **state)
{
    struct contract *c = *state;
    enum { CLIENTS = 3 };
    struct host_socket *listener;
    struct host_socket *clients[CLIENTS];
    struct host_socket *accepted;
    uint16_t port;
    char address[64];
    char byte;
    struct rlimit before;
    assert_int_equal(host_listen(c->h, "127.0.0.1:0", &listener, &port, NULL), ERR_OK);
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)port);
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(host_connect(c->h, address, &clients[i], NULL), ERR_OK);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int probe = dup(STDOUT_FILENO);
    assert_true(probe >= 0);
    close(probe);
    struct rlimit tight = {.rlim_cur = (rlim_t)probe, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    enum err first = host_accept(listener, &accepted, NULL, NULL);
    enum err second = host_accept(listener, &accepted, NULL, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(first, ERR_LIMIT);
    assert_int_equal(second, ERR_LIMIT);
    /* The refused connections are gone from the queue, the third is served. */
    assert_int_equal(host_accept(listener, &accepted, NULL, NULL), ERR_OK);
    assert_int_equal(host_accept(listener, &accepted, NULL, NULL), ERR_BUSY);
    host_socket_close(accepted);
    for (int i = 0; i < CLIENTS; i++) {
        ptrdiff_t got = host_recv(clients[i], &byte, 1);
        assert_true(got == 0 || got == -2);
        host_socket_close(clients[i]);
    }
    host_socket_close(listener);
}

/* ---- IPv6 and addresses ---- */

static void ipv6_is_served(void **state)
{
    struct contract *c = *state;
    struct host_socket *listener;
    struct host_socket *client;
    struct host_socket *accepted;
    uint16_t port;
    char address[64];
    char peer[HOST_ADDRESS_MAX];
    char local[HOST_ADDRESS_MAX];
    struct err_detail why = {0};
    if (host_listen(c->h, "[::1]:0", &listener, &port, &why) != ERR_OK) {
        /* A machine without IPv6 says which address it cannot serve. */
        assert_non_null(strstr(why.text, "[::1]:0"));
        return;
    }
    snprintf(address, sizeof address, "[::1]:%u", (unsigned)port);
    assert_int_equal(host_connect(c->h, address, &client, &why), ERR_OK);
    assert_int_equal(host_accept(listener, &accepted, peer, local), ERR_OK);
    assert_string_equal(local, address);
    assert_memory_equal(peer, "[::1]:", 6);
    host_socket_close(accepted);
    host_socket_close(client);
    host_socket_close(listener);
}

static void addresses_round_trip(void **state)
{
    (void)state;
    static const char *const texts[] = {"127.0.0.1:9092", "0.0.0.0:0", "[::]:1",
                                        "[fe80::1]:65535", "[::1]:80", "10.0.0.127:1"};
    for (size_t i = 0; i < 6; i++) {
        struct host_address a;
        char text[HOST_ADDRESS_MAX];
        assert_int_equal(host_address_parse(texts[i], &a, NULL), ERR_OK);
        host_address_format(&a, text);
        assert_string_equal(text, texts[i]);
        assert_int_equal(host_address_any(&a), i == 1 || i == 2);
        assert_int_equal(host_address_loopback(&a), i == 0 || i == 4);
    }
}

static void assert_congestion_control(struct host_socket *s, const char *wanted)
{
    char name[16] = "";
    socklen_t len = sizeof name;
    int fd = ((struct real_socket *)s)->fd;
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
    assert_string_equal(name, wanted);
}

/* Whatever the system's congestion control is, which may pace. */
static void loopback_connections_are_not_paced(void **state)
{
    struct contract *c = *state;
    struct host_socket *listener;
    struct host_socket *client;
    struct host_socket *accepted;
    uint16_t port;
    char address[64];
    assert_int_equal(host_listen(c->h, "127.0.0.1:0", &listener, &port, NULL), ERR_OK);
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)port);
    assert_int_equal(host_connect(c->h, address, &client, NULL), ERR_OK);
    assert_int_equal(host_accept(listener, &accepted, NULL, NULL), ERR_OK);
    assert_congestion_control(client, "reno");
    assert_congestion_control(accepted, "reno");
    host_socket_close(accepted);
    host_socket_close(client);
    host_socket_close(listener);
}

/* ---- no allocation in steady state ---- */

static void steady_calls_do_not_allocate(void **state)
{
    struct contract *c = *state;
    struct host_socket *listener;
    struct host_socket *client;
    struct host_socket *accepted;
    uint16_t port;
    char address[64];
    char bytes[100] = {0};
    assert_int_equal(host_listen(c->h, "127.0.0.1:0", &listener, &port, NULL), ERR_OK);
    snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)port);
    assert_int_equal(host_connect(c->h, address, &client, NULL), ERR_OK);
    assert_int_equal(host_accept(listener, &accepted, NULL, NULL), ERR_OK);
    struct host_file *f = file_new(c, "a");
    assert_int_equal(host_file_allocate(f, 4096), ERR_OK);
    mem_fail_at(1, 1);
    assert_int_equal(host_file_write(f, 0, bytes, sizeof bytes), ERR_OK);
    assert_int_equal(host_file_read(f, 0, bytes, sizeof bytes), ERR_OK);
    assert_int_equal(host_file_sync(f), ERR_OK);
    assert_int_equal(host_send(client, bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(host_recv(accepted, bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(host_recv(accepted, bytes, sizeof bytes), -1);
    assert_int_equal(host_send_file(client, f, 0, 50), 50);
    uint64_t asked = mem_fail_count();
    mem_fail_at(0, 0);
    assert_int_equal(asked, 0);
    host_file_close(f);
    host_socket_close(accepted);
    host_socket_close(client);
    host_socket_close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONTRACT_TESTS,
        CONTRACT_TEST(signals_stop),
        CONTRACT_TEST(repeated_signals_end_a_stuck_process),
        CONTRACT_TEST(accept_refuses_when_descriptors_run_out),
        CONTRACT_TEST(ipv6_is_served),
        cmocka_unit_test(addresses_round_trip),
        CONTRACT_TEST(loopback_connections_are_not_paced),
        CONTRACT_TEST(steady_calls_do_not_allocate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
