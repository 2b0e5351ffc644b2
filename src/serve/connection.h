/* Connections: what the Kafka, PostgreSQL and HTTP servers share. Listening, accepting, spreading
 * over shards, input with a maximum, output with a maximum, time-outs, closing.
 *
 *                     shard 0                            shard i (round robin)
 *   socket --accept--> policy --shard_call--> open() --> input()* ... drain()* ... --> close()
 *                                                           |            ^
 *                                                     conn_put(...)      | output fell below a
 * quarter v            | output queue --flush once per turn--> socket
 *
 * A protocol gives a table of callbacks (struct conn_protocol) and the size of its state per
 * connection. All of them run on the connection's shard, never inside one another and never inside
 * a conn_* call. Every function here is for that shard's thread unless it says otherwise.
 *
 * Asynchronous work (an append, a query): conn_hold before it starts, conn_release in its `done`. A
 * held connection is not idle, and its memory and state stay valid even when it is closed
 * meanwhile: look at conn_closed first. */
#ifndef TIDEMILL_SERVE_CONNECTION_H
#define TIDEMILL_SERVE_CONNECTION_H

#include "engine/engine.h"

struct conn;
struct conn_block;
struct conn_server;

/* Named limits; all per server and shard unless said otherwise. */
enum {
    CONN_COUNT_DEFAULT = 16384, /* connections of one server, all shards */
    CONN_COUNT_MAX = 1000000,
    CONN_BLOCK_BYTES = 64 << 10, /* first input block; an idle connection has none */
    CONN_SHARD_INPUT_BYTES_MAX =
        256 << 20, /* received and not yet released; above it only one large message grows */
    CONN_PIECES_MAX = 4096,                 /* output pieces queued on a connection */
    CONN_PARTIAL_PROGRESS_BYTES = 64 << 10, /* this much news restarts the half-message time-out */
    CONN_TOLD_MAX = 64,    /* peers of one server that are being told why they are turned away */
    CONN_LINGER_MS = 5000, /* conn_close_flushed: how long the peer may take to read the rest */
};

/* What main knows and each server reads. Strings must live as long as the servers. */
struct serve_options {
    /* Addresses to listen at, as host_listen takes, "localhost:PORT" being both 127.0.0.1 and ::1;
     * NULL = do not. */
    const char *kafka, *pg, *http;
    bool insecure;               /* accept peers other than loopback */
    uint32_t connections_max;    /* per server; 0 = CONN_COUNT_DEFAULT */
    bool kafka_auth;             /* Kafka clients must authenticate */
    const char *kafka_super;     /* users that ACLs do not bind, separated by commas; or NULL */
    const char *kafka_advertise; /* HOST:PORT told to Kafka clients; NULL = where they came to */
};

struct conn_protocol {
    const char *name;        /* "kafka": in notes and metric labels */
    size_t state_bytes;      /* zeroed protocol state beside each connection: conn_state */
    size_t input_bytes_max;  /* largest unconsumed input; more ends the connection */
    size_t output_bytes_max; /* bytes queued in memory: full at half, more than all of it ends the
                                connection */
    int64_t idle_ms_max; /* nothing received, nothing held, nothing queued for so long: closed; 0 =
                            never */
    int64_t partial_ms_max; /* unconsumed input or an unfinished message, not paused, without
                               progress for so long: closed; 0 = never */
    int64_t stall_ms_max; /* queued output of which the peer takes nothing for so long: closed; 0 =
                             never */
    /* A new connection. An error closes it (close is called). May be NULL. */
    enum err (*open)(struct conn *c);
    /* Bytes came: look at conn_input, conn_consume whole messages; what is left is seen again with
     * more behind it. Called again after conn_resume even without news. */
    void (*input)(struct conn *c);
    /* Output was full (conn_output_full) and has fallen below a quarter of its maximum. May be
     * NULL. */
    void (*drain)(struct conn *c);
    /* The peer sends no more (input has seen all of it). NULL = the connection is closed at once,
     * else the protocol decides. */
    void (*eof)(struct conn *c);
    /* The connection ends, for whatever reason: cancel what it waits for. Once, the last callback.
     * May be NULL. */
    void (*close)(struct conn *c);
    /* Bytes to send to a peer that is turned away (ERR_FORBIDDEN, ERR_LIMIT): at most `max`,
     * returns their number. Shard 0. May be NULL. */
    size_t (*refuse)(enum err why, char *out, size_t max);
    /* Its clients understand a refusal only as the answer to what they send first: while fewer than
     * CONN_TOLD_MAX are being told, a peer that is turned away becomes a connection all the same,
     * and conn_refused says why. The protocol serves it nothing, and ends it soon. */
    bool tells_refused;
    /* The server's last piece is gone: free `arg`. Any shard's thread. May be NULL. */
    void (*server_free)(void *arg);
};

/* Listens at `address` (see struct serve_options) and registers the services that do the rest.
 * Main thread, before host_run.
 * `protocol` is borrowed for ever (static); `arg` belongs to the caller until it succeeded. The
 * server frees itself after shutdown, when every shard has stopped it and the last hold is
 * released. ERR_IN_USE names the address. */
enum err conn_server_start(struct engine *e, const struct conn_protocol *protocol,
                           const char *address, const struct serve_options *options, void *arg,
                           uint16_t *port_out, struct err_detail *why) MUST_CHECK;
/* The start call's `arg`, `insecure` and the number of open connections. Any thread. */
void *conn_server_arg(const struct conn_server *sv);
bool conn_server_insecure(const struct conn_server *sv);
uint32_t conn_server_count(const struct conn_server *sv);

/* ---- one connection ---- */

/* The protocol's state_bytes, zeroed at first. */
void *conn_state(struct conn *c);
/* The connection whose conn_state is `state`. */
struct conn *conn_of_state(void *state);
struct shard *conn_shard(struct conn *c);
struct conn_server *conn_get_server(struct conn *c);
/* "ip:port" of the peer, and the own address it connected to. Borrowed from the connection. */
const char *conn_peer(const struct conn *c);
const char *conn_local(const struct conn *c);

/* ERR_OK, or why the peer is turned away (see tells_refused). */
enum err conn_refused(const struct conn *c);

/* Ends it: nothing more is sent or received; `close` is called later in this turn. Twice is fine.
 */
void conn_close(struct conn *c);
/* Ends it when what is queued has been sent (or after CONN_LINGER_MS). Input is not looked at any
 * more. */
void conn_close_flushed(struct conn *c);
/* True once it is ending: what is put is dropped. */
bool conn_closed(const struct conn *c);
/* Asynchronous work begins / ends. The last release of a closed connection frees it: do not touch
 * it or its state after. */
void conn_hold(struct conn *c);
void conn_release(struct conn *c);

/* ---- input ---- */

/* What was received and not consumed. Valid until the callback returns, or until conn_consume. */
struct str conn_input(struct conn *c);
void conn_consume(struct conn *c, size_t n);
/* The same with a part of a message that is not whole yet: partial_ms_max goes on counting, also
 * when nothing is left, until conn_consume. */
void conn_consume_part(struct conn *c, size_t n);
/* The message being received is `n` bytes long in all: `input` is not called before that many are
 * there. Reset by the next `input`. Memory grows with what really comes, whatever was announced. */
void conn_want(struct conn *c, size_t n);
/* Keeps the bytes of the present conn_input valid (also after conn_consume) until
 * conn_block_release, on this shard. */
struct conn_block *conn_input_hold(struct conn *c);
void conn_block_release(struct conn_block *b);
/* The same bytes, which lie in the held block `b`, to write to. */
char *conn_block_mutable(struct conn_block *b, const char *bytes);
/* Stops reading the socket, and calling `input`; resume goes on, later in this turn or in the next.
 */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);

/* ---- output: queued in order, sent once at the end of the turn, the rest whenever the socket
 * takes more ---- Out of memory or over output_bytes_max: the connection is closed; callers need no
 * error path. */

/* Copies. */
void conn_put(struct conn *c, const void *bytes, size_t n);
static inline void conn_put_str(struct conn *c, struct str s)
{
    conn_put(c, s.ptr, s.len);
}
/* Room for `n` contiguous bytes to write into, then conn_commit what was used (<= n), with nothing
 * put in between. NULL when the connection is closed (or just was, for want of memory). */
char *conn_reserve(struct conn *c, size_t n);
void conn_commit(struct conn *c, size_t n);
/* Queues the buffer's memory without a copy; `b` is empty afterwards, in any case. */
void conn_put_buf(struct conn *c, struct buf *b);
/* Queues bytes that live for ever (embedded files). Not counted as memory. */
void conn_put_static(struct conn *c, const void *bytes, size_t n);
/* Queues a file range without a copy and takes over its reference, in any case. Not counted as
 * memory. */
void conn_put_range(struct conn *c, struct log_range *r);
/* Bytes queued in memory, and whether to stop making more until `drain`. */
size_t conn_output_bytes(const struct conn *c);
bool conn_output_full(struct conn *c);

#endif
