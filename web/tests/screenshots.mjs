// Pictures of the board against the fake server: `npm run build && npm run screenshots` → screenshots/ (not committed).
// `--readme` makes ../docs/board.png instead.
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
async function shoot(fake, name, width, height, colorScheme, { prepare, fullPage = false, path } = {}) {
  const page = await context.newPage();
  page.on("console", (message) => console.log(`${name}: ${message.text()}`));
  page.on("pageerror", (error) => console.log(`${name}: ${error}`));
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme });
  await page.goto(fake.url);
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
  fake.refuse = { code: 3500, reason: "invalid token" };
  await shoot(fake, "light-1280-refused", 1280, 800, "light");
  fake.refuse = undefined;
  const empty = await startFakeServer({ problems: 0 });
  for (const theme of ["light", "dark"]) await shoot(empty, `${theme}-1280-empty`, 1280, 800, theme);
  await empty.close();
  const many = await startFakeServer({ problems: 2000 });
  await shoot(many, "dark-1280-2000", 1280, 800, "dark");
  await shoot(many, "light-3840-2000", 3840, 2160, "light");
  await many.close();
}
await fake.close();
await stop();
