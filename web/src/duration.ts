/** A duration in the two largest units, as Zabbix writes it: `12s`, `4m 03s`, `2h 05m`, `3d 04h`, `1y 12d`. Negative ones read `0s`. */
export function formatDuration(seconds: number): string {
  const total = Math.max(0, Math.floor(seconds));
  const two = (value: number) => String(value).padStart(2, "0");
  if (total < 60) return `${total}s`;
  if (total < 3600) return `${Math.floor(total / 60)}m ${two(total % 60)}s`;
  if (total < 86400) return `${Math.floor(total / 3600)}h ${two(Math.floor((total % 3600) / 60))}m`;
  const days = Math.floor(total / 86400);
  if (days < 365) return `${days}d ${two(Math.floor((total % 86400) / 3600))}h`;
  return `${Math.floor(days / 365)}y ${days % 365}d`;
}

/** A duration in its one telling unit, as people say it: `40 s`, `3 min`, `2 h`, `5 d`. Negative ones read `0 s`. */
export function formatAgo(seconds: number): string {
  const total = Math.max(0, Math.floor(seconds));
  if (total < 120) return `${total} s`;
  if (total < 7200) return `${Math.floor(total / 60)} min`;
  if (total < 2 * 86400) return `${Math.floor(total / 3600)} h`;
  return `${Math.floor(total / 86400)} d`;
}

/** A latency: whole milliseconds below 10 s, else a duration. */
export function formatLatency(ms: number): string {
  if (!Number.isFinite(ms)) return "–";
  return ms < 10_000 ? `${Math.max(0, Math.round(ms))} ms` : formatDuration(ms / 1000);
}

/** The value below which half of the numbers lie; undefined for none. */
export function median(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)];
}

const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dated = new Intl.DateTimeFormat(undefined, {
  weekday: "short",
  year: "numeric",
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
  timeZoneName: "short",
});

/** Local wall clock, `hh:mm:ss`, of unix milliseconds. */
export function clockTime(ms: number): string {
  return clock.format(ms);
}

/** Local date and time with the zone's name, of unix seconds. */
export function localDateTime(seconds: number): string {
  return dated.format(seconds * 1000);
}
