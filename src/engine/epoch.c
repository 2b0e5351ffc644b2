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

struct packet **packets_sort(struct packet **all, struct packet **spare, uint32_t n)
{
    for (uint32_t width = 1; width < n; width *= 2) {
        for (uint32_t from = 0; from < n; from += 2 * width) {
            uint32_t mid = from + width < n ? from + width : n,
                     end = from + 2 * width < n ? from + 2 * width : n;
            for (uint32_t i = from, j = mid, k = from; k < end; k++)
                spare[k] = j == end || (i < mid && packet_compare(all[i], all[j]) <= 0)
                               ? all[i++]
                               : all[j++];
        }
        struct packet **t = all;
        all = spare;
        spare = t;
    }
    return all;
}

int64_t epoch_table_watermark(const struct epoch_reader *r, const struct input_result *results)
{
    struct watermark_sum sum = WATERMARK_SUM_NONE;
    for (uint32_t i = 0; i < r->n_inputs; i++)
        watermark_add(&sum, results[i].watermark_us, r->inputs[i].idle);
    return watermark_of(&sum, r->watermark_us);
}
