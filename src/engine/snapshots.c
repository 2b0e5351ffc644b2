#include "engine/snapshots.h"

#include "base/check.h"
#include "base/mem.h"
#include "engine/coordinator_int.h"
#include "engine/epochs.h"
#include "engine/view_capture.h"
#include "state/snapshot_file.h"

/* Frames of groups, of one partition at a time. */
struct frames {
    struct snapshot_piece *piece; /* NULL: none is begun */
    uint32_t view, partition;
    bool open;
    size_t frame_at;
};

/* One shard's part in the snapshot under way; its own thread. */
struct capture {
    struct shard *shard;
    bool running, scanned;
    uint64_t id, epoch;
    enum err err;
    struct frames scan, kept;
    uint32_t n_views, view_at;
    struct view_capture *views;
    struct list out; /* pieces that wait for room in the ring */
    struct shard_call begin;
};

struct snapshots {
    struct engine *engine;
    struct snapshot_writer *writer;
    struct capture *captures; /* by shard */
    _Atomic uint64_t input_bytes;
    /* shard 0 */
    enum { SNAPSHOTS_IDLE, SNAPSHOTS_CAPTURING, SNAPSHOTS_COMMITTING, SNAPSHOTS_WRITING } state;
    uint64_t id, epoch;
    uint32_t n_left; /* shards that capture */
    enum err err;
    uint64_t input_seen; /* when the last one began */
    int64_t retry_ns;
    struct snapshot_hold *holds[SNAPSHOT_KEPT], *taking;
    _Atomic uint64_t n_written, n_failed, bytes, n_restored;
};

/* ---- a shard's part ---- */

static struct snapshot_piece *piece_new(uint64_t id, enum snapshot_piece_kind kind)
{
    struct snapshot_piece *p = mem_zalloc(1, sizeof(*p));
    if (p == NULL)
        return NULL;
    list_init(&p->link);
    p->id = id;
    p->kind = kind;
    buf_init(&p->bytes, SNAPSHOT_FRAME_BYTES_MAX);
    return p;
}

static void frame_close(struct frames *f)
{
    if (f->open)
        snapshot_frame_end(&f->piece->bytes, f->frame_at);
    f->open = false;
}

static void frames_hand(struct capture *c, struct frames *f)
{
    if (f->piece == NULL)
        return;
    frame_close(f);
    if (f->piece->bytes.failed)
        c->err = ERR_NO_MEMORY;
    list_add(&c->out, &f->piece->link);
    f->piece = NULL;
}

/* Room for something more, in a frame of the partition when `kind` is GROUPS. */
static struct buf *frames_room(struct capture *c, struct frames *f, uint32_t view,
                               uint32_t partition)
{
    if (f->piece != NULL && f->piece->bytes.len >= SNAPSHOT_PIECE_BYTES)
        frames_hand(c, f);
    if (f->piece == NULL)
        f->piece = piece_new(c->id, PIECE_FRAMES);
    if (f->piece == NULL) {
        c->err = ERR_NO_MEMORY;
        return NULL;
    }
    if (f->open && f->view == view && f->partition == partition)
        return &f->piece->bytes;
    frame_close(f);
    f->open = true;
    f->view = view;
    f->partition = partition;
    f->frame_at = snapshot_frame_begin(&f->piece->bytes, SNAPSHOT_GROUPS);
    snapshot_put_u32(&f->piece->bytes, view);
    snapshot_put_u32(&f->piece->bytes, partition);
    return &f->piece->bytes;
}

static void group_put(struct capture *c, struct frames *f, const struct view_capture *vc,
                      const struct state_partition *sp, struct group *g)
{
    struct buf *b =
        c->err == ERR_OK ? frames_room(c, f, vc->view->number, sp->number) : NULL;
    if (b != NULL)
        view_group_store(vc->view, sp, g, b);
}

static void keep_row(struct view_capture *vc, const struct state_partition *sp, struct group *g)
{
    struct capture *c = vc->owner;
    group_put(c, &c->kept, vc, sp, g);
}

/* What is said of a view's partitions that live here comes before their groups. */
static void partitions_put(struct capture *c, const struct view_run *v)
{
    if (c->scan.piece == NULL)
        c->scan.piece = piece_new(c->id, PIECE_FRAMES);
    if (c->scan.piece == NULL) {
        c->err = ERR_NO_MEMORY;
        return;
    }
    struct buf *b = &c->scan.piece->bytes;
    for (uint32_t p = 0; p < v->n_partitions; p++) {
        if (topic_shard(c->shard->engine, v->rel->topic, p) != c->shard->index)
            continue;
        size_t at = snapshot_frame_begin(b, SNAPSHOT_PARTITION);
        snapshot_put_u32(b, v->number);
        snapshot_put_u32(b, p);
        snapshot_put_i64(b, v->partitions[p].watermark_us);
        snapshot_put_i64(b, v->watermark_us);
        snapshot_put_u64(b, v->aggregate == NULL ? 0 : group_table_count(v->partitions[p].groups));
        snapshot_frame_end(b, at);
    }
}

static void view_begin(struct capture *c, struct view_run *v)
{
    if (v == NULL || v->failed || c->err != ERR_OK || !view_can_capture(v->rel))
        return;
    partitions_put(c, v);
    if (v->aggregate == NULL || c->err != ERR_OK)
        return;
    struct view_capture *vc = &c->views[c->n_views++];
    *vc = (struct view_capture){.owner = c, .keep = keep_row};
    c->err = view_capture_begin(vc, v, c->epoch);
}

static void capture_begin(struct shard *s, struct shard_call *call)
{
    struct capture *c = CONTAINER_OF(call, struct capture, begin);
    const struct snapshots *sn = s->engine->snapshots;
    c->id = sn->id;
    c->epoch = sn->epoch;
    c->err = ERR_OK;
    c->n_views = c->view_at = 0;
    c->running = true;
    c->scanned = false;
    c->views = mem_zalloc(s->catalog->n_relations + 1, sizeof(*c->views));
    if (c->views == NULL)
        c->err = ERR_NO_MEMORY;
    for (uint32_t i = 0; c->err == ERR_OK && i < s->catalog->n_relations; i++)
        view_begin(c, epochs_view(s->epochs, s->catalog->relations[i]->number));
    frames_hand(c, &c->scan);
    s->busy = true;
}

static void captured(struct shard *s, struct shard_call *call)
{
    const struct capture *c = CONTAINER_OF(call, struct capture, begin);
    struct snapshots *sn = s->engine->snapshots;
    if (sn->err == ERR_OK)
        sn->err = c->err;
    sn->n_left--;
}

static void pieces_drop(struct capture *c)
{
    struct frames *both[] = {&c->scan, &c->kept};
    for (size_t i = 0; i < ARRAY_LEN(both); i++)
        frames_hand(c, both[i]);
    LIST_FOR_SAFE (it, next, &c->out) {
        struct snapshot_piece *p = LIST_ENTRY(it, struct snapshot_piece, link);
        list_remove(it);
        buf_deinit(&p->bytes);
        mem_free(p);
    }
}

static void views_release(struct capture *c)
{
    for (uint32_t i = 0; i < c->n_views; i++)
        view_capture_end(&c->views[i]);
    mem_free(c->views);
    c->views = NULL;
    c->n_views = 0;
}

/* A slice of the walk over the groups. */
static void scan_some(struct capture *c)
{
    uint32_t rows = SNAPSHOT_ROWS_PER_TURN;
    while (rows > 0 && c->view_at < c->n_views && c->err == ERR_OK) {
        struct view_capture *vc = &c->views[c->view_at];
        const struct state_partition *sp;
        if (vc->view == NULL) { /* it failed, or was dropped */
            c->err = ERR_CANCELED;
            return;
        }
        struct group *g = view_capture_next(vc, &rows, &sp);
        if (g != NULL)
            group_put(c, &c->scan, vc, sp, g);
        else if (rows > 0)
            c->view_at++;
    }
    shard_worked(c->shard, SNAPSHOT_ROWS_PER_TURN - rows);
    c->scanned = c->view_at == c->n_views;
}

static void pieces_hand(struct capture *c)
{
    struct snapshot_writer *w = c->shard->engine->snapshots->writer;
    LIST_FOR_SAFE (it, next, &c->out) {
        struct snapshot_piece *p = LIST_ENTRY(it, struct snapshot_piece, link);
        list_remove(it);
        if (snapshot_writer_push(w, c->shard->index, p))
            continue;
        list_add(c->out.next, it); /* back in front; we are woken when there is room */
        return;
    }
}

void snapshots_turn(struct shard *s)
{
    struct capture *c = &s->engine->snapshots->captures[s->index];
    const struct snapshots *sn = s->engine->snapshots;
    if (!c->running)
        return;
    if (s->phase != SHARD_RUNNING)
        c->err = ERR_SHUTDOWN;
    pieces_hand(c);
    bool room = snapshot_writer_waiting(sn->writer, s->index) < SNAPSHOT_WAITING_BYTES;
    if (c->err == ERR_OK && !c->scanned && room && list_empty(&c->out)) {
        scan_some(c);
        s->busy = true;
    }
    if (c->err == ERR_OK && !c->scanned)
        return;
    frames_hand(c, &c->scan);
    frames_hand(c, &c->kept);
    if (c->err != ERR_OK)
        pieces_drop(c);
    pieces_hand(c);
    if (!list_empty(&c->out))
        return;
    views_release(c);
    c->running = false;
    shard_call_reply(s, &c->begin);
}

bool snapshots_pressed(const struct engine *e)
{
    for (uint32_t i = 0; i < e->n_shards; i++)
        if (snapshot_writer_waiting(e->snapshots->writer, i) > SNAPSHOT_PRESSED_BYTES)
            return true;
    return false;
}

bool snapshots_on(const struct engine *e)
{
    /* With fsync = os a power cut may take what the positions count. */
    return e->options.snapshot_bytes != SNAPSHOTS_OFF && e->options.fsync != FSYNC_OS;
}

void snapshots_input(struct engine *e, uint64_t bytes)
{
    atomic_fetch_add_explicit(&e->snapshots->input_bytes, bytes, memory_order_relaxed);
}

/* ---- what retention has to keep ---- */

static int64_t hold_keep(const struct snapshot_hold *h, uint32_t topic_number, uint32_t partition)
{
    int64_t least = INT64_MAX;
    bool of_topic = false, known = false;
    for (uint32_t i = 0; h != NULL && i < h->n; i++) {
        const struct snapshot_position *p = &h->positions[i];
        of_topic |= p->topic_number == topic_number;
        if (p->topic_number != topic_number || p->partition != partition)
            continue;
        known = true;
        least = p->offset < least ? p->offset : least;
    }
    /* A partition that was added since: all of it is behind the snapshot. */
    return of_topic && !known ? 0 : least;
}

int64_t snapshots_keep(const struct coordinator *co, uint32_t topic_number, uint32_t partition)
{
    const struct snapshots *sn = co->engine->snapshots;
    int64_t least = hold_keep(sn->taking, topic_number, partition);
    for (int i = 0; i < SNAPSHOT_KEPT; i++) {
        int64_t keep = hold_keep(sn->holds[i], topic_number, partition);
        least = keep < least ? keep : least;
    }
    return least;
}

void snapshots_hold(struct engine *e, struct snapshot_hold *hold)
{
    struct snapshots *sn = e->snapshots;
    int i = 0;
    while (i < SNAPSHOT_KEPT && sn->holds[i] != NULL)
        i++;
    if (i == SNAPSHOT_KEPT) {
        mem_free(hold);
        return;
    }
    sn->holds[i] = hold;
    if (i == 0)
        stat_setu(&sn->bytes, hold->bytes);
}

void snapshots_show_restored(struct engine *e, uint32_t n_views)
{
    stat_setu(&e->snapshots->n_restored, n_views);
}

static struct snapshot_hold *hold_new(const struct coordinator *co)
{
    uint32_t n = 0;
    LIST_FOR (it, &co->readers)
        n += LIST_ENTRY(it, struct co_reader, link)->n_parts;
    struct snapshot_hold *h = mem_zalloc(1, sizeof(*h) + n * sizeof(*h->positions));
    if (h == NULL)
        return NULL;
    h->epoch = co->finished;
    LIST_FOR (it, &co->readers) {
        const struct co_reader *r = LIST_ENTRY(it, struct co_reader, link);
        for (uint32_t p = 0; p < r->n_parts; p++)
            h->positions[h->n++] =
                (struct snapshot_position){r->rel->topic->number, p, r->parts[p].pos};
    }
    return h;
}

/* ---- the coordinator's part ---- */

static void readers_put(const struct coordinator *co, struct buf *b)
{
    LIST_FOR (it, &co->readers) {
        const struct co_reader *r = LIST_ENTRY(it, struct co_reader, link);
        const struct relation_stats *st = engine_relation_stats(co->engine, r->rel->number);
        if (!r->ran)
            continue; /* new to the next start as well */
        size_t at = snapshot_frame_begin(b, SNAPSHOT_READER);
        snapshot_put_u32(b, r->id);
        snapshot_put_u32(b, r->rel_number);
        snapshot_put_i64(b, r->watermark_us);
        snapshot_put_u64(b, stat_getu(&st->rows_in));
        snapshot_put_u64(b, stat_getu(&st->dead_letters));
        snapshot_put_u32(b, r->n_parts);
        for (uint32_t p = 0; p < r->n_parts; p++) {
            snapshot_put_i64(b, r->parts[p].pos);
            snapshot_put_i64(b, r->parts[p].watermark_us);
        }
        snapshot_frame_end(b, at);
    }
}

static void view_put(const struct coordinator *co, const struct co_view *v, struct buf *b)
{
    const struct view_run *run = epochs_view(co->shard->epochs, v->number);
    const struct relation_stats *st = engine_relation_stats(co->engine, v->number);
    size_t at = snapshot_frame_begin(b, SNAPSHOT_VIEW);
    snapshot_put_u32(b, v->number);
    snapshot_put_u64(b, view_layout(run));
    snapshot_put_i64(b, v->watermark_us);
    snapshot_put_u64(b, stat_getu(&st->rows_in));
    snapshot_put_u64(b, stat_getu(&st->late_rows));
    snapshot_put_u64(b, stat_getu(&st->dead_letters));
    snapshot_put_u64(b, stat_getu(&st->rows_windowed));
    snapshot_put_u64(b, stat_getu(&st->rows_filtered));
    snapshot_put_u32(b, v->n_inputs);
    for (uint32_t k = 0; k < v->n_inputs; k++) {
        const struct co_input *in = &v->inputs[k];
        snapshot_put_u32(b, in->reader);
        snapshot_put_u32(b, in->n_floors);
        for (uint32_t p = 0; p < in->n_floors; p++)
            snapshot_put_i64(b, in->floors[p]);
    }
    snapshot_frame_end(b, at);
}

/* HEADER, and what the coordinator knows. */
static void head_put(const struct coordinator *co, struct buf *b)
{
    size_t at = snapshot_frame_begin(b, SNAPSHOT_HEADER);
    snapshot_put_u32(b, SNAPSHOT_VERSION);
    snapshot_put_u64(b, co->finished);
    snapshot_put_i64(b, co->shard->wall_us);
    snapshot_frame_end(b, at);
    readers_put(co, b);
    LIST_FOR (it, &co->views) {
        const struct co_view *v = LIST_ENTRY(it, struct co_view, link);
        const struct view_run *run = epochs_view(co->shard->epochs, v->number);
        bool ran = true;
        for (uint32_t k = 0; k < v->n_inputs; k++) {
            const struct co_reader *r = co_reader_find(co, v->inputs[k].reader);
            ran &= r != NULL && r->ran;
        }
        if (ran && !v->failed && run != NULL && view_can_capture(run->rel))
            view_put(co, v, b);
    }
}

static void snapshot_failed(struct coordinator *co, enum err e, const struct err_detail *why)
{
    struct snapshots *sn = co->engine->snapshots;
    if (e != ERR_CANCELED) /* a view was dropped: nothing is wrong */
        engine_note(co->engine, "warning",
                    "no snapshot of views' state was written: %s. A restart replays the input "
                    "since the last one; the next attempt is in %d s",
                    err_text(e, why), SNAPSHOT_RETRY_MS / 1000);
    stat_add(&sn->n_failed, 1);
    mem_free(sn->taking);
    sn->taking = NULL;
    sn->state = SNAPSHOTS_IDLE;
    sn->retry_ns = co->shard->mono_ns + (int64_t)SNAPSHOT_RETRY_MS * 1000000;
}

static bool piece_send(struct snapshots *sn, enum snapshot_piece_kind kind, uint64_t epoch,
                       struct buf *bytes)
{
    struct snapshot_piece *p = piece_new(sn->id, kind);
    if (p == NULL)
        return false;
    p->epoch = epoch;
    if (bytes != NULL) {
        p->bytes = *bytes;
        buf_init(bytes, 0);
    }
    if (snapshot_writer_push(sn->writer, 0, p))
        return true;
    buf_deinit(&p->bytes);
    mem_free(p);
    return false;
}

/* A record at or behind the snapshot's epoch comes first, also when the epochs until then wrote
 * nothing: a restart goes on behind the last record's number, and no epoch's may come again. */
static void committing(struct coordinator *co)
{
    struct snapshots *sn = co->engine->snapshots;
    if (co->committed < sn->epoch) {
        if (!co->commit_wanted && (co->commit == COMMIT_IDLE || co->recorded < sn->epoch))
            co->commit_wanted = co->shard->busy = true;
        return;
    }
    if (piece_send(sn, PIECE_FINISH, co->committed, NULL))
        sn->state = SNAPSHOTS_WRITING;
}

static void written(struct coordinator *co)
{
    struct snapshots *sn = co->engine->snapshots;
    struct err_detail why;
    uint64_t bytes;
    enum err e;
    if (!snapshot_writer_done(sn->writer, sn->id, &bytes, &e, &why))
        return;
    if (e != ERR_OK) {
        snapshot_failed(co, e, &why);
        return;
    }
    mem_free(sn->holds[SNAPSHOT_KEPT - 1]);
    for (int i = SNAPSHOT_KEPT - 1; i > 0; i--)
        sn->holds[i] = sn->holds[i - 1];
    sn->holds[0] = sn->taking;
    sn->holds[0]->bytes = bytes;
    sn->taking = NULL;
    sn->state = SNAPSHOTS_IDLE;
    stat_add(&sn->n_written, 1);
    stat_setu(&sn->bytes, bytes);
    co_keep_tell_all(co);
}

void snapshots_advance(struct coordinator *co)
{
    struct snapshots *sn = co->engine->snapshots;
    switch (sn->state) {
    case SNAPSHOTS_IDLE:
        return;
    case SNAPSHOTS_CAPTURING:
        if (sn->n_left > 0)
            return;
        sn->state = SNAPSHOTS_COMMITTING;
        if (sn->err == ERR_OK)
            committing(co);
        else if (piece_send(sn, PIECE_ABORT, 0, NULL))
            snapshot_failed(co, sn->err, NULL);
        else
            sn->state = SNAPSHOTS_CAPTURING; /* again in a later turn */
        return;
    case SNAPSHOTS_COMMITTING:
        committing(co);
        return;
    case SNAPSHOTS_WRITING:
        written(co);
        return;
    }
}

/* A reader that stands still, or replays, is not as of the epoch. */
static bool all_stand_well(const struct coordinator *co)
{
    LIST_FOR (it, &co->readers) {
        const struct co_reader *r = LIST_ENTRY(it, struct co_reader, link);
        if (r->failed || r->silent)
            return false;
    }
    return !co->replaying;
}

static bool due(const struct coordinator *co)
{
    const struct snapshots *sn = co->engine->snapshots;
    uint64_t least_input = co->engine->options.snapshot_bytes;
    uint64_t size = stat_getu(&sn->bytes) / SNAPSHOT_READ_PER_WRITTEN;
    uint64_t least = size > least_input ? size : least_input;
    uint64_t input = atomic_load_explicit(&sn->input_bytes, memory_order_relaxed);
    return snapshots_on(co->engine) && input - sn->input_seen >= least &&
           co->shard->mono_ns >= sn->retry_ns;
}

void snapshots_boundary(struct coordinator *co)
{
    struct snapshots *sn = co->engine->snapshots;
    if (sn->state != SNAPSHOTS_IDLE || !due(co) || !all_stand_well(co))
        return;
    struct buf head;
    buf_init(&head, SNAPSHOT_FRAME_BYTES_MAX);
    sn->id++;
    sn->epoch = co->finished;
    sn->err = ERR_OK;
    sn->taking = hold_new(co);
    head_put(co, &head);
    bool begun = sn->taking != NULL && !head.failed &&
                 piece_send(sn, PIECE_START, sn->epoch, &head);
    buf_deinit(&head);
    if (!begun) {
        snapshot_failed(co, ERR_NO_MEMORY, NULL);
        return;
    }
    sn->input_seen = atomic_load_explicit(&sn->input_bytes, memory_order_relaxed);
    sn->state = SNAPSHOTS_CAPTURING;
    sn->n_left = co->engine->n_shards;
    for (uint32_t i = 0; i < co->engine->n_shards; i++) {
        sn->captures[i].begin = (struct shard_call){.run = capture_begin, .done = captured};
        shard_call(co->shard, i, &sn->captures[i].begin);
    }
}

/* ---- life ---- */

enum err snapshots_new(struct engine *e, struct snapshots **out)
{
    struct snapshots *sn = mem_zalloc(1, sizeof(*sn));
    if (sn == NULL)
        return ERR_NO_MEMORY;
    *out = sn;
    sn->engine = e;
    sn->captures = mem_zalloc(e->n_shards, sizeof(*sn->captures));
    if (sn->captures == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < e->n_shards; i++) {
        sn->captures[i].shard = &e->shards[i];
        list_init(&sn->captures[i].out);
    }
    return snapshot_writer_new(e, &sn->writer);
}

enum err snapshots_start(struct snapshots *sn)
{
    struct engine *e = sn->engine;
    engine_metric_add(e, "tidemill_snapshots_total", "", "Snapshots of views' state written", true,
                      &sn->n_written);
    engine_metric_add(e, "tidemill_snapshots_failed_total", "",
                      "Snapshots that were begun and not written", true, &sn->n_failed);
    engine_metric_add(e, "tidemill_snapshot_bytes", "", "Size of the newest snapshot", false,
                      &sn->bytes);
    engine_metric_add(e, "tidemill_views_restored", "",
                      "Views that the last start has taken from a snapshot", false,
                      &sn->n_restored);
    return snapshot_writer_start(sn->writer);
}

void snapshots_free(struct snapshots *sn)
{
    if (sn == NULL)
        return;
    for (uint32_t i = 0; sn->captures != NULL && i < sn->engine->n_shards; i++) {
        struct capture *c = &sn->captures[i];
        if (c->shard == NULL)
            continue;
        pieces_drop(c);
        views_release(c);
    }
    snapshot_writer_free(sn->writer);
    for (int i = 0; i < SNAPSHOT_KEPT; i++)
        mem_free(sn->holds[i]);
    mem_free(sn->taking);
    mem_free(sn->captures);
    mem_free(sn);
}
