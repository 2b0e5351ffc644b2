#!/usr/bin/python3
"""Prints what is in the topic my_topic, and what comes, with the kafka package.

usage: consumer.py [NUMBER]    stops after NUMBER messages; without it only Ctrl-C does
                               (TIDEMILL_KAFKA names the server, localhost:9092 by default)
"""
import json
import os
import sys

from kafka import KafkaConsumer

consumer = KafkaConsumer(
    "my_topic",
    bootstrap_servers=[os.environ.get("TIDEMILL_KAFKA", "localhost:9092")],
    group_id="my_group",
    auto_offset_reset="earliest",
    value_deserializer=lambda value: json.loads(value.decode("utf-8")))

left = int(sys.argv[1]) if len(sys.argv) > 1 else None
for message in consumer:
    print(message.value, flush=True)
    if left is not None:
        left -= 1
        if left == 0:
            break
consumer.close()
