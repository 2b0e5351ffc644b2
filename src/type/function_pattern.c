/* LIKE, and regular expressions. */
#include "type/function_int.h"
#include "type/regex.h"
#include "type/utf8.h"

enum {
    REPLACED_MAX = 16 << 20,
    LIKE_STEPS_MAX = 50000000, /* of one LIKE: about a second */
};

#define KERNEL(name)                                                                            \
    static void name(struct kernel_context *k, const struct column *const *args,               \
                     uint32_t constant, struct column *out)

/* ---- LIKE ---- */

static uint32_t next_char(const char **p, const char *end, bool fold)
{
    uint32_t c = utf8_get(p, end);
    return fold ? utf8_lower(c) : c;
}

/* One pattern element that is not % against one character of the text: both are moved on. False:
 * differs. */
static bool like_step(const char **s, const char *s_end, const char **p, const char *p_end,
                      bool fold)
{
    uint32_t c = next_char(s, s_end, fold);
    if (**p == '_') {
        (*p)++;
        return true;
    }
    if (**p == '\\')
        (*p)++;
    return next_char(p, p_end, fold) == c;
}

enum like_result { LIKE_NO, LIKE_YES, LIKE_TOO_LONG };

/* Greedy with one point of return, the last %: |s| * |p| steps when it goes on failing late, and
 * LIKE_STEPS_MAX at most. */
static enum like_result like_match(struct str text, struct str pattern, bool fold)
{
    uint32_t steps = 0;
    const char *s = text.ptr, *s_end = text.ptr + text.len;
    const char *p = pattern.ptr, *p_end = pattern.ptr + pattern.len;
    const char *retry_s = NULL, *retry_p = NULL;
    while (steps++ < LIKE_STEPS_MAX) {
        if (p < p_end && *p == '%') {
            retry_p = ++p;
            retry_s = s;
            if (p == p_end)
                return LIKE_YES;
            continue;
        }
        if (s == s_end)
            return p == p_end ? LIKE_YES : LIKE_NO;
        if (p < p_end && like_step(&s, s_end, &p, p_end, fold))
            continue;
        if (retry_p == NULL || retry_s == s_end)
            return LIKE_NO;
        utf8_get(&retry_s, s_end);
        s = retry_s;
        p = retry_p;
    }
    return LIKE_TOO_LONG;
}

/* A pattern ends with an odd run of escapes. */
static bool like_is_bad(struct str p)
{
    size_t n = 0;
    while (n < p.len && p.ptr[p.len - 1 - n] == '\\')
        n++;
    return n % 2 == 1;
}

/* A pattern whose only wildcards are % at its ends, the common kind. */
struct like_plan {
    bool simple, any_before, any_behind;
    struct str literal;
};

static struct like_plan like_plan_of(struct str p, bool fold)
{
    struct like_plan plan = {.literal = p};
    struct str *l = &plan.literal;
    if (l->len > 0 && l->ptr[0] == '%') {
        plan.any_before = true;
        *l = (struct str){l->ptr + 1, l->len - 1};
    }
    if (l->len > 0 && l->ptr[l->len - 1] == '%') {
        plan.any_behind = true;
        l->len--;
    }
    plan.simple = !fold;
    for (size_t i = 0; i < l->len; i++)
        plan.simple &= l->ptr[i] != '%' && l->ptr[i] != '_' && l->ptr[i] != '\\';
    return plan;
}

static bool like_simple(struct str s, const struct like_plan *plan)
{
    struct str l = plan->literal;
    if (s.len < l.len)
        return false;
    if (l.len == 0)
        return plan->any_before || plan->any_behind || s.len == 0;
    if (plan->any_before && plan->any_behind)
        return memmem(s.ptr, s.len, l.ptr, l.len) != NULL;
    if (plan->any_before)
        return memcmp(s.ptr + s.len - l.len, l.ptr, l.len) == 0;
    return (plan->any_behind || s.len == l.len) && memcmp(s.ptr, l.ptr, l.len) == 0;
}

static void like(struct kernel_context *k, const struct column *const *args, uint32_t constant,
                 struct column *out, bool fold, bool negate)
{
    struct like_plan plan = {0};
    bool planned = false, bad = false;
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row), p = ARG_STR(1, row);
        if (!planned || (constant & 2) == 0) {
            plan = like_plan_of(p, fold);
            bad = like_is_bad(p);
            planned = true;
        }
        if (bad) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER,
                        "LIKE pattern must not end with escape character");
            continue;
        }
        enum like_result r = LIKE_NO;
        if (!plan.simple)
            r = like_match(s, p, fold);
        else if (like_simple(s, &plan))
            r = LIKE_YES;
        if (r == LIKE_TOO_LONG) {
            kernel_fail(k, row, ERR_LIMIT,
                        "LIKE: %zu bytes of text, %zu bytes of pattern take over %d steps",
                        s.len, p.len, LIKE_STEPS_MAX);
            continue;
        }
        column_bool(out)[row] = (r == LIKE_YES) != negate;
    }
}

KERNEL(text_like) { like(k, args, constant, out, false, false); }
KERNEL(text_not_like) { like(k, args, constant, out, false, true); }
KERNEL(text_ilike) { like(k, args, constant, out, true, false); }
KERNEL(text_not_ilike) { like(k, args, constant, out, true, true); }

/* like_escape(pattern, escape): the pattern with backslash as its escape. */
KERNEL(text_like_escape)
{
    KERNEL_ROWS(k, row)
    {
        struct str p = ARG_STR(0, row), escape = ARG_STR(1, row);
        char *w = kernel_alloc(k, p.len * 2);
        size_t n = 0;
        if (w == NULL)
            return;
        if (utf8_count(escape) > 1) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER, "invalid escape string");
            continue;
        }
        bool after_escape = false;
        for (size_t i = 0; i < p.len; i += utf8_len(p.ptr[i])) {
            size_t len = utf8_len(p.ptr[i]);
            bool is_escape = escape.len == len && memcmp(p.ptr + i, escape.ptr, len) == 0;
            if (is_escape && !after_escape) {
                w[n++] = '\\';
                after_escape = true;
                continue;
            }
            if (p.ptr[i] == '\\' && !after_escape)
                w[n++] = '\\';
            memcpy(w + n, p.ptr + i, len);
            n += len;
            after_escape = false;
        }
        column_str(out)[row] = (struct str){w, n};
    }
}

/* ---- regular expressions ---- */

/* The compiled expression of the row at hand: prepared, or compiled when the pattern changes. */
struct pattern {
    struct str text, flags;
    const struct regex *regex;
    struct regex_matcher *matcher;
};

/* False: the row has failed. */
static bool pattern_ready(struct kernel_context *k, struct pattern *p, uint32_t row,
                          struct str text, struct str flags)
{
    struct err_detail why = {0};
    if (p->matcher != NULL && (k->prepared != NULL ||
                               (str_eq(p->text, text) && str_eq(p->flags, flags))))
        return true;
    p->regex = k->prepared;
    p->matcher = NULL;
    if (p->regex == NULL) {
        enum err e = regex_compile(text, flags, k->arena, &p->regex, &why);
        if (e != ERR_OK) {
            kernel_fail_row(k, row, e, &why);
            return false;
        }
    }
    p->text = text;
    p->flags = flags;
    p->matcher = regex_matcher_new(p->regex, k->arena);
    k->out_of_memory |= p->matcher == NULL;
    return p->matcher != NULL;
}

/* False: the row has failed. */
static bool search(struct kernel_context *k, struct pattern *p, uint32_t row, struct str s,
                   size_t from, struct regex_match *m)
{
    struct err_detail why = {0};
    enum err e = regex_search(p->matcher, s, from, m, &why);
    if (e != ERR_OK)
        kernel_fail_row(k, row, e, &why);
    return e == ERR_OK;
}

static enum err prepare_with(const struct value *const *constants, uint32_t n_args,
                             uint32_t flags_at, const char *fixed, struct arena *a,
                             const void **out, struct err_detail *why)
{
    const struct regex *r;
    struct str flags = str_of(fixed);
    if (constants[1] == NULL || (n_args > flags_at && constants[flags_at] == NULL))
        return ERR_OK;
    if (n_args > flags_at)
        flags = constants[flags_at]->as.s;
    TRY(regex_compile(constants[1]->as.s, flags, a, &r, why));
    *out = r;
    return ERR_OK;
}

static enum err prepare_plain(const struct value *const *constants, uint32_t n_args,
                              struct arena *a, const void **out, struct err_detail *why)
{
    return prepare_with(constants, n_args, 2, "", a, out, why);
}

static enum err prepare_fold(const struct value *const *constants, uint32_t n_args,
                             struct arena *a, const void **out, struct err_detail *why)
{
    return prepare_with(constants, n_args, 2, "i", a, out, why);
}

static enum err prepare_replace(const struct value *const *constants, uint32_t n_args,
                                struct arena *a, const void **out, struct err_detail *why)
{
    return prepare_with(constants, n_args, 3, "", a, out, why);
}

static void regex_test(struct kernel_context *k, const struct column *const *args,
                       uint32_t constant, struct column *out, struct str fixed, bool negate)
{
    struct pattern p = {0};
    struct regex_match m;
    KERNEL_ROWS(k, row)
    {
        struct str flags = k->n_args > 2 ? ARG_STR(2, row) : fixed;
        if (!pattern_ready(k, &p, row, ARG_STR(1, row), flags))
            continue;
        if (search(k, &p, row, ARG_STR(0, row), 0, &m))
            column_bool(out)[row] = m.found != negate;
    }
}

KERNEL(regex_match_test) { regex_test(k, args, constant, out, STR(""), false); }
KERNEL(regex_no_match) { regex_test(k, args, constant, out, STR(""), true); }
KERNEL(regex_match_fold) { regex_test(k, args, constant, out, STR("i"), false); }
KERNEL(regex_no_match_fold) { regex_test(k, args, constant, out, STR("i"), true); }

/* The first group, or the match when there is none; NULL without a match. */
static void regex_part(struct kernel_context *k, const struct column *const *args,
                       uint32_t constant, struct column *out, bool groups)
{
    struct pattern p = {0};
    struct regex_match m;
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        if (!pattern_ready(k, &p, row, ARG_STR(1, row), STR("")) ||
            !search(k, &p, row, s, 0, &m))
            continue;
        uint32_t g = groups && m.n_groups > 1 ? 1 : 0;
        if (!m.found || m.start[g] == SIZE_MAX)
            kernel_null_row(k, out, row);
        else
            column_str(out)[row] = (struct str){s.ptr + m.start[g], m.end[g] - m.start[g]};
    }
}

KERNEL(regex_substring) { regex_part(k, args, constant, out, true); }
KERNEL(regex_substr) { regex_part(k, args, constant, out, false); }

/* Where the search goes on behind a match: an empty one moves on by a character. */
static size_t behind(struct str s, const struct regex_match *m)
{
    if (m->end[0] > m->start[0])
        return m->end[0];
    return m->end[0] < s.len ? m->end[0] + utf8_len(s.ptr[m->end[0]]) : s.len + 1;
}

KERNEL(regex_count)
{
    struct pattern p = {0};
    struct regex_match m;
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row);
        int32_t count = 0;
        if (!pattern_ready(k, &p, row, ARG_STR(1, row), STR("")))
            continue;
        for (size_t from = 0; from <= s.len; from = behind(s, &m)) {
            if (!search(k, &p, row, s, from, &m) || !m.found)
                break;
            count++;
        }
        column_i4(out)[row] = count;
    }
}

/* Output of a replacement: counts first, writes when `at` is set. */
struct writer {
    char *at;
    uint64_t n;
};

static void put(struct writer *w, const char *p, size_t n)
{
    if (w->at != NULL && n > 0) {
        memcpy(w->at, p, n);
        w->at += n;
    }
    w->n += n;
}

/* The replacement with \1 to \9, \& and \\ filled in. */
static void put_replacement(struct writer *w, struct str with, struct str s,
                            const struct regex_match *m)
{
    for (size_t i = 0; i < with.len; i++) {
        const char *c = with.ptr + i;
        if (*c != '\\' || i + 1 == with.len) {
            put(w, c, 1);
            continue;
        }
        i++;
        uint32_t g = c[1] == '&' ? 0 : (uint32_t)(c[1] - '0');
        if (c[1] == '&' || (c[1] >= '1' && c[1] <= '9')) {
            if (g < m->n_groups && m->start[g] != SIZE_MAX)
                put(w, s.ptr + m->start[g], m->end[g] - m->start[g]);
        } else if (c[1] == '\\') {
            put(w, "\\", 1);
        } else {
            put(w, c, 2);
        }
    }
}

/* One pass over the matches from `from` on, of which the n-th is replaced, with 0 all; false: the
 * row has failed. */
static bool replace_pass(struct kernel_context *k, struct pattern *p, uint32_t row, struct str s,
                         struct str with, size_t from, int32_t n, struct writer *w)
{
    size_t done = 0;
    struct regex_match m;
    for (int32_t i = 1; from <= s.len; from = behind(s, &m), i++) {
        if (!search(k, p, row, s, from, &m))
            return false;
        if (!m.found)
            break;
        if (n != 0 && i != n)
            continue;
        put(w, s.ptr + done, m.start[0] - done);
        put_replacement(w, with, s, &m);
        done = m.end[0];
        if (w->n > REPLACED_MAX) {
            kernel_fail(k, row, ERR_LIMIT, "requested length too large: the maximum is %d",
                        REPLACED_MAX);
            return false;
        }
        if (n != 0)
            break;
    }
    put(w, s.ptr + done, s.len - done);
    return true;
}

static void replace_row(struct kernel_context *k, struct pattern *p, uint32_t row, struct str s,
                        struct str with, size_t from, int32_t n, struct column *out)
{
    struct writer w = {0};
    if (!replace_pass(k, p, row, s, with, from, n, &w))
        return;
    char *text = kernel_alloc(k, w.n);
    if (text == NULL)
        return;
    w = (struct writer){.at = text};
    if (replace_pass(k, p, row, s, with, from, n, &w))
        column_str(out)[row] = (struct str){text, w.n};
}

KERNEL(regex_replace)
{
    struct pattern p = {0};
    KERNEL_ROWS(k, row)
    {
        struct str flags = k->n_args > 3 ? ARG_STR(3, row) : STR("");
        if (pattern_ready(k, &p, row, ARG_STR(1, row), flags))
            replace_row(k, &p, row, ARG_STR(0, row), ARG_STR(2, row), 0,
                        regex_is_global(p.regex) ? 0 : 1, out);
    }
}

/* ---- arrays of pieces ---- */

static void put_pieces(struct kernel_context *k, struct column *out, uint32_t row,
                       struct array_builder *b)
{
    struct array shape = {.n_dims = 1, .lengths = {(int32_t)b->n}, .lowers = {1}};
    kernel_put_array(k, out, row, b, &shape);
}

static void add_part(struct array_builder *b, struct str s, size_t from, size_t to)
{
    struct value v = {.type = TYPE_TEXT, .null = from == SIZE_MAX};
    if (!v.null)
        v.as.s = (struct str){s.ptr + from, to - from};
    array_builder_add(b, &v);
}

/* What is between the matches: empty ones count only within the text, and not behind another. */
static bool split_pass(struct kernel_context *k, struct pattern *p, uint32_t row, struct str s,
                       struct array_builder *b)
{
    struct regex_match m;
    size_t done = 0, last = 0;
    for (size_t from = 0; from <= s.len && !b->data.failed; from = behind(s, &m)) {
        if (!search(k, p, row, s, from, &m))
            return false;
        if (!m.found)
            break;
        if (m.start[0] < s.len && m.end[0] > last) {
            add_part(b, s, done, m.start[0]);
            done = m.end[0];
        }
        last = m.end[0];
    }
    add_part(b, s, done, s.len);
    return true;
}

KERNEL(regex_split)
{
    struct pattern p = {0};
    struct array_builder b;
    array_builder_init(&b, TYPE_TEXT);
    KERNEL_ROWS(k, row)
    {
        struct str flags = k->n_args > 2 ? ARG_STR(2, row) : STR("");
        array_builder_clear(&b);
        if (!pattern_ready(k, &p, row, ARG_STR(1, row), flags))
            continue;
        if (regex_is_global(p.regex))
            kernel_fail(k, row, ERR_INVALID_PARAMETER,
                        "regexp_split_to_array() does not support the \"global\" option");
        else if (split_pass(k, &p, row, ARG_STR(0, row), &b))
            put_pieces(k, out, row, &b);
    }
    array_builder_deinit(&b);
}

/* The groups of a match, or all of it where there are none. */
static void add_groups(struct array_builder *b, struct str s, const struct regex_match *m)
{
    for (uint32_t g = m->n_groups > 1; g < m->n_groups || g == 0; g++)
        add_part(b, s, m->start[g], m->end[g]);
}

KERNEL(regex_groups)
{
    struct pattern p = {0};
    struct array_builder b;
    array_builder_init(&b, TYPE_TEXT);
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row), flags = k->n_args > 2 ? ARG_STR(2, row) : STR("");
        struct regex_match m;
        array_builder_clear(&b);
        if (!pattern_ready(k, &p, row, ARG_STR(1, row), flags))
            continue;
        if (regex_is_global(p.regex)) {
            kernel_fail(k, row, ERR_INVALID_PARAMETER,
                        "regexp_match() does not support the \"global\" option");
            continue;
        }
        if (!search(k, &p, row, s, 0, &m))
            continue;
        if (!m.found) {
            kernel_null_row(k, out, row);
            continue;
        }
        add_groups(&b, s, &m);
        put_pieces(k, out, row, &b);
    }
    array_builder_deinit(&b);
}

/* ---- the n-th match from a place on ---- */

static bool parameter_ok(struct kernel_context *k, uint32_t row, const char *name, int32_t v,
                         int32_t least, int32_t most)
{
    bool ok = v >= least && v <= most;
    if (!ok)
        kernel_fail(k, row, ERR_INVALID_PARAMETER, "invalid value for parameter \"%s\": %d", name,
                    v);
    return ok;
}

/* False: the row has failed. The byte that the search begins at; s.len + 1 behind the text. */
static bool start_of(struct kernel_context *k, uint32_t row, struct str s, int32_t start,
                     size_t *from)
{
    if (!parameter_ok(k, row, "start", start, 1, INT32_MAX))
        return false;
    *from = start - 1 > utf8_count(s) ? s.len + 1 : utf8_offset(s, start - 1);
    return true;
}

static bool not_global(struct kernel_context *k, uint32_t row, const struct pattern *p,
                       const char *name)
{
    bool global = regex_is_global(p->regex);
    if (global)
        kernel_fail(k, row, ERR_INVALID_PARAMETER,
                    "%s() does not support the \"global\" option", name);
    return !global;
}

static bool nth_match(struct kernel_context *k, struct pattern *p, uint32_t row, struct str s,
                      size_t from, int32_t n, struct regex_match *m)
{
    *m = (struct regex_match){0};
    for (; from <= s.len; from = behind(s, m)) {
        if (!search(k, p, row, s, from, m))
            return false;
        if (!m->found || --n == 0)
            return true;
    }
    m->found = false;
    return true;
}

KERNEL(regex_count_from)
{
    struct pattern p = {0};
    struct regex_match m;
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row), flags = k->n_args > 3 ? ARG_STR(3, row) : STR("");
        int32_t count = 0;
        size_t from;
        if (!start_of(k, row, s, ARG_I4(2, row), &from) ||
            !pattern_ready(k, &p, row, ARG_STR(1, row), flags) ||
            !not_global(k, row, &p, "regexp_count"))
            continue;
        for (; from <= s.len; from = behind(s, &m)) {
            if (!search(k, &p, row, s, from, &m) || !m.found)
                break;
            count++;
        }
        column_i4(out)[row] = count;
    }
}

/* The group that is meant, when the match has it. */
static bool group_there(const struct regex_match *m, int32_t group)
{
    return m->found && (uint32_t)group < m->n_groups && m->start[group] != SIZE_MAX;
}

/* regexp_substr(text, pattern, start, n, flags, group) */
KERNEL(regex_substr_from)
{
    struct pattern p = {0};
    struct regex_match m;
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row), flags = k->n_args > 4 ? ARG_STR(4, row) : STR("");
        int32_t n = k->n_args > 3 ? ARG_I4(3, row) : 1, g = k->n_args > 5 ? ARG_I4(5, row) : 0;
        size_t from;
        if (!start_of(k, row, s, ARG_I4(2, row), &from) ||
            !parameter_ok(k, row, "n", n, 1, INT32_MAX) ||
            !parameter_ok(k, row, "subexpr", g, 0, INT32_MAX) ||
            !pattern_ready(k, &p, row, ARG_STR(1, row), flags) ||
            !not_global(k, row, &p, "regexp_substr") ||
            !nth_match(k, &p, row, s, from, n, &m))
            continue;
        if (group_there(&m, g))
            column_str(out)[row] = (struct str){s.ptr + m.start[g], m.end[g] - m.start[g]};
        else
            kernel_null_row(k, out, row);
    }
}

/* regexp_instr(text, pattern, start, n, end, flags, group) */
KERNEL(regex_instr)
{
    struct pattern p = {0};
    struct regex_match m;
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row), flags = k->n_args > 5 ? ARG_STR(5, row) : STR("");
        int32_t start = k->n_args > 2 ? ARG_I4(2, row) : 1, n = k->n_args > 3 ? ARG_I4(3, row) : 1;
        int32_t end = k->n_args > 4 ? ARG_I4(4, row) : 0, g = k->n_args > 6 ? ARG_I4(6, row) : 0;
        size_t from;
        if (!start_of(k, row, s, start, &from) ||
            !parameter_ok(k, row, "n", n, 1, INT32_MAX) ||
            !parameter_ok(k, row, "endoption", end, 0, 1) ||
            !parameter_ok(k, row, "subexpr", g, 0, INT32_MAX) ||
            !pattern_ready(k, &p, row, ARG_STR(1, row), flags) ||
            !not_global(k, row, &p, "regexp_instr") || !nth_match(k, &p, row, s, from, n, &m))
            continue;
        size_t at = !group_there(&m, g) ? SIZE_MAX : end != 0 ? m.end[g] : m.start[g];
        column_i4(out)[row] =
            at == SIZE_MAX ? 0 : (int32_t)utf8_count((struct str){s.ptr, at}) + 1;
    }
}

/* regexp_replace(text, pattern, replacement, start, n, flags): the n-th match, with 0 all. */
KERNEL(regex_replace_from)
{
    struct pattern p = {0};
    KERNEL_ROWS(k, row)
    {
        struct str s = ARG_STR(0, row), flags = k->n_args > 5 ? ARG_STR(5, row) : STR("");
        int32_t n = k->n_args > 4 ? ARG_I4(4, row) : 1;
        size_t from;
        if (start_of(k, row, s, ARG_I4(3, row), &from) &&
            parameter_ok(k, row, "n", n, 0, INT32_MAX) &&
            pattern_ready(k, &p, row, ARG_STR(1, row), flags))
            replace_row(k, &p, row, s, ARG_STR(2, row), from, n, out);
    }
}

#define PREPARE(name, flags_at)                                                                 \
    static enum err name(const struct value *const *constants, uint32_t n_args,                \
                         struct arena *a, const void **out, struct err_detail *why)            \
    {                                                                                           \
        return prepare_with(constants, n_args, flags_at, "", a, out, why);                      \
    }
PREPARE(prepare_flags3, 3)
PREPARE(prepare_flags4, 4)
PREPARE(prepare_flags5, 5)

#define REGEX_FROM(name_, result_, n_, kernel_, prepare_, ...)                                  \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_PLAIN, .result = TYPE_##result_, .n_args = n_,          \
        .args = {TYPE_TEXT, TYPE_TEXT, __VA_ARGS__}, .kernel = kernel_, .prepare = prepare_     \
    }
#define REGEX_INSTR(n_)                                                                         \
    REGEX_FROM("regexp_instr", INT4, n_, regex_instr, prepare_flags5, TYPE_INT4, TYPE_INT4,     \
               TYPE_INT4, TYPE_TEXT, TYPE_INT4)
#define REGEX_SUBSTR(n_)                                                                        \
    REGEX_FROM("regexp_substr", TEXT, n_, regex_substr_from, prepare_flags4, TYPE_INT4,         \
               TYPE_INT4, TYPE_TEXT, TYPE_INT4)
#define REGEX_REPLACE(n_)                                                                       \
    REGEX_FROM("regexp_replace", TEXT, n_, regex_replace_from, prepare_flags5, TYPE_TEXT,       \
               TYPE_INT4, TYPE_INT4, TYPE_TEXT)

#define REGEX_ARRAY(name_, n_, kernel_)                                                         \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_PLAIN, .result = (enum type)(TYPE_ARRAY | TYPE_TEXT),   \
        .n_args = n_, .args = {TYPE_TEXT, TYPE_TEXT, TYPE_TEXT}, .kernel = kernel_,             \
        .prepare = prepare_plain                                                                \
    }
#define REGEX_OPERATOR(name_, kernel_, prepare_)                                                \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_OPERATOR, .result = TYPE_BOOL, .n_args = 2,             \
        .args = {TYPE_TEXT, TYPE_TEXT}, .kernel = kernel_, .prepare = prepare_                  \
    }
#define REGEX_FUNCTION(name_, result_, n_, kernel_, prepare_)                                   \
    {                                                                                           \
        .name = name_, .kind = FUNCTION_PLAIN, .result = TYPE_##result_, .n_args = n_,          \
        .args = {TYPE_TEXT, TYPE_TEXT, TYPE_TEXT, TYPE_TEXT}, .kernel = kernel_,                \
        .prepare = prepare_                                                                     \
    }

static const struct function rows[] = {
    OPERATOR2("~~", BOOL, TEXT, TEXT, text_like),
    OPERATOR2("!~~", BOOL, TEXT, TEXT, text_not_like),
    OPERATOR2("~~*", BOOL, TEXT, TEXT, text_ilike),
    OPERATOR2("!~~*", BOOL, TEXT, TEXT, text_not_ilike),
    FUNCTION2("like_escape", TEXT, TEXT, TEXT, text_like_escape),
    REGEX_OPERATOR("~", regex_match_test, prepare_plain),
    REGEX_OPERATOR("!~", regex_no_match, prepare_plain),
    REGEX_OPERATOR("~*", regex_match_fold, prepare_fold),
    REGEX_OPERATOR("!~*", regex_no_match_fold, prepare_fold),
    REGEX_FUNCTION("regexp_like", BOOL, 2, regex_match_test, prepare_plain),
    REGEX_FUNCTION("regexp_like", BOOL, 3, regex_match_test, prepare_plain),
    REGEX_FUNCTION("regexp_count", INT4, 2, regex_count, prepare_plain),
    REGEX_FUNCTION("regexp_substr", TEXT, 2, regex_substr, prepare_plain),
    REGEX_FUNCTION("substring", TEXT, 2, regex_substring, prepare_plain),
    REGEX_ARRAY("regexp_split_to_array", 2, regex_split),
    REGEX_ARRAY("regexp_split_to_array", 3, regex_split),
    REGEX_ARRAY("regexp_match", 2, regex_groups),
    REGEX_ARRAY("regexp_match", 3, regex_groups),
    REGEX_FROM("regexp_count", INT4, 3, regex_count_from, prepare_flags3, TYPE_INT4),
    REGEX_FROM("regexp_count", INT4, 4, regex_count_from, prepare_flags3, TYPE_INT4, TYPE_TEXT),
    REGEX_SUBSTR(3),
    REGEX_SUBSTR(4),
    REGEX_SUBSTR(5),
    REGEX_SUBSTR(6),
    REGEX_INSTR(2),
    REGEX_INSTR(3),
    REGEX_INSTR(4),
    REGEX_INSTR(5),
    REGEX_INSTR(6),
    REGEX_INSTR(7),
    REGEX_REPLACE(4),
    REGEX_REPLACE(5),
    REGEX_REPLACE(6),
    REGEX_FUNCTION("regexp_replace", TEXT, 3, regex_replace, prepare_replace),
    REGEX_FUNCTION("regexp_replace", TEXT, 4, regex_replace, prepare_replace),
};

const struct function_table functions_pattern = {rows, ARRAY_LEN(rows)};
