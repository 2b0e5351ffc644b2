#include "support/script.h"

#include "base/check.h"
#include "engine/records.h"
#include "plan/plan.h"
#include "serve/statement.h"
#include "wire/kafka_batch.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct open_query {
    struct plan *plan;
    struct query *query;
    bool follow;
};

struct script {
    struct scripts *all;
    struct script_part part;
    struct shard_service service;
    struct shard *shard;
    pthread_t thread;
    sem_t go, back;                  /* to the script; back to the shard */
    bool ended;                      /* the script is through */
    bool stopped;                    /* the shard takes no calls any more */
    void (*start)(struct script *s); /* the call to make; NULL = none */
    bool waiting;                    /* its result is not there */
    enum err err;
    struct err_detail why;
    /* the call's arguments and state */
    const char *sql, *topic;
    struct buf *out;
    struct statement statement;
    struct plan *plan;
    struct query *query; /* of script_sql */
    struct open_query open[SCRIPT_QUERIES_MAX];
    uint32_t slot;
    bool follow, more, pulling;
    int64_t at_ns; /* of the timer; INT64_MAX = none */
    struct shard_timer timer;
    const struct catalog *catalog;
    struct append_request append;
    struct ddl_request ddl;
    struct read_request read;
    uint32_t partition;
    int64_t offset, limit;
    uint64_t as_of, epoch;
};

struct scripts {
    struct engine *engine;
    struct host *host;
    uint32_t n;
    _Atomic uint32_t running;
    struct script script[SCRIPTS_MAX];
};

/* ---- handing over ---- */

static void sem_take(sem_t *s)
{
    while (sem_wait(s) != 0) {
    }
}

static void complete(struct script *s, enum err e)
{
    s->err = e;
    s->waiting = false;
}

/* The script's side of a call. */
static enum err call(struct script *s, void (*start)(struct script *s))
{
    if (s->stopped)
        return ERR_SHUTDOWN;
    s->why = (struct err_detail){0};
    s->start = start;
    sem_post(&s->back);
    sem_take(&s->go);
    return s->stopped && (s->waiting || s->err != ERR_OK) ? ERR_SHUTDOWN : s->err;
}

static void *script_main(void *arg)
{
    struct script *s = arg;
    sem_take(&s->go);
    s->part.run(s, s->part.arg);
    s->ended = true;
    sem_post(&s->back);
    return NULL;
}

/* Lets the script run until its next call, or its end. */
static void let_run(struct script *s)
{
    sem_post(&s->go);
    sem_take(&s->back);
}

static void service_turn(struct shard_service *sv, struct shard *shard)
{
    struct script *s = (struct script *)(void *)((char *)sv - offsetof(struct script, service));
    (void)shard;
    while (!s->waiting && !s->ended && !s->stopped) {
        let_run(s);
        if (s->ended) {
            if (atomic_fetch_sub(&s->all->running, 1) == 1)
                host_stop_request(s->all->host);
            return;
        }
        s->waiting = true;
        s->start(s);
    }
}

static void query_end(struct script *s, struct query **q, struct plan **plan)
{
    (void)s;
    query_close(*q);
    *q = NULL;
    plan_free(*plan);
    *plan = NULL;
}

static void service_stop(struct shard_service *sv, struct shard *shard)
{
    struct script *s = (struct script *)(void *)((char *)sv - offsetof(struct script, service));
    (void)shard;
    s->stopped = true;
    shard_timer_cancel(s->shard, &s->timer);
    statement_cancel(&s->statement);
    if (s->query != NULL)
        query_end(s, &s->query, &s->plan);
    for (uint32_t i = 0; i < SCRIPT_QUERIES_MAX; i++)
        if (s->open[i].query != NULL)
            query_end(s, &s->open[i].query, &s->open[i].plan);
}

void script_fail(const char *file, int line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}

int script_child(int (*run)(void *arg), void *arg, char *text, size_t n)
{
    int fds[2], status;
    size_t at = 0;
    ssize_t got;
    char rest[4096];
    CHECK(pipe(fds) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        (void)dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        _exit(run(arg));
    }
    close(fds[1]);
    while ((got = at + 1 < n ? read(fds[0], text + at, n - 1 - at)
                             : read(fds[0], rest, sizeof(rest))) > 0)
        at += at + 1 < n ? (size_t)got : 0;
    text[at] = '\0';
    close(fds[0]);
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool script_flush_failed(const char *text)
{
    const char *fatal = strstr(text, "tidemill: fatal: flushing ");
    return fatal != NULL && strstr(fatal, "could not be made durable") != NULL;
}

/* ---- rows ---- */

static void put_rows(struct buf *out, const struct batch *b, bool signs)
{
    for (uint32_t i = 0; out != NULL && i < b->n_rows; i++) {
        if (signs)
            buf_put_u8(out, b->weights == NULL || b->weights[i] > 0 ? '+' : '-');
        for (uint32_t c = 0; c < b->n_columns; c++) {
            struct value v = column_get(&b->columns[c], i);
            if (c > 0)
                buf_put_u8(out, '|');
            if (v.null)
                buf_put_str(out, STR("NULL"));
            else
                value_print(&v, out);
        }
        buf_put_u8(out, '\n');
    }
}

/* ---- statements ---- */

static void statement_finished(struct statement *st)
{
    struct script *s = st->arg;
    s->why = st->why;
    plan_free(s->plan);
    s->plan = NULL;
    complete(s, st->err);
}

static void pull(struct script *s);

static void pulled(void *arg, const struct query_result *r)
{
    struct script *s = arg;
    if (r->why != NULL)
        s->why = *r->why;
    if (r->err != ERR_OK || r->rows == NULL) {
        enum err e = r->err;
        if (e != ERR_CANCELED)
            query_end(s, &s->query, &s->plan);
        complete(s, e);
        return;
    }
    put_rows(s->out, r->rows, false);
    pull(s);
}

static void pull(struct script *s)
{
    query_pull(s->query, pulled, s);
}

static void sql_start(struct script *s)
{
    enum err e =
        plan_statement(str_of(s->sql), shard_catalog(s->shard), NULL, 0, &s->plan, &s->why);
    if (e != ERR_OK) {
        complete(s, e);
        return;
    }
    if (statement_runs(s->plan->kind)) {
        s->statement = (struct statement){.done = statement_finished, .arg = s};
        statement_run(s->shard, s->plan, &s->statement);
        return;
    }
    e = query_open(s->shard, s->plan, false, &s->query, &s->why);
    if (e != ERR_OK) {
        plan_free(s->plan);
        s->plan = NULL;
        complete(s, e);
        return;
    }
    pull(s);
}

enum err script_sql(struct script *s, const char *sql, struct buf *rows)
{
    s->sql = sql;
    s->out = rows;
    return call(s, sql_start);
}

const char *script_error(const struct script *s)
{
    return err_text(s->err, &s->why);
}

enum err script_until(struct script *s, const char *sql, const char *expected, int64_t ms_max,
                      struct buf *rows)
{
    int64_t end = host_mono_ns(s->all->host) + ms_max * 1000000;
    for (;;) {
        buf_clear(rows);
        enum err e = script_sql(s, sql, rows);
        if (e == ERR_OK && str_eq(buf_str(rows), str_of(expected)))
            return ERR_OK;
        if (e != ERR_OK && e != ERR_BUSY)
            return e;
        if (host_mono_ns(s->all->host) > end)
            return ERR_BUSY;
        if (script_sleep(s, 5) != ERR_OK)
            return ERR_SHUTDOWN;
    }
}

/* ---- topics ---- */

static enum err grow_amend(struct ddl_request *r, const struct topic *now)
{
    const struct script *s = r->arg;
    (void)now;
    r->change.topic.n_partitions = s->partition;
    return ERR_OK;
}

static void grown(struct ddl_request *r)
{
    struct script *s = r->arg;
    s->why = r->why;
    complete(s, r->err);
}

static void grow_start(struct script *s)
{
    s->ddl = (struct ddl_request){.amend = grow_amend, .done = grown, .arg = s};
    s->ddl.change.verb = CHANGE_ALTER_TOPIC;
    s->ddl.change.name = str_of(s->topic);
    shard_ddl(s->shard, &s->ddl);
}

enum err script_grow(struct script *s, const char *topic, uint32_t n_partitions)
{
    s->topic = topic;
    s->partition = n_partitions;
    return call(s, grow_start);
}

/* ---- records ---- */

static const struct topic *find_topic(struct script *s)
{
    s->catalog = catalog_ref(shard_catalog(s->shard));
    const struct topic *t = catalog_topic(s->catalog, str_of(s->topic));
    if (t == NULL || s->partition >= t->n_partitions) {
        catalog_unref(s->catalog);
        s->catalog = NULL;
        complete(s, ERR_UNKNOWN_PARTITION);
        return NULL;
    }
    return t;
}

static void release(struct script *s, enum err e)
{
    catalog_unref(s->catalog);
    s->catalog = NULL;
    complete(s, e);
}

static void appended(struct append_request *r)
{
    struct script *s = r->arg;
    s->why = r->why;
    release(s, r->err);
}

static void append_start(struct script *s)
{
    s->append.topic = find_topic(s);
    if (s->append.topic != NULL)
        shard_append(s->shard, &s->append);
}

enum err script_append(struct script *s, const char *topic, uint32_t partition, char *batch,
                       size_t n, uint32_t n_records)
{
    s->topic = topic;
    s->partition = partition;
    s->append = (struct append_request){.partition = partition,
                                        .batches = batch,
                                        .n_bytes = n,
                                        .n_records = n_records,
                                        .want_durable = true,
                                        .done = appended,
                                        .arg = s};
    return call(s, append_start);
}

enum err script_marker(struct script *s, const char *topic, uint32_t partition, int64_t producer_id,
                       int16_t epoch, bool commit)
{
    struct buf bytes;
    buf_init(&bytes, SCRIPT_TEXT_MAX);
    kafka_marker_put(&bytes, producer_id, epoch, commit, 1767225600000);
    s->topic = topic;
    s->partition = partition;
    s->append = (struct append_request){.partition = partition,
                                        .batches = bytes.ptr,
                                        .n_bytes = bytes.len,
                                        .n_records = 1,
                                        .want_durable = true,
                                        .marker = true,
                                        .done = appended,
                                        .arg = s};
    enum err e = bytes.failed ? ERR_NO_MEMORY : call(s, append_start);
    buf_deinit(&bytes);
    return e;
}

enum err script_produce(struct script *s, const char *topic, uint32_t partition,
                        const char *const *values, uint32_t n)
{
    struct records r;
    struct err_detail why;
    records_init(&r);
    for (uint32_t i = 0; i < n; i++)
        records_add(&r, (struct str){0}, str_of(values[i]), 1767225600000, NULL, 0);
    enum err e = records_finish(&r, &why);
    if (e == ERR_OK)
        e = script_append(s, topic, partition, r.bytes.ptr, r.bytes.len, n);
    records_deinit(&r);
    return e;
}

static void read_start(struct script *s);

static void put_record(struct buf *out, const struct kafka_record *rec)
{
    struct str before = {0}, epoch = {0}, rest = rec->headers;
    struct kafka_header h;
    while (kafka_record_header(&rest, &h)) {
        if (str_eq(h.key, STR("before")))
            before = h.value;
        if (str_eq(h.key, STR("epoch")))
            epoch = h.value;
    }
    const struct str part[] = {rec->key, rec->value, before, epoch};
    buf_printf(out, "%lld", (long long)rec->offset);
    for (int i = 0; i < 4; i++) {
        buf_put_u8(out, '\t');
        buf_put_str(out, part[i].ptr == NULL ? STR("-") : part[i]);
    }
    buf_put_u8(out, '\n');
}

static enum err put_range(struct script *s, const struct log_range *range)
{
    char *bytes = malloc(range->len);
    if (bytes == NULL)
        return ERR_NO_MEMORY;
    enum err e = host_file_read(range->file, range->at, bytes, range->len);
    struct str run = {bytes, range->len}, batch;
    struct kafka_batch header;
    struct err_detail why;
    while (e == ERR_OK && kafka_batch_next(&run, &header, &batch, &e, &why)) {
        struct kafka_records it;
        struct kafka_record rec;
        e = kafka_records_open(&it, batch, NULL, NULL, &why);
        while (e == ERR_OK && kafka_records_read(&it, &rec, 1) == 1)
            if (rec.offset >= s->offset)
                put_record(s->out, &rec);
        if (e == ERR_OK)
            e = kafka_records_end(&it, &why);
    }
    free(bytes);
    return e;
}

static void read_finished(struct read_request *r)
{
    struct script *s = r->arg;
    s->why = r->why;
    s->limit = r->high_watermark;
    if (r->err != ERR_OK || r->range.len == 0) {
        log_range_release(&r->range);
        release(s, r->err);
        return;
    }
    enum err e = s->stopped ? ERR_SHUTDOWN : put_range(s, &r->range);
    s->offset = r->range.next_offset;
    log_range_release(&r->range);
    if (e != ERR_OK)
        release(s, e);
    else
        read_start(s);
}

static void read_start(struct script *s)
{
    s->read = (struct read_request){.topic = s->read.topic,
                                    .partition = s->partition,
                                    .offset = s->offset,
                                    .bytes_max = 1 << 20,
                                    .epoch = s->as_of,
                                    .done = read_finished,
                                    .arg = s};
    shard_read(s->shard, &s->read);
}

static void read_first(struct script *s)
{
    s->read.topic = find_topic(s);
    if (s->read.topic != NULL)
        read_start(s);
}

enum err script_read(struct script *s, const char *topic, uint32_t partition, int64_t from,
                     struct buf *lines, int64_t *end)
{
    return script_read_as_of(s, topic, partition, from, 0, lines, end);
}

enum err script_read_as_of(struct script *s, const char *topic, uint32_t partition, int64_t from,
                           uint64_t epoch, struct buf *lines, int64_t *end)
{
    s->as_of = epoch;
    s->topic = topic;
    s->partition = partition;
    s->offset = from;
    s->out = lines;
    enum err e = call(s, read_first);
    if (end != NULL)
        *end = s->limit;
    return e;
}

/* ---- time ---- */

static void timer_fire(struct shard_timer *t)
{
    struct script *s = (struct script *)(void *)((char *)t - offsetof(struct script, timer));
    if (s->pulling) { /* the query has waited long enough */
        struct open_query *o = &s->open[s->slot];
        query_end(s, &o->query, &o->plan);
        return;
    }
    complete(s, ERR_OK);
}

static void sleep_start(struct script *s)
{
    enum err e = shard_timer_set(s->shard, &s->timer, s->at_ns);
    if (e != ERR_OK)
        complete(s, e);
}

enum err script_sleep(struct script *s, int64_t ms)
{
    s->at_ns = host_mono_ns(s->all->host) + ms * 1000000;
    return call(s, sleep_start);
}

/* ---- queries that stay open ---- */

static void open_start(struct script *s)
{
    struct open_query *o = &s->open[s->slot];
    o->follow = s->follow;
    enum err e =
        plan_statement(str_of(s->sql), shard_catalog(s->shard), NULL, 0, &o->plan, &s->why);
    if (e == ERR_OK)
        e = query_open(s->shard, o->plan, s->follow, &o->query, &s->why);
    if (e != ERR_OK) {
        plan_free(o->plan);
        o->plan = NULL;
    }
    complete(s, e);
}

enum err script_query_open(struct script *s, uint32_t slot, const char *sql, bool follow)
{
    CHECK(slot < SCRIPT_QUERIES_MAX && s->open[slot].query == NULL);
    s->slot = slot;
    s->sql = sql;
    s->follow = follow;
    return call(s, open_start);
}

static void open_pulled(void *arg, const struct query_result *r)
{
    struct script *s = arg;
    s->pulling = false;
    shard_timer_cancel(s->shard, &s->timer);
    if (r->why != NULL)
        s->why = *r->why;
    s->epoch = r->epoch;
    s->more = r->err == ERR_OK && r->rows != NULL && !r->snapshot_end;
    if (r->rows != NULL)
        put_rows(s->out, r->rows, s->open[s->slot].follow);
    complete(s, r->err == ERR_CANCELED ? ERR_BUSY : r->err);
}

static void pull_start(struct script *s)
{
    s->pulling = true;
    if (s->at_ns != INT64_MAX && shard_timer_set(s->shard, &s->timer, s->at_ns) != ERR_OK) {
        complete(s, ERR_NO_MEMORY);
        return;
    }
    query_pull(s->open[s->slot].query, open_pulled, s);
}

enum err script_query_pull(struct script *s, uint32_t slot, int64_t ms_max, struct buf *lines,
                           bool *more)
{
    s->slot = slot;
    s->out = lines;
    *more = false;
    if (s->stopped || s->open[slot].query == NULL)
        return ERR_SHUTDOWN;
    s->at_ns = ms_max < 0 ? INT64_MAX : host_mono_ns(s->all->host) + ms_max * 1000000;
    enum err e = call(s, pull_start);
    *more = e == ERR_OK && s->more;
    return e;
}

uint64_t script_query_epoch(const struct script *s)
{
    return s->epoch;
}

static void close_start(struct script *s)
{
    struct open_query *o = &s->open[s->slot];
    if (o->query != NULL)
        query_end(s, &o->query, &o->plan);
    complete(s, ERR_OK);
}

void script_query_close(struct script *s, uint32_t slot)
{
    s->slot = slot;
    (void)call(s, close_start);
}

struct engine *script_engine(struct script *s)
{
    return s->all->engine;
}

struct host *script_host(struct script *s)
{
    return s->all->host;
}

void script_stop(struct script *s)
{
    host_stop_request(s->all->host);
    (void)script_sleep(s, 60000);
}

/* ---- running ---- */

static void part_begin(struct scripts *all, uint32_t i, const struct script_part *part)
{
    struct script *s = &all->script[i];
    *s = (struct script){.all = all, .part = *part, .at_ns = INT64_MAX};
    s->timer.fire = timer_fire;
    s->shard = engine_shard(all->engine, part->shard % engine_shards(all->engine));
    s->service.turn = service_turn;
    s->service.stop = service_stop;
    CHECK(sem_init(&s->go, 0, 0) == 0 && sem_init(&s->back, 0, 0) == 0);
    CHECK(pthread_create(&s->thread, NULL, script_main, s) == 0);
    shard_service_add(s->shard, &s->service);
}

/* The script's calls fail from now on: it runs to its end. */
static void part_end(struct script *s)
{
    s->stopped = true;
    if (!s->ended)
        let_run(s);
    CHECK(s->ended);
    pthread_join(s->thread, NULL);
    sem_destroy(&s->go);
    sem_destroy(&s->back);
}

static uint32_t left_running;

uint32_t scripts_left_running(void)
{
    return left_running;
}

static enum err run_parts(struct host *h, const struct engine_options *options,
                          const struct script_part *parts, uint32_t n, bool simulated,
                          struct err_detail *why)
{
    struct err_detail unused = {0};
    CHECK(n > 0 && n <= SCRIPTS_MAX);
    struct scripts *all = calloc(1, sizeof(*all));
    CHECK(all != NULL);
    enum err e = engine_open(h, options, &all->engine, why == NULL ? &unused : why);
    if (e != ERR_OK) {
        free(all);
        return e;
    }
    all->host = h;
    all->n = n;
    atomic_store(&all->running, n);
    for (uint32_t i = 0; i < n; i++)
        part_begin(all, i, &parts[i]);
    host_run(h);
    bool halted = simulated && host_sim_halted(h);
    left_running = 0;
    for (uint32_t i = 0; i < n; i++) {
        left_running += all->script[i].statement.running;
        part_end(&all->script[i]);
    }
    if (!halted) {
        engine_close(all->engine);
        free(all);
    }
    return ERR_OK;
}

enum err scripts_run(struct host *h, const struct engine_options *options,
                     const struct script_part *parts, uint32_t n, struct err_detail *why)
{
    return run_parts(h, options, parts, n, true, why);
}

enum err scripts_run_real(struct host *h, const struct engine_options *options,
                          const struct script_part *parts, uint32_t n, struct err_detail *why)
{
    return run_parts(h, options, parts, n, false, why);
}
