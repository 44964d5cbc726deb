import { COLOURS, INK, OK_COLOUR, severityLetter, type Severity } from "./severity";

/** The tab's icon as a data: URI: the worst severity's colour and letter, a tick if all is well, a crossed-out grey square if not live. */
export function favicon(worst: Severity | undefined, live: boolean): string {
  const colour = !live ? "#8B949E" : worst === undefined ? OK_COLOUR : COLOURS[worst];
  const letter = !live ? "!" : worst === undefined ? "✓" : severityLetter(worst);
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="${colour}"/>` +
    `<text x="16" y="24" font-family="sans-serif" font-size="23" font-weight="700" text-anchor="middle" fill="${INK}">${letter}</text></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
