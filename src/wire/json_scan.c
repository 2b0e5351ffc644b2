/* The parts of the scanner that need not be inlined. */
#include "wire/json_int.h"

#include "base/bytes.h"

const char *json_fail(struct json_in *in, const char *at, enum err e, const char *what)
{
    if (in->bad_at == NULL) {
        in->bad_at = at;
        in->bad = e;
        in->bad_what = what;
    }
    return NULL;
}

void json_place(const struct json_in *in, const char *at, struct err_detail *why)
{
    if (why == NULL)
        return;
    int32_t line = 1;
    const char *line_start = in->start;
    for (const char *p = in->start; p < at; p++) {
        if (*p == '\n') {
            line += line < INT32_MAX;
            line_start = p + 1;
        }
    }
    ptrdiff_t column = at - line_start + 1;
    why->line = line;
    why->column = column < INT32_MAX ? (int32_t)column : INT32_MAX;
}

enum err json_failed(const struct json_in *in, struct err_detail *why)
{
    CHECK(in->bad_at != NULL);
    if (in->bad_at == in->end)
        err_set(why, in->bad, "malformed JSON: %s, but the text ends", in->bad_what);
    else if (in->bad == ERR_MALFORMED)
        err_set(why, in->bad, "malformed JSON: %s", in->bad_what);
    else
        err_set(why, in->bad, "%s", in->bad_what);
    json_place(in, in->bad_at, why);
    return in->bad;
}

/* ---- strings ---- */

/* Value of four hexadecimal digits, or -1. */
static int32_t hex4(const char *p)
{
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static bool is_high_surrogate(int32_t c)
{
    return c >= 0xd800 && c < 0xdc00;
}

static bool is_low_surrogate(int32_t c)
{
    return c >= 0xdc00 && c < 0xe000;
}

/* Checks the \uXXXX at `p` (its backslash), with its second half when it is a surrogate. */
static const char *scan_unicode_escape(struct json_in *in, const char *p)
{
    int32_t code = in->end - p < 6 ? -1 : hex4(p + 2);
    if (code < 0)
        return json_fail(in, p, ERR_MALFORMED, "\\u needs four hexadecimal digits");
    if (is_low_surrogate(code))
        return json_fail(in, p, ERR_ENCODING,
                         "a \\u escape is the second half of a surrogate pair "
                         "without its first");
    if (!is_high_surrogate(code))
        return p + 6;
    int32_t low = in->end - p < 12 || p[6] != '\\' || p[7] != 'u' ? -1 : hex4(p + 8);
    if (!is_low_surrogate(low))
        return json_fail(in, p, ERR_ENCODING,
                         "a \\u escape is the first half of a surrogate pair "
                         "without its second");
    return p + 12;
}

static const char *scan_escape(struct json_in *in, const char *p)
{
    if (in->end - p < 2)
        return json_fail(in, in->end, ERR_MALFORMED, "expected the end of a string");
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return p + 2;
    case 'u':
        return scan_unicode_escape(in, p);
    default:
        return json_fail(in, p, ERR_MALFORMED, "unknown escape in a string");
    }
}

const char *json_string_finish(struct json_in *in, const char *from, const char *p, bool high,
                               bool *escaped)
{
    for (;;) {
        if (p == in->end)
            return json_fail(in, p, ERR_MALFORMED, "expected the end of a string");
        if (*p == '"')
            break;
        if (*p != '\\')
            return json_fail(in, p, ERR_MALFORMED,
                             "a control character in a string must be escaped");
        *escaped = true;
        p = scan_escape(in, p);
        if (p == NULL)
            return NULL;
        p = json_find_stop(in, p, &high);
    }
    if (high && !str_utf8_valid((struct str){from, (size_t)(p - from)}))
        return json_fail(in, from, ERR_ENCODING, "a string is not valid UTF-8");
    return p;
}

/* Writes a code point as UTF-8; returns the bytes written. */
static size_t utf8_put(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

static char escape_value(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c;
    }
}

size_t json_unescape(struct str body, char *out)
{
    size_t n = 0;
    size_t i = 0;
    while (i < body.len) {
        const char *slash = memchr(body.ptr + i, '\\', body.len - i);
        size_t run = slash == NULL ? body.len - i : (size_t)(slash - body.ptr) - i;
        memcpy(out + n, body.ptr + i, run);
        n += run;
        i += run;
        if (slash == NULL)
            break;
        if (slash[1] != 'u') {
            out[n++] = escape_value(slash[1]);
            i += 2;
            continue;
        }
        int32_t code = hex4(slash + 2);
        i += 6;
        if (is_high_surrogate(code)) {
            code = 0x10000 + ((code - 0xd800) << 10) + (hex4(slash + 8) - 0xdc00);
            i += 6;
        }
        n += utf8_put(out + n, (uint32_t)code);
    }
    return n;
}

/* ---- numbers ---- */

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') <= 9;
}

/* True when the 8 bytes are all digits. */
static inline bool is_8_digits(uint64_t v)
{
    return ((v & (v + 0x0606060606060606u) & 0xf0f0f0f0f0f0f0f0u) == 0x3030303030303030u);
}

/* Their value: pairs, then fours, then eight at once. */
static inline uint64_t value_of_8_digits(uint64_t v)
{
    v -= 0x3030303030303030u;
    v = v * 10 + (v >> 8);
    return (((v & 0x000000ff000000ffu) * 0x000f424000000064u) +
            ((v >> 16 & 0x000000ff000000ffu) * 0x0000271000000001u)) >>
           32;
}

/* Adds the digits at `p` to *value, which wraps when there are too many. */
static inline const char *digits_scan(const char *p, const char *end, uint64_t *value)
{
    uint64_t v = *value;
    while (end - p >= 8) {
        uint64_t eight = le64_get(p);
        if (!is_8_digits(eight))
            break;
        v = v * 100000000 + value_of_8_digits(eight);
        p += 8;
    }
    for (; p < end && is_digit(*p); p++)
        v = v * 10 + (uint64_t)(*p - '0');
    *value = v;
    return p;
}

/* Reads the exponent behind 'e'; its value is held at the bound, which is beyond every type. */
static const char *exponent_scan(struct json_in *in, const char *p, int32_t *out)
{
    bool negative = p < in->end && *p == '-';
    if (p < in->end && (*p == '-' || *p == '+'))
        p++;
    if (p == in->end || !is_digit(*p))
        return json_fail(in, p, ERR_MALFORMED, "expected a digit of the exponent");
    int32_t value = 0;
    for (; p < in->end && is_digit(*p); p++)
        value = value >= JSON_EXPONENT_MAX / 10 ? JSON_EXPONENT_MAX / 2 : value * 10 + (*p - '0');
    *out = negative ? -value : value;
    return p;
}

const char *json_number_scan(struct json_in *in, const char *p, struct json_number *out)
{
    const char *end = in->end;
    struct json_number n = {.text = p, .plain = true};
    if (*p == '-') {
        n.negative = true;
        p++;
        if (p == end || !is_digit(*p))
            return json_fail(in, p, ERR_MALFORMED, "expected a digit");
    }
    const char *first = p;
    p = digits_scan(p, end, &n.digits);
    if (*first == '0' && p - first > 1)
        return json_fail(in, first, ERR_MALFORMED, "a number must not start with 0");
    ptrdiff_t count = p - first;
    if (p < end && *p == '.') {
        const char *point = ++p;
        p = digits_scan(p, end, &n.digits);
        if (p == point)
            return json_fail(in, p, ERR_MALFORMED, "expected a digit behind the decimal point");
        ptrdiff_t fraction = p - point;
        n.fraction = fraction < JSON_EXPONENT_MAX / 2 ? (int32_t)fraction : JSON_EXPONENT_MAX / 2;
        n.exponent = -n.fraction;
        n.plain = false;
        count += fraction - (*first == '0');
    }
    n.wide = count > 19;
    if (p < end && (*p == 'e' || *p == 'E')) {
        int32_t exponent = 0;
        p = exponent_scan(in, p + 1, &exponent);
        if (p == NULL)
            return NULL;
        n.exponent += exponent;
        n.plain = false;
        n.scientific = true;
    }
    n.len = (size_t)(p - n.text);
    *out = n;
    return p;
}

/* An integer from the text of any number: its digits from the first to the last that is not 0,
 * times a power of ten. */
static enum err integer_from_text(const struct json_number *n, int64_t *out)
{
    int64_t index = 0;
    int64_t whole = -1;
    int64_t first = -1;
    int64_t last = -1;
    uint64_t value = 0;
    for (size_t i = n->negative; i < n->len && (n->text[i] | 0x20) != 'e'; i++) {
        if (n->text[i] == '.') {
            whole = index;
            continue;
        }
        if (n->text[i] != '0') {
            first = first < 0 ? index : first;
            last = index;
        }
        index++;
    }
    *out = 0;
    if (first < 0)
        return ERR_OK;
    whole = whole < 0 ? index : whole;
    int64_t power = (int64_t)n->exponent + n->fraction + whole - 1 - last;
    if (power < 0)
        return ERR_TYPE_MISMATCH;
    if (last - first + 1 + power > 19)
        return ERR_OUT_OF_RANGE;
    index = 0;
    for (size_t i = n->negative; index <= last; i++) {
        if (n->text[i] == '.')
            continue;
        value = value * 10 + (uint64_t)(n->text[i] - '0');
        index++;
    }
    for (; power > 0; power--)
        value *= 10;
    if (value > (uint64_t)INT64_MAX + n->negative)
        return ERR_OUT_OF_RANGE;
    *out = (int64_t)(n->negative ? 0 - value : value);
    return ERR_OK;
}

enum err json_number_to_i64(const struct json_number *n, int64_t *out)
{
    if (UNLIKELY(!n->plain || n->wide || n->digits > INT64_MAX))
        return integer_from_text(n, out);
    *out = n->negative ? -(int64_t)n->digits : (int64_t)n->digits;
    return ERR_OK;
}

/* ---- any value ---- */

/* Which kind of container is open at each level. */
struct open_levels {
    uint32_t n, max;
    uint64_t is_object[(JSON_DEPTH_MAX + 63) / 64];
};

static bool level_push(struct open_levels *l, bool object)
{
    if (l->n >= l->max)
        return false;
    uint64_t bit = (uint64_t)1 << (l->n % 64);
    l->is_object[l->n / 64] = (l->is_object[l->n / 64] & ~bit) | (object ? bit : 0);
    l->n++;
    return true;
}

static bool level_is_object(const struct open_levels *l)
{
    return (l->is_object[(l->n - 1) / 64] >> ((l->n - 1) % 64) & 1) != 0;
}

/* Reads `"key" :` and the blanks behind it. */
static const char *skip_key(struct json_in *in, const char *p)
{
    bool escaped;
    if (p == in->end || *p != '"')
        return json_fail(in, p, ERR_MALFORMED, "expected a key in double quotes");
    p = json_string_end(in, p + 1, &escaped);
    if (p == NULL)
        return NULL;
    p = json_blanks(p + 1, in->end);
    if (p == in->end || *p != ':')
        return json_fail(in, p, ERR_MALFORMED, "expected ':' behind the key");
    return json_blanks(p + 1, in->end);
}

static const char *skip_scalar(struct json_in *in, const char *p)
{
    bool escaped;
    struct json_number number;
    if (p == in->end)
        return json_fail(in, p, ERR_MALFORMED, "expected a value");
    switch (*p) {
    case '"':
        p = json_string_end(in, p + 1, &escaped);
        return p == NULL ? NULL : p + 1;
    case 't':
        return json_literal(in, p, "true", 4);
    case 'f':
        return json_literal(in, p, "false", 5);
    case 'n':
        return json_literal(in, p, "null", 4);
    default:
        if (*p == '-' || is_digit(*p))
            return json_number_scan(in, p, &number);
        if (in->end - p >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
            return json_fail(in, p, ERR_MALFORMED,
                             "a byte order mark (EF BB BF) is not allowed in JSON");
        return json_fail(in, p, ERR_MALFORMED, "expected a value");
    }
}

/* Opens the container at `p`: returns the position of its first value, or behind it when it is
 * empty (then *closed). */
static const char *open_level(struct json_in *in, const char *p, struct open_levels *l,
                              bool *closed)
{
    bool object = *p == '{';
    if (!level_push(l, object))
        return json_fail(in, p, ERR_LIMIT, "JSON is nested deeper than 256 levels");
    p = json_blanks(p + 1, in->end);
    *closed = p < in->end && *p == (object ? '}' : ']');
    if (*closed) {
        l->n--;
        return p + 1;
    }
    return object ? skip_key(in, p) : p;
}

/* Behind a value: closes what ends here and goes on to the next value. *done when all is closed. */
static const char *next_value(struct json_in *in, const char *p, struct open_levels *l, bool *done)
{
    while (l->n > 0) {
        bool object = level_is_object(l);
        p = json_blanks(p, in->end);
        if (p < in->end && *p == ',') {
            p = json_blanks(p + 1, in->end);
            return object ? skip_key(in, p) : p;
        }
        if (p == in->end || *p != (object ? '}' : ']'))
            return json_fail(in, p, ERR_MALFORMED,
                             object ? "expected ',' or '}'" : "expected ',' or ']'");
        p++;
        l->n--;
    }
    *done = true;
    return p;
}

const char *json_skip_value(struct json_in *in, const char *p, uint32_t depth)
{
    struct open_levels levels = {.max = depth < JSON_DEPTH_MAX ? JSON_DEPTH_MAX - depth : 0};
    bool done = false;
    while (!done) {
        bool closed = true;
        if (p < in->end && (*p == '{' || *p == '['))
            p = open_level(in, p, &levels, &closed);
        else
            p = skip_scalar(in, p);
        if (p != NULL && closed)
            p = next_value(in, p, &levels, &done);
        if (p == NULL)
            return NULL;
    }
    return p;
}
