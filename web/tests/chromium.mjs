// Finds and starts a Chromium that talks to nobody but the page.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-quic", "--no-first-run", "--disable-component-update", "--disable-sync"];

/** Path of the browser: $CHROMIUM, or the first of the usual names on the PATH; undefined if there is none. */
export function findChromium() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try {
      return execFileSync("sh", ["-c", `command -v ${name}`], { encoding: "utf8" }).trim();
    } catch {
      // Not this one.
    }
  }
  return undefined;
}

/** A browser context with a profile of its own, which `stop` removes. */
export async function startChromium(executablePath, options = {}) {
  const profile = mkdtempSync(join(tmpdir(), "signalbox-board-"));
  const context = await chromium.launchPersistentContext(profile, { executablePath, headless: true, args: ARGS, ...options });
  return {
    context,
    stop: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}
