// Pictures of the board against the fake server: `npm run build && npm run screenshots` → screenshots/ (not committed).
// `--readme` makes ../docs/board.png instead; `--only TEXT` makes those with the text in their name.
import { mkdirSync } from "node:fs";
import { findChromium, startChromium } from "./chromium.mjs";
import { makeProblem } from "./fake-data.mjs";
import { startFakeServer } from "./fake-server.mjs";

const executablePath = findChromium();
if (executablePath === undefined) {
  console.log("screenshots: skipped, no Chromium found");
  process.exit(77);
}
const readme = process.argv.includes("--readme");
const folder = new URL("../screenshots/", import.meta.url).pathname;
mkdirSync(folder, { recursive: true });

const { context, stop } = await startChromium(executablePath);
const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : "";
async function shoot(fake, name, width, height, colorScheme, { prepare, fullPage = false, path, query = "" } = {}) {
  if (!name.includes(only) && !readme) return;
  const page = await context.newPage();
  page.on("console", (message) => console.log(`${name}: ${message.text()}`));
  page.on("pageerror", (error) => console.log(`${name}: ${error}`));
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme });
  await page.goto(fake.url + query);
  await page.waitForTimeout(1200);
  await prepare?.(page, fake);
  await page.screenshot({ path: path ?? `${folder}${name}.png`, fullPage });
  await page.close();
}
const live = async (page, fake) => {
  fake.publish(makeProblem({}, [4, "web-03", "Checkout answers in 6.2 s on Web 03", "6.2 s", 0, "service:shop component:app scope:performance env:prod"]));
  await page.waitForTimeout(1000);
  const [known] = [...fake.open.values()].filter(({ severity, acknowledged }) => severity === 4 && !acknowledged);
  fake.publish({ ...fake.open.get(known.event_id), version: known.version + 1, acknowledged: true, last_update: { at: Math.floor(Date.now() / 1000), action: "acknowledged" } }, "update");
  await page.waitForTimeout(500);
};
const details = async (page) => {
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForTimeout(300);
};

const fake = await startFakeServer();
if (readme) {
  const path = new URL("../../docs/board.png", import.meta.url).pathname;
  await shoot(fake, "readme", 1600, 900, "dark", { prepare: live, path });
} else {
  for (const theme of ["light", "dark"]) {
    for (const [width, height] of [[400, 860], [1280, 800], [3840, 2160]]) await shoot(fake, `${theme}-${width}`, width, height, theme);
    await shoot(fake, `${theme}-1280-live`, 1280, 800, theme, { prepare: live });
    await shoot(fake, `${theme}-1280-details`, 1280, 800, theme, { prepare: details });
    await shoot(fake, `${theme}-1280-help`, 1280, 800, theme, { prepare: (page) => page.keyboard.press("?") });
    await shoot(fake, `${theme}-1280-filtered`, 1280, 800, theme, { prepare: async (page) => { await page.keyboard.press("/"); await page.keyboard.type("nothing like it"); await page.waitForTimeout(200); } });
  }
  await shoot(fake, "light-400-hosts", 400, 860, "light", { prepare: (page) => page.click("[data-show=hosts]") });
  await shoot(fake, "dark-400-details", 400, 860, "dark", { prepare: details });
  await shoot(fake, "light-768", 768, 1024, "light");
  for (const theme of ["light", "dark"]) {
    await shoot(fake, `${theme}-1280-offline`, 1280, 800, theme, { prepare: async (page) => { await context.setOffline(true); await page.waitForTimeout(1500); } });
    await context.setOffline(false);
  }
  // How Zabbix is.
  const ago = (seconds) => Date.now() - seconds * 1000;
  const states = {
    silent: () => ({ ...fake.healthy(), server_seen_at: Math.floor(ago(40) / 1000) }),
    failed: () => ({ ...fake.healthy(), good_at_ms: ago(185), server_seen_at: undefined, failure: { code: "unreachable", message: "Zabbix's frontend cannot be reached: connection timed out" } }),
    unasked: () => ({ ...fake.healthy(), at_ms: ago(125), good_at_ms: ago(125) }),
    clock: () => ({ ...fake.healthy(), ahead_ms: -190_000 }),
  };
  fake.polls = false;
  for (const [state, seen] of Object.entries(states)) {
    for (const theme of ["light", "dark"]) {
      for (const [width, height] of [[400, 860], [1280, 800]]) {
        fake.setZabbix(seen());
        await shoot(fake, `${theme}-${width}-zabbix-${state}`, width, height, theme);
      }
    }
  }
  fake.setZabbix(states.silent());
  await shoot(fake, "dark-3840-zabbix-silent", 3840, 2160, "dark");
  await shoot(fake, "light-400-zabbix-silent-scrolled", 400, 860, "light", { prepare: (page) => page.evaluate(() => window.scrollTo(0, 1500)) });
  fake.setZabbix(fake.healthy());
  fake.polls = true;

  // One host, one group, reports.
  const tabled = (page) => page.click(".lane-table summary");
  for (const [width, height] of [[400, 860], [1280, 800], [3840, 2160]]) {
    for (const theme of ["light", "dark"]) {
      await shoot(fake, `${theme}-${width}-host`, width, height, theme, { query: "#host=db-01" });
      await shoot(fake, `${theme}-${width}-timeline`, width, height, theme, { query: "?host=db-01&timeline=30d" });
      await shoot(fake, `${theme}-${width}-availability`, width, height, theme, { query: "?view=availability" });
    }
  }
  await shoot(fake, "light-1280-group", 1280, 800, "light", { query: "#group=Site A/Virtualisation" });
  await shoot(fake, "light-400-group", 400, 860, "light", { query: "#group=Site A/Virtualisation" });
  await shoot(fake, "dark-1280-hosts-states", 1280, 1100, "dark");
  await shoot(fake, "light-1280-timeline-table", 1280, 900, "light", { query: "?host=web-01&timeline=7d", prepare: tabled });
  await shoot(fake, "light-400-timeline-table", 400, 860, "light", { query: "?host=web-01&timeline=7d", prepare: tabled, fullPage: true });
  await shoot(fake, "light-1280-timeline-none", 1280, 800, "light", { query: "?host=rt-01&timeline=24h" });
  await shoot(fake, "light-1280-availability-custom", 1280, 800, "light", { query: `?view=availability&by=group&window=custom&from=${Math.floor(ago(200_000) / 1000)}&to=${Math.floor(ago(3600) / 1000)}&maintenance=include&least=3&group=Site%20A%2FDatabases` });
  await shoot(fake, "light-1280-availability-tag", 1280, 800, "light", { query: "?view=availability&by=tag" });
  fake.reportStatus = 503;
  await shoot(fake, "light-1280-availability-error", 1280, 800, "light", { query: "?view=availability" });
  await shoot(fake, "dark-400-timeline-error", 400, 860, "dark", { query: "?host=db-01&timeline=30d" });
  fake.reportStatus = undefined;
  fake.reportDelay = 5000;
  await shoot(fake, "light-1280-availability-loading", 1280, 800, "light", { query: "?view=availability" });
  fake.reportDelay = 0;

  // Acting.
  const act = async (page) => {
    await page.keyboard.press("j");
    await page.keyboard.press("j");
    await page.keyboard.press("Enter");
    await page.keyboard.press("a");
    await page.getByTestId("act-dialog").waitFor();
  };
  const send = async (page) => {
    await act(page);
    await page.keyboard.press("Space");
    await page.getByTestId("act-message").fill("Looking at the uplink");
    await page.getByTestId("act-send").click();
    await page.waitForTimeout(900);
  };
  for (const theme of ["light", "dark"]) {
    for (const [width, height] of [[400, 860], [1280, 800]]) {
      await shoot(fake, `${theme}-${width}-act`, width, height, theme, { prepare: act });
      fake.act = "silence";
      await shoot(fake, `${theme}-${width}-act-sent`, width, height, theme, { prepare: send });
      fake.act = "refuse";
      await shoot(fake, `${theme}-${width}-act-refused`, width, height, theme, { prepare: send });
    }
  }
  await shoot(fake, "dark-3840-act", 3840, 2160, "dark", { prepare: act });
  fake.act = "error";
  await shoot(fake, "light-1280-act-error", 1280, 800, "light", { prepare: send });
  fake.act = "confirm";

  fake.refuse = { code: 3500, reason: "invalid token" };
  await shoot(fake, "light-1280-refused", 1280, 800, "light");
  fake.refuse = undefined;
  const empty = await startFakeServer({ problems: 0 });
  for (const theme of ["light", "dark"]) await shoot(empty, `${theme}-1280-empty`, 1280, 800, theme);
  empty.polls = false;
  empty.setZabbix({ ...empty.healthy(), server_seen_at: Math.floor(Date.now() / 1000) - 40 });
  for (const theme of ["light", "dark"]) await shoot(empty, `${theme}-1280-empty-silent`, 1280, 800, theme);
  await empty.close();
  const bare = await startFakeServer({ poller: false, act: false, reports: false });
  await shoot(bare, "light-1280-bare", 1280, 800, "light", { prepare: details });
  await bare.close();
  const many = await startFakeServer({ problems: 2000 });
  await shoot(many, "dark-1280-2000", 1280, 800, "dark");
  await shoot(many, "light-3840-2000", 3840, 2160, "light");
  many.slowSnapshots = 1000;
  await shoot(many, "light-1280-loading", 1280, 800, "light", { prepare: (page) => page.waitForTimeout(2300) });
  await many.close();
}
await fake.close();
await stop();
