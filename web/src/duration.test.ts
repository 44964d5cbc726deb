import { expect, test } from "vitest";
import { formatAgo, formatDuration, formatLatency, median } from "./duration";

test.each([
  [-5, "0s"],
  [0, "0s"],
  [59.9, "59s"],
  [60, "1m 00s"],
  [3599, "59m 59s"],
  [3600, "1h 00m"],
  [86399, "23h 59m"],
  [86400, "1d 00h"],
  [86400 * 364, "364d 00h"],
  [86400 * 377, "1y 12d"],
])("%d seconds read %s", (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

test("latencies are in milliseconds until they are absurd", () => {
  expect([Number.NaN, -3, 41.6, 9_999, 75_000].map(formatLatency)).toEqual(["–", "0 ms", "42 ms", "9999 ms", "1m 15s"]);
});

test("the median is one of the values", () => {
  expect(median([])).toBeUndefined();
  expect(median([9, 1, 5])).toBe(5);
  expect(median([4, 1, 3, 2])).toBe(2);
});

test.each([
  [-5, "0 s"],
  [119.9, "119 s"],
  [120, "2 min"],
  [7199, "119 min"],
  [7200, "2 h"],
  [2 * 86400 - 1, "47 h"],
  [2 * 86400, "2 d"],
])("%d seconds are said as %s", (seconds, text) => {
  expect(formatAgo(seconds)).toBe(text);
});
