/* docs/sql.md names every function, option and system relation that there is. */
#include "fixture.h"

#include "plan/plan_int.h"

enum { DOC_BYTES_MAX = 1 << 20 };

struct doc {
    char *text;
    uint32_t missing, looked;
};

static void look(struct doc *d, const char *name)
{
    char quoted[128];
    d->looked++;
    snprintf(quoted, sizeof quoted, "`%s`", name);
    if (strstr(d->text, quoted) != NULL)
        return;
    print_error("docs/sql.md does not name %s\n", quoted);
    d->missing++;
}

static void look_function(void *arg, const char *name)
{
    look(arg, name);
}

static void test_reference_is_complete(void **state)
{
    (void)state;
    const char *root = getenv("TIDEMILL_SOURCE_DIR");
    char path[2048];
    snprintf(path, sizeof path, "%s/docs/sql.md", root != NULL ? root : ".");
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    struct doc d = {.text = calloc(1, DOC_BYTES_MAX)};
    assert_non_null(d.text);
    assert_true(fread(d.text, 1, DOC_BYTES_MAX - 1, f) > 0);
    fclose(f);
    function_names(look_function, &d);
    for (uint32_t i = 0; aggregate_by_number(i) != NULL; i++)
        look(&d, aggregate_by_number(i));
    size_t n;
    const struct option *options = table_options(&n);
    for (size_t i = 0; i < n; i++)
        look(&d, options[i].name);
    options = view_options(&n);
    for (size_t i = 0; i < n; i++)
        look(&d, options[i].name);
    options = publication_options(&n);
    for (size_t i = 0; i < n; i++)
        look(&d, options[i].name);
    const struct catalog *c = catalog_new();
    assert_non_null(c);
    for (uint32_t i = 0; i < c->n_relations; i++)
        look(&d, c->relations[i]->name.ptr);
    catalog_unref(c);
    free(d.text);
    assert_true(d.looked > 100);
    assert_int_equal(d.missing, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference_is_complete)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
