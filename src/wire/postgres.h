/* PostgreSQL's frontend/backend protocol 3.0: bytes <-> messages, the server's side. Pure; any
 * thread. Source: PostgreSQL 15 documentation, chapter 55 ("Message Formats").
 *
 *   start-up   | int32 length | int32 code | ...       |      no type byte, length covers itself
 *   afterwards | byte type | int32 length | body ...   |      length covers itself and the body
 *
 * Decoders borrow from the bytes they are given and check every count against the bytes that are
 * there before anybody allocates by it. */
#ifndef TIDEMILL_WIRE_POSTGRES_H
#define TIDEMILL_WIRE_POSTGRES_H

#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    PG_STARTUP_BYTES_MAX = 10000,    /* PostgreSQL's own bound */
    PG_MESSAGE_BYTES_MAX = 16 << 20, /* one message of a client, with its header */
    PG_HEADER_BYTES = 5,
    PG_PARAMS_MAX = 65535, /* what the protocol's int16 can count */
};

/* Outcome of looking for a message in what was received. */
enum pg_frame {
    PG_FRAME_WHOLE, /* the message is there */
    PG_FRAME_PART,  /* `bytes` are needed in all (0 = not known yet) */
    PG_FRAME_BAD,   /* the length is impossible or above the maximum */
};

/* ---- start-up ---- */

enum pg_startup_kind { PG_STARTUP_SESSION, PG_STARTUP_SSL, PG_STARTUP_GSSENC, PG_STARTUP_CANCEL };

struct pg_startup {
    enum pg_startup_kind kind;
    uint16_t major, minor; /* SESSION */
    struct str parameters; /* SESSION: pairs of NUL-terminated strings */
    uint32_t pid, secret;  /* CANCEL */
};

/* Looks for a start-up packet at the beginning of `in`; `bytes` receives its length (or what is
 * needed). */
enum pg_frame pg_startup_frame(struct str in, size_t *bytes);
/* Decodes a whole start-up packet. ERR_MALFORMED with a text. */
enum err pg_startup_decode(struct str packet, struct pg_startup *out,
                           struct err_detail *why) MUST_CHECK;
/* Takes the next parameter off `parameters`; false at the end. pg_startup_decode has checked the
 * structure. */
bool pg_startup_parameter(struct str *parameters, struct str *name, struct str *value);

/* ---- messages of the client ---- */

/* Looks for a message at the beginning of `in`. WHOLE: type, body and the message's length. */
enum pg_frame pg_message_frame(struct str in, char *type, struct str *body, size_t *bytes);

struct pg_parse {
    struct str name, sql;
    uint16_t n_types;
    const char *types; /* n_types int32, big-endian: pg_parse_type */
};
struct pg_bind {
    struct str portal, statement;
    uint16_t n_formats, n_params, n_results;
    const char *formats, *results; /* int16 each, big-endian */
    struct str params;             /* pg_bind_param takes them off one by one */
};
struct pg_execute {
    struct str portal;
    uint32_t rows_max; /* 0 = all */
};
struct pg_target {
    char kind; /* 'S' statement or 'P' portal */
    struct str name;
};

/* 'Q': the text. All decoders give ERR_MALFORMED with a text that names the message. */
enum err pg_query_decode(struct str body, struct str *sql, struct err_detail *why) MUST_CHECK;
enum err pg_parse_decode(struct str body, struct pg_parse *out, struct err_detail *why) MUST_CHECK;
enum err pg_bind_decode(struct str body, struct pg_bind *out, struct err_detail *why) MUST_CHECK;
enum err pg_execute_decode(struct str body, struct pg_execute *out,
                           struct err_detail *why) MUST_CHECK;
/* 'D' and 'C'. */
enum err pg_target_decode(struct str body, char message, struct pg_target *out,
                          struct err_detail *why) MUST_CHECK;

/* The i-th declared type's OID (0 = not declared). */
uint32_t pg_parse_type(const struct pg_parse *m, uint16_t i);
/* Format of parameter / result column i: 0 text, 1 binary. One format stands for all, none for
 * text. */
uint16_t pg_bind_format(const struct pg_bind *m, uint16_t i);
uint16_t pg_bind_result(const struct pg_bind *m, uint16_t i);
/* Takes the next parameter off `params`: its bytes, or false for NULL. Call n_params times. */
bool pg_bind_param(struct str *params, struct str *out);

/* ---- messages of the server, appended to a buffer ---- */

/* Begins a message; returns the mark that pg_end needs. What lies between is the body. */
size_t pg_begin(struct buf *b, char type);
/* Writes the length of the message begun at `mark`; nothing when the buffer has failed. */
void pg_end(struct buf *b, size_t mark);
/* A string with its NUL; cut at an embedded NUL. */
void pg_put_cstr(struct buf *b, struct str s);

/* ErrorResponse ('E') or NoticeResponse ('N'). Strings may be NULL. */
struct pg_report {
    const char *severity; /* "ERROR", "FATAL", "NOTICE", "WARNING" */
    const char *sqlstate;
    const char *message, *detail, *hint, *where;
    int32_t position; /* 1-based, in characters; 0 = none */
};
void pg_put_report(struct buf *b, char type, const struct pg_report *r);
/* A message without a body: '1' '2' '3' 'n' 's' 'I' 'c'. */
void pg_put_empty(struct buf *b, char type);
void pg_put_ready(struct buf *b, char status);
void pg_put_complete(struct buf *b, const char *tag);
void pg_put_parameter(struct buf *b, const char *name, struct str value);
void pg_put_key(struct buf *b, uint32_t pid, uint32_t secret);
void pg_put_auth_ok(struct buf *b);
/* CopyInResponse 'G' or CopyOutResponse 'H', all columns text. */
void pg_put_copy_response(struct buf *b, char type, uint16_t n_columns);

/* One column of a RowDescription. */
struct pg_field {
    struct str name;
    uint32_t oid;
    int16_t typlen;
    int32_t typmod;
    uint16_t format;
};
void pg_put_field(struct buf *b, const struct pg_field *f);

#endif
