import { isSeverity, type Severity } from "./severity";
import { isObject, list, number, optionalText, text, type Json } from "./wire";
import { parseZabbixSeen, type ZabbixSeen } from "./zabbix";

/** A Zabbix host as a problem or the snapshot names it. `host` is the technical name, `name` the visible one. */
export interface Host {
  id: string;
  host: string;
  name: string;
}

/** An interface that Zabbix cannot reach, with Zabbix's words, which may be empty. */
export interface Unavailable {
  interface: string;
  error: string;
}

/** What a poll found out of the ordinary about a host. */
export interface HostState {
  /** Zabbix does not monitor it. */
  disabled: boolean;
  /** Id of the maintenance that is in effect. */
  maintenance?: string;
  unavailable: Unavailable[];
  /** Zabbix does not list it any more. */
  gone: boolean;
}

/** A host with its host groups, as listed in the snapshot or found by a poll. */
export interface MonitoredHost extends Host {
  groups: string[];
  state: HostState;
}

export interface Tag {
  tag: string;
  value: string;
}

export interface LastUpdate {
  /** Unix seconds. */
  at: number;
  action: string;
  message?: string;
  user?: string;
}

/** One problem as the server publishes it. Times are unix seconds. */
export interface Problem {
  event_id: string;
  /** Grows by 1 with every stored change; anything at or below the known one is old news. */
  version: number;
  /** `internal`: Zabbix cannot evaluate the trigger. Never counted as a problem. */
  kind: "problem" | "internal";
  state: "open" | "resolved";
  name: string;
  severity: Severity;
  opened_at: number;
  resolved_at?: number;
  acknowledged: boolean;
  suppressed: boolean;
  suppressed_until?: number;
  /** Resolved in that Zabbix does not list it any more: nobody has seen it recover. */
  gone: boolean;
  /** Suppressed by a maintenance, until then if it has an end. */
  maintenance?: { id: string; until?: number };
  /** Its trigger, its item or its host is disabled. */
  unmonitored: boolean;
  /** Why Zabbix cannot evaluate its trigger at present. */
  unknown?: string;
  /** Event id of the problem that it is a symptom of. */
  cause?: string;
  opdata?: string;
  error?: string;
  host: Host;
  groups: string[];
  tags: Tag[];
  trigger_id?: string;
  url?: string;
  last_update?: LastUpdate;
}

/** When a problem was open, for the sparkline. Unix seconds. */
export interface Span {
  opened_at: number;
  resolved_at: number;
  severity: Severity;
}

/** Position in the stream of `status:all`. */
export interface Position {
  offset: number;
  epoch: string;
}

/** One page of `rpc status.snapshot`. */
export interface SnapshotPage {
  problems: Problem[];
  hosts: MonitoredHost[];
  recent: Span[];
  position: Position;
  now_ms: number;
  /** On the first page, if there is a poller. */
  zabbix?: ZabbixSeen;
  /** On the first page: the viewer may acknowledge, comment and close. */
  may_act: boolean;
  cursor?: string;
}

/** One change of one problem. */
export interface ProblemChange {
  problem: Problem;
  /** When the event was accepted, unix milliseconds by the server's clock. */
  accepted_at_ms: number;
}

/** An action that Zabbix refused. */
export interface Refused {
  event_id: string;
  user: string;
  reason: string;
}

/** What is published on `status:all`: one of these. */
export type StatusPublication =
  | { changes: ProblemChange[] }
  | { host: MonitoredHost; at_ms: number }
  | { zabbix: ZabbixSeen }
  | { refused: Refused };

function parseHost(value: unknown): Host {
  const raw = isObject(value) ? value : {};
  const host = text(raw["host"]);
  return { id: text(raw["id"]) || host, host, name: text(raw["name"]) || host };
}

/**
 * Reads a problem from the wire. Returns undefined if what the board cannot do without
 * (event id, version, severity, state, opening time) is missing: one malformed record must not take the board down.
 */
export function parseProblem(value: unknown): Problem | undefined {
  if (!isObject(value)) return undefined;
  const eventId = text(value["event_id"]);
  const version = number(value["version"]);
  const severity = number(value["severity"]);
  const openedAt = number(value["opened_at"]);
  const state = value["state"];
  if (eventId === "" || version === undefined || openedAt === undefined) return undefined;
  if (severity === undefined || !isSeverity(severity)) return undefined;
  if (state !== "open" && state !== "resolved") return undefined;
  const problem: Problem = {
    event_id: eventId,
    version,
    kind: value["kind"] === "internal" ? "internal" : "problem",
    state,
    name: text(value["name"]),
    severity,
    opened_at: openedAt,
    acknowledged: value["acknowledged"] === true,
    suppressed: value["suppressed"] === true,
    gone: value["gone"] === true,
    unmonitored: value["unmonitored"] === true,
    host: parseHost(value["host"]),
    groups: list(value["groups"]).map(text).filter((group) => group !== ""),
    tags: list(value["tags"])
      .filter(isObject)
      .map((tag) => ({ tag: text(tag["tag"]), value: text(tag["value"]) })),
  };
  const resolvedAt = number(value["resolved_at"]);
  if (resolvedAt !== undefined) problem.resolved_at = resolvedAt;
  const suppressedUntil = number(value["suppressed_until"]);
  if (suppressedUntil !== undefined && suppressedUntil > 0) problem.suppressed_until = suppressedUntil;
  const maintenance = value["maintenance"];
  if (isObject(maintenance)) {
    const until = number(maintenance["until"]);
    problem.maintenance = { id: text(maintenance["id"]), ...(until === undefined ? {} : { until }) };
  }
  const unknown = optionalText(value["unknown"]);
  if (unknown !== undefined) problem.unknown = unknown;
  const cause = optionalText(value["cause"]);
  if (cause !== undefined) problem.cause = cause;
  const opdata = optionalText(value["opdata"]);
  if (opdata !== undefined) problem.opdata = opdata;
  const error = optionalText(value["error"]);
  if (error !== undefined) problem.error = error;
  const triggerId = optionalText(value["trigger_id"]);
  if (triggerId !== undefined) problem.trigger_id = triggerId;
  const url = optionalText(value["url"]);
  if (url !== undefined) problem.url = url;
  const update = value["last_update"];
  if (isObject(update)) {
    const lastUpdate: LastUpdate = { at: number(update["at"]) ?? 0, action: text(update["action"]) };
    const message = optionalText(update["message"]);
    if (message !== undefined) lastUpdate.message = message;
    const user = optionalText(update["user"]);
    if (user !== undefined) lastUpdate.user = user;
    problem.last_update = lastUpdate;
  }
  return problem;
}

function parseMonitoredHost(value: unknown): MonitoredHost | undefined {
  if (!isObject(value)) return undefined;
  const host = parseHost(value);
  if (host.id === "") return undefined;
  const raw = isObject(value["state"]) ? value["state"] : {};
  const state: HostState = {
    disabled: raw["disabled"] === true,
    unavailable: list(raw["unavailable"])
      .filter(isObject)
      .map((way) => ({ interface: text(way["interface"]), error: text(way["error"]) })),
    gone: raw["gone"] === true,
  };
  const maintenance = optionalText(raw["maintenance"]);
  if (maintenance !== undefined) state.maintenance = maintenance;
  return { ...host, groups: list(value["groups"]).map(text).filter((group) => group !== ""), state };
}

/** Reads a publication of `status:all`; undefined if there is nothing usable in it. */
export function parsePublication(data: unknown): StatusPublication | undefined {
  if (!isObject(data)) return undefined;
  if ("changes" in data) {
    const changes = list(data["changes"]).flatMap((change) => {
      const problem = isObject(change) ? parseProblem(change["problem"]) : undefined;
      return problem === undefined ? [] : [{ problem, accepted_at_ms: number((change as Json)["accepted_at_ms"]) ?? Number.NaN }];
    });
    return changes.length === 0 ? undefined : { changes };
  }
  if ("host" in data) {
    const host = parseMonitoredHost(data["host"]);
    const at = number(data["at_ms"]);
    return host === undefined || at === undefined ? undefined : { host, at_ms: at };
  }
  if ("zabbix" in data) {
    const zabbix = parseZabbixSeen(data["zabbix"]);
    return zabbix === undefined ? undefined : { zabbix };
  }
  const refused = data["refused"];
  if (!isObject(refused) || text(refused["event_id"]) === "") return undefined;
  return { refused: { event_id: text(refused["event_id"]), user: text(refused["user"]), reason: text(refused["reason"]) } };
}

/**
 * Reads one page of the snapshot.
 * @throws {TypeError} if there is no position: without it the board could not tell what it missed.
 */
export function parseSnapshotPage(data: unknown): SnapshotPage {
  const position = isObject(data) ? data["position"] : undefined;
  if (!isObject(data) || !isObject(position)) throw new TypeError("the snapshot has no position");
  const page: SnapshotPage = {
    problems: list(data["problems"]).map(parseProblem).filter((problem) => problem !== undefined),
    hosts: list(data["hosts"]).map(parseMonitoredHost).filter((host) => host !== undefined),
    recent: list(data["recent"])
      .filter(isObject)
      .flatMap((span) => {
        const openedAt = number(span["opened_at"]);
        const resolvedAt = number(span["resolved_at"]);
        const severity = number(span["severity"]);
        if (openedAt === undefined || resolvedAt === undefined || severity === undefined) return [];
        return isSeverity(severity) ? [{ opened_at: openedAt, resolved_at: resolvedAt, severity }] : [];
      }),
    position: { offset: number(position["offset"]) ?? 0, epoch: text(position["epoch"]) },
    now_ms: number(data["now_ms"]) ?? Number.NaN,
    may_act: data["may_act"] === true,
  };
  const zabbix = parseZabbixSeen(data["zabbix"]);
  if (zabbix !== undefined) page.zabbix = zabbix;
  const cursor = optionalText(data["cursor"]);
  if (cursor !== undefined) page.cursor = cursor;
  return page;
}

/**
 * Whether the problem is suppressed at `now` (unix seconds), by hand or by a maintenance: one whose end has passed no longer counts. What is
 * disabled is suppressed too: Zabbix keeps such a problem and shows it nowhere.
 */
export function isSuppressed(problem: Problem, now: number): boolean {
  const lasts = (until: number | undefined) => until === undefined || now < until;
  return (
    (problem.suppressed && lasts(problem.suppressed_until)) ||
    (problem.maintenance !== undefined && lasts(problem.maintenance.until)) ||
    problem.unmonitored
  );
}

/** The problem's link if it is a web address; anything else (javascript:, data:, file: …) is not offered. */
export function webLink(problem: Problem): string | undefined {
  if (problem.url === undefined) return undefined;
  try {
    const url = new URL(problem.url);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : undefined;
  } catch {
    return undefined;
  }
}
