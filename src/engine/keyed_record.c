#include "engine/keyed_record.h"

#include "base/mem.h"
#include "engine/records.h"
#include "wire/json.h"

struct keyed_decoder {
    struct json_decoder *row; /* key columns may be left out */
    struct json_decoder *key; /* key columns alone, all of them */
};

/* ---- making ---- */

static bool in_key(const struct relation *rel, uint32_t column)
{
    for (uint32_t i = 0; i < rel->n_primary_key; i++)
        if (rel->primary_key[i] == column)
            return true;
    return false;
}

static struct json_field field_of(const struct column_def *c, bool not_null)
{
    return (struct json_field){.name = c->name,
                               .type = c->type,
                               .typmod = c->typmod,
                               .not_null = not_null,
                               .wanted = true};
}

enum err keyed_decoder_new(const struct relation *rel, struct keyed_decoder **out)
{
    struct keyed_decoder *d = mem_zalloc(1, sizeof(*d));
    struct json_field *fields = mem_zalloc(rel->n_columns, sizeof(*fields));
    enum err e = d == NULL || fields == NULL ? ERR_NO_MEMORY : ERR_OK;
    for (uint32_t i = 0; e == ERR_OK && i < rel->n_columns; i++)
        fields[i] = field_of(&rel->columns[i], rel->columns[i].not_null && !in_key(rel, i));
    if (e == ERR_OK)
        e = json_decoder_new(fields, rel->n_columns, &d->row);
    for (uint32_t i = 0; e == ERR_OK && i < rel->n_primary_key; i++)
        fields[i] = field_of(&rel->columns[rel->primary_key[i]], true);
    if (e == ERR_OK)
        e = json_decoder_new(fields, rel->n_primary_key, &d->key);
    mem_free(fields);
    if (e != ERR_OK) {
        keyed_decoder_free(d);
        return e;
    }
    *out = d;
    return ERR_OK;
}

void keyed_decoder_free(struct keyed_decoder *d)
{
    if (d == NULL)
        return;
    json_decoder_free(d->row);
    json_decoder_free(d->key);
    mem_free(d);
}

struct batch *keyed_decoder_batch(const struct keyed_decoder *d, uint32_t rows, struct arena *a)
{
    return json_decoder_batch(d->row, rows, a);
}

/* ---- keys ---- */

/* {"column": key}, for a key that is a JSON string. */
static enum err wrap(const struct column_def *c, struct str key, struct arena *a, struct str *out)
{
    struct buf text;
    buf_init(&text, key.len + 8 * c->name.len + 16);
    buf_put_u8(&text, '{');
    json_write_string(&text, c->name);
    buf_put_u8(&text, ':');
    buf_put_str(&text, key);
    buf_put_u8(&text, '}');
    bool failed = text.failed;
    *out = failed ? (struct str){0} : arena_str(a, buf_str(&text));
    buf_deinit(&text);
    return out->ptr == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static enum err key_text(const struct column_def *c, struct str key, struct batch *b,
                         struct arena *a, struct err_detail *why)
{
    struct value v;
    if (!str_utf8_valid(key) || memchr(key.ptr, 0, key.len) != NULL)
        return err_set(why, ERR_ENCODING, "the record's key is not valid UTF-8 text");
    TRY(value_parse(c->type, key, a, &v, why));
    column_set(&b->columns[0], 0, &v);
    return ERR_OK;
}

/* The key columns of a record's key, as the one row of a batch. */
static enum err key_decode_record(struct keyed_decoder *d, const struct relation *rel,
                                  struct str key, struct arena *a, struct batch **out,
                                  struct err_detail *why)
{
    const struct column_def *first = &rel->columns[rel->primary_key[0]];
    struct batch *b = json_decoder_batch(d->key, 1, a);
    if (b == NULL)
        return ERR_NO_MEMORY;
    *out = b;
    if (key.len > 0 && key.ptr[0] == '"' && rel->n_primary_key == 1)
        TRY(wrap(first, key, a, &key));
    else if (key.len == 0 || key.ptr[0] != '{') {
        if (rel->n_primary_key > 1)
            return err_set(why, ERR_MALFORMED,
                           "the record's key is not a JSON object: the PRIMARY KEY has %u columns",
                           rel->n_primary_key);
        return key_text(first, key, b, a, why);
    }
    return json_decode_row(d->key, key, b, a, why);
}

static enum err key_missing(const struct column_def *c, struct err_detail *why)
{
    return err_set(why, ERR_NULL_VIOLATION,
                   "column \"%.*s\" of the PRIMARY KEY is missing: neither the record's key nor "
                   "its value has it",
                   STR_ARG(c->name));
}

/* Sets the key columns that the row leaves out. `key` may be NULL: the record has none. */
static enum err key_merge(const struct relation *rel, const struct batch *key, struct batch *b,
                          struct err_detail *why)
{
    uint32_t row = b->n_rows;
    for (uint32_t i = 0; i < rel->n_primary_key; i++) {
        uint32_t at = rel->primary_key[i];
        const struct column_def *c = &rel->columns[at];
        struct value own = column_get(&b->columns[at], row);
        if (key == NULL && own.null)
            return key_missing(c, why);
        if (key == NULL)
            continue;
        struct value v = column_get(&key->columns[i], 0);
        if (own.null)
            column_set(&b->columns[at], row, &v);
        else if (value_compare(&own, &v) != 0)
            return err_set(why, ERR_MALFORMED,
                           "column \"%.*s\" is another one in the record's key than in its value",
                           STR_ARG(c->name));
    }
    return ERR_OK;
}

/* A row of which nothing but its key is known. */
static void key_only(const struct relation *rel, const struct batch *key, struct batch *b)
{
    for (uint32_t i = 0; i < rel->n_columns; i++)
        column_set(&b->columns[i], b->n_rows,
                   &(struct value){.type = rel->columns[i].type, .null = true});
    for (uint32_t i = 0; i < rel->n_primary_key; i++) {
        struct value v = column_get(&key->columns[i], 0);
        column_set(&b->columns[rel->primary_key[i]], b->n_rows, &v);
    }
}

void keyed_key_write(const struct relation *rel, const struct column *columns, uint32_t row,
                     struct buf *out)
{
    if (rel->n_primary_key > 1) {
        row_json_some(rel->columns, columns, rel->primary_key, rel->n_primary_key, row, out);
        return;
    }
    struct value v = column_get(&columns[rel->primary_key[0]], row);
    bool looks_json = v.type == TYPE_TEXT && v.as.s.len > 0 &&
                      (v.as.s.ptr[0] == '{' || v.as.s.ptr[0] == '"');
    if (looks_json)
        json_write_string(out, v.as.s);
    else
        value_print(&v, out);
}

/* ---- upserts ---- */

static enum err decode_upsert(struct keyed_decoder *d, const struct relation *rel,
                              const struct kafka_record *rec, struct batch *b, struct arena *a,
                              enum row_op *op, struct err_detail *why)
{
    struct batch *key = NULL;
    if (rec->key.ptr != NULL)
        TRY(key_decode_record(d, rel, rec->key, a, &key, why));
    *op = rec->value.ptr == NULL ? ROW_DELETE : ROW_PUT;
    if (*op == ROW_PUT) {
        TRY(json_decode_row(d->row, rec->value, b, a, why));
        return key_merge(rel, key, b, why);
    }
    if (key == NULL)
        return err_set(why, ERR_MALFORMED, "the record has neither a key nor a value");
    key_only(rel, key, b);
    return ERR_OK;
}

/* ---- envelopes ---- */

static enum err envelope(struct str value, struct json_value *out, struct err_detail *why)
{
    struct json_value whole, payload, op;
    TRY(json_read(value, &whole, why));
    *out = whole;
    if (whole.kind == JSON_OBJECT && json_member(&whole, STR("op"), &op))
        return ERR_OK;
    if (whole.kind != JSON_OBJECT || !json_member(&whole, STR("payload"), &payload) ||
        payload.kind != JSON_OBJECT || !json_member(&payload, STR("op"), &op))
        return err_set(why, ERR_MALFORMED,
                       "the value is not a Debezium envelope: \"op\" was expected, alone or in "
                       "\"payload\"");
    *out = payload;
    return ERR_OK;
}

/* The row before or after the change; its places in the record are not known any more. */
static enum err envelope_row(const struct json_value *env, const char *name, char op,
                             struct json_value *out, struct err_detail *why)
{
    if (json_member(env, str_of(name), out) && out->kind == JSON_OBJECT)
        return ERR_OK;
    err_set(why, ERR_MALFORMED, "the envelope with \"op\": \"%c\" has no row \"%s\"", op, name);
    if (op == 'd')
        err_hint(why, "A delete needs the key of the row before it: see the source's REPLICA "
                      "IDENTITY.");
    return ERR_MALFORMED;
}

static enum err decode_delete(struct keyed_decoder *d, const struct relation *rel,
                              const struct json_value *env, struct batch *b, struct arena *a,
                              struct err_detail *why)
{
    struct json_value before;
    TRY(envelope_row(env, "before", 'd', &before, why));
    struct batch *key = json_decoder_batch(d->key, 1, a);
    if (key == NULL)
        return ERR_NO_MEMORY;
    TRY(json_decode_row(d->key, before.text, key, a, why));
    key_only(rel, key, b);
    return ERR_OK;
}

static enum err decode_envelope(struct keyed_decoder *d, const struct relation *rel,
                                const struct kafka_record *rec, struct batch *b, struct arena *a,
                                enum row_op *op, struct err_detail *why)
{
    struct json_value env, word, after;
    *op = ROW_NOTHING;
    if (rec->value.ptr == NULL)
        return ERR_OK; /* a tombstone for compaction, behind the delete */
    TRY(envelope(rec->value, &env, why));
    char c = 0;
    if (json_member(&env, STR("op"), &word) && word.kind == JSON_STRING && word.text.len == 3)
        c = word.text.ptr[1];
    switch (c) {
    case 'c':
    case 'r':
    case 'u':
        *op = ROW_PUT;
        TRY(envelope_row(&env, "after", c, &after, why));
        TRY(json_decode_row(d->row, after.text, b, a, why));
        return key_merge(rel, NULL, b, why);
    case 'd':
        *op = ROW_DELETE;
        return decode_delete(d, rel, &env, b, a, why);
    case 't':
        *op = ROW_CLEAR;
        return rel->topic->n_partitions == 1
                   ? ERR_OK
                   : err_set(why, ERR_UNSUPPORTED,
                             "a truncation is of one partition's rows only: the topic has %u",
                             rel->topic->n_partitions);
    case 'm':
        return ERR_OK; /* a message of the source's, of no row */
    default:
        return err_set(why, ERR_MALFORMED,
                       "the envelope's \"op\" is %.*s: one of c, r, u, d, t was expected",
                       word.text.len > 20 ? 20 : (int)word.text.len, word.text.ptr);
    }
}

enum err keyed_decode(struct keyed_decoder *d, const struct relation *rel,
                      const struct kafka_record *rec, struct batch *b, struct arena *a,
                      enum row_op *op, struct err_detail *why)
{
    return rel->format == FORMAT_DEBEZIUM_JSON ? decode_envelope(d, rel, rec, b, a, op, why)
                                               : decode_upsert(d, rel, rec, b, a, op, why);
}
