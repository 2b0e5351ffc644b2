#include "engine/schema_decoder.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "wire/avro.h"

enum { FIELDS_BYTES_MAX = 1 << 20 };

/* How records of one schema are read, or why they are not. */
struct by_schema {
    struct avro_decoder *avro;
    enum err err;
    struct err_detail why;
};

struct schema_decoder {
    const struct schemas *schemas;
    uint32_t relation;
    struct str reader;
    struct arena arena;
    const struct row_field *fields;
    uint32_t n;
    struct map known; /* number + 1 -> by_schema */
};

enum err schema_decoder_new(const struct schemas *schemas, const struct relation *rel,
                            const struct row_field *fields, uint32_t n,
                            struct schema_decoder **out)
{
    struct schema_decoder *d = mem_zalloc(1, sizeof *d);
    if (d == NULL)
        return ERR_NO_MEMORY;
    d->schemas = schemas;
    d->relation = relation_schemas(rel);
    d->reader = rel->avro_schema;
    d->n = n;
    arena_init(&d->arena, FIELDS_BYTES_MAX + AVRO_SCHEMA_BYTES_MAX);
    d->fields = row_fields_copy(fields, n, &d->arena);
    if (d->reader.ptr != NULL)
        d->reader = arena_str(&d->arena, d->reader);
    if (d->fields == NULL || (rel->avro_schema.ptr != NULL && d->reader.ptr == NULL)) {
        schema_decoder_free(d);
        return ERR_NO_MEMORY;
    }
    *out = d;
    return ERR_OK;
}

static void by_schema_free(struct by_schema *s)
{
    avro_decoder_free(s->avro);
    mem_free(s);
}

void schema_decoder_free(struct schema_decoder *d)
{
    if (d == NULL)
        return;
    struct by_schema *s;
    for (size_t at = 0; (s = map_next(&d->known, &at)) != NULL;)
        by_schema_free(s);
    map_deinit(&d->known);
    arena_deinit(&d->arena);
    mem_free(d);
}

struct batch *schema_decoder_batch(const struct schema_decoder *d, uint32_t rows, struct arena *a)
{
    return row_fields_batch(d->fields, d->n, rows, a);
}

/* Learns what is to be done with records of a schema that is found. It stays so. */
static enum err learn(struct schema_decoder *d, const struct schema *known, struct by_schema **out)
{
    struct by_schema *s = mem_zalloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NO_MEMORY;
    s->err =
        avro_decoder_new_evolving(known->text, d->reader, d->fields, d->n, &s->avro, &s->why);
    enum err e = s->err == ERR_NO_MEMORY ? s->err : map_put(&d->known, (uint64_t)known->id + 1, s);
    if (e != ERR_OK) {
        by_schema_free(s);
        return e;
    }
    if (s->err != ERR_OK) {
        struct err_detail inner = s->why;
        err_set(&s->why, s->err, "schema %u: %s", known->id, err_text(s->err, &inner));
    }
    *out = s;
    return ERR_OK;
}

enum err schema_decode(struct schema_decoder *d, struct str value, struct batch *out,
                       struct arena *a, uint32_t *wanted, struct err_detail *why)
{
    if (value.len < AVRO_HEADER_BYTES || value.ptr[0] != 0)
        return err_set(why, ERR_MALFORMED,
                       "Avro: no header of a zero and the schema's number at byte 0 of %zu",
                       value.len);
    uint32_t id = be32_get(value.ptr + 1);
    struct by_schema *s = map_get(&d->known, (uint64_t)id + 1);
    struct schema known;
    if (s == NULL) {
        schemas_find(d->schemas, d->relation, id, &known);
        *wanted = id;
        if (known.state == SCHEMA_UNKNOWN || known.state == SCHEMA_WAITING)
            return err_set(why, ERR_BUSY, "schema %u has not come from the registry yet", id);
        if (known.id != id || known.relation != d->relation) /* the table is full of them */
            return err_set(why, ERR_LIMIT, "schema %u: %.*s", id, STR_ARG(known.text));
        if (known.state == SCHEMA_REFUSED) /* there may be many */
            return err_set(why, ERR_MALFORMED, "schema %u: %.*s", id, STR_ARG(known.text));
        TRY(learn(d, &known, &s));
    }
    if (s->avro == NULL) {
        if (why != NULL)
            *why = s->why;
        return s->err;
    }
    return avro_decode_row(s->avro, value, out, a, why);
}
