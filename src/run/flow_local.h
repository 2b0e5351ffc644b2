/* A flow on one thread with one partition: the query that is asked once.
 *
 *   flow_local_push(scan, batch) --\                      /--> rows of the root
 *                                   >--> flow_local_step >
 *   flow_local_finish ------------ /     until not *more  \--> (an error ends the query)
 *
 * Packets are worked off depth first, so that what is on its way stays within one piece of each
 * operator between a scan and the root, whatever the joins make of it. After the end of an epoch
 * the next one may begin. One thread. */
#ifndef TIDEMILL_RUN_FLOW_LOCAL_H
#define TIDEMILL_RUN_FLOW_LOCAL_H

#include "run/flow.h"

struct flow_local;

/* Where its rows go. */
struct flow_sink {
    /* Rows of the root, at most BATCH_ROWS_MAX, in no particular order; weights as in a batch (none
     * is 0). In the first epoch none is negative when no input's is: the rows are the answer. The
     * batch lives until the next step. An error ends the query. */
    enum err (*rows)(void *arg, const struct batch *b) MUST_CHECK;
    /* As in flow_context; NULL: a failed row ends the query with its error. */
    enum err (*row_error)(void *arg, const struct batch *b, uint32_t row, enum err e,
                          const char *text) MUST_CHECK;
    void *arg;
    /* As in flow_context. */
    int64_t (*clock_ns)(void *clock_arg);
    void *clock_arg;
};

/* The flow must outlive it. State stays within `bytes_max`, and what is on its way as well. */
enum err flow_local_new(const struct flow *f, uint64_t bytes_max, int64_t now_us,
                        const struct flow_sink *sink, struct flow_local **out) MUST_CHECK;
void flow_local_free(struct flow_local *l);

/* Takes a batch of scan `i`, or tells that the epoch's input is complete. Nothing is done yet: the
 * caller steps until there is no more, and the batch must live that long. Not before that. */
void flow_local_push(struct flow_local *l, uint32_t scan, const struct batch *in);
void flow_local_finish(struct flow_local *l);
/* The same for a packet of an operator that flow_source has made elsewhere. */
void flow_local_apply(struct flow_local *l, const struct flow_packet *p);
/* flow_expire, between two epochs. */
bool flow_local_expire(struct flow_local *l, int64_t watermark_us);
/* The clock from here on. */
void flow_local_set_time(struct flow_local *l, int64_t now_us);
/* Does a bounded piece of what is to be done. After an error only flow_local_free. */
enum err flow_local_step(struct flow_local *l, bool *more, struct err_detail *why) MUST_CHECK;

/* Its state, for a look. */
const struct flow_state *flow_local_state(const struct flow_local *l);

#endif
