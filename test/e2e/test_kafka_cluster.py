"""What tools ask of a cluster: brokers, partitions, sizes, leaders, replicas, in every version."""
import os
import re
import subprocess

import kafka_wire as wire
import pytest
from kafka_schema import APIS, Client

INVALID_TOPIC = 17
LOG_DIRS_VERSIONS = [1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def client(server):
    with Client(server) as client:
        topics = [{"name": n, "num_partitions": p, "replication_factor": 1}
                  for n, p in (("a", 3), ("b", 1), ("c", 2))]
        answer = client.call("create_topics", 7, topics=topics)
        assert [t["error_code"] for t in answer["topics"]] == [0, 0, 0]
        yield client


def test_the_name_of_a_plain_view_is_no_topic(client, server):
    """... and none is made for who asks for it, as it would be for another name."""
    subprocess.run(["psql", "-q", "-h", "127.0.0.1", "-p", str(server.port("pg")), "-U", "e2e",
                    "-c", "CREATE VIEW only_a_query AS SELECT 1 AS a"], check=True, timeout=30)
    for _ in range(2):
        answer = client.call("metadata", 12, topics=[{"name": "only_a_query"}],
                             allow_auto_topic_creation=1)
        assert [t["error_code"] for t in answer["topics"]] == [INVALID_TOPIC]


def test_every_advertised_version_has_a_codec(client):
    """... and every codec is served: what is advertised can be asked in all its versions."""
    keys = {k["api_key"]: k for k in client.call("api_versions", 3, client_software_name="test",
                                                 client_software_version="1")["api_keys"]}
    assert set(keys) == {api.key for api in APIS.values()}
    for api in APIS.values():
        assert api.low <= keys[api.key]["min_version"], api.name
        assert keys[api.key]["max_version"] == api.high, api.name


@pytest.mark.parametrize("name, version, code", [
    ("apache-kafka-java", "4.0.0", 0), ("a", "b", 0), ("", "1", 42), ("x", "", 42),
    ("-x", "1", 42), ("x", "1.", 42), ("x y", "1", 42), ("x\n", "1", 42)])
def test_names_of_client_software(server, name, version, code):
    with Client(server) as client:
        answer = client.call("api_versions", 4, client_software_name=name,
                             client_software_version=version)
        assert answer["error_code"] == code
        assert len(answer["api_keys"]) == len(APIS)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_describe_cluster(server, client, version):
    answer = client.call("describe_cluster", version)
    assert answer["error_code"] == 0
    assert answer["controller_id"] == 1
    assert [(b["broker_id"], b["host"], b["port"]) for b in answer["brokers"]] == [
        (1, "127.0.0.1", server.port("kafka"))]
    if version > 0:
        assert client.call("describe_cluster", version, endpoint_type=2)["error_code"] == 114
        assert client.call("describe_cluster", version, endpoint_type=3)["error_code"] == 115


def cluster_id(server):
    """As every request that tells it does."""
    with Client(server) as client:
        ids = {client.call("describe_cluster", 1)["cluster_id"],
               client.call("metadata", 2, topics=[])["cluster_id"],
               client.call("metadata", 12, topics=[])["cluster_id"]}
    (found,) = ids
    return found


def test_the_cluster_has_an_id_of_its_own(make_server):
    """Wherever its data directory is moved to."""
    server, other = make_server(), make_server()
    first = cluster_id(server)
    assert re.fullmatch("[0-9A-Za-z]{22}", first)
    assert cluster_id(other) != first
    server.kill()
    server.start()
    assert cluster_id(server) == first
    server.stop()
    moved = server.data_dir + "-moved"
    os.rename(server.data_dir, moved)
    server.data_dir = moved
    server.start()
    assert cluster_id(server) == first


def test_clients_that_want_another_server_are_told(server):
    """KIP-1242: who names a cluster wants that one, and a node of it."""
    here, rebootstrap = cluster_id(server), 129
    for cluster, node, code in ((here, 1, 0), (None, 7, 0), (None, -1, 0), (here, -1, rebootstrap),
                                (here, 2, rebootstrap), ("x", 1, rebootstrap)):
        with Client(server) as client:
            answer = client.call("api_versions", 5, client_software_name="test",
                                 client_software_version="1", cluster_id=cluster, node_id=node)
            assert answer["error_code"] == code
            assert len(answer["api_keys"]) == len(APIS)


def described(answer):
    return [(t["name"], [p["partition_index"] for p in t["partitions"]]) for t in answer["topics"]]


def test_describe_topic_partitions_in_pages(client):
    ask = {"topics": [{"name": n} for n in ("c", "a", "b")]}
    answer = client.call("describe_topic_partitions", 0, **ask)
    assert described(answer) == [("a", [0, 1, 2]), ("b", [0]), ("c", [0, 1])]
    assert answer["next_cursor"] is None
    assert answer["topics"][0]["partitions"][0]["replica_nodes"] == [1]
    assert answer["topics"][0]["topic_authorized_operations"] > 0
    for limit in (1, 2, 3, 4, 5, 6):
        pages, cursor = [], None
        while True:
            answer = client.call("describe_topic_partitions", 0, cursor=cursor,
                                 response_partition_limit=limit, **ask)
            found = described(answer)
            assert sum(len(p) for _, p in found) <= limit
            pages += [(name, p) for name, partitions in found for p in partitions]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
        assert pages == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("c", 0), ("c", 1)]
    names = [n for n, _ in described(client.call("describe_topic_partitions", 0))]
    assert {"a", "b", "c"} <= set(names) and names == sorted(names)
    answer = client.call("describe_topic_partitions", 0, topics=[{"name": "no"}, {"name": "?"}])
    assert {t["name"]: t["error_code"] for t in answer["topics"]} == {"no": 3, "?": 17}


@pytest.mark.parametrize("version", LOG_DIRS_VERSIONS)
def test_describe_log_dirs(server, client, version):
    batch = wire.idempotent_batch(b"x" * 50, -1, -1, -1)
    client.call("produce", 9, acks=-1, timeout_ms=1000, topics=[
        {"name": "b", "partitions": [{"index": 0, "records": batch}]}])
    answer = client.call("describe_log_dirs", version, topics=None)
    assert len(answer["results"]) == 1
    result = answer["results"][0]
    assert (result["error_code"], result["log_dir"]) == (0, server.data_dir)
    sizes = {(t["name"], p["partition_index"]): p["partition_size"]
             for t in result["topics"] for p in t["partitions"]}
    assert {("a", 0), ("a", 1), ("a", 2), ("b", 0), ("c", 0)} <= set(sizes)
    assert sizes["b", 0] >= len(batch)
    if version >= 4:
        assert result["usable_bytes"] > 0
    answer = client.call("describe_log_dirs", version, topics=[
        {"topic": "a", "partitions": [1, 7, -1]}, {"topic": "no", "partitions": [0]}])
    assert [(t["name"], [p["partition_index"] for p in t["partitions"]])
            for t in answer["results"][0]["topics"]] == [("a", [1])]


@pytest.mark.parametrize("version", [0, 1, 2])
def test_elections_are_not_needed(client, version):
    answer = client.call("elect_leaders", version, timeout_ms=1000, topic_partitions=[
        {"topic": "a", "partitions": [0, 9]}, {"topic": "no", "partitions": [0]}])
    assert [(r["topic"], [(p["partition_id"], p["error_code"]) for p in r["partition_results"]])
            for r in answer["replica_election_results"]] == [
        ("a", [(0, 84), (9, 3)]), ("no", [(0, 3)])]
    assert client.call("elect_leaders", version,
                       topic_partitions=None)["replica_election_results"] == []


@pytest.mark.parametrize("version", [0, 1])
def test_reassignments(client, version):
    partitions = [{"partition_index": 0, "replicas": [1]}, {"partition_index": 1, "replicas": None},
                  {"partition_index": 2, "replicas": [2]}, {"partition_index": 1, "replicas": []},
                  {"partition_index": 1, "replicas": [1, 1]}, {"partition_index": 5}]
    answer = client.call("alter_partition_reassignments", version, timeout_ms=1000,
                         topics=[{"name": "a", "partitions": partitions}])
    assert [p["error_code"] for p in answer["responses"][0]["partitions"]] == [
        0, 85, 39, 39, 39, 3]
    answer = client.call("list_partition_reassignments", 0, timeout_ms=1000, topics=None)
    assert (answer["error_code"], answer["topics"]) == (0, [])


def test_config_resources(client):
    assert client.call("list_config_resources", 0)["config_resources"] == []
    found = {(r["resource_type"], r["resource_name"])
             for r in client.call("list_config_resources", 1)["config_resources"]}
    assert {(2, "a"), (2, "b"), (4, "1")} <= found
    found = client.call("list_config_resources", 1, resource_types=[4, 16])["config_resources"]
    assert found == [{"resource_type": 4, "resource_name": "1"}]


def test_metadata_in_every_version(client):
    for version in range(APIS["metadata"].high + 1):
        answer = client.call("metadata", version, topics=[{"name": "a"}])
        assert [(t["name"], t["error_code"], len(t["partitions"])) for t in answer["topics"]] == [
            ("a", 0, 3)]
        assert re.fullmatch(r"127\.0\.0\.1", answer["brokers"][0]["host"])
