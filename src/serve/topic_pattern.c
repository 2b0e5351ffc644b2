#include "serve/topic_pattern.h"

#include "base/check.h"
#include "base/mem.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { PATTERN_NESTING_MAX = 50, PATTERN_HEAP_KIB_MAX = 1024, PATTERN_MESSAGE_MAX = 160 };

struct topic_pattern {
    pcre2_general_context *general;
    pcre2_match_context *context;
    pcre2_code *code;
    pcre2_match_data *data;
};

static void *pattern_malloc(size_t n, void *unused)
{
    (void)unused;
    return mem_alloc(n);
}

static void pattern_free(void *p, void *unused)
{
    (void)unused;
    mem_free(p);
}

void topic_pattern_free(struct topic_pattern *p)
{
    if (p == NULL)
        return;
    pcre2_match_data_free(p->data);
    pcre2_code_free(p->code);
    pcre2_match_context_free(p->context);
    pcre2_general_context_free(p->general);
    mem_free(p);
}

static enum err pattern_compile(struct topic_pattern *p, struct str text, struct err_detail *why)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    pcre2_compile_context *compile = pcre2_compile_context_create(p->general);
    if (compile == NULL)
        return err_set(why, ERR_NO_MEMORY, "no memory for a topic pattern");
    pcre2_set_parens_nest_limit(compile, PATTERN_NESTING_MAX);
    p->code = pcre2_compile((PCRE2_SPTR)(const void *)text.ptr, text.len,
                            PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_DOLLAR_ENDONLY |
                                PCRE2_NEVER_BACKSLASH_C | PCRE2_NEVER_UTF,
                            &code, &at, compile);
    pcre2_compile_context_free(compile);
    if (p->code != NULL)
        return ERR_OK;
    PCRE2_UCHAR message[PATTERN_MESSAGE_MAX] = {0};
    pcre2_get_error_message(code, message, sizeof message);
    return err_set(why, ERR_INVALID_PARAMETER, "the pattern %.*s is not valid at character %zu: %s",
                   STR_ARG(text), (size_t)at + 1, (const char *)message);
}

enum err topic_pattern_new(struct str text, struct topic_pattern **out, struct err_detail *why)
{
    if (text.len > TOPIC_PATTERN_BYTES_MAX)
        return err_set(why, ERR_INVALID_PARAMETER, "a topic pattern of %zu bytes (maximum %d)",
                       text.len, TOPIC_PATTERN_BYTES_MAX);
    struct topic_pattern *p = mem_zalloc(1, sizeof *p);
    enum err e = ERR_NO_MEMORY;
    if (p != NULL)
        p->general = pcre2_general_context_create(pattern_malloc, pattern_free, NULL);
    if (p != NULL && p->general != NULL)
        p->context = pcre2_match_context_create(p->general);
    if (p != NULL && p->context != NULL)
        e = pattern_compile(p, text, why);
    if (e == ERR_OK) {
        p->data = pcre2_match_data_create_from_pattern(p->code, p->general);
        e = p->data == NULL ? ERR_NO_MEMORY : ERR_OK;
    }
    if (e != ERR_OK) {
        topic_pattern_free(p);
        return e == ERR_NO_MEMORY ? err_set(why, e, "no memory for a topic pattern") : e;
    }
    pcre2_set_heap_limit(p->context, PATTERN_HEAP_KIB_MAX);
    *out = p;
    return ERR_OK;
}

/* PCRE2 does not say how many steps it made, only that they were not enough: with more and more of
 * them, which costs a tenth more than with the most at once. */
bool topic_pattern_matches(const struct topic_pattern *p, struct str name, uint32_t *steps)
{
    static const uint32_t limits[] = {TOPIC_PATTERN_STEPS_FEW, 10 * TOPIC_PATTERN_STEPS_FEW,
                                      TOPIC_PATTERN_STEPS_MAX};
    int result = PCRE2_ERROR_MATCHLIMIT;
    *steps = 0;
    for (size_t i = 0; i < ARRAY_LEN(limits) && result == PCRE2_ERROR_MATCHLIMIT; i++) {
        pcre2_set_match_limit(p->context, limits[i]);
        *steps += limits[i];
        result = pcre2_match(p->code, (PCRE2_SPTR)(const void *)name.ptr, name.len, 0, 0, p->data,
                             p->context);
    }
    return result >= 0;
}

size_t topic_pattern_bytes(const struct topic_pattern *p)
{
    size_t bytes = 0;
    pcre2_pattern_info(p->code, PCRE2_INFO_SIZE, &bytes);
    return sizeof *p + bytes + pcre2_get_match_data_size(p->data);
}
