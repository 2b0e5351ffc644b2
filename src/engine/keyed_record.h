/* Records of tables with a PRIMARY KEY: what each says of which row. Private to engine/.
 *
 *   json, upsert_json   key: {"a": 1, "b": "x"}, or of one column its value as text or JSON string
 *                       value: the row as a JSON object; null = the row of this key is deleted
 *   debezium_json       value: {"op": c|r|u|d|t, "before": {...}, "after": {...}}, alone or as
 *                       "payload"; null (a tombstone) says nothing, and the record's key neither
 *
 * Key columns that a value leaves out are the key's; those it has must be equal. */
#ifndef TIDEMILL_ENGINE_KEYED_RECORD_H
#define TIDEMILL_ENGINE_KEYED_RECORD_H

#include "plan/catalog.h"
#include "wire/json_rows.h"
#include "wire/kafka_batch.h"

enum row_op {
    ROW_PUT,     /* the row of this key is now this one */
    ROW_DELETE,  /* there is no row of this key any more: of the columns only the key's are set */
    ROW_CLEAR,   /* there is no row any more, of any key */
    ROW_NOTHING,
};

/* One thread at a time. */
struct keyed_decoder;
/* For a relation with a primary key. ERR_NO_MEMORY, ERR_LIMIT. */
enum err keyed_decoder_new(const struct relation *rel, struct keyed_decoder **out) MUST_CHECK;
void keyed_decoder_free(struct keyed_decoder *d);
/* A batch of the relation's columns. NULL when the arena is full. */
struct batch *keyed_decoder_batch(const struct keyed_decoder *d, uint32_t rows, struct arena *a);
/* Decodes a record of `rel`, the newest version of the decoder's relation. PUT and DELETE set row
 * b->n_rows, which the caller then counts. Texts borrow from the record or live in `a`. Errors say
 * why the record says nothing of the table. */
enum err keyed_decode(struct keyed_decoder *d, const struct relation *rel,
                      const struct kafka_record *rec, struct batch *b, struct arena *a,
                      enum row_op *op, struct err_detail *why) MUST_CHECK;
/* Appends the record's key of row `row`, as this program writes it: the text of the one column, or
 * a JSON object. */
void keyed_key_write(const struct relation *rel, const struct column *columns, uint32_t row,
                     struct buf *out);

#endif
