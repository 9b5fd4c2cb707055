"""confluent-kafka (librdkafka): every record of IN goes to OUT in a transaction, the group's offsets with it; until it is killed.

Whatever fails on the way is begun anew by a new producer, which fences what is left of the one before.
"""

import sys

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

bootstrap, source, target = sys.argv[1:]
name = f"{source}-{target}"


def connect():
    producer = Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": name, "reconnect.backoff.max.ms": 200}
    )
    producer.init_transactions(60)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": name + "-group",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
            "reconnect.backoff.max.ms": 200,
        }
    )
    consumer.subscribe([source])
    return producer, consumer


def transfer(producer, consumer):
    while True:
        messages = consumer.consume(20, timeout=0.2)
        for message in messages:
            if message.error() is not None and message.error().code() != KafkaError._PARTITION_EOF:
                raise KafkaException(message.error())
        if not messages:
            continue
        producer.begin_transaction()
        for message in messages:
            producer.produce(target, value=message.value().lower(), partition=message.partition())
        offsets = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 30)
        producer.commit_transaction(30)
        print("committed", len(messages), flush=True)


while True:
    consumer = None
    try:
        producer, consumer = connect()
        transfer(producer, consumer)
    except KafkaException as failure:
        print("again after", failure, flush=True)
    if consumer is not None:
        consumer.close()
