/* How a table's records are written: the options of each format. */
#include "plan/plan_int.h"
#include "wire/avro.h"

const char *table_format_name(enum table_format f)
{
    static const char *const names[] = {[FORMAT_RAW] = "raw",
                                        [FORMAT_JSON] = "json",
                                        [FORMAT_JSON_LINES] = "json_lines",
                                        [FORMAT_CSV] = "csv",
                                        [FORMAT_AVRO] = "avro",
                                        [FORMAT_REGEX] = "regex",
                                        [FORMAT_DEBEZIUM_JSON] = "debezium_json"};
    return names[f];
}

/* Options of other formats than the table's are mistakes. */
static bool options_fit(struct binder *b, const struct relation *r, const struct option_value *v)
{
    static const struct {
        int option;
        const char *name;
        enum table_format format, or_format;
    } of[] = {
        {T_DELIMITER, "delimiter", FORMAT_CSV, FORMAT_CSV},
        {T_QUOTE, "quote", FORMAT_CSV, FORMAT_CSV},
        {T_NULL, "null", FORMAT_CSV, FORMAT_REGEX},
        {T_PATTERN, "pattern", FORMAT_REGEX, FORMAT_REGEX},
        {T_SCHEMA, "schema", FORMAT_AVRO, FORMAT_AVRO},
        {T_FRAMING, "framing", FORMAT_AVRO, FORMAT_AVRO},
        {T_SCHEMA_REGISTRY, "schema_registry", FORMAT_AVRO, FORMAT_AVRO},
    };
    for (size_t i = 0; i < ARRAY_LEN(of); i++) {
        if (!v[of[i].option].given || r->format == of[i].format || r->format == of[i].or_format)
            continue;
        bind_fail(b, v[of[i].option].position, ERR_INVALID_ARGUMENT,
                  "option \"%s\" is not for format '%s'", of[i].name,
                  table_format_name(r->format));
        bind_hint(b, "It goes with format = '%s'.", table_format_name(of[i].format));
        return false;
    }
    return true;
}

/* A single byte that can stand between or around fields. */
static bool csv_byte(struct binder *b, const char *name, const struct option_value *v, char *out)
{
    if (!v->given)
        return true;
    bool ok = v->text.len == 1 && v->text.ptr[0] != '\n' && v->text.ptr[0] != '\r' &&
              (unsigned char)v->text.ptr[0] < 0x80;
    if (!ok) {
        bind_fail(b, v->position, ERR_INVALID_ARGUMENT,
                  "%s must be a single one-byte character, and no line end", name);
        return false;
    }
    *out = v->text.ptr[0];
    return true;
}

static bool csv_format_options(struct binder *b, struct relation *r, const struct option_value *v)
{
    struct csv_options *o = &r->text.csv;
    *o = (struct csv_options){.delimiter = ',', .quote = '"', .null = STR("")};
    if (!csv_byte(b, "delimiter", &v[T_DELIMITER], &o->delimiter) ||
        !csv_byte(b, "quote", &v[T_QUOTE], &o->quote))
        return false;
    o->escape = o->quote;
    if (v[T_NULL].given)
        o->null = v[T_NULL].text;
    const char *clash = o->delimiter == o->quote ? "delimiter and quote must be different" : NULL;
    for (size_t i = 0; i < o->null.len; i++) {
        char c = o->null.ptr[i];
        if (c == o->delimiter || c == o->quote || c == '\n' || c == '\r')
            clash = "the text that stands for NULL has the delimiter, the quote or a line "
                    "end in it";
    }
    if (clash != NULL)
        bind_fail(b, v[v[T_NULL].given ? T_NULL : T_DELIMITER].position, ERR_INVALID_ARGUMENT,
                  "%s", clash);
    return clash == NULL;
}

static struct row_field *fields_of(struct binder *b, const struct relation *r)
{
    struct row_field *fields = bind_alloc(b, (size_t)r->n_columns + 1, sizeof *fields);
    for (uint32_t i = 0; fields != NULL && i < r->n_columns; i++)
        fields[i] = (struct row_field){
            .name = r->columns[i].name, .type = r->columns[i].type, .typmod = -1};
    return fields;
}

/* A decoder of the table tells whether pattern and columns go together. */
static bool pattern_fits(struct binder *b, const struct relation *r, int32_t position)
{
    const struct row_field *fields = fields_of(b, r);
    struct text_decoder *d = NULL;
    struct err_detail why = {0};
    if (fields == NULL)
        return false;
    enum err e = text_decoder_new(&r->text, fields, r->n_columns, &d, &why);
    text_decoder_free(d);
    if (e == ERR_OK)
        return true;
    bind_fail(b, position, e, "%s", err_text(e, &why));
    bind_hint(b, "Each column is a named group, and each named group a column: "
                 "pattern = '^(?<ip>\\S+) (?<path>\\S+)$'.");
    return false;
}

static bool regex_format_options(struct binder *b, struct relation *r,
                                 const struct option_value *v)
{
    r->text.kind = TEXT_REGEX;
    r->text.pattern = v[T_PATTERN].text;
    if (v[T_NULL].given)
        r->text.csv.null = v[T_NULL].text;
    if (v[T_PATTERN].given)
        return pattern_fits(b, r, v[T_PATTERN].position);
    bind_fail(b, v[T_FORMAT].position, ERR_INVALID_ARGUMENT, "format 'regex' needs a pattern");
    bind_hint(b, "WITH (format = 'regex', pattern = '^(?<ip>\\S+) (?<path>\\S+)$') for columns ip "
                 "and path.");
    return false;
}

static bool registry_ok(struct binder *b, const struct option_value *v)
{
    struct str url = v[T_SCHEMA_REGISTRY].text;
    bool http = (url.len > 7 && memcmp(url.ptr, "http://", 7) == 0) ||
                (url.len > 8 && memcmp(url.ptr, "https://", 8) == 0);
    bool plain = url.len < SCHEMA_URL_BYTES_MAX;
    for (size_t i = 0; i < url.len; i++)
        plain = plain && url.ptr[i] > ' ' && url.ptr[i] < 0x7f && url.ptr[i] != '?' &&
                url.ptr[i] != '#';
    bool userinfo = memchr(url.ptr, '@', url.len) != NULL;
    if (http && plain && !userinfo && (!v[T_FRAMING].given || v[T_FRAMING].number == 1))
        return true;
    if (http && plain && !userinfo) {
        bind_fail(b, v[T_FRAMING].position, ERR_INVALID_ARGUMENT,
                  "a registry's records have framing = 'confluent'");
        return false;
    }
    bind_fail(b, v[T_SCHEMA_REGISTRY].position, ERR_INVALID_ARGUMENT,
              "schema_registry must be a URL of less than %d characters", SCHEMA_URL_BYTES_MAX);
    bind_hint(b, userinfo ? "User and password are for TIDEMILL_SCHEMA_REGISTRY_AUTH, not for the "
                            "URL: docs/sql.md tells how."
                          : "Write schema_registry = 'http://127.0.0.1:8081'.");
    return false;
}

/* Schemas come with the records. One that is given says what to do where they have no field. */
static bool registry_options(struct binder *b, struct relation *r, const struct option_value *v,
                             const struct row_field *fields)
{
    struct avro_decoder *d = NULL;
    struct err_detail why = {0};
    r->registry = v[T_SCHEMA_REGISTRY].text;
    r->avro_framed = true;
    if (!registry_ok(b, v) || !v[T_SCHEMA].given)
        return b->err == ERR_OK;
    enum err e = avro_decoder_new_evolving(r->avro_schema, r->avro_schema, fields, r->n_columns,
                                           &d, &why);
    e = e == ERR_OK ? avro_decoder_limits(d, &why) : e;
    avro_decoder_free(d);
    if (e != ERR_OK)
        bind_fail(b, v[T_SCHEMA].position, e, "%s", err_text(e, &why));
    return e == ERR_OK;
}

static bool avro_format_options(struct binder *b, struct relation *r,
                                const struct option_value *v)
{
    const struct row_field *fields = fields_of(b, r);
    struct avro_decoder *d = NULL;
    struct err_detail why = {0};
    r->avro_schema = v[T_SCHEMA].text;
    r->avro_framed = v[T_FRAMING].given && v[T_FRAMING].number == 1;
    if (v[T_SCHEMA_REGISTRY].given)
        return fields != NULL && registry_options(b, r, v, fields);
    if (!v[T_SCHEMA].given) {
        bind_fail(b, v[T_FORMAT].position, ERR_INVALID_ARGUMENT, "format 'avro' needs a schema");
        bind_hint(b, "WITH (format = 'avro', schema = '{\"type\": \"record\", ...}'), or "
                     "schema_registry = 'http://127.0.0.1:8081'.");
    }
    if (fields == NULL || b->err != ERR_OK)
        return false;
    enum err e =
        avro_decoder_new(r->avro_schema, r->avro_framed, fields, r->n_columns, &d, &why);
    e = e == ERR_OK ? avro_decoder_limits(d, &why) : e;
    avro_decoder_free(d);
    if (e == ERR_OK)
        return true;
    bind_fail(b, v[T_SCHEMA].position, e, "%s", err_text(e, &why));
    bind_hint(b, "Each column is a field of the schema's record, of a type that it takes.");
    return false;
}

bool table_format_options(struct binder *b, struct relation *r, const struct option_value *v)
{
    if (!options_fit(b, r, v))
        return false;
    switch (r->format) {
    case FORMAT_CSV: return csv_format_options(b, r, v);
    case FORMAT_AVRO: return avro_format_options(b, r, v);
    case FORMAT_REGEX: return regex_format_options(b, r, v);
    case FORMAT_RAW:
    case FORMAT_JSON:
    case FORMAT_JSON_LINES:
    case FORMAT_DEBEZIUM_JSON: break;
    }
    return true;
}
