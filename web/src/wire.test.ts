import { expect, test } from "vitest";
import { isObject, list, number, optionalText, text } from "./wire";

test("what is not as it should be counts as absent", () => {
  expect([null, [], "x", {}].map(isObject)).toEqual([false, false, false, true]);
  expect(["x", 7, null, {}].map(text)).toEqual(["x", "7", "", ""]);
  expect(["", "x"].map(optionalText)).toEqual([undefined, "x"]);
  expect([0, "1", Number.NaN, Number.POSITIVE_INFINITY].map(number)).toEqual([0, undefined, undefined, undefined]);
  expect([list([1]), list("x")]).toEqual([[1], []]);
});
