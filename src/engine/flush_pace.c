#include "engine/flush_pace.h"

/* Time was over: the next try comes after twice as many flushes as the last. */
static void missed(struct flush_pace *p)
{
    uint32_t next = p->skipped == 0 ? 2 : p->skipped * 2;
    p->skipped = p->skip = next < FLUSH_GATHER_SKIP_MAX ? next : FLUSH_GATHER_SKIP_MAX;
}

void flush_pace_begin(struct flush_pace *p)
{
    if (p->goal_bytes > 0 && p->waiting_bytes >= p->goal_bytes)
        p->skipped = 0;
    else if (p->goal_bytes > 0)
        missed(p);
    p->goal_bytes = 0;
    p->flushed_bytes = p->waiting_bytes;
    p->waiting_bytes = 0;
}

void flush_pace_end(struct flush_pace *p, int64_t now_ns, int64_t took_ns)
{
    uint64_t under_way = p->flushed_bytes + p->waiting_bytes;
    if (under_way < FLUSH_GATHER_BYTES_MIN || under_way > FLUSH_GATHER_BYTES_MAX)
        return;
    if (p->skip > 0) {
        p->skip--;
        return;
    }
    /* Three quarters: what comes is never exactly what went. */
    p->goal_bytes = under_way / 4 * 3;
    p->until_ns = now_ns + (took_ns < FLUSH_GATHER_NS_MAX ? took_ns : FLUSH_GATHER_NS_MAX);
}
