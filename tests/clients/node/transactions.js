// kafkajs against a broker: transactions that commit, abort, carry offsets, and fence.

const assert = require("assert");
const { Kafka, logLevel } = require("kafkajs");

const [bootstrap, topic] = process.argv.slice(2);
const groupId = `${topic}-group`;
const kafka = new Kafka({ clientId: "transactions", brokers: [bootstrap], logLevel: logLevel.NOTHING });

async function read(readUncommitted, count) {
  const consumer = kafka.consumer({ groupId: `${groupId}-${readUncommitted}-${count}`, readUncommitted });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const seen = [];
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`saw ${seen} of ${count} records`)), 60000).unref();
    const eachMessage = async ({ message }) => {
      seen.push(message.value.toString());
      if (seen.length === count) setTimeout(resolve, 0);
    };
    consumer.run({ eachMessage }).catch(reject);
  });
  await consumer.disconnect();
  return seen;
}

async function producer() {
  const settings = { transactionalId: topic, maxInFlightRequests: 1, idempotent: true };
  const connected = kafka.producer({ ...settings, retry: { retries: 5 } });
  await connected.connect();
  return connected;
}

async function transact(connected, value, offset, commit) {
  const transaction = await connected.transaction();
  await transaction.send({ topic, messages: [{ value }] });
  const topics = [{ topic, partitions: [{ partition: 0, offset }] }];
  await transaction.sendOffsets({ consumerGroupId: groupId, topics });
  await (commit ? transaction.commit() : transaction.abort());
}

async function main() {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 1, replicationFactor: 1 }] });
  const committed = async () => (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions[0].offset;

  const first = await producer();
  await transact(first, "committed", "5", true);
  assert.strictEqual(await committed(), "5");
  await transact(first, "aborted", "6", false);
  assert.strictEqual(await committed(), "5");
  await transact(first, "committed too", "7", true);
  assert.strictEqual(await committed(), "7");
  assert.deepStrictEqual(await read(false, 2), ["committed", "committed too"]);
  assert.deepStrictEqual(await read(true, 3), ["committed", "aborted", "committed too"]);

  const open = await first.transaction();
  await open.send({ topic, messages: [{ value: "fenced" }] });
  const second = await producer();
  await transact(second, "the second", "8", true);
  await assert.rejects(open.commit());
  assert.deepStrictEqual(await read(false, 3), ["committed", "committed too", "the second"]);
  await second.disconnect();
  await admin.disconnect();
  console.log("ok");
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
