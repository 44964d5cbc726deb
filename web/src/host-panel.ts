import { element, setAttribute, setText } from "./dom";
import { conditions, describeHosts, type HostCount, type HostSum } from "./host-grid";
import type { MonitoredHost } from "./problem";

/** A host's problems in words: `3 open, 1 suppressed`. */
export function describeCount(count: HostCount | undefined): string {
  const { open, suppressed, unknown } = count ?? { open: 0, suppressed: 0, unknown: 0 };
  const words = [open === 0 ? "no open problem" : `${open} open`];
  if (suppressed > 0) words.push(`${suppressed} suppressed`);
  if (unknown > 0) words.push(`${unknown} cannot be evaluated`);
  return words.join(", ");
}

/** What stands above the problems of one host or one group: how it is, where it belongs, and its past. */
export class HostPanel {
  private readonly title = element("h2", { id: "subject-title" });
  private readonly technical = element("span", { class: "technical" });
  private readonly facts = element("p", { class: "subject-facts" });
  private readonly found = element("ul", { class: "conditions" });
  private readonly groups = element("p", { class: "subject-groups" });
  private readonly past = element("button", { type: "button", class: "tool", "aria-expanded": "false", hidden: "", "data-testid": "timeline-button" }, "Timeline");
  private readonly report = element("button", { type: "button", class: "tool", hidden: "" }, "Availability");
  private readonly close = element("button", { type: "button", class: "tool" }, "Back to all");
  private readonly below = element("div", { class: "subject-below", hidden: "" });
  private signature = "";

  constructor(
    private readonly root: HTMLElement,
    does: { all: () => void; group: (group: string) => void; timeline: () => void; report: () => void },
  ) {
    this.close.addEventListener("click", does.all);
    this.past.addEventListener("click", does.timeline);
    this.report.addEventListener("click", does.report);
    this.groups.addEventListener("click", (event) => {
      const group = (event.target as Element).closest("button")?.dataset["group"];
      if (group !== undefined) does.group(group);
    });
    root.append(
      element(
        "div",
        { class: "subject-head" },
        element("div", { class: "subject-name" }, this.title, this.technical),
        element("div", { class: "subject-tools" }, this.past, this.report, this.close),
      ),
      this.facts,
      this.groups,
      this.found,
      this.below,
    );
  }

  /** A host, by its technical name where the board does not know it. */
  showHost(name: string, host: MonitoredHost | undefined, count: HostCount | undefined, timeline: HTMLElement | undefined, reports: boolean): void {
    const found = host === undefined ? ["not known here: it has had no problem, or its name is another"] : conditions(host.state);
    this.draw("Host", host?.name ?? name, host === undefined || host.name === name ? "" : name, describeCount(count), found, host?.groups ?? [], reports);
    this.past.hidden = !reports;
    setAttribute(this.past, "aria-expanded", String(timeline !== undefined));
    this.below.hidden = timeline === undefined;
    if (timeline === undefined) this.below.replaceChildren();
    else if (timeline.parentElement !== this.below) this.below.replaceChildren(timeline);
  }

  /** A host group. */
  showGroup(name: string, hosts: HostSum, open: number, reports: boolean): void {
    this.draw("Host group", name, "", `${hosts.all} ${hosts.all === 1 ? "host" : "hosts"}: ${describeHosts(hosts)}; ${open} open`, [], [], reports);
    this.past.hidden = true;
    this.below.hidden = true;
    this.below.replaceChildren();
  }

  hide(): void {
    this.root.hidden = true;
  }

  private draw(kind: string, name: string, technical: string, facts: string, found: string[], groups: string[], reports: boolean): void {
    this.root.hidden = false;
    this.report.hidden = !reports;
    const signature = JSON.stringify([kind, name, technical, found, groups]);
    setText(this.facts, facts);
    if (signature === this.signature) return;
    this.signature = signature;
    this.title.replaceChildren(element("span", { class: "subject-kind" }, `${kind} `), name);
    setText(this.technical, technical);
    this.found.hidden = found.length === 0;
    this.found.replaceChildren(...found.map((condition) => element("li", {}, condition)));
    this.groups.hidden = groups.length === 0;
    this.groups.replaceChildren("In ", ...groups.map((group) => element("button", { type: "button", class: "plain", "data-group": group, title: `Show ${group}` }, group)));
  }
}
