import { expect, test } from "vitest";
import { isSuppressed, parseProblem, parsePublication, parseSnapshotPage, webLink } from "./problem";
import { host, problem } from "./testing";

test("a whole problem is read as it is", () => {
  const whole = problem({
    opdata: "1",
    suppressed: true,
    suppressed_until: 9,
    maintenance: { id: "3", until: 8 },
    unmonitored: true,
    unknown: "no data",
    cause: "7",
    trigger_id: "5",
    url: "https://a.example/",
    last_update: { at: 3, action: "acknowledged", message: "on it", user: "A" },
  });
  expect(parseProblem(structuredClone(whole))).toEqual(whole);
});

test("a record without what the board needs is refused, one with less beside it is not", () => {
  const { tags: _tags, groups: _groups, host: _host, ...bare } = problem({});
  expect(parseProblem(bare)).toMatchObject({ tags: [], groups: [], host: { id: "", host: "", name: "" } });
  for (const broken of [null, 7, [], {}, { ...bare, severity: 6 }, { ...bare, severity: "4" }, { ...bare, state: "?" }, { ...bare, version: "1" }, { ...bare, event_id: "" }]) {
    expect(parseProblem(broken)).toBeUndefined();
  }
  expect(parsePublication({ changes: [{ accepted_at_ms: 5 }] })).toBeUndefined();
  expect(parsePublication({ changes: [{ problem: bare, accepted_at_ms: 5 }, { problem: {} }] })).toMatchObject({ changes: [{ accepted_at_ms: 5 }] });
});

test("a snapshot page keeps what is sound and needs a position", () => {
  const page = parseSnapshotPage({
    problems: [problem({}), { event_id: "x" }],
    hosts: [{ id: "1", host: "a", name: "", groups: ["g"] }],
    recent: [{ opened_at: 1, resolved_at: 2, severity: 3 }, { opened_at: 1 }],
    position: { offset: 4, epoch: "e" },
    now_ms: 5,
    cursor: "next",
  });
  expect(page.problems).toHaveLength(1);
  expect(page.hosts).toEqual([host({ id: "1", host: "a", name: "a", groups: ["g"] })]);
  expect(page.may_act).toBe(false);
  expect(page.zabbix).toBeUndefined();
  expect(page.recent).toHaveLength(1);
  expect(page).toMatchObject({ position: { offset: 4, epoch: "e" }, cursor: "next" });
  expect(() => parseSnapshotPage({ problems: [] })).toThrow(TypeError);
});

test("a suppression without an end lasts, one with an end ends", () => {
  expect(isSuppressed(problem({ suppressed: true }), 1e12)).toBe(true);
  expect(isSuppressed(problem({ suppressed: true, suppressed_until: 5 }), 5)).toBe(false);
  expect(isSuppressed(problem({ suppressed: false, suppressed_until: 5 }), 1)).toBe(false);
});

test("a maintenance suppresses until its end, and what is disabled is not counted", () => {
  expect(isSuppressed(problem({ maintenance: { id: "3" } }), 1e12)).toBe(true);
  expect(isSuppressed(problem({ maintenance: { id: "3", until: 5 } }), 4)).toBe(true);
  expect(isSuppressed(problem({ maintenance: { id: "3", until: 5 } }), 5)).toBe(false);
  expect(isSuppressed(problem({ unmonitored: true }), 0)).toBe(true);
});

test("only web addresses become links", () => {
  expect(webLink(problem({ url: "https://wiki.example.org/a b" }))).toBe("https://wiki.example.org/a%20b");
  for (const url of ["javascript:alert(1)", " JaVaScRiPt:alert(1)", "data:text/html,x", "file:///etc/passwd", "/relative", ""]) {
    expect(webLink(problem({ url }))).toBeUndefined();
  }
});

test("each shape of a publication is read as what it is, and nothing else is", () => {
  expect(parsePublication({ changes: [1, 2].map((id) => ({ problem: problem({ event_id: String(id) }), accepted_at_ms: 7 })) })).toEqual({
    changes: [1, 2].map((id) => ({ problem: problem({ event_id: String(id) }), accepted_at_ms: 7 })),
  });
  const state = { disabled: true, maintenance: "2", unavailable: [{ interface: "agent", error: "refused" }], gone: true };
  expect(parsePublication({ host: host({ state }), at_ms: 5 })).toEqual({ host: host({ state }), at_ms: 5 });
  expect(parsePublication({ host: { id: "1", host: "a", groups: [] }, at_ms: 5 })).toMatchObject({ host: { state: { disabled: false, unavailable: [], gone: false } } });
  expect(parsePublication({ zabbix: { at_ms: 5, version: "7.0" } })).toEqual({ zabbix: { at_ms: 5, version: "7.0" } });
  expect(parsePublication({ refused: { event_id: "1", user: "u", reason: "no" } })).toEqual({ refused: { event_id: "1", user: "u", reason: "no" } });
  for (const broken of [{ problem: problem({}), accepted_at_ms: 5 }, { changes: [] }, { changes: {} }, { host: {}, at_ms: 5 }, { host: host({}) }, { zabbix: {} }, { refused: {} }, {}, null]) {
    expect(parsePublication(broken)).toBeUndefined();
  }
});

test("the first page says how Zabbix is and whether the viewer may act", () => {
  const page = parseSnapshotPage({ position: { offset: 1, epoch: "e" }, zabbix: { at_ms: 3 }, may_act: true });
  expect(page).toMatchObject({ zabbix: { at_ms: 3 }, may_act: true });
  expect(parseSnapshotPage({ position: {}, may_act: "yes" }).may_act).toBe(false);
});
