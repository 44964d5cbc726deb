// The server API over plain HTTP: keys, forms, errors. Its methods by cent are in ../python, what clients see of them in the
// other files here.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { api, channelOf, connected, fresh, publish, range, request, stack, subscribed } from "./stack.mjs";

const json = async (path, body, headers) => {
  const { status, text } = await request(path, body, headers);
  return [status, text === "" ? undefined : JSON.parse(text)];
};

describe("the key", { concurrency: 4 }, () => {
  const channel = channelOf("live");
  for (const [form, path, headers] of [
    ["X-API-Key", "/publish", { "X-API-Key": stack.api_key }],
    ["Authorization: apikey", "/publish", { Authorization: `apikey ${stack.api_key}` }],
    ["?api_key=", `/publish?api_key=${stack.api_key}`, {}],
  ]) {
    test(`as ${form} is taken`, async () => assert.deepEqual(await json(path, { channel, data: 1 }, headers), [200, { result: {} }]));
  }
  for (const [form, path, headers] of [
    ["that is wrong", "/publish", { "X-API-Key": "wrong" }],
    ["that is wrong in the address", "/publish?api_key=wrong", {}],
    ["of another scheme", "/publish", { Authorization: `Bearer ${stack.api_key}` }],
    ["that is not there", "/publish", {}],
    ["that is empty", "/publish", { "X-API-Key": "" }],
  ]) {
    test(`${form} is answered with 401 and nothing else`, async () => assert.deepEqual(await request(path, { channel, data: 1 }, headers), { status: 401, text: "" }));
  }
});

describe("forms", { concurrency: 4 }, () => {
  test("only POST, only JSON, only what there is", async () => {
    const get = await fetch(`${stack.api_url}/info`, { headers: { "X-API-Key": stack.api_key } });
    assert.equal(get.status, 404, "API Gateway has no route for it; the function itself answers 405");
    for (const body of ["", "{", "[]", '{"channel":1}']) {
      const { status, text } = await request("/publish", body);
      assert.equal(status, 400);
      assert.match(text, /^Bad Request: .* line 1 column /);
    }
    assert.equal((await request("/no-such-method", {})).status, 404);
  });

  test("the legacy form answers as the method's own address does", async () => {
    const channel = channelOf("chat");
    const [status, { result }] = await json("", { method: "publish", params: { channel, data: { legacy: true } } });
    assert.deepEqual([status, result.offset], [200, 1]);
    const [, history] = await json("", { method: "history", params: { channel, limit: 1 } });
    assert.deepEqual(history.result.publications[0].data, { legacy: true });
    assert.equal((await json("", { method: "publish", params: { channel: channelOf("nowhere"), data: 1 } }))[1].error.code, 102);
    const { text } = await request("", '{"id":1,"method":"presence","params":{"channel":"plain:x"}}\n{"id":2,"method":"rpc","params":{"method":"x"}}');
    assert.deepEqual(text.split("\n").map((line) => JSON.parse(line)).map(({ id, error }) => [id, error.code]), [[1, 108], [2, 104]]);
  });

  test("a batch answers in order, with its errors in place, one after the other or together", async () => {
    const channel = channelOf("chat");
    const commands = [
      { publish: { channel, data: 1 } },
      { publish: { channel: channelOf("nowhere"), data: 1 } },
      { history: { channel, limit: 10 } },
      { presence_stats: { channel } },
    ];
    for (const parallel of [false, true]) {
      const [status, answer] = await json("/batch", { commands, parallel });
      assert.equal(status, 200);
      assert.deepEqual(answer.replies.map((reply) => Object.keys(reply)), [["publish"], ["error"], ["history"], ["presence_stats"]]);
      assert.equal(answer.replies[1].error.code, 102);
    }
    const malformed = { commands: [{ publish: { channel, data: 1 } }, { publish: { channel: 1 } }] };
    assert.equal((await request("/batch", malformed)).status, 400);
    assert.deepEqual((await api("history", { channel, limit: 10 })).publications.map(({ offset }) => offset), [1, 2]);
  });

  test("errors are in the body with 200, or a status where the caller wants that", async () => {
    const transport = { "X-API-Key": stack.api_key, "X-Centrifugo-Error-Mode": "transport" };
    const channel = channelOf("large");
    await publish(channel, 1);
    const cases = [
      ["/publish", { channel: channelOf("nowhere"), data: 1 }, 102, 404],
      ["/publish", { channel }, 107, 400],
      ["/publish", { data: 1 }, 107, 400],
      ["/broadcast", { channels: [], data: 1 }, 107, 400],
      ["/presence", { channel }, 108, 400],
      ["/rpc", { method: "nothing", params: {} }, 104, 404],
      ["/history", { channel, limit: 1, since: { offset: 0, epoch: "other" } }, 112, 416],
    ];
    for (const [path, body, code, status] of cases) {
      const plain = await json(path, body);
      assert.deepEqual([plain[0], plain[1].error?.code], [200, code], path);
      assert.equal(typeof plain[1].error.message, "string");
      const strict = await json(path, body, transport);
      assert.deepEqual([strict[0], strict[1].code], [status, code], path);
    }
    assert.equal((await json("/publish", { channel, data: 2 }, transport))[0], 200);
  });
});

describe("publishing", { concurrency: 4 }, () => {
  test("the same idempotency key gives the same offset and one delivery, also at the same time", async (t) => {
    const channel = channelOf("chat");
    const sub = await subscribed(await connected(t), channel);
    const key = { idempotency_key: fresh() };
    const answers = await Promise.all(range(6).map(() => publish(channel, "once", key)));
    answers.push(await publish(channel, "once", key));
    assert.equal(new Set(answers.map(({ offset, epoch }) => `${epoch}/${offset}`)).size, 1);
    await publish(channel, "after");
    await sub.heard.publication.one(({ data }) => data === "after");
    assert.deepEqual(sub.heard.publication.data, ["once", "after"]);
  });

  test("an older version is dropped, and versions of another epoch begin anew", async (t) => {
    const channel = channelOf("chat");
    const sub = await subscribed(await connected(t), channel);
    const versions = [[1, "a"], [3, "a"], [2, "a"], [3, "a"], [4, "a"], [1, "b"], [2, "b"]];
    for (const [version, version_epoch] of versions) await publish(channel, `${version_epoch}${version}`, { version, version_epoch });
    await sub.heard.publication.one(({ data }) => data === "b2");
    assert.deepEqual(sub.heard.publication.data, ["a1", "a3", "a4", "b1", "b2"]);
  });

  test("skip_history delivers and keeps nothing", async (t) => {
    const channel = channelOf("plain");
    const sub = await subscribed(await connected(t), channel);
    await publish(channel, "passing", { skip_history: true });
    await publish(channel, "kept");
    await sub.heard.publication.first(2);
    assert.deepEqual(sub.heard.publication.data, ["passing", "kept"]);
    const { publications } = await api("history", { channel, limit: 10 });
    assert.deepEqual(publications.map(({ data }) => data), ["kept"]);
  });

  test("b64data is decoded, and a broadcast answers for each channel in order", async () => {
    const [one, other] = [channelOf("chat"), channelOf("live")];
    const b64data = Buffer.from('{"ä":1}').toString("base64");
    const { responses } = await api("broadcast", { channels: [one, channelOf("nowhere"), other], b64data });
    assert.deepEqual([responses[0].result.offset, responses[1].error.code, responses[2].result], [1, 102, {}]);
    const { publications } = await api("history", { channel: one, limit: 1 });
    assert.deepEqual(publications[0].data, { ä: 1 });
    const error = await api("publish", { channel: one, b64data: "***" }).catch((error) => error);
    assert.equal(error.code, 107);
  });
});

test("channels finds by pattern who has subscribers, info counts", async (t) => {
  const room = fresh();
  const [a, b] = await Promise.all([connected(t), connected(t)]);
  await Promise.all([subscribed(a, `chat:${room}-1`), subscribed(b, `chat:${room}-1`), subscribed(a, `live:${room}-2`)]);
  const { channels } = await api("channels", { pattern: `chat:${room}-*` });
  assert.deepEqual(channels, { [`chat:${room}-1`]: { num_clients: 2 } });
  assert.deepEqual(Object.keys((await api("channels", { pattern: `*:${room}-?` })).channels).sort(), [`chat:${room}-1`, `live:${room}-2`]);
  const { nodes } = await api("info");
  assert.ok(nodes[0].uid && nodes[0].name && nodes[0].num_clients >= 2, JSON.stringify(nodes));
});
