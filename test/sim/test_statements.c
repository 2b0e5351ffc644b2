/* Statements that have to look again, and a server that stops meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/script.h"

enum { WRITERS = 4, SEEDS = 8 };

/* All change the same row, so that most find it changed and wait to look again. */
static void change(struct script *s, void *arg)
{
    (void)arg;
    while (script_sql(s, "SELECT 1 FROM t", NULL) == ERR_UNDEFINED_TABLE)
        (void)!script_sleep(s, 1);
    while (script_sql(s, "UPDATE t SET n = n + 1 WHERE id = 1", NULL) == ERR_OK)
        ;
}

static void make_and_stop(struct script *s, void *arg)
{
    REQUIRE(script_sql(s, "CREATE TABLE t (id int8 PRIMARY KEY, n int8)", NULL) == ERR_OK);
    REQUIRE(script_sql(s, "INSERT INTO t VALUES (1, 0)", NULL) == ERR_OK);
    REQUIRE(script_sleep(s, *(const int64_t *)arg) == ERR_OK);
    script_stop(s);
}

static void a_stop_ends_what_waits_to_look_again(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        const struct sim_options sim = {
            .seed = seed, .wall_us = 1767225600000000, .run_ns_max = (int64_t)60 * 1000000000};
        const struct engine_options options = {
            .data_dir = "/data", .n_shards = 2, .default_partitions = 1};
        int64_t stop_ms = 5 + (int64_t)seed % 7;
        struct err_detail why = {0};
        struct host *h = host_sim_open(&sim);
        assert_non_null(h);
        struct script_part parts[WRITERS] = {{make_and_stop, &stop_ms, 0}};
        for (uint32_t i = 1; i < WRITERS; i++)
            parts[i] = (struct script_part){change, NULL, i};
        if (scripts_run(h, &options, parts, WRITERS, &why) != ERR_OK)
            fail_msg("%s", why.text);
        assert_int_equal(scripts_left_running(), 0);
        host_close(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_stop_ends_what_waits_to_look_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
