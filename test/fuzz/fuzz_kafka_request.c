/* Any bytes as a Kafka request, and as a response of the same kind. What decodes must encode again
 * to something that decodes to the same message. */
#include "base/check.h"
#include "wire/kafka/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_BYTES_MAX = 8 << 20, SPLICES_MAX = 1 };

static void encode(const struct kafka_codec *codec, int16_t version, const void *message,
                   struct buf *out)
{
    struct kafka_splice splice;
    struct kafka_writer w = {.out = out, .splices = &splice, .splices_max = SPLICES_MAX};
    buf_init(out, ARENA_BYTES_MAX);
    codec->write(&w, version, message);
}

static void check_codec(const struct kafka_codec *codec, int16_t version, struct str in,
                        struct arena *a)
{
    struct kafka_reader r;
    struct buf first, second;
    void *message = arena_zalloc(a, 1, codec->size);
    CHECK(message != NULL);
    kafka_reader_init(&r, in, a);
    codec->read(&r, version, message);
    if (r.failed != NULL)
        return;
    encode(codec, version, message, &first);
    CHECK(!first.failed);
    kafka_reader_init(&r, buf_str(&first), a);
    codec->read(&r, version, message);
    CHECK(r.failed == NULL && kafka_left(&r) == 0);
    encode(codec, version, message, &second);
    CHECK(str_eq(buf_str(&first), buf_str(&second)));
    buf_deinit(&first);
    buf_deinit(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    arena_init(&a, ARENA_BYTES_MAX);
    struct kafka_reader r;
    struct kafka_request_header h;
    kafka_reader_init(&r, (struct str){(const char *)data, size}, &a);
    kafka_read_header(&r, &h);
    for (size_t i = 0; i < KAFKA_APIS && r.failed == NULL; i++) {
        const struct kafka_api_codec *c = &kafka_api_codecs[i];
        if (c->api.key != h.api_key || h.api_version < c->api.version_min ||
            h.api_version > c->api.version_max)
            continue;
        struct str body = {r.at, kafka_left(&r)};
        check_codec(&c->response, h.api_version, body, &a);
        if (h.api_version >= c->api.flexible)
            kafka_skip_tags(&r);
        if (r.failed == NULL)
            check_codec(&c->request, h.api_version, (struct str){r.at, kafka_left(&r)}, &a);
    }
    arena_deinit(&a);
    return 0;
}
