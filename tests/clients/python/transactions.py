"""confluent-kafka (librdkafka) against a broker: transactions that commit, abort, carry offsets, and fence."""

import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

bootstrap, topic = sys.argv[1:]
source, group = topic + "-source", topic + "-group"


def produce(producer, to, values):
    for value in values:
        producer.produce(to, value=value.encode(), partition=0)
    assert producer.flush(60) == 0


def transactional():
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic})
    producer.init_transactions(60)
    return producer


def reader(isolation):
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
        }
    )


def read(isolation, count):
    consumer = reader(isolation)
    consumer.assign([TopicPartition(topic, 0, 0)])
    seen = []
    while True:
        message = consumer.poll(60)
        assert message is not None, f"saw {seen}"
        if message.error() is None:
            seen.append(message.value().decode())
        elif len(seen) >= count:
            break
    consumer.close()
    return seen


produce(Producer({"bootstrap.servers": bootstrap}), source, ["one", "two", "three"])
first = transactional()
first.begin_transaction()
produce(first, topic, ["aborted"])
first.abort_transaction(60)

consumer = reader("read_committed")
consumer.subscribe([source])
for outcome in ["abort", "commit"]:
    first.begin_transaction()
    for _ in range(3):
        message = consumer.poll(60)
        while message is not None and message.error() is not None:
            message = consumer.poll(60)
        produce(first, topic, [f"{outcome} {message.value().decode()}"])
    place = TopicPartition(source, 0)
    first.send_offsets_to_transaction(consumer.position([place]), consumer.consumer_group_metadata(), 60)
    if outcome == "commit":
        first.commit_transaction(60)
    else:
        first.abort_transaction(60)
        consumer.seek(TopicPartition(source, 0, 0))
assert consumer.committed([TopicPartition(source, 0)], 60)[0].offset == 3
consumer.close()

committed = ["commit one", "commit two", "commit three"]
everything = ["aborted", "abort one", "abort two", "abort three", *committed]
assert read("read_committed", 3) == committed, read("read_committed", 3)
assert read("read_uncommitted", 7) == everything, read("read_uncommitted", 7)

second = transactional()
try:
    first.begin_transaction()
    produce(first, topic, ["fenced"])
    first.commit_transaction(60)
except KafkaException as fenced:
    assert fenced.args[0].fatal(), fenced
else:
    raise AssertionError("the first producer was not fenced")
second.begin_transaction()
produce(second, topic, ["the second"])
second.commit_transaction(60)
assert read("read_committed", 4) == [*committed, "the second"]
print("ok")
