/* Regular expressions: PostgreSQL's syntax as far as PCRE2 has it, with limits on every match.
 *
 * Differs from PostgreSQL where alternatives of different length match at the same place: the
 * first one wins, not the longest. A compiled expression lives in an arena, is immutable and may
 * be used by any number of threads. */
#ifndef TIDEMILL_TYPE_REGEX_H
#define TIDEMILL_TYPE_REGEX_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum {
    REGEX_PATTERN_BYTES_MAX = 32768,
    REGEX_MATCH_STEPS_MAX = 1000000,
    REGEX_HEAP_KIB_MAX = 4096,
    REGEX_NESTING_MAX = 200,
    REGEX_GROUPS_MAX = 10,        /* the match and \1 to \9 */
    REGEX_FLAGS_MAX = 8,
};

struct regex;
struct regex_matcher;

/* Compiles. `flags` are PostgreSQL's letters: i c n m s x p w, and g, which regex_is_global()
 * tells. ERR_INVALID_PARAMETER with what is wrong and where, ERR_NO_MEMORY. */
enum err regex_compile(struct str pattern, struct str flags, struct arena *a,
                       const struct regex **out, struct err_detail *why) MUST_CHECK;
bool regex_is_global(const struct regex *r);

/* Working memory for matches with one expression; NULL when out of memory. One thread. */
struct regex_matcher *regex_matcher_new(const struct regex *r, struct arena *a);

/* Named groups: (?<name>...). */
uint32_t regex_names(const struct regex *r);
/* The name of number `i` < regex_names(r), in the order of names; lives as long as `r`. */
struct str regex_name(const struct regex *r, uint32_t i);
/* Where that group is in the last match of regex_search: false when it took no part, or when there
 * was no match. Of groups with the same number or a repeated group, the last text. */
bool regex_named(const struct regex_matcher *m, uint32_t i, size_t *start, size_t *end);

struct regex_match {
    bool found;
    uint32_t n_groups;    /* in the expression with the match itself, at most REGEX_GROUPS_MAX */
    size_t start[REGEX_GROUPS_MAX], end[REGEX_GROUPS_MAX];    /* SIZE_MAX: took no part */
};
/* The first match at or behind byte `from`. ERR_LIMIT when the search takes too many steps. */
enum err regex_search(struct regex_matcher *m, struct str s, size_t from, struct regex_match *out,
                      struct err_detail *why) MUST_CHECK;

#endif
