#include "run/key.h"

#include "base/check.h"
#include "base/hash.h"
#include "type/numeric.h"

#include <math.h>

/* A numeric without trailing zeros behind the point. */
static struct numeric numeric_canonical(struct numeric n)
{
    while (n.kind == NUMERIC_FINITE && n.scale > 0 && n.unscaled % 10 == 0) {
        n.unscaled /= 10;
        n.scale--;
    }
    return n;
}

struct numeric_bytes {
    i128 unscaled;
    int64_t scale, kind;
};

static size_t value_bytes(const struct column *c, uint32_t row)
{
    if (column_is_null(c, row))
        return 1;
    if (type_info(c->type)->by_ref)
        return 1 + sizeof(uint32_t) + column_str(c)[row].len;
    return 1 + (c->type == TYPE_NUMERIC ? sizeof(struct numeric_bytes) : type_info(c->type)->width);
}

static char *put(char *at, const void *bytes, size_t n)
{
    if (n > 0)
        memcpy(at, bytes, n);
    return at + n;
}

static char *value_encode(char *at, const struct column *c, uint32_t row)
{
    *at++ = !column_is_null(c, row);
    if (at[-1] == 0)
        return at;
    size_t width = type_info(c->type)->width;
    switch (c->type) {
    case TYPE_TEXT:
    case TYPE_JSONB: {
        struct str s = column_str(c)[row];
        uint32_t len = (uint32_t)s.len;
        return put(put(at, &len, sizeof(len)), s.ptr, s.len);
    }
    case TYPE_FLOAT8: {
        double d = column_f8(c)[row];
        d = isnan(d) ? (double)NAN : d == 0 ? 0 : d;
        return put(at, &d, sizeof(d));
    }
    case TYPE_NUMERIC: {
        struct numeric n = numeric_canonical(column_num(c)[row]);
        struct numeric_bytes b = {.unscaled = n.unscaled, .scale = n.scale, .kind = n.kind};
        return put(at, &b, sizeof(b));
    }
    case TYPE_BOOL:
    case TYPE_INT4:
    case TYPE_INT8:
    case TYPE_TIMESTAMPTZ:
    case TYPE_DATE:
    case TYPE_INTERVAL:
        return put(at, (const char *)c->data + (size_t)row * width, width);
    case TYPE_UNKNOWN:
    case TYPE_COUNT_:
        break;
    }
    UNREACHABLE();
}

bool key_encode(const struct column *columns, uint32_t n_columns, uint32_t n_rows, struct arena *a,
                struct str *keys, uint64_t *hashes)
{
    size_t total = 0;
    for (uint32_t c = 0; c < n_columns; c++)
        for (uint32_t i = 0; i < n_rows; i++)
            total += value_bytes(&columns[c], i);
    char *at = arena_alloc(a, total + 1);
    if (at == NULL)
        return false;
    for (uint32_t i = 0; i < n_rows; i++) {
        char *start = at;
        for (uint32_t c = 0; c < n_columns; c++)
            at = value_encode(at, &columns[c], i);
        keys[i] = (struct str){start, (size_t)(at - start)};
        hashes[i] = hash_bytes(start, keys[i].len, 0);
    }
    return true;
}

void key_decode(struct str key, struct column *columns, uint32_t n_columns, uint32_t row)
{
    const char *at = key.ptr;
    for (uint32_t i = 0; i < n_columns; i++) {
        struct column *c = &columns[i];
        bool null = *at++ == 0;
        if (c->nulls != NULL)
            c->nulls[row] = null;
        size_t width = type_info(c->type)->width;
        char *to = (char *)c->data + (size_t)row * width;
        if (null) {
            memset(to, 0, width);
        } else if (type_info(c->type)->by_ref) {
            uint32_t len;
            memcpy(&len, at, sizeof(len));
            column_str(c)[row] = (struct str){at + sizeof(len), len};
            at += sizeof(len) + len;
        } else if (c->type == TYPE_NUMERIC) {
            struct numeric_bytes b;
            memcpy(&b, at, sizeof(b));
            column_num(c)[row] = (struct numeric){.unscaled = b.unscaled,
                                                  .scale = (int32_t)b.scale,
                                                  .kind = (enum numeric_kind)b.kind};
            at += sizeof(b);
        } else {
            memcpy(to, at, width);
            at += width;
        }
    }
    CHECK(at == key.ptr + key.len);
}

int key_compare(struct str a, struct str b)
{
    return str_cmp(a, b);
}
