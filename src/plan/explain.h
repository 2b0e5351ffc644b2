/* EXPLAIN: a plan's operators as a tree, and what is known of each, as text or as JSON.
 *
 *   Aggregate: count(*) by sensor, window_end         [{"Plan": {"Operator": "Aggregate: ...",
 *       Keeps: a group for each (sensor, window_end)             "Keeps": ..., "Plans": [
 *       Until: the watermark passes window_end                     {"Operator": "Window: ..."}]}}]
 *     Window: tumble on ts, size 00:00:10
 *       Scan: sensors (sensor, ts)
 *
 * Pure but for memory. */
#ifndef TIDEMILL_PLAN_EXPLAIN_H
#define TIDEMILL_PLAN_EXPLAIN_H

#include "plan/state.h"

/* Where properties of an operator, or of the whole, are written. */
struct explain_writer {
    struct buf *out;
    bool json;
    uint32_t depth;   /* of the operator */
    bool first;       /* JSON: no member of the object stands yet */
    /* private */
    struct explain_seen {
        const struct plan_node *node;
        uint32_t line;
    } *seen;
    uint32_t n, cap, line;
};

struct explain {
    const struct plan_node *root;
    bool continuous;          /* of a view: what operators keep is told */
    bool state;               /* ... and what each row costs, and takes */
    bool json;
    struct str view;          /* its name, or empty */
    int64_t retention_us;
    /* More properties of a node, and of the whole when it is NULL; or NULL. */
    void (*more)(void *arg, const struct plan_node *n, struct explain_writer *w);
    void *arg;
};

/* Appends the whole. ERR_NO_MEMORY, ERR_LIMIT (the buffer is full). */
enum err explain_print(const struct explain *x, struct buf *out) MUST_CHECK;

/* For `more`: a property, as text and as a number (`unit` behind it, in text only). */
void explain_text(struct explain_writer *w, const char *name, struct str text);
void explain_number(struct explain_writer *w, const char *name, int64_t v, const char *unit);
/* A share of one, as "12.5 % of a core", or in JSON 12.5. */
void explain_share(struct explain_writer *w, const char *name, double share, const char *of);
/* A number with a rate: "Rows In: 1200 (300/s)", {"Rows In": 1200, "Rows In Per Second": 300}. */
void explain_rate(struct explain_writer *w, const char *name, uint64_t v, double per_second);

#endif
