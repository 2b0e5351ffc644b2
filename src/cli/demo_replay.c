/* The demo's worker.
 *
 *   wait until ready --> pipeline.sql, statement by statement (POST /v1/query)
 *     --> follow sensor_now (GET .../changes); its first rows say what an earlier run has sent
 *     --> history: readings before --from, a request after the other
 *     --> replay: each reading when the event clock comes to it
 *     --> wait until sensor_now shows everything --> summary
 *
 * One request is under way at a time, so the order of a sensor's readings is kept. A request of the
 * replay spans no more event time than the table's lateness: partitions of one request become
 * visible one after the other, and none may run ahead of the others by more than that. */
#include "base/check.h"
#include "cli/demo_int.h"
#include "type/datetime.h"
#include "wire/json.h"

#include <stdio.h>

enum {
    READY_CHECK_MS = 5,
    RETRY_MS = 50,        /* after 429 */
    VIEW_WAIT_S_MAX = 60, /* for the view to show one more reading */
    TICK_MS = 10,         /* of the replay: readings that are due are sent together */
    PIPELINE_BYTES_MAX = SQL_BYTES_MAX,
    NS_PER_MS = 1000000,
};
#define NS_PER_S       INT64_C(1000000000)
#define NS_PER_US      1000
#define REPLAY_SPAN_US (30 * US_PER_MINUTE)
#define ROWS_PATH      "/v1/tables/readings/rows"
#define CHANGES_PATH   "/v1/views/sensor_now/changes"

static int64_t now_ns(const struct demo *d)
{
    return host_mono_ns(d->server->host);
}

/* ---- the push of sensor_now ---- */

/* The view shows `count` readings of the sensor. */
static void series_seen(struct demo *d, struct demo_series *s, uint64_t count)
{
    s->seen = count > s->seen ? count : s->seen;
    while (s->n_unseen > 0 && s->unseen[s->unseen_at].count <= s->seen) {
        const struct demo_unseen *u = &s->unseen[s->unseen_at];
        d->visible_ns = now_ns(d);
        demo_latency_add(d, d->visible_ns - u->sent_ns, u->rows);
        s->unseen_at = (s->unseen_at + 1) % DEMO_UNSEEN_MAX;
        s->n_unseen--;
    }
}

static enum err row_take(struct demo *d, struct str data, struct err_detail *why)
{
    struct json_value event, weight, row, sensor, count;
    int64_t n = 0;
    TRY(json_read(data, &event, why));
    if (!json_member(&event, STR("weight"), &weight) || !json_member(&event, STR("row"), &row) ||
        !json_member(&row, STR("sensor"), &sensor) || sensor.kind != JSON_STRING ||
        !json_member(&row, STR("readings"), &count) || str_to_i64(count.text, &n) != ERR_OK)
        return err_set(why, ERR_INVALID_ARGUMENT,
                       "the view \"sensor_now\" of the pipeline needs the columns \"sensor\" and "
                       "\"readings\" (their count)");
    struct arena a;
    arena_init(&a, DEMO_ANSWER_BYTES_MAX);
    struct demo_series *s = demo_readings_find(&d->readings, json_string(&sensor, &a));
    arena_deinit(&a);
    if (s != NULL && n > 0 && weight.text.ptr[0] != '-')
        series_seen(d, s, (uint64_t)n);
    return ERR_OK;
}

/* One event: lines "event: NAME", "id: N", "data: JSON". */
static enum err event_take(struct demo *d, struct str event, struct err_detail *why)
{
    struct str name = {0}, data = {0};
    for (size_t at = 0; at < event.len;) {
        const char *line = event.ptr + at;
        const char *end = memchr(line, '\n', event.len - at);
        struct str s = {line, end == NULL ? event.len - at : (size_t)(end - line)};
        if (str_starts(s, STR("event: ")))
            name = (struct str){s.ptr + 7, s.len - 7};
        if (str_starts(s, STR("data: ")))
            data = (struct str){s.ptr + 6, s.len - 6};
        at += s.len + 1;
    }
    if (str_eq(name, STR("snapshot_end")))
        d->snapshot_over = true;
    if (str_eq(name, STR("error")))
        return err_set(why, ERR_IO, "the changes of \"sensor_now\" ended: %.*s", STR_ARG(data));
    return str_eq(name, STR("row")) ? row_take(d, data, why) : ERR_OK;
}

static enum err changes_take(struct demo *d, struct err_detail *why)
{
    struct demo_conn *c = &d->changes;
    if (c->socket == NULL || c->state == DEMO_HEAD)
        return ERR_OK;
    if (c->err != ERR_OK || c->state == DEMO_ANSWERED) {
        if (c->status != 0 && c->status != 200) {
            enum err e = demo_answer_error(c, why);
            err_hint(why, "the pipeline has to make a table \"readings\" (sensor, value, ts) and a "
                          "view \"sensor_now\" (sensor, readings): see examples/sensors/README.md");
            return e;
        }
        return err_set(why, ERR_CLOSED, "the changes of \"sensor_now\" ended: %s", c->why.text);
    }
    size_t taken = 0;
    while (taken < c->body.len) {
        const char *begin = c->body.ptr + taken;
        const char *end = memmem(begin, c->body.len - taken, "\n\n", 2);
        if (end == NULL)
            break;
        TRY(event_take(d, (struct str){begin, (size_t)(end - begin)}, why));
        taken += (size_t)(end - begin) + 2;
    }
    buf_consume(&c->body, taken);
    return ERR_OK;
}

/* Waits for whatever comes first, and takes it. */
static enum err pump(struct demo *d, int64_t deadline_ns, struct err_detail *why)
{
    TRY(demo_wait(d->server->host, d->worker, deadline_ns));
    TRY(changes_take(d, why));
    demo_progress(d, false);
    return ERR_OK;
}

static enum err pump_for(struct demo *d, int64_t ns, struct err_detail *why)
{
    int64_t end = now_ns(d) + ns;
    do
        TRY(pump(d, end, why));
    while (now_ns(d) < end);
    return ERR_OK;
}

/* ---- calls ---- */

enum err demo_call(struct demo *d, const char *method, const char *path, struct str body,
                   struct err_detail *why)
{
    struct demo_conn *c = &d->calls;
    TRY(demo_conn_request(c, method, path, body, why));
    while (c->state != DEMO_ANSWERED) {
        if (c->err != ERR_OK)
            return err_set(why, c->err, "%s %s: %s", method, path, c->why.text);
        TRY(pump(d, now_ns(d) + NS_PER_S, why));
    }
    return c->status == 200 ? ERR_OK : demo_answer_error(c, why);
}

enum err demo_query(struct demo *d, const char *sql, struct str *out, struct err_detail *why)
{
    struct json_value answer, rows, row, item;
    size_t rows_at = 0, at = 0;
    struct str key;
    *out = (struct str){0};
    TRY(demo_call(d, "POST", "/v1/query", str_of(sql), why));
    TRY(json_read(buf_str(&d->calls.body), &answer, why));
    if (!json_member(&answer, STR("rows"), &rows) || rows.kind != JSON_ARRAY)
        return err_set(why, ERR_MALFORMED, "the server's answer to a query has no rows");
    if (json_next(&rows, &rows_at, &key, &row) && json_next(&row, &at, &key, &item)) {
        *out = item.text;
        if (item.kind == JSON_STRING)
            *out = (struct str){item.text.ptr + 1, item.text.len - 2};
    }
    return ERR_OK;
}

enum err demo_query_number(struct demo *d, const char *sql, uint64_t *out, struct err_detail *why)
{
    struct str text;
    int64_t n = 0;
    TRY(demo_query(d, sql, &text, why));
    if (str_to_i64(text, &n) != ERR_OK || n < 0)
        return err_set(why, ERR_MALFORMED, "%s: not a count: \"%.*s\"", sql, STR_ARG(text));
    *out = (uint64_t)n;
    return ERR_OK;
}

/* ---- the pipeline ---- */

static enum err pipeline_run(struct demo *d, struct err_detail *why)
{
    struct arena a;
    struct str *statements, text = buf_str(&d->pipeline);
    uint32_t n = 0;
    arena_init(&a, PIPELINE_BYTES_MAX);
    enum err e = sql_split(text, &a, &statements, &n, why);
    const char *begin = text.ptr;
    for (uint32_t i = 0; e == ERR_OK && i < n; i++) {
        begin = statements[i].ptr;
        e = demo_call(d, "POST", "/v1/query", statements[i], why);
    }
    arena_deinit(&a);
    if (e == ERR_OK || e == ERR_SHUTDOWN)
        return e;
    int line = 1, left = why->position;
    for (const char *p = text.ptr; p < text.ptr + text.len && (p < begin || left > 1); p++) {
        line += *p == '\n';
        left -= p >= begin && ((unsigned char)*p & 0xC0) != 0x80;
    }
    char hint[ERR_HINT_MAX];
    memcpy(hint, why->hint, sizeof hint);
    err_set(why, e, "%s:%d: %s", d->pipeline_path, line, err_text(e, why));
    err_hint(why, "%s", hint);
    return e;
}

/* ---- sending ---- */

static uint64_t unseen_rows(const struct demo *d)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < d->readings.n; i++)
        n += d->readings.series[i].sent - (d->readings.series[i].seen < d->readings.series[i].sent
                                               ? d->readings.series[i].seen
                                               : d->readings.series[i].sent);
    return n;
}

/* Waits until at most `rows` readings are not in the view yet. */
static enum err view_wait(struct demo *d, uint64_t rows, struct err_detail *why)
{
    int64_t last_ns = now_ns(d);
    uint64_t before = unseen_rows(d);
    while (before > rows) {
        TRY(pump(d, now_ns(d) + NS_PER_S, why));
        uint64_t n = unseen_rows(d);
        if (n != before)
            last_ns = now_ns(d);
        before = n;
        if (now_ns(d) - last_ns > VIEW_WAIT_S_MAX * NS_PER_S)
            return err_set(why, ERR_TIMEOUT,
                           "%llu readings were acknowledged, but the view \"sensor_now\" does not "
                           "show them within %d s",
                           (unsigned long long)n, VIEW_WAIT_S_MAX);
    }
    return ERR_OK;
}

static bool unseen_full(const struct demo *d)
{
    for (uint32_t i = 0; i < d->readings.n; i++)
        if (d->readings.series[i].n_unseen == DEMO_UNSEEN_MAX)
            return true;
    return false;
}

/* Takes readings up to `until_us` into the request's body; `span_us` bounds how far apart they are.
 * Returns how many; `taken[i]` of series i. */
static uint32_t rows_take(struct demo *d, int64_t until_us, int64_t span_us,
                          uint32_t taken[DEMO_SENSORS_MAX])
{
    int64_t begin_us = 0;
    uint32_t n = 0;
    memset(taken, 0, sizeof(*taken) * DEMO_SENSORS_MAX);
    buf_clear(&d->rows);
    while (n < DEMO_ROWS_PER_REQUEST_MAX) {
        struct demo_series *s = demo_readings_first(&d->readings);
        if (s == NULL || s->next.ts_us > until_us || (n > 0 && s->next.ts_us - begin_us > span_us))
            break;
        begin_us = n == 0 ? s->next.ts_us : begin_us;
        char time[DATETIME_TEXT_MAX];
        size_t len = timestamptz_print_iso(s->next.ts_us, time);
        buf_put_str(&d->rows, STR("{\"sensor\": "));
        json_write_string(&d->rows, str_of(s->name));
        buf_printf(&d->rows, ", \"value\": %.*s, \"ts\": \"%.*s\"}\n", STR_ARG(s->next.value),
                   (int)len, time);
        if (s->next.ts_us > d->event_us)
            d->event_us = s->next.ts_us;
        taken[s - d->readings.series]++;
        demo_series_advance(s);
        n++;
    }
    return n;
}

/* Sends what rows_take() took, again when the server is full. */
static enum err rows_send(struct demo *d, uint32_t n, const uint32_t taken[DEMO_SENSORS_MAX],
                          struct err_detail *why)
{
    int64_t at_ns = now_ns(d);
    for (uint32_t i = 0; i < d->readings.n; i++) {
        struct demo_series *s = &d->readings.series[i];
        if (taken[i] == 0)
            continue;
        s->sent += taken[i];
        s->unseen[(s->unseen_at + s->n_unseen++) % DEMO_UNSEEN_MAX] =
            (struct demo_unseen){.count = s->sent, .rows = taken[i], .sent_ns = at_ns};
    }
    d->sent += n;
    for (;;) {
        enum err e = demo_call(d, "POST", ROWS_PATH, buf_str(&d->rows), why);
        if (e == ERR_OK || d->calls.status != 429)
            return e;
        TRY(pump_for(d, RETRY_MS * NS_PER_MS, why));
    }
}

/* Sends all readings up to `until_us`. */
static enum err send_until(struct demo *d, int64_t until_us, int64_t span_us,
                           struct err_detail *why)
{
    uint32_t taken[DEMO_SENSORS_MAX];
    for (;;) {
        while (unseen_full(d))
            TRY(view_wait(d, unseen_rows(d) - 1, why));
        uint32_t n = rows_take(d, until_us, span_us, taken);
        if (n == 0)
            return ERR_OK;
        TRY(rows_send(d, n, taken, why));
        if (d->options->once)
            TRY(pump(d, 0, why));
    }
}

static enum err replay(struct demo *d, struct err_detail *why)
{
    struct demo_series *s = demo_readings_first(&d->readings);
    if (d->options->once || s == NULL)
        return send_until(d, INT64_MAX, INT64_MAX, why);
    if (s->next.ts_us < d->from_us) {
        TRY(send_until(d, d->from_us - 1, INT64_MAX, why));
        TRY(view_wait(d, 0, why));
        char number[DEMO_NUMBER_MAX], time[DEMO_NUMBER_MAX];
        demo_progress_end(d);
        printf("Loaded %s readings of before %s as history; from there on, as time goes by:\n",
               demo_number(d->sent, number), demo_time(d->from_us, time));
        d->progress_ns = now_ns(d);
        d->progress_sent = d->sent;
        s = demo_readings_first(&d->readings);
    }
    /* The latency of the replay only; its readings do not wait for each other. */
    memset(d->latency, 0, sizeof d->latency);
    d->latency_rows = 0;
    int64_t start_ns = now_ns(d), start_us = s == NULL ? 0 : s->next.ts_us;
    while ((s = demo_readings_first(&d->readings)) != NULL) {
        double passed_us = (double)(now_ns(d) - start_ns) / NS_PER_US * d->options->speed;
        double clock_us = (double)start_us + passed_us;
        TRY(send_until(d, clock_us < 9e18 ? (int64_t)clock_us : INT64_MAX, REPLAY_SPAN_US, why));
        TRY(pump_for(d, TICK_MS * NS_PER_MS, why));
    }
    return ERR_OK;
}

/* What an earlier run over the same data directory has sent is not sent again. */
static void resume(struct demo *d)
{
    for (uint32_t i = 0; i < d->readings.n; i++) {
        struct demo_series *s = &d->readings.series[i];
        for (; s->has_next && s->sent < s->seen; s->sent++) {
            if (s->next.ts_us > d->event_us)
                d->event_us = s->next.ts_us;
            demo_series_advance(s);
        }
        d->resumed += s->sent;
    }
}

/* ---- the whole of it ---- */

static enum err run(struct demo *d, struct err_detail *why)
{
    while (!engine_ready(d->server->engine)) {
        TRY(demo_wait(d->server->host, d->worker, now_ns(d) + READY_CHECK_MS * NS_PER_MS));
    }
    TRY(demo_conn_open(&d->calls, d->server->host, d->worker, d->address, why));
    TRY(pipeline_run(d, why));
    TRY(demo_conn_open(&d->changes, d->server->host, d->worker, d->address, why));
    TRY(demo_conn_request(&d->changes, "GET", CHANGES_PATH, (struct str){0}, why));
    while (!d->snapshot_over)
        TRY(pump(d, now_ns(d) + NS_PER_S, why));
    resume(d);
    demo_banner(d);
    d->started_ns = d->visible_ns = d->progress_ns = now_ns(d);
    TRY(replay(d, why));
    TRY(view_wait(d, 0, why));
    bool complete = false;
    TRY(demo_summary(d, &complete, why));
    if (!complete && d->options->once)
        return err_set(why, ERR_INTERNAL, "the counts above do not add up: see docs/sql.md");
    return ERR_OK;
}

bool demo_replay(void *arg)
{
    struct demo *d = arg;
    struct err_detail why = {0};
    buf_init(&d->rows, DEMO_REQUEST_BYTES_MAX / 2);
    enum err e = run(d, &why);
    demo_progress_end(d);
    demo_conn_close(&d->calls);
    demo_conn_close(&d->changes);
    buf_deinit(&d->rows);
    if (e == ERR_OK && !d->options->once)
        printf("\nThe replay is over. Tidemill goes on serving what is in its views; "
               "Ctrl-C ends it.\n");
    else if (e == ERR_SHUTDOWN)
        printf("Stopped.\n");
    else if (e != ERR_OK) {
        fprintf(stderr, "tidemill demo: %s\n", err_text(e, &why));
        if (why.hint[0] != '\0')
            fprintf(stderr, "hint: %s\n", why.hint);
    }
    fflush(stdout);
    d->failed = e != ERR_OK && (e != ERR_SHUTDOWN || d->options->once);
    if (e != ERR_OK || d->options->once)
        host_stop_request(d->server->host);
    return false;
}
