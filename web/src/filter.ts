import { isSuppressed, type Problem } from "./problem";
import { isSeverity, SEVERITIES, type Level, type Severity } from "./severity";

/** What the list shows. Lives in the URL's query, so that a view can be shared and the back button works. */
export interface Filter {
  /** Every word must occur somewhere in the problem. */
  text: string;
  /** Host group, exact; empty for all. */
  group: string;
  /** Technical host name, exact; empty for all. */
  host: string;
  /** Empty for all. */
  levels: Level[];
  showSuppressed: boolean;
  showAcknowledged: boolean;
}

export const EVERYTHING: Readonly<Filter> = {
  text: "",
  group: "",
  host: "",
  levels: [],
  showSuppressed: true,
  showAcknowledged: true,
};

/** All severities from `minimum` up. */
export function atLeast(minimum: Severity): Level[] {
  return SEVERITIES.filter((severity) => severity >= minimum);
}

/** The `n` for which the filter means "severity n and above", or undefined for any other set. */
export function minimumOf(levels: readonly Level[]): Severity | undefined {
  if (levels.length === 0 || levels.includes("unknown")) return undefined;
  const minimum = Math.min(...(levels as Severity[]));
  return isSeverity(minimum) && levels.length === 6 - minimum ? minimum : undefined;
}

/** Adds the level to the filter, or takes it away. */
export function toggleLevel(levels: readonly Level[], level: Level): Level[] {
  const without = levels.filter((known) => known !== level);
  return without.length === levels.length ? order([...levels, level]) : without;
}

function order(levels: Level[]): Level[] {
  const rank = (level: Level) => (level === "unknown" ? -1 : level);
  return [...new Set(levels)].sort((a, b) => rank(b) - rank(a));
}

/** Reads the filter from `location.search`; what it does not understand it leaves out. */
export function parseFilter(search: string): Filter {
  const query = new URLSearchParams(search);
  const levels: Level[] = [];
  for (const part of (query.get("severity") ?? "").split(",")) {
    if (part === "unknown") levels.push("unknown");
    else if (/^[0-5]$/.test(part)) levels.push(Number(part) as Severity);
  }
  const minimum = query.get("min") ?? "";
  if (levels.length === 0 && /^[0-5]$/.test(minimum)) levels.push(...atLeast(Number(minimum) as Severity));
  return {
    text: query.get("q") ?? "",
    group: query.get("group") ?? "",
    host: query.get("host") ?? "",
    levels: order(levels),
    showSuppressed: query.get("suppressed") !== "hide",
    showAcknowledged: query.get("acknowledged") !== "hide",
  };
}

/** Writes the filter as a query string, with `?` if it is not empty. Parameters that are not the filter's are kept. */
export function filterToSearch(filter: Filter, search = ""): string {
  const query = new URLSearchParams(search);
  for (const name of ["q", "group", "host", "severity", "min", "suppressed", "acknowledged"]) query.delete(name);
  if (filter.text.trim() !== "") query.set("q", filter.text);
  if (filter.group !== "") query.set("group", filter.group);
  if (filter.host !== "") query.set("host", filter.host);
  const minimum = minimumOf(filter.levels);
  if (minimum !== undefined) query.set("min", String(minimum));
  else if (filter.levels.length > 0) query.set("severity", filter.levels.join(","));
  if (!filter.showSuppressed) query.set("suppressed", "hide");
  if (!filter.showAcknowledged) query.set("acknowledged", "hide");
  const result = query.toString();
  return result === "" ? "" : `?${result}`;
}

export function isEverything(filter: Filter): boolean {
  return filterToSearch(filter) === "";
}

/** Makes the test a problem must pass at `now` (unix seconds) to be listed. */
export function matcher(filter: Filter, now: number): (problem: Problem) => boolean {
  const words = filter.text.toLowerCase().split(/\s+/).filter((word) => word !== "");
  const levels = new Set<Level>(filter.levels);
  return (problem) => {
    const level: Level = problem.kind === "internal" ? "unknown" : problem.severity;
    if (levels.size > 0 && !levels.has(level)) return false;
    if (filter.group !== "" && !problem.groups.includes(filter.group)) return false;
    if (filter.host !== "" && problem.host.host !== filter.host) return false;
    if (!filter.showAcknowledged && problem.acknowledged) return false;
    if (!filter.showSuppressed && isSuppressed(problem, now)) return false;
    if (words.length === 0) return true;
    const haystack = searchable(problem);
    return words.every((word) => haystack.includes(word));
  };
}

const searchableTexts = new WeakMap<Problem, string>();

function searchable(problem: Problem): string {
  let text = searchableTexts.get(problem);
  if (text === undefined) {
    const tags = problem.tags.flatMap(({ tag, value }) => [`${tag}:${value}`, `${tag}=${value}`]);
    const parts = [problem.name, problem.host.name, problem.host.host, problem.opdata, problem.error, problem.event_id];
    text = [...parts, ...problem.groups, ...tags].join("\n").toLowerCase();
    searchableTexts.set(problem, text);
  }
  return text;
}
