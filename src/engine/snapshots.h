/* Snapshots of views' state: taken while epochs go on, so that a restart replays only the input
 * behind one. Private to engine/.
 *
 *   coordinator, between two epochs:  IDLE --enough input--> CAPTURING: positions, watermarks
 *   every shard:                      groups in pieces, and those that epochs change first
 *   all shards captured:              COMMITTING --the epoch is committed--> WRITING --> IDLE
 *   writer (a helper thread):         pieces -> snapshots/snapshot.new -> flushed, read back
 *                                     -> renamed to its epoch's name; the newest two are kept
 *
 * A file (state/snapshot_file.h) has, behind HEADER:
 *   READER     u32 id, u32 relation, i64 watermark, u64 rows in, u64 dead letters,
 *              u32 n, n times {i64 position, i64 watermark}
 *   VIEW       u32 number, u64 layout, i64 watermark, 5 x u64 statistics, u32 sources,
 *              each {u32 reader, u32 floors, i64 floors...}
 *   PARTITION  u32 view, u32 partition, i64 watermark of the state, i64 watermark of the view,
 *              u64 groups
 *   GROUPS     u32 view, u32 partition, rows (view_capture.h); behind the partition's PARTITION
 *   COMMITTED  u64 the epoch whose record was the newest when the file was closed
 *
 * Memory: what waits for the writer. Over SNAPSHOT_WAITING_BYTES a shard captures nothing more of
 * its own accord, over SNAPSHOT_PRESSED_BYTES no epoch begins. */
#ifndef TIDEMILL_ENGINE_SNAPSHOTS_H
#define TIDEMILL_ENGINE_SNAPSHOTS_H

#include "engine/coordinator.h"

enum {
    SNAPSHOT_PIECE_BYTES = 1 << 20,
    SNAPSHOT_WAITING_BYTES = 8 << 20,
    SNAPSHOT_PRESSED_BYTES = 64 << 20,
    SNAPSHOT_ROWS_PER_TURN = 4096,
    SNAPSHOT_RETRY_MS = 10000, /* after one that failed */
    SNAPSHOT_READ_PER_WRITTEN = 4, /* a large one is due after a quarter of its size in input */
    SNAPSHOT_KEPT = 2,
};

struct snapshots;
struct snapshot_hold;
struct part_stats;

/* Main thread, before any worker runs; after they have ended (views first). NULL is fine. */
enum err snapshots_new(struct engine *e, struct snapshots **out) MUST_CHECK;
enum err snapshots_start(struct snapshots *sn) MUST_CHECK;
void snapshots_free(struct snapshots *sn);
/* Whether any are taken. */
bool snapshots_on(const struct engine *e);
/* Once a turn of a shard: a piece of the capture. */
void snapshots_turn(struct shard *s);
/* Whether the writer is so far behind that no epoch may begin. Any thread. */
bool snapshots_pressed(const struct engine *e);
/* A shard's epoch has read input that no replay has read before. */
void snapshots_input(struct engine *e, uint64_t bytes);

/* ---- shard 0 ---- */

/* Once a turn, in the middle of epochs, too. */
void snapshots_advance(struct coordinator *co);
/* Between two epochs: begins one when it is due. */
void snapshots_boundary(struct coordinator *co);
/* The least offset of a partition that the newest two snapshots, or the one under way, need;
 * INT64_MAX: none. */
int64_t snapshots_keep(const struct coordinator *co, uint32_t topic_number, uint32_t partition);

/* What a snapshot needs of the log. Heap. */
struct snapshot_hold {
    uint64_t epoch, bytes;
    uint32_t n;
    struct snapshot_position {
        uint32_t topic_number, partition;
        int64_t offset;
    } positions[];
};
/* Takes over what a snapshot that was found at the start needs: the newer first. */
void snapshots_hold(struct engine *e, struct snapshot_hold *hold);
/* Shows how many views the start has taken from a snapshot. */
void snapshots_show_restored(struct engine *e, uint32_t n_views);

/* ---- the writer (snapshot_writer.c) ---- */

enum snapshot_piece_kind { PIECE_START, PIECE_FRAMES, PIECE_FINISH, PIECE_ABORT };
struct snapshot_piece {
    struct list link; /* of its shard: waits for room */
    enum snapshot_piece_kind kind;
    uint64_t id, epoch; /* START: the snapshot's; FINISH: what COMMITTED says */
    struct buf bytes;
};
struct snapshot_writer;
/* Main thread, before any worker runs. ERR_NO_MEMORY; *out is to be freed even then. */
enum err snapshot_writer_new(struct engine *e, struct snapshot_writer **out) MUST_CHECK;
/* Main thread: starts its worker. */
enum err snapshot_writer_start(struct snapshot_writer *w) MUST_CHECK;
/* Main thread, after the workers have ended. NULL is fine. */
void snapshot_writer_free(struct snapshot_writer *w);
/* Hands a piece over; START, FINISH and ABORT from shard 0, FINISH when all shards have handed
 * over what there is. False: no room now. */
bool snapshot_writer_push(struct snapshot_writer *w, uint32_t shard,
                          struct snapshot_piece *p) MUST_CHECK;
/* Bytes of a shard that wait. Any thread. */
uint64_t snapshot_writer_waiting(const struct snapshot_writer *w, uint32_t shard);
/* Shard 0: whether the snapshot is written, or has failed; its size, or why. */
bool snapshot_writer_done(struct snapshot_writer *w, uint64_t id, uint64_t *bytes, enum err *e,
                          struct err_detail *why);

/* Paths: "DIR/snapshots", and a snapshot's in it. */
void snapshots_dir(const struct engine *e, char *out, size_t n);
void snapshot_path(const struct engine *e, uint64_t epoch, char *out, size_t n);
/* The epoch of a snapshot's file name; false for another file. */
bool snapshot_name_epoch(const char *name, uint64_t *epoch);
/* Reads a file to its end. `each` may be NULL. */
enum err snapshot_check(struct host *h, const char *path,
                        enum err (*each)(void *arg, uint32_t kind, struct str payload,
                                         struct err_detail *why),
                        void *arg, struct err_detail *why) MUST_CHECK;

#endif
