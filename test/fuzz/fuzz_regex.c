/* Any bytes as pattern, flags and text, separated by zero bytes: searches end, and matches lie
 * inside the text. */
#include "base/check.h"
#include "type/regex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 32 << 20, TEXT_MAX = 200 };

static struct str part(struct str *rest)
{
    const char *zero = rest->len > 0 ? memchr(rest->ptr, 0, rest->len) : NULL;
    size_t n = zero == NULL ? rest->len : (size_t)(zero - rest->ptr);
    struct str s = {rest->ptr, n};
    n += zero != NULL;
    *rest = (struct str){rest->ptr + n, rest->len - n};
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = {(const char *)data, size};
    struct str pattern = part(&rest), flags = part(&rest), text = part(&rest);
    struct arena a;
    const struct regex *r;
    struct regex_match m;
    struct err_detail why = {0};
    /* Values of type text are valid UTF-8: that is what the caller promises. */
    if (!str_utf8_valid(pattern) || !str_utf8_valid(flags) || !str_utf8_valid(text) ||
        text.len > TEXT_MAX)
        return 0;
    arena_init(&a, BYTES_MAX);
    if (regex_compile(pattern, flags, &a, &r, &why) == ERR_OK) {
        struct regex_matcher *matcher = regex_matcher_new(r, &a);
        if (matcher != NULL && regex_search(matcher, text, 0, &m, &why) == ERR_OK && m.found) {
            for (uint32_t i = 0; i < m.n_groups; i++) {
                if (m.start[i] != SIZE_MAX)
                    CHECK(m.start[i] <= m.end[i] && m.end[i] <= text.len);
            }
        }
    } else {
        CHECK(why.text[0] != '\0');
    }
    arena_deinit(&a);
    return 0;
}
