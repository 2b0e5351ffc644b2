/* The exact sum of numerics, whatever their order: only the result has to fit 38 digits.
 *
 * `part` takes what fits into 128 bits at the greatest scale seen; what does not is carried over
 * to `wide`, which holds every sum of 2^63 numbers. All-zero bytes are the empty sum. Pure. */
#ifndef TIDEMILL_RUN_NUMERIC_SUM_H
#define TIDEMILL_RUN_NUMERIC_SUM_H

#include "type/numeric.h"

enum { NUMERIC_SUM_LIMBS = 5 };

struct numeric_sum {
    i128 part;
    uint64_t wide[NUMERIC_SUM_LIMBS]; /* two's complement, unit 10^-NUMERIC_SCALE_MAX */
    int64_t nan, positive, negative;  /* weights of NaN and infinities */
    int32_t scale;                    /* of `part`: the greatest seen */
    int32_t reserved;
};

/* Adds v, `weight` times. */
void numeric_sum_add(struct numeric_sum *s, const struct numeric *v, int64_t weight);
/* Its size without the sign, in units of 10^-scale: NUMERIC_SUM_LIMBS limbs, the least first. Of
 * finite sums. */
void numeric_sum_magnitude(const struct numeric_sum *s, uint64_t *limbs);
/* The sum, with the greatest scale of what was added. ERR_OUT_OF_RANGE over 38 digits. */
enum err numeric_sum_result(const struct numeric_sum *s, struct numeric *out,
                            struct err_detail *why) MUST_CHECK;

#endif
