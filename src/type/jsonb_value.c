/* Reading normalised JSON values: lookups, order, containment. The texts are well-formed
 * (jsonb.c made them). */
#include "base/check.h"
#include "base/hash.h"
#include "type/jsonb.h"
#include "type/numeric.h"
#include "type/text_util.h"


enum jsonb_kind jsonb_kind_of(struct str j)
{
    switch (j.len > 0 ? j.ptr[0] : '\0') {
    case '{':
        return JSONB_OBJECT;
    case '[':
        return JSONB_ARRAY;
    case '"':
        return JSONB_STRING;
    case 't':
    case 'f':
        return JSONB_BOOL;
    case 'n':
        return JSONB_NULL;
    default:
        return JSONB_NUMBER;
    }
}

const char *jsonb_kind_name(enum jsonb_kind k)
{
    static const char *const names[] = {"null", "string", "number", "boolean", "array", "object"};
    return names[k];
}

/* Behind the string that starts at p. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        p += *p == '\\';
    return p < end ? p + 1 : end;
}

/* Behind the value that starts at p. */
static const char *skip_value(const char *p, const char *end)
{
    uint32_t depth = 0;
    while (p < end) {
        char c = *p;
        if (c == '"') {
            p = skip_string(p, end);
        } else if (c == '{' || c == '[') {
            depth++;
            p++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                return p;
            depth--;
            p++;
        } else {
            if (depth == 0 && (c == ',' || c == ' '))
                return p;
            p++;
            if (depth > 0 || (p < end && *p != ',' && *p != '}' && *p != ']'))
                continue;
        }
        if (depth == 0)
            return p;
    }
    return end;
}

struct jsonb_walk jsonb_walk_begin(struct str j)
{
    enum jsonb_kind k = jsonb_kind_of(j);
    if (k != JSONB_OBJECT && k != JSONB_ARRAY)
        return (struct jsonb_walk){0};
    return (struct jsonb_walk){
        .p = j.ptr + 1, .end = j.ptr + j.len - 1, .object = k == JSONB_OBJECT};
}

bool jsonb_walk_next(struct jsonb_walk *w, struct str *key, struct str *value)
{
    if (w->p >= w->end)
        return false;
    *key = (struct str){0};
    if (w->object) {
        const char *start = w->p;
        w->p = skip_string(w->p, w->end);
        *key = (struct str){start, (size_t)(w->p - start)};
        w->p += 2;    /* ": " */
    }
    const char *start = w->p;
    w->p = skip_value(w->p, w->end);
    *value = (struct str){start, (size_t)(w->p - start)};
    w->p += w->p < w->end ? 2 : 0;    /* ", " */
    return true;
}

struct str jsonb_member(struct str j, struct str key)
{
    struct jsonb_walk w = jsonb_walk_begin(j);
    struct str k, v;
    if (!w.object)
        return (struct str){0};
    bool plain = true;
    for (size_t i = 0; i < key.len; i++)
        plain &= (unsigned char)key.ptr[i] >= 0x20 && key.ptr[i] != '"' && key.ptr[i] != '\\';
    if (plain) {
        while (jsonb_walk_next(&w, &k, &v)) {
            if (k.len == key.len + 2 && memcmp(k.ptr + 1, key.ptr, key.len) == 0)
                return v;
        }
        return (struct str){0};
    }
    struct buf escaped;
    struct str found = {0};
    buf_init(&escaped, JSONB_TEXT_MAX);
    jsonb_put_string(key, &escaped);
    while (!escaped.failed && jsonb_walk_next(&w, &k, &v)) {
        if (str_eq(k, buf_str(&escaped)))
            found = v;
    }
    buf_deinit(&escaped);
    return found;
}

uint32_t jsonb_count(struct str j)
{
    struct jsonb_walk w = jsonb_walk_begin(j);
    struct str k, v;
    uint32_t n = 0;
    while (jsonb_walk_next(&w, &k, &v))
        n++;
    return n;
}

struct str jsonb_element(struct str j, int64_t index)
{
    struct jsonb_walk w = jsonb_walk_begin(j);
    struct str k, v;
    if (w.object || w.p == NULL)
        return (struct str){0};
    if (index < 0)
        index += jsonb_count(j);
    if (index < 0)
        return (struct str){0};
    for (int64_t i = 0; jsonb_walk_next(&w, &k, &v); i++) {
        if (i == index)
            return v;
    }
    return (struct str){0};
}

static uint32_t hex4(const char *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++)
        v = v << 4 | (uint32_t)(text_is_digit(p[i]) ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
    return v;
}

/* Resolves the escapes that normalised strings have: all of them stand for one byte. */
static size_t unescape(struct str s, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '\\') {
            c = s.ptr[++i];
            switch (c) {
            case 'b':
                c = '\b';
                break;
            case 'f':
                c = '\f';
                break;
            case 'n':
                c = '\n';
                break;
            case 'r':
                c = '\r';
                break;
            case 't':
                c = '\t';
                break;
            case 'u':
                c = (char)hex4(s.ptr + i + 1);
                i += 4;
                break;
            default:
                break;
            }
        }
        out[n++] = c;
    }
    return n;
}

struct str jsonb_text(struct str j, struct arena *a)
{
    if (jsonb_kind_of(j) != JSONB_STRING)
        return j;
    struct str inside = {j.ptr + 1, j.len - 2};
    if (inside.len == 0 || memchr(inside.ptr, '\\', inside.len) == NULL)
        return inside;
    char *out = arena_alloc(a, inside.len);
    if (out == NULL)
        return (struct str){0};
    return (struct str){out, unescape(inside, out)};
}

/* ---- order ---- */

/* The next character of an escaped string's inside. */
static unsigned char next_char(const char **p)
{
    char c;
    struct str s = {*p, (size_t)(**p != '\\' ? 1 : (*p)[1] == 'u' ? 6 : 2)};
    unescape(s, &c);
    *p += s.len;
    return (unsigned char)c;
}

static int compare_strings(struct str x, struct str y)
{
    const char *p = x.ptr + 1, *pe = x.ptr + x.len - 1;
    const char *q = y.ptr + 1, *qe = y.ptr + y.len - 1;
    while (p < pe && q < qe) {
        unsigned char a = next_char(&p), b = next_char(&q);
        if (a != b)
            return a < b ? -1 : 1;
    }
    return (p < pe) - (q < qe);
}

/* A JSON number's parts: digits without leading zeros, their count in front of the point,
 * trailing zeros cut. */
struct number {
    bool negative;
    struct str whole, fraction;
};

static struct number number_of(struct str j)
{
    struct number n = {.negative = j.ptr[0] == '-'};
    const char *p = j.ptr + n.negative, *end = j.ptr + j.len;
    while (p < end && *p == '0')
        p++;
    const char *point = memchr(p, '.', (size_t)(end - p));
    n.whole = (struct str){p, (size_t)((point != NULL ? point : end) - p)};
    if (point != NULL) {
        n.fraction = (struct str){point + 1, (size_t)(end - point - 1)};
        while (n.fraction.len > 0 && n.fraction.ptr[n.fraction.len - 1] == '0')
            n.fraction.len--;
    }
    return n;
}

static int compare_numbers(struct str x, struct str y)
{
    struct number a = number_of(x), b = number_of(y);
    if (a.negative != b.negative)
        return a.negative ? -1 : 1;
    int c = a.whole.len != b.whole.len ? (a.whole.len < b.whole.len ? -1 : 1)
                                       : str_cmp(a.whole, b.whole);
    if (c == 0)
        c = str_cmp(a.fraction, b.fraction);
    return a.negative ? -c : c;
}

/* Recursion is bounded by the depth that jsonb_parse allows. */
static int compare_values(struct str x, struct str y)
{
    enum jsonb_kind kx = jsonb_kind_of(x), ky = jsonb_kind_of(y);
    if (kx != ky)
        return kx < ky ? -1 : 1;
    if (kx == JSONB_STRING)
        return compare_strings(x, y);
    if (kx == JSONB_NUMBER)
        return compare_numbers(x, y);
    if (kx == JSONB_NULL)
        return 0;
    if (kx == JSONB_BOOL)
        return (x.ptr[0] == 't') - (y.ptr[0] == 't');
    uint32_t nx = jsonb_count(x), ny = jsonb_count(y);
    if (nx != ny)
        return nx < ny ? -1 : 1;
    struct jsonb_walk wx = jsonb_walk_begin(x), wy = jsonb_walk_begin(y);
    struct str key_x, key_y, vx, vy;
    while (jsonb_walk_next(&wx, &key_x, &vx) && jsonb_walk_next(&wy, &key_y, &vy)) {
        int c = kx == JSONB_OBJECT ? compare_strings(key_x, key_y) : 0;
        if (c == 0)
            c = compare_values(vx, vy);
        if (c != 0)
            return c;
    }
    return 0;
}

int jsonb_compare(struct str x, struct str y)
{
    if (str_eq(x, y))
        return 0;
    /* An empty array at the top sorts before scalars: PostgreSQL stores a scalar as an array of
     * one. */
    bool scalar_x = jsonb_kind_of(x) < JSONB_ARRAY, scalar_y = jsonb_kind_of(y) < JSONB_ARRAY;
    if (scalar_x && str_eq(y, STR("[]")))
        return 1;
    if (scalar_y && str_eq(x, STR("[]")))
        return -1;
    return compare_values(x, y);
}

uint64_t jsonb_hash(struct str j)
{
    uint64_t h = (uint64_t)jsonb_kind_of(j);
    if (h == JSONB_NUMBER) {
        struct number n = number_of(j);
        h = hash_bytes(n.whole.ptr, n.whole.len, h + n.negative);
        return hash_bytes(n.fraction.ptr, n.fraction.len, h);
    }
    if (h != JSONB_ARRAY && h != JSONB_OBJECT)
        return hash_bytes(j.ptr, j.len, h);
    struct jsonb_walk w = jsonb_walk_begin(j);
    struct str k, v;
    while (jsonb_walk_next(&w, &k, &v))
        h = hash_u64(hash_bytes(k.ptr, k.len, h) ^ jsonb_hash(v));
    return h;
}

/* ---- containment ---- */

static bool value_contains(struct str x, struct str y);

static bool array_has(struct str x, struct str y)
{
    struct jsonb_walk w = jsonb_walk_begin(x);
    struct str k, v;
    while (jsonb_walk_next(&w, &k, &v)) {
        if (jsonb_kind_of(v) == jsonb_kind_of(y) && value_contains(v, y))
            return true;
    }
    return false;
}

static bool value_contains(struct str x, struct str y)
{
    enum jsonb_kind kx = jsonb_kind_of(x), ky = jsonb_kind_of(y);
    struct str k, v;
    if (kx != ky)
        return false;
    if (kx != JSONB_ARRAY && kx != JSONB_OBJECT)
        return compare_values(x, y) == 0;
    struct jsonb_walk w = jsonb_walk_begin(y);
    while (jsonb_walk_next(&w, &k, &v)) {
        if (kx == JSONB_ARRAY) {
            if (!array_has(x, v))
                return false;
            continue;
        }
        struct jsonb_walk in = jsonb_walk_begin(x);
        struct str key, value;
        bool found = false;
        while (!found && jsonb_walk_next(&in, &key, &value))
            found = str_eq(key, k);
        if (!found || !value_contains(value, v))
            return false;
    }
    return true;
}

bool jsonb_contains(struct str x, struct str y)
{
    /* An array contains a scalar at the top. */
    if (jsonb_kind_of(x) == JSONB_ARRAY && jsonb_kind_of(y) < JSONB_ARRAY)
        return array_has(x, y);
    return value_contains(x, y);
}
