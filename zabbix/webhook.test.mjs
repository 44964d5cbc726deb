// node --test zabbix/  The media type's script on what Zabbix 6.0 and 7.0 sent, and on every kind of answer.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import vm from "node:vm";

const here = (path) => new URL(path, import.meta.url);
const fixtures = (path) => new URL(`shared/zabbix/fixtures/${path}`, here(".."));
const script = new Function("value", "HttpRequest", "hmac", readFileSync(here("webhook.js"), "utf8"));
const names = [...readFileSync(here("media-type-7.0.yaml"), "utf8").matchAll(/^ {8}- name: (\w+)$/gm)].map(([, name]) => name);
const SECRET = "example-shared-secret";
const URL_ = "https://example.execute-api.eu-central-1.amazonaws.com/webhook/zabbix";
const taken = { status: 200, text: '{"id":"87-problem","event_id":"87"}' };

/** Runs the script as Zabbix does, and says what it sent and what came of it. */
function run(parameters, { status, text, headers = {}, thrown } = taken, send = script) {
  const sent = { headers: [] };
  class HttpRequest {
    addHeader(header) { sent.headers.push(header); }
    setProxy(proxy) { sent.proxy = proxy; }
    post(url, body) {
      Object.assign(sent, { url, body });
      if (thrown) throw thrown;
      return text;
    }
    getStatus() { return status; }
    getHeaders() { return headers; }
  }
  const hmac = (algorithm, key, data) => createHmac(algorithm, key).update(data).digest("hex");
  const all = { signalbox_url: URL_, signalbox_secret: SECRET, signalbox_proxy: "{$SIGNALBOX.PROXY}", ...parameters };
  try {
    sent.result = send(JSON.stringify(all), HttpRequest, hmac);
  } catch (error) {
    if (typeof error !== "string") throw error;
    sent.error = error;
  }
  return sent;
}

const refused = (status, code, message, field) => ({ status, text: JSON.stringify({ error: { code, message, field } }) });

test("what Zabbix sent goes out signed, in ASCII, and without a macro that has no value", () => {
  let seen = 0;
  for (const version of ["v6.0", "v7.0"]) {
    for (const file of readdirSync(fixtures(`${version}/`))) {
      const raw = JSON.parse(JSON.parse(readFileSync(fixtures(`${version}/${file}`), "utf8")).raw_body);
      const parameters = Object.fromEntries(names.filter((name) => name in raw).map((name) => [name, raw[name]]));
      const { url, body, headers, result } = run(parameters);
      assert.equal(result, "Signalbox took 87-problem");
      assert.equal(url, URL_);
      assert.match(body, /^[\x20-\x7e]*$/);
      const [, timestamp] = /^X-Zabbix-Timestamp: (\d+)$/.exec(headers[1]);
      assert.equal(headers[2], `X-Zabbix-Signature: sha256=${createHmac("sha256", SECRET).update(`${timestamp}.${body}`).digest("hex")}`);
      const { v, sent_at_ms, event_tags = [], event_update_history, event_update_count, ...rest } = JSON.parse(body);
      assert.deepEqual([v, Math.floor(sent_at_ms / 1000)], [1, Number(timestamp)]);
      for (const [name, value] of Object.entries(rest)) {
        assert.equal(value, raw[name].trim(), file);
        assert.doesNotMatch(value, /^$|^\*UNKNOWN\*$|^\{[A-Z.]+\}$/, `${file}: ${name}`);
      }
      for (const [name, value] of Object.entries(parameters)) {
        assert.ok(name in JSON.parse(body) || name === "event_tagsjson" || /^(\s*|\*UNKNOWN\*|\{[A-Z.]+\})$/.test(value), `${file}: ${name}`);
      }
      assert.deepEqual(event_tags, raw.event_tagsjson.startsWith("[") ? JSON.parse(raw.event_tagsjson) : []);
      if (event_update_history) {
        assert.equal(event_update_count, event_update_history.split("\n").length, file);
        assert.equal(event_update_count, raw.event_update_history.match(/^20.{17} "/gm).length);
        assert.doesNotMatch(event_update_history, /ller/, "a comment stays with Zabbix");
      }
      seen++;
    }
  }
  assert.equal(seen, 48);
});

test("a macro without a value is left out, a text that looks like one is not", () => {
  const { body } = run({
    a: "", b: "*UNKNOWN*", c: "{EVENT.ID}", d: " {HOST.NAME2} ", e: "{$X}", f: '{$X:"/var"}', g: "{#FSNAME}", h: "{EVENT.TAGS.some tag}", i: "\0",
    k: "{}", l: "{ok}", m: "{A} and {B}", n: "{HOST.NAME} is down", event_tagsjson: "{EVENT.TAGSJSON}",
  });
  const { v, sent_at_ms, ...rest } = JSON.parse(body);
  assert.deepEqual(rest, { k: "{}", l: "{ok}", m: "{A} and {B}", n: "{HOST.NAME} is down" });
});

// A long history was cut at the receiver, so the number stopped at 93, and a later update looked like an earlier one.
test("the number of updates goes on where the history is cut, and what a comment imitates does not break it", () => {
  const entry = (n) => `2026.11.21 08:${String(n % 60).padStart(2, "0")}:46 "Ann Müller"\nacknowledged, message: "line\n${n}"\n`;
  const body = (n) => JSON.parse(run({ event_update_history: Array.from({ length: n }, (_, at) => entry(at)).join("\n") }).body);
  for (const n of [1, 92, 93, 94, 1000]) {
    const { event_update_count, event_update_history } = body(n);
    assert.equal(event_update_count, n);
    assert.equal(event_update_history.split("\n").length, Math.min(n, 93));
    assert.ok(event_update_history.length <= 2048);
  }
  const none = JSON.parse(run({ event_update_history: "{EVENT.UPDATE.HISTORY}" }).body);
  assert.ok(!("event_update_count" in none) && !("event_update_history" in none));
});

// Duktape, which Zabbix runs it in, has the syntax of ES5 and not all that came with later libraries.
test("the script is ES5: its syntax", (t) => {
  const parse = `
    const { parse } = require("internal/deps/acorn/acorn/dist/acorn");
    const options = { ecmaVersion: 5, allowReturnOutsideFunction: true };
    let newer = 0;
    for (const text of ["let a", "a => a", "\`a\`", "f(...a)"]) try { parse(text, options) } catch { newer++ }
    if (newer !== 4) throw new Error("this parser takes newer syntax");
    parse(require("fs").readFileSync(0, "utf8"), options);`;
  const { status, stderr } = spawnSync(process.execPath, ["--expose-internals", "-e", parse], { input: readFileSync(here("webhook.js")), encoding: "utf8" });
  if (/Cannot find module|No such built-in module/.test(stderr)) return t.skip("this node has no parser in it");
  assert.equal(status, 0, stderr);
});

test("the script is ES5: it runs where nothing newer is", () => {
  const context = vm.createContext({});
  const left = vm.runInContext(`
    var of = { "String.prototype": "charAt charCodeAt concat indexOf lastIndexOf localeCompare match replace search slice split substr substring toLowerCase toUpperCase toString trim valueOf",
      "Array.prototype": "concat every filter forEach indexOf join lastIndexOf map pop push reduce reverse shift slice some sort splice toString unshift",
      "Object": "create defineProperty freeze getOwnPropertyNames getPrototypeOf keys prototype name length", "Array": "isArray prototype name length",
      "Number": "MAX_VALUE MIN_VALUE NaN prototype name length", "String": "fromCharCode prototype name length" };
    Object.keys(of).forEach(function (name) {
      var where = name.split(".").reduce(function (at, key) { return at[key]; }, this), known = of[name].split(" ").concat("constructor", "length");
      Object.getOwnPropertyNames(where).forEach(function (key) { if (known.indexOf(key) < 0) { delete where[key]; } });
    }, this);
    ["Map", "Set", "WeakMap", "Promise", "Proxy", "Reflect", "BigInt", "globalThis"].forEach(function (name) { delete this[name]; }, this);
    "".padStart === undefined && [].includes === undefined && Object.assign === undefined;`, context);
  assert.equal(left, true);
  const inside = vm.compileFunction(readFileSync(here("webhook.js"), "utf8"), ["value", "HttpRequest", "hmac"], { parsingContext: context });
  for (const answer of [taken, refused(401, "stale", "x"), { status: 200, text: "<html><title>Log in</title>" }]) {
    const outside = run({ event_id: "87", event_name: "\u{1f600} \u00e4", event_update_history: '2026.11.21 08:16:46 "Ann"\n' }, answer);
    const within = run({ event_id: "87", event_name: "\u{1f600} \u00e4", event_update_history: '2026.11.21 08:16:46 "Ann"\n' }, answer, inside);
    const timeless = (sent) => JSON.stringify([sent.result, sent.error, sent.body?.replace(/"sent_at_ms":\d+/, "")]);
    assert.equal(timeless(within), timeless(outside));
  }
});

test("long texts are cut between characters, lists of host groups between names", () => {
  const long = "x".repeat(4095) + "\u{1f600}\u{1f600}";
  const groups = Array.from({ length: 3000 }, (_, n) => `Group ${n}`).join(", ");
  const body = JSON.parse(run({ event_opdata: long, event_name: "\u{1f600} \u00e4\ud7ff\u20ac", trigger_hostgroup_name: groups }).body);
  assert.equal(body.event_opdata, "x".repeat(4095));
  assert.equal(body.event_name, "\u{1f600} \u00e4\ud7ff\u20ac");
  assert.ok(groups.startsWith(`${body.trigger_hostgroup_name}, `) && body.trigger_hostgroup_name.length > 16_000);
});

test("a setting that is not there is named", () => {
  assert.match(run({ signalbox_url: "{$SIGNALBOX.URL}" }).error, /^Signalbox: \{\$SIGNALBOX\.URL\} is not set\. Set it in Administration > Macros/);
  assert.match(run({ signalbox_secret: "" }).error, /^Signalbox: \{\$SIGNALBOX\.SECRET\} is not set\./);
  assert.match(run({ signalbox_secret: undefined }).error, /^Signalbox: the media type has no parameter signalbox_secret\. Import/);
  assert.match(run({ signalbox_url: "example.org" }).error, /^Signalbox: \{\$SIGNALBOX\.URL\} is no address: "example\.org"/);
  assert.equal(run({ signalbox_proxy: undefined }).proxy, undefined);
  assert.equal(run({ signalbox_proxy: "http://proxy.example.org:3128" }).proxy, "http://proxy.example.org:3128");
});

test("every refusal says what to do, and none the secret", () => {
  const date = new Date(Date.now() + 412_000).toUTCString();
  const cases = [
    [{ ...refused(401, "stale", "the signature is more than 300 seconds away from now"), headers: { Date: date } }, /HTTP 401 stale, the signature .* is 41[123] s slow .*\(NTP\)/],
    [{ ...refused(401, "stale", "x"), headers: undefined }, /The clock of this Zabbix server is wrong/],
    [refused(401, "bad_signature", "the signature does not match"), /\{\$SIGNALBOX\.SECRET\} is not the secret/],
    [refused(401, "unsigned", "the header x-zabbix-signature is missing"), /proxy on the way drops the headers/],
    [refused(413, "too_large", "the body is larger than 256 KB"), /HTTP 413 too_large, .* too large, by its tags/],
    [refused(422, "missing_field", "`event_id` is missing", "event_id"), /Address and secret are right/],
    [refused(422, "invalid_field", "`event_nseverity` is \"9\", expected 0 to 5", "event_nseverity"), /its parameter event_nseverity/],
    [refused(400, "not_json", "the body is not JSON"), /Import it anew/],
    [refused(503, "bus_unavailable", "the message could not be passed on; try again"), /HTTP 503 bus_unavailable, .*Zabbix tries again/],
    [{ status: 500, text: '{"message":"Internal Server Error"}' }, /HTTP 500, answered "Internal Server Error"\. Zabbix tries again/],
    [{ status: 404, text: '{"message":"Not Found"}' }, /HTTP 404, answered "Not Found"\. \{\$SIGNALBOX\.URL\} is wrong/],
    [{ status: 407, text: "<html><head><title>\n Proxy login </title></head><body>x</body></html>" }, /HTTP 407, answered "Proxy login"\. This is not Signalbox/],
    [{ status: 200, text: "<!doctype html><style>p{}</style><p>Please <b>log in</b>" }, /HTTP 200, answered "Please log in"\. This is not Signalbox/],
    [{ status: 200, text: "" }, /HTTP 200, answered without a text/],
    [{ status: 200, text: "null" }, /HTTP 200, answered "null"/],
    [{ status: 502, text: "<html>" + "Bad gateway ".repeat(100) }, /HTTP 502, answered "(Bad gateway )+/],
    [{ thrown: new Error("cannot get URL: Could not resolve host: example.org.") }, /^Signalbox: no answer from https:.* \(Could not resolve host: example\.org\)\. Zabbix tries again/],
    [{ thrown: new Error("cannot get URL: Number of redirects hit maximum amount.") }, /\(Number of redirects hit maximum amount\)\. \{\$SIGNALBOX\.URL\} is wrong/],
  ];
  for (const [answer, expected] of cases) {
    const { error, result } = run({ event_id: "87" }, answer);
    assert.equal(result, undefined);
    assert.match(error, expected);
    assert.ok(error.startsWith("Signalbox: ") && error.length < 1000 && !error.includes(SECRET), error);
  }
});
