/* Settings of consumer groups, of Kafka's names and bounds, as DescribeConfigs and
 * IncrementalAlterConfigs know them for resources of type GROUP. Which are given is in the catalog
 * (plan/security.h). Pure; any thread. */
#ifndef TIDEMILL_PLAN_GROUP_CONFIG_H
#define TIDEMILL_PLAN_GROUP_CONFIG_H

#include "base/err.h"
#include "base/str.h"

enum group_config_key { GROUP_CONFIG_HEARTBEAT_MS, GROUP_CONFIG_SESSION_MS, GROUP_CONFIGS };

struct group_config_def {
    const char *name;
    const char *broker_name; /* of the default that holds for groups that say nothing */
    const char *broker_min, *broker_max;
    int32_t fallback, min, max;
    const char *help;
};

/* A row of the table, which lives for ever. */
const struct group_config_def *group_config_def(enum group_config_key k);
/* GROUP_CONFIGS when there is none of this name. */
enum group_config_key group_config_find(struct str name);
/* ERR_INVALID_ARGUMENT: not a number within the bounds. */
enum err group_config_parse(enum group_config_key k, struct str text, int32_t *out,
                            struct err_detail *why) MUST_CHECK;

#endif
