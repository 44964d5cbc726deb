/** config.json beside index.html. */
export interface Config {
  /** Where the board connects to, `wss://…`. */
  ws_url: string;
  /** Name of the board. */
  title: string;
  /** Viewing without a token is meant to work. */
  anonymous: boolean;
  /** Base of the HTTP API without `/api`, `https://…`; undefined for a board without reports. */
  api_url: string | undefined;
}

const TOKEN_KEY = "signalbox.token";

/**
 * Reads config.json.
 * @throws {Error} with a sentence for the person in front of the screen.
 */
export async function loadConfig(): Promise<Config> {
  const response = await fetch("./config.json", { cache: "no-store", credentials: "omit" });
  if (!response.ok) throw new Error(`config.json could not be read (HTTP ${response.status})`);
  return readConfig(await response.json());
}

/**
 * What the parsed config.json says.
 * @throws {Error} with a sentence for the person in front of the screen.
 */
export function readConfig(value: unknown): Config {
  const raw = (typeof value === "object" && value !== null ? value : {}) as Partial<Record<keyof Config, unknown>>;
  if (typeof raw.ws_url !== "string" || !/^wss?:\/\//.test(raw.ws_url)) throw new Error("config.json names no ws_url");
  if (raw.api_url !== undefined && (typeof raw.api_url !== "string" || !/^https?:\/\//.test(raw.api_url))) {
    throw new Error("api_url in config.json is no web address");
  }
  return {
    ws_url: raw.ws_url,
    title: typeof raw.title === "string" && raw.title !== "" ? raw.title : "Signalbox",
    anonymous: raw.anonymous === true,
    api_url: raw.api_url?.replace(/\/+$/, ""),
  };
}

/**
 * The viewer's token: from `#token=…`, which is moved into this tab's session storage and taken out of the address at
 * once, so that it is neither shared with a copied link nor left in the history. Empty for none.
 */
export function takeToken(): string {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token !== null) {
    sessionStorage.setItem(TOKEN_KEY, token);
    fragment.delete("token");
    const rest = fragment.toString();
    history.replaceState(history.state, "", location.pathname + location.search + (rest === "" ? "" : `#${rest}`));
  }
  return sessionStorage.getItem(TOKEN_KEY) ?? "";
}
