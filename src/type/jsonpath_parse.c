/* From the text of a path to its tree: a recursive descent with PostgreSQL's precedences.
 *
 *   or > and > not, comparison > + - > * / % > sign > primary with its accessors */
#include "type/jsonb.h"
#include "type/jsonpath_int.h"
#include "type/utf8.h"

struct parser {
    const char *p, *end;
    struct arena *a;
    struct err_detail *why;
    enum err err;
    uint32_t depth;
    uint32_t filters;                /* around: whether @ has a meaning */
    uint32_t subscripts;             /* around: whether last has one */
};

static void *fail(struct parser *s, enum err e, const char *text)
{
    enum { SHOWN_MAX = 20 };
    int left = s->end - s->p < SHOWN_MAX ? (int)(s->end - s->p) : SHOWN_MAX;
    if (s->err == ERR_OK && e == ERR_NO_MEMORY)
        s->err = e;
    else if (s->err == ERR_OK)
        s->err = err_set(s->why, e, "%s at or near \"%.*s\" of jsonpath input", text, left, s->p);
    return NULL;
}

/* Counts what is below a node; application recurses as deep as the tree is. */
static bool count_below(struct parser *s, struct path_node *n, const struct path_node *below)
{
    if (below != NULL && n->depth <= below->depth)
        n->depth = below->depth + 1;
    return n->depth <= JSONPATH_DEPTH_MAX ||
           (fail(s, ERR_LIMIT, "it is nested too deep"), false);
}

static struct path_node *node_new(struct parser *s, enum path_kind kind, struct path_node *left,
                                  struct path_node *right)
{
    struct path_node *n = s->err == ERR_OK ? arena_zalloc(s->a, 1, sizeof *n) : NULL;
    if (n == NULL)
        return fail(s, ERR_NO_MEMORY, "");
    n->kind = kind;
    n->left = left;
    n->right = right;
    n->depth = 1;
    return count_below(s, n, left) && count_below(s, n, right) ? n : NULL;
}

/* ---- tokens ---- */

static void skip(struct parser *s)
{
    for (;;) {
        while (s->p < s->end && (*s->p == ' ' || (*s->p >= '\t' && *s->p <= '\r')))
            s->p++;
        if (s->end - s->p < 2 || s->p[0] != '/' || s->p[1] != '*')
            return;
        for (s->p += 2; s->p < s->end && !(s->end - s->p >= 2 && s->p[0] == '*' && s->p[1] == '/');)
            s->p++;
        s->p += s->end - s->p >= 2 ? 2 : s->end - s->p;
    }
}

static bool take(struct parser *s, const char *token)
{
    size_t n = strlen(token);
    skip(s);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, token, n) != 0)
        return false;
    s->p += n;
    return true;
}

static bool expect(struct parser *s, const char *token)
{
    return take(s, token) || (fail(s, ERR_SYNTAX, "syntax error"), false);
}

static bool is_special(char c)
{
    return strchr(" \t\n\r\f\v?%$.[]{}()|&!=<>@#,*:-+/\\\"", c) != NULL;
}

static bool is_name(char c)
{
    return c != '\0' && !is_special(c);
}

/* A word, not yet taken; empty when there is none. */
static struct str word(struct parser *s)
{
    skip(s);
    const char *p = s->p;
    while (p < s->end && is_name(*p))
        p++;
    return (struct str){s->p, (size_t)(p - s->p)};
}

static bool take_word(struct parser *s, const char *w)
{
    struct str have = word(s);
    if (!str_ieq(have, str_of(w)))
        return false;
    s->p += have.len;
    return true;
}

/* A string in quotes as JSON reads it: `value` is the jsonb, `text` its characters. */
static bool take_string(struct parser *s, struct str *value, struct str *text)
{
    skip(s);
    if (s->p == s->end || *s->p != '"')
        return false;
    const char *p = s->p + 1;
    while (p < s->end && *p != '"')
        p += *p == '\\' && s->end - p > 1 ? 2 : 1;
    if (p >= s->end)
        return fail(s, ERR_SYNTAX, "unterminated quoted string"), false;
    struct str raw = {s->p, (size_t)(p + 1 - s->p)};
    enum err e = jsonb_parse(raw, s->a, value, NULL);
    if (e != ERR_OK)
        return fail(s, e == ERR_NO_MEMORY ? e : ERR_SYNTAX, "invalid string"), false;
    *text = jsonb_text(*value, s->a);
    if (text->ptr == NULL)
        return fail(s, ERR_NO_MEMORY, ""), false;
    s->p = p + 1;
    return true;
}

/* ---- primaries ---- */

static struct path_node *parse_or(struct parser *s);

static struct path_node *literal(struct parser *s, struct str value)
{
    struct path_node *n = node_new(s, PATH_LITERAL, NULL, NULL);
    if (n != NULL)
        n->text = value;
    return n;
}

static struct path_node *number(struct parser *s)
{
    const char *p = s->p;
    struct str value;
    while (p < s->end && ((*p >= '0' && *p <= '9') || *p == '.' || *p == 'e' || *p == 'E' ||
                          ((*p == '-' || *p == '+') && (p[-1] == 'e' || p[-1] == 'E'))))
        p++;
    struct buf b;
    buf_init(&b, JSONPATH_BYTES_MAX);
    if (*s->p == '.')
        buf_put_u8(&b, '0');
    buf_put(&b, s->p, (size_t)(p - s->p));
    if (b.len > 0 && b.ptr[b.len - 1] == '.')
        buf_put_u8(&b, '0');
    struct str digits = arena_str(s->a, buf_str(&b));
    enum err e = b.failed || digits.ptr == NULL ? ERR_NO_MEMORY
                                                : jsonb_parse(digits, s->a, &value, NULL);
    buf_deinit(&b);
    if (e != ERR_OK)
        return fail(s, e == ERR_NO_MEMORY ? e : ERR_SYNTAX, "invalid numeric literal");
    if (p < s->end && is_name(*p))
        return fail(s, ERR_SYNTAX, "trailing junk after numeric literal");
    s->p = p;
    return literal(s, value);
}

static struct path_node *variable(struct parser *s)
{
    struct str value, name = word(s);
    if (name.len > 0)
        s->p += name.len;
    else if (!take_string(s, &value, &name))
        return node_new(s, PATH_ROOT, NULL, NULL);
    struct path_node *n = node_new(s, PATH_VARIABLE, NULL, NULL);
    if (n != NULL)
        n->text = arena_str(s->a, name);
    return n;
}

static struct path_node *primary(struct parser *s)
{
    struct str value, text;
    skip(s);
    if (s->p < s->end && *s->p == '$') {
        s->p++;
        bool root = s->p == s->end || (*s->p != '"' && !is_name(*s->p));
        return root ? node_new(s, PATH_ROOT, NULL, NULL) : variable(s);
    }
    if (take(s, "@"))
        return s->filters > 0 ? node_new(s, PATH_CURRENT, NULL, NULL)
                              : fail(s, ERR_SYNTAX, "@ is not allowed in root expressions");
    if (take(s, "(")) {
        struct path_node *n = parse_or(s);
        return expect(s, ")") ? n : NULL;
    }
    if (take_string(s, &value, &text))
        return literal(s, value);
    if (s->p < s->end && ((*s->p >= '0' && *s->p <= '9') ||
                          (*s->p == '.' && s->end - s->p > 1 && s->p[1] >= '0' && s->p[1] <= '9')))
        return number(s);
    static const char *const words[] = {"null", "true", "false"};
    for (size_t i = 0; i < 3 && s->err == ERR_OK; i++) {
        struct str w = word(s);
        if (str_eq(w, str_of(words[i]))) {
            s->p += w.len;
            return literal(s, str_of(words[i]));
        }
    }
    if (take_word(s, "last"))
        return s->subscripts > 0 ? node_new(s, PATH_LAST, NULL, NULL)
                                 : fail(s, ERR_SYNTAX, "LAST is allowed only in array subscripts");
    return fail(s, ERR_SYNTAX, "syntax error");
}

/* ---- accessors ---- */

static struct path_node *subscripts(struct parser *s, struct path_node *left)
{
    struct path_node *n = node_new(s, PATH_SUBSCRIPTS, left, NULL), **at;
    if (n == NULL)
        return NULL;
    at = &n->next;
    s->subscripts++;
    do {
        struct path_node *range = node_new(s, PATH_SUBSCRIPTS, parse_or(s), NULL);
        if (range == NULL)
            return NULL;
        if (take_word(s, "to"))
            range->right = parse_or(s);
        if (!count_below(s, range, range->right) || !count_below(s, n, range))
            return NULL;
        *at = range;
        at = &range->next;
    } while (s->err == ERR_OK && take(s, ","));
    s->subscripts--;
    return expect(s, "]") ? n : NULL;
}

static bool level(struct parser *s, uint32_t *out)
{
    if (take_word(s, "last")) {
        *out = UINT32_MAX;
        return true;
    }
    struct str w = word(s);
    int64_t v = 0;
    if (str_to_i64(w, &v) != ERR_OK || v < 0 || v > INT32_MAX)
        return fail(s, ERR_SYNTAX, "syntax error"), false;
    s->p += w.len;
    *out = (uint32_t)v;
    return true;
}

static struct path_node *deep(struct parser *s, struct path_node *left)
{
    struct path_node *n = node_new(s, PATH_DEEP, left, NULL);
    if (n == NULL)
        return NULL;
    n->deep_to = UINT32_MAX;
    if (!take(s, "{"))
        return n;
    if (!level(s, &n->deep_from))
        return NULL;
    n->deep_to = n->deep_from;
    if (take_word(s, "to") && !level(s, &n->deep_to))
        return NULL;
    return expect(s, "}") ? n : NULL;
}

static struct path_node *named(struct parser *s, struct path_node *left)
{
    static const char *const methods[] = {"type", "size", "double", "ceiling", "floor", "abs",
                                          "keyvalue"};
    struct str value, name;
    struct path_node *n = node_new(s, PATH_MEMBER, left, NULL);
    if (n == NULL)
        return NULL;
    if (take_string(s, &value, &n->text))
        return n;
    name = word(s);
    if (name.len == 0)
        return fail(s, ERR_SYNTAX, "syntax error");
    s->p += name.len;
    n->text = arena_str(s->a, name);
    if (!take(s, "("))
        return n;
    n->kind = PATH_METHOD;
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        if (!str_ieq(name, str_of(methods[i])))
            continue;
        n->method = (enum path_method)i;
        return expect(s, ")") ? n : NULL;
    }
    return fail(s, str_ieq(name, STR("datetime")) ? ERR_UNSUPPORTED : ERR_SYNTAX,
                "this method is not supported");
}

static struct path_node *filter(struct parser *s, struct path_node *left)
{
    if (!expect(s, "("))
        return NULL;
    s->filters++;
    struct path_node *condition = parse_or(s);
    s->filters--;
    if (condition != NULL && !path_is_truth(condition))
        return fail(s, ERR_SYNTAX, "a filter is no condition");
    return expect(s, ")") ? node_new(s, PATH_FILTER, left, condition) : NULL;
}

static struct path_node *accessors(struct parser *s)
{
    struct path_node *n = primary(s);
    for (uint32_t steps = 0; n != NULL && s->err == ERR_OK; steps++) {
        if (steps == JSONPATH_NESTING_MAX)
            return fail(s, ERR_LIMIT, "too many steps");
        if (take(s, ".**"))
            n = deep(s, n);
        else if (take(s, ".*"))
            n = node_new(s, PATH_ANY_MEMBER, n, NULL);
        else if (take(s, "."))
            n = named(s, n);
        else if (take(s, "[*]"))
            n = node_new(s, PATH_ANY_ELEMENT, n, NULL);
        else if (take(s, "["))
            n = take(s, "*") ? (expect(s, "]") ? node_new(s, PATH_ANY_ELEMENT, n, NULL) : NULL)
                             : subscripts(s, n);
        else if (take(s, "?"))
            n = filter(s, n);
        else
            return n;
    }
    return NULL;
}

/* ---- operators ---- */

static bool deeper(struct parser *s)
{
    if (s->depth++ < JSONPATH_NESTING_MAX)
        return s->err == ERR_OK;
    return fail(s, ERR_LIMIT, "it is nested too deep"), false;
}

static struct path_node *sign(struct parser *s)
{
    struct path_node *n = NULL;
    if (!deeper(s))
        return NULL;
    if (take(s, "+"))
        n = node_new(s, PATH_PLUS, sign(s), NULL);
    else if (take(s, "-"))
        n = node_new(s, PATH_MINUS, sign(s), NULL);
    else
        n = accessors(s);
    s->depth--;
    return n;
}

static struct path_node *product(struct parser *s)
{
    struct path_node *n = sign(s);
    while (n != NULL && s->err == ERR_OK) {
        enum path_kind kind = take(s, "*")   ? PATH_MUL
                              : take(s, "/") ? PATH_DIV
                              : take(s, "%") ? PATH_MOD
                                             : PATH_ROOT;
        if (kind == PATH_ROOT)
            return n;
        n = node_new(s, kind, n, sign(s));
    }
    return NULL;
}

static struct path_node *sum(struct parser *s)
{
    struct path_node *n = product(s);
    while (n != NULL && s->err == ERR_OK) {
        enum path_kind kind = take(s, "+") ? PATH_ADD : take(s, "-") ? PATH_SUB : PATH_ROOT;
        if (kind == PATH_ROOT)
            return n;
        n = node_new(s, kind, n, product(s));
    }
    return NULL;
}

static struct path_node *like_regex(struct parser *s, struct path_node *left)
{
    struct str value, pattern, flags = STR("");
    struct err_detail why = {0};
    char letters[REGEX_FLAGS_MAX];
    size_t n = 0;
    struct path_node *r = node_new(s, PATH_LIKE_REGEX, left, NULL);
    if (r == NULL || !take_string(s, &value, &pattern))
        return fail(s, ERR_SYNTAX, "syntax error");
    if (take_word(s, "flag") && !take_string(s, &value, &flags))
        return fail(s, ERR_SYNTAX, "syntax error");
    bool dot_all = false;
    for (size_t i = 0; i < flags.len; i++) {
        dot_all |= flags.ptr[i] == 's';
        if (strchr("ismxq", flags.ptr[i]) == NULL || n + 2 > sizeof letters)
            return fail(s, ERR_SYNTAX, "unrecognized flag character in LIKE_REGEX predicate");
        if (flags.ptr[i] == 'x' || flags.ptr[i] == 'q')
            return fail(s, ERR_UNSUPPORTED, "flags \"x\" and \"q\" are not supported");
        if (flags.ptr[i] == 'i')
            letters[n++] = 'i';
    }
    bool lines = memchr(flags.ptr, 'm', flags.len) != NULL;
    /* Without "s" a dot does not match a line's end, with "m" ^ and $ match at lines' ends. */
    letters[n++] = lines ? (dot_all ? 'w' : 'n') : (dot_all ? 's' : 'p');
    enum err e = regex_compile(pattern, (struct str){letters, n}, s->a, &r->regex, &why);
    if (e != ERR_OK)
        s->err = err_set(s->why, e, "%s", err_text(e, &why));
    return s->err == ERR_OK ? r : NULL;
}

static struct path_node *comparison(struct parser *s)
{
    static const struct { const char *token; enum path_kind kind; } table[] = {
        {"==", PATH_EQ}, {"!=", PATH_NE}, {"<>", PATH_NE}, {"<=", PATH_LE}, {">=", PATH_GE},
        {"<", PATH_LT}, {">", PATH_GT}};
    struct path_node *n = sum(s);
    if (n == NULL)
        return NULL;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (take(s, table[i].token))
            return node_new(s, table[i].kind, n, sum(s));
    if (take_word(s, "like_regex"))
        return like_regex(s, n);
    if (take_word(s, "starts")) {
        if (!take_word(s, "with"))
            return fail(s, ERR_SYNTAX, "syntax error");
        return node_new(s, PATH_STARTS_WITH, n, primary(s));
    }
    if (take_word(s, "is"))
        return take_word(s, "unknown") && path_is_truth(n)
                   ? node_new(s, PATH_IS_UNKNOWN, n, NULL)
                   : fail(s, ERR_SYNTAX, "syntax error");
    return n;
}

static struct path_node *inverse(struct parser *s)
{
    struct path_node *n = NULL;
    skip(s);
    if (s->p < s->end && *s->p == '!' && (s->end - s->p < 2 || s->p[1] != '=')) {
        s->p++;
        if (!deeper(s))
            return NULL;
        n = inverse(s);
        s->depth--;
        if (n != NULL && !path_is_truth(n))
            return fail(s, ERR_SYNTAX, "! is of a condition");
        return node_new(s, PATH_NOT, n, NULL);
    }
    if (!take_word(s, "exists"))
        return comparison(s);
    if (!expect(s, "("))
        return NULL;
    n = parse_or(s);
    return expect(s, ")") ? node_new(s, PATH_EXISTS, n, NULL) : NULL;
}

static struct path_node *parse_and(struct parser *s)
{
    struct path_node *n = inverse(s);
    while (n != NULL && s->err == ERR_OK && take(s, "&&")) {
        struct path_node *right = inverse(s);
        if (right == NULL || !path_is_truth(n) || !path_is_truth(right))
            return fail(s, ERR_SYNTAX, "&& is of conditions");
        n = node_new(s, PATH_AND, n, right);
    }
    return n;
}

static struct path_node *parse_or(struct parser *s)
{
    if (!deeper(s))
        return NULL;
    struct path_node *n = parse_and(s);
    while (n != NULL && s->err == ERR_OK && take(s, "||")) {
        struct path_node *right = parse_and(s);
        if (right == NULL || !path_is_truth(n) || !path_is_truth(right))
            return fail(s, ERR_SYNTAX, "|| is of conditions");
        n = node_new(s, PATH_OR, n, right);
    }
    s->depth--;
    return n;
}

enum err jsonpath_parse(struct str text, struct arena *a, const struct jsonpath **out,
                        struct err_detail *why)
{
    struct jsonpath *path = arena_zalloc(a, 1, sizeof *path);
    struct str own = arena_str(a, text);
    if (path == NULL || own.ptr == NULL)
        return ERR_NO_MEMORY;
    if (text.len > JSONPATH_BYTES_MAX)
        return err_set(why, ERR_LIMIT, "a jsonpath has at most %d bytes", JSONPATH_BYTES_MAX);
    struct parser s = {.p = own.ptr, .end = own.ptr + own.len, .a = a, .why = why};
    path->strict = take_word(&s, "strict");
    if (!path->strict)
        (void)take_word(&s, "lax");
    path->root = parse_or(&s);
    skip(&s);
    if (s.err == ERR_OK && (path->root == NULL || s.p != s.end))
        fail(&s, ERR_SYNTAX, "syntax error");
    *out = path;
    return s.err;
}
