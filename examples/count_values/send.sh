#!/bin/sh
# Sends one message per word to my_topic: examples/count_values/send.sh [BROKER]
printf 'red\ngreen\nred\nblue\nred\ngreen\n' | kcat -P -b "${1:-localhost:9092}" -t my_topic
