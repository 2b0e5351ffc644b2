/* The tree of a path. Private to jsonpath*.c. */
#ifndef TIDEMILL_TYPE_JSONPATH_INT_H
#define TIDEMILL_TYPE_JSONPATH_INT_H

#include "type/jsonpath.h"
#include "type/regex.h"

enum path_kind {
    /* items of their own */
    PATH_ROOT, PATH_CURRENT, PATH_VARIABLE, PATH_LAST, PATH_LITERAL,
    /* of the items of `left` */
    PATH_MEMBER, PATH_ANY_MEMBER, PATH_DEEP, PATH_ANY_ELEMENT, PATH_SUBSCRIPTS, PATH_FILTER,
    PATH_METHOD,
    /* numbers */
    PATH_ADD, PATH_SUB, PATH_MUL, PATH_DIV, PATH_MOD, PATH_PLUS, PATH_MINUS,
    /* truth */
    PATH_EQ, PATH_NE, PATH_LT, PATH_LE, PATH_GT, PATH_GE, PATH_AND, PATH_OR, PATH_NOT,
    PATH_EXISTS, PATH_IS_UNKNOWN, PATH_LIKE_REGEX, PATH_STARTS_WITH,
};

enum path_method { METHOD_TYPE, METHOD_SIZE, METHOD_DOUBLE, METHOD_CEILING, METHOD_FLOOR,
                   METHOD_ABS, METHOD_KEYVALUE };

struct path_node {
    enum path_kind kind;
    struct path_node *left, *right;
    uint32_t depth;                  /* of the tree below: at most JSONPATH_DEPTH_MAX */
    struct str text;                 /* MEMBER, VARIABLE: the name; LITERAL: a jsonb value */
    enum path_method method;
    uint32_t deep_from, deep_to;     /* DEEP; UINT32_MAX = the leaves' level, and no end */
    const struct regex *regex;       /* LIKE_REGEX */
    struct path_node *next;          /* SUBSCRIPTS: left .. right, then the next */
};

struct jsonpath {
    bool strict;
    const struct path_node *root;
};

static inline bool path_is_truth(const struct path_node *n)
{
    return n->kind >= PATH_EQ;
}

#endif
