/* Definitions of enum types, in one table of the process that only grows. */
#include "type/enumeration.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"
#include "type/text_util.h"

#include <stdatomic.h>
#include <stdio.h>

enum { OID_FIRST = 0x30000000, NAME_BYTES_MAX = 63 };

/* Immutable; one block of memory: names and values are behind it. */
struct enumeration {
    struct type_info info, array_info;
    char name[NAME_BYTES_MAX + 1];
    char array_name[NAME_BYTES_MAX + 3];
    uint32_t n;
    struct str values[];
};

/* Filled from 0 on without gaps. */
static _Atomic(struct enumeration *) table[ENUMERATIONS_MAX];

static struct enumeration *definition(enum type t)
{
    uint32_t n = type_enum_number(t);
    CHECK(n > 0 && n <= ENUMERATIONS_MAX);
    struct enumeration *e = atomic_load(&table[n - 1]);
    CHECK(e != NULL);
    return e;
}

static bool equal(const struct enumeration *e, struct str name, const struct str *labels,
                  uint32_t n)
{
    if (e->n != n || !str_eq(str_of(e->name), name))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!str_eq(enumeration_label(e->values[i]), labels[i]))
            return false;
    return true;
}

static struct enumeration *enumeration_new(struct str name, const struct str *labels, uint32_t n)
{
    size_t head = sizeof(struct enumeration) + n * sizeof(struct str), bytes = head;
    for (uint32_t i = 0; i < n; i++)
        bytes += ENUM_PLACE_BYTES + labels[i].len;
    struct enumeration *e = mem_zalloc(1, bytes);
    if (e == NULL)
        return NULL;
    char *at = (char *)e + head;
    e->n = n;
    for (uint32_t i = 0; i < n; i++) {
        e->values[i] = (struct str){at, ENUM_PLACE_BYTES + labels[i].len};
        be32_put(at, i);
        if (labels[i].len > 0)
            memcpy(at + ENUM_PLACE_BYTES, labels[i].ptr, labels[i].len);
        at += e->values[i].len;
    }
    snprintf(e->name, sizeof e->name, "%.*s", STR_ARG(name));
    snprintf(e->array_name, sizeof e->array_name, "%s[]", e->name);
    return e;
}

static void name_types(struct enumeration *e, uint32_t slot)
{
    e->info = (struct type_info){.name = e->name, .short_name = e->name,
                                 .oid = OID_FIRST + 2 * slot, .typlen = 4,
                                 .width = sizeof(struct str), .by_ref = true};
    e->array_info = (struct type_info){.name = e->array_name, .short_name = e->array_name,
                                       .oid = OID_FIRST + 2 * slot + 1, .typlen = -1,
                                       .width = sizeof(struct str), .by_ref = true};
}

enum err enumeration_type(struct str name, const struct str *labels, uint32_t n, enum type *out,
                          struct err_detail *why)
{
    CHECK(name.len <= NAME_BYTES_MAX && n <= ENUM_LABELS_MAX);
    struct enumeration *made = NULL;
    for (uint32_t slot = 0; slot < ENUMERATIONS_MAX; slot++) {
        struct enumeration *e = atomic_load(&table[slot]);
        if (e == NULL) {
            if (made == NULL && (made = enumeration_new(name, labels, n)) == NULL)
                return ERR_NO_MEMORY;
            name_types(made, slot);
            if (atomic_compare_exchange_strong(&table[slot], &e, made)) {
                *out = type_enum(slot + 1);
                return ERR_OK;
            }
        }
        if (equal(e, name, labels, n)) {
            mem_free(made);
            *out = type_enum(slot + 1);
            return ERR_OK;
        }
    }
    mem_free(made);
    err_set(why, ERR_LIMIT, "more than %d different enum types were made", ENUMERATIONS_MAX);
    err_hint(why, "Those that were dropped count until the server is started again.");
    return ERR_LIMIT;
}

const struct type_info *enumeration_type_info(enum type t)
{
    const struct enumeration *e = definition(t);
    return type_is_array(t) ? &e->array_info : &e->info;
}

uint32_t enumeration_n_labels(enum type t)
{
    return definition(t)->n;
}

struct str enumeration_value(enum type t, uint32_t i)
{
    const struct enumeration *e = definition(t);
    CHECK(i < e->n);
    return e->values[i];
}

enum err enumeration_parse(enum type t, struct str label, struct str *out, struct err_detail *why)
{
    const struct enumeration *e = definition(t);
    for (uint32_t i = 0; i < e->n; i++) {
        if (str_eq(enumeration_label(e->values[i]), label)) {
            *out = e->values[i];
            return ERR_OK;
        }
    }
    return err_set(why, ERR_INVALID_TEXT, "invalid input value for enum %s: \"%.*s\"", e->name,
                   TEXT_ERR_ARG(label));
}
