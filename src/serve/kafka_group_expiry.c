#include "serve/kafka_coordinator.h"

/* Offsets that nobody will ask for: those of topics that are gone, and of groups without members, a
 * week after the commit or after the group became empty, whatever came last (after a restart: the
 * start). Groups of the new protocol without members and offsets go after an hour. A pass looks at
 * a bounded number of offsets per turn and writes one group's removals at a time:
 *
 *   begin --> turn: look --nothing found--> next turn ... --> end of the groups: over
 *              ^        \--found--> write --durable--> (turn)
 */

enum { EXPIRY_ARENA_BYTES_MAX = 8 << 20 };

void kafka_expiry_init(struct kafka_coordinator *co)
{
    struct shard *zero = engine_shard(co->engine, 0);
    arena_init(&co->expiry.arena, EXPIRY_ARENA_BYTES_MAX);
    co->expiry.next_ms = shard_mono_ns(zero) / 1000000 + OFFSETS_EXPIRY_CHECK_MS;
    co->expiry.started_ms = 0;
}

void kafka_expiry_deinit(struct kafka_coordinator *co)
{
    arena_deinit(&co->expiry.arena);
}

void kafka_expiry_begin(struct kafka_coordinator *co)
{
    struct kafka_expiry *x = &co->expiry;
    x->running = true;
    x->group = 0;
    x->offset = 0;
    x->next_ms = kafka_coordinator_now_ms(co) + OFFSETS_EXPIRY_CHECK_MS;
}

static void expired(struct offsets_write *w, enum err e)
{
    /* Noted where it went wrong; the next pass finds them again. */
    struct kafka_coordinator *co = CONTAINER_OF(w, struct kafka_coordinator, expiry.write);
    int64_t soon_ms = kafka_coordinator_now_ms(co) + OFFSETS_EXPIRY_AGAIN_MS;
    if (e == ERR_BUSY && co->expiry.next_ms > soon_ms)
        co->expiry.next_ms = soon_ms;
    co->expiry.writing = false;
    arena_reset(&co->expiry.arena, 0);
}

/* Looks at offsets of one group from the pass's place on; what is over goes into the write. Returns
 * false when the group is not at its end. */
static bool look(struct kafka_coordinator *co, const struct kafka_group *g, uint32_t *left)
{
    struct kafka_expiry *x = &co->expiry;
    const struct catalog *c = shard_catalog(engine_shard(co->engine, 0));
    uint32_t at = 0, kept = x->offset;
    LIST_FOR (it, &g->offsets) {
        struct kafka_group_offset *o = LIST_ENTRY(it, struct kafka_group_offset, link);
        if (at++ < x->offset)
            continue;
        if (*left == 0) {
            x->offset = kept;
            return false;
        }
        --*left;
        const struct topic *t = catalog_topic(c, o->topic);
        uint32_t number = t != NULL ? t->number : 0;
        if (o->topic_number == 0)
            o->topic_number = number; /* read back: what the name means since the start */
        bool over = kafka_group_offset_over(g, o, number, x->started_ms, co->groups.wall_ms);
        struct str topic = over ? arena_str(&x->arena, o->topic) : STR("");
        if (!over || topic.ptr == NULL)
            kept++;
        else
            x->write.items[x->write.n_items++] =
                (struct offsets_item){.topic = topic,
                                      .topic_number = o->topic_number,
                                      .partition = o->partition,
                                      .offset = o->offset,
                                      .remove = true};
    }
    bool all = x->write.n_items == g->n_offsets;
    if (all && kafka_group_epochs_over(g, x->started_ms, co->groups.wall_ms))
        x->write.items[x->write.n_items++] =
            (struct offsets_item){.is_epoch = true, .remove = true};
    return true;
}

static bool look_begin(struct kafka_expiry *x, const struct kafka_group *g)
{
    x->write = (struct offsets_write){.cautious = true, .done = expired};
    x->write.group = arena_str(&x->arena, g->id);
    x->write.items = arena_zalloc(&x->arena, OFFSETS_EXPIRY_PER_TURN + 1, sizeof *x->write.items);
    return x->write.group.ptr != NULL && x->write.items != NULL;
}

bool kafka_expiry_turn(struct kafka_coordinator *co)
{
    struct kafka_expiry *x = &co->expiry;
    uint32_t left = OFFSETS_EXPIRY_PER_TURN;
    co->groups.wall_ms = shard_wall_us(engine_shard(co->engine, 0)) / 1000;
    if (x->started_ms == 0) {
        x->started_ms = co->groups.wall_ms;
        kafka_expiry_begin(co); /* what was read back gets to know its topics */
    }
    if (!x->running || x->writing)
        return false;
    LIST_FOR (it, &co->groups.all) {
        const struct kafka_group *g = LIST_ENTRY(it, struct kafka_group, link);
        if (g->number < x->group)
            continue;
        if (g->number > x->group)
            x->offset = 0;
        x->group = g->number;
        if (!look_begin(x, g))
            return false; /* no memory: with the next turn */
        bool whole = look(co, g, &left);
        if (whole) {
            x->group++;
            x->offset = 0;
        }
        if (x->write.n_items > 0) {
            uint32_t n_offsets = x->write.n_items;
            if (x->write.items[n_offsets - 1].is_epoch)
                n_offsets--;
            x->writing = true;
            offsets_log_write(co->log, &x->write);
            if (!x->writing && !whole)
                x->offset += n_offsets; /* they stay: the pass goes on behind them */
            return !x->writing; /* refused at once: the others are looked at */
        }
        arena_reset(&x->arena, EXPIRY_ARENA_BYTES_MAX);
        if (left == 0 || !whole)
            return true;
        left--;
    }
    x->running = false;
    arena_reset(&x->arena, 0);
    return false;
}
