/* Patterns of topic names, as consumers of the new group protocol subscribe by them.
 *
 * Kafka's brokers use RE2/J, here it is PCRE2 with a limit on the steps of a match. What both know
 * means the same: a pattern has to match the whole name, $ is the end. PCRE2 also takes look-around
 * and back-references, which RE2/J refuses; RE2/J's \pN, \C and (?U) differ. One thread at a time.
 */
#ifndef TIDEMILL_SERVE_TOPIC_PATTERN_H
#define TIDEMILL_SERVE_TOPIC_PATTERN_H

#include "base/err.h"
#include "base/str.h"

enum {
    TOPIC_PATTERN_BYTES_MAX = 1024,
    TOPIC_PATTERN_STEPS_MAX = 20000, /* of one name; one that takes more does not match */
    TOPIC_PATTERN_STEPS_FEW = 100,   /* what a match costs at least, about 3 us */
};

struct topic_pattern;

/* ERR_INVALID_PARAMETER says what is wrong and where. Freed by topic_pattern_free. */
enum err topic_pattern_new(struct str text, struct topic_pattern **out,
                           struct err_detail *why) MUST_CHECK;
/* NULL is fine. */
void topic_pattern_free(struct topic_pattern *p);
/* *steps: about how many it took, for who matches many names. */
bool topic_pattern_matches(const struct topic_pattern *p, struct str name, uint32_t *steps);
/* What it takes, about. */
size_t topic_pattern_bytes(const struct topic_pattern *p);

#endif
