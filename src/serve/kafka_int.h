/* The Kafka server's inside: what its files share.
 *
 *   kafka.c            framing, the queue of requests of a connection, dispatch, ApiVersions
 *   kafka_produce.c    Produce, InitProducerId
 *   kafka_fetch.c      Fetch, with its long poll
 *   kafka_list.c       ListOffsets
 *   kafka_metadata.c   Metadata, FindCoordinator
 *   kafka_cluster.c    what tools ask: DescribeCluster, DescribeLogDirs, replicas and the like
 *   kafka_topics.c     CreateTopics, DeleteTopics; kafka_partitions.c: CreatePartitions
 *   kafka_records.c    DeleteRecords, OffsetForLeaderEpoch
 *   kafka_configs.c    DescribeConfigs, AlterConfigs, IncrementalAlterConfigs
 *   kafka_sasl.c       who the client is; kafka_users.c: their credentials
 *   kafka_throttle.c   what clients may use (buckets: kafka_quota.h); kafka_quotas.c: their quotas
 *   kafka_authorize.c  what a client may do, for all APIs; kafka_acls.c: the lists that say so
 *   kafka_txn.c        transactions, on shard 0, where kafka_txn_state.c decides
 *   kafka_coordinator.c  group requests, carried to shard 0 (kafka_coordinator.h)
 *
 * Requests of a connection are begun in the order they came, several may be under way, and answers
 * are sent in that order. Everything here runs on the connection's shard, except the coordinator's
 * part on shard 0. */
#ifndef TIDEMILL_SERVE_KAFKA_INT_H
#define TIDEMILL_SERVE_KAFKA_INT_H

#include "base/check.h"
#include "serve/connection.h"
#include "serve/kafka.h"
#include "wire/compress.h"
#include "wire/kafka/messages.h"
#include "wire/kafka_batch.h"

enum {
    KAFKA_REQUEST_BYTES_MAX = 100 << 20,
    KAFKA_REQUEST_BYTES_MIN = 10,        /* a header without a client id */
    KAFKA_REQUEST_BYTES_COPIED = 1 << 10, /* up to here: no input block is held for it */
    KAFKA_RESPONSE_BYTES_MAX = 64 << 20, /* without record bytes */
    KAFKA_ARENA_BYTES_MAX = 64 << 20, /* what one request's decoded form and its answer may take */
    KAFKA_ARENA_BYTES_KEPT = 64 << 10,
    KAFKA_PIPELINE_MAX = 256, /* requests of a connection under way; then it is not read */
    KAFKA_PIPELINE_BYTES_MAX = 128 << 20, /* and their bytes */
    KAFKA_REQUESTS_KEPT = 256,            /* free request objects per shard */
    KAFKA_RANGES_MAX = 1024,              /* file ranges in one fetch response */
    KAFKA_WAIT_MS_MAX = 300000,           /* longest long poll, whatever was asked for */
    KAFKA_TOPICS_PER_REQUEST_MAX = 10000,
    /* Of one compressed batch: four times max.message.bytes of the topic, between these. */
    KAFKA_DECODED_BYTES_MIN = 64 << 20,
    KAFKA_DECODED_BYTES_MAX = 256 << 20,
    KAFKA_CHECK_BYTES_PER_TURN = 4 << 20, /* decompressed and looked at before others have a turn */
    KAFKA_DECODED_KEEP_BYTES = 8 << 20,  /* of its memory, for the next one */
    KAFKA_NODE_ID = 1,
    KAFKA_LOGIN_BYTES_MAX = 64 << 10, /* a message before the client has authenticated */
    KAFKA_MUTE_MS_MAX = 600000, /* what is still owed then is waited for after the next request */
    KAFKA_SECURITY_ITEM_FIRST = 1,
    KAFKA_ACL_FILTERS_MAX = 100,
    KAFKA_SECURITY_NAMES_MAX = 1000, /* users, ACLs or quotas in one request */
    KAFKA_LOGIN_PAUSE_MS_MAX = 50, /* a check that took long was kept from running by others */
    KAFKA_LOGIN_SHARE = 4, /* password checks take at most 1/(1 + this) of a shard's time */
    KAFKA_IDLE_MS = 600000,
    KAFKA_PARTIAL_MS = 60000,
    KAFKA_STALL_MS = 120000,
};

/* Kafka's error codes that no row of base/err.h stands for. */
enum kafka_error {
    KAFKA_OK = 0,
    KAFKA_E_UNKNOWN_TOPIC = 3,
    KAFKA_E_LEADER_NOT_AVAILABLE = 5,
    KAFKA_E_COORDINATOR_LOADING = 14,
    KAFKA_E_COORDINATOR_NOT_AVAILABLE = 15,
    KAFKA_E_INVALID_TOPIC = 17,
    KAFKA_E_INVALID_ACKS = 21,
    KAFKA_E_ILLEGAL_GENERATION = 22,
    KAFKA_E_INCONSISTENT_PROTOCOL = 23,
    KAFKA_E_INVALID_GROUP_ID = 24,
    KAFKA_E_UNKNOWN_MEMBER = 25,
    KAFKA_E_INVALID_SESSION_TIMEOUT = 26,
    KAFKA_E_REBALANCE_IN_PROGRESS = 27,
    KAFKA_E_OFFSET_METADATA_TOO_LARGE = 12,
    KAFKA_E_TOPIC_AUTHORIZATION = 29,
    KAFKA_E_GROUP_AUTHORIZATION = 30,
    KAFKA_E_CLUSTER_AUTHORIZATION = 31,
    KAFKA_E_UNSUPPORTED_SASL_MECHANISM = 33,
    KAFKA_E_ILLEGAL_SASL_STATE = 34,
    KAFKA_E_UNSUPPORTED_VERSION = 35,
    KAFKA_E_TOPIC_EXISTS = 36,
    KAFKA_E_INVALID_PARTITIONS = 37,
    KAFKA_E_INVALID_REPLICATION = 38,
    KAFKA_E_INVALID_ASSIGNMENT = 39,
    KAFKA_E_INVALID_CONFIG = 40,
    KAFKA_E_INVALID_REQUEST = 42,
    KAFKA_E_POLICY_VIOLATION = 44,
    KAFKA_E_TRANSACTIONAL_ID_AUTHORIZATION = 53,
    KAFKA_E_SASL_AUTHENTICATION_FAILED = 58,
    KAFKA_E_NON_EMPTY_GROUP = 68,
    KAFKA_E_GROUP_ID_NOT_FOUND = 69,
    KAFKA_E_MEMBER_ID_REQUIRED = 79,
    KAFKA_E_GROUP_FULL = 81,
    KAFKA_E_FENCED_INSTANCE = 82,
    KAFKA_E_GROUP_SUBSCRIBED = 86,
    KAFKA_E_INVALID_RECORD = 87,
    KAFKA_E_CONCURRENT_TRANSACTIONS = 51,
    KAFKA_E_UNSTABLE_OFFSET = 88,
    KAFKA_E_TXN_ID_NOT_FOUND = 105,
    KAFKA_E_PRODUCER_FENCED = 90,
    KAFKA_E_INVALID_TXN_STATE = 48,
    KAFKA_E_OPERATION_NOT_ATTEMPTED = 55,
    KAFKA_E_INVALID_PRODUCER_EPOCH = 47,
    KAFKA_E_TRANSACTION_ABORTABLE = 120,
    KAFKA_E_RESOURCE_NOT_FOUND = 91,
    KAFKA_E_DUPLICATE_RESOURCE = 92,
    KAFKA_E_UNACCEPTABLE_CREDENTIAL = 93,
    KAFKA_E_THROTTLING_QUOTA_EXCEEDED = 89,
    KAFKA_E_ELECTION_NOT_NEEDED = 84,
    KAFKA_E_NO_REASSIGNMENT_IN_PROGRESS = 85,
    KAFKA_E_FENCED_LEADER_EPOCH = 74,
    KAFKA_E_UNKNOWN_LEADER_EPOCH = 75,
    KAFKA_E_UNKNOWN_TOPIC_ID = 100,
    KAFKA_E_FENCED_EPOCH = 110,
    KAFKA_E_UNRELEASED_INSTANCE = 111,
    KAFKA_E_UNSUPPORTED_ASSIGNOR = 112,
    KAFKA_E_STALE_EPOCH = 113,
    KAFKA_E_MISMATCHED_ENDPOINT_TYPE = 114,
    KAFKA_E_UNSUPPORTED_ENDPOINT_TYPE = 115,
    KAFKA_E_INVALID_REGEX = 128,
    KAFKA_E_REBOOTSTRAP_REQUIRED = 129,
};

/* kafka_check.c: the check of what comes for one partition. A request has one, zeroed, with
 * `request` and `go_on` set. */
struct kafka_check {
    struct kafka_request *request;
    void (*go_on)(struct kafka_request *r); /* after ERR_BUSY: asks again */
    struct kafka_run found;                 /* at the end */
    struct err_detail why;
    struct list link; /* private, as all below */
    bool queued, begun;
    size_t decoded_bytes_max;
    struct kafka_run_rules rules;
    struct kafka_run_check run;
};

struct kafka_coordinator;
struct quota_table;
struct kafka_txns;
struct offsets_log;

/* Per shard; `free_requests` and the scratch memory are touched by that shard only. */
struct kafka_shard {
    struct list free_requests;
    uint32_t n_free;
    struct compress *compress;
    struct buf scratch;          /* decompressed records of the batch being checked */
    /* Checks that take several turns, in turn; those that need the memory of large ones. */
    struct list checks, checks_large;
    struct kafka_check *check_large; /* who has that memory */
    struct compress *large_compress;
    struct buf large_scratch;
    struct shard_timer check_timer;
    int64_t check_turn_ns, check_left; /* of the turn: bytes that may be checked */
    struct buf response;         /* the response being encoded */
    struct list password_checks; /* requests that wait for theirs */
    struct shard_timer password_timer;
    int64_t password_at_ns; /* when the next one may begin */
};

struct kafka_server {
    struct engine *engine;
    struct serve_options options;
    struct kafka_coordinator *coordinator; /* shard 0's */
    struct kafka_txns *txns;               /* shard 0's */
    struct quota_table *quotas;
    uint8_t sasl_secret[SECURITY_SECRET_BYTES]; /* until the catalog has one */
    _Atomic uint64_t n_requests, n_produced_bytes, n_fetched_bytes;
    uint32_t n_shards;
    struct kafka_shard shards[];
};

/* State of a connection. */
struct kafka_conn {
    struct list requests; /* under way or waiting for those before them, oldest first */
    uint32_t n_requests;
    size_t request_bytes;
    uint32_t fetch_turn; /* which partition of a fetch comes first, in turn */
    bool opened, canceling;
    bool authenticated;
    bool sasl_tokens; /* what comes is a token of SaslHandshake version 0, not a request */
    bool sasl_busy;   /* the request under way decides who the client is */
    bool checking;    /* what came is checked in several turns: it is to be appended first */
    enum sasl_mechanism mechanism;   /* asked for by SaslHandshake */
    struct scram_exchange *exchange; /* SCRAM, between its two steps */
    struct kafka_request *working; /* whose handler runs and has not finished it */
    bool muted; /* not read until muted_until_ns; the connection is held meanwhile */
    int64_t muted_until_ns;
    struct shard_timer mute_timer;
    bool super;      /* ACLs do not bind the user */
    struct str host; /* of the peer, without the port */
    struct str user; /* authenticated: in user_bytes; else ANONYMOUS */
    char user_bytes[SASL_USER_BYTES_MAX];
};

/* A request from its arrival until its answer is queued. */
struct kafka_request {
    struct list link;
    struct conn *conn;
    struct kafka_server *server;
    struct shard *shard;
    const struct kafka_api_codec *codec;
    struct kafka_request_header header;
    struct conn_block *block; /* holds the request's bytes; NULL: the arena does */
    char *body;               /* them, behind their length */
    size_t bytes;
    struct arena arena;
    const struct catalog *catalog; /* referenced by kafka_request_catalog */
    void *request, *response;      /* decoded structs in the arena */
    bool done, silent;             /* silent: no answer (acks=0) */
    bool last;                     /* the connection ends behind the answer */
    bool token;                    /* SASL token without header */
    struct list check;             /* kafka_shard.password_checks */
    struct kafka_denial *denials;  /* answers for what was taken out of the request */
    int64_t begun_ns, work_ns;     /* request_percentage: when the handler began; its time */
    int64_t throttle_ns;           /* known before the answer: changes of topics */
    bool checked;                  /* the response shows only what the client may see */
    /* Ends what is still awaited, because the connection is closed; the request still finishes. May
     * be NULL. */
    void (*cancel)(struct kafka_request *r);
    /* Gives back what the response holds. May be NULL. */
    void (*cleanup)(struct kafka_request *r);
    void *state; /* the handler's, in the arena */
    uint32_t splices_max;
    struct shard_call call; /* for the coordinator */
};

/* kafka.c */

/* The request is answered with r->response (in r's arena), or not at all when silent. Its memory
 * may be gone on return. Callable from inside the handler. */
void kafka_request_finish(struct kafka_request *r, void *response);
/* Out of memory and the like: no answer is possible, so the connection ends. */
void kafka_request_fail(struct kafka_request *r, const char *what);
/* Allocates in the request's arena, zeroed; NULL after failing the request: the handler just
 * returns. */
void *kafka_request_alloc(struct kafka_request *r, size_t n, size_t size);
/* The catalog of when this was called first. */
const struct catalog *kafka_request_catalog(struct kafka_request *r);
struct kafka_shard *kafka_request_shard(const struct kafka_request *r);
struct kafka_conn *kafka_request_conn(const struct kafka_request *r);
/* Kafka's code for an engine error. */
int16_t kafka_error_of(enum err e);
/* A copy of the error's text in the arena (ptr NULL when out of memory). */
struct str kafka_error_text(struct kafka_request *r, enum err e, const struct err_detail *why);
/* Host and port of this broker as the client reached it, or as --kafka-advertise says. */
struct str kafka_broker_host(const struct kafka_request *r, int32_t *port);

/* Of the leadership that a client knows of; there is one, epoch 0, and -1 means that it does not
 * say. */
static inline int16_t kafka_leader_epoch_check(int32_t current)
{
    if (current == -1 || current == 0)
        return KAFKA_OK;
    return current < 0 ? KAFKA_E_FENCED_LEADER_EPOCH : KAFKA_E_UNKNOWN_LEADER_EPOCH;
}

/* Kafka's rule for names of topics. */
bool kafka_topic_name_valid(struct str name);
/* Served over this protocol? Everything that the catalog has is; NULL when there is none. */
const struct topic *kafka_topic_find(struct kafka_request *r, struct str name, struct kafka_uuid id,
                                     bool by_id);

/* A request that changes the catalog, one item after the other. In the request's arena, as its
 * state. */
struct kafka_changes {
    struct ddl_request ddl;
    struct kafka_request *request;
    void *res, *arg;
    uint32_t next, n; /* which item is being worked on, of how many */
    bool running, waiting;
    /* Works on item `next`; sets waiting when it went to the engine. */
    void (*step)(struct kafka_request *r);
};
/* Of each of `n` names whether it stands there more than once. NULL: the request has failed. */
bool *kafka_names_repeated(struct kafka_request *r, const struct str *names, uint32_t n);
/* Begins; the request is finished with `res` after the last item. */
void kafka_changes_begin(struct kafka_request *r, void *res, uint32_t n,
                         void (*step)(struct kafka_request *r), void *arg);
/* The item that was waited for is done: from the ddl's `done`. */
void kafka_change_done(struct kafka_changes *st);

/* Handlers: each finishes or fails the request, now or later. */
void kafka_handle_produce(struct kafka_request *r);
void kafka_handle_init_producer_id(struct kafka_request *r);
void kafka_handle_fetch(struct kafka_request *r);
void kafka_handle_list_offsets(struct kafka_request *r);
void kafka_handle_metadata(struct kafka_request *r);
void kafka_handle_describe_cluster(struct kafka_request *r);
void kafka_handle_describe_topic_partitions(struct kafka_request *r);
void kafka_handle_describe_log_dirs(struct kafka_request *r);
void kafka_handle_elect_leaders(struct kafka_request *r);
void kafka_handle_alter_reassignments(struct kafka_request *r);
void kafka_handle_list_reassignments(struct kafka_request *r);
void kafka_handle_list_config_resources(struct kafka_request *r);
void kafka_handle_find_coordinator(struct kafka_request *r);
void kafka_handle_create_topics(struct kafka_request *r);
void kafka_handle_delete_topics(struct kafka_request *r);
void kafka_handle_create_partitions(struct kafka_request *r);
void kafka_handle_delete_records(struct kafka_request *r);
void kafka_handle_offset_for_leader_epoch(struct kafka_request *r);
void kafka_handle_describe_configs(struct kafka_request *r);
void kafka_handle_alter_configs(struct kafka_request *r);
void kafka_handle_incremental_alter_configs(struct kafka_request *r);
void kafka_handle_group(struct kafka_request *r);
void kafka_handle_txn(struct kafka_request *r);
void kafka_handle_describe_producers(struct kafka_request *r);

/* kafka_check.c */
void kafka_check_shard_init(struct kafka_shard *ks);
/* kafka_run_validate with the shard's memory, as far as the turn's work allows: ERR_BUSY, then
 * go_on is called in a later turn, and calls this with the same arguments. */
enum err kafka_check_run(struct kafka_check *k, char *bytes, size_t n,
                         const struct kafka_run_rules *rules, size_t decoded_bytes_max) MUST_CHECK;
/* The request has nothing more to check. Anything may be asked of the connection again:
 * kafka_resume. */
void kafka_check_end(struct kafka_check *k);

/* kafka_sasl.c */
void kafka_sasl_shard_init(struct kafka_server *sv, struct kafka_shard *ks);
/* Whether authentication is required and has not happened. */
bool kafka_login_missing(struct conn *c);
/* A token without a header, after SaslHandshake version 0. */
void kafka_sasl_token(struct kafka_request *r, struct str token);
/* Forgets an exchange under way. */
void kafka_sasl_end(struct kafka_conn *kc);
void kafka_handle_sasl_handshake(struct kafka_request *r);
void kafka_handle_sasl_authenticate(struct kafka_request *r);

/* kafka_authorize.c */
/* Takes out of the request what the client may not do. False: nothing is left to be handled, and
 * the request is answered already. */
bool kafka_authorize(struct kafka_request *r);
/* Takes out of the response what the client may not see, puts in what was denied and which
 * operations are allowed. False: out of memory. */
bool kafka_authorize_answer(struct kafka_request *r, void *response);
/* Bit 1 << operation for each that the client may do to the resource. */
int32_t kafka_operations(struct kafka_request *r, enum security_resource resource, struct str name);
/* A programmer's mistake in the rules ends the process at its start. */
void kafka_authorize_check(void);

/* Takes the elements of a request's array from place `from` on out, each answered with the error.
 * The array has rules of its own. False: out of memory. */
bool kafka_deny_from(struct kafka_request *r, const char *array, uint32_t from, int16_t error);

/* kafka_throttle.c */
/* Before the handler: refuses what a quota forbids at once. False: the request has failed. */
bool kafka_throttle_admit(struct kafka_request *r);
/* Takes what the request used from the client's quotas, tells it in the response, mutes the
 * connection. */
void kafka_throttle(struct kafka_request *r, void *response);
/* The connection ends. */
void kafka_throttle_end(struct conn *c);
/* Reads on, unless something else says to wait. */
void kafka_resume(struct conn *c);

/* kafka_quotas.c */
void kafka_handle_describe_quotas(struct kafka_request *r);
void kafka_handle_alter_quotas(struct kafka_request *r);

/* kafka_acls.c */
void kafka_handle_describe_acls(struct kafka_request *r);
void kafka_handle_create_acls(struct kafka_request *r);
void kafka_handle_delete_acls(struct kafka_request *r);

/* kafka_security.c: makes the items one durable change of the catalog; `done` finishes the request.
 * Items begin at KAFKA_SECURITY_ITEM_FIRST: those before it are the function's. Without any, `done`
 * is called at once. */
void kafka_security_change(struct kafka_request *r, struct security_item *items, uint32_t n,
                           void (*done)(struct kafka_request *r, int16_t error, struct str text));

/* kafka_users.c */
void kafka_handle_describe_users(struct kafka_request *r);
void kafka_handle_alter_users(struct kafka_request *r);

/* kafka_coordinator.c: the coordinator's life; it registers its service on shard 0. */
struct kafka_coordinator *kafka_coordinator_new(struct engine *e);
/* Where it keeps committed offsets; borrowed. */
struct offsets_log *kafka_coordinator_offsets(struct kafka_coordinator *co);
void kafka_coordinator_free(struct kafka_coordinator *co);

#endif
