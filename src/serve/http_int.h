/* Inside of the HTTP server: shared by http_*.c.
 *
 * A connection answers one request after the other:
 *
 *   HEAD --head complete, route found--> BODY --all of it there--> handler
 *     ^         |  error: answered, DISCARD of the body              |  |  |
 *     |         v                                                    |  |  '--push--> PUSH until
 *     |<---- DISCARD                                                 |  |             the end
 *     |<------- answered at once ------------------------------------'  |
 *     '<------- http_finish <--- BUSY (a task runs, input is paused) <--'
 *                                BUSY <--> ROWS: a long body is read over several turns
 *
 * A task is a handler's state while it waits for the engine. It lives in the connection's arena, is
 * told when the connection ends (cancel) and is freed when nothing of it is under way any more. */
#ifndef TIDEMILL_SERVE_HTTP_INT_H
#define TIDEMILL_SERVE_HTTP_INT_H

#include "serve/connection.h"
#include "serve/http.h"
#include "wire/compress.h"
#include "wire/http.h"

#include <stdatomic.h>

enum {
    HTTP_ROWS_BODY_BYTES_MAX = INGEST_BYTES_MAX,
    HTTP_QUERY_BODY_BYTES_MAX = 4 << 20,
    HTTP_DATA_BODY_BYTES_MAX = 16 << 20,
    HTTP_DISCARD_BYTES_MAX = 256 << 20,    /* a refused body longer than this ends the connection */
    HTTP_SHARD_BODY_BYTES_MAX = 256 << 20, /* chunked and unpacked bodies of a shard together */
    HTTP_ARENA_BYTES_MAX = 24 << 20,       /* a request's own memory */
    HTTP_ARENA_KEEP_BYTES = 16 << 10,
    HTTP_OUTPUT_BYTES_MAX = 16 << 20,     /* full at half of it */
    HTTP_ANSWER_BYTES_MAX = 7 << 20,      /* an answer in one piece; one row of a streamed one */
    HTTP_CHUNK_BYTES = 64 << 10,          /* answers longer than this are streamed */
    HTTP_ROWS_PER_TURN_BYTES = 256 << 10, /* of a body, before others have their turn */
    HTTP_PATH_SEGMENTS_MAX = 6,
    HTTP_IDLE_MS = 120 * 1000,
    HTTP_PARTIAL_MS = 60 * 1000,
    HTTP_STALL_MS = 300 * 1000,
    HTTP_PUSH_PING_MS = 15 * 1000,
};

struct http_conn;

/* A request as its handler sees it. Everything is valid during the handler only. */
struct http_call {
    const struct http_request *request;
    struct str argument; /* the route's NAME, decoded */
    struct str body;
};

struct http_route {
    unsigned methods;
    const char *pattern; /* segments; {} takes any one */
    size_t body_bytes_max;
    void (*handle)(struct http_conn *h, const struct http_call *call);
};

struct http_task {
    /* The connection is ending: stop what can be stopped. Results may still come. May be NULL. */
    void (*cancel)(struct http_conn *h);
    /* Nothing is under way any more: free what the arena does not own. May be NULL. */
    void (*free)(struct http_conn *h);
    /* The output has room again. May be NULL. */
    void (*drain)(struct http_conn *h);
    /* Bytes came while the task runs; only called in phase PUSH. May be NULL: they are dropped. */
    void (*input)(struct http_conn *h);
};

enum http_phase {
    HTTP_PHASE_HEAD,
    HTTP_PHASE_BODY,
    HTTP_PHASE_DISCARD,
    HTTP_PHASE_ROWS,
    HTTP_PHASE_BUSY,
    HTTP_PHASE_PUSH
};

/* A connection's state (conn_state). */
struct http_conn {
    struct conn *conn;
    enum http_phase phase;
    bool ended;                 /* close was called */
    bool keep_alive, head_only; /* of the present request */
    bool minor_0;               /* the client speaks HTTP/1.0: no chunked answers */
    bool answered, streaming;   /* the answer has begun; it is streamed in chunks */
    bool continue_sent;
    uint32_t under_way; /* results that will still come */
    uint64_t discard_bytes;
    struct arena arena;        /* the present request's */
    struct http_request *head; /* kept in the arena while a chunked body comes */
    const struct http_route *route;
    struct str argument;
    struct http_chunked chunked;
    struct buf body;     /* chunked or unpacked */
    size_t body_counted; /* of it in the shard's total */
    size_t head_bytes;   /* the request's head, and all of it, when it is still in the input */
    size_t request_bytes;
    struct shard_timer rows_timer; /* PHASE_ROWS: the next turn */
    const struct http_task *task;
    void *task_state;
};

/* What a shard's connections share; touched by that shard only. */
struct http_shard {
    struct compress *compress;
    size_t body_bytes;
};

struct http_server {
    bool insecure;
    _Atomic uint64_t requests, errors, rows_in, rows_out, pushes;
    uint32_t n_shards;
    struct http_shard shards[];
};

static inline struct http_server *http_server_of(struct http_conn *h)
{
    return conn_server_arg(conn_get_server(h->conn));
}
static inline struct shard *http_shard_of(struct http_conn *h)
{
    return conn_shard(h->conn);
}

/* ---- http_server.c ---- */

/* The answer is complete: the connection goes on with the next request, or closes. */
void http_finish(struct http_conn *h);
/* Makes `task` the connection's; `state` lives in its arena. Input stops until http_finish. */
void http_task_begin(struct http_conn *h, const struct http_task *task, void *state);
/* Something is asked of the engine / its result came. http_result_came returns false when the
 * connection has ended: the caller touches nothing of it any more. */
void http_result_awaited(struct http_conn *h);
bool http_result_came(struct http_conn *h) MUST_CHECK;
/* Asks for http_rows_continue in the next turn, with the body at its place then. */
void http_rows_pause(struct http_conn *h);

/* ---- http_response.c: an answer in one piece ends with http_finish ---- */

/* Copies the body. `more_headers` are whole lines; NULL: only that the answer is not to be cached.
 */
void http_respond(struct http_conn *h, unsigned status, const char *content_type,
                  const char *more_headers, struct str body);
/* The same, taking the buffer's bytes over. */
void http_respond_buf(struct http_conn *h, unsigned status, const char *content_type,
                      const char *more_headers, struct buf *body);
void http_respond_json(struct http_conn *h, unsigned status, struct buf *body);
/* Bytes that live for ever (assets). */
void http_respond_static(struct http_conn *h, const char *content_type, const char *more_headers,
                         struct str body);
/* Status and text from the error table; `why` may be NULL. */
void http_respond_error(struct http_conn *h, enum err e, const struct err_detail *why);
void http_respond_error_as(struct http_conn *h, unsigned status, const char *more_headers,
                           enum err e, const struct err_detail *why);
/* Appends {"error": {...}}. */
void http_error_write(struct buf *out, enum err e, const struct err_detail *why);
/* A streamed answer: begin, pieces (each takes the buffer's bytes and empties it), end. */
void http_stream_begin(struct http_conn *h, const char *content_type, const char *more_headers);
void http_stream_put(struct http_conn *h, struct buf *piece);
void http_stream_end(struct http_conn *h);
/* A streamed answer cannot be completed: the client sees a broken body, and the connection ends. */
void http_stream_break(struct http_conn *h);

/* ---- handlers ---- */

/* http_routes.c: NULL when it has answered with an error (404, 405, 403). */
const struct http_route *http_route_find(struct http_conn *h, const struct http_request *r,
                                         struct str *argument);

/* http_rows.c */
void http_handle_rows(struct http_conn *h, const struct http_call *call);
void http_handle_data(struct http_conn *h, const struct http_call *call);
/* Goes on with a long body. */
void http_rows_continue(struct http_conn *h, struct str body);

/* http_query.c */
void http_handle_query(struct http_conn *h, const struct http_call *call);
void http_handle_view(struct http_conn *h, const struct http_call *call);
void http_handle_topics(struct http_conn *h, const struct http_call *call);
/* SELECT over the relation with one condition per name=value of the query string but `limit`,
 * `order`, `snapshot` (which `follow` decides about), planned and bound. Everything lives in the
 * arena but *plan, which the caller frees. */
enum err http_view_plan(struct http_conn *h, const struct http_call *call, bool follow,
                        struct plan **plan, const struct plan **bound, struct err_detail *why);
/* Appends a name as SQL writes it, quoted. */
void http_identifier_write(struct buf *out, struct str name);
/* Appends `"name":` for each column, ready to be put before its value; NULL when out of memory. */
struct str *http_column_keys(struct arena *a, const struct plan_node *root);
/* Appends row `row` as an object with those keys; jsonb nulls are listed in JSONB_NULLS_MEMBER. */
void http_row_write(struct buf *out, const struct batch *b, uint32_t row, const struct str *keys);

/* http_push.c */
void http_handle_changes(struct http_conn *h, const struct http_call *call);

/* http_info.c */
void http_handle_catalog(struct http_conn *h, const struct http_call *call);
void http_handle_pipeline(struct http_conn *h, const struct http_call *call);
void http_handle_metrics(struct http_conn *h, const struct http_call *call);
void http_handle_livez(struct http_conn *h, const struct http_call *call);
void http_handle_readyz(struct http_conn *h, const struct http_call *call);
/* The dashboard's files: whether there is one at the request's path, and its answer. */
bool http_asset_exists(const struct http_request *r);
void http_asset_respond(struct http_conn *h, const struct http_request *r);

#endif
