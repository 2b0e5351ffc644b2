/* Group fsync: begin on the owner, run on a helper thread, end on the owner.
 *
 *   owner    begin: take references to the unsynced segments, and the dropped ones
 *   helper   1 flush the segments    2 flush new names    3 write the checkpoint
 *            4 write the producers at the ends of full segments, and their indexes
 *            5 remove the files of dropped ones
 *   owner    end: raise durable
 *
 * The order is the point: a checkpoint or an index on the disk proves that what it names was
 * flushed before; a file is removed only after the checkpoint that says so is durable, and so are
 * the producers that it told of. */
#include "log/log.h"

#include "base/check.h"
#include "log/log_int.h"

/* Number of the oldest segment that still needs a flush. */
static uint32_t first_unfinished(const struct log_partition *p)
{
    uint32_t i = p->n_segments;
    while (i > 0 && !p->segments[i - 1]->finished) {
        i--;
    }
    return i;
}

static void capture_segments(struct log_partition *p, struct log_sync *sync)
{
    for (uint32_t i = first_unfinished(p); i < p->n_segments; i++) {
        struct log_segment *s = p->segments[i];
        if (sync->n_segments == LOG_SYNC_SEGMENTS_MAX) {
            return;
        }
        if (!s->sealed && p->end_offset == p->durable_offset) {
            return;
        }
        log_segment_hold(s);
        sync->segments[sync->n_segments] = s;
        sync->sealed[sync->n_segments] = s->sealed;
        sync->n_segments++;
        sync->target_offset = s->end_offset;
        sync->target_at = s->bytes;
    }
}

bool log_sync_begin(struct log_partition *p, struct log_sync *sync)
{
    if (p->sync_running) {
        return false;
    }
    *sync = (struct log_sync){.target_offset = p->durable_offset};
    if (!p->quarantined) {
        capture_segments(p, sync);
    }
    if (sync->n_segments == 0 && p->retired == NULL && !p->start_moved) {
        return false;
    }
    sync->dir = p->dir;
    sync->meta = p->meta;
    sync->sync_dir = p->sync_dir;
    sync->sync_parent = p->sync_parent;
    sync->sync_meta = p->sync_meta;
    sync->start_offset = p->start_offset;
    sync->clean_offset = p->clean_offset;
    sync->flushed_offset = p->flushed_offset;
    sync->retired = p->retired;
    p->retired = NULL;
    sync->start_moved = p->start_moved || p->start_unkept;
    p->start_moved = p->start_unkept = false;
    p->sync_dir = p->sync_parent = p->sync_meta = false;
    p->group_bytes = p->appended_bytes;
    p->appended_bytes = 0;
    p->sync_running = true;
    return true;
}

/* Writes what of a full segment was left to the system, up to the last piece, so that neither the
 * disk nor a processor is taken for all of it at a time. */
static enum err write_out(const struct log_segment *s)
{
    for (uint64_t at = s->flushed_bytes; at + LOG_SYNC_PIECE_BYTES < s->bytes;
         at += LOG_SYNC_PIECE_BYTES) {
        TRY(host_file_write_out(s->file, at, LOG_SYNC_PIECE_BYTES));
    }
    return ERR_OK;
}

static enum err flush_segments(struct log_sync *sync)
{
    for (uint32_t i = 0; i < sync->n_segments; i++) {
        struct log_segment *s = sync->segments[i];
        uint64_t size = 0;
        if (sync->sealed[i] && host_file_size(s->file, &size) == ERR_OK && size > s->bytes) {
            /* Gives back the zeros behind the end; whether it works is of no concern. */
            (void)!host_file_truncate(s->file, s->bytes);
        }
        if (sync->sealed[i]) {
            TRY(write_out(s));
        }
        TRY(host_file_sync(s->file));
        sync->flushed_offset = sync->sealed[i] ? s->end_offset : sync->target_offset;
    }
    return ERR_OK;
}

static enum err flush_names(struct host *h, const struct log_sync *sync)
{
    if (sync->sync_dir) {
        TRY(host_dir_sync(h, sync->dir));
    }
    return sync->sync_parent ? log_parent_sync(h, sync->dir) : ERR_OK;
}

/* Nothing depends on the checkpoint's being written, except the removal of files. */
static enum err write_checkpoint(const struct log_sync *sync, bool *written)
{
    struct log_checkpoint c = {.start_offset = sync->start_offset,
                               .durable_offset = sync->flushed_offset,
                               .clean_offset = sync->clean_offset};
    enum err e =
        sync->sync_meta ? log_meta_write_all(sync->meta, &c) : log_meta_write(sync->meta, &c);
    *written = e == ERR_OK;
    bool flush = sync->sync_meta || sync->start_moved || sync->retired != NULL;
    return *written && flush ? host_file_sync(sync->meta) : ERR_OK;
}

/* An index is a cache: where it cannot be written, the segment is scanned at the next start. The
 * producers are not, when what comes before is dropped: they are tried again with the next sync. */
static void write_indexes(struct host *h, struct log_sync *sync)
{
    char path[HOST_PATH_MAX];
    for (uint32_t i = 0; i < sync->n_segments; i++) {
        const struct log_segment *s = sync->segments[i];
        if (!sync->sealed[i]) {
            continue; /* the owner goes on changing it */
        }
        struct log_index_info info = log_segment_info(s);
        sync->kept[i] = log_state_keep(h, sync->dir, s->end_offset, buf_str(&s->state)) == ERR_OK;
        if (!sync->kept[i]) {
            return; /* what comes after it is tried again with it */
        }
        if (log_segment_path(sync->dir, s->base_offset, ".index", path) == ERR_OK) {
            (void)!log_index_write(h, path, &s->index, &info);
        }
    }
}

/* Oldest first, so that a crash leaves no gap. What cannot be removed is tried again at the next
 * start. */
static void remove_retired(struct host *h, const struct log_sync *sync)
{
    if (sync->retired != NULL && host_dir_sync(h, sync->dir) != ERR_OK) {
        return;
    }
    for (struct log_segment *s = sync->retired; s != NULL; s = s->next_retired) {
        if (log_segment_remove_files(h, sync->dir, s->base_offset) != ERR_OK) {
            return;
        }
    }
}

void log_sync_run(struct host *h, struct log_sync *sync)
{
    bool written = false;
    sync->result = flush_segments(sync);
    if (sync->result == ERR_OK) {
        sync->result = flush_names(h, sync);
    }
    if (sync->result == ERR_OK) {
        sync->result = write_checkpoint(sync, &written);
    }
    if (sync->result == ERR_OK) {
        write_indexes(h, sync);
        sync->start_kept = written && (sync->retired != NULL || sync->start_moved);
        if (written) {
            remove_retired(h, sync);
        }
    } else {
        sync->result = ERR_SYNC_FAILED;
    }
}

/* What comes before `offset`, which is at byte `at` of the segment, counts as durable from now
 * on. */
static bool durable_raise(struct log_partition *p, struct log_segment *s, int64_t offset,
                          uint64_t at)
{
    if (offset <= p->durable_offset) {
        return false;
    }
    p->durable_offset = offset;
    p->durable_mark = (struct log_mark){s, offset, at};
    if (!p->config.manual_watermark) {
        p->high_watermark = p->durable_offset;
    }
    return true;
}

bool log_durable_assume(struct log_partition *p)
{
    struct log_segment *s = log_active(p);
    p->group_bytes = UINT64_MAX; /* no flush that zeros ahead of the end could spare anything */
    return s != NULL && !p->quarantined && durable_raise(p, s, p->end_offset, s->bytes);
}

static void sync_take(struct log_partition *p, const struct log_sync *sync)
{
    for (uint32_t i = 0; i < sync->n_segments; i++) {
        struct log_segment *s = sync->segments[i];
        s->flushed_bytes = sync->sealed[i] ? s->bytes : sync->target_at;
        s->finished = sync->sealed[i] && sync->kept[i];
        if (s->finished) {
            buf_deinit(&s->state);
        }
    }
    p->flushed_offset = sync->flushed_offset;
    if (sync->n_segments > 0) {
        (void)durable_raise(p, sync->segments[sync->n_segments - 1], sync->target_offset,
                            sync->target_at);
    }
}

enum err log_sync_end(struct log_partition *p, const struct log_sync *sync)
{
    CHECK(p->sync_running);
    p->sync_running = false;
    if (sync->result == ERR_OK) {
        sync_take(p, sync);
    }
    if (sync->start_kept) {
        p->kept_offset = sync->start_offset;
    } else {
        p->start_unkept |= sync->start_moved;
    }
    for (uint32_t i = 0; i < sync->n_segments; i++) {
        log_segment_release(sync->segments[i]);
    }
    for (struct log_segment *s = sync->retired; s != NULL;) {
        struct log_segment *next = s->next_retired;
        log_segment_release(s);
        s = next;
    }
    return sync->result;
}
