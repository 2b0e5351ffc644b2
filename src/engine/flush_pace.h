/* When a partition's next flush begins: mostly at once, and a little later where it is then worth
 * twice as much. A state machine over values; no clock, no I/O.
 *
 * Producers that have filled their windows send as much again as they get acknowledged. A flush
 * that begins as soon as the one before has ended finds one half of it: the other half was
 * acknowledged just now, and comes while this flush runs. It stays so, with twice the flushes.
 *
 *     FLUSHING --end--> READY --begin--> FLUSHING
 *         |               ^
 *         |               | enough waits, or time is over
 *         '--end: much is under way--> GATHERING
 *
 * Under way is what was just flushed and what was appended meanwhile. It is waited for no longer
 * than the last flush took. A producer that waits for each answer is not held up: what it has sent
 * is all that comes. Records that come at a rate of their own, whatever is acknowledged, are waited
 * for in vain; then it is not tried in the next 2, 4, 8 ... flushes.
 *
 * Measurements: docs/adr/0024-flush-pace.md. */
#ifndef TIDEMILL_ENGINE_FLUSH_PACE_H
#define TIDEMILL_ENGINE_FLUSH_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    FLUSH_GATHER_BYTES_MIN = 256 << 10, /* less under way is not worth waiting for */
    FLUSH_GATHER_BYTES_MAX = 1 << 20,   /* with more the bytes cost more than the flush */
    FLUSH_GATHER_NS_MAX = 1000000,
    FLUSH_GATHER_SKIP_MAX = 64, /* flushes without another try */
};

/* All zeros is a partition that was never flushed. */
struct flush_pace {
    uint64_t waiting_bytes; /* appended since the last flush began */
    uint64_t flushed_bytes; /* what the last flush was about */
    uint64_t goal_bytes;    /* GATHERING: until as many wait; else 0 */
    int64_t until_ns;       /* ... or it is as late */
    uint32_t skip, skipped; /* flushes to go without gathering; how many there have been */
};

/* `bytes` more wait for a flush. */
static inline void flush_pace_add(struct flush_pace *p, uint64_t bytes)
{
    p->waiting_bytes += bytes;
}

/* Whether a flush may begin now; if not, ask again when more was added and at p->until_ns. */
static inline bool flush_pace_ready(const struct flush_pace *p, int64_t now_ns)
{
    return p->waiting_bytes >= p->goal_bytes || now_ns >= p->until_ns;
}

/* A flush begins of all that waits. */
void flush_pace_begin(struct flush_pace *p);
/* It has ended, and took as long. */
void flush_pace_end(struct flush_pace *p, int64_t now_ns, int64_t took_ns);

#endif
