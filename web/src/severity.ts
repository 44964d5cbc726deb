/** Zabbix's trigger severities: 0 not classified, 1 information, 2 warning, 3 average, 4 high, 5 disaster. */
export type Severity = 0 | 1 | 2 | 3 | 4 | 5;

/** A severity, or `unknown`: Zabbix cannot evaluate the trigger. */
export type Level = Severity | "unknown";

/** What a host tile shows: its worst open severity, or why there is none. */
export type TileState = Severity | "ok" | "unknown" | "suppressed" | "unavailable" | "maintenance" | "disabled" | "gone";

/** Worst first, the order of the board. */
export const SEVERITIES: readonly Severity[] = [5, 4, 3, 2, 1, 0];

const NAMES = ["Not classified", "Information", "Warning", "Average", "High", "Disaster"] as const;
const LETTERS = ["N", "I", "W", "A", "H", "D"] as const;

/** Zabbix's default severity colours; they stay the same in both themes. */
export const COLOURS = ["#97AAB3", "#7499FF", "#FFC859", "#FFA059", "#E97659", "#E45959"] as const;
export const OK_COLOUR = "#59DB8F";
/** Text on any of the severity colours, in both themes. */
export const INK = "#0D1117";

export function isSeverity(value: number): value is Severity {
  return Number.isInteger(value) && value >= 0 && value <= 5;
}

export function severityName(severity: Severity): string {
  return NAMES[severity];
}

/** One letter, so that no severity is told by colour alone. */
export function severityLetter(severity: Severity): string {
  return LETTERS[severity];
}

export function tileStateName(state: TileState): string {
  if (typeof state === "number") return severityName(state);
  return {
    ok: "OK",
    unknown: "Cannot be evaluated",
    suppressed: "Suppressed problems only",
    unavailable: "Zabbix cannot reach it",
    maintenance: "In maintenance",
    disabled: "Disabled",
    gone: "No longer in Zabbix",
  }[state];
}

export function tileStateLetter(state: TileState): string {
  if (typeof state === "number") return severityLetter(state);
  return { ok: "✓", unknown: "?", suppressed: "S", unavailable: "!", maintenance: "M", disabled: "–", gone: "×" }[state];
}

function channel(value: number): number {
  const part = value / 255;
  return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
}

function luminance(hex: string): number {
  const value = Number.parseInt(hex.slice(1), 16);
  return 0.2126 * channel(value >> 16) + 0.7152 * channel((value >> 8) & 255) + 0.0722 * channel(value & 255);
}

/** WCAG contrast ratio of two `#rrggbb` colours, 1 to 21; AA asks for 4.5 for text. */
export function contrast(first: string, second: string): number {
  const [light, dark] = [luminance(first), luminance(second)].sort((a, b) => b - a) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}
