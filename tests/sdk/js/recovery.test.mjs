// Positions and recovery: what a client that was away gets, and what it is told when that cannot be.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SIDE_BY_SIDE, api, channelOf, connected, FRAME_LIMIT, publish, publishAll, range, sleep, subscribed, subscription, tap } from "./stack.mjs";

const numbers = (sub) => sub.heard.publication.data.map(({ n }) => n);
/** The `count`th time a subscription got there, from 0. */
const time = (sub, count) => sub.heard.subscribed.until((all) => all[count]);

describe("stream recovery", { concurrency: SIDE_BY_SIDE }, () => {
  test("a client whose socket is cut gets what it missed, in order, once", async (t) => {
    const seen = tap();
    const c = await connected(t, undefined, { websocket: seen.WebSocket });
    const channel = channelOf("chat");
    const sub = await subscribed(c, channel);
    assert.deepEqual([sub.first.recoverable, sub.first.positioned, sub.first.wasRecovering, sub.first.recovered], [true, true, false, false]);
    await publishAll(channel, range(3));
    await sub.heard.publication.first(3);
    seen.cut();
    await publishAll(channel, range(4, 4));
    const again = await time(sub, 1);
    assert.deepEqual([again.wasRecovering, again.recovered], [true, true]);
    await publishAll(channel, range(2, 8));
    await sub.heard.publication.first(9);
    assert.deepEqual(numbers(sub), range(9));
    assert.deepEqual(sub.heard.publication.all.map(({ offset }) => offset), range(9));
  });

  test("a client that missed nothing is recovered with nothing", async (t) => {
    const seen = tap();
    const c = await connected(t, undefined, { websocket: seen.WebSocket });
    const sub = await subscribed(c, channelOf("chat"));
    seen.cut();
    const again = await time(sub, 1);
    assert.deepEqual([again.recovered, again.hasRecoveredPublications], [true, false]);
  });

  test("since brings what came after a position, on the first subscribe", async (t) => {
    const channel = channelOf("large");
    await publishAll(channel, range(10));
    const { epoch } = await api("history", { channel });
    const [a, b, c] = await Promise.all([connected(t), connected(t), connected(t)]);
    const subs = await Promise.all([
      subscribed(a, channel, { since: { offset: 6, epoch } }),
      subscribed(b, channel, { since: {} }),
      subscribed(c, channel),
    ]);
    await publishAll(channel, range(2, 11));
    await Promise.all([subs[0].heard.publication.first(6), subs[1].heard.publication.first(12), subs[2].heard.publication.first(2)]);
    assert.deepEqual(subs.map(numbers), [range(6, 7), range(12), range(2, 11)]);
    assert.deepEqual(subs.map((sub) => sub.first.recovered), [true, true, false]);
    assert.deepEqual(subs[0].first.streamPosition, { offset: 6, epoch });
  });

  test("a position of another epoch, or ahead of the channel, is not recovered, and the subscription is at the top", async (t) => {
    const channel = channelOf("large");
    await publishAll(channel, range(5));
    const { epoch } = await api("history", { channel });
    const c = await connected(t);
    const positions = [{ offset: 2, epoch: "other" }, { offset: 99, epoch }];
    for (const since of positions) {
      const sub = await subscribed(c, channel, { since });
      assert.deepEqual([sub.first.wasRecovering, sub.first.recovered, sub.first.streamPosition], [true, false, { offset: 5, epoch }]);
      assert.deepEqual(sub.heard.publication.all, []);
      sub.unsubscribe();
      c.removeSubscription(sub);
    }
  });

  test("what is no longer in the history is not recovered, and nothing in part", async (t) => {
    const seen = tap();
    const c = await connected(t, undefined, { websocket: seen.WebSocket });
    const channel = channelOf("small");
    const sub = await subscribed(c, channel);
    await publishAll(channel, [1]);
    await sub.heard.publication.one();
    sub.unsubscribe();
    await publishAll(channel, [2, 3, 4]);
    sub.subscribe();
    const again = await time(sub, 1);
    assert.deepEqual([again.wasRecovering, again.recovered], [true, false]);
    await publishAll(channel, [5]);
    await sub.heard.publication.first(2);
    assert.deepEqual(numbers(sub), [1, 5]);
    sub.unsubscribe();
    await publishAll(channel, [6, 7]);
    sub.subscribe();
    assert.equal((await time(sub, 2)).recovered, true);
    await sub.heard.publication.first(4);
    assert.deepEqual(numbers(sub), [1, 5, 6, 7]);
  });

  test("300 publications are recovered, 301 are not", async (t) => {
    const [fits, more] = [channelOf("large"), channelOf("large")];
    const c = await connected(t);
    await Promise.all([publishAll(fits, range(300)), publishAll(more, range(301))]);
    const all = await subscribed(c, fits, { since: {} });
    await all.heard.publication.first(300);
    assert.deepEqual(numbers(all), range(300));
    const none = await subscribed(c, more, { since: {} });
    assert.equal(none.first.recovered, false);
    assert.deepEqual(none.heard.publication.all, []);
  });

  test("what does not fit one frame comes in several, in order, and so does what is published meanwhile", async (t) => {
    const seen = tap();
    const channel = channelOf("large");
    const blob = "ä".repeat(8_000);
    await publishAll(channel, range(60), (n) => ({ n, blob }));
    const c = await connected(t, undefined, { websocket: seen.WebSocket });
    const sub = subscription(c, channel, { since: {} });
    sub.subscribe();
    await publishAll(channel, range(20, 61), (n) => ({ n, blob }));
    const there = await time(sub, 0);
    assert.equal(there.recovered, true);
    await sub.heard.publication.first(80);
    assert.deepEqual(numbers(sub), range(80));
    assert.ok(sub.heard.publication.data.every((data) => data.blob === blob));
    const largest = Math.max(...seen.received.map((frame) => Buffer.byteLength(frame)));
    assert.ok(largest <= FRAME_LIMIT, `a frame of ${largest} bytes`);
    const history = await c.history(channel, { limit: 80 });
    assert.ok(history.publications.length > 0 && history.publications.length < 80);
    assert.equal(history.publications[0].data.n, 1);
  });

  test("a publication that would not fit a frame is refused", async () => {
    const error = await publish(channelOf("large"), "x".repeat(130_000)).catch((error) => error);
    assert.equal(error.code, 107);
  });

  test("a client that loses its socket again and again while publications come misses none", async (t) => {
    const seen = tap();
    const c = await connected(t, undefined, { websocket: seen.WebSocket });
    const channel = channelOf("large");
    const sub = await subscribed(c, channel);
    let last = 0;
    let publishing = true;
    const publisher = (async () => {
      while (publishing) {
        last += 1;
        await publish(channel, { n: last });
      }
    })();
    for (const drop of range(8)) {
      await sleep(300 + 50 * drop);
      seen.cut();
      await time(sub, drop);
    }
    publishing = false;
    await publisher;
    await sub.heard.publication.one(({ data }) => data.n === last);
    assert.deepEqual(numbers(sub), range(last));
    assert.ok(sub.heard.subscribed.all.slice(1).every(({ recovered }) => recovered));
  });

  test("history_remove leaves the offset, and who was before it is not recovered", async (t) => {
    const seen = tap();
    const c = await connected(t, undefined, { websocket: seen.WebSocket });
    const channel = channelOf("large");
    const sub = await subscribed(c, channel);
    sub.unsubscribe();
    await publishAll(channel, range(3));
    await api("history_remove", { channel });
    const { publications, offset } = await api("history", { channel, limit: 10 });
    assert.deepEqual([publications, offset], [[], 3]);
    sub.subscribe();
    assert.equal((await time(sub, 1)).recovered, false);
    await publishAll(channel, [4]);
    await sub.heard.publication.one();
    assert.deepEqual(sub.heard.publication.all.map((context) => context.offset), [4]);
  });
});

describe("positions on request", { concurrency: SIDE_BY_SIDE }, () => {
  test("a client gets a position or recovery when it asks and may", async (t) => {
    const c = await connected(t);
    const kinds = await Promise.all([
      subscribed(c, channelOf("asked")),
      subscribed(c, channelOf("asked"), { positioned: true }),
      subscribed(c, channelOf("asked"), { recoverable: true }),
      subscribed(c, channelOf("plain"), { positioned: true, recoverable: true }),
    ]);
    assert.deepEqual(
      kinds.map(({ first }) => [first.positioned, first.recoverable, first.streamPosition !== undefined]),
      [[false, false, false], [true, false, true], [true, true, true], [false, false, false]],
    );
  });
});

describe("cache recovery", { concurrency: SIDE_BY_SIDE }, () => {
  test("brings the newest publication alone, and nothing to who has it", async (t) => {
    const seen = tap();
    const channel = channelOf("cached");
    await publishAll(channel, range(5));
    const c = await connected(t, undefined, { websocket: seen.WebSocket });
    const sub = await subscribed(c, channel, { since: {} });
    assert.equal(sub.first.recovered, true);
    await sub.heard.publication.one();
    assert.deepEqual(numbers(sub), [5]);
    seen.cut();
    const same = await time(sub, 1);
    assert.deepEqual([same.recovered, same.hasRecoveredPublications], [true, false]);
    sub.unsubscribe();
    await publishAll(channel, range(150, 6));
    sub.subscribe();
    assert.equal((await time(sub, 2)).recovered, true);
    await sub.heard.publication.first(2);
    assert.deepEqual(numbers(sub), [5, 155]);
  });

  test("of a channel without publications is not recovered", async (t) => {
    const c = await connected(t);
    const sub = await subscribed(c, channelOf("cached"), { since: {} });
    assert.deepEqual([sub.first.wasRecovering, sub.first.recovered], [true, false]);
  });

  test("auto_cache_recover brings the newest to who did not ask, and a subscription without it none", async (t) => {
    const [auto, asked] = [channelOf("latest"), channelOf("cached")];
    await Promise.all([publishAll(auto, range(3)), publishAll(asked, range(3))]);
    const c = await connected(t);
    const [first, second] = await Promise.all([subscribed(c, auto), subscribed(c, asked)]);
    await first.heard.publication.one();
    await publishAll(asked, [4]);
    await second.heard.publication.one();
    assert.deepEqual([numbers(first), numbers(second)], [[3], [4]]);
  });
});

describe("getState", { concurrency: SIDE_BY_SIDE }, () => {
  test("is asked for the state at first and when its position is lost, not when it can be recovered", async (t) => {
    const channel = channelOf("small");
    const c = await connected(t);
    let asked = 0;
    const getState = async () => {
      asked += 1;
      const { offset, epoch } = await api("history", { channel });
      return { offset: offset ?? 0, epoch };
    };
    await publishAll(channel, range(3));
    const sub = await subscribed(c, channel, { getState });
    assert.equal(asked, 1);
    c.disconnect();
    await publishAll(channel, [4]);
    c.connect();
    assert.equal((await time(sub, 1)).recovered, true);
    await sub.heard.publication.one();
    assert.deepEqual([asked, numbers(sub)], [1, [4]]);
    c.disconnect();
    await publishAll(channel, range(5, 5));
    c.connect();
    await time(sub, 2);
    assert.equal(asked, 2);
    await publishAll(channel, [10]);
    await sub.heard.publication.first(2);
    assert.deepEqual(numbers(sub), [4, 10]);
  });
});
