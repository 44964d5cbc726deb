import type { Problem, Span } from "./problem";

/** Open problems at even steps over the last hour; the last value is now. */
export interface Series {
  /** All severities. */
  all: number[];
  /** High and Disaster only. */
  severe: number[];
  /** Unix seconds of the first value. */
  from: number;
  /** Seconds between two values. */
  step: number;
}

/**
 * Counts what was open at each step from the opening and resolving times.
 * Internal entries are left out; suppressed problems are in, since when they were suppressed is not known.
 */
export function openOverTime(open: Iterable<Problem>, resolved: readonly Span[], now: number, steps = 60, span = 3600): Series {
  const step = span / steps;
  const from = now - span;
  const all = new Array<number>(steps + 2).fill(0);
  const severe = new Array<number>(steps + 2).fill(0);
  const count = (severity: number, opened: number, until: number) => {
    // Value i stands for the moment from + i * step: the first one at or after the opening, up to the resolving.
    const first = Math.max(0, Math.ceil((opened - from) / step));
    const end = Math.min(steps + 1, Math.max(0, Math.ceil((until - from) / step)));
    if (first >= end) return;
    for (const series of severity >= 4 ? [all, severe] : [all]) {
      series[first] = (series[first] ?? 0) + 1;
      series[end] = (series[end] ?? 0) - 1;
    }
  };
  for (const problem of open) {
    // One that was opened this second, or by a clock ahead of ours, is open now.
    if (problem.kind === "problem") count(problem.severity, Math.min(problem.opened_at, now), Infinity);
  }
  for (const { severity, opened_at, resolved_at } of resolved) count(severity, opened_at, resolved_at);
  return { all: sums(all, steps + 1), severe: sums(severe, steps + 1), from, step };
}

function sums(differences: number[], length: number): number[] {
  let sum = 0;
  return differences.slice(0, length).map((difference) => (sum += difference));
}

/** A stepped SVG path over a box of `width` × `height`, closed along the bottom so that it can be filled. */
export function areaPath(values: readonly number[], top: number, width: number, height: number): string {
  if (values.length < 2) return "";
  const x = (index: number) => ((index * width) / (values.length - 1)).toFixed(1);
  const y = (value: number) => (height - (top === 0 ? 0 : (value / top) * height)).toFixed(1);
  let path = `M0 ${height}V${y(values[0] ?? 0)}`;
  for (let index = 1; index < values.length; index += 1) path += `H${x(index)}V${y(values[index] ?? 0)}`;
  return `${path}V${height}Z`;
}

/** The same in words, for who does not see the picture. `clock` formats unix seconds. */
export function describe(series: Series, clock: (seconds: number) => string): string {
  const { all, severe, from, step } = series;
  const highest = Math.max(...all);
  const at = all.lastIndexOf(highest);
  return (
    `Open problems over the last hour: ${all.at(0) ?? 0} an hour ago, ${all.at(-1) ?? 0} now, ` +
    `at most ${highest} (at ${clock(from + at * step)}), at least ${Math.min(...all)}. ` +
    `High and Disaster: ${severe.at(0) ?? 0} an hour ago, ${severe.at(-1) ?? 0} now.`
  );
}
