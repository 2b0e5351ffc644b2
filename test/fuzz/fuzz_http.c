/* Request heads, chunked bodies and targets from any bytes: a head that is complete is the same
 * however its bytes arrived, and a chunked body decodes alike at every cut. */
#include "base/check.h"
#include "wire/http.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void target(const struct http_request *r, struct arena *a)
{
    struct str out;
    struct str query = r->query;
    struct str name;
    struct str value;
    (void)!http_percent_decode(r->path, false, a, &out);
    while (http_query_next(&query, &name, &value)) {
        if (http_percent_decode(value, true, a, &out) == ERR_OK)
            CHECK(str_utf8_valid(out));
    }
    (void)http_host_name(r->host);
    for (uint32_t i = 0; i < r->n_headers; i++)
        (void)http_accepts(r->headers[i].value, STR("gzip"));
}

static void chunked(struct str in, size_t cut)
{
    struct http_chunked whole = {0};
    struct http_chunked parts = {0};
    struct buf a;
    struct buf b;
    enum err e;
    enum err f;
    buf_init(&a, 1 << 16);
    buf_init(&b, 1 << 16);
    size_t n = http_chunked_feed(&whole, in, &a, &e, NULL);
    size_t m = http_chunked_feed(&parts, (struct str){in.ptr, cut}, &b, &f, NULL);
    CHECK(n <= in.len && m <= cut);
    if (f == ERR_OK && parts.state != HTTP_CHUNK_END)
        m += http_chunked_feed(&parts, (struct str){in.ptr + m, in.len - m}, &b, &f, NULL);
    CHECK(e == f && whole.state == parts.state && str_eq(buf_str(&a), buf_str(&b)));
    CHECK(e != ERR_OK || n == m);
    buf_deinit(&a);
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = {(const char *)data, size};
    static struct http_request r;
    static struct http_request again;
    size_t consumed = 0;
    size_t consumed_again = 0;
    unsigned status = 0;
    struct err_detail why = {0};
    struct arena a;
    if (size == 0)
        return 0;
    arena_init(&a, 1 << 20);
    enum http_progress p = http_request_parse(in, &r, &consumed, &status, &why);
    CHECK(p != HTTP_BAD || (status >= 400 && status < 600 && why.text[0] != 0));
    if (p == HTTP_DONE) {
        CHECK(consumed <= size && consumed <= HTTP_HEAD_BYTES_MAX);
        CHECK(!(r.chunked && r.content_length > 0) && r.path.len > 0);
        CHECK(http_request_parse((struct str){in.ptr, consumed}, &again, &consumed_again, &status,
                                 NULL) == HTTP_DONE);
        CHECK(consumed_again == consumed && again.n_headers == r.n_headers);
        CHECK(http_request_parse((struct str){in.ptr, consumed - 1}, &again, &consumed_again,
                                 &status, NULL) == HTTP_MORE);
        target(&r, &a);
        in = (struct str){in.ptr + consumed, size - consumed};
    }
    chunked(in, in.len == 0 ? 0 : data[0] % in.len);
    arena_deinit(&a);
    return 0;
}
