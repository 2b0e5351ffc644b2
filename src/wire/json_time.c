#include "wire/json_time.h"

static const int64_t SECOND_US = 1000000;

/* Two digits, or a number over 99 when they are not digits. */
static inline unsigned two_digits(const char *p)
{
    unsigned tens = (unsigned)(unsigned char)p[0] - '0';
    unsigned ones = (unsigned)(unsigned char)p[1] - '0';
    return tens > 9 || ones > 9 ? 1000 : tens * 10 + ones;
}

/* Days since 1970-01-01 of a valid date in the Gregorian calendar: years are counted from March, so
 * that the leap day comes last; an era has 400 years. */
static int64_t days_of(unsigned year, unsigned month, unsigned day)
{
    year -= month <= 2;
    unsigned era = year / 400;
    unsigned year_of_era = year % 400;
    unsigned month_from_march = (month + 9) % 12;
    unsigned day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (int64_t)era * 146097 + day_of_era - 719468;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (unsigned)(leap && month == 2);
}

/* The date in the 10 bytes at `p`. */
static inline bool date_at(struct json_day_cache *cache, const char *p, int64_t *days)
{
    if (cache->filled && memcmp(p, cache->text, sizeof cache->text) == 0) {
        *days = cache->days;
        return true;
    }
    unsigned century = two_digits(p);
    unsigned year = century * 100 + two_digits(p + 2);
    unsigned month = two_digits(p + 5);
    unsigned day = two_digits(p + 8);
    if (century > 99 || two_digits(p + 2) > 99 || p[4] != '-' || p[7] != '-' || year == 0)
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return false;
    *days = days_of(year, month, day);
    memcpy(cache->text, p, sizeof cache->text);
    cache->days = *days;
    cache->filled = true;
    return true;
}

/* The zone that is all of `s`: seconds to take away. */
static bool zone_seconds(struct str s, int64_t *out)
{
    *out = 0;
    if (s.len == 0 || (s.len == 1 && s.ptr[0] == 'Z'))
        return true;
    if ((s.ptr[0] != '+' && s.ptr[0] != '-') || (s.len != 3 && s.len != 5 && s.len != 6))
        return false;
    if (s.len == 6 && s.ptr[3] != ':')
        return false;
    unsigned hours = two_digits(s.ptr + 1);
    unsigned minutes = s.len == 3 ? 0 : two_digits(s.ptr + s.len - 2);
    if (hours > 15 || minutes > 59)
        return false;
    *out = (int64_t)(hours * 3600 + minutes * 60) * (s.ptr[0] == '-' ? -1 : 1);
    return true;
}

bool json_time_timestamp(struct json_day_cache *cache, struct str s, int64_t *us)
{
    int64_t days;
    int64_t zone;
    if (s.len < 19 || !date_at(cache, s.ptr, &days))
        return false;
    const char *p = s.ptr;
    unsigned hours = two_digits(p + 11);
    unsigned minutes = two_digits(p + 14);
    unsigned seconds = two_digits(p + 17);
    if ((p[10] != 'T' && p[10] != ' ') || p[13] != ':' || p[16] != ':')
        return false;
    if (hours > 23 || minutes > 59 || seconds > 59)
        return false;
    int64_t fraction = 0;
    size_t i = 19;
    if (i < s.len && p[i] == '.') {
        int64_t unit = SECOND_US;
        for (i++; i < s.len && (unsigned char)(p[i] - '0') <= 9 && unit > 1; i++) {
            unit /= 10;
            fraction += unit * (p[i] - '0');
        }
        if (unit == SECOND_US)
            return false;
    }
    if (!zone_seconds((struct str){p + i, s.len - i}, &zone))
        return false;
    int64_t of_day = (int64_t)(hours * 3600 + minutes * 60 + seconds);
    *us = (days * 86400 + of_day - zone) * SECOND_US + fraction;
    return true;
}

bool json_time_date(struct json_day_cache *cache, struct str s, int32_t *days)
{
    int64_t found;
    if (s.len != 10 || !date_at(cache, s.ptr, &found))
        return false;
    *days = (int32_t)found;
    return true;
}
