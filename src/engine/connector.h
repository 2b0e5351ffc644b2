/* Where the rows of publications go: one connector for each kind of place (ADR 34).
 *
 *   rows of a table, changes of a view --filter, columns--> take() --> receipt of the epoch
 *
 * A publication has a partition for each of its source's, and a receipt for each epoch in which one
 * of them took rows, in the publication's own topic: it is written, made durable and seen with the
 * epoch's other outputs. Rows of epochs that the record has do not come again after a restart.
 * Private to engine/. */
#ifndef TIDEMILL_ENGINE_CONNECTOR_H
#define TIDEMILL_ENGINE_CONNECTOR_H

#include "base/err.h"
#include "plan/catalog.h"
#include "type/column.h"

#include <stdint.h>

/* What a partition of a publication took. */
struct receipt {
    uint64_t rows;  /* that came or went; a row that is there twice counts twice */
    uint64_t bytes; /* of the values: fixed ones by their width, others by their length */
};

struct connector_kind {
    /* Takes rows with their weights (NULL: each came once) and adds them to *taken. On the shard
     * of the partition, inside of an epoch: must not wait. An error fails the publication, for
     * good. */
    enum err (*take)(const struct batch *rows, struct receipt *taken);
};
/* The connector's functions; never NULL for what a publication can have. Any thread. */
const struct connector_kind *connector_kind(enum connector c);

#endif
