import { severityName } from "./severity";
import type { Change } from "./store";

/** A screen reader hears at most one summary in this time, in milliseconds. */
export const ANNOUNCE_EVERY_MS = 8000;

/** Says what changed in one sentence: `2 new: High Web application down on Web 01; … 1 resolved.` Empty for nothing worth saying. */
export function summarise(changes: readonly Change[]): string {
  const opened = changes.filter(({ kind, problem }) => kind === "new" && problem.kind === "problem").map(({ problem }) => problem);
  const resolved = changes.filter(({ kind, problem }) => kind === "resolved" && problem.kind === "problem").length;
  const parts: string[] = [];
  if (opened.length > 0) {
    opened.sort((a, b) => b.severity - a.severity);
    const named = opened.slice(0, 3).map((problem) => `${severityName(problem.severity)} ${problem.name}`);
    if (opened.length > 3) named.push(`and ${opened.length - 3} more`);
    parts.push(`${opened.length} new: ${named.join("; ")}.`);
  }
  if (resolved > 0) parts.push(`${resolved} resolved.`);
  return parts.join(" ");
}

/** Collects changes and writes a summary into an aria-live region, not more often than `ANNOUNCE_EVERY_MS`. */
export class Announcer {
  private pending: Change[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private spokeAt = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly speak: (text: string) => void,
    private readonly now: () => number = () => performance.now(),
  ) {}

  add(change: Change): void {
    this.pending.push(change);
    // Half a second at least, so that a burst becomes one sentence.
    this.timer ??= setTimeout(() => this.flush(), Math.max(500, this.spokeAt + ANNOUNCE_EVERY_MS - this.now()));
  }

  private flush(): void {
    this.timer = undefined;
    const text = summarise(this.pending);
    this.pending = [];
    if (text === "") return;
    this.spokeAt = this.now();
    this.speak(text);
  }
}
