#include "plan/group_config.h"

static const struct group_config_def defs[GROUP_CONFIGS] = {
    [GROUP_CONFIG_HEARTBEAT_MS] =
        {"consumer.heartbeat.interval.ms", "group.consumer.heartbeat.interval.ms",
         "group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms",
         5000, 5000, 15000,
         "how often members of the new group protocol send a heartbeat, in milliseconds"},
    [GROUP_CONFIG_SESSION_MS] =
        {"consumer.session.timeout.ms", "group.consumer.session.timeout.ms",
         "group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms", 45000,
         45000, 60000,
         "after so many milliseconds without a heartbeat a member of the new group protocol is "
         "lost"},
};

const struct group_config_def *group_config_def(enum group_config_key k)
{
    return &defs[k];
}

enum group_config_key group_config_find(struct str name)
{
    enum group_config_key k = 0;
    while (k < GROUP_CONFIGS && !str_eq(name, str_of(defs[k].name)))
        k++;
    return k;
}

enum err group_config_parse(enum group_config_key k, struct str text, int32_t *out,
                            struct err_detail *why)
{
    int64_t value;
    if (str_to_i64(text, &value) != ERR_OK || value < defs[k].min || value > defs[k].max)
        return err_set(why, ERR_INVALID_ARGUMENT,
                       "setting \"%s\" is a number of milliseconds from %d to %d, not \"%.*s\"",
                       defs[k].name, defs[k].min, defs[k].max, STR_ARG(text));
    *out = (int32_t)value;
    return ERR_OK;
}
