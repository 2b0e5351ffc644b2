"""What users may do over Kafka: ACLs stored, described, deleted, and enforced API by API."""
import os

import kafka
import kafka_wire as wire
import psycopg
import pytest
from kafka.admin import (ACL, ACLFilter, ACLOperation, ACLPermissionType, ACLResourcePatternType,
                         KafkaAdminClient, ResourcePattern, ResourcePatternFilter, ResourceType)
from kafka_schema import Client

TOPIC, GROUP, CLUSTER, TXN = 2, 3, 4, 5
LITERAL, PREFIXED = 3, 4
ALL, READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE = 2, 3, 4, 5, 6, 7, 8
CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE = 9, 10, 11, 12
DENY, ALLOW = 2, 3
TOPIC_DENIED, GROUP_DENIED, CLUSTER_DENIED, TXN_DENIED = 29, 30, 31, 53
UNKNOWN_TOPIC, NOT_ATTEMPTED = 3, 55


def sql(server, text):
    with psycopg.connect(host="127.0.0.1", port=server.port("pg"), autocommit=True) as db:
        return db.execute(text)


def acl(resource, name, operation, user="alice", permission=ALLOW, pattern=LITERAL, host="*"):
    return {"resource_type": resource, "resource_name": name, "resource_pattern_type": pattern,
            "principal": f"User:{user}", "host": host, "operation": operation,
            "permission_type": permission}


def grant(root, *acls):
    results = root.call("create_acls", 3, creations=list(acls))["results"]
    assert [r["error_code"] for r in results] == [0] * len(acls), results


def everything(root, **filters):
    base = {"resource_type_filter": 1, "pattern_type_filter": 1, "operation": 1,
            "permission_type": 1, **filters}
    answer = root.call("describe_acls", 3, **base)
    assert answer["error_code"] == 0
    return sorted((r["resource_type"], r["resource_name"], r["pattern_type"], a["principal"],
                   a["host"], a["operation"], a["permission_type"])
                  for r in answer["resources"] for a in r["acls"])


class Bed:
    """A server that asks for a login: root may do everything, alice what she is granted."""

    def __init__(self, server):
        self.server = server
        self.root = Client(server, ("root", "r"))
        self.alice = Client(server, ("alice", "a"))

    def clear(self):
        answer = self.root.call("delete_acls", 3, filters=[
            {"resource_type_filter": 1, "pattern_type_filter": 1, "operation": 1,
             "permission_type": 1}])
        assert answer["filter_results"][0]["error_code"] == 0


@pytest.fixture(scope="module")
def bed_of_module(tmp_path_factory):
    from conftest import Server
    server = Server(tmp_path_factory.mktemp("acl") / "data", "--kafka-auth", "required",
                    "--kafka-super-users", "admin,root").start()
    for user, password in (("root", "r"), ("alice", "a"), ("bob", "b")):
        sql(server, f"CREATE USER {user} PASSWORD '{password}'")
    bed = Bed(server)
    topics = [{"name": n, "num_partitions": 2, "replication_factor": 1}
              for n in ("orders", "log.web", "log.audit", "other")]
    assert all(t["error_code"] == 0
               for t in bed.root.call("create_topics", 7, topics=topics)["topics"])
    yield bed
    assert server.stop() == 0


@pytest.fixture
def bed(bed_of_module):
    yield bed_of_module
    bed_of_module.clear()


# ---- the lists themselves ----

def test_create_describe_delete(bed):
    grant(bed.root, acl(TOPIC, "orders", READ), acl(TOPIC, "log.", ALL, pattern=PREFIXED),
          acl(GROUP, "*", READ, user="bob"), acl(CLUSTER, "kafka-cluster", ALTER, permission=DENY),
          acl(TOPIC, "orders", READ))  # twice is once
    assert everything(bed.root) == [
        (TOPIC, "log.", PREFIXED, "User:alice", "*", ALL, ALLOW),
        (TOPIC, "orders", LITERAL, "User:alice", "*", READ, ALLOW),
        (GROUP, "*", LITERAL, "User:bob", "*", READ, ALLOW),
        (CLUSTER, "kafka-cluster", LITERAL, "User:alice", "*", ALTER, DENY)]
    assert len(everything(bed.root, principal_filter="User:bob")) == 1
    assert len(everything(bed.root, resource_type_filter=TOPIC, resource_name_filter="log.web",
                          pattern_type_filter=2)) == 1
    assert everything(bed.root, resource_name_filter="log.web") == []
    answer = bed.root.call("delete_acls", 3, filters=[
        {"resource_type_filter": TOPIC, "pattern_type_filter": 1, "operation": 1,
         "permission_type": 1},
        {"resource_type_filter": 99, "pattern_type_filter": 1, "operation": 1,
         "permission_type": 1}])["filter_results"]
    assert [r["error_code"] for r in answer] == [0, 42]
    assert sorted(m["resource_name"] for m in answer[0]["matching_acls"]) == ["log.", "orders"]
    assert len(everything(bed.root)) == 2


@pytest.mark.parametrize("bad", [
    acl(99, "x", READ), acl(1, "x", READ), acl(TOPIC, "", READ), acl(TOPIC, "x", 1),
    acl(TOPIC, "x", 77), acl(TOPIC, "x", READ, permission=1), acl(TOPIC, "x", READ, pattern=1),
    acl(CLUSTER, "x", READ), {**acl(TOPIC, "x", READ), "principal": "alice"},
    acl(TOPIC, "x\n", READ), acl(TOPIC, "x" * 300, READ), acl(TOPIC, "x", READ, host="")])
def test_bad_acls_are_refused_alone(bed, bad):
    results = bed.root.call("create_acls", 3, creations=[bad, acl(TOPIC, "ok", READ)])["results"]
    assert [r["error_code"] for r in results] == [42, 0]
    assert len(everything(bed.root)) == 1


def test_lists_survive_a_crash(bed):
    grant(bed.root, acl(TOPIC, "orders", READ), acl(TOPIC, "log.", ALL, pattern=PREFIXED))
    before = everything(bed.root)
    bed.server.kill()
    bed.server.start()
    bed.root, bed.alice = Client(bed.server, ("root", "r")), Client(bed.server, ("alice", "a"))
    assert everything(bed.root) == before


def test_kafka_python_admin(bed):
    admin = KafkaAdminClient(bootstrap_servers=[bed.server.kafka],
                             security_protocol="SASL_PLAINTEXT", sasl_mechanism="SCRAM-SHA-512",
                             sasl_plain_username="root", sasl_plain_password="r")
    new = ACL("User:bob", "*", ACLOperation.READ, ACLPermissionType.ALLOW,
              ResourcePattern(ResourceType.TOPIC, "log.", ACLResourcePatternType.PREFIXED))
    assert admin.create_acls([new])["failed"] == []
    any_topic = ACLFilter("User:bob", "*", ACLOperation.ANY, ACLPermissionType.ANY,
                          ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY))
    assert admin.describe_acls(any_topic)[0] == [new]
    assert admin.delete_acls([any_topic])[0][1][0][0] == new
    admin.close()


def test_without_login_everything_is_allowed_and_lists_are_kept(make_server):
    server = make_server()
    with Client(server) as client:
        grant(client, acl(TOPIC, "t", ALL, user="*", permission=DENY))
        assert len(everything(client)) == 1
        answer = client.call("create_topics", 7, topics=[
            {"name": "t", "num_partitions": 1, "replication_factor": 1}])
        assert answer["topics"][0]["error_code"] == 0


# ---- enforced ----

def metadata(client, *names, **options):
    answer = client.call("metadata", 12, topics=[{"name": n} for n in names],
                         allow_auto_topic_creation=options.pop("create", 0), **options)
    return {t["name"]: t["error_code"] for t in answer["topics"]}


def produce(client, topic, acks=-1, transactional_id=None):
    batch = wire.idempotent_batch(b"x", -1, -1, -1)
    client.send("produce", 9, transactional_id=transactional_id, acks=acks, timeout_ms=1000,
                topics=[{"name": t, "partitions": [{"index": 0, "records": batch}]}
                        for t in (topic if isinstance(topic, list) else [topic])])
    if acks == 0:
        return None
    answer = client.receive("produce", 9)
    return {t["name"]: t["partitions"][0]["error_code"] for t in answer["topics"]}


def fetch(client, *topics):
    answer = client.call("fetch", 12, max_wait_ms=60000, min_bytes=1, max_bytes=1 << 20, topics=[
        {"name": t, "partitions": [{"index": 0, "fetch_offset": 0,
                                    "partition_max_bytes": 1 << 20}]} for t in topics])
    return {t["name"]: t["partitions"][0]["error_code"] for t in answer["topics"]}


def test_topics(bed):
    assert produce(bed.alice, "orders") == {"orders": TOPIC_DENIED}
    assert fetch(bed.alice, "orders") == {"orders": TOPIC_DENIED}
    assert metadata(bed.alice, "orders", "nowhere") == {"orders": TOPIC_DENIED,
                                                        "nowhere": TOPIC_DENIED}
    grant(bed.root, acl(TOPIC, "orders", WRITE), acl(TOPIC, "log.", READ, pattern=PREFIXED),
          acl(TOPIC, "log.audit", READ, permission=DENY))
    assert produce(bed.alice, ["other", "orders", "log.web"]) == {
        "orders": 0, "other": TOPIC_DENIED, "log.web": TOPIC_DENIED}
    assert produce(bed.root, ["log.web", "log.audit"]) == {"log.web": 0, "log.audit": 0}
    assert fetch(bed.alice, "log.audit", "log.web", "orders") == {
        "log.web": 0, "log.audit": TOPIC_DENIED, "orders": TOPIC_DENIED}
    # Writing brings describing along; a denied read does not take it away.
    assert metadata(bed.alice, "orders", "log.web", "other") == {
        "orders": 0, "log.web": 0, "other": TOPIC_DENIED}
    answer = bed.alice.call("metadata", 12, topics=None)
    assert {t["name"] for t in answer["topics"]} == {"orders", "log.web", "log.audit"}
    answer = bed.alice.call("list_offsets", 7, replica_id=-1, topics=[
        {"name": n, "partitions": [{"index": i, "timestamp": -1} for i in range(2)]}
        for n in ("other", "orders")])
    assert {t["name"]: [(p["index"], p["error_code"], p["offset"]) for p in t["partitions"]]
            for t in answer["topics"]} == {"orders": [(0, 0, 1), (1, 0, 0)],
                                           "other": [(0, TOPIC_DENIED, -1), (1, TOPIC_DENIED, -1)]}


def test_topic_ids_tell_nothing(bed):
    known = {t["name"]: t["topic_id"] for t in bed.root.call("metadata", 12, topics=None)["topics"]}
    answer = bed.alice.call("metadata", 12, topics=[{"topic_id": known["orders"]}])["topics"][0]
    assert (answer["error_code"], answer["name"], answer["partitions"]) == (100, None, [])
    answer = bed.alice.call("fetch", 13, max_wait_ms=60000, min_bytes=1, max_bytes=1000, topics=[
        {"topic_id": known["orders"], "partitions": [{"index": 0, "partition_max_bytes": 1000}]}])
    assert answer["topics"][0]["partitions"][0]["error_code"] == TOPIC_DENIED
    grant(bed.root, acl(TOPIC, "orders", WRITE))
    batch = wire.idempotent_batch(b"x", -1, -1, -1)
    answer = bed.alice.call("produce", 13, acks=-1, timeout_ms=1000, topics=[
        {"topic_id": known[name], "partitions": [{"index": 0, "records": batch}]}
        for name in ("orders", "other")])
    assert {t["topic_id"]: t["partitions"][0]["error_code"] for t in answer["topics"]} == {
        known["orders"]: 0, known["other"]: TOPIC_DENIED}
    answer = bed.alice.call("delete_topics", 6, topics=[{"topic_id": known["orders"]}])
    assert answer["responses"][0]["error_code"] == TOPIC_DENIED
    assert "orders" in {t["name"] for t in bed.root.call("metadata", 12, topics=None)["topics"]}


def test_unacknowledged_writes_that_are_denied_end_the_connection(bed):
    with Client(bed.server, ("alice", "a")) as client:
        produce(client, "orders", acks=0)
        assert wire.is_closed(client.sock)


def test_creating_and_deleting(bed):
    def create(client, name):
        answer = client.call("create_topics", 7, topics=[
            {"name": name, "num_partitions": 1, "replication_factor": 1}])
        return answer["topics"][0]["error_code"]

    assert create(bed.alice, "new.a") == TOPIC_DENIED
    grant(bed.root, acl(TOPIC, "new.", CREATE, pattern=PREFIXED), acl(TOPIC, "new.a", DELETE),
          acl(TOPIC, "made", DESCRIBE), acl(TOPIC, "new.auto", DESCRIBE))
    assert create(bed.alice, "new.a") == 0
    assert metadata(bed.alice, "made", "new.auto", create=1) == {"new.auto": 0,
                                                                "made": TOPIC_DENIED}
    answer = bed.alice.call("delete_topics", 5, topic_names=["orders", "new.a"])
    assert {r["name"]: r["error_code"] for r in answer["responses"]} == {
        "orders": TOPIC_DENIED, "new.a": 0}
    grant(bed.root, acl(CLUSTER, "kafka-cluster", CREATE))
    assert create(bed.alice, "anywhere") == 0
    bed.root.call("delete_topics", 5, topic_names=["anywhere", "new.auto"])


def test_adding_partitions(bed):
    def grow(client):
        answer = client.call("create_partitions", 3, topics=[
            {"name": "orders", "count": 3}, {"name": "other", "count": 3}], validate_only=True)
        return {r["name"]: r["error_code"] for r in answer["results"]}

    grant(bed.root, acl(TOPIC, "orders", CREATE), acl(TOPIC, "orders", WRITE))
    assert grow(bed.alice) == {"orders": TOPIC_DENIED, "other": TOPIC_DENIED}
    grant(bed.root, acl(TOPIC, "orders", ALTER))
    assert grow(bed.alice) == {"orders": 0, "other": TOPIC_DENIED}
    assert grow(bed.root) == {"orders": 0, "other": 0}


def test_settings(bed):
    def describe(client):
        answer = client.call("describe_configs", 4, resources=[
            {"resource_type": 2, "resource_name": "orders"},
            {"resource_type": 4, "resource_name": "1"}])
        return [(r["resource_type"], r["error_code"]) for r in
                sorted(answer["results"], key=lambda r: r["resource_type"])]

    def alter(client):
        answer = client.call("incremental_alter_configs", 1, resources=[
            {"resource_type": 2, "resource_name": "orders", "configs": [
                {"name": "retention.ms", "config_operation": 0, "value": "100000"}]}])
        return [r["error_code"] for r in answer["responses"]]

    assert describe(bed.alice) == [(2, TOPIC_DENIED), (4, CLUSTER_DENIED)]
    assert alter(bed.alice) == [TOPIC_DENIED]
    grant(bed.root, acl(TOPIC, "orders", ALTER_CONFIGS))
    assert describe(bed.alice) == [(2, 0), (4, CLUSTER_DENIED)]
    assert alter(bed.alice) == [0]
    grant(bed.root, acl(CLUSTER, "kafka-cluster", DESCRIBE_CONFIGS))
    assert describe(bed.alice) == [(2, 0), (4, 0)]


def commit(client, group, *topics):
    answer = client.call("offset_commit", 8, group_id=group, generation_id=-1, topics=[
        {"name": t, "partitions": [{"index": 1, "committed_offset": 5}]} for t in topics])
    return {t["name"]: t["partitions"][0]["error_code"] for t in answer["topics"]}


def test_groups(bed):
    join = {"group_id": "g", "session_timeout_ms": 10000, "rebalance_timeout_ms": 10000,
            "protocol_type": "consumer", "protocols": [{"name": "range", "metadata": b""}]}
    assert bed.alice.call("join_group", 5, **join)["error_code"] == GROUP_DENIED
    assert bed.alice.call("heartbeat", 4, group_id="g")["error_code"] == GROUP_DENIED
    assert bed.alice.call("sync_group", 5, group_id="g")["error_code"] == GROUP_DENIED
    assert bed.alice.call("leave_group", 5, group_id="g", members=[
        {"member_id": "m"}])["error_code"] == GROUP_DENIED
    assert commit(bed.alice, "g", "orders") == {"orders": GROUP_DENIED}
    grant(bed.root, acl(GROUP, "g", READ), acl(TOPIC, "orders", READ))
    assert bed.alice.call("join_group", 5, **join)["error_code"] in (0, 79)
    assert commit(bed.root, "g", "other") == {"other": 0}
    assert commit(bed.alice, "g", "orders", "other") == {"orders": 0, "other": TOPIC_DENIED}


def test_committed_offsets(bed):
    for group in ("g1", "g2"):
        assert commit(bed.root, group, "orders", "other") == {"orders": 0, "other": 0}

    def fetched(client, version, **request):
        answer = client.call("offset_fetch", version, **request)
        if version < 8:
            return answer["error_code"], shape(answer["topics"])
        return {g["group_id"]: (g["error_code"], shape(g["topics"])) for g in answer["groups"]}

    def shape(topics):
        return {(t["name"], p["index"]): (p["error_code"], p["committed_offset"])
                for t in topics for p in t["partitions"]}

    ask = [{"name": n, "partition_indexes": [1]} for n in ("other", "orders")]
    code, found = fetched(bed.alice, 7, group_id="g1", topics=ask)
    assert code == GROUP_DENIED
    assert set(found.values()) == {(GROUP_DENIED, -1)}
    grant(bed.root, acl(GROUP, "g1", DESCRIBE), acl(TOPIC, "orders", DESCRIBE))
    some = {("orders", 1): (0, 5), ("other", 1): (TOPIC_DENIED, -1)}
    assert fetched(bed.alice, 7, group_id="g1", topics=ask) == (0, some)
    assert fetched(bed.alice, 7, group_id="g1", topics=None) == (0, {("orders", 1): (0, 5)})
    found = fetched(bed.alice, 8, groups=[{"group_id": "g2", "topics": ask},
                                          {"group_id": "g1", "topics": ask},
                                          {"group_id": "g1", "topics": None}])
    assert found["g2"][0] == GROUP_DENIED
    assert found["g1"] in ((0, some), (0, {("orders", 1): (0, 5)}))
    answer = bed.alice.call("offset_fetch", 8, groups=[
        {"group_id": "g1", "topics": None}, {"group_id": "g2", "topics": ask},
        {"group_id": "g1", "topics": ask}])["groups"]
    assert [(g["group_id"], g["error_code"], shape(g["topics"])) for g in answer] == [
        ("g1", 0, {("orders", 1): (0, 5)}), ("g1", 0, some),
        ("g2", GROUP_DENIED, {("orders", 1): (GROUP_DENIED, -1),
                              ("other", 1): (GROUP_DENIED, -1)})]


def test_forgetting_offsets(bed):
    assert commit(bed.root, "old", "orders", "other") == {"orders": 0, "other": 0}

    def forget(client):
        answer = client.call("offset_delete", 0, group_id="old", topics=[
            {"name": n, "partitions": [1]} for n in ("other", "orders")])
        return answer["error_code"], {t["name"]: [p["error_code"] for p in t["partitions"]]
                                      for t in answer["topics"]}

    assert forget(bed.alice)[0] == GROUP_DENIED
    grant(bed.root, acl(GROUP, "old", DELETE), acl(TOPIC, "orders", READ))
    assert forget(bed.alice) == (0, {"orders": [0], "other": [TOPIC_DENIED]})


def test_committed_offsets_by_id(bed):
    known = {t["name"]: t["topic_id"] for t in bed.root.call("metadata", 12, topics=None)["topics"]}
    grant(bed.root, acl(GROUP, "by-id", READ), acl(TOPIC, "orders", READ))
    answer = bed.alice.call("offset_commit", 10, group_id="by-id", generation_id=-1, topics=[
        {"topic_id": known[n], "partitions": [{"index": 0, "committed_offset": 3}]}
        for n in ("other", "orders")])
    assert {t["topic_id"]: t["partitions"][0]["error_code"] for t in answer["topics"]} == {
        known["orders"]: 0, known["other"]: TOPIC_DENIED}
    answer = bed.alice.call("offset_fetch", 10, groups=[{"group_id": "by-id", "topics": [
        {"topic_id": known[n], "partition_indexes": [0]} for n in ("other", "orders")]}])
    found = {t["topic_id"]: t["partitions"][0] for t in answer["groups"][0]["topics"]}
    assert {i: (p["error_code"], p["committed_offset"]) for i, p in found.items()} == {
        known["orders"]: (0, 3), known["other"]: (TOPIC_DENIED, -1)}


def test_group_administration(bed):
    assert commit(bed.root, "admin-g", "orders") == {"orders": 0}
    answer = bed.alice.call("describe_groups", 5, groups=["admin-g"])["groups"][0]
    assert (answer["error_code"], answer["group_id"]) == (GROUP_DENIED, "admin-g")
    assert "admin-g" not in {g["group_id"] for g in bed.alice.call("list_groups", 4)["groups"]}
    answer = bed.alice.call("delete_groups", 2, group_names=["admin-g"])["results"][0]
    assert (answer["error_code"], answer["group_id"]) == (GROUP_DENIED, "admin-g")
    answer = bed.alice.call("find_coordinator", 4, key_type=0, coordinator_keys=["admin-g"])
    assert answer["coordinators"][0]["error_code"] == GROUP_DENIED
    assert answer["coordinators"][0]["key"] == "admin-g"
    assert bed.alice.call("find_coordinator", 3, key="admin-g")["error_code"] == GROUP_DENIED
    assert bed.alice.call("find_coordinator", 3, key="x", key_type=1)["error_code"] == TXN_DENIED
    grant(bed.root, acl(GROUP, "admin-g", DELETE))
    assert bed.alice.call("describe_groups", 5, groups=["admin-g"])["groups"][0]["error_code"] == 0
    assert "admin-g" in {g["group_id"] for g in bed.alice.call("list_groups", 4)["groups"]}
    assert bed.alice.call("find_coordinator", 3, key="admin-g")["error_code"] == 0
    answer = bed.alice.call("delete_groups", 2, group_names=["admin-g"])["results"][0]
    assert answer["error_code"] == 0


def test_cluster_administration(bed):
    filters = {"resource_type_filter": 1, "pattern_type_filter": 1, "operation": 1,
               "permission_type": 1}
    user = {"name": "eve", "mechanism": 1, "iterations": 4096, "salt": b"s",
            "salted_password": b"p" * 32}

    def codes(client):
        return [
            client.call("describe_acls", 3, **filters)["error_code"],
            client.call("create_acls", 3, creations=[acl(TOPIC, "eve", READ, user="eve")])[
                "results"][0]["error_code"],
            client.call("delete_acls", 3, filters=[{**filters, "principal_filter": "User:eve"}])[
                "filter_results"][0]["error_code"],
            client.call("describe_user_scram_credentials", 0, users=None)["error_code"],
            client.call("alter_user_scram_credentials", 0, upsertions=[user])["results"][0][
                "error_code"]]

    assert codes(bed.alice) == [CLUSTER_DENIED] * 5
    grant(bed.root, acl(CLUSTER, "kafka-cluster", DESCRIBE))
    assert codes(bed.alice) == [0, CLUSTER_DENIED, CLUSTER_DENIED, 0, CLUSTER_DENIED]
    grant(bed.root, acl(CLUSTER, "kafka-cluster", ALTER))
    assert codes(bed.alice) == [0] * 5


def test_tools(bed):
    def codes(client):
        return [
            client.call("describe_log_dirs", 4, topics=[])["error_code"],
            client.call("elect_leaders", 2, topic_partitions=[])["error_code"],
            client.call("alter_partition_reassignments", 0)["error_code"],
            client.call("list_partition_reassignments", 0)["error_code"],
            client.call("list_config_resources", 1)["error_code"],
            client.call("describe_client_quotas", 1)["error_code"],
            client.call("alter_client_quotas", 1, validate_only=1, entries=[
                {"entity": [{"entity_type": "user", "entity_name": "u"}],
                 "ops": [{"key": "producer_byte_rate", "value": 1}]}])["entries"][0]["error_code"],
            client.call("describe_cluster", 2)["error_code"]]

    def described(names):
        answer = bed.alice.call("describe_topic_partitions", 0, topics=[{"name": n} for n in names])
        return {t["name"]: (t["error_code"], len(t["partitions"])) for t in answer["topics"]}

    assert codes(bed.alice) == [CLUSTER_DENIED] * 7 + [0]
    assert codes(bed.root) == [0] * 8
    grant(bed.root, acl(CLUSTER, "kafka-cluster", ALL), acl(TOPIC, "orders", DESCRIBE))
    assert codes(bed.alice) == [0] * 8
    assert described(["orders", "other"]) == {"orders": (0, 2), "other": (TOPIC_DENIED, 0)}
    assert described(["other"]) == {"other": (TOPIC_DENIED, 0)}
    assert described([]) == {"orders": (0, 2)}


def test_producer_ids(bed):
    assert bed.alice.call("init_producer_id", 4)["error_code"] == CLUSTER_DENIED
    grant(bed.root, acl(TOPIC, "orders", WRITE))
    assert bed.alice.call("init_producer_id", 4)["error_code"] == 0
    bed.clear()
    grant(bed.root, acl(CLUSTER, "kafka-cluster", IDEMPOTENT_WRITE))
    assert bed.alice.call("init_producer_id", 4)["error_code"] == 0
    answer = bed.alice.call("init_producer_id", 4, transactional_id="x",
                            transaction_timeout_ms=1000)
    assert answer["error_code"] == TXN_DENIED
    grant(bed.root, acl(TOPIC, "orders", WRITE))
    assert produce(bed.alice, "orders", transactional_id="x") == {"orders": TXN_DENIED}


def test_partitions_of_a_transaction_are_added_all_or_none(bed):
    grant(bed.root, acl(TXN, "all", WRITE), acl(TOPIC, "orders", WRITE))
    made = bed.alice.call("init_producer_id", 4, transactional_id="all",
                          transaction_timeout_ms=60000)
    assert made["error_code"] == 0

    def add(*topics):
        answer = bed.alice.call("add_partitions_to_txn", 3, transactional_id="all",
                                producer_id=made["producer_id"],
                                producer_epoch=made["producer_epoch"],
                                topics=[{"name": n, "partitions": [0, 1]} for n in topics])
        return {t["name"]: [p["error_code"] for p in t["partitions"]] for t in answer["topics"]}

    def added():
        state = bed.root.call("describe_transactions", 0, transactional_ids=["all"])
        state = state["transaction_states"][0]
        return state["transaction_state"], sorted({t["name"] for t in state["topics"]})

    denied, none, skipped = [TOPIC_DENIED] * 2, [UNKNOWN_TOPIC] * 2, [NOT_ATTEMPTED] * 2
    assert add("orders", "other") == {"orders": skipped, "other": denied}
    assert add("other") == {"other": denied}
    assert added() == ("Empty", [])
    grant(bed.root, acl(TOPIC, "missing", WRITE), acl(TOPIC, "sys.catalog", WRITE))
    assert add("missing", "orders") == {"missing": none, "orders": skipped}
    assert add("orders", "sys.catalog") == {"orders": skipped,
                                            "sys.catalog": [TOPIC_DENIED, UNKNOWN_TOPIC]}
    assert added() == ("Empty", [])
    assert add("orders") == {"orders": [0, 0]}
    assert added() == ("Ongoing", ["orders"])
    assert add("orders", "other") == {"orders": skipped, "other": denied}
    assert added() == ("Ongoing", ["orders"])
    # What brokers send each other is for who may act as one.
    verify = {"transactional_id": "all", "producer_id": made["producer_id"],
              "producer_epoch": made["producer_epoch"], "verify_only": 1,
              "topics": [{"name": "orders", "partitions": [0]}]}
    for version in (4, 5):
        answer = bed.alice.call("add_partitions_to_txn", version, transactions=[verify])
        assert (answer["error_code"], answer["results"]) == (CLUSTER_DENIED, [])
    grant(bed.root, acl(CLUSTER, "kafka-cluster", CLUSTER_ACTION))
    answer = bed.alice.call("add_partitions_to_txn", 5, transactions=[verify])
    assert answer["error_code"] == 0
    assert answer["results"][0]["topics"][0]["partitions"] == [{"index": 0, "error_code": 0}]
    ended = bed.alice.call("end_txn", 3, transactional_id="all", committed=False,
                           producer_id=made["producer_id"], producer_epoch=made["producer_epoch"])
    assert ended["error_code"] == 0


def test_hosts_and_everybody(bed):
    grant(bed.root, acl(TOPIC, "orders", READ, host="10.1.2.3"))
    assert metadata(bed.alice, "orders") == {"orders": TOPIC_DENIED}
    grant(bed.root, acl(TOPIC, "orders", READ, host="127.0.0.1"))
    assert metadata(bed.alice, "orders") == {"orders": 0}
    grant(bed.root, acl(TOPIC, "*", ALL, user="*"))
    assert metadata(bed.alice, "other") == {"other": 0}
    grant(bed.root, acl(TOPIC, "other", ALL, user="*", permission=DENY))
    assert metadata(bed.alice, "other") == {"other": TOPIC_DENIED}
    assert metadata(bed.root, "other") == {"other": 0}


def bits(*operations):
    return sum(1 << o for o in operations)


def test_authorized_operations(bed):
    grant(bed.root, acl(TOPIC, "orders", WRITE), acl(GROUP, "g", READ),
          acl(CLUSTER, "kafka-cluster", CREATE))
    request = {"topics": [{"name": "orders"}], "include_topic_authorized_operations": 1}
    topic = bed.alice.call("metadata", 12, **request)["topics"][0]
    assert topic["authorized_operations"] == bits(WRITE, DESCRIBE)
    topic = bed.root.call("metadata", 12, **request)["topics"][0]
    assert topic["authorized_operations"] == bits(READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE,
                                                  DESCRIBE_CONFIGS, ALTER_CONFIGS)
    answer = bed.alice.call("describe_cluster", 0, include_cluster_authorized_operations=1)
    assert answer["cluster_authorized_operations"] == bits(CREATE)
    answer = bed.alice.call("describe_cluster", 0)
    assert answer["cluster_authorized_operations"] == -2147483648
    commit(bed.root, "g", "orders")
    answer = bed.alice.call("describe_groups", 5, groups=["g"], include_authorized_operations=1)
    assert answer["groups"][0]["authorized_operations"] == bits(READ, DESCRIBE)


def test_new_consumer_groups(bed):
    """KIP-848: its groups are groups."""
    beat = {"group_id": "kip", "member_id": "m", "member_epoch": 0, "rebalance_timeout_ms": 10000,
            "subscribed_topic_names": ["orders"], "topic_partitions": []}
    assert bed.alice.call("consumer_group_heartbeat", 1, **beat)["error_code"] == GROUP_DENIED
    describe = {"group_ids": ["kip"], "include_authorized_operations": 1}
    group = bed.alice.call("consumer_group_describe", 1, **describe)["groups"][0]
    assert (group["error_code"], group["group_id"]) == (GROUP_DENIED, "kip")
    grant(bed.root, acl(GROUP, "kip", READ), acl(TOPIC, "orders", READ))
    assert bed.alice.call("consumer_group_heartbeat", 1, **beat)["error_code"] == 0
    group = bed.alice.call("consumer_group_describe", 1, **describe)["groups"][0]
    assert (group["error_code"], group["authorized_operations"]) == (0, bits(READ, DESCRIBE))
    assert bed.root.call("consumer_group_heartbeat", 1, **{
        **beat, "member_id": "n", "subscribed_topic_names": ["orders", "other"],
        "subscribed_topic_regex": "log.*"})["error_code"] == 0
    described = bed.root.call("consumer_group_describe", 1, **describe)["groups"][0]
    assert (described["error_code"], len(described["members"])) == (0, 2)
    # A member has topics that alice knows nothing of: she is told nothing of the group.
    group = bed.alice.call("consumer_group_describe", 1, **describe)["groups"][0]
    assert (group["error_code"], group["group_id"]) == (TOPIC_DENIED, "kip")
    assert (group["members"], group["group_state"], group["group_epoch"]) == ([], "", 0)
    assert group["authorized_operations"] == -2147483648 and "Describe" in group["error_message"]
    grant(bed.root, acl(TOPIC, "other", DESCRIBE), acl(TOPIC, "log.", READ, pattern=PREFIXED))
    group = bed.alice.call("consumer_group_describe", 1, **describe)["groups"][0]
    assert (group["error_code"], group["members"]) == (0, described["members"])


def test_deleting_records(bed):
    def delete():
        answer = bed.alice.call("delete_records", 2, timeout_ms=1000, topics=[
            {"name": n, "partitions": [{"index": 0, "offset": 0}]} for n in ("other", "orders")])
        return {t["name"]: (t["partitions"][0]["error_code"], t["partitions"][0]["low_watermark"])
                for t in answer["topics"]}

    assert delete() == {"other": (TOPIC_DENIED, -1), "orders": (TOPIC_DENIED, -1)}
    grant(bed.root, acl(TOPIC, "orders", DELETE))
    assert delete() == {"orders": (0, 0), "other": (TOPIC_DENIED, -1)}


def test_salted_passwords_are_not_for_reading(make_server):
    """sys.catalog may be read as long as it holds none."""
    server = make_server()
    with Client(server) as client:
        client.call("create_topics", 7, topics=[{"name": "t", "num_partitions": 1,
                                                 "replication_factor": 1}])
        assert fetch(client, "sys.catalog") == {"sys.catalog": 0}
        sql(server, "CREATE USER u PASSWORD 'p'")
        assert fetch(client, "sys.catalog") == {"sys.catalog": TOPIC_DENIED}


def test_users_and_lists_in_sql(bed):
    grant(bed.root, acl(TOPIC, "orders", READ), acl(GROUP, "app", READ, user="bob", host="::1"),
          acl(TOPIC, "log.", WRITE, permission=DENY, pattern=PREFIXED))
    with psycopg.connect(host="127.0.0.1", port=bed.server.port("pg"), autocommit=True) as db:
        users = db.execute("SELECT * FROM sys.users").fetchall()
        lists = db.execute("SELECT * FROM sys.acls").fetchall()
    assert {u[0] for u in users} >= {"root", "alice", "bob"}
    assert {(len(u), u[1], u[2]) for u in users} <= {
        (3, "SCRAM-SHA-256", 4096), (3, "SCRAM-SHA-512", 4096)}
    assert sorted(lists) == [
        ("GROUP", "app", "LITERAL", "User:bob", "::1", "READ", "ALLOW"),
        ("TOPIC", "log.", "PREFIXED", "User:alice", "*", "WRITE", "DENY"),
        ("TOPIC", "orders", "LITERAL", "User:alice", "*", "READ", "ALLOW")]


def test_consumer_with_the_rights_it_needs(bed):
    grant(bed.root, acl(TOPIC, "orders", READ), acl(TOPIC, "orders", WRITE),
          acl(GROUP, "app", READ))
    login = {"bootstrap_servers": [bed.server.kafka], "security_protocol": "SASL_PLAINTEXT",
             "sasl_mechanism": "SCRAM-SHA-256", "sasl_plain_username": "alice",
             "sasl_plain_password": "a"}
    producer = kafka.KafkaProducer(**login)
    value = os.urandom(8)
    producer.send("orders", value, partition=0).get(20)
    producer.close()
    consumer = kafka.KafkaConsumer("orders", group_id="app", auto_offset_reset="earliest",
                                   consumer_timeout_ms=20000, **login)
    assert any(message.value == value for message in consumer)
    consumer.commit()
    consumer.close()
