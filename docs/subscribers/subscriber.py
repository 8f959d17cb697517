#!/usr/bin/env python3
"""Keeps each device's newest connection and firmware version, from fleetlog's events.

    pip install confluent-kafka
    KAFKA_BROKERS=127.0.0.1:9092 python3 subscriber.py [--once] [--prefix fleetlog] [--group GROUP]

With --once it ends where the log ends now, otherwise it follows the log until it is interrupted.
"""

import argparse
import json
import os
import sys

from confluent_kafka import Consumer, KafkaError, KafkaException

# What has happened last, by (subject, what): the order key and the value. A real subscriber keeps this in its
# database and guards the update with the same comparison, so that repeats and late events change nothing.
newest = {}


def keep(subject, what, happened, value):
    held = newest.get((subject, what))
    if held is None or held[0] < happened:
        newest[subject, what] = (happened, value)
        print(f"{happened[0]}  {subject}  {what} {value}", flush=True)


def learn(headers, value):
    # These three, in this order, say what happened when. All of them sort as text.
    happened = headers["ce_time"], headers["ce_sequence"], headers["ce_id"]
    subject = headers["ce_subject"]
    match headers["ce_type"]:
        case "io.fleetlog.connection.changed.v1":
            keep(subject, "connection", happened, json.loads(value)["state"])
        case "io.fleetlog.firmware.reported.v1":
            # A report without a version says nothing about the version.
            if version := json.loads(value).get("version"):
                keep(subject, "firmware", happened, version)
        case _:
            # Not of interest here, or of a later fleetlog: pass over what you do not know.
            pass


def attributes(message):
    """The headers as text. The last of a repeated one counts."""
    return {name: value.decode() for name, value in message.headers() or [] if value is not None}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--once", action="store_true")
    arguments.add_argument("--prefix", default="fleetlog")
    arguments.add_argument("--group", default="subscriber-example")
    arguments = arguments.parse_args()

    consumer = Consumer({
        "bootstrap.servers": os.environ.get("KAFKA_BROKERS", "127.0.0.1:9092"),
        "group.id": arguments.group,
        "auto.offset.reset": "earliest",
        # Offsets are committed after the work: at least once, never less.
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    })
    consumer.subscribe([f"{arguments.prefix}.device-events.v1"])
    log, at_end = None, set()
    try:
        while True:
            n_read = 0
            for message in consumer.consume(500, timeout=1.0):
                partition = message.partition()
                if error := message.error():
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    at_end.add(partition)
                    continue
                at_end.discard(partition)
                headers = attributes(message)
                # Topics that were deleted and made again are another log: what was kept means nothing then. A real
                # subscriber keeps the log's id beside what it learned.
                if log not in (None, headers["ce_logid"]):
                    sys.exit(f"this is log {headers['ce_logid']}, no longer {log}")
                log = headers["ce_logid"]
                learn(headers, message.value())
                n_read += 1
            if n_read:
                consumer.commit(asynchronous=False)
            assigned = {one.partition for one in consumer.assignment()}
            if arguments.once and assigned and assigned <= at_end:
                return
    except KeyboardInterrupt:
        pass
    finally:
        consumer.close()


if __name__ == "__main__":
    main()
