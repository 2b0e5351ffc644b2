/* Exact decimals over 128-bit integers, with 256-bit intermediate products. */
#include "type/numeric.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/hash.h"
#include "type/float.h"
#include "type/text_util.h"

#include <math.h>
#include <stdio.h>

enum {
    DIVISION_DIGITS_MIN = 16,      /* PostgreSQL's NUMERIC_MIN_SIG_DIGITS */
    GROUP_DIGITS = 4,              /* PostgreSQL's base is 10^4: it decides a quotient's scale */
    EXPONENT_LIMIT = 131072,       /* PostgreSQL refuses larger exponents */
    DISPLAY_SCALE_MAX = 16383,
    BINARY_SIGN_NEG = 0x4000,
    BINARY_SIGN_NAN = 0xC000,
    BINARY_SIGN_PINF = 0xD000,
    BINARY_SIGN_NINF = 0xF000,
};

/* high * 2^128 + low. */
struct u256 {
    u128 high, low;
};

static const uint64_t small_powers[] = {1u,
                                        10u,
                                        100u,
                                        1000u,
                                        10000u,
                                        100000u,
                                        1000000u,
                                        10000000u,
                                        100000000u,
                                        1000000000u,
                                        10000000000u,
                                        100000000000u,
                                        1000000000000u,
                                        10000000000000u,
                                        100000000000000u,
                                        1000000000000000u,
                                        10000000000000000u,
                                        100000000000000000u,
                                        1000000000000000000u,
                                        10000000000000000000u};

u128 numeric_power(int32_t e)
{
    CHECK(e >= 0 && e < NUMERIC_POWERS);
    return e < 20 ? small_powers[e] : (u128)small_powers[19] * small_powers[e - 19];
}

static u128 magnitude(i128 v) { return v < 0 ? -(u128)v : (u128)v; }

static bool fits(u128 v) { return v < numeric_power(NUMERIC_DIGITS_MAX); }

struct numeric numeric_make(i128 unscaled, int32_t scale)
{
    CHECK(scale >= 0 && scale <= NUMERIC_SCALE_MAX);
    return (struct numeric){.unscaled = unscaled, .scale = scale, .kind = NUMERIC_FINITE};
}

static struct numeric special(enum numeric_kind kind) { return (struct numeric){.kind = kind}; }

static enum err overflow(struct err_detail *why)
{
    return err_set(why, ERR_OUT_OF_RANGE, "value overflows numeric format");
}

static struct numeric signed_make(u128 v, bool negative, int32_t scale)
{
    return numeric_make(negative ? -(i128)v : (i128)v, scale);
}

static int sign_of(const struct numeric *n)
{
    if (n->kind == NUMERIC_POS_INF)
        return 1;
    if (n->kind == NUMERIC_NEG_INF)
        return -1;
    return (n->unscaled > 0) - (n->unscaled < 0);
}

/* ---- 256-bit helpers ---- */

static struct u256 mul_wide(u128 a, u128 b)
{
    uint64_t a0 = (uint64_t)a, a1 = (uint64_t)(a >> 64);
    uint64_t b0 = (uint64_t)b, b1 = (uint64_t)(b >> 64);
    u128 low = (u128)a0 * b0;
    u128 mid = (u128)a1 * b0 + (low >> 64);
    u128 mid2 = (u128)a0 * b1 + (uint64_t)mid;
    return (struct u256){.high = (u128)a1 * b1 + (mid >> 64) + (mid2 >> 64),
                         .low = mid2 << 64 | (uint64_t)low};
}

/* Quotient and remainder by long division; false when the quotient needs more than 128 bits. */
static bool div_wide(struct u256 n, u128 d, u128 *quotient, u128 *remainder)
{
    if (n.high == 0) {
        *quotient = n.low / d;
        *remainder = n.low % d;
        return true;
    }
    if (n.high >= d)
        return false;
    u128 r = n.high, q = 0;
    for (int i = 127; i >= 0; i--) {
        bool carry = r >> 127 != 0;
        r = r << 1 | ((n.low >> i) & 1);
        q <<= 1;
        if (carry || r >= d) {
            r -= d;
            q |= 1;
        }
    }
    *quotient = q;
    *remainder = r;
    return true;
}

static int compare_wide(struct u256 a, struct u256 b)
{
    if (a.high != b.high)
        return a.high < b.high ? -1 : 1;
    return (a.low > b.low) - (a.low < b.low);
}

/* v / 10^digits, half away from zero. */
static u128 divide_rounding(u128 v, int32_t digits)
{
    if (digits >= NUMERIC_POWERS)
        return 0;
    u128 p = numeric_power(digits), q = v / p, r = v % p;
    return q + (r >= p - r);
}

/* ---- text ---- */

/* Everything between the sign and the end of a literal. */
struct literal {
    u128 digits;         /* the digits that fit */
    int32_t n_digits;    /* how many significant ones were kept */
    int64_t scale;       /* digits behind the point of `digits`, after the exponent */
    uint8_t next;        /* first digit that was dropped: rounds */
    bool any;
};

static bool literal_scan(struct str s, struct literal *l, bool *too_large)
{
    const char *p = s.ptr, *end = s.ptr + s.len;
    bool point = false, dropping = false;
    *l = (struct literal){0};
    *too_large = false;
    for (; p < end && (text_is_digit(*p) || (*p == '.' && !point)); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        uint8_t c = (uint8_t)(*p - '0');
        l->any = true;
        if (l->n_digits < NUMERIC_DIGITS_MAX) {
            l->digits = l->digits * 10 + c;
            l->n_digits += l->digits != 0;
            l->scale += point;
        } else {
            if (!dropping)
                l->next = c;
            dropping = true;
            l->scale -= !point;
        }
    }
    if (p < end && (*p == 'e' || *p == 'E') && l->any) {
        bool minus = false;
        int64_t e = 0;
        p++;
        if (p < end && (*p == '-' || *p == '+'))
            minus = *p++ == '-';
        if (p == end || !text_is_digit(*p))
            return false;
        for (; p < end && text_is_digit(*p); p++)
            e = e < EXPONENT_LIMIT * 10 ? e * 10 + (*p - '0') : e;
        *too_large = e >= INT32_MAX / 2;
        l->scale -= minus ? -e : e;
    }
    return l->any && p == end;
}

static enum err literal_number(struct literal *l, bool negative, struct numeric *out,
                               struct err_detail *why)
{
    if (l->scale < 0) {
        if (l->digits == 0)
            l->scale = 0;
        else if (l->n_digits - l->scale > NUMERIC_DIGITS_MAX)
            return overflow(why);
        else
            l->digits *= numeric_power((int32_t)-l->scale);
        l->scale = 0;
    }
    if (l->scale > NUMERIC_SCALE_MAX) {
        int64_t drop = l->scale - NUMERIC_SCALE_MAX;
        l->digits = divide_rounding(l->digits, drop > NUMERIC_POWERS ? NUMERIC_POWERS
                                                                      : (int32_t)drop);
        l->scale = NUMERIC_SCALE_MAX;
    } else if (l->next >= 5) {
        l->digits++;
    }
    if (!fits(l->digits)) {
        if (l->scale == 0)
            return overflow(why);
        l->digits = divide_rounding(l->digits, 1);
        l->scale--;
    }
    *out = signed_make(l->digits, negative, (int32_t)l->scale);
    return ERR_OK;
}

enum err numeric_parse(struct str given, struct numeric *out, struct err_detail *why)
{
    struct str s = text_trim(given);
    bool negative = false, is_signed = false, too_large;
    struct literal l;
    if (s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+')) {
        negative = s.ptr[0] == '-';
        is_signed = true;
        s = (struct str){s.ptr + 1, s.len - 1};
    }
    if (literal_scan(s, &l, &too_large) && !too_large)
        return literal_number(&l, negative, out, why);
    if (!is_signed && str_ieq(s, STR("nan"))) {
        *out = special(NUMERIC_NAN);
        return ERR_OK;
    }
    if (str_ieq(s, STR("inf")) || str_ieq(s, STR("infinity"))) {
        *out = special(negative ? NUMERIC_NEG_INF : NUMERIC_POS_INF);
        return ERR_OK;
    }
    return err_set(why, ERR_INVALID_TEXT, "invalid input syntax for type numeric: \"%.*s\"",
                   TEXT_ERR_ARG(given));
}

/* Digits of v with at least `min` of them, without a NUL; returns how many. */
static int32_t print_digits(u128 v, int32_t min, char *out)
{
    char reversed[NUMERIC_TEXT_MAX];
    int32_t n = 0;
    while (v > UINT64_MAX) {
        uint64_t part = (uint64_t)(v % small_powers[18]);
        v /= small_powers[18];
        for (int i = 0; i < 18; i++, part /= 10)
            reversed[n++] = (char)('0' + part % 10);
    }
    for (uint64_t low = (uint64_t)v; low != 0 || n < min; low /= 10)
        reversed[n++] = (char)('0' + low % 10);
    for (int32_t i = 0; i < n; i++)
        out[i] = reversed[n - 1 - i];
    return n;
}

size_t numeric_print(const struct numeric *n, char out[NUMERIC_TEXT_MAX])
{
    static const char *const names[] = {"", "NaN", "Infinity", "-Infinity"};
    if (n->kind != NUMERIC_FINITE) {
        size_t len = strlen(names[n->kind]);
        memcpy(out, names[n->kind], len);
        return len;
    }
    char digits[NUMERIC_TEXT_MAX];
    char *p = out;
    int32_t count = print_digits(magnitude(n->unscaled), n->scale + 1, digits);
    int32_t whole = count - n->scale;
    if (n->unscaled < 0)
        *p++ = '-';
    memcpy(p, digits, (size_t)whole);
    p += whole;
    if (n->scale > 0) {
        *p++ = '.';
        memcpy(p, digits + whole, (size_t)n->scale);
        p += n->scale;
    }
    return (size_t)(p - out);
}

/* ---- order ---- */

/* Rank of a kind in the order: -infinity, finite, infinity, NaN. */
static int kind_rank(enum numeric_kind k)
{
    static const int ranks[] = {1, 3, 2, 0};
    return ranks[k];
}

int numeric_compare(const struct numeric *a, const struct numeric *b)
{
    if (a->kind != NUMERIC_FINITE || b->kind != NUMERIC_FINITE)
        return kind_rank(a->kind) - kind_rank(b->kind);
    if (a->scale == b->scale)
        return (a->unscaled > b->unscaled) - (a->unscaled < b->unscaled);
    int sa = sign_of(a), sb = sign_of(b);
    if (sa != sb)
        return sa < sb ? -1 : 1;
    int32_t scale = a->scale > b->scale ? a->scale : b->scale;
    struct u256 wa = mul_wide(magnitude(a->unscaled), numeric_power(scale - a->scale));
    struct u256 wb = mul_wide(magnitude(b->unscaled), numeric_power(scale - b->scale));
    int c = compare_wide(wa, wb);
    return sa < 0 ? -c : c;
}

uint64_t numeric_hash(const struct numeric *n)
{
    if (n->kind != NUMERIC_FINITE)
        return hash_u64((uint64_t)n->kind);
    i128 v = n->unscaled;
    int32_t scale = v == 0 ? 0 : n->scale;
    while (scale > 0 && v % 10 == 0) {
        v /= 10;
        scale--;
    }
    return hash_u64(hash_u64((uint64_t)v ^ (uint64_t)scale << 56) ^ (uint64_t)((u128)v >> 64));
}

/* ---- arithmetic ---- */

/* Rescales without loss to a larger scale; false when it does not fit. */
static bool widen(i128 v, int32_t digits, i128 *out)
{
    if (digits == 0) {
        *out = v;
        return true;
    }
    struct u256 w = mul_wide(magnitude(v), numeric_power(digits));
    if (w.high != 0 || !fits(w.low))
        return false;
    *out = v < 0 ? -(i128)w.low : (i128)w.low;
    return true;
}

static enum err add_signed(const struct numeric *a, const struct numeric *b, bool subtract,
                           struct numeric *out, struct err_detail *why)
{
    if (a->kind != NUMERIC_FINITE || b->kind != NUMERIC_FINITE) {
        enum numeric_kind kb = b->kind;
        if (subtract && (kb == NUMERIC_POS_INF || kb == NUMERIC_NEG_INF))
            kb = kb == NUMERIC_POS_INF ? NUMERIC_NEG_INF : NUMERIC_POS_INF;
        if (a->kind == NUMERIC_FINITE)
            *out = special(kb);
        else
            *out = special(kb == NUMERIC_FINITE || kb == a->kind ? a->kind : NUMERIC_NAN);
        return ERR_OK;
    }
    int32_t scale = a->scale > b->scale ? a->scale : b->scale;
    i128 x, y;
    if (!widen(a->unscaled, scale - a->scale, &x) || !widen(b->unscaled, scale - b->scale, &y))
        return overflow(why);
    /* Both are below 10^38, their sum is below 2^127.3 in magnitude only when one of them is
     * small: check first. */
    i128 sum;
    if (__builtin_add_overflow(x, subtract ? -y : y, &sum) || !fits(magnitude(sum)))
        return overflow(why);
    *out = numeric_make(sum, scale);
    return ERR_OK;
}

enum err numeric_add(const struct numeric *a, const struct numeric *b, struct numeric *out,
                     struct err_detail *why)
{
    return add_signed(a, b, false, out, why);
}

enum err numeric_sub(const struct numeric *a, const struct numeric *b, struct numeric *out,
                     struct err_detail *why)
{
    return add_signed(a, b, true, out, why);
}

struct numeric numeric_negate(const struct numeric *n)
{
    struct numeric r = *n;
    if (n->kind == NUMERIC_FINITE)
        r.unscaled = -n->unscaled;
    else if (n->kind != NUMERIC_NAN)
        r.kind = n->kind == NUMERIC_POS_INF ? NUMERIC_NEG_INF : NUMERIC_POS_INF;
    return r;
}

/* Drops digits behind the point from w (of `scale` digits) until it fits 38 digits and the
 * largest scale. */
static enum err narrow(struct u256 w, int32_t scale, bool negative, struct numeric *out,
                       struct err_detail *why)
{
    if (LIKELY(w.high == 0 && scale <= NUMERIC_SCALE_MAX && fits(w.low))) {
        *out = signed_make(w.low, negative, scale);
        return ERR_OK;
    }
    int32_t drop = scale > NUMERIC_SCALE_MAX ? scale - NUMERIC_SCALE_MAX : 0;
    for (; drop <= scale; drop++) {
        u128 q, r;
        /* drop <= 38 here: more digits than that cannot be in excess of 38 + 38. */
        if (drop >= NUMERIC_POWERS)
            break;
        u128 p = numeric_power(drop);
        if (!div_wide(w, p, &q, &r))
            continue;
        q += drop > 0 && r >= p - r;
        if (fits(q)) {
            *out = signed_make(q, negative, scale - drop);
            return ERR_OK;
        }
    }
    return overflow(why);
}

enum err numeric_mul(const struct numeric *a, const struct numeric *b, struct numeric *out,
                     struct err_detail *why)
{
    if (a->kind != NUMERIC_FINITE || b->kind != NUMERIC_FINITE) {
        int s = sign_of(a) * sign_of(b);
        if (a->kind == NUMERIC_NAN || b->kind == NUMERIC_NAN || s == 0)
            *out = special(NUMERIC_NAN);
        else
            *out = special(s > 0 ? NUMERIC_POS_INF : NUMERIC_NEG_INF);
        return ERR_OK;
    }
    bool negative = (a->unscaled < 0) != (b->unscaled < 0);
    struct u256 w = mul_wide(magnitude(a->unscaled), magnitude(b->unscaled));
    return narrow(w, a->scale + b->scale, negative, out, why);
}

/* Weight and value of the first base-10000 digit, as PostgreSQL stores the number. */
static void first_group(const struct numeric *n, int32_t *weight, int32_t *group)
{
    char digits[NUMERIC_TEXT_MAX];
    *weight = 0;
    *group = 0;
    if (n->unscaled == 0)
        return;
    int32_t count = print_digits(magnitude(n->unscaled), 1, digits);
    int32_t lead = count - n->scale - 1;    /* decimal exponent of the first digit */
    *weight = lead >= 0 ? lead / GROUP_DIGITS : -((-lead + GROUP_DIGITS - 1) / GROUP_DIGITS);
    int32_t in_group = lead - *weight * GROUP_DIGITS + 1;    /* decimal digits in the first group */
    for (int32_t i = 0; i < in_group; i++)
        *group = *group * 10 + (i < count ? digits[i] - '0' : 0);
}

/* PostgreSQL's select_div_scale: at least 16 significant digits. */
static int32_t division_scale(const struct numeric *a, const struct numeric *b)
{
    int32_t wa, wb, ga, gb;
    first_group(a, &wa, &ga);
    first_group(b, &wb, &gb);
    int32_t weight = wa - wb - (ga <= gb);
    int32_t scale = DIVISION_DIGITS_MIN - weight * GROUP_DIGITS;
    scale = scale > a->scale ? scale : a->scale;
    scale = scale > b->scale ? scale : b->scale;
    scale = scale > 0 ? scale : 0;
    return scale < NUMERIC_SCALE_MAX ? scale : NUMERIC_SCALE_MAX;
}

/* NaN and infinities of a / b and a % b. */
static enum err div_special(const struct numeric *a, const struct numeric *b, bool mod,
                            struct numeric *out, struct err_detail *why)
{
    bool b_zero = b->kind == NUMERIC_FINITE && b->unscaled == 0;
    bool a_inf = a->kind == NUMERIC_POS_INF || a->kind == NUMERIC_NEG_INF;
    if (a->kind == NUMERIC_NAN || b->kind == NUMERIC_NAN) {
        *out = special(NUMERIC_NAN);
    } else if (b_zero) {
        return err_set(why, ERR_DIVISION_BY_ZERO, "division by zero");
    } else if (a_inf) {
        bool finite = b->kind == NUMERIC_FINITE && !mod;
        *out = special(!finite                       ? NUMERIC_NAN
                       : sign_of(a) * sign_of(b) > 0 ? NUMERIC_POS_INF
                                                     : NUMERIC_NEG_INF);
    } else {
        *out = mod ? *a : numeric_make(0, 0);
    }
    return ERR_OK;
}

enum err numeric_div(const struct numeric *a, const struct numeric *b, struct numeric *out,
                     struct err_detail *why)
{
    if (a->kind != NUMERIC_FINITE || b->kind != NUMERIC_FINITE || b->unscaled == 0)
        return div_special(a, b, false, out, why);
    bool negative = (a->unscaled < 0) != (b->unscaled < 0);
    u128 x = magnitude(a->unscaled), y = magnitude(b->unscaled);
    for (int32_t scale = division_scale(a, b); scale >= 0; scale--) {
        /* x * 10^up / (y * 10^down) has `scale` digits behind the point. */
        int32_t up = scale + b->scale - a->scale;
        u128 q, r, d = y;
        struct u256 n = {.low = x};
        if (up >= NUMERIC_POWERS)
            continue;
        if (up >= 0) {
            n = mul_wide(x, numeric_power(up));
        } else {
            struct u256 wide = mul_wide(y, numeric_power(-up));
            if (wide.high != 0) {
                /* The divisor is beyond 10^38: the quotient rounds to 0, except within half a
                 * unit. */
                *out = numeric_make(0, scale);
                return ERR_OK;
            }
            d = wide.low;
        }
        if (!div_wide(n, d, &q, &r))
            continue;
        q += r >= d - r;
        if (fits(q)) {
            *out = signed_make(q, negative, scale);
            return ERR_OK;
        }
    }
    return overflow(why);
}

enum err numeric_mod(const struct numeric *a, const struct numeric *b, struct numeric *out,
                     struct err_detail *why)
{
    if (a->kind != NUMERIC_FINITE || b->kind != NUMERIC_FINITE || b->unscaled == 0)
        return div_special(a, b, true, out, why);
    int32_t scale = a->scale > b->scale ? a->scale : b->scale;
    u128 x = magnitude(a->unscaled), y = magnitude(b->unscaled), r;
    if (a->scale == scale) {
        struct u256 d = mul_wide(y, numeric_power(scale - b->scale));
        r = d.high != 0 ? x : x % d.low;
    } else {
        /* x * 10^k mod y, one digit at a time: y < 10^38, so 10 * r may pass 128 bits. */
        r = x % y;
        for (int32_t i = a->scale; i < scale; i++) {
            u128 q;
            if (!div_wide(mul_wide(r, 10), y, &q, &r))
                UNREACHABLE();
        }
    }
    *out = signed_make(r, a->unscaled < 0, scale);
    return ERR_OK;
}

/* floor(sqrt(w)) by bits; w < 2^254. */
static u128 sqrt_wide(struct u256 w)
{
    u128 root = 0;
    for (int i = 126; i >= 0; i--) {
        u128 t = root | (u128)1 << i;
        if (compare_wide(mul_wide(t, t), w) <= 0)
            root = t;
    }
    return root;
}

enum err numeric_sqrt(const struct numeric *a, struct numeric *out, struct err_detail *why)
{
    if (a->kind == NUMERIC_NAN || a->kind == NUMERIC_POS_INF) {
        *out = *a;
        return ERR_OK;
    }
    if (sign_of(a) < 0)
        return err_set(why, ERR_INVALID_PARAMETER, "cannot take square root of a negative number");
    int32_t weight, group;
    first_group(a, &weight, &group);
    /* As PostgreSQL chooses it: 16 significant digits, from the weight of the root's first
     * digit. */
    int32_t scale = DIVISION_DIGITS_MIN - ((weight + 1) * GROUP_DIGITS / 2 - 1);
    scale = scale > a->scale ? scale : a->scale;
    scale = scale < 0 ? 0 : scale;
    scale = scale > NUMERIC_SCALE_MAX ? NUMERIC_SCALE_MAX : scale;
    for (; 2 * scale - a->scale >= NUMERIC_POWERS; scale--)
        continue;
    int32_t up = 2 * scale - a->scale;
    struct u256 w = up >= 0 ? mul_wide(magnitude(a->unscaled), numeric_power(up))
                            : (struct u256){.low = divide_rounding(magnitude(a->unscaled), -up)};
    u128 s = sqrt_wide(w);
    struct u256 square = mul_wide(s, s);
    struct u256 rest = {.high = w.high - square.high - (w.low < square.low),
                        .low = w.low - square.low};
    s += rest.high != 0 || rest.low > s;    /* (s + 1/2)^2 = s^2 + s + 1/4 */
    return narrow((struct u256){.low = s}, scale, false, out, why);
}

/* ---- rounding and conversion ---- */

enum err numeric_round(const struct numeric *n, int32_t scale, enum numeric_rounding how,
                       struct numeric *out, struct err_detail *why)
{
    if (n->kind != NUMERIC_FINITE) {
        *out = *n;
        return ERR_OK;
    }
    bool negative = n->unscaled < 0;
    if (scale >= n->scale) {
        i128 v;
        scale = scale > NUMERIC_SCALE_MAX ? NUMERIC_SCALE_MAX : scale;
        for (; scale > n->scale && !widen(n->unscaled, scale - n->scale, &v); scale--)
            continue;    /* display zeros that do not fit are left out */
        if (!widen(n->unscaled, scale - n->scale, &v))
            return overflow(why);
        *out = numeric_make(v, scale);
        return ERR_OK;
    }
    int64_t drop = (int64_t)n->scale - scale;
    u128 v = magnitude(n->unscaled), q = 0, r = v, p = 0;
    if (drop < NUMERIC_POWERS) {
        p = numeric_power((int32_t)drop);
        q = v / p;
        r = v % p;
    }
    bool up = (how == NUMERIC_HALF_UP && p != 0 && r >= p - r) ||
              (how == NUMERIC_FLOOR && negative && r != 0) ||
              (how == NUMERIC_CEIL && !negative && r != 0);
    q += up;
    if (scale < 0) {
        if (q != 0 && -scale >= NUMERIC_POWERS)
            return overflow(why);
        struct u256 w = q == 0 ? (struct u256){0} : mul_wide(q, numeric_power(-scale));
        if (w.high != 0 || !fits(w.low))
            return overflow(why);
        q = w.low;
        scale = 0;
    }
    *out = signed_make(q, negative, scale);
    return ERR_OK;
}

enum err numeric_typmod(const struct numeric *n, int32_t precision, int32_t scale,
                        struct numeric *out, struct err_detail *why)
{
    if (n->kind == NUMERIC_NAN) {
        *out = *n;
        return ERR_OK;
    }
    int32_t whole = precision - scale;
    if (n->kind != NUMERIC_FINITE)
        return err_set(why, ERR_OUT_OF_RANGE,
                       "numeric field overflow: a field with precision %d, scale %d cannot hold "
                       "an infinite value", precision, scale);
    TRY(numeric_round(n, scale, NUMERIC_HALF_UP, out, why));
    if (out->unscaled == 0)
        return ERR_OK;
    int32_t max_digits = whole + out->scale;
    if (max_digits <= 0 || (max_digits < NUMERIC_POWERS &&
                            magnitude(out->unscaled) >= numeric_power(max_digits)))
        return err_set(why, ERR_OUT_OF_RANGE,
                       "numeric field overflow: a field with precision %d, scale %d must round "
                       "to an absolute value less than 10^%d", precision, scale, whole);
    return ERR_OK;
}

struct numeric numeric_from_i64(int64_t v) { return numeric_make(v, 0); }

enum err numeric_from_f8(double d, struct numeric *out, struct err_detail *why)
{
    char text[FLOAT_TEXT_MAX];
    if (isnan(d)) {
        *out = special(NUMERIC_NAN);
        return ERR_OK;
    }
    if (isinf(d)) {
        *out = special(d > 0 ? NUMERIC_POS_INF : NUMERIC_NEG_INF);
        return ERR_OK;
    }
    int n = snprintf(text, sizeof text, "%.15g", d);
    return numeric_parse((struct str){text, (size_t)n}, out, why);
}

enum err numeric_to_i64(const struct numeric *n, int64_t min, int64_t max, const char *type_name,
                        int64_t *out, struct err_detail *why)
{
    struct numeric r;
    if (n->kind == NUMERIC_NAN)
        return err_set(why, ERR_UNSUPPORTED, "cannot convert NaN to %s", type_name);
    if (n->kind != NUMERIC_FINITE)
        return err_set(why, ERR_UNSUPPORTED, "cannot convert infinity to %s", type_name);
    TRY(numeric_round(n, 0, NUMERIC_HALF_UP, &r, why));
    if (r.unscaled < min || r.unscaled > max)
        return err_set(why, ERR_OUT_OF_RANGE, "%s out of range", type_name);
    *out = (int64_t)r.unscaled;
    return ERR_OK;
}

double numeric_to_f8(const struct numeric *n)
{
    if (n->kind == NUMERIC_NAN)
        return (double)NAN;
    if (n->kind != NUMERIC_FINITE)
        return n->kind == NUMERIC_POS_INF ? (double)INFINITY : -(double)INFINITY;
    u128 v = magnitude(n->unscaled);
    double d = 0;
    if (v <= UINT64_MAX) {
        d = float8_from_decimal((uint64_t)v, -n->scale);
    } else {
        char text[NUMERIC_TEXT_MAX];
        struct numeric positive = numeric_make((i128)v, n->scale);
        size_t len = numeric_print(&positive, text);
        if (float8_parse((struct str){text, len}, &d, NULL) != ERR_OK)
            UNREACHABLE();    /* 38 digits are within a double's range */
    }
    return n->unscaled < 0 ? -d : d;
}

/* ---- PostgreSQL's binary form: be16 n, weight, sign, display scale, n base-10000 digits ---- */

void numeric_print_binary(const struct numeric *n, struct buf *out)
{
    if (n->kind != NUMERIC_FINITE) {
        uint16_t sign = n->kind == NUMERIC_NAN       ? BINARY_SIGN_NAN
                        : n->kind == NUMERIC_POS_INF ? BINARY_SIGN_PINF
                                                     : BINARY_SIGN_NINF;
        buf_put_be16(out, 0);
        buf_put_be16(out, 0);
        buf_put_be16(out, sign);
        buf_put_be16(out, 0);
        return;
    }
    char digits[NUMERIC_TEXT_MAX * 2];
    uint16_t groups[NUMERIC_TEXT_MAX];
    int32_t whole = 0, count, n_groups = 0;
    /* Pad to whole groups on both sides of the point. */
    count = print_digits(magnitude(n->unscaled), n->scale + 1, digits + GROUP_DIGITS);
    whole = count - n->scale;
    int32_t left = (GROUP_DIGITS - whole % GROUP_DIGITS) % GROUP_DIGITS;
    int32_t right = (GROUP_DIGITS - n->scale % GROUP_DIGITS) % GROUP_DIGITS;
    char *p = digits + GROUP_DIGITS - left;
    memset(p, '0', (size_t)left);
    memset(digits + GROUP_DIGITS + count, '0', (size_t)right);
    for (int32_t i = 0; i < left + count + right; i += GROUP_DIGITS)
        groups[n_groups++] = (uint16_t)((p[i] - '0') * 1000 + (p[i + 1] - '0') * 100 +
                                        (p[i + 2] - '0') * 10 + (p[i + 3] - '0'));
    int32_t weight = (left + whole) / GROUP_DIGITS - 1, first = 0;
    while (first < n_groups && groups[first] == 0) {
        first++;
        weight--;
    }
    while (n_groups > first && groups[n_groups - 1] == 0)
        n_groups--;
    buf_put_be16(out, (uint16_t)(n_groups - first));
    buf_put_be16(out, n_groups == first ? 0 : (uint16_t)weight);
    buf_put_be16(out, n->unscaled < 0 ? BINARY_SIGN_NEG : 0);
    buf_put_be16(out, (uint16_t)n->scale);
    for (int32_t i = first; i < n_groups; i++)
        buf_put_be16(out, groups[i]);
}

enum err numeric_parse_binary(struct str s, struct numeric *out, struct err_detail *why)
{
    if (s.len < 8)
        return err_set(why, ERR_MALFORMED, "insufficient data left in message");
    uint32_t count = be16_get(s.ptr);
    int32_t weight = (int16_t)be16_get(s.ptr + 2);
    uint16_t sign = be16_get(s.ptr + 4);
    int32_t scale = be16_get(s.ptr + 6);
    if (sign == BINARY_SIGN_NAN || sign == BINARY_SIGN_PINF || sign == BINARY_SIGN_NINF) {
        *out = special(sign == BINARY_SIGN_NAN    ? NUMERIC_NAN
                       : sign == BINARY_SIGN_PINF ? NUMERIC_POS_INF
                                                  : NUMERIC_NEG_INF);
        return ERR_OK;
    }
    if ((sign != 0 && sign != BINARY_SIGN_NEG) || scale > DISPLAY_SCALE_MAX ||
        s.len != 8 + 2 * (size_t)count)
        return err_set(why, ERR_MALFORMED, "invalid sign, scale or length in external \"numeric\" "
                       "value");
    /* Digits of groups in decimal exponent order; what lies behind the display scale is cut, as
     * PostgreSQL does. */
    u128 v = 0;
    int32_t at_scale = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t group = be16_get(s.ptr + 8 + 2 * i);
        if (group >= 10000)
            return err_set(why, ERR_MALFORMED, "invalid digit in external \"numeric\" value");
        int32_t exponent = (weight - (int32_t)i) * GROUP_DIGITS;
        for (int32_t k = GROUP_DIGITS - 1; k >= 0; k--) {
            if (exponent + k < -scale || exponent + k < -NUMERIC_SCALE_MAX)
                break;
            if (v >= numeric_power(NUMERIC_DIGITS_MAX - 1))
                return overflow(why);
            v = v * 10 + group / small_powers[k] % 10;
            at_scale = -(exponent + k);
        }
    }
    scale = scale > NUMERIC_SCALE_MAX ? NUMERIC_SCALE_MAX : scale;
    struct numeric n = {.kind = NUMERIC_FINITE};
    if (at_scale > 0) {
        n = signed_make(v, sign != 0, at_scale);
    } else if (v != 0) {
        struct u256 w = -at_scale < NUMERIC_POWERS ? mul_wide(v, numeric_power(-at_scale))
                                                   : (struct u256){.high = 1};
        if (w.high != 0 || !fits(w.low))
            return overflow(why);
        n = signed_make(w.low, sign != 0, 0);
    }
    return numeric_round(&n, scale, NUMERIC_TRUNC, out, why);
}
