/* The coordinator's part in watermarks of views of several tables (coordinator_int.h).
 *
 *   a table is idle --> it does not hold the view back --> the view's windows end without it
 *   it wakes        --> its partitions get floors for this view: rows of what has ended are late
 *
 * Floors are in the catalog's log and the view's watermark is in the records of epochs, so that a
 * replay decides alike about late rows, and closes what was closed. */
#include "base/check.h"
#include "base/mem.h"
#include "engine/coordinator_int.h"
#include "engine/ddl.h"

bool co_view_is_timed(const struct view *v)
{
    return v->n_sources > 1 && v->windowed != 0;
}

/* Room for the floors of all partitions of an input's source. */
static bool floors_room(struct co_input *in, uint32_t n)
{
    if (in->n_floors >= n)
        return true;
    int64_t *grown = mem_realloc(in->floors, n * sizeof(*grown));
    if (grown == NULL)
        return false;
    in->floors = grown;
    while (in->n_floors < n)
        in->floors[in->n_floors++] = INT64_MIN;
    return true;
}

/* A partition has new rows: what the view has ended without it is over for them, too. */
static bool input_wake(struct coordinator *co, const struct co_view *v, uint32_t source,
                       const struct co_reader *r, uint32_t partition)
{
    const struct co_part *p = &r->parts[partition];
    int64_t end;
    if (r->silent || v->watermark_us <= p->watermark_us ||
        v->watermark_us <= v->inputs[source].floors[partition])
        return true;
    uint32_t id = reader_own(v->number, source);
    enum err e = ddl_log_floor(co->shard, id, partition, p->pos, v->watermark_us, &end);
    if (e == ERR_OK)
        e = coordinator_add_floor(co, id, partition, p->pos, v->watermark_us);
    if (e == ERR_OK)
        co->floors_end = end;
    return e == ERR_OK;
}

static bool floor_plan(struct coordinator *co, const struct view_floor *f)
{
    uint32_t n = co->n_view_floors;
    if ((n & (n - 1)) == 0) {
        struct view_floor *grown =
            arena_alloc(&co->plan_arena, (n == 0 ? 1 : 2 * (size_t)n) * sizeof(*grown));
        if (grown == NULL)
            return false;
        if (n > 0)
            memcpy(grown, co->view_floors, n * sizeof(*grown));
        co->view_floors = grown;
    }
    co->view_floors[co->n_view_floors++] = *f;
    return true;
}

/* Takes over the floor at the partition's position, and ends the input before the next. */
static bool input_plan(struct coordinator *co, const struct co_view *v, uint32_t source,
                       const struct co_reader *r, uint32_t partition, struct epoch_input *in)
{
    uint32_t id = reader_own(v->number, source);
    int64_t pos = r->parts[partition].pos;
    const struct floor *f = floors_at(&co->floors, id, partition, pos);
    if (f != NULL && f->offset == pos) {
        const struct view_floor floor = {v->number, source, partition, f->watermark_us};
        if (!floor_plan(co, &floor))
            return false;
        v->inputs[source].floors[partition] = f->watermark_us;
        f = floors_at(&co->floors, id, partition, pos + 1);
    }
    if (f != NULL && f->offset < in->to)
        in->to = f->offset;
    return true;
}

bool co_views_plan_input(struct coordinator *co, const struct co_reader *r, uint32_t partition,
                         struct epoch_input *in)
{
    if (co->n_timed == 0)
        return true;
    LIST_FOR (it, &co->views) {
        const struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        for (uint32_t k = 0; v->timed && !v->failed && k < v->n_inputs; k++)
            if (v->inputs[k].reader == r->id &&
                (!floors_room(&v->inputs[k], r->n_parts) || !input_wake(co, v, k, r, partition) ||
                 !input_plan(co, v, k, r, partition, in)))
                return false;
    }
    return true;
}

bool co_reader_is_timed(const struct coordinator *co, const struct co_reader *r)
{
    LIST_FOR (it, &co->views) {
        const struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        for (uint32_t k = 0; v->timed && k < v->n_inputs; k++)
            if (v->inputs[k].reader == r->id)
                return true;
    }
    return false;
}

/* Whether all that the view had read before the start is read again, or is in this epoch. */
static bool view_replayed(const struct coordinator *co, const struct co_view *v)
{
    for (uint32_t k = 0; k < v->n_inputs; k++) {
        const struct co_reader *r = co_reader_find(co, v->inputs[k].reader);
        if (v->inputs[k].upstream != 0)
            continue;
        if (r == NULL || (r->silent && !r->closing))
            return false;
    }
    return true;
}

bool co_views_plan_replayed(struct coordinator *co)
{
    if (co->n_timed == 0 || !co->replaying)
        return true;
    LIST_FOR (it, &co->views) {
        const struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        const struct view_floor at = {v->number, READER_OF_VIEW, 0, v->recorded_us};
        if (!v->timed || v->watermark_us >= v->recorded_us || !view_replayed(co, v))
            continue;
        if (!floor_plan(co, &at))
            return false;
    }
    for (uint32_t i = 0; i < co->n_view_floors; i++)
        if (co->view_floors[i].source == READER_OF_VIEW)
            co_view_find(co, co->view_floors[i].view)->watermark_us =
                co->view_floors[i].watermark_us;
    return true;
}

void co_views_settle(struct coordinator *co)
{
    if (co->n_timed == 0)
        return;
    LIST_FOR (it, &co->views) {
        struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        struct watermark_sum sum = WATERMARK_SUM_NONE;
        for (uint32_t k = 0; v->timed && k < v->n_inputs; k++) {
            const struct co_reader *r = co_reader_find(co, v->inputs[k].reader);
            if (r != NULL && r->rel->event_time >= 0)
                watermark_add(&sum, r->watermark_us, r->idle);
        }
        v->watermark_us = watermark_of(&sum, v->watermark_us);
    }
}

static int64_t view_to_tell(const struct coordinator *co, const struct co_view *v)
{
    return co->replaying && v->watermark_us < v->recorded_us ? v->recorded_us : v->watermark_us;
}

void co_views_record(const struct coordinator *co, struct epoch_record *r)
{
    LIST_FOR (it, &co->views) {
        const struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        int64_t us = view_to_tell(co, v);
        if (v->timed && us > INT64_MIN && (r->base < 0 || us != v->told_us))
            r->readers[r->n_readers++] = (struct record_reader){
                .id = reader_own(v->number, READER_OF_VIEW), .watermark_us = us};
    }
}

void co_views_recorded(struct coordinator *co)
{
    LIST_FOR (it, &co->views) {
        struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        v->told_us = view_to_tell(co, v);
    }
}
