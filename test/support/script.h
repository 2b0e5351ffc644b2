/* Scripts: test code that uses an engine from inside one of its shards, written as if every call
 * blocked.
 *
 *   service turn (the shard's thread)          script (a thread of its own)
 *      starts the call  <------------------------ script_sql(...), script_produce(...), ...
 *      callbacks of the engine fill the result       waits
 *      hands over  ------------------------------>  goes on until its next call
 *
 * Exactly one of the two runs at any time, so that a simulated server stays deterministic. When the
 * server stops or "ends" (SIM_FAULT_STOP) every later call gives ERR_SHUTDOWN at once. */
#ifndef TIDEMILL_TEST_SUPPORT_SCRIPT_H
#define TIDEMILL_TEST_SUPPORT_SCRIPT_H

#include "engine/engine.h"
#include "host/sim.h"

enum { SCRIPTS_MAX = 16, SCRIPT_TEXT_MAX = 4 << 20, SCRIPT_QUERIES_MAX = 4 };

struct script;

/* What runs as a script; `shard` (modulo their number) is where its calls are made. */
struct script_part {
    void (*run)(struct script *s, void *arg);
    void *arg;
    uint32_t shard;
};

/* Opens the engine, runs the scripts side by side, stops the server when all have ended (or when
 * one asks for it), and closes the engine unless the host was halted. Returns engine_open's error,
 * with its text in `why` (may be NULL). The host stays the caller's; on the real host
 * (scripts_run_real) scripts of different shards run at the same time. */
enum err scripts_run(struct host *h, const struct engine_options *options,
                     const struct script_part *parts, uint32_t n, struct err_detail *why);
enum err scripts_run_real(struct host *h, const struct engine_options *options,
                          const struct script_part *parts, uint32_t n, struct err_detail *why);

/* ---- calls: from the script only ---- */

/* Runs one statement. Rows are appended to `rows` (may be NULL) as lines "a|b|NULL". */
enum err script_sql(struct script *s, const char *sql, struct buf *rows);
/* The text of the last error. */
const char *script_error(const struct script *s);
/* Repeats a query until its rows equal `expected`. Gives up after `ms_max` of the host's time with
 * ERR_BUSY; `rows` has what was there last. */
enum err script_until(struct script *s, const char *sql, const char *expected, int64_t ms_max,
                      struct buf *rows);
/* Appends the texts as the values of one record batch, durable on return. */
enum err script_produce(struct script *s, const char *topic, uint32_t partition,
                        const char *const *values, uint32_t n);
/* A batch as it is. */
enum err script_append(struct script *s, const char *topic, uint32_t partition, char *batch,
                       size_t n, uint32_t n_records);
/* Ends a producer's transaction in a partition, durably; does nothing where none is open. */
enum err script_marker(struct script *s, const char *topic, uint32_t partition,
                       int64_t producer_id, int16_t epoch, bool commit);
/* Everything below the high watermark as lines "offset key value before epoch" (absent parts as -),
 * separated by tabs. `end` receives the high watermark; may be NULL. */
enum err script_read(struct script *s, const char *topic, uint32_t partition, int64_t from,
                     struct buf *lines, int64_t *end);
/* The same as of an epoch: see struct read_request. */
enum err script_read_as_of(struct script *s, const char *topic, uint32_t partition, int64_t from,
                           uint64_t epoch, struct buf *lines, int64_t *end);
/* Gives the topic more partitions. */
enum err script_grow(struct script *s, const char *topic, uint32_t n_partitions);
enum err script_sleep(struct script *s, int64_t ms);

/* Queries that stay open. `follow` as in query_open. */
enum err script_query_open(struct script *s, uint32_t slot, const char *sql, bool follow);
/* The next batch as lines; changes are prefixed "+" or "-". At the end (or the snapshot's end)
 * *more is false. With ms_max >= 0 the query is closed when nothing has come by then: ERR_BUSY. */
enum err script_query_pull(struct script *s, uint32_t slot, int64_t ms_max, struct buf *lines,
                           bool *more);
/* The epoch of the last batch pulled. */
uint64_t script_query_epoch(const struct script *s);
void script_query_close(struct script *s, uint32_t slot);

/* Ends the test: a script is no place to jump out of. */
_Noreturn void script_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define FAIL(...) script_fail(__FILE__, __LINE__, __VA_ARGS__)
#define REQUIRE(condition) \
    ((condition) ? (void)0 : script_fail(__FILE__, __LINE__, "not so: %s", #condition))

/* Runs `run` in a child process: returns what it returned, or minus the signal that ended it.
 * `text` receives the start of what it wrote to stderr. */
int script_child(int (*run)(void *arg), void *arg, char *text, size_t n);
/* Whether such a text is of a server that ended itself because a flush had failed. */
bool script_flush_failed(const char *text);

/* What the script runs in. */
struct engine *script_engine(struct script *s);
struct host *script_host(struct script *s);
/* Asks the server to stop; all later calls give ERR_SHUTDOWN. */
void script_stop(struct script *s);
/* Statements that are under way when the server has stopped: they hold their connections for ever.
 */
uint32_t scripts_left_running(void);

#endif
