import { isObject, list, number, optionalText, text, type Json } from "./wire";
import { isSeverity, type Severity } from "./severity";

/** How long one problem of a host did not change. Times are unix seconds. */
export interface Interval {
  event_id: string;
  name: string;
  from: number;
  /** Undefined while the problem is open and as it was last told. */
  to: number | undefined;
  severity: Severity;
  maintenance: boolean;
  suppressed: boolean;
  unmonitored: boolean;
}

/** How long a host, a group or a tag's value had a problem. */
export interface AvailabilityRow {
  key: string;
  down_seconds: number;
  /** 0 to 1. */
  availability: number;
}

export interface Durations {
  count: number;
  median_seconds: number | undefined;
  p90_seconds: number | undefined;
}

/** How fast problems were taken and ended. */
export interface ResponseRow {
  key: string;
  problems: number;
  acknowledge: Durations;
  recover: Durations;
}

export interface Page<Row> {
  rows: Row[];
  cursor: string | undefined;
}

export type Query = Readonly<Record<string, string | undefined>>;

/** What `client.rpc` does. */
export type Rpc = (method: string, data: object) => Promise<{ data: unknown }>;

/** Why there is no report, in a sentence for the person in front of the screen. */
export class ReportError extends Error {}

/** Rows of a page: the most that the server gives. */
const LIMIT = 500;
/** Pages that one report follows: 10,000 rows. */
const MAX_PAGES = 20;
/** A ticket that ends within so many seconds is not used any more. */
const TICKET_MARGIN = 30;

/**
 * The reports of the record. They are asked for with a ticket, which the connection gives to whoever may see the board, so that the page needs no
 * key of its own.
 */
export class Reports {
  private ticket: Promise<{ token: string; expiresAt: number }> | undefined;

  /**
   * @param base `https://…`, without `/api`
   * @param nowMs the server's time
   */
  constructor(
    private readonly base: string,
    private readonly rpc: Rpc,
    private readonly nowMs: () => number,
    private readonly get: typeof fetch = (...request) => fetch(...request),
  ) {}

  /**
   * All of a host's intervals in the window, and whether there are more than one report shows.
   * @throws {ReportError}
   */
  async timeline(host: string, from: number, to: number, signal?: AbortSignal): Promise<{ intervals: Interval[]; more: boolean }> {
    const { rows, more } = await this.all("timeline", { host, from: String(from), to: String(to) }, "intervals", parseInterval, signal);
    return { intervals: rows, more };
  }

  /** @throws {ReportError} */
  async availability(query: Query, signal?: AbortSignal): Promise<Page<AvailabilityRow>> {
    return this.page("availability", query, "rows", parseAvailability, signal);
  }

  /**
   * Times to respond by key.
   * @throws {ReportError}
   */
  async response(query: Query, signal?: AbortSignal): Promise<Map<string, ResponseRow>> {
    const { rows } = await this.all("response", query, "rows", parseResponse, signal);
    return new Map(rows.map((row) => [row.key, row]));
  }

  /**
   * The availability as the server writes it for a spreadsheet, all pages, and whether it is complete.
   * @throws {ReportError}
   */
  async csv(query: Query, signal?: AbortSignal): Promise<{ text: string; complete: boolean }> {
    const first = this.address("availability", { ...query, format: "csv", limit: String(LIMIT) });
    let table = "";
    let url: URL | undefined = first;
    for (let pages = 0; url !== undefined; pages += 1) {
      if (pages === MAX_PAGES) return { text: table, complete: false };
      const response: Response = await this.ask(url, signal);
      const part = await response.text();
      table += pages === 0 ? part : withoutHeader(part);
      const next = nextLink(response.headers.get("Link"), url);
      // A link that the browser is not allowed to read looks like none: a full page is then called incomplete.
      if (next === undefined && countLines(withoutHeader(part)) >= LIMIT) return { text: table, complete: false };
      url = next;
    }
    return { text: table, complete: true };
  }

  private async all<Row>(path: string, query: Query, name: string, parse: (row: Json) => Row | undefined, signal?: AbortSignal): Promise<{ rows: Row[]; more: boolean }> {
    const rows: Row[] = [];
    let cursor: string | undefined;
    for (let pages = 0; pages < MAX_PAGES; pages += 1) {
      const page = await this.page(path, { ...query, limit: String(LIMIT), cursor }, name, parse, signal);
      for (const row of page.rows) rows.push(row);
      cursor = page.cursor;
      if (cursor === undefined) return { rows, more: false };
    }
    return { rows, more: true };
  }

  private async page<Row>(path: string, query: Query, name: string, parse: (row: Json) => Row | undefined, signal?: AbortSignal): Promise<Page<Row>> {
    const response = await this.ask(this.address(path, query), signal);
    const body: unknown = await response.json().catch(() => undefined);
    if (!isObject(body)) throw new ReportError("The reports’ server answered something that is no report.");
    const rows = list(body[name])
      .filter(isObject)
      .map(parse)
      .filter((row) => row !== undefined);
    return { rows, cursor: optionalText(body["cursor"]) };
  }

  private address(path: string, query: Query): URL {
    const url = new URL(`${this.base}/api/status/${path}`);
    for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== "") url.searchParams.set(name, value);
    return url;
  }

  private async ask(url: URL, signal?: AbortSignal): Promise<Response> {
    for (let attempt = 0; ; attempt += 1) {
      const response = await this.send(url, await this.token(), signal);
      if (response.ok) return response;
      if (response.status === 401 && attempt === 0) {
        // It may have run out on the way, or the server has a new secret.
        this.ticket = undefined;
        continue;
      }
      throw new ReportError(await explain(response));
    }
  }

  private async send(url: URL, token: string, signal?: AbortSignal): Promise<Response> {
    try {
      return await this.get(url, { headers: { authorization: `Bearer ${token}` }, credentials: "omit", cache: "no-store", ...(signal === undefined ? {} : { signal }) });
    } catch (error) {
      if (signal?.aborted === true) throw error;
      throw new ReportError("The reports’ server cannot be reached.", { cause: error });
    }
  }

  private async token(): Promise<string> {
    const known = await this.ticket?.catch(() => undefined);
    if (known !== undefined && known.expiresAt - TICKET_MARGIN > this.nowMs() / 1000) return known.token;
    // Reports that begin together share one.
    if (known !== undefined || this.ticket === undefined) this.ticket = this.newTicket();
    const asked = this.ticket;
    try {
      return (await asked).token;
    } catch (error) {
      if (this.ticket === asked) this.ticket = undefined;
      throw error;
    }
  }

  private async newTicket(): Promise<{ token: string; expiresAt: number }> {
    let data: unknown;
    try {
      ({ data } = await this.rpc("status.ticket", {}));
    } catch (error) {
      const { code, message } = error as { code?: number; message?: string };
      if (code === 103) throw new ReportError("You may not see reports.", { cause: error });
      if (code === 104) throw new ReportError("This server gives no reports.", { cause: error });
      throw new ReportError(`The server gave no ticket for the reports: ${message ?? "unknown error"}.`, { cause: error });
    }
    const token = isObject(data) ? text(data["token"]) : "";
    const expiresAt = isObject(data) ? number(data["expires_at"]) : undefined;
    if (token === "" || expiresAt === undefined) throw new ReportError("The server gave no ticket for the reports.");
    return { token, expiresAt };
  }
}

async function explain(response: Response): Promise<string> {
  const body: unknown = await response.json().catch(() => undefined);
  const error = isObject(body) && isObject(body["error"]) ? body["error"] : {};
  const said = text(error["message"]);
  switch (response.status) {
    case 400:
      return `The server does not take this: ${said || "bad request"}.`;
    case 401:
    case 403:
      return "The server does not accept this viewer’s ticket: you may not see reports.";
    case 404:
      return "This server gives no reports.";
    case 503:
      return "The record cannot be read just now. Try again in a few seconds.";
    default:
      return `The reports’ server failed (HTTP ${response.status})${said === "" ? "" : `: ${said}`}.`;
  }
}

/** The next page of RFC 8288, if it is where this one was: the ticket is shown to nobody else. */
export function nextLink(header: string | null, page: URL): URL | undefined {
  const target = /<([^>]*)>\s*;[^,]*\brel="?next"?/.exec(header ?? "")?.[1];
  if (target === undefined) return undefined;
  const next = new URL(target, page);
  return next.origin === page.origin ? next : undefined;
}

/** CSV without its first record, whose fields may hold line ends in quotes. */
export function withoutHeader(csv: string): string {
  let quoted = false;
  for (let index = 0; index < csv.length; index += 1) {
    if (csv[index] === '"') quoted = !quoted;
    else if (csv[index] === "\n" && !quoted) return csv.slice(index + 1);
  }
  return "";
}

function countLines(csv: string): number {
  return csv.split("\n").length - 1;
}

function parseInterval(row: Json): Interval | undefined {
  const [from, severity] = [number(row["from"]), number(row["severity"])];
  if (from === undefined || severity === undefined || !isSeverity(severity)) return undefined;
  const flag = (name: string) => row[name] === true;
  return {
    event_id: text(row["event_id"]),
    name: text(row["name"]),
    from,
    to: number(row["to"]),
    severity,
    maintenance: flag("maintenance"),
    suppressed: flag("suppressed"),
    unmonitored: flag("unmonitored"),
  };
}

function parseAvailability(row: Json): AvailabilityRow | undefined {
  const [down, availability] = [number(row["down_seconds"]), number(row["availability"])];
  if (down === undefined || availability === undefined) return undefined;
  return { key: text(row["key"]), down_seconds: down, availability };
}

function parseResponse(row: Json): ResponseRow | undefined {
  const problems = number(row["problems"]);
  if (problems === undefined) return undefined;
  const durations = (value: unknown): Durations => {
    const raw = isObject(value) ? value : {};
    return { count: number(raw["count"]) ?? 0, median_seconds: number(raw["median_seconds"]), p90_seconds: number(raw["p90_seconds"]) };
  };
  return { key: text(row["key"]), problems, acknowledge: durations(row["acknowledge"]), recover: durations(row["recover"]) };
}
