/* Functions over text. Positions and lengths count characters. */
#include "type/function_int.h"
#include "type/md5.h"
#include "type/utf8.h"

enum {
    TEXT_RESULT_MAX = 16 << 20,
    CODE_POINT_MAX = 0x10FFFF,
    SET_STEPS_MAX = 500000000, /* of a search for each character in a set: a second or two */
};

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* ---- case ---- */

static void map_case(struct kernel_context *k, struct column *out, uint32_t row, struct str s,
                     uint32_t (*map)(uint32_t))
{
    /* A letter's other case has at most one byte more. */
    char *p = kernel_alloc(k, s.len * 2);
    size_t n = 0;
    if (p == NULL)
        return;
    for (const char *at = s.ptr, *end = s.ptr + s.len; at < end;)
        n += utf8_put(map(utf8_get(&at, end)), p + n);
    column_str(out)[row] = (struct str){p, n};
}

KERNEL(text_lower)
{
    KERNEL_ROWS(k, row)
        map_case(k, out, row, ARG_STR(0, row), utf8_lower);
}

KERNEL(text_upper)
{
    KERNEL_ROWS(k, row)
        map_case(k, out, row, ARG_STR(0, row), utf8_upper);
}

KERNEL(text_initcap)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        char *p = kernel_alloc(k, s.len * 2);
        size_t n = 0;
        bool inside = false;
        if (p == NULL)
            return;
        for (const char *at = s.ptr, *end = s.ptr + s.len; at < end;) {
            uint32_t c = utf8_get(&at, end);
            n += utf8_put(inside ? utf8_lower(c) : utf8_upper(c), p + n);
            inside = utf8_is_word(c);
        }
        column_str(out)[row] = (struct str){p, n};
    }
}

/* ---- lengths and parts ---- */

KERNEL(text_length)
{
    KERNEL_ROWS(k, row)
        column_i4(out)[row] = (int32_t)utf8_count(ARG_STR(0, row));
}

KERNEL(text_octet_length)
{
    KERNEL_ROWS(k, row)
        column_i4(out)[row] = (int32_t)ARG_STR(0, row).len;
}

KERNEL(text_bit_length)
{
    KERNEL_ROWS(k, row)
        column_i4(out)[row] = (int32_t)(ARG_STR(0, row).len * 8);
}

/* Characters first..end-1 (0-based, may lie outside). */
static struct str slice(struct str s, int64_t first, int64_t end)
{
    first = first < 0 ? 0 : first;
    if (end <= first)
        return (struct str){s.ptr, 0};
    size_t from = utf8_offset(s, first);
    struct str rest = {s.ptr + from, s.len - from};
    return (struct str){rest.ptr, utf8_offset(rest, end - first)};
}

KERNEL(text_substr)
{
    KERNEL_ROWS(k, row)
        column_str(out)[row] = slice(ARG_STR(0, row), (int64_t)ARG_I4(1, row) - 1, INT64_MAX);
}

KERNEL(text_substr_length)
{
    KERNEL_ROWS(k, row)
    {
        int64_t start = (int64_t)ARG_I4(1, row) - 1, length = ARG_I4(2, row);
        if (length < 0)
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "negative substring length not allowed");
        else
            column_str(out)[row] = slice(ARG_STR(0, row), start, start + length);
    }
}

KERNEL(text_left)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        int64_t n = ARG_I4(1, row);
        column_str(out)[row] = slice(s, 0, n >= 0 ? n : utf8_count(s) + n);
    }
}

KERNEL(text_right)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        int64_t n = ARG_I4(1, row);
        column_str(out)[row] = slice(s, n >= 0 ? utf8_count(s) - n : -n, INT64_MAX);
    }
}

/* Offset of `part` in s at or behind `from`, or s.len + 1. */
static size_t find(struct str s, struct str part, size_t from)
{
    if (part.len == 0)
        return from;
    if (from > s.len || s.len - from < part.len)
        return s.len + 1;
    const char *p = memmem(s.ptr + from, s.len - from, part.ptr, part.len);
    return p == NULL ? s.len + 1 : (size_t)(p - s.ptr);
}

KERNEL(text_strpos)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        size_t at = find(s, ARG_STR(1, row), 0);
        column_i4(out)[row] =
            at > s.len ? 0 : (int32_t)utf8_count((struct str){s.ptr, at}) + 1;
    }
}

KERNEL(text_starts_with)
{
    KERNEL_ROWS(k, row)
        column_bool(out)[row] = str_starts(ARG_STR(0, row), ARG_STR(1, row));
}

/* Field n (1-based) between delimiters. */
static struct str field(struct str s, struct str delimiter, int64_t n)
{
    size_t from = 0;
    for (; n > 1; n--) {
        size_t at = find(s, delimiter, from);
        if (at > s.len)
            return (struct str){s.ptr, 0};
        from = at + delimiter.len;
    }
    size_t to = find(s, delimiter, from);
    return (struct str){s.ptr + from, (to > s.len ? s.len : to) - from};
}

KERNEL(text_split_part)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row), delimiter = ARG_STR(1, row);
        int64_t n = ARG_I4(2, row);
        if (n == 0) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "field position must not be zero");
            continue;
        }
        if (delimiter.len == 0 || s.len == 0) {
            column_str(out)[row] = n == 1 || n == -1 ? s : STR("");
            continue;
        }
        if (n < 0) {
            int64_t fields = 1;
            for (size_t at = 0; (at = find(s, delimiter, at)) <= s.len; at += delimiter.len)
                fields++;
            n += fields + 1;
        }
        column_str(out)[row] = n < 1 ? STR("") : field(s, delimiter, n);
    }
}

/* ---- trimming ---- */

/* Whether the character of c's bytes occurs in the set. */
static bool in_set(struct str set, const char *c, size_t n)
{
    for (size_t at = 0; at < set.len; at += utf8_len(set.ptr[at])) {
        if (set.len - at >= n && memcmp(set.ptr + at, c, n) == 0)
            return true;
    }
    return false;
}

/* False (and an error in the row) when looking for each character of s in the set would hold up the
 * thread, and with it everybody else on it. */
static bool set_ok(struct kernel_context *k, uint32_t row, struct str s, struct str set)
{
    if (set.len == 0 || s.len <= SET_STEPS_MAX / set.len)
        return true;
    kernel_fail(k, row, ERR_LIMIT,
                "looking for %zu bytes of text in a set of %zu bytes takes more than %d steps",
                s.len, set.len, SET_STEPS_MAX);
    return false;
}

static struct str trim(struct str s, struct str set, bool left, bool right)
{
    while (left && s.len > 0 && in_set(set, s.ptr, utf8_len(s.ptr[0]))) {
        size_t n = utf8_len(s.ptr[0]);
        s = (struct str){s.ptr + n, s.len - n};
    }
    while (right && s.len > 0) {
        size_t n = 1;
        while (n < s.len && utf8_is_inner(s.ptr[s.len - n]))
            n++;
        if (!in_set(set, s.ptr + s.len - n, n))
            break;
        s.len -= n;
    }
    return s;
}

#define TRIM_KERNELS(name, left, right)                                                         \
    KERNEL(name)                                                                                \
    {                                                                                           \
        KERNEL_ROWS(k, row)                                                                     \
            column_str(out)[row] = trim(ARG_STR(0, row), STR(" "), left, right);                \
    }                                                                                           \
    KERNEL(name##_set)                                                                          \
    {                                                                                           \
        KERNEL_ROWS(k, row)                                                                     \
        {                                                                                       \
            struct str s = ARG_STR(0, row), set = ARG_STR(1, row);                              \
            if (set_ok(k, row, s, set))                                                         \
                column_str(out)[row] = trim(s, set, left, right);                               \
        }                                                                                       \
    }

TRIM_KERNELS(text_btrim, true, true)
TRIM_KERNELS(text_ltrim, true, false)
TRIM_KERNELS(text_rtrim, false, true)

/* ---- building ---- */

/* False (and an error in the row) when a result would be larger than TEXT_RESULT_MAX. */
static bool size_ok(struct kernel_context *k, uint32_t row, uint64_t n)
{
    if (n <= TEXT_RESULT_MAX)
        return true;
    kernel_fail(k, row, ERR_LIMIT, "requested length too large: %llu bytes, the maximum is %d",
                (unsigned long long)n, TEXT_RESULT_MAX);
    return false;
}

static void put_two(struct kernel_context *k, struct column *out, uint32_t row, struct str a,
                    struct str b)
{
    if (!size_ok(k, row, (uint64_t)a.len + b.len))
        return;
    char *p = kernel_alloc(k, a.len + b.len);
    if (p == NULL)
        return;
    if (a.len > 0)
        memcpy(p, a.ptr, a.len);
    if (b.len > 0)
        memcpy(p + a.len, b.ptr, b.len);
    column_str(out)[row] = (struct str){p, a.len + b.len};
}

/* || of text with anything. */
KERNEL(any_concat_operator)
{
    KERNEL_ROWS(k, row)
        put_two(k, out, row, kernel_text_of(k, args[0], arg_at(constant, 0, row), true),
                kernel_text_of(k, args[1], arg_at(constant, 1, row), true));
}

/* Joins the non-NULL arguments from `first` on. */
static void join(struct kernel_context *k, const struct column *const *args, uint32_t constant,
                 struct column *out, uint32_t row, uint32_t first, struct str separator)
{
    uint64_t total = 0;
    struct str *parts = arena_alloc(k->arena, (k->n_args + 1) * sizeof *parts);
    uint32_t n = 0;
    if (parts == NULL) {
        k->out_of_memory = true;
        return;
    }
    for (uint32_t i = first; i < k->n_args; i++) {
        if (ARG_NULL(i, row))
            continue;
        parts[n] = kernel_text_of(k, args[i], arg_at(constant, i, row), false);
        total += parts[n].len + (n > 0 ? separator.len : 0);
        n++;
    }
    if (!size_ok(k, row, total))
        return;
    char *p = kernel_alloc(k, total);
    if (p == NULL)
        return;
    column_str(out)[row] = (struct str){p, total};
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0 && separator.len > 0) {
            memcpy(p, separator.ptr, separator.len);
            p += separator.len;
        }
        if (parts[i].len > 0)
            memcpy(p, parts[i].ptr, parts[i].len);
        p += parts[i].len;
    }
}

KERNEL(any_concat)
{
    KERNEL_ROWS(k, row)
        join(k, args, constant, out, row, 0, STR(""));
}

KERNEL(any_concat_ws)
{
    KERNEL_ROWS(k, row)
    {
        if (ARG_NULL(0, row))
            kernel_null_row(k, out, row);
        else
            join(k, args, constant, out, row, 1, ARG_STR(0, row));
    }
}

KERNEL(text_repeat)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        int32_t times = ARG_I4(1, row);
        uint64_t n = times <= 0 ? 0 : (uint64_t)s.len * (uint64_t)times;
        if (!size_ok(k, row, n))
            continue;
        char *p = kernel_alloc(k, n);
        if (p == NULL)
            return;
        for (uint64_t at = 0; at < n; at += s.len)
            memcpy(p + at, s.ptr, s.len);
        column_str(out)[row] = (struct str){p, n};
    }
}

KERNEL(text_reverse)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        char *p = kernel_alloc(k, s.len);
        if (p == NULL)
            return;
        for (size_t at = 0; at < s.len;) {
            size_t n = utf8_len(s.ptr[at]);
            memcpy(p + s.len - at - n, s.ptr + at, n);
            at += n;
        }
        column_str(out)[row] = (struct str){p, s.len};
    }
}

/* Fills or cuts to `length` characters. */
static void pad(struct kernel_context *k, struct column *out, uint32_t row, struct str s,
                int64_t length, struct str with, bool left)
{
    int64_t have = utf8_count(s), unit = utf8_count(with);
    length = length < 0 ? 0 : length;
    int64_t missing = unit == 0 || length <= have ? 0 : length - have;
    struct str kept = slice(s, 0, length);
    if (!size_ok(k, row, (uint64_t)length * 4))
        return;
    uint64_t whole = missing == 0 ? 0 : (uint64_t)(missing / unit);
    struct str part = slice(with, 0, missing == 0 ? 0 : missing % unit);
    size_t fill = whole * with.len + part.len;
    char *p = kernel_alloc(k, kept.len + fill);
    if (p == NULL)
        return;
    char *at = left ? p : p + kept.len;
    for (uint64_t i = 0; i < whole; i++, at += with.len)
        memcpy(at, with.ptr, with.len);
    if (part.len > 0)
        memcpy(at, part.ptr, part.len);
    if (kept.len > 0)
        memcpy(left ? p + fill : p, kept.ptr, kept.len);
    column_str(out)[row] = (struct str){p, kept.len + fill};
}

#define PAD_KERNELS(name, left)                                                                 \
    KERNEL(name)                                                                                \
    {                                                                                           \
        KERNEL_ROWS(k, row)                                                                     \
            pad(k, out, row, ARG_STR(0, row), ARG_I4(1, row), STR(" "), left);                  \
    }                                                                                           \
    KERNEL(name##_with)                                                                         \
    {                                                                                           \
        KERNEL_ROWS(k, row)                                                                     \
            pad(k, out, row, ARG_STR(0, row), ARG_I4(1, row), ARG_STR(2, row), left);           \
    }

PAD_KERNELS(text_lpad, true)
PAD_KERNELS(text_rpad, false)

KERNEL(text_replace)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row), from = ARG_STR(1, row), to = ARG_STR(2, row);
        uint64_t count = 0;
        if (from.len > 0) {
            for (size_t at = 0; (at = find(s, from, at)) <= s.len; at += from.len)
                count++;
        }
        if (count == 0) {
            column_str(out)[row] = s;
            continue;
        }
        uint64_t n = s.len - count * from.len + count * to.len;
        if (!size_ok(k, row, n))
            continue;
        char *p = kernel_alloc(k, n), *w = p;
        if (p == NULL)
            return;
        size_t done = 0;
        for (size_t at = 0; (at = find(s, from, done)) <= s.len; done = at + from.len) {
            memcpy(w, s.ptr + done, at - done);
            w += at - done;
            if (to.len > 0)
                memcpy(w, to.ptr, to.len);
            w += to.len;
        }
        memcpy(w, s.ptr + done, s.len - done);
        column_str(out)[row] = (struct str){p, n};
    }
}

/* translate(s, from, to): character by character; what has no counterpart is left out. Searching
 * `from` for every character takes |s| * |from| steps. */
KERNEL(text_translate)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row), from = ARG_STR(1, row), to = ARG_STR(2, row);
        if (!set_ok(k, row, s, from))
            continue;
        char *p = kernel_alloc(k, s.len * 4);
        size_t n = 0;
        if (p == NULL)
            return;
        for (const char *at = s.ptr, *end = s.ptr + s.len; at < end;) {
            uint32_t c = utf8_get(&at, end);
            const char *f = from.ptr, *t = to.ptr;
            uint32_t with = c;
            bool drop = false;
            while (f < from.ptr + from.len) {
                uint32_t candidate = utf8_get(&f, from.ptr + from.len);
                bool has = t < to.ptr + to.len;
                uint32_t counterpart = has ? utf8_get(&t, to.ptr + to.len) : 0;
                if (candidate == c) {
                    with = counterpart;
                    drop = !has;
                    break;
                }
            }
            if (!drop)
                n += utf8_put(with, p + n);
        }
        column_str(out)[row] = (struct str){p, n};
    }
}

/* ---- codes ---- */

KERNEL(text_ascii)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        const char *p = s.ptr;
        column_i4(out)[row] = s.len == 0 ? 0 : (int32_t)utf8_get(&p, s.ptr + s.len);
    }
}

KERNEL(text_chr)
{
    KERNEL_ROWS(k, row)
    {
        int32_t c = ARG_I4(0, row);
        char bytes[4];
        if (c == 0)
            kernel_fail(k, row, ERR_LIMIT, "null character not permitted");
        else if (c < 0)
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "character number must be positive");
        else if (c > CODE_POINT_MAX || (c >= 0xD800 && c <= 0xDFFF))
            kernel_fail(k, row, ERR_LIMIT, "requested character not valid for encoding: %d", c);
        else
            kernel_put_text(k, out, row, bytes, utf8_put((uint32_t)c, bytes));
    }
}

KERNEL(text_md5)
{
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        char hex[MD5_HEX_BYTES];
        md5_hex(s.ptr, s.len, hex);
        kernel_put_text(k, out, row, hex, sizeof hex);
    }
}

static void put_hex(struct kernel_context *k, struct column *out, uint32_t row, uint64_t v)
{
    char text[16];
    char *p = text + sizeof text;
    do {
        *--p = "0123456789abcdef"[v & 15];
        v >>= 4;
    } while (v != 0);
    kernel_put_text(k, out, row, p, (size_t)(text + sizeof text - p));
}

KERNEL(i4_to_hex)
{
    KERNEL_ROWS(k, row)
        put_hex(k, out, row, (uint32_t)ARG_I4(0, row));
}

KERNEL(i8_to_hex)
{
    KERNEL_ROWS(k, row)
        put_hex(k, out, row, (uint64_t)ARG_I8(0, row));
}

/* Overloads differ in the number of arguments only. */
static const struct function rows[] = {
    FUNCTION1("lower", TEXT, TEXT, text_lower),
    FUNCTION1("upper", TEXT, TEXT, text_upper),
    FUNCTION1("initcap", TEXT, TEXT, text_initcap),
    FUNCTION1("length", INT4, TEXT, text_length),
    FUNCTION1("char_length", INT4, TEXT, text_length),
    FUNCTION1("character_length", INT4, TEXT, text_length),
    FUNCTION1("octet_length", INT4, TEXT, text_octet_length),
    FUNCTION1("bit_length", INT4, TEXT, text_bit_length),
    FUNCTION2("substr", TEXT, TEXT, INT4, text_substr),
    FUNCTION3("substr", TEXT, TEXT, INT4, INT4, text_substr_length),
    FUNCTION2("substring", TEXT, TEXT, INT4, text_substr),
    FUNCTION3("substring", TEXT, TEXT, INT4, INT4, text_substr_length),
    FUNCTION2("left", TEXT, TEXT, INT4, text_left),
    FUNCTION2("right", TEXT, TEXT, INT4, text_right),
    FUNCTION1("btrim", TEXT, TEXT, text_btrim),
    FUNCTION2("btrim", TEXT, TEXT, TEXT, text_btrim_set),
    FUNCTION1("trim", TEXT, TEXT, text_btrim),
    FUNCTION1("ltrim", TEXT, TEXT, text_ltrim),
    FUNCTION2("ltrim", TEXT, TEXT, TEXT, text_ltrim_set),
    FUNCTION1("rtrim", TEXT, TEXT, text_rtrim),
    FUNCTION2("rtrim", TEXT, TEXT, TEXT, text_rtrim_set),
    FUNCTION3("replace", TEXT, TEXT, TEXT, TEXT, text_replace),
    FUNCTION3("translate", TEXT, TEXT, TEXT, TEXT, text_translate),
    FUNCTION2("strpos", INT4, TEXT, TEXT, text_strpos),
    FUNCTION2("position", INT4, TEXT, TEXT, text_strpos),
    FUNCTION3("split_part", TEXT, TEXT, TEXT, INT4, text_split_part),
    FUNCTION2("lpad", TEXT, TEXT, INT4, text_lpad),
    FUNCTION3("lpad", TEXT, TEXT, INT4, TEXT, text_lpad_with),
    FUNCTION2("rpad", TEXT, TEXT, INT4, text_rpad),
    FUNCTION3("rpad", TEXT, TEXT, INT4, TEXT, text_rpad_with),
    FUNCTION2("starts_with", BOOL, TEXT, TEXT, text_starts_with),
    OPERATOR2("^@", BOOL, TEXT, TEXT, text_starts_with),
    FUNCTION1("reverse", TEXT, TEXT, text_reverse),
    FUNCTION2("repeat", TEXT, TEXT, INT4, text_repeat),
    FUNCTION1("md5", TEXT, TEXT, text_md5),
    FUNCTION1("ascii", INT4, TEXT, text_ascii),
    FUNCTION1("chr", TEXT, INT4, text_chr),
    FUNCTION1("to_hex", TEXT, INT4, i4_to_hex),
    FUNCTION1("to_hex", TEXT, INT8, i8_to_hex),
    OPERATOR2("||", TEXT, TEXT, TEXT, any_concat_operator),
    OPERATOR2("||", TEXT, TEXT, UNKNOWN, any_concat_operator),
    OPERATOR2("||", TEXT, UNKNOWN, TEXT, any_concat_operator),
    {.name = "concat", .kind = FUNCTION_PLAIN, .result = TYPE_TEXT, .n_args = 1, .variadic = true,
     .nulls_seen = true, .args = {TYPE_UNKNOWN}, .kernel = any_concat},
    {.name = "concat_ws", .kind = FUNCTION_PLAIN, .result = TYPE_TEXT, .n_args = 2,
     .variadic = true, .nulls_seen = true, .args = {TYPE_TEXT, TYPE_UNKNOWN},
     .kernel = any_concat_ws},
};

const struct function_table functions_text = {rows, ARRAY_LEN(rows)};
