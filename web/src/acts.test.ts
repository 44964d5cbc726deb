import { expect, test } from "vitest";
import { actOf, Acts, CONFIRM_MS, type Wish } from "./acts";

const nothing: Wish = { acknowledge: false, unacknowledge: false, message: " ", severity: undefined, close: false };

test("an action holds what was wished for and nothing else", () => {
  expect(actOf("7", nothing)).toBeUndefined();
  expect(actOf("7", { ...nothing, acknowledge: true })).toEqual({ event_id: "7", acknowledge: true });
  expect(actOf("7", { acknowledge: false, unacknowledge: true, message: " on it\n", severity: 0, close: true })).toEqual({
    event_id: "7",
    unacknowledge: true,
    message: "on it",
    severity: 0,
    close: true,
  });
});

const word = (acts: Acts) => acts.statusOf("7")?.word;

test("it is sent until an update of the problem comes", () => {
  const acts = new Acts();
  acts.begin("7", 3, 0);
  expect(word(acts)).toBe("sending…");
  acts.passed("7", 10);
  expect(acts.statusOf("7")).toMatchObject({ sentence: "Sent to Zabbix …", bad: false });
  expect(acts.updated("7", 3)).toBe(false);
  expect(word(acts)).toBe("sent…");
  expect(acts.updated("7", 4)).toBe(true);
  expect(acts.statusOf("7")).toBeUndefined();
});

test("an update that is quicker than the reply settles it, and the reply does not bring it back", () => {
  const acts = new Acts();
  acts.begin("7", 3, 0);
  acts.updated("7", 4);
  acts.passed("7", 10);
  expect(acts.statusOf("7")).toBeUndefined();
});

test("what is not confirmed in 30 s is said to be so, once, and a late update settles it", () => {
  const acts = new Acts();
  acts.begin("7", 3, 0);
  acts.passed("7", 1000);
  expect(acts.tick(1000 + CONFIRM_MS - 1)).toEqual([]);
  expect(acts.tick(1000 + CONFIRM_MS)).toEqual(["7"]);
  expect(acts.tick(1000 + CONFIRM_MS + 1)).toEqual([]);
  expect(acts.statusOf("7")).toMatchObject({ sentence: "Zabbix has not confirmed yet.", bad: true });
  acts.updated("7", 4);
  expect(acts.statusOf("7")).toBeUndefined();
});

test("a refusal is shown with its reason, to whoever had sent the action", () => {
  const acts = new Acts();
  expect(acts.refused("7", "no", 0)).toBe(false);
  expect(acts.statusOf("7")).toBeUndefined();
  acts.begin("7", 3, 0);
  acts.passed("7", 1);
  expect(acts.refused("7", "manual closing is not allowed", 2)).toBe(true);
  expect(acts.statusOf("7")).toMatchObject({ sentence: "Zabbix refused: manual closing is not allowed", bad: true });
  expect(acts.tick(1e9)).toEqual([]);
});

test("what the server did not take is shown with its reason until it is tried again", () => {
  const acts = new Acts();
  acts.begin("7", 3, 0);
  acts.failed("7", "Zabbix cannot be reached (4503)", 1);
  expect(acts.statusOf("7")?.sentence).toBe("Not sent: Zabbix cannot be reached (4503)");
  acts.begin("7", 3, 2);
  expect(word(acts)).toBe("sending…");
});
