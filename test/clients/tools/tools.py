"""Kafka's own command line tools, unmodified. usage: tools.py BOOTSTRAP FOLDER JARS"""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
MECHANISM_AND_REST = sys.argv[2:]
del sys.argv[2:]  # cases.py takes a second argument for a mechanism
from cases import equal, fresh, run  # noqa: E402 pylint: disable=wrong-import-position

BOOTSTRAP = sys.argv[1]
FOLDER, JARS = MECHANISM_AND_REST
SERVER = ["--bootstrap-server", BOOTSTRAP]
SECONDS = 50


def tool(name, *arguments, given=None, status=0):
    """Runs a tool; its output and errors. Tools of 4.4 are quick to say what is deprecated."""
    done = subprocess.run(
        ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
         "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", os.path.join(JARS, "*"),
         "org.apache.kafka.tools." + name, *arguments],
        input=given, capture_output=True, text=True, timeout=SECONDS, check=False)
    text = done.stdout + done.stderr
    assert done.returncode == status, f"{name}: status {done.returncode}: {text}"
    return text


def said(text, *parts):
    for part in parts:
        assert part in text, f"{part!r} is not in {text!r}"


def rows(text, first):
    """The words of the lines that begin with `first`."""
    return [line.split() for line in text.splitlines() if line.split()[:1] == [first]]


def topic_of(partitions, *more):
    name = fresh("tools")
    text = tool("TopicCommand", *SERVER, "--create", "--topic", name, "--partitions",
                str(partitions), *more)
    said(text, f"Created topic {name}.")
    return name


def topics():
    name = topic_of(3, "--config", "retention.ms=3600000")
    text = tool("TopicCommand", *SERVER, "--describe", "--topic", name)
    said(text, "PartitionCount: 3", "ReplicationFactor: 1", "Configs: retention.ms=3600000")
    equal(3, text.count("Leader: 1"), "partitions with a leader")
    said(tool("TopicCommand", *SERVER, "--list"), name)
    tool("TopicCommand", *SERVER, "--delete", "--topic", name)
    assert name not in tool("TopicCommand", *SERVER, "--list"), "still in the list"


def configs():
    name = topic_of(1)
    of_topic = ["--entity-type", "topics", "--entity-name", name]
    said(tool("ConfigCommand", *SERVER, "--alter", *of_topic, "--add-config",
              "retention.ms=7200000,max.message.bytes=2000000"), "Completed updating config")
    said(tool("ConfigCommand", *SERVER, "--describe", *of_topic),
         "retention.ms=7200000", "max.message.bytes=2000000", "DYNAMIC_TOPIC_CONFIG")
    tool("ConfigCommand", *SERVER, "--alter", *of_topic, "--delete-config", "retention.ms")
    assert "retention.ms" not in tool("ConfigCommand", *SERVER, "--describe", *of_topic)
    said(tool("ConfigCommand", *SERVER, "--alter", *of_topic, "--add-config", "no.such=1",
              status=1), "no.such")


def group_configs():
    of_group = ["--entity-type", "groups", "--entity-name", fresh("g")]
    said(tool("ConfigCommand", *SERVER, "--alter", *of_group, "--add-config",
              "consumer.session.timeout.ms=50000,consumer.heartbeat.interval.ms=6000"),
         "Completed updating config")
    said(tool("ConfigCommand", *SERVER, "--describe", *of_group),
         "consumer.session.timeout.ms=50000", "consumer.heartbeat.interval.ms=6000")
    said(tool("ConfigCommand", *SERVER, "--describe", "--entity-type", "groups"), of_group[3])
    said(tool("ConfigCommand", *SERVER, "--alter", *of_group, "--add-config",
              "consumer.session.timeout.ms=1000", status=1), "from 45000 to 60000")


def quotas_and_users():
    of_client = ["--entity-type", "clients", "--entity-name", fresh("c")]
    tool("ConfigCommand", *SERVER, "--alter", *of_client, "--add-config",
         "producer_byte_rate=1000000")
    said(tool("ConfigCommand", *SERVER, "--describe", *of_client), "producer_byte_rate=1000000.0")
    of_user = ["--entity-type", "users", "--entity-name", fresh("u")]
    tool("ConfigCommand", *SERVER, "--alter", *of_user, "--add-config",
         "SCRAM-SHA-256=[iterations=4096,password=pw]")
    said(tool("ConfigCommand", *SERVER, "--describe", *of_user), "SCRAM-SHA-256=iterations=4096")
    equal("", tool("ConfigCommand", *SERVER, "--describe", "--entity-type", "ips"), "quotas of ips")


def acls():
    name = fresh("t")
    rule = ["--allow-principal", "User:u", "--operation", "Read", "--topic", name]
    said(tool("AclCommand", *SERVER, "--add", *rule), "Adding ACLs for resource")
    said(tool("AclCommand", *SERVER, "--list", "--topic", name),
         f"resourceType=TOPIC, name={name}, patternType=LITERAL",
         "principal=User:u, host=*, operation=READ, permissionType=ALLOW")
    tool("AclCommand", *SERVER, "--remove", "--force", *rule)
    assert "User:u" not in tool("AclCommand", *SERVER, "--list", "--topic", name), "still there"


def performance():
    name, group = topic_of(3), fresh("g")
    said(tool("ProducerPerformance", "--topic", name, "--num-records", "5000", "--record-size",
              "100", "--throughput", "-1", "--producer-props", "bootstrap.servers=" + BOOTSTRAP),
         "5000 records sent")
    text = tool("ConsumerPerformance", *SERVER, "--topic", name, "--num-records", "5000", "--group",
                group)
    equal("5000", text.strip().splitlines()[-1].split(", ")[4], "records read")
    described = rows(tool("consumer.group.ConsumerGroupCommand", *SERVER, "--describe", "--group",
                          group), group)
    equal(5000, sum(int(r[3]) for r in described), "committed")
    equal(["0"] * 3, [r[5] for r in described], "lag")


def groups():
    name, group = topic_of(2), fresh("g")
    command = ["consumer.group.ConsumerGroupCommand", *SERVER]
    tool("ConsoleProducer", *SERVER, "--topic", name, given="a\nb\nc\n")
    text = tool("consumer.ConsoleConsumer", *SERVER, "--topic", name, "--from-beginning",
                "--max-messages", "3", "--group", group)
    equal(["a", "b", "c"], sorted(line for line in text.splitlines() if len(line) == 1), "read")
    said(tool(*command, "--list", "--state"), group, "Empty")
    tool(*command, "--reset-offsets", "--group", group, "--topic", name, "--to-earliest",
         "--execute")
    described = rows(tool(*command, "--describe", "--group", group), group)
    equal(["0", "0"], [r[3] for r in described], "offsets after the reset")
    equal(3, sum(int(r[5]) for r in described), "lag")
    equal([[group, "Classic", "consumer"]], rows(tool("GroupsCommand", *SERVER, "--list"), group),
          "the group in the list")


def group_offsets():
    name, group = topic_of(2), fresh("g")
    command = ["consumer.group.ConsumerGroupCommand", *SERVER]
    tool("ConsoleProducer", *SERVER, "--topic", name, given="a\nb\nc\n")
    tool("consumer.ConsoleConsumer", *SERVER, "--topic", name, "--from-beginning",
         "--max-messages", "3", "--group", group)
    said(tool(*command, "--delete-offsets", "--group", group, "--topic", f"{name}:0"),
         "Request succeeded")
    equal(1, len([r for r in rows(tool(*command, "--describe", "--group", group), group)
                  if r[3] != "-"]), "offsets that are left")
    said(tool(*command, "--delete", "--group", group), "was successful")


def verifiable_producer():
    name = topic_of(1)
    lines = [json.loads(line) for line in tool(
        "VerifiableProducer", *SERVER, "--topic", name, "--max-messages", "20").splitlines()
        if line.startswith("{")]
    equal(list(range(20)), [r["offset"] for r in lines if r["name"] == "producer_send_success"],
          "offsets")
    equal((20, 20), [(r["sent"], r["acked"]) for r in lines if r["name"] == "tool_data"][0],
          "sent and acknowledged")


def records_and_offsets():
    name = topic_of(1)
    tool("ConsoleProducer", *SERVER, "--topic", name, given="a\nb\nc\n")
    path = os.path.join(FOLDER, name + ".json")
    os.makedirs(FOLDER, exist_ok=True)
    with open(path, "w", encoding="ascii") as out:
        json.dump({"partitions": [{"topic": name, "partition": 0, "offset": 2}], "version": 1},
                  out)
    said(tool("DeleteRecordsCommand", *SERVER, "--offset-json-file", path), "low_watermark: 2")
    said(tool("GetOffsetShell", *SERVER, "--topic", name), f"{name}:0:3")
    said(tool("GetOffsetShell", *SERVER, "--topic", name, "--time", "earliest"), f"{name}:0:2")


def transactions():
    name = topic_of(1)
    tool("ProducerPerformance", "--topic", name, "--num-records", "10", "--record-size", "10",
         "--throughput", "-1", "--producer-props", "bootstrap.servers=" + BOOTSTRAP,
         "transactional.id=" + name, "--transaction-duration-ms", "100")
    listed = rows(tool("TransactionsCommand", *SERVER, "list"), name)
    equal("CompleteCommit", listed[0][3], "state")
    said(tool("TransactionsCommand", *SERVER, "describe", "--transactional-id", name),
         "CompleteCommit")
    said(tool("TransactionsCommand", *SERVER, "describe-producers", "--topic", name, "--partition",
              "0"), listed[0][2])
    equal(1, len(tool("TransactionsCommand", *SERVER, "find-hanging", "--broker-id", "1")
                 .strip().splitlines()), "lines: the heading")


def cluster():
    name = topic_of(2)
    said(tool("ClusterTool", "cluster-id", *SERVER), "Cluster ID: ")
    equal(["1", BOOTSTRAP.split(":")[0], BOOTSTRAP.split(":")[1]],
          rows(tool("ClusterTool", "list-endpoints", *SERVER), "1")[0][:3], "the endpoint")
    text = tool("LogDirsCommand", *SERVER, "--describe")
    found = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
    names = [p["partition"] for p in found["brokers"][0]["logDirs"][0]["partitions"]]
    equal({f"{name}-0", f"{name}-1"}, {n for n in names if n.startswith(name)}, "partitions")
    said(tool("FeatureCommand", *SERVER, "describe"), "group.version", "transaction.version")
    said(tool("BrokerApiVersionsCommand", *SERVER), "ConsumerGroupHeartbeat(68): 0 to 1")
    tool("LeaderElectionCommand", *SERVER, "--election-type", "preferred",
         "--all-topic-partitions")


def reassignment():
    name = topic_of(1)
    path = os.path.join(FOLDER, name + ".json")
    os.makedirs(FOLDER, exist_ok=True)
    with open(path, "w", encoding="ascii") as out:
        json.dump({"partitions": [{"topic": name, "partition": 0, "replicas": [1]}], "version": 1},
                  out)
    said(tool("reassign.ReassignPartitionsCommand", *SERVER, "--verify",
              "--reassignment-json-file", path), f"Reassignment of partition {name}-0 is completed",
         "Clearing topic-level throttles")


def refused():
    """What one broker without a quorum does not have is said, not guessed."""
    said(tool("MetadataQuorumCommand", *SERVER, "describe", "--status", status=1),
         "does not support DESCRIBE_QUORUM")
    said(tool("TopicCommand", *SERVER, "--create", "--topic", fresh("t"), "--replication-factor",
              "3", status=1), "replication")


if __name__ == "__main__":
    version = next(j for j in os.listdir(JARS) if j.startswith("kafka-tools-4"))
    run("kafka-tools", version[len("kafka-tools-"):-len(".jar")], [
        ("topics", topics), ("configs", configs), ("group-configs", group_configs),
        ("quotas-and-users", quotas_and_users), ("acls", acls), ("performance", performance),
        ("groups", groups), ("group-offsets", group_offsets),
        ("verifiable-producer", verifiable_producer),
        ("records-and-offsets", records_and_offsets), ("transactions", transactions),
        ("cluster", cluster), ("reassignment", reassignment), ("refused", refused),
    ])
