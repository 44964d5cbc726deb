import { arrange, element, setAttribute, setText } from "./dom";
import { isSuppressed, type MonitoredHost, type Problem } from "./problem";
import { hostStateLetter, hostStateName, type HostState } from "./severity";

interface HostCount {
  state: HostState;
  open: number;
  suppressed: number;
  unknown: number;
}

interface Tile {
  button: HTMLButtonElement;
  letter: HTMLElement;
  name: HTMLElement;
  count: HTMLElement;
  signature: string;
}

interface Group {
  section: HTMLElement;
  heading: HTMLButtonElement;
  summary: HTMLElement;
  grid: HTMLElement;
  tiles: Map<string, Tile>;
}

const WITHOUT_GROUP = "No group";
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

  /** Draws the hosts and returns how many there are, and how many of them are OK. */
  show(hosts: Iterable<MonitoredHost>, problems: Iterable<Problem>, now: number, selected: { host: string; group: string }): { all: number; ok: number } {
    const counts = countByHost(problems, now);
    const members = new Map<string, MonitoredHost[]>();
    let all = 0;
    let ok = 0;
    for (const host of hosts) {
      all += 1;
      if (!counts.has(host.id)) ok += 1;
      for (const group of host.groups.length > 0 ? host.groups : [WITHOUT_GROUP]) {
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
    return { all, ok };
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
    let bad = 0;
    const buttons = hosts.map((host) => {
      present.add(host.id);
      const count = counts.get(host.id) ?? { state: "ok", open: 0, suppressed: 0, unknown: 0 };
      if (count.state !== "ok") bad += 1;
      const tile = group.tiles.get(host.id) ?? this.makeTile(group, host.id);
      this.updateTile(tile, host, count, selected.host === host.host);
      return tile.button;
    });
    for (const id of group.tiles.keys()) if (!present.has(id)) group.tiles.delete(id);
    arrange(group.grid, buttons);
    setText(group.summary, bad === 0 ? `${hosts.length} OK` : `${bad} of ${hosts.length} not OK`);
  }

  private makeTile(group: Group, id: string): Tile {
    const letter = element("b", { "aria-hidden": "true" });
    const name = element("span", { class: "tile-name" });
    const count = element("span", { class: "tile-count" });
    const button = element("button", { type: "button", class: "tile", "data-host-id": id }, letter, name, count);
    const tile: Tile = { button, letter, name, count, signature: "" };
    group.tiles.set(id, tile);
    return tile;
  }

  private updateTile(tile: Tile, host: MonitoredHost, count: HostCount, selected: boolean): void {
    const signature = [host.host, host.name, count.state, count.open, count.suppressed, count.unknown, selected].join("\n");
    if (tile.signature === signature) return;
    tile.signature = signature;
    const { button } = tile;
    button.dataset["host"] = host.host;
    button.dataset["worst"] = String(count.state);
    setText(tile.letter, hostStateLetter(count.state));
    setText(tile.name, host.name);
    setText(tile.count, count.open > 0 ? String(count.open) : "");
    setAttribute(button, "aria-pressed", String(selected));
    const words = [`${host.name}: ${hostStateName(count.state)}`];
    if (count.open > 0) words.push(`${count.open} open`);
    if (count.suppressed > 0) words.push(`${count.suppressed} suppressed`);
    if (count.unknown > 0) words.push(`${count.unknown} cannot be evaluated`);
    setAttribute(button, "aria-label", words.join(", "));
    setAttribute(button, "title", `${words.join(", ")} (${host.host})`);
  }
}
