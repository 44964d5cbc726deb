import { expect, test } from "vitest";
import { describeCount } from "./host-panel";

test("a host's problems are told in words, and that there is none too", () => {
  expect(describeCount(undefined)).toBe("no open problem");
  expect(describeCount({ state: 4, open: 3, suppressed: 1, unknown: 2 })).toBe("3 open, 1 suppressed, 2 cannot be evaluated");
  expect(describeCount({ state: "suppressed", open: 0, suppressed: 1, unknown: 0 })).toBe("no open problem, 1 suppressed");
});
