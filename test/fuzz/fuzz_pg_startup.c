/* Any bytes as start-up packets, one after the other. */
#include "wire/postgres.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = {(const char *)data, size};
    size_t n = 0;
    while (pg_startup_frame(in, &n) == PG_FRAME_WHOLE) {
        struct pg_startup m;
        struct err_detail why;
        enum err e = pg_startup_decode((struct str){in.ptr, n}, &m, &why);
        if (e == ERR_OK && m.kind == PG_STARTUP_SESSION) {
            struct str name, value;
            while (pg_startup_parameter(&m.parameters, &name, &value)) {
                (void)str_utf8_valid(name);
                (void)str_utf8_valid(value);
            }
        }
        in = (struct str){in.ptr + n, in.len - n};
    }
    return 0;
}
