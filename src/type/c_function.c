#include "type/c_function.h"

#include "type/function_int.h"
#include "type/jsonb.h"

#include <tidemill/function.h>

_Static_assert(sizeof(struct tidemill_text) == sizeof(struct str) &&
                   offsetof(struct tidemill_text, len) == offsetof(struct str, len),
               "texts are handed over as they are");
_Static_assert(sizeof(struct tidemill_interval) == sizeof(struct interval) &&
                   offsetof(struct tidemill_interval, days) == offsetof(struct interval, days) &&
                   offsetof(struct tidemill_interval, months) == offsetof(struct interval, months),
               "intervals are handed over as they are");

struct server {
    struct kernel_context *k;
    struct column *out;
};

bool c_function_takes(enum type t)
{
    return t > TYPE_UNKNOWN && t < TYPE_ENUM && t != TYPE_NUMERIC;
}

static enum err check_abi(struct str file, const uint8_t digest[LIBRARY_DIGEST_BYTES],
                          struct err_detail *why)
{
    void *abi;
    struct err_detail none = {0};
    enum err e = library_abi(file, digest, &abi, &none);
    if (e != ERR_OK && e != ERR_LIBRARY) {
        *why = none;
        return e;
    }
    uint32_t version = 0;
    if (e == ERR_OK)
        memcpy(&version, abi, sizeof version);
    if (version == TIDEMILL_FUNCTION_ABI)
        return ERR_OK;
    e = err_set(why, ERR_LIBRARY, "\"%.*s\" is no module of functions of version %d", STR_ARG(file),
                TIDEMILL_FUNCTION_ABI);
    err_hint(why, "Include tidemill/function.h and write TIDEMILL_MODULE; once.");
    return e;
}

enum err c_function_check(struct str file, struct str symbol, uint8_t digest[LIBRARY_DIGEST_BYTES],
                          struct err_detail *why)
{
    void *code;
    TRY(library_digest(file, digest, why));
    TRY(library_symbol(file, digest, symbol, &code, why));
    return check_abi(file, digest, why);
}

static enum err find_code(struct c_function *c, tidemill_function *out, struct err_detail *why)
{
    uintptr_t code = atomic_load(&c->code);
    void *symbol = NULL;
    if (code == 0) {
        TRY(library_symbol(c->file, c->digest, c->symbol, &symbol, why));
        TRY(check_abi(c->file, c->digest, why));
        code = (uintptr_t)symbol;
        atomic_store(&c->code, code);
    }
    memcpy(out, &code, sizeof code);
    return ERR_OK;
}

/* ---- what the function calls ---- */

static struct server *server_of(struct tidemill_call *call)
{
    return call->server;
}

static void *call_alloc(struct tidemill_call *call, size_t bytes)
{
    return kernel_alloc(server_of(call)->k, bytes);
}

static void call_set_null(struct tidemill_call *call, uint32_t row)
{
    struct server *s = server_of(call);
    if (row < call->n_rows)
        kernel_null_row(s->k, s->out, row);
}

static void call_fail(struct tidemill_call *call, uint32_t row, const char *message)
{
    struct server *s = server_of(call);
    if (row < call->n_rows)
        kernel_fail(s->k, row, ERR_INVALID_PARAMETER, "%s",
                    message != NULL && str_utf8_valid(str_of(message)) ? message
                                                                   : "the function failed");
}

/* ---- results ---- */

static void check_text(struct kernel_context *k, struct column *out, uint32_t row)
{
    struct str *s = &column_str(out)[row];
    struct err_detail why = {0};
    if (s->ptr == NULL)
        *s = STR("");
    if (s->len > ARRAY_BYTES_MAX) {
        kernel_fail(k, row, ERR_LIMIT, "the function's result has more than %d bytes",
                    ARRAY_BYTES_MAX);
    } else if (out->type == TYPE_TEXT &&
               (!str_utf8_valid(*s) || memchr(s->ptr, '\0', s->len) != NULL)) {
        kernel_fail(k, row, ERR_ENCODING, "the function's result is not text in UTF-8");
    } else if (out->type == TYPE_JSONB) {
        enum err e = jsonb_parse(*s, k->arena, s, &why);
        if (e != ERR_OK)
            kernel_fail_row(k, row, e, &why);
    }
}

static void check_results(struct kernel_context *k, struct column *out)
{
    bool text = type_info(out->type)->by_ref;
    KERNEL_ROWS(k, row)
    {
        if (column_is_null(out, row) || (k->row_errors != NULL && k->row_errors[row] != 0))
            continue;
        if (text && out->type != TYPE_BYTEA)
            check_text(k, out, row);
        else if (out->type == TYPE_BOOL)
            column_bool(out)[row] = column_bool(out)[row] != 0;
    }
}

void c_function_kernel(struct kernel_context *k, const struct column *const *args,
                       uint32_t constant, struct column *out)
{
    tidemill_function code;
    struct err_detail why = {0};
    enum err e = find_code(k->function->c, &code, &why);
    if (e != ERR_OK) {
        KERNEL_ROWS(k, row)
            kernel_fail_row(k, row, e, &why);
        return;
    }
    struct tidemill_column columns[FUNCTION_ARGS_MAX];
    for (uint32_t i = 0; i < k->n_args; i++)
        columns[i] = (struct tidemill_column){args[i]->data, args[i]->nulls,
                                              (constant >> i & 1) != 0};
    struct server server = {k, out};
    memset(out->data, 0, (size_t)k->n_rows * type_info(out->type)->width);
    struct tidemill_call call = {
        .n_rows = k->n_rows, .n_args = k->n_args, .args = columns, .active = k->active,
        .result = out->data, .alloc = call_alloc, .set_null = call_set_null, .fail = call_fail,
        .server = &server};
    code(&call);
    check_results(k, out);
}
