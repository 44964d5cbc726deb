// From a signed webhook POST to the changed page, beside the round trip of an echo function on the same stack.
//
//   cargo local &                                  (wait until it prints its endpoints)
//   cargo build -p signalbox-bench --bin echo
//   node bench/webhook-to-page.mjs [--count 200] [--endpoints .signalbox/endpoints.json] [--target target]
//
// Everything runs in one go and in turn, echo and problem, so that the machine's moods hit both alike.
import { createHmac } from "node:crypto";
import { execFileSync } from "node:child_process";
import { mkdtempSync, copyFileSync, readFileSync, chmodSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { findChromium, startChromium } from "../web/tests/chromium.mjs";

const root = new URL("..", import.meta.url).pathname;
const { values } = parseArgs({
  options: {
    count: { type: "string", default: "200" },
    endpoints: { type: "string", default: join(root, ".signalbox/endpoints.json") },
    target: { type: "string", default: join(root, "target") },
  },
});
const count = Number(values.count);
const endpoints = JSON.parse(readFileSync(values.endpoints, "utf8"));
const authorization =
  "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0";

async function lambda(method, path, body) {
  const url = `${endpoints.aws_endpoint_url}/2015-03-31/functions${path}`;
  const response = await fetch(url, { method, headers: { authorization, "content-type": "application/json" }, body });
  const text = await response.text();
  if (!response.ok && response.status !== 404) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text;
}

async function deployEcho() {
  const folder = mkdtempSync(join(tmpdir(), "echo-"));
  copyFileSync(join(values.target, "debug/echo"), join(folder, "bootstrap"));
  chmodSync(join(folder, "bootstrap"), 0o755);
  execFileSync("python3", ["-m", "zipfile", "-c", "echo.zip", "bootstrap"], { cwd: folder });
  await lambda("DELETE", "/bench-echo");
  await lambda("POST", "", JSON.stringify({
    FunctionName: "bench-echo",
    Runtime: "provided.al2023",
    Handler: "bootstrap",
    Role: "arn:aws:iam::000000000000:role/bench",
    Timeout: 10,
    Code: { ZipFile: readFileSync(join(folder, "echo.zip")).toString("base64") },
  }));
}

const recorded = readFileSync(new URL("../web/tests/fixtures/v7.0-problem.json", import.meta.url), "utf8");
const recovered = readFileSync(new URL("../web/tests/fixtures/v7.0-recovery.json", import.meta.url), "utf8");
let eventId = Date.now() * 10;
function signed(fixture, id) {
  const [date, time] = new Date().toISOString().split("T");
  const now = { date: date.replaceAll("-", "."), time: time.slice(0, 8) };
  const body = JSON.parse(fixture);
  for (const part of ["event", "event_recovery"]) {
    if (body[`${part}_date`]) Object.assign(body, { [`${part}_date`]: now.date, [`${part}_time`]: now.time });
  }
  Object.assign(body, { event_id: String(id), event_name: `Bench ${id}`, sent_at_ms: Date.now() });
  if (body.event_recovery_id) body.event_recovery_id = String(id + 5);
  const text = JSON.stringify(body);
  const timestamp = String(Math.floor(Date.now() / 1000));
  const signature = createHmac("sha256", endpoints.webhook_secret).update(`${timestamp}.${text}`).digest("hex");
  const headers = {
    "content-type": "application/json",
    "x-zabbix-timestamp": timestamp,
    "x-zabbix-signature": `sha256=${signature}`,
  };
  return { method: "POST", headers, body: text };
}
async function notify(fixture, id) {
  const response = await fetch(endpoints.webhook_url, signed(fixture, id));
  if (!response.ok) throw new Error(`webhook: ${response.status} ${await response.text()}`);
  await response.text();
}

function quantiles(samples) {
  const sorted = [...samples].sort((a, b) => a - b);
  const at = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  return { p50: at(0.5), p99: at(0.99) };
}

await deployEcho();
const { stop, page } = await open();
const echo = [], answers = [], legs = [], framed = [], onPage = [];
for (let n = -10; n < count; n += 1) {
  const echoFrom = performance.now();
  await lambda("POST", "/bench-echo/invocations", "{}");
  const echoed = performance.now() - echoFrom;

  const id = (eventId += 10);
  const painted = page.evaluate((id) => new Promise((resolve) => {
    const look = () => {
      if (document.querySelector(`[data-event-id="${id}"]`)) {
        observer.disconnect();
        requestAnimationFrame(() => setTimeout(() => resolve(Date.now()), 0));
        return true;
      }
      return false;
    };
    const observer = new MutationObserver(look);
    observer.observe(document.body, { childList: true, subtree: true, attributes: true });
    look();
  }), id);
  const from = Date.now();
  await notify(recorded, id);
  const answered = Date.now();
  const at = await painted;
  const frame = await page.evaluate((id) => window.benchFrames.get(id), String(id));
  if (n >= 0) {
    echo.push(echoed);
    answers.push(answered - from);
    legs.push(frame.at - frame.acceptedAt);
    framed.push(frame.at - from);
    onPage.push(at - from);
  }
  await notify(recovered, id);
}
await stop();
await lambda("DELETE", "/bench-echo");

const of = quantiles(echo);
console.log(`${count} samples each\n`);
console.log("| what | p50 ms | p99 ms | p50 / echo | p99 / echo |\n|---|---|---|---|---|");
for (const [name, samples] of [
  ["echo function, round trip", echo],
  ["webhook POST answered", answers],
  ["accepted by the webhook → frame in the browser", legs],
  ["webhook POST → frame in the browser", framed],
  ["webhook POST → painted on the page", onPage],
]) {
  const { p50, p99 } = quantiles(samples);
  const ratio = (a, b) => (a / b).toFixed(1);
  console.log(`| ${name} | ${p50.toFixed(1)} | ${p99.toFixed(1)} | ${ratio(p50, of.p50)} | ${ratio(p99, of.p99)} |`);
}

async function open() {
  const executablePath = findChromium();
  if (!executablePath) throw new Error("no Chromium found");
  const { context, stop } = await startChromium(executablePath);
  const page = await context.newPage();
  // when a frame arrived, by event id: taken before the page sees it
  await page.addInitScript(() => {
    window.benchFrames = new Map();
    const Native = window.WebSocket;
    window.WebSocket = class extends Native {
      constructor(...parameters) {
        super(...parameters);
        this.addEventListener("message", ({ data }) => {
          for (const line of String(data).split("\n")) {
            for (const { problem, accepted_at_ms } of JSON.parse(line)?.push?.pub?.data?.changes ?? []) {
              const id = problem.event_id;
              if (!window.benchFrames.has(id)) window.benchFrames.set(id, { at: Date.now(), acceptedAt: accepted_at_ms });
            }
          }
        });
      }
    };
  });
  await page.goto(endpoints.web_url);
  await page.waitForSelector('[data-testid="connection-state"][data-state="live"]');
  return { stop, page };
}
