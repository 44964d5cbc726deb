/**
 * What the header says about the connection. `live` means: the socket is subscribed and the board is in line with a
 * snapshot. There is no heartbeat from the server, so `live` is backed by a probe (see `Feed.verify`).
 */
export type Phase = "connecting" | "live" | "offline" | "refused";

export interface Connection {
  phase: Phase;
  /** Unix milliseconds (local clock) since when the board may be out of date; undefined while live. */
  since: number | undefined;
  /** Whether the board was live at least once: then it shows something, if perhaps old. */
  wasLive: boolean;
  /** False when the browser says that there is no network. */
  network: boolean;
  /** Why, in a few words; empty while live. */
  reason: string;
  refusal: Refusal | undefined;
}

/** Why the server will not have us, and what a person can do about it. */
export interface Refusal {
  code: number;
  title: string;
  advice: string;
}

export type ConnectionEvent =
  | { type: "live" }
  /** The socket is back and the board is catching up. */
  | { type: "progress"; reason: string }
  | { type: "lost"; reason: string; at: number }
  | { type: "network"; online: boolean; at: number }
  | { type: "refused"; refusal: Refusal; at: number };

export function initialConnection(at: number, network: boolean): Connection {
  return { phase: network ? "connecting" : "offline", since: at, wasLive: false, network, reason: "", refusal: undefined };
}

export function reduce(state: Connection, event: ConnectionEvent): Connection {
  if (state.phase === "refused") return state;
  switch (event.type) {
    case "live":
      return { phase: "live", since: undefined, wasLive: true, network: true, reason: "", refusal: undefined };
    case "progress":
      // Once it was lost it stays "not live" until it is live again: no flicker in between.
      return state.phase === "live" ? state : { ...state, reason: event.reason };
    case "lost":
      return { ...state, phase: "offline", since: state.since ?? event.at, reason: event.reason };
    case "network":
      if (event.online) return { ...state, network: true };
      return { ...state, phase: "offline", since: state.since ?? event.at, network: false, reason: "the browser has no network" };
    case "refused":
      return { ...state, phase: "refused", since: state.since ?? event.at, reason: event.refusal.title, refusal: event.refusal };
  }
}

export interface Credentials {
  hasToken: boolean;
  /** The token's `exp`, unix seconds, as far as it can be read. */
  expiresAt: number | undefined;
  /** config.json says that this board may be seen without a token. */
  anonymous: boolean;
}

/** Says in plain words why the server refused, and what to do. Codes: centrifuge's disconnect and error codes. */
export function explainRefusal(code: number, reason: string, credentials: Credentials, nowMs: number): Refusal {
  // Within a minute: clocks differ, and centrifuge-js gives up when the token runs out, not after.
  const expired = credentials.expiresAt !== undefined && credentials.expiresAt <= nowMs / 1000 + 60;
  const newLink = "Ask the operator of this board for a new link (it ends in #token=…) and open it.";
  if (credentials.hasToken && (expired || code === 109 || code === 110)) {
    return { code, title: "Your link has expired", advice: newLink };
  }
  switch (code) {
    case 1:
    case 101:
    case 3500:
    case 3501:
      if (credentials.hasToken) return { code, title: "Your link was not accepted", advice: newLink };
      return {
        code,
        title: "This board needs a link with a token",
        advice: credentials.anonymous
          ? "The board is set up for viewing without a token, but the server does not allow it. Ask the operator to allow anonymous viewers, or for a link that ends in #token=…"
          : "Open the link that the operator of this board gave you (it ends in #token=…). If you have none, ask for one.",
      };
    case 102:
    case 103:
    case 104:
    case 108:
    case 3507:
    case 3508:
      return { code, title: "You may not see this board", advice: `Ask the operator for a link that may. The server said: ${reason} (${code}).` };
    case 3503:
    case 3504:
    case 3505:
      return { code, title: "The server ended the connection", advice: `It said: ${reason} (${code}). Try again in a while; if it goes on, tell the operator.` };
    default:
      return { code, title: "The server refused the connection", advice: `It said: ${reason || "nothing"} (${code}). Try again; if it goes on, tell the operator.` };
  }
}

/** Reads `exp` (unix seconds) from a JWT without verifying it: only to explain a refusal. */
export function tokenExpiry(token: string): number | undefined {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const claims: unknown = JSON.parse(atob(payload));
    const exp = typeof claims === "object" && claims !== null ? (claims as { exp?: unknown }).exp : undefined;
    return typeof exp === "number" ? exp : undefined;
  } catch {
    return undefined;
  }
}

/** Milliseconds to wait before try number `attempt` (from 0): 0.5 s doubling up to 20 s, with jitter so that viewers do not come back in step. */
export function backoff(attempt: number, random: () => number = Math.random): number {
  const ceiling = Math.min(20_000, 500 * 2 ** Math.min(attempt, 10));
  return ceiling * (0.5 + random() / 2);
}

/** How far the server's clock is ahead of ours, from snapshots' `now_ms`. */
export class ServerClock {
  /** Milliseconds to add to the local clock. */
  offset = 0;
  /** The error is at most this much, in milliseconds; infinite before the first sample. */
  uncertainty = Number.POSITIVE_INFINITY;

  /** A reply stamped `serverMs` to a request sent at `sentMs` and answered at `receivedMs`, both local. */
  sample(serverMs: number, sentMs: number, receivedMs: number): void {
    if (!Number.isFinite(serverMs)) return;
    const uncertainty = (receivedMs - sentMs) / 2;
    // The quickest exchange tells the time best; a slow one (a cold start) must not spoil it.
    if (uncertainty > this.uncertainty) return;
    const offset = serverMs - (sentMs + receivedMs) / 2;
    // If the two clocks agree within what this exchange can tell, correcting would only add its error.
    this.offset = Math.abs(offset) <= uncertainty ? 0 : offset;
    this.uncertainty = uncertainty;
  }

  /** The server's time at local time `localMs`. */
  at(localMs: number): number {
    return localMs + this.offset;
  }
}
