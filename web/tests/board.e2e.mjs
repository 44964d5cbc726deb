// The board in a real browser against a running Signalbox:
//   ENDPOINTS=endpoints.json node tests/board.e2e.mjs
// endpoints.json: {web_url (the full link, with #token=…), webhook_url, webhook_secret, …}. No browser: exit code 77.
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { findChromium, startChromium } from "./chromium.mjs";

const PATIENCE = 20_000;
const executablePath = findChromium();
if (executablePath === undefined) {
  console.log("browser: skipped, no Chromium found");
  process.exit(77);
}
if (!process.env.ENDPOINTS) {
  console.error("ENDPOINTS must name the endpoints file");
  process.exit(1);
}
const endpoints = JSON.parse(readFileSync(process.env.ENDPOINTS, "utf8"));

// Bodies as Zabbix 7.0 sends them, with ids and times of this run; the server is told UTC by sending the time of sending too.
let lastEventId = Math.floor(Date.now() / 1000) * 10;
const nextEventId = () => String((lastEventId += 1));
const zabbixTime = (ms) => {
  const [date, time] = new Date(ms).toISOString().split("T");
  return [date.replaceAll("-", "."), time.slice(0, 8)];
};
function body(kind, problem) {
  const fixture = JSON.parse(readFileSync(new URL(`fixtures/v7.0-${kind}.json`, import.meta.url), "utf8"));
  const [date, time] = zabbixTime(problem.openedAt);
  const [nowDate, nowTime] = zabbixTime(Date.now());
  const fields = { ...fixture, ...problem.fields, event_id: problem.id, event_date: date, event_time: time, sent_at_ms: Date.now() };
  if (kind === "update") Object.assign(fields, { event_update_date: nowDate, event_update_time: nowTime });
  if (kind === "recovery") Object.assign(fields, { event_recovery_id: nextEventId(), event_recovery_date: nowDate, event_recovery_time: nowTime });
  return JSON.stringify(fields);
}
async function post(kind, problem) {
  const text = body(kind, problem);
  const timestamp = String(Math.floor(Date.now() / 1000));
  const signature = createHmac("sha256", endpoints.webhook_secret).update(`${timestamp}.${text}`).digest("hex");
  const response = await fetch(endpoints.webhook_url, {
    method: "POST",
    headers: { "content-type": "application/json", "x-zabbix-timestamp": timestamp, "x-zabbix-signature": `sha256=${signature}` },
    body: text,
  });
  if (!response.ok) throw new Error(`the webhook answered ${response.status}: ${(await response.text()).slice(0, 200)}`);
}
const newProblem = (fields = {}) => ({ id: nextEventId(), openedAt: Date.now() - 1000, fields });

let passed = 0;
async function check(name, probe) {
  try {
    await probe();
  } catch (error) {
    throw new Error(`${name}: ${error.message}`, { cause: error });
  }
  passed += 1;
  console.log(`ok ${passed} ${name}`);
}
function equal(found, wanted) {
  if (found !== wanted) throw new Error(`found ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
}

const { context, stop } = await startChromium(executablePath);
let code = 0;
const opened = [];
try {
  const page = context.pages()[0] ?? (await context.newPage());
  page.setDefaultTimeout(PATIENCE);
  await page.setViewportSize({ width: 1280, height: 800 });
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && /Content Security|Trusted/.test(message.text())) errors.push(message.text());
  });
  const rowOf = (problem) => page.locator(`[data-testid=problem-list] > [data-event-id="${problem.id}"]`);
  const state = (name) => page.locator(`[data-testid=connection-state][data-state="${name}"]`).waitFor();
  const total = async (severity) => Number(await page.getByTestId(`total-${severity}`).textContent());
  const open = async (problem) => {
    opened.push(problem);
    await post("problem", problem);
  };
  // The filter keeps the rows of this run in sight, whatever else is open on this board.
  const filterBy = async (text) => page.getByTestId("filter-text").fill(text);

  await check("the board opens and is live", async () => {
    await page.goto(endpoints.web_url);
    await state("live");
  });
  await check("the token is gone from the address", () => equal(new URL(page.url()).hash, ""));

  const problem = newProblem();
  const before = await total(4);
  await filterBy(problem.id);
  await page.evaluate(() => (window.notReloaded = true));
  await check("a problem appears by itself", async () => {
    await open(problem);
    await rowOf(problem).waitFor();
    equal(await page.evaluate(() => window.notReloaded), true);
  });
  await check("with its severity as text, its name and its host", async () => {
    equal(await rowOf(problem).getAttribute("data-severity"), "4");
    const text = await rowOf(problem).innerText();
    for (const wanted of ["High", "Web application down on Web 01 – Schaufenster"]) equal(text.includes(wanted), true);
  });
  await check("the total counts it", () => page.waitForFunction((count) => Number(document.querySelector("[data-testid=total-4]").textContent) === count, before + 1));
  await check("the host's tile shows it", () => page.locator('[data-host-id="10680"]:is([data-worst="4"], [data-worst="5"])').first().waitFor());
  await check("the latency was measured", async () => {
    equal((await page.evaluate(() => window.signalbox.latencies.length)) > 0, true);
    equal(/\d/.test(await page.getByTestId("latency").textContent()), true);
  });
  await check("an acknowledgement is shown", async () => {
    await post("update", problem);
    await rowOf(problem).locator(".mark.ack").waitFor();
    equal(Number(await rowOf(problem).getAttribute("data-version")) > 1, true);
  });

  await check("Enter shows the details, Escape closes them", async () => {
    await page.keyboard.press("Escape");
    await page.keyboard.press("Escape");
    await filterBy(problem.id);
    await page.keyboard.press("Enter");
    await page.keyboard.press("Enter");
    await page.getByTestId("details").waitFor();
    equal((await page.getByTestId("details").innerText()).includes("on it"), true);
    await page.keyboard.press("Escape");
    await page.getByTestId("details").waitFor({ state: "detached" });
  });

  await check("a recovery takes the row away", async () => {
    await post("recovery", problem);
    await rowOf(problem).waitFor({ state: "detached" });
  });

  const hostile = newProblem({ event_name: "<img src=x onerror=window.pwned=1> & <b>bold</b>", trigger_url: "javascript:window.pwned=2", event_opdata: "<script>window.pwned=3</script>" });
  await check("hostile text stays text, and a javascript: link is not offered", async () => {
    await filterBy(hostile.id);
    await open(hostile);
    await rowOf(hostile).waitFor();
    await rowOf(hostile).locator("button.row").click();
    await page.getByTestId("details").waitFor();
    equal((await rowOf(hostile).innerText()).includes("<img src=x onerror=window.pwned=1> & <b>bold</b>"), true);
    equal(await rowOf(hostile).locator("img, script, b:not([aria-hidden]), a").count(), 0);
    equal(await page.evaluate(() => window.pwned), undefined);
    await page.keyboard.press("Escape");
  });

  const missed = newProblem({ event_name: "Opened while the browser was away" });
  await check("without a network the board says so", async () => {
    await context.setOffline(true);
    await state("offline");
    equal((await page.locator("#banner").innerText()).includes("NOT LIVE since"), true);
    equal(await page.title().then((title) => title.startsWith("NOT LIVE")), true);
  });
  await check("it comes back by itself and shows what it missed", async () => {
    await filterBy("");
    await open(missed);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await filterBy(missed.id);
    equal(await rowOf(missed).count(), 0);
    await context.setOffline(false);
    await state("live");
    await rowOf(missed).waitFor();
    equal(await page.evaluate(() => window.notReloaded), true);
  });

  await check("/ goes to the filter, which is kept in the address, and back undoes it", async () => {
    await page.getByTestId("filter-text").press("Escape");
    await page.getByTestId("filter-text").press("Escape");
    await page.locator("h1").click();
    await page.keyboard.press("/");
    await page.keyboard.type("no such thing anywhere");
    await page.locator("#empty[data-kind=filtered]").waitFor();
    equal(new URL(page.url()).searchParams.get("q"), "no such thing anywhere");
    await page.goBack();
    await page.waitForFunction(() => !location.search.includes("q=") && document.querySelectorAll("[data-testid=problem-list] > li").length > 0);
  });
  await check("j and k walk through the list", async () => {
    await page.locator("h1").click();
    await page.keyboard.press("j");
    const focused = () => page.evaluate(() => Number(document.activeElement.closest("li")?.getAttribute("aria-posinset")));
    equal(await focused(), 1);
    await page.keyboard.press("j");
    equal(await focused(), 2);
    await page.keyboard.press("k");
    equal(await focused(), 1);
  });
  await check("? shows the keys", async () => {
    await page.keyboard.press("?");
    await page.locator("dialog[open]").waitFor();
    await page.keyboard.press("Escape");
    await page.locator("dialog[open]").waitFor({ state: "detached" });
  });
  await check("a shared address brings its filter", async () => {
    const url = new URL(page.url());
    url.search = `?q=${missed.id}&min=3`;
    await page.goto(url.href);
    await state("live");
    await rowOf(missed).waitFor();
    equal(await page.locator("[data-testid=problem-list] > li").count(), 1);
    equal(await page.getByTestId("filter-severity").inputValue(), "3");
  });
  await check("dark and light follow the system, and the toggle overrules it", async () => {
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    await page.emulateMedia({ colorScheme: "light" });
    const light = await ground();
    await page.emulateMedia({ colorScheme: "dark" });
    const dark = await ground();
    equal(light === dark, false);
    await page.locator("#theme").click();
    equal(await ground(), light);
  });
  await check("at 400 px nothing scrolls sideways", async () => {
    await page.setViewportSize({ width: 400, height: 800 });
    await page.getByTestId("filter-text").fill("");
    await page.waitForTimeout(300);
    equal(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), true);
  });
  await check("no script failed and the content policy stopped nothing", () => equal(errors.join("\n"), ""));
} catch (error) {
  console.error(`not ok ${error.message}`);
  code = 1;
} finally {
  // Leave the board as it was found.
  for (const problem of opened) await post("recovery", problem).catch(() => undefined);
  await stop();
}
console.log(`browser: ${passed} checks passed${code === 0 ? "" : ", then one failed"}`);
process.exit(code);
