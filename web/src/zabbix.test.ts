import { expect, test } from "vitest";
import { assess, parseZabbixSeen, UNASKED_MS, WORD_DUE_MS, type ZabbixSeen } from "./zabbix";

const NOW = 1_800_000_000_000;
const clock = (ms: number) => `[${(NOW - ms) / 1000} s before]`;
const seen = (fields: Partial<ZabbixSeen> = {}, secondsAgo = 1): ZabbixSeen => ({
  at_ms: NOW - secondsAgo * 1000,
  good_at_ms: NOW - secondsAgo * 1000,
  server_seen_at: (NOW - secondsAgo * 1000) / 1000 - 2,
  version: "7.0",
  ...fields,
});
/** Judged with all that could be heard. */
const judge = (word: ZabbixSeen | undefined, nowMs = NOW) => assess(word, nowMs, 0, clock);

test("without a poller there is nothing to say", () => {
  expect(judge(undefined)).toMatchObject({ level: "none", shown: "", spoken: "", clock: "" });
});

test("good word says when Zabbix was checked, and nothing else", () => {
  expect(judge(seen({}, 8))).toMatchObject({ level: "good", name: "Zabbix 7.0", freshness: "checked 8 s ago", shown: "", spoken: "", word: "" });
  const { version: _version, ...unversioned } = seen();
  expect(judge(unversioned).name).toBe("Zabbix");
});

test("a server without a sign of life for more than 30 s is silent, and the seconds count up", () => {
  const word = seen({ server_seen_at: NOW / 1000 - 30 }, 0);
  expect(judge(word).level).toBe("good");
  expect(judge({ ...word, server_seen_at: NOW / 1000 - 31 })).toMatchObject({ level: "bad", word: "SILENT", shown: "Zabbix silent for 31 s." });
  expect(judge({ ...word, server_seen_at: NOW / 1000 - 31 }, NOW + 9000).shown).toBe("Zabbix silent for 40 s.");
});

test("the alert does not count, so that it is said once", () => {
  const word = seen({ server_seen_at: NOW / 1000 - 40 });
  expect(judge(word, NOW + 5000).spoken).toBe(judge(word).spoken);
  expect(judge(word).spoken).toBe("Zabbix is silent since [40 s before].");
});

test("good word that is repeated every 30 s is not the server's silence in between", () => {
  const word = seen({ server_seen_at: NOW / 1000 - 10 }, 0);
  for (let later = 0; later <= WORD_DUE_MS; later += 1000) expect(judge(word, NOW + later).level).toBe("good");
});

test("word that stays away is the poller's silence, not the server's", () => {
  const word = seen({ server_seen_at: NOW / 1000 - 10 }, 0);
  expect(judge(word, NOW + UNASKED_MS).level).toBe("good");
  expect(judge(word, NOW + 125_000)).toMatchObject({ level: "bad", word: "UNWATCHED", shown: "Nobody has asked Zabbix for 2 min." });
});

test("with no word for more than 90 s nobody asks Zabbix", () => {
  const { server_seen_at: _unseen, ...word } = seen({}, 0);
  expect(judge(word, NOW + UNASKED_MS).level).toBe("good");
  expect(judge(word, NOW + 125_000)).toMatchObject({ level: "bad", word: "UNWATCHED", shown: "Nobody has asked Zabbix for 2 min." });
});

test("a failed poll is told with its reason and how old what is shown is", () => {
  const failure = { code: "unreachable", message: "the frontend cannot be reached" };
  const word = seen({ failure, good_at_ms: NOW - 185_000 });
  expect(judge(word)).toMatchObject({
    level: "bad",
    word: "UNREACHABLE",
    shown: "Zabbix cannot be checked: the frontend cannot be reached (unreachable). Last good state: 3 min ago.",
    freshness: "check failed 1 s ago",
  });
  const { good_at_ms: _never, ...first } = word;
  expect(judge(first).shown).toContain("There has been no good check yet.");
});

test("who could not ask does not know whether the server is silent", () => {
  const word = seen({ failure: { code: "", message: "x" }, server_seen_at: NOW / 1000 - 500 });
  expect(judge(word).shown).not.toContain("silent");
});

test("after a reconnect old word is neither calm nor an alarm until new word is due", () => {
  const word = seen({}, 7200);
  expect(assess(word, NOW, NOW - 1000, clock)).toMatchObject({ level: "waiting", shown: "", freshness: "no word for 2 h" });
  expect(assess(word, NOW, NOW - WORD_DUE_MS, clock).level).toBe("bad");
});

test("without a connection the last word stands, good or bad, and its age is not the poller's", () => {
  expect(assess(seen({}, 60), NOW, undefined, clock).level).toBe("good");
  expect(assess(seen({}, 7200), NOW, undefined, clock)).toMatchObject({ level: "waiting", shown: "" });
  expect(assess(seen({ server_seen_at: NOW / 1000 - 7240 }, 7200), NOW, undefined, clock).level).toBe("bad");
});

test("old word of a snapshot is an alarm at once: the table would know later word", () => {
  expect(assess(seen({}, 7200), NOW, 0, clock).level).toBe("bad");
});

test("a difference of the clocks over a minute is told, in either direction, and is no alarm", () => {
  expect(judge(seen({ ahead_ms: 60_000 })).clock).toBe("");
  expect(judge(seen({ ahead_ms: 190_000 }))).toMatchObject({ level: "good", clock: expect.stringContaining("3 min ahead") });
  expect(judge(seen({ ahead_ms: -61_000 })).clock).toContain("61 s behind");
});

test("it is read from the wire as far as it is sound", () => {
  const whole = seen({ failure: { code: "a", message: "b" }, ahead_ms: 5, problems: 9 });
  expect(parseZabbixSeen(structuredClone(whole))).toEqual(whole);
  expect(parseZabbixSeen({ at_ms: 1, failure: null, good_at_ms: "2", version: "" })).toEqual({ at_ms: 1 });
  for (const broken of [null, {}, { at_ms: "1" }, []]) expect(parseZabbixSeen(broken)).toBeUndefined();
});
