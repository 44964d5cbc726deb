import type { Centrifuge, Subscription } from "centrifuge";
import { backoff, type ServerClock } from "./connection";
import {
  parsePublication,
  parseSnapshotPage,
  type MonitoredHost,
  type Position,
  type Problem,
  type SnapshotPage,
  type Span,
  type StatusPublication,
} from "./problem";
import type { Snapshot } from "./store";

export const CHANNEL = "status:all";
/** The probe gives up after this many milliseconds. */
export const PROBE_TIMEOUT_MS = 4000;
/** How long a publication may be on its way after the stream's top was read, in milliseconds. */
export const GAP_GRACE_MS = 3000;

/** What the feed needs of centrifuge-js. */
export type RealtimeClient = Pick<Centrifuge, "on" | "connect" | "disconnect" | "rpc" | "newSubscription" | "state">;

export interface FeedListener {
  /** About to ask for a snapshot; what this returns comes back with it. */
  beginSnapshot(): number;
  snapshot(snapshot: Snapshot, mark: number): void;
  /** `late`: it is part of what was missed while away, so its latency says nothing. */
  publication(publication: StatusPublication, late: boolean): void;
  /** Subscribed, and in line with a snapshot. */
  live(): void;
  progress(reason: string): void;
  /** So many problems of a snapshot are there, of so many if that is known. */
  loading(problems: number, of: number | undefined): void;
  lost(reason: string): void;
  refused(code: number, reason: string): void;
}

interface Failure {
  code?: number;
  message?: string;
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/**
 * Keeps the board in line with `status:all`: snapshot, subscribe from its position, and after each reconnect either the
 * server replays what was missed or a new snapshot is taken.
 */
export class Feed {
  private subscription: Subscription | undefined;
  /** Highest offset known to be on the board, by publication or by snapshot. */
  private top: Position = { offset: 0, epoch: "" };
  private loading = false;
  /** A snapshot was asked for while one was being taken, whose pages may lie on both sides of a gap. */
  private again = false;
  private recovering = false;
  private probing = false;

  constructor(
    private readonly client: RealtimeClient,
    private readonly listener: FeedListener,
    private readonly clock: ServerClock,
    private readonly now: () => number = Date.now,
  ) {}

  start(): void {
    this.client.on("connected", () => {
      if (this.subscription === undefined) void this.load();
      else this.listener.progress("catching up");
    });
    this.client.on("connecting", ({ code, reason }) => {
      // Code 0 is our own call to connect().
      if (code !== 0) this.listener.lost(reason);
    });
    this.client.on("error", ({ error }) => {
      if (this.client.state !== "connected") this.listener.lost(error.message);
    });
    this.client.on("disconnected", ({ code, reason }) => {
      // Code 0 is our own call to disconnect().
      if (code !== 0) this.listener.refused(code, reason);
    });
    this.client.connect();
  }

  /** Drops the socket and connects afresh, without waiting out a backoff; what was missed is recovered. */
  reconnect(): void {
    if (this.client.state === "disconnected") return;
    this.client.disconnect();
    this.client.connect();
  }

  /**
   * Checks that the connection carries answers: nobody sends a heartbeat, so a half-open socket (a laptop that slept, a
   * dead NAT entry) looks just like a quiet night. It asks for the position of `status:all` (`history` with limit 0), which
   * costs the server one read, not for a snapshot. Any answer, an error too, proves the socket; none means it is dead.
   * The position also shows a publication that got lost on the way: then a new snapshot is taken.
   */
  async verify(): Promise<void> {
    if (this.probing) return;
    if (this.client.state === "connecting") {
      this.reconnect();
      return;
    }
    const subscription = this.subscription;
    if (this.client.state !== "connected" || subscription?.state !== "subscribed") return;
    this.probing = true;
    try {
      const answer = await this.probe(subscription);
      if (answer === "silence") {
        this.listener.lost("the connection does not answer");
        this.reconnect();
      } else if (answer !== "alive" && this.isBehind(answer)) {
        await pause(GAP_GRACE_MS);
        if (this.isBehind(answer) && subscription.state === "subscribed") {
          this.top = answer;
          await this.load();
        }
      }
    } finally {
      this.probing = false;
    }
  }

  private async probe(subscription: Subscription): Promise<Position | "alive" | "silence"> {
    const timeout = pause(PROBE_TIMEOUT_MS).then(() => "silence" as const);
    const asked = subscription.history({ limit: 0 }).then(
      ({ offset, epoch }) => ({ offset, epoch }),
      // 1 timeout, 2 transport closed: no answer. Others come from the server, which therefore lives.
      (failure: Failure) => ((failure.code ?? 0) >= 100 ? ("alive" as const) : ("silence" as const)),
    );
    return Promise.race([asked, timeout]);
  }

  private isBehind(top: Position): boolean {
    return typeof top.offset === "number" && top.epoch === this.top.epoch && top.offset > this.top.offset;
  }

  /** Takes a snapshot, trying until it succeeds or the connection is gone (then `connected` starts it again). */
  private async load(): Promise<void> {
    if (this.loading) {
      this.again = true;
      return;
    }
    this.loading = true;
    try {
      for (let attempt = 0; ; attempt += 1) {
        if (this.client.state !== "connected") return;
        this.listener.progress(attempt === 0 ? "loading the current state" : `loading the current state, try ${attempt + 1}`);
        const mark = this.listener.beginSnapshot();
        this.again = false;
        try {
          const { position, ...snapshot } = await this.snapshot();
          this.listener.snapshot(snapshot, mark);
          this.advance(position);
          if (!this.again) break;
          attempt = -1;
        } catch (error) {
          const { code, message } = error as Failure;
          if (code === 103 || code === 104 || code === 108) {
            this.listener.refused(code, message ?? "");
            return;
          }
          this.listener.lost(`the current state could not be loaded: ${message ?? "unknown error"}`);
          await pause(backoff(attempt));
        }
      }
    } finally {
      this.loading = false;
    }
    if (this.subscription === undefined) this.subscribe();
    else if (this.subscription.state === "subscribed") this.listener.live();
  }

  /** All pages of a snapshot, with the position of the first one. */
  private async snapshot(): Promise<Snapshot & { position: Position }> {
    const problems: Problem[] = [];
    const hosts: MonitoredHost[] = [];
    const recent: Span[] = [];
    let first: SnapshotPage | undefined;
    let cursor: string | undefined;
    do {
      const sent = this.now();
      const { data } = await this.client.rpc("status.snapshot", cursor === undefined ? {} : { cursor });
      const page = parseSnapshotPage(data);
      this.clock.sample(page.now_ms, sent, this.now());
      first ??= page;
      // Not push(...page): the number of arguments of a call is limited.
      for (const problem of page.problems) problems.push(problem);
      for (const host of page.hosts) hosts.push(host);
      for (const span of page.recent) recent.push(span);
      cursor = page.cursor;
      if (cursor !== undefined) this.listener.loading(problems.length, first.zabbix?.problems);
    } while (cursor !== undefined);
    return { problems, hosts, recent, position: first.position, zabbix: first.zabbix, mayAct: first.may_act };
  }

  private subscribe(): void {
    const subscription = this.client.newSubscription(CHANNEL, { since: { ...this.top } });
    this.subscription = subscription;
    subscription.on("subscribed", ({ recovered, streamPosition }) => {
      if (recovered) {
        // The replayed publications are handed over right after this event.
        this.recovering = true;
        setTimeout(() => (this.recovering = false), 0);
        this.listener.live();
        return;
      }
      if (streamPosition !== undefined) this.top = { ...streamPosition };
      void this.load();
    });
    subscription.on("publication", ({ data, offset }) => {
      if (offset !== undefined) this.advance({ offset, epoch: this.top.epoch });
      const publication = parsePublication(data);
      if (publication !== undefined) this.listener.publication(publication, this.recovering);
    });
    subscription.on("subscribing", ({ code, reason }) => {
      if (code !== 0) this.listener.lost(reason);
    });
    subscription.on("error", ({ error }) => this.listener.lost(`could not subscribe: ${error.message}`));
    subscription.on("unsubscribed", ({ code, reason }) => {
      if (code !== 0) this.listener.refused(code, reason);
    });
    subscription.subscribe();
  }

  private advance(position: Position): void {
    if (position.epoch !== this.top.epoch || position.offset > this.top.offset) this.top = { ...position };
  }
}
