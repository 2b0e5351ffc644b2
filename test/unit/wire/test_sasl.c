/* SASL: RFC 7677's example, names with commas, messages cut and changed at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "wire/sasl.h"

enum { BYTES_MAX = 4096 };

static struct scram_credential credential(enum sasl_mechanism m, const char *password,
                                          const uint8_t *salt, uint32_t salt_len)
{
    struct scram_credential c = {.mechanism = m, .iterations = 4096, .salt_len = salt_len};
    uint8_t salted[SCRAM_HASH_BYTES_MAX];
    memcpy(c.salt, salt, salt_len);
    assert_int_equal(scram_salt_password(m, str_of(password), c.salt, salt_len, 4096, salted),
                     ERR_OK);
    assert_int_equal(scram_credential_keys(&c, salted), ERR_OK);
    return c;
}

/* RFC 7677, section 3. The server's nonce is not ours to choose, so its message is put in. */
static const char first[] = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
static const char challenge[] =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
static const char final[] = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                            "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

static void example(struct scram_exchange *x)
{
    static const uint8_t salt[] = {0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e,
                                   0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81};
    assert_int_equal(scram_begin(x, str_of(first), NULL), ERR_OK);
    assert_string_equal(x->user, "user");
    x->credential = credential(SASL_SCRAM_SHA_256, "pencil", salt, sizeof salt);
    x->text[x->text_len++] = ',';
    memcpy(x->text + x->text_len, challenge, sizeof challenge - 1);
    x->text_len += sizeof challenge - 1;
    x->nonce_len = strcspn(challenge + 2, ",");
    memcpy(x->nonce, challenge + 2, x->nonce_len);
}

static void test_rfc_example(void **state)
{
    (void)state;
    struct scram_exchange x;
    struct buf out;
    buf_init(&out, BYTES_MAX);
    example(&x);
    assert_int_equal(scram_finish(&x, str_of(final), &out, NULL), ERR_OK);
    assert_true(str_eq(buf_str(&out), STR("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")));
    buf_deinit(&out);
}

/* No change of any byte, and no cut, passes; nor does a longer message. */
static void test_final_changed(void **state)
{
    (void)state;
    struct scram_exchange whole, x;
    struct buf out;
    char text[sizeof final + 1];
    buf_init(&out, BYTES_MAX);
    example(&whole);
    for (size_t i = 0; i < sizeof final - 1; i++) {
        memcpy(text, final, sizeof final);
        text[i] ^= 1;
        x = whole;
        assert_int_not_equal(scram_finish(&x, (struct str){text, sizeof final - 1}, &out, NULL),
                             ERR_OK);
        x = whole;
        assert_int_not_equal(scram_finish(&x, (struct str){final, i}, &out, NULL), ERR_OK);
        assert_int_equal(out.len, 0);
    }
    buf_deinit(&out);
}

static void test_first_cut(void **state)
{
    (void)state;
    struct scram_exchange x;
    size_t end = strlen("n,,n=user,r="); /* a shorter nonce is a nonce too */
    for (size_t i = 0; i <= end; i++)
        assert_int_equal(scram_begin(&x, (struct str){first, i}, NULL), ERR_MALFORMED);
}

static void test_names(void **state)
{
    (void)state;
    struct scram_exchange x;
    assert_int_equal(scram_begin(&x, STR("n,a=a=2Cb=3Dc,n=a=2Cb=3Dc,r=x"), NULL), ERR_OK);
    assert_string_equal(x.user, "a,b=c");
    assert_int_equal(scram_begin(&x, STR("y,,n=u,r=x"), NULL), ERR_OK);
    assert_int_equal(scram_begin(&x, STR("n,,n=a=2c,r=x"), NULL), ERR_MALFORMED);
    assert_int_equal(scram_begin(&x, STR("n,,n=a=,r=x"), NULL), ERR_MALFORMED);
    assert_int_equal(scram_begin(&x, STR("n,a=b,n=a,r=x"), NULL), ERR_MALFORMED);
    assert_int_equal(scram_begin(&x, STR("n,,n=a,r=x,tokenauth=true"), NULL), ERR_MALFORMED);
    assert_int_equal(scram_begin(&x, STR("p=tls-unique,,n=a,r=x"), NULL), ERR_MALFORMED);
}

static void test_challenge(void **state)
{
    (void)state;
    struct scram_exchange x;
    struct buf out;
    uint8_t nonce[SCRAM_NONCE_BYTES] = {0};
    struct scram_credential c = credential(SASL_SCRAM_SHA_512, "p", (const uint8_t *)"salt", 4);
    buf_init(&out, BYTES_MAX);
    assert_int_equal(scram_begin(&x, STR("n,,n=u,r=abc"), NULL), ERR_OK);
    assert_int_equal(scram_challenge(&x, &c, nonce, &out), ERR_OK);
    assert_true(str_eq(buf_str(&out), STR("r=abcAAAAAAAAAAAAAAAAAAAAAAAA,s=c2FsdA==,i=4096")));
    buf_deinit(&out);
}

static void test_passwords(void **state)
{
    (void)state;
    bool right;
    enum sasl_mechanism both[] = {SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_512};
    for (size_t i = 0; i < 2; i++) {
        struct scram_credential c = credential(both[i], "right", (const uint8_t *)"s", 1), mock, m2;
        assert_int_equal(scram_password_check(&c, STR("right"), &right), ERR_OK);
        assert_true(right);
        assert_int_equal(scram_password_check(&c, STR("righT"), &right), ERR_OK);
        assert_false(right);
        assert_int_equal(scram_password_check(&c, STR(""), &right), ERR_OK);
        assert_false(right);
        assert_int_equal(scram_credential_mock(both[i], STR("u"), c.stored_key, 32, &mock), ERR_OK);
        assert_int_equal(scram_credential_mock(both[i], STR("u"), c.stored_key, 32, &m2), ERR_OK);
        assert_memory_equal(&mock, &m2, sizeof mock);
        assert_int_equal(scram_password_check(&mock, STR("right"), &right), ERR_OK);
        assert_false(right);
    }
}

static void test_plain(void **state)
{
    (void)state;
    struct sasl_plain p;
    struct str good = {"\0u\0p", 4};
    assert_int_equal(sasl_plain_parse(good, &p, NULL), ERR_OK);
    assert_true(str_eq(p.user, STR("u")) && str_eq(p.password, STR("p")));
    for (size_t i = 0; i < good.len; i++)
        assert_int_equal(sasl_plain_parse((struct str){good.ptr, i}, &p, NULL), ERR_MALFORMED);
    assert_int_equal(sasl_plain_parse((struct str){"u\0u\0p", 5}, &p, NULL), ERR_OK);
    assert_int_equal(sasl_plain_parse((struct str){"v\0u\0p", 5}, &p, NULL), ERR_MALFORMED);
    assert_int_equal(sasl_plain_parse((struct str){"\0u\0p\0", 5}, &p, NULL), ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_example), cmocka_unit_test(test_final_changed),
        cmocka_unit_test(test_first_cut),   cmocka_unit_test(test_names),
        cmocka_unit_test(test_challenge),   cmocka_unit_test(test_passwords),
        cmocka_unit_test(test_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
