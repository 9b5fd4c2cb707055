"""confluent-kafka (librdkafka) against a broker: administers a topic, and reads it in a group whose members come and go."""

import sys

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from members import all_seen, shared, until

bootstrap, topic = sys.argv[1:]
group, partitions, share = topic + "-group", 4, 200
admin = AdminClient({"bootstrap.servers": bootstrap})
resource = ConfigResource(ResourceType.TOPIC, topic)


def done(futures):
    return {key: future.result(30) for key, future in futures.items()}


def retention():
    return done(admin.describe_configs([resource]))[resource]["retention.ms"].value


def write(producer, numbers):
    for number in numbers:
        producer.produce(topic, key=str(number), value=f"value {number}", partition=number % partitions)
    assert producer.flush(30) == 0


class Member:
    def __init__(self):
        self.seen, self.reader = set(), Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "session.timeout.ms": 30000,
                "heartbeat.interval.ms": 300,
            }
        )
        self.reader.subscribe([topic])

    def turn(self):
        message = self.reader.poll(0.05)
        if message is not None and message.error() is None:
            self.seen.add(message.value().decode())
            self.reader.commit(message=message, asynchronous=False)

    def holds(self):
        return len(self.reader.assignment())


done(admin.create_topics([NewTopic(topic, partitions, 1, config={"retention.ms": "7200000"})]))
until("the topic", lambda: topic in admin.list_topics(timeout=30).topics)
assert len(admin.list_topics(topic, timeout=30).topics[topic].partitions) == partitions
assert retention() == "7200000"
resource.add_incremental_config(ConfigEntry("retention.ms", "3600000", incremental_operation=AlterConfigOpType.SET))
done(admin.incremental_alter_configs([resource]))
until("the config", lambda: retention() == "3600000")

producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": "zstd"})
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

described = done(admin.describe_consumer_groups([group]))[group]
assert described.state.name == "STABLE" and len(described.members) == 1, described
one.reader.close()
listed = admin.list_consumer_groups().result(30)
assert group in [one.group_id for one in listed.valid], listed
offsets = done(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))[group]
assert sum(place.offset for place in offsets.topic_partitions) == 3 * share, offsets.topic_partitions
places = [TopicPartition(topic, partition, 7) for partition in range(partitions)]
done(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)]))
offsets = done(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))[group]
assert [place.offset for place in offsets.topic_partitions] == [7] * partitions, offsets.topic_partitions
done(admin.delete_consumer_groups([group]))
assert group not in [one.group_id for one in admin.list_consumer_groups().result(30).valid]
done(admin.delete_topics([topic]))
until("the end of the topic", lambda: topic not in admin.list_topics(timeout=30).topics)
print("ok")
