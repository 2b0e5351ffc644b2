/* Any bytes as COPY data. The first bytes choose the options and where the input is cut; the rows
 * must not depend on the cut, and what is printed must read back as it was. */
#include "base/arena.h"
#include "base/check.h"
#include "serve/pg_copy_text.h"

enum { FIELDS_MAX = 8, HEAD_BYTES = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* All rows as text; `cut` > 0: the input comes in two pieces. */
static void parse(const struct pg_copy_options *o, struct str in, size_t cut, struct buf *out)
{
    struct pg_copy_parser p;
    struct pg_copy_field fields[FIELDS_MAX];
    struct arena a;
    arena_init(&a, 64 << 20);
    pg_copy_parser_init(&p, o);
    size_t at = 0, seen = cut;
    for (;;) {
        uint32_t n = 0;
        size_t used = 0;
        struct err_detail why = {0};
        struct str part = {in.ptr + at, seen - at};
        enum pg_copy_step s =
            pg_copy_next(&p, part, seen == in.len, &a, fields, FIELDS_MAX, &n, &used, &why);
        CHECK(used <= part.len && n <= FIELDS_MAX);
        at += used;
        if (s == PG_COPY_MORE) {
            if (seen == in.len) {
                break;
            }
            seen = in.len;
            continue;
        }
        buf_printf(out, "%d/%d/%d:", (int)s, (int)p.line, (int)n);
        for (uint32_t i = 0; s == PG_COPY_ROW && i < n; i++) {
            struct str text = fields[i].null ? STR("~") : fields[i].text;
            buf_printf(out, "<%.*s>", STR_ARG(text));
        }
        if (s == PG_COPY_END || s == PG_COPY_BAD) {
            break;
        }
    }
    arena_deinit(&a);
}

static void round_trip(const struct pg_copy_options *o, struct str text)
{
    if (!str_utf8_valid(text) || (text.len != 0 && memchr(text.ptr, 0, text.len) != NULL)) {
        return;
    }
    struct pg_copy_parser p;
    struct pg_copy_field field[2];
    struct arena a;
    struct buf line;
    struct err_detail why;
    uint32_t n = 0;
    size_t used = 0;
    arena_init(&a, 64 << 20);
    buf_init(&line, 64 << 20);
    pg_copy_print(o, text, true, &line);
    buf_put_u8(&line, '\n');
    pg_copy_parser_init(&p, o);
    p.options.header = false;
    p.header_left = false;
    CHECK(pg_copy_next(&p, buf_str(&line), true, &a, field, 2, &n, &used, &why) == PG_COPY_ROW);
    CHECK(n == 1 && !field[0].null && str_eq(field[0].text, text) && used == line.len);
    buf_deinit(&line);
    arena_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD_BYTES) {
        return 0;
    }
    struct pg_copy_options o = {
        .csv = (data[0] & 1) != 0,
        .header = (data[0] & 2) != 0,
        .delimiter = (data[0] & 4) != 0 ? ',' : '\t',
        .quote = (data[0] & 8) != 0 ? '\'' : '"',
        .escape = (data[0] & 16) != 0 ? '\\' : '"',
        .null = (data[0] & 1) != 0 ? STR("") : STR("\\N"),
    };
    struct str in = {(const char *)data + HEAD_BYTES, size - HEAD_BYTES};
    struct buf whole, cut;
    buf_init(&whole, 64 << 20);
    buf_init(&cut, 64 << 20);
    parse(&o, in, in.len, &whole);
    parse(&o, in, in.len == 0 ? 0 : (size_t)(data[1] << 8 | data[2]) % in.len, &cut);
    CHECK(str_eq(buf_str(&whole), buf_str(&cut)));
    buf_deinit(&whole);
    buf_deinit(&cut);
    round_trip(&o, in);
    return 0;
}
