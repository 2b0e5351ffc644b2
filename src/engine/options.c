#include "engine/engine_int.h"

const struct engine_options *engine_opened_with(const struct engine *e)
{
    return &e->options;
}
