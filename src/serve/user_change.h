/* CREATE, ALTER and DROP USER as changes of the catalog: the password becomes a salted credential
 * for each mechanism. */
#ifndef TIDEMILL_SERVE_USER_CHANGE_H
#define TIDEMILL_SERVE_USER_CHANGE_H

#include "engine/engine.h"
#include "plan/plan.h"

/* The items of a STMT_USER plan against the shard's catalog. `*items` is the caller's (mem_free);
 * n may be 0 (IF EXISTS applied to all). ERR_DUPLICATE_OBJECT, ERR_UNDEFINED_OBJECT,
 * ERR_INVALID_ARGUMENT, ERR_NO_MEMORY. Takes some milliseconds: two salted hashes. */
enum err user_change_items(struct shard *s, const struct plan *plan, struct security_item **items,
                           uint32_t *n, struct err_detail *why) MUST_CHECK;

/* An item with a fresh secret, to go before the first user there is (see struct security). */
struct security_item user_change_secret(struct shard *s);

#endif
