import { expect, test } from "vitest";
import { formatAvailability, formatDurations, localField, localSeconds, queries, windowOf } from "./availability";
import { BOARD } from "./view";

const NOW = 1_800_000_000;
const all = { host: "", group: "" };

test("only what was never down is 100 %", () => {
  expect(formatAvailability(1)).toBe("100 %");
  expect(formatAvailability(0.9999999)).toBe("99.999 %");
  expect(formatAvailability(0.99995)).toBe("99.995 %");
  expect(formatAvailability(0.29)).toBe("29.000 %");
  expect(formatAvailability(0)).toBe("0.000 %");
});

test("a median has the 90th percentile beside it where there is more than one", () => {
  expect(formatDurations({ count: 3, median_seconds: 190, p90_seconds: 724 })).toEqual(["3m 10s", "90 %: 12m 04s"]);
  expect(formatDurations({ count: 1, median_seconds: 190, p90_seconds: 190 })).toEqual(["3m 10s", ""]);
  expect(formatDurations({ count: 0, median_seconds: undefined, p90_seconds: undefined })).toEqual(["–", ""]);
});

test("the window ends now, or where it was chosen to, but not in the future", () => {
  expect(windowOf({ ...BOARD, window: "24h" }, NOW)).toEqual({ from: NOW - 86_400, to: NOW });
  expect(windowOf({ ...BOARD, window: "custom", from: 10, to: 20 }, NOW)).toEqual({ from: 10, to: 20 });
  expect(windowOf({ ...BOARD, window: "custom", from: 10, to: NOW + 5 }, NOW).to).toBe(NOW);
});

test("both reports are asked for the same, but response knows no maintenance", () => {
  const asked = queries({ ...BOARD, by: "group", least: 3, includeMaintenance: true }, { host: "web-01", group: "A" }, NOW);
  expect(asked?.response).toEqual({ by: "group", tag: undefined, host: "web-01", group: "A", severity: "3", from: String(NOW - 30 * 86_400), to: String(NOW) });
  expect(asked?.availability).toEqual({ ...asked?.response, maintenance: "include" });
  expect(queries(BOARD, all, NOW)?.availability["maintenance"]).toBe("exclude");
});

test("a tag goes along only with by=tag, which needs one", () => {
  expect(queries({ ...BOARD, tag: "service" }, all, NOW)?.response["tag"]).toBeUndefined();
  expect(queries({ ...BOARD, by: "tag", tag: " " }, all, NOW)).toBeUndefined();
  expect(queries({ ...BOARD, by: "tag", tag: " service " }, all, NOW)?.response["tag"]).toBe("service");
});

test("a time survives the field it is chosen in, to the minute", () => {
  const minute = Math.floor(NOW / 60) * 60;
  expect(localSeconds(localField(minute))).toBe(minute);
  expect(localSeconds("")).toBeUndefined();
  expect(localSeconds("nonsense")).toBeUndefined();
});
