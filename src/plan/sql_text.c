/* What must hold before PostgreSQL's parser sees a text, and splitting.
 *
 * libpg_query and protobuf-c walk their trees recursively, so the depth of the tree has to be
 * bounded before it is built. A tree is never deeper than the brackets, operators and words that
 * enclose a place; a comma, AND, OR or a branch of CASE starts a sibling, because the grammar
 * keeps those in flat lists. Set operations, joins and BETWEEN nest over such separators and are
 * counted for the whole statement. */
#include "plan/plan_int.h"

#include <pg_query.h>

enum { WORD_BYTES_MAX = 16 };

/* Walks over the text token by token, as PostgreSQL's scan.l cuts it. */
struct scanner {
    struct str sql;
    size_t at;
};

struct level {
    char open;           /* '(' '[' 'c' (CASE) */
    uint32_t base;       /* nesting at the start of each element */
    uint32_t high;       /* greatest nesting of the elements so far */
};

struct nesting {
    struct level levels[SQL_NESTING_MAX + 1];
    uint32_t n;          /* levels open; levels[0] is the statement */
    uint32_t count;      /* nesting at this token */
    uint32_t spine;      /* set operations, joins, BETWEENs of the statement */
    uint32_t semicolons, ended;
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_word_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_word(char c)
{
    return is_word_start(c) || (c >= '0' && c <= '9') || c == '$';
}

static bool is_operator(char c)
{
    return c != '\0' && strchr("+-*/<>=~!@#%^&|`?:", c) != NULL;
}

static char peek(const struct scanner *s, size_t ahead)
{
    return s->at + ahead < s->sql.len ? s->sql.ptr[s->at + ahead] : '\0';
}

/* Skips blanks and comments; true when a line end was among them. */
static bool skip_blank(struct scanner *s)
{
    bool newline = false;
    while (s->at < s->sql.len) {
        char c = peek(s, 0);
        if (is_space(c)) {
            newline |= c == '\n' || c == '\r';
            s->at++;
        } else if (c == '-' && peek(s, 1) == '-') {
            while (s->at < s->sql.len && peek(s, 0) != '\n' && peek(s, 0) != '\r')
                s->at++;
        } else if (c == '/' && peek(s, 1) == '*') {
            uint32_t depth = 0;
            do {
                bool open = peek(s, 0) == '/' && peek(s, 1) == '*';
                bool close = peek(s, 0) == '*' && peek(s, 1) == '/';
                depth = depth + open - close;
                s->at += open || close ? 2 : 1;
            } while (depth > 0 && s->at < s->sql.len);
        } else {
            break;
        }
    }
    return newline;
}

/* At an opening quote. */
static void skip_quoted(struct scanner *s, char quote, bool backslash)
{
    s->at++;
    while (s->at < s->sql.len) {
        char c = peek(s, 0);
        if (backslash && c == '\\')
            s->at++;
        else if (c == quote && peek(s, 1) == quote)
            s->at++;
        else if (c == quote)
            break;
        s->at++;
    }
    s->at++;
}

/* An E'' string goes on, with its backslashes, behind blanks with a line end. */
static void skip_string(struct scanner *s, bool backslash)
{
    for (;;) {
        skip_quoted(s, '\'', backslash);
        if (s->at > s->sql.len)
            s->at = s->sql.len;
        size_t end = s->at;
        if (!skip_blank(s) || peek(s, 0) != '\'') {
            s->at = end;
            return;
        }
    }
}

/* At '$': a dollar-quoted string is skipped whole, a parameter or a lone '$' just itself. */
static void skip_dollar(struct scanner *s)
{
    size_t start = s->at++;
    while (s->at < s->sql.len && peek(s, 0) != '$' && is_word(peek(s, 0)))
        s->at++;
    char first = s->sql.ptr[start + 1 < s->sql.len ? start + 1 : start];
    bool digit = first >= '0' && first <= '9';
    if (peek(s, 0) != '$' || digit) {
        s->at = start + 1;
        while (peek(s, 0) >= '0' && peek(s, 0) <= '9')
            s->at++;
        return;
    }
    size_t tag = ++s->at - start;
    const char *end = memmem(s->sql.ptr + s->at, s->sql.len - s->at, s->sql.ptr + start, tag);
    s->at = end != NULL ? (size_t)(end - s->sql.ptr) + tag : s->sql.len;
}

static bool deeper(struct nesting *n)
{
    struct level *level = &n->levels[n->n - 1];
    n->count++;
    if (n->count > level->high)
        level->high = n->count;
    return n->count + n->spine <= SQL_NESTING_MAX;
}

static bool nest_open(struct nesting *n, char open)
{
    if (!deeper(n))
        return false;
    n->levels[n->n++] = (struct level){open, n->count, n->count};
    return true;
}

static void nest_close(struct nesting *n)
{
    uint32_t high = n->levels[--n->n].high;
    struct level *outer = &n->levels[n->n - 1];
    n->count = high;
    if (high > outer->high)
        outer->high = high;
}

static void nest_close_bracket(struct nesting *n)
{
    while (n->n > 1 && n->levels[n->n - 1].open == 'c')
        nest_close(n);
    if (n->n > 1)
        nest_close(n);
}

static void nest_sibling(struct nesting *n)
{
    n->count = n->levels[n->n - 1].base;
}

/* A word that is not behind a dot. */
static bool nest_word(struct nesting *n, struct str word)
{
    static const struct str siblings[] = {
        {"and", 3}, {"or", 2}, {"when", 4}, {"then", 4}, {"else", 4}};
    static const struct str spines[] = {
        {"join", 4}, {"union", 5}, {"intersect", 9}, {"except", 6}, {"between", 7}};
    for (size_t i = 0; i < ARRAY_LEN(siblings); i++) {
        if (str_ieq(word, siblings[i])) {
            nest_sibling(n);
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(spines); i++)
        n->spine += str_ieq(word, spines[i]);
    if (str_ieq(word, STR("case")))
        return nest_open(n, 'c');
    if (str_ieq(word, STR("end")) && n->levels[n->n - 1].open == 'c') {
        nest_close(n);
        return true;
    }
    return deeper(n);
}

static void nest_semicolon(struct nesting *n)
{
    n->ended++;
    n->n = 1;
    n->count = n->spine = 0;
    n->levels[0] = (struct level){0};
}

/* A word with what belongs to it: E'...', U&"...". */
static bool scan_word(struct scanner *s, struct nesting *n, char before)
{
    size_t start = s->at;
    while (s->at < s->sql.len && is_word(peek(s, 0)))
        s->at++;
    struct str word = {s->sql.ptr + start, s->at - start};
    if (word.len == 1 && peek(s, 0) == '\'' && strchr("eEbBxXnN", word.ptr[0]) != NULL) {
        skip_string(s, word.ptr[0] == 'e' || word.ptr[0] == 'E');
        return true;
    }
    return before == '.' ? deeper(n) : nest_word(n, word);
}

static bool scan_token(struct scanner *s, struct nesting *n, char before)
{
    char c = peek(s, 0);
    if (c == '\'') {
        skip_string(s, false);
    } else if (c == '"') {
        skip_quoted(s, '"', false);
    } else if (c == '$') {
        skip_dollar(s);
    } else if (is_word_start(c)) {
        return scan_word(s, n, before);
    } else if (c == '(' || c == '[') {
        s->at++;
        return nest_open(n, c);
    } else if (c == ')' || c == ']') {
        s->at++;
        nest_close_bracket(n);
    } else if (c == ',') {
        s->at++;
        nest_sibling(n);
    } else if (c == ';') {
        s->at++;
        nest_semicolon(n);
    } else if (is_operator(c)) {
        do
            s->at++;
        while (is_operator(peek(s, 0)) && !(peek(s, 0) == '-' && peek(s, 1) == '-') &&
               !(peek(s, 0) == '/' && peek(s, 1) == '*') && s->sql.ptr[s->at - 1] != ':');
        return deeper(n);
    } else {
        s->at++;
    }
    return true;
}

static enum err check_bytes(struct str sql, struct err_detail *why)
{
    if (sql.len > SQL_BYTES_MAX) {
        enum err e = err_set(why, ERR_TOO_LARGE, "the statement has %zu bytes, more than %d",
                             sql.len, SQL_BYTES_MAX);
        err_hint(why, "Send large numbers of rows with COPY, or in several INSERTs.");
        return e;
    }
    if (sql.len > 0 && memchr(sql.ptr, '\0', sql.len) != NULL)
        return err_set(why, ERR_SYNTAX, "the statement contains a NUL byte");
    if (!str_utf8_valid(sql))
        return err_set(why, ERR_ENCODING, "invalid byte sequence for encoding \"UTF8\"");
    return ERR_OK;
}

enum err sql_check(struct str sql, uint32_t *n_semicolons, struct err_detail *why)
{
    TRY(check_bytes(sql, why));
    struct scanner s = {.sql = sql};
    struct nesting n;
    n.n = 1;
    n.count = n.spine = n.semicolons = n.ended = 0;
    n.levels[0] = (struct level){0};
    char before = '\0';
    for (skip_blank(&s); s.at < sql.len; skip_blank(&s)) {
        size_t at = s.at;
        n.semicolons += n.ended > 0 && peek(&s, 0) != ';';
        n.ended = 0;
        if (!scan_token(&s, &n, before)) {
            enum err e = err_set(why, ERR_LIMIT, "the statement is nested too deeply");
            err_hint(why, "At most %d operators, words and parentheses may enclose each other.",
                     SQL_NESTING_MAX);
            if (why != NULL)
                why->position = sql_position(sql, (int32_t)at);
            return e;
        }
        before = s.at - at == 1 ? sql.ptr[at] : 'x';
    }
    *n_semicolons = n.semicolons;
    return ERR_OK;
}

static struct str trim(struct str s)
{
    while (s.len > 0 && (is_space(s.ptr[0]) || s.ptr[0] == ';'))
        s = (struct str){s.ptr + 1, s.len - 1};
    while (s.len > 0 && (is_space(s.ptr[s.len - 1]) || s.ptr[s.len - 1] == ';'))
        s.len--;
    return s;
}

enum err sql_split(struct str sql, struct arena *a, struct str **statements, uint32_t *n,
                   struct err_detail *why)
{
    uint32_t semicolons = 0;
    TRY(sql_check(sql, &semicolons, why));
    const PgQuery__ParseResult *tree = NULL;
    struct arena trees;
    arena_init(&trees, PLAN_BYTES_MAX);
    enum err e = semicolons == 0 ? ERR_OK : sql_parse(sql, &trees, &tree, why);
    size_t count = tree != NULL ? tree->n_stmts : 1;
    if (e == ERR_OK && count > STATEMENTS_MAX)
        e = err_set(why, ERR_LIMIT, "%zu statements in one text, more than %d", count,
                    STATEMENTS_MAX);
    struct str *out = e == ERR_OK ? arena_zalloc(a, count + 1, sizeof *out) : NULL;
    if (e == ERR_OK && out == NULL)
        e = err_set(why, ERR_NO_MEMORY, "out of memory");
    for (size_t i = 0; e == ERR_OK && i < count; i++) {
        size_t from = tree != NULL ? (size_t)tree->stmts[i]->stmt_location : 0;
        size_t len = tree != NULL ? (size_t)tree->stmts[i]->stmt_len : 0;
        CHECK(from <= sql.len && len <= sql.len - from);
        out[i] = trim((struct str){sql.ptr + from, len > 0 ? len : sql.len - from});
    }
    arena_deinit(&trees);
    if (e != ERR_OK)
        return e;
    *statements = out;
    *n = (uint32_t)count;
    if (count == 1 && out[0].len == 0)
        *n = 0;
    return ERR_OK;
}
