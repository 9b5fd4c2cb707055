"""kafka-python against a broker: create, produce with every codec, consume in a group, commit, resume, delete."""

import sys

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

bootstrap, topic = sys.argv[1:]
group = topic + "-group"
codecs = [None, "gzip", "snappy", "lz4", "zstd"]


def consume(count):
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=30_000,
    )
    seen = []
    for record in consumer:
        seen.append((record.key.decode(), record.value.decode(), record.headers))
        if len(seen) == count:
            break
    consumer.commit()
    consumer.close()
    return sorted(seen)


admin = KafkaAdminClient(bootstrap_servers=bootstrap)
admin.create_topics([NewTopic(name=topic, num_partitions=3, replication_factor=1)])

expected = []
for codec in codecs:
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", compression_type=codec)
    for i in range(20):
        key, value, headers = f"{codec}-{i}", f"value {i} " + "x" * 100, [("codec", str(codec).encode())]
        producer.send(topic, key=key.encode(), value=value.encode(), headers=headers).get(timeout=30)
        expected.append((key, value, headers))
    producer.close()
assert consume(len(expected)) == sorted(expected), "the first reading"

producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
later = [(f"later-{i}", f"value {i}", []) for i in range(10)]
for key, value, _ in later:
    producer.send(topic, key=key.encode(), value=value.encode()).get(timeout=30)
producer.close()
assert consume(len(later)) == sorted(later), "the reading after the commit"

probe = KafkaConsumer(bootstrap_servers=bootstrap)
ends = probe.end_offsets([TopicPartition(topic, partition) for partition in range(3)])
assert sum(ends.values()) == len(expected) + len(later), ends
probe.close()

described = admin.describe_consumer_groups([group])
assert described[0].state == "Empty", described
admin.delete_topics([topic])
admin.close()
print("ok")
