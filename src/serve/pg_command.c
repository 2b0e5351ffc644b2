/* Commands about the session itself, which have no plan. Their grammar is small:
 *
 *   DECLARE name [INSENSITIVE | ASENSITIVE] [NO SCROLL] CURSOR [{WITH | WITHOUT} HOLD] FOR query
 *   {FETCH | MOVE} [NEXT | [FORWARD] [count | ALL]] [FROM | IN] name
 *   CLOSE {name | ALL} · DEALLOCATE [PREPARE] {name | ALL} · DISCARD ALL */
#include "serve/pg_int.h"

enum token_kind { TOKEN_END, TOKEN_WORD, TOKEN_QUOTED, TOKEN_NUMBER, TOKEN_OTHER };

struct token {
    enum token_kind kind;
    struct str text; /* QUOTED: without the quotes, doubled ones still double */
    size_t at;
};

struct lexer {
    struct str sql;
    size_t at;
    struct token token;
};

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || (unsigned char)c >= 0x80;
}

/* Skips blanks and comments (block comments nest, as in PostgreSQL). */
static void lex_blank(struct lexer *l)
{
    const char *p = l->sql.ptr;
    size_t n = l->sql.len;
    uint32_t depth = 0;
    while (l->at < n) {
        bool two = l->at + 1 < n;
        if (two && p[l->at] == '/' && p[l->at + 1] == '*') {
            depth++;
            l->at += 2;
        } else if (depth > 0) {
            bool end = two && p[l->at] == '*' && p[l->at + 1] == '/';
            depth -= end;
            l->at += end ? 2 : 1;
        } else if (two && p[l->at] == '-' && p[l->at + 1] == '-') {
            const char *nl = memchr(p + l->at, '\n', n - l->at);
            l->at = nl != NULL ? (size_t)(nl - p) : n;
        } else if (is_space(p[l->at])) {
            l->at++;
        } else {
            break;
        }
    }
}

static void lex_quoted(struct lexer *l)
{
    const char *p = l->sql.ptr;
    size_t start = ++l->at;
    while (l->at < l->sql.len) {
        if (p[l->at] == '"') {
            if (l->at + 1 == l->sql.len || p[l->at + 1] != '"') {
                break;
            }
            l->at++;
        }
        l->at++;
    }
    l->token.kind = TOKEN_QUOTED;
    l->token.text = (struct str){p + start, l->at - start};
    l->at += l->at < l->sql.len;
}

static void lex_next(struct lexer *l)
{
    lex_blank(l);
    const char *p = l->sql.ptr;
    size_t start = l->at;
    l->token = (struct token){TOKEN_END, {p + start, 0}, start};
    if (start == l->sql.len || (p[start] == ';' && start + 1 == l->sql.len)) {
        return;
    }
    if (p[start] == '"') {
        lex_quoted(l);
        return;
    }
    if (!is_word(p[start])) {
        l->at++;
        l->token.kind = TOKEN_OTHER;
        l->token.text.len = 1;
        return;
    }
    bool digits = true;
    while (l->at < l->sql.len && is_word(p[l->at])) {
        digits = digits && p[l->at] >= '0' && p[l->at] <= '9';
        l->at++;
    }
    l->token.kind = digits ? TOKEN_NUMBER : TOKEN_WORD;
    l->token.text.len = l->at - start;
}

static bool at_word(const struct lexer *l, const char *word)
{
    return l->token.kind == TOKEN_WORD && str_ieq(l->token.text, str_of(word));
}

static bool take_word(struct lexer *l, const char *word)
{
    if (!at_word(l, word)) {
        return false;
    }
    lex_next(l);
    return true;
}

static enum err syntax_error(const struct lexer *l, struct err_detail *why)
{
    enum err e =
        l->token.kind == TOKEN_END
            ? err_set(why, ERR_SYNTAX, "syntax error at end of input")
            : err_set(why, ERR_SYNTAX, "syntax error at or near \"%.*s\"", STR_ARG(l->token.text));
    if (why != NULL) {
        int32_t characters = 1;
        for (size_t i = 0; i < l->token.at; i++) {
            characters += ((unsigned char)l->sql.ptr[i] & 0xc0) != 0x80;
        }
        why->position = characters;
    }
    return e;
}

/* A name: folded to lower case, or quoted with its doubled quotes undone. */
static enum err take_name(struct lexer *l, struct arena *a, struct str *out, struct err_detail *why)
{
    if (l->token.kind != TOKEN_WORD && l->token.kind != TOKEN_QUOTED) {
        return syntax_error(l, why);
    }
    struct str text = l->token.text;
    char *to = arena_alloc(a, text.len + 1);
    if (to == NULL) {
        return ERR_NO_MEMORY;
    }
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (l->token.kind == TOKEN_QUOTED) {
            i += c == '"';
        } else if (c >= 'A' && c <= 'Z') {
            c = (char)(c | 0x20);
        }
        to[n++] = c;
    }
    *out = (struct str){to, n};
    lex_next(l);
    return ERR_OK;
}

static enum err command_end(const struct lexer *l, struct err_detail *why)
{
    return l->token.kind == TOKEN_END ? ERR_OK : syntax_error(l, why);
}

/* The options between a cursor's name and CURSOR. */
static enum err parse_cursor_options(struct lexer *l, struct err_detail *why)
{
    while (!take_word(l, "cursor")) {
        if (at_word(l, "scroll") || at_word(l, "binary")) {
            enum err e = err_set(why, ERR_UNSUPPORTED, "%.*s cursors are not offered",
                                 STR_ARG(l->token.text));
            err_hint(why, "Cursors read forward only, in the format that the client binds.");
            return e;
        }
        if (take_word(l, "no")) {
            if (!take_word(l, "scroll")) {
                return syntax_error(l, why);
            }
        } else if (!take_word(l, "insensitive") && !take_word(l, "asensitive")) {
            return syntax_error(l, why);
        }
    }
    return ERR_OK;
}

static enum err parse_declare(struct lexer *l, struct arena *a, struct pg_command *out,
                              struct err_detail *why)
{
    out->verb = PG_VERB_DECLARE;
    TRY(take_name(l, a, &out->name, why));
    TRY(parse_cursor_options(l, why));
    if (at_word(l, "with") || at_word(l, "without")) {
        out->hold = at_word(l, "with");
        lex_next(l);
        if (!take_word(l, "hold")) {
            return syntax_error(l, why);
        }
    }
    if (!at_word(l, "for")) {
        return syntax_error(l, why);
    }
    out->query = (struct str){l->sql.ptr + l->at, l->sql.len - l->at};
    return ERR_OK;
}

static enum err parse_fetch(struct lexer *l, struct arena *a, struct pg_command *out,
                            struct err_detail *why)
{
    static const char *const refused[] = {"prior",    "first",    "last",
                                          "absolute", "relative", "backward"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (at_word(l, refused[i])) {
            enum err e = err_set(why, ERR_UNSUPPORTED, "cursor can only scan forward");
            err_hint(why, "Use FETCH [FORWARD] [count | ALL] FROM cursor.");
            return e;
        }
    }
    out->count = 1;
    if (!take_word(l, "next")) {
        take_word(l, "forward");
        int64_t count = 0;
        if (take_word(l, "all")) {
            out->count = UINT64_MAX;
        } else if (l->token.kind == TOKEN_NUMBER) {
            if (str_to_i64(l->token.text, &count) != ERR_OK) {
                return syntax_error(l, why);
            }
            out->count = (uint64_t)count;
            lex_next(l);
        }
    }
    if (!take_word(l, "from")) {
        take_word(l, "in");
    }
    TRY(take_name(l, a, &out->name, why));
    return command_end(l, why);
}

/* {name | ALL}; an empty name stands for all. */
static enum err parse_name_or_all(struct lexer *l, struct arena *a, struct pg_command *out,
                                  struct err_detail *why)
{
    if (!take_word(l, "all")) {
        TRY(take_name(l, a, &out->name, why));
    }
    return command_end(l, why);
}

enum err pg_command_parse(struct str sql, struct arena *a, struct pg_command *out,
                          struct err_detail *why)
{
    *out = (struct pg_command){.verb = PG_VERB_PLAN};
    struct lexer l = {.sql = sql};
    lex_next(&l);
    if (l.token.kind == TOKEN_END) {
        out->verb = PG_VERB_EMPTY;
        return ERR_OK;
    }
    if (take_word(&l, "declare")) {
        return parse_declare(&l, a, out, why);
    }
    if (at_word(&l, "fetch") || at_word(&l, "move")) {
        out->verb = at_word(&l, "fetch") ? PG_VERB_FETCH : PG_VERB_MOVE;
        lex_next(&l);
        return parse_fetch(&l, a, out, why);
    }
    if (take_word(&l, "close")) {
        out->verb = PG_VERB_CLOSE;
        return parse_name_or_all(&l, a, out, why);
    }
    if (take_word(&l, "deallocate")) {
        out->verb = PG_VERB_DEALLOCATE;
        take_word(&l, "prepare");
        return parse_name_or_all(&l, a, out, why);
    }
    if (take_word(&l, "discard") && take_word(&l, "all")) {
        out->verb = PG_VERB_DISCARD_ALL;
        return command_end(&l, why);
    }
    return ERR_OK;
}
