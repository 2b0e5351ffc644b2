/* Regular expressions on PCRE2. */
#include "type/regex.h"

#include "base/check.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { MESSAGE_MAX = 160, ESCAPE_GROWTH = 8 };

struct regex {
    pcre2_code *code;
    bool global;
};

struct regex_matcher {
    const struct regex *regex;
    pcre2_match_data *data;
    pcre2_match_context *context;
    int n_set; /* groups of the last match, the match itself included; not positive: none */
};

/* PCRE2's memory comes from the arena and goes with it. */
static void *arena_malloc(size_t n, void *arena) { return arena_alloc(arena, n); }
static void arena_free(void *p, void *arena)
{
    (void)p;
    (void)arena;
}

/* PostgreSQL's word constraints \m \M \y \Y in PCRE2's words; everything else is the same. */
static struct str translate(struct str p, struct arena *a)
{
    char *out = arena_alloc(a, p.len * ESCAPE_GROWTH + 1);
    size_t n = 0;
    if (out == NULL)
        return (struct str){0};
    for (size_t i = 0; i < p.len; i++) {
        const char *with = NULL;
        if (p.ptr[i] == '\\' && i + 1 < p.len) {
            switch (p.ptr[i + 1]) {
            case 'm':
                with = "\\b(?=\\w)";
                break;
            case 'M':
                with = "\\b(?<=\\w)";
                break;
            case 'y':
                with = "\\b";
                break;
            case 'Y':
                with = "\\B";
                break;
            default:
                out[n++] = p.ptr[i++];
                break;
            }
        }
        if (with == NULL) {
            out[n++] = p.ptr[i];
            continue;
        }
        memcpy(out + n, with, strlen(with));
        n += strlen(with);
        i++;
    }
    return (struct str){out, n};
}

/* PostgreSQL's flags as PCRE2's options. */
static enum err options_of(struct str flags, uint32_t *options, bool *global,
                           struct err_detail *why)
{
    *options = PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_DOTALL | PCRE2_DOLLAR_ENDONLY |
               PCRE2_NEVER_BACKSLASH_C;
    *global = false;
    for (size_t i = 0; i < flags.len; i++) {
        switch (flags.ptr[i]) {
        case 'g':
            *global = true;
            break;
        case 'i':
            *options |= PCRE2_CASELESS;
            break;
        case 'c':
            *options &= ~(uint32_t)PCRE2_CASELESS;
            break;
        case 'n':
        case 'm':
            *options |= PCRE2_MULTILINE;
            *options &= ~(uint32_t)(PCRE2_DOTALL | PCRE2_DOLLAR_ENDONLY);
            break;
        case 'w':
            *options |= PCRE2_MULTILINE;
            break;
        case 'p':
            *options &= ~(uint32_t)PCRE2_DOTALL;
            break;
        case 's':
            *options |= PCRE2_DOTALL | PCRE2_DOLLAR_ENDONLY;
            *options &= ~(uint32_t)PCRE2_MULTILINE;
            break;
        case 'x':
            *options |= PCRE2_EXTENDED;
            break;
        default:
            return err_set(why, ERR_INVALID_PARAMETER,
                           "invalid regular expression option: \"%c\"", flags.ptr[i]);
        }
    }
    return ERR_OK;
}

enum err regex_compile(struct str pattern, struct str flags, struct arena *a,
                       const struct regex **out, struct err_detail *why)
{
    uint32_t options;
    bool global;
    int code;
    PCRE2_SIZE at;
    if (pattern.len > REGEX_PATTERN_BYTES_MAX)
        return err_set(why, ERR_LIMIT, "regular expression is longer than %d bytes",
                       REGEX_PATTERN_BYTES_MAX);
    TRY(options_of(flags, &options, &global, why));
    struct regex *r = arena_zalloc(a, 1, sizeof *r);
    struct str p = translate(pattern, a);
    pcre2_general_context *general = pcre2_general_context_create(arena_malloc, arena_free, a);
    pcre2_compile_context *context = general == NULL ? NULL
                                                     : pcre2_compile_context_create(general);
    if (r == NULL || p.ptr == NULL || context == NULL)
        return err_set(why, ERR_NO_MEMORY, "out of memory while compiling a regular expression");
    pcre2_set_parens_nest_limit(context, REGEX_NESTING_MAX);
    r->global = global;
    r->code = pcre2_compile((PCRE2_SPTR)(const void *)p.ptr, p.len, options, &code, &at, context);
    if (r->code == NULL) {
        char message[MESSAGE_MAX];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
        return err_set(why, ERR_INVALID_PARAMETER, "invalid regular expression: %s at byte %zu",
                       message, (size_t)at + 1);
    }
    *out = r;
    return ERR_OK;
}

bool regex_is_global(const struct regex *r) { return r->global; }

uint32_t regex_names(const struct regex *r)
{
    uint32_t n = 0;
    pcre2_pattern_info(r->code, PCRE2_INFO_NAMECOUNT, &n);
    return n;
}

/* An entry of PCRE2's table of names: the group's number in two bytes, the name, NUL. */
static const unsigned char *name_entry(const struct regex *r, uint32_t i)
{
    PCRE2_SPTR table = NULL;
    uint32_t size = 0;
    CHECK(i < regex_names(r));
    pcre2_pattern_info(r->code, PCRE2_INFO_NAMETABLE, &table);
    pcre2_pattern_info(r->code, PCRE2_INFO_NAMEENTRYSIZE, &size);
    return table + (size_t)i * size;
}

struct str regex_name(const struct regex *r, uint32_t i)
{
    return str_of((const char *)name_entry(r, i) + 2);
}

bool regex_named(const struct regex_matcher *m, uint32_t i, size_t *start, size_t *end)
{
    const unsigned char *entry = name_entry(m->regex, i);
    int group = entry[0] << 8 | entry[1];
    if (group >= m->n_set)
        return false;
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m->data);
    *start = v[2 * group];
    *end = v[2 * group + 1];
    return *start != PCRE2_UNSET && *start <= *end;
}

struct regex_matcher *regex_matcher_new(const struct regex *r, struct arena *a)
{
    struct regex_matcher *m = arena_zalloc(a, 1, sizeof *m);
    pcre2_general_context *general = pcre2_general_context_create(arena_malloc, arena_free, a);
    if (m == NULL || general == NULL)
        return NULL;
    m->regex = r;
    m->data = pcre2_match_data_create_from_pattern(r->code, general);
    m->context = pcre2_match_context_create(general);
    if (m->data == NULL || m->context == NULL)
        return NULL;
    pcre2_set_match_limit(m->context, REGEX_MATCH_STEPS_MAX);
    pcre2_set_depth_limit(m->context, REGEX_MATCH_STEPS_MAX);
    pcre2_set_heap_limit(m->context, REGEX_HEAP_KIB_MAX);
    return m;
}

enum err regex_search(struct regex_matcher *m, struct str s, size_t from, struct regex_match *out,
                      struct err_detail *why)
{
    const char *subject = s.ptr != NULL ? s.ptr : "";
    uint32_t groups = 0;
    int n = pcre2_match(m->regex->code, (PCRE2_SPTR)(const void *)subject, s.len, from,
                        PCRE2_NO_UTF_CHECK, m->data, m->context);
    *out = (struct regex_match){0};
    m->n_set = n;
    if (n == PCRE2_ERROR_NOMATCH)
        return ERR_OK;
    if (n == PCRE2_ERROR_NOMEMORY)
        return ERR_NO_MEMORY;
    if (n < 0)
        return err_set(why, ERR_LIMIT,
                       "regular expression takes more than %d steps on a value of %zu bytes",
                       REGEX_MATCH_STEPS_MAX, s.len);
    pcre2_pattern_info(m->regex->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    const PCRE2_SIZE *v = pcre2_get_ovector_pointer(m->data);
    out->found = true;
    out->n_groups = groups + 1 < REGEX_GROUPS_MAX ? groups + 1 : REGEX_GROUPS_MAX;
    for (uint32_t i = 0; i < out->n_groups; i++) {
        bool set = n == 0 || (int)i < n;
        out->start[i] = set ? v[2 * i] : SIZE_MAX;
        out->end[i] = set ? v[2 * i + 1] : SIZE_MAX;
    }
    if (out->end[0] < out->start[0])
        out->end[0] = out->start[0];    /* \K behind the end of a lookahead */
    return ERR_OK;
}
