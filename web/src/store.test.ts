import { describe, expect, test } from "vitest";
import type { Problem } from "./problem";
import { host, problem } from "./testing";
import { byUrgency, Store, TOMBSTONE_MS, totals, unevaluable } from "./store";

const NOW = 1_800_000_000_000;
const empty = { problems: [], hosts: [], recent: [], zabbix: undefined, mayAct: false };

describe("publications", () => {
  test("a new problem appears, a newer version replaces it, a resolved one removes it", () => {
    const store = new Store();
    expect(store.applyPublication(problem({ version: 1 }), NOW)?.kind).toBe("new");
    expect(store.applyPublication(problem({ version: 2, acknowledged: true }), NOW)?.kind).toBe("changed");
    expect(store.open.get("1")?.acknowledged).toBe(true);
    expect(store.applyPublication(problem({ version: 3, state: "resolved" }), NOW)?.kind).toBe("resolved");
    expect(store.open.size).toBe(0);
  });

  test("the same or an older version changes nothing", () => {
    const store = new Store();
    store.applyPublication(problem({ version: 2, acknowledged: true }), NOW);
    expect(store.applyPublication(problem({ version: 2 }), NOW)).toBeUndefined();
    expect(store.applyPublication(problem({ version: 1 }), NOW)).toBeUndefined();
    expect(store.open.get("1")?.acknowledged).toBe(true);
  });

  test("a late opening does not resurrect a resolved problem, a reopening does", () => {
    const store = new Store();
    store.applyPublication(problem({ version: 3, state: "resolved" }), NOW);
    expect(store.applyPublication(problem({ version: 1 }), NOW)).toBeUndefined();
    expect(store.applyPublication(problem({ version: 4 }), NOW)?.kind).toBe("new");
  });

  test("a problem brings a host the snapshot did not know", () => {
    const store = new Store();
    store.applyPublication(problem({}), NOW);
    expect([...store.hosts.keys()]).toEqual(["10680"]);
  });

  test("a host that comes without its id is the one of that name", () => {
    const bare = { id: "web-01", host: "web-01", name: "Web 01" };
    const store = new Store();
    store.applyPublication(problem({ host: bare }), NOW);
    expect([...store.hosts.keys()]).toEqual(["web-01"]);
    store.applyPublication(problem({ version: 2 }), NOW);
    expect([...store.hosts.keys()]).toEqual(["10680"]);
    store.applyPublication(problem({ event_id: "2", host: bare }), NOW);
    expect([...store.hosts.keys()]).toEqual(["10680"]);
    expect(store.open.get("2")?.host.id).toBe("10680");
  });
});

describe("snapshots", () => {
  test("an older row of a snapshot does not resurrect what was resolved meanwhile", () => {
    const store = new Store();
    const mark = store.beginSnapshot();
    store.applyPublication(problem({ version: 1 }), NOW);
    store.applyPublication(problem({ version: 2, state: "resolved" }), NOW);
    store.applySnapshot({ ...empty, problems: [problem({ version: 1 })] }, mark, NOW);
    expect(store.open.size).toBe(0);
  });

  test("an older row of a snapshot does not overwrite a newer publication", () => {
    const store = new Store();
    const mark = store.beginSnapshot();
    store.applyPublication(problem({ version: 5, name: "newer" }), NOW);
    store.applySnapshot({ ...empty, problems: [problem({ version: 4, name: "older" })] }, mark, NOW);
    expect(store.open.get("1")?.name).toBe("newer");
  });

  test("what the snapshot no longer lists is removed and reported as resolved", () => {
    const store = new Store();
    store.applyPublication(problem({}), NOW);
    const changes = store.applySnapshot(empty, store.beginSnapshot(), NOW);
    expect(changes.map(({ kind }) => kind)).toEqual(["resolved"]);
    expect(store.open.size).toBe(0);
  });

  test("what was published while the snapshot was on its way survives it", () => {
    const store = new Store();
    const mark = store.beginSnapshot();
    store.applyPublication(problem({}), NOW);
    expect(store.applySnapshot(empty, mark, NOW)).toEqual([]);
    expect(store.open.size).toBe(1);
  });

  test("a problem removed by a snapshot can be reopened by a higher version only", () => {
    const store = new Store();
    store.applyPublication(problem({ version: 2 }), NOW);
    store.applySnapshot(empty, store.beginSnapshot(), NOW);
    expect(store.applyPublication(problem({ version: 2 }), NOW)).toBeUndefined();
    expect(store.applyPublication(problem({ version: 4 }), NOW)?.kind).toBe("new");
  });

  test("the hosts are those of the last snapshot", () => {
    const store = new Store();
    const named = (id: string) => host({ id, host: id });
    store.applySnapshot({ ...empty, hosts: [named("1"), named("2")] }, 0, NOW);
    store.applySnapshot({ ...empty, hosts: [named("2")] }, store.beginSnapshot(), NOW);
    expect([...store.hosts.keys()]).toEqual(["2"]);
  });

  test("versions of resolved problems are forgotten after an hour, not before", () => {
    const store = new Store();
    store.applyPublication(problem({ version: 2, state: "resolved" }), NOW);
    store.forget(NOW + TOMBSTONE_MS);
    expect(store.applyPublication(problem({ version: 1 }), NOW)).toBeUndefined();
    store.forget(NOW + TOMBSTONE_MS + 1);
    expect(store.applyPublication(problem({ version: 1 }), NOW)?.kind).toBe("new");
  });
});

describe("the history of resolved problems", () => {
  test("a replayed recovery that the snapshot counted is not counted twice", () => {
    const store = new Store();
    const at = NOW / 1000;
    store.applySnapshot({ ...empty, recent: [{ opened_at: at - 60, resolved_at: at, severity: 4 }] }, 0, NOW);
    store.applyPublication(problem({ version: 2, state: "resolved", opened_at: at - 60, resolved_at: at }), NOW);
    expect(store.recent).toHaveLength(1);
  });

  test("a live recovery is added, an internal one is not", () => {
    const store = new Store();
    store.applyPublication(problem({ version: 1 }), NOW);
    store.applyPublication(problem({ version: 2, state: "resolved" }), NOW);
    store.applyPublication(problem({ event_id: "2", kind: "internal", version: 2, state: "resolved" }), NOW);
    expect(store.recent).toHaveLength(1);
  });
});

test("the list is sorted worst first, newest first within a severity, internal entries last", () => {
  const rows = [
    problem({ event_id: "1", severity: 2, opened_at: 300 }),
    problem({ event_id: "2", severity: 5, opened_at: 100 }),
    problem({ event_id: "3", severity: 5, opened_at: 200 }),
    problem({ event_id: "4", severity: 5, opened_at: 900, kind: "internal" }),
    problem({ event_id: "9", severity: 0, opened_at: 100 }),
    problem({ event_id: "10", severity: 0, opened_at: 100 }),
  ];
  expect(rows.sort(byUrgency).map(({ event_id }) => event_id)).toEqual(["3", "2", "1", "10", "9", "4"]);
});

test("suppressed problems and internal entries are counted apart; an ended suppression counts again", () => {
  const rows = [
    problem({ severity: 4 }),
    problem({ severity: 5, suppressed: true, suppressed_until: 1000 }),
    problem({ severity: 2, suppressed: true }),
    problem({ severity: 5, kind: "internal" }),
  ];
  expect(totals(rows, 999)).toEqual({ open: [0, 0, 0, 0, 1, 0], suppressed: [0, 0, 1, 0, 0, 1], unknown: 1, all: 1, worst: 4 });
  expect(totals(rows, 1000)).toMatchObject({ open: [0, 0, 0, 0, 1, 1], all: 2, worst: 5 });
});

test("triggers with an open internal entry are the ones that cannot be evaluated", () => {
  const rows = [problem({ trigger_id: "7" }), problem({ kind: "internal", trigger_id: "8" }), problem({ kind: "internal" })];
  expect([...unevaluable(rows)]).toEqual(["8"]);
});

describe("hosts that a poll found", () => {
  const disabled = { disabled: true, unavailable: [], gone: false };

  test("the latest poll is so, in whichever order its word comes", () => {
    const store = new Store();
    expect(store.applyHost(host({ state: disabled }), 2)).toBe(true);
    expect(store.applyHost(host({}), 1)).toBe(false);
    expect(store.applyHost(host({}), 2)).toBe(false);
    expect(store.hosts.get("10680")?.state.disabled).toBe(true);
    expect(store.applyHost(host({}), 3)).toBe(true);
    expect(store.hosts.get("10680")?.state.disabled).toBe(false);
  });

  test("a problem of the host does not take its state away", () => {
    const store = new Store();
    store.applyHost(host({ state: disabled }), 1);
    store.applyPublication(problem({}), NOW);
    expect(store.hosts.get("10680")?.state.disabled).toBe(true);
  });

  test("what came while a snapshot was on its way survives it, what came before does not", () => {
    const store = new Store();
    store.applyHost(host({ id: "1", host: "a", state: disabled }), 1);
    const mark = store.beginSnapshot();
    store.applyHost(host({ id: "2", host: "b", state: disabled }), 2);
    store.applySnapshot({ ...empty, hosts: [host({ id: "1", host: "a" }), host({ id: "2", host: "b" })] }, mark, NOW);
    expect([...store.hosts.values()].map(({ state }) => state.disabled)).toEqual([false, true]);
  });
});

test("late word of Zabbix changes nothing, and a snapshot without any keeps what is known", () => {
  const store = new Store();
  store.applyZabbix({ at_ms: 5, version: "7.0" });
  store.applyZabbix({ at_ms: 4 });
  store.applySnapshot(empty, 0, NOW);
  expect(store.zabbix).toEqual({ at_ms: 5, version: "7.0" });
  store.applySnapshot({ ...empty, zabbix: { at_ms: 9 } }, 0, NOW);
  expect(store.zabbix).toEqual({ at_ms: 9 });
});

test("who may act is what the last snapshot says", () => {
  const store = new Store();
  store.applySnapshot({ ...empty, mayAct: true }, 0, NOW);
  expect(store.mayAct).toBe(true);
  store.applySnapshot(empty, 0, NOW);
  expect(store.mayAct).toBe(false);
});

test("the order is that of a sort, whatever has happened", () => {
  const store = new Store();
  let random = 1;
  const next = (below: number) => (random = (random * 48271) % 2147483647) % below;
  for (let step = 1; step < 2000; step += 1) {
    const severity = next(6) as Problem["severity"];
    const kind = next(9) === 0 ? "internal" : "problem";
    store.applyPublication(problem({ event_id: String(next(300)), version: step, severity, kind, opened_at: next(50), state: next(3) === 0 ? "resolved" : "open" }), NOW);
    if (step % 500 === 0) store.applySnapshot({ ...empty, problems: [...store.open.values()].slice(0, 40) }, store.beginSnapshot(), NOW);
  }
  expect(store.ordered.length).toBeGreaterThan(20);
  expect(store.ordered).toEqual([...store.open.values()].sort(byUrgency));
});

test("groups are those of hosts and problems, and a snapshot forgets those that nothing is in", () => {
  const store = new Store();
  store.applyPublication(problem({ groups: ["P"] }), NOW);
  store.applyHost(host({ id: "2", groups: ["H"] }), 1);
  expect([...store.groups]).toEqual(["P", "H"]);
  store.applySnapshot({ ...empty, hosts: [host({ groups: ["S"] })] }, store.beginSnapshot(), NOW);
  expect([...store.groups]).toEqual(["S"]);
});
