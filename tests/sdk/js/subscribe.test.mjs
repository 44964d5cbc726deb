// Subscriptions: who may, what they bring, publishing, presence, join and leave, history, refresh, delta, tags.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { PATIENCE, SIDE_BY_SIDE, api, channelOf, connected, fresh, KEEPER, now, publish, publishAll, range, refusal, sleep, subscribed, subscription, tap, tokenOf } from "./stack.mjs";

const never = new Promise(() => undefined);
const seenBy = ({ client, user, connInfo, chanInfo }) => ({ client, user, connInfo, chanInfo });

/** The code with which a subscription is refused for good. */
async function refusedWith(c, channel, options) {
  const sub = subscription(c, channel, options);
  sub.subscribe();
  return (await sub.heard.unsubscribed.one()).code;
}

describe("who may subscribe", { concurrency: SIDE_BY_SIDE }, () => {
  test("a namespace that is not there is 102, one that does not allow it 103, a name that cannot be is 107", async (t) => {
    const c = await connected(t);
    const codes = await Promise.all([
      refusedWith(c, channelOf("nowhere")),
      refusedWith(c, channelOf("token")),
      refusedWith(c, "chat:köln"),
      refusedWith(c, `chat:${"x".repeat(251)}`),
    ]);
    assert.deepEqual(codes, [102, 103, 107, 107]);
    await subscribed(c, `chat:${fresh()}${"x".repeat(238)}`);
  });

  test("a channel without a namespace has the options of without_namespace", async (t) => {
    const c = await connected(t);
    const sub = await subscribed(c, `bare-${fresh()}`);
    await sub.publish(1);
    assert.equal((await sub.heard.publication.one()).data, 1);
    assert.equal((await refusal(sub.history({ limit: 1 }))).code, 108);
  });

  test("channel_regex holds for what comes after the namespace", async (t) => {
    const c = await connected(t);
    await subscribed(c, `regex:room-${fresh()}`);
    assert.equal(await refusedWith(c, `regex:Room-${fresh()}`), 107);
  });

  test("a channel with # is for the users it names", async (t) => {
    const [anna, bob] = [`anna-${fresh()}`, `bob-${fresh()}`];
    const channel = `chat:talk-${fresh()}#${anna},${bob}`;
    const [a, b, c] = await Promise.all([connected(t, anna), connected(t, bob), connected(t)]);
    const [first, second] = await Promise.all([subscribed(a, channel), subscribed(b, channel)]);
    assert.equal(await refusedWith(c, channel), 103);
    await first.publish("hello");
    assert.equal((await second.heard.publication.one()).data, "hello");
  });

  test("a channel with $ needs a token, whatever its namespace allows", async (t) => {
    const c = await connected(t);
    const channel = `$chat:${fresh()}`;
    assert.equal(await refusedWith(c, channel), 103);
    const other = `$chat:${fresh()}`;
    const sub = await subscribed(c, other, { token: tokenOf(c.user, { channel: other }) });
    await publish(other, "private");
    assert.equal((await sub.heard.publication.one()).data, "private");
  });

  test("64 channels a connection, one more is 106", async (t) => {
    const c = await connected(t);
    const room = fresh();
    // the personal channel is one of them
    await Promise.all(range(63).map((n) => subscribed(c, `live:${room}-${n}`)));
    assert.equal(await refusedWith(c, `live:${room}-more`), 106);
    c.getSubscription(`live:${room}-1`).unsubscribe();
    await subscribed(c, `live:${room}-after`);
  });

  test("an anonymous user may what the namespace says", async (t) => {
    const c = await connected(t, "");
    await subscribed(c, channelOf("open"));
    assert.equal(await refusedWith(c, channelOf("live")), 103);
  });
});

describe("subscription tokens", { concurrency: SIDE_BY_SIDE }, () => {
  test("a token lets in where nothing else does, with its info", async (t) => {
    const [a, b] = await Promise.all([connected(t), connected(t)]);
    const channel = channelOf("token");
    const sub = await subscribed(a, channel, { getToken: async () => tokenOf(a.user, { channel, info: { role: "host" } }) });
    const b64info = Buffer.from('{"role":"guest"}').toString("base64");
    await subscribed(b, channel, { token: tokenOf(b.user, { channel, b64info }) });
    const { clients } = await sub.presence();
    assert.deepEqual(clients[a.id].chanInfo, { role: "host" });
    assert.deepEqual(clients[b.id].chanInfo, { role: "guest" });
    await sub.publish("hi");
    assert.deepEqual((await sub.heard.publication.one()).info.chanInfo, { role: "host" });
  });

  test("a token that is none is refused with 103, the connection stays", async (t) => {
    const c = await connected(t);
    assert.equal(await refusedWith(c, channelOf("token"), { token: "garbage" }), 103);
    assert.equal(c.state, "connected");
  });

  for (const [whose, claims] of [
    ["of another channel", { channel: channelOf("token") }],
    ["of another user", { sub: "somebody-else" }],
    ["of an anonymous user", { sub: undefined }],
  ]) {
    test(`a token ${whose} ends the connection with 3500`, async (t) => {
      const c = await connected(t);
      const channel = channelOf("token");
      subscription(c, channel, { token: tokenOf(c.user, { channel, ...claims }) }).subscribe();
      assert.equal((await c.heard.disconnected.one()).code, 3500);
    });
  }

  test("a token that has expired is asked for again", async (t) => {
    const c = await connected(t);
    const channel = channelOf("token");
    let asked = 0;
    const getToken = async () => {
      asked += 1;
      return tokenOf(c.user, { channel, exp: now() + (asked === 1 ? -10 : 60) });
    };
    await subscribed(c, channel, { getToken });
    assert.equal(asked, 2);
  });

  test("override turns on what the namespace leaves off", async (t) => {
    const c = await connected(t);
    const channel = channelOf("plain");
    const token = tokenOf(c.user, { channel, override: { force_recovery: { value: true } } });
    const sub = await subscribed(c, channel, { token });
    assert.equal(sub.first.recoverable, true);
    assert.equal((await subscribed(c, channelOf("plain"))).first.recoverable, false);
  });

  test("a subscription is refreshed before its token expires, and lives on", { timeout: KEEPER }, async (t) => {
    const c = await connected(t);
    const channel = channelOf("token");
    let asked = 0;
    const getToken = async () => {
      asked += 1;
      return tokenOf(c.user, { channel, exp: now() + (asked === 1 ? 3 : 3600) });
    };
    const sub = await subscribed(c, channel, { getToken });
    await sleep(85_000);
    assert.equal(asked, 2);
    assert.equal(sub.heard.subscribing.all.length, 1);
    await publish(channel, "still here");
    await sub.heard.publication.one();
  });

  test("a subscription that is not refreshed ends with 2501 after its grace, nothing reaches it from then on, and it comes back", { timeout: KEEPER }, async (t) => {
    const c = await connected(t);
    const channel = channelOf("token");
    const answers = [Promise.resolve(tokenOf(c.user, { channel, exp: now() + 3 })), never];
    const sub = await subscribed(c, channel, { getToken: () => answers.shift() ?? Promise.resolve(tokenOf(c.user, { channel })) });
    await publish(channel, "in time");
    await sub.heard.publication.one();
    await sleep(11_000);
    await publish(channel, "too late");
    await sub.heard.subscribing.one((context) => context.code === 2501, KEEPER);
    const again = await sub.heard.subscribed.until((all) => all[1]);
    // with a new token it may have it
    assert.equal(again.recovered, true);
    await sub.heard.publication.first(2);
    assert.deepEqual(sub.heard.publication.data, ["in time", "too late"]);
  });

  test("a refresh with the token of another channel ends the connection with 3500", async (t) => {
    const c = await connected(t);
    const channel = channelOf("token");
    const answers = [tokenOf(c.user, { channel, exp: now() + 2 }), tokenOf(c.user, { channel: channelOf("token") })];
    await subscribed(c, channel, { getToken: async () => answers.shift() });
    assert.equal((await c.heard.disconnected.one()).code, 3500);
  });
});

describe("publishing", { concurrency: SIDE_BY_SIDE }, () => {
  test("a publisher sees its own publication before the reply, with who it is from and where it stands", async (t) => {
    const seen = tap();
    const c = await connected(t, undefined, { websocket: seen.WebSocket, claims: { info: { name: "Anna" } } });
    const sub = await subscribed(c, channelOf("chat"));
    await sub.publish({ text: "hello" });
    const { data, offset, info } = sub.heard.publication.all[0] ?? {};
    assert.deepEqual({ data, offset }, { data: { text: "hello" }, offset: 1 });
    assert.deepEqual(seenBy(info), { client: c.id, user: c.user, connInfo: { name: "Anna" }, chanInfo: undefined });
    const lines = seen.received.flatMap((frame) => frame.split("\n"));
    assert.ok(lines.findIndex((line) => line.includes('"pub"')) < lines.findIndex((line) => line.includes('"publish"')));
  });

  test("any JSON goes through as it is", async (t) => {
    const c = await connected(t);
    const sub = await subscribed(c, channelOf("chat"));
    const all = [0, -1.5, "", "ä\n𝄞\u2028", false, [], [null], {}, { a: { b: [1, "2", null] } }, "x".repeat(20_000)];
    for (const data of all) await sub.publish(data);
    await sub.heard.publication.first(all.length);
    assert.deepEqual(sub.heard.publication.data, all);
    assert.equal((await refusal(sub.publish(null))).code, 107);
  });

  test("publishing without being allowed to is 103, into nowhere 102", async (t) => {
    const c = await connected(t);
    const channel = channelOf("chat");
    assert.equal((await refusal(c.publish(channel, 1))).code, 103);
    assert.equal((await refusal(c.publish(channelOf("nowhere"), 1))).code, 102);
    const sub = await subscribed(c, channel);
    await sub.publish(1);
    sub.unsubscribe();
    assert.equal((await refusal(c.publish(channel, 2))).code, 103);
  });

  test("several subscriptions of one connection each get their own", async (t) => {
    const c = await connected(t);
    const channels = range(8).map(() => channelOf("chat"));
    const subs = await Promise.all(channels.map((channel) => subscribed(c, channel)));
    await api("broadcast", { channels, data: "all" });
    await Promise.all(channels.map((channel, n) => publish(channel, n)));
    await Promise.all(subs.map((sub) => sub.heard.publication.first(2)));
    subs.forEach((sub, n) => assert.deepEqual(sub.heard.publication.data, ["all", n]));
  });

  test("eight writers, one order: every subscriber sees the same", async (t) => {
    const channel = channelOf("large");
    const readers = await Promise.all(range(5).map(() => connected(t)));
    const subs = await Promise.all(readers.map((c) => subscribed(c, channel)));
    await Promise.all(range(8).map((writer) => (async () => {
      for (const n of range(20)) await publish(channel, { writer, n });
    })()));
    await Promise.all(subs.map((sub) => sub.heard.publication.first(160)));
    const orders = subs.map((sub) => JSON.stringify(sub.heard.publication.all.map(({ offset, data }) => [offset, data])));
    assert.equal(new Set(orders).size, 1);
    const offsets = subs[0].heard.publication.all.map(({ offset }) => offset);
    assert.deepEqual(offsets, [...new Set(offsets)].sort((a, b) => a - b));
    for (const writer of range(8)) {
      const own = subs[0].heard.publication.data.filter((data) => data.writer === writer).map((data) => data.n);
      assert.deepEqual(own, range(20));
    }
  });

  test("a channel in shards delivers to all of its subscribers, in order", async (t) => {
    const channel = channelOf("wide");
    const readers = await Promise.all(range(9).map(() => connected(t)));
    const subs = await Promise.all(readers.map((c) => subscribed(c, channel)));
    await Promise.all([publishAll(channel, range(40)), publishAll(channel, range(40, 101))]);
    await Promise.all(subs.map((sub) => sub.heard.publication.first(80)));
    const orders = subs.map((sub) => JSON.stringify(sub.heard.publication.data));
    assert.equal(new Set(orders).size, 1);
    const numbers = subs[0].heard.publication.data.map(({ n }) => n);
    assert.deepEqual(numbers.filter((n) => n < 100), range(40));
    assert.deepEqual(numbers.filter((n) => n > 100), range(40, 101));
  });

  test("a namespace without history delivers without offsets, also to who may publish and does not subscribe", async (t) => {
    const [a, b] = await Promise.all([connected(t), connected(t)]);
    const channel = channelOf("live");
    const sub = await subscribed(a, channel);
    assert.deepEqual([sub.first.positioned, sub.first.recoverable, sub.first.streamPosition], [false, false, undefined]);
    await b.publish(channel, "typing");
    const { data, offset } = await sub.heard.publication.one();
    assert.deepEqual([data, offset], ["typing", undefined]);
    assert.equal((await refusal(sub.history({ limit: 1 }))).code, 108);
  });

  test("nothing arrives after an unsubscribe, and a resubscribe brings what was missed", async (t) => {
    const c = await connected(t);
    const channel = channelOf("chat");
    const sub = await subscribed(c, channel);
    const witness = await subscribed(await connected(t), channel);
    await publish(channel, 1);
    await sub.heard.publication.one();
    sub.unsubscribe();
    await publish(channel, 2);
    await witness.heard.publication.first(2);
    assert.deepEqual(sub.heard.publication.data, [1]);
    sub.subscribe();
    await publish(channel, 3);
    await sub.heard.publication.first(3);
    assert.deepEqual(sub.heard.publication.data, [1, 2, 3]);
  });

  test("subscribe and unsubscribe in quick succession end as the last of them says", async (t) => {
    const c = await connected(t);
    const channel = channelOf("chat");
    const sub = await subscribed(c, channel);
    for (const _ of range(10)) {
      sub.unsubscribe();
      sub.subscribe();
    }
    await sub.ready();
    await publish(channel, "there");
    await sub.heard.publication.one();
    sub.unsubscribe();
    // the SDK does not wait for the reply
    const clients = async () => Object.keys((await api("presence", { channel })).presence);
    for (const end = Date.now() + PATIENCE; (await clients()).length > 0 && Date.now() < end; ) await sleep(50);
    assert.deepEqual(await clients(), []);
    await publish(channel, "away");
    assert.deepEqual(sub.heard.publication.data, ["there"]);
  });
});

describe("presence, join and leave", { concurrency: SIDE_BY_SIDE }, () => {
  test("presence tells who is there, its stats how many", async (t) => {
    const anna = `anna-${fresh()}`;
    const [a, b, c] = await Promise.all([connected(t, anna), connected(t, anna), connected(t)]);
    const channel = channelOf("chat");
    const subs = await Promise.all([a, b, c].map((one) => subscribed(one, channel)));
    assert.deepEqual(Object.keys((await subs[0].presence()).clients).sort(), [a.id, b.id, c.id].sort());
    assert.deepEqual(await subs[0].presenceStats(), { numClients: 3, numUsers: 2 });
    subs[2].unsubscribe();
    await b.disconnect();
    for (const deadline = Date.now() + 20_000; ; await sleep(200)) {
      const { clients } = await subs[0].presence();
      if (Object.keys(clients).length === 1) break;
      assert.ok(Date.now() < deadline, JSON.stringify(clients));
    }
  });

  test("presence is 103 for who may not see it, 108 where there is none", async (t) => {
    const c = await connected(t);
    assert.equal((await refusal(c.presence(channelOf("chat")))).code, 103);
    assert.equal((await refusal(c.presenceStats(channelOf("chat")))).code, 103);
    assert.equal((await refusal(c.presence(channelOf("plain")))).code, 108);
    assert.deepEqual((await c.presence(channelOf("loud"))).clients, {});
    assert.deepEqual(await c.presenceStats(channelOf("loud")), { numClients: 0, numUsers: 0 });
  });

  test("who asks for join and leave hears them, its own join too; who does not, does not", async (t) => {
    const [a, b, c] = await Promise.all([connected(t), connected(t), connected(t)]);
    const channel = channelOf("chat");
    const asking = await subscribed(a, channel, { joinLeave: true });
    const quiet = await subscribed(b, channel);
    const coming = await subscribed(c, channel);
    await asking.heard.join.first(3);
    assert.deepEqual(asking.heard.join.all.map(({ info }) => info.client), [a.id, b.id, c.id]);
    coming.unsubscribe();
    assert.equal((await asking.heard.leave.one()).info.client, c.id);
    b.disconnect();
    await asking.heard.leave.first(2);
    assert.deepEqual(asking.heard.leave.all.map(({ info }) => info.user), [c.user, b.user]);
    assert.deepEqual(quiet.heard.join.all, []);
  });

  test("where they are forced they come unasked, and a socket that is cut leaves once", async (t) => {
    const seen = tap();
    const a = await connected(t);
    const b = await connected(t, undefined, { websocket: seen.WebSocket, minReconnectDelay: 5000, maxReconnectDelay: 9000 });
    const channel = channelOf("loud");
    const sub = await subscribed(a, channel);
    await subscribed(b, channel);
    await sub.heard.join.first(2);
    seen.cut();
    await sub.heard.leave.one(({ info }) => info.client === b.id);
    await b.heard.connected.first(2);
    await sub.heard.join.first(3);
    assert.equal(sub.heard.leave.all.length, 1);
  });
});

describe("history", { concurrency: SIDE_BY_SIDE }, () => {
  test("comes in pages, in both directions, or as a position alone", async (t) => {
    const c = await connected(t);
    const channel = channelOf("large");
    await publishAll(channel, range(25));
    const position = await c.history(channel, { limit: 0 });
    assert.deepEqual([position.publications.length, position.offset], [0, 25]);
    const { epoch } = position;
    const pages = [];
    for (let since = { offset: 0, epoch }; ; ) {
      const page = await c.history(channel, { limit: 10, since });
      if (page.publications.length === 0) break;
      pages.push(page.publications.map(({ data }) => data.n));
      since = { offset: page.publications.at(-1).offset, epoch: page.epoch };
    }
    assert.deepEqual(pages, [range(10), range(10, 11), range(5, 21)]);
    const numbers = async (options) => (await c.history(channel, options)).publications.map(({ data }) => data.n);
    assert.deepEqual(await numbers({ limit: 3, reverse: true }), [25, 24, 23]);
    assert.deepEqual(await numbers({ limit: 3, since: { offset: 10, epoch }, reverse: true }), [9, 8, 7]);
    assert.deepEqual(await numbers({ limit: -1 }), range(25));
    assert.deepEqual(await numbers({ limit: 2 }), [1, 2]);
  });

  test("is cut at history_size, and at 300 in one answer", async (t) => {
    const c = await connected(t);
    const [small, large] = [channelOf("small"), channelOf("large")];
    await Promise.all([publishAll(small, range(5)), publishAll(large, range(310))]);
    assert.equal((await refusal(c.history(small, { limit: 10 }))).code, 103);
    const { publications, offset } = await api("history", { channel: small, limit: 10 });
    assert.deepEqual([publications.map(({ data }) => data.n), offset], [[4, 5], 5]);
    const all = await c.history(large, { limit: -1 });
    assert.deepEqual([all.publications.length, all.publications[0].data.n], [300, 1]);
  });

  test("from a position of another epoch is 112", async (t) => {
    const c = await connected(t);
    const channel = channelOf("large");
    await publish(channel, 1);
    assert.equal((await refusal(c.history(channel, { limit: 1, since: { offset: 0, epoch: "other" } }))).code, 112);
  });
});

describe("delta", { concurrency: SIDE_BY_SIDE }, () => {
  const document = (n) => ({ n, teams: range(20).map((team) => ({ team, name: `Team ${team} – Südost`, points: team === n % 20 ? n : 0 })) });

  test("publications come as differences, and read as they were", async (t) => {
    const c = await connected(t);
    const channel = channelOf("delta");
    const sub = await subscribed(c, channel, { delta: "fossil" });
    const plain = await subscribed(await connected(t), channel);
    await publishAll(channel, range(20), document);
    await Promise.all([sub, plain].map((one) => one.heard.publication.first(20)));
    assert.deepEqual(sub.heard.publication.data, range(20).map(document));
    assert.deepEqual(plain.heard.publication.data, range(20).map(document));
    const stats = sub.deltaStats();
    assert.deepEqual([stats.numFullPayloads, stats.numDeltaPayloads], [1, 19]);
    assert.ok(stats.bytesReceived < stats.bytesDecoded / 4, JSON.stringify(stats));
  });

  test("what was missed is recovered, and differences go on from it", async (t) => {
    const seen = tap();
    const c = await connected(t, undefined, { websocket: seen.WebSocket });
    const channel = channelOf("delta");
    const sub = await subscribed(c, channel, { delta: "fossil" });
    await publishAll(channel, range(3), document);
    await sub.heard.publication.first(3);
    seen.cut();
    await publishAll(channel, range(5, 4), document);
    await sub.heard.subscribed.until((all) => all[1]?.recovered || undefined);
    await publishAll(channel, range(4, 9), document);
    await sub.heard.publication.first(12);
    assert.deepEqual(sub.heard.publication.data, range(12).map(document));
    assert.ok(sub.deltaStats().numDeltaPayloads >= 9, JSON.stringify(sub.deltaStats()));
  });

  test("is on request of the publisher where the namespace does not ask for it", async (t) => {
    const c = await connected(t);
    const channel = channelOf("deltaasked");
    const sub = await subscribed(c, channel, { delta: "fossil" });
    for (const n of range(4)) await publish(channel, document(n), n > 2 ? { delta: true } : {});
    await sub.heard.publication.first(4);
    assert.deepEqual(sub.heard.publication.data, range(4).map(document));
    assert.deepEqual([sub.deltaStats().numFullPayloads, sub.deltaStats().numDeltaPayloads], [2, 2]);
    const { publications } = await api("history", { channel, limit: 10 });
    assert.deepEqual(publications.map(({ data }) => data), range(4).map(document));
  });

  test("asked for where it is not allowed, publications come whole", async (t) => {
    const c = await connected(t);
    const channel = channelOf("large");
    const sub = await subscribed(c, channel, { delta: "fossil" });
    await publish(channel, document(1), { delta: true });
    await publish(channel, document(2), { delta: true });
    await sub.heard.publication.first(2);
    assert.deepEqual(sub.heard.publication.data, range(2).map(document));
  });
});

describe("tags filter", { concurrency: SIDE_BY_SIDE }, () => {
  const tagsFilter = { op: "and", nodes: [{ key: "ticker", cmp: "in", vals: ["BTC", "ETH"] }, { key: "price", cmp: "gte", val: "100" }] };
  const prices = [["BTC", "99.5"], ["BTC", "100"], ["SOL", "500"], ["ETH", "1000"], ["ETH", "9"]];
  const publishPrices = async (channel) => {
    for (const [ticker, price] of prices) await publish(channel, { ticker, price }, { tags: { ticker, price } });
  };

  test("only what it matches arrives, with tags; others get all", async (t) => {
    const channel = channelOf("tagged");
    const [some, all] = await Promise.all([subscribed(await connected(t), channel, { tagsFilter }), subscribed(await connected(t), channel)]);
    await publishPrices(channel);
    await all.heard.publication.first(5);
    await some.heard.publication.first(2);
    assert.deepEqual(some.heard.publication.all.map(({ offset, tags }) => [offset, tags]), [
      [2, { ticker: "BTC", price: "100" }],
      [4, { ticker: "ETH", price: "1000" }],
    ]);
  });

  test("it holds in recovery too", async (t) => {
    const channel = channelOf("tagged");
    const seen = tap();
    const c = await connected(t, undefined, { websocket: seen.WebSocket });
    const sub = await subscribed(c, channel, { tagsFilter });
    seen.cut();
    await publishPrices(channel);
    const again = await sub.heard.subscribed.until((all) => all[1]);
    assert.equal(again.recovered, true);
    await sub.heard.publication.first(2);
    await publish(channel, "live", { tags: { ticker: "BTC", price: "101" } });
    await sub.heard.publication.first(3);
    assert.deepEqual(sub.heard.publication.all.map(({ offset }) => offset), [2, 4, 6]);
  });

  test("a filter that is none is 107, and so is one where none is allowed", async (t) => {
    const c = await connected(t);
    assert.equal(await refusedWith(c, channelOf("tagged"), { tagsFilter: { op: "xor", nodes: [] } }), 107);
    assert.equal(await refusedWith(c, channelOf("large"), { tagsFilter }), 107);
  });
});
