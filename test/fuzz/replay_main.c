/* Runs a fuzz target's entry point over files, without libFuzzer: what it once found stays fixed.
 *
 * usage: fuzz_NAME PATH...    each PATH is a file or a folder of files
 *
 * A missing corpus folder counts as empty. The empty input and one zero byte always run, so that a
 * target without a corpus is exercised too. Names run in sorted order, and a crash is preceded by
 * the name of its file. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { INPUT_BYTES_MAX = 16 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long inputs_run;

/* An exact-size heap copy, so that the address sanitizer sees a read one past the end. */
static void run_input(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) {
        (void)fprintf(stderr, "out of memory for %zu bytes\n", size);
        exit(2);
    }
    if (size > 0) {
        memcpy(copy, data, size);
    }
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    inputs_run++;
}

static bool run_file(const char *path)
{
    static uint8_t bytes[INPUT_BYTES_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    size_t size = fread(bytes, 1, sizeof bytes, file);
    bool whole = ferror(file) == 0 && fgetc(file) == EOF;
    (void)fclose(file);
    if (!whole) {
        (void)fprintf(stderr, "%s: unreadable or over %d bytes\n", path, INPUT_BYTES_MAX);
        return false;
    }
    (void)fprintf(stderr, "%s\n", path);
    run_input(bytes, size);
    return true;
}

static bool run_folder(const char *path)
{
    struct dirent **names = NULL;
    int count = scandir(path, &names, NULL, alphasort);
    if (count < 0) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    bool good = true;
    for (int i = 0; i < count; i++) {
        char file[PATH_MAX];
        int len = snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        bool hidden = names[i]->d_name[0] == '.';
        free(names[i]);
        if (hidden) {
            continue;
        }
        if (len < 0 || (size_t)len >= sizeof file) {
            (void)fprintf(stderr, "%s: a path is over %d bytes\n", path, PATH_MAX);
            good = false;
            continue;
        }
        good = run_file(file) && good;
    }
    free(names);
    return good;
}

int main(int argc, char **argv)
{
    bool good = true;
    run_input((const uint8_t *)"", 0);
    run_input((const uint8_t *)"\0", 1);
    for (int i = 1; i < argc; i++) {
        struct stat info;
        if (stat(argv[i], &info) != 0) {
            if (errno != ENOENT) {
                (void)fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
                good = false;
            }
        } else if (S_ISDIR(info.st_mode)) {
            good = run_folder(argv[i]) && good;
        } else {
            good = run_file(argv[i]) && good;
        }
    }
    (void)fprintf(stderr, "%lu inputs\n", inputs_run);
    return good ? 0 : 1;
}
