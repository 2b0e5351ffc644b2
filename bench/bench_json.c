/* Rows/s of the JSON row decoder on sensor readings of 62 and 100 bytes.
 *
 * usage: bench_json [SECONDS PER LINE]
 *
 * Text borrows from the input, so no byte is copied but the columns. */
#include "base/check.h"
#include "wire/json_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROWS = 4096, ARENA_MAX = 64 << 20, TEXT_MAX = 512 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const char *const shapes[] = {"62 B, compact", "68 B, Python's blanks",
                                     "100 B, two more keys", "75 B, 17-digit floats"};

/* Writes reading `i` in the given shape; returns its length. */
static size_t reading(size_t shape, int i, char *out)
{
    char time[32];
    int s = i % 100;
    int whole = 10 + i % 30;
    snprintf(time, sizeof time, "2026-01-01T00:%02d:%02d.%03dZ", i / 60 % 60, i % 60, i % 1000);
    switch (shape) {
    case 0:
        return (size_t)snprintf(out, TEXT_MAX,
                                "{\"sensor\":\"s-%02d\",\"temp\":%d.%02d,\"ts\":\"%s\"}", s, whole,
                                s, time);
    case 1:
        return (size_t)snprintf(out, TEXT_MAX,
                                "{\"sensor\": \"s-%02d\", \"temp\": %d.%02d, \"ts\": \"%s\"}", s,
                                whole, s, time);
    case 2:
        return (size_t)snprintf(out, TEXT_MAX,
                                "{\"sensor\":\"s-%02d\",\"site\":\"hall 7\",\"temp\":%d.%02d,"
                                "\"unit\":\"celsius\",\"ts\":\"%s\"}",
                                s, whole, s, time);
    default:
        return (size_t)snprintf(
            out, TEXT_MAX, "{\"sensor\":\"s-%02d\",\"temp\":%d.%02d1234567890123,\"ts\":\"%s\"}", s,
            whole, s, time);
    }
}

static void run(size_t shape, double seconds)
{
    const struct json_field fields[] = {
        {STR("sensor"), TYPE_TEXT, -1, false, true, false},
        {STR("temp"), TYPE_FLOAT8, -1, false, true, false},
        {STR("ts"), TYPE_TIMESTAMPTZ, -1, true, true, false},
        {STR("note"), TYPE_TEXT, -1, false, false, false},
    };
    struct arena a;
    struct json_decoder *d;
    arena_init(&a, ARENA_MAX);
    char *text = arena_alloc(&a, (size_t)ROWS * TEXT_MAX);
    struct str *rows = arena_alloc(&a, ROWS * sizeof *rows);
    if (text == NULL || rows == NULL || json_decoder_new(fields, 4, &d) != ERR_OK)
        exit(1);
    size_t bytes = 0;
    for (int i = 0; i < ROWS; i++) {
        size_t n = reading(shape, i, text + bytes);
        rows[i] = (struct str){text + bytes, n};
        bytes += n;
    }
    struct batch *b = json_decoder_batch(d, ROWS, &a);
    if (b == NULL)
        exit(1);
    double begin = now_s();
    uint64_t done = 0;
    do {
        for (b->n_rows = 0; b->n_rows < ROWS; b->n_rows++)
            if (json_decode_row(d, rows[b->n_rows], b, &a, NULL) != ERR_OK)
                exit(1);
        done += ROWS;
    } while (now_s() - begin < seconds);
    double took = now_s() - begin;
    printf("%-24s %8.2f M rows/s %8.1f MB/s %7.1f ns/row\n", shapes[shape],
           (double)done / took / 1e6, (double)done / took * (double)bytes / ROWS / 1e6,
           took / (double)done * 1e9);
    json_decoder_free(d);
    arena_deinit(&a);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.5;
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        run(i, seconds);
    return 0;
}
