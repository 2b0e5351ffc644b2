"""Half a minute of a classic group's life: members (kafka-python, a process each) join, leave,
pause, are stopped, go on, and are killed, while a producer writes. Every message is delivered, and
none is committed by two."""
import pathlib
import random
import signal
import subprocess
import threading
import time
import uuid

import kafka
from kafka.admin import KafkaAdminClient, NewTopic

from conftest import wait_for

SEED = 20240301
CHAOS_SECONDS = 20
PARTITIONS = 6
MEMBERS = 4
MEMBER = pathlib.Path(__file__).with_name("kafka_member.py")


class Member:
    def __init__(self, server, topic, group, seed):
        self.process = subprocess.Popen(
            ["/usr/bin/python3", str(MEMBER), server.kafka, topic, group, str(seed)],
            stdout=subprocess.PIPE, text=True)
        self.tried, self.done = [], []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            words = line.split()
            if len(words) == 4 and line.endswith("\n"):
                (self.done if words[0] == "done" else self.tried).append(
                    tuple(int(w) for w in words[1:]))

    def end(self, number):
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(10)
        self.process.stdout.close()


def trouble(dice, members, new):
    """One event: a death, a departure, a pause of a whole process, or somebody new."""
    living = [m for m in members if m.process.poll() is None]
    event = dice.random()
    if len(living) < MEMBERS:
        members.append(new())
    elif event < 0.35:
        dice.choice(living).end(signal.SIGKILL)
    elif event < 0.7:
        dice.choice(living).end(signal.SIGTERM)
    else:
        stopped = dice.choice(living)
        stopped.process.send_signal(signal.SIGSTOP)
        time.sleep(dice.random() * 4)  # some are longer than a session
        stopped.process.send_signal(signal.SIGCONT)


def covered(done, tried):
    """The first offset that nobody has committed. A member that died between a commit and its line
    counts as having done what it tried, where nobody else did."""
    ends = {begin: end for begin, end in tried}
    ends.update({begin: end for begin, end in done})
    at = 0
    while at in ends:
        at = ends[at]
    return at


def test_chaos(server):
    unique = uuid.uuid4().hex[:12]
    topic, group = f"t-{unique}", f"g-{unique}"
    admin = KafkaAdminClient(bootstrap_servers=[server.kafka])
    admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    admin.close()
    dice = random.Random(SEED)
    members = []

    def new():
        return Member(server, topic, group, dice.randrange(1 << 30))

    producer = kafka.KafkaProducer(bootstrap_servers=[server.kafka], acks="all", linger_ms=5)
    counts = [0] * PARTITIONS
    deadline = time.monotonic() + CHAOS_SECONDS
    try:
        while time.monotonic() < deadline:
            for _ in range(50):
                partition = dice.randrange(PARTITIONS)
                producer.send(topic, b"x", partition=partition)
                counts[partition] += 1
            trouble(dice, members, new)
            time.sleep(dice.random() / 2)
        producer.flush(20)
        while sum(m.process.poll() is None for m in members) < 2:
            members.append(new())

        def of(partition):
            done = [d[1:] for m in members for d in list(m.done) if d[0] == partition]
            tried = [t[1:] for m in members if m.process.poll() is not None
                     for t in list(m.tried) if t[0] == partition]
            return done, tried

        wait_for(lambda: all(covered(*of(p)) == counts[p] for p in range(PARTITIONS)),
                 "every message is committed", 60, 0.2)
    finally:
        producer.close()
        for member in members:
            if member.process.poll() is None:
                member.end(signal.SIGTERM)
    for partition in range(PARTITIONS):
        done = sorted(of(partition)[0])
        for before, after in zip(done, done[1:]):
            assert before[1] <= after[0], f"partition {partition}: {before} and {after}"
