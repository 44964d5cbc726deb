import { element, setAttribute, setText } from "./dom";
import { clockTime, formatDuration, localDateTime } from "./duration";
import { ReportError, type AvailabilityRow, type Durations, type Query, type Reports, type ResponseRow } from "./reports";
import { isSeverity, SEVERITIES, severityName } from "./severity";
import { WINDOW_NAMES, WINDOWS, type View, type Window } from "./view";

/** The board's filter, as far as it holds for reports. */
export interface Scope {
  host: string;
  group: string;
}

/** Rows that are asked for at a time. */
const PAGE_ROWS = 100;

/** A fraction as a percentage of three digits after the point, rounded down: 100 % is only what was never down. */
export function formatAvailability(fraction: number): string {
  if (fraction >= 1) return "100 %";
  return `${(Math.floor(fraction * 100_000 + 1e-6) / 1000).toFixed(3)} %`;
}

/** The median, and the 90th percentile where there is more than one: `["3m 10s", "90 %: 12m 04s"]`; a dash for none. */
export function formatDurations({ count, median_seconds: median, p90_seconds: p90 }: Durations): [string, string] {
  if (count === 0 || median === undefined) return ["–", ""];
  return [formatDuration(median), p90 === undefined || count === 1 ? "" : `90 %: ${formatDuration(p90)}`];
}

/** The window of a view at `now`; unix seconds. */
export function windowOf(view: View, now: number): { from: number; to: number } {
  if (view.window === "custom") return { from: view.from ?? 0, to: Math.min(view.to ?? now, now) };
  return { from: now - WINDOWS[view.window], to: now };
}

/** What the server is asked; `response` knows no maintenance. Undefined while a tag is missing. */
export function queries(view: View, scope: Scope, now: number): { availability: Query; response: Query } | undefined {
  if (view.by === "tag" && view.tag.trim() === "") return undefined;
  const { from, to } = windowOf(view, now);
  const response = {
    by: view.by,
    tag: view.by === "tag" ? view.tag.trim() : undefined,
    host: scope.host,
    group: scope.group,
    severity: String(view.least),
    from: String(from),
    to: String(to),
  };
  return { availability: { ...response, maintenance: view.includeMaintenance ? "include" : "exclude" }, response };
}

/** What a `datetime-local` field holds, in unix seconds by the browser's zone; undefined if it is no time. */
export function localSeconds(value: string): number | undefined {
  const ms = value === "" ? Number.NaN : new Date(value).getTime();
  return Number.isFinite(ms) ? Math.floor(ms / 1000) : undefined;
}

/** Unix seconds as a `datetime-local` field wants them. */
export function localField(seconds: number): string {
  const date = new Date(seconds * 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** The availability of hosts, groups or what a tag names, worst first. */
export class AvailabilityReport {
  private readonly by = element(
    "select",
    { "data-testid": "report-by" },
    element("option", { value: "host" }, "Each host"),
    element("option", { value: "group" }, "Each host group"),
    element("option", { value: "tag" }, "Each value of the tag"),
  );
  private readonly tag = element("input", { type: "text", placeholder: "service", autocomplete: "off", spellcheck: "false", "data-testid": "report-tag" });
  private readonly window = element(
    "select",
    { "data-testid": "report-window" },
    ...(Object.keys(WINDOWS) as Window[]).map((name) => element("option", { value: name }, `Last ${WINDOW_NAMES[name]}`)),
    element("option", { value: "custom" }, "From … to …"),
  );
  private readonly from = element("input", { type: "datetime-local", "data-testid": "report-from" });
  private readonly to = element("input", { type: "datetime-local" });
  private readonly least = element(
    "select",
    {},
    ...SEVERITIES.map((severity) => element("option", { value: String(severity) }, severity === 5 ? "Disaster only" : severity === 0 ? "All severities" : `${severityName(severity)} and above`)),
  );
  private readonly maintenance = element("select", {}, element("option", { value: "exclude" }, "not counted"), element("option", { value: "include" }, "counted as down"));
  private readonly tagField = labelled("Tag", this.tag);
  private readonly fromField = labelled("From", this.from);
  private readonly toField = labelled("To", this.to);
  private readonly scope = element("button", { type: "button", class: "chip", hidden: "" });
  private readonly csv = element("button", { type: "button", class: "tool", "data-testid": "report-csv" }, "CSV");
  private readonly status = element("p", { class: "report-status", role: "status", "data-testid": "report-status" });
  private readonly rows = element("tbody", { "data-testid": "report-rows" });
  private readonly key = element("th", { scope: "col" });
  private readonly table = element(
    "table",
    { class: "sla", hidden: "" },
    element("caption", { class: "sr" }, "Availability, worst first"),
    element(
      "thead",
      {},
      element(
        "tr",
        {},
        this.key,
        ...["Availability", "Down for", "Problems", "Acknow\u00ADledged in", "Recov\u00ADered in"].map((name) => element("th", { scope: "col", class: name === "Problems" ? "wide" : undefined }, name)),
      ),
    ),
    this.rows,
  );
  private readonly more = element("button", { type: "button", class: "tool", hidden: "" }, "Show more");
  private view: View | undefined;
  private within: Scope = { host: "", group: "" };
  private shown = "";
  private cursor: string | undefined;
  /** What the rows on screen were asked with: later pages and the CSV are of the same window. */
  private asked: { availability: Query; response: Query } | undefined;
  private responses: Map<string, ResponseRow> | "loading" | "failed" = "loading";
  private abort: AbortController | undefined;

  /**
   * @param now the server's time in unix seconds
   * @param onView the view was changed by its controls
   * @param onAll the board's filter is to be lifted
   */
  constructor(
    root: HTMLElement,
    private readonly reports: Reports,
    private readonly now: () => number,
    private readonly onView: (view: View) => void,
    onAll: () => void,
  ) {
    const reload = element("button", { type: "button", class: "tool" }, "Reload");
    const form = element(
      "form",
      { class: "report-tools", "aria-label": "What is reported" },
      labelled("Availability of", this.by),
      this.tagField,
      labelled("Time", this.window),
      this.fromField,
      this.toField,
      labelled("Problems", this.least),
      labelled("Maintenance", this.maintenance),
      this.scope,
      element("span", { class: "report-buttons" }, reload, this.csv),
    );
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => this.changed());
    reload.addEventListener("click", () => void this.load());
    this.csv.addEventListener("click", () => void this.download());
    this.more.addEventListener("click", () => void this.next());
    this.scope.addEventListener("click", onAll);
    root.append(
      form,
      this.status,
      element("div", { class: "table-box", tabindex: "0", role: "region", "aria-label": "Availability" }, this.table),
      this.more,
    );
  }

  /** Shows the view; asks the server only when it is another one than shown. */
  show(view: View, scope: Scope): void {
    this.within = scope;
    // The board is drawn again with each event: what somebody is about to enter stays.
    if (JSON.stringify(view) !== JSON.stringify(this.view)) this.fill(view);
    this.view = view;
    const narrowed = [scope.group === "" ? "" : `group ${scope.group}`, scope.host === "" ? "" : `host ${scope.host}`].filter((part) => part !== "").join(", ");
    this.scope.hidden = narrowed === "";
    setText(this.scope, `Only ${narrowed}  ✕`);
    setAttribute(this.scope, "aria-label", `Only ${narrowed}: report on all again`);
    const wanted = JSON.stringify(queries(view, scope, 0) ?? "");
    if (wanted === this.shown) return;
    this.shown = wanted;
    void this.load();
  }

  private fill(view: View): void {
    this.by.value = view.by;
    this.tag.value = view.tag;
    this.tagField.hidden = view.by !== "tag";
    this.window.value = view.window;
    this.fromField.hidden = this.toField.hidden = view.window !== "custom";
    if (view.from !== undefined) this.from.value = localField(view.from);
    if (view.to !== undefined) this.to.value = localField(view.to);
    this.least.value = String(view.least);
    this.maintenance.value = view.includeMaintenance ? "include" : "exclude";
    setText(this.key, { host: "Host", group: "Host group", tag: view.tag.trim() || "Tag" }[view.by]);
  }

  /** Forgets what it shows; it is asked for again when it is opened again. */
  close(): void {
    this.abort?.abort();
    this.shown = "";
  }

  private changed(): void {
    if (this.view === undefined) return;
    const now = Math.floor(this.now());
    let window = this.window.value as View["window"];
    let { from, to } = this.view;
    if (window === "custom") {
      // Where nothing was chosen yet, what was shown until now.
      const before = windowOf(this.view, now);
      from = localSeconds(this.from.value) ?? before.from;
      to = localSeconds(this.to.value) ?? before.to;
      if (from >= to) {
        this.tell("“From” must be before “to”.", "error");
        return;
      }
      if (from >= now) {
        this.tell("“From” must be in the past.", "error");
        return;
      }
    } else from = to = undefined;
    const least = Number(this.least.value);
    this.onView({
      ...this.view,
      by: this.by.value as View["by"],
      tag: this.tag.value,
      window,
      from,
      to,
      least: isSeverity(least) ? least : this.view.least,
      includeMaintenance: this.maintenance.value === "include",
    });
  }

  private async load(): Promise<void> {
    this.abort?.abort();
    const { view } = this;
    if (view === undefined) return;
    this.shown = JSON.stringify(queries(view, this.within, 0) ?? "");
    this.cursor = undefined;
    this.more.hidden = true;
    this.rows.replaceChildren();
    this.table.hidden = true;
    this.asked = queries(view, this.within, Math.floor(this.now()));
    this.csv.disabled = true;
    if (this.asked === undefined) {
      this.tell("Name the tag whose values are to be reported on, for example service.", "empty");
      return;
    }
    const abort = new AbortController();
    this.abort = abort;
    this.responses = "loading";
    this.tell("Loading the report …", "loading");
    await this.page(abort.signal);
    if (abort.signal.aborted || this.rows.childElementCount === 0) return;
    try {
      this.responses = await this.reports.response(this.asked.response, abort.signal);
    } catch {
      if (abort.signal.aborted) return;
      this.responses = "failed";
    }
    for (const row of this.rows.children) this.drawResponse(row as HTMLTableRowElement);
  }

  private async next(): Promise<void> {
    const abort = new AbortController();
    this.abort?.signal.addEventListener("abort", () => abort.abort());
    this.more.disabled = true;
    const first = this.rows.childElementCount;
    await this.page(abort.signal);
    this.more.disabled = false;
    // The button may be gone now: whoever pressed it goes on at the first new row.
    if (this.more.hidden) this.rows.children[first]?.querySelector<HTMLElement>("th")?.focus();
  }

  private async page(signal: AbortSignal): Promise<void> {
    const { asked, view } = this;
    if (asked === undefined || view === undefined) return;
    try {
      const { rows, cursor } = await this.reports.availability({ ...asked.availability, limit: String(PAGE_ROWS), cursor: this.cursor }, signal);
      if (signal.aborted) return;
      this.cursor = cursor;
      this.rows.append(...rows.map((row) => this.draw(row)));
    } catch (error) {
      if (signal.aborted) return;
      this.tell(error instanceof ReportError ? error.message : "The report could not be loaded.", "error");
      return;
    }
    const count = this.rows.childElementCount;
    this.table.hidden = count === 0;
    this.more.hidden = this.cursor === undefined;
    this.csv.disabled = count === 0;
    const from = Number(asked.availability["from"]);
    const to = Number(asked.availability["to"]);
    const window = `${localDateTime(from)} to ${localDateTime(to)}`;
    if (count === 0) this.tell(`Nothing to report on: in the record is no problem of any such ${{ host: "host", group: "host group", tag: "tag" }[view.by]}.`, "empty");
    else {
      const names = { host: ["host", "hosts"], group: ["host group", "host groups"], tag: [`value of ${view.tag.trim()}`, `values of ${view.tag.trim()}`] }[view.by];
      const some = this.cursor === undefined ? `${count} ${names[count === 1 ? 0 : 1]} that ever had a problem` : `The worst ${count} ${names[1]}`;
      this.tell(`${some}, ${window}.`, undefined);
    }
  }

  private draw({ key, down_seconds: down, availability }: AvailabilityRow): HTMLTableRowElement {
    const row = element(
      "tr",
      {},
      element("th", { scope: "row", tabindex: "-1" }, key || "–"),
      element("td", { class: "figure" }, formatAvailability(availability)),
      element("td", {}, down === 0 ? "–" : formatDuration(down)),
      element("td", { class: "wide" }),
      element("td", {}),
      element("td", {}),
    );
    row.dataset["key"] = key;
    row.dataset["level"] = availability >= 0.999 ? "fine" : availability >= 0.99 ? "poor" : "bad";
    this.drawResponse(row);
    return row;
  }

  private drawResponse(row: HTMLTableRowElement): void {
    const [, , , problems, acknowledge, recover] = row.cells;
    if (problems === undefined || acknowledge === undefined || recover === undefined) return;
    if (typeof this.responses === "string") {
      for (const cell of [problems, acknowledge, recover]) setText(cell, this.responses === "loading" ? "…" : "not available");
      return;
    }
    const response = this.responses.get(row.dataset["key"] ?? "");
    setText(problems, String(response?.problems ?? 0));
    for (const [cell, durations] of [[acknowledge, response?.acknowledge], [recover, response?.recover]] as const) {
      const [median, most] = durations === undefined ? ["–", ""] : formatDurations(durations);
      cell.replaceChildren(median, element("small", {}, most));
    }
  }

  private async download(): Promise<void> {
    const { asked, view } = this;
    if (asked === undefined || view === undefined) return;
    this.csv.disabled = true;
    try {
      const { text, complete } = await this.reports.csv(asked.availability);
      const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      const link = element("a", { href: url, download: `availability-by-${view.by}-${clockTime(Date.now()).replaceAll(":", "")}.csv` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
      this.tell(complete ? "The CSV is saved." : "The CSV is saved, but there may be more rows than are in it: choose a group or a host.", complete ? undefined : "error");
    } catch (error) {
      this.tell(error instanceof ReportError ? error.message : "The CSV could not be loaded.", "error");
    }
    this.csv.disabled = false;
  }

  private tell(text: string, kind: "loading" | "error" | "empty" | undefined): void {
    setText(this.status, text);
    setAttribute(this.status, "data-kind", kind);
  }
}

function labelled(name: string, field: HTMLElement): HTMLLabelElement {
  return element("label", { class: "field labelled" }, element("span", {}, name), field);
}
