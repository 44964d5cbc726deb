import type { Severity } from "./severity";
import { isSeverity } from "./severity";

/** Windows that reports have a button for, in seconds. */
export const WINDOWS = { "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400 } as const;
export type Window = keyof typeof WINDOWS;
export const WINDOW_NAMES: Readonly<Record<Window, string>> = { "24h": "24 hours", "7d": "7 days", "30d": "30 days" };

/** What is shown beside the list; in the URL's query with the filter. */
export interface View {
  page: "board" | "availability";
  /** The host's timeline is open, over this time. */
  timeline: Window | undefined;
  by: "host" | "group" | "tag";
  tag: string;
  window: Window | "custom";
  /** Unix seconds; for `custom`. */
  from: number | undefined;
  to: number | undefined;
  /** Count what a maintenance suppressed. */
  includeMaintenance: boolean;
  /** Problems of this severity and above. */
  least: Severity;
}

export const BOARD: Readonly<View> = {
  page: "board",
  timeline: undefined,
  by: "host",
  tag: "",
  window: "30d",
  from: undefined,
  to: undefined,
  includeMaintenance: false,
  least: 4,
};

const NAMES = ["view", "timeline", "by", "tag", "window", "from", "to", "maintenance", "least"];

function windowOf(value: string | null): Window | undefined {
  return value !== null && Object.hasOwn(WINDOWS, value) ? (value as Window) : undefined;
}

/** Reads the view from `location.search`; what it does not understand it leaves out. */
export function parseView(search: string): View {
  const query = new URLSearchParams(search);
  const seconds = (name: string) => (/^\d{1,11}$/.test(query.get(name) ?? "") ? Number(query.get(name)) : undefined);
  const [from, to] = [seconds("from"), seconds("to")];
  const custom = query.get("window") === "custom" && from !== undefined && to !== undefined && from < to;
  const by = query.get("by");
  const least = Number(query.get("least") ?? "x");
  return {
    page: query.get("view") === "availability" ? "availability" : "board",
    timeline: windowOf(query.get("timeline")),
    by: by === "group" || by === "tag" ? by : "host",
    tag: query.get("tag") ?? "",
    window: custom ? "custom" : (windowOf(query.get("window")) ?? BOARD.window),
    from: custom ? from : undefined,
    to: custom ? to : undefined,
    includeMaintenance: query.get("maintenance") === "include",
    least: isSeverity(least) ? least : BOARD.least,
  };
}

/** Writes the view into a query string, with `?` if it is not empty. Parameters that are not the view's are kept. */
export function viewToSearch(view: View, search = ""): string {
  const query = new URLSearchParams(search);
  for (const name of NAMES) query.delete(name);
  if (view.timeline !== undefined) query.set("timeline", view.timeline);
  if (view.page === "availability") {
    query.set("view", view.page);
    if (view.by !== BOARD.by) query.set("by", view.by);
    if (view.by === "tag") query.set("tag", view.tag);
    if (view.window !== BOARD.window) query.set("window", view.window);
    if (view.window === "custom") {
      query.set("from", String(view.from));
      query.set("to", String(view.to));
    }
    if (view.includeMaintenance) query.set("maintenance", "include");
    if (view.least !== BOARD.least) query.set("least", String(view.least));
  }
  const result = query.toString();
  return result === "" ? "" : `?${result}`;
}

/**
 * The query that a link like `#host=web-01` or `#group=Linux servers` stands for, which Zabbix and people can write without knowing ours; undefined for
 * any other fragment.
 */
export function searchOfFragment(hash: string, search: string): string | undefined {
  const fragment = new URLSearchParams(hash.replace(/^#/, ""));
  const [host, group] = [fragment.get("host"), fragment.get("group")];
  if (host === null && group === null) return undefined;
  const query = new URLSearchParams(search);
  for (const [name, value] of [["host", host], ["group", group]] as const) {
    if (value === null || value === "") query.delete(name);
    else query.set(name, value);
  }
  const result = query.toString();
  return result === "" ? "" : `?${result}`;
}
