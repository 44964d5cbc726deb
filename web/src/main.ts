import { Centrifuge } from "centrifuge";
import { Announcer } from "./announcer";
import { loadConfig, takeToken, type Config } from "./config";
import { backoff, explainRefusal, initialConnection, reduce, ServerClock, tokenExpiry, type ConnectionEvent } from "./connection";
import { byId, element, setAttribute, setText } from "./dom";
import { clockTime, formatDuration, formatLatency, median } from "./duration";
import { favicon } from "./favicon";
import { Feed } from "./feed";
import { atLeast, EVERYTHING, filterToSearch, isEverything, matcher, minimumOf, parseFilter, toggleLevel, type Filter } from "./filter";
import { HostGrid } from "./host-grid";
import { isSuppressed, type Problem, type StatusPublication } from "./problem";
import { LEAVE_MS, MARK_MS, ProblemList, type Item } from "./problem-list";
import { isSeverity, SEVERITIES, severityLetter, severityName, type Level, type Severity } from "./severity";
import { areaPath, describe, openOverTime } from "./sparkline";
import { byUrgency, Store, totals, unevaluable, type Change, type Totals } from "./store";

declare global {
  interface Window {
    /** For the benchmark: event-to-screen milliseconds of the last 500 publications, taken after the frame was painted. */
    signalbox: { latencies: number[] };
  }
}

/** How often the connection is probed, in milliseconds. */
const PROBE_EVERY_MS = 60_000;
const KEPT_LATENCIES = 500;
/** More rows than this at a time come and go without ceremony. */
const MANY = 60;

const store = new Store();
const serverClock = new ServerClock();
const latencies: number[] = [];
window.signalbox = { latencies };

let config: Config = { ws_url: "", title: "Signalbox", anonymous: false };
let connection = initialConnection(Date.now(), navigator.onLine);
let filter: Filter = parseFilter(location.search);
let failure = "";
let loaded = false;
let lastEventMs: number | undefined;
let current: Totals = totals([], 0);
let feed: Feed | undefined;
const marks = new Map<string, { kind: "new" | "changed"; atMs: number }>();
const leaving = new Map<string, { problem: Problem; atMs: number }>();
/** Publications received but not yet painted, by the time they were accepted. */
let unpainted: number[] = [];

const serverNowMs = () => serverClock.at(Date.now());
const serverNow = () => serverNowMs() / 1000;

// ---------------------------------------------------------------------------------------------------------------------
// Drawing: whatever happens marks what must be drawn again; all of it is drawn in one go with the next frame.

const dirty = { state: false, layout: false, connection: false };
let frame: number | undefined;
const painted = new MessageChannel();

function draw(part: keyof typeof dirty): void {
  dirty[part] = true;
  if (document.hidden) {
    // No frames while hidden, but the title and the icon are what a hidden tab is read by.
    hiddenTimer ??= setTimeout(flush, 250);
    return;
  }
  frame ??= requestAnimationFrame(flush);
}
let hiddenTimer: ReturnType<typeof setTimeout> | undefined;

function flush(): void {
  if (frame !== undefined) cancelAnimationFrame(frame);
  if (hiddenTimer !== undefined) clearTimeout(hiddenTimer);
  frame = undefined;
  hiddenTimer = undefined;
  const { state, layout, connection: connectionChanged } = dirty;
  dirty.state = dirty.layout = dirty.connection = false;
  if (state) drawState();
  else if (layout) list.layOut();
  if (state || connectionChanged) drawConnection();
  if (unpainted.length > 0) {
    if (document.hidden) unpainted = [];
    // A message posted within the frame is delivered once it has been painted.
    else painted.port2.postMessage(null);
  }
}

painted.port1.onmessage = () => {
  const now = serverNowMs();
  for (const acceptedMs of unpainted) latencies.push(now - acceptedMs);
  unpainted = [];
  if (latencies.length > KEPT_LATENCIES) latencies.splice(0, latencies.length - KEPT_LATENCIES);
  drawLatency();
};

const list = new ProblemList(byId<HTMLOListElement>("rows"), byId("problem-scroller"), serverNow, () => draw("layout"));
const grid = new HostGrid(
  byId("host-groups"),
  (host) => setFilter({ ...filter, host: filter.host === host ? "" : host }),
  (group) => setFilter({ ...filter, group: filter.group === group ? "" : group }),
);
const announcer = new Announcer((text) => setText(byId("announcer"), `${text} ${current.all} open.`));

interface Card {
  button: HTMLButtonElement;
  count: HTMLElement;
  aside: HTMLElement;
}
const cards = new Map<Level, Card>();
for (const level of [...SEVERITIES, "unknown" as const]) {
  const letter = level === "unknown" ? "?" : severityLetter(level);
  const name = level === "unknown" ? "Unknown" : severityName(level);
  const count = element("strong", { "data-testid": `total-${level}` }, "–");
  const aside = element("small", {});
  const button = element(
    "button",
    { type: "button", class: "card", "data-level": String(level), "aria-pressed": "false" },
    element("span", { class: "card-name" }, element("b", { "aria-hidden": "true" }, letter), name),
    count,
    aside,
  );
  button.addEventListener("click", () => setFilter({ ...filter, levels: toggleLevel(filter.levels, level) }));
  cards.set(level, { button, count, aside });
  byId("cards").append(button);
}

function drawState(): void {
  const now = serverNow();
  const nowMs = Date.now();
  current = totals(store.open.values(), now);
  drawCards();
  drawList(now, nowMs);
  drawGroups();
  const { all, ok } = grid.show(store.hosts.values(), store.open.values(), now, filter);
  setText(byId("hosts-count"), loaded ? `${ok} of ${all} OK` : "");
  drawSparkline(now);
  drawFilter();
}

function drawCards(): void {
  for (const [level, card] of cards) {
    const count = level === "unknown" ? current.unknown : current.open[level];
    const suppressed = level === "unknown" ? 0 : current.suppressed[level];
    setText(card.count, loaded ? String(count) : "–");
    setText(card.aside, suppressed > 0 ? `+ ${suppressed} suppressed` : level === "unknown" ? "not evaluated" : "");
    setAttribute(card.button, "data-zero", count === 0 ? "" : undefined);
    setAttribute(card.button, "aria-pressed", String(filter.levels.includes(level)));
    card.button.title = level === "unknown" ? "Triggers Zabbix cannot evaluate: not counted as problems" : `Show ${severityName(level)} only, or no longer`;
  }
}

function drawList(now: number, nowMs: number): void {
  const matches = matcher(filter, now);
  const unknownTriggers = unevaluable(store.open.values());
  for (const [id, { atMs }] of marks) if (nowMs - atMs >= MARK_MS) marks.delete(id);
  for (const [id, { atMs }] of leaving) if (nowMs - atMs >= LEAVE_MS) leaving.delete(id);
  const shown: Item[] = [];
  let open = 0;
  for (const problem of store.open.values()) {
    if (!matches(problem)) continue;
    open += 1;
    const cannot = problem.trigger_id !== undefined && unknownTriggers.has(problem.trigger_id);
    shown.push({ problem, unevaluable: cannot, mark: marks.get(problem.event_id) });
  }
  for (const [id, { problem, atMs }] of leaving) {
    if (!store.open.has(id) && matches(problem)) shown.push({ problem, unevaluable: false, mark: { kind: "resolved", atMs } });
  }
  shown.sort((a, b) => byUrgency(a.problem, b.problem));
  list.show(shown);
  const hidden = store.open.size - open;
  setText(byId("problems-count"), loaded ? (hidden > 0 ? `${open} shown, ${hidden} hidden by the filter` : `${open} open`) : "");
  setAttribute(byId("problems-count"), "data-hidden", hidden > 0 ? "" : undefined);
  drawEmpty(shown.length === 0, hidden);
}

function drawEmpty(isEmpty: boolean, hidden: number): void {
  const empty = byId("empty");
  empty.hidden = !isEmpty;
  document.body.dataset["empty"] = String(isEmpty);
  if (!isEmpty) return;
  let kind = "calm";
  let [title, hint] = ["No open problems", "All hosts are well. New problems appear here by themselves."];
  if (failure !== "") [kind, title, hint] = ["error", "The board cannot start yet", failure];
  else if (connection.refusal !== undefined && !loaded) [kind, title, hint] = ["error", connection.refusal.title, connection.refusal.advice];
  else if (!loaded) [kind, title, hint] = ["loading", "Loading the current state", connection.reason === "" ? "Connecting …" : `${connection.reason} …`];
  else if (hidden > 0) [kind, title, hint] = ["filtered", "Nothing matches the filter", `${hidden} open ${hidden === 1 ? "entry is" : "entries are"} hidden by it.`];
  else if (current.unknown > 0) hint = "Some triggers cannot be evaluated.";
  const signature = `${kind}|${title}|${hint}`;
  if (empty.dataset["signature"] === signature) return;
  empty.dataset["signature"] = signature;
  empty.dataset["kind"] = kind;
  const again = element("button", { type: "button", class: "tool primary" }, kind === "filtered" ? "Show all" : "Try again");
  again.addEventListener("click", () => (kind === "filtered" ? setFilter({ ...EVERYTHING }) : location.reload()));
  const sign = { calm: "✓", error: "!", loading: "…", filtered: "0" }[kind] ?? "";
  empty.replaceChildren(
    element("span", { class: "sign", "aria-hidden": "true" }, sign),
    element("p", { class: "empty-title" }, title),
    element("p", {}, hint),
    ...(kind === "error" || kind === "filtered" ? [again] : []),
  );
}

function drawGroups(): void {
  const select = byId<HTMLSelectElement>("group");
  const names = new Set<string>();
  for (const host of store.hosts.values()) for (const group of host.groups) names.add(group);
  for (const problem of store.open.values()) for (const group of problem.groups) names.add(group);
  if (filter.group !== "") names.add(filter.group);
  const sorted = [...names].sort((a, b) => a.localeCompare(b));
  const signature = sorted.join("\n");
  if (select.dataset["signature"] !== signature) {
    select.dataset["signature"] = signature;
    select.replaceChildren(element("option", { value: "" }, "All groups"), ...sorted.map((name) => element("option", { value: name }, name)));
  }
  if (select.value !== filter.group) select.value = filter.group;
}

function drawSparkline(now: number): void {
  const series = openOverTime(store.open.values(), store.recent, now);
  const top = Math.max(4, ...series.all) * 1.1;
  setAttribute(byId("spark-all"), "d", areaPath(series.all, top, 300, 60));
  setAttribute(byId("spark-severe"), "d", areaPath(series.severe, top, 300, 60));
  const clock = (seconds: number) => clockTime(seconds * 1000).slice(0, 5);
  setAttribute(byId("spark"), "aria-label", loaded ? describe(series, clock) : "No data yet");
  setText(byId("spark-now"), loaded ? `${series.all.at(-1) ?? 0} now, most ${Math.max(...series.all)}` : "");
  setText(byId("spark-legend"), loaded ? `High and Disaster: ${series.severe.at(-1) ?? 0} now` : "");
}

function drawFilter(): void {
  const text = byId<HTMLInputElement>("text");
  if (text.value !== filter.text) text.value = filter.text;
  const minimum = byId<HTMLSelectElement>("minimum");
  const least = minimumOf(filter.levels);
  minimum.value = filter.levels.length === 0 ? "" : least === undefined ? "some" : String(least);
  (minimum.querySelector("option[value=some]") as HTMLOptionElement).hidden = minimum.value !== "some";
  byId<HTMLInputElement>("show-acknowledged").checked = filter.showAcknowledged;
  byId<HTMLInputElement>("show-suppressed").checked = filter.showSuppressed;
  const chip = byId("host-chip");
  chip.hidden = filter.host === "";
  setText(chip, `Host ${filter.host}  ✕`);
  setAttribute(chip, "aria-label", `Host ${filter.host}: show all hosts again`);
  byId("clear").hidden = isEverything(filter);
}

function drawConnection(): void {
  const { phase, since, reason, refusal, wasLive, network } = connection;
  const state = byId("state");
  setAttribute(state, "data-state", phase);
  const at = since === undefined ? "" : clockTime(since);
  setText(
    byId("state-text"),
    { live: "Live", connecting: "Connecting", offline: `Not live since ${at}`, refused: wasLive ? `Not live since ${at}` : "Refused" }[phase],
  );
  document.body.dataset["phase"] = phase;
  document.body.dataset["stale"] = String(phase !== "live" && (wasLive || phase === "offline"));
  const banner = byId("banner");
  const loud = failure !== "" || phase === "offline" || phase === "refused";
  if (banner.hidden === loud) banner.hidden = !loud;
  if (loud) {
    let text = failure;
    // The reason changes with each try: it is beside the alert, not in it, or a screen reader would say all of it each time.
    let why = "";
    if (failure === "" && refusal !== undefined) text = `${refusal.title}. ${refusal.advice}`;
    else if (failure === "") {
      const old = wasLive ? "What you see may be out of date." : "Nothing could be loaded yet.";
      text = `NOT LIVE since ${at}. ${old} ${network ? "Reconnecting." : "The browser has no network."}`;
      if (network && reason !== "") why = `(${reason})`;
    }
    setText(byId("banner-text"), text);
    setText(byId("banner-why"), why);
  }
  drawTitle();
  if (!loaded) drawEmpty(list.length === 0, 0);
}

let icon = "";
function drawTitle(): void {
  const counts = SEVERITIES.filter((severity) => severity >= 2 && current.open[severity] > 0)
    .map((severity) => `${current.open[severity]}${severityLetter(severity)}`)
    .join(" ");
  const live = connection.phase === "live";
  const status = !loaded ? "" : current.all === 0 ? "OK · " : `${counts || current.all} · `;
  const title = `${live || !loaded ? "" : "NOT LIVE · "}${status}${config.title}`;
  if (document.title !== title) document.title = title;
  const wanted = favicon(current.worst, live || !loaded);
  if (wanted !== icon) {
    icon = wanted;
    byId("favicon").setAttribute("href", wanted);
  }
}

function drawLatency(): void {
  const last = latencies.at(-1);
  const half = median(latencies);
  if (last === undefined || half === undefined) return;
  setText(byId("latency"), `${formatLatency(last)} · p50 ${formatLatency(half)}`);
  const known = Number.isFinite(serverClock.uncertainty) ? `; the clocks are compared to within ${Math.ceil(serverClock.uncertainty)} ms` : "";
  byId("latency-box").title = `From the webhook accepting the event to the frame on this screen: the last one, and the median of the last ${latencies.length}${known}`;
}

let nextSuppressionEnd = Number.POSITIVE_INFINITY;
let drawnMinute = 0;
function tick(): void {
  const now = serverNow();
  setText(byId("clock"), clockTime(Date.now()));
  setText(byId("last-event"), lastEventMs === undefined ? "–" : `${formatDuration((serverNowMs() - lastEventMs) / 1000)} ago`);
  list.tick();
  // A suppression ends by itself, without a message; and the sparkline moves on.
  if (now >= nextSuppressionEnd || Math.floor(now / 30) !== drawnMinute) {
    drawnMinute = Math.floor(now / 30);
    nextSuppressionEnd = Number.POSITIVE_INFINITY;
    for (const problem of store.open.values()) {
      if (problem.suppressed_until !== undefined && isSuppressed(problem, now)) nextSuppressionEnd = Math.min(nextSuppressionEnd, problem.suppressed_until);
    }
    store.forget(serverNowMs());
    draw("state");
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// What comes in.

function show(changes: readonly Change[]): void {
  const atMs = Date.now();
  const quiet = changes.length > MANY;
  for (const change of changes) {
    const { kind, problem } = change;
    announcer.add(change);
    if (kind === "resolved") {
      marks.delete(problem.event_id);
      if (!quiet) leaving.set(problem.event_id, { problem, atMs });
    } else {
      leaving.delete(problem.event_id);
      if (!quiet) marks.set(problem.event_id, { kind, atMs });
      if (problem.suppressed_until !== undefined) nextSuppressionEnd = Math.min(nextSuppressionEnd, problem.suppressed_until);
    }
  }
  if (!quiet && changes.length > 0) {
    setTimeout(() => draw("state"), LEAVE_MS + 20);
    setTimeout(() => draw("state"), MARK_MS + 20);
  }
  draw("state");
}

function receive({ problem, accepted_at_ms }: StatusPublication, late: boolean): void {
  const change = store.applyPublication(problem, serverNowMs());
  lastEventMs = Math.max(lastEventMs ?? 0, Number.isFinite(accepted_at_ms) ? accepted_at_ms : serverNowMs());
  if (change === undefined) return;
  if (!late && Number.isFinite(accepted_at_ms)) unpainted.push(accepted_at_ms);
  show([change]);
}

function happen(event: ConnectionEvent): void {
  connection = reduce(connection, event);
  draw("connection");
}

function start(token: string): void {
  const client = new Centrifuge(config.ws_url, { token, name: "board", maxReconnectDelay: 10_000 });
  const credentials = { hasToken: token !== "", expiresAt: tokenExpiry(token), anonymous: config.anonymous };
  feed = new Feed(
    client,
    {
      beginSnapshot: () => store.beginSnapshot(),
      snapshot: (snapshot, mark) => {
        const changes = store.applySnapshot(snapshot, mark, serverNowMs());
        for (const { opened_at, last_update } of snapshot.problems) lastEventMs = Math.max(lastEventMs ?? 0, opened_at * 1000, (last_update?.at ?? 0) * 1000);
        for (const { resolved_at } of snapshot.recent) lastEventMs = Math.max(lastEventMs ?? 0, resolved_at * 1000);
        // The first one is not news.
        if (loaded) show(changes);
        loaded = true;
        nextSuppressionEnd = 0;
        tick();
        draw("state");
      },
      publication: receive,
      live: () => happen({ type: "live" }),
      progress: (reason) => happen({ type: "progress", reason }),
      lost: (reason) => happen({ type: "lost", reason, at: Date.now() }),
      refused: (code, reason) => happen({ type: "refused", refusal: explainRefusal(code, reason, credentials, Date.now()), at: Date.now() }),
    },
    serverClock,
  );
  feed.start();
  // Several minutes of silence are normal, so that a dead connection can only be told by asking.
  setInterval(() => {
    if (connection.phase === "live") void feed?.verify();
  }, PROBE_EVERY_MS);
}

// ---------------------------------------------------------------------------------------------------------------------
// What people do.

function setFilter(next: Filter, remember: "push" | "replace" = "push"): void {
  const before = filterToSearch(filter);
  filter = next;
  if (filterToSearch(next) !== before) {
    const url = location.pathname + filterToSearch(next, location.search);
    if (remember === "push") history.pushState(null, "", url);
    else history.replaceState(null, "", url);
  }
  draw("state");
}

/** From the filter into the list, as filtered: what was typed last may not be drawn yet. */
function enterList(): void {
  flush();
  list.focus(0);
}

function listen(): void {
  const text = byId<HTMLInputElement>("text");
  let typing = false;
  text.addEventListener("input", () => {
    // One step back undoes the whole word, not its last letter.
    setFilter({ ...filter, text: text.value }, typing ? "replace" : "push");
    typing = true;
  });
  text.addEventListener("blur", () => (typing = false));
  byId("filters").addEventListener("submit", (event) => {
    event.preventDefault();
    enterList();
  });
  const group = byId<HTMLSelectElement>("group");
  group.addEventListener("change", () => setFilter({ ...filter, group: group.value }));
  const minimum = byId<HTMLSelectElement>("minimum");
  minimum.append(
    element("option", { value: "" }, "All severities"),
    ...SEVERITIES.filter((severity) => severity > 0).map((severity) =>
      element("option", { value: String(severity) }, severity === 5 ? "Disaster only" : `${severityName(severity)} and above`),
    ),
    element("option", { value: "0" }, "All but unknown"),
    element("option", { value: "some", hidden: "" }, "Chosen severities"),
  );
  minimum.addEventListener("change", () => {
    const value = Number(minimum.value);
    setFilter({ ...filter, levels: minimum.value !== "" && isSeverity(value) ? atLeast(value as Severity) : [] });
  });
  const acknowledged = byId<HTMLInputElement>("show-acknowledged");
  acknowledged.addEventListener("change", () => setFilter({ ...filter, showAcknowledged: acknowledged.checked }));
  const suppressed = byId<HTMLInputElement>("show-suppressed");
  suppressed.addEventListener("change", () => setFilter({ ...filter, showSuppressed: suppressed.checked }));
  byId("host-chip").addEventListener("click", () => setFilter({ ...filter, host: "" }));
  byId("clear").addEventListener("click", () => setFilter({ ...EVERYTHING }));
  for (const button of document.querySelectorAll<HTMLButtonElement>("[data-show]")) {
    button.addEventListener("click", () => {
      document.body.dataset["pane"] = button.dataset["show"];
      for (const other of document.querySelectorAll("[data-show]")) setAttribute(other, "aria-pressed", String(other === button));
      draw("layout");
    });
  }
  window.addEventListener("popstate", () => {
    filter = parseFilter(location.search);
    draw("state");
  });
  window.addEventListener("hashchange", () => {
    // A new link opened in the same tab.
    if (location.hash.includes("token=")) location.reload();
  });
  window.addEventListener("offline", () => happen({ type: "network", online: false, at: Date.now() }));
  // centrifuge-js itself drops the socket on `offline` and connects again on `online`.
  window.addEventListener("online", () => happen({ type: "network", online: true, at: Date.now() }));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    if (frame !== undefined) cancelAnimationFrame(frame);
    frame = undefined;
    tick();
    draw("state");
    void feed?.verify();
  });
  const help = byId<HTMLDialogElement>("help");
  byId("help-button").addEventListener("click", () => help.showModal());
  document.addEventListener("keydown", (event) => onKey(event, text, help));
  listenTheme();
}

function onKey(event: KeyboardEvent, text: HTMLInputElement, help: HTMLDialogElement): void {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  const target = event.target as Element;
  const typing = target instanceof HTMLInputElement && target.type === "search";
  if (event.key === "Escape") {
    if (typing) {
      if (text.value !== "") setFilter({ ...filter, text: "" });
      else text.blur();
    } else list.collapse();
    return;
  }
  if (typing) {
    if (event.key === "ArrowDown") {
      event.preventDefault();
      enterList();
    }
    return;
  }
  if (target instanceof HTMLSelectElement) return;
  const inList = target.closest(".rows") !== null;
  const handled = {
    "/": () => {
      text.focus();
      text.select();
    },
    "?": () => help.showModal(),
    j: () => list.move(1),
    k: () => list.move(-1),
    ...(inList || target === document.body
      ? {
          ArrowDown: () => list.move(1),
          ArrowUp: () => list.move(-1),
        }
      : {}),
    ...(inList ? { Home: () => list.focus(0), End: () => list.focus(list.length - 1) } : {}),
  }[event.key];
  if (handled === undefined) return;
  event.preventDefault();
  handled();
}

function listenTheme(): void {
  const themes = ["auto", "light", "dark"] as const;
  const button = byId("theme");
  const apply = (theme: string) => {
    if (theme === "auto") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = theme;
    setText(button, `Theme: ${theme}`);
  };
  let theme: string = localStorage.getItem("signalbox.theme") ?? "auto";
  apply(theme);
  button.addEventListener("click", () => {
    theme = themes[(themes.findIndex((known) => known === theme) + 1) % themes.length] ?? "auto";
    localStorage.setItem("signalbox.theme", theme);
    apply(theme);
  });
}

async function main(): Promise<void> {
  const token = takeToken();
  listen();
  draw("state");
  tick();
  setInterval(tick, 1000);
  // A wall screen may be up before its network is: keep trying.
  for (let attempt = 0; ; attempt += 1) {
    try {
      config = await loadConfig();
      break;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      failure = `The board cannot read its configuration: ${why}. It keeps trying; if it goes on, tell the operator of this board.`;
      happen({ type: "lost", reason: failure, at: Date.now() });
      await new Promise((resolve) => setTimeout(resolve, backoff(attempt + 1)));
    }
  }
  failure = "";
  draw("state");
  setText(byId("title"), config.title);
  start(token);
}

void main();
