import { describe, expect, test } from "vitest";
import { backoff, explainRefusal, initialConnection, reduce, ServerClock, tokenExpiry, type ConnectionEvent } from "./connection";

const after = (...events: ConnectionEvent[]) => events.reduce(reduce, initialConnection(1000, true));

describe("the state of the connection", () => {
  test("it starts connecting, or offline without a network", () => {
    expect(initialConnection(1, true).phase).toBe("connecting");
    expect(initialConnection(1, false).phase).toBe("offline");
  });

  test("live means no time of loss", () => {
    expect(after({ type: "live" })).toMatchObject({ phase: "live", since: undefined, wasLive: true });
  });

  test("the time of loss is that of the first loss, however often it fails after", () => {
    const state = after({ type: "live" }, { type: "lost", reason: "a", at: 2000 }, { type: "lost", reason: "b", at: 3000 });
    expect(state).toMatchObject({ phase: "offline", since: 2000, reason: "b" });
  });

  test("catching up is not yet live", () => {
    const state = after({ type: "live" }, { type: "lost", reason: "a", at: 2000 }, { type: "progress", reason: "catching up" });
    expect(state).toMatchObject({ phase: "offline", since: 2000, reason: "catching up" });
    expect(reduce(state, { type: "live" }).phase).toBe("live");
  });

  test("a snapshot taken while live does not take the light away", () => {
    expect(after({ type: "live" }, { type: "progress", reason: "loading" }).phase).toBe("live");
  });

  test("a board without a network is not live, and is not live just because the network is back", () => {
    const offline = after({ type: "live" }, { type: "network", online: false, at: 5000 });
    expect(offline).toMatchObject({ phase: "offline", since: 5000, network: false });
    expect(reduce(offline, { type: "network", online: true, at: 6000 })).toMatchObject({ phase: "offline", network: true });
  });

  test("a refusal is final", () => {
    const refusal = explainRefusal(3500, "invalid token", { hasToken: true, expiresAt: undefined, anonymous: false }, 0);
    const state = after({ type: "refused", refusal, at: 2 });
    expect(reduce(state, { type: "lost", reason: "x", at: 3 })).toBe(state);
  });
});

describe("the words for a refusal", () => {
  const token = { hasToken: true, expiresAt: undefined, anonymous: false };
  const none = { hasToken: false, expiresAt: undefined, anonymous: false };

  test.each([101, 1, 3500, 3501])("code %d without a token asks for the link", (code) => {
    expect(explainRefusal(code, "", none, 0).title).toBe("This board needs a link with a token");
  });

  test.each([101, 3500, 3501])("code %d with a token says that the link was not accepted", (code) => {
    expect(explainRefusal(code, "", token, 0).title).toBe("Your link was not accepted");
  });

  test("an expired token is called expired, by code or by its own date", () => {
    expect(explainRefusal(109, "", token, 0).title).toBe("Your link has expired");
    expect(explainRefusal(1, "unauthorized", { ...token, expiresAt: 10 }, 11_000).title).toBe("Your link has expired");
    expect(explainRefusal(1, "unauthorized", { ...token, expiresAt: 3600 }, 9_000).title).toBe("Your link was not accepted");
  });

  test("permissions and everything else are told with the code", () => {
    expect(explainRefusal(103, "permission denied", token, 0).advice).toContain("permission denied (103)");
    expect(explainRefusal(4500, "", token, 0).advice).toContain("(4500)");
  });
});

test("the expiry is read from a token, and nothing from nonsense", () => {
  const part = (value: object) => btoa(JSON.stringify(value)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  expect(tokenExpiry(`x.${part({ exp: 42, sub: "??>" })}.y`)).toBe(42);
  for (const token of ["", "a.b.c", `x.${part({ exp: "42" })}.y`]) expect(tokenExpiry(token)).toBeUndefined();
});

test("retries wait longer each time, up to twenty seconds, and not in step", () => {
  expect([0, 1, 2, 9, 99].map((attempt) => backoff(attempt, () => 1))).toEqual([500, 1000, 2000, 20_000, 20_000]);
  expect(backoff(9, () => 0)).toBe(10_000);
});

describe("the server's clock", () => {
  test("it is believed when it differs by more than the exchange took", () => {
    const clock = new ServerClock();
    clock.sample(6_050, 1_000, 1_100);
    expect(clock.at(2_000)).toBe(7_000);
  });

  test("a difference the exchange cannot tell from none is none", () => {
    const clock = new ServerClock();
    clock.sample(1_090, 1_000, 1_100);
    expect(clock.offset).toBe(0);
  });

  test("a slower exchange does not spoil a quicker one", () => {
    const clock = new ServerClock();
    clock.sample(6_005, 1_000, 1_010);
    clock.sample(9_000, 1_000, 5_000);
    expect(clock.offset).toBe(5_000);
    clock.sample(Number.NaN, 1, 1);
    expect(clock.offset).toBe(5_000);
  });
});
