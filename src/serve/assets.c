#include "serve/assets.h"

#include <string.h>

/* Order of (path, gzip) against an entry: negative, 0 or positive. */
static int asset_compare(const char *path, size_t len, bool gzip, const struct asset *entry)
{
    size_t entry_len = strlen(entry->path);
    int order = memcmp(path, entry->path, len < entry_len ? len : entry_len);
    if (order != 0) {
        return order;
    }
    if (len != entry_len) {
        return len < entry_len ? -1 : 1;
    }
    return (int)gzip - (int)entry->gzip;
}

static const struct asset *asset_search(const char *path, size_t len, bool gzip)
{
    size_t low = 0;
    size_t high = asset_table_len;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = asset_compare(path, len, gzip, &asset_table[middle]);
        if (order == 0) {
            return &asset_table[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

const struct asset *asset_find(const char *path, size_t len)
{
    return asset_search(path, len, false);
}

const struct asset *asset_find_gzip(const char *path, size_t len)
{
    return asset_search(path, len, true);
}
