/* sys.catalog on disk: changes of the catalog and floors of watermarks, and now and then a snapshot
 * of all that still counts, behind which older records may go. Private to engine/; shard 0.
 *
 * Records by key, version 2 (version 1 had no snapshots and one floor a record):
 *
 *   "change"           a catalog_change as JSON (plan/catalog_json.c)
 *   "floor"            n x { u32 reader | u32 partition | i64 offset | i64 watermark_us },
 *                      big-endian
 *   "schema"           u32 relation | u32 number | u8 enum schema_state | text: schemas.h
 *   "snapshot_begin"   empty
 *   "snapshot_change"  like "change": applied to the catalog of an empty data directory, in order
 *   "snapshot_floor"   like "floor"
 *   "snapshot_schema"  like "schema"
 *   "snapshot_end"     decimal: how many records of the snapshot come before it
 *
 *   | change floor change | begin change change floor end | change floor ...
 *     may be dropped        from here on a start reads      applied on top
 *
 * A snapshot is one append, but a crash can cut it anywhere: without its end it is not there, and a
 * start goes back to the one before, whose segments are only dropped when the newer one is durable.
 * They go one by one: what a start finds of the older one, without its begin, is not there either.
 * One is due when a segment's worth was written since the last, or twice its size. */
#ifndef TIDEMILL_ENGINE_CATALOG_LOG_H
#define TIDEMILL_ENGINE_CATALOG_LOG_H

#include "engine/coordinator.h"
#include "engine/partition.h"
#include "engine/schemas.h"

struct catalog_log {
    struct shard *shard;
    struct part *part;
    uint64_t since_bytes;    /* written behind the last snapshot */
    uint64_t snapshot_bytes; /* size of the last one; 0 = none */
    int64_t snapshot_base, snapshot_end; /* offsets: its first record, behind its last */
};

/* Appends a change, or a floor (coordinator.h). `end` receives the offset that must be durable for
 * it to count. */
enum err catalog_log_change(struct catalog_log *cl, const struct catalog_change *change,
                            int64_t *end, struct err_detail *why) MUST_CHECK;
enum err catalog_log_floor(struct catalog_log *cl, uint32_t reader, uint32_t partition,
                           int64_t offset, int64_t watermark_us, int64_t *end) MUST_CHECK;

/* The same for a schema that has become known. ERR_NO_SPACE and what else an append ends with. */
enum err catalog_log_schema(struct catalog_log *cl, const struct schema *schema, int64_t *end,
                            struct err_detail *why) MUST_CHECK;

/* Start-up: applies what the partition of sys.catalog on shard `s` has to *catalog, which nobody
 * else holds, and hands floors to the coordinator. */
enum err catalog_log_open(struct catalog_log *cl, struct shard *s, struct coordinator *co,
                          const struct catalog *catalog, struct err_detail *why) MUST_CHECK;

/* Writes a snapshot when one is due. `catalog` and the coordinator's floors have to be all that was
 * appended, no more and no less. When it cannot be written it is tried again after as many bytes.
 */
void catalog_log_compact(struct catalog_log *cl, const struct catalog *catalog,
                         struct coordinator *co);
/* After a flush: drops segments that come before a snapshot that is durable. */
void catalog_log_durable(struct catalog_log *cl);

#endif
