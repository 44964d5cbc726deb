// What the tests of the JavaScript SDK share: where the stack is, tokens, the server API, and clients that are watched.
//   cargo local --channels tests/sdk/channels.json
//   SIGNALBOX_ENDPOINTS=.signalbox/endpoints.json npm test --prefix tests/sdk/js
import { createHmac, createPrivateKey, randomBytes, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

/** How long anything may take to arrive: generous, because the machine may be busy. */
export const PATIENCE = Number(process.env.SIGNALBOX_PATIENCE ?? 30_000);
/** How long what the keeper does may take: it comes once a minute. */
export const KEEPER = 150_000;
/** How many tests of a group run side by side: most of them wait. */
export const SIDE_BY_SIDE = Number(process.env.SIGNALBOX_SIDE_BY_SIDE ?? 4);
/** API Gateway's limit of a message to a client. */
export const FRAME_LIMIT = 128 * 1024;

const file = process.env.SIGNALBOX_ENDPOINTS ?? new URL("../../../.signalbox/endpoints.json", import.meta.url);
export const stack = JSON.parse(readFileSync(file, "utf8"));

/** Twelve hex digits that no other test and no earlier run has used. */
export const fresh = () => randomBytes(6).toString("hex");
/** A channel of a namespace that nobody else uses. */
export const channelOf = (namespace) => `${namespace}:${fresh()}`;
export const now = () => Math.floor(Date.now() / 1000);
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const keys = {
  RS: createPrivateKey({ key: readFileSync(new URL("rs256-test-key.der", import.meta.url)), format: "der", type: "pkcs8" }),
  ES: createPrivateKey({ key: readFileSync(new URL("../../../shared/auth/fixtures/es256-test-key.der", import.meta.url)), format: "der", type: "pkcs8" }),
};

/** A JWT, signed as `alg` says, with the stack's secret or the keys of channels.json. */
export function jwt(claims, { alg = "HS256", secret = stack.token_secret } = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${part({ alg, typ: "JWT" })}.${part(claims)}`;
  const hash = `sha${alg.slice(2)}`;
  const signature = alg.startsWith("HS")
    ? createHmac(hash, secret).update(signed).digest()
    : sign(hash, Buffer.from(signed), { key: keys[alg.slice(0, 2)], dsaEncoding: "ieee-p1363" });
  return `${signed}.${signature.toString("base64url")}`;
}

/** A connection token, or with `channel` among the claims a subscription token, good for an hour. */
export const tokenOf = (user, claims = {}) => jwt({ sub: user, exp: now() + 3600, ...claims });

/** A request of the server API as it is: `{status, text}`. */
export async function request(path, body, headers = { "X-API-Key": stack.api_key }) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const response = await fetch(`${stack.api_url}${path}`, { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body: text });
  return { status: response.status, text: await response.text() };
}

/** A method of the server API; its result, or an exception with the error's code. */
export async function api(method, params = {}) {
  const { status, text } = await request(`/${method}`, params);
  const answer = status === 200 ? JSON.parse(text) : { error: { code: status, message: text } };
  if (answer.error) throw Object.assign(new Error(`${method}: ${answer.error.code} ${answer.error.message}`), { code: answer.error.code });
  return answer.result ?? answer;
}
export const publish = (channel, data, more = {}) => api("publish", { channel, data, ...more });

/** Publishes `{n}` for each number, in that order, in as few requests as possible. */
export async function publishAll(channel, numbers, dataOf = (n) => ({ n })) {
  for (let from = 0; from < numbers.length; from += 50) {
    const commands = numbers.slice(from, from + 50).map((n) => ({ publish: { channel, data: dataOf(n) } }));
    const { replies } = await api("batch", { commands });
    for (const reply of replies) if (!reply.publish) throw new Error(`publish: ${JSON.stringify(reply)}`);
  }
}
export const range = (count, from = 1) => Array.from({ length: count }, (_, index) => from + index);

/** All that an emitter has said under one name since, in order. */
export class Heard {
  constructor(emitter, event) {
    this.event = event;
    this.all = [];
    this.waiting = new Set();
    emitter.on(event, (context) => {
      this.all.push(context);
      for (const check of this.waiting) check();
    });
  }
  /** Waits until `wanted` gives something that is not undefined for all that was heard. */
  until(wanted, patience = PATIENCE) {
    return new Promise((resolve, reject) => {
      const check = () => {
        const found = wanted(this.all);
        if (found === undefined) return;
        this.waiting.delete(check);
        clearTimeout(timer);
        resolve(found);
      };
      const timer = setTimeout(() => {
        this.waiting.delete(check);
        reject(new Error(`no such ${this.event} in ${patience} ms; heard: ${JSON.stringify(this.all).slice(0, 2000)}`));
      }, patience);
      this.waiting.add(check);
      check();
    });
  }
  /** Waits for the first `count` of them. */
  first(count, patience) {
    return this.until((all) => (all.length >= count ? all.slice(0, count) : undefined), patience);
  }
  /** Waits for one that `test` is content with. */
  one(test = () => true, patience) {
    return this.until((all) => all.find(test), patience);
  }
  get data() {
    return this.all.map((context) => context.data);
  }
}

/** A WebSocket class whose sockets and frames can be looked at, and cut. */
export function tap() {
  const seen = { sockets: [], sent: [], received: [] };
  seen.WebSocket = class extends WebSocket {
    constructor(...args) {
      super(...args);
      seen.sockets.push(this);
      this.on("message", (data) => seen.received.push(data.toString()));
    }
    send(data, ...more) {
      seen.sent.push(String(data));
      super.send(data, ...more);
    }
  };
  /** Cuts the sockets without a closing frame, as a network does. */
  seen.cut = () => {
    for (const socket of seen.sockets) socket.terminate();
  };
  return seen;
}

/** A client of the SDK as it is. It is disconnected when the test ends. */
export function client(t, options = {}) {
  const made = new Centrifuge(stack.ws_url, { websocket: WebSocket, minReconnectDelay: 100, maxReconnectDelay: 2000, ...options });
  made.heard = Object.fromEntries(
    ["connecting", "connected", "disconnected", "error", "subscribed", "unsubscribed", "publication", "join", "leave", "message"].map((event) => [event, new Heard(made, event)]),
  );
  t.after(() => made.disconnect());
  return made;
}

/** A connected client of a user. */
export async function connected(t, user = `user-${fresh()}`, { claims, ...options } = {}) {
  const made = client(t, { token: tokenOf(user, claims), ...options });
  made.user = user;
  made.connect();
  made.id = (await made.heard.connected.one()).client;
  return made;
}

/** A subscription whose events are kept, not yet subscribed. */
export function subscription(of, channel, options = {}) {
  const made = of.newSubscription(channel, { minResubscribeDelay: 100, maxResubscribeDelay: 2000, ...options });
  made.heard = Object.fromEntries(
    ["subscribing", "subscribed", "unsubscribed", "publication", "join", "leave", "error"].map((event) => [event, new Heard(made, event)]),
  );
  return made;
}

/** A subscription that is there. */
export async function subscribed(of, channel, options) {
  const made = subscription(of, channel, options);
  made.subscribe();
  made.first = await made.heard.subscribed.one();
  return made;
}

/** The error that a promise ends with. */
export async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it was not refused");
}
