// kafkajs against a broker: administers a topic, and reads it in a group whose members come and go.

const assert = require("assert");
const { Kafka, ConfigResourceTypes, logLevel } = require("kafkajs");

const [bootstrap, topic] = process.argv.slice(2);
const groupId = `${topic}-group`;
const partitions = 4;
const share = 200;
const kafka = new Kafka({ clientId: "everyday", brokers: [bootstrap], logLevel: logLevel.NOTHING });
const admin = kafka.admin();

async function until(what, holds) {
  const deadline = Date.now() + 60000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const resource = { type: ConfigResourceTypes.TOPIC, name: topic };
const listed = async () => (await admin.listTopics()).includes(topic);

async function retention() {
  const { resources } = await admin.describeConfigs({ resources: [{ ...resource, configNames: ["retention.ms"] }] });
  return resources[0].configEntries[0].configValue;
}

async function write(from, to) {
  const producer = kafka.producer();
  await producer.connect();
  const messages = [];
  for (let n = from; n < to; n++) messages.push({ value: `value ${n}`, partition: n % partitions });
  await producer.send({ topic, messages, acks: -1 });
  await producer.disconnect();
}

async function join() {
  const member = { seen: new Set(), holds: 0 };
  member.reader = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 300, maxWaitTimeInMs: 100 });
  member.reader.on(member.reader.events.GROUP_JOIN, ({ payload }) => {
    member.holds = (payload.memberAssignment[topic] || []).length;
  });
  await member.reader.connect();
  await member.reader.subscribe({ topic, fromBeginning: true });
  await member.reader.run({
    autoCommitThreshold: 1,
    partitionsConsumedConcurrently: partitions,
    eachMessage: async ({ message }) => member.seen.add(message.value.toString()),
  });
  return member;
}

const allSeen = (members, count) => () => {
  const seen = new Set(members.flatMap((member) => [...member.seen]));
  return seen.size === count && [...Array(count).keys()].every((n) => seen.has(`value ${n}`));
};
const shared = (members, shares) => () =>
  String(members.map(({ holds }) => holds).sort()) === String(shares);

async function committed() {
  const [{ partitions: places }] = await admin.fetchOffsets({ groupId, topics: [topic] });
  return places.reduce((sum, { offset }) => sum + Number(offset), 0);
}

async function main() {
  await admin.connect();
  const configEntries = [{ name: "retention.ms", value: "7200000" }];
  await admin.createTopics({ topics: [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }] });
  await until("the topic", listed);
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
  assert.strictEqual(topics[0].partitions.length, partitions);
  assert.strictEqual(await retention(), "7200000");
  const altered = [{ ...resource, configEntries: [{ name: "retention.ms", value: "3600000" }] }];
  await admin.alterConfigs({ resources: altered });
  await until("the config", async () => (await retention()) === "3600000");

  await write(0, share);
  const one = await join();
  await until("the first records", allSeen([one], share));
  const two = await join();
  await until("two members", shared([one, two], [2, 2]));
  await write(share, 2 * share);
  await until("records of two members", allSeen([one, two], 2 * share));
  await two.reader.disconnect();
  await until("one member", shared([one], [4]));
  await write(2 * share, 3 * share);
  await until("the last records", allSeen([one, two], 3 * share));
  await until("the last commit", async () => (await committed()) === 3 * share);
  const { groups: described } = await admin.describeGroups([groupId]);
  assert.strictEqual(described[0].state, "Stable");
  assert.strictEqual(described[0].members.length, 1);
  await one.reader.disconnect();

  const names = async () => (await admin.listGroups()).groups.map((group) => group.groupId);
  assert((await names()).includes(groupId));
  assert.strictEqual(await committed(), 3 * share);
  await admin.deleteGroups([groupId]);
  assert(!(await names()).includes(groupId));
  await admin.deleteTopics({ topics: [topic] });
  await until("the end of the topic", async () => !(await listed()));
  await admin.disconnect();
  console.log("ok");
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
