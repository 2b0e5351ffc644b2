/* to_char of numbers, and to_number: PostgreSQL's templates.
 *
 *   9 0 digits   . D point   , G group   S MI PL SG PR sign   FM no blanks   TH ordinal   V shift
 *   RN roman   L currency (there is none)   "text"
 *
 * A template is read into items once for a row; then the digits of the rounded number take the
 * places of the 9s and 0s, the sign stands before the first digit that is shown. */
#include "type/function_int.h"
#include "type/numeric.h"
#include "type/utf8.h"

#include <math.h>
#include <stdio.h>

enum { ITEMS_MAX = 512, DIGITS_MAX = 120, FORMATTED_MAX = 4 * ITEMS_MAX };

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

enum item_kind { ITEM_NINE, ITEM_ZERO, ITEM_POINT, ITEM_GROUP, ITEM_SIGN, ITEM_MINUS, ITEM_PLUS,
                 ITEM_EITHER, ITEM_BRACKET, ITEM_CURRENCY, ITEM_TH_UPPER,
                 ITEM_TH_LOWER, ITEM_TEXT };

struct item {
    enum item_kind kind;
    struct str text;                 /* TEXT: a character */
};

struct template {
    struct item items[ITEMS_MAX];
    uint32_t n;
    uint32_t before, behind;         /* digits before and behind the point */
    uint32_t shift;                  /* digits behind V */
    uint32_t zero_from;              /* first 0 before the point; `before` = none */
    uint32_t zero_to;                /* digits behind the point that the last 0 keeps */
    const char *wrong;               /* the first thing that PostgreSQL refuses */
    bool fill, point, roman, sign, sign_first, minus, plus, bracket, roman_lower;
};

static bool template_fail(struct kernel_context *k, uint32_t row, const char *text)
{
    kernel_fail(k, row, ERR_SYNTAX, "%s", text);
    return false;
}

static bool add_item(struct template *t, enum item_kind kind, struct str text)
{
    if (t->n == ITEMS_MAX)
        return false;
    t->items[t->n++] = (struct item){kind, text};
    return true;
}

static bool starts(const char *p, const char *end, const char *word)
{
    size_t n = strlen(word);
    return (size_t)(end - p) >= n && str_ieq((struct str){p, n}, str_of(word));
}

static void refuse(struct template *t, bool is, const char *text)
{
    if (is && t->wrong == NULL)
        t->wrong = text;
}

static void add_digit(struct template *t, bool zero, bool shifting)
{
    refuse(t, t->bracket, zero ? "\"0\" must be ahead of \"PR\"" : "\"9\" must be ahead of \"PR\"");
    (void)add_item(t, zero ? ITEM_ZERO : ITEM_NINE, STR(""));
    if (shifting)
        t->shift++;
    if (t->point) {
        t->behind++;
        if (zero)
            t->zero_to = t->behind;
    } else {
        if (zero && t->zero_from == UINT32_MAX)
            t->zero_from = t->before;
        t->before++;
    }
}

/* Words of the template that are no digits; returns their length, 0 for none. */
static size_t add_word(struct template *t, const char *p, const char *end, bool *shifting)
{
    static const struct { const char *word; enum item_kind kind; } words[] = {
        {"MI", ITEM_MINUS}, {"PL", ITEM_PLUS}, {"SG", ITEM_EITHER}, {"PR", ITEM_BRACKET},
        {"D", ITEM_POINT}, {".", ITEM_POINT}, {"G", ITEM_GROUP}, {",", ITEM_GROUP},
        {"S", ITEM_SIGN}, {"L", ITEM_CURRENCY}};
    if (starts(p, end, "FM")) {
        t->fill = true;
        return 2;
    }
    if (starts(p, end, "RN")) {
        t->roman = true;
        t->roman_lower = *p == 'r';
        return 2;
    }
    if (starts(p, end, "TH")) {
        (void)add_item(t, *p == 'T' ? ITEM_TH_UPPER : ITEM_TH_LOWER, STR(""));
        return 2;
    }
    if (starts(p, end, "V")) {
        refuse(t, t->point, "cannot use \"V\" and decimal point together");
        *shifting = true;
        return 1;
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        enum item_kind kind = words[i].kind;
        if (!starts(p, end, words[i].word))
            continue;
        refuse(t, kind == ITEM_POINT && *shifting, "cannot use \"V\" and decimal point together");
        refuse(t, kind == ITEM_BRACKET && (t->sign || t->minus || t->plus),
               "cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together");
        t->point |= kind == ITEM_POINT;
        t->minus |= kind == ITEM_MINUS || kind == ITEM_EITHER;
        t->plus |= kind == ITEM_PLUS || kind == ITEM_EITHER;
        t->bracket |= kind == ITEM_BRACKET;
        t->sign_first |= kind == ITEM_SIGN && t->before == 0 && !t->point;
        t->sign |= kind == ITEM_SIGN;
        (void)add_item(t, kind, STR(""));
        return strlen(words[i].word);
    }
    return 0;
}

static bool template_read(struct kernel_context *k, uint32_t row, struct str s, struct template *t)
{
    const char *p = s.ptr, *end = s.ptr + s.len;
    bool shifting = false, quoted = false;
    t->n = t->before = t->behind = t->shift = t->zero_to = 0;
    t->zero_from = UINT32_MAX;
    t->wrong = NULL;
    t->fill = t->point = t->roman = t->sign = t->sign_first = false;
    t->minus = t->plus = t->bracket = t->roman_lower = false;
    while (p < end) {
        size_t n = 0;
        if (*p == '"') {
            quoted = !quoted;
            p++;
            continue;
        }
        if (!quoted && starts(p, end, "EEEE"))
            return template_fail(k, row, "\"EEEE\" is not supported in a format of numbers");
        if (!quoted && (*p == '9' || *p == '0')) {
            add_digit(t, *p == '0', shifting);
            n = 1;
        } else if (!quoted) {
            bool had_point = t->point;
            n = add_word(t, p, end, &shifting);
            if (had_point && n == 1 && (*p == '.' || *p == 'D' || *p == 'd'))
                return template_fail(k, row, "multiple decimal points");
        }
        if (n == 0) {
            n = utf8_len(*p);
            (void)add_item(t, ITEM_TEXT, (struct str){p, n});
        }
        p += n;
    }
    if (t->wrong != NULL)
        return template_fail(k, row, t->wrong);
    if (t->n == ITEMS_MAX)
        return template_fail(k, row, "the format of a number is too long");
    if (t->sign && (t->minus || t->plus || t->bracket))
        return template_fail(k, row, "cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together");
    return true;
}

/* ---- writing ---- */

struct writing {
    const struct template *t;
    char text[FORMATTED_MAX];
    size_t n;
    char whole[ITEMS_MAX], fraction[ITEMS_MAX];
    uint32_t n_whole;                /* digits without leading zeros */
    uint32_t shown_from;             /* the first place before the point that shows a digit */
    uint32_t place;                  /* of the next digit */
    uint32_t fraction_shown;
    bool negative, too_large, sign_done;
};

static void put(struct writing *w, char c)
{
    if (w->n < sizeof w->text)
        w->text[w->n++] = c;
}

static void blank(struct writing *w)
{
    if (!w->t->fill)
        put(w, ' ');
}

/* What stands before the first digit. */
static void put_sign(struct writing *w)
{
    const struct template *t = w->t;
    if (w->sign_done)
        return;
    w->sign_done = true;
    if (t->sign_first)
        put(w, w->negative ? '-' : '+');
    else if (t->sign)
        return;
    else if (t->bracket && w->negative)
        put(w, '<');
    else if (t->minus)
        return;
    else if (w->negative)
        put(w, '-');
    else
        blank(w);
}

static void put_digit(struct writing *w)
{
    const struct template *t = w->t;
    uint32_t place = w->place++;
    if (place >= t->before) {
        uint32_t i = place - t->before;
        if (i < w->fraction_shown)
            put(w, w->too_large ? '#' : w->fraction[i]);
        return;
    }
    if (place < w->shown_from) {
        blank(w);
        return;
    }
    put_sign(w);
    uint32_t first = t->before - w->n_whole;
    put(w, w->too_large ? '#' : place < first ? '0' : w->whole[place - first]);
}

static const char *ordinal(const struct writing *w)
{
    uint32_t n = w->n_whole;
    char last = n > 0 ? w->whole[n - 1] : '0';
    if (n > 1 && w->whole[n - 2] == '1')
        return "th";
    return last == '1' ? "st" : last == '2' ? "nd" : last == '3' ? "rd" : "th";
}

static void put_ordinal(struct writing *w, bool upper)
{
    const char *s = ordinal(w);
    if (w->negative || w->t->point || w->too_large)
        return;
    for (; *s != '\0'; s++)
        put(w, upper ? (char)(*s - 'a' + 'A') : *s);
}

static void put_item(struct writing *w, const struct item *i)
{
    const struct template *t = w->t;
    switch (i->kind) {
    case ITEM_NINE:
    case ITEM_ZERO: put_digit(w); break;
    case ITEM_POINT:
        put_sign(w);
        put(w, '.');
        break;
    case ITEM_GROUP:
        if (w->place > w->shown_from && w->place <= t->before)
            put(w, ',');
        else
            blank(w);
        break;
    case ITEM_SIGN:
        if (!t->sign_first)
            put(w, w->negative ? '-' : '+');
        break;
    case ITEM_MINUS:
        if (w->negative)
            put(w, '-');
        else
            blank(w);
        break;
    case ITEM_PLUS:
        if (!w->negative)
            put(w, '+');
        else
            blank(w);
        break;
    case ITEM_EITHER: put(w, w->negative ? '-' : '+'); break;
    case ITEM_BRACKET:
        if (w->negative)
            put(w, '>');
        else
            blank(w);
        break;
    case ITEM_CURRENCY: blank(w); break;
    case ITEM_TH_UPPER: put_ordinal(w, true); break;
    case ITEM_TH_LOWER: put_ordinal(w, false); break;
    case ITEM_TEXT:
        for (size_t k = 0; k < i->text.len; k++)
            put(w, i->text.ptr[k]);
        break;
    }
}

/* The rounded number's digits, without leading zeros. */
static void take_digits(struct writing *w, const char *text, size_t n)
{
    const struct template *t = w->t;
    size_t i = 0;
    w->negative = n > 0 && text[0] == '-';
    if (w->negative)
        i++;
    for (; i < n && text[i] != '.'; i++)
        if ((w->n_whole > 0 || text[i] != '0') && w->n_whole < sizeof w->whole)
            w->whole[w->n_whole++] = text[i];
    memset(w->fraction, '0', sizeof w->fraction);
    for (size_t k = 0; i + 1 + k < n && k < sizeof w->fraction; k++)
        w->fraction[k] = text[i + 1 + k];
    w->fraction_shown = t->behind;
    while (t->fill && w->fraction_shown > t->zero_to && !w->too_large &&
           w->fraction[w->fraction_shown - 1] == '0')
        w->fraction_shown--;
    w->too_large = w->n_whole > t->before;
    if (w->too_large) {
        w->n_whole = t->before;
        w->fraction_shown = t->behind;
    }
    /* A zero shows where there is no fraction. */
    if (w->n_whole == 0 && w->fraction_shown == 0 && t->before > 0)
        w->whole[w->n_whole++] = '0';
    w->shown_from = t->before - w->n_whole;
    if (t->zero_from < w->shown_from)
        w->shown_from = t->zero_from;
}

static void put_roman(struct writing *w, int64_t v)
{
    static const struct { int value; const char *text; } parts[] = {
        {1000, "M"}, {900, "CM"}, {500, "D"}, {400, "CD"}, {100, "C"}, {90, "XC"}, {50, "L"},
        {40, "XL"}, {10, "X"}, {9, "IX"}, {5, "V"}, {4, "IV"}, {1, "I"}};
    enum { ROMAN_MAX = 3999, ROMAN_WIDTH = 15 };
    char text[ROMAN_WIDTH + 1];
    size_t n = 0;
    bool valid = v >= 1 && v <= ROMAN_MAX;
    for (size_t i = 0; valid && i < ARRAY_LEN(parts); i++)
        for (; v >= parts[i].value; v -= parts[i].value)
            for (const char *p = parts[i].text; *p != '\0' && n < ROMAN_WIDTH; p++)
                text[n++] = w->t->roman_lower ? (char)(*p - 'A' + 'a') : *p;
    for (; !valid && n < ROMAN_WIDTH; n++)
        text[n] = '#';
    for (size_t i = n; i < ROMAN_WIDTH; i++)
        blank(w);
    for (size_t i = 0; i < n; i++)
        put(w, text[i]);
}

/* Writes what was printed with as many digits behind the point as the template has. */
static void put_number(struct kernel_context *k, struct column *out, uint32_t row,
                       const struct template *t, const char *text, size_t n)
{
    struct writing w = {.t = t};
    int64_t whole = 0;
    if (t->roman) {
        if (str_to_i64((struct str){text, n}, &whole) != ERR_OK)
            whole = 0;
        put_roman(&w, whole);
    } else {
        take_digits(&w, text, n);
        for (uint32_t i = 0; i < t->n; i++)
            put_item(&w, &t->items[i]);
    }
    kernel_put_text(k, out, row, w.text, w.n);
}

static int32_t digits_behind(const struct template *t)
{
    return t->roman ? 0 : t->behind > NUMERIC_SCALE_MAX ? NUMERIC_SCALE_MAX : (int32_t)t->behind;
}

static bool number_ok(struct kernel_context *k, uint32_t row, bool is)
{
    if (!is)
        kernel_fail(k, row, ERR_UNSUPPORTED, "to_char() of NaN and infinity is not supported");
    return is;
}

static void format_numeric(struct kernel_context *k, struct column *out, uint32_t row,
                           struct numeric v, struct str format)
{
    enum { SHIFT_MAX = 30 };
    struct template t;
    struct err_detail why = {0};
    char text[NUMERIC_TEXT_MAX];
    if (!template_read(k, row, format, &t) || !number_ok(k, row, v.kind == NUMERIC_FINITE))
        return;
    int32_t shift = t.shift < SHIFT_MAX ? (int32_t)t.shift : SHIFT_MAX;
    struct numeric power = numeric_make((i128)numeric_power(shift), 0);
    enum err e = shift > 0 ? numeric_mul(&v, &power, &v, &why) : ERR_OK;
    if (e == ERR_OK)
        e = numeric_round(&v, digits_behind(&t), NUMERIC_HALF_UP, &v, &why);
    if (e != ERR_OK)
        kernel_fail_row(k, row, e, &why);
    else
        put_number(k, out, row, &t, text, numeric_print(&v, text));
}

/* As printf rounds, with no more digits than a double has. */
static void format_double(struct kernel_context *k, struct column *out, uint32_t row, double v,
                          struct str format)
{
    enum { DOUBLE_DIGITS = 15, DOUBLE_TEXT_MAX = 400 };
    struct template t;
    char text[DOUBLE_TEXT_MAX];
    if (!template_read(k, row, format, &t) || !number_ok(k, row, isfinite(v)))
        return;
    if (t.shift > 0)
        v *= pow(10, t.shift);
    int whole = fabs(v) < 1 ? 1 : (int)floor(log10(fabs(v))) + 1;
    int behind = t.roman ? 0 : digits_behind(&t);
    if (whole + behind > DOUBLE_DIGITS)
        behind = whole >= DOUBLE_DIGITS ? 0 : DOUBLE_DIGITS - whole;
    int n = snprintf(text, sizeof text, "%.*f", behind, t.roman ? rint(v) : v);
    put_number(k, out, row, &t, text, n < 0 ? 0 : (size_t)n);
}

KERNEL(num_to_char)
{
    KERNEL_ROWS(k, row)
        format_numeric(k, out, row, *ARG_NUM(0, row), ARG_STR(1, row));
}

KERNEL(i8_to_char)
{
    KERNEL_ROWS(k, row)
        format_numeric(k, out, row, numeric_from_i64(ARG_I8(0, row)), ARG_STR(1, row));
}

KERNEL(i4_to_char)
{
    KERNEL_ROWS(k, row)
        format_numeric(k, out, row, numeric_from_i64(ARG_I4(0, row)), ARG_STR(1, row));
}

KERNEL(f8_to_char)
{
    KERNEL_ROWS(k, row)
        format_double(k, out, row, ARG_F8(0, row), ARG_STR(1, row));
}

/* ---- to_number ---- */

struct number_text {
    char text[DIGITS_MAX + 4];
    size_t n;
    bool point, negative;
};

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Signs and blanks before the first digit; "<" is one. */
static const char *skip_signs(const char *p, const char *end, struct number_text *o)
{
    while (p < end && (*p == ' ' || *p == '-' || *p == '+' || *p == '<')) {
        o->negative |= *p == '-' || *p == '<';
        p++;
    }
    return p;
}

static void read_number(const struct template *t, struct str s, struct number_text *o)
{
    const char *p = s.ptr, *end = s.ptr + s.len;
    p = skip_signs(p, end, o);
    for (uint32_t i = 0; i < t->n && p < end; i++) {
        enum item_kind kind = t->items[i].kind;
        if (o->n == 0 && !o->point)
            p = skip_signs(p, end, o);
        if (kind == ITEM_NINE || kind == ITEM_ZERO) {
            if (p < end && *p == '.' && !o->point && t->point)
                continue;
            while (p < end && *p == ' ')
                p++;
            if (p < end && digit(*p) && o->n < DIGITS_MAX) {
                o->text[o->n++] = *p++;
            } else if (p < end && *p != ',' && *p != '.' && *p != '-' && *p != '+' && *p != '>') {
                p++;
            }
        } else if (kind == ITEM_POINT) {
            if (p < end && *p == '.') {
                o->text[o->n++] = *p++;
                o->point = true;
            }
        } else if (kind == ITEM_GROUP) {
            p += p < end && *p == ',';
        } else if (kind == ITEM_TEXT || kind == ITEM_CURRENCY) {
            p += p < end && !digit(*p) && *p != '-' && *p != '+' && *p != '.';
        }
    }
    while (p < end && *p == ' ')
        p++;
    if (p < end && (t->sign || t->minus || t->bracket))
        o->negative |= *p == '-';
}

KERNEL(text_to_number)
{
    KERNEL_ROWS(k, row)
    {
        struct template t;
        struct number_text o = {0};
        struct err_detail why = {0};
        if (!template_read(k, row, ARG_STR(1, row), &t))
            continue;
        if (t.roman || t.shift > 0) {
            kernel_fail(k, row, ERR_UNSUPPORTED, "\"RN\" and \"V\" are not supported for input");
            continue;
        }
        read_number(&t, ARG_STR(0, row), &o);
        if (o.n > 0 && o.text[o.n - 1] == '.')
            o.n--;
        enum err e = numeric_parse((struct str){o.text, o.n}, &column_num(out)[row], &why);
        if (e != ERR_OK)
            kernel_fail(k, row, e, "invalid input syntax for type numeric: \" \"");
        else if (o.negative)
            column_num(out)[row] = numeric_negate(&column_num(out)[row]);
    }
}

static const struct function rows[] = {
    FUNCTION2("to_char", TEXT, NUMERIC, TEXT, num_to_char),
    FUNCTION2("to_char", TEXT, INT8, TEXT, i8_to_char),
    FUNCTION2("to_char", TEXT, INT4, TEXT, i4_to_char),
    FUNCTION2("to_char", TEXT, FLOAT8, TEXT, f8_to_char),
    FUNCTION2("to_number", NUMERIC, TEXT, TEXT, text_to_number),
};

const struct function_table functions_format = {rows, ARRAY_LEN(rows)};
