import { expect, test } from "vitest";
import { atLeast, EVERYTHING, filterToSearch, isEverything, matcher, minimumOf, parseFilter, toggleLevel } from "./filter";
import { problem } from "./testing";

test("an empty query shows everything, and everything writes an empty query", () => {
  expect(parseFilter("")).toEqual(EVERYTHING);
  expect(filterToSearch(EVERYTHING)).toBe("");
  expect(isEverything(parseFilter("?utm=1"))).toBe(true);
});

test("a filter survives the trip through the address", () => {
  const filter = { text: "disk & 50 %", group: "Site A/Web servers", host: "db-01", levels: [5, 2, "unknown" as const], showSuppressed: false, showAcknowledged: false };
  expect(parseFilter(filterToSearch({ ...filter, levels: [5, 2, "unknown"] }))).toEqual(filter);
});

test("a severity and all above it are written as a minimum", () => {
  expect(filterToSearch({ ...EVERYTHING, levels: atLeast(3) })).toBe("?min=3");
  expect(parseFilter("?min=3").levels).toEqual([5, 4, 3]);
  expect(minimumOf([5, 3])).toBeUndefined();
  expect(minimumOf([])).toBeUndefined();
});

test("nonsense in the query is left out, and foreign parameters are kept", () => {
  expect(parseFilter("?severity=9,-1,x,&min=77&suppressed=maybe")).toEqual(EVERYTHING);
  expect(filterToSearch({ ...EVERYTHING, text: "a" }, "?kiosk=1&q=old")).toBe("?kiosk=1&q=a");
});

test("levels are toggled and kept worst first", () => {
  expect(toggleLevel([2], 5)).toEqual([5, 2]);
  expect(toggleLevel([5, 2], 5)).toEqual([2]);
  expect(toggleLevel([5], "unknown")).toEqual([5, "unknown"]);
});

test("every word must occur, in name, host, value, groups, tags or event id, whatever the case", () => {
  const row = problem({ opdata: "status=1" });
  const matches = (text: string) => matcher({ ...EVERYTHING, text }, 0)(row);
  for (const text of ["WEB-01 down", "service:shop", "service=shop", "site a/web", "status=1", "schaufenster", "  "]) expect(matches(text)).toBe(true);
  for (const text of ["web-02", "down disk"]) expect(matches(text)).toBe(false);
});

test("group, host and severity must match exactly; unknown is a level of its own", () => {
  const row = problem({});
  const shows = (fields: object, candidate = row) => matcher({ ...EVERYTHING, ...fields }, 0)(candidate);
  expect(shows({ group: "Site A" })).toBe(false);
  expect(shows({ group: "Site A/Web servers", host: "web-01", levels: [4] })).toBe(true);
  expect(shows({ host: "web-0" })).toBe(false);
  expect(shows({ levels: [5] })).toBe(false);
  const internal = problem({ kind: "internal", severity: 4 });
  expect(shows({ levels: [4] }, internal)).toBe(false);
  expect(shows({ levels: ["unknown"] }, internal)).toBe(true);
});

test("acknowledged and suppressed problems can be hidden, the latter only while suppressed", () => {
  const hide = (now: number) => matcher({ ...EVERYTHING, showSuppressed: false, showAcknowledged: false }, now);
  expect(hide(0)(problem({ acknowledged: true }))).toBe(false);
  const suppressed = problem({ suppressed: true, suppressed_until: 100 });
  expect(hide(99)(suppressed)).toBe(false);
  expect(hide(100)(suppressed)).toBe(true);
});
