// A real Zabbix in front of the whole local cloud, watched by a browser: zabbix_sender fires, people act in Zabbix, hosts and triggers
// go, the server freezes. .ci/zabbix-real starts all of it; the environment says where it is:
// ENDPOINTS (endpoints.json), ZABBIX_URL, ZABBIX_DIR (of zabbix-up.sh; ours to freeze), FRONT_PORT (where the poller asks: a proxy of
// ours stands there, in front of Zabbix), CONNECTOR (whether one streams). Prints what took how long.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { findChromium, startChromium } from "./chromium.mjs";
import { startFront } from "./zabbix-front.mjs";

const { ENDPOINTS, ZABBIX_URL, ZABBIX_DIR, FRONT_PORT, CONNECTOR } = process.env;
if (!ENDPOINTS || !ZABBIX_URL || !ZABBIX_DIR || !FRONT_PORT) throw new Error("ENDPOINTS, ZABBIX_URL, ZABBIX_DIR and FRONT_PORT say where everything is");
const endpoints = JSON.parse(readFileSync(ENDPOINTS, "utf8"));
const dir = realpathSync(ZABBIX_DIR);
const PATIENCE = 30_000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// -- Zabbix ------------------------------------------------------------------------------------------------------------
let session;
let bearer = false;
async function call(method, params) {
  const headers = { "content-type": "application/json-rpc" };
  const body = { jsonrpc: "2.0", method, params, id: 1 };
  if (session !== undefined && bearer) headers.authorization = `Bearer ${session}`;
  else if (session !== undefined) body.auth = session;
  const answer = await (await fetch(`${ZABBIX_URL}/api_jsonrpc.php`, { method: "POST", headers, body: JSON.stringify(body) })).json();
  if (answer.error) throw new Error(`${method}: ${answer.error.message} ${answer.error.data}`);
  return answer.result;
}
const [major, minor] = (await call("apiinfo.version", [])).split(".").map(Number);
const since = (wantedMajor, wantedMinor) => major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
bearer = since(6, 4);
session = await call("user.login", { username: "Admin", password: "zabbix" });

const run = `${Date.now()}`.slice(-6);
const host = `e2e-${run}`;
const group = `Signalbox end to end ${run}`;
const [groupid] = (await call("hostgroup.create", { name: group })).groupids;
/** What an admin with a new host group has to do. */
const show = () => execFileSync("python3", [new URL("../../zabbix/install.py", import.meta.url).pathname, ZABBIX_URL, "--all-groups"], { stdio: "pipe" });
// any script, a direction that is turned round, what a page could take for markup
const visible = `End to end ${run} – Müller <b>خادم</b> \u202e主机\u202c 😀 &amp; {x}`;
const [hostid] = (await call("host.create", { host, name: visible, groups: [{ groupid }] })).hostids;
await call("item.create", { name: "status", key_: "app.status", hostid, type: 2, value_type: 3 });
const trigger = (description, priority, value) => ({
  description, priority, manual_close: 1, expression: `last(/${host}/app.status)=${value}`, tags: [{ tag: "service", value: "shop" }],
});
const [triggerid] = (await call("trigger.create", trigger("App down on {HOST.NAME}", 4, 1))).triggerids;
const [doomed] = (await call("trigger.create", trigger("Doomed on {HOST.NAME}", 2, 7))).triggerids;

/** The server takes configuration up with its cache: a value for what it does not know yet fails. */
async function send(value) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return execFileSync(`${dir}/bin/zabbix_sender`, ["-s", host, "-k", "app.status", "-o", String(value)], { stdio: "pipe" });
    } catch (error) {
      if (attempt === 90) throw error;
      await pause(1000);
    }
  }
}
const update = (eventid, params) => call("event.acknowledge", { eventids: [eventid], ...params });

/** The poller's token: 1 takes it away, 0 gives it back. */
async function poller(status) {
  const [{ tokenid }] = await call("token.get", { filter: { name: "Signalbox poller" }, output: ["tokenid"] });
  await call("token.update", { tokenid, status });
}

/** Webhook and poller may see no host group any more; `show` gives them back. */
async function blind() {
  const [{ usrgrpid }] = await call("usergroup.get", { filter: { name: "Signalbox" }, output: ["usrgrpid"] });
  await call("usergroup.update", { usrgrpid, [since(6, 2) ? "hostgroup_rights" : "rights"]: [] });
}

/** Processes of our own zabbix_server. */
function servers() {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/comm`, "utf8").trim() === "zabbix_server" && readlinkSync(`/proc/${pid}/root`) === `${dir}/root`;
    } catch {
      return false;
    }
  }).map(Number);
}
function signal(name) {
  const pids = servers();
  if (pids.length === 0) throw new Error(`no zabbix_server of ${dir} runs`);
  for (const pid of pids) process.kill(pid, name);
}

// -- the board ---------------------------------------------------------------------------------------------------------
const figures = [];
const failures = [];
const front = await startFront(ZABBIX_URL, Number(FRONT_PORT));
const { context, stop } = await startChromium(findChromium());
try {
  const page = context.pages()[0] ?? (await context.newPage());
  page.setDefaultTimeout(PATIENCE);
  await page.setViewportSize({ width: 1280, height: 900 });
  /** When a change was accepted, by event id and version. */
  const accepted = [];
  page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => {
    for (const line of String(payload).split("\n").filter((line) => line.includes('"changes"'))) {
      for (const change of JSON.parse(line).push?.pub?.data?.changes ?? []) accepted.push({ ...change, arrived: Date.now() });
    }
  }));
  await page.goto(endpoints.web_url);
  await page.locator('[data-testid=connection-state][data-state="live"]').waitFor();
  await page.getByTestId("filter-text").fill(run);
  // one that is resolved stays for a moment, marked so
  const rows = page.locator("[data-testid=problem-list] > [data-event-id]:not(:has(.mark.resolved))");
  const row = rows.filter({ hasText: "App down" }).first();

  /** Does it, waits until the board shows it, and says what took how long. After one that failed there is nothing to be learned from the next. */
  async function step(name, act, shown, of = () => true) {
    if (failures.length > 0) return;
    const from = accepted.length;
    try {
      const began = Date.now();
      await act();
      const acted = Date.now();
      await shown();
      const seen = Date.now();
      const told = accepted.slice(from).filter(of).at(-1);
      figures.push({ name, zabbix: told && told.accepted_at_ms - began, ours: told && seen - told.accepted_at_ms, all: seen - began });
      console.log(`ok   ${name} (${seen - acted} ms)`);
    } catch (error) {
      failures.push(name);
      console.log(`FAIL ${name}: ${String(error).split("\n")[0]}`);
      await page.screenshot({ path: `${process.env.PICTURES ?? "."}/zabbix-e2e-${failures.length}.png` });
    }
  }
  const gone = (locator) => locator.waitFor({ state: "detached" });

  await send(0);
  if (CONNECTOR === "yes") {
    // what the user of webhook and poller may not see, the connector streams; and what is not listed is not gone for that
    await step("problem by the connector alone", () => send(1), () => row.waitFor());
    const polls = front.asked("problem.get");
    while (front.asked("problem.get") < polls + 4) await pause(500);
    await step("still there after two polls", () => {}, async () => { if (await row.count() !== 1) throw new Error("it has gone"); });
    await step("recovery by the connector alone", () => send(0), () => gone(row));
  }
  show();
  for (let round = 0; round < 5; round += 1) {
    await step("problem", () => send(1), () => row.waitFor());
    await step("recovery", () => send(0), () => gone(row));
  }
  await step("problem", () => send(1), () => row.waitFor());
  const eventid = await row.getAttribute("data-event-id");
  await step("name", () => {}, () => row.filter({ hasText: visible }).waitFor());
  const mine = page.locator(`[data-testid=problem-list] > [data-event-id="${eventid}"]:not(:has(.mark.resolved))`);
  await step("acknowledge", () => update(eventid, { action: 2 | 4, message: "on it" }), () => mine.locator(".mark.ack").waitFor());
  await step("severity", () => update(eventid, { action: 8, severity: 5 }), () => page.locator(`[data-event-id="${eventid}"][data-severity="5"]`).waitFor());
  if (since(6, 2)) {
    await step("suppress", () => update(eventid, { action: 32, suppress_until: 0 }), () => mine.filter({ hasText: /suppressed/i }).waitFor());
    // the server suppresses a few seconds after the API; what it has not suppressed yet the API does not unsuppress, without a word
    while ((await call("problem.get", { eventids: [eventid], output: ["suppressed"] }))[0]?.suppressed !== "1") await pause(500);
    await step("unsuppress", () => update(eventid, { action: 64 }), () => gone(mine.filter({ hasText: /suppressed/i })));
  }
  await step("disabled host", () => call("host.update", { hostid, status: 1 }), () => mine.filter({ hasText: /disabled/i }).waitFor());
  await step("enabled host", () => call("host.update", { hostid, status: 0 }), () => gone(mine.filter({ hasText: /disabled/i })));

  const openDialog = async () => {
    await page.getByTestId("filter-text").press("Enter");
    await page.keyboard.press("a");
  };
  // what the board asks Zabbix for comes back from Zabbix
  const state = async () => (await call("event.get", { eventids: [eventid], output: ["severity", "acknowledged"], [since(7, 0) ? "selectAcknowledges" : "select_acknowledges"]: "extend" }))[0];
  await step("from the board: comment, take back, severity", async () => {
    await openDialog();
    const dialog = page.getByTestId("act-dialog");
    await dialog.getByRole("checkbox", { name: "Take the acknowledgement back" }).press("Space");
    await dialog.getByRole("combobox").selectOption("3");
    await dialog.getByTestId("act-message").fill("from the board, ünï 😀");
    await dialog.getByTestId("act-message").press("Control+Enter");
    await dialog.waitFor({ state: "detached" });
  }, async () => {
    await page.locator(`[data-event-id="${eventid}"][data-severity="3"]`).waitFor();
    await gone(mine.locator(".mark.ack"));
    const { severity, acknowledged, acknowledges } = await state();
    if (severity !== "3" || acknowledged !== "0" || !acknowledges.some(({ message }) => message.endsWith("from the board, ünï 😀"))) throw new Error("Zabbix has it otherwise");
  });
  await step("from the board: acknowledge", async () => {
    await openDialog();
    await page.getByTestId("act-dialog").getByRole("checkbox", { name: "Acknowledge" }).press("Space");
    await page.getByTestId("act-send").press("Enter");
  }, () => mine.locator(".mark.ack").waitFor());

  // whatever stands in front of Zabbix or comes from it: said on the board, which keeps the last good state
  const banner = page.getByTestId("zabbix-banner");
  const clocks = page.locator("#clock-banner");
  const still = async () => { if (await mine.count() !== 1) throw new Error("the board lost the last good state"); };
  for (const [name, begin, said, end] of [
    ["HTML from a proxy", () => front.be("html"), /not_json/, () => front.be("honest")],
    ["half an answer", () => front.be("half"), /half_an_answer/, () => front.be("honest")],
    ["an answer of 50 MB", () => front.be("large"), /too_large/, () => front.be("honest")],
    ["a proxy that cannot reach it", () => front.be("bad gateway"), /http_status/, () => front.be("honest")],
    ["a revoked token", () => poller(1), /token_refused/, () => poller(0)],
    ["rights on all host groups taken away", blind, /nothing_visible/, show],
  ]) {
    await step(name, begin, async () => { await banner.filter({ hasText: said }).waitFor({ timeout: 60_000 }); await still(); });
    await step("honest again", end, async () => { await banner.waitFor({ state: "hidden", timeout: 90_000 }); await still(); });
  }
  await step("a clock 10 minutes off", () => front.be("ahead"), async () => {
    await clocks.filter({ hasText: /10 min ahead/ }).waitFor({ timeout: 60_000 });
    await still();
    // a clock is no silence
    if (await banner.isVisible()) throw new Error(await banner.innerText());
  });
  await step("honest again", () => front.be("honest"), () => clocks.waitFor({ state: "hidden", timeout: 60_000 }));
  // the last way from the board
  await step("from the board: close", async () => {
    await openDialog();
    await page.getByTestId("act-dialog").getByRole("checkbox", { name: "Close the problem" }).press("Space");
    await page.getByTestId("act-send").press("Enter");
  }, () => gone(mine));
  await send(0);
  await step("problem", () => send(1), () => row.waitFor());
  const second = await row.getAttribute("data-event-id");
  await step("manual close", () => update(second, { action: 1 | 4, message: "done" }), () => gone(page.locator(`[data-testid=problem-list] > [data-event-id="${second}"]:not(:has(.mark.resolved))`)));
  const other = rows.filter({ hasText: "Doomed" }).first();
  await step("problem", () => send(7), () => other.waitFor());
  await step("deleted trigger", () => call("trigger.delete", [doomed]), () => other.waitFor({ state: "detached", timeout: 120_000 }));
  const band = page.getByText(/Zabbix silent for \d+ s/).first();
  await step("stopped server", () => signal("SIGSTOP"), () => band.waitFor({ timeout: 90_000 }));
  await step("running server", () => signal("SIGCONT"), () => band.waitFor({ state: "detached", timeout: 60_000 }));
} finally {
  try {
    signal("SIGCONT");
  } catch {
    // it has ended
  }
  await stop();
  front.close();
  await poller(0).catch(() => {});
  await call("host.delete", [hostid]).catch(() => {});
  await call("hostgroup.delete", [groupid]).catch(() => {});
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
console.log("\n| kind | n | Zabbix's part, ms | ours, ms | all, ms |\n|---|---|---|---|---|");
for (const name of new Set(figures.map((figure) => figure.name))) {
  const of = figures.filter((figure) => figure.name === name);
  const part = (key) => { const values = of.map((figure) => figure[key]).filter((value) => value !== undefined); return values.length === 0 ? "–" : median(values); };
  console.log(`| ${name} | ${of.length} | ${part("zabbix")} | ${part("ours")} | ${part("all")} |`);
}
if (failures.length > 0) {
  console.error(`failed: ${failures.join(", ")}`);
  process.exit(1);
}
