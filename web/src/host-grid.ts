import { arrange, element, setAttribute, setText } from "./dom";
import { isSuppressed, type HostState, type MonitoredHost, type Problem } from "./problem";
import { tileStateLetter, tileStateName, type TileState } from "./severity";

export interface HostCount {
  state: TileState;
  open: number;
  suppressed: number;
  unknown: number;
}

interface Tile {
  button: HTMLButtonElement;
  letter: HTMLElement;
  name: HTMLElement;
  count: HTMLElement;
  aside: HTMLElement;
  signature: string;
}

interface Group {
  section: HTMLElement;
  heading: HTMLButtonElement;
  summary: HTMLElement;
  grid: HTMLElement;
  tiles: Map<string, Tile>;
}

export const WITHOUT_GROUP = "No group";
const NOTHING: Readonly<HostCount> = { state: "ok", open: 0, suppressed: 0, unknown: 0 };
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/** Worst open severity and counts of each host at `now` (unix seconds), by host id. */
export function countByHost(problems: Iterable<Problem>, now: number): Map<string, HostCount> {
  const counts = new Map<string, HostCount>();
  for (const problem of problems) {
    let count = counts.get(problem.host.id);
    if (count === undefined) {
      count = { state: "ok", open: 0, suppressed: 0, unknown: 0 };
      counts.set(problem.host.id, count);
    }
    if (problem.kind === "internal") count.unknown += 1;
    else if (isSuppressed(problem, now)) count.suppressed += 1;
    else {
      count.open += 1;
      if (typeof count.state !== "number" || problem.severity > count.state) count.state = problem.severity;
    }
  }
  for (const count of counts.values()) {
    if (count.state === "ok" && count.unknown > 0) count.state = "unknown";
    else if (count.state === "ok" && count.suppressed > 0) count.state = "suppressed";
  }
  return counts;
}

/** What the tile of a host shows: problems come before what a poll found, but nobody counts on the problems of a host that is not watched. */
export function tileState(count: HostCount | undefined, state: HostState): TileState {
  const problems = count?.state ?? "ok";
  if (typeof problems === "number") return problems;
  if (state.gone) return "gone";
  if (state.disabled) return "disabled";
  if (problems === "unknown") return "unknown";
  if (state.maintenance !== undefined) return "maintenance";
  if (state.unavailable.length > 0) return "unavailable";
  return problems;
}

/** What a poll found out of the ordinary, in words. */
export function conditions(state: HostState): string[] {
  const words: string[] = [];
  if (state.gone) words.push("no longer in Zabbix: deleted, or out of sight");
  if (state.disabled) words.push("disabled: Zabbix does not monitor it");
  if (state.maintenance !== undefined) words.push("in maintenance");
  for (const { interface: way, error } of state.unavailable) {
    const name = { agent: "Agent", snmp: "SNMP", ipmi: "IPMI", jmx: "JMX", active: "Active checks" }[way] ?? way;
    words.push(`${name} unavailable${error === "" ? "" : `: ${error}`}`);
  }
  return words;
}

export interface HostSum {
  all: number;
  ok: number;
  disabled: number;
  maintenance: number;
}

/** In words: `12 OK`, `2 of 12 not OK, 1 disabled`. */
export function describeHosts({ all, ok, disabled, maintenance }: HostSum): string {
  const bad = all - ok - disabled - maintenance;
  const words = [bad > 0 ? `${bad} of ${all} not OK` : `${ok} OK`];
  if (maintenance > 0) words.push(`${maintenance} in maintenance`);
  if (disabled > 0) words.push(`${disabled} disabled`);
  return words.join(", ");
}

/** Adds up the hosts' tiles. */
export function sumHosts(states: Iterable<TileState>): HostSum {
  const sum = { all: 0, ok: 0, disabled: 0, maintenance: 0 };
  for (const state of states) {
    sum.all += 1;
    if (state === "ok" || state === "disabled" || state === "maintenance") sum[state] += 1;
  }
  return sum;
}

/** Host groups with a tile for each host. Groups and hosts stay in alphabetical order, so that a place on the wall keeps its meaning. */
export class HostGrid {
  private readonly groups = new Map<string, Group>();

  constructor(
    private readonly root: HTMLElement,
    onHost: (host: string) => void,
    onGroup: (group: string) => void,
  ) {
    root.addEventListener("click", (event) => {
      const button = (event.target as Element).closest("button");
      if (button?.dataset["host"] !== undefined) onHost(button.dataset["host"]);
      else if (button?.dataset["group"] !== undefined) onGroup(button.dataset["group"]);
    });
  }

  /** Draws the hosts, of the selected group alone if there is one, and adds them up. */
  show(hosts: Iterable<MonitoredHost>, counts: Map<string, HostCount>, selected: { host: string; group: string }): HostSum {
    const members = new Map<string, MonitoredHost[]>();
    const states: TileState[] = [];
    for (const host of hosts) {
      const count = counts.get(host.id);
      // Deleted in Zabbix: only what is still open keeps it here.
      if (host.state.gone && count === undefined) continue;
      const groups = host.groups.length > 0 ? host.groups : [WITHOUT_GROUP];
      if (selected.group !== "" && !groups.includes(selected.group)) continue;
      states.push(tileState(count, host.state));
      for (const group of groups) {
        if (selected.group !== "" && group !== selected.group) continue;
        const list = members.get(group);
        if (list === undefined) members.set(group, [host]);
        else list.push(host);
      }
    }
    for (const name of this.groups.keys()) if (!members.has(name)) this.groups.delete(name);
    const names = [...members.keys()].sort(collator.compare);
    const sections = names.map((name) => {
      const group = this.groups.get(name) ?? this.makeGroup(name);
      this.updateGroup(group, members.get(name) ?? [], counts, selected);
      setAttribute(group.heading, "aria-pressed", String(selected.group === name));
      return group.section;
    });
    arrange(this.root, sections);
    return sumHosts(states);
  }

  private makeGroup(name: string): Group {
    const summary = element("span", { class: "summary" });
    const heading = element("button", { type: "button", "data-group": name, title: `Show the problems of ${name}` }, name);
    const grid = element("div", { class: "tiles" });
    const group: Group = {
      section: element("section", { class: "group", "aria-label": name }, element("h3", {}, heading, summary), grid),
      heading,
      summary,
      grid,
      tiles: new Map(),
    };
    this.groups.set(name, group);
    return group;
  }

  private updateGroup(group: Group, hosts: MonitoredHost[], counts: Map<string, HostCount>, selected: { host: string }): void {
    hosts.sort((a, b) => collator.compare(a.name, b.name));
    const present = new Set<string>();
    const states: TileState[] = [];
    const buttons = hosts.map((host) => {
      present.add(host.id);
      const count = counts.get(host.id) ?? NOTHING;
      const tile = group.tiles.get(host.id) ?? this.makeTile(group, host.id);
      const state = tileState(count, host.state);
      states.push(state);
      this.updateTile(tile, host, count, state, selected.host === host.host);
      return tile.button;
    });
    for (const id of group.tiles.keys()) if (!present.has(id)) group.tiles.delete(id);
    arrange(group.grid, buttons);
    setText(group.summary, describeHosts(sumHosts(states)));
  }

  private makeTile(group: Group, id: string): Tile {
    const letter = element("b", { "aria-hidden": "true" });
    const name = element("span", { class: "tile-name" });
    const count = element("span", { class: "tile-count" });
    const aside = element("span", { class: "tile-aside", "aria-hidden": "true" });
    const button = element("button", { type: "button", class: "tile", "data-host-id": id }, letter, name, aside, count);
    const tile: Tile = { button, letter, name, count, aside, signature: "" };
    group.tiles.set(id, tile);
    return tile;
  }

  private updateTile(tile: Tile, host: MonitoredHost, count: HostCount, state: TileState, selected: boolean): void {
    const found = conditions(host.state);
    const signature = [host.host, host.name, state, count.open, count.suppressed, count.unknown, selected, ...found].join("\n");
    if (tile.signature === signature) return;
    tile.signature = signature;
    const { button } = tile;
    button.dataset["host"] = host.host;
    button.dataset["worst"] = String(state);
    setText(tile.letter, tileStateLetter(state));
    setText(tile.name, host.name);
    setText(tile.count, count.open > 0 ? String(count.open) : "");
    // Beside a severity, what a poll found has only its letter; the words are in the label and in the host's panel.
    const beside = tileState(undefined, host.state);
    setText(tile.aside, beside === "ok" || beside === state ? "" : tileStateLetter(beside));
    setAttribute(button, "aria-pressed", String(selected));
    const words = [`${host.name}: ${tileStateName(state)}`];
    if (count.open > 0) words.push(`${count.open} open`);
    if (count.suppressed > 0) words.push(`${count.suppressed} suppressed`);
    if (count.unknown > 0) words.push(`${count.unknown} cannot be evaluated`);
    words.push(...found);
    setAttribute(button, "aria-label", words.join(", "));
    setAttribute(button, "title", `${words.join(", ")} (${host.host})`);
  }
}
