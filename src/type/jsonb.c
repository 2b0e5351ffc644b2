/* JSON texts checked and normalised to what PostgreSQL's jsonb prints. jsonb_value.c reads the
 * result. */
#include "type/jsonb.h"

#include "base/check.h"
#include "type/text_util.h"

#include <stdlib.h>

enum { MEMBERS_FIRST = 16, TEXT_SLACK = 32 };

/* One member of the object being read: where its normalised "key": value lies in the output. */
struct member {
    struct str key;       /* characters, escapes resolved */
    uint32_t order;       /* position in the input: the last duplicate wins */
    size_t start, len;    /* in the output */
};

struct parser {
    const char *begin, *p, *end;
    struct arena *arena;
    struct err_detail *why;
    char *out;
    size_t len, cap;
    struct member *members;    /* a stack: the innermost object's members are on top */
    uint32_t n_members, members_cap;
    uint32_t depth;
};

static enum err syntax_error(struct parser *s, const char *expected)
{
    size_t at = (size_t)(s->p - s->begin);
    enum err e;
    if (s->p == s->end)
        e = err_set(s->why, ERR_INVALID_TEXT,
                    "invalid input syntax for type json: the input ends at byte %zu, expected %s",
                    at, expected);
    else
        e = err_set(s->why, ERR_INVALID_TEXT,
                    "invalid input syntax for type json: expected %s at byte %zu, found \"%.*s\"",
                    expected, at + 1, (unsigned char)*s->p < 0x80 ? 1 : 0, s->p);
    if (s->why != NULL) {
        s->why->line = 1;
        s->why->column = 1;
        for (const char *c = s->begin; c < s->p; c++) {
            s->why->column = *c == '\n' ? 1 : s->why->column + 1;
            s->why->line += *c == '\n';
        }
    }
    return e;
}

static enum err no_memory(struct parser *s)
{
    return err_set(s->why, ERR_NO_MEMORY, "out of memory while reading a jsonb value");
}

/* Room for `more` bytes of output. */
static enum err reserve(struct parser *s, size_t more)
{
    if (LIKELY(s->cap - s->len >= more))
        return ERR_OK;
    if (s->len + more > JSONB_TEXT_MAX)
        return err_set(s->why, ERR_LIMIT, "jsonb value is larger than %d bytes", JSONB_TEXT_MAX);
    size_t cap = (s->len + more) * 2;
    char *out = arena_alloc(s->arena, cap);
    if (out == NULL)
        return no_memory(s);
    memcpy(out, s->out, s->len);
    s->out = out;
    s->cap = cap;
    return ERR_OK;
}

static enum err put(struct parser *s, const void *bytes, size_t n)
{
    TRY(reserve(s, n));
    memcpy(s->out + s->len, bytes, n);
    s->len += n;
    return ERR_OK;
}

static void skip_blanks(struct parser *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

/* ---- strings ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return -1;
}

/* Four hexadecimal digits behind \u. */
static enum err parse_hex4(struct parser *s, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++, s->p++) {
        int d = s->p < s->end ? hex_digit(*s->p) : -1;
        if (d < 0)
            return syntax_error(s, "four hexadecimal digits");
        *out = *out << 4 | (uint32_t)d;
    }
    return ERR_OK;
}

/* The characters of \uXXXX, with its second surrogate; `utf8` gets 1 to 4 bytes. */
static enum err parse_unicode(struct parser *s, char utf8[4], size_t *n)
{
    uint32_t c, low;
    TRY(parse_hex4(s, &c));
    if (c == 0)
        return err_set(s->why, ERR_INVALID_TEXT,
                       "unsupported Unicode escape sequence: \\u0000 cannot be converted to text");
    if (c >= 0xDC00 && c <= 0xDFFF)
        return syntax_error(s, "a high surrogate in front of a low one");
    if (c >= 0xD800 && c <= 0xDBFF) {
        if (s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u')
            return syntax_error(s, "a low surrogate behind a high one");
        s->p += 2;
        TRY(parse_hex4(s, &low));
        if (low < 0xDC00 || low > 0xDFFF)
            return syntax_error(s, "a low surrogate behind a high one");
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    }
    if (c < 0x80) {
        utf8[0] = (char)c;
        *n = 1;
    } else if (c < 0x800) {
        utf8[0] = (char)(0xC0 | c >> 6);
        utf8[1] = (char)(0x80 | (c & 0x3F));
        *n = 2;
    } else if (c < 0x10000) {
        utf8[0] = (char)(0xE0 | c >> 12);
        utf8[1] = (char)(0x80 | (c >> 6 & 0x3F));
        utf8[2] = (char)(0x80 | (c & 0x3F));
        *n = 3;
    } else {
        utf8[0] = (char)(0xF0 | c >> 18);
        utf8[1] = (char)(0x80 | (c >> 12 & 0x3F));
        utf8[2] = (char)(0x80 | (c >> 6 & 0x3F));
        utf8[3] = (char)(0x80 | (c & 0x3F));
        *n = 4;
    }
    return ERR_OK;
}

/* The character that follows a backslash. */
static enum err parse_escape(struct parser *s, char utf8[4], size_t *n)
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    if (s->p == s->end)
        return syntax_error(s, "an escape sequence");
    if (*s->p == 'u') {
        s->p++;
        return parse_unicode(s, utf8, n);
    }
    const char *at = memchr(from, *s->p, sizeof from - 1);
    if (at == NULL)
        return syntax_error(s, "an escape sequence");
    s->p++;
    utf8[0] = to[at - from];
    *n = 1;
    return ERR_OK;
}

/* The escape that PostgreSQL writes for c into `text` (up to 6 bytes), or 0 when it is written
 * as it is. */
static size_t escape_of(char c, char text[6])
{
    static const char hex[] = "0123456789abcdef";
    static const char shorts[] = "btn\0fr";
    unsigned char u = (unsigned char)c;
    if (c == '"' || c == '\\') {
        text[0] = '\\';
        text[1] = c;
        return 2;
    }
    if (u >= 0x20)
        return 0;
    if (u >= '\b' && u <= '\r' && shorts[u - '\b'] != '\0') {
        text[0] = '\\';
        text[1] = shorts[u - '\b'];
        return 2;
    }
    memcpy(text, "\\u00", 4);
    text[4] = hex[u >> 4];
    text[5] = hex[u & 15];
    return 6;
}

/* A string at its opening quote: normalised to the output; `key` (may be NULL) gets its
 * characters. */
static enum err parse_string(struct parser *s, struct str *key)
{
    const char *start = ++s->p;
    char *plain = NULL;    /* the characters, once there is an escape */
    size_t n_plain = 0;
    TRY(put(s, "\"", 1));
    for (;;) {
        const char *run = s->p;
        while (s->p < s->end && *s->p != '"' && *s->p != '\\' && (unsigned char)*s->p >= 0x20)
            s->p++;
        size_t n = (size_t)(s->p - run);
        TRY(put(s, run, n));
        if (plain != NULL)
            memcpy(plain + n_plain, run, n);
        n_plain += n;
        if (s->p == s->end || (unsigned char)*s->p < 0x20)
            return syntax_error(s, "a closing quote");
        if (*s->p == '"')
            break;
        if (plain == NULL && key != NULL) {
            plain = arena_alloc(s->arena, (size_t)(s->end - start));
            if (plain == NULL)
                return no_memory(s);
            memcpy(plain, start, n_plain);
        }
        char utf8[4] = {0}, escaped[6];
        s->p++;
        TRY(parse_escape(s, utf8, &n));
        size_t n_escaped = escape_of(utf8[0], escaped);
        TRY(n_escaped != 0 ? put(s, escaped, n_escaped) : put(s, utf8, n));
        if (plain != NULL)
            memcpy(plain + n_plain, utf8, n);
        n_plain += n;
    }
    s->p++;
    if (key != NULL)
        *key = (struct str){plain != NULL ? plain : start, n_plain};
    return put(s, "\"", 1);
}

/* ---- numbers ---- */

static const char *scan_digits(const char *p, const char *end)
{
    while (p < end && text_is_digit(*p))
        p++;
    return p;
}

/* Writes digits * 10^exponent, the point `scale` digits from the end. */
static enum err put_scaled(struct parser *s, const char *digits, int64_t n, int64_t exponent)
{
    int64_t scale = exponent < 0 ? -exponent : 0;
    int64_t zeros = exponent > 0 ? exponent : 0;
    int64_t whole = n - scale;
    if (whole + zeros > JSONB_NUMBER_DIGITS_MAX || scale > JSONB_NUMBER_SCALE_MAX)
        return err_set(s->why, ERR_OUT_OF_RANGE, "value overflows numeric format");
    TRY(reserve(s, (size_t)(n + scale + zeros) + TEXT_SLACK));
    char *o = s->out + s->len;
    int64_t lead = 0;
    while (lead < whole - 1 && digits[lead] == '0')
        lead++;
    if (whole <= 0) {
        *o++ = '0';
    } else {
        memcpy(o, digits + lead, (size_t)(whole - lead));
        o += whole - lead;
        memset(o, '0', (size_t)zeros);
        o += zeros;
    }
    if (scale > 0) {
        *o++ = '.';
        for (int64_t i = whole; i < 0; i++)
            *o++ = '0';
        int64_t from = whole > 0 ? whole : 0;
        memcpy(o, digits + from, (size_t)(n - from));
        o += n - from;
    }
    s->len = (size_t)(o - s->out);
    return ERR_OK;
}

/* A number with an exponent: its digits without the point, shifted. */
static enum err put_exponent(struct parser *s, const char *whole, const char *whole_end,
                             const char *fraction, const char *fraction_end, int64_t exponent)
{
    size_t n_whole = (size_t)(whole_end - whole), n_fraction = (size_t)(fraction_end - fraction);
    char *digits = arena_alloc(s->arena, n_whole + n_fraction);
    bool zero = true;
    if (digits == NULL)
        return no_memory(s);
    memcpy(digits, whole, n_whole);
    memcpy(digits + n_whole, fraction, n_fraction);
    size_t n = n_whole + n_fraction;
    for (size_t i = 0; i < n; i++)
        zero &= digits[i] == '0';
    exponent -= (int64_t)n_fraction;
    if (zero) {
        n = 1;
        exponent = exponent < 0 ? exponent : 0;
    }
    return put_scaled(s, digits, (int64_t)n, exponent);
}

static bool all_zero(const char *p, const char *end)
{
    for (; p < end; p++) {
        if (text_is_digit(*p) && *p != '0')
            return false;
        if (*p == 'e' || *p == 'E')
            break;
    }
    return true;
}

static enum err parse_number(struct parser *s)
{
    const char *start = s->p, *end = s->end;
    bool negative = *s->p == '-';
    const char *whole = s->p + negative;
    const char *whole_end = scan_digits(whole, end);
    const char *fraction = whole_end, *fraction_end = whole_end;
    int64_t exponent = 0;
    s->p = whole_end;
    if (whole_end == whole || (*whole == '0' && whole_end > whole + 1)) {
        s->p = whole_end == whole ? whole : whole + 1;
        return syntax_error(s, "a digit or the end of the number");
    }
    if (s->p < end && *s->p == '.') {
        fraction = s->p + 1;
        fraction_end = s->p = scan_digits(fraction, end);
        if (fraction_end == fraction)
            return syntax_error(s, "a digit");
    }
    bool has_exponent = s->p < end && (*s->p == 'e' || *s->p == 'E');
    if (has_exponent) {
        s->p++;
        bool minus = s->p < end && *s->p == '-';
        s->p += s->p < end && (*s->p == '-' || *s->p == '+');
        const char *first = s->p;
        for (; s->p < end && text_is_digit(*s->p); s->p++)
            exponent = exponent < INT32_MAX ? exponent * 10 + (*s->p - '0') : exponent;
        if (s->p == first)
            return syntax_error(s, "a digit");
        exponent = minus ? -exponent : exponent;
    }
    if (s->p < end && (text_is_alpha(*s->p) || *s->p == '_'))
        return syntax_error(s, "the end of the number");
    if (negative && !all_zero(whole, s->p))
        TRY(put(s, "-", 1));
    if (has_exponent)
        return put_exponent(s, whole, whole_end, fraction, fraction_end, exponent);
    if (whole_end - whole > JSONB_NUMBER_DIGITS_MAX ||
        fraction_end - fraction > JSONB_NUMBER_SCALE_MAX)
        return err_set(s->why, ERR_OUT_OF_RANGE, "value overflows numeric format");
    return put(s, start + negative, (size_t)(s->p - start) - negative);
}

/* ---- objects ---- */

static int member_order(const void *x, const void *y)
{
    const struct member *a = x, *b = y;
    if (a->key.len != b->key.len)
        return a->key.len < b->key.len ? -1 : 1;
    int c = str_cmp(a->key, b->key);
    return c != 0 ? c : (a->order > b->order) - (a->order < b->order);
}

/* Puts the members (written one behind the other from `body` on) into order and drops
 * duplicates. */
static enum err settle_members(struct parser *s, uint32_t first, size_t body)
{
    uint32_t n = s->n_members - first;
    bool ordered = true;
    if (n < 2)
        return ERR_OK;
    struct member *m = s->members + first;
    for (uint32_t i = 1; i < n && ordered; i++)
        ordered = member_order(&m[i - 1], &m[i]) < 0 && !str_eq(m[i - 1].key, m[i].key);
    if (ordered)
        return ERR_OK;
    qsort(m, n, sizeof *m, member_order);
    size_t bytes = s->len - body;
    char *copy = arena_alloc(s->arena, bytes);
    if (copy == NULL)
        return no_memory(s);
    memcpy(copy, s->out + body, bytes);
    s->len = body;
    for (uint32_t i = 0; i < n; i++) {
        if (i + 1 < n && str_eq(m[i].key, m[i + 1].key))
            continue;
        if (s->len > body)
            TRY(put(s, ", ", 2));
        TRY(put(s, copy + (m[i].start - body), m[i].len));
    }
    return ERR_OK;
}

static enum err push_member(struct parser *s, const struct member *m)
{
    if (s->n_members == s->members_cap) {
        uint32_t cap = s->members_cap == 0 ? MEMBERS_FIRST : s->members_cap * 2;
        struct member *bigger = arena_alloc(s->arena, cap * sizeof *bigger);
        if (bigger == NULL)
            return no_memory(s);
        if (s->n_members > 0)
            memcpy(bigger, s->members, s->n_members * sizeof *bigger);
        s->members = bigger;
        s->members_cap = cap;
    }
    s->members[s->n_members++] = *m;
    return ERR_OK;
}

static enum err parse_value(struct parser *s);

static enum err parse_member(struct parser *s, uint32_t order)
{
    struct member m = {.order = order, .start = s->len};
    skip_blanks(s);
    if (s->p == s->end || *s->p != '"')
        return syntax_error(s, "a string as key");
    TRY(parse_string(s, &m.key));
    skip_blanks(s);
    if (s->p == s->end || *s->p != ':')
        return syntax_error(s, "\":\"");
    s->p++;
    TRY(put(s, ": ", 2));
    TRY(parse_value(s));
    m.len = s->len - m.start;
    return push_member(s, &m);
}

/* The elements or members of a container at its opening bracket. */
static enum err parse_container(struct parser *s, bool object)
{
    char close = object ? '}' : ']';
    uint32_t first = s->n_members, n = 0;
    TRY(put(s, s->p, 1));
    size_t body = s->len;
    s->p++;
    if (++s->depth > JSONB_DEPTH_MAX)
        return err_set(s->why, ERR_LIMIT, "json value is nested deeper than %d levels",
                       JSONB_DEPTH_MAX);
    skip_blanks(s);
    while (s->p < s->end && (n > 0 || *s->p != close)) {
        TRY(object ? parse_member(s, n) : parse_value(s));
        n++;
        skip_blanks(s);
        if (s->p == s->end || *s->p != ',')
            break;
        TRY(put(s, ", ", 2));
        s->p++;
    }
    if (s->p == s->end || *s->p != close)
        return syntax_error(s, object ? "\",\" or \"}\"" : "\",\" or \"]\"");
    if (object)
        TRY(settle_members(s, first, body));
    s->n_members = first;
    s->depth--;
    s->p++;
    return put(s, &close, 1);
}

static enum err parse_word(struct parser *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0 ||
        (s->p + n < s->end && (text_is_alpha(s->p[n]) || text_is_digit(s->p[n]))))
        return syntax_error(s, "a JSON value");
    s->p += n;
    return put(s, word, n);
}

/* Recursion is bounded by JSONB_DEPTH_MAX. */
static enum err parse_value(struct parser *s)
{
    skip_blanks(s);
    switch (s->p < s->end ? *s->p : '\0') {
    case '{':
        return parse_container(s, true);
    case '[':
        return parse_container(s, false);
    case '"':
        return parse_string(s, NULL);
    case 't':
        return parse_word(s, "true");
    case 'f':
        return parse_word(s, "false");
    case 'n':
        return parse_word(s, "null");
    default:
        if (s->p < s->end && (*s->p == '-' || text_is_digit(*s->p)))
            return parse_number(s);
        return syntax_error(s, "a JSON value");
    }
}

enum err jsonb_parse(struct str text, struct arena *a, struct str *out, struct err_detail *why)
{
    struct parser s = {.begin = text.ptr, .p = text.ptr, .arena = a, .why = why};
    if (text.ptr == NULL)
        s.begin = s.p = "";
    s.end = s.p + text.len;
    if (text.len > JSONB_TEXT_MAX)
        return err_set(why, ERR_LIMIT, "jsonb value is larger than %d bytes", JSONB_TEXT_MAX);
    if (!str_utf8_valid(text))
        return err_set(why, ERR_ENCODING, "invalid byte sequence for encoding \"UTF8\"");
    s.cap = text.len * 2 + TEXT_SLACK;
    s.out = arena_alloc(a, s.cap);
    if (s.out == NULL)
        return no_memory(&s);
    TRY(parse_value(&s));
    skip_blanks(&s);
    if (s.p != s.end)
        return syntax_error(&s, "the end of the input");
    *out = (struct str){s.out, s.len};
    return ERR_OK;
}

void jsonb_put_string(struct str s, struct buf *out)
{
    const char *p = s.ptr, *end = s.ptr + s.len;
    buf_put_u8(out, '"');
    while (p < end) {
        char escaped[6];
        size_t n = 0;
        const char *run = p;
        while (p < end && (n = escape_of(*p, escaped)) == 0)
            p++;
        buf_put(out, run, (size_t)(p - run));
        if (p < end) {
            buf_put(out, escaped, n);
            p++;
        }
    }
    buf_put_u8(out, '"');
}
