/* The catalog: which topics, tables and views exist. Immutable versions, shared by reference.
 *
 * Shard 0 alone makes new versions (catalog_apply); everybody else holds a reference to the
 * version they were given and sees a consistent set. An object's pointer stays valid as long as
 * a reference to a version containing it is held. */
#ifndef TIDEMILL_PLAN_CATALOG_H
#define TIDEMILL_PLAN_CATALOG_H

#include "base/arena.h"
#include "base/str.h"
#include "plan/topic_config.h"
#include "plan/security.h"
#include "type/epoch_time.h"
#include "type/type.h"
#include "wire/text_rows.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    /* Kafka's limit for topic names; SQL names are cut at 63 by PostgreSQL, not here */
    NAME_BYTES_MAX = 249,
    PARTITIONS_MAX = 1024,       /* per topic */
    TOPICS_MAX = 10000,
    TABLE_COLUMNS_MAX = 1000,
    CATALOG_TYPES_MAX = 256,     /* made by CREATE TYPE */
    CLUSTER_ID_BYTES = 22,       /* letters and digits */
};

/* By which rules a relation's text is understood. One that was made under older rules keeps them,
 * and with them its columns' types. */
enum dialect {
    DIALECT_NOW = 0,   /* PostgreSQL's types, each its own */
    DIALECT_WIDE = 1,  /* smallint is integer, real float8, timestamp timestamptz; date + interval
                        * is timestamptz */
};

enum topic_kind {
    TOPIC_USER,        /* produced to by clients */
    TOPIC_CHANGELOG,   /* a view's output: written by epochs only */
    TOPIC_LATE,        /* late rows of a view: written by epochs only */
    TOPIC_DEAD_LETTERS,/* written by epochs only */
    /* catalog, epochs, consumer offsets: hidden from SQL, listed as internal over Kafka */
    TOPIC_INTERNAL,
};

struct topic {
    struct str name;
    uint8_t id[16];             /* Kafka topic id: random, changes on re-creation */
    /* small, never reused; names the data folder and places partitions */
    uint32_t number;
    uint32_t n_partitions;
    /* Partitions from this one on were added while the topic was in use; 0 = none were. */
    uint32_t grown_from;
    enum topic_kind kind;
    /* partition p lives on shard (placement + p) % n_shards; derived topics share their source's */
    uint32_t placement;
    struct topic_config config;
};

enum table_format {
    /* no schema: partition int4, offset int8, timestamp timestamptz, key text, value text, headers
     * jsonb */
    FORMAT_RAW,
    FORMAT_JSON,   /* value is a JSON object, columns by name */
    FORMAT_JSON_LINES, /* value is several: one a line, or a JSON array; each is a row */
    FORMAT_CSV,    /* value is a line of CSV, columns by position */
    FORMAT_AVRO,   /* value is an Avro record, columns by name */
    FORMAT_REGEX,  /* value is a line of text, columns are an expression's named groups */
    FORMAT_DEBEZIUM_JSON, /* value is an envelope: op, before, after */
};

enum on_error { ON_ERROR_DEAD_LETTER, ON_ERROR_IGNORE };

struct column_def {
    struct str name;
    enum type type;
    int32_t typmod;       /* a length or precision: type/typmod.h; else -1 */
    bool not_null;
};

/* What ALTER TABLE has done to a column. */
enum {
    COLUMN_ADDED = 1, /* a record whose value does not fit has NULL */
    /* A place that nobody sees. A record whose value does not fit is still no row, so that what is
     * a row stays one, and the other way round. */
    COLUMN_DROPPED = 2,
};

enum { ALTERATIONS_MAX = 100 };
/* ALTER TABLE as it was written. Its number is of those of relations: what it was done before and
 * after. */
struct table_alteration {
    struct str sql;
    enum dialect dialect;            /* of the text */
    uint32_t number;
};

enum { SCHEMA_URL_BYTES_MAX = 512 }; /* of a registry */
enum { RELATION_SYSTEM = 0x40000000, RELATION_OF_TOPIC = 0x20000000 };

/* A table, a view's output, or a raw topic seen as a table. */
struct relation {
    struct str name;
    /* Never reused. Relations that follow from a topic (raw topics, late tables,
     * sys.dead_letters) have its number with RELATION_OF_TOPIC set; the other sys.* relations
     * count from RELATION_SYSTEM. */
    uint32_t number;
    /* REL_VIEW: a materialized view, or a publication; REL_QUERY: a plain view */
    enum relation_kind { REL_TABLE, REL_VIEW, REL_RAW_TOPIC, REL_SYSTEM, REL_QUERY } kind;
    /* where its rows (or changes) are; NULL for REL_SYSTEM and REL_QUERY */
    const struct topic *topic;
    struct str sql;                  /* the CREATE text; empty when there was none */
    enum dialect dialect;            /* of the text */
    uint32_t n_columns;
    const struct column_def *columns;
    const uint8_t *column_flags;     /* by column: COLUMN_*; NULL: none has any */
    uint32_t n_alterations;
    const struct table_alteration *alterations;
    /* REL_TABLE */
    enum table_format format;
    struct text_format text;         /* FORMAT_CSV, FORMAT_REGEX */
    struct str avro_schema;          /* FORMAT_AVRO */
    bool avro_framed;                /* ... with Confluent's header before each value */
    struct str registry;             /* ... whose schemas are there; empty: avro_schema is all */
    uint32_t schemas_of;             /* late rows: the table whose schemas these are; 0: its own */
    enum on_error on_error;
    int32_t event_time;              /* column, or -1 */
    enum time_unit event_time_unit;  /* of numbers; NONE: it is a timestamp */
    /* A timestamptz column, + 1, that is the record's timestamp whatever its value has; 0 = none */
    uint32_t record_timestamp;
    int32_t key;                     /* column whose text is the record key, or -1 */
    /* PRIMARY KEY: of each key the newest row is there, and a delete takes it away. 0 = none: rows
     * are only ever added. In the order of the key, which is that of the record's */
    uint32_t n_primary_key;
    const uint32_t *primary_key;
    int64_t lateness_us;
    int64_t idle_timeout_us;         /* 0 = never idle */
    /* event time further than this after the clock is refused; 0 = any */
    int64_t future_us_max;
    /* REL_VIEW, REL_QUERY */
    const struct view *view;
};

enum { VIEW_SOURCES_MAX = 32, VIEW_LEVELS_MAX = 32, VIEW_QUERIES_MAX = 32 };

/* Where the rows of a publication go. */
enum connector {
    CONNECTOR_NONE,    /* no publication */
    CONNECTOR_DISCARD, /* nowhere: they are counted */
};

enum {
    CATALOG_FUNCTIONS_MAX = 1000,       /* made by CREATE FUNCTION, replaced ones included */
    FUNCTION_NAME_OVERLOADS_MAX = 64,   /* of one name, each number of arguments counted */
    FUNCTION_SQL_BYTES_MAX = 64 << 10,
    FUNCTION_NAME_BYTES_MAX = 63,
};
enum { FUNCTION_DIGEST_BYTES = 32 };
enum function_language { FUNCTION_SQL, FUNCTION_C };

/* What CREATE FUNCTION made. A definition that was replaced stays for as long as a view is bound
 * with it: a relation sees those that were current when it was made. */
struct user_function {
    struct str name;
    struct str signature;               /* "f(integer, text)": what tells it from others */
    uint32_t number;                    /* of those of relations */
    uint32_t until;                     /* the number of what replaced it; UINT32_MAX: is current */
    struct str sql;                     /* the CREATE text */
    enum dialect dialect;               /* of the text */
    enum function_language language;
    bool replace;                       /* the text says OR REPLACE */
    bool strict;                        /* NULL when an argument is */
    char volatility;                    /* 'i', 's', 'v', as it was declared */
    uint32_t n_args, n_defaults;        /* the last arguments may be left out */
    const struct str *arg_names;        /* empty where it has none */
    const enum type *args;
    enum type result;
    /* FUNCTION_C: what is called, and the SHA-256 of the file */
    struct str file, symbol;
    uint8_t digest[FUNCTION_DIGEST_BYTES];
    /* n_defaults + 1: [k] takes n_args - k arguments */
    const struct function *overloads;
};

struct view {
    struct str sql;                  /* the defining CREATE text */
    const struct plan *plan;         /* immutable; belongs to the catalog version's memory */
    uint32_t n_sources;              /* 1..VIEW_SOURCES_MAX */
    /* the relations that it reads, each once, in the order of its plan's scans */
    const struct relation *const *sources;
    /* plain views that it reads, each once; they live as long as it does */
    uint32_t n_queries;
    const struct relation *queries[VIEW_QUERIES_MAX];
    /* REL_QUERY: the query as it was bound, before `plan` made it fit to run by itself: what stands
     * for the name in other queries */
    const struct plan_node *query;
    bool clocked;                    /* REL_QUERY: its rows depend on the clock */
    enum connector connector;        /* of a publication; else NONE */
    uint32_t level;                  /* one above the views that it reads; 0: it reads none */
    /* Sources whose rows can be late: those below windows over event times; a bit for each. */
    uint32_t windowed;
    /* By source: where its late rows go; NULL: they are only counted. */
    const struct topic *late[VIEW_SOURCES_MAX];
    bool emit_final;                 /* emit = 'final' (else 'changes') */
    /* Results of a window that ended this long before the watermark are forgotten; INT64_MAX =
     * never, or groups that are not over with a window. */
    int64_t retention_us;
    bool append_only;                /* no aggregate: rows are only ever added, and have no key */
    /* 0 without append_only: an aggregate without GROUP BY, one row */
    uint32_t n_key_columns;
    /* output columns that identify a row, in the order of the group keys */
    const uint32_t *key_columns;
    bool unique;                     /* ... and at most one row: else the same may come often */
};

struct catalog {
    uint64_t version;
    /* One above the greatest number ever applied: what shard 0 gives to the next topic and
     * relation. */
    uint32_t next_topic, next_relation;
    uint32_t n_topics, n_relations;
    const struct topic *const *topics;         /* sorted by name */
    const struct relation *const *relations;   /* sorted by name; includes raw topics and sys.* */
    /* that CREATE TYPE made, in no order */
    uint32_t n_types;
    enum type types[CATALOG_TYPES_MAX];
    uint32_t n_functions;                      /* in the order of their numbers */
    const struct user_function *const *functions;
    const struct security *security;           /* users, ACLs, quotas; never NULL */
    /* What Kafka's clients know the data directory by, made once; "" = not yet. */
    char cluster_id[CLUSTER_ID_BYTES + 1];
    /* private: reference count, memory */
    struct catalog_memory *memory;
};

/* Whether a view of any kind was made over the relation of this number. */
bool relation_reads(const struct relation *r, uint32_t number);
/* Whether `r` cannot be without `on`: it reads that, or the late rows of that view, which go with
 * it. */
bool relation_depends(const struct relation *r, const struct relation *on);
/* "table", "view", "materialized view" or "publication", and as DROP calls it. */
const char *relation_noun(const struct relation *r);
const char *relation_drop_word(const struct relation *r);
/* "discard", as the option `connector` has it. */
const char *connector_name(enum connector c);
/* Whether the view reads the relation of this number; the number of the source, or UINT32_MAX. */
uint32_t view_source(const struct view *v, uint32_t relation_number);
/* The source that the i-th late table of a view is of: the i-th whose rows can be late. */
uint32_t view_late_source(const struct view *v, uint32_t i);
/* Whether the topic has late rows of the view. */
bool view_has_late(const struct view *v, const struct topic *t);
/* The relation that the schemas of a registry are kept for. */
static inline uint32_t relation_schemas(const struct relation *r)
{
    return r->schemas_of != 0 ? r->schemas_of : r->number;
}
/* Columns that are not dropped. */
uint32_t relation_n_columns(const struct relation *r);
static inline bool relation_column_dropped(const struct relation *r, uint32_t i)
{
    return r->column_flags != NULL && (r->column_flags[i] & COLUMN_DROPPED) != 0;
}
static inline bool relation_column_added(const struct relation *r, uint32_t i)
{
    return r->column_flags != NULL && (r->column_flags[i] & COLUMN_ADDED) != 0;
}
/* "json", "csv" and so on, as the option `format` has it. */
const char *table_format_name(enum table_format f);
/* NULL when there is none. SQL names are matched exactly (the parser has folded case). */
const struct topic *catalog_topic(const struct catalog *c, struct str name);
const struct topic *catalog_topic_by_id(const struct catalog *c, const uint8_t id[16]);
const struct topic *catalog_topic_by_number(const struct catalog *c, uint32_t number);
const struct relation *catalog_relation(const struct catalog *c, struct str name);
/* Whether a relation of this number, or with UINT32_MAX a statement, sees the function. */
static inline bool function_seen(const struct user_function *f, uint32_t number)
{
    return f->number < number && number <= f->until;
}
/* "a integer, b text DEFAULT ...", as psql lists them; ptr is NULL when out of memory. */
struct str function_arguments(const struct user_function *f, struct arena *a);
/* The current function; NULL when there is none. */
const struct user_function *catalog_function(const struct catalog *c, struct str signature);
/* Whether the relation is a view that is bound with the function, in any of its definitions. */
bool catalog_function_used(const struct catalog *c, const struct relation *r, struct str signature);
/* The type that CREATE TYPE made; TYPE_UNKNOWN when there is none. */
enum type catalog_type(const struct catalog *c, struct str name);
const struct relation *catalog_relation_by_number(const struct catalog *c, uint32_t number);
/* "table", "view", "late", "raw" or "internal": what users are told about one of its topics. A
 * table may read a topic of another name: the topic is its table's all the same. */
const char *catalog_topic_kind_name(const struct catalog *c, const struct topic *t);
/* ERR_UNDEFINED_TABLE with the nearest name as hint. */
enum err catalog_no_relation(const struct catalog *c, struct str name, struct err_detail *why);

/* References: any thread. */
const struct catalog *catalog_ref(const struct catalog *c);
void catalog_unref(const struct catalog *c);

/* ---- changes (shard 0) ---- */

/* One durable change, as it stands in the catalog topic. Encoded as a JSON object so that people
 * can read the catalog topic with any Kafka consumer. */
struct catalog_change {
    enum catalog_verb {
        CHANGE_CREATE_TOPIC,    /* topic */
        CHANGE_DROP_TOPIC,      /* name; refused when a relation depends on it */
        /* topic: the one of this name and id, with other settings or more partitions. Late tables
         * of views over it get as many. */
        CHANGE_ALTER_TOPIC,
        CHANGE_ALTER_TABLE,     /* name, sql */
        CHANGE_CREATE_TABLE,    /* sql, and topic when it does not exist yet */
        CHANGE_CREATE_VIEW,     /* sql, changelog topic, late topics; a publication too */
        CHANGE_CREATE_QUERY,    /* sql: a plain view */
        /* name (+ its derived topics; the table's own topic too when the table made it) */
        CHANGE_DROP_RELATION,
        CHANGE_NUMBERS,         /* numbers below number and next_topic are taken: of a snapshot */
        CHANGE_SECURITY,        /* security: items set and removed, all or none; name is empty */
        CHANGE_CREATE_TYPE,     /* sql */
        CHANGE_DROP_TYPE,       /* name; refused when a relation uses it */
        CHANGE_CREATE_FUNCTION, /* name: the signature; sql; digest */
        CHANGE_DROP_FUNCTION,   /* name: the signature; refused when a view uses it */
        CHANGE_CLUSTER,         /* name: the cluster's id, of which there is none yet */
    } verb;
    struct str name;
    struct str sql;
    enum dialect dialect;       /* of sql */
    uint32_t number;            /* relation number */
    uint32_t next_topic;        /* CHANGE_NUMBERS */
    struct topic topic;         /* CREATE_*, ALTER_*: the (changelog) topic, if name.len > 0 */
    uint32_t n_late;            /* CREATE_VIEW: none, or one for each source that can be late */
    const struct topic *late;
    bool has_digest;            /* CREATE_FUNCTION, LANGUAGE c */
    uint8_t digest[FUNCTION_DIGEST_BYTES];
    uint32_t n_security;
    const struct security_item *security;
};

/* The empty catalog (version 0) with the sys.* relations. NULL when out of memory. */
const struct catalog *catalog_new(void);
/* A new version with the change applied; pure (no I/O). The old one is untouched. Errors have
 * PostgreSQL's codes. */
enum err catalog_apply(const struct catalog *c, const struct catalog_change *change,
                       const struct catalog **out, struct err_detail *why) MUST_CHECK;
/* The same, but `c` itself becomes the new version: nobody else may hold it, and its arrays are not
 * copied. After an error it is only good for catalog_unref. */
enum err catalog_extend(const struct catalog *c, const struct catalog_change *change,
                        struct err_detail *why) MUST_CHECK;
/* The changes that make a catalog like `c` out of catalog_new(), in an order in which they apply:
 * calls each(arg, change) until it fails. What a change points to belongs to `c`. */
enum err catalog_snapshot(const struct catalog *c,
                          enum err (*each)(void *arg, const struct catalog_change *change),
                          void *arg) MUST_CHECK;
enum err catalog_change_encode(const struct catalog_change *change, struct buf *out) MUST_CHECK;
enum err catalog_change_decode(struct str json, struct arena *a, struct catalog_change *out,
                               struct err_detail *why) MUST_CHECK;

#endif
