#include "run/flow_frame.h"

#include "base/check.h"
#include "type/datetime.h"
#include "type/interval.h"
#include "type/numeric.h"

#include <math.h>

/* ---- RANGE with offsets ---- */

/* A value that rows are compared with, or beyond all of them. */
struct limit {
    int beyond; /* -1: less than all values, 1: greater */
    struct value value;
};

/* In a type with room for what offsets make of it. */
static enum err widen(const struct value *v, struct value *out, struct err_detail *why)
{
    *out = *v;
    if (v->type == TYPE_INT4 || v->type == TYPE_INT2) {
        out->type = TYPE_INT8;
        out->as.i8 = v->type == TYPE_INT4 ? v->as.i4 : v->as.i2;
    } else if (v->type == TYPE_FLOAT4) {
        out->type = TYPE_FLOAT8;
        out->as.f8 = (double)v->as.f4;
    } else if (v->type == TYPE_DATE) {
        const int64_t day_us = (int64_t)86400 * 1000000;
        int64_t days = v->as.i4;
        bool finite = v->as.i4 != INT32_MIN && v->as.i4 != INT32_MAX;
        out->type = TYPE_TIMESTAMPTZ;
        out->as.i8 = finite ? 0 : days < 0 ? TIMESTAMP_MINUS_INFINITY : TIMESTAMP_INFINITY;
        if (finite && (__builtin_mul_overflow(days, day_us, &out->as.i8) ||
                       !timestamp_in_range(out->as.i8)))
            return err_set(why, ERR_DATETIME_RANGE, "date out of range for timestamp");
    }
    return ERR_OK;
}

/* base + offset or base - offset. Where that is not defined (infinity less infinity): the least
 * value with `low`, else the greatest but NaN. */
static enum err moved(const struct value *base, const struct value *offset, bool subtract, bool low,
                      struct limit *out, struct err_detail *why)
{
    struct value *v = &out->value;
    *out = (struct limit){0};
    TRY(widen(base, v, why));
    switch (v->type) {
    case TYPE_INT8: {
        int64_t by = offset->as.i8;
        bool over = subtract ? __builtin_sub_overflow(v->as.i8, by, &v->as.i8)
                             : __builtin_add_overflow(v->as.i8, by, &v->as.i8);
        out->beyond = over ? (subtract ? -1 : 1) : 0;
        return ERR_OK;
    }
    case TYPE_FLOAT8: {
        double from = v->as.f8;
        v->as.f8 = subtract ? from - offset->as.f8 : from + offset->as.f8;
        if (isnan(v->as.f8) && !isnan(from))
            v->as.f8 = low ? -INFINITY : INFINITY;
        return ERR_OK;
    }
    case TYPE_NUMERIC: {
        struct numeric from = v->as.num;
        enum err e = subtract ? numeric_sub(&from, &offset->as.num, &v->as.num, NULL)
                              : numeric_add(&from, &offset->as.num, &v->as.num, NULL);
        if (e != ERR_OK)
            out->beyond = subtract ? -1 : 1;
        else if (v->as.num.kind == NUMERIC_NAN && from.kind != NUMERIC_NAN)
            v->as.num = (struct numeric){.kind = low ? NUMERIC_NEG_INF : NUMERIC_POS_INF};
        return ERR_OK;
    }
    case TYPE_INTERVAL: {
        struct interval from = v->as.iv;
        return subtract ? interval_sub(&from, &offset->as.iv, &v->as.iv, why)
                        : interval_add(&from, &offset->as.iv, &v->as.iv, why);
    }
    case TYPE_TIMESTAMPTZ:
    case TYPE_TIMESTAMP:
        if (!timestamp_is_finite(v->as.i8))
            return ERR_OK;
        return interval_add_to_timestamp(v->as.i8, &offset->as.iv, subtract, &v->as.i8, why);
    case TYPE_TIME: { /* beyond a day's ends, unlike the sum of a time and an interval */
        int64_t by = offset->as.iv.us;
        bool over = subtract ? __builtin_sub_overflow(v->as.i8, by, &v->as.i8)
                             : __builtin_add_overflow(v->as.i8, by, &v->as.i8);
        out->beyond = over ? (subtract ? -1 : 1) : 0;
        return ERR_OK;
    }
    case TYPE_UNKNOWN:
    case TYPE_BOOL:
    case TYPE_INT2:
    case TYPE_FLOAT4:
    case TYPE_UUID:
    case TYPE_BYTEA:
    case TYPE_INT4:
    case TYPE_TEXT:
    case TYPE_DATE:
    case TYPE_JSONB:
    case TYPE_ARRAY:
    case TYPE_ENUM:
    case TYPE_COUNT_: break;
    }
    UNREACHABLE();
}

/* Order of a row's value and a limit as values have it, whatever the sort's direction. */
static enum err against(const struct frame_rows *rows, uint32_t row, const struct limit *l, int *c,
                        struct err_detail *why)
{
    struct value v = column_get(rows->sort, row), wide;
    *c = -l->beyond;
    if (l->beyond != 0)
        return ERR_OK;
    TRY(widen(&v, &wide, why));
    *c = value_compare(&wide, &l->value);
    return ERR_OK;
}

/* The end of the frame that lies `offset` before or after the row: the first row inside of it, or
 * the first one behind it. */
static enum err range_end(const struct frame_rows *rows, uint32_t row, const struct value *offset,
                          bool preceding, bool is_start, uint32_t *out, struct err_detail *why)
{
    const struct sort_key *k = rows->key;
    uint32_t g = rows->group[row];
    if (column_is_null(rows->sort, row)) { /* NULLs are near each other, and far from all else */
        *out = rows->start[is_start ? g : g + 1];
        return ERR_OK;
    }
    struct value base = column_get(rows->sort, row);
    struct limit limit;
    bool subtract = preceding != k->descending;
    TRY(moved(&base, offset, subtract, is_start != k->descending, &limit, why));
    uint32_t low = 0, high = rows->n; /* of the rows that are not NULL */
    if (k->nulls_first && column_is_null(rows->sort, 0))
        low = rows->start[1];
    if (!k->nulls_first && column_is_null(rows->sort, rows->n - 1))
        high = rows->start[rows->n_groups - 1];
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int c;
        TRY(against(rows, mid, &limit, &c, why));
        c = k->descending ? -c : c;
        if (is_start ? c < 0 : c <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    *out = low;
    return ERR_OK;
}

/* ---- ends ---- */

/* a + by within [0, max]; by < 0 goes back. */
static uint32_t shifted(uint32_t a, int64_t by, uint32_t max)
{
    if (by < 0)
        return by < -(int64_t)a ? 0 : (uint32_t)((int64_t)a + by);
    return by > (int64_t)max - a ? max : (uint32_t)(a + by);
}

/* With an offset; `by` is negative for PRECEDING. */
static uint32_t counted_end(const struct frame *f, const struct frame_rows *rows, uint32_t row,
                            int64_t by, bool is_start)
{
    uint32_t more = is_start ? 0 : 1;
    if (f->mode == FRAME_ROWS) {
        int64_t before = by < -(int64_t)row - more ? -(int64_t)row - more : by;
        return shifted(row, before > INT64_MAX - more ? before : before + more, rows->n);
    }
    uint32_t g = rows->group[row];
    int64_t before = by < -(int64_t)g - more ? -(int64_t)g - more : by;
    g = shifted(g, before > INT64_MAX - more ? before : before + more, rows->n_groups);
    return rows->start[g];
}

static enum err frame_end(const struct frame *f, const struct frame_rows *rows, uint32_t row,
                          bool is_start, uint32_t *out, struct err_detail *why)
{
    enum frame_bound bound = is_start ? f->start : f->end;
    const struct value *offset = is_start ? &f->start_offset : &f->end_offset;
    switch (bound) {
    case BOUND_UNBOUNDED_PRECEDING: *out = 0; return ERR_OK;
    case BOUND_UNBOUNDED_FOLLOWING: *out = rows->n; return ERR_OK;
    case BOUND_CURRENT:
        if (f->mode == FRAME_ROWS)
            *out = is_start ? row : row + 1;
        else
            *out = rows->start[is_start ? rows->group[row] : rows->group[row] + 1];
        return ERR_OK;
    case BOUND_PRECEDING:
    case BOUND_FOLLOWING:
        if (f->mode == FRAME_RANGE)
            return range_end(rows, row, offset, bound == BOUND_PRECEDING, is_start, out, why);
        *out = counted_end(f, rows, row,
                           bound == BOUND_PRECEDING ? -offset->as.i8 : offset->as.i8, is_start);
        return ERR_OK;
    }
    UNREACHABLE();
}

enum err frame_find(const struct frame *f, const struct frame_rows *rows, uint32_t row,
                    struct frame_range *out, struct err_detail *why)
{
    TRY(frame_end(f, rows, row, true, &out->from, why));
    TRY(frame_end(f, rows, row, false, &out->to, why));
    if (out->to < out->from)
        out->to = out->from;
    return ERR_OK;
}

/* ---- EXCLUDE ---- */

static uint32_t add_part(struct frame_range in, uint32_t from, uint32_t to, uint32_t n,
                         struct frame_range *out)
{
    struct frame_range part = {from > in.from ? from : in.from, to < in.to ? to : in.to};
    if (part.from < part.to)
        out[n++] = part;
    return n;
}

uint32_t frame_excluded(const struct frame *f, const struct frame_rows *rows, uint32_t row,
                        struct frame_range in, struct frame_range out[2])
{
    uint32_t g = rows->group[row], from = rows->start[g], to = rows->start[g + 1];
    switch (f->exclude) {
    case EXCLUDE_NOTHING: return 0;
    case EXCLUDE_CURRENT: return add_part(in, row, row + 1, 0, out);
    case EXCLUDE_GROUP: return add_part(in, from, to, 0, out);
    case EXCLUDE_TIES: return add_part(in, row + 1, to, add_part(in, from, row, 0, out), out);
    }
    UNREACHABLE();
}
