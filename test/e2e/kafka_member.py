#!/usr/bin/python3
"""A member of a classic group for test_kafka_group_chaos.py: kafka-python in a process of its own,
so that it can be stopped and killed. Prints a line before and after each commit:

    try PARTITION BEGIN END
    done PARTITION BEGIN END
"""
import random
import signal
import sys
import time

import kafka


def deliver(consumer):
    """Commits what was polled, one partition after the other."""
    for partition, records in consumer.poll(timeout_ms=50, max_records=200).items():
        begin, end = records[0].offset, records[-1].offset + 1
        line = f"{partition.partition} {begin} {end}"
        print("try", line, flush=True)
        try:
            consumer.commit({partition: kafka.OffsetAndMetadata(end, "")})
        except kafka.errors.KafkaError:
            return  # the partition may be another's by now: what was polled is forgotten
        print("done", line, flush=True)


def main():
    address, topic, group, seed = sys.argv[1:5]
    dice = random.Random(int(seed))
    ending = []
    signal.signal(signal.SIGTERM, lambda *_: ending.append(True))
    consumer = kafka.KafkaConsumer(
        topic, bootstrap_servers=[address], group_id=group, auto_offset_reset="earliest",
        session_timeout_ms=3000, heartbeat_interval_ms=300, max_poll_interval_ms=5000,
        enable_auto_commit=False)
    while not ending:
        deliver(consumer)
        if dice.random() < 0.02:
            time.sleep(dice.random())
    consumer.close(autocommit=False)


main()
