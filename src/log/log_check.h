/* Looking at a partition's files without changing them: every frame with its checksum, the caches
 * beside it, the checkpoint. For a partition that nobody has open. */
#ifndef TIDEMILL_LOG_LOG_CHECK_H
#define TIDEMILL_LOG_LOG_CHECK_H

#include "log/log.h"

enum log_check_level {
    LOG_CHECK_NOTE,    /* as after a crash: the next start sees to it */
    LOG_CHECK_CACHE,   /* damage in a file that is made again when it is missing */
    LOG_CHECK_PROBLEM, /* damage: data cannot be read */
};
/* Is told of each finding; `path` is the file. */
typedef void (*log_check_fn)(void *arg, enum log_check_level level, const char *path,
                             const char *text);

/* Checks the partition in folder `dir` and tells what is wrong. `bytes` grows by what was read of
 * segments. Errors are those of reading the folder itself. Blocks. */
enum err log_check(struct host *h, const char *dir, log_check_fn tell, void *arg,
                   uint64_t *bytes, struct err_detail *why) MUST_CHECK;

#endif
