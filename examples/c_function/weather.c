/* Two functions for Tidemill in C: a number, and a text that it fails for. */
#include <tidemill/function.h>

#include <stdio.h>
#include <string.h>

enum { WORD_BYTES_MAX = 32 };

TIDEMILL_MODULE;

void celsius(struct tidemill_call *call);
void wind_name(struct tidemill_call *call);

/* celsius(fahrenheit float8) RETURNS float8 */
void celsius(struct tidemill_call *call)
{
    double *c = call->result;
    for (uint32_t row = 0; row < call->n_rows; row++)
        c[row] = (tidemill_f8(call, 0, row) - 32) / 1.8;
}

/* wind_name(beaufort integer) RETURNS text */
void wind_name(struct tidemill_call *call)
{
    static const char *const names[] = {"calm",        "light air",       "light breeze",
                                        "gentle breeze", "moderate breeze", "fresh breeze",
                                        "strong breeze", "high wind",       "gale",
                                        "strong gale",   "storm",           "violent storm",
                                        "hurricane force"};
    struct tidemill_text *name = call->result;
    for (uint32_t row = 0; row < call->n_rows; row++) {
        if (!tidemill_is_active(call, row))
            continue;
        int32_t force = tidemill_i4(call, 0, row);
        if (force < 0 || force > 12) {
            call->fail(call, row, "a wind's force is from 0 to 12");
            continue;
        }
        char *text = call->alloc(call, WORD_BYTES_MAX);
        if (text == NULL)
            return;
        int n = snprintf(text, WORD_BYTES_MAX, "%s", names[force]);
        name[row] = (struct tidemill_text){text, (size_t)n};
    }
}
