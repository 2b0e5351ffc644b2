/* What clients ask a server about itself, and to_char. */
#include "type/datetime.h"
#include "type/function_int.h"

#include <stdio.h>

enum { FORMATTED_MAX = 64 << 10, ITEM_MAX = 48 };

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

#define CONSTANT_TEXT(name, text)                                                               \
    KERNEL(name)                                                                                \
    {                                                                                           \
        (void)args;                                                                             \
        (void)constant;                                                                         \
        KERNEL_ROWS(k, row)                                                                     \
            column_str(out)[row] = STR(text);                                                   \
    }

CONSTANT_TEXT(tell_version, "PostgreSQL 15.0 (Tidemill)")
CONSTANT_TEXT(tell_database, "tidemill")
CONSTANT_TEXT(tell_schema, "public")

KERNEL(tell_type)
{
    (void)constant;
    KERNEL_ROWS(k, row)
        column_str(out)[row] = str_of(type_info(args[0]->type)->name);
}

/* ---- to_char(timestamptz, text) ---- */

/* The parts of a time that patterns print. */
struct parts {
    struct civil date;
    int64_t days, iso_year;
    int32_t hour, minute, second, us, iso_week, weekday, year_day;
    bool zone;    /* has one, UTC */
};

struct format {
    char *p, *end;
    bool full;    /* room ran out */
};

static void put(struct format *o, const char *bytes, size_t n)
{
    if ((size_t)(o->end - o->p) < n) {
        o->full = true;
        return;
    }
    memcpy(o->p, bytes, n);
    o->p += n;
}

static const char *const months[] = {"January",   "February", "March",    "April",
                                     "May",       "June",     "July",     "August",
                                     "September", "October",  "November", "December"};
static const char *const weekdays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};

static const char *const roman[] = {"I",   "II",   "III", "IV", "V",  "VI",
                                    "VII", "VIII", "IX",  "X",  "XI", "XII"};

enum letter_case { CASE_TITLE, CASE_UPPER, CASE_LOWER };

/* A name, cut to `max` characters, padded with blanks to `width`. */
static void put_name(struct format *o, const char *name, size_t max, enum letter_case letters,
                     size_t width)
{
    char text[ITEM_MAX];
    size_t n = strlen(name) < max ? strlen(name) : max;
    memcpy(text, name, n);
    for (size_t i = 0; i < n; i++) {
        if (letters == CASE_UPPER && text[i] >= 'a')
            text[i] = (char)(text[i] - 32);
        else if (letters == CASE_LOWER && text[i] <= 'Z')
            text[i] = (char)(text[i] + 32);
    }
    while (n < width)
        text[n++] = ' ';
    put(o, text, n);
}

enum pattern {
    P_YEAR, P_YEAR_COMMA, P_YEAR3, P_YEAR2, P_YEAR1, P_ISO_YEAR, P_ISO_YEAR3, P_ISO_YEAR2,
    P_ISO_YEAR1, P_MONTH_NUMBER, P_MONTH_NAME, P_MONTH_SHORT, P_ROMAN_MONTH, P_DAY, P_DAY_OF_YEAR,
    P_ISO_DAY_OF_YEAR, P_WEEKDAY_NUMBER, P_ISO_WEEKDAY, P_WEEKDAY_NAME, P_WEEKDAY_SHORT, P_HOUR12,
    P_HOUR24, P_MINUTE, P_SECOND, P_SECONDS_OF_DAY, P_MS, P_US, P_FF1, P_FF2, P_FF3, P_FF4, P_FF5,
    P_FF6, P_MERIDIAN, P_MERIDIAN_DOTS, P_ERA, P_ERA_DOTS, P_ZONE, P_OFFSET, P_ZONE_HOUR,
    P_ZONE_MINUTE, P_QUARTER, P_WEEK_OF_MONTH, P_WEEK_OF_YEAR, P_ISO_WEEK, P_CENTURY, P_JULIAN,
};

/* Longer patterns come before those they start with. */
static const struct {
    const char *text;
    enum pattern pattern;
    enum letter_case letters;
} patterns[] = {
    {"YYYY", P_YEAR, CASE_TITLE}, {"yyyy", P_YEAR, CASE_TITLE},
    {"Y,YYY", P_YEAR_COMMA, CASE_TITLE}, {"y,yyy", P_YEAR_COMMA, CASE_TITLE},
    {"IYYY", P_ISO_YEAR, CASE_TITLE}, {"iyyy", P_ISO_YEAR, CASE_TITLE},
    {"IYY", P_ISO_YEAR3, CASE_TITLE}, {"iyy", P_ISO_YEAR3, CASE_TITLE},
    {"IY", P_ISO_YEAR2, CASE_TITLE}, {"iy", P_ISO_YEAR2, CASE_TITLE},
    {"YYY", P_YEAR3, CASE_TITLE}, {"yyy", P_YEAR3, CASE_TITLE}, {"YY", P_YEAR2, CASE_TITLE},
    {"yy", P_YEAR2, CASE_TITLE}, {"FF1", P_FF1, CASE_TITLE}, {"ff1", P_FF1, CASE_TITLE},
    {"FF2", P_FF2, CASE_TITLE}, {"ff2", P_FF2, CASE_TITLE}, {"FF3", P_FF3, CASE_TITLE},
    {"ff3", P_FF3, CASE_TITLE}, {"FF4", P_FF4, CASE_TITLE}, {"ff4", P_FF4, CASE_TITLE},
    {"FF5", P_FF5, CASE_TITLE}, {"ff5", P_FF5, CASE_TITLE}, {"FF6", P_FF6, CASE_TITLE},
    {"ff6", P_FF6, CASE_TITLE}, {"TZH", P_ZONE_HOUR, CASE_TITLE},
    {"tzh", P_ZONE_HOUR, CASE_TITLE}, {"TZM", P_ZONE_MINUTE, CASE_TITLE},
    {"tzm", P_ZONE_MINUTE, CASE_TITLE}, {"IDDD", P_ISO_DAY_OF_YEAR, CASE_TITLE},
    {"iddd", P_ISO_DAY_OF_YEAR, CASE_TITLE}, {"BC", P_ERA, CASE_UPPER}, {"bc", P_ERA, CASE_LOWER},
    {"AD", P_ERA, CASE_UPPER}, {"ad", P_ERA, CASE_LOWER}, {"B.C.", P_ERA_DOTS, CASE_UPPER},
    {"b.c.", P_ERA_DOTS, CASE_LOWER}, {"A.D.", P_ERA_DOTS, CASE_UPPER},
    {"a.d.", P_ERA_DOTS, CASE_LOWER}, {"RM", P_ROMAN_MONTH, CASE_UPPER},
    {"rm", P_ROMAN_MONTH, CASE_LOWER}, {"AM", P_MERIDIAN, CASE_UPPER},
    {"am", P_MERIDIAN, CASE_LOWER}, {"PM", P_MERIDIAN, CASE_UPPER},
    {"pm", P_MERIDIAN, CASE_LOWER}, {"A.M.", P_MERIDIAN_DOTS, CASE_UPPER},
    {"a.m.", P_MERIDIAN_DOTS, CASE_LOWER}, {"P.M.", P_MERIDIAN_DOTS, CASE_UPPER},
    {"p.m.", P_MERIDIAN_DOTS, CASE_LOWER}, {"TZ", P_ZONE, CASE_UPPER}, {"tz", P_ZONE, CASE_LOWER},
    {"MONTH", P_MONTH_NAME, CASE_UPPER}, {"Month", P_MONTH_NAME, CASE_TITLE},
    {"month", P_MONTH_NAME, CASE_LOWER}, {"MON", P_MONTH_SHORT, CASE_UPPER},
    {"Mon", P_MONTH_SHORT, CASE_TITLE}, {"mon", P_MONTH_SHORT, CASE_LOWER},
    {"DAY", P_WEEKDAY_NAME, CASE_UPPER}, {"Day", P_WEEKDAY_NAME, CASE_TITLE},
    {"day", P_WEEKDAY_NAME, CASE_LOWER}, {"DY", P_WEEKDAY_SHORT, CASE_UPPER},
    {"Dy", P_WEEKDAY_SHORT, CASE_TITLE}, {"dy", P_WEEKDAY_SHORT, CASE_LOWER},
    {"MM", P_MONTH_NUMBER, CASE_TITLE}, {"mm", P_MONTH_NUMBER, CASE_TITLE},
    {"MI", P_MINUTE, CASE_TITLE}, {"mi", P_MINUTE, CASE_TITLE}, {"MS", P_MS, CASE_TITLE},
    {"ms", P_MS, CASE_TITLE}, {"DDD", P_DAY_OF_YEAR, CASE_TITLE},
    {"ddd", P_DAY_OF_YEAR, CASE_TITLE}, {"DD", P_DAY, CASE_TITLE}, {"dd", P_DAY, CASE_TITLE},
    {"D", P_WEEKDAY_NUMBER, CASE_TITLE}, {"d", P_WEEKDAY_NUMBER, CASE_TITLE},
    {"ID", P_ISO_WEEKDAY, CASE_TITLE}, {"id", P_ISO_WEEKDAY, CASE_TITLE},
    {"HH24", P_HOUR24, CASE_TITLE}, {"hh24", P_HOUR24, CASE_TITLE},
    {"HH12", P_HOUR12, CASE_TITLE}, {"hh12", P_HOUR12, CASE_TITLE}, {"HH", P_HOUR12, CASE_TITLE},
    {"hh", P_HOUR12, CASE_TITLE}, {"SSSSS", P_SECONDS_OF_DAY, CASE_TITLE},
    {"sssss", P_SECONDS_OF_DAY, CASE_TITLE}, {"SSSS", P_SECONDS_OF_DAY, CASE_TITLE},
    {"ssss", P_SECONDS_OF_DAY, CASE_TITLE}, {"SS", P_SECOND, CASE_TITLE},
    {"ss", P_SECOND, CASE_TITLE}, {"US", P_US, CASE_TITLE}, {"us", P_US, CASE_TITLE},
    {"OF", P_OFFSET, CASE_TITLE}, {"Q", P_QUARTER, CASE_TITLE}, {"q", P_QUARTER, CASE_TITLE},
    {"WW", P_WEEK_OF_YEAR, CASE_TITLE}, {"ww", P_WEEK_OF_YEAR, CASE_TITLE},
    {"W", P_WEEK_OF_MONTH, CASE_TITLE}, {"w", P_WEEK_OF_MONTH, CASE_TITLE},
    {"IW", P_ISO_WEEK, CASE_TITLE}, {"iw", P_ISO_WEEK, CASE_TITLE}, {"CC", P_CENTURY, CASE_TITLE},
    {"cc", P_CENTURY, CASE_TITLE}, {"J", P_JULIAN, CASE_TITLE}, {"j", P_JULIAN, CASE_TITLE},
    {"Y", P_YEAR1, CASE_TITLE}, {"y", P_YEAR1, CASE_TITLE}, {"I", P_ISO_YEAR1, CASE_TITLE},
    {"i", P_ISO_YEAR1, CASE_TITLE},
};

static void put_number(struct format *o, int64_t v, int width, bool fill, bool ordinal)
{
    char text[ITEM_MAX];
    int n = snprintf(text, sizeof text, "%0*lld", fill ? width : 0, (long long)v);
    put(o, text, (size_t)n);
    if (!ordinal)
        return;
    int64_t tens = v % 100, ones = v % 10;
    bool teen = tens >= 11 && tens <= 13;
    put(o, teen || ones > 3 || ones == 0 ? "th" : ones == 1 ? "st" : ones == 2 ? "nd" : "rd", 2);
}

/* The number that a numeric pattern stands for, with its width; false for names. */
static bool number_of(enum pattern p, const struct parts *t, int64_t *v, int *width)
{
    static const int widths[] = {
        [P_YEAR] = 4, [P_YEAR3] = 3, [P_YEAR2] = 2, [P_ISO_YEAR] = 4, [P_MONTH_NUMBER] = 2,
        [P_DAY] = 2, [P_DAY_OF_YEAR] = 3, [P_HOUR12] = 2, [P_HOUR24] = 2, [P_MINUTE] = 2,
        [P_SECOND] = 2, [P_MS] = 3, [P_US] = 6, [P_WEEK_OF_YEAR] = 2, [P_ISO_WEEK] = 2,
        [P_CENTURY] = 2, [P_ISO_YEAR3] = 3, [P_ISO_YEAR2] = 2, [P_FF1] = 1, [P_FF2] = 2,
        [P_FF3] = 3, [P_FF4] = 4, [P_FF5] = 5, [P_FF6] = 6, [P_ZONE_MINUTE] = 2,
        [P_ISO_DAY_OF_YEAR] = 3};
    const int64_t values[] = {
        [P_YEAR] = t->date.year, [P_YEAR3] = t->date.year % 1000, [P_YEAR2] = t->date.year % 100,
        [P_YEAR1] = t->date.year % 10, [P_ISO_YEAR] = t->iso_year, [P_MONTH_NUMBER] = t->date.month,
        [P_DAY] = t->date.day, [P_DAY_OF_YEAR] = t->year_day, [P_WEEKDAY_NUMBER] = t->weekday + 1,
        [P_ISO_WEEKDAY] = (t->weekday + 6) % 7 + 1, [P_HOUR12] = (t->hour + 11) % 12 + 1,
        [P_HOUR24] = t->hour, [P_MINUTE] = t->minute, [P_SECOND] = t->second, [P_MS] = t->us / 1000,
        [P_US] = t->us, [P_QUARTER] = (t->date.month - 1) / 3 + 1,
        [P_WEEK_OF_MONTH] = (t->date.day - 1) / 7 + 1, [P_WEEK_OF_YEAR] = (t->year_day - 1) / 7 + 1,
        [P_ISO_WEEK] = t->iso_week, [P_CENTURY] = (t->date.year + 99) / 100,
        [P_JULIAN] = t->days + 2440588,
        [P_SECONDS_OF_DAY] = t->hour * 3600 + t->minute * 60 + t->second,
        [P_ISO_YEAR3] = t->iso_year % 1000, [P_ISO_YEAR2] = t->iso_year % 100,
        [P_ISO_YEAR1] = t->iso_year % 10, [P_FF1] = t->us / 100000, [P_FF2] = t->us / 10000,
        [P_FF3] = t->us / 1000, [P_FF4] = t->us / 100, [P_FF5] = t->us / 10, [P_FF6] = t->us,
        [P_ZONE_MINUTE] = 0,
        [P_ISO_DAY_OF_YEAR] = (t->iso_week - 1) * 7 + (t->weekday + 6) % 7 + 1};
    switch ((int)p) {
    case P_YEAR_COMMA:
    case P_MONTH_NAME:
    case P_MONTH_SHORT:
    case P_WEEKDAY_NAME:
    case P_WEEKDAY_SHORT:
    case P_MERIDIAN:
    case P_MERIDIAN_DOTS:
    case P_ZONE:
    case P_OFFSET:
    case P_ZONE_HOUR:
    case P_ERA:
    case P_ERA_DOTS:
    case P_ROMAN_MONTH:
        return false;
    default:
        *v = values[p];
        *width = (size_t)p < ARRAY_LEN(widths) ? widths[p] : 0;
        return true;
    }
}

static void put_pattern(struct format *o, size_t index, const struct parts *t, bool fill,
                        bool ordinal)
{
    enum pattern p = patterns[index].pattern;
    enum letter_case letters = patterns[index].letters;
    int64_t v;
    int width;
    if (number_of(p, t, &v, &width)) {
        put_number(o, v, width, fill, ordinal);
        return;
    }
    switch ((int)p) {
    case P_YEAR_COMMA:
        put_number(o, t->date.year / 1000, 0, false, false);
        put(o, ",", 1);
        put_number(o, t->date.year % 1000, 3, true, ordinal);
        break;
    case P_MONTH_NAME:
        put_name(o, months[t->date.month - 1], ITEM_MAX, letters, fill ? 9 : 0);
        break;
    case P_MONTH_SHORT:
        put_name(o, months[t->date.month - 1], 3, letters, 0);
        break;
    case P_WEEKDAY_NAME:
        put_name(o, weekdays[t->weekday], ITEM_MAX, letters, fill ? 9 : 0);
        break;
    case P_WEEKDAY_SHORT:
        put_name(o, weekdays[t->weekday], 3, letters, 0);
        break;
    case P_MERIDIAN:
        put_name(o, t->hour >= 12 ? "PM" : "AM", 2, letters, 0);
        break;
    case P_MERIDIAN_DOTS:
        put(o, letters == CASE_UPPER ? (t->hour >= 12 ? "P.M." : "A.M.")
                                     : (t->hour >= 12 ? "p.m." : "a.m."), 4);
        break;
    case P_ERA:
        put_name(o, "AD", 2, letters, 0);
        break;
    case P_ERA_DOTS:
        put(o, letters == CASE_UPPER ? "A.D." : "a.d.", 4);
        break;
    case P_ROMAN_MONTH:
        put_name(o, roman[t->date.month - 1], ITEM_MAX, letters, fill ? 4 : 0);
        break;
    case P_ZONE:
        put_name(o, "UTC", t->zone ? 3 : 0, letters, 0);
        break;
    default:
        put(o, "+00", 3);
        break;
    }
}

static bool starts_with(struct str s, const char *with)
{
    return str_starts(s, str_of(with));
}

static void format_time(struct format *o, struct str f, const struct parts *t)
{
    while (f.len > 0 && !o->full) {
        size_t i = 0, skip = 0;
        bool fill = true;
        if (starts_with(f, "FM") || starts_with(f, "fm")) {
            fill = false;
            skip = 2;
        } else if (starts_with(f, "TM") || starts_with(f, "FX")) {
            skip = 2;
        }
        struct str at = {f.ptr + skip, f.len - skip};
        while (i < ARRAY_LEN(patterns) && !starts_with(at, patterns[i].text))
            i++;
        if (i < ARRAY_LEN(patterns)) {
            size_t n = strlen(patterns[i].text);
            at = (struct str){at.ptr + n, at.len - n};
            bool ordinal = starts_with(at, "th") || starts_with(at, "TH");
            char *before = o->p;
            put_pattern(o, i, t, fill, ordinal);
            if (ordinal && at.ptr[0] == 'T' && o->p - before >= 2) {
                o->p[-1] = (char)(o->p[-1] & ~0x20);
                o->p[-2] = (char)(o->p[-2] & ~0x20);
            }
            f = ordinal ? (struct str){at.ptr + 2, at.len - 2} : at;
        } else if (skip > 0) {
            f = at;
        } else if (f.ptr[0] == '"') {
            for (f = (struct str){f.ptr + 1, f.len - 1}; f.len > 0 && f.ptr[0] != '"';) {
                size_t escape = f.ptr[0] == '\\' && f.len > 1;
                put(o, f.ptr + escape, 1);
                f = (struct str){f.ptr + 1 + escape, f.len - 1 - escape};
            }
            f = f.len > 0 ? (struct str){f.ptr + 1, f.len - 1} : f;
        } else {
            put(o, f.ptr, 1);
            f = (struct str){f.ptr + 1, f.len - 1};
        }
    }
}

static struct parts parts_of(int64_t us)
{
    struct parts t = {0};
    t.days = floor_div(us, US_PER_DAY);
    int64_t time = us - t.days * US_PER_DAY;
    t.date = civil_from_days(t.days);
    t.iso_week = civil_iso_week(t.days, &t.iso_year);
    t.weekday = civil_weekday(t.days);
    t.year_day = (int32_t)(t.days - civil_to_days(t.date.year, 1, 1)) + 1;
    t.hour = (int32_t)(time / US_PER_HOUR);
    t.minute = (int32_t)(time / US_PER_MINUTE % 60);
    t.second = (int32_t)(time / US_PER_SECOND % 60);
    t.us = (int32_t)(time % US_PER_SECOND);
    return t;
}

KERNEL(timestamptz_to_char)
{
    KERNEL_ROWS(k, row)
    {
        int64_t us = ARG_I8(0, row);
        struct str f = ARG_STR(1, row);
        if (!timestamp_is_finite(us) || f.len == 0) {
            kernel_null_row(k, out, row);
            continue;
        }
        struct parts t = parts_of(us);
        t.zone = args[0]->type == TYPE_TIMESTAMPTZ;
        /* No pattern prints more than 12 bytes for each of its own. */
        size_t room = f.len * 12 + ITEM_MAX;
        if (room > FORMATTED_MAX) {
            kernel_fail(k, row, ERR_LIMIT, "format is longer than %d bytes",
                        (FORMATTED_MAX - ITEM_MAX) / 12);
            continue;
        }
        char *text = kernel_alloc(k, room);
        if (text == NULL)
            return;
        struct format o = {.p = text, .end = text + room};
        format_time(&o, f, &t);
        column_str(out)[row] = (struct str){text, (size_t)(o.p - text)};
    }
}

static const struct function rows[] = {
    FUNCTION0("version", TEXT, tell_version),
    FUNCTION0("current_database", TEXT, tell_database),
    FUNCTION0("current_catalog", TEXT, tell_database),
    FUNCTION0("current_schema", TEXT, tell_schema),
    FUNCTION0("current_user", TEXT, tell_database),
    FUNCTION0("session_user", TEXT, tell_database),
    {.name = "pg_typeof", .kind = FUNCTION_PLAIN, .result = TYPE_TEXT, .n_args = 1,
     .nulls_seen = true, .args = {TYPE_UNKNOWN}, .kernel = tell_type},
    FUNCTION2("to_char", TEXT, TIMESTAMPTZ, TEXT, timestamptz_to_char),
    FUNCTION2("to_char", TEXT, TIMESTAMP, TEXT, timestamptz_to_char),
};

const struct function_table functions_misc = {rows, ARRAY_LEN(rows)};
