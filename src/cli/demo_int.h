/* Inside of `tidemill demo`: shared by demo_*.c.
 *
 *   demo.c           the command: folders, the server, what is printed first
 *   demo_readings.c  files of readings, merged by event time
 *   demo_http.c      an HTTP client for one worker
 *   demo_replay.c    the worker: pipeline, replay, latency
 *   demo_report.c    progress line and summary
 *
 * The replay is a client like any other: it runs on a worker of its own and reaches the server by
 * HTTP over loopback only. Everything here belongs to that worker while it runs, but for
 * `struct demo`'s first part, which the main thread fills in before host_run and reads after it. */
#ifndef TIDEMILL_CLI_DEMO_INT_H
#define TIDEMILL_CLI_DEMO_INT_H

#include "cli/cli.h"
#include "plan/plan.h"
#include "wire/http.h"

enum {
    DEMO_SENSORS_MAX = 64,
    DEMO_NAME_MAX = 64,
    DEMO_FILE_BYTES_MAX = 64 << 20,   /* one file, unpacked */
    DEMO_ANSWER_BYTES_MAX = 4 << 20,  /* an answer's body; what of the push was not read yet */
    DEMO_REQUEST_BYTES_MAX = 1 << 20, /* a request */
    DEMO_INPUT_BYTES_MAX = 128 << 10, /* received, not taken apart yet */
    DEMO_ROWS_PER_REQUEST_MAX = 500,
    DEMO_UNSEEN_MAX = 256,   /* requests of a sensor that the view has not shown yet */
    DEMO_LATENCY_STEPS = 32, /* steps per power of two: figures are right to 3 % */
    DEMO_LATENCY_BUCKETS = 40 * DEMO_LATENCY_STEPS,
};

/* ---- readings (demo_readings.c) ---- */

struct demo_reading {
    int64_t ts_us;
    struct str value; /* a JSON number, as it stands in the file */
};

/* Readings that were sent together, and when. */
struct demo_unseen {
    uint64_t count; /* the sensor's readings with these */
    uint64_t rows;
    int64_t sent_ns;
};

/* One file: a sensor's readings in the order of the file. */
struct demo_series {
    char name[DEMO_NAME_MAX];
    struct buf text;
    size_t at;     /* where the line after `next` begins */
    uint64_t line; /* of `next`, from 1 */
    bool has_next;
    struct demo_reading next;
    uint64_t readings; /* in the file */
    int64_t first_us;  /* of the file's first one */
    uint64_t sent;     /* with those of an earlier run */
    uint64_t seen;     /* the view's count */
    struct demo_unseen unseen[DEMO_UNSEEN_MAX];
    uint32_t unseen_at, n_unseen;
};

struct demo_readings {
    struct demo_series *series;
    uint32_t n;
    uint64_t total;
    int64_t first_us, last_us; /* least and greatest event time */
};

/* Reads all *.csv and *.csv.gz of a folder and checks every line. The file's name without its
 * ending is the sensor's. Errors name the file and the line. */
enum err demo_readings_open(struct host *h, const char *folder, struct demo_readings *out,
                            struct err_detail *why) MUST_CHECK;
void demo_readings_close(struct demo_readings *r);
/* The series whose next reading is the earliest; NULL when all are at their end. A series is never
 * reordered: where its clock steps back, so does the replay. */
struct demo_series *demo_readings_first(const struct demo_readings *r);
/* Moves a series to its next line. */
void demo_series_advance(struct demo_series *s);
struct demo_series *demo_readings_find(const struct demo_readings *r, struct str name);
/* Reads a whole file; `out` has a maximum. ERR_IO, ERR_TOO_LARGE; names the file. */
enum err demo_file_read(struct host *h, const char *path, struct buf *out,
                        struct err_detail *why) MUST_CHECK;

/* ---- HTTP (demo_http.c) ---- */

struct demo_conn {
    struct host *host;
    struct host_worker *worker;
    struct host_socket *socket;
    struct buf in, out;
    enum { DEMO_IDLE, DEMO_HEAD, DEMO_LENGTH, DEMO_CHUNKS, DEMO_ANSWERED } state;
    unsigned status;
    uint64_t left; /* of a body with a length */
    struct http_chunked chunks;
    struct buf body; /* of the answer; a push's reader takes from its front */
    enum err err;    /* the connection's end */
    struct err_detail why;
};

/* Connects to "ip:port". Zero-initialised before; demo_conn_close in any case. */
enum err demo_conn_open(struct demo_conn *c, struct host *h, struct host_worker *w,
                        const char *address, struct err_detail *why) MUST_CHECK;
void demo_conn_close(struct demo_conn *c);
/* Starts a request; one at a time, the answer of the last one was taken. */
enum err demo_conn_request(struct demo_conn *c, const char *method, const char *path,
                           struct str body, struct err_detail *why) MUST_CHECK;
/* Waits until something came for one of the worker's connections, or the deadline. Takes apart
 * what came. ERR_SHUTDOWN when the program is asked to stop. */
enum err demo_wait(struct host *h, struct host_worker *w, int64_t deadline_ns) MUST_CHECK;
/* Puts the server's error into `why`: its message and hint. */
enum err demo_answer_error(const struct demo_conn *c, struct err_detail *why) MUST_CHECK;

/* ---- the demo ---- */

struct demo {
    /* Set by the main thread. */
    const struct cli_options *options;
    struct server *server;
    struct host_worker *worker;
    char address[HOST_ADDRESS_MAX];    /* of the server's HTTP listener */
    char shown_host[HOST_ADDRESS_MAX]; /* as people write it */
    const char *pipeline_path;
    struct buf pipeline;
    struct demo_readings readings;
    int64_t from_us; /* earlier readings are history: sent at once */
    bool terminal;
    bool failed; /* result */

    /* The worker's. */
    struct demo_conn calls, changes;
    struct buf rows;  /* a request's body */
    uint64_t sent;    /* by this run */
    uint64_t resumed; /* sent by an earlier one */
    int64_t event_us; /* greatest event time sent */
    int64_t started_ns, visible_ns;
    bool snapshot_over;
    uint64_t latency[DEMO_LATENCY_BUCKETS]; /* rows by time from sending to the view's change */
    uint64_t latency_rows;
    int64_t progress_ns; /* when the progress line was printed last */
    uint64_t progress_sent;
    bool progress_open; /* the cursor is behind a progress line */
};

/* The worker's turn: runs the whole demo and ends. */
bool demo_replay(void *arg);
/* A request and its answer, while changes go on being followed. ERR_OK for any answer with status
 * 200, else the server's error. */
enum err demo_call(struct demo *d, const char *method, const char *path, struct str body,
                   struct err_detail *why) MUST_CHECK;
/* The first column of the first row of a query, as text (JSON escapes unresolved); "" without
 * rows. Valid until the next call. */
enum err demo_query(struct demo *d, const char *sql, struct str *out,
                    struct err_detail *why) MUST_CHECK;
/* The same as a whole number. */
enum err demo_query_number(struct demo *d, const char *sql, uint64_t *out,
                           struct err_detail *why) MUST_CHECK;

/* ---- what is printed (demo_report.c) ---- */

/* How to look at the running demo, and what comes. */
void demo_banner(const struct demo *d);
/* Counts `rows` that took `ns`. */
void demo_latency_add(struct demo *d, int64_t ns, uint64_t rows);
/* Prints the progress line when it is time to, or at once. */
void demo_progress(struct demo *d, bool now);
/* Ends the progress line, so that something else can be printed. */
void demo_progress_end(struct demo *d);
/* Asks the server what came out, prints the table. `*complete` is false when the numbers do not
 * add up: a reading was lost or counted twice. */
enum err demo_summary(struct demo *d, bool *complete, struct err_detail *why) MUST_CHECK;
/* "12,345" */
enum { DEMO_NUMBER_MAX = 32 };
const char *demo_number(uint64_t n, char out[DEMO_NUMBER_MAX]);
/* "2013-12-02 21:15" */
const char *demo_time(int64_t us, char out[DEMO_NUMBER_MAX]);

#endif
