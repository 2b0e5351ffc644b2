#include "run/flow_window.h"

#include "base/check.h"
#include "base/mem.h"

enum { WINDOWS_MAX = 1 << 24 };

/* ---- lists ---- */

static struct flow_window_links *links(const struct flow_windows *w, const struct row_entry *e)
{
    return (struct flow_window_links *)(void *)((char *)row_entry_owner(e) + w->links_at);
}

/* The number of the first list that ends at `end` or later. */
static uint32_t list_at(const struct flow_windows *w, int64_t end)
{
    uint32_t low = 0, high = w->n;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (w->lists[mid].end < end)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static enum err list_add(struct flow_windows *w, uint32_t at, int64_t end)
{
    if (w->n == w->cap) {
        uint32_t cap = w->cap == 0 ? 16 : w->cap * 2;
        struct flow_window_list *grown =
            cap > WINDOWS_MAX ? NULL : mem_realloc(w->lists, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        w->lists = grown;
        w->cap = cap;
    }
    memmove(&w->lists[at + 1], &w->lists[at], (w->n - at) * sizeof(*w->lists));
    w->lists[at] = (struct flow_window_list){.end = end};
    w->n++;
    return ERR_OK;
}

enum err flow_windows_add(struct flow_windows *w, struct row_entry *e, int64_t end)
{
    struct flow_window_links *own = links(w, e);
    *own = (struct flow_window_links){.end = INT64_MAX};
    if (end == INT64_MAX)
        return ERR_OK;
    uint32_t at = list_at(w, end);
    if (at == w->n || w->lists[at].end != end)
        TRY(list_add(w, at, end));
    own->end = end;
    own->next = w->lists[at].first;
    if (own->next != NULL)
        links(w, own->next)->prev = e;
    w->lists[at].first = e;
    return ERR_OK;
}

void flow_windows_remove(struct flow_windows *w, struct row_entry *e)
{
    struct flow_window_links *own = links(w, e);
    if (own->end == INT64_MAX)
        return;
    if (own->next != NULL)
        links(w, own->next)->prev = own->prev;
    if (own->prev != NULL) {
        links(w, own->prev)->next = own->next;
    } else {
        uint32_t at = list_at(w, own->end);
        w->lists[at].first = own->next;
        if (own->next == NULL)
            memmove(&w->lists[at], &w->lists[at + 1], (--w->n - at) * sizeof(*w->lists));
    }
    own->end = INT64_MAX;
}

struct row_entry *flow_windows_take(struct flow_windows *w, int64_t watermark_us,
                                    uint32_t *rows_left)
{
    if (w->n == 0 || w->lists[0].end > watermark_us || *rows_left == 0)
        return NULL;
    --*rows_left;
    struct row_entry *e = w->lists[0].first;
    flow_windows_remove(w, e);
    return e;
}

void flow_windows_free(struct flow_windows *w)
{
    mem_free(w->lists);
    w->lists = NULL;
    w->n = w->cap = 0;
}
