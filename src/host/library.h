/* Shared objects with functions of users, from one folder that the server was started with.
 *
 * What is loaded is exactly the bytes that were read, by their SHA-256: a file that changes or goes
 * afterwards changes nothing, and one that was changed before is not taken for what it was. Loaded
 * objects stay until the process ends. One table of the process; any thread. */
#ifndef TIDEMILL_HOST_LIBRARY_H
#define TIDEMILL_HOST_LIBRARY_H

#include "base/err.h"
#include "base/str.h"

enum {
    LIBRARY_DIGEST_BYTES = 32,
    LIBRARY_BYTES_MAX = 64 << 20,
    LIBRARY_NAME_BYTES_MAX = 200,
    LIBRARIES_MAX = 256,             /* different contents in the life of a process */
};

/* Where they are; before the first thread. Until then, and with NULL, nothing is loaded.
 * ERR_INVALID_ARGUMENT when it is no folder, or its name is too long. */
enum err libraries_allow(const char *folder, struct err_detail *why) MUST_CHECK;

/* Reads a file directly in the folder: what it is now. ERR_LIBRARY, also when there is no folder;
 * ERR_INVALID_ARGUMENT for a name with slashes. */
enum err library_digest(struct str file, uint8_t out[LIBRARY_DIGEST_BYTES],
                        struct err_detail *why) MUST_CHECK;

/* The file's tidemill_function_abi, with this content, which is loaded if it is not yet. The same
 * errors; ERR_LIBRARY when the file has another content, cannot be loaded or lacks the symbol.
 * Loading blocks. */
enum err library_abi(struct str file, const uint8_t digest[LIBRARY_DIGEST_BYTES], void **out,
                     struct err_detail *why) MUST_CHECK;

/* In the same way any other symbol of the file itself: not of what it depends on. */
enum err library_symbol(struct str file, const uint8_t digest[LIBRARY_DIGEST_BYTES],
                        struct str symbol, void **out, struct err_detail *why) MUST_CHECK;

#endif
