import { element, setAttribute, setText, svgElement } from "./dom";
import { clockTime, formatDuration, localDateTime } from "./duration";
import type { Interval, Reports } from "./reports";
import { ReportError } from "./reports";
import { SEVERITIES, severityLetter, severityName, type Severity } from "./severity";
import { WINDOW_NAMES, WINDOWS, type Window } from "./view";

/** A time in which the worst problem of a host was of one severity. Unix seconds. */
export interface Stretch {
  from: number;
  to: number;
  severity: Severity;
  /** All problems of it were suppressed, by a maintenance or by hand. */
  planned: boolean;
  /** How many there were at most. */
  problems: number;
}

/** Rows of the table: more is what the CSV is for. */
const TABLE_ROWS = 200;

/**
 * Overlapping intervals as one lane: at each moment the worst severity of what was not suppressed, or else of what was. What was not monitored
 * is left out.
 */
export function stretches(intervals: readonly Interval[], from: number, to: number): Stretch[] {
  const events: { at: number; slot: number; step: 1 | -1 }[] = [];
  for (const interval of intervals) {
    const begin = Math.max(from, interval.from);
    const end = Math.min(to, interval.to ?? to);
    if (interval.unmonitored || end <= begin) continue;
    const slot = interval.severity + (interval.maintenance || interval.suppressed ? 0 : 6);
    events.push({ at: begin, slot, step: 1 }, { at: end, slot, step: -1 });
  }
  events.sort((a, b) => a.at - b.at);
  // Six severities that were suppressed, then six that were not: the highest slot in use is what the lane shows.
  const open = new Array<number>(12).fill(0);
  const lane: Stretch[] = [];
  for (let index = 0; index < events.length; ) {
    const at = events[index]?.at ?? to;
    for (; events[index]?.at === at; index += 1) {
      const { slot, step } = events[index] as (typeof events)[number];
      open[slot] = (open[slot] ?? 0) + step;
    }
    const next = events[index]?.at;
    const worst = open.findLastIndex((count) => count > 0);
    if (next === undefined || worst < 0) continue;
    const stretch = { from: at, to: next, severity: (worst % 6) as Severity, planned: worst < 6, problems: open.reduce((sum, count) => sum + count, 0) };
    const last = lane.at(-1);
    if (last !== undefined && last.to === at && last.severity === stretch.severity && last.planned === stretch.planned) {
      last.to = next;
      last.problems = Math.max(last.problems, stretch.problems);
    } else lane.push(stretch);
  }
  return lane;
}

/** The lane in words: how long it was of which severity. */
export function describeLane(lane: readonly Stretch[], from: number, to: number): string {
  const window = formatDuration(to - from);
  if (lane.length === 0) return `No problem in ${window}.`;
  const of = (planned: boolean, severity?: Severity) =>
    lane.filter((stretch) => stretch.planned === planned && (severity === undefined || stretch.severity === severity)).reduce((sum, stretch) => sum + stretch.to - stretch.from, 0);
  const parts = SEVERITIES.filter((severity) => of(false, severity) > 0).map((severity) => `${severityName(severity)} ${formatDuration(of(false, severity))}`);
  if (of(true) > 0) parts.push(`in maintenance or suppressed ${formatDuration(of(true))}`);
  return `Of ${window}: ${parts.join(", ")}.`;
}

/** Marks of the time axis at round local times: every 4 h of a day, every day of a week, every 5 days of more. `share` is 0 to 1 of the window. */
export function axis(from: number, to: number): { share: number; word: string }[] {
  const short = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
  const hours = to - from <= 86_400;
  const days = to - from <= 7 * 86_400 ? 1 : 5;
  const at = new Date(from * 1000);
  if (hours) at.setHours(Math.ceil((at.getHours() + 0.001) / 4) * 4, 0, 0, 0);
  else at.setHours(24, 0, 0, 0);
  const marks: { share: number; word: string }[] = [];
  // By the calendar, so that a day with a change of the clocks stays one day.
  for (; at.getTime() < to * 1000; hours ? at.setHours(at.getHours() + 4) : at.setDate(at.getDate() + days)) {
    const share = (at.getTime() / 1000 - from) / (to - from);
    // Words too near to an end would stand over it, or over "now".
    if (share >= 0.04 && share <= 0.9) marks.push({ share, word: hours ? clockTime(at.getTime()).slice(0, 5) : short.format(at) });
  }
  return marks;
}

let patterns = 0;

/** A host's past: one lane, and the same as a table. */
export class Timeline {
  readonly root = element("section", { class: "timeline", "data-testid": "timeline", "aria-label": "Timeline" });
  private readonly buttons = new Map<Window, HTMLButtonElement>();
  private readonly status = element("p", { class: "report-status", role: "status" });
  private readonly body = element("div", {});
  private shown = "";
  private abort: AbortController | undefined;

  /** @param now the server's time in unix seconds */
  constructor(
    private readonly reports: Reports,
    private readonly now: () => number,
    onWindow: (window: Window) => void,
  ) {
    const again = element("button", { type: "button", class: "tool" }, "Reload");
    again.addEventListener("click", () => this.reload());
    for (const window of Object.keys(WINDOWS) as Window[]) {
      const button = element("button", { type: "button", class: "tool", "aria-pressed": "false" }, WINDOW_NAMES[window]);
      button.addEventListener("click", () => onWindow(window));
      this.buttons.set(window, button);
    }
    this.root.append(element("div", { class: "report-tools", role: "group", "aria-label": "Time shown" }, ...this.buttons.values(), again), this.status, this.body);
  }

  /** Shows the host's timeline; asks the server only when it is another one than shown. */
  show(host: string, window: Window): void {
    const wanted = `${window} ${host}`;
    if (wanted === this.shown) return;
    for (const [name, button] of this.buttons) setAttribute(button, "aria-pressed", String(name === window));
    if (!this.shown.endsWith(` ${host}`)) this.body.replaceChildren();
    this.shown = wanted;
    void this.load(host, window);
  }

  /** Forgets what it shows; it is asked for again when it is opened again. */
  close(): void {
    this.abort?.abort();
    this.shown = "";
  }

  private reload(): void {
    const [window, ...host] = this.shown.split(" ");
    if (window !== undefined) void this.load(host.join(" "), window as Window);
  }

  private async load(host: string, window: Window): Promise<void> {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    const to = Math.floor(this.now());
    const from = to - WINDOWS[window];
    setText(this.status, `Loading the last ${WINDOW_NAMES[window]} …`);
    setAttribute(this.status, "data-kind", "loading");
    try {
      const { intervals, more } = await this.reports.timeline(host, from, to, abort.signal);
      if (abort.signal.aborted) return;
      const lane = stretches(intervals, from, to);
      setText(this.status, `${describeLane(lane, from, to)} As of ${clockTime(to * 1000)}.${more ? " There are more intervals than are shown." : ""}`);
      setAttribute(this.status, "data-kind", undefined);
      this.body.replaceChildren(...this.draw(lane, intervals, from, to));
    } catch (error) {
      if (abort.signal.aborted) return;
      setText(this.status, error instanceof ReportError ? error.message : "The timeline could not be loaded.");
      setAttribute(this.status, "data-kind", "error");
      // What was shown before belongs to another window.
      this.body.replaceChildren();
    }
  }

  private draw(lane: readonly Stretch[], intervals: readonly Interval[], from: number, to: number): Element[] {
    const hatch = `hatch-${(patterns += 1)}`;
    const svg = svgElement("svg", { class: "lane", role: "img", "aria-label": `${describeLane(lane, from, to)}${intervals.length > 0 ? " The table below has the intervals." : ""}` });
    svg.append(
      svgElement(
        "defs",
        {},
        svgElement(
          "pattern",
          { id: hatch, width: "8", height: "8", patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
          svgElement("rect", { class: "hatch", width: "4", height: "8" }),
        ),
      ),
    );
    const share = (seconds: number) => `${((seconds / (to - from)) * 100).toFixed(3)}%`;
    for (const stretch of lane) {
      const place = { x: share(stretch.from - from), width: share(stretch.to - stretch.from), y: "0", height: "100%" };
      const planned = stretch.planned ? ", in maintenance or suppressed" : "";
      const title = svgElement("title", {});
      title.textContent = `${severityName(stretch.severity)}${planned}, ${localDateTime(stretch.from)} for ${formatDuration(stretch.to - stretch.from)}${stretch.problems > 1 ? `, up to ${stretch.problems} problems` : ""}`;
      const group = svgElement("g", { "data-severity": String(stretch.severity) }, svgElement("rect", { class: "stretch", ...place }), title);
      if (stretch.planned) group.append(svgElement("rect", { ...place, fill: `url(#${hatch})` }));
      svg.append(group);
    }
    const scale = element("p", { class: "lane-scale", "aria-hidden": "true" });
    for (const { share: place, word } of axis(from, to)) {
      const mark = element("span", {}, word);
      mark.style.left = `${(place * 100).toFixed(2)}%`;
      scale.append(mark);
    }
    scale.append(element("span", {}, "now"));
    const used = SEVERITIES.filter((severity) => lane.some((stretch) => stretch.severity === severity));
    const legend = element(
      "p",
      { class: "lane-legend", "aria-hidden": "true" },
      ...used.map((severity) => element("span", { "data-severity": String(severity) }, element("b", {}, severityLetter(severity)), severityName(severity))),
      lane.some(({ planned }) => planned) && element("span", { class: "planned" }, element("b", {}), "Maintenance or suppressed"),
    );
    if (intervals.length === 0) return [svg, scale];
    return [svg, scale, legend, table(intervals)];
  }
}

function table(intervals: readonly Interval[]): HTMLElement {
  const newest = [...intervals].reverse().slice(0, TABLE_ROWS);
  const rows = newest.map((interval) => {
    const flags = [interval.maintenance && "maintenance", interval.suppressed && "suppressed", interval.unmonitored && "disabled"].filter((flag) => flag !== false);
    return element(
      "tr",
      {},
      element("td", {}, localDateTime(interval.from)),
      element("td", {}, interval.to === undefined ? "still so" : formatDuration(interval.to - interval.from)),
      element("td", {}, severityName(interval.severity)),
      element("td", {}, interval.name || `Problem ${interval.event_id}`),
      element("td", {}, flags.join(", ")),
    );
  });
  const caption = intervals.length > TABLE_ROWS ? `The newest ${TABLE_ROWS} of ${intervals.length} intervals` : `${intervals.length} ${intervals.length === 1 ? "interval" : "intervals"}, newest first`;
  const heads = ["Since", "For", "Severity", "Problem", "Not counted"].map((name) => element("th", { scope: "col" }, name));
  return element(
    "details",
    { class: "lane-table" },
    element("summary", {}, `As a table: ${caption}`),
    element("div", { class: "table-box", tabindex: "0", role: "region", "aria-label": "Intervals" }, element("table", {}, element("caption", { class: "sr" }, caption), element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows))),
  );
}
