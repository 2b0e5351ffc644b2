#include "engine/epoch.h"

int packet_compare(const struct packet *x, const struct packet *y)
{
    if (x->view != y->view)
        return x->view < y->view ? -1 : 1;
    if (x->state_partition != y->state_partition)
        return x->state_partition < y->state_partition ? -1 : 1;
    return (x->source_partition > y->source_partition) -
           (x->source_partition < y->source_partition);
}

int64_t epoch_table_watermark(const struct epoch_reader *r, const struct input_result *results)
{
    struct watermark_sum sum = WATERMARK_SUM_NONE;
    for (uint32_t i = 0; i < r->n_inputs; i++)
        watermark_add(&sum, results[i].watermark_us, r->inputs[i].idle);
    return watermark_of(&sum, r->watermark_us);
}
