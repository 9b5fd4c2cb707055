// kafkajs against a broker: create, produce, consume in a group, commit, resume, delete.

const assert = require("assert");
const { Kafka, CompressionTypes, logLevel } = require("kafkajs");

const [bootstrap, topic] = process.argv.slice(2);
const groupId = `${topic}-group`;
const kafka = new Kafka({ clientId: "roundtrip", brokers: [bootstrap], logLevel: logLevel.ERROR });

const sorted = (records) => records.map((record) => JSON.stringify(record)).sort();

async function consume(count) {
  const consumer = kafka.consumer({ groupId });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const seen = [];
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`saw ${seen.length} of ${count} records`)), 60000).unref();
    consumer
      .run({
        autoCommitThreshold: 1,
        eachMessage: async ({ message }) => {
          const headers = Object.entries(message.headers).map(([name, value]) => [name, value.toString()]);
          seen.push([message.key.toString(), message.value.toString(), headers]);
          // Resolved in a later turn, so that the offset of this message is committed first.
          if (seen.length === count) setTimeout(resolve, 0);
        },
      })
      .catch(reject);
  });
  await consumer.stop();
  await consumer.disconnect();
  return sorted(seen);
}

async function produce(records, options) {
  const producer = kafka.producer({ idempotent: options.idempotent });
  await producer.connect();
  const messages = records.map(([key, value, headers]) => ({ key, value, headers: Object.fromEntries(headers) }));
  await producer.send({ topic, messages, acks: -1, compression: options.compression });
  await producer.disconnect();
}

async function main() {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 3, replicationFactor: 1 }] });

  const numbered = (name, count) =>
    Array.from({ length: count }, (_, i) => [`${name}-${i}`, `value ${i}`, [["name", name]]]);
  const plain = numbered("plain", 50);
  const gzip = numbered("gzip", 50);
  const idempotent = numbered("idempotent", 50);
  await produce(plain, { compression: CompressionTypes.None, idempotent: false });
  await produce(gzip, { compression: CompressionTypes.GZIP, idempotent: false });
  await produce(idempotent, { compression: CompressionTypes.GZIP, idempotent: true });
  assert.deepStrictEqual(await consume(150), sorted([...plain, ...gzip, ...idempotent]), "the first reading");

  const later = numbered("later", 10);
  await produce(later, { compression: CompressionTypes.None, idempotent: false });
  assert.deepStrictEqual(await consume(10), sorted(later), "the reading after the commit");

  const offsets = await admin.fetchTopicOffsets(topic);
  assert.strictEqual(offsets.reduce((sum, { high }) => sum + Number(high), 0), 160);
  await admin.deleteTopics({ topics: [topic] });
  await admin.disconnect();
  console.log("ok");
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
