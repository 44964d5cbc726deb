import type { Severity } from "./severity";

/** `rpc status.act`: what Zabbix is to do with a problem. */
export interface Act {
  event_id: string;
  acknowledge?: true;
  unacknowledge?: true;
  message?: string;
  severity?: Severity;
  close?: true;
}

/** Zabbix confirms by an update of the problem; after so many milliseconds without one that is said. */
export const CONFIRM_MS = 30_000;

type Step = "sending" | "sent" | "unconfirmed" | "failed" | "refused";

interface Sent {
  step: Step;
  /** Why not. */
  reason: string;
  /** Version of the problem when it was sent: a greater one is the confirmation. */
  version: number;
  /** Local unix milliseconds. */
  atMs: number;
}

/** What the form holds. */
export interface Wish {
  acknowledge: boolean;
  unacknowledge: boolean;
  message: string;
  /** Undefined leaves it. */
  severity: Severity | undefined;
  close: boolean;
}

/** The action that was wished for, with nothing in it that was not; undefined if that is nothing at all. */
export function actOf(eventId: string, wish: Wish): Act | undefined {
  const act: Act = { event_id: eventId };
  if (wish.acknowledge) act.acknowledge = true;
  if (wish.unacknowledge) act.unacknowledge = true;
  if (wish.message.trim() !== "") act.message = wish.message.trim();
  if (wish.severity !== undefined) act.severity = wish.severity;
  if (wish.close) act.close = true;
  return Object.keys(act).length === 1 ? undefined : act;
}

/** What became of actions, by event id, until Zabbix has confirmed them. Pure: no clock, no network, no DOM. */
export class Acts {
  private readonly byEvent = new Map<string, Sent>();

  begin(eventId: string, version: number, nowMs: number): void {
    this.byEvent.set(eventId, { step: "sending", reason: "", version, atMs: nowMs });
  }

  /** The server has passed it on. The confirmation may have come first: then there is nothing to wait for. */
  passed(eventId: string, nowMs: number): void {
    this.step(eventId, "sent", "", nowMs);
  }

  /** The server did not take it. */
  failed(eventId: string, reason: string, nowMs: number): void {
    this.step(eventId, "failed", reason, nowMs);
  }

  /** Zabbix did not take it. True if somebody here had sent it. */
  refused(eventId: string, reason: string, nowMs: number): boolean {
    if (!this.byEvent.has(eventId)) return false;
    this.step(eventId, "refused", reason, nowMs);
    return true;
  }

  /** The problem is at this version now; true if that settles an action. A refusal stays until something new happens to the problem. */
  updated(eventId: string, version: number): boolean {
    const sent = this.byEvent.get(eventId);
    return sent !== undefined && version > sent.version && this.byEvent.delete(eventId);
  }

  /** Lets time pass; returns the problems whose action has now waited too long. */
  tick(nowMs: number): string[] {
    const overdue: string[] = [];
    for (const [eventId, sent] of this.byEvent) {
      if (sent.step !== "sent" || nowMs - sent.atMs < CONFIRM_MS) continue;
      sent.step = "unconfirmed";
      overdue.push(eventId);
    }
    return overdue;
  }

  /** What is to be said at the problem: a word for its row and a sentence for its details. */
  statusOf(eventId: string): { word: string; sentence: string; bad: boolean } | undefined {
    const sent = this.byEvent.get(eventId);
    if (sent === undefined) return undefined;
    switch (sent.step) {
      case "sending":
        return { word: "sending…", sentence: "Sending …", bad: false };
      case "sent":
        return { word: "sent…", sentence: "Sent to Zabbix …", bad: false };
      case "unconfirmed":
        return { word: "unconfirmed", sentence: "Zabbix has not confirmed yet.", bad: true };
      case "failed":
        return { word: "not sent", sentence: `Not sent: ${sent.reason}`, bad: true };
      case "refused":
        return { word: "refused", sentence: `Zabbix refused: ${sent.reason}`, bad: true };
    }
  }

  private step(eventId: string, step: Step, reason: string, nowMs: number): void {
    const sent = this.byEvent.get(eventId);
    if (sent !== undefined) Object.assign(sent, { step, reason, atMs: nowMs });
  }
}
