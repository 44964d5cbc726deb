import { Centrifuge } from "centrifuge";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ServerClock } from "./connection";
import { Feed, GAP_GRACE_MS, PROBE_TIMEOUT_MS } from "./feed";
import { Store } from "./store";
import { problem } from "./testing";
import type { Problem } from "./problem";

interface Command {
  id?: number;
  connect?: object;
  rpc?: { method: string; data: { cursor?: string } };
  subscribe?: { channel: string; recover?: boolean; offset?: number; epoch?: string };
  history?: { limit?: number };
}

/** A server behind the real centrifuge-js: what it answers can be changed by each test. */
class Server {
  readonly commands: Command[] = [];
  readonly sockets: FakeSocket[] = [];
  offset = 10;
  problems: Problem[] = [problem({})];
  answer: (command: Command) => object | undefined = (command) => this.usual(command);

  usual(command: Command): object {
    if (command.connect) return { connect: { client: "c" } };
    if (command.rpc) return { rpc: { data: { problems: this.problems, hosts: [], recent: [], position: { offset: this.offset, epoch: "e" }, now_ms: Date.now() } } };
    if (command.history) return { history: { publications: [], offset: this.offset, epoch: "e" } };
    if (command.subscribe) {
      const { recover, offset } = command.subscribe;
      return { subscribe: { recoverable: true, positioned: true, epoch: "e", offset: recover ? offset : this.offset, was_recovering: recover, recovered: recover } };
    }
    return { error: { code: 104, message: "method not found" } };
  }

  receive(socket: FakeSocket, frame: string): void {
    for (const line of frame.split("\n")) {
      const command = JSON.parse(line) as Command;
      this.commands.push(command);
      const answer = this.answer(command);
      if (answer !== undefined) socket.say({ id: command.id, ...answer });
    }
  }

  push(body: object): void {
    this.sockets.at(-1)?.say({ push: body });
  }

  publish(published: Problem): void {
    this.offset += 1;
    this.push({ channel: "status:all", pub: { offset: this.offset, data: { changes: [{ problem: published, accepted_at_ms: Date.now() }] } } });
  }

  sent<K extends keyof Command>(name: K): NonNullable<Command[K]>[] {
    return this.commands.flatMap((command) => (command[name] === undefined ? [] : [command[name] as NonNullable<Command[K]>]));
  }
}

let server: Server;

class FakeSocket {
  static readonly OPEN = 1;
  readyState = 0;
  binaryType = "";
  onopen: (() => void) | undefined;
  onmessage: ((event: { data: string }) => void) | undefined;
  onclose: ((event: { code: number; reason: string }) => void) | undefined;
  onerror: (() => void) | undefined;

  constructor() {
    server.sockets.push(this);
    setTimeout(() => {
      this.readyState = 1;
      this.onopen?.();
    }, 1);
  }
  send(frame: string): void {
    server.receive(this, frame);
  }
  say(message: object): void {
    setTimeout(() => this.onmessage?.({ data: JSON.stringify(message) }), 1);
  }
  close(code = 1000, reason = ""): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    setTimeout(() => this.onclose?.({ code, reason }), 1);
  }
}

let store: Store;
let told: string[];
let feed: Feed;

beforeEach(() => {
  vi.useFakeTimers();
  server = new Server();
  store = new Store();
  told = [];
  const client = new Centrifuge("ws://test", { websocket: FakeSocket });
  feed = new Feed(
    client,
    {
      beginSnapshot: () => store.beginSnapshot(),
      snapshot: (snapshot, mark) => {
        told.push("snapshot");
        store.applySnapshot(snapshot, mark, Date.now());
      },
      publication: (publication, late) => {
        told.push(late ? "late publication" : "publication");
        if ("changes" in publication) for (const { problem: changed } of publication.changes) store.applyPublication(changed, Date.now());
      },
      live: () => told.push("live"),
      progress: () => undefined,
      loading: (problems, of) => told.push(`${problems} of ${of}`),
      lost: () => told.push("lost"),
      refused: (code) => told.push(`refused ${code}`),
    },
    new ServerClock(),
  );
});
afterEach(() => void vi.useRealTimers());

async function started(): Promise<void> {
  feed.start();
  await vi.advanceTimersByTimeAsync(50);
}

test("it connects, takes a snapshot and subscribes from the snapshot's position", async () => {
  await started();
  expect(told).toEqual(["snapshot", "live"]);
  expect(server.sent("subscribe")).toMatchObject([{ channel: "status:all", recover: true, offset: 10, epoch: "e" }]);
  expect([...store.open.keys()]).toEqual(["1"]);
});

test("pages are followed and the position is that of the first", async () => {
  server.answer = (command) => {
    if (!command.rpc) return server.usual(command);
    const { cursor } = command.rpc.data;
    server.offset += 1;
    const first = { cursor: "second", zabbix: { at_ms: 1, problems: 2 }, may_act: true };
    return { rpc: { data: { problems: [problem({ event_id: cursor ?? "first" })], position: { offset: server.offset, epoch: "e" }, now_ms: 1, ...(cursor ? {} : first) } } };
  };
  await started();
  expect(told).toEqual(["1 of 2", "snapshot", "live"]);
  expect(store).toMatchObject({ zabbix: { at_ms: 1 }, mayAct: true });
  expect([...store.open.keys()]).toEqual(["first", "second"]);
  expect(server.sent("subscribe")[0]?.offset).toBe(11);
});

test("a snapshot that fails is tried again, and the board is not called live before", async () => {
  let failures = 2;
  server.answer = (command) => (command.rpc && failures-- > 0 ? { error: { code: 100, message: "internal", temporary: true } } : server.usual(command));
  await started();
  expect(told).toEqual(["lost"]);
  await vi.advanceTimersByTimeAsync(3000);
  expect(told).toEqual(["lost", "lost", "snapshot", "live"]);
});

test("what is published after the snapshot arrives with the subscribe reply", async () => {
  server.answer = (command) => {
    const answer = server.usual(command);
    if (!command.subscribe) return answer;
    const data = { changes: [{ problem: problem({ event_id: "2" }), accepted_at_ms: 1 }] };
    return { subscribe: { ...(answer as { subscribe: object }).subscribe, publications: [{ offset: 11, data }] } };
  };
  await started();
  expect(told).toEqual(["snapshot", "live", "late publication"]);
  expect([...store.open.keys()]).toEqual(["1", "2"]);
});

test("a lost connection comes back by itself and recovers without a snapshot", async () => {
  await started();
  server.publish(problem({ event_id: "2" }));
  await vi.advanceTimersByTimeAsync(10);
  server.sockets.at(-1)?.close(1006, "");
  await vi.advanceTimersByTimeAsync(5000);
  expect(told.filter((word) => word === "snapshot")).toHaveLength(1);
  expect(told.at(-1)).toBe("live");
  expect(told).toContain("lost");
  expect(server.sent("subscribe").at(-1)).toMatchObject({ recover: true, offset: 11 });
});

test("if the server cannot recover, a new snapshot is taken before the board is live again", async () => {
  await started();
  server.offset = 500;
  server.problems = [problem({ event_id: "3" })];
  server.answer = (command) =>
    command.subscribe ? { subscribe: { recoverable: true, positioned: true, epoch: "e", offset: 500, was_recovering: true } } : server.usual(command);
  server.sockets.at(-1)?.close(1006, "");
  await vi.advanceTimersByTimeAsync(5000);
  expect(told.slice(-2)).toEqual(["snapshot", "live"]);
  expect([...store.open.keys()]).toEqual(["3"]);
});

test("a refusal is told once and not retried", async () => {
  server.answer = () => undefined;
  feed.start();
  await vi.advanceTimersByTimeAsync(2);
  server.push({ disconnect: { code: 3500, reason: "invalid token" } });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(told).toEqual(["refused 3500"]);
  expect(server.sockets).toHaveLength(1);
});

test("a token that has expired is a refusal, since there is nobody to ask for another", async () => {
  server.answer = () => ({ error: { code: 109, message: "token expired" } });
  feed.start();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(told.at(-1)).toMatch(/^refused/);
});

test("being refused the channel is a refusal", async () => {
  server.answer = (command) => (command.subscribe ? { error: { code: 103, message: "permission denied" } } : server.usual(command));
  await started();
  expect(told).toEqual(["snapshot", "refused 103"]);
});

test("an unsubscribe that asks to come again does so", async () => {
  await started();
  server.push({ channel: "status:all", unsubscribe: { code: 2500, reason: "insufficient state" } });
  await vi.advanceTimersByTimeAsync(3000);
  expect(told).toEqual(["snapshot", "live", "lost", "live"]);
});

test("a socket that does not answer is given up and replaced", async () => {
  await started();
  const usual = server.answer;
  server.answer = () => undefined;
  void feed.verify();
  await vi.advanceTimersByTimeAsync(PROBE_TIMEOUT_MS - 100);
  expect(told.at(-1)).toBe("live");
  server.answer = (command) => (command.history ? undefined : usual(command));
  await vi.advanceTimersByTimeAsync(500);
  expect(told).toContain("lost");
  expect(told.at(-1)).toBe("live");
  expect(server.sockets).toHaveLength(2);
});

test("an error proves the connection as well as an answer", async () => {
  await started();
  server.answer = (command) => (command.history ? { error: { code: 103, message: "permission denied" } } : server.usual(command));
  void feed.verify();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(told).toEqual(["snapshot", "live"]);
});

test("a publication that never came is noticed, and made up for by one snapshot", async () => {
  await started();
  server.offset += 1;
  server.problems = [problem({ event_id: "9" })];
  void feed.verify();
  await vi.advanceTimersByTimeAsync(GAP_GRACE_MS + 100);
  expect([...store.open.keys()]).toEqual(["9"]);
  void feed.verify();
  await vi.advanceTimersByTimeAsync(GAP_GRACE_MS + 100);
  expect(told.filter((word) => word === "snapshot")).toHaveLength(2);
});

test("a publication that is merely on its way is waited for", async () => {
  await started();
  server.offset += 1;
  void feed.verify();
  await vi.advanceTimersByTimeAsync(100);
  server.offset -= 1;
  server.publish(problem({ event_id: "9" }));
  await vi.advanceTimersByTimeAsync(GAP_GRACE_MS + 100);
  expect(told).toEqual(["snapshot", "live", "publication"]);
});

test("a malformed publication is left out", async () => {
  await started();
  server.push({ channel: "status:all", pub: { offset: 11, data: { changes: [{ problem: { event_id: "x" } }] } } });
  server.push({ channel: "status:all", pub: { offset: 12, data: null } });
  await vi.advanceTimersByTimeAsync(10);
  expect(told).toEqual(["snapshot", "live"]);
});

test("one publication with many changes is handed over as one", async () => {
  await started();
  const changes = ["2", "3"].map((id) => ({ problem: problem({ event_id: id }), accepted_at_ms: 1 }));
  server.push({ channel: "status:all", pub: { offset: 11, data: { changes } } });
  await vi.advanceTimersByTimeAsync(10);
  expect(told).toEqual(["snapshot", "live", "publication"]);
  expect([...store.open.keys()]).toEqual(["1", "2", "3"]);
});

test("word of the poller has no place in the history, and does not move the board's", async () => {
  await started();
  server.push({ channel: "status:all", pub: { data: { zabbix: { at_ms: 5 } } } });
  await vi.advanceTimersByTimeAsync(10);
  expect(told).toEqual(["snapshot", "live", "publication"]);
  server.sockets.at(-1)?.close(1006, "");
  await vi.advanceTimersByTimeAsync(5000);
  expect(server.sent("subscribe").at(-1)).toMatchObject({ recover: true, offset: 10 });
});
