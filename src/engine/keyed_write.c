#include "engine/keyed_write.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "engine/keyed_head.h"
#include "engine/records.h"
#include "run/chain.h"

enum {
    WRITE_BYTES_MAX = 2 * INGEST_BYTES_MAX,
    WRITE_KEEP_BYTES = 64 << 10,
    ROW_TEXT_BYTES_MAX = 64 << 20,
    LATER_NS = 2 * 1000 * 1000,
    LATER_MAX = 15000, /* half a minute */
};

/* Rows of one partition, at most KEYED_ROWS_AT_ONCE: how they are, how they shall be. */
struct chunk {
    struct chunk *next;
    const struct batch *olds, *news; /* DELETE: olds; INSERT: news */
    const uint64_t *places; /* of the rows among the statement's, for RETURNING; or NULL */
};

/* What is done in one turn of the partition's shard: deletes before changes before inserts. */
struct piece {
    struct append_request append;
    struct keyed_write *write;
    struct piece *next;
    uint32_t n_rows;
    struct chunk *chunks[3], **tails[3]; /* by keyed_kind */
    uint64_t n_changed;
    struct records records;
    struct arena arena;
    struct shard_timer again;
    uint32_t n_later;
    struct shard *owner;
};

/* What RETURNING gives of one of the statement's rows. */
struct result {
    const struct batch *batch; /* in the piece's arena; NULL: the row is not written */
    uint32_t row;
};

struct keyed_write {
    struct shard *shard;
    const struct relation *table;
    enum keyed_kind kind;
    enum conflict conflict;
    struct arena programs;
    struct chain *update; /* ON CONFLICT DO UPDATE */
    struct returned *returned;
    struct result *results; /* one for each of the statement's rows, while it is committed */
    struct arena rows;    /* of the statement */
    struct arena piece;   /* of the batch in work */
    struct keyed_rows *seen, *seen_new; /* keys that the statement has been given, and makes */
    struct piece *pieces, **open; /* per partition: the piece that takes rows */
    uint32_t n_pieces;
    bool moves; /* an UPDATE that changes keys */
    uint64_t n_rows, n_changed;
    bool asking; /* nothing is written yet */
    uint32_t n_pending;
    enum err err;
    struct err_detail why;
    void (*done)(void *arg, enum err e, const struct err_detail *why);
    void *arg;
};

/* ---- making ---- */

static enum err start(struct keyed_write *w)
{
    uint64_t seed = w->shard->engine->hash_seed;
    w->open = arena_zalloc(&w->rows, w->table->topic->n_partitions, sizeof(struct piece *));
    if (w->open == NULL)
        return ERR_NO_MEMORY;
    TRY(keyed_rows_new(w->table, WRITE_BYTES_MAX, seed, &w->seen));
    return w->kind == KEYED_UPDATE ? keyed_rows_new(w->table, WRITE_BYTES_MAX, seed, &w->seen_new)
                                   : ERR_OK;
}

static void forget(struct keyed_write *w)
{
    for (struct piece *p = w->pieces; p != NULL; p = p->next) {
        records_deinit(&p->records);
        arena_deinit(&p->arena);
    }
    keyed_rows_free(w->seen);
    keyed_rows_free(w->seen_new);
    w->seen = w->seen_new = NULL;
    w->pieces = NULL;
    w->open = NULL;
    w->n_pieces = 0;
    w->n_rows = 0;
    w->moves = false;
    w->results = NULL;
    arena_reset(&w->rows, WRITE_KEEP_BYTES);
}

enum err keyed_write_new(struct shard *s, const struct keyed_options *o, struct keyed_write **out,
                         struct err_detail *why)
{
    struct keyed_write *w = mem_zalloc(1, sizeof(*w));
    if (w == NULL)
        return ERR_NO_MEMORY;
    w->shard = s;
    w->table = o->table;
    w->kind = o->kind;
    w->conflict = o->conflict;
    w->returned = o->returned;
    arena_init(&w->programs, ROW_TEXT_BYTES_MAX);
    arena_init(&w->rows, WRITE_BYTES_MAX);
    arena_init(&w->piece, WRITE_BYTES_MAX);
    enum err e = ERR_OK;
    if (o->conflict_update != NULL)
        e = chain_compile(o->conflict_update, o->conflict_update->input, &w->programs, &w->update,
                          why);
    if (e != ERR_OK) {
        keyed_write_free(w);
        return e;
    }
    *out = w;
    return ERR_OK;
}

void keyed_write_free(struct keyed_write *w)
{
    if (w == NULL)
        return;
    CHECK(w->n_pending == 0);
    forget(w);
    arena_deinit(&w->programs);
    arena_deinit(&w->rows);
    arena_deinit(&w->piece);
    mem_free(w);
}

uint64_t keyed_write_rows(const struct keyed_write *w)
{
    return w->n_rows;
}

size_t keyed_write_bytes(const struct keyed_write *w)
{
    return arena_used(&w->rows);
}

uint64_t keyed_write_changed(const struct keyed_write *w)
{
    return w->n_changed;
}

/* ---- taking rows ---- */

static enum err check_nulls(const struct relation *t, const struct batch *b, uint32_t *bad_row,
                            struct err_detail *why)
{
    for (uint32_t i = 0; i < b->n_rows; i++)
        for (uint32_t c = 0; c < t->n_columns; c++) {
            if (!t->columns[c].not_null || !column_is_null(&b->columns[c], i))
                continue;
            *bad_row = i;
            return err_set(why, ERR_NULL_VIOLATION,
                           "null value in column \"%.*s\" of relation \"%.*s\" violates not-null "
                           "constraint",
                           STR_ARG(t->columns[c].name), STR_ARG(t->name));
        }
    return ERR_OK;
}

static enum err duplicate(const struct relation *t, const struct batch *b, uint32_t row,
                          struct err_detail *why)
{
    struct buf names, values;
    buf_init(&names, ERR_HINT_MAX);
    buf_init(&values, ERR_TEXT_MAX);
    for (uint32_t i = 0; i < t->n_primary_key; i++) {
        struct value v = column_get(&b->columns[t->primary_key[i]], row);
        buf_put_str(&names, i > 0 ? STR(", ") : STR(""));
        buf_put_str(&names, t->columns[t->primary_key[i]].name);
        buf_put_str(&values, i > 0 ? STR(", ") : STR(""));
        value_print(&v, &values);
    }
    err_set(why, ERR_UNIQUE_VIOLATION,
            "duplicate key value violates unique constraint \"%.*s_pkey\"", STR_ARG(t->name));
    if (!names.failed && !values.failed)
        err_hint(why, "Key (%.*s)=(%.*s) already exists.", STR_ARG(buf_str(&names)),
                 STR_ARG(buf_str(&values)));
    buf_deinit(&names);
    buf_deinit(&values);
    return ERR_UNIQUE_VIOLATION;
}

/* The columns [from, from + n) of a batch. */
static struct batch part_of(const struct batch *b, uint32_t from, uint32_t n)
{
    return (struct batch){.n_rows = b->n_rows, .n_columns = n, .columns = b->columns + from};
}

static struct piece *piece_for(struct keyed_write *w, uint32_t partition, uint32_t n)
{
    struct piece *p = w->open[partition];
    if (p != NULL && p->n_rows + n <= KEYED_PIECE_ROWS)
        return p;
    p = w->n_pieces == KEYED_PIECES_MAX ? NULL : arena_zalloc(&w->rows, 1, sizeof(*p));
    if (p == NULL)
        return NULL;
    for (int k = 0; k < 3; k++)
        p->tails[k] = &p->chunks[k];
    p->write = w;
    p->append.partition = partition;
    records_init(&p->records);
    p->records.bytes.max = INGEST_BYTES_MAX;
    arena_init(&p->arena, WRITE_BYTES_MAX);
    p->next = w->pieces;
    w->pieces = p;
    w->n_pieces++;
    w->open[partition] = p;
    return p;
}

/* The partition of each row's key. */
static enum err places(const struct keyed_write *w, const struct batch *b, uint32_t *out)
{
    uint32_t n = w->table->topic->n_partitions;
    struct buf key;
    buf_init(&key, ROW_TEXT_BYTES_MAX);
    for (uint32_t i = 0; i < b->n_rows; i++) {
        out[i] = 0;
        if (n == 1)
            continue;
        buf_clear(&key);
        keyed_key_write(w->table, b->columns, i, &key);
        out[i] = (murmur2(key.len == 0 ? "" : key.ptr, key.len) & 0x7fffffff) % n;
    }
    bool failed = key.failed;
    buf_deinit(&key);
    return failed ? ERR_NO_MEMORY : ERR_OK;
}

static const struct batch *rows_of(struct keyed_write *w, const struct batch *b,
                                   const uint32_t *rows, uint32_t n)
{
    struct batch *some = b == NULL ? NULL : batch_gather(b, rows, n, &w->piece);
    return some == NULL ? NULL : batch_copy(some, &w->rows);
}

/* Where rows of the batch in work are among the statement's. */
static enum err places_of(struct keyed_write *w, const uint32_t *rows, uint32_t n,
                          const uint64_t **out)
{
    uint64_t *places = arena_alloc(&w->rows, n * sizeof(*places));
    if (places == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        places[i] = w->n_rows + rows[i];
    *out = places;
    return ERR_OK;
}

/* Rows rows[0..n) of one partition as a chunk. */
static enum err chunk_add(struct keyed_write *w, enum keyed_kind kind, uint32_t partition,
                          const struct batch *olds, const struct batch *news, const uint32_t *rows,
                          uint32_t n)
{
    struct piece *p = piece_for(w, partition, n);
    struct chunk *c = p == NULL ? NULL : arena_zalloc(&w->rows, 1, sizeof(*c));
    if (c == NULL)
        return ERR_NO_MEMORY;
    c->olds = rows_of(w, olds, rows, n);
    c->news = rows_of(w, news, rows, n);
    if ((olds != NULL && c->olds == NULL) || (news != NULL && c->news == NULL))
        return ERR_NO_MEMORY;
    if (w->returned != NULL)
        TRY(places_of(w, rows, n, &c->places));
    *p->tails[kind] = c;
    p->tails[kind] = &c->next;
    p->n_rows += n;
    return ERR_OK;
}

/* Rows with keep[i], to the partition of their key, which `olds` has, or else `news`. */
static enum err spread(struct keyed_write *w, enum keyed_kind kind, const struct batch *olds,
                       const struct batch *news, const bool *keep)
{
    const struct batch *keys = olds != NULL ? olds : news;
    uint32_t n = keys->n_rows, parts = w->table->topic->n_partitions;
    uint32_t *place = arena_alloc(&w->piece, (n + 1) * sizeof(*place));
    uint32_t *rows = arena_alloc(&w->piece, (n + 1) * sizeof(*rows));
    bool *used = arena_zalloc(&w->piece, parts, sizeof(*used));
    if (place == NULL || rows == NULL || used == NULL)
        return ERR_NO_MEMORY;
    TRY(places(w, keys, place));
    for (uint32_t i = 0; i < n; i++)
        used[place[i]] |= keep[i];
    for (uint32_t p = 0; p < parts; p++) {
        uint32_t k = 0;
        for (uint32_t i = 0; used[p] && i < n; i++)
            if (keep[i] && place[i] == p)
                rows[k++] = i;
        for (uint32_t at = 0; at < k; at += KEYED_ROWS_AT_ONCE)
            TRY(chunk_add(w, kind, p, olds, news, rows + at,
                          k - at < KEYED_ROWS_AT_ONCE ? k - at : KEYED_ROWS_AT_ONCE));
    }
    return ERR_OK;
}

static enum err add_inserts(struct keyed_write *w, const struct batch *news, uint32_t *bad_row,
                            struct err_detail *why)
{
    bool *fresh = arena_alloc(&w->piece, (news->n_rows + 1) * sizeof(*fresh));
    if (fresh == NULL)
        return ERR_NO_MEMORY;
    TRY(check_nulls(w->table, news, bad_row, why));
    TRY(keyed_rows_add(w->seen, news, &w->piece, fresh));
    for (uint32_t i = 0; i < news->n_rows && w->conflict != CONFLICT_NOTHING; i++) {
        if (fresh[i])
            continue;
        *bad_row = i;
        if (w->conflict == CONFLICT_ERROR)
            return duplicate(w->table, news, i, why);
        err_set(why, ERR_CARDINALITY,
                "ON CONFLICT DO UPDATE command cannot affect row a second time");
        err_hint(why, "Ensure that no rows proposed for insertion within the same command have "
                      "duplicate constrained values.");
        return ERR_CARDINALITY;
    }
    return spread(w, KEYED_INSERT, NULL, news, fresh);
}

static bool same_key(const struct relation *t, const struct batch *x, const struct batch *y,
                     uint32_t row)
{
    for (uint32_t i = 0; i < t->n_primary_key; i++) {
        struct value v = column_get(&x->columns[t->primary_key[i]], row);
        struct value u = column_get(&y->columns[t->primary_key[i]], row);
        if (value_compare(&v, &u) != 0)
            return false;
    }
    return true;
}

/* A row that gets another key is deleted, and inserted under that. */
static enum err add_updates(struct keyed_write *w, const struct batch *both, uint32_t *bad_row,
                            struct err_detail *why)
{
    uint32_t n = w->table->n_columns, rows = both->n_rows;
    struct batch olds = part_of(both, 0, n), news = part_of(both, n, n);
    bool *stays = arena_alloc(&w->piece, (rows + 1) * sizeof(bool));
    bool *moves = arena_alloc(&w->piece, (rows + 1) * sizeof(bool));
    bool *fresh = arena_alloc(&w->piece, (rows + 1) * sizeof(bool));
    uint32_t *list = arena_alloc(&w->piece, (rows + 1) * sizeof(*list)), k = 0;
    if (stays == NULL || moves == NULL || fresh == NULL || list == NULL)
        return ERR_NO_MEMORY;
    TRY(check_nulls(w->table, &news, bad_row, why));
    TRY(keyed_rows_add(w->seen, &olds, &w->piece, fresh));
    for (uint32_t i = 0; i < rows; i++) {
        stays[i] = fresh[i] && same_key(w->table, &olds, &news, i);
        moves[i] = fresh[i] && !stays[i];
        w->moves |= moves[i];
        if (fresh[i])
            list[k++] = i;
    }
    struct batch *made = batch_gather(&news, list, k, &w->piece);
    if (made == NULL)
        return ERR_NO_MEMORY;
    TRY(keyed_rows_add(w->seen_new, made, &w->piece, fresh));
    for (uint32_t i = 0; i < k; i++) {
        if (fresh[i])
            continue;
        *bad_row = list[i];
        return duplicate(w->table, made, i, why);
    }
    TRY(spread(w, KEYED_UPDATE, &olds, &news, stays));
    TRY(spread(w, KEYED_DELETE, &olds, NULL, moves));
    return spread(w, KEYED_INSERT, NULL, &news, moves);
}

static enum err add_deletes(struct keyed_write *w, const struct batch *olds)
{
    bool *fresh = arena_alloc(&w->piece, (olds->n_rows + 1) * sizeof(*fresh));
    if (fresh == NULL)
        return ERR_NO_MEMORY;
    TRY(keyed_rows_add(w->seen, olds, &w->piece, fresh));
    return spread(w, KEYED_DELETE, olds, NULL, fresh);
}

enum err keyed_write_add(struct keyed_write *w, const struct batch *rows, uint32_t *bad_row,
                         struct err_detail *why)
{
    enum err e = w->seen == NULL ? start(w) : ERR_OK;
    *bad_row = 0;
    arena_reset(&w->piece, WRITE_KEEP_BYTES);
    if (e == ERR_OK && w->kind == KEYED_INSERT)
        e = add_inserts(w, rows, bad_row, why);
    else if (e == ERR_OK && w->kind == KEYED_UPDATE)
        e = add_updates(w, rows, bad_row, why);
    else if (e == ERR_OK)
        e = add_deletes(w, rows);
    w->n_rows += rows->n_rows;
    bool full = w->n_rows > INGEST_ROWS_MAX || w->n_pieces == KEYED_PIECES_MAX ||
                arena_used(&w->rows) > WRITE_BYTES_MAX - WRITE_BYTES_MAX / 8;
    if ((e == ERR_NO_MEMORY || e == ERR_LIMIT || e == ERR_OK) && full)
        return err_set(why, ERR_TOO_LARGE,
                       "more than %d rows or %d bytes at once: do it in several statements",
                       INGEST_ROWS_MAX, INGEST_BYTES_MAX);
    if (e == ERR_OK && w->moves && w->n_rows > KEYED_PIECE_ROWS)
        return err_set(why, ERR_TOO_LARGE,
                       "more than %d rows get another PRIMARY KEY at once: do it in several "
                       "statements",
                       KEYED_PIECE_ROWS);
    return e;
}

/* ---- on the partition's shard ---- */

/* The turn in which a piece is done. */
struct turn {
    struct piece *piece;
    const struct keyed_write *write;
    struct keyed_rows *now; /* the rows as they are, of the keys in question */
    struct arena *arena;
    int64_t now_us;
    struct buf key, row;
    int64_t row_bytes_max;
    struct err_detail *why;
};

static enum err record_put(struct turn *t, const struct batch *b, uint32_t row, bool gone)
{
    const struct relation *rel = t->write->table;
    buf_clear(&t->key);
    buf_clear(&t->row);
    keyed_key_write(rel, b->columns, row, &t->key);
    if (!gone)
        row_json(rel->columns, b->columns, rel->n_columns, row, &t->row);
    if (t->key.failed || t->row.failed)
        return ERR_NO_MEMORY;
    if (t->key.len + t->row.len + 128 > (size_t)t->row_bytes_max)
        return err_set(t->why, ERR_TOO_LARGE, "a row has %zu bytes, the topic takes %lld",
                       t->key.len + t->row.len, (long long)t->row_bytes_max);
    records_add(&t->piece->records, (struct str){t->key.len == 0 ? "" : t->key.ptr, t->key.len},
                gone ? (struct str){0} : buf_str(&t->row), t->now_us / 1000, NULL, 0);
    t->piece->n_changed += !gone || t->write->kind == KEYED_DELETE; /* a row that moves is one */
    return t->piece->records.bytes.failed
               ? err_set(t->why, ERR_TOO_LARGE, "more than %d bytes at once: do it in several "
                                                "statements", INGEST_BYTES_MAX)
               : ERR_OK;
}

/* The rows of a chunk must still be what the statement has seen. */
static enum err check_olds(struct turn *t, const struct batch *olds)
{
    struct batch *now;
    bool *found = arena_alloc(t->arena, (olds->n_rows + 1) * sizeof(*found));
    bool *same = arena_alloc(t->arena, (olds->n_rows + 1) * sizeof(*same));
    if (found == NULL || same == NULL)
        return ERR_NO_MEMORY;
    TRY(keyed_rows_find(t->now, olds, t->arena, found, &now));
    TRY(keyed_rows_same(t->now, olds, now, t->arena, same));
    for (uint32_t i = 0; i < olds->n_rows; i++)
        if (!found[i] || !same[i])
            return ERR_SERIALIZATION;
    return ERR_OK;
}

/* What RETURNING gives of rows[0..n) of a batch, which are `of[0..n)` of the chunk's. */
static enum err give(struct turn *t, const struct chunk *c, const struct batch *b,
                     const uint32_t *rows, const uint32_t *of, uint32_t n)
{
    const struct keyed_write *w = t->write;
    struct batch *results;
    if (w->returned == NULL || n == 0)
        return ERR_OK;
    const struct batch *some = batch_gather(b, rows, n, t->arena);
    if (some == NULL)
        return ERR_NO_MEMORY;
    TRY(returned_eval(w->returned, some, t->now_us, t->arena, &results, t->why));
    for (uint32_t i = 0; i < n; i++)
        w->results[c->places[of[i]]] = (struct result){results, i};
    return ERR_OK;
}

static enum err give_all(struct turn *t, const struct chunk *c, const struct batch *b)
{
    uint32_t *rows = arena_alloc(t->arena, (b->n_rows + 1) * sizeof(*rows));
    if (rows == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < b->n_rows; i++)
        rows[i] = i;
    return give(t, c, b, rows, rows, b->n_rows);
}

static enum err do_deletes(struct turn *t, const struct chunk *c)
{
    enum row_op *ops = arena_alloc(t->arena, (c->olds->n_rows + 1) * sizeof(*ops));
    if (ops == NULL)
        return ERR_NO_MEMORY;
    TRY(check_olds(t, c->olds));
    if (t->write->kind == KEYED_DELETE) /* not of a row that gets another key */
        TRY(give_all(t, c, c->olds));
    for (uint32_t i = 0; i < c->olds->n_rows; i++) {
        ops[i] = ROW_DELETE;
        TRY(record_put(t, c->olds, i, true));
    }
    return keyed_rows_take(t->now, c->olds, ops, t->arena, NULL);
}

static enum err do_updates(struct turn *t, const struct chunk *c)
{
    TRY(check_olds(t, c->olds));
    for (uint32_t i = 0; i < c->news->n_rows; i++)
        TRY(record_put(t, c->news, i, false));
    return give_all(t, c, c->news);
}

/* Rows that are there (with `rows` of the chunk's): ON CONFLICT DO UPDATE makes others of them. */
static enum err update_conflicts(struct turn *t, const struct chunk *c, const struct batch *now,
                                 const uint32_t *rows, uint32_t n)
{
    const struct relation *rel = t->write->table;
    uint32_t n_columns = rel->n_columns, bad, n_made = 0;
    const struct batch *old = batch_gather(now, rows, n, t->arena);
    const struct batch *excluded = batch_gather(c->news, rows, n, t->arena);
    struct column *columns = arena_alloc(t->arena, 2 * (size_t)n_columns * sizeof(*columns));
    uint32_t *list = arena_alloc(t->arena, 2 * (n + 1) * sizeof(*list)), *of = list + n;
    struct chain_result r;
    if (old == NULL || excluded == NULL || columns == NULL || list == NULL)
        return ERR_NO_MEMORY;
    memcpy(columns, old->columns, n_columns * sizeof(*columns));
    memcpy(columns + n_columns, excluded->columns, n_columns * sizeof(*columns));
    struct batch both = {.n_rows = n, .n_columns = 2 * n_columns, .columns = columns};
    TRY(chain_run(t->write->update, &both, NULL, t->now_us, t->arena, &r));
    if (r.n_errors > 0)
        return err_set(t->why, r.errors[0].err, "%s", r.errors[0].text);
    const struct column *where = &r.batch->columns[n_columns];
    struct batch made = part_of(r.batch, 0, n_columns);
    for (uint32_t i = 0; i < made.n_rows; i++) {
        if (column_is_null(where, i) || column_bool(where)[i] == 0)
            continue;
        struct batch *one = batch_gather(&made, &i, 1, t->arena);
        if (one == NULL)
            return ERR_NO_MEMORY;
        TRY(check_nulls(rel, one, &bad, t->why));
        TRY(record_put(t, one, 0, false));
        list[n_made] = i;
        of[n_made++] = rows[i];
    }
    return give(t, c, &made, list, of, n_made);
}

static enum err do_inserts(struct turn *t, const struct chunk *c)
{
    const struct keyed_write *w = t->write;
    uint32_t n = c->news->n_rows, k = 0, n_fresh = 0;
    struct batch *now;
    bool *found = arena_alloc(t->arena, (n + 1) * sizeof(*found));
    uint32_t *there = arena_alloc(t->arena, (n + 1) * sizeof(*there));
    uint32_t *fresh = arena_alloc(t->arena, (n + 1) * sizeof(*fresh));
    if (found == NULL || there == NULL || fresh == NULL)
        return ERR_NO_MEMORY;
    TRY(keyed_rows_find(t->now, c->news, t->arena, found, &now));
    for (uint32_t i = 0; i < n; i++) {
        if (found[i] && w->conflict == CONFLICT_ERROR)
            return duplicate(w->table, c->news, i, t->why);
        if (found[i]) {
            there[k++] = i;
            continue;
        }
        TRY(record_put(t, c->news, i, false));
        fresh[n_fresh++] = i;
    }
    TRY(give(t, c, c->news, fresh, fresh, n_fresh));
    return k == 0 || w->conflict == CONFLICT_NOTHING
               ? ERR_OK
               : update_conflicts(t, c, now, there, k);
}

static enum err do_chunks(struct turn *t)
{
    const struct piece *p = t->piece;
    for (const struct chunk *c = p->chunks[KEYED_DELETE]; c != NULL; c = c->next)
        TRY(do_deletes(t, c));
    for (const struct chunk *c = p->chunks[KEYED_UPDATE]; c != NULL; c = c->next)
        TRY(do_updates(t, c));
    for (const struct chunk *c = p->chunks[KEYED_INSERT]; c != NULL; c = c->next)
        TRY(do_inserts(t, c));
    return ERR_OK;
}

/* The keys of all chunks. */
static enum err piece_keys(struct piece *p, const struct batch *const **out, uint32_t *n)
{
    *n = 0;
    for (int k = 0; k < 3; k++)
        for (const struct chunk *c = p->chunks[k]; c != NULL; c = c->next)
            ++*n;
    const struct batch **keys = arena_alloc(&p->arena, (*n + 1) * sizeof(struct batch *));
    if (keys == NULL)
        return ERR_NO_MEMORY;
    uint32_t at = 0;
    for (int k = 0; k < 3; k++)
        for (const struct chunk *c = p->chunks[k]; c != NULL; c = c->next)
            keys[at++] = c->olds != NULL ? c->olds : c->news;
    *out = keys;
    return ERR_OK;
}

static enum err piece_do(struct part *part, struct piece *p, bool *later)
{
    const struct batch *const *keys;
    uint32_t n;
    struct turn t = {
        .piece = p,
        .write = p->write,
        .arena = &p->arena,
        .now_us = part->shard->wall_us,
        .row_bytes_max =
            topic_config_get(&p->write->table->topic->config, TOPIC_MAX_MESSAGE_BYTES),
        .why = &p->append.why};
    arena_reset(&p->arena, WRITE_KEEP_BYTES);
    records_clear(&p->records, WRITE_KEEP_BYTES);
    p->n_changed = 0;
    TRY(piece_keys(p, &keys, &n));
    TRY(keyed_head(part, p->write->table, keys, n, &p->arena, &t.now, later, t.why));
    if (*later)
        return ERR_OK;
    buf_init(&t.key, ROW_TEXT_BYTES_MAX);
    buf_init(&t.row, ROW_TEXT_BYTES_MAX);
    enum err e = do_chunks(&t);
    if (e == ERR_OK)
        e = records_finish(&p->records, t.why);
    buf_deinit(&t.key);
    buf_deinit(&t.row);
    keyed_rows_free(t.now);
    shard_worked(part->shard, p->n_rows);
    return e;
}

static void again_fire(struct shard_timer *t)
{
    struct piece *p = CONTAINER_OF(t, struct piece, again);
    append_again(p->owner, &p->append);
}

static enum err wait_again(struct part *part, struct piece *p)
{
    if (p->n_later++ == LATER_MAX)
        return err_set(&p->append.why, ERR_BUSY,
                       "table \"%.*s\" has not taken in what came before: a transaction is open, "
                       "or it is far behind; try again",
                       STR_ARG(p->write->table->name));
    p->owner = part->shard;
    p->again.fire = again_fire;
    return shard_timer_set(part->shard, &p->again, part->shard->mono_ns + LATER_NS);
}

static int piece_admit(struct part *part, struct append_request *r)
{
    struct piece *p = CONTAINER_OF(r, struct piece, append);
    bool later = false;
    r->err = piece_do(part, p, &later);
    if (r->err == ERR_OK && later) {
        r->err = wait_again(part, p);
        return r->err == ERR_OK ? APPEND_LATER : APPEND_NOT;
    }
    if (r->err != ERR_OK || p->write->asking || p->records.bytes.len == 0)
        return APPEND_NOT;
    r->batches = p->records.bytes.ptr;
    r->n_bytes = p->records.bytes.len;
    r->n_records = p->records.n_records;
    return APPEND_NOW;
}

/* ---- committing ---- */

static void send_all(struct keyed_write *w);

/* Takes the results of RETURNING out of the pieces, in the order of the statement's rows. */
static enum err results_take(struct keyed_write *w)
{
    if (w->returned == NULL)
        return ERR_OK;
    returned_clear(w->returned, w->n_rows);
    for (uint64_t i = 0; w->results != NULL && i < w->n_rows; i++) {
        if (w->results[i].batch == NULL)
            continue;
        if (returned_add(w->returned, w->results[i].batch, w->results[i].row) == ERR_OK)
            continue;
        err_set(&w->why, ERR_TOO_LARGE,
                "the rows are written, but RETURNING gives more than %d bytes", INGEST_BYTES_MAX);
        err_hint(&w->why, "Do not repeat the statement: ask for the rows with a SELECT.");
        return ERR_TOO_LARGE;
    }
    return ERR_OK;
}

static void commit_finish(struct keyed_write *w)
{
    if (w->asking && w->err == ERR_OK) {
        w->asking = false;
        send_all(w);
        return;
    }
    for (const struct piece *p = w->pieces; p != NULL; p = p->next)
        w->n_changed += p->append.err == ERR_OK ? p->n_changed : 0;
    if (w->err == ERR_SERIALIZATION && !w->asking && w->n_changed > 0) {
        err_set(&w->why, ERR_LIMIT,
                "rows were changed by others while the statement was written: %llu rows are done, "
                "the others are not",
                (unsigned long long)w->n_changed);
        w->err = ERR_LIMIT;
    }
    if (w->err == ERR_OK)
        w->err = results_take(w);
    forget(w);
    w->done(w->arg, w->err, &w->why);
}

static void piece_done(struct append_request *r)
{
    struct piece *p = CONTAINER_OF(r, struct piece, append);
    struct keyed_write *w = p->write;
    if (r->err != ERR_OK && w->err == ERR_OK) {
        w->err = r->err;
        w->why = r->why;
    }
    if (--w->n_pending == 0)
        commit_finish(w);
}

/* Room for what the pieces' shards give of each row. */
static enum err results_begin(struct keyed_write *w)
{
    if (w->returned == NULL || w->n_rows == 0)
        return ERR_OK;
    if (w->results == NULL)
        w->results = arena_alloc(&w->rows, w->n_rows * sizeof(*w->results));
    if (w->results == NULL)
        return ERR_NO_MEMORY;
    memset(w->results, 0, w->n_rows * sizeof(*w->results));
    return ERR_OK;
}

static void send_all(struct keyed_write *w)
{
    w->n_pending = 1; /* held until all are sent */
    w->err = results_begin(w);
    for (struct piece *p = w->pieces; w->err == ERR_OK && p != NULL; p = p->next) {
        p->append = (struct append_request){.topic = w->table->topic,
                                            .partition = p->append.partition,
                                            .want_durable = true,
                                            .done = piece_done};
        w->n_pending++;
        shard_append_when(w->shard, &p->append, piece_admit);
    }
    if (--w->n_pending == 0)
        commit_finish(w);
}

void keyed_write_commit(struct keyed_write *w,
                        void (*done)(void *arg, enum err e, const struct err_detail *why),
                        void *arg)
{
    CHECK(w->n_pending == 0);
    w->done = done;
    w->arg = arg;
    w->err = ERR_OK;
    w->why = (struct err_detail){0};
    w->n_changed = 0;
    w->asking = w->n_pieces > 1;
    send_all(w);
}
