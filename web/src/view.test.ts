import { expect, test } from "vitest";
import { EVERYTHING, filterToSearch, parseFilter } from "./filter";
import { BOARD, parseView, searchOfFragment, viewToSearch, type View } from "./view";

test("an empty query is the board, and the board writes an empty query", () => {
  expect(parseView("")).toEqual(BOARD);
  expect(viewToSearch(BOARD)).toBe("");
});

test("a view survives the trip through the address, beside the filter's parameters", () => {
  const view: View = { page: "availability", timeline: "7d", by: "tag", tag: "service", window: "custom", from: 10, to: 20, includeMaintenance: true, least: 0 };
  const filter = { ...EVERYTHING, host: "web-01", group: "Linux servers", text: "disk" };
  const search = viewToSearch(view, filterToSearch(filter));
  expect(parseView(search)).toEqual(view);
  expect(parseFilter(search)).toEqual(filter);
  expect(parseFilter(filterToSearch(filter, search))).toEqual(filter);
  expect(parseView(filterToSearch(EVERYTHING, search))).toEqual(view);
});

test("nonsense in the query is left out", () => {
  expect(parseView("?view=x&timeline=1y&by=user&window=constructor&least=9&maintenance=some")).toEqual(BOARD);
  expect(parseView("?window=custom&from=20&to=10").window).toBe("30d");
  expect(parseView("?window=custom&from=20").window).toBe("30d");
});

test("a timeline stays in the address of the board, the report's settings do not", () => {
  expect(viewToSearch({ ...BOARD, timeline: "24h", by: "group", least: 2 })).toBe("?timeline=24h");
});

test("a link with #host= or #group= is the same view as with the query", () => {
  expect(parseFilter(searchOfFragment("#host=web-01", "?q=disk&kiosk=1") ?? "")).toMatchObject({ host: "web-01", text: "disk" });
  expect(parseFilter(searchOfFragment("#group=Linux servers", "?group=old") ?? "")).toMatchObject({ group: "Linux servers" });
  expect(parseFilter(searchOfFragment("#group=Site%20A%2FWeb", "") ?? "").group).toBe("Site A/Web");
  expect(searchOfFragment("#host=", "?host=web-01")).toBe("");
  for (const other of ["", "#", "#problems", "#token=x"]) expect(searchOfFragment(other, "?q=a")).toBeUndefined();
});
