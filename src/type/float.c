/* Doubles and floats as text. */
#include "type/float.h"

#include "base/check.h"
#include "type/decimal_table.h"
#include "type/text_util.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

__extension__ typedef unsigned __int128 u128;

enum {
    MANTISSA_BITS = 52,
    EXPONENT_BIAS = 1023,
    MANTISSA_BITS_4 = 23,          /* of a float */
    EXPONENT_BIAS_4 = 127,
    DIGITS_PLAIN_4 = 6,            /* digits before the point until the form is scientific */
    DIGITS_PLAIN_8 = 15,
    DIGITS_FAST_MAX = 19,          /* decimal digits that always fit uint64_t */
    EXPONENT_SEEN_MAX = 100000,    /* larger ones are all zero or infinity */
    SLOW_DIGITS_MAX = 800,         /* more than the 767 that can decide a rounding */
    HEX_TEXT_MAX = 63,
};

static const double exact_powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                      1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                      1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static double double_of_bits(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

/* 10^e as a 128-bit fraction, rounded up. */
static u128 power_of_ten(int32_t e)
{
    const uint64_t *row = decimal_power_table[e - DECIMAL_POWER_FIRST];
    return (u128)row[0] << 64 | row[1];
}

/* Rounds a scaled product to a double. `product` has the significant bits on top. */
static double decimal_round(u128 product, int32_t q, int lz)
{
    uint64_t high = (uint64_t)(product >> 64);
    uint64_t low = (uint64_t)product;
    int upper = (int)(high >> 63);
    int shift = upper + 64 - MANTISSA_BITS - 3;
    uint64_t m = high >> shift;
    int32_t power = ((217706 * q) >> 16) + 63 + upper - lz + EXPONENT_BIAS;
    if (power <= 0) {
        if (-power + 1 >= 64)
            return 0;
        m >>= -power + 1;
        m += m & 1;
        m >>= 1;
        return double_of_bits(m);    /* carries into the exponent when it rounds up to normal */
    }
    if (low <= 1 && q >= -4 && q <= 23 && (m & 3) == 1 && m << shift == high)
        m &= ~(uint64_t)1;           /* exactly half way: to even */
    m += m & 1;
    m >>= 1;
    if (m >= (uint64_t)2 << MANTISSA_BITS) {
        m = (uint64_t)1 << MANTISSA_BITS;
        power++;
    }
    m &= ~((uint64_t)1 << MANTISSA_BITS);
    if (power >= 0x7ff)
        return (double)INFINITY;
    return double_of_bits(m | (uint64_t)power << MANTISSA_BITS);
}

double float8_from_decimal(uint64_t digits, int32_t q)
{
    if (digits <= (uint64_t)1 << 53 && q >= -22 && q <= 22) {
        double d = (double)digits;
        return q < 0 ? d / exact_powers[-q] : d * exact_powers[q];
    }
    if (digits == 0 || q < -342)
        return 0;
    if (q > 308)
        return (double)INFINITY;
    int lz = __builtin_clzll(digits);
    uint64_t w = digits << lz;
    /* The algorithm's proof wants negative powers rounded up and positive ones rounded down. */
    u128 power = power_of_ten(q) - (q > DECIMAL_POWER_EXACT_LAST);
    u128 first = (u128)w * (uint64_t)(power >> 64);
    uint64_t mask = UINT64_MAX >> (MANTISSA_BITS + 3);
    if (((uint64_t)(first >> 64) & mask) == mask)
        first += (u128)w * (uint64_t)power >> 64;
    return decimal_round(first, q, lz);
}

/* A decimal literal taken apart. */
struct decimal {
    uint64_t digits;     /* the first DIGITS_FAST_MAX significant digits */
    int32_t exponent;    /* of the last digit in `digits` */
    bool truncated;      /* more digits followed, not all zero */
};

/* [+-]digits after an exponent's e, as much as there is; false when there is no digit. */
static bool exponent_scan(const char **at, const char *end, int64_t *out)
{
    const char *p = *at;
    bool minus = false;
    int64_t e = 0;
    if (p < end && (*p == '-' || *p == '+'))
        minus = *p++ == '-';
    const char *first = p;
    for (; p < end && *p >= '0' && *p <= '9'; p++)
        e = e < EXPONENT_SEEN_MAX ? e * 10 + (*p - '0') : e;
    *at = p;
    *out = minus ? -e : e;
    return p > first;
}

/* Scans digits[.digits][e[+-]digits] over the whole of s. */
static bool decimal_scan(struct str s, struct decimal *d)
{
    const char *p = s.ptr, *end = s.ptr + s.len;
    uint64_t digits = 0;
    int64_t exponent = 0, given = 0;
    int32_t count = 0;
    bool any = false, point = false, truncated = false;
    for (; p < end; p++) {
        unsigned c = (unsigned)(unsigned char)*p - (unsigned)'0';
        if (c > 9) {
            if (*p != '.' || point)
                break;
            point = true;
            continue;
        }
        any = true;
        exponent -= point;
        if (count < DIGITS_FAST_MAX) {
            digits = digits * 10 + c;
            count += digits != 0;
        } else {
            truncated |= c != 0;
            exponent++;
        }
    }
    if (!any)
        return false;
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (!exponent_scan(&p, end, &given))
            return false;
        exponent += given;
    }
    if (exponent > EXPONENT_SEEN_MAX)
        exponent = EXPONENT_SEEN_MAX;
    if (exponent < -EXPONENT_SEEN_MAX)
        exponent = -EXPONENT_SEEN_MAX;
    *d = (struct decimal){digits, (int32_t)exponent, truncated};
    return p == end;
}

enum { NORMAL_TEXT_MAX = SLOW_DIGITS_MAX + 32 };

/* A normalised, bounded copy, of which the C library's strtod and strtof are exact: for digits next
 * to a rounding boundary. */
static void decimal_normalise(struct str s, const struct decimal *d, char text[NORMAL_TEXT_MAX])
{
    int32_t n = 0;
    bool sticky = false;
    for (size_t i = 0; i < s.len && s.ptr[i] != 'e' && s.ptr[i] != 'E'; i++) {
        char c = s.ptr[i];
        if (c == '.' || (c == '0' && n == 0))
            continue;
        if (n < SLOW_DIGITS_MAX)
            text[n++] = c;
        else
            sticky |= c != '0';
    }
    if (sticky)
        text[n++] = '1';
    int32_t exponent = d->exponent - (n > DIGITS_FAST_MAX ? n - DIGITS_FAST_MAX : 0);
    snprintf(text + n, (size_t)(NORMAL_TEXT_MAX - n), "e%d", exponent);
}

/* Hexadecimal floats are strtod's as well. */
static bool hex_parse(struct str s, double *out)
{
    char text[HEX_TEXT_MAX + 1];
    char *end;
    if (s.len < 3 || s.len > HEX_TEXT_MAX)
        return false;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    *out = strtod(text, &end);
    return end == text + s.len;
}

static bool special_parse(struct str s, double *out)
{
    if (str_ieq(s, STR("nan"))) {
        *out = (double)NAN;
        return true;
    }
    if (str_ieq(s, STR("inf")) || str_ieq(s, STR("infinity"))) {
        *out = (double)INFINITY;
        return true;
    }
    return false;
}

enum err float8_parse(struct str given, double *out, struct err_detail *why)
{
    struct str s = text_trim(given);
    struct decimal d;
    bool negative = false;
    char text[NORMAL_TEXT_MAX];
    double v;
    if (s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+')) {
        negative = s.ptr[0] == '-';
        s = (struct str){s.ptr + 1, s.len - 1};
    }
    if (s.len > 1 && (s.ptr[1] == 'x' || s.ptr[1] == 'X')) {
        if (s.ptr[0] != '0' || !hex_parse(s, &v))
            goto invalid;
        d.digits = 1;
    } else if (decimal_scan(s, &d)) {
        v = float8_from_decimal(d.digits, d.exponent);
        if (d.truncated && v != float8_from_decimal(d.digits + 1, d.exponent)) {
            decimal_normalise(s, &d, text);
            v = strtod(text, NULL);
        }
    } else if (special_parse(s, &v)) {
        *out = negative ? -v : v;
        return ERR_OK;
    } else {
        goto invalid;
    }
    if (isinf(v) || (v == 0 && d.digits != 0))
        return err_set(why, ERR_OUT_OF_RANGE,
                       "\"%.*s\" is out of range for type double precision",
                       TEXT_ERR_ARG(text_trim(given)));
    *out = negative ? -v : v;
    return ERR_OK;
invalid:
    return err_set(why, ERR_INVALID_TEXT,
                   "invalid input syntax for type double precision: \"%.*s\"",
                   TEXT_ERR_ARG(given));
}

bool float4_of_double(double d, float *out)
{
    const double beyond = 0x1.ffffffp127; /* the middle between the greatest float and the next */
    float f = (float)d;
    *out = f;
    if (f == 0 || isinf(f))
        return d == 0 || (isfinite(d) && (d > beyond || d < -beyond)) || isinf(d);
    if ((double)f == d)
        return true;
    float next = nextafterf(f, d > (double)f ? INFINITY : -INFINITY);
    double middle = isinf(next) ? (d > 0 ? beyond : -beyond) : ((double)f + (double)next) / 2;
    return d != middle;
}

/* Digits, point and exponent, without a sign. False: not a number. */
static bool float4_scan(struct str s, float *out, bool *zero)
{
    char text[NORMAL_TEXT_MAX];
    struct decimal d;
    *zero = false;
    if (!decimal_scan(s, &d))
        return false;
    *zero = d.digits == 0;
    if (d.truncated || !float4_of_double(float8_from_decimal(d.digits, d.exponent), out)) {
        decimal_normalise(s, &d, text);
        *out = strtof(text, NULL);
    }
    return true;
}

enum err float4_parse(struct str given, float *out, struct err_detail *why)
{
    struct str s = text_trim(given);
    bool negative = false, zero = false;
    double wide;
    float v;
    if (s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+')) {
        negative = s.ptr[0] == '-';
        s = (struct str){s.ptr + 1, s.len - 1};
    }
    if (s.len > 1 && (s.ptr[1] == 'x' || s.ptr[1] == 'X')) {
        if (s.ptr[0] != '0' || !hex_parse(s, &wide))
            goto invalid;
        v = (float)wide;
    } else if (special_parse(s, &wide)) {
        *out = (float)(negative ? -wide : wide);
        return ERR_OK;
    } else if (!float4_scan(s, &v, &zero)) {
        goto invalid;
    }
    if (isinf(v) || (v == 0 && !zero))
        return err_set(why, ERR_OUT_OF_RANGE, "\"%.*s\" is out of range for type real",
                       TEXT_ERR_ARG(text_trim(given)));
    *out = negative ? -v : v;
    return ERR_OK;
invalid:
    return err_set(why, ERR_INVALID_TEXT, "invalid input syntax for type real: \"%.*s\"",
                   TEXT_ERR_ARG(given));
}

/* ---- printing ---- */

/* floor(e * log10(2)), or of 3/4 * 2^e when `closer`. */
static int32_t floor_log10_pow2(int32_t e, bool closer)
{
    return (e * 1262611 - (closer ? 524031 : 0)) >> 22;
}

static int32_t floor_log2_pow10(int32_t e) { return (e * 1741647) >> 19; }

/* The high 64 bits of g * cp, with the lowest bit set when bits below were cut off. */
static uint64_t round_to_odd(u128 g, uint64_t cp)
{
    u128 x = ((u128)(uint64_t)g * cp) >> 64;
    u128 y = (u128)(uint64_t)(g >> 64) * cp + x;
    return (uint64_t)(y >> 64) | ((uint64_t)y > 1);
}

static void strip_zeros(uint64_t digits, int32_t exponent, uint64_t *out, int32_t *out_exponent)
{
    while (digits != 0 && digits % 10 == 0) {
        digits /= 10;
        exponent++;
    }
    *out = digits;
    *out_exponent = exponent;
}

/* Decimals of at most 15 digits never share a double, so one that is found by scaling is the
 * shortest. Most readings are. */
static bool shortest_by_scaling(double d, uint64_t *digits, int32_t *exponent)
{
    for (int32_t e = 0; e <= 6; e++) {
        double scaled = d * exact_powers[e];
        if (scaled >= 1e15)
            return false;
        uint64_t n = (uint64_t)(scaled + 0.5);
        if (n != 0 && (double)n / exact_powers[e] == d) {
            strip_zeros(n, -e, digits, exponent);
            return true;
        }
    }
    return false;
}

/* Schubfach over c * 2^q, whose neighbour below is half as far away when `closer`; the interval's
 * bounds themselves are left out, as PostgreSQL's Ryu does. */
static void shortest(uint64_t c, int32_t q, bool closer, uint64_t *digits, int32_t *exponent)
{
    int32_t k = floor_log10_pow2(q, closer);
    int32_t h = q + floor_log2_pow10(-k) + 1;
    u128 g = power_of_ten(-k);
    uint64_t lower = round_to_odd(g, (4 * c - 2 + closer) << h) + 1;
    uint64_t vb = round_to_odd(g, (4 * c) << h);
    uint64_t upper = round_to_odd(g, (4 * c + 2) << h) - 1;
    uint64_t s = vb / 4;
    if (s >= 10) {
        uint64_t sp = s / 10;
        bool up_inside = lower <= 40 * sp;
        bool wp_inside = 40 * sp + 40 <= upper;
        if (up_inside != wp_inside) {
            strip_zeros(sp + wp_inside, k + 1, digits, exponent);
            return;
        }
    }
    bool u_inside = lower <= 4 * s;
    bool w_inside = 4 * s + 4 <= upper;
    uint64_t mid = 4 * s + 2;
    bool round_up = vb > mid || (vb == mid && (s & 1) != 0);
    strip_zeros(s + (u_inside != w_inside ? w_inside : round_up), k, digits, exponent);
}

void float8_shortest(double d, uint64_t *digits, int32_t *exponent)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    CHECK(d > 0 && !isinf(d));
    if (d >= 1e-5 && d < 1e15 && shortest_by_scaling(d, digits, exponent))
        return;
    uint64_t fraction = bits & (((uint64_t)1 << MANTISSA_BITS) - 1);
    int32_t biased = (int32_t)(bits >> MANTISSA_BITS);
    uint64_t c = biased == 0 ? fraction : fraction | (uint64_t)1 << MANTISSA_BITS;
    shortest(c, (biased == 0 ? 1 : biased) - EXPONENT_BIAS - MANTISSA_BITS,
             fraction == 0 && biased > 1, digits, exponent);
}

/* The same of a finite f > 0. */
static void float4_shortest(float f, uint64_t *digits, int32_t *exponent)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint32_t fraction = bits & (((uint32_t)1 << MANTISSA_BITS_4) - 1);
    int32_t biased = (int32_t)(bits >> MANTISSA_BITS_4);
    uint32_t c = biased == 0 ? fraction : fraction | (uint32_t)1 << MANTISSA_BITS_4;
    shortest(c, (biased == 0 ? 1 : biased) - EXPONENT_BIAS_4 - MANTISSA_BITS_4,
             fraction == 0 && biased > 1, digits, exponent);
}

/* Fixed point within the range where printf("%g") would use it, scientific outside. */
static size_t float_layout(const char *digits, int32_t n, int32_t exponent, int32_t plain,
                           char *out)
{
    char *p = out;
    int32_t lead = exponent + n - 1;    /* exponent of the first digit */
    if (lead < -4 || lead >= plain) {
        *p++ = digits[0];
        if (n > 1) {
            *p++ = '.';
            memcpy(p, digits + 1, (size_t)(n - 1));
            p += n - 1;
        }
        return (size_t)(p - out) + (size_t)snprintf(p, 6, "e%c%02d", lead < 0 ? '-' : '+',
                                                    lead < 0 ? -lead : lead);
    }
    if (lead < 0) {
        memcpy(p, "0.0000", 6);
        p += 1 - lead;
        memcpy(p, digits, (size_t)n);
        return (size_t)(p - out) + (size_t)n;
    }
    for (int32_t i = 0; i < n || i <= lead; i++) {
        if (i == lead + 1)
            *p++ = '.';
        *p++ = i < n ? digits[i] : '0';
    }
    return (size_t)(p - out);
}

/* Writes the sign, and what has no digits; `more`: digits follow. */
static size_t special_print(double d, char *out, bool *more)
{
    size_t sign = 0;
    *more = false;
    if (isnan(d)) {
        memcpy(out, "NaN", 3);
        return 3;
    }
    if (signbit(d))
        out[sign++] = '-';
    if (d == 0) {
        out[sign] = '0';
        return sign + 1;
    }
    if (isinf(d)) {
        memcpy(out + sign, "Infinity", 8);
        return sign + 8;
    }
    *more = true;
    return sign;
}

static size_t digits_print(uint64_t value, int32_t exponent, int32_t plain, char *out)
{
    char digits[DIGITS_FAST_MAX + 2];
    int32_t n = 0;
    char *p = digits + sizeof digits;
    for (; value != 0; value /= 10, n++)
        *--p = (char)('0' + value % 10);
    return float_layout(p, n, exponent, plain, out);
}

size_t float8_print(double d, char out[FLOAT_TEXT_MAX])
{
    uint64_t value;
    int32_t exponent;
    bool more;
    size_t n = special_print(d, out, &more);
    if (!more)
        return n;
    float8_shortest(fabs(d), &value, &exponent);
    return n + digits_print(value, exponent, DIGITS_PLAIN_8, out + n);
}

size_t float4_print(float f, char out[FLOAT_TEXT_MAX])
{
    uint64_t value;
    int32_t exponent;
    bool more;
    size_t n = special_print((double)f, out, &more);
    if (!more)
        return n;
    float4_shortest(fabsf(f), &value, &exponent);
    return n + digits_print(value, exponent, DIGITS_PLAIN_4, out + n);
}
