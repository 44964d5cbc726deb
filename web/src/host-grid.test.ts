import { expect, test } from "vitest";
import { countByHost } from "./host-grid";
import { problem } from "./testing";

const state = (...rows: Parameters<typeof problem>[0][]) => countByHost(rows.map(problem), 100).get("10680");

test("a host takes the worst of its open problems", () => {
  expect(state({ severity: 2 }, { severity: 5 }, { severity: 4 })).toEqual({ state: 5, open: 3, suppressed: 0, unknown: 0 });
  expect(state({ severity: 0 })?.state).toBe(0);
});

test("suppressed problems do not colour it, and an ended suppression does", () => {
  expect(state({ severity: 5, suppressed: true }, { severity: 1 })?.state).toBe(1);
  expect(state({ severity: 5, suppressed: true })).toEqual({ state: "suppressed", open: 0, suppressed: 1, unknown: 0 });
  expect(state({ severity: 5, suppressed: true, suppressed_until: 100 })?.state).toBe(5);
});

test("a host whose triggers cannot be evaluated is not OK, and not a problem", () => {
  expect(state({ kind: "internal", severity: 5 })?.state).toBe("unknown");
  expect(state({ kind: "internal" }, { severity: 1 })).toEqual({ state: 1, open: 1, suppressed: 0, unknown: 1 });
  expect(state()).toBeUndefined();
});
