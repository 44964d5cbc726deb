import { Centrifuge } from "centrifuge";
import { ActDialog } from "./act-dialog";
import { Acts, type Act } from "./acts";
import { Announcer } from "./announcer";
import { AvailabilityReport } from "./availability";
import { loadConfig, takeToken, type Config } from "./config";
import { backoff, explainRefusal, initialConnection, reduce, ServerClock, tokenExpiry, type ConnectionEvent } from "./connection";
import { byId, element, setAttribute, setText } from "./dom";
import { clockTime, formatDuration, formatLatency, median } from "./duration";
import { favicon } from "./favicon";
import { Feed } from "./feed";
import { atLeast, EVERYTHING, filterToSearch, isEverything, matcher, minimumOf, parseFilter, toggleLevel, type Filter } from "./filter";
import { countByHost, describeHosts, HostGrid, type HostCount, type HostSum } from "./host-grid";
import { HostPanel } from "./host-panel";
import { isSuppressed, type Problem, type ProblemChange, type StatusPublication } from "./problem";
import { LEAVE_MS, MARK_MS, ProblemList } from "./problem-list";
import { Reports } from "./reports";
import { isSeverity, SEVERITIES, severityLetter, severityName, type Level, type Severity } from "./severity";
import { areaPath, describe, openOverTime } from "./sparkline";
import { place, Store, totals, unevaluable, type Change, type Totals } from "./store";
import { Timeline } from "./timeline";
import { parseView, searchOfFragment, viewToSearch, type View } from "./view";
import { assess, type Health } from "./zabbix";

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
/** Ticks come each second, in a hidden tab each minute; a longer gap means that the machine slept. */
const SLEPT_MS = 75_000;

const store = new Store();
const serverClock = new ServerClock();
const latencies: number[] = [];
window.signalbox = { latencies };

let config: Config = { ws_url: "", title: "Signalbox", anonymous: false, api_url: undefined };
let connection = initialConnection(Date.now(), navigator.onLine);
let filter: Filter = parseFilter(location.search);
let view: View = parseView(location.search);
let failure = "";
let loaded = false;
let lastEventMs: number | undefined;
let current: Totals = totals([], 0);
let feed: Feed | undefined;
let rpc: ((method: string, data: object) => Promise<{ data: unknown }>) | undefined;
let timeline: Timeline | undefined;
let availability: AvailabilityReport | undefined;
/** How much of the first snapshot is there, in words. */
let loading = "";
/** The server's time since when word of the poller would have been heard; see `assess`. */
let heardSince: number | undefined;
let snapshotSinceLost = false;
let health: Health = assess(undefined, 0, undefined, clockTime);
const acts = new Acts();
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
/** With thousands of problems, drawing takes a frame: so many times as long is left to scrolling and typing before it is done again. */
const REST = 3;
/** But not longer, in milliseconds: news is news. */
const MAX_REST_MS = 250;
/** The state is not drawn before this; `performance.now()`. */
let stateFrom = 0;
let stateTimer: ReturnType<typeof setTimeout> | undefined;

function drawNow(): void {
  stateFrom = 0;
  flush();
}

function flush(): void {
  if (frame !== undefined) cancelAnimationFrame(frame);
  if (hiddenTimer !== undefined) clearTimeout(hiddenTimer);
  frame = undefined;
  hiddenTimer = undefined;
  const { layout, connection: connectionChanged } = dirty;
  const begun = performance.now();
  const state = dirty.state && begun >= stateFrom;
  if (dirty.state && !state) {
    stateTimer ??= setTimeout(() => {
      // A timer may come a little early: then it is set again.
      stateTimer = undefined;
      draw("state");
    }, stateFrom - begun);
  } else dirty.state = false;
  dirty.layout = dirty.connection = false;
  if (state) {
    if (stateTimer !== undefined) clearTimeout(stateTimer);
    stateTimer = undefined;
    drawState();
    stateFrom = performance.now() + Math.min(MAX_REST_MS, REST * (performance.now() - begun));
  } else if (layout) list.layOut();
  if (state || connectionChanged) drawConnection();
  if (unpainted.length > 0 && !dirty.state) {
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

const list = new ProblemList(byId<HTMLOListElement>("rows"), byId("problem-scroller"), serverNow, () => draw("layout"), openAct);
const grid = new HostGrid(
  byId("host-groups"),
  (host) => {
    setFilter({ ...filter, host: filter.host === host ? "" : host });
    revealSubject();
  },
  (group) => {
    setFilter({ ...filter, group: filter.group === group ? "" : group });
    revealSubject();
  },
);
const panel = new HostPanel(byId("subject"), {
  all: () => {
    setFilter({ ...filter, host: "", group: "" });
    byId("problems").focus();
  },
  group: (group) => setFilter({ ...filter, host: "", group }),
  timeline: () => setView({ ...view, timeline: view.timeline === undefined ? "24h" : undefined }),
  report: () => setView({ ...view, page: "availability" }),
});
const actDialog = new ActDialog((act, problem) => void sendAct(act, problem));
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
  current = totals(store.ordered, now);
  drawCards();
  drawList(now, nowMs);
  drawGroups();
  const counts = countByHost(store.ordered, now);
  const sum = grid.show(store.hosts.values(), counts, filter);
  setText(byId("hosts-count"), loaded ? `${describeHosts(sum)}${isCalm() ? "" : ", as last known"}` : "");
  drawPage(sum, counts);
  sparklineIsOld = true;
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
  const unknownTriggers = unevaluable(store.ordered);
  for (const [id, { atMs }] of marks) if (nowMs - atMs >= MARK_MS) marks.delete(id);
  for (const [id, { atMs }] of leaving) if (nowMs - atMs >= LEAVE_MS) leaving.delete(id);
  // A copy: the list compares what it shows with what comes next.
  const shown = isEverything(filter) ? [...store.ordered] : store.ordered.filter(matches);
  const open = shown.length;
  for (const [id, { problem }] of leaving) if (!store.open.has(id) && matches(problem)) shown.splice(place(shown, problem), 0, problem);
  list.show(shown, (problem) => {
    const { event_id: id, trigger_id: trigger, kind } = problem;
    const gone = store.open.has(id) ? undefined : leaving.get(id);
    if (gone !== undefined) return { problem, unevaluable: false, mark: { kind: "resolved", atMs: gone.atMs }, act: undefined, mayAct: false };
    return { problem, unevaluable: trigger !== undefined && unknownTriggers.has(trigger), mark: marks.get(id), act: acts.statusOf(id), mayAct: store.mayAct && kind === "problem" };
  });
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
  if (loaded && connection.phase === "connecting") [kind, title, hint] = ["loading", "Loading the current state", "Subscribing …"];
  else if (loaded && !isCalm()) {
    kind = "unsure";
    title = "No problems are known here";
    hint =
      connection.phase !== "live"
        ? "The board is not connected: there may be problems that it does not know of."
        : health.level === "bad"
          ? "Zabbix is not being heard: there may be problems that nobody has told of."
          : "Waiting for word of Zabbix.";
  }
  if (failure !== "") [kind, title, hint] = ["error", "The board cannot start yet", failure];
  else if (connection.refusal !== undefined && !loaded) [kind, title, hint] = ["error", connection.refusal.title, connection.refusal.advice];
  else if (!loaded) [kind, title, hint] = ["loading", "Loading the current state", loading !== "" ? loading : connection.reason === "" ? "Connecting …" : `${connection.reason} …`];
  else if (hidden > 0) [kind, title, hint] = ["filtered", "Nothing matches the filter", `${hidden} open ${hidden === 1 ? "entry is" : "entries are"} hidden by it.`];
  else if (kind === "calm" && current.unknown > 0) hint = "Some triggers cannot be evaluated.";
  const signature = `${kind}|${title}|${hint}`;
  if (empty.dataset["signature"] === signature) return;
  empty.dataset["signature"] = signature;
  empty.dataset["kind"] = kind;
  const again = element("button", { type: "button", class: "tool primary" }, kind === "filtered" ? "Show all" : "Try again");
  again.addEventListener("click", () => (kind === "filtered" ? setFilter({ ...EVERYTHING }) : location.reload()));
  const sign = { calm: "✓", unsure: "?", error: "!", loading: "…", filtered: "0" }[kind] ?? "";
  empty.replaceChildren(
    element("span", { class: "sign", "aria-hidden": "true" }, sign),
    element("p", { class: "empty-title" }, title),
    element("p", {}, hint),
    ...(kind === "error" || kind === "filtered" ? [again] : []),
  );
}

/** Whether silence means that all is well. */
function isCalm(): boolean {
  return connection.phase === "live" && (health.level === "none" || health.level === "good");
}

function drawPage(sum: HostSum, counts: Map<string, HostCount>): void {
  const reporting = availability !== undefined && view.page === "availability";
  document.body.dataset["page"] = reporting ? "availability" : "board";
  setAttribute(byId("to-availability"), "aria-pressed", String(reporting));
  byId("to-availability").hidden = availability === undefined;
  if (reporting) availability?.show(view, filter);
  else availability?.close();
  const past = timeline !== undefined && view.timeline !== undefined && filter.host !== "" && !reporting ? timeline : undefined;
  if (past === undefined) timeline?.close();
  if (reporting || (filter.host === "" && filter.group === "")) panel.hide();
  else if (filter.host !== "") {
    const host = hostNamed(filter.host);
    panel.showHost(filter.host, host, host === undefined ? undefined : counts.get(host.id), past?.root, timeline !== undefined);
    if (view.timeline !== undefined) past?.show(filter.host, view.timeline);
  } else {
    const open = store.ordered.filter((problem) => problem.kind === "problem" && problem.groups.includes(filter.group) && !isSuppressed(problem, serverNow())).length;
    panel.showGroup(filter.group, sum, open, availability !== undefined);
  }
}

function hostNamed(name: string) {
  for (const host of store.hosts.values()) if (host.host === name) return host;
  return undefined;
}

const groupOrder = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
function drawGroups(): void {
  const select = byId<HTMLSelectElement>("group");
  const names = new Set(store.groups);
  if (filter.group !== "") names.add(filter.group);
  const sorted = [...names].sort(groupOrder.compare);
  const signature = sorted.join("\n");
  if (select.dataset["signature"] !== signature) {
    select.dataset["signature"] = signature;
    select.replaceChildren(element("option", { value: "" }, "All groups"), ...sorted.map((name) => element("option", { value: name }, name)));
  }
  if (select.value !== filter.group) select.value = filter.group;
}

/** An hour moves slowly: it is drawn once a second at most. */
let sparklineIsOld = false;
function drawSparkline(now: number): void {
  sparklineIsOld = false;
  const series = openOverTime(store.ordered, store.recent, now);
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
  document.body.dataset["stale"] = String((phase !== "live" && (wasLive || phase === "offline")) || health.level === "bad");
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
  if (!loaded || list.length === 0) drawEmpty(list.length === 0, store.open.size);
}

/** How Zabbix is: counts up each second. */
function drawZabbix(): void {
  const before = health;
  health = assess(store.zabbix, serverNowMs(), heardSince, clockTime);
  const { level, shown, spoken, name, freshness, clock } = health;
  const box = byId("zabbix-box");
  box.hidden = level === "none";
  setAttribute(box, "data-level", level);
  setAttribute(document.body, "data-zabbix", level);
  setText(byId("zabbix-name"), name);
  setText(byId("zabbix-fresh"), freshness);
  const banner = byId("zabbix-banner");
  if (banner.hidden !== (level !== "bad")) banner.hidden = level !== "bad";
  // The alert does not count: a screen reader would say it again each second.
  setText(byId("zabbix-alert"), spoken);
  setText(byId("zabbix-text"), shown);
  const clocks = byId("clock-banner");
  if (clocks.hidden !== (clock === "")) clocks.hidden = clock === "";
  setText(byId("clock-text"), clock);
  if (before.level === "bad" && level === "good") notice("Zabbix is heard again.");
  if (before.level !== level) draw("state");
}

/** Says something that is not a change of the board. */
function notice(text: string): void {
  // Put there anew, so that the same words are said again.
  byId("notice").replaceChildren(text);
}

let icon = "";
function drawTitle(): void {
  const counts = SEVERITIES.filter((severity) => severity >= 2 && current.open[severity] > 0)
    .map((severity) => `${current.open[severity]}${severityLetter(severity)}`)
    .join(" ");
  const live = connection.phase === "live";
  const status = !loaded ? "" : current.all > 0 ? `${counts || current.all} · ` : isCalm() ? "OK · " : "";
  const zabbix = health.level === "bad" ? `ZABBIX ${health.word} · ` : "";
  const title = `${live || !loaded ? zabbix : "NOT LIVE · "}${status}${config.title}`;
  if (document.title !== title) document.title = title;
  const wanted = favicon(current.worst, (live && health.level !== "bad") || !loaded);
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
let tickedMs = Date.now();
function tick(): void {
  const now = serverNow();
  // What came in while the machine slept has not been read yet.
  if (Date.now() - tickedMs > SLEPT_MS && heardSince !== undefined) heardSince = serverNowMs();
  tickedMs = Date.now();
  drawZabbix();
  acts.tick(Date.now()).forEach(tellAct);
  setText(byId("clock"), clockTime(Date.now()));
  setText(byId("last-event"), lastEventMs === undefined ? "–" : `${formatDuration((serverNowMs() - lastEventMs) / 1000)} ago`);
  list.tick();
  if (sparklineIsOld) drawSparkline(now);
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

function receive(publication: StatusPublication, late: boolean): void {
  if ("changes" in publication) {
    receiveChanges(publication.changes, late);
  } else if ("host" in publication) {
    if (store.applyHost(publication.host, publication.at_ms)) draw("state");
  } else if ("zabbix" in publication) {
    store.applyZabbix(publication.zabbix);
    drawZabbix();
  } else {
    const { event_id: eventId, reason } = publication.refused;
    if (!acts.refused(eventId, reason, Date.now())) return;
    tellAct(eventId);
  }
}

function receiveChanges(published: readonly ProblemChange[], late: boolean): void {
  const changes: Change[] = [];
  for (const { problem, accepted_at_ms } of published) {
    const change = store.applyPublication(problem, serverNowMs());
    lastEventMs = Math.max(lastEventMs ?? 0, Number.isFinite(accepted_at_ms) ? accepted_at_ms : serverNowMs());
    if (acts.updated(problem.event_id, problem.version)) draw("state");
    if (change === undefined) continue;
    if (!late && Number.isFinite(accepted_at_ms)) unpainted.push(accepted_at_ms);
    changes.push(change);
  }
  if (changes.length > 0) show(changes);
}

function happen(event: ConnectionEvent): void {
  const calm = isCalm();
  connection = reduce(connection, event);
  if (event.type === "live") {
    if (snapshotSinceLost) heardSince = 0;
    else heardSince ??= serverNowMs();
  } else if (connection.phase !== "live") {
    heardSince = undefined;
    if (event.type !== "progress") snapshotSinceLost = false;
  }
  drawZabbix();
  draw(isCalm() === calm ? "connection" : "state");
}

function start(token: string): void {
  const client = new Centrifuge(config.ws_url, { token, name: "board", maxReconnectDelay: 10_000 });
  rpc = (method, data) => client.rpc(method, data);
  startReports(rpc);
  const credentials = { hasToken: token !== "", expiresAt: tokenExpiry(token), anonymous: config.anonymous };
  feed = new Feed(
    client,
    {
      beginSnapshot: () => store.beginSnapshot(),
      snapshot: (snapshot, mark) => {
        const changes = store.applySnapshot(snapshot, mark, serverNowMs());
        snapshotSinceLost = true;
        loading = "";
        for (const problem of snapshot.problems) acts.updated(problem.event_id, problem.version);
        offerActs();
        for (const { opened_at, last_update } of snapshot.problems) lastEventMs = Math.max(lastEventMs ?? 0, opened_at * 1000, (last_update?.at ?? 0) * 1000);
        for (const { resolved_at } of snapshot.recent) lastEventMs = Math.max(lastEventMs ?? 0, resolved_at * 1000);
        // The first one is not news.
        if (loaded) show(changes);
        loaded = true;
        nextSuppressionEnd = 0;
        sparklineIsOld = true;
        tick();
        draw("state");
      },
      publication: receive,
      live: () => happen({ type: "live" }),
      progress: (reason) => happen({ type: "progress", reason }),
      loading: (problems, of) => {
        loading = `${problems.toLocaleString()}${of === undefined ? "" : ` of ${Math.max(of, problems).toLocaleString()}`} problems are here …`;
        draw("connection");
      },
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

function startReports(ask: (method: string, data: object) => Promise<{ data: unknown }>): void {
  if (config.api_url === undefined) return;
  const reports = new Reports(config.api_url, ask, serverNowMs);
  timeline = new Timeline(reports, serverNow, (window) => setView({ ...view, timeline: window }));
  availability = new AvailabilityReport(byId("report"), reports, serverNow, setView, () => setFilter({ ...filter, host: "", group: "" }));
  draw("state");
}

// ---------------------------------------------------------------------------------------------------------------------
// What people do.

function setFilter(next: Filter, remember: "push" | "replace" = "push"): void {
  // A timeline is one host's.
  go(next, next.host === "" ? { ...view, timeline: undefined } : view, remember);
}

function setView(next: View): void {
  go(filter, next, "push");
}

function go(nextFilter: Filter, nextView: View, remember: "push" | "replace"): void {
  const search = viewToSearch(nextView, filterToSearch(nextFilter, location.search));
  const changed = search !== viewToSearch(view, filterToSearch(filter, location.search));
  filter = nextFilter;
  view = nextView;
  if (changed) {
    if (remember === "push") history.pushState(null, "", location.pathname + search);
    else history.replaceState(null, "", location.pathname + search);
  }
  draw("state");
}

/** Reads the address; a fragment like `#host=web-01` becomes part of the query. */
function readAddress(): void {
  const search = searchOfFragment(location.hash, location.search);
  if (search !== undefined) history.replaceState(null, "", location.pathname + search);
  filter = parseFilter(location.search);
  view = parseView(location.search);
  draw("state");
}

/** Who may act is told how; who may not finds no trace of it. */
function offerActs(): void {
  const known = document.getElementById("act-key");
  if (!store.mayAct) known?.remove();
  else if (known === null) {
    byId("keys").append(element("div", { id: "act-key" }, element("dt", {}, element("kbd", {}, "a")), element("dd", {}, "Acknowledge, comment, change the severity, close")));
  }
}

function openAct(eventId: string | undefined): void {
  const problem = eventId === undefined ? undefined : store.open.get(eventId);
  if (problem !== undefined && store.mayAct && problem.kind === "problem") actDialog.open(problem);
}

async function sendAct(act: Act, problem: Problem): Promise<void> {
  const eventId = act.event_id;
  acts.begin(eventId, store.open.get(eventId)?.version ?? problem.version, Date.now());
  draw("state");
  try {
    // centrifuge-js would keep it for a connection to come: by then somebody else may have acted.
    if (rpc === undefined || connection.phase !== "live") throw new Error("the board is not connected.");
    await rpc("status.act", act);
    acts.passed(eventId, Date.now());
  } catch (error) {
    const { code, message } = error as { code?: number; message?: string };
    // Below 100 it is centrifuge-js that speaks: no answer came, but the action may have arrived.
    const reason = code !== undefined && code < 100 ? "there was no answer. Zabbix may have it nevertheless." : `${message ?? "unknown error"}${code === undefined ? "" : ` (${code})`}`;
    acts.failed(eventId, reason, Date.now());
  }
  tellAct(eventId);
}

function tellAct(eventId: string): void {
  const status = acts.statusOf(eventId);
  if (status !== undefined) notice(`${store.open.get(eventId)?.name ?? `Problem ${eventId}`}: ${status.sentence}`);
  draw("state");
}

/** On a phone the grid is long, and the panel of the chosen host above it. */
function revealSubject(): void {
  drawNow();
  const subject = byId("subject");
  if (!subject.hidden && subject.getBoundingClientRect().top < 0) subject.scrollIntoView({ block: "start" });
}

/** From the filter into the list, as filtered: what was typed last may not be drawn yet. */
function enterList(): void {
  drawNow();
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
  byId("to-availability").addEventListener("click", () => setView({ ...view, page: view.page === "availability" ? "board" : "availability" }));
  window.addEventListener("popstate", readAddress);
  window.addEventListener("hashchange", () => {
    // A new link opened in the same tab.
    if (location.hash.includes("token=")) location.reload();
    else readAddress();
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
  if (event.ctrlKey || event.metaKey || event.altKey || help.open || actDialog.isOpen) return;
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
  if (target instanceof HTMLSelectElement || target instanceof HTMLTextAreaElement || (target instanceof HTMLInputElement && target.type !== "checkbox")) return;
  if (document.body.dataset["page"] === "availability" && event.key !== "?") return;
  const inList = target.closest(".rows") !== null;
  const handled = {
    "/": () => {
      text.focus();
      text.select();
    },
    "?": () => help.showModal(),
    ...(store.mayAct ? { a: () => openAct(list.current) } : {}),
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
  readAddress();
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
