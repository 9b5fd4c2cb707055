"""kafka-python against a broker: transactions that commit, abort, carry offsets, and fence."""

import sys

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from members import until

bootstrap, topic = sys.argv[1:]
group, place = topic + "-group", TopicPartition(topic, 0)


def transactional():
    producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)
    producer.init_transactions()
    return producer


def write(producer, value, offset):
    producer.begin_transaction()
    producer.send(topic, value=value.encode(), partition=0)
    # An abort while a batch is unsent never ends with kafka-python 2.2.15: it stumbles over its own list of batches, again and again.
    producer.flush()
    producer.send_offsets_to_transaction({place: OffsetAndMetadata(offset, "", -1)}, group)


def read(isolation):
    reader = KafkaConsumer(bootstrap_servers=bootstrap, isolation_level=isolation, auto_offset_reset="earliest")
    reader.assign([place])
    end, seen = reader.end_offsets([place])[place], []

    def holds():
        for records in reader.poll(timeout_ms=50).values():
            seen.extend(record.value.decode() for record in records)
        return reader.position(place) >= end

    until(f"the end of what is {isolation}", holds)
    reader.close()
    return seen


admin = KafkaAdminClient(bootstrap_servers=bootstrap)
first = transactional()
write(first, "aborted", 5)
first.abort_transaction()
write(first, "committed", 6)
first.commit_transaction()
until("the outcome to be told", lambda: read("read_committed") == ["committed"])
assert read("read_uncommitted") == ["aborted", "committed"]
assert admin.list_consumer_group_offsets(group)[place].offset == 6

second = transactional()
try:
    first.begin_transaction()
    first.send_offsets_to_transaction({place: OffsetAndMetadata(7, "", -1)}, group)
except KafkaError:
    pass
else:
    raise AssertionError("the first producer was not fenced")
write(second, "the second", 8)
second.commit_transaction()
until("the second's records", lambda: read("read_committed") == ["committed", "the second"])
assert admin.list_consumer_group_offsets(group)[place].offset == 8
print("ok")
