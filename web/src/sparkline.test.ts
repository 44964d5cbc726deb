import { expect, test } from "vitest";
import { areaPath, describe as inWords, openOverTime } from "./sparkline";
import { problem } from "./testing";

const NOW = 10_000;

test("open problems count from their opening on, resolved ones while they lasted", () => {
  const open = [problem({ opened_at: NOW - 900, severity: 5 }), problem({ opened_at: NOW - 99_999, severity: 1 })];
  const series = openOverTime(open, [{ opened_at: NOW - 2700, resolved_at: NOW - 1800, severity: 2 }], NOW, 4);
  // At -60, -45, -30, -15 and 0 minutes; what was resolved at -30 minutes is no longer open then.
  expect(series.all).toEqual([1, 2, 1, 2, 2]);
  expect(series.severe).toEqual([0, 0, 0, 1, 1]);
});

test("internal entries are not problems, and a problem opened this second is open now", () => {
  const open = [problem({ kind: "internal", opened_at: 0 }), problem({ opened_at: NOW + 2 })];
  expect(openOverTime(open, [], NOW, 4).all).toEqual([0, 0, 0, 0, 1]);
});

test("what was resolved before the hour leaves no trace", () => {
  expect(openOverTime([], [{ opened_at: 0, resolved_at: NOW - 3600, severity: 5 }], NOW, 4).all).toEqual([0, 0, 0, 0, 0]);
});

test("the last value is the number of open problems", () => {
  const open = Array.from({ length: 50 }, (_, index) => problem({ opened_at: NOW - index * 61 }));
  expect(openOverTime(open, [], NOW).all.at(-1)).toBe(50);
});

test("the picture is one closed shape, and says the same in words", () => {
  expect(areaPath([0, 2, 1], 2, 100, 10)).toBe("M0 10V10.0H50.0V0.0H100.0V5.0V10Z");
  expect(inWords({ all: [1, 4, 2], severe: [0, 1, 1], from: 0, step: 60 }, String)).toBe(
    "Open problems over the last hour: 1 an hour ago, 2 now, at most 4 (at 60), at least 1. High and Disaster: 0 an hour ago, 1 now.",
  );
});
