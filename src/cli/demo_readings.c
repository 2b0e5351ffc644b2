/* Readings in files: CSV, or CSV in gzip, with the header "timestamp,value". */
#include "base/mem.h"
#include "cli/demo_int.h"
#include "type/datetime.h"
#include "wire/compress.h"
#include "wire/json.h"
#include "wire/json_time.h"

#include <stdio.h>

#define CSV_HEADER "timestamp,value"

enum { VALUE_BYTES_MAX = 64, QUOTE_BYTES_MAX = 60 };

enum err demo_file_read(struct host *h, const char *path, struct buf *out, struct err_detail *why)
{
    struct host_file *file;
    TRY(host_file_open(h, path, HOST_OPEN_READ, &file, why));
    uint64_t size = 0;
    enum err e = host_file_size(file, &size);
    if (e == ERR_OK && size > out->max)
        e = ERR_TOO_LARGE;
    char *room = e == ERR_OK && size > 0 ? buf_reserve(out, size) : NULL;
    if (e == ERR_OK && size > 0 && room == NULL)
        e = ERR_NO_MEMORY;
    if (room != NULL)
        e = host_file_read(file, 0, room, size);
    host_file_close(file);
    if (e != ERR_OK)
        return err_set(why, e, "%s: %s", path, err_info(e)->text);
    out->len += size;
    return ERR_OK;
}

/* The line at `at` without its end, and where the next one begins. */
static struct str line_at(const struct buf *text, size_t at, size_t *next)
{
    const char *begin = text->ptr + at;
    const char *end = memchr(begin, '\n', text->len - at);
    size_t len = end == NULL ? text->len - at : (size_t)(end - begin);
    *next = at + len + (end != NULL);
    if (len > 0 && begin[len - 1] == '\r')
        len--;
    return (struct str){begin, len};
}

/* "2013-12-02 21:15:00,73.96": the time is taken as UTC. */
static bool reading_parse(struct str line, struct json_day_cache *days, struct demo_reading *out)
{
    const char *comma = memchr(line.ptr, ',', line.len);
    if (comma == NULL)
        return false;
    size_t n = (size_t)(comma - line.ptr);
    out->value = (struct str){comma + 1, line.len - n - 1};
    bool number =
        out->value.len > 0 && out->value.len <= VALUE_BYTES_MAX &&
        (out->value.ptr[0] == '-' || (out->value.ptr[0] >= '0' && out->value.ptr[0] <= '9'));
    return number && json_time_timestamp(days, (struct str){line.ptr, n}, &out->ts_us) &&
           json_validate(out->value, NULL) == ERR_OK;
}

void demo_series_advance(struct demo_series *s)
{
    struct json_day_cache days = {0};
    struct str line = {0};
    while (s->at < s->text.len && line.len == 0) {
        line = line_at(&s->text, s->at, &s->at);
        s->line++;
    }
    s->has_next = line.len > 0 && reading_parse(line, &days, &s->next);
}

/* Checks every line and goes back to the first reading. */
static enum err series_check(struct demo_series *s, const char *path, struct demo_readings *all,
                             struct err_detail *why)
{
    struct json_day_cache days = {0};
    size_t at = 0, first = 0;
    uint64_t number = 0;
    while (at < s->text.len) {
        struct str line = line_at(&s->text, at, &at);
        struct demo_reading r;
        number++;
        if (number == 1) {
            if (!str_eq(line, STR(CSV_HEADER)))
                return err_set(why, ERR_MALFORMED, "%s:1: the first line must be " CSV_HEADER,
                               path);
            first = at;
            continue;
        }
        if (line.len == 0)
            continue;
        if (!reading_parse(line, &days, &r))
            return err_set(why, ERR_MALFORMED,
                           "%s:%llu: not a time and a number, such as 2013-12-02 21:15:00,73.96: "
                           "\"%.*s\"",
                           path, (unsigned long long)number,
                           line.len > QUOTE_BYTES_MAX ? QUOTE_BYTES_MAX : (int)line.len, line.ptr);
        if (s->readings++ == 0)
            s->first_us = r.ts_us;
        if (all->total++ == 0 || r.ts_us < all->first_us)
            all->first_us = r.ts_us;
        if (all->total == 1 || r.ts_us > all->last_us)
            all->last_us = r.ts_us;
    }
    s->at = first;
    s->line = 1;
    demo_series_advance(s);
    return ERR_OK;
}

struct listing {
    struct host *host;
    const char *folder;
    struct demo_readings *readings;
    struct compress *compress;
    enum err err;
    struct err_detail *why;
};

static enum err text_read(struct listing *l, const char *path, bool packed, struct buf *text)
{
    buf_init(text, DEMO_FILE_BYTES_MAX);
    if (!packed)
        return demo_file_read(l->host, path, text, l->why);
    struct buf file;
    buf_init(&file, DEMO_FILE_BYTES_MAX);
    enum err e = demo_file_read(l->host, path, &file, l->why);
    if (e == ERR_OK) {
        struct err_detail why = {0};
        e = compress_decode(l->compress, COMPRESS_GZIP, buf_str(&file), text, &why);
        if (e != ERR_OK)
            e = err_set(l->why, e, "%s: %s", path, err_text(e, &why));
    }
    buf_deinit(&file);
    return e;
}

static bool file_add(void *arg, const char *name)
{
    struct listing *l = arg;
    struct str s = str_of(name);
    const struct str endings[] = {STR(".csv.gz"), STR(".csv")};
    for (size_t i = 0; i < 2; i++) {
        size_t stem = s.len - endings[i].len;
        if (s.len <= endings[i].len ||
            !str_eq((struct str){name + stem, endings[i].len}, endings[i]))
            continue;
        struct demo_readings *r = l->readings;
        if (r->n == DEMO_SENSORS_MAX || stem >= DEMO_NAME_MAX || !str_utf8_valid(s)) {
            l->err = err_set(l->why, ERR_LIMIT,
                             "%s/%s: at most %d files with names of %d bytes of UTF-8", l->folder,
                             name, DEMO_SENSORS_MAX, DEMO_NAME_MAX - 1);
            return false;
        }
        struct demo_series *series = &r->series[r->n++];
        memcpy(series->name, name, stem);
        char path[HOST_PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", l->folder, name);
        l->err = text_read(l, path, i == 0, &series->text);
        if (l->err == ERR_OK)
            l->err = series_check(series, path, r, l->why);
        return l->err == ERR_OK;
    }
    return true;
}

enum err demo_readings_open(struct host *h, const char *folder, struct demo_readings *out,
                            struct err_detail *why)
{
    *out = (struct demo_readings){.series = mem_zalloc(DEMO_SENSORS_MAX, sizeof(*out->series))};
    struct listing l = {
        .host = h, .folder = folder, .readings = out, .compress = compress_new(), .why = why};
    bool exists = false;
    enum err e = out->series == NULL || l.compress == NULL ? ERR_NO_MEMORY : ERR_OK;
    if (e == ERR_OK)
        e = host_path_exists(h, folder, &exists);
    if (e == ERR_OK)
        e = host_dir_list(h, folder, file_add, &l);
    if (e != ERR_OK)
        err_set(why, e, "%s: %s", folder,
                e != ERR_IO ? err_info(e)->text
                : exists    ? "cannot be read as a folder"
                            : "there is no such folder");
    else if ((e = l.err) == ERR_OK && out->total == 0)
        e = err_set(why, ERR_INVALID_ARGUMENT, "%s: no readings in files *.csv or *.csv.gz",
                    folder);
    compress_free(l.compress);
    return e;
}

void demo_readings_close(struct demo_readings *r)
{
    for (uint32_t i = 0; i < r->n; i++)
        buf_deinit(&r->series[i].text);
    mem_free(r->series);
    *r = (struct demo_readings){0};
}

struct demo_series *demo_readings_first(const struct demo_readings *r)
{
    struct demo_series *first = NULL;
    for (uint32_t i = 0; i < r->n; i++) {
        struct demo_series *s = &r->series[i];
        if (s->has_next && (first == NULL || s->next.ts_us < first->next.ts_us))
            first = s;
    }
    return first;
}

struct demo_series *demo_readings_find(const struct demo_readings *r, struct str name)
{
    for (uint32_t i = 0; i < r->n; i++)
        if (str_eq(str_of(r->series[i].name), name))
            return &r->series[i];
    return NULL;
}
