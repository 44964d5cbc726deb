import { formatAgo } from "./duration";
import { isObject, number, optionalText, text } from "./wire";

/** How a poller found Zabbix. */
export interface ZabbixSeen {
  /** When it was polled, unix milliseconds. */
  at_ms: number;
  /** Absent after a poll that went well. */
  failure?: { code: string; message: string };
  /** The last poll that went well, unix milliseconds. */
  good_at_ms?: number;
  /** When the Zabbix server itself last gave a sign of life, unix seconds. The frontend answers also when the server is dead or frozen. */
  server_seen_at?: number;
  /** How far the frontend's clock is ahead, milliseconds. */
  ahead_ms?: number;
  /** For example `7.0`. */
  version?: string;
  /** How many problems are open, internal ones among them. */
  problems?: number;
}

/** A server is silent after so many milliseconds without a sign of life. */
export const SILENT_MS = 30_000;
/** Nobody polls after so many milliseconds without word of the poller. */
export const UNASKED_MS = 90_000;
/** Word of a poller comes at least every 30 s; by then it should be here. */
export const WORD_DUE_MS = 35_000;
/** A difference of the clocks that is told. */
export const CLOCK_MS = 60_000;

export interface Health {
  /**
   * `none` without a poller; `good`; `waiting`: not known since the connection came back; `bad`: what is shown may not be so.
   */
  level: "none" | "good" | "waiting" | "bad";
  /** What is wrong, with durations that count up. */
  shown: string;
  /** The same without anything that counts, for the alert: a screen reader says it once. */
  spoken: string;
  /** For the tab's title: `SILENT`; empty unless `bad`. */
  word: string;
  /** `Zabbix 7.0` */
  name: string;
  /** `checked 8 s ago` */
  freshness: string;
  /** What is wrong with the clock, or empty. */
  clock: string;
}

/** Reads it from the wire; undefined if it does not say when it was. */
export function parseZabbixSeen(value: unknown): ZabbixSeen | undefined {
  if (!isObject(value)) return undefined;
  const at = number(value["at_ms"]);
  if (at === undefined) return undefined;
  const seen: ZabbixSeen = { at_ms: at };
  const failure = value["failure"];
  if (isObject(failure)) seen.failure = { code: text(failure["code"]), message: text(failure["message"]) };
  for (const name of ["good_at_ms", "server_seen_at", "ahead_ms", "problems"] as const) {
    const found = number(value[name]);
    if (found !== undefined) seen[name] = found;
  }
  const version = optionalText(value["version"]);
  if (version !== undefined) seen.version = version;
  return seen;
}

/**
 * What the board may make of the last word of the poller.
 *
 * @param nowMs the server's time
 * @param since the server's time since when the board would have heard later word: 0 with a snapshot, the moment of reconnecting after a
 *   recovery (that word has no place in the history, so it is not replayed), undefined while not live
 * @param clock local time of unix milliseconds
 */
export function assess(seen: ZabbixSeen | undefined, nowMs: number, since: number | undefined, clock: (ms: number) => string): Health {
  const health: Health = { level: "none", shown: "", spoken: "", word: "", name: "Zabbix", freshness: "", clock: "" };
  if (seen === undefined) return health;
  const ago = (ms: number) => formatAgo((nowMs - ms) / 1000);
  // Who cannot have heard later word judges by the time of the last one.
  const deaf = since === undefined || (seen.at_ms < since && nowMs - since < WORD_DUE_MS);
  const judgedMs = deaf ? seen.at_ms : nowMs;
  const sinceWord = Math.max(0, judgedMs - seen.at_ms);
  health.name = seen.version === undefined ? "Zabbix" : `Zabbix ${seen.version}`;
  health.freshness = `checked ${ago(seen.at_ms)} ago`;
  const wrong: { shown: string; spoken: string; word: string }[] = [];
  if (sinceWord > UNASKED_MS) {
    wrong.push({ word: "UNWATCHED", shown: `Nobody has asked Zabbix for ${ago(seen.at_ms)}.`, spoken: `Nobody has asked Zabbix since ${clock(seen.at_ms)}.` });
  }
  // Who could not ask does not know whether it is silent.
  if (seen.server_seen_at !== undefined && seen.failure === undefined) {
    const lifeMs = seen.server_seen_at * 1000;
    // As of the last word: what has not been said since is the poller's silence. A server that falls silent is told at once.
    if (seen.at_ms - lifeMs > SILENT_MS) {
      wrong.push({ word: "SILENT", shown: `Zabbix silent for ${ago(lifeMs)}.`, spoken: `Zabbix is silent since ${clock(lifeMs)}.` });
    }
  }
  if (seen.failure !== undefined) {
    const { code, message } = seen.failure;
    const what = `Zabbix cannot be checked: ${message || "no reason given"}${code === "" ? "" : ` (${code})`}`;
    const good = seen.good_at_ms;
    wrong.push({
      word: "UNREACHABLE",
      shown: `${ended(what)} ${good === undefined ? "There has been no good check yet." : `Last good state: ${ago(good)} ago.`}`,
      spoken: `${ended(what)} ${good === undefined ? "There has been no good check yet." : `Last good state: ${clock(good)}.`}`,
    });
    health.freshness = `check failed ${ago(seen.at_ms)} ago`;
  }
  const [first] = wrong;
  if (first !== undefined) {
    health.level = "bad";
    health.word = first.word;
    health.shown = wrong.map(({ shown }) => shown).join(" ");
    health.spoken = wrong.map(({ spoken }) => spoken).join(" ");
  } else if (deaf && nowMs - seen.at_ms > UNASKED_MS) {
    health.level = "waiting";
    health.freshness = `no word for ${ago(seen.at_ms)}`;
  } else health.level = "good";
  const { ahead_ms: ahead = 0 } = seen;
  if (Math.abs(ahead) > CLOCK_MS) {
    const seconds = Math.abs(ahead) / 1000;
    health.clock = `The clock of Zabbix’s frontend is ${formatAgo(seconds < 120 ? seconds : Math.round(seconds / 60) * 60)} ${ahead > 0 ? "ahead" : "behind"}: ages on this board are wrong by that much.`;
  }
  return health;
}

function ended(sentence: string): string {
  return /[.!?…]$/.test(sentence) ? sentence : `${sentence}.`;
}
