import { expect, test } from "vitest";
import type { Interval } from "./reports";
import { axis, describeLane, stretches } from "./timeline";

const interval = (from: number, to: number | undefined, severity: Interval["severity"], fields: Partial<Interval> = {}): Interval => ({
  event_id: "1",
  name: "n",
  from,
  to,
  severity,
  maintenance: false,
  suppressed: false,
  unmonitored: false,
  ...fields,
});
const lane = (...intervals: Interval[]) => stretches(intervals, 0, 100).map(({ from, to, severity, planned }) => [from, to, planned ? `(${severity})` : severity]);

test("what was before and after the window is cut off, and what is open lasts until its end", () => {
  expect(lane(interval(-50, 10, 4), interval(90, undefined, 2), interval(95, 300, 2))).toEqual([
    [0, 10, 4],
    [90, 100, 2],
  ]);
  expect(lane(interval(-50, 0, 4), interval(100, 110, 4))).toEqual([]);
});

test("at each moment the worst severity is shown", () => {
  expect(lane(interval(10, 60, 2), interval(20, 30, 5), interval(50, 70, 3))).toEqual([
    [10, 20, 2],
    [20, 30, 5],
    [30, 50, 2],
    [50, 70, 3],
  ]);
});

test("a problem that follows on another of its severity is one stretch, with as many problems as there were at once", () => {
  expect(lane(interval(10, 20, 4), interval(20, 30, 4))).toEqual([[10, 30, 4]]);
  expect(stretches([interval(10, 40, 4), interval(20, 30, 1), interval(20, 30, 4)], 0, 100)).toEqual([{ from: 10, to: 40, severity: 4, planned: false, problems: 3 }]);
});

test("only where every problem was suppressed is it maintenance, however severe", () => {
  expect(lane(interval(10, 50, 5, { maintenance: true }), interval(20, 30, 1), interval(40, 60, 2, { suppressed: true }))).toEqual([
    [10, 20, "(5)"],
    [20, 30, 1],
    [30, 50, "(5)"],
    [50, 60, "(2)"],
  ]);
});

test("what was not monitored is left out", () => {
  expect(lane(interval(10, 20, 5, { unmonitored: true }))).toEqual([]);
});

test("the lane is told in words", () => {
  expect(describeLane([], 0, 86_400)).toBe("No problem in 1d 00h.");
  const intervals = [interval(0, 3600, 4), interval(7200, 7260, 2), interval(8000, 8060, 5, { maintenance: true })];
  expect(describeLane(stretches(intervals, 0, 86_400), 0, 86_400)).toBe("Of 1d 00h: High 1h 00m, Warning 1m 00s, in maintenance or suppressed 1m 00s.");
});

test("the axis has round times of a day, the days of a week and every fifth of a month", () => {
  const start = new Date(2026, 10, 20, 5, 30).getTime() / 1000;
  expect(axis(start, start + 86_400).map(({ word }) => word)).toEqual(["08:00", "12:00", "16:00", "20:00", "00:00"]);
  expect(axis(start, start + 86_400)[0]?.share).toBeCloseTo(2.5 / 24, 5);
  expect(axis(start, start + 7 * 86_400)).toHaveLength(6);
  expect(axis(start, start + 7 * 86_400)[0]?.share).toBeCloseTo(18.5 / (7 * 24), 5);
  expect(axis(start, start + 30 * 86_400).length).toBeGreaterThan(4);
});
