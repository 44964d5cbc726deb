// Twenty tabs of one browser on one channel: each gets every publication in order, and what it missed while the network was
// away. The page is served under the board's origin, which the stack allows. No browser: exit code 77.
//   SIGNALBOX_ENDPOINTS=.signalbox/endpoints.json node tests/sdk/js/tabs.mjs
import { readFileSync } from "node:fs";
import { findChromium, startChromium } from "../../../web/tests/chromium.mjs";
import { channelOf, publishAll, range, stack, tokenOf } from "./stack.mjs";

const TABS = 20;
const PATIENCE = 60_000;
const executablePath = findChromium();
if (executablePath === undefined) {
  console.log("tabs: skipped, no Chromium found");
  process.exit(77);
}

const sdk = readFileSync(new URL("node_modules/centrifuge/dist/centrifuge.js", import.meta.url), "utf8");
const channel = channelOf("chat");
const page = (tab) => `<!doctype html><title>tab ${tab}</title><script>${sdk}</script><script>
  window.numbers = []; window.recoveries = [];
  const client = new Centrifuge(${JSON.stringify(stack.ws_url)}, { token: ${JSON.stringify(tokenOf("tabs"))} });
  const sub = client.newSubscription(${JSON.stringify(channel)});
  sub.on("publication", ({ data }) => window.numbers.push(data.n));
  sub.on("subscribed", ({ recovered }) => window.recoveries.push(recovered));
  client.on("state", ({ newState }) => (window.state = newState));
  sub.subscribe(); client.connect();
</script>`;

const { context, stop } = await startChromium(executablePath);
let code = 0;
try {
  // Chromium asks before a page talks to this machine of which it does not know that it comes from there, as of one that is played here.
  await context.grantPermissions(["local-network-access"], { origin: stack.web_origin });
  await context.route("**/tab-*.html", (route) => {
    const tab = new URL(route.request().url()).pathname.match(/\d+/)[0];
    return route.fulfill({ contentType: "text/html", body: page(tab) });
  });
  const tabs = [];
  const errors = [];
  for (const tab of range(TABS)) {
    const opened = await context.newPage();
    opened.on("pageerror", (error) => errors.push(String(error)));
    await opened.goto(`${stack.web_origin}/tab-${tab}.html`);
    tabs.push(opened);
  }
  const all = async (what, test) => {
    const waited = await Promise.allSettled(tabs.map((tab) => tab.waitForFunction(test, undefined, { timeout: PATIENCE, polling: 100 })));
    const missing = waited.flatMap(({ status }, index) => (status === "rejected" ? [index] : []));
    if (missing.length === 0) return;
    const state = await tabs[missing[0]].evaluate(() => ({ state: window.state, recoveries: window.recoveries, numbers: window.numbers.length }));
    throw new Error(`${what}: not in ${missing.length} tabs, such as ${JSON.stringify(state)}`);
  };
  await all("subscribed", () => window.recoveries.length === 1);
  await publishAll(channel, range(20));
  await all("published", () => window.numbers.length === 20);
  await context.setOffline(true);
  await all("offline", () => window.state === "connecting");
  await publishAll(channel, range(30, 21));
  await context.setOffline(false);
  await all("recovered", () => window.recoveries.length === 2);
  await publishAll(channel, range(20, 51));
  await all("published again", () => window.numbers.at(-1) === 70);
  for (const [index, tab] of tabs.entries()) {
    const { numbers, recoveries } = await tab.evaluate(() => ({ numbers: window.numbers, recoveries: window.recoveries }));
    if (JSON.stringify(numbers) !== JSON.stringify(range(70))) throw new Error(`tab ${index + 1} has ${numbers}`);
    if (recoveries[1] !== true) throw new Error(`tab ${index + 1} was not recovered`);
  }
  if (errors.length > 0) throw new Error(errors.join("\n"));
  console.log(`tabs: ${TABS} tabs, 70 publications, 30 of them while offline, all complete and in order`);
} catch (error) {
  console.error(`tabs: ${error.message}`);
  code = 1;
} finally {
  await stop();
}
process.exit(code);
