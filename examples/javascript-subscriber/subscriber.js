// A subscriber to Paddock's events that loses nothing and does nothing twice. It needs the package `nats` and nothing else.
//
// JetStream keeps an event until this durable has acknowledged it, so an event can be missed by nobody, and can come
// again: after a crash between the work and the acknowledgement, for example. So the event's id and what came of it are
// one line of one file, on disk before the acknowledgement, and an id that is already there is acknowledged and skipped.
//
// Settings come from the environment; see README.md.

import { closeSync, existsSync, fsyncSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { connect, credsAuthenticator } from "nats";

const STREAM = "EVENTS";
const BATCH = 32;
const FETCH_MILLIS = 2_000; // how long one request for events stays open; a stop is noticed as soon as that is over
const RETRY_MILLIS = [1_000, 5_000, 25_000, 60_000]; // before the second, third, fourth and every later try
const PAUSE_MILLIS = 1_000;

const { DURABLE, NATS_CREDS_FILE } = process.env;
const NATS_URL = process.env.NATS_URL ?? "nats://127.0.0.1:4222";
const INBOX_PREFIX = process.env.INBOX_PREFIX ?? "_INBOX";
const STORE = process.env.STORE ?? "subscriber.jsonl";

// What has been done: one line of JSON for each event, and the newest classifications that follow from them.
class Store {
  constructor(path) {
    this.done = new Set();
    this.leaders = new Map();
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    const whole = text.slice(0, text.lastIndexOf("\n") + 1); // a line that a crash cut short never happened
    for (const line of whole.split("\n")) if (line) this.#apply(JSON.parse(line));
    this.size = Buffer.byteLength(whole);
    this.file = openSync(path, "a");
    ftruncateSync(this.file, this.size);
  }

  // Write the event's id and its effect, and return when they are on disk.
  commit(entry) {
    const line = Buffer.from(JSON.stringify(entry) + "\n");
    try {
      for (let at = 0; at < line.length; ) at += writeSync(this.file, line, at);
      fsyncSync(this.file);
    } catch (error) {
      ftruncateSync(this.file, this.size); // a disk that is full must not leave half a line before the next one
      throw error;
    }
    this.size += line.length;
    this.#apply(entry);
  }

  #apply({ id, effect }) {
    this.done.add(id);
    if (effect?.leader && !(this.leaders.get(effect.session)?.version >= effect.version)) {
      this.leaders.set(effect.session, effect);
    }
  }

  close() {
    closeSync(this.file);
  }
}

// The newest classification of a session counts: versions come late and again, and the highest is the truth.
const results = (event) => ({
  session: `${event.race_id} ${event.session}`,
  version: event.result_version,
  leader: event.classification[0].driver_id,
});

// What to do by `ce-type`. The type names the major version, so a version 2 can never be taken for a version 1.
const HANDLERS = {
  "paddock.race.finished.v1": (event) => ({ race: event.race_id, winner: event.winner }),
  "paddock.race.scored.v1": (event) => ({ race: event.race_id, score: event.score_version }),
  "paddock.results.synced.v1": results,
  "paddock.results.amended.v1": results,
};

async function handle(message, store) {
  const header = (name) => message.headers?.get(name) ?? "";
  const id = header("ce-id");
  const work = HANDLERS[header("ce-type")];
  if (!work) {
    console.error(`${header("ce-type")} is no type we know; no further try will help`);
    message.term("unknown type");
    return;
  }
  try {
    if (!store.done.has(id)) {
      store.commit({ id, type: header("ce-type"), key: header("ce-subject"), effect: work(message.json()) });
    }
  } catch (error) {
    const tries = message.info.deliveryCount;
    const delay = RETRY_MILLIS[Math.min(tries, RETRY_MILLIS.length) - 1];
    console.error(`try ${tries} of ${id} failed, the next comes in ${delay} ms:`, error);
    message.nak(delay);
    return;
  }
  await message.ackAck(); // waits for the server; false when it did not answer, and then the event comes again
}

async function main() {
  const store = new Store(STORE);
  let stopping = false;
  let connected = false;
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.on(signal, () => {
      if (!connected) process.exit(0);
      stopping = true;
    });
  }
  const client = await connect({
    servers: NATS_URL,
    name: DURABLE,
    authenticator: NATS_CREDS_FILE ? credsAuthenticator(readFileSync(NATS_CREDS_FILE)) : undefined,
    inboxPrefix: INBOX_PREFIX,
    maxReconnectAttempts: -1, // an outage is waited out, however long,
    waitOnFirstConnect: true, // at the start, too
    pingInterval: 10_000,
  });
  connected = true;
  const jetstream = client.jetstream();
  while (!stopping) {
    try {
      const durable = await jetstream.consumers.get(STREAM, DURABLE);
      while (!stopping) {
        for await (const message of await durable.fetch({ max_messages: BATCH, expires: FETCH_MILLIS })) {
          if (stopping) message.nak(); // not begun: somebody else may have it at once
          else await handle(message, store);
        }
      }
    } catch (error) {
      console.error("no events to be had:", error.message);
      await pause(PAUSE_MILLIS);
    }
  }
  await client.close();
  store.close();
  console.log("stopped");
}

if (!DURABLE) {
  console.error("DURABLE names the durable consumer; see README.md");
  process.exit(2);
}
await main();
