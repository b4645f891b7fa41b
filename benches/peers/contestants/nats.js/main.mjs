// nats.js with its defaults.

import { readSync, writeSync } from "node:fs";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { connect, headers as newHeaders } from "@nats-io/transport-node";

const SUBJECT = "bench.orders.created";
const HEADERS = [
  ["Nats-Msg-Id", "8a2f41"],
  ["Content-Type", "text/plain"],
  ["Trace", "00-4bf92f35"],
];
const IN_FLIGHT = 256;
const TIMEOUT = 10_000;
// Without a pause this would be one turn of the event loop, in which nothing is written.
const PUBLISHES_IN_A_TURN = 8192;
const STREAM = "PEERS";
const STREAM_SUBJECT = "stream.orders.created";
const CONSUMER = "worker";
const BUCKET = "PEERS";
const KEYS = 1000;
const SHARED = 128;
const LAST = "L".charCodeAt(0);
const END = "E".charCodeAt(0);

const [workload, server, countText, sizeText] = process.argv.slice(2);
const count = Number(countText);
const size = Number(sizeText);
const payload = new Uint8Array(workload === "js-window" ? SHARED : size).fill("x".charCodeAt(0));
const tally = { received: 0, last: 0, headers: 0, times: [] };

/** Waits for a line, or for the end of the input. */
function wait() {
  const buffer = Buffer.alloc(64);
  for (;;) {
    try {
      return readSync(0, buffer) > 0;
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

function ready() {
  writeSync(1, "ready\n");
  if (!wait()) process.exit(1);
}

function done() {
  let line = `done received=${tally.received} last=${tally.last} headers=${tally.headers}`;
  const times = Float64Array.from(tally.times).sort();
  if (times.length > 0) {
    const at = (share) => Math.round(times[Math.floor(share * times.length)] * 1e6);
    line += ` p50=${at(0.5)} p99=${at(0.99)} p999=${at(0.999)}`;
  }
  writeSync(1, line + "\n");
  while (wait());
  process.exit(0);
}

async function publish(nc) {
  let options;
  if (workload === "publish-headers") {
    const headers = newHeaders();
    for (const [name, value] of HEADERS) headers.append(name, value);
    options = { headers };
  }
  await nc.flush();
  ready();
  for (let i = 0; i < count; i++) {
    nc.publish(SUBJECT, payload, options);
    if (i % PUBLISHES_IN_A_TURN === PUBLISHES_IN_A_TURN - 1) {
      await nc.flush();
    }
  }
  await nc.flush();
}

async function receive(nc) {
  const reads = workload === "read-headers";
  const subscription = nc.subscribe(SUBJECT);
  await nc.flush();
  ready();
  for await (const message of subscription) {
    const first = message.data[0];
    if (first === END) break;
    if (reads) {
      for (const [, values] of message.headers) {
        for (const value of values) tally.headers += value.length;
      }
    }
    tally.received += 1;
    tally.last = first === LAST ? 1 : 0;
    if (tally.received === count) break;
  }
}

async function fanOut(nc) {
  const share = count / size;
  let lastOnes = 0;
  const each = Array.from({ length: size }, (_, i) => nc.subscribe(`bench.orders.${i}`));
  await nc.flush();
  ready();
  const read = async (subscription) => {
    let received = 0;
    for await (const message of subscription) {
      const first = message.data[0];
      if (first === END) break;
      received += 1;
      tally.received += 1;
      if (first === LAST) lastOnes += 1;
      if (received === share) break;
    }
  };
  await Promise.all(each.map(read));
  tally.last = lastOnes === size ? 1 : 0;
}

async function subscribe(nc) {
  ready();
  const kept = [];
  for (let i = 0; i < count; i++) kept.push(nc.subscribe(`bench.orders.${i}`));
  await nc.flush();
  tally.received = kept.length;
}

async function resubscribe(nc) {
  for (let i = 0; i < count; i++) nc.subscribe(`bench.orders.${i}`);
  await nc.flush();
  const status = nc.status();
  ready();
  for await (const event of status) {
    if (event.type === "reconnect") break;
  }
  await nc.flush();
  tally.received = count;
}

async function timed(work) {
  const start = performance.now();
  const result = await work();
  tally.times.push(performance.now() - start);
  return result;
}

async function jsPublish(nc) {
  const js = jetstream(nc);
  ready();
  for (let i = 0; i < count; i++) {
    await timed(() => js.publish(STREAM_SUBJECT, payload));
    tally.received += 1;
  }
}

async function jsWindow(nc) {
  const js = jetstream(nc);
  ready();
  const acks = [];
  let oldest = 0;
  for (let i = 0; i < count; i++) {
    if (acks.length - oldest === size) {
      await acks[oldest];
      acks[oldest] = undefined;
      oldest += 1;
    }
    acks.push(js.publish(STREAM_SUBJECT, payload));
  }
  await Promise.all(acks);
  tally.received = count;
}

async function jsConsume(nc, acks) {
  const manager = await jetstreamManager(nc);
  if (acks) {
    await manager.consumers.add(STREAM, {
      durable_name: CONSUMER,
      ack_policy: AckPolicy.Explicit,
      max_ack_pending: -1,
    });
  }
  const consumer = await jetstream(nc).consumers.get(STREAM, CONSUMER);
  ready();
  const messages = await consumer.consume();
  for await (const message of messages) {
    if (acks) message.ack();
    tally.received += 1;
    if (tally.received === count) break;
  }
  await nc.flush();
}

async function bucket(nc) {
  const kv = await new Kvm(nc).open(BUCKET);
  const keys = workload === "kv-get-each" ? count : KEYS;
  ready();
  if (workload === "kv-put") {
    for (let i = 0; i < count; i++) {
      await timed(() => kv.put(`orders.${i % keys}`, payload));
      tally.received += 1;
    }
  } else if (workload === "kv-keys") {
    for await (const _ of await kv.keys()) tally.received += 1;
  } else if (workload === "kv-watch") {
    for await (const entry of await kv.watch()) {
      if (entry.value.length === size) tally.received += 1;
      if (tally.received === count) break;
    }
  } else {
    for (let i = 0; i < count; i++) {
      const entry = await timed(() => kv.get(`orders.${i % keys}`));
      if (entry.value.length === size) tally.received += 1;
    }
  }
}

async function connectEach(keep) {
  ready();
  const kept = [];
  for (let i = 0; i < count; i++) {
    const nc = await connect({ servers: server });
    if (keep) {
      await nc.flush();
      kept.push(nc);
    } else {
      nc.publish(SUBJECT, payload);
      await nc.flush();
      await nc.close();
    }
    tally.received += 1;
  }
}

async function requests(nc, share) {
  for (let i = 0; i < share; i++) {
    const start = performance.now();
    const reply = await nc.request(SUBJECT, payload, { timeout: TIMEOUT });
    tally.times.push(performance.now() - start);
    if (reply.data.length === size) tally.received += 1;
  }
}

const options = { servers: server };
if (server.startsWith("tls://")) {
  options.servers = server.slice("tls://".length);
  options.tls = { caFile: process.env.SSL_CERT_FILE };
}
const nc = await connect(options);
switch (workload) {
  case "publish":
  case "publish-headers":
    await publish(nc);
    break;
  case "fan-out":
    await fanOut(nc);
    break;
  case "subscriptions":
    await subscribe(nc);
    break;
  case "resubscribe":
    await resubscribe(nc);
    break;
  case "js-publish":
    await jsPublish(nc);
    break;
  case "js-window":
    await jsWindow(nc);
    break;
  case "js-consume":
  case "js-read":
    await jsConsume(nc, workload === "js-consume");
    break;
  case "kv-put":
  case "kv-get":
  case "kv-get-each":
  case "kv-keys":
  case "kv-watch":
    await bucket(nc);
    break;
  case "idle":
  case "connect":
    await connectEach(workload === "idle");
    break;
  case "burst":
  case "receive":
  case "receive-headers":
  case "read-headers":
    await receive(nc);
    break;
  case "request":
    await nc.flush();
    ready();
    await requests(nc, count);
    break;
  case "requests":
    await nc.flush();
    ready();
    await Promise.all(Array.from({ length: IN_FLIGHT }, () => requests(nc, count / IN_FLIGHT)));
    break;
  default:
    throw new Error(`there is no workload ${workload}`);
}
done();
