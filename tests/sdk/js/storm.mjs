// 300 clients, half of them in one channel and half in another, lose their sockets at once, twice, while publishers go on: each of them must have every
// publication, once, in order, and be told that it was recovered.
//   SIGNALBOX_ENDPOINTS=.signalbox/endpoints.json node tests/sdk/js/storm.mjs
import { Centrifuge } from "centrifuge";
import { channelOf, fresh, publish, range, sleep, stack, tap, tokenOf } from "./stack.mjs";

const CLIENTS = Number(process.env.STORM_CLIENTS ?? 300);
const DROPS = 2;
const MINUTES = 240_000;

/** Asks until `test` holds. */
async function until(what, test) {
  for (const deadline = Date.now() + MINUTES; ; await sleep(100)) {
    const missing = test();
    if (missing.length === 0) return;
    if (Date.now() > deadline) throw new Error(`${what}: ${missing.length} of ${CLIENTS} clients are missing, for example ${JSON.stringify(missing[0])}`);
  }
}

let droppedAt = 0;
// one channel that one invocation posts to, one in shards
const channels = [channelOf("large"), channelOf("wide")];
const clients = range(CLIENTS).map((number) => {
  const seen = tap();
  // Two cores play the cloud and all of its users: a client that gives up after five seconds, the SDK's default, comes back to a longer
  // queue, and none gets anywhere.
  const sdk = new Centrifuge(stack.ws_url, { token: tokenOf(`storm-${fresh()}`), websocket: seen.WebSocket, timeout: 60_000 });
  const index = number % channels.length;
  const client = { number, index, seen, sdk, numbers: [], subscribed: 0, unrecovered: 0, backAfter: [] };
  const sub = sdk.newSubscription(channels[index]);
  sub.on("publication", ({ data }) => client.numbers.push(data.n));
  sub.on("subscribed", ({ recovered }) => {
    client.subscribed += 1;
    if (client.subscribed > 1 && !recovered) client.unrecovered += 1;
    if (client.subscribed > 1) client.backAfter.push(Date.now() - droppedAt);
  });
  sub.subscribe();
  return client;
});
const told = ({ number, index, sdk, numbers, subscribed, unrecovered }) => ({ number, index, state: sdk.state, numbers: numbers.length, subscribed, unrecovered });
const without = (test) => clients.filter((client) => !test(client)).map(told);

// as people come: not all in the same moment
for (const { sdk } of clients) {
  sdk.connect();
  await sleep(10);
}
await until("subscribing", () => without((client) => client.subscribed >= 1));

let publishing = true;
const published = channels.map(() => 0);
const publishers = channels.map(async (channel, index) => {
  while (publishing) {
    const n = published[index] + 1;
    // as backends do: again, when the cloud had no time
    for (let tries = 1; ; tries++) {
      try {
        await publish(channel, { n }, { idempotency_key: `${channel} ${n}` });
        break;
      } catch (error) {
        if (tries === 10) throw error;
        await sleep(1000);
      }
    }
    published[index] = n;
    // one is 300 posts
    await sleep(1500);
  }
});
for (const drop of range(DROPS)) {
  await sleep(4000);
  droppedAt = Date.now();
  for (const { seen } of clients) seen.cut();
  await until(`coming back the ${drop}. time`, () => without((client) => client.subscribed >= drop + 1));
}
await sleep(2000);
publishing = false;
await Promise.all(publishers);
await until("the last publication", () => without((client) => client.numbers.at(-1) === published[client.index]));

const complete = ({ index, numbers }) => numbers.length === published[index] && numbers.every((n, place) => n === place + 1);
const wrong = without((client) => client.unrecovered === 0 && complete(client));
const waits = clients.flatMap(({ backAfter }) => backAfter).sort((a, b) => a - b);
const after = (share) => `${(waits[Math.min(waits.length - 1, Math.floor(waits.length * share))] / 1000).toFixed(1)} s`;
for (const { sdk } of clients) sdk.disconnect();
if (wrong.length > 0) {
  const one = clients.find(({ number }) => number === wrong[0].number);
  console.error(`storm: ${wrong.length} clients are not complete and in order; of ${published}: ${JSON.stringify([told(one), one.numbers])}`);
  process.exit(1);
}
console.log(`storm: ${CLIENTS} clients dropped ${DROPS} times, ${published.join(" and ")} publications, all complete and in order; back after p50 ${after(0.5)}, p99 ${after(0.99)}, last ${after(1)}`);
process.exit(0);
