#include "host/library.h"

#include "base/mem.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES_MAX = 4096, SYMBOL_BYTES_MAX = 256 };

#define ABI_SYMBOL "tidemill_function_abi"

struct library {
    uint8_t digest[LIBRARY_DIGEST_BYTES];
    void *handle;
};

static char folder[PATH_BYTES_MAX];
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static struct library libraries[LIBRARIES_MAX];
static uint32_t n_libraries;

enum err libraries_allow(const char *path, struct err_detail *why)
{
    struct stat st;
    folder[0] = '\0';
    if (path == NULL)
        return ERR_OK;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode) || strlen(path) >= sizeof folder)
        return err_set(why, ERR_INVALID_ARGUMENT, "%s is no folder for C functions", path);
    snprintf(folder, sizeof folder, "%s", path);
    return ERR_OK;
}

static enum err check_name(struct str file, struct err_detail *why)
{
    if (folder[0] == '\0') {
        enum err e = err_set(why, ERR_LIBRARY, "functions in C are not allowed");
        err_hint(why, "Start the server with --c-functions DIR: shared objects in it may be used.");
        return e;
    }
    bool plain = file.len > 0 && file.len <= LIBRARY_NAME_BYTES_MAX && file.ptr[0] != '.';
    for (size_t i = 0; plain && i < file.len; i++)
        plain = file.ptr[i] != '/' && file.ptr[i] != '\0';
    if (plain)
        return ERR_OK;
    enum err e = err_set(why, ERR_INVALID_ARGUMENT,
                         "\"%.*s\" is no name of a file in the folder for C functions",
                         STR_ARG(file));
    err_hint(why, "Files directly in %s may be used: write the name only.", folder);
    return e;
}

/* The file's bytes, which the caller frees. */
static enum err file_read(struct str file, char **out, size_t *n, struct err_detail *why)
{
    char path[PATH_BYTES_MAX + LIBRARY_NAME_BYTES_MAX + 2];
    struct stat st;
    snprintf(path, sizeof path, "%s/%.*s", folder, STR_ARG(file));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set(why, ERR_LIBRARY, "cannot open \"%s\": %s", path, strerror(errno));
    bool ok = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= LIBRARY_BYTES_MAX;
    *n = ok ? (size_t)st.st_size : 0;
    *out = ok ? mem_alloc(*n + 1) : NULL;
    size_t at = 0;
    while (*out != NULL && at < *n) {
        ssize_t got = read(fd, *out + at, *n - at);
        if (got <= 0)
            break;
        at += (size_t)got;
    }
    close(fd);
    if (ok && *out != NULL && at == *n)
        return ERR_OK;
    bool memory = ok && *out == NULL;
    mem_free(*out);
    return memory ? err_set(why, ERR_NO_MEMORY, "out of memory while reading \"%s\"", path)
                  : err_set(why, ERR_LIBRARY,
                            "\"%s\" is no file of at most %d bytes that can be read", path,
                            LIBRARY_BYTES_MAX);
}

static enum err digest_of(const char *bytes, size_t n, uint8_t out[LIBRARY_DIGEST_BYTES],
                          struct err_detail *why)
{
    unsigned int size = 0;
    if (EVP_Digest(bytes, n, out, &size, EVP_sha256(), NULL) == 1 && size == LIBRARY_DIGEST_BYTES)
        return ERR_OK;
    return err_set(why, ERR_NO_MEMORY, "out of memory while reading a shared object");
}

enum err library_digest(struct str file, uint8_t out[LIBRARY_DIGEST_BYTES], struct err_detail *why)
{
    char *bytes;
    size_t n;
    TRY(check_name(file, why));
    TRY(file_read(file, &bytes, &n, why));
    enum err e = digest_of(bytes, n, out, why);
    mem_free(bytes);
    return e;
}

static bool write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, bytes, n);
        if (put <= 0)
            return false;
        bytes += put;
        n -= (size_t)put;
    }
    return true;
}

/* From memory, so that it is the bytes that were looked at, whatever happens to the file. Its
 * descriptor stays open: the loader knows objects by name, and would take the next one of the same
 * number for this. */
static enum err load(struct str file, const char *bytes, size_t n, void **handle,
                     struct err_detail *why)
{
    char path[64];
    int fd = memfd_create("tidemill-function", MFD_CLOEXEC);
    if (fd < 0 || !write_all(fd, bytes, n)) {
        if (fd >= 0)
            close(fd);
        return err_set(why, ERR_LIBRARY, "cannot make a copy of \"%.*s\": %s", STR_ARG(file),
                       strerror(errno));
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const char *text = *handle == NULL ? dlerror() : NULL;
    if (*handle != NULL)
        return ERR_OK;
    close(fd);
    return err_set(why, ERR_LIBRARY, "cannot load \"%.*s\": %s", STR_ARG(file),
                   text != NULL ? text : "not a shared object");
}

static enum err take_in(struct str file, const uint8_t digest[LIBRARY_DIGEST_BYTES], void **handle,
                        struct err_detail *why)
{
    uint8_t now[LIBRARY_DIGEST_BYTES];
    char *bytes;
    size_t n;
    TRY(check_name(file, why));
    if (n_libraries == LIBRARIES_MAX)
        return err_set(why, ERR_LIMIT, "more than %d shared objects were loaded: restart",
                       LIBRARIES_MAX);
    TRY(file_read(file, &bytes, &n, why));
    enum err e = digest_of(bytes, n, now, why);
    if (e == ERR_OK && memcmp(now, digest, sizeof now) != 0) {
        e = err_set(why, ERR_LIBRARY, "\"%.*s\" is not the file that the function was made with",
                    STR_ARG(file));
        err_hint(why, "Put that file back, or CREATE OR REPLACE FUNCTION, and the views over it "
                      "again.");
    }
    if (e == ERR_OK)
        e = load(file, bytes, n, handle, why);
    mem_free(bytes);
    if (e != ERR_OK)
        return e;
    memcpy(libraries[n_libraries].digest, digest, LIBRARY_DIGEST_BYTES);
    libraries[n_libraries++].handle = *handle;
    return ERR_OK;
}

static enum err handle_of(struct str file, const uint8_t digest[LIBRARY_DIGEST_BYTES],
                          void **handle, struct err_detail *why)
{
    enum err e = ERR_OK;
    *handle = NULL;
    pthread_mutex_lock(&gate);
    for (uint32_t i = 0; i < n_libraries && *handle == NULL; i++)
        if (memcmp(libraries[i].digest, digest, LIBRARY_DIGEST_BYTES) == 0)
            *handle = libraries[i].handle;
    if (*handle == NULL)
        e = take_in(file, digest, handle, why);
    pthread_mutex_unlock(&gate);
    return e;
}

enum err library_abi(struct str file, const uint8_t digest[LIBRARY_DIGEST_BYTES], void **out,
                     struct err_detail *why)
{
    void *handle;
    TRY(handle_of(file, digest, &handle, why));
    *out = dlsym(handle, ABI_SYMBOL);
    return *out != NULL ? ERR_OK
                        : err_set(why, ERR_LIBRARY, "\"%.*s\" has no symbol \"%s\"",
                                  STR_ARG(file), ABI_SYMBOL);
}

/* dlsym looks into what an object depends on too: whether it is in the object with the ABI. */
static bool is_own(void *symbol, void *abi)
{
    Dl_info of_symbol, of_abi;
    return symbol != NULL && symbol != abi && dladdr(symbol, &of_symbol) != 0 &&
           dladdr(abi, &of_abi) != 0 && of_symbol.dli_fbase == of_abi.dli_fbase;
}

enum err library_symbol(struct str file, const uint8_t digest[LIBRARY_DIGEST_BYTES],
                        struct str symbol, void **out, struct err_detail *why)
{
    char name[SYMBOL_BYTES_MAX];
    void *handle, *abi;
    if (symbol.len >= sizeof name)
        return err_set(why, ERR_INVALID_ARGUMENT, "a symbol has at most %d bytes",
                       SYMBOL_BYTES_MAX - 1);
    snprintf(name, sizeof name, "%.*s", STR_ARG(symbol));
    TRY(library_abi(file, digest, &abi, why));
    TRY(handle_of(file, digest, &handle, why));
    *out = dlsym(handle, name);
    if (is_own(*out, abi))
        return ERR_OK;
    *out = NULL;
    return err_set(why, ERR_LIBRARY, "\"%.*s\" has no symbol \"%s\"", STR_ARG(file), name);
}
