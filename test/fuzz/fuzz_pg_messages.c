/* Any bytes as messages of a client, and as the text of the session's own commands. */
#include "base/arena.h"
#include "base/check.h"
#include "serve/pg_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t used_bytes;

/* Reads all of it, so that the address sanitizer sees a view that is too long. */
static void touch(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        used_bytes += (unsigned char)s.ptr[i];
    }
}

static void on_bind(struct str body)
{
    struct pg_bind m;
    if (pg_bind_decode(body, &m, NULL) != ERR_OK) {
        return;
    }
    touch(m.portal);
    touch(m.statement);
    for (uint16_t i = 0; i < m.n_params; i++) {
        struct str value;
        CHECK(pg_bind_format(&m, i) <= 1);
        if (pg_bind_param(&m.params, &value)) {
            touch(value);
        }
    }
    for (uint16_t i = 0; i < m.n_results; i++) {
        CHECK(pg_bind_result(&m, i) <= 1);
    }
}

static void on_parse(struct str body)
{
    struct pg_parse m;
    if (pg_parse_decode(body, &m, NULL) != ERR_OK) {
        return;
    }
    touch(m.name);
    touch(m.sql);
    for (uint16_t i = 0; i < m.n_types; i++) {
        used_bytes += pg_parse_type(&m, i);
    }
}

static void on_command(struct str sql)
{
    struct arena a;
    struct pg_command c;
    struct err_detail why = {0};
    arena_init(&a, 1 << 20);
    if (pg_command_parse(sql, &a, &c, &why) == ERR_OK) {
        touch(c.name);
        touch(c.query);
    }
    arena_deinit(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = {(const char *)data, size}, body;
    char type = 0;
    size_t n = 0;
    while (pg_message_frame(in, &type, &body, &n) == PG_FRAME_WHOLE) {
        struct pg_execute execute;
        struct pg_target target;
        struct str sql;
        on_bind(body);
        on_parse(body);
        if (pg_execute_decode(body, &execute, NULL) == ERR_OK) {
            touch(execute.portal);
        }
        if (pg_target_decode(body, 'D', &target, NULL) == ERR_OK) {
            touch(target.name);
        }
        if (pg_query_decode(body, &sql, NULL) == ERR_OK) {
            touch(sql);
        }
        in = (struct str){in.ptr + n, in.len - n};
    }
    on_command((struct str){(const char *)data, size});
    return 0;
}
