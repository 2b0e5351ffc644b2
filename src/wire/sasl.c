#include "wire/sasl.h"

#include "base/check.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>

/* ---- mechanisms and hashes ---- */

static const struct {
    enum sasl_mechanism mechanism;
    const char *name;
} mechanisms[] = {
    {SASL_PLAIN, "PLAIN"},
    {SASL_SCRAM_SHA_256, "SCRAM-SHA-256"},
    {SASL_SCRAM_SHA_512, "SCRAM-SHA-512"},
};

const char *sasl_mechanism_name(enum sasl_mechanism m)
{
    for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++)
        if (mechanisms[i].mechanism == m)
            return mechanisms[i].name;
    return "unknown";
}

enum sasl_mechanism sasl_mechanism_of(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++)
        if (str_eq(name, str_of(mechanisms[i].name)))
            return mechanisms[i].mechanism;
    return (enum sasl_mechanism)0;
}

static const EVP_MD *hash_of(enum sasl_mechanism m)
{
    return m == SASL_SCRAM_SHA_512 ? EVP_sha512() : EVP_sha256();
}

size_t scram_hash_bytes(enum sasl_mechanism m)
{
    return m == SASL_SCRAM_SHA_512 ? 64 : 32;
}

static enum err hmac(enum sasl_mechanism m, const uint8_t *key, struct str text, uint8_t *out)
{
    unsigned n = 0;
    const void *bytes = text.ptr;
    bool done = HMAC(hash_of(m), key, (int)scram_hash_bytes(m), bytes, text.len, out, &n) != NULL;
    return done && n == scram_hash_bytes(m) ? ERR_OK : ERR_INTERNAL;
}

static enum err digest(enum sasl_mechanism m, const uint8_t *in, uint8_t *out)
{
    unsigned n = 0;
    bool done = EVP_Digest(in, scram_hash_bytes(m), out, &n, hash_of(m), NULL) == 1;
    return done && n == scram_hash_bytes(m) ? ERR_OK : ERR_INTERNAL;
}

enum err scram_salt_password(enum sasl_mechanism m, struct str password, const uint8_t *salt,
                             size_t salt_len, uint32_t iterations, uint8_t *out)
{
    CHECK(password.len <= SASL_PASSWORD_BYTES_MAX && salt_len <= SCRAM_SALT_BYTES_MAX);
    const char *bytes = password.len > 0 ? password.ptr : "";
    int done = PKCS5_PBKDF2_HMAC(bytes, (int)password.len, salt, (int)salt_len, (int)iterations,
                                 hash_of(m), (int)scram_hash_bytes(m), out);
    return done == 1 ? ERR_OK : ERR_INTERNAL;
}

enum err scram_credential_keys(struct scram_credential *c, const uint8_t *salted)
{
    uint8_t client_key[SCRAM_HASH_BYTES_MAX];
    enum err e = hmac(c->mechanism, salted, STR("Client Key"), client_key);
    if (e == ERR_OK)
        e = digest(c->mechanism, client_key, c->stored_key);
    if (e == ERR_OK)
        e = hmac(c->mechanism, salted, STR("Server Key"), c->server_key);
    OPENSSL_cleanse(client_key, sizeof client_key);
    return e;
}

enum err scram_password_check(const struct scram_credential *c, struct str password, bool *right)
{
    struct scram_credential found = {.mechanism = c->mechanism};
    uint8_t salted[SCRAM_HASH_BYTES_MAX];
    *right = false;
    TRY(scram_salt_password(c->mechanism, password, c->salt, c->salt_len, c->iterations, salted));
    enum err e = scram_credential_keys(&found, salted);
    OPENSSL_cleanse(salted, sizeof salted);
    *right = e == ERR_OK && CRYPTO_memcmp(found.stored_key, c->stored_key,
                                          scram_hash_bytes(c->mechanism)) == 0;
    return e;
}

enum err scram_credential_mock(enum sasl_mechanism m, struct str user, const uint8_t *secret,
                               size_t secret_len, struct scram_credential *out)
{
    CHECK(user.len <= SASL_USER_BYTES_MAX && secret_len <= SCRAM_HASH_BYTES_MAX);
    uint8_t key[SCRAM_HASH_BYTES_MAX] = {0};
    uint8_t salt[SCRAM_HASH_BYTES_MAX];
    memcpy(key, secret, secret_len);
    *out = (struct scram_credential){
        .mechanism = m, .iterations = SCRAM_ITERATIONS, .salt_len = SCRAM_SALT_BYTES};
    enum err e = hmac(SASL_SCRAM_SHA_512, key, user, salt);
    memcpy(out->salt, salt, SCRAM_SALT_BYTES);
    /* No hash gives these keys but by chance of 2^-256. */
    if (e == ERR_OK)
        e = hmac(SASL_SCRAM_SHA_512, salt, STR("stored"), out->stored_key);
    if (e == ERR_OK)
        e = hmac(SASL_SCRAM_SHA_512, salt, STR("server"), out->server_key);
    OPENSSL_cleanse(key, sizeof key);
    return e;
}

/* ---- PLAIN ---- */

static enum err malformed(struct err_detail *why, const char *what)
{
    return err_set(why, ERR_MALFORMED, "the SASL message is malformed: %s", what);
}

enum err sasl_plain_parse(struct str message, struct sasl_plain *out, struct err_detail *why)
{
    struct str parts[3] = {{0}};
    size_t n = 0, start = 0;
    if (message.len > SASL_MESSAGE_BYTES_MAX)
        return malformed(why, "it is too long");
    for (size_t i = 0; i <= message.len; i++) {
        if (i < message.len && message.ptr[i] != '\0')
            continue;
        if (n == ARRAY_LEN(parts))
            return malformed(why, "more than three parts");
        parts[n++] = (struct str){message.ptr + start, i - start};
        start = i + 1;
    }
    if (n != ARRAY_LEN(parts))
        return malformed(why, "PLAIN has three parts");
    *out = (struct sasl_plain){parts[0], parts[1], parts[2]};
    if (out->user.len == 0 || out->user.len > SASL_USER_BYTES_MAX)
        return malformed(why, "a user's name has 1 to 255 bytes");
    if (out->password.len == 0 || out->password.len > SASL_PASSWORD_BYTES_MAX)
        return malformed(why, "a password has 1 to 1024 bytes");
    if (out->authzid.len > 0 && !str_eq(out->authzid, out->user))
        return malformed(why, "the authorization id is not the user");
    return ERR_OK;
}

/* ---- SCRAM: text ---- */

/* Takes what is before the next comma (or all of it) off `rest`. */
static struct str attribute_take(struct str *rest)
{
    const char *comma = rest->len > 0 ? memchr(rest->ptr, ',', rest->len) : NULL;
    struct str found = {rest->ptr, comma != NULL ? (size_t)(comma - rest->ptr) : rest->len};
    size_t used = found.len + (comma != NULL ? 1 : 0);
    *rest = (struct str){rest->len > 0 ? rest->ptr + used : rest->ptr, rest->len - used};
    return found;
}

/* The value of "x=value", or false. */
static bool attribute_value(struct str attribute, char letter, struct str *value)
{
    if (attribute.len < 2 || attribute.ptr[0] != letter || attribute.ptr[1] != '=')
        return false;
    *value = (struct str){attribute.ptr + 2, attribute.len - 2};
    return true;
}

/* A saslname: "=2C" is a comma, "=3D" an equals sign, no other escape is allowed. */
static bool name_unescape(struct str in, char *out, size_t *len)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];
        if (c == '=') {
            struct str code = {in.ptr + i, in.len - i};
            bool comma = str_starts(code, STR("=2C"));
            if (!comma && !str_starts(code, STR("=3D")))
                return false;
            c = comma ? ',' : '=';
            i += 2;
        }
        if (c == '\0' || n == SASL_USER_BYTES_MAX)
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    *len = n;
    return n > 0;
}

static bool nonce_valid(struct str nonce)
{
    for (size_t i = 0; i < nonce.len; i++)
        if (nonce.ptr[i] < 0x21 || nonce.ptr[i] > 0x7e || nonce.ptr[i] == ',')
            return false;
    return nonce.len > 0 && nonce.len <= SCRAM_CLIENT_NONCE_MAX;
}

static bool text_put(struct scram_exchange *x, const char *bytes, size_t n)
{
    if (n > sizeof x->text - x->text_len)
        return false;
    memcpy(x->text + x->text_len, bytes, n);
    x->text_len += n;
    return true;
}

static void put_base64(struct buf *out, const uint8_t *bytes, size_t n)
{
    char *to = buf_reserve(out, (n + 2) / 3 * 4 + 1);
    if (to == NULL)
        return;
    int len = EVP_EncodeBlock((unsigned char *)to, bytes, (int)n);
    out->len += (size_t)len;
}

/* Decodes exactly `n` bytes of base64 with its padding. */
static bool base64_exact(struct str in, uint8_t *out, size_t n)
{
    uint8_t bytes[SCRAM_HASH_BYTES_MAX + 3];
    size_t padding = 0;
    while (padding < 2 && padding < in.len && in.ptr[in.len - 1 - padding] == '=')
        padding++;
    if (in.len % 4 != 0 || in.len / 4 * 3 > sizeof bytes || in.len / 4 * 3 != n + padding)
        return false;
    if (EVP_DecodeBlock(bytes, (const unsigned char *)in.ptr, (int)in.len) < 0)
        return false;
    memcpy(out, bytes, n);
    return true;
}

/* ---- SCRAM: the exchange ---- */

enum err scram_begin(struct scram_exchange *x, struct str message, struct err_detail *why)
{
    struct str rest = message, authzid, name, nonce;
    x->text_len = x->user_len = x->nonce_len = 0;
    if (message.len > SASL_MESSAGE_BYTES_MAX)
        return malformed(why, "it is too long");
    struct str binding = attribute_take(&rest);
    if (!str_eq(binding, STR("n")) && !str_eq(binding, STR("y")))
        return malformed(why, "channel binding is not offered");
    struct str identity = attribute_take(&rest);
    struct str bare = rest;
    if (!attribute_value(attribute_take(&rest), 'n', &name) ||
        !name_unescape(name, x->user, &x->user_len))
        return malformed(why, "the user's name is missing or not valid");
    if (identity.len > 0 && (!attribute_value(identity, 'a', &authzid) || !str_eq(authzid, name)))
        return malformed(why, "the authorization id is not the user");
    if (!attribute_value(attribute_take(&rest), 'r', &nonce) || !nonce_valid(nonce))
        return malformed(why, "the nonce is missing or not valid");
    if (rest.len > 0)
        return malformed(why, "extensions (delegation tokens) are not offered");
    x->header_len = (size_t)(bare.ptr - message.ptr);
    if (x->header_len > sizeof x->header || !text_put(x, bare.ptr, bare.len))
        return malformed(why, "it is too long");
    memcpy(x->header, message.ptr, x->header_len);
    memcpy(x->nonce, nonce.ptr, nonce.len);
    x->nonce_len = nonce.len;
    return ERR_OK;
}

enum err scram_challenge(struct scram_exchange *x, const struct scram_credential *c,
                         const uint8_t *nonce, struct buf *out)
{
    struct buf text;
    buf_init(&text, SCRAM_TEXT_MAX);
    put_base64(&text, nonce, SCRAM_NONCE_BYTES);
    if (!text.failed && text.len <= sizeof x->nonce - x->nonce_len) {
        memcpy(x->nonce + x->nonce_len, text.ptr, text.len);
        x->nonce_len += text.len;
    }
    buf_clear(&text);
    buf_printf(&text, "r=%.*s,s=", (int)x->nonce_len, x->nonce);
    put_base64(&text, c->salt, c->salt_len);
    buf_printf(&text, ",i=%u", c->iterations);
    x->credential = *c;
    enum err e = buf_err(&text);
    if (e == ERR_OK && !(text_put(x, ",", 1) && text_put(x, text.ptr, text.len)))
        e = ERR_LIMIT;
    if (e == ERR_OK)
        buf_put_str(out, buf_str(&text));
    buf_deinit(&text);
    return e == ERR_OK ? buf_err(out) : e;
}

/* Whether "c=" repeats the header of client-first. */
static bool header_repeated(const struct scram_exchange *x, struct str value)
{
    struct buf expected;
    buf_init(&expected, SCRAM_TEXT_MAX);
    put_base64(&expected, (const uint8_t *)x->header, x->header_len);
    bool same = !expected.failed && str_eq(buf_str(&expected), value);
    buf_deinit(&expected);
    return same;
}

/* Whether the client sends the nonce back. librdkafka before 2.1 puts its own part twice in front,
 * which Kafka lets pass: the proof covers whatever was sent. */
static bool nonce_repeated(const struct scram_exchange *x, struct str nonce)
{
    return nonce.len >= x->nonce_len && nonce.len <= x->nonce_len + SCRAM_CLIENT_NONCE_MAX &&
           memcmp(nonce.ptr + nonce.len - x->nonce_len, x->nonce, x->nonce_len) == 0;
}

/* Checks the proof against AuthMessage and makes the server's signature of it. */
static enum err proof_check(const struct scram_exchange *x, const uint8_t *proof,
                            uint8_t *signature)
{
    const struct scram_credential *c = &x->credential;
    size_t n = scram_hash_bytes(c->mechanism);
    struct str text = {x->text, x->text_len};
    uint8_t key[SCRAM_HASH_BYTES_MAX], stored[SCRAM_HASH_BYTES_MAX];
    TRY(hmac(c->mechanism, c->stored_key, text, key));
    for (size_t i = 0; i < n; i++)
        key[i] ^= proof[i];
    enum err e = digest(c->mechanism, key, stored);
    OPENSSL_cleanse(key, sizeof key);
    TRY(e);
    TRY(hmac(c->mechanism, c->server_key, text, signature));
    return CRYPTO_memcmp(stored, c->stored_key, n) == 0 ? ERR_OK : ERR_FORBIDDEN;
}

enum err scram_finish(struct scram_exchange *x, struct str message, struct buf *out,
                      struct err_detail *why)
{
    struct str rest = message, header, nonce, proof_text = {0};
    uint8_t proof[SCRAM_HASH_BYTES_MAX], signature[SCRAM_HASH_BYTES_MAX];
    size_t n = scram_hash_bytes(x->credential.mechanism), covered = 0;
    if (message.len > SASL_MESSAGE_BYTES_MAX)
        return malformed(why, "it is too long");
    if (!attribute_value(attribute_take(&rest), 'c', &header) || !header_repeated(x, header))
        return malformed(why, "the channel binding is not that of the first message");
    if (!attribute_value(attribute_take(&rest), 'r', &nonce))
        return malformed(why, "the nonce is missing");
    while (rest.len > 0) {
        struct str at = rest;
        if (attribute_value(attribute_take(&rest), 'p', &proof_text))
            covered = (size_t)(at.ptr - message.ptr);
    }
    if (proof_text.len == 0 || proof_text.ptr + proof_text.len != message.ptr + message.len ||
        !base64_exact(proof_text, proof, n))
        return malformed(why, "the proof is missing or not valid");
    if (!nonce_repeated(x, nonce))
        return malformed(why, "the nonce is not the one that was sent");
    if (!text_put(x, ",", 1) || !text_put(x, message.ptr, covered - 1))
        return malformed(why, "it is too long");
    enum err e = proof_check(x, proof, signature);
    if (e != ERR_OK)
        return err_set(why, e, "the credentials are wrong");
    buf_put_str(out, STR("v="));
    put_base64(out, signature, n);
    return buf_err(out);
}
