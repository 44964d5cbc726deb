// The page's own behaviour in a real browser, against the fake server: how Zabbix is, hosts, reports and actions.
// `npm run build && npm run views`. No browser: exit code 77.
import { readFileSync } from "node:fs";
import { findChromium, startChromium } from "./chromium.mjs";
import { makeProblem } from "./fake-data.mjs";
import { startFakeServer } from "./fake-server.mjs";

const executablePath = findChromium();
if (executablePath === undefined) {
  console.log("views: skipped, no Chromium found");
  process.exit(77);
}

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
  if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(`found ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
}
function matches(found, pattern) {
  if (!pattern.test(found)) throw new Error(`found ${JSON.stringify(found)}, not ${pattern}`);
}

const { context, stop } = await startChromium(executablePath);
const fakes = [];
const start = async (options) => {
  const fake = await startFakeServer(options);
  fake.polls = false;
  fakes.push(fake);
  return fake;
};
const seconds = () => Math.floor(Date.now() / 1000);
let code = 0;
try {
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  await page.setViewportSize({ width: 1280, height: 800 });
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && /Content Security|Trusted/.test(message.text())) errors.push(message.text());
  });
  const open = async (fake, query = "") => {
    // Elsewhere first: another fragment alone would not load the page anew.
    await page.goto("about:blank");
    await page.goto(fake.url + query);
    await page.locator("[data-testid=connection-state][data-state=live]").waitFor();
  };
  const tile = (host) => page.locator(`[data-testid=host-grid] [data-host="${host}"]`).first();
  // It is drawn with the next frame.
  const titled = (pattern) => page.waitForFunction(([source]) => new RegExp(source).test(document.title), [pattern.source]);
  const banner = page.getByTestId("zabbix-banner");
  const query = () => new URL(page.url()).searchParams;

  const fake = await start();
  await check("a good Zabbix is a quiet line", async () => {
    fake.setZabbix(fake.healthy());
    await open(fake);
    matches(await page.getByTestId("zabbix-health").innerText(), /Zabbix 7\.0\s+checked \d+ s ago/);
    equal(await banner.isVisible(), false);
  });
  await check("a silent one is a band that counts up, with an alert that does not", async () => {
    fake.publishZabbix({ ...fake.healthy(), server_seen_at: seconds() - 40 });
    await banner.waitFor();
    const [shown, spoken] = [await page.locator("#zabbix-text").innerText(), await page.locator("#zabbix-alert").textContent()];
    matches(shown, /^Zabbix silent for 4\d s\.$/);
    matches(spoken, /^Zabbix is silent since \d\d:\d\d:\d\d\.$/);
    await page.waitForFunction((before) => document.querySelector("#zabbix-text").textContent !== before, shown);
    equal(await page.locator("#zabbix-alert").textContent(), spoken);
    await titled(/^ZABBIX SILENT · 2D 5H/);
  });
  await check("the band stays in sight on a phone, however far one scrolls", async () => {
    await page.setViewportSize({ width: 400, height: 800 });
    await page.evaluate(() => window.scrollTo(0, 1500));
    equal(await banner.evaluate((band) => band.getBoundingClientRect().top), 0);
    equal(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), true);
    await page.setViewportSize({ width: 1280, height: 800 });
  });
  await check("it goes when Zabbix is heard again, which is said", async () => {
    fake.publishZabbix();
    await banner.waitFor({ state: "hidden" });
    equal(await page.locator("#notice").textContent(), "Zabbix is heard again.");
    await titled(/^2D 5H/);
  });
  await check("a failed check is told with its reason and the last good state", async () => {
    fake.publishZabbix({ at_ms: Date.now(), good_at_ms: Date.now() - 185_000, failure: { code: "token_refused", message: "the token is refused" } });
    await banner.waitFor();
    matches(await page.locator("#zabbix-text").innerText(), /the token is refused \(token_refused\)\. Last good state: 3 min ago\./);
  });
  await check("a snapshot with old word of the poller is an alarm at once", async () => {
    fake.setZabbix({ ...fake.healthy(), at_ms: Date.now() - 125_000 });
    await open(fake);
    matches(await page.locator("#zabbix-text").innerText(), /^Nobody has asked Zabbix for 2 min\./);
  });
  await check("after a reconnect that old word is no alarm while new word is not due, and the new word is", async () => {
    fake.setZabbix(fake.healthy());
    await open(fake);
    fake.drop();
    await page.locator("[data-testid=connection-state]:not([data-state=live])").waitFor();
    await page.locator("[data-testid=connection-state][data-state=live]").waitFor();
    equal(await banner.isVisible(), false);
    fake.publishZabbix({ ...fake.healthy(), server_seen_at: seconds() - 40 });
    await banner.waitFor();
  });
  const empty = await start({ problems: 0 });
  await check("no problems and a silent Zabbix do not look calm, in the page, its title or a tile", async () => {
    empty.setZabbix(empty.healthy());
    await open(empty);
    await page.locator("#empty[data-kind=calm]").waitFor();
    await titled(/^OK · /);
    const green = await tile("web-02").evaluate((found) => getComputedStyle(found).borderLeftColor);
    empty.publishZabbix({ ...empty.healthy(), server_seen_at: seconds() - 40 });
    await page.locator("#empty[data-kind=unsure]").waitFor();
    await titled(/^ZABBIX SILENT · Operations/);
    equal((await tile("web-02").evaluate((found) => getComputedStyle(found).borderLeftColor)) === green, false);
  });
  await check("without a connection they do not either", async () => {
    empty.publishZabbix();
    await page.locator("#empty[data-kind=calm]").waitFor();
    await context.setOffline(true);
    await page.locator("#empty[data-kind=unsure]").waitFor();
    await context.setOffline(false);
    await page.locator("#empty[data-kind=calm]").waitFor();
  });

  fake.setZabbix(fake.healthy());
  await open(fake);
  await check("many changes come in one publication", async () => {
    const problems = [1, 2, 3].map((index) => makeProblem({}, [5, "web-06", `Change ${index} of one publication`, "", 0, ""]));
    fake.publishAll(problems);
    for (const { event_id: id } of problems) await page.locator(`[data-event-id="${id}"]`).waitFor();
    equal(await tile("web-06").getAttribute("data-worst"), "5");
  });
  const host = (name) => fake.state.hosts.find((known) => known.host === name);
  await check("a host that a poll finds changed is another tile, with Zabbix's words", async () => {
    fake.publishHost({ ...host("web-07"), state: { unavailable: [{ interface: "agent", error: "Connection refused" }] } });
    await page.locator('[data-host="web-07"][data-worst="unavailable"]').waitFor();
    matches(await tile("web-07").getAttribute("aria-label"), /Agent unavailable: Connection refused/);
    fake.publishHost({ ...host("web-07"), state: { disabled: true } });
    await page.locator('[data-host="web-07"][data-worst="disabled"]').waitFor();
  });
  await check("one that is gone leaves the grid, unless something is still open there", async () => {
    fake.publishHost({ ...host("web-07"), state: { gone: true } });
    fake.publishHost({ ...host("web-02"), state: { gone: true } });
    await tile("web-07").waitFor({ state: "detached" });
    matches(await tile("web-02").getAttribute("aria-label"), /no longer in Zabbix/);
  });

  await check("#host= is a view of that host, with how it is, and its groups lead on", async () => {
    await open(fake, "#host=db-01");
    equal(query().get("host"), "db-01");
    const text = await page.getByTestId("subject").innerText();
    for (const wanted of [/DB 01 \(primary\)/, /5 open/, /Agent unavailable: Get value/]) matches(text, wanted);
    await page.getByTestId("subject").getByRole("button", { name: "Site A/Databases" }).click();
    equal([query().get("host"), query().get("group")], [null, "Site A/Databases"]);
  });
  await check("a view of a group has that group's hosts alone, and back is the host again", async () => {
    matches(await page.getByTestId("subject").innerText(), /6 hosts: 5 of 6 not OK/);
    equal(await page.getByTestId("host-grid").locator("section").count(), 1);
    await page.goBack();
    await page.getByTestId("subject").getByText("DB 01 (primary)").waitFor();
  });
  await check("a host's timeline opens by keyboard, is in the address, and is a picture with words and a table", async () => {
    await page.getByTestId("timeline-button").focus();
    await page.keyboard.press("Enter");
    await page.locator(".lane").waitFor();
    equal(query().get("timeline"), "24h");
    matches(await page.locator(".lane").getAttribute("aria-label"), /^(Of|No problem in) 1d 00h/);
    await page.getByRole("button", { name: "30 days" }).click();
    await page.locator(".lane[aria-label^='Of 30d']").waitFor();
    equal((await page.locator(".lane .stretch").count()) > 10, true);
    equal((await page.locator(".lane .hatch").count()) > 0, true);
    await page.locator(".lane-table summary").click();
    equal((await page.locator(".lane-table tbody tr").count()) > 10, true);
  });
  await check("a ticket that is refused is renewed once", async () => {
    const before = fake.tickets;
    fake.tickets += 1;
    await page.getByRole("button", { name: "7 days" }).click();
    await page.locator(".lane[aria-label^='Of 7d']").waitFor();
    equal(fake.tickets, before + 2);
  });
  await check("a timeline that fails says why, and loads when it is asked again", async () => {
    fake.reportStatus = 503;
    await page.getByRole("button", { name: "30 days" }).click();
    await page.getByTestId("timeline").getByText("The record cannot be read just now.").waitFor();
    equal(await page.locator(".lane").count(), 0);
    fake.reportStatus = undefined;
    await page.getByTestId("timeline").getByRole("button", { name: "Reload" }).click();
    await page.locator(".lane").waitFor();
  });

  const keys = () => page.getByTestId("report-rows").locator("tr").evaluateAll((rows) => rows.map((row) => row.dataset.key));
  await check("availability is a table, worst first, with times to respond beside it, page by page", async () => {
    fake.reportRows = 15;
    await open(fake);
    await page.getByTestId("to-availability").click();
    await page.getByTestId("report-rows").locator("tr").nth(14).waitFor();
    equal(query().get("view"), "availability");
    const figures = await page.getByTestId("report-rows").locator(".figure").allInnerTexts();
    const values = figures.map((text) => Number.parseFloat(text.replace("▼ ", "")));
    equal(values, [...values].sort((a, b) => a - b));
    await page.waitForFunction(() => /\d/.test(document.querySelector("[data-testid=report-rows] tr td:nth-child(5)").textContent));
    await page.getByRole("button", { name: "Show more" }).click();
    await page.waitForFunction(() => document.querySelectorAll("[data-testid=report-rows] tr").length === 30);
    equal(new Set(await keys()).size, 30);
  });
  await check("the CSV is all pages under one header", async () => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.getByTestId("report-csv").click()]);
    const lines = readFileSync(await download.path(), "utf8").trim().split("\r\n");
    equal(lines[0], "host,down_seconds,availability");
    equal(lines.length, 1 + fake.state.hosts.length);
    equal(lines.filter((line) => line.startsWith("host,")).length, 1);
    fake.reportRows = undefined;
  });
  await check("groups, tags and a time of one's own are chosen by keyboard alone and kept in the address", async () => {
    await page.getByTestId("report-by").focus();
    await page.keyboard.press("ArrowDown");
    await page.getByTestId("report-rows").locator('[data-key="Linux servers"]').waitFor();
    equal(query().get("by"), "group");
    await page.getByTestId("report-by").selectOption("tag");
    await page.getByTestId("report-status").getByText("Name the tag").waitFor();
    await page.getByTestId("report-tag").fill("a service?");
    await page.keyboard.press("Enter");
    await page.getByTestId("report-rows").locator('[data-key="shop"]').waitFor();
    equal(query().get("tag"), "a service?");
    await page.getByTestId("report-window").selectOption("custom");
    await page.getByTestId("report-from").waitFor();
    equal(query().get("window"), "custom");
    await page.getByTestId("report-from").fill("2031-01-01T00:00");
    await page.getByTestId("report-from").blur();
    await page.getByTestId("report-status").getByText("before").waitFor();
    // What is being entered survives an event on the board.
    await page.evaluate(() => (document.querySelector("[data-testid=report-from]").value = ""));
    fake.publish(makeProblem());
    await page.waitForTimeout(400);
    equal(await page.getByTestId("report-from").inputValue(), "");
  });
  await check("the board is one key away, and back is the report", async () => {
    await page.getByTestId("to-availability").click();
    await page.getByTestId("problem-list").waitFor();
    equal(query().get("view"), null);
    await page.goBack();
    await page.getByTestId("report").waitFor();
  });

  await check("on a phone no view scrolls sideways, and a chosen tile shows its host", async () => {
    await page.setViewportSize({ width: 400, height: 800 });
    for (const [view, wanted] of [["?view=availability", ".sla"], ["?host=db-01&timeline=30d", ".lane"], ["#group=Site B/Network", "#subject"]]) {
      await open(fake, view);
      await page.locator(wanted).waitFor();
      equal(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), true);
    }
    await page.getByRole("button", { name: "Hosts", exact: true }).click();
    await tile("sw-05").click();
    await page.getByTestId("subject").getByText("Access switch 5").waitFor();
    equal(await page.getByTestId("subject").evaluate((subject) => subject.getBoundingClientRect().top >= 0), true);
    await page.setViewportSize({ width: 1280, height: 800 });
  });

  await open(fake);
  const row = page.locator(".rows > li", { hasText: "Uplink down on Core switch" });
  const act = async (message) => {
    await row.locator("button.row").focus();
    await page.keyboard.press("a");
    await page.getByTestId("act-dialog").waitFor();
    await page.getByTestId("act-message").fill(message);
    await page.keyboard.press("Control+Enter");
  };
  await check("a on a problem asks what to do, and does not send nothing", async () => {
    await row.locator("button.row").focus();
    await page.keyboard.press("a");
    await page.getByTestId("act-dialog").waitFor();
    await page.getByTestId("act-send").click();
    await page.getByText("Choose what to do").waitFor();
    await page.keyboard.press("Escape");
    await page.getByTestId("act-dialog").waitFor({ state: "detached" });
  });
  await check("an action is sent, said to be so, and settled by the problem's update", async () => {
    await act("on it");
    await row.locator(".mark.act").waitFor();
    await page.waitForFunction(() => /Sent to Zabbix/.test(document.querySelector("#notice").textContent));
    await row.locator(".mark.act").waitFor({ state: "detached" });
    await row.locator("button.row").click();
    matches(await page.getByTestId("details").innerText(), /commented[\s\S]*on it/);
  });
  await check("a refusal of Zabbix and an error of the server stand at the problem", async () => {
    fake.act = "refuse";
    await act("close it");
    await page.getByTestId("act-status").getByText("Zabbix refused: Cannot close problem").waitFor();
    fake.act = "error";
    await act("again");
    await page.getByTestId("act-status").getByText("Not sent: Zabbix cannot be reached (4503)").waitFor();
    equal(await row.locator(".mark.act.bad").innerText(), "not sent");
    fake.act = "confirm";
  });
  await check("the focus stays in the details when they change", async () => {
    await page.locator("[data-act]").focus();
    const { dataset } = await row.evaluate((item) => ({ dataset: { ...item.dataset } }));
    const known = fake.open.get(dataset.eventId);
    fake.publish({ ...known, version: known.version + 1, opdata: "changed meanwhile" }, "update");
    await row.locator("dd", { hasText: "changed meanwhile" }).waitFor();
    equal(await page.evaluate(() => document.activeElement.matches("[data-act]")), true);
  });

  const bare = await start({ poller: false, act: false, reports: false });
  await check("without poller, reports and the right to act there is no trace of them", async () => {
    await open(bare, "?host=db-01&timeline=7d&view=availability");
    await page.locator(".rows > li").first().waitFor();
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await page.getByTestId("details").waitFor();
    await page.keyboard.press("a");
    equal(await page.locator("[data-act], #act-key, [data-testid=act-dialog], .lane").count(), 0);
    for (const id of ["zabbix-health", "zabbix-banner", "to-availability", "timeline-button", "report"]) equal(await page.getByTestId(id).isVisible(), false);
  });
  await check("no script failed and the content policy stopped nothing", () => equal(errors, []));
} catch (error) {
  console.error(`not ok ${error.message}`);
  code = 1;
} finally {
  await stop();
  for (const fake of fakes) await fake.close();
}
console.log(`views: ${passed} checks passed${code === 0 ? "" : ", then one failed"}`);
process.exit(code);
