import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ANNOUNCE_EVERY_MS, Announcer, summarise } from "./announcer";
import type { Change } from "./store";
import { problem } from "./testing";

const opened = (name: string, severity: 2 | 5): Change => ({ kind: "new", problem: problem({ name, severity }) });

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("new problems are named worst first, at most three of them", () => {
  const changes = [opened("a", 2), opened("b", 5), opened("c", 2), opened("d", 2), { kind: "resolved" as const, problem: problem({}) }];
  expect(summarise(changes)).toBe("4 new: Disaster b; Warning a; Warning c; and 1 more. 1 resolved.");
  expect(summarise([{ kind: "changed", problem: problem({}) }])).toBe("");
});

test("a burst is one sentence, and the next one waits", () => {
  const spoken: string[] = [];
  const announcer = new Announcer((text) => spoken.push(text), () => Date.now());
  announcer.add(opened("a", 2));
  announcer.add(opened("b", 2));
  vi.advanceTimersByTime(600);
  expect(spoken).toHaveLength(1);
  announcer.add(opened("c", 2));
  vi.advanceTimersByTime(ANNOUNCE_EVERY_MS - 1000);
  expect(spoken).toHaveLength(1);
  vi.advanceTimersByTime(1000);
  expect(spoken).toHaveLength(2);
});
