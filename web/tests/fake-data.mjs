// Believable status for the fake server: the hosts and problems of the captured Zabbix payloads, and more of their kind.

const GROUPS = {
  "Site A/Web servers": ["web-01|Web 01 – Schaufenster", "web-02|Web 02", "web-03|Web 03", "web-04|Web 04", "web-05|Web 05", "web-06|Web 06", "web-07|Web 07", "web-08|Web 08", "lb-01|Load balancer 1", "lb-02|Load balancer 2"],
  "Site A/Databases": ["db-01|DB 01 (primary)", "db-02|DB 02 (replica)", "db-03|DB 03 (replica)", "redis-01|Redis 01", "redis-02|Redis 02", "pgb-01|PgBouncer 1", "pgb-02|PgBouncer 2"],
  "Site A/Virtualisation": ["hv-01|Hypervisor 01", "hv-02|Hypervisor 02", "hv-03|Hypervisor 03", "hv-04|Hypervisor 04", "hv-05|Hypervisor 05", "san-01|Storage A"],
  "Site B/Network": ["sw-01|Core switch", "sw-02|Access switch 2", "sw-03|Access switch 3", "sw-04|Access switch 4", "sw-05|Access switch 5", "fw-01|Firewall Nord", "fw-02|Firewall Süd", "rt-01|Border router"],
  "Site B/Mail": ["mx-01|Mail relay 1", "mx-02|Mail relay 2", "imap-01|Mailboxes", "spam-01|Spam filter"],
  "Site B/Backup": ["bak-01|Backup server", "tape-01|Tape library"],
  "Office/Printers": ["prn-01|Printer 1st floor", "prn-02|Printer 2nd floor", "ups-01|UPS server room"],
};
// As in the payloads: the databases are in two groups.
const SECOND_GROUP = { "db-01": "Site A/Web servers", "hv-01": "Linux servers", "hv-02": "Linux servers", "hv-04": "Linux servers", "hv-05": "Linux servers", "bak-01": "Linux servers" };

/** severity, host, name, opdata, minutes open, tags, more */
const PROBLEMS = [
  [5, "db-01", "Database down on DB 01 (primary)", "1", 4, "service:shop component:db scope:availability env:prod", { ack: "M. Okafor", message: "failover started, replica promoted in about 2 min" }],
  [5, "sw-01", "Uplink down on Core switch", "ifOperStatus=2", 11, "component:net layer:network scope:availability site:B"],
  [4, "web-01", "Web application down on Web 01 – Schaufenster", "status=1", 3, "service:shop component:app scope:availability env:prod site:A"],
  [4, "web-02", "Web application answers 503 on Web 02", "http 503", 3.4, "service:shop component:app scope:availability env:prod site:A"],
  [4, "hv-02", "ZFS pool degraded on Hypervisor 02: one of six disks gone", "DEGRADED", 196, "component:storage scope:capacity", { ack: "R. Lindqvist", message: "disk ordered, arrives tomorrow" }],
  [4, "fw-02", "BGP session to transit provider down on Firewall Süd", "Idle", 47, "component:net layer:network site:B"],
  [4, "mx-01", "More than 5,000 messages in the queue of Mail relay 1", "6812", 22, "service:mail component:queue scope:performance"],
  [3, "web-01", "Latency 812.4 ms on Web 01 – Schaufenster", "812.4 ms", 6, "service:shop component:app scope:performance"],
  [3, "db-02", "Replication lag on DB 02 (replica) is 14m 20s", "14m 20s", 15, "service:shop component:db scope:performance"],
  [3, "sw-01", "Packet loss ratio high on Core switch", "12.4 %", 12, "scope:performance layer:network component:net", { trigger: "25221" }],
  [3, "lb-01", "2 of 4 backends out of rotation on Load balancer 1", "2", 3.2, "service:shop component:lb"],
  [3, "bak-01", "Backup of DB 01 has not finished for 26 hours", "26h 12m", 133, "component:backup scope:data", { ack: "T. Nowak" }],
  [3, "redis-01", "Redis 01 evicts keys", "1,204 keys/s", 8, "service:shop component:cache"],
  [3, "hv-03", "CPU of Hypervisor 03 above 95 % for 15 minutes", "97.2 %", 31, "component:cpu scope:performance", { suppressed: 90 }],
  [3, "san-01", "Controller B of Storage A runs without battery", "0 %", 2890, "component:storage", { ack: "R. Lindqvist" }],
  [2, "web-01", "Disk space low on Web 01 – Schaufenster", "3.25 %", 78, "component:disk scope:capacity env:prod"],
  [2, "db-01", "Error in the database log: ERROR disk quota exceeded", "ERROR disk quota exceeded", 5, "component:db"],
  [2, "db-01", "Error in the database log: ERROR connection \"x\" reset\tby peer", "ERROR connection \"x\" reset\tby peer", 5.5, "component:db"],
  [2, "web-03", "Certificate of shop.example.org expires in 13 days", "13d", 1440, "component:tls service:shop", { ack: "M. Okafor" }],
  [2, "web-04", "Certificate of shop.example.org expires in 13 days", "13d", 1440, "component:tls service:shop", { ack: "M. Okafor" }],
  [2, "mx-02", "IP of Mail relay 2 is on a block list", "zen.example.org", 340, "service:mail"],
  [2, "sw-02", "Port 17 of Access switch 2 flaps", "9 changes/10m", 28, "component:net layer:network"],
  [2, "fw-01", "Session table of Firewall Nord at 84 %", "84 %", 17, "component:net scope:capacity"],
  [2, "imap-01", "Mailbox store of Mailboxes grows faster than 20 GB a day", "23.1 GB", 610, "service:mail scope:capacity", { suppressed: 600 }],
  [2, "hv-01", "Clock of Hypervisor 01 is off by 3.2 s", "3.2 s", 64, "component:time"],
  [2, "prn-02", "Toner low in Printer 2nd floor (black)", "4 %", 4321, "component:toner"],
  [2, "ups-01", "UPS server room runs on battery", "41 min left", 2, "component:power scope:availability site:Office"],
  [2, "db-03", "Autovacuum of orders has not run for 3 days", "3d 02h", 900, "component:db"],
  [1, "db-01", "Replication lag on DB 01 (primary) is 2m 500ms", "2m 500ms", 4.5, "service:shop component:db"],
  [1, "web-02", "Package updates wait on Web 02: 14, of which 3 are for security", "14", 2000, "component:os"],
  [1, "hv-03", "Package updates wait on Hypervisor 03: 41", "41", 5000, "component:os", { suppressed: 90 }],
  [1, "lb-02", "Configuration of Load balancer 2 was changed", "sha 9f31…", 55, "component:lb"],
  [1, "rt-01", "Border router was restarted", "uptime 38m", 38, "component:net", { ack: "T. Nowak", message: "planned, change 4711" }],
  [1, "tape-01", "Tape library asks for cleaning", "drive 2", 700, "component:backup"],
  [1, "imap-01", "IMAP logins from a new country", "NO", 240, "service:mail component:security"],
  [0, "db-01", "Many connections on DB 01 (primary)", "250", 5.2, "component:db"],
  [0, "prn-01", "Printer 1st floor: cover open", "open", 260, ""],
  [0, "sw-03", "Unknown trap received from Access switch 3", ".1.3.6.1.4.1.9.9", 95, "component:net"],
];
const INTERNAL = [
  ["sw-01", "Packet loss ratio high on Core switch", "Cannot evaluate expression: division by zero at \"/{36067}>0.1\"", 1, "25221"],
  ["prn-01", "Pages printed on Printer 1st floor", "No Such Instance currently exists at this OID", 180, "25230"],
];

/** What a poll found out of the ordinary. */
const STATES = {
  "web-05": { disabled: true },
  "hv-03": { maintenance: "2" },
  "hv-04": { maintenance: "2" },
  "sw-04": { unavailable: [{ interface: "snmp", error: "Timeout while connecting to \"192.0.2.14:161\"." }] },
  "redis-02": { unavailable: [{ interface: "agent", error: "Get value from agent failed: cannot connect to [[192.0.2.31]:10050]: [111] Connection refused" }, { interface: "active", error: "" }] },
  "db-01": { unavailable: [{ interface: "agent", error: "Get value from agent failed: cannot connect to [[192.0.2.21]:10050]: [4] Interrupted system call" }] },
  "pgb-02": { gone: true },
};

const hosts = new Map();
for (const [group, members] of Object.entries(GROUPS)) {
  for (const member of members) {
    const [host, name] = member.split("|");
    hosts.set(host, { id: String(10680 + hosts.size), host, name, groups: [group, ...(SECOND_GROUP[host] ? [SECOND_GROUP[host]] : [])], ...(STATES[host] ? { state: STATES[host] } : {}) });
  }
}

let nextEvent = 5087;

function make(now, host, fields) {
  const { groups, state: _state, ...identity } = hosts.get(host);
  nextEvent += 1 + (nextEvent % 3);
  return {
    event_id: String(nextEvent),
    version: 1,
    kind: "problem",
    state: "open",
    acknowledged: false,
    suppressed: false,
    host: identity,
    groups,
    tags: [],
    ...fields,
    opened_at: Math.floor(now - fields.minutes * 60),
    minutes: undefined,
  };
}

const tagsOf = (text) => text.split(" ").filter(Boolean).map((part) => ({ tag: part.split(":")[0], value: part.split(":")[1] ?? "" }));

function one(now, [severity, host, name, opdata, minutes, tags, more = {}]) {
  const problem = make(now, host, {
    severity, name, opdata, minutes, tags: tagsOf(tags),
    trigger_id: more.trigger ?? String(25300 + nextEvent % 1000), url: `https://wiki.example.org/runbook/${host}`,
  });
  if (more.ack) {
    Object.assign(problem, {
      acknowledged: true,
      version: 2,
      last_update: { at: Math.floor(now - (minutes * 60) / 2), action: more.message ? "acknowledged and commented" : "acknowledged", message: more.message, user: more.ack },
    });
  }
  if (more.suppressed) Object.assign(problem, { suppressed: true, suppressed_until: Math.floor(now + more.suppressed * 60) });
  return problem;
}

/** A whole state: `{problems, hosts, recent}`. `count` undefined gives the 40 above, 0 none, more generates. */
export function makeState(count) {
  const now = Date.now() / 1000;
  const problems = [];
  const recent = [];
  if (count === undefined) {
    problems.push(...PROBLEMS.map((row) => one(now, row)));
    for (const [host, name, error, minutes, trigger_id] of INTERNAL) {
      problems.push(make(now, host, { kind: "internal", severity: 3, name, error, minutes, trigger_id }));
    }
    for (let index = 0; index < 26; index += 1) {
      const opened = now - 3900 + index * 131 + ((index * 7919) % 400);
      recent.push({ opened_at: Math.floor(opened), resolved_at: Math.floor(Math.min(now - 20, Math.max(now - 3500, opened + 200 + ((index * 4211) % 1500)))), severity: [2, 3, 4, 2, 1, 5, 2][index % 7] });
    }
  } else {
    for (let index = 10; hosts.size < Math.min(600, count / 4); index += 1) {
      const group = `Site ${"ABCDEF"[index % 6]}/${["Web servers", "Databases", "Network", "Linux servers"][index % 4]}`;
      hosts.set(`node-${index}`, { id: String(20000 + index), host: `node-${index}`, name: `Node ${index}`, groups: [group] });
    }
    const names = [...hosts.keys()];
    for (let index = 0; index < count; index += 1) {
      const [severity, , name, opdata, minutes, tags] = PROBLEMS[index % PROBLEMS.length];
      problems.push(one(now, [severity, names[(index * 7) % names.length], `${name} (${index})`, opdata, minutes + (index % 500), tags, index % 5 === 0 ? { ack: "T. Nowak" } : {}]));
    }
  }
  return { problems, hosts: [...hosts.values()], recent };
}

/** A fresh problem, as it would come in live. */
export function makeProblem(fields = {}, row = PROBLEMS[Math.floor(Math.random() * PROBLEMS.length)]) {
  return { ...one(Date.now() / 1000, [row[0], row[1], row[2], row[3], 0, row[5]]), ...fields };
}

// ---------------------------------------------------------------------------------------------------------------------
// The record behind the reports.

/** A number from 0 to 1 that is always the same for a text. */
function chance(text) {
  let hash = 2166136261;
  for (const char of text) hash = Math.imul(hash ^ char.codePointAt(0), 16777619);
  return ((hash ^ (hash >>> 13)) >>> 0) / 2 ** 32;
}

/** A host's intervals of 30 days, oldest first. */
export function makeIntervals(host, now) {
  const intervals = [];
  const { name = host } = hosts.get(host) ?? {};
  const count = host === "rt-01" ? 0 : 10 + Math.floor(chance(host) * 30);
  for (let index = 0; index < count; index += 1) {
    const dice = (what) => chance(`${host} ${index} ${what}`);
    // Most of them lately, so that a day has something, too.
    const from = Math.floor(now - 30 * 86_400 * dice("from") ** 2.5);
    const length = Math.floor(60 + 4 * 3600 * dice("length") ** 4);
    const severity = [2, 2, 3, 1, 4, 3, 5][Math.floor(dice("severity") * 7)];
    const flags = { maintenance: dice("maintenance") > 0.8, suppressed: dice("by hand") > 0.93, unmonitored: dice("disabled") > 0.97 };
    const what = ["Disk space low on", "Latency high on", "Service down on", "Certificate expires on"][Math.floor(dice("name") * 4)];
    intervals.push({ event_id: String(3000 + index), name: `${what} ${name}`, from, ...(from + length < now ? { to: from + length } : {}), severity, ...flags });
  }
  return intervals.sort((a, b) => a.from - b.from);
}

/** Rows of an availability report, worst first, and those of the response report. */
export function makeReport(by, from, to, includeMaintenance, scope = {}) {
  const within = [...hosts.values()].filter(({ host, groups }) => (!scope.host || host === scope.host) && (!scope.group || groups.includes(scope.group)));
  const keys = by === "host" ? within.map(({ host }) => host) : by === "group" ? [...new Set(within.flatMap(({ groups }) => groups))] : ["shop", "mail", "erp", "intranet"];
  const rows = keys.map((key) => {
    const share = chance(key) ** 8 * 0.06 * (includeMaintenance ? 2 : 1);
    const down_seconds = chance(`${key}!`) < 0.3 ? 0 : Math.round(share * (to - from));
    return { key, down_seconds, availability: 1 - down_seconds / (to - from) };
  });
  rows.sort((a, b) => b.down_seconds - a.down_seconds || (a.key < b.key ? -1 : 1));
  const responses = keys.filter((key) => chance(`${key}!`) >= 0.3).sort().map((key) => {
    const durations = (what) => {
      const median = 30 + 1500 * chance(key + what) ** 2;
      return { count: 3 + Math.floor(chance(what + key) * 40), mean_seconds: median * 1.3, median_seconds: median, p90_seconds: median * 3.1 };
    };
    return { key, problems: 4 + Math.floor(chance(`${key}?`) * 50), acknowledge: durations("acknowledge"), recover: durations("recover") };
  });
  return { rows, responses };
}
