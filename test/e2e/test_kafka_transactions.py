"""Idempotent and transactional producers over the wire."""
import kafka_wire as wire


def produce_numbered(sock, topic, sequence, epoch=0, producer=4711):
    """(error, offset) of one record of an idempotent producer."""
    batch = wire.idempotent_batch(b"v%d" % sequence, producer, epoch, sequence)
    sock.sendall(wire.request(0, 3, wire.batch_with(topic, 0, batch)))
    return wire.produce_result(wire.response(sock)[1], topic)


def topic_make(sock, topic):
    """By metadata, as a producer does."""
    sock.sendall(wire.request(3, 4, b"\0\0\0\1" + wire.string(topic) + b"\1"))
    wire.response(sock)


def test_repeated_batches_are_known_after_a_crash(make_server):
    server = make_server()
    with wire.connect(server) as sock:
        topic_make(sock, "t")
        for sequence in range(8):
            assert produce_numbered(sock, "t", sequence) == (0, sequence)
    for end in (server.kill, server.stop):
        end()
        server.start()
        with wire.connect(server) as sock:
            for sequence in range(3, 8):
                assert produce_numbered(sock, "t", sequence) == (0, sequence)
            assert produce_numbered(sock, "t", 2)[0] == 46  # DUPLICATE_SEQUENCE_NUMBER
            assert produce_numbered(sock, "t", 9)[0] == 45  # OUT_OF_ORDER_SEQUENCE_NUMBER
            assert produce_numbered(sock, "t", 8, epoch=1)[0] == 45
    with wire.connect(server) as sock:
        assert produce_numbered(sock, "t", 0, epoch=1) == (0, 8)
        assert produce_numbered(sock, "t", 8)[0] == 47  # INVALID_PRODUCER_EPOCH
