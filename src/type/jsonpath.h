/* SQL/JSON paths, as PostgreSQL 15 has them: parsed once, applied to normalised jsonb values
 * (type/jsonb.h). A parsed path is immutable; any thread. Without .datetime(), and numbers are
 * numerics of 38 digits. */
#ifndef TIDEMILL_TYPE_JSONPATH_H
#define TIDEMILL_TYPE_JSONPATH_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum {
    JSONPATH_BYTES_MAX = 64 << 10,
    JSONPATH_NESTING_MAX = 100,      /* of parentheses, signs and steps */
    JSONPATH_DEPTH_MAX = 500,        /* of the tree, which chains of operators make deep too */
    JSONPATH_ITEMS_MAX = 1 << 20,    /* that one path gives, and that one step looks at */
    JSONPATH_STEPS_MAX = 20000000,   /* of one application: a second or so */
};

struct jsonpath;

/* Parses into `a`. ERR_SYNTAX with what is wrong, ERR_LIMIT, ERR_NO_MEMORY. */
enum err jsonpath_parse(struct str text, struct arena *a, const struct jsonpath **out,
                        struct err_detail *why) MUST_CHECK;

struct jsonpath_items {
    uint32_t n, cap;
    struct str *items;
};

/* The items that the path gives for `root`; `vars` is an object with the values of $names, or
 * empty. All memory is in `a`. Errors of the path (in strict mode a member that is missing, a
 * number that is none) are ERR_INVALID_PARAMETER; ERR_LIMIT, ERR_NO_MEMORY. */
enum err jsonpath_query(const struct jsonpath *p, struct str root, struct str vars,
                        struct arena *a, struct jsonpath_items *out,
                        struct err_detail *why) MUST_CHECK;

#endif
