// Subscriptions that the server makes: by a token's claims, the personal channel, the API; and how they survive a reconnect.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SIDE_BY_SIDE, api, channelOf, client, connected, fresh, KEEPER, now, publish, publishAll, range, subscribed, subscription, tap, tokenOf } from "./stack.mjs";

const of = (channel) => (context) => context.channel === channel;
const there = (c, channel, times = 1) => c.heard.subscribed.until((all) => all.filter(of(channel))[times - 1]);
const data = (c, channel) => c.heard.publication.all.filter(of(channel)).map((context) => context.data);
const got = (c, channel, count) => c.heard.publication.until((all) => (all.filter(of(channel)).length >= count ? all.filter(of(channel)) : undefined));

describe("server-side subscriptions", { concurrency: SIDE_BY_SIDE }, () => {
  test("the claim channels subscribes, and what was missed while away comes in order", async (t) => {
    const seen = tap();
    const [one, other] = [channelOf("chat"), channelOf("live")];
    const c = await connected(t, undefined, { claims: { channels: [one, other] }, websocket: seen.WebSocket });
    const first = await there(c, one);
    assert.deepEqual([first.recoverable, first.wasRecovering], [true, false]);
    assert.equal((await there(c, other)).recoverable, false);
    await publish(other, "typing");
    await publishAll(one, range(2), (n) => n);
    await got(c, one, 2);
    seen.cut();
    await publishAll(one, range(3, 3), (n) => n);
    const again = await there(c, one, 2);
    assert.deepEqual([again.wasRecovering, again.recovered], [true, true]);
    await publish(one, 6);
    await got(c, one, 6);
    assert.deepEqual(data(c, one), range(6));
    assert.deepEqual(data(c, other), ["typing"]);
    const { presence } = await api("presence", { channel: one });
    assert.deepEqual(Object.values(presence).map(({ user }) => user), [c.user]);
  });

  test("the claim subs brings data, info and overrides", async (t) => {
    const [chat, plain] = [channelOf("chat"), channelOf("plain")];
    const b64data = Buffer.from('{"b64":true}').toString("base64");
    const c = await connected(t, undefined, {
      claims: {
        subs: {
          [chat]: { data: { welcome: true }, info: { role: "host" } },
          [plain]: { b64data, override: { force_recovery: { value: true } } },
        },
      },
    });
    assert.deepEqual((await there(c, chat)).data, { welcome: true });
    const overridden = await there(c, plain);
    assert.deepEqual([overridden.data, overridden.recoverable], [{ b64: true }, true]);
    const { presence } = await api("presence", { channel: chat });
    assert.deepEqual(Object.values(presence), [{ client: c.id, user: c.user, chan_info: { role: "host" } }]);
  });

  test("every user has a personal channel that all of its connections hear and nobody else can", async (t) => {
    const anna = `anna-${fresh()}`;
    const channel = `personal:#${anna}`;
    const [a, b, c] = await Promise.all([connected(t, anna), connected(t, anna), connected(t)]);
    await Promise.all([there(a, channel), there(b, channel)]);
    const spy = subscription(c, channel);
    spy.subscribe();
    assert.equal((await spy.heard.unsubscribed.one()).code, 103);
    await publish(channel, "for anna");
    await Promise.all([got(a, channel, 1), got(b, channel, 1)]);
    assert.deepEqual(c.heard.publication.all, []);
    const nobody = await connected(t, "");
    assert.deepEqual(nobody.heard.subscribed.all, []);
  });

  test("a client may not subscribe to what the server has subscribed it to: 105", async (t) => {
    const channel = channelOf("chat");
    const c = await connected(t, undefined, { claims: { channels: [channel] } });
    const sub = subscription(c, channel);
    sub.subscribe();
    assert.equal((await sub.heard.unsubscribed.one()).code, 105);
    await publish(channel, "once");
    await got(c, channel, 1);
    assert.deepEqual(data(c, channel), ["once"]);
  });

  test("a channel that the next token does not name is gone after the reconnect", async (t) => {
    const anna = `anna-${fresh()}`;
    const seen = tap();
    const [kept, lost] = [channelOf("loud"), channelOf("loud")];
    const c = client(t, { token: tokenOf(anna, { channels: [kept, lost] }), websocket: seen.WebSocket });
    c.connect();
    await Promise.all([there(c, kept), there(c, lost)]);
    c.setToken(tokenOf(anna, { channels: [kept] }));
    seen.cut();
    await there(c, kept, 2);
    // the SDK asks for what it had, and `loud` lets any client subscribe: Centrifugo keeps it
    await there(c, lost, 2);
    const strict = channelOf("token");
    const s = client(t, { token: tokenOf(anna, { channels: [strict] }), websocket: seen.WebSocket });
    s.connect();
    await there(s, strict);
    s.setToken(tokenOf(anna));
    seen.cut();
    await s.heard.unsubscribed.one(of(strict));
  });

  test("join and leave of a server-side subscription are heard where they are forced", async (t) => {
    const channel = channelOf("loud");
    const [a, b] = [await connected(t, undefined, { claims: { channels: [channel] } }), await connected(t)];
    await a.heard.join.one(({ info }) => info.client === a.id);
    const sub = await subscribed(b, channel);
    await a.heard.join.one(({ info }) => info.client === b.id);
    sub.unsubscribe();
    const { info } = await a.heard.leave.one();
    assert.deepEqual([info.client, info.user], [b.id, b.user]);
  });

  test("an unknown namespace among the claims refuses the connection with 102", async (t) => {
    const c = client(t, { token: tokenOf("anna", { channels: [channelOf("nowhere")] }) });
    c.connect();
    assert.equal((await c.heard.disconnected.one()).code, 102);
  });
});

describe("subscribed by the API", { concurrency: SIDE_BY_SIDE }, () => {
  test("all connections of a user are, with data, and it lasts over a reconnect where the client may have it", async (t) => {
    const anna = `anna-${fresh()}`;
    const seen = tap();
    const [a, b] = await Promise.all([connected(t, anna, { websocket: seen.WebSocket }), connected(t, anna)]);
    const channel = channelOf("chat");
    await api("subscribe", { user: anna, channel, data: { why: "invited" }, info: { role: "guest" } });
    const context = await there(a, channel);
    assert.deepEqual([context.data, context.recoverable], [{ why: "invited" }, true]);
    await there(b, channel);
    const { presence } = await api("presence", { channel });
    assert.deepEqual(Object.values(presence).map(({ chan_info }) => chan_info), [{ role: "guest" }, { role: "guest" }]);
    await publish(channel, 1);
    await Promise.all([got(a, channel, 1), got(b, channel, 1)]);
    seen.cut();
    await publish(channel, 2);
    assert.equal((await there(a, channel, 2)).recovered, true);
    await got(a, channel, 2);
    assert.deepEqual(data(a, channel), [1, 2]);
    await api("unsubscribe", { user: anna, channel });
    await Promise.all([a, b].map((c) => c.heard.unsubscribed.one(of(channel))));
    await publish(channel, 3);
    assert.deepEqual((await api("presence", { channel })).presence, {});
    assert.deepEqual(data(b, channel), [1, 2]);
  });

  test("only the client that is named is", async (t) => {
    const anna = `anna-${fresh()}`;
    const [a, b] = await Promise.all([connected(t, anna), connected(t, anna)]);
    const channel = channelOf("chat");
    await api("subscribe", { user: anna, client: a.id, channel });
    await there(a, channel);
    assert.deepEqual(Object.keys((await api("presence", { channel })).presence), [a.id]);
    await api("subscribe", { user: anna, client: b.id, channel });
    await api("unsubscribe", { user: anna, client: a.id, channel });
    await a.heard.unsubscribed.one(of(channel));
    assert.deepEqual(Object.keys((await api("presence", { channel })).presence), [b.id]);
  });

  test("recover_since brings what came after it", async (t) => {
    const c = await connected(t);
    const channel = channelOf("large");
    await publishAll(channel, range(5), (n) => n);
    const { epoch } = await api("history", { channel });
    await api("subscribe", { user: c.user, channel, recover_since: { offset: 2, epoch } });
    await publish(channel, 6);
    await got(c, channel, 4);
    assert.deepEqual(data(c, channel), [3, 4, 5, 6]);
  });

  test("expire_at ends its connection with 3006, and it is gone after the reconnect where the client may not have it", { timeout: KEEPER }, async (t) => {
    const c = await connected(t);
    const channel = channelOf("token");
    await api("subscribe", { user: c.user, channel, expire_at: now() + 2 });
    await there(c, channel);
    await c.heard.connecting.one(({ code }) => code === 3006, KEEPER);
    await c.heard.unsubscribed.one(of(channel));
    assert.deepEqual((await api("presence", { channel })).presence, {});
  });

  test("a user that is not there is not an error, a namespace that is not is 102", async () => {
    await api("subscribe", { user: `nobody-${fresh()}`, channel: channelOf("chat") });
    await api("unsubscribe", { user: `nobody-${fresh()}`, channel: channelOf("chat") });
    const error = await api("subscribe", { user: "anna", channel: channelOf("nowhere") }).catch((error) => error);
    assert.equal(error.code, 102);
  });
});

describe("unsubscribed by the API", { concurrency: SIDE_BY_SIDE }, () => {
  test("a client's own subscription ends for good with 2000", async (t) => {
    const c = await connected(t);
    const channel = channelOf("chat");
    const sub = await subscribed(c, channel);
    await api("unsubscribe", { user: c.user, channel });
    const { code, reason } = await sub.heard.unsubscribed.one();
    assert.deepEqual([code, reason], [2000, "server unsubscribe"]);
    await publish(channel, 1);
    assert.deepEqual((await api("presence", { channel })).presence, {});
    assert.deepEqual(sub.heard.publication.all, []);
    sub.subscribe();
    await sub.heard.subscribed.first(2);
  });
});
