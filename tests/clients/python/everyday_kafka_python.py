"""kafka-python against a broker: administers a topic, and reads it in a group whose members come and go."""

import sys

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

from members import all_seen, shared, until

bootstrap, topic = sys.argv[1:]
group, partitions, share = topic + "-group", 4, 200
admin = KafkaAdminClient(bootstrap_servers=bootstrap)


def retention():
    answers = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return [config[1] for answer in answers for config in answer.resources[0][4] if config[0] == "retention.ms"][0]


def write(producer, numbers):
    sent = [
        producer.send(topic, key=str(number).encode(), value=f"value {number}".encode(), partition=number % partitions)
        for number in numbers
    ]
    for one in sent:
        one.get(timeout=30)


class Member:
    def __init__(self):
        self.seen, self.reader = set(), KafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=30000,
            heartbeat_interval_ms=300,
        )

    def turn(self):
        found = self.reader.poll(timeout_ms=50)
        self.seen |= {record.value.decode() for records in found.values() for record in records}
        if found:
            self.reader.commit()

    def holds(self):
        return len(self.reader.assignment())


admin.create_topics([NewTopic(topic, partitions, 1, topic_configs={"retention.ms": "7200000"})])
until("the topic", lambda: topic in admin.list_topics())
assert len(admin.describe_topics([topic])[0]["partitions"]) == partitions
assert retention() == "7200000"
admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "3600000"})])
until("the config", lambda: retention() == "3600000")

producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, compression_type="lz4")
write(producer, range(0, share))
one = Member()
until("the first records", all_seen([one], share))
two = Member()
until("two members", shared([one, two], [2, 2]))
write(producer, range(share, 2 * share))
until("records of two members", all_seen([one, two], 2 * share))
two.reader.close()
until("one member", shared([one], [4]))
write(producer, range(2 * share, 3 * share))
one.seen |= two.seen
until("the last records", all_seen([one], 3 * share))
producer.close()

described = admin.describe_consumer_groups([group])[0]
assert described.state == "Stable" and len(described.members) == 1, described
one.reader.close()
assert group in [name for name, _ in admin.list_consumer_groups()]
offsets = admin.list_consumer_group_offsets(group)
assert sum(offset.offset for offset in offsets.values()) == 3 * share, offsets
admin.delete_consumer_groups([group])
assert group not in [name for name, _ in admin.list_consumer_groups()]
admin.delete_topics([topic])
until("the end of the topic", lambda: topic not in admin.list_topics())
admin.close()
print("ok")
