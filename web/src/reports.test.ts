import { expect, test } from "vitest";
import { nextLink, ReportError, Reports, withoutHeader } from "./reports";

const NOW = 1_800_000_000_000;

interface Asked {
  url: URL;
  authorization: string;
}

/** Reports whose server answers with these, one after another; the last one from then on. */
function reports(...answers: (Response | Error)[]) {
  const asked: Asked[] = [];
  const state = { tickets: 0, nowMs: NOW, refuse: undefined as object | undefined };
  const made = new Reports(
    "https://api.example",
    async (method) => {
      if (method !== "status.ticket") throw new Error(method);
      if (state.refuse !== undefined) throw state.refuse;
      state.tickets += 1;
      return { data: { token: `t${state.tickets}`, expires_at: state.nowMs / 1000 + 300 } };
    },
    () => state.nowMs,
    async (url, init) => {
      asked.push({ url: url as URL, authorization: new Headers(init?.headers).get("authorization") ?? "" });
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      if (answer instanceof Error) throw answer;
      return (answer as Response).clone();
    },
  );
  return { made, asked, state };
}
const json = (body: object, status = 200) => new Response(JSON.stringify(body), { status });
const none = json({ rows: [], intervals: [] });
const message = (asked: Promise<unknown>) => asked.then(() => "", (error: Error) => `${error instanceof ReportError ? "" : "other: "}${error.message}`);

test("one ticket serves many reports, and is renewed before it runs out", async () => {
  const { made, asked, state } = reports(none);
  await Promise.all([made.availability({}), made.response({})]);
  await made.timeline("web-01", 1, 2);
  expect(asked.map(({ authorization }) => authorization)).toEqual(["Bearer t1", "Bearer t1", "Bearer t1"]);
  state.nowMs += 271_000;
  await made.availability({});
  expect(asked.at(-1)?.authorization).toBe("Bearer t2");
});

test("a 401 is met with one new ticket and one repetition", async () => {
  const once = reports(json({}, 401), json({ rows: [{ key: "a", down_seconds: 1, availability: 0.5 }] }));
  expect((await once.made.availability({})).rows).toHaveLength(1);
  expect(once.asked.map(({ authorization }) => authorization)).toEqual(["Bearer t1", "Bearer t2"]);
  const always = reports(json({}, 401));
  expect(await message(always.made.availability({}))).toContain("you may not see reports");
  expect(always.asked).toHaveLength(2);
});

test("what is not set is not asked, and what is, is written so that it arrives", async () => {
  const { made, asked } = reports(none);
  await made.availability({ by: "group", group: "Site A/Web & more", host: "", tag: undefined });
  expect(asked[0]?.url.href).toBe("https://api.example/api/status/availability?by=group&group=Site+A%2FWeb+%26+more");
});

test("a timeline follows its pages, and reads only what is an interval", async () => {
  const row = { event_id: "7", name: "n", from: 5, severity: 4, maintenance: true, suppressed: false, unmonitored: false };
  const { made, asked } = reports(json({ intervals: [{ ...row, to: 9 }, { from: 5 }, { from: 5, severity: 9 }], cursor: "next" }), json({ intervals: [row] }));
  expect(await made.timeline("web-01", 1, 10)).toEqual({ intervals: [{ ...row, to: 9 }, { ...row, to: undefined }], more: false });
  expect(asked.map(({ url }) => url.searchParams.get("cursor"))).toEqual([null, "next"]);
  expect(asked[1]?.url.searchParams.get("host")).toBe("web-01");
});

test("pages without an end are given up, and that is told", async () => {
  const { made, asked } = reports(json({ intervals: [], cursor: "again" }));
  expect((await made.timeline("web-01", 1, 10)).more).toBe(true);
  expect(asked).toHaveLength(20);
});

test("times to respond are by key, with figures only where there are some", async () => {
  const { made } = reports(json({ rows: [{ key: "a", problems: 2, acknowledge: { count: 0, mean_seconds: null, median_seconds: null, p90_seconds: null }, recover: { count: 2, median_seconds: 5, p90_seconds: 9 } }] }));
  expect((await made.response({})).get("a")).toEqual({
    key: "a",
    problems: 2,
    acknowledge: { count: 0, median_seconds: undefined, p90_seconds: undefined },
    recover: { count: 2, median_seconds: 5, p90_seconds: 9 },
  });
});

test("each failure is a sentence", async () => {
  const said = (answer: Response | Error) => message(reports(answer).made.availability({}));
  expect(await said(json({ error: { message: "from must be before to" } }, 400))).toBe("The server does not take this: from must be before to.");
  expect(await said(json({}, 503))).toContain("Try again");
  expect(await said(new Response("<html>", { status: 502 }))).toBe("The reports’ server failed (HTTP 502).");
  expect(await said(json({}, 404))).toBe("This server gives no reports.");
  expect(await said(new TypeError("Failed to fetch"))).toBe("The reports’ server cannot be reached.");
  expect(await said(new Response("<html>"))).toContain("no report");
});

test("without a ticket it is said why, and the next try asks anew", async () => {
  const { made, asked, state } = reports(none);
  state.refuse = { code: 103, message: "permission denied" };
  expect(await message(made.availability({}))).toBe("You may not see reports.");
  state.refuse = { code: 104, message: "method not found" };
  expect(await message(made.availability({}))).toBe("This server gives no reports.");
  state.refuse = { code: 1, message: "timeout" };
  expect(await message(made.availability({}))).toContain("timeout");
  expect(asked).toHaveLength(0);
  state.refuse = undefined;
  await made.availability({});
  expect(asked).toHaveLength(1);
});

test("the CSV follows the server's links, has one header and stops at the last page", async () => {
  const page = (text: string, link?: string) => new Response(text, { headers: link === undefined ? {} : { link } });
  const { made, asked } = reports(page("host,a\r\nx,1\r\n", '<?by=host&cursor=c1>; rel="next"'), page("host,a\r\ny,2\r\n"));
  expect(await made.csv({ by: "host" })).toEqual({ text: "host,a\r\nx,1\r\ny,2\r\n", complete: true });
  expect(asked[0]?.url.searchParams.get("format")).toBe("csv");
  expect(asked[1]?.url.href).toBe("https://api.example/api/status/availability?by=host&cursor=c1");
});

test("a full page without a link may not be all: the browser hides headers it was not given", async () => {
  const rows = Array.from({ length: 500 }, (_, index) => `h${index},1\r\n`).join("");
  expect((await reports(new Response(`host,a\r\n${rows}`)).made.csv({})).complete).toBe(false);
});

test("a link to somewhere else is not followed with the ticket", () => {
  const page = new URL("https://api.example/api/status/availability?a=1");
  expect(nextLink('<?a=1&cursor=c>; rel="next"', page)?.search).toBe("?a=1&cursor=c");
  for (const link of ['<https://evil.example/x>; rel="next"', '<?a=1>; rel="prev"', "", null]) expect(nextLink(link, page)).toBeUndefined();
});

test("a header with a line end in quotes is one record", () => {
  expect(withoutHeader('"a\r\nb",c\r\n1,2\r\n')).toBe("1,2\r\n");
  expect(withoutHeader("a,b")).toBe("");
});
