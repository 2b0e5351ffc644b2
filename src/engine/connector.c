#include "engine/connector.h"

#include "base/check.h"

/* ---- discard ---- */

static uint64_t column_bytes(const struct column *c, uint32_t n)
{
    const struct type_info *info = type_info(c->type);
    if (!info->by_ref)
        return (uint64_t)n * info->width;
    const struct str *texts = column_str(c);
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += column_is_null(c, i) ? 0 : texts[i].len;
    return bytes;
}

static enum err discard_take(const struct batch *rows, struct receipt *taken)
{
    if (rows->weights == NULL)
        taken->rows += rows->n_rows;
    for (uint32_t i = 0; rows->weights != NULL && i < rows->n_rows; i++) {
        int64_t w = rows->weights[i];
        taken->rows += (uint64_t)(w < 0 ? -w : w);
    }
    for (uint32_t c = 0; c < rows->n_columns; c++)
        taken->bytes += column_bytes(&rows->columns[c], rows->n_rows);
    return ERR_OK;
}

const struct connector_kind *connector_kind(enum connector c)
{
    static const struct connector_kind discard = {.take = discard_take};
    CHECK(c == CONNECTOR_DISCARD);
    return &discard;
}
