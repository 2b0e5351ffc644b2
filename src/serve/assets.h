/* The dashboard's files, part of the program.
 *
 * The build turns web/dist into a sorted, read-only table (tools/embed_assets.py); a build without
 * the dashboard has an empty one. Everything here is immutable: any thread may call it and keep the
 * pointers for ever. */
#ifndef TIDEMILL_SERVE_ASSETS_H
#define TIDEMILL_SERVE_ASSETS_H

#include <stdbool.h>
#include <stddef.h>

struct asset {
    const char *path;         /* as in the URL, with the leading slash: "/index.html" */
    const char *content_type; /* value for the Content-Type header */
    const unsigned char *bytes;
    size_t len;
    bool gzip; /* bytes are gzip: send Content-Encoding: gzip */
};

/* The table itself, sorted by path, plain before gzip; asset_table_len leaves out the end mark. */
extern const struct asset asset_table[];
extern const size_t asset_table_len;

/* The uncompressed file at `path` (len bytes, exact match, no query string), or NULL. */
const struct asset *asset_find(const char *path, size_t len);

/* The gzip variant of the same file, for clients that accept it; NULL when it is no smaller. */
const struct asset *asset_find_gzip(const char *path, size_t len);

#endif
