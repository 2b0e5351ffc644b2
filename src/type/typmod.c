#include "type/typmod.h"

#include "type/datetime.h"
#include "type/numeric.h"
#include "type/utf8.h"

#include <stdio.h>

enum { TYPMOD_OFFSET = 4 };

bool typmod_limits(enum type t, int32_t typmod)
{
    if (t == TYPE_NUMERIC || t == TYPE_TEXT)
        return typmod >= TYPMOD_OFFSET;
    return (t == TYPE_TIMESTAMP || t == TYPE_TIMESTAMPTZ || t == TYPE_TIME) && typmod >= 0 &&
           typmod <= TIME_DIGITS_MAX;
}

/* 11 bits, two's complement: the scale may be negative. */
static int32_t scale_of(int32_t typmod)
{
    return (((typmod - TYPMOD_OFFSET) & 0x7ff) ^ 1024) - 1024;
}

static int32_t precision_of(int32_t typmod)
{
    return ((typmod - TYPMOD_OFFSET) >> 16) & 0xffff;
}

static enum err fit_text(int32_t length, bool cut, struct str *s, struct err_detail *why)
{
    if (s->len <= (size_t)length)
        return ERR_OK;
    size_t at = 0;
    for (int32_t n = 0; n < length && at < s->len; n++)
        at += utf8_len(s->ptr[at]);
    if (at >= s->len)
        return ERR_OK;
    for (size_t i = at; !cut && i < s->len; i++)
        if (s->ptr[i] != ' ')
            return err_set(why, ERR_STRING_TRUNCATION,
                           "value too long for type character varying(%d)", length);
    s->len = at;
    return ERR_OK;
}

/* Half a unit goes away from zero, which for timestamps is 2000. */
static int64_t rounded(int64_t us, int32_t digits)
{
    int64_t unit = 1;
    for (int32_t i = digits; i < TIME_DIGITS_MAX; i++)
        unit *= 10;
    int64_t half = unit / 2;
    return us >= 0 ? (us + half) / unit * unit : -((-us + half) / unit * unit);
}

static enum err fit_timestamp(int32_t digits, int64_t *us, struct err_detail *why)
{
    if (!timestamp_is_finite(*us) || digits == TIME_DIGITS_MAX)
        return ERR_OK;
    int64_t v;
    if (__builtin_add_overflow(rounded(*us - POSTGRES_EPOCH_US, digits), POSTGRES_EPOCH_US, &v) ||
        !timestamp_in_range(v))
        return err_set(why, ERR_DATETIME_RANGE, "timestamp out of range");
    *us = v;
    return ERR_OK;
}

enum err typmod_fit(enum type t, int32_t typmod, bool cut, union value_data *v,
                    struct err_detail *why)
{
    if (!typmod_limits(t, typmod))
        return ERR_OK;
    if (t == TYPE_NUMERIC) {
        struct numeric n = v->num;
        return numeric_typmod(&n, precision_of(typmod), scale_of(typmod), &v->num, why);
    }
    if (t == TYPE_TEXT)
        return fit_text(typmod - TYPMOD_OFFSET, cut, &v->s, why);
    if (t == TYPE_TIME) {
        v->i8 = rounded(v->i8, typmod);
        return ERR_OK;
    }
    return fit_timestamp(typmod, &v->i8, why);
}

size_t typmod_print(enum type t, int32_t typmod, char out[TYPMOD_TEXT_MAX])
{
    const char *name = type_info(t)->name;
    int n;
    if (!typmod_limits(t, typmod))
        n = snprintf(out, TYPMOD_TEXT_MAX, "%s", name);
    else if (t == TYPE_NUMERIC)
        n = snprintf(out, TYPMOD_TEXT_MAX, "numeric(%d,%d)", precision_of(typmod),
                     scale_of(typmod));
    else if (t == TYPE_TEXT)
        n = snprintf(out, TYPMOD_TEXT_MAX, "character varying(%d)", typmod - TYPMOD_OFFSET);
    else
        n = snprintf(out, TYPMOD_TEXT_MAX, "%s(%d)%s", t == TYPE_TIME ? "time" : "timestamp",
                     typmod,
                     t == TYPE_TIMESTAMPTZ ? " with time zone" : " without time zone");
    return (size_t)n;
}
