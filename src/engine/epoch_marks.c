#include "engine/epoch_marks.h"

#include "base/check.h"
#include "base/mem.h"

void epoch_marks_deinit(struct epoch_marks *m)
{
    mem_free(m->ring);
    *m = (struct epoch_marks){0};
}

void epoch_marks_restart(struct epoch_marks *m, uint64_t epoch, int64_t end)
{
    m->base = (struct epoch_mark){epoch, end};
    m->first = m->n = 0;
}

static struct epoch_mark *mark_at(const struct epoch_marks *m, uint32_t i)
{
    return &m->ring[(m->first + i) % EPOCH_MARKS_MAX];
}

uint64_t epoch_marks_last(const struct epoch_marks *m)
{
    return m->n == 0 ? m->base.epoch : mark_at(m, m->n - 1)->epoch;
}

enum err epoch_marks_add(struct epoch_marks *m, uint64_t epoch, int64_t end)
{
    CHECK(epoch >= epoch_marks_last(m));
    if (m->ring == NULL && (m->ring = mem_alloc(EPOCH_MARKS_MAX * sizeof(*m->ring))) == NULL)
        return ERR_NO_MEMORY;
    if (m->n > 0 && mark_at(m, m->n - 1)->epoch == epoch) {
        mark_at(m, m->n - 1)->end = end;
        return ERR_OK;
    }
    if (m->n == EPOCH_MARKS_MAX) {
        m->base = *mark_at(m, 0);
        m->first = (m->first + 1) % EPOCH_MARKS_MAX;
        m->n--;
    }
    *mark_at(m, m->n++) = (struct epoch_mark){epoch, end};
    return ERR_OK;
}

void epoch_marks_cut(struct epoch_marks *m, uint64_t epoch)
{
    while (m->n > 0 && mark_at(m, m->n - 1)->epoch >= epoch)
        m->n--;
}

bool epoch_marks_end(const struct epoch_marks *m, uint64_t epoch, int64_t *end)
{
    for (uint32_t i = m->n; i > 0; i--) {
        const struct epoch_mark *mark = mark_at(m, i - 1);
        if (mark->epoch <= epoch) {
            *end = mark->end;
            return true;
        }
    }
    *end = m->base.end;
    return m->base.epoch <= epoch;
}
