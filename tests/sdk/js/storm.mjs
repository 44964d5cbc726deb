// 300 clients of two channels lose their sockets at once, twice, while publishers go on: each of them must have every
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
  const sdk = new Centrifuge(stack.ws_url, { token: tokenOf(`storm-${fresh()}`), websocket: seen.WebSocket });
  const subs = channels.map((channel) => {
    const state = { numbers: [], subscribed: 0, unrecovered: 0, backAfter: [] };
    const sub = sdk.newSubscription(channel);
    sub.on("publication", ({ data }) => state.numbers.push(data.n));
    sub.on("subscribed", ({ recovered }) => {
      state.subscribed += 1;
      if (state.subscribed > 1 && !recovered) state.unrecovered += 1;
      if (state.subscribed > 1) state.backAfter.push(Date.now() - droppedAt);
    });
    sub.subscribe();
    return state;
  });
  return { number, seen, sdk, subs };
});
const each = (test) => clients.filter((client) => !client.subs.every(test)).map(({ number, sdk, subs }) => ({ number, state: sdk.state, subs: subs.map(({ numbers, ...rest }) => ({ ...rest, numbers: numbers.length })) }));

// as people come: not all in the same moment
for (const { sdk } of clients) {
  sdk.connect();
  await sleep(10);
}
await until("subscribing", () => each((sub) => sub.subscribed >= 1));

let publishing = true;
const published = channels.map(() => 0);
const publishers = channels.map(async (channel, index) => {
  while (publishing) {
    published[index] += 1;
    await publish(channel, { n: published[index] });
    await sleep(150);
  }
});
for (const drop of range(DROPS)) {
  await sleep(2000);
  droppedAt = Date.now();
  for (const { seen } of clients) seen.cut();
  await until(`coming back the ${drop}. time`, () => each((sub) => sub.subscribed >= drop + 1));
}
await sleep(2000);
publishing = false;
await Promise.all(publishers);
await until("the last publication", () => each((sub, index) => sub.numbers.at(-1) === published[index]));

const wrong = each((sub, index) => sub.unrecovered === 0 && sub.numbers.length === published[index] && sub.numbers.every((n, place) => n === place + 1));
const waits = clients.flatMap(({ subs }) => subs.flatMap((sub) => sub.backAfter)).sort((a, b) => a - b);
const after = (share) => `${(waits[Math.min(waits.length - 1, Math.floor(waits.length * share))] / 1000).toFixed(1)} s`;
for (const { sdk } of clients) sdk.disconnect();
if (wrong.length > 0) {
  const one = clients.find(({ number }) => number === wrong[0].number);
  console.error(`storm: ${wrong.length} clients are not complete and in order; of ${published}: ${JSON.stringify(one.subs)}`);
  process.exit(1);
}
console.log(`storm: ${CLIENTS} clients dropped ${DROPS} times, ${published.join(" and ")} publications, all complete and in order; back after p50 ${after(0.5)}, p99 ${after(0.99)}, last ${after(1)}`);
process.exit(0);
