/* The system's own relations. Their rows come from the engine; the shapes are here. */
#include "plan/catalog_int.h"
#include "plan/plan_int.h"

/* clang-format off */
#define COLUMN(n, t) {{n, sizeof(n) - 1}, t, -1, false}
#define COLUMN_NN(n, t) {{n, sizeof(n) - 1}, t, -1, true}

const struct column_def catalog_raw_columns[RAW_COLUMNS] = {
    COLUMN_NN("partition", TYPE_INT4), COLUMN_NN("offset", TYPE_INT8),
    COLUMN_NN("timestamp", TYPE_TIMESTAMPTZ), COLUMN("key", TYPE_TEXT),
    COLUMN("value", TYPE_TEXT), COLUMN("headers", TYPE_JSONB),
};

static const struct column_def dead_letter_columns[] = {
    COLUMN("table_name", TYPE_TEXT), COLUMN("topic", TYPE_TEXT), COLUMN("partition", TYPE_INT4),
    COLUMN("offset", TYPE_INT8), COLUMN_NN("at", TYPE_TIMESTAMPTZ), COLUMN("reason", TYPE_TEXT),
    COLUMN("raw", TYPE_TEXT),
};
static const struct column_def tables_columns[] = {
    COLUMN("name", TYPE_TEXT), COLUMN("kind", TYPE_TEXT), COLUMN("topic", TYPE_TEXT),
    COLUMN("partitions", TYPE_INT4), COLUMN("columns", TYPE_INT4), COLUMN("sql", TYPE_TEXT),
};
static const struct column_def topics_columns[] = {
    COLUMN("name", TYPE_TEXT), COLUMN("kind", TYPE_TEXT), COLUMN("partitions", TYPE_INT4),
    COLUMN("start_offset", TYPE_INT8), COLUMN("end_offset", TYPE_INT8), COLUMN("bytes", TYPE_INT8),
};
static const struct column_def views_columns[] = {
    COLUMN("name", TYPE_TEXT), COLUMN("sql", TYPE_TEXT), COLUMN("emit", TYPE_TEXT),
    COLUMN("source", TYPE_TEXT), COLUMN("watermark", TYPE_TIMESTAMPTZ),
    COLUMN("rows_in", TYPE_INT8), COLUMN("rows_out", TYPE_INT8), COLUMN("late_rows", TYPE_INT8),
    COLUMN("groups", TYPE_INT8), COLUMN("state_bytes", TYPE_INT8), COLUMN("status", TYPE_TEXT),
    COLUMN("error", TYPE_TEXT),
};
static const struct column_def publications_columns[] = {
    COLUMN("name", TYPE_TEXT), COLUMN("sql", TYPE_TEXT), COLUMN("source", TYPE_TEXT),
    COLUMN("connector", TYPE_TEXT), COLUMN("rows_in", TYPE_INT8), COLUMN("rows", TYPE_INT8),
    COLUMN("bytes", TYPE_INT8), COLUMN("status", TYPE_TEXT), COLUMN("error", TYPE_TEXT),
};
static const struct column_def partitions_columns[] = {
    COLUMN("topic", TYPE_TEXT), COLUMN("partition", TYPE_INT4), COLUMN("start_offset", TYPE_INT8),
    COLUMN("high_watermark", TYPE_INT8), COLUMN("end_offset", TYPE_INT8),
    COLUMN("bytes", TYPE_INT8), COLUMN("watermark", TYPE_TIMESTAMPTZ), COLUMN("idle", TYPE_BOOL),
};
static const struct column_def metrics_columns[] = {
    COLUMN("name", TYPE_TEXT), COLUMN("labels", TYPE_JSONB), COLUMN("value", TYPE_FLOAT8),
};
static const struct column_def schemas_columns[] = {
    COLUMN("table_name", TYPE_TEXT), COLUMN("id", TYPE_INT8), COLUMN("state", TYPE_TEXT),
    COLUMN("schema", TYPE_TEXT), COLUMN("tries", TYPE_INT4), COLUMN("error", TYPE_TEXT),
};
static const struct column_def users_columns[] = {
    COLUMN("name", TYPE_TEXT), COLUMN("mechanism", TYPE_TEXT), COLUMN("iterations", TYPE_INT4),
};
static const struct column_def acls_columns[] = {
    COLUMN("resource_type", TYPE_TEXT), COLUMN("resource_name", TYPE_TEXT),
    COLUMN("pattern_type", TYPE_TEXT), COLUMN("principal", TYPE_TEXT), COLUMN("host", TYPE_TEXT),
    COLUMN("operation", TYPE_TEXT), COLUMN("permission_type", TYPE_TEXT),
};
static const struct column_def explain_columns[] = {
    COLUMN("view", TYPE_TEXT), COLUMN("format", TYPE_TEXT), COLUMN("line", TYPE_INT4),
    COLUMN("plan", TYPE_TEXT),
};
static const struct column_def functions_columns[] = {
    COLUMN("name", TYPE_TEXT), COLUMN("arguments", TYPE_TEXT), COLUMN("result", TYPE_TEXT),
    COLUMN("language", TYPE_TEXT), COLUMN("volatility", TYPE_TEXT), COLUMN("strict", TYPE_BOOL),
    COLUMN("current", TYPE_BOOL), COLUMN("sql", TYPE_TEXT),
};
static const struct column_def columns_columns[] = {
    COLUMN("table_name", TYPE_TEXT), COLUMN("name", TYPE_TEXT), COLUMN("type", TYPE_TEXT),
    COLUMN("not_null", TYPE_BOOL), COLUMN("position", TYPE_INT4),
};

const struct system_relation catalog_dead_letters = {
    "sys.dead_letters", dead_letter_columns, ARRAY_LEN(dead_letter_columns)};

static const struct system_relation system_relations[] = {
    {"sys.acls", acls_columns, ARRAY_LEN(acls_columns)},
    {"sys.columns", columns_columns, ARRAY_LEN(columns_columns)},
    {"sys.explain", explain_columns, ARRAY_LEN(explain_columns)},
    {"sys.functions", functions_columns, ARRAY_LEN(functions_columns)},
    {"sys.metrics", metrics_columns, ARRAY_LEN(metrics_columns)},
    {"sys.partitions", partitions_columns, ARRAY_LEN(partitions_columns)},
    {"sys.publications", publications_columns, ARRAY_LEN(publications_columns)},
    {"sys.schemas", schemas_columns, ARRAY_LEN(schemas_columns)},
    {"sys.tables", tables_columns, ARRAY_LEN(tables_columns)},
    {"sys.topics", topics_columns, ARRAY_LEN(topics_columns)},
    {"sys.users", users_columns, ARRAY_LEN(users_columns)},
    {"sys.views", views_columns, ARRAY_LEN(views_columns)},
};
/* clang-format on */

const struct system_relation *catalog_system(uint32_t *n)
{
    *n = ARRAY_LEN(system_relations);
    return system_relations;
}
