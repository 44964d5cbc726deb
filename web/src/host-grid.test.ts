import { expect, test } from "vitest";
import { conditions, countByHost, describeHosts, sumHosts, tileState } from "./host-grid";
import { host, problem } from "./testing";

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

test("what a poll found shows on the tile of a host without problems", () => {
  const { state: ordinary } = host({});
  const unavailable = [{ interface: "agent", error: "refused" }];
  expect(tileState(undefined, ordinary)).toBe("ok");
  expect(tileState(undefined, { ...ordinary, unavailable })).toBe("unavailable");
  expect(tileState(undefined, { ...ordinary, unavailable, maintenance: "2" })).toBe("maintenance");
  expect(tileState(undefined, { ...ordinary, maintenance: "2", disabled: true })).toBe("disabled");
  expect(tileState(undefined, { ...ordinary, disabled: true, gone: true })).toBe("gone");
});

test("a problem comes before it; one that is only suppressed does not", () => {
  const { state: ordinary } = host({});
  expect(tileState(state({ severity: 1 }), { ...ordinary, disabled: true, maintenance: "2" })).toBe(1);
  expect(tileState(state({ suppressed: true }), { ...ordinary, maintenance: "2" })).toBe("maintenance");
  expect(tileState(state({ suppressed: true }), ordinary)).toBe("suppressed");
  expect(tileState(state({ kind: "internal" }), { ...ordinary, unavailable: [{ interface: "snmp", error: "" }] })).toBe("unknown");
});

test("what is out of the ordinary is said in words, with Zabbix's own", () => {
  expect(conditions(host({}).state)).toEqual([]);
  const unavailable = [{ interface: "snmp", error: "Timeout" }, { interface: "active", error: "" }, { interface: "new", error: "x" }];
  expect(conditions({ disabled: true, maintenance: "2", unavailable, gone: true })).toEqual([
    "no longer in Zabbix: deleted, or out of sight",
    "disabled: Zabbix does not monitor it",
    "in maintenance",
    "SNMP unavailable: Timeout",
    "Active checks unavailable",
    "new unavailable: x",
  ]);
});

test("hosts in maintenance and disabled ones are counted apart from those that are not OK", () => {
  expect(describeHosts(sumHosts(["ok", "ok", "disabled", "maintenance"]))).toBe("2 OK, 1 in maintenance, 1 disabled");
  expect(describeHosts(sumHosts([5, "ok", "unavailable", "gone", "suppressed", "disabled"]))).toBe("4 of 6 not OK, 1 disabled");
});
