// Connecting: kinds of tokens, refusals, refresh and expiry, limits, and what a connected client may say.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SIDE_BY_SIDE, api, channelOf, client, connected, fresh, jwt, KEEPER, now, publish, refusal, sleep, subscribed, tap, tokenOf } from "./stack.mjs";

const user = () => `user-${fresh()}`;
const never = new Promise(() => undefined);

describe("tokens", { concurrency: SIDE_BY_SIDE }, () => {
  for (const alg of ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256"]) {
    test(`a token signed with ${alg} connects`, async (t) => {
      const c = client(t, { token: jwt({ sub: user(), exp: now() + 60 }, { alg }) });
      c.connect();
      const { client: id } = await c.heard.connected.one();
      assert.match(id, /./);
    });
  }

  const refused = {
    "that is none": "not.a.token",
    "of another secret": jwt({ sub: "x" }, { secret: "another-secret-another-secret-another" }),
    "without a signature": `${Buffer.from('{"alg":"none"}').toString("base64url")}.${Buffer.from('{"sub":"x"}').toString("base64url")}.`,
    "for a subscription": tokenOf("x", { channel: "chat:x" }),
  };
  for (const [kind, token] of Object.entries(refused)) {
    test(`a token ${kind} ends with 3500, for good`, async (t) => {
      const c = client(t, { token });
      c.connect();
      const { code } = await c.heard.disconnected.one();
      assert.equal(code, 3500);
    });
  }

  test("no token ends with 3501, for good", async (t) => {
    const c = client(t);
    c.connect();
    assert.equal((await c.heard.disconnected.one()).code, 3501);
  });

  test("an anonymous token connects, and may do what anonymous users may", async (t) => {
    const c = await connected(t, "");
    const open = channelOf("open");
    const sub = await subscribed(c, open);
    await sub.publish({ hello: true });
    assert.equal((await sub.heard.publication.one()).info.client, c.id);
    const closed = c.newSubscription(channelOf("chat"));
    const code = new Promise((resolve) => closed.on("unsubscribed", (context) => resolve(context.code)));
    closed.subscribe();
    assert.equal(await code, 103);
  });

  test("a token that has expired is asked for again", async (t) => {
    const anna = user();
    let asked = 0;
    const getToken = async () => {
      asked += 1;
      return tokenOf(anna);
    };
    const c = client(t, { token: tokenOf(anna, { exp: now() - 10 }), getToken });
    c.connect();
    await c.heard.connected.one();
    assert.equal(asked, 1);
    assert.equal(c.heard.error.all[0].error.code, 109);
  });

  test("info and b64info are what others see of a connection", async (t) => {
    const b64info = Buffer.from('{"name":"Bob"}').toString("base64");
    const [a, b] = await Promise.all([
      connected(t, user(), { claims: { info: { name: "Anna" }, meta: { secret: 1 }, jti: fresh() } }),
      connected(t, user(), { claims: { b64info } }),
    ]);
    const channel = channelOf("chat");
    const sub = await subscribed(a, channel);
    await subscribed(b, channel);
    const { clients } = await sub.presence();
    const seen = ({ client, user, connInfo }) => ({ client, user, connInfo });
    assert.deepEqual(seen(clients[a.id]), { client: a.id, user: a.user, connInfo: { name: "Anna" } });
    assert.deepEqual(seen(clients[b.id]), { client: b.id, user: b.user, connInfo: { name: "Bob" } });
  });
});

describe("refresh and expiry", { concurrency: SIDE_BY_SIDE }, () => {
  test("a refreshed connection lives on past the expiry of its first token", { timeout: KEEPER }, async (t) => {
    const anna = user();
    let asked = 0;
    const getToken = async () => {
      asked += 1;
      return tokenOf(anna);
    };
    const c = await connected(t, anna, { token: tokenOf(anna, { exp: now() + 3 }), getToken });
    const sub = await subscribed(c, channelOf("chat"));
    // past the expiry, its grace and a round of the keeper
    await sleep(85_000);
    assert.equal(asked, 1);
    assert.equal(c.heard.connecting.all.length, 1);
    await sub.publish("still here");
    assert.equal((await sub.heard.publication.one()).info.client, c.id);
  });

  test("a connection that is not refreshed is closed with 3005 after its grace, and its client comes back", { timeout: KEEPER }, async (t) => {
    const anna = user();
    const answers = [never];
    const c = await connected(t, anna, { token: tokenOf(anna, { exp: now() + 3 }), getToken: () => answers.shift() ?? Promise.resolve(tokenOf(anna)) });
    const expired = await c.heard.connecting.one((context) => context.code === 3005, KEEPER);
    assert.equal(expired.reason, "connection expired");
    await c.heard.connected.first(2);
  });

  test("nothing reaches a connection once expiry and grace are over", { timeout: KEEPER }, async (t) => {
    const anna = user();
    const channel = channelOf("chat");
    const c = await connected(t, anna, { token: tokenOf(anna, { exp: now() + 3 }), getToken: () => never });
    const sub = await subscribed(c, channel);
    await publish(channel, "in time");
    await sub.heard.publication.one();
    await sleep(11_000);
    await publish(channel, "too late");
    await c.heard.connecting.one((context) => context.code === 3005, KEEPER);
    assert.deepEqual(sub.heard.publication.data, ["in time"]);
  });

  test("a refresh with the token of another user ends with 3500", async (t) => {
    const c = await connected(t, user(), { token: tokenOf(user(), { exp: now() + 2 }), getToken: async () => tokenOf("somebody-else") });
    assert.equal((await c.heard.disconnected.one()).code, 3500);
  });

  test("a refresh with a token that has expired closes with 3005", async (t) => {
    const anna = user();
    const answers = [Promise.resolve(tokenOf(anna, { exp: now() - 10 }))];
    const c = await connected(t, anna, { token: tokenOf(anna, { exp: now() + 2 }), getToken: () => answers.shift() ?? Promise.resolve(tokenOf(anna)) });
    await c.heard.connecting.one((context) => context.code === 3005);
    await c.heard.connected.first(2);
  });

  test("a refresh whose token changes the server-side subscriptions starts the session anew with 3010", async (t) => {
    const anna = user();
    const channel = channelOf("chat");
    const c = await connected(t, anna, { token: tokenOf(anna, { exp: now() + 2 }), getToken: async () => tokenOf(anna, { channels: [channel] }) });
    await c.heard.connecting.one((context) => context.code === 3010);
    await c.heard.subscribed.one((context) => context.channel === channel);
  });

  test("expire_at is the connection's expiry, whatever exp is, and 0 is never", async (t) => {
    const asked = { soon: 0, never: 0 };
    const [anna, bob] = [user(), user()];
    const tokens = (name, who) => async () => {
      asked[name] += 1;
      return tokenOf(who);
    };
    await Promise.all([
      connected(t, anna, { token: tokenOf(anna, { expire_at: now() + 2 }), getToken: tokens("soon", anna) }),
      connected(t, bob, { token: tokenOf(bob, { exp: now() + 2, expire_at: 0 }), getToken: tokens("never", bob) }),
    ]);
    await sleep(6000);
    assert.deepEqual(asked, { soon: 1, never: 0 });
  });
});

describe("a connected client", { concurrency: SIDE_BY_SIDE }, () => {
  test("may call what is not there and gets 108, and status.snapshot answers", async (t) => {
    const c = await connected(t);
    assert.equal((await refusal(c.rpc("no-such-method", {}))).code, 108);
    const { data } = await c.rpc("status.snapshot", {});
    assert.ok(Array.isArray(data.problems));
  });

  test("that sends a message nobody handles is disconnected with 3508, for good", async (t) => {
    const c = await connected(t);
    await c.send({ hello: true });
    assert.equal((await c.heard.disconnected.one()).code, 3508);
  });

  test("gets the replies to several commands of one frame in one message", async (t) => {
    const seen = tap();
    const c = await connected(t, undefined, { websocket: seen.WebSocket });
    const channel = channelOf("chat");
    const sub = await subscribed(c, channel);
    const [sent, received] = [seen.sent.length, seen.received.length];
    c.startBatching();
    const all = Promise.all([sub.presence(), sub.presenceStats(), sub.history({ limit: 10 }), sub.publish("x")]);
    // the SDK gives its commands to the transport in later turns
    await sleep(50);
    c.stopBatching();
    const [presence, stats, history] = await all;
    assert.deepEqual(Object.keys(presence.clients), [c.id]);
    assert.deepEqual(stats, { numClients: 1, numUsers: 1 });
    assert.equal(history.publications.length, 0);
    assert.equal(seen.sent.length - sent, 1);
    const replies = seen.received.slice(received).filter((frame) => frame.includes('"id"'));
    assert.equal(replies.length, 1);
    assert.equal(replies[0].split("\n").filter((line) => line.includes('"id"')).length, 4);
  });

  test("one more than the user may have is refused with 3504, the others stay", async (t) => {
    const anna = user();
    const all = await Promise.all(Array.from({ length: 40 }, () => connected(t, anna)));
    const more = client(t, { token: tokenOf(anna) });
    more.connect();
    assert.equal((await more.heard.disconnected.one()).code, 3504);
    assert.ok(all.every((c) => c.state === "connected"));
  });

  test("is told by the API why it is disconnected, and comes back where the code allows it", async (t) => {
    const anna = user();
    const [a, b, kept] = await Promise.all([connected(t, anna), connected(t, anna), connected(t, anna)]);
    const other = await connected(t);
    await api("disconnect", { user: anna, client: a.id });
    const { code, reason } = await a.heard.disconnected.one();
    assert.deepEqual([code, reason], [3503, "force disconnect"]);
    await api("disconnect", { user: anna, whitelist: [kept.id], disconnect: { code: 4001, reason: "take a break" } });
    const break_ = await b.heard.connecting.one((context) => context.code === 4001);
    assert.equal(break_.reason, "take a break");
    await b.heard.connected.first(2);
    await api("disconnect", { user: anna, client: kept.id, disconnect: { code: 4501, reason: "for good" } });
    assert.equal((await kept.heard.disconnected.one()).code, 4501);
    assert.equal(other.heard.connecting.all.length, 1);
    await api("disconnect", { user: `nobody-${fresh()}` });
  });

  test("is closed with 3005 by an API refresh that says expired, and given more time by one that says when", { timeout: KEEPER }, async (t) => {
    const anna = user();
    const c = await connected(t, anna);
    await api("refresh", { user: anna, expire_at: now() + 3600 });
    await sleep(2000);
    assert.equal(c.heard.connecting.all.length, 1);
    await api("refresh", { user: anna, expired: true });
    await c.heard.connecting.one((context) => context.code === 3005);
    await c.heard.connected.first(2);
    const soon = await connected(t, anna);
    await api("refresh", { user: anna, client: soon.id, expire_at: now() + 2 });
    await soon.heard.connecting.one((context) => context.code === 3005, KEEPER);
  });
});
