/* Views whose plan is no chain (view_flow.c tells how they run). Private to engine/. */
#ifndef TIDEMILL_ENGINE_VIEW_FLOW_H
#define TIDEMILL_ENGINE_VIEW_FLOW_H

#include "engine/epochs.h"
#include "engine/view_run.h"

/* Compiles the operators and the last stage of a view that has its root. What flow_new and
 * chain_compile say. */
enum err view_flow_compile(struct view_run *v, struct err_detail *why) MUST_CHECK;
/* The part of a view's plan that its flow is of: all but an aggregate that is its last stage. */
const struct plan_node *view_flow_below(const struct plan_node *root);
/* Makes the operators' state, where the view's partition lives. ERR_NO_MEMORY. */
enum err view_flow_state(struct view_run *v, struct host *host,
                         int64_t now_us) MUST_CHECK;
/* The source side: a batch of one of the view's sources, to packets. */
enum err view_flow_source(struct view_run *v, const struct source_batch *in,
                          struct epoch_work *w) MUST_CHECK;

/* The state side, once an epoch: begin; take each packet, stepping after each until no more; then
 * step until no more: the epoch's rows are in their groups. An error fails the view. */
void view_flow_begin(struct view_run *v, const struct view_epoch *ve);
enum err view_flow_take(struct view_run *v, const struct packet *p) MUST_CHECK;
enum err view_flow_step(struct view_run *v, bool *more, struct err_detail *why) MUST_CHECK;

#endif
