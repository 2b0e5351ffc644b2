#include "engine/data_check.h"

#include "base/check.h"
#include "engine/snapshots.h"
#include "log/log_check.h"

#include <limits.h>
#include <stdio.h>

struct walk {
    struct data_check *check;
    char path[HOST_PATH_MAX];
    enum err err;
    struct err_detail why;
};

static void tell(struct data_check *c, bool problem, const char *path, const char *text)
{
    c->n_problems += problem;
    c->tell(c->arg, problem, path, text);
}

static void move_aside(struct data_check *c, const char *path)
{
    char to[HOST_PATH_MAX + 16];
    snprintf(to, sizeof(to), "%s.unusable", path);
    if (!c->repair || strlen(to) >= HOST_PATH_MAX)
        return;
    enum err e = host_rename(c->host, path, to);
    c->n_moved += e == ERR_OK;
    tell(c, false, path, e == ERR_OK ? "moved aside, to end in .unusable" : "cannot be renamed");
}

static void partition_finding(void *arg, enum log_check_level level, const char *path,
                              const char *text)
{
    struct data_check *c = arg;
    tell(c, level != LOG_CHECK_NOTE, path, text);
    if (level == LOG_CHECK_CACHE)
        move_aside(c, path);
}

static bool is_number(const char *name)
{
    size_t n = strspn(name, "0123456789");
    return n > 0 && name[n] == '\0';
}

static bool partition_check(void *arg, const char *name)
{
    struct walk *topic = arg;
    struct data_check *c = topic->check;
    char dir[HOST_PATH_MAX + 32];
    int n = snprintf(dir, sizeof(dir), "%s/%s", topic->path, name);
    if (!is_number(name) || n >= HOST_PATH_MAX)
        return true;
    c->n_partitions++;
    topic->err = log_check(c->host, dir, partition_finding, c, &c->log_bytes, &topic->why);
    return topic->err == ERR_OK;
}

static bool topic_check(void *arg, const char *name)
{
    struct walk *topics = arg;
    struct walk topic = {.check = topics->check};
    int n = snprintf(topic.path, sizeof(topic.path), "%s/%s", topics->path, name);
    if (!is_number(name) || n < 0 || (size_t)n >= sizeof(topic.path))
        return true;
    topics->err = host_dir_list(topics->check->host, topic.path, partition_check, &topic);
    if (topics->err == ERR_OK)
        topics->err = topic.err;
    topics->why = topic.why;
    return topics->err == ERR_OK;
}

static bool snapshot_one(void *arg, const char *name)
{
    struct walk *w = arg;
    struct data_check *c = w->check;
    char path[HOST_PATH_MAX + 64];
    struct err_detail why = {0};
    uint64_t epoch;
    int n = snprintf(path, sizeof(path), "%s/%s", w->path, name);
    if (n >= HOST_PATH_MAX)
        return true;
    if (!snapshot_name_epoch(name, &epoch)) {
        tell(c, false, path, strcmp(name, "snapshot.new") == 0
                                 ? "a snapshot that was not finished: the next one replaces it"
                                 : "not used; it may be removed");
        return true;
    }
    c->n_snapshots++;
    enum err e = snapshot_check(c->host, path, NULL, NULL, &why);
    if (e == ERR_OK)
        return true;
    tell(c, true, path, err_text(e, &why));
    if (e == ERR_CORRUPT)
        move_aside(c, path);
    return true;
}

static void version_check(struct data_check *c)
{
    char path[HOST_PATH_MAX + 16], text[64] = {0};
    struct host_file *f = NULL;
    struct err_detail why = {0};
    uint64_t size = 0;
    int version = INT_MAX;
    snprintf(path, sizeof(path), "%s/VERSION", c->dir);
    enum err e = host_file_open(c->host, path, HOST_OPEN_READ, &f, &why);
    if (e == ERR_OK)
        e = host_file_size(f, &size);
    if (e == ERR_OK)
        e = host_file_read(f, 0, text, size < sizeof(text) - 1 ? size : sizeof(text) - 1);
    host_file_close(f);
    if (e != ERR_OK)
        tell(c, true, path, err_text(e, &why));
    else if (sscanf(text, "tidemill data, format %d", &version) != 1)
        tell(c, true, path, "is not a Tidemill version file");
    else if (version > DATA_FORMAT_VERSION)
        tell(c, true, path, "is of a newer version of tidemill");
    /* What is not known is not repaired. */
    c->repair &= e == ERR_OK && version <= DATA_FORMAT_VERSION;
}

/* Calls each() for the names in a folder of the data directory, if it is there. */
static enum err walk_dir(struct data_check *c, const char *name,
                         bool (*each)(void *arg, const char *name), struct err_detail *why)
{
    struct walk w = {.check = c};
    bool exists;
    snprintf(w.path, sizeof(w.path), "%s/%s", c->dir, name);
    enum err e = host_path_exists(c->host, w.path, &exists);
    if (e == ERR_OK && exists)
        e = host_dir_list(c->host, w.path, each, &w);
    if (e == ERR_OK && w.err != ERR_OK) {
        *why = w.why;
        return w.err;
    }
    return e == ERR_OK ? ERR_OK : err_set(why, e, "the folder %s cannot be read", w.path);
}

enum err data_check_run(struct data_check *c, struct err_detail *why)
{
    char path[HOST_PATH_MAX + 16];
    struct host_file *lock;
    if (strlen(c->dir) >= HOST_PATH_MAX - 64)
        return err_set(why, ERR_INVALID_ARGUMENT, "the path is too long");
    snprintf(path, sizeof(path), "%s/LOCK", c->dir);
    TRY(host_file_open(c->host, path, HOST_OPEN_WRITE, &lock, why));
    enum err e = host_file_lock(lock);
    if (e != ERR_OK)
        err_set(why, e, "the data directory %s is in use by another process", c->dir);
    if (e == ERR_OK) {
        version_check(c);
        e = walk_dir(c, "topics", topic_check, why);
    }
    if (e == ERR_OK)
        e = walk_dir(c, "snapshots", snapshot_one, why);
    host_file_close(lock);
    return e;
}
