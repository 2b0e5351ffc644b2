#include "run/numeric_sum.h"

#include "base/check.h"

enum { CHUNK_DIGITS = 18 };

static u128 magnitude(i128 v)
{
    return v < 0 ? (u128)0 - (u128)v : (u128)v;
}

static void limbs_add(uint64_t *to, const uint64_t *v)
{
    u128 carry = 0;
    for (int i = 0; i < NUMERIC_SUM_LIMBS; i++) {
        carry += (u128)to[i] + v[i];
        to[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

static void limbs_negate(uint64_t *v)
{
    u128 carry = 1;
    for (int i = 0; i < NUMERIC_SUM_LIMBS; i++) {
        carry += (uint64_t)~v[i];
        v[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

/* v *= by. 38 digits, a scale of 37 and a weight of 63 bits stay within 320 bits. */
static void limbs_multiply(uint64_t *v, uint64_t by)
{
    u128 carry = 0;
    for (int i = 0; i < NUMERIC_SUM_LIMBS; i++) {
        carry += (u128)v[i] * by;
        v[i] = (uint64_t)carry;
        carry >>= 64;
    }
}

static void limbs_divide(uint64_t *v, uint64_t by)
{
    u128 rest = 0;
    for (int i = NUMERIC_SUM_LIMBS; i-- > 0;) {
        rest = rest << 64 | v[i];
        v[i] = (uint64_t)(rest / by);
        rest %= by;
    }
}

/* Multiplies by (or divides exactly by) 10^digits. */
static void limbs_shift(uint64_t *v, int32_t digits, void (*by)(uint64_t *v, uint64_t factor))
{
    for (; digits > CHUNK_DIGITS; digits -= CHUNK_DIGITS)
        by(v, (uint64_t)numeric_power(CHUNK_DIGITS));
    by(v, (uint64_t)numeric_power(digits));
}

static void spill_add(uint64_t *wide, i128 unscaled, int32_t scale, int64_t weight)
{
    u128 m = magnitude(unscaled);
    uint64_t v[NUMERIC_SUM_LIMBS] = {(uint64_t)m, (uint64_t)(m >> 64)};
    limbs_multiply(v, (uint64_t)magnitude(weight));
    limbs_shift(v, NUMERIC_SCALE_MAX - scale, limbs_multiply);
    if ((unscaled < 0) != (weight < 0))
        limbs_negate(v);
    limbs_add(wide, v);
}

static void part_spill(struct numeric_sum *s)
{
    spill_add(s->wide, s->part, s->scale, 1);
    s->part = 0;
}

/* v * 10^digits; false when it does not fit. */
static bool shifted(i128 v, int32_t digits, i128 *out)
{
    return !__builtin_mul_overflow(v, (i128)numeric_power(digits), out);
}

void numeric_sum_add(struct numeric_sum *s, const struct numeric *v, int64_t weight)
{
    switch (v->kind) {
    case NUMERIC_NAN:
        s->nan += weight;
        return;
    case NUMERIC_POS_INF:
        s->positive += weight;
        return;
    case NUMERIC_NEG_INF:
        s->negative += weight;
        return;
    case NUMERIC_FINITE:
        break;
    }
    i128 x, sum;
    if (v->scale > s->scale) {
        if (shifted(s->part, v->scale - s->scale, &x))
            s->part = x;
        else
            part_spill(s);
        s->scale = v->scale;
    }
    if (!shifted(v->unscaled, s->scale - v->scale, &x) || __builtin_mul_overflow(x, weight, &x)) {
        spill_add(s->wide, v->unscaled, v->scale, weight);
        return;
    }
    if (__builtin_add_overflow(s->part, x, &sum)) {
        part_spill(s);
        sum = x;
    }
    s->part = sum;
}

/* True: it is negative. */
static bool sum_limbs(const struct numeric_sum *s, uint64_t *v)
{
    memcpy(v, s->wide, sizeof(s->wide));
    spill_add(v, s->part, s->scale, 1);
    bool negative = v[NUMERIC_SUM_LIMBS - 1] >> 63 != 0;
    if (negative)
        limbs_negate(v);
    limbs_shift(v, NUMERIC_SCALE_MAX - s->scale, limbs_divide);
    return negative;
}

void numeric_sum_magnitude(const struct numeric_sum *s, uint64_t *limbs)
{
    (void)sum_limbs(s, limbs);
}

enum err numeric_sum_result(const struct numeric_sum *s, struct numeric *out,
                            struct err_detail *why)
{
    uint64_t v[NUMERIC_SUM_LIMBS];
    *out = (struct numeric){.scale = s->scale};
    if (s->nan != 0 || (s->positive != 0 && s->negative != 0)) {
        out->kind = NUMERIC_NAN;
        return ERR_OK;
    }
    if (s->positive != 0 || s->negative != 0) {
        out->kind = s->positive != 0 ? NUMERIC_POS_INF : NUMERIC_NEG_INF;
        return ERR_OK;
    }
    bool negative = sum_limbs(s, v);
    u128 m = (u128)v[1] << 64 | v[0];
    if ((v[2] | v[3] | v[4]) != 0 || m >= numeric_power(NUMERIC_DIGITS_MAX))
        return err_set(why, ERR_OUT_OF_RANGE, "value overflows numeric format");
    out->unscaled = negative ? -(i128)m : (i128)m;
    return ERR_OK;
}
