/* plan/topic_config: values in and out, and that docs/kafka.md has them all. */
#include "fixture.h"

#include "plan/topic_config.h"

static enum err parse(const char *name, const char *text, int64_t *out)
{
    struct err_detail why = {0};
    enum topic_config_key k = topic_config_find(str_of(name));
    assert_true(k < TOPIC_CONFIGS);
    enum err e = topic_config_parse(k, str_of(text), out, &why);
    if (e != ERR_OK)
        assert_non_null(strstr(why.text, name));
    return e;
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *printed; /* printed NULL: refused */
        int64_t value;
    } cases[] = {
        {"cleanup.policy", "delete", "delete", CLEANUP_DELETE},
        {"cleanup.policy", "compact", "compact", CLEANUP_COMPACT},
        {"cleanup.policy", " delete, compact ", "compact,delete", CLEANUP_DELETE | CLEANUP_COMPACT},
        {"cleanup.policy", "", NULL, 0},
        {"cleanup.policy", "delete,", NULL, 0},
        {"cleanup.policy", "squash", NULL, 0},
        {"compression.type", "producer", "producer", 0},
        {"compression.type", "gzip", NULL, 0},
        {"retention.ms", "-1", "-1", -1},
        {"retention.ms", "0", "0", 0},
        {"retention.ms", "9223372036854775807", "9223372036854775807", INT64_MAX},
        {"retention.ms", "9223372036854775808", NULL, 0},
        {"retention.ms", "-2", NULL, 0},
        {"retention.ms", "1h", NULL, 0},
        {"segment.bytes", "16384", "16384", 16384},
        {"segment.bytes", "16383", NULL, 0},
        {"min.insync.replicas", "1", "1", 1},
        {"min.insync.replicas", "2", NULL, 0},
        {"message.timestamp.type", "LogAppendTime", "LogAppendTime", TIMESTAMP_LOG_APPEND},
        {"message.timestamp.type", "logappendtime", NULL, 0},
        {"unclean.leader.election.enable", "true", "true", 1},
        {"preallocate", "true", NULL, 0},
        {"min.cleanable.dirty.ratio", "0.5", "0.5", 500000},
        {"min.cleanable.dirty.ratio", "1", "1.0", 1000000},
        {"min.cleanable.dirty.ratio", ".01", "0.01", 10000},
        {"min.cleanable.dirty.ratio", "0.00000199", "0.000001", 1},
        {"min.cleanable.dirty.ratio", "1.5", NULL, 0},
        {"min.cleanable.dirty.ratio", "-0.5", NULL, 0},
        {"min.cleanable.dirty.ratio", "99999999999999999999999999", NULL, 0},
        {"min.cleanable.dirty.ratio", ".", NULL, 0},
        {"min.cleanable.dirty.ratio", "", NULL, 0},
        {"min.cleanable.dirty.ratio", "0.5.5", NULL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t value = 0;
        char text[TOPIC_CONFIG_TEXT_MAX];
        enum err e = parse(cases[i].name, cases[i].text, &value);
        if ((e == ERR_OK) != (cases[i].printed != NULL))
            fail_msg("%s = \"%s\": error %d", cases[i].name, cases[i].text, (int)e);
        if (e != ERR_OK)
            continue;
        assert_int_equal(value, cases[i].value);
        topic_config_print(topic_config_find(str_of(cases[i].name)), value, text);
        assert_string_equal(text, cases[i].printed);
    }
}

static void test_defaults_are_values(void **state)
{
    (void)state;
    struct topic_config c = {0};
    struct err_detail why;
    assert_int_equal(topic_config_check(&c, &why), ERR_OK);
    for (int i = 0; i < TOPIC_CONFIGS; i++) {
        enum topic_config_key k = (enum topic_config_key)i;
        const struct topic_config_def *d = topic_config_def(k);
        char text[TOPIC_CONFIG_TEXT_MAX];
        int64_t back;
        assert_int_equal(topic_config_get(&c, k), d->fallback);
        topic_config_print(k, d->fallback, text);
        assert_int_equal(topic_config_parse(k, str_of(text), &back, &why), ERR_OK);
        assert_int_equal(back, d->fallback);
        assert_int_equal(topic_config_find(str_of(d->name)), i);
        topic_config_set(&c, k, d->fallback);
        assert_true(topic_config_given(&c, k));
        topic_config_reset(&c, k);
        assert_false(topic_config_given(&c, k));
        assert_int_equal(topic_config_parse(k, (struct str){NULL, 0}, &back, &why),
                         ERR_INVALID_ARGUMENT);
    }
    assert_int_equal(c.given, 0);
    assert_int_equal(topic_config_find(STR("retention")), TOPIC_CONFIGS);
    assert_int_equal(topic_config_unknown(STR("retention.mss"), &why), ERR_INVALID_ARGUMENT);
    assert_non_null(strstr(why.text, "\"retention.ms\""));
    topic_config_set(&c, TOPIC_MIN_COMPACTION_LAG_MS, 10);
    topic_config_set(&c, TOPIC_MAX_COMPACTION_LAG_MS, 9);
    assert_int_equal(topic_config_check(&c, &why), ERR_INVALID_ARGUMENT);
}

/* Each setting has its row: name and default. */
static void test_docs_have_them_all(void **state)
{
    (void)state;
    enum { DOC_BYTES_MAX = 1 << 20 };
    const char *root = getenv("TIDEMILL_SOURCE_DIR");
    char path[2048], row[256], text[TOPIC_CONFIG_TEXT_MAX];
    snprintf(path, sizeof path, "%s/docs/kafka.md", root != NULL ? root : ".");
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *doc = calloc(1, DOC_BYTES_MAX);
    assert_non_null(doc);
    assert_true(fread(doc, 1, DOC_BYTES_MAX - 1, f) > 0);
    fclose(f);
    int missing = 0;
    for (int i = 0; i < TOPIC_CONFIGS; i++) {
        const struct topic_config_def *d = topic_config_def((enum topic_config_key)i);
        topic_config_print((enum topic_config_key)i, d->fallback, text);
        snprintf(row, sizeof row, "| `%s` | %s |", d->name,
                 d->fallback == INT64_MAX ? "unlimited" : text);
        if (strstr(doc, row) == NULL) {
            print_error("docs/kafka.md has no row that begins with %s\n", row);
            missing++;
        }
    }
    free(doc);
    assert_int_equal(missing, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_defaults_are_values),
        cmocka_unit_test(test_docs_have_them_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
