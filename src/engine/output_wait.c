#include "engine/output_wait.h"

#include "base/check.h"
#include "engine/engine_int.h"

static void timer_fire(struct shard_timer *t)
{
    CONTAINER_OF(t, struct output_wait, timer)->shard->busy = true;
}

void output_wait_init(struct output_wait *w, struct shard *s)
{
    *w = (struct output_wait){.shard = s, .timer = {.fire = timer_fire}};
}

bool output_waits(const struct output_wait *w)
{
    return w->shard->mono_ns < w->until_ns;
}

void output_wait_tried(struct output_wait *w, enum err e, const char *what,
                       const struct err_detail *why)
{
    struct engine *engine = w->shard->engine;
    bool full = e == ERR_NO_SPACE;
    if (w->full != full)
        atomic_fetch_add(&engine->outputs_waiting, full ? 1 : UINT32_MAX);
    w->full = full;
    if (e != ERR_OK && !w->told)
        engine_note(engine, "error", "%s: %s; outputs wait", what, err_text(e, why));
    w->told = e != ERR_OK;
    if (e == ERR_OK)
        return;
    w->until_ns = w->shard->mono_ns + (int64_t)OUTPUT_RETRY_MS * 1000000;
    if (shard_timer_set(w->shard, &w->timer, w->until_ns) != ERR_OK)
        engine_fatal(engine, ERR_NO_MEMORY, "out of memory for a timer");
}
