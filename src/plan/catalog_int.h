/* Inside of the catalog: objects with reference counts, and a version being made. Private to
 * plan/. */
#ifndef TIDEMILL_PLAN_CATALOG_INT_H
#define TIDEMILL_PLAN_CATALOG_INT_H

#include "plan/plan.h"

#include <stdatomic.h>

enum { OBJECT_DEPS_MAX = 3 + 2 * VIEW_SOURCES_MAX + VIEW_QUERIES_MAX };

/* A topic or a relation with everything it points to. Shared by all versions that contain it;
 * freed with the last. */
struct object {
    atomic_uint refs;
    struct arena arena;
    /* held: topic, late topics, origin, sources, plain views */
    struct object *deps[OBJECT_DEPS_MAX];
    uint32_t n_deps;
    struct object *origin;           /* whose plan and texts this one uses, after an alteration */
    struct plan *plan;               /* relations made by SQL: columns and plan live in it */
    bool is_topic;
    bool owns_topic;                 /* DROP takes the topic as well */
    struct topic topic;
    struct relation relation;
    struct view view;
    const struct relation *sources[VIEW_SOURCES_MAX];
};

struct catalog_memory {
    atomic_uint refs;
    uint32_t topics_cap, relations_cap, functions_cap;
    const struct topic **topics;
    const struct topic **topics_by_id;
    const struct topic **topics_by_number;
    const struct relation **relations;
    const struct relation **relations_by_number;
    const struct user_function **functions;
};

struct version {
    struct catalog pub;
    struct catalog_memory memory;
};

/* CHANGE_CREATE_TYPE and CHANGE_DROP_TYPE applied; the changes that make c's types. */
enum err catalog_create_type(struct version *v, const struct catalog_change *change,
                             struct err_detail *why) MUST_CHECK;
enum err catalog_drop_type(struct version *v, struct str name, struct err_detail *why) MUST_CHECK;
enum err catalog_types_snapshot(const struct catalog *c,
                                enum err (*each)(void *arg, const struct catalog_change *change),
                                void *arg) MUST_CHECK;

/* Functions: the same; and what stays with the next version. */
enum err catalog_create_function(struct version *v, const struct catalog_change *change,
                                 struct err_detail *why) MUST_CHECK;
enum err catalog_drop_function(struct version *v, struct str signature, struct err_detail *why)
    MUST_CHECK;
/* Definitions that were replaced and that no view is bound with any more go. */
void catalog_functions_sweep(struct version *v);
void catalog_function_ref(const struct user_function *f);
void catalog_function_unref(const struct user_function *f);

/* Whether DROP of the relation takes its topic too, unless another one reads it. */
bool catalog_owns_topic(const struct relation *r);

/* A system relation: its name and columns. */
struct system_relation {
    const char *name;
    const struct column_def *columns;
    uint32_t n_columns;
};
/* Without sys.dead_letters, which is a table over its topic. */
const struct system_relation *catalog_system(uint32_t *n);
extern const struct system_relation catalog_dead_letters;

#endif
