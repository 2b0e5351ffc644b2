#include "state/row_format.h"

#include "base/check.h"
#include "base/hash.h"

#include <math.h>

enum { NUMERIC_BYTES = 18, ROW_BYTES_LIMIT = INT32_MAX };

/* Bytes of a value in the fixed part. */
static uint32_t fixed_width(enum type t)
{
    return type_info(t)->by_ref ? sizeof(uint32_t)
           : t == TYPE_NUMERIC  ? NUMERIC_BYTES
                                : type_info(t)->width;
}

enum err row_format_init(struct row_format *f, const enum type *types, uint32_t n, struct arena *a)
{
    enum type *own = arena_alloc(a, (n + 1) * sizeof(*own));
    uint32_t *at = arena_alloc(a, (n + 1) * sizeof(*at));
    if (own == NULL || at == NULL)
        return ERR_NO_MEMORY;
    uint32_t place = (n + 7) / 8;
    for (uint32_t i = 0; i < n; i++) {
        own[i] = types[i];
        at[i] = place;
        place += fixed_width(types[i]);
    }
    *f = (struct row_format){.n_columns = n, .types = own, .at = at, .fixed_bytes = place};
    return ERR_OK;
}

/* ---- encoding ---- */

/* Where each row's bytes are to be. */
static enum err rows_place(const struct row_format *f, const struct column *columns, uint32_t n,
                           struct arena *a, struct str *rows)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < n; i++)
        rows[i].len = f->fixed_bytes;
    for (uint32_t c = 0; c < f->n_columns; c++) {
        CHECK(columns[c].type == f->types[c]);
        if (type_info(f->types[c])->by_ref)
            for (uint32_t i = 0; i < n; i++)
                rows[i].len += column_is_null(&columns[c], i) ? 0 : column_str(&columns[c])[i].len;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (rows[i].len > ROW_BYTES_LIMIT)
            return ERR_TOO_LARGE;
        total += rows[i].len;
    }
    char *bytes = arena_alloc(a, total + 1);
    if (bytes == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        rows[i].ptr = bytes;
        memset(bytes, 0, f->fixed_bytes);
        bytes += rows[i].len;
    }
    return ERR_OK;
}

static char *row_bytes(const struct str *row)
{
    return (char *)(uintptr_t)row->ptr;
}

#define ENCODE_FIXED(width_)         \
    for (uint32_t i = 0; i < n; i++) \
        if (!column_is_null(c, i))   \
    memcpy(row_bytes(&rows[i]) + at, (const char *)c->data + (size_t)i * (width_), (width_))

static void encode_texts(const struct column *c, uint32_t n, uint32_t at, struct str *rows,
                         uint32_t *ends)
{
    for (uint32_t i = 0; i < n; i++) {
        struct str s = column_is_null(c, i) ? (struct str){0} : column_str(c)[i];
        if (s.len > 0)
            memcpy(row_bytes(&rows[i]) + ends[i], s.ptr, s.len);
        ends[i] += (uint32_t)s.len;
        memcpy(row_bytes(&rows[i]) + at, &ends[i], sizeof(ends[i]));
    }
}

static void encode_floats(const struct column *c, uint32_t n, uint32_t at, struct str *rows)
{
    for (uint32_t i = 0; i < n; i++) {
        if (column_is_null(c, i))
            continue;
        double d = column_f8(c)[i];
        d = isnan(d) ? (double)NAN : d;
        memcpy(row_bytes(&rows[i]) + at, &d, sizeof(d));
    }
}

static void encode_floats4(const struct column *c, uint32_t n, uint32_t at, struct str *rows)
{
    for (uint32_t i = 0; i < n; i++) {
        if (column_is_null(c, i))
            continue;
        float f = column_f4(c)[i];
        f = isnan(f) ? (float)NAN : f;
        memcpy(row_bytes(&rows[i]) + at, &f, sizeof(f));
    }
}

static void encode_numerics(const struct column *c, uint32_t n, uint32_t at, struct str *rows)
{
    for (uint32_t i = 0; i < n; i++) {
        if (column_is_null(c, i))
            continue;
        const struct numeric *v = &column_num(c)[i];
        char *to = row_bytes(&rows[i]) + at;
        to[NUMERIC_BYTES - 1] = (char)v->kind;
        if (v->kind != NUMERIC_FINITE)
            continue;
        memcpy(to, &v->unscaled, sizeof(v->unscaled));
        to[NUMERIC_BYTES - 2] = (char)v->scale;
    }
}

static void encode_column(const struct column *c, uint32_t n, uint32_t at, struct str *rows,
                          uint32_t *ends)
{
    if (type_info(c->type)->by_ref) {
        encode_texts(c, n, at, rows, ends);
        return;
    }
    switch (type_info(c->type)->width) {
    case 1:
        ENCODE_FIXED(1);
        break;
    case 2:
        ENCODE_FIXED(2);
        break;
    case 4:
        if (c->type == TYPE_FLOAT4)
            encode_floats4(c, n, at, rows);
        else
            ENCODE_FIXED(4);
        break;
    case 8:
        if (c->type == TYPE_FLOAT8)
            encode_floats(c, n, at, rows);
        else
            ENCODE_FIXED(8);
        break;
    default:
        if (c->type == TYPE_NUMERIC)
            encode_numerics(c, n, at, rows);
        else
            ENCODE_FIXED(type_info(c->type)->width);
        break;
    }
}

static void encode_nulls(const struct column *c, uint32_t number, uint32_t n, struct str *rows)
{
    if (c->nulls == NULL)
        return;
    for (uint32_t i = 0; i < n; i++)
        row_bytes(&rows[i])[number / 8] |= (char)((c->nulls[i] != 0) << (number % 8));
}

enum err row_format_encode(const struct row_format *f, const struct column *columns, uint32_t n,
                    struct arena *a, uint64_t seed, struct str *rows, uint32_t *hashes)
{
    TRY(rows_place(f, columns, n, a, rows));
    uint32_t *ends = arena_alloc(a, (n + 1) * sizeof(*ends));
    if (ends == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        ends[i] = f->fixed_bytes;
    for (uint32_t c = 0; c < f->n_columns; c++) {
        encode_nulls(&columns[c], c, n, rows);
        encode_column(&columns[c], n, f->at[c], rows, ends);
    }
    for (uint32_t i = 0; i < n; i++)
        hashes[i] = (uint32_t)hash_bytes(rows[i].ptr, rows[i].len, seed);
    return ERR_OK;
}

/* ---- decoding ---- */

#define DECODE_FIXED(width_)         \
    for (uint32_t i = 0; i < n; i++) \
    memcpy((char *)c->data + (size_t)i * (width_), rows[i] + at, (width_))

static uint32_t read_u32(const char *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

/* `before`: the place of the end of the text before this one; 0: there is none. */
static bool decode_texts(const struct row_format *f, const char *const *rows, uint32_t n,
                         uint32_t at, uint32_t before, struct column *c, struct arena *a)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < n; i++)
        total +=
            read_u32(rows[i] + at) - (before == 0 ? f->fixed_bytes : read_u32(rows[i] + before));
    char *to = arena_alloc(a, total + 1);
    if (to == NULL)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t from = before == 0 ? f->fixed_bytes : read_u32(rows[i] + before);
        uint32_t len = read_u32(rows[i] + at) - from;
        memcpy(to, rows[i] + from, len);
        column_str(c)[i] = (struct str){to, len};
        to += len;
    }
    return true;
}

static void decode_numerics(const char *const *rows, uint32_t n, uint32_t at, struct column *c)
{
    for (uint32_t i = 0; i < n; i++) {
        const char *from = rows[i] + at;
        struct numeric v = {.scale = from[NUMERIC_BYTES - 2],
                            .kind = (enum numeric_kind)from[NUMERIC_BYTES - 1]};
        memcpy(&v.unscaled, from, sizeof(v.unscaled));
        column_num(c)[i] = v;
    }
}

static void decode_column(const char *const *rows, uint32_t n, uint32_t at, struct column *c)
{
    switch (type_info(c->type)->width) {
    case 1:
        DECODE_FIXED(1);
        break;
    case 2:
        DECODE_FIXED(2);
        break;
    case 4:
        DECODE_FIXED(4);
        break;
    case 8:
        DECODE_FIXED(8);
        break;
    default:
        if (c->type == TYPE_NUMERIC)
            decode_numerics(rows, n, at, c);
        else
            DECODE_FIXED(type_info(c->type)->width);
        break;
    }
}

/* The column's nulls; no array when there is none. */
static bool decode_nulls(const char *const *rows, uint32_t n, uint32_t number, struct column *c,
                         struct arena *a)
{
    uint32_t i = 0, byte = number / 8, bit = number % 8;
    while (i < n && ((uint8_t)rows[i][byte] >> bit & 1) == 0)
        i++;
    if (i == n)
        return true;
    if ((c->nulls = arena_alloc(a, n)) == NULL)
        return false;
    for (i = 0; i < n; i++)
        c->nulls[i] = (uint8_t)rows[i][byte] >> bit & 1;
    return true;
}

enum err row_format_decode(const struct row_format *f, const char *const *rows, uint32_t n,
                    struct column *columns, struct arena *a)
{
    uint32_t before = 0;
    for (uint32_t i = 0; i < f->n_columns; i++) {
        struct column *c = &columns[i];
        *c = (struct column){.type = f->types[i]};
        c->data = arena_alloc(a, (size_t)(n + 1) * type_info(c->type)->width);
        if (c->data == NULL || !decode_nulls(rows, n, i, c, a))
            return ERR_NO_MEMORY;
        if (!type_info(c->type)->by_ref) {
            decode_column(rows, n, f->at[i], c);
            continue;
        }
        if (!decode_texts(f, rows, n, f->at[i], before, c, a))
            return ERR_NO_MEMORY;
        before = f->at[i];
    }
    return ERR_OK;
}
