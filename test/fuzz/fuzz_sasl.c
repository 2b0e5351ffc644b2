/* Any bytes as a SASL exchange: the first byte chooses, the rest is one message or two, separated
 * by a NUL byte. What is taken must be within its bounds, and nothing but the right proof passes.
 */
#include "base/check.h"
#include "wire/sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OUT_BYTES_MAX = 1 << 16 };

static void check_plain(struct str message)
{
    struct sasl_plain p;
    struct err_detail why;
    if (sasl_plain_parse(message, &p, &why) != ERR_OK)
        return;
    CHECK(p.user.len >= 1 && p.user.len <= SASL_USER_BYTES_MAX);
    CHECK(p.password.len >= 1 && p.password.len <= SASL_PASSWORD_BYTES_MAX);
    CHECK(p.authzid.len + p.user.len + p.password.len + 2 == message.len);
}

static void check_scram(struct str first, struct str final, enum sasl_mechanism m)
{
    static const uint8_t nonce[SCRAM_NONCE_BYTES] = {1, 2, 3};
    struct scram_exchange x;
    struct scram_credential c;
    struct err_detail why;
    struct buf out;
    buf_init(&out, OUT_BYTES_MAX);
    if (scram_begin(&x, first, &why) == ERR_OK) {
        struct str user = {x.user, x.user_len};
        CHECK(user.len >= 1 && user.len <= SASL_USER_BYTES_MAX && x.user[user.len] == '\0');
        CHECK(scram_credential_mock(m, user, nonce, sizeof nonce, &c) == ERR_OK);
        CHECK(scram_challenge(&x, &c, nonce, &out) == ERR_OK);
        CHECK(str_starts(buf_str(&out), STR("r=")));
        CHECK(scram_finish(&x, final, &out, &why) != ERR_OK); /* nobody has its password */
    }
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct str rest = {(const char *)data + 1, size - 1};
    const char *end = rest.len > 0 ? memchr(rest.ptr, '\0', rest.len) : NULL;
    size_t n = end != NULL ? (size_t)(end - rest.ptr) : rest.len;
    struct str first = {rest.ptr, n};
    struct str final = {rest.ptr + n, rest.len - n};
    if (final.len > 0)
        final = (struct str){final.ptr + 1, final.len - 1};
    if (data[0] % 3 == 0)
        check_plain(rest);
    else
        check_scram(first, final, data[0] % 3 == 1 ? SASL_SCRAM_SHA_256 : SASL_SCRAM_SHA_512);
    return 0;
}
