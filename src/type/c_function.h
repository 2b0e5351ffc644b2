/* Functions in C from shared objects: include/tidemill/function.h is their side. Any thread. */
#ifndef TIDEMILL_TYPE_C_FUNCTION_H
#define TIDEMILL_TYPE_C_FUNCTION_H

#include "host/library.h"
#include "type/function.h"

#include <stdatomic.h>

struct c_function {
    struct str file, symbol;
    uint8_t digest[LIBRARY_DIGEST_BYTES];
    atomic_uintptr_t code;           /* 0 until the first call has found it */
};

/* Whether values of the type may be given to, and come from, functions in C. */
bool c_function_takes(enum type t);
/* Loads the file as it is now and looks for the symbol and the version of its interface; `digest`
 * gets what the file is. Errors of library_digest and library_symbol; ERR_LIBRARY for another
 * version. */
enum err c_function_check(struct str file, struct str symbol, uint8_t digest[LIBRARY_DIGEST_BYTES],
                          struct err_detail *why) MUST_CHECK;
/* The kernel of all of them: calls k->function->c. Where that cannot be found, all rows fail with
 * ERR_LIBRARY. */
void c_function_kernel(struct kernel_context *k, const struct column *const *args,
                       uint32_t constant, struct column *out);

#endif
