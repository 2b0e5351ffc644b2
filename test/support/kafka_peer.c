#include "support/kafka_peer.h"

void kafka_peer_init(struct kafka_peer *p, struct host *h)
{
    *p = (struct kafka_peer){.h = h};
    buf_init(&p->out, KAFKA_PEER_BYTES_MAX);
    buf_init(&p->in, KAFKA_PEER_BYTES_MAX);
    arena_init(&p->arena, KAFKA_PEER_BYTES_MAX);
}

static void disconnect(struct kafka_peer *p)
{
    if (p->socket != NULL)
        host_socket_close(p->socket);
    p->socket = NULL;
    p->waiting = false;
    buf_clear(&p->out);
    buf_clear(&p->in);
}

void kafka_peer_deinit(struct kafka_peer *p)
{
    disconnect(p);
    buf_deinit(&p->out);
    buf_deinit(&p->in);
    arena_deinit(&p->arena);
}

static const struct kafka_api_codec *codec_of(enum kafka_key key)
{
    for (size_t i = 0; i < KAFKA_APIS; i++)
        if (kafka_api_codecs[i].api.key == (int16_t)key)
            return &kafka_api_codecs[i];
    UNREACHABLE();
}

void kafka_peer_send(struct kafka_peer *p, enum kafka_key key, int16_t version, const void *request)
{
    CHECK(!p->waiting);
    p->codec = codec_of(key);
    p->version = version;
    p->waiting = true;
    buf_clear(&p->out);
    struct kafka_writer w = {.out = &p->out};
    kafka_write_int32(&w, 0); /* the length, known at the end */
    kafka_write_int16(&w, (int16_t)key);
    kafka_write_int16(&w, version);
    kafka_write_int32(&w, 1);
    kafka_write_string(&w, false, true, STR("peer"));
    if (version >= p->codec->api.flexible)
        kafka_write_uvarint(&w, 0);
    p->codec->request.write(&w, version, request);
    CHECK(!p->out.failed);
    be32_put(p->out.ptr, (uint32_t)(p->out.len - 4));
}

/* Decodes a whole answer; NULL while bytes are missing. */
static const void *answer_take(struct kafka_peer *p)
{
    if (p->in.len < 4 || p->in.len - 4 < be32_get(p->in.ptr))
        return NULL;
    struct kafka_reader r;
    arena_reset(&p->arena, KAFKA_PEER_BYTES_MAX);
    void *answer = arena_zalloc(&p->arena, 1, p->codec->response.size);
    /* A copy, so that the answer lasts while the next one comes. */
    struct str message = arena_str(&p->arena, (struct str){p->in.ptr + 4, be32_get(p->in.ptr)});
    CHECK(answer != NULL && message.ptr != NULL);
    kafka_reader_init(&r, message, &p->arena);
    (void)kafka_read_int32(&r);
    if (p->version >= p->codec->api.flexible)
        kafka_skip_tags(&r);
    p->codec->response.read(&r, p->version, answer);
    CHECK(r.failed == NULL && kafka_left(&r) == 0);
    buf_consume(&p->in, message.len + 4);
    p->waiting = false;
    return answer;
}

int kafka_peer_turn(struct kafka_peer *p, const char *address, int64_t until_ns,
                    const void **answer)
{
    enum { CHUNK_BYTES = 4096 };
    struct host_event events[4];
    struct err_detail why;
    if (p->socket == NULL && host_connect(p->h, address, &p->socket, &why) != ERR_OK)
        return -1;
    uint32_t interest = HOST_READABLE | (p->out.len > 0 ? HOST_WRITABLE : 0);
    if (host_watch(p->worker, p->socket, interest, p) != ERR_OK)
        return -1;
    host_poll(p->worker, events, 4, until_ns);
    ptrdiff_t sent = p->out.len > 0 ? host_send(p->socket, p->out.ptr, p->out.len) : 0;
    if (sent > 0)
        buf_consume(&p->out, (size_t)sent);
    char *room = buf_reserve(&p->in, CHUNK_BYTES);
    CHECK(room != NULL);
    ptrdiff_t got = host_recv(p->socket, room, CHUNK_BYTES);
    if (got > 0)
        p->in.len += (size_t)got;
    *answer = got > 0 ? answer_take(p) : NULL;
    if (*answer != NULL)
        return 1;
    if (sent == -2 || got == 0 || got == -2) {
        disconnect(p);
        return -1;
    }
    return 0;
}
