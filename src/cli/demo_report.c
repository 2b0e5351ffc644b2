/* What the demo prints: how to look at it, the progress line, the summary. */
#include "cli/demo_int.h"
#include "type/datetime.h"

#include <stdio.h>

enum {
    PROGRESS_TERMINAL_MS = 200,
    PROGRESS_LINE_MS = 2000,
    WINDOWS_WAIT_S_MAX = 20, /* for the last windows: the table's idle time-out and a bit */
    WINDOWS_CHECK_MS = 250,
    VIEWS_MAX = 64,
    NS_PER_MS = 1000000,
    PERCENT = 100,
};
#define NS_PER_S  1e9
#define NS_PER_US 1000

const char *demo_number(uint64_t n, char out[DEMO_NUMBER_MAX])
{
    char digits[DEMO_NUMBER_MAX];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
    return out;
}

const char *demo_time(int64_t us, char out[DEMO_NUMBER_MAX])
{
    char text[DATETIME_TEXT_MAX];
    size_t len = timestamptz_print(us, text);
    size_t minutes = strlen("2013-12-02 21:15");
    snprintf(out, DEMO_NUMBER_MAX, "%.*s", (int)(len < minutes ? len : minutes), text);
    return out;
}

/* ---- latency: a histogram with steps that are a fixed part of the value ---- */

static size_t bucket_of(uint64_t us)
{
    if (us < DEMO_LATENCY_STEPS)
        return (size_t)us;
    size_t power = 63 - (size_t)__builtin_clzll(us);
    size_t base = 63 - (size_t)__builtin_clzll((uint64_t)DEMO_LATENCY_STEPS);
    size_t bucket = (power - base + 1) * DEMO_LATENCY_STEPS +
                    (size_t)((us >> (power - base)) - DEMO_LATENCY_STEPS);
    return bucket < DEMO_LATENCY_BUCKETS ? bucket : DEMO_LATENCY_BUCKETS - 1;
}

/* The least value of the bucket. */
static uint64_t bucket_us(size_t bucket)
{
    if (bucket < DEMO_LATENCY_STEPS)
        return bucket;
    size_t shift = bucket / DEMO_LATENCY_STEPS - 1;
    return (uint64_t)(bucket % DEMO_LATENCY_STEPS + DEMO_LATENCY_STEPS) << shift;
}

void demo_latency_add(struct demo *d, int64_t ns, uint64_t rows)
{
    d->latency[bucket_of(ns < 0 ? 0 : (uint64_t)ns / NS_PER_US)] += rows;
    d->latency_rows += rows;
}

/* The time within which `percent` of the rows came, in milliseconds. */
static double latency_ms(const struct demo *d, unsigned percent)
{
    uint64_t wanted = (d->latency_rows * percent + PERCENT - 1) / PERCENT, n = 0;
    for (size_t i = 0; i < DEMO_LATENCY_BUCKETS; i++) {
        n += d->latency[i];
        if (n >= wanted && n > 0)
            return (double)bucket_us(i) / 1000;
    }
    return 0;
}

/* ---- before the replay ---- */

/* "1 day", "12 hours", "1.5 s" */
static void speed_print(double seconds, char out[DEMO_NUMBER_MAX])
{
    static const struct {
        double seconds;
        const char *name;
    } units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (seconds >= units[i].seconds) {
            double n = seconds / units[i].seconds;
            snprintf(out, DEMO_NUMBER_MAX, "%.4g %s%s", n, units[i].name, n > 1 ? "s" : "");
            return;
        }
    snprintf(out, DEMO_NUMBER_MAX, "%g s", seconds);
}

void demo_banner(const struct demo *d)
{
    const struct server *s = d->server;
    char files[DEMO_NUMBER_MAX], readings[DEMO_NUMBER_MAX], first[DEMO_NUMBER_MAX],
        last[DEMO_NUMBER_MAX], speed[DEMO_NUMBER_MAX];
    speed_print(d->options->speed, speed);
    if (!d->options->once) {
        printf(
            "\nTidemill runs. Open the dashboard, or paste one of these into another terminal:\n\n"
            "  dashboard  http://%s:%u\n",
            d->shown_host, s->http_port);
        if (d->options->serve.pg != NULL)
            printf("  psql       psql -h %s -p %u -c 'SELECT * FROM sensor_now ORDER BY sensor'\n",
                   d->shown_host, s->pg_port);
        if (d->options->serve.kafka != NULL)
            printf("  kcat       kcat -C -q -b %s:%u -t sensor_now -o -5\n", d->shown_host,
                   s->kafka_port);
        printf("  curl       curl -N http://%s:%u/v1/views/sensor_now/changes\n\n", d->shown_host,
               s->http_port);
    }
    printf("Replaying %s readings of %s sensors, from %s to %s",
           demo_number(d->readings.total, readings), demo_number(d->readings.n, files),
           demo_time(d->readings.first_us, first), demo_time(d->readings.last_us, last));
    if (d->options->once)
        printf(", as fast as they are taken\n");
    else
        printf(", at %s a second\n", speed);
    if (d->resumed > 0)
        printf("%s of them are there from an earlier run; going on after those\n",
               demo_number(d->resumed, readings));
    fflush(stdout);
}

/* ---- while it runs ---- */

void demo_progress(struct demo *d, bool now)
{
    int64_t ns = host_mono_ns(d->server->host), passed = ns - d->progress_ns;
    int64_t every = (d->terminal ? PROGRESS_TERMINAL_MS : PROGRESS_LINE_MS) * (int64_t)NS_PER_MS;
    if (d->started_ns == 0 || d->sent == d->progress_sent || (passed < every && !now))
        return;
    double rate = passed > 0 ? (double)(d->sent - d->progress_sent) * NS_PER_S / (double)passed : 0;
    char rows[DEMO_NUMBER_MAX], per_second[DEMO_NUMBER_MAX], time[DEMO_NUMBER_MAX];
    printf("%s%s readings, %s/s, event time %s, in the view after %.1f ms (p50)%s",
           d->terminal ? "\r" : "", demo_number(d->sent + d->resumed, rows),
           demo_number((uint64_t)rate, per_second), demo_time(d->event_us, time), latency_ms(d, 50),
           d->terminal ? "\033[K" : "\n");
    fflush(stdout);
    d->progress_open = d->terminal;
    d->progress_ns = ns;
    d->progress_sent = d->sent;
}

void demo_progress_end(struct demo *d)
{
    if (d->progress_open)
        printf("\n");
    d->progress_open = false;
}

/* ---- the end ---- */

/* What the server says came out. */
struct outcome {
    uint64_t shown; /* readings counted in sensor_now, of the replayed sensors */
    uint64_t windows, late, dead;
    bool windowed; /* the pipeline has sensor_quarter_hourly */
    uint64_t in_windows, window_late, in_open_windows;
};

#define WINDOWED_VIEW "sensor_quarter_hourly"

/* Rows of all views that give out complete windows. */
static enum err windows_count(struct demo *d, uint64_t *out, struct err_detail *why)
{
    uint64_t n_views = 0;
    *out = 0;
    TRY(demo_query_number(d, "SELECT count(*) FROM sys.views WHERE emit = 'final'", &n_views, why));
    for (uint64_t i = 0; i < n_views && i < VIEWS_MAX; i++) {
        char sql[ERR_TEXT_MAX];
        struct str name;
        uint64_t rows = 0;
        snprintf(
            sql, sizeof sql,
            "SELECT name FROM sys.views WHERE emit = 'final' ORDER BY name LIMIT 1 OFFSET %llu",
            (unsigned long long)i);
        TRY(demo_query(d, sql, &name, why));
        snprintf(sql, sizeof sql, "SELECT count(*) FROM \"%.*s\"", STR_ARG(name));
        TRY(demo_query_number(d, sql, &rows, why));
        *out += rows;
    }
    return ERR_OK;
}

/* The last windows are complete when the table has been silent for its idle time-out. */
static enum err windows_wait(struct demo *d, struct err_detail *why)
{
    struct host *h = d->server->host;
    int64_t end = host_mono_ns(h) + WINDOWS_WAIT_S_MAX * (int64_t)NS_PER_S;
    uint64_t active = 1, before = UINT64_MAX, windows = 0;
    printf("All readings are in the view. The last windows are complete when no more comes for a "
           "while ...\n");
    fflush(stdout);
    while (host_mono_ns(h) < end && (active > 0 || windows != before)) {
        before = windows;
        int64_t next = host_mono_ns(h) + WINDOWS_CHECK_MS * (int64_t)NS_PER_MS;
        while (host_mono_ns(h) < next)
            TRY(demo_wait(h, d->worker, next));
        TRY(demo_query_number(
            d, "SELECT count(*) FROM sys.partitions WHERE topic = 'readings' AND NOT idle", &active,
            why));
        TRY(windows_count(d, &windows, why));
    }
    return ERR_OK;
}

static enum err outcome_ask(struct demo *d, struct outcome *o, struct err_detail *why)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < d->readings.n; i++)
        o->shown += d->readings.series[i].seen;
    TRY(windows_count(d, &o->windows, why));
    TRY(demo_query_number(d, "SELECT coalesce(sum(late_rows), 0) FROM sys.views", &o->late, why));
    TRY(demo_query_number(d, "SELECT count(*) FROM sys.dead_letters WHERE table_name = 'readings'",
                          &o->dead, why));
    TRY(demo_query_number(d, "SELECT count(*) FROM sys.views WHERE name = '" WINDOWED_VIEW "'", &n,
                          why));
    o->windowed = n == 1;
    if (!o->windowed)
        return ERR_OK;
    TRY(demo_query_number(d, "SELECT coalesce(sum(readings), 0) FROM " WINDOWED_VIEW,
                          &o->in_windows, why));
    TRY(demo_query_number(d, "SELECT late_rows FROM sys.views WHERE name = '" WINDOWED_VIEW "'",
                          &o->window_late, why));
    struct str watermark;
    TRY(demo_query(d, "SELECT watermark FROM sys.views WHERE name = '" WINDOWED_VIEW "'",
                   &watermark, why));
    char sql[ERR_TEXT_MAX];
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM tumble(readings, ts, INTERVAL '15 minutes') "
             "WHERE window_end > '%.*s'",
             STR_ARG(watermark));
    return demo_query_number(d, sql, &o->in_open_windows, why);
}

static void line(const char *what, uint64_t n, const char *note)
{
    char number[DEMO_NUMBER_MAX];
    printf("  %-22s %12s  %s\n", what, demo_number(n, number), note);
}

enum err demo_summary(struct demo *d, bool *complete, struct err_detail *why)
{
    struct outcome o = {0};
    uint64_t total = d->sent + d->resumed;
    demo_progress(d, true);
    demo_progress_end(d);
    TRY(windows_wait(d, why));
    TRY(outcome_ask(d, &o, why));
    uint64_t windowed = o.in_windows + o.window_late + o.in_open_windows;
    *complete = o.shown + o.dead == total && (!o.windowed || windowed + o.dead == total);
    double seconds = (double)(d->visible_ns - d->started_ns) / NS_PER_S;
    char a[DEMO_NUMBER_MAX], b[DEMO_NUMBER_MAX], c[DEMO_NUMBER_MAX], note[ERR_TEXT_MAX];
    printf("\nSummary\n");
    snprintf(note, sizeof note, "readings sent%s", d->resumed > 0 ? ", with earlier runs" : "");
    line("rows in", total, note);
    line("rows in sensor_now", o.shown,
         o.shown + o.dead == total ? "each reading once" : "NOT what was sent");
    line("windows out", o.windows, "complete hours and quarters of an hour of a sensor");
    line("late rows", o.late, o.late > 0 ? "kept in late_readings" : "");
    line("dead letters", o.dead, "");
    if (o.windowed) {
        snprintf(note, sizeof note, "%s in complete windows, %s late, %s in open windows%s",
                 demo_number(o.in_windows, a), demo_number(o.window_late, b),
                 demo_number(o.in_open_windows, c),
                 windowed + o.dead == total ? "" : ": NOT what was sent");
        line("rows by window", windowed, note);
    }
    printf("  %-22s %10.2f s  %s rows/s\n", "time", seconds,
           demo_number(seconds > 0 ? (uint64_t)((double)d->sent / seconds) : 0, a));
    printf("  %-22s %9.1f ms  p50;  p99 %.1f ms\n", "from sending to view", latency_ms(d, 50),
           latency_ms(d, 99));
    fflush(stdout);
    return ERR_OK;
}
