#include "run/wide.h"

#include "base/check.h"

enum { CHUNK_DIGITS = 18, GROUP_DIGITS = 4, QUOTIENT_DIGITS_MIN = 16, QUOTIENT_SCALE_MAX = 200 };

struct wide wide_from(const uint64_t *limbs, uint32_t n)
{
    struct wide w = {{0}};
    CHECK(n <= WIDE_LIMBS);
    memcpy(w.limb, limbs, n * sizeof(*limbs));
    return w;
}

int wide_compare(const struct wide *a, const struct wide *b)
{
    for (int i = WIDE_LIMBS; i-- > 0;)
        if (a->limb[i] != b->limb[i])
            return a->limb[i] < b->limb[i] ? -1 : 1;
    return 0;
}

bool wide_is_zero(const struct wide *a)
{
    static const struct wide zero;
    return wide_compare(a, &zero) == 0;
}

void wide_add(struct wide *a, const struct wide *b)
{
    u128 carry = 0;
    for (int i = 0; i < WIDE_LIMBS; i++) {
        carry += (u128)a->limb[i] + b->limb[i];
        a->limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    CHECK(carry == 0);
}

void wide_subtract(struct wide *a, const struct wide *b)
{
    uint64_t borrow = 0;
    for (int i = 0; i < WIDE_LIMBS; i++) {
        u128 take = (u128)b->limb[i] + borrow;
        borrow = a->limb[i] < take;
        a->limb[i] = (uint64_t)((u128)a->limb[i] - take);
    }
    CHECK(borrow == 0);
}

static void multiply_u64(struct wide *a, uint64_t by)
{
    u128 carry = 0;
    for (int i = 0; i < WIDE_LIMBS; i++) {
        carry += (u128)a->limb[i] * by;
        a->limb[i] = (uint64_t)carry;
        carry >>= 64;
    }
    CHECK(carry == 0);
}

/* Returns the rest. */
static uint64_t divide_u64(struct wide *a, uint64_t by)
{
    u128 rest = 0;
    for (int i = WIDE_LIMBS; i-- > 0;) {
        rest = rest << 64 | a->limb[i];
        a->limb[i] = (uint64_t)(rest / by);
        rest %= by;
    }
    return (uint64_t)rest;
}

static int used(const struct wide *a)
{
    int n = WIDE_LIMBS;
    while (n > 0 && a->limb[n - 1] == 0)
        n--;
    return n;
}

struct wide wide_multiply(const struct wide *a, const struct wide *b)
{
    struct wide w = {{0}};
    int n = used(a), m = used(b);
    CHECK(n + m <= WIDE_LIMBS);
    for (int i = 0; i < n; i++) {
        u128 carry = 0;
        for (int k = 0; k < m; k++) {
            carry += (u128)a->limb[i] * b->limb[k] + w.limb[i + k];
            w.limb[i + k] = (uint64_t)carry;
            carry >>= 64;
        }
        if (m > 0 && i + m < WIDE_LIMBS)
            w.limb[i + m] = (uint64_t)carry;
    }
    return w;
}

void wide_shift_up(struct wide *a, int32_t digits)
{
    for (; digits > CHUNK_DIGITS; digits -= CHUNK_DIGITS)
        multiply_u64(a, (uint64_t)numeric_power(CHUNK_DIGITS));
    multiply_u64(a, (uint64_t)numeric_power(digits));
}

void wide_shift_down(struct wide *a, int32_t digits, bool round)
{
    if (digits == 0)
        return;
    for (digits--; digits > CHUNK_DIGITS; digits -= CHUNK_DIGITS)
        (void)divide_u64(a, (uint64_t)numeric_power(CHUNK_DIGITS));
    (void)divide_u64(a, (uint64_t)numeric_power(digits));
    if (divide_u64(a, 10) >= 5 && round) {
        struct wide one = {{1}};
        wide_add(a, &one);
    }
}

struct wide wide_divide(const struct wide *a, u128 by)
{
    struct wide w = {{0}}, one = {{1}};
    u128 rest = 0;
    CHECK(by > 0 && by >> 126 == 0);
    for (int i = used(a) * 64; i-- > 0;) {
        rest = rest << 1 | (a->limb[i / 64] >> (i % 64) & 1);
        if (rest < by)
            continue;
        rest -= by;
        w.limb[i / 64] |= (uint64_t)1 << (i % 64);
    }
    if (rest * 2 >= by)
        wide_add(&w, &one);
    return w;
}

static void double_it(struct wide *a)
{
    for (int i = WIDE_LIMBS; i-- > 0;)
        a->limb[i] = a->limb[i] << 1 | (i > 0 ? a->limb[i - 1] >> 63 : 0);
}

/* Two bits of `a` make one of the root: the rest is compared with twice the root and one. */
struct wide wide_root(const struct wide *a)
{
    struct wide root = {{0}}, rest = {{0}}, one = {{1}};
    for (int i = used(a) * 64; i > 0; i -= 2) {
        struct wide next;
        double_it(&rest);
        double_it(&rest);
        rest.limb[0] |= a->limb[(i - 2) / 64] >> ((i - 2) % 64) & 3;
        double_it(&root);
        next = root;
        double_it(&next);
        wide_add(&next, &one);
        if (wide_compare(&rest, &next) < 0)
            continue;
        wide_subtract(&rest, &next);
        root.limb[0] |= 1;
    }
    return root;
}

int32_t wide_digits(const struct wide *a)
{
    struct wide w = *a;
    int32_t digits = 0;
    while (used(&w) > 1) {
        (void)divide_u64(&w, (uint64_t)numeric_power(CHUNK_DIGITS));
        digits += CHUNK_DIGITS;
    }
    for (; w.limb[0] > 0; w.limb[0] /= 10)
        digits++;
    return digits;
}

enum err wide_numeric(const struct wide *a, int32_t scale, struct numeric *out,
                      struct err_detail *why)
{
    struct wide w = *a;
    int32_t many = wide_digits(&w) - NUMERIC_DIGITS_MAX, deep = scale - NUMERIC_SCALE_MAX,
            drop = many > deep ? many : deep;
    if (drop > 0) {
        wide_shift_down(&w, drop <= scale ? drop : scale, true);
        scale -= drop <= scale ? drop : scale;
    }
    if (wide_digits(&w) > NUMERIC_DIGITS_MAX && scale > 0) { /* 99.9 has become 100 */
        wide_shift_down(&w, 1, true);
        scale--;
    }
    if (wide_digits(&w) > NUMERIC_DIGITS_MAX)
        return err_set(why, ERR_OUT_OF_RANGE, "value overflows numeric format");
    *out = numeric_make((i128)((u128)w.limb[1] << 64 | w.limb[0]), scale);
    return ERR_OK;
}

/* The first digit of a number to the base 10,000, and its place. */
static uint64_t first_group(const struct wide *a, int32_t scale, int32_t *weight)
{
    struct wide w = *a;
    int32_t digits = wide_digits(a), top = digits - 1 - scale;
    *weight = top >= 0 ? top / GROUP_DIGITS : -((GROUP_DIGITS - 1 - top) / GROUP_DIGITS);
    int32_t cut = digits - (top - *weight * GROUP_DIGITS + 1);
    if (cut >= 0)
        wide_shift_down(&w, cut, false);
    else
        wide_shift_up(&w, -cut);
    return w.limb[0];
}

int32_t wide_quotient_scale(const struct wide *a, int32_t scale, u128 by)
{
    struct wide b = {{(uint64_t)by, (uint64_t)(by >> 64)}};
    int32_t weights[2];
    uint64_t first = first_group(a, scale, &weights[0]), second = first_group(&b, 0, &weights[1]);
    int32_t places = weights[0] - weights[1] - (first <= second),
            digits = QUOTIENT_DIGITS_MIN - places * GROUP_DIGITS;
    digits = digits > scale ? digits : scale;
    return digits < QUOTIENT_SCALE_MAX ? digits : QUOTIENT_SCALE_MAX;
}
