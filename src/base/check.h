/* Assertions that stay on in release: a programmer's mistake ends the process before it corrupts
 * data. */
#ifndef TIDEMILL_BASE_CHECK_H
#define TIDEMILL_BASE_CHECK_H

/* Prints the failed condition with its place and aborts. Any thread. */
_Noreturn void check_failed(const char *condition, const char *file, int line);

#define CHECK(cond) ((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))
#define UNREACHABLE() check_failed("unreachable", __FILE__, __LINE__)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) \
    ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
