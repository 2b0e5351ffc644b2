#include "wire/json_time.h"

#include "type/datetime.h"

/* Two digits, or a number over 99 when they are not digits. */
static inline unsigned two_digits(const char *p)
{
    unsigned tens = (unsigned)(unsigned char)p[0] - '0';
    unsigned ones = (unsigned)(unsigned char)p[1] - '0';
    return tens > 9 || ones > 9 ? 1000 : tens * 10 + ones;
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
    if (month < 1 || month > 12 || day < 1 || (int32_t)day > civil_month_days(year, (int32_t)month))
        return false;
    *days = civil_to_days(year, (int32_t)month, (int32_t)day);
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
        int64_t unit = US_PER_SECOND;
        for (i++; i < s.len && (unsigned char)(p[i] - '0') <= 9 && unit > 1; i++) {
            unit /= 10;
            fraction += unit * (p[i] - '0');
        }
        if (unit == US_PER_SECOND)
            return false;
    }
    if (!zone_seconds((struct str){p + i, s.len - i}, &zone))
        return false;
    int64_t of_day = (int64_t)(hours * 3600 + minutes * 60 + seconds);
    *us = (days * 86400 + of_day - zone) * US_PER_SECOND + fraction;
    return timestamp_in_range(*us);
}

bool json_time_has_offset(struct str s)
{
    for (size_t i = 19; i < s.len; i++)
        if (s.ptr[i] == '+' || s.ptr[i] == '-')
            return true;
    return false;
}

bool json_time_date(struct json_day_cache *cache, struct str s, int32_t *days)
{
    int64_t found;
    if (s.len != 10 || !date_at(cache, s.ptr, &found))
        return false;
    *days = (int32_t)found;
    return true;
}
