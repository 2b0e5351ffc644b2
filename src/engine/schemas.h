/* Schemas that tables get from a registry: asked for once, kept in sys.catalog, and from then on as
 * fixed as what the table was made with, so that a replay never asks anybody.
 *
 *   reader: record of schema 7 --unknown--> stands before it; coordinator: schemas_want
 *       helper thread: GET URL/schemas/ids/7
 *         answer (200, or 404 with error_code 40403)
 *                            -> record in sys.catalog -> known to all -> readers go on
 *         no answer, 5xx ... -> again, after 0.1 s, 0.2 s, ... 30 s, for as long as it takes
 *
 * What is known of a table only grows: found and refused schemas stay what they are, and behind
 * SCHEMAS_PER_TABLE_MAX found or SCHEMAS_REFUSED_MAX refused ones all others are refused. So
 * whether a record is a row does not depend on when somebody looks. Private to engine/
 * (docs/adr/0039-schema-registry.md). */
#ifndef TIDEMILL_ENGINE_SCHEMAS_H
#define TIDEMILL_ENGINE_SCHEMAS_H

#include "engine/engine_int.h"

enum {
    SCHEMAS_PER_TABLE_MAX = 1000,      /* found ones */
    SCHEMAS_TABLE_BYTES_MAX = 8 << 20, /* of their texts */
    SCHEMAS_REFUSED_MAX = 100000,      /* of a table */
    SCHEMA_RETRY_MS_MIN = 100,
    SCHEMA_RETRY_MS_MAX = 30000,
    SCHEMAS_ASKED_MAX = 16, /* at once */
};

/* FOUND: `text` is the schema. REFUSED: the reason why records of it are no rows. */
enum schema_state { SCHEMA_UNKNOWN, SCHEMA_WAITING, SCHEMA_FOUND, SCHEMA_REFUSED };

/* A schema as somebody asks for it, or as it is. `text` lives as long as the engine. */
struct schema {
    uint32_t relation, id;
    enum schema_state state;
    struct str text;
    uint32_t tries; /* WAITING */
    enum err err;   /* ... of the last; ERR_OK: none yet */
    int status;     /* ... or the HTTP status that is no answer; 0: none */
};

/* Made and freed by the main thread while no worker runs; also after an error *out is to be freed.
 */
enum err schemas_new(struct engine *e, struct schemas **out) MUST_CHECK;
/* The helper thread; before host_run. */
enum err schemas_start(struct schemas *s) MUST_CHECK;
void schemas_free(struct schemas *s);

/* ---- any thread ---- */

/* What is known now; FOUND and REFUSED stay. */
void schemas_find(const struct schemas *s, uint32_t relation, uint32_t id, struct schema *out);
/* Grows with each that becomes known. */
uint32_t schemas_version(const struct schemas *s);
/* All that are known or asked for, in no order: start with *at = NULL; false at the end. */
bool schemas_next(const struct schemas *s, const void **at, struct schema *out);

/* ---- shard 0 ---- */

/* Asks for one that is not known. Without memory it is asked for again by the next who needs it. */
void schemas_want(struct schemas *s, const struct relation *rel, uint32_t id);
/* Takes answers in, asks again what is due. */
void schemas_turn(struct shard *shard);
/* One that sys.catalog has; and all that are known and whose tables are there, for a snapshot. */
enum err schemas_add(struct schemas *s, uint32_t relation, uint32_t id, enum schema_state state,
                     struct str text) MUST_CHECK;
enum err schemas_each(const struct schemas *s, const struct catalog *c,
                      enum err (*each)(void *arg, const struct schema *schema),
                      void *arg) MUST_CHECK;

#endif
