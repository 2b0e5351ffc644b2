"""Client quotas: kept, described, and applied to who they are for."""
import select

import kafka_wire as wire
import psycopg
import pytest
from kafka_schema import Client

PRODUCE, CONSUME, REQUEST, MUTATE = ("producer_byte_rate", "consumer_byte_rate",
                                     "request_percentage", "controller_mutation_rate")
DEFAULT = None
BATCH = wire.idempotent_batch(b"x" * 40, -1, -1, -1)


def entity(**parts):
    return [{"entity_type": t.replace("_", "-"), "entity_name": n} for t, n in parts.items()]


def alter(client, *entries, validate_only=0):
    answer = client.call("alter_client_quotas", 1, validate_only=validate_only, entries=[
        {"entity": entity(**parts), "ops": [
            {"key": k, "value": v or 0, "remove": v is None} for k, v in values.items()]}
        for parts, values in entries])
    return [e["error_code"] for e in answer["entries"]]


def describe(client, components=(), strict=0):
    answer = client.call("describe_client_quotas", 1, strict=strict, components=[
        {"entity_type": t, "match_type": m, "match": n} for t, m, n in components])
    assert answer["error_code"] == 0, answer
    return [({e["entity_type"]: e["entity_name"] for e in entry["entity"]},
             {v["key"]: v["value"] for v in entry["values"]}) for entry in answer["entries"]]


def produce(client, topic, n=1):
    """Sends n requests' worth and returns throttle_time_ms of the last answer."""
    return client.call("produce", 9, acks=-1, timeout_ms=1000, topics=[
        {"name": topic, "partitions": [{"index": 0, "records": BATCH * n}]}])["throttle_time_ms"]


def create(client, *names, version=7):
    answer = client.call("create_topics", version, topics=[
        {"name": n, "num_partitions": p, "replication_factor": 1} for n, p in names])
    return {t["name"]: t["error_code"] for t in answer["topics"]}, answer["throttle_time_ms"]


@pytest.fixture
def server(make_server):
    server = make_server()
    with Client(server) as client:
        assert create(client, ("t", 1))[0] == {"t": 0}
    return server


def test_kept_and_described(server):
    with Client(server) as client:
        assert alter(client, ({"user": "u"}, {PRODUCE: 1000, CONSUME: 0.5}),
                     ({"user": "u", "client_id": DEFAULT}, {REQUEST: 20}),
                     ({"client_id": "c"}, {PRODUCE: 7}),
                     ({"user": DEFAULT}, {MUTATE: 3})) == [0] * 4
    server.kill()
    server.start()
    with Client(server) as client:
        found = describe(client)
        assert len(found) == 4
        assert ({"user": "u"}, {PRODUCE: 1000.0, CONSUME: 0.5}) in found
        assert ({"user": "u", "client-id": None}, {REQUEST: 20.0}) in found
        assert len(describe(client, [("user", 0, "u")])) == 2
        assert len(describe(client, [("user", 0, "u")], strict=1)) == 1
        assert describe(client, [("user", 1, None)]) == [({"user": None}, {MUTATE: 3.0})]
        assert len(describe(client, [("user", 2, None)])) == 3
        assert describe(client, [("client-id", 0, "c")]) == [({"client-id": "c"}, {PRODUCE: 7.0})]
        assert alter(client, ({"user": "u"}, {PRODUCE: None, CONSUME: 2}),
                     ({"user": "nobody"}, {PRODUCE: None})) == [0, 0]
        assert describe(client, [("user", 0, "u")], strict=1) == [({"user": "u"}, {CONSUME: 2.0})]
        assert alter(client, ({"user": "v"}, {PRODUCE: 1}), validate_only=1) == [0]
        assert describe(client, [("user", 0, "v")]) == []


@pytest.mark.parametrize("entry", [
    ({"ip": "1.2.3.4"}, {"connection_creation_rate": 1}), ({}, {PRODUCE: 1}),
    ({"user": "u"}, {"unknown": 1}), ({"user": "u"}, {PRODUCE: 0.0001, CONSUME: -1}),
    ({"user": "u" * 300}, {PRODUCE: 1}), ({"user": ""}, {PRODUCE: 1}),
    ({"user": "u"}, {PRODUCE: float("nan")}), ({"user": "u"}, {PRODUCE: float("inf")})])
def test_bad_quotas_are_refused_alone(server, entry):
    with Client(server) as client:
        assert alter(client, entry, ({"user": "ok"}, {PRODUCE: 1})) == [42, 0]
        assert describe(client) == [({"user": "ok"}, {PRODUCE: 1.0})]
        answer = client.call("describe_client_quotas", 1, components=[{"entity_type": "group"}])
        assert answer["error_code"] == 35
        answer = client.call("describe_client_quotas", 1, components=[
            {"entity_type": "ip", "match_type": 2}])
        assert (answer["error_code"], answer["entries"]) == (0, [])


def answers_soon(client):
    return select.select([client.sock], [], [], 0.5)[0] != []


def test_producers_are_muted(server):
    with Client(server) as admin, Client(server, client="slow") as slow, \
            Client(server, client="quick") as quick:
        assert produce(slow, "t", 100) == 0
        assert alter(admin, ({"client_id": "slow"}, {PRODUCE: 100})) == [0]
        assert produce(slow, "t") == 0  # a burst of ten seconds is free
        assert produce(slow, "t", 100) > 60000
        slow.send("api_versions", 0)
        assert not answers_soon(slow)
        assert produce(quick, "t", 100) == 0
        # Another connection of the same client is the same client.
        with Client(server, client="slow") as again:
            assert produce(again, "t") > 60000
        assert alter(admin, ({"client_id": "slow"}, {PRODUCE: None})) == [0]
        with Client(server, client="slow") as again:
            assert produce(again, "t", 100) == 0


def test_a_muted_connection_goes_on(server):
    with Client(server) as admin, Client(server, client="slow") as slow:
        assert alter(admin, ({"client_id": "slow"}, {PRODUCE: 4000})) == [0]
        while produce(slow, "t", 100) == 0:
            pass
        assert produce(slow, "t") >= 0


def test_consumers_are_muted(server):
    with Client(server) as admin, Client(server, client="slow") as slow:
        produce(admin, "t", 500)
        assert alter(admin, ({"client_id": DEFAULT}, {CONSUME: 100})) == [0]
        answer = slow.call("fetch", 12, max_wait_ms=100, min_bytes=1, max_bytes=1 << 20, topics=[
            {"name": "t", "partitions": [{"index": 0, "partition_max_bytes": 1 << 20}]}])
        assert answer["topics"][0]["partitions"][0]["error_code"] == 0
        assert answer["throttle_time_ms"] > 60000
        slow.send("api_versions", 0)
        assert not answers_soon(slow)
        # A muted connection may end, and so may the server.
        slow.sock.close()


def test_request_time(server):
    with Client(server) as admin, Client(server, client="busy") as busy:
        assert alter(admin, ({"client_id": "busy"}, {REQUEST: 1e-6})) == [0]
        for _ in range(100):
            if busy.call("metadata", 12, topics=None)["throttle_time_ms"] > 0:
                return
        pytest.fail("a millionth of a percent was never used up")


def test_changes_of_topics(server):
    with Client(server) as admin, Client(server, client="maker") as maker:
        assert alter(admin, ({"client_id": "maker"}, {MUTATE: 1})) == [0]
        codes, throttled = create(maker, ("a", 8), ("b", 8), ("c", 1), ("d", 1))
        assert codes == {"a": 0, "b": 0, "c": 89, "d": 89}
        assert throttled > 0
    with Client(server, client="maker") as maker:
        answer = maker.call("delete_topics", 6, topics=[{"name": "a"}, {"name": "b"}])
        assert [r["error_code"] for r in answer["responses"]] == [89, 89]
    with Client(server, client="maker") as maker:  # an older client does not know the error
        codes, throttled = create(maker, ("old", 1), version=4)
        assert codes == {"old": 0}
        assert throttled > 0


def test_users_before_clients(make_server):
    server = make_server()
    with psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True) as db:
        db.execute("CREATE USER u PASSWORD 'p'")
    with Client(server) as admin:
        create(admin, ("t", 1))
        alter(admin, ({"client_id": "c"}, {PRODUCE: 1}), ({"user": "u"}, {PRODUCE: 1e9}))
    with Client(server, ("u", "p"), client="c") as client:
        assert produce(client, "t", 100) == 0
    with Client(server, client="c") as client:
        assert produce(client, "t", 100) > 0


def test_many_invented_clients(server):
    """Each has a bucket of its own, of which there is a fixed number."""
    with Client(server) as admin:
        assert alter(admin, ({"client_id": DEFAULT}, {PRODUCE: 1000})) == [0]
        with Client(server) as client:
            before = server.resident_bytes()
            for i in range(2000):
                client.client = f"invented-{i}"
                produce(client, "t")
            assert server.resident_bytes() - before < 32 << 20
