// Cases of kafkajs. usage: node kafkajs.mjs BOOTSTRAP [MECHANISM]; the user is the one of run.py
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import kafkajs from "kafkajs";

const { Kafka, CompressionTypes, logLevel } = kafkajs;
const CASE_MS_MAX = 60_000;

const mechanism = process.argv[3];
const sasl = mechanism &&
  { mechanism: mechanism.toLowerCase(), username: "alice", password: "secret" };
const kafka = new Kafka({
  sasl,
  brokers: [process.argv[2]],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, retries: 5 },
});
const fresh = (what) => `${what}-${randomBytes(6).toString("hex")}`;
const numbers = (n) => Array.from({ length: n }, (_, i) => String(i));
const ascending = (values) => [...values].sort((a, b) => Number(a) - Number(b));

async function eventually(what, condition) {
  const end = Date.now() + 30_000;
  while (!(await condition())) {
    assert.ok(Date.now() < end, `${what}: not within 30 s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

// Runs `use` with a connected client, which is disconnected afterwards.
async function connected(client, use) {
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.disconnect();
  }
}

async function topicOf(numPartitions, configEntries = []) {
  const topic = fresh("kafkajs");
  await connected(kafka.admin(), (admin) =>
    admin.createTopics({ topics: [{ topic, numPartitions, configEntries }] }));
  return topic;
}

async function fill(topic, n, { compression = CompressionTypes.None, ...options } = {}) {
  await connected(kafka.producer(options), (producer) =>
    producer.send({
      topic,
      compression,
      messages: numbers(n).map((value) => ({ key: `k${value}`, value, headers: { h: value } })),
    }));
}

// A running consumer in a group; `got` grows.
async function consumer(topic, options) {
  const client = kafka.consumer({
    heartbeatInterval: 300, maxWaitTimeInMs: 200, rebalanceTimeout: 5000, ...options });
  const member = { client, got: [], partitions: 0 };
  client.on(client.events.GROUP_JOIN, ({ payload }) => {
    member.partitions = (payload.memberAssignment[topic] ?? []).length;
  });
  await client.connect();
  await client.subscribe({ topic, fromBeginning: true });
  await client.run({
    autoCommitThreshold: 1,
    eachMessage: async ({ message, partition }) => {
      member.got.push({ ...message, partition });
    },
  });
  return member;
}

async function read(topic, n, options = {}) {
  const member = await consumer(topic, { groupId: fresh("g"), ...options });
  try {
    await eventually(`${n} messages`, () => member.got.length >= n);
    return member.got;
  } finally {
    await member.client.disconnect();
  }
}

async function roundTrip(compression, options) {
  const topic = await topicOf(2);
  await fill(topic, 1000, { compression, ...options });
  const got = await read(topic, 1000);
  for (const { key, value, headers } of got) {
    assert.equal(key.toString(), `k${value}`);
    assert.equal(headers.h.toString(), value.toString());
  }
  assert.deepEqual(ascending(got.map((m) => m.value.toString())), numbers(1000));
}

async function group() {
  const topic = await topicOf(4);
  const groupId = fresh("g");
  const a = await consumer(topic, { groupId });
  const b = await consumer(topic, { groupId });
  try {
    await eventually("2 partitions for each", () => a.partitions === 2 && b.partitions === 2);
    await fill(topic, 400);
    await eventually("every message", () =>
      new Set([...a.got, ...b.got].map((m) => m.value.toString())).size === 400);
  } finally {
    await b.client.disconnect();
  }
  await eventually("4 for the one that stays", () => a.partitions === 4);
  await a.client.disconnect();
}

async function seek() {
  const topic = await topicOf(1);
  await fill(topic, 100);
  const member = await consumer(topic, { groupId: fresh("g") });
  await eventually("100 messages", () => member.got.length === 100);
  member.client.seek({ topic, partition: 0, offset: "90" });
  await eventually("10 again", () => member.got.length === 110);
  await member.client.disconnect();
  assert.equal(member.got[100].value.toString(), "90");
}

// Of each key the last value, over gaps and batches without records.
async function compacted() {
  const settings = { "cleanup.policy": "compact", "segment.bytes": "16384",
                     "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "0" };
  const topic = await topicOf(1, Object.entries(settings).map(([name, value]) =>
    ({ name, value })));
  const messages = numbers(1500).map((_, n) => ({
    key: n < 1000 ? `k${n % 7}` : `f${n % 3}`,
    value: n >= 993 && n < 996 ? null : n + "x".repeat(60) }));
  const client = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await connected(client, async (producer) => {
    for (let n = 0; n < messages.length; n += 15)
      await producer.send({ topic, messages: messages.slice(n, n + 15) });
  });
  const last = new Map(messages.map(({ key, value }) => [key, value]));
  await eventually("fewer messages", async () => {
    const member = await consumer(topic, { groupId: fresh("g") });
    await eventually("the end", () => member.got.at(-1)?.offset === String(messages.length - 1));
    await member.client.disconnect();
    const found = new Map(member.got.map(({ key, value }) => [String(key), value]));
    for (const [key, value] of last)
      assert.equal(found.get(key)?.toString() ?? null, value);
    return member.got.length < messages.length / 2;
  });
}

async function adminRecords(admin) {
  const topic = await topicOf(1);
  await fill(topic, 20);
  assert.equal((await admin.fetchTopicOffsets(topic))[0].high, "20"); // it knows the topic now
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "15" }] });
  assert.equal((await admin.fetchTopicOffsets(topic))[0].low, "15");
  assert.deepEqual((await read(topic, 5)).map((m) => m.value.toString()), numbers(20).slice(15));
}

async function adminTopics(admin) {
  const topic = fresh("kafkajs");
  const configEntries = [{ name: "retention.ms", value: "3600000" }];
  const made = { topic, numPartitions: 3, configEntries };
  assert.equal(await admin.createTopics({ topics: [made] }), true);
  assert.equal(await admin.createTopics({ topics: [made] }), false);
  assert.ok((await admin.listTopics()).includes(topic));
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
  assert.equal(topics[0].partitions.length, 3);
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false, resources: [{ type: 2, name: topic, configNames: ["retention.ms"] }] });
  assert.equal(resources[0].configEntries[0].configValue, "3600000");
  const cluster = await admin.describeCluster();
  assert.equal(cluster.brokers.length, 1);
  await admin.deleteTopics({ topics: [topic] });
  assert.ok(!(await admin.listTopics()).includes(topic));
}

async function adminPartitions(admin) {
  const topic = await topicOf(2);
  const topicPartitions = [{ topic, count: 5 }];
  const count = async () =>
    (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length;
  await admin.createPartitions({ topicPartitions, validateOnly: true });
  assert.equal(await count(), 2);
  await admin.createPartitions({ topicPartitions });
  assert.equal(await count(), 5);
  await assert.rejects(admin.createPartitions({ topicPartitions }),
    (error) => error.type === "INVALID_PARTITIONS");
}

async function adminOffsets(admin) {
  const topic = await topicOf(1);
  await connected(kafka.producer(), async (producer) => {
    for (const timestamp of ["1000", "3000", "9000"])
      await producer.send({ topic, messages: [{ value: timestamp, timestamp }] });
  });
  assert.deepEqual(await admin.fetchTopicOffsets(topic),
    [{ partition: 0, offset: "3", high: "3", low: "0" }]);
  assert.deepEqual(await admin.fetchTopicOffsetsByTimestamp(topic, 2000),
    [{ partition: 0, offset: "1" }]);
}

async function adminGroups(admin) {
  const topic = await topicOf(1);
  const groupId = fresh("g");
  await fill(topic, 10);
  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: "4" }] });
  const member = await consumer(topic, { groupId });
  await eventually("the 6 that follow", () => member.got.length === 6);
  const { groups } = await admin.describeGroups([groupId]);
  assert.equal(groups[0].state, "Stable");
  assert.equal(groups[0].members.length, 1);
  await eventually("the commit", async () =>
    (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions[0].offset === "10");
  await member.client.disconnect();
  assert.ok((await admin.listGroups()).groups.some((g) => g.groupId === groupId));
  await admin.deleteGroups([groupId]);
  assert.ok(!(await admin.listGroups()).groups.some((g) => g.groupId === groupId));
}

const transactional = (transactionalId) =>
  kafka.producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 });

async function committed(topic, expected) {
  const got = await read(topic, expected.length);
  assert.deepEqual(got.map((m) => m.value.toString()).sort(), [...expected].sort());
}

async function txnCommitAndAbort() {
  const topic = await topicOf(2);
  const expected = [];
  await connected(transactional(fresh("tx")), async (producer) => {
    for (let round = 0; round < 4; round++) {
      const transaction = await producer.transaction();
      const values = numbers(50).map((n) => `${round}-${n}`);
      await transaction.send({ topic, messages: values.map((value) => ({ value })) });
      if (round % 2 === 1) {
        await transaction.abort();
      } else {
        await transaction.commit();
        expected.push(...values);
      }
    }
  });
  assert.equal((await read(topic, 200, { readUncommitted: true })).length, 200);
  await committed(topic, expected);
}

async function txnFencing() {
  const topic = await topicOf(1);
  const id = fresh("tx");
  const send = async (producer, value) => {
    const transaction = await producer.transaction();
    await transaction.send({ topic, messages: [{ value }] });
    return transaction;
  };
  await connected(transactional(id), async (old) => {
    const transaction = await send(old, "old");
    await connected(transactional(id), async (young) => {
      const other = await send(young, "new");
      await assert.rejects(transaction.commit(), /producer/i);
      await other.commit();
    });
  });
  await committed(topic, ["new"]);
}

// From topic to topic with offsets in the transactions; the first try of every fifth is aborted.
async function txnCopy() {
  const source = await topicOf(2);
  const target = await topicOf(2);
  const groupId = fresh("g");
  await fill(source, 60);
  const aborted = new Set();
  let copied = 0;
  await connected(transactional(fresh("tx")), (producer) =>
    connected(kafka.consumer({ groupId, maxWaitTimeInMs: 200 }), async (client) => {
      await client.subscribe({ topic: source, fromBeginning: true });
      await client.run({
        autoCommit: false,
        eachMessage: async ({ partition, message }) => {
          const value = message.value.toString();
          const transaction = await producer.transaction();
          await transaction.send({ topic: target, messages: [{ value }] });
          const offset = String(Number(message.offset) + 1);
          await transaction.sendOffsets({
            consumerGroupId: groupId,
            topics: [{ topic: source, partitions: [{ partition, offset }] }] });
          if (Number(value) % 5 === 0 && !aborted.has(value)) {
            aborted.add(value);
            await transaction.abort();
            client.seek({ topic: source, partition, offset: message.offset });
          } else {
            await transaction.commit();
            copied++;
          }
        },
      });
      await eventually("60 copies", () => copied === 60);
    }));
  assert.equal(aborted.size, 12);
  await connected(kafka.admin(), async (admin) => {
    const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [source] });
    assert.equal(partitions.reduce((sum, p) => sum + Number(p.offset), 0), 60);
  });
  await committed(target, numbers(60));
}

const withAdmin = (use) => () => connected(kafka.admin(), use);
const cases = {
  "produce.none": () => roundTrip(CompressionTypes.None),
  "produce.gzip": () => roundTrip(CompressionTypes.GZIP),
  "produce.idempotent": () =>
    roundTrip(CompressionTypes.None, { idempotent: true, maxInFlightRequests: 1 }),
  group,
  seek,
  "transactions.commit-and-abort": txnCommitAndAbort,
  "transactions.fencing": txnFencing,
  "transactions.copy": txnCopy,
  "records.compacted": compacted,
  "admin.topics": withAdmin(adminTopics),
  "admin.partitions": withAdmin(adminPartitions),
  "admin.records": withAdmin(adminRecords),
  "admin.offsets": withAdmin(adminOffsets),
  "admin.groups": withAdmin(adminGroups),
};

function bounded(promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${CASE_MS_MAX} ms`)), CASE_MS_MAX);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const { version } = JSON.parse(
  readFileSync(new URL("node_modules/kafkajs/package.json", import.meta.url)));
console.log(`client kafkajs ${version}${mechanism ? ` ${mechanism}` : ""}`);
let failed = 0;
for (const [name, run] of Object.entries(cases)) {
  const start = Date.now();
  try {
    await bounded(run());
    console.log(`ok kafkajs.${name} (${Date.now() - start} ms)`);
  } catch (error) {
    failed++;
    console.log(`FAILED kafkajs.${name}: ${String(error.message).replaceAll("\n", " ")}`);
  }
}
process.exit(failed === 0 ? 0 : 1);
