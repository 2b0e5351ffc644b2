/* Avro records whose schemas a registry has: each begins with the number of its own. Private to
 * engine/. */
#ifndef TIDEMILL_ENGINE_SCHEMA_DECODER_H
#define TIDEMILL_ENGINE_SCHEMA_DECODER_H

#include "engine/schemas.h"
#include "wire/row_field.h"

struct schema_decoder;

/* Fields are copied; `rel` must outlive it. The caller frees it. One thread at a time. */
enum err schema_decoder_new(const struct schemas *schemas, const struct relation *rel,
                            const struct row_field *fields, uint32_t n,
                            struct schema_decoder **out) MUST_CHECK;
/* NULL is fine. */
void schema_decoder_free(struct schema_decoder *d);
struct batch *schema_decoder_batch(const struct schema_decoder *d, uint32_t rows, struct arena *a);
/* As avro_decode_row. ERR_BUSY: the record's schema is not known yet: *wanted. */
enum err schema_decode(struct schema_decoder *d, struct str value, struct batch *out,
                       struct arena *a, uint32_t *wanted, struct err_detail *why) MUST_CHECK;

#endif
