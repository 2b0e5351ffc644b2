/* Private to wire/: scanning JSON text in memory. Shared by json_rows.c and json.c.
 *
 * Scanners take a position and return the one behind what they read, or NULL after json_fail().
 * They never read outside [start, end). */
#ifndef TIDEMILL_WIRE_JSON_INT_H
#define TIDEMILL_WIRE_JSON_INT_H

#include "base/check.h"
#include "base/str.h"
#include "wire/json.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The text being read, and the first thing wrong with it. */
struct json_in {
    const char *start, *end;
    const char *bad_at;   /* NULL: nothing wrong so far */
    const char *bad_what; /* static text */
    enum err bad;
};

static inline struct json_in json_in_of(struct str s)
{
    static const char nothing[1] = "";
    const char *start = s.len > 0 ? s.ptr : nothing;
    return (struct json_in){.start = start, .end = start + s.len};
}

/* Records what is wrong at `at` and returns NULL. `what` is static. */
__attribute__((cold)) const char *json_fail(struct json_in *in, const char *at, enum err e,
                                            const char *what);
/* Turns the recorded failure into `why` with line and column, and returns its code. */
__attribute__((cold)) enum err json_failed(const struct json_in *in, struct err_detail *why);
/* Sets why->line and why->column to the place of `at` in the text; `why` may be NULL. */
__attribute__((cold)) void json_place(const struct json_in *in, const char *at,
                                      struct err_detail *why);

/* Finishes a string's scan after json_string_end met something other than plain ASCII. */
const char *json_string_finish(struct json_in *in, const char *from, const char *p, bool high,
                               bool *escaped);
/* Resolves the escapes of a scanned string body into `out` (body.len bytes are enough); returns the
 * number of bytes written. */
size_t json_unescape(struct str body, char *out);
/* Reads one value of any kind at `p` (not a blank), `depth` levels inside others. */
const char *json_skip_value(struct json_in *in, const char *p, uint32_t depth);

static inline const char *json_blanks(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* The first quote, backslash or control character at or behind `p`, or `end`. Sets *high when a
 * byte over 127 was passed. */
static inline const char *json_find_stop(const struct json_in *in, const char *p, bool *high)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i slash = _mm_set1_epi8('\\');
    const __m128i control = _mm_set1_epi8(0x1f);
    for (;;) {
        ptrdiff_t left = in->end - p;
        unsigned cut = 0;
        const char *at = p;
        if (UNLIKELY(left < 16)) {
            if (left <= 0 || in->end - in->start < 16)
                break;
            /* The last 16 bytes of the text, without those that were seen already. */
            cut = (unsigned)(16 - left);
            at = in->end - 16;
        }
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, control), v);
        __m128i mark = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash));
        unsigned stop = (unsigned)_mm_movemask_epi8(_mm_or_si128(mark, low)) >> cut;
        unsigned over = (unsigned)_mm_movemask_epi8(v) >> cut;
        if (LIKELY(stop != 0)) {
            *high |= (over & (stop - 1) & ~stop) != 0;
            return p + __builtin_ctz(stop);
        }
        *high |= over != 0;
        if (cut != 0)
            return in->end;
        p += 16;
    }
#endif
    for (; p < in->end; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\' || c < 0x20)
            return p;
        *high |= c >= 0x80;
    }
    return p;
}

/* Reads a string; `p` is behind its opening quote. Returns the closing quote. The body is valid
 * UTF-8 with valid escapes; *escaped tells whether it has any. */
static inline const char *json_string_end(struct json_in *in, const char *p, bool *escaped)
{
    bool high = false;
    const char *stop = json_find_stop(in, p, &high);
    *escaped = false;
    if (LIKELY(stop < in->end && *stop == '"' && !high))
        return stop;
    return json_string_finish(in, p, stop, high, escaped);
}

/* A number's text and, when it has at most 19 digits, its value digits * 10^exponent. */
struct json_number {
    const char *text;
    size_t len;
    uint64_t digits;  /* meaningless when `wide` */
    int32_t exponent; /* decimal exponent of the last digit, at most +-JSON_EXPONENT_MAX */
    int32_t fraction; /* digits behind the point */
    bool negative;
    bool plain;      /* neither point nor exponent */
    bool scientific; /* has an exponent */
    bool wide;       /* more than 19 digits: use the text */
};
enum { JSON_EXPONENT_MAX = 1000000 };

/* Reads a number at `p`, which is '-' or a digit. */
const char *json_number_scan(struct json_in *in, const char *p, struct json_number *out);
/* The number as an integer: ERR_TYPE_MISMATCH when it has a fraction, ERR_OUT_OF_RANGE. */
enum err json_number_to_i64(const struct json_number *n, int64_t *out) MUST_CHECK;

/* true/false/null at `p`: the position behind it. */
static inline const char *json_literal(struct json_in *in, const char *p, const char *word,
                                       size_t len)
{
    if (LIKELY((size_t)(in->end - p) >= len && memcmp(p, word, len) == 0))
        return p + len;
    return json_fail(in, p, ERR_MALFORMED, "expected a value");
}

#endif
