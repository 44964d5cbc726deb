import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { COLOURS, contrast, tileStateLetter, tileStateName, INK, OK_COLOUR, SEVERITIES, severityLetter, severityName } from "./severity";

const css = readFileSync(new URL("./board.css", import.meta.url), "utf8");

/** The light and the dark value of a colour of the style sheet. */
function themed(name: string): [string, string] {
  const found = new RegExp(`--${name}: light-dark\\((#\\w{6}), (#\\w{6})\\)`).exec(css);
  if (found?.[1] === undefined || found[2] === undefined) throw new Error(`no --${name}`);
  return [found[1], found[2]];
}

test("every severity has its own name and letter", () => {
  expect(SEVERITIES.map(severityName)).toEqual(["Disaster", "High", "Average", "Warning", "Information", "Not classified"]);
  expect(new Set(SEVERITIES.map(severityLetter)).size).toBe(6);
  expect(["ok", "unknown", "suppressed", "unavailable", "maintenance", "disabled", "gone"].map((state) => tileStateLetter(state as "ok"))).toEqual([..."✓?S!M–×"]);
  expect(tileStateName("ok")).toBe("OK");
});

test("text on the severity colours passes WCAG AA", () => {
  for (const colour of [...COLOURS, OK_COLOUR]) expect(contrast(INK, colour)).toBeGreaterThanOrEqual(4.5);
});

test("the style sheet has the same colours", () => {
  COLOURS.forEach((colour, severity) => expect(css).toContain(`--s${severity}: ${colour.toLowerCase()};`));
  expect(css).toContain(`--ok: ${OK_COLOUR.toLowerCase()};`);
  expect(css).toContain(`--ink: ${INK.toLowerCase()};`);
});

test.each(["text", "muted", "link", "alarm"])("%s passes WCAG AA on every ground of both themes", (name) => {
  for (const ground of ["ground", "surface", "raised"]) {
    for (const theme of [0, 1] as const) expect(contrast(themed(name)[theme], themed(ground)[theme])).toBeGreaterThanOrEqual(4.5);
  }
});

test("borders of controls pass the 3 to 1 for graphics in both themes", () => {
  for (const theme of [0, 1] as const) expect(contrast(themed("edge")[theme], themed("surface")[theme])).toBeGreaterThanOrEqual(3);
});
