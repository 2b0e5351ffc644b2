/* Timestamps and dates. */
#include "type/datetime.h"

#include "base/check.h"
#include "type/float.h"
#include "type/text_util.h"

#include <math.h>

/* ---- calendar ---- */

/* The algorithms count years from March, so that the leap day is the last of its year (Howard
 * Hinnant's "chrono-compatible low-level date algorithms"). */
int64_t civil_to_days(int64_t year, int32_t month, int32_t day)
{
    year -= month <= 2;
    int64_t era = floor_div(year, 400);
    int64_t yoe = year - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

struct civil civil_from_days(int64_t days)
{
    days += 719468;
    int64_t era = floor_div(days, 146097);
    int64_t doe = days - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int32_t mp = (int32_t)((5 * doy + 2) / 153);
    struct civil c = {.year = yoe + era * 400,
                      .month = mp < 10 ? mp + 3 : mp - 9,
                      .day = (int32_t)(doy - (153 * mp + 2) / 5 + 1)};
    c.year += c.month <= 2;
    return c;
}

int32_t civil_month_days(int64_t year, int32_t month)
{
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

int32_t civil_weekday(int64_t days) { return (int32_t)(days + 4 - floor_div(days + 4, 7) * 7); }

int32_t civil_iso_week(int64_t days, int64_t *iso_year)
{
    /* The week belongs to the year of its Thursday. */
    int64_t monday = days - (civil_weekday(days) + 6) % 7;
    int64_t year = civil_from_days(monday + 3).year;
    *iso_year = year;
    return (int32_t)((monday + 3 - civil_to_days(year, 1, 1)) / 7) + 1;
}

/* ---- parsing ---- */

/* What has been read of a date and time. */
struct fields {
    struct clock_time time;
    int64_t year;
    int32_t month, day;
    int32_t zone_s;           /* seconds east of UTC */
    bool has_date, has_time, has_zone, has_meridian, pm, bc, short_year;
    int32_t numbers[3];       /* bare numbers around a month name */
    int32_t number_digits[3];
    int32_t n_numbers;
    bool time_only;           /* bare numbers are a time of day */
    int64_t special;          /* TIMESTAMP_(MINUS_)INFINITY, or 0 */
    bool epoch;
};

enum parse_result { PARSE_OK, PARSE_SYNTAX, PARSE_RANGE, PARSE_ZONE_RANGE };

/* Up to `max` digits at *p; returns how many. */
static int32_t scan_number(const char **p, const char *end, int32_t max, int64_t *out)
{
    int32_t n = 0;
    int64_t v = 0;
    while (*p < end && text_is_digit(**p) && n < max) {
        v = v * 10 + (**p - '0');
        (*p)++;
        n++;
    }
    *out = v;
    return n;
}

/* A fraction's digits behind its point, in microseconds, rounded as PostgreSQL's rint(fraction *
 * 1e6). */
static int32_t scan_fraction(const char **p, const char *end)
{
    uint64_t digits = 0;
    int32_t n = 0;
    for (; *p < end && text_is_digit(**p); (*p)++) {
        if (n >= 18)
            continue;
        digits = digits * 10 + (uint64_t)(**p - '0');
        n++;
    }
    if (n <= 6) {
        for (; n < 6; n++)
            digits *= 10;
        return (int32_t)digits;
    }
    return (int32_t)rint(float8_from_decimal(digits, -n) * 1e6);
}

bool clock_time_scan(const char **at, const char *end, struct clock_time *t)
{
    const char *p = *at;
    *t = (struct clock_time){0};
    if (scan_number(&p, end, 10, &t->hour) == 0 || p == end || *p != ':')
        return false;
    p++;
    if (scan_number(&p, end, 10, &t->minute) == 0)
        return false;
    t->fields = 2;
    if (p < end && *p == ':') {
        p++;
        if (scan_number(&p, end, 10, &t->second) == 0)
            return false;
        t->fields = 3;
    }
    if (p < end && *p == '.') {
        p++;
        t->us = scan_fraction(&p, end);
        t->fraction = true;
    }
    *at = p;
    return true;
}

static const char *const month_names[] = {"january",   "february", "march",    "april",
                                          "may",       "june",     "july",     "august",
                                          "september", "october",  "november", "december"};

int32_t month_by_name(struct str s)
{
    if (str_ieq(s, STR("sept")))
        return 9;
    for (int32_t i = 0; i < 12; i++) {
        struct str name = str_of(month_names[i]);
        if (str_ieq(s, name) || (s.len == 3 && str_ieq(s, (struct str){name.ptr, 3})))
            return i + 1;
    }
    return 0;
}

static bool is_weekday_name(struct str s)
{
    static const char *const names[] = {"sunday",   "monday", "tuesday", "wednesday",
                                        "thursday", "friday", "saturday"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct str name = str_of(names[i]);
        if (str_ieq(s, name) || (s.len == 3 && str_ieq(s, (struct str){name.ptr, 3})))
            return true;
    }
    return false;
}

/* +hh, +hhmm, +hh:mm, +hh:mm:ss at *p. */
static enum parse_result scan_zone(const char **at, const char *end, struct fields *f)
{
    const char *p = *at;
    bool west = *p++ == '-';
    int64_t hour, minute = 0, second = 0;
    int32_t n = scan_number(&p, end, 6, &hour);
    if (n == 0 || f->has_zone)
        return PARSE_SYNTAX;
    if (p < end && *p == ':') {
        p++;
        if (scan_number(&p, end, 2, &minute) == 0)
            return PARSE_SYNTAX;
        if (p < end && *p == ':') {
            p++;
            if (scan_number(&p, end, 2, &second) == 0)
                return PARSE_SYNTAX;
        }
    } else if (n > 2) {
        minute = hour % 100;
        hour /= 100;
    }
    if (hour > 15 || minute > 59 || second > 59)
        return PARSE_ZONE_RANGE;
    f->has_zone = true;
    f->zone_s = (int32_t)(hour * 3600 + minute * 60 + second) * (west ? -1 : 1);
    *at = p;
    return PARSE_OK;
}

/* Three numbers with a separator: y-m-d when the first has more than two digits, else m-d-y. The
 * middle may be a month's name. */
static enum parse_result scan_date(const char **at, const char *end, struct fields *f)
{
    const char *p = *at;
    int64_t part[3];
    int32_t digits[3], named = -1;
    char separator = 0;
    for (int i = 0; i < 3; i++) {
        const char *start = p;
        digits[i] = scan_number(&p, end, 9, &part[i]);
        if (digits[i] == 0) {
            while (p < end && text_is_alpha(*p))
                p++;
            part[i] = month_by_name((struct str){start, (size_t)(p - start)});
            if (part[i] == 0 || named >= 0)
                return PARSE_SYNTAX;
            named = i;
        }
        if (i == 2)
            break;
        if (p == end || (*p != '-' && *p != '/' && *p != '.') || (i == 1 && *p != separator))
            return PARSE_SYNTAX;
        separator = *p++;
    }
    if (f->has_date)
        return PARSE_SYNTAX;
    int y = digits[0] > 2 ? 0 : 2, m = named >= 0 ? named : y == 0 ? 1 : 0;
    int d = 3 - y - m;
    if (y == m || (named == 2))
        return PARSE_SYNTAX;
    f->has_date = true;
    f->year = part[y];
    f->short_year = digits[y] <= 2;
    f->month = part[m] > 99 ? 99 : (int32_t)part[m];
    f->day = part[d] > 99 ? 99 : (int32_t)part[d];
    if (p + 1 < end && *p == ':' && text_is_digit(p[1]))
        p++; /* "17/May/2015:10:05:03", as web servers write it */
    *at = p;
    return PARSE_OK;
}

/* A word: month, weekday, zone, AM/PM, BC/AD, T, infinity, epoch. */
static enum parse_result take_word(struct str w, bool minus, struct fields *f)
{
    int32_t month = month_by_name(w);
    if (str_ieq(w, STR("infinity")) || str_ieq(w, STR("inf"))) {
        f->special = minus ? TIMESTAMP_MINUS_INFINITY : TIMESTAMP_INFINITY;
    } else if (minus) {
        return PARSE_SYNTAX;
    } else if (str_ieq(w, STR("epoch"))) {
        f->epoch = true;
    } else if (month != 0) {
        if (f->month != 0)
            return PARSE_SYNTAX;
        f->month = month;
    } else if (str_ieq(w, STR("z")) || str_ieq(w, STR("utc")) || str_ieq(w, STR("gmt")) ||
               str_ieq(w, STR("zulu")) || str_ieq(w, STR("ut"))) {
        if (f->has_zone)
            return PARSE_SYNTAX;
        f->has_zone = true;
    } else if (str_ieq(w, STR("am")) || str_ieq(w, STR("pm"))) {
        f->has_meridian = true;
        f->pm = (w.ptr[0] | 0x20) == 'p';
    } else if (str_ieq(w, STR("bc"))) {
        f->bc = true;
    } else if (!str_ieq(w, STR("ad")) && !str_ieq(w, STR("t")) && !is_weekday_name(w)) {
        return PARSE_SYNTAX;
    }
    return PARSE_OK;
}

/* A run of digits without separators: YYYYMMDD, HHMM[SS[.fraction]] behind a date, or a day or
 * year beside a month's name. */
static enum parse_result take_number(const char **at, const char *end, struct fields *f)
{
    const char *p = *at;
    int64_t v;
    int32_t n = scan_number(&p, end, 9, &v);
    if (n == 8 && !f->has_date && f->month == 0 && !f->time_only) {
        f->has_date = true;
        f->year = v / 10000;
        f->month = (int32_t)(v / 100 % 100);
        f->day = (int32_t)(v % 100);
    } else if ((n == 6 || n == 4) && (f->has_date || f->time_only) && !f->has_time) {
        f->has_time = true;
        f->time = (struct clock_time){.hour = n == 6 ? v / 10000 : v / 100,
                                      .minute = n == 6 ? v / 100 % 100 : v % 100,
                                      .second = n == 6 ? v % 100 : 0,
                                      .fields = 3};
        if (p < end && *p == '.') {
            p++;
            f->time.us = scan_fraction(&p, end);
        }
    } else if (f->n_numbers < 2 && !f->has_date) {
        f->numbers[f->n_numbers] = (int32_t)v;
        f->number_digits[f->n_numbers++] = n;
    } else {
        return PARSE_SYNTAX;
    }
    *at = p;
    return PARSE_OK;
}

/* "Jan 5 2020", "5 January 2020": the numbers around a month's name. */
static enum parse_result settle_named_month(struct fields *f)
{
    if (f->has_date || f->n_numbers == 0)
        return f->n_numbers == 0 && (f->has_date || f->month == 0) ? PARSE_OK : PARSE_SYNTAX;
    if (f->month == 0 || f->n_numbers != 2)
        return PARSE_SYNTAX;
    int y = f->number_digits[0] > 2 ? 0 : 1;
    f->year = f->numbers[y];
    f->short_year = f->number_digits[y] <= 2;
    f->day = f->numbers[1 - y] > 99 ? 99 : f->numbers[1 - y];
    f->has_date = true;
    return PARSE_OK;
}

/* Looks ahead in a run that starts with a digit: a time has a colon first, a date one of its
 * separators. */
static char run_separator(const char *p, const char *end)
{
    while (p < end && text_is_digit(*p))
        p++;
    return p < end ? *p : '\0';
}

static enum parse_result scan_run(const char **p, const char *end, struct fields *f)
{
    if (!text_is_digit(**p)) {
        const char *start = *p;
        bool minus = *start == '-';
        if (*start == '-' || *start == '+') {
            if (start + 1 < end && text_is_digit(start[1]))
                return f->has_date || f->n_numbers == 2 || f->time_only ? scan_zone(p, end, f)
                                                                        : PARSE_SYNTAX;
            (*p)++;
            start++;
        }
        while (*p < end && text_is_alpha(**p))
            (*p)++;
        if (*p == start)
            return PARSE_SYNTAX;
        return take_word((struct str){start, (size_t)(*p - start)}, minus, f);
    }
    char separator = run_separator(*p, end);
    if (separator == ':') {
        if (f->has_time || !clock_time_scan(p, end, &f->time))
            return PARSE_SYNTAX;
        f->has_time = true;
        return PARSE_OK;
    }
    if ((separator == '-' || separator == '/' || separator == '.') && !f->has_date &&
        f->n_numbers == 0 && f->month == 0)
        return scan_date(p, end, f);
    return take_number(p, end, f);
}

static enum parse_result scan_fields(struct str s, bool time_only, struct fields *f)
{
    const char *p = s.ptr, *end = s.ptr + s.len;
    *f = (struct fields){.time_only = time_only};
    if (s.len == 0)
        return PARSE_SYNTAX;
    while (p < end) {
        if (text_is_space(*p) || *p == ',') {
            p++;
            continue;
        }
        enum parse_result r = scan_run(&p, end, f);
        if (r != PARSE_OK)
            return r;
    }
    return settle_named_month(f);
}

/* Checks ranges of the time of day; in microseconds, as of no zone. */
static enum parse_result settle_time(struct fields *f, int64_t *us)
{
    struct clock_time *t = &f->time;
    if (f->has_meridian) {
        if (t->hour > 12)
            return PARSE_RANGE;
        t->hour = t->hour % 12 + (f->pm ? 12 : 0);
    }
    if (t->hour > 24 || t->minute > 59 || t->second > 60 ||
        (t->hour == 24 && (t->minute != 0 || t->second != 0 || t->us != 0)) ||
        (t->second == 60 && t->us != 0))
        return PARSE_RANGE;
    *us = t->hour * US_PER_HOUR + t->minute * US_PER_MINUTE + t->second * US_PER_SECOND + t->us;
    return PARSE_OK;
}

/* Checks ranges; days and time of day in microseconds. */
static enum parse_result settle_fields(struct fields *f, int64_t *days, int64_t *us)
{
    if (!f->has_date)
        return PARSE_SYNTAX;
    if (f->bc)
        return PARSE_RANGE;
    if (f->short_year)
        f->year += f->year < 70 ? 2000 : 1900;
    if (f->year < 1 || f->month < 1 || f->month > 12 || f->day < 1 ||
        f->day > civil_month_days(f->year, f->month))
        return PARSE_RANGE;
    *days = civil_to_days(f->year, f->month, f->day);
    return settle_time(f, us);
}

static enum err parse_error(enum parse_result r, const char *type_name, struct str s,
                            struct err_detail *why)
{
    if (r == PARSE_RANGE)
        return err_set(why, ERR_DATETIME_RANGE, "date/time field value out of range: \"%.*s\"",
                       TEXT_ERR_ARG(s));
    if (r == PARSE_ZONE_RANGE)
        return err_set(why, ERR_DATETIME_RANGE, "time zone displacement out of range: \"%.*s\"",
                       TEXT_ERR_ARG(s));
    enum err e = err_set(why, ERR_INVALID_TEXT, "invalid input syntax for type %s: \"%.*s\"",
                         type_name, TEXT_ERR_ARG(s));
    err_hint(why, "Write it as \"2024-03-05 17:04:05.25+01\" or \"2024-03-05T16:04:05.25Z\".");
    return e;
}

static bool two_digits(const char *p, int32_t *out)
{
    unsigned a = (unsigned)(unsigned char)p[0] - (unsigned)'0';
    unsigned b = (unsigned)(unsigned char)p[1] - (unsigned)'0';
    *out = (int32_t)(a * 10 + b);
    return a <= 9 && b <= 9;
}

/* The form that data comes in: YYYY-MM-DD[T ]HH:MM:SS[.f{1,6}][Z|+00]. False: take the long way. */
static bool timestamptz_parse_fast(struct str s, int64_t *out)
{
    const char *p = s.ptr;
    int32_t century, year, month, day, hour, minute, second;
    if (s.len < 19 || p[4] != '-' || p[7] != '-' || (p[10] != ' ' && p[10] != 'T') ||
        p[13] != ':' || p[16] != ':')
        return false;
    if (!two_digits(p, &century) || !two_digits(p + 2, &year) || !two_digits(p + 5, &month) ||
        !two_digits(p + 8, &day) || !two_digits(p + 11, &hour) || !two_digits(p + 14, &minute) ||
        !two_digits(p + 17, &second))
        return false;
    year += century * 100;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > 28 || hour > 23 || minute > 59 ||
        second > 59) {
        if (year < 1 || month < 1 || month > 12 || day < 1 ||
            day > civil_month_days(year, month) || hour > 23 || minute > 59 || second > 59)
            return false;
    }
    int32_t us = 0;
    size_t at = 19;
    if (at < s.len && p[at] == '.') {
        int32_t unit = 100000;
        for (at++; at < s.len && text_is_digit(p[at]); at++, unit /= 10) {
            if (unit == 0)
                return false;
            us += unit * (p[at] - '0');
        }
    }
    if (at < s.len && !(at + 1 == s.len && p[at] == 'Z') &&
        !(at + 3 == s.len && memcmp(p + at, "+00", 3) == 0))
        return false;
    *out = civil_to_days(year, month, day) * US_PER_DAY + hour * US_PER_HOUR +
           minute * US_PER_MINUTE + second * US_PER_SECOND + us;
    return true;
}

/* Of either type; `zone`: the time is of the zone that is given. */
static enum err any_timestamp_parse(struct str given, bool zone, int64_t *out,
                                    struct err_detail *why)
{
    if (timestamptz_parse_fast(given, out))
        return ERR_OK;
    const char *type = zone ? "timestamp with time zone" : "timestamp";
    struct str s = text_trim(given);
    struct fields f;
    int64_t days, us;
    enum parse_result r = scan_fields(s, false, &f);
    if (r == PARSE_OK && (f.special != 0 || f.epoch)) {
        if (f.has_date || f.has_time || f.has_zone)
            return parse_error(PARSE_SYNTAX, type, given, why);
        *out = f.special;
        return ERR_OK;
    }
    r = r == PARSE_OK ? settle_fields(&f, &days, &us) : r;
    if (r != PARSE_OK)
        return parse_error(r, type, given, why);
    int64_t v;
    us -= zone ? f.zone_s * US_PER_SECOND : 0;
    if (__builtin_mul_overflow(days, US_PER_DAY, &v) || __builtin_add_overflow(v, us, &v) ||
        !timestamp_in_range(v))
        return err_set(why, ERR_DATETIME_RANGE, "timestamp out of range: \"%.*s\"",
                       TEXT_ERR_ARG(given));
    *out = v;
    return ERR_OK;
}

enum err timestamptz_parse(struct str s, int64_t *us, struct err_detail *why)
{
    return any_timestamp_parse(s, true, us, why);
}

enum err timestamp_parse(struct str s, int64_t *us, struct err_detail *why)
{
    return any_timestamp_parse(s, false, us, why);
}

enum err time_parse(struct str given, int64_t *out, struct err_detail *why)
{
    struct fields f;
    enum parse_result r = scan_fields(text_trim(given), true, &f);
    if (str_ieq(text_trim(given), STR("allballs"))) {
        *out = 0;
        return ERR_OK;
    }
    if (r == PARSE_OK && (!f.has_time || f.special != 0 || f.epoch || f.bc))
        r = PARSE_SYNTAX;
    if (r == PARSE_OK && f.has_date) {
        int64_t days;
        r = settle_fields(&f, &days, out);
    } else if (r == PARSE_OK) {
        r = settle_time(&f, out);
    }
    return r == PARSE_OK ? ERR_OK : parse_error(r, "time", given, why);
}

enum err date_parse(struct str given, int32_t *out, struct err_detail *why)
{
    struct str s = text_trim(given);
    struct fields f;
    int64_t days, us;
    enum parse_result r = scan_fields(s, false, &f);
    if (r == PARSE_OK && (f.special != 0 || f.epoch)) {
        if (f.has_date || f.has_time || f.has_zone)
            return parse_error(PARSE_SYNTAX, "date", given, why);
        *out = f.epoch ? 0 : f.special > 0 ? DATE_INFINITY : DATE_MINUS_INFINITY;
        return ERR_OK;
    }
    r = r == PARSE_OK ? settle_fields(&f, &days, &us) : r;
    if (r != PARSE_OK)
        return parse_error(r, "date", given, why);
    if (days < DATE_DAYS_MIN || days > DATE_DAYS_MAX)
        return err_set(why, ERR_DATETIME_RANGE, "date out of range: \"%.*s\"",
                       TEXT_ERR_ARG(given));
    *out = (int32_t)days;
    return ERR_OK;
}

/* ---- printing ---- */

static char *put_two(char *p, int64_t v)
{
    p[0] = (char)('0' + v / 10);
    p[1] = (char)('0' + v % 10);
    return p + 2;
}

/* At least four digits. */
static char *put_year(char *p, int64_t year)
{
    char reversed[20];
    int n = 0;
    for (; year != 0 || n < 4; year /= 10)
        reversed[n++] = (char)('0' + year % 10);
    while (n > 0)
        *p++ = reversed[--n];
    return p;
}

static char *put_date(char *p, int64_t days)
{
    struct civil c = civil_from_days(days);
    bool bc = c.year <= 0;
    p = put_year(p, bc ? 1 - c.year : c.year);
    *p++ = '-';
    p = put_two(p, c.month);
    *p++ = '-';
    return put_two(p, c.day);
}

size_t fraction_print(int32_t us, char *p)
{
    if (us == 0)
        return 0;
    size_t n = 7;
    p[0] = '.';
    for (int i = 6; i >= 1; i--, us /= 10)
        p[i] = (char)('0' + us % 10);
    while (p[n - 1] == '0')
        n--;
    return n;
}

static size_t print_infinity(bool minus, char *out)
{
    memcpy(out, minus ? "-infinity" : "infinity", minus ? 9 : 8);
    return minus ? 9 : 8;
}

static char *put_time(char *p, int64_t us)
{
    p = put_two(p, us / US_PER_HOUR);
    *p++ = ':';
    p = put_two(p, us / US_PER_MINUTE % 60);
    *p++ = ':';
    p = put_two(p, us / US_PER_SECOND % 60);
    return p + fraction_print((int32_t)(us % US_PER_SECOND), p);
}

static char *put_timestamp(char *p, int64_t us, char between)
{
    int64_t days = floor_div(us, US_PER_DAY);
    p = put_date(p, days);
    *p++ = between;
    return put_time(p, us - days * US_PER_DAY);
}

size_t timestamptz_print(int64_t us, char out[DATETIME_TEXT_MAX])
{
    if (!timestamp_is_finite(us))
        return print_infinity(us < 0, out);
    char *p = put_timestamp(out, us, ' ');
    memcpy(p, "+00", 3);
    return (size_t)(p + 3 - out);
}

size_t timestamp_print(int64_t us, char out[DATETIME_TEXT_MAX])
{
    if (!timestamp_is_finite(us))
        return print_infinity(us < 0, out);
    return (size_t)(put_timestamp(out, us, ' ') - out);
}

size_t time_print(int64_t us, char out[DATETIME_TEXT_MAX])
{
    return (size_t)(put_time(out, us) - out);
}

size_t timestamp_print_iso(int64_t us, char out[DATETIME_TEXT_MAX])
{
    if (!timestamp_is_finite(us))
        return print_infinity(us < 0, out);
    return (size_t)(put_timestamp(out, us, 'T') - out);
}

size_t timestamptz_print_iso(int64_t us, char out[DATETIME_TEXT_MAX])
{
    if (!timestamp_is_finite(us))
        return print_infinity(us < 0, out);
    char *p = put_timestamp(out, us, 'T');
    *p++ = 'Z';
    return (size_t)(p - out);
}

size_t date_print(int32_t days, char out[DATETIME_TEXT_MAX])
{
    if (days == DATE_INFINITY || days == DATE_MINUS_INFINITY)
        return print_infinity(days < 0, out);
    return (size_t)(put_date(out, days) - out);
}
