import { isSuppressed, type MonitoredHost, type Problem, type Span } from "./problem";
import type { Severity } from "./severity";
import type { ZabbixSeen } from "./zabbix";

/** How long the version of a resolved problem is remembered, in milliseconds. */
export const TOMBSTONE_MS = 60 * 60 * 1000;
/** How far the sparkline looks back, in seconds. */
export const HISTORY_SECONDS = 60 * 60;

export interface Change {
  kind: "new" | "changed" | "resolved";
  problem: Problem;
}

interface Seen {
  version: number;
  /** Local sequence number of the publication or snapshot that brought this version. */
  sequence: number;
  /** Local unix milliseconds at which the problem was seen resolved. */
  goneAt?: number;
}

/** A complete snapshot: all pages put together. */
export interface Snapshot {
  problems: Problem[];
  hosts: MonitoredHost[];
  recent: Span[];
  zabbix: ZabbixSeen | undefined;
  mayAct: boolean;
}

/** Everything the board knows about the status. Pure: no clock, no network, no DOM. */
export class Store {
  /** Open problems and open internal entries by event id. */
  readonly open = new Map<string, Problem>();
  /** Monitored hosts by host id, in the snapshot's order. */
  readonly hosts = new Map<string, MonitoredHost>();
  /** Problems resolved within the last hour. */
  recent: Span[] = [];
  /** How a poller last found Zabbix; undefined without a poller. */
  zabbix: ZabbixSeen | undefined;
  /** The viewer may acknowledge, comment and close. */
  mayAct = false;
  private readonly seen = new Map<string, Seen>();
  private readonly sorted: Problem[] = [];
  private readonly groupNames = new Set<string>();
  /** By host id: when the poll was that told of it last, and with which publication. */
  private readonly polled = new Map<string, { atMs: number; sequence: number }>();
  private sequence = 0;

  /**
   * Applies one publication. Returns what changed on the board, or undefined if it is old news
   * (at or below the known version) or concerns a problem the board did not show.
   */
  applyPublication(problem: Problem, nowMs: number): Change | undefined {
    this.sequence += 1;
    return this.apply(problem, nowMs);
  }

  /** What is open, most urgent first. Kept in order, since to sort thousands of problems for each frame takes longer than a frame. */
  get ordered(): readonly Problem[] {
    return this.sorted;
  }

  /** Host groups that a host or a problem has been in since the last snapshot. */
  get groups(): ReadonlySet<string> {
    return this.groupNames;
  }

  /** A host as a poll found it. False if it is known as it was later. */
  applyHost(host: MonitoredHost, atMs: number): boolean {
    this.sequence += 1;
    const polled = this.polled.get(host.id);
    if (polled !== undefined && atMs <= polled.atMs) return false;
    this.polled.set(host.id, { atMs, sequence: this.sequence });
    if (host.id !== host.host) this.hosts.delete(host.host);
    this.hosts.set(host.id, host);
    for (const group of host.groups) this.groupNames.add(group);
    return true;
  }

  /** Word of a poller; late word changes nothing. */
  applyZabbix(seen: ZabbixSeen): void {
    if (this.zabbix === undefined || seen.at_ms > this.zabbix.at_ms) this.zabbix = seen;
  }

  /**
   * To be called before a snapshot is asked for; hand the returned mark to `applySnapshot`. What is published
   * after the mark may be newer than the snapshot and survives it.
   */
  beginSnapshot(): number {
    return this.sequence;
  }

  /** Brings the board in line with a snapshot and returns what that changed. */
  applySnapshot(snapshot: Snapshot, mark: number, nowMs: number): Change[] {
    this.sequence += 1;
    const changes: Change[] = [];
    const present = new Set<string>();
    const later = [...this.hosts.values()].filter((host) => (this.polled.get(host.id)?.sequence ?? 0) > mark);
    this.hosts.clear();
    for (const host of [...snapshot.hosts, ...later]) this.hosts.set(host.id, host);
    this.mayAct = snapshot.mayAct;
    if (snapshot.zabbix !== undefined) this.applyZabbix(snapshot.zabbix);
    for (const problem of snapshot.problems) {
      present.add(problem.event_id);
      const change = this.apply(problem, nowMs);
      if (change !== undefined) changes.push(change);
    }
    for (const [eventId, problem] of this.open) {
      const seen = this.seen.get(eventId);
      if (present.has(eventId) || seen === undefined || seen.sequence > mark) continue;
      // Resolved while nobody told us. The version stays as it is: the publication that resolved it
      // has a higher one, and a reopening an even higher one.
      this.removeOpen(problem);
      seen.goneAt = nowMs;
      changes.push({ kind: "resolved", problem: { ...problem, state: "resolved" } });
    }
    this.groupNames.clear();
    for (const { groups } of [...this.hosts.values(), ...this.open.values()]) for (const group of groups) this.groupNames.add(group);
    this.recent = [...snapshot.recent];
    this.forget(nowMs);
    return changes;
  }

  /** Drops what has aged out: versions of long resolved problems, and spans older than the sparkline. */
  forget(nowMs: number): void {
    for (const [eventId, seen] of this.seen) {
      if (seen.goneAt !== undefined && nowMs - seen.goneAt > TOMBSTONE_MS) this.seen.delete(eventId);
    }
    const oldest = nowMs / 1000 - HISTORY_SECONDS;
    this.recent = this.recent.filter((span) => span.resolved_at >= oldest);
  }

  private apply(published: Problem, nowMs: number): Change | undefined {
    const problem = this.identified(published);
    const seen = this.seen.get(problem.event_id);
    if (seen !== undefined && problem.version <= seen.version) return undefined;
    const before = this.open.get(problem.event_id);
    if (problem.state === "open") {
      this.seen.set(problem.event_id, { version: problem.version, sequence: this.sequence });
      if (before !== undefined) this.removeOpen(before);
      this.open.set(problem.event_id, problem);
      this.sorted.splice(place(this.sorted, problem), 0, problem);
      for (const group of problem.groups) this.groupNames.add(group);
      this.addHost(problem);
      return { kind: before === undefined ? "new" : "changed", problem };
    }
    this.seen.set(problem.event_id, { version: problem.version, sequence: this.sequence, goneAt: nowMs });
    if (before !== undefined) this.removeOpen(before);
    if (problem.kind === "problem") this.addSpan(problem, before !== undefined, nowMs);
    return before === undefined ? undefined : { kind: "resolved", problem };
  }

  private removeOpen(problem: Problem): void {
    this.open.delete(problem.event_id);
    const index = place(this.sorted, problem);
    if (this.sorted[index] === problem) this.sorted.splice(index, 1);
  }

  /** A problem may name a host that appeared after the snapshot. */
  private addHost(problem: Problem): void {
    const { host, groups } = problem;
    if (host.id === "" || this.hosts.has(host.id)) return;
    // told by a connector before, without its id
    if (host.id !== host.host) this.hosts.delete(host.host);
    this.hosts.set(host.id, { ...host, groups, state: { disabled: false, unavailable: [], gone: false } });
  }

  /** A connector knows the technical names of hosts only, which then stand for their ids: here they get those that are known. */
  private identified(problem: Problem): Problem {
    const { host } = problem;
    if (host.id === "" || host.id !== host.host) return problem;
    const known = [...this.hosts.values()].find((other) => other.host === host.host);
    return known === undefined ? problem : { ...problem, host: { ...host, id: known.id } };
  }

  private addSpan(problem: Problem, wasOpen: boolean, nowMs: number): void {
    const span: Span = {
      opened_at: problem.opened_at,
      resolved_at: problem.resolved_at ?? Math.floor(nowMs / 1000),
      severity: problem.severity,
    };
    // A recovery the snapshot already counted is replayed after it: same times, and no open row.
    const counted =
      !wasOpen &&
      this.recent.some((known) => known.opened_at === span.opened_at && known.resolved_at === span.resolved_at);
    if (!counted) this.recent.push(span);
  }
}

/** Worst severity first, internal entries last; newest first within the same severity. */
export function byUrgency(first: Problem, second: Problem): number {
  const rank = (problem: Problem) => (problem.kind === "internal" ? -1 : problem.severity);
  return (
    rank(second) - rank(first) ||
    second.opened_at - first.opened_at ||
    second.event_id.length - first.event_id.length ||
    (second.event_id === first.event_id ? 0 : second.event_id < first.event_id ? -1 : 1)
  );
}

/** Where the problem is, or belongs, in a list that is sorted by urgency. */
export function place(sorted: readonly Problem[], problem: Problem): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (byUrgency(sorted[middle] as Problem, problem) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

export interface Totals {
  /** Open and not suppressed, by severity. */
  open: [number, number, number, number, number, number];
  /** Open but suppressed, by severity. */
  suppressed: [number, number, number, number, number, number];
  /** Triggers Zabbix cannot evaluate. */
  unknown: number;
  /** Sum of `open`. */
  all: number;
  /** Worst severity of those in `open`. */
  worst: Severity | undefined;
}

/** Counts the open problems at `now` (unix seconds). */
export function totals(problems: Iterable<Problem>, now: number): Totals {
  const result: Totals = { open: [0, 0, 0, 0, 0, 0], suppressed: [0, 0, 0, 0, 0, 0], unknown: 0, all: 0, worst: undefined };
  for (const problem of problems) {
    if (problem.kind === "internal") {
      result.unknown += 1;
    } else if (isSuppressed(problem, now)) {
      result.suppressed[problem.severity] += 1;
    } else {
      result.open[problem.severity] += 1;
      result.all += 1;
      if (result.worst === undefined || problem.severity > result.worst) result.worst = problem.severity;
    }
  }
  return result;
}

/** Ids of the triggers that Zabbix cannot evaluate at present. */
export function unevaluable(problems: Iterable<Problem>): Set<string> {
  const triggers = new Set<string>();
  for (const problem of problems) {
    if (problem.kind === "internal" && problem.trigger_id !== undefined) triggers.add(problem.trigger_id);
  }
  return triggers;
}
