/* Windows of a view that are over, and when their groups go. Private to engine/.
 *
 *      watermark - retention            watermark
 *   ---------|------------------------------|--------------> window ends
 *    expired: not shown, rows are late     open
 *    groups are freed     closed: shown, never changes
 *
 * What is shown depends on the watermark alone, so that a replay shows the same; when groups are
 * freed does not matter to anybody. The changelog has no retraction for them: a result stays true.
 */
#ifndef TIDEMILL_ENGINE_VIEW_RETENTION_H
#define TIDEMILL_ENGINE_VIEW_RETENTION_H

#include "engine/view_run.h"

enum { EXPIRE_GROUPS_MAX = 64 << 10 }; /* freed for one partition in one epoch */

/* Removes a group that is in no list of the partition's. */
void view_group_free(struct view_run *v, struct state_partition *sp, struct group *g);
/* Whether, at a watermark, a window that ends at `end` is over for so long that nobody can ask for
 * it. */
bool view_window_expired(const struct view_run *v, int64_t watermark_us, int64_t end);
/* The first `n` windows of the partition have been closed; the caller takes them off its list.
 * ERR_NO_MEMORY, ERR_LIMIT. */
enum err view_windows_closed(const struct view_run *v, struct state_partition *sp,
                             uint32_t n) MUST_CHECK;
/* Frees up to `max` groups of windows that are expired, and tells how many; none that had not
 * expired yet when somebody who is reading the view began. None of them is in the partition's
 * touched list. */
uint32_t view_windows_expire(struct view_run *v, struct state_partition *sp, uint32_t max);

#endif
