/* Intervals. */
#include "type/interval.h"

#include "base/check.h"
#include "base/hash.h"
#include "type/datetime.h"
#include "type/float.h"
#include "type/text_util.h"

#include <math.h>
#include <stdio.h>

__extension__ typedef __int128 i128;

enum { UNIT_NAME_MAX = 16 };

/* ---- parsing ---- */

enum unit {
    UNIT_NONE,
    UNIT_MICROSECOND,
    UNIT_MILLISECOND,
    UNIT_SECOND,
    UNIT_MINUTE,
    UNIT_HOUR,
    UNIT_DAY,
    UNIT_WEEK,
    UNIT_MONTH,
    UNIT_YEAR,
    UNIT_DECADE,
    UNIT_CENTURY,
    UNIT_MILLENNIUM,
    UNIT_AGO,
};

static const struct {
    const char *name;
    enum unit unit;
} unit_names[] = {
    {"us", UNIT_MICROSECOND},       {"usec", UNIT_MICROSECOND},
    {"usecs", UNIT_MICROSECOND},    {"usecond", UNIT_MICROSECOND},
    {"useconds", UNIT_MICROSECOND}, {"microsecond", UNIT_MICROSECOND},
    {"microsecon", UNIT_MICROSECOND}, {"microseconds", UNIT_MICROSECOND},
    {"ms", UNIT_MILLISECOND},       {"msec", UNIT_MILLISECOND},
    {"msecs", UNIT_MILLISECOND},    {"msecond", UNIT_MILLISECOND},
    {"mseconds", UNIT_MILLISECOND}, {"millisecond", UNIT_MILLISECOND},
    {"millisecon", UNIT_MILLISECOND}, {"milliseconds", UNIT_MILLISECOND},
    {"s", UNIT_SECOND},             {"sec", UNIT_SECOND},
    {"secs", UNIT_SECOND},          {"second", UNIT_SECOND},
    {"seconds", UNIT_SECOND},       {"m", UNIT_MINUTE},
    {"min", UNIT_MINUTE},           {"mins", UNIT_MINUTE},
    {"minute", UNIT_MINUTE},        {"minutes", UNIT_MINUTE},
    {"h", UNIT_HOUR},               {"hr", UNIT_HOUR},
    {"hrs", UNIT_HOUR},             {"hour", UNIT_HOUR},
    {"hours", UNIT_HOUR},           {"d", UNIT_DAY},
    {"day", UNIT_DAY},              {"days", UNIT_DAY},
    {"w", UNIT_WEEK},               {"week", UNIT_WEEK},
    {"weeks", UNIT_WEEK},           {"mon", UNIT_MONTH},
    {"mons", UNIT_MONTH},           {"month", UNIT_MONTH},
    {"months", UNIT_MONTH},         {"y", UNIT_YEAR},
    {"yr", UNIT_YEAR},              {"yrs", UNIT_YEAR},
    {"year", UNIT_YEAR},            {"years", UNIT_YEAR},
    {"dec", UNIT_DECADE},           {"decs", UNIT_DECADE},
    {"decade", UNIT_DECADE},        {"decades", UNIT_DECADE},
    {"c", UNIT_CENTURY},            {"cent", UNIT_CENTURY},
    {"century", UNIT_CENTURY},      {"centuries", UNIT_CENTURY},
    {"mil", UNIT_MILLENNIUM},       {"mils", UNIT_MILLENNIUM},
    {"millennia", UNIT_MILLENNIUM}, {"millennium", UNIT_MILLENNIUM},
    {"ago", UNIT_AGO},
};

static enum unit unit_by_name(struct str s)
{
    for (size_t i = 0; i < ARRAY_LEN(unit_names); i++) {
        if (str_ieq(s, str_of(unit_names[i].name)))
            return unit_names[i].unit;
    }
    return UNIT_NONE;
}

enum parse_result { PARSE_OK, PARSE_SYNTAX, PARSE_RANGE };

/* Sums while parsing, wide enough that the end can check the range. */
struct sum {
    i128 months, days, us;
};

/* A signed decimal taken apart: whole + fraction, both with the number's sign. */
struct amount {
    int64_t whole;
    double fraction;
    bool negative;
};

/* [+-]digits[.digits] at *p; PARSE_RANGE when the whole part does not fit. */
static enum parse_result scan_amount(const char **at, const char *end, struct amount *a)
{
    const char *p = *at;
    *a = (struct amount){0};
    if (p < end && (*p == '-' || *p == '+'))
        a->negative = *p++ == '-';
    const char *first = p;
    for (; p < end && text_is_digit(*p); p++) {
        if (__builtin_mul_overflow(a->whole, 10, &a->whole) ||
            __builtin_add_overflow(a->whole, *p - '0', &a->whole))
            return PARSE_RANGE;
    }
    bool any = p > first;
    if (p < end && *p == '.') {
        const char *point = p++;
        while (p < end && text_is_digit(*p))
            p++;
        if (!any && p == point + 1)
            return PARSE_SYNTAX;
        any = true;
        if (p > point + 1 &&
            float8_parse((struct str){point, (size_t)(p - point)}, &a->fraction, NULL) != ERR_OK)
            a->fraction = 0;    /* vanishes */
    }
    if (a->negative) {
        a->whole = -a->whole;
        a->fraction = -a->fraction;
    }
    *at = p;
    return any ? PARSE_OK : PARSE_SYNTAX;
}

/* Adds fraction * unit_us, rounded to microseconds. */
static void add_fraction_us(struct sum *s, double fraction, int64_t unit_us)
{
    s->us += (i128)rint(fraction * (double)unit_us);
}

/* Whole days of a fraction, the rest as time. */
static void add_fraction_days(struct sum *s, double fraction, int scale)
{
    double days = fraction * scale;
    int64_t whole = (int64_t)days;
    s->days += whole;
    add_fraction_us(s, days - (double)whole, US_PER_DAY);
}

static void add_years(struct sum *s, const struct amount *a, int64_t years)
{
    s->months += (i128)a->whole * years * INTERVAL_MONTHS_PER_YEAR;
    s->months += (i128)rint(a->fraction * (double)(years * INTERVAL_MONTHS_PER_YEAR));
}

static void add_amount(struct sum *s, const struct amount *a, enum unit u)
{
    static const int64_t unit_us[] = {[UNIT_NONE] = US_PER_SECOND,
                                      [UNIT_MICROSECOND] = 1,
                                      [UNIT_MILLISECOND] = 1000,
                                      [UNIT_SECOND] = US_PER_SECOND,
                                      [UNIT_MINUTE] = US_PER_MINUTE,
                                      [UNIT_HOUR] = US_PER_HOUR};
    switch (u) {
    case UNIT_NONE:
    case UNIT_MICROSECOND:
    case UNIT_MILLISECOND:
    case UNIT_SECOND:
    case UNIT_MINUTE:
    case UNIT_HOUR:
        s->us += (i128)a->whole * unit_us[u];
        add_fraction_us(s, a->fraction, unit_us[u]);
        break;
    case UNIT_DAY:
        s->days += a->whole;
        add_fraction_us(s, a->fraction, US_PER_DAY);
        break;
    case UNIT_WEEK:
        s->days += (i128)a->whole * 7;
        add_fraction_days(s, a->fraction, 7);
        break;
    case UNIT_MONTH:
        s->months += a->whole;
        add_fraction_days(s, a->fraction, INTERVAL_DAYS_PER_MONTH);
        break;
    case UNIT_YEAR:
        add_years(s, a, 1);
        break;
    case UNIT_DECADE:
        add_years(s, a, 10);
        break;
    case UNIT_CENTURY:
        add_years(s, a, 100);
        break;
    case UNIT_MILLENNIUM:
        add_years(s, a, 1000);
        break;
    case UNIT_AGO:
        UNREACHABLE();
    }
}

/* P[nY][nM][nW][nD][T[nH][nM][nS]] behind the P. */
static enum parse_result parse_iso(const char *p, const char *end, struct sum *s)
{
    bool time = false, any = false;
    while (p < end) {
        struct amount a;
        if (*p == 'T' && !time) {
            time = true;
            any = true;
            p++;
            continue;
        }
        enum parse_result r = scan_amount(&p, end, &a);
        if (r != PARSE_OK)
            return r;
        if (p == end)
            return PARSE_SYNTAX;
        enum unit u = UNIT_NONE;
        switch (*p++) {
        case 'Y':
            u = time ? UNIT_NONE : UNIT_YEAR;
            break;
        case 'M':
            u = time ? UNIT_MINUTE : UNIT_MONTH;
            break;
        case 'W':
            u = time ? UNIT_NONE : UNIT_WEEK;
            break;
        case 'D':
            u = time ? UNIT_NONE : UNIT_DAY;
            break;
        case 'H':
            u = time ? UNIT_HOUR : UNIT_NONE;
            break;
        case 'S':
            u = time ? UNIT_SECOND : UNIT_NONE;
            break;
        default:
            break;
        }
        if (u == UNIT_NONE)
            return PARSE_SYNTAX;
        add_amount(s, &a, u);
        any = true;
    }
    return any ? PARSE_OK : PARSE_SYNTAX;
}

/* [+-]h:mm[:ss[.f]], or mm:ss.f. */
static enum parse_result parse_clock(const char **at, const char *end, struct sum *s)
{
    const char *p = *at;
    struct clock_time t;
    bool negative = false;
    if (*p == '-' || *p == '+')
        negative = *p++ == '-';
    if (!clock_time_scan(&p, end, &t))
        return PARSE_SYNTAX;
    if (t.fields == 2 && t.fraction) {
        t.second = t.minute;
        t.minute = t.hour;
        t.hour = 0;
    }
    if (t.minute > 59 || t.second > 60)
        return PARSE_RANGE;
    i128 us = (i128)t.hour * US_PER_HOUR + t.minute * US_PER_MINUTE + t.second * US_PER_SECOND +
              t.us;
    s->us += negative ? -us : us;
    *at = p;
    return PARSE_OK;
}

/* SQL's years-months at *p: [+-]y-m. False: something else. */
static bool parse_year_month(const char **at, const char *end, struct sum *s,
                             enum parse_result *result)
{
    const char *p = *at;
    bool negative = false;
    int64_t part[2] = {0, 0};
    if (*p == '-' || *p == '+')
        negative = *p++ == '-';
    for (int i = 0; i < 2; i++) {
        const char *first = p;
        for (; p < end && text_is_digit(*p); p++)
            part[i] = part[i] < INT32_MAX ? part[i] * 10 + (*p - '0') : part[i];
        if (p == first || (i == 0 && (p == end || *p++ != '-')))
            return false;
    }
    if (p < end && !text_is_space(*p))
        return false;
    *result = part[1] >= INTERVAL_MONTHS_PER_YEAR ? PARSE_RANGE : PARSE_OK;
    i128 months = (i128)part[0] * INTERVAL_MONTHS_PER_YEAR + part[1];
    s->months += negative ? -months : months;
    *at = p;
    return true;
}

/* Whether the number at p is a clock time. */
static bool at_clock(const char *p, const char *end)
{
    if (p < end && (*p == '-' || *p == '+'))
        p++;
    while (p < end && text_is_digit(*p))
        p++;
    return p < end && *p == ':';
}

static void skip_blanks(const char **p, const char *end)
{
    while (*p < end && text_is_space(**p))
        (*p)++;
}

static struct str scan_word(const char **p, const char *end)
{
    const char *start = *p;
    while (*p < end && text_is_alpha(**p))
        (*p)++;
    return (struct str){start, (size_t)(*p - start)};
}

/* One amount and its unit, or a clock time, or years-months. `seen` has a bit per unit: a unit
 * comes once. */
static enum parse_result parse_part(const char **at, const char *end, struct sum *s,
                                    uint32_t *seen)
{
    enum parse_result r;
    struct amount a;
    const char *p = *at;
    uint32_t bits;
    if (at_clock(p, end)) {
        bits = 1u << UNIT_HOUR | 1u << UNIT_MINUTE | 1u << UNIT_SECOND;
        r = parse_clock(&p, end, s);
    } else if (parse_year_month(&p, end, s, &r)) {
        bits = 1u << UNIT_YEAR | 1u << UNIT_MONTH;
    } else {
        r = scan_amount(&p, end, &a);
        if (r != PARSE_OK)
            return r;
        skip_blanks(&p, end);
        const char *before = p;
        struct str word = scan_word(&p, end);
        enum unit u = unit_by_name(word);
        /* "1 day 5": a bare number counts seconds, and only at the end ("5 ago" as well). */
        if (word.len == 0 || u == UNIT_AGO) {
            p = before;
            u = UNIT_NONE;
            if (word.len == 0 && p < end)
                return PARSE_SYNTAX;
        } else if (u == UNIT_NONE) {
            return PARSE_SYNTAX;
        }
        bits = 1u << (u == UNIT_NONE ? UNIT_SECOND : u);
        /* Fractional seconds stand for their smaller units as well. */
        if (bits == 1u << UNIT_SECOND && a.fraction != 0)
            bits |= 1u << UNIT_MILLISECOND | 1u << UNIT_MICROSECOND;
        add_amount(s, &a, u);
    }
    if (r == PARSE_OK && (*seen & bits) != 0)
        r = PARSE_SYNTAX;
    *seen |= bits;
    *at = p;
    return r;
}

static enum parse_result parse_verbose(const char *p, const char *end, struct sum *s)
{
    uint32_t seen = 0;
    bool ago = false;
    if (p < end && *p == '@')
        p++;
    for (skip_blanks(&p, end); p < end; skip_blanks(&p, end)) {
        if (text_is_alpha(*p)) {
            if (unit_by_name(scan_word(&p, end)) != UNIT_AGO || seen == 0)
                return PARSE_SYNTAX;
            skip_blanks(&p, end);
            ago = true;
            break;
        }
        enum parse_result r = parse_part(&p, end, s, &seen);
        if (r != PARSE_OK)
            return r;
    }
    if (seen == 0 || p < end)
        return PARSE_SYNTAX;
    if (ago)
        *s = (struct sum){-s->months, -s->days, -s->us};
    return PARSE_OK;
}

enum err interval_parse(struct str given, struct interval *out, struct err_detail *why)
{
    struct str t = text_trim(given);
    struct sum s = {0};
    const char *end = t.ptr + t.len;
    enum parse_result r = t.len > 0 && t.ptr[0] == 'P' ? parse_iso(t.ptr + 1, end, &s)
                                                       : parse_verbose(t.ptr, end, &s);
    if (r == PARSE_SYNTAX) {
        enum err e = err_set(why, ERR_INVALID_TEXT,
                             "invalid input syntax for type interval: \"%.*s\"",
                             TEXT_ERR_ARG(given));
        err_hint(why, "Write it as \"5 minutes\", \"1 day 02:03:04\" or \"PT5M\".");
        return e;
    }
    bool years_fit = s.months / INTERVAL_MONTHS_PER_YEAR ==
                     (int32_t)(s.months / INTERVAL_MONTHS_PER_YEAR);
    if (r == PARSE_OK && s.months != (int32_t)s.months && years_fit)
        return err_set(why, ERR_DATETIME_RANGE, "interval out of range");
    if (r == PARSE_RANGE || s.months != (int32_t)s.months || s.days != (int32_t)s.days ||
        s.us != (int64_t)s.us)
        return err_set(why, ERR_DATETIME_RANGE, "interval field value out of range: \"%.*s\"",
                       TEXT_ERR_ARG(given));
    *out = (struct interval){
        .us = (int64_t)s.us, .days = (int32_t)s.days, .months = (int32_t)s.months};
    return ERR_OK;
}

/* ---- printing ---- */

struct printer {
    char *p;
    bool any;        /* something was printed */
    bool minus;      /* the last field was negative: a positive one behind it gets a sign */
};

static void print_field(struct printer *o, int32_t v, const char *unit)
{
    if (v == 0)
        return;
    o->p += snprintf(o->p, 32, "%s%s%d %s%s", o->any ? " " : "", o->minus && v > 0 ? "+" : "", v,
                     unit, v != 1 ? "s" : "");
    o->minus = v < 0;
    o->any = true;
}

size_t interval_print(const struct interval *v, char out[INTERVAL_TEXT_MAX])
{
    struct printer o = {.p = out};
    print_field(&o, v->months / INTERVAL_MONTHS_PER_YEAR, "year");
    print_field(&o, v->months % INTERVAL_MONTHS_PER_YEAR, "mon");
    print_field(&o, v->days, "day");
    if (o.any && v->us == 0)
        return (size_t)(o.p - out);
    uint64_t us = v->us < 0 ? -(uint64_t)v->us : (uint64_t)v->us;
    uint64_t seconds = us / US_PER_SECOND;
    o.p += snprintf(o.p, 48, "%s%s%02llu:%02llu:%02llu", o.any ? " " : "",
                    v->us < 0 ? "-" : o.minus ? "+" : "", (unsigned long long)(seconds / 3600),
                    (unsigned long long)(seconds / 60 % 60), (unsigned long long)(seconds % 60));
    o.p += fraction_print((int32_t)(us % US_PER_SECOND), o.p);
    return (size_t)(o.p - out);
}

/* ---- order and arithmetic ---- */

static i128 interval_span(const struct interval *v)
{
    i128 days = (i128)v->months * INTERVAL_DAYS_PER_MONTH + v->days;
    return days * US_PER_DAY + v->us;
}

int interval_compare(const struct interval *a, const struct interval *b)
{
    i128 x = interval_span(a), y = interval_span(b);
    return (x > y) - (x < y);
}

uint64_t interval_hash(const struct interval *v)
{
    i128 x = interval_span(v);
    return hash_u64(hash_u64((uint64_t)x) ^ (uint64_t)(x >> 64));
}

static enum err out_of_range(struct err_detail *why)
{
    return err_set(why, ERR_DATETIME_RANGE, "interval out of range");
}

enum err interval_add(const struct interval *a, const struct interval *b, struct interval *out,
                      struct err_detail *why)
{
    struct interval r;
    if (__builtin_add_overflow(a->months, b->months, &r.months) ||
        __builtin_add_overflow(a->days, b->days, &r.days) ||
        __builtin_add_overflow(a->us, b->us, &r.us))
        return out_of_range(why);
    *out = r;
    return ERR_OK;
}

enum err interval_sub(const struct interval *a, const struct interval *b, struct interval *out,
                      struct err_detail *why)
{
    struct interval r;
    if (__builtin_sub_overflow(a->months, b->months, &r.months) ||
        __builtin_sub_overflow(a->days, b->days, &r.days) ||
        __builtin_sub_overflow(a->us, b->us, &r.us))
        return out_of_range(why);
    *out = r;
    return ERR_OK;
}

static bool fits_i32(double d) { return d >= -2147483648.0 && d < 2147483648.0; }
static bool fits_i64(double d) { return d >= -0x1p63 && d < 0x1p63; }

/* Rounds to microseconds, as PostgreSQL does between the steps. */
static double round_us(double d) { return rint(d * 1e6) / 1e6; }

/* From exact fractional months and days, and time. */
static enum err cascade(double months, double days, double us, struct interval *out,
                        struct err_detail *why)
{
    if (!fits_i32(months) || !fits_i32(days))
        return out_of_range(why);
    struct interval r = {.months = (int32_t)months, .days = (int32_t)days};
    double month_days = round_us((months - r.months) * INTERVAL_DAYS_PER_MONTH);
    double seconds = (days - r.days + month_days - (int)month_days) * 86400.0;
    seconds = round_us(seconds);
    if (fabs(seconds) >= 86400.0) {
        if (__builtin_add_overflow(r.days, (int32_t)(seconds / 86400.0), &r.days))
            return out_of_range(why);
        seconds -= (int)(seconds / 86400.0) * 86400.0;
    }
    if (__builtin_add_overflow(r.days, (int32_t)month_days, &r.days))
        return out_of_range(why);
    double time = rint(us + seconds * 1e6);
    if (!fits_i64(time))
        return out_of_range(why);
    r.us = (int64_t)time;
    *out = r;
    return ERR_OK;
}

enum err interval_mul(const struct interval *a, double f, struct interval *out,
                      struct err_detail *why)
{
    return cascade(a->months * f, a->days * f, (double)a->us * f, out, why);
}

enum err interval_div(const struct interval *a, double d, struct interval *out,
                      struct err_detail *why)
{
    if (d == 0)
        return err_set(why, ERR_DIVISION_BY_ZERO, "division by zero");
    return cascade(a->months / d, a->days / d, (double)a->us / d, out, why);
}

enum err interval_add_to_timestamp(int64_t us, const struct interval *v, bool subtract,
                                   int64_t *out, struct err_detail *why)
{
    if (!timestamp_is_finite(us)) {
        *out = us;
        return ERR_OK;
    }
    int64_t months = subtract ? -(int64_t)v->months : v->months;
    int64_t add_days = subtract ? -(int64_t)v->days : v->days;
    int64_t days = floor_div(us, US_PER_DAY);
    int64_t time = us - days * US_PER_DAY;
    if (months != 0) {
        struct civil c = civil_from_days(days);
        int64_t month = c.year * INTERVAL_MONTHS_PER_YEAR + c.month - 1 + months;
        int64_t year = floor_div(month, INTERVAL_MONTHS_PER_YEAR);
        int32_t in_year = (int32_t)(month - year * INTERVAL_MONTHS_PER_YEAR) + 1;
        int32_t last = civil_month_days(year, in_year);
        days = civil_to_days(year, in_year, c.day < last ? c.day : last);
    }
    i128 result = (i128)(days + add_days) * US_PER_DAY + time;
    result += subtract ? -(i128)v->us : (i128)v->us;
    if (result < TIMESTAMP_US_MIN || result > TIMESTAMP_US_MAX)
        return err_set(why, ERR_DATETIME_RANGE, "timestamp out of range");
    *out = (int64_t)result;
    return ERR_OK;
}
