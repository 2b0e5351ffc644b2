#include "engine/dead_letters.h"

#include "base/check.h"
#include "base/mem.h"
#include "engine/epochs.h"
#include "engine/view_run.h"

#include <stdio.h>

enum { LETTER_BYTES_MAX = 1 << 20, LISTS_PER_SHARD = 2 };

/* ---- collecting ---- */

bool dead_letters_full(const struct epoch_work *w)
{
    return w->n_letters >= EPOCH_LETTERS_TARGET || w->letters_bytes >= EPOCH_LETTERS_BYTES_TARGET;
}

/* Whether the view may keep another one. */
static bool view_has_room(const struct epoch_work *w, struct view_run *v)
{
    struct view_letters *l = &v->letters;
    if (l->epoch != w->epoch)
        *l = (struct view_letters){.view = v, .epoch = w->epoch};
    return l->n < LETTERS_MAX && l->bytes < LETTERS_BYTES_MAX &&
           w->letters_bytes < EPOCH_LETTERS_BYTES_MAX;
}

static void view_leaves_out(struct epoch_work *w, struct view_letters *l)
{
    if (l->n_more++ > 0)
        return;
    l->next = w->letters_cut;
    w->letters_cut = l;
}

static enum err letter_keep(struct epoch_work *w, const struct relation *rel, uint32_t partition,
                            int64_t offset, const char *reason, struct str raw, size_t *bytes)
{
    struct buf json;
    buf_init(&json, LETTER_BYTES_MAX);
    dead_letter_json(rel->name, rel->topic->name, partition, offset, w->shard->wall_us, reason, raw,
                     &json);
    struct dead_letter *d = arena_alloc(w->arena, sizeof(*d));
    struct str copy = json.failed ? (struct str){0} : arena_str(w->arena, buf_str(&json));
    buf_deinit(&json);
    if (d == NULL || copy.ptr == NULL)
        return ERR_NO_MEMORY;
    *d = (struct dead_letter){.json = copy};
    *w->dead_tail = d;
    w->dead_tail = &d->next;
    w->n_letters++;
    w->letters_bytes += copy.len;
    *bytes = copy.len;
    return ERR_OK;
}

enum err dead_letter_add(struct epoch_work *w, struct view_run *v, const struct relation *rel,
                         uint32_t partition, int64_t offset, const char *reason, struct str raw)
{
    struct view_letters *l = v == NULL ? NULL : &v->letters;
    size_t bytes = 0;
    if (v != NULL && !view_has_room(w, v)) {
        view_leaves_out(w, l);
        return ERR_OK;
    }
    TRY(letter_keep(w, rel, partition, offset, reason, raw, &bytes));
    if (l != NULL) {
        l->n++;
        l->bytes += bytes;
    }
    return ERR_OK;
}

enum err dead_letters_end(struct epoch_work *w)
{
    size_t bytes;
    for (const struct view_letters *l = w->letters_cut; l != NULL; l = l->next) {
        const struct view_run *v = l->view;
        char reason[ERR_TEXT_MAX];
        snprintf(reason, sizeof(reason),
                 "view \"%.*s\": %llu more rows and results of this epoch failed; "
                 "%u before them are told one by one",
                 STR_ARG(v->rel->name), (unsigned long long)l->n_more, l->n);
        TRY(letter_keep(w, v->rel, 0, -1, reason, (struct str){0}, &bytes));
    }
    return ERR_OK;
}

/* ---- writing ---- */

enum err letters_out_init(struct letters_out *lo, uint32_t n_shards)
{
    *lo = (struct letters_out){.lists_max = n_shards * LISTS_PER_SHARD};
    records_init(&lo->piece);
    lo->lists = mem_zalloc(lo->lists_max, sizeof(*lo->lists));
    return lo->lists == NULL ? ERR_NO_MEMORY : ERR_OK;
}

void letters_out_deinit(struct letters_out *lo)
{
    mem_free(lo->lists);
    records_deinit(&lo->piece);
}

void letters_out_begin(struct letters_out *lo)
{
    CHECK(!letters_out_left(lo));
    lo->n_lists = lo->at = 0;
}

void letters_out_add(struct letters_out *lo, const struct dead_letter *list)
{
    if (list == NULL)
        return;
    CHECK(lo->n_lists < lo->lists_max);
    lo->lists[lo->n_lists++] = list;
}

bool letters_out_left(const struct letters_out *lo)
{
    return lo->next != NULL || lo->at < lo->n_lists || lo->piece.n_records > 0;
}

void letters_out_fill(struct letters_out *lo, size_t bytes, uint64_t epoch, int64_t timestamp_ms)
{
    if (lo->piece.n_records > 0)
        return;
    lo->piece.epoch = epoch;
    for (size_t filled = 0; filled < bytes; lo->next = lo->next->next) {
        if (lo->next == NULL && lo->at == lo->n_lists)
            return;
        if (lo->next == NULL)
            lo->next = lo->lists[lo->at++];
        records_add(&lo->piece, (struct str){0}, lo->next->json, timestamp_ms, NULL, 0);
        filled += lo->next->json.len;
    }
}
