// A small stand-in for Signalbox, for working on the page only: the built board (or Vite's dev server with --vite), its
// config.json, and as much of the Centrifuge protocol as the board uses. It proves nothing about the real server.
//
//   node tests/fake-server.mjs [--port 5199] [--problems N] [--live SECONDS] [--no-poller] [--no-act] [--vite]
import { createHmac } from "node:crypto";
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { WebSocketServer } from "ws";
import { makeIntervals, makeProblem, makeReport, makeState } from "./fake-data.mjs";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json" };
const PAGE_BYTES = 100_000;
const REPORT_ROWS = 100;
export const WEBHOOK_SECRET = "example-shared-secret";

/**
 * Starts the server; `problems` undefined gives 40 hand-written ones. `poller`: something asks Zabbix each 10 s, and its word comes each 30 s;
 * `act`: viewers may acknowledge; `reports`: config.json names an api_url.
 */
export async function startFakeServer({ port = 0, problems, vite = false, title = "Operations", poller = true, act = true, reports = true } = {}) {
  const state = makeState(problems);
  const open = new Map(state.problems.map((problem) => [problem.event_id, problem]));
  const epoch = "fake";
  const history = [];
  const sockets = new Set();
  let offset = 0;
  const fake = { refuse: undefined, mute: false, failSnapshots: 0, state, open, slowSnapshots: 0, reportStatus: undefined, reportDelay: 0, tickets: 0, act: "confirm" };
  const hosts = new Map(state.hosts.map((host) => [host.id, host]));
  const healthy = () => ({ at_ms: Date.now(), good_at_ms: Date.now(), server_seen_at: Math.floor(Date.now() / 1000) - 2, ahead_ms: 0, version: "7.0", problems: open.size });
  let zabbix = poller ? healthy() : undefined;

  const push = (data, kept = true) => {
    const publication = { data };
    if (kept) {
      offset += 1;
      publication.offset = offset;
      history.push(publication);
      if (history.length > 300) history.shift();
    }
    for (const socket of sockets) if (socket.subscribed) socket.reply({ push: { channel: "status:all", pub: publication } });
  };
  const publishAll = (problems, cause = "problem") => {
    for (const problem of problems) {
      if (problem.state === "open") open.set(problem.event_id, problem);
      else open.delete(problem.event_id);
    }
    push({ changes: problems.map((problem, index) => ({ problem, cause: { id: `c${offset}-${index}`, kind: cause }, accepted_at_ms: Date.now() })) });
  };
  const publish = (problem, cause) => publishAll([problem], cause);
  const publishHost = (host) => {
    hosts.set(host.id, host);
    push({ host, at_ms: Date.now() });
  };
  /** Word of the poller; without a place in the history. `undefined` says what a good poll finds. */
  const publishZabbix = (seen = healthy()) => {
    zabbix = seen;
    push({ zabbix }, false);
  };

  const performAct = ({ event_id: id, acknowledge, unacknowledge, message, severity, close }) => {
    const known = open.get(id);
    if (known === undefined) return { error: { code: 4404, message: "there is no such open problem" } };
    if (fake.act === "error") return { error: { code: 4503, message: "Zabbix cannot be reached" } };
    if (fake.act === "refuse") setTimeout(() => push({ refused: { event_id: id, user: "viewer", reason: "Cannot close problem: trigger does not allow manual closing." } }), 400);
    if (fake.act === "confirm") {
      const said = [acknowledge && "acknowledged", unacknowledge && "unacknowledged", message && "commented", severity !== undefined && "changed severity", close && "closed"].filter(Boolean).join(", ");
      const changed = { ...known, version: known.version + 1, last_update: { at: Math.floor(Date.now() / 1000), action: said, message, user: "Viewer" } };
      if (acknowledge) changed.acknowledged = true;
      if (unacknowledge) changed.acknowledged = false;
      if (severity !== undefined) changed.severity = severity;
      if (close) Object.assign(changed, { state: "resolved", resolved_at: Math.floor(Date.now() / 1000) });
      setTimeout(() => publish(changed, "update"), 1500);
    }
    return { rpc: { data: {} } };
  };

  /** The reports, as the query function answers them. */
  const report = (url, headers) => {
    if (fake.reportStatus !== undefined) return { status: fake.reportStatus, body: { error: { code: "database_unavailable", message: "the record cannot be read now; try again" } } };
    if (headers.authorization !== `Bearer ticket-${fake.tickets}`) return { status: 401, body: { error: { code: "unauthorized", message: "no" } } };
    const query = Object.fromEntries(url.searchParams);
    const now = Math.floor(Date.now() / 1000);
    const [from, to] = [Number(query.from ?? now - 2_592_000), Number(query.to ?? now)];
    const limit = Math.min(Number(query.limit ?? REPORT_ROWS), fake.reportRows ?? 500);
    const skip = Number(query.cursor ?? 0);
    const paged = (rows) => ({ rows: rows.slice(skip, skip + limit), ...(skip + limit < rows.length ? { cursor: String(skip + limit) } : {}) });
    if (url.pathname === "/api/status/timeline") {
      const { rows, cursor } = paged(makeIntervals(query.host, now).filter((interval) => interval.from < to && (interval.to ?? to) > from));
      return { status: 200, body: { host: query.host, from, to, intervals: rows, cursor } };
    }
    const { rows, responses } = makeReport(query.by, from, to, query.maintenance === "include", query);
    if (url.pathname === "/api/status/response") return { status: 200, body: { by: query.by, from, to, ...paged(responses) } };
    const page = paged(rows);
    if (query.format !== "csv") return { status: 200, body: { by: query.by, from, to, ...page } };
    const text = [`${query.by === "tag" ? query.tag : query.by},down_seconds,availability`, ...page.rows.map((row) => `${row.key},${row.down_seconds},${row.availability}`), ""].join("\r\n");
    const next = new URLSearchParams({ ...query, cursor: page.cursor ?? "" });
    return { status: 200, csv: text, link: page.cursor === undefined ? undefined : `<?${next}>; rel="next"` };
  };

  const snapshot = ({ cursor } = {}) => {
    const rows = [...open.values()];
    let index = Number(cursor ?? 0);
    const page = { problems: [], hosts: index === 0 ? [...hosts.values()] : [], recent: index === 0 ? state.recent : [], position: { offset, epoch }, now_ms: Date.now() };
    if (cursor === undefined && zabbix !== undefined) page.zabbix = { ...zabbix };
    if (cursor === undefined && act) page.may_act = true;
    for (let bytes = JSON.stringify(page).length; index < rows.length; index += 1) {
      bytes += JSON.stringify(rows[index]).length + 1;
      if (bytes > PAGE_BYTES) break;
      page.problems.push(rows[index]);
    }
    if (index < rows.length) page.cursor = String(index);
    return page;
  };

  const answer = (socket, command) => {
    if (command.connect) return { connect: { client: "fake-client", version: "fake" } };
    if (command.rpc?.method === "status.ticket") {
      fake.tickets += 1;
      return { rpc: { data: { token: `ticket-${fake.tickets}`, expires_at: Math.floor(Date.now() / 1000) + 300 } } };
    }
    if (command.rpc?.method === "status.act") return act ? performAct(command.rpc.data) : { error: { code: 103, message: "permission denied" } };
    if (command.rpc) {
      if (fake.failSnapshots > 0) {
        fake.failSnapshots -= 1;
        return { error: { code: 100, message: "internal server error", temporary: true } };
      }
      return { rpc: { data: snapshot(command.rpc.data) } };
    }
    if (command.history) return { history: { publications: [], offset, epoch } };
    if (command.subscribe) {
      socket.subscribed = true;
      const { recover, offset: since = 0, epoch: known } = command.subscribe;
      const result = { recoverable: true, positioned: true, epoch, offset };
      if (recover) {
        result.was_recovering = true;
        const missed = history.filter((publication) => publication.offset > since);
        if (known === epoch && missed.length === offset - since) Object.assign(result, { recovered: true, offset: since, publications: missed });
      }
      return { subscribe: result };
    }
    return { error: { code: 104, message: "method not found" } };
  };

  /** As much of the webhook as the browser test needs to be tried on this server. */
  const webhook = (headers, text) => {
    const signature = createHmac("sha256", WEBHOOK_SECRET).update(`${headers["x-zabbix-timestamp"]}.${text}`).digest("hex");
    if (headers["x-zabbix-signature"] !== `sha256=${signature}`) return 401;
    const event = JSON.parse(text);
    const known = open.get(event.event_id);
    if (known === undefined && event.kind !== "problem") return 202;
    const problem = {
      ...known, event_id: event.event_id, version: (known?.version ?? 0) + 1, kind: "problem", suppressed: false, groups: [event.trigger_hostgroup_name],
      state: event.event_value === "1" ? "open" : "resolved", name: event.event_name, severity: Number(event.event_nseverity), opdata: event.event_opdata,
      opened_at: Math.floor(Date.parse(`${event.event_date.replaceAll(".", "-")}T${event.event_time}Z`) / 1000), acknowledged: event.event_ack_status === "Yes",
      host: { id: event.host_id, host: event.host_host, name: event.host_name }, tags: event.event_tags, trigger_id: event.trigger_id, url: event.trigger_url,
    };
    if (event.kind === "update") problem.last_update = { at: Math.floor(Date.now() / 1000), action: event.event_update_action, message: event.event_update_message, user: event.user_fullname };
    if (problem.state === "resolved") problem.resolved_at = Math.floor(Date.now() / 1000);
    publish(problem, event.kind);
    return 202;
  };

  const http = createServer((request, response) => {
    const path = new URL(request.url, "http://fake").pathname;
    if (path === "/config.json") {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify({ ws_url: `ws://localhost:${http.address().port}/socket`, title, anonymous: true, ...(reports ? { api_url: `http://localhost:${http.address().port}` } : {}) }));
    } else if (path.startsWith("/api/")) {
      const { status, body, csv, link } = report(new URL(request.url, "http://fake"), request.headers);
      setTimeout(() => response.writeHead(status, { "content-type": csv === undefined ? "application/json" : "text/csv", ...(link === undefined ? {} : { link }) }).end(csv ?? JSON.stringify(body)), fake.reportDelay);
    } else if (path === "/webhook/zabbix") {
      let text = "";
      request.on("data", (chunk) => (text += chunk)).on("end", () => response.writeHead(webhook(request.headers, text)).end());
    } else if (devServer !== undefined) {
      devServer.middlewares(request, response);
    } else {
      const file = join(fileURLToPath(new URL("../dist", import.meta.url)), normalize(path === "/" ? "/index.html" : path));
      if (!existsSync(file)) return response.writeHead(404).end("not found (npm run build first)");
      response.setHeader("content-type", TYPES[extname(file)] ?? "application/octet-stream");
      createReadStream(file).pipe(response);
    }
  });
  let devServer;
  if (vite) {
    const { createServer: createVite } = await import("vite");
    devServer = await createVite({ server: { middlewareMode: true, hmr: { server: http, path: "/hmr" } } });
  }

  const wss = new WebSocketServer({ noServer: true });
  http.on("upgrade", (request, socket, head) => {
    if (!request.url.startsWith("/socket")) return;
    wss.handleUpgrade(request, socket, head, (ws) => wss.emit("connection", ws));
  });
  wss.on("connection", (ws) => {
    const socket = { subscribed: false, ws, reply: (message) => ws.send(JSON.stringify(message)) };
    sockets.add(socket);
    ws.on("close", () => sockets.delete(socket));
    ws.on("message", (frame) => {
      if (fake.mute) return;
      for (const line of String(frame).split("\n")) {
        const command = JSON.parse(line);
        if (command.id === undefined) continue;
        if (fake.refuse !== undefined) {
          socket.reply({ push: { disconnect: fake.refuse } });
          return;
        }
        const reply = { id: command.id, ...answer(socket, command) };
        const wait = command.rpc?.method === "status.snapshot" ? fake.slowSnapshots : 0;
        if (wait > 0) setTimeout(() => socket.reply(reply), wait);
        else socket.reply(reply);
      }
    });
  });

  const polls = poller ? setInterval(() => fake.polls && publishZabbix(), 30_000) : undefined;
  fake.polls = true;
  await new Promise((resolve) => http.listen(port, "localhost", resolve));
  return Object.assign(fake, {
    url: `http://localhost:${http.address().port}/`,
    publish,
    publishAll,
    publishHost,
    publishZabbix,
    /** What the next snapshot says of Zabbix. */
    setZabbix: (seen) => (zabbix = seen),
    healthy,
    drop: () => sockets.forEach(({ ws }) => ws.terminate()),
    /** Forgets the history, so that nobody recovers. */
    forget: () => history.splice(0),
    close: async () => {
      clearInterval(polls);
      sockets.forEach(({ ws }) => ws.terminate());
      await devServer?.close();
      await new Promise((resolve) => http.close(resolve));
    },
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { port: { type: "string" }, problems: { type: "string" }, live: { type: "string" }, "no-poller": { type: "boolean" }, "no-act": { type: "boolean" }, vite: { type: "boolean" } } });
  const fake = await startFakeServer({
    port: Number(values.port ?? 5199),
    problems: values.problems === undefined ? undefined : Number(values.problems),
    vite: values.vite ?? false,
    poller: !values["no-poller"],
    act: !values["no-act"],
  });
  console.log(`${fake.url} (anonymous, ${fake.open.size} problems)`);
  const seconds = Number(values.live ?? 5);
  if (seconds > 0) {
    setInterval(() => {
      const rows = [...fake.open.values()];
      const known = rows[Math.floor(Math.random() * rows.length)];
      const dice = Math.random();
      if (known === undefined || dice < 0.4) fake.publish(makeProblem());
      else if (dice < 0.7) fake.publish({ ...known, version: known.version + 1, acknowledged: true, last_update: { at: Math.floor(Date.now() / 1000), action: "acknowledged", user: "Night shift" } }, "update");
      else fake.publish({ ...known, version: known.version + 1, state: "resolved", resolved_at: Math.floor(Date.now() / 1000) }, "recovery");
    }, seconds * 1000);
  }
}
