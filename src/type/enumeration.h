/* Enum types: what CREATE TYPE ... AS ENUM defines, known to the whole process by a number.
 *
 * A value is a struct str: the label's place in the declaration, four bytes big-endian, then the
 * label. Its bytes therefore order, hash and print it without the definition; only reading a label
 * needs that.
 *
 * Definitions are kept for the life of the process, equal ones once: values, plans and catalog
 * versions refer to them without holding them. Any thread. */
#ifndef TIDEMILL_TYPE_ENUMERATION_H
#define TIDEMILL_TYPE_ENUMERATION_H

#include "type/type.h"

enum {
    ENUMERATIONS_MAX = 16384,        /* different ones in the life of a process */
    ENUM_LABELS_MAX = 1000,
    ENUM_LABEL_BYTES_MAX = 63,       /* PostgreSQL's */
    ENUM_PLACE_BYTES = 4,
};

/* The type of this name and these labels (copied), of which there is one for equal arguments.
 * ERR_LIMIT, ERR_NO_MEMORY. */
enum err enumeration_type(struct str name, const struct str *labels, uint32_t n, enum type *out,
                          struct err_detail *why) MUST_CHECK;
/* The table's row of an enum type or an array of one. Lives as long as the process. */
const struct type_info *enumeration_type_info(enum type t);
uint32_t enumeration_n_labels(enum type t);
/* The value of label i < n, as all of its values are. */
struct str enumeration_value(enum type t, uint32_t i);
/* A label as a value. ERR_INVALID_TEXT. */
enum err enumeration_parse(enum type t, struct str label, struct str *out,
                           struct err_detail *why) MUST_CHECK;
static inline struct str enumeration_label(struct str value)
{
    return (struct str){value.ptr + ENUM_PLACE_BYTES, value.len - ENUM_PLACE_BYTES};
}

#endif
