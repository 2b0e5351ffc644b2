#!/usr/bin/python3
"""Sends readings as JSON to the topic my_topic with the kafka package.

usage: producer.py [NUMBER]    (TIDEMILL_KAFKA names the server, localhost:9092 by default)
"""
import json
import os
import sys

from kafka import KafkaProducer

producer = KafkaProducer(
    bootstrap_servers=[os.environ.get("TIDEMILL_KAFKA", "localhost:9092")],
    value_serializer=lambda value: json.dumps(value).encode("utf-8"))

number = int(sys.argv[1]) if len(sys.argv) > 1 else 10
for i in range(number):
    producer.send("my_topic", value={"number": i, "square": i * i})
producer.flush()
print(f"sent {number} messages")
