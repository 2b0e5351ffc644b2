/* SASL: the mechanisms PLAIN (RFC 4616) and SCRAM (RFC 5802, 7677), the server's side, and the
 * salted credentials that both are checked against. No I/O; the hashes are OpenSSL's. Everything
 * that depends on a secret is compared in constant time. */
#ifndef TIDEMILL_WIRE_SASL_H
#define TIDEMILL_WIRE_SASL_H

#include "base/str.h"

enum sasl_mechanism { SASL_SCRAM_SHA_256 = 1, SASL_SCRAM_SHA_512 = 2, SASL_PLAIN = 3 };

enum {
    SASL_MESSAGE_BYTES_MAX = 2048, /* the largest that a client has reason to send */
    SASL_USER_BYTES_MAX = 255,
    SASL_PASSWORD_BYTES_MAX = 1024,
    SCRAM_HASH_BYTES_MAX = 64,
    SCRAM_SALT_BYTES_MAX = 128,
    SCRAM_SALT_BYTES = 24, /* of credentials made here */
    SCRAM_ITERATIONS = 4096,
    SCRAM_ITERATIONS_MIN = 4096,
    SCRAM_ITERATIONS_MAX = 16384, /* Kafka's; a password check takes milliseconds */
    SCRAM_NONCE_BYTES = 18,       /* random; 24 characters */
    SCRAM_CLIENT_NONCE_MAX = 256,
    SCRAM_TEXT_MAX = 4096,
};

/* What is kept of a password. */
struct scram_credential {
    enum sasl_mechanism mechanism; /* a SCRAM one */
    uint32_t iterations;
    uint32_t salt_len;
    uint8_t salt[SCRAM_SALT_BYTES_MAX];
    uint8_t stored_key[SCRAM_HASH_BYTES_MAX], server_key[SCRAM_HASH_BYTES_MAX];
};

/* "SCRAM-SHA-256"; and back: 0 when unknown. */
const char *sasl_mechanism_name(enum sasl_mechanism m);
enum sasl_mechanism sasl_mechanism_of(struct str name);
/* 32 or 64. */
size_t scram_hash_bytes(enum sasl_mechanism m);

/* PBKDF2: the password salted, scram_hash_bytes long. Milliseconds. ERR_INTERNAL when OpenSSL
 * fails. */
enum err scram_salt_password(enum sasl_mechanism m, struct str password, const uint8_t *salt,
                             size_t salt_len, uint32_t iterations, uint8_t *out) MUST_CHECK;
/* Fills the two keys from a salted password; mechanism, iterations and salt are the caller's. */
enum err scram_credential_keys(struct scram_credential *c, const uint8_t *salted) MUST_CHECK;
/* Whether the password is the credential's. As slow as scram_salt_password. */
enum err scram_password_check(const struct scram_credential *c, struct str password,
                              bool *right) MUST_CHECK;
/* A credential that nobody's password fits, always the same for the same name and secret, so that
 * unknown users cannot be told from known ones. */
enum err scram_credential_mock(enum sasl_mechanism m, struct str user, const uint8_t *secret,
                               size_t secret_len, struct scram_credential *out) MUST_CHECK;

/* PLAIN's one message: [authzid] NUL user NUL password. Borrows. ERR_MALFORMED. */
struct sasl_plain {
    struct str authzid, user, password;
};
enum err sasl_plain_parse(struct str message, struct sasl_plain *out,
                          struct err_detail *why) MUST_CHECK;

/* SCRAM, the server's side:
 *
 *   client-first --scram_begin--> user is known --scram_challenge--> server-first
 *   client-final --scram_finish-> server-final, or ERR_FORBIDDEN                        */
struct scram_exchange {
    struct scram_credential credential;
    char user[SASL_USER_BYTES_MAX + 1];
    size_t user_len;
    char nonce[SCRAM_CLIENT_NONCE_MAX + 2 * SCRAM_NONCE_BYTES];
    size_t nonce_len;
    char header[SASL_USER_BYTES_MAX * 3 + 8]; /* gs2-header, as client-final repeats it */
    size_t header_len;
    char text[SCRAM_TEXT_MAX]; /* AuthMessage so far */
    size_t text_len;
};
/* Reads client-first. Channel binding, extensions and another authorisation id than the user are
 * refused. ERR_MALFORMED. */
enum err scram_begin(struct scram_exchange *x, struct str message,
                     struct err_detail *why) MUST_CHECK;
/* Writes server-first to `out`; `nonce` is random, SCRAM_NONCE_BYTES long. */
enum err scram_challenge(struct scram_exchange *x, const struct scram_credential *c,
                         const uint8_t *nonce, struct buf *out) MUST_CHECK;
/* Reads client-final, writes server-final. ERR_MALFORMED, ERR_FORBIDDEN. */
enum err scram_finish(struct scram_exchange *x, struct str message, struct buf *out,
                      struct err_detail *why) MUST_CHECK;

#endif
