/* The simulated host: one thread runs every worker, in an order, at times and with delays that
 * follow from the seed.
 *
 *   host_run:  pick a ready worker at random -> its turn -> ... ; when none is ready, the clock
 *              jumps to the next deadline, arrival or end of a connection
 *
 * A turn never blocks: host_poll notes the deadline and returns what is there. So a worker sleeps
 * only after two turns in a row that found nothing: the first of them may still have changed what
 * the worker waits for. */
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "host/sim_int.h"

#include <string.h>

enum {
    NS_PER_US = 1000,
    CLOCK_READ_NS = 25,    /* reading the clock takes time, so a loop that waits for it ends */
    TURN_NS_MIN = 200,     /* so does a turn */
    TURN_NS_SPREAD = 2000,
    IDLE_TURNS = 2,
};
#define RUN_NS_DEFAULT ((int64_t)3600 * 1000000000)

void sim_trace(struct sim_host *h, enum sim_event event, uint64_t value)
{
    h->trace = hash_u64(h->trace ^ hash_u64(value ^ (uint64_t)event << 56));
}

int64_t sim_delay_ns(struct sim_host *h, uint32_t us_max)
{
    if (us_max == 0)
        return 0;
    return (int64_t)sim_rng_below(&h->rng, (uint64_t)us_max * NS_PER_US + 1);
}

/* ---- clock and randomness ---- */

static int64_t sim_mono_ns(struct host *base)
{
    struct sim_host *h = (struct sim_host *)base;
    h->now_ns += CLOCK_READ_NS;
    sim_trace(h, SIM_CLOCK, (uint64_t)h->now_ns);
    return h->now_ns;
}

static int64_t sim_wall_us(struct host *base)
{
    struct sim_host *h = (struct sim_host *)base;
    return h->wall_offset_us + sim_mono_ns(base) / NS_PER_US;
}

static void sim_random(struct host *base, void *out, size_t n)
{
    struct sim_host *h = (struct sim_host *)base;
    char *p = out;
    while (n > 0) {
        uint64_t bits = sim_rng_next(&h->rng);
        size_t part = n < sizeof bits ? n : sizeof bits;
        memcpy(p, &bits, part);
        sim_trace(h, SIM_RANDOM, bits);
        p += part;
        n -= part;
    }
}

/* ---- workers ---- */

static enum err sim_worker_start(struct host *base, const char *name, bool (*turn)(void *arg),
                                 void *arg, struct host_worker **out)
{
    struct sim_host *h = (struct sim_host *)base;
    (void)name;
    if (h->dead || h->halted)
        return ERR_SHUTDOWN;
    if (h->worker_count == HOST_WORKERS_MAX)
        return ERR_LIMIT;
    struct sim_worker *w = mem_zalloc(1, sizeof *w);
    if (w == NULL)
        return ERR_NO_MEMORY;
    w->base.ops = &sim_ops;
    w->host = h;
    w->turn = turn;
    w->arg = arg;
    w->id = (uint32_t)h->worker_count;
    list_init(&w->sockets);
    h->workers[h->worker_count++] = w;
    *out = &w->base;
    return ERR_OK;
}

static void sim_worker_wake(struct host_worker *base)
{
    struct sim_worker *w = (struct sim_worker *)base;
    w->woken = true;
    sim_trace(w->host, SIM_WAKE, w->id);
}

static size_t sim_poll(struct host_worker *base, struct host_event *events, size_t max,
                       int64_t deadline_ns)
{
    struct sim_worker *w = (struct sim_worker *)base;
    struct sim_host *h = w->host;
    size_t count = 0;
    struct list *last = NULL;
    LIST_FOR(it, &w->sockets) {
        struct sim_socket *s = sim_socket_of_link(it);
        uint32_t ready = sim_socket_ready(s);
        if (ready == 0)
            continue;
        events[count++] = (struct host_event){.tag = sim_socket_tag(s), .ready = ready};
        last = it;
        if (count == max)
            break;
    }
    if (count == max && last != NULL && last->next != &w->sockets) {
        /* The next poll begins behind this one: no socket starves the others. The head moves. */
        struct list *first = last->next;
        list_remove(&w->sockets);
        list_add(first, &w->sockets);
    }
    w->polled = true;
    w->found |= count > 0 || w->woken || deadline_ns <= h->now_ns;
    w->woken = false;
    w->deadline_ns = deadline_ns;
    return count;
}

/* ---- the schedule ---- */

static bool worker_ready(struct sim_worker *w)
{
    if (w->ended)
        return false;
    if (w->woken || w->idle_turns < IDLE_TURNS || w->deadline_ns <= w->host->now_ns)
        return true;
    LIST_FOR(it, &w->sockets)
        if (sim_socket_ready(sim_socket_of_link(it)) != 0)
            return true;
    return false;
}

/* When the next thing happens by itself; INT64_MAX = never. */
static int64_t next_ns(struct sim_host *h)
{
    int64_t best = INT64_MAX;
    for (size_t i = 0; i < h->worker_count; i++) {
        struct sim_worker *w = h->workers[i];
        if (w->ended)
            continue;
        if (w->deadline_ns < best)
            best = w->deadline_ns;
        LIST_FOR(it, &w->sockets) {
            int64_t at = sim_socket_next_ns(sim_socket_of_link(it));
            if (at < best)
                best = at;
        }
    }
    return best;
}

static void worker_turn(struct sim_host *h, struct sim_worker *w)
{
    h->now_ns += TURN_NS_MIN + (int64_t)sim_rng_below(&h->rng, TURN_NS_SPREAD);
    sim_trace(h, SIM_TURN, w->id ^ (uint64_t)h->now_ns << 8);
    w->polled = w->found = false;
    if (!w->turn(w->arg))
        w->ended = true;
    /* A turn that did not poll has more to do. */
    w->idle_turns = w->found || !w->polled ? 0 : w->idle_turns + 1;
}

static void schedule(struct sim_host *h)
{
    int64_t run_ns_max = h->options.run_ns_max > 0 ? h->options.run_ns_max : RUN_NS_DEFAULT;
    int64_t give_up_ns = h->now_ns + run_ns_max;
    struct sim_worker *ready[HOST_WORKERS_MAX];
    while (!h->halted && h->now_ns < give_up_ns) {
        size_t n = 0;
        for (size_t i = 0; i < h->worker_count; i++)
            if (worker_ready(h->workers[i]))
                ready[n++] = h->workers[i];
        if (n > 0) {
            worker_turn(h, ready[sim_rng_below(&h->rng, n)]);
            continue;
        }
        int64_t at = next_ns(h);
        if (at == INT64_MAX)
            return; /* all ended, or each waits for another one */
        if (at > h->now_ns)
            h->now_ns = at;
    }
}

static void sim_run(struct host *base)
{
    struct sim_host *h = (struct sim_host *)base;
    CHECK(!h->dead && !h->running);
    h->running = true;
    if (setjmp(h->halt) == 0)
        schedule(h);
    h->running = false;
}

/* ---- stopping ---- */

static bool sim_stop_requested(struct host *base)
{
    struct sim_host *h = (struct sim_host *)base;
    return h->stop;
}

static void sim_stop_request(struct host *base)
{
    struct sim_host *h = (struct sim_host *)base;
    h->stop = true;
    for (size_t i = 0; i < h->worker_count; i++)
        h->workers[i]->woken = true;
}

/* ---- birth, death and rebirth ---- */

static struct sim_host *host_new(void)
{
    struct sim_host *h = mem_zalloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->base.ops = &sim_ops;
    list_init(&h->sockets);
    list_init(&h->files);
    return h;
}

struct host *host_sim_open(const struct sim_options *options)
{
    struct sim_host *h = host_new();
    if (h == NULL)
        return NULL;
    h->disk = sim_disk_new(options->disk_bytes_max);
    if (h->disk == NULL) {
        mem_free(h);
        return NULL;
    }
    h->options = *options;
    h->now_ns = 1;
    h->wall_offset_us = options->wall_us;
    sim_rng_init(&h->rng, options->seed);
    return &h->base;
}

static void host_free(struct sim_host *h)
{
    sim_net_free(h);
    sim_files_free(h);
    for (size_t i = 0; i < h->worker_count; i++)
        mem_free(h->workers[i]);
    mem_free(h);
}

static void sim_close(struct host *base)
{
    struct sim_host *h = (struct sim_host *)base;
    CHECK(!h->dead && !h->running);
    struct sim_disk *disk = h->disk;
    while (h != NULL) {
        struct sim_host *ancestor = h->ancestor;
        host_free(h);
        h = ancestor;
    }
    sim_disk_free(disk);
}

/* A new process over the disk of the old one, which is dead from now on. NULL = all is freed. */
static struct sim_host *reborn(struct sim_host *old)
{
    CHECK(!old->dead && !old->running);
    struct sim_host *h = host_new();
    if (h == NULL) {
        sim_close(&old->base);
        return NULL;
    }
    sim_files_die(old);
    h->options = old->options;
    h->rng = old->rng;
    h->trace = old->trace;
    h->now_ns = old->now_ns;
    h->wall_offset_us = old->wall_offset_us;
    h->next_port = old->next_port;
    h->disk = old->disk;
    h->ancestor = old;
    old->disk = NULL;
    old->dead = true;
    return h;
}

static struct sim_host *sim_of(struct host *base)
{
    CHECK(base->ops == &sim_ops);
    return (struct sim_host *)base;
}

struct host *host_sim_crash(struct host *base)
{
    struct sim_host *h = reborn(sim_of(base));
    return h == NULL ? NULL : &h->base;
}

struct host *host_sim_power_cut(struct host *base, uint64_t seed)
{
    struct sim_host *h = reborn(sim_of(base));
    if (h == NULL)
        return NULL;
    struct sim_rng cut;
    sim_rng_init(&cut, seed);
    sim_trace(h, SIM_RANDOM, seed);
    if (sim_disk_power_cut(h->disk, &cut) != ERR_OK) {
        sim_close(&h->base);
        return NULL;
    }
    return &h->base;
}

uint64_t host_sim_trace(struct host *base)
{
    return sim_of(base)->trace;
}

void host_sim_disk_limit(struct host *base, uint64_t bytes_max)
{
    sim_of(base)->disk->bytes_max = bytes_max;
}

void host_sim_wall_jump(struct host *base, int64_t delta_us)
{
    struct sim_host *h = sim_of(base);
    h->wall_offset_us += delta_us;
    sim_trace(h, SIM_CLOCK, (uint64_t)delta_us);
}

size_t host_sim_workers_left(struct host *base)
{
    struct sim_host *h = sim_of(base);
    size_t left = 0;
    for (size_t i = 0; i < h->worker_count; i++)
        left += !h->workers[i]->ended;
    return left;
}

bool host_sim_halted(struct host *base)
{
    return sim_of(base)->halted;
}

const struct host_ops sim_ops = {
    .mono_ns = sim_mono_ns,
    .wall_us = sim_wall_us,
    .random = sim_random,
    .worker_start = sim_worker_start,
    .worker_wake = sim_worker_wake,
    .run = sim_run,
    .close = sim_close,
    .poll = sim_poll,
    .watch = sim_watch,
    .listen = sim_listen,
    .accept = sim_accept,
    .connect = sim_connect,
    .recv = sim_recv,
    .sendv = sim_sendv,
    .send_file = sim_send_file,
    .socket_close = sim_socket_close,
    .file_open = sim_file_open,
    .file_close = sim_file_close,
    .file_read = sim_file_read,
    .file_write = sim_file_write,
    .file_sync = sim_file_sync,
    .file_size = sim_file_size,
    .file_truncate = sim_file_truncate,
    .file_allocate = sim_file_allocate,
    .file_lock = sim_file_lock,
    .file_write_out = sim_file_write_out,
    .rename = sim_rename,
    .remove = sim_remove,
    .dir_create = sim_dir_create,
    .dir_sync = sim_dir_sync,
    .dir_list = sim_dir_list,
    .path_exists = sim_path_exists,
    .disk_free = sim_free_bytes,
    .stop_requested = sim_stop_requested,
    .stop_request = sim_stop_request,
};
