/* Inside of the connections: shared by connection.c (listening, life, time-outs),
 * connection_input.c and connection_output.c only. */
#ifndef TIDEMILL_SERVE_CONNECTION_INT_H
#define TIDEMILL_SERVE_CONNECTION_INT_H

#include "serve/connection.h"

#include <stdalign.h>
#include <stdatomic.h>

enum {
    CONN_SMALL_BYTES = 2 << 10,         /* block for a message's beginning while no more comes */
    CONN_BLOCK_HINT_MAX = 1 << 20,      /* largest block given before its bytes have come */
    CONN_POOL_BLOCKS_MAX = 32,          /* free blocks kept per shard and size class */
    CONN_READ_BYTES_PER_TURN = 1 << 20, /* fairness between connections */
    CONN_SEND_BYTES_PER_TURN = 4 << 20,
    CONN_PIECES_MIN = 16,
    CONN_ACCEPTS_PER_TURN = 64,
    CONN_ACCEPT_RETRY_MS = 100, /* out of file descriptors: listen again after this */
    CONN_PASSES_PER_TURN = 8,   /* rounds of resumed input in one turn */
    CONN_REFUSAL_BYTES_MAX = 512,
    CONN_LISTENERS_MAX = 2, /* localhost is 127.0.0.1 and ::1 */
    CONN_LISTEN_TRIES = 16, /* ports tried until one is free at both */
};

struct conn_shard;

/* Memory for bytes, reference-counted within its shard:
 *
 *   | header | data: consumed | unconsumed input | room |     input block of a connection
 *                             ^at                ^fill                                      */
struct conn_block {
    struct conn_shard *home;
    struct conn_block *next; /* in the pool */
    size_t cap;
    uint32_t refs;
    bool counted; /* as input */
    alignas(16) char data[];
};

enum piece_kind { PIECE_BLOCK, PIECE_OWNED, PIECE_STATIC, PIECE_RANGE };

/* A piece of output. ptr/len shrink from the front as they are sent. */
struct conn_piece {
    enum piece_kind kind;
    const char *ptr;
    size_t len;
    union {
        struct conn_block *block; /* PIECE_BLOCK: one reference */
        void *owned;              /* PIECE_OWNED: mem_free */
        struct log_range range;   /* PIECE_RANGE: `len` is what is left of range.len */
    } of;
};

enum conn_phase { CONN_OPEN, CONN_FLUSHING, CONN_CLOSING, CONN_GONE };

struct conn {
    struct shard_io io;
    struct shard_timer timer;
    struct conn_server *server;
    struct conn_shard *home;
    struct host_socket *sock;
    struct list link;    /* home->conns */
    struct list work;    /* home->work, when something is to be done in the service turn */
    struct list starved; /* home->starved */
    enum conn_phase phase;
    enum err refused;
    uint32_t holds;
    uint32_t interest; /* what the socket is watched for */

    struct conn_block *block; /* input */
    size_t at, fill, want;
    size_t progress_bytes; /* received since partial_ns */
    size_t block_hint;
    bool unfinished; /* the message in work was consumed in part */
    bool paused, input_due, eof, eof_told, privileged;

    struct conn_piece *pieces; /* ring; power of two */
    uint32_t piece_at, n_pieces, pieces_cap;
    struct conn_block *out_block; /* being filled */
    size_t out_fill;
    size_t out_bytes; /* in memory */
    bool was_full, write_blocked;

    int64_t active_ns, partial_ns, sent_ns, flushing_ns;
    char peer[HOST_ADDRESS_MAX], local[HOST_ADDRESS_MAX];
    alignas(16) char state[];
};

/* A server's part on one shard; touched by that shard only. */
struct conn_shard {
    struct shard_service service;
    struct shard *shard;
    struct conn_server *server;
    struct list conns, work, starved;
    struct conn *privileged; /* may exceed CONN_SHARD_INPUT_BYTES_MAX with one message */
    size_t input_bytes;      /* capacity of blocks counted as input */
    struct conn_block *pool, *big_pool;
    uint32_t n_pool, n_big_pool;
    int64_t served_ns; /* turn in which the service ran last */
    bool retry_starved, stopped, serving;
};

/* One listening socket; shard 0's. */
struct conn_listener {
    struct conn_server *server;
    struct host_socket *sock;
    struct shard_io io;
    struct shard_timer timer;
};

struct conn_server {
    const struct conn_protocol *protocol;
    struct engine *engine;
    void *arg;
    bool insecure;
    uint32_t connections_max, next_shard;
    struct conn_listener listeners[CONN_LISTENERS_MAX];
    uint32_t n_listeners;
    bool listening;
    _Atomic uint32_t refs;   /* shards not stopped, connections, hand-overs */
    _Atomic uint32_t n_told; /* open ones that are turned away */
    _Atomic uint64_t n_open, n_accepted, n_refused, bytes_in, bytes_out;
    char label[64];
    uint32_t n_shards;
    struct conn_shard shards[];
};

/* connection.c */

/* Puts it on the work list; the service turn looks at it, in this turn or at once in the next. */
void conn_schedule(struct conn *c);
/* Watches for what input and output now need. */
void conn_watch(struct conn *c);
/* Pulls the timer forward to now + ms. */
void conn_timer_within(struct conn *c, int64_t ms);
int64_t conn_now(const struct conn *c);

/* connection_input.c */

/* Reads the socket and calls `input`. */
void conn_read(struct conn *c);
/* Calls `input` (and then `eof`) when there is reason to. */
void conn_input_run(struct conn *c);
/* An idle connection keeps no memory, and one that waits for the rest of a message little more than
 * what has come of it: others could not be read while many of them hold whole blocks. */
void conn_input_trim(struct conn *c);
void conn_input_free(struct conn *c);
/* A block of at least `cap` bytes with one reference, or NULL. */
struct conn_block *conn_block_new(struct conn_shard *sh, size_t cap);
/* Lets starved connections try again. */
void conn_starved_retry(struct conn_shard *sh);
void conn_pool_free(struct conn_shard *sh);

/* connection_output.c */

/* Sends what the socket takes. */
void conn_flush(struct conn *c);
void conn_output_free(struct conn *c);

#endif
