#include "engine/snapshot_load.h"

#include "base/mem.h"
#include "engine/coordinator_int.h"
#include "engine/epochs.h"
#include "engine/partition.h"
#include "engine/view_capture.h"
#include "state/snapshot_file.h"

#include <stdio.h>
#include <stdlib.h>

enum { FILES_MAX = 64, VIEW_STATS = 5 };

struct found_reader {
    struct found_reader *next;
    uint32_t id, relation, n_parts;
    struct reader_state state;
    uint64_t rows_in, dead_letters;
};

struct found_view {
    struct found_view *next;
    uint32_t number, n_inputs;
    uint64_t layout;
    int64_t watermark_us;
    uint64_t stats[VIEW_STATS];
    struct found_input {
        uint32_t reader, n_floors;
        int64_t *floors;
    } *inputs;
    bool restored;
};

/* A reader that begins where one of the snapshot's stood. */
struct start {
    struct start *next;
    uint32_t id;
    const struct found_reader *at;
};

struct snapshot_found {
    struct engine *engine;
    struct arena *arena;
    char path[HOST_PATH_MAX];
    uint64_t epoch, committed, bytes;
    struct found_reader *readers;
    struct found_view *views;
    struct start *starts;
    uint32_t n_restored;
};

/* ---- what a file says ---- */

static enum err take_reader(struct snapshot_found *f, struct snapshot_cursor *c)
{
    struct found_reader *r = arena_zalloc(f->arena, 1, sizeof(*r));
    if (r == NULL)
        return ERR_NO_MEMORY;
    r->id = snapshot_u32(c);
    r->relation = snapshot_u32(c);
    r->state.watermark_us = snapshot_i64(c);
    r->rows_in = snapshot_u64(c);
    r->dead_letters = snapshot_u64(c);
    r->n_parts = r->state.n_parts = snapshot_u32(c);
    if (c->failed || r->n_parts > PARTITIONS_MAX)
        return ERR_CORRUPT;
    r->state.positions = arena_alloc(f->arena, (r->n_parts + 1) * sizeof(int64_t));
    r->state.watermarks = arena_alloc(f->arena, (r->n_parts + 1) * sizeof(int64_t));
    if (r->state.positions == NULL || r->state.watermarks == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t p = 0; p < r->n_parts; p++) {
        r->state.positions[p] = snapshot_i64(c);
        r->state.watermarks[p] = snapshot_i64(c);
    }
    r->next = f->readers;
    f->readers = r;
    return ERR_OK;
}

static enum err take_input(struct snapshot_found *f, struct snapshot_cursor *c,
                           struct found_input *in)
{
    in->reader = snapshot_u32(c);
    in->n_floors = snapshot_u32(c);
    if (c->failed || in->n_floors > PARTITIONS_MAX)
        return ERR_CORRUPT;
    in->floors = arena_alloc(f->arena, (in->n_floors + 1) * sizeof(int64_t));
    if (in->floors == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t p = 0; p < in->n_floors; p++)
        in->floors[p] = snapshot_i64(c);
    return ERR_OK;
}

static enum err take_view(struct snapshot_found *f, struct snapshot_cursor *c)
{
    struct found_view *v = arena_zalloc(f->arena, 1, sizeof(*v));
    if (v == NULL)
        return ERR_NO_MEMORY;
    v->number = snapshot_u32(c);
    v->layout = snapshot_u64(c);
    v->watermark_us = snapshot_i64(c);
    for (int i = 0; i < VIEW_STATS; i++)
        v->stats[i] = snapshot_u64(c);
    v->n_inputs = snapshot_u32(c);
    if (c->failed || v->n_inputs > VIEW_SOURCES_MAX)
        return ERR_CORRUPT;
    v->inputs = arena_zalloc(f->arena, v->n_inputs + 1, sizeof(*v->inputs));
    if (v->inputs == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t k = 0; k < v->n_inputs; k++)
        TRY(take_input(f, c, &v->inputs[k]));
    v->next = f->views;
    f->views = v;
    return ERR_OK;
}

static enum err take_frame(void *arg, uint32_t kind, struct str payload, struct err_detail *why)
{
    struct snapshot_found *f = arg;
    struct snapshot_cursor c = {.left = payload};
    enum err e = ERR_OK;
    switch ((enum snapshot_frame)kind) {
    case SNAPSHOT_HEADER:
        (void)snapshot_u32(&c);
        f->epoch = snapshot_u64(&c);
        break;
    case SNAPSHOT_READER:
        e = take_reader(f, &c);
        break;
    case SNAPSHOT_VIEW:
        e = take_view(f, &c);
        break;
    case SNAPSHOT_COMMITTED:
        f->committed = snapshot_u64(&c);
        break;
    case SNAPSHOT_PARTITION:
    case SNAPSHOT_GROUPS:
    case SNAPSHOT_END:
        break;
    }
    f->bytes += SNAPSHOT_FRAME_HEAD + payload.len;
    if (e == ERR_OK && c.failed)
        e = ERR_CORRUPT;
    return e == ERR_CORRUPT
               ? err_set(why, e, "%s: a frame of kind %u is not what it should be", f->path, kind)
               : e;
}

static const struct found_reader *reader_find(const struct snapshot_found *f, uint32_t id)
{
    const struct found_reader *r = f->readers;
    while (r != NULL && r->id != id)
        r = r->next;
    return r;
}

static struct found_view *view_find(const struct snapshot_found *f, uint32_t number)
{
    struct found_view *v = f->views;
    while (v != NULL && v->number != number)
        v = v->next;
    return v;
}

/* ---- which file ---- */

/* Of one that will not be used again. */
static void move_aside(struct engine *e, const char *path, const struct err_detail *why)
{
    char to[HOST_PATH_MAX + 16];
    snprintf(to, sizeof(to), "%s.unusable", path);
    enum err err = strlen(to) < HOST_PATH_MAX ? host_rename(e->host, path, to) : ERR_LIMIT;
    engine_note(e, "warning", "a snapshot is not used: %s.%s", why->text,
                err == ERR_OK ? " It was renamed to end in .unusable" : "");
}

/* Whether the log and the records of epochs have all that the snapshot counts on. */
static enum err hold_against_log(const struct snapshot_found *f, const struct catalog *catalog,
                                 const struct epoch_record *record, struct err_detail *why)
{
    uint64_t last = record->epoch < EPOCH_FIRST ? EPOCH_FIRST : record->epoch;
    if (f->committed > last || f->epoch > last)
        return err_set(why, ERR_CORRUPT,
                       "%s is of epoch %llu and counts on the record of epoch %llu, but the last "
                       "record is of %llu",
                       f->path, (unsigned long long)f->epoch, (unsigned long long)f->committed,
                       (unsigned long long)last);
    for (const struct found_reader *r = f->readers; r != NULL; r = r->next) {
        const struct relation *rel = catalog_relation_by_number(catalog, r->relation);
        for (uint32_t p = 0; rel != NULL && p < rel->topic->n_partitions; p++) {
            struct engine *e = f->engine;
            const struct part *part = part_find(&e->shards[topic_shard(e, rel->topic, p)],
                                                rel->topic->number, p);
            int64_t at = p < r->n_parts ? r->state.positions[p] : 0;
            if (part == NULL || log_quarantined(part->log))
                continue;
            if (log_end_offset(part->log) < at)
                return err_set(why, ERR_CORRUPT,
                               "%s has topic \"%.*s\" partition %u up to offset %lld, but the log "
                               "ends at %lld",
                               f->path, STR_ARG(rel->topic->name), p, (long long)at,
                               (long long)log_end_offset(part->log));
            if (log_start_offset(part->log) > at)
                return err_set(why, ERR_CORRUPT,
                               "%s has topic \"%.*s\" partition %u up to offset %lld, and the log "
                               "begins at %lld: what was between is gone",
                               f->path, STR_ARG(rel->topic->name), p, (long long)at,
                               (long long)log_start_offset(part->log));
        }
    }
    return ERR_OK;
}

struct names {
    uint32_t n;
    uint64_t epochs[FILES_MAX]; /* the greatest */
};

static bool name_take(void *arg, const char *name)
{
    struct names *l = arg;
    uint64_t epoch;
    if (!snapshot_name_epoch(name, &epoch))
        return true;
    if (l->n == FILES_MAX)
        memmove(l->epochs, l->epochs + 1, (FILES_MAX - 1) * sizeof(*l->epochs));
    l->epochs[l->n == FILES_MAX ? FILES_MAX - 1 : l->n++] = epoch;
    return true;
}

/* Reads a file; *out is NULL when it cannot be used, which is told. */
static enum err file_read(struct engine *e, const struct catalog *catalog,
                          const struct epoch_record *record, uint64_t epoch, struct arena *a,
                          struct snapshot_found **out)
{
    struct err_detail why = {0};
    struct snapshot_found *f = arena_zalloc(a, 1, sizeof(*f));
    *out = NULL;
    if (f == NULL)
        return ERR_NO_MEMORY;
    *f = (struct snapshot_found){.engine = e, .arena = a};
    snapshot_path(e, epoch, f->path, sizeof(f->path));
    enum err err = snapshot_check(e->host, f->path, take_frame, f, &why);
    if (err == ERR_NO_MEMORY)
        return err;
    if (err == ERR_OK && f->epoch != epoch)
        err = err_set(&why, ERR_CORRUPT, "%s says that it is of epoch %llu", f->path,
                      (unsigned long long)f->epoch);
    if (err == ERR_OK)
        err = hold_against_log(f, catalog, record, &why);
    if (err == ERR_UNSUPPORTED)
        engine_note(e, "warning", "a snapshot is not used: %s", why.text);
    else if (err != ERR_OK)
        move_aside(e, f->path, &why);
    *out = err == ERR_OK ? f : NULL;
    return ERR_OK;
}

/* Retention has to leave what it needs. */
static enum err hold_it(const struct snapshot_found *f, const struct catalog *catalog)
{
    uint32_t n = 0;
    for (const struct found_reader *r = f->readers; r != NULL; r = r->next)
        n += r->n_parts;
    struct snapshot_hold *h = mem_zalloc(1, sizeof(*h) + n * sizeof(*h->positions));
    if (h == NULL)
        return ERR_NO_MEMORY;
    h->epoch = f->epoch;
    h->bytes = f->bytes;
    for (const struct found_reader *r = f->readers; r != NULL; r = r->next) {
        const struct relation *rel = catalog_relation_by_number(catalog, r->relation);
        for (uint32_t p = 0; rel != NULL && p < r->n_parts; p++)
            h->positions[h->n++] = (struct snapshot_position){rel->topic->number, p,
                                                              r->state.positions[p]};
    }
    snapshots_hold(f->engine, h);
    return ERR_OK;
}

/* ---- which views ---- */

/* The reader of a view's source as the record has it; NULL: it knows none. */
static const struct record_reader *recorded(const struct epoch_record *record, uint32_t view,
                                            uint32_t source)
{
    return record_reader_find(record, record_view_reader(record, reader_own(view, source)));
}

/* Whether the record tells of a view, so that outputs of it may be there. */
static bool view_known(const struct epoch_record *record, const struct relation *rel)
{
    for (uint32_t k = 0; k < rel->view->n_sources; k++) {
        uint32_t own = reader_own(rel->number, k);
        if (record_view_reader(record, own) != own || record_reader_find(record, own) != NULL)
            return true;
    }
    return false;
}

static bool view_replays(const struct snapshot_found *f, const struct epoch_record *record,
                         const struct relation *rel)
{
    const struct found_view *v = view_find(f, rel->number);
    return rel->kind == REL_VIEW && view_known(record, rel) &&
           record_failure_find(record, rel->number) == NULL && (v == NULL || !v->restored);
}

/* Whether its state means to this program what it meant to the one that wrote it. */
static enum err same_layout(struct engine *e, const struct relation *rel, uint64_t layout,
                            bool *same)
{
    struct view_run *run;
    struct err_detail why = {0};
    *same = false;
    enum err err = view_run_new(&e->shards[0], rel, &run, &why);
    if (err != ERR_OK)
        return err == ERR_NO_MEMORY ? err : ERR_OK; /* told when it is made for good */
    *same = view_layout(run) == layout && layout != 0;
    view_run_free(run);
    return ERR_OK;
}

static enum err view_judge(struct snapshot_found *f, const struct catalog *catalog,
                           const struct epoch_record *record, struct found_view *v)
{
    const struct relation *rel = catalog_relation_by_number(catalog, v->number);
    if (rel == NULL || rel->kind != REL_VIEW || !view_can_capture(rel) ||
        rel->view->n_sources != v->n_inputs || !view_known(record, rel) ||
        record_failure_find(record, v->number) != NULL)
        return ERR_OK;
    for (uint32_t k = 0; k < v->n_inputs; k++)
        if (reader_find(f, v->inputs[k].reader) == NULL || recorded(record, v->number, k) == NULL)
            return ERR_OK;
    TRY(same_layout(f->engine, rel, v->layout, &v->restored));
    if (!v->restored)
        engine_note(f->engine, "info",
                    "view \"%.*s\" is computed again: the snapshot of epoch %llu was made by "
                    "another version or definition",
                    STR_ARG(rel->name), (unsigned long long)f->epoch);
    return ERR_OK;
}

/* A view that is replayed needs all changes of those that it reads. */
static void views_spread(const struct snapshot_found *f, const struct catalog *catalog,
                         const struct epoch_record *record)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = 0; i < catalog->n_relations; i++) {
            const struct relation *rel = catalog->relations[i];
            if (!view_replays(f, record, rel))
                continue;
            for (uint32_t k = 0; k < rel->view->n_sources; k++) {
                struct found_view *up = view_find(f, rel->view->sources[k]->number);
                changed |= up != NULL && up->restored;
                if (up != NULL)
                    up->restored = false;
            }
        }
    }
}

/* ---- which readers ---- */

static enum err start_add(struct snapshot_found *f, uint32_t id, const struct found_reader *at)
{
    struct start *s = arena_alloc(f->arena, sizeof(*s));
    if (s == NULL)
        return ERR_NO_MEMORY;
    *s = (struct start){.next = f->starts, .id = id, .at = at};
    f->starts = s;
    return ERR_OK;
}

static bool has_start(const struct snapshot_found *f, uint32_t id)
{
    const struct start *s = f->starts;
    while (s != NULL && s->id != id)
        s = s->next;
    return s != NULL;
}

/* Whether a table's own reader may begin at the snapshot. */
static bool main_restored(const struct snapshot_found *f, const struct catalog *catalog,
                          const struct epoch_record *record, const struct relation *table)
{
    if (reader_find(f, table->number) == NULL ||
        record_reader_find(record, table->number) == NULL || table->n_primary_key > 0)
        return false;
    for (uint32_t i = 0; i < catalog->n_relations; i++) {
        const struct relation *rel = catalog->relations[i];
        if (!view_replays(f, record, rel))
            continue;
        for (uint32_t k = 0; k < rel->view->n_sources; k++)
            if (record_view_reader(record, reader_own(rel->number, k)) == table->number)
                return false;
    }
    return true;
}

static enum err view_readers(struct snapshot_found *f, struct epoch_record *record,
                             const struct found_view *v)
{
    for (uint32_t k = 0; k < v->n_inputs; k++) {
        const struct found_reader *at = reader_find(f, v->inputs[k].reader);
        uint32_t own = reader_own(v->number, k), now = record_view_reader(record, own);
        if (at == NULL)
            return ERR_CORRUPT; /* it would not be restored */
        if (now == at->id && has_start(f, now))
            continue; /* the table's own */
        TRY(record_view_part(record, f->arena, own));
        TRY(start_add(f, own, at));
    }
    return ERR_OK;
}

static enum err choose(struct snapshot_found *f, const struct catalog *catalog,
                       struct epoch_record *record)
{
    for (struct found_view *v = f->views; v != NULL; v = v->next)
        TRY(view_judge(f, catalog, record, v));
    views_spread(f, catalog, record);
    for (uint32_t i = 0; i < catalog->n_relations; i++) {
        const struct relation *rel = catalog->relations[i];
        if (relation_has_reader(rel) && main_restored(f, catalog, record, rel))
            TRY(start_add(f, rel->number, reader_find(f, rel->number)));
    }
    for (const struct found_view *v = f->views; v != NULL; v = v->next) {
        f->n_restored += v->restored;
        if (v->restored)
            TRY(view_readers(f, record, v));
    }
    return ERR_OK;
}

enum err snapshots_find(struct engine *e, const struct catalog *catalog,
                        struct epoch_record *record, struct arena *a,
                        struct snapshot_found **out, struct err_detail *why)
{
    char dir[HOST_PATH_MAX];
    struct names names = {0};
    bool exists;
    *out = NULL;
    snapshots_dir(e, dir, sizeof(dir));
    enum err err = host_path_exists(e->host, dir, &exists);
    if (err == ERR_OK && exists)
        err = host_dir_list(e->host, dir, name_take, &names);
    if (err != ERR_OK)
        return err_set(why, err, "the folder %s cannot be read", dir);
    uint32_t n_held = 0;
    for (uint32_t i = names.n; i > 0 && n_held < SNAPSHOT_KEPT; i--) {
        struct snapshot_found *f;
        TRY(file_read(e, catalog, record, names.epochs[i - 1], a, &f));
        if (f == NULL)
            continue;
        if (snapshots_on(e))
            TRY(hold_it(f, catalog));
        if (n_held++ == 0)
            *out = f;
    }
    if (*out == NULL) {
        if (names.n > 0)
            engine_note(e, "warning", "no snapshot can be used: views are computed from the start "
                                      "of their tables' logs");
        return ERR_OK;
    }
    TRY(choose(*out, catalog, record));
    snapshots_show_restored(e, (*out)->n_restored);
    engine_note(e, "info", "recovering %u views from the snapshot of epoch %llu (%llu bytes)",
                (*out)->n_restored, (unsigned long long)(*out)->epoch,
                (unsigned long long)(*out)->bytes);
    if ((*out)->starts == NULL)
        *out = NULL;
    return ERR_OK;
}

/* ---- taking it over ---- */

static enum err restore_partition(const struct snapshot_found *f, struct snapshot_cursor *c)
{
    struct engine *e = f->engine;
    uint32_t number = snapshot_u32(c), partition = snapshot_u32(c);
    int64_t watermark_us = snapshot_i64(c), of_view_us = snapshot_i64(c);
    uint64_t n_groups = snapshot_u64(c);
    const struct found_view *v = view_find(f, number);
    if (c->failed)
        return ERR_CORRUPT;
    if (v == NULL)
        return ERR_OK; /* it began with this epoch, and is computed from the start */
    for (uint32_t i = 0; v->restored && i < e->n_shards; i++) {
        struct view_run *run = epochs_view(e->shards[i].epochs, number);
        if (run == NULL || partition >= run->n_partitions)
            return ERR_CORRUPT;
        struct state_partition *sp = &run->partitions[partition];
        run->watermark_us = of_view_us;
        sp->watermark_us = watermark_us;
        if (sp->groups == NULL)
            continue;
        if (sp->restoring)
            return ERR_CORRUPT;
        sp->restoring = true;
        sp->n_restoring = n_groups;
        TRY(group_table_reserve(sp->groups, n_groups));
    }
    return ERR_OK;
}

/* The view as the shard runs it that a partition lives on; NULL: it is not restored. */
static enum err partition_owner(const struct snapshot_found *f, uint32_t number, uint32_t partition,
                                struct view_run **out)
{
    struct engine *e = f->engine;
    const struct found_view *v = view_find(f, number);
    *out = NULL;
    if (v == NULL || !v->restored)
        return ERR_OK;
    struct view_run *run = epochs_view(e->shards[0].epochs, number);
    if (run == NULL || partition >= run->n_partitions)
        return ERR_CORRUPT;
    *out = epochs_view(e->shards[topic_shard(e, run->rel->topic, partition)].epochs, number);
    return *out == NULL || !(*out)->partitions[partition].restoring ? ERR_CORRUPT : ERR_OK;
}

static enum err restore_frame(void *arg, uint32_t kind, struct str payload, struct err_detail *why)
{
    const struct snapshot_found *f = arg;
    struct snapshot_cursor c = {.left = payload};
    enum err e = ERR_OK;
    if (kind == SNAPSHOT_PARTITION)
        e = restore_partition(f, &c);
    if (kind == SNAPSHOT_GROUPS) {
        struct view_run *run;
        uint32_t view = snapshot_u32(&c), partition = snapshot_u32(&c);
        e = c.failed ? ERR_CORRUPT : partition_owner(f, view, partition, &run);
        if (e == ERR_OK && run != NULL)
            e = view_groups_load(run, &run->partitions[partition], c.left);
    }
    return e == ERR_OK ? ERR_OK
                       : err_set(why, e, "%s: state of a view cannot be taken over: %s", f->path,
                                 err_info(e)->text);
}

static enum err view_complete(const struct snapshot_found *f, const struct found_view *v,
                              struct err_detail *why)
{
    struct engine *e = f->engine;
    struct relation_stats *st = engine_relation_stats(e, v->number);
    _Atomic uint64_t *to[VIEW_STATS] = {&st->rows_in, &st->late_rows, &st->dead_letters,
                                        &st->rows_windowed, &st->rows_filtered};
    for (int i = 0; i < VIEW_STATS; i++)
        stat_setu(to[i], v->stats[i]);
    for (uint32_t i = 0; i < e->n_shards; i++) {
        struct view_run *run = epochs_view(e->shards[i].epochs, v->number);
        stat_set(&st->watermark_us, run->watermark_us);
        for (uint32_t p = 0; p < run->n_partitions; p++) {
            struct state_partition *sp = &run->partitions[p];
            if (sp->groups == NULL)
                continue;
            if (!sp->restoring || group_table_count(sp->groups) != sp->n_restoring)
                return err_set(why, ERR_CORRUPT, "%s has not all groups of a view", f->path);
            TRY(view_groups_loaded(e, run, sp));
        }
        for (uint32_t k = 0; k < v->n_inputs; k++)
            for (uint32_t p = 0; p < v->inputs[k].n_floors; p++) {
                const struct view_floor floor = {v->number, k, p, v->inputs[k].floors[p]};
                TRY(view_run_floor(run, &floor));
            }
    }
    return ERR_OK;
}

static enum err restore_readers(const struct snapshot_found *f)
{
    struct engine *e = f->engine;
    for (const struct start *s = f->starts; s != NULL; s = s->next) {
        coordinator_restore_reader(e->shards[0].coordinator, s->id, &s->at->state);
        for (uint32_t i = 0; i < e->n_shards; i++)
            epochs_restore_reader(e->shards[i].epochs, s->id, &s->at->state);
        if (s->id != s->at->relation)
            continue;
        struct relation_stats *st = engine_relation_stats(e, s->id);
        stat_setu(&st->rows_in, s->at->rows_in);
        stat_setu(&st->dead_letters, s->at->dead_letters);
    }
    return ERR_OK;
}

enum err snapshots_restore(struct engine *e, struct snapshot_found *found, struct err_detail *why)
{
    enum err err = snapshot_check(e->host, found->path, restore_frame, found, why);
    for (const struct found_view *v = found->views; v != NULL && err == ERR_OK; v = v->next)
        if (v->restored)
            err = view_complete(found, v, why);
    if (err == ERR_OK)
        return restore_readers(found);
    if (err != ERR_NO_MEMORY) {
        move_aside(e, found->path, why);
        e->restart = true;
    }
    return err;
}
