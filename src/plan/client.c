/* Queries that psql and drivers send about the catalog. */
#include "plan/plan_int.h"

bool plan_client_query(struct binder *b)
{
    (void)b;
    return false;
}
