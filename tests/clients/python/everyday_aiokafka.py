"""aiokafka against a broker: administers a topic, reads it in a group whose members come and go, and transacts."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

bootstrap, topic = sys.argv[1:]
group, partitions, share = topic + "-group", 4, 200


async def until(what, holds):
    async def waiting():
        while not await holds():
            await asyncio.sleep(0.02)

    try:
        await asyncio.wait_for(waiting(), 60)
    except asyncio.TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None


async def retention(admin):
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    return [config[1] for answer in answers for config in answer.resources[0][4] if config[0] == "retention.ms"][0]


async def write(producer, numbers):
    for number in numbers:
        value = f"value {number}".encode()
        await producer.send(topic, value, key=str(number).encode(), partition=number % partitions)
    await producer.flush()


class Member:
    async def start(self):
        self.seen = set()
        self.reader = AIOKafkaConsumer(
            topic,
            bootstrap_servers=bootstrap,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=30000,
            heartbeat_interval_ms=300,
        )
        await self.reader.start()
        return self

    async def turn(self):
        found = await self.reader.getmany(timeout_ms=50)
        self.seen |= {record.value.decode() for records in found.values() for record in records}
        if found:
            await self.reader.commit()

    def holds(self):
        return len(self.reader.assignment())


def all_seen(members, count):
    async def holds():
        for member in members:
            await member.turn()
        return set().union(*(member.seen for member in members)) == {f"value {n}" for n in range(count)}

    return holds


def shared(members, shares):
    async def holds():
        for member in members:
            await member.turn()
        return sorted(member.holds() for member in members) == shares

    return holds


async def administer(admin):
    await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs={"retention.ms": "7200000"})])

    async def there():
        return topic in await admin.list_topics()

    await until("the topic", there)
    assert len((await admin.describe_topics([topic]))[0]["partitions"]) == partitions
    assert await retention(admin) == "7200000"
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "3600000"})])

    async def altered():
        return await retention(admin) == "3600000"

    await until("the config", altered)


async def read_by_members(admin):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, compression_type="gzip")
    await producer.start()
    await write(producer, range(0, share))
    one = await Member().start()
    await until("the first records", all_seen([one], share))
    # It answers when the rebalance is over, and for that the first one has to take its turns.
    starting = asyncio.ensure_future(Member().start())

    async def started():
        await one.turn()
        return starting.done()

    await until("the second member", started)
    two = starting.result()
    await until("two members", shared([one, two], [2, 2]))
    await write(producer, range(share, 2 * share))
    await until("records of two members", all_seen([one, two], 2 * share))
    await two.reader.stop()
    await until("one member", shared([one], [4]))
    await write(producer, range(2 * share, 3 * share))
    one.seen |= two.seen
    await until("the last records", all_seen([one], 3 * share))
    await producer.stop()
    await one.reader.stop()

    assert group in [name for name, _ in await admin.list_consumer_groups()]
    offsets = await admin.list_consumer_group_offsets(group)
    assert sum(offset.offset for offset in offsets.values()) == 3 * share, offsets


async def read(isolation, count):
    reader = AIOKafkaConsumer(bootstrap_servers=bootstrap, isolation_level=isolation)
    await reader.start()
    place, seen = TopicPartition(topic + "-transactions", 0), []
    reader.assign([place])
    await reader.seek_to_beginning(place)
    while len(seen) < count:
        seen.append((await asyncio.wait_for(reader.getone(), 30)).value.decode())
    await reader.stop()
    return seen


async def transactional():
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=topic)
    await producer.start()
    return producer


async def transact():
    into, place = topic + "-transactions", TopicPartition(topic, 0)
    first = await transactional()
    async with first.transaction():
        await first.send_and_wait(into, b"committed", partition=0)
        await first.send_offsets_to_transaction({place: 5}, group + "-transactions")
    await first.begin_transaction()
    await first.send_and_wait(into, b"aborted", partition=0)
    await first.send_offsets_to_transaction({place: 6}, group + "-transactions")
    await first.abort_transaction()
    async with first.transaction():
        await first.send_and_wait(into, b"committed too", partition=0)
    assert await read("read_committed", 2) == ["committed", "committed too"]
    assert await read("read_uncommitted", 3) == ["committed", "aborted", "committed too"]

    second = await transactional()
    try:
        async with first.transaction():
            await first.send_and_wait(into, b"fenced", partition=0)
    except KafkaError:
        pass
    else:
        raise AssertionError("the first producer was not fenced")
    async with second.transaction():
        await second.send_and_wait(into, b"the second", partition=0)
    await second.stop()
    assert await read("read_committed", 3) == ["committed", "committed too", "the second"]
    await first.stop()


async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await administer(admin)
    await read_by_members(admin)
    await transact()
    offsets = await admin.list_consumer_group_offsets(group + "-transactions")
    assert offsets[TopicPartition(topic, 0)].offset == 5, offsets
    await admin.delete_topics([topic])

    async def gone():
        return topic not in await admin.list_topics()

    await until("the end of the topic", gone)
    await admin.close()
    print("ok")


asyncio.run(main())
