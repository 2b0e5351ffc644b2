/* Changing the catalog: on shard 0, one change at a time. Private to engine/.
 *
 *   request -> check by catalog_apply -> every shard makes the new partitions' folders
 *           -> record in sys.catalog, durable -> all shards at an epoch's boundary -> done
 *
 * What can fail (a full disk, a view that cannot be compiled) fails before the record: from then on
 * the change stands. While outputs cannot be written no boundary comes: after some seconds the
 * request ends with that error, and the change comes with the boundary. */
#ifndef TIDEMILL_ENGINE_DDL_H
#define TIDEMILL_ENGINE_DDL_H

#include "engine/coordinator.h"

struct ddl;
struct schema;

/* Shard 0's queue of changes; made and freed by the main thread while no worker runs. */
enum err ddl_new(struct shard *s, struct ddl **out) MUST_CHECK;
void ddl_free(struct ddl *d);

/* Writes a floor (coordinator.h) to the catalog topic; `end` receives the offset that must be
 * durable for it to count. */
enum err ddl_log_floor(struct shard *s, uint32_t reader, uint32_t partition, int64_t offset,
                       int64_t watermark_us, int64_t *end) MUST_CHECK;

/* The same for a schema (schemas.h). */
enum err ddl_log_schema(struct shard *s, const struct schema *schema, int64_t *end,
                        struct err_detail *why) MUST_CHECK;

/* Start-up, before any thread runs: the topics that every data directory has. */
enum err ddl_bootstrap(struct engine *e, const struct catalog **catalog,
                       struct err_detail *why) MUST_CHECK;
/* Applies the changes in sys.catalog, whose partition is open, to the catalog, which nobody else
 * holds yet, and hands floors to the coordinator. A cluster without an id is given one. */
enum err ddl_replay(struct shard *s, struct coordinator *co, const struct catalog *catalog,
                    struct err_detail *why) MUST_CHECK;
/* When all is recovered: from now on sys.catalog is kept short. */
void ddl_settle(struct shard *s);

#endif
