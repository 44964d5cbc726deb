import type { MonitoredHost, Problem } from "./problem";

/** A problem for tests; event id 1, version 1, High, on web-01. */
export function problem(fields: Partial<Problem>): Problem {
  return {
    event_id: "1",
    version: 1,
    kind: "problem",
    state: "open",
    name: "Web application down on Web 01 – Schaufenster",
    severity: 4,
    opened_at: 1_799_999_000,
    acknowledged: false,
    suppressed: false,
    gone: false,
    unmonitored: false,
    host: { id: "10680", host: "web-01", name: "Web 01 – Schaufenster" },
    groups: ["Site A/Web servers"],
    tags: [{ tag: "service", value: "shop" }],
    ...fields,
  };
}

/** A host for tests, with nothing out of the ordinary: web-01. */
export function host(fields: Partial<MonitoredHost>): MonitoredHost {
  return { id: "10680", host: "web-01", name: "Web 01 – Schaufenster", groups: ["Site A/Web servers"], state: { disabled: false, unavailable: [], gone: false }, ...fields };
}
