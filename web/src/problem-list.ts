import { arrange, element, setAttribute, setText } from "./dom";
import { formatDuration, localDateTime } from "./duration";
import { isSuppressed, webLink, type Problem } from "./problem";
import { severityLetter, severityName } from "./severity";

/** How long a new or changed row stays marked, and a resolved one stays visible, in milliseconds. */
export const MARK_MS = 4000;
export const LEAVE_MS = 1500;

/** One row to show. */
export interface Item {
  problem: Problem;
  /** Cannot be evaluated at present: the trigger has an open internal entry. */
  unevaluable: boolean;
  mark: { kind: "new" | "changed" | "resolved"; atMs: number } | undefined;
  /** What became of an action that was sent from here. */
  act: { word: string; sentence: string; bad: boolean } | undefined;
  /** The viewer may act on it. */
  mayAct: boolean;
}

interface Row {
  item: HTMLLIElement;
  button: HTMLButtonElement;
  age: HTMLElement;
  details: HTMLElement | undefined;
  openedAt: number;
  signature: string;
}

const OVERSCAN = 4;

/**
 * The problem list. Only the rows in sight exist in the document (and the focused one, so that focus survives scrolling);
 * all rows are of the same height but for the one whose details are open.
 */
export class ProblemList {
  private problems: readonly Problem[] = [];
  private describe: (problem: Problem) => Item = (problem) => ({ problem, unevaluable: false, mark: undefined, act: undefined, mayAct: false });
  /** Where ids were found last. */
  private readonly found = new Map<string, number>();
  private readonly rows = new Map<string, Row>();
  private active: string | undefined;
  private expanded: string | undefined;
  private rowHeight = 0;
  private detailsHeight = 0;
  private readonly ruler = element("div", { class: "ruler", "aria-hidden": "true" });
  private readonly sizes: ResizeObserver;

  /**
   * @param list the `ol` of the rows
   * @param scroller scrolls the list on wide screens; on narrow ones the page does
   * @param serverNow the server's time in unix seconds
   * @param invalidate called when the list wants to be drawn again with the next frame
   * @param onAct the viewer wants to act on the problem
   */
  constructor(
    private readonly list: HTMLOListElement,
    private readonly scroller: HTMLElement,
    private readonly serverNow: () => number,
    private readonly invalidate: () => void,
    private readonly onAct: (eventId: string) => void,
  ) {
    list.before(this.ruler);
    this.sizes = new ResizeObserver(() => this.measure());
    this.sizes.observe(this.ruler);
    document.addEventListener("scroll", () => this.invalidate(), { capture: true, passive: true });
    window.addEventListener("resize", () => this.invalidate(), { passive: true });
    list.addEventListener("focusin", (event) => {
      const id = (event.target as Element).closest("li")?.dataset["eventId"];
      if (id !== undefined && id !== this.active) {
        this.active = id;
        this.invalidate();
      }
    });
    list.addEventListener("click", (event) => {
      const target = event.target as Element;
      const id = target.closest("li")?.dataset["eventId"];
      if (id === undefined) return;
      if (target.closest("button.row") !== null) this.toggle(id);
      else if (target.closest("[data-act]") !== null) this.onAct(id);
    });
  }

  /** Shows the problems in this order; `describe` is asked for those in sight only, of thousands. */
  show(problems: readonly Problem[], describe: (problem: Problem) => Item): void {
    const anchor = this.anchor();
    const focused = this.focusedId();
    const place = focused === undefined ? undefined : this.indexOf(focused);
    this.problems = problems;
    this.describe = describe;
    if (this.expanded !== undefined && this.indexOf(this.expanded) === undefined) this.expanded = undefined;
    // Who is not in the list enters it at the top, or at the open details.
    if (focused === undefined || this.active === undefined || this.indexOf(this.active) === undefined) this.active = this.expanded ?? problems[0]?.event_id;
    this.layOut();
    if (anchor !== undefined) this.keep(anchor);
    // The row with the focus is gone: whoever walks through the list goes on at the same place.
    if (focused !== undefined && place !== undefined && this.indexOf(focused) === undefined) this.focus(place);
  }

  /** Few ids are ever looked for, and mostly stay where they were: a map of all rows would cost more with each change than it gives. */
  private indexOf(id: string): number | undefined {
    const known = this.found.get(id);
    if (known !== undefined && this.problems[known]?.event_id === id) return known;
    const index = this.problems.findIndex(({ event_id: other }) => other === id);
    if (this.found.size > 20) this.found.clear();
    if (index < 0) return undefined;
    this.found.set(id, index);
    return index;
  }

  private focusedId(): string | undefined {
    const focused = document.activeElement;
    return focused !== null && this.list.contains(focused) ? focused.closest<HTMLElement>("li")?.dataset["eventId"] : undefined;
  }

  /** Draws what is in sight. Cheap if nothing moved. */
  layOut(): void {
    if (this.rowHeight === 0) this.measure();
    const height = this.problems.length * this.rowHeight + (this.expandedIndex() >= 0 ? this.detailsHeight : 0);
    const style = `${height}px`;
    if (this.list.style.height !== style) this.list.style.height = style;
    const [first, last] = this.inSight();
    const wanted = new Set<string>();
    const elements: Element[] = [];
    const focused = this.focusedId();
    const kept = focused === undefined ? -1 : (this.indexOf(focused) ?? -1);
    const indexes: number[] = [];
    if (kept >= 0 && kept < first) indexes.push(kept);
    for (let index = first; index <= last; index += 1) indexes.push(index);
    if (kept > last) indexes.push(kept);
    for (const index of indexes) {
      const problem = this.problems[index];
      if (problem === undefined) continue;
      const id = problem.event_id;
      wanted.add(id);
      const row = this.rows.get(id) ?? this.make(problem);
      this.update(row, this.describe(problem), index);
      elements.push(row.item);
    }
    for (const [id, row] of this.rows) {
      if (wanted.has(id)) continue;
      if (row.details !== undefined) this.sizes.unobserve(row.details);
      this.rows.delete(id);
    }
    arrange(this.list, elements);
  }

  /** Lets the durations of the rows in sight tick. */
  tick(): void {
    const now = this.serverNow();
    for (const row of this.rows.values()) setText(row.age, formatDuration(now - row.openedAt));
  }

  /** Moves the focus by `step` rows, or to the current row if the focus was elsewhere. */
  move(step: number): void {
    const inside = this.list.contains(document.activeElement);
    const index = this.active === undefined ? 0 : (this.indexOf(this.active) ?? 0);
    this.focus(inside ? index + step : index);
  }

  focus(index: number): void {
    const problem = this.problems[Math.max(0, Math.min(this.problems.length - 1, index))];
    if (problem === undefined) return;
    this.active = problem.event_id;
    this.reveal(this.indexOf(this.active) ?? 0);
    this.layOut();
    this.rows.get(this.active)?.button.focus({ preventScroll: true });
  }

  /** Event id of the row with the focus, or of the one whose details are open. */
  get current(): string | undefined {
    return this.focusedId() ?? this.expanded;
  }

  get length(): number {
    return this.problems.length;
  }

  toggle(id: string): void {
    this.expanded = this.expanded === id ? undefined : id;
    this.detailsHeight = 0;
    this.layOut();
    const details = this.expanded === undefined ? undefined : this.rows.get(this.expanded)?.details;
    if (details === undefined) return;
    this.detailsHeight = details.offsetHeight;
    this.layOut();
    details.scrollIntoView({ block: "nearest" });
  }

  /** Closes open details; false if there were none. */
  collapse(): boolean {
    if (this.expanded === undefined) return false;
    const id = this.expanded;
    this.toggle(id);
    if (this.rows.get(id) !== undefined) this.rows.get(id)?.button.focus();
    return true;
  }

  private expandedIndex(): number {
    return this.expanded === undefined ? -1 : (this.indexOf(this.expanded) ?? -1);
  }

  private measure(): void {
    const height = this.ruler.offsetHeight;
    const details = this.expanded === undefined ? undefined : this.rows.get(this.expanded)?.details;
    const detailsHeight = details?.offsetHeight ?? 0;
    if (height === this.rowHeight && detailsHeight === this.detailsHeight) return;
    this.rowHeight = height;
    this.detailsHeight = detailsHeight;
    this.invalidate();
  }

  private top(index: number): number {
    const expanded = this.expandedIndex();
    return index * this.rowHeight + (expanded >= 0 && index > expanded ? this.detailsHeight : 0);
  }

  /** The part of the list that can be seen, in pixels from its top. */
  private window(): [number, number] {
    const list = this.list.getBoundingClientRect();
    const scroller = this.scroller.getBoundingClientRect();
    const top = Math.max(0, scroller.top);
    const bottom = Math.min(window.innerHeight, scroller.bottom);
    return [top - list.top, bottom - list.top];
  }

  private inSight(): [number, number] {
    if (this.rowHeight === 0 || this.problems.length === 0) return [0, -1];
    const [top, bottom] = this.window();
    if (bottom <= top) return [0, Math.min(this.problems.length - 1, OVERSCAN)];
    const expanded = this.expandedIndex() >= 0 ? this.detailsHeight : 0;
    const first = Math.floor((top - expanded) / this.rowHeight) - OVERSCAN;
    const last = Math.ceil(bottom / this.rowHeight) + OVERSCAN;
    return [Math.max(0, first), Math.min(this.problems.length - 1, last)];
  }

  /** Who scrolls: the list's own box, or the page. */
  private get scrolling(): Element {
    const own = this.scroller.scrollHeight > this.scroller.clientHeight + 1 && getComputedStyle(this.scroller).overflowY !== "visible";
    return own ? this.scroller : (document.scrollingElement ?? document.documentElement);
  }

  private reveal(index: number): void {
    const [top, bottom] = this.window();
    const start = this.top(index);
    const margin = this.rowHeight;
    if (start - margin < top) this.scrolling.scrollTop -= top - start + margin;
    else if (start + 2 * margin > bottom) this.scrolling.scrollTop += start + 2 * margin - bottom;
  }

  /** The first row in sight, if the reader has scrolled into the list: what arrives above must not push it away. */
  private anchor(): { id: string; top: number } | undefined {
    if (this.rowHeight === 0) return undefined;
    const [top] = this.window();
    if (top <= this.rowHeight) return undefined;
    const id = this.problems[Math.ceil(top / this.rowHeight)]?.event_id;
    if (id === undefined) return undefined;
    return { id, top: this.top(this.indexOf(id) ?? 0) };
  }

  private keep(anchor: { id: string; top: number }): void {
    const index = this.indexOf(anchor.id);
    if (index === undefined) return;
    const moved = this.top(index) - anchor.top;
    if (moved === 0) return;
    this.scrolling.scrollTop += moved;
    this.layOut();
  }

  private make(problem: Problem): Row {
    const age = element("span", { class: "age" });
    const button = element("button", { type: "button", class: "row" });
    const row: Row = {
      item: element("li", { "data-event-id": problem.event_id }, button),
      button,
      age,
      details: undefined,
      openedAt: problem.opened_at,
      signature: "",
    };
    this.rows.set(problem.event_id, row);
    return row;
  }

  private update(row: Row, item: Item, index: number): void {
    const { problem } = item;
    const { item: li, button } = row;
    const now = this.serverNow();
    const suppressed = isSuppressed(problem, now);
    const expanded = this.expanded === problem.event_id;
    const top = `translateY(${this.top(index)}px)`;
    if (li.style.transform !== top) li.style.transform = top;
    setAttribute(li, "aria-posinset", String(index + 1));
    setAttribute(li, "aria-setsize", String(this.problems.length));
    setAttribute(button, "tabindex", this.active === problem.event_id ? "0" : "-1");
    setAttribute(button, "aria-expanded", String(expanded));
    const signature = [problem.version, item.unevaluable, suppressed, item.mark?.kind, item.mark?.atMs, expanded, item.act?.sentence, item.mayAct].join();
    if (row.signature === signature) return;
    row.signature = signature;
    row.openedAt = problem.opened_at;
    const internal = problem.kind === "internal";
    const { name, error } = problem;
    const title = internal && error !== undefined && error !== name ? `${name}: ${error}` : name;
    li.dataset["severity"] = String(problem.severity);
    li.dataset["version"] = String(problem.version);
    li.dataset["kind"] = problem.kind;
    li.dataset["acknowledged"] = String(problem.acknowledged);
    li.dataset["suppressed"] = String(suppressed);
    setAttribute(li, "data-mark", item.mark?.kind);
    // A row that scrolls into sight in the middle of its highlight joins it there.
    li.style.setProperty("--elapsed", `${item.mark === undefined ? 0 : item.mark.atMs - Date.now()}ms`);
    setText(row.age, formatDuration(now - problem.opened_at));
    button.replaceChildren(
      element(
        "span",
        { class: "sev" },
        element("b", { "aria-hidden": "true" }, internal ? "?" : severityLetter(problem.severity)),
        element("span", {}, internal ? "Unknown" : severityName(problem.severity)),
      ),
      row.age,
      element("span", { class: "host", title: problem.host.host }, problem.host.name),
      element("span", { class: "name", title }, title),
      element("span", { class: "opdata", title: problem.opdata }, problem.opdata ?? ""),
      element(
        "span",
        { class: "tags" },
        ...problem.tags.map(({ tag, value }) => element("span", { class: "tag" }, value === "" ? tag : `${tag}: ${value}`)),
      ),
      element("span", { class: "groups", title: problem.groups.join(", ") }, problem.groups.join(", ")),
      element("span", { class: "marks" }, ...this.marks(item, suppressed)),
    );
    // Who stands in the details when they change stays there.
    const inside = row.details?.contains(document.activeElement) ?? false;
    if (row.details !== undefined) {
      this.sizes.unobserve(row.details);
      row.details.remove();
      row.details = undefined;
    }
    setAttribute(button, "aria-controls", expanded ? `details-${problem.event_id}` : undefined);
    if (expanded) {
      row.details = details(item, suppressed);
      li.append(row.details);
      this.sizes.observe(row.details);
    }
    if (inside) (row.details?.querySelector<HTMLElement>("[data-act]") ?? button).focus({ preventScroll: true });
  }

  private marks(item: Item, suppressed: boolean): HTMLElement[] {
    const { problem, mark, act } = item;
    const marks: HTMLElement[] = [];
    const add = (kind: string, text: string, title: string) => marks.push(element("span", { class: `mark ${kind}`, title }, text));
    if (mark !== undefined) add(mark.kind, mark.kind, { new: "Just opened", changed: "Just changed", resolved: "Just resolved" }[mark.kind]);
    if (act !== undefined) add(act.bad ? "act bad" : "act", act.word, act.sentence);
    if (problem.acknowledged) add("ack", "ack", "Acknowledged");
    if (problem.unmonitored) add("suppressed", "disabled", "Its trigger, its item or its host is disabled: not counted");
    else if (suppressed && problem.maintenance !== undefined) add("suppressed", "maintenance", "Suppressed by a maintenance: not counted");
    else if (suppressed) add("suppressed", "suppressed", "Suppressed: not counted");
    if (problem.cause !== undefined) add("symptom", "symptom", `A symptom of problem ${problem.cause}`);
    if ((item.unevaluable || problem.unknown !== undefined) && problem.kind === "problem") add("unevaluable", "can’t eval.", "Zabbix cannot evaluate the trigger at present: this may be out of date");
    return marks;
  }
}

function details({ problem, unevaluable, act, mayAct }: Item, suppressed: boolean): HTMLElement {
  const facts = element("dl", {});
  const fact = (name: string, ...value: (Node | string)[]) =>
    facts.append(element("div", {}, element("dt", {}, name), element("dd", {}, ...value)));
  const { last_update: update } = problem;
  fact("Problem", problem.name);
  if (problem.error !== undefined) fact("Error", problem.error);
  fact("Host", problem.host.name === problem.host.host ? problem.host.name : `${problem.host.name} (${problem.host.host})`);
  if (problem.groups.length > 0) fact("Groups", problem.groups.join(", "));
  if (problem.opdata !== undefined) fact("Value", problem.opdata);
  fact("Opened", localDateTime(problem.opened_at));
  if (problem.resolved_at !== undefined) fact("Resolved", localDateTime(problem.resolved_at));
  if (problem.unmonitored) fact("Disabled", "its trigger, its item or its host");
  if (problem.maintenance !== undefined) {
    const { until } = problem.maintenance;
    fact("Maintenance", until === undefined ? "without an end" : `until ${localDateTime(until)}`);
  }
  if (problem.unknown !== undefined) fact("Cannot be evaluated", problem.unknown);
  if (problem.cause !== undefined) fact("Symptom of", `problem ${problem.cause}`);
  if (suppressed && problem.suppressed) {
    fact("Suppressed", problem.suppressed_until === undefined ? "until further notice" : `until ${localDateTime(problem.suppressed_until)}`);
  }
  if (unevaluable && problem.kind === "problem") fact("Evaluation", "Zabbix cannot evaluate the trigger at present; this may be out of date.");
  if (update !== undefined) {
    const who = update.user === undefined ? "" : `${update.user}: `;
    const when = update.at > 0 ? ` (${localDateTime(update.at)})` : "";
    fact("Last update", `${who}${update.action}${when}`);
    if (update.message !== undefined) fact("Message", update.message);
  }
  if (problem.tags.length > 0) {
    const tags = problem.tags.map(({ tag, value }) => element("span", { class: "tag" }, value === "" ? tag : `${tag}: ${value}`));
    fact("Tags", element("span", { class: "tag-list" }, ...tags));
  }
  const link = webLink(problem);
  if (link !== undefined) {
    fact("Link", element("a", { href: link, target: "_blank", rel: "noopener noreferrer" }, link));
  }
  fact("Event id", problem.event_id);
  const acting =
    (mayAct || act !== undefined) &&
    element(
      "div",
      { class: "acting" },
      mayAct && element("button", { type: "button", class: "tool primary", "data-act": "", "aria-haspopup": "dialog" }, "Act …"),
      act !== undefined && element("span", { class: act.bad ? "act-status bad" : "act-status", "data-testid": "act-status" }, act.sentence),
    );
  return element("div", { class: "details", id: `details-${problem.event_id}`, "data-testid": "details" }, facts, acting);
}
