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
    bool waits = e != ERR_OK, changed = w->waits != waits;
    w->waits = waits;
    if (waits)
        atomic_store(&engine->outputs_err, (int)e);
    if (changed)
        atomic_fetch_add(&engine->outputs_waiting, waits ? 1 : UINT32_MAX);
    if (waits && changed)
        engine_note(engine, "error", "%s: %s; outputs wait", what, err_text(e, why));
    if (!waits)
        return;
    w->until_ns = w->shard->mono_ns + (int64_t)OUTPUT_RETRY_MS * 1000000;
    if (shard_timer_set(w->shard, &w->timer, w->until_ns) != ERR_OK)
        engine_fatal(engine, ERR_NO_MEMORY, "out of memory for a timer");
}

enum err engine_outputs_stuck(const struct engine *engine, struct err_detail *why)
{
    if (atomic_load(&engine->outputs_waiting) == 0)
        return ERR_OK;
    enum err e = (enum err)atomic_load(&engine->outputs_err);
    if (e == ERR_NO_SPACE) {
        err_set(why, e, "views wait for room on the disk");
        err_hint(why, "Make room on the disk, and try again.");
    } else {
        err_set(why, e, "views wait: what they put out cannot be written (%s)", err_info(e)->text);
        err_hint(why, "The server's log names the file. Mend the disk, and try again.");
    }
    return e;
}
