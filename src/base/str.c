#include "base/str.h"

#include "base/bytes.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    BUF_BYTES_MIN = 64,
    STR_NEAREST_BYTES_MAX = 127, /* longer names have no "did you mean" */
};

static inline unsigned char ascii_lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool str_ieq(struct str a, struct str b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i]))
            return false;
    return true;
}

bool str_starts(struct str s, struct str prefix)
{
    return s.len >= prefix.len && str_eq((struct str){s.ptr, prefix.len}, prefix);
}

/* Number of leading bytes known to be ASCII, counted in whole blocks. */
static size_t ascii_blocks(const unsigned char *p, size_t n)
{
    size_t i = 0;
#ifdef __SSE2__
    for (; n - i >= 32; i += 32) {
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(p + i + 16));
        if (_mm_movemask_epi8(_mm_or_si128(a, b)) != 0)
            break;
    }
#endif
    for (; n - i >= 8; i += 8)
        if ((le64_get(p + i) & 0x8080808080808080u) != 0)
            break;
    return i;
}

/* Length of the valid sequence of 2 to 4 bytes that starts at p, or 0 (Unicode 15, table 3-7). */
static size_t utf8_sequence(const unsigned char *p, size_t n)
{
    unsigned char lead = p[0];
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    size_t len = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (n < len)
        return 0;
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    switch (lead) {
    case 0xe0: low = 0xa0; break;
    case 0xed: high = 0x9f; break;
    case 0xf0: low = 0x90; break;
    case 0xf4: high = 0x8f; break;
    default: break;
    }
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool str_utf8_valid(struct str s)
{
    if (s.len == 0)
        return true;
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t i = ascii_blocks(p, s.len);
    while (i < s.len) {
        if (p[i] < 0x80) {
            i++;
            continue;
        }
        size_t len = utf8_sequence(p + i, s.len - i);
        if (len == 0)
            return false;
        i += len;
        if (s.len - i >= 8 && p[i] < 0x80)
            i += ascii_blocks(p + i, s.len - i);
    }
    return true;
}

enum err str_to_i64(struct str s, int64_t *out)
{
    size_t i = 0;
    bool negative = false;
    if (s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+')) {
        negative = s.ptr[0] == '-';
        i = 1;
    }
    if (i == s.len)
        return ERR_INVALID_TEXT;
    int64_t value = 0;
    bool overflow = false;
    for (; i < s.len; i++) {
        int digit = s.ptr[i] - '0';
        if (digit < 0 || digit > 9)
            return ERR_INVALID_TEXT;
        /* Towards the sign, so that INT64_MIN needs no case of its own. */
        overflow |= __builtin_mul_overflow(value, 10, &value);
        overflow |= __builtin_add_overflow(value, negative ? -digit : digit, &value);
    }
    if (overflow)
        return ERR_OUT_OF_RANGE;
    *out = value;
    return ERR_OK;
}

/* Edit distance with transpositions (optimal string alignment), letters' case ignored. */
static size_t edit_distance(struct str a, struct str b)
{
    uint8_t rows[3][STR_NEAREST_BYTES_MAX + 2];
    uint8_t *before = rows[0];
    uint8_t *last = rows[1];
    uint8_t *row = rows[2];
    memset(rows, 0, sizeof rows);
    for (size_t j = 0; j <= b.len; j++)
        last[j] = (uint8_t)j;
    for (size_t i = 1; i <= a.len; i++) {
        row[0] = (uint8_t)i;
        unsigned char ca = ascii_lower(a.ptr[i - 1]);
        for (size_t j = 1; j <= b.len; j++) {
            unsigned char cb = ascii_lower(b.ptr[j - 1]);
            int best = last[j - 1] + (ca != cb);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && ca == ascii_lower(b.ptr[j - 2]) &&
                cb == ascii_lower(a.ptr[i - 2]) && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = (uint8_t)best;
        }
        uint8_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[b.len];
}

int str_nearest(struct str name, const struct str *candidates, size_t n)
{
    if (name.len > STR_NEAREST_BYTES_MAX)
        return -1;
    size_t best_distance = name.len / 3 + 1;
    int best = -1;
    for (size_t i = 0; i < n; i++) {
        struct str c = candidates[i];
        if (c.len > STR_NEAREST_BYTES_MAX)
            continue;
        size_t gap = c.len > name.len ? c.len - name.len : name.len - c.len;
        if (gap >= best_distance)
            continue;
        size_t distance = edit_distance(name, c);
        if (distance < best_distance) {
            best_distance = distance;
            best = (int)i;
        }
    }
    return best;
}

void buf_deinit(struct buf *b)
{
    mem_free(b->ptr);
    buf_init(b, b->max);
}

char *buf_reserve(struct buf *b, size_t more)
{
    if (b->failed || b->len > b->max || more > b->max - b->len) {
        b->failed = true;
        return NULL;
    }
    size_t need = b->len + more;
    if (b->ptr == NULL || need > b->cap) {
        size_t cap = b->cap > b->max / 2 ? b->max : b->cap * 2;
        if (cap < need)
            cap = need;
        if (cap < BUF_BYTES_MIN)
            cap = b->max < BUF_BYTES_MIN ? b->max : BUF_BYTES_MIN;
        /* One byte over cap, for the NUL that buf_printf's formatting leaves behind. */
        char *p = cap == SIZE_MAX ? NULL : mem_realloc(b->ptr, cap + 1);
        if (p == NULL) {
            b->failed = true;
            return NULL;
        }
        b->ptr = p;
        b->cap = cap;
    }
    return b->ptr + b->len;
}

void buf_put(struct buf *b, const void *bytes, size_t n)
{
    char *p = buf_reserve(b, n);
    if (p == NULL || n == 0)
        return;
    memcpy(p, bytes, n);
    b->len += n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    char *p = buf_reserve(b, 0);
    if (p == NULL)
        return;
    va_list ap;
    va_list again;
    va_start(ap, fmt);
    va_copy(again, ap);
    size_t room = b->cap - b->len;
    int n = vsnprintf(p, room + 1, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
    } else if ((size_t)n <= room) {
        b->len += (size_t)n;
    } else if ((p = buf_reserve(b, (size_t)n)) != NULL) {
        vsnprintf(p, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

void buf_consume(struct buf *b, size_t n)
{
    size_t dropped = n < b->len ? n : b->len;
    if (dropped == 0)
        return;
    memmove(b->ptr, b->ptr + dropped, b->len - dropped);
    b->len -= dropped;
}

void buf_put_be16(struct buf *b, uint16_t v)
{
    char *p = buf_reserve(b, sizeof v);
    if (p == NULL)
        return;
    be16_put(p, v);
    b->len += sizeof v;
}

void buf_put_be32(struct buf *b, uint32_t v)
{
    char *p = buf_reserve(b, sizeof v);
    if (p == NULL)
        return;
    be32_put(p, v);
    b->len += sizeof v;
}

void buf_put_be64(struct buf *b, uint64_t v)
{
    char *p = buf_reserve(b, sizeof v);
    if (p == NULL)
        return;
    be64_put(p, v);
    b->len += sizeof v;
}
